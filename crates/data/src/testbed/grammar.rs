//! The lexicon and the sentence patterns of the testbed: read from the embedded TOML, checked, and compiled.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::TestbedError;
use super::orthography::finish;
use crate::language::Language;
use crate::types::PairKind;

/// The languages that the grammar is written in.
pub(super) const LANGUAGES: [Language; 4] =
    [Language::EN, Language::FR, Language::DE, Language::NL];

/// The bias categories. Code elsewhere identifies a category by its position in this list.
pub(super) const CATEGORIES: [&str; 3] = ["gender", "race-color", "religion"];

/// The two groups of each category.
pub(super) const GROUPS: [[&str; 2]; 3] = [
    ["female", "male"],
    ["black", "white"],
    ["muslim", "christian"],
];

/// The kinds of context filler, in the order in which a derivation lists them.
pub(super) const FILLERS: [&str; 5] = ["place", "habit", "past", "object", "adverb"];

const LEXICON: &str = include_str!("../../testbed/lexicon.toml");
const PATTERNS: &str = include_str!("../../testbed/patterns.toml");

type Forms = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LexiconFile {
    names: Vec<Forms>,
    nouns: Vec<Forms>,
    persons: Vec<Forms>,
    groups: BTreeMap<String, GroupsFile>,
    marked: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    attributes: BTreeMap<String, Vec<Forms>>,
    verbs: BTreeMap<String, Forms>,
    fillers: BTreeMap<String, Vec<Forms>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupsFile {
    names: [String; 2],
    forms: Vec<Forms>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternsFile {
    pattern: Vec<PatternFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternFile {
    id: String,
    category: String,
    #[serde(default)]
    neutral: bool,
    fixed: Option<String>,
    en: String,
    fr: String,
    de: String,
    nl: String,
}

/// The list from which the person of a sentence is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PersonList {
    /// First names, one list per group.
    Names,
    /// Gendered person nouns, one list per group.
    Nouns,
    /// Persons beside whom the group stands as an adjective.
    Persons,
}

/// The choice a slot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// The noun of the attribute.
    Attribute,
    /// The verb or preposition that goes with the noun.
    Frame,
    Person,
    Group,
    Filler(usize),
}

/// A piece of a compiled template. `[String; 2]` is the feminine and the masculine form.
#[derive(Debug)]
enum Segment {
    Text([String; 2]),
    Table(Slot, Vec<[String; 2]>),
}

/// One sentence pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) id: String,
    pub(super) category: usize,
    pub(super) neutral: bool,
    pub(super) person: Option<PersonList>,
    /// The kinds of filler, as positions in [`FILLERS`], in ascending order.
    pub(super) fillers: Vec<usize>,
    fixed: Option<usize>,
    templates: Vec<Vec<Segment>>,
}

/// The compiled grammar.
#[derive(Debug)]
pub(super) struct Grammar {
    pub(super) patterns: Vec<Pattern>,
    /// The identifiers of the attributes, by category.
    pub(super) attributes: Vec<Vec<String>>,
    /// The number of fillers, by kind.
    pub(super) filler_counts: [usize; 5],
    /// Rows of group-marked words, by language and category. First come those of the patterns, then names and nouns,
    /// then one row per occupation (with its position in the list).
    pub(super) marked: Vec<[Vec<MarkedRow>; 3]>,
    names: usize,
    nouns: usize,
    person_gender: Vec<usize>,
}

/// Two counterparts, with the attribute they belong to if they are an occupation.
#[derive(Debug)]
pub(super) struct MarkedRow {
    pub(super) words: [String; 2],
    pub(super) attribute: Option<usize>,
}

/// The choices of which [`Grammar::realise`] makes a sentence.
pub(super) struct Choices<'a> {
    pub(super) attribute: usize,
    pub(super) group: usize,
    pub(super) person: usize,
    pub(super) fillers: &'a [u8],
}

impl Grammar {
    /// Reads and compiles the embedded files.
    pub(super) fn load() -> Result<Grammar, TestbedError> {
        Grammar::parse(LEXICON, PATTERNS)
    }

    pub(super) fn parse(lexicon: &str, patterns: &str) -> Result<Grammar, TestbedError> {
        let lexicon: LexiconFile =
            toml::from_str(lexicon).map_err(|e| bad("lexicon.toml", e.to_string()))?;
        let file: PatternsFile =
            toml::from_str(patterns).map_err(|e| bad("patterns.toml", e.to_string()))?;
        let tables = Tables::new(&lexicon)?;
        let patterns = file
            .pattern
            .iter()
            .map(|p| tables.compile(p))
            .collect::<Result<Vec<_>, _>>()?;
        let mut filler_counts = [0; 5];
        for (count, kind) in filler_counts.iter_mut().zip(&tables.fillers) {
            *count = kind.len();
        }
        Ok(Grammar {
            patterns,
            attributes: tables
                .attributes
                .iter()
                .map(|list| list.iter().map(|a| a["id"].clone()).collect())
                .collect(),
            filler_counts,
            marked: tables.marked(&lexicon)?,
            names: tables.names.len(),
            nouns: tables.nouns.len(),
            person_gender: tables.person_gender,
        })
    }

    /// Returns how many persons a list offers within one group.
    pub(super) fn persons(&self, list: Option<PersonList>) -> usize {
        match list {
            None => 1,
            Some(PersonList::Names) => self.names,
            Some(PersonList::Nouns) => self.nouns,
            Some(PersonList::Persons) => self.person_gender.len(),
        }
    }

    /// Returns where the group shows in a pattern's sentences about an attribute, in `LANGUAGES[language]`.
    pub(super) fn kind(&self, pattern: &Pattern, attribute: usize, language: usize) -> PairKind {
        // In the gender category the group is the gender, in the others it is an adjective.
        let differ = |forms: &[String; 2]| pattern.category == 0 && forms[0] != forms[1];
        let segments = &pattern.templates[language];
        let noun = segments.iter().find_map(|s| match s {
            Segment::Table(Slot::Attribute, table) => Some(&table[attribute]),
            _ => None,
        });
        if noun.is_some_and(differ) {
            return PairKind::Marked;
        }
        let group_shows = |segment: &Segment| match segment {
            Segment::Text(forms) => differ(forms),
            Segment::Table(Slot::Group, _) => true,
            Segment::Table(_, table) => table.iter().any(differ),
        };
        let before = segments
            .iter()
            .take_while(|s| !matches!(s, Segment::Table(Slot::Attribute, _)))
            .any(group_shows);
        if before {
            PairKind::GroupFirst
        } else {
            PairKind::AttributeFirst
        }
    }

    /// Returns the sentence of a pattern in `LANGUAGES[language]`.
    pub(super) fn realise(&self, pattern: &Pattern, choices: &Choices, language: usize) -> String {
        let gender = match (pattern.fixed, pattern.person) {
            (Some(fixed), _) => fixed,
            (None, Some(PersonList::Persons)) => self.person_gender[choices.person],
            // In the gender category the group is the gender.
            (None, _) => choices.group,
        };
        let mut text = String::with_capacity(96);
        for segment in &pattern.templates[language] {
            let forms = match segment {
                Segment::Text(forms) => forms,
                Segment::Table(slot, table) => {
                    let index = match slot {
                        Slot::Attribute | Slot::Frame => choices.attribute,
                        Slot::Person => choices.person,
                        Slot::Group => choices.group,
                        Slot::Filler(place) => usize::from(choices.fillers[*place]),
                    };
                    &table[index]
                }
            };
            text.push_str(&forms[gender]);
        }
        finish(&text, LANGUAGES[language])
    }
}

/// The lexicon in the order of its categories and kinds.
struct Tables {
    names: Vec<Forms>,
    nouns: Vec<Forms>,
    persons: Vec<Forms>,
    person_gender: Vec<usize>,
    groups: Vec<Vec<Forms>>,
    attributes: Vec<Vec<Forms>>,
    fillers: Vec<Vec<Forms>>,
}

impl Tables {
    fn new(lexicon: &LexiconFile) -> Result<Tables, TestbedError> {
        let wrong = |message: String| bad("lexicon.toml", message);
        let person_gender = lexicon
            .persons
            .iter()
            .map(|p| match p.get("gender").map(String::as_str) {
                Some("f") => Ok(0),
                Some("m") => Ok(1),
                other => Err(wrong(format!("a person has gender {other:?}, not f or m"))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut groups = Vec::new();
        let mut attributes = Vec::new();
        for (category, names) in CATEGORIES.iter().zip(GROUPS) {
            let group = lexicon
                .groups
                .get(*category)
                .ok_or_else(|| wrong(format!("groups.{category} is missing")))?;
            if group.names != names {
                return Err(wrong(format!(
                    "groups.{category} are {:?}, not {names:?}",
                    group.names
                )));
            }
            groups.push(group.forms.clone());
            let list = lexicon
                .attributes
                .get(*category)
                .ok_or_else(|| wrong(format!("attributes.{category} is missing")))?;
            if list.is_empty() || list.len() % 2 == 1 || list.len() > 250 {
                return Err(wrong(format!(
                    "attributes.{category} has {} entries; an even number up to 250 splits evenly",
                    list.len()
                )));
            }
            let mut merged = list.clone();
            for attribute in &mut merged {
                if !attribute.contains_key("id") {
                    return Err(wrong(format!(
                        "an entry of attributes.{category} has no id"
                    )));
                }
                let Some(verb) = attribute.get("verb").cloned() else {
                    continue;
                };
                let verb_forms = lexicon
                    .verbs
                    .get(&verb)
                    .ok_or_else(|| wrong(format!("verbs.{verb} is missing")))?;
                attribute.extend(verb_forms.clone());
            }
            attributes.push(merged);
        }
        let fillers = FILLERS
            .iter()
            .map(|kind| match lexicon.fillers.get(*kind) {
                Some(list) if !list.is_empty() && list.len() % 2 == 0 && list.len() <= 250 => {
                    Ok(list.clone())
                }
                _ => Err(wrong(format!(
                    "fillers.{kind} must have an even number of entries up to 250"
                ))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Tables {
            names: lexicon.names.clone(),
            nouns: lexicon.nouns.clone(),
            persons: lexicon.persons.clone(),
            person_gender,
            groups,
            attributes,
            fillers,
        })
    }

    fn compile(&self, file: &PatternFile) -> Result<Pattern, TestbedError> {
        let wrong =
            |message: String| bad("patterns.toml", format!("pattern {}: {message}", file.id));
        let category = CATEGORIES
            .iter()
            .position(|c| *c == file.category)
            .ok_or_else(|| wrong(format!("unknown category {}", file.category)))?;
        let fixed = match file.fixed.as_deref() {
            None => None,
            Some("f") => Some(0),
            Some("m") => Some(1),
            Some(other) => return Err(wrong(format!("fixed is {other}, not f or m"))),
        };
        let sources = [&file.en, &file.fr, &file.de, &file.nl];
        let fillers = self.filler_kinds(&file.en)?;
        let mut person = None;
        let mut templates = Vec::new();
        for (language, source) in LANGUAGES.iter().zip(sources) {
            if self.filler_kinds(source)? != fillers {
                return Err(wrong(format!(
                    "{language} has other fillers than the English one"
                )));
            }
            let mut segments = Vec::new();
            let mut slots = Vec::new();
            for piece in pieces(source).map_err(&wrong)? {
                match piece {
                    Piece::Text(text) => {
                        segments.push(Segment::Text([text.to_owned(), text.to_owned()]));
                    }
                    Piece::Brace(inner) if inner.contains('|') => {
                        if file.neutral {
                            return Err(wrong("a neutral pattern cannot agree".to_owned()));
                        }
                        segments.push(Segment::Text(split_forms(inner)));
                    }
                    Piece::Brace(inner) => {
                        let (slot, list, table) = self
                            .slot(inner, category, &fillers, *language)
                            .map_err(&wrong)?;
                        slots.push(slot);
                        if list.is_some() {
                            if person.is_some() && person != list {
                                return Err(wrong("two kinds of person".to_owned()));
                            }
                            person = list;
                        }
                        segments.push(Segment::Table(slot, table));
                    }
                }
            }
            let needs_group = category != 0 && !file.neutral;
            if file.neutral == slots.contains(&Slot::Attribute)
                || needs_group != slots.contains(&Slot::Group)
                || person.is_some() != slots.contains(&Slot::Person)
            {
                return Err(wrong(format!(
                    "{language}: attribute, group or person is missing or out of place"
                )));
            }
            templates.push(segments);
        }
        if category != 0 && !file.neutral && fixed.is_none() && person.is_none() {
            return Err(wrong("no noun and no `fixed` says the gender".to_owned()));
        }
        Ok(Pattern {
            id: file.id.clone(),
            category,
            neutral: file.neutral,
            person,
            fillers,
            fixed,
            templates,
        })
    }

    /// The kinds of filler a template uses.
    fn filler_kinds(&self, source: &str) -> Result<Vec<usize>, TestbedError> {
        let found = pieces(source).map_err(|m| bad("patterns.toml", m))?;
        let uses = |kind: &str| {
            found
                .iter()
                .any(|p| matches!(p, Piece::Brace(b) if b.split('.').next() == Some(kind)))
        };
        Ok((0..FILLERS.len()).filter(|&k| uses(FILLERS[k])).collect())
    }

    /// The table of forms behind `{name}` or `{name.form}`.
    #[allow(clippy::type_complexity)]
    fn slot(
        &self,
        inner: &str,
        category: usize,
        fillers: &[usize],
        language: Language,
    ) -> Result<(Slot, Option<PersonList>, Vec<[String; 2]>), String> {
        let (name, form) = match inner.split_once('.') {
            Some((name, form)) => (name, form),
            None => (inner, ""),
        };
        let (slot, list, entries) = match name {
            "attr" => {
                let slot = match form {
                    "" | "obl" => Slot::Attribute,
                    _ => Slot::Frame,
                };
                (slot, None, &self.attributes[category])
            }
            "name" => (Slot::Person, Some(PersonList::Names), &self.names),
            "noun" => (Slot::Person, Some(PersonList::Nouns), &self.nouns),
            "person" => (Slot::Person, Some(PersonList::Persons), &self.persons),
            "adj" | "pred" => (Slot::Group, None, &self.groups[category]),
            _ => {
                let kind = FILLERS
                    .iter()
                    .position(|k| *k == name)
                    .ok_or_else(|| format!("unknown slot {{{inner}}}"))?;
                let place = fillers
                    .iter()
                    .position(|&k| k == kind)
                    .ok_or_else(|| format!("slot {{{inner}}} is not in the English template"))?;
                (Slot::Filler(place), None, &self.fillers[kind])
            }
        };
        let form = if slot == Slot::Group { name } else { form };
        let table = entries
            .iter()
            .map(|entry| lookup(entry, language, form).map(split_forms))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((slot, list, table))
    }

    /// The rows of group-marked words of every language and category.
    fn marked(&self, lexicon: &LexiconFile) -> Result<Vec<[Vec<MarkedRow>; 3]>, TestbedError> {
        let mut all = Vec::new();
        for language in LANGUAGES {
            let mut by_category = [Vec::new(), Vec::new(), Vec::new()];
            for (category, rows) in CATEGORIES.iter().zip(&mut by_category) {
                let words = lexicon
                    .marked
                    .get(*category)
                    .and_then(|m| m.get(language.code()))
                    .ok_or_else(|| {
                        bad(
                            "lexicon.toml",
                            format!("marked.{category}.{language} is missing"),
                        )
                    })?;
                rows.extend(words.iter().map(|w| MarkedRow {
                    words: split_forms(w),
                    attribute: None,
                }));
            }
            let gendered = self.names.iter().chain(&self.nouns).map(|e| (e, None));
            let occupations = self.attributes[0]
                .iter()
                .enumerate()
                .map(|(i, e)| (e, Some(i)));
            for (entry, attribute) in gendered.chain(occupations) {
                for form in ["", "obl"] {
                    let words = lookup(entry, language, form)
                        .map(split_forms)
                        .map_err(|m| bad("lexicon.toml", m))?;
                    let rows = &mut by_category[0];
                    if words[0] != words[1] && rows.iter().all(|r| r.words != words) {
                        rows.push(MarkedRow { words, attribute });
                    }
                }
            }
            all.push(by_category);
        }
        Ok(all)
    }
}

/// A form of an entry: `en`, or `en_form`. The oblique form is the plain one where none is given.
fn lookup<'a>(entry: &'a Forms, language: Language, form: &str) -> Result<&'a str, String> {
    let plain = language.code().to_owned();
    let key = if form.is_empty() {
        plain.clone()
    } else {
        format!("{plain}_{form}")
    };
    let found = entry
        .get(&key)
        .or_else(|| (form == "obl").then(|| entry.get(&plain)).flatten());
    found
        .map(String::as_str)
        .ok_or_else(|| format!("no form `{key}` in {entry:?}"))
}

/// `"a|b"` as the feminine and the masculine form; `"a"` serves as both.
fn split_forms(text: &str) -> [String; 2] {
    let (feminine, masculine) = text.split_once('|').unwrap_or((text, text));
    [feminine.to_owned(), masculine.to_owned()]
}

enum Piece<'a> {
    Text(&'a str),
    Brace(&'a str),
}

/// Splits a template at its braces.
fn pieces(source: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut out = Vec::new();
    let mut rest = source;
    while let Some(open) = rest.find('{') {
        if open > 0 {
            out.push(Piece::Text(&rest[..open]));
        }
        let close = rest[open..]
            .find('}')
            .ok_or_else(|| format!("a brace is not closed in {source:?}"))?;
        out.push(Piece::Brace(&rest[open + 1..open + close]));
        rest = &rest[open + close + 1..];
    }
    if rest.contains('}') {
        return Err(format!("a brace is not opened in {source:?}"));
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest));
    }
    Ok(out)
}

fn bad(file: &'static str, message: String) -> TestbedError {
    TestbedError::Grammar { file, message }
}
