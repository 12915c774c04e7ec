//! Matrices of half precision, in panels: widened to `f32`, exactly, a few lines at a time as they are multiplied.

use std::ops::Range;

use rayon::prelude::*;

use super::coded::{RUN, TOGETHER};
use super::lanes::{ahead, registers};
use super::narrow::Half;

/// The transpose of a matrix of half precision, in panels of some columns.
#[derive(Debug, Clone)]
pub struct Halves {
    half: Half,
    depth: usize,
    /// Columns of a panel.
    width: usize,
    /// For each panel, for each place of the depth: one number for each column.
    bits: Vec<u16>,
}

impl Halves {
    /// Lays out a matrix `[columns, depth]` of which `read` gives some rows, on all threads.
    ///
    /// # Errors
    /// Whatever `read` returns.
    ///
    /// # Panics
    /// When `read` gives another number of numbers, or the depth has a part of a [`RUN`].
    pub fn read<E: Send>(
        (depth, columns, width): (usize, usize, usize),
        half: Half,
        read: impl Fn(Range<usize>) -> Result<Vec<u16>, E> + Sync,
    ) -> Result<Halves, E> {
        assert!(depth.is_multiple_of(RUN), "whole runs of depth");
        let mut bits = vec![0; columns.div_ceil(width) * width * depth];
        let panel = width * depth;
        let chunks = bits.par_chunks_mut((TOGETHER * panel).max(1)).enumerate();
        chunks.try_for_each(|(at, to)| {
            let rows = at * TOGETHER * width..columns.min((at + 1) * TOGETHER * width);
            let found = read(rows.clone())?;
            assert_eq!(found.len(), rows.len() * depth, "numbers");
            for (to, rows) in to.chunks_mut(panel).zip(found.chunks(panel)) {
                // A run of depth at a time: what is written stays in the nearest cache.
                for (run, to) in to.chunks_mut(RUN * width).enumerate() {
                    for (lane, row) in rows.chunks_exact(depth).enumerate() {
                        let to = to[lane..].iter_mut().step_by(width);
                        let row = &row[run * RUN..][..RUN];
                        to.zip(row).for_each(|(to, x)| *to = *x);
                    }
                }
            }
            Ok(())
        })?;
        Ok(Halves {
            half,
            depth,
            width,
            bits,
        })
    }

    /// Appends one column.
    pub fn push_column(&self, column: usize, out: &mut Vec<f32>) {
        let (panel, lane) = (column / self.width, column % self.width);
        let panel = &self.bits[panel * self.depth * self.width..][..self.depth * self.width];
        let bits = panel.chunks_exact(self.width).map(|place| place[lane]);
        out.extend(bits.map(|bits| self.half.value(bits)));
    }

    /// The values of a panel at some depth, as panels of `f32` have them.
    pub fn widen(&self, panel: usize, depth: &Range<usize>, out: &mut [f32]) {
        let from = (panel * self.depth + depth.start) * self.width;
        let (bits, next) = self.bits[from..].split_at(depth.len() * self.width);
        ahead(&next[(3 * bits.len()).min(next.len())..], 2 * bits.len());
        registers().widen_halves(self.half, bits, out);
    }
}
