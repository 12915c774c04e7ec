//! Loads the samples of Reusens et al. 2023: four languages, three seeds, and 120 pairs in each file.
//!
//! The English files have no id, the German `index` is wrong in two blocks of seed 0, and the French rows of seed 0
//! are in another order. English, German and Dutch agree row by row, and the Dutch index is right. So these three are
//! joined by row and take the Dutch index, and French is joined by its own index.
//!
//! # Source
//! Reusens et al. 2023, arXiv 2310.10310.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::crows_original::load_table;
use super::delimited::{Record, Records};
use super::{BiasOptions, canonical_category, choose, direction, entries, file_name, push_pair};
use crate::error::{BadRow, DataError, FindingKind, Report};
use crate::input::{TextEncoding, open};
use crate::iso::language_of;
use crate::language::Language;
use crate::types::{BiasPair, BiasSet, Direction};

const PREFIX: &str = "crows_pairs_anonymized_";

pub(crate) fn load(path: &Path, options: &BiasOptions) -> Result<(BiasSet, Report), DataError> {
    if let (false, None, [language]) = (
        path.is_dir(),
        parse_name(&file_name(path)),
        options.languages.as_slice(),
    ) {
        return load_table(path, *language, options);
    }
    let files: Vec<PathBuf> = if path.is_dir() {
        entries(path)?
    } else {
        vec![path.to_owned()]
    };
    let mut samples: Vec<(String, Language, PathBuf)> = Vec::new();
    for file in files {
        match parse_name(&file_name(&file)) {
            Some((language, seed)) => samples.push((seed, language, file)),
            None if path.is_dir() => {}
            None => {
                let reason = format!("the name isn't like `{PREFIX}de_s0.csv`");
                return Err(DataError::UnknownLanguage { file, reason });
            }
        }
    }
    samples.sort();
    let mut available: Vec<Language> = samples.iter().map(|s| s.1).collect();
    available.sort();
    available.dedup();
    let languages = choose(path, &options.languages, &available)?;
    let mut report = Report::default();
    let mut pairs = Vec::new();
    for language in languages {
        for (seed, _, file) in samples.iter().filter(|s| s.1 == language) {
            load_sample(file, language, seed, options, &mut report, &mut pairs)?;
        }
    }
    Ok((
        BiasSet {
            name: "reusens2023".to_owned(),
            pairs,
        },
        report,
    ))
}

/// `crows_pairs_anonymized_de_s0.csv` is language `de`, seed `s0`.
fn parse_name(name: &str) -> Option<(Language, String)> {
    let (code, seed) = name
        .strip_prefix(PREFIX)?
        .strip_suffix(".csv")?
        .split_once('_')?;
    Some((language_of(code)?, seed.to_owned()))
}

/// Position and identity of a pair in the Dutch sample.
struct Reference {
    index: String,
    direction: Direction,
    category: String,
}

fn load_sample(
    file: &Path,
    language: Language,
    seed: &str,
    options: &BiasOptions,
    report: &mut Report,
    pairs: &mut Vec<BiasPair>,
) -> Result<(), DataError> {
    let reference = reference(file, seed, options)?;
    let by_index: HashMap<&str, &Reference> =
        reference.iter().map(|r| (r.index.as_str(), r)).collect();
    let source = open(file, options.limits)?;
    let mut records = Records::new(source, b',', options.encoding.unwrap_or(TextEncoding::Utf8))?;
    let more = records.column("sent_more")?;
    let less = records.column("sent_less")?;
    let label = records.column("stereo_antistereo")?;
    let category = records.column("bias_type")?;
    let index = records.header.iter().position(|h| h == "index");
    let doubt = records.header.iter().position(|h| h == "applicable?");
    let mut row = 0;
    while let Some(record) = records.next_record()? {
        report.rows_read += 1;
        row += 1;
        let record = match record {
            Ok(record) => record,
            Err(bad) => {
                report.bad_row(options.on_bad_row, file, bad)?;
                continue;
            }
        };
        let own_index = index.map(|i| record.cells[i].trim());
        let found = if language == Language::FR {
            own_index.and_then(|i| by_index.get(i).copied())
        } else {
            reference.get(row - 1)
        };
        let Some(found) = found else {
            let message = format!(
                "row {row} (index {}) isn't in the Dutch sample",
                own_index.unwrap_or("none")
            );
            report.bad_row(
                options.on_bad_row,
                file,
                BadRow::new(record.line, "index", FindingKind::BadValue, message),
            )?;
            continue;
        };
        let label = match direction(&record.cells[label], record.line, "stereo_antistereo") {
            Ok(label) => label,
            Err(bad) => {
                report.bad_row(options.on_bad_row, file, bad)?;
                continue;
            }
        };
        note_differences(
            file,
            &record,
            own_index,
            found,
            label,
            canonical_category(&record.cells[category]),
            report,
        );
        if doubt.is_some_and(|d| !record.cells[d].trim().is_empty()) {
            let message =
                "the authors doubt that the stereotype applies in this culture".to_owned();
            report.note(file, Some(record.line), FindingKind::Note, message);
        }
        let pair = BiasPair {
            id: format!("{seed}/{}", found.index),
            language,
            category: found.category.clone(),
            direction: found.direction,
            more: record.cells[more].clone(),
            less: record.cells[less].clone(),
            planted: None,
            kind: None,
        };
        push_pair(pairs, report, options.on_bad_row, file, record.line, pair)?;
    }
    Ok(())
}

fn note_differences(
    file: &Path,
    record: &Record,
    own_index: Option<&str>,
    found: &Reference,
    label: Direction,
    category: &str,
    report: &mut Report,
) {
    if let Some(own) = own_index.filter(|own| *own != found.index) {
        let message = format!("index {own} in the file, {} by row", found.index);
        report.note(file, Some(record.line), FindingKind::IdReplaced, message);
    }
    if label != found.direction {
        let message = format!(
            "{label:?} in the file, {:?} in the Dutch sample",
            found.direction
        );
        report.note(file, Some(record.line), FindingKind::LabelReplaced, message);
    }
    if category != found.category {
        let message = format!(
            "category `{category}` in the file, `{}` in the Dutch sample",
            found.category
        );
        report.note(file, Some(record.line), FindingKind::Note, message);
    }
}

/// Reads index, label and category of the Dutch sample of the same seed.
fn reference(file: &Path, seed: &str, options: &BiasOptions) -> Result<Vec<Reference>, DataError> {
    let companion = format!("{PREFIX}nl_{seed}.csv");
    let dutch = file.with_file_name(&companion);
    if !dutch.is_file() {
        return Err(DataError::MissingCompanion {
            file: file.to_owned(),
            companion,
            reason: "the ids are taken from the Dutch sample, the only one whose index is right in every seed".to_owned(),
        });
    }
    let source = open(&dutch, options.limits)?;
    let mut records = Records::new(source, b',', options.encoding.unwrap_or(TextEncoding::Utf8))?;
    let index = records.column("index")?;
    let label = records.column("stereo_antistereo")?;
    let category = records.column("bias_type")?;
    let mut rows = Vec::new();
    while let Some(record) = records.next_record()? {
        // The others are matched to these rows by position, so none may be left out.
        let record = record
            .and_then(|r| direction(&r.cells[label], r.line, "stereo_antistereo").map(|d| (r, d)));
        let (record, direction) = record.map_err(|bad| DataError::BadRow {
            file: dutch.clone(),
            line: bad.line,
            column: bad.column,
            kind: bad.kind,
            message: bad.message,
        })?;
        rows.push(Reference {
            index: record.cells[index].trim().to_owned(),
            direction,
            category: canonical_category(&record.cells[category]).to_owned(),
        });
    }
    Ok(rows)
}
