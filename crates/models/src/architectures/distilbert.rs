//! The architecture DistilBERT: BERT's blocks without token types, under other names.
//!
//! The epsilon of its norms is always 1e-12. Sinusoidal positions are stored as a table, like learned ones. Source:
//! Sanh et al. 2019, and transformers' `DistilBertForMaskedLM`.

use interlingua_backend::ops::{Activation, Logits};

use super::parts::{Attention, Mlp, Transform};
use super::post_norm::{PostNormBlock, full_attention};
use super::{Architecture, Block, Embedding, Head, Modules, Norm};
use crate::ModelError;
use crate::config::{Geometry, Reader};
use crate::weights::{Source, Tensors};

const EPS: f32 = 1e-12;
const PREFIX: &str = "distilbert.";
const TOKENS: &str = "distilbert.embeddings.word_embeddings.weight";
const POSITIONS: &str = "distilbert.embeddings.position_embeddings.weight";
const EMBEDDING_NORM: &str = "distilbert.embeddings.LayerNorm";

/// A DistilBERT checkpoint.
#[derive(Debug)]
struct DistilBert {
    geometry: Geometry,
    activation: Activation,
    /// Whether it has the head of masked language modelling.
    masked: bool,
    /// Whether the vocabulary matrix is the embedding.
    tied: bool,
}

/// Reads the configuration of `DistilBertForMaskedLM`.
pub(super) fn read_masked(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    read(r, "DistilBertForMaskedLM", true)
}

/// Reads the configuration of `DistilBertModel`, which has no head.
pub(super) fn read_base(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    read(r, "DistilBertModel", false)
}

fn read(r: &Reader<'_>, name: &str, masked: bool) -> Result<Box<dyn Architecture>, ModelError> {
    r.only("is_decoder", false)?;
    r.only("add_cross_attention", false)?;
    // It decides how the position table begins, not what it is: the checkpoint holds it either way.
    r.flag("sinusoidal_pos_embds", false)?;
    let hidden_size = r.size(r.either("dim", "hidden_size")?, None)?;
    let heads_key = r.either("n_heads", "num_attention_heads")?;
    let heads = r.size(heads_key, None)?;
    let vocab_size = r.size("vocab_size", None)?;
    Ok(Box::new(DistilBert {
        geometry: Geometry {
            architecture: name.to_owned(),
            hidden_size,
            intermediate_size: r.size("hidden_dim", None)?,
            gated: false,
            layers: r.size(r.either("n_layers", "num_hidden_layers")?, None)?,
            heads,
            kv_heads: heads,
            head_dim: r.head_dim(heads_key, hidden_size, heads)?,
            vocab_size,
            max_positions: r.size("max_position_embeddings", Some(512))?,
            causal: false,
            bos: r.token("bos_token_id", vocab_size)?,
            eos: r.token("eos_token_id", vocab_size)?,
        },
        activation: r.activation("activation", "gelu")?,
        masked,
        tied: r.flag("tie_word_embeddings", true)?,
    }))
}

fn layer_name(layer: usize, part: &str) -> String {
    format!("{PREFIX}transformer.layer.{layer}.{part}")
}

impl Architecture for DistilBert {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn tensors(&self) -> Tensors {
        let g = &self.geometry;
        let (d, wide) = (g.hidden_size, g.intermediate_size);
        let mut all = Tensors::new(PREFIX);
        all.add(TOKENS, &[g.vocab_size, d]);
        all.add(POSITIONS, &[g.max_positions, d]);
        all.norm(EMBEDDING_NORM, d, true);
        for layer in 0..g.layers {
            for part in ["q_lin", "k_lin", "v_lin", "out_lin"] {
                all.linear(&layer_name(layer, &format!("attention.{part}")), d, d, true);
            }
            all.norm(&layer_name(layer, "sa_layer_norm"), d, true);
            all.linear(&layer_name(layer, "ffn.lin1"), wide, d, true);
            all.linear(&layer_name(layer, "ffn.lin2"), d, wide, true);
            all.norm(&layer_name(layer, "output_layer_norm"), d, true);
        }
        all.ignore("embeddings.position_ids");
        if !self.masked {
            all.ignore("vocab_*");
            return all;
        }
        all.linear("vocab_transform", d, d, true);
        all.norm("vocab_layer_norm", d, true);
        all.add("vocab_projector.bias", &[g.vocab_size]);
        if self.tied {
            // Some checkpoints carry a copy of the embedding as their head.
            all.copy("vocab_projector.weight", self.embedding_table());
        } else {
            all.add("vocab_projector.weight", &[g.vocab_size, d]);
        }
        all
    }

    fn embedding(&self, source: &Source<'_>) -> Result<Embedding, ModelError> {
        Ok(Embedding {
            positions: Some(source.matrix(POSITIONS)?),
            norm: Some(source.layer_norm(EMBEDDING_NORM, true, EPS)?),
            ..Embedding::default()
        })
    }

    fn block(&self, layer: usize, source: &Source<'_>) -> Result<Box<dyn Block>, ModelError> {
        let g = &self.geometry;
        let linear = |part| source.linear(&layer_name(layer, part), true);
        let norm = |part| source.layer_norm(&layer_name(layer, part), true, EPS);
        Ok(Box::new(PostNormBlock {
            layer,
            attention: Attention {
                q: linear("attention.q_lin")?,
                k: linear("attention.k_lin")?,
                v: linear("attention.v_lin")?,
                o: linear("attention.out_lin")?,
                qk_norms: None,
                rotary: None,
                spec: full_attention(g.heads, g.head_dim),
            },
            attention_norm: norm("sa_layer_norm")?,
            mlp: Mlp {
                up: linear("ffn.lin1")?,
                down: linear("ffn.lin2")?,
                activation: self.activation,
            },
            mlp_norm: norm("output_layer_norm")?,
        }))
    }

    fn final_norm(&self, _: &Source<'_>) -> Result<Option<Norm>, ModelError> {
        Ok(None)
    }

    fn head(&self, source: &Source<'_>) -> Result<Head, ModelError> {
        if !self.masked {
            return Ok(Head::default());
        }
        Ok(Head {
            transform: Some(Transform {
                dense: source.linear("vocab_transform", true)?,
                activation: self.activation,
                norm: source.layer_norm("vocab_layer_norm", true, EPS)?,
            }),
            bias: Some(source.read("vocab_projector.bias")?),
            logits: Logits::default(),
        })
    }

    fn embedding_table(&self) -> String {
        TOKENS.into()
    }

    fn head_table(&self) -> Option<String> {
        let head = if self.tied {
            TOKENS
        } else {
            "vocab_projector.weight"
        };
        self.masked.then(|| head.into())
    }

    fn modules(&self) -> Modules {
        Modules {
            prefix: if self.masked { PREFIX } else { "" },
            embedding: "embeddings",
            block: "transformer.layer.{L}",
            qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
            heads: "attention.out_lin",
            gate: None,
            up: "ffn.lin1",
            units: "ffn.lin2",
            attention: "attention",
            mlp: "ffn",
            final_norm: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::refuses;

    #[test]
    fn settings_that_cannot_be_used_are_told_by_key() {
        for name in ["DistilBertForMaskedLM", "DistilBertModel"] {
            let good = json!({
                "architectures": [name], "dim": 12, "n_heads": 3, "n_layers": 2,
                "hidden_dim": 20, "vocab_size": 37,
            });
            for (key, value, told) in [
                ("n_heads", json!(5), "width 12"),
                ("dim", Value::Null, "missing"),
                ("n_heads", json!(0), "from 1 to"),
                ("n_layers", json!(1e9), "from 1 to"),
                ("hidden_dim", json!([]), "from 1 to"),
                ("activation", json!("tanh"), "gelu"),
                ("sinusoidal_pos_embds", json!(1), "true or false"),
                ("tie_word_embeddings", json!(0), "true or false"),
                ("is_decoder", json!(true), "false is"),
                ("pruned_heads", json!({"1": [0]}), "{} is"),
            ] {
                refuses(&good, key, value, told);
            }
        }
    }
}
