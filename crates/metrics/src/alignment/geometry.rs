//! Measures whether both sides have the same geometry: linear and RBF CKA, and the Procrustes residual.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use serde::{Deserialize, Serialize};

use super::{column_sums, rows};
use crate::bootstrap::Estimate;
use crate::error::{MetricError, length};

/// Computes the linear centred kernel alignment (CKA), from 0 to 1.
///
/// With X and Y centred, it is ‖XᵀY‖²_F / (‖XᵀX‖_F · ‖YᵀY‖_F), computed in `f64` at a cost of n·d². With fewer rows
/// than dimensions the equal form with ⟨XXᵀ, YYᵀ⟩ is used, at a cost of n²·d.
///
/// # Shapes
/// `a` n×`dim_a`, `b` n×`dim_b`, row after row; the dimensions may differ.
///
/// # Source
/// Kornblith et al., "Similarity of Neural Network Representations Revisited",
/// ICML 2019 (arXiv 1905.00414).
///
/// # Errors
/// Fewer than two rows, sides with unequal numbers of rows, values that are not
/// finite, or a side whose rows are all equal.
pub fn linear_cka(a: &[f32], dim_a: usize, b: &[f32], dim_b: usize) -> Result<f64, MetricError> {
    let (n, rows_b) = (rows("a", a, dim_a)?, rows("b", b, dim_b)?);
    length("rows of b", n, rows_b)?;
    if n < 2 {
        return Err(MetricError::TooFew {
            what: "linear CKA",
            needed: 2,
            found: n,
        });
    }
    let x = centred("a", a, dim_a, "linear CKA")?;
    let y = centred("b", b, dim_b, "linear CKA")?;
    let x = MatRef::from_row_major_slice(&x, n, dim_a);
    let y = MatRef::from_row_major_slice(&y, n, dim_b);
    let (cross, (xx, yy)) = if n >= dim_a.max(dim_b) {
        let (cross, (xx, yy)) = rayon::join(
            || square_norm(&product(x.transpose(), y)),
            || {
                rayon::join(
                    || square_norm(&product(x.transpose(), x)),
                    || square_norm(&product(y.transpose(), y)),
                )
            },
        );
        (cross, (xx.sqrt(), yy.sqrt()))
    } else {
        let (k, l) = rayon::join(|| product(x, x.transpose()), || product(y, y.transpose()));
        let norms = (square_norm(&k).sqrt(), square_norm(&l).sqrt());
        (inner(&k, &l), norms)
    };
    Ok(cross / (xx * yy))
}

/// The settings of [`rbf_cka`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RbfCka {
    /// The bandwidth σ as a fraction of the median distance between the rows of a side. Kornblith et al. use 0.2, 0.4
    /// and 0.8.
    pub bandwidth: f64,
    /// Whether the bias of the Gram matrices is removed (Székely & Rizzo, Annals of Statistics 42, 2014). With few
    /// rows the biased estimator is above 0 for sides that have nothing in common. The unbiased one is near 0 there
    /// and may be negative.
    pub debiased: bool,
    /// The largest number of rows to use. Of more rows, this many are taken at equal distances. Two `f64` matrices
    /// with this many rows and columns are held in memory, which is 270 MB at 4096 rows.
    pub max_rows: usize,
}

impl Default for RbfCka {
    fn default() -> Self {
        Self {
            bandwidth: 0.4,
            debiased: false,
            max_rows: 4096,
        }
    }
}

/// Computes the centred kernel alignment (CKA) with Gaussian kernels, which is at most 1.
///
/// It is ⟨K, L⟩ / (‖K‖_F · ‖L‖_F), with K and L the centred Gram matrices of exp(−‖xᵢ − xⱼ‖²/2σ²). For each side, σ²
/// is bandwidth² times the median of all n² squared distances; as in the authors' code, the distances of rows to
/// themselves are included. The result is a point estimate, because a bootstrap would put copies of a row beside each
/// other, whose similarity of 1 carries no information. `n` is the number of rows that were used.
///
/// # Shapes
/// `a` n×`dim_a`, `b` n×`dim_b`, row after row. Costs n²·d.
///
/// # Source
/// Kornblith et al., "Similarity of Neural Network Representations Revisited",
/// ICML 2019 (arXiv 1905.00414).
///
/// # Errors
/// Fewer than four rows, sides with unequal numbers of rows, values that are not
/// finite, a side of which half the rows or more are equal (the median is 0), or
/// settings out of range.
pub fn rbf_cka(
    a: &[f32],
    dim_a: usize,
    b: &[f32],
    dim_b: usize,
    options: &RbfCka,
) -> Result<Estimate, MetricError> {
    const WHAT: &str = "RBF CKA";
    let (n, rows_b) = (rows("a", a, dim_a)?, rows("b", b, dim_b)?);
    length("rows of b", n, rows_b)?;
    if !(options.bandwidth > 0.0 && options.bandwidth.is_finite()) {
        return Err(MetricError::BadSetting {
            name: "bandwidth",
            value: options.bandwidth.to_string(),
            expected: "a number above 0",
        });
    }
    let used = n.min(options.max_rows);
    if used < 4 {
        return Err(MetricError::TooFew {
            what: WHAT,
            needed: 4,
            found: used,
        });
    }
    let (a, b) = (evenly(a, dim_a, used), evenly(b, dim_b, used));
    let x = centred("a", &a, dim_a, WHAT)?;
    let y = centred("b", &b, dim_b, WHAT)?;
    let (k, l) = rayon::join(
        || gaussian_gram("a", &x, dim_a, options),
        || gaussian_gram("b", &y, dim_b, options),
    );
    let (k, l) = (k?, l?);
    let value = inner(&k, &l) / (square_norm(&k) * square_norm(&l)).sqrt();
    if value.is_finite() {
        Ok(Estimate::point(value, used))
    } else {
        Err(MetricError::Undefined { what: WHAT })
    }
}

/// The difference that remains between two sides after the best rotation of one onto the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Procrustes {
    /// The minimum over orthogonal Q of ‖XQ − Y‖²_F / ‖Y‖²_F. It can exceed 1 if X is the larger side.
    pub residual: f64,
    /// The minimum over orthogonal Q and scales s of ‖s·XQ − Y‖²_F / ‖Y‖²_F, from 0 to 1. It has the same value if
    /// the sides are exchanged.
    pub scaled_residual: f64,
    /// The minimum over orthogonal Q of ‖XQ/‖X‖_F − Y/‖Y‖_F‖²_F, from 0 to 2, which is the Procrustes distance of
    /// Ding et al.
    pub distance: f64,
    /// The number of rows.
    pub n: usize,
}

/// Computes the orthogonal Procrustes analysis of a onto b, both centred.
///
/// All three values follow from the nuclear norm N = ‖XᵀY‖_*: the residual is (‖X‖² + ‖Y‖² − 2N)/‖Y‖², the scaled
/// residual is 1 − (N/‖X‖‖Y‖)², and the distance is 2 − 2N/(‖X‖‖Y‖). Q may contain a reflection. The values are point
/// estimates, because resampled rows would be fitted better than new ones. If n is not much larger than d, any two
/// sides are close to each other.
///
/// # Shapes
/// `a` n×`dim_a`, `b` n×`dim_b`, row after row; the smaller side counts as padded
/// with zeros. Costs n·d² and an SVD of d×d.
///
/// # Source
/// Schönemann, Psychometrika 31, 1966. As a distance of representations: Ding,
/// Denain & Steinhardt, "Grounding Representation Similarity with Statistical
/// Testing", NeurIPS 2021 (arXiv 2108.01661).
///
/// # Errors
/// Fewer than two rows, sides with unequal numbers of rows, values that are not
/// finite, or a side whose rows are all equal.
pub fn procrustes(
    a: &[f32],
    dim_a: usize,
    b: &[f32],
    dim_b: usize,
) -> Result<Procrustes, MetricError> {
    const WHAT: &str = "Procrustes residual";
    let (n, rows_b) = (rows("a", a, dim_a)?, rows("b", b, dim_b)?);
    length("rows of b", n, rows_b)?;
    if n < 2 {
        return Err(MetricError::TooFew {
            what: WHAT,
            needed: 2,
            found: n,
        });
    }
    let x = centred("a", a, dim_a, WHAT)?;
    let y = centred("b", b, dim_b, WHAT)?;
    let square = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
    let (xx, yy) = (square(&x), square(&y));
    let x = MatRef::from_row_major_slice(&x, n, dim_a);
    let y = MatRef::from_row_major_slice(&y, n, dim_b);
    let singular = product(x.transpose(), y)
        .singular_values()
        .map_err(|_| MetricError::Undefined { what: WHAT })?;
    let nuclear: f64 = singular.iter().sum();
    let cosine = nuclear / (xx * yy).sqrt();
    if !cosine.is_finite() {
        return Err(MetricError::Undefined { what: WHAT });
    }
    // Rounding may leave a hair below 0 for a perfect match.
    Ok(Procrustes {
        residual: ((xx + yy - 2.0 * nuclear) / yy).max(0.0),
        scaled_residual: (1.0 - cosine * cosine).max(0.0),
        distance: (2.0 - 2.0 * cosine).max(0.0),
        n,
    })
}

/// Rows i·n/count of the n rows.
fn evenly(x: &[f32], dim: usize, count: usize) -> Vec<f32> {
    let n = x.len() / dim;
    (0..count)
        .flat_map(|i| {
            let row = i * n / count;
            &x[row * dim..(row + 1) * dim]
        })
        .copied()
        .collect()
}

/// Centred Gram matrix of Gaussian kernels.
///
/// # Shapes
/// `x` n×d, centred.
fn gaussian_gram(
    side: &'static str,
    x: &[f64],
    dim: usize,
    options: &RbfCka,
) -> Result<Mat<f64>, MetricError> {
    let n = x.len() / dim;
    let x = MatRef::from_row_major_slice(x, n, dim);
    let mut gram = product(x, x.transpose());
    let squares: Vec<f64> = (0..n).map(|i| gram[(i, i)]).collect();
    for j in 0..n {
        for i in 0..n {
            let distance = squares[i] + squares[j] - 2.0 * gram[(i, j)];
            gram[(i, j)] = if i == j { 0.0 } else { distance.max(0.0) };
        }
    }
    let median = median_of_symmetric(&gram);
    // Differences of squares of this size are rounding.
    let largest = squares.iter().copied().fold(0.0, f64::max);
    if median <= 1e-13 * largest {
        return Err(MetricError::Constant {
            side,
            what: "the bandwidth of RBF CKA",
        });
    }
    let scale = -0.5 / (options.bandwidth.powi(2) * median);
    for j in 0..n {
        gram.col_mut(j)
            .iter_mut()
            .for_each(|v| *v = (*v * scale).exp());
    }
    if options.debiased {
        (0..n).for_each(|i| gram[(i, i)] = 0.0);
    }
    // Column means, and what they all have in common: for the debiased matrix
    // over n − 2 and n − 1, so that its rows sum to 0 without the diagonal.
    let (over, twice) = if options.debiased {
        ((n - 2) as f64, 2.0 * (n - 1) as f64)
    } else {
        (n as f64, 2.0 * n as f64)
    };
    let mut means: Vec<f64> = (0..n)
        .map(|j| gram.col(j).iter().sum::<f64>() / over)
        .collect();
    let common = means.iter().sum::<f64>() / twice;
    means.iter_mut().for_each(|m| *m -= common);
    for j in 0..n {
        for i in 0..n {
            gram[(i, j)] -= means[i] + means[j];
        }
        if options.debiased {
            gram[(j, j)] = 0.0;
        }
    }
    Ok(gram)
}

/// Median of all n² entries of a symmetric matrix with zeros on its diagonal and
/// none below.
fn median_of_symmetric(m: &Mat<f64>) -> f64 {
    let n = m.ncols();
    let mut upper: Vec<f64> = Vec::with_capacity(n * (n - 1) / 2);
    for j in 1..n {
        upper.extend((0..j).map(|i| m[(i, j)]));
    }
    // Sorted, the n² entries are n zeros and then every upper one twice.
    let mut at = |place: usize| match place.checked_sub(n) {
        None => 0.0,
        Some(place) => *upper.select_nth_unstable_by(place / 2, f64::total_cmp).1,
    };
    0.5 * (at((n * n - 1) / 2) + at(n * n / 2))
}

/// The rows minus their mean, in `f64`.
fn centred(
    side: &'static str,
    x: &[f32],
    dim: usize,
    what: &'static str,
) -> Result<Vec<f64>, MetricError> {
    let n = x.len() / dim;
    let mean: Vec<f64> = column_sums(x, dim).iter().map(|s| s / n as f64).collect();
    let mut varies = false;
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(dim) {
        varies |= row != &x[..dim];
        out.extend(row.iter().zip(&mean).map(|(&v, m)| f64::from(v) - m));
    }
    if varies {
        Ok(out)
    } else {
        Err(MetricError::Constant { side, what })
    }
}

fn product(x: MatRef<'_, f64>, y: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(x.nrows(), y.ncols());
    matmul(out.as_mut(), Accum::Replace, x, y, 1.0, Par::Seq);
    out
}

fn square_norm(m: &Mat<f64>) -> f64 {
    inner(m, m)
}

fn inner(x: &Mat<f64>, y: &Mat<f64>) -> f64 {
    (0..x.ncols())
        .map(|j| {
            let (x, y) = (x.col(j), y.col(j));
            x.iter().zip(y.iter()).map(|(x, y)| x * y).sum::<f64>()
        })
        .sum()
}
