//! Finds the format of a data file from its name and content.

use std::path::{Path, PathBuf};

use super::{Format, entries, file_name, moses, parallel_tsv, ted_xml};
use crate::error::DataError;
use crate::input::{BOM, head, trim_eol};

/// Finds the format of a file or folder.
///
/// # Errors
/// [`DataError::UnknownFormat`] with what was looked at and the format names that the caller can give instead.
pub fn sniff(path: &Path) -> Result<Format, DataError> {
    if path.is_dir() {
        return sniff_folder(path);
    }
    if !path.exists() {
        // `data/newstest2009` stands for `data/newstest2009.eng`, `.deu`, `.fra`.
        return match moses::siblings(path)?.len() {
            0 => Err(DataError::Missing {
                file: path.to_owned(),
                hint: similar(path),
            }),
            _ => Ok(Format::Moses),
        };
    }
    let bytes = head(path, 1 << 16)?;
    let bytes = bytes.strip_prefix(BOM).unwrap_or(&bytes);
    if bytes.starts_with(b"PK\x03\x04") {
        return Ok(Format::ManyThings);
    }
    if bytes.starts_with(b"PAR1") {
        return Ok(Format::Parquet);
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Ok(Format::TedXml);
    }
    let text = String::from_utf8_lossy(bytes);
    let start = text.trim_start();
    let name = file_name(path);
    if start.starts_with('<') {
        if text.contains("<tmx") {
            return Ok(Format::Tmx);
        }
        if ["<mteval", "<srcset", "<refset", "<talkid", "<seg", "<url>"]
            .iter()
            .any(|t| text.contains(t))
        {
            return Ok(Format::TedXml);
        }
        return Err(unknown(path, "XML, but neither TMX nor IWSLT"));
    }
    if start.starts_with('{') || start.starts_with('[') {
        if text.contains("\"translation\"") {
            return Ok(Format::TranslationJson);
        }
        if text.contains("\"more\"") && text.contains("\"less\"") {
            return Ok(Format::PairsJsonl);
        }
        let has = |keys: &[&str]| keys.iter().all(|k| text.contains(&format!("\"{k}\"")));
        if has(&["answer_info", "context_condition"]) {
            return Ok(Format::Bbq);
        }
        if has(&["prompt", "candidates", "gold"]) {
            return Ok(Format::Choice);
        }
        if has(&["targ1", "examples"]) {
            return Ok(Format::Seat);
        }
        if has(&["bias_type", "context", "anti-stereotype"]) {
            return Ok(Format::Stereoset);
        }
        return Err(unknown(
            path,
            "JSON without the keys of any format, such as `translation`, or `more` and `less`",
        ));
    }
    if name.ends_with(".toml") && text.contains("[[template]]") {
        return Ok(Format::Templates);
    }
    let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(trim_eol(first)).into_owned();
    let cells = |delimiter: char| -> Vec<String> {
        first
            .split(delimiter)
            .map(|c| c.trim().trim_matches('"').to_owned())
            .collect()
    };
    let (tabs, commas) = (cells('\t'), cells(','));
    let has = |cells: &[String], name: &str| cells.iter().any(|c| c == name);
    if tabs.iter().any(|c| c.ends_with("_more")) && tabs.iter().any(|c| c.ends_with("_less")) {
        return Ok(Format::CrowsWide);
    }
    if ["id", "language", "prompt", "candidates", "gold"]
        .iter()
        .all(|name| has(&tabs, name))
    {
        return Ok(Format::Choice);
    }
    if has(&commas, "more") && has(&commas, "less") {
        return Ok(Format::PairsCsv);
    }
    if has(&commas, "sent_more") && has(&commas, "sent_less") {
        return Ok(
            if has(&commas, "annotations") || has(&commas, "anon_writer") {
                Format::CrowsOriginal
            } else if has(&commas, "id") {
                Format::CrowsDutch
            } else {
                Format::Reusens
            },
        );
    }
    if parallel_tsv::is_talk_table(&tabs) {
        return Ok(Format::TedTsv);
    }
    if parallel_tsv::is_table(&tabs) {
        return Ok(Format::Tsv);
    }
    if parallel_tsv::is_table(&commas) {
        return Ok(Format::Csv);
    }
    if (2..=3).contains(&tabs.len()) && name.ends_with(".txt") {
        return Ok(Format::ManyThings);
    }
    if moses::split_name(&name).is_some() {
        return Ok(Format::Moses);
    }
    let shown: String = first.chars().take(80).collect();
    Err(unknown(path, &format!("the first line is `{shown}`")))
}

/// Returns the file that a folder of unknown layout stands for: the only one in it that has one of these formats. Any
/// other path is returned as it is.
///
/// # Errors
/// A folder that cannot be read, or one with several such files, which the error names.
pub(crate) fn only_file(path: &Path, of: &[Format]) -> Result<PathBuf, DataError> {
    if !path.is_dir() || !matches!(sniff_folder(path), Err(DataError::UnknownFormat { .. })) {
        return Ok(path.to_owned());
    }
    let mut files = entries(path)?;
    files.retain(|file| file.is_file() && sniff(file).is_ok_and(|format| of.contains(&format)));
    match files.as_slice() {
        [] => Ok(path.to_owned()),
        [file] => Ok(file.clone()),
        several => {
            let names: Vec<String> = several.iter().map(|f| file_name(f)).collect();
            Err(DataError::SeveralFiles {
                folder: path.to_owned(),
                files: names,
            })
        }
    }
}

fn sniff_folder(path: &Path) -> Result<Format, DataError> {
    let names: Vec<String> = entries(path)?.iter().map(|p| file_name(p)).collect();
    let any = |test: &dyn Fn(&str) -> bool| names.iter().any(|n| test(n));
    if any(&|n| n == "crows_eng.csv") {
        Ok(Format::CrowsDutch)
    } else if any(&|n| n.starts_with("crows_pairs_anonymized_") && n.ends_with("_s0.csv")) {
        Ok(Format::Reusens)
    } else if any(&|n| ted_xml::parse_name(n).is_some()) {
        Ok(Format::TedXml)
    } else if any(&|n| n.ends_with("-eng.zip")) {
        Ok(Format::ManyThings)
    } else if any(&|n| moses::split_name(n).is_some()) {
        Ok(Format::Moses)
    } else if let Some(format) = sniff_json_lines(path)? {
        Ok(format)
    } else {
        Err(unknown(path, "a folder without files of a known naming"))
    }
}

/// What the first `.jsonl` file of a folder is, if it is of a format that folders hold.
fn sniff_json_lines(path: &Path) -> Result<Option<Format>, DataError> {
    let file = entries(path)?
        .into_iter()
        .find(|f| f.is_file() && f.extension().is_some_and(|e| e == "jsonl"));
    let format = file.map(|file| sniff(&file));
    match format {
        Some(Ok(format @ (Format::Bbq | Format::Seat))) => Ok(Some(format)),
        Some(Ok(_) | Err(DataError::UnknownFormat { .. })) | None => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

fn unknown(path: &Path, reason: &str) -> DataError {
    let expected = Format::PARALLEL
        .iter()
        .chain(Format::BIAS)
        .chain(Format::OTHER)
        .map(Format::name)
        .collect();
    DataError::UnknownFormat {
        file: path.to_owned(),
        reason: reason.to_owned(),
        expected,
    }
}

/// The names in the same folder, since a wrong name is the common case.
fn similar(path: &Path) -> String {
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return String::new(),
    };
    match entries(folder) {
        Ok(files) if !files.is_empty() => {
            let names: Vec<String> = files.iter().take(12).map(|f| file_name(f)).collect();
            let more = if files.len() > 12 { ", …" } else { "" };
            format!("; the folder has: {}{more}", names.join(", "))
        }
        Ok(_) => "; the folder is empty".to_owned(),
        Err(_) => format!("; the folder {} doesn't exist either", folder.display()),
    }
}
