//! Writes files and folders so that they appear under their name complete or not at all.
//!
//! A file that is being written has a temporary name, `NAME.PROCESS-NUMBER.partial`, beside its final name. So any
//! number of processes may write the same file at once: each renames a complete file into place, and the last one
//! stays.
//!
//! A [`Partial`] is locked (`flock`) while its process works on it, and the operating system releases the lock
//! however the process ends. An abandoned file is therefore recognised by its free lock, whatever its age and
//! whichever process has its process number now; [`sweep`] removes such files. If a file is swept between its
//! creation and its lock, it is created again under another name before anything is written to it. On a file system
//! without locks, no file is ever taken for abandoned.
//!
//! If several runs work in one folder, [`turn`] lets one process at a time work there. [`Paced`] is a reader for
//! sources that may become very slow.

mod paced;

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub use paced::{Crept, Paced};

/// What the name of everything half-done ends with.
const ENDING: &str = ".partial";

/// A file or folder that is being written. It is removed if it is dropped before [`Partial::finish`].
#[derive(Debug)]
pub struct Partial {
    target: PathBuf,
    partial: PathBuf,
    /// Open and locked. A folder is opened for its lock alone.
    handle: File,
    finished: bool,
}

impl Partial {
    /// Creates an empty file that will become `target`.
    ///
    /// # Errors
    /// A folder that is missing or not writable.
    pub fn file(target: &Path) -> Result<Partial> {
        Partial::begin(target, |partial| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true);
            options.open(partial).map(Some)
        })
    }

    /// Creates an empty folder that will become `target`.
    ///
    /// # Errors
    /// A parent folder that is missing or not writable.
    pub fn folder(target: &Path) -> Result<Partial> {
        Partial::begin(target, |partial| {
            std::fs::create_dir(partial)?;
            match File::open(partial) {
                // Swept away already: see below.
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                opened => opened.map(Some),
            }
        })
    }

    fn begin(target: &Path, create: impl Fn(&Path) -> Result<Option<File>>) -> Result<Partial> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let mut name = target
                .file_name()
                .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no file name"))?
                .to_owned();
            name.push(format!(".{}-{number}{ENDING}", std::process::id()));
            let partial = target.with_file_name(name);
            let handle = match create(&partial) {
                Ok(Some(handle)) => handle,
                Ok(None) => continue,
                // Left by an earlier process of the same number.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e),
            };
            match handle.lock() {
                Err(e) if e.kind() != ErrorKind::Unsupported => return Err(e),
                _ => {}
            }
            // Another process may have swept it away between the two.
            if partial.exists() {
                return Ok(Partial {
                    target: target.to_owned(),
                    partial,
                    handle,
                    finished: false,
                });
            }
        }
    }

    /// Returns the temporary path at which the file lies until it is finished.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Returns the open file, for writing.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Writes the file out to the disk and renames it to its final name, replacing an existing file of that name.
    ///
    /// # Errors
    /// A full disk, or a folder that has the final name: a folder can replace only an empty one.
    pub fn finish(mut self) -> Result<()> {
        self.handle.sync_all()?;
        self.rename()
    }

    fn rename(&mut self) -> Result<()> {
        std::fs::rename(&self.partial, &self.target)?;
        self.finished = true;
        Ok(())
    }
}

/// What was not finished is of no use to anyone.
impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            let _ = remove(&self.partial);
        }
    }
}

/// Writes a whole file at once.
///
/// If the process is killed, either the earlier file or the new one is there. The function does not wait for the
/// disk, so a power failure may leave an empty file; [`Partial::finish`] does wait.
///
/// # Errors
/// A file that cannot be written; the earlier file is then still complete.
pub fn write(target: &Path, bytes: &[u8]) -> Result<()> {
    let mut partial = Partial::file(target)?;
    partial.handle().write_all(bytes)?;
    partial.rename()
}

/// Creates a folder if it is missing, and waits until no other process works there. The lock is held as long as the
/// result lives.
///
/// `waiting` is called if another process holds the lock. The operating system releases the lock however a process
/// ends. The process that holds the lock may rename the folder; the next process then creates a new one.
///
/// # Errors
/// A folder that cannot be created or opened.
pub fn turn(folder: &Path, waiting: &mut dyn FnMut()) -> Result<File> {
    loop {
        match std::fs::create_dir_all(folder) {
            Ok(()) => {}
            // It was there and was renamed before anybody could see that it is a folder; a file would still be there.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && !folder.exists() => continue,
            Err(_) if folder.is_dir() => {}
            Err(e) => return Err(e),
        }
        let handle = match File::open(folder) {
            Ok(handle) => handle,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting();
                handle.lock()?;
            }
            // Not every file system has locks.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => return Ok(handle),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        let identity = |m: Metadata| (m.dev(), m.ino());
        let here = std::fs::metadata(folder).ok().map(identity);
        if here == Some(identity(handle.metadata()?)) {
            return Ok(handle);
        }
    }
}

/// Removes the unfinished files that dead processes left in a folder, and returns their paths.
///
/// # Errors
/// A folder that cannot be read, or an abandoned file that cannot be removed.
pub fn sweep(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut swept = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let half_done = path.to_str().is_some_and(|p| p.ends_with(ENDING));
        if !half_done {
            continue;
        }
        // The lock is held until it is gone, so that nobody begins to work on it.
        if let Some(_lock) = orphan(&path)? {
            match remove(&path) {
                Ok(()) => swept.push(path),
                // Another process sweeps, too.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(swept)
}

/// What has this name, locked, where nobody else holds its lock.
fn orphan(path: &Path) -> Result<Option<File>> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(_) => return Ok(None),
    };
    // Opening anything else might wait for ever, and nobody here makes such.
    if !kind.is_file() && !kind.is_dir() {
        return Ok(None);
    }
    let handle = match File::open(path) {
        Ok(handle) => handle,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match handle.try_lock() {
        Ok(()) => Ok(Some(handle)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Removes a file, or a folder with everything in it.
///
/// # Errors
/// A path that does not exist or cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path)?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        write(&target, b"old").unwrap();
        let partial = Partial::file(&target).unwrap();
        partial.handle().write_all(b"ne").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
        drop(partial);
        assert_eq!(names(folder.path()), ["f"]);
        let partial = Partial::file(&target).unwrap();
        partial.handle().write_all(b"new").unwrap();
        partial.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["f"]);
    }

    #[test]
    fn a_folder_appears_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("d");
        let partial = Partial::folder(&target).unwrap();
        std::fs::write(partial.path().join("a"), "1").unwrap();
        assert!(!target.exists());
        partial.finish().unwrap();
        assert_eq!(names(&target), ["a"]);
        let second = Partial::folder(&target).unwrap();
        assert!(second.finish().is_err(), "a full folder is not replaced");
        assert_eq!(names(folder.path()), ["d"]);
    }

    /// The fixed name `NAME.tmp` failed here: one writer renamed what another was still writing.
    #[test]
    fn many_writers_of_one_file_are_all_right() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        std::thread::scope(|scope| {
            for writer in 0..8u8 {
                let target = &target;
                scope.spawn(move || {
                    for _ in 0..50 {
                        write(target, &[writer; 3000]).unwrap();
                        let seen = std::fs::read(target).unwrap();
                        assert_eq!(seen, vec![seen[0]; 3000]);
                    }
                });
            }
            for writer in 0..4 {
                let own = folder.path().join(format!("d{writer}"));
                scope.spawn(move || {
                    for _ in 0..50 {
                        drop(Partial::folder(&own).unwrap());
                    }
                });
            }
            for _ in 0..200 {
                sweep(folder.path()).unwrap();
            }
        });
        assert_eq!(names(folder.path()), ["f"]);
    }

    #[test]
    fn orphans_are_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let busy = Partial::file(&at("busy")).unwrap();
        let busy_folder = Partial::folder(&at("busy-folder")).unwrap();
        // What a killed process leaves: the names without the locks.
        std::fs::write(at("f.1-0.partial"), "half").unwrap();
        std::fs::create_dir(at("d.1-1.partial")).unwrap();
        std::fs::write(at("d.1-1.partial").join("inside"), "half").unwrap();
        std::fs::write(at("mine"), "whole").unwrap();
        // One whose process died between its making and its first byte.
        std::fs::write(at("empty.1-2.partial"), "").unwrap();
        let mut swept = sweep(folder.path()).unwrap();
        swept.sort();
        assert_eq!(
            swept,
            ["d.1-1.partial", "empty.1-2.partial", "f.1-0.partial"].map(at)
        );
        assert_eq!(names(folder.path()).len(), 3);
        assert!(busy.path().is_file() && busy_folder.path().is_dir() && at("mine").is_file());
        assert_eq!(sweep(folder.path()).unwrap(), Vec::<PathBuf>::new());
    }

    /// Each finds the folder that it works in under its name, and nobody is there beside it.
    #[test]
    fn turns_are_taken_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let making = folder.path().join("x.making");
        let inside = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for worker in 0..6 {
                let (making, inside, folder) = (&making, &inside, folder.path());
                scope.spawn(move || {
                    for round in 0..20 {
                        let _turn = turn(making, &mut || {}).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        assert_eq!(names(making), Vec::<String>::new());
                        std::fs::write(making.join("f"), "half").unwrap();
                        let done = folder.join(format!("{worker}-{round}"));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        std::fs::rename(making, done).unwrap();
                    }
                });
            }
        });
        assert_eq!(names(folder.path()).len(), 120);
    }
}
