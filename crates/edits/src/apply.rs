//! Applies edits to hidden states in host memory.

use rayon::prelude::*;

use crate::edit::{Factor, same};
use crate::matrix::dot;
use crate::{Edit, EditError, Matrix};

/// Rows one task edits: enough to outweigh the cost of handing it out.
const ROWS_PER_TASK: usize = 64;

impl Edit {
    /// Edits states in place, using all cores. Directions are computed in single precision, units in double
    /// precision.
    ///
    /// # Shapes
    /// `states` is n×d, row after row.
    ///
    /// # Errors
    /// [`EditError::PartialRow`] if the length of `states` is not a multiple of d.
    pub fn apply_rows(&self, states: &mut [f32]) -> Result<(), EditError> {
        let dim = self.dim();
        if dim == 0 || !states.len().is_multiple_of(dim) {
            return Err(EditError::PartialRow {
                len: states.len(),
                dim,
            });
        }
        let size = dim * ROWS_PER_TASK;
        match (self.left(), self.right()) {
            _ if self.offset().is_empty() => {}
            (Factor::Zero, _) => {}
            (Factor::Dense(left), Factor::Dense(right)) => {
                erase_rows(left, right, self.offset(), states);
            }
            (_, Factor::Zero) => {
                let constant = self.constant().expect("it reads nothing");
                let vector: Vec<f32> = constant.iter().map(|&v| v as f32).collect();
                states.par_chunks_mut(size).for_each(|rows| {
                    for row in rows.chunks_exact_mut(dim) {
                        row.iter_mut().zip(&vector).for_each(|(x, v)| *x += v);
                    }
                });
            }
            _ => states.par_chunks_mut(size).for_each_init(
                || (vec![0.0; dim], vec![0.0; dim]),
                |(before, after), rows| {
                    for row in rows.chunks_exact_mut(dim) {
                        before
                            .iter_mut()
                            .zip(&*row)
                            .for_each(|(b, x)| *b = f64::from(*x));
                        after.copy_from_slice(before);
                        self.apply_row(before, after);
                        row.iter_mut()
                            .zip(&*after)
                            .for_each(|(x, a)| *x = *a as f32);
                    }
                },
            ),
        }
        Ok(())
    }

    /// Edits states in place in double precision. [`Edit::apply_rows`] is checked against this function, and a fit
    /// that follows an earlier edit uses it.
    ///
    /// # Shapes
    /// `states` is n×d.
    ///
    /// # Errors
    /// [`EditError::Shape`] if `states` has another dimension.
    pub fn apply_matrix(&self, states: &mut Matrix) -> Result<(), EditError> {
        same("dimension of the states", self.dim(), states.cols())?;
        let mut before = vec![0.0; self.dim()];
        for i in 0..states.rows() {
            let row = states.row_mut(i);
            before.copy_from_slice(row);
            self.apply_row(&before, row);
        }
        Ok(())
    }

    /// All coefficients come from the unedited row, so that L and R need not be biorthogonal.
    fn apply_row(&self, before: &[f64], row: &mut [f64]) {
        let coefficient = |j: usize| {
            let read = match self.right() {
                Factor::Dense(right) => dot(right.row(j), before),
                Factor::Units(units, weights) => weights[j] * before[units[j] as usize],
                Factor::Zero => 0.0,
            };
            read - self.offset()[j]
        };
        for j in 0..self.offset().len() {
            let c = coefficient(j);
            match self.left() {
                Factor::Dense(left) => {
                    row.iter_mut()
                        .zip(left.row(j))
                        .for_each(|(x, l)| *x -= l * c);
                }
                Factor::Units(units, weights) => row[units[j] as usize] -= weights[j] * c,
                Factor::Zero => {}
            }
        }
    }
}

fn erase_rows(left: &Matrix, right: &Matrix, offset: &[f64], states: &mut [f32]) {
    let (k, d) = (right.rows(), right.cols());
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let (right, left, offset) = (narrow(right.data()), narrow(left.data()), narrow(offset));
    states.par_chunks_mut(d * ROWS_PER_TASK).for_each_init(
        || vec![0.0_f32; k],
        |coefficients, rows| {
            for row in rows.chunks_exact_mut(d) {
                for (j, c) in coefficients.iter_mut().enumerate() {
                    *c = dot_f32(&right[j * d..(j + 1) * d], row) - offset[j];
                }
                for (j, c) in coefficients.iter().enumerate() {
                    for (x, l) in row.iter_mut().zip(&left[j * d..(j + 1) * d]) {
                        *x -= c * l;
                    }
                }
            }
        },
    );
}

/// Inner product in `f32` with sixteen partial sums, which vectorises and keeps
/// the rounding error near that of one vector lane.
fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0_f32; LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in heads_a.iter().zip(heads_b) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let tail: f32 = tail_a.iter().zip(tail_b).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + tail
}
