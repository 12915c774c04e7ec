//! The summary table of all edits, its main lines for short pages, and the summary by category.

use super::{Cell, Table, words};
use crate::differences::{Edit, differences};
use crate::text::Format;
use crate::view::{Estimate, Judged, VERSUS, Variant, View};

/// Makes the summary, with one line per method and space: the gap that is left, its comparisons, and the cost.
pub fn summary(view: &View) -> Table {
    summary_of(view, |_| true)
}

/// The unedited model and the edits that are wanted.
fn summary_of(view: &View, wanted: impl Fn(&Variant) -> bool) -> Table {
    let note = format!(
        "Mean |gap| in nats over all categories (0 is ideal), judged in the language the edit was fitted in and in the \
         others; what has no fit language has the mean over all in both columns. Then the difference of the latter from \
         the unedited model's, from that of the same edit in the raw states, and from that of the matched control, the \
         better of shuffled labels and a random subspace of the same rank: below 0 is less bias. {} as a multiple of the \
         unedited model's. In brackets: 95 % interval, all from one resampling of the pairs. Pairs are counted once, \
         however many fits they judge.",
        view.cost_title()
    );
    let mut columns = vec![
        ("Method", None),
        ("Space", None),
        ("|gap|, fit language", Some(Format::Plain)),
        ("|gap|, other languages", Some(Format::Plain)),
        ("From unedited", Some(Format::Gap)),
        ("From raw", Some(Format::Gap)),
        ("From control", Some(Format::Gap)),
        (view.cost_title(), Some(Format::Ratio)),
        ("Pairs (n)", None),
    ];
    let has_joint = !view.joint_fits.is_empty();
    if has_joint {
        columns.push(("|gap|, fitted in all", Some(Format::Plain)));
    }
    let mut table = Table::new("summary", "Summary", &note, &columns);
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
        row.extend(has_joint.then_some(Cell::Number(None)));
        table.rows.push(row);
    }
    for variant in view.variants.iter().filter(|v| wanted(v)) {
        let gap = |judged| view.mean_abs_gap(lens, variant, None, judged);
        let joint = view.joint("scope_gap", lens, variant, false);
        // Every pair is in the language of one of the fits.
        let Some(pairs) = gap(Judged::Own).or(joint).or(gap(Judged::All)) else {
            continue;
        };
        let mut row = vec![
            words(variant.title()),
            words(variant.site()),
            Cell::Number(gap(Judged::Own)),
            Cell::Number(gap(Judged::Others)),
        ];
        row.extend(VERSUS.map(|(versus, _)| Cell::Number(difference(view, variant, None, versus))));
        row.push(Cell::Number(view.perplexity_ratio(lens, variant, None)));
        row.push(words(pairs.n.to_string()));
        row.extend(has_joint.then_some(Cell::Number(joint)));
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

/// Makes the table of the lines that a short page has room for: the unedited model and, for each method, the raw
/// states, the space that the verdict is about, and the best of the other spaces.
pub fn heart(view: &View) -> Table {
    /// With more methods each has one line.
    const METHODS: usize = 3;
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
    Table {
        note: String::new(),
        ..summary_of(view, |variant| kept.contains(&variant))
    }
}

/// Makes the table of the mean |gap| in the languages that an edit was not fitted in, with a column for each
/// category.
pub fn by_category(view: &View) -> Table {
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
        let head = [variant.title(), variant.site()];
        push(head, &|c| {
            view.mean_abs_gap(lens, variant, Some(c), Judged::Others)
        });
    }
    table
}
