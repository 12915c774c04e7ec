//! Evaluates the tasks other than the pairs, under every setting.

use interlingua_metrics::bootstrap::{Bootstrap, Interval};
use interlingua_tasks::{Judgement, Judging};

use super::pack::Pack;
use super::{Edited, Runner};
use crate::ExperimentError;
use crate::benchmarks::{Benchmark, what};
use crate::cache::Cache;
use crate::plan::Plan;

/// The result of a task under one setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The position of the setting in the plan.
    pub setting: usize,
    /// The result of the task.
    pub found: Judgement,
}

/// Returns the settings that are evaluated on items: those of the items' category, or all if the items have no
/// category.
pub fn settings_of(plan: &Plan, category: Option<&str>) -> Vec<usize> {
    match category {
        Some(category) => plan.settings_of(category),
        None => (0..plan.settings.len()).collect(),
    }
}

/// Returns the settings for computing numbers from answers in a run.
pub fn judging(plan: &Plan, causal: bool) -> Judging {
    Judging {
        bootstrap: Bootstrap {
            resamples: plan.spec.score.resamples,
            interval: Interval::ExpandedBca,
            ..Bootstrap::seeded(plan.spec.seed)
        },
        causal,
    }
}

/// Asks the model the items of one task under every setting that is evaluated on them.
///
/// # Errors
/// Items that the model cannot be asked, answers without a value, and whatever stops the pass.
pub fn benchmark_stage(
    run: &mut Runner<'_>,
    edited: &Edited<'_>,
    benchmark: &Benchmark,
) -> Result<Vec<Judged>, ExperimentError> {
    let plan = run.plan;
    let group = Cache::key(
        "benchmark",
        &(
            &edited.model_key,
            benchmark,
            plan.spec.score.resamples,
            plan.spec.seed,
        ),
    );
    let settings = settings_of(plan, benchmark.category.as_deref());
    let keys = edited.keys(plan, &settings, benchmark.language)?;
    let mut pack: Pack<Judgement> = Pack::open(run, "benchmark", group, &keys)?;
    let counts = [pack.missing.len(), pack.wanted];
    run.stage_of(&what(benchmark), counts, |run| {
        let missing: Vec<usize> = pack.missing.iter().map(|&at| settings[at]).collect();
        if !missing.is_empty() {
            let found = judge(run, edited, benchmark, &missing)?;
            pack.add(run, &keys, found)?;
        }
        let all = settings.into_iter().zip(pack.all(&keys));
        Ok(all
            .map(|(setting, found)| Judged { setting, found })
            .collect())
    })
}

/// What is found under some settings, in one pass of the model.
fn judge(
    run: &mut Runner<'_>,
    edited: &Edited<'_>,
    benchmark: &Benchmark,
    settings: &[usize],
) -> Result<Vec<Judgement>, ExperimentError> {
    let plan = run.plan;
    let edits = edited.site_edits(plan, settings, benchmark.language)?;
    let failed = |error| ExperimentError::of_task(&what(benchmark), error);
    let ask = benchmark.items.ask(edited.model).map_err(failed)?;
    let mut progress = run.few_updates(settings.len());
    let answers = ask.put(edited.model, &edits.branches(), &mut progress)?;
    let to = judging(plan, edited.model.geometry.causal);
    let judge = |answers| benchmark.items.judge(answers, &to).map_err(failed);
    answers.iter().map(judge).collect()
}
