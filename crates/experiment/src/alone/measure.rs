//! Measures the bias and the utility of a model, and of the same model under an intervention.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use interlingua_data::load::{BiasOptions, load_bias};
use interlingua_data::{BiasPair, Language, OnBadRow};
use interlingua_metrics::bootstrap::{Bootstrap, Estimate, clustered_mean, clustered_ratio, ratio};
use interlingua_metrics::perplexity::perplexity;
use interlingua_models::Model;
use interlingua_models::engine::Branch;
use interlingua_models::intervene::Steps;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::neutral;
use crate::ExperimentError;
use crate::cache::{Cache, Found};
use crate::requests::{Requests, compare_texts};

/// The settings of a measurement.
#[derive(Debug, Clone)]
pub struct Request {
    /// The files of minimal pairs, each with the name of its task.
    pub tasks: Vec<(String, PathBuf)>,
    /// The file of neutral sentences.
    pub neutral: PathBuf,
    /// The languages to measure in.
    pub languages: Vec<Language>,
    /// The categories of the pairs to use; empty uses all.
    pub categories: Vec<String>,
    /// The most pairs to use per task and language; `None` uses all.
    pub limit: Option<usize>,
    /// The name of the scorer of sentences; `None` uses the usual one for the kind of the model.
    pub scorer: Option<String>,
    /// The seed of the intervals.
    pub seed: u64,
    /// The folder in which finished parts are kept, so that an interrupted measurement can be resumed.
    pub cache: Option<PathBuf>,
}

/// One number of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The language.
    pub language: String,
    /// The name of the task, or `neutral`.
    pub task: String,
    /// The bias category; empty for utility.
    pub category: String,
    /// The metric.
    pub metric: String,
    /// The model that the number is about: `unedited`, `edited`, or `change`, which is the difference edited −
    /// unedited, item by item.
    pub model: String,
    /// The number with its interval.
    pub estimate: Estimate,
}

/// What one pass over the pairs of a task and a language found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Pairs {
    /// Category, cluster, and the gap of every model, of each pair that the scorer takes.
    items: Vec<(String, usize, Vec<f64>)>,
}

/// What one pass over neutral sentences found: log-probability, tokens, divergence and agreeing tokens of every model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Texts {
    models: Vec<Vec<(f64, u32, f64, u32)>>,
}

/// A number of the table: its name, and what it is of a gap; the mean of that is shown.
type Metric = (&'static str, fn(f64) -> f64);

/// The names of the models that are compared.
const MODELS: [&str; 2] = ["unedited", "edited"];

/// Measures the model, and the same model under the steps if there are any.
///
/// `say` is called with what is done next and whether its result is already there; `progress` with how far that is.
///
/// # Errors
/// Files that cannot be read or that have none of the languages, and whatever stops the model.
pub fn measure(
    model: &Model,
    steps: Option<(&Steps, &str)>,
    request: &Request,
    say: &mut dyn FnMut(String, bool),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Row>, ExperimentError> {
    let scorer = request.scorer.clone().unwrap_or_else(|| {
        if model.geometry.causal {
            "lm-eval"
        } else {
            "nangia"
        }
        .to_owned()
    });
    let mut branches = vec![Branch::unedited()];
    branches.extend(steps.iter().map(|(steps, _)| steps.branch()));
    let upstream = (
        model.digest()?.to_hex().to_string(),
        steps.map_or("", |(_, digest)| digest),
        &scorer,
    );
    let cache = request.cache.as_deref().map(Cache::open).transpose()?;
    let mut rows = Vec::new();
    for &language in &request.languages {
        for (task, file) in &request.tasks {
            let pairs = pairs(file, language, request)?;
            let texts: Vec<(&str, &str)> = pairs
                .iter()
                .map(|p| (p.more.as_str(), p.less.as_str()))
                .collect();
            let key = Cache::key("pairs", &(&upstream, language, &texts));
            let found = kept(
                cache.as_ref(),
                &key,
                say,
                format!("{task} in {language}"),
                || score(model, &branches, &scorer, &pairs, progress),
            )?;
            rows.extend(bias_rows(language, task, &found, request.seed)?);
        }
        let texts = neutral(&request.neutral, language)?;
        let key = Cache::key("neutral", &(&upstream, language, &texts));
        let found = kept(
            cache.as_ref(),
            &key,
            say,
            format!("neutral text in {language}"),
            || {
                let found = compare_texts(model, &texts, &branches, progress)?;
                let of = |texts: &Vec<crate::requests::Neutral>| {
                    texts
                        .iter()
                        .map(|t| (t.log_prob, t.tokens, t.divergence, t.agreeing))
                        .collect()
                };
                Ok(Texts {
                    models: found.iter().map(of).collect(),
                })
            },
        )?;
        rows.extend(utility_rows(language, &found, request.seed)?);
    }
    Ok(rows)
}

/// The pairs of a task in a language.
fn pairs(
    file: &Path,
    language: Language,
    request: &Request,
) -> Result<Vec<BiasPair>, ExperimentError> {
    let options = BiasOptions::new(&[language], OnBadRow::Error);
    let (set, _) = load_bias(file, &options)?;
    let wanted = |p: &BiasPair| {
        p.language == language
            && (request.categories.is_empty() || request.categories.contains(&p.category))
    };
    let pairs: Vec<BiasPair> = set
        .pairs
        .into_iter()
        .filter(wanted)
        .take(request.limit.unwrap_or(usize::MAX))
        .collect();
    if pairs.is_empty() {
        return Err(ExperimentError::plan(
            "--languages",
            format!(
                "{} has no pairs of these categories in {language}; leave the language or the file out",
                file.display()
            ),
        ));
    }
    Ok(pairs)
}

/// Gaps of all pairs under every branch.
fn score(
    model: &Model,
    branches: &[Branch<'_>],
    scorer: &str,
    pairs: &[BiasPair],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Pairs, ExperimentError> {
    let mut requests = Requests::new(model, &[scorer.to_owned()])?;
    requests.add_pairs(&pairs.iter().collect::<Vec<_>>())?;
    let answers = requests.log_probs(branches, progress)?;
    let mut scores = Vec::new();
    for answers in &answers {
        scores.push(requests.pair_scores(answers)?.remove(0));
    }
    let mut clusters = HashMap::new();
    let mut items = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        let gaps: Option<Vec<f64>> = scores
            .iter()
            .map(|scores| scores[at].map(|[more, less]| more.0 - less.0))
            .collect();
        let Some(gaps) = gaps else { continue };
        let next = clusters.len();
        let cluster = *clusters.entry(source(pair)).or_insert(next);
        items.push((pair.category.clone(), cluster, gaps));
    }
    if items.is_empty() {
        return Err(ExperimentError::plan(
            "--scorer",
            format!("`{scorer}` can score none of the pairs"),
        ));
    }
    Ok(Pairs { items })
}

/// What pairs share that are resampled together: the attribute of our own templates, else the pair's name.
fn source(pair: &BiasPair) -> &str {
    match (pair.kind, pair.id.split('/').nth(2)) {
        (Some(_), Some(attribute)) => attribute,
        _ => &pair.id,
    }
}

/// Mean gap, mean |gap| and preferences of every category, and what changed.
fn bias_rows(
    language: Language,
    task: &str,
    found: &Pairs,
    seed: u64,
) -> Result<Vec<Row>, ExperimentError> {
    let options = Bootstrap::seeded(seed);
    let mut categories: Vec<&String> = found.items.iter().map(|item| &item.0).collect();
    categories.sort();
    categories.dedup();
    let mut rows = Vec::new();
    for category in categories {
        let items: Vec<&(String, usize, Vec<f64>)> =
            found.items.iter().filter(|i| i.0 == *category).collect();
        let clusters: Vec<usize> = items.iter().map(|i| i.1).collect();
        let metrics: [Metric; 3] = [
            ("mean gap", |gap| gap),
            ("mean |gap|", f64::abs),
            ("prefers the stereotype (%)", |gap| {
                match gap.partial_cmp(&0.0) {
                    Some(std::cmp::Ordering::Greater) => 100.0,
                    Some(std::cmp::Ordering::Equal) => 50.0,
                    _ => 0.0,
                }
            }),
        ];
        for (metric, of) in metrics {
            let mut row = |model: &str, values: Vec<f64>| -> Result<(), ExperimentError> {
                let estimate = clustered_mean(&values, Some(&clusters), &options)
                    .map_err(ExperimentError::metric(metric))?;
                rows.push(Row {
                    language: language.to_string(),
                    task: task.to_owned(),
                    category: category.clone(),
                    metric: metric.to_owned(),
                    model: model.to_owned(),
                    estimate,
                });
                Ok(())
            };
            let models = items[0].2.len();
            for (at, name) in MODELS.iter().enumerate().take(models) {
                row(name, items.iter().map(|i| of(i.2[at])).collect())?;
            }
            if models == 2 {
                row(
                    "change",
                    items.iter().map(|i| of(i.2[1]) - of(i.2[0])).collect(),
                )?;
            }
        }
    }
    Ok(rows)
}

/// Perplexity of every model; divergence and agreement of the edited one.
fn utility_rows(language: Language, found: &Texts, seed: u64) -> Result<Vec<Row>, ExperimentError> {
    let options = Bootstrap::seeded(seed);
    let mut rows = Vec::new();
    let mut row = |metric: &str, model: &str, estimate: Estimate| {
        rows.push(Row {
            language: language.to_string(),
            task: "neutral".into(),
            category: String::new(),
            metric: metric.into(),
            model: model.into(),
            estimate,
        });
    };
    for (texts, name) in found.models.iter().zip(MODELS) {
        let log_probs: Vec<f64> = texts.iter().map(|t| t.0).collect();
        let tokens: Vec<usize> = texts.iter().map(|t| t.1 as usize).collect();
        row(
            "perplexity",
            name,
            perplexity(&log_probs, &tokens, &options)
                .map_err(ExperimentError::metric("perplexity"))?,
        );
    }
    if let [before, after] = &found.models[..] {
        let tokens: Vec<f64> = after.iter().map(|t| f64::from(t.1)).collect();
        let per_token = |values: Vec<f64>, what: &'static str| {
            ratio(&values, &tokens, &options).map_err(ExperimentError::metric(what))
        };
        let clusters: Vec<usize> = (0..tokens.len()).collect();
        let losses: Vec<f64> = before.iter().zip(after).map(|(b, a)| b.0 - a.0).collect();
        let loss = clustered_ratio(&losses, &tokens, Some(&clusters), &options)
            .map_err(ExperimentError::metric("loss"))?;
        row("loss per token (nats)", "change", loss);
        row(
            "KL(unedited ‖ edited) per token (nats)",
            "edited",
            per_token(after.iter().map(|t| t.2).collect(), "divergence")?,
        );
        let agreeing = after.iter().map(|t| 100.0 * f64::from(t.3)).collect();
        row(
            "same likeliest token (%)",
            "edited",
            per_token(agreeing, "agreement")?,
        );
    }
    Ok(rows)
}

/// A part that is kept, or is made and kept.
fn kept<T: Serialize + DeserializeOwned>(
    cache: Option<&Cache>,
    key: &str,
    say: &mut dyn FnMut(String, bool),
    name: String,
    make: impl FnOnce() -> Result<T, ExperimentError>,
) -> Result<T, ExperimentError> {
    let Some(cache) = cache else {
        say(name, false);
        return make();
    };
    match cache.load("measure", key)? {
        Found::Whole(found) => {
            say(name, true);
            return Ok(found);
        }
        Found::Nothing => say(name, false),
        Found::Damaged(problem) => say(
            format!("{name} ({problem}; it is not used, and computed again)"),
            false,
        ),
    }
    let made = make()?;
    cache.store("measure", key, &made)?;
    Ok(made)
}
