//! The latent spaces of autoencoders.

use interlingua_autoencoder::Autoencoder;
use interlingua_backend::Tensor;
use interlingua_data::Language;

use crate::{Passage, Reinsert, SpaceError, StateSpace};

/// The latent space of an autoencoder.
pub struct Latent {
    /// The autoencoder whose latent space this is.
    pub autoencoder: Autoencoder,
}

/// Nobody comes here with another language.
const CHECKED: &str = "the language was checked when the edit was made";

impl Latent {
    fn decode(&self, language: Language, z: Tensor<2>) -> Tensor<2> {
        self.autoencoder.decode(language.code(), z).expect(CHECKED)
    }
}

impl StateSpace for Latent {
    fn dim(&self) -> usize {
        self.autoencoder.config.latent
    }

    fn check(&self, language: Language) -> Result<(), SpaceError> {
        self.autoencoder.knows(language.code())?;
        Ok(())
    }

    fn enter(&self, language: Language, h: Tensor<2>) -> Tensor<2> {
        self.autoencoder.encode(language.code(), h).expect(CHECKED)
    }

    fn leave(&self, language: Language, reinsert: Reinsert, passage: Passage) -> Tensor<2> {
        let changed = self.decode(language, passage.changed);
        match reinsert {
            Reinsert::Replace => changed,
            Reinsert::Residual => passage.states + changed - self.decode(language, passage.points),
        }
    }

    fn loses(&self) -> bool {
        true
    }
}
