//! The kernel of attention over packed prefix trees.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::math::{LANES, dots, exp, max_of, mix, softcap, sum_by};
use crate::ops::{Attention, Mask};

/// Queries of a node that are attended by one task: a few long texts keep all cores busy too.
const QUERIES: usize = 64;

/// A run of consecutive rows of a packed prefix tree; see [`crate::ops::Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// The first row.
    pub start: usize,
    /// The number of rows.
    pub len: usize,
    /// The node from whose sequence this one branches off.
    pub parent: Option<usize>,
    /// The number of tokens of the parent's sequence that precede these rows; 0 without a parent.
    pub prefix: usize,
}

/// Computes attention over a packed prefix tree.
///
/// `asked` lists the rows from which queries are made, in order. `q` is asked rows × heads·head_dim, and `k` and `v`
/// are rows × kv_heads·head_dim.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    nodes: &[Node],
    asked: &[u32],
    spec: &Attention,
) -> Vec<f32> {
    each_part(q, nodes, asked, spec, |index, queries, part, q| {
        let mut rows = Vec::new();
        path_rows(nodes, index, &mut rows);
        let keys = Keys::Packed { k, v, rows: &rows };
        attention_node(part, q, keys, (nodes[index], queries), spec);
    })
}

/// Computes attention with the keys and values that are kept of all sequences. Each node is the end of its sequence.
pub fn attention_kept(
    q: &[f32],
    kept: &[Kept],
    nodes: &[Node],
    asked: &[u32],
    spec: &Attention,
) -> Vec<f32> {
    each_part(q, nodes, asked, spec, |index, queries, part, q| {
        let keys = Keys::Kept(&kept[index]);
        attention_node(part, q, keys, (nodes[index], queries), spec);
    })
}

/// Calls `attend` for every node and some of its queries: the node, the rows, where the result belongs, the queries.
fn each_part(
    q: &[f32],
    nodes: &[Node],
    asked: &[u32],
    spec: &Attention,
    attend: impl Fn(usize, &[u32], &mut [f32], &[f32]) + Sync,
) -> Vec<f32> {
    let width = spec.heads * spec.head_dim;
    let mut out = vec![0.0; q.len()];
    let mut parts = Vec::with_capacity(nodes.len());
    let (mut rest, mut q, mut asked) = (out.as_mut_slice(), q, asked);
    for (index, node) in nodes.iter().enumerate() {
        let end = (node.start + node.len) as u32;
        let (own, others) = asked.split_at(asked.partition_point(|&row| row < end));
        asked = others;
        for queries in own.chunks(QUERIES) {
            let (part, tail) = rest.split_at_mut(queries.len() * width);
            let (of_part, of_tail) = q.split_at(queries.len() * width);
            parts.push((index, queries, part, of_part));
            (rest, q) = (tail, of_tail);
        }
    }
    // Many short nodes are handed over together, few long ones one part at a time.
    let together = (parts.len() / (4 * rayon::current_num_threads())).clamp(1, 4);
    parts
        .into_par_iter()
        .with_min_len(together)
        .for_each(|(index, queries, part, q)| attend(index, queries, part, q));
    out
}

/// The keys and values of one sequence, stored head by head, and token by token within a head.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The keys of each head, tokens × head_dim.
    pub keys: Vec<Vec<f32>>,
    /// The values of each head, tokens × head_dim.
    pub values: Vec<Vec<f32>>,
}

/// Where a node's keys and values are.
#[derive(Clone, Copy)]
enum Keys<'a> {
    /// In the tensors of a pack, at these rows.
    Packed {
        k: &'a [f32],
        v: &'a [f32],
        rows: &'a [u32],
    },
    /// Kept for its sequence.
    Kept(&'a Kept),
}

/// Collects the rows of a node's sequence, in order: first the shared ones, then its own.
pub fn path_rows(nodes: &[Node], index: usize, rows: &mut Vec<u32>) {
    let mut parts = Vec::new();
    let mut at = index;
    let mut take = nodes[at].prefix + nodes[at].len;
    loop {
        let node = nodes[at];
        if take > node.prefix {
            parts.push(node.start as u32..(node.start + take - node.prefix) as u32);
            take = node.prefix;
        }
        match node.parent {
            Some(parent) if take > 0 => at = parent,
            _ => break,
        }
    }
    rows.clear();
    rows.extend(parts.into_iter().rev().flatten());
}

#[multiversion(targets = "simd")]
fn attention_node(
    out: &mut [f32],
    q: &[f32],
    keys: Keys<'_>,
    own: (Node, &[u32]),
    spec: &Attention,
) {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    attend::<FUSED>(out, q, keys, own, spec);
}

/// `out`, zeros at first, becomes the attention of some queries of a node.
#[inline(always)]
fn attend<const FUSED: bool>(
    out: &mut [f32],
    q: &[f32],
    keys: Keys<'_>,
    (node, queries): (Node, &[u32]),
    spec: &Attention,
) {
    let (heads, kv_heads, head_dim) = (spec.heads, spec.kv_heads, spec.head_dim);
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let scale = spec.scale;
    let tokens = match keys {
        Keys::Packed { rows, .. } => rows.len(),
        Keys::Kept(kept) => kept.keys[0].len() / head_dim,
    };
    let before = tokens - node.len;
    // Whole lanes: what is beyond the last key counts nothing.
    let mut weights = vec![0.0f32; tokens.next_multiple_of(LANES)];
    // Of one head, row by row: in the tensors they are so far apart, often by nearly a power of two,
    // that they drive each other out of the nearest cache.
    let (mut own_keys, mut own_values) = (Vec::new(), Vec::new());
    let group = heads / kv_heads;
    for head in 0..heads {
        let of_group = head / group;
        if let Keys::Packed { k, v, rows } = keys
            && head % group == 0
        {
            let at = of_group * head_dim;
            for (states, own) in [(k, &mut own_keys), (v, &mut own_values)] {
                own.clear();
                for &row in rows {
                    own.extend_from_slice(&states[row as usize * kv_width + at..][..head_dim]);
                }
            }
        }
        let (head_keys, head_values): (&[f32], &[f32]) = match keys {
            Keys::Packed { .. } => (&own_keys, &own_values),
            Keys::Kept(kept) => (&kept.keys[of_group], &kept.values[of_group]),
        };
        for (i, &row) in queries.iter().enumerate() {
            let query = &q[i * width + head * head_dim..][..head_dim];
            let at = before + row as usize - node.start;
            let range = match spec.mask {
                Mask::Causal => 0..at + 1,
                Mask::Window(window) => (at + 1).saturating_sub(window)..at + 1,
                Mask::Full => 0..tokens,
            };
            let weights = &mut weights[..range.len().next_multiple_of(LANES)];
            let (own, beyond) = weights.split_at_mut(range.len());
            let seen = range.start * head_dim..range.end * head_dim;
            dots::<FUSED>(query, &head_keys[seen.clone()], own);
            own.iter_mut().for_each(|w| *w *= scale);
            if let Some(cap) = spec.softcap {
                for w in own.iter_mut() {
                    *w = softcap::<FUSED>(*w, cap);
                }
            }
            if let Some(slopes) = &spec.alibi {
                for (j, w) in own.iter_mut().enumerate() {
                    *w += slopes[head] * (range.start + j) as f32;
                }
            }
            beyond.fill(f32::NEG_INFINITY);
            let max = max_of(weights);
            for w in weights.iter_mut() {
                *w = exp::<FUSED>(*w - max);
            }
            let (own, beyond) = weights.split_at_mut(range.len());
            beyond.fill(0.0);
            let target = &mut out[i * width + head * head_dim..][..head_dim];
            mix::<FUSED>(own, &head_values[seen], target);
            let norm = 1.0 / sum_by(weights, |w| w);
            target.iter_mut().for_each(|t| *t *= norm);
        }
    }
}

/// Computes the backward pass of plain causal [`attention`] for independent sequences (nodes without parents).
///
/// The result holds the gradients of `q`, `k` and `v`.
pub fn attention_backward(
    grad: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    nodes: &[Node],
    spec: &Attention,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    let mut parts = Vec::with_capacity(nodes.len());
    let (mut q_rest, mut k_rest, mut v_rest) = (&mut dq[..], &mut dk[..], &mut dv[..]);
    for node in nodes {
        assert!(
            node.parent.is_none(),
            "gradients are defined for independent sequences"
        );
        let (q_part, q_tail) = q_rest.split_at_mut(node.len * width);
        let (k_part, k_tail) = k_rest.split_at_mut(node.len * kv_width);
        let (v_part, v_tail) = v_rest.split_at_mut(node.len * kv_width);
        parts.push((*node, q_part, k_part, v_part));
        (q_rest, k_rest, v_rest) = (q_tail, k_tail, v_tail);
    }
    parts
        .into_par_iter()
        .with_min_len(4)
        .for_each(|(node, dq, dk, dv)| {
            let rows = node.start..node.start + node.len;
            let q_rows = rows.start * width..rows.end * width;
            let kv_rows = rows.start * kv_width..rows.end * kv_width;
            attention_backward_node(
                (dq, dk, dv),
                &grad[q_rows.clone()],
                &q[q_rows],
                &k[kv_rows.clone()],
                &v[kv_rows],
                spec,
            );
        });
    (dq, dk, dv)
}

#[multiversion(targets = "simd")]
fn attention_backward_node(
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    grad: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    spec: &Attention,
) {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    attend_backward::<FUSED>((dq, dk, dv), grad, q, k, v, spec);
}

#[inline(always)]
fn attend_backward<const FUSED: bool>(
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    grad: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    spec: &Attention,
) {
    let (heads, kv_heads, head_dim) = (spec.heads, spec.kv_heads, spec.head_dim);
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let len = q.len() / width;
    let scale = spec.scale;
    let (mut weights, mut slopes) = (vec![0.0f32; len], vec![0.0f32; len]);
    for head in 0..heads {
        let (at, kv_at) = (head * head_dim, head / (heads / kv_heads) * head_dim);
        let of_head = |states: &[f32]| -> Vec<f32> {
            let rows = states.chunks_exact(kv_width);
            rows.flat_map(|row| &row[kv_at..][..head_dim])
                .copied()
                .collect()
        };
        let (keys, values) = (of_head(k), of_head(v));
        for i in 0..len {
            let query = &q[i * width + at..][..head_dim];
            let out = &grad[i * width + at..][..head_dim];
            let (weights, slopes) = (&mut weights[..=i], &mut slopes[..=i]);
            let seen = ..(i + 1) * head_dim;
            dots::<FUSED>(query, &keys[seen], weights);
            weights.iter_mut().for_each(|w| *w *= scale);
            let max = max_of(weights);
            for w in weights.iter_mut() {
                *w = exp::<FUSED>(*w - max);
            }
            let norm = 1.0 / sum_by(weights, |w| w);
            dots::<FUSED>(out, &values[seen], slopes);
            let mut mean = 0.0;
            for (w, s) in weights.iter_mut().zip(slopes.iter()) {
                *w *= norm;
                mean += *w * *s;
            }
            let target = &mut dq[i * width + at..][..head_dim];
            for (j, (w, s)) in weights.iter().zip(slopes.iter()).enumerate() {
                let slope = w * (s - mean) * scale;
                let key = &keys[j * head_dim..][..head_dim];
                let dk = &mut dk[j * kv_width + kv_at..][..head_dim];
                let dv = &mut dv[j * kv_width + kv_at..][..head_dim];
                for l in 0..head_dim {
                    target[l] += slope * key[l];
                    dk[l] += slope * query[l];
                    dv[l] += w * out[l];
                }
            }
        }
    }
}
