//! The cross-lingual autoencoder: hidden states of parallel sentences in, one joint latent space out.
//!
//! ```text
//! x = (h − μ) / σ                      fixed from the training states; μ of the language, one σ
//! z = E(x),  ĥ = μ + σ · D(z)          of the language; linear, with a hidden layer, or both side by side
//!
//! loss =   w_rec   · mean ‖x − D(z)‖² / d                        over tokens
//!        + w_align · mean over language pairs of dist(z̄_a, z̄_b)   over sentences
//!        + w_cross · mean ‖x̄_b − D(z̄_a)‖² / d                     over sentences and pairs
//! ```
//!
//! `z̄` is the mean of a sentence's token latents (or the latent of its mean
//! state), `dist` one of [`Alignment`]. Every language has an E, a D and a μ of
//! its own unless [`Sharing`] says otherwise. The crate knows no model: states
//! come through [`States`].
//!
//! # Source
//! *Debiasing Multilingual LLMs in Cross-lingual Latent Space* (arXiv
//! 2508.17948) describes the idea; the exact loss is this project's reading,
//! every part of it a field of [`Config`].

mod config;
mod file;
mod gradients;
mod infonce;
mod layers;
mod linear;
mod loss;
mod rows;
#[cfg(test)]
mod tests;
mod train;

use std::path::PathBuf;

use interlingua_backend::Tensor;

pub use config::{Activation, Alignment, Config, Sees, Sharing};
pub use file::FORMAT;
use layers::Layers;
pub use rows::States;
pub use train::{HeldOut, Progress, Trained, train};

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
    /// Validation rows do not go with the training rows.
    #[error("validation rows are {found}, training rows {expected}")]
    Validation {
        /// What they are.
        found: String,
        /// What training rows are.
        expected: String,
    },
    /// A language that nothing was learned about.
    #[error(
        "the autoencoder does not know `{language}`; it was trained on {}",
        train::listed(known)
    )]
    UnknownLanguage {
        /// The language.
        language: String,
        /// Those it was trained on.
        known: Vec<String>,
    },
    /// The linear path has nothing to start from.
    #[error("the linear path of the autoencoder cannot begin: {problem}")]
    Start {
        /// What is wrong.
        problem: String,
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
    /// Languages it was trained on.
    pub languages: Vec<String>,
    /// `[1, width]`, of each language or of all.
    means: Vec<Tensor<2>>,
    deviation: f32,
    layers: Layers,
}

impl Autoencoder {
    /// Whether states of a language can be encoded and decoded; the number of the language if so.
    ///
    /// # Errors
    /// [`AutoencoderError::UnknownLanguage`], unless [`Sharing::Shared`] makes all languages alike.
    pub fn knows(&self, language: &str) -> Result<usize, AutoencoderError> {
        let place = self.languages.iter().position(|l| l == language);
        match place {
            Some(place) => Ok(place),
            None if self.config.sharing == Sharing::Shared => Ok(0),
            None => Err(AutoencoderError::UnknownLanguage {
                language: language.to_owned(),
                known: self.languages.clone(),
            }),
        }
    }

    /// From hidden states of a language to latents.
    ///
    /// # Shapes
    /// `h`: `[rows, width]`, result `[rows, latent]`.
    ///
    /// # Errors
    /// A language it does not know.
    pub fn encode(&self, language: &str, h: Tensor<2>) -> Result<Tensor<2>, AutoencoderError> {
        let place = self.knows(language)?;
        let mean = self.means[self.config.sharing.mean(place)].clone();
        Ok(self.layers.encode(place, (h - mean) / self.deviation))
    }

    /// From latents to hidden states of a language.
    ///
    /// # Shapes
    /// `z`: `[rows, latent]`, result `[rows, width]`.
    ///
    /// # Errors
    /// A language it does not know.
    pub fn decode(&self, language: &str, z: Tensor<2>) -> Result<Tensor<2>, AutoencoderError> {
        let place = self.knows(language)?;
        let mean = self.means[self.config.sharing.mean(place)].clone();
        Ok(self.layers.decode(place, z) * self.deviation + mean)
    }
}
