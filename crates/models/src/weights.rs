//! Safetensors checkpoints, one file or shards with an index, read tensor by tensor.
//!
//! Files are read with positioned reads, not mapped: a file that is truncated
//! while it is open gives an error instead of killing the process, and no
//! memory is held but the tensor asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::ModelError;

/// Headers of real checkpoints stay below a few megabytes.
const MAX_HEADER: u64 = 64 << 20;

/// The tensors of a checkpoint, located but not read.
#[derive(Debug)]
pub struct Weights {
    folder: PathBuf,
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, Located>,
    bytes_read: AtomicU64,
}

#[derive(Debug, Clone)]
struct Located {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    begin: u64,
    end: u64,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`.
    ///
    /// # Errors
    /// Malformed headers, lengths that do not fit the file, shards that lie
    /// outside the folder, a tensor in two shards.
    pub fn open(folder: &Path) -> Result<Weights, ModelError> {
        let mut weights = Weights {
            folder: folder.to_owned(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            bytes_read: AtomicU64::new(0),
        };
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        if single.is_file() {
            weights.add_file(single)?;
        } else if index.is_file() {
            for shard in shard_names(&index)? {
                let path = folder.join(&shard);
                if !path.is_file() {
                    return Err(ModelError::BadWeights {
                        path: index,
                        problem: format!("names shard `{shard}`, which is not in the folder"),
                    });
                }
                weights.add_file(path)?;
            }
        } else {
            return Err(ModelError::MissingFile {
                folder: folder.to_owned(),
                file: "model.safetensors".into(),
            });
        }
        Ok(weights)
    }

    fn add_file(&mut self, path: PathBuf) -> Result<(), ModelError> {
        let mut file = File::open(&path).map_err(ModelError::io(&path))?;
        let length = file.metadata().map_err(ModelError::io(&path))?.len();
        let bad = |problem: String| ModelError::BadWeights {
            path: path.clone(),
            problem,
        };
        if length < 8 {
            return Err(bad(format!(
                "{length} bytes are too few for a safetensors file; it is truncated; fetch it again"
            )));
        }
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix)
            .map_err(ModelError::io(&path))?;
        let header = u64::from_le_bytes(prefix);
        if header > MAX_HEADER || header > length - 8 {
            return Err(bad(format!(
                "header claims {header} bytes, the file has {} after its length field; it is truncated or not safetensors; fetch it again",
                length - 8
            )));
        }
        let mut buffer = vec![0; header as usize];
        file.read_exact_at(&mut buffer, 8)
            .map_err(ModelError::io(&path))?;
        // Reading the metadata checks that offsets follow each other and fit the shapes.
        let metadata: Metadata = serde_json::from_slice(&buffer).map_err(|e| {
            bad(format!(
                "safetensors header: {e}; the file is damaged, fetch it again"
            ))
        })?;
        let data = 8 + header;
        if metadata.data_len() as u64 != length - data {
            return Err(bad(format!(
                "tensors need {} bytes, the file has {}; it is truncated or damaged; fetch it again",
                metadata.data_len(),
                length - data
            )));
        }
        let at = self.files.len();
        for (name, info) in metadata.tensors() {
            let located = Located {
                file: at,
                dtype: info.dtype,
                shape: info.shape.clone(),
                begin: data + info.data_offsets.0 as u64,
                end: data + info.data_offsets.1 as u64,
            };
            if self.tensors.insert(name.clone(), located).is_some() {
                return Err(bad(format!("tensor `{name}` stands in another shard too")));
            }
        }
        self.files.push((path, file));
        Ok(())
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The dtypes that occur, for reports.
    pub fn dtypes(&self) -> Vec<String> {
        self.tensors
            .values()
            .map(|t| format!("{:?}", t.dtype))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Elements of all tensors together.
    pub fn parameters(&self) -> u64 {
        self.tensors
            .values()
            .map(|t| t.shape.iter().map(|&d| d as u64).product::<u64>())
            .sum()
    }

    /// Bytes of tensor data read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The checkpoint's files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// Checks that exactly these tensors are there, with these shapes.
    ///
    /// # Errors
    /// The first missing, unknown or misshapen tensor.
    pub fn expect(&self, expected: &BTreeMap<String, Vec<usize>>) -> Result<(), ModelError> {
        for (name, shape) in expected {
            let found = self
                .tensors
                .get(name)
                .ok_or_else(|| ModelError::MissingTensor {
                    path: self.folder.clone(),
                    name: name.clone(),
                })?;
            if &found.shape != shape {
                return Err(ModelError::Shape {
                    path: self.files[found.file].0.clone(),
                    name: name.clone(),
                    found: found.shape.clone(),
                    expected: shape.clone(),
                });
            }
        }
        for name in self.tensors.keys() {
            // Old exports carry this buffer; it is derived from the config.
            if !expected.contains_key(name) && !name.ends_with("rotary_emb.inv_freq") {
                return Err(ModelError::UnknownTensor {
                    path: self.folder.clone(),
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Reads one tensor as f32, from f32, f16 or bf16.
    ///
    /// # Errors
    /// Missing tensor, another dtype, a read error, a value that is not finite.
    pub fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let located = self
            .tensors
            .get(name)
            .ok_or_else(|| ModelError::MissingTensor {
                path: self.folder.clone(),
                name: name.to_owned(),
            })?;
        let (path, file) = &self.files[located.file];
        let mut bytes = vec![0; (located.end - located.begin) as usize];
        file.read_exact_at(&mut bytes, located.begin)
            .map_err(ModelError::io(path))?;
        self.bytes_read
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let values = to_f32(&bytes, located.dtype).ok_or_else(|| ModelError::BadWeights {
            path: path.clone(),
            problem: format!(
                "tensor `{name}` is {:?}; f32, f16 and bf16 can be read",
                located.dtype
            ),
        })?;
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(ModelError::NotFinite {
                path: path.clone(),
                name: name.to_owned(),
                value: values[index],
                index,
            });
        }
        Ok(values)
    }
}

fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        Dtype::BF16 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| half::bf16::from_le_bytes(*b).to_f32())
            .collect(),
        Dtype::F16 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| half::f16::from_le_bytes(*b).to_f32())
            .collect(),
        _ => return None,
    })
}

fn shard_names(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    let bytes = std::fs::read(index).map_err(ModelError::io(index))?;
    let bad = |problem: String| ModelError::BadWeights {
        path: index.to_owned(),
        problem,
    };
    let json: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| bad(format!("not JSON: {e}")))?;
    let map = json
        .get("weight_map")
        .and_then(|m| m.as_object())
        .ok_or_else(|| bad("has no `weight_map` object".into()))?;
    let mut names = BTreeSet::new();
    for (tensor, shard) in map {
        let shard = shard
            .as_str()
            .ok_or_else(|| bad(format!("shard of `{tensor}` is not a text")))?;
        let plain = Path::new(shard).components().count() == 1
            && Path::new(shard).file_name().is_some_and(|f| f == shard);
        if !plain {
            return Err(bad(format!(
                "shard `{shard}` of `{tensor}` is not a file name inside the folder"
            )));
        }
        names.insert(shard.to_owned());
    }
    Ok(names)
}
