//! AdamW with warm-up, cosine decay and gradient clipping. Its complete state can be saved.
//!
//! # Source
//! Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (arXiv 1711.05101).

use std::ops::Deref;

use burn::tensor::DType;

use crate::{Device, Tensor, TensorData, kernels, to_host};

/// The settings of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The decay of the first moment.
    pub beta_1: f64,
    /// The decay of the second moment.
    pub beta_2: f64,
    /// The number that is added to the root of the second moment.
    pub epsilon: f64,
    /// The decoupled weight decay, which is applied to matrices only.
    pub weight_decay: f64,
    /// The largest global L2 norm of the gradients; larger gradients are scaled down to it.
    pub clip_norm: f64,
    /// The number of steps of linear warm-up.
    pub warmup: usize,
    /// The number of all steps, over which the rate falls along a cosine.
    pub steps: usize,
    /// The share of the peak rate that is left at the last step.
    pub final_share: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig {
            learning_rate: 1e-3,
            beta_1: 0.9,
            beta_2: 0.98,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip_norm: 1.0,
            warmup: 100,
            steps: 1000,
            final_share: 0.1,
        }
    }
}

impl AdamWConfig {
    /// Returns the learning rate of a step, counted from 0.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / self.warmup as f64;
        }
        let done =
            (step - self.warmup) as f64 / (self.steps.saturating_sub(self.warmup)).max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.learning_rate * (self.final_share + (1.0 - self.final_share) * cosine)
    }
}

/// A named parameter and its moments, in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The unique name.
    pub name: String,
    /// The shape of the tensor.
    pub shape: Vec<usize>,
    /// The row-major values.
    pub values: Vec<f32>,
    /// The first moment.
    pub first: Vec<f32>,
    /// The second moment.
    pub second: Vec<f32>,
}

impl Parameter {
    /// Makes a parameter whose moments are zero.
    pub fn new(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Parameter {
        assert_eq!(
            values.len(),
            shape.iter().product::<usize>(),
            "values of a parameter fill its shape"
        );
        let zeros = vec![0.0; values.len()];
        Parameter {
            name: name.into(),
            shape: shape.to_vec(),
            values,
            first: zeros.clone(),
            second: zeros,
        }
    }

    /// Returns the values as a tensor.
    pub fn tensor<const D: usize>(&self, device: &Device) -> Tensor<D> {
        let data = TensorData::new(self.values.clone(), self.shape.clone());
        debug_assert_eq!(data.dtype, DType::F32);
        Tensor::from_data(data, device)
    }
}

/// A loss that is not finite, so that nothing can be learned from its gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NotFinite {
    /// The loss.
    pub loss: f64,
    /// The step that it would have been, counted from 0.
    pub step: usize,
}

/// The optimiser. Its parameters are in host memory between steps.
///
/// The models trained here are small. With the state in host memory, a checkpoint is an ordinary file and a resumed
/// run equals an uninterrupted one.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// The settings of the optimiser.
    pub config: AdamWConfig,
    /// The number of steps that were taken.
    pub step: usize,
    /// The parameters, in the order that the model expects.
    pub parameters: Vec<Parameter>,
}

impl AdamW {
    /// Makes an optimiser at step 0.
    pub fn new(config: AdamWConfig, parameters: Vec<Parameter>) -> AdamW {
        AdamW {
            config,
            step: 0,
            parameters,
        }
    }

    /// Takes one step from a loss and its gradients, one per parameter; gives the loss back.
    ///
    /// # Errors
    /// A loss that is not finite: the parameters are then as they were.
    pub fn learn<G: Deref<Target = [f32]>>(
        &mut self,
        loss: f64,
        gradients: &[G],
    ) -> Result<f64, NotFinite> {
        if !loss.is_finite() {
            let step = self.step;
            return Err(NotFinite { loss, step });
        }
        self.step(gradients);
        Ok(loss)
    }

    /// Takes one step with one gradient per parameter, and returns the global norm of the gradients.
    ///
    /// A gradient whose length is not that of its parameter is an error in the calling code.
    pub fn step<G: Deref<Target = [f32]>>(&mut self, gradients: &[G]) -> f64 {
        assert_eq!(
            gradients.len(),
            self.parameters.len(),
            "one gradient per parameter"
        );
        let squares = gradients.iter().flat_map(|g| kernels::squares(g));
        let norm = squares.map(f64::from).sum::<f64>().sqrt();
        let clip = (self.config.clip_norm / norm).min(1.0) as f32;
        let rate = self.config.rate(self.step);
        self.step += 1;
        let (b1, b2) = (self.config.beta_1, self.config.beta_2);
        let correction_1 = 1.0 / (1.0 - b1.powi(self.step as i32));
        let correction_2 = 1.0 / (1.0 - b2.powi(self.step as i32));
        for (parameter, gradient) in self.parameters.iter_mut().zip(gradients) {
            assert_eq!(
                parameter.values.len(),
                gradient.len(),
                "gradient of `{}`",
                parameter.name
            );
            let decay = if parameter.shape.len() >= 2 {
                self.config.weight_decay * rate
            } else {
                0.0
            };
            kernels::adamw(
                &mut parameter.values,
                gradient,
                &mut parameter.first,
                &mut parameter.second,
                kernels::Step {
                    clip,
                    beta_1: b1 as f32,
                    beta_2: b2 as f32,
                    step_size: (rate * correction_1) as f32,
                    correction_2: correction_2 as f32,
                    epsilon: self.config.epsilon as f32,
                    decay: decay as f32,
                },
            );
        }
        norm
    }
}

/// Returns a gradient in host memory; it is zeros if the loss does not depend on the parameter.
pub fn gradient_or_zeros<const D: usize>(gradient: Option<Tensor<D>>, len: usize) -> Vec<f32> {
    gradient.map_or_else(|| vec![0.0; len], to_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_warms_up_and_decays() {
        let config = AdamWConfig {
            learning_rate: 1.0,
            warmup: 10,
            steps: 110,
            ..Default::default()
        };
        assert!((config.rate(0) - 0.1).abs() < 1e-12);
        assert!((config.rate(9) - 1.0).abs() < 1e-12);
        assert!((config.rate(60) - 0.55).abs() < 1e-12);
        assert!((config.rate(110) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_quadratic_is_minimised_and_decay_spares_vectors() {
        let config = AdamWConfig {
            learning_rate: 0.1,
            warmup: 1,
            steps: 400,
            weight_decay: 0.5,
            clip_norm: 1e9,
            ..Default::default()
        };
        let parameters = vec![
            Parameter::new("v", &[2], vec![3.0, -4.0]),
            Parameter::new("m", &[1, 2], vec![1.0, 1.0]),
        ];
        let mut optimiser = AdamW::new(config, parameters);
        for _ in 0..400 {
            let v = &optimiser.parameters[0].values;
            let gradient = vec![2.0 * (v[0] - 1.0), 2.0 * (v[1] - 2.0)];
            optimiser.step(&[gradient, vec![0.0, 0.0]]);
        }
        let v = &optimiser.parameters[0].values;
        assert!(
            (v[0] - 1.0).abs() < 1e-2 && (v[1] - 2.0).abs() < 1e-2,
            "{v:?}"
        );
        assert!(
            optimiser.parameters[1].values[0] < 1e-3,
            "decay alone shrinks a matrix"
        );
    }

    /// Bit for bit, on any number of threads and over the ends of what one task does.
    #[test]
    fn a_step_is_that_of_its_definition() {
        let len = 70_001;
        let noise = |seed: usize| -> Vec<f32> {
            let of = |i: usize| ((i * 7919 + seed) % 1013) as f32 / 506.0 - 1.0;
            (0..len).map(of).collect()
        };
        let config = AdamWConfig {
            clip_norm: 1e9,
            weight_decay: 0.1,
            ..Default::default()
        };
        let (start, gradient) = (noise(1), noise(2));
        let step = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let parameter = Parameter::new("m", &[1, len], start.clone());
                let mut optimiser = AdamW::new(config, vec![parameter]);
                let norm = optimiser.step(&[gradient.as_slice()]);
                (norm, optimiser.parameters.remove(0))
            })
        };
        let (norm, found) = step(1);
        assert_eq!(step(3), (norm, found.clone()));
        let squares: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
        assert!((norm - squares.sqrt()).abs() < 1e-4 * norm);
        let (b1, b2) = (config.beta_1 as f32, config.beta_2 as f32);
        let rate = config.rate(0);
        let size = (rate / (1.0 - config.beta_1)) as f32;
        let (correction, decay) = ((1.0 / (1.0 - config.beta_2)) as f32, (0.1 * rate) as f32);
        for i in 0..len {
            let (p, g) = (start[i], gradient[i]);
            let (first, second) = ((1.0 - b1) * g, (1.0 - b2) * g * g);
            let root = (second * correction).sqrt() + config.epsilon as f32;
            assert_eq!(found.first[i], b1 * 0.0 + first);
            assert_eq!(found.second[i], b2 * 0.0 + second);
            assert_eq!(
                found.values[i],
                p * (1.0 - decay) - size * first / root,
                "{i}"
            );
        }
    }
}
