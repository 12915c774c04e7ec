//! The trait of a space.

use interlingua_backend::Tensor;
use interlingua_data::Language;
use interlingua_models::engine::LowRank;

use crate::{Reinsert, SpaceError};

/// States together with their points in a space before and after a change.
pub struct Passage {
    /// The states, `[rows, width of a state]`.
    pub states: Tensor<2>,
    /// Their points in the space, `[rows, dim]`.
    pub points: Tensor<2>,
    /// These points after the change.
    pub changed: Tensor<2>,
}

/// A space into which states are mapped, in which they are changed, and from which they are mapped back. There is one
/// file for each family of spaces.
///
/// The caller must have checked with [`StateSpace::check`] that the space accepts the language before entering or
/// leaving.
pub trait StateSpace: Send + Sync {
    /// Returns the width of the points.
    fn dim(&self) -> usize;

    /// Checks that the space accepts the states of a language.
    ///
    /// # Errors
    /// A language that it was not fitted on.
    fn check(&self, language: Language) -> Result<(), SpaceError>;

    /// Maps states into the space.
    ///
    /// # Shapes
    /// `h` is `[rows, width of a state]`; the result is `[rows, dim]`.
    fn enter(&self, language: Language, h: Tensor<2>) -> Tensor<2>;

    /// Returns the states that belong to the changed points.
    ///
    /// # Shapes
    /// The result is `[rows, width of a state]`.
    fn leave(&self, language: Language, reinsert: Reinsert, passage: Passage) -> Tensor<2>;

    /// Changes states by an edit of their points.
    ///
    /// # Shapes
    /// `h` is `[rows, width of a state]`, and so is the result; the edit takes and returns `[rows, dim]`.
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

    /// Returns whether the map into the space is affine, so that the point of a mean of states is the mean of their
    /// points.
    fn is_affine(&self) -> bool {
        false
    }

    /// Returns whether mapping a state into the space and back loses information.
    fn loses(&self) -> bool {
        false
    }

    /// Returns a low-rank change of points as a low-rank change of states, if it is one.
    fn low_rank(&self, language: Language, change: LowRank) -> Option<LowRank> {
        let _ = (language, change);
        None
    }
}
