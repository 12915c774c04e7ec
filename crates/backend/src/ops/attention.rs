//! Attention over packed prefix trees.

use super::{Tree, plain};
use crate::device::is_plain_cpu;
use crate::{Host, Tensor, from_rows, kernels};

/// The keys of its sequence that a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// The keys up to the query's own position.
    Causal,
    /// The last `window` keys up to the query's own position, including it: query `i` sees key `j` if `0 ≤ i − j <
    /// window`. The window is at least 1.
    Window(usize),
    /// All keys. This is possible only for independent sequences.
    Full,
}

/// The sizes of attention and the treatment of its scores.
///
/// The score is `softcap(scale · q·k) + slope · position of the key`; then the mask and the softmax are applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// The number of query heads, which is a multiple of `kv_heads`.
    pub heads: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
    /// The factor on the products of queries and keys.
    pub scale: f32,
    /// The keys that a query sees.
    pub mask: Mask,
    /// The cap of the scores, `cap · tanh(score / cap)` (Gemma 2).
    pub softcap: Option<f32>,
    /// The slope of each head for the position of the key (BLOOM); see [`alibi_slopes`].
    pub alibi: Option<Vec<f32>>,
}

impl Attention {
    /// Makes plain causal attention, scaled by `1 / √head_dim`.
    pub fn causal(heads: usize, kv_heads: usize, head_dim: usize) -> Attention {
        Attention {
            heads,
            kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            mask: Mask::Causal,
            softcap: None,
            alibi: None,
        }
    }

    /// Panics with the reason when caller and geometry do not fit.
    fn check(&self, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, tree: &Tree) {
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "{} heads cannot share {} key heads",
            self.heads,
            self.kv_heads
        );
        let kv = [tree.rows(), self.kv_heads * self.head_dim];
        assert_eq!(
            q.dims(),
            [tree.asked_rows().len(), self.heads * self.head_dim],
            "queries"
        );
        assert_eq!(k.dims(), kv, "keys");
        assert_eq!(v.dims(), kv, "values");
        match self.mask {
            Mask::Causal => {}
            Mask::Window(window) => assert!(window > 0, "a query sees at least itself"),
            Mask::Full => assert!(
                tree.nodes.iter().all(|n| n.parent.is_none()),
                "tokens that see what follows them cannot share a prefix"
            ),
        }
        if let Some(slopes) = &self.alibi {
            assert_eq!(slopes.len(), self.heads, "one slope per head");
        }
    }
}

/// Returns the slopes of attention with linear biases (ALiBi), one per head.
///
/// They are a geometric sequence from `2^(−8/n)`, with `n` the largest power of two that is at most `heads`. The
/// remaining heads take every other member of the sequence for `2n`.
///
/// # Source
/// Press et al., *Train Short, Test Long* (arXiv 2108.12409).
pub fn alibi_slopes(heads: usize) -> Vec<f32> {
    let power = match heads {
        0 => return Vec::new(),
        _ => 1usize << heads.ilog2(),
    };
    let slope = |i: usize, n: usize| (-8.0 * i as f64 / n as f64).exp2() as f32;
    let main = (1..=power).map(|i| slope(i, power));
    let rest = (0..heads - power).map(|i| slope(2 * i + 1, 2 * power));
    main.chain(rest).collect()
}

/// Computes scaled dot-product attention over a packed prefix tree.
///
/// # Shapes
/// `q` is `[asked rows, heads · head_dim]`, `k` and `v` are `[rows, kv_heads · head_dim]`, and the result is `[asked
/// rows, heads · head_dim]`.
///
/// # Panics
/// If the shapes, the tree and `spec` do not fit together, for example [`Mask::Full`] on a tree whose nodes share
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
