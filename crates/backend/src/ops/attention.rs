//! Attention over packed prefix trees.

use super::{Attention, Tree, plain};
use crate::device::is_plain_cpu;
use crate::{Host, Tensor, from_rows, kernels};

/// Computes scaled dot-product attention over a packed prefix tree.
///
/// # Shapes
/// `q` is `[asked rows, heads · head_dim]`, `k` and `v` are `[rows, kv_heads · head_dim]`, and the result is `[asked
/// rows, heads · head_dim]`.
///
/// # Panics
/// If the shapes, the tree and `spec` do not fit together, for example [`Mask::Full`](super::Mask::Full) on a tree whose nodes share
/// prefixes.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    tree: &Tree,
    spec: &Attention,
) -> Tensor<2> {
    spec.check(&q, &k, &v, tree);
    if let Some(past) = &tree.past {
        return past.attention(q, k, v, tree, spec);
    }
    let device = q.device();
    if !is_plain_cpu(&device) {
        return plain::attention(q, k, v, tree, spec);
    }
    let [rows, width] = q.dims();
    let asked = tree.asked_rows();
    let [q, k, v] = [q, k, v].map(Host::of);
    let out = kernels::attention(&q, &k, &v, &tree.nodes, &asked, spec);
    from_rows(out, rows, width, &device)
}
