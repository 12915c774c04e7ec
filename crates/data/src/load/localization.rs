//! Choices that depend on where somebody lives: the country is named, or the language alone tells it.
//!
//! # Source
//! Veselovsky et al., "Localized Cultural Knowledge is Conserved and Controllable in Large Language Models" (arXiv 2504.10191), the
//! table of five options, one for each country: columns `lang`, `context`, `idx`, `subtask`, `question`, and `option_us`, `option_fr`,
//! `option_ru`, `option_tr`, `option_bn`. The gold is the option of the country whose language the question is in.
//!
//! In the published table the English rows of `names` ask in which city somebody lives, and offer names. Rows of another subtask with the question
//! of `cities` are left out, and the report says how many.

use std::collections::HashSet;
use std::path::Path;

use super::choice::{ChoiceOptions, MOST_ITEMS};
use super::choose;
use super::delimited::{Record, Records};
use crate::error::{BadRow, DataError, FindingKind, Report};
use crate::input::{TextEncoding, open};
use crate::language::Language;
use crate::types::ChoiceItem;

/// Columns that are read, the options last.
const COLUMNS: [&str; 10] = [
    "lang",
    "context",
    "idx",
    "subtask",
    "question",
    "option_us",
    "option_fr",
    "option_ru",
    "option_tr",
    "option_bn",
];
/// Where the options begin.
const OPTIONS: usize = 5;
/// Languages as the table names them, in the order of the options, with their codes.
const LANGUAGES: [(&str, &str); 5] = [
    ("English", "en"),
    ("French", "fr"),
    ("Russian", "ru"),
    ("Turkish", "tr"),
    ("Bengali", "bn"),
];
/// The subtask whose question no other may have.
const CITIES: &str = "cities";

/// A row as it stands in the table.
struct Row {
    item: ChoiceItem,
    subtask: String,
    /// Whether the question names the country.
    named: bool,
}

/// Reads the table: the items whose questions name the country where `named`, else the same without it. Of the subtasks `subtasks`,
/// of all where there is none.
///
/// # Errors
/// Any [`DataError`]: a language or a value of `context` that the table does not have, options that are empty or the same
/// string, a subtask without items.
pub fn load_localization(
    path: &Path,
    named: bool,
    subtasks: &[String],
    options: &ChoiceOptions,
) -> Result<(Vec<ChoiceItem>, Report), DataError> {
    let (rows, mut report) = rows(path, options)?;
    let mut available: Vec<Language> = rows.iter().map(|row| row.item.language).collect();
    available.sort();
    available.dedup();
    let wanted = choose(path, &options.languages, &available)?;
    let known: HashSet<&str> = rows.iter().map(|row| row.subtask.as_str()).collect();
    if let Some(missing) = subtasks.iter().find(|s| !known.contains(s.as_str())) {
        let mut known: Vec<&str> = known.into_iter().collect();
        known.sort_unstable();
        return Err(DataError::BadRow {
            file: path.to_owned(),
            line: None,
            column: Some("subtask".to_owned()),
            kind: FindingKind::BadValue,
            message: format!("no row of `{missing}`; there are: {}", known.join(", ")),
        });
    }
    let of_cities: HashSet<String> = rows
        .iter()
        .filter(|row| row.subtask == CITIES)
        .map(|row| row.item.prompt.clone())
        .collect();
    let mut strange = 0;
    let mut items = Vec::new();
    for row in rows {
        let is_wanted = subtasks.is_empty() || subtasks.contains(&row.subtask);
        if row.named != named || !is_wanted || !wanted.contains(&row.item.language) {
            continue;
        }
        if row.subtask != CITIES && of_cities.contains(&row.item.prompt) {
            strange += 1;
            continue;
        }
        items.push(row.item);
    }
    if strange > 0 {
        let message = format!(
            "{strange} rows left out: they ask the question of `{CITIES}` and offer something else"
        );
        report.note(path, None, FindingKind::Note, message);
    }
    match items.is_empty() {
        true => Err(DataError::Empty {
            file: path.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        }),
        false => Ok((items, report)),
    }
}

fn rows(path: &Path, options: &ChoiceOptions) -> Result<(Vec<Row>, Report), DataError> {
    let mut records = Records::new(open(path, options.limits)?, b',', TextEncoding::Utf8)?;
    let mut at = [0; COLUMNS.len()];
    for (at, name) in at.iter_mut().zip(COLUMNS) {
        *at = records.column(name)?;
    }
    let (mut rows, mut report) = (Vec::new(), Report::default());
    let mut ids = HashSet::new();
    while let Some(record) = records.next_record()? {
        report.rows_read += 1;
        if rows.len() >= MOST_ITEMS {
            return Err(DataError::TooLarge {
                file: path.to_owned(),
                line: record.ok().map(|record| record.line),
                what: "the number of rows",
                limit: MOST_ITEMS as u64,
            });
        }
        let row = record.and_then(|record| {
            let row = row(&record, at)?;
            match ids.insert(row.item.id.clone()) {
                true => Ok(row),
                false => {
                    let message = format!("`{}` stands before", row.item.id);
                    Err(BadRow::new(
                        record.line,
                        "idx",
                        FindingKind::Duplicate,
                        message,
                    ))
                }
            }
        });
        match row {
            Ok(row) => rows.push(row),
            Err(bad) => report.bad_row(options.on_bad_row, path, bad)?,
        }
    }
    Ok((rows, report))
}

fn row(record: &Record, at: [usize; COLUMNS.len()]) -> Result<Row, BadRow> {
    let cells = at.map(|at| record.cells[at].trim());
    let bad = |column: usize, kind, message: String| {
        BadRow::new(record.line, COLUMNS[column], kind, message)
    };
    if let Some(empty) = cells.iter().position(|cell| cell.is_empty()) {
        return Err(bad(empty, FindingKind::EmptyCell, "no text".to_owned()));
    }
    let Some(gold) = LANGUAGES.iter().position(|(name, _)| *name == cells[0]) else {
        let known = LANGUAGES.map(|(name, _)| name).join(", ");
        let message = format!("`{}` is none of {known}", cells[0]);
        return Err(bad(0, FindingKind::BadValue, message));
    };
    let named = match cells[1] {
        "True" => true,
        "False" => false,
        other => {
            let message = format!("`{other}` is neither True nor False");
            return Err(bad(1, FindingKind::BadValue, message));
        }
    };
    let options = &cells[OPTIONS..];
    for (place, option) in options.iter().enumerate() {
        if options[..place].contains(option) {
            let message = format!("the option `{option}` comes twice");
            return Err(bad(OPTIONS + place, FindingKind::Duplicate, message));
        }
    }
    let language = LANGUAGES[gold].1.parse();
    Ok(Row {
        item: ChoiceItem {
            id: format!("{}-{}", cells[3], cells[2]),
            language: language.expect("a code of the table above"),
            category: None,
            prompt: cells[4].to_owned(),
            candidates: options.iter().map(|option| (*option).to_owned()).collect(),
            gold,
        },
        subtask: cells[3].to_owned(),
        named,
    })
}
