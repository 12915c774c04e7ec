//! Computes log-probability gaps on templates. The gap compares which of two groups a model puts beside an attribute
//! ("*he* is a nurse" against "*she* is a nurse"), corrected for how likely it finds the groups without the
//! attribute.
//!
//! # Source
//! Kurita et al., 1st Workshop on Gender Bias in Natural Language Processing, 2019 (arXiv 1906.07337). They score a
//! masked model: the increased log-probability of a group word is ln p(group | attribute) − ln p_prior(group), where
//! the prior masks the attribute as well, and the bias is the difference between the two groups.
//!
//! For a causal model, filled templates take the place of the masked words. The first log-probability is the
//! log-likelihood of the sentence, and the prior is that of the same sentence with a neutral attribute ("… is a
//! person"). Tokens that are common to both groups cancel in the difference.
//!
//! The functions take the probes of one category: call [`scores`] once for each category. The caller decides which
//! group comes first. If the first group is the one that the stereotype names for the attribute, a positive gap is a
//! stereotype. If it is the same group throughout, opposite stereotypes cancel in the mean.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, finite};

/// The four log-probabilities of a template with one attribute, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The log-probability of the first group with the attribute.
    pub first: f64,
    /// The log-probability of the second group with the attribute.
    pub second: f64,
    /// The log-probability of the first group with the attribute masked or neutral.
    pub prior_first: f64,
    /// The log-probability of the second group with the attribute masked or neutral.
    pub prior_second: f64,
    /// The number of the template.
    pub template: usize,
}

impl Probe {
    /// Returns the log-probability of the first group minus that of the second, with the attribute.
    pub fn gap(&self) -> f64 {
        self.first - self.second
    }

    /// Returns the gap with the attribute minus the gap without it.
    pub fn corrected_gap(&self) -> f64 {
        self.gap() - (self.prior_first - self.prior_second)
    }
}

/// The mean gaps in nats, with intervals over templates; `n` counts probes. The value 0 is unbiased.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The mean gap.
    pub gap: Estimate,
    /// The mean gap, corrected for the prior.
    pub corrected: Estimate,
}

/// Computes both mean gaps of a list of probes.
///
/// # Errors
/// No probes, a log-probability that is not finite, a gap that overflows, or
/// impossible settings.
pub fn scores(probes: &[Probe], options: &Bootstrap) -> Result<Scores, MetricError> {
    for (what, of) in [
        (
            "log-probability of the first group",
            (|p| p.first) as fn(&Probe) -> f64,
        ),
        ("log-probability of the second group", |p| p.second),
        ("prior of the first group", |p| p.prior_first),
        ("prior of the second group", |p| p.prior_second),
    ] {
        finite(what, &probes.iter().map(of).collect::<Vec<_>>())?;
    }
    let templates: Vec<usize> = probes.iter().map(|p| p.template).collect();
    let mean = |of: fn(&Probe) -> f64| {
        let gaps: Vec<f64> = probes.iter().map(of).collect();
        bootstrap::clustered_mean(&gaps, Some(&templates), options)
    };
    Ok(Scores {
        gap: mean(Probe::gap)?,
        corrected: mean(Probe::corrected_gap)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(first: f64, second: f64, prior: [f64; 2], template: usize) -> Probe {
        Probe {
            first,
            second,
            prior_first: prior[0],
            prior_second: prior[1],
            template,
        }
    }

    #[test]
    fn the_prior_is_taken_out() {
        // The model prefers the first group by 1 nat whatever the attribute, and
        // by 0.5 more with the attribute of the last probe.
        let probes = [
            probe(-1.0, -2.0, [-3.0, -4.0], 0),
            probe(-2.0, -3.0, [-3.0, -4.0], 0),
            probe(-1.0, -2.5, [-5.0, -6.0], 1),
        ];
        let s = scores(&probes, &Bootstrap::default()).unwrap();
        assert!((s.gap.value - 3.5 / 3.0).abs() < 1e-15);
        assert!((s.corrected.value - 0.5 / 3.0).abs() < 1e-15);
        assert_eq!(s.gap.n, 3);
        // Two templates: resamples are those of two items, not of three.
        assert_eq!(
            (s.corrected.ci_low, s.corrected.ci_high),
            (Some(0.0), Some(0.5))
        );
    }

    #[test]
    fn impossible_probes() {
        let options = Bootstrap::default();
        assert!(matches!(
            scores(&[], &options),
            Err(MetricError::Empty { .. })
        ));
        let good = probe(-1.0, -2.0, [-3.0, -4.0], 0);
        let bad = probe(-1.0, -2.0, [f64::NEG_INFINITY, -4.0], 0);
        assert!(matches!(
            scores(&[good, bad], &options),
            Err(MetricError::NotFinite { index: 1, .. })
        ));
        let huge = probe(1e308, -1e308, [0.0, 0.0], 0);
        assert!(scores(&[huge], &options).is_err());
    }
}
