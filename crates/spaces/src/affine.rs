//! Spaces that are reached by affine maps. They are the baselines for the autoencoder's latent space, and there is
//! one file for each way of fitting them.
//!
//! Every language x has a map z = (h − μₓ)·Aₓ and a map back z·Bₓ, with Bₓ·Aₓ = I, so that a change of z is returned
//! as the change of h that causes exactly this change. The maps are fitted on the sentence vectors of translations.

use std::collections::BTreeMap;

use faer::Mat;
use interlingua_backend::{Device, Tensor, from_rows};
use interlingua_data::Language;
use interlingua_models::engine::LowRank;

use crate::{Passage, Reinsert, Space, SpaceError, StateSpace};

/// The affine map of one language into a space and back.
#[derive(Debug, Clone)]
pub struct Affine {
    mean: Tensor<2>,
    /// A, `[width, dim]`, and B, `[dim, width]`; nothing where both are the identity.
    maps: Option<(Tensor<2>, Tensor<2>)>,
}

impl Affine {
    /// Maps states into the space.
    ///
    /// # Shapes
    /// `h` is `[rows, width]`, and the result is `[rows, dim]`.
    pub fn enter(&self, h: Tensor<2>) -> Tensor<2> {
        let centred = h - self.mean.clone();
        match &self.maps {
            Some((into, _)) => centred.matmul(into.clone()),
            None => centred,
        }
    }

    /// Maps a change of coordinates to a change of states.
    ///
    /// # Shapes
    /// `change` is `[rows, dim]`, and the result is `[rows, width]`.
    pub fn back(&self, change: Tensor<2>) -> Tensor<2> {
        match &self.maps {
            Some((_, back)) => change.matmul(back.clone()),
            None => change,
        }
    }

    /// Maps a low-rank change of coordinates to a low-rank change of states. With z = (h − μ)·A, the coefficients z·r
    /// − b are h·(A·r) − (b + μ·A·r).
    pub fn low_rank(&self, change: LowRank) -> LowRank {
        let right = match &self.maps {
            Some((into, _)) => into.clone().matmul(change.right),
            None => change.right,
        };
        LowRank {
            offset: change.offset + self.mean.clone().matmul(right.clone()),
            right,
            left: self.back(change.left),
        }
    }

    /// Returns the width of the space.
    pub fn dim(&self) -> usize {
        match &self.maps {
            Some((into, _)) => into.dims()[1],
            None => self.mean.dims()[1],
        }
    }
}

/// A space with an affine map for each language.
pub struct AffineSpace {
    name: Space,
    ways: BTreeMap<Language, Affine>,
}

impl AffineSpace {
    /// Makes the space with this name from the maps of each language.
    pub fn new(name: Space, languages: &[Language], ways: Vec<Affine>) -> AffineSpace {
        AffineSpace {
            name,
            ways: languages.iter().copied().zip(ways).collect(),
        }
    }

    fn way(&self, language: Language) -> &Affine {
        let way = self.ways.get(&language);
        way.expect("the language was checked when the edit was made")
    }
}

impl StateSpace for AffineSpace {
    fn dim(&self) -> usize {
        self.ways.values().next().map_or(0, Affine::dim)
    }

    fn check(&self, language: Language) -> Result<(), SpaceError> {
        if self.ways.contains_key(&language) {
            return Ok(());
        }
        Err(SpaceError::NoLanguage {
            space: self.name.name(),
            language,
            known: self.ways.keys().copied().collect(),
        })
    }

    fn enter(&self, language: Language, h: Tensor<2>) -> Tensor<2> {
        self.way(language).enter(h)
    }

    /// What the way in leaves out of a state stays as it is, so both re-insertions are one.
    fn leave(&self, language: Language, _: Reinsert, passage: Passage) -> Tensor<2> {
        passage.states + self.way(language).back(passage.changed - passage.points)
    }

    fn is_affine(&self) -> bool {
        true
    }

    fn low_rank(&self, language: Language, change: LowRank) -> Option<LowRank> {
        Some(self.way(language).low_rank(change))
    }
}

/// The matrices A and B of one language; `None` if both are the identity.
pub type Maps = Option<(Mat<f64>, Mat<f64>)>;

/// The sentence vectors of translations, on which affine spaces are fitted.
pub struct Translations {
    /// The mean of each language.
    pub means: Vec<Vec<f64>>,
    /// The vectors of each language minus their mean, rows × width. Row i has the same meaning in every language.
    pub centred: Vec<Mat<f64>>,
    /// The width of a vector.
    pub width: usize,
}

/// A way of fitting affine maps.
pub trait Family {
    /// The name of the space in rows and files.
    const NAME: &'static str;
    /// Whether the space has the width of the latent space rather than that of the states.
    const NARROWED: bool;
    /// Whether the map into the space subtracts the mean of the language.
    const CENTRED: bool;

    /// Fits the maps of each language.
    ///
    /// # Shapes
    /// The result has for each language A, width × `dim`, and B, `dim` × width, if [`Family::NARROWED`]; otherwise
    /// both are width × width.
    ///
    /// # Errors
    /// Fewer rows than dimensions, or states that vary along fewer directions than that.
    fn maps(on: &Translations, dim: usize) -> Result<Vec<Maps>, SpaceError>;
}

/// Fits a family of affine maps on translations.
///
/// # Shapes
/// `languages[l]` is rows × `width`, row-major; row i has the same meaning in every language.
///
/// # Errors
/// The errors of [`Family::maps`].
pub fn fit<F: Family>(
    languages: &[Vec<f32>],
    width: usize,
    dim: usize,
    device: &Device,
) -> Result<Vec<Affine>, SpaceError> {
    let (means, centred) = languages.iter().map(|x| centre(x, width)).unzip();
    let on = Translations {
        means,
        centred,
        width,
    };
    let maps = F::maps(&on, dim)?;
    let mean = |mean: &Vec<f64>| match F::CENTRED {
        true => mean.iter().map(|&m| m as f32).collect(),
        false => vec![0.0; width],
    };
    let affine = |(of_language, maps): (&Vec<f64>, Maps)| Affine {
        mean: from_rows(mean(of_language), 1, width, device),
        maps: maps.map(|(into, back)| (tensor(&into, device), tensor(&back, device))),
    };
    Ok(on.means.iter().zip(maps).map(affine).collect())
}

fn tensor(m: &Mat<f64>, device: &Device) -> Tensor<2> {
    let (rows, cols) = (m.nrows(), m.ncols());
    let values = (0..rows * cols)
        .map(|at| m[(at / cols, at % cols)] as f32)
        .collect();
    from_rows(values, rows, cols, device)
}

/// Returns the mean of the rows, and the rows minus this mean.
///
/// # Shapes
/// `x` is rows × `width`, row-major; the mean has `width` values.
pub fn centre(x: &[f32], width: usize) -> (Vec<f64>, Mat<f64>) {
    let rows = x.len() / width;
    let mut mean = vec![0.0; width];
    for row in x.chunks_exact(width) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(m, v)| *m += f64::from(*v) / rows as f64);
    }
    let centred = Mat::from_fn(rows, width, |i, j| f64::from(x[i * width + j]) - mean[j]);
    (mean, centred)
}

/// Returns I − Σ v·vᵀ over the first `rank` left singular vectors v of `m`.
pub(crate) fn without_leading(
    m: &Mat<f64>,
    rank: usize,
    what: &'static str,
) -> Result<Mat<f64>, SpaceError> {
    let svd = m
        .thin_svd()
        .map_err(|_| SpaceError::Decomposition { what })?;
    let leading = svd.U().get(.., ..rank);
    Ok(Mat::<f64>::identity(m.nrows(), m.nrows()) - leading * leading.transpose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lir::lir;
    use crate::lsar::lsar;
    use crate::procrustes::procrustes;
    use interlingua_backend::{DeviceName, to_host};

    /// Rows of `width` numbers from a small deterministic generator, in −1..1.
    fn noise(rows: usize, width: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..rows * width)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .collect()
    }

    fn times(x: &[f32], m: &[f32], inner: usize, cols: usize) -> Vec<f32> {
        x.chunks_exact(inner)
            .flat_map(|row| {
                (0..cols)
                    .map(|j| (0..inner).map(|i| row[i] * m[i * cols + j]).sum::<f32>())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Two languages that show the same four hidden coordinates through different
    /// mixings, each with noise of its own in the remaining directions.
    fn two_views(rows: usize, width: usize) -> [Vec<f32>; 2] {
        let shared = noise(rows, 4, 1);
        [2, 3].map(|seed| {
            let mixing = noise(4, width, seed);
            let own = noise(rows, width, seed + 10);
            let seen = times(&shared, &mixing, 4, width);
            seen.iter()
                .zip(own)
                .map(|(s, n)| s + 0.1 * n + 0.5)
                .collect()
        })
    }

    #[test]
    fn procrustes_finds_a_planted_rotation() {
        let width = 3;
        let (sin, cos) = 0.7f32.sin_cos();
        let q = [cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0];
        let a = noise(30, width, 7);
        let b = times(&a, &q, width, width);
        let found = procrustes(centre(&a, width).1.as_ref(), centre(&b, width).1.as_ref()).unwrap();
        for (at, planted) in q.iter().enumerate() {
            let found = found[(at / width, at % width)];
            assert!(
                (found - f64::from(*planted)).abs() < 1e-5,
                "{found} {planted}"
            );
        }
    }

    /// In every space, the change that leads back has exactly the effect it was asked for.
    #[test]
    fn a_change_comes_back_as_itself() {
        let (rows, width, dim) = (200, 10, 4);
        let device = DeviceName::Cpu.open().unwrap();
        let languages = two_views(rows, width);
        for space in [
            Space::Centred,
            Space::Procrustes,
            Space::Cca,
            Space::JointPca,
        ] {
            let maps = space.fit(&languages, width, dim, &device).unwrap();
            for (map, states) in maps.iter().zip(&languages) {
                let h = from_rows(states.clone(), rows, width, &device);
                let change = from_rows(noise(rows, map.dim(), 5), rows, map.dim(), &device);
                let moved = map.enter(h.clone() + map.back(change.clone())) - map.enter(h);
                for (a, b) in to_host(moved).iter().zip(to_host(change)) {
                    assert!((a - b).abs() < 1e-3, "{}: {a} {b}", space.name());
                }
            }
        }
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    /// Of `tests/generators/erasers_golden.py`.
    #[derive(serde::Deserialize)]
    struct Case {
        dim: usize,
        languages: usize,
        x: Vec<f64>,
        language: Vec<usize>,
        lsar: Vec<Ranked>,
        lir: Vec<Vec<f64>>,
    }

    #[derive(serde::Deserialize)]
    struct Ranked {
        rank: usize,
        projection: Vec<f64>,
    }

    /// Frobenius distance.
    fn distance(found: &Mat<f64>, expect: &[f64]) -> f64 {
        let width = found.ncols();
        assert_eq!(found.nrows() * width, expect.len());
        let squares = expect.iter().enumerate();
        let squares = squares.map(|(at, e)| (found[(at / width, at % width)] - e).powi(2));
        squares.sum::<f64>().sqrt()
    }

    #[test]
    fn lsar_and_lir_are_what_their_definitions_give() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/debias/erasers.json"
        );
        let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(golden.cases.len() >= 3);
        for case in golden.cases {
            let mut means = Vec::new();
            for language in 0..case.languages {
                let rows = case.x.chunks_exact(case.dim).zip(&case.language);
                let rows: Vec<&[f64]> = rows
                    .filter(|(_, l)| **l == language)
                    .map(|(row, _)| row)
                    .collect();
                let n = rows.len() as f64;
                let mean: Vec<f64> = (0..case.dim)
                    .map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / n)
                    .collect();
                let centred = Mat::from_fn(rows.len(), case.dim, |i, j| rows[i][j] - mean[j]);
                let off = distance(&lir(&mean, &centred).unwrap(), &case.lir[language]);
                assert!(off < 1e-10, "LIR: {off:e}");
                means.push(mean);
            }
            let means: Vec<&[f64]> = means.iter().map(Vec::as_slice).collect();
            assert_eq!(case.lsar.len(), case.languages - 1);
            for Ranked { rank, projection } in case.lsar {
                let off = distance(&lsar(&means, rank).unwrap(), &projection);
                assert!(off < 1e-10, "LSAR, rank {rank}: {off:e}");
            }
        }
    }

    /// LSAR brings all languages to one mean; neither space changes what is not in it.
    #[test]
    fn what_is_language_specific_stays_in_the_states() {
        let (rows, width) = (200, 10);
        let device = DeviceName::Cpu.open().unwrap();
        let mut languages = two_views(rows, width);
        languages[1].iter_mut().for_each(|v| *v += 2.0);
        for space in [Space::Lsar, Space::Lir] {
            let maps = space.fit(&languages, width, 4, &device).unwrap();
            let mut means = Vec::new();
            for (map, states) in maps.iter().zip(&languages) {
                let h = from_rows(states.clone(), rows, width, &device);
                let change = from_rows(noise(rows, map.dim(), 5), rows, map.dim(), &device);
                let z = map.enter(h.clone());
                means.push(centre(&to_host(z.clone()), width).0);
                // The part of a change that lies in the space comes back as itself.
                let moved = map.enter(h.clone() + map.back(change.clone())) - z;
                let back = map.back(change);
                for (a, b) in to_host(moved).iter().zip(to_host(back.clone())) {
                    assert!((a - b).abs() < 1e-4, "{}: {a} {b}", space.name());
                }
                for (a, b) in to_host(map.back(back.clone())).iter().zip(to_host(back)) {
                    assert!((a - b).abs() < 1e-4, "{}: {a} {b}", space.name());
                }
            }
            let apart = means[0].iter().zip(&means[1]);
            let apart = apart.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert_eq!(
                apart < 1e-5,
                space == Space::Lsar,
                "{}: {apart}",
                space.name()
            );
        }
    }

    #[test]
    fn cca_finds_what_two_languages_share() {
        let (rows, width, dim) = (400, 10, 4);
        let device = DeviceName::Cpu.open().unwrap();
        let languages = two_views(rows, width);
        let agreement = |space: Space| {
            let maps = space.fit(&languages, width, dim, &device).unwrap();
            let z: Vec<Vec<f32>> = maps
                .iter()
                .zip(&languages)
                .map(|(m, x)| to_host(m.enter(from_rows(x.clone(), rows, width, &device))))
                .collect();
            let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(x, y)| x * y).sum() };
            dot(&z[0], &z[1]) / (dot(&z[0], &z[0]) * dot(&z[1], &z[1])).sqrt()
        };
        assert!(agreement(Space::Cca) > 0.95, "{}", agreement(Space::Cca));
        assert!(agreement(Space::JointPca) < 0.6);
    }

    #[test]
    fn a_space_wider_than_the_data_is_refused() {
        let device = DeviceName::Cpu.open().unwrap();
        let languages = [noise(5, 10, 1), noise(5, 10, 2)];
        for space in [Space::Cca, Space::JointPca] {
            let problem = space
                .fit(&languages, 10, 9, &device)
                .unwrap_err()
                .to_string();
            assert!(problem.contains("directions vary"), "{problem}");
        }
    }
}
