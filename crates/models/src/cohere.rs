//! The Cohere architecture (Command R, Aya Expanse).
//!
//! A block adds attention and a gated MLP, both fed by the same normalised
//! input, to the residual stream:
//!
//! ```text
//! n  = layer_norm(h)                       mean-subtracting, gain only
//! h' = h + attention(n) + down(silu(gate(n)) ⊙ up(n))
//! logits = logit_scale · final_norm(h) · embeddingᵀ
//! ```
//!
//! Queries and keys are rotated in interleaved pairs; keys and values may have
//! fewer heads than queries. Geometry: Cohere's published configurations, as
//! read by transformers' `CohereForCausalLM`.

use std::collections::BTreeMap;

use interlingua_backend::ops::{self, Rotary, RotaryStyle, Tree};
use interlingua_backend::{Device, Tensor, from_rows};

use crate::config::Config;
use crate::hooks::HookPoint;

/// What happens to a state at a hook point inside a block.
pub type Tap<'a> = &'a mut dyn FnMut(HookPoint, Tensor<2>) -> Tensor<2>;

/// Matrices of one block, each `[out, in]`, in the order of [`BLOCK_TENSORS`].
#[derive(Debug, Clone)]
pub struct Block {
    /// Gain of the layer norm, `[hidden]`.
    pub norm: Tensor<1>,
    /// Query projection.
    pub q: Tensor<2>,
    /// Key projection.
    pub k: Tensor<2>,
    /// Value projection.
    pub v: Tensor<2>,
    /// Output projection of attention.
    pub o: Tensor<2>,
    /// Gate projection of the MLP.
    pub gate: Tensor<2>,
    /// Up projection of the MLP.
    pub up: Tensor<2>,
    /// Down projection of the MLP.
    pub down: Tensor<2>,
}

/// Names of a block's tensors after `model.layers.L.`.
pub const BLOCK_TENSORS: [&str; 8] = [
    "input_layernorm.weight",
    "self_attn.q_proj.weight",
    "self_attn.k_proj.weight",
    "self_attn.v_proj.weight",
    "self_attn.o_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
];

/// Name of a block's tensor.
pub fn block_tensor(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}

/// Shapes of a block's tensors, in the order of [`BLOCK_TENSORS`].
pub fn block_shapes(c: &Config) -> [Vec<usize>; 8] {
    let (d, q, kv) = (c.hidden_size, c.heads * c.head_dim, c.kv_heads * c.head_dim);
    [
        vec![d],
        vec![q, d],
        vec![kv, d],
        vec![kv, d],
        vec![d, q],
        vec![c.intermediate_size, d],
        vec![c.intermediate_size, d],
        vec![d, c.intermediate_size],
    ]
}

/// Every tensor of a checkpoint with its shape.
pub fn tensors(c: &Config) -> BTreeMap<String, Vec<usize>> {
    let mut all = BTreeMap::new();
    all.insert("model.embed_tokens.weight".to_owned(), vec![c.vocab_size, c.hidden_size]);
    all.insert("model.norm.weight".to_owned(), vec![c.hidden_size]);
    if !c.tied {
        all.insert("lm_head.weight".to_owned(), vec![c.vocab_size, c.hidden_size]);
    }
    for layer in 0..c.layers {
        for (name, shape) in BLOCK_TENSORS.iter().zip(block_shapes(c)) {
            all.insert(block_tensor(layer, name), shape);
        }
    }
    all
}

impl Block {
    /// A block from its tensors, read by name.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn load<E>(
        c: &Config,
        layer: usize,
        device: &Device,
        mut read: impl FnMut(&str) -> Result<Vec<f32>, E>,
    ) -> Result<Block, E> {
        let shapes = block_shapes(c);
        let mut matrix = |at: usize| -> Result<Tensor<2>, E> {
            let values = read(&block_tensor(layer, BLOCK_TENSORS[at]))?;
            let shape = &shapes[at];
            let (rows, cols) = if shape.len() == 2 { (shape[0], shape[1]) } else { (1, shape[0]) };
            Ok(from_rows(values, rows, cols, device))
        };
        Ok(Block {
            norm: matrix(0)?.reshape([c.hidden_size]),
            q: matrix(1)?,
            k: matrix(2)?,
            v: matrix(3)?,
            o: matrix(4)?,
            gate: matrix(5)?,
            up: matrix(6)?,
            down: matrix(7)?,
        })
    }

    /// Pushes packed states through the block.
    ///
    /// # Shapes
    /// `h`: `[rows, hidden]`, result the same.
    pub fn forward(&self, c: &Config, layer: usize, h: Tensor<2>, tree: &Tree, rotary: &Rotary, tap: Tap<'_>) -> Tensor<2> {
        let n = ops::layer_norm(h.clone(), &self.norm, c.norm_eps);
        let rotate = |x| ops::rotary(x, &tree.positions, rotary, RotaryStyle::Interleaved);
        let q = rotate(ops::linear(n.clone(), &self.q));
        let k = rotate(ops::linear(n.clone(), &self.k));
        let v = ops::linear(n.clone(), &self.v);
        let mixed = ops::attention(q, k, v, tree, c.heads, c.kv_heads);
        let attention = tap(HookPoint::Attention(layer), ops::linear(mixed, &self.o));
        let gated = ops::silu_gate(ops::linear(n.clone(), &self.gate), ops::linear(n, &self.up));
        let mlp = tap(HookPoint::Mlp(layer), ops::linear(gated, &self.down));
        h + attention + mlp
    }
}
