//! What a model would say on the way: the probability and the rank of what comes, and the language of the likeliest token.
//!
//! # Source
//! Logit lens: nostalgebraist 2020; of phrases, Lim, Aji and Cohn 2025 (arXiv 2505.13141): p^l(w | q) is the product over the
//! tokens of w of their probabilities at layer l, each after those before it. The languages of tokens are this project's.

use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, finite};

/// What a token is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tongue {
    /// A language, by its place.
    Of(usize),
    /// Several languages have it.
    Shared,
    /// The text has it too seldom to tell.
    Unseen,
}

/// How often each token stands in the text of each language, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tongues {
    /// By token: its count in each language.
    counts: Vec<Vec<u32>>,
    /// Tokens of each language.
    totals: Vec<f64>,
    share: f64,
    seen: u32,
}

impl Tongues {
    /// No text yet, of so many languages.
    ///
    /// A token is a language's where it stands `seen` times and more in all, and where that language has at least the part `share` of the sum
    /// over the languages of its frequencies.
    ///
    /// # Errors
    /// A part that is not above a half and at most 1.
    pub fn new(
        vocabulary: usize,
        languages: usize,
        share: f64,
        seen: u32,
    ) -> Result<Tongues, MetricError> {
        if !(share > 0.5 && share <= 1.0) {
            return Err(MetricError::BadSetting {
                name: "share",
                value: share.to_string(),
                expected: "above 0.5, and at most 1",
            });
        }
        Ok(Tongues {
            counts: vec![vec![0; languages]; vocabulary],
            totals: vec![0.0; languages],
            share,
            seen,
        })
    }

    /// Counts a text of a language.
    pub fn add(&mut self, language: usize, tokens: &[u32]) {
        for &token in tokens {
            self.counts[token as usize][language] += 1;
            self.totals[language] += 1.0;
        }
    }

    /// What a token is taken for.
    pub fn of(&self, token: u32) -> Tongue {
        let counts = &self.counts[token as usize];
        if counts.iter().sum::<u32>() < self.seen.max(1) {
            return Tongue::Unseen;
        }
        let of = |(&count, &total): (&u32, &f64)| f64::from(count) / total.max(1.0);
        let frequencies: Vec<f64> = counts.iter().zip(&self.totals).map(of).collect();
        let sum: f64 = frequencies.iter().sum();
        let own = frequencies.iter().position(|f| *f >= self.share * sum);
        own.map_or(Tongue::Shared, Tongue::Of)
    }
}

/// The mean of values, one an item, with its interval over items.
///
/// # Shapes
/// `values` has one value per item.
///
/// # Errors
/// No values, a value that is not finite.
pub fn mean(values: &[f64], options: &Bootstrap) -> Result<Estimate, MetricError> {
    bootstrap::mean(values, options)
}

/// The geometric mean of ranks from 1, with its interval over items.
///
/// # Shapes
/// `ranks` has one rank per item.
///
/// # Errors
/// No ranks, a rank that is below 1 or not finite.
pub fn rank(ranks: &[f64], options: &Bootstrap) -> Result<Estimate, MetricError> {
    finite("rank", ranks)?;
    if let Some(item) = ranks.iter().position(|rank| *rank < 1.0) {
        return Err(MetricError::BadItem {
            item,
            what: "rank",
            found: 0,
            expected: "1 or more",
        });
    }
    let columns: Vec<[f64; 2]> = ranks.iter().map(|rank| [rank.ln(), 1.0]).collect();
    bootstrap::of_sums("rank", &columns, |s| (s[0] / s[1]).exp(), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_the_language_that_uses_them() {
        let mut tongues = Tongues::new(5, 2, 2.0 / 3.0, 2).unwrap();
        tongues.add(0, &[0, 0, 0, 1, 2, 4, 4, 4, 4]);
        tongues.add(1, &[1, 1, 1]);
        let of: Vec<Tongue> = (0..5).map(|token| tongues.of(token)).collect();
        // Token 1 is a ninth of the one text, and all of the other.
        assert_eq!(
            of,
            [
                Tongue::Of(0),
                Tongue::Of(1),
                Tongue::Unseen,
                Tongue::Unseen,
                Tongue::Of(0)
            ]
        );
        tongues.add(1, &[0, 0, 0]);
        // A third of the one text, a half of the other.
        assert_eq!(tongues.of(0), Tongue::Shared);
        assert!(Tongues::new(5, 2, 0.5, 1).is_err() && Tongues::new(5, 2, f64::NAN, 1).is_err());
    }

    #[test]
    fn ranks_have_a_geometric_mean() {
        let found = rank(&[1.0, 100.0], &Bootstrap::default()).unwrap();
        assert!((found.value - 10.0).abs() < 1e-12);
        assert!(rank(&[0.0], &Bootstrap::default()).is_err());
        assert!(rank(&[], &Bootstrap::default()).is_err());
    }
}
