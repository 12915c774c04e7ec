//! Bias benchmarks beside the pairs: what is read, and which items belong to a category and a language.

use std::path::Path;

use interlingua_data::{
    AssociationTest, BbqOptions, Language, OnBadRow, Question, Report, SeatOptions, StereoItem,
    StereoKind, StereoOptions, TemplateItem, TemplateOptions, load_bbq, load_seat, load_stereoset,
    load_templates,
};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::spec::{BenchmarkSpec, DataSpec, Spec, data_file};

/// The templates of this project, from the root of the workspace.
const OWN_TEMPLATES: &str = "datasets/templates/templates.toml";

/// The items of one benchmark for one category and language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// Bias category, one of the spec's.
    pub category: String,
    /// Language, one of the spec's.
    pub language: Language,
    /// The items.
    pub items: Items,
}

/// Items, by kind of benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Items {
    /// StereoSet, intrasentence.
    Stereoset(Vec<StereoItem>),
    /// Association tests.
    Seat(Vec<AssociationTest>),
    /// Questions, those of the control set too.
    Bbq(Vec<Question>),
    /// Filled templates.
    Templates(Vec<TemplateItem>),
}

impl Items {
    /// Name of the benchmark in rows.
    pub fn name(&self) -> &'static str {
        match self {
            Items::Stereoset(_) => "stereoset",
            Items::Seat(_) => "seat",
            Items::Bbq(_) => "bbq",
            Items::Templates(_) => "templates",
        }
    }

    /// The texts that a pass of the model reads, roughly: one answer after its question stands for three.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Items::Stereoset(items) => items
                .iter()
                .flat_map(|i| {
                    let s = &i.sentences;
                    [&s.stereotype, &s.antistereotype, &s.unrelated].map(String::clone)
                })
                .collect(),
            Items::Seat(tests) => {
                let sets = tests
                    .iter()
                    .flat_map(|t| t.targets.iter().chain(&t.attributes));
                let mut texts: Vec<String> = sets.flat_map(|set| set.examples.clone()).collect();
                texts.sort();
                texts.dedup();
                texts
            }
            Items::Bbq(questions) => questions
                .iter()
                .map(|q| format!("{} {} {}", q.context, q.question, q.answers.join(" ")))
                .collect(),
            Items::Templates(items) => items
                .iter()
                .flat_map(|i| [&i.a, &i.b, &i.neutral_a, &i.neutral_b].map(String::clone))
                .collect(),
        }
    }

    /// Whether its numbers are made from probabilities, not from states.
    pub fn is_scored(&self) -> bool {
        !matches!(self, Items::Seat(_))
    }

    /// How many items.
    pub fn len(&self) -> usize {
        match self {
            Items::Stereoset(items) => items.len(),
            Items::Seat(tests) => tests.len(),
            Items::Bbq(questions) => questions.len(),
            Items::Templates(items) => items.len(),
        }
    }
}

/// Reads every benchmark of a spec; what was skipped is added to `findings`.
///
/// # Errors
/// Files that cannot be read, a language or category the spec does not have, a benchmark that is
/// left with nothing.
pub fn load(
    spec: &Spec,
    data_dir: &Path,
    findings: &mut Vec<String>,
) -> Result<Vec<Benchmark>, ExperimentError> {
    let on_bad_row = match &spec.data {
        DataSpec::Files { on_bad_row, .. } => *on_bad_row,
        DataSpec::Testbed { .. } => OnBadRow::Skip,
    };
    let mut all = Vec::new();
    for (at, benchmark) in spec.benchmarks.iter().enumerate() {
        let before = all.len();
        let mut note = |file: &str, report: &Report| {
            if let Some(first) = report.findings.first() {
                let n = report.findings.len();
                findings.push(format!(
                    "{file}: {n} items skipped or repaired, first: {first}"
                ));
            }
        };
        match benchmark {
            BenchmarkSpec::Stereoset {
                path,
                language,
                limit,
            } => {
                let options = StereoOptions {
                    kinds: vec![StereoKind::Intrasentence],
                    language: *language,
                    ..StereoOptions::new(on_bad_row)
                };
                let (items, report) = load_stereoset(&data_file(data_dir, path), &options)?;
                note(path, &report);
                for category in &spec.categories {
                    let of = items.iter().filter(|i| &i.category == category).cloned();
                    let items = of.take(limit.unwrap_or(usize::MAX)).collect();
                    all.push(of_category(category, *language, Items::Stereoset(items)));
                }
            }
            BenchmarkSpec::Seat {
                path,
                language,
                tests,
            } => {
                let options = SeatOptions {
                    language: *language,
                    ..SeatOptions::new(on_bad_row)
                };
                let (found, report) = load_seat(&data_file(data_dir, path), &options)?;
                note(path, &report);
                for (category, names) in tests.iter().filter(|(c, _)| spec.categories.contains(c)) {
                    let mut chosen = Vec::new();
                    for name in names {
                        let test = found.iter().find(|t| &t.name == name).ok_or_else(|| {
                            let known: Vec<&str> = found.iter().map(|t| t.name.as_str()).collect();
                            ExperimentError::plan(
                                format!("benchmarks[{at}].tests"),
                                format!("{path} has no test `{name}`; it has {}", known.join(", ")),
                            )
                        })?;
                        chosen.push(test.clone());
                    }
                    all.push(of_category(category, *language, Items::Seat(chosen)));
                }
            }
            BenchmarkSpec::Bbq {
                path,
                control,
                language,
                category,
                limit,
            } => {
                let options = BbqOptions {
                    language: Some(*language),
                    limit: *limit,
                    ..BbqOptions::new(on_bad_row)
                };
                let mut questions = Vec::new();
                for file in std::iter::once(path).chain(control) {
                    let (found, report) = load_bbq(&data_file(data_dir, file), &options)?;
                    note(file, &report);
                    questions.extend(found);
                }
                all.push(of_category(category, *language, Items::Bbq(questions)));
            }
            BenchmarkSpec::Templates { path } => {
                let file = match path {
                    Some(path) => data_file(data_dir, path),
                    None => data_file(data_dir, OWN_TEMPLATES),
                };
                let options = TemplateOptions::new(&spec.languages, on_bad_row);
                let (items, report) = load_templates(&file, &options)?;
                note(&file.display().to_string(), &report);
                for category in &spec.categories {
                    for &language in &spec.languages {
                        let of =
                            |i: &&TemplateItem| &i.category == category && i.language == language;
                        let items = items.iter().filter(of).cloned().collect();
                        all.push(of_category(category, language, Items::Templates(items)));
                    }
                }
            }
        }
        let mut made = all.split_off(before);
        made.retain(|b| b.items.len() > 0);
        if let Some(bad) = made.iter().find(|b| !spec.languages.contains(&b.language)) {
            return Err(ExperimentError::plan(
                format!("benchmarks[{at}].language"),
                format!(
                    "`{}` is not one of the experiment's languages",
                    bad.language
                ),
            ));
        }
        if !made.iter().any(|b| spec.categories.contains(&b.category)) {
            return Err(ExperimentError::plan(
                format!("benchmarks[{at}]"),
                format!("has no items for {}", spec.categories.join(", ")),
            ));
        }
        all.extend(made);
    }
    Ok(all)
}

fn of_category(category: &str, language: Language, items: Items) -> Benchmark {
    Benchmark {
        category: category.to_owned(),
        language,
        items,
    }
}
