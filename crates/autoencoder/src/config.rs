//! Settings of an autoencoder and of its training.

use serde::{Deserialize, Serialize};

use crate::AutoencoderError;

/// The activation between the two layers of encoder and decoder.
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

/// Distance between the latents of a sentence in two languages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Alignment {
    /// Mean squared difference per dimension.
    Mse,
    /// One minus the cosine.
    Cosine,
    /// Cross-entropy of finding the translation among the batch, both directions (arXiv 1807.03748).
    InfoNce {
        /// Cosines are divided by this.
        temperature: f64,
    },
}

/// What reconstruction is learned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    /// Token states; a sentence's latent is the mean of its token latents.
    Tokens,
    /// Mean states of sentences.
    Means,
}

/// Which parts of an autoencoder all languages have in common.
///
/// Whatever is shared, the mean that is taken from the states is a language's own, except in
/// [`Sharing::Shared`], which is blind to the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Nothing: an encoder, a decoder and a mean for each language.
    PerLanguage,
    /// The encoder; a decoder and a mean for each language.
    Encoder,
    /// The decoder; an encoder and a mean for each language.
    Decoder,
    /// Everything: one encoder, one decoder and one mean.
    Shared,
}

impl Sharing {
    /// Place of the encoder of a language among the encoders.
    pub(crate) fn encoder(self, language: usize) -> usize {
        match self {
            Sharing::Shared | Sharing::Encoder => 0,
            Sharing::PerLanguage | Sharing::Decoder => language,
        }
    }

    /// Place of the decoder of a language among the decoders.
    pub(crate) fn decoder(self, language: usize) -> usize {
        match self {
            Sharing::Shared | Sharing::Decoder => 0,
            Sharing::PerLanguage | Sharing::Encoder => language,
        }
    }

    /// Place of the mean of a language among the means.
    pub(crate) fn mean(self, language: usize) -> usize {
        match self {
            Sharing::Shared => 0,
            _ => language,
        }
    }
}

/// Everything that decides how an autoencoder comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What languages have in common.
    pub sharing: Sharing,
    /// Width of the latent space.
    pub latent: usize,
    /// Width of the hidden layer; 0 for a linear autoencoder.
    pub hidden: usize,
    /// A linear path beside the hidden layer, each way: training starts at a Procrustes rotation
    /// followed by principal axes, and the hidden layer learns what to add.
    pub linear: bool,
    /// Activation of the hidden layer.
    pub activation: Activation,
    /// What reconstruction is learned on.
    pub sees: Sees,
    /// Weight of reconstruction.
    pub reconstruction_weight: f64,
    /// Distance that aligns languages.
    pub alignment: Alignment,
    /// Weight of alignment; 0 is the control without it.
    pub alignment_weight: f64,
    /// Weight of reconstructing one language from another.
    pub cross_reconstruction_weight: f64,
    /// Parallel rows per step.
    pub batch: usize,
    /// A batch is made of random rows, each followed by so many of the rows that are most like it;
    /// 0 takes random rows alone.
    pub neighbours: usize,
    /// Largest number of steps.
    pub steps: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Steps between evaluations of the loss on validation rows.
    pub eval_every: usize,
    /// Evaluations without a lower loss on validation rows before training stops.
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
    /// The first field that cannot work.
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
