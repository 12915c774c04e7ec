//! What can be known to fail before anything is computed: at `--dry-run` and at the start of a run.
//!
//! [`spec()`] looks at what was typed alone, [`files()`] at what is on the disk, [`architecture`] at the model's `config.json`,
//! [`text()`] at all text once it is read, [`model()`] at the opened model and what its tokenizer makes
//! of the text. A run makes each as soon as what it looks at is there.

mod files;
mod model;
mod spec;
mod text;

pub use files::{files, needed, state};
pub use model::{architecture, memory, model, parameters, widths, writable};
pub use spec::spec;
pub use text::text;
