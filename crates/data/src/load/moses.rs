//! Loads text with one file per language, aligned by line: Moses, NTREX, WMT test sets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Builder, ParallelOptions, choose, entries, file_name};
use crate::error::{BadRow, DataError, FindingKind, Report};
use crate::input::{RawLines, TextEncoding, decode, open, trim_eol};
use crate::iso::language_of;
use crate::language::Language;
use crate::types::ParallelCorpus;

/// Splits a name such as `newstest2019-ref.deu.txt` into the name of the set (`newstest2019`) and the language.
pub(crate) fn split_name(name: &str) -> Option<(String, Language)> {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let name = name.strip_suffix(".txt").unwrap_or(name);
    let (stem, code) = name.rsplit_once('.')?;
    let language = language_of(code)?;
    // NTREX marks the side in the stem, Moses the language pair: `corpus.de-en.de`.
    let stem = stem
        .strip_suffix("-src")
        .or(stem.strip_suffix("-ref"))
        .unwrap_or(stem);
    (!stem.is_empty()).then(|| (stem.to_owned(), language))
}

/// Returns the files of the set that a path belongs to. The path names one of its files, or the set without a
/// language.
pub(crate) fn siblings(path: &Path) -> Result<BTreeMap<Language, PathBuf>, DataError> {
    let name = file_name(path);
    let stem = match split_name(&name) {
        Some((stem, _)) if path.exists() => stem,
        _ => name,
    };
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(BTreeMap::new()),
    };
    if !folder.is_dir() {
        return Ok(BTreeMap::new());
    }
    let mut files = BTreeMap::new();
    for file in entries(folder)? {
        if let Some((other, language)) = split_name(&file_name(&file))
            && other == stem
            && file.is_file()
        {
            files.entry(language).or_insert(file);
        }
    }
    Ok(files)
}

/// Reads one set, or all sets of a folder one after another.
pub(crate) fn load(
    path: &Path,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let mut sets: BTreeMap<String, BTreeMap<Language, PathBuf>> = BTreeMap::new();
    if path.is_dir() {
        for file in entries(path)? {
            if let Some((stem, language)) = split_name(&file_name(&file))
                && file.is_file()
            {
                sets.entry(stem).or_default().insert(language, file);
            }
        }
    } else {
        let files = siblings(path)?;
        if files.is_empty() {
            if path.exists() {
                let reason =
                    "the name doesn't end in a language code, as in `corpus.de`".to_owned();
                return Err(DataError::UnknownLanguage {
                    file: path.to_owned(),
                    reason,
                });
            }
            return Err(DataError::Missing {
                file: path.to_owned(),
                hint: String::new(),
            });
        }
        sets.insert(file_name(path), files);
    }
    let mut available: Vec<Language> = Vec::new();
    if let Some(first) = sets.values().next() {
        available = first
            .keys()
            .copied()
            .filter(|l| sets.values().all(|s| s.contains_key(l)))
            .collect();
    }
    // English leads where it exists, as in every other format.
    available.sort_by_key(|l| (*l != Language::EN, *l));
    let languages = choose(path, &options.languages, &available)?;
    let mut builder = Builder::new(languages.clone(), options.on_bad_row, options.limit);
    let many = sets.len() > 1;
    for (stem, files) in &sets {
        let files: Vec<&PathBuf> = languages.iter().filter_map(|l| files.get(l)).collect();
        load_set(stem, &files, many, options, &mut builder)?;
    }
    Ok(builder.finish())
}

fn load_set(
    stem: &str,
    files: &[&PathBuf],
    many: bool,
    options: &ParallelOptions,
    builder: &mut Builder,
) -> Result<(), DataError> {
    let encoding = options.encoding.unwrap_or(TextEncoding::Utf8);
    let mut readers = Vec::new();
    for file in files {
        readers.push(RawLines::new(open(file, options.limits)?));
    }
    let mut line = 0u64;
    while !builder.full() {
        let mut row = Vec::with_capacity(readers.len());
        let mut ended = 0;
        for reader in &mut readers {
            match reader.next_line()? {
                Some((_, bytes)) => row.push(bytes),
                None => ended += 1,
            }
        }
        if ended == readers.len() {
            return Ok(());
        }
        if ended > 0 {
            // A row more or less shifts all that follow, so no policy can repair it.
            return Err(DataError::LineCounts {
                counts: count_lines(files, options)?,
            });
        }
        line += 1;
        let mut cells = Vec::with_capacity(row.len());
        let mut fault = None;
        for (i, bytes) in row.iter().enumerate() {
            match decode(trim_eol(bytes), encoding) {
                Ok((text, _)) => cells.push(text),
                Err(error) => {
                    let column = builder.corpus.languages[i].code().to_owned();
                    fault = Some((
                        i,
                        BadRow::new(line, &column, FindingKind::BadEncoding, error.message()),
                    ));
                    break;
                }
            }
        }
        if let Some((i, bad)) = fault {
            builder.bad(files[i], bad)?;
            continue;
        }
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        let empty = cells.iter().position(|c| c.trim().is_empty()).unwrap_or(0);
        let id = if many {
            format!("{stem}:{line}")
        } else {
            line.to_string()
        };
        builder.push(files[empty], line, id, &cells)?;
    }
    Ok(())
}

fn count_lines(
    files: &[&PathBuf],
    options: &ParallelOptions,
) -> Result<Vec<(PathBuf, u64)>, DataError> {
    let mut counts = Vec::new();
    for file in files {
        let mut reader = RawLines::new(open(file, options.limits)?);
        let mut count = 0;
        while let Some((number, _)) = reader.next_line()? {
            count = number;
        }
        counts.push((file.to_path_buf(), count));
    }
    Ok(counts)
}
