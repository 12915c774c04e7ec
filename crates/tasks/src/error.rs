//! The errors of tasks.

use interlingua_data::DataError;
use interlingua_metrics::MetricError;
use interlingua_models::ModelError;

/// The reason why a task could not be read, put to a model or evaluated.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A value of the options cannot be used.
    #[error("{key}: {problem}")]
    Options {
        /// The key, as a user writes it in the options; empty if the fault lies in the options as a whole.
        key: String,
        /// What is wrong and what would work.
        problem: String,
    },
    /// The model cannot be asked about an item.
    #[error("item `{item}`: {problem}")]
    Item {
        /// The identifier of the item.
        item: String,
        /// What is wrong and what would work.
        problem: String,
    },
    /// The data files cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model returned an error.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A metric cannot be computed.
    #[error("{}{source}", .of.as_ref().map(|of| format!("{of}: ")).unwrap_or_default())]
    Metric {
        /// The part of the task that the metric belongs to, if the task has parts.
        of: Option<String>,
        /// The error of the metric.
        source: MetricError,
    },
}

impl TaskError {
    /// Makes the error of an option that cannot be used.
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
