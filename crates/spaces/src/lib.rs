//! Spaces that states are taken into, changed in, and taken back from: one trait, one file for each.
//!
//! [`StateSpace`] is the trait: `enter` and `leave`. The states themselves are a space ([`raw`]); so is the latent space of an
//! autoencoder ([`latent`]), and whatever an affine map of each language leads to ([`affine`], a file for each way of fitting
//! one). [`registry`] lists them.

pub mod affine;
pub mod cca;
pub mod centred;
mod error;
pub mod joint_pca;
pub mod latent;
pub mod lir;
pub mod lsar;
pub mod procrustes;
mod project;
pub mod raw;
pub mod registry;
mod site;
mod space;

pub use error::SpaceError;
pub use interlingua_edits::Reinsert;
pub use project::project;
pub use registry::Space;
pub use site::{SiteEdit, Spaces};
pub use space::{Passage, StateSpace};
