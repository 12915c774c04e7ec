//! Measures how well the sentence representations of two languages are aligned.
//!
//! Row i of one side is a sentence, and row i of the other side is its translation. There are four measures.
//! Retrieval asks whether the nearest neighbour of a sentence is its translation. The cosine margin says how much
//! nearer translations are than other sentences. Linear and RBF CKA say whether both sides have the same geometry, up
//! to rotation and scale. The Procrustes residual says how much of one side remains unexplained after the best
//! rotation of the other.

mod geometry;

pub use geometry::{Procrustes, RbfCka, linear_cka, procrustes, rbf_cka};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, length};

/// The number of neighbours in the CSLS correction of Conneau et al.
pub const CSLS_NEIGHBOURS: usize = 10;

/// The outcome of retrieval for every row. It is 1 if the translation is the only nearest neighbour, 1/t if it shares
/// the first place with t − 1 other rows (the average of a random choice among them), and 0 otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievalHits {
    /// The outcomes for each row of a among the rows of b, by cosine.
    pub cosine_a_to_b: Vec<f64>,
    /// The outcomes for each row of b among the rows of a, by cosine.
    pub cosine_b_to_a: Vec<f64>,
    /// The outcomes for each row of a among the rows of b, by CSLS.
    pub csls_a_to_b: Vec<f64>,
    /// The outcomes for each row of b among the rows of a, by CSLS.
    pub csls_b_to_a: Vec<f64>,
}

/// The top-1 retrieval accuracy in both directions, as shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// The accuracy by cosine from a to b.
    pub cosine_a_to_b: Estimate,
    /// The accuracy by cosine from b to a.
    pub cosine_b_to_a: Estimate,
    /// The accuracy by CSLS from a to b.
    pub csls_a_to_b: Estimate,
    /// The accuracy by CSLS from b to a.
    pub csls_b_to_a: Estimate,
}

/// Computes the top-1 retrieval accuracy of translations, with intervals over rows.
///
/// # Shapes
/// `a` and `b` n×d, row after row; `dim` is d.
///
/// # Errors
/// As for [`retrieval_hits`].
pub fn retrieval(
    a: &[f32],
    b: &[f32],
    dim: usize,
    options: &Bootstrap,
) -> Result<Retrieval, MetricError> {
    let hits = retrieval_hits(a, b, dim, CSLS_NEIGHBOURS)?;
    Ok(Retrieval {
        cosine_a_to_b: bootstrap::mean(&hits.cosine_a_to_b, options)?,
        cosine_b_to_a: bootstrap::mean(&hits.cosine_b_to_a, options)?,
        csls_a_to_b: bootstrap::mean(&hits.csls_a_to_b, options)?,
        csls_b_to_a: bootstrap::mean(&hits.csls_b_to_a, options)?,
    })
}

/// Computes the outcome of retrieval for every row.
///
/// # Shapes
/// `a` and `b` n×d, row after row; `dim` is d. Similarities are computed in
/// blocks of rows, never as one n×n matrix.
///
/// # Source
/// CSLS: Conneau et al., "Word Translation Without Parallel Data", ICLR 2018
/// (arXiv 1710.04087): 2·cos(x, y) − r(x) − r(y), with r the mean cosine to the k
/// nearest neighbours on the other side (all rows, if fewer than k). For a given
/// query its own r changes no ranking and is left out.
///
/// # Errors
/// No rows, sides of unequal length, values that are not finite, `neighbours` 0,
/// or a row that is the zero vector.
pub fn retrieval_hits(
    a: &[f32],
    b: &[f32],
    dim: usize,
    neighbours: usize,
) -> Result<RetrievalHits, MetricError> {
    if neighbours == 0 {
        return Err(MetricError::BadSetting {
            name: "neighbours",
            value: "0".to_owned(),
            expected: "at least 1",
        });
    }
    let (a, b) = unit_pair(a, b, dim)?;
    let k = neighbours.min(a.len() / dim);
    let (cosine_a_to_b, near_a) = cosine_pass(&a, &b, dim, k);
    let (cosine_b_to_a, near_b) = cosine_pass(&b, &a, dim, k);
    Ok(RetrievalHits {
        cosine_a_to_b,
        cosine_b_to_a,
        csls_a_to_b: csls_pass(&a, &b, dim, &near_b),
        csls_b_to_a: csls_pass(&b, &a, dim, &near_a),
    })
}

/// Returns the cosine of each row of `a` with the same row of `b`.
///
/// # Shapes
/// `a` and `b` are n×d, stored row by row, and `dim` is d. The result has n values.
///
/// # Errors
/// There are no rows, the sides have unequal lengths, a value is not finite, or a row is the zero vector.
pub fn pair_cosines(a: &[f32], b: &[f32], dim: usize) -> Result<Vec<f64>, MetricError> {
    let (a, b) = unit_pair(a, b, dim)?;
    let pairs = a.chunks_exact(dim).zip(b.chunks_exact(dim));
    Ok(pairs.map(|(x, y)| dot(x, y)).collect())
}

/// Computes the mean cosine of translations minus the mean cosine of all other pairs, with its interval over rows.
///
/// The pairs that do not match share rows, so their mean is a U-statistic; the
/// interval is that of its influence values, which count a row's part in both
/// roles.
///
/// # Shapes
/// `a` and `b` n×d, row after row; `dim` is d. Costs n·d.
///
/// # Errors
/// Fewer than two rows, sides of unequal length, values that are not finite, or
/// a row that is the zero vector.
pub fn cosine_margin(
    a: &[f32],
    b: &[f32],
    dim: usize,
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    let (a, b) = unit_pair(a, b, dim)?;
    let n = a.len() / dim;
    if n < 2 {
        return Err(MetricError::TooFew {
            what: "cosine margin",
            needed: 2,
            found: n,
        });
    }
    // Sums of unit vectors give every row's mean cosine with the other side at
    // once, without the n² cosines.
    let (sum_a, sum_b) = (column_sums(&a, dim), column_sums(&b, dim));
    let others = (n - 1) as f64;
    let rows: Vec<(f64, f64)> = a
        .chunks_exact(dim)
        .zip(b.chunks_exact(dim))
        .map(|(x, y)| {
            let own = dot(x, y);
            let as_query = (dot_f64(x, &sum_b) - own) / others;
            let as_answer = (dot_f64(y, &sum_a) - own) / others;
            (own, as_query + as_answer)
        })
        .collect();
    let unmatched = rows.iter().map(|(_, r)| r).sum::<f64>() / (2.0 * n as f64);
    let influence: Vec<f64> = rows.iter().map(|(own, r)| own - r + unmatched).collect();
    bootstrap::mean(&influence, options)
}

/// Rows of a block of similarities.
const BLOCK: usize = 256;

/// Hits by cosine of every query among the candidates, and the mean cosine of
/// every query with its k nearest candidates.
fn cosine_pass(queries: &[f32], candidates: &[f32], dim: usize, k: usize) -> (Vec<f64>, Vec<f64>) {
    over_blocks(queries, candidates, dim, |i, cosines| {
        (
            credit(i, cosines.iter().map(|&c| f64::from(c))),
            nearest_mean(cosines, k),
        )
    })
    .into_iter()
    .unzip()
}

/// Hits by CSLS of every query among the candidates, whose neighbourhood means
/// are given.
fn csls_pass(queries: &[f32], candidates: &[f32], dim: usize, near: &[f64]) -> Vec<f64> {
    over_blocks(queries, candidates, dim, |i, cosines| {
        credit(
            i,
            cosines
                .iter()
                .zip(near)
                .map(|(&c, r)| 2.0 * f64::from(c) - r),
        )
    })
}

/// Calls `row(i, cosines of query i with all candidates)` for every query, blocks
/// of queries in parallel, and collects the answers in order.
fn over_blocks<T: Send>(
    queries: &[f32],
    candidates: &[f32],
    dim: usize,
    row: impl Fn(usize, &[f32]) -> T + Sync,
) -> Vec<T> {
    let n = candidates.len() / dim;
    let candidates = MatRef::from_row_major_slice(candidates, n, dim);
    queries
        .par_chunks(BLOCK * dim)
        .enumerate()
        .flat_map_iter(|(block, queries)| {
            let m = queries.len() / dim;
            let mut cosines = vec![0.0_f32; m * n];
            matmul(
                MatMut::from_row_major_slice_mut(&mut cosines, m, n),
                Accum::Replace,
                MatRef::from_row_major_slice(queries, m, dim),
                candidates.transpose(),
                1.0,
                Par::Seq,
            );
            let answers: Vec<T> = cosines
                .chunks_exact(n)
                .enumerate()
                .map(|(i, cosines)| row(block * BLOCK + i, cosines))
                .collect();
            answers
        })
        .collect()
}

/// 1/t when candidate `own` shares the highest score with t − 1 others, else 0.
fn credit(own: usize, scores: impl Iterator<Item = f64> + Clone) -> f64 {
    let mut best = f64::NEG_INFINITY;
    let (mut ties, mut own_is_best) = (0_u32, false);
    for (i, score) in scores.enumerate() {
        if score > best {
            (best, ties, own_is_best) = (score, 1, i == own);
        } else if score == best {
            ties += 1;
            own_is_best |= i == own;
        }
    }
    if own_is_best {
        1.0 / f64::from(ties)
    } else {
        0.0
    }
}

/// Mean of the k largest values, k ≥ 1.
fn nearest_mean(values: &[f32], k: usize) -> f64 {
    let mut top = Vec::with_capacity(k + 1);
    for &v in values {
        if top.len() == k && v <= top[k - 1] {
            continue;
        }
        let at = top.partition_point(|&t| t >= v);
        top.insert(at, v);
        top.truncate(k);
    }
    top.iter().map(|&v| f64::from(v)).sum::<f64>() / top.len() as f64
}

/// Both sides with rows of unit length, after all checks.
fn unit_pair(a: &[f32], b: &[f32], dim: usize) -> Result<(Vec<f32>, Vec<f32>), MetricError> {
    let (n, m) = (rows("a", a, dim)?, rows("b", b, dim)?);
    length("rows of b", n, m)?;
    Ok((unit("a", a, dim)?, unit("b", b, dim)?))
}

fn unit(side: &'static str, x: &[f32], dim: usize) -> Result<Vec<f32>, MetricError> {
    let mut out = Vec::with_capacity(x.len());
    for (row, x) in x.chunks_exact(dim).enumerate() {
        let norm = dot(x, x).sqrt();
        if norm == 0.0 {
            return Err(MetricError::ZeroVector { side, row });
        }
        out.extend(x.iter().map(|&v| (f64::from(v) / norm) as f32));
    }
    Ok(out)
}

/// Returns the number of rows, after checking the shape and the values.
pub(crate) fn rows(side: &'static str, x: &[f32], dim: usize) -> Result<usize, MetricError> {
    if dim == 0 || !x.len().is_multiple_of(dim) {
        return Err(MetricError::Length {
            what: "whole rows of a side",
            expected: dim * x.len().div_ceil(dim.max(1)),
            found: x.len(),
        });
    }
    if x.is_empty() {
        return Err(MetricError::Empty { what: side });
    }
    match x.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(MetricError::NotFinite {
            what: side,
            index,
            value: f64::from(x[index]),
        }),
        None => Ok(x.len() / dim),
    }
}

fn column_sums(x: &[f32], dim: usize) -> Vec<f64> {
    let mut sums = vec![0.0; dim];
    for row in x.chunks_exact(dim) {
        sums.iter_mut()
            .zip(row)
            .for_each(|(s, &v)| *s += f64::from(v));
    }
    sums
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter()
        .zip(y)
        .map(|(&x, &y)| f64::from(x) * f64::from(y))
        .sum()
}

fn dot_f64(x: &[f32], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(&x, y)| f64::from(x) * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_the_credit() {
        for (scores, own, expect) in [
            (vec![1.0, 2.0, 0.0], 1, 1.0),
            (vec![2.0, 2.0, 0.0], 1, 0.5),
            (vec![2.0, 2.0, 0.0], 2, 0.0),
            (vec![1.0, 1.0, 1.0, 1.0], 3, 0.25),
        ] {
            assert_eq!(credit(own, scores.into_iter()), expect);
        }
    }

    #[test]
    fn nearest_means() {
        let values = [0.1, 0.9, 0.5, 0.7];
        for (k, expect) in [(1, 0.9), (2, 0.8), (4, 0.55)] {
            assert!((nearest_mean(&values, k) - expect).abs() < 1e-7);
        }
    }

    /// The margin and its pieces, against the n² cosines written out.
    #[test]
    fn margin_by_hand() {
        let a = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let b = [1.0, 0.5, 0.0, 2.0, -1.0, 1.0];
        let cos = |i: usize, j: usize| {
            let (x, y) = (&a[2 * i..2 * i + 2], &b[2 * j..2 * j + 2]);
            dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
        };
        let matched = (0..3).map(|i| cos(i, i)).sum::<f64>() / 3.0;
        let mut others = 0.0;
        for i in 0..3 {
            for j in 0..3 {
                others += if i == j { 0.0 } else { cos(i, j) / 6.0 };
            }
        }
        let margin = cosine_margin(&a, &b, 2, &Bootstrap::default()).unwrap();
        assert!((margin.value - (matched - others)).abs() < 1e-6);
    }
}
