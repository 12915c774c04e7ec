//! Data sets by manifest: where the files come from, what they must hash to, what may be done with them.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use interlingua_files::Partial;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::DataError;
use crate::input::{Limits, Source, io_error, open_file, read_small};
use crate::language::Language;
use crate::load::{Format, entries};

/// No manifest comes near this many bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// One data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// Short name; also the name of its folder in the cache.
    pub name: String,
    /// What it is, in a sentence.
    pub description: String,
    /// SPDX identifier, or `none` where its authors state none.
    pub licence: String,
    /// What the licence means here.
    #[serde(default)]
    pub licence_note: String,
    /// Page of the authors.
    pub homepage: String,
    /// The loader's format; absent for files that no loader of this crate reads.
    #[serde(default)]
    pub format: Option<Format>,
    /// Languages it holds.
    #[serde(default)]
    pub languages: Vec<Language>,
    /// Columns or keys, in the words of its authors.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The files.
    #[serde(default, rename = "file")]
    pub files: Vec<RemoteFile>,
}

/// One file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RemoteFile {
    /// File name in the data set's folder.
    pub name: String,
    /// Where it comes from.
    pub url: String,
    /// Hash of its bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Member to take out of the archive, for loaders that don't read archives.
    #[serde(default)]
    pub unpack: Option<String>,
}

impl Manifest {
    /// Reads one manifest.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, or a value out of range, each with its place.
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
            if !(file.url.starts_with("https://") || file.url.starts_with("http://")) {
                return Err(bad(format!(
                    "file `{}`: the url must start with https:// or http://",
                    file.name
                )));
            }
        }
        Ok(manifest)
    }

    /// Reads all manifests of a folder, sorted by file name.
    ///
    /// # Errors
    /// As [`Manifest::load`]; also two manifests of one name.
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

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }
}

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<'m> {
    /// The file.
    pub file: &'m RemoteFile,
    /// Its position in the manifest, from 0.
    pub index: usize,
    /// Bytes on disk.
    pub received: u64,
    /// Whether the file was in the cache already.
    pub cached: bool,
}

/// Downloads what the cache lacks into `cache_dir/<name>` and returns that folder.
///
/// A file goes to `<file>.part` first, is resumed there after a break, and is renamed once its hash is right.
///
/// # Errors
/// [`DataError::Http`], [`DataError::Offline`], [`DataError::Truncated`], [`DataError::HashMismatch`],
/// [`DataError::DiskFull`]; files fetched before stay.
pub fn fetch(
    manifest: &Manifest,
    cache_dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, DataError> {
    let folder = cache_dir.join(&manifest.name);
    std::fs::create_dir_all(&folder).map_err(|e| io_error(&folder, e))?;
    for (index, file) in manifest.files.iter().enumerate() {
        let target = folder.join(&file.name);
        let state = state_of(file, &target)?;
        if state == FileState::Ok {
            progress(Progress {
                file,
                index,
                received: file.bytes,
                cached: true,
            });
        } else {
            download(file, &target, &mut |received| {
                progress(Progress {
                    file,
                    index,
                    received,
                    cached: false,
                })
            })?;
        }
        if let Some(member) = &file.unpack {
            unpack(&target, member, &folder)?;
        }
    }
    Ok(folder)
}

/// The state of a file on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// Present, and the hash is right.
    Ok,
    /// Not there.
    Missing,
    /// There, but with other bytes.
    Mismatch {
        /// The hash of the bytes.
        actual: String,
    },
}

/// A file of a manifest with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Where it is, or should be.
    pub path: PathBuf,
    /// Its state.
    pub state: FileState,
}

/// Hashes every file of a data set again. `folder` is the one that holds the files.
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

fn state_of(file: &RemoteFile, path: &Path) -> Result<FileState, DataError> {
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

fn plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// The sha256 of a file's bytes, 64 lower-case hexadecimal digits.
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

fn download(
    file: &RemoteFile,
    target: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), DataError> {
    let partial = target.with_file_name(format!("{}.part", file.name));
    let mut have = std::fs::metadata(&partial).map(|m| m.len()).unwrap_or(0);
    if have > file.bytes {
        std::fs::remove_file(&partial).map_err(|e| io_error(&partial, e))?;
        have = 0;
    }
    if have < file.bytes || have == 0 {
        transfer(file, target, &partial, have, progress)?;
    }
    let actual = sha256_of(&partial)?;
    if actual != file.sha256 {
        std::fs::remove_file(&partial).map_err(|e| io_error(&partial, e))?;
        return Err(DataError::HashMismatch {
            file: target.to_owned(),
            url: file.url.clone(),
            expected: file.sha256.clone(),
            actual,
        });
    }
    std::fs::rename(&partial, target).map_err(|e| io_error(target, e))
}

fn transfer(
    file: &RemoteFile,
    target: &Path,
    partial: &Path,
    have: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<(), DataError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .user_agent(concat!("interlingua/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut request = agent.get(&file.url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let offline = |error: ureq::Error| DataError::Offline {
        url: file.url.clone(),
        target: target.to_owned(),
        message: error.to_string(),
    };
    let mut response = request.call().map_err(offline)?;
    let status = response.status().as_u16();
    let resumed = match status {
        200 => false,
        206 => starts_at(&response, have),
        // The part on disk isn't a beginning of what the server has now.
        416 if have > 0 => {
            std::fs::remove_file(partial).map_err(|e| io_error(partial, e))?;
            return transfer(file, target, partial, 0, progress);
        }
        _ => {
            let hint = match status {
                404 | 410 => {
                    ": the file was moved or removed; look for it at the homepage in the manifest"
                }
                401 | 403 => ": access is restricted; fetch the file by hand",
                429 | 500..=599 => ": the server is busy or broken; try again later",
                _ => "",
            };
            return Err(DataError::Http {
                url: file.url.clone(),
                status,
                hint: hint.to_owned(),
            });
        }
    };
    if status == 206 && !resumed {
        std::fs::remove_file(partial).map_err(|e| io_error(partial, e))?;
        return transfer(file, target, partial, 0, progress);
    }
    let mut received = if resumed { have } else { 0 };
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    if resumed {
        options.append(true)
    } else {
        options.truncate(true)
    };
    let mut output = options.open(partial).map_err(|e| io_error(partial, e))?;
    let body = response.body_mut();
    // One byte more than expected is enough to know that the file is another one.
    let most = file.bytes.saturating_sub(received).saturating_add(1);
    let mut input = body.with_config().limit(u64::MAX).reader().take(most);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            // What came is on disk; the next run goes on from there.
            Err(_) => break,
        };
        output
            .write_all(&buffer[..count])
            .map_err(|e| io_error(partial, e))?;
        received += count as u64;
        progress(received.min(file.bytes));
    }
    output.sync_all().map_err(|e| io_error(partial, e))?;
    if received < file.bytes {
        return Err(DataError::Truncated {
            url: file.url.clone(),
            received,
            expected: file.bytes,
        });
    }
    Ok(())
}

/// Whether the server goes on where the part on disk ends.
fn starts_at(response: &ureq::http::Response<ureq::Body>, have: u64) -> bool {
    let range = response
        .headers()
        .get("content-range")
        .and_then(|v| v.to_str().ok());
    let start = range
        .and_then(|r| r.trim().strip_prefix("bytes "))
        .and_then(|r| r.split('-').next());
    start.and_then(|s| s.trim().parse::<u64>().ok()) == Some(have)
}

/// Takes one member out of a zip into the folder.
fn unpack(archive: &Path, member: &str, folder: &Path) -> Result<(), DataError> {
    let name = member.rsplit('/').next().unwrap_or(member);
    let damaged = |message: String| DataError::Archive {
        file: archive.to_owned(),
        message,
    };
    let file = open_file(archive)?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| damaged(e.to_string()))?;
    if !plain_name(name) {
        return Err(damaged(format!("`{member}` is no plain file name")));
    }
    let limits = Limits::default();
    let entry = zip
        .by_name(member)
        .map_err(|e| damaged(format!("{member}: {e}")))?;
    let mut source = Source::new(archive.join(member), entry, limits);
    let target = folder.join(name);
    let partial = Partial::file(&target).map_err(|e| io_error(&target, e))?;
    std::io::copy(&mut source.reader, &mut partial.handle()).map_err(|e| io_error(&target, e))?;
    partial.finish().map_err(|e| io_error(&target, e))
}
