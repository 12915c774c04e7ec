//! The tables of the report, and their forms as Markdown, CSV, HTML and terminal text.

mod alignment;
mod benchmarks;
mod calibration;
mod controls;
mod erasure;
mod operating;
mod states;
mod summary;
mod transfer;
mod utility;

use alignment::reconstruction;
pub(super) use alignment::{alignment, directions};
pub(super) use benchmarks::{benchmark_means, benchmarks, unedited_means};
pub(super) use calibration::{calibration, logit, slopes};
pub(super) use controls::controls;
pub(super) use erasure::erasure;
pub(super) use operating::{operating, searched};
pub(super) use states::{Left, states};
pub(super) use summary::{by_category, heart, summary};
pub(super) use transfer::{cosines, kinds, transfer};
pub(super) use utility::{power, utility};

use maud::{Markup, html};

use super::RunInfo;
use super::text::{self, Format, csv_field};
use super::view::{Estimate, View};
use crate::row::Row;

/// A table of the report.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The file name without extension, which is also the anchor on the page.
    pub id: String,
    /// The heading.
    pub title: String,
    /// The explanation of the numbers, in a sentence or two.
    pub note: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// The heading and the kind of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    /// The format of the numbers; `None` for text.
    pub(super) format: Option<Format>,
}

/// One field of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// Words.
    Text(String),
    /// A number that may be missing.
    Number(Option<Estimate>),
}

impl Table {
    fn new(id: &str, title: &str, note: &str, columns: &[(&str, Option<Format>)]) -> Table {
        Table {
            id: id.to_string(),
            title: title.to_string(),
            note: note.to_string(),
            columns: columns
                .iter()
                .map(|(name, format)| Column {
                    name: name.to_string(),
                    format: *format,
                })
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Returns whether the run has no row for this table.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the heading, the note and the table as Markdown.
    pub fn markdown(&self) -> String {
        format!("# {}\n\n{}", self.title, self.markdown_body())
    }

    /// Returns the note and the table as Markdown, without the heading.
    pub(super) fn markdown_body(&self) -> String {
        if self.is_empty() {
            return format!("{}\n\n*No rows of this run belong here.*\n", self.note);
        }
        format!("{}\n\n{}", self.note, self.pipes())
    }

    /// Returns the Markdown table alone; empty if there are no rows.
    pub(super) fn pipes(&self) -> String {
        let mut out = String::new();
        if self.is_empty() {
            return out;
        }
        let names: Vec<String> = self.columns.iter().map(|c| pipe(&c.name)).collect();
        let rules = self.columns.iter().map(|c| match c.format {
            Some(_) => "---:",
            None => "---",
        });
        out.push_str(&format!("| {} |\n", names.join(" | ")));
        out.push_str(&format!("| {} |\n", rules.collect::<Vec<_>>().join(" | ")));
        for row in &self.rows {
            let fields: Vec<String> = row
                .iter()
                .zip(&self.columns)
                .map(|(cell, column)| pipe(&cell.phrase(column)))
                .collect();
            out.push_str(&format!("| {} |\n", fields.join(" | ")));
        }
        out
    }

    /// Returns the table as plain CSV. A number takes four columns: the value, the ends of its interval, and n.
    pub fn csv(&self) -> String {
        let mut header = Vec::new();
        for column in &self.columns {
            let name = csv_field(&text::slug(&column.name).replace('-', "_"));
            header.push(name.clone());
            if column.format.is_some() {
                header.extend(["low", "high", "n"].map(|end| format!("{name}_{end}")));
            }
        }
        let mut out = header.join(",") + "\n";
        for row in &self.rows {
            let mut fields = Vec::new();
            for cell in row {
                match cell {
                    Cell::Text(words) => fields.push(csv_field(words)),
                    Cell::Number(None) => fields.extend([const { String::new() }; 4]),
                    Cell::Number(Some(e)) => {
                        let (low, high) = match e.interval {
                            Some((low, high)) => (low.to_string(), high.to_string()),
                            None => Default::default(),
                        };
                        fields.extend([e.value.to_string(), low, high, e.n.to_string()]);
                    }
                }
            }
            out.push_str(&fields.join(","));
            out.push('\n');
        }
        out
    }

    /// Returns the table as HTML, in a box that scrolls on a narrow page; empty if there are no rows.
    pub(super) fn html(&self) -> Markup {
        if self.is_empty() {
            return html! {};
        }
        html! {
            div class="scroll" role="region" tabindex="0" aria-label=(self.title) {
                table class=(self.id) {
                    caption { (self.title) }
                    thead { tr {
                        @for column in &self.columns {
                            th scope="col" class=[column.class()] { (column.name) }
                        }
                    } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (index, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
                                    (cell.html(column, index == 0))
                                }
                            }
                        }
                    }
                }
            }
            p class="note" { (self.note) }
        }
    }
}

impl Column {
    /// Numbers and counts are set to the right.
    fn class(&self) -> Option<&'static str> {
        let is_number = self.format.is_some() || self.name == "n" || self.name.ends_with("(n)");
        is_number.then_some("num")
    }
}

impl Cell {
    /// Writes value and interval as one phrase; a missing number is a dash.
    pub(super) fn phrase(&self, column: &Column) -> String {
        match (self, column.format) {
            (Cell::Text(words), _) => words.clone(),
            (Cell::Number(Some(estimate)), Some(format)) => format.phrase(estimate),
            (Cell::Number(_), _) => "–".to_string(),
        }
    }

    fn html(&self, column: &Column, is_head: bool) -> Markup {
        match (self, column.format) {
            (Cell::Text(words), _) if is_head => html! { th scope="row" { (words) } },
            (Cell::Text(words), _) => html! { td class=[column.class()] { (words) } },
            (Cell::Number(Some(e)), Some(format)) => html! {
                td class="num" title={ "n = " (e.n) } {
                    (format.show(e.value))
                    @if let Some(interval) = format.interval(e) { " " span class="ci" { (interval) } }
                }
            },
            (Cell::Number(_), _) => html! { td class="num" { "–" } },
        }
    }
}

fn pipe(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
        .replace(['\n', '\r'], " ")
}

fn words(value: impl Into<String>) -> Cell {
    Cell::Text(value.into())
}

/// Makes every table that belongs into the folder `tables`, including empty ones.
pub fn tables(info: &RunInfo, rows: &[Row]) -> Vec<Table> {
    all(&View::new(info, rows))
}

/// Makes the same tables from sorted rows.
pub(super) fn all(view: &View) -> Vec<Table> {
    let mut out = vec![
        summary(view),
        transfer(view),
        by_category(view),
        kinds(view),
        cosines(view),
    ];
    out.push(bias(view, "gaps", "Mean gap", "mean_gap", Format::Gap));
    out.push(bias(
        view,
        "sign-scores",
        "Sign score",
        "sign_score",
        Format::Score,
    ));
    out.push(shares(view));
    out.push(operating(view));
    out.push(searched(view));
    out.push(perplexity(view));
    out.push(utility(view));
    out.push(erasure(view));
    out.push(states(view));
    out.push(benchmark_means(view));
    out.push(benchmarks(view));
    out.push(power(view));
    out.push(alignment(view));
    out.push(directions(view));
    out.push(reconstruction(view));
    out.push(calibration(view));
    out.push(slopes(view));
    out.push(controls(view));
    out
}

fn p_value(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_string()
    } else {
        format!("{p:.3}")
    }
}

/// Every cell of one bias metric.
fn bias(view: &View, id: &str, title: &str, metric: &str, format: Format) -> Table {
    let note = match metric {
        "mean_gap" => {
            "Mean log-likelihood gap in nats, more minus less stereotyping sentence; 0 is ideal."
        }
        _ => {
            "Share of pairs, in per cent, whose more stereotyping sentence scores higher; 50 is ideal."
        }
    };
    let mut table = Table::new(
        id,
        &format!("{title}, every cell"),
        note,
        &[
            ("Method", None),
            ("Space", None),
            ("Category", None),
            ("Benchmark", None),
            ("Scorer", None),
            ("Fitted in", None),
            ("Judged in", None),
            (title, Some(format)),
            ("n", None),
            ("p (Holm)", None),
        ],
    );
    for (variant, rows) in view.by_variant(metric) {
        for row in rows {
            let e = Estimate::of(row);
            table.rows.push(vec![
                words(variant.title()),
                words(variant.place()),
                or_dash(row.category.as_ref()),
                or_dash(row.benchmark.as_ref()),
                or_dash(row.scorer.as_ref()),
                or_dash(row.fit_language.as_ref()),
                or_dash(row.eval_language.as_ref()),
                Cell::Number(Some(e)),
                words(row.n.to_string()),
                words(e.holm.map_or("–".to_string(), |h| p_value(h.smallest))),
            ]);
        }
    }
    table
}

fn shares(view: &View) -> Table {
    let mut table = Table::new(
        "shares",
        "Shares of pairs",
        "Sign scores apart by the direction of the pair: a model that is merely noisy has 50 in both.",
        &[
            ("Metric", None),
            ("Method", None),
            ("Space", None),
            ("Category", None),
            ("Scorer", None),
            ("Fitted in", None),
            ("Judged in", None),
            ("Share", Some(Format::Score)),
            ("n", None),
        ],
    );
    for metric in ["stereo_share", "antistereo_share"] {
        for row in view.metric(metric) {
            let named = [
                Some(&row.metric),
                row.method.as_ref(),
                row.space.as_ref(),
                row.category.as_ref(),
                row.scorer.as_ref(),
                row.fit_language.as_ref(),
                row.eval_language.as_ref(),
            ];
            let mut cells: Vec<Cell> = named.iter().map(|name| or_dash(*name)).collect();
            cells.extend([
                Cell::Number(Some(Estimate::of(row))),
                words(row.n.to_string()),
            ]);
            table.rows.push(cells);
        }
    }
    table
}

fn or_dash(name: Option<&String>) -> Cell {
    words(name.map_or("–", String::as_str))
}

pub(super) fn perplexity(view: &View) -> Table {
    let title = view.cost_title();
    let note =
        format!("{title} on held-out text of each language; lower is better, n counts sentences.");
    let mut table = Table::new(
        "perplexity",
        title,
        &note,
        &[
            ("Method", None),
            ("Space", None),
            ("Category", None),
            ("Fitted in", None),
            ("Judged in", None),
            (title, Some(Format::Perplexity)),
            ("n", None),
        ],
    );
    for row in view.metric(view.cost()) {
        table.rows.push(vec![
            words(view.variant_of(row).title()),
            or_dash(row.space.as_ref()),
            or_dash(row.category.as_ref()),
            or_dash(row.fit_language.as_ref()),
            or_dash(row.eval_language.as_ref()),
            Cell::Number(Some(Estimate::of(row))),
            words(row.n.to_string()),
        ]);
    }
    table
}
