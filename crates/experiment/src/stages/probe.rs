//! Runs probes, which measure what a classifier still finds of the groups in edited states.
//!
//! The examples are counterfactual sets on which no debiasing method was fitted: the same sentence once per group. So
//! the classes differ in nothing but the group, and a probe that ignores the states is right in one of as many cases
//! as there are groups. Half of the sets train the probe, and the other half evaluate it.

use interlingua_data::Language;
use interlingua_debias::{Contrast, Reduce};
use interlingua_metrics::bootstrap::{self, Bootstrap, Estimate, Interval};
use interlingua_metrics::probe::{Probe, Rows, accuracy, codelength};
use interlingua_models::{RowInfo, StateEdit};
use serde::{Deserialize, Serialize};

use interlingua_backend::{from_rows, to_host};

use super::pack::Pack;
use super::{Captured, Edited, Runner, SiteStates};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::plan::Plan;
use crate::prepare::Prepared;
use interlingua_spaces::Spaces;

/// Fewest counterfactual sets in each half.
const FEWEST: usize = 20;

/// The result of one probe under one setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// The position of the setting in the plan.
    pub setting: usize,
    /// The hook whose states were probed.
    pub hook: String,
    /// The result of the probe.
    pub found: Verdict,
}

/// The result of one probe, without its setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The kind of probe.
    pub kind: String,
    /// The share of the evaluation half whose group the probe predicts, with an interval over sets.
    pub accuracy: Estimate,
    /// The accuracy of a probe that ignores the states.
    pub chance: f64,
    /// The number of bits per label, if it was asked for; a probe that ignores the states needs log₂ of the number of
    /// groups.
    pub bits: Option<f64>,
    /// Whether all training reached its stopping criterion.
    pub converged: bool,
}

/// Probes the states of one category and language under every setting; the result is empty if there are too few
/// examples.
pub fn probe_stage(
    run: &mut Runner<'_>,
    edited: &Edited<'_>,
    captured: &Captured,
    text: &Prepared,
    category: &str,
    language: Language,
) -> Result<Vec<Probed>, ExperimentError> {
    let plan = run.plan;
    let set = text.fit_set(language, category);
    let halves = plan.spec.probe.per_class.min(set.probe.len()) / 2;
    if plan.spec.probe.kinds.is_empty() || halves < FEWEST {
        return Ok(Vec::new());
    }
    let tuples = &set.probe[..2 * halves];
    let settings = plan.settings_of(category);
    let name = format!("probe {category} in {language}");
    let mut places = Vec::new();
    let with_rows = |(_, states): &(usize, &SiteStates)| states.rows.is_some();
    for (site, states) in captured.iter().enumerate().filter(with_rows) {
        // The unedited model is probed at every hook point, an edit at its own. What several edits in one pass do to the
        // states of the last hook point is no map of the states that were captured there, so they are not probed.
        let here: Vec<usize> = settings
            .iter()
            .copied()
            .filter(|&s| matches!(plan.sites(&plan.settings[s]), [] | [_]))
            .filter(|&s| plan.sites(&plan.settings[s]).iter().all(|at| *at == site))
            .collect();
        let keys = edited.keys(plan, &here, language)?;
        let group = Cache::key(
            "probes",
            &(
                &states.keys[3],
                tuples,
                language,
                &plan.spec.probe,
                plan.spec.score.resamples,
                plan.spec.seed,
            ),
        );
        let pack = Pack::<Vec<Verdict>>::open(run, "probes", group, &keys)?;
        places.push((site, here, keys, pack));
    }
    let sum = |of: fn(&Pack<Vec<Verdict>>) -> usize| places.iter().map(|p| of(&p.3)).sum();
    let counts = [sum(|p| p.missing.len()), sum(|p| p.wanted)];
    run.stage_of(&name, counts, |run| {
        let mut all = Vec::new();
        for (site, here, keys, mut pack) in places {
            let missing: Vec<usize> = pack.missing.iter().map(|&at| here[at]).collect();
            if !missing.is_empty() {
                let examples = (&captured[site], tuples, set.groups.len());
                let found = probe(run, edited, site, &missing, examples, language)?;
                pack.add(run, &keys, found)?;
            }
            for (setting, verdicts) in here.into_iter().zip(pack.all(&keys)) {
                all.extend(verdicts.into_iter().map(|found| Probed {
                    setting,
                    hook: plan.hooks[site].clone(),
                    found,
                }));
            }
        }
        Ok(all)
    })
}

/// Probes the states of one hook point under some settings; `examples` are its states, the counterfactual sets, and the
/// number of groups.
fn probe(
    run: &mut Runner<'_>,
    edited: &Edited<'_>,
    site: usize,
    settings: &[usize],
    (states, tuples, groups): (&SiteStates, &[Vec<usize>], usize),
    language: Language,
) -> Result<Vec<Vec<Verdict>>, ExperimentError> {
    let plan = run.plan;
    let mut vectors = Vec::new();
    let means = states.evidence(Contrast::Groups, Reduce::Mean).0;
    for &sentence in tuples.iter().flatten() {
        means.read(sentence, &mut vectors)?;
    }
    let Spaces { width, device, .. } = &*edited.sites[site];
    let edits = edited.site_edits(plan, settings, language)?.0;
    let mut all = Vec::new();
    for (at, (&setting, steps)) in settings.iter().zip(&edits).enumerate() {
        let mut h = from_rows(vectors.clone(), vectors.len() / width, *width, device);
        for (_, edit) in steps {
            h = edit.edit.apply(h, &RowInfo::new(&[], &[]));
        }
        let examples = Examples {
            x: &to_host(h),
            width: *width,
            groups,
        };
        let judge = |kind: &String| {
            let method = plan.settings[setting].in_rows();
            let what = format!("the {kind} probe in {language} under {method}");
            let verdict = examples.judge(plan, kind);
            verdict.map_err(ExperimentError::metric(what))
        };
        all.push(
            plan.spec
                .probe
                .kinds
                .iter()
                .map(judge)
                .collect::<Result<_, _>>()?,
        );
        run.progress(at + 1, settings.len(), plan.hooks[site].clone());
    }
    Ok(all)
}

/// Returns the probe of a kind.
///
/// # Errors
/// An unknown kind; the error lists those that exist.
pub fn probe_by_name(kind: &str, seed: u64) -> Result<Probe, ExperimentError> {
    match kind {
        "linear" => Ok(Probe::linear(seed)),
        "mlp" => Ok(Probe::mlp(seed)),
        other => Err(ExperimentError::plan(
            "probe.kinds",
            format!("unknown probe `{other}`; there are: linear, mlp"),
        )),
    }
}

/// States of whole counterfactual sets, one row per group in each.
struct Examples<'a> {
    x: &'a [f32],
    width: usize,
    groups: usize,
}

impl Examples<'_> {
    fn judge(&self, plan: &Plan, kind: &str) -> Result<Verdict, interlingua_metrics::MetricError> {
        let seed = plan.spec.seed;
        let probe = probe_by_name(kind, seed).expect("the plan's probes exist");
        let options = Bootstrap {
            resamples: plan.spec.score.resamples,
            interval: Interval::ExpandedBca,
            ..Bootstrap::seeded(seed)
        };
        let n = self.x.len() / self.width;
        let y: Vec<usize> = (0..n).map(|row| row % self.groups).collect();
        let rows = |from: usize, to: usize| Rows {
            x: &self.x[from * self.width..to * self.width],
            y: &y[from..to],
            dim: self.width,
            classes: self.groups,
        };
        let half = n / self.groups / 2 * self.groups;
        let judged = accuracy(&rows(0, half), &rows(half, n), &probe, &options)?;
        let sets: Vec<usize> = (0..n - half).map(|row| row / self.groups).collect();
        let mut converged = judged.converged;
        let bits = match plan.spec.probe.codelength {
            false => None,
            true => {
                let length = codelength(&rows(0, n), &probe)?;
                converged &= length.converged();
                Some(length.bits / n as f64)
            }
        };
        Ok(Verdict {
            kind: kind.to_owned(),
            accuracy: bootstrap::clustered_mean(&judged.hits, Some(&sets), &options)?,
            chance: 1.0 / self.groups as f64,
            bits,
            converged,
        })
    }
}

#[cfg(test)]
mod tests;
