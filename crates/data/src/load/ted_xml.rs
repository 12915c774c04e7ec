//! Loads TED talks as IWSLT and WIT3 publish them.
//!
//! Each test set is a pair of files, one English and one in another language, in which the same segment of the same
//! talk has the same id: `IWSLT17.TED.tst2010.en-nl.en.xml` and `….nl.xml`. The talks are cut into segments
//! differently in every pair of files. So several languages are joined on the talk id and the English sentence,
//! normalised to its lower-case words. If a talk repeats a sentence, the first occurrence is matched with the first,
//! the second with the second, and so on.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use quick_xml::events::Event;

use super::xml::{push_reference, push_text, reader, xml_error};
use super::{Builder, ParallelOptions, choose, entries, file_name};
use crate::error::{BadRow, DataError, FindingKind, Report};
use crate::input::{RawLines, Source, TextEncoding, decode, io_error, open, open_file, trim_eol};
use crate::iso::language_of;
use crate::language::Language;
use crate::types::ParallelCorpus;

/// The parts of a file name: `IWSLT17.TED.tst2010.en-nl.nl.xml` belongs to the set `IWSLT17.TED.tst2010`, its other
/// language is `nl`, and it holds `nl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TedName {
    set: String,
    other: Language,
    holds: Language,
}

/// Parses such a name. It also parses `train.tags.en-nl.nl` and archives such as `en-nl.tgz`, whose set is empty.
pub(crate) fn parse_name(name: &str) -> Option<TedName> {
    let stem = name.strip_suffix(".xml").unwrap_or(name);
    let archive = name.strip_suffix(".tgz").or(name.strip_suffix(".tar.gz"));
    let (set, pair, holds) = match archive {
        Some(pair) => ("", pair, None),
        None => {
            let (rest, holds) = stem.rsplit_once('.')?;
            let (set, pair) = rest.rsplit_once('.')?;
            (set, pair, Some(language_of(holds)?))
        }
    };
    let (from, to) = pair.split_once('-')?;
    let (from, to) = (language_of(from)?, language_of(to)?);
    let other = match (from == Language::EN, to == Language::EN) {
        (true, false) => to,
        (false, true) => from,
        _ => return None,
    };
    if archive.is_none() && !(name.ends_with(".xml") || set.starts_with("train.tags")) {
        return None;
    }
    let holds = holds.unwrap_or(from);
    (holds == other || holds == Language::EN).then(|| TedName {
        set: set.to_owned(),
        other,
        holds,
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    talk: String,
    id: String,
    line: u64,
    pub text: String,
}

/// The segments of one file.
struct Side {
    file: PathBuf,
    segments: Vec<Segment>,
}

/// The test sets found, by set and other language: English side, other side.
type Sets = BTreeMap<(String, Language), [Option<Side>; 2]>;

pub(crate) fn load(
    path: &Path,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let mut report = Report::default();
    let sets = read_sets(path, options, &mut report)?;
    let mut available = vec![Language::EN];
    available.extend(sets.keys().map(|(_, l)| *l));
    available.sort_by_key(|l| (*l != Language::EN, *l));
    available.dedup();
    let languages = choose(path, &options.languages, &available)?;
    let mut others: Vec<Language> = languages
        .iter()
        .copied()
        .filter(|l| *l != Language::EN)
        .collect();
    if others.is_empty() {
        others = available[1..].to_vec();
    }
    let mut tables = Vec::new();
    for language in &others {
        tables.push(table(path, *language, &sets, &mut report)?);
    }
    let mut builder = Builder::new(languages.clone(), options.on_bad_row, options.limit);
    builder.report = report;
    let lookups: Vec<HashMap<&Key, usize>> = tables
        .iter()
        .skip(1)
        .map(|t| t.iter().enumerate().map(|(i, r)| (&r.key, i)).collect())
        .collect();
    let Some(first) = tables.first() else {
        return Err(DataError::Empty {
            file: path.to_owned(),
            read: 0,
            skipped: 0,
        });
    };
    for row in first {
        if builder.full() {
            break;
        }
        let mut texts = vec![row.other.as_str()];
        for (table, lookup) in tables[1..].iter().zip(&lookups) {
            if let Some(i) = lookup.get(&row.key) {
                texts.push(table[*i].other.as_str());
            }
        }
        if texts.len() < others.len() {
            continue;
        }
        let cell = |l: &Language| {
            others
                .iter()
                .position(|o| o == l)
                .map_or(row.english.as_str(), |i| texts[i])
        };
        let cells: Vec<&str> = languages.iter().map(cell).collect();
        let id = format!("{}:{}", row.key.0, row.segment);
        builder.push(&row.file, row.line, id, &cells)?;
    }
    let (corpus, report) = builder.finish();
    if corpus.is_empty() {
        let counts = others
            .iter()
            .zip(&tables)
            .map(|(l, t)| (*l, t.len()))
            .collect();
        return Err(DataError::EmptyJoin {
            file: path.to_owned(),
            languages,
            counts,
        });
    }
    Ok((corpus, report))
}

/// Talk, normalised English, and how many times the talk has said it before.
type Key = (String, String, usize);

struct Row {
    key: Key,
    segment: String,
    file: PathBuf,
    line: u64,
    english: String,
    other: String,
}

/// All sentence pairs of English and one language, in file order.
fn table(
    path: &Path,
    language: Language,
    sets: &Sets,
    report: &mut Report,
) -> Result<Vec<Row>, DataError> {
    let mut rows = Vec::new();
    let mut said: HashMap<(String, String), usize> = HashMap::new();
    for ((set, _), sides) in sets.iter().filter(|((_, l), _)| *l == language) {
        let (english, other) = match sides {
            [Some(english), Some(other)] => (english, other),
            [present, absent] => {
                let file = present
                    .as_ref()
                    .or(absent.as_ref())
                    .map_or(path, |s| s.file.as_path());
                let lacking = if present.is_none() {
                    Language::EN
                } else {
                    language
                };
                return Err(DataError::MissingCompanion {
                    file: file.to_owned(),
                    companion: format!("{set}.….{lacking}.xml"),
                    reason: "a test set has one file per language".to_owned(),
                });
            }
        };
        let by_id: HashMap<(&str, &str), &Segment> = other
            .segments
            .iter()
            .map(|s| ((s.talk.as_str(), s.id.as_str()), s))
            .collect();
        let mut matched = 0;
        for segment in &english.segments {
            let Some(partner) = by_id.get(&(segment.talk.as_str(), segment.id.as_str())) else {
                continue;
            };
            matched += 1;
            let words = normalise(&segment.text);
            let count = said
                .entry((segment.talk.clone(), words.clone()))
                .or_default();
            rows.push(Row {
                key: (segment.talk.clone(), words, *count),
                segment: segment.id.clone(),
                file: english.file.clone(),
                line: segment.line,
                english: segment.text.clone(),
                other: partner.text.clone(),
            });
            *count += 1;
        }
        for (side, name) in [(english, "English"), (other, language.code())] {
            if side.segments.len() > matched {
                let message = format!(
                    "{} of {} {name} segments have no partner",
                    side.segments.len() - matched,
                    side.segments.len()
                );
                report.note(&side.file, None, FindingKind::MissingTranslation, message);
            }
        }
    }
    Ok(rows)
}

/// Returns the lower-case words separated by single spaces, so that two copies of a sentence are equal in spite of
/// differences in spacing, punctuation and case.
pub(crate) fn normalise(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
        .collect();
    words.join(" ")
}

fn read_sets(
    path: &Path,
    options: &ParallelOptions,
    report: &mut Report,
) -> Result<Sets, DataError> {
    let mut sets = Sets::new();
    let files = if path.is_dir() {
        entries(path)?
    } else {
        let Some(own) = parse_name(&file_name(path)) else {
            let reason =
                "the name isn't like `IWSLT17.TED.tst2010.en-nl.en.xml` or `en-nl.tgz`".to_owned();
            return Err(DataError::UnknownLanguage {
                file: path.to_owned(),
                reason,
            });
        };
        // A single file stands for its set: the other side lies next to it.
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let partner = |f: &PathBuf| {
            parse_name(&file_name(f)).is_some_and(|n| n.set == own.set && n.other == own.other)
        };
        entries(folder)?.into_iter().filter(partner).collect()
    };
    for file in files {
        let name = file_name(&file);
        if parse_name(&name).is_none() || !file.is_file() {
            continue;
        }
        if name.ends_with(".tgz") || name.ends_with(".tar.gz") {
            read_archive(&file, options, report, &mut sets)?;
        } else {
            let source = open(&file, options.limits)?;
            add(source, &name, options, report, &mut sets)?;
        }
    }
    Ok(sets)
}

/// Reads the members of a tgz one after the other, without unpacking to disk.
fn read_archive(
    file: &Path,
    options: &ParallelOptions,
    report: &mut Report,
    sets: &mut Sets,
) -> Result<(), DataError> {
    let gz = flate2::read::MultiGzDecoder::new(open_file(file)?);
    let bounded = Source::new(file.to_owned(), gz, options.limits);
    let mut archive = tar::Archive::new(bounded.reader);
    for entry in archive.entries().map_err(|e| io_error(file, e))? {
        let entry = entry.map_err(|e| archive_error(file, e))?;
        let member = entry
            .path()
            .map_err(|e| io_error(file, e))?
            .to_string_lossy()
            .into_owned();
        let name = member.rsplit('/').next().unwrap_or_default().to_owned();
        let size = entry.header().size().map_err(|e| archive_error(file, e))?;
        if !entry.header().entry_type().is_file() || parse_name(&name).is_none() {
            continue;
        }
        let shown = PathBuf::from(format!("{}!{member}", file.display()));
        // A truncated archive ends a member early without an error of its own, so the size is checked.
        let checked = WholeMember {
            inner: entry,
            left: size,
        };
        add(
            Source::new(shown, checked, options.limits),
            &name,
            options,
            report,
            sets,
        )?;
    }
    Ok(())
}

fn archive_error(file: &Path, error: std::io::Error) -> DataError {
    match io_error(file, error) {
        DataError::Io { file, source } => DataError::Archive {
            file,
            message: source.to_string(),
        },
        other => other,
    }
}

struct WholeMember<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for WholeMember<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        if count == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

fn add(
    source: Source,
    name: &str,
    options: &ParallelOptions,
    report: &mut Report,
    sets: &mut Sets,
) -> Result<(), DataError> {
    let Some(parsed) = parse_name(name) else {
        return Ok(());
    };
    let wanted = options.languages.is_empty()
        || options.languages.contains(&parsed.other)
        || options.languages.iter().all(|l| *l == Language::EN);
    let sides = sets.entry((parsed.set, parsed.other)).or_default();
    let file = source.name.clone();
    let segments = if !wanted {
        Vec::new()
    } else if name.starts_with("train.tags") {
        train_tags(source, options, report)?
    } else {
        segments(source)?
    };
    sides[usize::from(parsed.holds != Language::EN)] = Some(Side { file, segments });
    Ok(())
}

/// Returns the segments of an XML test set.
pub(crate) fn segments(source: Source) -> Result<Vec<Segment>, DataError> {
    let file = source.name.clone();
    let limit = source.limits.cell_bytes;
    let mut xml = reader(source);
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    let mut talk = String::new();
    let mut current: Option<(String, u64, String)> = None;
    let mut depth = 0usize;
    loop {
        buffer.clear();
        let event = xml.read_event_into(&mut buffer);
        let line = xml.get_ref().line;
        match event.map_err(|e| xml_error(&file, line, e))? {
            Event::Eof if depth > 0 => {
                let message = "the file ends before its elements are closed".to_owned();
                return Err(DataError::Xml {
                    file,
                    line,
                    message,
                });
            }
            Event::Eof => return Ok(found),
            Event::Start(tag) => {
                depth += 1;
                let attribute = |key: &str| -> Result<String, DataError> {
                    let value = tag
                        .try_get_attribute(key)
                        .map_err(|e| xml_error(&file, line, e.into()))?;
                    Ok(value
                        .map(|v| String::from_utf8_lossy(&v.value).into_owned())
                        .unwrap_or_default())
                };
                match tag.local_name().as_ref() {
                    b"doc" => talk = attribute("docid")?,
                    b"seg" => {
                        let id = attribute("id")?;
                        if talk.is_empty() || id.is_empty() {
                            let message =
                                "a <seg> without id, or outside a <doc> with docid".to_owned();
                            return Err(DataError::Xml {
                                file,
                                line,
                                message,
                            });
                        }
                        current = Some((id, line, String::new()));
                    }
                    _ => {}
                }
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                if tag.local_name().as_ref() == b"seg"
                    && let Some((id, line, text)) = current.take()
                {
                    // Subtitle lines leave double blanks inside; they carry no meaning.
                    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                    found.push(Segment {
                        talk: talk.clone(),
                        id,
                        line,
                        text,
                    });
                }
            }
            Event::Text(text) => {
                if let Some((_, _, segment)) = &mut current {
                    push_text(segment, &text, &file, line)?;
                }
            }
            Event::GeneralRef(reference) => {
                if let Some((_, _, segment)) = &mut current {
                    push_reference(segment, &reference, &file, line)?;
                }
            }
            _ => {}
        }
        if current
            .as_ref()
            .is_some_and(|(_, _, text)| text.len() as u64 > limit)
        {
            return Err(DataError::TooLarge {
                file,
                line: Some(line),
                what: "a segment",
                limit,
            });
        }
    }
}

/// The sentences of a `train.tags` file: lines that are no tags, numbered within their talk.
fn train_tags(
    source: Source,
    options: &ParallelOptions,
    report: &mut Report,
) -> Result<Vec<Segment>, DataError> {
    let mut lines = RawLines::new(source);
    let file = lines.name().to_owned();
    let mut found: Vec<Segment> = Vec::new();
    let mut talk = String::new();
    let mut count = 0u64;
    while let Some((line, bytes)) = lines.next_line()? {
        let text = match decode(
            trim_eol(&bytes),
            options.encoding.unwrap_or(TextEncoding::Utf8),
        ) {
            Ok((text, _)) => text,
            Err(fault) => {
                // The number is used up, so that the lines that follow keep their partners.
                count += 1;
                let bad = BadRow {
                    line: Some(line),
                    column: None,
                    kind: FindingKind::BadEncoding,
                    message: fault.message(),
                };
                report.bad_row(options.on_bad_row, &file, bad)?;
                continue;
            }
        };
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("<talkid>") {
            talk = rest.trim_end_matches("</talkid>").trim().to_owned();
            count = 0;
        } else if !text.starts_with('<') {
            count += 1;
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            found.push(Segment {
                talk: talk.clone(),
                id: count.to_string(),
                line,
                text,
            });
        }
    }
    Ok(found)
}

/// Returns all segments under a path by language, for descriptions of files.
pub(crate) fn sides(
    path: &Path,
    options: &ParallelOptions,
) -> Result<BTreeMap<Language, Vec<String>>, DataError> {
    let mut by_language: BTreeMap<Language, Vec<String>> = BTreeMap::new();
    let sets = read_sets(path, options, &mut Report::default())?;
    for ((_, other), sides) in sets {
        for (side, language) in sides.into_iter().zip([Language::EN, other]) {
            let texts = side.into_iter().flat_map(|s| s.segments).map(|s| s.text);
            by_language.entry(language).or_default().extend(texts);
        }
    }
    Ok(by_language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expect) in [
            (
                "IWSLT17.TED.tst2010.en-nl.nl.xml",
                Some(("IWSLT17.TED.tst2010", "nl", "nl")),
            ),
            (
                "IWSLT17.TED.tst2017.mltlng.nl-en.nl.xml",
                Some(("IWSLT17.TED.tst2017.mltlng", "nl", "nl")),
            ),
            ("train.tags.en-de.en", Some(("train.tags", "de", "en"))),
            ("de-en.tgz", Some(("", "de", "de"))),
            ("en-de.tar.gz", Some(("", "de", "en"))),
            ("IWSLT17.TED.tst2010.fr-nl.nl.xml", None),
            ("newstest2009.eng", None),
            ("README", None),
        ] {
            let got = parse_name(name).map(|n| (n.set, n.other.to_string(), n.holds.to_string()));
            let expect = expect.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
            assert_eq!(got, expect, "{name}");
        }
    }

    #[test]
    fn normalised() {
        assert_eq!(
            normalise("  \"Well,\" he  said — it's 3!"),
            "well he said it s 3"
        );
    }
}
