//! Reads the tensors of a checkpoint, in one file or several, tensor by tensor.
//!
//! Files are read with positioned reads instead of being mapped into memory. A file that is truncated while it is
//! open then gives an error instead of killing the process, and no memory is held except for the tensor that is read.
//! [`Weights::hold`] keeps the bytes that have been read in the format in which they are stored, so bf16 and
//! quantised weights take no more room than on disk.

mod expected;
mod source;

pub(crate) use expected::LM_HEAD;
pub use expected::Tensors;
pub use source::Source;

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use half::bf16;
use interlingua_backend::ops::{Coding, Half, Matrix};
use interlingua_backend::{Device, Precision};

use crate::ModelError;
use crate::checkpoint::blocks::{BF16, F16, F32, Format};
use crate::checkpoint::layout::{Layout, Order};
use crate::checkpoint::part::{Kind, Part, Stored, twice};
use crate::header;

/// The tensors of a checkpoint, which are located but not read.
#[derive(Debug)]
pub struct Weights {
    /// The folder or file, for messages.
    path: PathBuf,
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
    stored: Stored,
    /// The bytes, once they have been read and are to be kept.
    held: OnceLock<Vec<u8>>,
}

impl Located {
    fn bytes(&self) -> u64 {
        self.stored.end - self.stored.begin
    }

    /// How a matrix is written that products can read as it is.
    fn narrow(&self) -> Option<Narrow> {
        let Kind::Read(format) = self.stored.kind else {
            return None;
        };
        // Queries, keys and values of one matrix are told apart as rows of f32 (BLOOM).
        let rows = matches!(
            self.stored.layout,
            Layout::Same | Layout::Rows(Order::Pairs { .. })
        );
        let matrix = self.stored.shape.len() == 2 && self.stored.shape[1].is_multiple_of(32);
        match format.coding() {
            _ if !rows || !matrix => None,
            Some(coding) => Some(Narrow::Codes(format, coding)),
            None if format == &BF16 => Some(Narrow::Halves(Half::Bf16)),
            None if format == &F16 => Some(Narrow::Halves(Half::F16)),
            None => None,
        }
    }
}

/// How values of few bits are written.
#[derive(Debug, Clone, Copy)]
enum Narrow {
    Codes(&'static Format, Coding),
    Halves(Half),
}

impl Weights {
    /// Makes the list of tensors of these files; `path` is for messages.
    pub(crate) fn of(path: &Path, parts: Vec<Part>) -> Result<Weights, ModelError> {
        let mut weights = Weights {
            path: path.to_owned(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            names: HashMap::new(),
            hold: false,
            bytes_read: AtomicU64::new(0),
        };
        for part in parts {
            weights.add(part)?;
        }
        Ok(weights)
    }

    fn add(&mut self, part: Part) -> Result<(), ModelError> {
        let at = self.files.len();
        if self.tensors.len() + part.tensors.len() > header::MAX_TENSORS {
            return Err(ModelError::BadWeights {
                path: part.path,
                problem: format!(
                    "the shards have more than {} tensors, which no real checkpoint has",
                    header::MAX_TENSORS
                ),
            });
        }
        for stored in part.tensors {
            match self.tensors.entry(stored.name.clone()) {
                Entry::Vacant(free) => free.insert(Located {
                    file: at,
                    stored,
                    held: OnceLock::new(),
                }),
                Entry::Occupied(taken) => return Err(twice(&part.path, taken.key())),
            };
        }
        self.files.push((part.path, part.file));
        Ok(())
    }

    /// Iterates over the names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns the dtypes that occur, for reports.
    pub fn dtypes(&self) -> Vec<String> {
        self.tensors
            .values()
            .map(|t| t.stored.kind.name())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Returns the number of elements of all tensors together.
    pub fn parameters(&self) -> u64 {
        self.tensors
            .values()
            .map(|t| t.stored.shape.iter().map(|&d| d as u64).product::<u64>())
            .sum()
    }

    /// Returns the number of bytes of all tensors together, as they are stored.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(Located::bytes).sum()
    }

    /// Makes the object keep the bytes of every tensor in memory once it has been read.
    pub fn hold(&mut self) {
        self.hold = true;
    }

    /// Returns the number of bytes of tensor data that have been read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Iterates over the files of the checkpoint.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// Checks that exactly these tensors exist, with these shapes, and records their names in the files.
    ///
    /// # Errors
    /// The first tensor that is missing, unknown or of another shape.
    pub fn expect(&mut self, expected: &Tensors) -> Result<(), ModelError> {
        let mut used = BTreeSet::new();
        for (name, shape) in &expected.needed {
            let spelling = expected
                .spellings(name)
                .into_iter()
                .find(|s| self.tensors.contains_key(s))
                .ok_or_else(|| ModelError::MissingTensor {
                    path: self.path.clone(),
                    name: name.clone(),
                })?;
            let found = &self.tensors[&spelling];
            // First: quantised weights have other shapes, too.
            self.format(&spelling, found)?;
            if &found.stored.shape != shape {
                return Err(ModelError::Shape {
                    path: self.files[found.file].0.clone(),
                    name: spelling,
                    found: found.stored.shape.clone(),
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
                    path: self.path.clone(),
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
        if found.stored.shape != of.stored.shape || found.stored.kind != of.stored.kind {
            return Err(differs());
        }
        const PART: u64 = 4 << 20;
        let length = found.bytes();
        for begin in (0..length).step_by(PART as usize) {
            let end = (begin + PART).min(length);
            if self.fetch(found, begin, end)? != self.fetch(of, begin, end)? {
                return Err(differs());
            }
        }
        Ok(())
    }

    /// How a tensor's values are stored.
    fn format(&self, name: &str, found: &Located) -> Result<&'static Format, ModelError> {
        match found.stored.kind {
            Kind::Read(format) => Ok(format),
            Kind::Unread(dtype) => Err(ModelError::BadWeights {
                path: self.files[found.file].0.clone(),
                problem: format!(
                    "tensor `{name}` is {dtype:?}; f32, f16 and bf16 can be read; of a quantised checkpoint, take the original or a GGUF file"
                ),
            }),
        }
    }

    fn locate(&self, name: &str) -> Result<(&str, &Located), ModelError> {
        let spelling = self.names.get(name).map_or(name, String::as_str);
        match self.tensors.get_key_value(spelling) {
            Some((name, located)) => Ok((name, located)),
            None => Err(ModelError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
            }),
        }
    }

    /// Returns the name of a tensor in the files.
    ///
    /// # Errors
    /// A tensor that does not exist.
    pub fn name_in_file(&self, name: &str) -> Result<&str, ModelError> {
        Ok(self.locate(name)?.0)
    }

    /// Returns the storage type of a tensor's values, such as `BF16`.
    ///
    /// # Errors
    /// A tensor that does not exist.
    pub fn dtype_of(&self, name: &str) -> Result<String, ModelError> {
        Ok(self.locate(name)?.1.stored.kind.name())
    }

    /// Returns the shape of a tensor.
    ///
    /// # Errors
    /// A tensor that does not exist.
    pub fn shape(&self, name: &str) -> Result<&[usize], ModelError> {
        Ok(&self.locate(name)?.1.stored.shape)
    }

    /// Reads one tensor as f32, whatever its storage type is.
    ///
    /// # Errors
    /// A tensor that does not exist, a format that cannot be read, a read error, or a value that is not finite.
    pub fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let (_, located) = self.locate(name)?;
        self.read_rows(name, 0..located.stored.shape.first().copied().unwrap_or(1))
    }

    /// Reads the rows of a tensor whose first index is in `rows`.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn read_rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, ModelError> {
        let (name, located) = self.locate(name)?;
        let values = self.values(name, located, rows.clone())?;
        self.check_finite(name, located, &rows, &values)?;
        Ok(values)
    }

    /// Reads a matrix for products. What the file stores in few bits stays so, if products can read it.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn matrix(&self, name: &str, to: (&Device, Precision)) -> Result<Matrix, ModelError> {
        let (spelling, located) = self.locate(name)?;
        let (rows, cols) = (located.stored.shape[0], located.stored.shape[1]);
        // Names the value that is not finite.
        let check = |finite: bool, rows: Range<usize>| match finite {
            true => Ok(()),
            false => self.read_rows(name, rows).map(drop),
        };
        let bytes = |rows: Range<usize>| self.bytes_of(spelling, located, rows);
        match located
            .narrow()
            .filter(|_| Matrix::keeps_narrow(to.0, to.1))
        {
            Some(Narrow::Codes(format, coding)) => Matrix::read_codes(rows, cols, coding, |rows| {
                let codes = format.codes(&bytes(rows.clone())?);
                check(codes.is_finite(), rows)?;
                Ok(codes)
            }),
            Some(Narrow::Halves(half)) => Matrix::read_halves(rows, cols, half, |rows| {
                let bytes = bytes(rows.clone())?;
                let bits = bytes.as_chunks::<2>().0.iter();
                let bits: Vec<u16> = bits.map(|b| u16::from_le_bytes(*b)).collect();
                check(
                    bits.iter().fold(true, |all, b| all & half.is_finite(*b)),
                    rows,
                )?;
                Ok(bits)
            }),
            None => Matrix::read(rows, cols, to, |rows| self.read_rows(name, rows)),
        }
    }

    /// Returns whether products on the CPU can read all matrices as the file stores them, so that keeping them ready to
    /// run takes about as much memory as the file.
    pub fn stays_narrow(&self) -> bool {
        let as_stored = |t: &Located| {
            t.stored.shape.len() < 2 || t.stored.kind == Kind::Read(&F32) || t.narrow().is_some()
        };
        self.tensors.values().all(as_stored)
    }

    /// Returns the number of bytes of all tensors when they are ready for products on the CPU.
    pub fn kept_bytes(&self) -> u64 {
        let of = |t: &Located| {
            let values: u64 = t.stored.shape.iter().map(|&d| d as u64).product();
            match t.narrow() {
                Some(Narrow::Codes(_, coding)) => coding.bytes(values),
                Some(Narrow::Halves(_)) => 2 * values,
                None => 4 * values,
            }
        };
        self.tensors.values().map(of).sum()
    }

    /// Reads rows of a tensor as the bits of bfloat16 values. They are the stored bits, or are rounded from the
    /// stored values.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn read_rows_bf16(&self, name: &str, rows: Range<usize>) -> Result<Vec<u16>, ModelError> {
        let (name, located) = self.locate(name)?;
        let plain = matches!(located.stored.layout, Layout::Same | Layout::Rows(_));
        let bits: Vec<u16> = if plain && self.format(name, located)? == &BF16 {
            let bytes = self.bytes_of(name, located, rows.clone())?;
            let numbers = bytes.as_chunks::<2>().0.iter();
            numbers.map(|b| u16::from_le_bytes(*b)).collect()
        } else {
            let values = self.values(name, located, rows.clone())?.into_iter();
            values.map(|v| bf16::from_f32(v).to_bits()).collect()
        };
        if !bits.iter().all(|&b| bf16::from_bits(b).is_finite()) {
            let values: Vec<f32> = bits.iter().map(|&b| bf16::from_bits(b).to_f32()).collect();
            self.check_finite(name, located, &rows, &values)?;
        }
        Ok(bits)
    }

    fn check_finite(
        &self,
        name: &str,
        located: &Located,
        rows: &Range<usize>,
        values: &[f32],
    ) -> Result<(), ModelError> {
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(index) => Err(ModelError::NotFinite {
                path: self.files[located.file].0.clone(),
                name: name.to_owned(),
                value: values[index],
                index: rows.start * row_length(&located.stored.shape) + index,
            }),
        }
    }

    /// Rows in f32, with what the file's converter changed undone.
    fn values(
        &self,
        name: &str,
        located: &Located,
        rows: Range<usize>,
    ) -> Result<Vec<f32>, ModelError> {
        let format = self.format(name, located)?;
        if located.stored.layout == Layout::Transposed {
            let (count, width) = (located.stored.shape[0], located.stored.shape[1]);
            let whole = format.decode(&self.part_of(located, 0..located.bytes())?);
            let value = |row: usize, col: usize| whole[col * count + row];
            return Ok(rows
                .flat_map(|row| (0..width).map(move |col| (row, col)))
                .map(|(row, col)| value(row, col))
                .collect());
        }
        let mut values = format.decode(&self.bytes_of(name, located, rows)?);
        if located.stored.layout == Layout::LargerByOne {
            values.iter_mut().for_each(|v| *v -= 1.0);
        }
        Ok(values)
    }

    /// The bytes of rows, in the architecture's order.
    fn bytes_of<'a>(
        &'a self,
        name: &str,
        located: &'a Located,
        rows: Range<usize>,
    ) -> Result<Cow<'a, [u8]>, ModelError> {
        let count = located.stored.shape.first().copied().unwrap_or(1);
        assert!(
            rows.start <= rows.end && rows.end <= count,
            "rows of {name}"
        );
        let width = located.bytes() / count.max(1) as u64;
        let at = |row: usize| width * row as u64;
        let Layout::Rows(order) = located.stored.layout else {
            return self.part_of(located, at(rows.start)..at(rows.end));
        };
        self.gather(located, order, rows, width)
    }

    /// Rows that stand in another order in the file; all of them are read at once.
    fn gather<'a>(
        &'a self,
        located: &'a Located,
        order: Order,
        rows: Range<usize>,
        width: u64,
    ) -> Result<Cow<'a, [u8]>, ModelError> {
        let mut bytes = Vec::with_capacity(rows.len() * width as usize);
        if rows.len() as u64 * width == located.bytes() {
            let whole = self.part_of(located, 0..located.bytes())?;
            for row in rows {
                let begin = order.in_file(row) * width as usize;
                bytes.extend_from_slice(&whole[begin..begin + width as usize]);
            }
        } else {
            for row in rows {
                let begin = order.in_file(row) as u64 * width;
                bytes.extend_from_slice(&self.part_of(located, begin..begin + width)?);
            }
        }
        Ok(Cow::Owned(bytes))
    }

    /// Bytes of a tensor as they are in the file: those that are held, or read.
    fn part_of<'a>(
        &'a self,
        located: &'a Located,
        part: Range<u64>,
    ) -> Result<Cow<'a, [u8]>, ModelError> {
        if !self.hold {
            return Ok(Cow::Owned(self.fetch(located, part.start, part.end)?));
        }
        if located.held.get().is_none() {
            let bytes = self.fetch(located, 0, located.bytes())?;
            let _ = located.held.set(bytes);
        }
        let held = located.held.get().expect("filled just above");
        Ok(Cow::Borrowed(&held[part.start as usize..part.end as usize]))
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
        file.read_exact_at(&mut bytes, located.stored.begin + begin)
            .map_err(ModelError::io(path))?;
        self.bytes_read.fetch_add(end - begin, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Values of a row.
fn row_length(shape: &[usize]) -> usize {
    shape.iter().skip(1).product()
}
