//! Loads BBQ and MBBQ: questions about two people with three answers, one of which is "unknown".
//!
//! The files hold JSON lines. The answer that names the stereotyped group is found by comparing what `answer_info`
//! says of an answer (its words, then its group) with `additional_metadata.stereotyped_groups`. The comparison
//! ignores case, spaces and punctuation. `man`, `jongen` and `M` count as one group, `woman`, `meisje` and `F` as
//! another, `transgender women` and `trans` as a third, and `F-Black` counts as `Black`. MBBQ translates the groups
//! in some files and not in others, so the names in all of its languages are known.
//!
//! # Source
//! BBQ: Parrish et al. 2022, arXiv 2110.08193; MBBQ: Neplenbroek et al. 2024, arXiv 2406.07243.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::json::{Fields, bounded, jsonl_files};
use super::{file_name, suspicious};
use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{Limits, RawLines, open};
use crate::iso::language_of;
use crate::language::Language;
use crate::types::{Condition, Polarity, Question};

/// Options of [`load_bbq`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BbqOptions {
    /// The language; `None` if it is to be taken from a file name like `Age_nl.jsonl`. Names without a language, such
    /// as the `Age.jsonl` of BBQ itself, mean English.
    pub language: Option<Language>,
    /// The categories to keep, by the names that this crate uses; empty keeps all.
    pub categories: Vec<String>,
    /// How to treat questions that can't be used.
    pub on_bad_row: OnBadRow,
    /// The most questions to read per file, in the order of the file; `None` reads all.
    pub limit: Option<usize>,
    /// The limits on the size of the file and its parts.
    pub limits: Limits,
}

impl BbqOptions {
    /// Makes options that read every question and take the language from the file's name.
    pub fn new(on_bad_row: OnBadRow) -> Self {
        BbqOptions {
            language: None,
            categories: Vec::new(),
            on_bad_row,
            limit: None,
            limits: Limits::default(),
        }
    }
}

/// Reads the questions of a file, or of all `.jsonl` files of a folder in the order of their names.
///
/// A question can't be used if a text is empty, if a value is not one of the known ones, if not exactly one answer is
/// marked `unknown`, if the context is ambiguous and "unknown" is not the right answer (or the other way round), or
/// if the stereotyped groups are spelled in a way that fits neither answer. Where both answers name a stereotyped
/// group, or neither does by a known name ("the boy" and "the man" where women are stereotyped),
/// [`Question::stereotyped`] is `None` and the report says so.
///
/// # Errors
/// Any [`DataError`]; the error names the line of a question and the key of the fault.
pub fn load_bbq(path: &Path, options: &BbqOptions) -> Result<(Vec<Question>, Report), DataError> {
    let mut report = Report::default();
    let mut questions = Vec::new();
    let mut categories = BTreeSet::new();
    for file in jsonl_files(path)? {
        read_file(&file, options, &mut questions, &mut categories, &mut report)?;
    }
    let complete = options.limit.is_none();
    let mut wanted = options.categories.iter();
    if let Some(missing) = wanted.find(|c| complete && !categories.contains(*c)) {
        let there: Vec<String> = categories.into_iter().collect();
        return Err(DataError::BadRow {
            file: path.to_owned(),
            line: None,
            column: Some("category".to_owned()),
            kind: FindingKind::BadValue,
            message: format!(
                "no question of category `{missing}`; there are: {}",
                there.join(", ")
            ),
        });
    }
    if questions.is_empty() {
        return Err(DataError::Empty {
            file: path.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        });
    }
    Ok((questions, report))
}

fn read_file(
    file: &Path,
    options: &BbqOptions,
    questions: &mut Vec<Question>,
    categories: &mut BTreeSet<String>,
    report: &mut Report,
) -> Result<(), DataError> {
    let name = parse_name(file, options.language)?;
    let mut lines = RawLines::new(open(file, options.limits)?);
    let mut ids = HashSet::new();
    let mut taken = 0;
    while let Some((line, bytes)) = lines.next_line()? {
        if options.limit.is_some_and(|l| taken >= l) {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let mut notes = Vec::new();
        let read = bounded(&bytes)
            .map_err(|error| BadRow {
                line: Some(line),
                column: None,
                kind: FindingKind::BadValue,
                message: error.to_string(),
            })
            .and_then(|value| question(&Fields::new(&value, "", line)?, &name, &mut notes))
            .and_then(|question| match ids.insert(question.id.clone()) {
                true => Ok(question),
                false => {
                    let message = format!("{} stands in the file before", question.id);
                    let kind = FindingKind::Duplicate;
                    Err(BadRow::new(line, "example_id", kind, message))
                }
            });
        if let Ok(question) = &read {
            categories.insert(question.category.clone());
            let wanted = &options.categories;
            if !wanted.is_empty() && !wanted.contains(&question.category) {
                continue;
            }
        }
        report.rows_read += 1;
        match read {
            Ok(question) => {
                let [a, b, c] = &question.answers;
                let (context, asked) = (&question.context, &question.question);
                let keys = ["context", "question", "ans0", "ans1", "ans2"];
                for (key, text) in keys.into_iter().zip([context, asked, a, b, c]) {
                    suspicious(report, file, line, key, text);
                }
                for message in notes {
                    report.note(file, Some(line), FindingKind::Note, message);
                }
                questions.push(question);
                taken += 1;
            }
            Err(bad) => report.bad_row(options.on_bad_row, file, bad)?,
        }
    }
    Ok(())
}

/// What the name of a file tells.
struct Name {
    /// Without the language.
    stem: String,
    language: Language,
    control: bool,
}

/// The files of BBQ, which carry no language.
const ENGLISH: &[&str] = &[
    "Age",
    "Disability_status",
    "Gender_identity",
    "Nationality",
    "Physical_appearance",
    "Race_ethnicity",
    "Race_x_SES",
    "Race_x_gender",
    "Religion",
    "SES",
    "Sexual_orientation",
];

fn parse_name(file: &Path, language: Option<Language>) -> Result<Name, DataError> {
    let name = file_name(file);
    let whole = name.split('.').next().unwrap_or_default();
    let (stem, told) = if ENGLISH.contains(&whole) {
        (whole, Some(Language::EN))
    } else {
        match whole.rsplit_once('_') {
            Some((stem, code)) if language_of(code).is_some() => (stem, language_of(code)),
            _ => (whole, None),
        }
    };
    let language = language
        .or(told)
        .ok_or_else(|| DataError::UnknownLanguage {
            file: file.to_owned(),
            reason: "the name doesn't end in a language code, as in `Age_nl.jsonl`".to_owned(),
        })?;
    Ok(Name {
        stem: stem.to_owned(),
        language,
        control: stem.split('_').any(|part| part == "control"),
    })
}

fn question(fields: &Fields, name: &Name, notes: &mut Vec<String>) -> Result<Question, BadRow> {
    let number = fields.identifier("example_id")?;
    let fields = &fields.named(format!("question {number}"));
    let one_of = |key: &str, known: &str| {
        let message = format!(
            "`{}` is none of {known}",
            fields.text(key).unwrap_or_default()
        );
        fields.bad(key, FindingKind::BadValue, message)
    };
    let polarity = match fields.text("question_polarity")? {
        "neg" => Polarity::Negative,
        "nonneg" | "non_neg" | "non-neg" => Polarity::NonNegative,
        _ => return Err(one_of("question_polarity", "neg, nonneg")),
    };
    let condition = match fields.text("context_condition")? {
        "ambig" => Condition::Ambiguous,
        "disambig" => Condition::Disambiguated,
        _ => return Err(one_of("context_condition", "ambig, disambig")),
    };
    let label = match fields.get("label")?.as_u64() {
        Some(label @ 0..=2) => label as usize,
        _ => {
            let message = format!("`{}` is none of 0, 1, 2", fields.get("label")?);
            return Err(fields.bad("label", FindingKind::BadValue, message));
        }
    };
    let answers = Answers::read(fields)?;
    if (label == answers.unknown) != (condition == Condition::Ambiguous) {
        let message = format!(
            "answer {label} can't be right: \"unknown\" is answer {}, and the context is {}",
            answers.unknown,
            fields.text("context_condition")?
        );
        return Err(fields.bad("label", FindingKind::BadValue, message));
    }
    let stereotyped = stereotyped(fields, &answers)?;
    if stereotyped.is_none() {
        let [a, b] = answers.people().map(|i| answers.texts[i]);
        let message = format!("question {number}: no stereotyped answer between `{a}` and `{b}`");
        notes.push(message);
    }
    Ok(Question {
        id: format!("{}/{number}", name.stem),
        question_index: fields.identifier("question_index")?,
        polarity,
        condition,
        category: category(fields.text("category")?),
        language: name.language,
        context: fields.text("context")?.to_owned(),
        question: fields.text("question")?.to_owned(),
        answers: answers.texts.map(str::to_owned),
        label,
        unknown: answers.unknown,
        stereotyped,
        control: name.control,
    })
}

/// The names that CrowS-Pairs has for the categories; others stay as they are.
fn category(name: &str) -> String {
    match name {
        "Age" => "age",
        "Disability_status" => "disability",
        "Gender_identity" => "gender",
        "Nationality" => "nationality",
        "Physical_appearance" => "physical-appearance",
        "Race_ethnicity" => "race-color",
        "Race_x_SES" => "race-color-x-socioeconomic",
        "Race_x_gender" => "race-color-x-gender",
        "Religion" => "religion",
        "SES" => "socioeconomic",
        "Sexual_orientation" => "sexual-orientation",
        other => other,
    }
    .to_owned()
}

/// The answers with what `answer_info` says of them.
struct Answers<'v> {
    texts: [&'v str; 3],
    /// The groups of each answer, by [`group`].
    groups: [Vec<String>; 3],
    unknown: usize,
}

impl<'v> Answers<'v> {
    fn read(fields: &Fields<'v>) -> Result<Self, BadRow> {
        const KEYS: [&str; 3] = ["ans0", "ans1", "ans2"];
        let info = fields.object("answer_info")?;
        let mut texts = [""; 3];
        let mut groups = [const { Vec::new() }; 3];
        let mut unknown = Vec::new();
        for (i, key) in KEYS.into_iter().enumerate() {
            texts[i] = fields.text(key)?;
            for about in info.list(key)? {
                match about.as_str() {
                    Some(text) => groups[i].push(group(text)),
                    None => return Err(info.wrong(key, about, "text")),
                }
            }
            if groups[i].last().is_some_and(|g| g == "unknown") {
                unknown.push(i);
            }
        }
        if texts[0] == texts[1] || texts[0] == texts[2] || texts[1] == texts[2] {
            let message = format!("two of the answers {texts:?} are the same");
            return Err(fields.bad("ans0", FindingKind::IdenticalPair, message));
        }
        let [unknown] = unknown[..] else {
            let message = format!("{} answers are marked `unknown`, not one", unknown.len());
            return Err(fields.bad("answer_info", FindingKind::BadValue, message));
        };
        Ok(Answers {
            texts,
            groups,
            unknown,
        })
    }

    /// The two answers that name people.
    fn people(&self) -> [usize; 2] {
        match self.unknown {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        }
    }
}

/// The answer that names a stereotyped group, if exactly one does.
fn stereotyped(fields: &Fields, answers: &Answers) -> Result<Option<usize>, BadRow> {
    const KEY: &str = "stereotyped_groups";
    let metadata = fields.object("additional_metadata")?;
    let mut groups = BTreeSet::new();
    for name in metadata.list(KEY)? {
        match name.as_str() {
            Some(name) => groups.insert(group(name)),
            None => return Err(metadata.wrong(KEY, name, "text")),
        };
    }
    let hit = |i: &usize| answers.groups[*i].iter().any(|g| groups.contains(g));
    let people = answers.people();
    let hits: Vec<usize> = people.into_iter().filter(hit).collect();
    // "The boy" or "the man" where women are stereotyped: nothing is misspelled, there is no such answer.
    let gendered = |name: &String| name == "f" || name == "m";
    let known = groups.iter().any(gendered)
        && people
            .iter()
            .all(|i| answers.groups[*i].iter().any(gendered));
    match hits[..] {
        [one] => Ok(Some(one)),
        [] if !known => {
            let about = people.map(|i| answers.groups[i].join("/"));
            let message = format!("none of {groups:?} fits an answer: {about:?}");
            Err(metadata.bad(KEY, FindingKind::BadValue, message))
        }
        _ => Ok(None),
    }
}

const FEMALE: &[&str] = &[
    "f", "female", "woman", "women", "girl", "girls", // en
    "vrouw", "vrouwen", "meisje", "meisjes", // nl
    "frau", "frauen", "mädchen", // de
    "femme", "femmes", "fille", "filles", // fr
    "mujer", "mujeres", "chica", "chicas", "niña", "niñas", // es
    "kadın", "kız", // tr
];

const MALE: &[&str] = &[
    "m",
    "male",
    "man",
    "men",
    "boy",
    "boys", // en
    "mannen",
    "jongen",
    "jongens", // nl
    "mann",
    "männer",
    "junge",
    "jungen", // de
    "homme",
    "hommes",
    "garçon",
    "garçons", // fr
    "hombre",
    "hombres",
    "chico",
    "chicos",
    "niño",
    "niños", // es
    "adam",
    "erkek",
    "erkekçocuk", // tr
];

/// A group by one spelling.
fn group(text: &str) -> String {
    let text = text.trim();
    // Names carry their gender before the group: `F-Black`.
    let text = text
        .strip_prefix("F-")
        .or(text.strip_prefix("M-"))
        .unwrap_or(text);
    let letters = text.chars().filter(|c| c.is_alphanumeric());
    let plain: String = letters.flat_map(char::to_lowercase).collect();
    let name = plain.as_str();
    if FEMALE.contains(&name) {
        "f".to_owned()
    } else if MALE.contains(&name) {
        "m".to_owned()
    } else if name.starts_with("trans") {
        "trans".to_owned()
    } else {
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_one_spelling() {
        for (text, expect) in [
            ("F", "f"),
            ("Women", "f"),
            ("erkek çocuk", "m"),
            ("Transgender women", "trans"),
            ("nonTrans", "nontrans"),
            ("low SES", "lowses"),
            ("lowSES", "lowses"),
            ("F-Black", "black"),
            ("African American", "africanamerican"),
        ] {
            assert_eq!(group(text), expect, "{text}");
        }
    }

    #[test]
    fn languages_of_names() {
        for (name, stem, language, control) in [
            ("Age_nl.jsonl", "Age", Language::NL, false),
            ("Age.jsonl", "Age", Language::EN, false),
            ("Race_x_SES.jsonl", "Race_x_SES", Language::EN, false),
            ("SES_control_en.jsonl", "SES_control", Language::EN, true),
        ] {
            let told = parse_name(Path::new(name), None).unwrap();
            assert_eq!(
                (told.stem.as_str(), told.language, told.control),
                (stem, language, control)
            );
        }
        assert!(parse_name(Path::new("questions.jsonl"), None).is_err());
        assert!(parse_name(Path::new("questions.jsonl"), Some(Language::DE)).is_ok());
    }
}
