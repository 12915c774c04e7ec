//! Draws the plots of the report.

use std::collections::BTreeMap;

use super::differences::forest;
use super::layers::{layers, retrieved};
use super::plane::plane;
use super::svg::{Figure, Panel, Plane, f, line, marker, range, text};
use super::tables::logit;
use super::text::{self as words, Format, escape};
use super::view::{Estimate, Judged, Variant, View};
use crate::row::Row;

/// Draws every plot for which the rows have numbers, in the order of the page.
pub fn all(view: &View) -> Vec<Figure> {
    [
        forest(view),
        trade_off(view),
        projections(view, false),
        retrieval(view),
        calibration(view),
        layers(view),
        retrieved(view),
        plane(view),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn language_legend(languages: &[String]) -> Vec<(String, String)> {
    languages
        .iter()
        .enumerate()
        .map(|(i, code)| {
            (
                marker(i, i, 10.0, 7.0, 5.0, ""),
                words::language(code).to_string(),
            )
        })
        .collect()
}

/// Draws sentence vectors in the plane, with a panel for each space. On the page it shows only the raw and the latent
/// space, because every mark adds to the size of the page.
pub fn projections(view: &View, on_page: bool) -> Option<Figure> {
    /// So many sentences have their translations joined by threads.
    const THREADS: usize = 10;
    let mut languages = view.languages.clone();
    for point in view.info.projections.iter().flat_map(|p| &p.points) {
        if !languages.contains(&point.language) {
            languages.push(point.language.clone());
        }
    }
    let mut panels = Vec::new();
    for projection in view
        .info
        .projections
        .iter()
        .filter(|p| !p.points.is_empty())
        .filter(|p| !on_page || ["raw", "latent"].contains(&p.space.as_str()))
    {
        let points = &projection.points;
        let plane = Plane {
            x: range(points.iter().map(|p| p.x)),
            y: range(points.iter().map(|p| p.y)),
            log_x: false,
            area: (2.0, 2.0, 330.0, 270.0),
        };
        let mut body = String::from(
            "<rect x=\"1\" y=\"1\" width=\"330\" height=\"270\" rx=\"4\" fill=\"none\" class=\"grid\"/>",
        );
        let mut sentences: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
        for p in points.iter().filter(|p| p.x.is_finite() && p.y.is_finite()) {
            sentences
                .entry(p.sentence)
                .or_default()
                .push((plane.px(p.x), plane.py(p.y)));
        }
        for places in sentences.values().filter(|p| p.len() > 1).take(THREADS) {
            let path: Vec<String> = places
                .iter()
                .map(|(x, y)| format!("{},{}", f(*x), f(*y)))
                .collect();
            body.push_str(&format!(
                "<polygon points=\"{}\" class=\"thread\"/>",
                path.join(" ")
            ));
        }
        let mut marks = String::new();
        for p in points.iter().filter(|p| p.x.is_finite() && p.y.is_finite()) {
            let index = languages.iter().position(|l| *l == p.language).unwrap_or(0);
            marks.push_str(&marker(index, index, plane.px(p.x), plane.py(p.y), 3.4, ""));
        }
        panels.push(Panel {
            title: projection.space.clone(),
            label: format!(
                "{} sentence vectors of the {} space in the plane",
                points.len(),
                projection.space
            ),
            width: 332.0,
            height: 272.0,
            body: body + &marks,
        });
    }
    (!panels.is_empty()).then(|| Figure {
        id: "projection".to_string(),
        title: "Sentence vectors before and after.".to_string(),
        caption: "Each mark is a held-out sentence in one language, projected to two dimensions; thin lines \
            join the translations of a few sentences. In a shared space translations lie together."
            .to_string(),
        legend: language_legend(&languages),
        panels,
    })
}

/// Draws bars of the top-1 retrieval accuracy for each space.
pub fn retrieval(view: &View) -> Option<Figure> {
    let spaces = view.alignment_spaces("retrieval_top1");
    let bars: Vec<(String, Estimate)> = spaces
        .into_iter()
        .filter_map(|space| view.alignment("retrieval_top1", &space).map(|e| (space, e)))
        .collect();
    if bars.is_empty() {
        return None;
    }
    let (left, right) = (112.0, 284.0);
    let place = |share: f64| left + share.clamp(0.0, 1.0) * (right - left);
    let mut body = String::new();
    for (index, (space, e)) in bars.iter().enumerate() {
        let y = 6.0 + 34.0 * index as f64;
        body.push_str(&text(left - 8.0, y + 15.0, "ink", "end", space));
        body.push_str(&format!(
            "<g><title>{}</title>",
            escape(&Format::Share.full(e))
        ));
        body.push_str(&format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"22\" class=\"grid\" fill=\"none\"/>",
            f(left),
            f(y),
            f(right - left)
        ));
        if e.value.is_finite() {
            let color = if space == "latent" { "fill0" } else { "fill6" };
            body.push_str(&format!(
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"22\" class=\"{color}\"/>",
                f(left),
                f(y),
                f(place(e.value) - left)
            ));
        }
        if let Some((low, high)) = e.finite_interval() {
            body.push_str(&line(
                (place(low), y + 11.0),
                (place(high), y + 11.0),
                "whisker line7",
            ));
        }
        body.push_str(&text(
            right + 8.0,
            y + 15.0,
            "ink strong",
            "start",
            &Format::Share.show(e.value),
        ));
        body.push_str("</g>");
    }
    Some(Figure {
        id: "retrieval".to_string(),
        title: "Does a sentence find its translation?".to_string(),
        caption: "Retrieval top-1 on held-out sentences, mean over all directions; the thin line is the interval."
            .to_string(),
        legend: Vec::new(),
        panels: vec![Panel {
            title: "retrieval top-1".to_string(),
            label: bars
                .iter()
                .map(|(space, e)| format!("{space} {}", Format::Share.phrase(e)))
                .collect::<Vec<_>>()
                .join("; "),
            width: 332.0,
            height: 4.0 + 34.0 * bars.len() as f64,
            body,
        }],
    })
}

/// Points that may have whiskers.
const WHISKERS: usize = 40;

/// Sites that shapes can tell apart.
const SHAPES: usize = 7;

/// Draws bias against perplexity, with one panel per category and the line of the results that no other result beats
/// in both.
pub fn trade_off(view: &View) -> Option<Figure> {
    let lens = view.main_lens()?;
    let methods = view.methods();
    let (mut sites, mut spaces): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    for category in &view.categories {
        let mut points = Vec::new();
        for variant in &view.variants {
            let gap = view.mean_abs_gap(lens, variant, Some(category), Judged::Others);
            let ratio = view.perplexity_ratio(lens, variant, Some(category));
            let (Some(gap), Some(ratio)) = (gap, ratio) else {
                continue;
            };
            if !gap.value.is_finite() || !ratio.value.is_finite() {
                continue;
            }
            for (names, name) in [
                (&mut sites, variant.site()),
                (&mut spaces, variant.space.clone()),
            ] {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            points.push((variant, gap, ratio));
        }
        if !points.is_empty() {
            found.push((category, view.base_abs_gap(lens, Some(category)), points));
        }
    }
    if found.is_empty() {
        return None;
    }
    // A sweep has more sites than there are shapes; then the shape is the space alone.
    let by_site = sites.len() <= SHAPES;
    let shapes = if by_site { &sites } else { &spaces };
    let shape_of = |variant: &Variant| {
        let name = if by_site {
            variant.site()
        } else {
            variant.space.clone()
        };
        shapes.iter().position(|s| *s == name).unwrap_or(0)
    };
    let ratios = found
        .iter()
        .flat_map(|(_, _, p)| p.iter().map(|(_, _, r)| r.value));
    let x = range(ratios.chain([1.0]));
    let log_x = x.0 > 0.0 && x.1 / x.0 > 4.0;
    let ends = |e: &Estimate| e.finite_interval().map_or(e.value, |(_, high)| high);
    let tops = found.iter().flat_map(|(_, base, points)| {
        points
            .iter()
            .map(|(_, gap, _)| ends(gap))
            .chain(base.as_ref().map(ends))
    });
    let y = (0.0, range(tops.chain([0.0])).1);
    let mut panels = Vec::new();
    for (category, base, points) in &found {
        let plane = Plane {
            x,
            y,
            log_x,
            area: (34.0, 26.0, 322.0, 232.0),
        };
        let mut body = plane.axes(
            &format!("{}, × unedited", view.cost_name()),
            "mean |gap| in other languages, nats",
        );
        body.push_str(&line(
            (plane.px(1.0), 26.0),
            (plane.px(1.0), 232.0),
            "guide",
        ));
        if let Some(base) = base {
            let y = plane.py(base.value);
            body.push_str(&line((34.0, y), (322.0, y), "guide"));
            let tip = format!("Unedited: |gap| {}", Format::Plain.full(base));
            body.push_str(&marker(5, 7, plane.px(1.0), y, 6.0, &tip));
        }
        let start = base.as_ref().map(|base| (1.0, base.value));
        let places = points
            .iter()
            .map(|(_, gap, ratio)| (ratio.value, gap.value));
        let front = front(start.into_iter().chain(places));
        for pair in front.windows(2) {
            let ends = [pair[0], pair[1]].map(|(x, y)| (plane.px(x), plane.py(y)));
            body.push_str(&line(ends[0], ends[1], "front"));
        }
        for (variant, gap, ratio) in points {
            let color = methods
                .iter()
                .position(|m| *m == variant.method)
                .unwrap_or(0);
            let shape = shape_of(variant);
            let (px, py) = (plane.px(ratio.value), plane.py(gap.value));
            let class = format!("whisker line{}", color % 8);
            // The whiskers of a sweep would hide its points; their tooltips have the intervals.
            if let Some((low, high)) = gap.finite_interval()
                && points.len() <= WHISKERS
            {
                body.push_str(&line((px, plane.py(low)), (px, plane.py(high)), &class));
            }
            let tip = format!(
                "{}, {}: |gap| {}; {} {}",
                variant.title(),
                variant.site(),
                Format::Plain.full(gap),
                view.cost_name(),
                Format::Ratio.full(ratio)
            );
            body.push_str(&marker(shape, color, px, py, 5.2, &tip));
        }
        panels.push(Panel {
            title: category.to_string(),
            label: format!(
                "Mean absolute gap against {}, {category}; the summary table has the numbers",
                view.cost_name()
            ),
            width: 332.0,
            height: 268.0,
            body,
        });
    }
    let mut legend = vec![(marker(5, 7, 10.0, 7.0, 5.0, ""), "Unedited".to_string())];
    for (color, method) in methods.iter().enumerate() {
        let shown = view.variants.iter().find(|v| v.method == *method);
        legend.extend(shown.map(|variant| (bar(color), variant.title())));
    }
    for (shape, site) in shapes.iter().enumerate() {
        legend.push((marker(shape, 6, 10.0, 7.0, 5.0, ""), site.clone()));
    }
    legend.push((
        line((1.0, 7.0), (19.0, 7.0), "front"),
        "nothing tried is better in both".to_string(),
    ));
    Some(Figure {
        id: "trade-off".to_string(),
        title: "What removing bias costs.".to_string(),
        caption: "Colour is the method, shape the space. Lower is less bias in languages the edit never saw; further \
            right is a worse language model. Dashed: the unedited model. The line joins what nothing tried beats in both \
            (the Pareto front)."
            .to_string(),
        legend,
        panels,
    })
}

/// Points that no other beats in both coordinates, where less is better in both, from left to right.
fn front(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = points.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for point in points {
        if kept.last().is_none_or(|last| point.1 < last.1) {
            kept.push(point);
        }
    }
    kept
}

fn bar(color: usize) -> String {
    format!(
        "<rect x=\"3\" y=\"3\" width=\"14\" height=\"8\" rx=\"2\" class=\"fill{}\"/>",
        color % 8
    )
}

/// Draws measured against planted gaps, with one panel per category.
pub fn calibration(view: &View) -> Option<Figure> {
    let rows: Vec<(&Row, f64)> = view
        .metric("calibration")
        .filter_map(|row| Some((row, logit(row.planted?))))
        .filter(|(row, x)| x.is_finite() && row.value.is_finite())
        .collect();
    if rows.is_empty() {
        return None;
    }
    let everything = rows.iter().flat_map(|(row, x)| {
        [Some(*x), Some(row.value), row.ci_low, row.ci_high]
            .into_iter()
            .flatten()
    });
    let span = range(everything.chain([0.0]));
    let mut categories: Vec<&str> = Vec::new();
    for name in view.categories.iter().map(String::as_str).chain([""]) {
        if rows
            .iter()
            .any(|(row, _)| row.category.as_deref().unwrap_or_default() == name)
        {
            categories.push(name);
        }
    }
    let mut panels = Vec::new();
    for category in categories {
        let plane = Plane {
            x: span,
            y: span,
            log_x: false,
            area: (34.0, 26.0, 322.0, 314.0),
        };
        let mut body = plane.axes("ln(s/(1−s)), nats", "measured mean gap, nats");
        let corner = |v: f64| (plane.px(v), plane.py(v));
        body.push_str(&line(corner(span.0), corner(span.1), "guide"));
        let (mut whiskers, mut marks, mut count) = (String::new(), String::new(), 0);
        for (row, x) in rows
            .iter()
            .filter(|(r, _)| r.category.as_deref().unwrap_or_default() == category)
        {
            let language = row.eval_language.as_deref().unwrap_or_default();
            let index = view
                .languages
                .iter()
                .position(|l| l == language)
                .unwrap_or(0);
            // Languages share their strengths: a small step aside keeps all marks visible.
            let aside = (index as f64 - (view.languages.len() as f64 - 1.0) / 2.0) * 2.2;
            let px = plane.px(*x) + aside;
            let estimate = Estimate::of(row);
            if let Some((low, high)) = estimate.finite_interval() {
                let class = format!("whisker line{}", index % 8);
                whiskers.push_str(&line((px, plane.py(low)), (px, plane.py(high)), &class));
            }
            let tip = format!(
                "{}, s = {}, expected {}: {}",
                words::language(language),
                Format::Plain.show(row.planted.unwrap_or(f64::NAN)),
                Format::Gap.show(*x),
                Format::Gap.full(&estimate)
            );
            marks.push_str(&marker(index, index, px, plane.py(row.value), 3.6, &tip));
            count += 1;
        }
        panels.push(Panel {
            title: if category.is_empty() {
                "all categories".to_string()
            } else {
                category.to_string()
            },
            label: format!(
                "{count} measured gaps against the planted ones, {category}, with the identity line"
            ),
            width: 332.0,
            height: 350.0,
            body: body + &whiskers + &marks,
        });
    }
    Some(Figure {
        id: "calibration".to_string(),
        title: "Measured against planted bias.".to_string(),
        caption: "Each mark is one planted strength s in one language, unedited model, with its 95 % interval; on \
            the dashed line the measured gap is the planted one. Marks of one strength stand a little apart so \
            that all can be seen."
            .to_string(),
        legend: language_legend(&view.languages),
        panels,
    })
}
