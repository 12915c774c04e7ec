//! What several architectures are made of.

use std::sync::Arc;

use interlingua_backend::Tensor;
use interlingua_backend::ops::{self, Activation, Logits, Matrix, Rotary, Tree, Weight};
use interlingua_edits::Hook;

use super::Tap;

/// A matrix `[out, in]` and perhaps a bias `[out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// The matrix.
    pub weight: Matrix,
    /// The bias.
    pub bias: Option<Tensor<1>>,
}

impl Linear {
    /// `x · weightᵀ + bias`.
    ///
    /// # Shapes
    /// `x`: `[rows, in]`, result `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [y] = Linear::together(x, [self]);
        y
    }

    /// Several of them on the same input, which is read once.
    ///
    /// # Shapes
    /// `x`: `[rows, in]`, results `[rows, out]`.
    pub fn together<const N: usize>(x: Tensor<2>, maps: [&Linear; N]) -> [Tensor<2>; N] {
        Matrix::affines(x, maps.map(|map| (&map.weight, map.bias.as_ref())))
    }
}

/// Queries, keys and values of one matrix whose rows are `groups` times those of a query,
/// a key and a value group: one of all heads (GPT-2), or one per head (BLOOM).
///
/// # Shapes
/// `weight`: `[3 · d, in]`, `bias`: `[3 · d]`, results `[d, in]`.
pub fn split_qkv(weight: Tensor<2>, bias: Option<Tensor<1>>, groups: usize) -> [Linear; 3] {
    let [rows, input] = weight.dims();
    let (d, group) = (rows / 3, rows / 3 / groups);
    [0, 1, 2].map(|part| {
        let weight = (weight.clone())
            .reshape([groups, 3, group, input])
            .narrow(1, part, 1)
            .reshape([d, input]);
        let bias = bias.clone().map(|bias| {
            bias.reshape([groups, 3, group])
                .narrow(1, part, 1)
                .reshape([d])
        });
        Linear {
            weight: Matrix::new(weight),
            bias,
        }
    })
}

/// A norm over the last dimension.
#[derive(Debug, Clone)]
pub enum Norm {
    /// Mean-subtracting.
    Layer {
        /// `[d]`.
        gain: Tensor<1>,
        /// `[d]`.
        bias: Option<Tensor<1>>,
        /// Added to the variance.
        eps: f32,
    },
    /// By the root of the mean square.
    Rms {
        /// `[d]`; of `1 + weight` where the architecture stores it so.
        gain: Tensor<1>,
        /// Added to the mean square.
        eps: f32,
    },
}

impl Norm {
    /// # Shapes
    /// `x`: `[rows, d]`, result the same.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Norm::Layer { gain, bias, eps } => ops::layer_norm(x, gain, bias.as_ref(), *eps),
            Norm::Rms { gain, eps } => ops::rms_norm(x, gain, *eps),
        }
    }

    /// The same norm for every head of `[rows, heads · head_dim]`, with a gain of `[head_dim]`.
    ///
    /// # Shapes
    /// `x`: `[rows, heads · head_dim]`, result the same.
    pub fn each_head(&self, x: Tensor<2>, head_dim: usize) -> Tensor<2> {
        let [rows, width] = x.dims();
        let heads = x.reshape([rows * (width / head_dim), head_dim]);
        self.forward(heads).reshape([rows, width])
    }
}

/// Attention with its projections.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Query projection, `[heads · head_dim, hidden]`.
    pub q: Linear,
    /// Key projection, `[kv_heads · head_dim, hidden]`.
    pub k: Linear,
    /// Value projection, `[kv_heads · head_dim, hidden]`.
    pub v: Linear,
    /// Output projection, `[hidden, heads · head_dim]`.
    pub o: Linear,
    /// Norm of every head of the queries and of the keys, before they are rotated.
    pub qk_norms: Option<(Norm, Norm)>,
    /// Rotary position embedding.
    pub rotary: Option<Arc<Rotary>>,
    /// Heads, scale, mask.
    pub spec: ops::Attention,
}

impl Attention {
    /// `tap` is called with queries, keys and values as they are projected, and with what the heads make.
    ///
    /// # Shapes
    /// `x`: `[rows, hidden]`, result `[asked rows, hidden]`.
    pub fn forward(&self, layer: usize, x: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2> {
        let normed = |[q, k, v]: [Tensor<2>; 3]| match &self.qk_norms {
            Some((q_norm, k_norm)) => {
                let d = self.spec.head_dim;
                [q_norm.each_head(q, d), k_norm.each_head(k, d), v]
            }
            None => [q, k, v],
        };
        let [mut q, mut k, v] = match tree.asked {
            None => tree.once(x, |x| {
                let qkv = Linear::together(x, [&self.q, &self.k, &self.v]);
                normed(tap_qkv(layer, qkv, tap))
            }),
            Some(_) => {
                let q = self.q.forward(tree.keep(x.clone()));
                let [k, v] = Linear::together(x, [&self.k, &self.v]);
                normed(tap_qkv(layer, [q, k, v], tap))
            }
        };
        if let Some(rotary) = &self.rotary {
            q = ops::rotary(q, &tree.asked_positions(), rotary);
            k = ops::rotary(k, &tree.positions, rotary);
        }
        let heads = ops::attention(q, k, v, tree, &self.spec);
        self.o.forward(tap(Hook::heads(layer), heads))
    }
}

/// What a tap makes of queries, keys and values.
pub(super) fn tap_qkv(layer: usize, [q, k, v]: [Tensor<2>; 3], tap: Tap<'_>) -> [Tensor<2>; 3] {
    [
        tap(Hook::queries(layer), q),
        tap(Hook::keys(layer), k),
        tap(Hook::values(layer), v),
    ]
}

/// `down(act(gate(x)) ⊙ up(x))`.
#[derive(Debug, Clone)]
pub struct GatedMlp {
    /// `[intermediate, hidden]`.
    pub gate: Linear,
    /// `[intermediate, hidden]`.
    pub up: Linear,
    /// `[hidden, intermediate]`.
    pub down: Linear,
    /// Of the gate.
    pub activation: Activation,
}

impl GatedMlp {
    /// `tap` is called with the gates and the units.
    ///
    /// # Shapes
    /// `x`: `[rows, hidden]`, result the same.
    pub fn forward(&self, layer: usize, x: Tensor<2>, tap: Tap<'_>) -> Tensor<2> {
        let [gate, up] = Linear::together(x, [&self.gate, &self.up]);
        let gate = tap(Hook::gate(layer), gate);
        let units = ops::gate(gate, up, self.activation);
        self.down.forward(tap(Hook::units(layer), units))
    }
}

/// `down(act(up(x)))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// `[intermediate, hidden]`.
    pub up: Linear,
    /// `[hidden, intermediate]`.
    pub down: Linear,
    /// Between the two.
    pub activation: Activation,
}

impl Mlp {
    /// `tap` is called with the units.
    ///
    /// # Shapes
    /// `x`: `[rows, hidden]`, result the same.
    pub fn forward(&self, layer: usize, x: Tensor<2>, tap: Tap<'_>) -> Tensor<2> {
        let units = ops::activate(self.up.forward(x), self.activation);
        self.down.forward(tap(Hook::units(layer), units))
    }
}

/// What follows the lookup of token embeddings, in this order.
#[derive(Debug, Clone, Default)]
pub struct Embedding {
    /// Factor on the token embeddings.
    pub scale: Option<f32>,
    /// Added by position in the sequence, `[positions, hidden]`.
    pub positions: Option<Tensor<2>>,
    /// Added to every token: the embedding of token type 0, `[hidden]`.
    pub constant: Option<Tensor<1>>,
    /// Applied last.
    pub norm: Option<Norm>,
}

impl Embedding {
    /// From looked-up rows to the states that enter the first block.
    ///
    /// # Shapes
    /// `rows`: `[rows, hidden]`, `positions`: one per row, result `[rows, hidden]`.
    pub fn finish(&self, rows: Tensor<2>, positions: &[u32]) -> Tensor<2> {
        let mut h = rows;
        if let Some(scale) = self.scale {
            h = h * scale;
        }
        if let Some(constant) = &self.constant {
            h = h + constant.clone().unsqueeze();
        }
        if let Some(table) = &self.positions {
            let at = positions.iter().map(|&p| p as i32).collect();
            let at = ops::index(at, &h.device());
            h = h + table.clone().select(0, at);
        }
        match &self.norm {
            Some(norm) => norm.forward(h),
            None => h,
        }
    }
}

/// What turns final states into logits, beside the vocabulary matrix.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Before the vocabulary matrix (encoders).
    pub transform: Option<Transform>,
    /// Added to the logits, one per vocabulary entry.
    pub bias: Option<Vec<f32>>,
    /// Scale and soft cap of the logits.
    pub logits: Logits,
}

/// `norm(act(dense(h)))`.
#[derive(Debug, Clone)]
pub struct Transform {
    /// `[hidden, hidden]`.
    pub dense: Linear,
    /// After it.
    pub activation: Activation,
    /// Last.
    pub norm: Norm,
}

impl Head {
    /// What the vocabulary matrix is multiplied with.
    ///
    /// # Shapes
    /// `h`: `[rows, hidden]`, result the same.
    pub fn transform(&self, h: Tensor<2>) -> Tensor<2> {
        match &self.transform {
            Some(t) => t
                .norm
                .forward(ops::activate(t.dense.forward(h), t.activation)),
            None => h,
        }
    }
}
