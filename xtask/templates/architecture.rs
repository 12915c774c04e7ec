//! New architecture: a decoder with the geometry of Llama, whose queries, keys and values have biases.
//!
//! Starting point: this works and its tests pass. Say here what the blocks compute, and from which paper and which class of
//! transformers it is; put your keys and tests in the place of these.

use super::Architecture;
use super::decoder::Decoder;
use crate::ModelError;
use crate::config::Reader;

/// Reads the configuration of `NewArchitectureForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    // Starting point: every key that would change the computation is read or refused.
    r.only("use_sliding_window", false)?;
    Ok(Box::new(Decoder {
        qkv_bias: r.flag("qkv_bias", true)?,
        ..Decoder::read(r, "NewArchitectureForCausalLM", 2048)?.with_special(r, 1, 2)?
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
                (json!({"qkv_bias": 1}), "qkv_bias", "true or false"),
                (
                    json!({"use_sliding_window": true}),
                    "use_sliding_window",
                    "false",
                ),
                (json!({"vocab_size": null}), "vocab_size", "missing"),
            ],
        );
    }

    #[test]
    fn the_biases_decide_which_tensors_there_are() {
        let count = |changes| {
            let tensors = with(read, changes).unwrap().tensors();
            tensors.needed().len()
        };
        assert_eq!(count(json!({})), 3 + 3 * 12);
        assert_eq!(count(json!({"qkv_bias": false})), 3 + 3 * 9);
    }

    #[test]
    fn it_says_what_it_is() {
        let found = with(read, json!({})).unwrap();
        assert_eq!(found.geometry().architecture, "NewArchitectureForCausalLM");
        assert!(found.geometry().causal && found.head_table().is_some());
    }
}
