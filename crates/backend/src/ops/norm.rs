//! Normalisation of rows.

use super::plain;
use crate::device::is_plain_cpu;
use crate::{Host, Tensor, kernels};

/// Mean-subtracting layer norm, `(x − mean) / √(variance + eps) ⊙ gain + bias`.
///
/// # Shapes
/// `x`: `[rows, d]`, `gain`, `bias`: `[d]`, result `[rows, d]`.
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

/// Root-mean-square norm, `x / √(mean(x²) + eps) ⊙ gain`.
///
/// # Shapes
/// `x`: `[rows, d]`, `gain`: `[d]`, result `[rows, d]`.
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
