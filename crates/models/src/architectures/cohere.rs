//! The architecture Cohere (Command R, Aya Expanse).
//!
//! A block adds the results of attention and of a gated MLP to the residual stream; both read the same normalised
//! input:
//!
//! ```text
//! n  = layer_norm(h)                       mean-subtracting, gain only
//! h' = h + attention(n) + down(silu(gate(n)) ⊙ up(n))
//! logits = logit_scale · final_norm(h) · embeddingᵀ
//! ```
//!
//! Queries and keys are rotated in interleaved pairs. There may be fewer heads of keys and values than of queries.
//! The geometry is that of Cohere's published configurations, as transformers' `CohereForCausalLM` reads them.

use std::sync::Arc;

use interlingua_backend::ops::{
    self, Activation, Logits, Matrix, Rotary, RotaryScaling, RotaryStyle, Tree, Weight,
};
use interlingua_backend::{Device, Tensor, from_rows, to_host};
use serde_json::Value;

use super::parts::tap_qkv;
use super::{Architecture, Embedding, Head, Modules, Norm, Tap, lm_head, rope};
use crate::ModelError;
use crate::config::{Geometry, Reader, decimal};
use crate::weights::{Source, Tensors};
use interlingua_edits::Hook;

/// The settings of a Cohere model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width of the gated MLP.
    pub intermediate_size: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// The width of one head.
    pub head_dim: usize,
    /// The number of rows of the embedding.
    pub vocab_size: usize,
    /// The length of the longest sequence, in tokens.
    pub max_positions: usize,
    /// The epsilon of the layer norms.
    pub norm_eps: f32,
    /// The base of the rotary angles.
    pub rope_theta: f32,
    /// The factor on the logits.
    pub logit_scale: f32,
    /// Whether the LM head is the embedding.
    pub tied: bool,
    /// Whether every head of the queries and keys is normalised (Command R+).
    pub qk_norm: bool,
    /// Whether the projections of attention have biases.
    pub attention_bias: bool,
    /// The id of the beginning-of-sequence token.
    pub bos: Option<u32>,
    /// The id of the end-of-sequence token.
    pub eos: Option<u32>,
}

impl Config {
    /// Reads the keys that Cohere and Cohere 2 share. `default_theta` is the base of the rotary angles for files that
    /// give none.
    pub(super) fn read(
        r: &Reader<'_>,
        default_theta: Option<f64>,
    ) -> Result<(Config, Arc<Rotary>), ModelError> {
        r.only("hidden_act", "silu")?;
        let hidden_size = r.size("hidden_size", None)?;
        let (heads, kv_heads, head_dim) = r.heads(hidden_size)?;
        let (rope_theta, scaling) = rope::read(r, head_dim, default_theta)?;
        let vocab_size = r.size("vocab_size", None)?;
        let config = Config {
            hidden_size,
            intermediate_size: r.size("intermediate_size", None)?,
            layers: r.size("num_hidden_layers", None)?,
            heads,
            kv_heads,
            head_dim,
            vocab_size,
            max_positions: r.size("max_position_embeddings", Some(8192))?,
            norm_eps: r.epsilon("layer_norm_eps", 1e-5)?,
            rope_theta,
            logit_scale: r.positive("logit_scale", Some(0.0625))?,
            tied: r.flag("tie_word_embeddings", true)?,
            qk_norm: r.flag("use_qk_norm", false)?,
            attention_bias: r.flag("attention_bias", false)?,
            bos: r.token_or("bos_token_id", vocab_size, 5)?,
            eos: r.token_or("eos_token_id", vocab_size, 255_001)?,
        };
        let rotary = Rotary::new(head_dim, rope_theta, RotaryStyle::Interleaved, scaling);
        Ok((config, Arc::new(rotary)))
    }

    /// Returns the settings as JSON that transformers reads.
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "architectures": ["CohereForCausalLM"],
            "attention_bias": self.attention_bias,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos,
            "eos_token_id": self.eos,
            "dtype": "float32",
            "torch_dtype": "float32",
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "layer_norm_eps": decimal(self.norm_eps),
            "logit_scale": decimal(self.logit_scale),
            "max_position_embeddings": self.max_positions,
            "model_type": "cohere",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "pad_token_id": 0,
            "rope_theta": decimal(self.rope_theta),
            "tie_word_embeddings": self.tied,
            "use_cache": true,
            "use_qk_norm": self.qk_norm,
            "vocab_size": self.vocab_size,
        })
    }

    /// Returns the rotary angles without scaling.
    pub fn rotary(&self) -> Arc<Rotary> {
        Arc::new(Rotary::new(
            self.head_dim,
            self.rope_theta,
            RotaryStyle::Interleaved,
            RotaryScaling::None,
        ))
    }

    /// Returns how a block with full causal attention is run.
    pub fn run(&self, layer: usize, rotary: &Arc<Rotary>) -> Run {
        Run {
            layer,
            eps: self.norm_eps,
            attention: ops::Attention::causal(self.heads, self.kv_heads, self.head_dim),
            rotary: Some(rotary.clone()),
        }
    }
}

/// Everything that is needed to run one block, except its weights.
#[derive(Debug, Clone)]
pub struct Run {
    /// The number of the block, counted from 0.
    pub layer: usize,
    /// The epsilon of its norms.
    pub eps: f32,
    /// The heads, the scale and the mask of attention.
    pub attention: ops::Attention,
    /// The rotary angles; `None` for a block without position embedding (Cohere 2).
    pub rotary: Option<Arc<Rotary>>,
}

/// The matrices of one block, each `[out, in]`, in the order of [`BLOCK_TENSORS`]. They are tensors if the block is
/// trained, and otherwise laid out for fast products.
#[derive(Debug, Clone)]
pub struct Block<W = Tensor<2>> {
    /// The gain of the layer norm, `[hidden]`.
    pub norm: Tensor<1>,
    /// The query projection.
    pub q: W,
    /// The key projection.
    pub k: W,
    /// The value projection.
    pub v: W,
    /// The output projection of attention.
    pub o: W,
    /// The gate projection of the MLP.
    pub gate: W,
    /// The up projection of the MLP.
    pub up: W,
    /// The down projection of the MLP.
    pub down: W,
    /// The gains of the query and key norms, `[heads · head_dim]` and `[kv_heads · head_dim]`.
    pub qk_gains: Option<(Tensor<1>, Tensor<1>)>,
    /// The biases of the query, key, value and output projections.
    pub biases: Option<[Tensor<1>; 4]>,
}

/// The projections of attention, in the order of [`Block::biases`].
const PROJECTIONS: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];

/// The names of a block's tensors, without the prefix `model.layers.L.`.
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

/// Returns the full name of a block's tensor.
pub fn block_tensor(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}

/// Returns the shapes of a block's tensors, in the order of [`BLOCK_TENSORS`].
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

/// Returns every tensor of a checkpoint with its shape.
pub fn tensors(c: &Config) -> Tensors {
    let mut all = Tensors::new("model.");
    all.add("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size]);
    all.add("model.norm.weight", &[c.hidden_size]);
    all.lm_head(c.tied, "model.embed_tokens.weight");
    all.ignore("*.rotary_emb.inv_freq");
    for layer in 0..c.layers {
        for (name, shape) in BLOCK_TENSORS.iter().zip(block_shapes(c)) {
            all.add(block_tensor(layer, name), &shape);
        }
        if c.qk_norm {
            let name = |n| block_tensor(layer, n);
            all.add(name("self_attn.q_norm.weight"), &[c.heads, c.head_dim]);
            all.add(name("self_attn.k_norm.weight"), &[c.kv_heads, c.head_dim]);
        }
        if c.attention_bias {
            for (projection, shape) in PROJECTIONS.iter().zip(&block_shapes(c)[1..]) {
                let name = format!("self_attn.{projection}.bias");
                all.add(block_tensor(layer, &name), &shape[..1]);
            }
        }
    }
    all
}

impl Block {
    /// Makes a block from its tensors, which `read` returns by name.
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
            qk_gains: None,
            biases: None,
        })
    }

    /// Returns the same block with every tensor recorded by autodiff.
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
            qk_gains: self
                .qk_gains
                .map(|(q, k)| (q.require_grad(), k.require_grad())),
            biases: self.biases.map(|b| b.map(Tensor::require_grad)),
        }
    }

    /// Returns the same block for passes without gradients.
    pub fn laid_out(self) -> Block<Matrix> {
        Block {
            norm: self.norm,
            q: Matrix::new(self.q),
            k: Matrix::new(self.k),
            v: Matrix::new(self.v),
            o: Matrix::new(self.o),
            gate: Matrix::new(self.gate),
            up: Matrix::new(self.up),
            down: Matrix::new(self.down),
            qk_gains: self.qk_gains,
            biases: self.biases,
        }
    }
}

impl<W: Weight> Block<W> {
    /// Runs packed states through the block.
    ///
    /// # Shapes
    /// `h` is `[rows, hidden]`, and the result is `[asked rows, hidden]`.
    pub fn forward(&self, run: &Run, h: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2> {
        // Nothing but attention reads other rows, nothing but the rotation a row's position.
        let [q, k, v, mlp] = tree.once(h.clone(), |h| {
            let n = ops::layer_norm(h, &self.norm, None, run.eps);
            let ([q, k, v], [gate, up]) = self.project(run, n, tree, tap);
            let gate = tap(Hook::gate(run.layer), gate);
            let up = tap(Hook::up(run.layer), up);
            let gated = ops::gate(gate, up, Activation::Silu);
            let gated = tap(Hook::units(run.layer), gated);
            let down = tap(Hook::down(run.layer), ops::linear(gated, &self.down));
            [q, k, v, down]
        });
        let [q, k] = self.place(run, q, k, tree);
        let mixed = ops::attention(q, k, v, tree, &run.attention);
        let mixed = tap(Hook::heads(run.layer), mixed);
        let attention = ops::affine(mixed, &self.o, self.bias(3));
        let attention = tap(Hook::projected(run.layer), attention);
        let attention = tap(Hook::attention(run.layer), attention);
        let mlp = tap(Hook::mlp(run.layer), mlp);
        tree.keep(h) + attention + mlp
    }

    /// Queries, keys and values, and the MLP's gate and up projections.
    fn project(
        &self,
        run: &Run,
        n: Tensor<2>,
        tree: &Tree,
        tap: Tap<'_>,
    ) -> ([Tensor<2>; 3], [Tensor<2>; 2]) {
        let (q, k, v) = (
            (&self.q, self.bias(0)),
            (&self.k, self.bias(1)),
            (&self.v, self.bias(2)),
        );
        let (gate, up) = ((&self.gate, None), (&self.up, None));
        let [q, k, v, gate, up] = match tree.asked {
            None => W::affines(n, [q, k, v, gate, up]),
            Some(_) => {
                let [q, gate, up] = W::affines(tree.keep(n.clone()), [q, gate, up]);
                let [k, v] = W::affines(n, [k, v]);
                [q, k, v, gate, up]
            }
        };
        let [mut q, mut k, v] = tap_qkv(run.layer, [q, k, v], tap);
        if let Some((q_gain, k_gain)) = &self.qk_gains {
            q = self.norm_heads(run, q, q_gain);
            k = self.norm_heads(run, k, k_gain);
        }
        ([q, k, v], [gate, up])
    }

    /// Queries and keys turned by their positions.
    fn place(&self, run: &Run, q: Tensor<2>, k: Tensor<2>, tree: &Tree) -> [Tensor<2>; 2] {
        match &run.rotary {
            Some(rotary) => [
                ops::rotary(q, &tree.asked_positions(), rotary),
                ops::rotary(k, &tree.positions, rotary),
            ],
            None => [q, k],
        }
    }

    fn bias(&self, at: usize) -> Option<&Tensor<1>> {
        self.biases.as_ref().map(|b| &b[at])
    }

    /// Every head is normalised by itself and has gains of its own.
    fn norm_heads(&self, run: &Run, x: Tensor<2>, gain: &Tensor<1>) -> Tensor<2> {
        let unit = Norm::Layer {
            gain: Tensor::ones([run.attention.head_dim], &x.device()),
            bias: None,
            eps: run.eps,
        };
        unit.each_head(x, run.attention.head_dim) * gain.clone().unsqueeze()
    }
}

/// The intermediate results of a block's forward pass that the backward pass on the CPU needs.
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
    /// Runs [`Block::forward`] and keeps what [`Block::backward`] needs.
    ///
    /// # Shapes
    /// `h` is `[rows, hidden]`.
    pub fn forward_saved(&self, run: &Run, h: Tensor<2>, tree: &Tree) -> (Tensor<2>, Saved) {
        assert!(self.qk_gains.is_none(), "query-key norms are not trained");
        assert!(self.biases.is_none(), "attention biases are not trained");
        let normed = ops::layer_norm(h.clone(), &self.norm, None, run.eps);
        let ([q, k, v], [gate, up]) = self.project(run, normed.clone(), tree, &mut |_, h| h);
        let [q, k] = self.place(run, q, k, tree);
        let mixed = ops::attention(q.clone(), k.clone(), v.clone(), tree, &run.attention);
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

    /// Computes the gradient with respect to the block's input, and the gradients of its tensors in the order of
    /// [`BLOCK_TENSORS`].
    ///
    /// # Shapes
    /// `grad` is `[rows, hidden]`, the gradient with respect to the block's output.
    pub fn backward(
        &self,
        run: &Run,
        grad: Tensor<2>,
        saved: Saved,
        tree: &Tree,
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
        let [mut d_q, mut d_k, d_v] = ops::backward::attention(d_mixed, qkv, tree, &run.attention);
        if let Some(rotary) = &run.rotary {
            d_q = ops::backward::rotary(d_q, &tree.positions, rotary);
            d_k = ops::backward::rotary(d_k, &tree.positions, rotary);
        }
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
        let (d_input, d_norm) = ops::backward::layer_norm(d_normed, input, &self.norm, run.eps);
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

/// A Cohere checkpoint.
#[derive(Debug)]
struct Cohere {
    config: Config,
    geometry: Geometry,
    /// How each block is run.
    runs: Vec<Run>,
}

/// Reads the configuration of `CohereForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    // transformers' default base has changed between versions, so the file must have one.
    let (config, rotary) = Config::read(r, None)?;
    let runs = (0..config.layers).map(|l| config.run(l, &rotary)).collect();
    Ok(build("CohereForCausalLM", config, runs))
}

/// Makes an architecture of Cohere blocks, each of which is run in its own way.
pub(super) fn build(name: &str, config: Config, runs: Vec<Run>) -> Box<dyn Architecture> {
    let c = &config;
    let geometry = Geometry {
        architecture: name.to_owned(),
        hidden_size: c.hidden_size,
        intermediate_size: c.intermediate_size,
        gated: true,
        layers: c.layers,
        heads: c.heads,
        kv_heads: c.kv_heads,
        head_dim: c.head_dim,
        vocab_size: c.vocab_size,
        max_positions: c.max_positions,
        causal: true,
        bos: c.bos,
        eos: c.eos,
    };
    Box::new(Cohere {
        config,
        geometry,
        runs,
    })
}

/// A block and how it is run.
struct Layer {
    block: Block<Matrix>,
    run: Run,
}

impl super::Block for Layer {
    fn forward(&self, h: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2> {
        self.block.forward(&self.run, h, tree, tap)
    }
}

impl Architecture for Cohere {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn tensors(&self) -> Tensors {
        tensors(&self.config)
    }

    fn embedding(&self, _: &Source<'_>) -> Result<Embedding, ModelError> {
        Ok(Embedding::default())
    }

    fn block(
        &self,
        layer: usize,
        source: &Source<'_>,
    ) -> Result<Box<dyn super::Block>, ModelError> {
        let mut block = Block::load(&self.config, layer, source.device, |name| source.read(name))?;
        if self.config.qk_norm {
            let gain = |name| source.vector(&block_tensor(layer, name));
            block.qk_gains = Some((
                gain("self_attn.q_norm.weight")?,
                gain("self_attn.k_norm.weight")?,
            ));
        }
        if self.config.attention_bias {
            let bias = |at: usize| {
                let name = format!("self_attn.{}.bias", PROJECTIONS[at]);
                source.vector(&block_tensor(layer, &name))
            };
            block.biases = Some([bias(0)?, bias(1)?, bias(2)?, bias(3)?]);
        }
        Ok(Box::new(Layer {
            block: block.laid_out(),
            run: self.runs[layer].clone(),
        }))
    }

    fn final_norm(&self, source: &Source<'_>) -> Result<Option<Norm>, ModelError> {
        source
            .layer_norm("model.norm", false, self.config.norm_eps)
            .map(Some)
    }

    fn head(&self, _: &Source<'_>) -> Result<Head, ModelError> {
        Ok(Head {
            logits: Logits {
                scale: self.config.logit_scale,
                ..Logits::default()
            },
            ..Head::default()
        })
    }

    fn embedding_table(&self) -> String {
        "model.embed_tokens.weight".into()
    }

    fn head_table(&self) -> Option<String> {
        Some(lm_head(self.config.tied, self.embedding_table()))
    }

    fn modules(&self) -> Modules {
        super::LLAMA_MODULES
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::decoder::checks::{refuses, with};
    use super::*;

    #[test]
    fn bad_settings_are_refused_by_their_key() {
        refuses(
            read,
            &[
                (
                    json!({"attention_bias": 1}),
                    "attention_bias",
                    "true or false",
                ),
                (json!({"use_qk_norm": "no"}), "use_qk_norm", "true or false"),
                (json!({"logit_scale": 0}), "logit_scale", "positive"),
                (json!({"rope_theta": null}), "rope_theta", "missing"),
                (json!({"hidden_act": "relu"}), "hidden_act", "silu"),
                (json!({"head_dim": 3}), "head_dim", "odd"),
            ],
        );
    }

    #[test]
    fn biases_are_as_long_as_what_they_are_added_to() {
        let tensors = with(read, json!({"attention_bias": true}))
            .unwrap()
            .tensors();
        let lengths = PROJECTIONS.map(|projection| {
            let name = format!("self_attn.{projection}.bias");
            tensors.needed()[&block_tensor(2, &name)].clone()
        });
        assert_eq!(lengths, [[12], [4], [4], [12]]);
    }
}
