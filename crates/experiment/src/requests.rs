//! Makes the requests of a scoring pass to the model, and computes sentence scores from the answers.

use interlingua_data::{BiasPair, Direction};
use interlingua_metrics::crows::{self, Masked, Reads, Scorer};
use interlingua_models::engine::{Branch, Comparison, LogProbs, compare, token_log_probs};
use interlingua_models::masked::{MaskRequest, masked_compare, masked_log_probs};
use interlingua_models::{Model, ModelError, Sequence};
use interlingua_tasks::add_sentence;

use serde::{Deserialize, Serialize};

use crate::ExperimentError;

/// For every pair, the score and the number of tokens of `more` and of `less`; `None` for a pair that the scorer
/// leaves out.
pub type PairScores = Vec<Option<[(f64, u32); 2]>>;

/// A held-out sentence under one setting, summed over its tokens. For a masked model every token is masked alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Neutral {
    /// The log-likelihood, in nats.
    pub log_prob: f64,
    /// The number of tokens.
    pub tokens: u32,
    /// The divergence KL(unedited ‖ edited) of the predictions, summed over tokens, in nats.
    pub divergence: f64,
    /// The number of tokens for which both models have the same most likely token.
    pub agreeing: u32,
}

/// All requests of one scoring pass: what each scorer needs for each pair.
pub struct Requests<'a> {
    model: &'a Model,
    scorers: Vec<&'static Scorer>,
    asked: Asked,
    /// `[scorer][pair][more, less]`: places of the requests whose answers are joined; `None` for a
    /// pair that the scorer leaves out.
    places: Vec<Vec<Option<[Vec<usize>; 2]>>>,
}

/// Requests, by the kind of the model.
enum Asked {
    /// Every token from those before it.
    Next(Vec<Sequence>),
    /// Some tokens, each masked alone.
    Masked(Vec<MaskRequest>),
}

impl<'a> Requests<'a> {
    /// Makes an empty list of requests for these scorers.
    pub fn new(model: &'a Model, scorers: &[String]) -> Result<Requests<'a>, ExperimentError> {
        check_scorers(scorers, model.geometry.causal)?;
        let scorers = scorers
            .iter()
            .map(|name| by_name(name))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Requests {
            model,
            places: vec![Vec::new(); scorers.len()],
            scorers,
            asked: if model.geometry.causal {
                Asked::Next(Vec::new())
            } else {
                Asked::Masked(Vec::new())
            },
        })
    }

    /// Adds what the scorers need for pairs.
    pub fn add_pairs(&mut self, pairs: &[&BiasPair]) -> Result<(), ExperimentError> {
        for (scorer, places) in self.scorers.iter().zip(&mut self.places) {
            for pair in pairs {
                let more = self.model.sequence(&pair.more)?;
                let less = self.model.sequence(&pair.less)?;
                // Comparing tokens takes time by the square of their number.
                let (longest, most) = (
                    more.tokens.len().max(less.tokens.len()),
                    self.model.max_tokens(),
                );
                if longest > most {
                    return Err(ExperimentError::plan(
                        "data.pairs",
                        format!(
                            "pair `{}` in {} has {longest} tokens, the model takes {most}; take it out of the file",
                            pair.id, pair.language
                        ),
                    ));
                }
                if matches!(scorer.reads, Reads::Next(_)) && more.context == 0 {
                    return Err(ExperimentError::plan(
                        "model",
                        "it has neither a start nor an end token (bos_token, eos_token), so a sentence's first token \
                         has no probability",
                    ));
                }
                places.push(match (scorer.reads, &mut self.asked) {
                    (Reads::Next(start), Asked::Next(sequences)) => Some(
                        [more, less]
                            .map(|sequence| add_sentence(sequences, sequence, start).collect()),
                    ),
                    (Reads::Masked(masked), Asked::Masked(requests)) => {
                        add_masked(requests, more, less, masked, pair.direction)
                    }
                    _ => unreachable!("scorers were checked against the model"),
                });
            }
        }
        Ok(())
    }

    /// Returns the number of tokens of all requests; for a masked model, of one copy of each sentence.
    pub fn tokens(&self) -> usize {
        match &self.asked {
            Asked::Next(sequences) => sequences.iter().map(|s| s.tokens.len()).sum(),
            Asked::Masked(requests) => requests.iter().map(|r| r.sequence.tokens.len()).sum(),
        }
    }

    /// Runs the model. The result is indexed `[branch][request]`.
    pub fn log_probs(
        &self,
        branches: &[Branch<'_>],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<LogProbs>, ModelError> {
        match &self.asked {
            Asked::Next(sequences) => token_log_probs(self.model, sequences, branches, progress),
            Asked::Masked(requests) => masked_log_probs(self.model, requests, branches, progress),
        }
    }

    /// Computes the scores of all pairs, by scorer, from the answers of one branch.
    pub fn pair_scores(&self, log_probs: &LogProbs) -> Result<Vec<PairScores>, ExperimentError> {
        let mut out = Vec::new();
        for (scorer, of_pairs) in self.scorers.iter().zip(&self.places) {
            let mut scores = Vec::with_capacity(of_pairs.len());
            for sides in of_pairs {
                let Some(sides) = sides else {
                    scores.push(None);
                    continue;
                };
                let mut pair = [(0.0, 0); 2];
                for (slot, side) in pair.iter_mut().zip(sides) {
                    let joined: Vec<f32> = side
                        .iter()
                        .flat_map(|&at| log_probs[at].iter().copied())
                        .collect();
                    let score = scorer
                        .score(&joined)
                        .map_err(ExperimentError::metric("a sentence score"))?;
                    *slot = (score.value, score.tokens as u32);
                }
                scores.push(Some(pair));
            }
            out.push(scores);
        }
        Ok(out)
    }
}

/// Compares every branch with the unedited model on texts. The result is indexed `[branch][text]`.
///
/// # Errors
/// Texts that the model cannot take, and whatever stops the pass.
pub fn compare_texts(
    model: &Model,
    texts: &[String],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<Neutral>>, ExperimentError> {
    let sequences = texts
        .iter()
        .map(|text| model.sequence(text))
        .collect::<Result<Vec<_>, _>>()?;
    let found = if model.geometry.causal {
        compare(model, &sequences, branches, progress)?
    } else {
        let requests: Vec<MaskRequest> = sequences.into_iter().map(MaskRequest::text).collect();
        masked_compare(model, &requests, branches, progress)?
    };
    let sum = |tokens: &Vec<Comparison>| Neutral {
        log_prob: tokens.iter().map(|t| f64::from(t.log_prob)).sum(),
        tokens: tokens.len() as u32,
        divergence: tokens.iter().map(|t| f64::from(t.kl)).sum(),
        agreeing: tokens.iter().filter(|t| t.agree).count() as u32,
    };
    Ok(found
        .iter()
        .map(|texts| texts.iter().map(sum).collect())
        .collect())
}

/// Places of the two requests that a masked scorer needs of one pair.
fn add_masked(
    requests: &mut Vec<MaskRequest>,
    more: Sequence,
    less: Sequence,
    masked: Masked,
    label: Direction,
) -> Option<[Vec<usize>; 2]> {
    let places = masked.places(&more.tokens, &less.tokens, direction(label))?;
    let first = requests.len();
    for (sequence, places) in [more, less].into_iter().zip(places) {
        requests.push(MaskRequest { sequence, places });
    }
    Some([vec![first], vec![first + 1]])
}

/// Converts the label of a pair to the type of the metrics crate.
pub fn direction(direction: Direction) -> crows::Direction {
    match direction {
        Direction::Stereo => crows::Direction::Stereo,
        Direction::Antistereo => crows::Direction::Antistereo,
    }
}

fn by_name(name: &str) -> Result<&'static Scorer, ExperimentError> {
    crows::by_name(name).map_err(|e| ExperimentError::plan("score.scorers", e.to_string()))
}

/// Refuses scorers that are for the other kind of model.
///
/// # Errors
/// A scorer that does not fit; the error lists those that do.
pub fn check_scorers(scorers: &[String], causal: bool) -> Result<(), ExperimentError> {
    let kind = if causal { "causal" } else { "masked" };
    for name in scorers {
        let reads = by_name(name)?.reads.kind();
        if reads != kind {
            let fit: Vec<&str> = crows::SCORERS
                .iter()
                .filter(|s| s.reads.kind() == kind)
                .map(|s| s.name)
                .collect();
            return Err(ExperimentError::plan(
                "score.scorers",
                format!(
                    "`{name}` is for {reads} models, this one is {kind}; those that fit: {}",
                    fit.join(", ")
                ),
            ));
        }
    }
    Ok(())
}
