//! Scores: log-probabilities of pairs and of held-out text, under every setting.

use interlingua_data::{BiasPair, Language};
use serde::{Deserialize, Serialize};

use super::{Edited, Runner};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::requests::{Requests, compare_texts};

/// Score and tokens of `more`, then of `less`, for every pair; `None` for a pair that the scorer leaves out.
pub type PairScores = Vec<Option<[(f64, u32); 2]>>;

/// Token log-probabilities reduced to what the metrics read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Settings, by their place in the plan.
    pub settings: Vec<usize>,
    /// `[setting][scorer]`.
    pub pairs: Vec<Vec<PairScores>>,
    /// `[setting][sentence]`.
    pub neutral: Vec<Vec<Neutral>>,
}

/// A held-out sentence under one setting, summed over its tokens; for a masked model every token
/// is masked alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Neutral {
    /// Log-likelihood, in nats.
    pub log_prob: f64,
    /// Tokens.
    pub tokens: u32,
    /// Divergence of the unedited model's predictions from the edited one's, in nats.
    pub divergence: f64,
    /// Tokens for which both models find the same token most likely.
    pub agreeing: u32,
}

/// Scores the pairs of one category and language, and held-out text, under every setting.
pub fn score_stage(
    run: &mut Runner<'_>,
    edited: &Edited<'_>,
    category: &str,
    language: Language,
    pairs: &[&BiasPair],
    neutral: &[String],
) -> Result<Scores, ExperimentError> {
    let plan = run.plan;
    let texts: Vec<(&str, &str)> = pairs
        .iter()
        .map(|p| (p.more.as_str(), p.less.as_str()))
        .collect();
    let key = Cache::key(
        "scores",
        &(
            &edited.upstream,
            category,
            language,
            &texts,
            neutral,
            &plan.settings,
            &plan.spec.methods,
            &plan.spec.score.scorers,
            plan.spec.seed,
        ),
    );
    let cached = run.load::<Scores>("scores", &key)?;
    let name = format!("score {category} in {language}");
    run.stage(&name, cached.is_some(), |run| {
        if let Some(scores) = cached {
            return Ok(scores);
        }
        let settings = plan.settings_of(category);
        let edits = edited.site_edits(plan, &settings, language)?;
        let branches = edits.branches();
        if plan.spec.score.scorers.is_empty() {
            let none = settings.len();
            let scores = Scores {
                settings,
                pairs: vec![Vec::new(); none],
                neutral: vec![Vec::new(); none],
            };
            run.cache.store("scores", &key, &scores)?;
            return Ok(scores);
        }
        let mut requests = Requests::new(edited.model, &plan.spec.score.scorers)?;
        requests.add_pairs(pairs)?;
        let log_probs = requests.log_probs(&branches, &mut run.few_updates(branches.len()))?;
        let mut scores = Scores {
            settings,
            pairs: Vec::new(),
            neutral: compare_texts(
                edited.model,
                neutral,
                &branches,
                &mut run.few_updates(branches.len()),
            )?,
        };
        for log_probs in &log_probs {
            scores.pairs.push(requests.pair_scores(log_probs)?);
        }
        run.cache.store("scores", &key, &scores)?;
        Ok(scores)
    })
}
