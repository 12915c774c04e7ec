//! The settings of an autoencoder and of its training.

use serde::{Deserialize, Serialize};

use crate::AutoencoderError;

/// The activation function of the hidden layer in encoder and decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `x · Φ(x)`.
    Gelu,
    /// `tanh x`.
    Tanh,
}

/// The distance between the latents of a sentence in two languages, which alignment makes small.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Alignment {
    /// The mean squared difference per dimension.
    Mse,
    /// One minus the cosine.
    Cosine,
    /// The cross-entropy of finding the translation within the batch, in both directions (InfoNCE, arXiv 1807.03748).
    InfoNce {
        /// The number by which cosines are divided.
        temperature: f64,
    },
}

/// The states on which the reconstruction is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    /// The states of tokens; the latent of a sentence is the mean of its token latents.
    Tokens,
    /// The mean states of sentences.
    Means,
}

/// The parts of an autoencoder that all languages share.
///
/// In every case except [`Sharing::Shared`], each language has its own mean, which is subtracted from its states.
/// With [`Sharing::Shared`] the autoencoder does not use the language at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Nothing is shared: each language has its own encoder, decoder and mean.
    PerLanguage,
    /// The encoder is shared; each language has its own decoder and mean.
    Encoder,
    /// The decoder is shared; each language has its own encoder and mean.
    Decoder,
    /// Everything is shared: there is one encoder, one decoder and one mean.
    Shared,
}

impl Sharing {
    /// Returns the position of a language's encoder among the encoders.
    pub(crate) fn encoder(self, language: usize) -> usize {
        match self {
            Sharing::Shared | Sharing::Encoder => 0,
            Sharing::PerLanguage | Sharing::Decoder => language,
        }
    }

    /// Returns the position of a language's decoder among the decoders.
    pub(crate) fn decoder(self, language: usize) -> usize {
        match self {
            Sharing::Shared | Sharing::Decoder => 0,
            Sharing::PerLanguage | Sharing::Encoder => language,
        }
    }

    /// Returns the position of a language's mean among the means.
    pub(crate) fn mean(self, language: usize) -> usize {
        match self {
            Sharing::Shared => 0,
            _ => language,
        }
    }
}

/// All settings that determine the result of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The parts that all languages share.
    pub sharing: Sharing,
    /// The width of the latent space.
    pub latent: usize,
    /// The width of the hidden layer; 0 makes the autoencoder linear.
    pub hidden: usize,
    /// Whether encoder and decoder have a linear path beside the hidden layer. Training then starts at a Procrustes
    /// rotation followed by principal axes, and the hidden layer learns what to add.
    pub linear: bool,
    /// The activation function of the hidden layer.
    pub activation: Activation,
    /// The states on which the reconstruction is trained.
    pub sees: Sees,
    /// The weight of the reconstruction term in the loss.
    pub reconstruction_weight: f64,
    /// The distance in the alignment term.
    pub alignment: Alignment,
    /// The weight of the alignment term; 0 gives the control without alignment.
    pub alignment_weight: f64,
    /// The weight of the term that reconstructs one language from another.
    pub cross_reconstruction_weight: f64,
    /// The number of parallel rows per step.
    pub batch: usize,
    /// The number of neighbours per row of a batch. A batch consists of random rows, each followed by this many of
    /// the rows that are most similar to it; 0 takes random rows alone.
    pub neighbours: usize,
    /// The largest number of steps.
    pub steps: usize,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The decoupled weight decay.
    pub weight_decay: f64,
    /// The number of steps between two evaluations of the loss on validation rows.
    pub eval_every: usize,
    /// The number of evaluations without a lower loss on validation rows after which training stops.
    pub patience: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            sharing: Sharing::PerLanguage,
            latent: 64,
            hidden: 192,
            linear: true,
            activation: Activation::Relu,
            sees: Sees::Tokens,
            reconstruction_weight: 1.0,
            alignment: Alignment::InfoNce { temperature: 0.07 },
            alignment_weight: 1.0,
            cross_reconstruction_weight: 0.0,
            batch: 64,
            neighbours: 0,
            steps: 2400,
            learning_rate: 2e-3,
            weight_decay: 1e-4,
            eval_every: 200,
            patience: 4,
        }
    }
}

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that has an unusable value.
    pub fn check(&self, width: usize) -> Result<(), AutoencoderError> {
        let bad = |key, problem: String| Err(AutoencoderError::Config { key, problem });
        if self.latent == 0 || self.latent > width {
            return bad(
                "latent",
                format!(
                    "{} is not from 1 to the width of the states, {width}",
                    self.latent
                ),
            );
        }
        if self.batch < 2 {
            return bad(
                "batch",
                "at least 2 rows are needed to tell translations apart".into(),
            );
        }
        if self.neighbours >= self.batch {
            return bad(
                "neighbours",
                format!(
                    "{} leave no room for another row in a batch of {}",
                    self.neighbours, self.batch
                ),
            );
        }
        if self.linear && self.hidden == 0 {
            return bad(
                "linear",
                "without a hidden layer (hidden = 0) everything is linear already; set hidden above 0 or linear = false"
                    .into(),
            );
        }
        if self.steps == 0 || self.eval_every == 0 || self.patience == 0 {
            return bad(
                "steps",
                "steps, eval_every and patience must be at least 1".into(),
            );
        }
        for (key, value) in [
            ("reconstruction_weight", self.reconstruction_weight),
            ("alignment_weight", self.alignment_weight),
            (
                "cross_reconstruction_weight",
                self.cross_reconstruction_weight,
            ),
            ("weight_decay", self.weight_decay),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return bad(key, format!("{value} is not a weight from 0 up"));
            }
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad(
                "learning_rate",
                format!("{} is not positive", self.learning_rate),
            );
        }
        if let Alignment::InfoNce { temperature } = self.alignment
            && !(temperature.is_finite() && temperature > 0.0)
        {
            return bad(
                "alignment.temperature",
                format!("{temperature} is not positive"),
            );
        }
        Ok(())
    }
}
