//! What the configuration of a file depends on: its settings and the shapes of its tensors.

use super::container::Tensor;
use super::metadata::Settings;
use super::names;
use crate::ModelError;
use crate::config::decimal;

/// The facts about a file from which its configuration is made.
pub(super) struct Facts<'a> {
    pub settings: Settings<'a>,
    /// Name of its architecture, which its keys begin with.
    pub family: &'static str,
    pub tensors: &'a [Tensor],
    /// The values of the tensor `rope_freqs.weight`, if the file has it.
    pub rope_freqs: Option<Vec<f32>>,
}

impl Facts<'_> {
    /// A key of the architecture.
    pub fn arch(&self, key: &str) -> String {
        format!("{}.{key}", self.family)
    }

    pub fn size(&self, key: &str) -> Result<Option<u64>, ModelError> {
        self.settings.size(&self.arch(key))
    }

    pub fn needed(&self, key: &str) -> Result<u64, ModelError> {
        let key = self.arch(key);
        self.settings.required(&key, self.settings.size(&key)?)
    }

    /// A number, as the decimal that its f32 was made from.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        Ok(self.settings.number(&self.arch(key))?.map(decimal))
    }

    pub fn needed_number(&self, key: &str) -> Result<f64, ModelError> {
        let full = self.arch(key);
        self.settings.required(&full, self.number(key)?)
    }

    /// Rows of a tensor.
    pub fn rows(&self, name: &str) -> Result<usize, ModelError> {
        match self.tensor(name) {
            Some(tensor) => Ok(tensor.shape[0]),
            None => Err(ModelError::MissingTensor {
                path: self.settings.path().to_owned(),
                name: name.to_owned(),
            }),
        }
    }

    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|t| t.name == name)
    }

    pub fn tied(&self) -> bool {
        self.tensor("output.weight").is_none()
    }

    /// Returns the number of query heads and the width of one, as [`Names::of`] needs them.
    pub fn heads(&self) -> Result<names::Heads, ModelError> {
        let heads = self.needed("attention.head_count")?.max(1);
        let head_dim = match self.size("attention.key_length")? {
            Some(width) => width,
            None => self.needed("embedding_length")? / heads,
        };
        Ok(names::Heads {
            heads: heads as usize,
            head_dim: head_dim as usize,
        })
    }

    /// Returns the base of the rotary angles.
    pub fn theta(&self) -> Result<f64, ModelError> {
        Ok(self.number("rope.freq_base")?.unwrap_or(10_000.0))
    }

    pub fn scaling_type(&self) -> Result<Option<&str>, ModelError> {
        self.settings.text(&self.arch("rope.scaling.type"))
    }

    pub fn scaling_factor(&self) -> Result<Option<f64>, ModelError> {
        match self.number("rope.scaling.factor")? {
            Some(factor) => Ok(Some(factor)),
            None => self.number("rope.scale_linear"),
        }
    }
}
