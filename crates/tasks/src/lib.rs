//! What language models are judged by: one file per task.
//!
//! A [`Task`] reads items from files, says what is asked of a model for them ([`Ask`]), and turns the answers into numbers with
//! intervals ([`Judgement`]). [`registry`] lists all of them, those that the experiment's own pass computes included.
//!
//! A task knows no edit. A model is asked under any number of branches in one pass, and each branch is judged alike.

mod about;
mod ask;
pub mod bbq;
pub mod choice;
mod error;
mod judgement;
pub mod pairs;
pub mod registry;
pub mod seat;
mod source;
pub mod stereoset;
pub mod templates;
pub mod text;

pub use about::{About, Needs};
pub use ask::{Answers, Ask, add_sentence};
pub use error::TaskError;
pub use judgement::{Answer, Judgement, Number};
pub use registry::{Items, TaskSpec};
pub use source::{ItemSet, Source};

use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_models::Model;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A way of judging models. Its functions have no state: what a user chooses is in its options, what a file holds in its items.
pub trait Task {
    /// What a user writes under `[[benchmarks]]`, beside `kind`.
    type Options: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug;
    /// One item, as it is read.
    type Item: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug;

    /// What there is to say about it.
    const ABOUT: About;

    /// The files and folders that the options name.
    fn files(options: &Self::Options) -> Vec<&String>;

    /// Checks what the options say, before any file is opened.
    ///
    /// # Errors
    /// A value that cannot work, by its key.
    fn check(options: &Self::Options) -> Result<(), TaskError> {
        let _ = options;
        Ok(())
    }

    /// Reads the items, divided by category and language.
    ///
    /// # Errors
    /// Files that cannot be read, and what the options ask for and the files lack.
    fn load(
        options: &Self::Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<Self::Item>>>, TaskError>;

    /// The texts that a pass of the model reads, roughly, so that its time can be foretold.
    fn texts(items: &[Self::Item]) -> Vec<String>;

    /// What is asked of a model for these items.
    ///
    /// # Errors
    /// A text that the model cannot take.
    fn ask(items: &[Self::Item], model: &Model) -> Result<Ask, TaskError>;

    /// From the answers of one branch to numbers, and to what is kept of each item.
    ///
    /// # Errors
    /// Answers that have no value under a metric.
    fn judge(items: &[Self::Item], answers: &Answers, to: &Judging)
    -> Result<Judgement, TaskError>;

    /// How a model's answers differ from the unedited model's on the same items; both as [`Judgement::said`] has them. Nothing for a
    /// task that keeps no answers.
    ///
    /// # Errors
    /// As for [`Task::judge`].
    fn compare(
        items: &[Self::Item],
        said: [&[Vec<f64>]; 2],
        to: &Judging,
    ) -> Result<Vec<Number>, TaskError> {
        let _ = (items, said, to);
        Ok(Vec::new())
    }

    /// How a model's answers agree between two languages. Nothing for a task that keeps no answers.
    ///
    /// # Errors
    /// As for [`Task::judge`].
    fn between(
        items: [&[Self::Item]; 2],
        said: [&[Vec<f64>]; 2],
        to: &Judging,
    ) -> Result<Vec<Number>, TaskError> {
        let _ = (items, said, to);
        Ok(Vec::new())
    }

    /// The answers in words of a table, item by item. None for a task that keeps no answers.
    fn answers(items: &[Self::Item], said: &[Vec<f64>]) -> Vec<Answer> {
        let _ = (items, said);
        Vec::new()
    }
}

/// How answers are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judging {
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// Whether the model reads from left to right; a masked one does not.
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
