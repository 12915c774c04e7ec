//! Logistic regression with intercept, restricted to the nullspace of some directions.
//!
//! It minimises over W and b the mean cross-entropy of softmax(W·x + b) + ½·α·‖W‖², with W orthogonal to the
//! directions. With two classes W has one row and the logistic function is used. The problem is convex and is solved
//! by L-BFGS (Nocedal & Wright, *Numerical Optimization*, 2006, algorithm 7.4) with a backtracking line search.

use std::collections::VecDeque;

use crate::{FitError, Matrix};
use interlingua_edits::{axpy, dot, norm};

/// Weight of the penalty: that of the classifiers R-LACE is evaluated with.
const ALPHA: f64 = 1e-4;

/// Length of the gradient to reach, relative to its start. The objective is
/// α-strongly convex in W, so that the loss is then within about 10⁻⁵ of its least.
const TOLERANCE: f64 = 1e-5;

const MAX_ITERATIONS: usize = 5000;
const HISTORY: usize = 10;

/// A linear predictor of m classes: m rows of weights, 1 for two classes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Predictor {
    /// The weights row after row, followed by the intercepts.
    pub parameters: Vec<f64>,
    dim: usize,
}

/// The quality of a predictor on some rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Score {
    /// The mean cross-entropy, in nats.
    pub loss: f64,
    /// The share of rows whose class is predicted.
    pub accuracy: f64,
}

impl Predictor {
    /// Makes a predictor with all parameters zero.
    pub fn zero(classes: usize, dim: usize) -> Self {
        let rows = if classes == 2 { 1 } else { classes };
        Self {
            parameters: vec![0.0; rows * (dim + 1)],
            dim,
        }
    }

    /// Returns the number of rows of weights.
    pub fn rows(&self) -> usize {
        self.parameters.len() / (self.dim + 1)
    }

    /// Returns the weights of row `r`.
    pub fn weights(&self, r: usize) -> &[f64] {
        &self.parameters[r * self.dim..(r + 1) * self.dim]
    }

    /// Returns the intercept of row `r`.
    pub fn intercept(&self, r: usize) -> f64 {
        self.parameters[self.rows() * self.dim + r]
    }

    /// Trains the predictor from its present state to the one with the smallest loss among those orthogonal to
    /// `basis`.
    ///
    /// # Shapes
    /// `x` is n×d; `class` has n values in 0..m; `basis` has orthonormal rows of length d.
    ///
    /// # Errors
    /// A descent that did not converge, with its last gradient.
    pub fn train(
        &mut self,
        x: &Matrix,
        class: &[usize],
        basis: &[Vec<f64>],
    ) -> Result<Score, FitError> {
        self.project(basis);
        let (mut value, mut gradient, mut score) = self.objective(x, class, basis);
        let zero = Self {
            parameters: vec![0.0; self.parameters.len()],
            dim: self.dim,
        };
        let start = norm(&zero.objective(x, class, basis).1);
        let goal = TOLERANCE * start;
        let mut history: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
        for _ in 0..MAX_ITERATIONS {
            if norm(&gradient) <= goal {
                return Ok(score);
            }
            let direction = descent(&gradient, &history);
            let slope = dot(&direction, &gradient);
            let mut length = if history.is_empty() {
                1.0 / norm(&gradient)
            } else {
                1.0
            };
            let mut next = self.clone();
            let (next_value, next_gradient, next_score) = loop {
                next.parameters.clone_from(&self.parameters);
                axpy(length, &direction, &mut next.parameters);
                let tried = next.objective(x, class, basis);
                if tried.0 <= value + 1e-4 * length * slope {
                    break tried;
                }
                length *= 0.5;
                if length < 1e-14 {
                    // No step along a descent direction lowers the value: it is
                    // down to rounding.
                    return if norm(&gradient) <= 1e3 * goal {
                        Ok(score)
                    } else {
                        Err(self.stuck(&gradient, start))
                    };
                }
            };
            let moved: Vec<f64> = next
                .parameters
                .iter()
                .zip(&self.parameters)
                .map(|(a, b)| a - b)
                .collect();
            let turned: Vec<f64> = next_gradient
                .iter()
                .zip(&gradient)
                .map(|(a, b)| a - b)
                .collect();
            if dot(&moved, &turned) > 1e-12 * norm(&moved) * norm(&turned) {
                history.push_back((moved, turned));
                if history.len() > HISTORY {
                    history.pop_front();
                }
            }
            *self = next;
            (value, gradient, score) = (next_value, next_gradient, next_score);
        }
        Err(self.stuck(&gradient, start))
    }

    fn stuck(&self, gradient: &[f64], start: f64) -> FitError {
        FitError::NoConvergence {
            what: "logistic regression on the projected states".to_owned(),
            iterations: MAX_ITERATIONS,
            gradient: norm(gradient) / start,
            tolerance: TOLERANCE,
        }
    }

    fn project(&mut self, basis: &[Vec<f64>]) {
        let (rows, dim) = (self.rows(), self.dim);
        for weights in self.parameters[..rows * dim].chunks_exact_mut(dim) {
            for b in basis {
                axpy(-dot(b, weights), b, weights);
            }
        }
    }

    /// Objective, its projected gradient, and the score.
    fn objective(&self, x: &Matrix, class: &[usize], basis: &[Vec<f64>]) -> (f64, Vec<f64>, Score) {
        let (n, rows, d) = (x.rows() as f64, self.rows(), self.dim);
        let mut gradient = Predictor {
            parameters: vec![0.0; self.parameters.len()],
            dim: d,
        };
        let (mut loss, mut hits) = (0.0, 0_usize);
        let mut logits = vec![0.0; rows];
        for (i, &class) in class.iter().enumerate() {
            let row = x.row(i);
            for (r, logit) in logits.iter_mut().enumerate() {
                *logit = dot(self.weights(r), row) + self.intercept(r);
            }
            let (nats, hit) = residuals(&mut logits, class);
            loss += nats / n;
            hits += usize::from(hit);
            for (r, residual) in logits.iter().enumerate() {
                axpy(
                    residual / n,
                    row,
                    &mut gradient.parameters[r * d..(r + 1) * d],
                );
                gradient.parameters[rows * d + r] += residual / n;
            }
        }
        gradient.project(basis);
        let weights = &self.parameters[..rows * d];
        axpy(ALPHA, weights, &mut gradient.parameters[..rows * d]);
        let value = loss + 0.5 * ALPHA * dot(weights, weights);
        let score = Score {
            loss,
            accuracy: hits as f64 / n,
        };
        (value, gradient.parameters, score)
    }
}

/// Replaces the logits of one row by the derivatives of its cross-entropy with respect to them. Returns the
/// cross-entropy and whether the class was predicted.
///
/// A single logit stands for two classes and is positive for class 1.
pub(crate) fn residuals(logits: &mut [f64], class: usize) -> (f64, bool) {
    if let [logit] = logits {
        let s = *logit;
        // ln(1 + e^s) without overflow.
        let soft = s.max(0.0) + (-s.abs()).exp().ln_1p();
        let target = f64::from(u8::from(class == 1));
        let hit = (s > 0.0) == (class == 1);
        *logit = 1.0 / (1.0 + (-s).exp()) - target;
        return (soft - target * s, hit);
    }
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|s| (s - largest).exp()).sum();
    let named = logits.iter().position(|&s| s == largest);
    let nats = largest + total.ln() - logits[class];
    for (c, s) in logits.iter_mut().enumerate() {
        *s = (*s - largest).exp() / total - f64::from(u8::from(c == class));
    }
    (nats, named == Some(class))
}

/// −H·g, H the inverse Hessian as the last steps show it.
fn descent(gradient: &[f64], history: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut out: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut weights = Vec::with_capacity(history.len());
    for (moved, turned) in history.iter().rev() {
        let weight = dot(moved, &out) / dot(moved, turned);
        axpy(-weight, turned, &mut out);
        weights.push(weight);
    }
    if let Some((moved, turned)) = history.back() {
        let scale = dot(moved, turned) / dot(turned, turned);
        out.iter_mut().for_each(|v| *v *= scale);
    }
    for ((moved, turned), weight) in history.iter().zip(weights.iter().rev()) {
        axpy(
            weight - dot(turned, &out) / dot(moved, turned),
            moved,
            &mut out,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With no use of x, the best prediction is the class shares: the loss is their
    /// entropy and the accuracy that of the majority.
    #[test]
    fn nothing_to_see() {
        for (classes, label) in [(2, vec![0, 1, 1, 0, 1, 1]), (3, vec![0, 1, 2, 1, 1, 1])] {
            let x = Matrix::from_fn(6, 2, |i, _| f64::from(u8::from(i == 0)));
            let mut predictor = Predictor::zero(classes, 2);
            let diagonal = vec![0.5_f64.sqrt(); 2];
            let score = predictor.train(&x, &label, &[diagonal]).unwrap();
            let share = |c| label.iter().filter(|&&l| l == c).count() as f64 / 6.0;
            let shares: Vec<f64> = (0..classes).map(share).collect();
            let entropy: f64 = shares.iter().map(|p| -p * p.ln()).sum();
            assert!((score.loss - entropy).abs() < 1e-8, "{score:?}");
            let majority = shares.iter().copied().fold(0.0, f64::max);
            assert!((score.accuracy - majority).abs() < 1e-12);
        }
    }

    /// On one feature of ±1 with a share of wrong labels the optimum can be written
    /// down: σ(w) is the share of right ones, but for the tiny penalty.
    #[test]
    fn matches_the_closed_form() {
        let sign = |i: usize| [1.0, -1.0][i % 2];
        let x = Matrix::from_fn(40, 1, |i, _| sign(i));
        let label: Vec<usize> = (0..40).map(|i| (i + usize::from(i < 8)) % 2).collect();
        let expect = (0.8_f64 / 0.2).ln();
        let mut two = Predictor::zero(2, 1);
        let score = two.train(&x, &label, &[]).unwrap();
        assert!((two.weights(0)[0] + expect).abs() < 2e-3, "{two:?}");
        assert!((score.accuracy - 0.8).abs() < 1e-12);
        // The same as two of three classes.
        let mut three = Predictor::zero(3, 1);
        let same = three.train(&x, &label, &[]).unwrap();
        assert!((same.loss - score.loss).abs() < 2e-3, "{same:?} {score:?}");
    }

    #[test]
    fn residuals_are_derivatives() {
        for logits in [vec![0.7], vec![-40.0], vec![0.3, -1.2, 2.0]] {
            for class in 0..logits.len().max(2) {
                let mut slope = logits.clone();
                residuals(&mut slope, class);
                for r in 0..logits.len() {
                    let at = |step: f64| {
                        let mut moved = logits.clone();
                        moved[r] += step;
                        residuals(&mut moved, class).0
                    };
                    let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!((difference - slope[r]).abs() < 1e-8);
                }
            }
        }
        // Extreme logits stay finite.
        for logits in [vec![1e300], vec![-1e300], vec![1e300, -1e300, 0.0]] {
            let mut slope = logits;
            assert!(residuals(&mut slope, 0).0.is_finite() && slope.iter().all(|v| v.is_finite()));
        }
    }
}
