//! The architectures RoBERTa and XLM-RoBERTa: BERT's blocks under other names.
//!
//! The position table begins with rows for padding: the first token takes row `pad_token_id + 1`. The activation
//! function of the head is always the exact GELU. Source: Liu et al. 2019, Conneau et al. 2020, and transformers'
//! `XLMRobertaForMaskedLM`.

use interlingua_backend::ops::Activation;

use super::Architecture;
use super::bert::{Bert, Names};
use crate::ModelError;
use crate::config::Reader;

const NAMES: Names = Names {
    prefix: "roberta.",
    dense: "lm_head.dense",
    norm: "lm_head.layer_norm",
    bias: "lm_head.bias",
    decoder: "lm_head.decoder",
};

/// Reads the configuration of `XLMRobertaForMaskedLM`.
pub(super) fn read_masked(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    masked(r, "XLMRobertaForMaskedLM")
}

/// Reads the configuration of `RobertaForMaskedLM`, which computes the same.
pub(super) fn read_roberta_masked(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    masked(r, "RobertaForMaskedLM")
}

/// Reads the configuration of `XLMRobertaModel`, which has no head.
pub(super) fn read_base(r: &Reader<'_>) -> Result<Box<dyn Architecture>, ModelError> {
    Ok(Box::new(base(r, "XLMRobertaModel")?))
}

fn masked(r: &Reader<'_>, name: &str) -> Result<Box<dyn Architecture>, ModelError> {
    let mut bert = base(r, name)?;
    bert.head = Some(Activation::Gelu);
    Ok(Box::new(bert))
}

fn base(r: &Reader<'_>, name: &str) -> Result<Bert, ModelError> {
    let mut bert = Bert::read(r, name, &NAMES)?;
    let g = &mut bert.geometry;
    let pad = r.token("pad_token_id", g.vocab_size)?.unwrap_or(1);
    let before = pad as usize + 1;
    if before >= g.max_positions {
        return Err(r.bad(
            "pad_token_id",
            format!(
                "{pad} leaves no row of the {} of max_position_embeddings for a text, which begins at the row after it",
                g.max_positions
            ),
        ));
    }
    g.max_positions -= before;
    bert.first_position = before;
    Ok(bert)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::refuses;

    #[test]
    fn settings_that_cannot_be_used_are_told_by_key() {
        for name in [
            "XLMRobertaForMaskedLM",
            "RobertaForMaskedLM",
            "XLMRobertaModel",
        ] {
            let good = json!({
                "architectures": [name], "hidden_size": 12, "num_attention_heads": 3,
                "num_hidden_layers": 2, "intermediate_size": 20, "vocab_size": 37,
                "max_position_embeddings": 20,
            });
            for (key, value, told) in [
                (
                    "position_embedding_type",
                    json!("relative_key_query"),
                    "\"absolute\" is",
                ),
                ("is_decoder", json!(true), "false is"),
                ("add_cross_attention", json!(true), "false is"),
                ("pad_token_id", json!(37), "vocab_size 37"),
                ("pad_token_id", json!(19), "leaves no row"),
                ("hidden_act", json!(3), "not a text"),
                ("vocab_size", Value::Null, "missing"),
            ] {
                refuses(&good, key, value, told);
            }
        }
    }
}
