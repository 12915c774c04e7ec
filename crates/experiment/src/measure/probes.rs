//! Turns the results of probes into rows.

use interlingua_data::Language;
use interlingua_metrics::bootstrap::Estimate;

use super::Blank;
use crate::row::{EditAxes, Row};
use crate::stages::Probed;

/// Adds the rows of one language: accuracy with chance level, and bits per label if they were measured.
pub fn probe_rows(blank: &Blank<'_>, language: Language, probed: &[Probed], rows: &mut Vec<Row>) {
    for Probed {
        setting,
        hook,
        found,
    } in probed
    {
        let setting = &blank.plan.settings[*setting];
        let n = found.accuracy.n;
        let accuracy = (
            format!("probe_accuracy_{}", found.kind),
            found.accuracy,
            Some(found.chance),
        );
        let bits = found.bits.map(|bits| {
            (
                format!("probe_codelength_{}", found.kind),
                Estimate::point(bits, n),
                Some(-found.chance.log2()),
            )
        });
        for (metric, estimate, ideal) in std::iter::once(accuracy).chain(bits) {
            let row = blank.with_setting(blank.row(&metric, estimate), setting);
            rows.push(Row {
                ideal,
                benchmark: Some("held-out counterfactuals".into()),
                eval_language: Some(language.to_string()),
                edit: EditAxes {
                    hook: Some(hook.clone()),
                    ..row.edit
                },
                ..row
            });
        }
    }
}
