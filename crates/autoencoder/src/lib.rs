//! The cross-lingual autoencoder, which maps the hidden states of parallel sentences into one joint latent space.
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
//! Here `z̄` is the mean of a sentence's token latents (or the latent of its mean state), and `dist` is one of
//! [`Alignment`]. Every language has its own encoder E, decoder D and mean μ unless [`Sharing`] says otherwise. This
//! crate does not know the model: states come through [`States`].
//!
//! Beside it, sparse autoencoders ([`sparse`]), read from files or trained on the same states.
//!
//! # Source
//! *Debiasing Multilingual LLMs in Cross-lingual Latent Space* (arXiv 2508.17948) describes the idea. The exact loss
//! is this project's interpretation, and every part of it is a field of [`Config`].

mod batch;
mod config;
mod file;
mod gradients;
mod infonce;
mod layers;
mod linear;
mod loss;
mod rows;
pub mod sparse;
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

/// The reason why an autoencoder could not be trained, saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum AutoencoderError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file is not a saved autoencoder.
    #[error("{path}: not a saved autoencoder: {problem}; delete the file to have it trained again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        problem: String,
    },
    /// A value of the config cannot be used.
    #[error("autoencoder.{key}: {problem}")]
    Config {
        /// The key of the value.
        key: &'static str,
        /// What is wrong and what would work.
        problem: String,
    },
    /// There is too little data to train on.
    #[error("training needs {needed}, there are {found}")]
    TooFew {
        /// What training needs.
        needed: String,
        /// What was given.
        found: String,
    },
    /// The validation rows do not match the training rows.
    #[error("validation rows are {found}, training rows {expected}")]
    Validation {
        /// The properties of the validation rows.
        found: String,
        /// The properties of the training rows.
        expected: String,
    },
    /// The autoencoder was not trained on this language.
    #[error(
        "the autoencoder does not know `{language}`; it was trained on {}",
        train::listed(known)
    )]
    UnknownLanguage {
        /// The language that was asked for.
        language: String,
        /// The languages that the autoencoder was trained on.
        known: Vec<String>,
    },
    /// No initial values could be computed for the linear path.
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
        /// The value of the loss.
        loss: f64,
        /// The number of the step.
        step: usize,
        /// The learning rate at this step.
        learning_rate: f64,
    },
    /// The source of the hidden states returned an error.
    #[error("hidden states cannot be read: {0}")]
    States(Box<dyn std::error::Error + Send + Sync>),
}

/// A trained autoencoder.
#[derive(Debug, Clone)]
pub struct Autoencoder {
    /// The settings that it was made with.
    pub config: Config,
    /// The width of a hidden state.
    pub width: usize,
    /// The languages that it was trained on.
    pub languages: Vec<String>,
    /// `[1, width]`, of each language or of all.
    means: Vec<Tensor<2>>,
    deviation: f32,
    layers: Layers,
}

impl Autoencoder {
    /// Checks that states of a language can be encoded and decoded, and returns the number of the language.
    ///
    /// # Errors
    /// [`AutoencoderError::UnknownLanguage`] for a language that the autoencoder was not trained on. With
    /// [`Sharing::Shared`] every language is accepted, because all are treated alike.
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

    /// Maps hidden states of a language to latents.
    ///
    /// # Shapes
    /// `h` is `[rows, width]`, and the result is `[rows, latent]`.
    ///
    /// # Errors
    /// A language that the autoencoder was not trained on.
    pub fn encode(&self, language: &str, h: Tensor<2>) -> Result<Tensor<2>, AutoencoderError> {
        let place = self.knows(language)?;
        let mean = self.means[self.config.sharing.mean(place)].clone();
        Ok(self.layers.encode(place, (h - mean) / self.deviation))
    }

    /// Maps latents to hidden states of a language.
    ///
    /// # Shapes
    /// `z` is `[rows, latent]`, and the result is `[rows, width]`.
    ///
    /// # Errors
    /// A language that the autoencoder was not trained on.
    pub fn decode(&self, language: &str, z: Tensor<2>) -> Result<Tensor<2>, AutoencoderError> {
        let place = self.knows(language)?;
        let mean = self.means[self.config.sharing.mean(place)].clone();
        Ok(self.layers.decode(place, z) * self.deviation + mean)
    }
}
