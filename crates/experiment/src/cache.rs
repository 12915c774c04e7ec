//! A cache of the results of stages, addressed by the content of their inputs.
//!
//! A key is the blake3 digest of a stage's name and its inputs, so a result is never computed twice and never
//! confused with another. Entries appear under their name only when they are complete.
//!
//! Results that are computed for many settings at once are stored in packs. A pack is an entry with all results that
//! one run computed, each under its own key. The name of the entry contains the group of the results, and a key is
//! looked up in all packs of its group.
//!
//! Beside an entry `NAME` lies `NAME.b3` with the digest of its bytes, in the format of `b3sum`: one line per file,
//! with names relative to the cache folder. So `b3sum --check *.b3` in that folder checks everything. An entry is
//! read only if its bytes have this digest; an entry that was changed counts as missing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use interlingua_files::Partial;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ExperimentError;

/// A folder of the results of finished stages.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// Raised when what a stage writes changes or what it computes, so that old entries are not read. It is the only version
/// in a key: a release that computes the same finds what an earlier one has left.
const FORMAT: u32 = 6;

/// The content of the cache under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// There is no entry.
    Nothing,
    /// The bytes are not those that were written, and must not be used.
    Damaged(String),
    /// The content that was written.
    Whole(T),
}

impl Cache {
    /// Returns the path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens or creates the folder, and removes what killed processes left unfinished in it.
    ///
    /// # Errors
    /// A folder that cannot be created.
    pub fn open(folder: &Path) -> Result<Cache, ExperimentError> {
        std::fs::create_dir_all(folder).map_err(ExperimentError::io(folder))?;
        interlingua_files::sweep(folder).map_err(ExperimentError::io(folder))?;
        Ok(Cache {
            folder: folder.to_owned(),
        })
    }

    /// Computes the key of a stage from everything that determines its result.
    pub fn key(stage: &str, inputs: &impl Serialize) -> String {
        let text = serde_json::to_string(&(FORMAT, stage, inputs)).expect("inputs are plain data");
        blake3::hash(text.as_bytes()).to_hex()[..24].to_owned()
    }

    /// Returns the path of a stage's file or folder, whether it exists or not.
    pub fn path(&self, stage: &str, key: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{stage}-{key}{extension}"))
    }

    /// Checks whether an entry, which is a file or a folder, exists and is as it was written.
    ///
    /// # Errors
    /// An entry that exists but cannot be read.
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
    /// An entry that exists but cannot be read.
    pub fn load<T: DeserializeOwned>(
        &self,
        stage: &str,
        key: &str,
    ) -> Result<Found<T>, ExperimentError> {
        self.read(&self.path(stage, key, ".json"))
    }

    /// Reads the JSON entry at a path.
    ///
    /// # Errors
    /// An entry that exists but cannot be read.
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
    /// A full disk, or a folder that no longer exists.
    pub fn store(
        &self,
        stage: &str,
        key: &str,
        value: &impl Serialize,
    ) -> Result<(), ExperimentError> {
        self.write(&self.path(stage, key, ".json"), value)
    }

    /// Writes the JSON entry at a path.
    ///
    /// # Errors
    /// A full disk, or a folder that no longer exists.
    pub fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), ExperimentError> {
        let text = serde_json::to_vec(value).expect("results are plain data");
        self.seal(path, &line(&blake3::hash(&text), &name(path)))?;
        write_atomically(path, &text)
    }

    /// Returns the path of the pack with the results of these keys. The group says what they have in common.
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

    /// Returns every pack of a group; each run adds one with the results that were missing.
    ///
    /// # Errors
    /// A folder that cannot be listed.
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

    /// Begins an entry that other code writes: a file, or a folder of files.
    ///
    /// # Errors
    /// A cache that cannot be written to.
    pub fn begin(&self, entry: &Path) -> Result<Making<'_>, ExperimentError> {
        Ok(Making {
            cache: self,
            place: Partial::folder(entry).map_err(ExperimentError::io(entry))?,
            entry: entry.to_owned(),
        })
    }

    /// Removes an entry if it exists.
    ///
    /// # Errors
    /// An entry that may not be removed.
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

/// An entry that is being written, in a folder of its own. It is removed if it is dropped before [`Making::finish`].
pub struct Making<'a> {
    cache: &'a Cache,
    place: Partial,
    entry: PathBuf,
}

impl Making<'_> {
    /// Returns the path to write to until the entry is finished.
    pub fn path(&self) -> PathBuf {
        self.place.path().join(name(&self.entry))
    }

    /// Moves the entry to its name and writes its digest. If another run has written a folder of this name in the
    /// meantime, that folder stays.
    ///
    /// # Errors
    /// A full disk, or a cache that no longer exists.
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

/// Writes a file completely or not at all.
///
/// # Errors
/// A file that cannot be written; an earlier one is then still complete.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ExperimentError> {
    interlingua_files::write(path, bytes).map_err(ExperimentError::io(path))
}

/// Writes a file completely or not at all, unless it holds these bytes already.
///
/// # Errors
/// A full disk, or a folder that no longer exists.
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
