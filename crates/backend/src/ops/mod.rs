//! The operations models are made of, through one seam.
//!
//! Every function picks its fused CPU kernel or the plain burn operations by
//! the device of its input. Callers never ask.

mod activation;
mod attention;
pub mod backward;
mod head;
mod matrix;
mod norm;
mod past;
pub mod plain;
mod rotary;
#[cfg(test)]
mod tests;

pub use activation::{Activation, activate, gate};
pub use attention::{Attention, Mask, alibi_slopes, attention};
pub use head::{Change, Comparison, Directions, Logits, Scores, Slice, cross_entropy, logits};
pub use matrix::{Matrix, Weight, affine, linear};
pub use norm::{layer_norm, rms_norm};
pub use past::Past;
pub use rotary::{Rotary, RotaryScaling, RotaryStyle, rotary};

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;

pub use crate::kernels::{Node, View, path_rows, product, product_in};
use crate::{Device, IntTensor, Tensor, TensorData};

/// Packed sequences that share their prefixes.
///
/// Rows of a packed `[rows, d]` tensor belong to nodes; the sequence of a node is
/// some beginning of its parent's sequence and then the node's own rows. Nodes
/// lie in order, without gaps, parents first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Position of every row in its sequence, counted from 0.
    pub positions: Vec<u32>,
    /// The rows whose results anybody reads, in order; all of them where there is none.
    ///
    /// Queries are formed of these alone, so the last block of a pass does no work for others.
    pub asked: Option<Vec<u32>>,
    /// Rows that enter with equal states, where many do: copies of a token in the first block.
    ///
    /// Only where all rows are asked for.
    pub repeats: Option<Repeats>,
    /// What attention has of the tokens before these, where a text is read in several passes: every node is then the
    /// next tokens of one sequence.
    pub past: Option<Past>,
}

/// Which rows are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repeats {
    /// One row of each kind.
    pub first: Vec<u32>,
    /// The kind of every row.
    pub kind: Vec<u32>,
}

impl Repeats {
    /// Rows with equal keys are of one kind; kinds are in the order in which they come first.
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

    /// Every row, from those of its kind.
    ///
    /// # Shapes
    /// `x`: `[kinds, d]`, result `[rows, d]`.
    pub fn spread(&self, x: Tensor<2>) -> Tensor<2> {
        choose(x, &self.kind)
    }
}

impl Tree {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// The rows whose results are read.
    pub fn asked_rows(&self) -> Cow<'_, [u32]> {
        match &self.asked {
            Some(rows) => Cow::Borrowed(rows),
            None => Cow::Owned((0..self.rows() as u32).collect()),
        }
    }

    /// Positions of the rows whose results are read.
    pub fn asked_positions(&self) -> Cow<'_, [u32]> {
        match &self.asked {
            Some(rows) => rows.iter().map(|&r| self.positions[r as usize]).collect(),
            None => Cow::Borrowed(&self.positions),
        }
    }

    /// Only the rows whose results are read.
    ///
    /// # Shapes
    /// `x`: `[rows, d]`, result `[asked rows, d]`.
    pub fn keep(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.asked {
            Some(rows) => choose(x, rows),
            None => x,
        }
    }

    /// Something of every row by itself, computed once for rows that are known to be equal.
    ///
    /// # Shapes
    /// `x`: `[rows, d]`, the entering states or what was made of each alone; `f`: from `[some rows, d]` to
    /// tensors of as many rows. The results have all rows.
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

    /// Independent sequences of these lengths, one after the other.
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

/// An index tensor.
pub fn index(values: Vec<i32>, device: &Device) -> IntTensor<1> {
    let len = values.len();
    IntTensor::from_data(TensorData::new(values, [len]), device)
}
