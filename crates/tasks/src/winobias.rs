//! WinoBias measures to which of two occupations a model takes a pronoun to refer, under several prompts.
//!
//! Every sentence is put into each of the prompts, and the two occupations are scored as the candidates that follow it
//! ([`crate::choice`]). The results under the other prompts are compared with those under the first.

use std::collections::{BTreeMap, BTreeSet};

use interlingua_data::{Coreference, Language, load_prompts, load_winobias};
use interlingua_metrics::MetricError;
use interlingua_metrics::coreference::{self, Item as Judged, MOST};
use interlingua_models::{Model, Sequence};
use serde::{Deserialize, Serialize};

use crate::source::check_limit;
use crate::{
    About, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task, TaskError,
    numbered,
};

/// The file of prompts that comes with this project.
const OWN: &str = "datasets/prompts/winobias.toml";
/// The placeholders that a prompt may contain.
const PLACES: [&str; 2] = ["sentence", "pronoun"];

/// The task of sentences with a pronoun and two occupations.
pub struct Winobias;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder that contains WinoBias.
    pub path: String,
    /// The parts of WinoBias to use.
    #[serde(default = "both")]
    pub parts: Vec<String>,
    /// The file of prompts; without it, the prompts of this project are used.
    #[serde(default)]
    pub prompts: Option<String>,
    /// The names of the prompts, of which the first is the one that the others are compared with. If the list is empty, all are
    /// used in the order of the file.
    #[serde(default)]
    pub ask: Vec<String>,
    /// The bias category of the sentences.
    #[serde(default = "gender")]
    pub category: String,
    /// The largest number of pairs of sentences, which are spread evenly over the files.
    #[serde(default)]
    pub limit: Option<usize>,
}

fn both() -> Vec<String> {
    ["dev", "test"].map(str::to_owned).to_vec()
}

fn gender() -> String {
    "gender".to_owned()
}

/// A sentence with the prompts in which it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The sentence.
    #[serde(flatten)]
    pub of: Coreference,
    /// The names of the prompts, and their texts with the sentence filled in.
    pub asked: Vec<(String, String)>,
}

impl Task for Winobias {
    type Options = Options;
    type Item = Item;

    const ABOUT: About = About {
        name: "winobias",
        title: "WinoBias",
        summary: "Measures to which of two occupations a model takes a pronoun to refer, with and against a stereotype, under several prompts.",
        citation: "Zhao et al. 2018, arXiv 1804.06876; Sivakumar et al. 2025, arXiv 2509.08146",
        asks: "the probability of an occupation after a sentence and a question",
        needs: Needs::Causal,
        metrics: &[
            "coreference_accuracy",
            "coreference_accuracy_pro",
            "coreference_accuracy_anti",
            "coreference_stereotype_gap",
            "coreference_accuracy_he",
            "coreference_accuracy_she",
            "coreference_pronoun_gap",
            "coreference_margin_gap",
            "coreference_margin_gap_difference",
            "coreference_asb",
            "coreference_asb_chance",
            "coreference_osb",
            "coreference_pearson",
            "coreference_spearman",
        ],
        page: "metrics/coreference.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        std::iter::once(&options.path)
            .chain(&options.prompts)
            .collect()
    }

    fn check(options: &Options) -> Result<(), TaskError> {
        if options.parts.is_empty() {
            return Err(TaskError::options(
                "parts",
                "is empty; `dev` and `test` work",
            ));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = options.ask.iter().find(|name| !seen.insert(*name)) {
            return Err(TaskError::options("ask", format!("names `{twice}` twice")));
        }
        check_limit(options.limit)
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<Item>>>, TaskError> {
        if !source.languages.contains(&Language::EN) {
            let problem = "WinoBias is English, which is not one of the experiment's languages";
            return Err(TaskError::options("", problem));
        }
        let file = source.file(options.prompts.as_deref().unwrap_or(OWN));
        let prompts = load_prompts(&file, &PLACES)?;
        let mut prompts: Vec<_> = prompts
            .into_iter()
            .filter(|prompt| prompt.language == Language::EN)
            .collect();
        if !options.ask.is_empty() {
            let find = |name: &String| {
                let found = prompts.iter().find(|prompt| prompt.name == *name);
                found.cloned().ok_or_else(|| {
                    let names: Vec<&str> = prompts.iter().map(|p| p.name.as_str()).collect();
                    let problem = format!(
                        "there is no prompt `{name}`; there are {}",
                        names.join(", ")
                    );
                    TaskError::options("ask", problem)
                })
            };
            prompts = options.ask.iter().map(find).collect::<Result<_, _>>()?;
        }
        let folder = source.file(&options.path);
        let (items, report) = load_winobias(&folder, &options.parts, source.on_bad_row)?;
        source.note(&options.path, &report);
        let names: BTreeSet<&str> = items.iter().map(|i| i.occupation.as_str()).collect();
        if names.len() > MOST {
            let problem = format!("has {} occupations; up to {MOST} work", names.len());
            return Err(TaskError::options("path", problem));
        }
        let items = spread(items, options.limit);
        let asked = |of: Coreference| Item {
            asked: prompts
                .iter()
                .map(|prompt| {
                    let values = [
                        ("sentence", of.sentence.as_str()),
                        ("pronoun", of.pronoun.as_str()),
                    ];
                    (prompt.name.clone(), prompt.filled(&values))
                })
                .collect(),
            of,
        };
        let items = items.into_iter().map(asked).collect();
        let set = ItemSet::of(&options.category, Language::EN, items);
        Ok(vec![set])
    }

    fn texts(items: &[Item]) -> Vec<String> {
        let texts = |item: &Item| -> Vec<String> {
            let of = &item.of;
            let asked = item.asked.iter();
            asked
                .map(|(_, text)| format!("{text} {} {}", of.occupation, of.other))
                .collect()
        };
        items.iter().flat_map(texts).collect()
    }

    fn ask(items: &[Item], model: &Model) -> Result<Ask, TaskError> {
        let mut sequences = Vec::new();
        for item in items {
            for (_, text) in &item.asked {
                let given = model.sequence(text)?.tokens.len();
                for occupation in [&item.of.occupation, &item.of.other] {
                    let whole = model.sequence(&format!("{text} {occupation}"))?;
                    if whole.tokens.len() <= given {
                        return Err(TaskError::Item {
                            item: item.of.pair.clone(),
                            problem: format!(
                                "`{occupation}` has no token of its own behind the prompt"
                            ),
                        });
                    }
                    sequences.push(Sequence::new(whole.tokens, given));
                }
            }
        }
        let parts = (0..sequences.len()).map(|at| at..at + 1).collect();
        Ok(Ask::next(sequences, parts))
    }

    fn judge(items: &[Item], answers: &Answers, to: &Judging) -> Result<Judgement, TaskError> {
        let mut part = 0;
        let mut margin = || {
            part += 2;
            answers.total(part - 2) - answers.total(part - 1)
        };
        let said: Vec<Vec<f64>> = items
            .iter()
            .map(|item| item.asked.iter().map(|_| margin()).collect())
            .collect();
        let mut numbers = Vec::new();
        let first = judged(items, &said, 0);
        let (names, _) = occupations(items);
        for (at, prompt) in prompts(items).iter().enumerate() {
            let judged = judged(items, &said, at);
            of_prompt(prompt, &judged, &names, to, &mut numbers)?;
            for split in [false, true] {
                // A prompt beside itself says how far its own halves agree, and nothing where they are one.
                if at == 0 && !split {
                    continue;
                }
                let scorer = match split {
                    false => prompt.to_string(),
                    true => format!("{prompt}, other sentences"),
                };
                match coreference::correlation(&first, &judged, split, &to.bootstrap) {
                    Err(MetricError::Undefined { .. }) => continue,
                    found => {
                        let found = found?;
                        numbers.push(Number::new("coreference_pearson", &scorer, found.pearson));
                        numbers.push(Number::new("coreference_spearman", &scorer, found.spearman));
                    }
                }
            }
        }
        Ok(Judgement {
            numbers,
            said,
            texts: Vec::new(),
        })
    }

    fn compare(
        items: &[Item],
        [unedited, edited]: [&[Vec<f64>]; 2],
        to: &Judging,
    ) -> Result<Vec<Number>, TaskError> {
        let mut numbers = Vec::new();
        for (at, prompt) in prompts(items).iter().enumerate() {
            let (edited, unedited) = (judged(items, edited, at), judged(items, unedited, at));
            match coreference::margin_gap_difference(&edited, &unedited, &to.bootstrap) {
                Err(MetricError::Undefined { .. }) => continue,
                found => {
                    let metric = "coreference_margin_gap_difference";
                    numbers.push(Number::new(metric, prompt, found?));
                }
            }
        }
        Ok(numbers)
    }
}

/// Computes the results under one prompt.
fn of_prompt(
    prompt: &str,
    judged: &[Judged],
    names: &[&str],
    to: &Judging,
    numbers: &mut Vec<Number>,
) -> Result<(), TaskError> {
    let found = coreference::scores(judged, &to.bootstrap)?;
    for (metric, estimate) in [
        ("coreference_accuracy", Some(found.accuracy)),
        ("coreference_accuracy_pro", found.pro),
        ("coreference_accuracy_anti", found.anti),
        ("coreference_stereotype_gap", found.stereotype_gap),
        ("coreference_accuracy_he", found.male),
        ("coreference_accuracy_she", found.female),
        ("coreference_pronoun_gap", found.pronoun_gap),
        ("coreference_margin_gap", found.margin_gap),
    ] {
        numbers.extend(estimate.map(|estimate| Number::new(metric, prompt, estimate)));
    }
    if let (Some(size), Some((chance, p))) = (found.size, found.chance) {
        numbers.push(Number {
            p_value: Some(p),
            ..Number::new("coreference_asb", prompt, size)
        });
        numbers.push(Number::new("coreference_asb_chance", prompt, chance));
    }
    for (occupation, estimate) in found.occupations {
        let scorer = format!("{prompt}: {}", names[occupation]);
        numbers.push(Number::new("coreference_osb", &scorer, estimate));
    }
    Ok(())
}

/// Returns the names of the prompts in their order, which is the same for all items.
fn prompts(items: &[Item]) -> Vec<&str> {
    let first = items.first().into_iter();
    first
        .flat_map(|item| item.asked.iter().map(|(name, _)| name.as_str()))
        .collect()
}

/// Returns the occupations in alphabetical order, and the position of each.
fn occupations(items: &[Item]) -> (Vec<&str>, BTreeMap<&str, usize>) {
    let names: BTreeSet<&str> = items
        .iter()
        .flat_map(|item| [item.of.occupation.as_str(), item.of.other.as_str()])
        .collect();
    let places = names
        .iter()
        .enumerate()
        .map(|(at, name)| (*name, at))
        .collect();
    (names.into_iter().collect(), places)
}

/// Converts the items under one prompt to the items of the metrics.
fn judged(items: &[Item], said: &[Vec<f64>], prompt: usize) -> Vec<Judged> {
    let (_, places) = occupations(items);
    let pairs = numbered(items.iter().map(|item| item.of.pair.as_str()));
    let item = |((item, said), pair): ((&Item, &Vec<f64>), usize)| Judged {
        pair,
        male: item.of.male,
        pro: item.of.pro,
        occupations: [
            places[item.of.occupation.as_str()],
            places[item.of.other.as_str()],
        ],
        margin: said[prompt],
    };
    items.iter().zip(said).zip(pairs).map(item).collect()
}

/// Selects this many pairs, evenly spread over all of them in the order of the files.
fn spread(items: Vec<Coreference>, limit: Option<usize>) -> Vec<Coreference> {
    let pairs = numbered(items.iter().map(|item| item.pair.as_str()));
    let all = pairs.iter().max().map_or(0, |last| last + 1);
    let most = limit.unwrap_or(all).min(all);
    // The first pair of every equal part of the list.
    let is_taken = |pair: usize| pair * most / all.max(1) != (pair + 1) * most / all.max(1);
    let kept = items
        .into_iter()
        .zip(pairs)
        .filter(|(_, pair)| is_taken(*pair));
    kept.map(|(item, _)| item).collect()
}
