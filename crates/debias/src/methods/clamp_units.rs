//! Expert units: the units that tell a group best are held at a constant.
//!
//! # Source
//! Suau, Zappella and Apostoloff, "Self-conditioning pre-trained language models", ICML 2022 (arXiv 2110.02802): experts
//! by average precision over maxima of tokens, held at their median on positive sentences. Over means of tokens, and for
//! languages: Kojima et al., NAACL 2024 (arXiv 2404.02431).
//!
//! Formula: the positive sentences are those of one group, all others are the rest. Of unit u with scores s over sentences,
//! AP = Σₙ (Rₙ − Rₙ₋₁)·Pₙ over the distinct scores from the highest down, Rₙ and Pₙ recall and precision of the sentences
//! that score at least so much. Equal scores enter together, as in scikit-learn's `average_precision_score`, so a constant
//! unit has the share of the positives. The `units` with the highest AP are clamped: x\[u\] ↦ median of u.
//!
//! There is no absolute value: a unit that is lower on the positives is no expert of theirs. Units of equal AP are taken
//! in their order, and the notes say how many tie at the cut.
//!
//! # Shapes
//! x n×d, at most d units.

use crate::control::random_units;
use crate::data::require;
use crate::options::{ParamSpec, Params};
use crate::{Debiaser, Edit, FitData, FitError, FitOptions, Fitted, Needs, Reduce, Size};

/// Expert units. Every unit of the states is one direction, so it acts where units mean something: at `block.L.units`, or in
/// raw states.
///
/// Notes: `ap_first` and `ap_last`, the highest and the lowest average precision of the units that are clamped; `tied`,
/// units that were left out with the same AP as the last one.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClampUnits;

/// Units that are clamped unless a number is asked for.
const DEFAULT_UNITS: usize = 10;
const REDUCE: [&str; 2] = ["max", "mean"];
const VALUE: [&str; 2] = ["positives", "rest"];

impl Debiaser for ClampUnits {
    fn name(&self) -> &'static str {
        "clamp-units"
    }

    fn title(&self) -> &'static str {
        "Expert units"
    }

    fn citation(&self) -> &'static str {
        "Suau et al. 2022, arXiv 2110.02802; Kojima et al. 2024, arXiv 2404.02431"
    }

    fn summary(&self) -> &'static str {
        "Holds the units that tell one group best at their median."
    }

    fn docs(&self) -> &'static str {
        "methods/clamp-units.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn reduce(&self, options: &FitOptions) -> Result<Reduce, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        Ok(match params.one_of("reduce", &REDUCE, "max or mean")? {
            Some(1) => Reduce::Mean,
            _ => Reduce::Max,
        })
    }

    fn size(&self) -> Size {
        Size::Units
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec {
                name: "group",
                default: "the first group",
                help: "name of the group whose sentences are the positive ones",
            },
            ParamSpec {
                name: "reduce",
                default: "max",
                help: "what a sentence's score of a unit is: its largest value over the tokens (max) or its mean (mean)",
            },
            ParamSpec {
                name: "value",
                default: "positives",
                help: "where the units are held: at their median over the positive sentences (positives) or over all \
                       others (rest)",
            },
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("group")?;
        value(&params)?;
        self.reduce(options).map(|_| ())
    }

    fn check_groups(&self, options: &FitOptions, groups: &[&str]) -> Result<(), FitError> {
        group(options, groups).map(|_| ())
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        let evidence = Evidence::new(data, options)?;
        let mut experts: Vec<(f64, usize)> = (0..data.dim())
            .map(|unit| {
                (
                    average_precision(&evidence.scores(unit), &evidence.positive),
                    unit,
                )
            })
            .collect();
        // Stable: of equal precision the first unit comes first.
        experts.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (last, left) = (experts[evidence.units - 1].0, &experts[evidence.units..]);
        let tied = left.iter().take_while(|(ap, _)| *ap == last).count();
        let notes = [
            ("ap_first", experts[0].0),
            ("ap_last", last),
            ("tied", tied as f64),
        ];
        let units: Vec<usize> = experts[..evidence.units].iter().map(|e| e.1).collect();
        Ok(Fitted {
            edit: evidence.clamp(units)?,
            notes: notes.map(|(name, value)| (name.to_owned(), value)).into(),
        })
    }

    /// As many random units, each held at its own median, as Suau et al. do.
    fn control(
        &self,
        data: &FitData,
        options: &FitOptions,
        fitted: &Edit,
    ) -> Result<Edit, FitError> {
        let evidence = Evidence::new(data, options)?;
        evidence.clamp(random_units(data.dim(), fitted.rank(), options.seed))
    }
}

/// What a fit reads.
struct Evidence<'a> {
    data: &'a FitData,
    /// Whether each row is a positive one.
    positive: Vec<bool>,
    /// Whether units are held at the median of the positive rows, or else of the others.
    at: bool,
    units: usize,
}

impl Evidence<'_> {
    fn new<'a>(data: &'a FitData, options: &FitOptions) -> Result<Evidence<'a>, FitError> {
        let method = ClampUnits.name();
        ClampUnits.check(options)?;
        data.check()?;
        let present = require(method, "classes", 2, data.present(), &data.classes)?;
        let mut groups = present;
        groups.retain(|&class| Some(class) != data.neutral);
        let names: Vec<&str> = groups.iter().map(|&g| data.classes[g].as_str()).collect();
        let chosen = groups[group(options, &names)?];
        let units = options.units.unwrap_or(DEFAULT_UNITS.min(data.dim()));
        if units == 0 || units > data.dim() {
            return Err(FitError::UnitsOutOfRange {
                method,
                units,
                max: data.dim(),
            });
        }
        let params = Params::new(method, ClampUnits.params(), options)?;
        Ok(Evidence {
            data,
            positive: data.label.iter().map(|&label| label == chosen).collect(),
            at: value(&params)? == 0,
            units,
        })
    }

    fn scores(&self, unit: usize) -> Vec<f64> {
        (0..self.data.x.rows())
            .map(|row| self.data.x.at(row, unit))
            .collect()
    }

    /// The units, each held at its median.
    fn clamp(&self, units: Vec<usize>) -> Result<Edit, FitError> {
        let medians = units.iter().map(|&unit| {
            let scores = self.scores(unit).into_iter().zip(&self.positive);
            median(
                scores
                    .filter(|(_, p)| **p == self.at)
                    .map(|(s, _)| s)
                    .collect(),
            )
        });
        let medians = medians.collect();
        Edit::clamp(self.data.dim(), units, medians).map_err(|_| FitError::Overflow {
            what: "the median of a unit",
        })
    }
}

/// Which group's sentences are the positive ones.
fn group(options: &FitOptions, groups: &[&str]) -> Result<usize, FitError> {
    let params = Params::new(ClampUnits.name(), ClampUnits.params(), options)?;
    let name = params.text("group")?;
    let place = match name {
        None => (!groups.is_empty()).then_some(0),
        Some(name) => groups.iter().position(|&group| group == name),
    };
    place.ok_or_else(|| FitError::UnknownGroup {
        method: ClampUnits.name(),
        name: name.unwrap_or("any").to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
    })
}

fn value(params: &Params<'_>) -> Result<usize, FitError> {
    let named = params.one_of("value", &VALUE, "positives or rest")?;
    Ok(named.unwrap_or(0))
}

/// Average precision of scores; equal scores enter together.
///
/// # Shapes
/// `scores` and `positive` n.
///
/// # Source
/// scikit-learn, `average_precision_score`.
pub fn average_precision(scores: &[f64], positive: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let total = positive.iter().filter(|p| **p).count() as f64;
    let (mut found, mut seen, mut sum) = (0.0, 0.0, 0.0);
    let mut at = 0;
    while at < order.len() {
        let score = scores[order[at]];
        let mut gained = 0.0;
        while at < order.len() && scores[order[at]] == score {
            seen += 1.0;
            gained += f64::from(u8::from(positive[order[at]]));
            at += 1;
        }
        found += gained;
        sum += gained / total * (found / seen);
    }
    sum
}

/// The middle value, or the mean of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    values[low] + (values[high] - values[low]) / 2.0
}
