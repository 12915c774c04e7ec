//! Loads JSON translations: an array or lines of `{"translation": {"de": "…", "en": "…"}}`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Builder, ParallelOptions, choose};
use crate::error::{BadRow, DataError, FindingKind, Report};
use crate::input::{RawLines, Source, open, read_small};
use crate::iso::column_language;
use crate::language::Language;
use crate::types::ParallelCorpus;

/// The largest JSON array, which unlike JSON lines can't be read piece by piece.
const MOST: u64 = 512 << 20;

#[derive(Deserialize)]
struct Entry {
    translation: BTreeMap<String, Option<String>>,
}

pub(crate) fn load(
    path: &Path,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let start = crate::input::head(path, 4096)?;
    let is_array = start
        .iter()
        .find(|b| !b.is_ascii_whitespace() && !crate::input::BOM.contains(b))
        == Some(&b'[');
    if is_array {
        let bytes = read_small(path, options.limits, MOST)?;
        let entries: Vec<Entry> =
            serde_json::from_slice(&bytes).map_err(|e| json_error(path, &e))?;
        let mut builder = None;
        for (i, entry) in entries.into_iter().enumerate() {
            if !add(path, i as u64 + 1, entry, options, &mut builder)? {
                break;
            }
        }
        return finish(path, builder);
    }
    lines(open(path, options.limits)?, path, options)
}

fn lines(
    source: Source,
    path: &Path,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let mut lines = RawLines::new(source);
    let mut builder = None;
    let mut early = Report::default();
    while let Some((line, bytes)) = lines.next_line()? {
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Entry>(&bytes) {
            Ok(entry) => {
                if !add(path, line, entry, options, &mut builder)? {
                    break;
                }
            }
            Err(error) => {
                let bad = BadRow {
                    line: Some(line),
                    column: None,
                    kind: FindingKind::BadValue,
                    message: error.to_string(),
                };
                let report = builder
                    .as_mut()
                    .map_or(&mut early, |b: &mut Builder| &mut b.report);
                report.bad_row(options.on_bad_row, path, bad)?;
            }
        }
    }
    let (corpus, mut report) = finish(path, builder)?;
    early.merge(std::mem::take(&mut report));
    Ok((corpus, early))
}

/// Adds an entry; the first one decides which languages the file has.
fn add(
    path: &Path,
    number: u64,
    entry: Entry,
    options: &ParallelOptions,
    builder: &mut Option<Builder>,
) -> Result<bool, DataError> {
    let cells: Vec<(Language, String)> = entry
        .translation
        .into_iter()
        .filter_map(|(code, text)| {
            Some((
                column_language(&code, &options.languages)?,
                text.unwrap_or_default(),
            ))
        })
        .collect();
    if builder.is_none() {
        let mut available: Vec<Language> = cells.iter().map(|(l, _)| *l).collect();
        available.sort_by_key(|l| (*l != Language::EN, *l));
        let languages = choose(path, &options.languages, &available)?;
        *builder = Some(Builder::new(languages, options.on_bad_row, options.limit));
    }
    let Some(builder) = builder else {
        return Ok(false);
    };
    if builder.full() {
        return Ok(false);
    }
    let texts: Vec<&str> = builder
        .corpus
        .languages
        .iter()
        .map(|l| {
            cells
                .iter()
                .find(|(c, _)| c == l)
                .map_or("", |(_, text)| text.as_str())
        })
        .collect();
    builder.push(path, number, number.to_string(), &texts)?;
    Ok(true)
}

fn finish(path: &Path, builder: Option<Builder>) -> Result<(ParallelCorpus, Report), DataError> {
    match builder {
        Some(builder) => Ok(builder.finish()),
        None => Err(DataError::Empty {
            file: path.to_owned(),
            read: 0,
            skipped: 0,
        }),
    }
}

pub(crate) fn json_error(path: &Path, error: &serde_json::Error) -> DataError {
    DataError::Json {
        file: path.to_owned(),
        line: error.line(),
        column: error.column(),
        message: error.to_string(),
    }
}
