//! Kernels of activation functions, with and without a gate.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::math::{exp, normal_tail};
use super::rows_per_task;
use crate::ops::Activation;

/// Elements of one task: a multiple of the longest vector.
fn task(elements: usize) -> usize {
    rows_per_task(elements / 256 + 1) * 256
}

#[inline(always)]
fn silu<const FUSED: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FUSED>(-x))
}

#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> f32 {
    // x·Φ(x) as the ramp less what the tail takes off: exact far from 0 on both sides.
    relu(x) - x.abs() * normal_tail::<FUSED>(x.abs())
}

#[inline(always)]
fn gelu_tanh<const FUSED: bool>(x: f32) -> f32 {
    // (1 + tanh(u)) / 2 is the sigmoid of 2u, here with u = √(2/π)·(x + 0.044715·x³).
    let twice = 1.595_769 * (x + 0.044_715 * x * x * x);
    x / (1.0 + exp::<FUSED>(-twice))
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    // Written so that NaN stays NaN.
    if x < 0.0 { 0.0 } else { x }
}

/// Computes `x ← activation(x)`.
pub fn activate(x: &mut [f32], activation: Activation) {
    x.par_chunks_mut(task(x.len()))
        .for_each(|x| activate_slice(x, activation));
}

#[multiversion(targets = "simd")]
fn activate_slice(x: &mut [f32], activation: Activation) {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    match activation {
        Activation::Silu => activate_by(x, silu::<FUSED>),
        Activation::Gelu => activate_by(x, gelu::<FUSED>),
        Activation::GeluTanh => activate_by(x, gelu_tanh::<FUSED>),
        Activation::Relu => activate_by(x, relu),
    }
}

#[inline(always)]
fn activate_by(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in x {
        *x = f(*x);
    }
}

/// Computes `gate ← activation(gate) · up`.
pub fn gate(gate: &mut [f32], up: &[f32], activation: Activation) {
    let task = task(gate.len());
    gate.par_chunks_mut(task)
        .zip(up.par_chunks(task))
        .for_each(|(g, u)| gate_slice(g, u, activation));
}

#[multiversion(targets = "simd")]
fn gate_slice(gate: &mut [f32], up: &[f32], activation: Activation) {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    match activation {
        Activation::Silu => gate_by(gate, up, silu::<FUSED>),
        Activation::Gelu => gate_by(gate, up, gelu::<FUSED>),
        Activation::GeluTanh => gate_by(gate, up, gelu_tanh::<FUSED>),
        Activation::Relu => gate_by(gate, up, relu),
    }
}

#[inline(always)]
fn gate_by(gate: &mut [f32], up: &[f32], f: impl Fn(f32) -> f32) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = f(*g) * u;
    }
}

/// Computes the backward pass of [`gate`] with SiLU: `gate` and `up` are replaced by their gradients.
pub fn silu_gate_backward(gate: &mut [f32], up: &mut [f32], grad: &[f32]) {
    let task = task(gate.len());
    gate.par_chunks_mut(task)
        .zip(up.par_chunks_mut(task))
        .zip(grad.par_chunks(task))
        .for_each(|((g, u), d)| silu_gate_backward_slice(g, u, d));
}

#[multiversion(targets = "simd")]
fn silu_gate_backward_slice(gate: &mut [f32], up: &mut [f32], grad: &[f32]) {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    for ((g, u), d) in gate.iter_mut().zip(up.iter_mut()).zip(grad) {
        let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-*g));
        let silu = *g * sigmoid;
        let slope = sigmoid * (1.0 + *g * (1.0 - sigmoid));
        *g = d * *u * slope;
        *u = d * silu;
    }
}
