//! Prompts with places for what is asked: a format of this project, TOML.
//!
//! Each `[[prompt]]` has a `name`, a `language` (English where there is none) and a `text` with places such as `{sentence}`.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{DataError, FindingKind};
use crate::input::{Limits, RawLines, open};
use crate::language::Language;

/// A text with places for what is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Its name in rows.
    pub name: String,
    /// The language that it is in.
    #[serde(default = "english")]
    pub language: Language,
    /// The text.
    pub text: String,
}

fn english() -> Language {
    Language::EN
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    prompt: Vec<Prompt>,
}

/// The most bytes of a file of prompts.
const MOST_BYTES: usize = 1 << 20;

/// Reads a file of prompts, in which every text has each of these places.
///
/// # Errors
/// A file that cannot be read or is no TOML, a name that stands twice in a language, a text without one of the places or with one that
/// is not among them.
pub fn load_prompts(path: &Path, places: &[&str]) -> Result<Vec<Prompt>, DataError> {
    let bad = |line: Option<u64>, message: String| DataError::BadRow {
        file: path.to_owned(),
        line,
        column: None,
        kind: FindingKind::BadValue,
        message,
    };
    let mut lines = RawLines::new(open(path, Limits::default())?);
    let mut bytes = Vec::new();
    while let Some((line, more)) = lines.next_line()? {
        bytes.extend(more);
        if bytes.len() > MOST_BYTES {
            return Err(DataError::TooLarge {
                file: path.to_owned(),
                line: Some(line),
                what: "the number of bytes",
                limit: MOST_BYTES as u64,
            });
        }
    }
    let text = String::from_utf8(bytes).map_err(|error| bad(None, error.to_string()))?;
    let file: File = toml::from_str(&text).map_err(|error| bad(None, error.to_string()))?;
    let mut seen = HashSet::new();
    for prompt in &file.prompt {
        let name = &prompt.name;
        if name.trim().is_empty() {
            return Err(bad(None, "a prompt without a name".to_owned()));
        }
        if !seen.insert((name, prompt.language)) {
            let message = format!("the prompt `{name}` stands twice in {}", prompt.language);
            return Err(bad(None, message));
        }
        let found = placeholders(&prompt.text);
        if let Some(place) = places.iter().find(|place| !found.contains(place)) {
            let message = format!("the prompt `{name}` has no place `{{{place}}}`");
            return Err(bad(None, message));
        }
        if let Some(place) = found.iter().find(|place| !places.contains(place)) {
            let message = format!(
                "the prompt `{name}` has the place `{{{place}}}`; there are {}",
                places.join(", ")
            );
            return Err(bad(None, message));
        }
    }
    match file.prompt.is_empty() {
        true => Err(DataError::Empty {
            file: path.to_owned(),
            read: 0,
            skipped: 0,
        }),
        false => Ok(file.prompt),
    }
}

/// The names in braces.
fn placeholders(text: &str) -> Vec<&str> {
    let parts = text.split('{').skip(1);
    parts
        .filter_map(|part| Some(part.split_once('}')?.0))
        .collect()
}

impl Prompt {
    /// The text with its places filled. What is filled in is not looked at again, so that braces in it stay.
    pub fn filled(&self, values: &[(&str, &str)]) -> String {
        let mut out = String::new();
        let mut rest = self.text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (name, behind) = after.split_once('}').unwrap_or((after, ""));
            let value = values.iter().find(|(known, _)| *known == name);
            out.push_str(value.map_or("", |(_, value)| value));
            rest = behind;
        }
        out.push_str(rest);
        out
    }
}
