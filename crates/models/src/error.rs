//! Everything that can be wrong with a checkpoint or a request to run it.

use std::path::{Path, PathBuf};

use crate::hooks::HookPoint;

/// Why a model could not be opened, read or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder lacks a file that every checkpoint has.
    #[error(
        "{folder}: no `{file}` here; a Hugging Face checkpoint folder has config.json, tokenizer.json and model.safetensors (or model.safetensors.index.json with its shards)"
    )]
    MissingFile {
        /// The checkpoint folder.
        folder: PathBuf,
        /// What was looked for.
        file: String,
    },
    /// `config.json` is not usable.
    #[error("{path}: key `{key}`: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it and what would work.
        problem: String,
    },
    /// The architecture is not implemented.
    #[error("{path}: architecture `{found}` is not implemented; those that are: {known}")]
    UnknownArchitecture {
        /// The file.
        path: PathBuf,
        /// What `architectures` says.
        found: String,
        /// What would work.
        known: String,
    },
    /// A safetensors file or index is malformed.
    #[error("{path}: {problem}")]
    BadWeights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor is missing.
    #[error("{path}: tensor `{name}` is missing (the architecture needs it)")]
    MissingTensor {
        /// The checkpoint folder or file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor the architecture has no place for.
    #[error("{path}: tensor `{name}` has no place in this architecture")]
    UnknownTensor {
        /// The checkpoint folder or file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor of another shape than the config implies.
    #[error("{path}: tensor `{name}` has shape {found:?}, config.json implies {expected:?}")]
    Shape {
        /// The checkpoint file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape the config implies.
        expected: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{path}: tensor `{name}` holds {value} at element {index}; the checkpoint is damaged, fetch it again"
    )]
    NotFinite {
        /// The checkpoint file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// The value found.
        value: f32,
        /// Its flat index.
        index: usize,
    },
    /// The tokenizer cannot be used.
    #[error("{path}: {problem}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would work.
        problem: String,
    },
    /// A hook point that does not exist in this model.
    #[error("hook point `{name}` does not exist in this model of {layers} blocks; those that do: {}", HookPoint::names(*.layers))]
    UnknownHook {
        /// What was asked for.
        name: String,
        /// Blocks of the model.
        layers: usize,
    },
    /// A sequence that the model cannot take.
    #[error("sequence {index}: {problem}")]
    Sequence {
        /// Its index in the request.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A model that only makes states was asked for probabilities.
    #[error(
        "{folder}: architecture `{architecture}` has no LM head, so it gives states but no probabilities; a checkpoint of the same family with `ForMaskedLM` or `ForCausalLM` in its name has one"
    )]
    NoHead {
        /// The checkpoint folder.
        folder: PathBuf,
        /// What `architectures` says.
        architecture: String,
    },
    /// A causal model where a masked one is needed, or the other way round.
    #[error(
        "{folder}: `{architecture}` has a {kind} LM head, this needs a {wanted} one; choose another scorer or another model"
    )]
    WrongHead {
        /// The checkpoint folder.
        folder: PathBuf,
        /// What `architectures` says.
        architecture: String,
        /// `causal` or `masked`.
        kind: &'static str,
        /// The other.
        wanted: &'static str,
    },
    /// A masked model whose tokenizer does not say what masks a token.
    #[error(
        "{folder}: no mask token: looked for `mask_token` in tokenizer_config.json and in special_tokens_map.json, and for [MASK] and <mask> in tokenizer.json; add `mask_token` to tokenizer_config.json"
    )]
    NoMaskToken {
        /// The checkpoint folder.
        folder: PathBuf,
    },
    /// A hidden state came out NaN or infinite.
    #[error(
        "the log-likelihoods of sequence {index} are not finite; the weights or an intervention produce NaN"
    )]
    NotFiniteOutput {
        /// Index of the first such sequence.
        index: usize,
    },
}

impl ModelError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
        let path = path.to_owned();
        move |source| ModelError::Io { path, source }
    }
}
