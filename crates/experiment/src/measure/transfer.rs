//! Measures whether debiasing transfers between languages: gaps over languages, their differences from comparisons,
//! and the part of an effect that is due to the method.

use interlingua_data::BiasPair;
use interlingua_metrics::joint::Resampled;

use super::Blank;
use super::joint::{Looks, Measured, Number, Scored, Source};
use super::scopes::{Families, Fits, Scope};
use crate::ExperimentError;
use crate::prepare::Prepared;
use crate::row::{EditAxes, Row};

/// Adds the rows of all families in every scope, category and kind of pairs.
pub fn transfer_rows(
    blank: &Blank<'_>,
    text: &Prepared,
    scored: &Scored,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let families = Families::new(blank.plan);
    let scorers = &blank.plan.spec.score.scorers;
    if scorers.is_empty() {
        return Ok(());
    }
    let unedited = families.unedited();
    // One place at a time: edits are compared at one, and memory holds the draws of one.
    for (at, place) in blank.plan.places.iter().enumerate() {
        let here = |f: &usize| families.all[*f].common.hook.as_ref() == Some(&place.name);
        let edited: Vec<usize> = (0..families.all.len()).filter(here).collect();
        let mut measured = edited.clone();
        measured.extend(unedited);
        let shown = if at == 0 { &measured } else { &edited };
        let everything = Source {
            blank,
            text,
            scored,
            families: &families,
            looks: Looks::EVERYTHING,
        };
        if let Some(costs) = everything.costs(&measured)? {
            cost_rows(&everything, &costs, &edited, rows)?;
        }
        for (which, scorer) in scorers.iter().enumerate() {
            if let Some(gaps) = everything.gaps(which, &measured)? {
                gap_rows(&everything, &gaps, shown, scorer, None, rows)?;
            }
        }
        for kind in kinds(text) {
            let of_kind = |pair: &BiasPair| kind_of(pair) == Some(kind);
            let looks = Looks {
                pair: &of_kind,
                ..Looks::EVERYTHING
            };
            let source = Source {
                looks,
                ..everything
            };
            if let Some(gaps) = source.gaps(0, &measured)? {
                gap_rows(&source, &gaps, shown, &scorers[0], Some(kind), rows)?;
            }
        }
    }
    Ok(())
}

/// Name of a pair's kind, where its data have kinds.
fn kind_of(pair: &BiasPair) -> Option<&'static str> {
    pair.kind.map(|kind| kind.name())
}

/// Names of the kinds that pairs are of.
fn kinds(text: &Prepared) -> Vec<&'static str> {
    let mut kinds: Vec<&str> = text.pairs.iter().filter_map(kind_of).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// A number with the metric that it belongs to.
pub struct Found {
    metric: &'static str,
    versus: Option<&'static str>,
    ideal: Option<f64>,
    number: Number,
}

impl Found {
    /// Makes a number under the name of its metric.
    pub fn new(metric: &'static str, number: Number) -> Found {
        Found {
            metric,
            versus: None,
            ideal: None,
            number,
        }
    }

    /// Marks the number as a difference from something.
    pub fn versus(self, versus: &'static str) -> Found {
        Found {
            versus: Some(versus),
            ..self
        }
    }

    /// Sets the value that would be best.
    pub fn ideal(self, ideal: f64) -> Found {
        Found {
            ideal: Some(ideal),
            ..self
        }
    }
}

/// The families with which one family is compared, by their positions.
#[derive(Default)]
pub struct Versus {
    /// The unedited model.
    pub unedited: Option<usize>,
    /// The same edit in raw space.
    pub raw: Option<usize>,
    /// The matched controls.
    pub controls: Vec<usize>,
}

impl Versus {
    /// Finds the families with which one family is compared.
    pub fn of(families: &Families, family: usize) -> Versus {
        let of = &families.all[family];
        Versus {
            unedited: families.unedited().filter(|&base| base != family),
            raw: families.raw(of),
            controls: families.controls(of),
        }
    }

    /// Returns the differences of a family's number from those that it is compared with. Of several controls, the one
    /// with the smallest number is used.
    pub fn differences(
        &self,
        measured: &Measured,
        family: usize,
        scope: Scope,
        category: Option<usize>,
    ) -> Vec<(&'static str, Number)> {
        let of = |family: usize| measured.of(family, scope, category);
        let Some((own, items)) = of(family) else {
            return Vec::new();
        };
        let controls = self.controls.iter().filter_map(|&c| of(c)).map(|(c, _)| c);
        let others = [
            ("unedited", self.unedited.and_then(of).map(|(u, _)| u)),
            ("raw", self.raw.and_then(of).map(|(r, _)| r)),
            (
                "control",
                controls.min_by(|a, b| a.value.total_cmp(&b.value)),
            ),
        ];
        let others = others
            .into_iter()
            .filter_map(|(name, other)| Some((name, other?)));
        others
            .map(|(name, other)| (name, (own.minus(&other), items)))
            .collect()
    }
}

/// Returns every scope with every category, and with the mean over categories.
pub fn places(blank: &Blank<'_>) -> Vec<(Scope, Option<usize>)> {
    let categories = 0..blank.plan.spec.categories.len();
    let categories: Vec<Option<usize>> =
        std::iter::once(None).chain(categories.map(Some)).collect();
    let scopes = Scope::ALL.into_iter();
    scopes
        .flat_map(|scope| categories.iter().map(move |&c| (scope, c)))
        .collect()
}

fn gap_rows(
    source: &Source<'_>,
    [gaps, pair_gaps]: &[Measured; 2],
    families: &[usize],
    scorer: &str,
    kind: Option<&str>,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    for &family in families {
        let versus = Versus::of(source.families, family);
        let mut found = Vec::new();
        for (scope, category) in places(source.blank) {
            let mut add = |f: Found| found.push((scope, category, f));
            let Some(gap) = gaps.of(family, scope, category) else {
                continue;
            };
            add(Found::new("scope_gap", gap).ideal(0.0));
            if let Some(number) = pair_gaps.of(family, scope, category) {
                add(Found::new("scope_pair_gap", number));
            }
            for (name, number) in versus.differences(gaps, family, scope, category) {
                if name == "control" {
                    let specific = (number.0.map(|v| -v), number.1);
                    add(Found::new("specific_part", specific));
                }
                add(Found::new("gap_difference", number).versus(name));
            }
            if scope == Scope::Others {
                let share = transfer_share(source, gaps, family, category)?;
                share
                    .into_iter()
                    .for_each(|s| add(Found::new("transfer_share", s)));
            }
        }
        let of = |row: Row| Row {
            scorer: Some(scorer.to_owned()),
            benchmark: Some(source.blank.benchmark.clone()),
            kind: kind.map(str::to_owned),
            ..row
        };
        write(source, gaps, family, found, of, rows)?;
    }
    Ok(())
}

fn cost_rows(
    source: &Source<'_>,
    costs: &Measured,
    families: &[usize],
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    for &family in families {
        let mut found = Vec::new();
        for (scope, category) in places(source.blank) {
            if let Some(number) = costs.of(family, scope, category) {
                let cost = Found::new("perplexity_ratio", number).ideal(1.0);
                found.push((scope, category, cost));
            }
        }
        let of = |row: Row| Row {
            benchmark: Some("held-out text".into()),
            ..row
        };
        write(source, costs, family, found, of, rows)?;
    }
    Ok(())
}

/// The effect in the other languages as a share of that in the language of the fit, where the latter is above 0 with
/// its interval.
fn transfer_share(
    source: &Source<'_>,
    gaps: &Measured,
    family: usize,
    category: Option<usize>,
) -> Result<Option<Number>, ExperimentError> {
    let of = &source.families.all[family];
    let Some(unedited) = source.families.unedited() else {
        return Ok(None);
    };
    if of.fits != Fits::One || of.is_control() {
        return Ok(None);
    }
    let effect = |scope| -> Option<Resampled> {
        let (edited, _) = gaps.of(family, scope, category)?;
        Some(gaps.of(unedited, scope, category)?.0.minus(&edited))
    };
    let (Some(own), Some(others)) = (effect(Scope::Fit), effect(Scope::Others)) else {
        return Ok(None);
    };
    let items = gaps
        .of(family, Scope::Others, category)
        .map_or(0, |(_, items)| items);
    let failed = ExperimentError::metric("the effect in the language of the fit");
    let known = gaps
        .draws
        .estimate("the effect", &own, items)
        .map_err(failed)?;
    let there = known.ci_low.is_some_and(|low| low > 0.0);
    Ok(there.then(|| (others.over(&own), items)))
}

/// Adds the numbers of one family as rows; `of` fills in what the rows have in common.
pub fn write(
    source: &Source<'_>,
    measured: &Measured,
    family: usize,
    found: Vec<(Scope, Option<usize>, Found)>,
    of: impl Fn(Row) -> Row,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let blank = source.blank;
    let numbers: Vec<Number> = found.iter().map(|(.., f)| f.number.clone()).collect();
    let estimates = measured.draws.estimates("a mean over cells", &numbers);
    let estimates = estimates.map_err(ExperimentError::metric("numbers over languages"))?;
    let family = &source.families.all[family];
    for ((scope, category, found), estimate) in found.into_iter().zip(estimates) {
        let row = blank.with_setting(blank.row(found.metric, estimate), &family.common);
        rows.push(of(Row {
            category: category.map(|c| blank.plan.spec.categories[c].clone()),
            edit: EditAxes {
                fit_language: family.fit_language(),
                ..row.edit
            },
            scope: Some(scope.name().to_owned()),
            versus: found.versus.map(str::to_owned),
            ideal: found.ideal,
            ..row
        }));
    }
    Ok(())
}
