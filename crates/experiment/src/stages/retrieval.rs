//! Measures the retrieval of translations between states of the edited model, at any hooks.

use interlingua_data::Language;
use interlingua_metrics::MetricError;
use interlingua_metrics::alignment::{
    CSLS_NEIGHBOURS, cosine_margin, linear_cka, pair_cosines, retrieval_hits,
};
use interlingua_metrics::bootstrap::{self, Bootstrap, Estimate, Interval};
use interlingua_models::engine::{Branch, capture_branches};
use interlingua_models::{Capture, Hook, Pooling, Sequence};
use serde::{Deserialize, Serialize};

use super::pack::Pack;
use super::{Edited, Runner};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::prepare::Prepared;

/// Settings whose states are held at once.
const SETTINGS: usize = 4;

/// The effect of one setting on the retrieval of one language's translations among another language's sentences, at
/// one hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The position of the hook in [`crate::spec::RetrievalSpec::hooks`].
    pub hook: usize,
    /// The positions of the two languages: that of the queries, and that of the candidates.
    pub languages: [usize; 2],
    /// The share of rows that find their translation if both sides are edited.
    pub both: Estimate,
    /// The same share minus that of the unedited model.
    pub change: Estimate,
    /// The share of rows that find their translation if only the queries are edited.
    pub query: Estimate,
    /// The share of rows that find their translation if only the candidates are edited.
    pub answer: Estimate,
    /// The mean cosine of translations minus that of all other pairs, if both sides are edited.
    pub margin: Estimate,
    /// Mean cosine of translations.
    pub cosine: Estimate,
    /// Linear CKA of the two sides.
    pub cka: Estimate,
    /// The same where no row stands beside its translation.
    pub cka_shifted: Estimate,
}

/// The effect of a setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieved {
    /// The position of the setting in the plan.
    pub setting: usize,
    /// The results for all hooks and pairs of languages.
    pub found: Vec<Found>,
}

/// States by language and hook point, one row for each sentence.
type Vectors = Vec<Vec<Vec<f32>>>;

/// What the stage looks at.
struct Task<'a> {
    hooks: Vec<Hook>,
    widths: Vec<usize>,
    languages: &'a [Language],
    sequences: Vec<Vec<Sequence>>,
    options: Bootstrap,
}

/// Measures the retrieval of the held-out rows under every setting of a category; the result is empty if the
/// experiment names no hooks for it.
pub fn retrieval_stage(
    run: &mut Runner<'_>,
    edited: &Edited<'_>,
    text: &Prepared,
    category: &str,
) -> Result<Vec<Retrieved>, ExperimentError> {
    let plan = run.plan;
    let spec = &plan.spec.retrieval;
    if spec.hooks.is_empty() {
        return Ok(Vec::new());
    }
    let rows = spec.rows.min(text.heldout.len());
    let columns: Vec<&[String]> = text.heldout.columns.iter().map(|c| &c[..rows]).collect();
    let settings = plan.settings_of(category);
    let mut of_language = Vec::new();
    for &language in &plan.spec.languages {
        of_language.push(edited.keys(plan, &settings, language)?);
    }
    let keys: Vec<String> = (0..settings.len())
        .map(|at| {
            let all: Vec<&String> = of_language.iter().map(|keys| &keys[at]).collect();
            Cache::key("retrieval", &all)
        })
        .collect();
    let score = (plan.spec.score.resamples, plan.spec.seed);
    let inputs = (
        &edited.model_key,
        &plan.spec.languages,
        &spec.hooks,
        &columns,
        score,
    );
    let mut pack =
        Pack::<Vec<Found>>::open(run, "retrieval", Cache::key("retrieval", &inputs), &keys)?;
    let counts = [pack.missing.len(), pack.wanted];
    run.stage_of(
        &format!("retrieval under edits, {category}"),
        counts,
        |run| {
            let missing: Vec<usize> = pack.missing.iter().map(|&at| settings[at]).collect();
            if !missing.is_empty() {
                let found = Task::new(run, edited, &columns)?.all(run, edited, &missing)?;
                pack.add(run, &keys, found)?;
            }
            let all = settings.into_iter().zip(pack.all(&keys));
            let all = all.map(|(setting, found)| Retrieved { setting, found });
            Ok(all.collect())
        },
    )
}

impl<'a> Task<'a> {
    fn new(
        run: &Runner<'a>,
        edited: &Edited<'_>,
        columns: &[&[String]],
    ) -> Result<Task<'a>, ExperimentError> {
        let (model, spec) = (edited.model, &run.plan.spec);
        let (mut hooks, mut widths) = (Vec::new(), Vec::new());
        for name in &spec.retrieval.hooks {
            let hook = Hook::parse(name, model.geometry.layers)?;
            widths.push(model.geometry.shape().width(hook)?);
            hooks.push(hook);
        }
        let mut sequences = Vec::new();
        for column in columns {
            let of = column.iter().map(|sentence| model.sequence(sentence));
            sequences.push(of.collect::<Result<_, _>>()?);
        }
        Ok(Task {
            hooks,
            widths,
            languages: &spec.languages,
            sequences,
            options: Bootstrap {
                resamples: spec.score.resamples,
                interval: Interval::ExpandedBca,
                ..Bootstrap::seeded(spec.seed)
            },
        })
    }

    fn all(
        &self,
        run: &mut Runner<'_>,
        edited: &Edited<'_>,
        settings: &[usize],
    ) -> Result<Vec<Vec<Found>>, ExperimentError> {
        let plan = run.plan;
        let mut unedited = Vec::new();
        for language in 0..self.languages.len() {
            let mut one = self.states(edited, language, &[Branch::unedited()])?;
            unedited.push(one.remove(0));
        }
        let mut all = Vec::with_capacity(settings.len());
        for chunk in settings.chunks(SETTINGS) {
            let mut by_setting: Vec<Vectors> = chunk.iter().map(|_| Vec::new()).collect();
            for (at, &language) in self.languages.iter().enumerate() {
                let edits = edited.site_edits(plan, chunk, language)?;
                let states = self.states(edited, at, &edits.branches())?;
                for (vectors, of_language) in by_setting.iter_mut().zip(states) {
                    vectors.push(of_language);
                }
            }
            for vectors in &by_setting {
                all.push(self.judge(vectors, &unedited)?);
                run.progress(all.len(), settings.len(), String::new());
            }
        }
        Ok(all)
    }

    /// Mean states of the sentences of a language, by branch and hook point.
    fn states(
        &self,
        edited: &Edited<'_>,
        language: usize,
        branches: &[Branch<'_>],
    ) -> Result<Vec<Vec<Vec<f32>>>, ExperimentError> {
        let sequences = &self.sequences[language];
        let captures: Vec<Capture> = self
            .hooks
            .iter()
            .map(|&hook| Capture {
                hook,
                pooling: Pooling::Mean,
            })
            .collect();
        let empty = || -> Vec<Vec<f32>> {
            let widths = self.widths.iter();
            widths
                .map(|width| vec![0.0; width * sequences.len()])
                .collect()
        };
        let mut states: Vec<Vec<Vec<f32>>> = branches.iter().map(|_| empty()).collect();
        capture_branches(
            edited.model,
            sequences,
            branches,
            &captures,
            &mut |branch, hook, sequence, rows| {
                let width = self.widths[hook];
                states[branch][hook][sequence * width..][..width].copy_from_slice(rows);
                Ok(())
            },
            &mut |_, _| {},
        )?;
        Ok(states)
    }

    fn judge(&self, vectors: &Vectors, unedited: &Vectors) -> Result<Vec<Found>, ExperimentError> {
        let failed = |e| ExperimentError::metric("retrieval under edits")(e);
        let mut all = Vec::new();
        for (hook, &dim) in self.widths.iter().enumerate() {
            let hits =
                |a: &[f32], b: &[f32]| retrieval_hits(a, b, dim, CSLS_NEIGHBOURS).map_err(failed);
            let mean = |values: &[f64]| bootstrap::mean(values, &self.options).map_err(failed);
            let count = self.languages.len();
            for (a, b) in (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))) {
                let (x, y) = (&vectors[a][hook], &vectors[b][hook]);
                let (x0, y0) = (&unedited[a][hook], &unedited[b][hook]);
                let (both, before) = (hits(x, y)?, hits(x0, y0)?);
                let (left, right) = (hits(x, y0)?, hits(x0, y)?);
                let margin = cosine_margin(x, y, dim, &self.options).map_err(failed)?;
                let cosine = mean(&pair_cosines(x, y, dim).map_err(failed)?)?;
                let rows = x.len() / dim;
                let cka = linear_cka(x, dim, y, dim).map_err(failed)?;
                let cka = Estimate::point(cka, rows);
                let cka_shifted = Estimate::point(shifted_cka(x, y, dim).map_err(failed)?, rows);
                let ways = [
                    (
                        [a, b],
                        &both.cosine_a_to_b,
                        &before.cosine_a_to_b,
                        &left.cosine_a_to_b,
                        &right.cosine_a_to_b,
                    ),
                    (
                        [b, a],
                        &both.cosine_b_to_a,
                        &before.cosine_b_to_a,
                        &right.cosine_b_to_a,
                        &left.cosine_b_to_a,
                    ),
                ];
                for (languages, both, before, query, answer) in ways {
                    let change: Vec<f64> = both.iter().zip(before).map(|(x, y)| x - y).collect();
                    all.push(Found {
                        hook,
                        languages,
                        both: mean(both)?,
                        change: mean(&change)?,
                        query: mean(query)?,
                        answer: mean(answer)?,
                        margin,
                        cosine,
                        cka,
                        cka_shifted,
                    });
                }
            }
        }
        Ok(all)
    }
}

/// Ways of setting rows beside others than their translations.
const SHIFTS: usize = 5;

/// The mean of linear CKA over a few shifts of the rows of one side against those of the other: what the two sides have in common by the number of
/// their rows alone, which is much where there are fewer rows than the states are wide.
fn shifted_cka(x: &[f32], y: &[f32], dim: usize) -> Result<f64, MetricError> {
    let rows = x.len() / dim;
    let mut total = 0.0;
    for shift in 1..=SHIFTS {
        let mut other = y.to_vec();
        // Spread over the rows: neighbours may be of one text.
        let by = (shift * rows / (SHIFTS + 1)).clamp(1, rows.max(2) - 1);
        other.rotate_left(by * dim);
        total += linear_cka(x, dim, &other, dim)?;
    }
    Ok(total / SHIFTS as f64)
}

#[cfg(test)]
mod tests;
