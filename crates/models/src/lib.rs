//! Hugging Face checkpoints with named hook points, and the layer-major engine that runs them.
//!
//! A [`Model`] is a folder of weights opened but not read; [`engine`] pushes
//! packed sentences through it block by block, so that each weight is read once
//! whatever the number of sentences.

pub mod architectures;
pub mod chat;
pub mod checkpoint;
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
pub mod spill;
pub mod store;
pub mod table;
pub mod tokenizer;
pub mod weights;

pub use engine::{Branch, Capture, OnTokens, Pooling, RowInfo, StateEdit};
pub use error::ModelError;
pub use interlingua_edits::Hook;
pub use model::{Model, Residency};
pub use pack::Sequence;
pub use spill::Budget;
pub use tokenizer::Tokenizer;
