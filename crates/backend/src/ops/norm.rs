//! Normalisation of rows.

use super::plain;
use crate::device::is_plain_cpu;
use crate::{Tensor, from_rows, kernels, to_host};

/// Mean-subtracting layer norm, `(x − mean) / √(variance + eps) ⊙ gain + bias`.
///
/// # Shapes
/// `x`: `[rows, d]`, `gain`, `bias`: `[d]`, result `[rows, d]`.
pub fn layer_norm(x: Tensor<2>, gain: &Tensor<1>, bias: Option<&Tensor<1>>, eps: f32) -> Tensor<2> {
    let device = x.device();
    if !is_plain_cpu(&device) {
        return plain::layer_norm(x, gain, bias, eps);
    }
    let [rows, d] = x.dims();
    let mut values = to_host(x);
    let bias = bias.map(|b| to_host(b.clone()));
    kernels::layer_norm(&mut values, &to_host(gain.clone()), bias.as_deref(), eps);
    from_rows(values, rows, d, &device)
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
    let [rows, d] = x.dims();
    let mut values = to_host(x);
    kernels::rms_norm(&mut values, &to_host(gain.clone()), eps);
    from_rows(values, rows, d, &device)
}
