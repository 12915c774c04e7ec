//! Computes rows from scores and states. Every number has n and an interval.

mod alignment;
mod benchmarks;
mod bias;
mod choice;
mod cosines;
mod joint;
mod probes;
mod retrieval;
mod scopes;
mod search;
#[cfg(test)]
mod tests;
mod transfer;
mod truth;

pub use alignment::{alignment_rows, reconstruction_rows};
pub use benchmarks::{answers, benchmark_rows};
pub use bias::{bias_rows, correct, items};
pub use choice::choice_rows;
pub use cosines::cosine_rows;
pub use probes::probe_rows;
pub use retrieval::retrieval_rows;
pub use search::search_rows;
pub use transfer::transfer_rows;
pub use truth::truth_rows;

use interlingua_metrics::bootstrap::{Bootstrap, Estimate, Interval};

use crate::plan::{Plan, Setting};
use crate::row::{EditAxes, Row};

/// A row without a number, with the facts that hold for the whole run.
pub struct Blank<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The name of the model.
    pub model: String,
    /// The name of the bias benchmark.
    pub benchmark: String,
    /// The metric on held-out text: `perplexity`, or `pseudo_perplexity` for a masked model.
    pub cost: &'static str,
}

impl Blank<'_> {
    fn row(&self, metric: &str, estimate: Estimate) -> Row {
        Row {
            metric: metric.to_owned(),
            value: estimate.value,
            ci_low: estimate.ci_low,
            ci_high: estimate.ci_high,
            n: estimate.n as u64,
            seed: self.plan.spec.seed,
            model: self.model.clone(),
            experiment: self.plan.spec.name.clone(),
            ..Row::default()
        }
    }

    fn with_setting(&self, row: Row, setting: &Setting) -> Row {
        Row {
            category: Some(setting.category.clone()),
            edit: EditAxes {
                special_tokens: setting
                    .hook
                    .as_ref()
                    .map(|_| self.plan.spec.special_tokens.name().to_owned()),
                ..axes(setting)
            },
            ..row
        }
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            resamples: self.plan.spec.score.resamples,
            interval: Interval::ExpandedBca,
            ..Bootstrap::seeded(self.plan.spec.seed)
        }
    }
}

/// Returns the axes of a setting, without what is done with special tokens, which is the same in all of a run.
fn axes(setting: &Setting) -> EditAxes {
    EditAxes {
        role: Some(setting.role),
        method: Some(setting.in_rows()),
        params: match setting.draw {
            0 => setting.params.clone(),
            draw => Some(format!("draw={}", draw + 1)),
        },
        fit_language: setting.fit_language.map(|l| l.to_string()),
        space: setting.space.map(|s| s.name().to_owned()),
        reinsert: setting.reinsert.map(|r| r.name().to_owned()),
        hook: setting.hook.clone(),
        special_tokens: None,
        rank: setting.rank().map(|r| r as u64),
        units: setting.units().map(|u| u as u64),
        strength: setting.strength,
    }
}
