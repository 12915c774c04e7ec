//! An opened checkpoint: its config, its tokenizer, and weights that are read when they are needed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use interlingua_backend::device::is_plain_cpu;
use interlingua_backend::ops::Matrix;
use interlingua_backend::{Device, DeviceError, Precision, Tensor};
use interlingua_edits::Role;

use crate::architectures::{Architecture, Block, Embedding, Head, Norm};
use crate::chat::Message;
use crate::checkpoint::Checkpoint;
use crate::config::Geometry;
use crate::input;
use crate::pack::Sequence;
use crate::spill::Budget;
use crate::table::Table;
use crate::tokenizer::{SpecialToken, Tokenizer};
use crate::weights::{Source, Tensors, Weights};
use crate::{ModelError, Residency};

/// A checkpoint that has been opened and checked.
pub struct Model {
    /// The path of the folder or the GGUF file.
    pub folder: PathBuf,
    /// The sizes of the model.
    pub geometry: Geometry,
    /// The tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// The device on which tensors are put.
    pub device: Device,
    /// The residency in use, which is never `Auto`.
    pub residency: Residency,
    /// The amount of memory that hidden states may take between blocks.
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
    /// A file that is missing, malformed or inconsistent with the others; the error names the file and the key.
    pub fn open(path: &Path, device: &Device, residency: Residency) -> Result<Model, ModelError> {
        let checkpoint = Checkpoint::open(path)?;
        let architecture = checkpoint.architecture()?;
        let tensors = architecture.tensors();
        Model::of(
            path,
            &checkpoint,
            (architecture, &tensors),
            device,
            residency,
        )
    }

    /// Opens a checkpoint as a model of this architecture, whose files hold these tensors.
    pub(crate) fn of(
        path: &Path,
        checkpoint: &Checkpoint,
        (architecture, tensors): (Box<dyn Architecture>, &Tensors),
        device: &Device,
        residency: Residency,
    ) -> Result<Model, ModelError> {
        let geometry = architecture.geometry().clone();
        let mut weights = checkpoint.weights()?;
        weights.expect(tensors)?;
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

    /// Returns the same model with a limit on the memory of hidden states.
    pub fn with_budget(mut self, budget: Budget) -> Model {
        self.budget = budget;
        self
    }

    /// Returns the same model with all blocks in memory and ready to run. Generation needs this, because it goes
    /// through all blocks once per token.
    ///
    /// # Errors
    /// A model that streams its weights, or one that does not fit into the memory of this machine.
    pub fn ready(mut self) -> Result<Model, ModelError> {
        if self.residency == Residency::Stream {
            return Err(ModelError::StreamedGeneration {
                bytes: self.weights.bytes(),
            });
        }
        let needed = self.ready_bytes();
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

    /// Returns the same model with words before every text, such as the `query: ` that E5 was trained with. These
    /// words are context: the tokens of the text see them, but they are not scored and not part of the mean of the
    /// states.
    pub fn with_prefix(mut self, prefix: &str) -> Model {
        self.prefix = prefix.to_owned();
        self
    }

    /// Returns the same model with another precision of its matrix products; weights that were loaded are dropped.
    ///
    /// # Errors
    /// A precision that the device does not support.
    pub fn with_precision(mut self, precision: Precision) -> Result<Model, DeviceError> {
        precision.check(&self.device)?;
        self.precision = precision;
        self.blocks.fill_with(OnceLock::new);
        self.head = OnceLock::new();
        let tables = self.tables.into_iter();
        self.tables = tables.map(|t| t.with_precision(precision)).collect();
        Ok(self)
    }

    /// Returns the precision to which the factors of products are rounded.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns the approximate number of bytes that the weights take during a pass: one block that is ready to run,
    /// one slice of the vocabulary, and what stays in memory besides.
    pub fn weight_memory(&self, residency: Residency) -> u64 {
        let table = (self.geometry.vocab_size * self.geometry.hidden_size) as u64;
        let in_tables = table * self.tables.len() as u64;
        let parameters = self.weights.parameters();
        let each = self.precision.bytes();
        let block = each * parameters.saturating_sub(in_tables) / self.geometry.layers as u64;
        match residency {
            Residency::Resident if keeps_blocks(&self.weights, &self.device) => self.ready_bytes(),
            Residency::Resident => self.weights.bytes() + block + self.tables[0].slice_bytes(),
            Residency::Stream | Residency::Auto => block + self.tables[0].slice_bytes(),
        }
    }

    /// Memory of all weights ready to run.
    fn ready_bytes(&self) -> u64 {
        match Matrix::keeps_narrow(&self.device, self.precision) {
            true => self.weights.kept_bytes(),
            false => self.precision.bytes() * self.weights.parameters(),
        }
    }

    /// Returns the architecture of the checkpoint.
    pub fn architecture(&self) -> &dyn Architecture {
        self.architecture.as_ref()
    }

    /// Returns a digest of the weights, the config, the tokenizer and the precision together.
    ///
    /// # Errors
    /// A file that cannot be read.
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

    /// Returns the format that the weights were quantised to, such as `Q4_K_M`; `None` if they are floats. Every
    /// display of this model's numbers must name it, because they are not the numbers of the original model.
    pub fn quantised(&self) -> Option<&str> {
        self.quantised.as_deref()
    }

    /// Renders one message of a user with the checkpoint's chat template, up to where the model is to answer. No
    /// other function applies a chat template.
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

    /// Returns the model for texts that [`Model::chat`] has rendered: special tokens that are written out in them
    /// become their ids, whatever kind of checkpoint it is.
    pub fn with_conversations(mut self) -> Model {
        self.tokenizer.read_special();
        self
    }

    /// Returns a sentence that warns readers about numbers from quantised weights; `None` if the weights are floats.
    pub fn caveat(&self) -> Option<String> {
        let kind = self.quantised()?;
        Some(format!(
            "The weights are dequantised from {kind}: these are the numbers of those weights, not of the model they were made from."
        ))
    }

    /// Returns the weights, for inspection.
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

    /// Returns one block, from memory or from disk.
    ///
    /// # Errors
    /// Tensors that cannot be read.
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

    /// Returns whether the states that enter the first block depend on the positions of tokens.
    ///
    /// # Errors
    /// An embedding that cannot be read.
    pub(crate) fn places_tokens(&self) -> Result<bool, ModelError> {
        let embedding = filled(&self.embedding, || {
            self.architecture.embedding(&self.source())
        })?;
        Ok(embedding.positions.is_some())
    }

    /// Computes the states that enter the first block.
    ///
    /// # Shapes
    /// `tokens` and `positions` have one value per row; the result is `[rows, hidden]`.
    ///
    /// # Errors
    /// An embedding that cannot be read.
    pub fn embed(&self, tokens: &[u32], positions: &[u32]) -> Result<Tensor<2>, ModelError> {
        let embedding = filled(&self.embedding, || {
            self.architecture.embedding(&self.source())
        })?;
        let rows = self.tables[0].lookup(tokens, &self.weights, &self.device)?;
        Ok(embedding.finish(rows, positions))
    }

    /// Computes the state that the LM head reads from the last block's output.
    ///
    /// # Shapes
    /// `h` is `[rows, hidden]`, and so is the result.
    ///
    /// # Errors
    /// A final norm that cannot be read.
    pub fn normalise(&self, h: Tensor<2>) -> Result<Tensor<2>, ModelError> {
        let norm = filled(&self.final_norm, || {
            self.architecture.final_norm(&self.source())
        })?;
        Ok(match norm {
            Some(norm) => norm.forward(h),
            None => h,
        })
    }

    /// Returns the LM head and the vocabulary matrix that it is used with.
    ///
    /// # Errors
    /// A model without an LM head, or weights that cannot be read.
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

    /// Returns the length of the longest sequence that the model can take, in tokens.
    pub fn max_tokens(&self) -> usize {
        self.geometry.max_positions
    }

    /// Returns the token before every text of a causal model. It is the tokenizer's BOS token, or else its EOS token,
    /// as in lm-evaluation-harness; if the tokenizer's settings name neither, those of `config.json` are taken.
    pub fn start_token(&self) -> Option<u32> {
        let special = self.tokenizer.special();
        let id = |token: &Option<SpecialToken>| token.as_ref().and_then(|t| t.id);
        id(&special.bos)
            .or_else(|| id(&special.eos))
            .or(self.geometry.bos)
            .or(self.geometry.eos)
    }

    /// Returns the tokens that end a generated text: `eos_token_id` of `generation_config.json`, if the checkpoint
    /// has that file, or else of its configuration.
    ///
    /// # Errors
    /// A `generation_config.json` that cannot be read, or that names a token that does not exist.
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

    /// Returns the role of each token of a sequence: whether it is special, whether it is given, and whether it is
    /// the last token of the text.
    ///
    /// At the beginning, the start token of a causal model or the opening tokens of an encoder are special if they
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

    /// Encodes a text in the form that the model expects: after its start token, or for an encoder between its
    /// opening and closing tokens.
    ///
    /// A text that begins with the start token, written out, does not get a second one. Its own start token is then
    /// the one that is given and not scored, as in lm-evaluation-harness (`TemplateLM.loglikelihood`).
    ///
    /// # Errors
    /// A text on which the tokenizer fails.
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

/// Whether resident blocks are kept ready to run: where products read them as they are stored, and on other devices than
/// the CPU. Weights of half precision stay as they are stored and are widened block by block.
fn keeps_blocks(weights: &Weights, device: &Device) -> bool {
    !is_plain_cpu(device) || weights.stays_narrow()
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

/// Returns the largest amount of memory that this process has had so far, in bytes, if the operating system gives it.
pub fn peak_memory() -> Option<u64> {
    from_proc("/proc/self/status", "VmHWM:")
}

/// Returns the amount of memory that this process can still have, in bytes, if the operating system gives it. It is
/// the free memory, limited by `ulimit -v` if that is set.
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
