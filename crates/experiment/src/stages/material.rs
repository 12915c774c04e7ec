//! What fits learn from, and what a fit is of.

use std::sync::Arc;

use interlingua_debias::{FitError, Matrix, Reduce};
use interlingua_edits::Edit;
use interlingua_spaces::Spaces;

use super::Captured;
use crate::ExperimentError;
use crate::plan::{Plan, Setting};
use crate::prepare::Prepared;
use crate::spec::Space;

/// The material from which methods are fitted.
pub struct Material<'a> {
    /// All text.
    pub text: &'a Prepared,
    /// The states at every hook.
    pub captured: &'a Captured,
    /// The spaces at every hook.
    pub spaces: &'a [Arc<Spaces>],
    /// A function that computes states of the model with edits at some hooks.
    pub again: Again<'a>,
    /// A function that reads weights beside the states of a hook.
    pub weights: WeightsOf<'a>,
}

/// A function that returns states at one hook, with each sentence reduced to one vector and these edits at other
/// hooks, as sentences × width.
pub type Again<'a> =
    &'a dyn Fn(usize, Reduce, &[String], &[(usize, Edit)]) -> Result<Vec<f32>, ExperimentError>;

/// Which weights are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// W, whose product with some input is the states: width × width of the input.
    Writer,
    /// Wᵀ·W of the W that alone reads the states: width × width.
    Reader,
}

/// A function that reads weights beside the states of a hook, and gives the reason in words where there are none.
pub type WeightsOf<'a> =
    &'a dyn Fn(usize, Beside) -> Result<Result<Matrix, String>, ExperimentError>;

/// One fit: of a setting, in a space, at one hook of its place or at all of them.
pub(super) struct Fit<'a> {
    pub(super) plan: &'a Plan,
    pub(super) setting: &'a Setting,
    pub(super) space: Space,
    pub(super) sites: Vec<usize>,
}

impl Fit<'_> {
    /// The error of this fit.
    pub(super) fn failed(&self, source: FitError) -> ExperimentError {
        let setting = self.setting;
        ExperimentError::Fit {
            method: setting.in_rows(),
            category: setting.category.clone(),
            language: setting
                .fit_language
                .map_or("no language".into(), |on| on.to_string()),
            space: self.space.name().into(),
            source,
        }
    }
}
