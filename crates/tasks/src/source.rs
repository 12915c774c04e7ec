//! Where items come from, and how they are divided.

use std::path::{Path, PathBuf};

use interlingua_data::{Language, OnBadRow, Report, own};
use serde::{Deserialize, Serialize};

use crate::TaskError;

/// The most items that a limit may ask for.
const MOST_ITEMS: usize = 10_000_000;

/// What an experiment is about, and where its files lie.
pub struct Source<'a> {
    /// The folder that file names are relative to.
    pub data_dir: &'a Path,
    /// The languages of the experiment.
    pub languages: &'a [Language],
    /// Its categories.
    pub categories: &'a [String],
    /// What to do with items that cannot be used, where a task's options do not say.
    pub on_bad_row: OnBadRow,
    /// What was skipped or repaired is added here, in words.
    pub findings: &'a mut Vec<String>,
}

impl Source<'_> {
    /// Where a file is: among the files of this project where its name begins with `datasets/`, else in the folder of data.
    pub fn file(&self, name: &str) -> PathBuf {
        own::file(name).unwrap_or_else(|| self.data_dir.join(name))
    }

    /// Adds what a loader skipped or repaired to the findings.
    pub fn note(&mut self, file: &str, report: &Report) {
        if let Some(first) = report.findings.first() {
            let n = report.findings.len();
            self.findings.push(format!(
                "{file}: {n} items skipped or repaired, first: {first}"
            ));
        }
    }
}

/// The items of a task for one category and language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemSet<T> {
    /// Bias category; nothing where the items are about none, and every edit of a run is judged by them.
    pub category: Option<String>,
    /// Language.
    pub language: Language,
    /// The items.
    pub items: T,
    /// Name of the benchmark in rows, where it is not the task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl<T> ItemSet<T> {
    /// Items of a category, under the task's own name.
    pub fn of(category: &str, language: Language, items: T) -> ItemSet<T> {
        ItemSet {
            category: Some(category.to_owned()),
            language,
            items,
            name: None,
        }
    }

    /// The same set, of something made from its items.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> ItemSet<U> {
        ItemSet {
            category: self.category,
            language: self.language,
            items: make(self.items),
            name: self.name,
        }
    }
}

/// Checks an option that bounds the number of items.
pub(crate) fn check_limit(limit: Option<usize>) -> Result<(), TaskError> {
    let problem = match limit {
        None => return Ok(()),
        Some(0) => format!("0 leaves nothing to work with; from 1 to {MOST_ITEMS} works"),
        Some(n) if n > MOST_ITEMS => format!("{n} is not from 1 to {MOST_ITEMS}"),
        Some(_) => return Ok(()),
    };
    Err(TaskError::options("limit", problem))
}
