//! Draws results hook by hook: those of the unedited model's states, and translations among edited ones.

use super::svg::{Figure, Panel, Plane, line, marker, range};
use super::text::{self as words, Format};
use super::view::{Estimate, Variant, View};
use crate::role::Role;
use crate::row::Row;

/// The metrics that are drawn over hooks, each with the title of its panel, the name of its axis, and whether the axis is
/// logarithmic.
const PANELS: [(&str, &str, &str, bool); 7] = [
    ("lens_rank", "The right answer's rank", "log₁₀ rank", true),
    (
        "lens_pivot_excess",
        "The pivot language's answer",
        "nats likelier than the own",
        false,
    ),
    (
        "lens_own",
        "Likeliest token: own language",
        "share of questions",
        false,
    ),
    (
        "lens_pivot",
        "Likeliest token: pivot language",
        "share of questions",
        false,
    ),
    (
        "retrieval_cka",
        "Linear CKA between languages",
        "linear CKA",
        false,
    ),
    (
        "retrieval_cosine",
        "Cosine of translations",
        "mean cosine",
        false,
    ),
    (
        "retrieval_edited",
        "Translations found",
        "share found first",
        false,
    ),
];

/// The metrics that are drawn over the outputs of blocks for every edit, each with the title of its panel.
const UNDER_EDITS: [(&str, &str); 3] = [
    ("retrieval_edited", "Both sides edited"),
    ("retrieval_query_edited", "The sought side edited"),
    ("retrieval_answer_edited", "The found side edited"),
];

/// A line of a panel: its language or pair of languages, and its points by depth.
type Line = (String, Vec<(f64, Estimate)>);

/// Makes the panels of all metrics that have rows at several hooks; there may be none.
pub fn layers(view: &View) -> Option<Figure> {
    let mut languages: Vec<String> = Vec::new();
    let mut panels = Vec::new();
    for (metric, title, axis, is_log) in PANELS {
        let lines = lines(view, metric);
        if lines.iter().all(|(_, points)| points.len() < 2) {
            continue;
        }
        for (name, _) in &lines {
            if !languages.contains(name) {
                languages.push(name.clone());
            }
        }
        panels.push(panel(title, axis, is_log, &lines, &languages, metric));
    }
    if panels.is_empty() {
        return None;
    }
    let named = |code: &String| {
        let of = code.split('-').map(words::language);
        of.collect::<Vec<_>>().join(" and ")
    };
    let legend = languages.iter().enumerate();
    let legend = legend.map(|(at, code)| (marker(at, at, 10.0, 7.0, 5.0, ""), named(code)));
    Some(Figure {
        id: "layers".to_string(),
        title: "On the way.".to_string(),
        caption: "The unedited model, hook point by hook point, the first block on the left. The bars are 95 % intervals where there are any."
            .to_string(),
        legend: legend.collect(),
        panels,
    })
}

/// Translations found under every edit, block by block; nothing where fewer than two blocks were looked at, or without
/// edits.
pub fn retrieved(view: &View) -> Option<Figure> {
    let mut names = vec!["Unedited".to_string()];
    let named = |v: &Variant| format!("{}, {}", v.title(), v.site());
    names.extend(view.variants.iter().map(named));
    let mut panels = Vec::new();
    for (metric, title) in UNDER_EDITS {
        let lines: Vec<Line> = names
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let variant = at.checked_sub(1).map(|at| &view.variants[at]);
                (name.clone(), found_under(view, metric, variant))
            })
            .filter(|(_, points)| points.len() > 1)
            .collect();
        if lines.len() > 1 {
            panels.push(panel(
                title,
                "share found first",
                false,
                &lines,
                &names,
                metric,
            ));
        }
    }
    if panels.is_empty() {
        return None;
    }
    let legend = names.iter().enumerate();
    let legend = legend.map(|(at, name)| (marker(at, at, 10.0, 7.0, 5.0, ""), name.clone()));
    Some(Figure {
        id: "retrieved".to_string(),
        title: "Translations under edits.".to_string(),
        caption: "The share of sentences whose nearest neighbour by cosine is their translation, after each block: the mean over ordered pairs of \
            languages, with the language of the fit among them where an edit is about one. It has no interval, because its pairs share sentences; the \
            rows have one for each pair."
            .to_string(),
        legend: legend.collect(),
        panels,
    })
}

/// The mean over ordered pairs of languages at the output of each block, under an edit or in the unedited model.
fn found_under(view: &View, metric: &str, variant: Option<&Variant>) -> Vec<(f64, Estimate)> {
    let is_it = |row: &Row| match variant {
        None => row.role == Some(Role::Unedited),
        Some(variant) => view.variant_of(row) == *variant,
    };
    let is_about = |row: &Row| {
        let pair = row.eval_language.as_deref().unwrap_or_default();
        let fit = row.fit_language.as_deref();
        fit.is_none_or(|fit| {
            !view.languages.iter().any(|l| l == fit) || pair.split('-').any(|l| l == fit)
        })
    };
    let mut blocks: Vec<(f64, Vec<Estimate>)> = Vec::new();
    for row in view
        .metric(metric)
        .filter(|row| is_it(row) && is_about(row))
    {
        let hook = looked_at(row).filter(|hook| hook.ends_with(".output"));
        let Some(depth) = hook.and_then(depth) else {
            continue;
        };
        match blocks.iter_mut().find(|(known, _)| *known == depth) {
            Some((_, all)) => all.push(Estimate::of(row)),
            None => blocks.push((depth, vec![Estimate::of(row)])),
        }
    }
    blocks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mean = |all: &[Estimate]| {
        let sum: f64 = all.iter().map(|e| e.value).sum();
        Estimate::exact(sum / all.len() as f64)
    };
    blocks
        .iter()
        .map(|(depth, all)| (*depth, mean(all)))
        .collect()
}

/// Returns the depth of a hook, which is the number of its block.
fn depth(name: &str) -> Option<f64> {
    match name {
        "embedding" => Some(-1.0),
        name => name.strip_prefix("block.")?.split('.').next()?.parse().ok(),
    }
}

/// Returns the hook at which a row was measured, which is not that of its edit.
fn looked_at(row: &Row) -> Option<&str> {
    let at = row.benchmark.as_deref().and_then(|b| b.split_once(" at "));
    at.map(|(_, hook)| hook).or(row.scorer.as_deref())
}

fn lines(view: &View, metric: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let unedited = |row: &&Row| matches!(row.role, None | Some(Role::Unedited));
    for row in view.metric(metric).filter(unedited) {
        let (Some(language), Some(depth)) = (&row.eval_language, looked_at(row).and_then(depth))
        else {
            continue;
        };
        let at = match lines.iter().position(|(name, _)| name == language) {
            Some(at) => at,
            None => {
                lines.push((language.clone(), Vec::new()));
                lines.len() - 1
            }
        };
        let points = &mut lines[at].1;
        // The unedited model is there once for each category.
        if !points.iter().any(|(known, _)| *known == depth) && row.value.is_finite() {
            points.push((depth, Estimate::of(row)));
        }
    }
    for (_, points) in &mut lines {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

fn panel(
    title: &str,
    axis: &str,
    is_log: bool,
    lines: &[Line],
    languages: &[String],
    metric: &str,
) -> Panel {
    let scale = |value: f64| match is_log {
        true => value.max(1.0).log10(),
        false => value,
    };
    let points = || lines.iter().flat_map(|(_, points)| points);
    let ends = points().flat_map(|(_, e)| {
        let (low, high) = e.finite_interval().unwrap_or((e.value, e.value));
        [scale(low), scale(high)]
    });
    let plane = Plane {
        x: range(points().map(|(depth, _)| *depth)),
        y: range(ends),
        log_x: false,
        area: (38.0, 26.0, 322.0, 192.0),
    };
    let mut body = plane.axes("block", axis);
    for (name, points) in lines {
        let color = languages
            .iter()
            .position(|known| known == name)
            .unwrap_or(0);
        let class = format!("whisker line{}", color % 8);
        let place = |(depth, e): &(f64, Estimate)| (plane.px(*depth), plane.py(scale(e.value)));
        for pair in points.windows(2) {
            body.push_str(&line(place(&pair[0]), place(&pair[1]), &class));
        }
        for point in points {
            let (x, y) = place(point);
            if let Some((low, high)) = point.1.finite_interval() {
                let ends = [low, high].map(|end| (x, plane.py(scale(end))));
                body.push_str(&line(ends[0], ends[1], &class));
            }
            let tip = format!(
                "{name}, block {}: {}",
                point.0,
                Format::Plain.full(&point.1)
            );
            body.push_str(&marker(color, color, x, y, 3.4, &tip));
        }
    }
    Panel {
        title: title.to_string(),
        label: format!("{title} by block; the rows of {metric} have the numbers"),
        width: 332.0,
        height: 228.0,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunInfo;
    use crate::row::EditAxes;

    fn row(metric: &str, language: &str, hook: &str, value: f64, role: Role) -> Row {
        let retrieval = metric.starts_with("retrieval");
        Row {
            metric: metric.to_string(),
            value,
            ci_low: Some(value / 2.0),
            ci_high: Some(value * 2.0),
            n: 20,
            benchmark: Some(match retrieval {
                true => format!("held-out translations at {hook}"),
                false => "latent".to_string(),
            }),
            scorer: (!retrieval).then(|| hook.to_string()),
            eval_language: Some(language.to_string()),
            edit: EditAxes {
                role: Some(role),
                method: Some("none".to_string()),
                ..EditAxes::default()
            },
            ..Row::default()
        }
    }

    #[test]
    fn translations_under_edits_are_means_over_pairs_of_the_fit_s_language() {
        let mut rows = Vec::new();
        for (block, before, after) in [(0, 0.2, 0.4), (5, 0.3, 0.9)] {
            let hook = format!("block.{block}.output");
            for (pair, own) in [("en-fr", true), ("fr-en", true), ("de-nl", false)] {
                for (metric, _) in UNDER_EDITS {
                    rows.push(row(metric, pair, &hook, before, Role::Unedited));
                    let mut edited = row(metric, pair, &hook, after, Role::Method);
                    edited.edit.method = Some("clamp-units".to_string());
                    edited.edit.fit_language = Some("fr".to_string());
                    edited.edit.space = Some("raw".to_string());
                    edited.edit.hook = Some("blocks.*.linear".to_string());
                    // Of a pair without French nothing is drawn.
                    edited.value = if own { after } else { 0.0 };
                    rows.push(edited.clone());
                    // What else every run measures of an edit makes it known.
                    edited.metric = "perplexity".to_string();
                    rows.push(edited);
                }
            }
        }
        let info = RunInfo {
            languages: ["en", "fr", "de", "nl"].map(str::to_string).to_vec(),
            ..RunInfo::default()
        };
        let figure = retrieved(&View::new(&info, &rows)).unwrap();
        assert_eq!(figure.panels.len(), 3);
        assert_eq!(figure.legend.len(), 2);
        for panel in &figure.panels {
            for tip in ["Unedited, block 0: 0.2", "block 5: 0.9", "block 0: 0.4"] {
                assert!(panel.body.contains(tip), "{tip}: {}", panel.body);
            }
        }
        let unedited: Vec<Row> = rows
            .into_iter()
            .filter(|r| r.role == Some(Role::Unedited))
            .collect();
        assert!(retrieved(&View::new(&info, &unedited)).is_none());
    }

    #[test]
    fn a_line_for_each_language_and_a_point_for_each_block() {
        let mut rows = Vec::new();
        for language in ["fr", "de"] {
            for (block, rank) in [(2, 1000.0), (10, 10.0)] {
                let hook = format!("block.{block}.output");
                rows.push(row("lens_rank", language, &hook, rank, Role::Unedited));
                // The same model once more, for another category, and an edit: neither is drawn.
                rows.push(row("lens_rank", language, &hook, 7.0, Role::Unedited));
                rows.push(row("lens_rank", language, &hook, 9.0, Role::Method));
            }
        }
        rows.push(row(
            "retrieval_cka",
            "en-fr",
            "block.2.output",
            0.5,
            Role::Unedited,
        ));
        let info = RunInfo::default();
        let figure = layers(&View::new(&info, &rows)).unwrap();
        // One point is no line.
        assert_eq!(figure.panels.len(), 1);
        let meanings: Vec<&str> = figure
            .legend
            .iter()
            .map(|(_, words)| words.as_str())
            .collect();
        assert_eq!(meanings, ["French", "German"]);
        let body = &figure.panels[0].body;
        assert_eq!(body.matches("<title>").count(), 4, "{body}");
        // Lower ranks are lower in the plot.
        assert!(body.contains("block 10: 10"), "{body}");
        assert!(layers(&View::new(&info, &[])).is_none());
    }
}
