//! The sizes of a model on which an intervention depends.

use serde::{Deserialize, Serialize};

/// No real model comes near this size; a larger one is a damaged or hostile file.
const MAX_SIZE: usize = 1 << 24;

/// The number of blocks of a model and the widths of the states at its hooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// The architecture's name in `config.json`, such as `LlamaForCausalLM`.
    pub architecture: String,
    /// The number of blocks.
    pub layers: usize,
    /// The width of the residual stream.
    pub hidden: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// The width of one head.
    pub head_dim: usize,
    /// The number of units of the MLP.
    pub intermediate: usize,
    /// Whether the MLP has a gate projection beside its up projection.
    pub gated: bool,
}

impl ModelShape {
    /// A size that no model has, with its name.
    pub(crate) fn too_large(&self) -> Option<(&'static str, usize)> {
        let mut sizes = self.sizes().into_iter();
        sizes.find(|(_, size)| *size > MAX_SIZE)
    }

    /// Returns all sizes with their names.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 7] {
        [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate", self.intermediate),
            ("gated", usize::from(self.gated)),
        ]
    }
}
