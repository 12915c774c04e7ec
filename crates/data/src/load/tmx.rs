//! Loads Translation Memory eXchange, version 1.4.

use std::path::Path;

use quick_xml::events::{BytesStart, Event};

use super::xml::{push_reference, push_text, reader, xml_error};
use super::{Builder, ParallelOptions, choose};
use crate::error::{DataError, FindingKind, Report};
use crate::input::open;
use crate::iso::language_of;
use crate::language::Language;
use crate::types::ParallelCorpus;

/// Elements whose content is native formatting code and not text.
const CODES: &[&[u8]] = &[b"bpt", b"ept", b"it", b"ph", b"ut"];

/// Reads the file twice. The first pass collects the languages, which TMX does not declare, and the second reads the
/// rows.
pub(crate) fn load(
    path: &Path,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let mut available: Vec<Language> = Vec::new();
    each_unit(path, options, &mut |_, texts| {
        for (language, _) in texts {
            if !available.contains(language) {
                available.push(*language);
            }
        }
        Ok(true)
    })?;
    let languages = choose(path, &options.languages, &available)?;
    let mut builder = Builder::new(languages, options.on_bad_row, options.limit);
    let mut number = 0u64;
    each_unit(path, options, &mut |line, texts| {
        number += 1;
        let mut cells = Vec::with_capacity(builder.corpus.languages.len());
        for language in builder.corpus.languages.clone() {
            let mut same = texts.iter().filter(|(l, _)| *l == language);
            match same.next() {
                Some((_, text)) => cells.push(text.as_str()),
                None => {
                    builder.untranslated(path, Some(line), format!("no text in `{language}`"));
                    return Ok(true);
                }
            }
            if same.next().is_some() {
                let message = format!("several texts in `{language}`; the first is used");
                builder
                    .report
                    .note(path, Some(line), FindingKind::Duplicate, message);
            }
        }
        builder.push(path, line, number.to_string(), &cells)?;
        Ok(!builder.full())
    })?;
    Ok(builder.finish())
}

type OnUnit<'f> = dyn FnMut(u64, &[(Language, String)]) -> Result<bool, DataError> + 'f;

/// Calls back for every translation unit, until the callback returns false.
fn each_unit(
    path: &Path,
    options: &ParallelOptions,
    on_unit: &mut OnUnit,
) -> Result<(), DataError> {
    let mut xml = reader(open(path, options.limits)?);
    let mut buffer = Vec::new();
    let mut texts: Vec<(Language, String)> = Vec::new();
    let mut start = 0;
    let mut language: Option<Language> = None;
    let mut segment: Option<String> = None;
    let mut in_code = 0usize;
    let mut units = 0u64;
    loop {
        buffer.clear();
        let event = xml.read_event_into(&mut buffer);
        let line = xml.get_ref().line;
        match event.map_err(|e| xml_error(path, line, e))? {
            Event::Eof if units == 0 => {
                return Err(DataError::Xml {
                    file: path.to_owned(),
                    line,
                    message: "no <tu> element".to_owned(),
                });
            }
            Event::Eof if start > 0 => {
                let message = format!("the file ends within the <tu> of line {start}");
                return Err(DataError::Xml {
                    file: path.to_owned(),
                    line,
                    message,
                });
            }
            Event::Eof => return Ok(()),
            Event::Start(tag) => match tag.local_name().as_ref() {
                b"tu" => {
                    texts.clear();
                    start = line;
                }
                b"tuv" => language = tuv_language(&tag, path, line)?,
                b"seg" => segment = Some(String::new()),
                name if segment.is_some() && CODES.contains(&name) => in_code += 1,
                _ => {}
            },
            Event::End(tag) => match tag.local_name().as_ref() {
                b"tu" => {
                    units += 1;
                    if !on_unit(start, &texts)? {
                        return Ok(());
                    }
                    start = 0;
                }
                b"seg" => {
                    if let (Some(language), Some(text)) = (language, segment.take()) {
                        texts.push((language, text));
                    }
                }
                name if segment.is_some() && CODES.contains(&name) => {
                    in_code = in_code.saturating_sub(1)
                }
                _ => {}
            },
            Event::Text(text) if in_code == 0 => {
                if let Some(segment) = &mut segment {
                    push_text(segment, &text, path, line)?;
                }
            }
            Event::CData(text) if in_code == 0 => {
                if let Some(segment) = &mut segment {
                    let text = text.decode().map_err(|e| xml_error(path, line, e.into()))?;
                    segment.push_str(&text);
                }
            }
            Event::GeneralRef(reference) if in_code == 0 => {
                if let Some(segment) = &mut segment {
                    push_reference(segment, &reference, path, line)?;
                }
            }
            _ => {}
        }
        if segment
            .as_ref()
            .is_some_and(|s| s.len() as u64 > options.limits.cell_bytes)
        {
            let limit = options.limits.cell_bytes;
            return Err(DataError::TooLarge {
                file: path.to_owned(),
                line: Some(line),
                what: "a segment",
                limit,
            });
        }
    }
}

/// `xml:lang`, or `lang` as version 1.1 has it.
fn tuv_language(tag: &BytesStart, path: &Path, line: u64) -> Result<Option<Language>, DataError> {
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|e| xml_error(path, line, e.into()))?;
        if attribute.key.local_name().as_ref() == b"lang" {
            let text = String::from_utf8_lossy(&attribute.value).into_owned();
            return Ok(language_of(&text).or_else(|| text.parse().ok()));
        }
    }
    Ok(None)
}
