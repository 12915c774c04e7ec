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
            nearest: nearest(name, layers),
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

    /// Reads a name in which `*` stands for every block, as in `block.*.output`; any other is one point.
    ///
    /// # Errors
    /// As [`HookPoint::parse`].
    pub fn parse_many(name: &str, layers: usize) -> Result<Vec<HookPoint>, ModelError> {
        if !name.starts_with("block.*.") {
            return Ok(vec![HookPoint::parse(name, layers)?]);
        }
        (0..layers)
            .map(|layer| HookPoint::parse(&name.replacen('*', &layer.to_string(), 1), layers))
            .collect()
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

/// Names of TransformerLens within a block, and what they are here. Those of attention's and the MLP's
/// inner states have no counterpart.
const LENS: &[(&str, &str)] = &[
    ("hook_resid_pre", "input"),
    ("hook_attn_out", "attention"),
    ("hook_mlp_out", "mlp"),
    ("hook_resid_post", "output"),
];

/// The name that was probably meant: that of TransformerLens in its words, else the one that is spelled most alike.
fn nearest(name: &str, layers: usize) -> Option<String> {
    let of_lens = || match name {
        "hook_embed" | "embed.hook_embed" => Some("embedding".to_owned()),
        "ln_final.hook_normalized" => Some("final_norm".to_owned()),
        _ => {
            let (layer, place) = name.strip_prefix("blocks.")?.split_once('.')?;
            let (_, ours) = LENS.iter().find(|(lens, _)| *lens == place)?;
            let layer = layer.parse::<usize>().ok().filter(|&l| l < layers)?;
            Some(format!("block.{layer}.{ours}"))
        }
    };
    let alike = || {
        let all = HookPoint::all(layers).into_iter().map(|h| h.to_string());
        let (distance, best) = all
            .map(|hook| (strsim::damerau_levenshtein(name, &hook), hook))
            .min()?;
        // Names that share little are no help.
        (distance * 2 <= best.len()).then_some(best)
    };
    // A name from outside may be of any length.
    (name.len() < 80)
        .then(|| of_lens().or_else(alike))
        .flatten()
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
    fn a_star_stands_for_every_block() {
        let many = |name| HookPoint::parse_many(name, 2).map_err(|e| e.to_string());
        let outputs = vec![HookPoint::BlockOutput(0), HookPoint::BlockOutput(1)];
        assert_eq!(many("block.*.output").unwrap(), outputs);
        assert_eq!(many("final_norm").unwrap(), vec![HookPoint::FinalNorm]);
        for name in ["*", "block.*", "block.*.outputs", "block.0.*"] {
            assert!(many(name).unwrap_err().contains("block.L.output"), "{name}");
        }
    }

    #[test]
    fn the_nearest_hook_is_suggested() {
        for (name, meant) in [
            ("blocks.5.hook_resid_post", "block.5.output"),
            ("blocks.0.hook_resid_pre", "block.0.input"),
            ("blocks.2.hook_attn_out", "block.2.attention"),
            ("blocks.11.hook_mlp_out", "block.11.mlp"),
            ("hook_embed", "embedding"),
            ("ln_final.hook_normalized", "final_norm"),
            ("block.3.ouput", "block.3.output"),
            ("blocks.3.mlp", "block.3.mlp"),
            ("finalnorm", "final_norm"),
            ("embeddings", "embedding"),
        ] {
            let message = HookPoint::parse(name, 12).unwrap_err().to_string();
            assert!(
                message.contains(&format!("did you mean `{meant}`")),
                "{message}"
            );
        }
        for name in ["", "x", "blocks.12.hook_q", &"e".repeat(1 << 20)] {
            let message = HookPoint::parse(name, 12).unwrap_err().to_string();
            assert!(!message.contains("did you mean"), "{message}");
            assert!(message.len() < 2000);
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
