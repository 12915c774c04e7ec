//! The debiasing methods, one file each, and the registry of all of them.

pub mod aura;
pub mod clamp_units;
pub mod class_means_pca;
pub mod damp;
pub mod densray;
pub mod eigenshift;
pub mod imsae;
pub mod inlp;
pub mod iterative_mean_projection;
pub mod language_arithmetics;
pub mod language_steering;
pub mod lape;
pub mod leace;
pub mod linear_act;
pub mod mean_difference;
pub mod mean_shift;
pub mod model_surgery;
pub mod none;
pub mod oracle;
pub mod profs;
pub mod random;
pub mod rlace;
pub mod sae_features;
pub mod sal;
pub mod sentdebias;
pub mod steering;
pub mod surgical_steering;

use crate::linalg::{extend_basis, mirror_lower, symmetric_eigen};
use crate::{
    Debiaser, Edit, EditError, FitData, FitError, FitOptions, Fitted, Matrix, Moments,
    UnknownMethod,
};
use interlingua_edits::{axpy, norm};

/// All methods, in the order in which they are listed.
pub fn registry() -> &'static [&'static dyn Debiaser] {
    static ALL: &[&dyn Debiaser] = &[
        &none::NoEdit,
        &random::RandomSubspace,
        &sentdebias::SentDebias,
        &inlp::Inlp,
        &rlace::Rlace,
        &densray::DensRay,
        &leace::Leace,
        &mean_difference::MeanDifference,
        &iterative_mean_projection::IterativeMeanProjection,
        &class_means_pca::ClassMeansPca,
        &sal::Sal,
        &imsae::Imsae,
        &profs::Profs,
        &eigenshift::EigenShift,
        &mean_shift::MeanShift,
        &steering::Steering,
        &clamp_units::ClampUnits,
        &lape::Lape,
        &aura::Aura,
        &damp::Damp,
        &language_arithmetics::LanguageArithmetics,
        &language_steering::LanguageSteering,
        &surgical_steering::SurgicalSteering,
        &linear_act::LinearAct,
        &sae_features::SaeFeatures,
        &model_surgery::ModelSurgery,
    ];
    ALL
}

/// Returns the method of this name.
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

/// The fit of a method that needs class statistics only.
fn fit_by_moments(
    method: &dyn Debiaser,
    data: &FitData,
    options: &FitOptions,
) -> Result<Fitted, FitError> {
    let keep = method.keeps(options)?.ok_or(FitError::NotStreamable {
        method: method.name(),
    })?;
    data.check()?;
    method.fit_moments(&Moments::of(data, keep)?, options)
}

/// Share of the largest class.
fn majority(data: &FitData) -> f64 {
    let mut counts = vec![0_usize; data.classes.len()];
    data.label.iter().for_each(|&label| counts[label] += 1);
    counts.into_iter().max().unwrap_or(0) as f64 / data.label.len() as f64
}

/// A row that adds less than this share of its length to the basis lies in
/// it already.
const ROW_TOLERANCE: f64 = 1e-9;

/// Adds an orthonormal basis of the rows of `w`, leading singular directions
/// first, up to `max_rank` directions in all.
fn extend_by_row_space(
    basis: &mut Vec<Vec<f64>>,
    w: &Matrix,
    max_rank: usize,
) -> Result<(), FitError> {
    let length = norm(w.data());
    // Nothing was found in this round, such as when no classifier has any use of x.
    if length == 0.0 {
        return Ok(());
    }
    let (m, d) = (w.rows(), w.cols());
    let mut gram = w.matmul(&w.transpose());
    mirror_lower(&mut gram);
    let (_, left) = symmetric_eigen(&gram, "eigendecomposition of WWᵀ")?;
    for i in 0..m {
        if basis.len() == max_rank {
            break;
        }
        let mut direction = vec![0.0; d];
        for r in 0..m {
            axpy(left.at(i, r), w.row(r), &mut direction);
        }
        if norm(&direction) > ROW_TOLERANCE * length {
            extend_basis(basis, &direction, ROW_TOLERANCE);
        }
    }
    Ok(())
}

/// A fitted orthogonal projection away from the rows of `basis`.
fn fitted_projection(basis: &Matrix, notes: Vec<(String, f64)>) -> Result<Fitted, FitError> {
    fitted_erase(Edit::projection(basis), notes)
}

/// Wraps an eraser; a decomposition of extreme but finite data can overflow,
/// and then the eraser's own check is the first to see it.
fn fitted_erase(
    edit: Result<Edit, EditError>,
    notes: Vec<(String, f64)>,
) -> Result<Fitted, FitError> {
    let edit = edit.map_err(|e| FitError::Decomposition {
        what: "assembling the eraser",
        reason: e.to_string(),
    })?;
    Ok(Fitted { edit, notes })
}
