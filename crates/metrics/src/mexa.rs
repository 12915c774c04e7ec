//! MEXA: whether a sentence and its translation are nearer to each other than either is to anything else.
//!
//! # Source
//! Kargaran et al., "MEXA: Multilingual Evaluation of English-Centric LLMs via Cross-Lingual Alignment", 2024 (arXiv
//! 2410.05873): sentence vectors of English on one side, of another language on the other, and the score of a layer.
//!
//! Formula: with c\[i\]\[j\] the cosine of row i of a and row j of b,
//! μ = 1/n · Σᵢ 1\[c\[i\]\[i\] > max over j ≠ i of c\[i\]\[j\] and c\[i\]\[i\] > max over j ≠ i of c\[j\]\[i\]\]. Both are strict: a tie
//! is no hit, where [`crate::alignment::retrieval`] counts a share of it. Cosines are in `f64`.

use rayon::prelude::*;

use crate::alignment::rows;
use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, length};

/// The share of rows that are nearest to their translation, in both directions at once, with its interval over rows.
///
/// # Shapes
/// `a` and `b` n×d, row after row; `dim` is d.
///
/// # Errors
/// As for [`mexa_hits`].
pub fn mexa(
    a: &[f32],
    b: &[f32],
    dim: usize,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    let hits = mexa_hits(a, b, dim)?;
    let ones: Vec<f64> = hits.iter().map(|&hit| f64::from(u8::from(hit))).collect();
    bootstrap::mean(&ones, options)
}

/// For each row, whether its translation is strictly nearest in both directions.
///
/// # Shapes
/// `a` and `b` n×d, row after row; `dim` is d. Costs n²·d, and never holds the n×n cosines.
///
/// # Errors
/// Fewer than two rows, sides of unequal length, values that are not finite, or a row that is the zero vector.
pub fn mexa_hits(a: &[f32], b: &[f32], dim: usize) -> Result<Vec<bool>, MetricError> {
    let n = rows("a", a, dim)?;
    length("rows of b", n, rows("b", b, dim)?)?;
    if n < 2 {
        return Err(MetricError::TooFew {
            what: "MEXA",
            needed: 2,
            found: n,
        });
    }
    let (a, b) = (unit("a", a, dim)?, unit("b", b, dim)?);
    let (there, back) = (strictly_nearest(&a, &b, dim), strictly_nearest(&b, &a, dim));
    Ok(there.iter().zip(back).map(|(x, y)| *x && y).collect())
}

/// Whether row i of `from` is nearer to row i of `to` than to any other row.
fn strictly_nearest(from: &[f64], to: &[f64], dim: usize) -> Vec<bool> {
    let nearest = |(i, x): (usize, &[f64])| {
        let own = dot(x, &to[i * dim..][..dim]);
        let mut others = to.chunks_exact(dim).enumerate();
        others.all(|(j, y)| j == i || own > dot(x, y))
    };
    from.par_chunks_exact(dim)
        .enumerate()
        .map(nearest)
        .collect()
}

/// Sums in eight lanes, in one order whichever side comes first, so that equal rows tie to the last bit.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (xs, x_rest) = x.as_chunks::<8>();
    let (ys, y_rest) = y.as_chunks::<8>();
    for (x, y) in xs.iter().zip(ys) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += x * y;
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f64>() + rest
}

fn unit(side: &'static str, x: &[f32], dim: usize) -> Result<Vec<f64>, MetricError> {
    let mut out = Vec::with_capacity(x.len());
    for (row, x) in x.chunks_exact(dim).enumerate() {
        let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let norm = dot(&wide, &wide).sqrt();
        if norm == 0.0 {
            return Err(MetricError::ZeroVector { side, row });
        }
        out.extend(wide.iter().map(|v| v / norm));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of b are the axes, so the cosines of a are its rows at length one.
    #[test]
    fn one_of_three_is_a_hit() {
        // The cosines .9 .2 .1, .3 .8 .8, .1 .4 .7 with a fourth coordinate that makes every row one long.
        let cosines = [[0.6f32, 0.2, 0.1], [0.3, 0.65, 0.65], [0.1, 0.4, 0.6]];
        let mut a = Vec::new();
        for row in cosines {
            let rest = 1.0 - row.iter().map(|c| c * c).sum::<f32>();
            a.extend(row);
            a.push(rest.sqrt());
        }
        let b = [1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0.];
        // The second fails by a tie in its row, the third by what is larger in its column.
        assert_eq!(mexa_hits(&a, &b, 4).unwrap(), [true, false, false]);
        assert_eq!(mexa_hits(&b, &a, 4).unwrap(), [true, false, false]);
        let found = mexa(&a, &b, 4, &Bootstrap::default()).unwrap();
        assert!((found.value - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn copies_are_perfect_and_twice_the_same_row_is_none() {
        let row = |i: usize| (0..19).map(move |j| ((i * 31 + j * 17) % 23) as f32 - 11.0);
        let a: Vec<f32> = (0..12).flat_map(row).collect();
        assert!(mexa_hits(&a, &a, 19).unwrap().iter().all(|hit| *hit));
        let mut twice = a.clone();
        twice.copy_within(0..19, 19);
        let hits = mexa_hits(&twice, &twice, 19).unwrap();
        assert_eq!(hits[..3], [false, false, true]);
    }

    #[test]
    fn rows_that_have_no_cosine_are_refused() {
        let check = |a: &[f32], b: &[f32]| mexa_hits(a, b, 2).unwrap_err();
        let good = [1.0, 0.0, 0.0, 1.0];
        assert!(matches!(check(&[], &[]), MetricError::Empty { .. }));
        assert!(matches!(
            check(&good[..2], &good[..2]),
            MetricError::TooFew { found: 1, .. }
        ));
        assert!(matches!(
            check(&good, &good[..2]),
            MetricError::Length { .. }
        ));
        assert!(matches!(
            check(&good, &[1.0, 0.0, 0.0, 0.0]),
            MetricError::ZeroVector { side: "b", row: 1 }
        ));
        assert!(matches!(
            check(&[1.0, f32::NAN, 0.0, 1.0], &good),
            MetricError::NotFinite { index: 1, .. }
        ));
    }
}
