//! Rotary position embedding.

use super::{Rotary, plain};
use crate::device::is_plain_cpu;
use crate::{Host, Tensor, kernels};

/// Rotates the queries or keys of every head by their position.
///
/// # Shapes
/// `x` is `[rows, heads · head_dim]`; `positions` has one value per row.
pub fn rotary(x: Tensor<2>, positions: &[u32], rotary: &Rotary) -> Tensor<2> {
    if is_plain_cpu(&x.device()) {
        turn(x, positions, rotary, 1.0)
    } else {
        plain::rotary(x, positions, rotary)
    }
}

/// Rotates forwards (`turn` 1) or back (−1) with the fused kernel.
pub(super) fn turn(x: Tensor<2>, positions: &[u32], rotary: &Rotary, turn: f32) -> Tensor<2> {
    let device = x.device();
    let [rows, width] = x.dims();
    assert_eq!(rows, positions.len(), "one position per row");
    let table = rotary.table(positions);
    let mut values = Host::of(x);
    kernels::rotate(
        &mut values,
        width,
        rotary.head_dim(),
        positions,
        &table,
        rotary.style(),
        turn,
    );
    values.tensor(&device)
}
