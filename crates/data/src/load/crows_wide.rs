//! Loads tables with several languages side by side: one row per pair, with the columns `<language>_more` and
//! `<language>_less`.

use std::path::Path;

use super::delimited::Records;
use super::{BiasOptions, canonical_category, choose, direction, file_name, push_pair};
use crate::error::{DataError, FindingKind, Report};
use crate::input::{TextEncoding, open};
use crate::iso::column_language;
use crate::language::Language;
use crate::types::{BiasPair, BiasSet};

pub(crate) fn load(path: &Path, options: &BiasOptions) -> Result<(BiasSet, Report), DataError> {
    let source = open(path, options.limits)?;
    let mut records = Records::new(
        source,
        b'\t',
        options.encoding.unwrap_or(TextEncoding::Utf8),
    )?;
    let mut columns: Vec<(Language, usize, usize)> = Vec::new();
    for (at, header) in records.header.iter().enumerate() {
        if let Some(code) = header.strip_suffix("_more")
            && let Some(language) = column_language(code, &options.languages)
        {
            columns.push((language, at, records.column(&format!("{code}_less"))?));
        }
    }
    let available: Vec<Language> = columns.iter().map(|c| c.0).collect();
    if available.is_empty() {
        records.column("en_more")?;
    }
    let languages = choose(path, &options.languages, &available)?;
    let id = match records
        .header
        .iter()
        .position(|h| h == "id" || h.ends_with("_id"))
    {
        Some(id) => id,
        None => records.column("id")?,
    };
    let category = match records.column("bias_type") {
        Ok(at) => at,
        Err(_) => records.column("category")?,
    };
    let label = match records.column("label") {
        Ok(at) => at,
        Err(_) => records.column("stereo_antistereo")?,
    };
    let label_name = records.header[label].clone();
    let mut report = Report::default();
    let mut by_language: Vec<Vec<BiasPair>> = vec![Vec::new(); languages.len()];
    while let Some(record) = records.next_record()? {
        report.rows_read += 1;
        let record = match record {
            Ok(record) => record,
            Err(bad) => {
                report.bad_row(options.on_bad_row, path, bad)?;
                continue;
            }
        };
        if record.reencoded {
            let message = "decoded from Mac OS Roman".to_owned();
            report.note(path, Some(record.line), FindingKind::Reencoded, message);
        }
        let direction = match direction(&record.cells[label], record.line, &label_name) {
            Ok(direction) => direction,
            Err(bad) => {
                report.bad_row(options.on_bad_row, path, bad)?;
                continue;
            }
        };
        for (language, pairs) in languages.iter().zip(&mut by_language) {
            let Some((_, more, less)) = columns.iter().find(|c| c.0 == *language) else {
                continue;
            };
            let pair = BiasPair {
                id: record.cells[id].trim().to_owned(),
                language: *language,
                category: canonical_category(&record.cells[category]).to_owned(),
                direction,
                more: record.cells[*more].clone(),
                less: record.cells[*less].clone(),
                planted: None,
                kind: None,
            };
            push_pair(
                pairs,
                &mut report,
                options.on_bad_row,
                path,
                record.line,
                pair,
            )?;
        }
    }
    let name = file_name(path)
        .split('.')
        .next()
        .unwrap_or_default()
        .to_owned();
    Ok((
        BiasSet {
            name,
            pairs: by_language.into_iter().flatten().collect(),
        },
        report,
    ))
}
