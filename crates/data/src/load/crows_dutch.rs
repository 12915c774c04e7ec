//! Loads the English, French and Dutch files of the Dutch CrowS-Pairs repository.
//!
//! `crows_dutch.csv` is in Mac OS Roman except for one row in UTF-8, and from id 217 on its labels are shifted
//! against its sentences. The translations also have other categories than the original. So every label and every
//! category is taken from the English file, by id.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::crows_original::{load_table, read};
use super::delimited::Records;
use super::{BiasOptions, choose, file_name};
use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{TextEncoding, open};
use crate::iso::language_of;
use crate::language::Language;
use crate::types::{BiasPair, BiasSet};

/// The files with their languages.
const FILES: &[(&str, Language)] = &[
    ("crows_eng.csv", Language::EN),
    ("crows_french.csv", Language::FR),
    ("crows_dutch.csv", Language::NL),
];

pub(crate) fn load(path: &Path, options: &BiasOptions) -> Result<(BiasSet, Report), DataError> {
    let is_known = |name: &str| FILES.iter().any(|(file, _)| *file == name);
    if !path.is_dir() && !is_known(&file_name(path)) {
        return load_table(path, language_from(path, options)?, options);
    }
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new("."))
    };
    let files: Vec<(PathBuf, Language)> = if path.is_dir() {
        FILES
            .iter()
            .map(|(name, language)| (path.join(name), *language))
            .filter(|(f, _)| f.is_file())
            .collect()
    } else {
        vec![(path.to_owned(), language_from(path, options)?)]
    };
    let available: Vec<Language> = files.iter().map(|(_, l)| *l).collect();
    let languages = choose(path, &options.languages, &available)?;
    let mut report = Report::default();
    let mut pairs = Vec::new();
    let mut english: Option<HashMap<String, BiasPair>> = None;
    for (file, language) in files.iter().filter(|(_, l)| languages.contains(l)) {
        let mut own = load_file(file, *language, options, &mut report)?;
        if *language != Language::EN {
            let reference = match &english {
                Some(reference) => reference,
                None => english.insert(load_english(folder, file, options)?),
            };
            own = relabel(file, own, reference, options.on_bad_row, &mut report)?;
        }
        pairs.extend(own);
    }
    Ok((
        BiasSet {
            name: "crows-pairs-dutch".to_owned(),
            pairs,
        },
        report,
    ))
}

fn load_file(
    file: &Path,
    language: Language,
    options: &BiasOptions,
    report: &mut Report,
) -> Result<Vec<BiasPair>, DataError> {
    let prescribed = if language == Language::NL {
        TextEncoding::MacRomanWithUtf8
    } else {
        TextEncoding::Utf8
    };
    let source = open(file, options.limits)?;
    let records = Records::new(source, b',', options.encoding.unwrap_or(prescribed))?;
    read(file, records, language, options, report)
}

fn load_english(
    folder: &Path,
    needed_by: &Path,
    options: &BiasOptions,
) -> Result<HashMap<String, BiasPair>, DataError> {
    let file = folder.join(FILES[0].0);
    if !file.is_file() {
        return Err(DataError::MissingCompanion {
            file: needed_by.to_owned(),
            companion: FILES[0].0.to_owned(),
            reason: "the labels are taken from the English file, because those of the translations are shifted".to_owned(),
        });
    }
    let pairs = load_file(&file, Language::EN, options, &mut Report::default())?;
    Ok(pairs.into_iter().map(|p| (p.id.clone(), p)).collect())
}

fn relabel(
    file: &Path,
    pairs: Vec<BiasPair>,
    english: &HashMap<String, BiasPair>,
    policy: OnBadRow,
    report: &mut Report,
) -> Result<Vec<BiasPair>, DataError> {
    let mut kept = Vec::with_capacity(pairs.len());
    for mut pair in pairs {
        let Some(original) = english.get(&pair.id) else {
            let message = format!("id {} isn't in the English file", pair.id);
            let bad = BadRow {
                line: None,
                column: Some("id".to_owned()),
                kind: FindingKind::BadValue,
                message,
            };
            report.bad_row(policy, file, bad)?;
            continue;
        };
        if pair.direction != original.direction {
            let message = format!(
                "id {}: {:?} in the file, {:?} in English",
                pair.id, pair.direction, original.direction
            );
            report.note(file, None, FindingKind::LabelReplaced, message);
            pair.direction = original.direction;
        }
        if pair.category != original.category {
            let message = format!(
                "id {}: category `{}` in the file, `{}` in English",
                pair.id, pair.category, original.category
            );
            report.note(file, None, FindingKind::Note, message);
            pair.category.clone_from(&original.category);
        }
        kept.push(pair);
    }
    Ok(kept)
}

fn language_from(path: &Path, options: &BiasOptions) -> Result<Language, DataError> {
    let name = file_name(path);
    let stem = name.split('.').next().unwrap_or_default();
    let named = stem.rsplit('_').next().and_then(language_of);
    let is_known = FILES.iter().any(|(file, _)| *file == name);
    match (named, options.languages.as_slice()) {
        (Some(language), _) if is_known => Ok(language),
        // What is asked for is said by a person; a name may mean anything.
        (_, [language]) => Ok(*language),
        (Some(language), _) => Ok(language),
        _ => {
            let reason = "the name isn't like `crows_dutch.csv`".to_owned();
            Err(DataError::UnknownLanguage {
                file: path.to_owned(),
                reason,
            })
        }
    }
}
