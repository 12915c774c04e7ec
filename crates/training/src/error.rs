//! The errors of training runs.

use std::path::PathBuf;

use interlingua_backend::DeviceError;
use interlingua_data::DataError;
use interlingua_metrics::MetricError;
use interlingua_models::ModelError;

/// The reason why a model could not be trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The recipe is not valid.
    #[error("{path}: {problem}")]
    Spec {
        /// The path of the recipe.
        path: PathBuf,
        /// The error of the TOML reader with line, key and what would work.
        problem: String,
    },
    /// A value of the recipe cannot be used.
    #[error("{key}: {problem}")]
    Value {
        /// The key of the value.
        key: String,
        /// A description of the fault, and what would work.
        problem: String,
    },
    /// A file that an interrupted run left is damaged.
    #[error("{path}: damaged ({problem}); delete its folder, the next run starts anew")]
    State {
        /// The path of the file.
        path: PathBuf,
        /// A description of the damage.
        problem: String,
    },
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The model returned an error.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The text cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A metric cannot be computed.
    #[error("computing {what}: {source}")]
    Metric {
        /// The name of what was being computed.
        what: String,
        /// The error of the metric.
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
