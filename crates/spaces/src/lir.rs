//! The space of states without the main direction of their language. The removed part is not a coordinate of the
//! space, and an edit leaves it in the state as it is.

use faer::Mat;

use crate::SpaceError;
use crate::affine::{Family, Maps, Translations, without_leading};

/// The hidden states without the main direction of their language.
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

/// Computes the projection that removes the main direction of a language's uncentred states.
///
/// # Shapes
/// `mean` has width values and `centred` is rows × width; the result is width × width.
///
/// # Source
/// Yang et al., EMNLP 2021 (arXiv 2109.04727), with one direction, as there.
pub(crate) fn lir(mean: &[f64], centred: &Mat<f64>) -> Result<Mat<f64>, SpaceError> {
    let rows = Mat::from_fn(centred.nrows(), mean.len(), |i, j| {
        centred[(i, j)] + mean[j]
    });
    without_leading(&(rows.transpose() * &rows), 1, "lir")
}
