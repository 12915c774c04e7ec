//! A dense row-major matrix of `f64` in host memory.

use faer::{MatMut, MatRef};
use rayon::prelude::*;

/// The number of multiplications below which a matrix product runs on one thread, because sharing it would take
/// longer.
pub const WORTH_SHARING: usize = 1 << 22;

/// The number of values is not the product of the declared rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a matrix of {rows}×{cols} needs {rows}·{cols} values, but {len} were given")]
pub struct ShapeError {
    /// The declared number of rows.
    pub rows: usize,
    /// The declared number of columns.
    pub cols: usize,
    /// The number of values that were given.
    pub len: usize,
}

/// A dense row-major matrix: row `i` is `data[i * cols..(i + 1) * cols]`.
///
/// Methods are fitted once, in host memory and in `f64`; this type exists for that. The decompositions are computed
/// by faer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// Wraps `data` as a matrix of `rows` rows and `cols` columns.
    ///
    /// # Errors
    /// [`ShapeError`] if the length of `data` is not `rows · cols`.
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Result<Self, ShapeError> {
        match rows.checked_mul(cols) {
            Some(expected) if expected == data.len() => Ok(Self { rows, cols, data }),
            _ => Err(ShapeError {
                rows,
                cols,
                len: data.len(),
            }),
        }
    }

    /// Makes a matrix from single-precision values, the precision in which hidden states are stored.
    ///
    /// # Shapes
    /// `data` holds rows·cols values, row after row.
    ///
    /// # Errors
    /// [`ShapeError`] if the length of `data` is not `rows · cols`.
    pub fn from_f32(rows: usize, cols: usize, data: &[f32]) -> Result<Self, ShapeError> {
        Self::new(rows, cols, data.iter().map(|&v| f64::from(v)).collect())
    }

    /// Makes a matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            data: vec![0.0; rows * cols],
        }
    }

    /// Makes the identity matrix of size `d`.
    pub fn identity(d: usize) -> Self {
        Self::from_fn(d, d, |i, j| f64::from(u8::from(i == j)))
    }

    /// Makes the matrix whose entry at `(i, j)` is `f(i, j)`.
    pub fn from_fn(rows: usize, cols: usize, mut f: impl FnMut(usize, usize) -> f64) -> Self {
        let mut out = Self::zeros(rows, cols);
        for i in 0..rows {
            for j in 0..cols {
                out.data[i * cols + j] = f(i, j);
            }
        }
        out
    }

    /// Stacks rows of equal length. An empty list gives a matrix of shape `0 × cols`.
    pub fn from_rows(rows: &[Vec<f64>], cols: usize) -> Self {
        let mut data = Vec::with_capacity(rows.len() * cols);
        for row in rows {
            debug_assert_eq!(row.len(), cols);
            data.extend_from_slice(row);
        }
        Self {
            rows: rows.len(),
            cols,
            data,
        }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns all values, row after row.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// Returns all values, row after row, as a mutable slice.
    pub fn data_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }

    /// Takes the values out of the matrix, row after row.
    pub fn into_data(self) -> Vec<f64> {
        self.data
    }

    /// Returns row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Returns row `i` as a mutable slice.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Returns the entry at row `i` and column `j`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.row(i)[j]
    }

    /// Returns the transpose as a copy.
    pub fn transpose(&self) -> Self {
        Self::from_fn(self.cols, self.rows, |i, j| self.at(j, i))
    }

    /// Returns the product `self · other`.
    ///
    /// # Shapes
    /// An `n×m` matrix times an `m×p` matrix gives an `n×p` matrix. The function panics on other shapes, which are an
    /// error in the calling code.
    pub fn matmul(&self, other: &Self) -> Self {
        assert_eq!(
            self.cols, other.rows,
            "inner dimensions of a product differ"
        );
        let mut out = Self::zeros(self.rows, other.cols);
        // Rows side by side: the product does not depend on the number of threads.
        const ROWS: usize = 256;
        let product = |(at, rows): (usize, &mut [f64])| {
            let height = rows.len() / other.cols;
            faer::linalg::matmul::matmul(
                MatMut::from_row_major_slice_mut(rows, height, other.cols),
                faer::Accum::Replace,
                self.view().subrows(at * ROWS, height),
                other.view(),
                1.0,
                faer::Par::Seq,
            );
        };
        let rows = ROWS * other.cols.max(1);
        if self.rows * self.cols * other.cols < WORTH_SHARING {
            out.data.chunks_mut(rows).enumerate().for_each(product);
        } else {
            out.data.par_chunks_mut(rows).enumerate().for_each(product);
        }
        out
    }

    /// Subtracts `other` in place; both must have the same shape.
    pub fn subtract(&mut self, other: &Self) {
        for (a, b) in self.data.iter_mut().zip(&other.data) {
            *a -= b;
        }
    }

    /// Returns the largest absolute difference between the entries of two matrices of the same shape.
    pub fn max_abs_difference(&self, other: &Self) -> f64 {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols));
        self.data
            .iter()
            .zip(&other.data)
            .fold(0.0, |worst, (a, b)| f64::max(worst, (a - b).abs()))
    }

    /// Returns a view of the matrix for faer.
    pub fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.data, self.rows, self.cols)
    }

    /// Returns a mutable view of the matrix for faer.
    pub fn view_mut(&mut self) -> MatMut<'_, f64> {
        MatMut::from_row_major_slice_mut(&mut self.data, self.rows, self.cols)
    }
}

/// Computes the inner product in `f64`, with independent partial sums so that the compiler can vectorise it.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in heads_a.iter().zip(heads_b) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let tail: f64 = tail_a.iter().zip(tail_b).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f64>() + tail
}

/// Computes `y += a · x` in place.
pub fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Computes the Euclidean length, with correct results even where the squares of the entries overflow or underflow.
pub fn norm(x: &[f64]) -> f64 {
    let square = dot(x, x);
    if (1e-280..=f64::MAX).contains(&square) {
        return square.sqrt();
    }
    let largest = x.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return square.sqrt();
    }
    let sum: f64 = x.iter().map(|v| (v / largest).powi(2)).sum();
    largest * sum.sqrt()
}

/// Extends an orthonormal basis by the part of `v` that is orthogonal to it, unless that part is shorter than
/// `tolerance · ‖v‖`. Returns whether the basis was extended.
///
/// Gram–Schmidt is run twice, which makes the basis orthonormal up to rounding.
pub fn extend_basis(basis: &mut Vec<Vec<f64>>, v: &[f64], tolerance: f64) -> bool {
    let length = norm(v);
    if length == 0.0 {
        return false;
    }
    let mut rest: Vec<f64> = v.iter().map(|x| x / length).collect();
    for _ in 0..2 {
        for b in basis.iter() {
            axpy(-dot(b, &rest), b, &mut rest);
        }
        let left = norm(&rest);
        if left <= tolerance {
            return false;
        }
        rest.iter_mut().for_each(|x| *x /= left);
    }
    basis.push(rest);
    true
}
