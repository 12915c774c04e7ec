//! The errors of a search.

use std::path::PathBuf;

/// The reason why a search cannot begin or continue.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// A file of sentences cannot be used.
    #[error(transparent)]
    Data(#[from] interlingua_data::DataError),
    /// The text of the testbed cannot be made.
    #[error(transparent)]
    Testbed(#[from] interlingua_data::testbed::TestbedError),
    /// The model returned an error.
    #[error(transparent)]
    Model(#[from] interlingua_models::ModelError),
    /// An edit cannot be made.
    #[error(transparent)]
    Edit(#[from] interlingua_edits::EditError),
    /// The model lacks a hook.
    #[error(transparent)]
    Hook(#[from] interlingua_edits::HookError),
    /// A statistic cannot be computed.
    #[error(transparent)]
    Metric(#[from] interlingua_metrics::MetricError),
    /// A method cannot be fitted.
    #[error("{method} cannot be fitted at {hook}: {source}")]
    Fit {
        /// The name of the method.
        method: String,
        /// The hook of the fit.
        hook: String,
        /// The error of the method.
        source: interlingua_debias::FitError,
    },
    /// A method does not exist.
    #[error(transparent)]
    Method(#[from] interlingua_debias::UnknownMethod),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// There are too few items to divide into halves.
    #[error("{file}: {found} {what}; at least {needed} are needed")]
    TooFew {
        /// The path of the file.
        file: PathBuf,
        /// What there is too little of.
        what: &'static str,
        /// The number of items that exist.
        found: usize,
        /// The number of items that are needed.
        needed: usize,
    },
    /// Too few attributes of a language have the same form for both groups.
    #[error(
        "{file}: {found} attributes of a half have one form for both groups in {language}, at least {needed} are needed: pairs whose \
         attribute is marked differ in grammar too and count only with --marked"
    )]
    Marked {
        /// The path of the file.
        file: PathBuf,
        /// The language.
        language: interlingua_data::Language,
        /// The number of such attributes in a half.
        found: usize,
        /// The number that is needed.
        needed: usize,
    },
    /// An attribute does not say which group its stereotype is about.
    #[error(
        "{file}: attribute `{attribute}` does not say which group its stereotype is about; give it leans = \"a\" or \"b\""
    )]
    NoLeaning {
        /// The path of the file.
        file: PathBuf,
        /// The attribute.
        attribute: String,
    },
    /// The model predicts no next token.
    #[error("{architecture} predicts no next token; the search judges causal language models")]
    NotCausal {
        /// The name of the architecture.
        architecture: String,
    },
    /// A setting cannot be used.
    #[error("{name} is {value}; it must be {expected}")]
    Setting {
        /// The name of the setting.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// The values that would work.
        expected: String,
    },
    /// A flag cannot be meant as it was given.
    #[error("{flag}: {problem}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// A description of the problem.
        problem: String,
    },
    /// No candidate keeps the model's predictions within the limit.
    #[error(
        "none of {judged} candidates keeps the divergence of predictions on neutral text within {limit} nats a token in \
         every language (upper 95 % bound); the nearest is {nearest}, with {bound:.4}: ask for more with --max-kl"
    )]
    NothingWithin {
        /// The number of candidates that the last round evaluated.
        judged: usize,
        /// The limit.
        limit: f64,
        /// The candidate that comes nearest to the limit.
        nearest: String,
        /// The bound of that candidate.
        bound: f64,
    },
    /// The journal belongs to another search, or is damaged.
    #[error("{path}, line {line}: {problem}; remove the file to begin anew")]
    Journal {
        /// The path of the file.
        path: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// A description of the fault.
        problem: String,
    },
}

impl TuneError {
    pub(crate) fn flag(flag: &'static str, problem: String) -> TuneError {
        TuneError::Flag { flag, problem }
    }

    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> TuneError {
        let path = path.to_owned();
        move |source| TuneError::Io { path, source }
    }
}
