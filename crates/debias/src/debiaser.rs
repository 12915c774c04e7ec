//! The trait of debiasing methods.

use crate::control;
use crate::options::{ParamSpec, Params, SHARED};
use crate::units;
use crate::{
    Contrast, Demand, Edit, Evidence, FitData, FitError, FitOptions, Fitted, FittedSites, Given,
    Keep, Moments, Needs, Reduce, Size, Span,
};

/// A method that fits an [`Edit`] on sentence vectors.
///
/// Help texts, documentation tables and report headings are made from this metadata only.
pub trait Debiaser: Sync {
    /// Returns the name in specs and result rows: lower case, digits and hyphens.
    fn name(&self) -> &'static str;
    /// Returns the name in headings.
    fn title(&self) -> &'static str;
    /// Returns where the method was published.
    fn citation(&self) -> &'static str;
    /// Returns what the method does, in one sentence.
    fn summary(&self) -> &'static str;
    /// Returns the page of the documentation, relative to the root of the book.
    fn docs(&self) -> &'static str;
    /// Returns what the data must contain.
    fn needs(&self) -> Needs;
    /// Returns how the states of a sentence become the vectors that the method learns from. By default it is the
    /// value of the parameter `reduce`, if the method has this shared parameter, and otherwise the mean.
    ///
    /// # Errors
    /// An option with an invalid value.
    fn reduce(&self, options: &FitOptions) -> Result<Reduce, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        match self.params() {
            specs if specs.contains(&ParamSpec::REDUCE) => params.max_or_mean(),
            specs if specs.contains(&ParamSpec::MEAN_OR_LAST) => params.mean_or_last(),
            _ => Ok(Reduce::Mean),
        }
    }
    /// Returns what determines the size of the method's edit.
    fn size(&self) -> Size {
        Size::Rank
    }
    /// Returns how many of its sites the method needs to fit the edit of one.
    ///
    /// # Errors
    /// An option with an invalid value.
    fn span(&self, options: &FitOptions) -> Result<Span, FitError> {
        let _ = options;
        Ok(Span::Site)
    }
    /// Returns what distinguishes the method's examples. By default it is the value of the parameter `contrast`, if
    /// the method has it, and otherwise groups.
    ///
    /// # Errors
    /// An option with an invalid value.
    fn contrast(&self, options: &FitOptions) -> Result<Contrast, FitError> {
        match self.params().contains(&ParamSpec::CONTRAST) {
            true => Params::new(self.name(), self.params(), options)?.contrast(),
            false => Ok(Contrast::Groups),
        }
    }
    /// Returns everything that the method demands of its evidence.
    ///
    /// # Errors
    /// An option with an invalid value.
    fn demand(&self, options: &FitOptions) -> Result<Demand, FitError> {
        Ok(Demand {
            reduce: self.reduce(options)?,
            needs: self.needs(),
            size: self.size(),
            span: self.span(options)?,
            contrast: self.contrast(options)?,
        })
    }
    /// Makes the random control of a fit: an edit of the same kind and size that has no information about the groups.
    ///
    /// A method that removes directions is matched by any random subspace of its rank, which the method `random`
    /// provides for all of them. The match of another edit depends on its kind: a shift is matched by a shift of
    /// equal length in a random direction, and an edit of units by the same change of as many random units.
    ///
    /// # Shapes
    /// An edit of dimension d gives an edit of dimension d.
    ///
    /// # Errors
    /// Data from which the control cannot be drawn.
    fn control(
        &self,
        data: &FitData,
        options: &FitOptions,
        fitted: &Edit,
    ) -> Result<Edit, FitError> {
        let _ = data;
        control::random_like(fitted, options.seed)
    }
    /// Returns the parameters of the method other than rank and seed.
    fn params(&self) -> &'static [ParamSpec] {
        &[]
    }
    /// Checks the parameters before there is any data to fit, and refuses those that the method does not have or
    /// whose values it cannot use.
    ///
    /// # Errors
    /// The first such parameter, with what would work.
    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        Params::new(self.name(), self.params(), options).map(|_| ())
    }
    /// Refuses parameters that name a group which the data does not have. `groups` are the groups with examples.
    ///
    /// # Errors
    /// [`FitError::UnknownGroup`] with the groups that exist.
    fn check_groups(&self, options: &FitOptions, groups: &[&str]) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        let place = |named| units::place(self.name(), named, groups).map(|_| ());
        match self.params() {
            specs if specs.contains(&ParamSpec::GROUP) => place(params.text("group")?),
            specs if specs.contains(&ParamSpec::TOWARD) => match params.text("toward")? {
                None | Some(SHARED) => Ok(()),
                named => place(named),
            },
            _ => Ok(()),
        }
    }
    /// Returns the largest rank that the method can reach in `dim` dimensions with this number of classes, of which
    /// this number are groups. The data may allow less.
    fn max_rank(&self, classes: usize, groups: usize, dim: usize) -> usize {
        let _ = (classes, groups);
        dim
    }
    /// Fits the edit.
    ///
    /// A method implements this function or [`Debiaser::fit_sites`]. Each of them calls the other by default, so one
    /// of them must be there.
    ///
    /// # Shapes
    /// Sentence vectors n×d give an edit of dimension d.
    ///
    /// # Errors
    /// Data that cannot be fitted, or an option with an invalid value; each error has the facts that help to correct
    /// it.
    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        Given::only(data, |evidence| self.fit_sites(evidence, options))
    }
    /// Fits an edit at every site of a place.
    ///
    /// A method of [`Span::Site`] fits each site by itself, which is the default. Other methods are asked for all
    /// sites at once.
    ///
    /// # Shapes
    /// The result has one edit for each site, with the dimension of that site; it is [`Edit::identity`] where nothing
    /// is changed.
    ///
    /// # Errors
    /// The errors of [`Debiaser::fit`] and of the evidence.
    fn fit_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
    ) -> Result<FittedSites, FitError> {
        let mut all = FittedSites::default();
        for site in 0..evidence.dims().len() {
            let fitted = self.fit(&evidence.at(site)?, options)?;
            all.edits.push(fitted.edit);
            let notes = fitted.notes.into_iter();
            all.notes.extend(notes.map(|(name, value)| match site {
                0 => (name, value),
                _ => (format!("{name} at {site}"), value),
            }));
        }
        Ok(all)
    }
    /// Makes the random control of a fit at several sites. By default each edit gets its own control, so that an edit
    /// of units is matched by as many random units of the same site.
    ///
    /// # Shapes
    /// The result has one edit for each site, like `fitted`.
    ///
    /// # Errors
    /// The errors of [`Debiaser::control`] and of the evidence.
    fn control_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
        fitted: &[Edit],
    ) -> Result<Vec<Edit>, FitError> {
        let mut all = Vec::with_capacity(fitted.len());
        for (site, edit) in fitted.iter().enumerate() {
            // Sites of one width must not all draw the same units.
            let own = options.clone().seed(options.seed ^ ((site as u64) << 32));
            all.push(self.control(&evidence.at(site)?, &own, edit)?);
        }
        Ok(all)
    }
    /// Returns what class statistics must contain for [`Debiaser::fit_moments`]; `None` for methods that cannot be
    /// fitted from class statistics.
    ///
    /// # Errors
    /// An option with an invalid value.
    fn keeps(&self, options: &FitOptions) -> Result<Option<Keep>, FitError> {
        let _ = options;
        Ok(None)
    }
    /// Fits the edit from the statistics of a stream of rows. The result is the same edit as that of
    /// [`Debiaser::fit`] on all rows at once.
    ///
    /// # Shapes
    /// Statistics of dimension d give an edit of dimension d.
    ///
    /// # Errors
    /// [`FitError::NotStreamable`] if [`Debiaser::keeps`] returns `None`, and the errors of [`Debiaser::fit`].
    fn fit_moments(&self, moments: &Moments, options: &FitOptions) -> Result<Fitted, FitError> {
        let _ = (moments, options);
        Err(FitError::NotStreamable {
            method: self.name(),
        })
    }
}
