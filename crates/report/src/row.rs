//! The row, which is the unit of every result: one number with all the axes that it depends on.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::role::Role;

/// The axes of an edit: what was done to the model before anything was measured. Rows, items and answers share them, and
/// have them as columns of their own.
///
/// An axis that does not apply is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct EditAxes {
    /// The role of the edit: `method`, a control (`random`, `shuffled`), `autoencoder-only` or `unedited`.
    #[serde(default)]
    pub role: Option<Role>,
    /// The debiasing method; `none` for the unedited model.
    pub method: Option<String>,
    /// The parameters of the method that the experiment sets, such as `c=0.1,rounds=5`; `None` if it sets none.
    pub params: Option<String>,
    /// The language that the method was fitted in.
    pub fit_language: Option<String>,
    /// The space that the edit acts in: `raw`, `latent`, or a control such as `latent-unaligned`.
    pub space: Option<String>,
    /// How an edited latent is turned back into a hidden state: `residual` or `replace`.
    pub reinsert: Option<String>,
    /// The hook at which the edit acts.
    pub hook: Option<String>,
    /// How special tokens are treated: `edited`, `fitted` (edited, and part of the fit) or `left`.
    pub special_tokens: Option<String>,
    /// The number of directions that the edit removes, if that is its size.
    pub rank: Option<u64>,
    /// The number of units that the edit changes, if that is its size.
    #[serde(default)]
    pub units: Option<u64>,
    /// The strength of the edit; 1 is the full edit.
    pub strength: Option<f64>,
}

/// One number of a run, carrying every axis it depends on.
///
/// Axes that do not apply are `None`. The names are stable: readers of
/// `rows.parquet`, `rows.jsonl` and `rows.csv` depend on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Row {
    /// The metric, such as `sign_score`, `mean_gap`, `perplexity` or `retrieval_top1`.
    pub metric: String,
    /// The number itself, in the unit of the metric.
    pub value: f64,
    /// The lower end of the 95 % interval.
    pub ci_low: Option<f64>,
    /// The upper end of the 95 % interval.
    pub ci_high: Option<f64>,
    /// The number of items (pairs, tokens, sentences) that the number is computed from.
    pub n: u64,
    /// The value for an unbiased, undamaged model, if there is one.
    pub ideal: Option<f64>,
    /// The p value before correction, of the paired test of raw against latent or of the benchmark's own test.
    pub p_value: Option<f64>,
    /// The p value after Holm's correction over all rows of the metric and scorer.
    pub p_holm: Option<f64>,
    /// The p value after Benjamini and Hochberg's correction, which bounds the share of false discoveries instead.
    pub p_bh: Option<f64>,
    /// The data that the number was measured on.
    pub benchmark: Option<String>,
    /// The rule that turns token log-probabilities into a sentence score.
    pub scorer: Option<String>,
    /// The bias category, such as `gender`, `race-color` or `religion`.
    pub category: Option<String>,
    /// The language (or the pair of languages, `a-b`) that the number was measured in.
    pub eval_language: Option<String>,
    /// The axes of the edit.
    #[serde(flatten)]
    pub edit: EditAxes,
    /// The planted strength of the attributes that the row is about, on the testbed.
    pub planted: Option<f64>,
    /// The comparison that the number is a difference from: `unedited`, `raw` (the same edit in raw space) or
    /// `control`.
    pub versus: Option<String>,
    /// The languages that a mean over cells includes: `fit` (each edit evaluated in the language of its fit),
    /// `others`, `all`, or `left-out` (the one language that a fit on several languages did not include).
    pub scope: Option<String>,
    /// The kind of pairs that the row is about: `group-first`, `attribute-first` or `marked`.
    pub kind: Option<String>,
    /// The seed of everything random behind the number.
    pub seed: u64,
    /// The name of the model.
    pub model: String,
    /// The name of the experiment.
    pub experiment: String,
}

/// One scored pair, with the same axes as [`Row`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Item {
    /// The identifier of the pair in its benchmark.
    pub pair: String,
    /// The score of the more stereotyping sentence, in nats or in the unit of the scorer.
    pub score_more: f64,
    /// The score of the less stereotyping sentence, in the same unit.
    pub score_less: f64,
    /// The number of scored tokens of the more stereotyping sentence.
    pub tokens_more: u32,
    /// The number of scored tokens of the less stereotyping sentence.
    pub tokens_less: u32,
    /// The direction of the pair: `stereo` or `antistereo`.
    pub direction: String,
    /// The planted strength of the pair's attribute, on the testbed.
    pub planted: Option<f64>,
    /// The kind of the pair, if the data has kinds: `group-first`, `attribute-first` or `marked`.
    pub kind: Option<String>,
    /// The data that the pair belongs to.
    pub benchmark: String,
    /// The rule that turns token log-probabilities into a sentence score.
    pub scorer: String,
    /// The bias category.
    pub category: String,
    /// The language of the pair.
    pub eval_language: String,
    /// The axes of the edit.
    #[serde(flatten)]
    pub edit: EditAxes,
}

/// The answer of a model to one item of a task under one scoring rule, with the same axes as [`Row`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Answer {
    /// The identifier of the item in its benchmark.
    pub item: String,
    /// The candidate that the model chooses, counted from 0; `None` where there are no candidates.
    pub answer: Option<u32>,
    /// The right candidate, counted from 0; `None` where there is none.
    pub gold: Option<u32>,
    /// The score of every candidate under the rule, or what the task counted in the text.
    pub scores: Vec<f64>,
    /// The text that the model wrote, if the task has it write.
    pub text: Option<String>,
    /// The data that the item belongs to.
    pub benchmark: String,
    /// The scoring rule.
    pub scorer: String,
    /// The bias category of the edit.
    pub category: String,
    /// The language of the item.
    pub eval_language: String,
    /// The axes of the edit.
    #[serde(flatten)]
    pub edit: EditAxes,
}

macro_rules! reads_its_edit {
    ($($record:ty),*) => {$(
        /// The axes of the edit are read as if they were fields of the record, which is what its columns are.
        impl Deref for $record {
            type Target = EditAxes;

            fn deref(&self) -> &EditAxes {
                &self.edit
            }
        }
    )*};
}

reads_its_edit!(Row, Item, Answer);

impl Row {
    /// Parses a row of `rows.jsonl`. If the row is from a run before the column `role` existed, its role is taken
    /// from its method, which named it at that time.
    ///
    /// # Errors
    /// A line that is not the JSON of a row.
    pub fn from_json(line: &str) -> serde_json::Result<Row> {
        let mut row: Row = serde_json::from_str(line)?;
        if let (None, Some(method)) = (row.role, &row.method) {
            let said = |role: &Role| match role.method(method) {
                Some(about) => *role != Role::Method && role.in_rows(Some(about)) == *method,
                None => role.in_rows(None) == *method,
            };
            row.edit.role = Role::ALL.into_iter().find(said).or(Some(Role::Method));
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
                    edit: EditAxes {
                        method: Some(role.in_rows(method)),
                        ..EditAxes::default()
                    },
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
