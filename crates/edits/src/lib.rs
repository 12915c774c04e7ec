//! Describes interventions on hidden states as plain data. This crate knows no tensors, no models and no files.
//!
//! ```text
//! hook         = a named place in the forward pass
//! site         = hook × space × way back × tokens
//! edit         = x ↦ x − L·(R·x − b)
//! intervention = a list of (site, edit), for models of one shape
//! ```
//!
//! ```
//! use interlingua_edits::{Edit, Hook, Intervention, ModelShape, Provenance, Site, Tokens};
//!
//! let model = ModelShape {
//!     architecture: "LlamaForCausalLM".into(),
//!     layers: 2,
//!     hidden: 4,
//!     heads: 2,
//!     kv_heads: 1,
//!     head_dim: 2,
//!     intermediate: 6,
//!     gated: true,
//! };
//! // Steer the output of the first block, and switch off the fourth unit of the second block's MLP.
//! let steer = Edit::shift(vec![0.5, 0.0, 0.0, -0.5])?;
//! let silence = Edit::clamp(6, vec![3], vec![0.0])?;
//! let steps = vec![
//!     (Site::raw(Hook::output(0), Tokens::Text), steer),
//!     (Site::raw(Hook::units(1), Tokens::All), silence),
//! ];
//! let intervention = Intervention::new(model.clone(), steps, Provenance::default())?;
//! let bytes = intervention.to_bytes()?;
//! assert_eq!(Intervention::from_bytes(&bytes)?, intervention);
//! intervention.check(&model)?;
//! # Ok::<(), interlingua_edits::EditError>(())
//! ```

mod apply;
mod edit;
mod error;
mod file;
mod hook;
mod intervention;
mod matrix;
mod part;
mod shape;
mod site;

pub use edit::{Edit, Factor, Kind, subspace_cosine};
pub use error::EditError;
pub use file::{KEY, VERSION};
pub use hook::{Hook, HookError};
pub use intervention::{Intervention, Provenance, Step};
pub use matrix::{Matrix, ShapeError, WORTH_SHARING, axpy, dot, extend_basis, norm};
pub use part::Part;
pub use shape::ModelShape;
pub use site::{Reinsert, Role, Site, Tokens};
