//! Scores items with several candidates of which one is right: which candidate a model finds most likely, in how many
//! items that is the right one, and how far its answers agree between languages.
//!
//! # Source
//! The accuracies are those of lm-evaluation-harness (Gao et al. 2023), output type `multiple_choice`. The answer is
//! the first candidate with the largest score. The score is the log-likelihood (`acc`), or the log-likelihood divided
//! by the number of characters of the candidate (`acc_norm`) or by the number of its UTF-8 bytes (`acc_bytes`). The
//! length is that of the candidate alone: the space between prompt and candidate is scored but not counted.
//!
//! For the agreement between languages, Jiang et al. 2020 (arXiv 2010.06189) call the share of equal answers
//! consistency, and Qi et al. 2023 (arXiv 2310.10378) compare rankings of candidates. Here the rankings of each item
//! are compared by Spearman's correlation coefficient.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, finite, length};

/// The length by which a log-likelihood is divided before candidates are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// No length: the log-likelihood of the whole candidate is used.
    Total,
    /// The number of characters of the candidate, counted as Unicode code points.
    Characters,
    /// The number of UTF-8 bytes of the candidate.
    Bytes,
}

impl Norm {
    /// All of these choices.
    pub const ALL: [Norm; 3] = [Norm::Total, Norm::Characters, Norm::Bytes];

    /// Returns the name that rows use, which is that of lm-evaluation-harness.
    pub fn name(self) -> &'static str {
        match self {
            Norm::Total => "acc",
            Norm::Characters => "acc_norm",
            Norm::Bytes => "acc_bytes",
        }
    }
}

/// The candidates of one item with the model's log-likelihoods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The log-likelihood of each candidate after the prompt, in nats.
    pub log_likelihoods: Vec<f64>,
    /// The number of characters of each candidate.
    pub characters: Vec<usize>,
    /// The number of UTF-8 bytes of each candidate.
    pub bytes: Vec<usize>,
    /// The position of the right candidate, counted from 0.
    pub gold: usize,
}

impl Item {
    /// Makes an item and measures the lengths of its candidates.
    ///
    /// # Shapes
    /// `log_likelihoods` has one value per candidate.
    pub fn new<T: AsRef<str>>(log_likelihoods: Vec<f64>, candidates: &[T], gold: usize) -> Item {
        let texts = || candidates.iter().map(AsRef::as_ref);
        Item {
            log_likelihoods,
            characters: texts().map(|text| text.chars().count()).collect(),
            bytes: texts().map(str::len).collect(),
            gold,
        }
    }

    /// Returns the scores by which the candidates are compared.
    pub fn scores(&self, norm: Norm) -> Vec<f64> {
        let lengths = match norm {
            Norm::Total => return self.log_likelihoods.clone(),
            Norm::Characters => &self.characters,
            Norm::Bytes => &self.bytes,
        };
        let divided = self.log_likelihoods.iter().zip(lengths);
        divided
            .map(|(value, &length)| value / length as f64)
            .collect()
    }

    /// Returns the candidate with the largest score; of equal scores, the first.
    pub fn answer(&self, norm: Norm) -> usize {
        let scores = self.scores(norm);
        let better = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
        (1..scores.len()).fold(0, better)
    }

    /// Returns 1 if the answer is right, and 0 otherwise.
    pub fn is_right(&self, norm: Norm) -> f64 {
        f64::from(u8::from(self.answer(norm) == self.gold))
    }

    /// Returns the score of the right candidate minus the largest score of the others.
    pub fn margin(&self, norm: Norm) -> f64 {
        let scores = self.scores(norm);
        let others = scores.iter().enumerate().filter(|(at, _)| *at != self.gold);
        let best = others
            .map(|(_, score)| *score)
            .fold(f64::NEG_INFINITY, f64::max);
        scores[self.gold] - best
    }

    /// The score of the right candidate minus the logarithm of the sum of the others' exponentials.
    pub fn log_odds(&self, norm: Norm) -> f64 {
        let scores = self.scores(norm);
        let others = || scores.iter().enumerate().filter(|(at, _)| *at != self.gold);
        let best = others()
            .map(|(_, score)| *score)
            .fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = others().map(|(_, score)| (score - best).exp()).sum();
        scores[self.gold] - best - sum.ln()
    }
}

pub(crate) fn check(items: &[Item]) -> Result<(), MetricError> {
    for (at, item) in items.iter().enumerate() {
        let candidates = item.log_likelihoods.len();
        let bad = |what, found, expected| {
            Err(MetricError::BadItem {
                item: at,
                what,
                found,
                expected,
            })
        };
        if candidates < 2 {
            return bad("number of candidates", candidates, "2 or more");
        }
        finite("log-likelihood of a candidate", &item.log_likelihoods)?;
        for lengths in [&item.characters, &item.bytes] {
            length("lengths of candidates", candidates, lengths.len())?;
            if lengths.contains(&0) {
                return bad("length of a candidate", 0, "1 or more");
            }
        }
        if item.gold >= candidates {
            return bad("gold", item.gold, "one of the candidates");
        }
    }
    Ok(())
}

/// Computes the share of items whose answer is right, with its interval over items.
///
/// # Errors
/// No items, an item with fewer than two candidates, an empty candidate, a `gold` that names no candidate, or a
/// log-likelihood that is not finite.
pub fn accuracy(items: &[Item], norm: Norm, options: &Bootstrap) -> Result<Estimate, MetricError> {
    check(items)?;
    let right: Vec<f64> = items.iter().map(|item| item.is_right(norm)).collect();
    bootstrap::mean(&right, options)
}

/// Computes the accuracy of one model minus that of another on the same items, with its interval over items.
///
/// # Shapes
/// Both lists have the same items in the same order.
///
/// # Errors
/// The errors of [`accuracy`], lists of unequal length, and an item whose numbers of candidates differ.
pub fn accuracy_difference(
    items: &[Item],
    others: &[Item],
    norm: Norm,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    difference(items, others, |item| item.is_right(norm), options)
}

/// Computes the mean margin of the right candidate over the best of the others, with its interval over items. The
/// margin changes even where an edit is too weak to change an answer, and so the accuracy.
///
/// # Errors
/// The errors of [`accuracy`].
pub fn margin(items: &[Item], norm: Norm, options: &Bootstrap) -> Result<Estimate, MetricError> {
    check(items)?;
    let margins: Vec<f64> = items.iter().map(|item| item.margin(norm)).collect();
    bootstrap::mean(&margins, options)
}

/// Returns the mean log-odds of the right candidate and its confidence interval over items. The log-odds are its score minus the
/// logarithm of the sum of the others' exponentials. Two candidates that are equally likely have 0, K of them −ln(K − 1).
///
/// # Errors
/// As for [`accuracy`].
pub fn log_odds(items: &[Item], norm: Norm, options: &Bootstrap) -> Result<Estimate, MetricError> {
    check(items)?;
    let odds: Vec<f64> = items.iter().map(|item| item.log_odds(norm)).collect();
    bootstrap::mean(&odds, options)
}

/// Returns the mean log-odds under one model minus those under another on the same items, with the confidence interval over items.
///
/// # Shapes
/// Both lists have the same items in the same order.
///
/// # Errors
/// As for [`accuracy_difference`].
pub fn log_odds_difference(
    items: &[Item],
    others: &[Item],
    norm: Norm,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    difference(items, others, |item| item.log_odds(norm), options)
}

/// Computes the mean over items of a number under one model minus that under another, with its interval over items.
fn difference(
    items: &[Item],
    others: &[Item],
    of: impl Fn(&Item) -> f64,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    check_pairs(items, others)?;
    let pairs = items.iter().zip(others);
    let changed: Vec<f64> = pairs.map(|(a, b)| of(a) - of(b)).collect();
    bootstrap::mean(&changed, options)
}

/// Computes the share of items with the same answer in two languages, right or wrong, with its interval over items.
///
/// # Shapes
/// Both lists have the same items in the same order, and an item has its candidates in the same order in both.
///
/// # Errors
/// The errors of [`accuracy`], lists of unequal length, and an item whose numbers of candidates differ.
pub fn consistency(
    items: &[Item],
    others: &[Item],
    norm: Norm,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    check_pairs(items, others)?;
    let pairs = items.iter().zip(others);
    let same: Vec<f64> = pairs
        .map(|(a, b)| f64::from(u8::from(a.answer(norm) == b.answer(norm))))
        .collect();
    bootstrap::mean(&same, options)
}

/// Computes the mean over items of Spearman's correlation between the ranks of the candidates in two languages, with
/// its interval over items. An item whose candidates all have the same score in a language has no ranks and is left
/// out; `n` counts the other items.
///
/// # Shapes
/// The same as for [`consistency`].
///
/// # Errors
/// The errors of [`consistency`], and a list in which no item has ranks in both languages.
pub fn rank_correlation(
    items: &[Item],
    others: &[Item],
    norm: Norm,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    check_pairs(items, others)?;
    let pairs = items.iter().zip(others);
    let found: Vec<f64> = pairs
        .filter_map(|(a, b)| spearman(&a.scores(norm), &b.scores(norm)))
        .collect();
    if found.is_empty() && !items.is_empty() {
        return Err(MetricError::Undefined {
            what: "rank correlation",
        });
    }
    bootstrap::mean(&found, options)
}

/// Checks two lists, and that they are of the same items, as far as their numbers show.
pub(crate) fn check_pairs(items: &[Item], others: &[Item]) -> Result<(), MetricError> {
    check(items)?;
    check(others)?;
    length("items of the other list", items.len(), others.len())?;
    items.iter().zip(others).try_for_each(|(a, b)| {
        let (expected, found) = (a.log_likelihoods.len(), b.log_likelihoods.len());
        length("candidates in the other list", expected, found)
    })
}

/// Spearman's coefficient: Pearson's of the ranks. Nothing where one side has a single rank.
fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    // The mean of ranks is known, ties or not.
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

/// Ranks from 1; equal values share the mean of theirs.
pub(crate) fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Bootstrap {
        Bootstrap::default()
    }

    fn item(log_likelihoods: &[f64], candidates: &[&str], gold: usize) -> Item {
        Item::new(log_likelihoods.to_vec(), candidates, gold)
    }

    /// The three rules give three answers: −6 is the largest total, −8/5 the largest per character, −9/8 the largest per byte.
    #[test]
    fn lengths_are_those_of_the_candidate_in_characters_and_bytes() {
        let item = item(&[-6.0, -8.0, -9.0], &["abc", "abcde", "éàüö"], 2);
        assert_eq!(item.characters, [3, 5, 4]);
        assert_eq!(item.bytes, [3, 5, 8]);
        assert_eq!(item.answer(Norm::Total), 0);
        assert_eq!(item.answer(Norm::Characters), 1);
        assert_eq!(item.answer(Norm::Bytes), 2);
        let accuracy = |norm| accuracy(std::slice::from_ref(&item), norm, &options()).unwrap();
        assert_eq!(Norm::ALL.map(|norm| accuracy(norm).value), [0.0, 0.0, 1.0]);
        assert_eq!(item.margin(Norm::Total), -3.0);
        assert!((item.margin(Norm::Bytes) - (8.0 / 5.0 - 9.0 / 8.0)).abs() < 1e-15);
    }

    #[test]
    fn the_first_of_equal_candidates_is_the_answer() {
        assert_eq!(
            item(&[-2.0, -1.0, -1.0], &["a", "b", "c"], 2).answer(Norm::Total),
            1
        );
    }

    #[test]
    fn log_odds_by_hand() {
        // Shares 0.5, 0.3, 0.2: odds of the first are 1, of the second 3 to 7.
        let of = |gold| {
            let shares = [0.5f64, 0.3, 0.2].map(|p| p.ln() - 400.0);
            item(&shares, &["a", "b", "c"], gold)
        };
        assert!(of(0).log_odds(Norm::Total).abs() < 1e-12);
        assert!((of(1).log_odds(Norm::Total) - (3.0f64 / 7.0).ln()).abs() < 1e-12);
        let change = log_odds_difference(&[of(1)], &[of(0)], Norm::Total, &options()).unwrap();
        assert!((change.value - (3.0f64 / 7.0).ln()).abs() < 1e-12);
        assert!(
            (log_odds(&[of(1)], Norm::Total, &options()).unwrap().value - change.value).abs()
                < 1e-12
        );
    }

    #[test]
    fn agreement_by_hand() {
        let words = ["a", "b", "c"];
        let one = [
            item(&[-1.0, -2.0, -3.0], &words, 0),
            item(&[-3.0, -1.0, -2.0], &words, 0),
            item(&[-1.0, -1.0, -1.0], &words, 0),
        ];
        let other = [
            item(&[-4.0, -6.0, -5.0], &words, 0),
            item(&[-1.0, -3.0, -2.0], &words, 0),
            item(&[-1.0, -2.0, -3.0], &words, 0),
        ];
        let same = consistency(&one, &other, Norm::Total, &options()).unwrap();
        assert!((same.value - 2.0 / 3.0).abs() < 1e-15 && same.n == 3);
        // Ranks 3 2 1 against 3 1 2: 1 − 6·2/24 = 0.5; 1 3 2 against 3 1 2: −1. The third has no ranks.
        let ranks = rank_correlation(&one, &other, Norm::Total, &options()).unwrap();
        assert!((ranks.value + 0.25).abs() < 1e-15, "{}", ranks.value);
        assert_eq!(ranks.n, 2);
        // Ties share their mean rank: 1.5 1.5 3 against 1 2 3.
        assert!(
            (spearman(&[0.0, 0.0, 1.0], &[0.0, 1.0, 2.0]).unwrap() - 0.75f64.sqrt()).abs() < 1e-15
        );
        let change = accuracy_difference(&one, &other, Norm::Total, &options()).unwrap();
        assert!((change.value + 1.0 / 3.0).abs() < 1e-15);
        let fewer = accuracy_difference(&one, &other[..2], Norm::Total, &options());
        assert!(matches!(
            fewer,
            Err(MetricError::Length {
                expected: 3,
                found: 2,
                ..
            })
        ));
    }

    #[test]
    fn impossible_items() {
        let good = item(&[-1.0, -2.0], &["a", "b"], 1);
        let of = |item: Item| accuracy(&[good.clone(), item], Norm::Total, &options()).unwrap_err();
        for (bad, what) in [
            (item(&[-1.0], &["a"], 0), "number of candidates"),
            (item(&[-1.0, -2.0], &["a", ""], 0), "length of a candidate"),
            (item(&[-1.0, -2.0], &["a", "b"], 2), "gold"),
        ] {
            let error = of(bad).to_string();
            assert!(error.contains(what) && error.contains("item 1"), "{error}");
        }
        assert!(matches!(
            of(item(&[-1.0, f64::NAN], &["a", "b"], 0)),
            MetricError::NotFinite { .. }
        ));
        assert!(matches!(
            of(item(&[-1.0, -1.0], &["a"], 0)),
            MetricError::Length { .. }
        ));
        let empty = accuracy(&[], Norm::Total, &options());
        assert!(matches!(empty, Err(MetricError::Empty { .. })));
        let three = item(&[-1.0, -2.0, -3.0], &["a", "b", "c"], 1);
        let unequal = consistency(
            std::slice::from_ref(&good),
            &[three],
            Norm::Total,
            &options(),
        );
        assert!(matches!(
            unequal,
            Err(MetricError::Length {
                expected: 2,
                found: 3,
                ..
            })
        ));
        let flat = item(&[-1.0, -1.0], &["a", "b"], 1);
        let undefined = rank_correlation(&[flat], &[good], Norm::Total, &options());
        assert!(matches!(undefined, Err(MetricError::Undefined { .. })));
    }
}
