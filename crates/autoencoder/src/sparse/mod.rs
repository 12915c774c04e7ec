//! Sparse autoencoders, which describe each state by a few of many features.
//!
//! ```text
//! p = (h − c) · W_enc + b_enc            c is b_dec where the encoder takes it away, else 0
//! z = gate(p)                            one of [`Gate`]; most z are 0
//! ĥ = z · W_dec + b_dec
//! ```
//!
//! They are read from published files ([`Weights::load`]) or trained on states ([`train`]). Both kinds are written in the
//! layout of SAELens.
//!
//! # Source
//! ReLU: Bricken et al. 2023, "Towards Monosemanticity"; gated: Rajamanoharan et al. 2024 (arXiv 2404.16014); JumpReLU:
//! Rajamanoharan et al. 2024 (arXiv 2407.14435) and Gemma Scope (arXiv 2408.05147); TopK: Gao et al. 2024 (arXiv 2406.04093).

mod error;
mod file;
mod npz;
mod train;

use interlingua_backend::{Device, Tensor, from_rows, to_host};
use rayon::prelude::*;

pub use error::SparseError;
pub use train::{Config, Step, Trained, train};

/// The rule that decides which features are active, and with which value.
#[derive(Debug, Clone, PartialEq)]
pub enum Gate {
    /// z = max(0, p).
    Relu,
    /// z = p where p > threshold and p > 0, else 0. Each feature has its own threshold.
    JumpRelu(Vec<f32>),
    /// z = max(0, p) for the k largest p of a state, else 0. Among equal values the first are taken.
    TopK(usize),
    /// z = max(0, (h − c)·W_enc·exp(r) + b_mag) where (h − c)·W_enc + b_gate > 0, else 0. The bias of the weights is b_gate.
    Gated {
        /// The value r of each feature.
        scale: Vec<f32>,
        /// The value b_mag of each feature.
        bias: Vec<f32>,
    },
}

impl Gate {
    /// Returns the name that files use for the rule.
    pub fn name(&self) -> &'static str {
        match self {
            Gate::Relu => "standard",
            Gate::JumpRelu(_) => "jumprelu",
            Gate::TopK(_) => "topk",
            Gate::Gated { .. } => "gated",
        }
    }
}

/// The weights and the rule of a sparse autoencoder, in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// The width of a state.
    pub width: usize,
    /// The number of features.
    pub features: usize,
    /// W_enc has the shape width × features and is stored row by row.
    pub encoder: Vec<f32>,
    /// b_enc, or b_gate with a gated encoder, has one value for each feature.
    pub encoder_bias: Vec<f32>,
    /// W_dec has the shape features × width and is stored row by row.
    pub decoder: Vec<f32>,
    /// b_dec has the width of a state.
    pub decoder_bias: Vec<f32>,
    /// Whether the encoder subtracts b_dec from the states.
    pub centred: bool,
    /// The rule that decides which features are active.
    pub gate: Gate,
}

/// A sparse autoencoder on a device.
#[derive(Debug, Clone)]
pub struct Sparse {
    width: usize,
    features: usize,
    encoder: Tensor<2>,
    encoder_bias: Tensor<2>,
    decoder: Tensor<2>,
    decoder_bias: Tensor<2>,
    centred: bool,
    gate: OnDevice,
}

#[derive(Debug, Clone)]
enum OnDevice {
    Relu,
    JumpRelu(Tensor<2>),
    TopK(usize),
    Gated { scale: Tensor<2>, bias: Tensor<2> },
}

impl Sparse {
    /// Moves weights from host memory to the device.
    ///
    /// # Errors
    /// [`SparseError::Shape`] if a part has another size, [`SparseError::NotFinite`] if a number is not finite, and an error if
    /// TopK keeps no feature or more features than there are.
    pub fn new(weights: Weights, device: &Device) -> Result<Sparse, SparseError> {
        weights.check()?;
        let Weights {
            width, features, ..
        } = weights;
        let row = |values: Vec<f32>| {
            let len = values.len();
            from_rows(values, 1, len, device)
        };
        let gate = match weights.gate {
            Gate::Relu => OnDevice::Relu,
            Gate::JumpRelu(thresholds) => OnDevice::JumpRelu(row(thresholds)),
            Gate::TopK(k) => OnDevice::TopK(k),
            Gate::Gated { scale, bias } => OnDevice::Gated {
                scale: row(scale.into_iter().map(f32::exp).collect()),
                bias: row(bias),
            },
        };
        Ok(Sparse {
            width,
            features,
            encoder: from_rows(weights.encoder, width, features, device),
            encoder_bias: row(weights.encoder_bias),
            decoder: from_rows(weights.decoder, features, width, device),
            decoder_bias: row(weights.decoder_bias),
            centred: weights.centred,
            gate,
        })
    }

    /// Returns the width of a state.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Computes the features of states.
    ///
    /// # Shapes
    /// `h`: `[rows, width]`, result `[rows, features]`. The k largest of a row are found on the host.
    pub fn encode(&self, h: Tensor<2>) -> Tensor<2> {
        let h = match self.centred {
            true => h - self.decoder_bias.clone(),
            false => h,
        };
        let products = h.matmul(self.encoder.clone());
        let before = products.clone() + self.encoder_bias.clone();
        match &self.gate {
            OnDevice::Relu => before.clamp_min(0.0),
            OnDevice::JumpRelu(thresholds) => {
                let on = before.clone().greater(thresholds.clone()).float();
                before.clamp_min(0.0) * on
            }
            OnDevice::TopK(k) => top_k(before, *k),
            OnDevice::Gated { scale, bias } => {
                let on = before.greater_elem(0.0).float();
                (products * scale.clone() + bias.clone()).clamp_min(0.0) * on
            }
        }
    }

    /// Computes the states that features stand for.
    ///
    /// # Shapes
    /// `z`: `[rows, features]`, result `[rows, width]`.
    pub fn decode(&self, z: Tensor<2>) -> Tensor<2> {
        self.back(z) + self.decoder_bias.clone()
    }

    /// Computes the change of the states that a change of the features causes; it is exact because the decoder is linear.
    ///
    /// # Shapes
    /// `change`: `[rows, features]`, result `[rows, width]`.
    pub fn back(&self, change: Tensor<2>) -> Tensor<2> {
        change.matmul(self.decoder.clone())
    }
}

/// The k largest of each row that are above zero, and zero for all others.
fn top_k(before: Tensor<2>, k: usize) -> Tensor<2> {
    let ([rows, features], device) = (before.dims(), before.device());
    let mut values = to_host(before);
    values
        .par_chunks_exact_mut(features)
        .for_each(|row| keep_largest(row, k));
    from_rows(values, rows, features, &device)
}

/// Sets all but the k largest values to zero, and those below zero too; of equal ones the first stay.
fn keep_largest(row: &mut [f32], k: usize) {
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    let larger = |a: &u32, b: &u32| {
        let (x, y) = (row[*a as usize], row[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    if k < order.len() {
        order.select_nth_unstable_by(k, larger);
    }
    for &at in order.iter().skip(k) {
        row[at as usize] = 0.0;
    }
    row.iter_mut().for_each(|x| *x = x.max(0.0));
}

impl Weights {
    /// Checks that all parts go together.
    fn check(&self) -> Result<(), SparseError> {
        let (width, features) = (self.width, self.features);
        if width == 0 || features == 0 {
            return Err(SparseError::Shape {
                what: "W_enc",
                expected: "at least one row and one column".into(),
                found: format!("{width} × {features}"),
            });
        }
        let mut parts = vec![
            ("W_enc", &self.encoder, width * features),
            ("b_enc", &self.encoder_bias, features),
            ("W_dec", &self.decoder, features * width),
            ("b_dec", &self.decoder_bias, width),
        ];
        match &self.gate {
            Gate::Relu => {}
            Gate::JumpRelu(thresholds) => parts.push(("threshold", thresholds, features)),
            Gate::TopK(k) if *k == 0 || *k > features => {
                return Err(SparseError::Shape {
                    what: "k",
                    expected: format!("from 1 to the {features} features"),
                    found: k.to_string(),
                });
            }
            Gate::TopK(_) => {}
            Gate::Gated { scale, bias } => {
                parts.push(("r_mag", scale, features));
                parts.push(("b_mag", bias, features));
            }
        }
        for (what, values, expected) in parts {
            if values.len() != expected {
                return Err(SparseError::Shape {
                    what,
                    expected: format!("{expected} numbers"),
                    found: values.len().to_string(),
                });
            }
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return Err(SparseError::NotFinite { what, at });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlingua_backend::DeviceName;

    /// Two features over states of width 2: W_enc the identity, W_dec twice it.
    pub(super) fn small(gate: Gate) -> Weights {
        Weights {
            width: 2,
            features: 2,
            encoder: vec![1.0, 0.0, 0.0, 1.0],
            encoder_bias: vec![0.0, -1.0],
            decoder: vec![2.0, 0.0, 0.0, 2.0],
            decoder_bias: vec![0.5, 0.5],
            centred: false,
            gate,
        }
    }

    fn codes(weights: Weights, h: [f32; 4]) -> Vec<f32> {
        let device = DeviceName::Cpu.open().unwrap();
        let sparse = Sparse::new(weights, &device).unwrap();
        to_host(sparse.encode(from_rows(h.to_vec(), 2, 2, &device)))
    }

    #[test]
    fn every_gate_by_hand() {
        // p = (1, 2), (−1, 0.5).
        let h = [1.0, 3.0, -1.0, 1.5];
        let gated = Gate::Gated {
            scale: vec![0.0, 2f32.ln()],
            bias: vec![-0.25, 0.0],
        };
        for (gate, expect) in [
            (Gate::Relu, [1.0, 2.0, 0.0, 0.5]),
            (Gate::JumpRelu(vec![1.0, 0.6]), [0.0, 2.0, 0.0, 0.0]),
            // A threshold below zero lets nothing below zero through.
            (Gate::JumpRelu(vec![-3.0, 0.4]), [1.0, 2.0, 0.0, 0.5]),
            (Gate::TopK(1), [0.0, 2.0, 0.0, 0.5]),
            (Gate::TopK(2), [1.0, 2.0, 0.0, 0.5]),
            // The magnitude of the second has no b_gate in it: 2 · 3, 2 · 1.5.
            (gated, [0.75, 6.0, 0.0, 3.0]),
        ] {
            let found = codes(small(gate.clone()), h);
            for (found, expect) in found.iter().zip(expect) {
                assert!((found - expect).abs() < 1e-6, "{gate:?}: {found} {expect}");
            }
        }
        let centred = Weights {
            centred: true,
            ..small(Gate::Relu)
        };
        assert_eq!(codes(centred, h), [0.5, 1.5, 0.0, 0.0]);
    }

    #[test]
    fn the_way_back_is_linear() {
        let device = DeviceName::Cpu.open().unwrap();
        let sparse = Sparse::new(small(Gate::Relu), &device).unwrap();
        let z = from_rows(vec![1.0, 2.0], 1, 2, &device);
        assert_eq!(to_host(sparse.decode(z.clone())), [2.5, 4.5]);
        assert_eq!(to_host(sparse.back(z)), [2.0, 4.0]);
    }

    #[test]
    fn of_equal_values_the_first_stay() {
        let mut row = [1.0, 3.0, 3.0, 3.0, -1.0];
        keep_largest(&mut row, 2);
        assert_eq!(row, [0.0, 3.0, 3.0, 0.0, 0.0]);
        let mut row = [-2.0, -1.0];
        keep_largest(&mut row, 2);
        assert_eq!(row, [0.0, 0.0]);
    }

    #[test]
    fn parts_that_do_not_go_together_are_refused() {
        let device = DeviceName::Cpu.open().unwrap();
        let check = |weights: Weights| Sparse::new(weights, &device).unwrap_err().to_string();
        let of = |gate| small(gate);
        assert!(check(of(Gate::TopK(3))).contains("from 1 to the 2 features"));
        assert!(check(of(Gate::TopK(0))).contains("k"));
        assert!(check(of(Gate::JumpRelu(vec![0.0]))).contains("threshold"));
        let short = Weights {
            decoder: vec![1.0],
            ..small(Gate::Relu)
        };
        assert!(check(short).contains("W_dec"));
        let broken = Weights {
            decoder_bias: vec![0.0, f32::NAN],
            ..small(Gate::Relu)
        };
        assert!(check(broken).contains("b_dec"));
    }
}
