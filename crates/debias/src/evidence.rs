//! Evidence: the states at several sites, for methods that need more than one.

use crate::{Edit, FitData, FitError, Fitted, FittedSites, Matrix};

/// A source of the states of the same sentences at every site of a place, in the order of the forward pass.
///
/// A method asks for one site at a time and keeps only what it needs of it, so that not all states have to be in
/// memory. The rows are the same sentences with the same classes, sets and languages at every site.
pub trait Evidence {
    /// Returns the width of the states at each site.
    fn dims(&self) -> &[usize];

    /// Returns the states at one site, in the unedited model.
    ///
    /// # Shapes
    /// The vectors are n × the width of that site.
    ///
    /// # Errors
    /// [`FitError::Evidence`] if the states are not available.
    fn at(&mut self, site: usize) -> Result<FitData, FitError>;

    /// Returns the states at one site, in the model with an edit at each of the sites before it.
    ///
    /// # Shapes
    /// `earlier` has an edit for each site before `site`; the vectors are n × the width of that site.
    ///
    /// # Errors
    /// [`FitError::Evidence`] if the states are not available, and [`FitError::NoModel`] if there is no model to
    /// edit.
    fn under(&mut self, site: usize, earlier: &[Edit]) -> Result<FitData, FitError>;

    /// Returns the weight matrix that writes the states of a site. It has one row for each unit of the states.
    ///
    /// # Shapes
    /// The result is (width of the site)×(width of the input).
    ///
    /// # Errors
    /// [`FitError::NoWeights`] if there is no model, no such matrix, or if a bias is added to the product.
    fn written_by(&mut self, site: usize) -> Result<Matrix, FitError> {
        Err(FitError::NoWeights {
            site,
            reason: "only states are given here".to_owned(),
        })
    }

    /// Returns Wᵀ·W, where W is the only matrix that reads the states of a site.
    ///
    /// # Shapes
    /// The result is (width of the site)×(width of the site).
    ///
    /// # Errors
    /// [`FitError::NoWeights`] if there is no model or no such matrix.
    fn read_by(&mut self, site: usize) -> Result<Matrix, FitError> {
        Err(FitError::NoWeights {
            site,
            reason: "only states are given here".to_owned(),
        })
    }
}

/// Evidence whose states were all computed beforehand.
#[derive(Debug, Clone)]
pub struct Given<'a> {
    sites: &'a [FitData],
    dims: Vec<usize>,
}

impl<'a> Given<'a> {
    /// Makes evidence from the data of each site.
    pub fn new(sites: &'a [FitData]) -> Given<'a> {
        Given {
            sites,
            dims: sites.iter().map(FitData::dim).collect(),
        }
    }

    /// Fits at one site by calling a fit at several sites, and returns the edit of that site.
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
