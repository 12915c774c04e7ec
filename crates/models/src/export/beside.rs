//! Reads the weights beside the states of a hook: the matrix that writes them, or what is to be known of the one that
//! reads them.

use interlingua_backend::ops::{View, product};
use interlingua_edits::{Hook, Matrix};

use super::{Side, Writer, writer};
use crate::{Model, ModelError};

/// Rows of a matrix that are read at once.
const READ_ROWS: usize = 8192;

/// A matrix, or the reason why a model has none at that hook.
pub type Beside = Result<Matrix, String>;

/// Returns the matrix that writes the states of a hook, with one row for each unit of the states.
///
/// # Errors
/// A hook that the model lacks, and weights that cannot be read.
pub fn written_by(model: &Model, hook: Hook) -> Result<Beside, ModelError> {
    let found = match of(model, hook)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let Side::Output(at) = found.side else {
        return Ok(Err("no one matrix writes its states".to_owned()));
    };
    if found.bias {
        return Ok(Err(format!("`{}` has a bias", found.module)));
    }
    let (name, [rows, columns]) = shaped(model, &found)?;
    let values = model.weights().read(&name)?;
    let value = |unit: usize, input: usize| match found.transposed {
        false => values[(at + unit) * columns + input],
        true => values[input * columns + at + unit],
    };
    let width = model
        .geometry
        .shape()
        .width(hook)
        .map_err(ModelError::Hook)?;
    let inputs = if found.transposed { rows } else { columns };
    let value = |i, j| f64::from(value(i, j));
    Ok(Ok(Matrix::from_fn(width, inputs, value)))
}

/// Returns Wᵀ·W, where W is the only matrix that reads the states of a hook.
///
/// # Errors
/// A hook that the model lacks, and weights that cannot be read.
pub fn read_by(model: &Model, hook: Hook) -> Result<Beside, ModelError> {
    let found = match of(model, hook)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    if found.side != Side::Input || found.transposed {
        return Ok(Err("no one matrix reads its states".to_owned()));
    }
    let (name, [rows, columns]) = shaped(model, &found)?;
    let mut sum = Matrix::zeros(columns, columns);
    for from in (0..rows).step_by(READ_ROWS) {
        let range = from..(from + READ_ROWS).min(rows);
        let values = model.weights().read_rows(&name, range.clone())?;
        let part = View::new(&values, range.len(), columns);
        let part = product(part.transpose(), part, None);
        let sums = sum.data_mut().iter_mut().zip(part);
        sums.for_each(|(sum, v)| *sum += f64::from(v));
    }
    Ok(Ok(sum))
}

fn of(model: &Model, hook: Hook) -> Result<Result<Writer, String>, ModelError> {
    model
        .geometry
        .shape()
        .width(hook)
        .map_err(ModelError::Hook)?;
    Ok(writer(model.architecture(), hook).map_err(str::to_owned))
}

fn shaped(model: &Model, found: &Writer) -> Result<(String, [usize; 2]), ModelError> {
    let name = format!("{}.weight", found.module);
    let shape = model.weights().shape(&name)?;
    Ok((name, [shape[0], shape[1]]))
}
