//! Debiasing methods, one file each, which fit an [`Edit`] of hidden states.
//!
//! A method learns from [`FitData`] (sentence vectors, classes, counterfactual sets) and returns an [`Edit`]. The
//! edit is frozen and low-rank, and does not know which method made it. It applies to states of the same dimension
//! anywhere, raw or latent. This crate opens no file and uses no tensor library: methods are fitted in host memory in
//! `f64`.
//!
//! ```
//! use interlingua_debias::{FitData, FitOptions, Matrix, by_name};
//!
//! // Two counterfactual pairs that differ along the first axis only.
//! let data = FitData {
//!     x: Matrix::from_f32(4, 3, &[1., 2., 0., -1., 2., 0., 1., 0., 3., -1., 0., 3.])?,
//!     label: vec![0, 1, 0, 1],
//!     tuple: vec![Some(0), Some(0), Some(1), Some(1)],
//!     classes: vec!["male".into(), "female".into()],
//!     ..FitData::default()
//! };
//! let fitted = by_name("sentdebias")?.fit(&data, &FitOptions::with_rank(1))?;
//! let mut state = [5.0_f32, 6.0, 7.0];
//! fitted.edit.apply_rows(&mut state)?;
//! assert!(state[0].abs() < 1e-6 && (state[1] - 6.0).abs() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Adding a method
//! A method is one file in `methods/` and one line in [`registry`].

pub mod control;
mod data;
mod debiaser;
mod demand;
mod error;
mod evidence;
mod fitted;
mod keep;
mod linalg;
mod logistic;
pub mod methods;
mod moments;
mod options;
pub mod svm;
pub mod units;

pub use data::FitData;
pub use debiaser::Debiaser;
pub use demand::{Contrast, Demand, Needs, Reduce, Size, Span};
pub use error::{FitError, UnknownMethod};
pub use evidence::{Evidence, Given};
pub use fitted::{Fitted, FittedSites};
pub use interlingua_edits::{Edit, EditError, Kind, Matrix, subspace_cosine};
pub use keep::{Covariance, Keep};
pub use methods::oracle::OracleEraser;
pub use methods::{by_name, registry};
pub use moments::Moments;
pub use options::{FitOptions, Param, ParamSpec};
