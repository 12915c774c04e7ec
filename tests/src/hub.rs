//! A hub with one repository, for tests: its routes, its redirects, and a storage on another port.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::server::{Answer, Request, Server};

/// The repository.
pub const REPO: &str = "own/tiny";
/// Its commit.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A hub and the storage of its large files.
pub struct Hub {
    /// The hub.
    pub server: Server,
    /// Where it redirects to for large files.
    pub storage: Server,
}

/// Changes an ordinary answer; the number counts earlier requests of the same method and path.
pub type Trouble = dyn Fn(&Request, usize, Answer) -> Answer + Send + Sync;

impl Hub {
    /// A hub without trouble.
    pub fn new(files: Files) -> Hub {
        Hub::with_trouble(files, |_, _, answer| answer)
    }

    /// A hub whose answers, and those of its storage, pass through `trouble`.
    ///
    /// Files named `*.safetensors` are in the storage, under the SHA-256 of their content. Revisions are `main`,
    /// `v1` and the commit.
    pub fn with_trouble(
        files: Files,
        trouble: impl Fn(&Request, usize, Answer) -> Answer + Send + Sync + 'static,
    ) -> Hub {
        let (files, trouble): (_, Arc<Trouble>) = (Arc::new(files), Arc::new(trouble));
        let stored: BTreeMap<String, Vec<u8>> = files
            .iter()
            .filter(|(name, _)| is_large(name))
            .map(|(_, content)| (sha256(content), content.clone()))
            .collect();
        let storage = Server::start(troubled(trouble.clone(), move |request| {
            let hash = request.path.trim_start_matches("/storage/");
            let hash = hash.split('?').next().unwrap_or(hash);
            match stored.get(hash) {
                Some(content) => Answer::content(content, request),
                None => Answer::new(404, "no such object"),
            }
        }));
        let address = storage.url().to_owned();
        let server = Server::start(troubled(trouble, move |request| {
            answer(&files, &address, request)
        }));
        Hub { server, storage }
    }
}

/// The files of a folder.
///
/// # Panics
/// When they cannot be read.
pub fn files_in(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files = Files::new();
    for path in entries.map(|e| e.expect("an entry").path()) {
        let name = path.file_name().expect("a name").to_string_lossy();
        files.insert(name.into_owned(), std::fs::read(&path).expect("a file"));
    }
    files
}

/// SHA-256 in hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

fn troubled(
    trouble: Arc<Trouble>,
    ordinary: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    let counts: Mutex<HashMap<String, usize>> = Mutex::default();
    move |request| {
        let earlier = {
            let mut counts = counts.lock().expect("the counts");
            let key = format!("{} {}", request.method, request.path);
            let count = counts.entry(key).or_default();
            *count += 1;
            *count - 1
        };
        trouble(request, earlier, ordinary(request))
    }
}

/// The routes of the hub, as <https://huggingface.co/docs/hub/api> and its redirects have them.
fn answer(files: &Files, storage: &str, request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    let known = |revision: &str| ["main", "v1", "refs%2Fpr%2F1", COMMIT].contains(&revision);
    let missing = |code: &str| Answer::new(404, "not found").with("X-Error-Code", code);
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{REPO}/revision/")) {
        if !known(revision) {
            return missing("RevisionNotFound");
        }
        let siblings: Vec<serde_json::Value> = files
            .iter()
            .map(|(name, content)| serde_json::json!({"rfilename": name, "size": content.len()}))
            .collect();
        let info = serde_json::json!({"id": REPO, "sha": COMMIT, "siblings": siblings});
        return Answer::new(200, info.to_string());
    }
    let cached = path.strip_prefix("/api/resolve-cache/");
    let Some(rest) = cached.or_else(|| path.strip_prefix(&format!("/{REPO}/resolve/"))) else {
        return missing("RepoNotFound");
    };
    let (revision, name) = rest.split_once('/').unwrap_or((rest, ""));
    if !known(revision) {
        return missing("RevisionNotFound");
    }
    let Some(content) = files.get(name) else {
        return missing("EntryNotFound");
    };
    let hash = sha256(content);
    let answer = if is_large(name) {
        Answer::redirect(302, &format!("{storage}/storage/{hash}?signature=secret"))
            .with("X-Linked-Size", &content.len().to_string())
            .with("X-Linked-Etag", &format!("\"{hash}\""))
    } else if cached.is_none() {
        Answer::redirect(307, &format!("/api/resolve-cache/{COMMIT}/{name}"))
    } else {
        // Small files are named by a git hash, which has 40 digits.
        Answer::content(content, request).with("ETag", &format!("W/\"{}\"", &hash[..40]))
    };
    answer.with("X-Repo-Commit", COMMIT)
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}
