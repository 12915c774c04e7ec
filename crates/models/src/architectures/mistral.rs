//! The architecture Mistral: Llama with blocks that may see only a window of the sequence.
//!
//! The geometry is that of transformers' `MistralForCausalLM`. Source: Jiang et al. (arXiv 2310.06825).

use super::decoder::{self, Decoder};
use super::{Architecture, windows};
use crate::ModelError;
use crate::config::Reader;

/// Reads the configuration of `MistralForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    decoder::require_kv_heads(r)?;
    if r.value("layer_types").is_some() {
        return Err(r.bad(
            "layer_types",
            "is not implemented for this architecture, whose blocks are all alike; remove it if they are".into(),
        ));
    }
    let window = windows::size(r, 4096)?;
    let decoder = Decoder::read(r, "MistralForCausalLM", 131_072)?.with_special(r, 1, 2)?;
    Ok(Box::new(Decoder {
        windows: vec![window; decoder.geometry.layers],
        ..decoder
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::decoder::checks::refuses;
    use super::*;

    #[test]
    fn bad_settings_are_refused_by_their_key() {
        refuses(
            read,
            &[
                (
                    json!({"sliding_window": 0}),
                    "sliding_window",
                    "whole number",
                ),
                (
                    json!({"sliding_window": 2.5}),
                    "sliding_window",
                    "whole number",
                ),
                (
                    json!({"layer_types": ["full_attention"]}),
                    "layer_types",
                    "alike",
                ),
                (json!({"head_dim": 3}), "head_dim", "odd"),
            ],
        );
    }

    #[test]
    fn a_file_without_key_heads_is_refused() {
        let json = json!({"hidden_size": 12, "num_attention_heads": 3});
        let found = read(&Reader::new("config.json".as_ref(), &json)).unwrap_err();
        assert!(found.to_string().contains("num_key_value_heads"), "{found}");
    }
}
