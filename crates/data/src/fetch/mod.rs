//! Downloads the files of a data set that the local folder lacks, as its manifest lists them.

#[cfg(feature = "download")]
mod transfer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use interlingua_files::{Partial, turn};

use crate::error::DataError;
use crate::input::{Limits, Source, io_error, open_file};
use crate::manifest::{FileState, Manifest, RemoteFile, plain_name, sha256_of, state_of};
use crate::own;

#[cfg(feature = "download")]
use transfer::transfer;

/// Options of [`fetch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// Whether a file whose bytes differ from those of the manifest is replaced.
    pub replace: bool,
    /// A transfer is given up if fewer than 60 KiB arrive within this time.
    pub patience: Duration,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions {
            replace: false,
            patience: Duration::from_secs(60),
        }
    }
}

/// The progress of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<'m> {
    /// The file that is being downloaded.
    pub file: &'m RemoteFile,
    /// The position of that file in the manifest, counted from 0.
    pub index: usize,
    /// The number of bytes on disk.
    pub received: u64,
    /// Whether the file was in the cache already, so that nothing was downloaded.
    pub cached: bool,
}

/// Downloads the files that the cache lacks into `cache_dir/<name>` and returns that folder. Files that belong to
/// this project are copied there.
///
/// A file is written to `<file>.part` first, where an interrupted transfer is resumed, and is renamed once its hash
/// is right. If two processes fetch the same data set, the second waits for the first and finds its files.
///
/// # Errors
/// [`DataError::OtherFile`] if a file with other bytes is there and is not to be replaced, or if its name is taken by
/// something that is not a regular file; [`DataError::Http`], [`DataError::Offline`], [`DataError::Truncated`],
/// [`DataError::TooSlow`], [`DataError::HashMismatch`] and [`DataError::DiskFull`] for a transfer that fails;
/// [`DataError::NoDownload`] in a program that was built without the feature `download`. Files that were fetched
/// before the error stay.
pub fn fetch(
    manifest: &Manifest,
    cache_dir: &Path,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, DataError> {
    let folder = cache_dir.join(&manifest.name);
    let _turn = turn(&folder, &mut || {}).map_err(|e| io_error(&folder, e))?;
    for (index, file) in manifest.files.iter().enumerate() {
        let target = folder.join(&file.name);
        if check_target(file, &target, options)? {
            progress(Progress {
                file,
                index,
                received: file.bytes,
                cached: true,
            });
        } else {
            download(file, &target, options, &mut |received| {
                progress(Progress {
                    file,
                    index,
                    received,
                    cached: false,
                })
            })?;
        }
        if let Some(member) = &file.unpack {
            unpack(&target, member, &folder, options)?;
        }
    }
    Ok(folder)
}

/// Whether the right file is there.
///
/// # Errors
/// What is there may not be replaced.
fn check_target(
    file: &RemoteFile,
    target: &Path,
    options: &FetchOptions,
) -> Result<bool, DataError> {
    if !is_file_or_free(target)? {
        return Ok(false);
    }
    match state_of(file, target)? {
        FileState::Ok => Ok(true),
        FileState::Missing => Ok(false),
        FileState::Mismatch { .. } if options.replace => Ok(false),
        FileState::Mismatch { actual } => Err(DataError::OtherFile {
            file: target.to_owned(),
            problem: format!(
                "is there already with other bytes (sha256 {actual}, the manifest says {})",
                file.sha256
            ),
        }),
    }
}

/// Whether a regular file, or a link to one, has this name.
///
/// # Errors
/// Something else has it, also a link that leads nowhere.
fn is_file_or_free(path: &Path) -> Result<bool, DataError> {
    let refused = || DataError::OtherFile {
        file: path.to_owned(),
        problem: "is no regular file (a folder, a pipe, a device, or a link that leads nowhere)"
            .into(),
    };
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_error(path, e)),
        Ok(_) => match std::fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(true),
            _ => Err(refused()),
        },
    }
}

fn download(
    file: &RemoteFile,
    target: &Path,
    options: &FetchOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<(), DataError> {
    let partial = target.with_file_name(format!("{}.part", file.name));
    let mut have = match is_file_or_free(&partial)? {
        true => std::fs::metadata(&partial)
            .map_err(|e| io_error(&partial, e))?
            .len(),
        false => 0,
    };
    if have > file.bytes {
        std::fs::remove_file(&partial).map_err(|e| io_error(&partial, e))?;
        have = 0;
    }
    if let Some(own) = own::file(&file.url) {
        std::fs::copy(&own, &partial).map_err(|e| io_error(&own, e))?;
    } else if have < file.bytes || have == 0 {
        transfer(file, target, &partial, have, options, progress)?;
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

/// A program without a client for HTTP says so, when a file is missing.
#[cfg(not(feature = "download"))]
fn transfer(
    file: &RemoteFile,
    target: &Path,
    _partial: &Path,
    _have: u64,
    _options: &FetchOptions,
    _progress: &mut dyn FnMut(u64),
) -> Result<(), DataError> {
    Err(DataError::NoDownload {
        url: file.url.clone(),
        target: target.to_owned(),
    })
}

/// Takes one member out of a zip into the folder.
fn unpack(
    archive: &Path,
    member: &str,
    folder: &Path,
    options: &FetchOptions,
) -> Result<(), DataError> {
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
    if is_file_or_free(&target)? {
        if sha256_of(&target)? == sha256_of(partial.path())? {
            return Ok(());
        }
        if !options.replace {
            return Err(DataError::OtherFile {
                file: target,
                problem: format!(
                    "is there already, and is not the `{member}` of {}",
                    archive.display()
                ),
            });
        }
    }
    partial.finish().map_err(|e| io_error(&target, e))
}
