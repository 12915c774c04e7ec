//! Named places in the forward pass where hidden states can be read and edited.

use std::fmt;

use crate::{ModelShape, Part};

/// A place in the forward pass where states can be read and edited.
///
/// All states have the shape `[tokens, width]` and the same meaning in every architecture; [`Part`] lists them. Hooks
/// are ordered as the forward pass comes to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hook {
    /// The number of the block, counted from 0; `None` for the embedding and the final norm.
    pub layer: Option<usize>,
    /// The part of the block or of the model.
    pub part: Part,
}

impl Hook {
    /// The token embeddings.
    pub const EMBEDDING: Hook = Hook {
        layer: None,
        part: Part::Embedding,
    };

    /// The state that the LM head reads.
    pub const FINAL_NORM: Hook = Hook {
        layer: None,
        part: Part::FinalNorm,
    };

    const fn of(layer: usize, part: Part) -> Hook {
        Hook {
            layer: Some(layer),
            part,
        }
    }

    /// Returns the hook at the residual stream that enters a block.
    pub const fn input(layer: usize) -> Hook {
        Hook::of(layer, Part::Input)
    }

    /// Returns the hook at the queries of a block.
    pub const fn queries(layer: usize) -> Hook {
        Hook::of(layer, Part::Queries)
    }

    /// Returns the hook at the keys of a block.
    pub const fn keys(layer: usize) -> Hook {
        Hook::of(layer, Part::Keys)
    }

    /// Returns the hook at the values of a block.
    pub const fn values(layer: usize) -> Hook {
        Hook::of(layer, Part::Values)
    }

    /// Returns the hook at the concatenated outputs of a block's attention heads.
    pub const fn heads(layer: usize) -> Hook {
        Hook::of(layer, Part::Heads)
    }

    /// Returns the hook at the output of a block's projection of the attention heads.
    pub const fn projected(layer: usize) -> Hook {
        Hook::of(layer, Part::Projected)
    }

    /// Returns the hook at the vector that a block's attention adds to the residual stream.
    pub const fn attention(layer: usize) -> Hook {
        Hook::of(layer, Part::Attention)
    }

    /// Returns the hook at the gates of a block's MLP.
    pub const fn gate(layer: usize) -> Hook {
        Hook::of(layer, Part::Gate)
    }

    /// Returns the hook at the output of the first projection of a block's MLP.
    pub const fn up(layer: usize) -> Hook {
        Hook::of(layer, Part::Up)
    }

    /// Returns the hook at the units of a block's MLP.
    pub const fn units(layer: usize) -> Hook {
        Hook::of(layer, Part::Units)
    }

    /// Returns the hook at the output of the down projection of a block's MLP.
    pub const fn down(layer: usize) -> Hook {
        Hook::of(layer, Part::Down)
    }

    /// Returns the hook at the vector that a block's MLP adds to the residual stream.
    pub const fn mlp(layer: usize) -> Hook {
        Hook::of(layer, Part::Mlp)
    }

    /// Returns the hook at the residual stream that leaves a block.
    pub const fn output(layer: usize) -> Hook {
        Hook::of(layer, Part::Output)
    }

    /// Parses the name of a hook, for a model of `layers` blocks.
    ///
    /// # Errors
    /// A name that no hook of such a model has; the error lists the names that exist.
    pub fn parse(name: &str, layers: usize) -> Result<Hook, HookError> {
        let unknown = || HookError::Unknown {
            name: name.to_owned(),
            layers,
            nearest: nearest(name, layers),
        };
        let find = |name: &str, in_block: bool| {
            let found = Part::all().find(|p| p.in_block() == in_block && p.name() == name);
            found.ok_or_else(unknown)
        };
        let Some(rest) = name.strip_prefix("block.") else {
            return Ok(Hook {
                layer: None,
                part: find(name, false)?,
            });
        };
        let (layer, place) = rest.split_once('.').ok_or_else(unknown)?;
        let layer = layer
            .parse::<usize>()
            .ok()
            .filter(|&l| l < layers)
            .ok_or_else(unknown)?;
        Ok(Hook::of(layer, find(place, true)?))
    }

    /// Parses a name in which `*` stands for every block, as in `block.*.output`. A name without `*` gives one hook.
    ///
    /// # Errors
    /// As [`Hook::parse`].
    pub fn parse_many(name: &str, layers: usize) -> Result<Vec<Hook>, HookError> {
        if !name.starts_with("block.*.") {
            return Ok(vec![Hook::parse(name, layers)?]);
        }
        (0..layers)
            .map(|layer| Hook::parse(&name.replacen('*', &layer.to_string(), 1), layers))
            .collect()
    }

    /// Returns all hooks that a model of `layers` blocks can have, in the order of the forward pass.
    /// [`ModelShape::hooks`] leaves out those that the architecture lacks.
    pub fn all(layers: usize) -> Vec<Hook> {
        let in_block = |layer| {
            let parts = Part::all().filter(|part| part.in_block());
            parts.map(move |part| Hook::of(layer, part))
        };
        let mut all = vec![Hook::EMBEDDING];
        all.extend((0..layers).flat_map(in_block));
        all.push(Hook::FINAL_NORM);
        all
    }

    /// Returns the number of the block that this hook lies in; `None` for the embedding and the final norm.
    pub fn block(&self) -> Option<usize> {
        self.layer
    }

    /// What orders hooks: the embedding, blocks by number, the final norm.
    fn place(&self) -> (usize, Part) {
        match (self.layer, self.part) {
            (Some(layer), part) => (layer.saturating_add(1), part),
            (None, Part::Embedding) => (0, self.part),
            (None, part) => (usize::MAX, part),
        }
    }
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

    /// Returns the parts of its blocks that linear maps write, which together are all linear outputs of a block.
    pub fn linear_parts(&self) -> Vec<Part> {
        let there = |part: &Part| {
            let hook = Hook::of(0, *part);
            part.is_linear() && self.width(hook).is_ok()
        };
        Part::all().filter(there).collect()
    }

    /// Returns every hook of the model, in the order of the forward pass.
    pub fn hooks(&self) -> Vec<Hook> {
        let all = Hook::all(self.layers).into_iter();
        all.filter(|hook| self.width(*hook).is_ok()).collect()
    }
}

impl Ord for Hook {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Hook {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "block.{layer}.{}", self.part.name()),
            None => f.write_str(self.part.name()),
        }
    }
}

/// The reason why a hook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// No hook of a model with this number of blocks has this name.
    #[error("hook point `{}` does not exist in this model of {layers} blocks{}; those that do: {}", brief(.name), meant(.nearest), names(*.layers))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The number of blocks of the model.
        layers: usize,
        /// The existing name that is closest to it, if one is close.
        nearest: Option<String>,
    },
    /// The blocks of this architecture do not have the part that the hook names.
    #[error("{architecture} has no `{hook}`: {why}; use `{instead}`")]
    Lacks {
        /// The hook that was asked for.
        hook: Hook,
        /// The name of the architecture.
        architecture: String,
        /// Why its blocks lack this part.
        why: &'static str,
        /// The hook that comes nearest to it.
        instead: Hook,
    },
}

/// At most eighty characters of what was typed.
fn brief(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn meant(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

/// Lists the names of all hooks of such a model, for messages.
pub(crate) fn names(layers: usize) -> String {
    let ends = |part: Part| layers > 0 || !part.in_block();
    let names: Vec<String> = Part::all()
        .filter(|p| ends(*p))
        .map(Part::pattern)
        .collect();
    match layers {
        0 => names.join(", "),
        _ => format!("{} (L from 0 to {})", names.join(", "), layers - 1),
    }
}

/// The name that was probably meant: that of TransformerLens in its words, else the one that is spelled most alike.
fn nearest(name: &str, layers: usize) -> Option<String> {
    let of_lens = || {
        let in_block = name.strip_prefix("blocks.").and_then(|r| r.split_once('.'));
        let place = in_block
            .map_or(name, |(_, place)| place)
            .replace("hook_", "");
        let place = ["attn.", "mlp.", "embed."]
            .iter()
            .find_map(|module| place.strip_prefix(module))
            .unwrap_or(&place);
        let part = Part::of_lens(place)?;
        if !part.in_block() {
            return in_block.is_none().then(|| part.name().to_owned());
        }
        let layer = in_block.and_then(|(layer, _)| layer.parse::<usize>().ok());
        Some(match layer.filter(|&l| l < layers) {
            Some(layer) => Hook::of(layer, part).to_string(),
            // The block is left open, or is one that the model does not have.
            None => part.pattern(),
        })
    };
    let alike = || {
        let all = Hook::all(layers).into_iter().map(|h| h.to_string());
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
        for hook in Hook::all(3) {
            assert_eq!(Hook::parse(&hook.to_string(), 3).unwrap(), hook);
        }
    }

    #[test]
    fn a_star_stands_for_every_block() {
        let many = |name| Hook::parse_many(name, 2).map_err(|e| e.to_string());
        let outputs = vec![Hook::output(0), Hook::output(1)];
        assert_eq!(many("block.*.output").unwrap(), outputs);
        assert_eq!(many("final_norm").unwrap(), vec![Hook::FINAL_NORM]);
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
            ("blocks.4.attn.hook_z", "block.4.heads"),
            ("blocks.0.mlp.hook_post", "block.0.units"),
            ("block.2.unit", "block.2.units"),
            ("blocks.1.mlp.hook_pre_linear", "block.1.up"),
            // The short names of TransformerLens say no block.
            ("resid_post", "block.L.output"),
            ("resid_pre", "block.L.input"),
            ("hook_mlp_out", "block.L.mlp"),
            ("attn_out", "block.L.attention"),
            ("embed.hook_embed", "embedding"),
            ("blocks.12.hook_resid_post", "block.L.output"),
        ] {
            let message = Hook::parse(name, 12).unwrap_err().to_string();
            assert!(
                message.contains(&format!("did you mean `{meant}`")),
                "{message}"
            );
        }
        for name in [
            "",
            "x",
            "blocks.12.attn.hook_pattern_q",
            &"e".repeat(1 << 20),
        ] {
            let message = Hook::parse(name, 12).unwrap_err().to_string();
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
            let message = Hook::parse(name, 3).unwrap_err().to_string();
            assert!(
                message.contains("L from 0 to 2") && message.contains("final_norm"),
                "{message}"
            );
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_its_parts_and_hooks_follow_the_pass() {
        for (at, part) in Part::all().enumerate() {
            assert_eq!(part as usize, at);
        }
        assert!(Hook::all(3).is_sorted());
        assert!(Hook::output(0) < Hook::input(1) && Hook::output(7) < Hook::FINAL_NORM);
    }

    /// The units of the published code of experts (selfcond) in GPT-2: 3d + d + 4d + d in each block.
    #[test]
    fn the_linear_outputs_of_gpt2_are_nine_widths_a_block() {
        let gpt2 = ModelShape {
            architecture: "GPT2LMHeadModel".into(),
            layers: 12,
            hidden: 768,
            heads: 12,
            kv_heads: 12,
            head_dim: 64,
            intermediate: 3072,
            gated: false,
        };
        let widths = gpt2.linear_parts().into_iter().map(|p| p.width(&gpt2));
        assert_eq!(widths.sum::<usize>(), 9 * 768);
    }

    #[test]
    fn widths_follow_the_shape_and_a_lacking_part_is_named() {
        let mut model = ModelShape {
            architecture: "LlamaForCausalLM".into(),
            layers: 2,
            hidden: 8,
            heads: 3,
            kv_heads: 1,
            head_dim: 4,
            intermediate: 20,
            gated: true,
        };
        let width = |model: &ModelShape, hook| model.width(hook).map_err(|e| e.to_string());
        for (hook, expect) in [
            (Hook::EMBEDDING, 8),
            (Hook::queries(1), 12),
            (Hook::keys(0), 4),
            (Hook::values(0), 4),
            (Hook::heads(0), 12),
            (Hook::gate(1), 20),
            (Hook::up(0), 20),
            (Hook::units(1), 20),
            (Hook::projected(0), 8),
            (Hook::down(1), 8),
            (Hook::mlp(1), 8),
        ] {
            assert_eq!(width(&model, hook), Ok(expect));
        }
        assert_eq!(model.hooks().len(), 2 + 2 * 13);
        let linear = |model: &ModelShape| -> Vec<&str> {
            model.linear_parts().iter().map(|p| p.name()).collect()
        };
        let all = [
            "queries",
            "keys",
            "values",
            "projected",
            "gate",
            "up",
            "down",
        ];
        assert_eq!(linear(&model), all);
        model.gated = false;
        model.architecture = "GPT2LMHeadModel".into();
        assert_eq!(model.hooks().len(), 2 + 2 * 12);
        assert_eq!(linear(&model).len(), 6);
        assert_eq!(
            width(&model, Hook::gate(1)).unwrap_err(),
            "GPT2LMHeadModel has no `block.1.gate`: its MLP has no gate; use `block.1.units`"
        );
        assert!(
            width(&model, Hook::mlp(2))
                .unwrap_err()
                .contains("L from 0 to 1")
        );
    }
}
