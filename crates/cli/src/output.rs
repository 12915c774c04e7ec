//! Checks whether a command may write to a path that its user gave.
//!
//! No command replaces a file that it reads, or anything that is not a regular file. Without `--force`, no command
//! replaces an existing file. The pages of the documentation are the exception: they exist, and the text between
//! their marks is replaced.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Refuses to create a file where that would destroy something.
///
/// `reads` are the files and folders that the command reads.
///
/// # Errors
/// A path that is not a regular file, a path that is one of `reads` or within one of them, or any existing file if
/// `force` is false.
pub fn check_new(path: &Path, reads: &[&Path], force: bool) -> anyhow::Result<()> {
    for read in reads {
        check_apart(path, read)?;
    }
    let Some(found) = what_is_there(path)? else {
        return Ok(());
    };
    check_regular(path, &found)?;
    if !force {
        bail!(
            "{}: is there already; choose another name, or replace it with --force",
            path.display()
        );
    }
    Ok(())
}

/// Refuses to change anything except a regular file or a link to one.
///
/// # Errors
/// A path that does not exist or is something else.
pub fn check_page(path: &Path) -> anyhow::Result<()> {
    let found = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    check_regular(path, &found)
}

/// Refuses a path that is one of the files that are read, or within a folder that is read.
///
/// # Errors
/// Such a path; the error names both.
pub fn check_apart(path: &Path, read: &Path) -> anyhow::Result<()> {
    let Ok(source) = std::fs::metadata(read) else {
        // That it is not there is for its reader to say.
        return Ok(());
    };
    let target = std::fs::metadata(path).ok();
    let same = |other: &Metadata| {
        target
            .as_ref()
            .is_some_and(|t| (t.dev(), t.ino()) == (other.dev(), other.ino()))
    };
    if !source.is_dir() {
        if same(&source) {
            bail!(
                "{}: is {}, which this command reads; choose another name",
                path.display(),
                read.display()
            );
        }
        return Ok(());
    }
    let folder = read
        .canonicalize()
        .with_context(|| read.display().to_string())?;
    if place_of(path)?.is_some_and(|place| place.starts_with(&folder)) {
        bail!(
            "{}: is within {}, which this command reads; choose a place outside",
            path.display(),
            read.display()
        );
    }
    // The files of a folder may be links to elsewhere.
    for entry in std::fs::read_dir(&folder).with_context(|| read.display().to_string())? {
        let entry = entry.with_context(|| read.display().to_string())?.path();
        if std::fs::metadata(&entry).is_ok_and(|m| m.is_file() && same(&m)) {
            bail!(
                "{}: is {}, which this command reads; choose another name",
                path.display(),
                entry.display()
            );
        }
    }
    Ok(())
}

/// Where a file would be made, without links; nothing where its folder is not there.
fn place_of(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    let mut folder = std::path::absolute(path).with_context(|| path.display().to_string())?;
    // The nearest folder that is there, since missing ones are made.
    while folder.pop() {
        if let Ok(place) = folder.canonicalize() {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// What a name leads to; nothing where it is free. A link that leads nowhere is something.
fn what_is_there(path: &Path) -> anyhow::Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
        Ok(own) if own.is_symlink() => Ok(Some(std::fs::metadata(path).unwrap_or(own))),
        Ok(own) => Ok(Some(own)),
    }
}

fn check_regular(path: &Path, found: &Metadata) -> anyhow::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let kind = match found.is_dir() {
        true => "a folder",
        false => "no regular file (a device, a pipe, or a link that leads nowhere)",
    };
    bail!("{}: is {kind}; give the name of a file", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_destroyed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("model")).unwrap();
        std::fs::create_dir(at("blobs")).unwrap();
        for name in ["text", "other", "model/config.json", "blobs/weights"] {
            std::fs::write(at(name), name).unwrap();
        }
        symlink("../blobs/weights", at("model/weights")).unwrap();
        symlink("text", at("link")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        symlink("model", at("model too")).unwrap();
        std::fs::hard_link(at("text"), at("twin")).unwrap();
        let pipe = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(pipe.unwrap().success());
        let reads = [at("text"), at("model")];
        let reads: Vec<&Path> = reads.iter().map(PathBuf::as_path).collect();

        for (name, force, told) in [
            ("new", false, ""),
            ("missing/new", false, ""),
            ("other", false, "--force"),
            ("other", true, ""),
            ("text", true, "reads"),
            ("model/../text", true, "reads"),
            ("link", true, "reads"),
            ("twin", true, "reads"),
            ("blobs/weights", true, "reads"),
            ("model/weights", true, "reads"),
            ("model/new", true, "within"),
            ("model/missing/new", true, "within"),
            ("model too/new", true, "within"),
            ("model", true, "folder"),
            ("blobs", true, "folder"),
            ("pipe", true, "regular"),
            ("dangling", true, "regular"),
        ] {
            let found = check_new(&at(name), &reads, force);
            match told {
                "" => found.unwrap_or_else(|e| panic!("{name}: {e}")),
                told => {
                    let message = found.expect_err(name).to_string();
                    assert!(
                        message.contains(told) && message.contains(name),
                        "{message}"
                    );
                }
            }
        }
        let device = check_new(Path::new("/dev/null"), &[], true).unwrap_err();
        assert!(device.to_string().contains("regular"), "{device}");
    }

    #[test]
    fn only_files_are_pages() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("page"), "text").unwrap();
        symlink("page", at("link")).unwrap();
        check_page(&at("page")).unwrap();
        check_page(&at("link")).unwrap();
        assert!(check_page(Path::new("/dev/null")).is_err());
        assert!(check_page(folder.path()).is_err());
        assert!(check_page(&at("nothing")).is_err());
    }
}
