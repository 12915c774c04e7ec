//! Rebuilds the tokenizer that the settings of a GGUF file describe, for the `tokenizers` library.
//!
//! There is one file per kind of tokenizer. The reference is what transformers makes of the same settings, with two
//! exceptions. The splits of `pre` are those of the models' own tokenizers. Special tokens that are written out in a
//! text are text, as in llama.cpp, except in [conversations](crate::Model::with_conversations).

mod bytes;
mod sentencepiece;
mod unigram;
mod wordpiece;

use serde_json::{Value, json};
use tokenizers::{AddedToken, ModelWrapper};

use super::metadata::Settings;
use crate::ModelError;
use crate::tokenizer::{Special, SpecialToken, Tokenizer, guarded};

/// Longest entry, in bytes; the longest in use are some hundred spaces.
const MAX_TOKEN: usize = 1 << 12;

/// `tokenizer.ggml.token_type`.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";

/// Builds a vocabulary's model and what stands around it.
type Build = fn(&Vocabulary<'_>) -> Result<Recipe, ModelError>;

/// The kinds of `tokenizer.ggml.model`.
const KINDS: [(&str, Build); 4] = [
    ("llama", sentencepiece::build),
    ("gpt2", bytes::build),
    ("t5", unigram::build),
    ("bert", wordpiece::build),
];

/// The entries of a file and their settings.
struct Vocabulary<'a> {
    settings: Settings<'a>,
    architecture: &'a str,
    tokens: &'a [String],
    /// One for each token, where the file has them.
    types: Option<&'a [i64]>,
    special: Special,
}

/// The parts of a tokenizer, the later ones as `tokenizer.json` has them.
struct Recipe {
    model: ModelWrapper,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    /// How the model's own entries are spelled, where the file spells them in another way.
    tokens: Option<Vec<String>>,
    /// Whether special tokens go before and after a text where the file does not say.
    around: (bool, bool),
}

/// Builds the tokenizer of a file whose embedding has `vocab_size` rows.
pub(super) fn build(
    settings: &Settings<'_>,
    architecture: &str,
    vocab_size: usize,
) -> Result<Tokenizer, ModelError> {
    let kind = settings.text(MODEL)?.ok_or_else(|| {
        settings.bad(
            MODEL,
            "missing; put the model's tokenizer.json beside the file",
        )
    })?;
    let Some((_, make)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let problem = format!(
            "`{kind}` is not implemented; those that are: {}; a tokenizer.json beside the file is read instead",
            known.join(", ")
        );
        return Err(settings.bad(MODEL, problem));
    };
    let vocabulary = Vocabulary::read(settings, architecture, vocab_size)?;
    let recipe = make(&vocabulary)?;
    let inner = guarded(|| assemble(&vocabulary, recipe));
    let inner = inner.map_err(|e| settings.bad(MODEL, format!("makes no tokenizer: {e}")))?;
    Tokenizer::of(settings.path(), inner, vocabulary.special, vocab_size)
}

impl<'a> Vocabulary<'a> {
    fn read(
        settings: &Settings<'a>,
        architecture: &'a str,
        vocab_size: usize,
    ) -> Result<Vocabulary<'a>, ModelError> {
        let tokens = settings.required(TOKENS, settings.texts(TOKENS)?)?;
        if tokens.len() != vocab_size {
            let problem = format!(
                "has {} entries, the embedding has {vocab_size} rows; vocabulary and weights are from different models",
                tokens.len()
            );
            return Err(settings.bad(TOKENS, problem));
        }
        if let Some(long) = tokens.iter().find(|t| t.len() > MAX_TOKEN) {
            let problem = format!(
                "has an entry of {} bytes; real ones have at most {MAX_TOKEN}",
                long.len()
            );
            return Err(settings.bad(TOKENS, problem));
        }
        let key = "tokenizer.ggml.token_type";
        let types = settings.wholes(key)?;
        if types.is_some_and(|types| types.len() != tokens.len()) {
            return Err(settings.bad(
                key,
                format!("is not a list of {}, one for each token", tokens.len()),
            ));
        }
        Ok(Vocabulary {
            settings: *settings,
            architecture,
            tokens,
            types,
            special: special(settings, tokens)?,
        })
    }

    /// The scores of the tokens.
    fn scores(&self) -> Result<&'a [f32], ModelError> {
        let key = "tokenizer.ggml.scores";
        let scores = self.settings.required(key, self.settings.numbers(key)?)?;
        if scores.len() == self.tokens.len() {
            return Ok(scores);
        }
        let problem = format!("is not a list of {}, one for each token", self.tokens.len());
        Err(self.settings.bad(key, problem))
    }

    /// The merges of the file, as pairs; nothing where it has none.
    fn merges(&self) -> Result<Option<Vec<(String, String)>>, ModelError> {
        let key = "tokenizer.ggml.merges";
        let Some(merges) = self.settings.texts(key)? else {
            return Ok(None);
        };
        let pair = |merge: &String| {
            let (left, right) = merge.split_once(' ')?;
            Some((left.to_owned(), right.to_owned()))
        };
        let pairs: Option<Vec<_>> = merges.iter().map(pair).collect();
        let problem = "has an entry that is no pair of tokens with a space between";
        pairs
            .map(Some)
            .ok_or_else(|| self.settings.bad(key, problem))
    }

    /// Whether an entry is never made of text: one that the file calls so, or names for a purpose.
    fn is_special(&self, id: usize) -> bool {
        let s = &self.special;
        let named = [&s.bos, &s.eos, &s.unk, &s.pad, &s.mask, &s.cls, &s.sep];
        let is_named = || named.into_iter().flatten().any(|t| t.id == Some(id as u32));
        self.is_type(id, CONTROL) || is_named()
    }

    fn is_type(&self, id: usize, kind: i64) -> bool {
        self.types.is_some_and(|types| types[id] == kind)
    }
}

/// The special tokens that the file names.
fn special(settings: &Settings<'_>, tokens: &[String]) -> Result<Special, ModelError> {
    let token = |kind: &str| {
        let key = format!("tokenizer.ggml.{kind}_token_id");
        let Some(id) = settings.size(&key)? else {
            return Ok(None);
        };
        match tokens.get(id as usize) {
            Some(text) => Ok(Some(SpecialToken {
                text: text.clone(),
                id: Some(id as u32),
            })),
            None => Err(settings.bad(&key, format!("{id} is beyond the {} tokens", tokens.len()))),
        }
    };
    Ok(Special {
        bos: token("bos")?,
        eos: token("eos")?,
        unk: token("unknown")?,
        pad: token("padding")?,
        mask: token("mask")?,
        cls: token("cls")?,
        // So it is spelled in the format.
        sep: token("seperator")?,
        add_bos_token: settings.flag("tokenizer.ggml.add_bos_token")?,
        add_eos_token: settings.flag("tokenizer.ggml.add_eos_token")?,
        padding_side: None,
        chat_template: settings.has("tokenizer.chat_template"),
    })
}

/// Puts the parts together, with the special tokens and what goes around a text.
fn assemble(
    vocabulary: &Vocabulary<'_>,
    recipe: Recipe,
) -> Result<tokenizers::Tokenizer, tokenizers::Error> {
    fn part<T: serde::de::DeserializeOwned>(json: Value) -> Result<Option<T>, serde_json::Error> {
        serde_json::from_value(json)
    }
    let mut inner = tokenizers::Tokenizer::new(recipe.model);
    inner.with_normalizer(part::<tokenizers::NormalizerWrapper>(recipe.normalizer)?);
    inner.with_pre_tokenizer(part::<tokenizers::PreTokenizerWrapper>(
        recipe.pre_tokenizer,
    )?);
    inner.with_decoder(part::<tokenizers::DecoderWrapper>(recipe.decoder)?);
    let spelled = recipe.tokens.as_deref().unwrap_or(vocabulary.tokens);
    let of_kind = |wanted: bool| {
        let ids = (0..spelled.len()).filter(move |&id| match wanted {
            true => vocabulary.is_special(id),
            // Gemma's pieces of spaces are looked for as pieces, not in the text.
            false => vocabulary.is_type(id, USER_DEFINED) && spelled[id] == vocabulary.tokens[id],
        });
        ids.map(move |id| AddedToken::from(spelled[id].clone(), wanted).normalized(false))
    };
    let of_special: Vec<AddedToken> = of_kind(true).collect();
    inner.add_special_tokens(&of_special);
    let of_user: Vec<AddedToken> = of_kind(false).collect();
    inner.add_tokens(&of_user);
    let template = template(&vocabulary.special, recipe.around);
    inner.with_post_processor(part::<tokenizers::PostProcessorWrapper>(template)?);
    // What a text spells is text, as in llama.cpp. Entries of users' own are looked for all the same.
    inner.set_encode_special_tokens(true);
    Ok(inner)
}

/// What goes around a text, as `tokenizer.json` has it.
fn template(special: &Special, default: (bool, bool)) -> Value {
    let before = special.cls.as_ref().or(special.bos.as_ref());
    let after = special.sep.as_ref().or(special.eos.as_ref());
    let before = before.filter(|_| special.add_bos_token.unwrap_or(default.0));
    let after = after.filter(|_| special.add_eos_token.unwrap_or(default.1));
    let step = |token: &SpecialToken| json!({"SpecialToken": {"id": token.text, "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let mut single: Vec<Value> = before.map(step).into_iter().collect();
    single.push(text("A"));
    single.extend(after.map(step));
    let mut pair = single.clone();
    pair.push(text("B"));
    let tokens = [before, after].into_iter().flatten().map(|token| {
        let entry = json!({"id": token.text, "ids": [token.id], "tokens": [token.text]});
        (token.text.clone(), entry)
    });
    json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": tokens.collect::<serde_json::Map<String, Value>>(),
    })
}
