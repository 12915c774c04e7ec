//! Tokenizers of kind `bert`: WordPiece. GGUF marks the beginning of words with `▁`, instead of marking the pieces
//! within them with `##`.

use serde_json::json;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;

use super::{CONTROL, Recipe, Vocabulary};
use crate::ModelError;

pub(super) fn build(vocabulary: &Vocabulary<'_>) -> Result<Recipe, ModelError> {
    let settings = &vocabulary.settings;
    let spelled: Vec<String> = (vocabulary.tokens.iter().enumerate())
        .map(|(id, token)| match token.strip_prefix('▁') {
            _ if vocabulary.is_type(id, CONTROL) => token.clone(),
            Some(word) => word.to_owned(),
            None => format!("##{token}"),
        })
        .collect();
    // The file does not say whether texts are put into small letters; a vocabulary that needs it has no large ones.
    let cased = (spelled.iter().enumerate()).any(|(id, token)| {
        let ordinary = !vocabulary.is_type(id, CONTROL) && !token.starts_with('[');
        ordinary && token.chars().any(char::is_uppercase)
    });
    let unk = match &vocabulary.special.unk {
        Some(unk) => unk.text.clone(),
        None => "[UNK]".to_owned(),
    };
    let ids: Vocab = spelled.iter().cloned().zip(0..).collect();
    if !ids.contains_key(&unk) {
        return Err(settings.bad(
            super::TOKENS,
            format!("has no entry `{unk}` for what is unknown"),
        ));
    }
    let model = WordPiece::builder()
        .vocab(ids)
        .unk_token(unk)
        .continuing_subword_prefix("##".into())
        .max_input_chars_per_word(100)
        .build()
        .map_err(|e| settings.bad(super::TOKENS, format!("makes no WordPiece model: {e}")))?;
    Ok(Recipe {
        model: model.into(),
        normalizer: json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": !cased,
        }),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        tokens: Some(spelled),
        around: (true, true),
    })
}
