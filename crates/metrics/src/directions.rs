//! Compares two sets of directions, such as those that two fits remove or those along which an edit changes states.
//!
//! Both measures are the square root of the cosine ⟨A, B⟩ / (‖A‖·‖B‖) of two positive semidefinite matrices, which
//! linear CKA uses too (Kornblith et al. 2019, arXiv 1905.00414). For two single directions, the measure is the
//! absolute value of their cosine.

use crate::error::{MetricError, finite};

/// Share of a vector's length below which what is left of it is rounding.
const RANK_TOLERANCE: f64 = 1e-9;

/// Computes √(⟨P, Q⟩ / (‖P‖·‖Q‖)) of the projectors P and Q onto two spans. If both have the same number of
/// dimensions, it is the root mean square of the cosines of their principal angles.
///
/// # Shapes
/// `a` and `b` hold vectors of length `dim`, one after the other.
///
/// # Errors
/// A list that is empty or not a whole number of vectors, a number that is not finite, or vectors that are all zero.
pub fn subspace_cosine(a: &[f64], b: &[f64], dim: usize) -> Result<f64, MetricError> {
    let (a, b) = (basis("first", a, dim)?, basis("second", b, dim)?);
    let shared: f64 = a
        .iter()
        .flat_map(|x| b.iter().map(|y| dot(x, y).powi(2)))
        .sum();
    Ok((shared / (a.len() as f64 * b.len() as f64).sqrt())
        .clamp(0.0, 1.0)
        .sqrt())
}

/// Computes √(⟨C, D⟩ / (‖C‖·‖D‖)) of the second moments Σ x·xᵀ of two sets of vectors. The value is near 1 if both
/// sets vary along the same lines, whatever the signs and the lengths of the vectors are.
///
/// # Shapes
/// `a` and `b` hold vectors of length `dim`, one after the other; their numbers may differ.
///
/// # Errors
/// The errors of [`subspace_cosine`].
pub fn moment_cosine(a: &[f64], b: &[f64], dim: usize) -> Result<f64, MetricError> {
    vectors("first", a, dim)?;
    vectors("second", b, dim)?;
    let (own_a, own_b) = (shared(a, a, dim), shared(b, b, dim));
    for (side, own) in [("first", own_a), ("second", own_b)] {
        if own <= 0.0 {
            return Err(MetricError::ZeroVector { side, row: 0 });
        }
    }
    let cosine = shared(a, b, dim) / (own_a.sqrt() * own_b.sqrt());
    Ok(cosine.clamp(0.0, 1.0).sqrt())
}

/// ⟨Σ x·xᵀ, Σ y·yᵀ⟩ = Σ (x·y)².
fn shared(a: &[f64], b: &[f64], dim: usize) -> f64 {
    let rows = a.chunks_exact(dim);
    rows.flat_map(|x| b.chunks_exact(dim).map(|y| dot(x, y).powi(2)))
        .sum()
}

fn vectors(side: &'static str, x: &[f64], dim: usize) -> Result<(), MetricError> {
    if dim == 0 || x.is_empty() || !x.len().is_multiple_of(dim) {
        return Err(MetricError::BadSetting {
            name: "vectors",
            value: format!("{} numbers on the {side} side", x.len()),
            expected: "one or more vectors of the dimension",
        });
    }
    finite(side, x)
}

/// An orthonormal basis of the span of some vectors.
fn basis(side: &'static str, x: &[f64], dim: usize) -> Result<Vec<Vec<f64>>, MetricError> {
    vectors(side, x, dim)?;
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for vector in x.chunks_exact(dim) {
        let length = dot(vector, vector).sqrt();
        let mut rest = vector.to_vec();
        // Twice, since once leaves the rounding of nearly parallel vectors.
        for _ in 0..2 {
            for axis in &basis {
                let along = dot(&rest, axis);
                rest.iter_mut().zip(axis).for_each(|(r, a)| *r -= along * a);
            }
        }
        let left = dot(&rest, &rest).sqrt();
        if left > RANK_TOLERANCE * length {
            rest.iter_mut().for_each(|r| *r /= left);
            basis.push(rest);
        }
    }
    match basis.is_empty() {
        true => Err(MetricError::ZeroVector { side, row: 0 }),
        false => Ok(basis),
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Result<f64, MetricError>, expect: f64) {
        let found = found.unwrap();
        assert!((found - expect).abs() < 1e-12, "{found} {expect}");
    }

    #[test]
    fn single_directions_have_the_size_of_their_cosine() {
        let (x, y) = ([3.0, 4.0, 0.0], [-2.0, 0.0, 0.0]);
        near(subspace_cosine(&x, &y, 3), 0.6);
        near(moment_cosine(&x, &y, 3), 0.6);
    }

    #[test]
    fn spans_do_not_depend_on_their_vectors() {
        let plane = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let other = [1.0, 1.0, 0.0, 1.0, 1.0 + 1e-7, 0.0, 2.0, 2.0, 0.0];
        near(subspace_cosine(&plane, &other, 3), 1.0);
        // One of two directions is shared.
        let half = [1.0, 0.0, 0.0, 0.0, 0.0, 5.0];
        near(subspace_cosine(&plane, &half, 3), 0.5f64.sqrt());
        // A line inside a plane.
        near(
            subspace_cosine(&plane, &[1.0, 1.0, 0.0], 3),
            0.5f64.sqrt().sqrt(),
        );
    }

    #[test]
    fn moments_weigh_directions_by_their_length() {
        // Second moments diag(4, 1) and diag(1, 0): 4 / √17.
        let (x, y) = ([2.0, 0.0, 0.0, 1.0], [1.0, 0.0, -1.0, 0.0]);
        near(moment_cosine(&x, &y, 2), (4.0 / 17f64.sqrt()).sqrt());
        near(moment_cosine(&x, &x, 2), 1.0);
    }

    #[test]
    fn bad_input_is_told() {
        for f in [subspace_cosine, moment_cosine] {
            assert!(matches!(
                f(&[1.0], &[1.0, 0.0], 2),
                Err(MetricError::BadSetting { .. })
            ));
            assert!(matches!(
                f(&[], &[1.0, 0.0], 2),
                Err(MetricError::BadSetting { .. })
            ));
            let zero = f(&[1.0, 0.0], &[0.0, 0.0], 2);
            assert!(matches!(
                zero,
                Err(MetricError::ZeroVector { side: "second", .. })
            ));
            let nan = f(&[f64::NAN, 0.0], &[1.0, 0.0], 2);
            assert!(matches!(nan, Err(MetricError::NotFinite { .. })));
        }
    }
}
