//! The description of a task.

/// The description of a task, for lists, checks and documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The name in rows, and `kind` in experiments. It never changes.
    pub name: &'static str,
    /// The name in headings and messages.
    pub title: &'static str,
    /// What the task measures, in one sentence.
    pub summary: &'static str,
    /// The paper or the program that the task comes from.
    pub citation: &'static str,
    /// What a model is asked for each item.
    pub asks: &'static str,
    /// The models that can answer the task.
    pub needs: Needs,
    /// The names of its metrics, as in [`interlingua_metrics::info::METRICS`].
    pub metrics: &'static [&'static str],
    /// The page of the task in the documentation.
    pub page: &'static str,
}

/// The models that can answer a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Any model, because the task reads hidden states.
    States,
    /// Models that give probabilities of tokens, causal or masked.
    Head,
    /// Causal models only.
    Causal,
    /// Causal models whose weights are in memory, because they write text token by token.
    Writes,
}

impl Needs {
    /// Returns the requirement in words.
    pub fn in_words(self) -> &'static str {
        match self {
            Needs::States => "any model",
            Needs::Head => "models with an LM head, causal or masked",
            Needs::Causal => "causal models",
            Needs::Writes => "causal models whose weights fit into memory",
        }
    }

    /// Returns whether masked models cannot answer.
    pub fn is_causal(self) -> bool {
        matches!(self, Needs::Causal | Needs::Writes)
    }
}
