//! Measures bias and utility with nothing but a model and an edit: no experiment file is needed.
//!
//! The sentences are those of this project. Bias is measured on occupations that a stereotype assigns to one group
//! (`datasets/templates/occupations.toml`), and utility on neutral sentences (`datasets/neutral.tsv`).
//! `interlingua_tune::alone` fits edits on other sentences, sets that differ in the group alone
//! (`datasets/templates/everyday.toml`).

pub mod measure;
pub mod table;

use std::path::{Path, PathBuf};

use interlingua_data::{Language, ParallelOptions, load_parallel};

use crate::ExperimentError;

/// Returns the path of a file of this project, given its name from `datasets/` on.
///
/// # Errors
/// A program whose source folder no longer exists.
pub fn own(name: &str) -> Result<PathBuf, ExperimentError> {
    let path = interlingua_data::own::file(name).unwrap_or_else(|| name.into());
    match path.is_file() {
        true => Ok(path),
        false => Err(ExperimentError::plan(
            "datasets",
            format!(
                "{}: is not there; run the program in a checkout of the project, or keep the one that it was installed from",
                path.display()
            ),
        )),
    }
}

/// Reads the neutral sentences in a language.
///
/// # Errors
/// A file that cannot be read or that lacks the language.
pub fn neutral(file: &Path, language: Language) -> Result<Vec<String>, ExperimentError> {
    let options = ParallelOptions::new(&[language], interlingua_data::OnBadRow::Error);
    let (mut corpus, _) = load_parallel(file, &options)?;
    Ok(corpus.columns.remove(0))
}
