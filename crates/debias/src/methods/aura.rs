//! AurA: damps the units that distinguish a group, in proportion to how well they do so.
//!
//! # Source
//! Suau et al., "Whispering Experts: Neural Interventions for Toxicity Mitigation in Language Models", ICML 2024
//! (arXiv 2407.12824). There the positive sentences are toxic ones; here they are those of one group or language.
//!
//! Formula: a is the area under the ROC curve of unit u over the sentences, where equal scores count one half; α = 1
//! if a ≤ ½, else 1 − 2(a − ½); x\[u\] ↦ α·x\[u\]. There is no parameter: a unit that separates the sentences
//! perfectly is set to zero, and one that is at chance or below is unchanged. A strength s gives (1 − s)·x + s·α·x.
//!
//! # Shapes
//! x is n×d at each site.

use crate::fitted::named;
use crate::options::{ParamSpec, Params};
use crate::units::{self, auroc, every_unit};
use crate::{Debiaser, Edit, Evidence, FitError, FitOptions, FittedSites, Needs, Size};

/// AurA: damps the units that distinguish a group.
///
/// Notes of the fit: `auroc_highest` is the area of the best unit, and `damped` the number of units with an area
/// above one half.
#[derive(Debug, Clone, Copy, Default)]
pub struct Aura;

impl Debiaser for Aura {
    fn name(&self) -> &'static str {
        "aura"
    }

    fn title(&self) -> &'static str {
        "AurA"
    }

    fn citation(&self) -> &'static str {
        "Suau et al. 2024, arXiv 2407.12824"
    }

    fn summary(&self) -> &'static str {
        "Damps each unit in proportion to how well it distinguishes one group."
    }

    fn docs(&self) -> &'static str {
        "methods/aura.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn size(&self) -> Size {
        Size::Strength
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[ParamSpec::GROUP, ParamSpec::REDUCE, ParamSpec::CONTRAST]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("group")?;
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
        let of = |scores: &[f64], positive: &[bool]| {
            let area = auroc(scores, positive);
            (area, factor(area))
        };
        let mut all = every_unit(self.name(), evidence, params.text("group")?, of)?;
        let highest = all.iter().map(|u| u.score).fold(0.0, f64::max);
        all.retain(|unit| unit.value < 1.0);
        let edits = dims.iter().zip(units::by_site(dims.len(), &all));
        let edits = edits.map(|(&dim, (units, factors))| scale(dim, units, factors));
        let notes = [("auroc_highest", highest), ("damped", all.len() as f64)];
        Ok(FittedSites {
            edits: edits.collect::<Result<_, _>>()?,
            notes: named(notes),
        })
    }
}

/// What a unit of this area is multiplied by.
fn factor(area: f64) -> f64 {
    match area <= 0.5 {
        true => 1.0,
        false => 1.0 - 2.0 * (area - 0.5),
    }
}

/// Makes the edit that multiplies units by factors; the identity if there are no units.
pub(super) fn scale(dim: usize, units: Vec<usize>, factors: Vec<f64>) -> Result<Edit, FitError> {
    if units.is_empty() {
        return Ok(Edit::identity(dim));
    }
    Edit::scale(dim, units, factors).map_err(|_| FitError::Overflow {
        what: "the factor of a unit",
    })
}
