//! Spaces in which hidden states are edited: a state is mapped into a space, changed there, and mapped back.
//!
//! [`StateSpace`] is the trait, with `enter` and `leave`. The states themselves are a space ([`raw`]), and so are the
//! latent space of an autoencoder ([`latent`]), the features of a sparse one ([`sparse`]) and the spaces that are reached by affine maps of each language
//! ([`affine`], with one file for each way of fitting them). [`registry`] lists them all.

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
pub mod sparse;

pub use error::SpaceError;
pub use interlingua_edits::Reinsert;
pub use project::project;
pub use registry::Space;
pub use site::{SiteEdit, Spaces};
pub use space::{Passage, StateSpace};
