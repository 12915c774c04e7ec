//! Finds GGUF files, opens them with all their parts, and gives their tensors the architecture's names.

mod config;
pub mod container;
mod facts;
pub mod metadata;
mod names;
mod rope;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::layout::{Layout, Order};
use super::part::{Kind, Part, Stored};
use crate::architectures::{self, Architecture};
use crate::tokenizer::Tokenizer;
use crate::{ModelError, input};
use config::Family;
use container::{Container, Tensor};
use facts::Facts;
use metadata::{Metadata, Settings};

/// Factors of the rotary embedding, which become settings.
const ROPE_FREQS: &str = "rope_freqs.weight";

/// More factors than any head has.
const MAX_ROPE_FREQS: u64 = 1 << 16;

/// Most parts of a split file.
const MAX_PARTS: u64 = 1000;

/// Files and their tensors.
type Parts = Vec<(PathBuf, Vec<Tensor>)>;

/// A GGUF file whose header has been read and checked.
#[derive(Debug)]
pub struct Gguf {
    /// Its parts in order; one for a file that is not split.
    parts: Parts,
    settings: Metadata,
    family: &'static str,
}

/// Returns whether a path is a GGUF file or a folder with one, judging by names alone.
pub(super) fn is_here(path: &Path) -> bool {
    match path.is_dir() {
        true => !files_in(path).is_empty(),
        false => is_named(path) && path.is_file(),
    }
}

fn is_named(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

/// Returns the GGUF file that a path means: the path itself, or the only GGUF file of a folder without safetensors.
///
/// # Errors
/// Several GGUF files in one folder; the caller must name one of them.
pub(super) fn find(path: &Path) -> Result<Option<PathBuf>, ModelError> {
    if !path.is_dir() {
        return Ok(is_named(path).then(|| path.to_owned()));
    }
    let other = [super::safetensors::SINGLE, super::safetensors::INDEX];
    if other
        .iter()
        .any(|name| path.join(name).symlink_metadata().is_ok())
    {
        return Ok(None);
    }
    let mut files = files_in(path);
    if files.len() > 1 {
        let name = |file: &PathBuf| {
            file.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        return Err(ModelError::BadFile {
            path: path.to_owned(),
            problem: input::brief(format!(
                "holds several GGUF files; name one of {}",
                files.iter().map(name).collect::<Vec<_>>().join(", ")
            )),
        });
    }
    Ok(files.pop())
}

/// The GGUF files of a folder, sorted; of a split one the first part.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| is_named(p)).collect();
    files.retain(|file| !matches!(part_of(file), Some((_, number, _)) if number != 1));
    files.sort();
    files
}

/// Of `NAME-00002-of-00003.gguf`: the name, 2 and 3.
fn part_of(path: &Path) -> Option<(String, u64, u64)> {
    let stem = path.file_stem()?.to_str()?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let read = |digits: &str| {
        let plain = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain)
    };
    Some((name.to_owned(), read(number)?, read(count)?))
}

/// Returns GGUF's `general.architecture` and tensor names for an architecture of transformers.
pub(crate) fn family_of(architecture: &str) -> Option<(&'static str, &'static names::Names)> {
    let name = match architecture {
        "LlamaForCausalLM" | "MistralForCausalLM" => "llama",
        "Qwen2ForCausalLM" => "qwen2",
        "Qwen3ForCausalLM" => "qwen3",
        "Gemma2ForCausalLM" => "gemma2",
        "Gemma3ForCausalLM" | "Gemma3ForConditionalGeneration" => "gemma3",
        "CohereForCausalLM" => "command-r",
        "Cohere2ForCausalLM" => "cohere2",
        "GPT2LMHeadModel" => "gpt2",
        "BloomForCausalLM" => "bloom",
        _ => return None,
    };
    let family = config::FAMILIES.iter().find(|family| family.name == name)?;
    Some((family.name, family.names))
}

/// A function from a row of a tensor to its position in a GGUF file.
pub(crate) type RowOrder = Box<dyn Fn(usize) -> usize>;

/// Returns GGUF's name of an architecture's tensor, and the order of its rows there.
pub(crate) fn name_of(
    architecture: &str,
    tensor: &str,
    heads: usize,
    head_dim: usize,
) -> Option<(String, RowOrder)> {
    let (_, names) = family_of(architecture)?;
    let (name, layout) = names.in_file(tensor, names::Heads { heads, head_dim })?;
    let order: RowOrder = match layout {
        Layout::Rows(order) => Box::new(move |row| order.in_file(row)),
        _ => Box::new(|row| row),
    };
    Some((name, order))
}

impl Gguf {
    /// Opens a file, and its other parts if it is split.
    ///
    /// # Errors
    /// A header that is malformed or does not fit its file, parts that are missing or do not belong together, or an
    /// architecture that is not implemented.
    pub fn open(path: &Path) -> Result<Gguf, ModelError> {
        let first = read(path)?;
        let (parts, settings) = match split_count(&first.settings.of(path))? {
            0 | 1 => (vec![(path.to_owned(), first.tensors)], first.settings),
            count => open_parts(path, count)?,
        };
        let path = &parts[0].0;
        let family = config::family_of(&settings.of(path))?.name;
        Ok(Gguf {
            parts,
            settings,
            family,
        })
    }

    /// Returns the path of the file; of a split file, the path of the first part.
    pub fn path(&self) -> &Path {
        &self.parts[0].0
    }

    /// Returns the file and what precedes its data; `None` for a split file.
    ///
    /// # Errors
    /// A file that changed since it was opened.
    pub(crate) fn whole(&self) -> Result<Option<(PathBuf, Container)>, ModelError> {
        let path = self.path().to_owned();
        let whole = self.parts.len() == 1;
        whole.then(|| Ok((path.clone(), read(&path)?))).transpose()
    }

    /// Returns all settings.
    pub fn settings(&self) -> Settings<'_> {
        self.settings.of(self.path())
    }

    fn family(&self) -> Result<&'static Family, ModelError> {
        config::family_of(&self.settings())
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.parts
            .iter()
            .flat_map(|(_, tensors)| tensors.clone())
            .collect()
    }

    /// Returns `general.file_type` of a file whose weights are quantised, such as `Q4_K_M`; if the file does not give
    /// it, the formats of its tensors.
    pub fn quantised(&self) -> Option<String> {
        let mut formats: Vec<&str> = Vec::new();
        for tensor in self.parts.iter().flat_map(|(_, tensors)| tensors) {
            if tensor.format.is_quantised() && !formats.contains(&tensor.format.name) {
                formats.push(tensor.format.name);
            }
        }
        if formats.is_empty() {
            return None;
        }
        let kind = self.settings().size("general.file_type").ok().flatten();
        let named = kind.and_then(|kind| FILE_TYPES.iter().find(|(number, _)| *number == kind));
        Some(named.map_or_else(|| formats.join(" and "), |(_, name)| (*name).to_owned()))
    }

    pub(super) fn architecture(&self) -> Result<Box<dyn Architecture>, ModelError> {
        let (family, tensors) = (self.family()?, self.tensors());
        let facts = Facts {
            settings: self.settings(),
            family: family.name,
            tensors: &tensors,
            rope_freqs: self.rope_freqs()?,
        };
        let json = config::config(family, &facts)?;
        architectures::parse(self.path(), &json).map_err(|e| config::in_its_names(family, e))
    }

    fn rope_freqs(&self) -> Result<Option<Vec<f32>>, ModelError> {
        let all = self
            .parts
            .iter()
            .flat_map(|(path, tensors)| tensors.iter().map(move |t| (path, t)));
        let Some((path, tensor)) = all.into_iter().find(|(_, t)| t.name == ROPE_FREQS) else {
            return Ok(None);
        };
        if tensor.end - tensor.begin > MAX_ROPE_FREQS {
            return Err(ModelError::BadWeights {
                path: path.clone(),
                problem: format!("tensor `{ROPE_FREQS}` is larger than any head"),
            });
        }
        let mut bytes = vec![0; (tensor.end - tensor.begin) as usize];
        let (file, _) = input::open(path)?;
        file.read_exact_at(&mut bytes, tensor.begin)
            .map_err(ModelError::io(path))?;
        Ok(Some(tensor.format.decode(&bytes)))
    }

    /// Returns the tensors under the architecture's names.
    pub(super) fn parts(&self) -> Result<Vec<Part>, ModelError> {
        let (family, tensors) = (self.family()?, self.tensors());
        let facts = Facts {
            settings: self.settings(),
            family: family.name,
            tensors: &tensors,
            rope_freqs: None,
        };
        let heads = facts.heads()?;
        let mut parts = Vec::new();
        for (path, tensors) in &self.parts {
            let mut all = Vec::new();
            for tensor in tensors.iter().filter(|t| t.name != ROPE_FREQS) {
                let (name, layout) = match family.names.of(&tensor.name, heads) {
                    Some((name, layout)) => (name, layout),
                    // Under its own name, which has no place anywhere.
                    None => (tensor.name.clone(), Layout::Same),
                };
                all.push(stored(path, tensor, name, layout)?);
            }
            parts.push(Part {
                path: path.clone(),
                file: open(path)?,
                tensors: all,
            });
        }
        Ok(parts)
    }

    pub(super) fn tokenizer(&self, vocab_size: usize) -> Result<Tokenizer, ModelError> {
        tokenizer::build(&self.settings(), self.family, vocab_size)
    }
}

fn stored(
    path: &Path,
    tensor: &Tensor,
    name: String,
    layout: Layout,
) -> Result<Stored, ModelError> {
    let mut shape = tensor.shape.clone();
    let fits = match layout {
        Layout::Same | Layout::LargerByOne => true,
        Layout::Transposed => shape.len() == 2,
        Layout::Rows(Order::Pairs { head_dim }) => {
            head_dim > 0 && head_dim.is_multiple_of(2) && shape[0].is_multiple_of(head_dim)
        }
        Layout::Rows(Order::Heads { heads, head_dim }) => {
            heads.checked_mul(3).and_then(|n| n.checked_mul(head_dim)) == Some(shape[0])
        }
    };
    if !fits {
        return Err(ModelError::BadWeights {
            path: path.to_owned(),
            problem: format!(
                "tensor `{}` of shape {shape:?} does not fit the heads of the model",
                tensor.name
            ),
        });
    }
    if layout == Layout::Transposed {
        shape.reverse();
    }
    Ok(Stored {
        name,
        kind: Kind::Read(tensor.format),
        shape,
        begin: tensor.begin,
        end: tensor.end,
        layout,
    })
}

fn open(path: &Path) -> Result<File, ModelError> {
    Ok(input::open(path)?.0)
}

fn read(path: &Path) -> Result<Container, ModelError> {
    let (file, length) = input::open(path)?;
    container::read(BufReader::with_capacity(1 << 16, file), length).map_err(|problem| {
        ModelError::BadWeights {
            path: path.to_owned(),
            problem: input::brief(problem),
        }
    })
}

fn split_count(settings: &Settings<'_>) -> Result<u64, ModelError> {
    let key = "split.count";
    let count = settings.size(key)?.unwrap_or(0);
    if count > MAX_PARTS {
        return Err(settings.bad(key, format!("{count} parts; at most {MAX_PARTS} are read")));
    }
    Ok(count)
}

/// All parts of a split file; the settings are those of the first.
fn open_parts(path: &Path, count: u64) -> Result<(Parts, Metadata), ModelError> {
    let bad = |path: &Path, problem: String| ModelError::BadWeights {
        path: path.to_owned(),
        problem: input::brief(problem),
    };
    let Some((name, _, of)) = part_of(path).filter(|(.., of)| *of == count) else {
        return Err(bad(
            path,
            format!(
                "is one of {count} parts, whose names end in -00001-of-{count:05}.gguf; give it its name back"
            ),
        ));
    };
    let (mut parts, mut settings) = (Vec::new(), None);
    for number in 1..=of {
        let part = path.with_file_name(format!("{name}-{number:05}-of-{of:05}.gguf"));
        if !input::is_there(&part)? {
            return Err(bad(
                &part,
                format!("part {number} of {of} is missing; fetch it, or merge all parts again"),
            ));
        }
        let read = read(&part)?;
        let own = read.settings.of(&part);
        if split_count(&own)? != count || own.size("split.no")? != Some(number - 1) {
            return Err(bad(
                &part,
                format!(
                    "does not say that it is part {number} of {of}; its name and its content belong to different files"
                ),
            ));
        }
        parts.push((part, read.tensors));
        settings.get_or_insert(read.settings);
    }
    let settings = settings.expect("there is a first part");
    let own = settings.of(path);
    let found = parts
        .iter()
        .map(|(_, tensors)| tensors.len() as u64)
        .sum::<u64>();
    if let Some(said) = own.size("split.tensors.count")?.filter(|&n| n != found) {
        return Err(own.bad(
            "split.tensors.count",
            format!("{said}, the parts have {found} tensors"),
        ));
    }
    Ok((parts, settings))
}

/// Names of `general.file_type`.
const FILE_TYPES: &[(u64, &str)] = &[
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (25, "IQ4_NL"),
];
