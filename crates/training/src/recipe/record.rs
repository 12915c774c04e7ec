//! The record of a run, which is written beside the weights.

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
    /// The digest of the settings, the text and the device. Two runs with the same digest make the same model.
    pub key: String,
    /// The command that the user typed.
    pub command: String,
    /// The settings with every default.
    pub settings: PretrainSpec,
    /// The version of this program.
    pub version: String,
    /// The commit of the current folder, if git knows one.
    pub commit: Option<String>,
    /// The device of the training.
    pub device: String,
    /// The number of parameters of the model.
    pub parameters: usize,
    /// The number of entries of the tokenizer.
    pub vocabulary: usize,
    /// The files that were read.
    pub files: Vec<DataFile>,
    /// The number of rows that were used of every `[[text]]`.
    pub rows: Vec<u64>,
    /// The amount of text that was left out of the training.
    pub left_out: LeftOut,
    /// The size of the training text by source and language.
    pub text: Vec<TextSize>,
    /// The number of steps.
    pub steps: usize,
    /// The number of predicted tokens in all steps, including end tokens.
    pub tokens: usize,
    /// The number of predicted tokens in one pass over the text.
    pub epoch_tokens: usize,
    /// The seconds of training, without interruptions.
    pub seconds: f64,
    /// The loss curve.
    pub loss: Vec<LossPoint>,
    /// The perplexities on a part of the held-out text during training.
    pub evaluations: Vec<Evaluation>,
    /// The perplexities on all held-out text at the end.
    pub held_out: Vec<HeldOut>,
}

/// The size of the training text in one language from one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextSize {
    /// The name of the source.
    pub source: String,
    /// The language of the text.
    pub language: Language,
    /// The number of different sentences.
    pub sentences: usize,
    /// The number of their characters.
    pub characters: usize,
    /// The number of their tokens, including end tokens.
    pub tokens: usize,
    /// How often a pass repeats these sentences, on average.
    pub repeats: f64,
}

/// A point of the loss curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// The number of steps that were taken.
    pub step: usize,
    /// The mean loss since the preceding point, in nats per token.
    pub loss: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
}

/// The perplexities at one point of the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The number of steps that were taken.
    pub step: usize,
    /// The perplexity per token, by language.
    pub perplexity: BTreeMap<Language, f64>,
}

/// The quality of the model's predictions on held-out text of one language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// The name of the source; `None` for all sources together.
    pub source: Option<String>,
    /// The language of the text.
    pub language: Language,
    /// The number of sentences.
    pub sentences: usize,
    /// The number of tokens that were predicted, without the end tokens.
    pub tokens: usize,
    /// The number of characters of the sentences.
    pub characters: usize,
    /// The perplexity per token, with its interval over sentences.
    pub perplexity: Estimate,
    /// The bits per character, with their interval over sentences. They can be compared across tokenizers.
    pub bits_per_character: Estimate,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The checkpoint folder.
    pub folder: PathBuf,
    /// The record of the run.
    pub record: Record,
    /// Whether the folder had been finished before.
    pub cached: bool,
}

/// The part of a checkpoint that is not the state of the trainer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Log {
    pub seconds: f64,
    pub tokens: usize,
    pub loss: Vec<LossPoint>,
    pub evaluations: Vec<Evaluation>,
    /// The sum of loss × tokens, and the number of tokens, since the last point of the curve.
    pub pending: (f64, usize),
}
