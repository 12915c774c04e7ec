//! Evaluates many candidates in one pass over the weights, and summarises the answers.

use interlingua_metrics::bootstrap::{self, Bootstrap, Interval};
use interlingua_metrics::joint::{Draws, Resampled};
use interlingua_models::engine::{compare, token_log_probs};
use interlingua_models::intervene::Steps;
use interlingua_models::{Branch, Model, Sequence};
use serde::{Deserialize, Serialize};

use crate::TuneError;
use crate::text::{Half, Pair};

/// The effect of a candidate on a neutral sentence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The divergence KL(unedited ‖ edited) of the predictions, summed over tokens, in nats.
    pub kl: f64,
    /// The log-likelihood, in nats.
    pub log_prob: f64,
    /// The number of tokens.
    pub tokens: u32,
}

/// The answers of the model under one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// The log-likelihood of the stereotyped sentence minus that of its counterpart in nats, one number per pair of a
    /// half.
    pub pairs: Vec<f64>,
    /// The neutral sentences, indexed `[language][sentence]`.
    pub neutral: Vec<Vec<Cost>>,
}

/// Asks the model the items of a half under every candidate.
///
/// The result has one [`Answers`] per intervention, in their order. `progress` is called with the number of sentences
/// that are done and the number of all.
///
/// # Errors
/// A sentence that the model cannot take, and whatever stops the pass.
pub fn ask(
    model: &Model,
    half: &Half,
    candidates: &[Steps],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Answers>, TuneError> {
    let branches: Vec<Branch<'_>> = candidates.iter().map(Steps::branch).collect();
    let sequences = |texts: &mut dyn Iterator<Item = &String>| -> Result<Vec<Sequence>, TuneError> {
        Ok(texts
            .map(|text| model.sequence(text))
            .collect::<Result<_, _>>()?)
    };
    let pairs = sequences(&mut half.pairs.iter().flat_map(|pair| &pair.sentences))?;
    let neutral = sequences(&mut half.neutral.iter().flatten())?;
    let all = pairs.len() + neutral.len();
    let mut of_pairs = |done: usize, total: usize| progress(done * pairs.len() / total.max(1), all);
    let scores = token_log_probs(model, &pairs, &branches, &mut of_pairs)?;
    let mut of_neutral = |done: usize, total: usize| {
        progress(pairs.len() + done * neutral.len() / total.max(1), all);
    };
    let costs = compare(model, &neutral, &branches, &mut of_neutral)?;
    let mut all = Vec::with_capacity(candidates.len());
    for (scores, costs) in scores.iter().zip(&costs) {
        let sum = |tokens: &Vec<f32>| tokens.iter().map(|&t| f64::from(t)).sum::<f64>();
        let sums: Vec<f64> = scores.iter().map(sum).collect();
        let mut sentences = costs.iter().map(|tokens| Cost {
            kl: tokens.iter().map(|t| f64::from(t.kl)).sum(),
            log_prob: tokens.iter().map(|t| f64::from(t.log_prob)).sum(),
            tokens: tokens.len() as u32,
        });
        all.push(Answers {
            pairs: sums.chunks_exact(2).map(|pair| pair[0] - pair[1]).collect(),
            neutral: half
                .neutral
                .iter()
                .map(|of| sentences.by_ref().take(of.len()).collect())
                .collect(),
        });
    }
    Ok(all)
}

/// The summary of a candidate's answers in one language.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InLanguage {
    /// The mean difference of the pairs that count, in nats, with its sign; 0 if the model prefers neither group.
    pub gap: f64,
    /// The divergence on neutral text, in nats per token.
    pub kl: f64,
    /// The upper end of its one-sided 95 % interval.
    pub kl_bound: f64,
}

/// The summary of a candidate's answers in all languages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The summaries by language.
    pub languages: Vec<InLanguage>,
}

impl Summary {
    /// Computes the summary of answers.
    ///
    /// # Errors
    /// Numbers that are not finite.
    pub fn of(answers: &Answers, half: &Half, seed: u64) -> Result<Summary, TuneError> {
        let mut languages = Vec::new();
        for (language, costs) in answers.neutral.iter().enumerate() {
            let of_language = half.pairs.iter().zip(&answers.pairs);
            let gaps: Vec<f64> = of_language
                .filter(|(pair, _)| pair.language == language && !pair.apart)
                .map(|(_, gap)| *gap)
                .collect();
            let kl = divergence(costs, seed)?;
            languages.push(InLanguage {
                gap: gaps.iter().sum::<f64>() / gaps.len().max(1) as f64,
                kl: kl.value,
                kl_bound: kl.ci_high.unwrap_or(f64::INFINITY),
            });
        }
        Ok(Summary { languages })
    }

    /// Returns the size of the gap in the language where it is largest, which the search minimises.
    pub fn worst_gap(&self) -> f64 {
        self.over(|l| l.gap.abs())
    }

    /// Returns the largest upper bound of the divergence, which must stay within the limit.
    pub fn worst_bound(&self) -> f64 {
        self.over(|l| l.kl_bound)
    }

    fn over(&self, f: impl Fn(&InLanguage) -> f64) -> f64 {
        self.languages.iter().map(f).fold(0.0, f64::max)
    }
}

/// Divergence a token with an interval over sentences whose upper end has a one-sided level of 95 %.
fn divergence(costs: &[Cost], seed: u64) -> Result<bootstrap::Estimate, TuneError> {
    let nats: Vec<f64> = costs.iter().map(|c| c.kl).collect();
    let tokens: Vec<f64> = costs.iter().map(|c| f64::from(c.tokens)).collect();
    let options = Bootstrap {
        level: 0.90,
        interval: Interval::ExpandedBca,
        ..Bootstrap::seeded(seed)
    };
    Ok(bootstrap::ratio(&nats, &tokens, &options)?)
}

/// A number with a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// The number.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Number {
    /// Returns whether the interval excludes 0.
    pub fn is_clear(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} [{:.2}, {:.2}]", self.value, self.low, self.high)
    }
}

/// The results for one language, or for the worst, on the confirming half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The size of the unedited model's gap, in nats.
    pub unedited: Number,
    /// The size of the edited model's gap, in nats.
    pub edited: Number,
    /// The difference edited − unedited; below 0 is better.
    pub difference: Number,
    /// The difference of the edited model from the mean of the random controls; below 0 is better than chance.
    pub against_random: Number,
}

/// Compares the chosen edit with the unedited model and with random controls, on the same resampled attributes. The
/// comparison uses the pairs that count, or those that are reported separately.
///
/// The result is the worst language, followed by every language that has such pairs.
///
/// # Errors
/// Numbers that are not finite.
pub fn compare_gaps(
    half: &Half,
    unedited: &Answers,
    edited: &Answers,
    controls: &[Answers],
    apart: bool,
    seed: u64,
) -> Result<(Comparison, Vec<Option<Comparison>>), TuneError> {
    let options = Bootstrap {
        interval: Interval::ExpandedBca,
        ..Bootstrap::seeded(seed)
    };
    let clusters = half.clusters.len();
    let draws = Draws::new(&[clusters], options)?;
    let of = |language: usize| move |pair: &&Pair| pair.language == language && pair.apart == apart;
    let languages: Vec<usize> = (0..edited.neutral.len())
        .filter(|&language| half.pairs.iter().any(|pair| of(language)(&pair)))
        .collect();
    let all: Vec<&Answers> = [unedited, edited].into_iter().chain(controls).collect();
    // `[setting][language]`: the gap, under every draw.
    let mut gaps: Vec<Vec<Resampled>> = Vec::new();
    for answers in &all {
        let mut of_setting = Vec::new();
        for &language in &languages {
            let mut columns = vec![vec![0.0; clusters]; 2];
            for (pair, gap) in half.pairs.iter().zip(&answers.pairs) {
                if of(language)(&pair) {
                    columns[0][pair.cluster] += gap;
                    columns[1][pair.cluster] += 1.0;
                }
            }
            let sums = draws.sums(0, &columns)?;
            of_setting.push(sums[0].over(&sums[1]).size());
        }
        gaps.push(of_setting);
    }
    let number = |what: &'static str, of: &Resampled| -> Result<Number, TuneError> {
        let estimate = draws.estimate(what, of, clusters)?;
        Ok(Number {
            value: estimate.value,
            low: estimate.ci_low.unwrap_or(f64::NEG_INFINITY),
            high: estimate.ci_high.unwrap_or(f64::INFINITY),
        })
    };
    let comparison = |of: &dyn Fn(&[Resampled]) -> Resampled| -> Result<Comparison, TuneError> {
        let found: Vec<Resampled> = gaps.iter().map(|setting| of(setting)).collect();
        let mut random = draws.zero();
        for control in &found[2..] {
            random.add(control, 1.0 / controls.len().max(1) as f64);
        }
        Ok(Comparison {
            unedited: number("gap of the unedited model", &found[0])?,
            edited: number("gap of the edited model", &found[1])?,
            difference: number(
                "difference from the unedited model",
                &found[1].minus(&found[0]),
            )?,
            against_random: number("difference from random controls", &found[1].minus(&random))?,
        })
    };
    let worst = comparison(&|setting| {
        let parts: Vec<&Resampled> = setting.iter().collect();
        Resampled::combine(&parts, |gaps| gaps.iter().copied().fold(f64::MIN, f64::max))
    })?;
    let mut by_language = vec![None; edited.neutral.len()];
    for (place, &language) in languages.iter().enumerate() {
        by_language[language] = Some(comparison(&|setting: &[Resampled]| setting[place].clone())?);
    }
    Ok((worst, by_language))
}

/// Computes the perplexity of the edited model divided by that of the unedited one, on the neutral text of one
/// language.
///
/// # Errors
/// Numbers that are not finite.
pub fn perplexity_ratio(
    unedited: &[Cost],
    edited: &[Cost],
    seed: u64,
) -> Result<Number, TuneError> {
    let lost = unedited.iter().zip(edited);
    let lost: Vec<f64> = lost.map(|(u, e)| u.log_prob - e.log_prob).collect();
    let tokens: Vec<f64> = edited.iter().map(|c| f64::from(c.tokens)).collect();
    let options = Bootstrap {
        interval: Interval::ExpandedBca,
        ..Bootstrap::seeded(seed)
    };
    let estimate = bootstrap::ratio(&lost, &tokens, &options)?;
    Ok(Number {
        value: estimate.value.exp(),
        low: estimate.ci_low.map_or(0.0, f64::exp),
        high: estimate.ci_high.map_or(f64::INFINITY, f64::exp),
    })
}
