//! Searches for an edit that makes a language model less biased in every language it serves, and tests the edit on
//! new items.
//!
//! A search over methods, places, ranks and strengths ([`Search`]) evaluates many candidates at a time on pairs of
//! sentences in all languages. It minimises the gap in the language where it is largest, under a limit on the change
//! of predictions on neutral text, which must hold in every language. Three splits never share a sentence. Edits are
//! fitted on the first. The second chooses among them by a rule that is fixed beforehand. The third is used once, for
//! the chosen edit and for random edits of the same shape ([`Outcome`]). [`page`] writes the results.
//!
//! [`alone`] fits one edit without a search, on the same kind of sentences.

pub mod alone;
pub mod error;
mod evidence;
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
