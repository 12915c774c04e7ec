//! Matrices of small whole numbers with scales, in panels: widened to `f32` a few lines at a time as they are multiplied.
//!
//! What a number stands for is computed as it would be ahead of the product, so products are those of the widened
//! matrix to the last bit.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::lanes::{ahead, registers};
use super::narrow::{Codes, Coding};

/// Depth that is widened at once for a tile of few rows: what it takes stays in the nearest cache. Whole groups.
pub const RUN: usize = 32;

/// Panels that one task lays out.
pub const TOGETHER: usize = 8;

/// The transpose of a coded matrix, in panels of some columns.
#[derive(Debug, Clone)]
pub struct Coded {
    coding: Coding,
    depth: usize,
    /// Columns of a panel.
    width: usize,
    /// For each panel, for each place of the depth: one code for each column, in four bits two places in a byte.
    codes: Vec<u8>,
    /// For each panel, for each group: the scales of its columns, then their least values.
    scales: Vec<f32>,
}

impl Coded {
    /// Lays out a matrix `[columns, depth]` of which `read` gives some rows, on all threads.
    ///
    /// # Errors
    /// Whatever `read` returns.
    ///
    /// # Panics
    /// When `read` gives another number of codes, scales or minima, or the depth has a part of a [`RUN`].
    pub fn read<E: Send>(
        (depth, columns, width): (usize, usize, usize),
        coding: Coding,
        read: impl Fn(Range<usize>) -> Result<Codes, E> + Sync,
    ) -> Result<Coded, E> {
        assert!(depth.is_multiple_of(RUN), "whole runs of depth");
        assert!(RUN.is_multiple_of(coding.group), "whole groups in a run");
        let from_zero = coding.of_sixteen.is_none_or(|least| least == 0);
        assert!(
            from_zero || !coding.mins,
            "codes with a least value begin at 0"
        );
        let panels = columns.div_ceil(width);
        let mut coded = Coded {
            coding,
            depth,
            width,
            codes: Vec::new(),
            scales: Vec::new(),
        };
        let (codes, scales) = (coded.codes_to(depth), coded.scales_to(depth));
        coded.codes = vec![0; panels * codes];
        coded.scales = vec![0.0; panels * scales];
        if depth == 0 {
            return Ok(coded);
        }
        let all = (coded.codes.par_chunks_mut(TOGETHER * codes))
            .zip(coded.scales.par_chunks_mut(TOGETHER * scales));
        all.enumerate().try_for_each(|(at, (to, scales_to))| {
            let rows = at * TOGETHER * width..columns.min((at + 1) * TOGETHER * width);
            let found = read(rows.clone())?;
            let groups = rows.len() * depth / coding.group;
            assert_eq!(found.codes.len(), rows.len() * depth, "codes");
            assert_eq!(found.scales.len(), groups, "scales");
            let mins = if coding.mins { groups } else { 0 };
            assert_eq!(found.mins.len(), mins, "least values");
            let panels = to.chunks_mut(codes).zip(scales_to.chunks_mut(scales));
            for (panel, (to, scales_to)) in panels.enumerate() {
                let first = panel * width;
                let lanes = width.min(rows.len() - first);
                lay_out_codes(
                    &found.codes[first * depth..],
                    (depth, lanes, width),
                    coding,
                    to,
                );
                let groups = depth / coding.group;
                for lane in 0..lanes {
                    let place = |g: usize| g * scales / groups + lane;
                    for g in 0..groups {
                        let from = (first + lane) * groups + g;
                        scales_to[place(g)] = found.scales[from];
                        if coding.mins {
                            scales_to[place(g) + width] = found.mins[from];
                        }
                    }
                }
            }
            Ok(())
        })?;
        Ok(coded)
    }

    /// Bytes of a panel's codes for so much depth.
    fn codes_to(&self, depth: usize) -> usize {
        match self.coding.of_sixteen {
            Some(_) => depth * self.width / 2,
            None => depth * self.width,
        }
    }

    /// Numbers of a panel's scales for so much depth.
    fn scales_to(&self, depth: usize) -> usize {
        let each = if self.coding.mins { 2 } else { 1 };
        depth / self.coding.group * self.width * each
    }

    /// Appends one column.
    pub fn push_column(&self, column: usize, out: &mut Vec<f32>) {
        let (panel, lane) = (column / self.width, column % self.width);
        let codes = &self.codes[panel * self.codes_to(self.depth)..][..self.codes_to(self.depth)];
        let scales = &self.scales[panel * self.scales_to(self.depth)..];
        for d in 0..self.depth {
            let code = match self.coding.of_sixteen {
                Some(least) => {
                    let both = codes[d / 2 * self.width + lane];
                    f32::from((both >> (d % 2 * 4) & 15) as i8 + least)
                }
                None => f32::from(codes[d * self.width + lane].cast_signed()),
            };
            let at = self.scales_to(d - d % self.coding.group) + lane;
            let value = scales[at] * code;
            out.push(match self.coding.mins {
                true => value + scales[at + self.width],
                false => value,
            });
        }
    }

    /// The values of a panel at some depth, of whole groups, as panels of `f32` have them.
    pub fn widen(&self, panel: usize, depth: &Range<usize>, out: &mut [f32]) {
        let from = panel * self.codes_to(self.depth);
        let codes = &self.codes[from + self.codes_to(depth.start)..];
        let (codes, next) = codes.split_at(self.codes_to(depth.len()));
        ahead(&next[(3 * codes.len()).min(next.len())..], codes.len());
        let from = panel * self.scales_to(self.depth);
        let scales = &self.scales[from + self.scales_to(depth.start)..];
        let (scales, next) = scales.split_at(self.scales_to(depth.len()));
        ahead(
            &next[(3 * scales.len()).min(next.len())..],
            4 * scales.len(),
        );
        registers().widen_codes(self.coding, codes, scales, out);
    }
}

/// Brings the codes of some rows side by side.
#[multiversion(targets = "simd")]
fn lay_out_codes(
    codes: &[i8],
    (depth, lanes, width): (usize, usize, usize),
    coding: Coding,
    to: &mut [u8],
) {
    // A run of depth at a time: what is written stays in the nearest cache.
    for start in (0..depth).step_by(RUN) {
        for lane in 0..lanes {
            let run = &codes[lane * depth + start..][..RUN];
            match coding.of_sixteen {
                Some(least) => {
                    let to = to[start / 2 * width + lane..].iter_mut().step_by(width);
                    for (to, pair) in to.zip(run.as_chunks::<2>().0) {
                        let [low, high] = pair.map(|q| q.wrapping_sub(least).cast_unsigned() & 15);
                        *to = low | high << 4;
                    }
                }
                None => {
                    let to = to[start * width + lane..].iter_mut().step_by(width);
                    for (to, q) in to.zip(run) {
                        *to = q.cast_unsigned();
                    }
                }
            }
        }
    }
}
