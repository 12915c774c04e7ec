//! Formats numbers and names for readers.

use super::view::Estimate;
use crate::role::{Control, Role};

/// The format of a column of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A gap in nats: signed, with three decimals.
    Gap,
    /// A gap in nats where there is little room: signed, with two decimals.
    BriefGap,
    /// An unsigned number with three decimals.
    Plain,
    /// An unsigned number with two decimals, for running text.
    Brief,
    /// A sign score: one decimal.
    Score,
    /// A share between 0 and 1, written as per cent.
    Share,
    /// A perplexity: two decimals.
    Perplexity,
    /// A ratio: three decimals and a multiplication sign.
    Ratio,
}

impl Format {
    /// Writes the number; a number that is not finite becomes "n/a".
    pub fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return "n/a".to_string();
        }
        match self {
            Format::Gap => signed(value, 3),
            Format::BriefGap => signed(value, 2),
            Format::Brief => minus(format!("{value:.2}")),
            Format::Plain => minus(format!("{value:.3}")),
            Format::Score => minus(format!("{value:.1}")),
            Format::Share => minus(format!("{:.0}\u{a0}%", 100.0 * value)),
            Format::Perplexity if value.abs() >= 1000.0 => minus(format!("{value:.0}")),
            Format::Perplexity => minus(format!("{value:.2}")),
            Format::Ratio => minus(format!("×{value:.3}")),
        }
    }

    /// Writes the interval as `[low, high]`; `None` if it is unknown.
    pub fn interval(self, estimate: &Estimate) -> Option<String> {
        let (low, high) = estimate.finite_interval()?;
        Some(format!("[{},\u{a0}{}]", self.show(low), self.show(high)))
    }

    /// Writes value and interval as one phrase.
    pub fn phrase(self, estimate: &Estimate) -> String {
        match self.interval(estimate) {
            Some(interval) => format!("{} {interval}", self.show(estimate.value)),
            None => self.show(estimate.value),
        }
    }

    /// Writes everything that is known about a number, for tooltips.
    pub fn full(self, estimate: &Estimate) -> String {
        let interval = match self.interval(estimate) {
            Some(interval) => format!("95 % interval {interval}"),
            None => "no interval".to_string(),
        };
        let value = self.show(estimate.value);
        format!("{value}, {interval}, n = {}", estimate.n)
    }
}

fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{value:+.decimals$}");
    // A rounded zero has no sign worth showing.
    if text.chars().all(|c| matches!(c, '+' | '-' | '0' | '.')) {
        return text[1..].to_string();
    }
    minus(text)
}

fn minus(text: String) -> String {
    let is_zero = text.starts_with('-') && !text.chars().any(|c| c.is_ascii_digit() && c != '0');
    if is_zero {
        return text[1..].to_string();
    }
    text.replacen('-', "−", 1)
}

/// Escapes text for HTML, SVG and XML, in elements and in attributes.
///
/// Characters that XML forbids become the replacement character, so that no name in a data set can break the page.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Writes words as a field of a CSV file, in quotes if they are needed.
///
/// Names of models and categories come from anywhere, and a spreadsheet would evaluate text that begins like a
/// formula. Such text gets an apostrophe in front, so that the spreadsheet takes it as text. Numbers do not go
/// through this function.
pub fn csv_field(text: &str) -> String {
    let formula = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];
    if text.starts_with(formula) {
        return format!("\"'{}\"", text.replace('"', "\"\""));
    }
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

/// Makes a name that can be part of a file name and of an anchor.
pub fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_string()
}

/// Returns the English name of a language, or its code if the report does not know it.
pub fn language(code: &str) -> &str {
    match code {
        "en" => "English",
        "fr" => "French",
        "de" => "German",
        "nl" => "Dutch",
        other => other,
    }
}

/// Returns the name of an edit: its method as the literature writes it, or its identifier. `method` is the value in
/// the rows.
pub fn edit(role: Role, method: &str) -> String {
    let title = |name: &str| {
        interlingua_debias::by_name(name)
            .map_or_else(|_| name.to_string(), |m| m.title().to_string())
    };
    match (role, role.method(method)) {
        (Role::Unedited, _) => "Unedited".to_string(),
        (Role::AutoencoderOnly, _) => "Autoencoder only".to_string(),
        (Role::Control(Control::Shuffled), Some(fitted)) => {
            format!("{}, shuffled labels", title(fitted))
        }
        (Role::Control(Control::Random), Some(fitted)) => {
            format!("{}, at random", title(fitted))
        }
        _ => title(method),
    }
}

/// Joins items as in a sentence: "a, b and c".
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// Writes a count with its noun: `1 cell`, `2 cells`.
pub fn count(n: usize, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}
