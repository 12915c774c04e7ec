//! Turns the effect of edits on the retrieval of translations into rows.

use super::Blank;
use crate::row::Row;
use crate::stages::Retrieved;

/// Adds the rows of every setting, hook and ordered pair of languages. The column `hook` says where the edit acts,
/// and `benchmark` says at which hook the states are compared.
pub fn retrieval_rows(blank: &Blank<'_>, retrieved: &[Retrieved], rows: &mut Vec<Row>) {
    let spec = &blank.plan.spec;
    for Retrieved { setting, found } in retrieved {
        let setting = &blank.plan.settings[*setting];
        for one in found {
            let [from, to] = one.languages.map(|at| spec.languages[at]);
            let where_ = &spec.retrieval.hooks[one.hook];
            for (metric, estimate, ideal, versus) in [
                ("retrieval_edited", one.both, Some(1.0), None),
                ("retrieval_change", one.change, None, Some("unedited")),
                ("retrieval_query_edited", one.query, Some(1.0), None),
                ("retrieval_answer_edited", one.answer, Some(1.0), None),
                ("retrieval_margin", one.margin, None, None),
                ("retrieval_cosine", one.cosine, None, None),
                ("retrieval_cka", one.cka, Some(1.0), None),
                ("retrieval_cka_shifted", one.cka_shifted, None, None),
            ] {
                rows.push(Row {
                    eval_language: Some(format!("{from}-{to}")),
                    benchmark: Some(format!("held-out translations at {where_}")),
                    ideal,
                    versus: versus.map(str::to_owned),
                    ..blank.with_setting(blank.row(metric, estimate), setting)
                });
            }
        }
    }
}
