//! The architecture GPT-2, and the block that it shares with BLOOM.
//!
//! ```text
//! h  = embedding + positions
//! h' = h  + attention(norm₁(h))                mean-subtracting norms with bias
//! h″ = h' + proj(gelu(fc(norm₂(h'))))
//! logits = final_norm(h) · embeddingᵀ
//! ```
//!
//! Matrices are stored `[in, out]`, and those of queries, keys and values as one. `reorder_and_upcast_attn` concerns
//! the order of half-precision operations and has no effect here. Source: Radford et al., *Language Models are
//! Unsupervised Multitask Learners* (2019); the names and defaults are those of transformers' `GPT2LMHeadModel`.

use interlingua_backend::Tensor;
use interlingua_backend::ops::{self, Activation, Tree};

use super::parts::{Attention, Mlp, split_qkv};
use super::{Architecture, Embedding, Modules, Norm, Tap, lm_head};
use crate::ModelError;
use crate::config::{Geometry, Reader};
use crate::weights::{Source, Tensors};
use interlingua_edits::Hook;

/// A GPT-2 checkpoint.
#[derive(Debug)]
struct Gpt2 {
    geometry: Geometry,
    activation: Activation,
    norm_eps: f32,
    tied: bool,
    /// Whether scores are divided by the root of the head's width.
    scaled: bool,
    /// Whether scores are divided by the number of the block, counted from 1.
    scaled_by_layer: bool,
}

/// Reads the configuration of `GPT2LMHeadModel`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    r.only("add_cross_attention", false)?;
    let hidden_size = r.size(r.either("n_embd", "hidden_size")?, None)?;
    let heads_key = r.either("n_head", "num_attention_heads")?;
    let heads = r.size(heads_key, None)?;
    let positions_key = r.either("n_positions", "max_position_embeddings")?;
    let vocab_size = r.size("vocab_size", None)?;
    Ok(Box::new(Gpt2 {
        geometry: Geometry {
            architecture: "GPT2LMHeadModel".into(),
            hidden_size,
            intermediate_size: r.size("n_inner", Some(4 * hidden_size))?,
            gated: false,
            layers: r.size(r.either("n_layer", "num_hidden_layers")?, None)?,
            heads,
            kv_heads: heads,
            head_dim: r.head_dim(heads_key, hidden_size, heads)?,
            vocab_size,
            max_positions: r.size(positions_key, Some(1024))?,
            causal: true,
            bos: r.token_or("bos_token_id", vocab_size, 50_256)?,
            eos: r.token_or("eos_token_id", vocab_size, 50_256)?,
        },
        activation: r.activation("activation_function", "gelu_new")?,
        norm_eps: r.epsilon("layer_norm_epsilon", 1e-5)?,
        tied: r.flag("tie_word_embeddings", true)?,
        scaled: r.flag("scale_attn_weights", true)?,
        scaled_by_layer: r.flag("scale_attn_by_inverse_layer_idx", false)?,
    }))
}

/// One block.
pub(super) struct Block {
    /// The number of the block, counted from 0.
    pub layer: usize,
    /// The norm before attention.
    pub attention_norm: Norm,
    /// The attention of the block.
    pub attention: Attention,
    /// The norm before the MLP.
    pub mlp_norm: Norm,
    /// The MLP of the block.
    pub mlp: Mlp,
}

impl super::Block for Block {
    fn forward(&self, h: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2> {
        let n = self.attention_norm.forward(h.clone());
        let attention = self.attention.forward(self.layer, n, tree, tap);
        let h = tree.keep(h) + tap(Hook::attention(self.layer), attention);
        let mlp = self
            .mlp
            .forward(self.layer, self.mlp_norm.forward(h.clone()), tap);
        h + tap(Hook::mlp(self.layer), mlp)
    }
}

impl Gpt2 {
    fn attention(&self, layer: usize) -> ops::Attention {
        let g = &self.geometry;
        let mut spec = ops::Attention::causal(g.heads, g.kv_heads, g.head_dim);
        if !self.scaled {
            spec.scale = 1.0;
        }
        if self.scaled_by_layer {
            spec.scale /= (layer + 1) as f32;
        }
        spec
    }
}

impl Architecture for Gpt2 {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn tensors(&self) -> Tensors {
        let g = &self.geometry;
        let (d, ffn) = (g.hidden_size, g.intermediate_size);
        let mut all = Tensors::new("transformer.");
        all.add(self.embedding_table(), &[g.vocab_size, d]);
        all.add("transformer.wpe.weight", &[g.max_positions, d]);
        all.norm("transformer.ln_f", d, true);
        all.lm_head(self.tied, &self.embedding_table());
        // The causal mask, which older checkpoints carry along.
        all.ignore("*.attn.bias");
        all.ignore("*.attn.masked_bias");
        for layer in 0..g.layers {
            let name = |part: &str| format!("transformer.h.{layer}.{part}");
            all.norm(&name("ln_1"), d, true);
            all.transposed_linear(&name("attn.c_attn"), 3 * d, d);
            all.transposed_linear(&name("attn.c_proj"), d, d);
            all.norm(&name("ln_2"), d, true);
            all.transposed_linear(&name("mlp.c_fc"), ffn, d);
            all.transposed_linear(&name("mlp.c_proj"), d, ffn);
        }
        all
    }

    fn embedding(&self, source: &Source<'_>) -> Result<Embedding, ModelError> {
        Ok(Embedding {
            positions: Some(source.matrix("transformer.wpe.weight")?),
            ..Embedding::default()
        })
    }

    fn block(
        &self,
        layer: usize,
        source: &Source<'_>,
    ) -> Result<Box<dyn super::Block>, ModelError> {
        let name = |part: &str| format!("transformer.h.{layer}.{part}");
        let norm = |part: &str| source.layer_norm(&name(part), true, self.norm_eps);
        let linear = |part: &str| source.transposed_linear(&name(part));
        let (qkv, bias) = source.map(&name("attn.c_attn"), true)?;
        let [q, k, v] = split_qkv(qkv.transpose(), bias, 1);
        Ok(Box::new(Block {
            layer,
            attention_norm: norm("ln_1")?,
            attention: Attention {
                q,
                k,
                v,
                o: linear("attn.c_proj")?,
                qk_norms: None,
                rotary: None,
                spec: self.attention(layer),
            },
            mlp_norm: norm("ln_2")?,
            mlp: Mlp {
                up: linear("mlp.c_fc")?,
                down: linear("mlp.c_proj")?,
                activation: self.activation,
            },
        }))
    }

    fn final_norm(&self, source: &Source<'_>) -> Result<Option<Norm>, ModelError> {
        source
            .layer_norm("transformer.ln_f", true, self.norm_eps)
            .map(Some)
    }

    fn embedding_table(&self) -> String {
        "transformer.wte.weight".into()
    }

    fn head_table(&self) -> Option<String> {
        Some(lm_head(self.tied, self.embedding_table()))
    }

    fn stores_transposed(&self) -> bool {
        true
    }

    fn modules(&self) -> Modules {
        Modules {
            prefix: "transformer.",
            embedding: "drop",
            block: "h.{L}",
            qkv: ["attn.c_attn[0]", "attn.c_attn[1]", "attn.c_attn[2]"],
            heads: "attn.c_proj",
            gate: None,
            up: "mlp.c_fc",
            units: "mlp.c_proj",
            attention: "attn",
            mlp: "mlp",
            final_norm: Some("ln_f"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::check_refusals;

    #[test]
    fn settings_that_cannot_be_run_are_refused() {
        let base =
            json!({"vocab_size": 32, "n_embd": 12, "n_layer": 2, "n_head": 3, "n_inner": null});
        check_refusals(
            read,
            &base,
            &[
                ("add_cross_attention", json!(true), "false is"),
                ("n_embd", Value::Null, "missing"),
                ("n_head", json!(5), "does not divide"),
                ("num_attention_heads", json!(4), "another name"),
                ("n_inner", json!(0), "whole number"),
                ("activation_function", json!("tanh"), "tanh"),
                ("scale_attn_weights", json!(1), "true or false"),
                (
                    "scale_attn_by_inverse_layer_idx",
                    json!("no"),
                    "true or false",
                ),
                ("bos_token_id", json!(32), "below vocab_size"),
            ],
        );
    }

    #[test]
    fn either_name_of_a_setting_is_read() {
        let json = json!({
            "vocab_size": 60_000, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
            "n_head": 3, "max_position_embeddings": 7,
        });
        let gpt2 = read(&Reader::new("config.json".as_ref(), &json)).unwrap();
        let g = gpt2.geometry();
        assert_eq!((g.hidden_size, g.layers, g.heads), (12, 2, 3));
        assert_eq!((g.intermediate_size, g.max_positions), (48, 7));
        assert_eq!((g.bos, g.eos), (Some(50_256), Some(50_256)));
    }
}
