//! What can stop a task.

use interlingua_data::DataError;
use interlingua_metrics::MetricError;
use interlingua_models::ModelError;

/// Why a task could not be read, put to a model or judged.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A value of the options cannot work.
    #[error("{key}: {problem}")]
    Options {
        /// The key, as a user writes it in the options; empty where the options as a whole cannot work.
        key: String,
        /// What is wrong and what would work.
        problem: String,
    },
    /// An item that the model cannot be asked.
    #[error("item `{item}`: {problem}")]
    Item {
        /// The item.
        item: String,
        /// What is wrong and what would work.
        problem: String,
    },
    /// The files.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A metric.
    #[error("{}{source}", .of.as_ref().map(|of| format!("{of}: ")).unwrap_or_default())]
    Metric {
        /// The part of the task that the metric is of, where it has parts.
        of: Option<String>,
        /// The cause.
        source: MetricError,
    },
}

impl TaskError {
    /// A value of the options that cannot work.
    pub fn options(key: impl Into<String>, problem: impl Into<String>) -> TaskError {
        TaskError::Options {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

impl From<MetricError> for TaskError {
    fn from(source: MetricError) -> TaskError {
        TaskError::Metric { of: None, source }
    }
}
