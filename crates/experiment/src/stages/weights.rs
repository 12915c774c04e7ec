//! Weights beside the states of a hook point, for methods that look at both.

use interlingua_backend::ops::{View, product};
use interlingua_debias::Matrix;
use interlingua_edits::Hook;
use interlingua_models::export::{Side, writer};

use super::fit::Passes;
use super::material::Beside;
use crate::ExperimentError;

/// Rows of a matrix that are read at once.
const READ_ROWS: usize = 8192;

impl Passes<'_> {
    /// Reads the weights that [`WeightsOf`](super::material::WeightsOf) asks for.
    pub fn weights(
        &self,
        site: usize,
        beside: Beside,
    ) -> Result<Result<Matrix, String>, ExperimentError> {
        let hook = Hook::parse(&self.plan.hooks[site], self.model.geometry.layers)?;
        let found = match writer(self.model.architecture(), hook) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why.to_owned())),
        };
        let weights = self.model.weights();
        let name = format!("{}.weight", found.module);
        let shape = weights.shape(&name)?;
        let (rows, columns) = (shape[0], shape[1]);
        match (beside, found.side) {
            (Beside::Writer, Side::Output(_)) if found.bias => {
                Ok(Err(format!("`{}` has a bias", found.module)))
            }
            (Beside::Writer, Side::Output(at)) => {
                let width = self.model.geometry.shape().width(hook)?;
                let values = weights.read(&name)?;
                let of = |unit: usize, input: usize| match found.transposed {
                    false => values[(at + unit) * columns + input],
                    true => values[input * columns + at + unit],
                };
                let inputs = if found.transposed { rows } else { columns };
                Ok(Ok(Matrix::from_fn(width, inputs, |i, j| {
                    f64::from(of(i, j))
                })))
            }
            (Beside::Reader, Side::Input) if !found.transposed => {
                let mut sum = Matrix::zeros(columns, columns);
                for from in (0..rows).step_by(READ_ROWS) {
                    let range = from..(from + READ_ROWS).min(rows);
                    let values = weights.read_rows(&name, range.clone())?;
                    let part = View::new(&values, range.len(), columns);
                    let part = product(part.transpose(), part, None);
                    let sums = sum.data_mut().iter_mut().zip(part);
                    sums.for_each(|(sum, v)| *sum += f64::from(v));
                }
                Ok(Ok(sum))
            }
            (Beside::Writer, Side::Input) => Ok(Err("no one matrix writes its states".to_owned())),
            (Beside::Reader, _) => Ok(Err("no one matrix reads its states".to_owned())),
        }
    }
}
