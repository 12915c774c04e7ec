//! Products `A · B` of two matrices that are both used once, as in training.
//!
//! The `gemm` crate multiplies, as in burn's own products on the CPU, so the values are those of `matmul` bit for bit. What is spared is
//! burn's memory for the result, which is filled with zeros and copied before anything is written into it.

use super::panels::View;

/// Products of at least so many multiplications are shared among threads, as burn has it.
const SHARED: usize = 192 * 192 * 192;

/// Computes `a · b`, row-major.
///
/// # Shapes
/// `a` is `[rows, depth]` and `b` is `[depth, columns]`; the result is `[rows, columns]`.
///
/// # Panics
/// If the depths differ.
pub fn dense(a: View<'_>, b: View<'_>) -> Vec<f32> {
    let ([rows, depth], [of_b, columns]) = (a.dims(), b.dims());
    assert_eq!(depth, of_b, "inner dimensions of a product");
    if depth == 0 {
        return vec![0.0; rows * columns];
    }
    let threads = match rows.saturating_mul(columns).saturating_mul(depth) >= SHARED {
        true => gemm::Parallelism::Rayon(0),
        false => gemm::Parallelism::None,
    };
    let mut out: Vec<f32> = Vec::with_capacity(rows * columns);
    let (left, [left_row, left_column]) = a.strided();
    let (right, [right_row, right_column]) = b.strided();
    // SAFETY: a view has as many values as its strides reach, the result has room for `rows · columns`, and with a depth above 0
    // every one of them is written before the length is set.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            out.as_mut_ptr(),
            1,
            columns as isize,
            false,
            left.as_ptr(),
            left_column,
            left_row,
            right.as_ptr(),
            right_column,
            right_row,
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
        out.set_len(rows * columns);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{from_rows, to_host};

    #[test]
    fn it_is_burns_product_bit_for_bit_in_every_direction() {
        let device = crate::device::cpu();
        let noise = |seed: usize, len: usize| -> Vec<f32> {
            let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
            (0..len).map(value).collect()
        };
        // The last is large enough to be shared among threads.
        for (rows, depth, columns) in [(1, 1, 1), (3, 5, 7), (17, 300, 33), (150, 400, 200)] {
            let (a, b) = (noise(1, rows * depth), noise(2, depth * columns));
            let (x, y) = (
                from_rows(a.clone(), rows, depth, &device),
                from_rows(b.clone(), depth, columns, &device),
            );
            let expected = to_host(x.clone().matmul(y.clone()));
            let found = dense(View::new(&a, rows, depth), View::new(&b, depth, columns));
            assert_eq!(found, expected);

            // Both factors stored as their transposes.
            let (at, bt) = (to_host(x.transpose()), to_host(y.transpose()));
            let stored = from_rows(at.clone(), depth, rows, &device);
            let other = from_rows(bt.clone(), columns, depth, &device);
            let expected = to_host(stored.transpose().matmul(other.transpose()));
            let found = dense(
                View::new(&at, depth, rows).transpose(),
                View::new(&bt, columns, depth).transpose(),
            );
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn no_depth_gives_zeros_and_no_rows_nothing() {
        assert_eq!(dense(View::new(&[], 2, 0), View::new(&[], 0, 3)), [0.0; 6]);
        assert!(dense(View::new(&[], 0, 2), View::new(&[1.0, 2.0], 2, 1)).is_empty());
    }
}
