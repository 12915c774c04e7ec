//! Measures to which of two occupations a model takes a pronoun to refer, and how far the gender of the pronoun decides it.
//!
//! # Source
//! RPA, O-SB and A-SB are named and described by Sivakumar et al. 2025, "Bias after Prompting" (arXiv 2509.08146). We did not have
//! the paper's exact way of aggregating them. WinoBias: Zhao et al. 2018 (arXiv 1804.06876).
//!
//! The sentences of a pair differ only in the pronoun and are resampled together.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::bootstrap::{Bootstrap, Estimate, clustered_of_sums, of_sums};
use crate::choice::ranks;
use crate::error::{MetricError, finite, length};

/// The largest number of occupations.
pub const MOST: usize = 40;
/// The number of exchanges of pronouns from which the level of chance is computed.
const EXCHANGES: usize = 200;

/// One sentence with a model's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item {
    /// The number of the pair.
    pub pair: usize,
    /// Whether the pronoun is a man's.
    pub male: bool,
    /// Whether the pronoun goes with the stereotype.
    pub pro: bool,
    /// The numbers of the right occupation and of the other one.
    pub occupations: [usize; 2],
    /// The log-likelihood of the right occupation minus that of the other, in nats.
    pub margin: f64,
}

impl Item {
    /// Returns 1 if the answer is this occupation and 0 if it is not; both occupations have one half if they are equally likely.
    fn answers(&self, occupation: usize) -> f64 {
        let right = match self.margin {
            m if m > 0.0 => 1.0,
            m if m < 0.0 => 0.0,
            _ => 0.5,
        };
        match occupation == self.occupations[0] {
            true => right,
            false => 1.0 - right,
        }
    }
}

/// The results over all sentences.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// RPA: the share of sentences whose answer is right.
    pub accuracy: Estimate,
    /// RPA over the sentences whose pronoun goes with the stereotype; `None` if there are none.
    pub pro: Option<Estimate>,
    /// RPA over the sentences whose pronoun goes against it.
    pub anti: Option<Estimate>,
    /// The first of these minus the second.
    pub stereotype_gap: Option<Estimate>,
    /// RPA over the sentences with a man's pronoun.
    pub male: Option<Estimate>,
    /// RPA over the sentences with a woman's pronoun.
    pub female: Option<Estimate>,
    /// The first of these minus the second.
    pub pronoun_gap: Option<Estimate>,
    /// The mean margin where the pronoun goes with the stereotype minus that where it goes against it, in nats.
    pub margin_gap: Option<Estimate>,
    /// A-SB: the mean over occupations of |O-SB|; `None` if no occupation has both pronouns.
    pub size: Option<Estimate>,
    /// The mean of A-SB under random exchanges of the pronouns within pairs, and the share of the exchanges under which it is as
    /// large as the given one.
    pub chance: Option<(Estimate, f64)>,
    /// The O-SB of each occupation that has both pronouns, with the number of the occupation.
    pub occupations: Vec<(usize, Estimate)>,
}

/// Computes RPA by stereotype and by pronoun, O-SB and A-SB, with intervals over pairs.
///
/// Over the sentences with the occupation o, O-SB(o) is the share of answers o where the pronoun is a man's minus this share
/// where it is a woman's.
///
/// # Errors
/// No sentences, a margin that is not finite, or more than [`MOST`] occupations.
pub fn scores(items: &[Item], options: &Bootstrap) -> Result<Scores, MetricError> {
    check(items)?;
    let pairs: Vec<usize> = items.iter().map(|item| item.pair).collect();
    let share = |of: &dyn Fn(&Item) -> bool| {
        let columns: Vec<[f64; 2]> = items
            .iter()
            .map(|i| match of(i) {
                true => [i.answers(i.occupations[0]), 1.0],
                false => [0.0; 2],
            })
            .collect();
        clustered_of_sums("accuracy", &columns, Some(&pairs), |s| s[0] / s[1], options)
    };
    let gap = |of: &dyn Fn(&Item) -> bool, value: &dyn Fn(&Item) -> f64| {
        let columns: Vec<[f64; 4]> = items
            .iter()
            .map(|i| match of(i) {
                true => [value(i), 1.0, 0.0, 0.0],
                false => [0.0, 0.0, value(i), 1.0],
            })
            .collect();
        let statistic = |s: &[f64; 4]| s[0] / s[1] - s[2] / s[3];
        clustered_of_sums("gap", &columns, Some(&pairs), statistic, options)
    };
    let right = |i: &Item| i.answers(i.occupations[0]);
    let mut occupations = Vec::new();
    for occupation in 0..MOST {
        let columns: Vec<[f64; 4]> = items.iter().map(|i| of_occupation(i, occupation)).collect();
        let found = clustered_of_sums("O-SB", &columns, Some(&pairs), preference, options);
        if let Some(found) = defined(found)? {
            let n = items
                .iter()
                .filter(|i| i.occupations.contains(&occupation))
                .count();
            occupations.push((occupation, Estimate { n, ..found }));
        }
    }
    let columns: Vec<[f64; 4 * MOST]> = items.iter().map(of_all).collect();
    let size = defined(clustered_of_sums(
        "A-SB",
        &columns,
        Some(&pairs),
        mean_size,
        options,
    ))?;
    let chance = size.map(|size| chance(items, size.value, options.seed));
    Ok(Scores {
        accuracy: share(&|_| true)?,
        pro: defined(share(&|i| i.pro))?,
        anti: defined(share(&|i| !i.pro))?,
        stereotype_gap: defined(gap(&|i| i.pro, &right))?,
        male: defined(share(&|i| i.male))?,
        female: defined(share(&|i| !i.male))?,
        pronoun_gap: defined(gap(&|i| i.male, &right))?,
        margin_gap: defined(gap(&|i| i.pro, &|i| i.margin))?,
        size,
        chance,
        occupations,
    })
}

/// The correlations of O-SB under two prompts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correlation {
    /// Pearson's coefficient over the occupations.
    pub pearson: Estimate,
    /// Spearman's coefficient over the occupations.
    pub spearman: Estimate,
}

/// Computes the correlation over occupations of O-SB under one prompt and under another, with intervals over occupations.
///
/// With `split`, the first side uses the pairs with even numbers and the second those with odd numbers. No sentence is then in
/// both, so the correlation does not count what sentences, and not occupations, have in common.
///
/// Sentences that are drawn again would not do: a preference of drawn sentences has the noise of few sentences twice, so that
/// its correlations lie below that of the sample. The ranks are those among all occupations.
///
/// # Shapes
/// Both lists have the same sentences in the same order. `n` of the estimates counts occupations that have a preference under both prompts.
///
/// # Errors
/// The errors of [`scores`], lists of unequal length, and occupations that all have the same preference.
pub fn correlation(
    items: &[Item],
    others: &[Item],
    split: bool,
    options: &Bootstrap,
) -> Result<Correlation, MetricError> {
    check(items)?;
    check(others)?;
    length("items under the other prompt", items.len(), others.len())?;
    let counts = |item: &&Item, half: usize| !split || item.pair % 2 == half;
    let of = |items: &[Item], half: usize| {
        let mut sums = [0.0; 4 * MOST];
        for item in items.iter().filter(|item| counts(item, half)) {
            let of_item = of_all(item);
            sums.iter_mut().zip(of_item).for_each(|(sum, x)| *sum += x);
        }
        preferences(&sums)
    };
    let both = of(items, 0).into_iter().zip(of(others, 1));
    let (a, b): (Vec<f64>, Vec<f64>) = both.filter(|(a, b)| a.is_finite() && b.is_finite()).unzip();
    Ok(Correlation {
        pearson: pearson("Pearson's correlation", &a, &b, options)?,
        spearman: pearson("Spearman's correlation", &ranks(&a), &ranks(&b), options)?,
    })
}

/// Computes how much the margin with the stereotype minus that against it is larger under one model than under another, with its
/// interval over pairs.
///
/// # Shapes
/// Both lists have the same sentences in the same order.
///
/// # Errors
/// The errors of [`correlation`], and sentences that all go with the stereotype, or all against it.
pub fn margin_gap_difference(
    items: &[Item],
    others: &[Item],
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    check(items)?;
    check(others)?;
    length("items of the other model", items.len(), others.len())?;
    let pairs: Vec<usize> = items.iter().map(|item| item.pair).collect();
    let columns: Vec<[f64; 4]> = items
        .iter()
        .zip(others)
        .map(|(a, b)| match a.pro {
            true => [a.margin - b.margin, 1.0, 0.0, 0.0],
            false => [0.0, 0.0, a.margin - b.margin, 1.0],
        })
        .collect();
    let statistic = |s: &[f64; 4]| s[0] / s[1] - s[2] / s[3];
    clustered_of_sums("gap", &columns, Some(&pairs), statistic, options)
}

fn check(items: &[Item]) -> Result<(), MetricError> {
    for (at, item) in items.iter().enumerate() {
        finite("margin", &[item.margin])?;
        if let Some(&found) = item.occupations.iter().find(|o| **o >= MOST) {
            return Err(MetricError::BadItem {
                item: at,
                what: "occupation",
                found,
                expected: "below 40",
            });
        }
    }
    Ok(())
}

/// Returns `None` if a statistic has no value.
fn defined(found: Result<Estimate, MetricError>) -> Result<Option<Estimate>, MetricError> {
    match found {
        Err(MetricError::Undefined { .. }) => Ok(None),
        found => found.map(Some),
    }
}

/// The numbers of answers and of sentences with a man's pronoun, and with a woman's.
fn of_occupation(item: &Item, occupation: usize) -> [f64; 4] {
    if !item.occupations.contains(&occupation) {
        return [0.0; 4];
    }
    let answers = item.answers(occupation);
    match item.male {
        true => [answers, 1.0, 0.0, 0.0],
        false => [0.0, 0.0, answers, 1.0],
    }
}

fn of_all(item: &Item) -> [f64; 4 * MOST] {
    let mut all = [0.0; 4 * MOST];
    for &occupation in &item.occupations {
        all[4 * occupation..][..4].copy_from_slice(&of_occupation(item, occupation));
    }
    all
}

fn preference(sums: &[f64; 4]) -> f64 {
    sums[0] / sums[1] - sums[2] / sums[3]
}

/// Computes the O-SB of every occupation, which is NaN if the occupation lacks one of the pronouns.
fn preferences(sums: &[f64]) -> Vec<f64> {
    let of = |sums: &[f64]| sums[0] / sums[1] - sums[2] / sums[3];
    sums.chunks(4).map(of).collect()
}

fn mean_size(sums: &[f64; 4 * MOST]) -> f64 {
    let known = || preferences(sums).into_iter().filter(|p| p.is_finite());
    known().map(f64::abs).sum::<f64>() / known().count() as f64
}

/// Computes the mean of A-SB over exchanges of pronouns within pairs, and the share of exchanges that reach `size`; the given
/// assignment counts as one of them.
fn chance(items: &[Item], size: f64, seed: u64) -> (Estimate, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pairs = items.iter().map(|item| item.pair + 1).max().unwrap_or(0);
    let (mut total, mut reached) = (0.0, 1);
    for _ in 0..EXCHANGES {
        let exchanged: Vec<bool> = (0..pairs).map(|_| rng.next_u32() & 1 == 1).collect();
        let mut sums = [0.0; 4 * MOST];
        for item in items {
            let male = item.male != exchanged[item.pair];
            let of_item = of_all(&Item { male, ..*item });
            sums.iter_mut().zip(of_item).for_each(|(sum, x)| *sum += x);
        }
        let found = mean_size(&sums);
        total += found;
        reached += usize::from(found >= size);
    }
    let mean = Estimate::point(total / EXCHANGES as f64, items.len());
    (mean, reached as f64 / (EXCHANGES + 1) as f64)
}

/// Computes Pearson's coefficient with its interval over the pairs of numbers. It is undefined if one side has a single value.
fn pearson(
    what: &'static str,
    a: &[f64],
    b: &[f64],
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    let centred = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|x| x - mean).collect()
    };
    let (a, b) = (centred(a), centred(b));
    let products = a.iter().zip(&b);
    let columns: Vec<[f64; 6]> = products
        .map(|(a, b)| [1.0, *a, *b, a * b, a * a, b * b])
        .collect();
    let coefficient = |&[n, a, b, ab, aa, bb]: &[f64; 6]| {
        // What is left of a single value after rounding is no spread.
        let spread = |x: f64, xx: f64| match xx - x * x / n {
            spread if spread > 1e-12 * xx => spread,
            _ => f64::NAN,
        };
        (ab - a * b / n) / (spread(a, aa) * spread(b, bb)).sqrt()
    };
    of_sums(what, &columns, coefficient, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(pair: usize, male: bool, pro: bool, gold: usize, other: usize, margin: f64) -> Item {
        Item {
            pair,
            male,
            pro,
            occupations: [gold, other],
            margin,
        }
    }

    fn options() -> Bootstrap {
        Bootstrap::default()
    }

    /// Occupation 0 is taken for each man and for one woman of two; 1 is the other of each sentence.
    #[test]
    fn preferences_by_hand() {
        let items = [
            item(0, true, true, 0, 1, 1.0),
            item(0, false, false, 0, 1, -1.0),
            item(1, true, false, 1, 0, -2.0),
            item(1, false, true, 1, 0, -2.0),
        ];
        let found = scores(&items, &options()).unwrap();
        let values: Vec<f64> = found.occupations.iter().map(|(_, e)| e.value).collect();
        assert_eq!(values, [0.5, -0.5]);
        assert_eq!(found.occupations[0].1.n, 4);
        assert_eq!(found.size.unwrap().value, 0.5);
        assert_eq!(found.accuracy.value, 0.25);
        assert_eq!(found.pro.unwrap().value, 0.5);
        assert_eq!(found.anti.unwrap().value, 0.0);
        assert_eq!(found.male.unwrap().value, 0.5);
        assert_eq!(found.pronoun_gap.unwrap().value, 0.5);
        // (1 − 2)/2 − (−1 − 2)/2.
        assert_eq!(found.margin_gap.unwrap().value, 1.0);
        // Exchanged or not, one pair of two makes a half, so that chance is as large.
        let (chance, p) = found.chance.unwrap();
        assert!((chance.value - 0.5).abs() < 1e-12 && p == 1.0);
    }

    #[test]
    fn equally_likely_occupations_are_half_an_answer() {
        let items = [
            item(0, true, true, 0, 1, 0.0),
            item(0, false, false, 0, 1, 0.0),
        ];
        let found = scores(&items, &options()).unwrap();
        assert_eq!(found.accuracy.value, 0.5);
        assert_eq!(found.size.unwrap().value, 0.0);
    }

    #[test]
    fn correlations_by_hand() {
        // One pair an occupation, the other one always 39: preferences 1, 0, −1 under one prompt.
        let of = |signs: [f64; 3]| -> Vec<Item> {
            let pair = |(at, sign): (usize, &f64)| {
                [
                    item(at, true, true, at, 39, *sign),
                    item(at, false, false, at, 39, -*sign),
                ]
            };
            signs.iter().enumerate().flat_map(pair).collect()
        };
        let (a, b) = (of([1.0, 0.0, -1.0]), of([-2.0, 0.0, 2.0]));
        let same = correlation(&a, &a, false, &options()).unwrap();
        assert!(
            (same.pearson.value - 1.0).abs() < 1e-12 && (same.spearman.value - 1.0).abs() < 1e-12
        );
        let turned = correlation(&a, &b, false, &options()).unwrap();
        assert!((turned.pearson.value + 1.0).abs() < 1e-12);
        // The preference of occupation 39 is the mean of the others', turned: 0, as that of the second.
        assert_eq!(same.pearson.n, 4);
        // No occupation is in both halves but the last one.
        let split = correlation(&a, &b, true, &options());
        assert!(
            matches!(split, Err(MetricError::Undefined { .. })),
            "{split:?}"
        );
    }

    #[test]
    fn intervals_of_correlations_hold_the_correlation() {
        // Six pairs an occupation, of which few say what it leans to: the noise of sentences is as large as what they share.
        let noisy = |seed: usize| -> Vec<Item> {
            let pair = |at: usize| {
                let occupation = at / 2 % 30;
                let lean = (occupation * 7 % 30) as f64 - 14.5;
                let noise = ((at + seed) * (at + 3 * seed + 1) % 61) as f64 - 30.0;
                [
                    item(at, true, true, occupation, 39, lean + noise),
                    item(at, false, false, occupation, 39, noise - lean),
                ]
            };
            (0..180).flat_map(pair).collect()
        };
        let (a, b) = (noisy(5), noisy(11));
        for split in [false, true] {
            let found = correlation(&a, &b, split, &options()).unwrap();
            for estimate in [found.pearson, found.spearman] {
                assert!(estimate.contains(estimate.value), "{estimate:?}");
                assert!(
                    estimate.value > 0.1 && estimate.value < 0.95,
                    "{estimate:?}"
                );
            }
        }
    }

    #[test]
    fn impossible_items() {
        assert!(matches!(
            scores(&[], &options()),
            Err(MetricError::Empty { .. })
        ));
        let nan = item(0, true, true, 0, 1, f64::NAN);
        assert!(matches!(
            scores(&[nan], &options()),
            Err(MetricError::NotFinite { .. })
        ));
        let many = item(0, true, true, MOST, 1, 1.0);
        assert!(matches!(
            scores(&[many], &options()),
            Err(MetricError::BadItem { .. })
        ));
        let one = item(0, true, true, 0, 1, 1.0);
        let unequal = correlation(&[one], &[one, one], false, &options());
        assert!(matches!(unequal, Err(MetricError::Length { .. })));
        // One pronoun alone has no preferences.
        let alone = scores(&[one], &options()).unwrap();
        assert!(alone.size.is_none() && alone.occupations.is_empty() && alone.anti.is_none());
        let difference = margin_gap_difference(&[one], &[one], &options());
        assert!(matches!(difference, Err(MetricError::Undefined { .. })));
    }
}
