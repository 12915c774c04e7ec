//! The spaces at one hook, and edits in these spaces in the form that the engine applies.

use std::collections::BTreeMap;
use std::sync::Arc;

use interlingua_backend::{Device, Tensor, from_rows, to_host};
use interlingua_data::Language;
use interlingua_edits::Edit;
use interlingua_models::engine::LowRank;
use interlingua_models::intervene::RawEdit;
use interlingua_models::{RowInfo, StateEdit};

use crate::raw::Raw;
use crate::{Reinsert, Space, SpaceError, StateSpace};

/// All spaces at one hook.
pub struct Spaces {
    /// The device of all tensors.
    pub device: Device,
    /// The width of a hidden state.
    pub width: usize,
    all: BTreeMap<Space, Arc<dyn StateSpace>>,
    /// The mean of each language's tokens in each space.
    pub means: BTreeMap<(Space, Language), Vec<f64>>,
    /// Keys of everything that decides what a space is.
    keys: BTreeMap<Space, String>,
}

impl Spaces {
    /// Makes a collection that has the raw space alone.
    pub fn raw(width: usize, device: &Device) -> Spaces {
        let raw: Arc<dyn StateSpace> = Arc::new(Raw { width });
        Spaces {
            device: device.clone(),
            width,
            all: BTreeMap::from([(Space::Raw, raw)]),
            means: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Adds a space, with a key of everything that determines it.
    pub fn add(&mut self, name: Space, space: impl StateSpace + 'static, key: String) {
        self.all.insert(name, Arc::new(space));
        self.keys.insert(name, key);
    }

    /// Iterates over all spaces.
    pub fn all(&self) -> impl Iterator<Item = (Space, &dyn StateSpace)> {
        self.all.iter().map(|(name, space)| (*name, &**space))
    }

    /// Returns a space.
    pub fn get(&self, space: Space) -> &dyn StateSpace {
        &**self.shared(space)
    }

    fn shared(&self, space: Space) -> &Arc<dyn StateSpace> {
        let found = self.all.get(&space);
        found.expect("the plan's spaces are fitted at every hook point")
    }

    /// Returns the mean of a language's tokens in a space.
    pub fn mean(&self, space: Space, language: Language) -> &[f64] {
        self.means
            .get(&(space, language))
            .expect("the plan's spaces have a mean for every language")
    }

    /// Returns the key of everything that determines a space and its maps. The raw space has an empty key.
    pub fn key(&self, space: Space) -> &str {
        self.keys.get(&space).map_or(space.name(), String::as_str)
    }

    /// Returns the width of the points of a space.
    pub fn dim(&self, space: Space) -> usize {
        self.get(space).dim()
    }

    /// Maps hidden states of a language into a space.
    ///
    /// # Shapes
    /// `states` is rows × width, row-major; the result is rows × [`Spaces::dim`].
    ///
    /// # Errors
    /// A language that the space was not fitted on.
    pub fn enter(
        &self,
        space: Space,
        language: Language,
        states: Vec<f32>,
    ) -> Result<Vec<f32>, SpaceError> {
        let found = self.get(space);
        found.check(language)?;
        if states.is_empty() || space == Space::Raw {
            return Ok(states);
        }
        let rows = states.len() / self.width;
        let h = from_rows(states, rows, self.width, &self.device);
        Ok(to_host(found.enter(language, h)))
    }
}

/// An edit in a space, in the form that the engine applies: it takes states and returns states.
pub struct SiteEdit {
    space: Arc<dyn StateSpace>,
    reinsert: Reinsert,
    language: Language,
    edit: RawEdit,
}

impl SiteEdit {
    /// Makes the edit; `language` is the language of the text that it will be applied to.
    ///
    /// # Errors
    /// A language that the space was not fitted on.
    pub fn new(
        spaces: &Spaces,
        space: Space,
        reinsert: Reinsert,
        language: Language,
        edit: &Edit,
    ) -> Result<SiteEdit, SpaceError> {
        let space = spaces.shared(space);
        space.check(language)?;
        Ok(SiteEdit {
            space: space.clone(),
            reinsert,
            language,
            edit: RawEdit::new(edit, &spaces.device),
        })
    }
}

impl StateEdit for SiteEdit {
    fn low_rank(&self) -> Option<LowRank> {
        self.space.low_rank(self.language, self.edit.low_rank()?)
    }

    fn apply(&self, h: Tensor<2>, rows: &RowInfo<'_>) -> Tensor<2> {
        let edit = |points| self.edit.apply(points, rows);
        self.space.apply(self.language, self.reinsert, h, &edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlingua_backend::DeviceName;
    use interlingua_edits::Matrix;

    use crate::affine::AffineSpace;

    /// What the head computes from the rank of an edit is what the edit does to states.
    #[test]
    fn the_rank_of_an_edit_says_what_the_edit_does() {
        let (rows, width, dim) = (60, 8, 4);
        let device = DeviceName::Cpu.open().unwrap();
        let number = |i: usize| (((i * 7919 + 13) % 101) as f32) / 50.0 - 1.0;
        let states: Vec<f32> = (0..rows * width).map(number).collect();
        let other: Vec<f32> = (0..rows * width).map(|i| number(i * 3 + 1)).collect();
        let mut spaces = Spaces::raw(width, &device);
        let affine_spaces = Space::AFFINE;
        for &space in affine_spaces {
            let maps = space.fit(&[states.clone(), other.clone()], width, dim, &device);
            let languages = [Language::EN, Language::FR];
            let found = AffineSpace::new(space, &languages, maps.unwrap());
            spaces.add(space, found, String::new());
        }
        for &space in affine_spaces.iter().chain([&Space::Raw]) {
            let d = spaces.dim(space);
            let factor =
                |rows, cols| Matrix::from_fn(rows, cols, |i, j| f64::from(number(i * 5 + j)));
            let mean: Vec<f64> = (0..d).map(|i| f64::from(number(i))).collect();
            let erase = Edit::erase(factor(d, 2), factor(2, d), Some(&mean)).unwrap();
            let edit =
                SiteEdit::new(&spaces, space, Reinsert::Residual, Language::FR, &erase).unwrap();
            let h = from_rows(states.clone(), rows, width, &device);
            let by_rank = to_host(edit.low_rank().unwrap().apply(h.clone()));
            for (a, b) in by_rank
                .iter()
                .zip(to_host(edit.apply(h, &RowInfo::new(&[], &[]))))
            {
                assert!((a - b).abs() < 2e-4, "{}: {a} {b}", space.name());
            }
        }
    }
}
