//! The block of BERT and its descendants, in which every norm follows the sum with the residual stream.
//!
//! ```text
//! a  = attention_norm(h + attention(h))      every token sees all others
//! h' = mlp_norm(a + mlp(a))
//! ```

use interlingua_backend::Tensor;
use interlingua_backend::ops::{self, Mask, Tree};

use super::parts::{Attention, Mlp, Norm};
use super::{Block, Tap};
use interlingua_edits::Hook;

/// Attention and an MLP, each added to its input and then normalised.
#[derive(Debug, Clone)]
pub struct PostNormBlock {
    /// The number of the block, counted from 0.
    pub layer: usize,
    /// The attention, over the whole sequence.
    pub attention: Attention,
    /// The norm after the sum with attention.
    pub attention_norm: Norm,
    /// The MLP of the block.
    pub mlp: Mlp,
    /// The norm after the sum with the MLP.
    pub mlp_norm: Norm,
}

impl Block for PostNormBlock {
    fn forward(&self, h: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2> {
        let attention = self.attention.forward(self.layer, h.clone(), tree, tap);
        let a = tree.keep(h) + tap(Hook::attention(self.layer), attention);
        let a = self.attention_norm.forward(a);
        let mlp = self.mlp.forward(self.layer, a.clone(), tap);
        let mlp = tap(Hook::mlp(self.layer), mlp);
        self.mlp_norm.forward(a + mlp)
    }
}

/// Returns attention in which every token sees all others, scaled by `1 / √head_dim`.
pub fn full_attention(heads: usize, head_dim: usize) -> ops::Attention {
    ops::Attention {
        mask: Mask::Full,
        ..ops::Attention::causal(heads, heads, head_dim)
    }
}
