//! Finds the checkpoint folder of a name such as `owner/name@revision`, and downloads it from the Hugging Face hub if
//! needed.
//!
//! Files are stored in the hub's cache in the layout of Python's `huggingface_hub`
//! (`models--owner--name/{blobs,refs,snapshots/<commit>}`), so that both programs share downloads. Only the files
//! that [`crate::Model`] reads are fetched. Their content is written to `blobs/<etag>.incomplete` under a lock,
//! checked, renamed, and then linked into the snapshot. Weights come last, so a snapshot that has them is complete.

mod options;
#[cfg(feature = "download")]
mod transfer;
#[cfg(not(feature = "download"))]
mod without;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use serde::Deserialize;

use crate::{ModelError, checkpoint};
#[cfg(feature = "download")]
use transfer::Client;
#[cfg(not(feature = "download"))]
use without::Client;

pub use options::{HubOptions, Token};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const SENTENCEPIECE: [&str; 3] = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];
const EXTRAS: [&str; 3] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Lists of files and shards stay far below this.
const MAX_SMALL: u64 = 32 << 20;

/// What the hub says about a file before it is fetched.
struct FileFacts {
    /// Name of the content: a SHA-256 for large files, a git hash for others.
    etag: String,
    /// Bytes, where the hub says.
    size: Option<u64>,
}

/// A valid name of a model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    /// The repository, `owner/name`.
    pub repo: String,
    /// The branch, tag or commit.
    pub revision: String,
}

/// The place of a model, before anything is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A checkpoint folder or a GGUF file on this machine.
    Local(PathBuf),
    /// A repository of the hub, which may be in the cache.
    Hub(HubName),
}

/// A checkpoint folder and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The path of the folder.
    pub folder: PathBuf,
    /// The origin of the folder.
    pub source: Source,
}

/// The origin of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder of the user.
    Local,
    /// A repository of the hub.
    Hub {
        /// The name of the repository.
        repo: String,
        /// The revision that was asked for.
        revision: String,
        /// The commit that the revision stands for.
        commit: String,
    },
}

/// The progress of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file that is being downloaded.
    pub file: &'a str,
    /// The position of this file in the list, counted from 0.
    pub index: usize,
    /// The number of files.
    pub files: usize,
    /// The number of bytes of all files that have been received.
    pub received: u64,
    /// The size of all files in bytes, as far as the hub gives it.
    pub total: u64,
    /// Whether another process is fetching the file while this one waits.
    pub waiting: bool,
}

/// The files that a name needs and those that are there, found without fetching weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The commit that the revision stands for.
    pub commit: String,
    /// The folder of the snapshot in the cache, which may not exist yet.
    pub folder: PathBuf,
    /// The files that would be fetched, each with its size in bytes if the hub gives it.
    pub missing: Vec<(String, Option<u64>)>,
}

/// Finds the folder of a model and fetches it if needed. It calls [`locate`] and then [`fetch`].
///
/// # Errors
/// The errors of [`locate`] and [`fetch`].
pub fn resolve(
    name: &str,
    model_dir: Option<&Path>,
    options: &HubOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Resolved, ModelError> {
    match locate(name, model_dir)? {
        Place::Local(folder) => Ok(Resolved {
            folder,
            source: Source::Local,
        }),
        Place::Hub(name) => fetch(&name, options, progress),
    }
}

/// Distinguishes a folder from a name of the hub, without a connection.
///
/// Folders are looked for under `model_dir` by the whole name, then by the name without its owner, and then at the
/// name as a path. A name with a revision is never looked for among folders, because a folder does not say its
/// revision.
///
/// # Errors
/// A folder of this name without config.json or a GGUF file, or a name that is neither a folder nor a name of the
/// hub.
pub fn locate(name: &str, model_dir: Option<&Path>) -> Result<Place, ModelError> {
    let hub = HubName::parse(name);
    let mut folders: Vec<PathBuf> = model_dir.iter().map(|root| root.join(name)).collect();
    if let (Some(root), Some(hub)) = (model_dir, &hub)
        && !name.contains('@')
    {
        folders.extend(hub.repo.rsplit('/').next().map(|short| root.join(short)));
    }
    folders.push(PathBuf::from(name));
    for folder in folders {
        if checkpoint::is_here(&folder) {
            return Ok(Place::Local(folder));
        }
        // Going to the hub instead would hide that this folder is damaged.
        if folder.is_dir() {
            return Err(ModelError::MissingFile {
                folder,
                file: CONFIG.to_owned(),
            });
        }
    }
    hub.map(Place::Hub).ok_or_else(|| ModelError::UnknownModel {
        name: name.to_owned(),
        root: model_dir.map(Path::to_owned),
        known: model_dir.map(folders_in).unwrap_or_default(),
    })
}

/// Fetches a model of the hub into the cache, unless it is there, and returns its snapshot.
///
/// The hub is not asked if the options say [offline](HubOptions::offline), or if the revision is a commit that the
/// cache holds.
///
/// # Errors
/// All `Hub…` variants of [`ModelError`]. The files that were fetched stay, and the next call resumes from there.
pub fn fetch(
    name: &HubName,
    options: &HubOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Resolved, ModelError> {
    let cache = Cached::new(name, options);
    if let Some(commit) = cache.without_asking(options)? {
        return Ok(cache.resolved(&commit));
    }
    let client = Client::new(options, name)?;
    let listing = Listing::ask(name, options, &client)?;
    let snapshot = cache.repo.pointer_path(&listing.commit);
    let total = listing.files.iter().filter_map(|f| f.size).sum();
    let mut before = 0;
    for (index, wanted) in listing.files.iter().enumerate() {
        let mut show = |received: u64, waiting: bool| {
            progress(Progress {
                file: &wanted.name,
                index,
                files: listing.files.len(),
                received: before + received,
                total,
                waiting,
            });
        };
        let length = match wanted.length_in(&snapshot) {
            Some(length) => length,
            None => cache.add(&client, &listing.commit, wanted, options, &mut show)?,
        };
        show(length, false);
        before += length;
    }
    cache.remember(&listing.commit)?;
    Ok(cache.resolved(&listing.commit))
}

/// Finds out what [`fetch`] would do. It asks the hub for its list of files and writes nothing.
///
/// # Errors
/// The errors of [`fetch`].
pub fn survey(name: &HubName, options: &HubOptions) -> Result<Survey, ModelError> {
    let cache = Cached::new(name, options);
    let (commit, missing) = match cache.without_asking(options)? {
        Some(commit) => (commit, Vec::new()),
        None => {
            let client = Client::new(options, name)?;
            let listing = Listing::ask(name, options, &client)?;
            let snapshot = cache.repo.pointer_path(&listing.commit);
            let missing = listing
                .files
                .into_iter()
                .filter(|wanted| wanted.length_in(&snapshot).is_none())
                .map(|wanted| (wanted.name, wanted.size))
                .collect();
            (listing.commit, missing)
        }
    };
    Ok(Survey {
        folder: cache.repo.pointer_path(&commit),
        commit,
        missing,
    })
}

impl HubName {
    /// Parses `owner/name` or `owner/name@revision`; `None` if the text is not such a name.
    pub fn parse(text: &str) -> Option<HubName> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = repo.split_once('/')?;
        let plain = |part: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let end = |c: Option<char>| c.is_some_and(|c| c != '-' && c != '.');
            part.len() <= 96
                && part.chars().all(legal)
                && end(part.chars().next())
                && end(part.chars().last())
                // The cache writes `--` for the slash.
                && !part.contains("--")
                && !part.contains("..")
        };
        // A revision becomes a path under `refs`.
        let step = |part: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(legal)
        };
        let legal = plain(owner) && plain(name) && revision.len() <= 200;
        (legal && revision.split('/').all(step)).then(|| HubName {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

/// One repository in the cache.
struct Cached<'n> {
    name: &'n HubName,
    cache: PathBuf,
    /// `models--owner--name`.
    folder: String,
    repo: CacheRepo,
}

impl<'n> Cached<'n> {
    fn new(name: &'n HubName, options: &HubOptions) -> Cached<'n> {
        let repo = Repo::with_revision(name.repo.clone(), RepoType::Model, name.revision.clone());
        Cached {
            name,
            cache: options.cache.clone(),
            folder: repo.folder_name(),
            repo: Cache::new(options.cache.clone()).repo(repo),
        }
    }

    fn root(&self) -> PathBuf {
        self.cache.join(&self.folder)
    }

    fn resolved(&self, commit: &str) -> Resolved {
        Resolved {
            folder: self.repo.pointer_path(commit),
            source: Source::Hub {
                repo: self.name.repo.clone(),
                revision: self.name.revision.clone(),
                commit: commit.to_owned(),
            },
        }
    }

    /// The commit, if the cache alone is enough or has to be.
    fn without_asking(&self, options: &HubOptions) -> Result<Option<String>, ModelError> {
        let revision = &self.name.revision;
        let lacks = |missing| ModelError::HubOffline {
            repo: self.name.repo.clone(),
            revision: revision.clone(),
            missing,
            cache: self.cache.clone(),
        };
        let commit = if is_commit(revision) {
            revision.clone()
        } else if !options.offline {
            return Ok(None);
        } else {
            let path = self.root().join("refs").join(revision);
            let known = std::fs::read_to_string(&path).ok();
            let known = known.map(|text| text.trim().to_owned());
            known
                .filter(|commit| is_commit(commit))
                .ok_or_else(|| lacks(Vec::new()))?
        };
        let snapshot = self.repo.pointer_path(&commit);
        let mut missing = self.missing(&snapshot, &commit)?;
        if options.offline {
            // The tokenizer's own error says how to convert these.
            if SENTENCEPIECE.iter().any(|f| snapshot.join(f).is_file()) {
                missing.retain(|f| f != TOKENIZER);
            }
            if !missing.is_empty() {
                return Err(lacks(missing));
            }
        }
        Ok(missing.is_empty().then_some(commit))
    }

    /// What a checkpoint needs and the snapshot lacks.
    fn missing(&self, snapshot: &Path, commit: &str) -> Result<Vec<String>, ModelError> {
        let mut needed = vec![CONFIG.to_owned(), TOKENIZER.to_owned()];
        let index = snapshot.join(INDEX);
        if !snapshot.join(WEIGHTS).is_file() && index.is_file() {
            let mut text = String::new();
            File::open(&index)
                .and_then(|file| file.take(MAX_SMALL).read_to_string(&mut text))
                .map_err(ModelError::io(&index))?;
            needed.extend(shards(self.name, commit, &text)?);
        } else {
            needed.push(WEIGHTS.to_owned());
        }
        needed.retain(|file| !snapshot.join(file).is_file());
        Ok(needed)
    }

    /// Puts one file into the snapshot and returns its length.
    fn add(
        &self,
        client: &Client<'_>,
        commit: &str,
        wanted: &Wanted,
        options: &HubOptions,
        show: &mut dyn FnMut(u64, bool),
    ) -> Result<u64, ModelError> {
        let url = format!(
            "{}/{}/resolve/{commit}/{}",
            options.endpoint, self.name.repo, wanted.name
        );
        let mut facts = client.facts(&url)?;
        facts.size = facts.size.or(wanted.size);
        let blobs = self.root().join("blobs");
        let locks = self.cache.join(".locks").join(&self.folder);
        let snapshot = self.repo.pointer_path(commit);
        for folder in [&blobs, &locks, &snapshot] {
            std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        }
        let blob = blobs.join(&facts.etag);
        let part = blobs.join(format!("{}.incomplete", facts.etag));
        // The lock that Python takes for this content.
        let lock = locks.join(format!("{}.lock", facts.etag));
        let held = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(ModelError::io(&lock))?;
        if let Err(std::fs::TryLockError::WouldBlock) = held.try_lock() {
            show(0, true);
        }
        held.lock().map_err(ModelError::io(&lock))?;
        let here = std::fs::metadata(&blob).map(|m| m.len()).ok();
        if here.is_none() || facts.size.is_some_and(|size| here != Some(size)) {
            client.download(&url, &part, &facts, &mut |received| show(received, false))?;
            std::fs::rename(&part, &blob).map_err(ModelError::io(&blob))?;
        }
        let length = std::fs::metadata(&blob)
            .map_err(ModelError::io(&blob))?
            .len();
        // A link that is there may be broken, so it is replaced, and in one step.
        let link = snapshot.join(&wanted.name);
        let new = snapshot.join(format!(".{}.{}", wanted.name, std::process::id()));
        let _ = std::fs::remove_file(&new);
        std::os::unix::fs::symlink(Path::new("../../blobs").join(&facts.etag), &new)
            .and_then(|()| std::fs::rename(&new, &link))
            .map_err(ModelError::io(&link))?;
        Ok(length)
    }

    /// Notes which commit a branch or tag stands for, so that it can be used offline.
    fn remember(&self, commit: &str) -> Result<(), ModelError> {
        if is_commit(&self.name.revision) {
            return Ok(());
        }
        let path = self.root().join("refs").join(&self.name.revision);
        let folder = path.parent().unwrap_or(&path);
        let new = folder.join(format!(".{commit}.{}", std::process::id()));
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&new, commit))
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(ModelError::io(&path))
    }
}

/// The files of a commit that a checkpoint needs, weights last.
struct Listing {
    commit: String,
    files: Vec<Wanted>,
}

struct Wanted {
    name: String,
    size: Option<u64>,
}

impl Wanted {
    /// Length of the file in a snapshot, if it is there and whole.
    fn length_in(&self, snapshot: &Path) -> Option<u64> {
        let found = std::fs::metadata(snapshot.join(&self.name)).ok()?.len();
        self.size.is_none_or(|size| size == found).then_some(found)
    }
}

/// The hub's answer, as far as it is used.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

impl Listing {
    fn ask(
        name: &HubName,
        options: &HubOptions,
        client: &Client<'_>,
    ) -> Result<Listing, ModelError> {
        let HubName { repo, revision } = name;
        let url = format!(
            "{}/api/models/{repo}/revision/{}?blobs=true",
            options.endpoint,
            revision.replace('/', "%2F")
        );
        let answer = |problem: String| ModelError::HubAnswer {
            url: url.clone(),
            problem,
        };
        let info: Info = serde_json::from_str(&client.text(&url)?).map_err(|e| {
            answer(format!(
                "not a hub's description of a model ({e}); check HF_ENDPOINT"
            ))
        })?;
        if !is_commit(&info.sha) || (is_commit(revision) && *revision != info.sha) {
            return Err(answer(format!("`{}` is not the commit", info.sha)));
        }
        let commit = info.sha;
        let file = |file: &str| format!("{}/{repo}/resolve/{commit}/{file}", options.endpoint);
        let wrong = |problem: String| ModelError::HubRepository {
            repo: repo.clone(),
            commit: commit.clone(),
            problem,
        };
        let find = |file: &str| info.siblings.iter().find(|s| s.rfilename == file);
        let mut wanted = Vec::new();
        let mut take = |file: &str| {
            find(file).is_some_and(|sibling| {
                wanted.push(Wanted {
                    name: file.to_owned(),
                    size: sibling.size,
                });
                true
            })
        };
        if !take(CONFIG) {
            return Err(wrong("has no config.json, so it is no transformers checkpoint; choose another repository or revision".into()));
        }
        if !take(TOKENIZER) && !SENTENCEPIECE.into_iter().any(&mut take) {
            return Err(wrong(convert(repo, "has no tokenizer.json")));
        }
        for extra in EXTRAS {
            take(extra);
        }
        // The lists of a gated repository are open; whether its files are is known before gigabytes are planned.
        client.facts(&file(CONFIG))?;
        if !take(WEIGHTS) {
            if !take(INDEX) {
                let torch = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
                let found = torch.into_iter().find(|f| find(f).is_some());
                return Err(wrong(match found {
                    Some(found) => convert(
                        repo,
                        &format!("has its weights in {found} only, and safetensors are read"),
                    ),
                    None => {
                        "has no model.safetensors; choose another repository or revision".into()
                    }
                }));
            }
            for shard in shards(name, &commit, &client.text(&file(INDEX))?)? {
                if !take(&shard) {
                    return Err(wrong(format!(
                        "{INDEX} names shard `{shard}`, which is not there"
                    )));
                }
            }
        }
        Ok(Listing {
            files: wanted,
            commit,
        })
    }
}

/// The shards that an index names, each inside the folder.
fn shards(name: &HubName, commit: &str, index: &str) -> Result<BTreeSet<String>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let wrong = |problem: String| ModelError::HubRepository {
        repo: name.repo.clone(),
        commit: commit.to_owned(),
        problem: format!("{INDEX}: {problem}"),
    };
    let index: Index = serde_json::from_str(index).map_err(|e| wrong(e.to_string()))?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    match shards
        .iter()
        .find(|s| s.starts_with('.') || !s.ends_with(".safetensors") || !s.chars().all(legal))
    {
        Some(shard) => Err(wrong(format!(
            "shard `{shard}` is not the name of a safetensors file inside the folder"
        ))),
        None if shards.is_empty() => Err(wrong("names no shard".into())),
        None => Ok(shards),
    }
}

fn convert(repo: &str, problem: &str) -> String {
    format!(
        "{problem}; convert once in Python, `AutoModelForCausalLM.from_pretrained(\"{repo}\").save_pretrained(FOLDER)` \
         and `AutoTokenizer.from_pretrained(\"{repo}\").save_pretrained(FOLDER)`, and name FOLDER instead"
    )
}

fn is_commit(revision: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    revision.len() == 40 && revision.chars().all(hex)
}

fn folders_in(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut known: Vec<String> = entries
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    known.sort();
    known
}

#[cfg(test)]
mod tests;
