//! Scales features to mean 0 and variance 1.

use rayon::prelude::*;

/// The map x ↦ (x − shift)·factor, applied feature by feature.
pub(super) struct Scaler {
    shift: Vec<f64>,
    factor: Vec<f64>,
}

/// A standard deviation below this share of the mean is the rounding of `f32`
/// states around a constant, and scaling would blow it up into a feature.
const CONSTANT: f64 = 1e-7;

impl Scaler {
    /// Makes a scaler that leaves every feature as it is.
    pub(super) fn none(dim: usize) -> Self {
        Self {
            shift: vec![0.0; dim],
            factor: vec![1.0; dim],
        }
    }

    /// Computes the means and standard deviations (over n, not n − 1) of the rows. The factor of a constant feature
    /// is 0.
    pub(super) fn fit(x: &[f32], dim: usize) -> Self {
        let n = (x.len() / dim) as f64;
        let over_rows = |add: &dyn Fn(usize, f32) -> f64| {
            let mut sums = vec![0.0; dim];
            for row in x.chunks_exact(dim) {
                for (j, (sum, &v)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += add(j, v);
                }
            }
            sums
        };
        let mut shift = over_rows(&|_, v| f64::from(v));
        shift.iter_mut().for_each(|m| *m /= n);
        let squares = over_rows(&|j, v| (f64::from(v) - shift[j]).powi(2));
        let factor = squares
            .iter()
            .zip(&shift)
            .map(|(s, m)| {
                let deviation = (s / n).sqrt();
                let constant = deviation <= CONSTANT * m.abs() || deviation == 0.0;
                if constant { 0.0 } else { 1.0 / deviation }
            })
            .collect();
        Self { shift, factor }
    }

    /// # Shapes
    /// `x` n×d, and so is the answer.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f64> {
        let dim = self.shift.len();
        let mut out = vec![0.0; x.len()];
        out.par_chunks_exact_mut(dim)
            .zip(x.par_chunks_exact(dim))
            .for_each(|(out, row)| {
                for j in 0..dim {
                    out[j] = (f64::from(row[j]) - self.shift[j]) * self.factor[j];
                }
            });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_become_zero() {
        let x = [1.0, 7.0, 1e4, 3.0, 7.0, 1e4 + 9e-4];
        let scaled = Scaler::fit(&x, 3).apply(&x);
        assert_eq!(scaled, [-1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let unseen = Scaler::fit(&x, 3).apply(&[2.0, 9.0, 0.0]);
        assert_eq!(unseen, [0.0, 0.0, 0.0]);
    }
}
