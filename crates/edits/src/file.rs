//! The file format of interventions: safetensors with one JSON entry in the header.
//!
//! The header's `interlingua` entry says what the tensors mean. There is one entry only,
//! because safetensors keeps its metadata in a map without order, and equal
//! interventions must give equal bytes.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Edit, EditError, Factor, Hook, Intervention, Matrix, ModelShape, Provenance, Reinsert, Site,
    Tokens,
};

/// The key of the program's entry in the safetensors header.
pub const KEY: &str = "interlingua";

/// The version of the format that this program writes, which is also the newest that it reads.
pub const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u64,
    model: ModelShape,
    steps: Vec<StepHeader>,
    provenance: Provenance,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepHeader {
    hook: String,
    space: String,
    reinsert: Reinsert,
    tokens: Tokens,
    dim: usize,
    left: Form,
    right: Form,
}

/// How a factor is stored.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Dense,
    Units,
    Zero,
}

impl Intervention {
    /// Returns the intervention as the bytes of a safetensors file; equal interventions give equal bytes.
    ///
    /// # Errors
    /// [`EditError::NotAnIntervention`] if the serialiser fails, which does not happen for an intervention that this
    /// crate built.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EditError> {
        let mut parts = Vec::new();
        let mut steps = Vec::new();
        for (at, (site, edit)) in self.steps().iter().enumerate() {
            let offset = edit.offset();
            let name = |part: &str| format!("{at}.{part}");
            let left = add_factor(&mut parts, &name("left"), edit.left());
            let right = add_factor(&mut parts, &name("right"), edit.right());
            let shape = vec![offset.len()];
            parts.push((name("offset"), shape, Dtype::F64, floats(offset)));
            steps.push(StepHeader {
                hook: site.hook.to_string(),
                space: site.space.clone(),
                reinsert: site.reinsert,
                tokens: site.tokens,
                dim: edit.dim(),
                left,
                right,
            });
        }
        let header = Header {
            format: "intervention".to_owned(),
            version: VERSION,
            model: self.model().clone(),
            steps,
            provenance: self.provenance.clone(),
        };
        let json = serde_json::to_string(&header).map_err(refuse)?;
        let views = parts
            .iter()
            .map(|(name, shape, dtype, bytes)| {
                TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(refuse)?;
        let metadata = HashMap::from([(KEY.to_owned(), json)]);
        serialize(views, Some(metadata)).map_err(refuse)
    }

    /// Reads an intervention from the bytes of a file.
    ///
    /// The bytes may come from anywhere. Every length, shape and number is checked, and nothing larger than the input
    /// is allocated.
    ///
    /// # Errors
    /// [`EditError::NotSafetensors`] for bytes that are cut off or of another format,
    /// [`EditError::NotAnIntervention`] for another safetensors file, [`EditError::NewerFormat`] for a file of a
    /// later version, and the errors of [`Edit::new`] and [`Intervention::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EditError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let json = metadata
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(KEY))
            .ok_or_else(|| refuse(format!("the header has no `{KEY}` entry")))?;
        let header = read_header(json)?;
        let mut steps = Vec::new();
        for (at, step) in header.steps.into_iter().enumerate() {
            let site = Site {
                hook: Hook::parse(&step.hook, header.model.layers)?,
                space: step.space,
                reinsert: step.reinsert,
                tokens: step.tokens,
            };
            let left = factor(&tensors, &format!("{at}.left"), step.left)?;
            let right = factor(&tensors, &format!("{at}.right"), step.right)?;
            let offset = vector(&tensors, &format!("{at}.offset"))?;
            steps.push((site, Edit::new(step.dim, left, right, offset)?));
        }
        Intervention::new(header.model, steps, header.provenance)
    }
}

/// The header, once its format and version are known to be ours: a newer one may have other fields.
fn read_header(json: &str) -> Result<Header, EditError> {
    let value: Value = serde_json::from_str(json).map_err(refuse)?;
    let format = value.get("format").and_then(Value::as_str);
    if format != Some("intervention") {
        let found: String = format.unwrap_or("none").chars().take(40).collect();
        return Err(refuse(format!(
            "its format is `{found}`, expected `intervention`"
        )));
    }
    match value.get("version").and_then(Value::as_u64) {
        Some(VERSION) => serde_json::from_value(value).map_err(refuse),
        Some(version) if version > VERSION => Err(EditError::NewerFormat {
            version,
            known: VERSION,
        }),
        _ => Err(refuse("it has no version that is known")),
    }
}

type Part = (String, Vec<usize>, Dtype, Vec<u8>);

fn add_factor(parts: &mut Vec<Part>, name: &str, factor: &Factor) -> Form {
    match factor {
        Factor::Dense(m) => {
            let shape = vec![m.rows(), m.cols()];
            parts.push((name.to_owned(), shape, Dtype::F64, floats(m.data())));
            Form::Dense
        }
        Factor::Units(units, weights) => {
            let bytes = units.iter().flat_map(|&u| i64::from(u).to_le_bytes());
            let shape = vec![units.len()];
            parts.push((
                format!("{name}.units"),
                shape.clone(),
                Dtype::I64,
                bytes.collect(),
            ));
            parts.push((
                format!("{name}.weights"),
                shape,
                Dtype::F64,
                floats(weights),
            ));
            Form::Units
        }
        Factor::Zero => Form::Zero,
    }
}

fn factor(tensors: &SafeTensors<'_>, name: &str, form: Form) -> Result<Factor, EditError> {
    match form {
        Form::Zero => Ok(Factor::Zero),
        Form::Dense => {
            let (shape, data) = words(tensors, name, 2, Dtype::F64)?;
            let data = data.into_iter().map(f64::from_le_bytes).collect();
            let matrix = Matrix::new(shape[0], shape[1], data).map_err(refuse)?;
            Ok(Factor::Dense(matrix))
        }
        Form::Units => {
            let (_, data) = words(tensors, &format!("{name}.units"), 1, Dtype::I64)?;
            let unit = |word: [u8; 8]| {
                let unit = i64::from_le_bytes(word);
                u32::try_from(unit).map_err(|_| refuse(format!("`{name}` names unit {unit}")))
            };
            let units = data.into_iter().map(unit).collect::<Result<_, _>>()?;
            Ok(Factor::Units(
                units,
                vector(tensors, &format!("{name}.weights"))?,
            ))
        }
    }
}

fn floats(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Shape and 8-byte words of a tensor of the given rank and type.
fn words(
    tensors: &SafeTensors<'_>,
    name: &str,
    dims: usize,
    dtype: Dtype,
) -> Result<(Vec<usize>, Vec<[u8; 8]>), EditError> {
    let view = tensors.tensor(name).map_err(refuse)?;
    if view.dtype() != dtype || view.shape().len() != dims {
        return Err(refuse(format!(
            "tensor `{name}` is {:?} of shape {:?}, expected {dtype:?} with {dims} dimensions",
            view.dtype(),
            view.shape()
        )));
    }
    Ok((
        view.shape().to_vec(),
        view.data().as_chunks::<8>().0.to_vec(),
    ))
}

fn vector(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f64>, EditError> {
    let (_, data) = words(tensors, name, 1, Dtype::F64)?;
    Ok(data.into_iter().map(f64::from_le_bytes).collect())
}

fn refuse(reason: impl std::fmt::Display) -> EditError {
    EditError::NotAnIntervention {
        reason: reason.to_string(),
    }
}

fn not_safetensors(reason: impl std::fmt::Display) -> EditError {
    EditError::NotSafetensors {
        reason: reason.to_string(),
    }
}
