//! The cross-lingual autoencoder: hidden states of parallel sentences in, one joint latent space out.
//!
//! ```text
//! x = (h − μ) / σ                      fixed from the training states
//! z = E(x),  ĥ = μ + σ · D(z)          linear, or with one hidden layer each
//!
//! loss =   w_rec   · mean ‖x − D(z)‖² / d                        over tokens
//!        + w_align · mean over language pairs of dist(z̄_a, z̄_b)   over sentences
//!        + w_cross · mean ‖x̄_b − D(z̄_a)‖² / d                     over sentences and pairs
//! ```
//!
//! `z̄` is the mean of a sentence's token latents (or the latent of its mean
//! state), `dist` one of [`Alignment`]. The crate knows no model: states come
//! through [`States`].
//!
//! # Source
//! *Debiasing Multilingual LLMs in Cross-lingual Latent Space* (arXiv
//! 2508.17948) describes the idea; the exact loss is this project's reading,
//! every part of it a field of [`Config`].

mod config;
mod gradients;
mod loss;
mod train;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use interlingua_backend::optim::Parameter;
use interlingua_backend::{Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

pub use config::{Activation, Alignment, Config, Sees};
pub use train::{Progress, States, Trained, train};

/// Why an autoencoder could not be trained, saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum AutoencoderError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is not a saved autoencoder.
    #[error("{path}: not a saved autoencoder: {problem}; delete the file to have it trained again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A config value is not usable.
    #[error("autoencoder.{key}: {problem}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong and what would work.
        problem: String,
    },
    /// Too little data.
    #[error("training needs {needed}, there are {found}")]
    TooFew {
        /// What is needed.
        needed: String,
        /// What there is.
        found: String,
    },
    /// The loss became NaN or infinite.
    #[error(
        "the loss is {loss} at step {step}: states are not finite, or learning_rate {learning_rate} is too high"
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// The step.
        step: usize,
        /// The learning rate in force.
        learning_rate: f64,
    },
    /// The source of states failed.
    #[error("hidden states cannot be read: {0}")]
    States(Box<dyn std::error::Error + Send + Sync>),
}

/// A trained autoencoder.
#[derive(Debug, Clone)]
pub struct Autoencoder {
    /// How it was made.
    pub config: Config,
    /// Width of a hidden state.
    pub width: usize,
    pub(crate) mean: Tensor<1>,
    pub(crate) deviation: f32,
    pub(crate) layers: Layers,
}

/// Weights `[out, in]` and biases of encoder and decoder, first layer first.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    pub encoder: Vec<(Tensor<2>, Tensor<1>)>,
    pub decoder: Vec<(Tensor<2>, Tensor<1>)>,
    pub activation: Activation,
}

impl Layers {
    /// # Shapes
    /// `x`: `[rows, width]` normalised, result `[rows, latent]`.
    pub fn encode(&self, x: Tensor<2>) -> Tensor<2> {
        through(&self.encoder, self.activation, x)
    }

    /// # Shapes
    /// `z`: `[rows, latent]`, result `[rows, width]` normalised.
    pub fn decode(&self, z: Tensor<2>) -> Tensor<2> {
        through(&self.decoder, self.activation, z)
    }

    /// Layers from parameters in the order of [`shapes`].
    pub fn from_parameters(config: &Config, parameters: &[Parameter], device: &Device) -> Layers {
        let pair = |pair: &[Parameter]| (pair[0].tensor::<2>(device), pair[1].tensor::<1>(device));
        Layers::new(config, parameters.chunks_exact(2).map(pair).collect())
    }

    /// From weights and biases in the order of [`shapes`].
    ///
    /// # Shapes
    /// Weights `[out, in]`, biases `[out]`.
    pub fn new(config: &Config, mut layers: Vec<(Tensor<2>, Tensor<1>)>) -> Layers {
        let decoder = layers.split_off(layers.len() / 2);
        Layers {
            encoder: layers,
            decoder,
            activation: config.activation,
        }
    }
}

fn through(
    layers: &[(Tensor<2>, Tensor<1>)],
    activation: Activation,
    mut x: Tensor<2>,
) -> Tensor<2> {
    for (at, (w, b)) in layers.iter().enumerate() {
        x = x.matmul(w.clone().transpose()) + b.clone().unsqueeze();
        if at + 1 < layers.len() {
            x = activation.apply(x);
        }
    }
    x
}

/// Names and shapes of all parameters: encoder, then decoder, weight before bias.
pub(crate) fn shapes(config: &Config, width: usize) -> Vec<(String, Vec<usize>)> {
    let inner: Vec<usize> = (config.hidden > 0)
        .then_some(config.hidden)
        .into_iter()
        .collect();
    let chain = |from: usize, to: usize, inner: Vec<usize>| -> Vec<[usize; 2]> {
        let widths: Vec<usize> = std::iter::once(from).chain(inner).chain([to]).collect();
        widths.windows(2).map(|w| [w[1], w[0]]).collect()
    };
    let encoder = chain(width, config.latent, inner.clone());
    let decoder = chain(config.latent, width, inner);
    let mut out = Vec::new();
    for (half, layers) in [("encoder", encoder), ("decoder", decoder)] {
        for (at, [rows, cols]) in layers.into_iter().enumerate() {
            out.push((format!("{half}.{at}.weight"), vec![rows, cols]));
            out.push((format!("{half}.{at}.bias"), vec![rows]));
        }
    }
    out
}

impl Autoencoder {
    /// From hidden states to latents.
    ///
    /// # Shapes
    /// `h`: `[rows, width]`, result `[rows, latent]`.
    pub fn encode(&self, h: Tensor<2>) -> Tensor<2> {
        let mean: Tensor<2> = self.mean.clone().unsqueeze();
        self.layers.encode((h - mean) / self.deviation)
    }

    /// From latents to hidden states.
    ///
    /// # Shapes
    /// `z`: `[rows, latent]`, result `[rows, width]`.
    pub fn decode(&self, z: Tensor<2>) -> Tensor<2> {
        let mean: Tensor<2> = self.mean.clone().unsqueeze();
        self.layers.decode(z) * self.deviation + mean
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let tensors = self
            .layers
            .encoder
            .iter()
            .chain(&self.layers.decoder)
            .flat_map(|(w, b)| {
                [
                    interlingua_backend::to_host(w.clone()),
                    interlingua_backend::to_host(b.clone()),
                ]
            });
        let mut all: Vec<_> = shapes(&self.config, self.width)
            .into_iter()
            .zip(tensors)
            .map(|((name, shape), values)| (name, shape, values))
            .collect();
        all.push((
            "mean".into(),
            vec![self.width],
            interlingua_backend::to_host(self.mean.clone()),
        ));
        all.push(("deviation".into(), vec![1], vec![self.deviation]));
        all
    }

    /// Writes weights and config to one safetensors file, under a temporary name first.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), AutoencoderError> {
        let parameters = self.parameters();
        let bytes: Vec<Vec<u8>> = parameters
            .iter()
            .map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect())
            .collect();
        let views = parameters
            .iter()
            .zip(&bytes)
            .map(|((name, shape, _), bytes)| {
                (
                    name.as_str(),
                    TensorView::new(Dtype::F32, shape.clone(), bytes)
                        .expect("shape and values agree by construction"),
                )
            });
        let config = serde_json::to_string(&self.config).expect("a config is plain data");
        let metadata = HashMap::from([("config".to_owned(), config)]);
        let malformed = |problem: String| AutoencoderError::Malformed {
            path: path.to_owned(),
            problem,
        };
        let out =
            safetensors::serialize(views, Some(metadata)).map_err(|e| malformed(e.to_string()))?;
        interlingua_files::write(path, &out).map_err(|source| AutoencoderError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads what [`Autoencoder::save`] wrote.
    ///
    /// # Errors
    /// When the file is missing or something else.
    pub fn load(path: &Path, device: &Device) -> Result<Autoencoder, AutoencoderError> {
        let bytes = std::fs::read(path).map_err(|source| AutoencoderError::Io {
            path: path.to_owned(),
            source,
        })?;
        let malformed = |problem: String| AutoencoderError::Malformed {
            path: path.to_owned(),
            problem,
        };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
        let config = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get("config"))
            .ok_or_else(|| malformed("no config in its header".into()))?;
        let config: Config =
            serde_json::from_str(config).map_err(|e| malformed(format!("config: {e}")))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| malformed(e.to_string()))?;
        let read = |name: &str, shape: Option<&[usize]>| -> Result<Vec<f32>, AutoencoderError> {
            let view = tensors
                .tensor(name)
                .map_err(|e| malformed(format!("`{name}`: {e}")))?;
            if view.dtype() != Dtype::F32 || shape.is_some_and(|s| s != view.shape()) {
                return Err(malformed(format!(
                    "`{name}` is {:?} {:?}, expected F32 {shape:?}",
                    view.dtype(),
                    view.shape()
                )));
            }
            Ok(view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect())
        };
        let mean = read("mean", None)?;
        let width = mean.len();
        let deviation = read("deviation", Some(&[1]))?[0];
        let mut parameters = Vec::new();
        for (name, shape) in shapes(&config, width) {
            let values = read(&name, Some(&shape))?;
            parameters.push(Parameter::new(name, &shape, values));
        }
        Ok(Autoencoder {
            layers: Layers::from_parameters(&config, &parameters, device),
            mean: Tensor::from_data(interlingua_backend::TensorData::new(mean, [width]), device),
            deviation,
            width,
            config,
        })
    }
}
