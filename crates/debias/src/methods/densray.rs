//! DensRay: directions along which groups differ more than their members do.
//!
//! # Source
//! Dufter & Schütze, "Analytical Methods for Interpretable Ultradense Word
//! Embeddings", EMNLP 2019 (arXiv 1904.08654); for debiasing Liang, Dufter &
//! Schütze, "Monolingual and Multilingual Reduction of Gender Bias in
//! Contextualized Representations", COLING 2020.
//!
//! Formula: vectors L2-normalised; A = w_un·Σ_{between} δδᵀ − w_eq·Σ_{within} δδᵀ
//! over all ordered pairs of rows, with δ their difference, and each weight one
//! over the number of its pairs: 1/(2·n_l·n_r) and 1/(n_l² + n_r²) for two
//! groups. V = the k leading eigenvectors of A; x ↦ x − V·Vᵀ·x.
//!
//! No pair is ever formed: with C the covariance (divided by n) of a group, the
//! mean of δδᵀ over all pairs of groups l and r is C_l + C_r + (m_l−m_r)(m_l−m_r)ᵀ,
//! and the sum of δδᵀ within a group is 2·n²·C. It follows that for two groups of
//! equal size the covariances cancel: A has rank 1, and its eigenvector is the
//! difference of the group means.
//!
//! # Shapes
//! x n×d, A d×d, V d×k.

use super::fitted_projection;
use crate::linalg::{add_gram_lower, symmetric_eigen};
use crate::matrix::{axpy, norm};
use crate::options::{Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Matrix, Needs};

/// DensRay; rank defaults to 1. The neutral class is not read; three groups and
/// more are compared pairwise. Notes: `eigenvalue_i`.
#[derive(Debug, Clone, Copy, Default)]
pub struct DensRay;

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
        Params::new(self.name(), self.params(), options)?;
        data.check()?;
        let groups = data.require_groups(self.name())?;
        let d = data.dim();
        let rank = rank_within(self.name(), options, 1, d)?;
        let normalised = normalised(data, &groups, self.name())?;
        let a = contrast(&normalised, &groups);
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

/// The data with every row of a group at unit length.
fn normalised(data: &FitData, groups: &[usize], method: &'static str) -> Result<FitData, FitError> {
    let mut out = data.clone();
    for row in 0..out.x.rows() {
        if groups.contains(&out.label[row]) {
            let x = out.x.row_mut(row);
            let length = norm(x);
            if length == 0.0 {
                return Err(FitError::ZeroVector { method, row });
            }
            x.iter_mut().for_each(|v| *v /= length);
        }
    }
    Ok(out)
}

/// The matrix A, in its lower triangle.
fn contrast(data: &FitData, groups: &[usize]) -> Matrix {
    let d = data.dim();
    let means: Vec<Vec<f64>> = groups.iter().map(|&g| data.class_mean(g)).collect();
    let counts: Vec<f64> = groups
        .iter()
        .map(|&g| data.rows_of(g).count() as f64)
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
        let centred: Vec<f64> = data
            .rows_of(group)
            .flat_map(|row| row.iter().zip(&means[i]).map(|(x, m)| x - m))
            .collect();
        add_gram_lower(&mut a, &centred, between - within);
        for j in 0..i {
            let mut difference = means[i].clone();
            axpy(-1.0, &means[j], &mut difference);
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
        let data = FitData {
            x: Matrix::from_fn(9, 3, |i, j| ((i * 5 + j * 7) % 8) as f64 - 2.5),
            label: vec![0, 0, 1, 1, 1, 1, 2, 2, 2],
            tuple: vec![None; 9],
            classes: vec!["a".into(), "b".into(), "c".into()],
            neutral: None,
        };
        for groups in [vec![0, 1], vec![0, 1, 2]] {
            let mut expect = Matrix::zeros(3, 3);
            let rows: Vec<usize> = (0..9)
                .filter(|&i| groups.contains(&data.label[i]))
                .collect();
            let pairs = |same: bool| {
                let all = rows.iter().flat_map(|&i| rows.iter().map(move |&j| (i, j)));
                let label = &data.label;
                all.filter(move |&(i, j)| (label[i] == label[j]) == same)
            };
            for same in [false, true] {
                let weight = if same { -1.0 } else { 1.0 } / pairs(same).count() as f64;
                for (i, j) in pairs(same) {
                    let mut difference = data.x.row(i).to_vec();
                    axpy(-1.0, data.x.row(j), &mut difference);
                    add_gram_lower(&mut expect, &difference, weight);
                }
            }
            assert!(contrast(&data, &groups).max_abs_difference(&expect) < 1e-12);
        }
    }
}
