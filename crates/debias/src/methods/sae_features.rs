//! Steering by features of a sparse autoencoder removes the features that distinguish a group best.
//!
//! # Source
//! Goyal et al., "Breaking Bad Tokens: Detoxification of LLMs Using Sparse Autoencoders" (arXiv 2505.14536): the decoder's rows of
//! features that toxic text turns on are subtracted, at every token, or at those at which the feature is on. We had
//! only its abstract and secondary texts, so the choice of the features and the amount are our reading.
//!
//! Formula: of feature u, a(u) = the area under the receiver's operating curve of its means over sentences, of one group against
//! all others. For the `units` with the highest area, with c(u) the mean of u over the sentences of the group,
//! x\[u\] ↦ x\[u\] − c(u) (`subtract`), or x\[u\] ↦ 0 (`ablate`). In the space `sae` the first is the shift of a state
//! by −Σ c(u)·W_dec\[u\], at the tokens that the tier of the space says; the second is the same in every tier.
//!
//! # Shapes
//! x n×d, d the number of features.

use crate::control::random_units;
use crate::fitted::named;
use crate::options::{ParamSpec, Params, units_within};
use crate::units::{Ends, auroc, choose, every_unit, positives, scores};
use crate::{Debiaser, Edit, FitData, FitError, FitOptions, Fitted, Given, Needs, Size};

/// The method that changes features of one group. It is meant for states whose single units have a meaning, such as those of the
/// space `sae`.
///
/// Notes: `auroc_first` and `auroc_last`, the area of the first and of the last feature that is taken; `tied`, features that were
/// left out with the area of the last one; `silent`, features that are zero in every sentence.
#[derive(Debug, Clone, Copy, Default)]
pub struct SaeFeatures;

/// Features that are taken unless a number is asked for.
const DEFAULT_UNITS: usize = 10;
const ACTION: [&str; 2] = ["subtract", "ablate"];

impl Debiaser for SaeFeatures {
    fn name(&self) -> &'static str {
        "sae-features"
    }

    fn title(&self) -> &'static str {
        "Features of a sparse autoencoder"
    }

    fn citation(&self) -> &'static str {
        "Goyal et al. 2025, arXiv 2505.14536"
    }

    fn summary(&self) -> &'static str {
        "Takes away the features that distinguish one group best."
    }

    fn docs(&self) -> &'static str {
        "methods/sae-features.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn size(&self) -> Size {
        Size::Units
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec::GROUP,
            ParamSpec {
                name: "action",
                default: "subtract",
                help: "whether the mean of a feature over the group's sentences is subtracted from it (subtract), or the feature \
                       is set to zero (ablate)",
            },
            ParamSpec::CONTRAST,
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("group")?;
        ablates(&params)?;
        self.demand(options).map(|_| ())
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        data.check()?;
        let units = units_within(self.name(), options, DEFAULT_UNITS, data.dim())?;
        let of =
            |scores: &[f64], positive: &[bool]| (auroc(scores, positive), mean(scores, positive));
        let mut given = Given::new(std::slice::from_ref(data));
        let all = every_unit(self.name(), &mut given, params.text("group")?, of)?;
        let silent = (0..data.dim()).filter(|&u| is_silent(data, u)).count();
        let chosen = choose(all, units, Ends::Top);
        let area = |unit: Option<&crate::units::Unit>| unit.map_or(0.0, |unit| unit.score);
        let notes = [
            ("auroc_first", area(chosen.units.first())),
            ("auroc_last", area(chosen.units.last())),
            ("tied", chosen.tied as f64),
            ("silent", silent as f64),
        ];
        let taken = chosen.units.iter().map(|u| (u.unit, u.value)).collect();
        Ok(Fitted {
            edit: edit(data.dim(), taken, ablates(&params)?)?,
            notes: named(notes),
        })
    }

    /// As many random features, of those that are on in some sentence, each by its own mean.
    fn control(
        &self,
        data: &FitData,
        options: &FitOptions,
        fitted: &Edit,
    ) -> Result<Edit, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        let positive = positives(self.name(), data, params.text("group")?)?;
        let heard: Vec<usize> = (0..data.dim()).filter(|&u| !is_silent(data, u)).collect();
        let drawn = random_units(heard.len(), fitted.offset().len(), options.seed);
        let taken = drawn.into_iter().map(|at| {
            let unit = heard[at];
            (unit, mean(&scores(data, unit), &positive))
        });
        edit(data.dim(), taken.collect(), ablates(&params)?)
    }
}

fn ablates(params: &Params<'_>) -> Result<bool, FitError> {
    let named = params.one_of("action", &ACTION, "subtract or ablate")?;
    Ok(named == Some(1))
}

fn is_silent(data: &FitData, unit: usize) -> bool {
    (0..data.x.rows()).all(|row| data.x.at(row, unit) == 0.0)
}

/// Mean over the positive rows.
fn mean(scores: &[f64], positive: &[bool]) -> f64 {
    let of = scores.iter().zip(positive).filter(|(_, p)| **p);
    let (sum, count) = of.fold((0.0, 0.0), |(sum, n), (s, _)| (sum + s, n + 1.0));
    sum / count
}

fn edit(dim: usize, taken: Vec<(usize, f64)>, ablates: bool) -> Result<Edit, FitError> {
    if taken.is_empty() {
        return Ok(Edit::identity(dim));
    }
    let (units, means): (Vec<usize>, Vec<f64>) = taken.into_iter().unzip();
    let made = match ablates {
        true => Edit::scale(dim, units, vec![0.0; means.len()]),
        false => Edit::add(dim, units, means.into_iter().map(|c| -c).collect()),
    };
    made.map_err(|_| FitError::Overflow {
        what: "the mean of a feature",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Matrix, Param};
    use interlingua_edits::Factor;

    /// Six sentences of two groups. Feature 1 tells the first group, 3 the second, 2 nothing; 0 and 4 are never on.
    fn data() -> FitData {
        let rows = [
            [0.0, 2.0, 1.0, 0.0, 0.0],
            [0.0, 4.0, 3.0, 0.5, 0.0],
            [0.0, 3.0, 2.0, 0.0, 0.0],
            [0.0, 0.0, 3.0, 5.0, 0.0],
            [0.0, 1.0, 1.0, 4.0, 0.0],
            [0.0, 0.0, 2.0, 6.0, 0.0],
        ];
        FitData {
            x: Matrix::from_fn(6, 5, |i, j| rows[i][j]),
            label: vec![0, 0, 0, 1, 1, 1],
            tuple: vec![None; 6],
            classes: vec!["she".into(), "he".into()],
            ..FitData::default()
        }
    }

    fn options(units: usize, params: &[(&str, &str)]) -> FitOptions {
        let mut options = FitOptions {
            units: Some(units),
            ..FitOptions::default()
        };
        for (name, value) in params {
            let value = Param::Text((*value).to_owned());
            options.params.insert((*name).to_owned(), value);
        }
        options
    }

    fn units(edit: &Edit) -> Vec<u32> {
        match edit.left() {
            Factor::Units(units, _) => units.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_features_of_a_group_are_taken_away() {
        let fitted = SaeFeatures.fit(&data(), &options(1, &[])).unwrap();
        assert_eq!(units(&fitted.edit), [1]);
        let mut x = data().x;
        fitted.edit.apply_matrix(&mut x).unwrap();
        // The mean of 2, 4, 3 goes, also where the feature is off: the space says where that reaches.
        assert_eq!(x.row(0), [0.0, -1.0, 1.0, 0.0, 0.0]);
        assert_eq!(x.row(3), [0.0, -3.0, 3.0, 5.0, 0.0]);
        let notes: Vec<f64> = fitted.notes.iter().map(|(_, value)| *value).collect();
        assert_eq!(notes, [1.0, 1.0, 0.0, 2.0]);
        let named = options(1, &[("group", "he"), ("action", "ablate")]);
        let fitted = SaeFeatures.fit(&data(), &named).unwrap();
        let mut x = data().x;
        fitted.edit.apply_matrix(&mut x).unwrap();
        assert_eq!(
            (units(&fitted.edit), x.at(4, 3), x.at(4, 1)),
            (vec![3], 0.0, 1.0)
        );
    }

    #[test]
    fn the_control_takes_features_that_are_on() {
        let fitted = SaeFeatures.fit(&data(), &options(2, &[])).unwrap().edit;
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let with = options(2, &[]).seed(seed);
            let drawn = SaeFeatures.control(&data(), &with, &fitted).unwrap();
            seen.extend(units(&drawn));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let check = |options: FitOptions| SaeFeatures.fit(&data(), &options).unwrap_err();
        let many = check(options(6, &[]));
        assert!(matches!(many, FitError::UnitsOutOfRange { max: 5, .. }));
        assert!(matches!(
            check(options(0, &[])),
            FitError::UnitsOutOfRange { .. }
        ));
        let action = check(options(1, &[("action", "add")]));
        assert!(matches!(action, FitError::BadParam { name: "action", .. }));
        let group = check(options(1, &[("group", "they")]));
        assert!(matches!(group, FitError::UnknownGroup { .. }));
        let mut one = data();
        one.label = vec![0; 6];
        assert!(SaeFeatures.fit(&one, &options(1, &[])).is_err());
    }
}
