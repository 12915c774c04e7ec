//! Computes metrics: bias scores, perplexity, alignment, and the confidence intervals and significance tests that
//! they need. There is one file per metric.
//!
//! Everything here is a pure function of slices. This crate knows no models, no files and no tensor library; the
//! caller provides the numbers. Every random procedure takes a seed and gives the same result on any number of
//! threads.
//!
//! ```
//! use interlingua_metrics::bootstrap::{Bootstrap, mean};
//!
//! let gaps = [0.3, 0.1, -0.2, 0.4, 0.2, 0.0, 0.5, -0.1];
//! let estimate = mean(&gaps, &Bootstrap::default())?;
//! assert!((estimate.value - 0.15).abs() < 1e-12);
//! assert!(estimate.ci_low.unwrap() < 0.15 && estimate.ci_high.unwrap() > 0.15);
//! # Ok::<(), interlingua_metrics::MetricError>(())
//! ```

pub mod agreement;
pub mod alignment;
pub mod bbq;
pub mod bootstrap;
pub mod choice;
pub mod coreference;
pub mod crows;
pub mod difflib;
pub mod directions;
pub mod divergence;
mod error;
pub mod generation;
pub mod info;
pub mod joint;
pub mod lens;
pub mod mexa;
mod normal;
pub mod perplexity;
pub mod power;
pub mod probe;
pub mod regression;
pub mod seat;
pub mod significance;
pub mod stereoset;
pub mod templates;

pub use bootstrap::{Bootstrap, Estimate};
pub use error::MetricError;
