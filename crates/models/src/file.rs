//! Writes a safetensors file of known layout, in any order.
//!
//! The file has its final size from the start, each value is written at its position, and the file appears under its
//! name only when it is complete.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use interlingua_files::Partial;
use serde_json::json;

use crate::ModelError;

/// The element types of the files written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 32-bit floats.
    F32,
    /// 64-bit integers.
    I64,
}

impl Kind {
    fn bytes(self) -> u64 {
        match self {
            Kind::F32 => 4,
            Kind::I64 => 8,
        }
    }
}

/// A file that is being written. [`TensorFile::finish`] makes it visible.
pub struct TensorFile {
    path: PathBuf,
    partial: Partial,
    /// Where each tensor begins, and its type.
    tensors: Vec<(u64, Kind)>,
}

impl TensorFile {
    /// Creates a file for these tensors (name, type, shape), with this metadata.
    ///
    /// Tensors of 64-bit integers must come first, so that all tensors stay aligned.
    ///
    /// # Errors
    /// A file that cannot be created, or a full disk.
    pub fn create(
        path: &Path,
        tensors: &[(String, Kind, Vec<usize>)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<TensorFile, ModelError> {
        let mut header = serde_json::Map::new();
        if !metadata.is_empty() {
            header.insert("__metadata__".into(), json!(metadata));
        }
        let (mut at, mut places) = (0u64, Vec::new());
        for (name, kind, shape) in tensors {
            let length = shape.iter().map(|&n| n as u64).product::<u64>() * kind.bytes();
            header.insert(
                name.clone(),
                json!({"dtype": format!("{kind:?}"), "shape": shape, "data_offsets": [at, at + length]}),
            );
            places.push((at, *kind));
            at += length;
        }
        let header = serde_json::Value::Object(header).to_string();
        let header = format!("{header:<width$}", width = header.len().next_multiple_of(8));
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        }
        let data = 8 + header.len() as u64;
        let made = TensorFile {
            path: path.to_owned(),
            partial: Partial::file(path).map_err(ModelError::io(path))?,
            tensors: places.into_iter().map(|(at, k)| (data + at, k)).collect(),
        };
        let mut start = (header.len() as u64).to_le_bytes().to_vec();
        start.extend(header.as_bytes());
        let mut file = made.partial.handle();
        file.write_all(&start)
            .and_then(|()| file.set_len(data + at))
            .map_err(ModelError::io(path))?;
        Ok(made)
    }

    /// Writes values of a tensor (given by its position in the list), beginning at element `at`.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&self, tensor: usize, at: u64, values: &[f32]) -> Result<(), ModelError> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.write_bytes(tensor, Kind::F32, at, &bytes)
    }

    /// Writes integers of a tensor, as [`TensorFile::write`] writes floats.
    ///
    /// # Errors
    /// A full disk.
    pub fn write_integers(&self, tensor: usize, at: u64, values: &[i64]) -> Result<(), ModelError> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.write_bytes(tensor, Kind::I64, at, &bytes)
    }

    fn write_bytes(
        &self,
        tensor: usize,
        kind: Kind,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), ModelError> {
        let (begin, declared) = self.tensors[tensor];
        assert_eq!(kind, declared, "type of tensor {tensor}");
        self.partial
            .handle()
            .write_all_at(bytes, begin + at * kind.bytes())
            .map_err(ModelError::io(&self.path))
    }

    /// Makes the file visible under its name.
    ///
    /// # Errors
    /// A file that cannot be written out or renamed.
    pub fn finish(self) -> Result<(), ModelError> {
        self.partial.finish().map_err(ModelError::io(&self.path))
    }
}
