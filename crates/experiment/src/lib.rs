//! Runs experiments from the spec to the report. This crate joins all the others.
//!
//! ```text
//! text → model → states → autoencoders → edits → scores → rows → report
//! ```
//!
//! A [`spec::Spec`] is what a user wrote, and a [`plan::Plan`] is what it resolves to. Only a plan can be run. The
//! result of every stage is stored in [`cache`] under the content of its inputs.

pub mod alone;
mod benchmarks;
pub mod cache;
mod check;
mod dry_run;
mod error;
mod estimate;
pub mod fit_on;
mod measure;
mod options;
pub mod plan;
pub mod prepare;
mod products;
pub mod requests;
pub mod run;
pub mod spec;
mod stages;
mod swapped;
mod write;

pub use dry_run::dry_run;
pub use error::ExperimentError;
pub use interlingua_report as report;
pub use interlingua_report::{role, row};
pub use interlingua_training::progress;
