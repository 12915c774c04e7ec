//! Candidates: a method at a place of the model, with a size and a strength.

use interlingua_edits::{Hook, ModelShape, Part, Tokens};
use serde::{Deserialize, Serialize};

/// Where a candidate acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The residual stream after one block.
    Output(usize),
    /// The normalised state that the head reads.
    FinalNorm,
    /// What the weights that write to the residual stream read, in blocks `first` to `last`: the heads' mixed values
    /// and the MLP's units. An eraser there is part of those weights.
    Writers {
        /// The first block.
        first: usize,
        /// The last block.
        last: usize,
    },
}

impl Place {
    /// Every place that is tried in a model of this shape; only those whose edits fold into weights, if asked.
    ///
    /// Writers are tried in windows: all blocks, and each third of them.
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

    /// The hook points, in the order in which the model meets them.
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

    /// Whether an eraser without a constant there is a change of weights, exactly.
    pub fn folds(self) -> bool {
        !matches!(self, Place::Output(_))
    }

    /// The tokens that are edited: weights cannot tell the start token from text; a hook leaves it alone.
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

/// Whether a candidate is meant, or what it is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Fitted on the groups.
    Method,
    /// Random directions of the same shape, drawn by this number.
    Random(u64),
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What it is.
    pub role: Role,
    /// Name of a method of `interlingua-debias`; a control has its method's.
    pub method: String,
    /// Where.
    pub place: Place,
    /// Directions at each hook point.
    pub rank: usize,
    /// Share of the edit that is carried out; above 1 it is overdone.
    pub strength: f64,
    /// Whether the mean of the states is left as it is: directions are taken from what differs from it.
    pub centred: bool,
}

impl Recipe {
    /// The control of the same shape.
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
