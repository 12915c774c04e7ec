//! All errors that can stop a run, as one type.

use std::path::PathBuf;

/// The reason why an experiment could not be read, planned or run.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The experiment file is not valid.
    #[error("{path}: {problem}")]
    Spec {
        /// The path of the experiment file.
        path: PathBuf,
        /// The error of the TOML reader with line, key and what would work.
        problem: String,
    },
    /// A value of the experiment file cannot be used.
    #[error("{key}: {problem}")]
    Plan {
        /// The key of the value.
        key: String,
        /// A description of the fault, and what would work.
        problem: String,
    },
    /// A file of the cache is damaged.
    #[error(
        "{path}: damaged cache entry ({problem}); delete the file, the next run makes it again"
    )]
    Cache {
        /// The path of the file.
        path: PathBuf,
        /// A description of the damage.
        problem: String,
    },
    /// A debiasing method could not be fitted.
    #[error("fitting {method} for {category} on {language} in space {space}: {source}")]
    Fit {
        /// The name of the method.
        method: String,
        /// The bias category.
        category: String,
        /// The language of the fit.
        language: String,
        /// The space of the fit.
        space: String,
        /// The error of the method.
        source: interlingua_debias::FitError,
    },
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] interlingua_backend::DeviceError),
    /// The model returned an error.
    #[error(transparent)]
    Model(#[from] interlingua_models::ModelError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] interlingua_data::DataError),
    /// The testbed cannot be made.
    #[error("data: {0}")]
    Testbed(#[from] interlingua_data::testbed::TestbedError),
    /// The autoencoder returned an error.
    #[error(transparent)]
    Autoencoder(#[from] interlingua_autoencoder::AutoencoderError),
    /// A space returned an error.
    #[error(transparent)]
    Space(interlingua_spaces::SpaceError),
    /// An edit cannot be used.
    #[error(transparent)]
    Edit(#[from] interlingua_edits::EditError),
    /// The model does not have a hook.
    #[error(transparent)]
    Hook(#[from] interlingua_edits::HookError),
    /// A metric cannot be computed.
    #[error("computing {what}: {source}")]
    Metric {
        /// The name of what was being computed.
        what: String,
        /// The error of the metric.
        source: interlingua_metrics::MetricError,
    },
    /// The report could not be written.
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

    /// Converts the error of a task; `what` names the computation for messages.
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
