//! The parts that several architectures are made of: linear maps, norms, attention, MLPs.

use std::sync::Arc;

use interlingua_backend::Tensor;
use interlingua_backend::ops::{self, Activation, Logits, Matrix, Rotary, Tree, Weight};
use interlingua_edits::Hook;

use super::Tap;

/// A matrix `[out, in]`, possibly with a bias `[out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// The matrix.
    pub weight: Matrix,
    /// The bias.
    pub bias: Option<Tensor<1>>,
}

impl Linear {
    /// Computes `x · weightᵀ + bias`.
    ///
    /// # Shapes
    /// `x` is `[rows, in]`, and the result is `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [y] = Linear::together(x, [self]);
        y
    }

    /// Applies several linear maps to the same input, which is read only once.
    ///
    /// # Shapes
    /// `x` is `[rows, in]`, and each result is `[rows, out]`.
    pub fn together<const N: usize>(x: Tensor<2>, maps: [&Linear; N]) -> [Tensor<2>; N] {
        Matrix::affines(x, maps.map(|map| (&map.weight, map.bias.as_ref())))
    }
}

/// Splits one matrix into the projections of queries, keys and values. Its rows consist of `groups` repetitions of a
/// group of queries, one of keys and one of values. There is one repetition for all heads together (GPT-2), or one
/// per head (BLOOM).
///
/// # Shapes
/// `weight` is `[3 · d, in]`, `bias` is `[3 · d]`, and each result is `[d, in]`.
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
    /// A layer norm, which subtracts the mean.
    Layer {
        /// The gain, `[d]`.
        gain: Tensor<1>,
        /// The bias, `[d]`.
        bias: Option<Tensor<1>>,
        /// The number that is added to the variance.
        eps: f32,
    },
    /// A root-mean-square norm.
    Rms {
        /// The gain, `[d]`. It is `1 + weight` for architectures that store it so.
        gain: Tensor<1>,
        /// The number that is added to the mean square.
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

    /// Applies the same norm to every head of `[rows, heads · head_dim]`, with a gain of `[head_dim]`.
    ///
    /// # Shapes
    /// `x` is `[rows, heads · head_dim]`, and so is the result.
    pub fn each_head(&self, x: Tensor<2>, head_dim: usize) -> Tensor<2> {
        let [rows, width] = x.dims();
        let heads = x.reshape([rows * (width / head_dim), head_dim]);
        self.forward(heads).reshape([rows, width])
    }
}

/// Attention with its projections.
#[derive(Debug, Clone)]
pub struct Attention {
    /// The query projection, `[heads · head_dim, hidden]`.
    pub q: Linear,
    /// The key projection, `[kv_heads · head_dim, hidden]`.
    pub k: Linear,
    /// The value projection, `[kv_heads · head_dim, hidden]`.
    pub v: Linear,
    /// The output projection, `[hidden, heads · head_dim]`.
    pub o: Linear,
    /// The norms of every head of the queries and of the keys, before they are rotated.
    pub qk_norms: Option<(Norm, Norm)>,
    /// The rotary position embedding.
    pub rotary: Option<Arc<Rotary>>,
    /// The heads, the scale and the mask.
    pub spec: ops::Attention,
}

impl Attention {
    /// Computes attention. `tap` is called with the queries, keys and values as they are projected, with the outputs
    /// of the heads, and with what is projected from them.
    ///
    /// # Shapes
    /// `x` is `[rows, hidden]`, and the result is `[asked rows, hidden]`.
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
        let projected = self.o.forward(tap(Hook::heads(layer), heads));
        tap(Hook::projected(layer), projected)
    }
}

/// Passes queries, keys and values to a tap and returns its results.
pub(super) fn tap_qkv(layer: usize, [q, k, v]: [Tensor<2>; 3], tap: Tap<'_>) -> [Tensor<2>; 3] {
    [
        tap(Hook::queries(layer), q),
        tap(Hook::keys(layer), k),
        tap(Hook::values(layer), v),
    ]
}

/// The gated MLP `down(act(gate(x)) ⊙ up(x))`.
#[derive(Debug, Clone)]
pub struct GatedMlp {
    /// The gate projection, `[intermediate, hidden]`.
    pub gate: Linear,
    /// The up projection, `[intermediate, hidden]`.
    pub up: Linear,
    /// The down projection, `[hidden, intermediate]`.
    pub down: Linear,
    /// The activation function of the gate.
    pub activation: Activation,
}

impl GatedMlp {
    /// Computes the MLP. `tap` is called with the outputs of the three projections and with the units.
    ///
    /// # Shapes
    /// `x` is `[rows, hidden]`, and so is the result.
    pub fn forward(&self, layer: usize, x: Tensor<2>, tap: Tap<'_>) -> Tensor<2> {
        let [gate, up] = Linear::together(x, [&self.gate, &self.up]);
        let (gate, up) = (tap(Hook::gate(layer), gate), tap(Hook::up(layer), up));
        let units = ops::gate(gate, up, self.activation);
        let down = self.down.forward(tap(Hook::units(layer), units));
        tap(Hook::down(layer), down)
    }
}

/// The MLP without gate `down(act(up(x)))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// The up projection, `[intermediate, hidden]`.
    pub up: Linear,
    /// The down projection, `[hidden, intermediate]`.
    pub down: Linear,
    /// The activation function between the two.
    pub activation: Activation,
}

impl Mlp {
    /// Computes the MLP. `tap` is called with the outputs of both projections and with the units.
    ///
    /// # Shapes
    /// `x` is `[rows, hidden]`, and so is the result.
    pub fn forward(&self, layer: usize, x: Tensor<2>, tap: Tap<'_>) -> Tensor<2> {
        let up = tap(Hook::up(layer), self.up.forward(x));
        let units = ops::activate(up, self.activation);
        let down = self.down.forward(tap(Hook::units(layer), units));
        tap(Hook::down(layer), down)
    }
}

/// The operations that follow the lookup of token embeddings, in this order.
#[derive(Debug, Clone, Default)]
pub struct Embedding {
    /// The factor on the token embeddings.
    pub scale: Option<f32>,
    /// The vectors that are added by position in the sequence, `[positions, hidden]`.
    pub positions: Option<Tensor<2>>,
    /// The vector that is added to every token: the embedding of token type 0, `[hidden]`.
    pub constant: Option<Tensor<1>>,
    /// The norm that is applied last.
    pub norm: Option<Norm>,
}

impl Embedding {
    /// Computes the states that enter the first block from the rows of the embedding.
    ///
    /// # Shapes
    /// `rows` is `[rows, hidden]`, `positions` has one value per row, and the result is `[rows, hidden]`.
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

/// The operations that turn final states into logits, apart from the product with the vocabulary matrix.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The transformation before the vocabulary matrix, which encoders have.
    pub transform: Option<Transform>,
    /// The bias that is added to the logits, with one value per vocabulary entry.
    pub bias: Option<Vec<f32>>,
    /// The scale and the soft cap of the logits.
    pub logits: Logits,
}

/// The transformation `norm(act(dense(h)))` of an encoder's head.
#[derive(Debug, Clone)]
pub struct Transform {
    /// The dense layer, `[hidden, hidden]`.
    pub dense: Linear,
    /// The activation function after the dense layer.
    pub activation: Activation,
    /// The norm after the activation function.
    pub norm: Norm,
}

impl Head {
    /// Returns the states by which the vocabulary matrix is multiplied.
    ///
    /// # Shapes
    /// `h` is `[rows, hidden]`, and so is the result.
    pub fn transform(&self, h: Tensor<2>) -> Tensor<2> {
        match &self.transform {
            Some(t) => t
                .norm
                .forward(ops::activate(t.dense.forward(h), t.activation)),
            None => h,
        }
    }
}
