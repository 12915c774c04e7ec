//! The architecture of Llama 1 to 3 and of the many small models that use it.
//!
//! Attention and the MLP may have biases. The geometry is that of transformers' `LlamaForCausalLM`. Source: Touvron
//! et al. (arXiv 2302.13971).

use super::Architecture;
use super::decoder::Decoder;
use crate::ModelError;
use crate::config::Reader;

/// Reads the configuration of `LlamaForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    let bias = r.flag("attention_bias", false)?;
    Ok(Box::new(Decoder {
        qkv_bias: bias,
        o_bias: bias,
        mlp_bias: r.flag("mlp_bias", false)?,
        ..Decoder::read(r, "LlamaForCausalLM", 2048)?.with_special(r, 1, 2)?
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
                (
                    json!({"attention_bias": 1}),
                    "attention_bias",
                    "true or false",
                ),
                (json!({"mlp_bias": "no"}), "mlp_bias", "true or false"),
                (json!({"head_dim": 5}), "head_dim", "odd"),
                (json!({"head_dim": 0}), "head_dim", "whole number"),
                (
                    json!({"num_key_value_heads": 2}),
                    "num_key_value_heads",
                    "divide",
                ),
                (json!({"hidden_act": "mish"}), "hidden_act", "silu"),
                (json!({"rms_norm_eps": -1.0}), "rms_norm_eps", "epsilon"),
                (json!({"vocab_size": null}), "vocab_size", "missing"),
                (
                    json!({"eos_token_id": 37}),
                    "eos_token_id",
                    "below vocab_size",
                ),
                (
                    json!({"tie_word_embeddings": 0}),
                    "tie_word_embeddings",
                    "true or false",
                ),
                (
                    json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
                    "rope_scaling.rope_type",
                    "`llama3` are",
                ),
            ],
        );
    }

    #[test]
    fn biases_and_the_head_decide_which_tensors_there_are() {
        let names = |changes| {
            let tensors = with(read, changes).unwrap().tensors();
            tensors.needed().keys().cloned().collect::<Vec<_>>()
        };
        let plain = names(json!({}));
        assert_eq!(plain.len(), 3 + 3 * 9);
        assert!(plain.contains(&"lm_head.weight".to_owned()));
        assert_eq!(names(json!({"tie_word_embeddings": true})).len(), 2 + 3 * 9);
        assert_eq!(names(json!({"attention_bias": true})).len(), 3 + 3 * 13);
        assert_eq!(names(json!({"mlp_bias": true})).len(), 3 + 3 * 12);
    }
}
