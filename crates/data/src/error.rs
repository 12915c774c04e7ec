//! Errors of outside data, and the report of findings that are not errors.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::language::Language;

/// What a loader does with a row that it can't use.
///
/// There is no default: whoever loads data decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// The loader stops with a [`DataError::BadRow`] that names the file, the line and the column.
    Error,
    /// The loader leaves the row out and lists it in the [`Report`].
    Skip,
}

/// Something a loader skipped, repaired, or found suspicious.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The file, with the archive member after a `!` where there is one.
    pub file: PathBuf,
    /// The line on which the record starts, counted from 1; `None` if the format has no lines.
    pub line: Option<u64>,
    /// The kind of fault that was found.
    pub kind: FindingKind,
    /// A description of what was found, for a person.
    pub message: String,
}

/// Kinds of [`Finding`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A cell that must hold text is empty.
    EmptyCell,
    /// The two sentences of a pair, or two words of a tuple, are the same.
    IdenticalPair,
    /// The same entry comes a second time.
    Duplicate,
    /// The text has bytes that the expected encoding doesn't allow.
    BadEncoding,
    /// The text was decoded from another encoding than UTF-8.
    Reencoded,
    /// The text looks as if it was decoded in the wrong encoding before it was stored.
    Mojibake,
    /// The row has more or fewer cells than the header.
    FieldCount,
    /// The value is not one of the allowed ones.
    BadValue,
    /// The label was replaced by that of the English original.
    LabelReplaced,
    /// The identifier can't be trusted and was replaced by the loader.
    IdReplaced,
    /// Spaces around a value were cut off.
    Trimmed,
    /// Spaces around a text were kept as a part of it.
    Blanks,
    /// The row lacks a text in one of the languages asked for.
    MissingTranslation,
    /// The row was kept; the message says what to know about it.
    Note,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FindingKind::EmptyCell => "empty cell",
            FindingKind::IdenticalPair => "identical pair",
            FindingKind::Duplicate => "duplicate",
            FindingKind::BadEncoding => "wrong encoding",
            FindingKind::Reencoded => "re-encoded",
            FindingKind::Mojibake => "mojibake",
            FindingKind::FieldCount => "wrong number of cells",
            FindingKind::BadValue => "bad value",
            FindingKind::LabelReplaced => "label replaced",
            FindingKind::IdReplaced => "id replaced",
            FindingKind::Trimmed => "blanks trimmed",
            FindingKind::Blanks => "blanks kept",
            FindingKind::MissingTranslation => "missing translation",
            FindingKind::Note => "note",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}", self.kind, self.message)
    }
}

/// What a loader saw besides the data it returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// The number of records that were read, good and bad.
    pub rows_read: u64,
    /// The number of records that were left out.
    pub rows_skipped: u64,
    /// The findings, in file order; at most [`Report::MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// The number of findings beyond [`Report::MAX_FINDINGS`], which were counted but not listed.
    pub findings_left_out: u64,
}

impl Report {
    /// The largest number of findings that a report lists, so that a file full of faults can't exhaust the memory.
    pub const MAX_FINDINGS: usize = 10_000;

    /// Returns how many of the listed findings are of this kind.
    pub fn count(&self, kind: FindingKind) -> usize {
        self.findings.iter().filter(|f| f.kind == kind).count()
    }

    /// Adds a finding about data that was kept.
    pub fn note(&mut self, file: &Path, line: Option<u64>, kind: FindingKind, message: String) {
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(Finding {
                file: file.to_owned(),
                line,
                kind,
                message,
            });
        } else {
            self.findings_left_out += 1;
        }
    }

    /// Appends the findings and counts of another report.
    pub fn merge(&mut self, other: Report) {
        self.rows_read += other.rows_read;
        self.rows_skipped += other.rows_skipped;
        self.findings_left_out += other.findings_left_out;
        let room = Self::MAX_FINDINGS - self.findings.len().min(Self::MAX_FINDINGS);
        self.findings_left_out += other.findings.len().saturating_sub(room) as u64;
        self.findings.extend(other.findings.into_iter().take(room));
    }

    /// Handles a row that can't be used, as the policy says.
    ///
    /// # Errors
    /// [`DataError::BadRow`] under [`OnBadRow::Error`].
    pub(crate) fn bad_row(
        &mut self,
        policy: OnBadRow,
        file: &Path,
        bad: BadRow,
    ) -> Result<(), DataError> {
        match policy {
            OnBadRow::Error => Err(DataError::BadRow {
                file: file.to_owned(),
                line: bad.line,
                column: bad.column,
                kind: bad.kind,
                message: bad.message,
            }),
            OnBadRow::Skip => {
                self.rows_skipped += 1;
                let message = match bad.column {
                    Some(column) => format!("column `{column}`: {}; row left out", bad.message),
                    None => format!("{}; row left out", bad.message),
                };
                self.note(file, bad.line, bad.kind, message);
                Ok(())
            }
        }
    }
}

/// A row that can't be used; whether it is an error is not decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub line: Option<u64>,
    pub column: Option<String>,
    pub kind: FindingKind,
    pub message: String,
}

impl BadRow {
    pub fn new(line: u64, column: &str, kind: FindingKind, message: impl Into<String>) -> Self {
        BadRow {
            line: Some(line),
            column: Some(column.to_owned()),
            kind,
            message: message.into(),
        }
    }
}

/// The reason why a data source can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file does not exist.
    #[error("{}: no such file or folder{hint}", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What would work, starting with `; `; empty if nothing is known.
        hint: String,
    },
    /// The operating system refused to read or write the file.
    #[error("{}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The disk has no room for the file.
    #[error("{}: the disk is full; free some space or choose another folder, then run the same command again", .file.display())]
    DiskFull {
        /// The file that was being written.
        file: PathBuf,
    },
    /// An archive or compressed file is truncated or corrupt.
    #[error("{}: truncated or corrupt archive ({message}); fetch the file again", .file.display())]
    Archive {
        /// The file, followed by `!` and the member of the archive.
        file: PathBuf,
        /// The error of the decompressor.
        message: String,
    },
    /// A cell, a line, or the decompressed file is larger than the limit.
    #[error("{}{}: {what} exceeds the limit of {limit} bytes; raise `limits` if the file is meant to be that large", .file.display(), at_line(.line))]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The line, if it is known.
        line: Option<u64>,
        /// What is too large: a cell, a line, or the whole file.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// A folder holds several files, each of which could be the one that is meant.
    #[error("{}: the folder holds several files of this kind; name one: {}", .folder.display(), .files.join(", "))]
    SeveralFiles {
        /// The folder.
        folder: PathBuf,
        /// The names of these files.
        files: Vec<String>,
    },
    /// Neither the name nor the content of a file shows its format.
    #[error("{}: can't tell the format ({reason}); name it with --format, or in an experiment with data.parallel_format or \
         data.pairs_format: {}", .file.display(), .expected.join(", "))]
    UnknownFormat {
        /// The file.
        file: PathBuf,
        /// What was looked at, and what was found.
        reason: String,
        /// The names of the formats that this function reads.
        expected: Vec<&'static str>,
    },
    /// The header lacks a column that is needed.
    #[error("{}:1: column `{column}` is missing; the header has: {}", .file.display(), quoted(.found))]
    MissingColumn {
        /// The file.
        file: PathBuf,
        /// The column that is missing.
        column: String,
        /// The columns of the header.
        found: Vec<String>,
    },
    /// A row can't be used; this is an error only under [`OnBadRow::Error`].
    #[error("{}{}{}: {kind}: {message}; `on_bad_row = \"skip\"` leaves such rows out", .file.display(), at_line(.line), in_column(.column))]
    BadRow {
        /// The file.
        file: PathBuf,
        /// The line on which the record starts.
        line: Option<u64>,
        /// The column or key in which the fault lies, if it lies in one.
        column: Option<String>,
        /// The kind of the fault.
        kind: FindingKind,
        /// A description of the fault.
        message: String,
    },
    /// Text is not in the expected encoding, in a place where no row can be skipped.
    #[error("{}:{line}: not {expected}: byte {byte:#04x} at offset {offset} of the line{hint}", .file.display())]
    BadEncoding {
        /// The file.
        file: PathBuf,
        /// The number of the line, counted from 1.
        line: u64,
        /// The offset of the byte in the line.
        offset: usize,
        /// The byte that the encoding does not allow.
        byte: u8,
        /// The expected encoding.
        expected: &'static str,
        /// What would work, starting with `; `; empty if nothing is known.
        hint: String,
    },
    /// XML can't be parsed.
    #[error("{}:{line}: not well-formed XML: {message}", .file.display())]
    Xml {
        /// The file.
        file: PathBuf,
        /// The number of the line, counted from 1.
        line: u64,
        /// The error of the parser.
        message: String,
    },
    /// JSON can't be parsed, or does not have the expected structure.
    #[error("{}:{line}:{column}: {message}", .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// The number of the column in the line.
        column: usize,
        /// A description of the fault.
        message: String,
    },
    /// TOML can't be parsed, or does not have the expected structure.
    #[error("{}:{line}: {message}", .file.display())]
    Toml {
        /// The file.
        file: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// A description of the fault.
        message: String,
    },
    /// A Parquet file can't be read or written.
    #[error("{}: Parquet: {message}", .file.display())]
    Parquet {
        /// The file.
        file: PathBuf,
        /// The error of the Parquet library.
        message: String,
    },
    /// The source has no text in a language that was asked for.
    #[error("{}: no text in `{language}`; available: {}", .file.display(), codes(.available))]
    MissingLanguage {
        /// The file, or the name of the corpus.
        file: PathBuf,
        /// The language that was asked for.
        language: Language,
        /// The languages that the source has.
        available: Vec<Language>,
    },
    /// The language of a file is unknown.
    #[error("{}: can't tell the language ({reason}); name exactly one language (--language)", .file.display())]
    UnknownLanguage {
        /// The file.
        file: PathBuf,
        /// What was looked at, and what was found.
        reason: String,
    },
    /// A file is missing that must be read together with this one.
    #[error("{}: needs `{companion}` next to it: {reason}", .file.display())]
    MissingCompanion {
        /// The file.
        file: PathBuf,
        /// The name of the missing file.
        companion: String,
        /// Why it is needed.
        reason: String,
    },
    /// Files that should be aligned line by line have different numbers of lines.
    #[error("line-aligned files differ in length: {}; fetch them again, or remove the one that doesn't belong", line_counts(.counts))]
    LineCounts {
        /// The files with their numbers of lines.
        counts: Vec<(PathBuf, u64)>,
    },
    /// No sentence exists in all the languages.
    #[error("{}: no sentence exists in all of {}; joined with English there are {}: choose fewer languages", .file.display(), codes(.languages), pair_counts(.counts))]
    EmptyJoin {
        /// The file or folder.
        file: PathBuf,
        /// The languages asked for.
        languages: Vec<Language>,
        /// For every language, the number of rows that it shares with English.
        counts: Vec<(Language, usize)>,
    },
    /// No row of the file can be used.
    #[error("{}: no usable row ({read} read, {skipped} left out): check that the file, its format and its languages are the ones you meant", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// The number of rows that were read.
        read: u64,
        /// The number of rows that were left out.
        skipped: u64,
    },
    /// The source has fewer rows than were asked for.
    #[error(
        "{wanted} rows are needed, but only {available} are available: ask for fewer rows or give more data"
    )]
    NotEnoughRows {
        /// The number of rows that were asked for.
        wanted: usize,
        /// The number of rows that exist.
        available: usize,
    },
    /// An attribute list can't be used.
    #[error("attribute list {language}/{category}: {message}")]
    BadAttributes {
        /// The language of the list.
        language: Language,
        /// The bias category of the list.
        category: String,
        /// A description of the fault.
        message: String,
    },
    /// No word of an attribute list occurs in any sentence.
    #[error("attribute list {language}/{category}: none of its {} words ({}) occurs in any of the {sentences} sentences; are both in {language}?", .words.len(), first_words(.words))]
    NoMatches {
        /// The language of the list.
        language: Language,
        /// The bias category of the list.
        category: String,
        /// The number of sentences that were searched.
        sentences: usize,
        /// Every word with the number of sentences it was found in.
        words: Vec<(String, usize)>,
    },
    /// A manifest can't be used.
    #[error("{}: {message}", .file.display())]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// A description of the fault, with the key and the line if they are known.
        message: String,
    },
    /// A server answered a download with an error.
    #[error("{url}: the server answered {status}{hint}")]
    Http {
        /// The address of the download.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// What would help, starting with `: `; empty if nothing is known.
        hint: String,
    },
    /// A server can't be reached.
    #[error("{url}: can't reach the server ({message}); check the network, or put the file into {} by hand", .target.display())]
    Offline {
        /// The address of the download.
        url: String,
        /// The path under which the file would have been stored.
        target: PathBuf,
        /// The error of the HTTP client.
        message: String,
    },
    /// A transfer ended early; the part that was received is kept.
    #[error(
        "{url}: the transfer ended after {received} of {expected} bytes; run the same command again to resume"
    )]
    Truncated {
        /// The address of the download.
        url: String,
        /// The number of bytes that are on disk.
        received: u64,
        /// The size of the whole file in bytes.
        expected: u64,
    },
    /// A transfer was given up because it was too slow.
    #[error(
        "{url}: given up, for {message}; what came is kept, and the same command goes on from there"
    )]
    TooSlow {
        /// The address of the download.
        url: String,
        /// How many bytes were received in which time.
        message: String,
    },
    /// The place of a file is taken by something else.
    #[error("{}: {problem}; move it away, or replace a file with --force", .file.display())]
    OtherFile {
        /// The path that is taken.
        file: PathBuf,
        /// What is there, and how it differs from the file that is wanted.
        problem: String,
    },
    /// A file has to be downloaded, but the program was built without an HTTP client.
    #[error("{url}: this program was built without the feature `download`; build it with that feature, or put the file into {} by hand", .target.display())]
    NoDownload {
        /// The address of the download.
        url: String,
        /// The path under which the file would have been stored.
        target: PathBuf,
    },
    /// The bytes of a file do not have the hash that the manifest gives.
    #[error("{}: sha256 is {actual}, the manifest says {expected} ({url}): the file changed upstream or the transfer was altered; the copy was removed", .file.display())]
    HashMismatch {
        /// The file.
        file: PathBuf,
        /// The address that the file was fetched from.
        url: String,
        /// The sha256 that the manifest gives.
        expected: String,
        /// The sha256 of the bytes that were received.
        actual: String,
    },
}

fn at_line(line: &Option<u64>) -> String {
    line.map(|l| format!(":{l}")).unwrap_or_default()
}

fn in_column(column: &Option<String>) -> String {
    column
        .as_ref()
        .map(|c| format!(": column `{c}`"))
        .unwrap_or_default()
}

fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn codes(languages: &[Language]) -> String {
    languages
        .iter()
        .map(Language::code)
        .collect::<Vec<_>>()
        .join(", ")
}

fn line_counts(counts: &[(PathBuf, u64)]) -> String {
    counts
        .iter()
        .map(|(f, n)| format!("{} has {n}", f.display()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn pair_counts(counts: &[(Language, usize)]) -> String {
    counts
        .iter()
        .map(|(l, n)| format!("{l}: {n}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn first_words(words: &[(String, usize)]) -> String {
    let more = if words.len() > 8 { ", …" } else { "" };
    let shown: Vec<&str> = words.iter().take(8).map(|(w, _)| w.as_str()).collect();
    format!("{}{more}", shown.join(", "))
}
