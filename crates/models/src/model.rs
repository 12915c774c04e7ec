//! An opened checkpoint: config, tokenizer, and weights on demand.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use interlingua_backend::ops::{Rotary, RotaryScaling, RotaryStyle};
use interlingua_backend::{Device, Tensor, from_rows};

use crate::ModelError;
use crate::cohere::{self, Block};
use crate::config::Config;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;

/// Where the blocks live between passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residency {
    /// Resident if the weights fit in half of the free memory, else streamed.
    #[default]
    Auto,
    /// One block at a time, read from disk in every pass.
    Stream,
    /// All blocks stay in memory after the first pass.
    Resident,
}

/// A checkpoint folder, opened and checked.
pub struct Model {
    /// The folder.
    pub folder: PathBuf,
    /// Geometry.
    pub config: Config,
    /// Tokenizer.
    pub tokenizer: Tokenizer,
    /// Device the tensors are put on.
    pub device: Device,
    /// Residency in force: never `Auto`.
    pub residency: Residency,
    weights: Weights,
    rotary: Rotary,
    resident: Vec<OnceLock<Block>>,
    embedding: OnceLock<Tensor<2>>,
    head: OnceLock<Tensor<2>>,
    norm: Tensor<1>,
}

/// Positions whose rotary angles are tabulated; longer sequences are refused by the engine.
const MAX_TABULATED: usize = 1 << 16;

impl Model {
    /// Opens a Hugging Face checkpoint folder.
    ///
    /// # Errors
    /// Anything missing, malformed or inconsistent, by file and key.
    pub fn open(folder: &Path, device: &Device, residency: Residency) -> Result<Model, ModelError> {
        let config_path = folder.join("config.json");
        if !config_path.is_file() {
            return Err(ModelError::MissingFile {
                folder: folder.to_owned(),
                file: "config.json".into(),
            });
        }
        let config = Config::read(&config_path)?;
        let weights = Weights::open(folder)?;
        let mut expected = cohere::tensors(&config);
        // A tied checkpoint may still carry its head; it is then a copy of the embedding.
        if config.tied && weights.names().any(|n| n == "lm_head.weight") {
            expected.insert(
                "lm_head.weight".into(),
                vec![config.vocab_size, config.hidden_size],
            );
        }
        weights.expect(&expected)?;
        let tokenizer = Tokenizer::open(folder, config.vocab_size)?;
        let norm = from_rows(
            weights.read("model.norm.weight")?,
            1,
            config.hidden_size,
            device,
        )
        .reshape([config.hidden_size]);
        let needed = weights.parameters() * 4;
        let residency = match residency {
            Residency::Auto if available_memory().is_some_and(|free| needed > free / 2) => {
                Residency::Stream
            }
            Residency::Auto => Residency::Resident,
            chosen => chosen,
        };
        Ok(Model {
            folder: folder.to_owned(),
            tokenizer,
            device: device.clone(),
            residency,
            weights,
            rotary: Rotary::new(
                config.head_dim,
                config.rope_theta,
                RotaryStyle::Interleaved,
                RotaryScaling::None,
            ),
            resident: (0..config.layers).map(|_| OnceLock::new()).collect(),
            embedding: OnceLock::new(),
            head: OnceLock::new(),
            norm,
            config,
        })
    }

    /// Digest of the weights, the config and the tokenizer together.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> Result<blake3::Hash, ModelError> {
        let mut hasher = blake3::Hasher::new();
        let small = ["config.json", "tokenizer.json"].map(|f| self.folder.join(f));
        for path in small
            .iter()
            .map(PathBuf::as_path)
            .chain(self.weights.files())
        {
            let file = std::fs::File::open(path).map_err(ModelError::io(path))?;
            hasher.update_reader(file).map_err(ModelError::io(path))?;
        }
        Ok(hasher.finalize())
    }

    /// The weights, for inspection.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// One block, from memory or from disk.
    ///
    /// # Errors
    /// When its tensors cannot be read.
    pub fn block(&self, layer: usize) -> Result<Cow<'_, Block>, ModelError> {
        if let Some(block) = self.resident[layer].get() {
            return Ok(Cow::Borrowed(block));
        }
        let block = Block::load(&self.config, layer, &self.device, |name| {
            self.weights.read(name)
        })?;
        if self.residency == Residency::Resident {
            return Ok(Cow::Borrowed(self.resident[layer].get_or_init(|| block)));
        }
        Ok(Cow::Owned(block))
    }

    /// The token embedding, `[vocabulary, hidden]`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn embedding(&self) -> Result<&Tensor<2>, ModelError> {
        self.table(&self.embedding, "model.embed_tokens.weight")
    }

    /// The matrix whose rows score the vocabulary, `[vocabulary, hidden]`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn head(&self) -> Result<&Tensor<2>, ModelError> {
        if self.config.tied {
            self.embedding()
        } else {
            self.table(&self.head, "lm_head.weight")
        }
    }

    fn table<'a>(
        &'a self,
        cell: &'a OnceLock<Tensor<2>>,
        name: &str,
    ) -> Result<&'a Tensor<2>, ModelError> {
        if cell.get().is_none() {
            let values = self.weights.read(name)?;
            let table = from_rows(
                values,
                self.config.vocab_size,
                self.config.hidden_size,
                &self.device,
            );
            return Ok(cell.get_or_init(|| table));
        }
        Ok(cell.get().expect("filled just above"))
    }

    /// Gain of the final norm, `[hidden]`.
    pub fn final_norm(&self) -> &Tensor<1> {
        &self.norm
    }

    /// Rotary angles.
    pub fn rotary(&self) -> &Rotary {
        &self.rotary
    }

    /// Longest sequence the model can take.
    pub fn max_tokens(&self) -> usize {
        self.config.max_positions.min(MAX_TABULATED)
    }

    /// A text as a sequence that starts with the model's start token.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn sequence(&self, text: &str) -> Result<crate::Sequence, ModelError> {
        let start = self.config.bos.or(self.config.eos);
        let mut tokens: Vec<u32> = start.into_iter().collect();
        let context = tokens.len();
        tokens.extend(self.tokenizer.encode(text)?);
        Ok(crate::Sequence { tokens, context })
    }
}

/// Memory the system can still give, in bytes, where it says so.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}
