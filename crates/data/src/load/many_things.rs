//! Loads Tatoeba sentence pairs as manythings.org packs them: English, translation, and since 2019 an attribution.
//!
//! The cells are raw text, in which a quotation mark has no special meaning. Several languages are joined where their
//! English sentences are identical; if a sentence has several translations, the first is kept.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{Builder, ParallelOptions, choose, entries, file_name};
use crate::error::{BadRow, DataError, FindingKind, Report};
use crate::input::{RawLines, Source, TextEncoding, decode, open, open_file, trim_eol};
use crate::iso::language_of;
use crate::language::Language;
use crate::types::ParallelCorpus;

pub(crate) fn load(
    path: &Path,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let files: Vec<PathBuf> = if path.is_dir() {
        entries(path)?
            .into_iter()
            .filter(|f| is_zip_name(&file_name(f)))
            .collect()
    } else {
        vec![path.to_owned()]
    };
    let mut by_language: Vec<(Language, PathBuf)> = Vec::new();
    for file in files {
        let others: Vec<Language> = options
            .languages
            .iter()
            .copied()
            .filter(|l| *l != Language::EN)
            .collect();
        let language = match language_in(&file)? {
            Some(language) => language,
            None if !path.is_dir() && others.len() == 1 => others[0],
            None => {
                let reason =
                    "neither the file nor its member is named like `deu.txt` or `deu-eng.zip`"
                        .to_owned();
                return Err(DataError::UnknownLanguage { file, reason });
            }
        };
        by_language.push((language, file));
    }
    let available: Vec<Language> = std::iter::once(Language::EN)
        .chain(by_language.iter().map(|(l, _)| *l))
        .collect();
    let languages = choose(path, &options.languages, &available)?;
    by_language.retain(|(l, _)| languages.contains(l));
    match by_language.as_slice() {
        [] => Err(DataError::UnknownLanguage {
            file: path.to_owned(),
            reason: "only English was asked for, and the sentence pairs are read with their other language".to_owned(),
        }),
        [(_, file)] => one(file, &languages, options),
        several => pivot(path, several, &languages, options),
    }
}

fn one(
    file: &Path,
    languages: &[Language],
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let mut builder = Builder::new(languages.to_vec(), options.on_bad_row, options.limit);
    each_pair(
        file,
        options,
        &mut builder,
        &mut |builder, name, line, english, other| {
            let cells: Vec<&str> = builder
                .corpus
                .languages
                .iter()
                .map(|l| if *l == Language::EN { english } else { other })
                .collect();
            builder.push(name, line, line.to_string(), &cells)
        },
    )?;
    Ok(builder.finish())
}

fn pivot(
    path: &Path,
    files: &[(Language, PathBuf)],
    languages: &[Language],
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let mut order: Vec<String> = Vec::new();
    let mut translations: Vec<HashMap<String, String>> = Vec::new();
    let mut report = Report::default();
    for (i, (_, file)) in files.iter().enumerate() {
        let mut first: HashMap<String, String> = HashMap::new();
        let mut scratch = Builder::new(Vec::new(), options.on_bad_row, None);
        each_pair(
            file,
            options,
            &mut scratch,
            &mut |scratch, _, _, english, other| {
                scratch.report.rows_read += 1;
                let (english, other) = (english.trim(), other.trim());
                // Only sentences that all earlier languages have can end up in the join.
                let wanted = i == 0 || translations[i - 1].contains_key(english);
                if wanted && !first.contains_key(english) {
                    first.insert(english.to_owned(), other.to_owned());
                    if i == 0 {
                        order.push(english.to_owned());
                    }
                }
                Ok(())
            },
        )?;
        report.merge(scratch.report);
        translations.push(first);
    }
    let mut builder = Builder::new(languages.to_vec(), options.on_bad_row, options.limit);
    for (row, english) in order.iter().enumerate() {
        if builder.full() {
            break;
        }
        let others: Option<Vec<&String>> = translations.iter().map(|t| t.get(english)).collect();
        let Some(others) = others else { continue };
        let cell = |language: &Language| match files.iter().position(|(l, _)| l == language) {
            Some(i) => others[i].as_str(),
            None => english.as_str(),
        };
        let cells: Vec<&str> = languages.iter().map(cell).collect();
        builder.push(path, row as u64 + 1, (row + 1).to_string(), &cells)?;
    }
    let (corpus, joined) = builder.finish();
    let read = report.rows_read;
    report.merge(joined);
    report.rows_read = read;
    if corpus.is_empty() {
        let counts = files
            .iter()
            .zip(&translations)
            .map(|((l, _), t)| (*l, t.len()))
            .collect();
        return Err(DataError::EmptyJoin {
            file: path.to_owned(),
            languages: languages.to_vec(),
            counts,
        });
    }
    Ok((corpus, report))
}

type OnPair<'f> = dyn FnMut(&mut Builder, &Path, u64, &str, &str) -> Result<(), DataError> + 'f;

fn each_pair(
    file: &Path,
    options: &ParallelOptions,
    builder: &mut Builder,
    on_pair: &mut OnPair,
) -> Result<(), DataError> {
    if !is_zip(file)? {
        return each_line(open(file, options.limits)?, options, builder, on_pair);
    }
    let mut archive = open_zip(file)?;
    let Some((index, member)) = member(file, &mut archive)? else {
        let message = "no member with sentence pairs, such as `deu.txt`".to_owned();
        return Err(DataError::Archive {
            file: file.to_owned(),
            message,
        });
    };
    let name = PathBuf::from(format!("{}!{member}", file.display()));
    let entry = archive.by_index(index).map_err(|e| zip_error(&name, e))?;
    each_line(
        Source::new(name, entry, options.limits),
        options,
        builder,
        on_pair,
    )
}

fn each_line(
    source: Source,
    options: &ParallelOptions,
    builder: &mut Builder,
    on_pair: &mut OnPair,
) -> Result<(), DataError> {
    let encoding = options.encoding.unwrap_or(TextEncoding::Utf8);
    let name = source.name.clone();
    let mut lines = RawLines::new(source);
    while !builder.full() {
        let Some((line, bytes)) = lines.next_line()? else {
            break;
        };
        let text = match decode(trim_eol(&bytes), encoding) {
            Ok((text, _)) => text,
            Err(fault) => {
                let bad = BadRow {
                    line: Some(line),
                    column: None,
                    kind: FindingKind::BadEncoding,
                    message: fault.message(),
                };
                builder.bad(&name, bad)?;
                continue;
            }
        };
        if text.is_empty() {
            continue;
        }
        let cells: Vec<&str> = text.split('\t').collect();
        if !(2..=3).contains(&cells.len()) {
            let message = format!(
                "{} cells; two sentences and at most an attribution are expected",
                cells.len()
            );
            builder.bad(
                &name,
                BadRow {
                    line: Some(line),
                    column: None,
                    kind: FindingKind::FieldCount,
                    message,
                },
            )?;
            continue;
        }
        if let Some(empty) = cells[..2].iter().position(|c| c.trim().is_empty()) {
            let column = ["1", "2"][empty];
            builder.bad(
                &name,
                BadRow::new(line, column, FindingKind::EmptyCell, "no text"),
            )?;
            continue;
        }
        on_pair(builder, &name, line, cells[0], cells[1])?;
    }
    Ok(())
}

/// The language other than English, from the member of a zip or the file name.
fn language_in(file: &Path) -> Result<Option<Language>, DataError> {
    let own = file_name(file);
    let stem = own.split('.').next().unwrap_or_default();
    let from_name = |stem: &str| {
        stem.split(['-', '_'])
            .filter_map(language_of)
            .find(|l| *l != Language::EN)
    };
    if is_zip(file)? {
        let mut archive = open_zip(file)?;
        if let Some((_, member)) = member(file, &mut archive)? {
            let stem = member
                .rsplit('/')
                .next()
                .and_then(|n| n.strip_suffix(".txt"))
                .unwrap_or_default()
                .to_owned();
            if let Some(language) = from_name(&stem) {
                return Ok(Some(language));
            }
        }
    }
    Ok(from_name(stem))
}

/// The member that holds the pairs: a text file that is neither a note nor what macOS adds.
fn member(
    file: &Path,
    archive: &mut zip::ZipArchive<BufReader<File>>,
) -> Result<Option<(usize, String)>, DataError> {
    for index in 0..archive.len() {
        let entry = archive
            .by_index_raw(index)
            .map_err(|e| zip_error(file, e))?;
        let name = entry.name().to_owned();
        let last = name.rsplit('/').next().unwrap_or_default();
        if entry.is_file()
            && !name.starts_with("__MACOSX")
            && last.ends_with(".txt")
            && !last.starts_with(['_', '.'])
        {
            return Ok(Some((index, name)));
        }
    }
    Ok(None)
}

fn is_zip_name(name: &str) -> bool {
    name.ends_with("-eng.zip")
}

fn is_zip(file: &Path) -> Result<bool, DataError> {
    Ok(crate::input::head(file, 4)? == b"PK\x03\x04")
}

fn open_zip(file: &Path) -> Result<zip::ZipArchive<BufReader<File>>, DataError> {
    zip::ZipArchive::new(BufReader::new(open_file(file)?)).map_err(|e| zip_error(file, e))
}

fn zip_error(file: &Path, error: zip::result::ZipError) -> DataError {
    match error {
        zip::result::ZipError::Io(error) => crate::input::io_error(file, error),
        other => DataError::Archive {
            file: file.to_owned(),
            message: other.to_string(),
        },
    }
}
