//! This project's own format of bias pairs: the fields of [`BiasPair`] as JSON lines or CSV.

use std::path::Path;

use super::delimited::{Records, write_record};
use super::{BiasOptions, Format, choose, direction, file_name, push_pair, write_atomically};
use crate::error::{BadRow, DataError, FindingKind, Report};
use crate::input::{RawLines, TextEncoding, open};
use crate::language::Language;
use crate::types::{BiasPair, BiasSet, Direction, PairKind};

const COLUMNS: [&str; 8] = [
    "id",
    "language",
    "category",
    "direction",
    "more",
    "less",
    "planted",
    "kind",
];

pub(crate) fn load(
    path: &Path,
    format: Format,
    options: &BiasOptions,
) -> Result<(BiasSet, Report), DataError> {
    let mut report = Report::default();
    let mut pairs = match format {
        Format::PairsJsonl => read_jsonl(path, options, &mut report)?,
        _ => read_csv(path, options, &mut report)?,
    };
    let mut available: Vec<Language> = pairs.iter().map(|p| p.language).collect();
    available.sort();
    available.dedup();
    let languages = choose(path, &options.languages, &available)?;
    pairs.retain(|p| languages.contains(&p.language));
    let name = file_name(path)
        .split('.')
        .next()
        .unwrap_or_default()
        .to_owned();
    Ok((BiasSet { name, pairs }, report))
}

fn read_jsonl(
    path: &Path,
    options: &BiasOptions,
    report: &mut Report,
) -> Result<Vec<BiasPair>, DataError> {
    let mut lines = RawLines::new(open(path, options.limits)?);
    let mut pairs = Vec::new();
    while let Some((line, bytes)) = lines.next_line()? {
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        report.rows_read += 1;
        match serde_json::from_slice::<BiasPair>(&bytes) {
            Ok(pair) => push_pair(&mut pairs, report, options.on_bad_row, path, line, pair)?,
            Err(error) => {
                let bad = BadRow {
                    line: Some(line),
                    column: None,
                    kind: FindingKind::BadValue,
                    message: error.to_string(),
                };
                report.bad_row(options.on_bad_row, path, bad)?;
            }
        }
    }
    Ok(pairs)
}

fn read_csv(
    path: &Path,
    options: &BiasOptions,
    report: &mut Report,
) -> Result<Vec<BiasPair>, DataError> {
    let source = open(path, options.limits)?;
    let mut records = Records::new(source, b',', options.encoding.unwrap_or(TextEncoding::Utf8))?;
    let mut at = [0; COLUMNS.len() - 1];
    for (at, name) in at.iter_mut().zip(COLUMNS) {
        *at = records.column(name)?;
    }
    // Files of earlier versions have no kind.
    let kind_at = records.column(COLUMNS[7]).ok();
    let mut pairs = Vec::new();
    while let Some(record) = records.next_record()? {
        report.rows_read += 1;
        let parsed = record.and_then(|record| {
            let cell = |i: usize| record.cells[at[i]].as_str();
            let bad = |i: usize, message| {
                BadRow::new(record.line, COLUMNS[i], FindingKind::BadValue, message)
            };
            let planted = match cell(6) {
                "" => None,
                text => Some(
                    text.parse()
                        .map_err(|_| bad(6, format!("`{text}` is no number")))?,
                ),
            };
            let kind = match kind_at.map(|at| record.cells[at].as_str()) {
                None | Some("") => None,
                Some(text) => Some(kind(text).ok_or_else(|| bad(7, bad_kind(text)))?),
            };
            let pair = BiasPair {
                id: cell(0).to_owned(),
                language: cell(1)
                    .parse()
                    .map_err(|e: crate::language::BadLanguage| bad(1, e.to_string()))?,
                category: cell(2).to_owned(),
                direction: direction(cell(3), record.line, COLUMNS[3])?,
                more: cell(4).to_owned(),
                less: cell(5).to_owned(),
                planted,
                kind,
            };
            Ok((record.line, pair))
        });
        match parsed {
            Ok((line, pair)) => {
                push_pair(&mut pairs, report, options.on_bad_row, path, line, pair)?
            }
            Err(bad) => report.bad_row(options.on_bad_row, path, bad)?,
        }
    }
    Ok(pairs)
}

fn kind(text: &str) -> Option<PairKind> {
    PairKind::ALL.into_iter().find(|k| k.name() == text)
}

fn bad_kind(text: &str) -> String {
    let known = PairKind::ALL.map(PairKind::name).join(", ");
    format!("`{text}` is no kind of pair: {known}, or empty")
}

/// Writes pairs as JSON lines.
///
/// # Errors
/// A file that can't be written.
pub fn write_pairs_jsonl(path: &Path, pairs: &[BiasPair]) -> Result<(), DataError> {
    let mut bytes = Vec::new();
    for pair in pairs {
        serde_json::to_writer(&mut bytes, pair)
            .map_err(|e| super::translation_json::json_error(path, &e))?;
        bytes.push(b'\n');
    }
    write_atomically(path, &bytes)
}

/// Writes pairs as CSV with a header.
///
/// # Errors
/// A file that can't be written.
pub fn write_pairs_csv(path: &Path, pairs: &[BiasPair]) -> Result<(), DataError> {
    let mut text = write_record(COLUMNS, ',', false);
    for pair in pairs {
        let planted = pair.planted.map(|p| p.to_string()).unwrap_or_default();
        let direction = match pair.direction {
            Direction::Stereo => "stereo",
            Direction::Antistereo => "antistereo",
        };
        let cells = [
            pair.id.as_str(),
            pair.language.code(),
            &pair.category,
            direction,
            &pair.more,
            &pair.less,
            planted.as_str(),
            pair.kind.map_or("", PairKind::name),
        ];
        text.push_str(&write_record(cells, ',', false));
    }
    write_atomically(path, text.as_bytes())
}
