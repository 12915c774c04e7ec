//! The kernels of norms, and of the bias of a linear map.

use multiversion::multiversion;
use rayon::prelude::*;

use super::math::{dot, sum_by};
use super::rows_per_task;

/// Computes the layer norm of every row, which subtracts the mean, in place.
pub fn layer_norm(x: &mut [f32], gain: &[f32], bias: Option<&[f32]>, eps: f32) {
    let d = gain.len();
    let task = rows_per_task(x.len() / d) * d;
    x.par_chunks_mut(task)
        .for_each(|rows| layer_norm_rows(rows, gain, bias, eps));
}

#[multiversion(targets = "simd")]
fn layer_norm_rows(rows: &mut [f32], gain: &[f32], bias: Option<&[f32]>, eps: f32) {
    let d = gain.len();
    for row in rows.chunks_exact_mut(d) {
        let mean = sum_by(row, |v| v) / d as f32;
        let variance = sum_by(row, |v| (v - mean) * (v - mean)) / d as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        match bias {
            None => {
                for (v, g) in row.iter_mut().zip(gain) {
                    *v = (*v - mean) * scale * g;
                }
            }
            Some(bias) => {
                for ((v, g), b) in row.iter_mut().zip(gain).zip(bias) {
                    *v = (*v - mean) * scale * g + b;
                }
            }
        }
    }
}

/// Computes the root-mean-square norm of every row, in place.
pub fn rms_norm(x: &mut [f32], gain: &[f32], eps: f32) {
    let d = gain.len();
    let task = rows_per_task(x.len() / d) * d;
    x.par_chunks_mut(task)
        .for_each(|rows| rms_norm_rows(rows, gain, eps));
}

#[multiversion(targets = "simd")]
fn rms_norm_rows(rows: &mut [f32], gain: &[f32], eps: f32) {
    let d = gain.len();
    for row in rows.chunks_exact_mut(d) {
        let scale = 1.0 / (sum_by(row, |v| v * v) / d as f32 + eps).sqrt();
        for (v, g) in row.iter_mut().zip(gain) {
            *v = *v * scale * g;
        }
    }
}

/// Sums rows of width `d`. Parts of fixed size are summed in parallel and added in order.
pub fn column_sums(x: &[f32], d: usize) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = x
        .par_chunks(64 * d)
        .map(|rows| {
            let mut sum = vec![0.0; d];
            for row in rows.chunks_exact(d) {
                add_bias_rows(&mut sum, row);
            }
            sum
        })
        .collect();
    let mut sum = vec![0.0; d];
    parts.iter().for_each(|part| add_bias_rows(&mut sum, part));
    sum
}

/// Replaces `y` by `scale · (y − x)`, and returns `Σ (y − x)²`.
pub fn squared_error(y: &mut [f32], x: &[f32], scale: f32) -> f64 {
    const PART: usize = 4096;
    let parts: Vec<f32> = y
        .par_chunks_mut(PART)
        .zip(x.par_chunks(PART))
        .map(|(y, x)| squared_error_part(y, x, scale))
        .collect();
    parts.into_iter().map(f64::from).sum()
}

#[multiversion(targets = "simd")]
fn squared_error_part(y: &mut [f32], x: &[f32], scale: f32) -> f32 {
    for (y, x) in y.iter_mut().zip(x) {
        *y -= x;
    }
    let sum = dot(y, y);
    for y in y {
        *y *= scale;
    }
    sum
}

/// Adds `bias` to every row.
pub fn add_bias(x: &mut [f32], bias: &[f32]) {
    let d = bias.len();
    let task = rows_per_task(x.len() / d) * d;
    x.par_chunks_mut(task)
        .for_each(|rows| add_bias_rows(rows, bias));
}

#[multiversion(targets = "simd")]
fn add_bias_rows(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (v, b) in row.iter_mut().zip(bias) {
            *v += b;
        }
    }
}

/// Computes the backward pass of [`layer_norm`]. The gradient with respect to the output, `grad`, is replaced by the
/// one with respect to the input `x`; the result is the gradient of the gain.
pub fn layer_norm_backward(grad: &mut [f32], x: &[f32], gamma: &[f32], eps: f32) -> Vec<f32> {
    let d = gamma.len();
    // Parts of fixed size, summed in order: the result does not depend on the threads.
    let part = 64 * d;
    let gains: Vec<Vec<f32>> = grad
        .par_chunks_mut(part)
        .zip(x.par_chunks(part))
        .map(|(grad, x)| {
            let mut gain = vec![0.0; d];
            layer_norm_backward_rows(grad, x, gamma, eps, &mut gain);
            gain
        })
        .collect();
    let mut sum = vec![0.0; d];
    for gain in gains {
        sum.iter_mut().zip(gain).for_each(|(s, g)| *s += g);
    }
    sum
}

#[multiversion(targets = "simd")]
fn layer_norm_backward_rows(
    grad: &mut [f32],
    x: &[f32],
    gamma: &[f32],
    eps: f32,
    gain: &mut [f32],
) {
    let d = gamma.len();
    let mut unit = vec![0.0; d];
    for (grad, x) in grad.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
        let mean = sum_by(x, |v| v) / d as f32;
        let variance = sum_by(x, |v| (v - mean) * (v - mean)) / d as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for i in 0..d {
            unit[i] = (x[i] - mean) * scale;
            gain[i] += grad[i] * unit[i];
            grad[i] *= gamma[i];
        }
        let along_ones = sum_by(grad, |v| v) / d as f32;
        let along_unit = dot(grad, &unit) / d as f32;
        for i in 0..d {
            grad[i] = scale * (grad[i] - along_ones - unit[i] * along_unit);
        }
    }
}
