//! Tokenizers of kind `t5`: the unigram model of SentencePiece, which XLM-R uses.

use serde_json::{Value, json};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::{NormalizerWrapper, Precompiled};

use super::{Recipe, Vocabulary};
use crate::ModelError;
use crate::tokenizer::guarded;

const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";

pub(super) fn build(vocabulary: &Vocabulary<'_>) -> Result<Recipe, ModelError> {
    let settings = &vocabulary.settings;
    let key = "tokenizer.ggml.unknown_token_id";
    let unk = vocabulary.special.unk.as_ref().and_then(|t| t.id);
    let unk = settings.required(key, unk)?;
    let scores = vocabulary.scores()?;
    let pieces = pieces(vocabulary, scores);
    let model = guarded(|| Unigram::from(pieces, Some(unk as usize), false));
    let model =
        model.map_err(|e| settings.bad(super::TOKENS, format!("makes no unigram model: {e}")))?;
    let mut steps = Vec::new();
    if let Some(table) = settings.bytes(CHARSMAP)?.filter(|t| !t.is_empty()) {
        let table = guarded(|| Precompiled::from(table).map_err(Into::into));
        let table =
            table.map_err(|e| settings.bad(CHARSMAP, format!("is no table of characters: {e}")))?;
        let json = serde_json::to_value(NormalizerWrapper::from(table));
        steps.push(json.map_err(|e| settings.bad(CHARSMAP, e.to_string()))?);
    }
    if settings
        .flag("tokenizer.ggml.remove_extra_whitespaces")?
        .unwrap_or(false)
    {
        steps.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
        steps.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
    }
    let prefix = settings
        .flag("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let space = json!({
        "type": "Metaspace", "replacement": "▁", "split": true,
        "prepend_scheme": if prefix { "always" } else { "never" },
    });
    Ok(Recipe {
        model: model.into(),
        normalizer: match steps.is_empty() {
            true => Value::Null,
            false => json!({"type": "Sequence", "normalizers": steps}),
        },
        pre_tokenizer: space.clone(),
        decoder: space,
        tokens: None,
        around: (false, true),
    })
}

/// The pieces with their scores. A special one that is written out in a text costs more than its characters apart: the
/// library would take it for the best of all, since files give it a score of 0.
fn pieces(vocabulary: &Vocabulary<'_>, scores: &[f32]) -> Vec<(String, f64)> {
    let least = scores.iter().copied().fold(0.0, f32::min);
    let pieces = vocabulary.tokens.iter().zip(scores).enumerate();
    let scored = |(id, (text, &score)): (usize, (&String, &f32))| {
        let apart = (least - 1.0) * (text.chars().count() as f32 + 1.0);
        let score = if vocabulary.is_special(id) {
            apart
        } else {
            score
        };
        (text.clone(), f64::from(score))
    };
    pieces.map(scored).collect()
}
