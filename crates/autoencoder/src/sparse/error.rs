//! What can be wrong with a sparse autoencoder.

use std::path::{Path, PathBuf};

/// Why a sparse autoencoder could not be read, made or trained.
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
    /// A file that is no sparse autoencoder.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor that is not in the file.
    #[error("{path} has no `{name}`; there are {}", found.join(", "))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: &'static str,
        /// Those that there are.
        found: Vec<String>,
    },
    /// A setting that changes what the autoencoder computes, and that is not known here.
    #[error("{path}: `{key}` is `{value}`, which is not read here; {known} works")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is read.
        known: &'static str,
    },
    /// A part of another size than the others say.
    #[error("`{what}` of the sparse autoencoder has {found}, expected {expected}")]
    Shape {
        /// The part.
        what: &'static str,
        /// What fits.
        expected: String,
        /// What there is.
        found: String,
    },
    /// A number that is not finite.
    #[error("`{what}` of the sparse autoencoder is not finite at place {at}")]
    NotFinite {
        /// The part.
        what: &'static str,
        /// The place, counted from 0.
        at: usize,
    },
    /// An autoencoder of states of another width.
    #[error(
        "{path} is of states {found} wide, and those at {hook} are {expected} wide; it is of another model or of another \
         part of the block"
    )]
    Width {
        /// The file.
        path: PathBuf,
        /// The hook point that it should work at.
        hook: String,
        /// Width of its states.
        found: usize,
        /// Width of the states at the hook point.
        expected: usize,
    },
    /// A setting of the training.
    #[error("sae.train.{key}: {problem}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong and what would work.
        problem: String,
    },
    /// Too few states.
    #[error("training a sparse autoencoder needs {needed} states, there are {found}")]
    TooFew {
        /// How many are needed.
        needed: usize,
        /// How many there are.
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
