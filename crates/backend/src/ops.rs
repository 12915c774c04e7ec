//! The operations models are made of, through one seam.
//!
//! Every function picks its fused CPU kernel or the plain burn operations by
//! the device of its input. Callers never ask.

use burn::tensor::{Bool, activation};

use crate::device::is_plain_cpu;
pub use crate::kernels::{Node, path_rows};
use crate::{Device, IntTensor, Tensor, TensorData, from_rows, kernels, to_host};

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
}

impl Tree {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
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

/// How rotary position embedding pairs the dimensions of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryStyle {
    /// Dimensions `2i` and `2i+1` (Cohere).
    Interleaved,
}

/// Cosines and sines of rotary position embedding.
#[derive(Debug, Clone)]
pub struct Rotary {
    table: Vec<f32>,
    head_dim: usize,
}

impl Rotary {
    /// Angles for positions `0..positions`.
    ///
    /// # Source
    /// RoFormer (arXiv 2104.09864); angles in f32, as transformers computes them.
    pub fn new(positions: usize, head_dim: usize, theta: f32) -> Rotary {
        let mut table = Vec::with_capacity(positions * head_dim);
        let frequencies: Vec<f32> = (0..head_dim / 2)
            .map(|i| 1.0 / theta.powf(2.0 * i as f32 / head_dim as f32))
            .collect();
        for position in 0..positions {
            for frequency in &frequencies {
                let angle = position as f32 * frequency;
                table.extend([angle.cos(), angle.sin()]);
            }
        }
        Rotary { table, head_dim }
    }

    /// How many positions the table covers.
    pub fn positions(&self) -> usize {
        self.table.len() / self.head_dim
    }
}

/// `x · wᵀ`.
///
/// # Shapes
/// `x`: `[rows, in]`, `w`: `[out, in]`, result `[rows, out]`.
pub fn linear(x: Tensor<2>, w: &Tensor<2>) -> Tensor<2> {
    x.matmul(w.clone().transpose())
}

/// Mean-subtracting layer norm with a gain and no bias.
///
/// # Shapes
/// `x`: `[rows, d]`, `gamma`: `[d]`, result `[rows, d]`.
pub fn layer_norm(x: Tensor<2>, gamma: &Tensor<1>, eps: f32) -> Tensor<2> {
    let device = x.device();
    if !is_plain_cpu(&device) {
        return plain::layer_norm(x, gamma, eps);
    }
    let [rows, d] = x.dims();
    let mut values = to_host(x);
    kernels::layer_norm(&mut values, &to_host(gamma.clone()), eps);
    from_rows(values, rows, d, &device)
}

/// `silu(gate) ⊙ up`, with `silu(x) = x · sigmoid(x)`.
///
/// # Shapes
/// Both `[rows, d]`, result `[rows, d]`.
pub fn silu_gate(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let device = gate.device();
    if !is_plain_cpu(&device) {
        return activation::silu(gate) * up;
    }
    let [rows, d] = gate.dims();
    let mut values = to_host(gate);
    kernels::silu_gate(&mut values, &to_host(up));
    from_rows(values, rows, d, &device)
}

/// Rotates the queries or keys of every head by their position.
///
/// # Shapes
/// `x`: `[rows, heads · head_dim]`, `positions`: one per row.
pub fn rotary(x: Tensor<2>, positions: &[u32], rotary: &Rotary, style: RotaryStyle) -> Tensor<2> {
    let RotaryStyle::Interleaved = style;
    let device = x.device();
    if !is_plain_cpu(&device) {
        return plain::rotary_interleaved(x, positions, rotary);
    }
    let [rows, width] = x.dims();
    let mut values = to_host(x);
    kernels::rotary_interleaved(
        &mut values,
        width,
        rotary.head_dim,
        positions,
        &rotary.table,
        1.0,
    );
    from_rows(values, rows, width, &device)
}

/// Causal scaled dot-product attention over a packed prefix tree.
///
/// # Shapes
/// `q`: `[rows, heads · head_dim]`, `k`, `v`: `[rows, kv_heads · head_dim]`,
/// result `[rows, heads · head_dim]`.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    tree: &Tree,
    heads: usize,
    kv_heads: usize,
) -> Tensor<2> {
    let device = q.device();
    if !is_plain_cpu(&device) {
        return plain::attention(q, k, v, tree, heads, kv_heads);
    }
    let [rows, width] = q.dims();
    let out = kernels::attention(
        &to_host(q),
        &to_host(k),
        &to_host(v),
        &tree.nodes,
        heads,
        kv_heads,
        width / heads,
    );
    from_rows(out, rows, width, &device)
}

/// Backward passes of the fused kernels, for training on the CPU.
///
/// Other devices train through burn's autodiff on the plain operations.
pub mod backward {
    use super::*;

    /// Gradients of [`super::layer_norm`] with respect to `x` and `gamma`.
    ///
    /// # Shapes
    /// `grad`, `x`: `[rows, d]`, `gamma`: `[d]`.
    pub fn layer_norm(
        grad: Tensor<2>,
        x: Tensor<2>,
        gamma: &Tensor<1>,
        eps: f32,
    ) -> (Tensor<2>, Vec<f32>) {
        let device = x.device();
        let [rows, d] = x.dims();
        let mut values = to_host(grad);
        let gain =
            kernels::layer_norm_backward(&mut values, &to_host(x), &to_host(gamma.clone()), eps);
        (from_rows(values, rows, d, &device), gain)
    }

    /// Gradients of [`super::silu_gate`] with respect to `gate` and `up`.
    ///
    /// # Shapes
    /// All `[rows, d]`.
    pub fn silu_gate(grad: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let device = gate.device();
        let [rows, d] = gate.dims();
        let (mut gate, mut up) = (to_host(gate), to_host(up));
        kernels::silu_gate_backward(&mut gate, &mut up, &to_host(grad));
        (
            from_rows(gate, rows, d, &device),
            from_rows(up, rows, d, &device),
        )
    }

    /// Gradient of [`super::rotary`].
    ///
    /// # Shapes
    /// `grad`: `[rows, heads · head_dim]`.
    pub fn rotary(grad: Tensor<2>, positions: &[u32], rotary: &Rotary) -> Tensor<2> {
        let device = grad.device();
        let [rows, width] = grad.dims();
        let mut values = to_host(grad);
        kernels::rotary_interleaved(
            &mut values,
            width,
            rotary.head_dim,
            positions,
            &rotary.table,
            -1.0,
        );
        from_rows(values, rows, width, &device)
    }

    /// Gradients of [`super::attention`] over independent sequences.
    ///
    /// # Shapes
    /// `grad`, `q`: `[rows, heads · head_dim]`, `k`, `v`: `[rows, kv_heads · head_dim]`.
    pub fn attention(
        grad: Tensor<2>,
        [q, k, v]: [Tensor<2>; 3],
        tree: &Tree,
        heads: usize,
        kv_heads: usize,
    ) -> [Tensor<2>; 3] {
        let device = q.device();
        let ([rows, width], [_, kv_width]) = (q.dims(), k.dims());
        let (grad, q, k, v) = (to_host(grad), to_host(q), to_host(k), to_host(v));
        let (dq, dk, dv) = kernels::attention_backward(
            &grad,
            &q,
            &k,
            &v,
            &tree.nodes,
            heads,
            kv_heads,
            width / heads,
        );
        [
            from_rows(dq, rows, width, &device),
            from_rows(dk, rows, kv_width, &device),
            from_rows(dv, rows, kv_width, &device),
        ]
    }
}

/// Elements of the largest block of logits that is ever held.
const LOGIT_CHUNK: usize = 1 << 21;

fn rows_per_chunk(vocabulary: usize) -> usize {
    (LOGIT_CHUNK / vocabulary).max(16)
}

/// Log-probability of one target per row, in nats.
///
/// The logits `scale · h · headᵀ` are formed a few rows at a time and reduced at
/// once; memory does not grow with rows × vocabulary.
///
/// # Shapes
/// `h`: `[rows, d]`, `head`: `[vocabulary, d]`, `targets`: one per row.
pub fn target_log_probs(h: Tensor<2>, head: &Tensor<2>, targets: &[u32], scale: f32) -> Vec<f32> {
    let device = h.device();
    let [rows, _] = h.dims();
    let [vocabulary, _] = head.dims();
    assert_eq!(rows, targets.len(), "one target per row");
    let chunk = rows_per_chunk(vocabulary);
    let mut out = Vec::with_capacity(rows);
    for start in (0..rows).step_by(chunk) {
        let end = (start + chunk).min(rows);
        let logits = linear(h.clone().narrow(0, start, end - start), head);
        let targets = &targets[start..end];
        if is_plain_cpu(&device) {
            out.extend(kernels::log_softmax_at(
                &to_host(logits),
                vocabulary,
                targets,
                scale,
            ));
        } else {
            let log_probs = activation::log_softmax(logits * scale, 1);
            let at: IntTensor<2> =
                index(targets.iter().map(|&t| t as i32).collect(), &device).unsqueeze_dim(1);
            out.extend(to_host(log_probs.gather(1, at)));
        }
    }
    out
}

/// Mean cross-entropy of `scale · h · headᵀ` against `targets`, with its gradients.
///
/// Returns the loss in nats, `∂loss/∂h` and `∂loss/∂head`. Forward and backward
/// share each chunk of logits, so none is kept.
///
/// # Shapes
/// `h`: `[rows, d]`, `head`: `[vocabulary, d]`; the gradients have the shapes of
/// what they belong to. Inputs must not be autodiff tensors.
pub fn cross_entropy(
    h: Tensor<2>,
    head: &Tensor<2>,
    targets: &[u32],
    scale: f32,
) -> (f64, Tensor<2>, Tensor<2>) {
    let device = h.device();
    let [rows, _] = h.dims();
    let [vocabulary, _] = head.dims();
    let chunk = rows_per_chunk(vocabulary);
    let weight = 1.0 / rows as f32;
    let (mut loss, mut grad_h, mut grad_head) = (0.0, Vec::new(), None::<Tensor<2>>);
    for start in (0..rows).step_by(chunk) {
        let end = (start + chunk).min(rows);
        let part = h.clone().narrow(0, start, end - start);
        let logits = linear(part.clone(), head);
        let targets = &targets[start..end];
        let grad_logits = if is_plain_cpu(&device) {
            let mut values = to_host(logits);
            loss += kernels::cross_entropy_grad(&mut values, vocabulary, targets, scale, weight);
            from_rows(values, end - start, vocabulary, &device)
        } else {
            let log_probs = activation::log_softmax(logits * scale, 1);
            let at: IntTensor<2> =
                index(targets.iter().map(|&t| t as i32).collect(), &device).unsqueeze_dim(1);
            let picked = log_probs.clone().gather(1, at.clone());
            loss -= to_host(picked.clone())
                .into_iter()
                .map(f64::from)
                .sum::<f64>();
            let minus_one = picked.ones_like().neg();
            log_probs
                .exp()
                .scatter(1, at, minus_one, burn::tensor::IndexingUpdateOp::Add)
                * (scale * weight)
        };
        grad_h.push(grad_logits.clone().matmul(head.clone()));
        let grad = grad_logits.transpose().matmul(part);
        grad_head = Some(match grad_head {
            Some(sum) => sum + grad,
            None => grad,
        });
    }
    (
        loss / rows as f64,
        Tensor::cat(grad_h, 0),
        grad_head.expect("at least one row"),
    )
}

/// An index tensor.
pub fn index(values: Vec<i32>, device: &Device) -> IntTensor<1> {
    let len = values.len();
    IntTensor::from_data(TensorData::new(values, [len]), device)
}

/// The same operations in plain burn, for every other device and for autodiff.
pub mod plain {
    use super::*;

    /// See [`super::layer_norm`].
    pub fn layer_norm(x: Tensor<2>, gamma: &Tensor<1>, eps: f32) -> Tensor<2> {
        let centred = x.clone() - x.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        centred / (variance + eps).sqrt() * gamma.clone().unsqueeze()
    }

    /// See [`super::rotary`].
    pub fn rotary_interleaved(x: Tensor<2>, positions: &[u32], rotary: &Rotary) -> Tensor<2> {
        let device = x.device();
        let [rows, width] = x.dims();
        let (head_dim, half) = (rotary.head_dim, rotary.head_dim / 2);
        let (mut cos, mut sin) = (
            Vec::with_capacity(rows * half),
            Vec::with_capacity(rows * half),
        );
        for &position in positions {
            for pair in rotary.table[position as usize * head_dim..][..head_dim].chunks_exact(2) {
                cos.push(pair[0]);
                sin.push(pair[1]);
            }
        }
        let cos = from_rows(cos, rows, half, &device).reshape([rows, 1, half, 1]);
        let sin = from_rows(sin, rows, half, &device).reshape([rows, 1, half, 1]);
        let pairs = x.reshape([rows, width / head_dim, half, 2]);
        let a = pairs
            .clone()
            .slice([0..rows, 0..width / head_dim, 0..half, 0..1]);
        let b = pairs.slice([0..rows, 0..width / head_dim, 0..half, 1..2]);
        let first = a.clone() * cos.clone() - b.clone() * sin.clone();
        let second = b * cos + a * sin;
        Tensor::cat(vec![first, second], 3).reshape([rows, width])
    }

    /// See [`super::attention`].
    pub fn attention(
        q: Tensor<2>,
        k: Tensor<2>,
        v: Tensor<2>,
        tree: &Tree,
        heads: usize,
        kv_heads: usize,
    ) -> Tensor<2> {
        let device = q.device();
        let [rows, width] = q.dims();
        let head_dim = width / heads;
        let count = tree.nodes.len();
        let paths: Vec<Vec<u32>> = (0..count)
            .map(|at| {
                let mut rows = Vec::new();
                path_rows(&tree.nodes, at, &mut rows);
                rows
            })
            .collect();
        let queries = tree.nodes.iter().map(|n| n.len).max().unwrap_or(0);
        let keys = paths.iter().map(Vec::len).max().unwrap_or(0);
        // Nodes of equal depth and length, one after the other, need no gather and no padding.
        let dense = tree
            .nodes
            .iter()
            .all(|n| n.parent.is_none() && n.len == queries);
        let (q, k, v) = if dense {
            (q, k, v)
        } else {
            let (mut q_at, mut k_at) = (vec![0i32; count * queries], vec![0i32; count * keys]);
            for (at, (node, path)) in tree.nodes.iter().zip(&paths).enumerate() {
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
        let mut hidden = vec![
            false;
            if dense {
                queries * keys
            } else {
                count * queries * keys
            }
        ];
        for (at, (node, path)) in tree
            .nodes
            .iter()
            .zip(&paths)
            .take(if dense { 1 } else { count })
            .enumerate()
        {
            let before = path.len() - node.len;
            for i in 0..queries {
                for j in 0..keys {
                    hidden[(at * queries + i) * keys + j] = j > before + i;
                }
            }
        }
        let batch = if dense { 1 } else { count };
        let hidden = burn::tensor::Tensor::<crate::Backend, 4, Bool>::from_data(
            TensorData::new(hidden, [batch, 1, queries, keys]),
            &device,
        )
        .expand([count, heads, queries, keys]);
        let scores = q.matmul(k.swap_dims(2, 3)) / (head_dim as f32).sqrt();
        let weights = activation::softmax(scores.mask_fill(hidden, -1e30), 3);
        let out = weights
            .matmul(v)
            .swap_dims(1, 2)
            .reshape([count * queries, width]);
        if dense {
            return out;
        }
        let mut back = vec![0i32; rows];
        for (at, node) in tree.nodes.iter().enumerate() {
            for i in 0..node.len {
                back[node.start + i] = (at * queries + i) as i32;
            }
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::device::cpu;

    fn noise(rows: usize, cols: usize, seed: u64) -> Tensor<2> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let values = (0..rows * cols)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .collect();
        from_rows(values, rows, cols, &cpu())
    }

    fn close(a: Tensor<2>, b: Tensor<2>) {
        assert_eq!(a.dims(), b.dims());
        let (a, b) = (to_host(a), to_host(b));
        let scale = a.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        for (x, y) in a.iter().zip(&b) {
            assert!(
                (x - y).abs() <= 2e-5 * scale,
                "{x} against {y} at scale {scale}"
            );
        }
    }

    /// A random forest of nodes.
    fn tree() -> impl Strategy<Value = Tree> {
        prop::collection::vec(
            (1usize..7, any::<prop::sample::Index>(), any::<bool>()),
            1..9,
        )
        .prop_map(|parts| {
            let mut tree = Tree::default();
            for (len, pick, root) in parts {
                let parent =
                    (!root && !tree.nodes.is_empty()).then(|| pick.index(tree.nodes.len()));
                let prefix = parent.map_or(0, |p| {
                    let node: Node = tree.nodes[p];
                    1 + pick.index(node.prefix + node.len)
                });
                tree.nodes.push(Node {
                    start: tree.positions.len(),
                    len,
                    parent,
                    prefix,
                });
                tree.positions.extend(prefix as u32..(prefix + len) as u32);
            }
            tree
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn fused_attention_equals_plain(tree in tree(), seed in 1u64..1000, group in 1usize..3, hd in 1usize..5) {
            let (kv, hd) = (2, hd * 2);
            let heads = kv * group;
            let rows = tree.rows();
            let (q, k, v) = (noise(rows, heads * hd, seed), noise(rows, kv * hd, seed + 1), noise(rows, kv * hd, seed + 2));
            close(
                attention(q.clone(), k.clone(), v.clone(), &tree, heads, kv),
                plain::attention(q, k, v, &tree, heads, kv),
            );
        }

        #[test]
        fn fused_rows_equal_plain(rows in 1usize..40, cols in 1usize..40, seed in 1u64..1000) {
            let x = noise(rows, cols, seed) * 3.0;
            let gamma = noise(1, cols, seed + 9).reshape([cols]);
            close(layer_norm(x.clone(), &gamma, 1e-5), plain::layer_norm(x.clone(), &gamma, 1e-5));
            let up = noise(rows, cols, seed + 3);
            close(silu_gate(x.clone(), up.clone()), activation::silu(x) * up);
        }

        #[test]
        fn fused_rotary_equals_plain(rows in 1usize..20, heads in 1usize..4, half in 1usize..9, seed in 1u64..1000) {
            let table = Rotary::new(64, half * 2, 10_000.0);
            let positions: Vec<u32> = (0..rows as u32).map(|i| (i * 7) % 64).collect();
            let x = noise(rows, heads * half * 2, seed);
            close(rotary(x.clone(), &positions, &table, RotaryStyle::Interleaved), plain::rotary_interleaved(x, &positions, &table));
        }

        #[test]
        fn cross_entropy_matches_log_probs_and_its_own_differences(rows in 1usize..9, seed in 1u64..1000) {
            let (d, vocabulary) = (5, 17);
            let (h, head) = (noise(rows, d, seed), noise(vocabulary, d, seed + 1));
            let targets: Vec<u32> = (0..rows as u32).map(|i| (i * 5) % vocabulary as u32).collect();
            let (loss, grad_h, grad_head) = cross_entropy(h.clone(), &head, &targets, 0.7);
            let log_probs = target_log_probs(h.clone(), &head, &targets, 0.7);
            let mean = -log_probs.iter().map(|&x| f64::from(x)).sum::<f64>() / rows as f64;
            prop_assert!((loss - mean).abs() < 1e-5);
            let logits = to_host(linear(h.clone(), &head) * 0.7);
            for (row, &target) in targets.iter().enumerate() {
                let row_logits = &logits[row * vocabulary..][..vocabulary];
                let sum: f64 = row_logits.iter().map(|&x| f64::from(x).exp()).sum();
                let exact = f64::from(row_logits[target as usize]) - sum.ln();
                prop_assert!((exact - f64::from(log_probs[row])).abs() < 1e-5);
            }
            let step = 1e-2;
            let direction = noise(rows, d, seed + 2);
            let (up, _, _) = cross_entropy(h.clone() + direction.clone() * step, &head, &targets, 0.7);
            let (down, _, _) = cross_entropy(h.clone() - direction.clone() * step, &head, &targets, 0.7);
            let slope = f64::from(to_host((grad_h * direction).sum())[0]);
            prop_assert!(((up - down) / (2.0 * step) - slope).abs() < 2e-3, "{} {}", (up - down) / 0.02, slope);
            let direction = noise(vocabulary, d, seed + 4);
            let (up, _, _) = cross_entropy(h.clone(), &(head.clone() + direction.clone() * step), &targets, 0.7);
            let (down, _, _) = cross_entropy(h, &(head - direction.clone() * step), &targets, 0.7);
            let slope = f64::from(to_host((grad_head * direction).sum())[0]);
            prop_assert!(((up - down) / (2.0 * step) - slope).abs() < 2e-3);
        }
    }
}
