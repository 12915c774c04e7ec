//! The architecture Gemma 2, and the block that it shares with Gemma 3.
//!
//! Attention and the gated MLP each have a norm before and a norm after them:
//!
//! ```text
//! h  = √hidden · embedding
//! h' = h  + norm₂(attention(norm₁(h)))     rms norms, gain 1 + weight
//! h″ = h' + norm₄(down(gelu(gate(norm₃(h'))) ⊙ up(norm₃(h'))))
//! logits = softcap(final_norm(h) · embeddingᵀ)
//! ```
//!
//! Scores are scaled by `1 / √query_pre_attn_scalar` and soft-capped. Blocks that see a window alternate with blocks
//! that see the whole sequence. Source: Gemma 2 (arXiv 2408.00118); the names and defaults are those of transformers'
//! `Gemma2ForCausalLM`.

use std::sync::Arc;

use interlingua_backend::Tensor;
use interlingua_backend::ops::{
    self, Activation, Logits, Mask, Rotary, RotaryScaling, RotaryStyle, Tree,
};

use super::parts::{Attention, GatedMlp};
use super::{
    Architecture, Embedding, Head, LLAMA_MODULES, Modules, Norm, Tap, lm_head, rope, windows,
};
use crate::ModelError;
use crate::config::{Geometry, Reader};
use crate::weights::{Source, Tensors};
use interlingua_edits::Hook;

/// The base and the scaling of rotary position embedding.
pub(super) type Rope = (f32, RotaryScaling);

/// The settings in which the generations of Gemma differ, and their defaults for absent keys.
#[derive(Debug, Clone)]
pub(super) struct Family {
    /// The architecture's name in `config.json`.
    pub name: &'static str,
    /// The default of `vocab_size`; `None` if the key must be present.
    pub vocab_size: Option<usize>,
    /// The default of `query_pre_attn_scalar`; `None` if the key must be present.
    pub query_scalar: Option<f64>,
    /// The default of `max_position_embeddings`.
    pub max_positions: usize,
    /// The cap of the attention scores.
    pub score_cap: Option<f32>,
    /// The cap of the logits.
    pub logit_cap: Option<f32>,
    /// The rotary embedding of blocks that see the whole sequence.
    pub full: Rope,
    /// The rotary embedding of blocks that see a window.
    pub local: Rope,
    /// The distance between blocks that see the whole sequence, if `layer_types` is absent.
    pub pattern: usize,
    /// Whether every head of the queries and keys is normalised.
    pub qk_norm: bool,
    /// Whether the LM head is the embedding.
    pub tied: bool,
    /// A prefix that all tensor names may have.
    pub prefix: &'static str,
    /// Patterns of tensor names that belong to something other than the text model.
    pub ignored: &'static [&'static str],
    /// The name of the base model in transformers.
    pub base: &'static str,
}

/// A Gemma 2 or Gemma 3 checkpoint.
#[derive(Debug)]
pub(super) struct Gemma {
    family: Family,
    geometry: Geometry,
    activation: Activation,
    norm_eps: f32,
    logits: Logits,
    /// The attention of blocks that see the whole sequence.
    pub full: (ops::Attention, Arc<Rotary>),
    /// The attention of blocks that see a window.
    pub local: (ops::Attention, Arc<Rotary>),
    /// For each block, whether it sees only a window.
    pub sliding: Vec<bool>,
}

/// Reads the configuration of `Gemma2ForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    Ok(Box::new(config(r)?))
}

fn config(r: &Reader<'_>) -> Result<Gemma, ModelError> {
    let rope = rope::read(r, r.size("head_dim", Some(256))?, Some(10_000.0))?;
    let family = Family {
        name: "Gemma2ForCausalLM",
        vocab_size: None,
        query_scalar: None,
        max_positions: 8192,
        score_cap: cap(r, "attn_logit_softcapping", Some(50.0))?,
        logit_cap: cap(r, "final_logit_softcapping", Some(30.0))?,
        full: rope,
        local: rope,
        pattern: 2,
        qk_norm: false,
        tied: r.flag("tie_word_embeddings", true)?,
        prefix: "model.",
        ignored: &[],
        base: "model.",
    };
    build(r, family)
}

/// Reads a soft cap. The value null means that there is none; the meaning of an absent key differs between
/// generations.
pub(super) fn cap(
    r: &Reader<'_>,
    key: &str,
    default: Option<f32>,
) -> Result<Option<f32>, ModelError> {
    if r.has(key) {
        r.optional_positive(key)
    } else {
        Ok(default)
    }
}

/// Reads the keys that all generations share.
pub(super) fn build(r: &Reader<'_>, family: Family) -> Result<Gemma, ModelError> {
    r.only("attention_bias", false)?;
    r.only("use_bidirectional_attention", false)?;
    let heads = r.size("num_attention_heads", Some(8))?;
    let kv_heads = r.size("num_key_value_heads", Some(4))?;
    if !heads.is_multiple_of(kv_heads) {
        return Err(r.bad(
            "num_key_value_heads",
            format!("{kv_heads} does not divide the {heads} attention heads"),
        ));
    }
    let head_dim = r.size("head_dim", Some(256))?;
    if !head_dim.is_multiple_of(2) {
        return Err(r.bad(
            "head_dim",
            format!("{head_dim} is odd; rotary embedding needs pairs"),
        ));
    }
    r.check_size("head_dim", heads.saturating_mul(head_dim))?;
    let layers = r.size("num_hidden_layers", None)?;
    let vocab_size = r.size("vocab_size", family.vocab_size)?;
    let window = windows::size(r, 4096)?;
    let sliding: Vec<bool> = windows::read(r, layers, window, |layer| {
        !(layer + 1).is_multiple_of(family.pattern)
    })?
    .iter()
    .map(Option::is_some)
    .collect();
    let mask = window.map_or(Mask::Causal, Mask::Window);
    let scalar = r.positive("query_pre_attn_scalar", family.query_scalar)?;
    let attention = ops::Attention {
        scale: 1.0 / scalar.sqrt(),
        softcap: family.score_cap,
        ..ops::Attention::causal(heads, kv_heads, head_dim)
    };
    let rotary = |(theta, scaling): Rope| {
        Arc::new(Rotary::new(
            head_dim,
            theta,
            RotaryStyle::HalfSplit,
            scaling,
        ))
    };
    let full_rotary = rotary(family.full);
    let local_rotary = if family.local == family.full {
        full_rotary.clone()
    } else {
        rotary(family.local)
    };
    Ok(Gemma {
        geometry: Geometry {
            architecture: family.name.to_owned(),
            hidden_size: r.size("hidden_size", None)?,
            intermediate_size: r.size("intermediate_size", None)?,
            gated: true,
            layers,
            heads,
            kv_heads,
            head_dim,
            vocab_size,
            max_positions: r.size("max_position_embeddings", Some(family.max_positions))?,
            causal: true,
            bos: r.token_or("bos_token_id", vocab_size, 2)?,
            eos: r.token_or("eos_token_id", vocab_size, 1)?,
        },
        activation: r.activation("hidden_activation", "gelu_pytorch_tanh")?,
        norm_eps: r.epsilon("rms_norm_eps", 1e-6)?,
        logits: Logits {
            softcap: family.logit_cap,
            ..Logits::default()
        },
        full: (attention.clone(), full_rotary),
        local: (ops::Attention { mask, ..attention }, local_rotary),
        sliding,
        family,
    })
}

/// One block.
struct Block {
    layer: usize,
    before_attention: Norm,
    attention: Attention,
    after_attention: Norm,
    before_mlp: Norm,
    mlp: GatedMlp,
    after_mlp: Norm,
}

impl super::Block for Block {
    fn forward(&self, h: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2> {
        let mixed = self.attention.forward(
            self.layer,
            self.before_attention.forward(h.clone()),
            tree,
            tap,
        );
        let attention = self.after_attention.forward(mixed);
        let h = tree.keep(h) + tap(Hook::attention(self.layer), attention);
        let gated = self
            .mlp
            .forward(self.layer, self.before_mlp.forward(h.clone()), tap);
        let mlp = self.after_mlp.forward(gated);
        h + tap(Hook::mlp(self.layer), mlp)
    }
}

impl Gemma {
    fn norm(&self, source: &Source<'_>, name: &str) -> Result<Norm, ModelError> {
        source.rms_norm(name, 1.0, self.norm_eps)
    }
}

impl Architecture for Gemma {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn tensors(&self) -> Tensors {
        let g = &self.geometry;
        let (d, ffn) = (g.hidden_size, g.intermediate_size);
        let (q, kv) = (g.heads * g.head_dim, g.kv_heads * g.head_dim);
        let mut all = Tensors::new(self.family.prefix);
        all.add(self.embedding_table(), &[g.vocab_size, d]);
        all.norm("model.norm", d, false);
        all.lm_head(self.family.tied, &self.embedding_table());
        all.ignore("*.rotary_emb.inv_freq");
        for pattern in self.family.ignored {
            all.ignore(pattern);
        }
        for layer in 0..g.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            for norm in [
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ] {
                all.norm(&name(norm), d, false);
            }
            all.linear(&name("self_attn.q_proj"), q, d, false);
            all.linear(&name("self_attn.k_proj"), kv, d, false);
            all.linear(&name("self_attn.v_proj"), kv, d, false);
            all.linear(&name("self_attn.o_proj"), d, q, false);
            if self.family.qk_norm {
                all.norm(&name("self_attn.q_norm"), g.head_dim, false);
                all.norm(&name("self_attn.k_norm"), g.head_dim, false);
            }
            all.linear(&name("mlp.gate_proj"), ffn, d, false);
            all.linear(&name("mlp.up_proj"), ffn, d, false);
            all.linear(&name("mlp.down_proj"), d, ffn, false);
        }
        all
    }

    fn embedding(&self, _: &Source<'_>) -> Result<Embedding, ModelError> {
        Ok(Embedding {
            scale: Some((self.geometry.hidden_size as f32).sqrt()),
            ..Embedding::default()
        })
    }

    fn block(
        &self,
        layer: usize,
        source: &Source<'_>,
    ) -> Result<Box<dyn super::Block>, ModelError> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let norm = |part: &str| self.norm(source, &name(part));
        let linear = |part: &str| source.linear(&name(part), false);
        let (spec, rotary) = if self.sliding[layer] {
            &self.local
        } else {
            &self.full
        };
        let qk_norms = if self.family.qk_norm {
            Some((norm("self_attn.q_norm")?, norm("self_attn.k_norm")?))
        } else {
            None
        };
        Ok(Box::new(Block {
            layer,
            before_attention: norm("input_layernorm")?,
            attention: Attention {
                q: linear("self_attn.q_proj")?,
                k: linear("self_attn.k_proj")?,
                v: linear("self_attn.v_proj")?,
                o: linear("self_attn.o_proj")?,
                qk_norms,
                rotary: Some(rotary.clone()),
                spec: spec.clone(),
            },
            after_attention: norm("post_attention_layernorm")?,
            before_mlp: norm("pre_feedforward_layernorm")?,
            mlp: GatedMlp {
                gate: linear("mlp.gate_proj")?,
                up: linear("mlp.up_proj")?,
                down: linear("mlp.down_proj")?,
                activation: self.activation,
            },
            after_mlp: norm("post_feedforward_layernorm")?,
        }))
    }

    fn final_norm(&self, source: &Source<'_>) -> Result<Option<Norm>, ModelError> {
        self.norm(source, "model.norm").map(Some)
    }

    fn head(&self, _: &Source<'_>) -> Result<Head, ModelError> {
        Ok(Head {
            logits: self.logits,
            ..Head::default()
        })
    }

    fn embedding_table(&self) -> String {
        "model.embed_tokens.weight".into()
    }

    fn head_table(&self) -> Option<String> {
        Some(lm_head(self.family.tied, self.embedding_table()))
    }

    fn modules(&self) -> Modules {
        Modules {
            prefix: self.family.base,
            attention: "post_attention_layernorm",
            mlp: "post_feedforward_layernorm",
            ..LLAMA_MODULES
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::check_refusals;

    fn base() -> Value {
        json!({
            "vocab_size": 32, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "query_pre_attn_scalar": 10,
        })
    }

    #[test]
    fn settings_that_cannot_be_run_are_refused() {
        check_refusals(
            config,
            &base(),
            &[
                ("attention_bias", json!(true), "false is"),
                ("use_bidirectional_attention", json!(true), "false is"),
                ("num_key_value_heads", json!(3), "does not divide"),
                ("head_dim", json!(7), "odd"),
                ("head_dim", json!(1 << 23), "whole number"),
                ("query_pre_attn_scalar", json!(0), "not positive"),
                ("query_pre_attn_scalar", Value::Null, "missing"),
                ("attn_logit_softcapping", json!(-1.0), "not positive"),
                ("final_logit_softcapping", json!("30"), "not a number"),
                ("sliding_window", json!(0), "whole number"),
                ("sliding_window", Value::Null, "missing or off"),
                ("layer_types", json!(["full_attention"]), "a list of 3"),
                ("layer_types", json!("full_attention"), "a list of 3"),
                (
                    "layer_types",
                    json!(["full_attention", "chunked_attention", "full_attention"]),
                    "chunked_attention",
                ),
                ("rope_scaling", json!({"rope_type": "yarn"}), "yarn"),
                ("hidden_activation", json!("quick_gelu"), "quick_gelu"),
            ],
        );
    }

    #[test]
    fn absent_keys_and_null_are_told_apart() {
        let read = |json: &Value| config(&Reader::new("config.json".as_ref(), json)).unwrap();
        let gemma = read(&base());
        assert_eq!(gemma.sliding, [true, false, true]);
        assert_eq!(gemma.local.0.mask, Mask::Window(4096));
        assert_eq!(gemma.full.0.mask, Mask::Causal);
        assert_eq!(gemma.full.0.softcap, Some(50.0));
        assert_eq!(gemma.logits.softcap, Some(30.0));
        assert_eq!((gemma.geometry.bos, gemma.geometry.eos), (Some(2), Some(1)));
        let mut json = base();
        json["attn_logit_softcapping"] = Value::Null;
        json["final_logit_softcapping"] = Value::Null;
        json["bos_token_id"] = Value::Null;
        json["sliding_window"] = Value::Null;
        json["layer_types"] = json!(["full_attention", "full_attention", "full_attention"]);
        let gemma = read(&json);
        assert_eq!(gemma.sliding, [false; 3]);
        assert_eq!(gemma.full.0.softcap, None);
        assert_eq!(gemma.logits.softcap, None);
        assert_eq!(gemma.geometry.bos, None);
    }
}
