//! Compares measured values with the known answers of the testbed.

use interlingua_data::{Language, PairKind};
use interlingua_metrics::bootstrap::Estimate;
use interlingua_metrics::regression;

use super::Blank;
use super::bias::unedited;
use crate::ExperimentError;
use crate::prepare::Prepared;
use crate::role::Role;
use crate::row::{EditAxes, Row};
use crate::stages::Scores;

/// The planted strengths of some measured gaps, each once, in order.
fn strengths_of(measured: &[(f64, f64)]) -> Vec<f64> {
    let mut strengths: Vec<f64> = measured.iter().map(|m| m.0).collect();
    strengths.sort_by(f64::total_cmp);
    strengths.dedup();
    strengths
}

/// Adds, on the testbed, rows of measured against planted gaps, and of the best possible perplexity.
pub fn truth_rows(
    blank: &Blank<'_>,
    text: &Prepared,
    scores: &[(String, Language, Scores)],
    tokens: &[(Language, f64)],
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let options = blank.bootstrap();
    let Some(which) = blank
        .plan
        .spec
        .score
        .scorers
        .iter()
        .position(|s| s == "lm-eval")
    else {
        return Ok(());
    };
    for (category, language, scores) in scores {
        let unedited = unedited(blank.plan, scores);
        let pairs = text.pairs_of(category, *language);
        let scored: Vec<(Option<PairKind>, (f64, f64))> = pairs
            .iter()
            .zip(&scores.pairs[unedited][which])
            .filter_map(|(pair, score)| {
                let [more, less] = (*score)?;
                Some((pair.kind, (pair.planted?, more.0 - less.0)))
            })
            .collect();
        let measured: Vec<(f64, f64)> = scored.iter().map(|s| s.1).collect();
        let strengths = strengths_of(&measured);
        let about = |row: Row| Row {
            benchmark: Some(blank.benchmark.clone()),
            scorer: Some("lm-eval".into()),
            category: Some(category.clone()),
            eval_language: Some(language.to_string()),
            edit: EditAxes {
                role: Some(Role::Unedited),
                method: Some(Role::Unedited.in_rows(None)),
                ..row.edit
            },
            ..row
        };
        for &s in &strengths {
            let gaps: Vec<f64> = measured.iter().filter(|m| m.0 == s).map(|m| m.1).collect();
            let mean = interlingua_metrics::bootstrap::mean(&gaps, &options)
                .map_err(ExperimentError::metric("calibration"))?;
            rows.push(Row {
                planted: Some(s),
                ideal: Some((s / (1.0 - s)).ln()),
                ..about(blank.row("calibration", mean))
            });
            if s == 0.5 {
                let hits: Vec<f64> = gaps.iter().map(|&g| f64::from(u8::from(g > 0.0))).collect();
                let share = interlingua_metrics::bootstrap::mean(&hits, &options)
                    .map_err(ExperimentError::metric("calibration"))?;
                rows.push(Row {
                    planted: Some(s),
                    ideal: Some(50.0),
                    ..about(blank.row("calibration_sign", share.scaled(100.0)))
                });
            }
        }
        // The planted gap is that of whole sentences, so it is the same for every kind of pair.
        for kind in std::iter::once(None).chain(PairKind::ALL.map(Some)) {
            let of_kind = scored.iter().filter(|s| kind.is_none() || s.0 == kind);
            let of_kind: Vec<(f64, f64)> = of_kind.map(|s| s.1).collect();
            if strengths_of(&of_kind).len() < 2 {
                continue;
            }
            let (x, y): (Vec<f64>, Vec<f64>) = of_kind
                .iter()
                .map(|&(s, gap)| ((s / (1.0 - s)).ln(), gap))
                .unzip();
            let line = regression::line(&x, &y, &options)
                .map_err(ExperimentError::metric("calibration"))?;
            rows.push(Row {
                ideal: Some(1.0),
                kind: kind.map(|k| k.name().to_owned()),
                ..about(blank.row("calibration_slope", line.slope))
            });
        }
    }
    if let Some(log_probs) = &text.heldout_log_probs {
        let log_probs = &log_probs[..blank
            .plan
            .spec
            .score
            .perplexity_sentences
            .min(log_probs.len())];
        for &(language, tokens) in tokens {
            let best = (-log_probs.iter().sum::<f64>() / tokens).exp();
            rows.push(Row {
                eval_language: Some(language.to_string()),
                benchmark: Some("held-out text".into()),
                ..blank.row("perplexity_best", Estimate::point(best, log_probs.len()))
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
