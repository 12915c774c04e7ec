//! Opens files from untrusted sources safely, and reads them up to a limit.
//!
//! The Hugging Face cache consists of links into a folder of blobs, so links to regular files are followed.
//! Everything else that is not a regular file (a folder, a pipe, a device, a link to nothing) is refused before it is
//! opened, because opening a pipe would wait forever.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::ModelError;

/// Returns whether there is a regular file, or a link to one, at this path.
///
/// # Errors
/// A path that is something else, or that may not be examined.
pub fn is_there(path: &Path) -> Result<bool, ModelError> {
    let bad = |problem: String| ModelError::BadFile {
        path: path.to_owned(),
        problem,
    };
    let own = match std::fs::symlink_metadata(path) {
        // Beside a model that is one file there is nothing either.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        own => own.map_err(ModelError::io(path))?,
    };
    if !own.is_symlink() {
        return match own.is_file() {
            true => Ok(true),
            false => Err(bad(
                "not a regular file (a pipe or a device); give a file".into()
            )),
        };
    }
    match std::fs::metadata(path) {
        Ok(target) if target.is_file() => Ok(true),
        Ok(_) => Err(bad(
            "a link to something that is not a regular file; give a file".into(),
        )),
        Err(e) => Err(bad(format!(
            "a link that leads nowhere ({e}); fetch the file again"
        ))),
    }
}

/// Opens a regular file, and returns it with its length.
///
/// # Errors
/// The errors of [`is_there`], and a file that does not exist or cannot be opened.
pub fn open(path: &Path) -> Result<(File, u64), ModelError> {
    // Whether it is absent or unreadable is for the opening to say.
    is_there(path)?;
    let file = File::open(path).map_err(ModelError::io(path))?;
    let length = file.metadata().map_err(ModelError::io(path))?.len();
    Ok((file, length))
}

/// Reads the content of a regular file of at most `limit` bytes.
///
/// # Errors
/// The errors of [`open`], and a file that is longer.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    let (file, length) = open(path)?;
    let mut bytes = Vec::with_capacity(length.min(limit) as usize);
    // One byte more than allowed tells a file that is too long, even if it grows meanwhile.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(ModelError::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(ModelError::BadFile {
            path: path.to_owned(),
            problem: format!("longer than {limit} bytes, which no real file of this name is"),
        });
    }
    Ok(bytes)
}

/// Shortens a text for an error message. A long text loses its middle, and control characters, which could do
/// anything to a terminal, are replaced.
pub(crate) fn brief(text: String) -> String {
    const ENDS: usize = 240;
    let short = if text.len() > 2 * ENDS + 3 {
        let head = text.floor_char_boundary(ENDS);
        let tail = text.ceil_char_boundary(text.len() - ENDS);
        format!("{} … {}", &text[..head], &text[tail..])
    } else {
        text
    };
    let mut out = String::with_capacity(short.len());
    for c in short.chars() {
        match c.is_control() {
            true => out.extend(c.escape_debug()),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_and_links_to_them_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("file"), "12345").unwrap();
        let links = [
            ("link", "file"),
            ("dangling", "nothing"),
            ("circle", "circle"),
            ("to folder", "folder"),
            ("to device", "/dev/zero"),
        ];
        for (name, target) in links {
            std::os::unix::fs::symlink(target, at(name)).unwrap();
        }
        let pipe = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(pipe.unwrap().success());

        assert_eq!(read(&at("file"), 5).unwrap(), b"12345");
        assert_eq!(read(&at("link"), 5).unwrap(), b"12345");
        assert!(!is_there(&at("nothing")).unwrap());
        let cases = [
            ("file", "longer than 4 bytes"),
            ("nothing", "No such file"),
            ("dangling", "leads nowhere"),
            ("circle", "leads nowhere"),
            ("folder", "not a regular file"),
            ("to folder", "not a regular file"),
            ("to device", "not a regular file"),
            ("pipe", "not a regular file"),
        ];
        for (name, problem) in cases {
            let error = read(&at(name), 4).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
            assert!(error.contains(problem), "{name}: {error}");
        }
    }

    #[test]
    fn messages_are_short_and_printable() {
        assert_eq!(brief("short".into()), "short");
        assert_eq!(brief("\u{1b}[2J\n".into()), "\\u{1b}[2J\\n");
        let long = brief(format!("begin{}end", "ü".repeat(1 << 20)));
        assert!(long.starts_with("begin") && long.ends_with("end"), "{long}");
        assert!(long.len() < 600);
    }
}
