//! Finds the pairs that an edit changed most, in languages that it was not fitted in.

use polars::prelude::*;

use super::differences::differences;
use super::view::View;
use super::{PairText, ReportError, parquet};
use crate::role::Role;
use crate::row::Item;

/// One pair before and after an edit.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The method and the place of the edit, as the pages name them.
    pub edit: String,
    /// The pair with its sentences.
    pub pair: PairText,
    /// The gap of the unedited model: the log-likelihood of the more stereotyping sentence minus that of the other,
    /// in nats.
    pub before: f64,
    /// The gap after the edit, averaged over the languages that the edit was fitted in.
    pub after: f64,
}

/// So many pairs get better, and so many worse.
const SHOWN: usize = 3;

/// Finds, for the first edit that the verdict is about, the pairs whose |gap| it lowers most, followed by those whose
/// |gap| it raises most.
///
/// # Errors
/// [`ReportError::Parquet`] if polars cannot join the items.
pub fn changed(view: &View, items: &[Item]) -> Result<Vec<Change>, ReportError> {
    let spoken = differences(view).spoken(view);
    let (Some(edit), Some(lens)) = (spoken.first(), view.main_lens()) else {
        return Ok(Vec::new());
    };
    let Some(row) = view
        .metric("mean_gap")
        .find(|row| view.variant_of(row) == *edit.variant)
    else {
        return Ok(Vec::new());
    };
    let is_edited = |item: &Item| {
        (item.role, &item.method) == (row.role, &row.method)
            && (&item.space, &item.reinsert, &item.hook) == (&row.space, &row.reinsert, &row.hook)
            && (item.rank, item.units, item.strength) == (row.rank, row.units, row.strength)
    };
    let kept: Vec<&Item> = items
        .iter()
        .filter(|i| i.scorer == lens.scorer && (i.role == Some(Role::Unedited) || is_edited(i)))
        .collect();
    let failed = |source: PolarsError| ReportError::Parquet {
        file: "items.parquet",
        message: source.to_string(),
    };
    let frame = parquet::gaps(&kept)
        .and_then(most_changed)
        .map_err(failed)?;
    let named = format!("{}, {}", edit.variant.title(), edit.variant.site());
    changes(view, &named, &frame).map_err(failed)
}

/// Pair, category, language, gap before and after, those first whose |gap| shrinks most.
fn most_changed(items: DataFrame) -> PolarsResult<DataFrame> {
    let key = || [col("pair"), col("category"), col("eval_language")];
    let of = |unedited: Expr, name: &str| {
        items
            .clone()
            .lazy()
            .filter(unedited)
            .group_by(key())
            .agg([col("gap").mean().alias(name)])
    };
    let other = col("fit_language")
        .is_null()
        .or(col("fit_language").neq(col("eval_language")));
    let size = |name: &str| {
        when(col(name).lt(lit(0.0)))
            .then(-col(name))
            .otherwise(col(name))
    };
    let unedited = || lit(Role::Unedited.name());
    let before = of(col("role").eq(unedited()), "before");
    let after = of(col("role").neq(unedited()).and(other), "after");
    before
        .join(after, key(), key(), JoinArgs::new(JoinType::Inner))
        .with_column((size("after") - size("before")).alias("change"))
        .sort(
            ["change", "pair", "eval_language"],
            SortMultipleOptions::default(),
        )
        .collect()
}

fn changes(view: &View, edit: &str, frame: &DataFrame) -> PolarsResult<Vec<Change>> {
    let words = |name: &str| frame.column(name).and_then(|c| c.str());
    let (pair, category, language) = (words("pair")?, words("category")?, words("eval_language")?);
    let number = |name: &str| frame.column(name).and_then(|c| c.f64());
    let (before, after, change) = (number("before")?, number("after")?, number("change")?);
    let places = 0..frame.height();
    let better = places
        .clone()
        .filter(|&i| change.get(i).is_some_and(|c| c < 0.0))
        .take(SHOWN);
    let worse = places
        .rev()
        .filter(|&i| change.get(i).is_some_and(|c| c > 0.0))
        .take(SHOWN);
    let text = |i: usize| {
        let found = [pair.get(i)?, category.get(i)?, language.get(i)?];
        view.info
            .pairs
            .iter()
            .find(|p| [p.id.as_str(), p.category.as_str(), p.language.as_str()] == found)
    };
    Ok(better
        .chain(worse)
        .filter_map(|i| {
            Some(Change {
                edit: edit.to_string(),
                pair: text(i)?.clone(),
                before: before.get(i)?,
                after: after.get(i)?,
            })
        })
        .collect())
}
