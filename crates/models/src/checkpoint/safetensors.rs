//! Opens the safetensors of a Hugging Face folder: one file, or shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::blocks;
use super::layout::Layout;
use super::part::{Kind, Part, Stored, twice};
use crate::{ModelError, header, index, input};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`.
///
/// The index may name `model.safetensors` itself as its only shard.
///
/// # Errors
/// Malformed headers, lengths that do not fit the file, shards outside the folder, an index that contradicts the
/// shards, or both kinds of checkpoint in one folder.
pub(crate) fn open(folder: &Path) -> Result<Vec<Part>, ModelError> {
    let single = folder.join(SINGLE);
    let index = folder.join(INDEX);
    let alone = input::is_there(&single)?;
    if input::is_there(&index)? {
        shards(folder, &index, alone)
    } else if alone {
        Ok(vec![part(single)?])
    } else {
        Err(missing(folder)?)
    }
}

/// All shards of an index. `alone`: whether `model.safetensors` is there too.
fn shards(folder: &Path, index: &Path, alone: bool) -> Result<Vec<Part>, ModelError> {
    let map = index::read(index)?;
    let bad = |problem: String| ModelError::BadWeights {
        path: index.to_owned(),
        problem: input::brief(problem),
    };
    let shards: BTreeSet<&String> = map.values().collect();
    if alone && shards.iter().any(|shard| *shard != SINGLE) {
        return Err(bad(format!(
            "the folder has this index of shards and {SINGLE}; they are two checkpoints; delete the one that is not wanted"
        )));
    }
    let mut parts = Vec::new();
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for shard in shards {
        let path = folder.join(shard);
        if !input::is_there(&path)? {
            return Err(bad(format!(
                "names shard `{shard}`, which is not in the folder"
            )));
        }
        let part = part(path)?;
        for tensor in &part.tensors {
            if found
                .insert(tensor.name.clone(), part.path.clone())
                .is_some()
            {
                return Err(twice(&part.path, &tensor.name));
            }
        }
        parts.push(part);
    }
    for (name, shard) in &map {
        match found.get(name) {
            None => {
                return Err(bad(format!(
                    "says that tensor `{name}` is in shard `{shard}`, which does not hold it; index and shards are from different checkpoints"
                )));
            }
            Some(path) if path.file_name() != Some(shard.as_ref()) => {
                return Err(bad(format!(
                    "says that tensor `{name}` is in shard `{shard}`, it is in {}; index and shards are from different checkpoints",
                    path.display()
                )));
            }
            Some(_) => {}
        }
    }
    match found.iter().find(|(name, _)| !map.contains_key(*name)) {
        None => Ok(parts),
        Some((name, path)) => Err(bad(format!(
            "does not list tensor `{name}` of {}; index and shards are from different checkpoints",
            path.display()
        ))),
    }
}

fn part(path: PathBuf) -> Result<Part, ModelError> {
    let (file, entries) = header::open(&path)?;
    let tensors = entries.into_iter().map(|entry| Stored {
        name: entry.name,
        kind: match blocks::by_dtype(entry.dtype) {
            Some(format) => Kind::Read(format),
            None => Kind::Unread(entry.dtype),
        },
        shape: entry.shape,
        begin: entry.begin,
        end: entry.end,
        layout: Layout::Same,
    });
    Ok(Part {
        tensors: tensors.collect(),
        path,
        file,
    })
}

/// What is wrong with a folder without weights that can be read.
fn missing(folder: &Path) -> Result<ModelError, ModelError> {
    for file in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        if input::is_there(&folder.join(file))? {
            return Ok(ModelError::BadWeights {
                path: folder.join(file),
                problem: format!(
                    "only pickled weights are here, no {SINGLE}; convert them once in Python: \
                     `AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER)` (or AutoModelForMaskedLM)"
                ),
            });
        }
    }
    Ok(ModelError::MissingFile {
        folder: folder.to_owned(),
        file: SINGLE.into(),
    })
}
