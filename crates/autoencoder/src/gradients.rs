//! Loss and gradients of one batch: by hand on the CPU, by burn's autodiff elsewhere.

use std::borrow::Cow;

use burn::tensor::backend::AutodiffBackend;
use interlingua_backend::device::is_plain_cpu;
use interlingua_backend::ops::{View, backward, product, product_in};
use interlingua_backend::optim::{Parameter, gradient_or_zeros};
use interlingua_backend::{Backend, Device, Tensor, from_rows, to_host};

use crate::loss::squared;
use crate::{Activation, Config, Layers};

/// Token states of parallel rows, normalised: all rows of one language, then those of the next.
pub(crate) struct Batch {
    /// `tokens × width`.
    pub values: Vec<f32>,
    /// Tokens of each sentence.
    pub lengths: Vec<usize>,
    /// Width of a state.
    pub width: usize,
    /// Languages.
    pub languages: usize,
}

impl Batch {
    fn tokens(&self) -> usize {
        self.values.len() / self.width
    }

    /// Pairs of languages, each once.
    fn pairs(&self) -> Vec<(usize, usize)> {
        (0..self.languages)
            .flat_map(|a| (a + 1..self.languages).map(move |b| (a, b)))
            .collect()
    }

    /// The sentences of a language.
    fn of(&self, all: &Tensor<2>, language: usize) -> Tensor<2> {
        let rows = self.lengths.len() / self.languages;
        all.clone().narrow(0, language * rows, rows)
    }

    /// The weighted distances between the sentence latents of all pairs of languages.
    fn alignment(&self, config: &Config, latents: &Tensor<2>) -> Option<Tensor<1>> {
        if config.alignment_weight <= 0.0 {
            return None;
        }
        let pairs = self.pairs();
        let weight = config.alignment_weight / pairs.len() as f64;
        let prepare = |language| config.alignment.prepare(self.of(latents, language));
        let prepared: Vec<Tensor<2>> = (0..self.languages).map(prepare).collect();
        let distance = |(a, b): (usize, usize)| {
            let (a, b) = (prepared[a].clone(), prepared[b].clone());
            config.alignment.distance(a, b) * weight
        };
        pairs
            .into_iter()
            .map(distance)
            .reduce(|sum, term| sum + term)
    }
}

/// Loss of a batch and one gradient per parameter; `last`: those of an earlier batch, whose memory is
/// used again.
pub(crate) fn gradients(
    config: &Config,
    parameters: &[Parameter],
    batch: &Batch,
    last: Vec<Vec<f32>>,
    device: &Device,
) -> (f64, Vec<Vec<f32>>) {
    match is_plain_cpu(device) {
        true => fused(config, parameters, batch, last, device),
        false => recorded(config, parameters, batch, device),
    }
}

/// By burn's autodiff, on any device.
fn recorded(
    config: &Config,
    parameters: &[Parameter],
    batch: &Batch,
    device: &Device,
) -> (f64, Vec<Vec<f32>>) {
    let autodiff = Device::autodiff(device.clone());
    let tensors = parameters
        .chunks_exact(2)
        .map(|pair| {
            let (w, b) = (
                pair[0].tensor::<2>(&autodiff),
                pair[1].tensor::<1>(&autodiff),
            );
            (w.require_grad(), b.require_grad())
        })
        .collect();
    let layers = Layers::new(config, tensors);
    let (tokens, sentences) = (batch.tokens(), batch.lengths.len());
    let pooling = pooling_matrix(&batch.lengths, tokens);
    let pooling = from_rows(pooling, sentences, tokens, &autodiff);
    let x = from_rows(batch.values.clone(), tokens, batch.width, &autodiff);
    let z = layers.encode(x.clone());
    let mut loss = squared(layers.decode(z.clone()), x.clone()) * config.reconstruction_weight;
    let latents = pooling.clone().matmul(z);
    if let Some(alignment) = batch.alignment(config, &latents) {
        loss = loss + alignment;
    }
    if config.cross_reconstruction_weight > 0.0 {
        let states = pooling.matmul(x);
        let pairs = batch.pairs();
        let weight = config.cross_reconstruction_weight / (2 * pairs.len()) as f64;
        for &(a, b) in &pairs {
            for (from, to) in [(a, b), (b, a)] {
                let rebuilt = layers.decode(batch.of(&latents, from));
                loss = loss + squared(rebuilt, batch.of(&states, to)) * weight;
            }
        }
    }
    let value = f64::from(to_host(loss.clone().inner())[0]);
    let mut grads: <Backend as AutodiffBackend>::Gradients = loss.backward();
    let mut out = Vec::with_capacity(parameters.len());
    for (w, b) in layers.encoder.iter().chain(&layers.decoder) {
        let len = parameters[out.len()].values.len();
        out.push(gradient_or_zeros(w.grad_remove(&mut grads), len));
        let len = parameters[out.len()].values.len();
        out.push(gradient_or_zeros(b.grad_remove(&mut grads), len));
    }
    (value, out)
}

/// By hand: nothing is recorded, weights are not copied, and the decoder sees tokens and sentences
/// at once.
fn fused(
    config: &Config,
    parameters: &[Parameter],
    batch: &Batch,
    mut last: Vec<Vec<f32>>,
    device: &Device,
) -> (f64, Vec<Vec<f32>>) {
    let (encoder, decoder) = parameters.split_at(parameters.len() / 2);
    let (sentences, width) = (batch.lengths.len(), batch.width);
    let activation = config.activation;
    let (mut z, encoding) = forward(encoder, activation, Cow::Borrowed(&batch.values), device);
    let latents = pool(&z, &batch.lengths, config.latent);
    let crosses = config.cross_reconstruction_weight > 0.0;
    if crosses {
        z.extend_from_slice(&latents);
    }
    let (mut out, decoding) = forward(decoder, activation, Cow::Owned(z), device);

    let (own, rebuilt) = out.split_at_mut(batch.values.len());
    let mut loss = backward::squared_error(own, &batch.values, config.reconstruction_weight);
    if crosses {
        let targets = pool(&batch.values, &batch.lengths, width);
        loss += cross_reconstruction(config, batch, rebuilt, &targets);
    }
    let mut gradients = Vec::with_capacity(parameters.len());
    let mut down = |parameters, steps, d_out, gradients: &mut Vec<_>, of_input| {
        let memory = (gradients, &mut last);
        backwards(
            parameters, activation, steps, d_out, memory, of_input, device,
        )
    };
    let mut d_z = down(decoder, decoding, out, &mut gradients, true)
        .expect("the decoder's input has a gradient");
    let mut d_latents = match crosses {
        true => d_z.split_off(batch.tokens() * config.latent),
        false => vec![0.0; latents.len()],
    };

    // The distances are small functions of a few rows; autodiff does them.
    let latents = from_rows(latents, sentences, config.latent, device);
    let recorded = Tensor::<2>::from_inner(latents).require_grad();
    if let Some(alignment) = batch.alignment(config, &recorded) {
        loss += f64::from(to_host(alignment.clone().inner())[0]);
        let mut grads: <Backend as AutodiffBackend>::Gradients = alignment.backward();
        let found = gradient_or_zeros(recorded.grad_remove(&mut grads), d_latents.len());
        d_latents.iter_mut().zip(found).for_each(|(d, g)| *d += g);
    }
    unpool(&mut d_z, &d_latents, &batch.lengths, config.latent);

    down(encoder, encoding, d_z, &mut gradients, false);
    gradients.reverse();
    (loss, gradients)
}

/// The loss of rebuilding the mean states of every language from the latents of every other one;
/// turns `rebuilt` into its gradient.
fn cross_reconstruction(
    config: &Config,
    batch: &Batch,
    rebuilt: &mut [f32],
    targets: &[f32],
) -> f64 {
    let weight = config.cross_reconstruction_weight / (2 * batch.pairs().len()) as f64;
    let mut loss = 0.0;
    let of_language = targets.len() / batch.languages;
    for (from, rebuilt) in rebuilt.chunks_exact_mut(of_language).enumerate() {
        let mut sum = vec![0.0; of_language];
        for (to, targets) in targets.chunks_exact(of_language).enumerate() {
            if to != from {
                let mut part = rebuilt.to_vec();
                loss += backward::squared_error(&mut part, targets, weight);
                sum.iter_mut().zip(part).for_each(|(s, d)| *s += d);
            }
        }
        rebuilt.copy_from_slice(&sum);
    }
    loss
}

/// What a layer keeps for its gradient: its input, and what its activation was applied to.
struct Step<'a> {
    input: Cow<'a, [f32]>,
    inner: Option<Tensor<2>>,
}
/// Through the layers of a half; also what each of them keeps.
fn forward<'a>(
    parameters: &[Parameter],
    activation: Activation,
    mut x: Cow<'a, [f32]>,
    device: &Device,
) -> (Vec<f32>, Vec<Step<'a>>) {
    let mut steps = Vec::with_capacity(parameters.len() / 2);
    for layer in parameters.chunks_exact(2) {
        let (w, b) = (&layer[0], &layer[1]);
        let (input, out) = (w.shape[1], w.shape[0]);
        let rows = x.len() / input;
        let map = View::new(&w.values, out, input).transpose();
        let y = product(View::new(&x, rows, input), map, Some(&b.values));
        let input = x;
        if steps.len() + 1 == parameters.len() / 2 {
            steps.push(Step { input, inner: None });
            return (y, steps);
        }
        let y = from_rows(y, rows, out, device);
        let inner = Some(y.clone());
        steps.push(Step { input, inner });
        x = Cow::Owned(to_host(activation.apply(y)));
    }
    unreachable!("a half has at least one layer")
}

/// Pushes the gradients of weights and biases, those of the last layer first and of a bias before
/// its weights, in the memory of earlier ones; returns the gradient of the input where it is asked for.
fn backwards(
    parameters: &[Parameter],
    activation: Activation,
    steps: Vec<Step<'_>>,
    mut grad: Vec<f32>,
    (gradients, last): (&mut Vec<Vec<f32>>, &mut Vec<Vec<f32>>),
    of_input: bool,
    device: &Device,
) -> Option<Vec<f32>> {
    let layers = parameters.chunks_exact(2).zip(steps).enumerate();
    for (at, (layer, Step { input, inner })) in layers.rev() {
        let w = &layer[0];
        let (out, width) = (w.shape[0], w.shape[1]);
        let rows = grad.len() / out;
        if let Some(inner) = inner {
            let slope = activation.slope(inner);
            grad = to_host(from_rows(grad, rows, out, device) * slope);
        }
        last.pop();
        gradients.push(backward::bias(&grad, out));
        let of_out = View::new(&grad, rows, out);
        let room = last.pop().unwrap_or_default();
        let input = View::new(&input, rows, width);
        gradients.push(product_in(room, of_out.transpose(), input, None));
        if at == 0 && !of_input {
            return None;
        }
        grad = product(of_out, View::new(&w.values, out, width), None);
    }
    Some(grad)
}

/// Means of the rows of each sentence.
pub(crate) fn pool(values: &[f32], lengths: &[usize], width: usize) -> Vec<f32> {
    let mut means = vec![0.0; lengths.len() * width];
    let mut rows = values.chunks_exact(width);
    for (mean, &len) in means.chunks_exact_mut(width).zip(lengths) {
        let share = 1.0 / len.max(1) as f32;
        for row in rows.by_ref().take(len) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x * share);
        }
    }
    means
}

/// Adds to the rows of each sentence their share of its gradient.
fn unpool(values: &mut [f32], means: &[f32], lengths: &[usize], width: usize) {
    let mut rows = values.chunks_exact_mut(width);
    for (mean, &len) in means.chunks_exact(width).zip(lengths) {
        let share = 1.0 / len.max(1) as f32;
        for row in rows.by_ref().take(len) {
            row.iter_mut().zip(mean).for_each(|(x, m)| *x += m * share);
        }
    }
}

/// `[sentences, tokens]`: row i averages the tokens of sentence i.
fn pooling_matrix(lengths: &[usize], total: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; lengths.len() * total];
    let mut from = 0;
    for (sentence, &len) in lengths.iter().enumerate() {
        matrix[sentence * total + from..][..len].fill(1.0 / len as f32);
        from += len;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use interlingua_backend::device::cpu;

    use super::*;
    use crate::{Alignment, shapes};

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.0 - 1.0;
        (0..len).map(value).collect()
    }

    #[test]
    fn gradients_by_hand_are_those_of_autodiff() {
        let base = Config {
            latent: 3,
            hidden: 5,
            alignment_weight: 0.7,
            cross_reconstruction_weight: 0.4,
            ..Config::default()
        };
        let mut cases = Vec::new();
        for activation in [Activation::Relu, Activation::Gelu, Activation::Tanh] {
            cases.push(Config {
                activation,
                ..base.clone()
            });
        }
        for alignment in [Alignment::Mse, Alignment::Cosine] {
            cases.push(Config {
                alignment,
                ..base.clone()
            });
        }
        cases.push(Config {
            hidden: 0,
            ..base.clone()
        });
        cases.push(Config {
            alignment_weight: 0.0,
            ..base.clone()
        });
        cases.push(Config {
            cross_reconstruction_weight: 0.0,
            ..base.clone()
        });
        cases.push(Config {
            cross_reconstruction_weight: 0.0,
            alignment_weight: 0.0,
            hidden: 0,
            ..base
        });
        let (width, languages) = (4, 3);
        let lengths = vec![2, 1, 3, 1, 1, 4];
        for config in cases {
            let batch = || Batch {
                values: noise(lengths.iter().sum::<usize>() * width, 1),
                lengths: lengths.clone(),
                width,
                languages,
            };
            let parameters: Vec<Parameter> = shapes(&config, width)
                .into_iter()
                .enumerate()
                .map(|(i, (name, shape))| {
                    Parameter::new(name, &shape, noise(shape.iter().product(), i + 2))
                })
                .collect();
            let (expect, of_autodiff) = recorded(&config, &parameters, &batch(), &cpu());
            let (_, earlier) = fused(&config, &parameters, &batch(), Vec::new(), &cpu());
            let (found, by_hand) = fused(&config, &parameters, &batch(), earlier, &cpu());
            assert!(
                (found - expect).abs() < 1e-5,
                "{config:?}: {found} {expect}"
            );
            assert_eq!(by_hand.len(), of_autodiff.len());
            for ((a, b), parameter) in by_hand.iter().zip(&of_autodiff).zip(&parameters) {
                assert_eq!(a.len(), b.len(), "{}", parameter.name);
                for (x, y) in a.iter().zip(b.iter()) {
                    let same = (x - y).abs() < 1e-5 * y.abs().max(1.0);
                    assert!(same, "{config:?}: {}: {x} {y}", parameter.name);
                }
            }
        }
    }
}
