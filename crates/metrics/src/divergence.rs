//! Measures how much an edit changes a model's predictions on neutral text, which it should leave alone.
//!
//! Token by token of neutral text, the next-token distribution p of the unedited model and q of the edited one are
//! compared in two ways: by the divergence KL(p‖q), and by whether both have the same most likely token. Perplexity
//! depends on one token of the vocabulary at each position, whereas these two depend on all.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, finite, length};

/// The comparison of the two distributions at one token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// The divergence Σ p·ln(p/q) over the vocabulary, in nats; p is of the unedited and q of the edited model.
    pub kl: f64,
    /// Whether p and q have the same most likely token.
    pub agree: bool,
}

/// The distance of an edited model from the unedited one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// The mean KL(unedited‖edited), in nats per token; 0 if nothing changed.
    pub kl: Estimate,
    /// The share of tokens with the same most likely next token, from 0 to 1.
    pub top1_agreement: Estimate,
}

/// Below this a divergence is no rounding of 0 any more.
const ROUNDING: f64 = -1e-3;

/// Computes the means over tokens, with intervals over sentences, because the tokens of a sentence are not
/// independent.
///
/// # Shapes
/// There is one sentence number per token. `n` counts tokens. Sentences of one source row may have the same number.
///
/// # Errors
/// No tokens, lists of unequal length, a divergence that is not finite (q has no
/// mass where p has some), or one below 0 by more than rounding.
pub fn divergence(
    tokens: &[Tokens],
    sentences: &[usize],
    options: &Bootstrap,
) -> Result<Divergence, MetricError> {
    length("one sentence per token", tokens.len(), sentences.len())?;
    let kl: Vec<f64> = tokens.iter().map(|t| t.kl).collect();
    finite("KL divergence of tokens", &kl)?;
    if let Some(token) = kl.iter().position(|&v| v < ROUNDING) {
        return Err(MetricError::NegativeDivergence {
            token,
            value: kl[token],
        });
    }
    let agree: Vec<f64> = tokens
        .iter()
        .map(|t| f64::from(u8::from(t.agree)))
        .collect();
    Ok(Divergence {
        kl: bootstrap::clustered_mean(&kl, Some(sentences), options)?,
        top1_agreement: bootstrap::clustered_mean(&agree, Some(sentences), options)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(values: &[(f64, bool)]) -> Vec<Tokens> {
        values
            .iter()
            .map(|&(kl, agree)| Tokens { kl, agree })
            .collect()
    }

    #[test]
    fn means_over_tokens_not_over_sentences() {
        let tokens = tokens(&[(0.4, true), (0.0, true), (0.2, false), (1.0, false)]);
        let found = divergence(&tokens, &[0, 0, 0, 7], &Bootstrap::default()).unwrap();
        assert!((found.kl.value - 0.4).abs() < 1e-15);
        assert_eq!(found.top1_agreement.value, 0.5);
        assert_eq!((found.kl.n, found.top1_agreement.n), (4, 4));
        // Resamples hold one sentence or the other, or both.
        assert!((found.kl.ci_low.unwrap() - 0.2).abs() < 1e-12);
        assert!((found.kl.ci_high.unwrap() - 1.0).abs() < 1e-12);
        // All tokens of one sentence: nothing says how sentences differ.
        let one = divergence(&tokens, &[3; 4], &Bootstrap::default()).unwrap();
        assert_eq!((one.kl.ci_low, one.kl.ci_high), (None, None));
    }

    #[test]
    fn impossible_tokens() {
        let options = Bootstrap::default();
        let check = |values: &[(f64, bool)], sentences: &[usize]| {
            divergence(&tokens(values), sentences, &options).unwrap_err()
        };
        assert!(matches!(check(&[], &[]), MetricError::Empty { .. }));
        assert!(matches!(
            check(&[(f64::INFINITY, true)], &[0]),
            MetricError::NotFinite { index: 0, .. }
        ));
        assert!(matches!(
            check(&[(0.1, true), (-0.5, true)], &[0, 1]),
            MetricError::NegativeDivergence { token: 1, .. }
        ));
        assert!(matches!(
            check(&[(0.1, true)], &[0, 1]),
            MetricError::Length { .. }
        ));
        // Half-precision log-probabilities leave a hair below 0.
        let rounding = tokens(&[(-1e-6, true), (0.0, true)]);
        assert!(divergence(&rounding, &[0, 1], &options).is_ok());
    }
}
