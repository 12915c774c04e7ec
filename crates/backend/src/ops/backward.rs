//! The backward passes of the fused kernels, for training on the CPU.
//!
//! On other devices, models are trained through burn's autodiff on the plain operations.

use super::rotary::turn;
use super::{Attention, Mask, Rotary, Tree};
use crate::{Host, Tensor, from_rows, kernels};

/// Computes the gradients of [`super::layer_norm`] without bias, with respect to `x` and `gamma`.
///
/// # Shapes
/// `grad` and `x` are `[rows, d]`, and `gamma` is `[d]`.
pub fn layer_norm(
    grad: Tensor<2>,
    x: Tensor<2>,
    gamma: &Tensor<1>,
    eps: f32,
) -> (Tensor<2>, Vec<f32>) {
    let device = x.device();
    let mut values = Host::of(grad);
    let (x, gamma) = (Host::of(x), Host::of(gamma.clone()));
    let gain = kernels::layer_norm_backward(&mut values, &x, &gamma, eps);
    (values.tensor(&device), gain)
}

/// Computes the gradients of [`super::gate`] with [`super::Activation::Silu`], with respect to `gate` and `up`.
///
/// # Shapes
/// All tensors are `[rows, d]`.
pub fn silu_gate(grad: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let device = gate.device();
    let (mut gate, mut up) = (Host::of(gate), Host::of(up));
    kernels::silu_gate_backward(&mut gate, &mut up, &Host::of(grad));
    (gate.tensor(&device), up.tensor(&device))
}

/// Computes the gradient of [`super::rotary`].
///
/// # Shapes
/// `grad` is `[rows, heads · head_dim]`.
pub fn rotary(grad: Tensor<2>, positions: &[u32], rotary: &Rotary) -> Tensor<2> {
    turn(grad, positions, rotary, -1.0)
}

/// Computes the gradients of plain causal [`super::attention`] over independent sequences.
///
/// # Shapes
/// `grad` and `q` are `[rows, heads · head_dim]`, and `k` and `v` are `[rows, kv_heads · head_dim]`.
pub fn attention(
    grad: Tensor<2>,
    [q, k, v]: [Tensor<2>; 3],
    tree: &Tree,
    spec: &Attention,
) -> [Tensor<2>; 3] {
    assert!(
        spec.mask == Mask::Causal && spec.softcap.is_none() && spec.alibi.is_none(),
        "gradients are defined for plain causal attention"
    );
    let device = q.device();
    let ([rows, width], [_, kv_width]) = (q.dims(), k.dims());
    let [grad, q, k, v] = [grad, q, k, v].map(Host::of);
    let (dq, dk, dv) = kernels::attention_backward(&grad, &q, &k, &v, &tree.nodes, spec);
    [
        from_rows(dq, rows, width, &device),
        from_rows(dk, rows, kv_width, &device),
        from_rows(dv, rows, kv_width, &device),
    ]
}

/// Computes the gradient of a bias that was added to every row, which is the sum of the rows.
///
/// # Shapes
/// `grad` has rows of `d` numbers, and the result has `d` numbers.
pub fn bias(grad: &[f32], d: usize) -> Vec<f32> {
    kernels::column_sums(grad, d)
}

/// Computes `weight · mean (y − x)²`, and replaces `y` by its gradient.
///
/// # Panics
/// If the numbers of values and targets differ.
pub fn squared_error(y: &mut [f32], x: &[f32], weight: f64) -> f64 {
    assert_eq!(y.len(), x.len(), "one target per value");
    let share = weight / y.len() as f64;
    share * kernels::squared_error(y, x, 2.0 * share as f32)
}
