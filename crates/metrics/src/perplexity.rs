//! Computes the perplexity of a corpus, with its interval over sentences.
//!
//! It is exp(−Σ_s ℓ_s / Σ_s n_s), with ℓ_s the log-likelihood of sentence s in nats and n_s the number of its scored
//! tokens. The exponent is a ratio estimator: sentences are resampled together with their lengths, so that long and
//! short sentences have the same weight as in the corpus.

use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, finite};

/// Computes the perplexity from the total log-likelihoods and the token counts of sentences.
///
/// # Shapes
/// There is one token count per log-likelihood. The estimate's `n` counts sentences.
///
/// # Errors
/// No sentences, lists of unequal length, a log-likelihood that is not finite,
/// or no token at all.
pub fn perplexity(
    log_likelihoods: &[f64],
    tokens: &[usize],
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    clustered_perplexity(log_likelihoods, tokens, None, options)
}

/// Computes the [`perplexity`] with an interval that resamples whole clusters of sentences, such as all sentences of
/// one source row. Without clusters, each sentence is resampled by itself.
///
/// # Shapes
/// There are one token count and one cluster number per log-likelihood. The estimate's `n` counts sentences.
///
/// # Errors
/// The errors of [`perplexity`].
pub fn clustered_perplexity(
    log_likelihoods: &[f64],
    tokens: &[usize],
    clusters: Option<&[usize]>,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    finite("sentence log-likelihoods", log_likelihoods)?;
    let counts: Vec<f64> = tokens.iter().map(|&n| n as f64).collect();
    let losses: Vec<f64> = log_likelihoods.iter().map(|l| -l).collect();
    Ok(bootstrap::clustered_ratio(&losses, &counts, clusters, options)?.map(f64::exp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_model() {
        // A model that gives every token 1/8 has perplexity 8 on any text.
        let tokens = [3, 10, 1, 7];
        let ll: Vec<f64> = tokens.iter().map(|&n| -(n as f64) * 8.0_f64.ln()).collect();
        let e = perplexity(&ll, &tokens, &Bootstrap::default()).unwrap();
        assert!((e.value - 8.0).abs() < 1e-12);
        assert!((e.ci_low.unwrap() - 8.0).abs() < 1e-9 && (e.ci_high.unwrap() - 8.0).abs() < 1e-9);
    }

    #[test]
    fn impossible_corpora() {
        let options = Bootstrap::default();
        assert!(perplexity(&[], &[], &options).is_err());
        assert!(perplexity(&[-1.0, -2.0], &[0, 0], &options).is_err());
        assert!(perplexity(&[-1.0], &[1, 2], &options).is_err());
    }
}
