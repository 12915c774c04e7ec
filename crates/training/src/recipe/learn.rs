//! Trains by a schedule, with checkpoints and perplexities at intervals.

use std::collections::BTreeMap;
use std::time::Instant;

use interlingua_backend::Device;
use interlingua_backend::optim::AdamWConfig;
use interlingua_data::Language;
use interlingua_models::{Model, Residency};

use super::judge::judge;
use super::place::Place;
use super::record::{Evaluation, Log, LossPoint};
use super::schedule::Schedule;
use super::spec::PretrainSpec;
use super::text::{Sentence, Text};
use crate::progress::Event;
use crate::{Smooth, TrainConfig, Trainer, TrainingError};

/// Makes the trainer of a recipe.
pub(super) fn trainer(
    spec: &PretrainSpec,
    vocabulary: usize,
    steps: usize,
    device: &Device,
) -> Trainer {
    let t = &spec.training;
    let optimiser = AdamWConfig {
        learning_rate: t.learning_rate,
        beta_1: t.beta_1,
        beta_2: t.beta_2,
        weight_decay: t.weight_decay,
        clip_norm: t.clip_norm,
        warmup: ((t.warmup * steps as f64) as usize).max(1),
        steps,
        ..AdamWConfig::default()
    };
    let config = TrainConfig {
        batch: 1,
        seed: spec.seed,
        optimiser,
    };
    Trainer::new(spec.model.config(vocabulary), config, device)
}

/// Returns the number of parameters of the model with a vocabulary of this size.
pub(super) fn parameters(spec: &PretrainSpec, vocabulary: usize) -> usize {
    interlingua_models::architectures::cohere::tensors(&spec.model.config(vocabulary))
        .needed()
        .values()
        .map(|shape| shape.iter().product::<usize>())
        .sum()
}

/// The training loop with the places that it writes to.
pub(super) struct Training<'a> {
    pub spec: &'a PretrainSpec,
    pub text: &'a Text,
    pub tokenizer_json: &'a str,
    pub place: &'a Place,
    pub device: &'a Device,
    pub trainer: &'a mut Trainer,
    pub log: &'a mut Log,
}

impl Training<'_> {
    /// Runs the schedule to its end, with a checkpoint at intervals.
    pub fn run(
        &mut self,
        corpus: &[Vec<u32>],
        schedule: &mut Schedule,
        listener: &mut dyn FnMut(Event),
    ) -> Result<(), TrainingError> {
        let t = &self.spec.training;
        let steps = schedule.steps();
        // What was done before a kill took its time in another process.
        let before = self.log.clone();
        let first_step = self.trainer.steps_done();
        let start = Instant::now();
        let mut shown = Smooth::default();
        while self.trainer.steps_done() < steps {
            let at = self.trainer.steps_done();
            let rate = self.trainer.learning_rate();
            let sentences = schedule.step(at);
            let batch: Vec<&[u32]> = sentences
                .iter()
                .map(|&s| corpus[s as usize].as_slice())
                .collect();
            let tokens: usize = batch.iter().map(|s| s.len() - 1).sum();
            let loss = self.trainer.step_on(&batch)?;
            let shown = shown.after(loss);
            self.log.tokens += tokens;
            self.log.pending.0 += loss * tokens as f64;
            self.log.pending.1 += tokens;
            let step = at + 1;
            if step.is_multiple_of(t.log_every) || step == steps {
                let (sum, count) = std::mem::take(&mut self.log.pending);
                self.log.loss.push(LossPoint {
                    step,
                    loss: sum / count as f64,
                    learning_rate: rate,
                });
            }
            let seconds = start.elapsed().as_secs_f64();
            let speed = (self.log.tokens - before.tokens) as f64 / seconds;
            if step.is_multiple_of(t.evaluate_every) && step < steps {
                let perplexity = self.evaluate()?;
                let rest = seconds / (step - first_step) as f64 * (steps - step) as f64;
                let news = perplexity
                    .iter()
                    .map(|(language, value)| format!("{language} {value:.1}"))
                    .collect::<Vec<_>>()
                    .join(", ");
                listener(Event::Note(format!(
                    "step {step} of {steps}: loss {shown:.3}, held-out perplexity {news}; {speed:.0} tokens/s, {:.0} min to go",
                    rest / 60.0
                )));
                self.log.evaluations.push(Evaluation { step, perplexity });
            }
            listener(Event::Progress {
                done: step,
                total: steps,
                note: format!("loss {shown:.3} nats per token, {speed:.0} tokens/s"),
            });
            if step.is_multiple_of(t.checkpoint_every) || step == steps {
                self.log.seconds = before.seconds + start.elapsed().as_secs_f64();
                self.place.save(self.trainer, self.log)?;
            }
        }
        Ok(())
    }

    /// Perplexity of the first held-out sentences of every language, by the engine.
    fn evaluate(&self) -> Result<BTreeMap<Language, f64>, TrainingError> {
        self.trainer
            .export(&self.place.making, self.tokenizer_json)?;
        let model = Model::open(&self.place.making, self.device, Residency::Auto)?;
        let mut result = BTreeMap::new();
        for language in self.spec.languages() {
            let sentences: Vec<&Sentence> = self
                .text
                .held_out
                .iter()
                .filter(|s| s.language == language)
                .take(self.spec.training.evaluate_sentences)
                .collect();
            let judged = judge(&model, &sentences)?;
            let bits: f64 = judged.iter().map(|j| j.nats).sum();
            let tokens: usize = judged.iter().map(|j| j.tokens).sum();
            result.insert(language, (bits / tokens.max(1) as f64).exp());
        }
        Ok(result)
    }
}
