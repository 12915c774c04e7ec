//! BBQ and MBBQ: questions about two people that are answered with one of them or with "unknown".

use interlingua_data::{self as data, BbqOptions, Language, Question, load_bbq};
use interlingua_metrics::bbq::{self, Context, Polarity, Response};
use interlingua_metrics::bootstrap::Estimate;
use interlingua_models::{Model, Sequence};
use serde::{Deserialize, Serialize};

use crate::source::check_limit;
use crate::{
    About, Answers, Ask, ItemSet, Judgement, Judging, Needs, Number, Source, Task, TaskError,
    numbered,
};

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
    /// The most questions to use; the templates that are used are used completely.
    #[serde(default)]
    pub limit: Option<usize>,
}

impl Task for Bbq {
    type Options = Options;
    type Item = Question;

    const ABOUT: About = About {
        name: "bbq",
        title: "BBQ",
        summary: "Which of three answers a model finds likeliest after a context and a question, with and without what decides it.",
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
            .collect()
    }

    fn check(options: &Options) -> Result<(), TaskError> {
        check_limit(options.limit)
    }

    fn load(
        options: &Options,
        source: &mut Source<'_>,
    ) -> Result<Vec<ItemSet<Vec<Question>>>, TaskError> {
        let wanted = BbqOptions {
            language: Some(options.language),
            limit: options.limit,
            ..BbqOptions::new(source.on_bad_row)
        };
        let mut questions = Vec::new();
        for file in Bbq::files(options) {
            let (found, report) = load_bbq(&source.file(file), &wanted)?;
            source.note(file, &report);
            questions.extend(found);
        }
        let set = ItemSet::of(&options.category, options.language, questions);
        Ok(vec![set])
    }

    fn texts(questions: &[Question]) -> Vec<String> {
        // One answer after its question stands for three.
        let text = |q: &Question| format!("{} {} {}", q.context, q.question, q.answers.join(" "));
        questions.iter().map(text).collect()
    }

    fn ask(questions: &[Question], model: &Model) -> Result<Ask, TaskError> {
        let mut sequences = Vec::with_capacity(3 * questions.len());
        for question in questions {
            let prompt = model.sequence(&format!("{} {}", question.context, question.question))?;
            for answer in &question.answers {
                let answer = model.tokenizer.encode(&format!(" {answer}"))?;
                // Context and question are given; the answer alone is scored.
                let given = prompt.tokens.len();
                sequences.push(Sequence::new([&prompt.tokens[..], &answer].concat(), given));
            }
        }
        let parts = (0..sequences.len()).map(|at| at..at + 1).collect();
        Ok(Ask::next(sequences, parts))
    }

    fn judge(
        questions: &[Question],
        answers: &Answers,
        to: &Judging,
    ) -> Result<Judgement, TaskError> {
        let templates = numbered(questions.iter().map(|q| q.question_index.as_str()));
        let (mut asked, mut control) = (Vec::new(), Vec::new());
        for (at, (question, &template)) in questions.iter().zip(&templates).enumerate() {
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
