//! What can go wrong, with the facts that help to mend it.

use crate::hook::{Hook, names};

/// Why a hook cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// No hook has this name in a model of so many blocks.
    #[error("hook point `{}` does not exist in this model of {layers} blocks{}; those that do: {}", brief(.name), meant(.nearest), names(*.layers))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Blocks of the model.
        layers: usize,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// The architecture has no such part in its blocks.
    #[error("{architecture} has no `{hook}`: {why}; use `{instead}`")]
    Lacks {
        /// What was asked for.
        hook: Hook,
        /// The architecture.
        architecture: String,
        /// What its blocks are like.
        why: &'static str,
        /// The hook that comes nearest.
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

/// Why an edit or an intervention could not be made, combined, read or applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A part of the edit, or the states it is applied to, has the wrong size.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which part.
        what: &'static str,
        /// Size it should have.
        expected: usize,
        /// Size it has.
        found: usize,
    },
    /// The states are not whole rows of the edit's dimension.
    #[error("{len} values are not whole rows of dimension {dim}")]
    PartialRow {
        /// Values given.
        len: usize,
        /// Dimension of the edit.
        dim: usize,
    },
    /// A number of the edit is NaN or infinite.
    #[error("{what} holds {value}; every number of an edit must be finite")]
    NotFinite {
        /// Which part.
        what: &'static str,
        /// The value found.
        value: f64,
    },
    /// An edit names a unit that does not exist.
    #[error("unit {unit} is outside the edit's dimension {dim}")]
    UnitOutOfRange {
        /// The unit.
        unit: usize,
        /// Dimension of the edit.
        dim: usize,
    },
    /// An edit names a unit twice, and which value should win is not said.
    #[error("unit {unit} is named twice; give each unit one value")]
    DuplicateUnit {
        /// The unit.
        unit: usize,
    },
    /// A hook that the model does not have.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// An edit of another width than the states of its site.
    #[error(
        "step {step}: the edit is of dimension {dim}, but states at `{hook}` are {width} wide in this model"
    )]
    SiteWidth {
        /// Which step, from 1.
        step: usize,
        /// Where.
        hook: Hook,
        /// Width of the states there.
        width: usize,
        /// Dimension of the edit.
        dim: usize,
    },
    /// A step at a place that the forward pass has already gone through.
    #[error(
        "step {step} at `{then}` cannot follow a step at `{first}`: the forward pass comes to `{then}` first; list the steps in its order"
    )]
    StepOrder {
        /// Which step, from 1.
        step: usize,
        /// Where the step before it is.
        first: Hook,
        /// Where this step is.
        then: Hook,
    },
    /// An intervention for a model of another shape.
    #[error(
        "the intervention was made for {made_for}, which has {what} = {expected}; this model ({model}) has {found}"
    )]
    OtherModel {
        /// Architecture that it was made for.
        made_for: String,
        /// The architecture that it met.
        model: String,
        /// Which size differs.
        what: &'static str,
        /// Size in the intervention.
        expected: usize,
        /// Size in the model.
        found: usize,
    },
    /// The bytes are not a safetensors file, or not a whole one.
    #[error("not a readable safetensors file (cut off, or of another format): {reason}")]
    NotSafetensors {
        /// What the parser said.
        reason: String,
    },
    /// A safetensors file, but not one that holds an intervention.
    #[error("a safetensors file, but not an intervention of this program: {reason}")]
    NotAnIntervention {
        /// What is missing or unexpected.
        reason: String,
    },
    /// A file that a later version of the program wrote.
    #[error(
        "the intervention has format version {version}, and this program reads up to {known}; use a newer version of it"
    )]
    NewerFormat {
        /// Version of the file.
        version: u64,
        /// The newest version that is known here.
        known: u64,
    },
}
