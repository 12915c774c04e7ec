//! Expert units: holds the units that distinguish a group best at a constant.
//!
//! # Source
//! Suau, Zappella and Apostoloff, "Self-conditioning pre-trained language models", ICML 2022 (arXiv 2110.02802):
//! experts are found by average precision over the maxima of tokens, and held at their median on positive sentences.
//! Kojima et al., NAACL 2024 (arXiv 2404.02431), use means of tokens, and distinguish languages.
//!
//! Formula: the positive sentences are those of one group, and all others are the rest. For unit u with scores s over
//! sentences, AP = Σₙ (Rₙ − Rₙ₋₁)·Pₙ over the distinct scores in descending order, with Rₙ and Pₙ the recall and
//! precision of the sentences that score at least the n-th of them. Equal scores enter together, as in scikit-learn's
//! `average_precision_score`, so a constant unit has the share of the positives. The `units` with the highest AP are
//! clamped: x\[u\] ↦ median of u.
//!
//! No absolute value is taken, because a unit that is lower on the positive sentences is not an expert for them.
//! Units of equal AP are taken in their order, by layer first, and the notes say how many tie at the cut.
//!
//! At several hooks, either each has its own units, or the units of all are ranked together, as Suau et al. do. The
//! lowest average precision finds units that are high on the *other* sentences; Kojima et al. take half of the units
//! from either end.
//!
//! # Shapes
//! x is n×d at each site; there can be at most as many units as the states have.

use crate::control::random_units;
use crate::fitted::named;
use crate::options::{ParamSpec, Params, units_within};
use crate::units::{self, Ends, average_precision, choose, every_unit, median};
use crate::{
    Debiaser, Edit, Evidence, FitData, FitError, FitOptions, FittedSites, Needs, Size, Span,
};

/// Expert units: clamps the units that distinguish a group. Every unit of the states is one direction, so the method
/// is meant for hooks where units have a meaning: `block.L.units`, or raw states.
///
/// Notes of the fit: `ap_first` and `ap_last` are the average precision of the first and of the last unit that is
/// clamped; `tied` is the number of units that were left out with the same AP as the last one, at either end.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClampUnits;

/// Units that are clamped unless a number is asked for.
const DEFAULT_UNITS: usize = 10;
const VALUE: [&str; 2] = ["positives", "rest"];
const ENDS: [&str; 3] = ["top", "bottom", "both"];

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
        "Holds the units that distinguish one group best at their median."
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

    fn size(&self) -> Size {
        Size::Units
    }

    fn span(&self, options: &FitOptions) -> Result<Span, FitError> {
        Params::new(self.name(), self.params(), options)?.scope(Span::Site)
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec::GROUP,
            ParamSpec::REDUCE,
            ParamSpec {
                name: "value",
                default: "positives",
                help: "where the units are held: at their median over the positive sentences (positives) or over all \
                       others (rest)",
            },
            ParamSpec::CONTRAST,
            ParamSpec {
                name: "scope",
                default: "site",
                help: "whether each hook point has so many units (site), or the units of all are ranked together (all)",
            },
            ParamSpec {
                name: "ends",
                default: "top",
                help: "which units are taken: those of the highest average precision (top), of the lowest (bottom), or \
                       half of either (both)",
            },
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("group")?;
        value(&params)?;
        ends(&params)?;
        self.demand(options).map(|_| ())
    }

    fn fit_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
    ) -> Result<FittedSites, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        let (at, ends, group) = (value(&params)?, ends(&params)?, params.text("group")?);
        let dims = evidence.dims().to_vec();
        let of = |scores: &[f64], positive: &[bool]| {
            let held = held(scores, positive, at);
            (average_precision(scores, positive), held)
        };
        let all = every_unit(self.name(), evidence, group, of)?;
        let mut chosen = Vec::new();
        let mut tied = 0;
        for part in units::parts(all, dims.len(), self.span(options)?) {
            let count = units_within(self.name(), options, DEFAULT_UNITS, part.len())?;
            let found = choose(part, count, ends);
            chosen.extend(found.units);
            tied += found.tied;
        }
        let scores = || chosen.iter().map(|unit| unit.score);
        let notes = [
            ("ap_first", scores().next().unwrap_or(0.0)),
            ("ap_last", scores().next_back().unwrap_or(0.0)),
            ("tied", tied as f64),
        ];
        let by_site = units::by_site(dims.len(), &chosen);
        let edits = dims.iter().zip(by_site);
        let edits = edits.map(|(&dim, (units, values))| clamp(dim, units, values));
        Ok(FittedSites {
            edits: edits.collect::<Result<_, _>>()?,
            notes: named(notes),
        })
    }

    /// As many random units, each held at its own median, as Suau et al. do.
    fn control(
        &self,
        data: &FitData,
        options: &FitOptions,
        fitted: &Edit,
    ) -> Result<Edit, FitError> {
        let drawn = random_units(data.dim(), fitted.rank(), options.seed);
        let params = Params::new(self.name(), self.params(), options)?;
        let (at, group) = (value(&params)?, params.text("group")?);
        let positive = units::positives(self.name(), data, group)?;
        let held = drawn
            .iter()
            .map(|&unit| held(&units::scores(data, unit), &positive, at));
        let held = held.collect();
        clamp(data.dim(), drawn, held)
    }
}

/// Where a unit with these scores is held: at its median over the positive rows, or over the others.
fn held(scores: &[f64], positive: &[bool], at: bool) -> f64 {
    let of = scores.iter().zip(positive).filter(|(_, p)| **p == at);
    median(of.map(|(s, _)| *s).collect())
}

fn clamp(dim: usize, units: Vec<usize>, values: Vec<f64>) -> Result<Edit, FitError> {
    if units.is_empty() {
        return Ok(Edit::identity(dim));
    }
    Edit::clamp(dim, units, values).map_err(|_| FitError::Overflow {
        what: "the median of a unit",
    })
}

/// Whether units are held at the median of the positive rows.
fn value(params: &Params<'_>) -> Result<bool, FitError> {
    let named = params.one_of("value", &VALUE, "positives or rest")?;
    Ok(named != Some(1))
}

fn ends(params: &Params<'_>) -> Result<Ends, FitError> {
    let named = params.one_of("ends", &ENDS, "top, bottom or both")?;
    Ok([Ends::Top, Ends::Bottom, Ends::Both][named.unwrap_or(0)])
}
