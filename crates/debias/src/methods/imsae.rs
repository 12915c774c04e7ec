//! IMSAE: applies SAL in one language after another, each time to what the earlier ones left.
//!
//! # Source
//! "Iterative Multilingual Spectral Attribute Erasure", EMNLP 2025 (arXiv 2506.11244). This implementation is based
//! on the abstract alone; the formula is this project's interpretation, built on SAL (arXiv 2203.07893).
//!
//! Formula: for l = 1, …, L: A_l = P_{l−1}···P_1·X_lᵀ·Z_l/n_l; U_l holds its k leading left singular vectors; P_l = I
//! − U_l·U_lᵀ; x ↦ P_L···P_1·x. A_l is orthogonal to all earlier U, so the product is the orthogonal projection I −
//! Σ_l U_l·U_lᵀ. If k is the rank of each A_l, the projection removes the span of all X_lᵀ·Z_l, whatever the order of
//! the languages is; with a smaller k the order matters. A direction beyond the numerical rank would be arbitrary, so
//! k is limited to it.
//!
//! # Shapes
//! X_l is n_l×d, Z_l is n_l×groups, and U_l is d×k.

use super::fitted_projection;
use super::sal::{cross_covariance, extend};
use crate::options::{Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Keep, Matrix, Moments, Needs};

/// IMSAE. The rank is that of each language; it defaults to the number of groups, which is its maximum, and is
/// limited to the numerical rank. With one language it is SAL. The neutral class is not read. Notes of the fit:
/// `removed_i` is the number of directions that language i added.
#[derive(Debug, Clone, Copy, Default)]
pub struct Imsae;

impl Debiaser for Imsae {
    fn name(&self) -> &'static str {
        "imsae"
    }

    fn title(&self) -> &'static str {
        "IMSAE"
    }

    fn citation(&self) -> &'static str {
        "Iterative Multilingual Spectral Attribute Erasure 2025, arXiv 2506.11244"
    }

    fn summary(&self) -> &'static str {
        "Applies SAL in one language after the other, each time to what the earlier steps left."
    }

    fn docs(&self) -> &'static str {
        "methods/imsae.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            groups: true,
            classes: 2,
            languages: true,
            ..Needs::default()
        }
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        Params::new(self.name(), self.params(), options)?;
        data.check()?;
        let mut basis = Vec::new();
        let mut notes = Vec::new();
        let mut asked = 0;
        for (i, rows) in data.languages().iter().enumerate() {
            let mut moments = Moments::new(
                data.dim(),
                data.classes.clone(),
                data.neutral,
                Keep::default(),
            );
            let labels: Vec<usize> = rows.iter().map(|&row| data.label[row]).collect();
            let x = Matrix::from_fn(rows.len(), data.dim(), |i, j| data.x.at(rows[i], j));
            moments.update(&x, &labels)?;
            let groups = moments.require_groups(self.name())?;
            let max = groups.len().min(data.dim());
            let rank = rank_within(self.name(), options, max, max)?;
            asked += rank;
            let found = extend(&mut basis, &cross_covariance(&moments, &groups), rank)?;
            notes.push((format!("removed_{}", i + 1), found.len() as f64));
        }
        if basis.is_empty() {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank: asked,
                found: 0,
            });
        }
        fitted_projection(&Matrix::from_rows(&basis, data.dim()), notes)
    }
}
