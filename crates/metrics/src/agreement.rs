//! Metrics of how far a model has the same knowledge in two languages: they compare the rankings of candidates, and they measure which
//! share of the right and of the wrong answers carries over from one language to the other, beyond chance.
//!
//! # Source
//! RankC: Qi, Fernández and Bisazza 2023 (arXiv 2310.10378). tr⁺ and tr⁻: Lim, Cohn and Aji 2025 (arXiv 2505.13141); the level of
//! chance is this project's.

use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::choice::{self, Item, Norm};
use crate::error::MetricError;

/// The share of answers that carries over from one language to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transfer {
    /// The share of items.
    pub share: Estimate,
    /// The share that two independent models of these accuracies would have.
    pub chance: Estimate,
    /// The share minus the share by chance.
    pub excess: Estimate,
}

/// Returns the mean of RankC over items and its confidence interval over items.
///
/// For two orders of K candidates, RankC is Σⱼ wⱼ·|the first j of one ∩ the first j of the other|/j, where w is the softmax of K, K − 1, …, 1.
/// Candidates with equal scores keep the order of the list. Since w₁ is at least 0.63, RankC is near the share of equal answers.
///
/// # Shapes
/// As for [`choice::consistency`].
///
/// # Errors
/// As for [`choice::consistency`].
pub fn rank_c(
    items: &[Item],
    others: &[Item],
    norm: Norm,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    choice::check_pairs(items, others)?;
    let pairs = items.iter().zip(others);
    let found: Vec<f64> = pairs
        .map(|(a, b)| overlap(&order(&a.scores(norm)), &order(&b.scores(norm))))
        .collect();
    bootstrap::mean(&found, options)
}

/// Returns the expected value of [`rank_c`] for two independent orders, which is the mean over items of Σⱼ wⱼ·j/K.
///
/// # Errors
/// As for [`choice::accuracy`].
pub fn rank_c_chance(items: &[Item], options: &Bootstrap) -> Result<Estimate, MetricError> {
    choice::check(items)?;
    let of_item = |item: &Item| -> f64 {
        let candidates = item.log_likelihoods.len();
        let weights = weights(candidates);
        let share = |(at, weight): (usize, f64)| weight * (at + 1) as f64 / candidates as f64;
        weights.into_iter().enumerate().map(share).sum()
    };
    let levels: Vec<f64> = items.iter().map(of_item).collect();
    bootstrap::mean(&levels, options)
}

/// Returns tr⁺, the share of the items that are right in one language that is also right in the other.
///
/// The level of chance is the accuracy in the other language.
///
/// # Shapes
/// As for [`choice::consistency`]; `items` are those of the language that is carried from.
///
/// # Errors
/// The errors are those of [`choice::consistency`]; it is also an error if no item is right in the first language.
pub fn right(
    items: &[Item],
    others: &[Item],
    norm: Norm,
    options: &Bootstrap,
) -> Result<Transfer, MetricError> {
    choice::check_pairs(items, others)?;
    let pairs = items.iter().zip(others);
    let sums: Vec<[f64; 4]> = pairs
        .map(|(a, b)| {
            let (here, there) = (a.is_right(norm), b.is_right(norm));
            [here * there, here, there, 1.0]
        })
        .collect();
    let of = |statistic: fn(&[f64; 4]) -> f64| {
        bootstrap::of_sums("transfer of what is right", &sums, statistic, options)
    };
    Ok(Transfer {
        share: of(|s| s[0] / s[1])?,
        chance: of(|s| s[2] / s[3])?,
        excess: of(|s| s[0] / s[1] - s[2] / s[3])?,
    })
}

/// Returns tr⁻, the share of the items that are wrong in one language that has the same wrong answer in the other.
///
/// The level of chance assumes that the answer in the other language is wrong as often as it is there, and is each of an item's K − 1 wrong candidates
/// equally often: (1 − accuracy in the other)·mean over the items of 1/(K − 1).
///
/// # Shapes
/// As for [`right`].
///
/// # Errors
/// The errors are those of [`choice::consistency`]; it is also an error if no item is wrong in the first language.
pub fn wrong(
    items: &[Item],
    others: &[Item],
    norm: Norm,
    options: &Bootstrap,
) -> Result<Transfer, MetricError> {
    choice::check_pairs(items, others)?;
    let pairs = items.iter().zip(others);
    let sums: Vec<[f64; 5]> = pairs
        .map(|(a, b)| {
            let failed = 1.0 - a.is_right(norm);
            let same = f64::from(u8::from(a.answer(norm) == b.answer(norm)));
            let ways = 1.0 / (a.log_likelihoods.len() as f64 - 1.0);
            [same * failed, failed, ways * failed, b.is_right(norm), 1.0]
        })
        .collect();
    let of = |statistic: fn(&[f64; 5]) -> f64| {
        bootstrap::of_sums("transfer of what is wrong", &sums, statistic, options)
    };
    fn chance(s: &[f64; 5]) -> f64 {
        s[2] / s[1] * (1.0 - s[3] / s[4])
    }
    Ok(Transfer {
        share: of(|s| s[0] / s[1])?,
        chance: of(chance)?,
        excess: of(|s| s[0] / s[1] - chance(s))?,
    })
}

/// Places of the scores from the largest down, equal ones in the order of the list.
fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// The softmax of n, n − 1, …, 1.
fn weights(n: usize) -> Vec<f64> {
    let powers: Vec<f64> = (0..n).map(|at| (-(at as f64)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn overlap(a: &[usize], b: &[usize]) -> f64 {
    let mut common = 0;
    let mut total = 0.0;
    for (at, weight) in weights(a.len()).into_iter().enumerate() {
        // What the next place adds to both beginnings.
        common += usize::from(b[..=at].contains(&a[at])) + usize::from(a[..at].contains(&b[at]));
        total += weight * common as f64 / (at + 1) as f64;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(scores: &[f64], gold: usize) -> Item {
        Item::new(scores.to_vec(), &vec!["x"; scores.len()], gold)
    }

    /// An item whose answer is `answer`.
    fn answered(answer: usize, gold: usize) -> Item {
        let scores: Vec<f64> = (0..4)
            .map(|at| if at == answer { -1.0 } else { -2.0 })
            .collect();
        item(&scores, gold)
    }

    fn near(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-7, "{found} is not {expect}");
    }

    #[test]
    fn rank_c_is_that_of_the_table() {
        let of = |a: &[f64], b: &[f64]| {
            let (a, b) = ([item(a, 0)], [item(b, 0)]);
            rank_c(&a, &b, Norm::Total, &Bootstrap::default())
                .unwrap()
                .value
        };
        near(of(&[3.0, 2.0, 1.0], &[2.0, 3.0, 1.0]), 0.334_759_0);
        near(of(&[3.0, 2.0, 1.0], &[1.0, 2.0, 3.0]), 0.212_394_8);
        near(
            of(&[4.0, 3.0, 2.0, 1.0], &[4.0, 2.0, 3.0, 1.0]),
            0.881_558_6,
        );
        near(
            of(&[4.0, 3.0, 2.0, 1.0], &[1.0, 2.0, 3.0, 4.0]),
            0.090_154_8,
        );
        near(of(&[4.0, 3.0, 2.0, 1.0], &[4.0, 3.0, 2.0, 1.0]), 1.0);
    }

    /// The mean over all orders of three is what chance gives.
    #[test]
    fn chance_of_rank_c_is_the_mean_over_all_orders() {
        let first = [item(&[3.0, 2.0, 1.0], 0)];
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let mean: f64 = orders.iter().map(|b| overlap(&[0, 1, 2], b)).sum::<f64>() / 6.0;
        near(
            rank_c_chance(&first, &Bootstrap::default()).unwrap().value,
            mean,
        );
    }

    #[test]
    fn transfer_is_that_of_the_table() {
        let golds = [0, 1, 2, 3, 0, 1];
        let side = |answers: [usize; 6]| -> Vec<Item> {
            answers
                .iter()
                .zip(golds)
                .map(|(&answer, gold)| answered(answer, gold))
                .collect()
        };
        let (one, other) = (side([0, 1, 2, 0, 1, 1]), side([0, 1, 0, 0, 1, 2]));
        let up = right(&one, &other, Norm::Total, &Bootstrap::default()).unwrap();
        near(up.share.value, 0.5);
        near(up.chance.value, 2.0 / 6.0);
        near(up.excess.value, 0.5 - 2.0 / 6.0);
        let down = wrong(&one, &other, Norm::Total, &Bootstrap::default()).unwrap();
        near(down.share.value, 1.0);
        near(down.chance.value, 4.0 / 6.0 / 3.0);
        near(down.excess.value, 1.0 - 4.0 / 18.0);
        // The other way round: two are right there, and both here; four are wrong, and two of them alike.
        let back = right(&other, &one, Norm::Total, &Bootstrap::default()).unwrap();
        near(back.share.value, 1.0);
        let back = wrong(&other, &one, Norm::Total, &Bootstrap::default()).unwrap();
        near(back.share.value, 0.5);
    }

    #[test]
    fn nothing_right_or_nothing_wrong_has_no_value() {
        let all = [answered(1, 1), answered(2, 2)];
        let none = [answered(0, 1), answered(0, 2)];
        let options = Bootstrap::default();
        let undefined = |found: Result<Transfer, MetricError>| {
            assert!(
                matches!(found, Err(MetricError::Undefined { .. })),
                "{found:?}"
            );
        };
        undefined(right(&none, &all, Norm::Total, &options));
        undefined(wrong(&all, &none, Norm::Total, &options));
        let unequal = right(&all[..1], &none, Norm::Total, &options);
        assert!(matches!(unequal, Err(MetricError::Length { .. })));
    }
}
