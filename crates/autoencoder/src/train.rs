//! Trains an autoencoder.

use interlingua_backend::optim::{AdamW, AdamWConfig};
use interlingua_backend::{Device, from_rows, to_host};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::gradients::{Batch, Terms, gradients};
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
    let (width, languages) = (states.width(), states.languages());
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
    let parameters = begin(config, width, languages, start.as_ref(), &mut rng);
    let mut draw = Draw::new(config, states, &means, &mut rng);
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
    let mut optimiser = AdamW::new(optimiser, parameters);
    let assemble = |optimiser: &AdamW| Autoencoder {
        config: config.clone(),
        width,
        languages: languages.to_vec(),
        means: {
            let means = normal.means.iter();
            means
                .map(|mean| from_rows(mean.clone(), 1, width, device))
                .collect()
        },
        deviation: normal.deviation,
        layers: Layers::from_parameters(config, languages.len(), &optimiser.parameters, device),
    };
    let mut history: Vec<Progress> = Vec::new();
    let mut best: Option<(f64, usize, Autoencoder)> = None;
    let mut since = 0;
    // Memory that every step uses again.
    let (mut values, mut found) = (Vec::new(), Vec::new());
    let (mut sum, mut count) = (0.0, 0);
    for step in 0..config.steps {
        let rows = draw.rows(config.batch, &mut rng);
        let batch = normal.batch(config, states, &rows, values)?;
        let loss;
        (loss, found) = gradients(config, &optimiser.parameters, &batch, found, device);
        values = batch.values;
        let diverged = |loss| AutoencoderError::Diverged {
            loss,
            step,
            learning_rate: config.learning_rate,
        };
        if !loss.is_finite() {
            return Err(diverged(loss));
        }
        optimiser.step(&found);
        sum += loss;
        count += 1;
        if (step + 1) % config.eval_every != 0 && step + 1 != config.steps {
            continue;
        }
        let candidate = assemble(&optimiser);
        let held_out = held_out(&candidate, &normal, validation, device)?;
        if !held_out.loss.is_finite() {
            return Err(diverged(held_out.loss));
        }
        let now = Progress {
            step: step + 1,
            steps: config.steps,
            loss: sum / f64::from(count),
            held_out,
        };
        (sum, count) = (0.0, 0);
        progress(now);
        history.push(now);
        if best.as_ref().is_none_or(|(loss, ..)| held_out.loss < *loss) {
            best = Some((held_out.loss, step + 1, candidate));
            since = 0;
        } else {
            since += 1;
            if since >= config.patience {
                break;
            }
        }
    }
    let (_, best_step, autoencoder) = best.expect("the last step is always evaluated");
    Ok(Trained {
        autoencoder,
        history,
        best_step,
    })
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
