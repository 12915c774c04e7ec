//! The head: logits reduced to log-probabilities or to gradients.

use multiversion::multiversion;
use rayon::prelude::*;

use super::math::{exp, max_of, softcap, sum_by};

/// Values summed in `f32`; sums of longer rows are combined in `f64`.
const BLOCK: usize = 4096;

/// `x ← softcap(scale · x + bias)` for every row of logits, in place.
pub fn shape_logits(
    logits: &mut [f32],
    vocabulary: usize,
    bias: Option<&[f32]>,
    scale: f32,
    cap: Option<f32>,
) {
    if bias.is_none() && scale == 1.0 && cap.is_none() {
        return;
    }
    logits
        .par_chunks_exact_mut(vocabulary)
        .with_min_len(4)
        .for_each(|row| shape_row(row, bias, scale, cap));
}

#[multiversion(targets = "simd")]
fn shape_row(row: &mut [f32], bias: Option<&[f32]>, scale: f32, cap: Option<f32>) {
    match bias {
        Some(bias) => {
            for (x, b) in row.iter_mut().zip(bias) {
                *x = *x * scale + b;
            }
        }
        None => {
            for x in row.iter_mut() {
                *x *= scale;
            }
        }
    }
    if let Some(cap) = cap {
        for x in row.iter_mut() {
            *x = softcap(*x, cap);
        }
    }
}

/// For each row of `scale · logits`, its largest value and `Σ exp(x − largest)`.
///
/// `scale` must be positive, so that the largest logit stays the largest.
pub fn log_sum_exp(logits: &[f32], vocabulary: usize, scale: f32) -> Vec<(f32, f64)> {
    logits
        .par_chunks_exact(vocabulary)
        .with_min_len(4)
        .map(|row| log_sum_exp_row(row, scale))
        .collect()
}

#[multiversion(targets = "simd")]
fn log_sum_exp_row(row: &[f32], scale: f32) -> (f32, f64) {
    let max = max_of(row) * scale;
    let mut sum = 0.0;
    for block in row.chunks(BLOCK) {
        sum += f64::from(sum_by(block, |x| exp(x * scale - max)));
    }
    (max, sum)
}

/// Turns logits into the gradient of the mean cross-entropy, in place.
///
/// Returns the sum of the negative log-likelihoods. Each row becomes
/// `weight · scale · (softmax(scale · row) − onehot(target))`.
pub fn cross_entropy_grad(
    logits: &mut [f32],
    vocabulary: usize,
    targets: &[u32],
    scale: f32,
    weight: f32,
) -> f64 {
    let losses: Vec<f32> = logits
        .par_chunks_exact_mut(vocabulary)
        .zip(targets.par_iter())
        .with_min_len(4)
        .map(|(row, &target)| cross_entropy_row(row, target as usize, scale, weight))
        .collect();
    losses.into_iter().map(f64::from).sum()
}

#[multiversion(targets = "simd")]
fn cross_entropy_row(row: &mut [f32], target: usize, scale: f32, weight: f32) -> f32 {
    let max = max_of(row) * scale;
    let at = row[target] * scale;
    for x in row.iter_mut() {
        *x = exp(*x * scale - max);
    }
    let sum = sum_by(row, |x| x);
    let factor = weight * scale / sum;
    for x in row.iter_mut() {
        *x *= factor;
    }
    row[target] -= weight * scale;
    max + sum.ln() - at
}
