//! States without the main direction of their language. What it takes out is no part of a point, and is left as it is in the state.

use faer::Mat;

use crate::SpaceError;
use crate::affine::{Family, Maps, Translations, without_leading};

/// States without the main direction of their language.
pub struct Lir;

impl Family for Lir {
    const NAME: &'static str = "lir";
    const NARROWED: bool = false;
    const CENTRED: bool = false;

    fn maps(on: &Translations, dim: usize) -> Result<Vec<Maps>, SpaceError> {
        let _ = dim;
        let maps = |(mean, x): (&Vec<f64>, &Mat<f64>)| {
            let p = lir(mean, x)?;
            Ok(Some((p.clone(), p)))
        };
        on.means.iter().zip(&on.centred).map(maps).collect()
    }
}

/// The projection away from the main direction of a language's uncentred states.
///
/// # Shapes
/// `mean` width, `centred` rows × width; result width × width.
///
/// # Source
/// Yang et al., EMNLP 2021 (arXiv 2109.04727), with one direction, as there.
pub(crate) fn lir(mean: &[f64], centred: &Mat<f64>) -> Result<Mat<f64>, SpaceError> {
    let rows = Mat::from_fn(centred.nrows(), mean.len(), |i, j| {
        centred[(i, j)] + mean[j]
    });
    without_leading(&(rows.transpose() * &rows), 1, "lir")
}
