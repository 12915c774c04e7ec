//! Computes class statistics from a stream of rows: counts, means and covariances.

use crate::data::{check_finite, check_length, groups_of, require};
use crate::linalg::{add_gram_lower, mirror_lower};
use crate::{Covariance, FitData, FitError, Keep, Matrix};
use interlingua_edits::{axpy, norm};

/// Counts, class means and covariances of rows that are never in memory all at once.
///
/// Batches are added by [`Moments::update`]. Statistics of separate parts of the data are combined by
/// [`Moments::merge`]. A method that needs no more can be fitted with [`crate::Debiaser::fit_moments`].
///
/// ```
/// use interlingua_debias::{FitOptions, Matrix, Moments, by_name};
///
/// let (leace, options) = (by_name("leace")?, FitOptions::default());
/// let keep = leace.keeps(&options)?.expect("LEACE fits from class statistics");
/// let names = || vec!["male".to_owned(), "female".to_owned()];
/// let mut parts = [Moments::new(2, names(), None, keep), Moments::new(2, names(), None, keep)];
/// for (batch, part) in parts.iter_mut().enumerate() {
///     let x = Matrix::from_fn(8, 2, |i, j| ((i * 3 + j * (batch + 1)) % 5) as f64 + (i % 2) as f64);
///     let label: Vec<usize> = (0..8).map(|i| i % 2).collect();
///     part.update(&x, &label)?;
/// }
/// let [mut all, rest] = parts;
/// all.merge(&rest)?;
/// assert_eq!(leace.fit_moments(&all, &options)?.edit.rank(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Statistics are merged around their own means (Chan, Golub & LeVeque,
/// "Updating formulae and a pairwise algorithm for computing sample variances",
/// 1979), which keeps the digits that sums around zero would lose.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    names: Vec<String>,
    neutral: Option<usize>,
    keep: Keep,
    all: Part,
    classes: Vec<Part>,
}

/// Count, mean and scatter of some rows.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    n: usize,
    mean: Vec<f64>,
    /// Lower triangle of Σ (x − μ)(x − μ)ᵀ; absent when not kept.
    scatter: Option<Matrix>,
}

/// Rows that are centred and multiplied at once.
const BATCH: usize = 1024;

impl Moments {
    /// The statistics of all rows of some data.
    pub(crate) fn of(data: &FitData, keep: Keep) -> Result<Moments, FitError> {
        let mut moments = Moments::new(data.dim(), data.classes.clone(), data.neutral, keep);
        moments.update(&data.x, &data.label)?;
        Ok(moments)
    }

    /// Makes statistics of no rows.
    pub fn new(dim: usize, classes: Vec<String>, neutral: Option<usize>, keep: Keep) -> Self {
        let part = |wanted| Part {
            n: 0,
            mean: vec![0.0; dim],
            scatter: (keep.covariance == wanted).then(|| Matrix::zeros(dim, dim)),
        };
        Self {
            all: part(Covariance::Pooled),
            classes: vec![part(Covariance::PerClass); classes.len()],
            names: classes,
            neutral,
            keep,
        }
    }

    /// Adds a batch of rows.
    ///
    /// # Shapes
    /// `x` is m×d; `label` has m values, the class of each row.
    ///
    /// # Errors
    /// Rows of another dimension, a number of labels that is not the number of rows, an unknown class, a vector that
    /// is not finite, or the zero vector if rows are brought to length 1. The statistics are then unchanged.
    pub fn update(&mut self, x: &Matrix, label: &[usize]) -> Result<(), FitError> {
        let d = self.dim();
        check_length("dimension of the batch", d, x.cols())?;
        check_length("one class per row of the batch", x.rows(), label.len())?;
        if let Some((row, &label)) =
            (label.iter().enumerate()).find(|&(_, &c)| c >= self.names.len())
        {
            return Err(FitError::UnknownClass {
                row,
                label,
                classes: self.names.clone(),
            });
        }
        check_finite(x)?;
        let skipped = self.neutral.filter(|_| self.keep.unit_length);
        let read = |class: usize| Some(class) != skipped;
        if self.keep.unit_length {
            let zero = |&row: &usize| read(label[row]) && norm(x.row(row)) == 0.0;
            if let Some(row) = (0..x.rows()).find(zero) {
                return Err(FitError::ZeroVector {
                    method: "class statistics of unit vectors",
                    row,
                });
            }
        }
        for start in (0..x.rows()).step_by(BATCH) {
            let rows = start..x.rows().min(start + BATCH);
            for class in 0..self.names.len() {
                if read(class) {
                    let of_class = rows.clone().filter(|&row| label[row] == class);
                    self.add(class, x, of_class);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, class: usize, x: &Matrix, rows: impl Iterator<Item = usize>) {
        let mut gathered = Vec::new();
        for row in rows {
            let x = x.row(row);
            let scale = if self.keep.unit_length { norm(x) } else { 1.0 };
            gathered.extend(x.iter().map(|v| v / scale));
        }
        if gathered.is_empty() {
            return;
        }
        // At most one of the two keeps a covariance.
        let mean = mean_of(&gathered, self.dim());
        let new = gathered.len() / self.dim();
        for part in [&mut self.all, &mut self.classes[class]] {
            part.add(&mut gathered, new, &mean);
        }
    }

    /// Adds the statistics of other rows.
    ///
    /// # Errors
    /// Statistics of another dimension, of other classes or of another kind.
    pub fn merge(&mut self, other: &Self) -> Result<(), FitError> {
        check_length("dimension of the statistics", self.dim(), other.dim())?;
        if (&self.names, self.neutral, self.keep) != (&other.names, other.neutral, other.keep) {
            return Err(FitError::DifferentStatistics {
                ours: self.names.clone(),
                theirs: other.names.clone(),
            });
        }
        self.all.merge(&other.all);
        for (ours, theirs) in self.classes.iter_mut().zip(&other.classes) {
            ours.merge(theirs);
        }
        Ok(())
    }

    /// Returns the dimension d of the rows.
    pub fn dim(&self) -> usize {
        self.all.mean.len()
    }

    /// Returns the number of classes, including those without rows.
    pub fn classes(&self) -> usize {
        self.names.len()
    }

    /// Returns the number of rows that were added and read.
    pub fn count(&self) -> usize {
        self.all.n
    }

    /// Returns the number of rows of one class that were added and read.
    pub fn class_count(&self, class: usize) -> usize {
        self.classes[class].n
    }

    /// Returns the mean of all rows; zeros if there are none.
    pub fn mean(&self) -> &[f64] {
        &self.all.mean
    }

    /// Returns the mean of the rows of one class; zeros if there are none.
    pub fn class_mean(&self, class: usize) -> &[f64] {
        &self.classes[class].mean
    }

    /// Returns the classes that have rows, in the order of their names.
    pub fn present(&self) -> Vec<usize> {
        (0..self.classes.len())
            .filter(|&c| self.classes[c].n > 0)
            .collect()
    }

    /// Returns the classes with rows, and fails if there are fewer than `needed`.
    pub(crate) fn require_classes(
        &self,
        method: &'static str,
        needed: usize,
    ) -> Result<Vec<usize>, FitError> {
        require(method, "classes", needed, self.present(), &self.names)
    }

    /// Returns the groups with rows, which are the classes except the neutral one, and fails if there are fewer than
    /// two.
    pub(crate) fn require_groups(&self, method: &'static str) -> Result<Vec<usize>, FitError> {
        let groups = groups_of(self.present(), self.neutral);
        require(method, "groups", 2, groups, &self.names)
    }

    /// Refuses statistics that lack what the method needs.
    pub(crate) fn require_kept(&self, method: &'static str, needed: Keep) -> Result<(), FitError> {
        if self.keep == needed {
            Ok(())
        } else {
            Err(FitError::StatisticsNotKept {
                method,
                needed,
                kept: self.keep,
            })
        }
    }

    /// Returns Σ (x − μ)(x − μ)ᵀ / divisor over all rows as a full matrix, if the covariance is kept.
    pub(crate) fn covariance(&self, divisor: f64) -> Option<Matrix> {
        let mut out = self.all.scatter.clone()?;
        mirror_lower(&mut out);
        out.data_mut().iter_mut().for_each(|v| *v /= divisor);
        Some(out)
    }

    /// Adds `scale · Σ (x − m)(x − m)ᵀ` over the rows of one class, with m its mean, to the lower triangle of `into`.
    /// Nothing is added if the covariance is not kept.
    pub(crate) fn add_class_scatter(&self, class: usize, scale: f64, into: &mut Matrix) {
        if let Some(scatter) = &self.classes[class].scatter {
            axpy(scale, scatter.data(), into.data_mut());
        }
    }

    /// Returns the cross-covariance of x with the one-hot classes, d×classes, with Bessel's correction. Because Σ(x −
    /// μ) = 0, its column c is n_c·(m_c − μ)/(n − 1).
    pub(crate) fn cross_covariance(&self) -> Matrix {
        let divisor = (self.all.n as f64 - 1.0).max(1.0);
        Matrix::from_fn(self.dim(), self.classes.len(), |i, c| {
            let class = &self.classes[c];
            class.n as f64 / divisor
                * (class.mean[i] - if class.n > 0 { self.all.mean[i] } else { 0.0 })
        })
    }
}

impl Part {
    /// Takes in `new` rows, at least one; they are of no further use where the scatter is kept.
    fn add(&mut self, rows: &mut Vec<f64>, new: usize, mean: &[f64]) {
        let d = mean.len();
        if let Some(scatter) = &mut self.scatter {
            for row in rows.chunks_exact_mut(d) {
                axpy(-1.0, mean, row);
            }
            // What the two means differ by is one more row.
            if self.n > 0 {
                let weight = (self.n as f64 * new as f64 / (self.n + new) as f64).sqrt();
                let apart = mean.iter().zip(&self.mean);
                rows.extend(apart.map(|(b, a)| weight * (b - a)));
            }
            add_gram_lower(scatter, rows, 1.0);
        }
        self.shift(new, mean);
    }

    /// Count and mean with those of other rows.
    fn shift(&mut self, n: usize, mean: &[f64]) {
        let share = n as f64 / (self.n + n) as f64;
        for (ours, theirs) in self.mean.iter_mut().zip(mean) {
            *ours += share * (theirs - *ours);
        }
        self.n += n;
    }

    fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let (old, new) = (self.n as f64, other.n as f64);
        let shift: Vec<f64> = other
            .mean
            .iter()
            .zip(&self.mean)
            .map(|(b, a)| b - a)
            .collect();
        if let (Some(ours), Some(theirs)) = (&mut self.scatter, &other.scatter) {
            axpy(1.0, theirs.data(), ours.data_mut());
            add_gram_lower(ours, &shift, old * new / (old + new));
        }
        self.shift(other.n, &other.mean);
    }
}

fn mean_of(rows: &[f64], d: usize) -> Vec<f64> {
    let share = d as f64 / rows.len() as f64;
    let mut mean = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        axpy(share, row, &mut mean);
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|c| format!("class {c}")).collect()
    }

    fn rows(x: &Matrix, range: std::ops::Range<usize>) -> Matrix {
        let d = x.cols();
        Matrix::new(
            range.len(),
            d,
            x.data()[range.start * d..range.end * d].to_vec(),
        )
        .unwrap()
    }

    fn pooled() -> Keep {
        Keep {
            covariance: Covariance::Pooled,
            unit_length: false,
        }
    }

    #[test]
    fn batches_give_what_the_definition_gives() {
        let x = Matrix::from_fn(3000, 4, |i, j| ((i * 31 + j * 17) % 101) as f64 + 1e4);
        let label: Vec<usize> = (0..3000).map(|i| (i / 7) % 3).collect();
        let mut whole = Moments::new(4, names(3), None, pooled());
        whole.update(&x, &label).unwrap();
        let mut parts = Moments::new(4, names(3), None, pooled());
        for (from, to) in [(0, 1), (1, 500), (500, 3000)] {
            parts.update(&rows(&x, from..to), &label[from..to]).unwrap();
        }
        let n = 3000.0;
        let mean: Vec<f64> = (0..4)
            .map(|j| (0..3000).map(|i| x.at(i, j)).sum::<f64>() / n)
            .collect();
        let direct = Matrix::from_fn(4, 4, |a, b| {
            (0..3000)
                .map(|i| (x.at(i, a) - mean[a]) * (x.at(i, b) - mean[b]))
                .sum::<f64>()
                / n
        });
        let cross = Matrix::from_fn(4, 3, |a, c| {
            let rows = (0..3000).filter(|&i| label[i] == c);
            rows.map(|i| x.at(i, a) - mean[a]).sum::<f64>() / (n - 1.0)
        });
        for moments in [whole, parts] {
            assert!(moments.covariance(n).unwrap().max_abs_difference(&direct) < 1e-8);
            assert!(moments.cross_covariance().max_abs_difference(&cross) < 1e-8);
        }
    }

    #[test]
    fn parts_gathered_apart_merge() {
        let x = Matrix::from_fn(700, 3, |i, j| ((i * 13 + j * 29) % 37) as f64 / 7.0 - 2.0);
        let label: Vec<usize> = (0..700).map(|i| (i * i) % 3).collect();
        let keep = Keep {
            covariance: Covariance::PerClass,
            unit_length: true,
        };
        let gather = |range: std::ops::Range<usize>| {
            let mut m = Moments::new(3, names(4), Some(2), keep);
            m.update(&rows(&x, range.clone()), &label[range]).unwrap();
            m
        };
        let whole = gather(0..700);
        // An empty part, on either side, changes nothing.
        let mut parts = gather(0..0);
        for part in [
            gather(0..300),
            gather(300..300),
            gather(300..301),
            gather(301..700),
        ] {
            parts.merge(&part).unwrap();
        }
        assert_eq!(parts.count(), whole.count());
        assert_eq!(whole.present(), [0, 1], "the neutral class is not read");
        for class in [0, 1] {
            let scatter = |m: &Moments| {
                let mut out = Matrix::zeros(3, 3);
                m.add_class_scatter(class, 1.0, &mut out);
                out
            };
            assert!(scatter(&parts).max_abs_difference(&scatter(&whole)) < 1e-11);
            assert_eq!(parts.class_count(class), whole.class_count(class));
            for (a, b) in parts.class_mean(class).iter().zip(whole.class_mean(class)) {
                assert!((a - b).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn spoilt_batches_change_nothing() {
        let mut m = Moments::new(2, names(2), None, pooled());
        let fresh = m.clone();
        assert!(m.update(&Matrix::zeros(2, 3), &[0, 1]).is_err());
        assert!(m.update(&Matrix::zeros(2, 2), &[0]).is_err());
        assert!(m.update(&Matrix::zeros(2, 2), &[0, 2]).is_err());
        let nan = Matrix::from_fn(1, 2, |_, _| f64::NAN);
        assert!(m.update(&nan, &[0]).is_err());
        assert!(m.merge(&Moments::new(3, names(2), None, pooled())).is_err());
        assert!(m.merge(&Moments::new(2, names(3), None, pooled())).is_err());
        assert!(
            m.merge(&Moments::new(2, names(2), None, Keep::default()))
                .is_err()
        );
        let unit = Keep {
            unit_length: true,
            ..Keep::default()
        };
        let mut unit = Moments::new(2, names(2), Some(1), unit);
        let refused = unit.update(&Matrix::zeros(2, 2), &[1, 0]);
        assert!(matches!(refused, Err(FitError::ZeroVector { row: 1, .. })));
        unit.update(&Matrix::zeros(1, 2), &[1]).unwrap();
        assert_eq!(unit.count(), 0);
        assert_eq!(m, fresh);
    }
}
