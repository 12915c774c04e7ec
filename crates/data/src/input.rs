//! Opens data files: decompression, size limits, line numbers, encodings.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// Upper bounds that keep a hostile or damaged file from filling the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest cell, line or XML element, in bytes.
    pub cell_bytes: u64,
    /// The largest file after decompression, in bytes.
    pub decompressed_bytes: u64,
}

impl Default for Limits {
    /// 1 MiB for a cell, 4 GiB for a file.
    fn default() -> Self {
        Limits {
            cell_bytes: 1 << 20,
            decompressed_bytes: 4 << 30,
        }
    }
}

/// How the bytes of a text file are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextEncoding {
    /// UTF-8, with or without a byte order mark; a row that is not valid UTF-8 is a bad row.
    Utf8,
    /// Mac OS Roman.
    MacRoman,
    /// UTF-8 in rows that are valid UTF-8, and Mac OS Roman in the others.
    MacRomanWithUtf8,
}

/// A stream of bytes, with the name of its file for error messages.
pub(crate) struct Source<'a> {
    pub name: PathBuf,
    pub reader: Box<dyn BufRead + 'a>,
    pub limits: Limits,
}

impl<'a> Source<'a> {
    /// A stream that ends with an error when it yields more bytes than the limit.
    pub fn new(name: PathBuf, reader: impl Read + 'a, limits: Limits) -> Self {
        let bounded = Bounded {
            inner: reader,
            left: limits.decompressed_bytes,
            limit: limits.decompressed_bytes,
        };
        Source {
            name,
            reader: Box::new(BufReader::with_capacity(1 << 16, bounded)),
            limits,
        }
    }
}

/// Opens a plain or gzip-compressed file. The first bytes of the file decide which it is, not its name.
pub(crate) fn open(path: &Path, limits: Limits) -> Result<Source<'static>, DataError> {
    let mut file = BufReader::new(open_file(path)?);
    let head = file.fill_buf().map_err(|e| io_error(path, e))?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let plain = flate2::bufread::MultiGzDecoder::new(file);
        Ok(Source::new(path.to_owned(), plain, limits))
    } else {
        Ok(Source::new(path.to_owned(), file, limits))
    }
}

/// Opens a regular file, or a link to one, without decompression. A pipe or a device is refused, because opening it
/// could wait for ever.
pub(crate) fn open_file(path: &Path) -> Result<File, DataError> {
    let meta = std::fs::metadata(path).map_err(|e| io_error(path, e))?;
    let refused = |kind, problem| {
        Err(DataError::Io {
            file: path.to_owned(),
            source: io::Error::new(kind, problem),
        })
    };
    if meta.is_dir() {
        return refused(
            io::ErrorKind::IsADirectory,
            "is a folder; a file is needed here",
        );
    }
    if !meta.is_file() {
        return refused(
            io::ErrorKind::Unsupported,
            "is not a regular file (a pipe or a device); copy what it gives into a file",
        );
    }
    File::open(path).map_err(|e| io_error(path, e))
}

/// Returns the first `size` bytes after decompression, or fewer if the file is shorter.
pub(crate) fn head(path: &Path, size: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let source = open(path, Limits::default())?;
    source
        .reader
        .take(size)
        .read_to_end(&mut bytes)
        .map_err(|e| io_error(path, e))?;
    Ok(bytes)
}

/// Reads the whole of a small file, such as a word list.
pub(crate) fn read_small(path: &Path, limits: Limits, most: u64) -> Result<Vec<u8>, DataError> {
    let limit = limits.decompressed_bytes.min(most);
    let mut bytes = Vec::new();
    let mut source = open(
        path,
        Limits {
            decompressed_bytes: limit,
            ..limits
        },
    )?;
    source
        .reader
        .read_to_end(&mut bytes)
        .map_err(|e| io_error(path, e))?;
    if bytes.starts_with(BOM) {
        bytes.drain(..BOM.len());
    }
    Ok(bytes)
}

pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Turns an I/O error into the error that says what to do.
pub(crate) fn io_error(file: &Path, error: io::Error) -> DataError {
    let file = file.to_owned();
    if let Some(over) = error.get_ref().and_then(|e| e.downcast_ref::<Oversize>()) {
        return DataError::TooLarge {
            file,
            line: over.line,
            what: over.what,
            limit: over.limit,
        };
    }
    match error.kind() {
        io::ErrorKind::NotFound => DataError::Missing {
            file,
            hint: String::new(),
        },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DataError::DiskFull { file },
        // The decompressors report bad input through these kinds; the system itself doesn't on reading.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            DataError::Archive {
                file,
                message: error.to_string(),
            }
        }
        _ => DataError::Io {
            file,
            source: error,
        },
    }
}

/// Raised inside a reader when a limit is passed.
#[derive(Debug, thiserror::Error)]
#[error("{what} exceeds {limit} bytes")]
pub(crate) struct Oversize {
    pub what: &'static str,
    pub limit: u64,
    pub line: Option<u64>,
}

impl From<Oversize> for io::Error {
    fn from(over: Oversize) -> Self {
        io::Error::other(over)
    }
}

struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count as u64 > self.left {
            return Err(Oversize {
                what: "the decompressed file",
                limit: self.limit,
                line: None,
            }
            .into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// The lines of a file as bytes, with their line ends, numbered from 1.
pub(crate) struct RawLines<'a> {
    source: Source<'a>,
    number: u64,
}

impl<'a> RawLines<'a> {
    pub fn new(source: Source<'a>) -> Self {
        RawLines { source, number: 0 }
    }

    pub fn name(&self) -> &Path {
        &self.source.name
    }

    pub fn limits(&self) -> Limits {
        self.source.limits
    }

    /// Returns the next line, or `None` at the end. A byte order mark at the start of the file is dropped.
    ///
    /// # Errors
    /// A file that cannot be read, or a line beyond the limit of a cell.
    pub fn next_line(&mut self) -> Result<Option<(u64, Vec<u8>)>, DataError> {
        let limit = self.source.limits.cell_bytes;
        let mut line = Vec::new();
        let count = (&mut self.source.reader)
            .take(limit.saturating_add(1))
            .read_until(b'\n', &mut line)
            .map_err(|e| io_error(&self.source.name, e))?;
        if count == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.len() as u64 > limit {
            let over = Oversize {
                what: "a line",
                limit,
                line: Some(self.number),
            };
            return Err(io_error(&self.source.name, over.into()));
        }
        if self.number == 1 && line.starts_with(BOM) {
            line.drain(..BOM.len());
        }
        Ok(Some((self.number, line)))
    }
}

/// Returns the line without its `\n` or `\r\n`.
pub(crate) fn trim_eol(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The place of a byte that the encoding doesn't allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable {
    pub offset: usize,
    pub byte: u8,
    pub mac_roman: bool,
}

impl Undecodable {
    pub fn message(&self) -> String {
        format!(
            "byte {:#04x} at offset {} is not UTF-8{}",
            self.byte,
            self.offset,
            self.hint()
        )
    }

    pub fn hint(&self) -> String {
        if self.mac_roman {
            "; the text looks like Mac OS Roman: set `encoding = \"mac-roman\"`".to_owned()
        } else {
            "; convert the file to UTF-8".to_owned()
        }
    }
}

/// Decodes one row. The flag in the result is true if the row was decoded from Mac OS Roman.
pub(crate) fn decode(bytes: &[u8], encoding: TextEncoding) -> Result<(String, bool), Undecodable> {
    let utf8 = std::str::from_utf8(bytes);
    match (encoding, utf8) {
        (TextEncoding::Utf8 | TextEncoding::MacRomanWithUtf8, Ok(text)) => {
            Ok((text.to_owned(), false))
        }
        (TextEncoding::Utf8, Err(error)) => {
            let offset = error.valid_up_to();
            Err(Undecodable {
                offset,
                byte: bytes[offset],
                mac_roman: looks_like_mac_roman(bytes),
            })
        }
        (TextEncoding::MacRoman | TextEncoding::MacRomanWithUtf8, _) => {
            let (text, _) = encoding_rs::MACINTOSH.decode_without_bom_handling(bytes);
            Ok((text.into_owned(), !bytes.is_ascii()))
        }
    }
}

/// Returns whether the bytes above 127 in a text make more sense as Mac OS Roman than as Latin-1.
///
/// Accented letters lie at 0x80–0x9f in Mac OS Roman, where Latin-1 has control codes only.
pub(crate) fn looks_like_mac_roman(bytes: &[u8]) -> bool {
    let letters =
        |range: std::ops::RangeInclusive<u8>| bytes.iter().filter(|b| range.contains(b)).count();
    let mac = letters(0x80..=0x9f);
    mac > 0 && mac >= letters(0xe0..=0xff)
}

/// Sequences that UTF-8 text turns into when it is read as Windows-1252 or Mac OS Roman.
const MOJIBAKE: &[&str] = &[
    "Ã©",
    "Ã¨",
    "Ãª",
    "Ã«",
    "Ã¤",
    "Ã¶",
    "Ã¼",
    "ÃŸ",
    "Ã§",
    "Ã´",
    "Ã®",
    "Ã¯",
    "Ã»",
    "Ã¹",
    "Ã ",
    "Ã¢",
    "Ã±",
    "â€™",
    "â€œ",
    "â€\u{9d}",
    "â€“",
    "â€”",
    "â€¦",
    "Â«",
    "Â»",
    "Â°",
    "√©",
    "√®",
    "√™",
    "√´",
    "√§",
    "√∂",
    "√º",
    "‚Äô",
    "‚Äú",
];

/// Returns the first sequence in a text that shows a wrong decoding.
pub(crate) fn mojibake(text: &str) -> Option<&'static str> {
    if text.is_ascii() {
        None
    } else {
        MOJIBAKE.iter().copied().find(|sign| text.contains(sign))
    }
}
