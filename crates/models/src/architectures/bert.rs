//! The architectures BERT and multilingual BERT, with and without the head of masked language modelling.
//!
//! ```text
//! h₀ = layer_norm(token + type₀ + position)
//! h  = post-norm blocks (see `post_norm`)
//! logits = embedding · layer_norm(act(dense(h))) + bias
//! ```
//!
//! A sequence has one segment, so only the embedding of token type 0 is used. There is no norm after the last block.
//! The formulas are those of Devlin et al. 2019 and of transformers' `BertForMaskedLM`.

use interlingua_backend::Tensor;
use interlingua_backend::ops::{Activation, Logits};

use super::parts::{Attention, Mlp, Transform};
use super::post_norm::{PostNormBlock, full_attention};
use super::{Architecture, Block, Embedding, Head, Modules, Norm};
use crate::ModelError;
use crate::config::{Geometry, Reader};
use crate::weights::{Source, Tensors};

/// The tensor names in which BERT and RoBERTa differ.
#[derive(Debug)]
pub(super) struct Names {
    /// The prefix of the base model, which all names have except those of the head.
    pub prefix: &'static str,
    /// The dense layer of the head.
    pub dense: &'static str,
    /// The norm of the head.
    pub norm: &'static str,
    /// The bias of the logits.
    pub bias: &'static str,
    /// The vocabulary matrix and its bias.
    pub decoder: &'static str,
}

const NAMES: Names = Names {
    prefix: "bert.",
    dense: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    bias: "cls.predictions.bias",
    decoder: "cls.predictions.decoder",
};

/// A checkpoint whose blocks are those of BERT.
#[derive(Debug)]
pub(super) struct Bert {
    pub geometry: Geometry,
    pub names: &'static Names,
    /// The activation function of the MLPs.
    pub activation: Activation,
    /// The activation function of the head; `None` for a model without a head.
    pub head: Option<Activation>,
    /// Whether the vocabulary matrix is the embedding.
    pub tied: bool,
    /// The epsilon of all norms.
    pub eps: f32,
    /// The number of segment types.
    pub token_types: usize,
    /// The row of the position table that belongs to the first token.
    pub first_position: usize,
}

/// Reads the configuration of `BertForMaskedLM`.
pub(super) fn read_masked(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let mut bert = Bert::read(r, "BertForMaskedLM", &NAMES)?;
    bert.head = Some(bert.activation);
    Ok(Box::new(bert))
}

/// Reads the configuration of `BertModel`, which has no head.
pub(super) fn read_base(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    Ok(Box::new(Bert::read(r, "BertModel", &NAMES)?))
}

impl Bert {
    /// Reads the keys that BERT and RoBERTa share, as a model without a head.
    pub(super) fn read(
        r: &Reader<'_>,
        name: &str,
        names: &'static Names,
    ) -> Result<Bert, ModelError> {
        r.only("position_embedding_type", "absolute")?;
        r.only("is_decoder", false)?;
        r.only("add_cross_attention", false)?;
        let hidden_size = r.size("hidden_size", None)?;
        let heads = r.size("num_attention_heads", None)?;
        let vocab_size = r.size("vocab_size", None)?;
        Ok(Bert {
            geometry: Geometry {
                architecture: name.to_owned(),
                hidden_size,
                intermediate_size: r.size("intermediate_size", None)?,
                gated: false,
                layers: r.size("num_hidden_layers", None)?,
                heads,
                kv_heads: heads,
                head_dim: r.head_dim("num_attention_heads", hidden_size, heads)?,
                vocab_size,
                max_positions: r.size("max_position_embeddings", Some(512))?,
                causal: false,
                bos: r.token("bos_token_id", vocab_size)?,
                eos: r.token("eos_token_id", vocab_size)?,
            },
            names,
            activation: r.activation("hidden_act", "gelu")?,
            head: None,
            tied: r.flag("tie_word_embeddings", true)?,
            eps: r.epsilon("layer_norm_eps", 1e-12)?,
            token_types: r.size("type_vocab_size", Some(2))?,
            first_position: 0,
        })
    }

    fn embeddings(&self, table: &str) -> String {
        format!("{}embeddings.{table}", self.names.prefix)
    }

    fn layer(&self, layer: usize, part: &str) -> String {
        format!("{}encoder.layer.{layer}.{part}", self.names.prefix)
    }

    fn decoder(&self, part: &str) -> String {
        format!("{}.{part}", self.names.decoder)
    }
}

impl Architecture for Bert {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn tensors(&self) -> Tensors {
        let g = &self.geometry;
        let (d, wide) = (g.hidden_size, g.intermediate_size);
        let mut all = Tensors::new(self.names.prefix);
        all.add(self.embedding_table(), &[g.vocab_size, d]);
        all.add(
            self.embeddings("position_embeddings.weight"),
            &[self.first_position + g.max_positions, d],
        );
        all.add(
            self.embeddings("token_type_embeddings.weight"),
            &[self.token_types, d],
        );
        all.norm(&self.embeddings("LayerNorm"), d, true);
        for layer in 0..g.layers {
            let name = |part| self.layer(layer, part);
            for projection in ["query", "key", "value"] {
                all.linear(
                    &self.layer(layer, &format!("attention.self.{projection}")),
                    d,
                    d,
                    true,
                );
            }
            all.linear(&name("attention.output.dense"), d, d, true);
            all.norm(&name("attention.output.LayerNorm"), d, true);
            all.linear(&name("intermediate.dense"), wide, d, true);
            all.linear(&name("output.dense"), d, wide, true);
            all.norm(&name("output.LayerNorm"), d, true);
        }
        // Buffers, and heads that read sentences: no state or logit depends on them.
        all.ignore("embeddings.position_ids");
        all.ignore("embeddings.token_type_ids");
        all.ignore("pooler.*");
        if self.head.is_none() {
            all.ignore("cls.*");
            all.ignore("lm_head.*");
            return all;
        }
        all.ignore("cls.seq_relationship.*");
        all.linear(self.names.dense, d, d, true);
        all.norm(self.names.norm, d, true);
        // Some checkpoints carry what is tied twice.
        if self.tied {
            all.add(self.names.bias, &[g.vocab_size]);
            all.copy(self.decoder("weight"), self.embedding_table());
            all.copy(self.decoder("bias"), self.names.bias);
        } else {
            all.linear(self.names.decoder, g.vocab_size, d, true);
            all.ignore("cls.predictions.bias");
            all.ignore("lm_head.bias");
        }
        all
    }

    fn embedding(&self, source: &Source<'_>) -> Result<Embedding, ModelError> {
        let g = &self.geometry;
        let positions = source.matrix(&self.embeddings("position_embeddings.weight"))?;
        let types = source.matrix(&self.embeddings("token_type_embeddings.weight"))?;
        Ok(Embedding {
            scale: None,
            positions: Some(positions.narrow(0, self.first_position, g.max_positions)),
            constant: Some(first_row(types)),
            norm: Some(source.layer_norm(&self.embeddings("LayerNorm"), true, self.eps)?),
        })
    }

    fn block(&self, layer: usize, source: &Source<'_>) -> Result<Box<dyn Block>, ModelError> {
        let g = &self.geometry;
        let linear = |part| source.linear(&self.layer(layer, part), true);
        let norm = |part| source.layer_norm(&self.layer(layer, part), true, self.eps);
        Ok(Box::new(PostNormBlock {
            layer,
            attention: Attention {
                q: linear("attention.self.query")?,
                k: linear("attention.self.key")?,
                v: linear("attention.self.value")?,
                o: linear("attention.output.dense")?,
                qk_norms: None,
                rotary: None,
                spec: full_attention(g.heads, g.head_dim),
            },
            attention_norm: norm("attention.output.LayerNorm")?,
            mlp: Mlp {
                up: linear("intermediate.dense")?,
                down: linear("output.dense")?,
                activation: self.activation,
            },
            mlp_norm: norm("output.LayerNorm")?,
        }))
    }

    fn final_norm(&self, _: &Source<'_>) -> Result<Option<Norm>, ModelError> {
        Ok(None)
    }

    fn head(&self, source: &Source<'_>) -> Result<Head, ModelError> {
        let Some(activation) = self.head else {
            return Ok(Head::default());
        };
        let bias = if self.tied {
            self.names.bias.to_owned()
        } else {
            self.decoder("bias")
        };
        Ok(Head {
            transform: Some(Transform {
                dense: source.linear(self.names.dense, true)?,
                activation,
                norm: source.layer_norm(self.names.norm, true, self.eps)?,
            }),
            bias: Some(source.read(&bias)?),
            logits: Logits::default(),
        })
    }

    fn embedding_table(&self) -> String {
        self.embeddings("word_embeddings.weight")
    }

    fn head_table(&self) -> Option<String> {
        self.head?;
        Some(if self.tied {
            self.embedding_table()
        } else {
            self.decoder("weight")
        })
    }

    fn unplaced_token(&self) -> Option<u32> {
        // Where positions begin behind the padding token's, they are counted without it.
        self.first_position.checked_sub(1).map(|pad| pad as u32)
    }

    fn modules(&self) -> Modules {
        Modules {
            prefix: if self.head.is_some() {
                self.names.prefix
            } else {
                ""
            },
            embedding: "embeddings",
            block: "encoder.layer.{L}",
            qkv: [
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
            ],
            heads: "attention.output.dense",
            gate: None,
            up: "intermediate.dense",
            units: "output.dense",
            attention: "attention.output.dense",
            mlp: "output.dense",
            final_norm: None,
        }
    }
}

fn first_row(matrix: Tensor<2>) -> Tensor<1> {
    let [_, d] = matrix.dims();
    matrix.narrow(0, 0, 1).reshape([d])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::refuses;

    fn good() -> Value {
        json!({
            "architectures": ["BertForMaskedLM"], "hidden_size": 12, "num_attention_heads": 3,
            "num_hidden_layers": 2, "intermediate_size": 20, "vocab_size": 37,
        })
    }

    #[test]
    fn settings_that_cannot_be_used_are_told_by_key() {
        for (key, value, told) in [
            (
                "position_embedding_type",
                json!("relative_key"),
                "\"absolute\" is",
            ),
            ("is_decoder", json!(true), "false is"),
            ("add_cross_attention", json!(true), "false is"),
            ("is_encoder_decoder", json!(true), "false is"),
            ("pruned_heads", json!({"0": [1]}), "{} is"),
            ("hidden_act", json!("mish"), "gelu_new"),
            ("hidden_size", json!(0), "from 1 to"),
            ("num_attention_heads", json!(5), "width 12"),
            ("num_attention_heads", Value::Null, "missing"),
            ("num_hidden_layers", json!(-1), "from 1 to"),
            ("intermediate_size", json!("20"), "from 1 to"),
            ("vocab_size", json!(1e30), "from 1 to"),
            ("type_vocab_size", json!(0), "from 1 to"),
            ("max_position_embeddings", json!(2.5), "from 1 to"),
            ("layer_norm_eps", json!(-1), "epsilon"),
            ("tie_word_embeddings", json!("yes"), "true or false"),
            ("eos_token_id", json!(37), "vocab_size 37"),
        ] {
            refuses(&good(), key, value, told);
        }
    }
}
