//! All errors of checkpoints and of requests to run them.

use std::path::{Path, PathBuf};

/// The reason why a model could not be opened, read or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The folder lacks a file that every checkpoint has.
    #[error(
        "{folder}: no `{file}` here; a Hugging Face checkpoint folder has config.json, tokenizer.json and model.safetensors (or model.safetensors.index.json with its shards); a GGUF file, or a folder with one, is read too"
    )]
    MissingFile {
        /// The checkpoint folder.
        folder: PathBuf,
        /// The file that was looked for.
        file: String,
    },
    /// A path is not a regular file, or the file is too long to be what its name says.
    #[error("{path}: {problem}")]
    BadFile {
        /// The path of the file.
        path: PathBuf,
        /// A description of the fault.
        problem: String,
    },
    /// `config.json` cannot be used.
    #[error("{path}: key `{key}`: {problem}")]
    Config {
        /// The path of the file.
        path: PathBuf,
        /// The key.
        key: String,
        /// A description of the fault, and what would work.
        problem: String,
    },
    /// The architecture is not implemented.
    #[error("{path}: architecture `{found}` is not implemented; those that are: {known}")]
    UnknownArchitecture {
        /// The path of the file.
        path: PathBuf,
        /// The name under `architectures`.
        found: String,
        /// The names of the architectures that are implemented.
        known: String,
    },
    /// The checkpoint has no head that classifies texts.
    #[error("{path}: `{found}` does not classify texts with labels; checkpoints that do: {known}")]
    NoClassifier {
        /// The path of the file.
        path: PathBuf,
        /// The name under `architectures`, or what else is there.
        found: String,
        /// The names of the architectures that are implemented.
        known: String,
    },
    /// The files of a checkpoint are no longer what they were when it was first opened.
    #[error("{}: the files have changed since they were checked; start again", .folder.display())]
    Changed {
        /// The folder of the checkpoint.
        folder: PathBuf,
    },
    /// A classifier has no label of this name.
    #[error("{}: no label `{label}`; there are: {}", .folder.display(), .known.join(", "))]
    UnknownLabel {
        /// The folder of the checkpoint.
        folder: PathBuf,
        /// The label that was asked for.
        label: String,
        /// The labels of the classifier, in its order.
        known: Vec<String>,
    },
    /// A safetensors file or index is malformed.
    #[error("{path}: {problem}")]
    BadWeights {
        /// The path of the file.
        path: PathBuf,
        /// A description of the fault.
        problem: String,
    },
    /// A tensor is missing.
    #[error("{path}: tensor `{name}` is missing (the architecture needs it)")]
    MissingTensor {
        /// The path of the checkpoint folder or file.
        path: PathBuf,
        /// The name of the tensor.
        name: String,
    },
    /// The architecture does not have a tensor of this name.
    #[error("{path}: tensor `{name}` has no place in this architecture")]
    UnknownTensor {
        /// The path of the checkpoint folder or file.
        path: PathBuf,
        /// The name of the tensor.
        name: String,
    },
    /// A tensor has another shape than the config implies.
    #[error("{path}: tensor `{name}` has shape {found:?}, its configuration implies {expected:?}")]
    Shape {
        /// The path of the checkpoint file.
        path: PathBuf,
        /// The name of the tensor.
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
        /// The path of the checkpoint file.
        path: PathBuf,
        /// The name of the tensor.
        name: String,
        /// The value of the weight.
        value: f32,
        /// The index of the value in the flattened tensor.
        index: usize,
    },
    /// The tokenizer cannot be used.
    #[error("{path}: {problem}")]
    Tokenizer {
        /// The path of the file.
        path: PathBuf,
        /// A description of the fault, and what would work.
        problem: String,
    },
    /// The checkpoint has no chat template.
    #[error(
        "{folder}: no chat template: looked for chat_template.jinja and for the setting of this name in tokenizer_config.json or the GGUF file; base models have none"
    )]
    NoChatTemplate {
        /// The path of the checkpoint folder or file.
        folder: PathBuf,
    },
    /// Text cannot be generated by a model whose tokens see the tokens after them.
    #[error(
        "{architecture} is no causal model, so it generates no text; one with a causal LM head does"
    )]
    NotCausal {
        /// The name of the architecture.
        architecture: String,
    },
    /// Text cannot be generated with weights that are read from the disk in every pass.
    #[error(
        "every token would read all {:.2} GB of weights from the disk; generation needs them in memory: --residency resident",
        *.bytes as f64 / 1e9
    )]
    StreamedGeneration {
        /// The size of the weights in bytes.
        bytes: u64,
    },
    /// The options or the prompts of a generation cannot be used.
    #[error("{problem}")]
    Generation {
        /// A description of the fault, and what would work.
        problem: String,
    },
    /// The model does not have this hook.
    #[error(transparent)]
    Hook(interlingua_edits::HookError),
    /// The weights do not fit into memory.
    #[error(
        "{folder}: its weights take about {needed} bytes of memory with residency `{residency}`, and this process can \
         have {left}; residency `stream` takes least, `ulimit -v` may bound it"
    )]
    Memory {
        /// The path of the checkpoint folder.
        folder: PathBuf,
        /// The residency that was asked for.
        residency: crate::Residency,
        /// The number of bytes that this residency needs, approximately.
        needed: u64,
        /// The number of bytes that this process can still have.
        left: u64,
    },
    /// The model cannot take a sequence.
    #[error("sequence {index}: {problem}")]
    Sequence {
        /// The index of the sequence in the request.
        index: usize,
        /// A description of the fault.
        problem: String,
    },
    /// A model without an LM head was asked for probabilities.
    #[error(
        "{folder}: architecture `{architecture}` has no LM head, so it gives states but no probabilities; a checkpoint of the same family with `ForMaskedLM` or `ForCausalLM` in its name has one"
    )]
    NoHead {
        /// The path of the checkpoint folder.
        folder: PathBuf,
        /// The name under `architectures`.
        architecture: String,
    },
    /// The shapes of an intervention of low rank do not fit the states.
    #[error(
        "an intervention of low rank has right {:?}, offset {:?} and left {:?}; for states of width {width} and a rank k these are [{width}, k], [1, k] and [k, {width}]",
        shapes[0], shapes[1], shapes[2]
    )]
    LowRankShape {
        /// The shapes of right, offset and left.
        shapes: [[usize; 2]; 3],
        /// The width of the states.
        width: usize,
    },
    /// A causal model was given where a masked one is needed, or the other way round.
    #[error(
        "{folder}: `{architecture}` has a {kind} LM head, this needs a {wanted} one; choose another scorer or another model"
    )]
    WrongHead {
        /// The path of the checkpoint folder.
        folder: PathBuf,
        /// The name under `architectures`.
        architecture: String,
        /// The kind of the model: `causal` or `masked`.
        kind: &'static str,
        /// The kind that is needed.
        wanted: &'static str,
    },
    /// The tokenizer of a masked model does not name its mask token.
    #[error(
        "{folder}: no mask token: looked for `mask_token` in tokenizer_config.json and in special_tokens_map.json, and for [MASK] and <mask> in tokenizer.json; add `mask_token` to tokenizer_config.json"
    )]
    NoMaskToken {
        /// The path of the checkpoint folder.
        folder: PathBuf,
    },
    /// A hidden state or a log-likelihood is NaN or infinite.
    #[error(
        "the states or log-likelihoods of sequence {index} are not finite; the weights or an intervention produce NaN"
    )]
    NotFiniteOutput {
        /// The index of the first such sequence.
        index: usize,
    },
    /// A name is neither a folder nor a name of the Hugging Face hub.
    #[error(
        "no folder `{name}`{}; give a folder that holds config.json, a .gguf file, or `owner/name` or `owner/name@revision` of the Hugging Face hub",
        under(root, known)
    )]
    UnknownModel {
        /// The name that was given.
        name: String,
        /// The folder in which checkpoint folders were looked for.
        root: Option<PathBuf>,
        /// The checkpoint folders that it holds.
        known: Vec<String>,
    },
    /// An environment variable of the hub has a value that cannot be used.
    #[error("{variable} {problem}")]
    HubSetting {
        /// The name of the variable.
        variable: &'static str,
        /// A description of the fault, and what would work.
        problem: &'static str,
    },
    /// The hub may not be asked, and the cache does not hold all files.
    #[error(
        "{repo}@{revision}: {} in {cache}, and HF_HUB_OFFLINE forbids to fetch it; unset HF_HUB_OFFLINE and run again, \
         or run `hf download {repo} --revision {revision}` where there is a network and name its cache with HF_HUB_CACHE",
        lacks(missing)
    )]
    HubOffline {
        /// The name of the repository.
        repo: String,
        /// The revision that was asked for.
        revision: String,
        /// The files that are missing; empty if not even the commit is known.
        missing: Vec<String>,
        /// The path of the cache.
        cache: PathBuf,
    },
    /// A model has to be fetched, but the program was built without an HTTP client.
    #[error(
        "{repo}@{revision}: this program was built without the feature `download`, so it cannot ask the hub; build it \
         with that feature, or run `hf download {repo} --revision {revision}` and set HF_HUB_OFFLINE=1 (cache: {})",
        cache.display()
    )]
    HubNoDownload {
        /// The name of the repository.
        repo: String,
        /// The revision that was asked for.
        revision: String,
        /// The path of the cache.
        cache: PathBuf,
    },
    /// The hub refuses access to a repository.
    #[error(
        "{repo}: the hub refuses access (status {status}; {token}); accept the licence at {page} while signed in, \
         make a token with read access at the hub's page of settings, and give it in HF_TOKEN (or run `hf auth login`)"
    )]
    HubAccess {
        /// The name of the repository.
        repo: String,
        /// The HTTP status code.
        status: u16,
        /// Whether a token was sent; not the token itself.
        token: &'static str,
        /// The web page of the repository.
        page: String,
    },
    /// The hub does not know the repository or the file.
    #[error(
        "{url}: not there (404, or hidden): repository `{repo}` or its revision `{revision}` does not exist or is private \
         ({token}); check the name, and set HF_TOKEN to a token that may read it; \
         if a folder was meant, there is none of this name"
    )]
    HubNotFound {
        /// The name of the repository.
        repo: String,
        /// The revision that was asked for.
        revision: String,
        /// Whether a token was sent; not the token itself.
        token: &'static str,
        /// The address that was requested.
        url: String,
    },
    /// The repository exists, but the revision does not.
    #[error(
        "{repo}: no branch, tag or commit `{revision}`; the hub lists them under `Files and versions`"
    )]
    HubRevision {
        /// The name of the repository.
        repo: String,
        /// The revision that was asked for.
        revision: String,
    },
    /// The repository has no checkpoint that can be read.
    #[error("{repo}@{commit}: {problem}")]
    HubRepository {
        /// The name of the repository.
        repo: String,
        /// The commit that was examined.
        commit: String,
        /// A description of the fault, and what would work.
        problem: String,
    },
    /// The hub answers with an error of its own.
    #[error(
        "{url}: status {status}; the hub is busy or broken, try again later: what came is kept"
    )]
    HubStatus {
        /// The address that was requested.
        url: String,
        /// The HTTP status code of the last answer.
        status: u16,
    },
    /// The hub does not answer.
    #[error(
        "{url}: {message}; check the network and HF_ENDPOINT, then run again: what came is kept; \
         what is complete in the cache can be used with HF_HUB_OFFLINE=1"
    )]
    HubNetwork {
        /// The address that was requested.
        url: String,
        /// The error of the HTTP client.
        message: String,
    },
    /// The transfer of a file ended early several times.
    #[error(
        "{url}: broke off after {received} of {expected} bytes; run again, it goes on from there"
    )]
    HubTruncated {
        /// The address of the file.
        url: String,
        /// The number of bytes that were received.
        received: u64,
        /// The size of the whole file in bytes.
        expected: u64,
    },
    /// The bytes of a file do not have the hash that the hub announced.
    #[error("{url}: sha256 is {actual}, the hub announced {expected}; it was removed, run again")]
    HubHash {
        /// The address of the file.
        url: String,
        /// The sha256 that the hub announced.
        expected: String,
        /// The sha256 of the bytes that were received.
        actual: String,
    },
    /// The answer is not one that a hub gives.
    #[error("{url}: {problem}")]
    HubAnswer {
        /// The address that was requested.
        url: String,
        /// A description of the fault.
        problem: String,
    },
    /// The intervention does not fit the model.
    #[error(transparent)]
    Intervention(interlingua_edits::EditError),
    /// A step of an intervention acts in a space, and the file does not hold the maps into that space.
    #[error(
        "step {step} of the intervention acts at {hook} in the space `{space}`, whose maps the file does not hold; an \
         intervention in the hidden states themselves (space `raw`) can be loaded, another is run by its experiment"
    )]
    OtherSpace {
        /// The number of the step, counted from 1.
        step: usize,
        /// The hook of the step.
        hook: interlingua_edits::Hook,
        /// The name of the space.
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
