//! LAPE: switches off units that are active in one language and in few others.
//!
//! # Source
//! Tang et al., "Language-Specific Neurons: The Key to Multilingual Capabilities in Large Language Models", ACL 2024
//! (arXiv 2402.16438).
//!
//! Formula: p(u, l) is the share of the tokens of language l at which unit u is above zero; p'(u, ·) is p(u, ·)
//! divided by its sum; LAPE(u) = −Σₗ p'(u, l)·ln p'(u, l). Let t be the value at position round(`filter`·n) of all n
//! values p(u, l) in ascending order. Of the units that exceed t in some language, the `units` with the lowest LAPE
//! are the language-specific ones. Those of language l are the ones among them whose p(u, l) exceeds the value at
//! position round(`active`·n). x\[u\] ↦ 0 for these.
//!
//! A unit is active if its activation function gives more than zero; for the usual functions that is so if their
//! input is above zero. At the hook `blocks.*.gate`, which is before that function, a unit that is held at zero is
//! off.
//!
//! # Shapes
//! x is n×d at each site and holds shares of tokens.

use crate::fitted::named;
use crate::options::{ParamSpec, Params, units_within};
use crate::units;
use crate::{
    Contrast, Debiaser, Edit, Evidence, FitError, FitOptions, FittedSites, Needs, Reduce, Size,
    Span,
};

/// LAPE: switches off language-specific units.
///
/// Notes of the fit: `entropy_last` is the highest entropy of the language-specific units, `taken` the number of them
/// that belong to the language of the fit, and `eligible` the number of units that exceed the filter in some
/// language.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lape;

/// Language-specific units that are looked for unless a number is asked for: a share of one percent, and at least ten.
const DEFAULT_SHARE: f64 = 0.01;
const DEFAULT_UNITS: usize = 10;
const DEFAULT_FILTER: f64 = 0.95;

/// The parameter of the bar that some share of a unit must be above.
pub(super) const FILTER: ParamSpec = ParamSpec {
    name: "filter",
    default: "0.95",
    help: "a unit counts only if its share of active tokens in some language is above this quantile of the shares of all units",
};
/// The parameter of the bar above which a unit is of a language.
pub(super) const ACTIVE: ParamSpec = ParamSpec {
    name: "active",
    default: "0.95",
    help: "a language-specific unit belongs to a language if its share of active tokens there is above this quantile of the shares of all units",
};

/// A unit with its share of active tokens in each class.
pub(super) struct Active {
    pub(super) site: usize,
    pub(super) unit: usize,
    pub(super) shares: Vec<f64>,
}

impl Debiaser for Lape {
    fn name(&self) -> &'static str {
        "lape"
    }

    fn title(&self) -> &'static str {
        "LAPE"
    }

    fn citation(&self) -> &'static str {
        "Tang et al. 2024, arXiv 2402.16438"
    }

    fn summary(&self) -> &'static str {
        "Switches off units that are active in one language and in few others."
    }

    fn docs(&self) -> &'static str {
        "methods/lape.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn reduce(&self, options: &FitOptions) -> Result<Reduce, FitError> {
        let _ = options;
        Ok(Reduce::Positive)
    }

    fn size(&self) -> Size {
        Size::Units
    }

    fn span(&self, options: &FitOptions) -> Result<Span, FitError> {
        let _ = options;
        Ok(Span::Sites)
    }

    fn contrast(&self, options: &FitOptions) -> Result<Contrast, FitError> {
        let _ = options;
        Ok(Contrast::Languages)
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[ParamSpec::GROUP, FILTER, ACTIVE]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("group")?;
        params.share("filter")?;
        params.share("active").map(|_| ())
    }

    fn fit_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
    ) -> Result<FittedSites, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        let dims = evidence.dims().to_vec();
        let (all, own) = active(self.name(), evidence, params.text("group")?)?;
        let count = count(self.name(), options, all.len())?;
        let Specific {
            units: mut eligible,
            active,
            last,
            there_are,
        } = specific(
            &all,
            count,
            [params.share("filter")?, params.share("active")?],
        );
        eligible.retain(|unit| unit.shares[own] > active);
        if eligible.is_empty() {
            return Err(FitError::NoUnits {
                method: self.name(),
                reason: format!(
                    "of {} language-specific units ({there_are} may be), none is active at more than {active} of the tokens \
                     of the language of the fit; ask for more units, or lower `filter` and `active`",
                    count.min(there_are)
                ),
            });
        }
        let mut at: Vec<Vec<usize>> = vec![Vec::new(); dims.len()];
        for unit in &eligible {
            at[unit.site].push(unit.unit);
        }
        let off = |(&dim, mut units): (&usize, Vec<usize>)| {
            units.sort_unstable();
            let zeros = vec![0.0; units.len()];
            super::aura::scale(dim, units, zeros)
        };
        let edits: Result<Vec<Edit>, FitError> = dims.iter().zip(at).map(off).collect();
        let notes = [
            ("entropy_last", last),
            ("taken", eligible.len() as f64),
            ("eligible", there_are as f64),
        ];
        Ok(FittedSites {
            edits: edits?,
            notes: named(notes),
        })
    }
}

/// How many units are language-specific.
pub(super) fn count(
    method: &'static str,
    options: &FitOptions,
    there_are: usize,
) -> Result<usize, FitError> {
    let share = (there_are as f64 * DEFAULT_SHARE).round_ties_even() as usize;
    units_within(method, options, share.max(DEFAULT_UNITS), there_are)
}

/// Units that are active in few languages.
pub(super) struct Specific<'a> {
    /// Of the lowest entropy first.
    pub(super) units: Vec<&'a Active>,
    /// The share above which a unit is of a language.
    pub(super) active: f64,
    /// The entropy of the last unit.
    pub(super) last: f64,
    /// How many units count.
    pub(super) there_are: usize,
}

/// The `count` units of the lowest entropy among those with a share above the bar `filter`; `bars` are `filter` and `active`, as shares of all
/// shares.
pub(super) fn specific(all: &[Active], count: usize, bars: [Option<f64>; 2]) -> Specific<'_> {
    let mut values: Vec<f64> = all.iter().flat_map(|u| u.shares.iter().copied()).collect();
    values.sort_by(f64::total_cmp);
    let [filter, active] = bars.map(|share| {
        let share = share.unwrap_or(DEFAULT_FILTER);
        let place = (values.len() as f64 * share).round_ties_even() as usize;
        values[place.clamp(1, values.len()) - 1]
    });
    let mut eligible: Vec<(f64, &Active)> = all
        .iter()
        .filter(|unit| unit.shares.iter().any(|&p| p > filter))
        .map(|unit| (units::rounded(entropy(&unit.shares)), unit))
        .collect();
    // Stable: of equal entropy the first unit comes first.
    eligible.sort_by(|a, b| a.0.total_cmp(&b.0));
    let there_are = eligible.len();
    eligible.truncate(count);
    Specific {
        last: eligible.last().map_or(0.0, |e| e.0),
        units: eligible.into_iter().map(|(_, unit)| unit).collect(),
        active,
        there_are,
    }
}

/// Every unit of every site with its mean share in each class that has rows, and the place of the class of the fit.
fn active(
    method: &'static str,
    evidence: &mut dyn Evidence,
    group: Option<&str>,
) -> Result<(Vec<Active>, usize), FitError> {
    let mut all = Vec::new();
    let mut own = 0;
    for site in 0..evidence.dims().len() {
        let data = evidence.at(site)?;
        let positive = units::positives(method, &data, group)?;
        let classes = data.present();
        let is_own = |class: &usize| {
            let mut rows = data.label.iter().zip(&positive);
            rows.any(|(label, positive)| label == class && *positive)
        };
        own = classes.iter().position(is_own).unwrap_or(0);
        let rows: Vec<Vec<usize>> = classes
            .iter()
            .map(|class| {
                let all = 0..data.label.len();
                all.filter(|&row| data.label[row] == *class).collect()
            })
            .collect();
        let means: Vec<Vec<f64>> = rows
            .iter()
            .map(|rows| super::mean_shift::mean(&data.x, rows))
            .collect();
        for unit in 0..data.dim() {
            // Shares are never below zero; states of another kind are taken as they are above it.
            let shares = means.iter().map(|mean| mean[unit].max(0.0)).collect();
            all.push(Active { site, unit, shares });
        }
    }
    Ok((all, own))
}

/// Entropy in nats of values over their sum; 0 where all are.
fn entropy(shares: &[f64]) -> f64 {
    let largest = shares.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return 0.0;
    }
    // Over the largest first, for values that are as large as numbers get.
    let sum: f64 = shares.iter().map(|p| p / largest).sum();
    let terms = shares.iter().map(|p| p / largest / sum);
    -terms.filter(|p| *p > 0.0).map(|p| p * p.ln()).sum::<f64>()
}
