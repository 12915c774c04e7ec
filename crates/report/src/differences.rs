//! Compares edits with the unedited model, with the edit in the raw states and with the matched control, and draws
//! the forest plot at the top of the page.

use super::svg::{Figure, Panel, f, line, marker, range, text, tick_text, ticks};
use super::text::{self as words, Format};
use super::view::{Estimate, Judged, Lens, VERSUS, Variant, View};

/// An edit with its differences of the mean |gap|, in the order of [`VERSUS`].
pub struct Edit<'a> {
    /// The edit.
    pub variant: &'a Variant,
    /// The differences from the unedited model, from the raw edit and from the matched control.
    pub versus: [Option<Estimate>; 3],
    /// The number of settings of its method and space from which it was picked as the best.
    pub best_of: usize,
}

/// The languages in which edits are evaluated, in words for sentences and for headings.
#[derive(Clone, Copy)]
pub struct Scope {
    judged: Judged,
    /// The words within a sentence about edits.
    pub told: &'static str,
    /// The words at the end of a heading.
    pub named: &'static str,
}

/// Transfer first; a run in one language has none.
const SCOPES: [Scope; 3] = [
    Scope {
        judged: Judged::Others,
        told: "fitted in one language and judged in the others",
        named: "in languages an edit was not fitted in",
    },
    Scope {
        judged: Judged::Own,
        told: "judged in the language of the fit",
        named: "in the language of the fit",
    },
    Scope {
        judged: Judged::All,
        told: "over all languages",
        named: "over all languages",
    },
];

/// All differences that the rows have for the main way of measuring bias.
pub struct Differences<'a> {
    /// The languages that the differences are over.
    pub scope: Scope,
    /// The edits that are meant to remove bias.
    pub edits: Vec<Edit<'a>>,
    /// The controls, which should have no effect.
    pub controls: Vec<Edit<'a>>,
}

/// Collects the differences over the first scope that has any.
pub fn differences<'a>(view: &'a View) -> Differences<'a> {
    for scope in SCOPES {
        let all = view
            .main_lens()
            .map_or(Vec::new(), |lens| of_scope(view, lens, scope));
        let (controls, edits): (Vec<Edit>, Vec<Edit>) = all
            .into_iter()
            .partition(|e| e.variant.role.is_comparison());
        if !edits.is_empty() {
            return Differences {
                scope,
                edits,
                controls,
            };
        }
    }
    Differences {
        scope: SCOPES[0],
        edits: Vec::new(),
        controls: Vec::new(),
    }
}

fn of_scope<'a>(view: &'a View, lens: &Lens, scope: Scope) -> Vec<Edit<'a>> {
    // Where a rule chose settings on one share of the pairs, only those chosen count, on the other pairs.
    let metric = ["operating_difference", "gap_difference"]
        .into_iter()
        .find(|m| view.metric(m).next().is_some());
    let difference = |variant: &Variant, versus: &str| {
        view.scoped(metric?, lens, variant, None, versus, scope.judged)
    };
    let edit = |variant: &'a Variant| Edit {
        variant,
        versus: VERSUS.map(|(versus, _)| difference(variant, versus)),
        best_of: 1,
    };
    let known = |edit: &Edit| edit.versus.iter().any(Option::is_some);
    view.variants.iter().map(edit).filter(known).collect()
}

impl<'a> Differences<'a> {
    /// Returns the edits that the verdict is about, one for each method; it is the edit in the latent space if there
    /// is one. If there are several settings, it is the one that leaves the smallest gap, and its name says so.
    pub fn spoken(&self, view: &View) -> Vec<Edit<'a>> {
        let in_space = |space: &str| self.edits.iter().any(|e| e.variant.space == space);
        let others = self.edits.iter().map(|e| e.variant.space.as_str());
        let space = std::iter::once("latent")
            .chain(others.filter(|s| *s != "raw"))
            .find(|s| in_space(s));
        let space = space.unwrap_or("raw");
        let best = |method: &String| {
            let all = || {
                self.edits
                    .iter()
                    .filter(|e| e.variant.method == *method && e.variant.space == space)
            };
            let value = |e: &&Edit| e.versus[0].map_or(f64::INFINITY, |d| d.value);
            let best = all().min_by(|a, b| value(a).total_cmp(&value(b)))?;
            Some(Edit {
                best_of: all().count(),
                ..*best
            })
        };
        view.methods().iter().filter_map(best).collect()
    }
}

impl Edit<'_> {
    /// Returns the name of the method, with its setting if that was picked from several.
    pub fn name(&self) -> String {
        let method = self.variant.title();
        match self.best_of {
            1 => method,
            n => format!(
                "{method} ({}, the best of {n} settings)",
                self.variant.extra
            ),
        }
    }

    /// Whether every comparison that was made lies below 0 with its interval.
    fn stands(&self) -> bool {
        let mut found = self.versus.iter().flatten();
        found.all(|e| e.excludes(0.0) && e.value < 0.0)
    }
}

/// Returns the name of a space for a sentence.
pub fn spoken(space: &str) -> String {
    match space {
        "raw" => "the raw states".to_string(),
        "latent" => "the latent space".to_string(),
        other => format!("the space {other}"),
    }
}

const WIDTH: f64 = 332.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 288.0;
const ROW: f64 = 35.0;
const TOP: f64 = 4.0;

/// Edits that a panel has room for.
const ROWS: usize = 12;

/// Draws the forest plot: a panel for each method, a row for each space, and an interval for each comparison.
pub fn forest(view: &View) -> Option<Figure> {
    let found = differences(view);
    let ends = |e: &Estimate| {
        e.finite_interval()
            .map_or([e.value; 2], |(low, high)| [low, high])
    };
    let known = || found.edits.iter().flat_map(|e| e.versus.iter().flatten());
    let span = range(known().flat_map(ends).chain([0.0]));
    let place = |x: f64| LEFT + (x - span.0) / (span.1 - span.0) * (RIGHT - LEFT);
    let mut panels = Vec::new();
    let mut hidden = 0;
    for method in view.methods() {
        let mut edits: Vec<&Edit> = found
            .edits
            .iter()
            .filter(|e| e.variant.method == method)
            .collect();
        if edits.is_empty() {
            continue;
        }
        // What changes most stands on top.
        edits.sort_by(|a, b| {
            let value = |e: &Edit| e.versus[0].map_or(f64::INFINITY, |d| d.value);
            value(a).total_cmp(&value(b))
        });
        hidden += edits.len().saturating_sub(ROWS);
        edits.truncate(ROWS);
        panels.push(panel(&edits[0].variant.title(), &edits, span, place));
    }
    let caption = format!(
        "Left of 0 is less bias. Each line is the 95 % interval of a difference on the same pairs; the number is that from \
         the unedited model. Bold: left of 0 in every comparison.{}",
        match hidden {
            0 => String::new(),
            n => format!(
                " {} with smaller changes are in the tables alone.",
                words::count(n, "setting")
            ),
        }
    );
    let legend = VERSUS
        .iter()
        .enumerate()
        .map(|(at, (_, name))| (mark(at, 10.0, 7.0, ""), format!("from {name}")));
    (!panels.is_empty()).then(|| Figure {
        id: "forest".to_string(),
        title: format!("Change of the mean |gap| {}, nats.", found.scope.named),
        caption,
        legend: legend.collect(),
        panels,
    })
}

fn mark(at: usize, x: f64, y: f64, tip: &str) -> String {
    marker(at, [7, 1, 2][at], x, y, 3.6, tip)
}

fn panel(title: &str, edits: &[&Edit], span: (f64, f64), place: impl Fn(f64) -> f64) -> Panel {
    let bottom = TOP + ROW * edits.len() as f64;
    let mut body = String::new();
    for row in (0..edits.len()).step_by(2) {
        body.push_str(&format!(
            "<rect x=\"0\" y=\"{}\" width=\"{WIDTH}\" height=\"{ROW}\" class=\"band\"/>",
            f(TOP + ROW * row as f64)
        ));
    }
    let all = ticks(span.0, span.1, 4);
    for &tick in &all {
        let class = if tick == 0.0 { "zero" } else { "grid" };
        body.push_str(&line((place(tick), TOP), (place(tick), bottom), class));
        body.push_str(&text(
            place(tick),
            bottom + 14.0,
            "muted small",
            "middle",
            &tick_text(tick, &all),
        ));
    }
    for (row, edit) in edits.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let class = if edit.stands() { "ink strong" } else { "ink" };
        let (first, second) = (edit.variant.space.as_str(), edit.variant.extra.as_str());
        let lift = if second.is_empty() { 22.0 } else { 16.0 };
        body.push_str(&text(6.0, y + lift, class, "start", first));
        body.push_str(&text(6.0, y + 29.0, "muted tiny", "start", second));
        for (at, (versus, e)) in VERSUS.iter().zip(&edit.versus).enumerate() {
            let Some(e) = e.filter(|e| e.value.is_finite()) else {
                continue;
            };
            let y = y + 8.0 + 9.5 * at as f64;
            if let Some((low, high)) = e.finite_interval() {
                let class = format!("whisker line{}", [7, 1, 2][at]);
                body.push_str(&line((place(low), y), (place(high), y), &class));
            }
            let tip = format!(
                "{}, from {}: {}",
                edit.variant.site(),
                versus.1,
                Format::Gap.full(&e)
            );
            body.push_str(&mark(at, place(e.value), y, &tip));
        }
        let shown = edit.versus[0].map_or("–".to_string(), |e| Format::BriefGap.show(e.value));
        body.push_str(&text(WIDTH - 4.0, y + 22.0, class, "end", &shown));
    }
    let said: Vec<String> = edits
        .iter()
        .filter_map(|e| {
            Some(format!(
                "{} {}",
                e.variant.site(),
                Format::BriefGap.phrase(&e.versus[0]?)
            ))
        })
        .collect();
    Panel {
        title: title.to_owned(),
        label: format!("Differences from the unedited model: {}", said.join("; ")),
        width: WIDTH,
        height: bottom + 20.0,
        body,
    }
}
