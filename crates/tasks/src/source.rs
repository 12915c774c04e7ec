//! The source of a task's items, and their grouping.

use std::path::{Path, PathBuf};

use interlingua_data::{Language, OnBadRow, Report, own};
use serde::{Deserialize, Serialize};

use crate::TaskError;

/// The most items that a limit may ask for.
const MOST_ITEMS: usize = 10_000_000;

/// The facts about an experiment that a task needs to find its items.
pub struct Source<'a> {
    /// The folder that file names are relative to.
    pub data_dir: &'a Path,
    /// The languages of the experiment.
    pub languages: &'a [Language],
    /// The categories of the experiment.
    pub categories: &'a [String],
    /// How to treat items that cannot be used, if a task's options do not say.
    pub on_bad_row: OnBadRow,
    /// Messages about what was skipped or repaired are added here.
    pub findings: &'a mut Vec<String>,
}

impl Source<'_> {
    /// Returns the path of a file. A name that begins with `datasets/` is a file of this project; any other is in the
    /// data folder.
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

/// The items of a task for one category and one language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemSet<T> {
    /// The bias category; `None` if the items belong to no category, in which case every edit of a run is evaluated
    /// on them.
    pub category: Option<String>,
    /// The language of the items.
    pub language: Language,
    /// The items.
    pub items: T,
    /// The name of the benchmark in rows, if it differs from that of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl<T> ItemSet<T> {
    /// Makes a set of items of a category, under the task's own name.
    pub fn of(category: &str, language: Language, items: T) -> ItemSet<T> {
        ItemSet {
            category: Some(category.to_owned()),
            language,
            items,
            name: None,
        }
    }

    /// Returns the same set with something else made from its items.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> ItemSet<U> {
        ItemSet {
            category: self.category,
            language: self.language,
            items: make(self.items),
            name: self.name,
        }
    }
}

/// Checks an option that limits the number of items.
pub(crate) fn check_limit(limit: Option<usize>) -> Result<(), TaskError> {
    let problem = match limit {
        None => return Ok(()),
        Some(0) => format!("0 leaves nothing to work with; from 1 to {MOST_ITEMS} works"),
        Some(n) if n > MOST_ITEMS => format!("{n} is not from 1 to {MOST_ITEMS}"),
        Some(_) => return Ok(()),
    };
    Err(TaskError::options("limit", problem))
}
