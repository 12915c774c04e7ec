//! The space of centred states that are rotated onto the first language.

use faer::{Mat, MatRef};

use crate::SpaceError;
use crate::affine::{Family, Maps, Translations};

/// The centred states, rotated onto the first language by orthogonal Procrustes.
pub struct Procrustes;

impl Family for Procrustes {
    const NAME: &'static str = "procrustes";
    const NARROWED: bool = false;
    const CENTRED: bool = true;

    fn maps(on: &Translations, dim: usize) -> Result<Vec<Maps>, SpaceError> {
        let _ = dim;
        let first = on.centred[0].as_ref();
        let maps = |x: &Mat<f64>| {
            let q = procrustes(x.as_ref(), first)?;
            let back = q.transpose().to_owned();
            Ok(Some((q, back)))
        };
        on.centred.iter().map(maps).collect()
    }
}

/// Computes the rotation Q that brings `a` closest to `b`: `min ‖aQ − b‖`.
///
/// # Shapes
/// `a` and `b` are rows × width, centred; the result is width × width.
///
/// # Source
/// Schönemann 1966: Q = U·Vᵀ from the SVD of aᵀ·b.
pub(crate) fn procrustes(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Result<Mat<f64>, SpaceError> {
    let cross = a.transpose() * b;
    let svd = cross
        .svd()
        .map_err(|_| SpaceError::Decomposition { what: "procrustes" })?;
    Ok(svd.U() * svd.V().transpose())
}
