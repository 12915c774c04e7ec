//! Measures how well a model predicts held-out text.

use std::path::Path;

use interlingua_backend::Device;
use interlingua_data::Language;
use interlingua_metrics::bootstrap::{Bootstrap, ratio};
use interlingua_metrics::perplexity::perplexity;
use interlingua_models::engine::{Branch, token_log_probs};
use interlingua_models::{Model, Residency};

use super::record::HeldOut;
use super::spec::PretrainSpec;
use super::text::{Sentence, Text};
use crate::TrainingError;
use crate::progress::Event;

/// The surprisal of one sentence under a model.
pub(super) struct Judged<'a> {
    sentence: &'a Sentence,
    pub nats: f64,
    pub tokens: usize,
}

/// Sentences whose states are held at a time.
const JUDGED_AT_ONCE: usize = 1000;

/// Computes the surprisal of sentences. Sentences that are longer than the model can take, or that have no tokens,
/// are left out.
pub(super) fn judge<'a>(
    model: &Model,
    sentences: &[&'a Sentence],
) -> Result<Vec<Judged<'a>>, TrainingError> {
    let mut judged = Vec::with_capacity(sentences.len());
    for part in sentences.chunks(JUDGED_AT_ONCE) {
        let mut sequences = Vec::with_capacity(part.len());
        let mut kept = Vec::with_capacity(part.len());
        for &sentence in part {
            let sequence = model.sequence(&sentence.text)?;
            let fits = sequence.tokens.len() <= model.max_tokens();
            if fits && sequence.tokens.len() > sequence.context {
                sequences.push(sequence);
                kept.push(sentence);
            }
        }
        let mut branches =
            token_log_probs(model, &sequences, &[Branch::unedited()], &mut |_, _| {})?;
        for (sentence, log_probs) in kept.into_iter().zip(branches.remove(0)) {
            judged.push(Judged {
                sentence,
                nats: -log_probs.iter().map(|&l| f64::from(l)).sum::<f64>(),
                tokens: log_probs.len(),
            });
        }
    }
    Ok(judged)
}

/// Computes the perplexities on all held-out text.
pub(super) fn held_out(
    spec: &PretrainSpec,
    text: &Text,
    folder: &Path,
    device: &Device,
    listener: &mut dyn FnMut(Event),
) -> Result<Vec<HeldOut>, TrainingError> {
    let model = Model::open(folder, device, Residency::Auto)?;
    let languages = spec.languages();
    let mut result = Vec::new();
    for (at, &language) in languages.iter().enumerate() {
        let sentences: Vec<&Sentence> = text
            .held_out
            .iter()
            .filter(|s| s.language == language)
            .collect();
        let judged = judge(&model, &sentences)?;
        let all: Vec<&Judged<'_>> = judged.iter().collect();
        result.push(summary(spec, None, language, &all)?);
        for (source, name) in text.sources.iter().enumerate() {
            let of: Vec<&Judged<'_>> = judged
                .iter()
                .filter(|j| j.sentence.source == source)
                .collect();
            // Where one source is all there is, its line would say the same again.
            if !of.is_empty() && of.len() < judged.len() {
                result.push(summary(spec, Some(name.clone()), language, &of)?);
            }
        }
        listener(Event::Progress {
            done: at + 1,
            total: languages.len(),
            note: language.to_string(),
        });
    }
    Ok(result)
}

fn summary(
    spec: &PretrainSpec,
    source: Option<String>,
    language: Language,
    judged: &[&Judged<'_>],
) -> Result<HeldOut, TrainingError> {
    let options = Bootstrap {
        resamples: spec.training.resamples,
        ..Bootstrap::seeded(spec.seed)
    };
    let what = || format!("held-out perplexity in {language}");
    let tokens: Vec<usize> = judged.iter().map(|j| j.tokens).collect();
    let log_likelihoods: Vec<f64> = judged.iter().map(|j| -j.nats).collect();
    let bits: Vec<f64> = judged
        .iter()
        .map(|j| j.nats / std::f64::consts::LN_2)
        .collect();
    let characters: Vec<usize> = judged
        .iter()
        .map(|j| j.sentence.text.chars().count())
        .collect();
    let lengths: Vec<f64> = characters.iter().map(|&n| n as f64).collect();
    Ok(HeldOut {
        source,
        language,
        sentences: judged.len(),
        tokens: tokens.iter().sum(),
        characters: characters.iter().sum(),
        perplexity: perplexity(&log_likelihoods, &tokens, &options)
            .map_err(TrainingError::metric(what()))?,
        bits_per_character: ratio(&bits, &lengths, &options)
            .map_err(TrainingError::metric(what()))?,
    })
}
