//! The sizes of a model that an intervention depends on.

use serde::{Deserialize, Serialize};

use crate::hook::{Hook, Part};
use crate::{EditError, HookError};

/// No real model comes near this size; a larger one is a damaged or hostile file.
const MAX_SIZE: usize = 1 << 24;

/// How many blocks a model has, and how wide the states at its hooks are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Name in `config.json`, such as `LlamaForCausalLM`.
    pub architecture: String,
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of the MLP.
    pub intermediate: usize,
    /// Whether the MLP has a gate beside its units.
    pub gated: bool,
}

impl ModelShape {
    /// Width of the states at a hook.
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

    /// Every hook of the model, in the order of the forward pass.
    pub fn hooks(&self) -> Vec<Hook> {
        let all = Hook::all(self.layers).into_iter();
        all.filter(|hook| self.width(*hook).is_ok()).collect()
    }

    /// Refuses sizes that no model has.
    pub(crate) fn check(&self) -> Result<(), EditError> {
        let sizes = self.sizes();
        match sizes.iter().find(|(_, size)| *size > MAX_SIZE) {
            Some((what, size)) => Err(EditError::NotAnIntervention {
                reason: format!("its model has {what} = {size}"),
            }),
            None => Ok(()),
        }
    }

    /// All sizes with their names.
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
