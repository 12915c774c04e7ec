//! Checks the headers of a Parquet file's pages before polars decodes them.
//!
//! The decoder reserves memory for as many values as a page's header says. It takes the count as it stands, so that a
//! damaged file with a negative count asks for 2^61 bytes, and the program ends without an error. A page header is a
//! struct in Thrift's compact protocol; only its numbers are read here.
//!
//! Source: the format's `parquet.thrift` (`PageHeader`) and Thrift's specification of the compact protocol.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

/// The most values of one page. The decoder keeps 16 bytes for each.
pub(super) const MOST_VALUES: i64 = 1 << 24;
/// The most bytes of one page, after decompression.
pub(super) const MOST_BYTES: i64 = 1 << 30;
/// The most bytes of one header: the statistics in it hold a least and a greatest text.
const HEADER_BYTES: u64 = 1 << 24;
/// The most lists and structs within each other. The format has four.
const DEPTH: usize = 16;

/// One column of one group of rows, as the footer describes it.
pub(super) struct Chunk {
    /// The bytes of its pages in the file.
    pub(super) bytes: Range<u64>,
    /// The values of all its pages together.
    pub(super) values: i64,
}

/// Follows the pages of a chunk from header to header.
///
/// # Errors
/// What is wrong with which header, in words.
pub(super) fn check<R: Read + Seek>(file: &mut R, chunk: &Chunk) -> Result<(), String> {
    let mut at = chunk.bytes.start;
    let mut values = 0;
    while values < chunk.values {
        let place = |problem: String| format!("the page at byte {at} {problem}");
        if at >= chunk.bytes.end {
            return Err(format!(
                "its pages end at byte {at} with {values} of {} values",
                chunk.values
            ));
        }
        let (page, length) = read_header(file, at).map_err(place)?;
        let rest = (chunk.bytes.end - at) as i64;
        page.check(rest - length as i64, chunk.values - values)
            .map_err(place)?;
        values += page.data_values();
        at += length + page.compressed as u64;
    }
    Ok(())
}

/// The numbers of a page's header.
#[derive(Debug, Default)]
struct Page {
    kind: i64,
    uncompressed: i64,
    compressed: i64,
    /// The first number of the three kinds of header: the number of values.
    data: Option<i64>,
    dictionary: Option<i64>,
    data_v2: Option<DataV2>,
}

/// The numbers of a data page of the second version that say how much is decoded.
#[derive(Debug, Default)]
struct DataV2 {
    values: i64,
    nulls: i64,
    rows: i64,
    definition_bytes: i64,
    repetition_bytes: i64,
}

impl Page {
    /// The values that this page adds to its column. A dictionary or an index adds none.
    fn data_values(&self) -> i64 {
        match self.kind {
            0 => self.data.unwrap_or(0),
            3 => self.data_v2.as_ref().map_or(0, |page| page.values),
            _ => 0,
        }
    }

    /// Holds the numbers against the bytes and the values that are left in the column.
    fn check(&self, bytes: i64, values: i64) -> Result<(), String> {
        within("bytes", self.compressed, bytes)?;
        within("bytes after decompression", self.uncompressed, MOST_BYTES)?;
        let most = values.min(MOST_VALUES);
        match (self.kind, self.data, self.dictionary, &self.data_v2) {
            (0, Some(count), ..) => within("values", count, most),
            // An entry takes a byte at least.
            (2, _, Some(count), _) => within("entries", count, self.uncompressed),
            (3, _, _, Some(page)) => {
                within("values", page.values, most)?;
                within("nulls", page.nulls, page.values)?;
                within("rows", page.rows, page.values)?;
                let levels = [page.definition_bytes, page.repetition_bytes];
                levels
                    .into_iter()
                    .try_for_each(|count| within("bytes of levels", count, self.compressed))
            }
            (1, ..) => Ok(()),
            (kind, ..) => Err(format!("is of kind {kind}, and has no header of that kind")),
        }
    }
}

fn within(what: &str, count: i64, most: i64) -> Result<(), String> {
    match (0..=most).contains(&count) {
        true => Ok(()),
        false => Err(format!(
            "says that it has {count} {what}, where 0 to {most} are possible"
        )),
    }
}

/// Reads the header at a place of the file; returns it and its length in bytes.
fn read_header<R: Read + Seek>(file: &mut R, at: u64) -> Result<(Page, u64), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    file.seek(SeekFrom::Start(at)).map_err(unreadable)?;
    let mut thrift = Thrift {
        bytes: BufReader::with_capacity(256, file.take(HEADER_BYTES)),
        read: 0,
    };
    let mut page = Page::default();
    thrift.fields(DEPTH, &mut |thrift, id, kind| {
        match id {
            1 => page.kind = thrift.number(kind)?,
            2 => page.uncompressed = thrift.number(kind)?,
            3 => page.compressed = thrift.number(kind)?,
            5 => page.data = Some(thrift.first_number(kind)?),
            7 => page.dictionary = Some(thrift.first_number(kind)?),
            8 => page.data_v2 = Some(thrift.data_v2(kind)?),
            _ => thrift.skip(kind, DEPTH - 1)?,
        }
        Ok(())
    })?;
    Ok((page, thrift.read))
}

/// The kinds of the compact protocol that are met by name here.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I16: u8 = 4;
const I64: u8 = 6;
const STRUCT: u8 = 12;

/// A reader of Thrift's compact protocol that counts what it reads.
struct Thrift<R: BufRead> {
    bytes: R,
    read: u64,
}

impl<R: BufRead> Thrift<R> {
    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        match self.bytes.read_exact(&mut byte) {
            Ok(()) => self.read += 1,
            Err(error) => return Err(format!("has a header that cannot be read: {error}")),
        }
        Ok(byte[0])
    }

    /// A number of seven bits a byte, the least first.
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("has a number of more than ten bytes in its header".to_owned())
    }

    /// A signed number: 0, -1, 1, -2 … are written as 0, 1, 2, 3 ….
    fn number(&mut self, kind: u8) -> Result<i64, String> {
        if !(I16..=I64).contains(&kind) {
            return Err(format!(
                "has a field of kind {kind} in its header, not a number"
            ));
        }
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads the fields of a struct up to its end.
    fn fields(
        &mut self,
        depth: usize,
        field: &mut dyn FnMut(&mut Self, i64, u8) -> Result<(), String>,
    ) -> Result<(), String> {
        if depth == 0 {
            return Err("has a header that is nested too deeply".to_owned());
        }
        let mut id = 0i64;
        loop {
            let start = self.byte()?;
            let kind = start & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            id = match start >> 4 {
                0 => self.number(I16)?,
                step => id.saturating_add(i64::from(step)),
            };
            field(self, id, kind)?;
        }
    }

    /// Reads a struct and returns its first field, which is a number.
    fn first_number(&mut self, kind: u8) -> Result<i64, String> {
        let mut first = None;
        self.inner(kind, &mut |thrift, id, kind| {
            match id {
                1 => first = Some(thrift.number(kind)?),
                _ => thrift.skip(kind, DEPTH - 2)?,
            }
            Ok(())
        })?;
        first.ok_or_else(|| "has a header without the number of its values".to_owned())
    }

    fn data_v2(&mut self, kind: u8) -> Result<DataV2, String> {
        let mut page = DataV2::default();
        self.inner(kind, &mut |thrift, id, kind| {
            match id {
                1 => page.values = thrift.number(kind)?,
                2 => page.nulls = thrift.number(kind)?,
                3 => page.rows = thrift.number(kind)?,
                5 => page.definition_bytes = thrift.number(kind)?,
                6 => page.repetition_bytes = thrift.number(kind)?,
                _ => thrift.skip(kind, DEPTH - 2)?,
            }
            Ok(())
        })?;
        Ok(page)
    }

    /// Reads the fields of a struct within the header.
    fn inner(
        &mut self,
        kind: u8,
        field: &mut dyn FnMut(&mut Self, i64, u8) -> Result<(), String>,
    ) -> Result<(), String> {
        match kind {
            STRUCT => self.fields(DEPTH - 1, field),
            _ => Err(format!(
                "has a field of kind {kind} in its header, not a struct"
            )),
        }
    }

    /// Passes over a field's value.
    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), String> {
        match kind {
            TRUE | FALSE => Ok(()),
            3 => self.pass(1),
            I16..=I64 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let length = self.varint()?;
                self.pass(length)
            }
            9 | 10 => {
                let start = self.byte()?;
                let length = match start >> 4 {
                    15 => self.varint()?,
                    length => u64::from(length),
                };
                self.skip_values(length, &[start & 0x0f], depth)
            }
            11 => match self.varint()? {
                0 => Ok(()),
                length => {
                    let kinds = self.byte()?;
                    self.skip_values(length, &[kinds >> 4, kinds & 0x0f], depth)
                }
            },
            STRUCT => self.fields(depth, &mut |thrift, _, kind| thrift.skip(kind, depth - 1)),
            _ => Err(format!("has a field of unknown kind {kind} in its header")),
        }
    }

    /// Passes over the values of a list, a set or a map. A truth value takes a byte here.
    fn skip_values(&mut self, length: u64, kinds: &[u8], depth: usize) -> Result<(), String> {
        if depth == 0 {
            return Err("has a header that is nested too deeply".to_owned());
        }
        for _ in 0..length {
            for kind in kinds {
                match *kind {
                    TRUE | FALSE => self.pass(1)?,
                    // A value takes a byte at least, so that the header's end ends the loop.
                    kind => self.skip(kind, depth - 1)?,
                }
            }
        }
        Ok(())
    }

    fn pass(&mut self, length: u64) -> Result<(), String> {
        let passed = std::io::copy(&mut (&mut self.bytes).take(length), &mut std::io::sink());
        match passed {
            Ok(passed) if passed == length => {
                self.read += length;
                Ok(())
            }
            _ => Err("has a header that is cut off".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A header as it is written: fields of step one and kind i32, then a struct, then the end.
    fn header(kind: i64, uncompressed: i64, compressed: i64, values: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [kind, uncompressed, compressed] {
            bytes.push(0x15);
            zigzag(&mut bytes, value);
        }
        let step = match kind {
            0 => 2,
            2 => 4,
            _ => 5,
        };
        bytes.push(step << 4 | STRUCT);
        bytes.push(0x15);
        zigzag(&mut bytes, values);
        bytes.extend([0, 0]);
        bytes
    }

    fn zigzag(bytes: &mut Vec<u8>, value: i64) {
        let mut value = (value << 1 ^ value >> 63) as u64;
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    }

    fn checked(pages: &[Vec<u8>], values: i64) -> Result<(), String> {
        let bytes = pages.concat();
        let chunk = Chunk {
            bytes: 0..bytes.len() as u64,
            values,
        };
        check(&mut Cursor::new(bytes), &chunk)
    }

    fn page(kind: i64, values: i64) -> Vec<u8> {
        let mut page = header(kind, 8, 4, values);
        page.extend([7; 4]);
        page
    }

    #[test]
    fn pages_that_hold_what_the_footer_says_pass() {
        checked(&[page(2, 3), page(0, 5), page(0, 6), page(3, 1)], 12).unwrap();
    }

    #[test]
    fn a_count_that_cannot_be_is_refused() {
        for (pages, values, expected) in [
            (vec![page(0, -1)], 5, "at byte 0 says that it has -1 values"),
            (
                vec![page(0, 3), page(0, 3)],
                5,
                "has 3 values, where 0 to 2",
            ),
            (vec![page(2, -7)], 5, "has -7 entries"),
            (vec![page(2, 9)], 5, "has 9 entries, where 0 to 8"),
            (vec![page(3, i64::MIN)], 5, "values"),
            (vec![page(0, 3)], 5, "with 3 of 5 values"),
            (vec![page(9, 3)], 5, "is of kind 9"),
            (vec![header(0, 8, 4, 5)], 5, "has 4 bytes, where 0 to 0"),
            (vec![header(0, 1 << 40, 0, 5)], 5, "after decompression"),
        ] {
            let error = checked(&pages, values).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn fields_that_are_not_needed_are_passed_over() {
        let mut bytes = header(0, 8, 4, 5);
        bytes.pop();
        // A text, a list of two structs (one empty, one with a truth value), and a map of a number to a text.
        bytes.extend([0x18, 2, b'a', b'b', 0x49, 0x2c, 0, 0x11, 0]);
        bytes.extend([0x1b, 1, 0x58, 4, 1, b'x', 0]);
        bytes.extend([7; 4]);
        checked(&[bytes.clone()], 5).unwrap();
        for cut in 0..bytes.len() - 4 {
            assert!(checked(&[bytes[..cut].to_vec()], 5).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_header_nested_without_end_is_refused() {
        let error = checked(&[vec![0x9c; 1000]], 5).unwrap_err();
        assert!(error.contains("nested too deeply"), "{error}");
        // Lists of lists.
        let error = checked(&[vec![0x99; 1000]], 5).unwrap_err();
        assert!(error.contains("nested too deeply"), "{error}");
    }
}
