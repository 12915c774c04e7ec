//! Trains an autoencoder.

use std::ops::ControlFlow;

use interlingua_backend::optim::{AdamW, AdamWConfig};
use interlingua_backend::steps::{self, Due, Rhythm, Taken, Training};
use interlingua_backend::{Device, from_rows, to_host};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::batch::Batch;
use crate::gradients::{Terms, gradients};
use crate::layers::{Layers, begin};
use crate::rows::{Draw, Normal, States};
use crate::{Autoencoder, AutoencoderError, Config, linear};

/// The loss on validation rows, and its terms before they are multiplied by their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOut {
    /// The whole loss. The step with the lowest value is kept.
    pub loss: f64,
    /// The mean squared error per dimension, in units of the states' variance.
    pub reconstruction: f64,
    /// The mean distance over the pairs of languages, if it is part of the loss.
    pub alignment: Option<f64>,
}

/// The state of the training at an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The number of steps that are done.
    pub step: usize,
    /// The number of steps in all.
    pub steps: usize,
    /// The mean training loss since the last evaluation.
    pub loss: f64,
    /// The loss on validation rows.
    pub held_out: HeldOut,
}

/// The result of training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The autoencoder with the lowest loss on validation rows.
    pub autoencoder: Autoencoder,
    /// All evaluations, in order.
    pub history: Vec<Progress>,
    /// The step at which this autoencoder was evaluated.
    pub best_step: usize,
}

/// Trains on `states` and keeps the step with the lowest loss on `validation`.
///
/// # Errors
/// A config that cannot be used, too few rows or languages, states that cannot be read, or a loss that diverges.
pub fn train(
    config: &Config,
    seed: u64,
    states: &dyn States,
    validation: &dyn States,
    device: &Device,
    progress: &mut dyn FnMut(Progress),
) -> Result<Trained, AutoencoderError> {
    check(config, states, validation)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let normal = Normal::of(config, states, &mut rng)?;
    let means = match config.linear || config.neighbours > 0 {
        true => normal.sentence_means(states)?,
        false => Vec::new(),
    };
    let start = match config.linear {
        true => Some(linear::start(config, states, &normal, &means)?),
        false => None,
    };
    let parameters = begin(
        config,
        states.width(),
        states.languages(),
        start.as_ref(),
        &mut rng,
    );
    let draw = Draw::new(config, states, &means, &mut rng);
    drop(means);
    let optimiser = AdamWConfig {
        learning_rate: config.learning_rate,
        beta_2: 0.999,
        weight_decay: config.weight_decay,
        clip_norm: 5.0,
        warmup: (config.steps / 20).max(1),
        steps: config.steps,
        ..AdamWConfig::default()
    };
    let mut learning = Learning {
        config,
        states,
        validation,
        device,
        normal,
        draw,
        rng,
        optimiser: AdamW::new(optimiser, parameters),
        values: Vec::new(),
        found: Vec::new(),
        history: Vec::new(),
        best: None,
        lowest: f64::INFINITY,
        since: 0,
        progress,
    };
    let rhythm = Rhythm {
        steps: config.steps,
        judge: Due::to_the_end(config.eval_every),
        tell: Due::NEVER,
        save: Due::NEVER,
    };
    steps::run(&mut learning, &rhythm)?;
    let (best_step, autoencoder) = learning.best.expect("the last step is always evaluated");
    Ok(Trained {
        autoencoder,
        history: learning.history,
        best_step,
    })
}

/// An autoencoder between two steps.
struct Learning<'a> {
    config: &'a Config,
    states: &'a dyn States,
    validation: &'a dyn States,
    device: &'a Device,
    normal: Normal,
    draw: Draw<'a>,
    rng: ChaCha8Rng,
    optimiser: AdamW,
    /// Memory that every step uses again: the rows of a batch, and the gradients.
    values: Vec<f32>,
    found: Vec<Vec<f32>>,
    history: Vec<Progress>,
    /// The autoencoder of the lowest loss on validation rows, and its step.
    best: Option<(usize, Autoencoder)>,
    lowest: f64,
    /// Evaluations since then.
    since: usize,
    progress: &'a mut dyn FnMut(Progress),
}

impl Learning<'_> {
    fn assemble(&self) -> Autoencoder {
        let (width, languages) = (self.states.width(), self.states.languages());
        let means = self.normal.means.iter();
        Autoencoder {
            config: self.config.clone(),
            width,
            languages: languages.to_vec(),
            means: means
                .map(|mean| from_rows(mean.clone(), 1, width, self.device))
                .collect(),
            deviation: self.normal.deviation,
            layers: Layers::from_parameters(
                self.config,
                languages.len(),
                &self.optimiser.parameters,
                self.device,
            ),
        }
    }

    fn diverged(&self, loss: f64, step: usize) -> AutoencoderError {
        AutoencoderError::Diverged {
            loss,
            step,
            learning_rate: self.config.learning_rate,
        }
    }
}

impl Training for Learning<'_> {
    type Error = AutoencoderError;

    fn steps_done(&self) -> usize {
        self.optimiser.step
    }

    fn step(&mut self) -> Result<f64, AutoencoderError> {
        let rows = self.draw.rows(self.config.batch, &mut self.rng);
        let values = std::mem::take(&mut self.values);
        let batch = self.normal.batch(self.config, self.states, &rows, values)?;
        let found = std::mem::take(&mut self.found);
        let (loss, found) = gradients(
            self.config,
            &self.optimiser.parameters,
            &batch,
            found,
            self.device,
        );
        self.values = batch.values;
        let learned = self.optimiser.learn(loss, &found);
        self.found = found;
        learned.map_err(|e| self.diverged(e.loss, e.step))
    }

    /// Keeps the best, and ends when it was not bettered for as long as the config waits.
    fn judge(&mut self, taken: &Taken) -> Result<ControlFlow<()>, AutoencoderError> {
        let candidate = self.assemble();
        let held_out = held_out(&candidate, &self.normal, self.validation, self.device)?;
        if !held_out.loss.is_finite() {
            return Err(self.diverged(held_out.loss, taken.step - 1));
        }
        let now = Progress {
            step: taken.step,
            steps: taken.steps,
            loss: taken.mean,
            held_out,
        };
        (self.progress)(now);
        self.history.push(now);
        if self.best.is_none() || held_out.loss < self.lowest {
            self.best = Some((taken.step, candidate));
            self.lowest = held_out.loss;
            self.since = 0;
        } else {
            self.since += 1;
            if self.since >= self.config.patience {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What can be known to fail before anything is read.
fn check(
    config: &Config,
    states: &dyn States,
    validation: &dyn States,
) -> Result<(), AutoencoderError> {
    config.check(states.width())?;
    let languages = states.languages();
    if languages.len() < 2 {
        return Err(AutoencoderError::TooFew {
            needed: "parallel rows in at least 2 languages, since translations are what is aligned"
                .into(),
            found: format!("rows in {}", listed(languages)),
        });
    }
    if states.rows() < config.batch {
        return Err(AutoencoderError::TooFew {
            needed: format!(
                "at least {} parallel rows, as many as autoencoder.batch",
                config.batch
            ),
            found: format!("{}; give more rows or a smaller batch", states.rows()),
        });
    }
    if validation.rows() < 2 {
        return Err(AutoencoderError::TooFew {
            needed: "at least 2 validation rows".into(),
            found: validation.rows().to_string(),
        });
    }
    if validation.languages() != languages || validation.width() != states.width() {
        return Err(AutoencoderError::Validation {
            found: format!(
                "{} wide, in {}",
                validation.width(),
                listed(validation.languages())
            ),
            expected: format!("{} wide, in {}", states.width(), listed(languages)),
        });
    }
    Ok(())
}

/// Lists languages in words.
pub(crate) fn listed(languages: &[String]) -> String {
    match languages {
        [] => "no language".into(),
        all => all.join(", "),
    }
}

/// The loss on all validation rows, in batches of the size of training; what is left of less than two
/// rows, which nothing can be told apart in, is left out.
fn held_out(
    autoencoder: &Autoencoder,
    normal: &Normal,
    validation: &dyn States,
    device: &Device,
) -> Result<HeldOut, AutoencoderError> {
    let config = &autoencoder.config;
    let rows: Vec<usize> = (0..validation.rows()).collect();
    let number = |tensor| f64::from(to_host(tensor)[0]);
    let mut sum = HeldOut {
        loss: 0.0,
        reconstruction: 0.0,
        alignment: (config.alignment_weight > 0.0).then_some(0.0),
    };
    let mut seen = 0.0;
    for rows in rows.chunks(config.batch).filter(|rows| rows.len() > 1) {
        let batch: Batch = normal.batch(config, validation, rows, Vec::new())?;
        let terms = Terms::of(config, &autoencoder.layers, &batch, device);
        let share = rows.len() as f64;
        seen += share;
        sum.reconstruction += share * number(terms.reconstruction.clone());
        if let (Some(sum), Some(term)) = (&mut sum.alignment, &terms.alignment) {
            *sum += share * number(term.clone());
        }
        sum.loss += share * number(terms.sum(config));
    }
    Ok(HeldOut {
        loss: sum.loss / seen,
        reconstruction: sum.reconstruction / seen,
        alignment: sum.alignment.map(|a| a / seen),
    })
}
