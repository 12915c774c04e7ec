//! INLP: iterative nullspace projection.
//!
//! # Source
//! Ravfogel et al., "Null It Out: Guarding Protected Attributes by Iterative
//! Nullspace Projection", ACL 2020 (arXiv 2004.07667), with the classifiers of
//! Meade et al. 2022 (arXiv 2110.08527): linear SVM without intercept, squared
//! hinge loss, C = 1, one against the rest.
//!
//! Formula, per round: W holds the SVM weights on X·P; B is an orthonormal basis of all rows of W so far; P = I −
//! B·Bᵀ. The next round sees X·P, with X the original data. In the end x ↦ P·x. Three classes give three rows a
//! round, two give one.
//!
//! # Shapes
//! X is n×d, W is m×d, and B is d×k.

use super::{extend_by_row_space, fitted_projection, majority};
use crate::options::{ParamSpec, Params, rank_within};
use crate::svm::{SvmOptions, SvmProblem};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Matrix, Needs};

/// INLP. Without `rank` it runs `rounds` rounds; with `rank` and without `rounds` it runs until the basis has that
/// rank; with both it stops at whichever is reached first.
///
/// If the last round would exceed the rank, only the leading right singular vectors of its W are taken, so that
/// methods can be compared at equal rank. Notes of the fit: `majority` is the share of the largest class,
/// `accuracy_round_i` the accuracy on the training data before the projection of round i, and `rounds` the number of
/// rounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inlp;

/// Rounds for a model of GPT-2 size in Meade et al.; 80 for BERT.
const DEFAULT_ROUNDS: usize = 10;

impl Debiaser for Inlp {
    fn name(&self) -> &'static str {
        "inlp"
    }

    fn title(&self) -> &'static str {
        "INLP"
    }

    fn citation(&self) -> &'static str {
        "Ravfogel et al. 2020, arXiv 2004.07667; Meade et al. 2022, arXiv 2110.08527"
    }

    fn summary(&self) -> &'static str {
        "Trains linear classifiers of the groups, removes what they use, and repeats."
    }

    fn docs(&self) -> &'static str {
        "methods/inlp.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec {
                name: "rounds",
                default: "10, or as many as `rank` takes",
                help: "the number of classifiers (or sets of one-vs-rest classifiers) to train",
            },
            ParamSpec {
                name: "c",
                default: "1",
                help: "the weight of the hinge loss against the L2 penalty",
            },
            ParamSpec {
                name: "tolerance",
                default: "1e-10",
                help: "the gradient, relative to that at the start, at which the training of a classifier stops",
            },
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        settings(options).map(|_| ())
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        let (svm, rounds) = settings(options)?;
        data.check()?;
        let present = data.require_classes(self.name(), 2)?;
        let (n, d) = (data.x.rows(), data.dim());
        let max_rank = rank_within(self.name(), options, d, d)?;
        if options.rank.is_some() && n < max_rank {
            return Err(FitError::TooFewExamples {
                method: self.name(),
                rank: max_rank,
                examples: n,
            });
        }
        let max_rounds = match (rounds, options.rank) {
            (Some(rounds), _) => rounds,
            (None, Some(_)) => usize::MAX,
            (None, None) => DEFAULT_ROUNDS,
        };

        let problem = SvmProblem::new(&data.x, svm);
        let mut basis: Vec<Vec<f64>> = Vec::new();
        let mut notes = vec![("majority".to_owned(), majority(data))];
        let mut round = 0;
        while round < max_rounds && basis.len() < max_rank {
            round += 1;
            let name = |class: usize| format!("inlp round {round}, class {}", data.classes[class]);
            let w = problem.one_vs_rest(&data.label, &present, &basis, &name)?;
            let accuracy = accuracy(&problem, &w, &data.label, &present);
            notes.push((format!("accuracy_round_{round}"), accuracy));
            let before = basis.len();
            extend_by_row_space(&mut basis, &w, max_rank)?;
            if basis.len() == before {
                // Nothing linear is left: every further round would find w = 0.
                break;
            }
        }
        if options.rank.is_some() && rounds.is_none() && basis.len() < max_rank {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank: max_rank,
                found: basis.len(),
            });
        }
        notes.push(("rounds".to_owned(), round as f64));
        fitted_projection(&Matrix::from_rows(&basis, d), notes)
    }
}

/// How classifiers are trained, and how many rounds of them.
fn settings(options: &FitOptions) -> Result<(SvmOptions, Option<usize>), FitError> {
    let params = Params::new(Inlp.name(), Inlp.params(), options)?;
    let own = SvmOptions::default();
    let svm = SvmOptions {
        c: params.positive("c")?.unwrap_or(own.c),
        tolerance: params.positive("tolerance")?.unwrap_or(own.tolerance),
        ..own
    };
    Ok((svm, params.count("rounds")?))
}

/// Share of rows whose class the weights name: the sign with two classes, the
/// largest score with more.
fn accuracy(problem: &SvmProblem<'_>, w: &Matrix, label: &[usize], present: &[usize]) -> f64 {
    let scores: Vec<Vec<f64>> = (0..w.rows()).map(|r| problem.rows_dot(w.row(r))).collect();
    let predicted = |i: usize| {
        if present.len() == 2 {
            present[usize::from(scores[0][i] > 0.0)]
        } else {
            let mut best = 0;
            for r in 1..scores.len() {
                if scores[r][i] > scores[best][i] {
                    best = r;
                }
            }
            present[best]
        }
    };
    let hits = (0..label.len())
        .filter(|&i| predicted(i) == label[i])
        .count();
    hits as f64 / label.len() as f64
}
