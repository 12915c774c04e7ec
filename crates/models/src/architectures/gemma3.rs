//! The architecture Gemma 3: blocks of Gemma 2 with normalised queries and keys.
//!
//! As in transformers, scores are never capped, whatever `attn_logit_softcapping` says, and logits only if the
//! configuration asks for it. Blocks that see a window have their own rotary angles with a smaller base. The larger
//! checkpoints also hold a vision model (`Gemma3ForConditionalGeneration`); only their text model is run, and the
//! tensors of the vision model are ignored. Source: Gemma 3 (arXiv 2503.19786); the names and defaults are those of
//! transformers' `Gemma3ForCausalLM`.

use interlingua_backend::ops::RotaryScaling;
use serde_json::Value;

use super::Architecture;
use super::gemma2::{self, Family, Gemma, Rope};
use crate::ModelError;
use crate::config::Reader;

/// Reads the configuration of `Gemma3ForCausalLM`.
pub(super) fn read(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    Ok(Box::new(gemma2::build(r, family(r)?)?))
}

/// Reads the text model's configuration of `Gemma3ForConditionalGeneration`.
pub(super) fn read_multimodal(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    Ok(Box::new(multimodal(r)?))
}

fn multimodal(r: &Reader<'_>) -> Result<Gemma, ModelError> {
    let text = r.object("text_config", "text_config.")?;
    super::check_common(&text)?;
    super::check_causal(&text)?;
    let tied = r.flag("tie_word_embeddings", true)?;
    text.only("tie_word_embeddings", tied)?;
    // transformers does not cap the logits of this class.
    text.only("final_logit_softcapping", Value::Null)?;
    let family = Family {
        name: "Gemma3ForConditionalGeneration",
        tied,
        prefix: "language_model.",
        ignored: &["vision_tower.*", "multi_modal_projector.*"],
        base: "model.language_model.",
        ..family(&text)?
    };
    gemma2::build(&text, family)
}

/// Gemma 3 without a vision model. `text_config` of the published checkpoints
/// that have one leaves out most keys, so the defaults matter.
fn family(r: &Reader<'_>) -> Result<Family, ModelError> {
    let [full, local] = ropes(r)?;
    Ok(Family {
        name: "Gemma3ForCausalLM",
        vocab_size: Some(262_208),
        query_scalar: Some(256.0),
        max_positions: 131_072,
        score_cap: None,
        logit_cap: gemma2::cap(r, "final_logit_softcapping", None)?,
        full,
        local,
        pattern: r.size("sliding_window_pattern", Some(6))?,
        qk_norm: true,
        tied: r.flag("tie_word_embeddings", true)?,
        prefix: "model.",
        ignored: &[],
        base: "model.",
    })
}

/// Rotary settings of blocks that see everything, and of those that see a window.
fn ropes(r: &Reader<'_>) -> Result<[Rope; 2], ModelError> {
    let Some(both) = r.value("rope_parameters") else {
        let full = r.rope_of("rope_scaling", r.value("rope_scaling"), Some(1e6))?;
        let base = r.positive("rope_local_base_freq", Some(1e4))?;
        if base < 1.0 {
            return Err(r.bad(
                "rope_local_base_freq",
                format!("{base} is not a usable base; models use 10000"),
            ));
        }
        return Ok([full, (base, RotaryScaling::None)]);
    };
    if r.value("rope_scaling").is_some() {
        return Err(r.bad(
            "rope_scaling",
            "stands beside `rope_parameters`; either of them works".into(),
        ));
    }
    let read = |kind: &str| {
        let key = format!("rope_parameters.{kind}");
        match both.get(kind) {
            Some(rope) if rope.get("rope_theta").is_some() => r.rope_of(&key, Some(rope), None),
            _ => Err(r.bad(&key, "missing; expected an object with rope_theta".into())),
        }
    };
    Ok([read("full_attention")?, read("sliding_attention")?])
}

#[cfg(test)]
mod tests {
    use interlingua_backend::ops::Mask;
    use serde_json::json;

    use super::*;
    use crate::config::check_refusals;

    /// What the published checkpoint with 4 billion parameters says of its text model.
    fn base() -> Value {
        json!({
            "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "model_type": "gemma3_text",
        })
    }

    #[test]
    fn what_the_published_files_leave_out_is_filled_in() {
        let json = json!({"text_config": base(), "vision_config": {}});
        let gemma = multimodal(&Reader::new("config.json".as_ref(), &json)).unwrap();
        let g = gemma.geometry();
        assert_eq!((g.heads, g.kv_heads, g.head_dim), (8, 4, 256));
        assert_eq!((g.vocab_size, g.max_positions), (262_208, 131_072));
        assert_eq!((g.bos, g.eos), (Some(2), Some(1)));
        let everything: Vec<usize> = (0..34).filter(|&l| !gemma.sliding[l]).collect();
        assert_eq!(everything, [5, 11, 17, 23, 29]);
        assert_eq!(gemma.local.0.mask, Mask::Window(1024));
        assert_eq!(gemma.full.0.scale, 1.0 / 16.0);
        let ropes = ropes(&Reader::new("config.json".as_ref(), &json["text_config"])).unwrap();
        let linear = RotaryScaling::Linear { factor: 8.0 };
        assert_eq!(ropes, [(1e6, linear), (1e4, RotaryScaling::None)]);
    }

    #[test]
    fn settings_that_cannot_be_run_are_refused() {
        let rope = json!({"rope_type": "default", "rope_theta": 1e4});
        let yarn = json!({"rope_type": "yarn", "rope_theta": 1e4});
        let cases = [
            ("sliding_window_pattern", json!(0), "whole number"),
            ("layer_types", json!(["full_attention"]), "a list of 34"),
            ("rope_local_base_freq", json!(0.5), "usable base"),
            ("rope_local_base_freq", json!("x"), "not a number"),
            ("rope_theta", json!(0.0), "usable base"),
            ("rope_scaling", json!({"type": "dynamic"}), "dynamic"),
            ("rope_parameters", rope.clone(), "rope_scaling"),
        ];
        check_refusals(read, &base(), &cases);
        let mut modern = base();
        modern["rope_scaling"] = Value::Null;
        let cases = [
            ("rope_parameters", rope.clone(), "full_attention"),
            (
                "rope_parameters",
                json!({"full_attention": rope}),
                "sliding_attention",
            ),
            (
                "rope_parameters",
                json!({"full_attention": {"rope_type": "default"}, "sliding_attention": rope}),
                "full_attention",
            ),
            (
                "rope_parameters",
                json!({"full_attention": rope, "sliding_attention": yarn}),
                "yarn",
            ),
        ];
        check_refusals(read, &modern, &cases);
        let mut capped = base();
        capped["final_logit_softcapping"] = json!(30.0);
        let mut untied = base();
        untied["tie_word_embeddings"] = json!(false);
        let cases = [
            ("text_config", Value::Null, "expected an object"),
            ("text_config", capped, "final_logit_softcapping"),
            ("text_config", untied, "tie_word_embeddings"),
        ];
        check_refusals(multimodal, &json!({"text_config": base()}), &cases);
    }
}
