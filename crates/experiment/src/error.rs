//! What can stop a run, as one type.

use std::path::PathBuf;

/// Why an experiment could not be read, planned or run.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The experiment file is not valid.
    #[error("{path}: {problem}")]
    Spec {
        /// The experiment file.
        path: PathBuf,
        /// Line, key and what would work, as the TOML reader says it.
        problem: String,
    },
    /// A value of the experiment file cannot work.
    #[error("{key}: {problem}")]
    Plan {
        /// The key.
        key: String,
        /// What is wrong and what would work.
        problem: String,
    },
    /// A file of the cache is damaged.
    #[error(
        "{path}: damaged cache entry ({problem}); delete the file, the next run makes it again"
    )]
    Cache {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A debiaser could not be fitted.
    #[error("fitting {method} for {category} on {language} in space {space}: {source}")]
    Fit {
        /// Method.
        method: String,
        /// Category.
        category: String,
        /// Language.
        language: String,
        /// Space.
        space: String,
        /// The cause.
        source: interlingua_debias::FitError,
    },
    /// The device cannot be had.
    #[error(transparent)]
    Device(#[from] interlingua_backend::DeviceError),
    /// The model.
    #[error(transparent)]
    Model(#[from] interlingua_models::ModelError),
    /// The data.
    #[error(transparent)]
    Data(#[from] interlingua_data::DataError),
    /// The testbed.
    #[error("data: {0}")]
    Testbed(#[from] interlingua_data::testbed::TestbedError),
    /// The autoencoder.
    #[error(transparent)]
    Autoencoder(#[from] interlingua_autoencoder::AutoencoderError),
    /// A space.
    #[error(transparent)]
    Space(interlingua_spaces::SpaceError),
    /// An edit.
    #[error(transparent)]
    Edit(#[from] interlingua_edits::EditError),
    /// A hook that the model does not have.
    #[error(transparent)]
    Hook(#[from] interlingua_edits::HookError),
    /// A metric.
    #[error("computing {what}: {source}")]
    Metric {
        /// What was being computed.
        what: String,
        /// The cause.
        source: interlingua_metrics::MetricError,
    },
    /// The report.
    #[error(transparent)]
    Report(#[from] crate::report::ReportError),
}

impl From<interlingua_spaces::SpaceError> for ExperimentError {
    fn from(error: interlingua_spaces::SpaceError) -> ExperimentError {
        use interlingua_spaces::SpaceError;
        let key = match &error {
            SpaceError::NoLanguage { .. } => "languages",
            SpaceError::TooFew { .. } => "autoencoder.latent",
            SpaceError::Decomposition { .. } => "spaces",
            _ => return ExperimentError::Space(error),
        };
        ExperimentError::plan(key, error.to_string())
    }
}

impl ExperimentError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> ExperimentError {
        let path = path.into();
        move |source| ExperimentError::Io { path, source }
    }

    pub(crate) fn plan(key: impl Into<String>, problem: impl Into<String>) -> ExperimentError {
        ExperimentError::Plan {
            key: key.into(),
            problem: problem.into(),
        }
    }

    /// What stopped a task, of which `what` says the words.
    pub(crate) fn of_task(what: &str, error: interlingua_tasks::TaskError) -> ExperimentError {
        use interlingua_tasks::TaskError;
        match error {
            TaskError::Data(error) => error.into(),
            TaskError::Model(error) => error.into(),
            TaskError::Metric { of, source } => ExperimentError::Metric {
                what: of.map_or(what.to_owned(), |of| format!("{what}, {of}")),
                source,
            },
            error => ExperimentError::plan("benchmarks", format!("{what}: {error}")),
        }
    }

    pub(crate) fn metric(
        what: impl Into<String>,
    ) -> impl FnOnce(interlingua_metrics::MetricError) -> ExperimentError {
        let what = what.into();
        move |source| ExperimentError::Metric { what, source }
    }
}
