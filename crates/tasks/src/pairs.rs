//! Minimal pairs: a sentence with a stereotype, and the same sentence about another group.
//!
//! An experiment scores its pairs itself, in the pass that also compares held-out text, because many numbers need
//! both.

use crate::{About, Needs};

/// The description of the task.
pub const ABOUT: About = About {
    name: "pairs",
    title: "Minimal pairs",
    summary: "Measures whether, and by how much, a model finds the more stereotyping sentence of a pair more likely than the other.",
    citation: "Nangia et al. 2020, arXiv 2010.00133; Meade et al. 2022, arXiv 2110.08527",
    asks: "the probability of a sentence",
    needs: Needs::Head,
    metrics: &[
        "sign_score",
        "stereo_share",
        "antistereo_share",
        "mean_gap",
        "mean_absolute_difference",
    ],
    page: "metrics/pairs.md",
};
