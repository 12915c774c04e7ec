//! Named places in a model where states can be read and edited.

use std::fmt;

use crate::ModelError;

/// A place in the forward pass.
///
/// All states are `[tokens, hidden]`, and mean the same in every architecture:
///
/// | name | state | transformers' `hidden_states` |
/// |---|---|---|
/// | `embedding` | what enters the first block | `[0]` |
/// | `block.L.input` | residual stream entering block L | `[L]` |
/// | `block.L.attention` | what attention adds to the residual stream | |
/// | `block.L.mlp` | what the MLP adds to the residual stream | |
/// | `block.L.output` | residual stream leaving block L | `[L + 1]`, but for the last block before a final norm |
/// | `final_norm` | what the LM head reads; in encoders the last block's output | `[-1]` |
///
/// [`crate::architectures::Modules`] has the modules of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookPoint {
    /// Token embeddings.
    Embedding,
    /// Residual stream entering a block.
    BlockInput(usize),
    /// Attention output of a block.
    Attention(usize),
    /// MLP output of a block.
    Mlp(usize),
    /// Residual stream leaving a block.
    BlockOutput(usize),
    /// The state the LM head reads.
    FinalNorm,
}

impl HookPoint {
    /// Reads a name, for a model of so many blocks.
    ///
    /// # Errors
    /// When no such hook point exists there; the error lists those that do.
    pub fn parse(name: &str, layers: usize) -> Result<HookPoint, ModelError> {
        let unknown = || ModelError::UnknownHook {
            name: name.to_owned(),
            layers,
        };
        match name {
            "embedding" => return Ok(HookPoint::Embedding),
            "final_norm" => return Ok(HookPoint::FinalNorm),
            _ => {}
        }
        let rest = name.strip_prefix("block.").ok_or_else(unknown)?;
        let (layer, place) = rest.split_once('.').ok_or_else(unknown)?;
        let layer = layer
            .parse::<usize>()
            .ok()
            .filter(|&l| l < layers)
            .ok_or_else(unknown)?;
        match place {
            "input" => Ok(HookPoint::BlockInput(layer)),
            "attention" => Ok(HookPoint::Attention(layer)),
            "mlp" => Ok(HookPoint::Mlp(layer)),
            "output" => Ok(HookPoint::BlockOutput(layer)),
            _ => Err(unknown()),
        }
    }

    /// All hook points of a model, in the order of the forward pass.
    pub fn all(layers: usize) -> Vec<HookPoint> {
        let mut all = vec![HookPoint::Embedding];
        for l in 0..layers {
            all.extend([
                HookPoint::BlockInput(l),
                HookPoint::Attention(l),
                HookPoint::Mlp(l),
                HookPoint::BlockOutput(l),
            ]);
        }
        all.push(HookPoint::FinalNorm);
        all
    }

    /// The names, for messages.
    pub fn names(layers: usize) -> String {
        match layers {
            0 => "embedding, final_norm".into(),
            _ => format!(
                "embedding, block.L.input, block.L.attention, block.L.mlp, block.L.output (L from 0 to {}), final_norm",
                layers - 1
            ),
        }
    }

    /// The block this point lies in; `None` for the embedding and the final norm.
    pub fn block(&self) -> Option<usize> {
        match *self {
            HookPoint::BlockInput(l)
            | HookPoint::Attention(l)
            | HookPoint::Mlp(l)
            | HookPoint::BlockOutput(l) => Some(l),
            HookPoint::Embedding | HookPoint::FinalNorm => None,
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookPoint::Embedding => f.write_str("embedding"),
            HookPoint::BlockInput(l) => write!(f, "block.{l}.input"),
            HookPoint::Attention(l) => write!(f, "block.{l}.attention"),
            HookPoint::Mlp(l) => write!(f, "block.{l}.mlp"),
            HookPoint::BlockOutput(l) => write!(f, "block.{l}.output"),
            HookPoint::FinalNorm => f.write_str("final_norm"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_point_parses_its_own_name() {
        for hook in HookPoint::all(3) {
            assert_eq!(HookPoint::parse(&hook.to_string(), 3).unwrap(), hook);
        }
    }

    #[test]
    fn a_hook_that_does_not_exist_is_told_which_do() {
        for name in [
            "",
            "block.3.input",
            "block.-1.mlp",
            "block.0.foo",
            "final",
            "block.0",
        ] {
            let message = HookPoint::parse(name, 3).unwrap_err().to_string();
            assert!(
                message.contains("L from 0 to 2") && message.contains("final_norm"),
                "{message}"
            );
        }
    }
}
