//! The operations of which models are made, for every device.
//!
//! Every function chooses between its fused CPU kernel and the plain burn operations by the device of its input.
//! Callers do not have to know the device.

mod activation;
mod attention;
pub mod backward;
mod head;
mod matrix;
mod norm;
mod past;
pub mod plain;
mod rotary;
mod settings;
#[cfg(test)]
mod tests;

pub use activation::{activate, gate};
pub use attention::attention;
pub use head::{Change, Comparison, Directions, Scores, Slice, cross_entropy, logits};
pub use matrix::{Matrix, Weight, affine, linear};
pub use norm::{layer_norm, rms_norm};
pub use past::Past;
pub use rotary::rotary;
pub use settings::{
    Activation, Attention, Logits, Mask, Rotary, RotaryScaling, RotaryStyle, alibi_slopes,
};

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;

pub use crate::kernels::{Codes, Coding, Half, Node, View, path_rows, product, product_in};
use crate::{Device, IntTensor, Tensor, TensorData};

/// Packed sequences that share their prefixes.
///
/// The rows of a packed `[rows, d]` tensor belong to nodes. The sequence of a node is a beginning of its parent's
/// sequence, followed by the node's own rows. Nodes are in order, without gaps, and parents come first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The nodes of the tree.
    pub nodes: Vec<Node>,
    /// The position of every row in its sequence, counted from 0.
    pub positions: Vec<u32>,
    /// The rows whose results are needed, in order; `None` if all are.
    ///
    /// Queries are made from these rows only, so the last block of a pass does no work for the others.
    pub asked: Option<Vec<u32>>,
    /// The rows that enter a block with equal states, if there are many, such as copies of a token in the first
    /// block.
    ///
    /// It may be set only if all rows are asked for.
    pub repeats: Option<Repeats>,
    /// The keys and values of the tokens before these, if a text is read in several passes. Every node then holds the
    /// next tokens of one sequence.
    pub past: Option<Past>,
}

/// The rows that are equal to each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repeats {
    /// One row of each kind.
    pub first: Vec<u32>,
    /// The kind of every row.
    pub kind: Vec<u32>,
}

impl Repeats {
    /// Groups rows by equal keys; the kinds are in the order of their first row.
    pub fn new<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> Repeats {
        let mut repeats = Repeats::default();
        let mut known = HashMap::new();
        for (row, key) in keys.enumerate() {
            let kind = *known.entry(key).or_insert_with(|| {
                repeats.first.push(row as u32);
                repeats.first.len() as u32 - 1
            });
            repeats.kind.push(kind);
        }
        repeats
    }

    /// Expands one row per kind to all rows.
    ///
    /// # Shapes
    /// `x` is `[kinds, d]`, and the result is `[rows, d]`.
    pub fn spread(&self, x: Tensor<2>) -> Tensor<2> {
        choose(x, &self.kind)
    }
}

impl Tree {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Returns the rows whose results are needed.
    pub fn asked_rows(&self) -> Cow<'_, [u32]> {
        match &self.asked {
            Some(rows) => Cow::Borrowed(rows),
            None => Cow::Owned((0..self.rows() as u32).collect()),
        }
    }

    /// Returns the positions of the rows whose results are needed.
    pub fn asked_positions(&self) -> Cow<'_, [u32]> {
        match &self.asked {
            Some(rows) => rows.iter().map(|&r| self.positions[r as usize]).collect(),
            None => Cow::Borrowed(&self.positions),
        }
    }

    /// Returns only the rows whose results are needed.
    ///
    /// # Shapes
    /// `x` is `[rows, d]`, and the result is `[asked rows, d]`.
    pub fn keep(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.asked {
            Some(rows) => choose(x, rows),
            None => x,
        }
    }

    /// Applies a function that works row by row, and computes it only once for rows that are known to be equal.
    ///
    /// # Shapes
    /// `x` is `[rows, d]` and holds the entering states or something computed from each of them alone. `f` maps
    /// `[some rows, d]` to tensors with the same number of rows. The results have all rows.
    pub fn once<const N: usize>(
        &self,
        x: Tensor<2>,
        f: impl FnOnce(Tensor<2>) -> [Tensor<2>; N],
    ) -> [Tensor<2>; N] {
        let Some(Repeats { first, kind }) = &self.repeats else {
            return f(x);
        };
        debug_assert!(self.asked.is_none(), "repeats are of all rows");
        let kind = rows_index(kind, &x.device());
        f(choose(x, first)).map(|found| found.select(0, kind.clone()))
    }

    /// Makes a tree of independent sequences of these lengths, one after another.
    pub fn sequences(lengths: &[usize]) -> Tree {
        let mut tree = Tree::default();
        for &len in lengths {
            tree.nodes.push(Node {
                start: tree.positions.len(),
                len,
                parent: None,
                prefix: 0,
            });
            tree.positions.extend(0..len as u32);
        }
        tree
    }
}

/// Some rows, in any order.
fn choose(x: Tensor<2>, rows: &[u32]) -> Tensor<2> {
    let at = rows_index(rows, &x.device());
    x.select(0, at)
}

fn rows_index(rows: &[u32], device: &Device) -> IntTensor<1> {
    index(rows.iter().map(|&r| r as i32).collect(), device)
}

/// Makes an index tensor.
pub fn index(values: Vec<i32>, device: &Device) -> IntTensor<1> {
    let len = values.len();
    IntTensor::from_data(TensorData::new(values, [len]), device)
}
