//! The tables of the benchmarks other than the pairs.

use super::{Cell, Table, or_dash, p_value, words};
use crate::role::Role;
use crate::text::Format;
use crate::view::{Estimate, Variant, View};

/// Makes the table with every number of every benchmark.
pub fn benchmarks(view: &View) -> Table {
    let mut table = Table::new(
        "benchmarks",
        "Other benchmarks",
        "The tasks beside the pairs under the same edits, each number with its 95 % interval; ideal is the value \
         of a model without bias, where there is one. p is that of SEAT's own permutation test.",
        &[
            ("Benchmark", None),
            ("Metric", None),
            ("Test or scorer", None),
            ("Category", None),
            ("Judged in", None),
            ("Method", None),
            ("Space", None),
            ("Fitted in", None),
            ("Value", Some(Format::Plain)),
            ("Ideal", None),
            ("p", None),
            ("n", None),
        ],
    );
    for benchmark in &view.info.benchmarks {
        let rows = view.rows.iter();
        for row in rows.filter(|r| r.benchmark.as_deref() == Some(benchmark.as_str())) {
            let variant = view.variant_of(row);
            table.rows.push(vec![
                words(benchmark),
                words(&row.metric),
                or_dash(row.scorer.as_ref()),
                or_dash(row.category.as_ref()),
                or_dash(row.eval_language.as_ref()),
                words(variant.title()),
                words(variant.site()),
                or_dash(row.fit_language.as_ref()),
                Cell::Number(Some(Estimate::of(row))),
                words(row.ideal.map_or("–".to_string(), |ideal| ideal.to_string())),
                words(row.p_value.map_or("–".to_string(), p_value)),
                words(row.n.to_string()),
            ]);
        }
    }
    table
}

/// Makes the table with the means of the unedited model only, because all means are too many for a page of text.
pub fn unedited_means(view: &View) -> Table {
    let mut table = means_of(view, |variant| variant.role == Role::Unedited);
    table.note +=
        " Here the unedited model; every edit is in `tables/benchmark-means.md` of the run.";
    table
}

/// Makes the table of means over the languages that an edit was fitted in, and over SEAT's tests.
pub fn benchmark_means(view: &View) -> Table {
    means_of(view, |_| true)
}

fn means_of(view: &View, wanted: impl Fn(&Variant) -> bool) -> Table {
    let mut table = Table::new(
        "benchmark-means",
        "Other benchmarks, means",
        "The tasks beside the pairs: mean over the languages an edit was fitted in, and over the tests of SEAT \
         (of |effect| there: effects of both signs must not cancel). A mean has no interval here; those of single numbers \
         are in `tables/benchmarks.md`.",
        &[
            ("Benchmark", None),
            ("Metric", None),
            ("Scorer", None),
            ("Category", None),
            ("Judged in", None),
            ("Method", None),
            ("Space", None),
            ("Value", Some(Format::Plain)),
            ("Ideal", None),
            ("n", None),
        ],
    );
    let mut groups: Vec<([String; 7], Vec<Estimate>, Option<f64>)> = Vec::new();
    for benchmark in &view.info.benchmarks {
        let rows = view.rows.iter();
        for row in rows.filter(|r| r.benchmark.as_deref() == Some(benchmark.as_str())) {
            let variant = view.variant_of(row);
            if !wanted(&variant) {
                continue;
            }
            // SEAT's tests are averaged; scorers measure different things.
            let of_seat = row.metric.starts_with("seat_");
            let scorer = row.scorer.as_ref().filter(|_| !of_seat);
            let key = [
                benchmark.to_string(),
                row.metric.clone(),
                scorer.map_or("–".to_string(), String::clone),
                row.category.clone().unwrap_or_default(),
                row.eval_language.clone().unwrap_or_default(),
                variant.title(),
                variant.site(),
            ];
            let estimate = match row.metric.as_str() {
                "seat_effect" => Estimate::of(row).abs(),
                _ => Estimate::of(row),
            };
            match groups.iter_mut().find(|(k, ..)| *k == key) {
                Some((_, found, _)) => found.push(estimate),
                None => groups.push((key, vec![estimate], row.ideal)),
            }
        }
    }
    for (key, found, ideal) in groups {
        let mean = Estimate::mean(&found);
        let mut row: Vec<Cell> = key.map(Cell::Text).to_vec();
        row.push(Cell::Number(mean));
        row.push(words(
            ideal.map_or("–".to_string(), |ideal| ideal.to_string()),
        ));
        row.push(words(mean.map_or(0, |m| m.n).to_string()));
        table.rows.push(row);
    }
    table
}
