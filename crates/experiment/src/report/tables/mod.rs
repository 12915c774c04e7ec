//! Tables: made once, shown as Markdown, CSV, HTML and on the terminal.

mod benchmarks;
mod erasure;
mod operating;
mod transfer;
mod utility;

pub(super) use benchmarks::{benchmark_means, benchmarks};
pub(super) use erasure::erasure;
pub(super) use operating::operating;
pub(super) use transfer::{cosines, kinds, transfer};
pub(super) use utility::{power, utility};

use maud::{Markup, html};

use super::RunInfo;
use super::differences::{Edit, differences};
use super::text::{self, Format, csv_field};
use super::view::{Estimate, Judged, VERSUS, Variant, View, is_control};
use crate::row::Row;

/// A table of the report.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// File name without ending, and anchor.
    pub id: String,
    /// Heading.
    pub title: String,
    /// What the numbers are, in a sentence or two.
    pub note: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// Heading and kind of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    /// How numbers are shown; `None` for text.
    pub(super) format: Option<Format>,
}

/// A field of a table.
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

    /// Whether the run has no row for this table.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Heading, note and a pipe table.
    pub fn markdown(&self) -> String {
        format!("# {}\n\n{}", self.title, self.markdown_body())
    }

    /// Note and pipe table without the heading.
    pub(super) fn markdown_body(&self) -> String {
        if self.is_empty() {
            return format!("{}\n\n*No rows of this run belong here.*\n", self.note);
        }
        format!("{}\n\n{}", self.note, self.pipes())
    }

    /// The pipe table alone; nothing where there are no rows.
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

    /// Plain CSV: a number takes four columns, value, ends of its interval and n.
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

    /// The table for a page, in a box that scrolls where the page is narrow; nothing where there are no rows.
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
    /// Value and interval in one phrase; an absent number is a dash.
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

/// Every table that belongs into the folder `tables`, empty ones included.
pub fn tables(info: &RunInfo, rows: &[Row]) -> Vec<Table> {
    all(&View::new(info, rows))
}

/// The same from sorted rows.
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
    out.push(perplexity(view));
    out.push(utility(view));
    out.push(erasure(view));
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

/// One line per method and space: what is left, what it is compared with, what it costs.
pub(super) fn summary(view: &View) -> Table {
    let note = format!(
        "Mean |gap| in nats over all categories (0 is ideal), judged in the language the edit was fitted in and in the \
         others; what has no fit language has the mean over all in both columns. Then the difference of the latter from \
         the unedited model's, from that of the same edit in the raw states, and from that of the matched control, the \
         better of shuffled labels and a random subspace of the same rank: below 0 is less bias. {} as a multiple of the \
         unedited model's. In brackets: 95 % interval, all from one resampling of the pairs.",
        view.cost_title()
    );
    let mut table = Table::new(
        "summary",
        "Summary",
        &note,
        &[
            ("Method", None),
            ("Space", None),
            ("|gap|, fit language", Some(Format::Plain)),
            ("|gap|, other languages", Some(Format::Plain)),
            ("From unedited", Some(Format::Gap)),
            ("From raw", Some(Format::Gap)),
            ("From control", Some(Format::Gap)),
            (view.cost_title(), Some(Format::Ratio)),
            ("Pairs (n)", None),
        ],
    );
    let Some(lens) = view.main_lens() else {
        return table;
    };
    if let Some(base) = view.base_abs_gap(lens, None) {
        let mut row = vec![
            words("Unedited"),
            words("–"),
            Cell::Number(Some(base)),
            Cell::Number(Some(base)),
        ];
        row.extend([const { Cell::Number(None) }; 4]);
        row.push(words(base.n.to_string()));
        table.rows.push(row);
    }
    for variant in &view.variants {
        let gap = |judged| view.mean_abs_gap(lens, variant, None, judged);
        let Some(all) = gap(Judged::All) else {
            continue;
        };
        let mut row = vec![
            words(text::method(&variant.method)),
            words(variant.site()),
            Cell::Number(gap(Judged::Own)),
            Cell::Number(gap(Judged::Others)),
        ];
        row.extend(VERSUS.map(|(versus, _)| Cell::Number(difference(view, variant, None, versus))));
        row.push(Cell::Number(view.perplexity_ratio(lens, variant, None)));
        row.push(words(all.n.to_string()));
        table.rows.push(row);
    }
    table
}

/// Difference of the mean |gap| in the languages an edit was not fitted in; of what a joint fit leaves, in all.
fn difference(
    view: &View,
    variant: &Variant,
    category: Option<&str>,
    versus: &str,
) -> Option<Estimate> {
    let lens = view.main_lens()?;
    view.scoped(
        "gap_difference",
        lens,
        variant,
        category,
        versus,
        Judged::Others,
    )
}

/// The lines of the summary that a short page has room for: the unedited model and, for each method, the raw states, the
/// space that the sentences are about, and the best of the others.
pub(super) fn heart(view: &View) -> Table {
    /// With more methods each has one line.
    const METHODS: usize = 3;
    let mut table = summary(view);
    table.note = String::new();
    let found = differences(view);
    let spoken = found.spoken(view);
    let mut kept: Vec<&Variant> = spoken.iter().map(|edit| edit.variant).collect();
    if spoken.len() <= METHODS {
        for chosen in &spoken {
            let same = || {
                found
                    .edits
                    .iter()
                    .filter(|e| e.variant.method == chosen.variant.method)
            };
            let value = |e: &&Edit| e.versus[0].map_or(f64::INFINITY, |d| d.value);
            let best = |raw: bool| {
                same()
                    .filter(|e| {
                        e.variant.space != chosen.variant.space && (e.variant.space == "raw") == raw
                    })
                    .filter(|e| e.variant.space != "latent-unaligned")
                    .min_by(|a, b| value(a).total_cmp(&value(b)))
            };
            kept.extend(
                [best(true), best(false)]
                    .into_iter()
                    .flatten()
                    .map(|e| e.variant),
            );
        }
    }
    let names: Vec<[Cell; 2]> = kept
        .iter()
        .map(|v| [words(text::method(&v.method)), words(v.site())])
        .collect();
    table
        .rows
        .retain(|row| row[0] == words("Unedited") || names.iter().any(|name| row[..2] == *name));
    table
}

fn p_value(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_string()
    } else {
        format!("{p:.3}")
    }
}

pub(super) fn by_category(view: &View) -> Table {
    let note =
        "Mean |gap| in nats in the languages an edit was not fitted in, one column per category.";
    let mut columns = vec![("Method", None), ("Space", None)];
    columns.extend(
        view.categories
            .iter()
            .map(|c| (c.as_str(), Some(Format::Plain))),
    );
    let mut table = Table::new("by-category", "Transfer by category", note, &columns);
    let Some(lens) = view.main_lens() else {
        return table;
    };
    let mut push = |head: [String; 2], get: &dyn Fn(&str) -> Option<Estimate>| {
        let cells: Vec<Option<Estimate>> = view.categories.iter().map(|c| get(c)).collect();
        if cells.iter().any(Option::is_some) {
            let mut row: Vec<Cell> = head.into_iter().map(Cell::Text).collect();
            row.extend(cells.into_iter().map(Cell::Number));
            table.rows.push(row);
        }
    };
    push(["Unedited".to_string(), "–".to_string()], &|c| {
        view.base_abs_gap(lens, Some(c))
    });
    for variant in &view.variants {
        let head = [text::method(&variant.method).to_string(), variant.site()];
        push(head, &|c| {
            view.mean_abs_gap(lens, variant, Some(c), Judged::Others)
        });
    }
    table
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
                words(text::method(&variant.method)),
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
            words(text::method(row.method.as_deref().unwrap_or("none"))),
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

const ALIGNMENT: [(&str, &str, Format); 6] = [
    ("retrieval_top1", "Retrieval top-1", Format::Share),
    ("retrieval_top1_csls", "Top-1, CSLS", Format::Share),
    ("cosine_margin", "Cosine margin", Format::Gap),
    ("linear_cka", "Linear CKA", Format::Plain),
    ("rbf_cka", "RBF CKA", Format::Plain),
    ("procrustes_residual", "Procrustes residual", Format::Plain),
];

/// Alignment per space, mean over all directions.
pub(super) fn alignment(view: &View) -> Table {
    let mut columns = vec![("Space", None)];
    columns.extend(ALIGNMENT.map(|(_, title, format)| (title, Some(format))));
    let note = "Held-out translations, mean over all language directions; those have intervals in the table of directions.";
    let mut table = Table::new("alignment", "Alignment", note, &columns);
    let mut spaces: Vec<String> = Vec::new();
    for (metric, _, _) in ALIGNMENT {
        for space in view.alignment_spaces(metric) {
            if !spaces.contains(&space) {
                spaces.push(space);
            }
        }
    }
    for space in spaces {
        let mut row = vec![words(&space)];
        row.extend(ALIGNMENT.map(|(metric, _, _)| Cell::Number(view.alignment(metric, &space))));
        table.rows.push(row);
    }
    table
}

/// Alignment per direction.
pub(super) fn directions(view: &View) -> Table {
    let mut columns = vec![("Space", None), ("Direction", None)];
    columns.extend(ALIGNMENT.map(|(_, title, format)| (title, Some(format))));
    columns.push(("n", None));
    let note = "Held-out translations, from the first language to the second; n counts sentences.";
    let mut table = Table::new(
        "alignment-directions",
        "Alignment by direction",
        note,
        &columns,
    );
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (metric, _, _) in ALIGNMENT {
        for row in view.metric(metric) {
            let key = (
                row.space.as_deref().unwrap_or_default(),
                row.eval_language.as_deref().unwrap_or_default(),
            );
            if !seen.contains(&key) {
                seen.push(key);
            }
        }
    }
    for (space, pair) in seen {
        let find = |metric| {
            view.metric(metric).find(|row| {
                row.space.as_deref().unwrap_or_default() == space
                    && row.eval_language.as_deref().unwrap_or_default() == pair
            })
        };
        let found = ALIGNMENT.map(|(metric, _, _)| find(metric).map(Estimate::of));
        let n = found.iter().flatten().map(|e| e.n).max().unwrap_or(0);
        let mut row = vec![words(space), words(pair)];
        row.extend(found.map(Cell::Number));
        row.push(words(n.to_string()));
        table.rows.push(row);
    }
    table
}

fn reconstruction(view: &View) -> Table {
    let mut table = Table::new(
        "reconstruction",
        "Reconstruction error",
        "What the autoencoder loses on held-out hidden states; lower is better.",
        &[
            ("Space", None),
            ("Language", None),
            ("Error", Some(Format::Plain)),
            ("n", None),
        ],
    );
    for row in view.metric("reconstruction_error") {
        table.rows.push(vec![
            or_dash(row.space.as_ref()),
            or_dash(row.eval_language.as_ref()),
            Cell::Number(Some(Estimate::of(row))),
            words(row.n.to_string()),
        ]);
    }
    table
}

/// Measured against planted gaps.
pub(super) fn calibration(view: &View) -> Table {
    let mut table = Table::new(
        "calibration",
        "Calibration",
        "Measured mean gap of minimal pairs against the gap ln(s/(1−s)) that the planted strength s implies.",
        &[
            ("Category", None),
            ("Language", None),
            ("Strength s", None),
            ("Expected gap", None),
            ("Measured gap", Some(Format::Gap)),
            ("n", None),
        ],
    );
    for row in view.metric("calibration") {
        let planted = row.planted.unwrap_or(f64::NAN);
        table.rows.push(vec![
            or_dash(row.category.as_ref()),
            or_dash(row.eval_language.as_ref()),
            words(Format::Plain.show(planted)),
            words(Format::Gap.show(logit(planted))),
            Cell::Number(Some(Estimate::of(row))),
            words(row.n.to_string()),
        ]);
    }
    table
}

/// The gap in nats that a planted strength implies.
pub(super) fn logit(strength: f64) -> f64 {
    (strength / (1.0 - strength)).ln()
}

/// Slopes of the calibration lines, one row per category, one column per language.
pub(super) fn slopes(view: &View) -> Table {
    let (mut categories, mut languages): (Vec<&str>, Vec<&str>) = Default::default();
    let named = |name: &Option<String>| name.clone().unwrap_or("all".to_string());
    let found: Vec<(String, String, Estimate)> = view
        .metric("calibration_slope")
        .map(|row| {
            (
                named(&row.category),
                named(&row.eval_language),
                Estimate::of(row),
            )
        })
        .collect();
    for (category, language, _) in &found {
        if !categories.contains(&category.as_str()) {
            categories.push(category);
        }
        if !languages.contains(&language.as_str()) {
            languages.push(language);
        }
    }
    let mut columns = vec![("Category", None)];
    columns.extend(languages.iter().map(|l| (*l, Some(Format::Plain))));
    let mut table = Table::new(
        "calibration-slopes",
        "Calibration slopes",
        "Slope of measured over expected gap in each language, with its 95 % interval; 1 is ideal.",
        &columns,
    );
    for category in &categories {
        let mut row = vec![words(*category)];
        row.extend(languages.iter().map(|language| {
            let cell = found
                .iter()
                .find(|(c, l, _)| c == category && l == language);
            Cell::Number(cell.map(|(_, _, e)| *e))
        }));
        table.rows.push(row);
    }
    table
}

/// Each control, what it stands for and what it did.
pub(super) fn controls(view: &View) -> Table {
    let mut table = Table::new(
        "controls",
        "Controls",
        "What each comparison stands for, and its numbers. A result counts only if it beats these.",
        &[
            ("Control", None),
            ("Space", None),
            ("What it shows", None),
            ("|gap|, other languages", Some(Format::Plain)),
            (view.cost_title(), Some(Format::Ratio)),
            ("Retrieval top-1", Some(Format::Share)),
        ],
    );
    let lens = view.main_lens().cloned().unwrap_or_default();
    if let Some(base) = view.base_abs_gap(&lens, None) {
        table.rows.push(vec![
            words("Unedited"),
            words("raw"),
            words("The model as it is: the bias there is to remove."),
            Cell::Number(Some(base)),
            Cell::Number(None),
            Cell::Number(view.alignment("retrieval_top1", "raw")),
        ]);
    }
    for variant in &view.variants {
        let is_unaligned = variant.space.contains("unaligned");
        let shows = match variant.method.as_str() {
            "autoencoder-only" => {
                "Encoded and decoded with nothing erased: what the autoencoder alone does to bias and to the language model."
            }
            "random" if is_unaligned => {
                "A random subspace of the same rank in the latent space of an autoencoder trained without alignment."
            }
            "random" => {
                "A random subspace of the same rank: removing any directions at all, not these."
            }
            name if is_control(name) => {
                "The same method fitted on shuffled labels: directions that vary, but say nothing of the groups."
            }
            _ if is_unaligned => {
                "The same method in an autoencoder trained without the alignment term: what the detour alone brings."
            }
            _ => continue,
        };
        let gap = view.mean_abs_gap(&lens, variant, None, Judged::Others);
        if gap.is_none() {
            continue;
        }
        table.rows.push(vec![
            words(text::method(&variant.method)),
            words(variant.site()),
            words(shows),
            Cell::Number(gap),
            Cell::Number(view.perplexity_ratio(&lens, variant, None)),
            Cell::Number(if is_unaligned {
                view.alignment("retrieval_top1", &variant.space)
            } else {
                None
            }),
        ]);
    }
    if let Some(centred) = view.alignment("retrieval_top1", "centred") {
        table.rows.push(vec![
            words("Centred"),
            words("centred"),
            words("Raw states minus each language's mean: how much alignment takes no learning at all."),
            Cell::Number(None),
            Cell::Number(None),
            Cell::Number(Some(centred)),
        ]);
    }
    table
}
