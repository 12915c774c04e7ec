//! Principal components of the class means, also called spectral attribute removal.
//!
//! # Source
//! Shao, Ziser & Cohen, "Gold Doesn't Always Glitter: Spectral Removal of Linear and Nonlinear Guarded Attribute
//! Information", EACL 2023 (arXiv 2203.07893). If all directions are kept, it is the orthogonal variant of LEACE
//! without its mean.
//!
//! Formula: Σ_xz is the cross-covariance of x with the one-hot class; its column c is the class mean minus the grand
//! mean, times the share of the class. V is the matrix of its left singular vectors; x ↦ x − V·Vᵀ·x.
//!
//! # Shapes
//! x is n×d, Σ_xz is d×classes, and V is d×k with k ≤ classes − 1.

use super::{fit_by_moments, fitted_projection};
use crate::linalg::left_singular;
use crate::options::{Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Keep, Matrix, Moments, Needs};
use interlingua_edits::norm;

/// Class-means PCA. The rank is classes − 1 unless a smaller one is asked for. The neutral class counts as a class.
/// Notes of the fit: `singular_value_i`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClassMeansPca;

impl Debiaser for ClassMeansPca {
    fn name(&self) -> &'static str {
        "class-means-pca"
    }

    fn title(&self) -> &'static str {
        "Class-means PCA"
    }

    fn citation(&self) -> &'static str {
        "Shao et al. 2023, arXiv 2203.07893"
    }

    fn summary(&self) -> &'static str {
        "Removes the principal directions of the class means."
    }

    fn docs(&self) -> &'static str {
        "methods/class-means-pca.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn max_rank(&self, classes: usize, _groups: usize, dim: usize) -> usize {
        classes.saturating_sub(1).min(dim)
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        fit_by_moments(self, data, options)
    }

    fn keeps(&self, options: &FitOptions) -> Result<Option<Keep>, FitError> {
        Params::new(self.name(), self.params(), options)?;
        Ok(Some(Keep::default()))
    }

    fn fit_moments(&self, moments: &Moments, options: &FitOptions) -> Result<Fitted, FitError> {
        Params::new(self.name(), self.params(), options)?;
        moments.require_kept(self.name(), Keep::default())?;
        let present = moments.require_classes(self.name(), 2)?;
        let d = moments.dim();
        let max = (present.len() - 1).min(d);
        let rank = rank_within(self.name(), options, max, max)?;
        let (values, vectors) =
            left_singular(&moments.cross_covariance(), "SVD of the cross-covariance")?;
        // The size of the class means sets the scale below which a difference of
        // them is rounding.
        let scale = (present.iter()).fold(0.0, |m, &c| f64::max(m, norm(moments.class_mean(c))));
        let floor = f64::max(1e-9 * values[0], 1e-13 * scale);
        let found = values.iter().take_while(|&&s| s > floor).count();
        if found < rank {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank,
                found,
            });
        }
        let notes = (0..rank).map(|i| (format!("singular_value_{}", i + 1), values[i]));
        let basis = Matrix::from_fn(rank, d, |i, j| vectors.at(i, j));
        fitted_projection(&basis, notes.collect())
    }
}
