//! Exact probabilities of the testbed's sentences, and the entropy of its grammar.

use super::grammar::Pattern;
use super::{Derivation, NEUTRAL, Testbed};
use crate::language::Language;

impl Testbed {
    /// Returns the natural logarithm of the probability of a sentence in the mixed corpus, under
    /// [`Split::All`](super::Split::All), including the uniform choice of the language.
    ///
    /// # Panics
    /// If `language` is not one of [`Testbed::languages`].
    pub fn log_prob(&self, d: &Derivation, language: Language) -> f64 {
        self.assert_language(language);
        self.log_prob_given_language(d) - (self.languages().len() as f64).ln()
    }

    /// Returns the natural logarithm of the probability of a sentence in the corpus of one language. It is the same
    /// for every language, because the derivation does not depend on the language.
    pub fn log_prob_given_language(&self, d: &Derivation) -> f64 {
        let p = self.pattern(d);
        let group = if p.neutral {
            0.0
        } else {
            let attribute = usize::from(d.attribute);
            self.group_probability(attribute, usize::from(d.group)).ln()
                - self.uniform_attributes(p)
        };
        self.log_prob_of_pattern(p) + group - self.uniform_rest(p)
    }

    /// Returns the expected −log probability, in nats, of a sentence of `language` in the mixed corpus. It is the
    /// lowest loss per sentence that any language model can reach.
    ///
    /// Divide it by the mean number of predicted tokens and exponentiate to get the best possible perplexity.
    ///
    /// # Panics
    /// If `language` is not one of [`Testbed::languages`].
    pub fn entropy(&self, language: Language) -> f64 {
        self.assert_language(language);
        let grammar = &self.inner.grammar;
        let derivations: f64 = grammar
            .patterns
            .iter()
            .map(|p| {
                let group = if p.neutral {
                    0.0
                } else {
                    let n = grammar.attributes[p.category].len();
                    let conditional: f64 = (0..n).map(|a| binary_entropy(self.strength(a))).sum();
                    self.uniform_attributes(p) + conditional / n as f64
                };
                let log_p = self.log_prob_of_pattern(p);
                log_p.exp() * (group + self.uniform_rest(p) - log_p)
            })
            .sum();
        derivations + (self.languages().len() as f64).ln()
    }

    /// Returns the mean −log probability, in nats, of the given sentences in the mixed corpus, which is what a
    /// perfect model would score on them. It is zero if there are no sentences.
    ///
    /// # Panics
    /// If `language` is not one of [`Testbed::languages`].
    pub fn mean_negative_log_prob(&self, language: Language, samples: &[Derivation]) -> f64 {
        let sum: f64 = samples.iter().map(|d| -self.log_prob(d, language)).sum();
        if samples.is_empty() {
            0.0
        } else {
            sum / samples.len() as f64
        }
    }

    /// log P(category, kind, pattern).
    fn log_prob_of_pattern(&self, p: &Pattern) -> f64 {
        let kind: f64 = if p.neutral { NEUTRAL } else { 1.0 - NEUTRAL };
        let patterns = &self.inner.patterns;
        let alike = patterns[p.category][usize::from(p.neutral)].len();
        kind.ln() - (patterns.len() as f64).ln() - (alike as f64).ln()
    }

    /// The entropy of the choice of an attribute.
    fn uniform_attributes(&self, p: &Pattern) -> f64 {
        (self.inner.grammar.attributes[p.category].len() as f64).ln()
    }

    /// The entropy of the choices of person and fillers.
    fn uniform_rest(&self, p: &Pattern) -> f64 {
        let grammar = &self.inner.grammar;
        let fillers: f64 = p
            .fillers
            .iter()
            .map(|&kind| (grammar.filler_counts[kind] as f64).ln())
            .sum();
        (grammar.persons(p.person) as f64).ln() + fillers
    }

    fn assert_language(&self, language: Language) {
        assert!(
            self.languages().contains(&language),
            "`{language}` is not a language of this testbed"
        );
    }
}

fn binary_entropy(p: f64) -> f64 {
    -p * p.ln() - (1.0 - p) * (1.0 - p).ln()
}
