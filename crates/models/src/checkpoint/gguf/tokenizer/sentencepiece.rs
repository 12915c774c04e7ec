//! Tokenizers of kind `llama`: SentencePiece BPE, whose merges follow from the scores of its pieces.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokenizers::models::bpe::BPE;

use super::{Recipe, Vocabulary};
use crate::ModelError;

/// Architectures whose vocabularies are in the order of their merges, and which put no space before a text.
const GEMMA: [&str; 2] = ["gemma2", "gemma3"];

/// Most work of looking for the parts of pieces, the sum of their squared lengths; Gemma's 262 thousand pieces take
/// some 20 million.
const MOST_WORK: usize = 1 << 30;

pub(super) fn build(vocabulary: &Vocabulary<'_>) -> Result<Recipe, ModelError> {
    let gemma = GEMMA.contains(&vocabulary.architecture);
    let tokens: Vec<String> = match gemma {
        true => vocabulary.tokens.iter().map(respelled).collect(),
        false => vocabulary.tokens.to_vec(),
    };
    let merges = match vocabulary.merges()? {
        Some(merges) => merges,
        None => {
            let work = tokens.iter().map(|t| t.len() * t.len()).sum::<usize>();
            if work > MOST_WORK {
                return Err(vocabulary.settings.bad(
                    super::TOKENS,
                    "has too many long pieces to find their merges",
                ));
            }
            // Gemma's scores are not in the order of its merges, its pieces are.
            let scores = vocabulary.scores()?;
            let score = |id: usize| if gemma { -(id as f32) } else { scores[id] };
            // No text becomes a special token piece by piece.
            merges(&tokens, |id| {
                (!vocabulary.is_special(id)).then(|| score(id))
            })
        }
    };
    let ids = tokens.iter().cloned().zip(0..).collect();
    let mut builder = BPE::builder()
        .vocab_and_merges::<tokenizers::models::bpe::Vocab>(ids, merges)
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some(unk) = &vocabulary.special.unk {
        builder = builder.unk_token(unk.text.clone());
    }
    let model = builder.build().map_err(|e| {
        vocabulary.settings.bad(
            "tokenizer.ggml.merges",
            format!("do not fit the tokens: {e}"),
        )
    })?;
    let prefix = vocabulary
        .settings
        .flag("tokenizer.ggml.add_space_prefix")?;
    let prefix = prefix.unwrap_or(true) && !gemma;
    Ok(Recipe {
        model: model.into(),
        normalizer: match gemma {
            true => json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
            false => Value::Null,
        },
        pre_tokenizer: match gemma {
            true => {
                json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false})
            }
            false => json!({
                "type": "Metaspace", "replacement": "▁", "split": false,
                "prepend_scheme": if prefix { "first" } else { "never" },
            }),
        },
        decoder: decoder(prefix),
        tokens: Some(tokens),
        around: (true, false),
    })
}

fn decoder(prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}

/// Pieces of spaces are written as such in Gemma's files, and looked for as `▁`.
#[allow(clippy::ptr_arg)]
fn respelled(token: &String) -> String {
    match token.contains(' ') && token.trim().is_empty() {
        true => "▁".repeat(token.chars().count()),
        false => token.clone(),
    }
}

/// Every way to make a piece that has a score of two others, best pieces first; among those of one piece, longer
/// beginnings first.
fn merges(tokens: &[String], score: impl Fn(usize) -> Option<f32>) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> = tokens.iter().map(String::as_str).zip(0..).collect();
    let mut found = Vec::new();
    for (id, piece) in tokens.iter().enumerate() {
        // The last of equal entries counts.
        let Some(value) = score(id).filter(|_| ids[piece.as_str()] == id) else {
            continue;
        };
        let length = piece.chars().count();
        for (before, (at, _)) in piece.char_indices().enumerate().skip(1) {
            let (left, right) = piece.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                found.push((value, before, length - before, left, right));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
    let pairs = found.into_iter();
    pairs
        .map(|(.., left, right)| (left.to_owned(), right.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_follow_the_scores() {
        let tokens = ["a", "b", "ab", "aab", "aa", "ü", "aü"].map(String::from);
        let scores = [0.0, 0.0, -2.0, -3.0, -1.0, 0.0, -1.0];
        let pairs = merges(&tokens, |id| Some(scores[id]));
        let pairs: Vec<String> = pairs.iter().map(|(l, r)| format!("{l}+{r}")).collect();
        assert_eq!(pairs, ["a+a", "a+ü", "a+b", "aa+b", "a+ab"]);
    }
}
