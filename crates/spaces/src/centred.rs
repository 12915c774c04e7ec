//! The space of states minus the mean of their language.

use crate::SpaceError;
use crate::affine::{Family, Maps, Translations};

/// The hidden states minus the mean of their language.
pub struct Centred;

impl Family for Centred {
    const NAME: &'static str = "centred";
    const NARROWED: bool = false;
    const CENTRED: bool = true;

    fn maps(on: &Translations, dim: usize) -> Result<Vec<Maps>, SpaceError> {
        let _ = dim;
        Ok(vec![None; on.means.len()])
    }
}
