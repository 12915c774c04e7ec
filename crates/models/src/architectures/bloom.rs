//! The architecture BLOOM: the blocks of GPT-2, with linear biases (ALiBi) instead of position embeddings.
//!
//! ```text
//! h  = norm(embedding)
//! h' = h  + attention(norm₁(h))       score + slope of the head · position of the key
//! h″ = h' + proj(gelu(fc(norm₂(h'))))
//! logits = final_norm(h) · embeddingᵀ
//! ```
//!
//! Queries, keys and values are stored as one matrix, head by head. Source: BLOOM (arXiv 2211.05100); the names and
//! defaults are those of transformers' `BloomForCausalLM`.

use interlingua_backend::ops::{self, Activation, alibi_slopes};

use super::gpt2::Block;
use super::parts::{Attention, Mlp, split_qkv};
use super::{Architecture, Embedding, Modules, Norm, lm_head};
use crate::ModelError;
use crate::config::{Geometry, Reader};
use crate::weights::{Source, Tensors};

/// Longest sequence where the configuration names none: linear biases have no
/// bound, and a single sequence may not take all memory.
const MAX_POSITIONS: usize = 1 << 16;

/// A BLOOM checkpoint.
#[derive(Debug)]
struct Bloom {
    geometry: Geometry,
    norm_eps: f32,
    tied: bool,
}

/// Reads the configuration of `BloomForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    r.only("apply_residual_connection_post_layernorm", false)?;
    // With tensor-parallel ranks, transformers leaves out biases in this mode.
    r.only("slow_but_exact", false)?;
    let hidden_size = r.size(r.either("hidden_size", "n_embed")?, None)?;
    let heads_key = r.either("n_head", "num_attention_heads")?;
    let heads = r.size(heads_key, None)?;
    let vocab_size = r.size("vocab_size", None)?;
    Ok(Box::new(Bloom {
        geometry: Geometry {
            architecture: "BloomForCausalLM".into(),
            hidden_size,
            intermediate_size: 4 * hidden_size,
            gated: false,
            layers: r.size(r.either("n_layer", "num_hidden_layers")?, None)?,
            heads,
            kv_heads: heads,
            head_dim: r.head_dim(heads_key, hidden_size, heads)?,
            vocab_size,
            max_positions: r.size("seq_length", Some(MAX_POSITIONS))?,
            causal: true,
            bos: r.token_or("bos_token_id", vocab_size, 1)?,
            eos: r.token_or("eos_token_id", vocab_size, 2)?,
        },
        norm_eps: r.epsilon("layer_norm_epsilon", 1e-5)?,
        tied: r.flag("tie_word_embeddings", true)?,
    }))
}

impl Architecture for Bloom {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn tensors(&self) -> Tensors {
        let g = &self.geometry;
        let (d, ffn) = (g.hidden_size, g.intermediate_size);
        let mut all = Tensors::new("transformer.");
        all.add(self.embedding_table(), &[g.vocab_size, d]);
        all.norm("transformer.word_embeddings_layernorm", d, true);
        all.norm("transformer.ln_f", d, true);
        all.lm_head(self.tied, &self.embedding_table());
        for layer in 0..g.layers {
            let name = |part: &str| format!("transformer.h.{layer}.{part}");
            all.norm(&name("input_layernorm"), d, true);
            all.linear(&name("self_attention.query_key_value"), 3 * d, d, true);
            all.linear(&name("self_attention.dense"), d, d, true);
            all.norm(&name("post_attention_layernorm"), d, true);
            all.linear(&name("mlp.dense_h_to_4h"), ffn, d, true);
            all.linear(&name("mlp.dense_4h_to_h"), d, ffn, true);
        }
        all
    }

    fn embedding(&self, source: &Source<'_>) -> Result<Embedding, ModelError> {
        let name = "transformer.word_embeddings_layernorm";
        Ok(Embedding {
            norm: Some(source.layer_norm(name, true, self.norm_eps)?),
            ..Embedding::default()
        })
    }

    fn block(
        &self,
        layer: usize,
        source: &Source<'_>,
    ) -> Result<Box<dyn super::Block>, ModelError> {
        let g = &self.geometry;
        let name = |part: &str| format!("transformer.h.{layer}.{part}");
        let norm = |part: &str| source.layer_norm(&name(part), true, self.norm_eps);
        let linear = |part: &str| source.linear(&name(part), true);
        let (qkv, bias) = source.map(&name("self_attention.query_key_value"), true)?;
        let [q, k, v] = split_qkv(qkv, bias, g.heads);
        Ok(Box::new(Block {
            layer,
            attention_norm: norm("input_layernorm")?,
            attention: Attention {
                q,
                k,
                v,
                o: linear("self_attention.dense")?,
                qk_norms: None,
                rotary: None,
                spec: ops::Attention {
                    alibi: Some(alibi_slopes(g.heads)),
                    ..ops::Attention::causal(g.heads, g.kv_heads, g.head_dim)
                },
            },
            mlp_norm: norm("post_attention_layernorm")?,
            mlp: Mlp {
                up: linear("mlp.dense_h_to_4h")?,
                down: linear("mlp.dense_4h_to_h")?,
                activation: Activation::GeluTanh,
            },
        }))
    }

    fn final_norm(&self, source: &Source<'_>) -> Result<Option<Norm>, ModelError> {
        source
            .layer_norm("transformer.ln_f", true, self.norm_eps)
            .map(Some)
    }

    fn embedding_table(&self) -> String {
        "transformer.word_embeddings.weight".into()
    }

    fn head_table(&self) -> Option<String> {
        Some(lm_head(self.tied, self.embedding_table()))
    }

    fn modules(&self) -> Modules {
        Modules {
            prefix: "transformer.",
            embedding: "word_embeddings_layernorm",
            block: "h.{L}",
            qkv: [
                "self_attention.query_key_value[head 0]",
                "self_attention.query_key_value[head 1]",
                "self_attention.query_key_value[head 2]",
            ],
            heads: "self_attention.dense",
            gate: None,
            up: "mlp.dense_h_to_4h",
            units: "mlp.dense_4h_to_h",
            attention: "self_attention.dense",
            mlp: "mlp.dense_4h_to_h",
            final_norm: Some("ln_f"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::check_refusals;

    /// With the names of the published checkpoints.
    fn base() -> Value {
        json!({
            "vocab_size": 32, "n_embed": 12, "n_layer": 2, "num_attention_heads": 3, "n_inner": null,
            "pretraining_tp": 2, "slow_but_exact": false,
        })
    }

    #[test]
    fn settings_that_cannot_be_run_are_refused() {
        check_refusals(
            read,
            &base(),
            &[
                (
                    "apply_residual_connection_post_layernorm",
                    json!(true),
                    "false is",
                ),
                ("slow_but_exact", json!(true), "false is"),
                ("hidden_size", json!(64), "another name"),
                ("n_head", json!(4), "another name"),
                ("num_attention_heads", json!(5), "does not divide"),
                ("n_layer", Value::Null, "missing"),
                ("seq_length", json!(-1), "whole number"),
                ("layer_norm_epsilon", json!(2), "epsilon"),
            ],
        );
    }

    #[test]
    fn a_sequence_is_bounded_with_and_without_a_length() {
        let mut json = base();
        let positions = |json: &Value| {
            let bloom = read(&Reader::new("config.json".as_ref(), json)).unwrap();
            bloom.geometry().max_positions
        };
        assert_eq!(positions(&json), 1 << 16);
        json["seq_length"] = json!(2048);
        assert_eq!(positions(&json), 2048);
    }
}
