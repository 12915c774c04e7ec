//! Reads CSV and TSV records together with the number of the line on which each starts.
//!
//! The CSV reader of polars reports neither the line nor the encoding of a row, and a loader has to name both. So
//! text files are read here, and the resulting tables are given to polars afterwards.
//!
//! CSV follows RFC 4180. TSV files mix two habits: some cells are quoted as in CSV, and others are raw text that may
//! start with a quotation mark. A TSV cell therefore counts as quoted only if it had to be quoted, which means that
//! it holds a tab, a line break or a doubled quotation mark, and only if no other cell of the row holds a single
//! quotation mark, which no CSV writer would leave there. If a cell of the header is quoted, the whole file is read
//! by RFC 4180.

use std::collections::VecDeque;
use std::path::Path;

use crate::error::{BadRow, DataError, FindingKind};
use crate::input::{RawLines, Source, TextEncoding, decode, trim_eol};

/// How many further lines a quoted TSV cell may span.
const MAX_SPAN: usize = 64;

/// A decoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub line: u64,
    pub cells: Vec<String>,
    /// Whether the row was decoded from Mac OS Roman.
    pub reencoded: bool,
}

/// Reads records one by one.
pub(crate) struct Records<'a> {
    lines: RawLines<'a>,
    pending: VecDeque<(u64, Vec<u8>)>,
    delimiter: u8,
    encoding: TextEncoding,
    strict: bool,
    /// The cells of the first record.
    pub header: Vec<String>,
}

impl<'a> Records<'a> {
    /// Makes a reader and reads the header.
    ///
    /// # Errors
    /// An empty file, or a header that can't be decoded.
    pub fn new(
        source: Source<'a>,
        delimiter: u8,
        encoding: TextEncoding,
    ) -> Result<Self, DataError> {
        let mut lines = RawLines::new(source);
        let Some((number, first)) = lines.next_line()? else {
            return Err(DataError::Empty {
                file: lines.name().to_owned(),
                read: 0,
                skipped: 0,
            });
        };
        let quoted_header = trim_eol(&first)
            .split(|b| *b == delimiter)
            .all(|c| c.len() >= 2 && c.starts_with(b"\"") && c.ends_with(b"\""));
        let mut records = Records {
            lines,
            pending: VecDeque::from([(number, first)]),
            delimiter,
            encoding,
            strict: delimiter == b',' || quoted_header,
            header: Vec::new(),
        };
        match records.next_record()? {
            Some(Ok(record)) => {
                records.header = record.cells.iter().map(|c| c.trim().to_owned()).collect()
            }
            Some(Err(bad)) => return Err(header_error(records.name(), bad)),
            None => {
                return Err(DataError::Empty {
                    file: records.name().to_owned(),
                    read: 0,
                    skipped: 0,
                });
            }
        }
        Ok(records)
    }

    pub fn name(&self) -> &Path {
        self.lines.name()
    }

    /// Returns the position of a column, counted from 0.
    ///
    /// # Errors
    /// [`DataError::MissingColumn`] with the columns that exist.
    pub fn column(&self, name: &str) -> Result<usize, DataError> {
        self.header
            .iter()
            .position(|h| h == name)
            .ok_or_else(|| DataError::MissingColumn {
                file: self.name().to_owned(),
                column: name.to_owned(),
                found: self.header.clone(),
            })
    }

    /// Returns the next record, which has as many cells as the header, or a bad row, or `None` at the end. Empty
    /// lines are skipped.
    ///
    /// # Errors
    /// A file that cannot be read. A bad row is not an error here, because the caller decides what it means.
    pub fn next_record(&mut self) -> Result<Option<Result<Record, BadRow>>, DataError> {
        loop {
            let Some((line, first)) = self.line()? else {
                return Ok(None);
            };
            if trim_eol(&first).is_empty() {
                continue;
            }
            let cells = if self.strict {
                self.strict_cells(first)?
            } else {
                self.lenient_cells(first)?
            };
            return Ok(Some(self.finish(line, cells)));
        }
    }

    fn finish(&self, line: u64, cells: Option<Vec<Vec<u8>>>) -> Result<Record, BadRow> {
        let bad = |column: Option<String>, kind, message| BadRow {
            line: Some(line),
            column,
            kind,
            message,
        };
        let Some(cells) = cells else {
            return Err(bad(
                None,
                FindingKind::BadValue,
                "a quotation mark is opened and never closed".to_owned(),
            ));
        };
        if !self.header.is_empty() && cells.len() != self.header.len() {
            let message = format!(
                "{} cells, the header has {}",
                cells.len(),
                self.header.len()
            );
            return Err(bad(None, FindingKind::FieldCount, message));
        }
        // The row is decoded as one text, because one cell alone may be valid in two encodings by chance.
        let row = cells.join(&b'\n');
        let (_, reencoded) = decode(&row, self.encoding).map_err(|mut fault| {
            let mut at = 0;
            for (i, cell) in cells.iter().enumerate() {
                if fault.offset <= at + cell.len() {
                    fault.offset -= at;
                    return bad(
                        self.header.get(i).cloned(),
                        FindingKind::BadEncoding,
                        fault.message(),
                    );
                }
                at += cell.len() + 1;
            }
            bad(None, FindingKind::BadEncoding, fault.message())
        })?;
        let encoding = if reencoded {
            TextEncoding::MacRoman
        } else {
            TextEncoding::Utf8
        };
        let mut texts = Vec::with_capacity(cells.len());
        for (i, cell) in cells.iter().enumerate() {
            let decoded = decode(cell, encoding);
            let (text, _) = decoded.map_err(|f| {
                bad(
                    self.header.get(i).cloned(),
                    FindingKind::BadEncoding,
                    f.message(),
                )
            })?;
            texts.push(text);
        }
        Ok(Record {
            line,
            cells: texts,
            reencoded,
        })
    }

    fn line(&mut self) -> Result<Option<(u64, Vec<u8>)>, DataError> {
        match self.pending.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.lines.next_line(),
        }
    }

    /// RFC 4180: lines are appended until every quotation mark is closed; `None` when that never happens.
    fn strict_cells(&mut self, first: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, DataError> {
        let mut text = first;
        let mut parser = Strict::default();
        loop {
            if parser.feed(&text, self.delimiter) {
                return Ok(Some(parser.cells));
            }
            if parser.cell.len() as u64 > self.lines.limits().cell_bytes {
                return Err(DataError::TooLarge {
                    file: self.name().to_owned(),
                    line: None,
                    what: "a quoted cell",
                    limit: self.lines.limits().cell_bytes,
                });
            }
            match self.line()? {
                Some((_, next)) => text = next,
                None => return Ok(None),
            }
        }
    }

    fn lenient_cells(&mut self, first: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, DataError> {
        let expected = self.header.len();
        let alone = lenient(trim_eol(&first), self.delimiter);
        if alone.closed && alone.quoted && alone.bare {
            let raw: Vec<Vec<u8>> = trim_eol(&first)
                .split(|b| *b == self.delimiter)
                .map(<[u8]>::to_vec)
                .collect();
            if raw.len() == alone.cells.len() {
                return Ok(Some(raw));
            }
        }
        if alone.closed && (expected == 0 || alone.cells.len() == expected) {
            return Ok(Some(alone.cells));
        }
        // A cell opens a quotation mark and the line ends first. It is a line break within a cell when the line alone,
        // or the one after it, doesn't have the cells of a row, and the lines together do.
        if !alone.closed {
            let raw: Vec<Vec<u8>> = trim_eol(&first)
                .split(|b| *b == self.delimiter)
                .map(<[u8]>::to_vec)
                .collect();
            let mut text = first;
            let mut taken: Vec<(u64, Vec<u8>)> = Vec::new();
            while taken.len() < MAX_SPAN && (text.len() as u64) < self.lines.limits().cell_bytes {
                let Some((number, next)) = self.line()? else {
                    break;
                };
                let next_is_row =
                    trim_eol(&next).split(|b| *b == self.delimiter).count() == expected;
                text.extend_from_slice(&next);
                taken.push((number, next));
                if taken.len() == 1 && raw.len() == expected && next_is_row && expected > 1 {
                    break;
                }
                let joined = lenient(trim_eol(&text), self.delimiter);
                if joined.closed {
                    if joined.cells.len() == expected && joined.spans {
                        return Ok(Some(joined.cells));
                    }
                    break;
                }
            }
            for line in taken.into_iter().rev() {
                self.pending.push_front(line);
            }
            return Ok(Some(raw));
        }
        Ok(Some(alone.cells))
    }
}

#[derive(Default)]
struct Strict {
    cells: Vec<Vec<u8>>,
    cell: Vec<u8>,
    quoted: bool,
    after_quote: bool,
}

impl Strict {
    /// Takes a line; true when the record is complete.
    fn feed(&mut self, line: &[u8], delimiter: u8) -> bool {
        let body = trim_eol(line);
        let mut start_of_cell = !self.quoted;
        for (i, &byte) in line.iter().enumerate() {
            if self.quoted {
                if byte == b'"' {
                    self.quoted = false;
                    self.after_quote = true;
                } else {
                    self.cell.push(byte);
                }
            } else if self.after_quote && byte == b'"' {
                self.cell.push(b'"');
                self.quoted = true;
                self.after_quote = false;
            } else if i >= body.len() {
                break;
            } else if byte == delimiter {
                self.cells.push(std::mem::take(&mut self.cell));
                self.after_quote = false;
                start_of_cell = true;
                continue;
            } else if start_of_cell && byte == b'"' {
                self.quoted = true;
            } else {
                self.after_quote = false;
                self.cell.push(byte);
            }
            start_of_cell = false;
        }
        if self.quoted {
            return false;
        }
        self.cells.push(std::mem::take(&mut self.cell));
        true
    }
}

struct Lenient {
    cells: Vec<Vec<u8>>,
    /// False when the last cell opens a quotation mark that the text doesn't close.
    closed: bool,
    /// Whether a quoted cell holds a line break.
    spans: bool,
    /// Whether a cell counts as quoted.
    quoted: bool,
    /// Whether a cell that doesn't holds a quotation mark.
    bare: bool,
}

fn lenient(text: &[u8], delimiter: u8) -> Lenient {
    let mut result = Lenient {
        cells: Vec::new(),
        closed: true,
        spans: false,
        quoted: false,
        bare: false,
    };
    let mut rest = text;
    loop {
        match quoted_cell(rest, delimiter) {
            Quoted::Yes(cell, used) => {
                result.spans |= cell.contains(&b'\n');
                result.quoted = true;
                result.cells.push(cell);
                if used == rest.len() {
                    return result;
                }
                rest = &rest[used + 1..];
                continue;
            }
            Quoted::Open => result.closed = false,
            Quoted::No => {}
        }
        match rest.iter().position(|b| *b == delimiter) {
            Some(end) => {
                result.bare |= rest[..end].contains(&b'"');
                result.cells.push(rest[..end].to_vec());
                rest = &rest[end + 1..];
            }
            None => {
                result.bare |= rest.contains(&b'"');
                result.cells.push(rest.to_vec());
                return result;
            }
        }
    }
}

enum Quoted {
    /// The content, and the bytes up to the delimiter or the end.
    Yes(Vec<u8>, usize),
    /// The mark isn't closed.
    Open,
    /// Not a quoted cell.
    No,
}

fn quoted_cell(text: &[u8], delimiter: u8) -> Quoted {
    if text.first() != Some(&b'"') {
        return Quoted::No;
    }
    let mut cell = Vec::new();
    let mut needed = false;
    let mut at = 1;
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            (b'"', Some(b'"')) => {
                cell.push(b'"');
                needed = true;
                at += 2;
            }
            (b'"', next) if next.is_none_or(|b| *b == delimiter) => {
                return if needed {
                    Quoted::Yes(cell, at + 1)
                } else {
                    Quoted::No
                };
            }
            (b'"', _) => return Quoted::No,
            (byte, _) => {
                needed |= byte == delimiter || byte == b'\n';
                cell.push(byte);
                at += 1;
            }
        }
    }
    Quoted::Open
}

fn header_error(file: &Path, bad: BadRow) -> DataError {
    DataError::BadRow {
        file: file.to_owned(),
        line: bad.line,
        column: bad.column,
        kind: bad.kind,
        message: bad.message,
    }
}

/// Writes one record as text; a cell is quoted where that is necessary.
pub(crate) fn write_record<'c>(
    cells: impl IntoIterator<Item = &'c str>,
    delimiter: char,
    quote_all: bool,
) -> String {
    let mut text = String::new();
    for (i, cell) in cells.into_iter().enumerate() {
        if i > 0 {
            text.push(delimiter);
        }
        let special = |c: char| c == delimiter || matches!(c, '"' | '\n' | '\r' | '\u{feff}');
        if quote_all || cell.contains(special) {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(cell);
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::Limits;

    fn read(
        bytes: &[u8],
        delimiter: u8,
        encoding: TextEncoding,
    ) -> Vec<Result<Vec<String>, FindingKind>> {
        let source = Source::new("test".into(), bytes, Limits::default());
        let mut records = match Records::new(source, delimiter, encoding) {
            Ok(records) => records,
            Err(_) => return Vec::new(),
        };
        let mut all = vec![Ok(records.header.clone())];
        while let Some(record) = records.next_record().unwrap() {
            all.push(record.map(|r| r.cells).map_err(|b| b.kind));
        }
        all
    }

    fn check(text: &str, delimiter: u8, expect: &[&[&str]]) {
        let rows = read(text.as_bytes(), delimiter, TextEncoding::Utf8);
        let rows: Vec<Vec<String>> = rows.into_iter().map(Result::unwrap).collect();
        assert_eq!(rows, expect, "{text:?}");
    }

    #[test]
    fn csv() {
        check("a,b\r\n1,2\r\n", b',', &[&["a", "b"], &["1", "2"]]);
        check(
            "\u{feff}a,b\n\"x\ny\",\"say \"\"hi\"\"\"\n\n3,4",
            b',',
            &[&["a", "b"], &["x\ny", "say \"hi\""], &["3", "4"]],
        );
        check(
            "a,b\n\"x,\r\ny\",\n",
            b',',
            &[&["a", "b"], &["x,\r\ny", ""]],
        );
    }

    #[test]
    fn tsv_quotation_marks() {
        check(
            "a\tb\n\"Look,\" she said.\t\"Yes.\"\n",
            b'\t',
            &[&["a", "b"], &["\"Look,\" she said.", "\"Yes.\""]],
        );
        check(
            "a\tb\n\"one\ntwo\"\tx\n",
            b'\t',
            &[&["a", "b"], &["one\ntwo", "x"]],
        );
        check(
            "a\tb\nx\t\"one\ntwo\"\ny\tz\n",
            b'\t',
            &[&["a", "b"], &["x", "one\ntwo"], &["y", "z"]],
        );
        check(
            "a\tb\n\"one\ttwo\"\tx\n",
            b'\t',
            &[&["a", "b"], &["one\ttwo", "x"]],
        );
        check(
            "a\tb\n\"open\tx\nc\td\n",
            b'\t',
            &[&["a", "b"], &["\"open", "x"], &["c", "d"]],
        );
        check(
            "a\tb\n\"open\tx\nc\td\"\n",
            b'\t',
            &[&["a", "b"], &["\"open", "x"], &["c", "d\""]],
        );
        // One cell alone could be quoted; the other shows that the row isn't.
        check(
            "a\tb\n\"Why?\" \"So.\"\t\"Why?\"\"So.\"\n",
            b'\t',
            &[&["a", "b"], &["\"Why?\" \"So.\"", "\"Why?\"\"So.\""]],
        );
    }

    #[test]
    fn bad_rows_are_told_apart() {
        let rows = read(b"a,b\n1\n\x8e,2\n3,4\n\"open,5\n", b',', TextEncoding::Utf8);
        let kinds: Vec<Option<FindingKind>> = rows.into_iter().map(Result::err).collect();
        let (count, encoding, open) = (
            FindingKind::FieldCount,
            FindingKind::BadEncoding,
            FindingKind::BadValue,
        );
        assert_eq!(kinds, [None, Some(count), Some(encoding), None, Some(open)]);
    }

    #[test]
    fn mac_roman_row_by_row() {
        let rows = read(
            b"a,b\nMo\x91i,\x8e\xc3\xa9\n\xc3\xa9\xc3\xa9n,x\n",
            b',',
            TextEncoding::MacRomanWithUtf8,
        );
        assert_eq!(rows[1].as_ref().unwrap()[0], "Moëi");
        assert_eq!(rows[2].as_ref().unwrap()[0], "één");
    }

    proptest! {
        #[test]
        fn round_trip(rows in prop::collection::vec(prop::collection::vec("[a-c\"\t\n\r, é]{1,8}", 3), 1..8), tab: bool) {
            let delimiter = if tab { '\t' } else { ',' };
            let mut text = write_record(["x", "y", "z"], delimiter, true);
            for row in &rows {
                text.push_str(&write_record(row.iter().map(String::as_str), delimiter, false));
            }
            let back = read(text.as_bytes(), delimiter as u8, TextEncoding::Utf8);
            let back: Vec<Vec<String>> = back.into_iter().skip(1).map(Result::unwrap).collect();
            prop_assert_eq!(back, rows);
        }

        #[test]
        fn no_panic(bytes in prop::collection::vec(prop::sample::select(b"ab\"\t,\r\n\xc3\x8e\xef\xbb\xbf".to_vec()), 0..200)) {
            for delimiter in [b'\t', b','] {
                for encoding in [TextEncoding::Utf8, TextEncoding::MacRoman, TextEncoding::MacRomanWithUtf8] {
                    read(&bytes, delimiter, encoding);
                }
            }
        }
    }
}
