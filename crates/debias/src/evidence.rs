//! States at several sites, for methods that look at more than one.

use crate::{Edit, FitData, FitError, Fitted, FittedSites};

/// How many of its sites a method looks at to fit the edit of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Span {
    /// One: each edit is fitted by itself.
    #[default]
    Site,
    /// All: an edit at one site hangs on the states at the others.
    Sites,
    /// Each site as the edits at the earlier sites leave it.
    Chain,
}

/// What tells the examples of a method apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Contrast {
    /// The groups that sentences of one language name.
    #[default]
    Groups,
    /// The languages that the same sentences are in: the classes are languages, the first is the one that the fit is
    /// about, and a counterfactual set is a sentence in all of them.
    Languages,
}

impl Contrast {
    /// Both, in the order in which they are listed.
    pub const ALL: [Contrast; 2] = [Contrast::Groups, Contrast::Languages];

    /// Name in specs.
    pub fn name(self) -> &'static str {
        match self {
            Contrast::Groups => "groups",
            Contrast::Languages => "languages",
        }
    }
}

/// States of the same sentences at every site of a place, in the order of the forward pass.
///
/// One site is asked for at a time, and nothing else need be held: a method keeps of a site what it needs, and gives the
/// rest back. The rows are the same sentences with the same classes, sets and languages at every site.
pub trait Evidence {
    /// Width of the states at each site.
    fn dims(&self) -> &[usize];

    /// The states at one site, in the model as it is.
    ///
    /// # Shapes
    /// n × the width of that site.
    ///
    /// # Errors
    /// [`FitError::Evidence`] where the states cannot be had.
    fn at(&mut self, site: usize) -> Result<FitData, FitError>;

    /// The states at one site, in the model with an edit at each of the sites before it.
    ///
    /// # Shapes
    /// `earlier` has an edit for each site before `site`; the states are n × the width of that site.
    ///
    /// # Errors
    /// [`FitError::Evidence`] where the states cannot be had, [`FitError::NoModel`] where there is no model to edit.
    fn under(&mut self, site: usize, earlier: &[Edit]) -> Result<FitData, FitError>;
}

/// Evidence that is at hand.
#[derive(Debug, Clone)]
pub struct Given<'a> {
    sites: &'a [FitData],
    dims: Vec<usize>,
}

impl<'a> Given<'a> {
    /// The data of each site.
    pub fn new(sites: &'a [FitData]) -> Given<'a> {
        Given {
            sites,
            dims: sites.iter().map(FitData::dim).collect(),
        }
    }

    /// What a fit at several sites finds at one.
    pub(crate) fn only(
        data: &FitData,
        fit: impl FnOnce(&mut Given<'_>) -> Result<FittedSites, FitError>,
    ) -> Result<Fitted, FitError> {
        let mut fitted = fit(&mut Given::new(std::slice::from_ref(data)))?;
        Ok(Fitted {
            edit: fitted.edits.remove(0),
            notes: fitted.notes,
        })
    }
}

impl Evidence for Given<'_> {
    fn dims(&self) -> &[usize] {
        &self.dims
    }

    fn at(&mut self, site: usize) -> Result<FitData, FitError> {
        let found = self.sites.get(site).ok_or_else(|| FitError::Evidence {
            site,
            reason: format!("there are {} sites", self.sites.len()),
        })?;
        Ok(found.clone())
    }

    fn under(&mut self, site: usize, earlier: &[Edit]) -> Result<FitData, FitError> {
        match earlier
            .iter()
            .all(|edit| edit.kind() == crate::Kind::Identity)
        {
            true => self.at(site),
            false => Err(FitError::NoModel { site }),
        }
    }
}
