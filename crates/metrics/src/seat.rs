//! WEAT and SEAT: measures whether the vectors of one target set are nearer to one of two attribute sets than those
//! of the other target set are.
//!
//! # Source
//! Words: Caliskan et al., Science 356, 2017 (arXiv 1608.07187). Sentences: May et al., NAACL 2019 (arXiv
//! 1903.10561), whose code bias-bench uses (Meade et al. 2022, arXiv 2110.08527).
//!
//! A target w has the association s(w) = mean_a cos(w, a) − mean_b cos(w, b).
//! The effect size is d = (mean_X s − mean_Y s) / std_{X∪Y} s, with n − 1 in
//! the standard deviation. It is 0 without bias, and lies within ±2 for sets of
//! equal size; with n and m targets, N = n + m, within ±√(N(N−1)/(nm)).
//!
//! The permutation test is one-sided. Its p value is the share of the partitions of X ∪ Y into sets of the same sizes
//! in which the first set has at least the sum of s that X has. A partition that is equal up to rounding counts,
//! which makes p larger rather than smaller. All partitions are tried if there are few enough. Otherwise they are
//! drawn at random and the observed one takes the place of the last draw, so that p is never 0. The reference code
//! refuses sets of unequal size. For sets of equal size the test here is the same, because the difference of the
//! means grows with the sum over the first set.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::alignment::rows;
use crate::bootstrap::{self, Bootstrap, Estimate, by_cluster};
use crate::error::{MetricError, length};

/// The settings of the test and the interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The number of partitions in the permutation test. If there are no more than this, all of them are tried;
    /// otherwise this many are used, including the observed one.
    pub partitions: usize,
    /// The settings of the interval; the seed also draws the partitions.
    pub bootstrap: Bootstrap,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 100_000,
            bootstrap: Bootstrap::default(),
        }
    }
}

/// The outcome of a word or sentence embedding association test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The effect size d; `n` counts targets.
    pub effect: Estimate,
    /// The one-sided p value of the permutation test. It is small if X is nearer to A than Y is.
    pub p_value: f64,
    /// Whether all partitions were tried.
    pub exact: bool,
    /// The number of partitions that were used for the p value.
    pub partitions: usize,
}

/// Below this a standard deviation of associations is rounding: cosines are of
/// the order of 1 and summed in f64.
const SMALLEST_DEVIATION: f64 = 1e-12;

/// Computes the effect size and the permutation test, with an interval over targets.
///
/// The resamples are drawn from all targets together, so the sizes of the sets vary. If the targets are so few that a
/// set is empty in more than 5 % of the resamples, there is no interval.
///
/// # Shapes
/// The targets `x` and `y` and the attributes `a` and `b` are row-major vectors of `dim` components. The lengths of
/// the vectors do not affect the result.
///
/// # Errors
/// Fewer than two targets on a side, no attributes, rows that are not whole,
/// values that are not finite, zero vectors, targets that all have the same
/// association (there is no standard deviation to divide by), or no partitions.
pub fn effect(
    x: &[f32],
    y: &[f32],
    a: &[f32],
    b: &[f32],
    dim: usize,
    options: &Options,
) -> Result<Effect, MetricError> {
    let targets = Targets::new(x, y, a, b, dim)?;
    let clusters: Vec<usize> = (0..targets.all.len()).collect();
    targets.effect(&clusters, options)
}

/// Computes the [`effect`] with an interval over clusters of targets. The sentences of SEAT are a few names in a few
/// templates, and the names, not the sentences, are a sample.
///
/// The permutation test exchanges single targets, as in the reference code.
///
/// # Shapes
/// There is one cluster number per target; those of `x` come first.
///
/// # Errors
/// The errors of [`effect`], and a number of cluster numbers that is not the number of targets.
pub fn clustered_effect(
    x: &[f32],
    y: &[f32],
    a: &[f32],
    b: &[f32],
    dim: usize,
    clusters: &[usize],
    options: &Options,
) -> Result<Effect, MetricError> {
    let targets = Targets::new(x, y, a, b, dim)?;
    length("one cluster per target", targets.all.len(), clusters.len())?;
    targets.effect(clusters, options)
}

/// Computes the association of every target: its mean cosine with `a` minus its mean cosine with `b`.
///
/// # Shapes
/// All arguments are row-major vectors of `dim` components. The result has one value per row of `targets`.
///
/// # Errors
/// The errors of [`effect`] that concern these vectors.
pub fn associations(
    targets: &[f32],
    a: &[f32],
    b: &[f32],
    dim: usize,
) -> Result<Vec<f64>, MetricError> {
    rows("targets", targets, dim)?;
    along("targets", targets, &direction(a, b, dim)?)
}

/// Mean of the unit vectors of `a` minus that of `b`: the cosine is linear in the
/// unit vectors, so a target's product with it is its association.
fn direction(a: &[f32], b: &[f32], dim: usize) -> Result<Vec<f64>, MetricError> {
    let mut direction = vec![0.0; dim];
    for (side, vectors, sign) in [("a", a, 1.0), ("b", b, -1.0)] {
        let n = rows(side, vectors, dim)? as f64;
        for (row, vector) in vectors.chunks_exact(dim).enumerate() {
            let norm = norm(side, row, vector)?;
            for (sum, &v) in direction.iter_mut().zip(vector) {
                *sum += sign * f64::from(v) / (n * norm);
            }
        }
    }
    Ok(direction)
}

/// Product of every unit vector with a direction.
fn along(side: &'static str, vectors: &[f32], direction: &[f64]) -> Result<Vec<f64>, MetricError> {
    vectors
        .chunks_exact(direction.len())
        .enumerate()
        .map(|(row, vector)| {
            let norm = norm(side, row, vector)?;
            let product: f64 = vector
                .iter()
                .zip(direction)
                .map(|(&v, d)| f64::from(v) * d)
                .sum();
            Ok(product / norm)
        })
        .collect()
}

fn norm(side: &'static str, row: usize, vector: &[f32]) -> Result<f64, MetricError> {
    let squares: f64 = vector.iter().map(|&v| f64::from(v).powi(2)).sum();
    if squares == 0.0 {
        return Err(MetricError::ZeroVector { side, row });
    }
    Ok(squares.sqrt())
}

/// Associations of all targets, those of X first, less their mean. Neither the
/// effect size nor the order of partitions depends on the mean, and without it
/// the sums of squares lose no digits.
struct Targets {
    all: Vec<f64>,
    in_x: usize,
}

impl Targets {
    fn new(x: &[f32], y: &[f32], a: &[f32], b: &[f32], dim: usize) -> Result<Self, MetricError> {
        for (side, vectors) in [("x", x), ("y", y)] {
            let found = rows(side, vectors, dim)?;
            if found < 2 {
                return Err(MetricError::TooFew {
                    what: "each target set",
                    needed: 2,
                    found,
                });
            }
        }
        let direction = direction(a, b, dim)?;
        let mut all = along("x", x, &direction)?;
        let in_x = all.len();
        all.extend(along("y", y, &direction)?);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        all.iter_mut().for_each(|s| *s -= mean);
        Ok(Self { all, in_x })
    }

    fn effect(&self, clusters: &[usize], options: &Options) -> Result<Effect, MetricError> {
        if options.partitions == 0 {
            return Err(MetricError::BadSetting {
                name: "partitions",
                value: "0".to_owned(),
                expected: "at least 1",
            });
        }
        let items: Vec<[f64; 5]> = self
            .all
            .iter()
            .enumerate()
            .map(|(i, &s)| {
                if i < self.in_x {
                    [1.0, s, 0.0, 0.0, s * s]
                } else {
                    [0.0, 0.0, 1.0, s, s * s]
                }
            })
            .collect();
        let estimate = bootstrap::of_sums(
            "effect size",
            &by_cluster(&items, clusters),
            standardised_difference,
            &options.bootstrap,
        )?;
        let (p_value, exact, partitions) = self.permutation_test(options);
        Ok(Effect {
            effect: Estimate {
                n: self.all.len(),
                ..estimate
            },
            p_value,
            exact,
            partitions,
        })
    }

    fn permutation_test(&self, options: &Options) -> (f64, bool, usize) {
        let observed: f64 = self.all[..self.in_x].iter().sum();
        // What summing in another order can change is no difference.
        let threshold = observed - 1e-12 * self.all.iter().map(|s| s.abs()).sum::<f64>();
        match choose(self.all.len(), self.in_x, options.partitions) {
            Some(count) => {
                let hits = subsets_reaching(&self.all, self.in_x, threshold);
                (hits as f64 / count as f64, true, count)
            }
            None => {
                let hits = 1 + self.drawn_reaching(threshold, options);
                let p = hits as f64 / options.partitions as f64;
                (p, false, options.partitions)
            }
        }
    }

    /// Drawn partitions, one fewer than the options name, that reach the threshold.
    fn drawn_reaching(&self, threshold: f64, options: &Options) -> usize {
        let draws = options.partitions - 1;
        (0..draws.div_ceil(PER_STREAM))
            .into_par_iter()
            .map(|stream| {
                let mut rng = ChaCha8Rng::seed_from_u64(options.bootstrap.seed);
                rng.set_stream(stream as u64);
                let mut shuffled = self.all.clone();
                let here = PER_STREAM.min(draws - stream * PER_STREAM);
                (0..here)
                    .filter(|_| {
                        for i in 0..self.in_x {
                            let j = i + bootstrap::draw(&mut rng, shuffled.len() - i);
                            shuffled.swap(i, j);
                        }
                        shuffled[..self.in_x].iter().sum::<f64>() >= threshold
                    })
                    .count()
            })
            .sum()
    }
}

/// Partitions one random stream serves.
const PER_STREAM: usize = 1000;

/// d from the sums n_x, Σ_x s, n_y, Σ_y s, Σ s².
fn standardised_difference(&[n_x, sum_x, n_y, sum_y, squares]: &[f64; 5]) -> f64 {
    let n = n_x + n_y;
    let variance = (squares - (sum_x + sum_y).powi(2) / n) / (n - 1.0);
    let deviation = variance.max(0.0).sqrt();
    if deviation < SMALLEST_DEVIATION {
        return f64::NAN;
    }
    (sum_x / n_x - sum_y / n_y) / deviation
}

/// The number of ways to choose k of n, if it is at most `limit`.
fn choose(n: usize, k: usize, limit: usize) -> Option<usize> {
    let mut ways = 1_u128;
    for i in 0..k.min(n - k) {
        ways = ways * (n - i) as u128 / (i + 1) as u128;
        // The partial products grow, so no later one is smaller.
        if ways > limit as u128 {
            return None;
        }
    }
    Some(ways as usize)
}

/// How many of all subsets of k values have a sum of at least `threshold`.
fn subsets_reaching(values: &[f64], k: usize, threshold: f64) -> usize {
    let n = values.len();
    let mut chosen: Vec<usize> = (0..k).collect();
    let mut hits = 0;
    loop {
        let sum: f64 = chosen.iter().map(|&i| values[i]).sum();
        hits += usize::from(sum >= threshold);
        // In lexicographic order, the last index that can still grow does.
        let Some(at) = (0..k).rfind(|&i| chosen[i] < n - k + i) else {
            return hits;
        };
        chosen[at] += 1;
        for i in at + 1..k {
            chosen[i] = chosen[i - 1] + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets in a plane whose association with (1, 0) against (0, 1) is wanted.
    const A: [f32; 2] = [3.0, 0.0];
    const B: [f32; 2] = [0.0, 0.5];

    #[test]
    fn by_hand() {
        // Associations 1, 0.2 | −0.2, −1: d = 1.2 / std with std² = 2.08 / 3.
        let x = [2.0, 0.0, 0.8, 0.6];
        let y = [3.0, 4.0, 0.0, 7.0];
        let found = associations(&[x, y].concat(), &A, &B, 2).unwrap();
        for (f, e) in found.iter().zip([1.0, 0.2, -0.2, -1.0]) {
            assert!((f - e).abs() < 1e-7);
        }
        let result = effect(&x, &y, &A, &B, 2, &Options::default()).unwrap();
        let expect = 1.2 / (2.08_f64 / 3.0).sqrt();
        assert!((result.effect.value - expect).abs() < 1e-7);
        // Of the six pairs only the observed one has a sum as large.
        assert_eq!((result.p_value, result.exact), (1.0 / 6.0, true));
        assert_eq!((result.partitions, result.effect.n), (6, 4));
    }

    #[test]
    fn ties_count() {
        // Each association twice, once on each side: {1, −1} twice over is a tie.
        let sides = [1.0, 0.0, 0.0, 1.0];
        let result = effect(&sides, &sides, &A, &B, 2, &Options::default()).unwrap();
        // Sums of two of {1, −1, 1, −1}: 2, 0, 0, 0, 0, −2; five reach 0.
        assert_eq!(result.p_value, 5.0 / 6.0);
        assert_eq!(result.effect.value, 0.0);
    }

    #[test]
    fn unequal_sets_keep_their_sizes() {
        let x = [1.0, 0.0, 0.8, 0.6];
        let y = [3.0, 4.0, 0.0, 1.0, 0.6, 0.8];
        let result = effect(&x, &y, &A, &B, 2, &Options::default()).unwrap();
        assert_eq!((result.partitions, result.p_value), (10, 0.1));
    }

    #[test]
    fn ways_to_choose() {
        for (n, k, expect) in [
            (4, 2, 6),
            (16, 8, 12_870),
            (18, 9, 48_620),
            (446, 444, 99_235),
        ] {
            assert_eq!(choose(n, k, 100_000), Some(expect));
            let ones = vec![1.0; n.min(20)];
            if n <= 20 {
                assert_eq!(subsets_reaching(&ones, k, k as f64), expect);
            }
        }
        assert_eq!(choose(20, 10, 100_000), None);
        assert_eq!(choose(5000, 2500, usize::MAX), None);
    }

    #[test]
    fn drawn_partitions_agree_with_all() {
        let angle = |i: usize| ((i * 7) % 16) as f32 * 0.1;
        let at = |i: usize| [angle(i).cos(), angle(i).sin()];
        let x: Vec<f32> = (0..8).flat_map(at).collect();
        let y: Vec<f32> = (8..16).flat_map(at).collect();
        let of = |partitions| {
            let options = Options {
                partitions,
                ..Options::default()
            };
            effect(&x, &y, &A, &B, 2, &options).unwrap()
        };
        let (all, drawn) = (of(12_870), of(12_869));
        assert!(all.exact && !drawn.exact);
        assert!((all.p_value - drawn.p_value).abs() < 0.02);
        assert_eq!(drawn, of(12_869));
    }

    #[test]
    fn a_cluster_of_copies_is_one_target() {
        let x = [1.0, 0.0, 0.8, 0.6, 0.9, 0.1];
        let y = [3.0, 4.0, 0.0, 1.0, 0.6, 0.7];
        let options = Options::default();
        let plain = effect(&x, &y, &A, &B, 2, &options).unwrap();
        let own: Vec<usize> = (0..6).collect();
        let same = clustered_effect(&x, &y, &A, &B, 2, &own, &options).unwrap();
        assert_eq!(plain, same);
        let pairs = clustered_effect(&x, &y, &A, &B, 2, &[0, 0, 1, 2, 2, 3], &options).unwrap();
        assert_eq!(pairs.effect.value, plain.effect.value);
        assert_ne!(pairs.effect.ci_low, plain.effect.ci_low);
        assert!(clustered_effect(&x, &y, &A, &B, 2, &[0; 5], &options).is_err());
    }

    #[test]
    fn impossible_sets() {
        let (x, options) = ([1.0, 0.0, 0.8, 0.6], Options::default());
        let of = |x: &[f32], y: &[f32], a: &[f32]| effect(x, y, a, &B, 2, &options);
        assert!(matches!(
            of(&x[..2], &x, &A),
            Err(MetricError::TooFew {
                needed: 2,
                found: 1,
                ..
            })
        ));
        assert!(matches!(of(&x, &[], &A), Err(MetricError::Empty { .. })));
        assert!(matches!(of(&x, &x, &[]), Err(MetricError::Empty { .. })));
        assert!(matches!(
            of(&x, &[1.0, 0.0, 0.0, 0.0], &A),
            Err(MetricError::ZeroVector { side: "y", row: 1 })
        ));
        assert!(matches!(
            of(&x, &[1.0, 0.0, f32::NAN, 0.0], &A),
            Err(MetricError::NotFinite { what: "y", .. })
        ));
        assert!(matches!(
            of(&x, &x[..3], &A),
            Err(MetricError::Length { .. })
        ));
        // Copies of one vector, in different lengths, have one association.
        let copies = [0.3, 0.4, 0.6, 0.8];
        assert!(matches!(
            of(&copies, &copies, &A),
            Err(MetricError::Undefined { .. })
        ));
        // Attributes that cancel leave none at all.
        assert!(matches!(
            of(&x, &[0.3, 0.4, 3.0, 9.0], &B),
            Err(MetricError::Undefined { .. })
        ));
        let none = Options {
            partitions: 0,
            ..options
        };
        assert!(matches!(
            effect(&x, &x, &A, &B, 2, &none),
            Err(MetricError::BadSetting { .. })
        ));
    }
}
