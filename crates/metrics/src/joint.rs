//! Resamples all statistics of the same items together.
//!
//! Two statistics of the same pairs rise and fall together. Intervals that are computed separately ignore this, so
//! that the difference of two gaps, or the mean of a dozen, seems less certain than it is. Here the draws are made
//! first. [`Draws`] counts how often each draw contains each item, and [`Draws::sums`] sums any number of columns
//! with these counts. A number that is computed from such sums, [`Resampled`], again has a value for every draw, so
//! its interval needs no assumption about how its parts are correlated.
//!
//! Items belong to samples that are drawn independently, each with its own number of items (such as the pairs of one
//! category). An item may be a cluster; then its columns are summed first.
//!
//! # Source
//! Efron & Tibshirani, "An Introduction to the Bootstrap", 1993: paired and
//! several-sample bootstraps (chapter 8), BCa intervals of several samples, whose
//! acceleration sums over the jackknife values of all samples (chapter 14).
//! Expansion for small samples as in [`crate::bootstrap`]; with several samples
//! the degrees of freedom are those of Welch, "The generalization of 'Student's'
//! problem", Biometrika 34, 1947.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::bootstrap::{
    Bootstrap, Estimate, Interval, PER_STREAM, bca_levels, defined, draw, sorted_quantile,
};
use crate::error::{MetricError, finite, length};
use crate::normal;

/// The draws of the items of one or several samples, which are the same for all columns.
#[derive(Debug, Clone)]
pub struct Draws {
    options: Bootstrap,
    sizes: Vec<usize>,
}

/// A number with its value on every draw and its value without every single item.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampled {
    /// The value on the whole sample.
    pub value: f64,
    draws: Vec<f64>,
    /// `[sample][item]`; a sample that the number does not depend on has no entries.
    left_out: Vec<Vec<f64>>,
}

impl Draws {
    /// Draws with replacement from samples of these sizes, independently for each sample.
    ///
    /// # Shapes
    /// `sizes` has the number of items, or of clusters, of each sample.
    ///
    /// # Errors
    /// No sample, a sample without items, impossible settings, or a kind of interval that needs a standard error for
    /// every draw.
    pub fn new(sizes: &[usize], options: Bootstrap) -> Result<Draws, MetricError> {
        options.check()?;
        if options.interval == Interval::Studentized {
            return Err(MetricError::BadSetting {
                name: "interval",
                value: "studentized".into(),
                expected: "percentile, bca or expanded-bca, which many numbers on one draw can have",
            });
        }
        if sizes.is_empty() || sizes.contains(&0) {
            let what = "a sample of the joint bootstrap";
            return Err(MetricError::Empty { what });
        }
        Ok(Draws {
            options,
            sizes: sizes.to_vec(),
        })
    }

    /// Sums every column over the items of a sample, on every draw.
    ///
    /// The counts are made anew for each block of draws, so memory holds the
    /// results and little else.
    ///
    /// # Shapes
    /// Each column has one number per item of the sample. There is one result per column.
    ///
    /// # Errors
    /// A sample that does not exist, a column of another length, or a number that
    /// is not finite.
    pub fn sums(&self, sample: usize, columns: &[Vec<f64>]) -> Result<Vec<Resampled>, MetricError> {
        let n = *self.sizes.get(sample).ok_or(MetricError::BadSetting {
            name: "sample",
            value: sample.to_string(),
            expected: "the place of one of the samples, from 0",
        })?;
        for column in columns {
            length("a column of the joint bootstrap", n, column.len())?;
            finite("a column of the joint bootstrap", column)?;
        }
        let values = Mat::from_fn(n, columns.len(), |i, k| columns[k][i]);
        let resamples = self.options.resamples;
        let blocks: Vec<Mat<f64>> = (0..resamples.div_ceil(PER_STREAM))
            .into_par_iter()
            .map(|block| {
                let rows = PER_STREAM.min(resamples - block * PER_STREAM);
                let counts = self.counts(sample, block, rows, n);
                let mut sums = Mat::zeros(rows, columns.len());
                matmul(
                    sums.as_mut(),
                    Accum::Replace,
                    &counts,
                    &values,
                    1.0,
                    Par::Seq,
                );
                sums
            })
            .collect();
        let of_column = |(k, column): (usize, &Vec<f64>)| {
            let value: f64 = column.iter().sum();
            let mut left_out = vec![Vec::new(); self.sizes.len()];
            left_out[sample] = column.iter().map(|v| value - v).collect();
            let draws = blocks
                .iter()
                .flat_map(|b| (0..b.nrows()).map(move |d| b[(d, k)]));
            Resampled {
                value,
                draws: draws.collect(),
                left_out,
            }
        };
        Ok(columns.par_iter().enumerate().map(of_column).collect())
    }

    /// How often each draw of a block holds each item.
    fn counts(&self, sample: usize, block: usize, rows: usize, n: usize) -> Mat<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed);
        rng.set_stream(((sample as u64) << 32) | block as u64);
        let mut counts = Mat::zeros(rows, n);
        for row in 0..rows {
            for _ in 0..n {
                counts[(row, draw(&mut rng, n))] += 1.0;
            }
        }
        counts
    }

    /// Returns a number that is 0 on every draw, from which sums start.
    pub fn zero(&self) -> Resampled {
        Resampled {
            value: 0.0,
            draws: vec![0.0; self.options.resamples],
            left_out: vec![Vec::new(); self.sizes.len()],
        }
    }

    /// Returns the number with its interval; `n` is the number of items that the estimate reports.
    ///
    /// There is no interval if a sample that the number depends on has only one item, or if the number is undefined
    /// on more than 5 % of the draws.
    ///
    /// # Errors
    /// A number that is not finite on the sample.
    pub fn estimate(
        &self,
        what: &'static str,
        number: &Resampled,
        n: usize,
    ) -> Result<Estimate, MetricError> {
        let value = number.value;
        if !value.is_finite() {
            return Err(MetricError::Undefined { what });
        }
        let samples = || number.left_out.iter().filter(|items| !items.is_empty());
        if samples().next().is_none() || samples().any(|items| items.len() < 2) {
            return Ok(Estimate::point(value, n));
        }
        // Draws that equal the sample count half when the bias is corrected. Sums in another order must not hide that.
        let cleaned = |&v: &f64| match (v.is_finite(), (v - value).abs() <= 1e-12 * value.abs()) {
            (false, _) => f64::NAN,
            (_, true) => value,
            _ => v,
        };
        let Some(sorted) = defined(number.draws.iter().map(cleaned).collect()) else {
            return Ok(Estimate::point(value, n));
        };
        let tail = (1.0 - self.options.level) / 2.0;
        let influences = influences(samples());
        let levels = match self.options.interval {
            Interval::Bca => bca_levels(value, &sorted, &influences.concat(), tail),
            Interval::ExpandedBca => {
                let tail = normal::cdf(expanded(tail, &influences));
                bca_levels(value, &sorted, &influences.concat(), tail)
            }
            _ => [tail, 1.0 - tail],
        };
        // Sums of equal items in another order differ in the last digit.
        let spread = sorted[sorted.len() - 1] - sorted[0];
        let [low, high] = match spread <= 1e-12 * value.abs() {
            true => [value; 2],
            false => levels.map(|p| sorted_quantile(&sorted, p)),
        };
        Ok(Estimate {
            value,
            ci_low: Some(low),
            ci_high: Some(high),
            n,
        })
    }

    /// Computes [`Draws::estimate`] for many numbers in parallel.
    ///
    /// # Errors
    /// The errors of [`Draws::estimate`].
    pub fn estimates(
        &self,
        what: &'static str,
        numbers: &[(Resampled, usize)],
    ) -> Result<Vec<Estimate>, MetricError> {
        let numbers = numbers.par_iter();
        numbers
            .map(|(number, n)| self.estimate(what, number, *n))
            .collect()
    }
}

/// What the number is without each item, around the mean of its sample: 0 stands for the mean.
fn influences<'a>(samples: impl Iterator<Item = &'a Vec<f64>>) -> Vec<Vec<f64>> {
    samples
        .map(|items| {
            let mean = items.iter().sum::<f64>() / items.len() as f64;
            items.iter().map(|v| v - mean).collect()
        })
        .collect()
}

/// Normal quantile at which an expanded interval reads its draws: for one sample of n items
/// t(n − 1)·√(n/(n − 1)). With several samples each counts by its share of the variance.
fn expanded(tail: f64, influences: &[Vec<f64>]) -> f64 {
    let (mut variance, mut corrected, mut by_freedom) = (0.0, 0.0, 0.0);
    for items in influences {
        let n = items.len() as f64;
        let part: f64 = items.iter().map(|d| d * d).sum();
        variance += part;
        corrected += part * n / (n - 1.0);
        by_freedom += part * part / (n - 1.0);
    }
    let freedom = variance * variance / by_freedom;
    if !(variance > 0.0 && freedom.is_finite()) {
        return normal::quantile(tail);
    }
    // A whole number of them, where rounding may have left one a hair too few.
    let freedom = ((freedom + 1e-6).floor() as usize).max(1);
    normal::student_quantile(tail, freedom) * (corrected / variance).sqrt()
}

impl Resampled {
    /// Computes a function of numbers that have the same draws.
    ///
    /// # Shapes
    /// `f` gets one value per part, in the order of `parts`.
    pub fn combine(parts: &[&Resampled], f: impl Fn(&[f64]) -> f64) -> Resampled {
        let mut seen = vec![0.0; parts.len()];
        let mut at = |of: &dyn Fn(&Resampled) -> f64| {
            seen.iter_mut().zip(parts).for_each(|(s, p)| *s = of(p));
            f(&seen)
        };
        let draws = parts.iter().map(|p| p.draws.len()).min().unwrap_or(0);
        let samples = parts.iter().map(|p| p.left_out.len()).min().unwrap_or(0);
        Resampled {
            value: at(&|p| p.value),
            draws: (0..draws).map(|d| at(&|p| p.draws[d])).collect(),
            left_out: (0..samples)
                .map(|s| {
                    let items = parts.iter().map(|p| p.left_out[s].len()).max().unwrap_or(0);
                    let of =
                        |i: usize| move |p: &Resampled| *p.left_out[s].get(i).unwrap_or(&p.value);
                    (0..items).map(|i| at(&of(i))).collect()
                })
                .collect(),
        }
    }

    /// Returns the number after a function of one argument.
    #[must_use]
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Resampled {
        Resampled::combine(&[self], |v| f(v[0]))
    }

    /// Returns this number minus another.
    #[must_use]
    pub fn minus(&self, other: &Resampled) -> Resampled {
        Resampled::combine(&[self, other], |v| v[0] - v[1])
    }

    /// Returns this number divided by another.
    #[must_use]
    pub fn over(&self, other: &Resampled) -> Resampled {
        Resampled::combine(&[self, other], |v| v[0] / v[1])
    }

    /// Returns the absolute value: every draw is multiplied by the sign that the number has on the sample.
    ///
    /// A draw of a number near 0 may have the other sign. If its absolute value were taken, the draws would on
    /// average lie further from 0 than the number, which itself lies further from 0 than the true value does. An
    /// interval that is read from such draws would miss the true value far too often.
    #[must_use]
    pub fn size(&self) -> Resampled {
        let sign = self.value.signum();
        self.map(|v| v * sign)
    }

    /// Adds `times` times another number to this one.
    pub fn add(&mut self, other: &Resampled, times: f64) {
        let sum = |a: &mut f64, b: &f64| *a += times * b;
        for (left, right) in self.left_out.iter_mut().zip(&other.left_out) {
            left.resize(left.len().max(right.len()), self.value);
            for (i, a) in left.iter_mut().enumerate() {
                sum(a, right.get(i).unwrap_or(&other.value));
            }
        }
        self.draws
            .iter_mut()
            .zip(&other.draws)
            .for_each(|(a, b)| sum(a, b));
        self.value += times * other.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap;

    fn options() -> Bootstrap {
        Bootstrap {
            interval: Interval::ExpandedBca,
            ..Bootstrap::seeded(3)
        }
    }

    fn column(n: usize, seed: usize) -> Vec<f64> {
        let number = |i: usize| ((i * 7 + seed * 31) as f64).sin() + 0.4;
        (0..n).map(number).collect()
    }

    fn close(a: Estimate, b: Estimate) {
        let ends = |e: Estimate| [Some(e.value), e.ci_low, e.ci_high].map(|v| v.expect("an end"));
        for (x, y) in ends(a).into_iter().zip(ends(b)) {
            assert!((x - y).abs() < 1e-12, "{a:?} {b:?}");
        }
    }

    /// One number of one sample has the interval that it has alone: the draws are the same.
    #[test]
    fn a_mean_alone_is_the_bootstrap_of_the_mean() {
        let (x, y) = (column(30, 1), column(30, 2));
        let draws = Draws::new(&[30], options()).unwrap();
        let sums = draws
            .sums(0, &[x.clone(), y.clone(), vec![1.0; 30]])
            .unwrap();
        let mean = draws.estimate("mean", &sums[0].over(&sums[2]), 30).unwrap();
        close(mean, bootstrap::mean(&x, &options()).unwrap());
        let shifted: Vec<f64> = y.iter().map(|v| v + 3.0).collect();
        let sums = draws.sums(0, &[x.clone(), shifted.clone()]).unwrap();
        let ratio = draws
            .estimate("ratio", &sums[0].over(&sums[1]), 30)
            .unwrap();
        close(ratio, bootstrap::ratio(&x, &shifted, &options()).unwrap());
    }

    #[test]
    fn a_difference_is_paired() {
        let x = column(40, 1);
        let y: Vec<f64> = x.iter().map(|v| v - 0.25).collect();
        let draws = Draws::new(&[40], options()).unwrap();
        let sums = draws.sums(0, &[x, y]).unwrap();
        let mean = |s: &Resampled| s.map(|v| v / 40.0);
        let (x, y) = (mean(&sums[0]), mean(&sums[1]));
        let width = |e: Estimate| e.ci_high.unwrap() - e.ci_low.unwrap();
        assert!(width(draws.estimate("x", &x, 40).unwrap()) > 0.3);
        let difference = draws.estimate("x − y", &x.minus(&y), 40).unwrap();
        assert!(
            (difference.value - 0.25).abs() < 1e-12 && width(difference) < 1e-9,
            "{difference:?}"
        );
    }

    /// A mean over two samples has the variance of both, and counts the items of both.
    #[test]
    fn samples_are_drawn_by_themselves() {
        let (x, y) = (column(25, 1), column(60, 5));
        let draws = Draws::new(&[25, 60], options()).unwrap();
        let a = draws
            .sums(0, std::slice::from_ref(&x))
            .unwrap()
            .remove(0)
            .map(|v| v / 25.0);
        let b = draws
            .sums(1, std::slice::from_ref(&y))
            .unwrap()
            .remove(0)
            .map(|v| v / 60.0);
        let mut both = draws.zero();
        both.add(&a, 0.5);
        both.add(&b, 0.5);
        let by_combine = Resampled::combine(&[&a, &b], |v| 0.5 * (v[0] + v[1]));
        for (p, q) in both.draws.iter().zip(&by_combine.draws) {
            assert!((p - q).abs() < 1e-12);
        }
        assert_eq!((both.left_out[0].len(), both.left_out[1].len()), (25, 60));
        for (p, q) in both
            .left_out
            .concat()
            .iter()
            .zip(by_combine.left_out.concat())
        {
            assert!((p - q).abs() < 1e-12);
        }
        let width = |e: Estimate| e.ci_high.unwrap() - e.ci_low.unwrap();
        let of = |r: &Resampled| width(draws.estimate("x", r, 1).unwrap());
        let expect = 0.5 * (of(&a).powi(2) + of(&b).powi(2)).sqrt();
        assert!(
            (of(&both) / expect - 1.0).abs() < 0.06,
            "{} {expect}",
            of(&both)
        );
    }

    #[test]
    fn sizes_keep_the_sign_of_the_sample() {
        let draws = Draws::new(&[30], options()).unwrap();
        let x: Vec<f64> = column(30, 1).iter().map(|v| v - 0.5).collect();
        let mean = draws.sums(0, &[x]).unwrap()[0].map(|v| v / 30.0);
        assert!(mean.value < 0.0);
        let size = mean.size();
        assert_eq!(size.value, -mean.value);
        assert!(
            size.draws.iter().any(|v| *v < 0.0),
            "a draw across 0 stays there"
        );
    }

    #[test]
    fn what_is_not_known_is_not_given() {
        let one = Draws::new(&[1], options()).unwrap();
        let sum = one.sums(0, &[vec![2.0]]).unwrap().remove(0);
        assert_eq!(one.estimate("x", &sum, 1).unwrap(), Estimate::point(2.0, 1));
        let draws = Draws::new(&[3], options()).unwrap();
        let sums = draws.sums(0, &[vec![1.0; 3], vec![1.0, 0.0, 0.0]]).unwrap();
        let equal = draws.estimate("x", &sums[0], 3).unwrap();
        assert_eq!((equal.ci_low, equal.ci_high), (Some(3.0), Some(3.0)));
        // A third of the draws lack the one item that is not 0.
        let ratio = draws.estimate("x", &sums[0].over(&sums[1]), 3).unwrap();
        assert_eq!(ratio, Estimate::point(3.0, 3));
        let undefined = sums[0].over(&sums[0].minus(&sums[0]));
        assert!(matches!(
            draws.estimate("x", &undefined, 3),
            Err(MetricError::Undefined { .. })
        ));
    }

    #[test]
    fn bad_input_is_told() {
        assert!(matches!(
            Draws::new(&[], options()),
            Err(MetricError::Empty { .. })
        ));
        assert!(matches!(
            Draws::new(&[3, 0], options()),
            Err(MetricError::Empty { .. })
        ));
        let studentized = Bootstrap {
            interval: Interval::Studentized,
            ..options()
        };
        assert!(matches!(
            Draws::new(&[3], studentized),
            Err(MetricError::BadSetting { .. })
        ));
        let draws = Draws::new(&[3], options()).unwrap();
        assert!(matches!(
            draws.sums(1, &[]),
            Err(MetricError::BadSetting { .. })
        ));
        assert!(matches!(
            draws.sums(0, &[vec![1.0; 2]]),
            Err(MetricError::Length { .. })
        ));
        let infinite = vec![vec![0.0, f64::INFINITY, 0.0]];
        assert!(matches!(
            draws.sums(0, &infinite),
            Err(MetricError::NotFinite { index: 1, .. })
        ));
    }
}
