//! Training of a TopK sparse autoencoder on states.
//!
//! # Source
//! Gao et al. 2024, "Scaling and evaluating sparse autoencoders" (arXiv 2406.04093): TopK, decoder rows of length one, the encoder
//! begun as the decoder's transpose, b_dec begun at the mean. Their auxiliary loss that wakes dead features is left out; how many
//! never fired in the last tenth of the steps is reported.
//!
//! Formula: loss = mean over states of ‖x − ĥ(x)‖² / mean of ‖x − mean x‖², by AdamW without decay, on states divided by one
//! number σ that is folded into the weights afterwards. The gradients are by hand: outside the k features of a state they are zero.

use interlingua_backend::ops::{View, product};
use interlingua_backend::optim::{AdamW, AdamWConfig, Parameter};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Gate, SparseError, Weights, keep_largest};
use crate::States;

/// The settings that decide the result of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The number of features.
    pub features: usize,
    /// The number of features that are active in a state.
    pub k: usize,
    /// The number of states in a step.
    pub batch: usize,
    /// The number of steps.
    pub steps: usize,
    /// The highest learning rate of the schedule.
    pub learning_rate: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            features: 1024,
            k: 32,
            batch: 512,
            steps: 1000,
            learning_rate: 2e-3,
        }
    }
}

/// The progress of the training since the last report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The number of steps that were taken.
    pub step: usize,
    /// The number of steps of the whole training.
    pub steps: usize,
    /// The mean loss, which is the share of the states' variance that is not reconstructed.
    pub loss: f64,
}

/// The result of training.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// The autoencoder.
    pub weights: Weights,
    /// The loss over the last tenth of the steps.
    pub loss: f64,
    /// The number of features that were never active in the last tenth of the steps.
    pub dead: usize,
}

/// States that mean and variance are taken of.
const SAMPLE: usize = 4096;

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    /// The error names the first field that can't be used.
    pub fn check(&self) -> Result<(), SparseError> {
        let bad = |key, problem: String| Err(SparseError::Config { key, problem });
        for (key, value, most) in [
            ("features", self.features, 1 << 20),
            ("batch", self.batch, 1 << 20),
            ("steps", self.steps, 100_000_000),
        ] {
            if value == 0 || value > most {
                return bad(key, format!("{value} is not from 1 to {most}"));
            }
        }
        if self.k == 0 || self.k > self.features {
            return bad(
                "k",
                format!("{} is not from 1 to the {} features", self.k, self.features),
            );
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad(
                "learning_rate",
                format!("{} is not positive", self.learning_rate),
            );
        }
        Ok(())
    }
}

/// Trains on the token states of random sentences in all languages.
///
/// # Errors
/// A config that cannot work, fewer states than a batch, states that cannot be read or do not vary, a loss that diverges.
pub fn train(
    config: &Config,
    seed: u64,
    states: &dyn States,
    progress: &mut dyn FnMut(Step),
) -> Result<Trained, SparseError> {
    config.check()?;
    let width = states.width();
    let mut source = Source {
        states,
        rng: ChaCha8Rng::seed_from_u64(seed),
        left: Vec::new(),
    };
    let (mean, deviation) = normal(&source.take(SAMPLE.max(config.batch))?, width)?;
    let mut optimiser = begin(config, width, &mean, deviation, &mut source.rng);
    let last = config.steps - config.steps.div_ceil(10);
    let report = config.steps.div_ceil(10);
    let (mut sum, mut count) = (0.0, 0);
    let (mut final_sum, mut fired) = (0.0, vec![false; config.features]);
    for step in 0..config.steps {
        let mut x = source.take(config.batch)?;
        x.iter_mut().for_each(|v| *v /= deviation);
        let found = gradients(config, width, &optimiser.parameters, &x);
        if !found.loss.is_finite() {
            return Err(SparseError::Diverged {
                loss: found.loss,
                step,
            });
        }
        optimiser.step(&found.gradients);
        unit_rows(&mut optimiser.parameters[2].values, width);
        sum += found.loss;
        count += 1;
        if step >= last {
            final_sum += found.loss;
            found.on.iter().for_each(|&f| fired[f as usize] = true);
        }
        if (step + 1) % report == 0 || step + 1 == config.steps {
            progress(Step {
                step: step + 1,
                steps: config.steps,
                loss: sum / f64::from(count),
            });
            (sum, count) = (0.0, 0);
        }
    }
    let dead = fired.iter().filter(|f| !**f).count();
    Ok(Trained {
        weights: fold(config, width, optimiser.parameters, deviation),
        loss: final_sum / (config.steps - last) as f64,
        dead,
    })
}

/// Token states in a random order of sentences.
struct Source<'a> {
    states: &'a dyn States,
    rng: ChaCha8Rng,
    /// Read and not taken yet.
    left: Vec<f32>,
}

impl Source<'_> {
    fn take(&mut self, count: usize) -> Result<Vec<f32>, SparseError> {
        let width = self.states.width();
        let (rows, languages) = (self.states.rows(), self.states.languages().len());
        // So many sentences without a state one after the other say that there are none.
        let (mut empty, most) = (0, 10 * rows * languages);
        while self.left.len() < count * width {
            if rows * languages == 0 || empty > most {
                return Err(SparseError::TooFew {
                    needed: count,
                    found: self.left.len() / width,
                });
            }
            let (language, row) = (
                self.rng.random_range(0..languages),
                self.rng.random_range(0..rows),
            );
            let read = self.states.read(language, row, &mut self.left);
            match read.map_err(SparseError::States)? {
                0 => empty += 1,
                _ => empty = 0,
            }
        }
        let rest = self.left.split_off(count * width);
        Ok(std::mem::replace(&mut self.left, rest))
    }
}

/// Mean, and one standard deviation for all dimensions.
fn normal(x: &[f32], width: usize) -> Result<(Vec<f64>, f32), SparseError> {
    let n = (x.len() / width) as f64;
    let mut mean = vec![0.0f64; width];
    for row in x.chunks_exact(width) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(m, v)| *m += f64::from(*v) / n);
    }
    let square = |(at, v): (usize, &f32)| (f64::from(*v) - mean[at % width]).powi(2);
    let variance = x.iter().enumerate().map(square).sum::<f64>() / x.len() as f64;
    let deviation = variance.sqrt() as f32;
    match deviation.is_finite() && deviation > 0.0 {
        true => Ok((mean, deviation)),
        false => Err(SparseError::Diverged {
            loss: variance,
            step: 0,
        }),
    }
}

/// W_enc as its transpose \[features, width\], b_enc, W_dec, b_dec.
fn begin(
    config: &Config,
    width: usize,
    mean: &[f64],
    deviation: f32,
    rng: &mut ChaCha8Rng,
) -> AdamW {
    let mut decoder: Vec<f32> = (0..config.features * width)
        .map(|_| (rng.random::<f64>() * 2.0 - 1.0) as f32)
        .collect();
    unit_rows(&mut decoder, width);
    let centre = mean
        .iter()
        .map(|m| (m / f64::from(deviation)) as f32)
        .collect();
    let parameters = vec![
        Parameter::new("W_enc", &[config.features, width], decoder.clone()),
        Parameter::new("b_enc", &[config.features], vec![0.0; config.features]),
        Parameter::new("W_dec", &[config.features, width], decoder),
        Parameter::new("b_dec", &[width], centre),
    ];
    let settings = AdamWConfig {
        learning_rate: config.learning_rate,
        beta_2: 0.999,
        weight_decay: 0.0,
        clip_norm: 1.0,
        warmup: (config.steps / 20).max(1),
        steps: config.steps,
        ..AdamWConfig::default()
    };
    AdamW::new(settings, parameters)
}

fn unit_rows(rows: &mut [f32], width: usize) {
    rows.par_chunks_exact_mut(width).for_each(|row| {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|x| *x /= norm);
    });
}

struct Found {
    /// Per variance of a state of one standard deviation, so that 1 is the loss of the mean alone.
    loss: f64,
    gradients: [Vec<f32>; 4],
    /// Every feature of every state that was on.
    on: Vec<u32>,
}

/// A feature that is on: its number, its value, and the derivative of the loss by it.
type Active = (u32, f32, f32);

fn gradients(config: &Config, width: usize, parameters: &[Parameter], x: &[f32]) -> Found {
    let features = config.features;
    let [encoder, bias, decoder, centre] = [0, 1, 2, 3].map(|at| &parameters[at].values[..]);
    let count = x.len() / width;
    let centred: Vec<f32> = x
        .chunks_exact(width)
        .flat_map(|row| row.iter().zip(centre).map(|(x, c)| x - c))
        .collect();
    let (input, weights) = (
        View::new(&centred, count, width),
        View::new(encoder, features, width),
    );
    let mut codes = product(input, weights.transpose(), Some(bias));
    let scale = 2.0 / (count * width) as f32;
    // For each state its active features, and the derivative of the loss by what is rebuilt.
    let states: Vec<(Vec<Active>, Vec<f32>)> = codes
        .par_chunks_exact_mut(features)
        .zip(centred.par_chunks_exact(width))
        .map(|(codes, x)| {
            keep_largest(codes, config.k);
            let on: Vec<usize> = (0..features).filter(|&f| codes[f] > 0.0).collect();
            let mut rest: Vec<f32> = x.iter().map(|x| -x).collect();
            for &f in &on {
                let row = &decoder[f * width..][..width];
                rest.iter_mut()
                    .zip(row)
                    .for_each(|(r, d)| *r += codes[f] * d);
            }
            let slope = |f: usize| {
                let row = &decoder[f * width..][..width];
                scale * rest.iter().zip(row).map(|(r, d)| r * d).sum::<f32>()
            };
            let active = on.iter().map(|&f| (f as u32, codes[f], slope(f))).collect();
            (active, rest)
        })
        .collect();
    let squares = |rest: &Vec<f32>| rest.iter().map(|r| f64::from(*r).powi(2)).sum::<f64>();
    let loss = states.iter().map(|(_, rest)| squares(rest)).sum::<f64>() / (count * width) as f64;
    // States of each feature, so that a feature's rows are written by one task, in one order.
    let mut of_feature: Vec<Vec<(u32, f32, f32)>> = vec![Vec::new(); features];
    let mut by_centre = vec![0.0f32; width];
    for (at, (active, rest)) in states.iter().enumerate() {
        by_centre
            .iter_mut()
            .zip(rest)
            .for_each(|(g, r)| *g += scale * r);
        for &(f, value, slope) in active {
            of_feature[f as usize].push((at as u32, value, slope));
        }
    }
    let mut by_encoder = vec![0.0f32; features * width];
    let mut by_decoder = vec![0.0f32; features * width];
    by_encoder
        .par_chunks_exact_mut(width)
        .zip(by_decoder.par_chunks_exact_mut(width))
        .zip(&of_feature)
        .for_each(|((by_encoder, by_decoder), states_on)| {
            for &(at, value, slope) in states_on {
                let at = at as usize;
                let x = &centred[at * width..][..width];
                by_encoder
                    .iter_mut()
                    .zip(x)
                    .for_each(|(g, x)| *g += slope * x);
                let rest = &states[at].1;
                let factor = scale * value;
                by_decoder
                    .iter_mut()
                    .zip(rest)
                    .for_each(|(g, r)| *g += factor * r);
            }
        });
    let by_bias: Vec<f32> = of_feature
        .iter()
        .map(|on| on.iter().map(|(_, _, slope)| slope).sum())
        .collect();
    // b_dec is taken away on the way in, too: what features lose by it.
    for (f, &slope) in by_bias
        .iter()
        .enumerate()
        .filter(|(_, slope)| **slope != 0.0)
    {
        let row = &encoder[f * width..][..width];
        by_centre
            .iter_mut()
            .zip(row)
            .for_each(|(g, w)| *g -= slope * w);
    }
    Found {
        loss,
        gradients: [by_encoder, by_bias, by_decoder, by_centre],
        on: states
            .iter()
            .flat_map(|(active, _)| active.iter().map(|a| a.0))
            .collect(),
    }
}

/// The weights for states as they are, not divided by their deviation.
fn fold(config: &Config, width: usize, parameters: Vec<Parameter>, deviation: f32) -> Weights {
    let [encoder, bias, decoder, centre]: [Vec<f32>; 4] = {
        let mut values = parameters.into_iter().map(|p| p.values);
        std::array::from_fn(|_| values.next().expect("four parameters"))
    };
    let (features, len) = (config.features, width * config.features);
    let column = |at: usize| encoder[at % features * width + at / features] / deviation;
    Weights {
        width,
        features,
        encoder: (0..len).map(column).collect(),
        encoder_bias: bias,
        decoder: decoder.into_iter().map(|d| d * deviation).collect(),
        decoder_bias: centre.into_iter().map(|c| c * deviation).collect(),
        centred: true,
        gate: Gate::TopK(config.k),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sentences of ten states each: sums of two of eight directions, and a mean.
    struct Planted {
        languages: Vec<String>,
        directions: Vec<Vec<f32>>,
    }

    const WIDTH: usize = 12;

    fn planted() -> Planted {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut directions: Vec<f32> = (0..8 * WIDTH)
            .map(|_| rng.random::<f32>() * 2.0 - 1.0)
            .collect();
        unit_rows(&mut directions, WIDTH);
        Planted {
            languages: vec!["en".into(), "fr".into()],
            directions: directions.chunks(WIDTH).map(<[f32]>::to_vec).collect(),
        }
    }

    impl States for Planted {
        fn languages(&self) -> &[String] {
            &self.languages
        }
        fn rows(&self) -> usize {
            200
        }
        fn width(&self) -> usize {
            WIDTH
        }
        fn read(
            &self,
            language: usize,
            row: usize,
            out: &mut Vec<f32>,
        ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
            let mut rng = ChaCha8Rng::seed_from_u64((language * 1000 + row) as u64);
            for _ in 0..10 {
                let mut state = vec![3.0; WIDTH];
                for _ in 0..2 {
                    let direction = &self.directions[rng.random_range(0..8)];
                    let size = 4.0 + 4.0 * rng.random::<f32>();
                    state
                        .iter_mut()
                        .zip(direction)
                        .for_each(|(s, d)| *s += size * d);
                }
                out.extend(state);
            }
            Ok(10)
        }
    }

    fn config() -> Config {
        Config {
            features: 16,
            k: 2,
            batch: 128,
            steps: 600,
            learning_rate: 1e-2,
        }
    }

    #[test]
    fn planted_directions_are_found() {
        let planted = planted();
        let mut seen = Vec::new();
        let trained = train(&config(), 1, &planted, &mut |step| seen.push(step)).unwrap();
        assert!(trained.loss < 0.1, "{}", trained.loss);
        assert_eq!((seen.len(), seen.last().unwrap().step), (10, 600));
        assert!(seen[0].loss > 2.0 * trained.loss);
        let rows: Vec<&[f32]> = trained.weights.decoder.chunks(WIDTH).collect();
        let found = planted.directions.iter().filter(|direction| {
            rows.iter().any(|row| {
                let dot: f32 = row.iter().zip(*direction).map(|(a, b)| a * b).sum();
                let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                dot / norm > 0.9
            })
        });
        let found = found.count();
        assert!(found >= 6, "{found} of 8 directions");
        // The same seed gives the same weights, another one others.
        let again = train(&config(), 1, &planted, &mut |_| {}).unwrap();
        assert_eq!(again, trained);
        let other = train(&config(), 2, &planted, &mut |_| {}).unwrap();
        assert_ne!(other.weights, trained.weights);
    }

    /// Each gradient against the difference of the loss.
    #[test]
    fn gradients_are_slopes_of_the_loss() {
        let planted = planted();
        let mut x = Vec::new();
        planted.read(0, 0, &mut x).unwrap();
        x.iter_mut().for_each(|v| *v /= 4.0);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut optimiser = begin(&config(), WIDTH, &[2.5; WIDTH], 4.0, &mut rng);
        // Encoder and decoder are equal at the start, which would hide one taken for the other.
        for parameter in &mut optimiser.parameters {
            let noise = |v: &mut f32| *v += 0.3 * (rng.random::<f32>() - 0.5);
            parameter.values.iter_mut().for_each(noise);
        }
        let found = gradients(&config(), WIDTH, &optimiser.parameters, &x);
        for which in 0..4 {
            let mut checked = 0;
            for at in 0..optimiser.parameters[which].values.len() {
                let slope = f64::from(found.gradients[which][at]);
                if slope.abs() < 1e-3 {
                    continue;
                }
                let moved = |step: f32| {
                    let mut moved = optimiser.parameters.clone();
                    moved[which].values[at] += step;
                    gradients(&config(), WIDTH, &moved, &x)
                };
                let (more, less) = (moved(1e-3), moved(-1e-3));
                // Where another feature comes on, the loss jumps and has no slope.
                if more.on != found.on || less.on != found.on {
                    continue;
                }
                let numeric = (more.loss - less.loss) / 2e-3;
                assert!(
                    (numeric - slope).abs() < 0.02 * slope.abs() + 1e-4,
                    "parameter {which}, {at}: {numeric} {slope}"
                );
                checked += 1;
            }
            assert!(checked > 3, "{checked} of parameter {which}");
        }
    }

    #[test]
    fn what_cannot_be_trained_is_refused() {
        let planted = planted();
        let check = |config: Config| {
            train(&config, 1, &planted, &mut |_| {})
                .unwrap_err()
                .to_string()
        };
        assert!(check(Config { k: 17, ..config() }).contains("sae.train.k"));
        assert!(
            check(Config {
                steps: 0,
                ..config()
            })
            .contains("sae.train.steps")
        );
        let rate = f64::NAN;
        assert!(
            check(Config {
                learning_rate: rate,
                ..config()
            })
            .contains("learning_rate")
        );

        struct Empty(Vec<String>, f32, usize);
        impl States for Empty {
            fn languages(&self) -> &[String] {
                &self.0
            }
            fn rows(&self) -> usize {
                3
            }
            fn width(&self) -> usize {
                2
            }
            fn read(
                &self,
                _: usize,
                _: usize,
                out: &mut Vec<f32>,
            ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
                out.extend(vec![self.1; 2 * self.2]);
                Ok(self.2)
            }
        }
        let empty = |value, tokens| {
            let states = Empty(vec!["en".into()], value, tokens);
            train(&config(), 1, &states, &mut |_| {}).unwrap_err()
        };
        assert!(matches!(
            empty(0.0, 0),
            SparseError::TooFew { found: 0, .. }
        ));
        assert!(matches!(
            empty(1.0, 5),
            SparseError::Diverged { step: 0, .. }
        ));
        assert!(matches!(empty(f32::NAN, 5), SparseError::Diverged { .. }));
    }
}
