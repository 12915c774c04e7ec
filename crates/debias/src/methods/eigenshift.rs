//! EigenShift weakens the directions of the output layer that distinguish two groups.
//!
//! # Source
//! "Redefining Experts: Interpretable Decomposition of Language Models for Toxicity Mitigation" (arXiv 2509.16660): singular
//! values of the LM head. We had only secondary texts and the code of the paper. The code multiplies states by V
//! where the formula has Vᵀ; this file follows the formula.
//!
//! Formula: W = U·S·Vᵀ the matrix that reads the states; δ = mean of Vᵀh over the sentences of one group − the same over all
//! others; K = the `rank` directions with the largest |δᵢ| over the deviation of vᵢᵀh; Sᵢ ← `factor`·Sᵢ for i in K. The same change
//! of the states is x ↦ x − (1 − factor)·Σ vᵢ·vᵢᵀ·x, which is how it is applied. The sign of δᵢ hangs on that of vᵢ, which no decomposition fixes,
//! so the paper's largest δᵢ would be an accident of the library; hence |δᵢ|.
//!
//! As weights it is a change of the head, W ← W·(I − (1 − factor)·V_K·V_Kᵀ): an export folds it, and gives a head that
//! shares its matrix with the embedding one of its own.
//!
//! # Shapes
//! x n×d, V d×d, W vocabulary×d.

use super::fitted_erase;
use crate::fitted::named;
use crate::linalg::{mirror_lower, symmetric_eigen};
use crate::options::{ParamSpec, Params, rank_within};
use crate::units::positives;
use crate::{
    Debiaser, Edit, EditError, Evidence, FitData, FitError, FitOptions, Fitted, FittedSites,
    Matrix, Needs,
};

/// The method EigenShift. It acts where one matrix reads the states, which is at `final_norm` of a model with an LM head.
///
/// The rank defaults to 0.1 % of the width, and to at least 1. Notes: `gap_first` and `gap_last`, |δᵢ| over the deviation of the first
/// and last direction; `singular_value_first`, that of the first direction, as a share of the largest.
#[derive(Debug, Clone, Copy, Default)]
pub struct EigenShift;

const DEFAULT_FACTOR: f64 = 0.1;

impl Debiaser for EigenShift {
    fn name(&self) -> &'static str {
        "eigenshift"
    }

    fn title(&self) -> &'static str {
        "EigenShift"
    }

    fn citation(&self) -> &'static str {
        "Redefining Experts 2025, arXiv 2509.16660"
    }

    fn summary(&self) -> &'static str {
        "Weakens the singular directions of the LM head that distinguish one group best."
    }

    fn docs(&self) -> &'static str {
        "methods/eigenshift.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            weights: true,
            ..Needs::default()
        }
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec::GROUP,
            ParamSpec {
                name: "factor",
                default: "0.1",
                help: "what the singular values are multiplied by, from 0 to 1",
            },
            ParamSpec::MEAN_OR_LAST,
            ParamSpec::CONTRAST,
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("group")?;
        params.share("factor")?;
        self.demand(options).map(|_| ())
    }

    fn fit_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
    ) -> Result<FittedSites, FitError> {
        self.check(options)?;
        let mut all = FittedSites::default();
        for site in 0..evidence.dims().len() {
            let data = evidence.at(site)?;
            let fitted = self.at_head(&data, evidence.read_by(site)?, options)?;
            all.edits.push(fitted.edit);
            all.notes.extend(fitted.notes);
        }
        Ok(all)
    }
}

impl EigenShift {
    /// The edit of states that a matrix with this WᵀW reads.
    fn at_head(
        &self,
        data: &FitData,
        mut gram: Matrix,
        options: &FitOptions,
    ) -> Result<Fitted, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        let positive = positives(self.name(), data, params.text("group")?)?;
        let dim = data.dim();
        let rank = rank_within(self.name(), options, dim.div_ceil(1000), dim)?;
        mirror_lower(&mut gram);
        let (squares, vectors) = symmetric_eigen(&gram, "eigendecomposition of the head's WᵀW")?;
        let mut gaps: Vec<(f64, usize)> = (0..dim)
            .map(|i| (gap(data, &positive, vectors.row(i)), i))
            .collect();
        // Stable: of equal gaps the direction of the larger singular value comes first.
        gaps.sort_by(|a, b| b.0.total_cmp(&a.0));
        gaps.truncate(rank);
        let found = gaps.iter().filter(|(gap, _)| *gap > 0.0).count();
        if found < rank {
            return Err(FitError::Degenerate {
                method: self.name(),
                rank,
                found,
            });
        }
        let rows: Vec<Vec<f64>> = gaps.iter().map(|(_, i)| vectors.row(*i).to_vec()).collect();
        let factor = params.share("factor")?.unwrap_or(DEFAULT_FACTOR);
        let edit = weaken(&Matrix::from_rows(&rows, dim), factor);
        let share = (squares[gaps[0].1].max(0.0) / squares[0]).sqrt();
        let notes = [
            ("gap_first", gaps[0].0),
            ("gap_last", gaps[rank - 1].0),
            ("singular_value_first", share),
        ];
        fitted_erase(edit, named(notes))
    }
}

/// x ↦ x − (1 − factor)·B·Bᵀ·x.
fn weaken(basis: &Matrix, factor: f64) -> Result<Edit, EditError> {
    Edit::projection(basis)?.scaled(1.0 - factor)
}

/// The distance of the means of vᵀx over the positive rows and over the others, over the deviation of all; 0 where nothing varies.
fn gap(data: &FitData, positive: &[bool], v: &[f64]) -> f64 {
    let n = data.x.rows() as f64;
    let along: Vec<f64> = (0..data.x.rows())
        .map(|row| interlingua_edits::dot(data.x.row(row), v))
        .collect();
    let mean = along.iter().sum::<f64>() / n;
    let deviation = (along.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / n).sqrt();
    let of = |which: bool| {
        let of = along.iter().zip(positive).filter(|(_, p)| **p == which);
        let (sum, count) = of.fold((0.0, 0.0), |(sum, n), (a, _)| (sum + a, n + 1.0));
        sum / count
    };
    let distance = (of(true) - of(false)).abs();
    match distance > 1e-12 * (1.0 + mean.abs()) && (distance / deviation).is_finite() {
        true => crate::units::rounded(distance / deviation),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `tests/generators/weights_golden.py`.
    #[derive(serde::Deserialize)]
    struct Golden {
        dim: usize,
        head: Vec<f64>,
        states: Vec<f64>,
        positive: Vec<bool>,
        fits: Vec<Fit>,
    }

    #[derive(serde::Deserialize)]
    struct Fit {
        rank: usize,
        factor: f64,
        head: Vec<f64>,
    }

    /// States with the head that reads them.
    struct WithHead(FitData, Matrix, Vec<usize>);

    impl Evidence for WithHead {
        fn dims(&self) -> &[usize] {
            &self.2
        }
        fn at(&mut self, _: usize) -> Result<FitData, FitError> {
            Ok(self.0.clone())
        }
        fn under(&mut self, _: usize, _: &[Edit]) -> Result<FitData, FitError> {
            Ok(self.0.clone())
        }
        fn read_by(&mut self, _: usize) -> Result<Matrix, FitError> {
            Ok(self.1.transpose().matmul(&self.1))
        }
    }

    fn golden() -> (Golden, WithHead) {
        let text = include_str!("../../../../tests/fixtures/debias/eigenshift.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        let matrix =
            |values: &[f64]| Matrix::new(values.len() / golden.dim, golden.dim, values.to_vec());
        let data = FitData {
            x: matrix(&golden.states).unwrap(),
            label: golden.positive.iter().map(|p| usize::from(!p)).collect(),
            tuple: vec![None; golden.positive.len()],
            classes: vec!["toxic".into(), "other".into()],
            ..FitData::default()
        };
        let head = matrix(&golden.head).unwrap();
        let dims = vec![golden.dim];
        (golden, WithHead(data, head, dims))
    }

    #[test]
    fn the_head_is_what_numpy_makes_of_the_formula() {
        let (golden, mut evidence) = golden();
        assert!(golden.fits.len() >= 3);
        for fit in golden.fits {
            let options = FitOptions::with_rank(fit.rank).param("factor", fit.factor);
            let fitted = EigenShift.fit_sites(&mut evidence, &options).unwrap();
            // The edit is symmetric, so a row of the head is changed as a state is.
            let mut head = evidence.1.clone();
            fitted.edits[0].apply_matrix(&mut head).unwrap();
            for (found, expect) in head.data().iter().zip(&fit.head) {
                assert!(
                    (found - expect).abs() < 1e-8,
                    "rank {}: {found} {expect}",
                    fit.rank
                );
            }
        }
    }

    #[test]
    fn without_a_head_it_says_so() {
        let (_, evidence) = golden();
        let alone = EigenShift
            .fit(&evidence.0, &FitOptions::with_rank(1))
            .unwrap_err();
        assert!(matches!(alone, FitError::NoWeights { site: 0, .. }));
        let mut same = evidence;
        same.0.x = Matrix::from_fn(same.0.x.rows(), same.0.x.cols(), |_, j| j as f64);
        let none = EigenShift
            .fit_sites(&mut same, &FitOptions::with_rank(1))
            .unwrap_err();
        assert!(matches!(none, FitError::Degenerate { found: 0, .. }));
        let factor = FitOptions::with_rank(1).param("factor", 2.0);
        let factor = EigenShift.fit_sites(&mut same, &factor).unwrap_err();
        assert!(matches!(factor, FitError::BadParam { name: "factor", .. }));
    }
}
