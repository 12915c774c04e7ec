//! Writes GGUF files of adapters, which llama.cpp loads together with a model.

use std::io::{BufWriter, Write};
use std::path::Path;

use interlingua_edits::{Hook, Intervention, Part};
use interlingua_files::Partial;

use super::{ExportError, merged, norm};
use crate::Model;
use crate::checkpoint::gguf::{RowOrder, family_of, name_of};

/// Tensors begin at multiples of this.
const ALIGNMENT: u64 = 32;

/// The value of a setting of a file.
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A whole number.
    U32(u32),
    /// A number.
    F32(f32),
}

/// A tensor of f32 values.
pub struct Tensor {
    /// The name of the tensor.
    pub name: String,
    /// The length of a row, followed by the number of rows.
    pub axes: Vec<u64>,
    /// The values, row after row.
    pub values: Vec<f32>,
}

/// Writes a GGUF file of version 3. The file appears when it is complete, and never replaces another.
///
/// # Errors
/// A path `out` that exists, or a full disk.
///
/// # Source
/// The format of ggml, docs/gguf.md.
pub fn write(
    out: &Path,
    settings: &[(&str, Value<'_>)],
    tensors: &[Tensor],
) -> Result<(), ExportError> {
    if out.symlink_metadata().is_ok() {
        return Err(ExportError::Exists {
            path: out.to_owned(),
        });
    }
    if let Some(folder) = out.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(ExportError::io(folder))?;
    }
    let file = Partial::file(out).map_err(ExportError::io(out))?;
    let mut to = BufWriter::new(file.handle());
    body(&mut to, settings, tensors).map_err(ExportError::io(out))?;
    drop(to);
    file.finish().map_err(ExportError::io(out))
}

fn body(
    to: &mut impl Write,
    settings: &[(&str, Value<'_>)],
    tensors: &[Tensor],
) -> std::io::Result<()> {
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((settings.len() as u64).to_le_bytes());
    for (key, value) in settings {
        text(&mut head, key);
        match value {
            Value::U32(x) => {
                head.extend(4u32.to_le_bytes());
                head.extend(x.to_le_bytes());
            }
            Value::F32(x) => {
                head.extend(6u32.to_le_bytes());
                head.extend(x.to_le_bytes());
            }
            Value::Text(x) => {
                head.extend(8u32.to_le_bytes());
                text(&mut head, x);
            }
        }
    }
    let mut at = 0;
    for tensor in tensors {
        text(&mut head, &tensor.name);
        head.extend((tensor.axes.len() as u32).to_le_bytes());
        for axis in &tensor.axes {
            head.extend(axis.to_le_bytes());
        }
        // Of f32.
        head.extend(0u32.to_le_bytes());
        head.extend(u64::to_le_bytes(at));
        at += (4 * tensor.values.len() as u64).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    to.write_all(&head)?;
    for tensor in tensors {
        let mut bytes: Vec<u8> = tensor.values.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        to.write_all(&bytes)?;
    }
    to.flush()
}

pub(super) fn text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

/// Writes shifts of the blocks' outputs as a control vector, and returns the number of its directions.
///
/// # Errors
/// An edit that is not a shift of a block's output, a shift of the first block's output (which such a file cannot
/// hold), an architecture that has no GGUF name here, and the errors of [`write()`].
pub fn control_vector(
    model: &Model,
    intervention: &Intervention,
    out: &Path,
) -> Result<usize, ExportError> {
    let architecture = gguf_name(model)?;
    let mut tensors = Vec::new();
    for (at, hook, edit) in merged(model, intervention)? {
        let layer = hook.block().filter(|_| hook.part == Part::Output);
        let refused = |what: String| {
            Err(ExportError::Format {
                problem: format!(
                    "step {} at `{hook}`: {what}; a control vector holds only constants that are added to the output of a block from                      the second on (block.1.output). Of size {:.4}, it would be lost. What would work: a shift there, an adapter                      (--as gguf-lora) of an edit that a weight takes up, or the edit file with --edit",
                    at + 1,
                    super::size(&edit)
                ),
            })
        };
        let Some(constant) = edit.constant() else {
            return refused(format!(
                "is an edit that looks at the state ({} of rank {})",
                edit.kind().name(),
                edit.rank()
            ));
        };
        match layer {
            None => return refused("is not at the output of a block".into()),
            Some(0) => {
                return refused(
                    "is at the output of the first block, which llama.cpp does not steer".into(),
                );
            }
            Some(layer) => {
                debug_assert_eq!(hook, Hook::output(layer));
                if norm(&constant) > 0.0 {
                    tensors.push(Tensor {
                        name: format!("direction.{layer}"),
                        axes: vec![constant.len() as u64],
                        values: constant.iter().map(|&x| x as f32).collect(),
                    });
                }
            }
        }
    }
    let settings = [
        ("general.architecture", Value::Text("controlvector")),
        ("controlvector.model_hint", Value::Text(architecture)),
        (
            "controlvector.layer_count",
            Value::U32(tensors.len() as u32),
        ),
    ];
    write(out, &settings, &tensors)?;
    Ok(tensors.len())
}

/// Returns GGUF's name of the architecture.
pub(super) fn gguf_name(model: &Model) -> Result<&'static str, ExportError> {
    let architecture = &model.geometry.architecture;
    family_of(architecture).map(|f| f.0).ok_or_else(|| ExportError::Format {
        problem: format!("{architecture} has no name in GGUF that is known here; a checkpoint folder (--as hf) or an adapter of PEFT (--as peft) would work"),
    })
}

/// Returns GGUF's name of a weight, and the order of its rows there.
pub(super) fn in_gguf(model: &Model, weight: &str) -> Result<(String, RowOrder), ExportError> {
    let g = &model.geometry;
    name_of(&g.architecture, weight, g.heads, g.head_dim).ok_or_else(|| ExportError::Format {
        problem: format!("GGUF has no name for `{weight}` that is known here"),
    })
}
