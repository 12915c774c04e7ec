//! Computes log-probabilities of pairs and of held-out text, under every setting.

use interlingua_data::{BiasPair, Language};
use serde::{Deserialize, Serialize};

use super::pack::Pack;
use super::{Edited, Runner};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::requests::{Neutral, PairScores, Requests, compare_texts};

/// The token log-probabilities, reduced to what the metrics need.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// The positions of the settings in the plan.
    pub settings: Vec<usize>,
    /// The scores of the pairs, indexed `[setting][scorer]`.
    pub pairs: Vec<Vec<PairScores>>,
    /// The held-out sentences, indexed `[setting][sentence]`.
    pub neutral: Vec<Vec<Neutral>>,
}

/// Scores of one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OfSetting {
    pairs: Vec<PairScores>,
    neutral: Vec<Neutral>,
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
    let texts: Vec<_> = pairs
        .iter()
        .map(|p| (p.more.as_str(), p.less.as_str(), p.direction))
        .collect();
    let scorers = &plan.spec.score.scorers;
    let group = Cache::key(
        "scores",
        &(&edited.model_key, language, &texts, neutral, scorers),
    );
    let settings = plan.settings_of(category);
    let keys = edited.keys(plan, &settings, language)?;
    let mut pack = Pack::open(run, "scores", group, &keys)?;
    let name = format!("score {category} in {language}");
    let counts = [pack.missing.len(), pack.wanted];
    run.stage_of(&name, counts, |run| {
        let missing: Vec<usize> = pack.missing.iter().map(|&at| settings[at]).collect();
        if !missing.is_empty() {
            let found = score(run, edited, &missing, language, pairs, neutral)?;
            pack.add(run, &keys, found)?;
        }
        let all = pack.all(&keys);
        let (pairs, neutral) = all.into_iter().map(|of| (of.pairs, of.neutral)).unzip();
        Ok(Scores {
            settings,
            pairs,
            neutral,
        })
    })
}

/// Scores some settings.
fn score(
    run: &mut Runner<'_>,
    edited: &Edited<'_>,
    settings: &[usize],
    language: Language,
    pairs: &[&BiasPair],
    neutral: &[String],
) -> Result<Vec<OfSetting>, ExperimentError> {
    let plan = run.plan;
    if plan.spec.score.scorers.is_empty() {
        let none = OfSetting {
            pairs: Vec::new(),
            neutral: Vec::new(),
        };
        return Ok(vec![none; settings.len()]);
    }
    let edits = edited.site_edits(plan, settings, language)?;
    let branches = edits.branches();
    let mut requests = Requests::new(edited.model, &plan.spec.score.scorers)?;
    requests.add_pairs(pairs)?;
    let log_probs = requests.log_probs(&branches, &mut run.few_updates(branches.len()))?;
    let neutral = compare_texts(
        edited.model,
        neutral,
        &branches,
        &mut run.few_updates(branches.len()),
    )?;
    let of_setting = |(log_probs, neutral)| {
        Ok(OfSetting {
            pairs: requests.pair_scores(log_probs)?,
            neutral,
        })
    };
    log_probs.iter().zip(neutral).map(of_setting).collect()
}

#[cfg(test)]
mod tests;
