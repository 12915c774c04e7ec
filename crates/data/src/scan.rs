//! Examines the raw lines of a text file, in memory that does not grow with the file.

use std::io::{BufRead, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::input::{BOM, Limits, head, io_error, looks_like_mac_roman, mojibake, open};

/// How many line numbers a list of faults keeps.
const SHOWN: usize = 20;

/// The encoding of a text file, as its bytes show it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Encoding {
    /// The name of the encoding: `ASCII`, `UTF-8`, `Mac OS Roman, probably`, or `not UTF-8`.
    pub name: String,
    /// Whether the file starts with a byte order mark.
    pub byte_order_mark: bool,
    /// The number of lines that end in CRLF.
    pub crlf: u64,
    /// The number of lines that end in LF alone.
    pub lf: u64,
    /// Lines that are not UTF-8.
    pub invalid_utf8: Lines,
    /// Lines that are valid UTF-8 and hold letters beyond ASCII.
    pub valid_non_ascii: Lines,
    /// Lines with the character U+FFFD, which stands for a character that was lost.
    pub replacement: Lines,
    /// Lines with sequences like `Ã©`, which arise when UTF-8 is read in another encoding.
    pub mojibake: Lines,
    /// Lines with a NUL byte.
    pub nul: Lines,
}

/// A number of lines, with the numbers of the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lines {
    /// How many lines there are.
    pub count: u64,
    /// The numbers of the first of them, counted from 1.
    pub first: Vec<u64>,
}

impl Lines {
    pub(crate) fn add(&mut self, line: u64) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(line);
        }
    }
}

/// A line is looked at in pieces of so many bytes: a JSON file may be one long line.
const PIECE: u64 = 1 << 16;

/// Bytes of a piece that are looked at again with the next one, so that no sign is missed between them.
const OVERLAP: usize = 16;

/// What the pieces of a line have shown so far.
#[derive(Default)]
struct Line {
    /// The end of the piece before, from a character on.
    carried: Vec<u8>,
    beyond_ascii: bool,
    invalid: bool,
    replacement: bool,
    mojibake: bool,
    nul: bool,
    /// The first bytes beyond ASCII.
    high: Vec<u8>,
}

impl Line {
    /// Looks at a piece; `last` when the line ends with it.
    fn look(&mut self, piece: &[u8], last: bool) {
        self.nul |= piece.contains(&0);
        if piece.is_ascii() && self.carried.is_ascii() {
            self.carry(piece, piece.len());
            return;
        }
        self.beyond_ascii = true;
        if self.high.len() < 1 << 16 {
            self.high.extend(piece.iter().filter(|b| !b.is_ascii()));
        }
        let bytes = [&self.carried, piece].concat();
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            // A character that goes on in the next piece.
            Err(e) if e.error_len().is_none() && !last => {
                std::str::from_utf8(&bytes[..e.valid_up_to()]).expect("valid up to there")
            }
            Err(_) => {
                self.invalid = true;
                self.carried.clear();
                return;
            }
        };
        self.replacement |= text.contains('\u{fffd}');
        self.mojibake |= mojibake(text).is_some();
        let from = text.floor_char_boundary(text.len().saturating_sub(OVERLAP));
        self.carry(&bytes, bytes.len() - from);
    }

    fn carry(&mut self, bytes: &[u8], most: usize) {
        let from = bytes.len() - most.min(bytes.len());
        let from = match bytes.is_ascii() {
            true => bytes.len().saturating_sub(OVERLAP),
            false => from,
        };
        self.carried = bytes[from..].to_vec();
    }
}

/// Examines the bytes of a file for its encoding and for signs of damage.
///
/// # Errors
/// A file that cannot be read or that is too large.
pub(crate) fn scan(path: &Path, limits: Limits) -> Result<Encoding, DataError> {
    let mut encoding = Encoding {
        byte_order_mark: head(path, 3)? == BOM,
        ..Encoding::default()
    };
    let mut source = open(path, limits)?;
    let (mut high, mut number, mut line) = (Vec::new(), 0, Line::default());
    let (mut piece, mut within, mut before) = (Vec::new(), false, 0u8);
    loop {
        piece.clear();
        let count = (&mut source.reader)
            .take(PIECE)
            .read_until(b'\n', &mut piece)
            .map_err(|e| io_error(path, e))?;
        let end = count == 0 || piece.ends_with(b"\n");
        if count == 0 && !within {
            break;
        }
        if !within {
            number += 1;
            if number == 1 && piece.starts_with(BOM) {
                piece.drain(..BOM.len());
            }
        }
        line.look(&piece, end);
        within = !end;
        if end {
            let cr = match piece.len() {
                0 => false,
                1 => before == b'\r',
                length => piece[length - 2] == b'\r',
            };
            match (piece.ends_with(b"\n"), cr) {
                (true, true) => encoding.crlf += 1,
                (true, false) => encoding.lf += 1,
                (false, _) => {}
            }
            note(&mut encoding, number, &line);
            if line.invalid && high.len() < 1 << 16 {
                high.append(&mut line.high);
            }
            line = Line::default();
        }
        before = piece.last().copied().unwrap_or(0);
    }
    encoding.name = if encoding.invalid_utf8.count > 0 {
        if looks_like_mac_roman(&high) {
            "Mac OS Roman, probably"
        } else {
            "not UTF-8"
        }
    } else if encoding.valid_non_ascii.count > 0 {
        "UTF-8"
    } else {
        "ASCII"
    }
    .to_owned();
    Ok(encoding)
}

fn note(encoding: &mut Encoding, number: u64, line: &Line) {
    if line.nul {
        encoding.nul.add(number);
    }
    if line.invalid {
        encoding.invalid_utf8.add(number);
        return;
    }
    if line.beyond_ascii {
        encoding.valid_non_ascii.add(number);
    }
    if line.replacement {
        encoding.replacement.add(number);
    }
    if line.mojibake {
        encoding.mojibake.add(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Encoding {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, bytes).unwrap();
        scan(&path, Limits::default()).unwrap()
    }

    #[test]
    fn what_lies_between_two_pieces_is_seen() {
        for at in 0..6 {
            let before = "a".repeat(PIECE as usize - at);
            for (sign, count) in [("é", [1, 0, 0]), ("\u{fffd}", [1, 1, 0]), ("Ã©", [1, 0, 1])] {
                let found = of(format!("x\n{before}{sign}{before}\r\ny").as_bytes());
                let counts = [
                    found.valid_non_ascii.count,
                    found.replacement.count,
                    found.mojibake.count,
                ];
                assert_eq!(counts, count, "{sign} {at} bytes before the end of a piece");
                assert_eq!((found.crlf, found.lf), (1, 1));
                assert_eq!(found.valid_non_ascii.first, [2]);
                assert_eq!(found.invalid_utf8.count, 0);
            }
            let mut cut = before.clone().into_bytes();
            cut.extend([0xc3, b'\n']);
            assert_eq!(of(&cut).invalid_utf8.count, 1);
        }
        let crlf = format!("{}\r\n", "a".repeat(PIECE as usize - 1));
        assert_eq!(of(crlf.as_bytes()).crlf, 1);
        assert_eq!(of(b"").name, "ASCII");
        assert_eq!(of(b"\xef\xbb\xbfa").name, "ASCII");
    }
}
