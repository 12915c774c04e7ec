//! Linear-AcT: maps each unit from one group's values to another's by an affine map, layer after layer.
//!
//! # Source
//! Rodriguez et al., "Controlling Language and Diffusion Models by Transporting Activations", ICLR 2025 (arXiv
//! 2410.23054): optimal transport of each unit by itself, restricted to affine maps. Each layer is fitted on states
//! that the maps of the earlier layers have changed.
//!
//! Formula, per unit, with the n values x of the examples of `from` and y of those of `to`, both in ascending order:
//! β = Σ(xᵢ − x̄)(yᵢ − ȳ) / Σ(xᵢ − x̄)², bias = ȳ − β·x̄; x ↦ β·x + bias. With `map = "gaussian"` β = sd(y)/sd(x),
//! and with `"mean"` β = 1. A strength s gives (1 − s)·x + s·(β·x + bias).
//!
//! A unit whose standard deviation on either side is not above 1e-4 is unchanged. The published code maps only values
//! strictly between the smallest and the largest example. An edit here is one map for all values, which has no jump
//! at these ends.
//!
//! # Shapes
//! x is n×d at each site; there are as many maps as units.

use rayon::prelude::*;

use crate::options::{ParamSpec, Params};
use crate::{
    Contrast, Debiaser, Edit, Evidence, FitData, FitError, FitOptions, FittedSites, Needs, Size,
    Span, units,
};
use interlingua_edits::Factor;

/// Linear-AcT. If one side has more examples, as many as the other side has are taken from it, evenly over their
/// order.
///
/// Notes of the fit: `carried` is the number of units of all hooks that are changed, and `slope` their mean β.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinearAct;

/// Units that vary less are left alone.
const SMALLEST_DEVIATION: f64 = 1e-4;
const MAP: [&str; 3] = ["linear", "gaussian", "mean"];
const FITTED: [&str; 2] = ["chain", "once"];
const TARGET: [&str; 2] = ["unedited", "edited"];

impl Debiaser for LinearAct {
    fn name(&self) -> &'static str {
        "linear-act"
    }

    fn title(&self) -> &'static str {
        "Linear-AcT"
    }

    fn citation(&self) -> &'static str {
        "Rodriguez et al. 2025, arXiv 2410.23054"
    }

    fn summary(&self) -> &'static str {
        "Maps each unit's values in one group to those in another by an affine map."
    }

    fn docs(&self) -> &'static str {
        "methods/linear-act.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            groups: true,
            ..Needs::default()
        }
    }

    fn size(&self) -> Size {
        Size::Strength
    }

    fn span(&self, options: &FitOptions) -> Result<Span, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        Ok(match params.one_of("fit", &FITTED, "chain or once")? {
            Some(1) => Span::Site,
            _ => Span::Chain,
        })
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec {
                name: "from",
                default: "the first group",
                help: "name of the group to carry away from; of languages, the one of the fit",
            },
            ParamSpec {
                name: "to",
                default: "the next group",
                help: "name of the group to carry to",
            },
            ParamSpec {
                name: "map",
                default: "linear",
                help: "the map of a unit: affine optimal transport (linear), by means and standard deviations (gaussian), or by \
                       means (mean)",
            },
            ParamSpec {
                name: "fit",
                default: "chain",
                help: "whether each hook point is fitted on states that the maps before it have changed (chain), or all on \
                       those of the model as it is (once)",
            },
            ParamSpec {
                name: "target",
                default: "unedited",
                help: "whether the values that a chain carries to are those of the model as it is (unedited), or of the changed \
                       one (edited)",
            },
            ParamSpec::MEAN_OR_LAST,
            ParamSpec::CONTRAST,
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("from")?;
        params.text("to")?;
        params.one_of("map", &MAP, "linear, gaussian or mean")?;
        params.one_of("target", &TARGET, "unedited or edited")?;
        self.demand(options).map(|_| ())
    }

    fn check_groups(&self, options: &FitOptions, groups: &[&str]) -> Result<(), FitError> {
        self.ends(options, groups).map(|_| ())
    }

    fn max_rank(&self, _classes: usize, _groups: usize, _dim: usize) -> usize {
        1
    }

    fn fit_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
    ) -> Result<FittedSites, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        let chain = self.span(options)? == Span::Chain;
        let edited = params.one_of("target", &TARGET, "unedited or edited")? == Some(1);
        let mut all = FittedSites::default();
        let (mut carried, mut slopes) = (0, 0.0);
        for site in 0..evidence.dims().len() {
            let source = match chain {
                true => evidence.under(site, &all.edits)?,
                false => evidence.at(site)?,
            };
            let target = match chain && !edited && site > 0 {
                true => Some(evidence.at(site)?),
                false => None,
            };
            let kept = self.maps(&source, target.as_ref().unwrap_or(&source), options)?;
            carried += kept.len();
            slopes += kept.iter().map(|map| map.slope).sum::<f64>();
            all.edits.push(affine(source.dim(), &kept)?);
        }
        let mean = if carried > 0 {
            slopes / carried as f64
        } else {
            0.0
        };
        all.notes = vec![
            ("carried".to_owned(), carried as f64),
            ("slope".to_owned(), mean),
        ];
        Ok(all)
    }
}

impl LinearAct {
    /// The map of each unit but those that are left alone.
    fn maps(
        &self,
        source: &FitData,
        target: &FitData,
        options: &FitOptions,
    ) -> Result<Vec<Map>, FitError> {
        source.check()?;
        target.check()?;
        let params = Params::new(self.name(), self.params(), options)?;
        let kind = params
            .one_of("map", &MAP, "linear, gaussian or mean")?
            .unwrap_or(0);
        let groups = source.require_groups(self.name())?;
        let names: Vec<&str> = groups.iter().map(|&g| source.classes[g].as_str()).collect();
        let (from, to) = self.ends(options, &names)?;
        let rows = |data: &FitData, group: usize| -> Vec<usize> {
            let all = 0..data.label.len();
            all.filter(|&row| data.label[row] == groups[group])
                .collect()
        };
        let (from, to) = (rows(source, from), rows(target, to));
        let count = from.len().min(to.len());
        if count < 2 {
            return Err(FitError::TooFewExamples {
                method: self.name(),
                rank: 2,
                examples: count,
            });
        }
        let values = |data: &FitData, rows: &[usize], unit: usize| -> Vec<f64> {
            let chosen = (0..count).map(|i| rows[i * rows.len() / count]);
            let mut values: Vec<f64> = chosen.map(|row| data.x.at(row, unit)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let all = (0..source.dim()).into_par_iter().map(|unit| {
            let (x, y) = (values(source, &from, unit), values(target, &to, unit));
            transport(&x, &y, MAP[kind]).map(|(slope, bias)| Map { unit, slope, bias })
        });
        Ok(all.flatten().collect())
    }

    /// Places of the two groups among these.
    fn ends(&self, options: &FitOptions, groups: &[&str]) -> Result<(usize, usize), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        let named = |name| match params.text(name)? {
            None => Ok(None),
            text => units::place(self.name(), text, groups).map(Some),
        };
        let (from, to) = (named("from")?, named("to")?);
        // A language that is carried to itself stays as it is, but a group is named by mistake.
        let languages = self.contrast(options)? == Contrast::Languages;
        let first_other = |than: Option<usize>| usize::from(than == Some(0));
        let from = from.unwrap_or_else(|| match languages {
            true => 0,
            false => first_other(to),
        });
        let to = to.unwrap_or_else(|| first_other(Some(from)));
        if from == to && !languages {
            return Err(FitError::BadParam {
                method: self.name(),
                name: "to",
                value: format!("\"{}\"", groups[to]),
                expected: "another group than `from`",
            });
        }
        Ok((from, to))
    }
}

/// What a unit is carried by: x ↦ slope·x + bias.
#[derive(Debug, Clone, Copy)]
struct Map {
    unit: usize,
    slope: f64,
    bias: f64,
}

/// β and bias of the map from sorted values to others; nothing where either side hardly varies.
fn transport(x: &[f64], y: &[f64], map: &str) -> Option<(f64, f64)> {
    let n = x.len() as f64;
    let mean = |values: &[f64]| values.iter().map(|v| v / n).sum::<f64>();
    let (mx, my) = (mean(x), mean(y));
    let of = |values: &[f64], m: f64| values.iter().map(|v| (v - m).powi(2)).sum::<f64>();
    let (sx, sy) = (of(x, mx), of(y, my));
    let deviation = |square: f64| (square / (n - 1.0)).sqrt();
    let varies = |square: f64| deviation(square) > SMALLEST_DEVIATION;
    if !varies(sx) || !varies(sy) {
        return None;
    }
    let slope = match map {
        "gaussian" => deviation(sy) / deviation(sx),
        "mean" => 1.0,
        _ => {
            let both = x.iter().zip(y).map(|(a, b)| (a - mx) * (b - my));
            both.sum::<f64>() / sx
        }
    };
    Some((slope, my - slope * mx))
}

/// x ↦ β·x + bias for some units.
fn affine(dim: usize, maps: &[Map]) -> Result<Edit, FitError> {
    if maps.is_empty() {
        return Ok(Edit::identity(dim));
    }
    let chosen: Vec<u32> = maps.iter().map(|map| map.unit as u32).collect();
    let read = maps.iter().map(|map| 1.0 - map.slope).collect();
    let left = Factor::Units(chosen.clone(), vec![1.0; maps.len()]);
    let right = Factor::Units(chosen, read);
    let bias = maps.iter().map(|map| map.bias).collect();
    Edit::new(dim, left, right, bias).map_err(|_| FitError::Overflow {
        what: "the map of a unit",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_a_hand_made_table() {
        let (x, y) = ([0.0, 1.0, 3.0, 6.0], [1.0, 2.0, 2.0, 9.0]);
        let (slope, bias) = transport(&x, &y, "linear").unwrap();
        assert!(
            (slope - 1.285_714_285_714).abs() < 1e-9 && (bias - 0.285_714_285_714).abs() < 1e-9
        );
        let (slope, _) = transport(&x, &y, "gaussian").unwrap();
        assert!((slope - 1.397_276_3).abs() < 1e-7);
        assert_eq!(transport(&x, &y, "mean").unwrap(), (1.0, 1.0));
        assert_eq!(transport(&[2.0; 4], &y, "linear"), None);
        let map = Map {
            unit: 1,
            slope: 2.0,
            bias: -1.0,
        };
        let carried = affine(3, &[map]).unwrap();
        let mut state = [5.0_f32, 6.0, 7.0];
        carried.apply_rows(&mut state).unwrap();
        assert_eq!(state, [5.0, 11.0, 7.0]);
    }
}
