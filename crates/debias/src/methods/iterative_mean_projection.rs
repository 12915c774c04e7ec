//! Iterative mean projection: removes the difference of the group means again and again, and brings the vectors back
//! to length 1 after each removal.
//!
//! # Source
//! One projection along the mean difference makes the group means equal: Haghighatkhah et al., "Better Hit the Nail
//! on the Head than Beat around the Bush", EMNLP 2022 (arXiv 2212.04273). A second projection of the same vectors
//! changes nothing. But models and similarity scores compare directions, which means vectors of length 1. Bolukbasi
//! et al., "Man is to Computer Programmer as Woman is to Homemaker?", NIPS 2016 (arXiv 1607.06520), therefore bring
//! every vector back to length 1 after the bias direction is removed. That moves the group means apart again where
//! the groups lost unequal shares of their lengths, and the next round removes the new difference. The loop is that
//! of INLP (Ravfogel et al. 2020, arXiv 2004.07667), with the mean difference in place of a classifier.
//!
//! Formula, per round: u_i = P·x_i/‖P·x_i‖; D holds the differences of the groups' means of u from the first group's
//! mean; B is an orthonormal basis of all rows of D so far; P = I − B·Bᵀ. In the end x ↦ P·x. Two groups give one
//! direction a round.
//!
//! # Shapes
//! X is n×d, D is (groups − 1)×d, and B is d×k.

use super::{extend_by_row_space, fitted_projection};
use crate::options::{ParamSpec, Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Matrix, Needs};
use interlingua_edits::{axpy, dot, norm};

/// Iterative mean projection. The rank defaults to groups − 1, which is one round.
///
/// If the last round would exceed the rank, only the leading right singular vectors of its D are taken. With
/// `rounds`, it stops after that many rounds even if the rank is not reached. Without `rounds`, data that has no more
/// differences before the rank is reached is an error. The neutral class is not read.
///
/// Notes of the fit: `distance_round_i` is the largest distance between the mean of the first group and that of
/// another, over vectors of length 1 before the projection of round i; `rounds` is the number of rounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct IterativeMeanProjection;

/// A vector that keeps less than this share of its length lay in the removed
/// subspace: what is left is rounding, and has no direction.
const VANISHED: f64 = 1e-9;

/// Differences of means of unit vectors below this are rounding.
const ROUNDING: f64 = 1e-12;

impl Debiaser for IterativeMeanProjection {
    fn name(&self) -> &'static str {
        "iterative-mean-projection"
    }

    fn title(&self) -> &'static str {
        "Iterative mean projection"
    }

    fn citation(&self) -> &'static str {
        "Haghighatkhah et al. 2022, arXiv 2212.04273; Bolukbasi et al. 2016, arXiv 1607.06520"
    }

    fn summary(&self) -> &'static str {
        "Removes the difference of group means of unit vectors, restores their length, and repeats."
    }

    fn docs(&self) -> &'static str {
        "methods/iterative-mean-projection.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            groups: true,
            classes: 2,
            ..Needs::default()
        }
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[ParamSpec {
            name: "rounds",
            default: "as many as the rank takes",
            help: "the largest number of rounds",
        }]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.count("rounds").map(|_| ())
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        let rounds = params.count("rounds")?;
        data.check()?;
        let groups = data.require_groups(self.name())?;
        let d = data.dim();
        let one_round = (groups.len() - 1).min(d);
        let default = if rounds.is_some() { d } else { one_round };
        let rank = rank_within(self.name(), options, default, d)?;
        let mut rest = unit_rows(data, &groups, self.name())?;
        let mut basis: Vec<Vec<f64>> = Vec::new();
        let mut notes = Vec::new();
        let mut round = 0;
        while basis.len() < rank && rounds.is_none_or(|most| round < most) {
            let Some(differences) = mean_differences(&rest, data, &groups) else {
                break;
            };
            let distance = (0..differences.rows()).map(|i| norm(differences.row(i)));
            let distance = distance.fold(0.0, f64::max);
            if distance <= ROUNDING {
                break;
            }
            let before = basis.len();
            extend_by_row_space(&mut basis, &differences, rank)?;
            if basis.len() == before {
                break;
            }
            round += 1;
            notes.push((format!("distance_round_{round}"), distance));
            project_to_unit(&mut rest, &basis[before..]);
        }
        if basis.is_empty() || (rounds.is_none() && basis.len() < rank) {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank,
                found: basis.len(),
            });
        }
        notes.push(("rounds".to_owned(), round as f64));
        fitted_projection(&Matrix::from_rows(&basis, d), notes)
    }
}

/// The rows of the groups at length 1, all others at 0.
fn unit_rows(data: &FitData, groups: &[usize], method: &'static str) -> Result<Matrix, FitError> {
    let mut out = Matrix::zeros(data.x.rows(), data.dim());
    for row in (0..data.x.rows()).filter(|&row| groups.contains(&data.label[row])) {
        let x = data.x.row(row);
        let length = norm(x);
        if length == 0.0 {
            return Err(FitError::ZeroVector { method, row });
        }
        axpy(1.0 / length, x, out.row_mut(row));
    }
    Ok(out)
}

/// Takes the directions out of every row and brings the rest back to length 1;
/// rows of which nothing is left become 0.
fn project_to_unit(rows: &mut Matrix, directions: &[Vec<f64>]) {
    for i in 0..rows.rows() {
        let row = rows.row_mut(i);
        for b in directions {
            axpy(-dot(b, row), b, row);
        }
        let length = norm(row);
        let scale = if length > VANISHED { 1.0 / length } else { 0.0 };
        row.iter_mut().for_each(|v| *v *= scale);
    }
}

/// Differences of the groups' means from the first group's, over the rows that
/// still have a direction; none when a group has no such row.
fn mean_differences(rest: &Matrix, data: &FitData, groups: &[usize]) -> Option<Matrix> {
    let mut means = groups.iter().map(|&group| {
        let mut mean = vec![0.0; rest.cols()];
        let mut n = 0.0;
        for row in (0..rest.rows()).filter(|&row| data.label[row] == group) {
            if rest.row(row).iter().any(|&v| v != 0.0) {
                axpy(1.0, rest.row(row), &mut mean);
                n += 1.0;
            }
        }
        mean.iter_mut().for_each(|v| *v /= n);
        (n > 0.0).then_some(mean)
    });
    let first = means.next()??;
    let differences: Option<Vec<Vec<f64>>> = means
        .map(|mean| {
            let mut difference = mean?;
            axpy(-1.0, &first, &mut difference);
            Some(difference)
        })
        .collect();
    Some(Matrix::from_rows(&differences?, rest.cols()))
}
