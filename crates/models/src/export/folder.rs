//! Writes a checkpoint folder whose weights include the edits. Programs such as transformers load it in the same way
//! as the original.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use interlingua_edits::Intervention;
use interlingua_files::Partial;
use serde_json::{Value, json};

use super::fold::{Fold, Folded, bias};
use super::{ExportError, folds, norm};
use crate::Model;
use crate::checkpoint::Checkpoint;
use crate::weights::{LM_HEAD, Weights};

/// Bytes that are copied at once.
const COPIED: u64 = 8 << 20;

/// A larger file beside the weights is none of a checkpoint's.
const MAX_BESIDE: u64 = 256 << 20;

/// A bias whose change is below this share of the edit's states is rounding.
const ROUNDING: f64 = 1e-12;

/// A summary of what was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// The names of the tensors that changed.
    pub tensors: Vec<String>,
    /// Whether the LM head was tied to the embedding and became a matrix of its own.
    pub untied: bool,
    /// The size of that matrix in bytes.
    pub head_bytes: u64,
}

/// Writes a checkpoint folder whose weights include the edits. The folder appears when it is complete.
///
/// The shards, names and types of the tensors are those of the original. If the LM head is the embedding and an edit
/// at the final norm is folded into it, the head becomes a tensor of its own, and `config.json` says so.
///
/// # Errors
/// An original that is not a folder of safetensors, edits that no weight takes up exactly, a path `out` that exists,
/// or a full disk.
pub fn write(
    model: &Model,
    intervention: &Intervention,
    out: &Path,
) -> Result<Written, ExportError> {
    let Checkpoint::Folder(source) = Checkpoint::open(&model.folder)? else {
        return Err(ExportError::Format {
            problem: "the weights are in a GGUF file, whose blocks of few bits cannot hold an edit exactly; give the folder of \
                      the original checkpoint, or export the file with the changed tensors in f32 (--as gguf) or an adapter for it (--as gguf-lora)"
                .into(),
        });
    };
    if out.symlink_metadata().is_ok() {
        return Err(ExportError::Exists {
            path: out.to_owned(),
        });
    }
    let folds = folds(model, intervention)?;
    let weights = model.weights();
    let embedding = model.architecture().embedding_table();
    let mut changes = Changes {
        weights,
        changed: BTreeMap::new(),
        biases: BTreeMap::new(),
        head: None,
    };
    for fold in &folds {
        changes.add(fold, &embedding)?;
    }
    let folder = Partial::folder(out).map_err(ExportError::io(out))?;
    let mut written = Written {
        untied: changes.head.is_some(),
        ..Written::default()
    };
    let files: Vec<PathBuf> = weights.files().map(Path::to_owned).collect();
    for (at, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or_default();
        let last = at + 1 == files.len();
        shard(
            &changes,
            file,
            &folder.path().join(name),
            last,
            &mut written,
        )?;
    }
    beside(&source, folder.path(), &files, &written)?;
    folder.finish().map_err(ExportError::io(out))?;
    Ok(written)
}

/// What changes, by the names in the files.
struct Changes<'a> {
    weights: &'a Weights,
    changed: BTreeMap<String, Folded<'a>>,
    biases: BTreeMap<String, Vec<f64>>,
    /// A head that was the embedding.
    head: Option<Folded<'a>>,
}

impl<'a> Changes<'a> {
    fn add(&mut self, fold: &Fold, embedding: &str) -> Result<(), ExportError> {
        let constant = bias(fold, self.weights)?;
        if fold.bias {
            let name = self
                .weights
                .name_in_file(&format!("{}.bias", fold.module))?;
            self.biases.insert(name.to_owned(), constant);
        } else {
            lost(fold, &constant, "the checkpoint")?;
        }
        let ready = fold.ready(self.weights)?;
        if fold.weight() == embedding {
            // The embedding itself stays what tokens are looked up in.
            self.head = Some(ready);
        } else {
            let name = self.weights.name_in_file(&fold.weight())?;
            self.changed.insert(name.to_owned(), ready);
        }
        Ok(())
    }
}

/// Refuses a constant that no bias can hold.
pub(super) fn lost(fold: &Fold, constant: &[f64], format: &'static str) -> Result<(), ExportError> {
    let size = norm(constant);
    let hook = fold.input.as_ref().map(|(hook, _)| *hook);
    let hook = hook.or_else(|| fold.output.first().map(|(hook, ..)| *hook));
    match hook {
        Some(hook) if size > ROUNDING => Err(ExportError::Constant {
            hook,
            size,
            place: format!("to the output of `{}`", fold.module),
            format,
            instead: "or the edit file itself with --edit",
        }),
        _ => Ok(()),
    }
}

/// One entry of a new file.
struct Entry {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: u64,
}

/// Writes one file of tensors: those of the source, in its order, and what is new in the last one.
fn shard(
    changes: &Changes<'_>,
    source: &Path,
    target: &Path,
    last: bool,
    written: &mut Written,
) -> Result<(), ExportError> {
    let (from, entries) = crate::header::open(source)?;
    let mut all: Vec<(Entry, Option<u64>)> = entries
        .into_iter()
        .map(|e| {
            let entry = Entry {
                dtype: format!("{:?}", e.dtype),
                bytes: e.end - e.begin,
                shape: e.shape,
                name: e.name,
            };
            (entry, Some(e.begin))
        })
        .collect();
    if let Some(head) = changes.head.as_ref().filter(|_| last) {
        let dtype = changes.weights.dtype_of(head.name())?;
        // A copy of the tied matrix, where the file has one, gives way.
        all.retain(|(entry, _)| entry.name != LM_HEAD);
        let shape = vec![head.rows, head.columns];
        let bytes = (head.rows * head.columns) as u64 * width(&dtype)?;
        written.head_bytes = bytes;
        all.push((
            Entry {
                name: LM_HEAD.into(),
                dtype,
                shape,
                bytes,
            },
            None,
        ));
    }
    let file = Partial::file(target).map_err(ExportError::io(target))?;
    let mut to = BufWriter::with_capacity(1 << 20, file.handle());
    header(&mut to, &all).map_err(ExportError::io(target))?;
    for (entry, place) in &all {
        let folded = match place {
            Some(_) => changes.changed.get(&entry.name),
            None => changes.head.as_ref(),
        };
        match (folded, changes.biases.get(&entry.name), place) {
            (Some(folded), ..) => {
                for range in folded.blocks() {
                    let bytes = encode(&folded.edited(range)?, &entry.dtype)?;
                    to.write_all(&bytes).map_err(ExportError::io(target))?;
                }
                written.tensors.push(entry.name.clone());
            }
            (None, Some(bias), _) => {
                to.write_all(&encode(bias, &entry.dtype)?)
                    .map_err(ExportError::io(target))?;
                written.tensors.push(entry.name.clone());
            }
            (None, None, Some(begin)) => {
                copy(&from, *begin, entry.bytes, &mut to).map_err(ExportError::io(target))?;
            }
            (None, None, None) => unreachable!("what is new is folded"),
        }
    }
    to.flush().map_err(ExportError::io(target))?;
    drop(to);
    file.finish().map_err(ExportError::io(target))
}

fn header(to: &mut impl Write, all: &[(Entry, Option<u64>)]) -> std::io::Result<()> {
    let mut json = serde_json::Map::new();
    json.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut at = 0;
    for (entry, _) in all {
        let place = [at, at + entry.bytes];
        json.insert(
            entry.name.clone(),
            json!({"dtype": entry.dtype, "shape": entry.shape, "data_offsets": place}),
        );
        at += entry.bytes;
    }
    let json = Value::Object(json).to_string();
    let json = format!("{json:<width$}", width = json.len().next_multiple_of(8));
    to.write_all(&(json.len() as u64).to_le_bytes())?;
    to.write_all(json.as_bytes())
}

pub(super) fn copy(
    from: &File,
    begin: u64,
    bytes: u64,
    to: &mut impl Write,
) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; COPIED.min(bytes) as usize];
    let mut done = 0;
    while done < bytes {
        let part = (bytes - done).min(COPIED) as usize;
        from.read_exact_at(&mut buffer[..part], begin + done)?;
        to.write_all(&buffer[..part])?;
        done += part as u64;
    }
    Ok(())
}

fn width(dtype: &str) -> Result<u64, ExportError> {
    match dtype {
        "F32" => Ok(4),
        "BF16" | "F16" => Ok(2),
        other => Err(ExportError::Format {
            problem: format!("a matrix of {other} cannot take up an edit; f32, bf16 and f16 can"),
        }),
    }
}

/// Encodes values in a storage type.
pub(super) fn encode(values: &[f64], dtype: &str) -> Result<Vec<u8>, ExportError> {
    Ok(match dtype {
        "F32" => values
            .iter()
            .flat_map(|&v| (v as f32).to_le_bytes())
            .collect(),
        "BF16" => values
            .iter()
            .flat_map(|&v| bf16::from_f64(v).to_le_bytes())
            .collect(),
        _ => {
            width(dtype)?;
            values
                .iter()
                .flat_map(|&v| f16::from_f64(v).to_le_bytes())
                .collect()
        }
    })
}

/// Everything beside the weights, and an index and a configuration that say what is new.
fn beside(
    source: &Path,
    target: &Path,
    weights: &[PathBuf],
    written: &Written,
) -> Result<(), ExportError> {
    const WEIGHTS: &[&str] = &[
        "safetensors",
        "bin",
        "gguf",
        "pt",
        "pth",
        "h5",
        "msgpack",
        "onnx",
        "ot",
        "partial",
    ];
    for entry in std::fs::read_dir(source).map_err(ExportError::io(source))? {
        let path = entry.map_err(ExportError::io(source))?.path();
        let is_weights = path
            .extension()
            .is_some_and(|e| WEIGHTS.iter().any(|w| e.eq_ignore_ascii_case(w)));
        let found = std::fs::metadata(&path).map_err(ExportError::io(&path))?;
        if is_weights || weights.contains(&path) || !found.is_file() || found.len() > MAX_BESIDE {
            continue;
        }
        let Some(name) = path.file_name() else {
            continue;
        };
        let to = target.join(name);
        let text = name.to_string_lossy();
        let bytes = std::fs::read(&path).map_err(ExportError::io(&path))?;
        let bytes = match written.untied {
            true if text == "config.json" => untied(&path, &bytes)?,
            true if text == "model.safetensors.index.json" => {
                with_head(&path, &bytes, weights, written.head_bytes)?
            }
            _ => bytes,
        };
        std::fs::write(&to, bytes).map_err(ExportError::io(&to))?;
    }
    Ok(())
}

/// A configuration whose head is not the embedding.
fn untied(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, ExportError> {
    let mut json = crate::config::parse_json(path, bytes)?;
    json["tie_word_embeddings"] = json!(false);
    if let Some(text) = json.get_mut("text_config").and_then(Value::as_object_mut) {
        text.insert("tie_word_embeddings".into(), json!(false));
    }
    Ok(format!("{json:#}\n").into_bytes())
}

/// An index that knows the new head, in the last shard.
fn with_head(
    path: &Path,
    bytes: &[u8],
    weights: &[PathBuf],
    head: u64,
) -> Result<Vec<u8>, ExportError> {
    let mut json = crate::config::parse_json(path, bytes)?;
    let shard = weights.last().and_then(|path| path.file_name());
    json["weight_map"][LM_HEAD] = json!(shard.unwrap_or_default().to_string_lossy());
    // What transformers calls the size is the sum of all tensors.
    if let Some(size) = json["metadata"].get("total_size").and_then(Value::as_u64) {
        json["metadata"]["total_size"] = json!(size + head);
    }
    Ok(format!("{json:#}\n").into_bytes())
}
