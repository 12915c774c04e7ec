//! The unit of every result: one number with all its axes.

use serde::{Deserialize, Serialize};

use crate::role::Role;

/// One number of a run, carrying every axis it depends on.
///
/// Axes that do not apply are `None`. The names are stable: readers of
/// `rows.parquet`, `rows.jsonl` and `rows.csv` depend on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Row {
    /// What was measured, e.g. `sign_score`, `mean_gap`, `perplexity`, `retrieval_top1`.
    pub metric: String,
    /// The number itself, in the unit of the metric.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub ci_low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub ci_high: Option<f64>,
    /// How many items (pairs, tokens, sentences) the number rests on.
    pub n: u64,
    /// The value an unbiased, unharmed model would have, where there is one.
    pub ideal: Option<f64>,
    /// p value before correction: of the paired test raw against latent, or of the benchmark's own test.
    pub p_value: Option<f64>,
    /// The same after Holm's correction over all rows of the metric and scorer.
    pub p_holm: Option<f64>,
    /// The same after Benjamini and Hochberg's, which bounds the share of false discoveries instead.
    pub p_bh: Option<f64>,
    /// The data the number was measured on.
    pub benchmark: Option<String>,
    /// The rule that turns token log-probabilities into a sentence score.
    pub scorer: Option<String>,
    /// Bias category: `gender`, `race-color`, `religion`.
    pub category: Option<String>,
    /// Language (or `a-b` pair of languages) the number was measured in.
    pub eval_language: Option<String>,
    /// What the edit is there for: `method`, a control (`random`, `shuffled`), `autoencoder-only` or `unedited`.
    #[serde(default)]
    pub role: Option<Role>,
    /// Debiasing method, `none` for the unedited model.
    pub method: Option<String>,
    /// Parameters of the method that the experiment sets, such as `c=0.1,rounds=5`; `None` for its own.
    pub params: Option<String>,
    /// Language the method was fitted in.
    pub fit_language: Option<String>,
    /// Space the edit acts in: `raw`, `latent`, or a control such as `latent-unaligned`.
    pub space: Option<String>,
    /// How an edited latent returns to the hidden state: `residual` or `replace`.
    pub reinsert: Option<String>,
    /// Hook point the edit acts at.
    pub hook: Option<String>,
    /// What is done with special tokens: `edited`, `fitted` (edited, and part of the fit) or `left`.
    pub special_tokens: Option<String>,
    /// Directions that the edit removes, if that is its size.
    pub rank: Option<u64>,
    /// Units that the edit changes, if that is its size.
    #[serde(default)]
    pub units: Option<u64>,
    /// Strength of the edit (1 = full).
    pub strength: Option<f64>,
    /// The attribute subset, where a row is about one: planted strength on the testbed.
    pub planted: Option<f64>,
    /// What the number is a difference from: `unedited`, `raw` (the same edit in raw space) or `control`.
    pub versus: Option<String>,
    /// The languages that a mean over cells is over: `fit` (each edit judged in the language of its fit),
    /// `others`, `all`, or `left-out` (the one language that a fit on several did not see).
    pub scope: Option<String>,
    /// The kind of pairs, where a row is about one: `group-first`, `attribute-first` or `marked`.
    pub kind: Option<String>,
    /// Seed of everything random behind the number.
    pub seed: u64,
    /// Name of the model.
    pub model: String,
    /// Name of the experiment.
    pub experiment: String,
}

/// One scored pair, with the same axes as [`Row`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Item {
    /// Identifier of the pair in its benchmark.
    pub pair: String,
    /// Score of the more stereotyping sentence (nats, or as the scorer defines it).
    pub score_more: f64,
    /// Score of the less stereotyping sentence.
    pub score_less: f64,
    /// Scored tokens of the more stereotyping sentence.
    pub tokens_more: u32,
    /// Scored tokens of the less stereotyping sentence.
    pub tokens_less: u32,
    /// `stereo` or `antistereo`.
    pub direction: String,
    /// Planted strength of the pair's attribute, on the testbed.
    pub planted: Option<f64>,
    /// Kind of the pair, where the data have kinds: `group-first`, `attribute-first` or `marked`.
    pub kind: Option<String>,
    /// The data the pair belongs to.
    pub benchmark: String,
    /// Scorer.
    pub scorer: String,
    /// Bias category.
    pub category: String,
    /// Language.
    pub eval_language: String,
    /// What the edit is there for.
    pub role: Option<Role>,
    /// Debiasing method.
    pub method: String,
    /// Parameters of the method that the experiment sets.
    pub params: Option<String>,
    /// Language the method was fitted in.
    pub fit_language: Option<String>,
    /// Space of the edit.
    pub space: Option<String>,
    /// Re-insertion.
    pub reinsert: Option<String>,
    /// Hook point.
    pub hook: Option<String>,
    /// Directions that the edit removes, if that is its size.
    pub rank: Option<u64>,
    /// Units that the edit changes, if that is its size.
    #[serde(default)]
    pub units: Option<u64>,
    /// Strength of the edit (1 = full).
    pub strength: Option<f64>,
}

/// A model's answer to one item of a task, by one rule, with the same axes as [`Row`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Answer {
    /// Identifier of the item in its benchmark.
    pub item: String,
    /// The candidate that the model chooses, counted from 0.
    pub answer: u32,
    /// The right one.
    pub gold: u32,
    /// Score of every candidate by the rule.
    pub scores: Vec<f64>,
    /// The data the item belongs to.
    pub benchmark: String,
    /// The rule.
    pub scorer: String,
    /// Bias category of the edit.
    pub category: String,
    /// Language.
    pub eval_language: String,
    /// What the edit is there for.
    pub role: Option<Role>,
    /// Debiasing method.
    pub method: String,
    /// Parameters of the method that the experiment sets.
    pub params: Option<String>,
    /// Language the method was fitted in.
    pub fit_language: Option<String>,
    /// Space of the edit.
    pub space: Option<String>,
    /// Re-insertion.
    pub reinsert: Option<String>,
    /// Hook point.
    pub hook: Option<String>,
    /// Directions that the edit removes, if that is its size.
    pub rank: Option<u64>,
    /// Units that the edit changes, if that is its size.
    pub units: Option<u64>,
    /// Strength of the edit (1 = full).
    pub strength: Option<f64>,
}

impl Row {
    /// Reads a row of `rows.jsonl`. A row of a run from before there was the column `role` gets it from its
    /// method, which says it there.
    ///
    /// # Errors
    /// What is not the JSON of a row.
    pub fn from_json(line: &str) -> serde_json::Result<Row> {
        let mut row: Row = serde_json::from_str(line)?;
        if let (None, Some(method)) = (row.role, &row.method) {
            let said = |role: &Role| match role.method(method) {
                Some(about) => *role != Role::Method && role.in_rows(Some(about)) == *method,
                None => role.in_rows(None) == *method,
            };
            row.role = Role::ALL.into_iter().find(said).or(Some(Role::Method));
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_earlier_runs_get_their_role() {
        for role in Role::ALL {
            for method in [None, Some("leace")] {
                let row = Row {
                    method: Some(role.in_rows(method)),
                    ..Row::default()
                };
                let mut json = serde_json::to_value(&row).unwrap();
                json.as_object_mut().unwrap().remove("role");
                let back = Row::from_json(&json.to_string()).unwrap();
                let expect = match (role, method) {
                    // Without a method these names are those of methods.
                    (Role::Method, None) | (Role::AutoencoderOnly, Some(_)) => continue,
                    (Role::Control(_), None) if role.name() == "shuffled" => continue,
                    _ => role,
                };
                assert_eq!(back.role, Some(expect), "{json}");
            }
        }
        let alignment = Row::from_json(&serde_json::to_string(&Row::default()).unwrap());
        assert_eq!(alignment.unwrap().role, None);
    }
}
