//! Held-out text: the cost of an edit on text that mentions no group.
//!
//! An experiment computes this in the pass that scores pairs. The divergence is summed over the vocabulary within
//! that pass, because only there the unedited logits are at hand beside the edited ones.

use crate::{About, Needs};

/// The description of the task.
pub const ABOUT: About = About {
    name: "text",
    title: "Held-out text",
    summary: "Measures how likely a model finds neutral text, and how far its predictions are from those of the unedited model.",
    citation: "Jelinek et al. 1977; Salazar et al. 2020, arXiv 1910.14659, for masked models",
    asks: "the probability of every token, and how far the prediction there diverges from that of the unedited model",
    needs: Needs::Head,
    metrics: &[
        "perplexity",
        "pseudo_perplexity",
        "perplexity_ratio",
        "kl_divergence",
        "top1_agreement",
    ],
    page: "metrics/utility.md",
};
