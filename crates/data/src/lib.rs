//! Languages, parallel corpora, bias benchmarks and attribute lists: loaders, joins, validation, manifests.
//!
//! Every source comes down to three shapes: [`ParallelCorpus`], [`BiasSet`] and [`AttributeList`]. The loaders stream,
//! bound what they hold, name file and line of every fault, and never repair in silence: what was skipped or replaced is
//! in the [`Report`].

pub mod counterfactual;
pub mod describe;
mod describe_text;
pub mod error;
mod input;
pub mod iso;
pub mod language;
pub mod load;
pub mod manifest;
pub mod testbed;
pub mod types;

pub use counterfactual::{Class, Counterfactuals, Matcher, classify, counterfactuals};
pub use describe::{Description, describe};
pub use error::{DataError, Finding, FindingKind, OnBadRow, Report};
pub use input::{Limits, TextEncoding};
pub use language::Language;
pub use load::{
    AttributeOptions, BiasOptions, Format, ParallelOptions, load_attributes, load_bias,
    load_parallel, sniff,
};
pub use manifest::{FileState, FileStatus, Manifest, Progress, fetch, verify};
pub use types::{AttributeList, BiasPair, BiasSet, Direction, ParallelCorpus};
