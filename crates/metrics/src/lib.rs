//! Metrics: bias scores, perplexity, alignment, and the intervals and tests
//! without which none of them means anything. One file per metric.
//!
//! Everything here is a pure function of slices. Nothing knows a model, a file
//! or a tensor library; whoever calls decides where the numbers come from.
//! Every random procedure takes a seed and gives the same answer on any number
//! of threads.
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

pub mod alignment;
pub mod bbq;
pub mod bootstrap;
pub mod choice;
pub mod crows;
pub mod difflib;
pub mod directions;
pub mod divergence;
mod error;
pub mod info;
pub mod joint;
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
