//! Multiple choice: items with candidates of which one is right, in one or several languages.
//!
//! The candidates of an item are scored after its prompt, as lm-evaluation-harness scores `multiple_choice`. Prompt,
//! delimiter and candidate are encoded as one text, and the tokens after those of the prompt alone belong to the
//! candidate. A candidate without a prompt is a text of its own, without a delimiter.

use std::collections::BTreeMap;
use std::path::Path;

use interlingua_data::{
    ChoiceItem, ChoiceOptions, DataError, Language, OnBadRow, Report, load_bmlama, load_choice,
    load_localization, shuffle_choices,
};
use interlingua_metrics::choice::{self, Norm};
use interlingua_metrics::{MetricError, agreement};
use interlingua_models::masked::MaskRequest;
use interlingua_models::{Model, Sequence};
use serde::{Deserialize, Serialize};

use crate::source::check_limit;
use crate::{
    About, Answer, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task,
    TaskError,
};

/// The task of multiple choice: items with candidates of which one is right.
pub struct Choice;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file, or the folder where the format has one file a language.
    pub path: String,
    /// What the file is.
    #[serde(default)]
    pub format: Form,
    /// The name of the benchmark in rows.
    #[serde(default = "named")]
    pub name: String,
    /// The languages to use, which must be languages of the experiment; `None` uses those that the experiment and the
    /// file share.
    #[serde(default)]
    pub languages: Option<Vec<Language>>,
    /// The text between prompt and candidate.
    #[serde(default = "blank")]
    pub delimiter: String,
    /// Seed of the order of items, and of the candidates of each: the same in all languages. Without one they stand as in the file, but for
    /// BMLAMA and the table of localisation, whose golds have a place of their own: there it is 1.
    #[serde(default)]
    pub shuffle: Option<u64>,
    /// The most items to use per language, from the first on.
    #[serde(default)]
    pub limit: Option<usize>,
    /// How to treat items that cannot be used.
    #[serde(default = "stop")]
    pub on_bad_row: OnBadRow,
}

/// What a file of choices is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A table or JSON lines of this project.
    #[default]
    Items,
    /// A folder of BMLAMA, one table a language.
    Bmlama,
    /// The table of localisation: the question names the country.
    LocalizationExplicit(Subtasks),
    /// The same without it: the language alone tells the country.
    LocalizationImplicit(Subtasks),
}

/// Which rows of the table of localisation are used; all where none is named.
pub type Subtasks = Vec<String>;

fn named() -> String {
    Choice::ABOUT.name.to_owned()
}

fn blank() -> String {
    " ".to_owned()
}

fn stop() -> OnBadRow {
    OnBadRow::Error
}

/// An item with the text between its prompt and its candidates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The item as it is in the file.
    #[serde(flatten)]
    pub item: ChoiceItem,
    /// The text between prompt and candidate.
    pub delimiter: String,
}

impl Task for Choice {
    type Options = Options;
    type Item = Item;

    const ABOUT: About = About {
        name: "choice",
        title: "Choices",
        summary: "Measures whether a model finds the right one of several candidates most likely, and whether it chooses alike in several languages.",
        citation: "lm-evaluation-harness, multiple_choice; Qi et al. 2023, arXiv 2310.10378",
        asks: "the probability of each candidate after the prompt",
        needs: Needs::Head,
        metrics: &[
            "choice_accuracy",
            "choice_accuracy_difference",
            "choice_margin",
            "choice_log_odds",
            "choice_log_odds_difference",
            "choice_consistency",
            "choice_rank_correlation",
            "choice_rankc",
            "choice_rankc_chance",
            "choice_transfer_right",
            "choice_transfer_right_chance",
            "choice_transfer_right_excess",
            "choice_transfer_wrong",
            "choice_transfer_wrong_chance",
            "choice_transfer_wrong_excess",
        ],
        page: "metrics/choice.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        vec![&options.path]
    }

    fn check(options: &Options) -> Result<(), TaskError> {
        if options.name.trim().is_empty() {
            return Err(TaskError::options("name", "is empty; rows need a name"));
        }
        if options.languages.as_ref().is_some_and(Vec::is_empty) {
            let problem = "is empty; name languages, or leave it out for those that file and experiment share";
            return Err(TaskError::options("languages", problem));
        }
        check_limit(options.limit)
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<Item>>>, TaskError> {
        let wanted = ChoiceOptions::new(
            options.languages.as_deref().unwrap_or_default(),
            options.on_bad_row,
        );
        let (items, report) = read(options, &source.file(&options.path), &wanted)?;
        source.note(&options.path, &report);
        let mut sets: BTreeMap<(usize, Option<String>), Vec<Item>> = BTreeMap::new();
        let mut taken = vec![0; source.languages.len()];
        for item in items {
            let at = source.languages.iter().position(|l| *l == item.language);
            let Some(at) = at else {
                // What was asked for by name and the experiment lacks is refused; see below.
                continue;
            };
            let about = item.category.as_ref();
            if about.is_some_and(|category| !source.categories.contains(category)) {
                continue;
            }
            taken[at] += 1;
            if taken[at] <= options.limit.unwrap_or(usize::MAX) {
                let delimiter = options.delimiter.clone();
                let of = (at, item.category.clone());
                sets.entry(of).or_default().push(Item { item, delimiter });
            }
        }
        let missing = |language: &&Language| !source.languages.contains(language);
        if let Some(language) = options.languages.iter().flatten().find(missing) {
            let problem = format!("`{language}` is not one of the experiment's languages");
            return Err(TaskError::options("languages", problem));
        }
        let set = |((at, category), items): ((usize, Option<String>), Vec<Item>)| ItemSet {
            category,
            language: source.languages[at],
            items,
            name: (options.name != Choice::ABOUT.name).then(|| options.name.clone()),
        };
        Ok(sets.into_iter().map(set).collect())
    }

    fn texts(items: &[Item]) -> Vec<String> {
        items.iter().flat_map(Item::wholes).collect()
    }

    fn ask(items: &[Item], model: &Model) -> Result<Ask, TaskError> {
        let causal = model.geometry.causal;
        let (mut sequences, mut requests) = (Vec::new(), Vec::new());
        for item in items {
            // Tokens of the prompt alone, behind what opens every text.
            let prompt = match item.item.prompt.as_str() {
                "" => 0,
                prompt => model.sequence(prompt)?.text().len(),
            };
            for whole in item.wholes() {
                let whole = model.sequence(&whole)?;
                let places = whole.text().start + prompt..whole.text().end;
                if places.is_empty() || (causal && places.start == 0) {
                    return Err(item.unscored(model));
                }
                match causal {
                    true => sequences.push(Sequence::new(whole.tokens, places.start)),
                    false => requests.push(MaskRequest {
                        sequence: whole,
                        places: places.collect(),
                    }),
                }
            }
        }
        let parts = (0..sequences.len()).map(|at| at..at + 1).collect();
        Ok(match causal {
            true => Ask::next(sequences, parts),
            false => Ask::masked(requests),
        })
    }

    fn judge(items: &[Item], answers: &Answers, to: &Judging) -> Result<Judgement, TaskError> {
        let mut parts = 0..;
        let said: Vec<Vec<f64>> = items
            .iter()
            .map(|item| {
                let of_item = parts.by_ref().take(item.item.candidates.len());
                of_item.map(|part| answers.total(part)).collect()
            })
            .collect();
        let judged = judged(items, &said);
        let mut numbers = Vec::new();
        for norm in Norm::ALL {
            for (metric, estimate) in [
                (
                    "choice_accuracy",
                    choice::accuracy(&judged, norm, &to.bootstrap)?,
                ),
                (
                    "choice_margin",
                    choice::margin(&judged, norm, &to.bootstrap)?,
                ),
                (
                    "choice_log_odds",
                    choice::log_odds(&judged, norm, &to.bootstrap)?,
                ),
            ] {
                numbers.push(Number::new(metric, norm.name(), estimate));
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
        let (unedited, edited) = (judged(items, unedited), judged(items, edited));
        let mut numbers = Vec::new();
        for norm in Norm::ALL {
            let right = choice::accuracy_difference(&edited, &unedited, norm, &to.bootstrap)?;
            let odds = choice::log_odds_difference(&edited, &unedited, norm, &to.bootstrap)?;
            for (metric, change) in [
                ("choice_accuracy_difference", right),
                ("choice_log_odds_difference", odds),
            ] {
                numbers.push(Number::new(metric, norm.name(), change));
            }
        }
        Ok(numbers)
    }

    fn between(
        [items, others]: [&[Item]; 2],
        [said, said_there]: [&[Vec<f64>]; 2],
        to: &Judging,
    ) -> Result<Vec<Number>, TaskError> {
        let (items, others) = shared(
            judged(items, said),
            items,
            judged(others, said_there),
            others,
        );
        let mut numbers = Vec::new();
        if items.is_empty() {
            return Ok(numbers);
        }
        for norm in Norm::ALL {
            let same = choice::consistency(&items, &others, norm, &to.bootstrap)?;
            numbers.push(Number::new("choice_consistency", norm.name(), same));
            // Undefined where a model finds all candidates of every item equally likely.
            if let Ok(ranks) = choice::rank_correlation(&items, &others, norm, &to.bootstrap) {
                numbers.push(Number::new("choice_rank_correlation", norm.name(), ranks));
            }
            knowledge(&items, &others, norm, to, &mut numbers)?;
        }
        Ok(numbers)
    }

    fn answers(items: &[Item], found: &Judgement) -> Vec<Answer> {
        let answer = |(item, judged): (&Item, choice::Item)| {
            Norm::ALL.map(|norm| Answer {
                item: item.item.id.clone(),
                scorer: norm.name(),
                answer: Some(judged.answer(norm)),
                gold: Some(judged.gold),
                scores: judged.scores(norm),
                text: None,
            })
        };
        items
            .iter()
            .zip(judged(items, &found.said))
            .flat_map(answer)
            .collect()
    }
}

impl Item {
    /// The prompt with each candidate.
    fn wholes(&self) -> Vec<String> {
        let ChoiceItem {
            prompt, candidates, ..
        } = &self.item;
        let whole = |candidate: &String| match prompt.as_str() {
            "" => candidate.clone(),
            prompt => format!("{prompt}{}{candidate}", self.delimiter),
        };
        candidates.iter().map(whole).collect()
    }

    fn unscored(&self, model: &Model) -> TaskError {
        let problem = match model.geometry.causal && model.start_token().is_none() {
            true => {
                "the model has neither a start nor an end token, so a first token has no probability; give the item a prompt"
            }
            false => {
                "a candidate has no token of its own behind the prompt; another `delimiter` may help"
            }
        };
        TaskError::Item {
            item: format!("{} in {}", self.item.id, self.item.language),
            problem: problem.to_owned(),
        }
    }
}

/// Reads what the options name, in the order that they ask for.
fn read(
    options: &Options,
    path: &Path,
    wanted: &ChoiceOptions,
) -> Result<(Vec<ChoiceItem>, Report), DataError> {
    let (mut items, report) = match &options.format {
        Form::Items => load_choice(path, wanted),
        Form::Bmlama => load_bmlama(path, wanted),
        Form::LocalizationExplicit(subtasks) => load_localization(path, true, subtasks, wanted),
        Form::LocalizationImplicit(subtasks) => load_localization(path, false, subtasks, wanted),
    }?;
    let golds_have_a_place = options.format != Form::Items;
    if let Some(seed) = options.shuffle.or(golds_have_a_place.then_some(1)) {
        shuffle_choices(&mut items, seed);
    }
    Ok((items, report))
}

/// Rankings side by side, and what carries over from one language to the other.
fn knowledge(
    items: &[choice::Item],
    others: &[choice::Item],
    norm: Norm,
    to: &Judging,
    numbers: &mut Vec<Number>,
) -> Result<(), TaskError> {
    let number = |metric: &str, estimate| Number::new(metric, norm.name(), estimate);
    let rank_c = agreement::rank_c(items, others, norm, &to.bootstrap)?;
    numbers.push(number("choice_rankc", rank_c));
    let chance = agreement::rank_c_chance(items, &to.bootstrap)?;
    numbers.push(number("choice_rankc_chance", chance));
    for (from, into, is_back) in [(items, others, false), (others, items, true)] {
        for (metrics, found) in [
            (
                [
                    "choice_transfer_right",
                    "choice_transfer_right_chance",
                    "choice_transfer_right_excess",
                ],
                agreement::right(from, into, norm, &to.bootstrap),
            ),
            (
                [
                    "choice_transfer_wrong",
                    "choice_transfer_wrong_chance",
                    "choice_transfer_wrong_excess",
                ],
                agreement::wrong(from, into, norm, &to.bootstrap),
            ),
        ] {
            // Undefined where nothing, or everything, is right in the first language.
            let found = match found {
                Err(MetricError::Undefined { .. }) => continue,
                found => found?,
            };
            let estimates = [found.share, found.chance, found.excess];
            let found = metrics.iter().zip(estimates).map(|(m, e)| number(m, e));
            numbers.extend(found.map(|n| if is_back { n.reversed() } else { n }));
        }
    }
    Ok(())
}

/// Items as the metrics see them.
fn judged(items: &[Item], said: &[Vec<f64>]) -> Vec<choice::Item> {
    let item = |(item, said): (&Item, &Vec<f64>)| {
        choice::Item::new(said.clone(), &item.item.candidates, item.item.gold)
    };
    items.iter().zip(said).map(item).collect()
}

/// What two languages have in common, by id, in the order of the first.
fn shared(
    judged: Vec<choice::Item>,
    items: &[Item],
    others: Vec<choice::Item>,
    other_items: &[Item],
) -> (Vec<choice::Item>, Vec<choice::Item>) {
    let there: BTreeMap<&str, &choice::Item> = other_items
        .iter()
        .map(|item| item.item.id.as_str())
        .zip(&others)
        .collect();
    let both = items.iter().zip(judged).filter_map(|(item, judged)| {
        let other = *there.get(item.item.id.as_str())?;
        Some((judged, other.clone()))
    });
    both.unzip()
}
