//! Mean difference: removes the direction from one group's mean to the other's.
//!
//! # Source
//! It is the simplest linear direction of a concept. For its use as an eraser, see the appendix of Belrose et al.
//! 2023 (arXiv 2306.03819) and Haghighatkhah et al., "Better Hit the Nail on the Head than Beat around the Bush",
//! EMNLP 2022 (arXiv 2212.04273), who show that one such projection already makes the two class means equal.
//!
//! Formula: v = m_r − m_l; x ↦ x − v·(v·x)/(v·v). With more than two groups, the span of all differences from the
//! first group's mean is removed.
//!
//! # Shapes
//! x is n×d, and v has d values.

use super::{fit_by_moments, fitted_projection};
use crate::linalg::extend_basis;
use crate::options::{Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Keep, Matrix, Moments, Needs};
use interlingua_edits::{axpy, norm};

/// Mean difference. The rank is groups − 1 unless a smaller one is asked for. The neutral class is not read. Notes of
/// the fit: `distance_i` is the distance from the first group's mean to that of group i + 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeanDifference;

impl Debiaser for MeanDifference {
    fn name(&self) -> &'static str {
        "mean-difference"
    }

    fn title(&self) -> &'static str {
        "Mean difference"
    }

    fn citation(&self) -> &'static str {
        "Haghighatkhah et al. 2022, arXiv 2212.04273"
    }

    fn summary(&self) -> &'static str {
        "Removes the direction from one group's mean to the other's."
    }

    fn docs(&self) -> &'static str {
        "methods/mean-difference.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            groups: true,
            classes: 2,
            ..Needs::default()
        }
    }

    fn max_rank(&self, _classes: usize, groups: usize, dim: usize) -> usize {
        groups.saturating_sub(1).min(dim)
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
        let max = (groups.len() - 1).min(moments.dim());
        let rank = rank_within(self.name(), options, max, max)?;
        let (basis, distances) = mean_differences(self.name(), moments, rank)?;
        let notes = distances.iter().enumerate();
        let notes = notes.map(|(i, d)| (format!("distance_{}", i + 1), *d));
        fitted_projection(&basis, notes.collect())
    }
}

/// An orthonormal basis, `rank` × d, of the differences between the first group's mean and the others', and the length of each
/// difference.
///
/// # Errors
/// Fewer than two groups; means that span fewer directions than `rank`.
pub(super) fn mean_differences(
    method: &'static str,
    moments: &Moments,
    rank: usize,
) -> Result<(Matrix, Vec<f64>), FitError> {
    let groups = moments.require_groups(method)?;
    let first = moments.class_mean(groups[0]);
    let (mut basis, mut distances) = (Vec::with_capacity(rank), Vec::new());
    for &group in &groups[1..] {
        let mean = moments.class_mean(group);
        // What is small beside the means themselves is rounding.
        let rounding = 1e-12 * (norm(mean) + norm(first));
        let mut difference = mean.to_vec();
        axpy(-1.0, first, &mut difference);
        let distance = norm(&difference);
        distances.push(distance);
        if basis.len() < rank && distance > rounding {
            extend_basis(&mut basis, &difference, 1e-9);
        }
    }
    let found = basis.len();
    if found < rank {
        return Err(FitError::Degenerate {
            method,
            rank,
            found,
        });
    }
    Ok((Matrix::from_rows(&basis, moments.dim()), distances))
}
