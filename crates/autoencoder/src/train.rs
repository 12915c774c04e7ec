//! Training by mini-batches of parallel rows, with early stopping.

use interlingua_backend::optim::{AdamW, AdamWConfig, Parameter};
use interlingua_backend::{Device, Tensor, TensorData};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::gradients::{Batch, gradients, pool};
use crate::{Autoencoder, AutoencoderError, Config, Layers, Sees, shapes};

/// Hidden states of parallel sentences, read on demand.
pub trait States {
    /// Number of languages.
    fn languages(&self) -> usize;
    /// Number of parallel rows.
    fn rows(&self) -> usize;
    /// Width of a state.
    fn width(&self) -> usize;
    /// Appends the token states of one sentence; returns how many.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read(
        &self,
        language: usize,
        row: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>>;
}

/// What happened at an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Mean loss since the last evaluation.
    pub loss: f64,
    /// Held-out score.
    pub score: f64,
}

/// The result of training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The best autoencoder by held-out score.
    pub autoencoder: Autoencoder,
    /// Every evaluation.
    pub history: Vec<Progress>,
    /// The step the best one was taken at.
    pub best_step: usize,
}

/// Trains on `states`; `score` judges an autoencoder on held-out rows, higher is better.
///
/// # Errors
/// A config that cannot work, too few rows or languages, unreadable states, a
/// loss that diverges.
pub fn train(
    config: &Config,
    seed: u64,
    states: &dyn States,
    device: &Device,
    score: &mut dyn FnMut(&Autoencoder) -> Result<f64, AutoencoderError>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Trained, AutoencoderError> {
    let width = states.width();
    config.check(width)?;
    if states.rows() < config.batch || states.languages() < 2 {
        return Err(AutoencoderError::TooFew {
            needed: format!(
                "at least {} parallel rows (autoencoder.batch) in 2 languages",
                config.batch
            ),
            found: format!("{} rows in {} languages", states.rows(), states.languages()),
        });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mean, deviation) = moments(states, &mut rng)?;
    let parameters = shapes(config, width)
        .into_iter()
        .map(|(name, shape)| {
            let bound = if shape.len() == 2 {
                (1.0 / shape[1] as f64).sqrt()
            } else {
                0.0
            };
            let values = (0..shape.iter().product::<usize>())
                .map(|_| (rng.random::<f64>() * 2.0 - 1.0) as f32 * bound as f32);
            let values = values.collect();
            Parameter::new(name, &shape, values)
        })
        .collect();
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
        mean: Tensor::from_data(TensorData::new(mean.clone(), [width]), device),
        deviation,
        layers: Layers::from_parameters(config, &optimiser.parameters, device),
    };
    let mut order: Vec<usize> = (0..states.rows()).collect();
    order.shuffle(&mut rng);
    let mut next = 0;
    let mut history: Vec<Progress> = Vec::new();
    let mut best: Option<(f64, usize, Autoencoder)> = None;
    let mut since = 0;
    // Memory that every step uses again.
    let (mut values, mut found) = (Vec::new(), Vec::new());
    let (mut sum, mut count) = (0.0, 0);
    for step in 0..config.steps {
        if next + config.batch > order.len() {
            order.shuffle(&mut rng);
            next = 0;
        }
        let rows = &order[next..next + config.batch];
        next += config.batch;
        let batch = read_batch(config, states, rows, &mean, deviation, values)?;
        let loss;
        (loss, found) = gradients(config, &optimiser.parameters, &batch, found, device);
        values = batch.values;
        if !loss.is_finite() {
            return Err(AutoencoderError::Diverged {
                loss,
                step,
                learning_rate: config.learning_rate,
            });
        }
        optimiser.step(&found);
        sum += loss;
        count += 1;
        if (step + 1) % config.eval_every == 0 || step + 1 == config.steps {
            let candidate = assemble(&optimiser);
            let now = Progress {
                step: step + 1,
                steps: config.steps,
                loss: sum / f64::from(count),
                score: score(&candidate)?,
            };
            (sum, count) = (0.0, 0);
            progress(now);
            history.push(now);
            if best.as_ref().is_none_or(|(score, ..)| now.score > *score) {
                best = Some((now.score, step + 1, candidate));
                since = 0;
            } else {
                since += 1;
                if since >= config.patience {
                    break;
                }
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

/// Mean and one common standard deviation of token states, from a sample of rows.
fn moments(states: &dyn States, rng: &mut ChaCha8Rng) -> Result<(Vec<f32>, f32), AutoencoderError> {
    let width = states.width();
    let mut rows: Vec<usize> = (0..states.rows()).collect();
    rows.shuffle(rng);
    rows.truncate(2000);
    let (mut sum, mut squares, mut count) = (vec![0.0f64; width], 0.0f64, 0usize);
    let mut buffer = Vec::new();
    for &row in &rows {
        for language in 0..states.languages() {
            buffer.clear();
            count += states
                .read(language, row, &mut buffer)
                .map_err(AutoencoderError::States)?;
            for state in buffer.chunks_exact(width) {
                for (s, &x) in sum.iter_mut().zip(state) {
                    *s += f64::from(x);
                    squares += f64::from(x) * f64::from(x);
                }
            }
        }
    }
    let n = count.max(1) as f64;
    let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
    let variance =
        squares / (n * width as f64) - mean.iter().map(|m| m * m).sum::<f64>() / width as f64;
    let deviation = variance.max(1e-12).sqrt() as f32;
    Ok((mean.into_iter().map(|m| m as f32).collect(), deviation))
}

/// Reads a batch of parallel rows into `values` and normalises it.
fn read_batch(
    config: &Config,
    states: &dyn States,
    rows: &[usize],
    mean: &[f32],
    deviation: f32,
    mut values: Vec<f32>,
) -> Result<Batch, AutoencoderError> {
    let width = states.width();
    let languages = states.languages();
    values.clear();
    let mut lengths = Vec::with_capacity(rows.len() * languages);
    for language in 0..languages {
        for &row in rows {
            let from = values.len();
            let tokens = states
                .read(language, row, &mut values)
                .map_err(AutoencoderError::States)?;
            for state in values[from..].chunks_exact_mut(width) {
                state
                    .iter_mut()
                    .zip(mean)
                    .for_each(|(x, m)| *x = (*x - m) / deviation);
            }
            match config.sees {
                Sees::Tokens => lengths.push(tokens),
                Sees::Means => {
                    let pooled = pool(&values[from..], &[tokens], width);
                    values.truncate(from);
                    values.extend(pooled);
                    lengths.push(1);
                }
            }
        }
    }
    Ok(Batch {
        values,
        lengths,
        width,
        languages,
    })
}

#[cfg(test)]
mod tests {
    use interlingua_backend::device::cpu;
    use interlingua_backend::{from_rows, to_host};

    use super::*;
    use crate::{Activation, Alignment};

    /// Two "languages": the same hidden factors seen through different rotations.
    struct Twisted {
        rows: usize,
    }

    impl States for Twisted {
        fn languages(&self) -> usize {
            2
        }
        fn rows(&self) -> usize {
            self.rows
        }
        fn width(&self) -> usize {
            8
        }
        fn read(
            &self,
            language: usize,
            row: usize,
            out: &mut Vec<f32>,
        ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
            let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
            let factors: Vec<f32> = (0..4).map(|_| rng.random::<f32>() - 0.5).collect();
            let tokens = 2 + row % 3;
            for token in 0..tokens {
                for i in 0..8 {
                    let factor = factors[if language == 0 { i % 4 } else { (i + 1) % 4 }];
                    let sign = if language == 1 && i >= 4 { -1.0 } else { 1.0 };
                    out.push(sign * factor + 0.01 * (token as f32) + language as f32);
                }
            }
            Ok(tokens)
        }
    }

    fn retrieval(autoencoder: &Autoencoder, states: &Twisted) -> f64 {
        let latents: Vec<Vec<f32>> = (0..2)
            .map(|language| {
                let mut values = Vec::new();
                for row in 0..states.rows {
                    let mut tokens = Vec::new();
                    states.read(language, row, &mut tokens).unwrap();
                    values.extend(pool(&tokens, &[tokens.len() / 8], 8));
                }
                to_host(autoencoder.encode(from_rows(values, states.rows, 8, &cpu())))
            })
            .collect();
        let d = autoencoder.config.latent;
        let unit = |v: &[f32]| {
            let n = v.iter().map(|x| x * x).sum::<f32>().sqrt();
            v.iter().map(|x| x / n).collect::<Vec<_>>()
        };
        let right = (0..states.rows)
            .filter(|&i| {
                let a = unit(&latents[0][i * d..][..d]);
                let cosine = |j: usize| {
                    unit(&latents[1][j * d..][..d])
                        .iter()
                        .zip(&a)
                        .map(|(x, y)| x * y)
                        .sum::<f32>()
                };
                (0..states.rows).all(|j| j == i || cosine(j) < cosine(i))
            })
            .count();
        right as f64 / states.rows as f64
    }

    fn config() -> Config {
        Config {
            latent: 6,
            hidden: 24,
            batch: 32,
            steps: 400,
            eval_every: 100,
            learning_rate: 5e-3,
            alignment_weight: 1.0,
            ..Config::default()
        }
    }

    fn run(config: &Config) -> (Trained, f64) {
        let states = Twisted { rows: 96 };
        let mut score = |a: &Autoencoder| Ok(retrieval(a, &states));
        let trained = train(config, 3, &states, &cpu(), &mut score, &mut |_| {}).unwrap();
        let score = retrieval(&trained.autoencoder, &states);
        (trained, score)
    }

    #[test]
    fn alignment_makes_translations_meet_and_its_absence_does_not() {
        let (_, aligned) = run(&config());
        let (_, unaligned) = run(&Config {
            alignment_weight: 0.0,
            ..config()
        });
        assert!(aligned > 0.9, "{aligned}");
        assert!(unaligned < 0.5, "{unaligned}");
    }

    #[test]
    fn every_loss_term_trains_and_saves_and_loads() {
        let folder = tempfile::tempdir().unwrap();
        let base = Config {
            steps: 20,
            eval_every: 10,
            ..config()
        };
        let variants = [
            Config {
                alignment: Alignment::Mse,
                ..base.clone()
            },
            Config {
                alignment: Alignment::Cosine,
                activation: Activation::Tanh,
                ..base.clone()
            },
            Config {
                hidden: 0,
                cross_reconstruction_weight: 0.5,
                ..base.clone()
            },
            Config {
                sees: Sees::Means,
                activation: Activation::Relu,
                ..base
            },
        ];
        for config in variants {
            let (trained, _) = run(&config);
            let losses: Vec<f64> = trained.history.iter().map(|p| p.loss).collect();
            assert!(losses[1] < losses[0], "{config:?}: {losses:?}");
            let path = folder.path().join("a.safetensors");
            trained.autoencoder.save(&path).unwrap();
            let loaded = Autoencoder::load(&path, &cpu()).unwrap();
            assert_eq!(loaded.config, config);
            let h = from_rows((0..24).map(|i| i as f32 / 24.0).collect(), 3, 8, &cpu());
            let there = |a: &Autoencoder| to_host(a.decode(a.encode(h.clone())));
            assert_eq!(there(&loaded), there(&trained.autoencoder));
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let states = Twisted { rows: 10 };
        let mut score = |_: &Autoencoder| Ok(0.0);
        for (config, key) in [
            (
                Config {
                    latent: 9,
                    ..config()
                },
                "latent",
            ),
            (
                Config {
                    batch: 11,
                    latent: 4,
                    ..config()
                },
                "autoencoder.batch",
            ),
            (
                Config {
                    learning_rate: f64::NAN,
                    ..config()
                },
                "learning_rate",
            ),
            (
                Config {
                    alignment: Alignment::InfoNce { temperature: 0.0 },
                    ..config()
                },
                "temperature",
            ),
        ] {
            let message = train(&config, 1, &states, &cpu(), &mut score, &mut |_| {})
                .unwrap_err()
                .to_string();
            assert!(message.contains(key), "{message}");
        }
    }
}
