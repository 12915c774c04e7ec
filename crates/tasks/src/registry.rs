//! The list of all tasks. A further task takes one file and one line here.

use interlingua_metrics::info::{METRICS, MetricInfo};
use interlingua_models::Model;
use serde::{Deserialize, Serialize};

use crate::{
    About, Answer, Answers, Ask, ItemSet, Judgement, Judging, Number, Source, Task, TaskError,
};

/// Expands the lines of the registry into the variants of [`TaskSpec`] and [`Items`], and the calls of their task.
macro_rules! tasks {
    ($($(#[$doc:meta])* $variant:ident($task:ty),)*) => {
        /// A task with its options, as a user writes it under `[[benchmarks]]`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum TaskSpec {
            $($(#[$doc])* $variant(<$task as Task>::Options),)*
        }

        /// The items of a task.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Items {
            $($(#[$doc])* $variant(Vec<<$task as Task>::Item>),)*
        }

        /// The tasks that an experiment lists under `[[benchmarks]]`, in the order of the pages.
        pub static TASKS: &[&About] = &[$(&<$task as Task>::ABOUT,)*];

        impl TaskSpec {
            /// Returns the description of the task.
            pub fn about(&self) -> &'static About {
                match self {
                    $(TaskSpec::$variant(_) => &<$task as Task>::ABOUT,)*
                }
            }

            /// Returns the files and folders that the options name.
            pub fn files(&self) -> Vec<&String> {
                match self {
                    $(TaskSpec::$variant(options) => <$task>::files(options),)*
                }
            }

            /// Checks the options before any file is opened.
            ///
            /// # Errors
            /// A value that cannot be used; the error names its key.
            pub fn check(&self) -> Result<(), TaskError> {
                match self {
                    $(TaskSpec::$variant(options) => <$task>::check(options),)*
                }
            }

            /// Reads the items, grouped by category and language.
            ///
            /// # Errors
            /// Files that cannot be read, or that lack what the options ask for.
            pub fn load(&self, source: &mut Source<'_>) -> Result<Vec<ItemSet<Items>>, TaskError> {
                Ok(match self {
                    $(TaskSpec::$variant(options) => <$task>::load(options, source)?
                        .into_iter()
                        .map(|set| set.map(Items::$variant))
                        .collect(),)*
                })
            }
        }

        impl Items {
            /// Returns the description of the task.
            pub fn about(&self) -> &'static About {
                match self {
                    $(Items::$variant(_) => &<$task as Task>::ABOUT,)*
                }
            }

            /// Returns the number of items.
            pub fn len(&self) -> usize {
                match self {
                    $(Items::$variant(items) => items.len(),)*
                }
            }

            /// Returns whether there are no items.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Returns roughly the texts that one pass of the model reads.
            pub fn texts(&self) -> Vec<String> {
                match self {
                    $(Items::$variant(items) => <$task>::texts(items),)*
                }
            }

            /// Makes the requests to a model for these items.
            ///
            /// # Errors
            /// A text that the model cannot take.
            pub fn ask(&self, model: &Model) -> Result<Ask, TaskError> {
                match self {
                    $(Items::$variant(items) => <$task>::ask(items, model),)*
                }
            }

            /// Computes the numbers from the answers of one branch, and what is kept of each item.
            ///
            /// # Errors
            /// Answers for which a metric has no value.
            pub fn judge(&self, answers: &Answers, to: &Judging) -> Result<Judgement, TaskError> {
                match self {
                    $(Items::$variant(items) => <$task>::judge(items, answers, to),)*
                }
            }

            /// Compares a model's answers with those of the unedited model. `said` has the unedited model's first.
            ///
            /// # Errors
            /// Answers for which a metric has no value.
            pub fn compare(
                &self,
                said: [&[Vec<f64>]; 2],
                to: &Judging,
            ) -> Result<Vec<Number>, TaskError> {
                match self {
                    $(Items::$variant(items) => <$task>::compare(items, said, to),)*
                }
            }

            /// Compares a model's answers with those to items in another language. The result is empty for items of
            /// another task.
            ///
            /// # Errors
            /// Answers for which a metric has no value.
            pub fn between(
                &self,
                others: &Items,
                said: [&[Vec<f64>]; 2],
                to: &Judging,
            ) -> Result<Vec<Number>, TaskError> {
                match (self, others) {
                    $((Items::$variant(items), Items::$variant(others)) => {
                        <$task>::between([items, others], said, to)
                    })*
                    _ => Ok(Vec::new()),
                }
            }

            /// Returns the answers as rows of a table, item by item.
            pub fn answers(&self, found: &Judgement) -> Vec<Answer> {
                match self {
                    $(Items::$variant(items) => <$task>::answers(items, found),)*
                }
            }
        }
    };
}

tasks! {
    /// StereoSet, intrasentence.
    Stereoset(crate::stereoset::Stereoset),
    /// WEAT and SEAT association tests.
    Seat(crate::seat::Seat),
    /// BBQ and MBBQ.
    Bbq(crate::bbq::Bbq),
    /// Sentence templates.
    Templates(crate::templates::Templates),
    /// Items with candidates.
    Choice(crate::choice::Choice),
    /// Questions read off the states on the way.
    Latent(crate::latent::Latent),
    /// Pronouns and occupations.
    Winobias(crate::winobias::Winobias),
    /// Text that the model writes.
    Generation(crate::generation::Generation),
}

/// The tasks that every experiment computes without listing them.
pub static ALWAYS: &[&About] = &[&crate::pairs::ABOUT, &crate::text::ABOUT];

/// Iterates over every task: those that every experiment computes, then those that it lists.
pub fn all() -> impl Iterator<Item = &'static About> {
    ALWAYS.iter().chain(TASKS).copied()
}

impl About {
    /// Iterates over the descriptions of the task's metrics.
    pub fn metrics(&self) -> impl Iterator<Item = &'static MetricInfo> {
        let names = self.metrics;
        METRICS
            .iter()
            .filter(move |metric| names.contains(&metric.name))
    }
}

impl<T> ItemSet<T> {
    /// Returns the name of the benchmark in rows.
    pub fn name<'a>(&'a self, about: &'a About) -> &'a str {
        self.name.as_deref().unwrap_or(about.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_task_says_what_it_is() {
        let mut names = BTreeSet::new();
        for about in all() {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(
                about.name.chars().all(legal) && names.insert(about.name),
                "{}",
                about.name
            );
            for text in [about.title, about.summary, about.citation, about.asks] {
                assert!(!text.trim().is_empty(), "{} lacks a text", about.name);
            }
            assert!(!about.metrics.is_empty());
            assert_eq!(
                about.metrics().count(),
                about.metrics.len(),
                "{}: an unknown metric",
                about.name
            );
        }
    }

    /// The name of a task in rows is the one that users write.
    #[test]
    fn kinds_are_names() {
        for about in TASKS {
            let wrong = serde_json::json!({"kind": about.name, "no such option": 1});
            let error = serde_json::from_value::<TaskSpec>(wrong)
                .unwrap_err()
                .to_string();
            assert!(error.contains("no such option"), "{}: {error}", about.name);
        }
        let unknown = serde_json::json!({"kind": "crystal-ball"});
        let error = serde_json::from_value::<TaskSpec>(unknown)
            .unwrap_err()
            .to_string();
        assert!(
            TASKS.iter().all(|about| error.contains(about.name)),
            "{error}"
        );
    }
}
