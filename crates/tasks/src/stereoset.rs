//! StereoSet, intrasentence: a sentence with a blank that is filled with a stereotype, an anti-stereotype and an
//! unrelated word.

use std::ops::Range;

use interlingua_data::{Language, StereoItem, StereoKind, StereoOptions, load_stereoset};
use interlingua_metrics::crows::StartToken;
use interlingua_metrics::stereoset::{Item, Scorer, fillings, scores};
use interlingua_models::masked::mask_token;
use interlingua_models::pack::Query;
use interlingua_models::{Model, Sequence};
use serde::{Deserialize, Serialize};

use crate::source::check_limit;
use crate::{
    About, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task, TaskError,
    add_sentence, numbered,
};

/// The task of StereoSet: sentences with three fillings.
pub struct Stereoset;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file of the items.
    pub path: String,
    /// The language of the items.
    #[serde(default = "english")]
    pub language: Language,
    /// The most items to use per category.
    #[serde(default)]
    pub limit: Option<usize>,
}

fn english() -> Language {
    Language::EN
}

/// Where the start token stands for a causal model, as in the reference code.
const START: StartToken = StartToken::FirstTokenOnly;

impl Task for Stereoset {
    type Options = Options;
    type Item = StereoItem;

    const ABOUT: About = About {
        name: "stereoset",
        title: "StereoSet",
        summary: "Measures whether a model prefers a stereotype to its opposite, and both to an unrelated word, in the blank of a sentence.",
        citation: "Nadeem et al. 2021, arXiv 2004.09456",
        asks: "the probability of a sentence, or of what fills its blank",
        needs: Needs::Head,
        metrics: &[
            "stereoset_ss",
            "stereoset_lms",
            "stereoset_icat",
            "stereoset_gap",
            "stereoset_related_gap",
        ],
        page: "metrics/stereoset.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        vec![&options.path]
    }

    fn check(options: &Options) -> Result<(), TaskError> {
        check_limit(options.limit)
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<StereoItem>>>, TaskError> {
        let wanted = StereoOptions {
            kinds: vec![StereoKind::Intrasentence],
            language: options.language,
            ..StereoOptions::new(source.on_bad_row)
        };
        let (items, report) = load_stereoset(&source.file(&options.path), &wanted)?;
        source.note(&options.path, &report);
        let set = |category: &String| {
            let of = items.iter().filter(|i| &i.category == category).cloned();
            let items = of.take(options.limit.unwrap_or(usize::MAX)).collect();
            ItemSet::of(category, options.language, items)
        };
        Ok(source.categories.iter().map(set).collect())
    }

    fn texts(items: &[StereoItem]) -> Vec<String> {
        items.iter().flat_map(three).collect()
    }

    fn ask(items: &[StereoItem], model: &Model) -> Result<Ask, TaskError> {
        if !model.geometry.causal {
            return masked(items, model);
        }
        let (mut sequences, mut parts) = (Vec::new(), Vec::new());
        for sentence in items.iter().flat_map(three) {
            let whole = model.sequence(&sentence)?;
            parts.push(add_sentence(&mut sequences, whole, START));
        }
        Ok(Ask::next(sequences, parts))
    }

    fn judge(
        items: &[StereoItem],
        answers: &Answers,
        to: &Judging,
    ) -> Result<Judgement, TaskError> {
        let (scorer, name) = match to.causal {
            true => (Scorer::Generative(START), "generative"),
            false => (Scorer::Masked, "masked"),
        };
        let score = |part| scorer.score(&answers.of(part)).map(|score| score.value);
        let values = (0..answers.len())
            .map(score)
            .collect::<Result<Vec<f64>, _>>()?;
        let terms = numbered(items.iter().map(|i| i.target.as_str()));
        let item = |(v, &term): (&[f64], &usize)| Item {
            stereotype: v[0],
            antistereotype: v[1],
            unrelated: v[2],
            term,
        };
        let judged: Vec<Item> = values.chunks_exact(3).zip(&terms).map(item).collect();
        let found = scores(&judged, &to.bootstrap)?;
        let numbers = [
            ("stereoset_ss", found.ss),
            ("stereoset_lms", found.lms),
            ("stereoset_icat", found.icat),
            ("stereoset_gap", found.gap),
            ("stereoset_related_gap", found.related_gap),
        ];
        let numbers = numbers.map(|(metric, estimate)| Number::new(metric, name, estimate));
        Ok(Judgement::from(numbers.to_vec()))
    }
}

fn three(item: &StereoItem) -> [String; 3] {
    let s = &item.sentences;
    [&s.stereotype, &s.antistereotype, &s.unrelated].map(String::clone)
}

/// A masked model's inputs for the three fillings of every item.
fn masked(items: &[StereoItem], model: &Model) -> Result<Ask, TaskError> {
    let mask = mask_token(model)?;
    let tokenizer = &model.tokenizer;
    let written = tokenizer.decode(&[mask]).unwrap_or_default();
    let (mut queries, mut parts) = (Vec::new(), Vec::<Range<usize>>::new());
    for item in items {
        let refused = |problem: String| TaskError::Item {
            item: item.id.clone(),
            problem,
        };
        let Some(fills) = &item.fills else {
            return Err(refused(
                "it has no fillings, so it is no intrasentence item".into(),
            ));
        };
        let open = model.sequence(&item.context.replace("BLANK", &written))?;
        let Some(at) = open.tokens.iter().position(|&t| t == mask) else {
            return Err(refused(format!(
                "the tokenizer does not read `{written}` as its mask token"
            )));
        };
        for fill in [&fills.stereotype, &fills.antistereotype, &fills.unrelated] {
            let ids = tokenizer.encode(fill)?;
            let first = queries.len();
            let (before, after) = (&open.tokens[..at], &open.tokens[at + 1..]);
            for filling in fillings(before, &ids, after, mask) {
                let token = ids[filling.mask - at];
                let whole = Sequence {
                    tokens: filling.ids,
                    ..open.clone()
                };
                queries.push(Query {
                    predictions: vec![(filling.mask, token)],
                    roles: model.roles(&whole),
                    tokens: whole.tokens,
                });
            }
            parts.push(first..queries.len());
        }
    }
    Ok(Ask::places(queries, parts))
}
