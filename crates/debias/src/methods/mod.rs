//! The methods, one file each.

pub mod class_means_pca;
pub mod densray;
pub mod inlp;
pub mod leace;
pub mod mean_difference;
pub mod none;
pub mod random;
pub mod sentdebias;

use crate::{Edit, EditError, Erase, FitError, Fitted, Matrix};

/// A fitted orthogonal projection away from the rows of `basis`.
fn fitted_projection(basis: &Matrix, notes: Vec<(String, f64)>) -> Result<Fitted, FitError> {
    fitted_erase(Erase::projection(basis), notes)
}

/// Wraps an eraser; a decomposition of extreme but finite data can overflow,
/// and then the eraser's own check is the first to see it.
fn fitted_erase(
    erase: Result<Erase, EditError>,
    notes: Vec<(String, f64)>,
) -> Result<Fitted, FitError> {
    let erase = erase.map_err(|e| FitError::Decomposition {
        what: "assembling the eraser",
        reason: e.to_string(),
    })?;
    Ok(Fitted {
        edit: Edit::Erase(erase),
        notes,
    })
}
