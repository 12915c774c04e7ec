//! The space of principal axes of the centred states of all languages.

use faer::{Mat, Side};

use crate::SpaceError;
use crate::affine::{Family, Maps, Translations};

/// The principal axes of the centred states of all languages, as many as the latent space has.
pub struct JointPca;

impl Family for JointPca {
    const NAME: &'static str = "joint-pca";
    const NARROWED: bool = true;
    const CENTRED: bool = true;

    fn maps(on: &Translations, dim: usize) -> Result<Vec<Maps>, SpaceError> {
        let axes = joint_pca(&on.centred, dim)?;
        let back = axes.transpose().to_owned();
        Ok(vec![Some((axes, back)); on.centred.len()])
    }
}

/// The directions in which all languages together vary most, each around its own mean.
///
/// # Shapes
/// Result width × `dim`, orthonormal columns.
fn joint_pca(languages: &[Mat<f64>], dim: usize) -> Result<Mat<f64>, SpaceError> {
    let width = languages[0].ncols();
    let mut gram = Mat::<f64>::zeros(width, width);
    for x in languages {
        gram += x.transpose() * x;
    }
    let eigen = gram
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| SpaceError::Decomposition { what: "joint-pca" })?;
    let values = eigen.S().column_vector();
    let floor = values[width - 1] * width as f64 * f64::EPSILON;
    let found = (0..width).filter(|&i| values[i] > floor).count();
    if found < dim {
        return Err(SpaceError::TooFew {
            space: JointPca::NAME,
            dim,
            found,
        });
    }
    Ok(Mat::from_fn(width, dim, |i, j| {
        eigen.U()[(i, width - 1 - j)]
    }))
}
