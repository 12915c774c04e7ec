//! Tasks that evaluate language models, one file per task.
//!
//! A [`Task`] reads items from files, says what a model is asked about them ([`Ask`]), and turns the answers into
//! numbers with intervals ([`Judgement`]). [`registry`] lists all tasks, including those that the experiment computes
//! in a pass of its own.
//!
//! A task does not know about edits. A model is asked under any number of branches in one pass, and each branch is
//! evaluated in the same way.

mod about;
mod ask;
pub mod bbq;
pub mod choice;
mod error;
pub mod generation;
mod identify;
mod judgement;
pub mod latent;
pub mod pairs;
pub mod registry;
pub mod seat;
mod source;
pub mod stereoset;
pub mod templates;
pub mod text;
pub mod winobias;

pub use about::{About, Needs};
pub use ask::{Answers, Ask, Judge, Label, Written, add_sentence};
pub use error::TaskError;
pub use judgement::{Answer, Judgement, Number};
pub use registry::{Items, TaskSpec};
pub use source::{ItemSet, Source};

use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_models::Model;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A way of evaluating models. Its functions have no state: what a user chooses is in the options, and what a file
/// holds is in the items.
pub trait Task {
    /// The keys that a user writes under `[[benchmarks]]`, beside `kind`.
    type Options: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug;
    /// One item of the task, as it is read from a file.
    type Item: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug;

    /// The description of the task.
    const ABOUT: About;

    /// Returns the files and folders that the options name.
    fn files(options: &Self::Options) -> Vec<&String>;

    /// Checks the options before any file is opened.
    ///
    /// # Errors
    /// A value that cannot be used; the error names its key.
    fn check(options: &Self::Options) -> Result<(), TaskError> {
        let _ = options;
        Ok(())
    }

    /// Reads the items, grouped by category and language.
    ///
    /// # Errors
    /// Files that cannot be read, or that lack what the options ask for.
    fn load(
        options: &Self::Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<Self::Item>>>, TaskError>;

    /// Returns roughly the texts that one pass of the model reads, from which its duration is estimated.
    fn texts(items: &[Self::Item]) -> Vec<String>;

    /// Makes the requests to a model for these items.
    ///
    /// # Errors
    /// A text that the model cannot take.
    fn ask(items: &[Self::Item], model: &Model) -> Result<Ask, TaskError>;

    /// Computes the numbers from the answers of one branch, and what is kept of each item.
    ///
    /// # Errors
    /// Answers for which a metric has no value.
    fn judge(items: &[Self::Item], answers: &Answers, to: &Judging)
    -> Result<Judgement, TaskError>;

    /// Compares a model's answers with those of the unedited model on the same items; both are given as
    /// [`Judgement::said`]. The result is empty for a task that keeps no answers.
    ///
    /// # Errors
    /// The errors of [`Task::judge`].
    fn compare(
        items: &[Self::Item],
        said: [&[Vec<f64>]; 2],
        to: &Judging,
    ) -> Result<Vec<Number>, TaskError> {
        let _ = (items, said, to);
        Ok(Vec::new())
    }

    /// Compares a model's answers between two languages. The result is empty for a task that keeps no answers.
    ///
    /// # Errors
    /// The errors of [`Task::judge`].
    fn between(
        items: [&[Self::Item]; 2],
        said: [&[Vec<f64>]; 2],
        to: &Judging,
    ) -> Result<Vec<Number>, TaskError> {
        let _ = (items, said, to);
        Ok(Vec::new())
    }

    /// Returns the answers as rows of a table, item by item. The result is empty for a task that keeps no answers.
    fn answers(items: &[Self::Item], found: &Judgement) -> Vec<Answer> {
        let _ = (items, found);
        Vec::new()
    }
}

/// The settings for computing numbers from answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judging {
    /// The settings of the intervals.
    pub bootstrap: Bootstrap,
    /// Whether the model is causal rather than masked.
    pub causal: bool,
}

/// Numbers for names, equal names the same: what resampling takes together.
fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut known = std::collections::BTreeMap::new();
    names
        .map(|name| {
            let next = known.len();
            *known.entry(name).or_insert(next)
        })
        .collect()
}
