//! Writes the summary for a terminal.

use super::tables::{self, Cell, Column};
use super::text::Format;
use super::view::View;
use super::{RunInfo, findings};
use crate::row::Row;

const WIDTH: usize = 100;

/// Writes what was found in sentences, followed by a table of at most 100 columns: the gap that is left, its
/// comparisons and the cost, per method and space. The alignment of the spaces follows below.
pub fn terminal_summary(info: &RunInfo, rows: &[Row]) -> String {
    let view = View::new(info, rows);
    let mut out = String::new();
    for sentence in findings::verdict(&view) {
        out.push_str(&wrap(&sentence, WIDTH));
    }
    out.push('\n');
    out.push_str(&(clip(&info.title, WIDTH) + "\n"));
    if info.synthetic {
        out.push_str("Synthetic testbed: these numbers test the method and describe no language or people.\n");
    } else if let Some(banner) = info.banner() {
        out.push_str(&(clip(banner, WIDTH) + "\n"));
    }
    out.push('\n');
    let summary = tables::summary(&view);
    let states = tables::states(&view);
    let operating = tables::operating(&view);
    if !operating.is_empty() {
        out.push_str(&points(&operating));
    } else if summary.is_empty() && !states.is_empty() {
        out.push_str(&left(&states));
    } else if summary.is_empty() {
        out.push_str("No bias rows in this run.\n");
    } else {
        let head = [
            "method",
            "space",
            "fit",
            "others",
            "-unedited",
            "-raw",
            "-control",
            "ppl",
        ];
        let in_all = (!view.joint_fits.is_empty()).then(|| summary.columns.len() - 1);
        let mut lines = vec![head.map(String::from).to_vec()];
        lines[0].extend(in_all.map(|_| "in all".to_owned()));
        lines.extend(summary.rows.iter().map(|row| {
            let mut line = vec![
                clip(&field(row, &summary.columns, 0), 18),
                clip(&field(row, &summary.columns, 1), 21),
                value(&row[2], Format::Brief),
                value(&row[3], Format::Brief),
                difference(&row[4]),
                difference(&row[5]),
                difference(&row[6]),
                value(&row[7], Format::Ratio),
            ];
            line.extend(in_all.map(|at| value(&row[at], Format::Brief)));
            line
        }));
        out.push_str(&grid(&lines, 2));
        out.push_str(&format!(
            "fit, others: mean |gap| in nats in the language of the fit and in the others, 0 is ideal; then the\n\
             difference of others from the unedited model, the raw edit, the matched control (* leaves out 0);\n\
             ppl: {}, × the unedited model's{}.\n",
            view.cost_name(),
            in_all.map_or("", |_| "; in all: |gap| of a fit in all languages together")
        ));
    }
    let spaces = view.alignment_spaces("retrieval_top1");
    if !spaces.is_empty() {
        let found: Vec<String> = spaces
            .iter()
            .filter_map(|space| {
                let e = view.alignment("retrieval_top1", space)?;
                Some(format!("{space} {}", Format::Share.show(e.value)))
            })
            .collect();
        out.push('\n');
        out.push_str(&clip(
            &format!("Retrieval top-1: {}", found.join(" · ")),
            WIDTH,
        ));
        out.push('\n');
    }
    out
}

/// What is left in the states of a model without a head.
fn left(table: &super::Table) -> String {
    let head = [
        "method", "space", "probe", "others", "control", "SEAT", "others", "control",
    ];
    let mut lines = vec![head.map(String::from).to_vec()];
    lines.extend(table.rows.iter().map(|row| {
        let names = [
            clip(&field(row, &table.columns, 0), 18),
            clip(&field(row, &table.columns, 1), 21),
        ];
        let values = (2..8).map(|at| {
            let format = if at < 5 { Format::Share } else { Format::Plain };
            value(&row[at], format)
        });
        names.into_iter().chain(values).collect()
    }));
    grid(&lines, 2)
        + "probe: what a linear probe finds of the groups, in the language of the fit and in the others; SEAT: mean\n\
           |effect size|; control: the same fitted on shuffled labels, as the column before it.\n"
}

/// The operating points of a sweep, whose every setting would fill pages.
fn points(table: &super::Table) -> String {
    let head = [
        "method", "space", "hook", "rank", "str", "fit", "others", "removed", "ppl",
    ];
    let mut lines = vec![head.map(String::from).to_vec()];
    lines.extend(table.rows.iter().map(|row| {
        vec![
            clip(&field(row, &table.columns, 0), 16),
            clip(&field(row, &table.columns, 1), 20),
            clip(&field(row, &table.columns, 2), 16),
            field(row, &table.columns, 3),
            field(row, &table.columns, 4),
            value(&row[5], Format::Plain),
            value(&row[6], Format::Plain),
            value(&row[7], Format::Share),
            value(&row[8], Format::Ratio),
        ]
    }));
    if table.rows.len() < 2 {
        return "No edit of this run stays within the limit on what it may cost, so none is chosen; every setting is in\n\
                the report.\n"
            .to_string();
    }
    grid(&lines, 3)
        + "chosen on one share of the pairs, judged on the rest; fit, others: mean |gap| in nats in the\n\
           language of the fit and in the others; every setting is in the report.\n"
}

fn field(row: &[Cell], columns: &[Column], index: usize) -> String {
    row[index].phrase(&columns[index])
}

fn value(cell: &Cell, format: Format) -> String {
    match cell {
        Cell::Number(Some(e)) => format.show(e.value),
        _ => "–".to_string(),
    }
}

/// A difference, with a star where its interval leaves out 0.
fn difference(cell: &Cell) -> String {
    let star = match cell {
        Cell::Number(Some(e)) if e.excludes(0.0) => "*",
        _ => " ",
    };
    value(cell, Format::BriefGap) + star
}

/// Words in lines of at most so many characters.
fn wrap(words: &str, width: usize) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for word in words.split([' ', '\n']) {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            out.push_str(&line);
            out.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&clip(word, width));
    }
    out + &line + "\n"
}

/// Columns set flush, the first `left` to the left and the others to the right.
fn grid(lines: &[Vec<String>], left: usize) -> String {
    let width = |column: usize| {
        lines
            .iter()
            .map(|l| l[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let total = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
    let rule = "─".repeat(total.min(WIDTH)) + "\n";
    let mut out = String::new();
    for (index, fields) in lines.iter().enumerate() {
        let mut line = String::new();
        for (column, field) in fields.iter().enumerate() {
            if column > 0 {
                line.push_str("  ");
            }
            let w = widths[column];
            if column < left {
                line.push_str(&format!("{field:<w$}"));
            } else {
                line.push_str(&format!("{field:>w$}"));
            }
        }
        out.push_str(clip(&line, WIDTH).trim_end());
        out.push('\n');
        if index == 0 {
            out.push_str(&rule);
        }
    }
    out + &rule
}

fn clip(words: &str, width: usize) -> String {
    let words: String = words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if words.chars().count() <= width {
        return words;
    }
    let mut out: String = words.chars().take(width - 1).collect();
    out.push('…');
    out
}
