//! Trains a small causal language model of the Cohere architecture.
//!
//! The loss and the gradients of the LM head are computed chunk by chunk, and the blocks are differentiated by burn's
//! autodiff. The complete state (weights, moments, step) can be saved and resumed. The order of the text depends on
//! the seed and the step alone, so a resumed run equals an uninterrupted one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use interlingua_backend::ops::{self, Rotary, Tree};
use interlingua_backend::optim::{AdamW, AdamWConfig, Parameter, gradient_or_zeros};
use interlingua_backend::{Device, Tensor, from_rows, to_host};
use interlingua_models::ModelError;
use interlingua_models::architectures::cohere::{
    BLOCK_TENSORS, Block, Config, block_shapes, block_tensor,
};
use interlingua_models::made::{random_weights, write_checkpoint, write_safetensors};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

/// The settings of a training run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainConfig {
    /// The number of sentences per step.
    pub batch: usize,
    /// The seed of the weights and of the order of the text.
    pub seed: u64,
    /// The settings of the optimiser.
    pub optimiser: AdamWConfig,
}

/// The revision of the training code. It changes when the same settings begin to give another model, and is a part of
/// the keys of models that a run trains.
pub const REVISION: u32 = 2;

/// Parts that a batch is cut into on the CPU. The number is fixed, so that a run gives the same
/// model on machines of any number of cores.
const SHARDS: usize = 4;

/// Gradients by the name of their parameter.
type Named = HashMap<String, Vec<f32>>;
/// From the normalised last state to the gradient with respect to it.
type Top<'a> = &'a mut dyn FnMut(Tensor<2>) -> Tensor<2>;
/// A forward and backward pass: the gradient of the embedded rows, and those of the parameters.
type Pass = fn(&Trainer, &[Block], Tensor<2>, &Tree, Top<'_>) -> (Tensor<2>, Named);

/// A training run between two steps.
pub struct Trainer {
    /// The settings of the model.
    pub config: Config,
    train: TrainConfig,
    optimiser: AdamW,
    device: Device,
    rotary: Arc<Rotary>,
    order: Option<(u64, Vec<u32>)>,
}

impl Trainer {
    /// Makes a model with fresh random weights.
    ///
    /// # Panics
    /// If the settings ask for norms of queries and keys or for biases, which cannot be trained.
    pub fn new(config: Config, train: TrainConfig, device: &Device) -> Trainer {
        assert!(
            !config.qk_norm && !config.attention_bias,
            "query-key norms and attention biases are not trained"
        );
        let weights = random_weights(&config, train.seed).into_iter();
        let parameters = weights
            .map(|(name, shape, values)| Parameter::new(name, &shape, values))
            .collect();
        Trainer {
            rotary: config.rotary(),
            config,
            train,
            optimiser: AdamW::new(train.optimiser, parameters),
            device: device.clone(),
            order: None,
        }
    }

    /// Returns the number of steps that were taken so far.
    pub fn steps_done(&self) -> usize {
        self.optimiser.step
    }

    /// Takes one step on the next sentences of `corpus`, and returns the mean loss in nats per token.
    ///
    /// The sentences are token ids that begin with the start token.
    ///
    /// # Errors
    /// A loss that is not finite, because the learning rate is too high or the text is damaged.
    pub fn step(&mut self, corpus: &[Vec<u32>]) -> Result<f64, ModelError> {
        let batch = self.next_batch(corpus);
        self.step_on(&batch)
    }

    /// Returns the learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.train.optimiser.rate(self.optimiser.step)
    }

    /// Takes one step on these sentences, and returns the mean loss in nats per token.
    ///
    /// The sentences are token ids that begin with the start token and have at least two tokens.
    ///
    /// # Errors
    /// A loss that is not finite, because the learning rate is too high or the text is damaged.
    pub fn step_on(&mut self, batch: &[&[u32]]) -> Result<f64, ModelError> {
        let (loss, gradients) = self.gradients(batch);
        let learned = self.optimiser.learn(loss, &gradients);
        learned.map_err(|e| ModelError::NotFiniteOutput { index: e.step })
    }

    fn next_batch<'a>(&mut self, corpus: &'a [Vec<u32>]) -> Vec<&'a [u32]> {
        let first = self.optimiser.step as u64 * self.train.batch as u64;
        let size = corpus.len() as u64;
        (first..first + self.train.batch as u64)
            .map(|at| {
                let epoch = at / size;
                if self.order.as_ref().is_none_or(|(e, _)| *e != epoch) {
                    let mut order: Vec<u32> = (0..corpus.len() as u32).collect();
                    let mut rng = ChaCha8Rng::seed_from_u64(self.train.seed ^ 0x5EED);
                    rng.set_stream(epoch);
                    order.shuffle(&mut rng);
                    self.order = Some((epoch, order));
                }
                let (_, order) = self.order.as_ref().expect("set just above");
                corpus[order[(at % size) as usize] as usize].as_slice()
            })
            .collect()
    }

    /// Loss and gradients of some sentences, gradients in the order of the parameters.
    fn gradients(&self, batch: &[&[u32]]) -> (f64, Vec<Vec<f32>>) {
        if interlingua_backend::device::is_plain_cpu(&self.device) {
            self.sharded(batch)
        } else {
            let blocks = self.blocks(&Device::autodiff(self.device.clone()));
            self.gradients_with(batch, &blocks, Trainer::recorded)
        }
    }

    /// Loss and gradients by the fused CPU kernels, parts of the batch side by side.
    ///
    /// The products of a small model are too small to be shared among threads well; whole
    /// passes over parts of the batch are not.
    fn sharded(&self, batch: &[&[u32]]) -> (f64, Vec<Vec<f32>>) {
        let shards: Vec<&[&[u32]]> = batch.chunks(batch.len().div_ceil(SHARDS).max(1)).collect();
        let blocks = self.blocks(&self.device);
        let found: Vec<(f64, Vec<Vec<f32>>)> = shards
            .par_iter()
            .map(|shard| self.gradients_with(shard, &blocks, Trainer::fused))
            .collect();
        let rows = |shard: &[&[u32]]| shard.iter().map(|s| s.len() - 1).sum::<usize>() as f64;
        let all = rows(batch);
        let shares: Vec<f64> = shards.iter().map(|shard| rows(shard) / all).collect();
        let (losses, gradients): (Vec<f64>, Vec<Vec<Vec<f32>>>) = found.into_iter().unzip();
        let loss = losses.iter().zip(&shares).map(|(l, share)| l * share);
        (loss.sum(), weighted_sum(gradients, &shares))
    }

    fn gradients_with(
        &self,
        batch: &[&[u32]],
        blocks: &[Block],
        pass: Pass,
    ) -> (f64, Vec<Vec<f32>>) {
        let c = &self.config;
        let d = c.hidden_size;
        // The last token of a sentence is only a target, so its row is never computed.
        let lengths: Vec<usize> = batch.iter().map(|s| s.len() - 1).collect();
        let tree = Tree::sequences(&lengths);
        let tokens: Vec<u32> = batch
            .iter()
            .flat_map(|s| &s[..s.len() - 1])
            .copied()
            .collect();
        let targets: Vec<u32> = batch.iter().flat_map(|s| &s[1..]).copied().collect();
        let table = self.value("model.embed_tokens.weight");
        let rows: Vec<f32> = tokens
            .iter()
            .flat_map(|&t| &table[t as usize * d..][..d])
            .copied()
            .collect();
        let embedded = from_rows(rows, tokens.len(), d, &blocks[0].norm.device());
        let head_name = if c.tied {
            "model.embed_tokens.weight"
        } else {
            "lm_head.weight"
        };
        let head = self.value(head_name);
        let mut head_gradient = Vec::new();
        let mut loss = 0.0;
        let mut top = |h: Tensor<2>| {
            let (value, grad_h, grad_head) = ops::cross_entropy(h, head, &targets, c.logit_scale);
            loss = value;
            head_gradient = grad_head;
            grad_h
        };
        let (grad_rows, mut named) = pass(self, blocks, embedded, &tree, &mut top);
        let mut embedding_gradient = if c.tied {
            head_gradient
        } else {
            named.insert(head_name.to_owned(), head_gradient);
            vec![0.0; table.len()]
        };
        for (&token, grad) in tokens.iter().zip(to_host(grad_rows).chunks_exact(d)) {
            for (sum, g) in embedding_gradient[token as usize * d..][..d]
                .iter_mut()
                .zip(grad)
            {
                *sum += g;
            }
        }
        named.insert("model.embed_tokens.weight".into(), embedding_gradient);
        let gradients = self.optimiser.parameters.iter().map(|p| {
            named
                .remove(&p.name)
                .expect("every parameter has a gradient")
        });
        (loss, gradients.collect())
    }

    fn value(&self, name: &str) -> &[f32] {
        &self
            .optimiser
            .parameters
            .iter()
            .find(|p| p.name == name)
            .expect("names come from the architecture")
            .values
    }

    /// The blocks with the weights of now.
    fn blocks(&self, device: &Device) -> Vec<Block> {
        let read = |name: &str| Ok::<_, std::convert::Infallible>(self.value(name).to_vec());
        let load = |layer| {
            let Ok(block) = Block::load(&self.config, layer, device, read);
            block
        };
        (0..self.config.layers).map(load).collect()
    }

    /// The gain of the final norm.
    fn gain(&self, device: &Device) -> Tensor<1> {
        let gain = self.value("model.norm.weight");
        from_rows(gain.to_vec(), 1, gain.len(), device).reshape([gain.len()])
    }

    /// Forward and backward by the fused CPU kernels.
    fn fused(
        &self,
        blocks: &[Block],
        embedded: Tensor<2>,
        tree: &Tree,
        top: Top<'_>,
    ) -> (Tensor<2>, Named) {
        let c = &self.config;
        let gain = self.gain(&embedded.device());
        let mut h = embedded;
        let mut kept = Vec::with_capacity(c.layers);
        for (layer, block) in blocks.iter().enumerate() {
            let (out, saved) = block.forward_saved(&c.run(layer, &self.rotary), h, tree);
            kept.push((block, saved));
            h = out;
        }
        let grad = top(ops::layer_norm(h.clone(), &gain, None, c.norm_eps));
        let (mut grad, d_gain) = ops::backward::layer_norm(grad, h, &gain, c.norm_eps);
        let mut named = Named::from([("model.norm.weight".to_owned(), d_gain)]);
        for (layer, (block, saved)) in kept.into_iter().enumerate().rev() {
            let (d_input, gradients) =
                block.backward(&c.run(layer, &self.rotary), grad, saved, tree);
            named.extend(
                BLOCK_TENSORS
                    .iter()
                    .zip(gradients)
                    .map(|(name, g)| (block_tensor(layer, name), g)),
            );
            grad = d_input;
        }
        (grad, named)
    }

    /// Forward and backward recorded by burn's autodiff, for any device.
    fn recorded(
        &self,
        blocks: &[Block],
        embedded: Tensor<2>,
        tree: &Tree,
        top: Top<'_>,
    ) -> (Tensor<2>, Named) {
        let c = &self.config;
        let gain = self.gain(&embedded.device()).require_grad();
        let embedded = embedded.require_grad();
        let mut h = embedded.clone();
        let mut recorded = Vec::with_capacity(c.layers);
        for (layer, block) in blocks.iter().enumerate() {
            let block = block.clone().require_grad();
            h = block.forward(&c.run(layer, &self.rotary), h, tree, &mut |_, h| h);
            recorded.push(block);
        }
        let h = ops::layer_norm(h, &gain, None, c.norm_eps);
        // The inner product with a constant gradient has exactly that gradient.
        let grad = top(h.clone().inner());
        let mut grads = (h * Tensor::from_inner(grad)).sum().backward();
        let mut named = Named::from([(
            "model.norm.weight".to_owned(),
            gradient_or_zeros(gain.grad_remove(&mut grads), c.hidden_size),
        )]);
        for (layer, block) in recorded.into_iter().enumerate() {
            let mut add = |at: usize, gradient: Option<Vec<f32>>| {
                let len = block_shapes(c)[at].iter().product();
                named.insert(
                    block_tensor(layer, BLOCK_TENSORS[at]),
                    gradient.unwrap_or_else(|| vec![0.0; len]),
                );
            };
            add(0, block.norm.grad_remove(&mut grads).map(to_host));
            for (at, matrix) in [
                block.q, block.k, block.v, block.o, block.gate, block.up, block.down,
            ]
            .into_iter()
            .enumerate()
            {
                add(at + 1, matrix.grad_remove(&mut grads).map(to_host));
            }
        }
        let [rows, d] = embedded.dims();
        let gradient = gradient_or_zeros(embedded.grad_remove(&mut grads), rows * d);
        (from_rows(gradient, rows, d, &self.device), named)
    }

    /// Writes the complete state, so that [`Trainer::resume`] continues exactly.
    ///
    /// # Errors
    /// A file that cannot be written; an earlier checkpoint is then still there.
    pub fn save_checkpoint(&self, path: &Path) -> Result<(), ModelError> {
        let mut tensors = Vec::new();
        for p in &self.optimiser.parameters {
            for (kind, values) in [
                ("value", &p.values),
                ("first", &p.first),
                ("second", &p.second),
            ] {
                tensors.push((
                    format!("{kind}.{}", p.name),
                    p.shape.clone(),
                    values.as_slice(),
                ));
            }
        }
        let metadata = HashMap::from([("step".to_owned(), self.optimiser.step.to_string())]);
        write_safetensors(path, &tensors, Some(metadata))
    }

    /// Continues from a checkpoint of the same geometry.
    ///
    /// # Errors
    /// A file that is not a checkpoint of this model.
    pub fn resume(&mut self, path: &Path) -> Result<(), ModelError> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Io {
            path: path.to_owned(),
            source,
        })?;
        let bad = |problem: String| ModelError::BadWeights {
            path: path.to_owned(),
            problem,
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
        let step = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get("step"))
            .and_then(|s| s.parse().ok());
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
        let step = step.ok_or_else(|| bad("is not a training checkpoint: no step".into()))?;
        for p in &mut self.optimiser.parameters {
            for (kind, values) in [
                ("value", &mut p.values),
                ("first", &mut p.first),
                ("second", &mut p.second),
            ] {
                let name = format!("{kind}.{}", p.name);
                let view = tensors
                    .tensor(&name)
                    .map_err(|e| bad(format!("`{name}`: {e}")))?;
                if view.shape() != p.shape || view.dtype() != Dtype::F32 {
                    return Err(bad(format!(
                        "`{name}` has shape {:?}, this model needs {:?}",
                        view.shape(),
                        p.shape
                    )));
                }
                *values = view
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b))
                    .collect();
            }
        }
        self.optimiser.step = step;
        Ok(())
    }

    /// Writes a Hugging Face checkpoint folder that transformers loads.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn export(&self, folder: &Path, tokenizer_json: &str) -> Result<(), ModelError> {
        let tensors: Vec<_> = self
            .optimiser
            .parameters
            .iter()
            .map(|p| (p.name.clone(), p.shape.clone(), p.values.as_slice()))
            .collect();
        write_checkpoint(folder, &self.config, tokenizer_json, &tensors)
    }
}

/// Values of a gradient that are added up at a time.
const ADDED: usize = 1 << 14;

/// Adds up the gradients of the parts of a batch, each times its share.
fn weighted_sum(parts: Vec<Vec<Vec<f32>>>, shares: &[f64]) -> Vec<Vec<f32>> {
    let mut parts = parts.into_iter();
    let mut sums = parts.next().expect("a batch has a part");
    let others: Vec<Vec<Vec<f32>>> = parts.collect();
    for (at, sum) in sums.iter_mut().enumerate() {
        sum.par_chunks_mut(ADDED).enumerate().for_each(|(i, sum)| {
            let range = i * ADDED..i * ADDED + sum.len();
            sum.iter_mut().for_each(|s| *s *= shares[0] as f32);
            for (other, &share) in others.iter().zip(&shares[1..]) {
                for (s, g) in sum.iter_mut().zip(&other[at][range.clone()]) {
                    *s += share as f32 * g;
                }
            }
        });
    }
    sums
}

#[cfg(test)]
mod tests;
