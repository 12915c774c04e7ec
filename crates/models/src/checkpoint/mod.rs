//! Opens a checkpoint, which is a Hugging Face folder or a GGUF file, behind one interface.
//!
//! Either gives the JSON of a `config.json`, named tensors whose rows are read as f32, and a tokenizer. The code that
//! uses a [`Checkpoint`] does not know which of the two it is, except for what reports must say: that weights were
//! [quantised](Checkpoint::quantised).

pub mod blocks;
pub mod gguf;
pub mod layout;
pub(crate) mod part;
pub(crate) mod safetensors;

use std::path::{Path, PathBuf};

use crate::architectures::{self, Architecture};
use crate::chat::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use crate::{ModelError, input};
use gguf::Gguf;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// A checkpoint whose headers have been read.
#[derive(Debug)]
pub enum Checkpoint {
    /// A folder with `config.json`, `tokenizer.json` and safetensors.
    Folder(PathBuf),
    /// A GGUF file, possibly in several parts.
    Gguf(Box<Gguf>),
}

impl Checkpoint {
    /// Opens a `.gguf` file, a folder with one, or a Hugging Face folder.
    ///
    /// A folder that has safetensors is read as a Hugging Face folder, whatever else it holds.
    ///
    /// # Errors
    /// A malformed GGUF file, or several of them in one folder.
    pub fn open(path: &Path) -> Result<Checkpoint, ModelError> {
        Ok(match gguf::find(path)? {
            Some(file) => Checkpoint::Gguf(Box::new(Gguf::open(&file)?)),
            None => Checkpoint::Folder(path.to_owned()),
        })
    }

    /// Reads the architecture of the checkpoint.
    ///
    /// # Errors
    /// Settings that are missing, malformed or not implemented; the error names the file and the key.
    pub fn architecture(&self) -> Result<Box<dyn Architecture>, ModelError> {
        match self {
            Checkpoint::Folder(folder) => {
                let path = folder.join(CONFIG);
                if !input::is_there(&path)? {
                    return Err(ModelError::MissingFile {
                        folder: folder.clone(),
                        file: CONFIG.into(),
                    });
                }
                architectures::read(&path)
            }
            Checkpoint::Gguf(file) => file.architecture(),
        }
    }

    /// Locates the tensors without reading them.
    ///
    /// # Errors
    /// The errors of [`Weights::open`].
    pub fn weights(&self) -> Result<Weights, ModelError> {
        match self {
            Checkpoint::Folder(folder) => Weights::of(folder, safetensors::open(folder)?),
            Checkpoint::Gguf(file) => Weights::of(file.path(), file.parts()?),
        }
    }

    /// Reads the tokenizer. A `tokenizer.json` beside a GGUF file takes precedence over the tokenizer in that file.
    ///
    /// # Errors
    /// A tokenizer that is missing, malformed or of another model.
    pub fn tokenizer(&self, vocab_size: usize) -> Result<Tokenizer, ModelError> {
        match self {
            Checkpoint::Folder(folder) => Tokenizer::open(folder, vocab_size),
            Checkpoint::Gguf(file) => match self.tokenizer_file()? {
                Some(path) => Tokenizer::open(path.parent().unwrap_or(Path::new("")), vocab_size),
                None => file.tokenizer(vocab_size),
            },
        }
    }

    fn tokenizer_file(&self) -> Result<Option<PathBuf>, ModelError> {
        let path = match self {
            Checkpoint::Folder(folder) => folder.join(TOKENIZER),
            Checkpoint::Gguf(file) => file.path().with_file_name(TOKENIZER),
        };
        Ok(input::is_there(&path)?.then_some(path))
    }

    /// Returns the files beside the weights that affect what the model computes.
    ///
    /// # Errors
    /// A path of such a name that is not a file.
    pub fn beside(&self) -> Result<Vec<PathBuf>, ModelError> {
        Ok(match self {
            Checkpoint::Folder(folder) => vec![folder.join(CONFIG), folder.join(TOKENIZER)],
            Checkpoint::Gguf(_) => self.tokenizer_file()?.into_iter().collect(),
        })
    }

    /// Reads the chat template, if there is one.
    ///
    /// # Errors
    /// The errors of [`ChatTemplate::of_folder`].
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, ModelError> {
        match self {
            Checkpoint::Folder(folder) => ChatTemplate::of_folder(folder),
            Checkpoint::Gguf(file) => {
                let own = file.settings().text("tokenizer.chat_template")?;
                ChatTemplate::of_gguf(file.path(), own)
            }
        }
    }

    /// Returns the format that the weights were quantised to, such as `Q4_K_M`; `None` if they are floats.
    pub fn quantised(&self) -> Option<String> {
        match self {
            Checkpoint::Folder(_) => None,
            Checkpoint::Gguf(file) => file.quantised(),
        }
    }
}

impl Weights {
    /// Opens the tensors of the checkpoint that [`Checkpoint::open`] finds at a path.
    ///
    /// # Errors
    /// Malformed headers, lengths that do not fit the file, shards outside the folder, a tensor in two shards, an
    /// index that contradicts the shards, or both kinds of checkpoint in one folder.
    pub fn open(path: &Path) -> Result<Weights, ModelError> {
        Checkpoint::open(path)?.weights()
    }
}

/// Returns whether a path holds a checkpoint, judging by the names of its files alone.
pub fn is_here(path: &Path) -> bool {
    path.join(CONFIG).is_file() || gguf::is_here(path)
}
