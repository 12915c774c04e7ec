//! Writes a [`Description`] as text for a terminal.

use std::collections::HashSet;
use std::fmt;

use crate::describe::{Description, Quantiles};
use crate::language::Language;
use crate::scan::Lines;

/// How many findings are shown in full.
const SHOWN: usize = 20;

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.file.display())?;
        let size = if self.bytes > 0 {
            format!(", {} bytes", grouped(self.bytes))
        } else {
            String::new()
        };
        writeln!(f, "{} rows, {}{size}", grouped(self.rows), self.format)?;
        let languages: Vec<&str> = {
            let mut seen = HashSet::new();
            let codes = self.columns.iter().filter_map(|c| c.language.as_ref());
            codes
                .filter(|l| seen.insert(**l))
                .map(Language::code)
                .collect()
        };
        if !languages.is_empty() {
            writeln!(f, "languages: {}", languages.join(", "))?;
        }
        self.write_columns(f)?;
        self.write_counts(f)?;
        let clean = self.write_faults(f)?;
        let encoding = &self.encoding;
        let ends = if encoding.crlf > 0 && encoding.lf == 0 {
            ", CRLF"
        } else {
            ""
        };
        let mark = if encoding.byte_order_mark {
            ", byte order mark"
        } else {
            ""
        };
        writeln!(f, "encoding: {}{ends}{mark}", encoding.name)?;
        if clean {
            writeln!(f, "no faults found")?;
        }
        Ok(())
    }
}

impl Description {
    fn write_columns(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .columns
            .iter()
            .map(|c| c.name.chars().count())
            .max()
            .unwrap_or(0)
            .clamp(6, 28);
        writeln!(f)?;
        writeln!(
            f,
            "{:width$}  {:>9} {:>9} {:>7}   {:<24} {:<22}",
            "column", "filled", "distinct", "empty", "characters", "words"
        )?;
        writeln!(
            f,
            "{:width$}  {:>9} {:>9} {:>7}   {:<24} {:<22}",
            "", "", "", "", "min p5 median p95 max", "min p5 median p95 max"
        )?;
        for column in &self.columns {
            let name = if column.name.is_empty() {
                "(unnamed)"
            } else {
                &column.name
            };
            writeln!(
                f,
                "{name:width$}  {:>9} {:>9} {:>7}   {:<24} {:<22}",
                grouped(column.filled),
                grouped(column.distinct),
                grouped(column.empty.count),
                column.chars.to_string(),
                column.words.to_string()
            )?;
        }
        writeln!(f)
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.counts.iter().map(|c| c.0.chars().count()).max();
        for (what, number) in &self.counts {
            let width = width.unwrap_or(0);
            writeln!(f, "{what:width$}  {:>9}", grouped(*number))?;
        }
        if !self.counts.is_empty() {
            writeln!(f)?;
        }
        Ok(())
    }

    /// Writes a line for each kind of fault; returns whether there is none.
    fn write_faults(&self, f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let mut clean = true;
        let mut fault = |f: &mut fmt::Formatter<'_>, label: &str, text: String| {
            clean = false;
            writeln!(f, "! {label}: {text}")
        };
        if self.duplicate_rows > 0 {
            fault(f, "duplicate rows", grouped(self.duplicate_rows))?;
        }
        for column in self.columns.iter().filter(|c| c.empty.count > 0) {
            fault(
                f,
                &format!("empty cells in `{}`", column.name),
                column.empty.to_string(),
            )?;
        }
        for column in self.columns.iter().filter(|c| c.blanks.count > 0) {
            fault(
                f,
                &format!("blanks around sentences of `{}`, kept", column.name),
                column.blanks.to_string(),
            )?;
        }
        for identical in &self.identical {
            fault(
                f,
                &format!("`{}` equals `{}`", identical.left, identical.right),
                identical.rows.to_string(),
            )?;
        }
        let encoding = &self.encoding;
        for (label, lines) in [
            ("lines that are not UTF-8", &encoding.invalid_utf8),
            (
                "lines with U+FFFD (a lost character)",
                &encoding.replacement,
            ),
            ("lines with mojibake", &encoding.mojibake),
            ("lines with NUL bytes", &encoding.nul),
        ] {
            if lines.count > 0 {
                fault(f, label, lines.to_string())?;
            }
        }
        if encoding.invalid_utf8.count > 0 && encoding.valid_non_ascii.count > 0 {
            fault(
                f,
                "mixed encodings: lines that are UTF-8",
                encoding.valid_non_ascii.to_string(),
            )?;
        }
        if encoding.crlf > 0 && encoding.lf > 0 {
            fault(
                f,
                "mixed line ends",
                format!("{} CRLF, {} LF", encoding.crlf, encoding.lf),
            )?;
        }
        if self.report.rows_skipped > 0 {
            fault(
                f,
                "rows that can't be used",
                grouped(self.report.rows_skipped),
            )?;
        }
        for finding in self.report.findings.iter().take(SHOWN) {
            fault(f, "finding", finding.to_string())?;
        }
        let left =
            self.report.findings.len().saturating_sub(SHOWN) as u64 + self.report.findings_left_out;
        if left > 0 {
            fault(f, "further findings", grouped(left))?;
        }
        Ok(clean)
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {}",
            self.min, self.p5, self.median, self.p95, self.max
        )
    }
}

/// A number with blanks between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        if !self.first.is_empty() {
            let lines: Vec<String> = self.first.iter().map(u64::to_string).collect();
            let more = if self.count as usize > self.first.len() {
                ", …"
            } else {
                ""
            };
            write!(f, " (line {}{more})", lines.join(", "))?;
        }
        Ok(())
    }
}
