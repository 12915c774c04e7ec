//! The candidates of a search: a method at a place of the model, with a size and a strength.

use interlingua_edits::{Hook, ModelShape, Part, Tokens};
use serde::{Deserialize, Serialize};

/// The place at which a candidate acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The residual stream after one block.
    Output(usize),
    /// The normalised state that the LM head reads.
    FinalNorm,
    /// The inputs of the weights that write to the residual stream in blocks `first` to `last`, which are the outputs
    /// of the attention heads and the units of the MLP. An eraser there can be folded into those weights.
    Writers {
        /// The first block.
        first: usize,
        /// The last block.
        last: usize,
    },
}

impl Place {
    /// Returns every place that is tried in a model of this shape. If `folded` is true, only places whose edits fold
    /// into weights are returned.
    ///
    /// The inputs of writing weights are tried in windows: all blocks, and each third of them.
    pub fn all(shape: &ModelShape, folded: bool) -> Vec<Place> {
        let layers = shape.layers;
        let mut places = Vec::new();
        if !folded {
            places.extend((0..layers).map(Place::Output));
        }
        places.push(Place::FinalNorm);
        let third = layers.div_ceil(3);
        let mut windows = vec![(0, layers - 1)];
        if layers >= 3 {
            windows.extend([
                (0, third - 1),
                (third, 2 * third - 1),
                (layers - third, layers - 1),
            ]);
        }
        places.extend(
            windows
                .into_iter()
                .map(|(first, last)| Place::Writers { first, last }),
        );
        places.retain(|place| place.hooks().iter().all(|hook| shape.width(*hook).is_ok()));
        places
    }

    /// Returns the hooks, in the order of the forward pass.
    pub fn hooks(self) -> Vec<Hook> {
        match self {
            Place::Output(layer) => vec![Hook::output(layer)],
            Place::FinalNorm => vec![Hook::FINAL_NORM],
            Place::Writers { first, last } => (first..=last)
                .flat_map(|layer| {
                    [Part::Heads, Part::Units].map(|part| Hook {
                        layer: Some(layer),
                        part,
                    })
                })
                .collect(),
        }
    }

    /// Returns whether an eraser without a constant at this place is exactly a change of weights.
    pub fn folds(self) -> bool {
        !matches!(self, Place::Output(_))
    }

    /// Returns the tokens that are edited. Weights cannot distinguish the start token from text, whereas an edit at a
    /// hook leaves it alone.
    pub fn tokens(self) -> Tokens {
        match self.folds() {
            true => Tokens::All,
            false => Tokens::Text,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Output(layer) => write!(f, "after block {layer}"),
            Place::FinalNorm => write!(f, "at the final norm"),
            Place::Writers { first, last } => write!(f, "heads and units of blocks {first}-{last}"),
        }
    }
}

/// Whether a candidate is a fitted edit or a random control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An edit that is fitted on the groups.
    Method,
    /// Random directions of the same shape; the number selects the draw.
    Random(u64),
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Whether the candidate is a fitted edit or a control.
    pub role: Role,
    /// The name of a method of `interlingua-debias`; a control has the name of its method.
    pub method: String,
    /// The place at which it acts.
    pub place: Place,
    /// The number of directions at each hook.
    pub rank: usize,
    /// The strength of the edit; 1 is the full edit, and more than 1 goes beyond it.
    pub strength: f64,
    /// Whether the mean of the states is left unchanged, so that directions are removed only from the deviations from
    /// it.
    pub centred: bool,
}

impl Recipe {
    /// Returns the control of the same shape.
    #[must_use]
    pub fn random(&self, draw: u64) -> Recipe {
        Recipe {
            role: Role::Random(draw),
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.role {
            Role::Method => write!(f, "{}", self.method)?,
            Role::Random(draw) => write!(f, "random directions {draw}")?,
        }
        write!(
            f,
            ", rank {}, strength {}, {}",
            self.rank, self.strength, self.place
        )?;
        if self.centred {
            write!(f, ", around the mean")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(layers: usize) -> ModelShape {
        ModelShape {
            architecture: "Tiny".into(),
            layers,
            hidden: 8,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            intermediate: 12,
            gated: true,
        }
    }

    #[test]
    fn places_are_in_the_models_order_and_folding_ones_can_be_asked_for() {
        for layers in [1, 2, 3, 7, 18] {
            let all = Place::all(&shape(layers), false);
            for place in &all {
                let hooks = place.hooks();
                assert!(hooks.is_sorted(), "{place}");
                assert!(hooks.iter().all(|h| shape(layers).width(*h).is_ok()));
            }
            let folded = Place::all(&shape(layers), true);
            assert!(folded.iter().all(|p| p.folds()) && folded.len() >= 2);
            assert_eq!(all.len(), folded.len() + layers);
        }
        let text = Recipe {
            role: Role::Method,
            method: "sentdebias".into(),
            place: Place::Output(3),
            rank: 2,
            strength: 0.5,
            centred: true,
        };
        assert_eq!(
            text.to_string(),
            "sentdebias, rank 2, strength 0.5, after block 3, around the mean"
        );
        assert_eq!(
            text.random(4).to_string(),
            "random directions 4, rank 2, strength 0.5, after block 3, around the mean"
        );
    }
}
