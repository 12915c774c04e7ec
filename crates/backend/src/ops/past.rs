//! Keys and values that are kept between passes, so that a text can be read token by token.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Attention, Mask, Node, Tree, plain};
use crate::device::is_plain_cpu;
use crate::kernels::{self, Kept};
use crate::{Host, Tensor, from_rows};

/// The keys and values of one block for the tokens that some sequences have had so far.
///
/// A [`Tree`] with a past has one node for each sequence, which holds the tokens that come next. Attention adds their
/// keys and values to the past, and lets their queries see all tokens of the sequence. Clones share the past.
#[derive(Debug, Clone, Default)]
pub struct Past(Arc<Mutex<Vec<Kept>>>);

impl PartialEq for Past {
    fn eq(&self, other: &Past) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Past {}

impl Past {
    /// Makes the past of sequences that have not begun.
    pub fn new(sequences: usize) -> Past {
        Past(Arc::new(Mutex::new(vec![Kept::default(); sequences])))
    }

    /// Drops the sequences for which `keep` is false; the others stay in the same order.
    pub fn retain(&self, keep: &[bool]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keep = keep.iter();
        kept.retain(|_| keep.next().copied().unwrap_or(false));
    }

    /// Computes [`super::attention`]; `k` and `v` belong to the new tokens only.
    pub(super) fn attention(
        &self,
        q: Tensor<2>,
        k: Tensor<2>,
        v: Tensor<2>,
        tree: &Tree,
        spec: &Attention,
    ) -> Tensor<2> {
        let (device, [rows, width]) = (q.device(), q.dims());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(kept.len(), tree.nodes.len(), "one node for each sequence");
        assert!(
            spec.mask != Mask::Full && tree.nodes.iter().all(|n| n.parent.is_none()),
            "tokens that are read one after the other see none that follow"
        );
        let (k, v) = (Host::of(k), Host::of(v));
        for (kept, node) in kept.iter_mut().zip(&tree.nodes) {
            add(&mut kept.keys, &k, node, spec);
            add(&mut kept.values, &v, node, spec);
        }
        if is_plain_cpu(&device) {
            let out =
                kernels::attention_kept(&Host::of(q), &kept, &tree.nodes, &tree.asked_rows(), spec);
            return from_rows(out, rows, width, &device);
        }
        // Elsewhere the whole sequences, of which the new tokens are asked for.
        let lengths: Vec<usize> = kept.iter().map(|kept| tokens(kept, spec)).collect();
        let mut whole = Tree::sequences(&lengths);
        let ends = whole.nodes.iter().zip(&tree.nodes);
        let firsts: Vec<usize> = ends
            .map(|(all, new)| all.start + all.len - new.len - new.start)
            .collect();
        let node_of = |row: u32| {
            let after = tree
                .nodes
                .partition_point(|node| node.start <= row as usize);
            after - 1
        };
        let asked = tree.asked_rows();
        let asked = asked.iter().map(|&row| row + firsts[node_of(row)] as u32);
        whole.asked = Some(asked.collect());
        let all = |of: fn(&Kept) -> &Vec<Vec<f32>>| {
            let mut values = Vec::with_capacity(whole.rows() * spec.kv_heads * spec.head_dim);
            for (kept, &length) in kept.iter().zip(&lengths) {
                for token in 0..length {
                    for head in of(kept) {
                        values.extend_from_slice(&head[token * spec.head_dim..][..spec.head_dim]);
                    }
                }
            }
            from_rows(values, whole.rows(), spec.kv_heads * spec.head_dim, &device)
        };
        plain::attention(
            q,
            all(|kept| &kept.keys),
            all(|kept| &kept.values),
            &whole,
            spec,
        )
    }
}

/// Adds the rows of a node to the heads of its sequence.
fn add(heads: &mut Vec<Vec<f32>>, rows: &[f32], node: &Node, spec: &Attention) {
    heads.resize(spec.kv_heads, Vec::new());
    let width = spec.kv_heads * spec.head_dim;
    for row in rows[node.start * width..][..node.len * width].chunks_exact(width) {
        for (head, values) in heads.iter_mut().zip(row.chunks_exact(spec.head_dim)) {
            head.extend_from_slice(values);
        }
    }
}

fn tokens(kept: &Kept, spec: &Attention) -> usize {
    kept.keys
        .first()
        .map_or(0, |head| head.len() / spec.head_dim)
}
