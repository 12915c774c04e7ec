//! Model Surgery adds the direction of a probe to those rows of the gates that point the opposite way.
//!
//! # Source
//! Wang et al., "Model Surgery: Modulating LLM's Behavior Via Simple Parameter Editing" (arXiv 2407.08770).
//!
//! Formula: w the weights of a linear probe of one group, trained on the mean states of sentences behind the blocks; over all rows r of the gate
//! projections of all blocks, the `units` with the most negative cosine of r and w; r ← r + α·w, α the strength. Per block that is
//! W ← W + α·1_S·wᵀ, of rank 1.
//!
//! As a change of states: with y = W·n the gates, and W of full column rank, wᵀ·n = uᵀ·y with u = W·(Wᵀ·W)⁻¹·w. So
//! y ↦ y + α·1_S·(uᵀ·y) is the same, exactly, and folding it into W gives W + α·1_S·wᵀ back.
//!
//! The probe is trained at the last hook point of the place, whose states are not changed: `hook = "blocks.*.gate + final_norm"`.
//!
//! # Shapes
//! Gates m, W m×d, states of the probe n×d.

use crate::control::random_units;
use crate::fitted::named;
use crate::linalg::{Cholesky, add_gram_lower};
use crate::logistic::Predictor;
use crate::options::{ParamSpec, Params, units_within};
use crate::units::{Ends, Unit, by_site, choose, positives, rounded};
use crate::{
    Contrast, Debiaser, Edit, Evidence, FitData, FitError, FitOptions, FittedSites, Matrix, Needs,
    Size, Span,
};
use interlingua_edits::{Factor, axpy, dot, norm};

/// The method Model Surgery. It acts at gates, each of which is written by one matrix.
///
/// Notes: `accuracy`, of the probe on what it was trained on; `cosine_first` and `cosine_last`, of the first and last row that is
/// changed; `length`, that of w.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModelSurgery;

const DEFAULT_UNITS: usize = 10;
/// The error of uᵀ·W against wᵀ that is rounding, as a share of the length of w.
const READ_TOLERANCE: f64 = 1e-6;
const LENGTH: [&str; 2] = ["row", "probe"];

impl Debiaser for ModelSurgery {
    fn name(&self) -> &'static str {
        "model-surgery"
    }

    fn title(&self) -> &'static str {
        "Model Surgery"
    }

    fn citation(&self) -> &'static str {
        "Wang et al. 2025, arXiv 2407.08770"
    }

    fn summary(&self) -> &'static str {
        "Adds the direction of a probe to those rows of the gate matrices that point the opposite way."
    }

    fn docs(&self) -> &'static str {
        "methods/model-surgery.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            weights: true,
            ..Needs::default()
        }
    }

    fn size(&self) -> Size {
        Size::Units
    }

    fn span(&self, options: &FitOptions) -> Result<Span, FitError> {
        let _ = options;
        Ok(Span::Sites)
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec::GROUP,
            ParamSpec {
                name: "length",
                default: "row",
                help: "the length of w: the mean length of the rows that it is added to (row), or the length that the probe has (probe)",
            },
            ParamSpec::CONTRAST,
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("group")?;
        params.one_of("length", &LENGTH, "row or probe")?;
        params.contrast().map(|_: Contrast| ())
    }

    fn fit_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
    ) -> Result<FittedSites, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        let dims = evidence.dims().to_vec();
        let gates = dims.len().saturating_sub(1);
        if gates == 0 {
            return Err(FitError::NoWeights {
                site: 0,
                reason: "the probe is trained at a hook point behind the gates, such as the last of `blocks.*.gate + final_norm`, \
                         and there is one hook point alone"
                    .to_owned(),
            });
        }
        let (mut w, accuracy) = self.probe(&evidence.at(gates)?, params.text("group")?)?;
        let mut all = Vec::new();
        for site in 0..gates {
            let rows = weight(evidence, site, w.len())?;
            let own = norm(&w);
            all.extend((0..rows.rows()).map(|unit| {
                let length = norm(rows.row(unit));
                let cosine = dot(rows.row(unit), &w) / (length * own);
                Unit {
                    site,
                    unit,
                    score: rounded(if cosine.is_finite() { -cosine } else { 0.0 }),
                    value: length,
                }
            }));
        }
        let units = units_within(self.name(), options, DEFAULT_UNITS, all.len())?;
        let chosen = choose(all, units, Ends::Top).units;
        if params.one_of("length", &LENGTH, "row or probe")? != Some(1) {
            let mean = chosen.iter().map(|u| u.value).sum::<f64>() / units as f64;
            let factor = mean / norm(&w);
            w.iter_mut().for_each(|v| *v *= factor);
        }
        let cosine = |unit: Option<&Unit>| unit.map_or(0.0, |unit| -unit.score);
        let notes = [
            ("accuracy", accuracy),
            ("cosine_first", cosine(chosen.first())),
            ("cosine_last", cosine(chosen.last())),
            ("length", norm(&w)),
        ];
        let mut edits = Vec::with_capacity(dims.len());
        for (site, (units, _)) in by_site(gates, &chosen).into_iter().enumerate() {
            edits.push(match units.is_empty() {
                true => Edit::identity(dims[site]),
                false => {
                    let rows = weight(evidence, site, w.len())?;
                    added(dims[site], &units, &reader(&rows, &w, site)?)?
                }
            });
        }
        edits.push(Edit::identity(dims[gates]));
        Ok(FittedSites {
            edits,
            notes: named(notes),
        })
    }

    /// The same direction, added to as many random rows.
    fn control(
        &self,
        data: &FitData,
        options: &FitOptions,
        fitted: &Edit,
    ) -> Result<Edit, FitError> {
        let (Factor::Dense(left), Factor::Dense(right)) = (fitted.left(), fitted.right()) else {
            return Ok(fitted.clone());
        };
        let count = left.data().iter().filter(|v| **v != 0.0).count();
        added(
            data.dim(),
            &random_units(data.dim(), count, options.seed),
            right.row(0),
        )
    }
}

impl ModelSurgery {
    /// The weights of a logistic probe of the positive rows, with its accuracy.
    fn probe(&self, data: &FitData, group: Option<&str>) -> Result<(Vec<f64>, f64), FitError> {
        let positive = positives(self.name(), data, group)?;
        // One factor for all states: their scale says nothing about the group, and a descent needs one near 1.
        let squares = dot(data.x.data(), data.x.data());
        let scale = (squares / data.x.data().len() as f64).sqrt();
        let scale = if scale > 0.0 && scale.is_finite() {
            scale
        } else {
            1.0
        };
        let x = Matrix::from_fn(data.x.rows(), data.dim(), |i, j| data.x.at(i, j) / scale);
        let class: Vec<usize> = positive.iter().map(|p| usize::from(*p)).collect();
        let mut predictor = Predictor::zero(2, data.dim());
        let score = predictor.train(&x, &class, &[])?;
        // A softmax of two rows has half of the weights in each.
        let weights = predictor.weights(0).iter().map(|w| w / scale / 2.0);
        let weights: Vec<f64> = weights.collect();
        match norm(&weights) > 0.0 {
            true => Ok((weights, score.accuracy)),
            false => Err(FitError::Degenerate {
                method: self.name(),
                rank: 1,
                found: 0,
            }),
        }
    }
}

fn weight(evidence: &mut dyn Evidence, site: usize, width: usize) -> Result<Matrix, FitError> {
    let rows = evidence.written_by(site)?;
    if rows.cols() == width {
        return Ok(rows);
    }
    Err(FitError::NoWeights {
        site,
        reason: format!(
            "the matrix there has {} columns, and the probe, trained at the last hook point, {width} weights; that hook point has to be as \
             wide as what gates read, such as `final_norm`",
            rows.cols()
        ),
    })
}

/// u with uᵀ·W = wᵀ.
fn reader(rows: &Matrix, w: &[f64], site: usize) -> Result<Vec<f64>, FitError> {
    let mut gram = Matrix::zeros(w.len(), w.len());
    add_gram_lower(&mut gram, rows.data(), 1.0);
    let dependent = || {
        FitError::NoWeights {
        site,
        reason: "the columns of the matrix there are not independent, so its gates do not say what they were made of".to_owned(),
    }
    };
    let factor = Cholesky::new(gram).ok_or_else(dependent)?;
    let mut solved = Matrix::from_fn(w.len(), 1, |i, _| w[i]);
    factor.solve(&mut solved);
    let reader: Vec<f64> = (0..rows.rows())
        .map(|r| dot(rows.row(r), solved.data()))
        .collect();
    // What is nearly dependent has a factor, and gives another direction back.
    let mut back = w.iter().map(|w| -w).collect::<Vec<f64>>();
    for (r, u) in reader.iter().enumerate() {
        axpy(*u, rows.row(r), &mut back);
    }
    match norm(&back) <= READ_TOLERANCE * norm(w) {
        true => Ok(reader),
        false => Err(dependent()),
    }
}

/// y ↦ y + 1_S·(uᵀ·y).
fn added(dim: usize, units: &[usize], reader: &[f64]) -> Result<Edit, FitError> {
    let mut left = vec![0.0; dim];
    units.iter().for_each(|&unit| left[unit] = -1.0);
    let row = |values: Vec<f64>| Factor::Dense(Matrix::from_rows(&[values], dim));
    let made = Edit::new(dim, row(left), row(reader.to_vec()), vec![0.0]);
    made.map_err(|_| FitError::Overflow {
        what: "the direction of the probe",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two gates of six rows over states of width three, and states whose second coordinate tells the groups.
    struct Gates {
        data: FitData,
        rows: Vec<Matrix>,
        dims: Vec<usize>,
    }

    impl Evidence for Gates {
        fn dims(&self) -> &[usize] {
            &self.dims
        }
        fn at(&mut self, site: usize) -> Result<FitData, FitError> {
            assert_eq!(site, 2, "the gates' own states are not read");
            Ok(self.data.clone())
        }
        fn under(&mut self, site: usize, _: &[Edit]) -> Result<FitData, FitError> {
            self.at(site)
        }
        fn written_by(&mut self, site: usize) -> Result<Matrix, FitError> {
            Ok(self.rows[site].clone())
        }
    }

    fn gates() -> Gates {
        let state = |i: usize, j: usize| match j {
            1 => [5.0, -5.0][i / 20] + ((i * 7) % 5) as f64 / 5.0,
            _ => ((i * (3 + j)) % 11) as f64 - 5.0,
        };
        let row = |site: usize| {
            Matrix::from_fn(6, 3, move |i, j| {
                ((i * 5 + j * 3 + site * 2) % 7) as f64 - 3.0 + f64::from(u8::from(i == j))
            })
        };
        Gates {
            data: FitData {
                x: Matrix::from_fn(40, 3, state),
                label: (0..40).map(|i| i / 20).collect(),
                tuple: vec![None; 40],
                classes: vec!["toxic".into(), "other".into()],
                ..FitData::default()
            },
            rows: vec![row(0), row(1)],
            dims: vec![6, 6, 3],
        }
    }

    /// The edit of the gates, column by column, is the matrix of the paper.
    #[test]
    fn the_edit_of_the_gates_is_the_change_of_their_weights() {
        for length in ["row", "probe"] {
            let mut gates = gates();
            let text = crate::Param::Text(length.into());
            let mut options = FitOptions::with_units(4);
            options.params.insert("length".into(), text);
            let fitted = ModelSurgery.fit_sites(&mut gates, &options).unwrap();
            assert_eq!(fitted.notes[0], ("accuracy".to_owned(), 1.0));
            let (mut w, _) = ModelSurgery.probe(&gates.data, None).unwrap();
            // The probe looks at the second coordinate.
            assert!(w[1] > 3.0 * w[0].abs() && w[1] > 3.0 * w[2].abs(), "{w:?}");
            let cosine = |row: &[f64]| dot(row, &w) / (norm(row) * norm(&w));
            let mut all: Vec<(f64, usize, usize)> = (0..12)
                .map(|at| {
                    (
                        rounded(cosine(gates.rows[at / 6].row(at % 6))),
                        at / 6,
                        at % 6,
                    )
                })
                .collect();
            all.sort_by(|a, b| a.partial_cmp(b).unwrap());
            all.truncate(4);
            if length == "row" {
                let of = |(_, site, unit): &(f64, usize, usize)| norm(gates.rows[*site].row(*unit));
                let mean = all.iter().map(of).sum::<f64>() / 4.0;
                let factor = mean / norm(&w);
                w.iter_mut().for_each(|v| *v *= factor);
            }
            for site in 0..2 {
                let mut columns = gates.rows[site].transpose();
                fitted.edits[site].apply_matrix(&mut columns).unwrap();
                for unit in 0..6 {
                    let is = all.iter().any(|(_, s, u)| (*s, *u) == (site, unit));
                    for (j, &w) in w.iter().enumerate() {
                        let expect = gates.rows[site].at(unit, j) + if is { w } else { 0.0 };
                        let found = columns.at(j, unit);
                        assert!(
                            (found - expect).abs() < 1e-9,
                            "{site} {unit} {j}: {found} {expect}"
                        );
                    }
                }
            }
            assert_eq!(fitted.edits[2], Edit::identity(3));
        }
    }

    #[test]
    fn the_control_changes_as_many_other_rows() {
        let mut gates = gates();
        let options = FitOptions::with_units(3);
        let fitted = ModelSurgery.fit_sites(&mut gates, &options).unwrap();
        let data = FitData {
            x: Matrix::zeros(1, 6),
            ..FitData::default()
        };
        for edit in &fitted.edits[..2] {
            let drawn = ModelSurgery
                .control(&data, &options.clone().seed(3), edit)
                .unwrap();
            assert_eq!((drawn.rank(), drawn.right()), (edit.rank(), edit.right()));
        }
    }

    #[test]
    fn places_that_have_no_gates_are_refused() {
        let check = |gates: &mut Gates| {
            let found = ModelSurgery.fit_sites(gates, &FitOptions::with_units(2));
            found.unwrap_err().to_string()
        };
        let mut alone = gates();
        alone.dims.truncate(1);
        assert!(check(&mut alone).contains("final_norm"));
        let mut wide = gates();
        wide.rows[1] = Matrix::zeros(6, 4);
        assert!(check(&mut wide).contains("4 columns"));
        let mut flat = gates();
        flat.rows = vec![Matrix::from_fn(6, 3, |i, _| i as f64 - 3.0); 2];
        assert!(check(&mut flat).contains("not independent"));
        let mut many = gates();
        let error = ModelSurgery.fit_sites(&mut many, &FitOptions::with_units(13));
        assert!(matches!(
            error,
            Err(FitError::UnitsOutOfRange { max: 12, .. })
        ));
        let given = ModelSurgery.fit(&gates().data, &FitOptions::with_units(1));
        assert!(matches!(given, Err(FitError::NoWeights { .. })));
    }
}
