//! Loads WEAT and SEAT tests: two target sets and two attribute sets of words or sentences, one test per file.
//!
//! A file holds one object: `{"targ1": {"category": "MaleNames", "examples": ["John", …]}, "targ2": …, "attr1": …,
//! "attr2": …}`. The published files are named `.jsonl`, although each is one object over many lines.
//!
//! # Source
//! WEAT: Caliskan et al. 2017, arXiv 1608.07187; SEAT: May et al. 2019, arXiv 1903.10561.

use std::collections::HashSet;
use std::path::Path;

use super::file_name;
use super::json::{Fields, bounded, jsonl_files};
use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{Limits, read_small};
use crate::language::Language;
use crate::types::{AssociationTest, WordSet};

/// The largest file of one test. The published ones have up to 34 KB.
const MOST_BYTES: u64 = 16 << 20;

/// Options of [`load_seat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatOptions {
    /// The language of the examples, which the files do not say.
    pub language: Language,
    /// How to treat tests that can't be used.
    pub on_bad_row: OnBadRow,
    /// The limits on the size of the file and its parts.
    pub limits: Limits,
}

impl SeatOptions {
    /// Makes options for English tests.
    pub fn new(on_bad_row: OnBadRow) -> Self {
        SeatOptions {
            language: Language::EN,
            on_bad_row,
            limits: Limits::default(),
        }
    }
}

/// Reads one test, or all `.jsonl` files of a folder in the order of their names; other files of the folder are
/// ignored.
///
/// Examples that come twice in a set are left out, and spaces around examples are cut off; the report lists each
/// case. Targets of unequal size, and an example that is in both targets or both attributes, are listed too, but the
/// test is kept. A test with an empty set can't be used.
///
/// # Errors
/// Any [`DataError`]; the error names the key of the fault, such as `attr1.examples[3]`.
pub fn load_seat(
    path: &Path,
    options: &SeatOptions,
) -> Result<(Vec<AssociationTest>, Report), DataError> {
    let mut report = Report::default();
    let mut tests = Vec::new();
    for file in jsonl_files(path)? {
        report.rows_read += 1;
        let bytes = read_small(&file, options.limits, MOST_BYTES)?;
        let value = bounded(&bytes).map_err(|e| super::translation_json::json_error(&file, &e))?;
        let read = Fields::new(&value, "", 1).and_then(|f| test(&f, &file, options, &mut report));
        match read {
            Ok(test) => tests.push(test),
            // The line is that of the whole object, so it says nothing.
            Err(bad) => report.bad_row(options.on_bad_row, &file, BadRow { line: None, ..bad })?,
        }
    }
    if tests.is_empty() {
        return Err(DataError::Empty {
            file: path.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        });
    }
    Ok((tests, report))
}

fn test(
    fields: &Fields,
    file: &Path,
    options: &SeatOptions,
    report: &mut Report,
) -> Result<AssociationTest, BadRow> {
    let mut set = |key: &str| set(&fields.object(key)?, file, report);
    let targets = [set("targ1")?, set("targ2")?];
    let attributes = [set("attr1")?, set("attr2")?];
    if targets[0].examples.len() != targets[1].examples.len() {
        let message = format!(
            "{} examples of {}, {} of {}: the permutation test keeps these sizes",
            targets[0].examples.len(),
            targets[0].category,
            targets[1].examples.len(),
            targets[1].category
        );
        report.note(file, None, FindingKind::Note, message);
    }
    for [left, right] in [&targets, &attributes] {
        let known: HashSet<&String> = left.examples.iter().collect();
        for both in right.examples.iter().filter(|e| known.contains(e)) {
            let message = format!(
                "`{both}` stands for {} and {}",
                left.category, right.category
            );
            report.note(file, None, FindingKind::Duplicate, message);
        }
    }
    let name = file_name(file);
    Ok(AssociationTest {
        name: name.strip_suffix(".jsonl").unwrap_or(&name).to_owned(),
        language: options.language,
        targets,
        attributes,
    })
}

fn set(fields: &Fields, file: &Path, report: &mut Report) -> Result<WordSet, BadRow> {
    let category = fields.text("category")?.to_owned();
    let mut examples = Vec::new();
    let mut known = HashSet::new();
    for (i, example) in fields.list("examples")?.iter().enumerate() {
        let key = format!("examples[{i}]");
        let Some(text) = example.as_str() else {
            return Err(fields.wrong(&key, example, "text"));
        };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(fields.bad(&key, FindingKind::EmptyCell, "no text"));
        }
        if trimmed.len() != text.len() {
            let message = format!("{}: `{text}`", fields.at(&key));
            report.note(file, None, FindingKind::Trimmed, message);
        }
        if known.insert(trimmed) {
            examples.push(trimmed.to_owned());
        } else {
            let message = format!("{}: `{trimmed}` was listed before", fields.at(&key));
            report.note(file, None, FindingKind::Duplicate, message);
        }
    }
    if examples.is_empty() {
        return Err(fields.bad("examples", FindingKind::EmptyCell, "an empty set"));
    }
    Ok(WordSet { category, examples })
}
