//! Loads StereoSet: a context and three associations, which are stereotyped, anti-stereotyped and unrelated.
//!
//! Two layouts are read. The published one is `{"version", "data": {"intrasentence": […], "intersentence": […]}}`
//! with three labelled `sentences` per item. That of EditBias is a plain list of intrasentence items whose `data`
//! holds the three sentences by label.
//!
//! # Source
//! Nadeem et al. 2021, arXiv 2004.09456; the layout of EditBias: github.com/zjunlp/EditBias.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::json::{Bounded, CountLines, Fields, MOST_PARTS};
use super::suspicious;
use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{BOM, Limits, io_error, open};
use crate::language::Language;
use crate::types::{StereoItem, StereoKind, Triple};

/// The largest file, after decompression. The published ones have 9 and 26 MB.
const MOST_BYTES: u64 = 128 << 20;
/// The most items.
const MOST_ITEMS: u64 = 200_000;
/// What stands for the open word.
const BLANK: &str = "BLANK";

/// Options of [`load_stereoset`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StereoOptions {
    /// The kinds of test to read; empty reads both.
    pub kinds: Vec<StereoKind>,
    /// The categories to read; empty reads all.
    pub categories: Vec<String>,
    /// The language of the sentences, which the file does not say.
    pub language: Language,
    /// How to treat items that can't be used.
    pub on_bad_row: OnBadRow,
    /// The most items to read, in the order of the file; `None` reads all.
    pub limit: Option<usize>,
    /// The limits on the size of the file and its parts.
    pub limits: Limits,
}

impl StereoOptions {
    /// Makes options that read every item as English.
    pub fn new(on_bad_row: OnBadRow) -> Self {
        StereoOptions {
            kinds: Vec::new(),
            categories: Vec::new(),
            language: Language::EN,
            on_bad_row,
            limit: None,
            limits: Limits::default(),
        }
    }
}

/// Reads the items of a file, plain or gzip-compressed.
///
/// An item can't be used if a label is missing or comes twice, a sentence is empty or equals another one, an id comes
/// twice, the context has no `BLANK`, or a sentence is not the context with `BLANK` filled. That comparison ignores
/// case and the number of spaces. If `BLANK` occurs twice, the same words must fill both places.
///
/// # Errors
/// Any [`DataError`]; the error names the id of an item and its place, such as `data.intrasentence[3].context`.
pub fn load_stereoset(
    path: &Path,
    options: &StereoOptions,
) -> Result<(Vec<StereoItem>, Report), DataError> {
    let limits = Limits {
        decompressed_bytes: options.limits.decompressed_bytes.min(MOST_BYTES),
        ..options.limits
    };
    let mut source = open(path, limits)?;
    let start = source.reader.fill_buf().map_err(|e| io_error(path, e))?;
    if start.starts_with(BOM) {
        source.reader.consume(BOM.len());
    }
    let line = Rc::new(Cell::new(1));
    let mut collector = Collector::new(path, options, line.clone());
    let reader = CountLines {
        inner: source.reader,
        line,
    };
    let mut input = serde_json::Deserializer::from_reader(reader);
    let parsed = Document(&mut collector)
        .deserialize(&mut input)
        .and_then(|()| input.end());
    if let Err(error) = parsed {
        match collector.stopped {
            Some(Stop::Failed(error)) => return Err(*error),
            Some(Stop::Full) => {}
            None if error.is_io() => return Err(io_error(path, error.into())),
            None => return Err(super::translation_json::json_error(path, &error)),
        }
    }
    collector.finish()
}

/// Why reading ended before the end of the file.
enum Stop {
    Full,
    Failed(Box<DataError>),
}

struct Collector<'o> {
    path: &'o Path,
    options: &'o StereoOptions,
    line: Rc<Cell<u64>>,
    items: Vec<StereoItem>,
    report: Report,
    categories: BTreeSet<String>,
    kinds: BTreeSet<StereoKind>,
    ids: HashSet<String>,
    texts: HashMap<[String; 3], String>,
    stopped: Option<Stop>,
}

impl<'o> Collector<'o> {
    fn new(path: &'o Path, options: &'o StereoOptions, line: Rc<Cell<u64>>) -> Self {
        Collector {
            path,
            options,
            line,
            items: Vec::new(),
            report: Report::default(),
            categories: BTreeSet::new(),
            kinds: BTreeSet::new(),
            ids: HashSet::new(),
            texts: HashMap::new(),
            stopped: None,
        }
    }

    /// Takes an item; `false` when no more are wanted.
    fn add(&mut self, kind: StereoKind, place: &str, line: u64, value: &Value) -> bool {
        if self.report.rows_read >= MOST_ITEMS {
            self.stopped = Some(Stop::Failed(Box::new(DataError::BadRow {
                file: self.path.to_owned(),
                line: Some(line),
                column: Some(place.to_owned()),
                kind: FindingKind::BadValue,
                message: format!("more than {MOST_ITEMS} items; divide the file"),
            })));
            return false;
        }
        self.kinds.insert(kind);
        if !self.options.kinds.is_empty() && !self.options.kinds.contains(&kind) {
            return true;
        }
        let outcome = match self.item(kind, place, line, value) {
            Ok(Some(item)) => {
                self.report.rows_read += 1;
                self.items.push(item);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(bad) => {
                self.report.rows_read += 1;
                self.report.bad_row(self.options.on_bad_row, self.path, bad)
            }
        };
        if let Err(error) = outcome {
            self.stopped = Some(Stop::Failed(Box::new(error)));
        } else if self.options.limit.is_some_and(|l| self.items.len() >= l) {
            self.stopped = Some(Stop::Full);
        }
        self.stopped.is_none()
    }

    /// Checks an item; `None` if its category isn't wanted.
    fn item(
        &mut self,
        kind: StereoKind,
        place: &str,
        line: u64,
        value: &Value,
    ) -> Result<Option<StereoItem>, BadRow> {
        let fields = Fields::new(value, place, line)?;
        let id = fields.identifier("id")?;
        let fields = fields.named(format!("item {id}"));
        let bias_type = fields.text("bias_type")?;
        let category = category(&fields, bias_type)?;
        self.categories.insert(category.to_owned());
        let wanted = &self.options.categories;
        if !wanted.is_empty() && !wanted.iter().any(|c| c == category) {
            return Ok(None);
        }
        if !self.ids.insert(id.clone()) {
            return Err(fields.bad("id", FindingKind::Duplicate, "an earlier item has this id"));
        }
        let context = fields.text("context")?;
        let sentences = sentences(&fields)?;
        let fills = match kind {
            StereoKind::Intrasentence => Some(fills(&fields, context, &sentences)?),
            StereoKind::Intersentence => None,
        };
        for (text, label) in in_order(&sentences).into_iter().zip(LABELS) {
            suspicious(&mut self.report, self.path, line, &fields.at(label), text);
        }
        let texts = in_order(&sentences).map(str::to_lowercase);
        if let Some(other) = self.texts.get(&texts) {
            let message = format!("item {id} ({place}) repeats the sentences of item {other}");
            self.report
                .note(self.path, Some(line), FindingKind::Duplicate, message);
        } else {
            self.texts.insert(texts, id.clone());
        }
        Ok(Some(StereoItem {
            category: category.to_owned(),
            bias_type: bias_type.to_owned(),
            language: self.options.language,
            target: fields.text("target")?.to_owned(),
            context: context.to_owned(),
            id,
            kind,
            sentences,
            fills,
        }))
    }

    fn finish(self) -> Result<(Vec<StereoItem>, Report), DataError> {
        let complete = self.stopped.is_none();
        let missing = |what: &str, names: String, there: String| DataError::BadRow {
            file: self.path.to_owned(),
            line: None,
            column: Some(what.to_owned()),
            kind: FindingKind::BadValue,
            message: format!("no item of {names}; there are: {there}"),
        };
        let list = |names: Vec<String>| names.join(", ");
        let mut wanted = self.options.categories.iter();
        if let Some(name) = wanted.find(|c| complete && !self.categories.contains(*c)) {
            let there = self.categories.iter().cloned().collect();
            return Err(missing("bias_type", format!("`{name}`"), list(there)));
        }
        let mut wanted = self.options.kinds.iter();
        if let Some(kind) = wanted.find(|k| complete && !self.kinds.contains(k)) {
            let there = self.kinds.iter().map(|k| section(*k).to_owned()).collect();
            return Err(missing("data", section(*kind).to_owned(), list(there)));
        }
        if self.items.is_empty() {
            return Err(DataError::Empty {
                file: self.path.to_owned(),
                read: self.report.rows_read,
                skipped: self.report.rows_skipped,
            });
        }
        Ok((self.items, self.report))
    }
}

/// The labels, in the order of [`in_order`].
const LABELS: [&str; 3] = ["stereotype", "anti-stereotype", "unrelated"];

fn in_order(triple: &Triple) -> [&str; 3] {
    [
        &triple.stereotype,
        &triple.antistereotype,
        &triple.unrelated,
    ]
}

fn section(kind: StereoKind) -> &'static str {
    match kind {
        StereoKind::Intrasentence => "intrasentence",
        StereoKind::Intersentence => "intersentence",
    }
}

fn category(fields: &Fields, bias_type: &str) -> Result<&'static str, BadRow> {
    match bias_type {
        "gender" => Ok("gender"),
        "profession" => Ok("profession"),
        "race" => Ok("race-color"),
        "religion" => Ok("religion"),
        other => {
            let message = format!("`{other}` is none of gender, profession, race, religion");
            Err(fields.bad("bias_type", FindingKind::BadValue, message))
        }
    }
}

/// The three sentences, from the labelled list, the table by label, or both where they agree.
fn sentences(fields: &Fields) -> Result<Triple, BadRow> {
    let table = match fields.has("data") {
        true => Some(by_label(&fields.object("data")?)?),
        false => None,
    };
    let labelled = match fields.has("sentences") || table.is_none() {
        true => Some(from_list(fields)?),
        false => None,
    };
    let triple = match (table, labelled) {
        (Some(table), Some(labelled)) if table != labelled => {
            let message = "`sentences` and `data` hold other sentences under the same labels";
            return Err(fields.bad("data", FindingKind::BadValue, message));
        }
        (Some(triple), _) | (None, Some(triple)) => triple,
        (None, None) => unreachable!("the list is read where there is no table"),
    };
    let [stereotype, antistereotype, unrelated] =
        in_order(&triple).map(|s| words(s).join(" ").to_lowercase());
    if stereotype == antistereotype || stereotype == unrelated || antistereotype == unrelated {
        let message = "two of the three sentences are the same";
        return Err(fields.bad("sentences", FindingKind::IdenticalPair, message));
    }
    Ok(triple)
}

fn by_label(data: &Fields) -> Result<Triple, BadRow> {
    let text = |label: &str| Ok(data.object(label)?.text("sentence")?.to_owned());
    Ok(Triple {
        stereotype: text(LABELS[0])?,
        antistereotype: text(LABELS[1])?,
        unrelated: text(LABELS[2])?,
    })
}

fn from_list(fields: &Fields) -> Result<Triple, BadRow> {
    let mut found: [Option<String>; 3] = [None, None, None];
    for entry in fields.objects("sentences")? {
        let label = entry.text("gold_label")?;
        let Some(at) = LABELS.iter().position(|l| *l == label) else {
            let message = format!("`{label}` is none of {}", LABELS.join(", "));
            return Err(entry.bad("gold_label", FindingKind::BadValue, message));
        };
        if found[at].is_some() {
            let message = format!("two sentences are labelled `{label}`");
            return Err(entry.bad("gold_label", FindingKind::BadValue, message));
        }
        found[at] = Some(entry.text("sentence")?.to_owned());
    }
    if let Some(at) = found.iter().position(Option::is_none) {
        let message = format!("no sentence is labelled `{}`", LABELS[at]);
        return Err(fields.bad("sentences", FindingKind::BadValue, message));
    }
    let [stereotype, antistereotype, unrelated] = found.map(Option::unwrap_or_default);
    Ok(Triple {
        stereotype,
        antistereotype,
        unrelated,
    })
}

fn fills(fields: &Fields, context: &str, sentences: &Triple) -> Result<Triple, BadRow> {
    if !context.contains(BLANK) {
        let message = format!("`{context}` has no {BLANK}");
        return Err(fields.bad("context", FindingKind::BadValue, message));
    }
    let fill = |sentence: &str| {
        fill(context, sentence).ok_or_else(|| {
            let message = format!("`{sentence}` is not `{context}` with {BLANK} filled");
            fields.bad("sentences", FindingKind::BadValue, message)
        })
    };
    Ok(Triple {
        stereotype: fill(&sentences.stereotype)?,
        antistereotype: fill(&sentences.antistereotype)?,
        unrelated: fill(&sentences.unrelated)?,
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// What stands in the sentence where the context has `BLANK`.
fn fill(context: &str, sentence: &str) -> Option<String> {
    let context = words(context).join(" ");
    let sentence: Vec<char> = words(sentence).join(" ").chars().collect();
    let parts: Vec<Vec<char>> = context.split(BLANK).map(|p| p.chars().collect()).collect();
    let given: usize = parts.iter().map(Vec::len).sum();
    let places = parts.len() - 1;
    let left = sentence.len().checked_sub(given)?;
    if places == 0 || left == 0 || left % places != 0 {
        return None;
    }
    let mut at = 0;
    let mut found: Option<&[char]> = None;
    for (i, part) in parts.iter().enumerate() {
        if !same(sentence.get(at..at + part.len())?, part) {
            return None;
        }
        at += part.len();
        if i < places {
            let here = sentence.get(at..at + left / places)?;
            if found.is_some_and(|f| !same(f, here)) {
                return None;
            }
            found = found.or(Some(here));
            at += here.len();
        }
    }
    let text: String = found?.iter().collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Equal but for case.
fn same(left: &[char], right: &[char]) -> bool {
    let fold = |(l, r): (&char, &char)| l == r || l.to_lowercase().eq(r.to_lowercase());
    left.len() == right.len() && left.iter().zip(right).all(fold)
}

/// The whole file: a list of items, or an object whose `data` holds lists of them.
struct Document<'c, 'o>(&'c mut Collector<'o>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of StereoSet items, or an object with `data`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        // EditBias has no intersentence items.
        each(self.0, StereoKind::Intrasentence, "", items)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key == "data" && !keys.contains(&key) {
                entries.next_value_seed(Sections(self.0))?;
            } else if key == "data" {
                return Err(A::Error::custom("the key `data` stands here twice"));
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
            if keys.len() < 12 {
                keys.push(key);
            }
        }
        if keys.iter().any(|k| k == "data") {
            return Ok(());
        }
        let message = format!(
            "the key `data` is missing; the keys are: {}",
            keys.join(", ")
        );
        Err(A::Error::custom(message))
    }
}

/// The object under `data`.
struct Sections<'c, 'o>(&'c mut Collector<'o>);

impl<'de> DeserializeSeed<'de> for Sections<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Sections<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with `intrasentence` and `intersentence`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let kind = match key.as_str() {
                "intrasentence" => StereoKind::Intrasentence,
                "intersentence" => StereoKind::Intersentence,
                other => {
                    let message = format!("`{other}` is none of intrasentence, intersentence");
                    return Err(A::Error::custom(message));
                }
            };
            if seen.contains(&kind) {
                return Err(A::Error::custom(format!(
                    "the key `{key}` stands here twice"
                )));
            }
            seen.push(kind);
            entries.next_value_seed(Section(self.0, kind))?;
        }
        Ok(())
    }
}

/// One list of items.
struct Section<'c, 'o>(&'c mut Collector<'o>, StereoKind);

impl<'de> DeserializeSeed<'de> for Section<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Section<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of StereoSet items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        each(self.0, self.1, &format!("data.{}", section(self.1)), items)
    }
}

/// Hands on item after item, so that only one is in memory beside what is kept of the others.
fn each<'de, A: SeqAccess<'de>>(
    collector: &mut Collector,
    kind: StereoKind,
    place: &str,
    mut items: A,
) -> Result<(), A::Error> {
    let line = collector.line.clone();
    for i in 0.. {
        let seed = Located {
            left: &Cell::new(MOST_PARTS),
            line: &line,
        };
        let Some((line, value)) = items.next_element_seed(seed)? else {
            break;
        };
        if !collector.add(kind, &format!("{place}[{i}]"), line, &value) {
            return Err(A::Error::custom("no further item is wanted"));
        }
    }
    Ok(())
}

/// A value and the line it starts on.
struct Located<'a> {
    left: &'a Cell<usize>,
    line: &'a Cell<u64>,
}

impl<'de> DeserializeSeed<'de> for Located<'_> {
    type Value = (u64, Value);

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        let line = self.line.get();
        Ok((line, Bounded::new(self.left).deserialize(input)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_the_blank() {
        for (context, sentence, expect) in [
            ("the poet can BLANK", "The poet can rhyme", Some("rhyme")),
            ("BLANK comes.", "Love comes.", Some("Love")),
            ("A  BLANK man", "a very old man", Some("very old")),
            ("BLANK and BLANK", "red and Red", Some("red")),
            ("BLANK and BLANK", "red and blue", None),
            ("BLANK and BLANK", "red and green", None),
            ("the BLANK's cat", "the man's cat", Some("man")),
            ("the poet can BLANK", "A poet can rhyme", None),
            ("the poet can BLANK", "the poet can", None),
            ("the poet can BLANK.", "the poet can .", None),
            ("İ BLANK", "i̇ x", None),
            ("no place", "no place", None),
        ] {
            assert_eq!(fill(context, sentence).as_deref(), expect, "{context}");
        }
    }
}
