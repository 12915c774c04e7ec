//! Writes the report as one HTML page, which has no scripts and loads nothing from the network.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::changed::Change;
use super::differences::forest;
use super::layers::{layers, retrieved};
use super::plane::plane;
use super::svg::PALETTE;
use super::tables::{self, Table};
use super::text::{Format, language, slug};
use super::view::View;
use super::{RunInfo, findings, maps, plots};
use crate::row::Row;

const STYLE: &str = include_str!("style.css");

/// The terms of the report with their explanations, for the HTML page and for Markdown.
pub(super) const HOW_TO_READ: [(&str, &str); 7] = [
    (
        "A pair",
        "is two sentences that differ in the group they name, one more and one less stereotyping.",
    ),
    (
        "The mean gap",
        "is how much more log-likelihood, in nats, the model gives to the more stereotyping sentence, on average \
         over pairs. 0 is ideal. A gap of 0.69 means it is twice as likely, 2.3 ten times; a negative gap means \
         the model leans the other way.",
    ),
    (
        "The sign score",
        "is the share of pairs, in per cent, in which the more stereotyping sentence is the likelier one. 50 is \
         ideal. It counts a hair's breadth like a landslide, so read it beside the gap.",
    ),
    (
        "The interval",
        "in brackets holds the true value in 95 of 100 such measurements, by resampling the pairs. It knows \
         nothing of other pairs, other seeds or another model. Whether two edits differ is read from the interval of \
         their difference on the same pairs, not from whether their own intervals overlap.",
    ),
    (
        "The paired test",
        "in the tables of cells compares the raw edit with the same edit in another space, pair by pair. Its p values are corrected by Holm's method for all the tests \
         in the table, so that a lucky cell among many does not count.",
    ),
    (
        "Perplexity",
        "is how many words the model hesitates between; an edit that removes bias and ruins the language \
         shows here. A masked model has a pseudo-perplexity, of every token from all others.",
    ),
    (
        "What this cannot tell:",
        "whether a model harms anyone. Such scores are about probabilities of sentences, not about what a \
         system does with people; a score of 50 or a gap of 0 on these pairs is no certificate of fairness, and \
         associations the pairs do not test are not seen.",
    ),
];

/// Writes the whole page.
pub fn html(info: &RunInfo, rows: &[Row], changes: &[Change]) -> String {
    let view = View::new(info, rows);
    let sections = sections(&view, changes);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (info.title) }
                style { (PreEscaped(PALETTE)) (PreEscaped(STYLE)) }
            }
            body {
                @if let Some(banner) = info.banner() { p class="banner" role="note" { (banner) } }
                (first_screen(&view))
                nav aria-label="Contents" { ul {
                    @for section in &sections { li { a href={ "#" (section.id) } { (section.title) } } }
                } }
                main {
                    @for section in &sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-head" } {
                            h2 id={ (section.id) "-head" } { (section.title) }
                            (section.body)
                        }
                    }
                }
            }
        }
    };
    // Characters that XML forbids: no name in a data set may break the page.
    let forbidden = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{fffe}' | '\u{ffff}');
    page.into_string().replace(forbidden, "\u{fffd}")
}

/// The picture, and the sentences that say what it shows.
fn first_screen(view: &View) -> Markup {
    html! {
        header {
            div class="words" {
                @if !view.info.experiment.is_empty() { p class="kicker" { (view.info.experiment) } }
                h1 { (view.info.title) }
                @for sentence in findings::verdict(view) { p { (sentence) } }
            }
            div class="picture" {
                @match forest(view) {
                    Some(figure) => (figure.html()),
                    None => p class="missing" { "No rows with the metric gap_difference of an edit: nothing to draw." },
                }
            }
        }
    }
}

/// A part of the page.
struct Section {
    id: &'static str,
    title: String,
    body: Markup,
}

/// What the rows have numbers for, in order, and then what the rest is.
fn sections(view: &View, changes: &[Change]) -> Vec<Section> {
    let parts = [
        ("changed", "Pairs that changed most", changed(changes)),
        ("summary", "Every edit", summary(view)),
        ("maps", "Maps by category", all_maps(view)),
        ("cost", view.cost_title(), cost(view)),
        ("controls", "Controls", controls(view)),
        (
            "erasure",
            "What probes still find",
            some(&[tables::erasure(view), tables::states(view)]),
        ),
        ("benchmarks", "Other benchmarks", benchmarks(view)),
        ("alignment", "Alignment", alignment(view)),
        ("ground-truth", "Calibration", calibration(view)),
    ];
    let (there, absent): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|(_, _, body)| body.is_some());
    let absent: Vec<&str> = absent.iter().map(|(_, title, _)| *title).collect();
    let last = [
        ("files", "Files", Some(files(view))),
        ("run", "What was run", Some(run(view, &absent))),
        ("reading", "How to read this", Some(reading())),
        ("caveats", "Caveats", caveats(view.info)),
    ];
    there
        .into_iter()
        .chain(last)
        .filter_map(|(id, title, body)| {
            Some(Section {
                id,
                title: title.to_string(),
                body: body?,
            })
        })
        .collect()
}

/// Tables that have rows, one under the other; nothing where none has.
fn some(tables: &[Table]) -> Option<Markup> {
    let all: Vec<&Table> = tables.iter().filter(|table| !table.is_empty()).collect();
    (!all.is_empty()).then(|| html! { @for table in all { (table.html()) } })
}

fn details(title: &str, body: &Markup) -> Markup {
    html! { @if !body.0.is_empty() { details { summary { (title) } (body) } } }
}

/// A link to a file of the run folder.
fn file(path: &str) -> Markup {
    html! { a href=(path) { code { (path) } } }
}

fn changed(changes: &[Change]) -> Option<Markup> {
    let first = changes.first()?;
    let (better, worse): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|c| c.after.abs() < c.before.abs());
    Some(html! {
        p {
            (first.edit) ", in languages it was not fitted in. The gap is how many nats more likely the model finds the             first sentence than the second; 0 is no preference."
        }
        @for (title, list) in [("Closer to 0", better), ("Further from 0", worse)] {
            @if !list.is_empty() {
                h3 { (title) }
                ul class="changed" { @for change in list { (pair(change)) } }
            }
        }
        p class="note" { "Every pair under every edit: " (file("items.parquet")) ", its sentences: " (file("pairs.csv")) "." }
    })
}

fn pair(change: &Change) -> Markup {
    let (more, less) = (
        words_marked(&change.pair.more, &change.pair.less),
        words_marked(&change.pair.less, &change.pair.more),
    );
    html! {
        li {
            p class="sentences" lang=(change.pair.language) { span { (more) } span { (less) } }
            p class="move" {
                b { (Format::BriefGap.show(change.before)) " → " (Format::BriefGap.show(change.after)) }
                " " span { (change.pair.category) ", " (language(&change.pair.language)) }
            }
        }
    }
}

/// A sentence in which the words are marked that another does not share in the same order.
fn words_marked(sentence: &str, other: &str) -> Markup {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let others: Vec<&str> = other.split_whitespace().collect();
    // The longest common subsequence of what follows each place of both.
    let mut longest = vec![vec![0usize; others.len() + 1]; words.len() + 1];
    for i in (0..words.len()).rev() {
        for j in (0..others.len()).rev() {
            longest[i][j] = match words[i] == others[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let mut j = 0;
    let mut shared = |i: usize| {
        while j < others.len() && words[i] != others[j] && longest[i][j + 1] == longest[i][j] {
            j += 1;
        }
        let same = j < others.len() && words[i] == others[j];
        j += usize::from(same);
        same
    };
    html! {
        @for (i, word) in words.iter().enumerate() {
            @if shared(i) { (word) " " } @else { mark { (word) } " " }
        }
    }
}

fn summary(view: &View) -> Option<Markup> {
    let table = tables::summary(view);
    (!table.is_empty()).then(|| {
        html! {
            @if let Some(words) = findings::unedited(view) { p { (words) } }
            (table.html())
            (details("What transfers", &tables::transfer(view).html()))
            (details("By category", &tables::by_category(view).html()))
            @if view.duplicates > 0 {
                p class="missing" {
                    (view.duplicates) " rows share every axis shown here with an earlier row and are not shown; rows.csv has them all."
                }
            }
        }
    })
}

fn all_maps(view: &View) -> Option<Markup> {
    let lens = view.main_lens()?;
    let found: Vec<(&String, Markup)> = view
        .categories
        .iter()
        .filter_map(|c| Some((c, maps::of_category(view, lens, c)?)))
        .collect();
    let (_, left) = maps::mapped(view);
    (!found.is_empty()).then(|| {
        html! {
            p {
                "Rows: the language an edit was fitted in; columns: the language it is judged in. "
                span class="swatch m" { "Orange" } " leans to the more stereotyping sentence, "
                span class="swatch l" { "blue" } " to the less; framed cells are judged in the language of the fit; bold: \
                the interval leaves out the ideal. Point at a cell for its interval."
            }
            @for (category, maps) in &found { (details(category, maps)) }
            p class="note" {
                @if left > 0 { (left) " more edits, controls among them, and the other scorers: " } @else { "Other scorers: " }
                (file("tables/gaps.csv")) ", " (file("tables/sign-scores.csv")) "."
            }
        }
    })
}

fn cost(view: &View) -> Option<Markup> {
    let figure = plots::trade_off(view)?;
    Some(html! {
        (figure.html())
        (tables::operating(view).html())
        (details("Change on neutral text", &tables::utility(view).html()))
        p class="note" { "By language: " (file("tables/perplexity.csv")) "." }
    })
}

fn controls(view: &View) -> Option<Markup> {
    let table = some(&[tables::controls(view)])?;
    Some(html! { (table) (details("What these pairs can show", &tables::power(view).html())) })
}

fn benchmarks(view: &View) -> Option<Markup> {
    let means = some(&[tables::benchmark_means(view)]);
    let figures = [layers(view), retrieved(view), plane(view)];
    if means.is_none() && figures.iter().all(Option::is_none) {
        return None;
    }
    Some(html! {
        @for figure in figures.into_iter().flatten() { (figure.html()) }
        @if let Some(searched) = some(&[tables::searched(view)]) { (searched) }
        @if let Some(means) = means {
            (details("Means", &means)) p class="note" { "Every number: " (file("tables/benchmarks.csv")) "." }
        }
    })
}

fn alignment(view: &View) -> Option<Markup> {
    let retrieval = plots::retrieval(view)?;
    Some(html! {
        @if let Some(words) = findings::alignment(view) { p { (words) } }
        div class="pair" {
            @if let Some(figure) = plots::projections(view, true) { (figure.html()) }
            (retrieval.html())
        }
        (details("Other measures", &tables::alignment(view).html()))
        p class="note" {
            "By direction: " (file("tables/alignment-directions.csv")) "; directions that were fitted and written: "
            (file("tables/cosines.csv")) "."
        }
    })
}

fn calibration(view: &View) -> Option<Markup> {
    let figure = plots::calibration(view)?;
    Some(html! {
        @if let Some(words) = findings::ground_truth(view) { p { (words) } }
        (figure.html())
        (tables::slopes(view).html())
    })
}

fn files(view: &View) -> Markup {
    let rows = [
        ("rows.parquet", "every number with all its axes"),
        ("rows.csv", "the same as text"),
        ("rows.jsonl", "the same as JSON lines"),
        (
            "items.parquet",
            "both scores of every pair under every edit and scorer",
        ),
        ("pairs.csv", "the sentences of every pair"),
        ("report.md", "this report as text"),
        ("spec.toml", "the experiment, to run again"),
        ("manifest.json", "versions, digests, seed"),
    ];
    html! {
        ul class="files" { @for (path, what) in rows { li { (file(path)) " " (what) } } }
        details {
            summary { "Tables and plots" }
            ul class="files" {
                @for table in tables::all(view).iter().filter(|t| !t.is_empty()) {
                    li { (file(&format!("tables/{}.csv", table.id))) " " (table.title) }
                }
                @for plot in plots::all(view) { li { (file(&format!("plots/{}.svg", plot.id))) " " (plot.title) } }
            }
        }
    }
}

fn run(view: &View, absent: &[&str]) -> Markup {
    let info = view.info;
    let mut facts = vec![("model", info.model.clone())];
    facts.extend(
        info.settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    );
    facts.push(("rows", view.rows.len().to_string()));
    facts.push(("not in this run", absent.join(", ")));
    let digests = html! {
        @for (name, digest) in &info.digests { tr { th scope="row" { (name) } td { code { (digest) } } } }
    };
    let stages = html! {
        @for stage in &info.timings {
            tr {
                th scope="row" { (stage.name) }
                td class="num" { (Format::Score.show(stage.seconds)) }
                td { (if stage.cached { "from cache" } else { "computed" }) }
            }
        }
    };
    html! {
        @if !info.description.is_empty() { p { (info.description) } }
        dl class="facts" {
            @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                div { dt { (name) } dd { (value) } }
            }
        }
        (details("Digests", &small_table("Digests", &["What", "blake3"], &digests)))
        (details("Stages", &small_table("Stages", &["Stage", "Seconds", "Result"], &stages)))
    }
}

fn small_table(title: &str, columns: &[&str], rows: &Markup) -> Markup {
    if rows.0.is_empty() {
        return html! {};
    }
    html! {
        div class="scroll" role="region" tabindex="0" aria-label=(title) {
            table class={ "small " (slug(title)) } {
                thead { tr { @for name in columns { th scope="col" class=[(*name == "Seconds").then_some("num")] { (name) } } } }
                tbody { (rows) }
            }
        }
    }
}

fn reading() -> Markup {
    html! { div class="reading" { @for (term, meaning) in HOW_TO_READ { p { b { (term) } " " (meaning) } } } }
}

fn caveats(info: &RunInfo) -> Option<Markup> {
    (!info.caveats.is_empty())
        .then(|| html! { ul class="caveats" { @for caveat in &info.caveats { li { (caveat) } } } })
}
