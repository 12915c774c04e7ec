//! Projects points to the plane, for plots.

use crate::affine::centre;

/// Computes the coordinates of rows on their two main axes of variance.
///
/// # Shapes
/// `x` is rows × `width`, row-major; the result has one pair of coordinates per row.
pub fn project(x: &[f32], width: usize) -> Vec<(f64, f64)> {
    let rows = x.len() / width;
    let (_, centred) = centre(x, width);
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
