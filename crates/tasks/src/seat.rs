//! WEAT and SEAT: whether the states of two sets of names are nearer to one set of attributes than to another.

use std::collections::{BTreeMap, BTreeSet};

use interlingua_data::{AssociationTest, Language, SeatOptions, WordSet, load_seat};
use interlingua_metrics::seat;
use interlingua_models::Model;
use serde::{Deserialize, Serialize};

use crate::{
    About, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task, TaskError,
};

/// The task of WEAT and SEAT: association tests on hidden states.
pub struct Seat;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file of a test, or a folder of such files.
    pub path: String,
    /// The language of the tests.
    #[serde(default = "english")]
    pub language: Language,
    /// The names of the tests for each bias category.
    #[serde(default = "reported")]
    pub tests: BTreeMap<String, Vec<String>>,
}

fn english() -> Language {
    Language::EN
}

/// The tests that bias-bench reports per category.
fn reported() -> BTreeMap<String, Vec<String>> {
    let tests = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    [
        (
            "gender",
            tests(&[
                "sent-weat6",
                "sent-weat6b",
                "sent-weat7",
                "sent-weat7b",
                "sent-weat8",
                "sent-weat8b",
            ]),
        ),
        (
            "race-color",
            tests(&[
                "sent-angry_black_woman_stereotype",
                "sent-angry_black_woman_stereotype_b",
                "sent-weat3",
                "sent-weat3b",
                "sent-weat4",
                "sent-weat5",
                "sent-weat5b",
            ]),
        ),
        (
            "religion",
            tests(&[
                "sent-religion1",
                "sent-religion1b",
                "sent-religion2",
                "sent-religion2b",
            ]),
        ),
    ]
    .map(|(category, tests)| (category.to_owned(), tests))
    .into()
}

impl Task for Seat {
    type Options = Options;
    type Item = AssociationTest;

    const ABOUT: About = About {
        name: "seat",
        title: "SEAT",
        summary: "Measures how much nearer one set of names is to one set of attributes than another set of names is, among sentence vectors.",
        citation: "Caliskan et al. 2017, arXiv 1608.07187; May et al. 2019, arXiv 1903.10561",
        asks: "the states of the final norm, averaged over the tokens of a text",
        needs: Needs::States,
        metrics: &["seat_effect"],
        page: "metrics/seat.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        vec![&options.path]
    }

    fn check(options: &Options) -> Result<(), TaskError> {
        for (category, names) in &options.tests {
            let mut seen = BTreeSet::new();
            if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
                let problem = format!("{twice} is listed twice");
                return Err(TaskError::options(format!("tests.{category}"), problem));
            }
        }
        Ok(())
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<AssociationTest>>>, TaskError> {
        let wanted = SeatOptions {
            language: options.language,
            ..SeatOptions::new(source.on_bad_row)
        };
        let path = &options.path;
        let (found, report) = load_seat(&source.file(path), &wanted)?;
        source.note(path, &report);
        let test = |name: &String| {
            let test = found.iter().find(|t| &t.name == name).cloned();
            test.ok_or_else(|| {
                let known: Vec<&str> = found.iter().map(|t| t.name.as_str()).collect();
                let known = known.join(", ");
                TaskError::options(
                    "tests",
                    format!("{path} has no test `{name}`; it has {known}"),
                )
            })
        };
        let wanted = options.tests.iter();
        wanted
            .filter(|(category, _)| source.categories.contains(category))
            .map(|(category, names)| {
                let tests = names.iter().map(test).collect::<Result<_, _>>()?;
                Ok(ItemSet::of(category, options.language, tests))
            })
            .collect()
    }

    fn texts(tests: &[AssociationTest]) -> Vec<String> {
        let mut texts: Vec<String> = places(tests).into_keys().map(str::to_owned).collect();
        texts.sort();
        texts
    }

    fn ask(tests: &[AssociationTest], model: &Model) -> Result<Ask, TaskError> {
        let places = places(tests);
        let mut texts = vec![""; places.len()];
        places.iter().for_each(|(text, &at)| texts[at] = text);
        Ask::states(model, texts.into_iter())
    }

    fn judge(
        tests: &[AssociationTest],
        answers: &Answers,
        to: &Judging,
    ) -> Result<Judgement, TaskError> {
        let places = places(tests);
        let options = seat::Options {
            bootstrap: to.bootstrap,
            ..seat::Options::default()
        };
        let number = |test: &AssociationTest| {
            let of_set = |set: &WordSet| {
                let rows = set.examples.iter().map(|e| answers.of(places[e.as_str()]));
                rows.collect::<Vec<_>>()
            };
            let [[x, y], [a, b]] =
                [&test.targets, &test.attributes].map(|sets| sets.each_ref().map(of_set));
            let dim = x.first().map_or(0, Vec::len);
            let [x, y, a, b] = [x, y, a, b].map(|rows| rows.concat());
            let found = seat::effect(&x, &y, &a, &b, dim, &options).map_err(|source| {
                let of = Some(test.name.clone());
                TaskError::Metric { of, source }
            })?;
            Ok(Number {
                p_value: Some(found.p_value),
                ..Number::new("seat_effect", &test.name, found.effect)
            })
        };
        let numbers: Result<Vec<Number>, TaskError> = tests.iter().map(number).collect();
        Ok(Judgement::from(numbers?))
    }
}

/// The place of every text. A text stands in several tests; it is encoded once.
fn places(tests: &[AssociationTest]) -> BTreeMap<&str, usize> {
    let mut places = BTreeMap::new();
    let sets = tests
        .iter()
        .flat_map(|t| t.targets.iter().chain(&t.attributes));
    for example in sets.flat_map(|set| &set.examples) {
        let next = places.len();
        places.entry(example.as_str()).or_insert(next);
    }
    places
}
