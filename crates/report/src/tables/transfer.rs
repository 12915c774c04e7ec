//! The tables of how far an edit's effect transfers between languages, and how much of it is specific to one
//! language.

use super::{Cell, Table, or_dash, words};
use crate::text::Format;
use crate::view::{Estimate, Judged, View};

/// Makes the table of the transfer measures of each edit, and of what fits on several languages reach.
pub fn transfer(view: &View) -> Table {
    let mut table = Table::new(
        "transfer",
        "Transfer",
        "Share of the effect in the language of the fit that the other languages get; the part of the effect there that \
         neither shuffled labels nor a random subspace has; mean |gap| of single pairs, which an edit that turns pairs \
         around does not lower; mean |gap| of fits on all languages together, the upper reference, and of fits on all \
         languages but the one judged. In brackets: 95 % interval.",
        &[
            ("Method", None),
            ("Space", None),
            ("Share that transfers", Some(Format::Share)),
            ("Specific part, others", Some(Format::Gap)),
            ("Per-pair |gap|, others", Some(Format::Plain)),
            ("|gap|, fitted on all", Some(Format::Plain)),
            ("|gap|, language left out", Some(Format::Plain)),
        ],
    );
    let Some(lens) = view.main_lens() else {
        return table;
    };
    for variant in &view.variants {
        let others = |metric: &str| view.scoped(metric, lens, variant, None, "", Judged::Others);
        let share = view.scoped("transfer_share", lens, variant, None, "", Judged::All);
        let found = [
            others("transfer_share").or(share),
            others("specific_part"),
            others("scope_pair_gap"),
            view.joint("scope_gap", lens, variant, false),
            view.joint("scope_gap", lens, variant, true),
        ];
        if found.iter().any(Option::is_some) {
            let mut row = vec![words(variant.title()), words(variant.site())];
            row.extend(found.map(Cell::Number));
            table.rows.push(row);
        }
    }
    table
}

/// Makes the table of the gap by kind of pair, if the data has kinds.
pub fn kinds(view: &View) -> Table {
    let columns = [
        ("Kind of pair", None),
        ("Method", None),
        ("Space", None),
        ("Category", None),
        ("Languages", None),
        ("|gap|", Some(Format::Plain)),
        ("n", None),
    ];
    let note = "Mean |gap| over the cells of a scope, by kind of pair: the group before the attribute, after it, or marked \
                on the attribute word itself, which no erasure of the group reaches.";
    let mut table = Table::new("kinds", "Kinds of pairs", note, &columns);
    let scorer = view.main_lens().map(|lens| lens.scorer.as_str());
    for (variant, rows) in view.by_variant("scope_gap") {
        for row in rows
            .into_iter()
            .filter(|r| r.kind.is_some() && r.scorer.as_deref() == scorer)
        {
            table.rows.push(vec![
                or_dash(row.kind.as_ref()),
                words(variant.title()),
                words(variant.place()),
                or_dash(row.category.as_ref()),
                or_dash(row.scope.as_ref()),
                Cell::Number(Some(Estimate::of(row))),
                words(row.n.to_string()),
            ]);
        }
    }
    table
}

/// Makes the table of how similar directions are between languages: those that were fitted, and those along which an
/// edit changes states.
pub fn cosines(view: &View) -> Table {
    let columns = [
        ("Method", None),
        ("Space", None),
        ("Category", None),
        ("Languages", None),
        ("Fitted", Some(Format::Brief)),
        ("Written", Some(Format::Brief)),
    ];
    let note = "Cosine between what two languages have: of the directions fitted in them, and of what edits write back into \
                the states of them (mean over fit languages). 1 is one direction in both.";
    let mut table = Table::new("cosines", "Directions between languages", note, &columns);
    let mean = |rows: &[&crate::row::Row], category: &Option<String>, pair: &Option<String>| {
        let same = rows
            .iter()
            .filter(|r| r.category == *category && r.eval_language == *pair);
        Estimate::mean(&same.map(|r| Estimate::of(r)).collect::<Vec<_>>())
    };
    let fitted = view.by_variant("direction_cosine");
    let written = view.by_variant("written_cosine");
    for variant in &view.variants {
        let of = |found: &[(_, Vec<_>)]| {
            found
                .iter()
                .find(|(v, _)| v == variant)
                .map_or(Vec::new(), |(_, rows)| rows.clone())
        };
        let (fitted, written) = (of(&fitted), of(&written));
        let mut keys: Vec<_> = fitted
            .iter()
            .chain(&written)
            .map(|r| (&r.category, &r.eval_language))
            .collect();
        keys.sort();
        keys.dedup();
        for (category, pair) in keys {
            table.rows.push(vec![
                words(variant.title()),
                words(variant.site()),
                or_dash(category.as_ref()),
                or_dash(pair.as_ref()),
                Cell::Number(mean(&fitted, category, pair)),
                Cell::Number(mean(&written, category, pair)),
            ]);
        }
    }
    table
}
