//! Treats single units as detectors: scores how well each distinguishes some sentences from the others, and chooses
//! units at one site or several.

use rayon::prelude::*;

use crate::data::require;
use crate::{Evidence, FitData, FitError, Span};

/// Computes the average precision of scores; equal scores enter together.
///
/// # Shapes
/// `scores` and `positive` have n values each.
///
/// # Source
/// scikit-learn, `average_precision_score`.
pub fn average_precision(scores: &[f64], positive: &[bool]) -> f64 {
    let total = positive.iter().filter(|p| **p).count() as f64;
    let (mut found, mut seen, mut sum) = (0.0, 0.0, 0.0);
    for (gained, count) in thresholds(scores, positive) {
        found += gained;
        seen += count;
        sum += gained / total * (found / seen);
    }
    sum
}

/// Computes the area under the ROC curve, which is the share of pairs of a positive and another sentence in which the
/// positive one scores higher. Equal scores count one half.
///
/// # Shapes
/// `scores` and `positive` have n values each.
///
/// # Source
/// scikit-learn, `roc_auc_score`.
pub fn auroc(scores: &[f64], positive: &[bool]) -> f64 {
    let positives = positive.iter().filter(|p| **p).count() as f64;
    let others = positive.len() as f64 - positives;
    // From the highest score down: others that a positive one is above are those not seen yet.
    let (mut seen, mut sum) = (0.0, 0.0);
    for (gained, count) in thresholds(scores, positive) {
        let lost = count - gained;
        sum += gained * (others - seen - lost / 2.0);
        seen += lost;
    }
    sum / (positives * others)
}

/// For each different score from the highest down: positive sentences with it, and all sentences with it.
fn thresholds(scores: &[f64], positive: &[bool]) -> Vec<(f64, f64)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut found: Vec<(f64, f64)> = Vec::new();
    let mut last = f64::NAN;
    for at in order {
        if found.is_empty() || scores[at] != last {
            found.push((0.0, 0.0));
            last = scores[at];
        }
        if let Some((gained, count)) = found.last_mut() {
            *gained += f64::from(u8::from(positive[at]));
            *count += 1.0;
        }
    }
    found
}

/// Computes the middle value, or the mean of the two middle values.
///
/// # Shapes
/// There is at least one value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    values[low] + (values[high] - values[low]) / 2.0
}

/// Returns which rows are positive: those of one class that is not neutral.
///
/// # Errors
/// Fewer than two classes with rows, or no class of that name with rows.
pub(crate) fn positives(
    method: &'static str,
    data: &FitData,
    group: Option<&str>,
) -> Result<Vec<bool>, FitError> {
    data.check()?;
    let mut groups = require(method, "classes", 2, data.present(), &data.classes)?;
    groups.retain(|&class| Some(class) != data.neutral);
    let names: Vec<&str> = groups.iter().map(|&g| data.classes[g].as_str()).collect();
    let chosen = groups[place(method, group, &names)?];
    Ok(data.label.iter().map(|&label| label == chosen).collect())
}

/// Returns the position of a group among the groups that exist; the first, if none is named.
pub(crate) fn place(
    method: &'static str,
    group: Option<&str>,
    groups: &[&str],
) -> Result<usize, FitError> {
    let found = match group {
        None => (!groups.is_empty()).then_some(0),
        Some(name) => groups.iter().position(|&group| group == name),
    };
    found.ok_or_else(|| FitError::UnknownGroup {
        method,
        name: group.unwrap_or("any").to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
    })
}

/// A unit with the values that a method computed for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unit {
    pub(crate) site: usize,
    pub(crate) unit: usize,
    /// The score by which units are ranked.
    pub(crate) score: f64,
    /// The value that the edit uses if the unit is chosen.
    pub(crate) value: f64,
}

/// Scores every unit of every site. The sites are read one after another, and two numbers are kept for each unit.
///
/// `of` receives the scores of a unit and which rows are positive.
pub(crate) fn every_unit(
    method: &'static str,
    evidence: &mut dyn Evidence,
    group: Option<&str>,
    of: impl Fn(&[f64], &[bool]) -> (f64, f64) + Sync,
) -> Result<Vec<Unit>, FitError> {
    let mut all = Vec::new();
    for site in 0..evidence.dims().len() {
        let data = evidence.at(site)?;
        let positive = positives(method, &data, group)?;
        // Units side by side, not rows: each is read as a whole.
        let by_unit = data.x.transpose();
        let found = (0..data.dim()).into_par_iter().map(|unit| {
            let (score, value) = of(by_unit.row(unit), &positive);
            Unit {
                site,
                unit,
                score: rounded(score),
                value,
            }
        });
        all.extend(found.collect::<Vec<_>>());
    }
    Ok(all)
}

/// Rounds a score to twelve digits, because scores that are mathematically equal must not differ by the order of
/// summation.
pub(crate) fn rounded(score: f64) -> f64 {
    (score * 1e12).round() / 1e12
}

pub(crate) fn scores(data: &FitData, unit: usize) -> Vec<f64> {
    (0..data.x.rows()).map(|row| data.x.at(row, unit)).collect()
}

/// Returns the units that are ranked together: those of each site, or all.
pub(crate) fn parts(all: Vec<Unit>, sites: usize, span: Span) -> Vec<Vec<Unit>> {
    if span != Span::Site {
        return vec![all];
    }
    let mut parts = vec![Vec::new(); sites];
    for unit in all {
        parts[unit.site].push(unit);
    }
    parts
}

/// Returns the chosen units of each site with their values, in the order in which they were chosen.
pub(crate) fn by_site(sites: usize, chosen: &[Unit]) -> Vec<(Vec<usize>, Vec<f64>)> {
    let mut all = vec![(Vec::new(), Vec::new()); sites];
    for unit in chosen {
        all[unit.site].0.push(unit.unit);
        all[unit.site].1.push(unit.value);
    }
    all
}

/// The end of the ranking from which units are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Top,
    Bottom,
    Both,
}

/// The units that were chosen, and the number of others that have the score of the last one at either end.
pub(crate) struct Chosen {
    pub(crate) units: Vec<Unit>,
    pub(crate) tied: usize,
}

/// Chooses `count` units by their scores. Units of equal scores are taken in the order of sites and units, at both
/// ends. If an odd number is taken from both ends, the top gets one more.
pub(crate) fn choose(mut units: Vec<Unit>, count: usize, ends: Ends) -> Chosen {
    let count = count.min(units.len());
    let top = match ends {
        Ends::Top => count,
        Ends::Bottom => 0,
        Ends::Both => count.div_ceil(2),
    };
    // Stable: of equal scores the first unit comes first.
    units.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut rest = units.split_off(top);
    let last_of_top = units.last().map(|u| u.score);
    rest.sort_by_key(|u| (u.site, u.unit));
    rest.sort_by(|a, b| a.score.total_cmp(&b.score));
    let left = rest.split_off(count - top);
    let last = [last_of_top, rest.last().map(|u| u.score)];
    let tied = left.iter().filter(|u| last.contains(&Some(u.score)));
    let tied = tied.count();
    units.extend(rest);
    Chosen { units, tied }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_a_hand_made_table() {
        let of = |p: [u8; 4]| p.map(|p| p == 1);
        for (scores, positive, ap, area) in [
            ([1.0, 1.0, 0.5, 0.0], [1, 0, 1, 0], 7.0 / 12.0, 0.625),
            ([0.3; 4], [1, 0, 1, 0], 0.5, 0.5),
            ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 5.0 / 12.0, 0.0),
            ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0, 1.0),
        ] {
            let found = average_precision(&scores, &of(positive));
            assert!((found - ap).abs() < 1e-12, "{found} {ap}");
            let found = auroc(&scores, &of(positive));
            assert!((found - area).abs() < 1e-12, "{found} {area}");
        }
        assert_eq!(median(vec![10.0, 1.0, 4.0, 2.0]), 3.0);
    }

    #[test]
    fn units_are_chosen_from_either_end_and_ties_are_counted() {
        let scores = [0.5, 0.9, 0.5, 0.1, 0.9, 0.1];
        let units: Vec<Unit> = (0..6)
            .map(|at| Unit {
                site: at / 3,
                unit: at % 3,
                score: scores[at],
                value: at as f64,
            })
            .collect();
        let chosen = |count, ends| {
            let found = choose(units.clone(), count, ends);
            let order: Vec<f64> = found.units.iter().map(|u| u.value).collect();
            (order, found.tied)
        };
        assert_eq!(chosen(1, Ends::Top), (vec![1.0], 1));
        assert_eq!(chosen(3, Ends::Top), (vec![1.0, 4.0, 0.0], 1));
        assert_eq!(chosen(1, Ends::Bottom), (vec![3.0], 1));
        assert_eq!(chosen(3, Ends::Both), (vec![1.0, 4.0, 3.0], 1));
        assert_eq!(chosen(2, Ends::Both), (vec![1.0, 3.0], 2));
        // All of them, each once.
        let (mut all, tied) = chosen(9, Ends::Both);
        all.sort_by(f64::total_cmp);
        assert_eq!((all, tied), (vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 0));
    }
}
