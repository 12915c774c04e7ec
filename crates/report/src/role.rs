//! The role of an edit in an experiment: to be evaluated, or to be compared with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The role of a setting in an experiment. All code that treats settings or rows differently decides by the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Role {
    /// The unedited model.
    Unedited,
    /// The model whose states go through an autoencoder and back without a change in the latent space.
    AutoencoderOnly,
    /// A fitted method.
    Method,
    /// An edit that should have no effect, because it has no information about the groups.
    Control(Control),
}

/// A control, which matches the edit of a method in kind and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Control {
    /// A random edit of the same kind and size.
    Random,
    /// The same method, fitted on shuffled examples.
    Shuffled,
}

/// The error for a name that no role has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role `{name}`; there are: {}", Role::ALL.map(Role::name).join(", "))]
pub struct UnknownRole {
    /// The name that was given.
    pub name: String,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 5] = [
        Role::Unedited,
        Role::AutoencoderOnly,
        Role::Method,
        Role::Control(Control::Random),
        Role::Control(Control::Shuffled),
    ];

    /// Returns the name in rows and files.
    pub fn name(self) -> &'static str {
        match self {
            Role::Unedited => "unedited",
            Role::AutoencoderOnly => "autoencoder-only",
            Role::Method => "method",
            Role::Control(control) => control.name(),
        }
    }

    /// Returns whether the setting is there for comparison only.
    pub fn is_comparison(self) -> bool {
        self != Role::Method
    }

    /// Returns the value of the column `method` in the rows of a setting with this role and this method.
    pub fn in_rows(self, method: Option<&str>) -> String {
        match (self, method) {
            (Role::Unedited, _) => "none".into(),
            (Role::Control(control), Some(method)) => format!("{method}:{}", control.name()),
            (_, Some(method)) => method.into(),
            (_, None) => self.name().into(),
        }
    }

    /// Returns the method that a row with this role is about, given its column `method`; `None` if it is about no
    /// method.
    pub fn method(self, in_rows: &str) -> Option<&str> {
        match self {
            Role::Unedited | Role::AutoencoderOnly => None,
            Role::Method => Some(in_rows),
            Role::Control(control) => in_rows.strip_suffix(control.name())?.strip_suffix(':'),
        }
    }
}

impl Control {
    /// Returns the name in rows and files.
    pub fn name(self) -> &'static str {
        match self {
            Control::Random => "random",
            Control::Shuffled => "shuffled",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Role, UnknownRole> {
        let mut all = Role::ALL.into_iter();
        all.find(|role| role.name() == name)
            .ok_or_else(|| UnknownRole {
                name: name.to_owned(),
            })
    }
}

impl From<Role> for String {
    fn from(role: Role) -> String {
        role.name().to_owned()
    }
}

impl TryFrom<String> for Role {
    type Error = UnknownRole;

    fn try_from(name: String) -> Result<Role, UnknownRole> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_as_it_was_written() {
        for role in Role::ALL {
            let json = serde_json::to_string(&role).unwrap();
            assert_eq!(json, format!("\"{}\"", role.name()));
            assert_eq!(serde_json::from_str::<Role>(&json).unwrap(), role);
        }
        let error = "control".parse::<Role>().unwrap_err().to_string();
        assert!(error.ends_with("unedited, autoencoder-only, method, random, shuffled"));
    }

    #[test]
    fn the_column_of_the_method_keeps_the_method() {
        for (role, method, in_rows) in [
            (Role::Unedited, None, "none"),
            (Role::AutoencoderOnly, None, "autoencoder-only"),
            (Role::Method, Some("leace"), "leace"),
            (Role::Control(Control::Random), None, "random"),
            (
                Role::Control(Control::Random),
                Some("steering"),
                "steering:random",
            ),
            (
                Role::Control(Control::Shuffled),
                Some("leace"),
                "leace:shuffled",
            ),
        ] {
            assert_eq!(role.in_rows(method), in_rows);
            assert_eq!(role.method(in_rows), method);
        }
    }
}
