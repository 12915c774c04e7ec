//! Measures how well translations are aligned, and how much of a state an autoencoder loses.

use interlingua_data::Language;
use interlingua_metrics::alignment;
use interlingua_metrics::bootstrap::Estimate;

use super::Blank;
use crate::ExperimentError;
use crate::report::{Projection, ProjectionPoint};
use crate::row::{EditAxes, Row};
use crate::spec::{Reinsert, Space};
use crate::stages::{Rows, sentence_vectors};
use interlingua_spaces::{Spaces, project};

/// Adds rows of retrieval, cosine margin and CKA over the held-out sentences, in every space.
pub fn alignment_rows(
    blank: &Blank<'_>,
    hook: &str,
    spaces: &Spaces,
    heldout: &Rows<'_>,
    rows: &mut Vec<Row>,
) -> Result<Vec<Projection>, ExperimentError> {
    let plan = blank.plan;
    let languages = &plan.spec.languages;
    let options = blank.bootstrap();
    let mut projections = Vec::new();
    for &space in &plan.spec.spaces {
        let dim = spaces.dim(space);
        let vectors = languages
            .iter()
            .enumerate()
            .map(|(at, &language)| sentence_vectors(spaces, space, language, heldout, at))
            .collect::<Result<Vec<_>, _>>()?;
        let mut add = |metric: &str, pair: String, estimate: Estimate, ideal: Option<f64>| {
            rows.push(Row {
                eval_language: Some(pair),
                edit: EditAxes {
                    space: Some(space.name().to_owned()),
                    hook: Some(hook.to_owned()),
                    ..EditAxes::default()
                },
                ideal,
                benchmark: Some("held-out translations".into()),
                ..blank.row(metric, estimate)
            });
        };
        for a in 0..languages.len() {
            for b in a + 1..languages.len() {
                let (x, y) = (&vectors[a], &vectors[b]);
                let (there, back) = (
                    format!("{}-{}", languages[a], languages[b]),
                    format!("{}-{}", languages[b], languages[a]),
                );
                let what = || format!("the alignment of {there} in space {}", space.name());
                let found = alignment::retrieval(x, y, dim, &options)
                    .map_err(ExperimentError::metric(what()))?;
                add(
                    "retrieval_top1",
                    there.clone(),
                    found.cosine_a_to_b,
                    Some(1.0),
                );
                add(
                    "retrieval_top1",
                    back.clone(),
                    found.cosine_b_to_a,
                    Some(1.0),
                );
                add(
                    "retrieval_top1_csls",
                    there.clone(),
                    found.csls_a_to_b,
                    Some(1.0),
                );
                add("retrieval_top1_csls", back, found.csls_b_to_a, Some(1.0));
                let margin = alignment::cosine_margin(x, y, dim, &options)
                    .map_err(ExperimentError::metric(what()))?;
                add("cosine_margin", there.clone(), margin, None);
                let mutual = interlingua_metrics::mexa::mexa(x, y, dim, &options)
                    .map_err(ExperimentError::metric(what()))?;
                add("mexa", there.clone(), mutual, Some(1.0));
                let cka = alignment::linear_cka(x, dim, y, dim)
                    .map_err(ExperimentError::metric(what()))?;
                let n = x.len() / dim;
                add(
                    "linear_cka",
                    there.clone(),
                    Estimate::point(cka, n),
                    Some(1.0),
                );
                let rbf = alignment::rbf_cka(x, dim, y, dim, &alignment::RbfCka::default())
                    .map_err(ExperimentError::metric(what()))?;
                add("rbf_cka", there.clone(), rbf, Some(1.0));
                let rotated = alignment::procrustes(x, dim, y, dim)
                    .map_err(ExperimentError::metric(what()))?;
                let residual = Estimate::point(rotated.scaled_residual, n);
                add("procrustes_residual", there, residual, Some(0.0));
            }
        }
        if matches!(space, Space::Raw | Space::Latent) {
            projections.push(projection(
                space,
                dim,
                &vectors,
                languages,
                plan.spec.score.projected,
            ));
        }
    }
    Ok(projections)
}

fn projection(
    space: Space,
    dim: usize,
    vectors: &[Vec<f32>],
    languages: &[Language],
    most: usize,
) -> Projection {
    let count = most.min(vectors[0].len() / dim);
    // Cosine is what retrieval reads, so directions are shown, not lengths.
    let all: Vec<f32> = vectors
        .iter()
        .flat_map(|v| v[..count * dim].chunks_exact(dim))
        .flat_map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
            row.iter().map(move |x| x / length)
        })
        .collect();
    let points = project(&all, dim)
        .into_iter()
        .enumerate()
        .map(|(at, (x, y))| ProjectionPoint {
            language: languages[at / count].to_string(),
            sentence: (at % count) as u64,
            x,
            y,
        })
        .collect();
    Projection {
        space: space.name().to_owned(),
        points,
    }
}

/// Adds rows of the mean squared error of mapping states into a space and back, relative to the variance of the
/// states, for each space that loses something.
pub fn reconstruction_rows(
    blank: &Blank<'_>,
    hook: &str,
    spaces: &Spaces,
    heldout: &Rows<'_>,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    for (space, found) in spaces.all().filter(|(_, found)| found.loses()) {
        for (at, &language) in blank.plan.spec.languages.iter().enumerate() {
            let width = spaces.width;
            let (mut errors, mut sizes) = (Vec::new(), Vec::new());
            let (all, lengths) = heldout.tokens(at)?;
            let tokens = all.len() / width;
            let mut mean = vec![0.0f64; width];
            for state in all.chunks_exact(width) {
                mean.iter_mut()
                    .zip(state)
                    .for_each(|(m, x)| *m += f64::from(*x) / tokens as f64);
            }
            let h = interlingua_backend::from_rows(all.clone(), tokens, width, &spaces.device);
            found.check(language)?;
            let unchanged = |z| z;
            let rebuilt = found.apply(language, Reinsert::Replace, h, &unchanged);
            let rebuilt = interlingua_backend::to_host(rebuilt);
            let mut from = 0;
            for len in lengths {
                let range = from * width..(from + len) * width;
                let square = |x: f64| x * x;
                errors.push(
                    all[range.clone()]
                        .iter()
                        .zip(&rebuilt[range.clone()])
                        .map(|(a, b)| square(f64::from(a - b)))
                        .sum::<f64>(),
                );
                sizes.push(
                    all[range]
                        .iter()
                        .enumerate()
                        .map(|(i, a)| square(f64::from(*a) - mean[i % width]))
                        .sum::<f64>(),
                );
                from += len;
            }
            let estimate =
                interlingua_metrics::bootstrap::ratio(&errors, &sizes, &blank.bootstrap())
                    .map_err(ExperimentError::metric("the reconstruction error"))?;
            rows.push(Row {
                eval_language: Some(language.to_string()),
                edit: EditAxes {
                    space: Some(space.name().to_owned()),
                    hook: Some(hook.to_owned()),
                    ..EditAxes::default()
                },
                ideal: Some(0.0),
                benchmark: Some("held-out text".into()),
                ..blank.row("reconstruction_error", estimate)
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
