//! Writes the report as Markdown: findings, summary, alignment, controls, and the facts about the run.

use super::RunInfo;
use super::differences::forest;
use super::findings;
use super::html::HOW_TO_READ;
use super::tables;
use super::text::Format;
use super::view::View;
use crate::row::Row;

/// Writes the report as one Markdown page. The maps and their cells are in `report.html`, `plots/` and `tables/`.
pub fn markdown(info: &RunInfo, rows: &[Row]) -> String {
    let view = View::new(info, rows);
    let mut out = format!("# {}\n\n", plain(&info.title));
    if let Some(banner) = info.banner() {
        out.push_str(&format!("> **{}**\n\n", plain(banner)));
    }
    if !info.description.is_empty() {
        out.push_str(&format!("{}\n\n", plain(&info.description)));
    }
    out.push_str(&sentences(&view));
    if forest(&view).is_some() {
        out.push_str("![Differences](plots/forest.svg)\n\n");
    }
    // A sweep has more settings than a page of text can hold: its operating points stand for them, and
    // `tables/` has every one.
    let operating = tables::operating(&view);
    let chosen = if operating.is_empty() || operating.rows.len() == 1 {
        // Where nothing was chosen, the first line says so.
        vec![
            operating,
            tables::summary(&view),
            tables::transfer(&view),
            tables::utility(&view),
            tables::erasure(&view),
            tables::states(&view),
            tables::unedited_means(&view),
            tables::controls(&view),
        ]
    } else {
        vec![operating]
    };
    let always = [
        tables::alignment(&view),
        tables::slopes(&view),
        tables::power(&view),
    ];
    // What a run did not ask for is left out.
    let chosen = chosen.into_iter().chain([tables::searched(&view)]);
    let chosen = chosen.filter(|table| !table.is_empty());
    for table in chosen.chain(always) {
        out.push_str(&format!(
            "\n## {}\n\n{}",
            table.title,
            table.markdown_body()
        ));
    }
    out.push_str("\n## What was run\n\n");
    out.push_str(&format!(
        "- experiment: {}\n- model: {}\n",
        plain(&info.experiment),
        plain(&info.model)
    ));
    for (name, value) in &info.settings {
        out.push_str(&format!("- {}: {}\n", plain(name), plain(value)));
    }
    if !info.digests.is_empty() {
        out.push_str("\n| What | blake3 |\n| --- | --- |\n");
        for (name, digest) in &info.digests {
            out.push_str(&format!("| {} | {} |\n", plain(name), plain(digest)));
        }
    }
    if !info.timings.is_empty() {
        out.push_str("\n| Stage | Seconds | From cache |\n| --- | ---: | --- |\n");
        for stage in &info.timings {
            let cached = if stage.cached { "yes" } else { "no" };
            let seconds = Format::Score.show(stage.seconds);
            out.push_str(&format!(
                "| {} | {seconds} | {cached} |\n",
                plain(&stage.name)
            ));
        }
    }
    out.push_str("\n## How to read this\n\n");
    for (term, meaning) in HOW_TO_READ {
        out.push_str(&format!("- **{term}** {meaning}\n"));
    }
    if !info.caveats.is_empty() {
        out.push_str("\n## Caveats\n\n");
        for caveat in &info.caveats {
            out.push_str(&format!("- {}\n", plain(caveat)));
        }
    }
    out
}

/// Writes a short page: what was found, the forest plot, and the main lines of the summary.
pub fn headline(info: &RunInfo, rows: &[Row]) -> String {
    let view = View::new(info, rows);
    let mut out = format!("# {}\n\n", plain(&info.title));
    if info.synthetic {
        out.push_str("*Synthetic testbed: the numbers say how well methods work where the truth is known.*\n\n");
    }
    out.push_str(&sentences(&view));
    if let Some(figure) = forest(&view) {
        out.push_str(&format!(
            "![{}](plots/forest.svg)\n\n",
            plain(&figure.title)
        ));
    }
    // The unedited model alone says that nothing was chosen; the main lines of the summary say more.
    let operating = Some(tables::operating(&view)).filter(|table| table.rows.len() > 1);
    let others = [tables::heart(&view), tables::states(&view)];
    let mut chosen = operating.into_iter().chain(others);
    let table = chosen.find(|table| !table.is_empty());
    out + &table.map_or(String::new(), |table| table.pipes())
}

/// The findings, a line each.
fn sentences(view: &View) -> String {
    let more = [
        findings::unedited(view),
        findings::alignment(view),
        findings::ground_truth(view),
    ];
    let all = findings::verdict(view)
        .into_iter()
        .chain(more.into_iter().flatten());
    all.map(|words| format!("- {}\n", plain(&words)))
        .collect::<String>()
        + "\n"
}

/// Escapes text so that Markdown takes it for neither markup nor HTML.
pub(super) fn plain(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '*' | '_' | '`' | '[' | ']' | '|' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
