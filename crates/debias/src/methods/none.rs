//! No edit: the unedited model, in the form of a method.
//!
//! Formula: x ↦ x.

use crate::{Debiaser, Edit, FitData, FitError, FitOptions, Fitted, Needs};

/// The identity, which leaves the model unedited.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEdit;

impl Debiaser for NoEdit {
    fn name(&self) -> &'static str {
        "none"
    }

    fn title(&self) -> &'static str {
        "No edit"
    }

    fn citation(&self) -> &'static str {
        "control"
    }

    fn summary(&self) -> &'static str {
        "Leaves every state as it is, which is the baseline of every comparison."
    }

    fn docs(&self) -> &'static str {
        "methods/none.md"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        crate::options::Params::new(self.name(), self.params(), options)?;
        data.check()?;
        Ok(Fitted {
            edit: Edit::identity(data.dim()),
            notes: Vec::new(),
        })
    }
}
