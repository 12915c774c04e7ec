//! What an experiment measures, and how it chooses among its operating points.

use serde::{Deserialize, Serialize};

/// The settings of the scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreSpec {
    /// The names of the scorers. The list is empty, and `perplexity_sentences` is 0, if a model without an LM head is
    /// evaluated by associations, probes and alignment.
    pub scorers: Vec<String>,
    /// The number of bootstrap resamples for every interval.
    pub resamples: usize,
    /// The number of held-out sentences per language on which perplexity, or a masked model's pseudo-perplexity, is
    /// measured.
    pub perplexity_sentences: usize,
    /// The number of sentences in the projection to the plane.
    pub projected: usize,
}

impl Default for ScoreSpec {
    fn default() -> Self {
        ScoreSpec {
            scorers: vec!["lm-eval".into(), "bias-bench-generative".into()],
            resamples: 2000,
            perplexity_sentences: 300,
            projected: 60,
        }
    }
}

/// The settings of the probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSpec {
    /// The kinds of probe: `linear`, `mlp`; an empty list leaves probes out.
    pub kinds: Vec<String>,
    /// The largest number of sentences per group and language; half of them train the probe, and the other half
    /// evaluate it.
    pub per_class: usize,
    /// Whether the online codelength is measured too, which takes about eight times as long.
    pub codelength: bool,
}

impl Default for ProbeSpec {
    fn default() -> Self {
        ProbeSpec {
            kinds: vec!["linear".into()],
            per_class: 500,
            codelength: false,
        }
    }
}

/// The settings of the retrieval of translations between states of the edited model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalSpec {
    /// The hooks whose states are compared; an empty list leaves retrieval out.
    pub hooks: Vec<String>,
    /// The most held-out rows to use.
    pub rows: usize,
}

impl Default for RetrievalSpec {
    fn default() -> Self {
        RetrievalSpec {
            hooks: Vec::new(),
            rows: 200,
        }
    }
}

impl RetrievalSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == RetrievalSpec::default()
    }
}

/// The rule by which an operating point is chosen.
///
/// Of all hooks, ranks and strengths of a method in a space, the rule takes the one with the smallest mean |gap| over
/// categories, fit and evaluation languages among those whose cost is at most `max_cost`, judged on one share of the
/// pairs. The report gives its gap on the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChooseSpec {
    /// The share of the pairs and of the held-out sentences on which the choice is made.
    pub share: f64,
    /// The largest allowed perplexity, as a multiple of the unedited model's, in any language.
    pub max_cost: f64,
    /// The names of choice tasks by which another point is chosen for each method: the one that raises the log-odds of
    /// the right answers most, each edit in the language that it is about. Hooks, strengths and parameters are searched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
}

impl Default for ChooseSpec {
    fn default() -> Self {
        ChooseSpec {
            share: 0.5,
            max_cost: 1.05,
            tasks: Vec::new(),
        }
    }
}
