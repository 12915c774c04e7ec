//! One file per architecture, and the registry of their names.
//!
//! An [`Architecture`] is read from `config.json`; it says which tensors a
//! checkpoint must hold and turns them into an [`Embedding`], [`Block`]s, a
//! final norm and a [`Head`]. The engine knows nothing else.

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

/// What happens to a state at a hook point inside a block.
pub type Tap<'a> = &'a mut dyn FnMut(Hook, Tensor<2>) -> Tensor<2>;

/// One block, ready to run.
pub trait Block: Send + Sync {
    /// Pushes packed states through the block.
    ///
    /// `tap` is called with what attention and the MLP add to the residual
    /// stream, and its results are added instead.
    ///
    /// # Shapes
    /// `h`: `[rows, hidden]`; the result and what `tap` sees have the rows that `tree` asks for:
    /// all of them, but in the last block of a scoring pass.
    fn forward(&self, h: Tensor<2>, tree: &Tree, tap: Tap<'_>) -> Tensor<2>;
}

/// How a family of checkpoints computes.
pub trait Architecture: fmt::Debug + Send + Sync {
    /// Sizes that do not depend on the architecture.
    fn geometry(&self) -> &Geometry;

    /// Every tensor a checkpoint must hold, with its shape.
    fn tensors(&self) -> Tensors;

    /// What follows the lookup of token embeddings.
    ///
    /// # Errors
    /// Unreadable weights, as in all that follow.
    fn embedding(&self, source: &Source<'_>) -> Result<Embedding, ModelError>;

    /// One block.
    ///
    /// # Errors
    /// Unreadable weights.
    fn block(&self, layer: usize, source: &Source<'_>) -> Result<Box<dyn Block>, ModelError>;

    /// The norm after the last block; encoders have none.
    ///
    /// # Errors
    /// Unreadable weights.
    fn final_norm(&self, source: &Source<'_>) -> Result<Option<Norm>, ModelError>;

    /// What turns final states into logits, beside the vocabulary matrix itself; by default nothing.
    ///
    /// # Errors
    /// Unreadable weights.
    fn head(&self, _source: &Source<'_>) -> Result<Head, ModelError> {
        Ok(Head::default())
    }

    /// The token embedding's tensor, `[vocabulary, hidden]`.
    fn embedding_table(&self) -> String;

    /// The tensor whose rows score the vocabulary, `[vocabulary, hidden]`; the
    /// embedding's where they are tied, `None` for a model without an LM head.
    fn head_table(&self) -> Option<String>;

    /// The padding token of an architecture that gives it no position of its own. Nothing is
    /// padded here, and a text that has it is refused: all positions after it would be others.
    fn unplaced_token(&self) -> Option<u32> {
        None
    }

    /// Whether the matrices of blocks are stored `[in, out]`.
    fn stores_transposed(&self) -> bool {
        false
    }

    /// Where transformers has the states of the hook points.
    fn modules(&self) -> Modules;
}

/// The vocabulary matrix of a causal model: the embedding where the two are tied.
fn lm_head(tied: bool, embedding: String) -> String {
    if tied { embedding } else { LM_HEAD.to_owned() }
}

/// Module paths in transformers, with `{L}` for the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modules {
    /// Before all paths: the name of the base model within the one with a head.
    pub prefix: &'static str,
    /// Its output is [`Hook::EMBEDDING`].
    pub embedding: &'static str,
    /// A block, such as `layers.{L}`: its input and output are [`Hook::input`] and
    /// [`Hook::output`].
    pub block: &'static str,
    /// Queries, keys and values; within the block. A part of a module's output is `[0]`, its first third, or
    /// `[head 0]`, the first third of each head's.
    pub qkv: [&'static str; 3],
    /// Its input is [`Hook::heads`]; within the block.
    pub heads: &'static str,
    /// Its output is [`Hook::gate`]; within the block. `None` where the MLP has no gate.
    pub gate: Option<&'static str>,
    /// Its input is [`Hook::units`]; within the block.
    pub units: &'static str,
    /// Its output is [`Hook::attention`]; within the block.
    pub attention: &'static str,
    /// Its output is [`Hook::mlp`]; within the block.
    pub mlp: &'static str,
    /// Its output is [`Hook::FINAL_NORM`]; `None` where that is the last block's output.
    pub final_norm: Option<&'static str>,
}

impl Modules {
    /// Hook point and module, for every kind of hook point.
    ///
    /// `{L}` stands for the block and `{last}` for the last one; a path ends with
    /// `:input` or `:output`, the side of the module that the state is on, and which part of it.
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
                "block.{L}.attention",
                format!("{block}.{}:output", self.attention),
            ),
            ("block.{L}.units", format!("{block}.{}:input", self.units)),
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
            let units = rows.iter().position(|row| row.0 == "block.{L}.units");
            let gate = ("block.{L}.gate", format!("{block}.{gate}:output"));
            rows.insert(units.expect("listed above"), gate);
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
    units: "mlp.down_proj",
    attention: "self_attn",
    mlp: "mlp",
    final_norm: Some("norm"),
};

/// Reads an architecture from its `config.json`.
type Read = fn(&Reader<'_>) -> Result<Box<dyn Architecture>, ModelError>;

/// Every architecture: its name in `config.json`, the `model_type` that stands beside it, and its reader.
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

/// The names, for messages.
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
/// Names the file and the key, and what would work.
pub fn read(path: &Path) -> Result<Box<dyn Architecture>, ModelError> {
    parse(path, &read_json(path)?)
}

/// As [`read`], from JSON that has been read; `path` is for errors.
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
