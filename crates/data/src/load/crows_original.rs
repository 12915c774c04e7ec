//! Loads the original English CrowS-Pairs, and tables with the same columns in any one language.
//!
//! # Source
//! Nangia et al. 2020, arXiv 2010.00133.

use std::path::Path;

use super::delimited::Records;
use super::{BiasOptions, canonical_category, choose, direction, file_name, push_pair};
use crate::error::{DataError, FindingKind, Report};
use crate::input::{TextEncoding, open};
use crate::language::Language;
use crate::types::{BiasPair, BiasSet};

pub(crate) fn load(path: &Path, options: &BiasOptions) -> Result<(BiasSet, Report), DataError> {
    let language = stated(path, options)?;
    let mut report = Report::default();
    let source = open(path, options.limits)?;
    let encoding = options.encoding.unwrap_or(TextEncoding::Utf8);
    let pairs = read(
        path,
        Records::new(source, b',', encoding)?,
        language,
        options,
        &mut report,
    )?;
    Ok((
        BiasSet {
            name: "crows-pairs".to_owned(),
            pairs,
        },
        report,
    ))
}

/// The language of a table that does not say it: the one that is asked for, English where none is.
fn stated(path: &Path, options: &BiasOptions) -> Result<Language, DataError> {
    match options.languages.as_slice() {
        [language] => Ok(*language),
        several => choose(path, several, &[Language::EN]).map(|_| Language::EN),
    }
}

/// Loads a table with the columns of CrowS-Pairs that belongs to no known collection. Its language is the one that
/// the caller gives, and its labels are taken as they are.
pub(crate) fn load_table(
    path: &Path,
    language: Language,
    options: &BiasOptions,
) -> Result<(BiasSet, Report), DataError> {
    let mut report = Report::default();
    let source = open(path, options.limits)?;
    let encoding = options.encoding.unwrap_or(TextEncoding::Utf8);
    let records = Records::new(source, b',', encoding)?;
    let pairs = read(path, records, language, options, &mut report)?;
    let name = file_name(path);
    let name = name.split('.').next().unwrap_or_default().to_owned();
    Ok((BiasSet { name, pairs }, report))
}

/// Reads the columns that all CrowS-Pairs files share. The id is taken from the column `id` or `index`, or from an
/// unnamed first column; if there is none, it is the number of the line.
pub(crate) fn read(
    path: &Path,
    mut records: Records,
    language: Language,
    options: &BiasOptions,
    report: &mut Report,
) -> Result<Vec<BiasPair>, DataError> {
    let mut names = ["id", "index", ""].into_iter();
    let id = names.find_map(|name| records.header.iter().position(|h| h == name));
    let more = records.column("sent_more")?;
    let less = records.column("sent_less")?;
    let label = records.column("stereo_antistereo")?;
    let category = records.column("bias_type")?;
    let mut pairs = Vec::new();
    let mut reencoded = 0u64;
    while let Some(record) = records.next_record()? {
        report.rows_read += 1;
        let record = match record {
            Ok(record) => record,
            Err(bad) => {
                report.bad_row(options.on_bad_row, path, bad)?;
                continue;
            }
        };
        reencoded += u64::from(record.reencoded);
        let direction = match direction(&record.cells[label], record.line, "stereo_antistereo") {
            Ok(direction) => direction,
            Err(bad) => {
                report.bad_row(options.on_bad_row, path, bad)?;
                continue;
            }
        };
        let pair = BiasPair {
            id: match id {
                Some(id) => record.cells[id].trim().to_owned(),
                None => record.line.to_string(),
            },
            language,
            category: canonical_category(&record.cells[category]).to_owned(),
            direction,
            more: record.cells[more].clone(),
            less: record.cells[less].clone(),
            planted: None,
            kind: None,
        };
        push_pair(
            &mut pairs,
            report,
            options.on_bad_row,
            path,
            record.line,
            pair,
        )?;
    }
    if reencoded > 0 {
        let message =
            format!("{reencoded} rows were decoded from Mac OS Roman, the others from UTF-8");
        report.note(path, None, FindingKind::Reencoded, message);
    }
    Ok(pairs)
}
