//! Describes what a data file holds and what is wrong with it, before anything is computed from it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{DataError, FindingKind, OnBadRow, Report};
use crate::input::{
    BOM, Limits, RawLines, TextEncoding, decode, head, mojibake, open, read_small, trim_eol,
};
use crate::iso::language_of;
use crate::language::Language;
use crate::load::delimited::Records;
use crate::load::{
    AttributeOptions, BbqOptions, BiasOptions, ChoiceOptions, Format, ParallelOptions, SeatOptions,
    StereoOptions, TemplateOptions, load_attributes, load_bbq, load_bias, load_choice,
    load_parallel, load_seat, load_stereoset, load_templates, sniff, sniff::only_file, ted_xml,
};
pub use crate::scan::{Encoding, Lines};
use crate::types::{Condition, Question, StereoKind, Triple};

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

#[derive(Default)]
struct Table {
    columns: Vec<Accumulator>,
    rows: u64,
    seen: HashSet<u64>,
    duplicates: u64,
    hasher: RandomState,
    compared: Vec<(usize, usize, Lines)>,
    encoding: Encoding,
    report: Report,
    counts: BTreeMap<String, u64>,
    check_text: bool,
}

struct Accumulator {
    name: String,
    language: Option<Language>,
    chars: Vec<u32>,
    words: Vec<u32>,
    empty: Lines,
    blanks: Lines,
    seen: HashSet<u64>,
}

impl Table {
    fn header(&mut self, names: &[String]) {
        self.columns = names.iter().map(|n| Accumulator::new(n)).collect();
        for (i, left) in names.iter().enumerate() {
            for (j, right) in names.iter().enumerate().skip(i + 1) {
                let paired = left
                    .strip_suffix("more")
                    .is_some_and(|l| right.strip_suffix("less") == Some(l));
                let languages = self.columns[i].language.is_some()
                    && self.columns[j].language.is_some()
                    && language_of(left).is_some()
                    && language_of(right).is_some();
                if paired || languages {
                    self.compared.push((i, j, Lines::default()));
                }
            }
        }
    }

    fn row(&mut self, line: u64, cells: &[&str]) {
        self.rows += 1;
        let mut key = Vec::with_capacity(cells.len());
        for (cell, column) in cells.iter().zip(&mut self.columns) {
            let hash = self.hasher.hash_one(cell.trim());
            column.push(line, cell, hash);
            // A running number or an id would make every row unique.
            if !matches!(column.name.as_str(), "" | "id" | "index") && !column.name.ends_with("_id")
            {
                key.push(hash);
            }
        }
        if !key.is_empty() && !self.seen.insert(self.hasher.hash_one(key)) {
            self.duplicates += 1;
        }
        for (i, j, lines) in &mut self.compared {
            if let (Some(left), Some(right)) = (cells.get(*i), cells.get(*j))
                && !left.trim().is_empty()
                && left.trim() == right.trim()
            {
                lines.add(line);
            }
        }
        if self.check_text {
            if cells.iter().any(|c| c.contains('\u{fffd}')) {
                self.encoding.replacement.add(line);
            }
            if cells.iter().any(|c| mojibake(c).is_some()) {
                self.encoding.mojibake.add(line);
            }
        }
    }

    fn finish(self, path: &Path, format: String, bytes: u64) -> Description {
        let names: Vec<String> = self.columns.iter().map(|c| c.name.clone()).collect();
        let identical = self
            .compared
            .into_iter()
            .filter(|(_, _, lines)| lines.count > 0);
        Description {
            file: path.to_owned(),
            format,
            bytes,
            rows: self.rows,
            duplicate_rows: self.duplicates,
            identical: identical
                .map(|(i, j, rows)| Identical {
                    left: names[i].clone(),
                    right: names[j].clone(),
                    rows,
                })
                .collect(),
            columns: self.columns.into_iter().map(Accumulator::finish).collect(),
            encoding: self.encoding,
            report: self.report,
            counts: self.counts.into_iter().collect(),
        }
    }

    fn count(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }
}

impl Accumulator {
    fn new(name: &str) -> Self {
        let code = name
            .strip_suffix("_more")
            .or(name.strip_suffix("_less"))
            .unwrap_or(name);
        let language = if name == "id" {
            None
        } else {
            language_of(code)
        };
        Accumulator {
            name: name.to_owned(),
            language,
            chars: vec![],
            words: vec![],
            empty: Lines::default(),
            blanks: Lines::default(),
            seen: HashSet::new(),
        }
    }

    fn push(&mut self, line: u64, cell: &str, hash: u64) {
        if cell.trim().is_empty() {
            self.empty.add(line);
            return;
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.chars.push(count(cell.chars().count()));
        self.words.push(count(cell.split_whitespace().count()));
        // The sentences of pairs are scored as they are written.
        let scored = self.name.ends_with("more") || self.name.ends_with("less");
        if scored && cell.trim() != cell {
            self.blanks.add(line);
        }
        self.seen.insert(hash);
    }

    fn finish(self) -> ColumnStats {
        ColumnStats {
            name: self.name,
            language: self.language,
            filled: self.chars.len() as u64,
            empty: self.empty,
            blanks: self.blanks,
            distinct: self.seen.len() as u64,
            chars: quantiles(self.chars),
            words: quantiles(self.words),
        }
    }
}

fn quantiles(mut lengths: Vec<u32>) -> Quantiles {
    lengths.sort_unstable();
    let at = |share: f64| {
        let last = lengths.len().saturating_sub(1);
        lengths
            .get((share * last as f64).round() as usize)
            .copied()
            .unwrap_or(0)
    };
    Quantiles {
        min: at(0.0),
        p5: at(0.05),
        median: at(0.5),
        p95: at(0.95),
        max: at(1.0),
    }
}

fn is_binary(path: &Path) -> Result<bool, DataError> {
    let start = head(path, 512)?;
    Ok(start.starts_with(b"PK\x03\x04")
        || start.starts_with(b"PAR1")
        || start.get(257..262) == Some(b"ustar"))
}

fn delimited(
    path: &Path,
    delimiter: u8,
    encoding: TextEncoding,
    limits: Limits,
    table: &mut Table,
) -> Result<String, DataError> {
    let mut records = Records::new(open(path, limits)?, delimiter, encoding)?;
    table.header(&records.header.clone());
    while let Some(record) = records.next_record()? {
        table.report.rows_read += 1;
        match record {
            Ok(record) => {
                let cells: Vec<&str> = record.cells.iter().map(String::as_str).collect();
                table.row(record.line, &cells);
            }
            Err(bad) => table.report.bad_row(OnBadRow::Skip, path, bad)?,
        }
    }
    Ok(if delimiter == b'\t' {
        "table, tab-separated"
    } else {
        "table, comma-separated"
    }
    .to_owned())
}

fn parallel(
    path: &Path,
    format: Format,
    encoding: TextEncoding,
    table: &mut Table,
) -> Result<String, DataError> {
    let mut options = ParallelOptions::new(&[], OnBadRow::Skip);
    options.format = Some(format);
    options.encoding = Some(encoding);
    let (corpus, report) = load_parallel(path, &options)?;
    table.check_text = table.encoding.name.is_empty();
    table.header(
        &corpus
            .languages
            .iter()
            .map(|l| l.code().to_owned())
            .collect::<Vec<_>>(),
    );
    for i in 0..corpus.len() {
        let cells: Vec<&str> = corpus.columns.iter().map(|c| c[i].as_str()).collect();
        table.row(i as u64 + 1, &cells);
    }
    table.report = report;
    Ok(String::new())
}

/// What the loader of pairs is asked for.
fn bias_options(format: Option<Format>, options: &DescribeOptions) -> BiasOptions {
    let languages: Vec<Language> = options.language.into_iter().collect();
    BiasOptions {
        format,
        ..BiasOptions::new(&languages, OnBadRow::Skip)
    }
}

/// Counts the pairs of a table by language and category, as the loader reads them; a table that it
/// cannot read has no counts, and its faults are those of the table.
fn count_pairs(path: &Path, format: Option<Format>, options: &DescribeOptions, table: &mut Table) {
    match load_bias(path, &bias_options(format, options)) {
        Ok((set, _)) => {
            for pair in &set.pairs {
                table.count(format!("{} {}", pair.language, pair.category));
            }
        }
        Err(error) => {
            let message = format!("not readable as pairs: {error}");
            table.report.note(path, None, FindingKind::Note, message);
        }
    }
}

fn bias(path: &Path, options: &DescribeOptions, table: &mut Table) -> Result<String, DataError> {
    let (set, report) = load_bias(path, &bias_options(options.format, options))?;
    table.check_text = true;
    table.header(&["id", "language", "category", "more", "less"].map(str::to_owned));
    for (i, pair) in set.pairs.iter().enumerate() {
        table.count(format!("{} {}", pair.language, pair.category));
        table.row(
            i as u64 + 1,
            &[
                &pair.id,
                pair.language.code(),
                &pair.category,
                &pair.more,
                &pair.less,
            ],
        );
    }
    table.report = report;
    Ok(String::new())
}

fn stereoset(path: &Path, table: &mut Table) -> Result<String, DataError> {
    let (items, report) = load_stereoset(path, &StereoOptions::new(OnBadRow::Skip))?;
    let names = [
        "id",
        "target",
        "context",
        "stereotype",
        "antistereotype",
        "unrelated",
    ];
    table.header(&names.map(str::to_owned));
    for (i, item) in items.iter().enumerate() {
        let kind = match item.kind {
            StereoKind::Intrasentence => "intrasentence",
            StereoKind::Intersentence => "intersentence",
        };
        table.count(format!("{kind} {}", item.category));
        let Triple {
            stereotype,
            antistereotype,
            unrelated,
        } = &item.sentences;
        let cells: [&str; 6] = [
            &item.id,
            &item.target,
            &item.context,
            stereotype,
            antistereotype,
            unrelated,
        ];
        table.row(i as u64 + 1, &cells);
    }
    table.report = report;
    Ok(String::new())
}

/// The examples of each set on their own: the sets of a test needn't be of one size.
fn seat(path: &Path, table: &mut Table) -> Result<String, DataError> {
    let (tests, report) = load_seat(path, &SeatOptions::new(OnBadRow::Skip))?;
    table.header(&["targ1", "targ2", "attr1", "attr2"].map(str::to_owned));
    for (i, test) in tests.iter().enumerate() {
        let sets = test.targets.iter().chain(&test.attributes);
        for (column, set) in table.columns.iter_mut().zip(sets) {
            for example in &set.examples {
                column.push(i as u64 + 1, example, table.hasher.hash_one(example));
            }
        }
        for set in test.targets.iter().chain(&test.attributes) {
            let size = set.examples.len() as u64;
            *table
                .counts
                .entry(format!("{} {}", test.name, set.category))
                .or_default() += size;
        }
    }
    table.rows = tests.len() as u64;
    table.report = report;
    Ok(String::new())
}

fn bbq(path: &Path, table: &mut Table) -> Result<String, DataError> {
    let (questions, report) = match load_bbq(path, &BbqOptions::new(OnBadRow::Skip)) {
        // Without a language in the name no count by language can be told, but the texts can.
        Err(DataError::UnknownLanguage { .. }) if path.is_file() => {
            return json(path, Limits::default(), table);
        }
        loaded => loaded?,
    };
    table.header(&["id", "context", "question", "ans0", "ans1", "ans2"].map(str::to_owned));
    for (i, question) in questions.iter().enumerate() {
        let condition = match question.condition {
            Condition::Ambiguous => "ambiguous",
            Condition::Disambiguated => "disambiguated",
        };
        let (language, category) = (question.language, &question.category);
        let control = if question.control { " control" } else { "" };
        table.count(format!("{language} {category}{control} {condition}"));
        let [a, b, c] = &question.answers;
        let Question {
            id,
            context,
            question,
            ..
        } = question;
        table.row(i as u64 + 1, &[id, context, question, a, b, c]);
    }
    table.report = report;
    Ok(String::new())
}

fn choice(path: &Path, table: &mut Table) -> Result<String, DataError> {
    let (items, report) = load_choice(path, &ChoiceOptions::new(&[], OnBadRow::Skip))?;
    table.header(&["id", "prompt", "candidates"].map(str::to_owned));
    for (i, item) in items.iter().enumerate() {
        let category = item.category.as_deref().unwrap_or("no category");
        table.count(format!("{} {category}", item.language));
        let candidates = item.candidates.join(" | ");
        let cells = [&item.id, &item.prompt, &candidates];
        table.row(i as u64 + 1, &cells.map(String::as_str));
    }
    table.report = report;
    Ok(String::new())
}

fn templates(path: &Path, table: &mut Table) -> Result<String, DataError> {
    let (items, report) = load_templates(path, &TemplateOptions::new(&[], OnBadRow::Skip))?;
    table.header(&["id", "a", "b", "neutral_a", "neutral_b"].map(str::to_owned));
    for (i, item) in items.iter().enumerate() {
        table.count(format!("{} {}", item.language, item.category));
        let id = item.id();
        let cells = [&id, &item.a, &item.b, &item.neutral_a, &item.neutral_b];
        table.row(i as u64 + 1, &cells.map(String::as_str));
    }
    table.report = report;
    Ok(String::new())
}

/// The segments of each language on their own, because they needn't be aligned to be described.
fn talks(path: &Path, table: &mut Table) -> Result<String, DataError> {
    let sides = ted_xml::sides(path, &ParallelOptions::new(&[], OnBadRow::Skip))?;
    table.check_text = table.encoding.name.is_empty();
    table.header(
        &sides
            .keys()
            .map(|l| l.code().to_owned())
            .collect::<Vec<_>>(),
    );
    table.compared.clear();
    let longest = sides.values().map(Vec::len).max().unwrap_or(0);
    for (column, texts) in table.columns.iter_mut().zip(sides.values()) {
        for (i, text) in texts.iter().enumerate() {
            let hash = table.hasher.hash_one(text.trim());
            column.push(i as u64 + 1, text, hash);
            if table.check_text && (text.contains('\u{fffd}') || mojibake(text).is_some()) {
                table.encoding.mojibake.add(i as u64 + 1);
            }
        }
    }
    table.rows = longest as u64;
    Ok(String::new())
}

/// Strings of JSON lines by key, or of a JSON document by the key at its top.
fn json(path: &Path, limits: Limits, table: &mut Table) -> Result<String, DataError> {
    let first = RawLines::new(open(path, limits)?).next_line();
    let one_per_line = first.ok().flatten().is_some_and(|(_, l)| matches!(serde_json::from_slice(&l), Ok(Value::Object(m)) if m.values().any(Value::is_string)));
    if one_per_line {
        let mut lines = RawLines::new(open(path, limits)?);
        while let Some((line, bytes)) = lines.next_line()? {
            match serde_json::from_slice::<Value>(&bytes) {
                Ok(value) => object_row(table, line, &value),
                Err(_) if bytes.trim_ascii().is_empty() => {}
                Err(error) => {
                    let (file, kind) = (path.to_owned(), crate::error::FindingKind::BadValue);
                    table.report.rows_skipped += 1;
                    table
                        .report
                        .note(&file, Some(line), kind, error.to_string());
                }
            }
        }
        return Ok("JSON lines".to_owned());
    }
    let bytes = read_small(path, limits, 512 << 20)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| DataError::Json {
        file: path.to_owned(),
        line: e.line(),
        column: e.column(),
        message: e.to_string(),
    })?;
    match &value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                object_row(table, i as u64 + 1, item);
            }
        }
        Value::Object(map) => {
            // A word list has faults of its own. Its language doesn't matter for them; another shape isn't a fault.
            let options = AttributeOptions {
                language: Some(Language::EN),
                on_bad_row: OnBadRow::Skip,
                limits,
            };
            if let Ok((_, report)) = load_attributes(path, &options) {
                table.report = report;
            }
            for (key, value) in map {
                let mut texts = Vec::new();
                strings(value, &mut texts);
                let mut column = Accumulator::new(key);
                column.language = None;
                for (i, text) in texts.iter().enumerate() {
                    column.push(i as u64 + 1, text, table.hasher.hash_one(text.trim()));
                }
                table.rows += texts.len() as u64;
                table.columns.push(column);
            }
        }
        _ => {}
    }
    Ok("JSON".to_owned())
}

fn object_row(table: &mut Table, line: u64, value: &Value) {
    let Value::Object(map) = value else { return };
    let texts: Vec<(&str, &str)> = map
        .iter()
        .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
        .collect();
    if table.columns.is_empty() {
        table.header(&texts.iter().map(|(k, _)| k.to_string()).collect::<Vec<_>>());
    }
    let names: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    let cells: Vec<&str> = names
        .iter()
        .map(|n| {
            texts
                .iter()
                .find(|(k, _)| k == n)
                .map_or("", |(_, text)| *text)
        })
        .collect();
    table.row(line, &cells);
}

fn strings<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|v| strings(v, into)),
        Value::Object(map) => map.values().for_each(|v| strings(v, into)),
        _ => {}
    }
}

/// A file no loader knows: JSON, a table where the first line looks like a header, else plain lines.
fn unknown(
    path: &Path,
    encoding: TextEncoding,
    limits: Limits,
    table: &mut Table,
) -> Result<String, DataError> {
    let start = head(path, 1 << 16)?;
    let start = start.strip_prefix(BOM).unwrap_or(&start);
    if start.trim_ascii_start().starts_with(b"{") || start.trim_ascii_start().starts_with(b"[") {
        return json(path, limits, table);
    }
    let lines: Vec<&[u8]> = start.split(|b| *b == b'\n').take(3).collect();
    for delimiter in [b'\t', b','] {
        let cells: Vec<usize> = lines
            .iter()
            .filter(|l| !l.is_empty())
            .map(|l| l.split(|b| *b == delimiter).count())
            .collect();
        let header = cells.first().is_some_and(|n| *n >= 2) && !lines[0].contains(&b' ');
        if header && (delimiter == b'\t' || path.extension().is_some_and(|e| e == "csv")) {
            return delimited(path, delimiter, encoding, limits, table);
        }
    }
    table.header(&["line".to_owned()]);
    let mut lines = RawLines::new(open(path, limits)?);
    while let Some((line, bytes)) = lines.next_line()? {
        table.report.rows_read += 1;
        match decode(trim_eol(&bytes), encoding) {
            Ok((text, _)) => table.row(line, &[&text]),
            Err(_) => table.report.rows_skipped += 1,
        }
    }
    Ok("plain lines".to_owned())
}
