//! New task: how far the right candidate of an item stands above the best of the others.
//!
//! Starting point: this works and its tests pass. Put your items, your question and your numbers in their place.
//!
//! # Source
//! Starting point: put the authors, title, venue and arXiv number here.

use interlingua_data::{ChoiceItem, ChoiceOptions, load_choice};
use interlingua_metrics::new_task::new_task;
use interlingua_models::Model;
use serde::{Deserialize, Serialize};

use crate::{
    About, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task, TaskError,
};

/// New task: it scores every candidate of an item and compares the right one with the best of the others.
pub struct NewTask;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file with the items.
    pub path: String,
}

impl Task for NewTask {
    type Options = Options;
    type Item = ChoiceItem;

    const ABOUT: About = About {
        name: "new-task",
        title: "New task",
        summary: "Measures how much more likely a model finds the right candidate than the best of the others.",
        citation: "a starting point, not published",
        asks: "the probability of a sentence",
        needs: Needs::Head,
        metrics: &["new_task"],
        page: "metrics/new_task.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        vec![&options.path]
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<ChoiceItem>>>, TaskError> {
        // Starting point: a loader of `interlingua_data`, which names file and line of every fault.
        let wanted = ChoiceOptions::new(&[], source.on_bad_row);
        let (items, report) = load_choice(&source.file(&options.path), &wanted)?;
        source.note(&options.path, &report);
        let set = |&language: &_| ItemSet {
            // With a category, items judge the edits of that category alone.
            category: None,
            language,
            items: items
                .iter()
                .filter(|item| item.language == language)
                .cloned()
                .collect(),
            name: None,
        };
        Ok(source.languages.iter().map(set).collect())
    }

    fn texts(items: &[ChoiceItem]) -> Vec<String> {
        items.iter().flat_map(sentences).collect()
    }

    fn ask(items: &[ChoiceItem], model: &Model) -> Result<Ask, TaskError> {
        let texts = NewTask::texts(items);
        Ask::texts(model, texts.iter().map(String::as_str))
    }

    fn judge(
        items: &[ChoiceItem],
        answers: &Answers,
        to: &Judging,
    ) -> Result<Judgement, TaskError> {
        // The parts of the answers stand in the order in which they were asked for.
        let (mut right, mut best, mut part) = (Vec::new(), Vec::new(), 0);
        for item in items {
            let mut others = f64::NEG_INFINITY;
            for candidate in 0..item.candidates.len() {
                let score = answers.total(part);
                part += 1;
                if candidate == item.gold {
                    right.push(score);
                } else {
                    others = others.max(score);
                }
            }
            best.push(others);
        }
        // Starting point: the number, from one value per item, so that items can be resampled.
        let estimate = new_task(&right, &best, &to.bootstrap)?;
        let number = Number::new("new_task", "log-likelihood", estimate);
        Ok(Judgement::from(vec![number]))
    }
}

/// Returns the prompt with each candidate filled in.
fn sentences(item: &ChoiceItem) -> Vec<String> {
    let sentence = |candidate: &String| format!("{} {candidate}", item.prompt);
    item.candidates.iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use interlingua_backend::device::cpu;
    use interlingua_data::{Language, OnBadRow};
    use interlingua_metrics::bootstrap::Bootstrap;
    use interlingua_models::{Branch, Residency};

    use super::*;

    fn load(languages: &[Language]) -> Result<Vec<ItemSet<Vec<ChoiceItem>>>, TaskError> {
        let options = Options {
            path: "datasets/choice/everyday.tsv".to_owned(),
        };
        let mut source = Source {
            data_dir: Path::new("."),
            languages,
            categories: &[],
            on_bad_row: OnBadRow::Error,
            findings: &mut Vec::new(),
        };
        NewTask::load(&options, &mut source)
    }

    #[test]
    fn items_are_divided_by_language() {
        let sets = load(&[Language::EN, Language::NL]).unwrap();
        assert_eq!(sets.len(), 2);
        assert!(sets.iter().all(|set| set.items.len() == 40));
    }

    #[test]
    fn a_model_is_asked_and_judged() {
        let fixture = "../../tests/fixtures/models/cohere-f32";
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
        let model = Model::open(&folder, &cpu(), Residency::Resident).unwrap();
        let items = &load(&[Language::EN]).unwrap()[0].items[..3];
        let ask = NewTask::ask(items, &model).unwrap();
        let answers = ask.put(&model, &[Branch::default()], &mut |_, _| {});
        let to = Judging {
            bootstrap: Bootstrap::default(),
            causal: true,
        };
        let found = NewTask::judge(items, &answers.unwrap()[0], &to).unwrap();
        assert_eq!(found.numbers[0].estimate.n, 3);
    }

    #[test]
    fn options_that_nobody_knows_are_refused() {
        let options = serde_json::json!({"path": "x.tsv", "pathh": "x.tsv"});
        let error = serde_json::from_value::<Options>(options).unwrap_err();
        assert!(error.to_string().contains("pathh"), "{error}");
    }
}
