//! Everything that can be wrong with a checkpoint or a request to run it.

use std::path::{Path, PathBuf};

/// Why a model could not be opened, read or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder lacks a file that every checkpoint has.
    #[error(
        "{folder}: no `{file}` here; a Hugging Face checkpoint folder has config.json, tokenizer.json and model.safetensors (or model.safetensors.index.json with its shards); a GGUF file, or a folder with one, is read too"
    )]
    MissingFile {
        /// The checkpoint folder.
        folder: PathBuf,
        /// What was looked for.
        file: String,
    },
    /// Something that is not a regular file, or too long to be what its name says.
    #[error("{path}: {problem}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// `config.json` is not usable.
    #[error("{path}: key `{key}`: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it and what would work.
        problem: String,
    },
    /// The architecture is not implemented.
    #[error("{path}: architecture `{found}` is not implemented; those that are: {known}")]
    UnknownArchitecture {
        /// The file.
        path: PathBuf,
        /// What `architectures` says.
        found: String,
        /// What would work.
        known: String,
    },
    /// A safetensors file or index is malformed.
    #[error("{path}: {problem}")]
    BadWeights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor is missing.
    #[error("{path}: tensor `{name}` is missing (the architecture needs it)")]
    MissingTensor {
        /// The checkpoint folder or file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor the architecture has no place for.
    #[error("{path}: tensor `{name}` has no place in this architecture")]
    UnknownTensor {
        /// The checkpoint folder or file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor of another shape than the config implies.
    #[error("{path}: tensor `{name}` has shape {found:?}, its configuration implies {expected:?}")]
    Shape {
        /// The checkpoint file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape the config implies.
        expected: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{path}: tensor `{name}` holds {value} at element {index}; the checkpoint is damaged, fetch it again"
    )]
    NotFinite {
        /// The checkpoint file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// The value found.
        value: f32,
        /// Its flat index.
        index: usize,
    },
    /// The tokenizer cannot be used.
    #[error("{path}: {problem}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would work.
        problem: String,
    },
    /// A checkpoint without a chat template.
    #[error(
        "{folder}: no chat template: looked for chat_template.jinja and for the setting of this name in tokenizer_config.json or the GGUF file; base models have none"
    )]
    NoChatTemplate {
        /// The checkpoint folder or file.
        folder: PathBuf,
    },
    /// Generation of a model whose tokens see what follows.
    #[error(
        "{architecture} is no causal model, so it generates no text; one with a causal LM head does"
    )]
    NotCausal {
        /// The architecture.
        architecture: String,
    },
    /// Generation with weights that are read from the disk in every pass.
    #[error(
        "every token would read all {:.2} GB of weights from the disk; generation needs them in memory: --residency resident",
        *.bytes as f64 / 1e9
    )]
    StreamedGeneration {
        /// Bytes of the weights.
        bytes: u64,
    },
    /// Generation as it cannot be.
    #[error("{problem}")]
    Generation {
        /// What is wrong and what would work.
        problem: String,
    },
    /// A hook that does not exist in this model.
    #[error(transparent)]
    Hook(interlingua_edits::HookError),
    /// Weights that cannot fit into memory.
    #[error(
        "{folder}: its weights take about {needed} bytes of memory with residency `{residency}`, and this process can \
         have {left}; residency `stream` takes least, `ulimit -v` may bound it"
    )]
    Memory {
        /// The checkpoint folder.
        folder: PathBuf,
        /// Where they would live.
        residency: crate::model::Residency,
        /// About how much that takes.
        needed: u64,
        /// How much there can be.
        left: u64,
    },
    /// A sequence that the model cannot take.
    #[error("sequence {index}: {problem}")]
    Sequence {
        /// Its index in the request.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A model that only makes states was asked for probabilities.
    #[error(
        "{folder}: architecture `{architecture}` has no LM head, so it gives states but no probabilities; a checkpoint of the same family with `ForMaskedLM` or `ForCausalLM` in its name has one"
    )]
    NoHead {
        /// The checkpoint folder.
        folder: PathBuf,
        /// What `architectures` says.
        architecture: String,
    },
    /// An intervention of low rank that does not fit the states.
    #[error(
        "an intervention of low rank has right {:?}, offset {:?} and left {:?}; for states of width {width} and a rank k these are [{width}, k], [1, k] and [k, {width}]",
        shapes[0], shapes[1], shapes[2]
    )]
    LowRankShape {
        /// Of right, offset and left.
        shapes: [[usize; 2]; 3],
        /// Width of the states.
        width: usize,
    },
    /// A causal model where a masked one is needed, or the other way round.
    #[error(
        "{folder}: `{architecture}` has a {kind} LM head, this needs a {wanted} one; choose another scorer or another model"
    )]
    WrongHead {
        /// The checkpoint folder.
        folder: PathBuf,
        /// What `architectures` says.
        architecture: String,
        /// `causal` or `masked`.
        kind: &'static str,
        /// The other.
        wanted: &'static str,
    },
    /// A masked model whose tokenizer does not say what masks a token.
    #[error(
        "{folder}: no mask token: looked for `mask_token` in tokenizer_config.json and in special_tokens_map.json, and for [MASK] and <mask> in tokenizer.json; add `mask_token` to tokenizer_config.json"
    )]
    NoMaskToken {
        /// The checkpoint folder.
        folder: PathBuf,
    },
    /// A hidden state came out NaN or infinite.
    #[error(
        "the states or log-likelihoods of sequence {index} are not finite; the weights or an intervention produce NaN"
    )]
    NotFiniteOutput {
        /// Index of the first such sequence.
        index: usize,
    },
    /// A name that is neither a folder nor a name of the hub.
    #[error(
        "no folder `{name}`{}; give a folder that holds config.json, a .gguf file, or `owner/name` or `owner/name@revision` of the Hugging Face hub",
        under(root, known)
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// Where checkpoint folders are.
        root: Option<PathBuf>,
        /// Folders that are there.
        known: Vec<String>,
    },
    /// An environment variable of the hub that cannot be used.
    #[error("{variable} {problem}")]
    HubSetting {
        /// The variable.
        variable: &'static str,
        /// What is wrong and what would work.
        problem: &'static str,
    },
    /// The hub may not be asked, and the cache is not enough.
    #[error(
        "{repo}@{revision}: {} in {cache}, and HF_HUB_OFFLINE forbids to fetch it; unset HF_HUB_OFFLINE and run again, \
         or run `hf download {repo} --revision {revision}` where there is a network and name its cache with HF_HUB_CACHE",
        lacks(missing)
    )]
    HubOffline {
        /// The repository.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// Files that are not there; none when not even the commit is known.
        missing: Vec<String>,
        /// The cache.
        cache: PathBuf,
    },
    /// A model is to be fetched by a program without a client for HTTP.
    #[error(
        "{repo}@{revision}: this program was built without the feature `download`, so it cannot ask the hub; build it \
         with that feature, or run `hf download {repo} --revision {revision}` and set HF_HUB_OFFLINE=1 (cache: {})",
        cache.display()
    )]
    HubNoDownload {
        /// The repository.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The hub refuses access.
    #[error(
        "{repo}: the hub refuses access (status {status}; {token}); accept the licence at {page} while signed in, \
         make a token with read access at the hub's page of settings, and give it in HF_TOKEN (or run `hf auth login`)"
    )]
    HubAccess {
        /// The repository.
        repo: String,
        /// The status of the answer.
        status: u16,
        /// What was sent; not the token itself.
        token: &'static str,
        /// The repository's page.
        page: String,
    },
    /// The hub knows no such repository or file.
    #[error(
        "{url}: not there (404, or hidden): repository `{repo}` or its revision `{revision}` does not exist or is private \
         ({token}); check the name, and set HF_TOKEN to a token that may read it; \
         if a folder was meant, there is none of this name"
    )]
    HubNotFound {
        /// The repository.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// What was sent; not the token itself.
        token: &'static str,
        /// What was asked for.
        url: String,
    },
    /// The repository is there, the revision is not.
    #[error(
        "{repo}: no branch, tag or commit `{revision}`; the hub lists them under `Files and versions`"
    )]
    HubRevision {
        /// The repository.
        repo: String,
        /// The revision asked for.
        revision: String,
    },
    /// The repository has no checkpoint that can be read.
    #[error("{repo}@{commit}: {problem}")]
    HubRepository {
        /// The repository.
        repo: String,
        /// The commit looked at.
        commit: String,
        /// What is wrong and what would work.
        problem: String,
    },
    /// The hub answers with an error.
    #[error(
        "{url}: status {status}; the hub is busy or broken, try again later: what came is kept"
    )]
    HubStatus {
        /// What was asked for.
        url: String,
        /// The status of the last answer.
        status: u16,
    },
    /// No answer came.
    #[error(
        "{url}: {message}; check the network and HF_ENDPOINT, then run again: what came is kept; \
         what is complete in the cache can be used with HF_HUB_OFFLINE=1"
    )]
    HubNetwork {
        /// What was asked for.
        url: String,
        /// The cause.
        message: String,
    },
    /// A file broke off again and again.
    #[error(
        "{url}: broke off after {received} of {expected} bytes; run again, it goes on from there"
    )]
    HubTruncated {
        /// The file.
        url: String,
        /// Bytes that are there.
        received: u64,
        /// Bytes of the whole.
        expected: u64,
    },
    /// A file of other bytes than the hub announced.
    #[error("{url}: sha256 is {actual}, the hub announced {expected}; it was removed, run again")]
    HubHash {
        /// The file.
        url: String,
        /// What was announced.
        expected: String,
        /// What came.
        actual: String,
    },
    /// An answer that no hub gives.
    #[error("{url}: {problem}")]
    HubAnswer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An intervention that does not fit the model.
    #[error(transparent)]
    Intervention(interlingua_edits::EditError),
    /// A step of an intervention acts in a space whose maps its file does not hold.
    #[error(
        "step {step} of the intervention acts at {hook} in the space `{space}`, whose maps the file does not hold; an \
         intervention in the hidden states themselves (space `raw`) can be loaded, another is run by its experiment"
    )]
    OtherSpace {
        /// The step, from 1.
        step: usize,
        /// Its hook point.
        hook: interlingua_edits::Hook,
        /// The space.
        space: String,
    },
}

impl ModelError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
        let path = path.to_owned();
        move |source| ModelError::Io { path, source }
    }
}

fn under(root: &Option<PathBuf>, known: &[String]) -> String {
    let Some(root) = root else {
        return String::new();
    };
    let known = if known.is_empty() {
        "nothing".to_owned()
    } else {
        known.join(", ")
    };
    format!(" under {} (it holds {known})", root.display())
}

fn lacks(missing: &[String]) -> String {
    if missing.is_empty() {
        return "this revision is not known".to_owned();
    }
    format!("{} missing", missing.join(", "))
}
