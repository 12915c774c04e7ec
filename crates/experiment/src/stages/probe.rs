//! Probes: what a classifier still finds of the groups in edited states.
//!
//! The examples are counterfactual sets that no debiaser has seen: the same
//! sentence once per group, so that nothing but the group tells the classes
//! apart and a probe that sees nothing is right in one of so many cases as
//! there are groups. Half of the sets teach, the other half judge.

use interlingua_data::Language;
use interlingua_metrics::bootstrap::{self, Bootstrap, Estimate, Interval};
use interlingua_metrics::probe::{Probe, Rows, accuracy, codelength};
use interlingua_models::{RowInfo, StateEdit};
use serde::{Deserialize, Serialize};

use interlingua_backend::{from_rows, to_host};

use super::{Captured, Edited, Runner};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::plan::Plan;
use crate::prepare::Prepared;

/// Fewest counterfactual sets in each half.
const FEWEST: usize = 20;

/// What one probe found under one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    /// Setting, by its place in the plan.
    pub setting: usize,
    /// Hook point whose states were probed.
    pub hook: String,
    /// Kind of probe.
    pub kind: String,
    /// Share of the judging half whose group the probe names, resampled by set.
    pub accuracy: Estimate,
    /// What a probe that sees nothing gets.
    pub chance: f64,
    /// Bits per label, where they were asked for; a probe that sees nothing needs log₂ of the groups.
    pub bits: Option<f64>,
    /// Whether all training came to its own end.
    pub converged: bool,
}

/// Probes the states of one category and language under every setting; nothing where there are too
/// few examples.
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
    let key = Cache::key(
        "probes",
        &(
            &edited.upstream,
            category,
            language,
            &plan.settings,
            &plan.spec.methods,
            &plan.spec.probe,
            plan.spec.score.resamples,
            plan.spec.seed,
        ),
    );
    let cached = run.load::<Vec<Probed>>("probes", &key)?;
    let name = format!("probe {category} in {language}");
    run.stage(&name, cached.is_some(), |run| {
        if let Some(found) = cached {
            return Ok(found);
        }
        let tuples = &set.probe[..2 * halves];
        let mut found = Vec::new();
        let settings = plan.settings_of(category);
        for (site, states) in captured.iter().enumerate() {
            let mut vectors = Vec::new();
            for &sentence in tuples.iter().flatten() {
                states.fit.read(sentence, &mut vectors)?;
            }
            // The unedited model is probed at every hook point, an edit at its own.
            let here: Vec<usize> = settings
                .iter()
                .copied()
                .filter(|&s| {
                    plan.site(&plan.settings[s])
                        .is_none_or(|other| other == site)
                })
                .collect();
            let edits = edited.site_edits(plan, &here, language)?.0;
            for (at, (&setting, edit)) in here.iter().zip(&edits).enumerate() {
                let width = edited.sites[site].width;
                let x = match edit {
                    None => vectors.clone(),
                    Some((_, edit)) => {
                        let rows = vectors.len() / width;
                        let device = &edited.sites[site].device;
                        let h = from_rows(vectors.clone(), rows, width, device);
                        to_host(edit.edit.apply(h, &RowInfo::new(&[], &[])))
                    }
                };
                for kind in &plan.spec.probe.kinds {
                    let probed = Examples {
                        x: &x,
                        width,
                        groups: set.groups.len(),
                    };
                    let what = || {
                        let method = plan.settings[setting].in_rows();
                        format!("the {kind} probe for {category} in {language} under {method}")
                    };
                    let result = probed
                        .judge(plan, kind)
                        .map_err(ExperimentError::metric(what()))?;
                    found.push(Probed {
                        setting,
                        hook: plan.hooks[site].clone(),
                        kind: kind.clone(),
                        ..result
                    });
                }
                run.progress(at + 1, here.len(), plan.hooks[site].clone());
            }
        }
        run.cache.store("probes", &key, &found)?;
        Ok(found)
    })
}

/// The probe of a kind.
///
/// # Errors
/// An unknown kind, with those that exist.
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
    fn judge(&self, plan: &Plan, kind: &str) -> Result<Probed, interlingua_metrics::MetricError> {
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
        Ok(Probed {
            setting: 0,
            hook: String::new(),
            kind: String::new(),
            accuracy: bootstrap::clustered_mean(&judged.hits, Some(&sets), &options)?,
            chance: 1.0 / self.groups as f64,
            bits,
            converged,
        })
    }
}
