//! What needs no experiment file: an edit fitted with nothing but a model, and a table of its bias and of what it is
//! good for.
//!
//! Sentences are those of this project: sets that differ in the group alone to fit on (`datasets/templates/everyday.toml`),
//! occupations that a stereotype gives to one group to judge by (`datasets/templates/occupations.toml`), and neutral
//! sentences (`datasets/neutral.tsv`). None of the first are among the second.

pub mod fit;
pub mod measure;
pub mod table;

use std::path::{Path, PathBuf};

use interlingua_data::{Language, ParallelOptions, load_parallel};

use crate::ExperimentError;

/// A file of this project, by its name from `datasets/` on.
///
/// # Errors
/// A program whose checkout is gone.
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

/// Neutral sentences in a language.
///
/// # Errors
/// A file that cannot be read or lacks the language.
pub fn neutral(file: &Path, language: Language) -> Result<Vec<String>, ExperimentError> {
    let options = ParallelOptions::new(&[language], interlingua_data::OnBadRow::Error);
    let (mut corpus, _) = load_parallel(file, &options)?;
    Ok(corpus.columns.remove(0))
}
