//! What can be wrong with a space.

use interlingua_autoencoder::AutoencoderError;
use interlingua_data::Language;

/// Why a space could not be fitted, or not entered.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// A language that the space was not fitted on.
    #[error("space `{space}` has no map for `{language}`; it was fitted on {}", codes(.known))]
    NoLanguage {
        /// The space.
        space: &'static str,
        /// The language.
        language: Language,
        /// Those it was fitted on.
        known: Vec<Language>,
    },
    /// States in which fewer directions vary than the space is wide.
    #[error(
        "space `{space}` is as wide as the latent space, {dim}, but only {found} directions vary in the training rows; \
         give more rows or a smaller width"
    )]
    TooFew {
        /// The space.
        space: &'static str,
        /// Its width.
        dim: usize,
        /// Directions that vary.
        found: usize,
    },
    /// A decomposition that did not converge.
    #[error("the decomposition behind {what} did not converge; are the states finite?")]
    Decomposition {
        /// What it is for.
        what: &'static str,
    },
    /// The autoencoder.
    #[error(transparent)]
    Autoencoder(#[from] AutoencoderError),
}

fn codes(languages: &[Language]) -> String {
    let codes: Vec<&str> = languages.iter().map(Language::code).collect();
    codes.join(", ")
}
