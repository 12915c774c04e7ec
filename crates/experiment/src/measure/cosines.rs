//! Measures how similar directions are between languages: those that a method finds, and those along which an edit
//! changes states.

use interlingua_autoencoder::States;
use interlingua_backend::{from_rows, to_host};
use interlingua_data::Language;
use interlingua_edits::{Edit, Factor};
use interlingua_metrics::bootstrap::Estimate;
use interlingua_metrics::directions::{moment_cosine, subspace_cosine};
use interlingua_models::{RowInfo, StateEdit};

use super::Blank;
use super::scopes::{Families, Family, Fits};
use crate::ExperimentError;
use crate::row::Row;
use crate::spec::Reinsert;
use crate::stages::{Captured, Edited, Rows};
use interlingua_spaces::SiteEdit;

/// States of each language that an edit is shown: enough to see along which lines it changes them.
const STATES: usize = 128;

/// Adds rows `direction_cosine` and `written_cosine` of all methods, for every pair of languages.
pub fn cosine_rows(
    blank: &Blank<'_>,
    edited: &Edited<'_>,
    captured: &Captured,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let plan = blank.plan;
    let families = Families::new(plan);
    for (site, states) in captured.iter().enumerate() {
        let Some(parallel) = &states.rows else {
            continue;
        };
        let heldout = Rows::new(&parallel.heldout, &plan.spec.languages);
        let states: Vec<Vec<f32>> = (0..plan.spec.languages.len())
            .map(|at| some_states(&heldout, at))
            .collect::<Result<_, _>>()?;
        // Strength and re-insertion change lengths, not lines: the first of each is looked at.
        let mut seen: Vec<&Family> = Vec::new();
        for family in families.all.iter().filter(|f| !f.is_control()) {
            let first = plan.sites(&family.common) == [site]
                && family.common.reinsert != Some(Reinsert::Replace)
                && !seen.iter().any(|other| same_but_strength(other, family));
            if first {
                seen.push(family);
                fitted(blank, edited, family, rows)?;
                written(blank, edited, family, site, &states, rows)?;
            }
        }
    }
    Ok(())
}

fn same_but_strength(a: &Family, b: &Family) -> bool {
    let (mut x, mut y) = (a.common.clone(), b.common.clone());
    (x.strength, y.strength) = (None, None);
    a.fits == b.fits && x == y
}

/// Token states of one language, spread over the held-out rows.
fn some_states(rows: &Rows<'_>, language: usize) -> Result<Vec<f32>, ExperimentError> {
    let (tokens, _) = rows.tokens(language)?;
    let width = rows.width();
    let count = tokens.len() / width;
    let step = count.div_ceil(STATES).max(1);
    let chosen = tokens.chunks_exact(width).step_by(step);
    Ok(chosen.flatten().copied().collect())
}

/// What a fit takes away, as vectors of the space; nothing for an edit without directions.
fn directions(edit: &Edit) -> Option<(Vec<f64>, usize)> {
    let Factor::Dense(left) = edit.left() else {
        return None;
    };
    let vectors = left.data().to_vec();
    vectors
        .iter()
        .any(|v| *v != 0.0)
        .then_some((vectors, edit.dim()))
}

/// Members of a family in one category.
fn members(blank: &Blank<'_>, family: &Family, category: &str) -> Vec<usize> {
    let settings = &blank.plan.settings;
    let members = family.members.iter().copied();
    members
        .filter(|&s| settings[s].category == category)
        .collect()
}

fn fitted(
    blank: &Blank<'_>,
    edited: &Edited<'_>,
    family: &Family,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    if family.fits != Fits::One {
        return Ok(());
    }
    for category in &blank.plan.spec.categories {
        let fits: Vec<(String, (Vec<f64>, usize))> = members(blank, family, category)
            .into_iter()
            .filter_map(|s| {
                let language = blank.plan.settings[s].fit_language.as_ref()?.to_string();
                Some((language, directions(edited.edits[s].as_ref()?.first()?)?))
            })
            .collect();
        for (at, (a, (x, dim))) in fits.iter().enumerate() {
            for (b, (y, other)) in &fits[at + 1..] {
                if dim != other {
                    continue;
                }
                let failed = ExperimentError::metric("the cosine of fitted directions");
                let cosine = subspace_cosine(x, y, *dim).map_err(failed)?;
                let estimate = Estimate::point(cosine, (x.len() + y.len()) / dim);
                let row = blank.row("direction_cosine", estimate);
                rows.push(Row {
                    category: Some(category.clone()),
                    eval_language: Some(format!("{a}-{b}")),
                    ..blank.with_setting(row, &family.common)
                });
            }
        }
    }
    Ok(())
}

fn written(
    blank: &Blank<'_>,
    edited: &Edited<'_>,
    family: &Family,
    site: usize,
    states: &[Vec<f32>],
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let languages = &blank.plan.spec.languages;
    for setting in family.members.iter().map(|&s| (s, &blank.plan.settings[s])) {
        let changes: Vec<Vec<f64>> = languages
            .iter()
            .zip(states)
            .map(|(&language, states)| changes(edited, site, setting, language, states))
            .collect::<Result<_, _>>()?;
        let width = edited.sites[site].width;
        let moves = |c: &[f64]| c.iter().any(|v| *v != 0.0);
        for a in 0..languages.len() {
            for b in a + 1..languages.len() {
                // An edit that leaves a language's states as they are writes along no line.
                if !(moves(&changes[a]) && moves(&changes[b])) {
                    continue;
                }
                let failed = ExperimentError::metric("the cosine of written directions");
                let cosine = moment_cosine(&changes[a], &changes[b], width).map_err(failed)?;
                let n = (changes[a].len() + changes[b].len()) / width;
                let row = blank.row("written_cosine", Estimate::point(cosine, n));
                rows.push(Row {
                    eval_language: Some(format!("{}-{}", languages[a], languages[b])),
                    benchmark: Some("held-out text".into()),
                    ..blank.with_setting(row, setting.1)
                });
            }
        }
    }
    Ok(())
}

/// What an edit adds to some states of a language.
fn changes(
    edited: &Edited<'_>,
    site: usize,
    (place, setting): (usize, &crate::plan::Setting),
    language: Language,
    states: &[f32],
) -> Result<Vec<f64>, ExperimentError> {
    let (Some(space), Some([edit])) = (setting.space, edited.edits[place].as_deref()) else {
        return Ok(Vec::new());
    };
    let spaces = &edited.sites[site];
    let edit = SiteEdit::new(spaces, space, Reinsert::Residual, language, edit)?;
    let count = states.len() / spaces.width;
    let h = from_rows(states.to_vec(), count, spaces.width, &spaces.device);
    let changed = to_host(edit.apply(h, &RowInfo::new(&[], &[])));
    let pairs = changed.iter().zip(states);
    Ok(pairs
        .map(|(after, before)| f64::from(after - before))
        .collect())
}

#[cfg(test)]
mod tests;
