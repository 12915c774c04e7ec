//! Rotary position embedding.

use std::sync::{Arc, RwLock};

use super::plain;
use crate::device::is_plain_cpu;
use crate::{Host, Tensor, kernels};

/// The way in which rotary position embedding pairs the dimensions of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryStyle {
    /// Dimensions `2i` and `2i + 1` form a pair (Cohere).
    Interleaved,
    /// Dimensions `i` and `i + head_dim / 2` form a pair (Llama and most others).
    HalfSplit,
}

/// The change of the frequencies for sequences longer than those of training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RotaryScaling {
    /// The frequencies are not changed.
    None,
    /// Every frequency is divided by `factor`.
    Linear {
        /// The factor by which sequences become longer.
        factor: f32,
    },
    /// The frequencies of long waves are divided by `factor`, those of short waves are kept, and those between are
    /// blended (Llama 3.1).
    Llama3 {
        /// The factor by which sequences become longer.
        factor: f32,
        /// A wave is long if it fits into `original_positions` fewer times than this.
        low_freq_factor: f32,
        /// A wave is short if it fits into `original_positions` more times than this.
        high_freq_factor: f32,
        /// The length of the longest sequence in the first training.
        original_positions: usize,
    },
}

impl RotaryScaling {
    fn apply(self, frequency: f32) -> f32 {
        match self {
            RotaryScaling::None => frequency,
            RotaryScaling::Linear { factor } => frequency / factor,
            RotaryScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_positions,
            } => {
                let length = original_positions as f32;
                let wave = 2.0 * std::f32::consts::PI / frequency;
                if wave > length / low_freq_factor {
                    frequency / factor
                } else if wave < length / high_freq_factor {
                    frequency
                } else {
                    let smooth =
                        (length / wave - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}

/// The cosines and sines of rotary position embedding.
///
/// The table grows with the largest position that was asked for, so its memory depends on real sequences only. Clones
/// share it.
#[derive(Debug, Clone)]
pub struct Rotary {
    frequencies: Arc<[f32]>,
    style: RotaryStyle,
    table: Arc<RwLock<Arc<[f32]>>>,
}

impl Rotary {
    /// Makes the embedding for heads of width `head_dim`.
    ///
    /// # Panics
    /// If `head_dim` is odd.
    ///
    /// # Source
    /// RoFormer (arXiv 2104.09864); the angles are computed in f32, and the frequencies are scaled as in
    /// transformers.
    pub fn new(head_dim: usize, theta: f32, style: RotaryStyle, scaling: RotaryScaling) -> Rotary {
        assert!(
            head_dim.is_multiple_of(2),
            "rotary embedding needs pairs of dimensions, and a head has {head_dim}"
        );
        let frequencies = (0..head_dim / 2)
            .map(|i| scaling.apply(1.0 / theta.powf(2.0 * i as f32 / head_dim as f32)))
            .collect();
        Rotary {
            frequencies,
            style,
            table: Arc::default(),
        }
    }

    /// Returns the width of a head.
    pub fn head_dim(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Returns which dimensions form a pair.
    pub fn style(&self) -> RotaryStyle {
        self.style
    }

    /// Returns the angles of at least the positions `0..=largest`, with `head_dim` numbers each, in the order that
    /// [`kernels::rotate`] expects.
    pub(super) fn table(&self, positions: &[u32]) -> Arc<[f32]> {
        let head_dim = self.head_dim();
        let needed = positions.iter().max().map_or(0, |&p| p as usize + 1) * head_dim;
        {
            let table = self
                .table
                .read()
                .expect("no thread panics while it holds the table");
            if table.len() >= needed {
                return table.clone();
            }
        }
        let mut table = self
            .table
            .write()
            .expect("no thread panics while it holds the table");
        if table.len() < needed {
            // Doubling keeps the work of growing in proportion to the final size.
            let rows = needed.max(2 * table.len()) / head_dim;
            let mut values = Vec::with_capacity(rows * head_dim);
            values.extend_from_slice(&table);
            for position in table.len() / head_dim..rows {
                self.push_angles(position, &mut values);
            }
            *table = values.into();
        }
        table.clone()
    }

    fn push_angles(&self, position: usize, values: &mut Vec<f32>) {
        let angles = self.frequencies.iter().map(|f| position as f32 * f);
        match self.style {
            RotaryStyle::Interleaved => values.extend(angles.flat_map(|a| [a.cos(), a.sin()])),
            RotaryStyle::HalfSplit => {
                values.extend(angles.clone().map(f32::cos));
                values.extend(angles.map(f32::sin));
            }
        }
    }
}

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
        rotary.style,
        turn,
    );
    values.tensor(&device)
}
