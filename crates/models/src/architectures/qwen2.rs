//! The architecture of Qwen 1.5, 2 and 2.5: Llama with biases on queries, keys and values.
//!
//! The blocks from `max_window_layers` on may see only a window of the sequence. The geometry is that of
//! transformers' `Qwen2ForCausalLM`. Source: Yang et al. (arXiv 2407.10671).

use super::decoder::{self, Decoder};
use super::{Architecture, windows};
use crate::ModelError;
use crate::config::Reader;

/// Reads the configuration of `Qwen2ForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    decoder::require_kv_heads(r)?;
    let decoder = Decoder::read(r, "Qwen2ForCausalLM", 32_768)?;
    Ok(Box::new(Decoder {
        qkv_bias: true,
        windows: read_windows(r, decoder.geometry.layers)?,
        ..decoder
    }))
}

/// Reads the windows of Qwen 2 and 3: for each block, the number of tokens that a query sees, or `None` for all.
pub(super) fn read_windows(
    r: &Reader<'_>,
    layers: usize,
) -> Result<Vec<Option<usize>>, ModelError> {
    let window = if r.flag("use_sliding_window", false)? {
        windows::size(r, 4096)?
    } else {
        None
    };
    let key = "max_window_layers";
    let full = match r.value(key) {
        None => 28,
        Some(value) => value
            .as_u64()
            .ok_or_else(|| r.bad(key, format!("{value} is not a number of blocks")))?,
    };
    windows::read(r, layers, window, |layer| {
        window.is_some() && layer as u64 >= full
    })
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
                    json!({"use_sliding_window": "yes"}),
                    "use_sliding_window",
                    "true or false",
                ),
                (
                    json!({"use_sliding_window": true, "sliding_window": 0}),
                    "sliding_window",
                    "whole number",
                ),
                (
                    json!({"max_window_layers": -1}),
                    "max_window_layers",
                    "number of blocks",
                ),
                (
                    json!({"layer_types": ["full_attention"]}),
                    "layer_types",
                    "list of 3",
                ),
                (
                    json!({"layer_types": ["full_attention", "chunked_attention", "full_attention"]}),
                    "layer_types[1]",
                    "chunked_attention",
                ),
                (
                    json!({"sliding_window": 4, "layer_types": vec!["sliding_attention"; 3]}),
                    "sliding_window",
                    "off",
                ),
            ],
        );
    }

    #[test]
    fn windows_follow_the_keys() {
        let of = |json: serde_json::Value| {
            read_windows(&Reader::new("config.json".as_ref(), &json), 3).unwrap()
        };
        let on = |mut json: serde_json::Value| {
            json["use_sliding_window"] = true.into();
            of(json)
        };
        assert_eq!(of(json!({"sliding_window": 5})), [None; 3]);
        assert_eq!(on(json!({"max_window_layers": 0})), [Some(4096); 3]);
        let last = json!({"sliding_window": 5, "max_window_layers": 2});
        assert_eq!(on(last), [None, None, Some(5)]);
        let named = json!({"sliding_window": 5, "max_window_layers": 0,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"]});
        assert_eq!(on(named), [None, Some(5), None]);
        assert_eq!(
            on(json!({"sliding_window": null, "max_window_layers": 0})),
            [None; 3]
        );
    }
}
