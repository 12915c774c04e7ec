//! The language model of an experiment.

use interlingua_training::recipe::GeometrySpec;
use serde::{Deserialize, Serialize};

/// The language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ModelSpec {
    /// A small model of the Cohere architecture, which the run trains on the testbed's text.
    Train(TrainSpec),
    /// A checkpoint folder under `--model-dir`, or a model of the Hugging Face hub.
    Folder {
        /// The name of the folder, a GGUF file, or `owner/name` or `owner/name@revision`.
        path: String,
        /// Words before every text, with which some encoders were trained, such as `query: `.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    /// A model of the hub like `folder`, with its sizes, so that `--dry-run` can describe it before it is downloaded.
    Hub {
        /// The name, `owner/name` or `owner/name@revision`.
        name: String,
        /// The sizes of the model, so that a plan can be made before anything is fetched.
        geometry: Geometry,
        /// Words before every text, as for `folder`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
}

impl ModelSpec {
    /// Returns the words before every text.
    pub fn prefix(&self) -> &str {
        match self {
            ModelSpec::Train(_) => "",
            ModelSpec::Folder { prefix, .. } | ModelSpec::Hub { prefix, .. } => prefix,
        }
    }
}

/// The sizes of a model that has not been downloaded yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// The width of the residual stream.
    pub hidden_size: u64,
    /// The width of the MLP.
    pub intermediate_size: u64,
    /// The number of blocks.
    pub layers: u64,
    /// The number of query heads.
    pub heads: u64,
    /// The number of key and value heads.
    pub kv_heads: u64,
    /// The number of rows of the embedding.
    pub vocab_size: u64,
    /// The number of matrices of an MLP: 3 with a gate, 2 without.
    #[serde(default = "gated")]
    pub mlp_matrices: u64,
    /// The number of bytes per stored weight.
    pub bytes_per_weight: u64,
}

/// The sizes and the training of the testbed's language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSpec {
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width of the MLP.
    pub intermediate_size: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// The largest size of the vocabulary of the byte-level BPE.
    pub vocab_size: usize,
    /// The factor on the logits.
    pub logit_scale: f64,
    /// The number of sentences of training text, in all languages together.
    pub sentences: usize,
    /// The number of sentences per step.
    pub batch: usize,
    /// The number of steps.
    pub steps: usize,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The number of steps between checkpoints from which a killed run can be resumed.
    pub checkpoint_every: usize,
}

impl TrainSpec {
    /// Returns the sizes of the model, for sentences of at most this many tokens. They lie beside the settings of the training in an
    /// experiment file, and apart from them in a recipe.
    pub fn geometry(&self, max_positions: usize) -> GeometrySpec {
        GeometrySpec {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            vocab_size: self.vocab_size,
            max_positions,
            logit_scale: self.logit_scale,
        }
    }
}

impl Default for TrainSpec {
    fn default() -> Self {
        TrainSpec {
            hidden_size: 128,
            intermediate_size: 256,
            layers: 1,
            heads: 4,
            kv_heads: 4,
            vocab_size: 4096,
            logit_scale: 1.0,
            sentences: 480_000,
            batch: 64,
            steps: 12_000,
            learning_rate: 8e-3,
            checkpoint_every: 500,
        }
    }
}

fn gated() -> u64 {
    3
}
