//! Writes a GGUF file whose weights include the edits. Programs such as llama.cpp load it in the same way as the
//! original.
//!
//! The settings, the tokenizer and all other tensors are copied byte for byte. A quantised tensor that an edit
//! changes becomes f32, because its blocks cannot hold the edit exactly; tensors of floats keep their type.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use interlingua_edits::Intervention;
use interlingua_files::Partial;

use super::ExportError;
use super::folder::{Written, copy, encode};
use super::gguf::{in_gguf, text};
use super::lora::{Difference, differences};
use crate::Model;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::blocks::{F32, Format};
use crate::checkpoint::gguf::container::{Container, Tensor};

/// GGUF's name of the head.
const HEAD: &str = "output.weight";

/// Bytes of a tensor that are changed at once.
const PIECE: usize = 8 << 20;

/// A tensor of the new file.
struct Entry<'a> {
    name: &'a str,
    /// The tensor of the source that its values begin as.
    source: &'a Tensor,
    format: &'static Format,
    change: Option<&'a Change>,
}

/// What is added to a tensor.
struct Change {
    difference: Difference,
    /// The architecture's row, by the file's.
    rows: Vec<usize>,
}

/// Writes a GGUF file whose weights include the edits. The file appears when it is complete, and never replaces
/// another.
///
/// If the LM head is the embedding and an edit at the final norm is folded into it, the head becomes a tensor of its
/// own.
///
/// # Errors
/// An original that is not a GGUF file or is a split one, edits that no weight takes up or that add a constant, a
/// path `out` that exists, or a full disk.
pub fn write(
    model: &Model,
    intervention: &Intervention,
    out: &Path,
) -> Result<Written, ExportError> {
    let format = |problem: &str| ExportError::Format {
        problem: problem.into(),
    };
    let Checkpoint::Gguf(source) = Checkpoint::open(&model.folder)? else {
        return Err(format(
            "the weights are a checkpoint folder; --as hf gives such a folder back, which llama.cpp's converter makes a GGUF file of",
        ));
    };
    let Some((path, container)) = source.whole()? else {
        return Err(format(
            "the weights are split over several GGUF files; merge them (llama.cpp's gguf-split --merge), or export an adapter (--as gguf-lora)",
        ));
    };
    if out.symlink_metadata().is_ok() {
        return Err(ExportError::Exists {
            path: out.to_owned(),
        });
    }
    let changes = changes(model, intervention)?;
    let entries = entries(model, &container, &changes)?;
    let own = entries.get(container.tensors.len());
    let written = Written {
        tensors: changes.keys().cloned().collect(),
        untied: own.is_some(),
        head_bytes: own.map_or(0, Entry::bytes),
    };
    let from = File::open(&path).map_err(ExportError::io(&path))?;
    let file = Partial::file(out).map_err(ExportError::io(out))?;
    let mut to = BufWriter::with_capacity(1 << 20, file.handle());
    body(&mut to, &from, &container, &entries).map_err(ExportError::io(out))?;
    drop(to);
    file.finish().map_err(ExportError::io(out))?;
    Ok(written)
}

/// The changes by the names in the file.
fn changes(
    model: &Model,
    intervention: &Intervention,
) -> Result<BTreeMap<String, Change>, ExportError> {
    let tied = model.architecture().embedding_table();
    let mut changes = BTreeMap::new();
    for difference in differences(model, intervention, "a GGUF file")? {
        let weight = difference.fold.weight();
        let (name, order) = in_gguf(model, &weight)?;
        let name = match weight == tied {
            true => HEAD.to_owned(),
            false => name,
        };
        let mut rows = vec![0; difference.b.cols()];
        for row in 0..rows.len() {
            rows[order(row)] = row;
        }
        changes.insert(name, Change { difference, rows });
    }
    Ok(changes)
}

/// The tensors in the order of the source, and a head of its own behind them.
fn entries<'a>(
    model: &Model,
    container: &'a Container,
    changes: &'a BTreeMap<String, Change>,
) -> Result<Vec<Entry<'a>>, ExportError> {
    let entry = |name: &'a str, source: &'a Tensor| {
        let change = changes.get(name);
        let format = match change {
            Some(_) if source.format.is_quantised() => &F32,
            _ => source.format,
        };
        Entry {
            name,
            source,
            format,
            change,
        }
    };
    let of_source = container.tensors.iter();
    let mut entries: Vec<Entry<'a>> = of_source.map(|t| entry(&t.name, t)).collect();
    if changes.contains_key(HEAD) && entries.iter().all(|e| e.name != HEAD) {
        let (embedding, _) = in_gguf(model, &model.architecture().embedding_table())?;
        let embedding = container.tensors.iter().find(|t| t.name == embedding);
        let embedding = embedding.ok_or_else(|| ExportError::Format {
            problem: "the file has no embedding".into(),
        })?;
        entries.push(entry(HEAD, embedding));
    }
    // A change that nothing takes up would be lost without a word.
    for name in changes.keys() {
        if entries.iter().all(|e| e.name != name) {
            return Err(ExportError::Format {
                problem: format!("the file has no tensor `{name}`, which the edit changes"),
            });
        }
    }
    Ok(entries)
}

fn body(
    to: &mut impl Write,
    from: &File,
    container: &Container,
    entries: &[Entry<'_>],
) -> std::io::Result<()> {
    let alignment = container.alignment;
    to.write_all(b"GGUF")?;
    to.write_all(&container.version.to_le_bytes())?;
    to.write_all(&(entries.len() as u64).to_le_bytes())?;
    // The number of settings, and all of them.
    let settings = 16..container.list;
    copy(from, settings.start, settings.end - settings.start, to)?;
    let mut list = Vec::new();
    let mut at = 0u64;
    for entry in entries {
        text(&mut list, entry.name);
        list.extend((entry.source.shape.len() as u32).to_le_bytes());
        for &axis in entry.source.shape.iter().rev() {
            list.extend((axis as u64).to_le_bytes());
        }
        list.extend(entry.format.number.to_le_bytes());
        list.extend(at.to_le_bytes());
        at += entry.bytes().next_multiple_of(alignment);
    }
    to.write_all(&list)?;
    pad(to, container.list + list.len() as u64, alignment)?;
    for entry in entries {
        match entry.change {
            None => copy(from, entry.source.begin, entry.bytes(), to)?,
            Some(change) => change.write(to, from, entry)?,
        }
        pad(to, entry.bytes(), alignment)?;
    }
    to.flush()
}

impl Entry<'_> {
    /// Bytes of its values in the new file.
    fn bytes(&self) -> u64 {
        let values: usize = self.source.shape.iter().product();
        (values / self.format.values * self.format.bytes) as u64
    }
}

impl Change {
    /// Writes the values of the source and the difference, row after row in the order of the file.
    fn write(&self, to: &mut impl Write, from: &File, entry: &Entry<'_>) -> std::io::Result<()> {
        let source = entry.source;
        let Difference { a, b, .. } = &self.difference;
        let row_bytes = a.cols() / source.format.values * source.format.bytes;
        let mut bytes = vec![0; row_bytes * (PIECE / row_bytes).clamp(1, self.rows.len().max(1))];
        let mut begin = source.begin;
        for rows in self.rows.chunks(bytes.len() / row_bytes) {
            let bytes = &mut bytes[..rows.len() * row_bytes];
            from.read_exact_at(bytes, begin)?;
            begin += bytes.len() as u64;
            let old = source.format.decode(bytes);
            let mut values: Vec<f64> = old.into_iter().map(f64::from).collect();
            for (&row, values) in rows.iter().zip(values.chunks_exact_mut(a.cols())) {
                for k in 0..a.rows() {
                    let weight = b.row(k)[row];
                    for (value, a) in values.iter_mut().zip(a.row(k)) {
                        *value += weight * a;
                    }
                }
            }
            let encoded = encode(&values, entry.format.name).map_err(std::io::Error::other)?;
            to.write_all(&encoded)?;
        }
        Ok(())
    }
}

/// Zeros up to the next place where a tensor may begin.
fn pad(to: &mut impl Write, at: u64, alignment: u64) -> std::io::Result<()> {
    to.write_all(&vec![0; (at.next_multiple_of(alignment) - at) as usize])
}
