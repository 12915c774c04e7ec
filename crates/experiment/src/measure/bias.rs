//! Computes bias scores, and the cost of an edit on held-out text.

use std::collections::BTreeMap;

use interlingua_data::{BiasPair, Direction, Language};
use interlingua_metrics::MetricError;
use interlingua_metrics::bootstrap::{self, Estimate};
use interlingua_metrics::crows::{self, PairScore, Scorer, SentenceScore};
use interlingua_metrics::power::{self, Power};
use interlingua_metrics::{perplexity, significance};
use rayon::prelude::*;

use super::{Blank, axes};
use crate::ExperimentError;
use crate::plan::{Plan, Setting};
use crate::requests::direction;
use crate::requests::{Neutral, PairScores};
use crate::role::Role;
use crate::row::{Item, Row};
use crate::spec::Space;
use crate::stages::Scores;

/// Returns the scores of the pairs that a scorer does not leave out, with their clusters. Pairs with the same id,
/// which occur in samples drawn with replacement, are one observation.
pub fn pair_scores(scores: &PairScores, pairs: &[&BiasPair]) -> (Vec<PairScore>, Vec<usize>) {
    let side = |(value, tokens): (f64, u32)| SentenceScore {
        value,
        tokens: tokens as usize,
    };
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    let mut out = (Vec::new(), Vec::new());
    for (score, pair) in scores.iter().zip(pairs) {
        let next = sources.len();
        let cluster = *sources.entry(&pair.id).or_insert(next);
        let Some([more, less]) = *score else { continue };
        out.0.push(PairScore {
            more: side(more),
            less: side(less),
            direction: direction(pair.direction),
        });
        out.1.push(cluster);
    }
    out
}

/// Adds the rows of one category and language; their p values are not corrected yet.
pub fn bias_rows(
    blank: &Blank<'_>,
    language: Language,
    pairs: &[&BiasPair],
    scores: &Scores,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let plan = blank.plan;
    for (which, name) in plan.spec.score.scorers.iter().enumerate() {
        let scorer = crows::by_name(name)
            .map_err(|e| ExperimentError::plan("score.scorers", e.to_string()))?;
        let found: Vec<(Vec<PairScore>, Vec<usize>)> = scores
            .pairs
            .iter()
            .map(|of_setting| pair_scores(&of_setting[which], pairs))
            .collect();
        let mut gaps = Vec::with_capacity(found.len());
        for (pair_scores, _) in &found {
            gaps.push(
                crows::gaps(scorer, pair_scores).map_err(ExperimentError::metric(format!(
                    "the {name} gaps in {language}"
                )))?,
            );
        }
        let known = Known {
            name,
            scorer,
            found: &found,
            gaps: &gaps,
        };
        let settings = (0..scores.settings.len()).into_par_iter();
        let of_settings: Result<Vec<Vec<Row>>, ExperimentError> = settings
            .map(|at| setting_rows(blank, language, scores, &known, at))
            .collect();
        rows.extend(of_settings?.into_iter().flatten());
    }
    // Nothing is scored where there are no scorers.
    let asked = !plan.spec.score.scorers.is_empty();
    let settings = (0..scores.settings.len()).into_par_iter();
    let of_settings: Result<Vec<Vec<Row>>, ExperimentError> = settings
        .filter(|_| asked)
        .map(|at| {
            let setting = &plan.settings[scores.settings[at]];
            utility_rows(blank, language, &scores.neutral[at], setting)
        })
        .collect();
    rows.extend(of_settings?.into_iter().flatten());
    Ok(())
}

/// What one scorer says of a category and a language, of every setting.
struct Known<'a> {
    name: &'a str,
    scorer: &'a Scorer,
    /// The scores of the pairs, with their clusters.
    found: &'a [(Vec<PairScore>, Vec<usize>)],
    gaps: &'a [Vec<f64>],
}

/// The rows of a setting: how it scores the pairs, and how it differs from the raw space.
fn setting_rows(
    blank: &Blank<'_>,
    language: Language,
    scores: &Scores,
    known: &Known<'_>,
    at: usize,
) -> Result<Vec<Row>, ExperimentError> {
    let &Known {
        name,
        scorer,
        found,
        gaps,
    } = known;
    let plan = blank.plan;
    let options = blank.bootstrap();
    let setting = &plan.settings[scores.settings[at]];
    let (pair_scores, clusters) = &found[at];
    let clusters = Some(clusters.as_slice());
    let metric = |e| {
        let what = format!("the {name} scores of {} in {language}", setting.category);
        ExperimentError::metric(what)(e)
    };
    let sign = crows::clustered_sign_score(pair_scores, clusters, &options).map_err(metric)?;
    let gap = crows::clustered_mean_gap(scorer, pair_scores, clusters, &options).map_err(metric)?;
    let size = crows::clustered_mean_absolute_difference(scorer, pair_scores, clusters, &options)
        .map_err(metric)?;
    let compared = |raw: usize| {
        let seed = plan.spec.seed;
        compare(&found[raw], &found[at], &gaps[raw], &gaps[at], seed)
    };
    let tests = raw_twin(plan, scores, at).map(compared).transpose()?;
    let numbers = [
        (
            "sign_score",
            Some(sign.score),
            Some(50.0),
            tests.map(|t| t.signs),
        ),
        ("stereo_share", sign.stereo, Some(50.0), None),
        ("antistereo_share", sign.antistereo, Some(50.0), None),
        ("mean_gap", Some(gap), Some(0.0), tests.map(|t| t.gaps)),
        ("mean_absolute_difference", Some(size), None, None),
    ];
    let base = unedited(plan, scores);
    let numbers = numbers.into_iter().chain(match setting.method {
        Some(_) => detectable(&found[base], &found[at], &gaps[base], &gaps[at])?,
        None => Vec::new(),
    });
    let row = |(metric, estimate, ideal, p_value): (_, Option<Estimate>, _, _)| {
        Some(Row {
            ideal,
            p_value,
            benchmark: Some(blank.benchmark.clone()),
            scorer: Some(name.to_owned()),
            eval_language: Some(language.to_string()),
            ..blank.with_setting(blank.row(metric, estimate?), setting)
        })
    };
    Ok(numbers.filter_map(row).collect())
}

/// What an edit costs on held-out text: perplexity, and how far it is from the unedited model.
fn utility_rows(
    blank: &Blank<'_>,
    language: Language,
    neutral: &[Neutral],
    setting: &Setting,
) -> Result<Vec<Row>, ExperimentError> {
    let options = blank.bootstrap();
    let column = |of: fn(&Neutral) -> f64| neutral.iter().map(of).collect::<Vec<f64>>();
    let counts: Vec<usize> = neutral.iter().map(|s| s.tokens as usize).collect();
    let tokens = column(|s| f64::from(s.tokens));
    let metric = |name: &str| ExperimentError::metric(format!("the {name} in {language}"));
    let cost = perplexity::perplexity(&column(|s| s.log_prob), &counts, &options)
        .map_err(metric(blank.cost))?;
    let divergence = bootstrap::ratio(&column(|s| s.divergence), &tokens, &options)
        .map_err(metric("divergence"))?;
    let agreement = bootstrap::ratio(&column(|s| f64::from(s.agreeing)), &tokens, &options)
        .map_err(metric("agreement"))?;
    let numbers = [
        (blank.cost, cost, None),
        ("kl_divergence", divergence, Some(0.0)),
        ("top1_agreement", agreement, Some(1.0)),
    ];
    let row = |(metric, estimate, ideal)| Row {
        ideal,
        benchmark: Some("held-out text".into()),
        eval_language: Some(language.to_string()),
        ..blank.with_setting(blank.row(metric, estimate), setting)
    };
    Ok(numbers.map(row).into())
}

/// Returns one item per scored pair, scorer and setting of one category and language. Pairs that a scorer leaves out
/// have no item.
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
                    kind: pair.kind.map(|k| k.name().to_owned()),
                    benchmark: blank.benchmark.clone(),
                    scorer: scorer.clone(),
                    category: setting.category.clone(),
                    eval_language: language.to_string(),
                    edit: axes(setting),
                });
            }
        }
    }
    items
}

/// Returns the position of the unedited model among the settings of some scores.
pub fn unedited(plan: &Plan, scores: &Scores) -> usize {
    let mut settings = scores.settings.iter();
    settings
        .position(|&s| plan.settings[s].role == Role::Unedited)
        .expect("every category has the unedited model")
}

/// Place of the setting that differs from this one in its space alone, which is raw there.
fn raw_twin(plan: &Plan, scores: &Scores, at: usize) -> Option<usize> {
    let setting = &plan.settings[scores.settings[at]];
    if setting.method.is_none() || setting.space == Some(Space::Raw) {
        return None;
    }
    let raw = Setting {
        space: Some(Space::Raw),
        reinsert: None,
        ..setting.clone()
    };
    let mut settings = scores.settings.iter();
    settings.position(|&other| plan.settings[other] == raw)
}

/// Pair scores with their clusters.
type Found = (Vec<PairScore>, Vec<usize>);

/// Sign patterns drawn for every test, and for those that come out small.
const FEW_FLIPS: usize = 10_000;
const MANY_FLIPS: usize = 100_000;

/// p values of one setting against another on the same pairs.
#[derive(Clone, Copy)]
struct Tests {
    /// Of the gaps: sign-flip test, clusters flipped as a whole.
    gaps: f64,
    /// Of the signs: McNemar's exact test.
    signs: f64,
}

fn compare(
    a: &Found,
    b: &Found,
    gaps_a: &[f64],
    gaps_b: &[f64],
    seed: u64,
) -> Result<Tests, ExperimentError> {
    let differences: Vec<f64> = gaps_a.iter().zip(gaps_b).map(|(a, b)| a - b).collect();
    let flip = |draws: usize| {
        let flips = significance::Flips { draws, seed };
        significance::clustered_sign_flip(&differences, Some(&b.1), &flips).map_err(
            ExperimentError::metric("the paired test raw against latent"),
        )
    };
    let mut test = flip(FEW_FLIPS)?;
    // So small a p value is one of a few draws, and a correction for many tests needs to know it better.
    if !test.exact && test.p_value < 20.0 / FEW_FLIPS as f64 {
        test = flip(MANY_FLIPS)?;
    }
    let (only_a, only_b) = discordant(a, b);
    Ok(Tests {
        gaps: test.p_value,
        signs: significance::mcnemar_exact(only_a, only_b),
    })
}

/// Pairs that only the first, and only the second setting finds stereotyping.
fn discordant(a: &Found, b: &Found) -> (u64, u64) {
    let more = |pair: &PairScore| pair.difference() > 0.0;
    let pairs = || a.0.iter().zip(&b.0);
    let count = |f: &dyn Fn(bool, bool) -> bool| {
        pairs().filter(|(a, b)| f(more(a), more(b))).count() as u64
    };
    (count(&|a, b| a && !b), count(&|a, b| !a && b))
}

/// The smallest changes from the unedited model that these pairs can show.
fn detectable(
    base: &Found,
    edited: &Found,
    base_gaps: &[f64],
    gaps: &[f64],
) -> Result<Vec<BiasNumber>, ExperimentError> {
    let failed = || ExperimentError::metric("the smallest change that the pairs can show");
    let n = gaps.len();
    let differences: Vec<f64> = base_gaps.iter().zip(gaps).map(|(a, b)| a - b).collect();
    let clusters = Some(edited.1.as_slice());
    let mut out = Vec::new();
    // One pair, or one cluster, shows no spread to plan with.
    if let Ok(change) = power::smallest_mean_change(&differences, clusters, &Power::default()) {
        out.push((
            "detectable_gap_change",
            Some(Estimate::point(change, n)),
            None,
            None,
        ));
    }
    let (a, b) = discordant(base, edited);
    let discordance = (a + b) as f64 / n as f64;
    let points =
        power::smallest_score_change(n, discordance, &Power::default()).map_err(failed())?;
    if let Some(points) = points {
        out.push((
            "detectable_score_change",
            Some(Estimate::point(points, n)),
            None,
            None,
        ));
    }
    Ok(out)
}

/// A number of a setting: metric, estimate, ideal, p value.
type BiasNumber = (&'static str, Option<Estimate>, Option<f64>, Option<f64>);

/// Applies Holm's and Benjamini and Hochberg's corrections, over all p values of one metric and scorer.
pub fn correct(rows: &mut [Row]) -> Result<(), ExperimentError> {
    let family = |r: &Row| (r.metric.clone(), r.scorer.clone());
    let mut families: Vec<_> = rows.iter().map(family).collect();
    families.sort();
    families.dedup();
    for one in families {
        let places: Vec<usize> = (0..rows.len())
            .filter(|&i| rows[i].p_value.is_some() && family(&rows[i]) == one)
            .collect();
        if places.is_empty() {
            continue;
        }
        let raw: Vec<f64> = places.iter().filter_map(|&i| rows[i].p_value).collect();
        let corrected = |f: fn(&[f64]) -> Result<Vec<f64>, MetricError>| {
            f(&raw).map_err(ExperimentError::metric("a correction for many tests"))
        };
        let holm = corrected(significance::holm)?;
        let discoveries = corrected(significance::benjamini_hochberg)?;
        for (at, i) in places.into_iter().enumerate() {
            rows[i].p_holm = Some(holm[at]);
            rows[i].p_bh = Some(discoveries[at]);
        }
    }
    Ok(())
}
