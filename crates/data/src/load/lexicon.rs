//! Lists of words, one file a language: a format of this project, and of most lists in circulation.
//!
//! The folder has a file for each language, named by its code with or without `.txt` (`nl.txt`, `nl`), in UTF-8, with one word or
//! phrase a line. Empty lines and lines that begin with `#` are left out.

use std::path::{Path, PathBuf};

use super::{entries, file_name};
use crate::error::{DataError, FindingKind};
use crate::input::{Limits, RawLines, TextEncoding, decode, open, trim_eol};
use crate::language::Language;

/// The most bytes of a list.
const MOST_BYTES: usize = 16 << 20;

/// Reads the words of a language from a folder with one list a language.
///
/// # Errors
/// A folder without a list of the language (the error names those that it has), a list that cannot be read, is not UTF-8 or is too
/// large, or one without any word.
pub fn load_lexicon(folder: &Path, language: Language) -> Result<Vec<String>, DataError> {
    let file = list(folder, language)?;
    let mut lines = RawLines::new(open(&file, Limits::default())?);
    let (mut words, mut read, mut bytes) = (Vec::new(), 0, 0);
    while let Some((number, line)) = lines.next_line()? {
        bytes += line.len();
        if bytes > MOST_BYTES {
            return Err(DataError::TooLarge {
                file,
                line: Some(number),
                what: "the list of words",
                limit: MOST_BYTES as u64,
            });
        }
        read = number;
        let (line, _) =
            decode(trim_eol(&line), TextEncoding::Utf8).map_err(|error| DataError::BadRow {
                file: file.clone(),
                line: Some(number),
                column: None,
                kind: FindingKind::BadEncoding,
                message: error.message(),
            })?;
        let word = line.trim();
        if !word.is_empty() && !word.starts_with('#') {
            words.push(word.to_owned());
        }
    }
    match words.is_empty() {
        true => Err(DataError::Empty {
            file,
            read,
            skipped: read,
        }),
        false => Ok(words),
    }
}

/// The file of a language.
fn list(folder: &Path, language: Language) -> Result<PathBuf, DataError> {
    let (mut found, mut available) = (Vec::new(), Vec::new());
    for file in entries(folder)?.into_iter().filter(|f| f.is_file()) {
        let name = file_name(&file);
        let code = name.strip_suffix(".txt").unwrap_or(&name);
        match code.parse::<Language>() {
            Ok(code) if code == language => found.push(file),
            Ok(code) => available.push(code),
            Err(_) => {}
        }
    }
    available.sort();
    available.dedup();
    match found.len() {
        0 => Err(DataError::MissingLanguage {
            file: folder.to_owned(),
            language,
            available,
        }),
        1 => Ok(found.remove(0)),
        _ => Err(DataError::SeveralFiles {
            folder: folder.to_owned(),
            files: found.iter().map(|file| file_name(file)).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("lexicon-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn fails(folder: &Path, language: Language, told: &str) {
        let error = load_lexicon(folder, language).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }

    #[test]
    fn words_are_read_line_by_line() {
        let folder = folder("good");
        std::fs::write(
            folder.join("en.txt"),
            "\u{feff}# mild\nfool\r\n\n  silly fool \n",
        )
        .unwrap();
        std::fs::write(folder.join("fr"), "imbécile").unwrap();
        assert_eq!(
            load_lexicon(&folder, Language::EN).unwrap(),
            ["fool", "silly fool"]
        );
        assert_eq!(load_lexicon(&folder, Language::FR).unwrap(), ["imbécile"]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let folder = folder("bad");
        fails(&folder.join("no"), Language::EN, "no such file");
        fails(&folder, Language::EN, "no text in `en`");
        std::fs::write(folder.join("fr.txt"), "# nothing\n\n").unwrap();
        fails(&folder, Language::EN, "available: fr");
        fails(&folder, Language::FR, "fr.txt");
        std::fs::write(folder.join("de.txt"), b"Dummkopf\nTr\xf6del\n").unwrap();
        fails(&folder, Language::DE, "not UTF-8");
        std::fs::write(folder.join("de"), "Dummkopf\n").unwrap();
        fails(&folder, Language::DE, "several files");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
