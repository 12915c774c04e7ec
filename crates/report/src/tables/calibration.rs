//! The tables of measured against planted gaps, for data whose true gaps are known.

use super::{Cell, Table, or_dash, words};
use crate::text::Format;
use crate::view::{Estimate, View};

/// Makes the table of measured and planted gaps.
pub fn calibration(view: &View) -> Table {
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

/// Returns the gap in nats that a planted strength implies.
pub fn logit(strength: f64) -> f64 {
    (strength / (1.0 - strength)).ln()
}

/// Makes the table of the slopes of the calibration lines, with one row per category and one column per language.
pub fn slopes(view: &View) -> Table {
    let (mut categories, mut languages): (Vec<&str>, Vec<&str>) = Default::default();
    let named = |name: &Option<String>| name.clone().unwrap_or("all".to_string());
    let found: Vec<(String, String, Estimate)> = view
        .metric("calibration_slope")
        .map(|row| {
            // Each kind of pairs has a line of its own below its category's.
            let kind = row
                .kind
                .as_ref()
                .map_or(String::new(), |k| format!(", {k}"));
            (
                named(&row.category) + &kind,
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
