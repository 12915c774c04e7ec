//! Held-out text: what an edit costs where no group is spoken of.
//!
//! An experiment asks for it in the pass that scores pairs. Divergence is summed over the vocabulary within that pass, where the
//! unedited logits stand beside the edited ones; answers that leave the pass could no longer tell it.

use crate::{About, Needs};

/// What there is to say about it.
pub const ABOUT: About = About {
    name: "text",
    title: "Held-out text",
    summary: "How likely a model finds neutral text, and how far its predictions are from the unedited model's.",
    citation: "Jelinek et al. 1977; Salazar et al. 2020, arXiv 1910.14659, for masked models",
    asks: "the probability of every token, and the divergence from the unedited model there",
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
