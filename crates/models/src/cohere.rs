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

use interlingua_backend::ops::{self, Activation, Attention, Rotary, Tree};
use interlingua_backend::{Device, Tensor, from_rows, to_host};

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
    all.insert(
        "model.embed_tokens.weight".to_owned(),
        vec![c.vocab_size, c.hidden_size],
    );
    all.insert("model.norm.weight".to_owned(), vec![c.hidden_size]);
    if !c.tied {
        all.insert(
            "lm_head.weight".to_owned(),
            vec![c.vocab_size, c.hidden_size],
        );
    }
    for layer in 0..c.layers {
        for (name, shape) in BLOCK_TENSORS.iter().zip(block_shapes(c)) {
            all.insert(block_tensor(layer, name), shape);
        }
    }
    all
}

fn attention_of(c: &Config) -> Attention {
    Attention::causal(c.heads, c.kv_heads, c.head_dim)
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
            let (rows, cols) = if shape.len() == 2 {
                (shape[0], shape[1])
            } else {
                (1, shape[0])
            };
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

    /// The same block with every tensor recorded by autodiff.
    pub fn require_grad(self) -> Block {
        Block {
            norm: self.norm.require_grad(),
            q: self.q.require_grad(),
            k: self.k.require_grad(),
            v: self.v.require_grad(),
            o: self.o.require_grad(),
            gate: self.gate.require_grad(),
            up: self.up.require_grad(),
            down: self.down.require_grad(),
        }
    }

    /// Pushes packed states through the block.
    ///
    /// # Shapes
    /// `h`: `[rows, hidden]`, result the same.
    pub fn forward(
        &self,
        c: &Config,
        layer: usize,
        h: Tensor<2>,
        tree: &Tree,
        rotary: &Rotary,
        tap: Tap<'_>,
    ) -> Tensor<2> {
        let n = ops::layer_norm(h.clone(), &self.norm, None, c.norm_eps);
        let rotate = |x| ops::rotary(x, &tree.positions, rotary);
        let q = rotate(ops::linear(n.clone(), &self.q));
        let k = rotate(ops::linear(n.clone(), &self.k));
        let v = ops::linear(n.clone(), &self.v);
        let mixed = ops::attention(q, k, v, tree, &attention_of(c));
        let attention = tap(HookPoint::Attention(layer), ops::linear(mixed, &self.o));
        let gated = ops::gate(
            ops::linear(n.clone(), &self.gate),
            ops::linear(n, &self.up),
            Activation::Silu,
        );
        let mlp = tap(HookPoint::Mlp(layer), ops::linear(gated, &self.down));
        h + attention + mlp
    }
}

/// What a block keeps of its forward pass for the backward pass on the CPU.
pub struct Saved {
    input: Tensor<2>,
    normed: Tensor<2>,
    qkv: [Tensor<2>; 3],
    mixed: Tensor<2>,
    gate: Tensor<2>,
    up: Tensor<2>,
    gated: Tensor<2>,
}

impl Block {
    /// [`Block::forward`] that keeps what [`Block::backward`] needs.
    ///
    /// # Shapes
    /// `h`: `[rows, hidden]`.
    pub fn forward_saved(
        &self,
        c: &Config,
        h: Tensor<2>,
        tree: &Tree,
        rotary: &Rotary,
    ) -> (Tensor<2>, Saved) {
        let normed = ops::layer_norm(h.clone(), &self.norm, None, c.norm_eps);
        let rotate = |x| ops::rotary(x, &tree.positions, rotary);
        let q = rotate(ops::linear(normed.clone(), &self.q));
        let k = rotate(ops::linear(normed.clone(), &self.k));
        let v = ops::linear(normed.clone(), &self.v);
        let mixed = ops::attention(q.clone(), k.clone(), v.clone(), tree, &attention_of(c));
        let (gate, up) = (
            ops::linear(normed.clone(), &self.gate),
            ops::linear(normed.clone(), &self.up),
        );
        let gated = ops::gate(gate.clone(), up.clone(), Activation::Silu);
        let out = h.clone()
            + ops::linear(mixed.clone(), &self.o)
            + ops::linear(gated.clone(), &self.down);
        (
            out,
            Saved {
                input: h,
                normed,
                qkv: [q, k, v],
                mixed,
                gate,
                up,
                gated,
            },
        )
    }

    /// Gradient with respect to the block's input, and of its tensors in the order of [`BLOCK_TENSORS`].
    ///
    /// # Shapes
    /// `grad`: `[rows, hidden]`, with respect to the block's output.
    pub fn backward(
        &self,
        c: &Config,
        grad: Tensor<2>,
        saved: Saved,
        tree: &Tree,
        rotary: &Rotary,
    ) -> (Tensor<2>, Vec<Vec<f32>>) {
        let Saved {
            input,
            normed,
            qkv,
            mixed,
            gate,
            up,
            gated,
        } = saved;
        let transposed = grad.clone().transpose();
        let d_down = transposed.clone().matmul(gated);
        let d_o = transposed.matmul(mixed);
        let (d_gate, d_up) =
            ops::backward::silu_gate(grad.clone().matmul(self.down.clone()), gate, up);
        let d_mixed = grad.clone().matmul(self.o.clone());
        let [d_q, d_k, d_v] = ops::backward::attention(d_mixed, qkv, tree, &attention_of(c));
        let d_q = ops::backward::rotary(d_q, &tree.positions, rotary);
        let d_k = ops::backward::rotary(d_k, &tree.positions, rotary);
        let mut d_normed = d_gate.clone().matmul(self.gate.clone());
        let mut weights = Vec::with_capacity(BLOCK_TENSORS.len());
        for (d, w) in [
            (&d_up, &self.up),
            (&d_q, &self.q),
            (&d_k, &self.k),
            (&d_v, &self.v),
        ] {
            d_normed = d_normed + d.clone().matmul(w.clone());
        }
        let (d_input, d_norm) = ops::backward::layer_norm(d_normed, input, &self.norm, c.norm_eps);
        weights.push(d_norm);
        for d in [d_q, d_k, d_v] {
            weights.push(to_host(d.transpose().matmul(normed.clone())));
        }
        weights.push(to_host(d_o));
        for d in [d_gate, d_up] {
            weights.push(to_host(d.transpose().matmul(normed.clone())));
        }
        weights.push(to_host(d_down));
        (grad + d_input, weights)
    }
}
