//! BBQ and MBBQ: questions about two people that are answered with one of them or with "unknown".

use interlingua_data::{self as data, BbqOptions, Language, Question, load_bbq, load_prompts};
use interlingua_metrics::bbq::{self, Context, Polarity, Response};
use interlingua_metrics::bootstrap::Estimate;
use interlingua_models::{Model, Sequence};
use serde::{Deserialize, Serialize};

use crate::source::check_limit;
use crate::{
    About, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task, TaskError,
    numbered,
};

/// The prompts of this project.
const OWN: &str = "datasets/prompts/bbq.toml";
/// What a prompt has places for.
const PLACES: [&str; 2] = ["context", "question"];

/// The task of BBQ and MBBQ: questions about two people, with an optional control set.
pub struct Bbq;

/// The options that a user sets for this task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file or folder of the questions.
    pub path: String,
    /// The file or folder of the control questions, which name no group.
    #[serde(default)]
    pub control: Option<String>,
    /// The language of the questions.
    pub language: Language,
    /// The bias category that the questions are about.
    pub category: String,
    /// Name of the prompt that the questions are put in, in their language; nothing for context and question alone.
    #[serde(default)]
    pub prompt: Option<String>,
    /// The file of prompts; nothing for those of this project.
    #[serde(default)]
    pub prompts: Option<String>,
    /// The most questions to use; the templates that are used are used completely.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A question with the way that it is asked in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The question.
    #[serde(flatten)]
    pub question: Question,
    /// Context and question in a prompt, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

impl Item {
    /// What stands before the answer.
    fn given(&self) -> String {
        let Question {
            context, question, ..
        } = &self.question;
        let alone = || format!("{context} {question}");
        self.asked.clone().unwrap_or_else(alone)
    }
}

impl Task for Bbq {
    type Options = Options;
    type Item = Item;

    const ABOUT: About = About {
        name: "bbq",
        title: "BBQ",
        summary: "Measures which of three answers a model finds most likely after a context and a question, with and without the information that decides it.",
        citation: "Parrish et al. 2022, arXiv 2110.08193; Neplenbroek et al. 2024, arXiv 2406.07243",
        asks: "the probability of an answer after its question",
        needs: Needs::Causal,
        metrics: &[
            "bbq_accuracy_ambiguous",
            "bbq_accuracy_disambiguated",
            "bbq_bias_ambiguous",
            "bbq_bias_disambiguated",
            "mbbq_bias_ambiguous",
            "mbbq_bias_disambiguated",
            "bbq_gap_ambiguous",
            "bbq_gap_disambiguated",
            "mbbq_accuracy_against_control",
        ],
        page: "metrics/bbq.md",
    };

    fn files(options: &Options) -> Vec<&String> {
        std::iter::once(&options.path)
            .chain(&options.control)
            .chain(&options.prompts)
            .collect()
    }

    fn check(options: &Options) -> Result<(), TaskError> {
        check_limit(options.limit)
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<Item>>>, TaskError> {
        let wanted = BbqOptions {
            language: Some(options.language),
            limit: options.limit,
            ..BbqOptions::new(source.on_bad_row)
        };
        let prompt = match &options.prompt {
            Some(name) => Some(prompt(options, name, source)?),
            None => None,
        };
        let mut items = Vec::new();
        for file in std::iter::once(&options.path).chain(&options.control) {
            let (found, report) = load_bbq(&source.file(file), &wanted)?;
            source.note(file, &report);
            items.extend(found.into_iter().map(|question| Item {
                asked: prompt.as_ref().map(|prompt| {
                    let values = [
                        ("context", question.context.as_str()),
                        ("question", question.question.as_str()),
                    ];
                    prompt.filled(&values)
                }),
                question,
            }));
        }
        let set = ItemSet::of(&options.category, options.language, items);
        Ok(vec![ItemSet {
            name: options.prompt.as_ref().map(|name| format!("bbq-{name}")),
            ..set
        }])
    }

    fn texts(items: &[Item]) -> Vec<String> {
        // One answer after its question stands for three.
        let text = |item: &Item| format!("{} {}", item.given(), item.question.answers.join(" "));
        items.iter().map(text).collect()
    }

    fn ask(items: &[Item], model: &Model) -> Result<Ask, TaskError> {
        let mut sequences = Vec::with_capacity(3 * items.len());
        for item in items {
            let prompt = model.sequence(&item.given())?;
            for answer in &item.question.answers {
                let answer = model.tokenizer.encode(&format!(" {answer}"))?;
                // Context and question are given; the answer alone is scored.
                let given = prompt.tokens.len();
                sequences.push(Sequence::new([&prompt.tokens[..], &answer].concat(), given));
            }
        }
        let parts = (0..sequences.len()).map(|at| at..at + 1).collect();
        Ok(Ask::next(sequences, parts))
    }

    fn judge(items: &[Item], answers: &Answers, to: &Judging) -> Result<Judgement, TaskError> {
        let templates = numbered(items.iter().map(|i| i.question.question_index.as_str()));
        let (mut asked, mut control) = (Vec::new(), Vec::new());
        for (at, (Item { question, .. }, &template)) in items.iter().zip(&templates).enumerate() {
            let response = [0, 1, 2].map(|of: usize| answers.total(3 * at + of));
            let judged = judged(question, template, response);
            match question.control {
                true => &mut control,
                false => &mut asked,
            }
            .push(judged);
        }
        let scores = bbq::scores(&asked, &to.bootstrap)?;
        let mut numbers = vec![
            ("bbq_accuracy_ambiguous", scores.accuracy_ambiguous),
            ("bbq_accuracy_disambiguated", scores.accuracy_disambiguated),
            ("bbq_bias_ambiguous", scores.bias_ambiguous),
            ("bbq_bias_disambiguated", scores.bias_disambiguated),
            ("mbbq_bias_ambiguous", scores.mbbq_bias_ambiguous),
            ("mbbq_bias_disambiguated", scores.mbbq_bias_disambiguated),
            ("bbq_gap_ambiguous", scores.gap_ambiguous),
            ("bbq_gap_disambiguated", scores.gap_disambiguated),
        ];
        if !control.is_empty() {
            let context = Context::Disambiguated;
            let against = bbq::accuracy_against_control(&asked, &control, context, &to.bootstrap)?;
            numbers.push(("mbbq_accuracy_against_control", Some(against)));
        }
        let number = |(metric, estimate): (&'static str, Option<Estimate>)| {
            Some(Number::new(metric, "answer log-likelihood", estimate?))
        };
        let numbers: Vec<Number> = numbers.into_iter().filter_map(number).collect();
        Ok(Judgement::from(numbers))
    }
}

/// The prompt of this name in the language of the questions.
fn prompt(options: &Options, name: &str, source: &Source<'_>) -> Result<data::Prompt, TaskError> {
    let file = source.file(options.prompts.as_deref().unwrap_or(OWN));
    let mut prompts = load_prompts(&file, &PLACES)?;
    prompts.retain(|prompt| prompt.language == options.language);
    let names: Vec<String> = prompts.iter().map(|prompt| prompt.name.clone()).collect();
    let found = prompts.into_iter().find(|prompt| prompt.name == name);
    found.ok_or_else(|| {
        let known = match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        };
        let problem = format!(
            "there is no `{name}` in {}; there are {known}",
            options.language
        );
        TaskError::options("prompt", problem)
    })
}

fn judged(question: &Question, template: usize, response: [f64; 3]) -> bbq::Question {
    bbq::Question {
        context: match question.condition {
            data::Condition::Ambiguous => Context::Ambiguous,
            data::Condition::Disambiguated => Context::Disambiguated,
        },
        polarity: match question.polarity {
            data::Polarity::Negative => Polarity::Negative,
            data::Polarity::NonNegative => Polarity::NonNegative,
        },
        gold: question.label,
        unknown: question.unknown,
        target: question.stereotyped,
        template,
        response: Response::LogLikelihoods(response),
    }
}
