//! The kernel of rotary position embedding.

use multiversion::multiversion;
use rayon::prelude::*;

use super::rows_per_task;
use crate::ops::RotaryStyle;

/// Rotates the pairs of every head by the angles of their position.
///
/// `table` holds `head_dim` numbers per position: `cos, sin` of each pair in turn for [`RotaryStyle::Interleaved`],
/// or all cosines followed by all sines for [`RotaryStyle::HalfSplit`]. `turn` is 1, or −1 to rotate back, which is
/// the transpose and so the backward pass.
pub fn rotate(
    x: &mut [f32],
    width: usize,
    head_dim: usize,
    positions: &[u32],
    table: &[f32],
    style: RotaryStyle,
    turn: f32,
) {
    let task = rows_per_task(positions.len());
    x.par_chunks_mut(task * width)
        .zip(positions.par_chunks(task))
        .for_each(|(x, positions)| {
            for (row, &position) in x.chunks_exact_mut(width).zip(positions) {
                let angles = &table[position as usize * head_dim..][..head_dim];
                match style {
                    RotaryStyle::Interleaved => rotate_interleaved(row, angles, turn),
                    RotaryStyle::HalfSplit => rotate_halves(row, angles, turn),
                }
            }
        });
}

fn rotate_interleaved(row: &mut [f32], angles: &[f32], turn: f32) {
    for head in row.chunks_exact_mut(angles.len()) {
        for (pair, angle) in head.chunks_exact_mut(2).zip(angles.chunks_exact(2)) {
            let (a, b, cos, sin) = (pair[0], pair[1], angle[0], angle[1] * turn);
            pair[0] = a * cos - b * sin;
            pair[1] = b * cos + a * sin;
        }
    }
}

#[multiversion(targets = "simd")]
fn rotate_halves(row: &mut [f32], angles: &[f32], turn: f32) {
    let half = angles.len() / 2;
    let (cosines, sines) = angles.split_at(half);
    for head in row.chunks_exact_mut(angles.len()) {
        let (first, second) = head.split_at_mut(half);
        let pairs = first.iter_mut().zip(second);
        for ((a, b), (cos, sin)) in pairs.zip(cosines.iter().zip(sines)) {
            let sin = sin * turn;
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
