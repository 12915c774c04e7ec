//! The operations in plain burn, for all devices other than the CPU and for autodiff.

use burn::tensor::{Bool, activation};

use super::{
    Activation, Attention, Logits, Mask, Node, Rotary, RotaryStyle, Tree, index, path_rows,
};
use crate::{Tensor, TensorData, from_rows};

/// Computes [`super::layer_norm`].
pub fn layer_norm(x: Tensor<2>, gain: &Tensor<1>, bias: Option<&Tensor<1>>, eps: f32) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    let scaled = centred / (variance + eps).sqrt() * gain.clone().unsqueeze();
    match bias {
        Some(bias) => scaled + bias.clone().unsqueeze(),
        None => scaled,
    }
}

/// Computes [`super::rms_norm`].
pub fn rms_norm(x: Tensor<2>, gain: &Tensor<1>, eps: f32) -> Tensor<2> {
    let square = (x.clone() * x.clone()).mean_dim(1);
    x / (square + eps).sqrt() * gain.clone().unsqueeze()
}

/// Computes [`super::activate`].
pub fn activate(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    match activation {
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let cube = x.clone() * x.clone() * x.clone();
            let inner = (x.clone() + cube * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
            x * (inner.tanh() + 1.0) * 0.5
        }
        Activation::Relu => activation::relu(x),
    }
}

/// Computes [`super::gate`].
pub fn gate(gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
    activate(gate, activation) * up
}

/// Computes `softcap(scale · products + bias)`; see [`Logits`].
pub fn shape_logits(products: Tensor<2>, bias: Option<&[f32]>, how: Logits) -> Tensor<2> {
    let device = products.device();
    let mut logits = products * how.scale;
    if let Some(bias) = bias {
        logits = logits + from_rows(bias.to_vec(), 1, bias.len(), &device);
    }
    match how.softcap {
        Some(cap) => softcap(logits, cap),
        None => logits,
    }
}

fn softcap<const D: usize>(x: Tensor<D>, cap: f32) -> Tensor<D> {
    (x / cap).tanh() * cap
}

/// Computes [`super::rotary`].
pub fn rotary(x: Tensor<2>, positions: &[u32], rotary: &Rotary) -> Tensor<2> {
    let device = x.device();
    let [rows, width] = x.dims();
    let (head_dim, half) = (rotary.head_dim(), rotary.head_dim() / 2);
    let heads = width / head_dim;
    let table = rotary.table(positions);
    let (mut cos, mut sin) = (
        Vec::with_capacity(rows * half),
        Vec::with_capacity(rows * half),
    );
    for &position in positions {
        let angles = &table[position as usize * head_dim..][..head_dim];
        match rotary.style() {
            RotaryStyle::Interleaved => {
                cos.extend(angles.iter().step_by(2));
                sin.extend(angles.iter().skip(1).step_by(2));
            }
            RotaryStyle::HalfSplit => {
                cos.extend(&angles[..half]);
                sin.extend(&angles[half..]);
            }
        }
    }
    // The axis that holds the two members of a pair, and the shapes around it.
    let (axis, pairs, angles) = match rotary.style() {
        RotaryStyle::Interleaved => (3, [rows, heads, half, 2], [rows, 1, half, 1]),
        RotaryStyle::HalfSplit => (2, [rows, heads, 2, half], [rows, 1, 1, half]),
    };
    let cos = from_rows(cos, rows, half, &device).reshape(angles);
    let sin = from_rows(sin, rows, half, &device).reshape(angles);
    let x = x.reshape(pairs);
    let (a, b) = (x.clone().narrow(axis, 0, 1), x.narrow(axis, 1, 1));
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    let second = b * cos + a * sin;
    Tensor::cat(vec![first, second], axis).reshape([rows, width])
}

/// Scores of the largest group of nodes that are attended at once: 256 MiB in f32.
const MAX_SCORES: usize = 1 << 26;

/// Computes [`super::attention`].
///
/// Nodes are padded to the longest of their group; groups are runs of nodes whose padded scores stay below a limit.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    tree: &Tree,
    spec: &Attention,
) -> Tensor<2> {
    let Some(asked) = &tree.asked else {
        return grouped(q, k, v, tree, spec, MAX_SCORES / spec.heads);
    };
    // Rows that nobody reads have any query.
    let mut at = vec![0; tree.rows()];
    for (i, &row) in asked.iter().enumerate() {
        at[row as usize] = i as i32;
    }
    let q = q.clone().select(0, index(at, &q.device()));
    tree.keep(grouped(q, k, v, tree, spec, MAX_SCORES / spec.heads))
}

fn grouped(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    tree: &Tree,
    spec: &Attention,
    most: usize,
) -> Tensor<2> {
    let paths: Vec<Vec<u32>> = (0..tree.nodes.len())
        .map(|at| {
            let mut rows = Vec::new();
            path_rows(&tree.nodes, at, &mut rows);
            rows
        })
        .collect();
    let parts: Vec<Tensor<2>> = groups(&tree.nodes, &paths, most)
        .into_iter()
        .map(|group| {
            let (nodes, paths) = (&tree.nodes[group.clone()], &paths[group]);
            attend(q.clone(), k.clone(), v.clone(), nodes, paths, spec)
        })
        .collect();
    if parts.is_empty() {
        return q;
    }
    Tensor::cat(parts, 0)
}

/// Runs of nodes with at most `most` padded pairs of a query and a key, or one node.
fn groups(nodes: &[Node], paths: &[Vec<u32>], most: usize) -> Vec<std::ops::Range<usize>> {
    let mut groups = Vec::new();
    let (mut first, mut queries, mut keys) = (0, 0, 0);
    for (at, (node, path)) in nodes.iter().zip(paths).enumerate() {
        let (wider, longer) = (node.len.max(queries), path.len().max(keys));
        if at > first && (at + 1 - first) * wider * longer > most {
            groups.push(first..at);
            (first, queries, keys) = (at, node.len, path.len());
        } else {
            (queries, keys) = (wider, longer);
        }
    }
    if first < nodes.len() {
        groups.push(first..nodes.len());
    }
    groups
}

/// Attention of consecutive nodes; returns their rows.
fn attend(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    nodes: &[Node],
    paths: &[Vec<u32>],
    spec: &Attention,
) -> Tensor<2> {
    let device = q.device();
    let [all_rows, width] = q.dims();
    let rows: usize = nodes.iter().map(|n| n.len).sum();
    let (heads, kv_heads, head_dim) = (spec.heads, spec.kv_heads, spec.head_dim);
    let count = nodes.len();
    let queries = nodes.iter().map(|n| n.len).max().unwrap_or(0);
    let keys = paths.iter().map(Vec::len).max().unwrap_or(0);
    // Nodes of equal depth and length, one after the other, need no gather and no padding.
    let dense = rows == all_rows && nodes.iter().all(|n| n.parent.is_none() && n.len == queries);
    let (q, k, v) = if dense {
        (q, k, v)
    } else {
        let (mut q_at, mut k_at) = (vec![0i32; count * queries], vec![0i32; count * keys]);
        for (at, (node, path)) in nodes.iter().zip(paths).enumerate() {
            for i in 0..node.len {
                q_at[at * queries + i] = (node.start + i) as i32;
            }
            for (j, &row) in path.iter().enumerate() {
                k_at[at * keys + j] = row as i32;
            }
        }
        let k_at = index(k_at, &device);
        (
            q.select(0, index(q_at, &device)),
            k.select(0, k_at.clone()),
            v.select(0, k_at),
        )
    };
    let q = q.reshape([count, queries, heads, head_dim]).swap_dims(1, 2);
    let (k, v) = (
        repeat_heads(k, count, keys, heads, kv_heads),
        repeat_heads(v, count, keys, heads, kv_heads),
    );
    let batch = if dense { 1 } else { count };
    let mut hidden = vec![false; batch * queries * keys];
    for (at, (node, path)) in nodes.iter().zip(paths).take(batch).enumerate() {
        let before = path.len() - node.len;
        for i in 0..queries {
            for j in 0..keys {
                // Rows that only fill up a short node are never read; they may see anything.
                let own = before + i;
                hidden[(at * queries + i) * keys + j] = match spec.mask {
                    Mask::Causal => j > own,
                    Mask::Window(window) => j > own || own - j >= window,
                    Mask::Full => j >= path.len(),
                };
            }
        }
    }
    let hidden = burn::tensor::Tensor::<crate::Backend, 4, Bool>::from_data(
        TensorData::new(hidden, [batch, 1, queries, keys]),
        &device,
    )
    .expand([count, heads, queries, keys]);
    let mut scores = q.matmul(k.swap_dims(2, 3)) * spec.scale;
    if let Some(cap) = spec.softcap {
        scores = softcap(scores, cap);
    }
    if let Some(slopes) = &spec.alibi {
        let biases = slopes
            .iter()
            .flat_map(|slope| (0..keys).map(move |j| slope * j as f32))
            .collect();
        scores = scores + from_rows(biases, heads, keys, &device).reshape([1, heads, 1, keys]);
    }
    let weights = activation::softmax(scores.mask_fill(hidden, -1e30), 3);
    let out = weights
        .matmul(v)
        .swap_dims(1, 2)
        .reshape([count * queries, width]);
    if dense {
        return out;
    }
    let mut back = Vec::with_capacity(rows);
    for (at, node) in nodes.iter().enumerate() {
        back.extend((0..node.len).map(|i| (at * queries + i) as i32));
    }
    out.select(0, index(back, &device))
}

fn repeat_heads(
    x: Tensor<2>,
    count: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
) -> Tensor<4> {
    let [_, width] = x.dims();
    let head_dim = width / kv_heads;
    let group = heads / kv_heads;
    let x = x.reshape([count, keys, kv_heads, head_dim]).swap_dims(1, 2);
    if group == 1 {
        return x;
    }
    let x: Tensor<5> = x.unsqueeze_dim(2);
    x.expand([count, kv_heads, group, keys, head_dim])
        .reshape([count, heads, keys, head_dim])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_change_nothing() {
        let mut tree = Tree::sequences(&[3, 9, 2, 2, 5]);
        // A branch of the second sequence, after its fourth token.
        tree.nodes.push(Node {
            start: 21,
            len: 3,
            parent: Some(1),
            prefix: 4,
        });
        tree.positions.extend([4, 5, 6]);
        let device = crate::device::cpu();
        let noise = |seed: usize, width: usize| {
            let value = |i: usize| ((i * 37 + seed * 101) % 64) as f32 / 32.0 - 1.0;
            from_rows((0..24 * width).map(value).collect(), 24, width, &device)
        };
        let (q, k, v) = (noise(1, 8), noise(2, 4), noise(3, 4));
        let spec = Attention::causal(2, 1, 4);
        let run =
            |most| crate::to_host(grouped(q.clone(), k.clone(), v.clone(), &tree, &spec, most));
        let whole = run(usize::MAX);
        for most in [1, 20, 60] {
            for (a, b) in run(most).iter().zip(&whole) {
                assert!((a - b).abs() < 1e-6, "{a} against {b} at {most}");
            }
        }
    }

    #[test]
    fn a_long_node_does_not_widen_many_short_ones() {
        let mut lengths = vec![4; 500];
        lengths.insert(250, 2000);
        let tree = Tree::sequences(&lengths);
        let paths: Vec<Vec<u32>> = tree
            .nodes
            .iter()
            .map(|n| (n.start as u32..(n.start + n.len) as u32).collect())
            .collect();
        let groups = groups(&tree.nodes, &paths, 1 << 22);
        assert_eq!(groups, [0..250, 250..251, 251..501]);
        // Everything in one group, and every node alone.
        assert_eq!(super::groups(&tree.nodes, &paths, usize::MAX).len(), 1);
        assert_eq!(super::groups(&tree.nodes, &paths, 1).len(), 501);
        assert!(super::groups(&[], &[], 1).is_empty());
    }
}
