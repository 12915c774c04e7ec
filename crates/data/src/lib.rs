//! Languages, parallel corpora, bias benchmarks and attribute lists: loaders, joins, validation, manifests.

pub mod language;
pub mod testbed;
pub mod types;

pub use language::Language;
pub use types::{AttributeList, BiasPair, Direction, ParallelCorpus};
