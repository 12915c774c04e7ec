//! Weights beside the states of a hook point, for methods that look at both.

use interlingua_debias::Matrix;
use interlingua_edits::Hook;
use interlingua_models::export::beside;

use super::fit::Passes;
use super::material::Beside;
use crate::ExperimentError;

impl Passes<'_> {
    /// Reads the weights that [`WeightsOf`](super::material::WeightsOf) asks for.
    pub fn weights(
        &self,
        site: usize,
        wanted: Beside,
    ) -> Result<Result<Matrix, String>, ExperimentError> {
        let hook = Hook::parse(&self.plan.hooks[site], self.model.geometry.layers)?;
        Ok(match wanted {
            Beside::Writer => beside::written_by(self.model, hook)?,
            Beside::Reader => beside::read_by(self.model, hook)?,
        })
    }
}
