//! Edits as bytes: safetensors with one JSON line in the header.
//!
//! The header's `interlingua` entry says what the tensors mean:
//! `{"format":"edit","version":1,"kind":"erase","dim":256,...}`. One entry only,
//! because safetensors keeps its metadata in a map without order, and equal
//! edits must give equal bytes.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};

use crate::edit::{Clamp, Erase, Shift};
use crate::{Edit, EditError, Matrix};

/// Key of our entry in the safetensors header.
const KEY: &str = "interlingua";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    kind: String,
    dim: usize,
}

impl Edit {
    /// The edit as a safetensors file.
    ///
    /// # Errors
    /// [`EditError::NotAnEdit`] should the serialiser refuse, which no edit
    /// built by this crate makes it do.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EditError> {
        let header = Header {
            format: "edit".to_owned(),
            version: VERSION,
            kind: self.kind().to_owned(),
            dim: self.dim(),
        };
        let parts: Vec<(&str, Vec<usize>, Dtype, Vec<u8>)> = match self {
            Self::Identity { .. } => Vec::new(),
            Self::Erase(e) => {
                let (d, k) = (e.left().rows(), e.left().cols());
                vec![
                    ("left", vec![d, k], Dtype::F64, floats(e.left().data())),
                    ("right", vec![k, d], Dtype::F64, floats(e.right().data())),
                    ("offset", vec![k], Dtype::F64, floats(e.offset())),
                ]
            }
            Self::Shift(s) => vec![(
                "vector",
                vec![s.vector().len()],
                Dtype::F64,
                floats(s.vector()),
            )],
            Self::Clamp(c) => {
                let units = c.units().iter().flat_map(|&u| (u as u64).to_le_bytes());
                let n = c.units().len();
                vec![
                    ("units", vec![n], Dtype::U64, units.collect()),
                    ("values", vec![n], Dtype::F64, floats(c.values())),
                    ("strength", vec![1], Dtype::F64, floats(&[c.strength()])),
                ]
            }
        };
        let json = serde_json::to_string(&header).map_err(not_an_edit)?;
        let views = parts
            .iter()
            .map(|(name, shape, dtype, bytes)| {
                TensorView::new(*dtype, shape.clone(), bytes).map(|view| (*name, view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(not_an_edit)?;
        let metadata = HashMap::from([(KEY.to_owned(), json)]);
        serialize(views, Some(metadata)).map_err(not_an_edit)
    }

    /// Reads an edit back.
    ///
    /// The bytes may come from anywhere: every length, shape and number is
    /// checked, and nothing larger than the input is allocated.
    ///
    /// # Errors
    /// [`EditError::NotSafetensors`] for bytes of another format,
    /// [`EditError::NotAnEdit`] for a safetensors file that is not an edit,
    /// and the checks of [`Erase::new`], [`Shift::new`] and [`Clamp::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EditError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let json = metadata
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(KEY))
            .ok_or_else(|| refuse(format!("the header has no `{KEY}` entry")))?;
        let header: Header = serde_json::from_str(json).map_err(not_an_edit)?;
        if header.format != "edit" || header.version != VERSION {
            return Err(refuse(format!(
                "format `{}` version {}, expected `edit` version {VERSION}",
                header.format, header.version
            )));
        }
        let edit = match header.kind.as_str() {
            "identity" => Self::Identity { dim: header.dim },
            "erase" => Self::Erase(Erase::with_offset(
                matrix(&tensors, "left")?,
                matrix(&tensors, "right")?,
                vector(&tensors, "offset")?,
            )?),
            "shift" => Self::Shift(Shift::new(vector(&tensors, "vector")?)?),
            "clamp" => {
                let units = words(&tensors, "units", 1, Dtype::U64)?
                    .1
                    .into_iter()
                    .map(|word| {
                        let unit = u64::from_le_bytes(word);
                        usize::try_from(unit).map_err(|_| refuse(format!("unit {unit}")))
                    })
                    .collect::<Result<_, _>>()?;
                let mut clamp = Clamp::new(header.dim, units, vector(&tensors, "values")?)?;
                match vector(&tensors, "strength")?[..] {
                    [strength] => clamp.set_strength(strength)?,
                    ref other => return Err(refuse(format!("{} strengths", other.len()))),
                }
                Self::Clamp(clamp)
            }
            other => {
                return Err(refuse(format!(
                    "kind `{other}`, expected identity, erase, shift or clamp"
                )));
            }
        };
        if edit.dim() != header.dim {
            return Err(EditError::Shape {
                what: "dimension in the header against the tensors",
                expected: header.dim,
                found: edit.dim(),
            });
        }
        Ok(edit)
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
    let view = tensors.tensor(name).map_err(not_an_edit)?;
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

fn matrix(tensors: &SafeTensors<'_>, name: &str) -> Result<Matrix, EditError> {
    let (shape, data) = words(tensors, name, 2, Dtype::F64)?;
    let data = data.into_iter().map(f64::from_le_bytes).collect();
    Matrix::new(shape[0], shape[1], data).map_err(not_an_edit)
}

fn refuse(reason: String) -> EditError {
    EditError::NotAnEdit { reason }
}

fn not_an_edit(reason: impl std::fmt::Display) -> EditError {
    refuse(reason.to_string())
}

fn not_safetensors(reason: impl std::fmt::Display) -> EditError {
    EditError::NotSafetensors {
        reason: reason.to_string(),
    }
}
