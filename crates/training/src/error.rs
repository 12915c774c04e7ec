//! What can stop a training run.

use std::path::PathBuf;

use interlingua_backend::DeviceError;
use interlingua_data::DataError;
use interlingua_metrics::MetricError;
use interlingua_models::ModelError;

/// Why a model could not be trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The recipe is not valid.
    #[error("{path}: {problem}")]
    Spec {
        /// The recipe.
        path: PathBuf,
        /// Line, key and what would work, as the TOML reader says it.
        problem: String,
    },
    /// A value of the recipe cannot work.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong and what would work.
        problem: String,
    },
    /// What a half-done run left is damaged.
    #[error("{path}: damaged ({problem}); delete its folder, the next run starts anew")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The device cannot be had.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The text.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A metric.
    #[error("computing {what}: {source}")]
    Metric {
        /// What was being computed.
        what: String,
        /// The cause.
        source: MetricError,
    },
}

impl TrainingError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> TrainingError {
        let path = path.into();
        move |source| TrainingError::Io { path, source }
    }

    pub(crate) fn value(key: impl Into<String>, problem: impl Into<String>) -> TrainingError {
        TrainingError::Value {
            key: key.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn metric(what: impl Into<String>) -> impl FnOnce(MetricError) -> TrainingError {
        let what = what.into();
        move |source| TrainingError::Metric { what, source }
    }
}
