//! What every debiasing method offers, and the list of all of them.

use crate::control;
use crate::methods;
use crate::options::{ParamSpec, Params, SHARED};
use crate::units;
use crate::{
    Contrast, Edit, Evidence, FitData, FitError, FitOptions, Keep, Moments, Span, UnknownMethod,
};

/// A method that fits an [`Edit`] on sentence vectors.
///
/// The metadata is the only source of help texts, documentation tables and
/// report headings.
pub trait Debiaser: Sync {
    /// Name in specs and result rows: lower case, digits and hyphens.
    fn name(&self) -> &'static str;
    /// Name in headings.
    fn title(&self) -> &'static str;
    /// Where the method was published.
    fn citation(&self) -> &'static str;
    /// What it does, in one sentence.
    fn summary(&self) -> &'static str;
    /// Page of the documentation, relative to the root of the book.
    fn docs(&self) -> &'static str;
    /// What the data must hold.
    fn needs(&self) -> Needs;
    /// How the states of a sentence become the vectors that the method learns from: as its parameter `reduce` says, if it has
    /// one of those that several methods have, else their mean.
    ///
    /// # Errors
    /// Options that cannot be meant.
    fn reduce(&self, options: &FitOptions) -> Result<Reduce, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        match self.params() {
            specs if specs.contains(&ParamSpec::REDUCE) => params.max_or_mean(),
            specs if specs.contains(&ParamSpec::MEAN_OR_LAST) => params.mean_or_last(),
            _ => Ok(Reduce::Mean),
        }
    }
    /// What says how large its edit is.
    fn size(&self) -> Size {
        Size::Rank
    }
    /// How many of its sites it looks at to fit the edit of one.
    ///
    /// # Errors
    /// Options that cannot be meant.
    fn span(&self, options: &FitOptions) -> Result<Span, FitError> {
        let _ = options;
        Ok(Span::Site)
    }
    /// What tells its examples apart: as its parameter `contrast` says, if it has one, else groups.
    ///
    /// # Errors
    /// Options that cannot be meant.
    fn contrast(&self, options: &FitOptions) -> Result<Contrast, FitError> {
        match self.params().contains(&ParamSpec::CONTRAST) {
            true => Params::new(self.name(), self.params(), options)?.contrast(),
            false => Ok(Contrast::Groups),
        }
    }
    /// All that the method demands of whoever gives it evidence.
    ///
    /// # Errors
    /// Options that cannot be meant.
    fn demand(&self, options: &FitOptions) -> Result<Demand, FitError> {
        Ok(Demand {
            reduce: self.reduce(options)?,
            needs: self.needs(),
            size: self.size(),
            span: self.span(options)?,
            contrast: self.contrast(options)?,
        })
    }
    /// The random control of a fit: an edit of the same kind and size that knows nothing of the groups.
    ///
    /// A method that removes directions is matched by any random subspace of its rank, which the method `random`
    /// gives for all of them. What an edit of another kind is matched by hangs on the edit: a shift by a shift of equal
    /// length in a random direction, an edit of units by the same change of as many random units.
    ///
    /// # Shapes
    /// An edit of dimension d gives one of dimension d.
    ///
    /// # Errors
    /// Data that the control cannot be drawn for.
    fn control(
        &self,
        data: &FitData,
        options: &FitOptions,
        fitted: &Edit,
    ) -> Result<Edit, FitError> {
        let _ = data;
        control::random_like(fitted, options.seed)
    }
    /// Parameters besides rank and seed.
    fn params(&self) -> &'static [ParamSpec] {
        &[]
    }
    /// Refuses parameters that the method does not have or cannot mean, before there is anything to fit.
    ///
    /// # Errors
    /// The first parameter, with what would work.
    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        Params::new(self.name(), self.params(), options).map(|_| ())
    }
    /// Refuses parameters that name a group which the data does not have; `groups` are those with examples.
    ///
    /// # Errors
    /// [`FitError::UnknownGroup`], with the groups that there are.
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
    /// The largest rank that data with so many classes, so many of them groups, can give in `dim`
    /// dimensions; data may give less.
    fn max_rank(&self, classes: usize, groups: usize, dim: usize) -> usize {
        let _ = (classes, groups);
        dim
    }
    /// Fits the edit.
    ///
    /// # Shapes
    /// Sentence vectors n×d give an edit of dimension d.
    ///
    /// # Errors
    /// Data that cannot be fitted and options that cannot be meant, each with
    /// the facts that help to mend it.
    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError>;
    /// Fits an edit at every site of a place.
    ///
    /// A method of [`Span::Site`] fits each by itself, which is what this does unless a method says otherwise. Others are
    /// asked for all sites at once.
    ///
    /// # Shapes
    /// One edit for each site, each of that site's dimension; [`Edit::identity`] where nothing is changed.
    ///
    /// # Errors
    /// Those of [`Debiaser::fit`] and of the evidence.
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
    /// The random control of a fit at several sites: that of each edit by itself, so that an edit of units is matched by as
    /// many random units of the same site.
    ///
    /// # Shapes
    /// One edit for each site, as `fitted` has.
    ///
    /// # Errors
    /// Those of [`Debiaser::control`] and of the evidence.
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
    /// What class statistics must keep for [`Debiaser::fit_moments`]; `None` for
    /// methods that no class statistics suffice for.
    ///
    /// # Errors
    /// Options that cannot be meant.
    fn keeps(&self, options: &FitOptions) -> Result<Option<Keep>, FitError> {
        let _ = options;
        Ok(None)
    }
    /// Fits the edit from the statistics of a stream: the same edit as
    /// [`Debiaser::fit`] on all rows at once.
    ///
    /// # Shapes
    /// Statistics of dimension d give an edit of dimension d.
    ///
    /// # Errors
    /// [`FitError::NotStreamable`] where [`Debiaser::keeps`] says `None`, and the
    /// errors of [`Debiaser::fit`].
    fn fit_moments(&self, moments: &Moments, options: &FitOptions) -> Result<Fitted, FitError> {
        let _ = (moments, options);
        Err(FitError::NotStreamable {
            method: self.name(),
        })
    }
}

/// What a method needs of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Whether it learns from counterfactual sets.
    pub tuples: bool,
    /// How many classes must have examples; 0 where classes are not read.
    pub classes: usize,
    /// Whether it compares groups, that is, at least two classes besides the
    /// neutral one must have examples.
    pub groups: bool,
    /// Whether the seed changes its result.
    pub seed: bool,
    /// Whether it treats each language of the data by itself; its rank is then that of each.
    pub languages: bool,
}

/// How the states of a sentence's tokens become what a method learns from. Special tokens count where the fit says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Reduce {
    /// Their mean: one vector.
    #[default]
    Mean,
    /// The last one.
    Last,
    /// The largest value of each unit: one vector.
    Max,
    /// Each by itself, with the class of its sentence.
    Tokens,
    /// Of each unit the share of the tokens at which it is above zero: one vector.
    Positive,
}

impl Reduce {
    /// All of them.
    pub const ALL: [Reduce; 5] = [
        Reduce::Mean,
        Reduce::Last,
        Reduce::Max,
        Reduce::Tokens,
        Reduce::Positive,
    ];

    /// Name in specs and files.
    pub fn name(self) -> &'static str {
        match self {
            Reduce::Mean => "mean",
            Reduce::Last => "last",
            Reduce::Max => "max",
            Reduce::Tokens => "tokens",
            Reduce::Positive => "positive",
        }
    }
}

/// What says how large the edit of a method is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// How many directions it removes.
    Rank,
    /// How many units it changes.
    Units,
    /// How far it moves states, and nothing else.
    Strength,
}

/// What a method demands of whoever gives it evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// How states become the vectors that it learns from.
    pub reduce: Reduce,
    /// What the data must hold.
    pub needs: Needs,
    /// What says how large its edit is.
    pub size: Size,
    /// How many of its sites it looks at to fit the edit of one.
    pub span: Span,
    /// What tells its examples apart.
    pub contrast: Contrast,
}

/// What a fit at several sites gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FittedSites {
    /// The edit of each site.
    pub edits: Vec<Edit>,
    /// Diagnostics of the fit, by name.
    pub notes: Vec<(String, f64)>,
}

/// What a fit gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The edit.
    pub edit: Edit,
    /// Diagnostics of the fit, by name, e.g. `explained_variance_1`.
    pub notes: Vec<(String, f64)>,
}

/// All methods, in the order in which they are listed.
pub fn registry() -> &'static [&'static dyn Debiaser] {
    static ALL: &[&dyn Debiaser] = &[
        &methods::none::NoEdit,
        &methods::random::RandomSubspace,
        &methods::sentdebias::SentDebias,
        &methods::inlp::Inlp,
        &methods::rlace::Rlace,
        &methods::densray::DensRay,
        &methods::leace::Leace,
        &methods::mean_difference::MeanDifference,
        &methods::iterative_mean_projection::IterativeMeanProjection,
        &methods::class_means_pca::ClassMeansPca,
        &methods::sal::Sal,
        &methods::imsae::Imsae,
        &methods::mean_shift::MeanShift,
        &methods::steering::Steering,
        &methods::clamp_units::ClampUnits,
        &methods::lape::Lape,
        &methods::aura::Aura,
        &methods::damp::Damp,
        &methods::language_steering::LanguageSteering,
        &methods::surgical_steering::SurgicalSteering,
        &methods::linear_act::LinearAct,
    ];
    ALL
}

/// The method of a name.
///
/// # Errors
/// [`UnknownMethod`] with the names that exist.
pub fn by_name(name: &str) -> Result<&'static dyn Debiaser, UnknownMethod> {
    registry()
        .iter()
        .copied()
        .find(|method| method.name() == name)
        .ok_or_else(|| UnknownMethod {
            name: name.to_owned(),
            known: registry().iter().map(|method| method.name()).collect(),
        })
}
