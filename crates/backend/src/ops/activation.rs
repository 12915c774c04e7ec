//! Activation functions, with and without a gate.

use super::plain;
use crate::device::is_plain_cpu;
use crate::{Host, Tensor, kernels};

/// The activation function of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// SiLU, `x · sigmoid(x)`.
    Silu,
    /// The exact GELU, `x · Φ(x)`, with `Φ` the distribution function of the standard normal.
    Gelu,
    /// The tanh approximation of GELU, `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
    GeluTanh,
    /// ReLU, `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The names that [`Activation::parse`] knows, as checkpoints write them.
    pub const NAMES: [&str; 10] = [
        "silu",
        "swish",
        "gelu",
        "gelu_python",
        "gelu_new",
        "gelu_fast",
        "gelu_pytorch_tanh",
        "gelu_python_tanh",
        "gelu_accurate",
        "relu",
    ];

    /// Returns the activation that a checkpoint's configuration calls `name`, if it is one of [`Activation::NAMES`].
    pub fn parse(name: &str) -> Option<Activation> {
        Some(match name {
            "silu" | "swish" => Activation::Silu,
            "gelu" | "gelu_python" => Activation::Gelu,
            // One formula; transformers has several ways of evaluating it.
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh"
            | "gelu_accurate" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            _ => return None,
        })
    }
}

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
