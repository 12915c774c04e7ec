//! What operations are told: activations, masks, and the geometry of attention, positions and the head.

use std::sync::{Arc, RwLock};

use super::Tree;
use crate::Tensor;

/// The activation function of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// SiLU, `x · sigmoid(x)`.
    Silu,
    /// The exact GELU, `x · Φ(x)`, with `Φ` the distribution function of the standard normal.
    Gelu,
    /// The tanh approximation of GELU, `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
    GeluTanh,
    /// ReLU, `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The names that [`Activation::parse`] knows, as checkpoints write them.
    pub const NAMES: [&str; 10] = [
        "silu",
        "swish",
        "gelu",
        "gelu_python",
        "gelu_new",
        "gelu_fast",
        "gelu_pytorch_tanh",
        "gelu_python_tanh",
        "gelu_accurate",
        "relu",
    ];

    /// Returns the activation that a checkpoint's configuration calls `name`, if it is one of [`Activation::NAMES`].
    pub fn parse(name: &str) -> Option<Activation> {
        Some(match name {
            "silu" | "swish" => Activation::Silu,
            "gelu" | "gelu_python" => Activation::Gelu,
            // One formula; transformers has several ways of evaluating it.
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh"
            | "gelu_accurate" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            _ => return None,
        })
    }
}

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
    pub(super) fn check(&self, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, tree: &Tree) {
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

/// The operations on the products of states and LM head: `logits = softcap(scale · h · headᵀ + bias)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logits {
    /// The factor on the products.
    pub scale: f32,
    /// The cap of the logits, `cap · tanh(logit / cap)` (Gemma 2).
    pub softcap: Option<f32>,
}

impl Default for Logits {
    /// The products as they are.
    fn default() -> Self {
        Logits {
            scale: 1.0,
            softcap: None,
        }
    }
}

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
    /// [`crate::kernels::rotate`] expects.
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
