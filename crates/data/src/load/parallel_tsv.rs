//! Loads and writes tables with one column per language: TSV or CSV, and TSV with a talk column as in TED2020.

use std::path::Path;

use super::delimited::{Records, write_record};
use super::{Builder, Format, ParallelOptions, choose, write_atomically};
use crate::error::{DataError, FindingKind, Report};
use crate::input::{TextEncoding, open};
use crate::iso::{column_language, language_of};
use crate::language::Language;
use crate::types::ParallelCorpus;

/// Header names of the column that identifies the talk.
const TALK: &[&str] = &["talk_id", "talkid", "talk_name", "talk"];
/// Header names of an identifier per row.
const ID: &[&str] = &["id", "ids", "row_id"];
/// What TED tables write where a talk has no translation.
const NULLS: &[&str] = &["__NULL__", "_ _ NULL _ _", "NULL"];

/// Returns whether a header looks like one of language columns.
pub(crate) fn is_table(header: &[String]) -> bool {
    let languages = header
        .iter()
        .filter(|c| language_of(c).is_some() && !ID.contains(&c.as_str()))
        .count();
    languages >= 2 && languages + 2 >= header.len()
}

/// Returns whether a header has a talk column besides the language columns.
pub(crate) fn is_talk_table(header: &[String]) -> bool {
    header.iter().any(|c| TALK.contains(&c.as_str()))
        && header.iter().filter(|c| language_of(c).is_some()).count() >= 2
}

pub(crate) fn load(
    path: &Path,
    format: Format,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let delimiter = if format == Format::Csv { b',' } else { b'\t' };
    let source = open(path, options.limits)?;
    let mut records = Records::new(
        source,
        delimiter,
        options.encoding.unwrap_or(TextEncoding::Utf8),
    )?;
    let talk = records
        .header
        .iter()
        .position(|h| TALK.contains(&h.as_str()));
    if format == Format::TedTsv && talk.is_none() {
        records.column(TALK[0])?;
    }
    let own_id = records.header.iter().position(|h| ID.contains(&h.as_str()));
    let mut found: Vec<(Language, usize)> = Vec::new();
    for (i, header) in records.header.iter().enumerate() {
        // `id` is also the code of Indonesian; in our tables it is the identifier unless Indonesian was asked for.
        let is_id = Some(i) == own_id && !options.languages.iter().any(|l| l.code() == header);
        if Some(i) == talk || is_id {
            continue;
        }
        if let Some(language) = column_language(header, &options.languages)
            && !found.iter().any(|(l, _)| *l == language)
        {
            found.push((language, i));
        }
    }
    let available: Vec<Language> = found.iter().map(|(l, _)| *l).collect();
    if available.is_empty() {
        return Err(DataError::MissingColumn {
            file: path.to_owned(),
            column: "en".to_owned(),
            found: records.header.clone(),
        });
    }
    let languages = choose(path, &options.languages, &available)?;
    let at: Vec<usize> = languages
        .iter()
        .filter_map(|l| found.iter().find(|(f, _)| f == l).map(|(_, i)| *i))
        .collect();
    let file = records.name().to_owned();
    let mut builder = Builder::new(languages, options.on_bad_row, options.limit);
    while !builder.full() {
        let record = match records.next_record()? {
            None => break,
            Some(Err(bad)) => {
                builder.bad(&file, bad)?;
                continue;
            }
            Some(Ok(record)) => record,
        };
        let cells: Vec<&str> = at.iter().map(|i| record.cells[*i].as_str()).collect();
        let missing = cells
            .iter()
            .position(|c| c.trim().is_empty() || NULLS.contains(&c.trim()));
        if let (Some(_), Some(missing)) = (talk, missing) {
            let code = builder.corpus.languages[missing];
            builder.untranslated(&file, Some(record.line), format!("no text in `{code}`"));
            continue;
        }
        let id = match (talk, own_id) {
            (Some(talk), _) => format!("{}:{}", record.cells[talk].trim(), record.line),
            (None, Some(id)) if !record.cells[id].trim().is_empty() && !at.contains(&id) => {
                record.cells[id].trim().to_owned()
            }
            _ => record.line.to_string(),
        };
        if record.reencoded {
            let message = "decoded from Mac OS Roman".to_owned();
            builder
                .report
                .note(&file, Some(record.line), FindingKind::Reencoded, message);
        }
        builder.push(&file, record.line, id, &cells)?;
    }
    Ok(builder.finish())
}

/// Writes a corpus as TSV with an `id` column, in a form that [`super::load_parallel`] reads back unchanged.
///
/// # Errors
/// The file can't be written.
pub fn write_tsv(path: &Path, corpus: &ParallelCorpus) -> Result<(), DataError> {
    // A quoted header declares that quotation marks follow RFC 4180.
    let header = ["id"]
        .into_iter()
        .chain(corpus.languages.iter().map(Language::code));
    let mut text = write_record(header, '\t', true);
    for (i, id) in corpus.ids.iter().enumerate() {
        let cells = corpus.columns.iter().map(|c| c[i].as_str());
        text.push_str(&write_record(
            [id.as_str()].into_iter().chain(cells),
            '\t',
            false,
        ));
    }
    write_atomically(path, text.as_bytes())
}
