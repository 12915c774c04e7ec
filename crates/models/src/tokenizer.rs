//! `tokenizer.json`, as the `tokenizers` crate reads it, checked against the model.

use std::path::{Path, PathBuf};

use crate::ModelError;

/// A tokenizer that adds no special tokens by itself.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    /// Special tokens that its post-processor puts before and after a text.
    around: (Vec<u32>, Vec<u32>),
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a checkpoint folder.
    ///
    /// # Errors
    /// Missing or malformed file; an id beyond the model's embedding.
    pub fn open(folder: &Path, vocab_size: usize) -> Result<Tokenizer, ModelError> {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            let sentencepiece = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"]
                .into_iter()
                .find(|f| folder.join(f).is_file());
            if let Some(found) = sentencepiece {
                return Err(ModelError::Tokenizer {
                    path: folder.join(found),
                    problem: "only a SentencePiece model is here; convert it once in Python: \
                              `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` writes tokenizer.json"
                        .into(),
                });
            }
            return Err(ModelError::MissingFile {
                folder: folder.to_owned(),
                file: "tokenizer.json".into(),
            });
        }
        let inner = tokenizers::Tokenizer::from_file(&path).map_err(|e| ModelError::Tokenizer {
            path: path.clone(),
            problem: format!("cannot be read: {e}"),
        })?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if largest >= vocab_size {
            return Err(ModelError::Tokenizer {
                path,
                problem: format!(
                    "has token id {largest}, the model's embedding has {vocab_size} rows (config.json, vocab_size); \
                     tokenizer and weights are from different models"
                ),
            });
        }
        let around = around(&inner).map_err(|problem| ModelError::Tokenizer {
            path: path.clone(),
            problem,
        })?;
        Ok(Tokenizer {
            inner,
            path,
            around,
        })
    }

    /// The special tokens that the tokenizer's own template puts before and after a text.
    pub fn around(&self) -> (&[u32], &[u32]) {
        (&self.around.0, &self.around.1)
    }

    /// Token ids of a text, without special tokens.
    ///
    /// # Errors
    /// When the tokenizer itself fails on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.inner
            .encode(text, false)
            .map(|e| e.get_ids().to_vec())
            .map_err(|e| ModelError::Tokenizer {
                path: self.path.clone(),
                problem: format!("cannot encode a text: {e}"),
            })
    }

    /// The text of ids.
    pub fn decode(&self, ids: &[u32]) -> Option<String> {
        self.inner.decode(ids, false).ok()
    }

    /// The id of an entry, special tokens included.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of entries, special tokens included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether the tokenizer has no entries at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the post-processor adds at the two ends of a text, by the mask it gives.
fn around(inner: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    let encoding = inner
        .encode("a", true)
        .map_err(|e| format!("cannot encode a text: {e}"))?;
    let special = encoding.get_special_tokens_mask();
    let ids = encoding.get_ids();
    let first = special.iter().position(|&s| s == 0).unwrap_or(ids.len());
    let last = special
        .iter()
        .rposition(|&s| s == 0)
        .map_or(ids.len(), |l| l + 1);
    Ok((ids[..first].to_vec(), ids[last..].to_vec()))
}

/// Special tokens of the tokenizers trained here, by id.
pub const SPECIAL: [&str; 4] = ["<PAD>", "<UNK>", "<BOS_TOKEN>", "<EOS_TOKEN>"];

/// Trains a byte-level BPE and returns its `tokenizer.json`.
///
/// Deterministic in its input. Ids 0 to 3 are padding, unknown, beginning and
/// end of sequence.
///
/// # Errors
/// When the trainer fails; the text is the trainer's.
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
