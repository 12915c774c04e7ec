//! Fused CPU kernels on slices, compiled for several instruction sets.
//!
//! Sums run over sixteen fixed lanes, so a result does not depend on the
//! vector width of the machine that computed it.

use multiversion::multiversion;
use rayon::prelude::*;

/// One run of rows of a packed prefix tree; see [`crate::ops::Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// First row.
    pub start: usize,
    /// Number of rows.
    pub len: usize,
    /// The node on whose sequence this one branches off.
    pub parent: Option<usize>,
    /// How many tokens of the parent's sequence precede these; 0 without a parent.
    pub prefix: usize,
}

const LANES: usize = 16;

/// Rows handed to one rayon task: enough work to pay for the hand-over.
fn rows_per_task(rows: usize) -> usize {
    rows.div_ceil(4 * rayon::current_num_threads()).max(8)
}

#[inline(always)]
fn exp(x: f32) -> f32 {
    // Cephes' expf: range reduction by ln 2, a degree-5 polynomial, exponent by bits.
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for l in 0..LANES {
            lanes[l] += x[l] * y[l];
        }
    }
    let mut sum = tree_sum(lanes);
    for (x, y) in a_rest.iter().zip(b_rest) {
        sum += x * y;
    }
    sum
}

#[inline(always)]
fn tree_sum(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn sum_by(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] += f(chunk[l]);
        }
    }
    let mut sum = tree_sum(lanes);
    for &x in rest {
        sum += f(x);
    }
    sum
}

#[inline(always)]
fn max_of(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] = if chunk[l] > lanes[l] {
                chunk[l]
            } else {
                lanes[l]
            };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for &x in lanes.iter().chain(rest) {
        if x > max {
            max = x;
        }
    }
    max
}

/// Mean-subtracting layer norm without bias, in place.
pub fn layer_norm(x: &mut [f32], gamma: &[f32], eps: f32) {
    let d = gamma.len();
    let task = rows_per_task(x.len() / d) * d;
    x.par_chunks_mut(task)
        .for_each(|rows| layer_norm_rows(rows, gamma, eps));
}

#[multiversion(targets = "simd")]
fn layer_norm_rows(rows: &mut [f32], gamma: &[f32], eps: f32) {
    let d = gamma.len();
    for row in rows.chunks_exact_mut(d) {
        let mean = sum_by(row, |v| v) / d as f32;
        let variance = sum_by(row, |v| (v - mean) * (v - mean)) / d as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for (v, g) in row.iter_mut().zip(gamma) {
            *v = (*v - mean) * scale * g;
        }
    }
}

/// `gate ← silu(gate) · up`.
pub fn silu_gate(gate: &mut [f32], up: &[f32]) {
    let task = rows_per_task(gate.len() / 256 + 1) * 256;
    gate.par_chunks_mut(task)
        .zip(up.par_chunks(task))
        .for_each(|(g, u)| silu_gate_slice(g, u));
}

#[multiversion(targets = "simd")]
fn silu_gate_slice(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + exp(-*g)) * u;
    }
}

/// Rotates interleaved pairs `(2i, 2i+1)` of every head by its position's angle.
///
/// `table` holds `[cos, sin]` per position and pair: `positions × head_dim`;
/// `turn` is 1, or −1 to rotate back (the transpose, and so the backward pass).
pub fn rotary_interleaved(
    x: &mut [f32],
    width: usize,
    head_dim: usize,
    positions: &[u32],
    table: &[f32],
    turn: f32,
) {
    let rows = positions.len();
    let task = rows_per_task(rows);
    x.par_chunks_mut(task * width)
        .zip(positions.par_chunks(task))
        .for_each(|(x, positions)| {
            for (row, &position) in x.chunks_exact_mut(width).zip(positions) {
                let angles = &table[position as usize * head_dim..][..head_dim];
                for head in row.chunks_exact_mut(head_dim) {
                    for (pair, angle) in head.chunks_exact_mut(2).zip(angles.chunks_exact(2)) {
                        let (a, b, cos, sin) = (pair[0], pair[1], angle[0], angle[1] * turn);
                        pair[0] = a * cos - b * sin;
                        pair[1] = b * cos + a * sin;
                    }
                }
            }
        });
}

/// Causal attention over a packed prefix tree.
///
/// `q`: rows × heads·head_dim, `k` and `v`: rows × kv_heads·head_dim.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    nodes: &[Node],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) -> Vec<f32> {
    let width = heads * head_dim;
    let mut out = vec![0.0; q.len()];
    let mut parts = Vec::with_capacity(nodes.len());
    let mut rest = out.as_mut_slice();
    for (index, node) in nodes.iter().enumerate() {
        let (part, tail) = rest.split_at_mut(node.len * width);
        parts.push((index, part));
        rest = tail;
    }
    parts
        .into_par_iter()
        .with_min_len(4)
        .for_each(|(index, part)| {
            let mut keys = Vec::new();
            path_rows(nodes, index, &mut keys);
            attention_node(
                part,
                q,
                k,
                v,
                &keys,
                nodes[index],
                heads,
                kv_heads,
                head_dim,
            );
        });
    out
}

/// The rows of a node's sequence, in order: those it shares first, its own last.
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
#[allow(clippy::too_many_arguments)]
fn attention_node(
    out: &mut [f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    keys: &[u32],
    node: Node,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) {
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let before = keys.len() - node.len;
    let mut weights = vec![0.0f32; keys.len()];
    for head in 0..heads {
        let kv_at = head / (heads / kv_heads) * head_dim;
        for i in 0..node.len {
            let query = &q[(node.start + i) * width + head * head_dim..][..head_dim];
            let seen = &keys[..before + i + 1];
            let weights = &mut weights[..seen.len()];
            for (w, &row) in weights.iter_mut().zip(seen) {
                *w = dot(query, &k[row as usize * kv_width + kv_at..][..head_dim]) * scale;
            }
            let max = max_of(weights);
            for w in weights.iter_mut() {
                *w = exp(*w - max);
            }
            let norm = 1.0 / sum_by(weights, |w| w);
            let target = &mut out[i * width + head * head_dim..][..head_dim];
            for (w, &row) in weights.iter().zip(seen) {
                let w = w * norm;
                let value = &v[row as usize * kv_width + kv_at..][..head_dim];
                for (t, x) in target.iter_mut().zip(value) {
                    *t += w * x;
                }
            }
        }
    }
}

/// Backward of [`layer_norm`]: `grad` (with respect to the output) becomes the
/// gradient with respect to the input `x`; returns the gradient of the gain.
pub fn layer_norm_backward(grad: &mut [f32], x: &[f32], gamma: &[f32], eps: f32) -> Vec<f32> {
    let d = gamma.len();
    // Parts of fixed size, summed in order: the result does not depend on the threads.
    let part = 64 * d;
    let gains: Vec<Vec<f32>> = grad
        .par_chunks_mut(part)
        .zip(x.par_chunks(part))
        .map(|(grad, x)| {
            let mut gain = vec![0.0; d];
            layer_norm_backward_rows(grad, x, gamma, eps, &mut gain);
            gain
        })
        .collect();
    let mut sum = vec![0.0; d];
    for gain in gains {
        sum.iter_mut().zip(gain).for_each(|(s, g)| *s += g);
    }
    sum
}

#[multiversion(targets = "simd")]
fn layer_norm_backward_rows(
    grad: &mut [f32],
    x: &[f32],
    gamma: &[f32],
    eps: f32,
    gain: &mut [f32],
) {
    let d = gamma.len();
    let mut unit = vec![0.0; d];
    for (grad, x) in grad.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
        let mean = sum_by(x, |v| v) / d as f32;
        let variance = sum_by(x, |v| (v - mean) * (v - mean)) / d as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for i in 0..d {
            unit[i] = (x[i] - mean) * scale;
            gain[i] += grad[i] * unit[i];
            grad[i] *= gamma[i];
        }
        let along_ones = sum_by(grad, |v| v) / d as f32;
        let along_unit = dot(grad, &unit) / d as f32;
        for i in 0..d {
            grad[i] = scale * (grad[i] - along_ones - unit[i] * along_unit);
        }
    }
}

/// Backward of [`silu_gate`]: `gate` and `up` become their own gradients.
pub fn silu_gate_backward(gate: &mut [f32], up: &mut [f32], grad: &[f32]) {
    let task = rows_per_task(gate.len() / 256 + 1) * 256;
    gate.par_chunks_mut(task)
        .zip(up.par_chunks_mut(task))
        .zip(grad.par_chunks(task))
        .for_each(|((g, u), d)| silu_gate_backward_slice(g, u, d));
}

#[multiversion(targets = "simd")]
fn silu_gate_backward_slice(gate: &mut [f32], up: &mut [f32], grad: &[f32]) {
    for ((g, u), d) in gate.iter_mut().zip(up.iter_mut()).zip(grad) {
        let sigmoid = 1.0 / (1.0 + exp(-*g));
        let silu = *g * sigmoid;
        let slope = sigmoid * (1.0 + *g * (1.0 - sigmoid));
        *g = d * *u * slope;
        *u = d * silu;
    }
}

/// Backward of [`attention`] for independent sequences (nodes without parents).
///
/// Returns the gradients of `q`, `k` and `v`.
#[allow(clippy::too_many_arguments)]
pub fn attention_backward(
    grad: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    nodes: &[Node],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
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
                heads,
                kv_heads,
                head_dim,
            );
        });
    (dq, dk, dv)
}

#[multiversion(targets = "simd")]
#[allow(clippy::too_many_arguments)]
fn attention_backward_node(
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    grad: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) {
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let len = q.len() / width;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (mut weights, mut slopes) = (vec![0.0f32; len], vec![0.0f32; len]);
    for head in 0..heads {
        let (at, kv_at) = (head * head_dim, head / (heads / kv_heads) * head_dim);
        for i in 0..len {
            let query = &q[i * width + at..][..head_dim];
            let out = &grad[i * width + at..][..head_dim];
            let (weights, slopes) = (&mut weights[..=i], &mut slopes[..=i]);
            for (j, w) in weights.iter_mut().enumerate() {
                *w = dot(query, &k[j * kv_width + kv_at..][..head_dim]) * scale;
            }
            let max = max_of(weights);
            for w in weights.iter_mut() {
                *w = exp(*w - max);
            }
            let norm = 1.0 / sum_by(weights, |w| w);
            let mut mean = 0.0;
            for (j, (w, s)) in weights.iter_mut().zip(slopes.iter_mut()).enumerate() {
                *w *= norm;
                *s = dot(out, &v[j * kv_width + kv_at..][..head_dim]);
                mean += *w * *s;
            }
            let target = &mut dq[i * width + at..][..head_dim];
            for (j, (w, s)) in weights.iter().zip(slopes.iter()).enumerate() {
                let slope = w * (s - mean) * scale;
                let key = &k[j * kv_width + kv_at..][..head_dim];
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

/// For each row of scaled logits, `logit[target] − logsumexp(row)`.
pub fn log_softmax_at(logits: &[f32], vocabulary: usize, targets: &[u32], scale: f32) -> Vec<f32> {
    logits
        .par_chunks_exact(vocabulary)
        .zip(targets.par_iter())
        .with_min_len(4)
        .map(|(row, &target)| row[target as usize] * scale - log_sum_exp(row, scale))
        .collect()
}

#[multiversion(targets = "simd")]
fn log_sum_exp(row: &[f32], scale: f32) -> f32 {
    let max = max_of(row) * scale;
    // A logit scale is positive, so the largest logit stays the largest.
    max + sum_by(row, |x| exp(x * scale - max)).ln()
}

/// Turns logits into the gradient of the mean cross-entropy, in place.
///
/// Returns the sum of the negative log-likelihoods. Each row becomes
/// `weight · scale · (softmax(scale · row) − onehot(target))`.
pub fn cross_entropy_grad(
    logits: &mut [f32],
    vocabulary: usize,
    targets: &[u32],
    scale: f32,
    weight: f32,
) -> f64 {
    let losses: Vec<f32> = logits
        .par_chunks_exact_mut(vocabulary)
        .zip(targets.par_iter())
        .with_min_len(4)
        .map(|(row, &target)| cross_entropy_row(row, target as usize, scale, weight))
        .collect();
    losses.into_iter().map(f64::from).sum()
}

#[multiversion(targets = "simd")]
fn cross_entropy_row(row: &mut [f32], target: usize, scale: f32, weight: f32) -> f32 {
    let max = max_of(row) * scale;
    let at = row[target] * scale;
    for x in row.iter_mut() {
        *x = exp(*x * scale - max);
    }
    let sum = sum_by(row, |x| x);
    let factor = weight * scale / sum;
    for x in row.iter_mut() {
        *x *= factor;
    }
    row[target] -= weight * scale;
    max + sum.ln() - at
}

/// One AdamW step on a parameter, its moments updated in place.
#[multiversion(targets = "simd")]
#[allow(clippy::too_many_arguments)]
pub fn adamw(
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    beta_1: f32,
    beta_2: f32,
    step_size: f32,
    correction_2: f32,
    epsilon: f32,
    decay: f32,
) {
    for (((p, &g), m), v) in parameter
        .iter_mut()
        .zip(gradient)
        .zip(first.iter_mut())
        .zip(second.iter_mut())
    {
        *m = beta_1 * *m + (1.0 - beta_1) * g;
        *v = beta_2 * *v + (1.0 - beta_2) * g * g;
        *p = *p * (1.0 - decay) - step_size * *m / ((*v * correction_2).sqrt() + epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        let mut worst = 0.0f64;
        for i in -86_000..88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "relative error {worst:e}");
        assert!(exp(-1000.0) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }
}
