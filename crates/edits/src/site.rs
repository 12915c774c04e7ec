//! Where an edit acts: a hook, a space, a way back, and the tokens that are meant.

use serde::{Deserialize, Serialize};

use crate::Hook;

/// Name of the space of the states themselves.
const RAW: &str = "raw";

/// Where an edit acts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Site {
    /// The place in the forward pass.
    pub hook: Hook,
    /// Name of the space that states are mapped to; `raw` for the states themselves.
    pub space: String,
    /// How an edited point of the space becomes a state again.
    pub reinsert: Reinsert,
    /// Which tokens are edited.
    pub tokens: Tokens,
}

impl Site {
    /// A site of the states themselves.
    pub fn raw(hook: Hook, tokens: Tokens) -> Site {
        Site {
            hook,
            space: RAW.into(),
            reinsert: Reinsert::Residual,
            tokens,
        }
    }

    /// Whether the edit acts on the states themselves.
    pub fn is_raw(&self) -> bool {
        self.space == RAW
    }
}

/// How an edited point z' of a space returns to the hidden state h, whose image is z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reinsert {
    /// `h + D(z') − D(z)`: the reconstruction error stays out.
    Residual,
    /// `D(z')`.
    Replace,
}

impl Reinsert {
    /// Name in rows and files.
    pub fn name(self) -> &'static str {
        match self {
            Reinsert::Residual => "residual",
            Reinsert::Replace => "replace",
        }
    }
}

/// Which tokens of a sequence are edited.
///
/// A sequence is its leading special token (the start token, or an encoder's `[CLS]`), the tokens that
/// are given, the tokens that are asked for, and an encoder's closing tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    /// Every token, special ones included.
    All,
    /// Every token but the special ones at the ends.
    Text,
    /// The last token that is not special.
    Last,
    /// The tokens that are given, without the special ones.
    Prompt,
    /// The tokens that are asked for: what is scored, or was generated.
    Generated,
}

impl Tokens {
    /// All of them.
    pub const ALL: [Tokens; 5] = [
        Tokens::All,
        Tokens::Text,
        Tokens::Last,
        Tokens::Prompt,
        Tokens::Generated,
    ];

    /// Name in rows and files.
    pub fn name(self) -> &'static str {
        match self {
            Tokens::All => "all",
            Tokens::Text => "text",
            Tokens::Last => "last",
            Tokens::Prompt => "prompt",
            Tokens::Generated => "generated",
        }
    }

    /// Whether a token of this role is one of them.
    pub fn has(self, role: Role) -> bool {
        match self {
            Tokens::All => true,
            Tokens::Text => !role.special,
            Tokens::Last => role.last,
            Tokens::Prompt => !role.special && role.given,
            Tokens::Generated => !role.special && !role.given,
        }
    }
}

/// What a token is in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Role {
    /// A special token at either end of the sequence.
    pub special: bool,
    /// Given, not asked for.
    pub given: bool,
    /// The last token of the text.
    pub last: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_in_the_sets_that_name_it() {
        let special = Role {
            special: true,
            given: true,
            last: false,
        };
        let given = Role {
            given: true,
            ..Role::default()
        };
        let last = Role {
            last: true,
            ..Role::default()
        };
        let sets = |role| Tokens::ALL.map(|t| u8::from(t.has(role)));
        assert_eq!(sets(special), [1, 0, 0, 0, 0]);
        assert_eq!(sets(given), [1, 1, 0, 1, 0]);
        assert_eq!(sets(Role::default()), [1, 1, 0, 0, 1]);
        assert_eq!(sets(last), [1, 1, 1, 0, 1]);
    }
}
