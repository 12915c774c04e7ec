//! Reads Hugging Face checkpoints and GGUF files and runs them with hooks, at which hidden states can be read and
//! edited.
//!
//! A [`Model`] is a checkpoint that has been opened but whose weights have not been read. The [`engine`] runs packed
//! sentences through it block by block, so each weight is read once, whatever the number of sentences is.

pub mod architectures;
pub mod chat;
pub mod checkpoint;
pub mod classify;
pub mod config;
pub mod dump;
pub mod engine;
pub mod error;
pub mod export;
pub mod file;
#[cfg(test)]
mod fuzz;
pub mod generate;
mod growth;
pub mod header;
pub mod hub;
pub mod index;
pub mod input;
pub mod intervene;
pub mod made;
pub mod masked;
pub mod model;
pub mod pack;
pub mod parity;
mod residency;
pub mod spill;
pub mod store;
pub mod table;
pub mod tokenizer;
pub mod weights;

pub use engine::{Branch, Capture, OnTokens, Pooling, RowInfo, StateEdit};
pub use error::ModelError;
pub use interlingua_edits::Hook;
pub use model::Model;
pub use pack::Sequence;
pub use residency::Residency;
pub use spill::Budget;
pub use tokenizer::Tokenizer;
