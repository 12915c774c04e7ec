//! The space of states without the low-rank subspace in which languages differ. The removed part is not a coordinate
//! of the space, and an edit leaves it in the state as it is.

use faer::Mat;

use crate::SpaceError;
use crate::affine::{Family, Maps, Translations, without_leading};

/// The hidden states without the low-rank subspace in which languages differ.
pub struct Lsar;

impl Family for Lsar {
    const NAME: &'static str = "lsar";
    const NARROWED: bool = false;
    const CENTRED: bool = false;

    fn maps(on: &Translations, dim: usize) -> Result<Vec<Maps>, SpaceError> {
        let _ = dim;
        let means: Vec<&[f64]> = on.means.iter().map(Vec::as_slice).collect();
        let p = lsar(&means, means.len() - 1)?;
        Ok(vec![Some((p.clone(), p)); means.len()])
    }
}

/// Singular values below this share of the largest are rounding.
const PINV_TOLERANCE: f64 = 1e-10;

/// Computes the projection that removes the subspace in which the means of the languages differ.
///
/// M holds the means as columns; w = M·1/L; M̂ is w·1ᵀ plus the rank-k SVD of M − w·1ᵀ; w′ = M̂⁺ᵀ·1/‖M̂⁺ᵀ·1‖². The k
/// leading left singular vectors of M̂ − w′·1ᵀ are removed. With k = L − 1 these span the differences of the means.
///
/// # Shapes
/// `means` has L means of length width; the result is width × width.
///
/// # Source
/// Xie et al., EMNLP 2022 (arXiv 2401.05792), after the common-specific decomposition of Piratla et al. 2020 (arXiv
/// 2003.12815). The rank there is one less than the number of languages, as here.
pub(crate) fn lsar(means: &[&[f64]], rank: usize) -> Result<Mat<f64>, SpaceError> {
    let (width, count) = (means[0].len(), means.len());
    let ones = Mat::<f64>::from_fn(1, count, |_, _| 1.0);
    let m = Mat::from_fn(width, count, |i, l| means[l][i]);
    let common = &m * ones.transpose() * (1.0 / count as f64);
    let apart = &m - &common * &ones;
    let svd = apart
        .thin_svd()
        .map_err(|_| SpaceError::Decomposition { what: "lsar" })?;
    let (u, s, v) = (svd.U(), svd.S().column_vector(), svd.V());
    let scaled = Mat::from_fn(width, rank, |i, k| u[(i, k)] * s[k]);
    let fit = &common * &ones + scaled * v.get(.., ..rank).transpose();

    let svd = fit
        .thin_svd()
        .map_err(|_| SpaceError::Decomposition { what: "lsar" })?;
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
