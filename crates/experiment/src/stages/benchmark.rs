//! The tasks beside the pairs, under every setting that they judge.

use interlingua_metrics::bootstrap::{Bootstrap, Interval};
use interlingua_tasks::{Judgement, Judging};

use super::pack::Pack;
use super::{Edited, Runner};
use crate::ExperimentError;
use crate::benchmarks::{Benchmark, what};
use crate::cache::Cache;
use crate::plan::Plan;

/// What a task finds under one setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Setting, by its place in the plan.
    pub setting: usize,
    /// What it finds.
    pub found: Judgement,
}

/// The settings that items judge: those of their category, or all of them where they are about none.
pub fn settings_of(plan: &Plan, category: Option<&str>) -> Vec<usize> {
    match category {
        Some(category) => plan.settings_of(category),
        None => (0..plan.settings.len()).collect(),
    }
}

/// How answers are judged in a run.
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

/// Puts the items of one task to the model under every setting that they judge.
///
/// # Errors
/// Items that the model cannot be asked, answers without a value, whatever stops the pass.
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
