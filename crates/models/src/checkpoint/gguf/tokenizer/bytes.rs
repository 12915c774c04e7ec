//! Tokenizers of kind `gpt2`: BPE on bytes, each of which is written as a letter of its own.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};

use super::{CONTROL, Recipe, USER_DEFINED, Vocabulary};
use crate::ModelError;

const PRE: &str = "tokenizer.ggml.pre";

/// How texts are cut before merges apply.
enum Split {
    /// GPT-2's own expression.
    Gpt2,
    /// The same, and every digit alone.
    Digits,
    /// An expression.
    Pattern(&'static str),
}

/// A kind of `tokenizer.ggml.pre`.
struct Pre {
    names: &'static [&'static str],
    split: Split,
    /// Whether the models' own tokenizers compose characters first.
    composed: bool,
    /// Whether a word that is an entry is taken whole, whatever its merges.
    whole_words: bool,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|[.,!?…。，、।۔،])]+";

const KINDS: [Pre; 6] = [
    Pre {
        names: &["gpt-2", "roberta-bpe"],
        split: Split::Gpt2,
        composed: false,
        whole_words: false,
    },
    Pre {
        names: &["smollm"],
        split: Split::Digits,
        composed: false,
        whole_words: false,
    },
    Pre {
        names: &["command-r"],
        split: Split::Digits,
        composed: true,
        whole_words: false,
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3"],
        split: Split::Pattern(LLAMA3),
        composed: false,
        whole_words: true,
    },
    Pre {
        names: &["qwen2"],
        split: Split::Pattern(QWEN2),
        composed: true,
        whole_words: false,
    },
    Pre {
        names: &["tekken"],
        split: Split::Pattern(TEKKEN),
        composed: false,
        whole_words: true,
    },
];

/// BLOOM's files have its own kind.
const BLOOM_KIND: Pre = Pre {
    names: &["bloom"],
    split: Split::Pattern(BLOOM),
    composed: false,
    whole_words: false,
};

pub(super) fn build(vocabulary: &Vocabulary<'_>) -> Result<Recipe, ModelError> {
    let settings = &vocabulary.settings;
    let pre = pre(vocabulary)?;
    let key = "tokenizer.ggml.merges";
    let merges = vocabulary.merges()?.ok_or_else(|| {
        settings.bad(key, "missing; a vocabulary of bytes has no tokens without them; convert the model again, or put its tokenizer.json beside the file")
    })?;
    let spelled = spelled(vocabulary);
    let model = BPE::builder()
        .vocab_and_merges::<Vocab>(spelled.iter().cloned().zip(0..).collect(), merges)
        .ignore_merges(pre.whole_words)
        .build()
        .map_err(|e| settings.bad(key, format!("do not fit the tokens: {e}")))?;
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let sequence =
        |first: Value, regex| json!({"type": "Sequence", "pretokenizers": [first, bytes(regex)]});
    Ok(Recipe {
        model: model.into(),
        normalizer: match pre.composed {
            true => json!({"type": "NFC"}),
            false => Value::Null,
        },
        pre_tokenizer: match pre.split {
            Split::Gpt2 => bytes(true),
            Split::Digits => sequence(json!({"type": "Digits", "individual_digits": true}), true),
            Split::Pattern(regex) => sequence(
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}),
                false,
            ),
        },
        decoder: bytes(true),
        tokens: Some(spelled),
        around: (false, false),
    })
}

/// How this file cuts texts.
fn pre(vocabulary: &Vocabulary<'_>) -> Result<&'static Pre, ModelError> {
    let settings = &vocabulary.settings;
    let name = settings.text(PRE)?.ok_or_else(|| {
        settings.bad(PRE, "missing, as in files of early 2024; convert the model again, or put its tokenizer.json beside the file")
    })?;
    let mut all = KINDS.iter().chain([&BLOOM_KIND]);
    all.find(|kind| kind.names.contains(&name)).ok_or_else(|| {
        let known = KINDS.iter().chain([&BLOOM_KIND]).flat_map(|k| k.names);
        let known: Vec<&str> = known.copied().collect();
        let problem = format!(
            "`{name}` is not implemented; those that are: {}; a tokenizer.json beside the file is read instead",
            known.join(", ")
        );
        settings.bad(PRE, problem)
    })
}

/// The entries in letters of bytes. Those that are looked for as they are stay so.
fn spelled(vocabulary: &Vocabulary<'_>) -> Vec<String> {
    let letters: HashMap<u8, char> = letters();
    let alphabet: HashSet<char> = letters.values().copied().collect();
    let spell = |(id, token): (usize, &String)| {
        let whole = vocabulary.is_type(id, CONTROL) || vocabulary.is_type(id, USER_DEFINED);
        match whole || token.chars().all(|c| alphabet.contains(&c)) {
            true => token.clone(),
            false => token.bytes().map(|b| letters[&b]).collect(),
        }
    };
    vocabulary.tokens.iter().enumerate().map(spell).collect()
}

/// The letter of each byte: itself where it can be seen, else one above 255.
fn letters() -> HashMap<u8, char> {
    let seen = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 256u32;
    let letter = |b: u8| match seen(&b) {
        true => (b, char::from(b)),
        false => {
            next += 1;
            (
                b,
                char::from_u32(next - 1).expect("letters of Latin Extended"),
            )
        }
    };
    (0..=255).map(letter).collect()
}
