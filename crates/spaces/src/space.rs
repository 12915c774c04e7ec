//! What a space is.

use interlingua_backend::Tensor;
use interlingua_data::Language;
use interlingua_models::engine::LowRank;

use crate::{Reinsert, SpaceError};

/// States and what became of them in a space.
pub struct Passage {
    /// The states, `[rows, width of a state]`.
    pub states: Tensor<2>,
    /// Their points in the space, `[rows, dim]`.
    pub points: Tensor<2>,
    /// These points, changed.
    pub changed: Tensor<2>,
}

/// A space that states are taken into, changed in, and taken back from. One file for each family of them.
///
/// Whoever enters or leaves it has asked [`StateSpace::check`] whether it takes the language.
pub trait StateSpace: Send + Sync {
    /// Width of its points.
    fn dim(&self) -> usize;

    /// Whether it takes the states of a language.
    ///
    /// # Errors
    /// A language that it was not fitted on.
    fn check(&self, language: Language) -> Result<(), SpaceError>;

    /// States into the space.
    ///
    /// # Shapes
    /// `h`: `[rows, width of a state]`; result `[rows, dim]`.
    fn enter(&self, language: Language, h: Tensor<2>) -> Tensor<2>;

    /// States whose points in the space were changed.
    ///
    /// # Shapes
    /// Result `[rows, width of a state]`.
    fn leave(&self, language: Language, reinsert: Reinsert, passage: Passage) -> Tensor<2>;

    /// Changes states by an edit of their points.
    ///
    /// # Shapes
    /// `h`: `[rows, width of a state]`, result the same; the edit takes and gives `[rows, dim]`.
    fn apply(
        &self,
        language: Language,
        reinsert: Reinsert,
        h: Tensor<2>,
        edit: &dyn Fn(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let points = self.enter(language, h.clone());
        let changed = edit(points.clone());
        let passage = Passage {
            states: h,
            points,
            changed,
        };
        self.leave(language, reinsert, passage)
    }

    /// Whether the way in is affine, so that the point of a mean of states is the mean of their points.
    fn is_affine(&self) -> bool {
        false
    }

    /// Whether the way there and back loses something of a state.
    fn loses(&self) -> bool {
        false
    }

    /// A change of low rank of points as one of states, if it is one.
    fn low_rank(&self, language: Language, change: LowRank) -> Option<LowRank> {
        let _ = (language, change);
        None
    }
}
