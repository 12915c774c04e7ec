//! Why a search cannot begin or go on.

use std::path::PathBuf;

/// What stops a search.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// A file of sentences.
    #[error(transparent)]
    Data(#[from] interlingua_data::DataError),
    /// Text of the testbed.
    #[error(transparent)]
    Testbed(#[from] interlingua_data::testbed::TestbedError),
    /// The model.
    #[error(transparent)]
    Model(#[from] interlingua_models::ModelError),
    /// An edit that cannot be made.
    #[error(transparent)]
    Edit(#[from] interlingua_edits::EditError),
    /// A hook point that the model lacks.
    #[error(transparent)]
    Hook(#[from] interlingua_edits::HookError),
    /// A statistic that cannot be computed.
    #[error(transparent)]
    Metric(#[from] interlingua_metrics::MetricError),
    /// A method that cannot be fitted.
    #[error("{method} cannot be fitted at {hook}: {source}")]
    Fit {
        /// The method.
        method: String,
        /// The hook point.
        hook: String,
        /// The cause.
        source: interlingua_debias::FitError,
    },
    /// A method that does not exist.
    #[error(transparent)]
    Method(#[from] interlingua_debias::UnknownMethod),
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not enough items to be dealt into halves.
    #[error("{file}: {found} {what}; at least {needed} are needed")]
    TooFew {
        /// The file.
        file: PathBuf,
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A language that marks the attributes for the groups.
    #[error(
        "{file}: {found} attributes of a half have one form for both groups in {language}, at least {needed} are needed: pairs whose \
         attribute is marked differ in grammar too and count only with --marked"
    )]
    Marked {
        /// The file.
        file: PathBuf,
        /// The language.
        language: interlingua_data::Language,
        /// How many a half has.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// An attribute that says nothing about stereotypes.
    #[error(
        "{file}: attribute `{attribute}` does not say which group its stereotype is about; give it leans = \"a\" or \"b\""
    )]
    NoLeaning {
        /// The file.
        file: PathBuf,
        /// The attribute.
        attribute: String,
    },
    /// A model that predicts no next token.
    #[error("{architecture} predicts no next token; the search judges causal language models")]
    NotCausal {
        /// The architecture.
        architecture: String,
    },
    /// A setting that nothing can be done with.
    #[error("{name} is {value}; it must be {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would work.
        expected: String,
    },
    /// No candidate keeps the model's predictions within the limit.
    #[error(
        "none of {judged} candidates keeps the divergence of predictions on neutral text within {limit} nats a token in \
         every language (upper 95 % bound); the nearest is {nearest}, with {bound:.4}: ask for more with --max-kl"
    )]
    NothingWithin {
        /// Candidates that the last round judged.
        judged: usize,
        /// The limit.
        limit: f64,
        /// The candidate that comes nearest.
        nearest: String,
        /// Its bound.
        bound: f64,
    },
    /// A journal of another search, or damaged.
    #[error("{path}, line {line}: {problem}; remove the file to begin anew")]
    Journal {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl TuneError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> TuneError {
        let path = path.to_owned();
        move |source| TuneError::Io { path, source }
    }
}
