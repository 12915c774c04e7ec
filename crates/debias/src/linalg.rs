//! The matrix decompositions that methods share, computed in `f64` with faer.

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{BlockStructure, matmul as matmul_part};
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Accum, MatMut, MatRef, Par, Side};
use rayon::prelude::*;

use crate::{FitError, Matrix};
pub(crate) use interlingua_edits::extend_basis;
use interlingua_edits::{WORTH_SHARING, axpy, dot};

/// Rows of a triangle that are one task, in a triangle of `d` rows: each reads all rows above, so
/// they are as tall as leaves enough of them.
fn stripe(d: usize) -> usize {
    (d / 16).next_multiple_of(64).clamp(64, 512)
}

/// Columns of a Cholesky factor that are found at once.
const PANEL: usize = 128;

/// Rows of a Gram matrix that are added at once.
const ADDED: usize = 1024;

/// Adds `scale · XᵀX` of some rows to the lower triangle of `into`.
///
/// Stripes of the triangle are computed in parallel. Each is the same product on any number of threads, so the sum
/// does not depend on that number.
///
/// # Shapes
/// `rows` holds whole rows of width d; `into` is d×d.
pub(crate) fn add_gram_lower(into: &mut Matrix, rows: &[f64], scale: f64) {
    let d = into.cols();
    if rows.is_empty() {
        return;
    }
    let tall = stripe(d);
    let mut columns = Vec::new();
    for rows in rows.chunks(ADDED * d) {
        let n = rows.len() / d;
        let shared = rows.len() * d >= WORTH_SHARING;
        transpose_into(rows, d, shared, &mut columns);
        let x = MatRef::from_row_major_slice(&columns, d, n);
        let stripe = |(at, stripe): (usize, &mut [f64])| {
            let (above, height) = (at * tall, stripe.len() / d);
            let stripe = MatMut::from_row_major_slice_mut(stripe, height, d);
            let stripe = stripe.subcols_mut(0, above + height);
            add_stripe(stripe, x.subrows(above, height), x.subrows(0, above), scale);
        };
        let stripes = into.data_mut();
        if shared {
            // The last stripes are the longest; they are begun first.
            let stripes = stripes.par_chunks_mut(tall * d).enumerate();
            stripes.rev().with_max_len(1).for_each(stripe);
        } else {
            stripes.chunks_mut(tall * d).enumerate().for_each(stripe);
        }
    }
}

/// The columns of some rows of width d, each in one piece, as products read them: the numbers of a column
/// that lie a power of two apart would drive each other out of the nearest cache.
fn transpose_into(rows: &[f64], d: usize, shared: bool, columns: &mut Vec<f64>) {
    /// Columns of one cache line.
    const LINE: usize = 8;
    let n = rows.len() / d;
    columns.resize(rows.len(), 0.0);
    let transpose = |(at, columns): (usize, &mut [f64])| {
        let wide = columns.len() / n;
        for (i, row) in rows.chunks_exact(d).enumerate() {
            for (j, v) in row[at * LINE..][..wide].iter().enumerate() {
                columns[j * n + i] = *v;
            }
        }
    };
    match shared {
        true => columns
            .par_chunks_mut(LINE * n)
            .enumerate()
            .for_each(transpose),
        false => columns.chunks_mut(LINE * n).enumerate().for_each(transpose),
    }
}

/// Copies the lower triangle to the upper one, tile by tile.
pub(crate) fn mirror_lower(m: &mut Matrix) {
    const TILE: usize = 32;
    let d = m.cols();
    let data = m.data_mut();
    for top in (0..d).step_by(TILE) {
        for left in (0..=top).step_by(TILE) {
            for i in top..(top + TILE).min(d) {
                for j in left..(left + TILE).min(i) {
                    data[j * d + i] = data[i * d + j];
                }
            }
        }
    }
}

/// Computes `Xᵀ·r` over the rows; the sum does not depend on the number of threads.
///
/// # Shapes
/// `x` is n×d and `r` has n values; the result has d values.
pub(crate) fn transposed_product(x: &Matrix, r: &[f64]) -> Vec<f64> {
    sum_of_chunks(x, r, |row, &r, sum| {
        if r != 0.0 {
            axpy(r, row, sum);
        }
    })
}

/// Computes `XᵀX·v` over some rows, each of which is read once, with sums as in [`transposed_product`].
///
/// # Shapes
/// `x` is n×d, `of` has n values, and `v` has d; the result has d values.
pub(crate) fn gram_product(x: &Matrix, of: &[bool], v: &[f64]) -> Vec<f64> {
    sum_of_chunks(x, of, |row, &of, sum| {
        if of {
            axpy(dot(row, v), row, sum);
        }
    })
}

/// Lets `add` add something of every row; chunks are summed side by side and added in order, so that
/// the sum does not depend on the threads.
fn sum_of_chunks<T: Sync>(
    x: &Matrix,
    of_rows: &[T],
    add: impl Fn(&[f64], &T, &mut [f64]) + Sync,
) -> Vec<f64> {
    const ROWS: usize = 512;
    let d = x.cols();
    let parts: Vec<Vec<f64>> = x
        .data()
        .par_chunks(ROWS * d.max(1))
        .zip(of_rows.par_chunks(ROWS))
        .map(|(x, of_rows)| {
            let mut sum = vec![0.0; d];
            for (row, of_row) in x.chunks_exact(d).zip(of_rows) {
                add(row, of_row, &mut sum);
            }
            sum
        })
        .collect();
    let mut sum = vec![0.0; d];
    parts.iter().for_each(|part| axpy(1.0, part, &mut sum));
    sum
}

/// The lower Cholesky factor C of a positive definite matrix, A = C·Cᵀ.
pub(crate) struct Cholesky(Matrix);

impl Cholesky {
    /// Computes the factor from the lower triangle of a matrix; `None` if the matrix is not positive definite.
    ///
    /// Panels are factored one after another, and the part to their right is updated in parallel stripes. The factor
    /// does not depend on the number of threads.
    ///
    /// # Shapes
    /// `a` is d×d.
    pub fn new(mut a: Matrix) -> Option<Self> {
        let d = a.cols();
        let tall = stripe(d);
        for first in (0..d).step_by(PANEL) {
            let width = PANEL.min(d - first);
            let next = first + width;
            let corner = a.view().submatrix(first, first, width, width);
            let corner = corner.llt(Side::Lower).ok()?;
            for (i, row) in a.data_mut()[first * d..next * d]
                .chunks_exact_mut(d)
                .enumerate()
            {
                for (j, v) in row[first..next].iter_mut().enumerate() {
                    *v = corner.L()[(i, j)];
                }
                row[next..].fill(0.0);
            }
            // The rest of the panel, X with X·Cᵀ = A, and a copy of it.
            let below = &mut a.data_mut()[next * d..];
            below.par_chunks_mut(tall * d).for_each(|rows| {
                let height = rows.len() / d;
                let rows = MatMut::from_row_major_slice_mut(rows, height, d);
                let panel = rows.subcols_mut(first, width);
                solve_lower_triangular_in_place(corner.L(), panel.transpose_mut(), Par::Seq);
            });
            let panel: Vec<f64> = below
                .chunks_exact(d)
                .flat_map(|row| &row[first..next])
                .copied()
                .collect();
            let panel = MatRef::from_row_major_slice(&panel, d - next, width);
            let stripes = below.par_chunks_mut(tall * d).enumerate();
            stripes.rev().with_max_len(1).for_each(|(at, rows)| {
                let (above, height) = (at * tall, rows.len() / d);
                let rows = MatMut::from_row_major_slice_mut(rows, height, d);
                let rows = rows.subcols_mut(next, above + height);
                add_stripe(
                    rows,
                    panel.subrows(above, height),
                    panel.subrows(0, above),
                    -1.0,
                );
            });
        }
        Some(Self(a))
    }

    /// Returns C.
    pub fn lower(&self) -> MatRef<'_, f64> {
        self.0.view()
    }

    /// Solves C·y = m in place.
    ///
    /// # Shapes
    /// `m` is d×k.
    pub fn solve_lower(&self, m: &mut Matrix) {
        solve_lower_triangular_in_place(self.lower(), m.view_mut(), Par::Seq);
    }

    /// Solves Cᵀ·y = m in place.
    ///
    /// # Shapes
    /// `m` is d×k.
    pub fn solve_upper(&self, m: &mut Matrix) {
        solve_upper_triangular_in_place(self.lower().transpose(), m.view_mut(), Par::Seq);
    }

    /// Solves A·y = m in place.
    ///
    /// # Shapes
    /// `m` is d×k.
    pub fn solve(&self, m: &mut Matrix) {
        self.solve_lower(m);
        self.solve_upper(m);
    }
}

/// Adds `scale · own·[above; own]ᵀ` to a stripe of a lower triangle, whose last columns are its own.
///
/// # Shapes
/// `own` h×k, `above` r×k, `stripe` h×(r + h).
fn add_stripe(stripe: MatMut<'_, f64>, own: MatRef<'_, f64>, above: MatRef<'_, f64>, scale: f64) {
    let (left, corner) = stripe.split_at_col_mut(above.nrows());
    matmul(left, Accum::Add, own, above.transpose(), scale, Par::Seq);
    matmul_part(
        corner,
        BlockStructure::TriangularLower,
        Accum::Add,
        own,
        BlockStructure::Rectangular,
        own.transpose(),
        BlockStructure::Rectangular,
        scale,
        Par::Seq,
    );
}

/// Computes the eigenvalues in descending order, and the eigenvectors as rows.
pub(crate) fn symmetric_eigen(
    m: &Matrix,
    what: &'static str,
) -> Result<(Vec<f64>, Matrix), FitError> {
    let d = m.cols();
    check_no_overflow(m, what)?;
    let eigen = m
        .view()
        .self_adjoint_eigen(Side::Lower)
        .map_err(|e| FitError::Decomposition {
            what,
            reason: format!("{e:?}"),
        })?;
    let (vectors, values) = (eigen.U(), eigen.S().column_vector());
    let descending = (0..d).rev().map(|i| values[i]).collect();
    let mut rows = Matrix::from_fn(d, d, |i, j| vectors[(j, d - 1 - i)]);
    for i in 0..d {
        fix_sign(rows.row_mut(i));
    }
    Ok((descending, rows))
}

/// The right singular vectors of `x` with the largest singular values.
pub(crate) struct TopSingular {
    /// The squared singular values in descending order, only those above rounding.
    pub squares: Vec<f64>,
    /// The sum of all squared singular values.
    pub total: f64,
    /// The vectors, as orthonormal rows.
    pub vectors: Matrix,
}

/// Squared singular values below this share of the largest are rounding: the
/// Gram matrix knows them only to about d·2⁻⁵² of the largest.
const GRAM_TOLERANCE: f64 = 1e-12;

/// Computes at most `k` leading right singular vectors of `x`, from the smaller of its two Gram matrices.
///
/// Squaring loses the directions whose singular value is below 10⁻⁶ of the largest. Fewer than `k` vectors are
/// returned if the data has no more.
///
/// # Shapes
/// `x` n×d gives vectors m×d, m ≤ k.
pub(crate) fn top_right_singular(x: &Matrix, k: usize) -> Result<TopSingular, FitError> {
    let (n, d) = (x.rows(), x.cols());
    let total = dot(x.data(), x.data());
    if n >= d {
        let mut gram = Matrix::zeros(d, d);
        add_gram_lower(&mut gram, x.data(), 1.0);
        let (values, vectors) = symmetric_eigen(&gram, "eigendecomposition of XᵀX")?;
        let keep = kept(&values, k);
        return Ok(TopSingular {
            squares: values[..keep].to_vec(),
            total,
            vectors: Matrix::from_fn(keep, d, |i, j| vectors.at(i, j)),
        });
    }
    let gram = x.matmul(&x.transpose());
    let (values, left) = symmetric_eigen(&gram, "eigendecomposition of XXᵀ")?;
    let keep = kept(&values, k);
    // v = Xᵀu/σ, orthonormalised once more because dividing by a small σ
    // magnifies the rounding of u.
    let rows: Vec<Vec<f64>> = (0..keep)
        .map(|i| {
            let mut v = vec![0.0; d];
            for r in 0..n {
                axpy(left.at(i, r), x.row(r), &mut v);
            }
            fix_sign(&mut v);
            v
        })
        .collect();
    let mut basis = Vec::with_capacity(keep);
    for row in &rows {
        extend_basis(&mut basis, row, 1e-10);
    }
    Ok(TopSingular {
        squares: values[..basis.len()].to_vec(),
        total,
        vectors: Matrix::from_rows(&basis, d),
    })
}

/// Computes the thin singular value decomposition: the left vectors as rows, and the values in descending order.
///
/// # Shapes
/// `m` d×k gives min(d, k) vectors of length d.
pub(crate) fn left_singular(
    m: &Matrix,
    what: &'static str,
) -> Result<(Vec<f64>, Matrix), FitError> {
    check_no_overflow(m, what)?;
    let svd = m.view().thin_svd().map_err(|e| FitError::Decomposition {
        what,
        reason: format!("{e:?}"),
    })?;
    let (u, s) = (svd.U(), svd.S().column_vector());
    let k = m.rows().min(m.cols());
    let values = (0..k).map(|i| s[i]).collect();
    Ok((values, Matrix::from_fn(k, m.rows(), |i, j| u[(j, i)])))
}

/// Finite states can still have products that are not: refuse those here, since
/// a decomposition promises nothing for them.
fn check_no_overflow(m: &Matrix, what: &'static str) -> Result<(), FitError> {
    if m.data().iter().all(|v| v.is_finite()) {
        Ok(())
    } else {
        Err(FitError::Overflow { what })
    }
}

fn kept(values: &[f64], k: usize) -> usize {
    let floor = values.first().copied().unwrap_or(0.0) * GRAM_TOLERANCE;
    values
        .iter()
        .take(k)
        .take_while(|&&v| v > floor && v > 0.0)
        .count()
}

/// Turns a direction so that its largest component is positive, because ±v span the same line and equal runs must
/// give equal bytes.
pub(crate) fn fix_sign(v: &mut [f64]) {
    let largest = v.iter().fold(
        0.0_f64,
        |best, &x| if x.abs() > best.abs() { x } else { best },
    );
    if largest < 0.0 {
        v.iter_mut().for_each(|x| *x = -*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(rows: usize, cols: usize) -> Matrix {
        Matrix::from_fn(rows, cols, |i, j| {
            ((i * 7919 + j * 104_729) % 1009) as f64 / 504.0 - 1.0
        })
    }

    /// Sizes around one and two stripes.
    const SIZES: [usize; 5] = [1, 5, 128, 129, 300];

    #[test]
    fn a_gram_matrix_is_the_product() {
        for d in SIZES {
            let x = noise(if d < 200 { ADDED + 40 } else { 40 }, d);
            let mut gram = Matrix::from_fn(d, d, |i, j| if j <= i { 1.0 } else { 0.0 });
            add_gram_lower(&mut gram, x.data(), 2.0);
            let product = x.transpose().matmul(&x);
            let expect = Matrix::from_fn(d, d, |i, j| match j <= i {
                true => 1.0 + 2.0 * product.at(i, j),
                false => 0.0,
            });
            assert!(gram.max_abs_difference(&expect) < 1e-11, "{d}");
            mirror_lower(&mut gram);
            assert_eq!(gram, gram.transpose());
        }
    }

    #[test]
    fn a_gram_product_is_that_of_the_rows_that_count() {
        let x = noise(1100, 7);
        let of: Vec<bool> = (0..1100).map(|i| i % 3 != 1).collect();
        let v: Vec<f64> = (0..7).map(f64::from).collect();
        let mut expect = [0.0; 7];
        for i in (0..1100).filter(|i| i % 3 != 1) {
            axpy(dot(x.row(i), &v), x.row(i), &mut expect);
        }
        for (found, expect) in gram_product(&x, &of, &v).iter().zip(expect) {
            assert!(
                (found - expect).abs() < 1e-10 * expect.abs(),
                "{found} {expect}"
            );
        }
    }

    #[test]
    fn a_cholesky_factor_multiplies_back_and_solves() {
        for d in SIZES {
            let x = noise(2 * d, d);
            let mut a = x.transpose().matmul(&x);
            (0..d).for_each(|i| a.row_mut(i)[i] += 1.0);
            let factor = Cholesky::new(a.clone()).unwrap();
            let back = factor.0.matmul(&factor.0.transpose());
            assert!(back.max_abs_difference(&a) < 1e-10, "{d}");
            let expect = noise(d, 3);
            let mut found = a.matmul(&expect);
            factor.solve(&mut found);
            assert!(found.max_abs_difference(&expect) < 1e-7, "{d}");
        }
        for bad in [-1.0, 0.0, f64::NAN] {
            let mut a = Matrix::identity(200);
            a.row_mut(150)[150] = bad;
            assert!(Cholesky::new(a).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_transposed_product_is_the_product() {
        let x = noise(1100, 7);
        let r: Vec<f64> = (0..1100).map(|i| f64::from(i % 3) - 1.0).collect();
        let expect = Matrix::new(1, 1100, r.clone()).unwrap().matmul(&x);
        let found = Matrix::new(1, 7, transposed_product(&x, &r)).unwrap();
        assert!(found.max_abs_difference(&expect) < 1e-11);
    }

    #[test]
    fn no_result_depends_on_the_threads() {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let x = noise(1100, 300);
                let mut gram = Matrix::identity(300);
                add_gram_lower(&mut gram, x.data(), 0.5);
                let factor = Cholesky::new(gram.clone()).unwrap().0;
                (
                    gram,
                    factor,
                    transposed_product(&x, &x.transpose().data()[..1100]),
                )
            })
        };
        let one = on(1);
        for threads in [2, 5] {
            assert!(on(threads) == one, "on {threads} threads");
        }
    }
}
