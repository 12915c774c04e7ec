//! Computes the loss and the gradients of one batch: by explicit formulas on the CPU, by burn's autodiff on other
//! devices.

use std::borrow::Cow;
use std::ops::Range;

use burn::tensor::backend::AutodiffBackend;
use interlingua_backend::device::is_plain_cpu;
use interlingua_backend::ops::{View, backward, product, product_in};
use interlingua_backend::optim::{Parameter, gradient_or_zeros};
use interlingua_backend::{Backend, Device, Tensor, from_rows, to_host};

use rayon::prelude::*;

use crate::batch::{Batch, pool};
use crate::infonce::infonce;
use crate::layers::{Copies, Layers, matrix, parameters_of_half};
use crate::loss::squared;
use crate::{Alignment, Config};

/// The terms of the loss of a batch, before they are multiplied by their weights.
pub(crate) struct Terms {
    /// The mean squared difference per element.
    pub reconstruction: Tensor<1>,
    /// The mean distance over the pairs of languages.
    pub alignment: Option<Tensor<1>>,
    /// Mean squared difference per element, over the ordered pairs of languages.
    cross: Option<Tensor<1>>,
}

impl Terms {
    /// Computes the terms with tensor operations, on any device. Terms with weight 0 are left out.
    pub fn of(config: &Config, layers: &Layers, batch: &Batch, device: &Device) -> Terms {
        let (rows, width) = (batch.rows(), batch.width);
        let (mut latents, mut states) = (Vec::new(), Vec::new());
        let mut reconstruction = Vec::new();
        for language in 0..batch.languages {
            let tokens = batch.tokens_of(language..language + 1).len();
            let values = batch.states_of(language..language + 1).to_vec();
            let share = tokens as f64 / batch.tokens() as f64;
            let x = from_rows(values, tokens, width, device);
            let z = layers.encode(language, x.clone());
            let rebuilt = layers.decode(language, z.clone());
            reconstruction.push(squared(rebuilt, x.clone()) * share);
            let lengths = &batch.lengths[language * rows..][..rows];
            let pooling = from_rows(pooling_matrix(lengths, tokens), rows, tokens, device);
            latents.push(pooling.clone().matmul(z));
            states.push(pooling.matmul(x));
        }
        let reconstruction = reconstruction.into_iter().reduce(|sum, term| sum + term);
        let latents = Tensor::cat(latents, 0);
        let cross = (config.cross_reconstruction_weight > 0.0).then(|| {
            let pairs = batch.pairs();
            let both = pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
            let term = |(from, to): (usize, usize)| {
                let rebuilt = layers.decode(to, batch.of(&latents, from));
                squared(rebuilt, states[to].clone()) / (2 * pairs.len()) as f64
            };
            let sum = both.map(term).reduce(|sum, term| sum + term);
            sum.expect("training has at least two languages")
        });
        Terms {
            reconstruction: reconstruction.expect("training has at least two languages"),
            alignment: (config.alignment_weight > 0.0).then(|| batch.alignment(config, &latents)),
            cross,
        }
    }

    /// Returns the loss, which is the weighted sum of the terms.
    pub fn sum(self, config: &Config) -> Tensor<1> {
        let mut sum = self.reconstruction * config.reconstruction_weight;
        for (term, weight) in [
            (self.alignment, config.alignment_weight),
            (self.cross, config.cross_reconstruction_weight),
        ] {
            if let Some(term) = term {
                sum = sum + term * weight;
            }
        }
        sum
    }
}

/// Computes the loss of a batch and one gradient per parameter. The memory of `last`, the gradients of an earlier
/// batch, is reused.
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
    let leaf = |parameter| matrix(parameter, &autodiff).require_grad();
    let leaves: Vec<Tensor<2>> = parameters.iter().map(leaf).collect();
    let layers = Layers::new(config, batch.languages, leaves.clone());
    let loss = Terms::of(config, &layers, batch, &autodiff).sum(config);
    let value = f64::from(to_host(loss.clone().inner())[0]);
    let mut grads: <Backend as AutodiffBackend>::Gradients = loss.backward();
    let gradients = leaves.iter().zip(parameters).map(|(leaf, parameter)| {
        gradient_or_zeros(leaf.grad_remove(&mut grads), parameter.values.len())
    });
    (value, gradients.collect())
}

/// By hand: nothing is recorded, weights are not copied, languages with one encoder or decoder go
/// through it at once, those with their own side by side, and the decoder sees tokens and sentences at
/// once.
fn fused(
    config: &Config,
    parameters: &[Parameter],
    batch: &Batch,
    mut gradients: Vec<Vec<f32>>,
    device: &Device,
) -> (f64, Vec<Vec<f32>>) {
    gradients.resize_with(parameters.len(), Vec::new);
    let of_half = parameters_of_half(config);
    let copies = Copies::of(config, batch.languages);
    let (encoders, decoders) = parameters.split_at(copies.encoders * of_half);
    let (of_encoders, of_decoders) = gradients.split_at_mut(copies.encoders * of_half);

    let encoded: Vec<(Vec<f32>, Vec<Step>)> = encoders
        .par_chunks_exact(of_half)
        .zip(served(batch, copies.encoders))
        .map(|(encoder, languages)| {
            let x = Cow::Borrowed(batch.states_of(languages));
            forward(config, encoder, x, device)
        })
        .collect();
    let (z, encoding): (Vec<_>, Vec<_>) = encoded.into_iter().unzip();
    let z = z.concat();
    let latents = pool(&z, &batch.lengths, config.latent);
    let (mut loss, mut d_latents) = alignment(config, batch, &latents, device);

    let decoded: Vec<Decoded> = decoders
        .par_chunks_exact(of_half)
        .zip(of_decoders.par_chunks_exact_mut(of_half))
        .zip(served(batch, copies.decoders))
        .map(|((decoder, gradients), languages)| {
            let latents = (z.as_slice(), latents.as_slice());
            decode(
                config, decoder, batch, languages, latents, gradients, device,
            )
        })
        .collect();
    let mut d_z = Vec::with_capacity(z.len());
    for own in decoded {
        loss += own.loss;
        let (of_tokens, of_sentences) = own.d_input.split_at(own.tokens * config.latent);
        d_z.extend_from_slice(of_tokens);
        let of_language = batch.rows() * config.latent;
        for (&from, found) in own.from.iter().zip(of_sentences.chunks_exact(of_language)) {
            let d = &mut d_latents[from * of_language..][..of_language];
            d.iter_mut().zip(found).for_each(|(d, g)| *d += g);
        }
    }
    unpool(&mut d_z, &d_latents, &batch.lengths, config.latent);

    encoders
        .par_chunks_exact(of_half)
        .zip(of_encoders.par_chunks_exact_mut(of_half))
        .zip(served(batch, copies.encoders))
        .zip(encoding)
        .for_each(|(((encoder, gradients), languages), steps)| {
            let tokens = batch.tokens_of(languages);
            let own = d_z[tokens.start * config.latent..tokens.end * config.latent].to_vec();
            backwards(config, encoder, steps, own, gradients, false, device);
        });
    (loss, gradients)
}

/// What a decoder says of its input.
struct Decoded {
    loss: f64,
    /// Gradient of the latents of its tokens, then of the sentences of `from`.
    d_input: Vec<f32>,
    tokens: usize,
    from: Vec<usize>,
}

/// Forward and backward through the decoder of `languages`; `latents` are those of all tokens and of
/// all sentences.
fn decode(
    config: &Config,
    decoder: &[Parameter],
    batch: &Batch,
    languages: Range<usize>,
    (z, latents): (&[f32], &[f32]),
    gradients: &mut [Vec<f32>],
    device: &Device,
) -> Decoded {
    let tokens = batch.tokens_of(languages.clone());
    let mut input = z[tokens.start * config.latent..tokens.end * config.latent].to_vec();
    let from = sources(config, batch, &languages);
    let of_language = batch.rows() * config.latent;
    for &from in &from {
        input.extend_from_slice(&latents[from * of_language..][..of_language]);
    }
    let (mut out, steps) = forward(config, decoder, Cow::Owned(input), device);
    let x = batch.states_of(languages.clone());
    let (own, rebuilt) = out.split_at_mut(x.len());
    let share = x.len() as f64 / batch.values.len() as f64;
    let mut loss = backward::squared_error(own, x, config.reconstruction_weight * share);
    loss += cross_reconstruction(config, batch, &languages, &from, rebuilt);
    let d_input = backwards(config, decoder, steps, out, gradients, true, device);
    Decoded {
        loss,
        d_input: d_input.expect("the decoder's input has a gradient"),
        tokens: tokens.len(),
        from,
    }
}

/// The languages of each of `copies` encoders or decoders: all of one, or one of each.
fn served(batch: &Batch, copies: usize) -> Vec<Range<usize>> {
    let each = batch.languages / copies;
    let own = |at| at * each..(at + 1) * each;
    (0..copies).map(own).collect()
}

/// The languages whose sentences a decoder of `languages` rebuilds in another one.
fn sources(config: &Config, batch: &Batch, languages: &Range<usize>) -> Vec<usize> {
    if config.cross_reconstruction_weight <= 0.0 {
        return Vec::new();
    }
    let elsewhere = |from: &usize| languages.clone().any(|to| to != *from);
    (0..batch.languages).filter(elsewhere).collect()
}

/// The weighted alignment of sentence latents, and its gradient.
fn alignment(config: &Config, batch: &Batch, latents: &[f32], device: &Device) -> (f64, Vec<f32>) {
    if config.alignment_weight <= 0.0 {
        return (0.0, vec![0.0; latents.len()]);
    }
    if let Alignment::InfoNce { temperature } = config.alignment {
        let weight = config.alignment_weight;
        return infonce(latents, batch.languages, config.latent, temperature, weight);
    }
    // The other distances are small functions of a few rows; autodiff does them.
    let latents = from_rows(latents.to_vec(), batch.lengths.len(), config.latent, device);
    let recorded = Tensor::<2>::from_inner(latents).require_grad();
    let distance = batch.alignment(config, &recorded) * config.alignment_weight;
    let loss = f64::from(to_host(distance.clone().inner())[0]);
    let mut grads: <Backend as AutodiffBackend>::Gradients = distance.backward();
    let len = batch.lengths.len() * config.latent;
    (
        loss,
        gradient_or_zeros(recorded.grad_remove(&mut grads), len),
    )
}

/// The loss of rebuilding the mean states of `languages` from the latents of each of `from`, if it is
/// another one; turns `rebuilt` into its gradient.
fn cross_reconstruction(
    config: &Config,
    batch: &Batch,
    languages: &Range<usize>,
    from: &[usize],
    rebuilt: &mut [f32],
) -> f64 {
    if from.is_empty() {
        return 0.0;
    }
    let weight = config.cross_reconstruction_weight / (2 * batch.pairs().len()) as f64;
    let rows = batch.rows();
    let lengths = &batch.lengths[languages.start * rows..languages.end * rows];
    let targets = pool(batch.states_of(languages.clone()), lengths, batch.width);
    let of_language = rows * batch.width;
    let mut loss = 0.0;
    for (&from, rebuilt) in from.iter().zip(rebuilt.chunks_exact_mut(of_language)) {
        let mut sum = vec![0.0; of_language];
        for (to, targets) in languages.clone().zip(targets.chunks_exact(of_language)) {
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

/// `x·Wᵀ + b`, row-major.
fn layer(x: &[f32], w: &Parameter, b: Option<&Parameter>) -> Vec<f32> {
    let (out, input) = (w.shape[0], w.shape[1]);
    let map = View::new(&w.values, out, input).transpose();
    let x = View::new(x, x.len() / input, input);
    product(x, map, b.map(|b| b.values.as_slice()))
}

/// Through a half; also what each of its layers keeps.
fn forward<'a>(
    config: &Config,
    parameters: &[Parameter],
    mut x: Cow<'a, [f32]>,
    device: &Device,
) -> (Vec<f32>, Vec<Step<'a>>) {
    let (linear, layers) = parameters.split_at(usize::from(config.linear));
    let beside = linear.first().map(|w| layer(&x, w, None));
    let mut steps = Vec::with_capacity(layers.len() / 2);
    for pair in layers.chunks_exact(2) {
        let mut y = layer(&x, &pair[0], Some(&pair[1]));
        let input = x;
        if steps.len() + 1 == layers.len() / 2 {
            steps.push(Step { input, inner: None });
            if let Some(beside) = beside {
                y.iter_mut().zip(beside).for_each(|(y, b)| *y += b);
            }
            return (y, steps);
        }
        let out = pair[0].shape[0];
        let y = from_rows(y, input.len() / pair[0].shape[1], out, device);
        let inner = Some(y.clone());
        steps.push(Step { input, inner });
        x = Cow::Owned(to_host(config.activation.apply(y)));
    }
    unreachable!("a half has at least one layer")
}

/// Writes the gradients of a half's parameters into the memory of earlier ones; returns the gradient
/// of the input where it is asked for.
fn backwards(
    config: &Config,
    parameters: &[Parameter],
    steps: Vec<Step<'_>>,
    mut grad: Vec<f32>,
    gradients: &mut [Vec<f32>],
    of_input: bool,
    device: &Device,
) -> Option<Vec<f32>> {
    let of_weights = |w: &Parameter, grad: &[f32], input: &[f32], room: &mut Vec<f32>| {
        let (out, width) = (w.shape[0], w.shape[1]);
        let rows = grad.len() / out;
        let (grad, input) = (View::new(grad, rows, out), View::new(input, rows, width));
        *room = product_in(std::mem::take(room), grad.transpose(), input, None);
    };
    let back = |w: &Parameter, grad: &[f32]| {
        let (out, width) = (w.shape[0], w.shape[1]);
        let grad = View::new(grad, grad.len() / out, out);
        product(grad, View::new(&w.values, out, width), None)
    };
    let (linear, layers) = parameters.split_at(usize::from(config.linear));
    let (of_linear, of_layers) = gradients.split_at_mut(linear.len());
    let mut beside = None;
    if let Some(w) = linear.first() {
        of_weights(w, &grad, &steps[0].input, &mut of_linear[0]);
        beside = of_input.then(|| back(w, &grad));
    }
    let of_layers = of_layers.chunks_exact_mut(2);
    let all = layers.chunks_exact(2).zip(of_layers).zip(steps).enumerate();
    for (at, ((pair, found), Step { input, inner })) in all.rev() {
        let w = &pair[0];
        if let Some(inner) = inner {
            let rows = grad.len() / w.shape[0];
            let slope = config.activation.slope(inner);
            grad = to_host(from_rows(grad, rows, w.shape[0], device) * slope);
        }
        found[1] = backward::bias(&grad, w.shape[0]);
        of_weights(w, &grad, &input, &mut found[0]);
        if at == 0 && !of_input {
            return None;
        }
        grad = back(w, &grad);
    }
    if let Some(beside) = beside {
        grad.iter_mut().zip(beside).for_each(|(g, b)| *g += b);
    }
    Some(grad)
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
    use crate::layers::shapes;
    use crate::{Activation, Sharing};

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.0 - 1.0;
        (0..len).map(value).collect()
    }

    fn configs() -> Vec<Config> {
        let base = Config {
            latent: 3,
            hidden: 5,
            alignment_weight: 0.7,
            cross_reconstruction_weight: 0.4,
            activation: Activation::Gelu,
            ..Config::default()
        };
        let changes: [fn(&mut Config); 8] = [
            |c| c.activation = Activation::Relu,
            |c| c.activation = Activation::Gelu,
            |c| c.activation = Activation::Tanh,
            |c| c.alignment = Alignment::Mse,
            |c| c.alignment = Alignment::Cosine,
            |c| c.alignment_weight = 0.0,
            |c| c.cross_reconstruction_weight = 0.0,
            |c| {
                c.cross_reconstruction_weight = 0.0;
                c.alignment_weight = 0.0;
            },
        ];
        let mut all = Vec::new();
        for sharing in [
            Sharing::PerLanguage,
            Sharing::Encoder,
            Sharing::Decoder,
            Sharing::Shared,
        ] {
            for (hidden, linear) in [(5, false), (5, true), (0, false)] {
                for change in changes {
                    let mut config = Config {
                        sharing,
                        hidden,
                        linear,
                        ..base.clone()
                    };
                    change(&mut config);
                    all.push(config);
                }
            }
        }
        all
    }

    #[test]
    fn gradients_by_hand_are_those_of_autodiff() {
        let width = 4;
        let languages = ["en", "fr", "de"].map(String::from);
        let lengths = vec![2, 1, 3, 1, 1, 4];
        for config in configs() {
            let batch = || Batch {
                values: noise(lengths.iter().sum::<usize>() * width, 1),
                lengths: lengths.clone(),
                width,
                languages: languages.len(),
            };
            let parameters: Vec<Parameter> = shapes(&config, width, &languages)
                .into_iter()
                .enumerate()
                .map(|(i, (name, shape))| {
                    Parameter::new(name, &shape, noise(shape.iter().product(), i + 2))
                })
                .collect();
            let (expect, of_autodiff) = recorded(&config, &parameters, &batch(), &cpu());
            let (_, earlier) = fused(&config, &parameters, &batch(), Vec::new(), &cpu());
            let (found, by_hand) = fused(&config, &parameters, &batch(), earlier, &cpu());
            let same = (found - expect).abs() < 1e-5 * expect.abs().max(1.0);
            assert!(same, "{config:?}: {found} {expect}");
            assert_eq!(by_hand.len(), of_autodiff.len());
            for ((a, b), parameter) in by_hand.iter().zip(&of_autodiff).zip(&parameters) {
                assert_eq!(a.len(), b.len(), "{}", parameter.name);
                for (x, y) in a.iter().zip(b.iter()) {
                    let same = (x - y).abs() < 2e-5 * y.abs().max(1.0);
                    assert!(same, "{config:?}: {}: {x} {y}", parameter.name);
                }
            }
        }
    }
}
