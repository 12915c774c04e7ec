//! The three shapes every data source is brought into.

use serde::{Deserialize, Serialize};

use crate::language::Language;

/// Sentences that say the same thing in several languages.
///
/// Invariant: every column has as many rows as `ids`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ParallelCorpus {
    /// One identifier per row.
    pub ids: Vec<String>,
    /// The languages, in column order.
    pub languages: Vec<Language>,
    /// One column of sentences per language.
    pub columns: Vec<Vec<String>>,
}

/// Whether a pair states a stereotype about a disadvantaged group or its opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// `more` demonstrates a stereotype of a disadvantaged group.
    Stereo,
    /// `less` violates it.
    Antistereo,
}

/// Two sentences that differ in the group they are about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BiasPair {
    /// Identifier in the benchmark, equal across its languages.
    pub id: String,
    /// Language of both sentences.
    pub language: Language,
    /// Bias category, e.g. `gender`, `race-color`, `religion`.
    pub category: String,
    /// Direction of the pair.
    pub direction: Direction,
    /// The more stereotyping sentence.
    pub more: String,
    /// The less stereotyping sentence.
    pub less: String,
    /// Planted strength of the attribute, on the testbed only.
    pub planted: Option<f64>,
}

/// Words that stand for the groups of one bias category in one language.
///
/// Each row is a tuple of counterparts, one word per group: `["he", "she"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeList {
    /// Language of the words.
    pub language: Language,
    /// Bias category.
    pub category: String,
    /// Names of the groups, in column order.
    pub groups: Vec<String>,
    /// The tuples.
    pub rows: Vec<Vec<String>>,
}
