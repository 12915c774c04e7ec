//! Bootstrap confidence intervals over items, or over clusters of items.
//!
//! # Source
//! Efron & Tibshirani, "An Introduction to the Bootstrap", 1993: percentile
//! intervals (chapter 13), BCa intervals (chapter 14), with the acceleration
//! from the jackknife, bootstrap-t intervals (chapter 12). Expansion for small
//! samples: Hesterberg, "What Teachers Should Know About the Bootstrap", The
//! American Statistician 69, 2015 (arXiv 1411.5279).
//!
//! In small samples, intervals that are quantiles of resamples are too narrow, by the factor √((n−1)/n) and because
//! they do not account for Student's t. The number of clusters matters here, not the number of items. With 6 clusters
//! of normal samples, nominal 95 % intervals of a mean contain it in 86 % (percentile and BCa), 93.5 % (expanded BCa)
//! and 95 % (bootstrap-t) of the cases, as `examples/coverage` measures.
//!
//! Every statistic here is a function of column sums over items: a mean is Σv/Σ1, a ratio is Σa/Σb, and a slope is a
//! function of Σx, Σy, Σxy and Σx². A resample is then a sum over the drawn items, and a jackknife value is the total
//! minus one item. A cluster (such as all pairs of one attribute, or all sentences of one talk) is an item whose
//! columns were summed first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{MetricError, finite, length};
use crate::normal;

/// A statistic with its confidence interval.
///
/// The interval is `None` if it cannot be computed. With fewer than two items (or clusters) there is no spread to
/// estimate it from. If the statistic is undefined on more than 5 % of the resamples (as for a line through three
/// points), the others would not be a fair sample. If all items are equal, the interval is the single point `value`;
/// this means that the sample shows no spread, not that the population has none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The statistic of the whole sample.
    pub value: f64,
    /// The lower end of the interval.
    pub ci_low: Option<f64>,
    /// The upper end of the interval.
    pub ci_high: Option<f64>,
    /// The number of items.
    pub n: usize,
}

impl Estimate {
    /// Makes an estimate without an interval.
    pub fn point(value: f64, n: usize) -> Self {
        Self {
            value,
            ci_low: None,
            ci_high: None,
            n,
        }
    }

    /// Returns whether the interval contains `x`; false if there is no interval.
    pub fn contains(&self, x: f64) -> bool {
        matches!((self.ci_low, self.ci_high), (Some(low), Some(high)) if low <= x && x <= high)
    }

    /// Returns the estimate in another unit: the value and both ends are multiplied by a positive factor.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        debug_assert!(factor > 0.0, "a negative factor would exchange the ends");
        self.map(|v| v * factor)
    }

    /// Returns the estimate after an increasing function of it.
    #[must_use]
    pub(crate) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            value: f(self.value),
            ci_low: self.ci_low.map(&f),
            ci_high: self.ci_high.map(&f),
            n: self.n,
        }
    }
}

/// The method that computes the ends of an interval from the resampled values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interval {
    /// The ends are quantiles of the resampled values.
    #[default]
    Percentile,
    /// The ends are quantiles that are corrected for bias and skew (BCa).
    Bca,
    /// The ends are those of BCa at the levels Φ(±t·√(n/(n−1))), where t is the quantile of Student's distribution
    /// with n − 1 degrees of freedom and n counts items or clusters. The interval of a normal mean is then exact up
    /// to the randomness of the resamples. This method works for any statistic, and is the one to choose if n may be
    /// small.
    ExpandedBca,
    /// The ends are those of the bootstrap-t: value − t*·se, with se from the jackknife and t* the quantiles of
    /// (resampled value − value)/(se of the resample). The method is best for means and ratios of few clusters. The
    /// ends may lie outside the range of the statistic (a share may leave 0..1). There is no interval if resamples
    /// without any spread reach into its tails.
    Studentized,
}

/// The settings of a bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// The number of resamples.
    pub resamples: usize,
    /// The nominal coverage of the interval, such as 0.95.
    pub level: f64,
    /// The seed of the resampling.
    pub seed: u64,
    /// The method that computes the interval.
    pub interval: Interval,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            resamples: 2000,
            level: 0.95,
            seed: 0,
            interval: Interval::Percentile,
        }
    }
}

impl Bootstrap {
    /// Returns the default settings with another seed.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    pub(crate) fn check(&self) -> Result<(), MetricError> {
        if self.resamples == 0 {
            return Err(MetricError::BadSetting {
                name: "resamples",
                value: "0".to_owned(),
                expected: "at least 1",
            });
        }
        if self.level > 0.0 && self.level < 1.0 {
            Ok(())
        } else {
            Err(MetricError::BadSetting {
                name: "level",
                value: self.level.to_string(),
                expected: "a number between 0 and 1, such as 0.95",
            })
        }
    }
}

/// Computes the mean of the values, with its interval over items.
///
/// # Shapes
/// `values` has one value per item.
///
/// # Errors
/// No values, a value that is not finite, or impossible settings.
pub fn mean(values: &[f64], options: &Bootstrap) -> Result<Estimate, MetricError> {
    clustered_mean(values, None, options)
}

/// Computes the mean of the values, with an interval that resamples whole clusters. Without clusters, each value is
/// resampled by itself.
///
/// # Shapes
/// There is one cluster number per value. The estimate's `n` counts values, not clusters.
///
/// # Errors
/// The errors of [`mean`], and lists of unequal length.
pub fn clustered_mean(
    values: &[f64],
    clusters: Option<&[usize]>,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    finite("mean", values)?;
    let items: Vec<[f64; 2]> = values.iter().map(|&v| [v, 1.0]).collect();
    clustered_of_sums("mean", &items, clusters, ratio_of_sums, options)
}

/// Computes Σ numerator / Σ denominator, with its interval over items.
///
/// # Shapes
/// There is one denominator per numerator.
///
/// # Errors
/// The errors of [`mean`], lists of unequal length, and denominators that sum to zero.
pub fn ratio(
    numerators: &[f64],
    denominators: &[f64],
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    clustered_ratio(numerators, denominators, None, options)
}

/// Computes Σ numerator / Σ denominator, with an interval that resamples whole clusters of items. Without clusters,
/// each item is resampled by itself.
///
/// # Shapes
/// There are one denominator and one cluster number per numerator. The estimate's `n` counts items.
///
/// # Errors
/// The errors of [`ratio`].
pub fn clustered_ratio(
    numerators: &[f64],
    denominators: &[f64],
    clusters: Option<&[usize]>,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    finite("numerators", numerators)?;
    finite("denominators", denominators)?;
    length(
        "one denominator per numerator",
        numerators.len(),
        denominators.len(),
    )?;
    let items: Vec<[f64; 2]> = numerators
        .iter()
        .zip(denominators)
        .map(|(&a, &b)| [a, b])
        .collect();
    clustered_of_sums("ratio", &items, clusters, ratio_of_sums, options)
}

fn ratio_of_sums(sums: &[f64; 2]) -> f64 {
    sums[0] / sums[1]
}

/// Sums the columns over the items of each cluster; the clusters are in ascending order.
pub(crate) fn by_cluster<const C: usize>(items: &[[f64; C]], clusters: &[usize]) -> Vec<[f64; C]> {
    let mut sums: BTreeMap<usize, [f64; C]> = BTreeMap::new();
    for (item, &cluster) in items.iter().zip(clusters) {
        let sum = sums.entry(cluster).or_insert([0.0; C]);
        for c in 0..C {
            sum[c] += item[c];
        }
    }
    sums.into_values().collect()
}

/// The number of resamples that one stream of random numbers makes: enough that starting a stream costs nothing, and
/// few enough that all cores have work.
pub(crate) const PER_STREAM: usize = 50;

/// The most draws of one number of items that are kept: 8 MiB.
const MOST_KEPT: usize = 1 << 21;

/// The numbers of items whose draws are kept.
const SIZES_KEPT: usize = 8;

/// Share of resamples on which the statistic may be undefined (a slope through
/// copies of one point, a ratio with denominators all zero) before there is no
/// interval.
const MAX_UNDEFINED: f64 = 0.05;

/// Computes any function of column sums, with an interval that resamples whole clusters of items. Without clusters,
/// each item is resampled by itself.
///
/// # Shapes
/// There is one cluster number per item. The estimate's `n` counts items, not clusters.
///
/// # Errors
/// The errors of [`of_sums`], and lists of unequal length.
pub fn clustered_of_sums<const C: usize>(
    what: &'static str,
    items: &[[f64; C]],
    clusters: Option<&[usize]>,
    statistic: impl Fn(&[f64; C]) -> f64 + Sync,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    let Some(clusters) = clusters else {
        return of_sums(what, items, statistic, options);
    };
    length("one cluster per item", items.len(), clusters.len())?;
    let estimate = of_sums(what, &by_cluster(items, clusters), statistic, options)?;
    Ok(Estimate {
        n: items.len(),
        ..estimate
    })
}

/// Computes any function of column sums, with its interval over items.
///
/// # Errors
/// No items, impossible settings, or a statistic that is not finite on the sample. Resamples on which it is not
/// finite are left out; if they are more than 5 %, there is no interval.
pub fn of_sums<const C: usize>(
    what: &'static str,
    items: &[[f64; C]],
    statistic: impl Fn(&[f64; C]) -> f64 + Sync,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    options.check()?;
    let n = items.len();
    if n == 0 {
        return Err(MetricError::Empty { what });
    }
    let total = sum(items.iter());
    let value = statistic(&total);
    if !value.is_finite() {
        return Err(MetricError::Undefined { what });
    }
    if n < 2 {
        return Ok(Estimate::point(value, n));
    }
    if items.iter().all(|item| item == &items[0]) {
        return Ok(Estimate {
            value,
            ci_low: Some(value),
            ci_high: Some(value),
            n,
        });
    }

    let tail = (1.0 - options.level) / 2.0;
    let sum_of = |drawn: &[u32]| sum(drawn.iter().map(|&i| &items[i as usize]));
    let ends = if options.interval == Interval::Studentized {
        let error = standard_error(items, 0..n, &total, &statistic);
        let pivots = resample(n, options, |drawn| {
            let sums = sum_of(drawn);
            let difference = statistic(&sums) - value;
            let drawn = drawn.iter().map(|&i| i as usize);
            let pivot = difference / standard_error(items, drawn, &sums, &statistic);
            if difference == 0.0 { 0.0 } else { pivot }
        });
        defined(pivots).map(|t| [1.0 - tail, tail].map(|p| value - error * sorted_quantile(&t, p)))
    } else {
        let resampled = resample(n, options, |drawn| {
            let value = statistic(&sum_of(drawn));
            if value.is_finite() { value } else { f64::NAN }
        });
        defined(resampled).map(|resampled| {
            let jackknife = || left_out(items, 0..n, &total, &statistic);
            let levels = match options.interval {
                Interval::ExpandedBca => {
                    let expanded = normal::cdf(expanded(tail, n));
                    bca_levels(value, &resampled, &jackknife(), expanded)
                }
                Interval::Bca => bca_levels(value, &resampled, &jackknife(), tail),
                _ => [tail, 1.0 - tail],
            };
            levels.map(|p| sorted_quantile(&resampled, p))
        })
    };
    Ok(match ends {
        Some([low, high]) if low.is_finite() && high.is_finite() => Estimate {
            value,
            ci_low: Some(low),
            ci_high: Some(high),
            n,
        },
        _ => Estimate::point(value, n),
    })
}

/// Returns the resampled values in ascending order, or `None` if too many are undefined.
pub(crate) fn defined(mut resampled: Vec<f64>) -> Option<Vec<f64>> {
    let drawn = resampled.len();
    resampled.retain(|v| !v.is_nan());
    let undefined = drawn - resampled.len();
    if resampled.is_empty() || undefined as f64 > MAX_UNDEFINED * drawn as f64 {
        return None;
    }
    resampled.sort_unstable_by(f64::total_cmp);
    Some(resampled)
}

/// Normal quantile at which an expanded interval of n items reads its resamples.
fn expanded(tail: f64, n: usize) -> f64 {
    normal::student_quantile(tail, n - 1) * (n as f64 / (n - 1) as f64).sqrt()
}

/// The statistic without each of the chosen items in turn.
fn left_out<const C: usize>(
    items: &[[f64; C]],
    chosen: impl Iterator<Item = usize>,
    total: &[f64; C],
    statistic: &impl Fn(&[f64; C]) -> f64,
) -> Vec<f64> {
    chosen
        .map(|i| statistic(&std::array::from_fn(|c| total[c] - items[i][c])))
        .collect()
}

/// Jackknife standard error of the statistic on the chosen items.
fn standard_error<const C: usize>(
    items: &[[f64; C]],
    chosen: impl Iterator<Item = usize>,
    total: &[f64; C],
    statistic: &impl Fn(&[f64; C]) -> f64,
) -> f64 {
    let values = left_out(items, chosen, total, statistic);
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares * (n - 1.0) / n).sqrt()
}

fn sum<'a, const C: usize>(items: impl Iterator<Item = &'a [f64; C]>) -> [f64; C] {
    items.fold([0.0; C], |mut sum, item| {
        for c in 0..C {
            sum[c] += item[c];
        }
        sum
    })
}

/// A value for every resample, from the numbers of its items.
fn resample(n: usize, options: &Bootstrap, of: impl Fn(&[u32]) -> f64 + Sync) -> Vec<f64> {
    let mut out = vec![0.0; options.resamples];
    if options.resamples.saturating_mul(n) > MOST_KEPT {
        out.par_chunks_mut(PER_STREAM)
            .enumerate()
            .for_each(|(stream, values)| {
                let mut rng = stream_of(options, stream);
                let mut drawn = vec![0; n];
                for value in values {
                    drawn.iter_mut().for_each(|i| *i = draw(&mut rng, n) as u32);
                    *value = of(&drawn);
                }
            });
        return out;
    }
    let draws = kept_draws(n, options);
    out.par_chunks_mut(PER_STREAM)
        .zip(draws.par_chunks(PER_STREAM * n))
        .for_each(|(values, draws)| {
            for (value, drawn) in values.iter_mut().zip(draws.chunks_exact(n)) {
                *value = of(drawn);
            }
        });
    out
}

/// The generator of a block of resamples. Each block draws from its own ChaCha stream, so that the number of threads
/// changes nothing.
fn stream_of(options: &Bootstrap, stream: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    rng.set_stream(stream as u64);
    rng
}

/// The draws of as many items: those that were made last are kept, since a run asks for the same ones for every setting
/// and every metric.
fn kept_draws(n: usize, options: &Bootstrap) -> Arc<Vec<u32>> {
    type Kept = VecDeque<((usize, usize, u64), Arc<Vec<u32>>)>;
    static KEPT: Mutex<Kept> = Mutex::new(VecDeque::new());
    let key = (n, options.resamples, options.seed);
    let lock = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, draws)) = lock().iter().find(|(of, _)| *of == key) {
        return draws.clone();
    }
    // Made without the lock, since it is made side by side; where another thread was faster, its draws are the same.
    let mut draws = vec![0; n * options.resamples];
    draws
        .par_chunks_mut(PER_STREAM * n)
        .enumerate()
        .for_each(|(stream, draws)| {
            let mut rng = stream_of(options, stream);
            draws.iter_mut().for_each(|i| *i = draw(&mut rng, n) as u32);
        });
    let draws = Arc::new(draws);
    let mut kept = lock();
    if kept.iter().all(|(of, _)| *of != key) {
        kept.truncate(SIZES_KEPT - 1);
        kept.push_front((key, draws.clone()));
    }
    draws
}

/// Draws an index below n, as the high half of a 64-bit product. Each probability differs from 1/n by less than
/// n·2⁻³² of it.
pub(crate) fn draw(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

/// Returns the levels at which BCa reads the sorted resamples.
///
/// The median bias is z0; ties count half, which matters for shares. The acceleration a = Σ(m−θᵢ)³ /
/// (6·(Σ(m−θᵢ)²)^{3/2}) comes from the jackknife. If all resamples lie on one side of the value, the end on that side
/// is the extreme resample. If a jackknife value is undefined, the ends stay uncorrected.
pub(crate) fn bca_levels(value: f64, resampled: &[f64], jackknife: &[f64], tail: f64) -> [f64; 2] {
    let below = resampled.iter().filter(|&&v| v < value).count() as f64;
    let equal = resampled.iter().filter(|&&v| v == value).count() as f64;
    let z0 = normal::quantile((below + 0.5 * equal) / resampled.len() as f64);
    let m = jackknife.iter().sum::<f64>() / jackknife.len() as f64;
    let (mut squares, mut cubes) = (0.0, 0.0);
    for v in jackknife {
        squares += (m - v).powi(2);
        cubes += (m - v).powi(3);
    }
    let a = if squares > 0.0 && squares.is_finite() {
        cubes / (6.0 * squares.powf(1.5))
    } else {
        0.0
    };
    let a = if a.is_finite() { a } else { 0.0 };
    let level = |p: f64| {
        // An interval widened for very few items may ask for the extreme resamples themselves.
        if p <= 0.0 || p >= 1.0 {
            return p.clamp(0.0, 1.0);
        }
        let z = z0 + normal::quantile(p);
        normal::cdf(z0 + z / (1.0 - a * z))
    };
    if z0.is_finite() {
        [level(tail), level(1.0 - tail)]
    } else if z0 > 0.0 {
        [1.0, 1.0]
    } else {
        [0.0, 0.0]
    }
}

/// Computes a quantile by linear interpolation between the two nearest order statistics.
pub(crate) fn sorted_quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        for (p, expect) in [(0.0, 1.0), (1.0, 4.0), (0.5, 2.5), (0.1, 1.3), (2.0, 4.0)] {
            assert!((sorted_quantile(&sorted, p) - expect).abs() < 1e-12);
        }
    }

    /// A widened tail of two items is 0, and equal jackknife values leave the acceleration 0/0: neither
    /// may ask the normal distribution for a number that is none.
    #[test]
    fn levels_are_defined_at_the_extremes() {
        let resampled = [0.9, 1.0, 1.1];
        assert_eq!(bca_levels(1.0, &resampled, &[1.0, 1.0], 0.0), [0.0, 1.0]);
        let tiny = [1.0, 1.0 + f64::EPSILON].map(|v| v * 1e-150);
        let levels = bca_levels(1.0, &resampled, &tiny, 0.025);
        assert!(levels.iter().all(|l| l.is_finite()), "{levels:?}");
    }

    #[test]
    fn degenerate_samples() {
        let options = Bootstrap::default();
        assert_eq!(mean(&[3.0], &options).unwrap(), Estimate::point(3.0, 1));
        let equal = mean(&[2.0; 5], &options).unwrap();
        assert_eq!((equal.ci_low, equal.ci_high), (Some(2.0), Some(2.0)));
        assert!(matches!(
            mean(&[], &options),
            Err(MetricError::Empty { .. })
        ));
        assert!(matches!(
            mean(&[0.0, f64::NAN], &options),
            Err(MetricError::NotFinite { index: 1, .. })
        ));
        assert!(matches!(
            ratio(&[1.0, 2.0], &[0.0, 0.0], &options),
            Err(MetricError::Undefined { .. })
        ));
        let bad = Bootstrap {
            level: 1.0,
            ..options
        };
        assert!(matches!(
            mean(&[1.0], &bad),
            Err(MetricError::BadSetting { .. })
        ));
    }

    #[test]
    fn clusters_widen_the_interval() {
        // Ten copies of each of ten values: as 100 items the interval is narrow,
        // as ten clusters it is that of ten items.
        let values: Vec<f64> = (0..100).map(|i| (i / 10) as f64).collect();
        let clusters: Vec<usize> = (0..100).map(|i| i / 10).collect();
        let distinct: Vec<f64> = (0..10).map(f64::from).collect();
        let options = Bootstrap::default();
        let width = |e: Estimate| e.ci_high.unwrap() - e.ci_low.unwrap();
        let items = mean(&values, &options).unwrap();
        let clustered = clustered_mean(&values, Some(&clusters), &options).unwrap();
        assert_eq!(clustered.n, 100);
        assert_eq!(clustered.value, items.value);
        assert!(width(clustered) > 2.5 * width(items));
        assert!((width(clustered) - width(mean(&distinct, &options).unwrap())).abs() < 1e-12);
    }
}
