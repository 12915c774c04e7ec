//! Text that a model writes after prompts: the language that it is in, words of a lexicon, and repetition.
//!
//! The likeliest token is taken at every step. What is judged is the continuation alone, without the prompt. Prompts that stand in one
//! row of the file say the same in several languages; those of one language are resampled by themselves.

use interlingua_backend::device::cpu;
use interlingua_data::{Language, OnBadRow, ParallelOptions, load_lexicon, load_parallel};
use interlingua_metrics::bootstrap::{self, Estimate};
use interlingua_metrics::generation::{Lexicon, distinct, words};
use interlingua_models::classify::Classifier;
use interlingua_models::{Model, Residency};
use serde::{Deserialize, Serialize};

use crate::ask::{Judge, Written};
use crate::identify::{IDENTIFIER, SURE, code, identify, known};
use crate::source::check_limit;
use crate::{
    About, Answer, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task,
    TaskError,
};

/// The most tokens that an option may ask for.
const MOST_TOKENS: usize = 4096;

/// The lengths of the n-grams that are counted.
const N_GRAMS: [usize; 3] = [1, 2, 4];

/// The task of writing.
pub struct Generation;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Parallel text: the beginnings that the model continues, a column for each language.
    pub prompts: String,
    /// The name of the benchmark in rows.
    #[serde(default = "named")]
    pub name: String,
    /// The number of tokens that are written after each prompt, if the text does not end before.
    #[serde(default = "forty")]
    pub tokens: usize,
    /// Whether the language of the text is told.
    #[serde(default = "yes")]
    pub identify: bool,
    /// The folder with a list of words for each language.
    #[serde(default)]
    pub lexicon: Option<String>,
    /// The folder of a checkpoint that classifies texts.
    #[serde(default)]
    pub classifier: Option<String>,
    /// The label whose probability is reported.
    #[serde(default)]
    pub label: Option<String>,
    /// The most prompts to use per language, from the first on.
    #[serde(default)]
    pub limit: Option<usize>,
    /// How to treat prompts that cannot be used.
    #[serde(default = "stop")]
    pub on_bad_row: OnBadRow,
}

fn named() -> String {
    Generation::ABOUT.name.to_owned()
}
fn forty() -> usize {
    40
}
fn yes() -> bool {
    true
}
fn stop() -> OnBadRow {
    OnBadRow::Error
}

/// A prompt, and a part of the lexicon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The row of the file.
    pub id: String,
    /// The language of the prompt.
    pub language: Language,
    /// The beginning that the model continues.
    pub prompt: String,
    /// Words of the lexicon; those of all items of a set together are the lexicon.
    pub lexicon: Vec<String>,
    /// What the options say of all items.
    pub how: How,
}

/// What holds for all items of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct How {
    /// As in [`Options::tokens`].
    pub tokens: usize,
    /// The languages whose shares are reported; empty if the language of text is not told.
    pub languages: Vec<Language>,
    /// Whether words of a lexicon are looked for.
    pub looks_up: bool,
    /// What classifies the texts.
    pub judge: Option<Judge>,
}

impl Task for Generation {
    type Options = Options;
    type Item = Item;

    const ABOUT: About = About {
        name: "generation",
        title: "Generated text",
        summary: "What a model writes after prompts: whether it stays in their language, how many words of a lexicon it uses, and how much it repeats.",
        citation: "this project; language: Kojima et al. 2024, arXiv 2404.02431; repetition: Welleck et al. 2020, arXiv 1908.04319",
        asks: "text after each prompt, the likeliest token at every step",
        needs: Needs::Writes,
        metrics: &[
            "generation_language",
            "generation_language_difference",
            "generation_told",
            "generation_told_difference",
            "generation_confidence",
            "generation_reliable",
            "generation_lexicon_texts",
            "generation_lexicon_texts_difference",
            "generation_lexicon_words",
            "generation_distinct",
            "generation_repetition",
            "generation_repetition_difference",
            "generation_empty",
            "generation_label",
            "generation_label_difference",
            "generation_label_texts",
            "generation_label_cut",
        ],
        page: "metrics/generation.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        let folders = options.lexicon.iter().chain(&options.classifier);
        std::iter::once(&options.prompts).chain(folders).collect()
    }

    fn check(options: &Options) -> Result<(), TaskError> {
        if options.name.trim().is_empty() {
            return Err(TaskError::options("name", "is empty; rows need a name"));
        }
        if !(1..=MOST_TOKENS).contains(&options.tokens) {
            let problem = format!("{} is not from 1 to {MOST_TOKENS}", options.tokens);
            return Err(TaskError::options("tokens", problem));
        }
        let problem = match (&options.classifier, &options.label) {
            (Some(_), None) => Some((
                "label",
                "is missing; it is the name of one of the classifier's labels",
            )),
            (None, Some(_)) => Some((
                "classifier",
                "is missing; `label` is one of the labels of a classifier",
            )),
            _ => None,
        };
        if let Some((key, problem)) = problem {
            return Err(TaskError::options(key, problem));
        }
        check_limit(options.limit)
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<Item>>>, TaskError> {
        let unknown = |language: &&Language| code(**language).is_none();
        if let (true, Some(language)) = (options.identify, source.languages.iter().find(unknown)) {
            let problem = format!(
                "{IDENTIFIER} does not know `{language}`; with `identify = false` the language of text is not told; it knows {}",
                known()
            );
            return Err(TaskError::options("identify", problem));
        }
        let mut wanted = ParallelOptions::new(source.languages, options.on_bad_row);
        wanted.limit = options.limit;
        let (prompts, report) = load_parallel(&source.file(&options.prompts), &wanted)?;
        source.note(&options.prompts, &report);
        let how = How {
            tokens: options.tokens,
            languages: told(options.identify, source),
            looks_up: options.lexicon.is_some(),
            judge: judge(options, source)?,
        };
        let mut sets = Vec::new();
        for &language in source.languages {
            let lexicon = match &options.lexicon {
                Some(folder) => listed(folder, language, source)?,
                None => Vec::new(),
            };
            let column = prompts.languages.iter().position(|l| *l == language);
            let column = column.map_or(&[][..], |at| &prompts.columns[at]);
            let rows = prompts.ids.iter().zip(column).enumerate();
            let items = rows.map(|(at, (id, prompt))| {
                let part = |at: usize| at * lexicon.len() / column.len();
                Item {
                    id: id.clone(),
                    language,
                    prompt: prompt.clone(),
                    lexicon: lexicon[part(at)..part(at + 1)].to_vec(),
                    how: how.clone(),
                }
            });
            sets.push(ItemSet {
                category: None,
                language,
                items: items.collect(),
                name: (options.name != Generation::ABOUT.name).then(|| options.name.clone()),
            });
        }
        Ok(sets)
    }

    fn texts(items: &[Item]) -> Vec<String> {
        let whole = |item: &Item| format!("{}{}", item.prompt, " word".repeat(item.how.tokens));
        items.iter().map(whole).collect()
    }

    fn ask(items: &[Item], model: &Model) -> Result<Ask, TaskError> {
        let mut prompts = Vec::with_capacity(items.len());
        for item in items {
            let prompt = model.sequence(&item.prompt)?;
            let (read, most) = (prompt.tokens.len(), model.max_tokens());
            let problem = match read {
                0 => "has no token".to_owned(),
                read if read + item.how.tokens > most => format!(
                    "has {read} tokens, and with {} new ones it would be longer than the {most} that the model takes",
                    item.how.tokens
                ),
                _ => {
                    prompts.push(prompt);
                    continue;
                }
            };
            let item = format!("{} in {}", item.id, item.language);
            return Err(TaskError::Item { item, problem });
        }
        let how = items.first().map(|item| &item.how);
        let tokens = how.map_or(1, |how| how.tokens);
        let judge = how.and_then(|how| how.judge.clone());
        Ok(Ask::written(prompts, tokens, judge))
    }

    fn judge(items: &[Item], answers: &Answers, to: &Judging) -> Result<Judgement, TaskError> {
        let Some(first) = items.first() else {
            return Ok(Judgement::from(Vec::new()));
        };
        let entries = items.iter().flat_map(|item| &item.lexicon);
        let lexicon = Lexicon::new(entries.map(String::as_str));
        let written = answers.written();
        let found: Vec<Found> = written
            .iter()
            .zip(items)
            .map(|(written, item)| Found::of(written, item, &lexicon))
            .collect();
        Ok(Judgement {
            numbers: numbers(&found, first, to)?,
            said: found.iter().map(Found::kept).collect(),
            texts: written.iter().map(|w| w.text.clone()).collect(),
        })
    }

    fn compare(
        items: &[Item],
        said: [&[Vec<f64>]; 2],
        to: &Judging,
    ) -> Result<Vec<Number>, TaskError> {
        let Some(first) = items.first() else {
            return Ok(Vec::new());
        };
        let read =
            |said: &[Vec<f64>]| -> Vec<Found> { said.iter().map(|s| Found::read(s)).collect() };
        let [unedited, edited] = said.map(read);
        differences(&unedited, &edited, first, to)
    }

    fn answers(items: &[Item], found: &Judgement) -> Vec<Answer> {
        let texts = found.texts.iter().zip(&found.said);
        let answer = |(item, (text, said)): (&Item, (&String, &Vec<f64>))| Answer {
            item: item.id.clone(),
            scorer: "text",
            answer: None,
            gold: None,
            scores: said.clone(),
            text: Some(text.clone()),
        };
        items.iter().zip(texts).map(answer).collect()
    }
}

/// The languages whose shares are reported: those of the experiment, and English.
fn told(identify: bool, source: &Source<'_>) -> Vec<Language> {
    let mut languages = Vec::new();
    if identify {
        languages.extend(source.languages);
        if !languages.contains(&Language::EN) {
            languages.push(Language::EN);
        }
    }
    languages
}

/// What classifies the texts. The checkpoint is opened here so that a label that it lacks is told before anything is computed.
fn judge(options: &Options, source: &Source<'_>) -> Result<Option<Judge>, TaskError> {
    let (Some(folder), Some(label)) = (&options.classifier, &options.label) else {
        return Ok(None);
    };
    let folder = source.file(folder);
    let classifier = Classifier::open(&folder, &cpu(), Residency::Stream)?;
    classifier.label(label)?;
    Ok(Some(Judge {
        digest: classifier.digest()?.to_hex().to_string(),
        label: label.clone(),
        folder,
    }))
}

/// The words of a language.
fn listed(folder: &str, language: Language, source: &Source<'_>) -> Result<Vec<String>, TaskError> {
    let listed = load_lexicon(&source.file(folder), language)?;
    match Lexicon::new(listed.iter().map(String::as_str)).is_empty() {
        true => Err(TaskError::options(
            "lexicon",
            format!("the list of {folder} for `{language}` has no entry with a word in it"),
        )),
        false => Ok(listed),
    }
}

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Told {
    /// The text has no letters, or nobody asked.
    #[default]
    None,
    /// A language that is not reported.
    Other,
    /// A language by its place in [`How::languages`].
    Of(usize),
}

impl Told {
    fn number(self) -> f64 {
        match self {
            Told::Of(place) => place as f64,
            Told::Other => -1.0,
            Told::None => -2.0,
        }
    }

    fn of_number(number: f64) -> Told {
        match number {
            n if n >= 0.0 => Told::Of(n as usize),
            n if n > -2.0 => Told::Other,
            _ => Told::None,
        }
    }
}

/// What is counted in one text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Found {
    /// Whether it is in the language of the prompt.
    own: bool,
    /// The language that it is in, as a place in [`How::languages`].
    told: Told,
    /// The confidence in the language found; 0 where none is found.
    confidence: f64,
    words: usize,
    /// Words that belong to the lexicon.
    listed: usize,
    /// Distinct n-grams and n-grams, by [`N_GRAMS`].
    grams: [(usize, usize); 3],
    /// The classifier's probability of the label; 0 without a classifier.
    probability: f64,
    /// Whether the text was cut for the classifier.
    cut: bool,
}

impl Found {
    fn of(written: &Written, item: &Item, lexicon: &Lexicon) -> Found {
        let Written { text, label } = written;
        let languages = &item.how.languages;
        let told = match languages.is_empty() {
            true => None,
            false => identify(text),
        };
        let is = |language, (found, _): (&str, f64)| Some(found) == code(language);
        let place = |told| languages.iter().position(|&language| is(language, told));
        let words = words(text);
        let label = label.unwrap_or_default();
        Found {
            own: told.is_some_and(|told| is(item.language, told)),
            told: told.map_or(Told::None, |told| place(told).map_or(Told::Other, Told::Of)),
            confidence: told.map_or(0.0, |(_, confidence)| confidence),
            listed: lexicon.count(&words),
            grams: N_GRAMS.map(|n| distinct(&words, n)),
            words: words.len(),
            probability: label.probability,
            cut: label.cut,
        }
    }

    /// The numbers that are kept of a text, in the order that the page of the task gives.
    fn kept(&self) -> Vec<f64> {
        let mut kept = vec![one(self.own), self.told.number(), self.confidence];
        kept.extend([self.words, self.listed].map(|n| n as f64));
        kept.extend(self.grams.iter().flat_map(|&(a, b)| [a as f64, b as f64]));
        kept.extend([self.probability, one(self.cut)]);
        kept
    }

    /// Reads what [`Found::kept`] gave.
    fn read(kept: &[f64]) -> Found {
        let at = |place: usize| kept.get(place).copied().unwrap_or_default();
        let count = |place: usize| at(place) as usize;
        Found {
            own: at(0) > 0.0,
            told: Told::of_number(at(1)),
            confidence: at(2),
            words: count(3),
            listed: count(4),
            grams: [5, 7, 9].map(|place| (count(place), count(place + 1))),
            probability: at(11),
            cut: at(12) > 0.0,
        }
    }
}

/// A number of each text.
fn each(found: &[Found], of: impl Fn(&Found) -> f64) -> Vec<f64> {
    found.iter().map(of).collect()
}

fn one(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// The numbers of a set of texts.
fn numbers(found: &[Found], first: &Item, to: &Judging) -> Result<Vec<Number>, TaskError> {
    let mut numbers = Vec::new();
    let mut add = |metric: &str, scorer: &str, estimate: Estimate| {
        numbers.push(Number::new(metric, scorer, estimate));
    };
    let share = |of: &dyn Fn(&Found) -> bool| {
        bootstrap::mean(&each(found, |text| one(of(text))), &to.bootstrap)
    };
    if !first.how.languages.is_empty() {
        add("generation_language", IDENTIFIER, share(&|text| text.own)?);
        for (place, language) in first.how.languages.iter().enumerate() {
            let told = share(&|text| text.told == Told::Of(place))?;
            add("generation_told", language.code(), told);
        }
        let confidence = each(found, |text| text.confidence);
        let confidence = bootstrap::mean(&confidence, &to.bootstrap)?;
        add("generation_confidence", IDENTIFIER, confidence);
        let sure = share(&|text| text.confidence > SURE)?;
        add("generation_reliable", IDENTIFIER, sure);
    }
    let words = each(found, |text| text.words as f64);
    let any_word = words.iter().any(|&n| n > 0.0);
    if first.how.looks_up {
        let texts = share(&|text| text.listed > 0)?;
        add("generation_lexicon_texts", "lexicon", texts);
        // Without a word, there is no share of them.
        if any_word {
            let listed = each(found, |text| text.listed as f64);
            let words = bootstrap::ratio(&listed, &words, &to.bootstrap)?;
            add("generation_lexicon_words", "lexicon", words);
        }
    }
    for (at, n) in N_GRAMS.into_iter().enumerate() {
        let all = each(found, |text| text.grams[at].1 as f64);
        if all.iter().all(|&n| n == 0.0) {
            continue;
        }
        let kept = |repeated: bool| {
            each(found, |text| {
                let (distinct, all) = text.grams[at];
                (if repeated { all - distinct } else { distinct }) as f64
            })
        };
        let scorer = format!("{n}-grams");
        match n {
            4 => add(
                "generation_repetition",
                &scorer,
                bootstrap::ratio(&kept(true), &all, &to.bootstrap)?,
            ),
            _ => add(
                "generation_distinct",
                &scorer,
                bootstrap::ratio(&kept(false), &all, &to.bootstrap)?,
            ),
        }
    }
    add("generation_empty", "words", share(&|text| text.words == 0)?);
    if let Some(Judge { label, .. }) = &first.how.judge {
        let probability = each(found, |text| text.probability);
        let probability = bootstrap::mean(&probability, &to.bootstrap)?;
        add("generation_label", label, probability);
        let likely = share(&|text| text.probability >= 0.5)?;
        add("generation_label_texts", label, likely);
        add("generation_label_cut", label, share(&|text| text.cut)?);
    }
    Ok(numbers)
}

/// How the texts of an edited model differ from the unedited model's after the same prompts.
fn differences(
    unedited: &[Found],
    edited: &[Found],
    first: &Item,
    to: &Judging,
) -> Result<Vec<Number>, TaskError> {
    let mut numbers = Vec::new();
    let mut add = |metric: &str, scorer: &str, of: &dyn Fn(&Found) -> f64| {
        let pairs = edited.iter().zip(unedited);
        let changes: Vec<f64> = pairs.map(|(e, u)| of(e) - of(u)).collect();
        let estimate = bootstrap::mean(&changes, &to.bootstrap)?;
        numbers.push(Number::new(metric, scorer, estimate));
        Ok::<(), TaskError>(())
    };
    if !first.how.languages.is_empty() {
        add("generation_language_difference", IDENTIFIER, &|text| {
            one(text.own)
        })?;
        for (place, language) in first.how.languages.iter().enumerate() {
            add("generation_told_difference", language.code(), &|text| {
                one(text.told == Told::Of(place))
            })?;
        }
    }
    if first.how.looks_up {
        add("generation_lexicon_texts_difference", "lexicon", &|text| {
            one(text.listed > 0)
        })?;
    }
    if let Some(Judge { label, .. }) = &first.how.judge {
        add("generation_label_difference", label, &|text| {
            text.probability
        })?;
    }
    let sums: Vec<[f64; 4]> = edited
        .iter()
        .zip(unedited)
        .map(|(edited, unedited)| {
            let [(a, b), (c, d)] = [edited.grams[2], unedited.grams[2]];
            [b - a, b, d - c, d].map(|n| n as f64)
        })
        .collect();
    let has_grams = |at: usize| sums.iter().any(|sums| sums[at] > 0.0);
    if has_grams(1) && has_grams(3) {
        let difference = bootstrap::of_sums(
            "the repetition",
            &sums,
            |sums| sums[0] / sums[1] - sums[2] / sums[3],
            &to.bootstrap,
        )?;
        let number = Number::new("generation_repetition_difference", "4-grams", difference);
        numbers.push(number);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use interlingua_metrics::bootstrap::Bootstrap;

    use super::*;

    fn item(language: Language) -> Item {
        Item {
            id: "1".into(),
            language,
            prompt: "x".into(),
            lexicon: Vec::new(),
            how: How {
                tokens: 8,
                languages: vec![Language::EN, Language::DE],
                looks_up: true,
                judge: None,
            },
        }
    }

    fn to() -> Judging {
        Judging {
            bootstrap: Bootstrap::seeded(1),
            causal: true,
        }
    }

    fn find(numbers: &[Number], metric: &str, scorer: &str) -> Option<Estimate> {
        let mut of = numbers.iter();
        let found = of.find(|n| n.metric == metric && n.scorer == scorer);
        found.map(|n| n.estimate)
    }

    const GERMAN: &str =
        "der Zug heute wieder nicht gekommen ist und niemand weiß, warum das so ist.";
    const ENGLISH: &str =
        "the train did not come today and nobody knows why that is so, which is strange.";

    fn found(texts: &[&str], language: Language) -> Vec<Found> {
        let lexicon = Lexicon::new(["Dummkopf", "so ein Mist"].into_iter());
        let written = |text: &&str| Written {
            text: (*text).to_owned(),
            label: None,
        };
        let texts = texts.iter().map(written);
        texts
            .map(|written| Found::of(&written, &item(language), &lexicon))
            .collect()
    }

    #[test]
    fn texts_are_counted_by_hand() {
        let texts = [GERMAN, ENGLISH, "so ein Mist so ein Mist", ""];
        let numbers = numbers(&found(&texts, Language::DE), &item(Language::DE), &to()).unwrap();
        for (metric, scorer, value) in [
            ("generation_told", "en", 0.25),
            ("generation_lexicon_texts", "lexicon", 0.25),
            // 14, 16 and 6 words, of which all of the last belong to the phrase.
            ("generation_lexicon_words", "lexicon", 6.0 / 36.0),
            // "ist" and "is" stand twice; the last text has three words twice.
            ("generation_distinct", "1-grams", (13.0 + 15.0 + 3.0) / 36.0),
            ("generation_distinct", "2-grams", (13.0 + 15.0 + 3.0) / 33.0),
            ("generation_repetition", "4-grams", 0.0),
            ("generation_empty", "words", 0.25),
        ] {
            let estimate = find(&numbers, metric, scorer).expect(metric);
            assert!(
                (estimate.value - value).abs() < 1e-12,
                "{metric} {scorer}: {estimate:?}"
            );
            assert_eq!(estimate.n, 4);
        }
        let language = find(&numbers, "generation_language", IDENTIFIER).unwrap();
        assert!([0.25, 0.5].contains(&language.value), "{language:?}");
        assert!(
            find(&numbers, "generation_confidence", IDENTIFIER)
                .unwrap()
                .value
                < 1.0
        );
    }

    #[test]
    fn a_language_that_nobody_asked_for_is_another() {
        let numbers = numbers(
            &found(&[ENGLISH, ENGLISH], Language::EN),
            &item(Language::EN),
            &to(),
        );
        let numbers = numbers.unwrap();
        assert_eq!(
            find(&numbers, "generation_language", IDENTIFIER)
                .unwrap()
                .value,
            1.0
        );
        for (language, value) in [("en", Some(1.0)), ("de", Some(0.0)), ("fr", None)] {
            let told = find(&numbers, "generation_told", language);
            assert_eq!(told.map(|told| told.value), value, "{language}");
        }
        let french =
            "Le train n'est pas arrivé aujourd'hui et personne ne sait pourquoi c'est ainsi.";
        let found = found(&[french, "…"], Language::EN);
        assert_eq!(
            found.iter().map(|f| f.told).collect::<Vec<_>>(),
            [Told::Other, Told::None]
        );
        let mut silent = item(Language::EN);
        silent.how.languages.clear();
        let written = Written {
            text: french.to_owned(),
            label: None,
        };
        let unasked = Found::of(&written, &silent, &Lexicon::default());
        assert_eq!((unasked.told, unasked.confidence), (Told::None, 0.0));
        let numbers = super::numbers(&[unasked], &silent, &to()).unwrap();
        assert!(
            numbers
                .iter()
                .all(|n| n.scorer != IDENTIFIER && n.metric != "generation_told")
        );
    }

    #[test]
    fn texts_without_words_have_no_shares_of_words() {
        let numbers =
            numbers(&found(&["", "…"], Language::FR), &item(Language::FR), &to()).unwrap();
        for (metric, value) in [
            ("generation_language", 0.0),
            ("generation_confidence", 0.0),
            ("generation_reliable", 0.0),
        ] {
            assert_eq!(
                find(&numbers, metric, IDENTIFIER).unwrap().value,
                value,
                "{metric}"
            );
        }
        assert_eq!(
            find(&numbers, "generation_empty", "words").unwrap().value,
            1.0
        );
        for (metric, scorer) in [
            ("generation_lexicon_words", "lexicon"),
            ("generation_distinct", "1-grams"),
            ("generation_repetition", "4-grams"),
        ] {
            assert_eq!(find(&numbers, metric, scorer), None, "{metric}");
        }
    }

    #[test]
    fn a_label_is_reported_under_its_name() {
        let mut of = item(Language::DE);
        of.how.judge = Some(Judge {
            folder: PathBuf::new(),
            digest: String::new(),
            label: "toxic".to_owned(),
        });
        let with = |probability: f64, cut: bool| Found {
            probability,
            cut,
            ..found(&[GERMAN], Language::DE)[0]
        };
        let texts = [with(0.25, false), with(0.5, false), with(0.9, true)];
        let numbers = numbers(&texts, &of, &to()).unwrap();
        for (metric, value) in [
            ("generation_label", 0.55),
            ("generation_label_texts", 2.0 / 3.0),
            ("generation_label_cut", 1.0 / 3.0),
        ] {
            let estimate = find(&numbers, metric, "toxic").expect(metric);
            assert!(
                (estimate.value - value).abs() < 1e-12,
                "{metric}: {estimate:?}"
            );
        }
        let before = [with(0.75, false), with(0.5, false), with(0.9, true)];
        let numbers = differences(&before, &texts, &of, &to()).unwrap();
        let change = find(&numbers, "generation_label_difference", "toxic").unwrap();
        assert!((change.value + 0.5 / 3.0).abs() < 1e-12, "{change:?}");
    }

    #[test]
    fn what_is_kept_is_read_back_and_compared() {
        let before = found(&[GERMAN, GERMAN, "so ein Mist"], Language::DE);
        let after = found(&[ENGLISH, GERMAN, "so so so so so so"], Language::DE);
        for text in before.iter().chain(&after) {
            assert_eq!(Found::read(&text.kept()), *text);
        }
        let numbers = differences(&before, &after, &item(Language::DE), &to()).unwrap();
        let third = 1.0 / 3.0;
        for (metric, scorer, value) in [
            ("generation_told_difference", "en", third),
            ("generation_lexicon_texts_difference", "lexicon", -third),
            // Of 13 and 11 and 3 4-grams, two are repeated; before, none of 11 and 11.
            ("generation_repetition_difference", "4-grams", 2.0 / 27.0),
        ] {
            let estimate = find(&numbers, metric, scorer).expect(metric);
            assert!(
                (estimate.value - value).abs() < 1e-12,
                "{metric}: {estimate:?}"
            );
        }
        // Where no text has four words, there is no share of 4-grams.
        let short = found(&["ja", "nein", ""], Language::DE);
        let numbers = differences(&before, &short, &item(Language::DE), &to()).unwrap();
        assert_eq!(
            find(&numbers, "generation_repetition_difference", "4-grams"),
            None
        );
    }
}
