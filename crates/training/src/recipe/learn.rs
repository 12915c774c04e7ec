//! Trains by a schedule, with checkpoints and perplexities at intervals.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use interlingua_backend::Device;
use interlingua_backend::optim::AdamWConfig;
use interlingua_backend::steps::{self, Due, Rhythm, Taken, Training};
use interlingua_data::Language;
use interlingua_models::{Model, Residency};

use super::judge::judge;
use super::place::Place;
use super::record::{Evaluation, Log, LossPoint};
use super::schedule::Schedule;
use super::spec::PretrainSpec;
use super::text::{Sentence, Text};
use crate::progress::Event;
use crate::{TrainConfig, Trainer, TrainingError};

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

/// A language model of a recipe in training, with what it writes to.
pub(super) struct Recipe<'a> {
    pub spec: &'a PretrainSpec,
    pub text: &'a Text,
    pub tokenizer_json: &'a str,
    pub place: &'a Place,
    pub device: &'a Device,
    pub trainer: &'a mut Trainer,
    pub log: &'a mut Log,
    /// The sentences, and which of them each step sees.
    pub corpus: &'a [Vec<u32>],
    pub schedule: &'a mut Schedule,
    pub listener: &'a mut dyn FnMut(Event),
}

/// What of a run was done before it was killed and begun again, in another process.
struct Before {
    steps: usize,
    tokens: usize,
    seconds: f64,
}

/// A recipe between two steps.
struct Learning<'a, 'b> {
    recipe: &'b mut Recipe<'a>,
    steps: usize,
    before: Before,
    start: Instant,
}

impl Recipe<'_> {
    /// Runs the schedule to its end, with a checkpoint at intervals.
    pub fn run(&mut self) -> Result<(), TrainingError> {
        let t = &self.spec.training;
        let rhythm = Rhythm {
            steps: self.schedule.steps(),
            judge: Due::on_the_way(t.evaluate_every),
            tell: Due::to_the_end(1),
            save: Due::to_the_end(t.checkpoint_every),
        };
        let before = Before {
            steps: self.trainer.steps_done(),
            tokens: self.log.tokens,
            seconds: self.log.seconds,
        };
        let mut learning = Learning {
            recipe: self,
            steps: rhythm.steps,
            before,
            start: Instant::now(),
        };
        steps::run(&mut learning, &rhythm)
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

impl Learning<'_, '_> {
    /// Seconds and tokens per second since this process began.
    fn pace(&self) -> (f64, f64) {
        let seconds = self.start.elapsed().as_secs_f64();
        let tokens = self.recipe.log.tokens - self.before.tokens;
        (seconds, tokens as f64 / seconds)
    }
}

impl Training for Learning<'_, '_> {
    type Error = TrainingError;

    fn steps_done(&self) -> usize {
        self.recipe.trainer.steps_done()
    }

    fn step(&mut self) -> Result<f64, TrainingError> {
        let Recipe {
            trainer,
            log,
            corpus,
            schedule,
            spec,
            ..
        } = &mut *self.recipe;
        let learning_rate = trainer.learning_rate();
        let batch: Vec<&[u32]> = schedule
            .step(trainer.steps_done())
            .iter()
            .map(|&s| corpus[s as usize].as_slice())
            .collect();
        let tokens: usize = batch.iter().map(|s| s.len() - 1).sum();
        let loss = trainer.step_on(&batch)?;
        log.tokens += tokens;
        log.pending.0 += loss * tokens as f64;
        log.pending.1 += tokens;
        let step = trainer.steps_done();
        if step.is_multiple_of(spec.training.log_every) || step == self.steps {
            let (sum, count) = std::mem::take(&mut log.pending);
            log.loss.push(LossPoint {
                step,
                loss: sum / count as f64,
                learning_rate,
            });
        }
        Ok(loss)
    }

    fn judge(&mut self, taken: &Taken) -> Result<ControlFlow<()>, TrainingError> {
        let Taken {
            step,
            steps,
            smooth,
            ..
        } = *taken;
        let (seconds, speed) = self.pace();
        let perplexity = self.recipe.evaluate()?;
        let rest = seconds / (step - self.before.steps) as f64 * (steps - step) as f64;
        let news = perplexity
            .iter()
            .map(|(language, value)| format!("{language} {value:.1}"))
            .collect::<Vec<_>>()
            .join(", ");
        (self.recipe.listener)(Event::Note(format!(
            "step {step} of {steps}: loss {smooth:.3}, held-out perplexity {news}; {speed:.0} tokens/s, {:.0} min to go",
            rest / 60.0
        )));
        let evaluations = &mut self.recipe.log.evaluations;
        evaluations.push(Evaluation { step, perplexity });
        Ok(ControlFlow::Continue(()))
    }

    fn tell(&mut self, taken: &Taken) {
        let (_, speed) = self.pace();
        (self.recipe.listener)(Event::Progress {
            done: taken.step,
            total: taken.steps,
            note: format!(
                "loss {:.3} nats per token, {speed:.0} tokens/s",
                taken.smooth
            ),
        });
    }

    fn save(&mut self) -> Result<(), TrainingError> {
        let recipe = &mut *self.recipe;
        recipe.log.seconds = self.before.seconds + self.start.elapsed().as_secs_f64();
        recipe.place.save(recipe.trainer, recipe.log)
    }
}
