//! Computes the minimum description length of the labels given the states, with an online code.
//!
//! # Source
//! Voita & Titov, "Information-Theoretic Probing with Minimum Description
//! Length", EMNLP 2020 (arXiv 2003.12298).
//!
//! The rows are put into a random order and cut at 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.25, 12.5, 25, 50 and 100 % of n
//! (rounded up). The labels of the first block are encoded with log₂ K bits each. Those of every other block are
//! encoded with the probabilities of a probe that is fitted to all rows before the block. The sum of all bits is the
//! codelength. The compression is n·log₂ K divided by the codelength; it is 1 if the probe learns nothing.
//!
//! **Classes that have not occurred yet.** If m of the K classes do not occur in the t rows that a probe is fitted
//! to, it cannot give them a probability. Each of them gets 1/(t + m), and the probabilities of the others are
//! multiplied by t/(t + m); this is Laplace's rule of succession for the question whether the next label is new. If
//! only one class has occurred, the probe always predicts it. The paper does not say what it does here. If all
//! classes have occurred, nothing changes.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Fitted, Probe, Rows};
use crate::error::MetricError;

/// The positions at which the rows are cut, as shares of n.
pub const CUTS: [f64; 11] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0,
];

/// A block of labels that are encoded with the same probe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The number of rows before the block, to which its probe is fitted.
    pub trained_on: usize,
    /// The number of labels in the block.
    pub labels: usize,
    /// The number of bits that encode them.
    pub bits: f64,
    /// Whether the probe's training reached its stopping criterion; true if the block has no probe.
    pub converged: bool,
}

/// The length of the code for all labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Codelength {
    /// The number of bits of all blocks.
    pub bits: f64,
    /// The number of bits without the states, n·log₂ K.
    pub uniform_bits: f64,
    /// The compression, `uniform_bits` / `bits`.
    pub compression: f64,
    /// The blocks, in the order in which they are encoded.
    pub blocks: Vec<Block>,
}

impl Codelength {
    /// Returns whether the training of every block's probe reached its stopping criterion.
    pub fn converged(&self) -> bool {
        self.blocks.iter().all(|block| block.converged)
    }
}

/// Computes the online codelength of the labels given the states.
///
/// If the classes are unequal, even a probe that ignores the states compresses, down to the entropy of the labels.
/// Compare the codelength with that of shuffled labels, or of the same states after another edit.
///
/// # Shapes
/// The shapes are those of [`Rows`].
///
/// # Errors
/// [`MetricError::OneClass`] when all labels are equal, [`MetricError::TooFew`]
/// with fewer than two rows; no rows, shapes that do not fit, an unknown class, a
/// state that is not finite, or an impossible setting;
/// [`MetricError::Undefined`] when a perceptron's training overflows.
pub fn codelength(rows: &Rows<'_>, probe: &Probe) -> Result<Codelength, MetricError> {
    rows.check("rows of a codelength")?;
    let n = rows.y.len();
    if n < 2 {
        return Err(MetricError::TooFew {
            what: "codelength",
            needed: 2,
            found: n,
        });
    }
    if let [class] = rows.present()[..] {
        return Err(MetricError::OneClass {
            what: "rows of a codelength",
            class,
        });
    }
    let order = order(n, probe.seed);
    let mut x = Vec::with_capacity(rows.x.len());
    let mut y = Vec::with_capacity(n);
    for row in order {
        x.extend_from_slice(&rows.x[row * rows.dim..(row + 1) * rows.dim]);
        y.push(rows.y[row]);
    }
    let rows = Rows {
        x: &x,
        y: &y,
        ..*rows
    };
    let mut blocks: Vec<Block> = Vec::new();
    let mut start = 0;
    for end in ends(n) {
        blocks.push(block(&rows, start, end, probe)?);
        start = end;
    }
    let bits = blocks.iter().map(|block| block.bits).sum();
    let uniform_bits = n as f64 * (rows.classes as f64).log2();
    Ok(Codelength {
        bits,
        uniform_bits,
        compression: uniform_bits / bits,
        blocks,
    })
}

/// Returns the order in which the rows are encoded, as a permutation of 0..n.
pub fn order(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}

/// Ends of the blocks, ascending; small n have fewer blocks than cuts.
fn ends(n: usize) -> Vec<usize> {
    // n·share is exact where it should be a whole number only up to rounding.
    let mut ends: Vec<usize> = CUTS
        .iter()
        .map(|share| (n as f64 * share - 1e-9).ceil() as usize)
        .collect();
    ends.dedup();
    ends
}

fn block(rows: &Rows<'_>, start: usize, end: usize, probe: &Probe) -> Result<Block, MetricError> {
    let block = Block {
        trained_on: start,
        labels: end - start,
        bits: (end - start) as f64 * (rows.classes as f64).log2(),
        converged: true,
    };
    if start == 0 {
        return Ok(block);
    }
    let (before, rows) = (rows.first(start), rows.range(start, end));
    let seen = before.present();
    if let [class] = seen[..] {
        let bits = nats(&rows, start, &[class], |_| 0.0) / std::f64::consts::LN_2;
        return Ok(Block { bits, ..block });
    }
    let fitted: Fitted = probe.fit(&before)?;
    let log_p = fitted.log_probabilities(rows.x);
    let bits = nats(&rows, start, &seen, |at| log_p[at]) / std::f64::consts::LN_2;
    Ok(Block {
        bits,
        converged: fitted.converged(),
        ..block
    })
}

/// −Σ ln p of the labels, with Laplace's rule for unseen classes.
///
/// # Shapes
/// `log_p(row·|seen| + position in seen)`.
fn nats(rows: &Rows<'_>, before: usize, seen: &[usize], log_p: impl Fn(usize) -> f64) -> f64 {
    let unseen = rows.classes - seen.len();
    let all = (before + unseen) as f64;
    let log_known = (before as f64 / all).ln();
    rows.y
        .iter()
        .enumerate()
        .map(|(row, class)| match seen.binary_search(class) {
            Ok(at) => -log_known - log_p(row * seen.len() + at),
            Err(_) => all.ln(),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_and_cover() {
        assert_eq!(
            ends(4000),
            [4, 8, 16, 32, 64, 128, 250, 500, 1000, 2000, 4000]
        );
        assert_eq!(ends(2), [1, 2]);
        for n in 2..300 {
            let ends = ends(n);
            assert!(ends[0] >= 1 && ends.windows(2).all(|w| w[0] < w[1]));
            assert_eq!(ends.last(), Some(&n));
        }
    }

    /// Over all labels, the probabilities of a block sum to one whatever was seen.
    #[test]
    fn unseen_classes_share_what_is_left() {
        for (seen, log_p) in [
            (vec![1], vec![0.0]),
            (vec![0, 2], vec![0.3_f64.ln(), 0.7_f64.ln()]),
        ] {
            let total: f64 = (0..4)
                .map(|class| {
                    let rows = Rows {
                        x: &[0.0],
                        y: &[class],
                        dim: 1,
                        classes: 4,
                    };
                    (-nats(&rows, 5, &seen, |at| log_p[at])).exp()
                })
                .sum();
            assert!((total - 1.0).abs() < 1e-12, "{total}");
        }
    }
}
