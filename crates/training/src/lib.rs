//! Trains language models: those of the testbed, and those that a recipe describes.
//!
//! A [`Trainer`] takes the training steps. [`recipe`] makes a checkpoint folder with a model card from text files.

mod error;
pub mod progress;
pub mod recipe;
mod trainer;

pub use error::TrainingError;
pub use trainer::{REVISION, TrainConfig, Trainer};

use std::path::Path;

/// Merges a table of changes, such as `[quick]`, into another. Tables are merged key by key, and all other values are
/// replaced.
pub fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(a)), toml::Value::Table(b)) => merge(a, b),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Returns the commit of the current folder, if git knows one.
pub fn git_commit() -> Option<String> {
    let output = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes a file that is there as a whole or not at all.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainingError> {
    interlingua_files::write(path, bytes).map_err(TrainingError::io(path))
}
