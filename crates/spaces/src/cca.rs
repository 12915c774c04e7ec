//! The space of canonical coordinates of all languages.

use faer::Mat;

use crate::SpaceError;
use crate::affine::{Family, Maps, Translations};

/// The canonical coordinates of all languages, as many as the latent space has.
pub struct Cca;

impl Family for Cca {
    const NAME: &'static str = "cca";
    const NARROWED: bool = true;
    const CENTRED: bool = true;

    fn maps(on: &Translations, dim: usize) -> Result<Vec<Maps>, SpaceError> {
        cca(&on.centred, dim)
    }
}

/// The share of a language's mean variance that is added to the variance of every direction before canonical
/// correlation analysis divides by it.
///
/// Without it, canonical correlation finds chance agreement along directions that hardly vary.
pub const CCA_RIDGE: f64 = 0.01;

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
fn cca(languages: &[Mat<f64>], dim: usize) -> Result<Vec<Maps>, SpaceError> {
    let rows = languages[0].nrows();
    let failed = || SpaceError::Decomposition { what: "cca" };
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
        return Err(SpaceError::TooFew {
            space: Cca::NAME,
            dim,
            found,
        });
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
        let z = x * &into;
        let back = least_squares(&z, x).ok_or_else(failed)?;
        maps.push(Some((into, back)));
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
