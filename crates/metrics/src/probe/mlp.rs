//! A perceptron with one hidden layer of rectified linear units.
//!
//! It computes softmax(W₂·max(0, W₁·x + b₁) + b₂) and is trained on the mean cross-entropy by Adam (Kingma & Ba,
//! arXiv 1412.6980) in `f32` on one thread. A tenth of the rows (at least one) is held out. The weights of the epoch
//! with the smallest loss on them are kept; the untrained weights take part in this comparison. Training stops after
//! [`MlpOptions::patience`] epochs in a row without an improvement.
//!
//! The weights start uniform in ±√(6/fan-in) (He et al., arXiv 1502.01852), the biases at 0. The seed determines the
//! weights, the held-out rows and the batches.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::MetricError;

/// The settings of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpOptions {
    /// The number of hidden units.
    pub hidden: usize,
    /// The learning rate of Adam.
    pub learning_rate: f32,
    /// The number of rows of a batch.
    pub batch: usize,
    /// The largest number of epochs.
    pub max_epochs: usize,
    /// The number of epochs without a smaller held-out loss after which training stops.
    pub patience: usize,
}

impl Default for MlpOptions {
    fn default() -> Self {
        Self {
            hidden: 128,
            learning_rate: 1e-3,
            batch: 64,
            max_epochs: 200,
            patience: 10,
        }
    }
}

impl MlpOptions {
    fn check(&self) -> Result<(), MetricError> {
        let counts = [
            ("hidden", self.hidden),
            ("batch", self.batch),
            ("max_epochs", self.max_epochs),
            ("patience", self.patience),
        ];
        let zero = counts.iter().find(|(_, value)| *value == 0);
        let rate = self.learning_rate;
        let bad = match zero {
            Some((name, _)) => Some((*name, "0".to_owned())),
            None if rate > 0.0 && rate.is_finite() => None,
            None => Some(("learning_rate", rate.to_string())),
        };
        match bad {
            Some((name, value)) => Err(MetricError::BadSetting {
                name,
                value,
                expected: "a number above 0",
            }),
            None => Ok(()),
        }
    }
}

/// A trained perceptron.
pub struct Mlp {
    net: Net,
    /// The number of epochs that were trained.
    pub epochs: usize,
    /// The mean cross-entropy of the held-out rows under the weights that are kept, in nats.
    pub held_out_loss: f64,
    /// Whether training stopped before [`MlpOptions::max_epochs`].
    pub converged: bool,
}

/// Trains a perceptron.
///
/// # Shapes
/// `x` is n×`dim`, row after row, with n ≥ 2; `y` has n classes below `classes`.
///
/// # Errors
/// A setting that is 0, or [`MetricError::Undefined`] if a loss overflows.
pub(super) fn fit(
    x: &[f32],
    y: &[usize],
    dim: usize,
    classes: usize,
    options: &MlpOptions,
    seed: u64,
) -> Result<Mlp, MetricError> {
    options.check()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut net = Net::random(dim, options.hidden, classes, &mut rng);
    let mut rows: Vec<usize> = (0..y.len()).collect();
    rows.shuffle(&mut rng);
    let held_out = rows.split_off(y.len() - (y.len() / 10).max(1));
    let held_out = gather(x, y, dim, &held_out);
    let loss_of = |net: &Net| {
        let loss = net.loss(&held_out.0, &held_out.1);
        loss.is_finite()
            .then_some(loss)
            .ok_or(MetricError::Undefined {
                what: "loss of a perceptron",
            })
    };
    let mut best = (loss_of(&net)?, net.clone());
    let mut adam = Adam::new(net.parameters.len(), options.learning_rate);
    let (mut epochs, mut since_best) = (0, 0);
    while epochs < options.max_epochs && since_best < options.patience {
        rows.shuffle(&mut rng);
        for batch in rows.chunks(options.batch) {
            let (x, y) = gather(x, y, dim, batch);
            let gradient = net.gradient(&x, &y);
            adam.step(&mut net.parameters, &gradient);
        }
        epochs += 1;
        since_best += 1;
        let loss = loss_of(&net)?;
        if loss < best.0 {
            best = (loss, net.clone());
            since_best = 0;
        }
    }
    Ok(Mlp {
        net: best.1,
        epochs,
        held_out_loss: best.0,
        converged: since_best >= options.patience,
    })
}

impl Mlp {
    /// Returns ln p of every class for every row.
    ///
    /// # Shapes
    /// `x` is n×d; the result is n×classes, row after row.
    pub(super) fn log_probabilities(&self, x: &[f32]) -> Vec<f64> {
        self.net.log_probabilities(x)
    }
}

fn gather(x: &[f32], y: &[usize], dim: usize, rows: &[usize]) -> (Vec<f32>, Vec<usize>) {
    let mut out = Vec::with_capacity(rows.len() * dim);
    for &row in rows {
        out.extend_from_slice(&x[row * dim..(row + 1) * dim]);
    }
    (out, rows.iter().map(|&row| y[row]).collect())
}

/// The network, all parameters in one list: W₁ d×h, b₁ h, W₂ h×k, b₂ k.
#[derive(Clone)]
struct Net {
    dim: usize,
    hidden: usize,
    classes: usize,
    parameters: Vec<f32>,
}

/// Rows that are evaluated together.
const CHUNK: usize = 1024;

impl Net {
    fn random(dim: usize, hidden: usize, classes: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut parameters = vec![0.0; dim * hidden + hidden + hidden * classes + classes];
        let (first, second) = parameters.split_at_mut(dim * hidden + hidden);
        for (weights, fan_in) in [
            (&mut first[..dim * hidden], dim),
            (&mut second[..hidden * classes], hidden),
        ] {
            let bound = (6.0 / fan_in as f32).sqrt();
            weights
                .iter_mut()
                .for_each(|w| *w = bound * (2.0 * rng.random::<f32>() - 1.0));
        }
        Self {
            dim,
            hidden,
            classes,
            parameters,
        }
    }

    /// W₁, b₁, W₂, b₂.
    fn layers(&self) -> [&[f32]; 4] {
        let (w1, rest) = self.parameters.split_at(self.dim * self.hidden);
        let (b1, rest) = rest.split_at(self.hidden);
        let (w2, b2) = rest.split_at(self.hidden * self.classes);
        [w1, b1, w2, b2]
    }

    /// Hidden activations n×h and scores n×k.
    fn forward(&self, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let n = x.len() / self.dim;
        let [w1, b1, w2, b2] = self.layers();
        let mut hidden = b1.repeat(n);
        add_product(&mut hidden, (x, n, self.dim), (w1, self.hidden));
        hidden.iter_mut().for_each(|v| *v = v.max(0.0));
        let mut scores = b2.repeat(n);
        add_product(&mut scores, (&hidden, n, self.hidden), (w2, self.classes));
        (hidden, scores)
    }

    fn log_probabilities(&self, x: &[f32]) -> Vec<f64> {
        let mut out = Vec::with_capacity(x.len() / self.dim * self.classes);
        for x in x.chunks(CHUNK * self.dim) {
            let (_, scores) = self.forward(x);
            for row in scores.chunks_exact(self.classes) {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let shifted = |s: &f32| f64::from(*s) - f64::from(largest);
                let total = row.iter().map(|s| shifted(s).exp()).sum::<f64>().ln();
                out.extend(row.iter().map(|s| shifted(s) - total));
            }
        }
        out
    }

    /// Mean cross-entropy, in nats.
    fn loss(&self, x: &[f32], y: &[usize]) -> f64 {
        let log_p = self.log_probabilities(x);
        let rows = log_p.chunks_exact(self.classes).zip(y);
        -rows.map(|(row, &class)| row[class]).sum::<f64>() / y.len() as f64
    }

    /// Gradient of the mean cross-entropy, in the order of the parameters.
    fn gradient(&self, x: &[f32], y: &[usize]) -> Vec<f32> {
        let (n, d, h, k) = (y.len(), self.dim, self.hidden, self.classes);
        let (hidden, scores) = self.forward(x);
        let [w1, b1, w2, _] = self.layers();
        // ∂loss/∂scores = (p − one-hot)/n.
        let mut by_score = scores;
        for (row, &class) in by_score.chunks_exact_mut(k).zip(y) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|s| *s = (*s - largest).exp());
            let total = row.iter().sum::<f32>() * n as f32;
            row.iter_mut().for_each(|s| *s /= total);
            row[class] -= 1.0 / n as f32;
        }
        let mut by_hidden = vec![0.0; n * h];
        matmul(
            MatMut::from_row_major_slice_mut(&mut by_hidden, n, h),
            Accum::Replace,
            MatRef::from_row_major_slice(&by_score, n, k),
            MatRef::from_row_major_slice(w2, h, k).transpose(),
            1.0,
            Par::Seq,
        );
        for (g, v) in by_hidden.iter_mut().zip(&hidden) {
            if *v <= 0.0 {
                *g = 0.0;
            }
        }
        let mut out = vec![0.0; self.parameters.len()];
        let (out1, rest) = out.split_at_mut(w1.len());
        let (out_b1, rest) = rest.split_at_mut(b1.len());
        let (out2, out_b2) = rest.split_at_mut(w2.len());
        add_outer(out1, (x, d), (&by_hidden, h), n);
        add_outer(out2, (&hidden, h), (&by_score, k), n);
        for (sums, rows) in [(out_b1, &by_hidden), (out_b2, &by_score)] {
            for row in rows.chunks_exact(sums.len()) {
                sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
        }
        out
    }
}

/// out += a·b for a n×m and b m×p.
fn add_product(out: &mut [f32], a: (&[f32], usize, usize), b: (&[f32], usize)) {
    let ((a, n, m), (b, p)) = (a, b);
    matmul(
        MatMut::from_row_major_slice_mut(out, n, p),
        Accum::Add,
        MatRef::from_row_major_slice(a, n, m),
        MatRef::from_row_major_slice(b, m, p),
        1.0,
        Par::Seq,
    );
}

/// out = aᵀ·b for a n×m and b n×p.
fn add_outer(out: &mut [f32], a: (&[f32], usize), b: (&[f32], usize), n: usize) {
    let ((a, m), (b, p)) = (a, b);
    matmul(
        MatMut::from_row_major_slice_mut(out, m, p),
        Accum::Replace,
        MatRef::from_row_major_slice(a, n, m).transpose(),
        MatRef::from_row_major_slice(b, n, p),
        1.0,
        Par::Seq,
    );
}

/// Adam with β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
struct Adam {
    rate: f32,
    mean: Vec<f32>,
    square: Vec<f32>,
    /// β₁ᵗ and β₂ᵗ.
    decay: (f32, f32),
}

impl Adam {
    fn new(parameters: usize, rate: f32) -> Self {
        Self {
            rate,
            mean: vec![0.0; parameters],
            square: vec![0.0; parameters],
            decay: (1.0, 1.0),
        }
    }

    fn step(&mut self, parameters: &mut [f32], gradient: &[f32]) {
        const BETA: (f32, f32) = (0.9, 0.999);
        self.decay = (self.decay.0 * BETA.0, self.decay.1 * BETA.1);
        let correction = (1.0 - self.decay.0, 1.0 - self.decay.1);
        for i in 0..parameters.len() {
            let g = gradient[i];
            self.mean[i] = BETA.0 * self.mean[i] + (1.0 - BETA.0) * g;
            self.square[i] = BETA.1 * self.square[i] + (1.0 - BETA.1) * g * g;
            let deviation = (self.square[i] / correction.1).sqrt() + 1e-8;
            parameters[i] -= self.rate * (self.mean[i] / correction.0) / deviation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient against differences of the loss.
    #[test]
    fn gradient_is_the_slope_of_the_loss() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (n, d, h, k) = (9, 4, 6, 3);
        let mut net = Net::random(d, h, k, &mut rng);
        net.parameters
            .iter_mut()
            .for_each(|w| *w += 0.1 * (rng.random::<f32>() - 0.5));
        let x: Vec<f32> = (0..n * d)
            .map(|_| 2.0 * rng.random::<f32>() - 1.0)
            .collect();
        let y: Vec<usize> = (0..n).map(|i| i % k).collect();
        let gradient = net.gradient(&x, &y);
        let mut compared = 0;
        for (i, found) in gradient.iter().enumerate() {
            let at = |step: f32| {
                let mut moved = net.clone();
                moved.parameters[i] += step;
                // The kink of a rectified unit inside the step has no slope.
                let signs: Vec<bool> = moved.forward(&x).0.iter().map(|v| *v > 0.0).collect();
                (moved.loss(&x, &y), signs)
            };
            let ((high, above), (low, below)) = (at(4e-3), at(-4e-3));
            if above == below {
                let slope = (high - low) / 8e-3;
                assert!((slope - f64::from(*found)).abs() < 2e-4, "{i}: {slope}");
                compared += 1;
            }
        }
        assert!(compared > gradient.len() * 3 / 4, "{compared}");
    }

    /// Adam's first step is the learning rate against the sign of the gradient.
    #[test]
    fn first_step_of_adam() {
        let mut parameters = [1.0, 1.0, 1.0];
        Adam::new(3, 0.1).step(&mut parameters, &[5.0, -0.01, 0.0]);
        for (found, expect) in parameters.iter().zip([0.9_f32, 1.1, 1.0]) {
            assert!((found - expect).abs() < 1e-5);
        }
    }
}
