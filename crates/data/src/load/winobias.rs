//! WinoBias: sentences with two occupations and a pronoun that stands for one of them, with and against a stereotype.
//!
//! # Source
//! Zhao et al., "Gender Bias in Coreference Resolution" (arXiv 1804.06876): a folder with `pro_stereotyped_type1.txt.dev` and seven files
//! more, a numbered sentence a line with the occupation and the pronoun in brackets, and the lists `male_occupations.txt` and
//! `female_occupations.txt`. The sentences of one number in the two files of a type and a part are a pair.
//!
//! Where several pronouns stand in brackets the first is asked for. The other occupation of a sentence is found by the lists.

use std::path::Path;

use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{Limits, RawLines, TextEncoding, decode, open, trim_eol};
use crate::types::Coreference;

/// Pronouns of men.
const HE: [&str; 4] = ["he", "him", "his", "himself"];
/// Pronouns of women.
const SHE: [&str; 4] = ["she", "her", "hers", "herself"];
/// The most occupations that the lists may have together.
const MOST_OCCUPATIONS: usize = 1000;

/// Reads the folder: the pairs of both types, of these parts (`dev`, `test`), in the order of the files. Sentences that have no partner
/// are kept.
///
/// # Errors
/// Any [`DataError`]: a line without a number, an occupation and a pronoun, pronouns of men and of women in one sentence, a sentence
/// without exactly two occupations of the lists.
pub fn load_winobias(
    folder: &Path,
    parts: &[String],
    policy: OnBadRow,
) -> Result<(Vec<Coreference>, Report), DataError> {
    let mut report = Report::default();
    let mut occupations = Vec::new();
    for list in ["male_occupations.txt", "female_occupations.txt"] {
        let found = lines(&folder.join(list))?.into_iter();
        occupations.extend(found.map(|(_, line)| line.trim().to_lowercase()));
    }
    if occupations.len() > MOST_OCCUPATIONS {
        return Err(DataError::TooLarge {
            file: folder.to_owned(),
            line: None,
            what: "the number of occupations",
            limit: MOST_OCCUPATIONS as u64,
        });
    }
    // A longer name first, so that `construction worker` is no `worker`.
    occupations.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let mut items = Vec::new();
    for kind in [1, 2] {
        for part in parts {
            for (side, pro) in [("pro", true), ("anti", false)] {
                let path = folder.join(format!("{side}_stereotyped_type{kind}.txt.{part}"));
                for (line, text) in lines(&path)? {
                    report.rows_read += 1;
                    match sentence(&text, line, &occupations) {
                        Ok((number, item)) => items.push(Coreference {
                            pair: format!("type{kind}-{part}-{number}"),
                            pro,
                            ..item
                        }),
                        Err(bad) => report.bad_row(policy, &path, bad)?,
                    }
                }
            }
        }
    }
    match items.is_empty() {
        true => Err(DataError::Empty {
            file: folder.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        }),
        false => Ok((items, report)),
    }
}

/// The lines of a file that are not blank, with their numbers.
fn lines(path: &Path) -> Result<Vec<(u64, String)>, DataError> {
    let mut raw = RawLines::new(open(path, Limits::default())?);
    let mut found = Vec::new();
    while let Some((line, bytes)) = raw.next_line()? {
        let (text, _) =
            decode(trim_eol(&bytes), TextEncoding::Utf8).map_err(|bad| DataError::BadRow {
                file: path.to_owned(),
                line: Some(line),
                column: None,
                kind: FindingKind::BadEncoding,
                message: bad.message(),
            })?;
        if !text.trim().is_empty() {
            found.push((line, text));
        }
    }
    Ok(found)
}

/// Number and sentence of a line; whether it is with the stereotype is the file's to say.
fn sentence(text: &str, line: u64, occupations: &[String]) -> Result<(u64, Coreference), BadRow> {
    let bad = |message: String| BadRow {
        line: Some(line),
        column: None,
        kind: FindingKind::BadValue,
        message,
    };
    let numbered = text.trim().split_once(' ');
    let numbered = numbered.and_then(|(number, rest)| Some((number.parse::<u64>().ok()?, rest)));
    let Some((number, rest)) = numbered else {
        return Err(bad("no number and sentence".to_owned()));
    };
    let spans: Vec<String> = rest
        .split('[')
        .skip(1)
        .filter_map(|after| Some(after.split_once(']')?.0.trim().to_lowercase()))
        .collect();
    let is = |list: &[&str], span: &String| list.contains(&span.as_str());
    let (pronouns, names): (Vec<&String>, Vec<&String>) = spans
        .iter()
        .partition(|span| is(&HE, span) || is(&SHE, span));
    let ([name], Some(&pronoun)) = (names.as_slice(), pronouns.first()) else {
        let message = format!(
            "{} occupations and {} pronouns in brackets; there is one occupation and at least one pronoun",
            names.len(),
            pronouns.len()
        );
        return Err(bad(message));
    };
    let male = is(&HE, pronoun);
    if pronouns.iter().any(|span| is(&HE, span) != male) {
        return Err(bad(
            "pronouns of men and of women in one sentence".to_owned()
        ));
    }
    let sentence = rest.replace(['[', ']'], "");
    let found = mentioned(&sentence.to_lowercase(), occupations);
    let named = mentioned(name, occupations);
    let ([gold], [_, _]) = (named.as_slice(), found.as_slice()) else {
        let message = format!(
            "{} occupations of the lists; a sentence has two",
            found.len()
        );
        return Err(bad(message));
    };
    let other = found.iter().find(|name| *name != gold);
    let Some(other) = other.filter(|_| found.contains(gold)) else {
        return Err(bad(
            "the occupation in brackets is not one of two".to_owned()
        ));
    };
    let item = Coreference {
        pair: String::new(),
        pronoun: pronoun.clone(),
        male,
        occupation: gold.clone(),
        other: other.clone(),
        pro: true,
        sentence,
    };
    Ok((number, item))
}

/// The occupations that a text in small letters has as whole words. What is a part of a longer one does not count.
fn mentioned(text: &str, occupations: &[String]) -> Vec<String> {
    let mut rest = text.to_owned();
    let mut found = Vec::new();
    for name in occupations.iter().filter(|name| !name.is_empty()) {
        let whole = rest.match_indices(name.as_str()).find(|(at, _)| {
            let before = rest[..*at].chars().next_back();
            let after = rest[at + name.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        });
        if whole.is_some() {
            found.push(name.clone());
            rest = rest.replace(name.as_str(), "_");
        }
    }
    found
}
