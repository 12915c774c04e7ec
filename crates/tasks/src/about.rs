//! What there is to say about a task.

/// What a task is, for lists, checks and documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Name in rows, and `kind` in experiments; stable.
    pub name: &'static str,
    /// Name in headings and messages.
    pub title: &'static str,
    /// What it judges, in a sentence.
    pub summary: &'static str,
    /// Where it comes from.
    pub citation: &'static str,
    /// What is asked of a model for an item.
    pub asks: &'static str,
    /// Which models can answer.
    pub needs: Needs,
    /// Its numbers, as in [`interlingua_metrics::info::METRICS`].
    pub metrics: &'static [&'static str],
    /// Its page in the documentation.
    pub page: &'static str,
}

/// Which models can answer a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Any model: states are read.
    States,
    /// Models that give probabilities of tokens, causal or masked.
    Head,
    /// Causal models.
    Causal,
}

impl Needs {
    /// The same in words.
    pub fn in_words(self) -> &'static str {
        match self {
            Needs::States => "any model",
            Needs::Head => "models with an LM head, causal or masked",
            Needs::Causal => "causal models",
        }
    }
}
