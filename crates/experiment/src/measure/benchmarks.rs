//! Numbers of the benchmarks beside the pairs, as rows.

use interlingua_data::Language;
use interlingua_metrics::info;

use super::Blank;
use crate::row::Row;
use crate::stages::Judged;

/// Rows of one benchmark in one language.
pub fn benchmark_rows(
    blank: &Blank<'_>,
    language: Language,
    benchmark: &str,
    found: &[Judged],
    rows: &mut Vec<Row>,
) {
    for Judged { setting, number } in found {
        let known = info::METRICS.iter().find(|m| m.name == number.metric);
        rows.push(Row {
            ideal: known.and_then(|m| m.ideal),
            p_value: number.p_value,
            benchmark: Some(benchmark.to_owned()),
            scorer: Some(number.scorer.clone()),
            eval_language: Some(language.to_string()),
            ..blank.with_setting(
                blank.row(&number.metric, number.estimate),
                &blank.plan.settings[*setting],
            )
        });
    }
}
