//! Makes the parts of an architecture from the tensors of a checkpoint.

use interlingua_backend::ops::Matrix;
use interlingua_backend::{Device, Precision, Tensor, from_bf16_rows, from_rows};

use super::Weights;
use crate::ModelError;
use crate::architectures::Norm;
use crate::architectures::parts::Linear;

/// The source from which an architecture takes its parts: weights together with the device that they are put on.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The tensors of the checkpoint.
    pub weights: &'a Weights,
    /// The device on which tensors are put.
    pub device: &'a Device,
    /// The precision in which the matrices of products are kept; all other tensors are f32.
    pub precision: Precision,
}

impl Source<'_> {
    /// Reads the values of a tensor into host memory.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        self.weights.read(name)
    }

    /// Reads a matrix as f32, in the shape that it has in the file.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn matrix(&self, name: &str) -> Result<Tensor<2>, ModelError> {
        let shape = self.weights.shape(name)?;
        let (rows, cols) = (shape[0], shape[1]);
        Ok(from_rows(self.read(name)?, rows, cols, self.device))
    }

    /// Reads all values of a tensor as one vector.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn vector(&self, name: &str) -> Result<Tensor<1>, ModelError> {
        let values = self.read(name)?;
        let len = values.len();
        Ok(from_rows(values, 1, len, self.device).reshape([len]))
    }

    /// Reads `NAME.weight` of shape `[out, in]`, and `NAME.bias` if `bias` is true.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn linear(&self, name: &str, bias: bool) -> Result<Linear, ModelError> {
        let weight = format!("{name}.weight");
        let weight = match self.precision {
            Precision::F32 => self
                .weights
                .matrix(&weight, (self.device, self.precision))?,
            Precision::Bf16 => Matrix::new(self.narrow(&weight)?),
        };
        Ok(Linear {
            weight,
            bias: self.bias(name, bias)?,
        })
    }

    /// Reads `NAME.weight` of shape `[in, out]`, which is the reverse of the usual order, and `NAME.bias` (GPT-2).
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn transposed_linear(&self, name: &str) -> Result<Linear, ModelError> {
        let (weight, bias) = self.map(name, true)?;
        Ok(Linear {
            weight: Matrix::new(weight.transpose()),
            bias,
        })
    }

    /// Reads `NAME.weight` in the shape that it has in the file, for products, and `NAME.bias` if `bias` is true.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn map(
        &self,
        name: &str,
        bias: bool,
    ) -> Result<(Tensor<2>, Option<Tensor<1>>), ModelError> {
        let weight = format!("{name}.weight");
        let weight = match self.precision {
            Precision::F32 => self.matrix(&weight)?,
            Precision::Bf16 => self.narrow(&weight)?,
        };
        Ok((weight, self.bias(name, bias)?))
    }

    /// A matrix of the shape it has in the file, of bfloat16.
    fn narrow(&self, name: &str) -> Result<Tensor<2>, ModelError> {
        let shape = self.weights.shape(name)?;
        let (rows, cols) = (shape[0], shape[1]);
        let bits = self.weights.read_rows_bf16(name, 0..rows)?;
        Ok(from_bf16_rows(bits, rows, cols, self.device))
    }

    fn bias(&self, name: &str, bias: bool) -> Result<Option<Tensor<1>>, ModelError> {
        bias.then(|| self.vector(&format!("{name}.bias")))
            .transpose()
    }

    /// Reads a layer norm: `NAME.weight`, and `NAME.bias` if `bias` is true.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn layer_norm(&self, name: &str, bias: bool, eps: f32) -> Result<Norm, ModelError> {
        Ok(Norm::Layer {
            gain: self.vector(&format!("{name}.weight"))?,
            bias: self.bias(name, bias)?,
            eps,
        })
    }

    /// Reads a root-mean-square norm: `NAME.weight` plus `offset`, because Gemma stores the gain minus 1.
    ///
    /// # Errors
    /// The errors of [`Weights::read`].
    pub fn rms_norm(&self, name: &str, offset: f32, eps: f32) -> Result<Norm, ModelError> {
        let gain = self.vector(&format!("{name}.weight"))?;
        Ok(Norm::Rms {
            gain: if offset == 0.0 { gain } else { gain + offset },
            eps,
        })
    }
}
