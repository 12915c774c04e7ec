//! R-LACE: relaxed linear adversarial concept erasure.
//!
//! # Source
//! Ravfogel et al., "Linear Adversarial Concept Erasure", ICML 2022 (arXiv
//! 2201.12091), with the settings of the authors' code.
//!
//! Formula: min over a linear predictor (W, b), max over P of the mean cross-entropy of W·(I − P)·x + b, with P in
//! the fantope {0 ≼ P ≼ I, tr P = k}, the convex hull of the projections of rank k. Each step moves P up the gradient
//! on one random batch, projects it onto the fantope, and moves the predictor down the gradient on another batch. At
//! intervals P is made a projection by keeping its k leading eigenvectors V, and a new predictor is trained to
//! convergence on (I − VVᵀ)x. The V for which that predictor has the highest loss is kept. Training stops when the
//! accuracy of that predictor is the share of the majority class. In the end x ↦ x − V·Vᵀ·x.
//!
//! The projection of P onto the fantope keeps the eigenvectors and replaces each eigenvalue λ by min(max(λ − θ, 0),
//! 1), with θ such that the results add up to k.
//!
//! # Cost
//! Gradients have rank m (one for two classes), and the projection sets all but a few eigenvalues to exactly 0. So P
//! is kept as τ·I + Bᵀ·diag(λ − τ)·B with the r eigenvectors B whose eigenvalues differ from τ, and a step costs
//! O(batch·d·m + r²·d) instead of the O(d³) of a dense eigendecomposition. P is the same up to rounding. A typical r
//! is a few tens, and no d×d matrix is formed.
//!
//! # What is ours
//! The states are centred and divided by one number so that their mean squared length is d, because gradient steps of
//! a fixed size do not suit states of every size. This changes no subspace. Training starts at a few random
//! directions of equal eigenvalue, to which the fantope reduces a random symmetric matrix, too. The predictor that
//! evaluates a subspace is converged, where the authors' code takes the best of three that were trained by stochastic
//! gradient descent.
//!
//! # Shapes
//! x is n×d, W is m×d (one row for two classes), P is d×d, and V is d×k.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{fitted_projection, majority};
use crate::control::haar_basis;
use crate::fitted::named;
use crate::linalg::{extend_basis, symmetric_eigen};
use crate::logistic::{Predictor, Score, residuals};
use crate::options::{ParamSpec, Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Matrix, Needs};
use interlingua_edits::{axpy, dot, norm};

/// R-LACE. The rank defaults to 1.
///
/// Notes of the fit: `majority` is the share of the largest class; `accuracy` and `loss` (nats) are those of the
/// evaluating predictor on the states of the fit after the edit; `steps` is the number of steps. An `accuracy` above
/// `majority` after all steps means that the rank did not suffice, or that there are too few examples for the
/// dimension.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rlace;

const METHOD: &str = "rlace";

/// Random directions to start from, for each direction asked for.
const START: usize = 4;

/// A gradient that leaves the basis by less than this share of its length is in it.
const INSIDE: f64 = 1e-12;

/// Eigenvalues this near to the common one have become it.
const SAME: f64 = 1e-13;

impl Debiaser for Rlace {
    fn name(&self) -> &'static str {
        METHOD
    }

    fn title(&self) -> &'static str {
        "R-LACE"
    }

    fn citation(&self) -> &'static str {
        "Ravfogel et al. 2022, arXiv 2201.12091"
    }

    fn summary(&self) -> &'static str {
        "Trains a projection against a linear predictor until the predictor can no longer tell the groups."
    }

    fn docs(&self) -> &'static str {
        "methods/rlace.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            seed: true,
            ..Needs::default()
        }
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec {
                name: "steps",
                default: "75000",
                help: "the largest number of steps, each of which is one of the projection and one of the predictor",
            },
            ParamSpec {
                name: "batch",
                default: "128",
                help: "the number of examples in a batch; all are used if there are fewer",
            },
            ParamSpec {
                name: "learning_rate",
                default: "0.005",
                help: "the learning rate of projection and predictor",
            },
            ParamSpec {
                name: "weight_decay",
                default: "0.0001",
                help: "the weight decay of projection and predictor; a step applies it times the learning rate",
            },
            ParamSpec {
                name: "evaluate_every",
                default: "1000",
                help: "the number of steps between two evaluations of the projection",
            },
            ParamSpec {
                name: "epsilon",
                default: "0.0015",
                help: "training stops when the accuracy is this close to the share of the largest class",
            },
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        Settings::read(options).map(|_| ())
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        let settings = Settings::read(options)?;
        data.check()?;
        let present = data.require_classes(METHOD, 2)?;
        let d = data.dim();
        let rank = rank_within(METHOD, options, 1, d)?;
        let x = standardised(&data.x, rank)?;
        let class: Vec<usize> = (data.label.iter())
            .map(|label| present.partition_point(|c| c < label))
            .collect();
        let mut game = Game::new(&x, &class, present.len(), rank, options.seed);
        let majority = majority(data);
        let mut judge = Predictor::zero(present.len(), d);
        let mut best: Option<(Score, Vec<Vec<f64>>)> = None;
        let mut step = 0;
        while step < settings.steps {
            step += 1;
            game.play(&settings, step)?;
            if step % settings.evaluate_every != 0 && step != settings.steps {
                continue;
            }
            let directions = game.relaxed.leading(rank)?;
            let score = judge.train(&x, &class, &directions)?;
            let better = |(least, _): &(Score, Vec<Vec<f64>>)| score.loss > least.loss;
            if best.as_ref().is_none_or(better) {
                best = Some((score, directions));
            }
            if let Some((score, _)) = &best
                && (score.accuracy - majority).abs() < settings.epsilon
            {
                break;
            }
        }
        let (score, directions) = best.expect("`steps` is at least 1 and the last is judged");
        let notes = [
            ("majority", majority),
            ("accuracy", score.accuracy),
            ("loss", score.loss),
            ("steps", step as f64),
        ];
        fitted_projection(&Matrix::from_rows(&directions, d), named(notes))
    }
}

struct Settings {
    steps: usize,
    batch: usize,
    learning_rate: f64,
    weight_decay: f64,
    evaluate_every: usize,
    epsilon: f64,
}

impl Settings {
    fn read(options: &FitOptions) -> Result<Self, FitError> {
        let params = Params::new(METHOD, Rlace.params(), options)?;
        Ok(Self {
            steps: params.count("steps")?.unwrap_or(75_000),
            batch: params.count("batch")?.unwrap_or(128),
            learning_rate: params.positive("learning_rate")?.unwrap_or(0.005),
            weight_decay: params.positive("weight_decay")?.unwrap_or(1e-4),
            evaluate_every: params.count("evaluate_every")?.unwrap_or(1000),
            epsilon: params.positive("epsilon")?.unwrap_or(0.0015),
        })
    }
}

/// The rows around their mean, with mean squared length d.
fn standardised(x: &Matrix, rank: usize) -> Result<Matrix, FitError> {
    let (n, d) = (x.rows(), x.cols());
    let mut mean = vec![0.0; d];
    for i in 0..n {
        axpy(1.0 / n as f64, x.row(i), &mut mean);
    }
    let mut out = x.clone();
    for i in 0..n {
        axpy(-1.0, &mean, out.row_mut(i));
    }
    let lengths: Vec<f64> = (0..n).map(|i| norm(out.row(i))).collect();
    let typical = norm(&lengths) / (n as f64).sqrt();
    if !typical.is_finite() {
        return Err(FitError::Overflow {
            what: "the variance of the states",
        });
    }
    // Equal rows differ from their mean by its rounding.
    if typical <= 1e-13 * norm(&mean) || typical == 0.0 {
        return Err(FitError::Degenerate {
            method: METHOD,
            rank,
            found: 0,
        });
    }
    let unit = typical / (d as f64).sqrt();
    out.data_mut().iter_mut().for_each(|v| *v /= unit);
    Ok(out)
}

/// Both players.
struct Game<'a> {
    x: &'a Matrix,
    class: &'a [usize],
    rank: usize,
    rng: ChaCha8Rng,
    relaxed: Relaxed,
    predictor: Predictor,
}

impl<'a> Game<'a> {
    fn new(x: &'a Matrix, class: &'a [usize], classes: usize, rank: usize, seed: u64) -> Self {
        let d = x.cols();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut predictor = Predictor::zero(classes, d);
        let bound = 1.0 / (d as f64).sqrt();
        for p in &mut predictor.parameters {
            *p = rng.random_range(-bound..=bound);
        }
        Self {
            x,
            class,
            rank,
            relaxed: Relaxed::random(rank, d, rng.random()),
            predictor,
            rng,
        }
    }

    /// One step of the projection, then one of the predictor.
    fn play(&mut self, settings: &Settings, step: usize) -> Result<(), FitError> {
        let diverged = || FitError::Diverged {
            method: METHOD,
            step,
            learning_rate: settings.learning_rate,
        };
        let lr = settings.learning_rate;
        let keep = 1.0 - lr * settings.weight_decay;
        let rows = self.predictor.rows();
        let (means, _) = self.mean_residuals(settings.batch);
        // The logits are w·(I − P)·x, so that the loss grows along −q·wᵀ.
        let gradients: Vec<(Vec<f64>, &[f64])> = means
            .into_iter()
            .enumerate()
            .map(|(r, q)| (q, self.predictor.weights(r)))
            .collect();
        if !gradients
            .iter()
            .all(|(q, w)| (norm(q) * norm(w)).is_finite())
        {
            return Err(diverged());
        }
        self.relaxed.ascend(&gradients, lr, keep, self.rank)?;

        let (means, intercepts) = self.mean_residuals(settings.batch);
        for p in &mut self.predictor.parameters {
            *p *= keep;
        }
        let d = self.x.cols();
        for (r, (q, b)) in means.iter().zip(intercepts).enumerate() {
            let gradient = self.relaxed.rest(q);
            let weights = &mut self.predictor.parameters[r * d..(r + 1) * d];
            axpy(-lr, &gradient, weights);
            self.predictor.parameters[rows * d + r] -= lr * b;
        }
        if self.predictor.parameters.iter().all(|p| p.is_finite()) {
            Ok(())
        } else {
            Err(diverged())
        }
    }

    /// Over a random batch and for every row of the predictor: the means of g·x and
    /// of g, with g the derivative of the loss by the logit.
    fn mean_residuals(&mut self, batch: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
        let (n, d, rows) = (self.x.rows(), self.x.cols(), self.predictor.rows());
        let batch = batch.min(n);
        let seen: Vec<Vec<f64>> = (0..rows)
            .map(|r| self.relaxed.rest(self.predictor.weights(r)))
            .collect();
        let (mut means, mut intercepts) = (vec![vec![0.0; d]; rows], vec![0.0; rows]);
        let mut logits = vec![0.0; rows];
        for i in rand::seq::index::sample(&mut self.rng, n, batch) {
            let x = self.x.row(i);
            for (r, logit) in logits.iter_mut().enumerate() {
                *logit = dot(&seen[r], x) + self.predictor.intercept(r);
            }
            residuals(&mut logits, self.class[i]);
            for (r, g) in logits.iter().enumerate() {
                axpy(g / batch as f64, x, &mut means[r]);
                intercepts[r] += g / batch as f64;
            }
        }
        (means, intercepts)
    }
}

/// A point P = τ·I + Bᵀ·diag(λ − τ)·B of the fantope.
#[derive(Debug, Clone, PartialEq)]
struct Relaxed {
    dim: usize,
    /// τ, the eigenvalue of everything orthogonal to the basis.
    common: f64,
    /// The rows of B, orthonormal.
    basis: Vec<Vec<f64>>,
    /// λ, one for each row of B.
    values: Vec<f64>,
}

impl Relaxed {
    /// Random directions of equal eigenvalue.
    fn random(rank: usize, dim: usize, seed: u64) -> Self {
        let k = (START * rank).min(dim);
        let haar = haar_basis(k, dim, seed);
        Self {
            dim,
            common: 0.0,
            basis: (0..k).map(|i| haar.row(i).to_vec()).collect(),
            values: vec![rank as f64 / k as f64; k],
        }
    }

    /// (I − P)·v.
    fn rest(&self, v: &[f64]) -> Vec<f64> {
        let mut out: Vec<f64> = v.iter().map(|x| (1.0 - self.common) * x).collect();
        for (b, value) in self.basis.iter().zip(&self.values) {
            axpy((self.common - value) * dot(b, v), b, &mut out);
        }
        out
    }

    /// P ← the nearest point of the fantope to keep·P − lr·Σ ½(q·wᵀ + w·qᵀ).
    ///
    /// All that happens in the span of B, the q and the w: there P is a small
    /// matrix, and everywhere else it stays a multiple of the identity.
    fn ascend(
        &mut self,
        gradients: &[(Vec<f64>, &[f64])],
        lr: f64,
        keep: f64,
        rank: usize,
    ) -> Result<(), FitError> {
        for v in gradients.iter().flat_map(|(q, w)| [q, *w]) {
            // A full basis leaves rounding only, which is no direction.
            if self.basis.len() < self.dim {
                extend_basis(&mut self.basis, v, INSIDE);
            }
        }
        let k = self.basis.len();
        self.values.resize(k, self.common);
        let coordinates =
            |v: &[f64]| -> Vec<f64> { self.basis.iter().map(|b| dot(b, v)).collect() };
        let mut small = Matrix::zeros(k, k);
        for i in 0..k {
            small.row_mut(i)[i] = keep * self.values[i];
        }
        for (q, w) in gradients {
            let (q, w) = (coordinates(q), coordinates(w));
            for i in 0..k {
                for j in 0..k {
                    small.row_mut(i)[j] -= 0.5 * lr * (q[i] * w[j] + w[i] * q[j]);
                }
            }
        }
        let (mut values, vectors) = symmetric_eigen(&small, "eigendecomposition of R-LACE's P")?;
        let mut common = keep * self.common;
        let theta = fantope_shift(&values, common, self.dim - k, rank);
        for value in values.iter_mut().chain([&mut common]) {
            *value = (*value - theta).clamp(0.0, 1.0);
        }
        let rotated: Vec<(Vec<f64>, f64)> = (0..k)
            .filter(|&i| k == self.dim || (values[i] - common).abs() > SAME)
            .map(|i| {
                let mut direction = vec![0.0; self.dim];
                for (j, b) in self.basis.iter().enumerate() {
                    axpy(vectors.at(i, j), b, &mut direction);
                }
                (direction, values[i])
            })
            .collect();
        self.common = common;
        (self.basis, self.values) = rotated.into_iter().unzip();
        Ok(())
    }

    /// An orthonormal basis of the leading eigenvectors.
    ///
    /// The eigenvalues are at most 1 and add up to the rank, so at least as many
    /// as the rank are above the common one, unless all are equal.
    fn leading(&self, rank: usize) -> Result<Vec<Vec<f64>>, FitError> {
        let mut order: Vec<usize> = (0..self.basis.len()).collect();
        order.sort_by(|&a, &b| self.values[b].total_cmp(&self.values[a]));
        let mut out = Vec::with_capacity(rank);
        for &i in order
            .iter()
            .filter(|&&i| self.values[i] > self.common || self.basis.len() == self.dim)
        {
            if out.len() < rank {
                extend_basis(&mut out, &self.basis[i], 1e-9);
            }
        }
        if out.len() < rank {
            return Err(FitError::Degenerate {
                method: METHOD,
                rank,
                found: out.len(),
            });
        }
        Ok(out)
    }
}

/// Computes the eigenvalues of the nearest point of the fantope of a rank from those of a symmetric matrix: min(max(λ
/// − θ, 0), 1) with θ such that they add up to the rank.
///
/// # Shapes
/// `values` has d eigenvalues in any order; the result has d values in the same order.
///
/// # Errors
/// A rank outside 1..=number of values, or a value that is not finite.
///
/// # Source
/// Vu et al., "Fantope Projection and Selection", NIPS 2013, lemma 4.1.
pub fn fantope_eigenvalues(values: &[f64], rank: usize) -> Result<Vec<f64>, FitError> {
    if rank == 0 || rank > values.len() {
        return Err(FitError::RankOutOfRange {
            method: METHOD,
            rank,
            max: values.len(),
        });
    }
    if let Some(column) = values.iter().position(|v| !v.is_finite()) {
        return Err(FitError::NotFinite {
            row: 0,
            column,
            value: values[column],
        });
    }
    let theta = fantope_shift(values, 0.0, 0, rank);
    Ok(values.iter().map(|v| (v - theta).clamp(0.0, 1.0)).collect())
}

/// θ for the given values and `times` times the value `common`, exactly: the sum is
/// piecewise linear in θ, with corners at every λ and λ − 1.
fn fantope_shift(values: &[f64], common: f64, times: usize, rank: usize) -> f64 {
    let sum = |theta: f64| -> f64 {
        let clipped = |v: f64| (v - theta).clamp(0.0, 1.0);
        values.iter().map(|&v| clipped(v)).sum::<f64>() + times as f64 * clipped(common)
    };
    let all = values.iter().copied().chain((times > 0).then_some(common));
    let mut corners: Vec<f64> = all.flat_map(|v| [v, v - 1.0]).collect();
    corners.sort_by(|a, b| b.total_cmp(a));
    let rank = rank as f64;
    // The sum is 0 at the first corner and grows toward the last, where it is the
    // number of values.
    let after = corners.partition_point(|&theta| sum(theta) < rank);
    let after = after.min(corners.len() - 1);
    let (high, low) = (corners[after.saturating_sub(1)], corners[after]);
    let (less, more) = (sum(high), sum(low));
    if more <= less {
        return low;
    }
    low + (high - low) * ((more - rank) / (more - less)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    fn dense(p: &Relaxed) -> Matrix {
        let d = p.dim;
        let columns: Vec<Vec<f64>> = (0..d)
            .map(|j| {
                let unit: Vec<f64> = (0..d).map(|i| f64::from(u8::from(i == j))).collect();
                let rest = p.rest(&unit);
                unit.iter().zip(rest).map(|(u, r)| u - r).collect()
            })
            .collect();
        Matrix::from_rows(&columns, d)
    }

    /// The factored steps are the dense ones of the paper, also while the common
    /// eigenvalue is not 0, and after the basis has filled the space.
    #[test]
    fn factored_steps_are_the_dense_ones() {
        let mut largest_common = 0.0_f64;
        for (d, rank, classes, scale) in [
            (9, 1, 1, 3.0),
            (12, 2, 3, 20.0),
            (6, 3, 1, 40.0),
            (5, 5, 1, 5.0),
            (40, 1, 1, 2.0),
        ] {
            let mut p = Relaxed::random(rank, d, 3);
            let mut q = dense(&p);
            for step in 0..120 {
                let vectors: Vec<(Vec<f64>, Vec<f64>)> = (0..classes)
                    .map(|c| {
                        let seed = 1000 * step + c;
                        let w = numbers(d, seed + 500);
                        let drift = if step % 3 == 0 { scale } else { -scale };
                        (
                            numbers(d, seed)
                                .iter()
                                .zip(&w)
                                .map(|(a, b)| scale * a + drift * b)
                                .collect(),
                            w,
                        )
                    })
                    .collect();
                let gradients: Vec<(Vec<f64>, &[f64])> =
                    vectors.iter().map(|(a, b)| (a.clone(), &b[..])).collect();
                p.ascend(&gradients, 0.01, 0.999, rank).unwrap();
                q.data_mut().iter_mut().for_each(|v| *v *= 0.999);
                for (a, b) in &vectors {
                    for i in 0..d {
                        for j in 0..d {
                            q.row_mut(i)[j] -= 0.005 * (a[i] * b[j] + b[i] * a[j]);
                        }
                    }
                }
                let (values, rows) = symmetric_eigen(&q, "test").unwrap();
                let clipped = fantope_eigenvalues(&values, rank).unwrap();
                let scaled = Matrix::from_fn(d, d, |i, j| clipped[i] * rows.at(i, j));
                q = rows.transpose().matmul(&scaled);
                let difference = dense(&p).max_abs_difference(&q);
                assert!(difference < 1e-10, "d {d}, step {step}: {difference:e}");
                largest_common = largest_common.max(p.common);
            }
        }
        assert!(
            largest_common > 1e-4,
            "no step had a common eigenvalue: {largest_common}"
        );
    }

    /// Gradients against finite differences of the loss, with a batch of all rows.
    #[test]
    fn gradients_are_those_of_the_loss() {
        for classes in [2, 3] {
            let x = Matrix::new(12, 4, numbers(48, 7)).unwrap();
            let class: Vec<usize> = (0..12).map(|i| i * i % classes).collect();
            let mut game = Game::new(&x, &class, classes, 2, 5);
            let (p, predictor) = (dense(&game.relaxed), game.predictor.clone());
            let rows = predictor.rows();
            let loss = |p: &Matrix, predictor: &Predictor| -> f64 {
                let of_row = |i: usize| {
                    let erased: Vec<f64> = (0..4)
                        .map(|j| x.at(i, j) - dot(p.row(j), x.row(i)))
                        .collect();
                    let logit =
                        |r: usize| dot(predictor.weights(r), &erased) + predictor.intercept(r);
                    let mut logits: Vec<f64> = (0..rows).map(logit).collect();
                    residuals(&mut logits, class[i]).0
                };
                (0..12).map(of_row).sum::<f64>() / 12.0
            };
            let slope = |at: &dyn Fn(f64) -> f64| (at(1e-5) - at(-1e-5)) / 2e-5;
            let (means, intercepts) = game.mean_residuals(12);
            for at in 0..16 {
                let (i, j) = (at / 4, at % 4);
                let found: f64 = (means.iter().enumerate())
                    .map(|(r, q)| -predictor.weights(r)[i] * q[j])
                    .sum();
                let expect = slope(&|step| {
                    let mut moved = p.clone();
                    moved.row_mut(i)[j] += step;
                    loss(&moved, &predictor)
                });
                assert!((found - expect).abs() < 1e-8, "P: {found} {expect}");
            }
            for at in 0..predictor.parameters.len() {
                let (r, j) = (at / 4, at % 4);
                let found = if at < 4 * rows {
                    game.relaxed.rest(&means[r])[j]
                } else {
                    intercepts[at - 4 * rows]
                };
                let expect = slope(&|step| {
                    let mut moved = predictor.clone();
                    moved.parameters[at] += step;
                    loss(&p, &moved)
                });
                assert!((found - expect).abs() < 1e-8, "predictor: {found} {expect}");
            }
        }
    }

    #[test]
    fn fantope_eigenvalues_add_up() {
        for (n, rank, scale) in [
            (1, 1, 1.0),
            (5, 2, 1.0),
            (50, 7, 10.0),
            (400, 3, 1e6),
            (6, 6, 2.0),
        ] {
            let values: Vec<f64> = numbers(n, n as u64).iter().map(|v| v * scale).collect();
            let out = fantope_eigenvalues(&values, rank).unwrap();
            assert!((out.iter().sum::<f64>() - rank as f64).abs() < 1e-9 * scale.max(1.0));
            assert!(out.iter().all(|v| (0.0..=1.0).contains(v)));
        }
        // A point of the fantope is its own projection; equal values share.
        assert_eq!(
            fantope_eigenvalues(&[1.0, 0.0, 0.0], 1).unwrap(),
            [1.0, 0.0, 0.0]
        );
        assert_eq!(fantope_eigenvalues(&[7.0; 4], 1).unwrap(), [0.25; 4]);
        assert!(fantope_eigenvalues(&[1.0], 2).is_err());
        assert!(fantope_eigenvalues(&[1.0], 0).is_err());
        assert!(fantope_eigenvalues(&[f64::NAN, 1.0], 1).is_err());
    }
}
