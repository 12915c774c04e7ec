//! Chooses the operating point: one hook, rank and strength per method and space, which is chosen on some pairs and
//! evaluated on others.
//!
//! If the best of many settings is reported on the pairs on which it was chosen, a part of the result is luck. So a
//! fixed rule ([`crate::spec::ChooseSpec`]) uses one share of the pairs and of the held-out sentences, the same in
//! every language, and the reported numbers come from the rest.

use std::collections::BTreeMap;

use interlingua_data::{BiasPair, Language};
use interlingua_metrics::bootstrap::{self, Estimate};
use interlingua_metrics::crows;

use super::Blank;
use super::bias::{pair_scores, unedited};
use super::joint::{Looks, Scored, Source};
use super::scopes::{Families, Family};
use super::transfer::{self, Found, Versus};
use crate::ExperimentError;
use crate::plan::Plan;
use crate::prepare::Prepared;
use crate::row::Row;
use crate::spec::{Extent, Space};

/// What is compared: families that differ in hook point, rank and strength alone.
fn comparable(a: &Family, b: &Family) -> bool {
    let (mut x, mut y) = (a.common.clone(), b.common.clone());
    for setting in [&mut x, &mut y] {
        (setting.hook, setting.extent, setting.strength) = (None, None, None);
    }
    a.fits == b.fits && x == y
}

/// Whether the choice looks at an item; the rest is judged.
pub(super) fn chooses(plan: &Plan, item: &str) -> bool {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&plan.spec.seed.to_le_bytes());
    hasher.update(item.as_bytes());
    let bytes: [u8; 8] = hasher.finalize().as_bytes()[..8]
        .try_into()
        .expect("a digest is longer");
    (u64::from_le_bytes(bytes) as f64) < plan.spec.choose.share * u64::MAX as f64
}

/// Adds rows `operating_gap` and `operating_cost` of the chosen points, and returns in words what was chosen.
///
/// There are no rows if no method was run at more than one point.
pub fn choice_rows(
    blank: &Blank<'_>,
    text: &Prepared,
    scored: &Scored,
    rows: &mut Vec<Row>,
) -> Result<Vec<String>, ExperimentError> {
    let plan = blank.plan;
    let families = Families::new(plan);
    let edits = (0..families.all.len()).filter(|&f| !families.all[f].is_control());
    let mut tried: Vec<Vec<usize>> = Vec::new();
    for family in edits {
        let same =
            |points: &&mut Vec<usize>| comparable(&families.all[points[0]], &families.all[family]);
        match tried.iter_mut().find(same) {
            Some(points) => points.push(family),
            None => tried.push(vec![family]),
        }
    }
    tried.retain(|points| points.len() > 1);
    if tried.is_empty() || plan.spec.score.scorers.is_empty() {
        return Ok(Vec::new());
    }
    let halves = Halves::new(plan, text, scored)?;
    let mut notes = Vec::new();
    let mut chosen: Vec<usize> = Vec::new();
    for points in &tried {
        let common = &families.all[points[0]].common;
        let method = common.in_rows();
        let name = [
            Some(method.as_str()),
            common.space.map(|s| s.name()),
            common.reinsert.map(|r| r.name()),
        ];
        let name = name.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let mut best: Option<(f64, usize)> = None;
        for &point in points {
            let (gap, cost) = halves.chosen(&families.all[point].members)?;
            if cost <= plan.spec.choose.max_cost && best.is_none_or(|(b, _)| gap < b) {
                best = Some((gap, point));
            }
        }
        let Some((_, point)) = best else {
            notes.push(format!(
                "{name}: none of {} operating points keeps the {} within {} of the unedited model's",
                points.len(),
                blank.cost.replace('_', "-"),
                plan.spec.choose.max_cost
            ));
            continue;
        };
        let setting = &families.all[point].common;
        notes.push(format!(
            "{name}: of {} operating points, {} with {} and strength {} was chosen",
            points.len(),
            setting.hook.as_deref().unwrap_or("no hook point"),
            setting.extent.unwrap_or(Extent::Vector),
            setting.strength.unwrap_or(1.0)
        ));
        chosen.push(point);
    }
    let mut shown = chosen.clone();
    shown.extend(families.unedited());
    for &setting in shown.iter().flat_map(|&f| &families.all[f].members) {
        halves.judged(blank, setting, rows)?;
    }
    judged_together(blank, text, scored, &families, &chosen, rows)?;
    Ok(notes)
}

/// Rows `operating_scope_gap` and `operating_difference`: the chosen points, their controls and the unedited model on one
/// resampling of the pairs that the choice did not look at.
fn judged_together(
    blank: &Blank<'_>,
    text: &Prepared,
    scored: &Scored,
    families: &Families,
    chosen: &[usize],
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let mut shown = chosen.to_vec();
    shown.extend(families.unedited());
    for &point in chosen {
        shown.extend(families.controls(&families.all[point]));
    }
    shown.sort_unstable();
    shown.dedup();
    let kept = |pair: &BiasPair| !chooses(blank.plan, &pair.id);
    let source = Source {
        blank,
        text,
        scored,
        families,
        looks: Looks {
            pair: &kept,
            ..Looks::EVERYTHING
        },
    };
    let Some([gaps, _]) = source.gaps(0, &shown)? else {
        return Ok(());
    };
    for &family in &shown {
        let versus = Versus {
            raw: chosen_in_raw(families, chosen, family),
            ..Versus::of(families, family)
        };
        let mut found = Vec::new();
        for (scope, category) in transfer::places(blank) {
            if let Some(gap) = gaps.of(family, scope, category) {
                let gap = Found::new("operating_scope_gap", gap).ideal(0.0);
                found.push((scope, category, gap));
            }
            for (name, number) in versus.differences(&gaps, family, scope, category) {
                let difference = Found::new("operating_difference", number).versus(name);
                found.push((scope, category, difference));
            }
        }
        let of = |row: Row| Row {
            scorer: Some(blank.plan.spec.score.scorers[0].clone()),
            benchmark: Some(blank.benchmark.clone()),
            ..row
        };
        transfer::write(&source, &gaps, family, found, of, rows)?;
    }
    Ok(())
}

/// The point that was chosen for the same method in raw space: each space stands there with its own best.
fn chosen_in_raw(families: &Families, chosen: &[usize], family: usize) -> Option<usize> {
    let of = &families.all[family];
    if of.is_control() || of.common.space == Some(Space::Raw) {
        return None;
    }
    let mut raw = of.clone();
    raw.common.space = Some(Space::Raw);
    raw.common.reinsert = None;
    let mut chosen = chosen.iter().copied();
    chosen.find(|&point| comparable(&families.all[point], &raw))
}

/// Gap of a pair, whether it chooses, and its cluster.
struct Gap {
    value: f64,
    chooses: bool,
    cluster: usize,
}

/// Log-likelihoods of a held-out sentence: unedited, edited, and tokens.
struct Sentence {
    unedited: f64,
    edited: f64,
    tokens: f64,
    chooses: bool,
}

/// One setting in one language.
struct Cell {
    language: Language,
    gaps: Vec<Gap>,
    sentences: Vec<Sentence>,
}

/// Every cell of every setting, its items divided into those that choose and those that are judged.
struct Halves {
    /// By setting of the plan.
    cells: Vec<Vec<Cell>>,
    scorer: String,
}

impl Halves {
    fn new(plan: &Plan, text: &Prepared, scored: &Scored) -> Result<Halves, ExperimentError> {
        let name = &plan.spec.score.scorers[0];
        let scorer = crows::by_name(name)
            .map_err(|e| ExperimentError::plan("score.scorers", e.to_string()))?;
        let mut cells: Vec<Vec<Cell>> = plan.settings.iter().map(|_| Vec::new()).collect();
        for (category, language, scores) in scored {
            let pairs = text.pairs_of(category, *language);
            let base = unedited(plan, scores);
            for (at, &setting) in scores.settings.iter().enumerate() {
                let (found, clusters) = pair_scores(&scores.pairs[at][0], &pairs);
                let kept = pairs.iter().zip(&scores.pairs[at][0]);
                let ids = kept.filter(|(_, score)| score.is_some());
                let values = crows::gaps(scorer, &found)
                    .map_err(ExperimentError::metric("the gaps of the operating points"))?;
                let gaps = values.into_iter().zip(ids).zip(clusters);
                let gaps = gaps.map(|((value, (pair, _)), cluster)| Gap {
                    value,
                    chooses: chooses(plan, &pair.id),
                    cluster,
                });
                let sentences = scores.neutral[at].iter().zip(&scores.neutral[base]);
                let sentences = sentences
                    .enumerate()
                    .map(|(row, (edited, unedited))| Sentence {
                        unedited: unedited.log_prob,
                        edited: edited.log_prob,
                        tokens: f64::from(edited.tokens),
                        chooses: chooses(plan, &format!("held-out {row}")),
                    });
                cells[setting].push(Cell {
                    language: *language,
                    gaps: gaps.collect(),
                    sentences: sentences.collect(),
                });
            }
        }
        Ok(Halves {
            cells,
            scorer: name.clone(),
        })
    }

    /// Mean |gap| over cells, and the largest mean cost of any language, as the rule sees them.
    fn chosen(&self, settings: &[usize]) -> Result<(f64, f64), ExperimentError> {
        let mut gaps = Vec::new();
        let mut costs: BTreeMap<Language, Vec<f64>> = BTreeMap::new();
        for cell in settings.iter().flat_map(|&s| &self.cells[s]) {
            let values: Vec<f64> = cell
                .gaps
                .iter()
                .filter(|g| g.chooses)
                .map(|g| g.value)
                .collect();
            let sentences = cell.sentences.iter().filter(|s| s.chooses);
            let (mut lost, mut tokens) = (0.0, 0.0);
            for s in sentences {
                lost += s.unedited - s.edited;
                tokens += s.tokens;
            }
            if values.is_empty() || tokens == 0.0 {
                return Err(ExperimentError::plan(
                    "choose.share",
                    "leaves nothing to choose on; there are too few pairs or held-out sentences",
                ));
            }
            gaps.push((values.iter().sum::<f64>() / values.len() as f64).abs());
            costs
                .entry(cell.language)
                .or_default()
                .push((lost / tokens).exp());
        }
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let cost = costs.values().map(|c| mean(c)).fold(0.0, f64::max);
        Ok((mean(&gaps), cost))
    }

    /// Rows of one setting, from what the choice did not look at.
    fn judged(
        &self,
        blank: &Blank<'_>,
        setting: usize,
        rows: &mut Vec<Row>,
    ) -> Result<(), ExperimentError> {
        let options = blank.bootstrap();
        let metric = |e| ExperimentError::metric("an operating point on the pairs kept for it")(e);
        for cell in &self.cells[setting] {
            let kept: Vec<&Gap> = cell.gaps.iter().filter(|g| !g.chooses).collect();
            let values: Vec<f64> = kept.iter().map(|g| g.value).collect();
            let clusters: Vec<usize> = kept.iter().map(|g| g.cluster).collect();
            let gap =
                bootstrap::clustered_mean(&values, Some(&clusters), &options).map_err(metric)?;
            let sentences = cell.sentences.iter().filter(|s| !s.chooses);
            let (lost, tokens): (Vec<f64>, Vec<f64>) =
                sentences.map(|s| (s.unedited - s.edited, s.tokens)).unzip();
            let log = bootstrap::ratio(&lost, &tokens, &options).map_err(metric)?;
            let cost = Estimate {
                value: log.value.exp(),
                ci_low: log.ci_low.map(f64::exp),
                ci_high: log.ci_high.map(f64::exp),
                n: log.n,
            };
            let numbers = [
                (
                    "operating_gap",
                    gap,
                    Some(0.0),
                    &blank.benchmark,
                    Some(self.scorer.clone()),
                ),
                (
                    "operating_cost",
                    cost,
                    Some(1.0),
                    &"held-out text".to_owned(),
                    None,
                ),
            ];
            for (metric, estimate, ideal, benchmark, scorer) in numbers {
                rows.push(Row {
                    ideal,
                    benchmark: Some(benchmark.clone()),
                    scorer,
                    eval_language: Some(cell.language.to_string()),
                    ..blank.with_setting(blank.row(metric, estimate), &blank.plan.settings[setting])
                });
            }
        }
        Ok(())
    }
}
