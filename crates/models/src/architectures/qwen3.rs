//! The architecture of Qwen 3: Llama that normalises every head of the queries and keys before they are rotated.
//!
//! Windows are those of Qwen 2. The geometry is that of transformers' `Qwen3ForCausalLM`. Source: Yang et al. (arXiv
//! 2505.09388).

use super::decoder::{self, Decoder};
use super::{Architecture, qwen2};
use crate::ModelError;
use crate::config::Reader;

/// Reads the configuration of `Qwen3ForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    decoder::require_kv_heads(r)?;
    // It is not the width shared out, so a file without it cannot be read.
    r.size("head_dim", None)?;
    let bias = r.flag("attention_bias", false)?;
    let decoder = Decoder::read(r, "Qwen3ForCausalLM", 32_768)?;
    Ok(Box::new(Decoder {
        qkv_bias: bias,
        o_bias: bias,
        qk_norm: true,
        windows: qwen2::read_windows(r, decoder.geometry.layers)?,
        ..decoder
    }))
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
                (json!({"head_dim": null}), "head_dim", "missing"),
                (json!({"head_dim": 7}), "head_dim", "odd"),
                (
                    json!({"attention_bias": []}),
                    "attention_bias",
                    "true or false",
                ),
                (
                    json!({"layer_types": "full_attention"}),
                    "layer_types",
                    "list of 3",
                ),
            ],
        );
    }

    #[test]
    fn heads_have_norms_of_their_own_width() {
        let tensors = with(read, json!({"head_dim": 6})).unwrap().tensors();
        let shape = |name: &str| tensors.needed()[name].clone();
        assert_eq!(shape("model.layers.2.self_attn.q_norm.weight"), [6]);
        assert_eq!(shape("model.layers.2.self_attn.q_proj.weight"), [18, 12]);
        assert_eq!(shape("model.layers.2.self_attn.o_proj.weight"), [12, 18]);
    }
}
