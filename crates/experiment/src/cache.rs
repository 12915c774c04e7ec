//! Results of stages, by the content of what went into them.
//!
//! A key is the blake3 digest of a stage's name and its inputs, so a stage is
//! never computed twice and never taken for another. Entries appear under their
//! name only when complete.
//!
//! What is computed for many settings at once lies in packs: an entry with the results of all that one run lacked, each under
//! its own key. Their group is in the entry's name, and what is looked up is looked for in all packs of the group.
//!
//! Beside an entry `NAME` lies `NAME.b3` with the digest of its bytes, in the form of `b3sum`:
//! one line per file, names from the cache on, so `b3sum --check *.b3` there checks all of it.
//! An entry is read only where its bytes are those; one that was changed counts as not there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use interlingua_files::Partial;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ExperimentError;

/// A folder of finished stages.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// Raised when what a stage writes changes or what it computes, so that old entries are not read. It is the only version
/// in a key: a release that computes the same finds what an earlier one has left.
const FORMAT: u32 = 6;

/// What the cache has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// Nothing.
    Nothing,
    /// Bytes that are not those that were written; they are not to be used.
    Damaged(String),
    /// What was written.
    Whole(T),
}

impl Cache {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens or creates the folder, and removes what killed processes left half-done in it.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(folder: &Path) -> Result<Cache, ExperimentError> {
        std::fs::create_dir_all(folder).map_err(ExperimentError::io(folder))?;
        interlingua_files::sweep(folder).map_err(ExperimentError::io(folder))?;
        Ok(Cache {
            folder: folder.to_owned(),
        })
    }

    /// Key of a stage from everything that decides its result.
    pub fn key(stage: &str, inputs: &impl Serialize) -> String {
        let text = serde_json::to_string(&(FORMAT, stage, inputs)).expect("inputs are plain data");
        blake3::hash(text.as_bytes()).to_hex()[..24].to_owned()
    }

    /// Where a stage's file or folder lies, whether it is there or not.
    pub fn path(&self, stage: &str, key: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{stage}-{key}{extension}"))
    }

    /// Whether an entry, a file or a folder, is there and as it was written.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn check(&self, entry: &Path) -> Result<Found<()>, ExperimentError> {
        let written = self.seal_of(entry)?;
        match self.digest(entry, entry) {
            Ok(now) => Ok(judge(entry, written, &now).unwrap_or(Found::Whole(()))),
            Err(ExperimentError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(Found::Nothing)
            }
            Err(other) => Err(other),
        }
    }

    /// Reads a JSON entry.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn load<T: DeserializeOwned>(
        &self,
        stage: &str,
        key: &str,
    ) -> Result<Found<T>, ExperimentError> {
        self.read(&self.path(stage, key, ".json"))
    }

    /// Reads the JSON entry of a path.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Found<T>, ExperimentError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(ExperimentError::io(path)(e)),
        };
        let digest = line(&blake3::hash(&bytes), &name(path));
        if let Some(damaged) = judge(path, self.seal_of(path)?, &digest) {
            return Ok(damaged);
        }
        Ok(match serde_json::from_slice(&bytes) {
            Ok(value) => Found::Whole(value),
            Err(e) => Found::Damaged(format!("{}: {e}", path.display())),
        })
    }

    /// Writes a JSON entry.
    ///
    /// # Errors
    /// When the disk is full or the folder is gone.
    pub fn store(
        &self,
        stage: &str,
        key: &str,
        value: &impl Serialize,
    ) -> Result<(), ExperimentError> {
        self.write(&self.path(stage, key, ".json"), value)
    }

    /// Writes the JSON entry of a path.
    ///
    /// # Errors
    /// When the disk is full or the folder is gone.
    pub fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), ExperimentError> {
        let text = serde_json::to_vec(value).expect("results are plain data");
        self.seal(path, &line(&blake3::hash(&text), &name(path)))?;
        write_atomically(path, &text)
    }

    /// Where the results of these keys lie together; the group says what they have in common.
    pub fn pack<'a>(
        &self,
        stage: &str,
        group: &str,
        keys: impl IntoIterator<Item = &'a String>,
        extension: &str,
    ) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        for key in keys {
            hasher.update(key.as_bytes());
        }
        let part = &hasher.finalize().to_hex()[..16];
        self.path(stage, &format!("{group}.{part}"), extension)
    }

    /// Every entry that a group has: each run adds one with what it lacked.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn packs(
        &self,
        stage: &str,
        group: &str,
        extension: &str,
    ) -> Result<Vec<PathBuf>, ExperimentError> {
        let begin = format!("{stage}-{group}.");
        let failed = || ExperimentError::io(&self.folder);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let name = name(&path);
            let part = name.strip_prefix(&begin);
            let part = part.and_then(|part| part.strip_suffix(extension));
            if part.is_some_and(|part| part.bytes().all(|b| b.is_ascii_hexdigit())) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Begins an entry that others write: a file, or a folder of files.
    ///
    /// # Errors
    /// When the cache cannot be written to.
    pub fn begin(&self, entry: &Path) -> Result<Making<'_>, ExperimentError> {
        Ok(Making {
            cache: self,
            place: Partial::folder(entry).map_err(ExperimentError::io(entry))?,
            entry: entry.to_owned(),
        })
    }

    /// Removes an entry, if it is there.
    ///
    /// # Errors
    /// When it may not be removed.
    pub fn remove(&self, entry: &Path) -> Result<(), ExperimentError> {
        // Moved away first, so that nobody meets half of a folder.
        let away = self.begin(entry)?;
        match std::fs::rename(entry, away.path()) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(ExperimentError::io(entry)(e)),
            _ => {
                let _ = std::fs::remove_file(seal_path(entry));
                Ok(())
            }
        }
    }

    /// Digests of an entry that lies at `at`, as its seal says them.
    fn digest(&self, entry: &Path, at: &Path) -> Result<String, ExperimentError> {
        let mut lines = String::new();
        let mut add = |file: &Path, name: &str| -> Result<(), ExperimentError> {
            let mut hasher = blake3::Hasher::new();
            std::fs::File::open(file)
                .and_then(|file| hasher.update_reader(file).map(|_| ()))
                .map_err(ExperimentError::io(file))?;
            lines.push_str(&line(&hasher.finalize(), name));
            Ok(())
        };
        if !at.is_dir() {
            add(at, &name(entry))?;
            return Ok(lines);
        }
        let mut files = Vec::new();
        for file in std::fs::read_dir(at).map_err(ExperimentError::io(at))? {
            files.push(file.map_err(ExperimentError::io(at))?.path());
        }
        files.sort();
        for file in files {
            add(&file, &format!("{}/{}", name(entry), name(&file)))?;
        }
        Ok(lines)
    }

    /// The digests that were written for an entry.
    fn seal_of(&self, entry: &Path) -> Result<Option<String>, ExperimentError> {
        let path = seal_path(entry);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(ExperimentError::io(&path)(e)),
        }
    }

    /// Writes the digests of an entry, before the entry: whoever sees that sees these.
    fn seal(&self, entry: &Path, digest: &str) -> Result<(), ExperimentError> {
        write_atomically(&seal_path(entry), digest.as_bytes())
    }
}

/// An entry in the making, in a folder of its own; gone when it is dropped before [`Making::finish`].
pub struct Making<'a> {
    cache: &'a Cache,
    place: Partial,
    entry: PathBuf,
}

impl Making<'_> {
    /// Where to write it until it is finished.
    pub fn path(&self) -> PathBuf {
        self.place.path().join(name(&self.entry))
    }

    /// Puts it under its name, with its digest. A folder that another run has put there meanwhile stays.
    ///
    /// # Errors
    /// When the disk is full or the cache is gone.
    pub fn finish(self) -> Result<(), ExperimentError> {
        let made = self.path();
        let digest = self.cache.digest(&self.entry, &made)?;
        self.cache.seal(&self.entry, &digest)?;
        match std::fs::rename(&made, &self.entry) {
            Err(e) if made.is_dir() && self.entry.is_dir() => {
                match self.cache.check(&self.entry)? {
                    Found::Whole(()) => Ok(()),
                    _ => Err(ExperimentError::io(&self.entry)(e)),
                }
            }
            renamed => renamed.map_err(ExperimentError::io(&self.entry)),
        }
    }
}

/// Compares the digests of an entry with those that were written; nothing where they agree.
fn judge<T>(entry: &Path, written: Option<String>, now: &str) -> Option<Found<T>> {
    let problem = match written {
        Some(written) if written == now => return None,
        Some(_) => "was changed since it was written",
        None => "has no digest beside it",
    };
    Some(Found::Damaged(format!("{} {problem}", entry.display())))
}

/// A digest as `b3sum` prints it.
fn line(digest: &blake3::Hash, name: &str) -> String {
    format!("{digest}  {name}\n")
}

fn seal_path(entry: &Path) -> PathBuf {
    entry.with_file_name(format!("{}.b3", name(entry)))
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When the file cannot be written; an earlier one is then still whole.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ExperimentError> {
    interlingua_files::write(path, bytes).map_err(ExperimentError::io(path))
}

/// The same, unless the file holds these bytes already.
///
/// # Errors
/// When the disk is full or the folder is gone.
pub fn write_if_other(path: &Path, bytes: &[u8]) -> Result<(), ExperimentError> {
    match std::fs::read(path) {
        Ok(there) if there == bytes => Ok(()),
        _ => write_atomically(path, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        (folder, cache)
    }

    /// Another byte in every place of an entry and of its seal, one at a time.
    fn flips(path: &Path) -> impl Iterator<Item = Vec<u8>> {
        let whole = std::fs::read(path).unwrap();
        (0..whole.len()).map(move |at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        })
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_json_entry_is_seen() {
        let (_folder, cache) = cache();
        let value = vec![1.25, -3.5];
        assert_eq!(cache.load::<Vec<f64>>("s", "k").unwrap(), Found::Nothing);
        cache.store("s", "k", &value).unwrap();
        let path = cache.path("s", "k", ".json");
        for path in [&path, &seal_path(&path)] {
            let whole = std::fs::read(path).unwrap();
            for bytes in flips(path) {
                std::fs::write(path, bytes).unwrap();
                let found = cache.load::<Vec<f64>>("s", "k").unwrap();
                assert!(matches!(found, Found::Damaged(_)), "{found:?}");
            }
            std::fs::write(path, whole).unwrap();
        }
        assert_eq!(cache.load("s", "k").unwrap(), Found::Whole(value));
        std::fs::remove_file(seal_path(&path)).unwrap();
        let Found::Damaged(why) = cache.load::<Vec<f64>>("s", "k").unwrap() else {
            panic!("an entry without its digest is used");
        };
        assert!(why.ends_with("s-k.json has no digest beside it"), "{why}");
    }

    #[test]
    fn a_folder_is_whole_with_the_files_it_was_made_of() {
        let (_folder, cache) = cache();
        let entry = cache.path("lm", "k", "");
        let make = || {
            let making = cache.begin(&entry).unwrap();
            std::fs::create_dir(making.path()).unwrap();
            for (name, text) in [("a", "1"), ("b", "2")] {
                std::fs::write(making.path().join(name), text).unwrap();
            }
            making
        };
        drop(make());
        assert_eq!(cache.check(&entry).unwrap(), Found::Nothing);
        make().finish().unwrap();
        assert_eq!(cache.check(&entry).unwrap(), Found::Whole(()));
        // Another run made the same meanwhile.
        make().finish().unwrap();
        assert_eq!(cache.check(&entry).unwrap(), Found::Whole(()));
        for (name, text) in [("a", Some("2")), ("a", None), ("c", Some(""))] {
            let file = entry.join(name);
            match text {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let found = cache.check(&entry).unwrap();
            assert!(matches!(found, Found::Damaged(_)), "{name}: {found:?}");
            cache.remove(&entry).unwrap();
            make().finish().unwrap();
        }
        let left = std::fs::read_dir(cache.folder()).unwrap().count();
        assert_eq!(left, 2, "the entry and its digest");
    }

    #[test]
    fn a_file_that_others_write_gets_its_digest() {
        let (_folder, cache) = cache();
        let entry = cache.path("states", "k", ".safetensors");
        let making = cache.begin(&entry).unwrap();
        std::fs::write(making.path(), "states").unwrap();
        making.finish().unwrap();
        assert_eq!(cache.check(&entry).unwrap(), Found::Whole(()));
        let seal = std::fs::read_to_string(seal_path(&entry)).unwrap();
        assert!(seal.ends_with("  states-k.safetensors\n"), "{seal}");
        assert_eq!(seal.len(), 64 + 2 + "states-k.safetensors\n".len());
        std::fs::write(&entry, "stateS").unwrap();
        assert!(matches!(cache.check(&entry).unwrap(), Found::Damaged(_)));
    }
}
