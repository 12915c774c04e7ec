//! An intervention: a list of edits at their sites, for models of one shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Edit, EditError, ModelShape, Site};

/// An edit together with the site at which it acts.
pub type Step = (Site, Edit);

/// The origin of an intervention. It is meant for people; no computation reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The name of the method that fitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A digest of the weights that it was fitted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Anything else that is worth knowing, such as the category and the languages of the fit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

/// A list of edits at their sites, in the order of the forward pass, which together change how a model computes.
#[derive(Debug, Clone, PartialEq)]
pub struct Intervention {
    model: ModelShape,
    steps: Vec<Step>,
    /// The origin of the intervention.
    pub provenance: Provenance,
}

impl Intervention {
    /// Makes an intervention for models of a given shape.
    ///
    /// Several steps at one hook act one after another.
    ///
    /// # Errors
    /// A hook that the model does not have, an edit whose dimension is not the width of the states at its site, or
    /// steps that are not in the order of the forward pass.
    pub fn new(
        model: ModelShape,
        steps: Vec<Step>,
        provenance: Provenance,
    ) -> Result<Intervention, EditError> {
        if let Some((what, size)) = model.too_large() {
            return Err(EditError::NotAnIntervention {
                reason: format!("its model has {what} = {size}"),
            });
        }
        for (at, (site, edit)) in steps.iter().enumerate() {
            let width = model.width(site.hook)?;
            if site.is_raw() && width != edit.dim() {
                return Err(EditError::SiteWidth {
                    step: at + 1,
                    hook: site.hook,
                    width,
                    dim: edit.dim(),
                });
            }
            let before = at.checked_sub(1).map(|at| steps[at].0.hook);
            if let Some(first) = before.filter(|first| *first > site.hook) {
                return Err(EditError::StepOrder {
                    step: at + 1,
                    first,
                    then: site.hook,
                });
            }
        }
        Ok(Intervention {
            model,
            steps,
            provenance,
        })
    }

    /// Returns the shape of the models that the intervention is for.
    pub fn model(&self) -> &ModelShape {
        &self.model
    }

    /// Returns the edits with their sites.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Checks that the intervention can be applied to a model of this shape.
    ///
    /// # Errors
    /// [`EditError::OtherModel`], which names the first size that differs.
    pub fn check(&self, model: &ModelShape) -> Result<(), EditError> {
        for ((what, expected), (_, found)) in self.model.sizes().into_iter().zip(model.sizes()) {
            if expected != found {
                return Err(EditError::OtherModel {
                    made_for: self.model.architecture.clone(),
                    model: model.architecture.clone(),
                    what,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}
