//! DensRay: removes directions along which groups differ more than their members do.
//!
//! # Source
//! Dufter & Schütze, "Analytical Methods for Interpretable Ultradense Word Embeddings", EMNLP 2019 (arXiv
//! 1904.08654). For debiasing: Liang, Dufter & Schütze, "Monolingual and Multilingual Reduction of Gender Bias in
//! Contextualized Representations", COLING 2020.
//!
//! Formula: vectors are L2-normalised; A = w_un·Σ_{between} δδᵀ − w_eq·Σ_{within} δδᵀ over all ordered pairs of rows,
//! with δ their difference. Each weight is one over the number of its pairs: 1/(2·n_l·n_r) and 1/(n_l² + n_r²) for
//! two groups. V holds the k leading eigenvectors of A; x ↦ x − V·Vᵀ·x.
//!
//! No pair is ever formed. With C the covariance (divided by n) of a group, the mean of δδᵀ over all pairs of groups
//! l and r is C_l + C_r + (m_l−m_r)(m_l−m_r)ᵀ, and the sum of δδᵀ within a group is 2·n²·C. It follows that for two
//! groups of equal size the covariances cancel: A has rank 1, and its eigenvector is the difference of the group
//! means.
//!
//! # Shapes
//! x is n×d, A is d×d, and V is d×k.

use super::{fit_by_moments, fitted_projection};
use crate::linalg::{add_gram_lower, symmetric_eigen};
use crate::options::{Params, rank_within};
use crate::{
    Covariance, Debiaser, FitData, FitError, FitOptions, Fitted, Keep, Matrix, Moments, Needs,
};
use interlingua_edits::axpy;

/// DensRay. The rank defaults to 1. The neutral class is not read; three or more groups are compared pairwise. Notes
/// of the fit: `eigenvalue_i`.
#[derive(Debug, Clone, Copy, Default)]
pub struct DensRay;

const KEEP: Keep = Keep {
    covariance: Covariance::PerClass,
    unit_length: true,
};

impl Debiaser for DensRay {
    fn name(&self) -> &'static str {
        "densray"
    }

    fn title(&self) -> &'static str {
        "DensRay"
    }

    fn citation(&self) -> &'static str {
        "Dufter and Schütze 2019, arXiv 1904.08654; Liang et al. 2020 (COLING)"
    }

    fn summary(&self) -> &'static str {
        "Removes directions along which groups differ more than their members do among themselves."
    }

    fn docs(&self) -> &'static str {
        "methods/densray.md"
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
        Ok(Some(KEEP))
    }

    fn fit_moments(&self, moments: &Moments, options: &FitOptions) -> Result<Fitted, FitError> {
        Params::new(self.name(), self.params(), options)?;
        moments.require_kept(self.name(), KEEP)?;
        let groups = moments.require_groups(self.name())?;
        let d = moments.dim();
        let rank = rank_within(self.name(), options, 1, d)?;
        let a = contrast(moments, &groups);
        let (values, vectors) = symmetric_eigen(&a, "eigendecomposition of DensRay's A")?;
        // With an eigenvalue that is not positive, members of a group differ at
        // least as much along that direction as the groups do. The vectors have
        // unit length, so eigenvalues below 1e-14 are rounding.
        let floor = f64::max(values[0] * 1e-10, 1e-14);
        let found = values.iter().take_while(|&&v| v > floor).count();
        if found < rank {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank,
                found,
            });
        }
        let notes = (0..rank).map(|i| (format!("eigenvalue_{}", i + 1), values[i]));
        let basis = Matrix::from_fn(rank, d, |i, j| vectors.at(i, j));
        fitted_projection(&basis, notes.collect())
    }
}

/// The matrix A, in its lower triangle.
fn contrast(moments: &Moments, groups: &[usize]) -> Matrix {
    let d = moments.dim();
    let counts: Vec<f64> = groups
        .iter()
        .map(|&g| moments.class_count(g) as f64)
        .collect();
    let total: f64 = counts.iter().sum();
    let within_pairs: f64 = counts.iter().map(|n| n * n).sum();
    let between_pairs = total * total - within_pairs;

    let mut a = Matrix::zeros(d, d);
    for (i, &group) in groups.iter().enumerate() {
        // C of this group enters once for every ordered pair of it with a row of
        // another group, in either order, and 2·n² times within; C is a sum over
        // rows divided by n.
        let between = 2.0 * (total - counts[i]) / between_pairs;
        let within = 2.0 * counts[i] / within_pairs;
        moments.add_class_scatter(group, between - within, &mut a);
        for (j, &other) in groups[..i].iter().enumerate() {
            let mut difference = moments.class_mean(group).to_vec();
            axpy(-1.0, moments.class_mean(other), &mut difference);
            let weight = 2.0 * counts[i] * counts[j] / between_pairs;
            add_gram_lower(&mut a, &difference, weight);
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definition, with all pairs written out.
    #[test]
    fn pairs_written_out() {
        let label = vec![0, 0, 1, 1, 1, 1, 2, 2, 2];
        let mut x = Matrix::from_fn(9, 3, |i, j| ((i * 5 + j * 7) % 8) as f64 - 2.5);
        let mut moments = Moments::new(3, vec!["a".into(), "b".into(), "c".into()], None, KEEP);
        moments.update(&x, &label).unwrap();
        for i in 0..9 {
            let length = interlingua_edits::norm(x.row(i));
            x.row_mut(i).iter_mut().for_each(|v| *v /= length);
        }
        for groups in [vec![0, 1], vec![0, 1, 2]] {
            let mut expect = Matrix::zeros(3, 3);
            let rows: Vec<usize> = (0..9).filter(|&i| groups.contains(&label[i])).collect();
            let pairs = |same: bool| {
                let all = rows.iter().flat_map(|&i| rows.iter().map(move |&j| (i, j)));
                let label = &label;
                all.filter(move |&(i, j)| (label[i] == label[j]) == same)
            };
            for same in [false, true] {
                let weight = if same { -1.0 } else { 1.0 } / pairs(same).count() as f64;
                for (i, j) in pairs(same) {
                    let mut difference = x.row(i).to_vec();
                    axpy(-1.0, x.row(j), &mut difference);
                    add_gram_lower(&mut expect, &difference, weight);
                }
            }
            assert!(contrast(&moments, &groups).max_abs_difference(&expect) < 1e-12);
        }
    }
}
