//! Loss and gradients of one batch: by hand on the CPU, by burn's autodiff elsewhere.

use burn::tensor::backend::AutodiffBackend;
use interlingua_backend::device::is_plain_cpu;
use interlingua_backend::ops::{self, backward};
use interlingua_backend::optim::{Parameter, gradient_or_zeros};
use interlingua_backend::{Backend, Device, Host, Tensor, from_rows, to_host};

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
        let pairs = self.pairs();
        let weight = config.alignment_weight / pairs.len() as f64;
        let distance = |(a, b)| {
            let (a, b) = (self.of(latents, a), self.of(latents, b));
            config.alignment.distance(a, b) * weight
        };
        let used = config.alignment_weight > 0.0;
        let terms = pairs.into_iter().filter(|_| used).map(distance);
        terms.reduce(|sum, term| sum + term)
    }
}

/// Loss of a batch and one gradient per parameter.
///
/// The parameters are left as they are; in between, their values may be lent to tensors.
pub(crate) fn gradients(
    config: &Config,
    parameters: &mut [Parameter],
    batch: Batch,
    device: &Device,
) -> (f64, Vec<Host>) {
    if is_plain_cpu(device) {
        fused(config, parameters, batch, device)
    } else {
        let (loss, gradients) = recorded(config, parameters, batch, device);
        (loss, gradients.into_iter().map(Host::from).collect())
    }
}

/// By burn's autodiff, on any device.
fn recorded(
    config: &Config,
    parameters: &[Parameter],
    batch: Batch,
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

/// By hand: nothing is recorded, nothing copied, and the decoder sees tokens and sentences at once.
fn fused(
    config: &Config,
    parameters: &mut [Parameter],
    mut batch: Batch,
    device: &Device,
) -> (f64, Vec<Host>) {
    let tensors = parameters
        .chunks_exact_mut(2)
        .map(|pair| {
            let [w, b] = pair else {
                unreachable!("chunks of two")
            };
            (w.lend::<2>(device), b.lend::<1>(device))
        })
        .collect();
    let layers = Layers::new(config, tensors);
    let (tokens, sentences, width) = (batch.tokens(), batch.lengths.len(), batch.width);
    let crosses = config.cross_reconstruction_weight > 0.0;
    let mean_states = crosses.then(|| pool(&batch.values, &batch.lengths, width));
    let x = from_rows(std::mem::take(&mut batch.values), tokens, width, device);

    let (z, encoding) = forward(&layers.encoder, config.activation, x.clone());
    let pooled = pool(&Host::of(z.clone()), &batch.lengths, config.latent);
    let latents = from_rows(pooled, sentences, config.latent, device);
    let decoder_input = match crosses {
        true => Tensor::cat(vec![z, latents.clone()], 0),
        false => z,
    };
    let (out, decoding) = forward(&layers.decoder, config.activation, decoder_input);

    let (mut loss, mut d_out) = match crosses {
        false => backward::squared_error(out, &x, config.reconstruction_weight),
        true => {
            let own = out.clone().narrow(0, 0, tokens);
            let rebuilt = out.narrow(0, tokens, sentences);
            let (loss, d_own) = backward::squared_error(own, &x, config.reconstruction_weight);
            let targets = mean_states.expect("made for this");
            let targets = from_rows(targets, sentences, width, device);
            let (cross, d_rebuilt) = cross_reconstruction(config, &batch, &rebuilt, &targets);
            (loss + cross, Tensor::cat(vec![d_own, d_rebuilt], 0))
        }
    };
    let mut gradients = Vec::with_capacity(parameters.len());
    let down = |layers: &[(Tensor<2>, Tensor<1>)], steps, d_out, gradients: &mut Vec<_>, first| {
        backwards(layers, config.activation, steps, d_out, gradients, first)
    };
    d_out = down(&layers.decoder, decoding, d_out, &mut gradients, true)
        .expect("the decoder's input has a gradient");
    let (mut d_z, mut d_latents) = match crosses {
        true => (
            to_host(d_out.clone().narrow(0, 0, tokens)),
            to_host(d_out.narrow(0, tokens, sentences)),
        ),
        false => (to_host(d_out), vec![0.0; sentences * config.latent]),
    };

    // The distances are small functions of a few rows; autodiff does them.
    let recorded = Tensor::<2>::from_inner(latents).require_grad();
    if let Some(alignment) = batch.alignment(config, &recorded) {
        loss += f64::from(to_host(alignment.clone().inner())[0]);
        let mut grads: <Backend as AutodiffBackend>::Gradients = alignment.backward();
        let found = gradient_or_zeros(recorded.grad_remove(&mut grads), d_latents.len());
        d_latents.iter_mut().zip(found).for_each(|(d, g)| *d += g);
    }
    unpool(&mut d_z, &d_latents, &batch.lengths, config.latent);

    let d_z = from_rows(d_z, tokens, config.latent, device);
    down(&layers.encoder, encoding, d_z, &mut gradients, false);
    gradients.reverse();
    let Layers {
        encoder, decoder, ..
    } = layers;
    let tensors = encoder.into_iter().chain(decoder);
    for (pair, (w, b)) in parameters.chunks_exact_mut(2).zip(tensors) {
        pair[0].take_back(w);
        pair[1].take_back(b);
    }
    (loss, gradients)
}

/// The loss of rebuilding the mean states of every language from the latents of every other one,
/// and its gradient.
fn cross_reconstruction(
    config: &Config,
    batch: &Batch,
    rebuilt: &Tensor<2>,
    targets: &Tensor<2>,
) -> (f64, Tensor<2>) {
    let weight = config.cross_reconstruction_weight / (2 * batch.pairs().len()) as f64;
    let mut loss = 0.0;
    let parts = (0..batch.languages).map(|from| {
        let mut sum: Option<Tensor<2>> = None;
        for to in (0..batch.languages).filter(|&to| to != from) {
            let (part, d) =
                backward::squared_error(batch.of(rebuilt, from), &batch.of(targets, to), weight);
            loss += part;
            sum = Some(match sum {
                Some(sum) => sum + d,
                None => d,
            });
        }
        sum.expect("there are at least two languages")
    });
    let parts = parts.collect();
    (loss, Tensor::cat(parts, 0))
}

/// What a layer keeps for its gradient: its input, and what its activation was applied to.
type Step = (Tensor<2>, Option<Tensor<2>>);

fn forward(
    layers: &[(Tensor<2>, Tensor<1>)],
    activation: Activation,
    mut x: Tensor<2>,
) -> (Tensor<2>, Vec<Step>) {
    let mut steps = Vec::with_capacity(layers.len());
    for (at, (w, b)) in layers.iter().enumerate() {
        let y = ops::affine(x.clone(), w, Some(b));
        let inner = at + 1 < layers.len();
        steps.push((x, inner.then(|| y.clone())));
        x = if inner { activation.apply(y) } else { y };
    }
    (x, steps)
}

/// Pushes the gradients of weights and biases, those of the last layer first and of a bias before
/// its weights; returns the gradient of the input where it is asked for.
fn backwards(
    layers: &[(Tensor<2>, Tensor<1>)],
    activation: Activation,
    steps: Vec<Step>,
    mut grad: Tensor<2>,
    gradients: &mut Vec<Host>,
    of_input: bool,
) -> Option<Tensor<2>> {
    for (at, ((w, _), (input, pre))) in layers.iter().zip(steps).enumerate().rev() {
        if let Some(pre) = pre {
            grad = grad * activation.slope(pre);
        }
        gradients.push(backward::bias(grad.clone()).into());
        gradients.push(Host::of(grad.clone().transpose().matmul(input)));
        if at == 0 && !of_input {
            return None;
        }
        grad = grad.matmul(w.clone());
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
            let mut parameters: Vec<Parameter> = shapes(&config, width)
                .into_iter()
                .enumerate()
                .map(|(i, (name, shape))| {
                    Parameter::new(name, &shape, noise(shape.iter().product(), i + 2))
                })
                .collect();
            let before = parameters.clone();
            let (expect, of_autodiff) = recorded(&config, &parameters, batch(), &cpu());
            let (found, by_hand) = fused(&config, &mut parameters, batch(), &cpu());
            assert_eq!(parameters, before, "lent values come back");
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
