//! Loads items with several candidates of which one is right, in this project's own format: TSV or JSON lines.
//!
//! The fields are `id`, `language`, `prompt`, `candidates`, `gold` (the right candidate, counted from 0), and
//! `category`, which may be missing. In TSV the candidates are separated by `|`; in JSON lines they are a list. An id
//! occurs once for each language, and its candidates have the same order in all of them, so that answers can be
//! compared between languages.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::delimited::{Record, Records};
use super::json::{Fields, bounded};
use super::{canonical_category, choose, file_name, suspicious};
use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{Limits, RawLines, TextEncoding, open};
use crate::language::Language;
use crate::types::ChoiceItem;

/// Fields that every item has.
const FIELDS: [&str; 5] = ["id", "language", "prompt", "candidates", "gold"];
/// The field that an item may have.
const CATEGORY: &str = "category";
/// What divides the candidates in a cell of TSV.
const DIVIDER: char = '|';
/// The most candidates of an item, and the most items.
pub(super) const MOST_CANDIDATES: usize = 100;
pub(super) const MOST_ITEMS: usize = 1_000_000;

/// Options of [`load_choice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceOptions {
    /// The languages to keep; empty keeps all that the file has.
    pub languages: Vec<Language>,
    /// How to treat items that can't be used.
    pub on_bad_row: OnBadRow,
    /// The limits on the size of the file and its parts.
    pub limits: Limits,
}

impl ChoiceOptions {
    /// Makes options that read all items in these languages.
    pub fn new(languages: &[Language], on_bad_row: OnBadRow) -> Self {
        ChoiceOptions {
            languages: languages.to_vec(),
            on_bad_row,
            limits: Limits::default(),
        }
    }
}

/// Reads a file: JSON lines if its name ends in `.jsonl` or `.json`, otherwise TSV. The items keep the order of the
/// file.
///
/// # Errors
/// Any [`DataError`]: a field is missing or empty, `gold` names no candidate, there are fewer than two candidates, a
/// candidate or an id comes twice in one language, or the candidates or the gold of an id differ between languages.
pub fn load_choice(
    path: &Path,
    options: &ChoiceOptions,
) -> Result<(Vec<ChoiceItem>, Report), DataError> {
    let mut reader = Reader {
        path,
        policy: options.on_bad_row,
        items: Vec::new(),
        seen: HashSet::new(),
        firsts: HashMap::new(),
        report: Report::default(),
    };
    let name = file_name(path);
    match [".jsonl", ".json"].iter().any(|end| name.ends_with(end)) {
        true => reader.json_lines(options.limits)?,
        false => reader.table(options.limits)?,
    }
    let Reader {
        mut items, report, ..
    } = reader;
    if items.is_empty() {
        return Err(DataError::Empty {
            file: path.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        });
    }
    let mut available: Vec<Language> = items.iter().map(|item| item.language).collect();
    available.sort();
    available.dedup();
    let languages = choose(path, &options.languages, &available)?;
    items.retain(|item| languages.contains(&item.language));
    Ok((items, report))
}

/// Puts items, and the candidates of each, in an order that depends on the seed and on the ids alone: the same in every language,
/// whatever else is in the list.
///
/// Of equal candidates the first is the answer, so a gold that always stands last makes a model that knows nothing look worse than
/// chance, and one that always stands first, better.
pub fn shuffle_choices(items: &mut [ChoiceItem], seed: u64) {
    let place = |id: &str, candidate: Option<usize>| -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        // Counted from 1, so that the place of the item itself is another one than that of its first candidate.
        hash.update((candidate.map_or(0, |at| at as u64 + 1)).to_le_bytes());
        hash.update(id.as_bytes());
        hash.finalize().into()
    };
    items.sort_by_cached_key(|item| place(&item.id, None));
    for item in items {
        let mut order: Vec<usize> = (0..item.candidates.len()).collect();
        order.sort_by_cached_key(|&at| place(&item.id, Some(at)));
        item.candidates = order
            .iter()
            .map(|&at| item.candidates[at].clone())
            .collect();
        item.gold = order
            .iter()
            .position(|&at| at == item.gold)
            .unwrap_or(item.gold);
    }
}

/// Where an id stands first: its line, language, number of candidates and gold.
type First = (u64, Language, usize, usize);

struct Reader<'a> {
    path: &'a Path,
    policy: OnBadRow,
    items: Vec<ChoiceItem>,
    seen: HashSet<(String, Language)>,
    firsts: HashMap<String, First>,
    report: Report,
}

impl Reader<'_> {
    fn json_lines(&mut self, limits: Limits) -> Result<(), DataError> {
        let mut lines = RawLines::new(open(self.path, limits)?);
        while let Some((line, bytes)) = lines.next_line()? {
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let item = bounded(&bytes)
                .map_err(|error| bad_line(line, FindingKind::BadValue, error.to_string()))
                .and_then(|value| of_json(&value, line));
            self.take(line, item)?;
        }
        Ok(())
    }

    fn table(&mut self, limits: Limits) -> Result<(), DataError> {
        let source = open(self.path, limits)?;
        let mut records = Records::new(source, b'\t', TextEncoding::Utf8)?;
        let mut at = [0; FIELDS.len()];
        for (at, name) in at.iter_mut().zip(FIELDS) {
            *at = records.column(name)?;
        }
        let category = records.column(CATEGORY).ok();
        // A bad record does not say its line where it is the whole file's fault; its own is then the last one read.
        let mut last = 1;
        while let Some(record) = records.next_record()? {
            last = match &record {
                Ok(record) => record.line,
                Err(bad) => bad.line.unwrap_or(last),
            };
            let item = record.and_then(|record| of_record(&record, at, category));
            self.take(last, item)?;
        }
        Ok(())
    }

    /// Keeps an item, or does with it what the policy says.
    fn take(&mut self, line: u64, item: Result<ChoiceItem, BadRow>) -> Result<(), DataError> {
        self.report.rows_read += 1;
        if self.items.len() >= MOST_ITEMS {
            return Err(DataError::TooLarge {
                file: self.path.to_owned(),
                line: Some(line),
                what: "the number of items",
                limit: MOST_ITEMS as u64,
            });
        }
        match item.and_then(|item| self.fits(line, &item).map(|()| item)) {
            Err(bad) => self.report.bad_row(self.policy, self.path, bad),
            Ok(item) => {
                for text in item.candidates.iter().chain([&item.prompt]) {
                    suspicious(&mut self.report, self.path, line, "candidates", text);
                }
                self.seen.insert((item.id.clone(), item.language));
                let first = (line, item.language, item.candidates.len(), item.gold);
                self.firsts.entry(item.id.clone()).or_insert(first);
                self.items.push(item);
                Ok(())
            }
        }
    }

    /// Whether an item goes with those before it.
    fn fits(&self, line: u64, item: &ChoiceItem) -> Result<(), BadRow> {
        let ChoiceItem { id, language, .. } = item;
        if self.seen.contains(&(id.clone(), *language)) {
            let message = format!("item `{id}` stands in {language} before");
            return Err(BadRow::new(line, "id", FindingKind::Duplicate, message));
        }
        let Some(&(there, other, candidates, gold)) = self.firsts.get(id) else {
            return Ok(());
        };
        let found = item.candidates.len();
        if found != candidates {
            let message = format!(
                "item `{id}` has {found} candidates in {language} and {candidates} in {other} (line {there}); they stand in the same \
                 number and order in all languages"
            );
            return Err(BadRow::new(
                line,
                "candidates",
                FindingKind::FieldCount,
                message,
            ));
        }
        if item.gold != gold {
            let message = format!(
                "the gold of item `{id}` is {} in {language} and {gold} in {other} (line {there}); candidates stand in the same order \
                 in all languages",
                item.gold
            );
            return Err(BadRow::new(line, "gold", FindingKind::BadValue, message));
        }
        Ok(())
    }
}

fn bad_line(line: u64, kind: FindingKind, message: String) -> BadRow {
    BadRow {
        line: Some(line),
        column: None,
        kind,
        message,
    }
}

fn of_record(
    record: &Record,
    at: [usize; FIELDS.len()],
    category: Option<usize>,
) -> Result<ChoiceItem, BadRow> {
    let [id, language, prompt, candidates, gold] = at.map(|at| record.cells[at].trim());
    let gold = match gold {
        "" => return Err(no_gold(record.line)),
        text => text.parse().map_err(|_| {
            let message = format!("`{text}` is no whole number; gold counts candidates from 0");
            BadRow::new(record.line, "gold", FindingKind::BadValue, message)
        })?,
    };
    let category = category.map(|at| record.cells[at].trim());
    Parts {
        line: record.line,
        id: id.to_owned(),
        language,
        prompt,
        candidates: candidates.split(DIVIDER).collect(),
        gold,
        category: category.filter(|text| !text.is_empty()),
    }
    .checked()
}

fn of_json(value: &Value, line: u64) -> Result<ChoiceItem, BadRow> {
    let fields = Fields::new(value, "", line)?;
    if let Value::Object(map) = value {
        let known = |key: &&String| FIELDS.contains(&key.as_str()) || *key == CATEGORY;
        if let Some(key) = map.keys().find(|key| !known(key)) {
            let message = format!(
                "no field of an item; they are {}, {CATEGORY}",
                FIELDS.join(", ")
            );
            return Err(BadRow::new(line, key, FindingKind::BadValue, message));
        }
    }
    let gold = match value.get("gold") {
        None | Some(Value::Null) => return Err(no_gold(line)),
        Some(Value::Number(number)) if number.as_u64().is_some() => {
            number.as_u64().unwrap_or_default() as usize
        }
        Some(other) => return Err(fields.wrong("gold", other, "a whole number from 0")),
    };
    let texts = fields.list("candidates")?.iter().map(|candidate| {
        let wrong = || fields.wrong("candidates", candidate, "a list of texts");
        candidate.as_str().ok_or_else(wrong)
    });
    let prompt = match fields.get("prompt")? {
        Value::String(text) => text.as_str(),
        other => return Err(fields.wrong("prompt", other, "text")),
    };
    Parts {
        line,
        id: fields.identifier("id")?,
        language: fields.text("language")?,
        prompt,
        candidates: texts.collect::<Result<_, _>>()?,
        gold,
        category: match fields.has(CATEGORY) && !fields.get(CATEGORY)?.is_null() {
            true => Some(fields.text(CATEGORY)?),
            false => None,
        },
    }
    .checked()
}

fn no_gold(line: u64) -> BadRow {
    let message = "no gold; it says which candidate is right, counted from 0";
    BadRow::new(line, "gold", FindingKind::EmptyCell, message)
}

/// An item as it stands in a file.
struct Parts<'a> {
    line: u64,
    id: String,
    language: &'a str,
    prompt: &'a str,
    candidates: Vec<&'a str>,
    gold: usize,
    category: Option<&'a str>,
}

impl Parts<'_> {
    fn checked(self) -> Result<ChoiceItem, BadRow> {
        let bad =
            |column: &str, kind, message: String| BadRow::new(self.line, column, kind, message);
        if self.id.is_empty() {
            return Err(bad("id", FindingKind::EmptyCell, "no text".to_owned()));
        }
        let language = self
            .language
            .parse()
            .map_err(|e: crate::language::BadLanguage| {
                bad("language", FindingKind::BadValue, e.to_string())
            })?;
        let candidates: Vec<String> = self
            .candidates
            .iter()
            .map(|c| c.trim().to_owned())
            .collect();
        let found = candidates.len();
        if let Some(at) = candidates.iter().position(String::is_empty) {
            let message = format!("candidate {at} of {found} is empty");
            return Err(bad("candidates", FindingKind::EmptyCell, message));
        }
        if !(2..=MOST_CANDIDATES).contains(&found) {
            let message = format!("{found} candidates; an item has 2 to {MOST_CANDIDATES}");
            return Err(bad("candidates", FindingKind::FieldCount, message));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = candidates.iter().find(|candidate| !seen.insert(*candidate)) {
            let message = format!("the candidate `{twice}` comes twice");
            return Err(bad("candidates", FindingKind::Duplicate, message));
        }
        if self.gold >= found {
            let message = format!(
                "{} names no candidate; there are 0 to {}",
                self.gold,
                found - 1
            );
            return Err(bad("gold", FindingKind::BadValue, message));
        }
        Ok(ChoiceItem {
            id: self.id,
            language,
            category: self.category.map(|c| canonical_category(c).to_owned()),
            prompt: self.prompt.trim().to_owned(),
            candidates,
            gold: self.gold,
        })
    }
}
