//! What can go wrong with outside data, and how findings are reported.

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
    /// Stop with a [`DataError::BadRow`] that names the file, the line and the column.
    Error,
    /// Leave the row out and list it in the [`Report`].
    Skip,
}

/// Something a loader skipped, repaired, or found suspicious.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The file, with the archive member after a `!` where there is one.
    pub file: PathBuf,
    /// Line on which the record starts, counted from 1; `None` where the format has no lines.
    pub line: Option<u64>,
    /// What was found.
    pub kind: FindingKind,
    /// The fact in words.
    pub message: String,
}

/// Kinds of [`Finding`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A cell that must hold text is empty.
    EmptyCell,
    /// Both sides of a pair, or two words of a tuple, are the same.
    IdenticalPair,
    /// The same entry a second time.
    Duplicate,
    /// Bytes that the expected encoding doesn't allow.
    BadEncoding,
    /// Text that was decoded from another encoding than UTF-8.
    Reencoded,
    /// Text that looks as if it had been decoded wrongly before it was stored.
    Mojibake,
    /// More or fewer cells than the header has.
    FieldCount,
    /// A value outside the allowed ones.
    BadValue,
    /// A label that was replaced by the one of the English original.
    LabelReplaced,
    /// An identifier that the loader doesn't trust and replaced.
    IdReplaced,
    /// Blanks around a value, cut off.
    Trimmed,
    /// Blanks around a text, kept as a part of it.
    Blanks,
    /// A row without a text in every wanted language.
    MissingTranslation,
    /// Something to know about the row, which was kept.
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
    /// Records read, good and bad.
    pub rows_read: u64,
    /// Records left out.
    pub rows_skipped: u64,
    /// The findings, in file order; at most [`Report::MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// Findings beyond that number, which were only counted.
    pub findings_left_out: u64,
}

impl Report {
    /// The most findings a report lists, so that a file full of faults can't exhaust the memory.
    pub const MAX_FINDINGS: usize = 10_000;

    /// How many listed findings are of this kind.
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

    /// Appends another report.
    pub fn merge(&mut self, other: Report) {
        self.rows_read += other.rows_read;
        self.rows_skipped += other.rows_skipped;
        self.findings_left_out += other.findings_left_out;
        let room = Self::MAX_FINDINGS - self.findings.len().min(Self::MAX_FINDINGS);
        self.findings_left_out += other.findings.len().saturating_sub(room) as u64;
        self.findings.extend(other.findings.into_iter().take(room));
    }

    /// Treats a row that can't be used as the policy says.
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

/// A row that can't be used, before the policy was asked.
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

/// A data source that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file isn't there.
    #[error("{}: no such file or folder{hint}", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What would work, starting with `; `, or nothing.
        hint: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk has no room for the file.
    #[error("{}: the disk is full; free some space or choose another folder, then run the same command again", .file.display())]
    DiskFull {
        /// The file that was being written.
        file: PathBuf,
    },
    /// An archive or compressed file that is truncated or corrupt.
    #[error("{}: truncated or corrupt archive ({message}); fetch the file again", .file.display())]
    Archive {
        /// The file, with the member after a `!`.
        file: PathBuf,
        /// What the decompressor said.
        message: String,
    },
    /// A cell, a line, or the decompressed file is larger than the limit.
    #[error("{}{}: {what} exceeds the limit of {limit} bytes; raise `limits` if the file is meant to be that large", .file.display(), at_line(.line))]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The line, where known.
        line: Option<u64>,
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A folder with several files, each of which could be meant.
    #[error("{}: the folder holds several files of this kind; name one: {}", .folder.display(), .files.join(", "))]
    SeveralFiles {
        /// The folder.
        folder: PathBuf,
        /// The files' names.
        files: Vec<String>,
    },
    /// Neither name nor content tell the format.
    #[error("{}: can't tell the format ({reason}); name it with --format, or in an experiment with data.parallel_format or \
         data.pairs_format: {}", .file.display(), .expected.join(", "))]
    UnknownFormat {
        /// The file.
        file: PathBuf,
        /// What was looked at.
        reason: String,
        /// The names of the formats that this entry point reads.
        expected: Vec<&'static str>,
    },
    /// The header lacks a column.
    #[error("{}:1: column `{column}` is missing; the header has: {}", .file.display(), quoted(.found))]
    MissingColumn {
        /// The file.
        file: PathBuf,
        /// The column looked for.
        column: String,
        /// The columns of the header.
        found: Vec<String>,
    },
    /// A row that can't be used, under [`OnBadRow::Error`].
    #[error("{}{}{}: {kind}: {message}; `on_bad_row = \"skip\"` leaves such rows out", .file.display(), at_line(.line), in_column(.column))]
    BadRow {
        /// The file.
        file: PathBuf,
        /// The line on which the record starts.
        line: Option<u64>,
        /// The column or key.
        column: Option<String>,
        /// What is wrong.
        kind: FindingKind,
        /// The fact in words.
        message: String,
    },
    /// Text that is not in the encoding that was asked for, in a place where no row can be skipped.
    #[error("{}:{line}: not {expected}: byte {byte:#04x} at offset {offset} of the line{hint}", .file.display())]
    BadEncoding {
        /// The file.
        file: PathBuf,
        /// The line.
        line: u64,
        /// Byte offset in the line.
        offset: usize,
        /// The byte.
        byte: u8,
        /// The encoding asked for.
        expected: &'static str,
        /// What would work, starting with `; `, or nothing.
        hint: String,
    },
    /// XML that can't be parsed.
    #[error("{}:{line}: not well-formed XML: {message}", .file.display())]
    Xml {
        /// The file.
        file: PathBuf,
        /// The line.
        line: u64,
        /// What the parser said.
        message: String,
    },
    /// JSON that can't be parsed or has another shape.
    #[error("{}:{line}:{column}: {message}", .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// TOML that can't be parsed or has another shape.
    #[error("{}:{line}: {message}", .file.display())]
    Toml {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Parquet that can't be read or written.
    #[error("{}: Parquet: {message}", .file.display())]
    Parquet {
        /// The file.
        file: PathBuf,
        /// What the reader said.
        message: String,
    },
    /// The source has no text in this language.
    #[error("{}: no text in `{language}`; available: {}", .file.display(), codes(.available))]
    MissingLanguage {
        /// The file, or the name of the corpus.
        file: PathBuf,
        /// The language asked for.
        language: Language,
        /// The languages that exist.
        available: Vec<Language>,
    },
    /// The language of the file can't be told.
    #[error("{}: can't tell the language ({reason}); name exactly one language (--language)", .file.display())]
    UnknownLanguage {
        /// The file.
        file: PathBuf,
        /// What was looked at.
        reason: String,
    },
    /// A file that another one is read together with isn't there.
    #[error("{}: needs `{companion}` next to it: {reason}", .file.display())]
    MissingCompanion {
        /// The file.
        file: PathBuf,
        /// The file name looked for.
        companion: String,
        /// Why.
        reason: String,
    },
    /// Line-aligned files of different length.
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
        /// Rows by language.
        counts: Vec<(Language, usize)>,
    },
    /// Nothing is left.
    #[error("{}: no usable row ({read} read, {skipped} left out)", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// Rows read.
        read: u64,
        /// Rows left out.
        skipped: u64,
    },
    /// Fewer rows than asked for.
    #[error("{wanted} rows wanted, {available} available")]
    NotEnoughRows {
        /// Rows asked for.
        wanted: usize,
        /// Rows that exist.
        available: usize,
    },
    /// An attribute list that can't be used.
    #[error("attribute list {language}/{category}: {message}")]
    BadAttributes {
        /// Its language.
        language: Language,
        /// Its category.
        category: String,
        /// What is wrong.
        message: String,
    },
    /// An attribute list matched no sentence.
    #[error("attribute list {language}/{category}: none of its {} words ({}) occurs in any of the {sentences} sentences; are both in {language}?", .words.len(), first_words(.words))]
    NoMatches {
        /// Its language.
        language: Language,
        /// Its category.
        category: String,
        /// Sentences searched.
        sentences: usize,
        /// Every word with the number of sentences it was found in.
        words: Vec<(String, usize)>,
    },
    /// A manifest that can't be used.
    #[error("{}: {message}", .file.display())]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// What is wrong, with key and line where known.
        message: String,
    },
    /// The server answered with an error.
    #[error("{url}: the server answered {status}{hint}")]
    Http {
        /// The address.
        url: String,
        /// The status code.
        status: u16,
        /// What to do, starting with `: `, or nothing.
        hint: String,
    },
    /// The server can't be reached.
    #[error("{url}: can't reach the server ({message}); check the network, or put the file into {} by hand", .target.display())]
    Offline {
        /// The address.
        url: String,
        /// Where the file would have gone.
        target: PathBuf,
        /// What the client said.
        message: String,
    },
    /// The transfer ended early; the part that came is kept.
    #[error(
        "{url}: the transfer ended after {received} of {expected} bytes; run the same command again to resume"
    )]
    Truncated {
        /// The address.
        url: String,
        /// Bytes on disk.
        received: u64,
        /// Bytes of the whole file.
        expected: u64,
    },
    /// Too little of a file came for too long.
    #[error(
        "{url}: given up, for {message}; what came is kept, and the same command goes on from there"
    )]
    TooSlow {
        /// The address.
        url: String,
        /// How little came in which time.
        message: String,
    },
    /// Something that is not the file wanted has its name.
    #[error("{}: {problem}; move it away, or replace a file with --force", .file.display())]
    OtherFile {
        /// What is there.
        file: PathBuf,
        /// How it is not what is wanted.
        problem: String,
    },
    /// A file is to be downloaded by a program without a client for HTTP.
    #[error("{url}: this program was built without the feature `download`; build it with that feature, or put the file into {} by hand", .target.display())]
    NoDownload {
        /// The address.
        url: String,
        /// Where the file would have gone.
        target: PathBuf,
    },
    /// The bytes are not those of the manifest.
    #[error("{}: sha256 is {actual}, the manifest says {expected} ({url}): the file changed upstream or the transfer was altered; the copy was removed", .file.display())]
    HashMismatch {
        /// The file.
        file: PathBuf,
        /// Where it came from.
        url: String,
        /// The hash of the manifest.
        expected: String,
        /// The hash of the bytes.
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
