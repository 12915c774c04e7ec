//! Reads `tokenizer.json` with the `tokenizers` crate and checks it against the model.
//!
//! Padding and truncation that `tokenizer.json` asks for are switched off: sequences of any length are packed without
//! padding, so no padding side matters, and a text that is too long is an error and is not cut. Chat templates are
//! applied by [`crate::Model::chat`] and nowhere else. [`Tokenizer::encode`] adds no special tokens;
//! [`Tokenizer::encode_template`] adds those of the tokenizer's own template.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ModelError;
use crate::growth;
use crate::input;

/// The longest `tokenizer.json` in use, of 262 thousand entries, has 33 MB.
const MAX_FILE: u64 = 128 << 20;

/// Files that only hold a few settings and the added tokens.
const MAX_SETTINGS: u64 = 16 << 20;

/// A tokenizer that adds no special tokens by itself.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    /// Special tokens that its post-processor puts before and after a text.
    around: (Vec<u32>, Vec<u32>),
    special: Special,
}

/// The tokens of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The token ids.
    pub ids: Vec<u32>,
    /// For each token, the bytes of the text that it stands for, on character boundaries.
    ///
    /// The range is empty for special tokens that the template adds. Tokens may share bytes: if several are parts of
    /// one character, each of them has the whole character.
    pub offsets: Vec<Range<usize>>,
    /// For each token, whether the template added it.
    pub added: Vec<bool>,
}

/// A special token, with its text and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// The text of the token.
    pub text: String,
    /// The id of the token; `None` if the tokenizer has no such entry.
    pub id: Option<u32>,
}

/// The special tokens according to `tokenizer_config.json` and `special_tokens_map.json`, for reports.
///
/// If both files name a token, the first file decides, as in transformers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Special {
    /// The beginning-of-sequence token.
    pub bos: Option<SpecialToken>,
    /// The end-of-sequence token.
    pub eos: Option<SpecialToken>,
    /// The token for text that has no entry in the vocabulary.
    pub unk: Option<SpecialToken>,
    /// The padding token, which is never used here.
    pub pad: Option<SpecialToken>,
    /// The mask token, which replaces a token that is to be predicted.
    pub mask: Option<SpecialToken>,
    /// The token that opens a text of an encoder.
    pub cls: Option<SpecialToken>,
    /// The token that closes a text of an encoder.
    pub sep: Option<SpecialToken>,
    /// Whether transformers puts the beginning-of-sequence token before a text, if the file says so.
    pub add_bos_token: Option<bool>,
    /// Whether transformers puts the end-of-sequence token after a text, if the file says so.
    pub add_eos_token: Option<bool>,
    /// The padding side, `left` or `right`, if the file gives one; it has no effect here.
    pub padding_side: Option<String>,
    /// Whether there is a chat template, which is applied only on request.
    pub chat_template: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a checkpoint folder and the settings beside it.
    ///
    /// # Errors
    /// A file that is missing or malformed, or a token id beyond the model's embedding.
    pub fn open(folder: &Path, vocab_size: usize) -> Result<Tokenizer, ModelError> {
        let path = folder.join("tokenizer.json");
        if !input::is_there(&path)? {
            return Err(missing(folder)?);
        }
        let bad = |problem: String| ModelError::Tokenizer {
            path: path.clone(),
            problem: input::brief(problem),
        };
        let bytes = input::read(&path, MAX_FILE)?;
        let mut inner = from_bytes(&bytes).map_err(|e| bad(format!("cannot be read: {e}")))?;
        drop(bytes);
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| bad(format!("truncation cannot be switched off: {e}")))?;
        let special = Special::open(folder, &inner)?;
        Tokenizer::of(&path, inner, special, vocab_size)
    }

    /// Makes a tokenizer from a parsed file and checks it against the model.
    pub(crate) fn of(
        path: &Path,
        inner: tokenizers::Tokenizer,
        special: Special,
        vocab_size: usize,
    ) -> Result<Tokenizer, ModelError> {
        let bad = |problem: String| ModelError::Tokenizer {
            path: path.to_owned(),
            problem: input::brief(problem),
        };
        let around = around(&inner).map_err(bad)?;
        let template = around.0.iter().chain(&around.1).copied();
        // Added tokens may lie beyond it: text models carry those of their siblings that see images.
        // A text that has one is refused when it is run.
        let largest = inner.get_vocab(false).into_values().chain(template).max();
        let largest = largest.unwrap_or(0) as usize;
        if largest >= vocab_size {
            return Err(bad(format!(
                "has token id {largest}, the model's embedding has {vocab_size} rows (config.json, vocab_size); \
                 tokenizer and weights are from different models"
            )));
        }
        Ok(Tokenizer {
            inner,
            path: path.to_owned(),
            around,
            special,
        })
    }

    /// Returns the special tokens according to the settings beside `tokenizer.json`, for reports.
    pub fn special(&self) -> &Special {
        &self.special
    }

    /// Returns the id of the mask token.
    ///
    /// It is the `mask_token` of the settings or, if they name none, an entry `[MASK]` or `<mask>`.
    pub fn mask(&self) -> Option<u32> {
        match &self.special.mask {
            Some(named) => named.id,
            None => ["[MASK]", "<mask>"]
                .into_iter()
                .find_map(|text| self.inner.token_to_id(text)),
        }
    }

    /// Returns the special tokens that the tokenizer's own template puts before and after a text.
    pub fn around(&self) -> (&[u32], &[u32]) {
        (&self.around.0, &self.around.1)
    }

    /// Encodes a text as token ids, without adding special tokens.
    ///
    /// Special tokens that are written out in the text become their ids, as in transformers, if the tokenizer comes
    /// from `tokenizer.json`. In a GGUF file they are text, as in llama.cpp, except in
    /// [conversations](crate::Model::with_conversations).
    ///
    /// # Errors
    /// A text on which the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        Ok(self.run(text, false)?.get_ids().to_vec())
    }

    /// Encodes a text as token ids, without adding special tokens, and returns the bytes that each token stands for.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::encode`].
    pub fn encode_with_offsets(&self, text: &str) -> Result<Encoded, ModelError> {
        Ok(encoded(text, &self.run(text, false)?))
    }

    /// Encodes a text with the special tokens of the tokenizer's own template around it.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::encode`].
    pub fn encode_template(&self, text: &str) -> Result<Encoded, ModelError> {
        Ok(encoded(text, &self.run(text, true)?))
    }

    /// Makes the tokenizer turn special tokens that are written out in a text into their ids from now on.
    pub(crate) fn read_special(&mut self) {
        self.inner.set_encode_special_tokens(false);
    }

    fn run(&self, text: &str, template: bool) -> Result<tokenizers::Encoding, ModelError> {
        encode(&self.inner, text, template).map_err(|problem| ModelError::Tokenizer {
            path: self.path.clone(),
            problem: input::brief(problem),
        })
    }

    /// Returns the text of token ids.
    pub fn decode(&self, ids: &[u32]) -> Option<String> {
        self.inner.decode(ids, false).ok()
    }

    /// Returns the id of an entry, including special tokens.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the number of entries, including special tokens.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Returns whether the tokenizer has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is wrong with a folder without `tokenizer.json`.
fn missing(folder: &Path) -> Result<ModelError, ModelError> {
    let convert = "convert it once in Python: \
        `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` writes tokenizer.json";
    let kinds = [
        ("tokenizer.model", "a SentencePiece model"),
        ("spiece.model", "a SentencePiece model"),
        ("sentencepiece.bpe.model", "a SentencePiece model"),
        ("vocab.txt", "a WordPiece vocabulary"),
        ("vocab.json", "a BPE vocabulary"),
    ];
    for (file, kind) in kinds {
        if input::is_there(&folder.join(file))? {
            return Ok(ModelError::Tokenizer {
                path: folder.join(file),
                problem: format!("only {kind} is here, no tokenizer.json; {convert}"),
            });
        }
    }
    Ok(ModelError::MissingFile {
        folder: folder.to_owned(),
        file: "tokenizer.json".into(),
    })
}

fn encoded(text: &str, encoding: &tokenizers::Encoding) -> Encoded {
    Encoded {
        ids: encoding.get_ids().to_vec(),
        offsets: encoding
            .get_offsets()
            .iter()
            .map(|&(begin, end)| {
                let begin = text.floor_char_boundary(begin);
                begin..text.ceil_char_boundary(end).max(begin)
            })
            .collect(),
        added: encoding
            .get_special_tokens_mask()
            .iter()
            .map(|&s| s == 1)
            .collect(),
    }
}

/// Calls the library in a way that turns its panics into errors, because it panics on some files that no tokenizer
/// would write.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("the tokenizers library panics on it".into()),
    }
}

fn from_bytes(bytes: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    // The library panics where it meets text that is not JSON deep inside.
    let steps: growth::Steps = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    growth::check(&steps)?;
    guarded(|| tokenizers::Tokenizer::from_bytes(bytes))
}

fn encode(
    inner: &tokenizers::Tokenizer,
    text: &str,
    template: bool,
) -> Result<tokenizers::Encoding, String> {
    guarded(|| inner.encode(text, template)).map_err(|e| format!("cannot encode a text: {e}"))
}

/// What the post-processor adds at the two ends of a text, by the mask it gives.
fn around(inner: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    let encoding = encode(inner, "a", true)?;
    let special = encoding.get_special_tokens_mask();
    let ids = encoding.get_ids();
    let first = special.iter().position(|&s| s == 0).unwrap_or(ids.len());
    let last = special
        .iter()
        .rposition(|&s| s == 0)
        .map_or(ids.len(), |l| l + 1);
    Ok((ids[..first].to_vec(), ids[last..].to_vec()))
}

/// A token in the settings: its text, or an object that holds it.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a special token such as `mask_token` must be a text or an object with a text `content`"
)]
enum Token {
    Text(String),
    Object { content: String },
}

impl Token {
    fn text(self) -> String {
        match self {
            Token::Text(text) | Token::Object { content: text } => text,
        }
    }
}

/// The keys of both files that are used; all others are skipped.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Settings {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    pad_token: Option<Token>,
    mask_token: Option<Token>,
    cls_token: Option<Token>,
    sep_token: Option<Token>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    padding_side: Option<String>,
    chat_template: Option<serde::de::IgnoredAny>,
}

impl Settings {
    fn read(path: &Path) -> Result<Settings, ModelError> {
        if !input::is_there(path)? {
            return Ok(Settings::default());
        }
        Settings::parse(path, &input::read(path, MAX_SETTINGS)?)
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Settings, ModelError> {
        // A structure may also be written as a list, which no such file is.
        let object = bytes.trim_ascii_start().first() == Some(&b'{');
        let settings = match object {
            true => serde_json::from_slice(bytes).map_err(|e| e.to_string()),
            false => Err("not a JSON object".into()),
        };
        settings.map_err(|problem| ModelError::Tokenizer {
            path: path.to_owned(),
            problem: input::brief(problem),
        })
    }
}

impl Special {
    fn open(folder: &Path, inner: &tokenizers::Tokenizer) -> Result<Special, ModelError> {
        let config = Settings::read(&folder.join("tokenizer_config.json"))?;
        let map = Settings::read(&folder.join("special_tokens_map.json"))?;
        let mut template = config.chat_template.is_some();
        for file in ["chat_template.jinja", "chat_template.json"] {
            template |= input::is_there(&folder.join(file))?;
        }
        let token = |first: Option<Token>, second: Option<Token>| {
            first.or(second).map(|token| {
                let text = token.text();
                SpecialToken {
                    id: inner.token_to_id(&text),
                    text,
                }
            })
        };
        Ok(Special {
            bos: token(config.bos_token, map.bos_token),
            eos: token(config.eos_token, map.eos_token),
            unk: token(config.unk_token, map.unk_token),
            pad: token(config.pad_token, map.pad_token),
            mask: token(config.mask_token, map.mask_token),
            cls: token(config.cls_token, map.cls_token),
            sep: token(config.sep_token, map.sep_token),
            add_bos_token: config.add_bos_token,
            add_eos_token: config.add_eos_token,
            padding_side: config.padding_side,
            chat_template: template,
        })
    }
}

/// The special tokens of the tokenizers that are trained here, by id.
pub const SPECIAL: [&str; 4] = ["<PAD>", "<UNK>", "<BOS_TOKEN>", "<EOS_TOKEN>"];

/// Trains a byte-level BPE and returns its `tokenizer.json`.
///
/// The result depends only on the input. Ids 0 to 3 are padding, unknown, beginning of sequence and end of sequence.
///
/// # Errors
/// A failure of the trainer; the message is the trainer's.
pub fn train_bpe<'a>(
    lines: impl Iterator<Item = &'a str> + Send,
    vocab_size: usize,
) -> Result<String, String> {
    use tokenizers::models::bpe::{BPE, BpeTrainer};
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::{
        AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
        TokenizerBuilder,
    };

    let special: Vec<AddedToken> = SPECIAL.iter().map(|s| AddedToken::from(*s, true)).collect();
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let byte_level = ByteLevel::new(true, true, true);
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_normalizer(None)
    .with_pre_tokenizer(Some(byte_level.into()))
    .with_post_processor(None)
    .with_decoder(Some(byte_level.into()))
    .build()
    .map_err(|e| e.to_string())?;
    tokenizer
        .train(&mut trainer, lines)
        .map_err(|e| e.to_string())?;
    tokenizer.to_string(true).map_err(|e| e.to_string())
}
