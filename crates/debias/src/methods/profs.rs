//! ProFS removes the subspace in which pairs of wanted and unwanted sentences differ, except the direction that all sentences
//! share.
//!
//! # Source
//! Uppaal et al., "Model Editing as a Robust and Denoised variant of DPO: A Case Study on Toxicity", ICLR 2025 (arXiv 2405.13967).
//!
//! Formula: X⁺ and X⁻ hold the pairs, row by row; M = (X⁺ − X⁻)/2; v₁ = the first right singular vector of X⁺, not centred;
//! M ← M − (M·v₁)·v₁ᵀ; V = the k leading right singular vectors of M; x ↦ x − V·Vᵀ·x. The paper applies it to weights: at the
//! output of the MLP, `block.L.mlp`, W ← (I − V·Vᵀ)·W of its last matrix is the same map, and an export folds it exactly
//! where no norm stands between. There X are states behind the block and the mean counts padding; here they are states where
//! the edit acts, without padding.
//!
//! # Shapes
//! x n×d, V d×k.

use super::fitted_projection;
use crate::linalg::top_right_singular;
use crate::options::{ParamSpec, Params, rank_within};
use crate::units::place;
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Matrix, Needs};
use interlingua_edits::{axpy, dot};

/// The method ProFS. Its rank defaults to 2, as for GPT-2 in the paper, or to the number of pairs.
///
/// Rows outside every counterfactual set are not read. Notes: `pairs`; `common`, the share of the pairs' squared differences that lay on v₁;
/// `explained_variance_i`, the share of what is left that lies on direction i.
#[derive(Debug, Clone, Copy, Default)]
pub struct Profs;

const DEFAULT_RANK: usize = 2;

impl Debiaser for Profs {
    fn name(&self) -> &'static str {
        "profs"
    }

    fn title(&self) -> &'static str {
        "ProFS"
    }

    fn citation(&self) -> &'static str {
        "Uppaal et al. 2025, arXiv 2405.13967"
    }

    fn summary(&self) -> &'static str {
        "Removes the directions in which pairs differ, after taking away the one that all sentences share."
    }

    fn docs(&self) -> &'static str {
        "methods/profs.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            tuples: true,
            ..Needs::default()
        }
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[ParamSpec {
            name: "wanted",
            default: "the first group",
            help: "name of the group from whose sentences v₁ is computed, the direction that all sentences share",
        }]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("wanted").map(|_| ())
    }

    fn check_groups(&self, options: &FitOptions, groups: &[&str]) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        place(self.name(), params.text("wanted")?, groups).map(|_| ())
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        data.check()?;
        let (wanted, mut differences) = pairs(data, params.text("wanted")?)?;
        let pairs = differences.rows();
        let default = DEFAULT_RANK.min(pairs).min(data.dim());
        let rank = rank_within(self.name(), options, default, data.dim())?;
        if pairs < rank {
            return Err(FitError::TooFewExamples {
                method: self.name(),
                rank,
                examples: pairs,
            });
        }
        let whole = dot(differences.data(), differences.data());
        let common = top_right_singular(&wanted, 1)?.vectors;
        // None where all wanted sentences are zero.
        for shared in (0..common.rows()).map(|at| common.row(at)) {
            for i in 0..pairs {
                let along = dot(shared, differences.row(i));
                axpy(-along, shared, differences.row_mut(i));
            }
        }
        let left = dot(differences.data(), differences.data());
        let top = top_right_singular(&differences, rank)?;
        // What rounding leaves of differences that all lie on v₁ is no direction.
        let size = dot(wanted.data(), wanted.data()) + whole;
        let found = top.squares.iter().filter(|&&s| s > 1e-24 * size).count();
        if found < rank {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank,
                found,
            });
        }
        let mut notes = vec![
            ("pairs".to_owned(), pairs as f64),
            ("common".to_owned(), 1.0 - left / whole),
        ];
        for (i, square) in top.squares.iter().enumerate() {
            notes.push((format!("explained_variance_{}", i + 1), square / top.total));
        }
        fitted_projection(&top.vectors, notes)
    }
}

/// X⁺ and M: for every set its sentence of the wanted group, with half the difference from each of the others.
fn pairs(data: &FitData, wanted: Option<&str>) -> Result<(Matrix, Matrix), FitError> {
    let method = Profs.name();
    let sets = data.tuples(method)?;
    let in_sets = |class: &usize| sets.iter().flatten().any(|&row| data.label[row] == *class);
    let present: Vec<usize> = data.present().into_iter().filter(in_sets).collect();
    let names: Vec<&str> = present.iter().map(|&c| data.classes[c].as_str()).collect();
    let wanted = present[place(method, wanted, &names)?];
    let (mut plus, mut differences) = (Vec::new(), Vec::new());
    for rows in &sets {
        let Some(&own) = rows.iter().find(|&&row| data.label[row] == wanted) else {
            continue;
        };
        let own = data.x.row(own);
        for &row in rows.iter().filter(|&&row| data.label[row] != wanted) {
            plus.extend_from_slice(own);
            let other = data.x.row(row);
            differences.extend(own.iter().zip(other).map(|(a, b)| (a - b) / 2.0));
        }
    }
    let (n, d) = (plus.len() / data.dim(), data.dim());
    if n == 0 {
        return Err(FitError::TooFewExamples {
            method,
            rank: 1,
            examples: 0,
        });
    }
    Ok((Matrix::new(n, d, plus)?, Matrix::new(n, d, differences)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    /// Of `tests/generators/profs_golden.py`.
    #[derive(serde::Deserialize)]
    struct Case {
        dim: usize,
        plus: Vec<f64>,
        minus: Vec<f64>,
        fits: Vec<Fit>,
    }

    #[derive(serde::Deserialize)]
    struct Fit {
        rank: usize,
        projection: Vec<f64>,
    }

    fn data(dim: usize, plus: &[f64], minus: &[f64]) -> FitData {
        let pairs = plus.len() / dim;
        FitData {
            x: Matrix::new(2 * pairs, dim, [plus, minus].concat()).unwrap(),
            label: (0..2 * pairs).map(|row| row / pairs).collect(),
            tuple: (0..2 * pairs).map(|row| Some(row % pairs)).collect(),
            classes: vec!["kind".into(), "toxic".into()],
            ..FitData::default()
        }
    }

    #[test]
    fn the_projection_is_what_numpy_makes_of_the_formula() {
        let text = include_str!("../../../../tests/fixtures/debias/profs.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        assert!(golden.cases.len() >= 2);
        for case in golden.cases {
            let data = data(case.dim, &case.plus, &case.minus);
            for fit in case.fits {
                let fitted = Profs.fit(&data, &FitOptions::with_rank(fit.rank)).unwrap();
                let mut found =
                    Matrix::from_fn(case.dim, case.dim, |i, j| f64::from(u8::from(i == j)));
                fitted.edit.apply_matrix(&mut found).unwrap();
                for (found, expect) in found.data().iter().zip(&fit.projection) {
                    assert!((found - expect).abs() < 1e-8, "{found} {expect}");
                }
            }
        }
    }

    #[test]
    fn the_direction_that_all_share_stays() {
        // Pairs differ along (1, 1, 0), and all kind sentences lie far out along the first axis.
        let plus = [9.0, 1.0, 0.0, 9.0, 1.0, 0.0, 9.0, -2.0, 0.0];
        let minus = [8.0, 0.0, 0.0, 7.0, -1.0, 0.0, 6.0, -5.0, 0.0];
        let fitted = Profs
            .fit(&data(3, &plus, &minus), &FitOptions::with_rank(1))
            .unwrap();
        let mut x = Matrix::new(1, 3, vec![1.0, 1.0, 1.0]).unwrap();
        fitted.edit.apply_matrix(&mut x).unwrap();
        assert!(
            (x.at(0, 0) - 1.0).abs() < 0.1 && x.at(0, 1).abs() < 0.1,
            "{x:?}"
        );
        assert!(fitted.notes[1].1 > 0.4, "{:?}", fitted.notes);
        let toxic = FitOptions {
            params: [("wanted".to_owned(), crate::Param::Text("toxic".into()))].into(),
            ..FitOptions::with_rank(1)
        };
        let other = Profs.fit(&data(3, &plus, &minus), &toxic).unwrap();
        assert_ne!(other.edit, fitted.edit);
    }

    #[test]
    fn pairs_that_say_nothing_are_refused() {
        let check =
            |data: FitData, rank| Profs.fit(&data, &FitOptions::with_rank(rank)).unwrap_err();
        let plus = [1.0, 0.0, 2.0, 0.5];
        assert!(matches!(
            check(data(2, &plus, &plus), 1),
            FitError::Degenerate { found: 0, .. }
        ));
        assert!(matches!(
            check(data(4, &plus, &[0.0; 4]), 2),
            FitError::TooFewExamples { examples: 1, .. }
        ));
        let mut alone = data(2, &plus, &plus);
        alone.label = vec![0; 4];
        assert!(matches!(
            check(alone, 1),
            FitError::TooFewExamples { examples: 0, .. }
        ));
    }
}
