//! The supported model architectures, one file each, and the registry of their names.
//!
//! An [`Architecture`] is read from `config.json`. It says which tensors a checkpoint must hold and turns them into
//! an [`Embedding`], [`Block`]s, a final norm and a [`Head`]. The engine knows nothing else about a model.

pub mod bert;
pub mod bloom;
pub mod cohere;
pub mod cohere2;
mod decoder;
pub mod distilbert;
pub mod gemma2;
pub mod gemma3;
pub mod gpt2;
pub mod llama;
pub mod mistral;
pub mod parts;
pub mod post_norm;
pub mod qwen2;
pub mod qwen3;
mod rope;
mod windows;
pub mod xlm_roberta;

use std::fmt;
use std::path::Path;

use interlingua_backend::Tensor;
use interlingua_backend::ops::Tree;
use serde_json::{Value, json};

use crate::ModelError;
use crate::config::{Geometry, Reader, read_json};
use crate::input;
use crate::weights::{LM_HEAD, Source, Tensors};
use interlingua_edits::Hook;

pub use parts::{Embedding, Head, Norm};

/// A function that is called with the states at a hook inside a block and returns the states to go on with.
pub type Tap<'a> = &'a mut dyn FnMut(Hook, Tensor<2>) -> Tensor<2>;

/// One block, with its weights loaded.
pub trait Block: Send + Sync {
    /// Runs packed states through the block.
    ///
    /// `tap` is called with what attention and the MLP add to the residual stream, and its results are added instead.
    ///
    /// # Shapes
    /// `h` is `[rows, hidden]`. The result and the states that `tap` gets have the rows that `tree` asks for: all
    /// rows, except in the last block of a scoring pass.
    fn forward(&self, h: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2>;
}

/// The computation of a family of checkpoints.
pub trait Architecture: fmt::Debug + Send + Sync {
    /// Returns the sizes that every architecture has.
    fn geometry(&self) -> &Geometry;

    /// Returns every tensor that a checkpoint must hold, with its shape.
    fn tensors(&self) -> Tensors;

    /// Returns the operations that follow the lookup of token embeddings.
    ///
    /// # Errors
    /// Weights that cannot be read.
    fn embedding(&self, source: &Source<'_>) -> Result<Embedding, ModelError>;

    /// Returns one block with its weights.
    ///
    /// # Errors
    /// Weights that cannot be read.
    fn block(&self, layer: usize, source: &Source<'_>) -> Result<Box<dyn Block>, ModelError>;

    /// Returns the norm after the last block; `None` for encoders, which have none.
    ///
    /// # Errors
    /// Weights that cannot be read.
    fn final_norm(&self, source: &Source<'_>) -> Result<Option<Norm>, ModelError>;

    /// Returns the operations that turn final states into logits, apart from the product with the vocabulary matrix.
    /// By default there are none.
    ///
    /// # Errors
    /// Weights that cannot be read.
    fn head(&self, _source: &Source<'_>) -> Result<Head, ModelError> {
        Ok(Head::default())
    }

    /// Returns the name of the token embedding's tensor, `[vocabulary, hidden]`.
    fn embedding_table(&self) -> String;

    /// Returns the name of the tensor whose rows score the vocabulary, `[vocabulary, hidden]`. It is the embedding's
    /// if the two are tied, and `None` for a model without an LM head.
    fn head_table(&self) -> Option<String>;

    /// Returns the padding token, for an architecture that gives it no position of its own. The engine never pads,
    /// and it refuses a text that contains this token, because all positions after it would be different.
    fn unplaced_token(&self) -> Option<u32> {
        None
    }

    /// Returns whether the matrices of blocks are stored `[in, out]`.
    fn stores_transposed(&self) -> bool {
        false
    }

    /// Returns the modules of transformers at which the states of the hooks can be found.
    fn modules(&self) -> Modules;
}

/// The vocabulary matrix of a causal model: the embedding where the two are tied.
fn lm_head(tied: bool, embedding: String) -> String {
    if tied { embedding } else { LM_HEAD.to_owned() }
}

/// The paths of modules in transformers, with `{L}` for the number of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modules {
    /// The prefix of all paths: the name of the base model within the model with a head.
    pub prefix: &'static str,
    /// The module whose output is [`Hook::EMBEDDING`].
    pub embedding: &'static str,
    /// The module of a block, such as `layers.{L}`. Its input and output are [`Hook::input`] and [`Hook::output`].
    pub block: &'static str,
    /// The modules of queries, keys and values, within the block. A part of a module's output is written `[0]` (the
    /// first third of it) or `[head 0]` (the first third of each head's).
    pub qkv: [&'static str; 3],
    /// The module within the block whose input is [`Hook::heads`] and whose output is [`Hook::projected`].
    pub heads: &'static str,
    /// The module within the block whose output is [`Hook::gate`]; `None` if the MLP has no gate.
    pub gate: Option<&'static str>,
    /// The module within the block whose output is [`Hook::up`].
    pub up: &'static str,
    /// The module within the block whose input is [`Hook::units`] and whose output is [`Hook::down`].
    pub units: &'static str,
    /// The module within the block whose output is [`Hook::attention`].
    pub attention: &'static str,
    /// The module within the block whose output is [`Hook::mlp`].
    pub mlp: &'static str,
    /// The module whose output is [`Hook::FINAL_NORM`]; `None` if that is the last block's output.
    pub final_norm: Option<&'static str>,
}

impl Modules {
    /// Returns the hook and the module of every kind of hook.
    ///
    /// `{L}` stands for the number of the block and `{last}` for that of the last one. A path ends with `:input` or
    /// `:output`, the side of the module at which the states are, and with the part of it if they are only a part.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let block = format!("{}{}", self.prefix, self.block);
        let [queries, keys, values] = self.qkv.map(|place| match place.split_once('[') {
            Some((module, part)) => format!("{block}.{module}:output[{part}"),
            None => format!("{block}.{place}:output"),
        });
        let mut rows = vec![
            (
                "embedding",
                format!("{}{}:output", self.prefix, self.embedding),
            ),
            ("block.{L}.input", format!("{block}:input")),
            ("block.{L}.queries", queries),
            ("block.{L}.keys", keys),
            ("block.{L}.values", values),
            ("block.{L}.heads", format!("{block}.{}:input", self.heads)),
            (
                "block.{L}.projected",
                format!("{block}.{}:output", self.heads),
            ),
            (
                "block.{L}.attention",
                format!("{block}.{}:output", self.attention),
            ),
            ("block.{L}.up", format!("{block}.{}:output", self.up)),
            ("block.{L}.units", format!("{block}.{}:input", self.units)),
            ("block.{L}.down", format!("{block}.{}:output", self.units)),
            ("block.{L}.mlp", format!("{block}.{}:output", self.mlp)),
            ("block.{L}.output", format!("{block}:output")),
            (
                "final_norm",
                match self.final_norm {
                    Some(module) => format!("{}{module}:output", self.prefix),
                    None => format!("{}:output", block.replace("{L}", "{last}")),
                },
            ),
        ];
        if let Some(gate) = self.gate {
            let up = rows.iter().position(|row| row.0 == "block.{L}.up");
            let gate = ("block.{L}.gate", format!("{block}.{gate}:output"));
            rows.insert(up.expect("listed above"), gate);
        }
        rows
    }
}

/// The modules of Llama and of the many families that follow its names.
const LLAMA_MODULES: Modules = Modules {
    prefix: "model.",
    embedding: "embed_tokens",
    block: "layers.{L}",
    qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    heads: "self_attn.o_proj",
    gate: Some("mlp.gate_proj"),
    up: "mlp.up_proj",
    units: "mlp.down_proj",
    attention: "self_attn",
    mlp: "mlp",
    final_norm: Some("norm"),
};

/// Reads an architecture from its `config.json`.
type Read = fn(&Reader<'_>) -> Result<Box<dyn Architecture>, ModelError>;

/// All architectures: the name in `config.json`, the `model_type` that comes with it, and the function that reads it.
pub const ARCHITECTURES: &[(&str, &str, Read)] = &[
    ("BertForMaskedLM", "bert", bert::read_masked),
    ("BertModel", "bert", bert::read_base),
    ("BloomForCausalLM", "bloom", bloom::read),
    ("Cohere2ForCausalLM", "cohere2", cohere2::read),
    ("CohereForCausalLM", "cohere", cohere::read),
    (
        "DistilBertForMaskedLM",
        "distilbert",
        distilbert::read_masked,
    ),
    ("DistilBertModel", "distilbert", distilbert::read_base),
    ("GPT2LMHeadModel", "gpt2", gpt2::read),
    ("Gemma2ForCausalLM", "gemma2", gemma2::read),
    ("Gemma3ForCausalLM", "gemma3_text", gemma3::read),
    (
        "Gemma3ForConditionalGeneration",
        "gemma3",
        gemma3::read_multimodal,
    ),
    ("LlamaForCausalLM", "llama", llama::read),
    ("MistralForCausalLM", "mistral", mistral::read),
    ("Qwen2ForCausalLM", "qwen2", qwen2::read),
    ("Qwen3ForCausalLM", "qwen3", qwen3::read),
    (
        "RobertaForMaskedLM",
        "roberta",
        xlm_roberta::read_roberta_masked,
    ),
    (
        "XLMRobertaForMaskedLM",
        "xlm-roberta",
        xlm_roberta::read_masked,
    ),
    ("XLMRobertaModel", "xlm-roberta", xlm_roberta::read_base),
];

/// Lists the names of all architectures, for messages.
pub fn names() -> String {
    ARCHITECTURES
        .iter()
        .map(|(name, ..)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Reads and checks a `config.json`.
///
/// # Errors
/// A file that cannot be used; the error names the file, the key, and what would work.
pub fn read(path: &Path) -> Result<Box<dyn Architecture>, ModelError> {
    parse(path, &read_json(path)?)
}

/// Parses JSON that has already been read, as [`read`] does; `path` is for errors.
pub(crate) fn parse(path: &Path, json: &Value) -> Result<Box<dyn Architecture>, ModelError> {
    let reader = Reader::new(path, json);
    check_common(&reader)?;
    let found = json
        .get("architectures")
        .and_then(|a| a.get(0))
        .and_then(|a| a.as_str())
        .ok_or_else(|| {
            reader.bad(
                "architectures",
                format!("missing; expected one of {}", names()),
            )
        })?;
    let Some((_, model_type, read)) = ARCHITECTURES.iter().find(|(name, ..)| *name == found) else {
        return Err(ModelError::UnknownArchitecture {
            path: path.to_owned(),
            found: input::brief(found.to_owned()),
            known: names(),
        });
    };
    // transformers' AutoModel goes by the one, this crate by the other.
    if let Some(other) = reader.value("model_type").filter(|t| *t != model_type) {
        let problem = format!("{other} does not belong to {found}, whose type is `{model_type}`");
        return Err(reader.bad("model_type", problem));
    }
    let architecture = read(&reader)?;
    if architecture.geometry().causal {
        check_causal(&reader)?;
    }
    Ok(architecture)
}

/// Refuses settings that no architecture has and that would change what is computed.
///
/// # Errors
/// Names the key.
fn check_common(r: &Reader<'_>) -> Result<(), ModelError> {
    if r.value("quantization_config").is_some() {
        let problem =
            "quantised weights cannot be read; take the original checkpoint, in f32, f16 or bf16";
        return Err(r.bad("quantization_config", problem.into()));
    }
    if r.value("transformers_weights").is_some() {
        let problem = "names another file of weights; `model.safetensors` or its index is read";
        return Err(r.bad("transformers_weights", problem.into()));
    }
    r.only("per_layer_config", json!({}))?;
    r.only("pruned_heads", json!({}))?;
    r.only("is_encoder_decoder", false)
}

/// Refuses a decoder whose tokens see those that follow.
///
/// # Errors
/// Names the key.
fn check_causal(r: &Reader<'_>) -> Result<(), ModelError> {
    r.only("is_causal", true)
}

/// Asserts that a `config.json` is read as it is, and refused with `key` set to `value` by an error
/// that names the key and says `told`.
#[cfg(test)]
pub(crate) fn refuses(good: &Value, key: &str, value: Value, told: &str) {
    let read = |json: &Value| parse(Path::new("config.json"), json).map(|_| ());
    read(good).unwrap_or_else(|e| panic!("before `{key}` is changed: {e}"));
    let mut bad = good.clone();
    bad[key] = value;
    let message = read(&bad).expect_err(key).to_string();
    assert!(
        message.contains(key) && message.contains(told),
        "{key}: {message}"
    );
}
