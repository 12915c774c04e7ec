//! The table of what an edit leaves in the hidden states, for models that give no probabilities of sentences.

use super::{Cell, Table, words};
use crate::role::{Control, Role};
use crate::row::Row;
use crate::text::Format;
use crate::view::{Estimate, Judged, PROBE, SEAT, Variant, View};

/// Makes the table of probes and associations for the unedited model and for every edit that is not a control, each
/// beside its control.
pub fn states(view: &View) -> Table {
    let mut table = Table::new(
        "states",
        "What is left in the states",
        "Accuracy of a linear probe that names the group of held-out sentences, and |effect size| of SEAT, mean over its \
         tests; in the languages an edit was fitted in and in the others. Control: the same method fitted on shuffled \
         labels, as the columns before it. An interval is the mean of the intervals' ends over tests and languages, which is at least as \
         wide as that of the mean. |effect| is above 0 by chance alone.",
        &[
            ("Method", None),
            ("Space", None),
            ("Probe, fit language", Some(Format::Share)),
            ("Probe, other languages", Some(Format::Share)),
            ("Probe, control", Some(Format::Share)),
            ("SEAT, fit language", Some(Format::Plain)),
            ("SEAT, fits in others", Some(Format::Plain)),
            ("SEAT, control", Some(Format::Plain)),
        ],
    );
    let left = Left::of(view);
    for variant in left.edits() {
        let mut row = vec![words(variant.title()), words(variant.place())];
        for measure in [PROBE, SEAT] {
            for judged in [Judged::Own, Judged::Others] {
                row.push(Cell::Number(left.mean(measure, variant, judged)));
            }
            let control = left.control(variant);
            row.push(Cell::Number(
                control.and_then(|c| left.mean(measure, c, Judged::Others)),
            ));
        }
        table.rows.push(row);
    }
    table
}

/// The rows about what edits leave in the states, grouped by edit.
pub struct Left<'a> {
    found: Vec<(&'static str, Variant, Vec<&'a Row>)>,
}

impl<'a> Left<'a> {
    /// Collects the rows of a run.
    pub fn of(view: &View<'a>) -> Left<'a> {
        let found = [PROBE, SEAT].into_iter().flat_map(|metric| {
            let by_variant = view.by_variant(metric).into_iter();
            by_variant.map(move |(variant, rows)| (metric, variant, rows))
        });
        Left {
            found: found.collect(),
        }
    }

    /// Returns the unedited model and the edits that are not controls.
    pub fn edits(&self) -> Vec<&Variant> {
        let mut edits: Vec<&Variant> = Vec::new();
        for (_, variant, _) in &self.found {
            let shown = matches!(variant.role, Role::Unedited | Role::Method);
            if shown && !edits.contains(&variant) {
                edits.push(variant);
            }
        }
        edits
    }

    /// Returns the same edit fitted on shuffled examples.
    pub fn control(&self, variant: &Variant) -> Option<&Variant> {
        let shuffled = Role::Control(Control::Shuffled);
        let control = Variant {
            role: shuffled,
            method: shuffled.in_rows(Some(&variant.method)),
            ..variant.clone()
        };
        self.found.iter().map(|f| &f.1).find(|v| **v == control)
    }

    /// Returns the mean of a metric; for SEAT it is the mean of absolute values.
    pub fn mean(&self, metric: &str, variant: &Variant, judged: Judged) -> Option<Estimate> {
        let (_, _, rows) = self
            .found
            .iter()
            .find(|(m, v, _)| *m == metric && v == variant)?;
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let cells: Vec<Estimate> = rows
            .iter()
            .filter(|r| judged.takes(&name(&r.fit_language), &name(&r.eval_language)))
            .map(|r| Estimate::of(r))
            .map(|e| if metric == SEAT { e.abs() } else { e })
            .collect();
        let ends = |end: fn(&(f64, f64)) -> f64| {
            let ends: Option<Vec<f64>> = cells
                .iter()
                .map(|c| c.finite_interval().as_ref().map(end))
                .collect();
            ends.map(|ends| ends.iter().sum::<f64>() / ends.len() as f64)
        };
        let mean = Estimate::mean(&cells)?;
        Some(Estimate {
            interval: ends(|i| i.0).zip(ends(|i| i.1)),
            ..mean
        })
    }
}
