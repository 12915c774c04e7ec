//! The benchmarks beside the pairs, under every setting of their category.

use std::collections::BTreeMap;

use interlingua_data as data;
use interlingua_metrics::bootstrap::{Bootstrap, Estimate, Interval};
use interlingua_metrics::crows::StartToken;
use interlingua_metrics::{MetricError, bbq, seat, stereoset, templates};
use interlingua_models::engine::{LogProbs, capture_branches, query_log_probs, token_log_probs};
use interlingua_models::masked::{MaskRequest, mask_token, masked_log_probs};
use interlingua_models::pack::Query;
use interlingua_models::{Branch, Capture, Hook, Model, Pooling, Sequence};
use serde::{Deserialize, Serialize};

use super::pack::Pack;
use super::{Edited, Runner};
use crate::ExperimentError;
use crate::benchmarks::{Benchmark, Items};
use crate::cache::Cache;

/// One number of a benchmark under one setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Setting, by its place in the plan.
    pub setting: usize,
    /// The number.
    pub number: Number,
}

/// One number, before it knows its setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// Metric, as in [`interlingua_metrics::info::METRICS`].
    pub metric: String,
    /// Rule or test that the number belongs to.
    pub scorer: String,
    /// The number.
    pub estimate: Estimate,
    /// p value of the benchmark's own test, where it has one.
    pub p_value: Option<f64>,
}

impl Number {
    fn new(metric: &str, scorer: &str, estimate: Estimate) -> Number {
        Number {
            metric: metric.to_owned(),
            scorer: scorer.to_owned(),
            estimate,
            p_value: None,
        }
    }
}

/// Runs one benchmark; `progress` and the cache are the run's.
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
    let settings = plan.settings_of(&benchmark.category);
    let keys = edited.keys(plan, &settings, benchmark.language)?;
    let mut pack: Pack<Vec<Number>> = Pack::open(run, "benchmark", group, &keys)?;
    let name = format!(
        "{} for {} in {}",
        benchmark.items.name(),
        benchmark.category,
        benchmark.language
    );
    let counts = [pack.missing.len(), pack.wanted];
    run.stage_of(&name, counts, |run| {
        let missing: Vec<usize> = pack.missing.iter().map(|&at| settings[at]).collect();
        if !missing.is_empty() {
            let found = judge(run, edited, benchmark, &missing, &name)?;
            pack.add(run, &keys, found)?;
        }
        let all = settings.into_iter().zip(pack.all(&keys));
        let judged = |(setting, numbers): (usize, Vec<Number>)| {
            let of_setting = move |number| Judged { setting, number };
            numbers.into_iter().map(of_setting)
        };
        Ok(all.flat_map(judged).collect())
    })
}

/// The numbers of some settings.
fn judge(
    run: &mut Runner<'_>,
    edited: &Edited<'_>,
    benchmark: &Benchmark,
    settings: &[usize],
    what: &str,
) -> Result<Vec<Vec<Number>>, ExperimentError> {
    let plan = run.plan;
    let edits = edited.site_edits(plan, settings, benchmark.language)?;
    let pass = Pass {
        model: edited.model,
        branches: &edits.branches(),
        options: Bootstrap {
            resamples: plan.spec.score.resamples,
            interval: Interval::ExpandedBca,
            ..Bootstrap::seeded(plan.spec.seed)
        },
        what,
    };
    let mut progress = run.few_updates(settings.len());
    match &benchmark.items {
        Items::Stereoset(items) => pass.stereoset(items, &mut progress),
        Items::Seat(tests) => pass.seat(tests, &mut progress),
        Items::Bbq(questions) => pass.bbq(questions, &mut progress),
        Items::Templates(items) => pass.templates(items, &mut progress),
    }
}

/// A progress callback: units done and in all.
type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// One pass of the model over the items of a benchmark. Results: `[branch][number]`.
struct Pass<'a> {
    model: &'a Model,
    branches: &'a [Branch<'a>],
    options: Bootstrap,
    what: &'a str,
}

impl Pass<'_> {
    fn metric(&self, source: MetricError) -> ExperimentError {
        ExperimentError::metric(self.what)(source)
    }

    /// Log-probabilities of all tokens of texts; of a masked model each token masked alone.
    fn texts(
        &self,
        texts: &[&str],
        progress: Progress<'_>,
    ) -> Result<Vec<LogProbs>, ExperimentError> {
        let sequences = texts
            .iter()
            .map(|text| self.model.sequence(text))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(if self.model.geometry.causal {
            token_log_probs(self.model, &sequences, self.branches, progress)?
        } else {
            let requests: Vec<_> = sequences.into_iter().map(MaskRequest::text).collect();
            masked_log_probs(self.model, &requests, self.branches, progress)?
        })
    }

    fn templates(
        &self,
        items: &[data::TemplateItem],
        progress: Progress<'_>,
    ) -> Result<Vec<Vec<Number>>, ExperimentError> {
        let texts: Vec<&str> = items
            .iter()
            .flat_map(|i| [&i.a, &i.b, &i.neutral_a, &i.neutral_b])
            .map(String::as_str)
            .collect();
        let numbers = numbered(items.iter().map(|i| i.template.as_str()));
        let of_branch = |log_probs: &LogProbs| {
            let probes: Vec<templates::Probe> = log_probs
                .chunks_exact(4)
                .zip(&numbers)
                .map(|(four, &template)| {
                    let [first, second, prior_first, prior_second] =
                        [0, 1, 2, 3].map(|at: usize| total(&four[at]));
                    templates::Probe {
                        first,
                        second,
                        prior_first,
                        prior_second,
                        template,
                    }
                })
                .collect();
            let scores = templates::scores(&probes, &self.options).map_err(|e| self.metric(e))?;
            let kind = self.kind();
            Ok(vec![
                Number::new("template_gap", kind, scores.gap),
                Number::new("template_gap_corrected", kind, scores.corrected),
            ])
        };
        self.texts(&texts, progress)?
            .iter()
            .map(of_branch)
            .collect()
    }

    /// What a sentence's probability is, in one word.
    fn kind(&self) -> &'static str {
        match self.model.geometry.causal {
            true => "causal",
            false => "masked",
        }
    }

    fn bbq(
        &self,
        questions: &[data::Question],
        progress: Progress<'_>,
    ) -> Result<Vec<Vec<Number>>, ExperimentError> {
        if !self.model.geometry.causal {
            return Err(ExperimentError::plan(
                "benchmarks",
                "BBQ asks for the probability of an answer after its question, which a masked model does not have",
            ));
        }
        let mut sequences = Vec::with_capacity(3 * questions.len());
        for question in questions {
            let prompt = self
                .model
                .sequence(&format!("{} {}", question.context, question.question))?;
            for answer in &question.answers {
                let answer = self.model.tokenizer.encode(&format!(" {answer}"))?;
                // Context and question are given; the answer alone is scored.
                let given = prompt.tokens.len();
                sequences.push(Sequence::new([&prompt.tokens[..], &answer].concat(), given));
            }
        }
        let log_probs = token_log_probs(self.model, &sequences, self.branches, progress)?;
        let numbers = numbered(questions.iter().map(|q| q.question_index.as_str()));
        let of_branch = |log_probs: &LogProbs| {
            let (mut asked, mut control) = (Vec::new(), Vec::new());
            for ((question, three), &template) in questions
                .iter()
                .zip(log_probs.chunks_exact(3))
                .zip(&numbers)
            {
                let judged = bbq::Question {
                    context: match question.condition {
                        data::Condition::Ambiguous => bbq::Context::Ambiguous,
                        data::Condition::Disambiguated => bbq::Context::Disambiguated,
                    },
                    polarity: match question.polarity {
                        data::Polarity::Negative => bbq::Polarity::Negative,
                        data::Polarity::NonNegative => bbq::Polarity::NonNegative,
                    },
                    gold: question.label,
                    unknown: question.unknown,
                    target: question.stereotyped,
                    template,
                    response: bbq::Response::LogLikelihoods(
                        [0, 1, 2].map(|at: usize| total(&three[at])),
                    ),
                };
                if question.control {
                    &mut control
                } else {
                    &mut asked
                }
                .push(judged);
            }
            self.bbq_numbers(&asked, &control)
                .map_err(|e| self.metric(e))
        };
        log_probs.iter().map(of_branch).collect()
    }

    fn bbq_numbers(
        &self,
        asked: &[bbq::Question],
        control: &[bbq::Question],
    ) -> Result<Vec<Number>, MetricError> {
        let scores = bbq::scores(asked, &self.options)?;
        let mut numbers = vec![
            ("bbq_accuracy_ambiguous", scores.accuracy_ambiguous),
            ("bbq_accuracy_disambiguated", scores.accuracy_disambiguated),
            ("bbq_bias_ambiguous", scores.bias_ambiguous),
            ("bbq_bias_disambiguated", scores.bias_disambiguated),
            ("mbbq_bias_ambiguous", scores.mbbq_bias_ambiguous),
            ("mbbq_bias_disambiguated", scores.mbbq_bias_disambiguated),
            ("bbq_gap_ambiguous", scores.gap_ambiguous),
            ("bbq_gap_disambiguated", scores.gap_disambiguated),
        ];
        if !control.is_empty() {
            let context = bbq::Context::Disambiguated;
            let against = bbq::accuracy_against_control(asked, control, context, &self.options)?;
            numbers.push(("mbbq_accuracy_against_control", Some(against)));
        }
        let number = |(metric, estimate): (&'static str, Option<Estimate>)| {
            Some(Number::new(metric, "answer log-likelihood", estimate?))
        };
        Ok(numbers.into_iter().filter_map(number).collect())
    }

    fn stereoset(
        &self,
        items: &[data::StereoItem],
        progress: Progress<'_>,
    ) -> Result<Vec<Vec<Number>>, ExperimentError> {
        let three = |i: &data::StereoItem| {
            let s = &i.sentences;
            [&s.stereotype, &s.antistereotype, &s.unrelated].map(Clone::clone)
        };
        let (scorer, name, places, log_probs) = if self.model.geometry.causal {
            let start = StartToken::FirstTokenOnly;
            let mut sequences = Vec::new();
            let mut places = Vec::new();
            for sentence in items.iter().flat_map(three) {
                let whole = self.model.sequence(&sentence)?;
                places.push(crate::requests::add_sentence(&mut sequences, whole, start));
            }
            let found = token_log_probs(self.model, &sequences, self.branches, progress)?;
            (
                stereoset::Scorer::Generative(start),
                "generative",
                places,
                found,
            )
        } else {
            let (queries, places) = self.fillings(items)?;
            let found = query_log_probs(self.model, &queries, self.branches, progress)?;
            (stereoset::Scorer::Masked, "masked", places, found)
        };
        let terms = numbered(items.iter().map(|i| i.target.as_str()));
        let of_branch = |log_probs: &LogProbs| {
            let score = |places: &Vec<usize>| {
                let tokens: Vec<f32> = places.iter().flat_map(|&p| log_probs[p].clone()).collect();
                scorer.score(&tokens).map(|s| s.value)
            };
            let values = places.iter().map(score).collect::<Result<Vec<f64>, _>>();
            let values = values.map_err(|e| self.metric(e))?;
            let judged: Vec<stereoset::Item> = values
                .chunks_exact(3)
                .zip(&terms)
                .map(|(v, &term)| stereoset::Item {
                    stereotype: v[0],
                    antistereotype: v[1],
                    unrelated: v[2],
                    term,
                })
                .collect();
            let found = stereoset::scores(&judged, &self.options).map_err(|e| self.metric(e))?;
            Ok([
                ("stereoset_ss", found.ss),
                ("stereoset_lms", found.lms),
                ("stereoset_icat", found.icat),
                ("stereoset_gap", found.gap),
                ("stereoset_related_gap", found.related_gap),
            ]
            .map(|(metric, estimate)| Number::new(metric, name, estimate))
            .to_vec())
        };
        log_probs.iter().map(of_branch).collect()
    }

    /// A masked model's inputs for the three fillings of every item, and which belong to which.
    fn fillings(
        &self,
        items: &[data::StereoItem],
    ) -> Result<(Vec<Query>, Vec<Vec<usize>>), ExperimentError> {
        let mask = mask_token(self.model)?;
        let tokenizer = &self.model.tokenizer;
        let written = tokenizer.decode(&[mask]).unwrap_or_default();
        let (mut queries, mut places) = (Vec::new(), Vec::new());
        for item in items {
            let fills = item
                .fills
                .as_ref()
                .expect("intrasentence items have fillings");
            let open = self
                .model
                .sequence(&item.context.replace("BLANK", &written))?;
            let Some(at) = open.tokens.iter().position(|&t| t == mask) else {
                return Err(ExperimentError::plan(
                    "benchmarks",
                    format!(
                        "the tokenizer does not read `{written}` as its mask token in StereoSet item {}",
                        item.id
                    ),
                ));
            };
            for fill in [&fills.stereotype, &fills.antistereotype, &fills.unrelated] {
                let ids = tokenizer.encode(fill)?;
                let first = queries.len();
                for filling in
                    stereoset::fillings(&open.tokens[..at], &ids, &open.tokens[at + 1..], mask)
                {
                    let token = ids[filling.mask - at];
                    let whole = Sequence {
                        tokens: filling.ids,
                        ..open.clone()
                    };
                    queries.push(Query {
                        predictions: vec![(filling.mask, token)],
                        roles: self.model.roles(&whole),
                        tokens: whole.tokens,
                    });
                }
                places.push((first..queries.len()).collect());
            }
        }
        Ok((queries, places))
    }

    fn seat(
        &self,
        tests: &[data::AssociationTest],
        progress: Progress<'_>,
    ) -> Result<Vec<Vec<Number>>, ExperimentError> {
        // A sentence stands in several tests; it is encoded once.
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let sets = |t: &'_ data::AssociationTest| {
            t.targets.clone().into_iter().chain(t.attributes.clone())
        };
        for test in tests {
            for set in test.targets.iter().chain(&test.attributes) {
                for example in &set.examples {
                    let next = places.len();
                    places.entry(example).or_insert(next);
                }
            }
        }
        let mut texts = vec![""; places.len()];
        places.iter().for_each(|(text, &at)| texts[at] = text);
        let sequences = texts
            .iter()
            .map(|text| self.model.sequence(text))
            .collect::<Result<Vec<_>, _>>()?;
        let dim = self.model.geometry.hidden_size;
        let mut vectors = vec![vec![0.0f32; texts.len() * dim]; self.branches.len()];
        capture_branches(
            self.model,
            &sequences,
            self.branches,
            &[Capture {
                hook: Hook::FINAL_NORM,
                pooling: Pooling::Mean,
            }],
            &mut |branch, _, sequence, rows| {
                vectors[branch][sequence * dim..(sequence + 1) * dim].copy_from_slice(rows);
                Ok(())
            },
            progress,
        )?;
        let options = seat::Options {
            bootstrap: self.options,
            ..seat::Options::default()
        };
        let of_branch = |vectors: &Vec<f32>| {
            let mut numbers = Vec::new();
            for test in tests {
                let of_set = |set: data::WordSet| {
                    let rows = set.examples.iter().map(|e| places[e.as_str()]);
                    let rows = rows.flat_map(|at| vectors[at * dim..(at + 1) * dim].to_vec());
                    rows.collect::<Vec<f32>>()
                };
                let [x, y, a, b]: [Vec<f32>; 4] = sets(test)
                    .map(of_set)
                    .collect::<Vec<_>>()
                    .try_into()
                    .expect("two targets and two attributes");
                let found = seat::effect(&x, &y, &a, &b, dim, &options).map_err(
                    ExperimentError::metric(format!("{}, {}", self.what, test.name)),
                )?;
                numbers.push(Number {
                    p_value: Some(found.p_value),
                    ..Number::new("seat_effect", &test.name, found.effect)
                });
            }
            Ok(numbers)
        };
        vectors.iter().map(of_branch).collect()
    }
}

fn total(log_probs: &[f32]) -> f64 {
    log_probs.iter().map(|&x| f64::from(x)).sum()
}

/// Numbers for names, equal names the same.
fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    names
        .map(|name| {
            let next = known.len();
            *known.entry(name).or_insert(next)
        })
        .collect()
}
