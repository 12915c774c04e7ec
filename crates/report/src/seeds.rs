//! Compares runs of one experiment under several seeds, which shows how much the numbers change by chance alone.

use super::RunInfo;
use super::text::Format;
use super::view::{Estimate, Judged, VERSUS, Variant, View};
use crate::row::Row;

/// Makes a Markdown table of the spread over seeds, with one line per method and space. Controls appear in the column
/// of differences from them.
///
/// For each difference the table says in how many of the runs its interval lies below 0. A result is stable if that
/// is so in all of them.
///
/// The other columns are the mean over runs, the standard deviation between runs (n − 1), and the smallest and the
/// largest run. The experiment determines what a seed changes: on the testbed the choices of the grammar, the
/// language model and everything after it; on files the rows that are drawn, the autoencoder and the fits.
///
/// The result is `None` if there are fewer than two runs.
pub fn seeds(runs: &[Vec<Row>]) -> Option<String> {
    if runs.len() < 2 {
        return None;
    }
    let info = RunInfo::default();
    let views: Vec<View<'_>> = runs.iter().map(|rows| View::new(&info, rows)).collect();
    let mut variants: Vec<&Variant> = Vec::new();
    for variant in views.iter().flat_map(|view| &view.variants) {
        if !variants.contains(&variant) {
            variants.push(variant);
        }
    }
    let mut out = String::from(
        "| Method | Space | \\|gap\\|, fit language | \\|gap\\|, other languages | From unedited | From raw | From control | \
         Perplexity | Runs |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let numbers = |get: &dyn Fn(&View<'_>) -> Option<f64>| -> Vec<f64> {
        views.iter().filter_map(get).collect()
    };
    let base = numbers(&|view| Some(view.base_abs_gap(view.main_lens()?, None)?.value));
    out.push_str(&format!(
        "| Unedited | – | {0} | {0} | – | – | – | – | {1} |\n",
        spread(&base, Format::Plain),
        base.len()
    ));
    for variant in variants.into_iter().filter(|v| !v.role.is_comparison()) {
        let gap = |judged: Judged| {
            numbers(&|view| {
                let lens = view.main_lens()?;
                Some(view.mean_abs_gap(lens, variant, None, judged)?.value)
            })
        };
        let (own, others) = (gap(Judged::Own), gap(Judged::Others));
        if others.is_empty() {
            continue;
        }
        let cost = numbers(&|view| {
            let lens = view.main_lens()?;
            Some(view.perplexity_ratio(lens, variant, None)?.value)
        });
        let differences = VERSUS.map(|(versus, _)| {
            let found: Vec<Estimate> = views
                .iter()
                .filter_map(|view| {
                    let lens = view.main_lens()?;
                    view.scoped(
                        "gap_difference",
                        lens,
                        variant,
                        None,
                        versus,
                        Judged::Others,
                    )
                })
                .collect();
            held(&found)
        });
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            variant.title(),
            variant.site(),
            spread(&own, Format::Plain),
            spread(&others, Format::Plain),
            differences.join(" | "),
            spread(&cost, Format::Ratio),
            others.len()
        ));
    }
    Some(out)
}

/// The spread of a difference, and in how many of the runs it lies below 0 with its interval.
fn held(found: &[Estimate]) -> String {
    if found.is_empty() {
        return "–".to_owned();
    }
    let values: Vec<f64> = found.iter().map(|e| e.value).collect();
    let below = found
        .iter()
        .filter(|e| e.excludes(0.0) && e.value < 0.0)
        .count();
    format!(
        "{}; {below} of {}",
        spread(&values, Format::Gap),
        found.len()
    )
}

/// `mean ± standard deviation [smallest, largest]`.
fn spread(values: &[f64], format: Format) -> String {
    if values.is_empty() {
        return "–".to_owned();
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = if values.len() > 1 {
        (squares / (n - 1.0)).sqrt()
    } else {
        f64::NAN
    };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "{} ± {} [{}, {}]",
        format.show(mean),
        Format::Plain.show(deviation),
        format.show(low),
        format.show(high)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;
    use crate::row::EditAxes;

    fn run(seed: u64, gap: f64) -> Vec<Row> {
        let row = |method: &str, value: f64| Row {
            metric: "mean_gap".into(),
            value,
            category: Some("gender".into()),
            eval_language: Some("fr".into()),
            edit: EditAxes {
                method: Some(method.into()),
                role: Some(if method == "none" {
                    Role::Unedited
                } else {
                    Role::Method
                }),
                fit_language: (method != "none").then(|| "en".into()),
                space: (method != "none").then(|| "raw".into()),
                ..EditAxes::default()
            },
            seed,
            ..Row::default()
        };
        let row_of = row("leace", gap - 2.0);
        let difference = Row {
            metric: "gap_difference".into(),
            category: None,
            eval_language: None,
            edit: EditAxes {
                fit_language: None,
                ..row_of.edit
            },
            versus: Some("unedited".into()),
            scope: Some("others".into()),
            ci_low: Some(gap - 2.5),
            ci_high: Some(gap - 1.5),
            ..row_of
        };
        vec![row("none", 2.0), row("leace", gap), difference]
    }

    #[test]
    fn the_spread_is_over_runs() {
        let table = seeds(&[run(1, 1.0), run(2, 1.5), run(3, 2.0)]).unwrap();
        assert!(
            table.contains("| Unedited | – | 2.000 ± 0.000 [2.000, 2.000]"),
            "{table}"
        );
        assert!(
            table.contains(
                "| LEACE | raw | – | 1.500 ± 0.500 [1.000, 2.000] | −0.500 ± 0.500 [−1.000, 0.000]; 1 of 3 | – | – | – | 3 |"
            ),
            "{table}"
        );
        assert!(seeds(&[run(1, 1.0)]).is_none());
    }
}
