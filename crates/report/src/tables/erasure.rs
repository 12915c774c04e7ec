//! The table of how well probes still find the groups after an edit.

use super::{Cell, Table, words};
use crate::row::Row;
use crate::text::Format;
use crate::view::{Estimate, Judged, View};

/// Makes the table of probe accuracy before and after every edit, in the fit language and in the others.
pub fn erasure(view: &View) -> Table {
    let mut table = Table::new(
        "erasure",
        "What a probe still finds",
        "Share of held-out counterfactual sentences whose group a classifier names from their mean state, in the \
         language the edit was fitted in and in the others; chance is what a classifier that sees nothing gets, and \
         erasure brings accuracy there. Bits are the online codelength per label: more is less to find. Means over \
         categories and languages.",
        &[
            ("Probe", None),
            ("Method", None),
            ("Space", None),
            ("Accuracy, fit language", Some(Format::Share)),
            ("Accuracy, other languages", Some(Format::Share)),
            ("Chance", Some(Format::Share)),
            ("Bits per label, others", Some(Format::Plain)),
            ("n", None),
        ],
    );
    for kind in ["linear", "mlp"] {
        let metric = format!("probe_accuracy_{kind}");
        let bits = view.by_variant(&format!("probe_codelength_{kind}"));
        for (variant, rows) in view.by_variant(&metric) {
            let bits = bits.iter().find(|(v, _)| *v == variant);
            let chance: Vec<f64> = rows.iter().filter_map(|r| r.ideal).collect();
            let chance = chance.iter().sum::<f64>() / chance.len().max(1) as f64;
            table.rows.push(vec![
                words(kind),
                words(variant.title()),
                words(variant.site()),
                Cell::Number(mean(&rows, Judged::Own)),
                Cell::Number(mean(&rows, Judged::Others)),
                Cell::Number(Some(Estimate::exact(chance))),
                Cell::Number(bits.and_then(|(_, rows)| mean(rows, Judged::Others))),
                words(rows.iter().map(|r| r.n).sum::<u64>().to_string()),
            ]);
        }
    }
    table
}

/// Computes the mean over the rows in which an edit is evaluated as asked. A row without a fit language counts in
/// every case.
pub fn mean(rows: &[&Row], judged: Judged) -> Option<Estimate> {
    let fit = |r: &Row| r.fit_language.clone().unwrap_or_default();
    let eval = |r: &Row| r.eval_language.clone().unwrap_or_default();
    let found: Vec<Estimate> = rows
        .iter()
        .filter(|r| judged.takes(&fit(r), &eval(r)))
        .map(|r| Estimate::of(r))
        .collect();
    Estimate::mean(&found)
}
