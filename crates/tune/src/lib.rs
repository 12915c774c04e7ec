//! Makes a language model less biased in every language that is served, and proves it.
//!
//! A search over methods, places, ranks and strengths ([`Search`]) judges candidates many at a time, on pairs of
//! sentences in all languages. Its objective is the gap in the language where it is largest; a limit on how far
//! predictions on neutral text may move holds in every language. Three splits never share a sentence: edits are fitted
//! on the first, chosen on the second by a rule that is stated beforehand, and the third is looked at once, for the
//! chosen edit and random ones of its shape ([`Outcome`]). [`page`] writes it down.

pub mod error;
mod fit;
mod journal;
pub mod judge;
pub mod page;
pub mod recipe;
pub mod search;
pub mod text;

pub use error::TuneError;
pub use recipe::{Place, Recipe, Role};
pub use search::{Event, Outcome, Search, Settings};
pub use text::{Sources, Texts};
