//! SentDebias: removes the principal directions of counterfactual differences.
//!
//! # Source
//! Liang et al., "Towards Debiasing Sentence Representations", ACL 2020
//! (arXiv 2007.08100), with the choices of Meade et al., "An Empirical Survey
//! of the Effectiveness of Debiasing Techniques for Pre-trained Language
//! Models", ACL 2022 (arXiv 2110.08527): L2-normalised sentence vectors, k = 1.
//!
//! Formula: s_i = x_i/‖x_i‖. For every counterfactual set T (a pair for gender, a triple for race and religion) δ_i =
//! s_i − mean_{j∈T} s_j. V holds the k leading right singular vectors of the stacked δ; their mean is zero, so this
//! is their PCA. x ↦ x − V·Vᵀ·x at every token.
//!
//! # Shapes
//! x is n×d, and V is d×k.

use super::fitted_projection;
use crate::linalg::top_right_singular;
use crate::options::{Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Matrix, Needs};
use interlingua_edits::norm;

/// SentDebias. The rank defaults to 1.
///
/// Rows outside every counterfactual set are not read. Notes of the fit: `explained_variance_i` is the share of the
/// differences' variance along direction i, and `sets` the number of counterfactual sets.
#[derive(Debug, Clone, Copy, Default)]
pub struct SentDebias;

impl Debiaser for SentDebias {
    fn name(&self) -> &'static str {
        "sentdebias"
    }

    fn title(&self) -> &'static str {
        "SentDebias"
    }

    fn citation(&self) -> &'static str {
        "Liang et al. 2020, arXiv 2007.08100; Meade et al. 2022, arXiv 2110.08527"
    }

    fn summary(&self) -> &'static str {
        "Removes the principal directions of differences between counterfactual sentences."
    }

    fn docs(&self) -> &'static str {
        "methods/sentdebias.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            tuples: true,
            ..Needs::default()
        }
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        Params::new(self.name(), self.params(), options)?;
        data.check()?;
        let rank = rank_within(self.name(), options, 1, data.dim())?;
        let sets = data.tuples(self.name())?;
        // A set of m members has m − 1 independent differences.
        let independent = sets.iter().map(|rows| rows.len() - 1).sum();
        if independent < rank {
            return Err(FitError::TooFewExamples {
                method: self.name(),
                rank,
                examples: independent,
            });
        }
        let differences = differences(data, &sets, self.name())?;
        let top = top_right_singular(&differences, rank)?;
        // The vectors have unit length, so that identical sentences leave squared
        // differences of about 10⁻³² each, which are rounding and not a direction.
        let rounding = 1e-24 * differences.rows() as f64;
        let found = top.squares.iter().filter(|&&s| s > rounding).count();
        if found < rank {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank,
                found,
            });
        }
        let mut notes = vec![("sets".to_owned(), sets.len() as f64)];
        for (i, square) in top.squares.iter().enumerate() {
            notes.push((format!("explained_variance_{}", i + 1), square / top.total));
        }
        fitted_projection(&top.vectors, notes)
    }
}

/// Normalised vectors minus the mean of their set, stacked set by set.
fn differences(
    data: &FitData,
    sets: &[Vec<usize>],
    method: &'static str,
) -> Result<Matrix, FitError> {
    let d = data.dim();
    let mut stacked = Vec::new();
    for rows in sets {
        let start = stacked.len();
        let mut mean = vec![0.0; d];
        for &row in rows {
            let x = data.x.row(row);
            let length = norm(x);
            if length == 0.0 {
                return Err(FitError::ZeroVector { method, row });
            }
            for (m, v) in mean.iter_mut().zip(x) {
                *m += v / length / rows.len() as f64;
            }
            stacked.extend(x.iter().map(|v| v / length));
        }
        for vector in stacked[start..].chunks_exact_mut(d) {
            vector.iter_mut().zip(&mean).for_each(|(v, m)| *v -= m);
        }
    }
    let n = stacked.len() / d;
    Ok(Matrix::new(n, d, stacked)?)
}
