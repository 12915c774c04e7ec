//! The errors of spaces.

use interlingua_autoencoder::AutoencoderError;
use interlingua_autoencoder::sparse::SparseError;
use interlingua_data::Language;

/// The reason why a space could not be fitted or entered.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The space was not fitted on this language.
    #[error("space `{space}` has no map for `{language}`; it was fitted on {}", codes(.known))]
    NoLanguage {
        /// The name of the space.
        space: &'static str,
        /// The language that was asked for.
        language: Language,
        /// The languages that the space was fitted on.
        known: Vec<Language>,
    },
    /// The states vary along fewer directions than the space has dimensions.
    #[error(
        "space `{space}` is as wide as the latent space, {dim}, but only {found} directions vary in the training rows; \
         give more rows or a smaller width"
    )]
    TooFew {
        /// The name of the space.
        space: &'static str,
        /// The width of the space.
        dim: usize,
        /// The number of directions along which the states vary.
        found: usize,
    },
    /// A matrix decomposition did not converge.
    #[error("the decomposition behind {what} did not converge; are the states finite?")]
    Decomposition {
        /// The name of what the decomposition is for.
        what: &'static str,
    },
    /// The autoencoder of the space returned an error.
    #[error(transparent)]
    Autoencoder(#[from] AutoencoderError),
    /// The sparse autoencoder.
    #[error(transparent)]
    Sparse(#[from] SparseError),
}

fn codes(languages: &[Language]) -> String {
    let codes: Vec<&str> = languages.iter().map(Language::code).collect();
    codes.join(", ")
}
