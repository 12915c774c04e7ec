//! Norms of rows.

use super::plain;
use crate::device::is_plain_cpu;
use crate::{Host, Tensor, kernels};

/// Computes the layer norm, which subtracts the mean: `(x − mean) / √(variance + eps) ⊙ gain + bias`.
///
/// # Shapes
/// `x` is `[rows, d]`, `gain` and `bias` are `[d]`, and the result is `[rows, d]`.
pub fn layer_norm(x: Tensor<2>, gain: &Tensor<1>, bias: Option<&Tensor<1>>, eps: f32) -> Tensor<2> {
    let device = x.device();
    if !is_plain_cpu(&device) {
        return plain::layer_norm(x, gain, bias, eps);
    }
    let mut values = Host::of(x);
    let bias = bias.map(|b| Host::of(b.clone()));
    kernels::layer_norm(&mut values, &Host::of(gain.clone()), bias.as_deref(), eps);
    values.tensor(&device)
}

/// Computes the root-mean-square norm, `x / √(mean(x²) + eps) ⊙ gain`.
///
/// # Shapes
/// `x` is `[rows, d]`, `gain` is `[d]`, and the result is `[rows, d]`.
///
/// # Source
/// Zhang and Sennrich (arXiv 1910.07467).
pub fn rms_norm(x: Tensor<2>, gain: &Tensor<1>, eps: f32) -> Tensor<2> {
    let device = x.device();
    if !is_plain_cpu(&device) {
        return plain::rms_norm(x, gain, eps);
    }
    let mut values = Host::of(x);
    kernels::rms_norm(&mut values, &Host::of(gain.clone()), eps);
    values.tensor(&device)
}
