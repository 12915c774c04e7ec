//! The space of the features of a sparse autoencoder.

use interlingua_autoencoder::sparse::Sparse;
use interlingua_backend::Tensor;
use interlingua_data::Language;
use serde::{Deserialize, Serialize};

use crate::{Passage, Reinsert, SpaceError, StateSpace};

/// The states that a change of features reaches.
///
/// # Source
/// The tiers of Goyal et al. 2025, "Breaking Bad Tokens" (arXiv 2505.14536): a feature is steered at every token, or at those at which it
/// is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Every state is changed. An amount that is added to a feature moves all states alike.
    #[default]
    Constant,
    /// Only states at which the feature is above zero are changed. A feature that is off stays off.
    PerToken,
}

impl Tier {
    /// Returns the name in experiments.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Constant => "constant",
            Tier::PerToken => "per-token",
        }
    }
}

/// The space of features, with one autoencoder for all languages.
pub struct Features {
    /// The autoencoder.
    pub autoencoder: Sparse,
    /// The states that a change reaches.
    pub tier: Tier,
}

impl StateSpace for Features {
    fn dim(&self) -> usize {
        self.autoencoder.features()
    }

    fn check(&self, _: Language) -> Result<(), SpaceError> {
        Ok(())
    }

    fn enter(&self, _: Language, h: Tensor<2>) -> Tensor<2> {
        self.autoencoder.encode(h)
    }

    /// With `residual` only the change of the features is decoded, which is possible because the decoder is linear. What the
    /// autoencoder loses of a state stays in the state.
    fn leave(&self, _: Language, reinsert: Reinsert, passage: Passage) -> Tensor<2> {
        let Passage {
            states,
            points,
            changed,
        } = passage;
        let mut change = changed - points.clone();
        if self.tier == Tier::PerToken {
            change = change * points.clone().greater_elem(0.0).float();
        }
        match reinsert {
            Reinsert::Residual => states + self.autoencoder.back(change),
            Reinsert::Replace => self.autoencoder.decode(points + change),
        }
    }

    fn loses(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlingua_autoencoder::sparse::{Gate, Weights};
    use interlingua_backend::{DeviceName, from_rows, to_host};
    use interlingua_edits::Edit;
    use interlingua_models::{RowInfo, StateEdit};

    use crate::{SiteEdit, Space, Spaces};

    /// Three features over states of width 2; the third looks at what the first has, and is off below 2.
    fn features(tier: Tier) -> Features {
        let device = DeviceName::Cpu.open().unwrap();
        let weights = Weights {
            width: 2,
            features: 3,
            encoder: vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
            encoder_bias: vec![0.0; 3],
            decoder: vec![0.5, 0.0, 0.0, 1.0, 0.25, 3.0],
            decoder_bias: vec![0.1, 0.2],
            centred: false,
            gate: Gate::JumpRelu(vec![0.0, 0.0, 2.0]),
        };
        Features {
            autoencoder: Sparse::new(weights, &device).unwrap(),
            tier,
        }
    }

    fn edited(tier: Tier, reinsert: Reinsert, edit: &Edit) -> Vec<f32> {
        let device = DeviceName::Cpu.open().unwrap();
        let mut spaces = Spaces::raw(2, &device);
        spaces.add(Space::Sae, features(tier), String::new());
        let edit = SiteEdit::new(&spaces, Space::Sae, reinsert, Language::FR, edit).unwrap();
        assert!(edit.low_rank().is_none());
        let h = from_rows(vec![1.0, -1.0, 3.0, 1.0], 2, 2, &device);
        to_host(edit.apply(h, &RowInfo::new(&[], &[])))
    }

    /// Codes are (1, 0, 0) and (3, 1, 3).
    #[test]
    fn a_feature_is_taken_away_where_it_is_on() {
        let ablate = Edit::scale(3, vec![2], vec![0.0]).unwrap();
        for tier in [Tier::Constant, Tier::PerToken] {
            let found = edited(tier, Reinsert::Residual, &ablate);
            assert_eq!(found, [1.0, -1.0, 3.0 - 0.75, 1.0 - 9.0]);
        }
        let found = edited(Tier::Constant, Reinsert::Replace, &ablate);
        for (found, expect) in found.iter().zip([0.6, 0.2, 1.6, 1.2]) {
            assert!((found - expect).abs() < 1e-6, "{found} {expect}");
        }
    }

    #[test]
    fn tiers_differ_where_a_feature_is_off() {
        let add = Edit::add(3, vec![2], vec![-2.0]).unwrap();
        let constant = edited(Tier::Constant, Reinsert::Residual, &add);
        assert_eq!(constant, [0.5, -7.0, 2.5, -5.0]);
        let gated = edited(Tier::PerToken, Reinsert::Residual, &add);
        assert_eq!(gated, [1.0, -1.0, 2.5, -5.0]);
    }

    #[test]
    fn nothing_changes_where_no_feature_is_changed() {
        let none = Edit::identity(3);
        for tier in [Tier::Constant, Tier::PerToken] {
            assert_eq!(
                edited(tier, Reinsert::Residual, &none),
                [1.0, -1.0, 3.0, 1.0]
            );
        }
    }
}
