//! Manifests of data sets: where the files come from, what their hashes are, and what their licence allows.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::DataError;
use crate::input::{Limits, io_error, open_file, read_small};
use crate::language::Language;
use crate::load::{Format, entries};

/// No manifest comes near this many bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// The manifest of one data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// The short name, which is also the name of the data set's folder in the cache.
    pub name: String,
    /// A description of the data set in one sentence.
    pub description: String,
    /// The SPDX identifier of the licence, or `none` if its authors state none.
    pub licence: String,
    /// What the licence means for the use in this project.
    #[serde(default)]
    pub licence_note: String,
    /// The web page of the authors.
    pub homepage: String,
    /// The format of the files; absent if no loader of this crate reads them.
    #[serde(default)]
    pub format: Option<Format>,
    /// The languages of the data set.
    #[serde(default)]
    pub languages: Vec<Language>,
    /// The columns or keys, in the words of the authors.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The files of the data set.
    #[serde(default, rename = "file")]
    pub files: Vec<RemoteFile>,
}

/// One file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RemoteFile {
    /// The name of the file in the data set's folder.
    pub name: String,
    /// The address to download the file from, or, for a file of this project, its path `datasets/…`.
    pub url: String,
    /// The sha256 of its bytes, as 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The member to extract from the archive, for loaders that don't read archives.
    #[serde(default)]
    pub unpack: Option<String>,
}

impl Manifest {
    /// Reads one manifest.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, or a value out of range; the error names the place of each.
    pub fn load(path: &Path) -> Result<Manifest, DataError> {
        let bad = |message: String| DataError::Manifest {
            file: path.to_owned(),
            message,
        };
        let bytes = read_small(path, Limits::default(), MAX_MANIFEST)?;
        let text = String::from_utf8(bytes).map_err(|e| bad(e.to_string()))?;
        let manifest: Manifest = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if !plain_name(&manifest.name) {
            return Err(bad(format!(
                "name `{}`: letters, digits, `-`, `_` and `.` are allowed",
                manifest.name
            )));
        }
        for file in &manifest.files {
            let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            if file.sha256.len() != 64 || !file.sha256.chars().all(hex) {
                return Err(bad(format!(
                    "file `{}`: sha256 must be 64 lower-case hexadecimal digits",
                    file.name
                )));
            }
            if !plain_name(&file.name) {
                return Err(bad(format!(
                    "file name `{}`: letters, digits, `-`, `_`, `+` and `.` are allowed",
                    file.name
                )));
            }
            let served = ["https://", "http://"];
            let own = |url: &str| url.starts_with("datasets/") && url.split('/').all(plain_name);
            if !served.iter().any(|start| file.url.starts_with(start)) && !own(&file.url) {
                return Err(bad(format!(
                    "file `{}`: the url must start with https:// or http://, or name a file of this project: datasets/…",
                    file.name
                )));
            }
        }
        Ok(manifest)
    }

    /// Says in words how to get a missing data file: it names the manifest that lists the file. The text is empty if
    /// none does.
    pub fn remedy(file: &str, manifests: &[Manifest]) -> String {
        let (folder, rest) = file.split_once('/').unwrap_or((file, ""));
        let has = |manifest: &&Manifest| {
            let unpacked = |member: &str| member.rsplit('/').next() == Some(rest);
            rest.is_empty()
                || manifest
                    .files
                    .iter()
                    .any(|f| f.name == rest || f.unpack.as_deref().is_some_and(unpacked))
        };
        let plain = |name: &str| name.replace('_', "-");
        let of_name = |m: &&Manifest| plain(&m.name) == plain(folder);
        match manifests.iter().filter(of_name).find(has) {
            Some(manifest) if manifest.name == folder => {
                format!("`interlingua data fetch {folder}` brings it")
            }
            Some(manifest) => {
                let name = &manifest.name;
                let there = if rest.is_empty() {
                    name.clone()
                } else {
                    format!("{name}/{rest}")
                };
                format!("`interlingua data fetch {name}` brings it as {there}")
            }
            None => "no manifest has it, so it cannot be fetched: put it there".to_owned(),
        }
    }

    /// Reads all manifests of a folder, sorted by file name.
    ///
    /// # Errors
    /// The errors of [`Manifest::load`], and two manifests with the same name.
    pub fn load_all(folder: &Path) -> Result<Vec<Manifest>, DataError> {
        let mut manifests: Vec<Manifest> = Vec::new();
        for path in entries(folder)? {
            if path.extension().is_none_or(|e| e != "toml") {
                continue;
            }
            let manifest = Manifest::load(&path)?;
            if manifests.iter().any(|m| m.name == manifest.name) {
                let message = format!("another manifest is named `{}` too", manifest.name);
                return Err(DataError::Manifest {
                    file: path,
                    message,
                });
            }
            manifests.push(manifest);
        }
        Ok(manifests)
    }

    /// Returns the size of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }
}

/// The state of a file on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// The file is there and its hash is right.
    Ok,
    /// The file is not there.
    Missing,
    /// The file is there, but with other bytes.
    Mismatch {
        /// The sha256 of the bytes on disk.
        actual: String,
    },
}

/// A file of a manifest with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// The path where the file is, or should be.
    pub path: PathBuf,
    /// Whether the file is there and right.
    pub state: FileState,
}

/// Computes the hash of every file of a data set again and compares it with the manifest. `folder` is the one that
/// holds the files.
///
/// # Errors
/// A file that can't be read.
pub fn verify(manifest: &Manifest, folder: &Path) -> Result<Vec<FileStatus>, DataError> {
    let mut statuses = Vec::new();
    for file in &manifest.files {
        let path = folder.join(&file.name);
        let state = state_of(file, &path)?;
        statuses.push(FileStatus { path, state });
    }
    Ok(statuses)
}

pub(crate) fn state_of(file: &RemoteFile, path: &Path) -> Result<FileState, DataError> {
    if !path.exists() {
        return Ok(FileState::Missing);
    }
    let actual = sha256_of(path)?;
    Ok(if actual == file.sha256 {
        FileState::Ok
    } else {
        FileState::Mismatch { actual }
    })
}

pub(crate) fn plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// Returns the sha256 of a file's bytes, as 64 lower-case hexadecimal digits.
///
/// # Errors
/// A file that can't be read.
pub fn sha256_of(path: &Path) -> Result<String, DataError> {
    let mut file = open_file(path)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(|e| io_error(path, e))?;
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_manifest_has_is_said_to_be_fetched() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let manifests = Manifest::load_all(&root).unwrap();
        for (file, expect) in [
            (
                "reusens2023",
                "`interlingua data fetch reusens2023` brings it",
            ),
            (
                "reusens2023/bias_attribute_words_nl.json",
                "`interlingua data fetch reusens2023` brings it",
            ),
            (
                "reusens2023/bias_attribute_words_it.json",
                "cannot be fetched",
            ),
            ("derived/crows4_en_fr_de_nl.tsv", "cannot be fetched"),
            ("my-corpus.tsv", "cannot be fetched"),
            (
                "crows-pairs-en",
                "`interlingua data fetch crows_pairs_en` brings it as crows_pairs_en",
            ),
        ] {
            let said = Manifest::remedy(file, &manifests);
            assert!(said.contains(expect), "{file}: {said}");
        }
    }
}
