//! Reads the states after each block as if they were the last: how likely the right answer to a question is there, and in
//! which language.
//!
//! The questions are those of BMLAMA ([`crate::choice`]). The LM head is applied to the states at each hook. The task measures
//! the probability of the right answer in the language of the question, the probability of the same answer in another
//! language (the pivot), the rank of the answer's first token, and the language of the most likely token. The language of a
//! token is determined by its frequencies in parallel text of all languages.

use interlingua_data::{
    ChoiceItem, ChoiceOptions, Language, OnBadRow, ParallelOptions, load_bmlama, load_parallel,
    shuffle_choices,
};
use interlingua_metrics::lens::{self, Tongue, Tongues};
use interlingua_models::engine::Lens;
use interlingua_models::{Model, Sequence};
use serde::{Deserialize, Serialize};

use crate::source::check_limit;
use crate::{
    About, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task, TaskError,
};

/// How many numbers are kept of a phrase at a hook: its log-probability, the rank of its first token, and the language of the
/// most likely token there.
const KEPT: usize = 3;

/// The task of questions whose answers are read from the states between the blocks.
pub struct Latent;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder that contains BMLAMA.
    pub path: String,
    /// The parallel text from which the languages of tokens are determined.
    pub text: String,
    /// The number of its rows to use, counted from the first.
    #[serde(default = "rows")]
    pub text_rows: usize,
    /// The share of a token's occurrences that must be in one language for the token to belong to it.
    #[serde(default = "part")]
    pub share: f64,
    /// The number of times that a token must occur in the text for its language to be determined.
    #[serde(default = "times")]
    pub seen: u32,
    /// The pivot language, whose answers are measured in addition.
    #[serde(default = "english")]
    pub pivot: Language,
    /// The hooks of the residual stream; the outputs of all blocks if the list is empty.
    #[serde(default)]
    pub hooks: Vec<String>,
    /// Whether the final norm is applied before the head.
    #[serde(default = "yes")]
    pub normalise: bool,
    /// The seed of the order of the questions.
    #[serde(default = "one")]
    pub shuffle: u64,
    /// The largest number of questions per language.
    #[serde(default)]
    pub limit: Option<usize>,
    /// The treatment of rows that cannot be used.
    #[serde(default = "stop")]
    pub on_bad_row: OnBadRow,
}

fn rows() -> usize {
    2000
}
fn part() -> f64 {
    0.75
}
fn times() -> u32 {
    5
}
fn english() -> Language {
    Language::EN
}
fn yes() -> bool {
    true
}
fn one() -> u64 {
    1
}
fn stop() -> OnBadRow {
    OnBadRow::Error
}

/// A question, its answer in the pivot language, and a part of the text from which the languages of tokens are determined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The question with the right answer in its own language.
    #[serde(flatten)]
    pub item: ChoiceItem,
    /// The same answer in the pivot language.
    pub pivot: String,
    /// Sentences of each language; the sentences of all items together are the text.
    pub text: Vec<(Language, Vec<String>)>,
    /// The options that hold for all items.
    pub how: How,
}

/// The options that hold for all items of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct How {
    /// The pivot language.
    pub pivot: Language,
    /// The value of [`Options::hooks`].
    pub hooks: Vec<String>,
    /// The value of [`Options::normalise`].
    pub normalise: bool,
    /// The value of [`Options::share`].
    pub share: f64,
    /// The value of [`Options::seen`].
    pub seen: u32,
}

impl Task for Latent {
    type Options = Options;
    type Item = Item;

    const ABOUT: About = About {
        name: "latent",
        title: "The way to an answer",
        summary: "Measures what the states between the blocks predict: how likely the right answer is there, and to which language the most likely token belongs.",
        citation: "Lim et al. 2025, arXiv 2505.13141",
        asks: "the probabilities that the LM head gives for the states at hooks of the residual stream",
        needs: Needs::Causal,
        metrics: &[
            "lens_log_prob",
            "lens_pivot_log_prob",
            "lens_pivot_excess",
            "lens_rank",
            "lens_own",
            "lens_pivot",
            "lens_other",
            "lens_shared",
            "lens_unseen",
        ],
        page: "metrics/lens.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        vec![&options.path, &options.text]
    }

    fn check(options: &Options) -> Result<(), TaskError> {
        if options.text_rows == 0 {
            return Err(TaskError::options(
                "text_rows",
                "0 tells no language; 1000 works",
            ));
        }
        if !(options.share > 0.5 && options.share <= 1.0) {
            let problem = format!("{} is not above 0.5 and at most 1", options.share);
            return Err(TaskError::options("share", problem));
        }
        check_limit(options.limit)
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<Item>>>, TaskError> {
        let mut languages = source.languages.to_vec();
        if !languages.contains(&options.pivot) {
            languages.push(options.pivot);
        }
        let wanted = ChoiceOptions::new(&languages, options.on_bad_row);
        let (mut items, report) = load_bmlama(&source.file(&options.path), &wanted)?;
        source.note(&options.path, &report);
        shuffle_choices(&mut items, options.shuffle);
        let mut wanted = ParallelOptions::new(&languages, source.on_bad_row);
        wanted.limit = Some(options.text_rows);
        let (text, report) = load_parallel(&source.file(&options.text), &wanted)?;
        source.note(&options.text, &report);
        let of = |language: Language| {
            let most = options.limit.unwrap_or(usize::MAX);
            let of = items.iter().filter(move |item| item.language == language);
            of.take(most)
        };
        let how = How {
            pivot: options.pivot,
            hooks: options.hooks.clone(),
            normalise: options.normalise,
            share: options.share,
            seen: options.seen,
        };
        let mut sets = Vec::new();
        for &language in source.languages {
            let questions = of(language).count();
            let with_pivot = of(language).zip(of(options.pivot)).enumerate();
            let items = with_pivot.map(|(at, (item, pivot))| {
                // Every question brings its part of the rows.
                let rows = at * text.len() / questions..(at + 1) * text.len() / questions;
                let columns = text.languages.iter().zip(&text.columns);
                Item {
                    item: item.clone(),
                    pivot: pivot.candidates[pivot.gold].clone(),
                    text: columns
                        .map(|(l, c)| (*l, c[rows.clone()].to_vec()))
                        .collect(),
                    how: how.clone(),
                }
            });
            sets.push(ItemSet {
                category: None,
                language,
                items: items.collect(),
                name: None,
            });
        }
        Ok(sets)
    }

    fn texts(items: &[Item]) -> Vec<String> {
        items.iter().flat_map(Item::phrases).collect()
    }

    fn ask(items: &[Item], model: &Model) -> Result<Ask, TaskError> {
        let Some(first) = items.first() else {
            return Ok(Ask::next(Vec::new(), Vec::new()));
        };
        let mut hooks = first.how.hooks.clone();
        if hooks.is_empty() {
            hooks = (0..model.geometry.layers).map(end_of).collect();
        }
        let lens = Lens::parse(&hooks, first.how.normalise, model)?;
        let mut sequences = Vec::new();
        for item in items {
            let given = model.sequence(&item.item.prompt)?.tokens.len();
            for phrase in item.phrases() {
                let whole = model.sequence(&phrase)?;
                if given == 0 || whole.tokens.len() <= given {
                    return Err(TaskError::Item {
                        item: format!("{} in {}", item.item.id, item.item.language),
                        problem: "the answer has no token of its own behind the question"
                            .to_owned(),
                    });
                }
                sequences.push(Sequence::new(whole.tokens, given));
            }
        }
        Ok(Ask::lens(lens, sequences, tongues(items, model)?))
    }

    fn judge(items: &[Item], answers: &Answers, to: &Judging) -> Result<Judgement, TaskError> {
        let Some(first) = items.first() else {
            return Ok(Judgement::from(Vec::new()));
        };
        let language = first.item.language;
        let place = |l: Language| first.text.iter().position(|(other, _)| *other == l);
        let (own, pivot) = (place(language), place(first.how.pivot));
        let is_pivot = own == pivot;
        let found: Vec<[Vec<f32>; 2]> = (0..items.len())
            .map(|at| [answers.of(2 * at), answers.of(2 * at + 1)])
            .collect();
        let hooks = found[0][0].len() / KEPT;
        let mut numbers = Vec::new();
        for hook in 0..hooks {
            let name = match first.how.hooks.get(hook) {
                Some(name) => name.clone(),
                None => end_of(hook),
            };
            let column = |phrase: usize, kept: usize| -> Vec<f64> {
                let of = |both: &[Vec<f32>; 2]| f64::from(both[phrase][hook * KEPT + kept]);
                found.iter().map(of).collect()
            };
            let (here, there) = (column(0, 0), column(1, 0));
            let mut add =
                |metric: &str, estimate| numbers.push(Number::new(metric, &name, estimate));
            add("lens_log_prob", lens::mean(&here, &to.bootstrap)?);
            add("lens_rank", lens::rank(&column(0, 1), &to.bootstrap)?);
            if !is_pivot {
                add("lens_pivot_log_prob", lens::mean(&there, &to.bootstrap)?);
                let others = items.iter().zip(here.iter().zip(&there));
                let others = others.filter(|(item, _)| item.pivot != item.gold());
                let excess: Vec<f64> = others.map(|(_, (here, there))| there - here).collect();
                if !excess.is_empty() {
                    add("lens_pivot_excess", lens::mean(&excess, &to.bootstrap)?);
                }
            }
            let tongues = column(0, 2);
            let share = |wanted: &dyn Fn(Tongue) -> bool| {
                let one = |code: &f64| f64::from(u8::from(wanted(decoded(*code))));
                let of: Vec<f64> = tongues.iter().map(one).collect();
                lens::mean(&of, &to.bootstrap)
            };
            let is =
                |place: Option<usize>| move |t: Tongue| place.is_some_and(|p| t == Tongue::Of(p));
            let (is_own, is_of_pivot) = (is(own), is(pivot));
            add("lens_own", share(&is_own)?);
            if !is_pivot {
                add("lens_pivot", share(&is_of_pivot)?);
            }
            let other = |t| matches!(t, Tongue::Of(_)) && !is_own(t) && !is_of_pivot(t);
            add("lens_other", share(&other)?);
            add("lens_shared", share(&|t| t == Tongue::Shared)?);
            add("lens_unseen", share(&|t| t == Tongue::Unseen)?);
        }
        Ok(Judgement::from(numbers))
    }
}

impl Item {
    fn gold(&self) -> &str {
        &self.item.candidates[self.item.gold]
    }

    /// Returns the question followed by the right answer in its own language, and by that in the pivot language.
    fn phrases(&self) -> Vec<String> {
        let phrase = |answer: &str| format!("{} {answer}", self.item.prompt);
        vec![phrase(self.gold()), phrase(&self.pivot)]
    }
}

fn end_of(block: usize) -> String {
    format!("block.{block}.output")
}

/// Returns the language of every token as a number, because answers consist of numbers.
fn tongues(items: &[Item], model: &Model) -> Result<Vec<i32>, TaskError> {
    let vocabulary = model.geometry.vocab_size;
    let first = &items[0];
    let languages = first.text.len();
    let mut tongues = Tongues::new(vocabulary, languages, first.how.share, first.how.seen)?;
    for item in items {
        for (place, (_, sentences)) in item.text.iter().enumerate() {
            for sentence in sentences {
                let sequence = model.sequence(sentence)?;
                tongues.add(place, &sequence.tokens[sequence.text()]);
            }
        }
    }
    let code = |token: u32| match tongues.of(token) {
        Tongue::Of(place) => place as i32,
        Tongue::Shared => -1,
        Tongue::Unseen => -2,
    };
    Ok((0..vocabulary as u32).map(code).collect())
}

fn decoded(code: f64) -> Tongue {
    match code {
        c if c >= 0.0 => Tongue::Of(c as usize),
        -1.0 => Tongue::Shared,
        _ => Tongue::Unseen,
    }
}
