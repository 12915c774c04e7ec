//! Spaces that edits are fitted and applied in, and the way back to hidden states.

pub mod affine;
pub mod latent;
pub mod raw;

use std::collections::BTreeMap;
use std::sync::Arc;

use interlingua_backend::{Device, Tensor, from_rows, to_host};
use interlingua_data::Language;
use interlingua_edits::Edit;
use interlingua_models::engine::LowRank;
use interlingua_models::intervene::RawEdit;
use interlingua_models::{RowInfo, StateEdit};

use crate::ExperimentError;
use crate::spec::{Reinsert, Space};

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
    fn check(&self, language: Language) -> Result<(), ExperimentError>;

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

/// All spaces at one hook point.
pub struct Spaces {
    /// Device of all tensors.
    pub device: Device,
    /// Width of a hidden state.
    pub width: usize,
    all: BTreeMap<Space, Arc<dyn StateSpace>>,
    /// Mean of each language's tokens in each space.
    pub means: BTreeMap<(Space, Language), Vec<f64>>,
    /// Keys of everything that decides what a space is.
    keys: BTreeMap<Space, String>,
}

impl Spaces {
    /// The raw space alone.
    pub fn raw(width: usize, device: &Device) -> Spaces {
        let raw: Arc<dyn StateSpace> = Arc::new(raw::Raw { width });
        Spaces {
            device: device.clone(),
            width,
            all: BTreeMap::from([(Space::Raw, raw)]),
            means: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Adds a space, with the key of everything that decides what it is.
    pub fn add(&mut self, name: Space, space: impl StateSpace + 'static, key: String) {
        self.all.insert(name, Arc::new(space));
        self.keys.insert(name, key);
    }

    /// All spaces.
    pub fn all(&self) -> impl Iterator<Item = (Space, &dyn StateSpace)> {
        self.all.iter().map(|(name, space)| (*name, &**space))
    }

    /// A space.
    pub fn get(&self, space: Space) -> &dyn StateSpace {
        &**self.shared(space)
    }

    fn shared(&self, space: Space) -> &Arc<dyn StateSpace> {
        let found = self.all.get(&space);
        found.expect("the plan's spaces are fitted at every hook point")
    }

    /// Mean of a language's tokens in a space.
    pub fn mean(&self, space: Space, language: Language) -> &[f64] {
        self.means
            .get(&(space, language))
            .expect("the plan's spaces have a mean for every language")
    }

    /// Key of everything that decides what a space is: where states go, and where they come back to. The states
    /// themselves need none.
    pub fn key(&self, space: Space) -> &str {
        self.keys.get(&space).map_or(space.name(), String::as_str)
    }

    /// Width of vectors in a space.
    pub fn dim(&self, space: Space) -> usize {
        self.get(space).dim()
    }

    /// Hidden states of a language into the space.
    ///
    /// # Shapes
    /// `states`: rows × width, row-major; result rows × [`Spaces::dim`].
    ///
    /// # Errors
    /// A language that the space was not fitted on.
    pub fn enter(
        &self,
        space: Space,
        language: Language,
        states: Vec<f32>,
    ) -> Result<Vec<f32>, ExperimentError> {
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

/// An edit in a space, as the engine sees it: states in, states out.
pub struct SiteEdit {
    space: Arc<dyn StateSpace>,
    reinsert: Reinsert,
    language: Language,
    edit: RawEdit,
}

impl SiteEdit {
    /// `language` is the language of the text the edit will meet.
    ///
    /// # Errors
    /// A language that the space was not fitted on.
    pub fn new(
        spaces: &Spaces,
        space: Space,
        reinsert: Reinsert,
        language: Language,
        edit: &Edit,
    ) -> Result<SiteEdit, ExperimentError> {
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

/// Coordinates of rows on their two main axes of variance.
///
/// # Shapes
/// `x`: rows × width, row-major; result one pair per row.
pub fn project(x: &[f32], width: usize) -> Vec<(f64, f64)> {
    let rows = x.len() / width;
    let (_, centred) = affine::centre(x, width);
    let Ok(svd) = centred.thin_svd() else {
        unreachable!("SVD of finite states did not converge")
    };
    let axis = |k: usize, i: usize| -> f64 {
        if k >= svd.V().ncols() {
            return 0.0;
        }
        // The sign of a singular vector is free: its largest entry is made positive.
        let largest = (0..width)
            .map(|j| svd.V()[(j, k)])
            .fold(0.0f64, |m, v| if v.abs() > m.abs() { v } else { m });
        (0..width)
            .map(|j| centred[(i, j)] * svd.V()[(j, k)])
            .sum::<f64>()
            * largest.signum()
    };
    (0..rows).map(|i| (axis(0, i), axis(1, i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlingua_backend::DeviceName;
    use interlingua_edits::Matrix;

    /// What the head computes from the rank of an edit is what the edit does to states.
    #[test]
    fn the_rank_of_an_edit_says_what_the_edit_does() {
        let (rows, width, dim) = (60, 8, 4);
        let device = DeviceName::Cpu.open().unwrap();
        let number = |i: usize| (((i * 7919 + 13) % 101) as f32) / 50.0 - 1.0;
        let states: Vec<f32> = (0..rows * width).map(number).collect();
        let other: Vec<f32> = (0..rows * width).map(|i| number(i * 3 + 1)).collect();
        let mut spaces = Spaces::raw(width, &device);
        let affine_spaces = [
            Space::Centred,
            Space::Procrustes,
            Space::Cca,
            Space::JointPca,
            Space::Lsar,
            Space::Lir,
        ];
        for space in affine_spaces {
            let maps = affine::fit(space, &[states.clone(), other.clone()], width, dim, &device);
            let languages = [Language::EN, Language::FR];
            let found = affine::AffineSpace::new(space, &languages, maps.unwrap());
            spaces.add(space, found, String::new());
        }
        for space in affine_spaces.into_iter().chain([Space::Raw]) {
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
