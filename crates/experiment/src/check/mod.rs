//! Checks for everything that can be known to fail before anything is computed, for `--dry-run` and for the start of
//! a run.
//!
//! [`spec()`] checks the spec alone, [`files()`] the files on the disk, [`architecture`] the model's `config.json`,
//! [`text()`] all text after it is read, and [`model()`] the opened model and its tokenizer on this text. A run makes
//! each check as soon as its input is there.

mod files;
mod model;
mod spec;
mod text;

pub use files::{files, needed, state};
pub use model::{architecture, memory, model, parameters, widths, writable};
pub use spec::spec;
pub use text::text;
