//! The site of an edit: a hook, a space, the way back from that space, and the tokens that are edited.

use serde::{Deserialize, Serialize};

use crate::Hook;

/// Name of the space of the states themselves.
const RAW: &str = "raw";

/// The place where an edit acts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Site {
    /// The hook, which is a place in the forward pass.
    pub hook: Hook,
    /// The name of the space that states are mapped to before they are edited; `raw` means the states themselves.
    pub space: String,
    /// How an edited point of the space becomes a hidden state again.
    pub reinsert: Reinsert,
    /// Which tokens are edited.
    pub tokens: Tokens,
}

impl Site {
    /// Makes a site at which the states themselves are edited.
    pub fn raw(hook: Hook, tokens: Tokens) -> Site {
        Site {
            hook,
            space: RAW.into(),
            reinsert: Reinsert::Residual,
            tokens,
        }
    }

    /// Returns whether the edit acts on the states themselves.
    pub fn is_raw(&self) -> bool {
        self.space == RAW
    }
}

/// How an edited point z' of a space is turned back into a hidden state. The state before the edit is h, its image in
/// the space is z, and D maps points of the space to states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reinsert {
    /// The new state is `h + D(z') − D(z)`, so the reconstruction error of the space does not enter it.
    Residual,
    /// The new state is `D(z')`.
    Replace,
}

impl Reinsert {
    /// Returns the name that rows and files use.
    pub fn name(self) -> &'static str {
        match self {
            Reinsert::Residual => "residual",
            Reinsert::Replace => "replace",
        }
    }
}

/// The tokens of a sequence that are edited.
///
/// A sequence consists of a leading special token (the start token, or an encoder's `[CLS]`), the prompt, the tokens
/// that are scored or generated after it, and an encoder's closing special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    /// Every token, including the special ones.
    All,
    /// Every token except the special ones at the two ends.
    Text,
    /// The last token that is not special.
    Last,
    /// The tokens of the prompt, without the special ones.
    Prompt,
    /// The tokens after the prompt, which are scored or were generated.
    Generated,
}

impl Tokens {
    /// All of these choices.
    pub const ALL: [Tokens; 5] = [
        Tokens::All,
        Tokens::Text,
        Tokens::Last,
        Tokens::Prompt,
        Tokens::Generated,
    ];

    /// Returns the name that rows and files use.
    pub fn name(self) -> &'static str {
        match self {
            Tokens::All => "all",
            Tokens::Text => "text",
            Tokens::Last => "last",
            Tokens::Prompt => "prompt",
            Tokens::Generated => "generated",
        }
    }

    /// Returns whether a token with this role is edited.
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

/// The role of a token in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Role {
    /// Whether it is a special token at either end of the sequence.
    pub special: bool,
    /// Whether it belongs to the prompt rather than to the tokens that are scored or generated.
    pub given: bool,
    /// Whether it is the last token of the text.
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
