//! The space of the hidden states themselves.

use interlingua_backend::Tensor;
use interlingua_data::Language;
use interlingua_models::engine::LowRank;

use crate::{Passage, Reinsert, SpaceError, StateSpace};

/// The space of the states themselves, in which entering and leaving change nothing.
pub struct Raw {
    /// The width of a state.
    pub width: usize,
}

impl StateSpace for Raw {
    fn dim(&self) -> usize {
        self.width
    }

    fn check(&self, _: Language) -> Result<(), SpaceError> {
        Ok(())
    }

    fn enter(&self, _: Language, h: Tensor<2>) -> Tensor<2> {
        h
    }

    fn leave(&self, _: Language, _: Reinsert, passage: Passage) -> Tensor<2> {
        passage.changed
    }

    fn apply(
        &self,
        _: Language,
        _: Reinsert,
        h: Tensor<2>,
        edit: &dyn Fn(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        edit(h)
    }

    fn is_affine(&self) -> bool {
        true
    }

    fn low_rank(&self, _: Language, change: LowRank) -> Option<LowRank> {
        Some(change)
    }
}
