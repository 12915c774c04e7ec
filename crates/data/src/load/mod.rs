//! Loaders, one file per format. [`load_parallel`], [`load_bias`] and [`load_attributes`] read the formats of the
//! three main types; each benchmark with another structure has a function of its own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{Limits, TextEncoding, mojibake};
use crate::language::Language;
use crate::types::{AttributeList, BiasPair, BiasSet, ParallelCorpus};

pub(crate) mod attributes;
pub(crate) mod bbq;
pub(crate) mod bmlama;
pub(crate) mod choice;
pub(crate) mod crows_dutch;
pub(crate) mod crows_original;
pub(crate) mod crows_wide;
pub(crate) mod delimited;
pub(crate) mod json;
pub(crate) mod lexicon;
pub(crate) mod localization;
pub(crate) mod many_things;
pub(crate) mod moses;
mod pages;
pub(crate) mod pairs;
pub(crate) mod parallel_tsv;
pub(crate) mod parquet;
pub(crate) mod prompts;
pub(crate) mod reusens;
pub(crate) mod seat;
pub(crate) mod sniff;
pub(crate) mod stereoset;
pub(crate) mod ted_xml;
pub(crate) mod templates;
pub(crate) mod tmx;
pub(crate) mod translation_json;
pub(crate) mod winobias;
pub(crate) mod xml;

pub use attributes::{AttributeOptions, load_attributes, write_attributes};
pub use bbq::{BbqOptions, load_bbq};
pub use bmlama::load_bmlama;
pub use choice::{ChoiceOptions, load_choice, shuffle_choices};
pub use lexicon::load_lexicon;
pub use localization::load_localization;
pub use pairs::{write_pairs_csv, write_pairs_jsonl};
pub use parallel_tsv::write_tsv;
pub use parquet::{to_frame, write_parquet};
pub use prompts::{Prompt, load_prompts};
pub use seat::{SeatOptions, load_seat};
pub use sniff::sniff;
pub use stereoset::{StereoOptions, load_stereoset};
pub use templates::{TemplateOptions, load_templates};
pub use winobias::load_winobias;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// Parallel text: a table with one column per language, separated by tabs.
    Tsv,
    /// Parallel text: a table with one column per language, separated by commas.
    Csv,
    /// Parallel text: TED2020 and tables like it, with a talk column and one column per language, in which cells may
    /// be empty.
    TedTsv,
    /// Parallel text: one file per language, aligned by line (Moses, NTREX, WMT).
    Moses,
    /// Parallel text: English–other sentence pairs of Tatoeba as manythings.org packs them, as plain text or zip.
    ManyThings,
    /// Parallel text: TED talks as IWSLT and WIT3 publish them, as XML, `train.tags` files or tgz.
    TedXml,
    /// Parallel text: Translation Memory eXchange.
    Tmx,
    /// Parallel text: Parquet with one column per language.
    Parquet,
    /// Parallel text: a JSON array or JSON lines of `{"translation": {"de": …, "en": …}}`.
    TranslationJson,
    /// Bias pairs: the original English CrowS-Pairs.
    CrowsOriginal,
    /// Bias pairs: the English, French and Dutch files of the Dutch CrowS-Pairs repository.
    CrowsDutch,
    /// Bias pairs: one row per pair, with the columns `<language>_more` and `<language>_less`.
    CrowsWide,
    /// Bias pairs: the samples of Reusens et al. 2023.
    Reusens,
    /// Bias pairs: this project's own format, as JSON lines.
    PairsJsonl,
    /// Bias pairs: this project's own format, as CSV.
    PairsCsv,
    /// StereoSet, as published or as prepared for EditBias; read by [`load_stereoset`].
    Stereoset,
    /// A WEAT or SEAT test, or a folder of them; read by [`load_seat`].
    Seat,
    /// Questions of BBQ or MBBQ, in a file or a folder; read by [`load_bbq`].
    Bbq,
    /// Items with candidates, in this project's own format; read by [`load_choice`].
    Choice,
    /// Sentence templates in this project's own format. [`load_bias`] reads them as pairs if their attributes say
    /// which group they lean towards; [`load_templates`] reads them as items.
    Templates,
}

impl Format {
    /// The formats that [`load_parallel`] reads.
    pub const PARALLEL: &[Format] = &[
        Format::Tsv,
        Format::Csv,
        Format::TedTsv,
        Format::Moses,
        Format::ManyThings,
        Format::TedXml,
        Format::Tmx,
        Format::Parquet,
        Format::TranslationJson,
    ];

    /// The formats that [`load_bias`] reads.
    pub const BIAS: &[Format] = &[
        Format::CrowsOriginal,
        Format::CrowsDutch,
        Format::CrowsWide,
        Format::Reusens,
        Format::PairsJsonl,
        Format::PairsCsv,
        Format::Templates,
    ];

    /// The formats that are read only by a function of their own.
    pub const OTHER: &[Format] = &[Format::Stereoset, Format::Seat, Format::Bbq, Format::Choice];

    /// Returns the format of this name.
    ///
    /// # Errors
    /// An unknown name; the message lists the known ones.
    pub fn named(name: &str) -> Result<Format, String> {
        let all = [Format::PARALLEL, Format::BIAS, Format::OTHER].concat();
        let names = || all.iter().map(Format::name).collect::<Vec<_>>().join(", ");
        all.iter()
            .copied()
            .find(|f| f.name() == name)
            .ok_or_else(|| format!("`{name}` is no format; there are: {}", names()))
    }

    /// Returns the name that specs and manifests use.
    pub fn name(&self) -> &'static str {
        match self {
            Format::Tsv => "tsv",
            Format::Csv => "csv",
            Format::TedTsv => "ted-tsv",
            Format::Moses => "moses",
            Format::ManyThings => "many-things",
            Format::TedXml => "ted-xml",
            Format::Tmx => "tmx",
            Format::Parquet => "parquet",
            Format::TranslationJson => "translation-json",
            Format::CrowsOriginal => "crows-original",
            Format::CrowsDutch => "crows-dutch",
            Format::CrowsWide => "crows-wide",
            Format::Reusens => "reusens",
            Format::PairsJsonl => "pairs-jsonl",
            Format::PairsCsv => "pairs-csv",
            Format::Stereoset => "stereoset",
            Format::Seat => "seat",
            Format::Bbq => "bbq",
            Format::Choice => "choice",
            Format::Templates => "templates",
        }
    }
}

/// Options of [`load_parallel`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParallelOptions {
    /// The languages to read, in the order of the columns; empty reads all that the source has.
    pub languages: Vec<Language>,
    /// The format; `None` if it is to be found from the file's name and content.
    pub format: Option<Format>,
    /// How to treat rows that can't be used.
    pub on_bad_row: OnBadRow,
    /// The most good rows to read; `None` reads all.
    pub limit: Option<usize>,
    /// The limits on the size of the file and its parts.
    pub limits: Limits,
    /// The encoding; `None` for the encoding that the format prescribes, which is UTF-8 nearly everywhere.
    pub encoding: Option<TextEncoding>,
}

impl ParallelOptions {
    /// Makes options that read everything in these languages.
    pub fn new(languages: &[Language], on_bad_row: OnBadRow) -> Self {
        let languages = languages.to_vec();
        ParallelOptions {
            languages,
            format: None,
            on_bad_row,
            limit: None,
            limits: Limits::default(),
            encoding: None,
        }
    }
}

/// Options of [`load_bias`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BiasOptions {
    /// The languages to read; empty reads all that the source has.
    pub languages: Vec<Language>,
    /// The categories to read; empty reads all.
    pub categories: Vec<String>,
    /// The format; `None` if it is to be found from the file's name and content.
    pub format: Option<Format>,
    /// How to treat rows that can't be used.
    pub on_bad_row: OnBadRow,
    /// The most pairs to read per language, in the order of the file; `None` reads all.
    pub limit: Option<usize>,
    /// The most pairs to read per category and language, in the order of the file; `None` reads all.
    pub limit_per_category: Option<usize>,
    /// The limits on the size of the file and its parts.
    pub limits: Limits,
    /// The encoding; `None` for the encoding that the format prescribes.
    pub encoding: Option<TextEncoding>,
}

impl BiasOptions {
    /// Makes options that read everything in these languages.
    pub fn new(languages: &[Language], on_bad_row: OnBadRow) -> Self {
        BiasOptions {
            languages: languages.to_vec(),
            categories: Vec::new(),
            format: None,
            on_bad_row,
            limit: None,
            limit_per_category: None,
            limits: Limits::default(),
            encoding: None,
        }
    }
}

/// Reads parallel text from a file, an archive, or a folder.
///
/// # Errors
/// Any [`DataError`]. If the source lacks a language, the error is [`DataError::MissingLanguage`] with the languages
/// it has.
pub fn load_parallel(
    path: &Path,
    options: &ParallelOptions,
) -> Result<(ParallelCorpus, Report), DataError> {
    let path = &sniff::only_file(path, Format::PARALLEL)?;
    let format = match options.format {
        Some(format) => format,
        None => sniff(path)?,
    };
    let (corpus, report) = match format {
        Format::Tsv | Format::Csv | Format::TedTsv => parallel_tsv::load(path, format, options),
        Format::Moses => moses::load(path, options),
        Format::ManyThings => many_things::load(path, options),
        Format::TedXml => ted_xml::load(path, options),
        Format::Tmx => tmx::load(path, options),
        Format::Parquet => parquet::load(path, options),
        Format::TranslationJson => translation_json::load(path, options),
        other => Err(not_this(path, other, Format::PARALLEL, "parallel text")),
    }?;
    if corpus.is_empty() {
        return Err(DataError::Empty {
            file: path.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        });
    }
    Ok((corpus, report))
}

/// Reads a bias benchmark from a file or a folder.
///
/// # Errors
/// Any [`DataError`]. If the source lacks a language, the error is [`DataError::MissingLanguage`] with the languages
/// it has.
pub fn load_bias(path: &Path, options: &BiasOptions) -> Result<(BiasSet, Report), DataError> {
    let path = &sniff::only_file(path, Format::BIAS)?;
    let format = match options.format {
        Some(format) => format,
        None => sniff(path)?,
    };
    let (mut set, report) = match format {
        Format::CrowsOriginal => crows_original::load(path, options),
        Format::CrowsDutch => crows_dutch::load(path, options),
        Format::CrowsWide => crows_wide::load(path, options),
        Format::Reusens => reusens::load(path, options),
        Format::PairsJsonl | Format::PairsCsv => pairs::load(path, format, options),
        Format::Templates => templates::load(path, options),
        other => Err(not_this(path, other, Format::BIAS, "pairs of sentences")),
    }?;
    if !options.categories.is_empty() {
        let available = set.categories();
        if let Some(missing) = options.categories.iter().find(|c| !available.contains(c)) {
            return Err(DataError::BadRow {
                file: path.to_owned(),
                line: None,
                column: Some("category".to_owned()),
                kind: FindingKind::BadValue,
                message: format!(
                    "no pair of category `{missing}`; there are: {}",
                    available.join(", ")
                ),
            });
        }
        set.pairs
            .retain(|p| options.categories.contains(&p.category));
    }
    if let Some(limit) = options.limit_per_category {
        keep_first(&mut set.pairs, limit, |p| (p.language, p.category.clone()));
    }
    if let Some(limit) = options.limit {
        keep_first(&mut set.pairs, limit, |p| p.language);
    }
    if set.is_empty() {
        return Err(DataError::Empty {
            file: path.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        });
    }
    Ok((set, report))
}

/// Keeps the first so many pairs of each kind.
fn keep_first<K: Eq + std::hash::Hash>(
    pairs: &mut Vec<BiasPair>,
    limit: usize,
    kind: impl Fn(&BiasPair) -> K,
) {
    let mut counts = std::collections::HashMap::new();
    pairs.retain(|p| {
        let count = counts.entry(kind(p)).or_insert(0usize);
        *count += 1;
        *count <= limit
    });
}

fn not_this(path: &Path, format: Format, expected: &[Format], what: &str) -> DataError {
    DataError::UnknownFormat {
        file: path.to_owned(),
        reason: format!("`{}` doesn't hold {what}", format.name()),
        expected: expected.iter().map(Format::name).collect(),
    }
}

/// Returns the spelling of a category that all benchmarks share: CrowS-Pairs says `race-color` where Reusens et al.
/// say `race`.
pub fn canonical_category(category: &str) -> &str {
    match category.trim() {
        "race" | "race_color" => "race-color",
        other => other,
    }
}

/// Returns the languages to read, and fails unless every wanted language is available; an empty `wanted` means all.
pub(crate) fn choose(
    path: &Path,
    wanted: &[Language],
    available: &[Language],
) -> Result<Vec<Language>, DataError> {
    if let Some(missing) = wanted.iter().find(|l| !available.contains(l)) {
        return Err(DataError::MissingLanguage {
            file: path.to_owned(),
            language: *missing,
            available: available.to_vec(),
        });
    }
    Ok(if wanted.is_empty() {
        available.to_vec()
    } else {
        wanted.to_vec()
    })
}

/// Collects the rows of a corpus and checks every cell.
pub(crate) struct Builder {
    pub corpus: ParallelCorpus,
    pub report: Report,
    policy: OnBadRow,
    limit: usize,
    ids: HashSet<String>,
}

impl Builder {
    pub fn new(languages: Vec<Language>, policy: OnBadRow, limit: Option<usize>) -> Self {
        let columns = vec![Vec::new(); languages.len()];
        Builder {
            corpus: ParallelCorpus {
                ids: Vec::new(),
                languages,
                columns,
            },
            report: Report::default(),
            policy,
            limit: limit.unwrap_or(usize::MAX),
            ids: HashSet::new(),
        }
    }

    /// Returns whether the wanted number of rows is reached.
    pub fn full(&self) -> bool {
        self.corpus.len() >= self.limit
    }

    /// Adds a row with one cell per language; spaces around a cell are cut off.
    ///
    /// # Errors
    /// An empty cell, if the policy is [`OnBadRow::Error`].
    pub fn push(
        &mut self,
        file: &Path,
        line: u64,
        id: String,
        cells: &[&str],
    ) -> Result<(), DataError> {
        self.report.rows_read += 1;
        for (cell, language) in cells.iter().zip(&self.corpus.languages) {
            if cell.trim().is_empty() {
                let bad = BadRow::new(line, language.code(), FindingKind::EmptyCell, "no text");
                return self.report.bad_row(self.policy, file, bad);
            }
        }
        for (cell, language) in cells.iter().zip(&self.corpus.languages) {
            suspicious(&mut self.report, file, line, language.code(), cell);
        }
        for (cell, column) in cells.iter().zip(&mut self.corpus.columns) {
            column.push(cell.trim().to_owned());
        }
        // An id that comes twice is made unique by the line, which is unique in a file.
        let id = if self.ids.insert(id.clone()) {
            id
        } else {
            format!("{id}@{line}")
        };
        self.ids.insert(id.clone());
        self.corpus.ids.push(id);
        Ok(())
    }

    /// Handles a bad row, as the policy says.
    ///
    /// # Errors
    /// The bad row, if the policy is [`OnBadRow::Error`].
    pub fn bad(&mut self, file: &Path, bad: BadRow) -> Result<(), DataError> {
        self.report.rows_read += 1;
        self.report.bad_row(self.policy, file, bad)
    }

    /// Counts a row that lacks a wanted language, in a format that allows this.
    pub fn untranslated(&mut self, file: &Path, line: Option<u64>, message: String) {
        self.report.rows_read += 1;
        self.report.rows_skipped += 1;
        self.report
            .note(file, line, FindingKind::MissingTranslation, message);
    }

    pub fn finish(self) -> (ParallelCorpus, Report) {
        (self.corpus, self.report)
    }
}

/// Lists signs that a text was damaged before it was stored; the text is kept.
fn suspicious(report: &mut Report, file: &Path, line: u64, column: &str, text: &str) {
    if text.contains('\u{fffd}') {
        let message = format!(
            "column `{column}` holds U+FFFD, the mark of a character lost in an earlier decoding"
        );
        report.note(file, Some(line), FindingKind::BadEncoding, message);
    }
    if let Some(sign) = mojibake(text) {
        let message =
            format!("column `{column}` holds `{sign}`, as UTF-8 read in another encoding looks");
        report.note(file, Some(line), FindingKind::Mojibake, message);
    }
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
    {
        report.note(
            file,
            Some(line),
            FindingKind::Note,
            format!("column `{column}` holds control characters"),
        );
    }
}

/// Checks a pair and adds it unchanged. Spaces around a sentence stay a part of it, and the report lists them.
pub(crate) fn push_pair(
    pairs: &mut Vec<BiasPair>,
    report: &mut Report,
    policy: OnBadRow,
    file: &Path,
    line: u64,
    pair: BiasPair,
) -> Result<(), DataError> {
    for (cell, column) in [(&pair.more, "sent_more"), (&pair.less, "sent_less")] {
        if cell.trim().is_empty() {
            let message = format!("no sentence in {} pair {}", pair.language, pair.id);
            return report.bad_row(
                policy,
                file,
                BadRow::new(line, column, FindingKind::EmptyCell, message),
            );
        }
    }
    if pair.more.trim() == pair.less.trim() {
        let message = format!(
            "both sentences of {} pair {} are the same",
            pair.language, pair.id
        );
        let bad = BadRow {
            line: Some(line),
            column: None,
            kind: FindingKind::IdenticalPair,
            message,
        };
        return report.bad_row(policy, file, bad);
    }
    for (text, column) in [(&pair.more, "sent_more"), (&pair.less, "sent_less")] {
        suspicious(report, file, line, column, text);
        if text.trim() != text {
            let message = format!(
                "`{column}` of {} pair {} has blanks around it, which are scored with it",
                pair.language, pair.id
            );
            report.note(file, Some(line), FindingKind::Blanks, message);
        }
    }
    pairs.push(pair);
    Ok(())
}

/// Reads a `stereo` or `antistereo` label.
pub(crate) fn direction(
    text: &str,
    line: u64,
    column: &str,
) -> Result<crate::types::Direction, BadRow> {
    match text.trim() {
        "stereo" => Ok(crate::types::Direction::Stereo),
        "antistereo" => Ok(crate::types::Direction::Antistereo),
        other => {
            let message = format!("`{other}` is neither `stereo` nor `antistereo`");
            Err(BadRow::new(line, column, FindingKind::BadValue, message))
        }
    }
}

/// Returns the entries of a folder sorted by name, so that every machine reads them in the same order.
pub(crate) fn entries(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let listing = std::fs::read_dir(path).map_err(|e| crate::input::io_error(path, e))?;
    let mut files = Vec::new();
    for entry in listing {
        files.push(entry.map_err(|e| crate::input::io_error(path, e))?.path());
    }
    files.sort();
    Ok(files)
}

/// Returns the last part of a path as text.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Writes a file beside the target and renames it, so that a crash leaves the earlier file intact.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    interlingua_files::write(path, bytes).map_err(|e| crate::input::io_error(path, e))
}

/// Finds the list of one category among the lists of a file.
pub fn attribute_list<'a>(lists: &'a [AttributeList], category: &str) -> Option<&'a AttributeList> {
    lists
        .iter()
        .find(|l| l.category == canonical_category(category))
}
