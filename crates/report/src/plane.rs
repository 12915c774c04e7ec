//! Draws transfer against localisation: how edits change a model's knowledge that languages share, and its answers that depend on
//! where somebody lives.

use super::svg::{Figure, Panel, Plane, line, marker, range};
use super::text::{self as words, Format};
use super::view::{Estimate, Variant, View};
use crate::role::Role;
use crate::row::Row;

/// The beginning of the names of the benchmarks that measure shared knowledge.
const TRANSFER: &str = "transfer";
/// The name of the benchmark in which only the language says which country is meant.
const LOCAL: &str = "localization-implicit";
/// The scoring rule of both axes.
const SCORER: &str = "acc";
/// The quantities that are drawn, with their names on the axes.
const AXES: [(&str, &str); 2] = [
    ("choice_accuracy_difference", "accuracy"),
    (
        "choice_log_odds_difference",
        "log-odds of the right one, nats",
    ),
];

/// Makes a panel for each quantity and each language that both kinds of benchmark have; there is none if a run lacks one of the
/// kinds.
pub fn plane(view: &View) -> Option<Figure> {
    let mut panels = Vec::new();
    for (metric, axis) in AXES {
        for language in &view.languages {
            let points: Vec<(usize, &Variant, Estimate, Estimate)> = view
                .variants
                .iter()
                .enumerate()
                .filter_map(|(at, variant)| {
                    let of = |benchmark: &dyn Fn(&str) -> bool| {
                        difference(view, variant, metric, language, benchmark)
                    };
                    let x = of(&|name| name.starts_with(TRANSFER))?;
                    let y = of(&|name| name == LOCAL)?;
                    Some((at, variant, x, y))
                })
                .collect();
            if !points.is_empty() {
                panels.push(panel(&points, axis, words::language(language)));
            }
        }
    }
    if panels.is_empty() {
        return None;
    }
    let mut legend = vec![(marker(5, 7, 10.0, 7.0, 5.0, ""), "Unedited".to_string())];
    for (at, variant) in view.variants.iter().enumerate() {
        let words = format!("{}, {}", variant.title(), variant.site());
        legend.push((marker(shape(variant), at, 10.0, 7.0, 5.0, ""), words));
    }
    Some(Figure {
        id: "plane".to_string(),
        title: "Transfer and localisation.".to_string(),
        caption: "Differences from the unedited model on the same items, each edit about the language that it is judged in. Further right is more shared \
            knowledge, higher is more of what is right where the language is spoken; right and below is transfer that erases. Bars are \
            95 % intervals; hexagons are controls."
            .to_string(),
        legend,
        panels,
    })
}

fn shape(variant: &Variant) -> usize {
    match variant.role {
        Role::Control(_) => 6,
        _ => 0,
    }
}

/// Returns the difference that an edit fitted on a language makes in this language, averaged over the other axes of its rows.
fn difference(
    view: &View,
    variant: &Variant,
    metric: &str,
    language: &str,
    benchmark: &dyn Fn(&str) -> bool,
) -> Option<Estimate> {
    let is_it = |row: &&Row| {
        row.scorer.as_deref() == Some(SCORER)
            && row.benchmark.as_deref().is_some_and(benchmark)
            && row.eval_language.as_deref() == Some(language)
            && row
                .fit_language
                .as_deref()
                .is_none_or(|fit| fit == language)
            && view.variant_of(row) == *variant
    };
    let found: Vec<Estimate> = view
        .metric(metric)
        .filter(is_it)
        .map(Estimate::of)
        .collect();
    match found.as_slice() {
        [one] => Some(*one),
        several => Estimate::mean(several),
    }
}

fn panel(points: &[(usize, &Variant, Estimate, Estimate)], axis: &str, language: &str) -> Panel {
    let ends = |e: &Estimate| {
        let (low, high) = e.finite_interval().unwrap_or((e.value, e.value));
        [low, high]
    };
    let plane = Plane {
        x: range(points.iter().flat_map(|(_, _, x, _)| ends(x)).chain([0.0])),
        y: range(points.iter().flat_map(|(_, _, _, y)| ends(y)).chain([0.0])),
        log_x: false,
        area: (42.0, 26.0, 322.0, 232.0),
    };
    let mut body = plane.axes(
        &format!("shared knowledge, {axis}"),
        &format!("localisation, {axis}"),
    );
    let (left, top, right, bottom) = plane.area;
    let (zero_x, zero_y) = (plane.px(0.0), plane.py(0.0));
    body.push_str(&line((zero_x, top), (zero_x, bottom), "guide"));
    body.push_str(&line((left, zero_y), (right, zero_y), "guide"));
    body.push_str(&marker(5, 7, zero_x, zero_y, 6.0, "Unedited"));
    for (at, variant, x, y) in points {
        let (px, py) = (plane.px(x.value), plane.py(y.value));
        let class = format!("whisker line{}", at % 8);
        if let Some((low, high)) = x.finite_interval() {
            body.push_str(&line((plane.px(low), py), (plane.px(high), py), &class));
        }
        if let Some((low, high)) = y.finite_interval() {
            body.push_str(&line((px, plane.py(low)), (px, plane.py(high)), &class));
        }
        let tip = format!(
            "{}, {}: shared {}; local {}",
            variant.title(),
            variant.site(),
            Format::Gap.full(x),
            Format::Gap.full(y)
        );
        body.push_str(&marker(shape(variant), *at, px, py, 5.2, &tip));
    }
    Panel {
        title: format!("{language}, {axis}"),
        label: format!(
            "Transfer against localisation in {language}, {axis}; the benchmarks table has the numbers"
        ),
        width: 332.0,
        height: 268.0,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunInfo;
    use crate::role::Control;
    use crate::row::EditAxes;

    fn row(metric: &str, benchmark: &str, role: Role, fit: &str, value: f64) -> Row {
        Row {
            metric: metric.to_string(),
            value,
            ci_low: Some(value - 0.1),
            ci_high: Some(value + 0.1),
            n: 20,
            benchmark: Some(benchmark.to_string()),
            scorer: Some("acc".to_string()),
            eval_language: Some("fr".to_string()),
            edit: EditAxes {
                fit_language: Some(fit.to_string()),
                role: Some(role),
                method: Some(role.in_rows(Some("language-steering"))),
                space: Some("raw".to_string()),
                ..EditAxes::default()
            },
            versus: Some("unedited".to_string()),
            ..Row::default()
        }
    }

    #[test]
    fn an_edit_stands_where_both_kinds_of_choices_put_it() {
        let mut rows = Vec::new();
        for (role, x, y) in [
            (Role::Method, 0.25, -0.5),
            (Role::Control(Control::Random), 0.0, 0.0),
        ] {
            for metric in ["choice_accuracy_difference", "choice_log_odds_difference"] {
                rows.push(row(metric, "transfer-bmlama", role, "fr", x));
                rows.push(row(metric, "localization-implicit", role, "fr", y));
                // An edit about another language is not drawn.
                rows.push(row(metric, "transfer-bmlama", role, "en", 9.0));
            }
        }
        let info = RunInfo::default();
        let figure = plane(&View::new(&info, &rows)).unwrap();
        assert_eq!(figure.panels.len(), 2);
        assert_eq!(figure.legend.len(), 3);
        let body = &figure.panels[0].body;
        assert!(
            body.contains("shared +0.250") && body.contains("local \u{2212}0.500"),
            "{body}"
        );
        assert!(!body.contains("9.000"), "{body}");
        rows.retain(|row| row.benchmark.as_deref() != Some("localization-implicit"));
        assert!(plane(&View::new(&info, &rows)).is_none());
    }
}
