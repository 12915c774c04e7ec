//! BMLAMA: facts as sentences with a hole and candidates for it, row by row the same in every language.
//!
//! # Source
//! Qi, Fernández and Bisazza, "Cross-Lingual Consistency of Factual Knowledge in Multilingual Language Models" (arXiv 2310.10378):
//! a folder with one table per language, columns `Prompt`, `Ans` and `Candidate Ans`, candidates divided by `, `.
//!
//! The gold is always the last candidate, so what decides between equal candidates must not be their order: see
//! [`shuffle_choices`](super::choice::shuffle_choices). Used are the rows whose hole ends the sentence in every language, since a causal model is asked
//! for what follows; and those with at least two candidates.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::choice::{ChoiceOptions, MOST_CANDIDATES, MOST_ITEMS};
use super::delimited::{Record, Records};
use super::{choose, suspicious};
use crate::error::{BadRow, DataError, FindingKind, Report};
use crate::input::{Limits, TextEncoding, open};
use crate::language::Language;
use crate::types::ChoiceItem;

/// What stands for the candidate.
const HOLE: &str = "<mask>";
/// What divides candidates.
const DIVIDER: &str = ", ";
/// Columns that are read.
const COLUMNS: [&str; 3] = ["Prompt", "Ans", "Candidate Ans"];

/// A row of one language.
struct Row {
    prompt: String,
    /// What follows the hole.
    rest: String,
    candidates: Vec<String>,
    gold: usize,
}

/// Rows of a table by their lines.
type Rows = BTreeMap<u64, Row>;

/// Reads a folder with a table `<language>.tsv` for each language. Items come in file order, by language, with candidates in file order. The id
/// of an item is the number of its row, from 1.
///
/// # Errors
/// Any [`DataError`]: a gold that is not among the candidates of a language, candidates that are the same string, candidates
/// or golds that differ in number or place between languages, a row that a language lacks.
pub fn load_bmlama(
    folder: &Path,
    options: &ChoiceOptions,
) -> Result<(Vec<ChoiceItem>, Report), DataError> {
    let available = languages(folder)?;
    let wanted = choose(folder, &options.languages, &available)?;
    let mut report = Report::default();
    let mut tables = Vec::new();
    for &language in &wanted {
        tables.push(table(&file(folder, language), options, &mut report)?);
    }
    let lines: BTreeMap<u64, ()> = tables
        .iter()
        .flat_map(|rows| rows.keys().map(|&line| (line, ())))
        .collect();
    let mut items = vec![Vec::new(); wanted.len()];
    let (mut single, mut inside) = (0, 0);
    for &line in lines.keys() {
        let rows = match together(&wanted, &tables, line) {
            Ok(rows) => rows,
            Err((language, bad)) => {
                report.bad_row(options.on_bad_row, &file(folder, language), bad)?;
                continue;
            }
        };
        if rows[0].candidates.len() < 2 {
            single += 1;
            continue;
        }
        if rows
            .iter()
            .any(|row| !matches!(row.rest.as_str(), "" | "."))
        {
            inside += 1;
            continue;
        }
        for ((row, &language), items) in rows.iter().zip(&wanted).zip(&mut items) {
            items.push(ChoiceItem {
                id: (line - 1).to_string(),
                language,
                category: None,
                prompt: row.prompt.clone(),
                candidates: row.candidates.clone(),
                gold: row.gold,
            });
        }
    }
    for (count, why) in [
        (single, "one candidate, so there is nothing to choose"),
        (
            inside,
            "a hole that does not end the sentence in every language",
        ),
    ] {
        if count > 0 {
            let message = format!("{count} rows left out: {why}");
            report.note(folder, None, FindingKind::Note, message);
        }
    }
    let items = items.concat();
    match items.is_empty() {
        true => Err(DataError::Empty {
            file: folder.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        }),
        false => Ok((items, report)),
    }
}

fn file(folder: &Path, language: Language) -> PathBuf {
    folder.join(format!("{language}.tsv"))
}

/// The languages that the folder has tables of.
fn languages(folder: &Path) -> Result<Vec<Language>, DataError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => DataError::Missing {
            file: folder.to_owned(),
            hint: "; BMLAMA is a folder with a table `<language>.tsv` for each language".to_owned(),
        },
        _ => DataError::Io {
            file: folder.to_owned(),
            source,
        },
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_table = path.extension().is_some_and(|e| e == "tsv");
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        found.extend(
            stem.filter(|_| is_table)
                .and_then(|s| s.parse::<Language>().ok()),
        );
    }
    found.sort();
    Ok(found)
}

fn table(path: &Path, options: &ChoiceOptions, report: &mut Report) -> Result<Rows, DataError> {
    let limits: Limits = options.limits;
    let mut records = Records::new(open(path, limits)?, b'\t', TextEncoding::Utf8)?;
    let mut at = [0; COLUMNS.len()];
    for (at, name) in at.iter_mut().zip(COLUMNS) {
        *at = records.column(name)?;
    }
    let mut rows = Rows::new();
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
        let row = record.and_then(|record| Ok((record.line, row(&record, at)?)));
        match row {
            Ok((line, row)) => {
                suspicious(report, path, line, "Prompt", &row.prompt);
                rows.insert(line, row);
            }
            Err(bad) => report.bad_row(options.on_bad_row, path, bad)?,
        }
    }
    Ok(rows)
}

fn row(record: &Record, at: [usize; COLUMNS.len()]) -> Result<Row, BadRow> {
    let [prompt, gold, candidates] = at.map(|at| record.cells[at].trim());
    let bad = |column: &str, kind, message: String| BadRow::new(record.line, column, kind, message);
    let Some((before, rest)) = prompt.split_once(HOLE) else {
        let message = format!("`{prompt}` has no {HOLE}");
        return Err(bad(COLUMNS[0], FindingKind::BadValue, message));
    };
    if rest.contains(HOLE) {
        let message = format!("`{prompt}` has {HOLE} more than once");
        return Err(bad(COLUMNS[0], FindingKind::BadValue, message));
    }
    let candidates: Vec<String> = candidates
        .split(DIVIDER)
        .map(|candidate| candidate.trim().to_owned())
        .collect();
    if candidates.len() > MOST_CANDIDATES {
        let message = format!(
            "{} candidates; an item has at most {MOST_CANDIDATES}",
            candidates.len()
        );
        return Err(bad(COLUMNS[2], FindingKind::FieldCount, message));
    }
    if let Some(at) = candidates.iter().position(String::is_empty) {
        let message = format!("candidate {at} of {} is empty", candidates.len());
        return Err(bad(COLUMNS[2], FindingKind::EmptyCell, message));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = candidates.iter().find(|candidate| !seen.insert(*candidate)) {
        let message = format!("the candidate `{twice}` comes twice");
        return Err(bad(COLUMNS[2], FindingKind::Duplicate, message));
    }
    let Some(gold) = candidates.iter().position(|candidate| candidate == gold) else {
        let message = format!("the gold `{gold}` is none of the candidates");
        return Err(bad(COLUMNS[1], FindingKind::BadValue, message));
    };
    Ok(Row {
        prompt: before.trim().to_owned(),
        rest: rest.trim().to_owned(),
        candidates,
        gold,
    })
}

/// The row of a line in every language, or the language that it cannot be used in.
fn together<'a>(
    languages: &[Language],
    tables: &'a [Rows],
    line: u64,
) -> Result<Vec<&'a Row>, (Language, BadRow)> {
    let mut rows: Vec<&Row> = Vec::new();
    let first = languages[0];
    for (&language, table) in languages.iter().zip(tables) {
        let bad = |column: &str, kind, message: String| {
            Err((language, BadRow::new(line, column, kind, message)))
        };
        let Some(row) = table.get(&line) else {
            let message =
                "no row that can be used in this language; the tables are parallel row by row";
            return bad(
                COLUMNS[0],
                FindingKind::MissingTranslation,
                message.to_owned(),
            );
        };
        let beside = rows.first().unwrap_or(&row);
        let (here, there) = (row.candidates.len(), beside.candidates.len());
        if here != there {
            let message = format!(
                "{here} candidates, and {there} in {first}; they stand in the same number and order in all languages"
            );
            return bad(COLUMNS[2], FindingKind::FieldCount, message);
        }
        if row.gold != beside.gold {
            let message = format!(
                "the gold is candidate {} and candidate {} in {first}; candidates stand in the same order in all languages",
                row.gold, beside.gold
            );
            return bad(COLUMNS[1], FindingKind::BadValue, message);
        }
        rows.push(row);
    }
    Ok(rows)
}
