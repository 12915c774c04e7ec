//! Significance tests of paired differences, and corrections for multiple tests.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bootstrap::by_cluster;
use crate::error::{MetricError, finite, length};

/// The settings of a sign-flip test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flips {
    /// The number of random sign patterns to draw if there are too many to try all.
    pub draws: usize,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for Flips {
    fn default() -> Self {
        Self {
            draws: 10_000,
            seed: 0,
        }
    }
}

/// The outcome of a sign-flip test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// The mean of the differences.
    pub mean_difference: f64,
    /// The two-sided p value.
    pub p_value: f64,
    /// The number of pairs.
    pub n: usize,
    /// Whether all sign patterns were tried.
    pub exact: bool,
}

/// With at most this many differences ≠ 0, all 2ⁿ sign patterns are tried.
const EXACT_UP_TO: usize = 20;

/// Sign patterns one random stream serves.
const PER_STREAM: usize = 250;

/// Computes the paired permutation test. Under the null hypothesis the two systems are exchangeable within each pair,
/// so every difference is equally likely with either sign.
///
/// The p value is the share of sign patterns whose |sum| is at least the observed one. If patterns are drawn, the
/// observed one is counted among them, (1 + hits)/(1 + draws), so that p is never 0 and the test is never too
/// lenient. Differences of 0 have no sign and change nothing.
///
/// # Shapes
/// `differences` has one value per pair.
///
/// # Source
/// Phipson & Smyth 2010 (arXiv 1603.05766).
///
/// # Errors
/// No differences, one that is not finite, or no draws.
pub fn sign_flip(differences: &[f64], options: &Flips) -> Result<PairedTest, MetricError> {
    finite("paired differences", differences)?;
    let n = differences.len();
    if n == 0 {
        return Err(MetricError::Empty {
            what: "paired test",
        });
    }
    if options.draws == 0 {
        return Err(MetricError::BadSetting {
            name: "draws",
            value: "0".to_owned(),
            expected: "at least 1",
        });
    }
    let signed: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    let exact = signed.len() <= EXACT_UP_TO;
    let p_value = if exact {
        exact_share(&signed)
    } else {
        drawn_share(&signed, options)
    };
    Ok(PairedTest {
        mean_difference: differences.iter().sum::<f64>() / n as f64,
        p_value,
        n,
        exact,
    })
}

/// Computes the test of [`sign_flip`], but flips whole clusters of pairs. This is for pairs that are not independent
/// because they share an attribute or a talk. Without clusters, each pair is flipped by itself.
///
/// # Shapes
/// There is one cluster number per difference. The `n` of the result counts differences.
///
/// # Errors
/// The errors of [`sign_flip`], and lists of unequal length.
pub fn clustered_sign_flip(
    differences: &[f64],
    clusters: Option<&[usize]>,
    options: &Flips,
) -> Result<PairedTest, MetricError> {
    let Some(clusters) = clusters else {
        return sign_flip(differences, options);
    };
    length(
        "one cluster per difference",
        differences.len(),
        clusters.len(),
    )?;
    finite("paired differences", differences)?;
    let items: Vec<[f64; 1]> = differences.iter().map(|&d| [d]).collect();
    let sums: Vec<f64> = by_cluster(&items, clusters).iter().map(|s| s[0]).collect();
    let test = sign_flip(&sums, options)?;
    let n = differences.len();
    Ok(PairedTest {
        mean_difference: differences.iter().sum::<f64>() / n as f64,
        n,
        ..test
    })
}

/// |sum| from which a pattern counts as at least as extreme: the observed one,
/// less what summing in another order can change.
fn threshold(d: &[f64]) -> f64 {
    let observed = d.iter().sum::<f64>().abs();
    observed - 1e-12 * d.iter().map(|v| v.abs()).sum::<f64>()
}

fn exact_share(d: &[f64]) -> f64 {
    let threshold = threshold(d);
    let patterns = 1_u64 << d.len();
    let mut signs: Vec<f64> = vec![1.0; d.len()];
    let mut sum: f64 = d.iter().sum();
    let mut hits = 0_u64;
    for pattern in 0..patterns {
        hits += u64::from(sum.abs() >= threshold);
        // The Gray code changes one sign from a pattern to the next.
        let changed = (pattern + 1).trailing_zeros() as usize;
        if changed < d.len() {
            signs[changed] = -signs[changed];
            sum += 2.0 * signs[changed] * d[changed];
        }
    }
    hits as f64 / patterns as f64
}

fn drawn_share(d: &[f64], options: &Flips) -> f64 {
    let threshold = threshold(d);
    let streams = options.draws.div_ceil(PER_STREAM);
    let hits: usize = (0..streams)
        .into_par_iter()
        .map(|stream| {
            let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
            rng.set_stream(stream as u64);
            let draws = PER_STREAM.min(options.draws - stream * PER_STREAM);
            (0..draws)
                .filter(|_| flipped_sum(d, &mut rng).abs() >= threshold)
                .count()
        })
        .sum();
    (1 + hits) as f64 / (1 + options.draws) as f64
}

/// Sum with random signs: each random bit goes onto the sign bit of a number.
fn flipped_sum(d: &[f64], rng: &mut ChaCha8Rng) -> f64 {
    let mut sum = 0.0;
    for chunk in d.chunks(64) {
        let mut bits = rng.next_u64();
        for v in chunk {
            sum += f64::from_bits(v.to_bits() ^ (bits << 63));
            bits >>= 1;
        }
    }
    sum
}

/// Computes the exact McNemar test of two systems on the same yes/no items. It is the two-sided binomial test of the
/// discordant pairs, min(1, 2·P(X ≤ min(b, c))) with X ~ Binomial(b + c, ½).
///
/// `b` is the number of items that only the first system has right, and `c` the number that only the second has
/// right. Without discordant pairs p is 1.
pub fn mcnemar_exact(b: u64, c: u64) -> f64 {
    let n = b + c;
    let log_half_n = -(n as f64) * std::f64::consts::LN_2;
    let mut log_choose = 0.0;
    let mut tail = 0.0;
    for k in 0..=b.min(c) {
        if k > 0 {
            log_choose += ((n - k + 1) as f64).ln() - (k as f64).ln();
        }
        tail += (log_choose + log_half_n).exp();
    }
    (2.0 * tail).min(1.0)
}

/// Computes Holm's step-down adjusted p values, in the order given. They bound the probability of any false rejection
/// in the family of tests, whatever the dependence between them.
///
/// With p₍₁₎ ≤ … ≤ p₍m₎, the adjusted p₍ᵢ₎ is max_{j≤i} min(1, (m−j+1)·p₍ⱼ₎).
///
/// # Source
/// Holm, Scandinavian Journal of Statistics 6 (1979).
///
/// # Shapes
/// There is one p value per test, in the argument and in the result.
///
/// # Errors
/// A p value outside 0..=1.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, MetricError> {
    let order = ascending(p_values)?;
    let m = order.len();
    let mut adjusted = vec![0.0; m];
    let mut worst = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        worst = worst.max((p_values[i] * (m - rank) as f64).min(1.0));
        adjusted[i] = worst;
    }
    Ok(adjusted)
}

/// Computes Benjamini and Hochberg's adjusted p values, in the order given. They bound the expected share of false
/// rejections, for independent or positively dependent tests.
///
/// The adjusted p₍ᵢ₎ is min_{j≥i} min(1, m·p₍ⱼ₎/j).
///
/// # Source
/// Benjamini & Hochberg, Journal of the Royal Statistical Society B 57 (1995).
///
/// # Shapes
/// There is one p value per test, in the argument and in the result.
///
/// # Errors
/// A p value outside 0..=1.
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>, MetricError> {
    let order = ascending(p_values)?;
    let m = order.len();
    let mut adjusted = vec![0.0; m];
    let mut best = 1.0_f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        best = best.min(p_values[i] * m as f64 / (rank + 1) as f64);
        adjusted[i] = best;
    }
    Ok(adjusted)
}

/// Positions in ascending order of their p value.
fn ascending(p_values: &[f64]) -> Result<Vec<usize>, MetricError> {
    if let Some(index) = p_values.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(MetricError::BadSetting {
            name: "p value",
            value: format!("{} at position {index}", p_values[index]),
            expected: "a number from 0 to 1",
        });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_p(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} {expect}");
    }

    #[test]
    fn sign_flip_by_hand() {
        let options = Flips::default();
        // Five equal differences: only all-plus and all-minus are as extreme.
        check_p(sign_flip(&[1.0; 5], &options).unwrap().p_value, 2.0 / 32.0);
        // ±1 ±2 reach |3| in two of four patterns; the zero changes nothing.
        check_p(sign_flip(&[1.0, 2.0, 0.0], &options).unwrap().p_value, 0.5);
        check_p(sign_flip(&[1.0, -1.0], &options).unwrap().p_value, 1.0);
        check_p(sign_flip(&[0.0, 0.0], &options).unwrap().p_value, 1.0);
        assert!(sign_flip(&[], &options).is_err());
        assert!(sign_flip(&[f64::NAN], &options).is_err());
    }

    #[test]
    fn drawn_patterns_agree_with_all() {
        let d: Vec<f64> = (0..20).map(|i| ((i * 7) % 13) as f64 / 6.0 - 0.6).collect();
        let all = exact_share(&d);
        let drawn = drawn_share(
            &d,
            &Flips {
                draws: 200_000,
                seed: 4,
            },
        );
        assert!((all - drawn).abs() < 0.005, "{all} {drawn}");
        let many: Vec<f64> = (0..100).map(|_| 1.0).collect();
        let test = sign_flip(&many, &Flips::default()).unwrap();
        check_p(test.p_value, 1.0 / 10_001.0);
        assert!(!test.exact);
        assert_eq!(test, sign_flip(&many, &Flips::default()).unwrap());
    }

    #[test]
    fn clusters_flip_together() {
        let d = [1.0; 12];
        let clusters: Vec<usize> = (0..12).map(|i| i / 4).collect();
        let test = clustered_sign_flip(&d, Some(&clusters), &Flips::default()).unwrap();
        check_p(test.p_value, 2.0 / 8.0);
        assert_eq!((test.n, test.mean_difference), (12, 1.0));
    }

    #[test]
    fn mcnemar_by_hand() {
        for (b, c, expect) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (0, 5, 2.0 / 32.0),
            (1, 9, 2.0 * 11.0 / 1024.0),
            (9, 1, 2.0 * 11.0 / 1024.0),
        ] {
            check_p(mcnemar_exact(b, c), expect);
        }
        assert!(mcnemar_exact(5000, 5400) < 1e-3);
    }

    #[test]
    fn corrections_by_hand() {
        let p = [0.01, 0.04, 0.03, 0.005];
        for (found, expect) in [
            (holm(&p).unwrap(), [0.03, 0.06, 0.06, 0.02]),
            (benjamini_hochberg(&p).unwrap(), [0.02, 0.04, 0.04, 0.02]),
        ] {
            for (f, e) in found.iter().zip(expect) {
                check_p(*f, e);
            }
        }
        assert!(holm(&[0.5, f64::NAN]).is_err());
        assert!(holm(&[]).unwrap().is_empty());
    }
}
