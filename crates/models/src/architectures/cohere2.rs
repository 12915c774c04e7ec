//! The architecture Cohere 2 (Command R7B, Command A), which has Cohere blocks of two kinds.
//!
//! Most blocks see only a window of the sequence and rotate queries and keys. The others see the whole sequence and
//! have no position embedding. The geometry is that of transformers' `Cohere2ForCausalLM`.

use interlingua_backend::ops::Mask;

use super::{Architecture, cohere, windows};
use crate::ModelError;
use crate::config::Reader;

/// Reads the configuration of `Cohere2ForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    r.only("use_qk_norm", false)?;
    let (config, rotary) = cohere::Config::read(r, Some(10_000.0))?;
    // Older files say that every so many blocks there is one with full attention.
    let pattern = r.size("sliding_window_pattern", Some(4))?;
    let windows = windows::read(r, config.layers, windows::size(r, 4096)?, |layer| {
        !(layer + 1).is_multiple_of(pattern)
    })?;
    let runs = windows
        .into_iter()
        .enumerate()
        .map(|(layer, window)| {
            let mut run = config.run(layer, &rotary);
            match window {
                Some(window) => run.attention.mask = Mask::Window(window),
                None => run.rotary = None,
            }
            run
        })
        .collect();
    Ok(cohere::build("Cohere2ForCausalLM", config, runs))
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
                    json!({"use_qk_norm": true}),
                    "use_qk_norm",
                    "not implemented",
                ),
                (
                    json!({"sliding_window": 0}),
                    "sliding_window",
                    "whole number",
                ),
                (json!({"sliding_window": null}), "sliding_window", "missing"),
                (
                    json!({"sliding_window_pattern": 0}),
                    "sliding_window_pattern",
                    "whole number",
                ),
                (
                    json!({"layer_types": vec!["full_attention"; 4]}),
                    "layer_types",
                    "list of 3",
                ),
                (
                    json!({"layer_types": ["full", "full", "full"]}),
                    "layer_types[0]",
                    "full",
                ),
                (json!({"hidden_act": "gelu"}), "hidden_act", "silu"),
                (json!({"head_dim": 5}), "head_dim", "odd"),
                (
                    json!({"rope_scaling": {"type": "longrope"}}),
                    "rope_scaling.rope_type",
                    "not implemented",
                ),
            ],
        );
    }
}
