//! Stores captured states on disk in one safetensors file, which is written in any order and read by sequence.
//!
//! The lengths of all sequences are known before the first state. So the file has its final size from the start, and
//! each sequence is written at its position. A file appears under its name only when it is complete.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use crate::file::{Kind, TensorFile};
use crate::{ModelError, header};

/// A store that is being written. [`Writer::finish`] makes it visible.
pub struct Writer {
    path: PathBuf,
    file: TensorFile,
    width: usize,
    /// Row at which each sequence starts, and the number of rows at the end.
    offsets: Vec<u64>,
    written: u64,
}

/// Places of the tensors in the file.
const OFFSETS: usize = 0;
const STATES: usize = 1;

/// A store that is open for reading.
pub struct Store {
    path: PathBuf,
    file: File,
    layout: Layout,
}

#[derive(Debug, Clone)]
struct Layout {
    width: usize,
    /// Row at which each sequence starts, and the number of rows at the end.
    offsets: Vec<u64>,
    /// Byte at which row 0 starts.
    data: u64,
}

impl Layout {
    fn at(&self, sequence: usize) -> (u64, usize) {
        let from = self.offsets[sequence];
        let rows = self.offsets[sequence + 1] - from;
        (self.data + from * self.width as u64 * 4, rows as usize)
    }
}

impl Writer {
    /// Creates a store for sequences of these lengths and states of this width.
    ///
    /// # Errors
    /// A file that cannot be created, or a full disk.
    pub fn create(
        path: &Path,
        width: usize,
        lengths: impl IntoIterator<Item = usize>,
    ) -> Result<Writer, ModelError> {
        let mut offsets = vec![0u64];
        for length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length as u64);
        }
        let rows = offsets[offsets.len() - 1] as usize;
        let tensors = [
            ("offsets".to_owned(), Kind::I64, vec![offsets.len()]),
            ("states".to_owned(), Kind::F32, vec![rows, width]),
        ];
        let file = TensorFile::create(path, &tensors, &BTreeMap::new())?;
        let integers: Vec<i64> = offsets.iter().map(|&o| o as i64).collect();
        file.write_integers(OFFSETS, 0, &integers)?;
        Ok(Writer {
            path: path.to_owned(),
            file,
            width,
            offsets,
            written: 0,
        })
    }

    /// Writes the states of one sequence.
    ///
    /// # Errors
    /// A full disk. A number of values that differs from the announced one is an error in the calling code.
    pub fn write(&mut self, sequence: usize, states: &[f32]) -> Result<(), ModelError> {
        let from = self.offsets[sequence];
        let rows = self.offsets[sequence + 1] - from;
        assert_eq!(
            states.len() as u64,
            rows * self.width as u64,
            "states of sequence {sequence}"
        );
        self.file.write(STATES, from * self.width as u64, states)?;
        self.written += rows;
        Ok(())
    }

    /// Makes the store visible under its name.
    ///
    /// # Errors
    /// A file that cannot be renamed. A sequence that was not written is an error in the calling code.
    pub fn finish(self) -> Result<Store, ModelError> {
        let rows = self.offsets[self.offsets.len() - 1];
        assert_eq!(self.written, rows, "every sequence is written once");
        self.file.finish()?;
        Store::open(&self.path)
    }
}

impl Store {
    /// Opens a finished store.
    ///
    /// # Errors
    /// A file that is not a store or not complete.
    pub fn open(path: &Path) -> Result<Store, ModelError> {
        let bad = |problem: &str| ModelError::BadWeights {
            path: path.to_owned(),
            problem: format!(
                "not a state store: {problem}; delete the file, the next run makes it again"
            ),
        };
        let (file, entries) = header::open(path).map_err(|e| match e {
            ModelError::BadWeights { problem, .. } => bad(&problem),
            other => other,
        })?;
        let find = |name: &str, dtype: Dtype| {
            let entry = entries.iter().find(|e| e.name == name);
            entry.filter(|e| e.dtype == dtype)
        };
        let (Some(index), Some(states)) = (find("offsets", Dtype::I64), find("states", Dtype::F32))
        else {
            return Err(bad("tensors `offsets` and `states` are missing"));
        };
        let ([count], [rows, width]) = (index.shape.as_slice(), states.shape.as_slice()) else {
            return Err(bad("its tensors have other axes"));
        };
        let (rows, width) = (*rows as u64, *width);
        if *count == 0 {
            return Err(bad("`offsets` is empty"));
        }
        let mut bytes = vec![0; (index.end - index.begin) as usize];
        file.read_exact_at(&mut bytes, index.begin)
            .map_err(ModelError::io(path))?;
        let offsets: Vec<u64> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| u64::from_le_bytes(*b))
            .collect();
        if offsets[0] != 0 || offsets[offsets.len() - 1] != rows || !offsets.is_sorted() {
            return Err(bad("its offsets are not in order"));
        }
        Ok(Store {
            path: path.to_owned(),
            file,
            layout: Layout {
                width,
                offsets,
                data: states.begin,
            },
        })
    }

    /// Returns the number of sequences.
    pub fn len(&self) -> usize {
        self.layout.offsets.len() - 1
    }

    /// Returns whether there are no sequences.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the width of a state.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// Returns the number of rows of one sequence.
    pub fn rows(&self, sequence: usize) -> usize {
        self.layout.at(sequence).1
    }

    /// Appends the states of one sequence to `out` and returns the number of its rows.
    ///
    /// # Errors
    /// A file that cannot be read. A sequence beyond [`Store::len`] is an error in the calling code.
    pub fn read(&self, sequence: usize, out: &mut Vec<f32>) -> Result<usize, ModelError> {
        let (at, rows) = self.layout.at(sequence);
        let mut bytes = vec![0; rows * self.layout.width * 4];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(ModelError::io(&self.path))?;
        out.extend(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b)),
        );
        Ok(rows)
    }

    /// Reads all states, row-major.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read_all(&self) -> Result<Vec<f32>, ModelError> {
        let mut out = Vec::new();
        for sequence in 0..self.len() {
            self.read(sequence, &mut out)?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_written_out_of_order_is_read_in_order_and_is_safetensors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("states.safetensors");
        let mut writer = Writer::create(&path, 2, [1, 3, 0, 2]).unwrap();
        writer.write(3, &[7.0, 8.0, 9.0, 10.0]).unwrap();
        writer.write(0, &[1.0, 2.0]).unwrap();
        assert!(!path.exists(), "an unfinished store has no name");
        writer.write(1, &[0.0; 6]).unwrap();
        let store = writer.finish().unwrap();
        assert_eq!((store.len(), store.width(), store.rows(1)), (4, 2, 3));
        let mut out = Vec::new();
        store.read(3, &mut out).unwrap();
        assert_eq!(out, [7.0, 8.0, 9.0, 10.0]);
        let bytes = std::fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("states").unwrap().shape(), [6, 2]);
    }

    #[test]
    fn damaged_stores_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.safetensors");
        let mut writer = Writer::create(&path, 2, [1]).unwrap();
        writer.write(0, &[1.0, 2.0]).unwrap();
        writer.finish().unwrap();
        let good = std::fs::read(&path).unwrap();
        for cut in [0, 7, 9, good.len() - 1] {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(Store::open(&path).is_err(), "cut to {cut} bytes");
        }
    }
}
