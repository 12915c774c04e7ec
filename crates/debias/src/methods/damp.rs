//! Damp and Det-0: multiplies the units that distinguish a group best by a constant.
//!
//! # Source
//! Suau et al., "Whispering Experts", ICML 2024 (arXiv 2407.12824): Damp with one half and Det-0 with zero, to which
//! they compare [`super::aura`].
//!
//! Formula: over the units of all hooks in descending order of their area under the ROC curve, t is the area at
//! position `units`, counted from 0; x\[u\] ↦ `factor`·x\[u\] for every u whose area is *greater* than t. All units
//! that tie across the cut are therefore left out, and fewer units may be changed than were asked for.
//!
//! # Shapes
//! x is n×d at each site.

use super::aura::scale;
use crate::fitted::named;
use crate::options::{ParamSpec, Params, units_within};
use crate::units::{self, Unit, auroc, every_unit};
use crate::{Debiaser, Evidence, FitError, FitOptions, FittedSites, Needs, Size, Span};

/// Damp; with `factor` 0 it is Det-0.
///
/// Notes of the fit: `taken` is the number of units that are changed; `threshold` is the area that theirs exceeds, if
/// there is one; `tied` is the number of units that were left out because their area equals it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Damp;

/// Units that are damped unless a number is asked for.
const DEFAULT_UNITS: usize = 10;
const DEFAULT_FACTOR: f64 = 0.5;

impl Debiaser for Damp {
    fn name(&self) -> &'static str {
        "damp"
    }

    fn title(&self) -> &'static str {
        "Damp and Det-0"
    }

    fn citation(&self) -> &'static str {
        "Suau et al. 2024, arXiv 2407.12824"
    }

    fn summary(&self) -> &'static str {
        "Multiplies the units that distinguish one group best by a constant."
    }

    fn docs(&self) -> &'static str {
        "methods/damp.md"
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
        Params::new(self.name(), self.params(), options)?.scope(Span::Sites)
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec {
                name: "factor",
                default: "0.5",
                help: "what the units are multiplied by, from 0 (Det-0) to 1",
            },
            ParamSpec::GROUP,
            ParamSpec::REDUCE,
            ParamSpec::CONTRAST,
            ParamSpec {
                name: "scope",
                default: "all",
                help: "whether the units of all hook points are ranked together (all), or each has so many (site)",
            },
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
        let params = Params::new(self.name(), self.params(), options)?;
        let dims = evidence.dims().to_vec();
        let factor = params.share("factor")?.unwrap_or(DEFAULT_FACTOR);
        let of = |scores: &[f64], positive: &[bool]| (auroc(scores, positive), factor);
        let all = every_unit(self.name(), evidence, params.text("group")?, of)?;
        let mut chosen = Vec::new();
        let (mut threshold, mut tied) = (None, 0);
        for part in units::parts(all, dims.len(), self.span(options)?) {
            let (mut found, at, left) = self.above(part, options)?;
            threshold = at;
            tied += left;
            chosen.append(&mut found);
        }
        let mut notes = vec![("taken", chosen.len() as f64), ("tied", tied as f64)];
        notes.extend(threshold.map(|at| ("threshold", at)));
        let edits = dims.iter().zip(units::by_site(dims.len(), &chosen));
        let edits = edits.map(|(&dim, (units, factors))| scale(dim, units, factors));
        Ok(FittedSites {
            edits: edits.collect::<Result<_, _>>()?,
            notes: named(notes),
        })
    }
}

impl Damp {
    /// The units above the threshold, the threshold unless all are taken, and how many are at it.
    fn above(
        &self,
        mut part: Vec<Unit>,
        options: &FitOptions,
    ) -> Result<(Vec<Unit>, Option<f64>, usize), FitError> {
        let units = units_within(self.name(), options, DEFAULT_UNITS, part.len())?;
        part.sort_by(|a, b| b.score.total_cmp(&a.score));
        let Some(threshold) = part.get(units).map(|unit| unit.score) else {
            return Ok((part, None, 0));
        };
        let taken = part.iter().take_while(|u| u.score > threshold).count();
        if taken == 0 {
            return Err(FitError::NoUnits {
                method: self.name(),
                reason: format!(
                    "the best {} tie at an area of {threshold}, and only units above the one at place {units} are taken; give \
                     more sentences, or ask for more units",
                    part.iter().take_while(|u| u.score >= threshold).count()
                ),
            });
        }
        let tied = units - taken;
        part.truncate(taken);
        Ok((part, Some(threshold), tied))
    }
}
