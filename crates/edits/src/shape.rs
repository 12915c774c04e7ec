//! The sizes of a model on which an intervention depends.

use serde::{Deserialize, Serialize};

use crate::hook::{Hook, Part};
use crate::{EditError, HookError};

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
    /// Returns the width of the states at a hook.
    ///
    /// # Errors
    /// A block that the model does not have, or a part that its architecture lacks.
    pub fn width(&self, hook: Hook) -> Result<usize, HookError> {
        if hook.layer.is_some_and(|layer| layer >= self.layers) {
            return Err(HookError::Unknown {
                name: hook.to_string(),
                layers: self.layers,
                nearest: None,
            });
        }
        match hook.part {
            Part::Gate if !self.gated => Err(HookError::Lacks {
                hook,
                architecture: self.architecture.clone(),
                why: "its MLP has no gate",
                instead: Hook {
                    part: Part::Units,
                    ..hook
                },
            }),
            part => Ok(part.width(self)),
        }
    }

    /// Returns every hook of the model, in the order of the forward pass.
    pub fn hooks(&self) -> Vec<Hook> {
        let all = Hook::all(self.layers).into_iter();
        all.filter(|hook| self.width(*hook).is_ok()).collect()
    }

    /// Refuses sizes that no model can have.
    pub(crate) fn check(&self) -> Result<(), EditError> {
        let sizes = self.sizes();
        match sizes.iter().find(|(_, size)| *size > MAX_SIZE) {
            Some((what, size)) => Err(EditError::NotAnIntervention {
                reason: format!("its model has {what} = {size}"),
            }),
            None => Ok(()),
        }
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
