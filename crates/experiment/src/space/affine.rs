//! Spaces that affine maps lead to: what an autoencoder has to beat.
//!
//! Every language x has a map z = (h − μₓ)·Aₓ and a way back z·Bₓ, with
//! Bₓ·Aₓ = I, so that a change of z comes back as the change of h that causes
//! exactly it. They are fitted on sentence vectors of translations.
//!
//! [`Space::Lsar`] and [`Space::Lir`] take what is language-specific out of the
//! states: μₓ = 0 and Aₓ = Bₓ = P, a projection. What they take out is not a part
//! of z and is left as it is in h.

use std::collections::BTreeMap;

use faer::{Mat, MatRef, Side};
use interlingua_backend::{Device, Tensor, from_rows};
use interlingua_data::Language;
use interlingua_models::engine::LowRank;

use super::{Passage, StateSpace};
use crate::ExperimentError;
use crate::spec::{Reinsert, Space};

/// The way of one language into a space and back.
#[derive(Debug, Clone)]
pub struct Affine {
    mean: Tensor<2>,
    /// A, `[width, dim]`, and B, `[dim, width]`; nothing where both are the identity.
    maps: Option<(Tensor<2>, Tensor<2>)>,
}

impl Affine {
    /// States into the space.
    ///
    /// # Shapes
    /// `h`: `[rows, width]`, result `[rows, dim]`.
    pub fn enter(&self, h: Tensor<2>) -> Tensor<2> {
        let centred = h - self.mean.clone();
        match &self.maps {
            Some((into, _)) => centred.matmul(into.clone()),
            None => centred,
        }
    }

    /// A change of coordinates as a change of states.
    ///
    /// # Shapes
    /// `change`: `[rows, dim]`, result `[rows, width]`.
    pub fn back(&self, change: Tensor<2>) -> Tensor<2> {
        match &self.maps {
            Some((_, back)) => change.matmul(back.clone()),
            None => change,
        }
    }

    /// A change of coordinates as a change of states: with z = (h − μ)·A, the coefficients
    /// z·r − b are h·(A·r) − (b + μ·A·r).
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

    /// Width of the space.
    pub fn dim(&self) -> usize {
        match &self.maps {
            Some((into, _)) => into.dims()[1],
            None => self.mean.dims()[1],
        }
    }
}

/// A space with an affine way for each language.
pub struct AffineSpace {
    name: Space,
    ways: BTreeMap<Language, Affine>,
}

impl AffineSpace {
    /// The space of this name, with the way of each language.
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

    fn check(&self, language: Language) -> Result<(), ExperimentError> {
        if self.ways.contains_key(&language) {
            return Ok(());
        }
        let known: Vec<&str> = self.ways.keys().map(Language::code).collect();
        Err(ExperimentError::plan(
            "languages",
            format!(
                "space `{}` has no map for `{language}`; it was fitted on {}",
                self.name.name(),
                known.join(", ")
            ),
        ))
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

/// A and B of one language.
type Maps = (Mat<f64>, Mat<f64>);

/// Share of a language's mean variance that is added to every direction before
/// [`Space::Cca`] divides by it.
///
/// Without it, canonical correlation finds chance agreement along directions
/// that hardly vary.
pub const CCA_RIDGE: f64 = 0.01;

/// Fits an affine space on translations.
///
/// `dim` is the width of [`Space::Cca`] and [`Space::JointPca`]; the others keep
/// the width of the states.
///
/// # Shapes
/// `languages[l]`: rows × `width`, row-major; row i says the same in every language.
///
/// # Errors
/// Fewer rows than dimensions, or states in which fewer directions vary.
pub fn fit(
    space: Space,
    languages: &[Vec<f32>],
    width: usize,
    dim: usize,
    device: &Device,
) -> Result<Vec<Affine>, ExperimentError> {
    let centred: Vec<(Vec<f64>, Mat<f64>)> = languages.iter().map(|x| centre(x, width)).collect();
    let states: Vec<&Mat<f64>> = centred.iter().map(|(_, x)| x).collect();
    let maps: Vec<Option<Maps>> = match space {
        Space::Centred => vec![None; states.len()],
        Space::Procrustes => states
            .iter()
            .map(|x| {
                let q = procrustes(x.as_ref(), states[0].as_ref())?;
                let back = q.transpose().to_owned();
                Ok(Some((q, back)))
            })
            .collect::<Result<_, ExperimentError>>()?,
        Space::Cca => cca(&states, dim)?.into_iter().map(Some).collect(),
        Space::JointPca => {
            let axes = joint_pca(&states, dim)?;
            let back = axes.transpose().to_owned();
            vec![Some((axes, back)); states.len()]
        }
        Space::Lsar => {
            let means: Vec<&[f64]> = centred.iter().map(|(mean, _)| mean.as_slice()).collect();
            let p = lsar(&means, means.len() - 1)?;
            vec![Some((p.clone(), p)); means.len()]
        }
        Space::Lir => centred
            .iter()
            .map(|(mean, x)| {
                let p = lir(mean, x)?;
                Ok(Some((p.clone(), p)))
            })
            .collect::<Result<_, ExperimentError>>()?,
        Space::Raw | Space::Latent | Space::LatentShared | Space::LatentUnaligned => {
            unreachable!("`{}` is not affine", space.name())
        }
    };
    let is_centred = !matches!(space, Space::Lsar | Space::Lir);
    let mean = |mean: &[f64]| match is_centred {
        true => mean.iter().map(|&m| m as f32).collect(),
        false => vec![0.0; width],
    };
    Ok(centred
        .iter()
        .zip(maps)
        .map(|((of_language, _), maps)| Affine {
            mean: from_rows(mean(of_language), 1, width, device),
            maps: maps.map(|(into, back)| (tensor(&into, device), tensor(&back, device))),
        })
        .collect())
}

fn tensor(m: &Mat<f64>, device: &Device) -> Tensor<2> {
    let (rows, cols) = (m.nrows(), m.ncols());
    let values = (0..rows * cols)
        .map(|at| m[(at / cols, at % cols)] as f32)
        .collect();
    from_rows(values, rows, cols, device)
}

/// Mean of the rows, and the rows without it.
pub(super) fn centre(x: &[f32], width: usize) -> (Vec<f64>, Mat<f64>) {
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

fn too_few(space: Space, dim: usize, found: usize) -> ExperimentError {
    ExperimentError::plan(
        "autoencoder.latent",
        format!(
            "space `{}` is as wide as the latent space, {dim}, but only {found} directions vary in the training rows; \
             give more rows or a smaller width",
            space.name()
        ),
    )
}

fn decomposition(what: &str) -> ExperimentError {
    ExperimentError::plan(
        "spaces",
        format!("the decomposition behind {what} did not converge; are the states finite?"),
    )
}

/// The rotation Q that brings `a` closest to `b`: `min ‖aQ − b‖`.
///
/// # Shapes
/// `a`, `b`: rows × width, centred; result width × width.
///
/// # Source
/// Schönemann 1966: Q = U·Vᵀ from the SVD of aᵀ·b.
fn procrustes(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Result<Mat<f64>, ExperimentError> {
    let cross = a.transpose() * b;
    let svd = cross.svd().map_err(|_| decomposition("procrustes"))?;
    Ok(svd.U() * svd.V().transpose())
}

/// The directions in which all languages together vary most, each around its own mean.
///
/// # Shapes
/// Result width × `dim`, orthonormal columns.
fn joint_pca(languages: &[&Mat<f64>], dim: usize) -> Result<Mat<f64>, ExperimentError> {
    let width = languages[0].ncols();
    let mut gram = Mat::<f64>::zeros(width, width);
    for x in languages {
        gram += x.transpose() * *x;
    }
    let eigen = gram
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| decomposition("joint-pca"))?;
    let values = eigen.S().column_vector();
    let floor = values[width - 1] * width as f64 * f64::EPSILON;
    let found = (0..width).filter(|&i| values[i] > floor).count();
    if found < dim {
        return Err(too_few(Space::JointPca, dim, found));
    }
    Ok(Mat::from_fn(width, dim, |i, j| {
        eigen.U()[(i, width - 1 - j)]
    }))
}

/// I − Σ v·vᵀ over the first `rank` left singular vectors of `m`.
fn without_leading(m: &Mat<f64>, rank: usize, what: &str) -> Result<Mat<f64>, ExperimentError> {
    let svd = m.thin_svd().map_err(|_| decomposition(what))?;
    let leading = svd.U().get(.., ..rank);
    Ok(Mat::<f64>::identity(m.nrows(), m.nrows()) - leading * leading.transpose())
}

/// Singular values below this share of the largest are rounding.
const PINV_TOLERANCE: f64 = 1e-10;

/// The projection away from the subspace in which language means differ.
///
/// M holds the means as columns; w = M·1/L; M̂ = w·1ᵀ + the rank-k SVD of M − w·1ᵀ;
/// w′ = M̂⁺ᵀ·1/‖M̂⁺ᵀ·1‖²; the k leading left singular vectors of M̂ − w′·1ᵀ go. With
/// k = L − 1 these span the differences of the means.
///
/// # Shapes
/// `means`: L of length width; result width × width.
///
/// # Source
/// Xie et al., EMNLP 2022 (arXiv 2401.05792), after the common-specific decomposition
/// of Piratla et al. 2020 (arXiv 2003.12815). Its ranks are one less than its languages, as ours.
fn lsar(means: &[&[f64]], rank: usize) -> Result<Mat<f64>, ExperimentError> {
    let (width, count) = (means[0].len(), means.len());
    let ones = Mat::<f64>::from_fn(1, count, |_, _| 1.0);
    let m = Mat::from_fn(width, count, |i, l| means[l][i]);
    let common = &m * ones.transpose() * (1.0 / count as f64);
    let apart = &m - &common * &ones;
    let svd = apart.thin_svd().map_err(|_| decomposition("lsar"))?;
    let (u, s, v) = (svd.U(), svd.S().column_vector(), svd.V());
    let scaled = Mat::from_fn(width, rank, |i, k| u[(i, k)] * s[k]);
    let fit = &common * &ones + scaled * v.get(.., ..rank).transpose();

    let svd = fit.thin_svd().map_err(|_| decomposition("lsar"))?;
    let (u, s, v) = (svd.U(), svd.S().column_vector(), svd.V());
    let along = v.transpose() * ones.transpose();
    let floor = PINV_TOLERANCE * s[0];
    let inverse = Mat::from_fn(count, 1, |k, _| match s[k] > floor {
        true => along[(k, 0)] / s[k],
        false => 0.0,
    });
    let common = u * inverse;
    let size = common.squared_norm_l2();
    without_leading(&(fit - common * ones * (1.0 / size)), rank, "lsar")
}

/// The projection away from the main direction of a language's uncentred states.
///
/// # Shapes
/// `mean` width, `centred` rows × width; result width × width.
///
/// # Source
/// Yang et al., EMNLP 2021 (arXiv 2109.04727), with one direction, as there.
fn lir(mean: &[f64], centred: &Mat<f64>) -> Result<Mat<f64>, ExperimentError> {
    let rows = Mat::from_fn(centred.nrows(), mean.len(), |i, j| {
        centred[(i, j)] + mean[j]
    });
    without_leading(&(rows.transpose() * &rows), 1, "lir")
}

/// Canonical correlation of any number of languages: the coordinates G that all
/// of them predict best.
///
/// G, orthonormal, maximises Σₓ ‖Pₓ·G‖², with Pₓ the (ridge) projection onto the
/// states of language x; Aₓ is the ridge regression of G on the states, and Bₓ
/// the least-squares regression of the states on the coordinates z = x·Aₓ, for
/// which Bₓ·Aₓ = (zᵀz)⁻¹·zᵀ·x·Aₓ = I.
///
/// # Shapes
/// Per language (A width × `dim`, B `dim` × width).
///
/// # Source
/// Kettenring 1971, "Canonical analysis of several sets of variables", MAXVAR;
/// for two languages Hotelling's canonical correlation.
fn cca(languages: &[&Mat<f64>], dim: usize) -> Result<Vec<Maps>, ExperimentError> {
    let rows = languages[0].nrows();
    let failed = || decomposition("cca");
    // X = U·S·Vᵀ; P = U·diag(s²/(s²+ε))·Uᵀ, so G comes from the SVD of all U·diag(s/√(s²+ε)).
    let mut parts = Vec::new();
    for x in languages {
        let svd = x.thin_svd().map_err(|_| failed())?;
        let s: Vec<f64> = {
            let column = svd.S().column_vector();
            (0..column.nrows()).map(|i| column[i]).collect()
        };
        let floor = s[0] * rows.max(x.ncols()) as f64 * f64::EPSILON;
        let rank = s.iter().take_while(|&&v| v > floor).count();
        let ridge = CCA_RIDGE * s.iter().map(|v| v * v).sum::<f64>() / x.ncols() as f64;
        let u = svd.U().get(.., ..rank).to_owned();
        let v = svd.V().get(.., ..rank).to_owned();
        parts.push((u, s[..rank].to_vec(), v, ridge));
    }
    let found = parts.iter().map(|p| p.1.len()).min().unwrap_or(0);
    if found < dim {
        return Err(too_few(Space::Cca, dim, found));
    }
    let columns: usize = parts.iter().map(|p| p.1.len()).sum();
    let mut joined = Mat::<f64>::zeros(rows, columns);
    let mut from = 0;
    for (u, s, _, ridge) in &parts {
        for (j, s) in s.iter().enumerate() {
            let weight = s / (s * s + ridge).sqrt();
            for i in 0..rows {
                joined[(i, from + j)] = u[(i, j)] * weight;
            }
        }
        from += s.len();
    }
    let svd = joined.thin_svd().map_err(|_| failed())?;
    let g = svd.U().get(.., ..dim);
    let mut maps = Vec::new();
    for ((u, s, v, ridge), x) in parts.iter().zip(languages) {
        // (XᵀX + ε)⁻¹XᵀG = V·diag(s/(s²+ε))·UᵀG.
        let mut inner = u.transpose() * g;
        for (i, s) in s.iter().enumerate() {
            for j in 0..dim {
                inner[(i, j)] *= s / (s * s + ridge);
            }
        }
        let into = v * inner;
        let z = *x * &into;
        let back = least_squares(&z, x).ok_or_else(failed)?;
        maps.push((into, back));
    }
    Ok(maps)
}

/// B of `min ‖z·B − x‖`, for `z` of full column rank.
fn least_squares(z: &Mat<f64>, x: &Mat<f64>) -> Option<Mat<f64>> {
    use faer::linalg::solvers::SolveLstsq;
    let solution = z.qr().solve_lstsq(x);
    (0..solution.ncols())
        .all(|j| (0..solution.nrows()).all(|i| solution[(i, j)].is_finite()))
        .then_some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let maps = fit(space, &languages, width, dim, &device).unwrap();
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
            let maps = fit(space, &languages, width, 4, &device).unwrap();
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
        let agreement = |space| {
            let maps = fit(space, &languages, width, dim, &device).unwrap();
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
            let problem = fit(space, &languages, 10, 9, &device)
                .unwrap_err()
                .to_string();
            assert!(problem.contains("directions vary"), "{problem}");
        }
    }
}
