//! Reads the rows of each format into the table of a description.

use std::hash::BuildHasher;
use std::path::Path;

use serde_json::Value;

use super::DescribeOptions;
use super::table::{Accumulator, Table};
use crate::error::{DataError, FindingKind, OnBadRow};
use crate::input::{
    BOM, Limits, RawLines, TextEncoding, decode, head, mojibake, open, read_small, trim_eol,
};
use crate::language::Language;
use crate::load::delimited::Records;
use crate::load::{
    AttributeOptions, BbqOptions, BiasOptions, ChoiceOptions, Format, ParallelOptions, SeatOptions,
    StereoOptions, TemplateOptions, load_attributes, load_bbq, load_bias, load_choice,
    load_parallel, load_seat, load_stereoset, load_templates, ted_xml,
};
use crate::types::{Condition, Question, StereoKind, Triple};

pub(super) fn delimited(
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

pub(super) fn parallel(
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
pub(super) fn count_pairs(
    path: &Path,
    format: Option<Format>,
    options: &DescribeOptions,
    table: &mut Table,
) {
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

pub(super) fn bias(
    path: &Path,
    options: &DescribeOptions,
    table: &mut Table,
) -> Result<String, DataError> {
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

pub(super) fn stereoset(path: &Path, table: &mut Table) -> Result<String, DataError> {
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
pub(super) fn seat(path: &Path, table: &mut Table) -> Result<String, DataError> {
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

pub(super) fn bbq(path: &Path, table: &mut Table) -> Result<String, DataError> {
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

pub(super) fn choice(path: &Path, table: &mut Table) -> Result<String, DataError> {
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

pub(super) fn templates(path: &Path, table: &mut Table) -> Result<String, DataError> {
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
pub(super) fn talks(path: &Path, table: &mut Table) -> Result<String, DataError> {
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
pub(super) fn json(path: &Path, limits: Limits, table: &mut Table) -> Result<String, DataError> {
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
pub(super) fn unknown(
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
