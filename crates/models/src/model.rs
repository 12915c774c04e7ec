//! An opened checkpoint: config, tokenizer, and weights on demand.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use interlingua_backend::device::is_plain_cpu;
use interlingua_backend::{Device, DeviceError, Precision, Tensor};
use interlingua_edits::Role;

use crate::ModelError;
use crate::architectures::{Architecture, Block, Embedding, Head, Norm};
use crate::chat::Message;
use crate::checkpoint::Checkpoint;
use crate::config::Geometry;
use crate::input;
use crate::pack::Sequence;
use crate::spill::Budget;
use crate::table::Table;
use crate::tokenizer::{SpecialToken, Tokenizer};
use crate::weights::{Source, Weights};

/// Where the blocks live between passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residency {
    /// Resident if the weights fit in half of the free memory, else streamed.
    #[default]
    Auto,
    /// One block at a time, read from disk in every pass; embedding and head in slices.
    Stream,
    /// All weights stay in memory after the first pass, as they are stored.
    Resident,
}

impl fmt::Display for Residency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Residency::Auto => "auto",
            Residency::Stream => "stream",
            Residency::Resident => "resident",
        })
    }
}

impl FromStr for Residency {
    type Err = String;

    fn from_str(text: &str) -> Result<Residency, String> {
        match text {
            "auto" => Ok(Residency::Auto),
            "stream" => Ok(Residency::Stream),
            "resident" => Ok(Residency::Resident),
            other => Err(format!("`{other}` is none of auto, stream, resident")),
        }
    }
}

/// A checkpoint, opened and checked.
pub struct Model {
    /// The folder, or the GGUF file.
    pub folder: PathBuf,
    /// Sizes.
    pub geometry: Geometry,
    /// Tokenizer.
    pub tokenizer: Tokenizer,
    /// Device the tensors are put on.
    pub device: Device,
    /// Residency in force: never `Auto`.
    pub residency: Residency,
    /// How much memory hidden states may take between blocks.
    pub budget: Budget,
    precision: Precision,
    /// Files beside the weights that decide what is computed.
    beside: Vec<PathBuf>,
    quantised: Option<String>,
    /// Put before every text.
    prefix: String,
    architecture: Box<dyn Architecture>,
    weights: Weights,
    /// Blocks that are kept ready to run; empty cells otherwise.
    blocks: Vec<OnceLock<Arc<dyn Block>>>,
    keep_blocks: bool,
    tables: Vec<Table>,
    embedding: OnceLock<Embedding>,
    final_norm: OnceLock<Option<Norm>>,
    head: OnceLock<Head>,
}

impl Model {
    /// Opens a Hugging Face checkpoint folder, a GGUF file, or a folder with one.
    ///
    /// # Errors
    /// Anything missing, malformed or inconsistent, by file and key.
    pub fn open(path: &Path, device: &Device, residency: Residency) -> Result<Model, ModelError> {
        let checkpoint = Checkpoint::open(path)?;
        let architecture = checkpoint.architecture()?;
        let geometry = architecture.geometry().clone();
        let mut weights = checkpoint.weights()?;
        weights.expect(&architecture.tensors())?;
        let tokenizer = checkpoint.tokenizer(geometry.vocab_size)?;
        let residency = match residency {
            Residency::Auto
                if available_memory().is_some_and(|free| weights.bytes() > free / 2) =>
            {
                Residency::Stream
            }
            Residency::Auto => Residency::Resident,
            chosen => chosen,
        };
        let resident = residency == Residency::Resident;
        let keep_blocks = resident && keeps_blocks(&weights, device);
        if resident && !keep_blocks {
            weights.hold();
        }
        let mut names = vec![architecture.embedding_table()];
        names.extend(architecture.head_table().filter(|head| *head != names[0]));
        let tables = names
            .into_iter()
            .map(|name| Table::new(name, geometry.vocab_size, geometry.hidden_size, keep_blocks))
            .collect();
        let model = Model {
            folder: path.to_owned(),
            beside: checkpoint.beside()?,
            quantised: checkpoint.quantised(),
            prefix: String::new(),
            tokenizer,
            device: device.clone(),
            residency,
            budget: Budget::default(),
            precision: Precision::F32,
            weights,
            blocks: (0..geometry.layers).map(|_| OnceLock::new()).collect(),
            keep_blocks,
            tables,
            embedding: OnceLock::new(),
            final_norm: OnceLock::new(),
            head: OnceLock::new(),
            geometry,
            architecture,
        };
        // Where memory is short, the system ends a program without a word.
        let needed = model.weight_memory(residency);
        match most_memory() {
            Some(left) if needed > left && is_plain_cpu(device) => Err(ModelError::Memory {
                folder: model.folder,
                residency,
                needed,
                left,
            }),
            _ => Ok(model),
        }
    }

    /// The same model with a bound on the memory of hidden states.
    pub fn with_budget(mut self, budget: Budget) -> Model {
        self.budget = budget;
        self
    }

    /// The same model, resident with all blocks ready to run, as generation needs it, which goes through them once per
    /// token. Weights of few bits take as much memory as those of many then.
    ///
    /// # Errors
    /// A model that streams its weights, or does not fit into the memory of this machine.
    pub fn ready(mut self) -> Result<Model, ModelError> {
        if self.residency == Residency::Stream {
            return Err(ModelError::StreamedGeneration {
                bytes: self.weights.bytes(),
            });
        }
        let needed = self.precision.bytes() * self.weights.parameters();
        if let Some(left) = most_memory()
            && needed > left
            && is_plain_cpu(&self.device)
        {
            return Err(ModelError::Memory {
                folder: self.folder,
                residency: self.residency,
                needed,
                left,
            });
        }
        self.keep_blocks = true;
        let (g, precision) = (&self.geometry, self.precision);
        let table = |t: Table| {
            Table::new(t.name().to_owned(), g.vocab_size, g.hidden_size, true)
                .with_precision(precision)
        };
        self.tables = self.tables.into_iter().map(table).collect();
        for layer in 0..self.geometry.layers {
            self.block(layer)?;
        }
        // The head is loaded by its first use, and so is the embedding.
        self.embed(&[0], &[0])?;
        if self.architecture.head_table().is_some() {
            let (_, head) = self.head()?;
            head.slices(&self.weights, &self.device, &mut |_, _| Ok(()))?;
        }
        Ok(self)
    }

    /// The same model with words before every text, such as the `query: ` that E5 was trained with. They are context:
    /// seen by the text's tokens, but not scored, and no part of the mean of their states.
    pub fn with_prefix(mut self, prefix: &str) -> Model {
        self.prefix = prefix.to_owned();
        self
    }

    /// The same model with another precision of its products; nothing that was loaded is kept.
    ///
    /// # Errors
    /// When the device cannot compute so.
    pub fn with_precision(mut self, precision: Precision) -> Result<Model, DeviceError> {
        precision.check(&self.device)?;
        self.precision = precision;
        self.blocks.fill_with(OnceLock::new);
        self.head = OnceLock::new();
        let tables = self.tables.into_iter();
        self.tables = tables.map(|t| t.with_precision(precision)).collect();
        Ok(self)
    }

    /// What the factors of products are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Memory the weights take in a pass, in bytes, about: one block ready to run and one slice of
    /// the vocabulary, and what stays besides.
    pub fn weight_memory(&self, residency: Residency) -> u64 {
        let table = (self.geometry.vocab_size * self.geometry.hidden_size) as u64;
        let in_tables = table * self.tables.len() as u64;
        let parameters = self.weights.parameters();
        let each = self.precision.bytes();
        let block = each * parameters.saturating_sub(in_tables) / self.geometry.layers as u64;
        match residency {
            Residency::Resident if keeps_blocks(&self.weights, &self.device) => each * parameters,
            Residency::Resident => self.weights.bytes() + block + self.tables[0].slice_bytes(),
            Residency::Stream | Residency::Auto => block + self.tables[0].slice_bytes(),
        }
    }

    /// How the checkpoint computes.
    pub fn architecture(&self) -> &dyn Architecture {
        self.architecture.as_ref()
    }

    /// Digest of the weights, the config, the tokenizer and the precision together.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> Result<blake3::Hash, ModelError> {
        let mut hasher = blake3::Hasher::new();
        for path in self
            .beside
            .iter()
            .map(PathBuf::as_path)
            .chain(self.weights.files())
        {
            let file = std::fs::File::open(path).map_err(ModelError::io(path))?;
            hasher.update_reader(file).map_err(ModelError::io(path))?;
        }
        // It may be named in files that are not hashed.
        hasher.update(format!("start {:?}", self.start_token()).as_bytes());
        if !self.prefix.is_empty() {
            hasher.update(format!("prefix {:?}", self.prefix).as_bytes());
        }
        if self.precision != Precision::F32 {
            hasher.update(format!("precision {}", self.precision).as_bytes());
        }
        Ok(hasher.finalize())
    }

    /// What the weights were quantised to, such as `Q4_K_M`; nothing where they are floats. Whatever shows a number of
    /// this model says so: it is not the original's.
    pub fn quantised(&self) -> Option<&str> {
        self.quantised.as_deref()
    }

    /// A conversation of one message of a user as the checkpoint's chat template has it, up to where the model is to
    /// answer. Nothing else applies a chat template.
    ///
    /// # Errors
    /// A checkpoint without a template, or with one that cannot be rendered.
    pub fn chat(&self, text: &str) -> Result<String, ModelError> {
        let Some(template) = Checkpoint::open(&self.folder)?.chat_template()? else {
            return Err(ModelError::NoChatTemplate {
                folder: self.folder.clone(),
            });
        };
        let message = Message {
            role: "user".into(),
            content: text.to_owned(),
        };
        template.render(&[message], true, &self.tokenizer)
    }

    /// The model for texts that [`Model::chat`] has rendered: special tokens that are written out in them become their
    /// ids, whatever kind of checkpoint it is.
    pub fn with_conversations(mut self) -> Model {
        self.tokenizer.read_special();
        self
    }

    /// What a reader has to know of the numbers of quantised weights.
    pub fn caveat(&self) -> Option<String> {
        let kind = self.quantised()?;
        Some(format!(
            "The weights are dequantised from {kind}: these are the numbers of those weights, not of the model they were made from."
        ))
    }

    /// The weights, for inspection.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    fn source(&self) -> Source<'_> {
        Source {
            weights: &self.weights,
            device: &self.device,
            precision: self.precision,
        }
    }

    /// One block, from memory or from disk.
    ///
    /// # Errors
    /// When its tensors cannot be read.
    pub fn block(&self, layer: usize) -> Result<Arc<dyn Block>, ModelError> {
        if let Some(block) = self.blocks[layer].get() {
            return Ok(block.clone());
        }
        let block: Arc<dyn Block> = self.architecture.block(layer, &self.source())?.into();
        if self.keep_blocks {
            return Ok(self.blocks[layer].get_or_init(|| block).clone());
        }
        Ok(block)
    }

    /// Whether the states that enter the first block depend on the places of tokens.
    ///
    /// # Errors
    /// When the embedding cannot be read.
    pub(crate) fn places_tokens(&self) -> Result<bool, ModelError> {
        let embedding = filled(&self.embedding, || {
            self.architecture.embedding(&self.source())
        })?;
        Ok(embedding.positions.is_some())
    }

    /// The states that enter the first block.
    ///
    /// # Shapes
    /// `tokens`, `positions`: one per row; result `[rows, hidden]`.
    ///
    /// # Errors
    /// When the embedding cannot be read.
    pub fn embed(&self, tokens: &[u32], positions: &[u32]) -> Result<Tensor<2>, ModelError> {
        let embedding = filled(&self.embedding, || {
            self.architecture.embedding(&self.source())
        })?;
        let rows = self.tables[0].lookup(tokens, &self.weights, &self.device)?;
        Ok(embedding.finish(rows, positions))
    }

    /// The state the LM head reads, from the last block's output.
    ///
    /// # Shapes
    /// `h`: `[rows, hidden]`, result the same.
    ///
    /// # Errors
    /// When the final norm cannot be read.
    pub fn normalise(&self, h: Tensor<2>) -> Result<Tensor<2>, ModelError> {
        let norm = filled(&self.final_norm, || {
            self.architecture.final_norm(&self.source())
        })?;
        Ok(match norm {
            Some(norm) => norm.forward(h),
            None => h,
        })
    }

    /// What turns final states into logits, and the matrix that does it.
    ///
    /// # Errors
    /// A model without an LM head; unreadable weights.
    pub fn head(&self) -> Result<(&Head, &Table), ModelError> {
        let Some(name) = self.architecture.head_table() else {
            return Err(ModelError::NoHead {
                folder: self.folder.clone(),
                architecture: self.geometry.architecture.clone(),
            });
        };
        let head = filled(&self.head, || self.architecture.head(&self.source()))?;
        let table = self
            .tables
            .iter()
            .find(|t| t.name() == name)
            .expect("every table is made at opening");
        Ok((head, table))
    }

    /// Longest sequence the model can take.
    pub fn max_tokens(&self) -> usize {
        self.geometry.max_positions
    }

    /// The token in front of every text of a causal model: the tokenizer's BOS, else its EOS, as
    /// lm-evaluation-harness has it; those of `config.json` where the tokenizer's settings name neither.
    pub fn start_token(&self) -> Option<u32> {
        let special = self.tokenizer.special();
        let id = |token: &Option<SpecialToken>| token.as_ref().and_then(|t| t.id);
        id(&special.bos)
            .or_else(|| id(&special.eos))
            .or(self.geometry.bos)
            .or(self.geometry.eos)
    }

    /// The tokens that end a text that is generated: `eos_token_id` of `generation_config.json`, where the checkpoint has
    /// it, else of its configuration.
    ///
    /// # Errors
    /// A `generation_config.json` that cannot be read, or names a token that is none.
    pub fn end_tokens(&self) -> Result<Vec<u32>, ModelError> {
        let path = self.folder.join("generation_config.json");
        let own: Vec<u32> = self.geometry.eos.into_iter().collect();
        if !input::is_there(&path)? {
            return Ok(own);
        }
        let json = crate::config::read_json(&path)?;
        let ids = match json.get("eos_token_id") {
            None | Some(serde_json::Value::Null) => return Ok(own),
            Some(serde_json::Value::Array(ids)) => ids.clone(),
            Some(id) => vec![id.clone()],
        };
        let token = |id: &serde_json::Value| {
            let id = id
                .as_u64()
                .filter(|&id| id < self.geometry.vocab_size as u64);
            id.map(|id| id as u32).ok_or_else(|| ModelError::Config {
                path: path.clone(),
                key: "eos_token_id".into(),
                problem: "is no token, and no list of tokens, of the vocabulary".into(),
            })
        };
        ids.iter().map(token).collect()
    }

    /// What each token of a sequence is: special at either end, given or asked for, the last of the text.
    ///
    /// At the beginning, the start token of a causal model or the opening tokens of an encoder are special, where they
    /// are given.
    pub fn roles(&self, sequence: &Sequence) -> Vec<Role> {
        let start: Vec<u32> = match self.geometry.causal {
            true => self.start_token().into_iter().collect(),
            false => self.tokenizer.around().0.to_vec(),
        };
        let given = &sequence.tokens[..sequence.context.min(sequence.tokens.len())];
        let opening = if given.starts_with(&start) {
            start.len()
        } else {
            0
        };
        let end = sequence.tokens.len().saturating_sub(sequence.closing);
        let role = |i: usize| Role {
            special: i < opening || i >= end,
            given: i < sequence.context,
            last: i + 1 == end && i >= opening,
        };
        (0..sequence.tokens.len()).map(role).collect()
    }

    /// A text as the model is meant to read it: behind its start token, for an
    /// encoder between its opening and closing tokens.
    ///
    /// A text that begins with the start token itself, written out, gets no second one: its own is
    /// the one that is given and not scored, as in lm-evaluation-harness (`TemplateLM.loglikelihood`).
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn sequence(&self, text: &str) -> Result<Sequence, ModelError> {
        let (ids, own) = self.prefixed(text)?;
        let (before, after): (Vec<u32>, &[u32]) = if self.geometry.causal {
            let start = self.start_token();
            if start.is_some() && ids.first().copied() == start {
                return Ok(Sequence::new(ids, own.max(1)));
            }
            (start.into_iter().collect(), &[])
        } else {
            let (before, after) = self.tokenizer.around();
            (before.to_vec(), after)
        };
        Ok(Sequence {
            context: before.len() + own,
            closing: after.len(),
            tokens: [&before, &ids, after].concat(),
        })
    }

    /// Tokens of a text behind the prefix, and how many of them are the prefix's alone.
    fn prefixed(&self, text: &str) -> Result<(Vec<u32>, usize), ModelError> {
        if self.prefix.is_empty() {
            return Ok((self.tokenizer.encode(text)?, 0));
        }
        let whole = format!("{}{text}", self.prefix);
        let encoded = self.tokenizer.encode_with_offsets(&whole)?;
        let own = encoded
            .offsets
            .iter()
            .take_while(|r| r.end <= self.prefix.len());
        let own = own.count();
        Ok((encoded.ids, own))
    }
}

/// Whether resident blocks are kept ready to run: in f32, and on other devices than the CPU.
/// Weights of half precision or fewer bits stay as they are stored and are widened block by block.
fn keeps_blocks(weights: &Weights, device: &Device) -> bool {
    !is_plain_cpu(device) || weights.dtypes() == ["F32"]
}

fn filled<T>(
    cell: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, ModelError>,
) -> Result<&T, ModelError> {
    if cell.get().is_none() {
        let _ = cell.set(make()?);
    }
    Ok(cell.get().expect("filled just above"))
}

/// The most memory this process has taken so far, in bytes, where the system says so.
pub fn peak_memory() -> Option<u64> {
    from_proc("/proc/self/status", "VmHWM:")
}

/// Memory that this process can still have, in bytes, where the system says so: what is free, and no more than a bound
/// of its own (`ulimit -v`) leaves.
pub fn available_memory() -> Option<u64> {
    let free = from_proc("/proc/meminfo", "MemAvailable:");
    free.into_iter().chain(address_space()).min()
}

/// Memory that this process could have if nobody else took any.
fn most_memory() -> Option<u64> {
    let all = from_proc("/proc/meminfo", "MemTotal:");
    all.into_iter().chain(address_space()).min()
}

/// What the bound on the addresses of this process leaves, where there is one.
fn address_space() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find(|l| l.starts_with("Max address space"))?;
    let bound: u64 = line.split_whitespace().nth(3)?.parse().ok()?;
    Some(bound.saturating_sub(from_proc("/proc/self/status", "VmSize:")?))
}

fn from_proc(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|l| l.starts_with(key))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
