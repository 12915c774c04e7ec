//! The terms of the loss, one function for each.

use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

use burn::tensor::activation;
use interlingua_backend::{IntTensor, Tensor};

use crate::{Activation, Alignment};

impl Activation {
    pub(crate) fn apply(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Activation::Relu => activation::relu(x),
            Activation::Gelu => activation::gelu(x),
            Activation::Tanh => x.tanh(),
        }
    }

    /// Computes the derivative of the activation function.
    pub(crate) fn slope(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Activation::Relu => x.greater_elem(0.0).float(),
            Activation::Gelu => {
                let below = (x.clone() / SQRT_2).erf() * 0.5 + 0.5;
                let density =
                    (x.clone() * x.clone() * -0.5).exp() * (FRAC_2_SQRT_PI / SQRT_2 / 2.0);
                below + x * density
            }
            Activation::Tanh => {
                let y = x.tanh();
                y.clone() * y.neg() + 1.0
            }
        }
    }
}

/// Computes the mean squared difference per element.
pub(crate) fn squared(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let difference = a - b;
    (difference.clone() * difference).mean()
}

impl Alignment {
    /// Prepares latents for [`Alignment::distance`], which compares the rows themselves or their directions.
    ///
    /// # Shapes
    /// `x` is `[rows, latent]`, and so is the result.
    pub(crate) fn prepare(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Alignment::Mse => x,
            Alignment::Cosine | Alignment::InfoNce { .. } => unit(x),
        }
    }

    /// Computes the distance between row i of `a` and row i of `b`, averaged over rows.
    ///
    /// # Shapes
    /// Both arguments are `[rows, latent]` and went through [`Alignment::prepare`]; the result is `[1]`.
    pub(crate) fn distance(self, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
        match self {
            Alignment::Mse => squared(a, b),
            Alignment::Cosine => (a * b).sum_dim(1).mean().neg() + 1.0,
            Alignment::InfoNce { temperature } => {
                let [rows, _] = a.dims();
                let diagonal: IntTensor<2> =
                    IntTensor::<1>::arange(0..rows as i64, &a.device()).unsqueeze_dim(1);
                let cosines = a.matmul(b.transpose()) / temperature as f32;
                let forth = activation::log_softmax(cosines.clone(), 1).gather(1, diagonal.clone());
                let back = activation::log_softmax(cosines.transpose(), 1).gather(1, diagonal);
                (forth + back).mean().neg() / 2.0
            }
        }
    }
}

/// Rows scaled to length 1; a zero row stays near zero.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = (x.clone() * x.clone()).sum_dim(1).sqrt() + 1e-6;
    x / length
}
