//! Counts what the rows of a file hold, column by column.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use super::{ColumnStats, Description, Encoding, Identical, Lines, Quantiles};
use crate::error::Report;
use crate::input::mojibake;
use crate::iso::language_of;
use crate::language::Language;

/// The counts of a file.
#[derive(Default)]
pub(super) struct Table {
    pub(super) columns: Vec<Accumulator>,
    pub(super) rows: u64,
    pub(super) seen: HashSet<u64>,
    pub(super) duplicates: u64,
    pub(super) hasher: RandomState,
    pub(super) compared: Vec<(usize, usize, Lines)>,
    pub(super) encoding: Encoding,
    pub(super) report: Report,
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) check_text: bool,
}

/// The counts of one column.
pub(super) struct Accumulator {
    pub(super) name: String,
    pub(super) language: Option<Language>,
    chars: Vec<u32>,
    words: Vec<u32>,
    empty: Lines,
    blanks: Lines,
    seen: HashSet<u64>,
}

impl Table {
    pub(super) fn header(&mut self, names: &[String]) {
        self.columns = names.iter().map(|n| Accumulator::new(n)).collect();
        for (i, left) in names.iter().enumerate() {
            for (j, right) in names.iter().enumerate().skip(i + 1) {
                let paired = left
                    .strip_suffix("more")
                    .is_some_and(|l| right.strip_suffix("less") == Some(l));
                let languages = self.columns[i].language.is_some()
                    && self.columns[j].language.is_some()
                    && language_of(left).is_some()
                    && language_of(right).is_some();
                if paired || languages {
                    self.compared.push((i, j, Lines::default()));
                }
            }
        }
    }

    pub(super) fn row(&mut self, line: u64, cells: &[&str]) {
        self.rows += 1;
        let mut key = Vec::with_capacity(cells.len());
        for (cell, column) in cells.iter().zip(&mut self.columns) {
            let hash = self.hasher.hash_one(cell.trim());
            column.push(line, cell, hash);
            // A running number or an id would make every row unique.
            if !matches!(column.name.as_str(), "" | "id" | "index") && !column.name.ends_with("_id")
            {
                key.push(hash);
            }
        }
        if !key.is_empty() && !self.seen.insert(self.hasher.hash_one(key)) {
            self.duplicates += 1;
        }
        for (i, j, lines) in &mut self.compared {
            if let (Some(left), Some(right)) = (cells.get(*i), cells.get(*j))
                && !left.trim().is_empty()
                && left.trim() == right.trim()
            {
                lines.add(line);
            }
        }
        if self.check_text {
            if cells.iter().any(|c| c.contains('\u{fffd}')) {
                self.encoding.replacement.add(line);
            }
            if cells.iter().any(|c| mojibake(c).is_some()) {
                self.encoding.mojibake.add(line);
            }
        }
    }

    pub(super) fn finish(self, path: &Path, format: String, bytes: u64) -> Description {
        let names: Vec<String> = self.columns.iter().map(|c| c.name.clone()).collect();
        let identical = self
            .compared
            .into_iter()
            .filter(|(_, _, lines)| lines.count > 0);
        Description {
            file: path.to_owned(),
            format,
            bytes,
            rows: self.rows,
            duplicate_rows: self.duplicates,
            identical: identical
                .map(|(i, j, rows)| Identical {
                    left: names[i].clone(),
                    right: names[j].clone(),
                    rows,
                })
                .collect(),
            columns: self.columns.into_iter().map(Accumulator::finish).collect(),
            encoding: self.encoding,
            report: self.report,
            counts: self.counts.into_iter().collect(),
        }
    }

    pub(super) fn count(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }
}

impl Accumulator {
    pub(super) fn new(name: &str) -> Self {
        let code = name
            .strip_suffix("_more")
            .or(name.strip_suffix("_less"))
            .unwrap_or(name);
        let language = if name == "id" {
            None
        } else {
            language_of(code)
        };
        Accumulator {
            name: name.to_owned(),
            language,
            chars: vec![],
            words: vec![],
            empty: Lines::default(),
            blanks: Lines::default(),
            seen: HashSet::new(),
        }
    }

    pub(super) fn push(&mut self, line: u64, cell: &str, hash: u64) {
        if cell.trim().is_empty() {
            self.empty.add(line);
            return;
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.chars.push(count(cell.chars().count()));
        self.words.push(count(cell.split_whitespace().count()));
        // The sentences of pairs are scored as they are written.
        let scored = self.name.ends_with("more") || self.name.ends_with("less");
        if scored && cell.trim() != cell {
            self.blanks.add(line);
        }
        self.seen.insert(hash);
    }

    fn finish(self) -> ColumnStats {
        ColumnStats {
            name: self.name,
            language: self.language,
            filled: self.chars.len() as u64,
            empty: self.empty,
            blanks: self.blanks,
            distinct: self.seen.len() as u64,
            chars: quantiles(self.chars),
            words: quantiles(self.words),
        }
    }
}

fn quantiles(mut lengths: Vec<u32>) -> Quantiles {
    lengths.sort_unstable();
    let at = |share: f64| {
        let last = lengths.len().saturating_sub(1);
        lengths
            .get((share * last as f64).round() as usize)
            .copied()
            .unwrap_or(0)
    };
    Quantiles {
        min: at(0.0),
        p5: at(0.05),
        median: at(0.5),
        p95: at(0.95),
        max: at(1.0),
    }
}
