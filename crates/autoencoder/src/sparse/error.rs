//! The errors of sparse autoencoders.

use std::path::{Path, PathBuf};

/// The reason why a sparse autoencoder could not be read, made or trained.
#[derive(Debug, thiserror::Error)]
pub enum SparseError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not a sparse autoencoder.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor is missing from the file.
    #[error("{path} has no `{name}`; there are {}", found.join(", "))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: &'static str,
        /// The tensors that the file has.
        found: Vec<String>,
    },
    /// A setting changes what the autoencoder computes, and Interlingua doesn't support it.
    #[error("{path}: `{key}` is `{value}`, which is not read here; {known} works")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// The values that are supported.
        known: &'static str,
    },
    /// A part doesn't have the size that the other parts need.
    #[error("`{what}` of the sparse autoencoder has {found}, expected {expected}")]
    Shape {
        /// The part.
        what: &'static str,
        /// The size that would fit.
        expected: String,
        /// The size that was found.
        found: String,
    },
    /// A number is not finite.
    #[error("`{what}` of the sparse autoencoder is not finite at place {at}")]
    NotFinite {
        /// The part.
        what: &'static str,
        /// The index of the number in the part, counted from 0.
        at: usize,
    },
    /// The autoencoder was made for states of another width.
    #[error(
        "{path} is of states {found} wide, and those at {hook} are {expected} wide; it is of another model or of another \
         part of the block"
    )]
    Width {
        /// The file.
        path: PathBuf,
        /// The hook point at which it was to be used.
        hook: String,
        /// The width of the states that it was made for.
        found: usize,
        /// The width of the states at the hook point.
        expected: usize,
    },
    /// A setting of the training can't be used.
    #[error("sae.train.{key}: {problem}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong and what would work.
        problem: String,
    },
    /// There are too few states to train on.
    #[error("training a sparse autoencoder needs {needed} states, there are {found}")]
    TooFew {
        /// The number of states that are needed.
        needed: usize,
        /// The number of states that exist.
        found: usize,
    },
    /// The loss became NaN or infinite.
    #[error(
        "the loss is {loss} at step {step}: states are not finite, or sae.train.learning_rate is too high"
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// The step.
        step: usize,
    },
    /// The source of states failed.
    #[error("hidden states cannot be read: {0}")]
    States(Box<dyn std::error::Error + Send + Sync>),
}

impl SparseError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> SparseError {
        let path = path.to_owned();
        move |source| SparseError::Io { path, source }
    }

    pub(super) fn malformed(path: &Path, problem: impl Into<String>) -> SparseError {
        SparseError::Malformed {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}
