//! Writes the table of bias and utility, as Markdown and as an HTML page.

use maud::{DOCTYPE, html};

use super::measure::Row;

/// The facts that stand above the table.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The model, as the user named it.
    pub model: String,
    /// The intervention, as the user named it.
    pub edit: Option<String>,
    /// Reservations that a reader must know.
    pub notes: Vec<String>,
}

/// A number with its interval.
fn number(row: &Row) -> String {
    let e = &row.estimate;
    match (e.ci_low, e.ci_high) {
        (Some(low), Some(high)) => format!("{:.3} [{low:.3}, {high:.3}]", e.value),
        _ => format!("{:.3}", e.value),
    }
}

/// One line of the table: what was measured, and the number of each model that has one.
struct Line<'a> {
    first: &'a Row,
    cells: [String; 3],
}

const COLUMNS: [&str; 3] = ["unedited", "edited", "change"];

fn lines(rows: &[Row]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for row in rows {
        let same = |line: &Line<'_>| {
            let f = line.first;
            (&f.language, &f.task, &f.category, &f.metric)
                == (&row.language, &row.task, &row.category, &row.metric)
        };
        if !lines.last().is_some_and(same) {
            lines.push(Line {
                first: row,
                cells: Default::default(),
            });
        }
        let at = COLUMNS.iter().position(|c| *c == row.model);
        if let (Some(line), Some(at)) = (lines.last_mut(), at) {
            line.cells[at] = number(row);
        }
    }
    lines
}

fn columns(about: &About) -> usize {
    if about.edit.is_some() {
        COLUMNS.len()
    } else {
        1
    }
}

/// Writes the table as Markdown, for a page of documentation or for the terminal.
pub fn markdown(rows: &[Row], about: &About) -> String {
    let columns = &COLUMNS[..columns(about)];
    let mut out = format!("Model: {}\n", about.model);
    if let Some(edit) = &about.edit {
        out.push_str(&format!("Edit: {edit}\n"));
    }
    for note in &about.notes {
        out.push_str(&format!("\n{note}\n"));
    }
    out.push_str(&format!(
        "\n| language | task | category | metric | n | {} |\n|---|---|---|---|---|{}\n",
        columns.join(" | "),
        "---|".repeat(columns.len())
    ));
    for line in lines(rows) {
        let f = line.first;
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            f.language,
            f.task,
            f.category,
            // A bar divides cells.
            f.metric.replace('|', "\\|"),
            f.estimate.n,
            line.cells[..columns.len()].join(" | ")
        ));
    }
    out
}

/// Writes the table as one HTML file without scripts.
pub fn page(rows: &[Row], about: &About) -> String {
    const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em}\
        table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.3em .6em;text-align:left}\
        th{background:#f2f2f2}";
    let columns = &COLUMNS[..columns(about)];
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Bias and utility" }
                style { (STYLE) }
            }
            body {
                h1 { "Bias and utility" }
                p { "Model: " (about.model) }
                @if let Some(edit) = &about.edit { p { "Edit: " (edit) } }
                @for note in &about.notes { p { (note) } }
                table {
                    tr {
                        @for name in ["language", "task", "category", "metric", "n"] { th { (name) } }
                        @for name in columns { th { (name) } }
                    }
                    @for line in lines(rows) {
                        tr {
                            td { (line.first.language) }
                            td { (line.first.task) }
                            td { (line.first.category) }
                            td { (line.first.metric) }
                            td { (line.first.estimate.n) }
                            @for cell in &line.cells[..columns.len()] { td { (cell) } }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlingua_metrics::bootstrap::Estimate;

    #[test]
    fn a_line_has_the_numbers_of_all_models() {
        let row = |metric: &str, model: &str, value: f64| Row {
            language: "en".into(),
            task: "occupations".into(),
            category: "gender".into(),
            metric: metric.into(),
            model: model.into(),
            estimate: Estimate {
                value,
                ci_low: Some(value - 1.0),
                ci_high: Some(value + 1.0),
                n: 7,
            },
        };
        let rows = [
            row("mean |gap|", "unedited", 2.0),
            row("mean |gap|", "edited", 1.0),
            row("mean |gap|", "change", -1.0),
            row("mean gap", "unedited", 0.5),
        ];
        let about = About {
            model: "m".into(),
            edit: Some("e".into()),
            notes: vec!["A note.".into()],
        };
        let text = markdown(&rows, &about);
        assert!(
            text.contains("| en | occupations | gender | mean \\|gap\\| | 7 | 2.000 [1.000, 3.000] | 1.000 [0.000, 2.000] | -1.000 [-2.000, 0.000] |\n"),
            "{text}"
        );
        assert!(
            text.contains("| mean gap | 7 | 0.500 [-0.500, 1.500] |  |  |\n"),
            "{text}"
        );
        let alone = markdown(&rows[..1], &About::default());
        assert!(alone.contains("| n | unedited |\n"), "{alone}");
        assert!(page(&rows, &about).contains("<td>-1.000 [-2.000, 0.000]</td>"));
    }
}
