//! The questions of a task to a model, which are answered in one pass over all items and all branches.

use std::ops::Range;
use std::path::PathBuf;

use interlingua_metrics::crows::StartToken;
use interlingua_models::classify::Classifier;
use interlingua_models::engine::{
    Lens, LogProbs, Seen, capture_branches, query_log_probs, token_log_probs,
};
use interlingua_models::generate::{self, Choice, Generated};
use interlingua_models::masked::{MaskRequest, masked_log_probs};
use interlingua_models::pack::Query;
use interlingua_models::{Branch, Capture, Hook, Model, ModelError, Pooling, Residency, Sequence};
use serde::{Deserialize, Serialize};

use crate::TaskError;

/// The requests to a model, and the grouping of these requests into parts. A part is one candidate or one sentence of
/// an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    requests: Requests,
    /// For each part the requests whose answers are joined.
    parts: Vec<Range<usize>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requests {
    /// Every token of a sequence after what is given, each from those before it.
    Next(Vec<Sequence>),
    /// Some tokens of a sequence, each masked alone.
    Masked(Vec<MaskRequest>),
    /// Tokens at places that the task chose.
    Places(Vec<Query>),
    /// The mean of the states of a sequence's text at the final norm.
    States(Vec<Sequence>),
    /// What the head would say on the way, and a number for each token of the vocabulary.
    Lens(Lens, Vec<Sequence>, Vec<i32>),
    /// Text after prompts, of so many tokens, and what classifies it.
    Written(Vec<Sequence>, usize, Option<Judge>),
}

/// A classifier of texts, and the label that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judge {
    /// The folder of the checkpoint.
    pub folder: PathBuf,
    /// The digest of its files.
    pub digest: String,
    /// The label.
    pub label: String,
}

/// The text that a model wrote after a prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Written {
    /// The text, without the prompt.
    pub text: String,
    /// What the classifier says of it, if there is one.
    pub label: Option<Label>,
}

/// What a classifier says of a text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Label {
    /// The probability of the label that was asked for.
    pub probability: f64,
    /// Whether the text was cut, because the classifier does not take so many tokens.
    pub cut: bool,
}

/// The number of texts that are written side by side.
const SIDE_BY_SIDE: usize = 16;

impl Ask {
    /// Asks for the log-probabilities of all tokens of each text; a masked model gets each token masked alone. A part
    /// is a text.
    ///
    /// # Errors
    /// A text that the tokenizer cannot read.
    pub fn texts<'t>(
        model: &Model,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<Ask, TaskError> {
        let sequences = sequences(model, texts)?;
        let parts = one_each(sequences.len());
        let requests = match model.geometry.causal {
            true => Requests::Next(sequences),
            false => Requests::Masked(sequences.into_iter().map(MaskRequest::text).collect()),
        };
        Ok(Ask { requests, parts })
    }

    /// Asks for the log-probabilities of the tokens after the prompt of each sequence, each token given those before
    /// it.
    ///
    /// # Shapes
    /// `parts` are ranges of `sequences`.
    pub fn next(sequences: Vec<Sequence>, parts: Vec<Range<usize>>) -> Ask {
        Ask {
            requests: Requests::Next(sequences),
            parts,
        }
    }

    /// Asks for the log-probabilities of some tokens, each masked alone. A part is a request.
    pub fn masked(requests: Vec<MaskRequest>) -> Ask {
        Ask {
            parts: one_each(requests.len()),
            requests: Requests::Masked(requests),
        }
    }

    /// Asks for the log-probabilities of tokens at positions that the task chooses.
    ///
    /// # Shapes
    /// `parts` are ranges of `queries`.
    pub fn places(queries: Vec<Query>, parts: Vec<Range<usize>>) -> Ask {
        Ask {
            requests: Requests::Places(queries),
            parts,
        }
    }

    /// Asks for the mean of each text's states at the final norm, without its special tokens. A part is a text.
    ///
    /// # Errors
    /// A text that the tokenizer cannot read.
    pub fn states<'t>(
        model: &Model,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<Ask, TaskError> {
        let sequences = sequences(model, texts)?;
        Ok(Ask {
            parts: one_each(sequences.len()),
            requests: Requests::States(sequences),
        })
    }

    /// What the head would say of the tokens of sequences after what is given, at the hook points of a lens. A part is a sequence.
    ///
    /// # Shapes
    /// `of_token`: a number for each token of the vocabulary. An answer has three numbers for each hook point: the sum of the tokens'
    /// log-probabilities, the rank of the first token from 1, and the number of the token that is likeliest in its place.
    pub fn lens(lens: Lens, sequences: Vec<Sequence>, of_token: Vec<i32>) -> Ask {
        Ask {
            parts: one_each(sequences.len()),
            requests: Requests::Lens(lens, sequences, of_token),
        }
    }

    /// Asks for the text that the model writes after each prompt, the likeliest token at every step, and for what a classifier says of
    /// it. A part is a prompt.
    pub fn written(prompts: Vec<Sequence>, tokens: usize, judge: Option<Judge>) -> Ask {
        Ask {
            parts: one_each(prompts.len()),
            requests: Requests::Written(prompts, tokens, judge),
        }
    }

    /// Puts all requests to the model, in one pass for all branches. The result has one entry for each branch.
    ///
    /// # Errors
    /// Weights that cannot be read, a sequence that the model cannot take, a model of another kind, or results that
    /// are not finite.
    pub fn put(
        &self,
        model: &Model,
        branches: &[Branch<'_>],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Answers>, ModelError> {
        let found = match &self.requests {
            Requests::Next(sequences) => token_log_probs(model, sequences, branches, progress)?,
            Requests::Masked(requests) => masked_log_probs(model, requests, branches, progress)?,
            Requests::Places(queries) => query_log_probs(model, queries, branches, progress)?,
            Requests::States(sequences) => {
                return states(model, sequences, branches, &self.parts, progress);
            }
            Requests::Written(prompts, tokens, judge) => {
                let write = |(at, branch): (usize, &Branch<'_>)| {
                    let before = at * prompts.len() * tokens;
                    let all = branches.len() * prompts.len() * tokens;
                    write(model, prompts, *tokens, branch, &mut |done, _| {
                        progress(before + done, all);
                    })
                };
                let written = branches.iter().enumerate().map(write);
                let mut written = written.collect::<Result<Vec<_>, _>>()?;
                if let Some(judge) = judge {
                    judge.classify(model, written.iter_mut().flatten())?;
                }
                let answers = |written| Answers {
                    found: vec![Vec::new(); prompts.len()],
                    parts: self.parts.clone(),
                    written,
                };
                return Ok(written.into_iter().map(answers).collect());
            }
            Requests::Lens(lens, sequences, of_token) => {
                let seen = lens.read(model, sequences, branches, progress)?;
                seen.iter().map(|hooks| seen_by(hooks, of_token)).collect()
            }
        };
        let answers = |found: LogProbs| Answers {
            found,
            parts: self.parts.clone(),
            written: Vec::new(),
        };
        Ok(found.into_iter().map(answers).collect())
    }
}

/// The text that a model writes under one branch.
fn write(
    model: &Model,
    prompts: &[Sequence],
    tokens: usize,
    branch: &Branch<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Written>, ModelError> {
    let options = generate::Options {
        choice: Choice::Greedy,
        new_tokens: tokens,
        stop: model.end_tokens()?,
        batch: SIDE_BY_SIDE,
    };
    let generated = generate::generate(model, prompts, branch, &options, progress)?;
    let written = |(prompt, generated): (&Sequence, &Generated)| {
        Ok(Written {
            text: generated.text(model, prompt)?,
            label: None,
        })
    };
    prompts.iter().zip(&generated).map(written).collect()
}

impl Judge {
    /// Classifies texts, on the device of the model that wrote them.
    fn classify<'w>(
        &self,
        model: &Model,
        written: impl Iterator<Item = &'w mut Written>,
    ) -> Result<(), ModelError> {
        let classifier = Classifier::open(&self.folder, &model.device, Residency::Auto)?;
        if classifier.digest()?.to_hex().to_string() != self.digest {
            return Err(ModelError::Changed {
                folder: self.folder.clone(),
            });
        }
        let label = classifier.label(&self.label)?;
        let written: Vec<&mut Written> = written.collect();
        let texts: Vec<String> = written.iter().map(|w| w.text.clone()).collect();
        let verdicts = classifier.classify(&texts, &mut |_, _| {})?;
        for (written, verdict) in written.into_iter().zip(verdicts) {
            written.label = Some(Label {
                probability: verdict.probabilities[label],
                cut: verdict.cut,
            });
        }
        Ok(())
    }
}

/// What is kept of a lens under one branch, by sequence.
fn seen_by(hooks: &[Vec<Vec<Seen>>], of_token: &[i32]) -> LogProbs {
    let sequences = hooks.first().map_or(0, Vec::len);
    let at = |hook: &Vec<Vec<Seen>>, sequence: usize| {
        let seen = &hook[sequence];
        let sum: f64 = seen.iter().map(|s| f64::from(s.log_prob)).sum();
        let first = seen.first();
        [
            sum as f32,
            first.map_or(0.0, |s| s.rank as f32),
            first.map_or(0.0, |s| of_token[s.likeliest as usize] as f32),
        ]
    };
    let of = |sequence| hooks.iter().flat_map(|hook| at(hook, sequence)).collect();
    (0..sequences).map(of).collect()
}

fn sequences<'t>(
    model: &Model,
    texts: impl Iterator<Item = &'t str>,
) -> Result<Vec<Sequence>, ModelError> {
    texts.map(|text| model.sequence(text)).collect()
}

fn one_each(parts: usize) -> Vec<Range<usize>> {
    (0..parts).map(|at| at..at + 1).collect()
}

fn states(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
    parts: &[Range<usize>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Answers>, ModelError> {
    let mut found = vec![vec![Vec::new(); sequences.len()]; branches.len()];
    capture_branches(
        model,
        sequences,
        branches,
        &[Capture {
            hook: Hook::FINAL_NORM,
            pooling: Pooling::Mean,
        }],
        &mut |branch, _, sequence, rows| {
            found[branch][sequence] = rows.to_vec();
            Ok(())
        },
        progress,
    )?;
    let answers = |found| Answers {
        found,
        parts: parts.to_vec(),
        written: Vec::new(),
    };
    Ok(found.into_iter().map(answers).collect())
}

/// The answers of a model under one branch.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// Of each request: log-probabilities of its tokens in nats, or the numbers of its state.
    found: LogProbs,
    parts: Vec<Range<usize>>,
    /// Of each part, the text that was written; empty if nothing was.
    written: Vec<Written>,
}

impl Answers {
    /// Returns the number of parts.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns the values of a part, those of all its requests one after another: log-probabilities in nats, or a
    /// hidden state.
    pub fn of(&self, part: usize) -> Vec<f32> {
        self.found[self.parts[part].clone()].concat()
    }

    /// Returns the text that was written after each prompt; empty if none was asked for.
    pub fn written(&self) -> &[Written] {
        &self.written
    }

    /// Returns the log-probability of a part in nats, which is the sum over its tokens.
    pub fn total(&self, part: usize) -> f64 {
        let requests = &self.found[self.parts[part].clone()];
        requests.iter().flatten().map(|&x| f64::from(x)).sum()
    }
}

/// Adds the requests that a causal scorer needs for one sentence, and returns their positions.
pub fn add_sentence(
    sequences: &mut Vec<Sequence>,
    whole: Sequence,
    start: StartToken,
) -> Range<usize> {
    let first = sequences.len();
    match start {
        StartToken::BeforeAll => sequences.push(whole),
        StartToken::FirstTokenOnly => {
            let start = whole.context;
            let end = (start + 1).min(whole.tokens.len());
            sequences.push(Sequence::new(whole.tokens[..end].to_vec(), start));
            sequences.push(Sequence::new(whole.tokens[start..].to_vec(), 1));
        }
    }
    first..sequences.len()
}
