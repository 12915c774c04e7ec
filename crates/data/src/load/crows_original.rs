//! The original English CrowS-Pairs.
//!
//! # Source
//! Nangia et al. 2020, arXiv 2010.00133.

use std::path::Path;

use super::delimited::Records;
use super::{BiasOptions, canonical_category, choose, direction, push_pair};
use crate::error::{DataError, FindingKind, Report};
use crate::input::{TextEncoding, open};
use crate::language::Language;
use crate::types::{BiasPair, BiasSet};

pub(crate) fn load(path: &Path, options: &BiasOptions) -> Result<(BiasSet, Report), DataError> {
    choose(path, &options.languages, &[Language::EN])?;
    let mut report = Report::default();
    let source = open(path, options.limits)?;
    let encoding = options.encoding.unwrap_or(TextEncoding::Utf8);
    let pairs = read(
        path,
        Records::new(source, b',', encoding)?,
        Language::EN,
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

/// Reads the columns that all CrowS-Pairs files share. The id is column `id`, or the unnamed first one.
pub(crate) fn read(
    path: &Path,
    mut records: Records,
    language: Language,
    options: &BiasOptions,
    report: &mut Report,
) -> Result<Vec<BiasPair>, DataError> {
    let id = records
        .column("id")
        .or_else(|missing| records.column("").map_err(|_| missing))?;
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
            id: record.cells[id].trim().to_owned(),
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
