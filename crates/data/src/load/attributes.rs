//! Attribute word lists: JSON `{"gender": [["he", "she"], …], "race": [[…, …, …], …]}`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::{canonical_category, file_name, write_atomically};
use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{Limits, read_small};
use crate::iso::language_of;
use crate::language::Language;
use crate::types::AttributeList;

/// The largest list file.
const MOST: u64 = 64 << 20;

/// Options of [`load_attributes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeOptions {
    /// The language of the words; `None` if it is to be taken from a file name like `words_de.json`. A file whose
    /// name holds no language, such as `bias_attribute_words.json`, is taken for English, as its authors meant it.
    pub language: Option<Language>,
    /// How to treat tuples that can't be used because of identical words, an empty word or a wrong number of words.
    pub on_bad_row: OnBadRow,
    /// The limits on the size of the file and its parts.
    pub limits: Limits,
}

impl AttributeOptions {
    /// Makes options that take the language from the file's name.
    pub fn new(on_bad_row: OnBadRow) -> Self {
        AttributeOptions {
            language: None,
            on_bad_row,
            limits: Limits::default(),
        }
    }
}

/// Reads all lists of a file. Spaces around a word are cut off and repeated tuples are dropped; the report lists each
/// case.
///
/// # Errors
/// Any [`DataError`]; a bad tuple is named by its key, such as `gender[23]`.
pub fn load_attributes(
    path: &Path,
    options: &AttributeOptions,
) -> Result<(Vec<AttributeList>, Report), DataError> {
    let bytes = read_small(path, options.limits, MOST)?;
    let text: BTreeMap<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|e| super::translation_json::json_error(path, &e))?;
    let language = match options.language {
        Some(language) => language,
        None => language_from_name(path)?,
    };
    let mut report = Report::default();
    let mut lists = Vec::new();
    for (key, tuples) in &text {
        let rows = read_rows(path, key, tuples, options.on_bad_row, &mut report)?;
        let Some(first) = rows.first() else {
            return Err(DataError::BadAttributes {
                language,
                category: key.clone(),
                message: format!("{} has no usable tuple under this key", path.display()),
            });
        };
        let category = canonical_category(key).to_owned();
        let groups = group_names(&category, first.len());
        lists.push(AttributeList {
            language,
            category,
            groups,
            rows,
        });
    }
    if lists.is_empty() {
        return Err(DataError::Empty {
            file: path.to_owned(),
            read: 0,
            skipped: 0,
        });
    }
    Ok((lists, report))
}

/// Writes lists in the same format. They must be of one language.
///
/// # Errors
/// The file can't be written.
pub fn write_attributes(path: &Path, lists: &[AttributeList]) -> Result<(), DataError> {
    let map: BTreeMap<&str, &Vec<Vec<String>>> = lists
        .iter()
        .map(|l| (l.category.as_str(), &l.rows))
        .collect();
    let mut bytes = serde_json::to_vec_pretty(&map)
        .map_err(|e| super::translation_json::json_error(path, &e))?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

fn read_rows(
    path: &Path,
    key: &str,
    tuples: &Value,
    policy: OnBadRow,
    report: &mut Report,
) -> Result<Vec<Vec<String>>, DataError> {
    let bad = |place: String, kind, message: String| BadRow {
        line: None,
        column: Some(place),
        kind,
        message,
    };
    let Some(tuples) = tuples.as_array() else {
        let message = "a list of tuples of words is expected here".to_owned();
        report.bad_row(
            OnBadRow::Error,
            path,
            bad(key.to_owned(), FindingKind::BadValue, message),
        )?;
        return Ok(Vec::new());
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut seen: HashSet<Vec<String>> = HashSet::new();
    for (i, tuple) in tuples.iter().enumerate() {
        report.rows_read += 1;
        let place = format!("{key}[{i}]");
        let words: Option<Vec<&str>> = tuple
            .as_array()
            .and_then(|t| t.iter().map(Value::as_str).collect());
        let Some(words) = words.filter(|w| w.len() >= 2) else {
            let message = "not a list of two or more words".to_owned();
            report.bad_row(policy, path, bad(place, FindingKind::BadValue, message))?;
            continue;
        };
        let mut row = Vec::with_capacity(words.len());
        for word in words {
            if word.trim() != word {
                report.note(
                    path,
                    None,
                    FindingKind::Trimmed,
                    format!("{place}: `{word}`"),
                );
            }
            row.push(word.trim().to_owned());
        }
        let fault = if row.iter().any(String::is_empty) {
            Some((FindingKind::EmptyCell, "an empty word".to_owned()))
        } else if rows.first().is_some_and(|first| first.len() != row.len()) {
            Some((
                FindingKind::FieldCount,
                format!("{} words, the first tuple has {}", row.len(), rows[0].len()),
            ))
        } else if row
            .iter()
            .map(|w| w.to_lowercase())
            .collect::<HashSet<_>>()
            .len()
            < row.len()
        {
            Some((
                FindingKind::IdenticalPair,
                format!("{row:?} names two groups by the same word"),
            ))
        } else {
            None
        };
        if let Some((kind, message)) = fault {
            report.bad_row(policy, path, bad(place, kind, message))?;
        } else if seen.insert(row.clone()) {
            rows.push(row);
        } else {
            report.rows_skipped += 1;
            report.note(
                path,
                None,
                FindingKind::Duplicate,
                format!("{place}: {row:?} was listed before"),
            );
        }
    }
    Ok(rows)
}

/// The order of the groups in the published lists; for other shapes, plain numbers.
fn group_names(category: &str, count: usize) -> Vec<String> {
    let names: &[&str] = match (category, count) {
        ("gender", 2) => &["male", "female"],
        ("race-color", 3) => &["black", "white", "asian"],
        ("religion", 3) => &["jewish", "christian", "muslim"],
        _ => return (0..count).map(|i| format!("group{i}")).collect(),
    };
    names.iter().map(|n| n.to_string()).collect()
}

fn language_from_name(path: &Path) -> Result<Language, DataError> {
    let name = file_name(path);
    let stem = name.split('.').next().unwrap_or_default();
    if stem == "bias_attribute_words" {
        return Ok(Language::EN);
    }
    stem.rsplit(['_', '-'])
        .next()
        .and_then(language_of)
        .ok_or_else(|| DataError::UnknownLanguage {
            file: path.to_owned(),
            reason: "the name doesn't end in a language code, as in `words_de.json`".to_owned(),
        })
}
