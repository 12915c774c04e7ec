//! What the loaders of XML formats share: a reader that counts lines and bounds the size of one element.

use std::io::{self, BufRead, Read};
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesText};

use crate::error::DataError;
use crate::input::{Limits, Oversize, Source, io_error};

/// A reader that counts lines and stops with an error at a piece without markup that is larger than a cell may be.
pub(crate) struct Guard<'a> {
    inner: Box<dyn BufRead + 'a>,
    pub line: u64,
    since_mark: u64,
    limits: Limits,
}

impl Read for Guard<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = {
            let available = self.fill_buf()?;
            let count = available.len().min(buffer.len());
            buffer[..count].copy_from_slice(&available[..count]);
            count
        };
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Guard<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.since_mark > self.limits.cell_bytes {
            let over = Oversize {
                what: "an XML element",
                limit: self.limits.cell_bytes,
                line: Some(self.line),
            };
            return Err(over.into());
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // The bytes are still in the buffer, so looking at them again costs nothing and can't fail.
        if let Ok(buffer) = self.inner.fill_buf() {
            for byte in &buffer[..amount.min(buffer.len())] {
                match byte {
                    b'\n' => self.line += 1,
                    b'<' => self.since_mark = 0,
                    _ => {}
                }
                self.since_mark += 1;
            }
        }
        self.inner.consume(amount);
    }
}

/// Makes an XML reader that tolerates the bare `&` that subtitles contain.
pub(crate) fn reader(source: Source<'_>) -> Reader<Guard<'_>> {
    let guard = Guard {
        inner: source.reader,
        line: 1,
        since_mark: 0,
        limits: source.limits,
    };
    let mut reader = Reader::from_reader(guard);
    reader.config_mut().allow_dangling_amp = true;
    reader
}

/// Turns a parser error into one that names the line.
pub(crate) fn xml_error(file: &Path, line: u64, error: quick_xml::Error) -> DataError {
    match error {
        quick_xml::Error::Io(error) => {
            let kind = error.kind();
            match std::sync::Arc::try_unwrap(error) {
                Ok(error) => io_error(file, error),
                Err(shared) => io_error(file, io::Error::new(kind, shared.to_string())),
            }
        }
        other => DataError::Xml {
            file: file.to_owned(),
            line,
            message: other.to_string(),
        },
    }
}

/// Appends the text of an element.
pub(crate) fn push_text(
    to: &mut String,
    text: &BytesText,
    file: &Path,
    line: u64,
) -> Result<(), DataError> {
    let decoded = text
        .xml10_content()
        .map_err(|e| xml_error(file, line, e.into()))?;
    to.push_str(&decoded);
    Ok(())
}

/// Appends the character that a reference `&…;` stands for. Entities other than the five of XML and the numeric ones
/// are kept as they are written, because nothing defines them.
pub(crate) fn push_reference(
    to: &mut String,
    reference: &BytesRef,
    file: &Path,
    line: u64,
) -> Result<(), DataError> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        to.push(character);
        return Ok(());
    }
    let name = reference
        .decode()
        .map_err(|e| xml_error(file, line, e.into()))?;
    match quick_xml::escape::resolve_predefined_entity(&name) {
        Some(text) => to.push_str(text),
        None => {
            to.push('&');
            to.push_str(&name);
            to.push(';');
        }
    }
    Ok(())
}
