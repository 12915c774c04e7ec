//! Streaming first and second moments of vectors and their one-hot classes.

use crate::linalg::{add_gram_lower, mirror_lower};
use crate::matrix::axpy;
use crate::{FitError, Matrix};

/// Counts, means and centred sums of products, updated batch by batch.
///
/// Batches are merged around their own means, (Chan, Golub & LeVeque 1979), which
/// keeps the digits that sums around zero would lose, and keeps Σ_xx symmetric.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    n: usize,
    counts: Vec<usize>,
    mean: Vec<f64>,
    /// Lower triangle of Σ (x − μ)(x − μ)ᵀ; absent when not asked for.
    xx: Option<Matrix>,
    /// Sum of the vectors of each class, minus the class's count times the mean.
    class_sums: Matrix,
}

/// Rows that are centred and multiplied at once.
const BATCH: usize = 1024;

impl Moments {
    /// Nothing seen yet.
    pub(crate) fn new(dim: usize, classes: usize, with_covariance: bool) -> Self {
        Self {
            n: 0,
            counts: vec![0; classes],
            mean: vec![0.0; dim],
            xx: with_covariance.then(|| Matrix::zeros(dim, dim)),
            class_sums: Matrix::zeros(classes, dim),
        }
    }

    /// Takes in rows and their classes.
    ///
    /// # Errors
    /// Another dimension, another number of labels than rows, an unknown class,
    /// or a vector that is not finite. The moments are unchanged then.
    pub(crate) fn update(&mut self, x: &Matrix, label: &[usize]) -> Result<(), FitError> {
        let d = self.mean.len();
        let length = |what, expected, found| FitError::Length {
            what,
            expected,
            found,
        };
        if x.cols() != d {
            return Err(length("dimension of the batch", d, x.cols()));
        }
        if label.len() != x.rows() {
            return Err(length(
                "one class per row of the batch",
                x.rows(),
                label.len(),
            ));
        }
        for (row, &class) in label.iter().enumerate() {
            if class >= self.counts.len() {
                return Err(FitError::UnknownClass {
                    row,
                    label: class,
                    classes: (0..self.counts.len()).map(|c| c.to_string()).collect(),
                });
            }
            if let Some(column) = x.row(row).iter().position(|v| !v.is_finite()) {
                return Err(FitError::NotFinite {
                    row,
                    column,
                    value: x.at(row, column),
                });
            }
        }
        for (rows, label) in x.data().chunks(BATCH * d).zip(label.chunks(BATCH)) {
            self.merge(rows, label);
        }
        Ok(())
    }

    fn merge(&mut self, rows: &[f64], label: &[usize]) {
        let d = self.mean.len();
        let (old, new) = (self.n as f64, label.len() as f64);
        let mut mean = vec![0.0; d];
        for row in rows.chunks_exact(d) {
            axpy(1.0 / new, row, &mut mean);
        }
        let mut centred = rows.to_vec();
        for (row, &class) in centred.chunks_exact_mut(d).zip(label) {
            axpy(-1.0, &mean, row);
            axpy(1.0, row, self.class_sums.row_mut(class));
        }
        // Both parts were centred on their own means; the class sums follow the
        // mean to where it moves.
        let shift: Vec<f64> = mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        let to_old = -new / (old + new);
        let to_new = old / (old + new);
        for class in 0..self.counts.len() {
            let added = label.iter().filter(|&&l| l == class).count();
            let step = self.counts[class] as f64 * to_old + added as f64 * to_new;
            axpy(step, &shift, self.class_sums.row_mut(class));
            self.counts[class] += added;
        }
        if let Some(xx) = &mut self.xx {
            add_gram_lower(xx, &centred, 1.0);
            add_gram_lower(xx, &shift, old * new / (old + new));
        }
        axpy(new / (old + new), &shift, &mut self.mean);
        self.n += label.len();
    }

    /// Rows seen.
    pub(crate) fn count(&self) -> usize {
        self.n
    }

    /// Classes that have been seen.
    pub(crate) fn present(&self) -> Vec<usize> {
        (0..self.counts.len())
            .filter(|&c| self.counts[c] > 0)
            .collect()
    }

    /// Mean of all rows.
    pub(crate) fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Σ (x − μ)(x − μ)ᵀ / divisor, in full.
    pub(crate) fn covariance(&self, divisor: f64) -> Option<Matrix> {
        let mut out = self.xx.clone()?;
        mirror_lower(&mut out);
        out.data_mut().iter_mut().for_each(|v| *v /= divisor);
        Some(out)
    }

    /// Cross-covariance of x with the one-hot classes, d×classes, with Bessel's
    /// correction. Since Σ(x − μ) = 0, Σ(x − μ)(z_c − mean z_c) is the class sum.
    pub(crate) fn cross_covariance(&self) -> Matrix {
        let mut out = self.class_sums.transpose();
        let divisor = (self.n as f64 - 1.0).max(1.0);
        out.data_mut().iter_mut().for_each(|v| *v /= divisor);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_give_what_one_batch_gives() {
        let x = Matrix::from_fn(3000, 4, |i, j| ((i * 31 + j * 17) % 101) as f64 + 1e4);
        let label: Vec<usize> = (0..3000).map(|i| (i / 7) % 3).collect();
        let mut whole = Moments::new(4, 3, true);
        whole.update(&x, &label).unwrap();
        let mut parts = Moments::new(4, 3, true);
        for (from, to) in [(0, 1), (1, 500), (500, 3000)] {
            let rows = x.data()[from * 4..to * 4].to_vec();
            let part = Matrix::new(to - from, 4, rows).unwrap();
            parts.update(&part, &label[from..to]).unwrap();
        }
        let near = |a: &Matrix, b: &Matrix| assert!(a.max_abs_difference(b) < 1e-8);
        near(
            &whole.covariance(2999.0).unwrap(),
            &parts.covariance(2999.0).unwrap(),
        );
        near(&whole.cross_covariance(), &parts.cross_covariance());
        // Against the definition.
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
        near(&whole.covariance(n).unwrap(), &direct);
        let cross = Matrix::from_fn(4, 3, |a, c| {
            let rows = (0..3000).filter(|&i| label[i] == c);
            rows.map(|i| x.at(i, a) - mean[a]).sum::<f64>() / (n - 1.0)
        });
        near(&whole.cross_covariance(), &cross);
    }

    #[test]
    fn spoilt_batches_change_nothing() {
        let mut m = Moments::new(2, 2, true);
        assert!(m.update(&Matrix::zeros(2, 3), &[0, 1]).is_err());
        assert!(m.update(&Matrix::zeros(2, 2), &[0]).is_err());
        assert!(m.update(&Matrix::zeros(2, 2), &[0, 2]).is_err());
        assert!(
            m.update(&Matrix::from_fn(1, 2, |_, _| f64::NAN), &[0])
                .is_err()
        );
        assert_eq!(m.count(), 0);
    }
}
