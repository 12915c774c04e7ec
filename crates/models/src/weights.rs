//! Safetensors checkpoints, one file or shards with an index, read tensor by tensor.
//!
//! Files are read with positioned reads, not mapped: a file that is truncated
//! while it is open gives an error instead of killing the process, and no
//! memory is held but the tensor asked for. [`Weights::hold`] keeps what has
//! been read as it is stored, so bf16 stays bf16 at rest.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use half::{bf16, f16};
use interlingua_backend::ops::Matrix;
use interlingua_backend::{Device, Precision, Tensor, from_bf16_rows, from_rows};
use safetensors::Dtype;

use crate::ModelError;
use crate::architectures::Norm;
use crate::architectures::parts::Linear;
use crate::{header, index, input};

const SINGLE: &str = "model.safetensors";

/// The tensors of a checkpoint, located but not read.
#[derive(Debug)]
pub struct Weights {
    folder: PathBuf,
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, Located>,
    /// From the architecture's names to those in the files.
    names: HashMap<String, String>,
    hold: bool,
    bytes_read: AtomicU64,
}

#[derive(Debug)]
struct Located {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    begin: u64,
    end: u64,
    /// The bytes, once they have been read and are to be kept.
    held: OnceLock<Vec<u8>>,
}

/// The vocabulary matrix of a causal model that has one of its own.
pub(crate) const LM_HEAD: &str = "lm_head.weight";

/// The tensors an architecture needs, with their shapes, and those it knows to pass over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensors {
    prefix: &'static str,
    needed: BTreeMap<String, Vec<usize>>,
    ignored: Vec<&'static str>,
    /// A tensor that a file may hold a second time, and its original.
    copies: Vec<(String, String)>,
}

impl Tensors {
    /// None yet. Checkpoints may carry all names with or without `prefix`, as transformers
    /// writes them from the model with and without its LM head.
    pub fn new(prefix: &'static str) -> Tensors {
        Tensors {
            prefix,
            needed: BTreeMap::new(),
            ignored: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// One more tensor.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.needed.insert(name.into(), shape.to_vec());
    }

    /// `NAME.weight` of shape `[out, in]`, and `NAME.bias` if it has one.
    pub fn linear(&mut self, name: &str, out: usize, input: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[out, input]);
        if bias {
            self.add(format!("{name}.bias"), &[out]);
        }
    }

    /// `NAME.weight` of shape `[in, out]`, the other way round than usual, and `NAME.bias` (GPT-2).
    pub fn transposed_linear(&mut self, name: &str, out: usize, input: usize) {
        self.add(format!("{name}.weight"), &[input, out]);
        self.add(format!("{name}.bias"), &[out]);
    }

    /// `NAME.weight` of shape `[d]`, and `NAME.bias` if it has one.
    pub fn norm(&mut self, name: &str, d: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[d]);
        if bias {
            self.add(format!("{name}.bias"), &[d]);
        }
    }

    /// Tensors that some checkpoints carry and nobody needs; `*` at one end stands for anything.
    pub fn ignore(&mut self, pattern: &'static str) {
        self.ignored.push(pattern);
    }

    /// A tied tensor that some checkpoints carry once more under a name of its own.
    pub fn copy(&mut self, copy: impl Into<String>, original: impl Into<String>) {
        self.copies.push((copy.into(), original.into()));
    }

    /// The vocabulary matrix of a causal model, which has the shape of the embedding and may be it.
    pub fn lm_head(&mut self, tied: bool, embedding: &str) {
        if tied {
            // Some checkpoints carry it once more.
            self.copy(LM_HEAD, embedding);
        } else {
            let shape = self.needed[embedding].clone();
            self.add(LM_HEAD, &shape);
        }
    }

    /// The needed tensors by name.
    pub fn needed(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.needed
    }

    fn ignores(&self, name: &str) -> bool {
        let bare = name.strip_prefix(self.prefix).unwrap_or(name);
        self.ignored.iter().any(|pattern| {
            [name, bare].iter().any(|name| {
                if let Some(end) = pattern.strip_prefix('*') {
                    name.ends_with(end)
                } else if let Some(start) = pattern.strip_suffix('*') {
                    name.starts_with(start)
                } else {
                    name == pattern
                }
            })
        })
    }

    /// How a file may call a tensor, the usual name first.
    fn spellings(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        if !self.prefix.is_empty() {
            names.push(match name.strip_prefix(self.prefix) {
                Some(bare) => bare.to_owned(),
                None => format!("{}{name}", self.prefix),
            });
        }
        // Converted from TensorFlow: norms have gamma and beta.
        for at in 0..names.len() {
            for (today, then) in [(".weight", ".gamma"), (".bias", ".beta")] {
                if let Some(stem) = names[at].strip_suffix(today) {
                    let old = format!("{stem}{then}");
                    names.push(old);
                }
            }
        }
        names
    }
}

impl Weights {
    /// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`.
    ///
    /// The index may name `model.safetensors` itself as its one shard.
    ///
    /// # Errors
    /// Malformed headers, lengths that do not fit the file, shards that lie
    /// outside the folder, a tensor in two shards, an index that does not say
    /// what the shards hold, both kinds of checkpoint in one folder.
    pub fn open(folder: &Path) -> Result<Weights, ModelError> {
        let mut weights = Weights {
            folder: folder.to_owned(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            names: HashMap::new(),
            hold: false,
            bytes_read: AtomicU64::new(0),
        };
        let single = folder.join(SINGLE);
        let index = folder.join("model.safetensors.index.json");
        let alone = input::is_there(&single)?;
        if input::is_there(&index)? {
            weights.add_shards(&index, alone)?;
        } else if alone {
            weights.add_file(single)?;
        } else {
            return Err(missing(folder)?);
        }
        Ok(weights)
    }

    /// All shards of an index. `alone`: whether `model.safetensors` is there too.
    fn add_shards(&mut self, index: &Path, alone: bool) -> Result<(), ModelError> {
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
        for shard in shards {
            let path = self.folder.join(shard);
            if !input::is_there(&path)? {
                return Err(bad(format!(
                    "names shard `{shard}`, which is not in the folder"
                )));
            }
            self.add_file(path)?;
        }
        for (name, shard) in &map {
            let Some(found) = self.tensors.get(name) else {
                return Err(bad(format!(
                    "says that tensor `{name}` is in shard `{shard}`, which does not hold it; index and shards are from different checkpoints"
                )));
            };
            let (path, _) = &self.files[found.file];
            if path.file_name() != Some(shard.as_ref()) {
                return Err(bad(format!(
                    "says that tensor `{name}` is in shard `{shard}`, it is in {}; index and shards are from different checkpoints",
                    path.display()
                )));
            }
        }
        match self
            .tensors
            .iter()
            .find(|(name, _)| !map.contains_key(*name))
        {
            None => Ok(()),
            Some((name, found)) => Err(bad(format!(
                "does not list tensor `{name}` of {}; index and shards are from different checkpoints",
                self.files[found.file].0.display()
            ))),
        }
    }

    fn add_file(&mut self, path: PathBuf) -> Result<(), ModelError> {
        let (file, entries) = header::open(&path)?;
        let bad = |problem: String| ModelError::BadWeights {
            path: path.clone(),
            problem,
        };
        let at = self.files.len();
        if self.tensors.len() + entries.len() > header::MAX_TENSORS {
            return Err(bad(format!(
                "the shards have more than {} tensors, which no real checkpoint has",
                header::MAX_TENSORS
            )));
        }
        for entry in entries {
            let located = Located {
                file: at,
                dtype: entry.dtype,
                shape: entry.shape,
                begin: entry.begin,
                end: entry.end,
                held: OnceLock::new(),
            };
            match self.tensors.entry(entry.name) {
                Entry::Vacant(free) => free.insert(located),
                Entry::Occupied(taken) => {
                    return Err(bad(format!(
                        "tensor `{}` stands in another shard too",
                        taken.key()
                    )));
                }
            };
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

    /// Bytes of all tensors together, as they are stored.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|t| t.end - t.begin).sum()
    }

    /// Keeps the bytes of every tensor in memory once it has been read.
    pub fn hold(&mut self) {
        self.hold = true;
    }

    /// Bytes of tensor data read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The checkpoint's files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// Checks that exactly these tensors are there, with these shapes, and learns how the files call them.
    ///
    /// # Errors
    /// The first missing, unknown or misshapen tensor.
    pub fn expect(&mut self, expected: &Tensors) -> Result<(), ModelError> {
        let mut used = BTreeSet::new();
        for (name, shape) in &expected.needed {
            let spelling = expected
                .spellings(name)
                .into_iter()
                .find(|s| self.tensors.contains_key(s))
                .ok_or_else(|| ModelError::MissingTensor {
                    path: self.folder.clone(),
                    name: name.clone(),
                })?;
            let found = &self.tensors[&spelling];
            // First: quantised weights have other shapes, too.
            if !matches!(found.dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16) {
                return Err(self.wrong_dtype(&spelling, found));
            }
            if &found.shape != shape {
                return Err(ModelError::Shape {
                    path: self.files[found.file].0.clone(),
                    name: spelling,
                    found: found.shape.clone(),
                    expected: shape.clone(),
                });
            }
            used.insert(spelling.clone());
            self.names.insert(name.clone(), spelling);
        }
        for (copy, original) in &expected.copies {
            let mut spellings = expected.spellings(copy).into_iter();
            if let Some(copy) = spellings.find(|s| self.tensors.contains_key(s)) {
                self.check_copy(&copy, original)?;
                used.insert(copy);
            }
        }
        for name in self.tensors.keys() {
            if !used.contains(name) && !expected.ignores(name) {
                return Err(ModelError::UnknownTensor {
                    path: self.folder.clone(),
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }

    /// That a tied tensor and its copy in the file are the same, read a part at a time.
    fn check_copy(&self, copy: &str, original: &str) -> Result<(), ModelError> {
        let (found, of) = (self.locate(copy)?.1, self.locate(original)?.1);
        let differs = || ModelError::BadWeights {
            path: self.files[found.file].0.clone(),
            problem: format!(
                "tensor `{copy}` differs from `{original}`, and config.json ties them; \
                 if it is a head of its own, set tie_word_embeddings to false there"
            ),
        };
        if found.shape != of.shape || found.dtype != of.dtype {
            return Err(differs());
        }
        const PART: u64 = 4 << 20;
        let length = found.end - found.begin;
        for begin in (0..length).step_by(PART as usize) {
            let end = (begin + PART).min(length);
            if self.fetch(found, begin, end)? != self.fetch(of, begin, end)? {
                return Err(differs());
            }
        }
        Ok(())
    }

    fn wrong_dtype(&self, name: &str, found: &Located) -> ModelError {
        ModelError::BadWeights {
            path: self.files[found.file].0.clone(),
            problem: format!(
                "tensor `{name}` is {:?}; f32, f16 and bf16 can be read; of a quantised checkpoint, take the original",
                found.dtype
            ),
        }
    }

    fn locate(&self, name: &str) -> Result<(&str, &Located), ModelError> {
        let spelling = self.names.get(name).map_or(name, String::as_str);
        match self.tensors.get_key_value(spelling) {
            Some((name, located)) => Ok((name, located)),
            None => Err(ModelError::MissingTensor {
                path: self.folder.clone(),
                name: name.to_owned(),
            }),
        }
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], ModelError> {
        Ok(&self.locate(name)?.1.shape)
    }

    /// Reads one tensor as f32, from f32, f16 or bf16.
    ///
    /// # Errors
    /// Missing tensor, another dtype, a read error, a value that is not finite.
    pub fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let (_, located) = self.locate(name)?;
        self.read_rows(name, 0..located.shape.first().copied().unwrap_or(1))
    }

    /// Reads rows of a tensor: all that have their first index in `rows`.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn read_rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, ModelError> {
        self.convert(name, rows, to_f32, f32::is_finite)
    }

    /// The bits of rows of a tensor as bfloat16: as they are stored, or rounded from f32 or f16.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn read_rows_bf16(&self, name: &str, rows: Range<usize>) -> Result<Vec<u16>, ModelError> {
        self.convert(name, rows, to_bf16, |v| bf16::from_bits(v).is_finite())
    }

    fn convert<T: Copy>(
        &self,
        name: &str,
        rows: Range<usize>,
        from_bytes: impl Fn(&[u8], Dtype) -> Option<Vec<T>>,
        is_finite: impl Fn(T) -> bool,
    ) -> Result<Vec<T>, ModelError> {
        let (name, located) = self.locate(name)?;
        let count = located.shape.first().copied().unwrap_or(1);
        assert!(
            rows.start <= rows.end && rows.end <= count,
            "rows of {name}"
        );
        let whole = located.end - located.begin;
        let row = whole / count.max(1) as u64;
        let (begin, end) = (row * rows.start as u64, row * rows.end as u64);
        let fresh;
        let bytes: &[u8] = if self.hold {
            if located.held.get().is_none() {
                let bytes = self.fetch(located, 0, whole)?;
                let _ = located.held.set(bytes);
            }
            let held = located.held.get().expect("filled just above");
            &held[begin as usize..end as usize]
        } else {
            fresh = self.fetch(located, begin, end)?;
            &fresh
        };
        let wrong_dtype = || self.wrong_dtype(name, located);
        let values = from_bytes(bytes, located.dtype).ok_or_else(wrong_dtype)?;
        if let Some(index) = values.iter().position(|&v| !is_finite(v)) {
            let before = rows.start * (located.shape.iter().skip(1).product::<usize>());
            return Err(ModelError::NotFinite {
                path: self.files[located.file].0.clone(),
                name: name.to_owned(),
                value: to_f32(bytes, located.dtype).ok_or_else(wrong_dtype)?[index],
                index: before + index,
            });
        }
        Ok(values)
    }

    fn fetch(&self, located: &Located, begin: u64, end: u64) -> Result<Vec<u8>, ModelError> {
        let (path, file) = &self.files[located.file];
        let length = (end - begin) as usize;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(length)
            .map_err(|_| ModelError::BadWeights {
                path: path.clone(),
                problem: format!("a tensor needs {length} bytes, more than there is memory"),
            })?;
        bytes.resize(length, 0);
        file.read_exact_at(&mut bytes, located.begin + begin)
            .map_err(ModelError::io(path))?;
        self.bytes_read.fetch_add(end - begin, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Where an architecture takes its parts from: weights on the way to a device.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The checkpoint.
    pub weights: &'a Weights,
    /// Where tensors are put.
    pub device: &'a Device,
    /// What matrices of products are kept in; all else is f32.
    pub precision: Precision,
}

impl Source<'_> {
    /// The values of a tensor on the host.
    ///
    /// # Errors
    /// As [`Weights::read`], as in all that follow.
    pub fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        self.weights.read(name)
    }

    /// A matrix of the shape it has in the file, in f32.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn matrix(&self, name: &str) -> Result<Tensor<2>, ModelError> {
        let shape = self.weights.shape(name)?;
        let (rows, cols) = (shape[0], shape[1]);
        Ok(from_rows(self.read(name)?, rows, cols, self.device))
    }

    /// All values of a tensor in one row.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn vector(&self, name: &str) -> Result<Tensor<1>, ModelError> {
        let values = self.read(name)?;
        let len = values.len();
        Ok(from_rows(values, 1, len, self.device).reshape([len]))
    }

    /// `NAME.weight` of shape `[out, in]`, and `NAME.bias`.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn linear(&self, name: &str, bias: bool) -> Result<Linear, ModelError> {
        let (weight, bias) = self.map(name, bias)?;
        Ok(Linear {
            weight: Matrix::new(weight),
            bias,
        })
    }

    /// `NAME.weight` of shape `[in, out]`, the other way round than usual, and `NAME.bias` (GPT-2).
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn transposed_linear(&self, name: &str) -> Result<Linear, ModelError> {
        let (weight, bias) = self.map(name, true)?;
        Ok(Linear {
            weight: Matrix::new(weight.transpose()),
            bias,
        })
    }

    /// `NAME.weight` as it is in the file, for products, and `NAME.bias`.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn map(
        &self,
        name: &str,
        bias: bool,
    ) -> Result<(Tensor<2>, Option<Tensor<1>>), ModelError> {
        let weight = format!("{name}.weight");
        let weight = match self.precision {
            Precision::F32 => self.matrix(&weight)?,
            Precision::Bf16 => {
                let shape = self.weights.shape(&weight)?;
                let (rows, cols) = (shape[0], shape[1]);
                let bits = self.weights.read_rows_bf16(&weight, 0..rows)?;
                from_bf16_rows(bits, rows, cols, self.device)
            }
        };
        Ok((weight, self.bias(name, bias)?))
    }

    fn bias(&self, name: &str, bias: bool) -> Result<Option<Tensor<1>>, ModelError> {
        bias.then(|| self.vector(&format!("{name}.bias")))
            .transpose()
    }

    /// A mean-subtracting norm: `NAME.weight`, and `NAME.bias`.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn layer_norm(&self, name: &str, bias: bool, eps: f32) -> Result<Norm, ModelError> {
        Ok(Norm::Layer {
            gain: self.vector(&format!("{name}.weight"))?,
            bias: self.bias(name, bias)?,
            eps,
        })
    }

    /// A root-mean-square norm: `NAME.weight`, plus `offset` (Gemma stores the gain less 1).
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn rms_norm(&self, name: &str, offset: f32, eps: f32) -> Result<Norm, ModelError> {
        let gain = self.vector(&format!("{name}.weight"))?;
        Ok(Norm::Rms {
            gain: if offset == 0.0 { gain } else { gain + offset },
            eps,
        })
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
            .map(|b| bf16::from_le_bytes(*b).to_f32())
            .collect(),
        Dtype::F16 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| f16::from_le_bytes(*b).to_f32())
            .collect(),
        _ => return None,
    })
}

/// Bits of bfloat16.
fn to_bf16(bytes: &[u8], dtype: Dtype) -> Option<Vec<u16>> {
    if dtype == Dtype::BF16 {
        let numbers = bytes.as_chunks::<2>().0.iter();
        return Some(numbers.map(|b| u16::from_le_bytes(*b)).collect());
    }
    let values = to_f32(bytes, dtype)?.into_iter();
    Some(values.map(|v| bf16::from_f32(v).to_bits()).collect())
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
