//! The list of all spaces. A further space with affine maps takes one file and one line here.

use interlingua_backend::Device;
use serde::{Deserialize, Serialize};

use crate::SpaceError;
use crate::affine::{self, Affine, Family};

/// Expands the lines of the registry into the variants of [`Space`] and the calls of the families that fit their
/// maps.
macro_rules! affine_spaces {
    ($($(#[$doc:meta])* $variant:ident($family:ty),)*) => {
        /// A space in which edits are fitted and applied.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Space {
            /// The hidden states themselves.
            Raw,
            /// The autoencoder's latent space.
            Latent,
            /// The ablation: one encoder, one decoder and one mean for all languages.
            LatentShared,
            /// The control: an autoencoder trained without alignment.
            LatentUnaligned,
            /// Features of a sparse autoencoder.
            Sae,
            $($(#[$doc])* $variant,)*
        }

        impl Space {
            /// The spaces that are reached by affine maps, one map for each language.
            pub const AFFINE: &[Space] = &[$(Space::$variant,)*];

            /// Returns the name in rows and files.
            pub fn name(self) -> &'static str {
                match self {
                    Space::Raw => "raw",
                    Space::Latent => "latent",
                    Space::LatentShared => "latent-shared",
                    Space::LatentUnaligned => "latent-unaligned",
                    Space::Sae => "sae",
                    $(Space::$variant => <$family as Family>::NAME,)*
                }
            }

            /// Returns whether the space has the width of the latent space instead of that of the states.
            pub fn is_narrowed(self) -> bool {
                match self {
                    $(Space::$variant => <$family as Family>::NARROWED,)*
                    _ => self.is_latent(),
                }
            }

            /// Fits the maps of each language on the sentence vectors of translations.
            ///
            /// # Shapes
            /// `languages[l]` is rows × `width`, row-major; row i has the same meaning in every language.
            ///
            /// # Errors
            /// Fewer rows than dimensions, or states that vary along fewer directions than that.
            ///
            /// # Panics
            /// If the space is not reached by affine maps ([`Space::is_affine`]).
            pub fn fit(
                self,
                languages: &[Vec<f32>],
                width: usize,
                dim: usize,
                device: &Device,
            ) -> Result<Vec<Affine>, SpaceError> {
                match self {
                    $(Space::$variant => affine::fit::<$family>(languages, width, dim, device),)*
                    _ => unreachable!("`{}` is not affine", self.name()),
                }
            }
        }
    };
}

affine_spaces! {
    /// Hidden states minus the mean of their language.
    Centred(crate::centred::Centred),
    /// Centred states rotated onto the first language by orthogonal Procrustes.
    Procrustes(crate::procrustes::Procrustes),
    /// Canonical coordinates of all languages, as many as the latent space has.
    Cca(crate::cca::Cca),
    /// Principal axes of the centred states of all languages, as many as the latent space has.
    JointPca(crate::joint_pca::JointPca),
    /// States without the low-rank subspace that tells languages apart.
    Lsar(crate::lsar::Lsar),
    /// States without the main direction of their language.
    Lir(crate::lir::Lir),
}

impl Space {
    /// Iterates over every space.
    pub fn all() -> impl Iterator<Item = Space> {
        [
            Space::Raw,
            Space::Latent,
            Space::LatentShared,
            Space::LatentUnaligned,
            Space::Sae,
        ]
        .into_iter()
        .chain(Space::AFFINE.iter().copied())
    }

    /// Returns whether the space is the latent space of an autoencoder.
    pub fn is_latent(self) -> bool {
        matches!(
            self,
            Space::Latent | Space::LatentShared | Space::LatentUnaligned
        )
    }

    /// Returns whether what comes back from it can be the change alone or the whole state ([`crate::Reinsert`]).
    pub fn loses(self) -> bool {
        self.is_latent() || self == Space::Sae
    }

    /// Returns whether the space is reached by affine maps, one per language.
    pub fn is_affine(self) -> bool {
        Space::AFFINE.contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in rows are those that users write.
    #[test]
    fn names_are_what_is_written() {
        for space in Space::all() {
            let written = serde_json::to_value(space).unwrap();
            assert_eq!(written, space.name());
            assert!(usize::from(space.is_affine()) + usize::from(space.is_latent()) < 2);
        }
        assert!(
            Space::Latent.is_narrowed() && Space::Cca.is_narrowed() && !Space::Lir.is_narrowed()
        );
    }
}
