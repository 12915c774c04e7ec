//! Draws maps of fit languages × evaluation languages: tables with shaded cells, one for each category, metric,
//! method and space.

use maud::{Markup, html};

use super::findings::is_comparison;
use super::text::Format;
use super::view::{Estimate, Lens, Variant, View};

/// The metrics that are shown as maps: the metric, its heading, its ideal value, and the formats of a cell and of its
/// tooltip.
pub const METRICS: [(&str, &str, f64, Format, Format); 2] = [
    ("mean_gap", "Mean gap", 0.0, Format::BriefGap, Format::Gap),
    (
        "sign_score",
        "Sign score",
        50.0,
        Format::Score,
        Format::Score,
    ),
];

/// Edits that a page has room for.
const EDITS: usize = 30;

/// Returns the edits that are shown as maps, and the number of those that are shown in the tables only, which are
/// controls and edits beyond the room of a page.
pub fn mapped<'a>(view: &'a View) -> (Vec<&'a Variant>, usize) {
    let mut edits: Vec<&Variant> = view
        .variants
        .iter()
        .filter(|v| !is_comparison(v.role, &v.space))
        .collect();
    edits.truncate(EDITS);
    let left = view.variants.len() - edits.len();
    (edits, left)
}

/// Draws all maps of a category; `None` if there are no numbers.
pub fn of_category(view: &View, lens: &Lens, category: &str) -> Option<Markup> {
    let (edits, _) = mapped(view);
    let mut blocks = Vec::new();
    for (metric, title, ideal, brief, full) in METRICS {
        let scale = scale(view, lens, metric, ideal);
        let shade = |e: Option<Estimate>, own: bool| cell(e, own, ideal, scale, brief, full);
        let base = |eval: &String| shade(view.base(metric, lens, category, eval), false);
        let known = |edit: &&&Variant| !view.fits(metric, lens, edit, category).is_empty();
        let edits: Vec<&&Variant> = edits.iter().filter(known).collect();
        if edits.is_empty() {
            continue;
        }
        blocks.push(html! {
            h4 { (title) ", " (lens.scorer) }
            div class="maps" {
                (map("Unedited", view, &html! { tr { th { "" } @for eval in &view.languages { (base(eval)) } } }))
                @for edit in edits {
                    (map(&format!("{}, {}", edit.title(), edit.site()), view, &html! {
                        @for fit in view.fits(metric, lens, edit, category) {
                            tr {
                                th scope="row" { (if fit.is_empty() { "any" } else { &fit }) }
                                @for eval in &view.languages {
                                    (shade(view.cell(metric, lens, edit, category, &fit, eval), fit == *eval))
                                }
                            }
                        }
                    }))
                }
            }
        });
    }
    (!blocks.is_empty()).then(|| html! { @for block in blocks { (block) } })
}

fn map(title: &str, view: &View, rows: &Markup) -> Markup {
    html! {
        table class="map" {
            caption { (title) }
            thead { tr { th { "" } @for eval in &view.languages { th scope="col" { (eval) } } } }
            tbody { (rows) }
        }
    }
}

fn cell(
    e: Option<Estimate>,
    own: bool,
    ideal: f64,
    scale: f64,
    brief: Format,
    full: Format,
) -> Markup {
    let Some(e) = e else {
        return html! { td { "–" } };
    };
    let t = (100.0 * (e.value - ideal) / scale).round();
    let t = if t.is_finite() { t as i64 } else { 0 };
    let class = format!(
        "{}{}{}",
        if t < 0 { "l" } else { "m" },
        if own { " o" } else { "" },
        if e.excludes(ideal) { " b" } else { "" }
    );
    html! { td class=(class) style={ "--t:" (t.abs().min(100)) "%" } title=(full.full(&e)) { (brief.show(e.value)) } }
}

/// The largest deviation from the ideal in any cell of a way of measuring, so that all its maps share one scale.
fn scale(view: &View, lens: &Lens, metric: &str, ideal: f64) -> f64 {
    view.metric(metric)
        .filter(|row| {
            row.scorer.as_deref().unwrap_or_default() == lens.scorer && row.model == lens.model
        })
        .map(|row| (row.value - ideal).abs())
        .filter(|v| v.is_finite())
        .fold(1e-9, f64::max)
}
