//! The file format of an autoencoder.

use std::collections::HashMap;
use std::path::Path;

use interlingua_backend::optim::Parameter;
use interlingua_backend::{Device, from_rows, to_host};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::layers::{Copies, Layers, shapes};
use crate::{Autoencoder, AutoencoderError, Config};

/// The version of the format. It changes whenever this crate can no longer read files of earlier versions.
pub const FORMAT: u32 = 2;

/// The entry of the file's header that says what the tensors are.
const KEY: &str = "autoencoder";

#[derive(Serialize, Deserialize)]
struct Header {
    config: Config,
    languages: Vec<String>,
}

impl Autoencoder {
    /// Name, shape and values of everything that was learned.
    fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let mut all: Vec<_> = shapes(&self.config, self.width, &self.languages)
            .into_iter()
            .zip(self.layers.tensors())
            .map(|((name, shape), tensor)| (name, shape, to_host(tensor.clone())))
            .collect();
        let means: Vec<f32> = self.means.iter().flat_map(|m| to_host(m.clone())).collect();
        all.push(("mean".into(), vec![self.means.len(), self.width], means));
        all.push(("deviation".into(), vec![1], vec![self.deviation]));
        all
    }

    /// Writes the weights, the config and the names of the languages to one safetensors file, under a temporary name
    /// first.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), AutoencoderError> {
        let tensors = self.tensors();
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (
                name.as_str(),
                TensorView::new(Dtype::F32, shape.clone(), bytes)
                    .expect("shape and values agree by construction"),
            )
        });
        let header = Header {
            config: self.config.clone(),
            languages: self.languages.clone(),
        };
        // One entry: a map of several is written in another order each time.
        let metadata = HashMap::from([(
            KEY.to_owned(),
            serde_json::to_string(&header).expect("a header is plain data"),
        )]);
        let out = safetensors::serialize(views, Some(metadata))
            .map_err(|e| malformed(path, e.to_string()))?;
        interlingua_files::write(path, &out).map_err(|error| io(path, error))
    }

    /// Reads a file that [`Autoencoder::save`] wrote.
    ///
    /// # Errors
    /// A file that is missing or is not a saved autoencoder.
    pub fn load(path: &Path, device: &Device) -> Result<Autoencoder, AutoencoderError> {
        let bytes = std::fs::read(path).map_err(|source| io(path, source))?;
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| malformed(path, e.to_string()))?;
        let text = header.metadata().as_ref().and_then(|m| m.get(KEY));
        let text = text.ok_or_else(|| malformed(path, format!("no `{KEY}` in its header")))?;
        let Header { config, languages } = serde_json::from_str(text)
            .map_err(|e| malformed(path, format!("`{KEY}` of its header: {e}")))?;
        if languages.is_empty() {
            return Err(malformed(path, "its header names no language".into()));
        }
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|e| malformed(path, e.to_string()))?;
        let read = |name: &str, shape: &[usize]| -> Result<Vec<f32>, AutoencoderError> {
            let view = tensors
                .tensor(name)
                .map_err(|e| malformed(path, format!("`{name}`: {e}")))?;
            if view.dtype() != Dtype::F32 || view.shape() != shape {
                return Err(malformed(
                    path,
                    format!(
                        "`{name}` is {:?} {:?}, expected F32 {shape:?}",
                        view.dtype(),
                        view.shape()
                    ),
                ));
            }
            let (numbers, _) = view.data().as_chunks::<4>();
            Ok(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        let width = match tensors.tensor("mean").map(|mean| mean.shape().to_vec()) {
            Ok(shape) if shape.len() == 2 && shape[1] > 0 => shape[1],
            _ => return Err(malformed(path, "`mean` is no matrix of means".into())),
        };
        let means = read("mean", &[Copies::of(&config, languages.len()).means, width])?;
        let mut parameters = Vec::new();
        for (name, shape) in shapes(&config, width, &languages) {
            let values = read(&name, &shape)?;
            parameters.push(Parameter::new(name, &shape, values));
        }
        let mean = |mean: &[f32]| from_rows(mean.to_vec(), 1, width, device);
        Ok(Autoencoder {
            layers: Layers::from_parameters(&config, languages.len(), &parameters, device),
            means: means.chunks_exact(width).map(mean).collect(),
            deviation: read("deviation", &[1])?[0],
            width,
            languages,
            config,
        })
    }
}

fn malformed(path: &Path, problem: String) -> AutoencoderError {
    AutoencoderError::Malformed {
        path: path.to_owned(),
        problem,
    }
}

fn io(path: &Path, source: std::io::Error) -> AutoencoderError {
    AutoencoderError::Io {
        path: path.to_owned(),
        source,
    }
}
