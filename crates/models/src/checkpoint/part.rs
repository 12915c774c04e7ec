//! The files that hold the tensors of a checkpoint.

use std::fs::File;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::blocks::Format;
use super::layout::Layout;
use crate::ModelError;

/// A file that holds tensors.
#[derive(Debug)]
pub(crate) struct Part {
    pub path: PathBuf,
    pub file: File,
    pub tensors: Vec<Stored>,
}

/// A tensor in a file.
#[derive(Debug)]
pub(crate) struct Stored {
    pub name: String,
    pub kind: Kind,
    /// The shape of the architecture's tensor.
    pub shape: Vec<usize>,
    /// The position of its first byte in the file.
    pub begin: u64,
    pub end: u64,
    pub layout: Layout,
}

/// The format of the values, as far as it can be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Read(&'static Format),
    Unread(Dtype),
}

impl Kind {
    pub(crate) fn name(self) -> String {
        match self {
            Kind::Read(format) => format.name.to_owned(),
            Kind::Unread(dtype) => format!("{dtype:?}"),
        }
    }
}

/// Makes the error for a tensor that is in two files.
pub(crate) fn twice(path: &Path, name: &str) -> ModelError {
    ModelError::BadWeights {
        path: path.to_owned(),
        problem: format!("tensor `{name}` stands in another shard too"),
    }
}
