//! All spaces. One more that affine maps lead to is a file and a line here.

use interlingua_backend::Device;
use serde::{Deserialize, Serialize};

use crate::SpaceError;
use crate::affine::{self, Affine, Family};

/// What a registry line stands for: a variant of [`Space`], and the way from it to the family that fits its maps.
macro_rules! affine_spaces {
    ($($(#[$doc:meta])* $variant:ident($family:ty),)*) => {
        /// A space that edits are fitted and applied in.
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
            $($(#[$doc])* $variant,)*
        }

        impl Space {
            /// The spaces that affine maps lead to, one map for each language.
            pub const AFFINE: &[Space] = &[$(Space::$variant,)*];

            /// Name in rows and files.
            pub fn name(self) -> &'static str {
                match self {
                    Space::Raw => "raw",
                    Space::Latent => "latent",
                    Space::LatentShared => "latent-shared",
                    Space::LatentUnaligned => "latent-unaligned",
                    $(Space::$variant => <$family as Family>::NAME,)*
                }
            }

            /// Whether it has the width of the latent space instead of that of the states.
            pub fn is_narrowed(self) -> bool {
                match self {
                    $(Space::$variant => <$family as Family>::NARROWED,)*
                    _ => self.is_latent(),
                }
            }

            /// Fits the maps of each language on sentence vectors of translations.
            ///
            /// # Shapes
            /// `languages[l]`: rows × `width`, row-major; row i says the same in every language.
            ///
            /// # Errors
            /// Fewer rows than dimensions, or states in which fewer directions vary.
            ///
            /// # Panics
            /// A space that no affine maps lead to ([`Space::is_affine`]).
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
    /// Every space.
    pub fn all() -> impl Iterator<Item = Space> {
        [
            Space::Raw,
            Space::Latent,
            Space::LatentShared,
            Space::LatentUnaligned,
        ]
        .into_iter()
        .chain(Space::AFFINE.iter().copied())
    }

    /// Whether an autoencoder leads there.
    pub fn is_latent(self) -> bool {
        matches!(
            self,
            Space::Latent | Space::LatentShared | Space::LatentUnaligned
        )
    }

    /// Whether affine maps lead there, one per language.
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
