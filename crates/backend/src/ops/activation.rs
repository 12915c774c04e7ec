//! Activation functions, with and without a gate.

use super::{Activation, plain};
use crate::device::is_plain_cpu;
use crate::{Host, Tensor, kernels};

/// Computes `activation(x)`, element by element.
///
/// # Shapes
/// `x` is `[rows, d]`, and so is the result.
pub fn activate(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    let device = x.device();
    if !is_plain_cpu(&device) {
        return plain::activate(x, activation);
    }
    let mut values = Host::of(x);
    kernels::activate(&mut values, activation);
    values.tensor(&device)
}

/// Computes `activation(gate) ⊙ up`.
///
/// # Shapes
/// Both arguments and the result are `[rows, d]`.
pub fn gate(gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
    let device = gate.device();
    if !is_plain_cpu(&device) {
        return plain::gate(gate, up, activation);
    }
    assert_eq!(up.dims(), gate.dims(), "one factor per gate");
    let mut values = Host::of(gate);
    kernels::gate(&mut values, &Host::of(up), activation);
    values.tensor(&device)
}
