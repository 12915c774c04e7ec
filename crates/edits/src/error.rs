//! Errors of hooks, edits and interventions.

use crate::{Hook, HookError};

/// The reason why an edit or an intervention could not be made, combined, read or applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A part of the edit, or the states that it is applied to, has the wrong size.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The name of this part.
        what: &'static str,
        /// The size that it should have.
        expected: usize,
        /// The size that it has.
        found: usize,
    },
    /// The number of values is not a multiple of the edit's dimension, so they are not whole rows.
    #[error("{len} values are not whole rows of dimension {dim}")]
    PartialRow {
        /// The number of values that were given.
        len: usize,
        /// The dimension of the edit.
        dim: usize,
    },
    /// A number of the edit is NaN or infinite.
    #[error("{what} holds {value}; every number of an edit must be finite")]
    NotFinite {
        /// The name of the part that holds the number.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// The edit names a unit that does not exist.
    #[error("unit {unit} is outside the edit's dimension {dim}")]
    UnitOutOfRange {
        /// The number of the unit.
        unit: usize,
        /// The dimension of the edit.
        dim: usize,
    },
    /// The edit names a unit twice, and nothing says which value counts.
    #[error("unit {unit} is named twice; give each unit one value")]
    DuplicateUnit {
        /// The number of the unit.
        unit: usize,
    },
    /// The model does not have a hook of the intervention.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The dimension of an edit is not the width of the states at its site.
    #[error(
        "step {step}: the edit is of dimension {dim}, but states at `{hook}` are {width} wide in this model"
    )]
    SiteWidth {
        /// The number of the step, counted from 1.
        step: usize,
        /// The hook of the step.
        hook: Hook,
        /// The width of the states at this hook.
        width: usize,
        /// The dimension of the edit.
        dim: usize,
    },
    /// The hook of a step comes before that of the preceding step in the forward pass.
    #[error(
        "step {step} at `{then}` cannot follow a step at `{first}`: the forward pass comes to `{then}` first; list the steps in its order"
    )]
    StepOrder {
        /// The number of the step, counted from 1.
        step: usize,
        /// The hook of the preceding step.
        first: Hook,
        /// The hook of this step.
        then: Hook,
    },
    /// The intervention was made for a model of another shape.
    #[error(
        "the intervention was made for {made_for}, which has {what} = {expected}; this model ({model}) has {found}"
    )]
    OtherModel {
        /// The architecture that the intervention was made for.
        made_for: String,
        /// The architecture of the model at hand.
        model: String,
        /// The name of the size that differs.
        what: &'static str,
        /// The size in the intervention.
        expected: usize,
        /// The size in the model.
        found: usize,
    },
    /// The bytes are not a safetensors file, or not all of one.
    #[error("not a readable safetensors file (cut off, or of another format): {reason}")]
    NotSafetensors {
        /// The error of the parser.
        reason: String,
    },
    /// The bytes are a safetensors file, but do not hold an intervention.
    #[error("a safetensors file, but not an intervention of this program: {reason}")]
    NotAnIntervention {
        /// What is missing or unexpected.
        reason: String,
    },
    /// The file was written by a later version of the program.
    #[error(
        "the intervention has format version {version}, and this program reads up to {known}; use a newer version of it"
    )]
    NewerFormat {
        /// The format version of the file.
        version: u64,
        /// The newest format version that this program reads.
        known: u64,
    },
}
