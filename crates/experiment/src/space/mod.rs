//! Spaces that edits are fitted and applied in, and the way back to hidden states.

pub mod affine;

use std::collections::BTreeMap;
use std::sync::Arc;

use interlingua_autoencoder::Autoencoder;
use interlingua_backend::{Device, Tensor, from_rows, to_host};
use interlingua_data::Language;
use interlingua_edits::{Edit, Factor, Kind};
use interlingua_models::engine::LowRank;
use interlingua_models::{RowInfo, StateEdit};

use crate::ExperimentError;
use crate::spec::{Reinsert, Space};
use affine::Affine;

/// The fitted parts of all spaces at one hook point.
pub struct Spaces {
    /// Device of all tensors.
    pub device: Device,
    /// Width of a hidden state.
    pub width: usize,
    /// The autoencoders of the latent spaces.
    pub autoencoders: BTreeMap<Space, Autoencoder>,
    /// The maps of the affine spaces.
    pub affine: BTreeMap<(Space, Language), Affine>,
    /// Mean of each language's tokens in each space.
    pub means: BTreeMap<(Space, Language), Vec<f64>>,
    /// Keys of everything that decides what a space is.
    pub keys: BTreeMap<Space, String>,
}

impl Spaces {
    /// The raw space alone.
    pub fn raw(width: usize, device: &Device) -> Spaces {
        Spaces {
            device: device.clone(),
            width,
            autoencoders: BTreeMap::new(),
            affine: BTreeMap::new(),
            means: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
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

    /// The autoencoder of a latent space.
    pub fn autoencoder(&self, space: Space) -> &Autoencoder {
        self.autoencoders
            .get(&space)
            .expect("the plan's latent spaces have an autoencoder")
    }

    fn affine(&self, space: Space, language: Language) -> &Affine {
        self.affine
            .get(&(space, language))
            .expect("the plan's affine spaces have a map for every language")
    }

    /// Width of vectors in a space.
    pub fn dim(&self, space: Space) -> usize {
        match space {
            Space::Raw => self.width,
            space if space.is_latent() => self.autoencoder(space).config.latent,
            space => {
                let mut maps = self.affine.iter();
                let map = maps.find(|((s, _), _)| *s == space);
                map.expect("the plan's affine spaces are fitted").1.dim()
            }
        }
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
        self.check(space, language)?;
        if states.is_empty() || space == Space::Raw {
            return Ok(states);
        }
        let rows = states.len() / self.width;
        let h = from_rows(states, rows, self.width, &self.device);
        Ok(to_host(if space.is_latent() {
            self.autoencoder(space).encode(language.code(), h)?
        } else {
            self.affine(space, language).enter(h)
        }))
    }

    /// Whether a space takes the states of a language.
    ///
    /// # Errors
    /// A language that the space was not fitted on.
    pub fn check(&self, space: Space, language: Language) -> Result<(), ExperimentError> {
        if space.is_latent() {
            self.autoencoder(space).knows(language.code())?;
        }
        if space.is_affine() && !self.affine.contains_key(&(space, language)) {
            let known: Vec<&str> = self
                .affine
                .keys()
                .filter(|(s, _)| *s == space)
                .map(|(_, language)| language.code())
                .collect();
            return Err(ExperimentError::plan(
                "languages",
                format!(
                    "space `{}` has no map for `{language}`; it was fitted on {}",
                    space.name(),
                    known.join(", ")
                ),
            ));
        }
        Ok(())
    }
}

/// Rᵀ, b and Lᵀ of an erasure.
struct EraseTensors {
    right: Tensor<2>,
    offset: Tensor<2>,
    left: Tensor<2>,
}

/// An edit on the device.
enum EditTensors {
    Identity,
    /// `z − (z·Rᵀ − b)·Lᵀ`.
    Erase(Box<EraseTensors>),
    /// Any other edit is applied on the host.
    Host(Box<Edit>),
}

impl EditTensors {
    fn new(edit: &Edit, device: &Device) -> EditTensors {
        match (edit.left(), edit.right()) {
            (Factor::Dense(left), Factor::Dense(right)) => {
                let f32s = |m: &[f64]| m.iter().map(|&x| x as f32).collect::<Vec<_>>();
                let (k, d) = (left.rows(), left.cols());
                EditTensors::Erase(Box::new(EraseTensors {
                    right: from_rows(f32s(right.data()), k, d, device).transpose(),
                    offset: from_rows(f32s(edit.offset()), 1, k, device),
                    left: from_rows(f32s(left.data()), k, d, device),
                }))
            }
            _ if edit.kind() == Kind::Identity => EditTensors::Identity,
            _ => EditTensors::Host(Box::new(edit.clone())),
        }
    }

    /// The same as a change of low rank, if it is one.
    fn low_rank(&self) -> Option<LowRank> {
        match self {
            EditTensors::Erase(erase) => Some(LowRank {
                right: erase.right.clone(),
                offset: erase.offset.clone(),
                left: erase.left.clone(),
            }),
            EditTensors::Identity | EditTensors::Host(_) => None,
        }
    }

    fn apply(&self, z: Tensor<2>) -> Tensor<2> {
        match self {
            EditTensors::Identity => z,
            EditTensors::Erase(erase) => {
                let EraseTensors {
                    right,
                    offset,
                    left,
                } = &**erase;
                let coefficients = z.clone().matmul(right.clone()) - offset.clone();
                z - coefficients.matmul(left.clone())
            }
            EditTensors::Host(edit) => {
                let (device, [rows, cols]) = (z.device(), z.dims());
                let mut values = to_host(z);
                edit.apply_rows(&mut values)
                    .expect("the dimension was checked when the edit was fitted");
                from_rows(values, rows, cols, &device)
            }
        }
    }
}

/// An edit in a space, as the engine sees it: states in, states out.
pub struct SiteEdit {
    spaces: Arc<Spaces>,
    space: Space,
    reinsert: Reinsert,
    language: Language,
    edit: EditTensors,
}

impl SiteEdit {
    /// `language` is the language of the text the edit will meet.
    ///
    /// # Errors
    /// A language that the space was not fitted on.
    pub fn new(
        spaces: &Arc<Spaces>,
        space: Space,
        reinsert: Reinsert,
        language: Language,
        edit: &Edit,
    ) -> Result<SiteEdit, ExperimentError> {
        spaces.check(space, language)?;
        Ok(SiteEdit {
            spaces: spaces.clone(),
            space,
            reinsert,
            language,
            edit: EditTensors::new(edit, &spaces.device),
        })
    }
}

impl StateEdit for SiteEdit {
    fn low_rank(&self) -> Option<LowRank> {
        let change = self.edit.low_rank()?;
        match self.space {
            Space::Raw => Some(change),
            space if space.is_latent() => None,
            space => Some(self.spaces.affine(space, self.language).low_rank(change)),
        }
    }

    fn apply(&self, h: Tensor<2>, _: &RowInfo<'_>) -> Tensor<2> {
        let spaces = &self.spaces;
        if self.space == Space::Raw {
            return self.edit.apply(h);
        }
        if self.space.is_latent() {
            let autoencoder = spaces.autoencoder(self.space);
            let language = self.language.code();
            let known = "the language was checked when the edit was made";
            let z = autoencoder.encode(language, h.clone()).expect(known);
            let decode = |z| autoencoder.decode(language, z).expect(known);
            let edited = decode(self.edit.apply(z.clone()));
            return match self.reinsert {
                Reinsert::Replace => edited,
                Reinsert::Residual => h + edited - decode(z),
            };
        }
        let affine = spaces.affine(self.space, self.language);
        let z = affine.enter(h.clone());
        h + affine.back(self.edit.apply(z.clone()) - z)
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
            for (language, map) in [Language::EN, Language::FR].into_iter().zip(maps.unwrap()) {
                spaces.affine.insert((space, language), map);
            }
        }
        let spaces = Arc::new(spaces);
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
