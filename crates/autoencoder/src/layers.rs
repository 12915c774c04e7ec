//! Encoders and decoders: their parameters and their forward pass.

use interlingua_backend::optim::Parameter;
use interlingua_backend::{Device, Tensor, from_rows};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::linear::Start;
use crate::{Activation, Config, Sharing};

/// One encoder or one decoder, which is one half of an autoencoder.
#[derive(Debug, Clone)]
pub(crate) struct Half {
    /// Weights `[out, in]` of the path beside the layers.
    linear: Option<Tensor<2>>,
    /// Weights `[out, in]` and biases `[1, out]`, first layer first.
    layers: Vec<(Tensor<2>, Tensor<2>)>,
}

impl Half {
    fn through(&self, activation: Activation, x: Tensor<2>) -> Tensor<2> {
        let beside = self.linear.as_ref().map(|w| times(&x, w));
        let mut y = x;
        for (at, (w, b)) in self.layers.iter().enumerate() {
            y = times(&y, w) + b.clone();
            if at + 1 < self.layers.len() {
                y = activation.apply(y);
            }
        }
        match beside {
            Some(beside) => y + beside,
            None => y,
        }
    }
}

fn times(x: &Tensor<2>, w: &Tensor<2>) -> Tensor<2> {
    x.clone().matmul(w.clone().transpose())
}

/// All encoders and decoders.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    encoders: Vec<Half>,
    decoders: Vec<Half>,
    activation: Activation,
    sharing: Sharing,
}

impl Layers {
    /// Makes the layers from one tensor per parameter, in the order of [`shapes`].
    ///
    /// # Shapes
    /// Weights are `[out, in]`, biases `[1, out]`.
    pub fn new(config: &Config, languages: usize, tensors: Vec<Tensor<2>>) -> Layers {
        let encoders = Copies::of(config, languages).encoders;
        let mut tensors = tensors.into_iter();
        let mut next = || tensors.next().expect("a tensor for every parameter");
        let mut half = || Half {
            linear: config.linear.then(&mut next),
            layers: (0..depth(config)).map(|_| (next(), next())).collect(),
        };
        Layers {
            encoders: (0..encoders).map(|_| half()).collect(),
            decoders: (0..Copies::of(config, languages).decoders)
                .map(|_| half())
                .collect(),
            activation: config.activation,
            sharing: config.sharing,
        }
    }

    /// Makes the layers from parameters in the order of [`shapes`].
    pub fn from_parameters(
        config: &Config,
        languages: usize,
        parameters: &[Parameter],
        device: &Device,
    ) -> Layers {
        let tensors = parameters.iter().map(|p| matrix(p, device)).collect();
        Layers::new(config, languages, tensors)
    }

    /// # Shapes
    /// `x`: `[rows, width]` normalised, result `[rows, latent]`.
    pub fn encode(&self, language: usize, x: Tensor<2>) -> Tensor<2> {
        self.encoders[self.sharing.encoder(language)].through(self.activation, x)
    }

    /// # Shapes
    /// `z`: `[rows, latent]`, result `[rows, width]` normalised.
    pub fn decode(&self, language: usize, z: Tensor<2>) -> Tensor<2> {
        self.decoders[self.sharing.decoder(language)].through(self.activation, z)
    }

    /// Iterates over every tensor, in the order of [`shapes`].
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor<2>> {
        let halves = self.encoders.iter().chain(&self.decoders);
        halves.flat_map(|half| {
            let layers = half.layers.iter().flat_map(|(w, b)| [w, b]);
            half.linear.iter().chain(layers)
        })
    }
}

/// Returns a parameter as a matrix; a bias becomes one row.
pub(crate) fn matrix(parameter: &Parameter, device: &Device) -> Tensor<2> {
    let (rows, cols) = match parameter.shape[..] {
        [out] => (1, out),
        [out, input] => (out, input),
        _ => unreachable!("a parameter is a matrix or a bias"),
    };
    from_rows(parameter.values.clone(), rows, cols, device)
}

/// The numbers of encoders, decoders and means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copies {
    pub encoders: usize,
    pub decoders: usize,
    pub means: usize,
}

impl Copies {
    /// Returns the numbers for an autoencoder of this many languages.
    pub fn of(config: &Config, languages: usize) -> Copies {
        let last = languages - 1;
        Copies {
            encoders: config.sharing.encoder(last) + 1,
            decoders: config.sharing.decoder(last) + 1,
            means: config.sharing.mean(last) + 1,
        }
    }
}

/// Layers of a half.
fn depth(config: &Config) -> usize {
    if config.hidden > 0 { 2 } else { 1 }
}

/// Returns the number of parameters of one encoder, which is the same for a decoder.
pub(crate) fn parameters_of_half(config: &Config) -> usize {
    usize::from(config.linear) + 2 * depth(config)
}

/// Returns the names and shapes of all parameters: encoders, then decoders. Within each the linear path comes first,
/// then the layers, each with its weight before its bias.
pub(crate) fn shapes(
    config: &Config,
    width: usize,
    languages: &[String],
) -> Vec<(String, Vec<usize>)> {
    let copies = Copies::of(config, languages.len());
    let inner = (config.hidden > 0).then_some(config.hidden);
    let mut out = Vec::new();
    for (half, count, from, to) in [
        ("encoder", copies.encoders, width, config.latent),
        ("decoder", copies.decoders, config.latent, width),
    ] {
        for language in languages.iter().take(count) {
            let name = match count {
                1 => half.to_owned(),
                _ => format!("{half}.{language}"),
            };
            if config.linear {
                out.push((format!("{name}.linear"), vec![to, from]));
            }
            let widths: Vec<usize> = [from].into_iter().chain(inner).chain([to]).collect();
            for (at, ends) in widths.windows(2).enumerate() {
                out.push((format!("{name}.{at}.weight"), vec![ends[1], ends[0]]));
                out.push((format!("{name}.{at}.bias"), vec![ends[1]]));
            }
        }
    }
    out
}

/// Makes the initial parameters: random weights, and biases of zero. If there is a linear path, it begins at `start`,
/// and the layers beside it contribute nothing at first.
pub(crate) fn begin(
    config: &Config,
    width: usize,
    languages: &[String],
    start: Option<&Start>,
    rng: &mut ChaCha8Rng,
) -> Vec<Parameter> {
    let encoders = Copies::of(config, languages.len()).encoders;
    let of_half = parameters_of_half(config);
    let parameter = |(at, (name, shape)): (usize, (String, Vec<usize>))| {
        let len = shape.iter().product::<usize>();
        let (half, place) = (at / of_half, at % of_half);
        if let (Some(start), 0) = (start, place) {
            return Parameter::new(name, &shape, start.of_half(half, encoders));
        }
        let last = place + 2 >= of_half;
        let bound = match shape[..] {
            [_, input] if !(last && start.is_some()) => (1.0 / input as f64).sqrt() as f32,
            _ => 0.0,
        };
        let values = (0..len).map(|_| (rng.random::<f64>() * 2.0 - 1.0) as f32 * bound);
        Parameter::new(name, &shape, values.collect())
    };
    shapes(config, width, languages)
        .into_iter()
        .enumerate()
        .map(parameter)
        .collect()
}
