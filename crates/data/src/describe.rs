//! Describes what a data file holds and what is wrong with it, before anything is computed from it.

mod formats;
mod table;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Report};
use crate::input::{Limits, TextEncoding, head};
use crate::language::Language;
use crate::load::{Format, sniff, sniff::only_file};
pub use crate::scan::{Encoding, Lines};
use formats::{
    bbq, bias, choice, count_pairs, delimited, json, parallel, seat, stereoset, talks, templates,
    unknown,
};
use table::Table;

/// A description of a data file or of a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The file or folder that was described.
    pub file: PathBuf,
    /// The name of its format, or a note on how it was read if no loader knows the format.
    pub format: String,
    /// The size on disk in bytes; 0 for a folder.
    pub bytes: u64,
    /// The number of records, without the header.
    pub rows: u64,
    /// The columns.
    pub columns: Vec<ColumnStats>,
    /// The number of rows that repeat an earlier row in all columns that hold text.
    pub duplicate_rows: u64,
    /// Pairs of columns that hold the same text in some rows although they should differ.
    pub identical: Vec<Identical>,
    /// The encoding of the file and its faults.
    pub encoding: Encoding,
    /// The loader's report of what it skipped or found suspicious.
    pub report: Report,
    /// The number of items of a benchmark per kind, such as `en intrasentence gender`; empty for other sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<(String, u64)>,
}

/// Statistics of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnStats {
    /// The name of the column.
    pub name: String,
    /// The language of the column, if its name says it.
    pub language: Option<Language>,
    /// The number of cells that hold text.
    pub filled: u64,
    /// The cells that hold no text.
    pub empty: Lines,
    /// Sentences of pairs with spaces at their beginning or end. These spaces are a part of what is scored.
    #[serde(default)]
    pub blanks: Lines,
    /// The number of different texts.
    pub distinct: u64,
    /// The lengths of the texts in characters.
    pub chars: Quantiles,
    /// The lengths of the texts in words, which are separated by spaces.
    pub words: Quantiles,
}

/// Quantiles of the lengths of a column's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// The smallest length.
    pub min: u32,
    /// The length that 5 % of the texts do not exceed.
    pub p5: u32,
    /// The median.
    pub median: u32,
    /// The length that 95 % of the texts do not exceed.
    pub p95: u32,
    /// The largest length.
    pub max: u32,
}

/// Two columns that hold the same text in some rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identical {
    /// The name of one column.
    pub left: String,
    /// The name of the other column.
    pub right: String,
    /// The rows in which the texts are the same.
    pub rows: Lines,
}

/// What the caller knows about a file that is to be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DescribeOptions {
    /// The format; `None` if it is to be found from the file's name and content.
    pub format: Option<Format>,
    /// The language of the pairs, for files that do not say it.
    pub language: Option<Language>,
}

/// Describes a file or folder of any format. Faults in the data are described, not raised as errors.
///
/// # Errors
/// A file that can't be read or that passes the size limits.
pub fn describe(path: &Path) -> Result<Description, DataError> {
    describe_as(path, &DescribeOptions::default())
}

/// Describes a file or folder of which the caller knows the format or the language. A folder whose layout is unknown
/// stands for the one file of a known format in it. Faults in the data are described, not raised as errors.
///
/// # Errors
/// A file that can't be read or that passes the size limits.
pub fn describe_as(path: &Path, options: &DescribeOptions) -> Result<Description, DataError> {
    let limits = Limits::default();
    let all: Vec<Format> = [Format::BIAS, Format::PARALLEL, Format::OTHER].concat();
    let path = &only_file(path, &all)?;
    let format = match options.format.map_or_else(|| sniff(path), Ok) {
        Ok(format) => Some(format),
        Err(DataError::UnknownFormat { .. }) if path.is_file() => None,
        Err(error) => return Err(error),
    };
    let binary = path.is_dir() || !path.exists() || is_binary(path)?;
    let encoding = if binary {
        Encoding::default()
    } else {
        crate::scan::scan(path, limits)?
    };
    let mac = encoding.name.starts_with("Mac");
    let text_encoding = if mac {
        TextEncoding::MacRomanWithUtf8
    } else {
        TextEncoding::Utf8
    };
    let mut table = Table {
        encoding,
        ..Table::default()
    };
    let name = match format {
        Some(Format::Tsv | Format::TedTsv | Format::CrowsWide) => {
            delimited(path, b'\t', text_encoding, limits, &mut table)?
        }
        Some(
            Format::Csv
            | Format::CrowsOriginal
            | Format::CrowsDutch
            | Format::Reusens
            | Format::PairsCsv,
        ) if path.is_file() => delimited(path, b',', text_encoding, limits, &mut table)?,
        Some(Format::PairsJsonl) => json(path, limits, &mut table)?,
        Some(Format::TedXml) => talks(path, &mut table)?,
        Some(Format::CrowsDutch | Format::Reusens) => bias(path, options, &mut table)?,
        Some(Format::Stereoset) => stereoset(path, &mut table)?,
        Some(Format::Seat) => seat(path, &mut table)?,
        Some(Format::Bbq) => bbq(path, &mut table)?,
        Some(Format::Choice) => choice(path, &mut table)?,
        Some(Format::Templates) => templates(path, &mut table)?,
        Some(format) => parallel(path, format, text_encoding, &mut table)?,
        None => unknown(path, text_encoding, limits, &mut table)?,
    };
    let is_pairs = |f| Format::BIAS.contains(&f) && f != Format::Templates;
    if path.is_file() && format.is_some_and(is_pairs) {
        count_pairs(path, format, options, &mut table);
    }
    if binary {
        table.encoding.name = "decoded by the format".to_owned();
    }
    let bytes = if path.is_file() {
        std::fs::metadata(path).map_or(0, |m| m.len())
    } else {
        0
    };
    Ok(table.finish(path, format.map_or(name, |f| f.name().to_owned()), bytes))
}

fn is_binary(path: &Path) -> Result<bool, DataError> {
    let start = head(path, 512)?;
    Ok(start.starts_with(b"PK\x03\x04")
        || start.starts_with(b"PAR1")
        || start.get(257..262) == Some(b"ustar"))
}
