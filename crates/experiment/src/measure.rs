//! From scores and states to rows: every number with n and an interval.

use interlingua_data::{BiasPair, Direction, Language};
use interlingua_metrics::bootstrap::{Bootstrap, Estimate};
use interlingua_metrics::crows::{self, PairScore, SentenceScore};
use interlingua_metrics::{alignment, perplexity, regression, significance};

use crate::ExperimentError;
use crate::plan::{Plan, Setting};
use crate::prepare::Prepared;
use crate::report::{Projection, ProjectionPoint};
use crate::requests::direction;
use crate::row::{Item, Row};
use crate::space::{Spaces, project};
use crate::spec::Space;
use crate::stages::{Rows, Scores, sentence_vectors};

/// A row without a number, carrying what holds for the whole run.
pub struct Blank<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Name of the model.
    pub model: String,
    /// Name of the bias benchmark.
    pub benchmark: String,
    /// What held-out text measures: `perplexity`, or `pseudo_perplexity` of a masked model.
    pub cost: &'static str,
}

impl Blank<'_> {
    fn row(&self, metric: &str, estimate: Estimate) -> Row {
        Row {
            metric: metric.to_owned(),
            value: estimate.value,
            ci_low: estimate.ci_low,
            ci_high: estimate.ci_high,
            n: estimate.n as u64,
            seed: self.plan.spec.seed,
            model: self.model.clone(),
            experiment: self.plan.spec.name.clone(),
            ..Row::default()
        }
    }

    fn with_setting(&self, row: Row, setting: &Setting) -> Row {
        let edited = setting.space.is_some();
        Row {
            category: Some(setting.category.clone()),
            method: Some(setting.method.clone()),
            fit_language: setting.fit_language.map(|l| l.to_string()),
            space: setting.space.map(|s| s.name().to_owned()),
            reinsert: setting.reinsert.map(|r| r.name().to_owned()),
            hook: edited.then(|| self.plan.spec.hook.clone()),
            rank: setting.rank.map(|r| r as u64),
            strength: edited.then_some(1.0),
            ..row
        }
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            resamples: self.plan.spec.score.resamples,
            ..Bootstrap::seeded(self.plan.spec.seed)
        }
    }
}

/// Rows of one category and language; p values are not yet corrected.
pub fn bias_rows(
    blank: &Blank<'_>,
    language: Language,
    pairs: &[&BiasPair],
    scores: &Scores,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let plan = blank.plan;
    let options = blank.bootstrap();
    for (which, name) in plan.spec.score.scorers.iter().enumerate() {
        let scorer = crows::by_name(name)
            .map_err(|e| ExperimentError::plan("score.scorers", e.to_string()))?;
        let of = |setting: usize| -> Vec<PairScore> {
            let side = |(value, tokens): (f64, u32)| SentenceScore {
                value,
                tokens: tokens as usize,
            };
            scores.pairs[setting][which]
                .iter()
                .zip(pairs)
                .filter_map(|(score, pair)| {
                    let [more, less] = (*score)?;
                    Some(PairScore {
                        more: side(more),
                        less: side(less),
                        direction: direction(pair.direction),
                    })
                })
                .collect()
        };
        let mut gaps = Vec::with_capacity(scores.settings.len());
        for at in 0..scores.settings.len() {
            gaps.push(
                crows::gaps(scorer, &of(at)).map_err(ExperimentError::metric(format!(
                    "the {name} gaps in {language}"
                )))?,
            );
        }
        for (at, &index) in scores.settings.iter().enumerate() {
            let setting = &plan.settings[index];
            let what = || format!("the {name} scores of {} in {language}", setting.category);
            let pair_scores = of(at);
            let sign = crows::sign_score(&pair_scores, &options)
                .map_err(ExperimentError::metric(what()))?;
            let gap = crows::mean_gap(scorer, &pair_scores, &options)
                .map_err(ExperimentError::metric(what()))?;
            let tie_p = paired_with_raw(plan, scores, at, &gaps, blank.plan.spec.seed)?;
            let numbers = [
                ("sign_score", Some(sign.score), Some(50.0), None),
                ("stereo_share", sign.stereo, Some(50.0), None),
                ("antistereo_share", sign.antistereo, Some(50.0), None),
                ("mean_gap", Some(gap), Some(0.0), tie_p),
            ];
            for (metric, estimate, ideal, p_value) in numbers {
                let Some(estimate) = estimate else { continue };
                rows.push(Row {
                    ideal,
                    p_value,
                    benchmark: Some(blank.benchmark.clone()),
                    scorer: Some(name.clone()),
                    eval_language: Some(language.to_string()),
                    ..blank.with_setting(blank.row(metric, estimate), setting)
                });
            }
        }
    }
    for (at, &index) in scores.settings.iter().enumerate() {
        let log_likelihoods: Vec<f64> = scores.neutral[at].iter().map(|s| s.0).collect();
        let tokens: Vec<usize> = scores.neutral[at].iter().map(|s| s.1 as usize).collect();
        let estimate = perplexity::perplexity(&log_likelihoods, &tokens, &options).map_err(
            ExperimentError::metric(format!("the {} in {language}", blank.cost)),
        )?;
        rows.push(Row {
            benchmark: Some("held-out text".into()),
            eval_language: Some(language.to_string()),
            ..blank.with_setting(blank.row(blank.cost, estimate), &plan.settings[index])
        });
    }
    Ok(())
}

/// One item per scored pair, scorer and setting of one category and language; none for pairs that a scorer leaves out.
pub fn items(
    blank: &Blank<'_>,
    language: Language,
    pairs: &[&BiasPair],
    scores: &Scores,
) -> Vec<Item> {
    let plan = blank.plan;
    let mut items = Vec::new();
    for (which, scorer) in plan.spec.score.scorers.iter().enumerate() {
        for (at, &index) in scores.settings.iter().enumerate() {
            let setting = &plan.settings[index];
            for (pair, score) in pairs.iter().zip(&scores.pairs[at][which]) {
                let Some(score) = score else { continue };
                items.push(Item {
                    pair: pair.id.clone(),
                    score_more: score[0].0,
                    score_less: score[1].0,
                    tokens_more: score[0].1,
                    tokens_less: score[1].1,
                    direction: match pair.direction {
                        Direction::Stereo => "stereo".into(),
                        Direction::Antistereo => "antistereo".into(),
                    },
                    planted: pair.planted,
                    benchmark: blank.benchmark.clone(),
                    scorer: scorer.clone(),
                    category: setting.category.clone(),
                    eval_language: language.to_string(),
                    method: setting.method.clone(),
                    fit_language: setting.fit_language.map(|l| l.to_string()),
                    space: setting.space.map(|s| s.name().to_owned()),
                    reinsert: setting.reinsert.map(|r| r.name().to_owned()),
                    hook: setting.space.map(|_| plan.spec.hook.clone()),
                    rank: setting.rank.map(|r| r as u64),
                });
            }
        }
    }
    items
}

/// p value of the test that a latent setting's gaps differ from those of the same method in raw space.
fn paired_with_raw(
    plan: &Plan,
    scores: &Scores,
    at: usize,
    gaps: &[Vec<f64>],
    seed: u64,
) -> Result<Option<f64>, ExperimentError> {
    let setting = &plan.settings[scores.settings[at]];
    if setting.space.is_none()
        || setting.space == Some(Space::Raw)
        || setting.method_index.is_none()
    {
        return Ok(None);
    }
    let raw = scores.settings.iter().position(|&other| {
        let other = &plan.settings[other];
        other.space == Some(Space::Raw)
            && other.method_index == setting.method_index
            && other.fit_language == setting.fit_language
    });
    let Some(raw) = raw else { return Ok(None) };
    let differences: Vec<f64> = gaps[raw]
        .iter()
        .zip(&gaps[at])
        .map(|(a, b)| a - b)
        .collect();
    let flips = significance::Flips {
        seed,
        ..significance::Flips::default()
    };
    let test = significance::sign_flip(&differences, &flips).map_err(ExperimentError::metric(
        "the paired test raw against latent",
    ))?;
    Ok(Some(test.p_value))
}

/// Holm's correction over all p values of the main scorer's table, and of each further scorer's.
pub fn correct(rows: &mut [Row]) -> Result<(), ExperimentError> {
    let mut scorers: Vec<Option<String>> = rows.iter().map(|r| r.scorer.clone()).collect();
    scorers.sort();
    scorers.dedup();
    for scorer in scorers {
        let places: Vec<usize> = (0..rows.len())
            .filter(|&i| rows[i].scorer == scorer && rows[i].p_value.is_some())
            .collect();
        if places.is_empty() {
            continue;
        }
        let raw: Vec<f64> = places.iter().filter_map(|&i| rows[i].p_value).collect();
        let corrected =
            significance::holm(&raw).map_err(ExperimentError::metric("Holm's correction"))?;
        for (i, p) in places.into_iter().zip(corrected) {
            rows[i].p_holm = Some(p);
        }
    }
    Ok(())
}

/// Retrieval, cosine margin and CKA of the held-out rows, in every space.
pub fn alignment_rows(
    blank: &Blank<'_>,
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
                space: Some(space.name().to_owned()),
                hook: Some(plan.spec.hook.clone()),
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
                let cka = alignment::linear_cka(x, dim, y, dim)
                    .map_err(ExperimentError::metric(what()))?;
                add(
                    "linear_cka",
                    there,
                    Estimate::point(cka, x.len() / dim),
                    Some(1.0),
                );
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

/// Mean squared error of the way through each autoencoder, relative to the variance of the states.
pub fn reconstruction_rows(
    blank: &Blank<'_>,
    spaces: &Spaces,
    heldout: &Rows<'_>,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    use interlingua_autoencoder::States;
    for space in [Space::Latent, Space::LatentUnaligned] {
        let Some(autoencoder) = spaces.autoencoder(space) else {
            continue;
        };
        for (at, &language) in blank.plan.spec.languages.iter().enumerate() {
            let width = spaces.width;
            let (mut errors, mut sizes) = (Vec::new(), Vec::new());
            let mut all = Vec::new();
            let mut lengths = Vec::new();
            for row in 0..heldout.rows() {
                lengths.push(
                    heldout
                        .read(at, row, &mut all)
                        .map_err(interlingua_autoencoder::AutoencoderError::States)?,
                );
            }
            let tokens = all.len() / width;
            let mut mean = vec![0.0f64; width];
            for state in all.chunks_exact(width) {
                mean.iter_mut()
                    .zip(state)
                    .for_each(|(m, x)| *m += f64::from(*x) / tokens as f64);
            }
            let h = interlingua_backend::from_rows(all.clone(), tokens, width, &spaces.device);
            let rebuilt = interlingua_backend::to_host(autoencoder.decode(autoencoder.encode(h)));
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
                space: Some(space.name().to_owned()),
                hook: Some(blank.plan.spec.hook.clone()),
                ideal: Some(0.0),
                benchmark: Some("held-out text".into()),
                ..blank.row("reconstruction_error", estimate)
            });
        }
    }
    Ok(())
}

/// On the testbed: measured against planted gaps, and the best possible perplexity.
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
    let (mut all_x, mut all_y) = (Vec::new(), Vec::new());
    for (category, language, scores) in scores {
        let unedited = scores
            .settings
            .iter()
            .position(|&s| blank.plan.settings[s].method == "none")
            .expect("every category has the unedited model");
        let pairs: Vec<&BiasPair> = text
            .pairs
            .iter()
            .filter(|p| p.language == *language && &p.category == category)
            .collect();
        let measured: Vec<(f64, f64)> = pairs
            .iter()
            .zip(&scores.pairs[unedited][which])
            .filter_map(|(pair, score)| {
                let [more, less] = (*score)?;
                Some((pair.planted?, more.0 - less.0))
            })
            .collect();
        let mut strengths: Vec<f64> = measured.iter().map(|m| m.0).collect();
        strengths.sort_by(f64::total_cmp);
        strengths.dedup();
        let about = |row: Row| Row {
            benchmark: Some(blank.benchmark.clone()),
            scorer: Some("lm-eval".into()),
            category: Some(category.clone()),
            eval_language: Some(language.to_string()),
            method: Some("none".into()),
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
        if strengths.len() > 1 {
            let x: Vec<f64> = measured.iter().map(|m| (m.0 / (1.0 - m.0)).ln()).collect();
            let y: Vec<f64> = measured.iter().map(|m| m.1).collect();
            let line = regression::line(&x, &y, &options)
                .map_err(ExperimentError::metric("calibration"))?;
            rows.push(Row {
                ideal: Some(1.0),
                ..about(blank.row("calibration_slope", line.slope))
            });
            all_x.extend(x);
            all_y.extend(y);
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
