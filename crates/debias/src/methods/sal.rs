//! SAL: removes the directions in which sentence vectors and groups vary together.
//!
//! # Source
//! Shao, Ziser and Cohen, "Gold Doesn't Always Glitter: Spectral Removal of Linear and
//! Nonlinear Guarded Attribute Information", EACL 2023 (arXiv 2203.07893).
//!
//! Formula: A = Xᵀ·Z/n with Z the one-hot groups, neither of them centred; A = U·S·Vᵀ; x ↦ x − U_k·U_kᵀ·x for the k
//! leading left singular vectors. Column c of A is the mean of group c times its share of the rows, so with k =
//! groups the grand mean is removed, too.
//!
//! # Shapes
//! x is n×d, A is d×groups, and U_k is d×k.

use super::{fit_by_moments, fitted_projection};
use crate::linalg::{extend_basis, mirror_lower, symmetric_eigen};
use crate::options::{Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Keep, Matrix, Moments, Needs};
use interlingua_edits::{axpy, dot, norm};

/// SAL. The rank defaults to the number of groups, which is its maximum, and is limited to the numerical rank of the
/// covariance. The neutral class is not read. Notes of the fit: `singular_value_i` of every direction that is
/// removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sal;

impl Debiaser for Sal {
    fn name(&self) -> &'static str {
        "sal"
    }

    fn title(&self) -> &'static str {
        "SAL"
    }

    fn citation(&self) -> &'static str {
        "Shao et al. 2023, arXiv 2203.07893"
    }

    fn summary(&self) -> &'static str {
        "Removes the directions in which states and groups covary most, without taking the mean away first."
    }

    fn docs(&self) -> &'static str {
        "methods/sal.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            groups: true,
            classes: 2,
            ..Needs::default()
        }
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
        let groups = moments.require_groups(self.name())?;
        let max = groups.len().min(moments.dim());
        let rank = rank_within(self.name(), options, max, max)?;
        let mut basis = Vec::with_capacity(rank);
        let mut notes = Vec::new();
        let covariance = cross_covariance(moments, &groups);
        for (i, value) in extend(&mut basis, &covariance, rank)?.iter().enumerate() {
            notes.push((format!("singular_value_{}", i + 1), *value));
        }
        if basis.is_empty() {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank,
                found: 0,
            });
        }
        fitted_projection(&Matrix::from_rows(&basis, moments.dim()), notes)
    }
}

/// Computes Zᵀ·X/n over the rows that belong to groups.
///
/// # Shapes
/// The result is groups×d.
pub(super) fn cross_covariance(moments: &Moments, groups: &[usize]) -> Matrix {
    let n: f64 = groups.iter().map(|&g| moments.class_count(g) as f64).sum();
    Matrix::from_fn(groups.len(), moments.dim(), |i, j| {
        moments.class_mean(groups[i])[j] * (moments.class_count(groups[i]) as f64 / n)
    })
}

/// A singular value below this share of the covariance's size is rounding, and its vector
/// any direction.
const RANK_TOLERANCE: f64 = 1e-9;

/// Extends the basis by at most `rank` leading singular vectors of the covariance after the basis is removed from it,
/// limited by its numerical rank. Returns their singular values.
///
/// # Shapes
/// `covariance` is groups×d, and the vectors of the basis have d values.
pub(super) fn extend(
    basis: &mut Vec<Vec<f64>>,
    covariance: &Matrix,
    rank: usize,
) -> Result<Vec<f64>, FitError> {
    let floor = RANK_TOLERANCE * norm(covariance.data());
    let mut rest = covariance.clone();
    for i in 0..rest.rows() {
        // Twice, so that rounding of the first pass goes too.
        for b in basis.iter().chain(basis.iter()) {
            let along = dot(b, rest.row(i));
            axpy(-along, b, rest.row_mut(i));
        }
    }
    let mut gram = rest.matmul(&rest.transpose());
    mirror_lower(&mut gram);
    let (_, left) = symmetric_eigen(&gram, "eigendecomposition of the cross-covariance")?;
    let mut values = Vec::new();
    for i in 0..rank.min(rest.rows()) {
        let mut direction = vec![0.0; rest.cols()];
        for r in 0..rest.rows() {
            axpy(left.at(i, r), rest.row(r), &mut direction);
        }
        let value = norm(&direction);
        if value > floor && extend_basis(basis, &direction, RANK_TOLERANCE) {
            values.push(value);
        }
    }
    Ok(values)
}
