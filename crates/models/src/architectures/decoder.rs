//! The decoder block that Llama, Mistral, Qwen 2 and Qwen 3 share.
//!
//! ```text
//! h'     = h + attention(rms_norm(h))
//! h''    = h' + down(act(gate(n)) ⊙ up(n))      n = rms_norm(h')
//! logits = final_norm(h) · headᵀ
//! ```
//!
//! Queries and keys are rotated in the two halves of each head. There may be fewer heads of keys and values than of
//! queries. The families differ in their biases, in the norms of queries and keys, and in which blocks see only a
//! window.

use std::sync::Arc;

use interlingua_backend::Tensor;
use interlingua_backend::ops::{self, Activation, Mask, Rotary, RotaryStyle, Tree};

use super::parts::{Attention, GatedMlp};
use super::{Architecture, Block, Embedding, Modules, Norm, Tap, lm_head, rope};
use crate::ModelError;
use crate::config::{Geometry, Reader};
use crate::weights::{Source, Tensors};
use interlingua_edits::Hook;

/// A checkpoint of one of these families.
#[derive(Debug)]
pub(super) struct Decoder {
    pub geometry: Geometry,
    pub norm_eps: f32,
    /// The activation function of the MLP's gate.
    pub activation: Activation,
    /// Whether the LM head is the embedding.
    pub tied: bool,
    pub rotary: Arc<Rotary>,
    /// For each block, the number of tokens that a query sees; `None` for all.
    pub windows: Vec<Option<usize>>,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether attention's output projection has a bias.
    pub o_bias: bool,
    /// Whether the MLP has biases.
    pub mlp_bias: bool,
    /// Whether every head of the queries and keys is normalised.
    pub qk_norm: bool,
}

impl Decoder {
    /// Sets the start and end tokens that a family uses if its files do not name them.
    pub fn with_special(
        mut self,
        r: &Reader<'_>,
        bos: u32,
        eos: u32,
    ) -> Result<Decoder, ModelError> {
        let vocab_size = self.geometry.vocab_size;
        self.geometry.bos = r.token_or("bos_token_id", vocab_size, bos)?;
        self.geometry.eos = r.token_or("eos_token_id", vocab_size, eos)?;
        Ok(self)
    }

    /// Reads the keys that all families share, with full attention, no biases, and no norms of queries and keys.
    ///
    /// `max_positions` is the family's default for the key of that meaning.
    pub fn read(r: &Reader<'_>, name: &str, max_positions: usize) -> Result<Decoder, ModelError> {
        let hidden_size = r.size("hidden_size", None)?;
        let (heads, kv_heads, head_dim) = r.heads(hidden_size)?;
        // Older files have no base, and all versions of transformers then take this one.
        let (theta, scaling) = rope::read(r, head_dim, Some(10_000.0))?;
        let rotary = Rotary::new(head_dim, theta, RotaryStyle::HalfSplit, scaling);
        let layers = r.size("num_hidden_layers", None)?;
        let vocab_size = r.size("vocab_size", None)?;
        Ok(Decoder {
            geometry: Geometry {
                architecture: name.to_owned(),
                hidden_size,
                intermediate_size: r.size("intermediate_size", None)?,
                gated: true,
                layers,
                heads,
                kv_heads,
                head_dim,
                vocab_size,
                max_positions: r.size("max_position_embeddings", Some(max_positions))?,
                causal: true,
                bos: r.token("bos_token_id", vocab_size)?,
                eos: r.token("eos_token_id", vocab_size)?,
            },
            norm_eps: r.epsilon("rms_norm_eps", 1e-6)?,
            activation: r.activation("hidden_act", "silu")?,
            tied: r.flag("tie_word_embeddings", false)?,
            rotary: Arc::new(rotary),
            windows: vec![None; layers],
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
        })
    }
}

/// Refuses a file without `num_key_value_heads`. This is for families whose default is that of their first published
/// model rather than the number of query heads.
pub(super) fn require_kv_heads(r: &Reader<'_>) -> Result<(), ModelError> {
    let key = "num_key_value_heads";
    if r.has(key) {
        return Ok(());
    }
    Err(r.bad(key, "missing; expected a positive whole number".into()))
}

/// A block, ready to run.
struct Layer {
    at: usize,
    attention_norm: Norm,
    attention: Attention,
    mlp_norm: Norm,
    mlp: GatedMlp,
}

impl Block for Layer {
    fn forward(&self, h: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2> {
        let attention =
            self.attention
                .forward(self.at, self.attention_norm.forward(h.clone()), tree, tap);
        let h = tree.keep(h) + tap(Hook::attention(self.at), attention);
        let mlp = self
            .mlp
            .forward(self.at, self.mlp_norm.forward(h.clone()), tap);
        h + tap(Hook::mlp(self.at), mlp)
    }
}

impl Architecture for Decoder {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn tensors(&self) -> Tensors {
        let g = &self.geometry;
        let (d, q, kv) = (g.hidden_size, g.heads * g.head_dim, g.kv_heads * g.head_dim);
        let mut all = Tensors::new("model.");
        all.add("model.embed_tokens.weight", &[g.vocab_size, d]);
        all.norm("model.norm", d, false);
        all.lm_head(self.tied, &self.embedding_table());
        all.ignore("*.rotary_emb.inv_freq");
        for layer in 0..g.layers {
            let block = format!("model.layers.{layer}");
            let attention = format!("{block}.self_attn");
            all.norm(&format!("{block}.input_layernorm"), d, false);
            all.linear(&format!("{attention}.q_proj"), q, d, self.qkv_bias);
            all.linear(&format!("{attention}.k_proj"), kv, d, self.qkv_bias);
            all.linear(&format!("{attention}.v_proj"), kv, d, self.qkv_bias);
            all.linear(&format!("{attention}.o_proj"), d, q, self.o_bias);
            if self.qk_norm {
                all.norm(&format!("{attention}.q_norm"), g.head_dim, false);
                all.norm(&format!("{attention}.k_norm"), g.head_dim, false);
            }
            let (mlp, wide) = (format!("{block}.mlp"), g.intermediate_size);
            all.norm(&format!("{block}.post_attention_layernorm"), d, false);
            all.linear(&format!("{mlp}.gate_proj"), wide, d, self.mlp_bias);
            all.linear(&format!("{mlp}.up_proj"), wide, d, self.mlp_bias);
            all.linear(&format!("{mlp}.down_proj"), d, wide, self.mlp_bias);
        }
        all
    }

    fn embedding(&self, _: &Source<'_>) -> Result<Embedding, ModelError> {
        Ok(Embedding::default())
    }

    fn block(&self, layer: usize, source: &Source<'_>) -> Result<Box<dyn Block>, ModelError> {
        let g = &self.geometry;
        let block = format!("model.layers.{layer}");
        let norm = |name: &str| source.rms_norm(&format!("{block}.{name}"), 0.0, self.norm_eps);
        let linear = |name: &str, bias| source.linear(&format!("{block}.{name}"), bias);
        let qk_norms = if self.qk_norm {
            Some((norm("self_attn.q_norm")?, norm("self_attn.k_norm")?))
        } else {
            None
        };
        Ok(Box::new(Layer {
            at: layer,
            attention_norm: norm("input_layernorm")?,
            attention: Attention {
                q: linear("self_attn.q_proj", self.qkv_bias)?,
                k: linear("self_attn.k_proj", self.qkv_bias)?,
                v: linear("self_attn.v_proj", self.qkv_bias)?,
                o: linear("self_attn.o_proj", self.o_bias)?,
                qk_norms,
                rotary: Some(self.rotary.clone()),
                spec: ops::Attention {
                    mask: self.windows[layer].map_or(Mask::Causal, Mask::Window),
                    ..ops::Attention::causal(g.heads, g.kv_heads, g.head_dim)
                },
            },
            mlp_norm: norm("post_attention_layernorm")?,
            mlp: GatedMlp {
                gate: linear("mlp.gate_proj", self.mlp_bias)?,
                up: linear("mlp.up_proj", self.mlp_bias)?,
                down: linear("mlp.down_proj", self.mlp_bias)?,
                activation: self.activation,
            },
        }))
    }

    fn final_norm(&self, source: &Source<'_>) -> Result<Option<Norm>, ModelError> {
        source.rms_norm("model.norm", 0.0, self.norm_eps).map(Some)
    }

    fn embedding_table(&self) -> String {
        "model.embed_tokens.weight".into()
    }

    fn head_table(&self) -> Option<String> {
        Some(lm_head(self.tied, self.embedding_table()))
    }

    fn modules(&self) -> Modules {
        super::LLAMA_MODULES
    }
}

/// What the tests of these families share.
#[cfg(test)]
pub(super) mod checks {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::super::Read;
    use super::*;

    /// Reads a small configuration in which these keys are set.
    pub(crate) fn with(read: Read, changes: Value) -> Result<Box<dyn Architecture>, ModelError> {
        let mut config = json!({
            "hidden_size": 12, "intermediate_size": 14, "num_hidden_layers": 3, "head_dim": 4,
            "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 37, "rope_theta": 1e4,
        });
        for (key, value) in changes.as_object().expect("an object") {
            config[key] = value.clone();
        }
        read(&Reader::new(Path::new("config.json"), &config))
    }

    /// Every row: keys to set, the key that the error must name, and a part of its reason.
    pub(crate) fn refuses(read: Read, rows: &[(Value, &str, &str)]) {
        with(read, json!({})).expect("the unchanged configuration works");
        for (changes, key, reason) in rows {
            match with(read, changes.clone()) {
                Err(ModelError::Config {
                    key: found,
                    problem,
                    ..
                }) => assert!(
                    found == *key && problem.contains(reason),
                    "{changes}: {found}: {problem}"
                ),
                other => panic!("{changes}: {other:?}"),
            }
        }
    }
}
