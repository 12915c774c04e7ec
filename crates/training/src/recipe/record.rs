//! What a run leaves behind, besides weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use interlingua_data::Language;
use interlingua_metrics::bootstrap::Estimate;
use serde::{Deserialize, Serialize};

use super::spec::PretrainSpec;
use super::text::{DataFile, LeftOut};

/// The record of a run, `training.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Digest of the settings, the text and the device: two runs of one digest make the same model.
    pub key: String,
    /// What the user typed.
    pub command: String,
    /// The settings with every default.
    pub settings: PretrainSpec,
    /// Version of this program.
    pub version: String,
    /// Commit of the working folder, where git knows one.
    pub commit: Option<String>,
    /// Device.
    pub device: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// Entries of the tokenizer.
    pub vocabulary: usize,
    /// The files that were read.
    pub files: Vec<DataFile>,
    /// Rows used of every `[[text]]`.
    pub rows: Vec<u64>,
    /// What was left out of the training text.
    pub left_out: LeftOut,
    /// The training text by source and language.
    pub text: Vec<TextSize>,
    /// Steps.
    pub steps: usize,
    /// Predicted tokens in all steps, end tokens included.
    pub tokens: usize,
    /// Predicted tokens in one pass.
    pub epoch_tokens: usize,
    /// Seconds of training, interruptions left out.
    pub seconds: f64,
    /// Mean losses.
    pub loss: Vec<LossPoint>,
    /// Perplexities on a part of the held-out text on the way.
    pub evaluations: Vec<Evaluation>,
    /// Perplexities on all held-out text at the end.
    pub held_out: Vec<HeldOut>,
}

/// How much training text there is in one language from one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextSize {
    /// Source.
    pub source: String,
    /// Language.
    pub language: Language,
    /// Different sentences.
    pub sentences: usize,
    /// Their characters.
    pub characters: usize,
    /// Their tokens, end tokens included.
    pub tokens: usize,
    /// How often a pass repeats them, on average.
    pub repeats: f64,
}

/// A point of the loss curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Steps taken.
    pub step: usize,
    /// Mean loss since the point before, nats per token.
    pub loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

/// Perplexities during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps taken.
    pub step: usize,
    /// Perplexity per token by language.
    pub perplexity: BTreeMap<Language, f64>,
}

/// How well the model predicts held-out text of one language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Source; `None` for all sources together.
    pub source: Option<String>,
    /// Language.
    pub language: Language,
    /// Sentences.
    pub sentences: usize,
    /// Tokens predicted; the end token is not among them.
    pub tokens: usize,
    /// Characters of the sentences.
    pub characters: usize,
    /// Perplexity per token, interval over sentences.
    pub perplexity: Estimate,
    /// Bits per character, interval over sentences; comparable across tokenizers.
    pub bits_per_character: Estimate,
}

/// What a run leaves behind.
#[derive(Debug)]
pub struct Outcome {
    /// The checkpoint folder.
    pub folder: PathBuf,
    /// Its record.
    pub record: Record,
    /// Whether the folder was finished before.
    pub cached: bool,
}

/// What belongs to a checkpoint beside the state of the trainer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Log {
    pub seconds: f64,
    pub tokens: usize,
    pub loss: Vec<LossPoint>,
    pub evaluations: Vec<Evaluation>,
    /// Loss × tokens and tokens since the last point of the curve.
    pub pending: (f64, usize),
}
