//! Where a run takes things from and puts them.

use std::path::PathBuf;

use interlingua_backend::{DeviceName, Precision};
use interlingua_data::Manifest;
use interlingua_models::Residency;

/// The folders of a run's inputs and outputs, and its switches.
#[derive(Debug, Clone)]
pub struct Options {
    /// The root folder of the data files.
    pub data_dir: PathBuf,
    /// The root folder of the checkpoint folders.
    pub model_dir: PathBuf,
    /// The root folder of the run folders and of the cache.
    pub out: PathBuf,
    /// The device to run on.
    pub device: DeviceName,
    /// The place of the model's weights between passes.
    pub residency: Residency,
    /// The number of bytes of memory that hidden states may take between two blocks; the rest is stored on disk.
    pub memory: Option<u64>,
    /// The precision to which the factors of the model's products are rounded.
    pub precision: Precision,
    /// The manifests of data sets that can be fetched, for messages about missing files.
    pub manifests: Vec<Manifest>,
    /// Whether interrupted training is resumed from its last checkpoint.
    pub resume: bool,
    /// The command that the user typed, for the manifest of the run.
    pub command: String,
}
