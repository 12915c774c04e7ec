//! The tables of operating points, which are chosen on some items and evaluated on others: by the gap of pairs for each
//! method and space, and by tasks for each method.

use std::collections::BTreeMap;

use super::erasure::mean;
use super::{Cell, Table, words};
use crate::role::Role;
use crate::row::Row;
use crate::text::{self, Format};
use crate::view::{Estimate, Judged, View};

/// What a point belongs to, and where it lies: role, method, space, re-insertion; hook point, rank, strength.
type Point<'a> = (Role, &'a str, &'a str, &'a str, &'a str, String, String);

fn point(row: &Row) -> Point<'_> {
    (
        row.role.unwrap_or(Role::Unedited),
        row.method.as_deref().unwrap_or_default(),
        row.space.as_deref().unwrap_or_default(),
        row.reinsert.as_deref().unwrap_or_default(),
        row.hook.as_deref().unwrap_or_default(),
        match (row.rank, row.units) {
            (Some(rank), _) => rank.to_string(),
            (None, Some(units)) => format!("{units} units"),
            (None, None) => String::new(),
        },
        row.strength.map_or(String::new(), |s| s.to_string()),
    )
}

/// Returns the rows of a metric, grouped by the chosen point that they belong to.
pub fn chosen_points<'a>(view: &View<'a>, metric: &str) -> BTreeMap<Point<'a>, Vec<&'a Row>> {
    let mut found: BTreeMap<Point<'a>, Vec<&'a Row>> = BTreeMap::new();
    for row in view.rows.iter().filter(|r| r.metric == metric) {
        found.entry(point(row)).or_default().push(row);
    }
    found
}

/// What is said where the rule could choose nothing.
pub const NONE_WITHIN: &str = "No edit of this run stays within that limit.";

/// Makes the table of the operating points with their effect on the pairs that were not used to choose them.
pub fn operating(view: &View) -> Table {
    let mut table = Table::new(
        "operating-points",
        "Operating points",
        "For each method and space the hook point, rank and strength that a rule chose on one share of the pairs: the \
         smallest mean |gap| among those whose cost stays within the limit of the experiment. The numbers are from the \
         other pairs and sentences, so that the choice does not flatter them.",
        &[
            ("Method", None),
            ("Space", None),
            ("Hook point", None),
            ("Rank", None),
            ("Strength", None),
            ("|gap|, fit language", Some(Format::Plain)),
            ("|gap|, other languages", Some(Format::Plain)),
            ("Removed, other languages", Some(Format::Share)),
            (view.cost_title(), Some(Format::Ratio)),
            ("Pairs (n)", None),
        ],
    );
    let gaps = chosen_points(view, "operating_gap");
    let costs = chosen_points(view, "operating_cost");
    let absolute = |rows: &[&Row], judged: Judged| {
        let fit = |r: &Row| r.fit_language.clone().unwrap_or_default();
        let eval = |r: &Row| r.eval_language.clone().unwrap_or_default();
        let found: Vec<Estimate> = rows
            .iter()
            .filter(|r| judged.takes(&fit(r), &eval(r)))
            .map(|r| Estimate::of(r).abs())
            .collect();
        Estimate::mean(&found)
    };
    let unedited = gaps
        .iter()
        .find(|(point, _)| point.0 == Role::Unedited)
        .and_then(|(_, rows)| absolute(rows, Judged::All));
    if !gaps.is_empty() && gaps.keys().all(|point| point.0 == Role::Unedited) {
        table.note.push(' ');
        table.note.push_str(NONE_WITHIN);
    }
    // The unedited model first.
    let mut order: Vec<_> = gaps.iter().collect();
    order.sort_by_key(|(point, _)| point.0 != Role::Unedited);
    for (point, rows) in order {
        let (role, method, space, reinsert, hook, rank, strength) = point;
        let dash = |text: &str| {
            if text.is_empty() {
                "–".to_string()
            } else {
                text.to_string()
            }
        };
        let site = match (space.is_empty(), reinsert.is_empty()) {
            (true, _) => "–".to_string(),
            (false, true) => (*space).to_string(),
            (false, false) => format!("{space} ({reinsert})"),
        };
        let others = absolute(rows, Judged::Others);
        let removed = match (unedited, others) {
            (Some(base), Some(gap)) if *role != Role::Unedited && base.value > 0.0 => {
                Some(gap.affine(1.0, -1.0 / base.value))
            }
            _ => None,
        };
        table.rows.push(vec![
            words(text::edit(*role, method)),
            words(site),
            words(dash(hook)),
            words(dash(rank)),
            words(dash(strength)),
            Cell::Number(absolute(rows, Judged::Own)),
            Cell::Number(others),
            Cell::Number(removed),
            Cell::Number(costs.get(point).and_then(|rows| mean(rows, Judged::All))),
            words(rows.iter().map(|r| r.n).sum::<u64>().to_string()),
        ]);
    }
    table
}

/// Makes the table of the points that choice tasks chose, with what they do to the items that were not used to choose.
pub fn searched(view: &View) -> Table {
    let mut table = Table::new(
        "searched-points",
        "Operating points by tasks",
        "For each method the hook point, strength and parameters that raise the log-odds of the right answers most, on one \
         share of the items. The numbers are from the other items, each edit in the language that it is about, beside \
         its controls at the same point.",
        &[
            ("Edit", None),
            ("Hook point", None),
            ("Strength", None),
            ("Parameters", None),
            ("Task", None),
            ("Language", None),
            ("Log-odds", Some(Format::Plain)),
            ("Change", Some(Format::Plain)),
            ("Items (n)", None),
        ],
    );
    let of = |metric: &'static str| view.rows.iter().filter(move |r| r.metric == metric);
    for row in of("operating_log_odds") {
        let mut changes = of("operating_log_odds_difference");
        let change = changes.find(|r| {
            (&r.edit, &r.category, &r.benchmark, &r.eval_language)
                == (&row.edit, &row.category, &row.benchmark, &row.eval_language)
        });
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_string());
        let method = row.method.as_deref().unwrap_or_default();
        table.rows.push(vec![
            words(text::edit(row.role.unwrap_or(Role::Unedited), method)),
            words(dash(&row.hook)),
            words(dash(&row.strength.map(|s| s.to_string()))),
            words(dash(&row.params)),
            words(dash(&row.benchmark)),
            words(dash(&row.eval_language)),
            Cell::Number(Some(Estimate::of(row))),
            Cell::Number(change.map(Estimate::of)),
            words(row.n.to_string()),
        ]);
    }
    table
}
