//! Writes rows and items as Parquet.

use polars::prelude::*;

use super::ReportError;
use crate::role::Role;
use crate::row::{Answer, Item, Row};

/// Encodes the rows as one Parquet file, with a column of the same name for each field of [`Row`].
///
/// # Errors
/// [`ReportError::Parquet`] with the part that polars could not encode.
pub fn rows_parquet(rows: &[Row]) -> Result<Vec<u8>, ReportError> {
    let columns = vec![
        column("metric", rows, |r| r.metric.as_str()),
        column("value", rows, |r| r.value),
        column("ci_low", rows, |r| r.ci_low),
        column("ci_high", rows, |r| r.ci_high),
        column("n", rows, |r| r.n),
        column("ideal", rows, |r| r.ideal),
        column("p_value", rows, |r| r.p_value),
        column("p_holm", rows, |r| r.p_holm),
        column("p_bh", rows, |r| r.p_bh),
        column("benchmark", rows, |r| r.benchmark.as_deref()),
        column("scorer", rows, |r| r.scorer.as_deref()),
        column("category", rows, |r| r.category.as_deref()),
        column("eval_language", rows, |r| r.eval_language.as_deref()),
        column("role", rows, |r| r.role.map(Role::name)),
        column("method", rows, |r| r.method.as_deref()),
        column("params", rows, |r| r.params.as_deref()),
        column("fit_language", rows, |r| r.fit_language.as_deref()),
        column("space", rows, |r| r.space.as_deref()),
        column("reinsert", rows, |r| r.reinsert.as_deref()),
        column("hook", rows, |r| r.hook.as_deref()),
        column("special_tokens", rows, |r| r.special_tokens.as_deref()),
        column("rank", rows, |r| r.rank),
        column("units", rows, |r| r.units),
        column("strength", rows, |r| r.strength),
        column("planted", rows, |r| r.planted),
        column("versus", rows, |r| r.versus.as_deref()),
        column("scope", rows, |r| r.scope.as_deref()),
        column("kind", rows, |r| r.kind.as_deref()),
        column("seed", rows, |r| r.seed),
        column("model", rows, |r| r.model.as_str()),
        column("experiment", rows, |r| r.experiment.as_str()),
    ];
    encode("rows.parquet", rows.len(), columns)
}

/// Encodes the scored pairs as one Parquet file, with a column for each field of [`Item`].
///
/// # Errors
/// [`ReportError::Parquet`] with the part that polars could not encode.
pub fn items_parquet(items: &[Item]) -> Result<Vec<u8>, ReportError> {
    let columns = vec![
        column("pair", items, |i| i.pair.as_str()),
        column("score_more", items, |i| i.score_more),
        column("score_less", items, |i| i.score_less),
        column("tokens_more", items, |i| i.tokens_more),
        column("tokens_less", items, |i| i.tokens_less),
        column("direction", items, |i| i.direction.as_str()),
        column("planted", items, |i| i.planted),
        column("kind", items, |i| i.kind.as_deref()),
        column("benchmark", items, |i| i.benchmark.as_str()),
        column("scorer", items, |i| i.scorer.as_str()),
        column("category", items, |i| i.category.as_str()),
        column("eval_language", items, |i| i.eval_language.as_str()),
        column("role", items, |i| i.role.map(Role::name)),
        column("method", items, |i| i.method.as_deref()),
        column("params", items, |i| i.params.as_deref()),
        column("fit_language", items, |i| i.fit_language.as_deref()),
        column("space", items, |i| i.space.as_deref()),
        column("reinsert", items, |i| i.reinsert.as_deref()),
        column("hook", items, |i| i.hook.as_deref()),
        column("rank", items, |i| i.rank),
        column("units", items, |i| i.units),
        column("strength", items, |i| i.strength),
    ];
    encode("items.parquet", items.len(), columns)
}

/// Encodes the answers that tasks keep as one Parquet file, with a column for each field of [`Answer`]; the scores
/// are a list.
///
/// # Errors
/// [`ReportError::Parquet`] with the part that polars could not encode.
pub fn answers_parquet(answers: &[Answer]) -> Result<Vec<u8>, ReportError> {
    let scores: Vec<Series> = answers
        .iter()
        .map(|a| Series::new("".into(), &a.scores))
        .collect();
    let columns = vec![
        column("item", answers, |a| a.item.as_str()),
        column("answer", answers, |a| a.answer),
        column("gold", answers, |a| a.gold),
        Series::new("scores".into(), scores).into_column(),
        column("text", answers, |a| a.text.as_deref()),
        column("benchmark", answers, |a| a.benchmark.as_str()),
        column("scorer", answers, |a| a.scorer.as_str()),
        column("category", answers, |a| a.category.as_str()),
        column("eval_language", answers, |a| a.eval_language.as_str()),
        column("role", answers, |a| a.role.map(Role::name)),
        column("method", answers, |a| a.method.as_deref()),
        column("params", answers, |a| a.params.as_deref()),
        column("fit_language", answers, |a| a.fit_language.as_deref()),
        column("space", answers, |a| a.space.as_deref()),
        column("reinsert", answers, |a| a.reinsert.as_deref()),
        column("hook", answers, |a| a.hook.as_deref()),
        column("rank", answers, |a| a.rank),
        column("units", answers, |a| a.units),
        column("strength", answers, |a| a.strength),
    ];
    encode("answers.parquet", answers.len(), columns)
}

/// Returns the columns of the items that a comparison of gaps pair by pair needs.
pub(super) fn gaps(items: &[&Item]) -> PolarsResult<DataFrame> {
    let columns = vec![
        column("pair", items, |i| i.pair.as_str()),
        column("category", items, |i| i.category.as_str()),
        column("eval_language", items, |i| i.eval_language.as_str()),
        column("role", items, |i| i.role.map(Role::name)),
        column("fit_language", items, |i| i.fit_language.as_deref()),
        column("gap", items, |i| i.score_more - i.score_less),
    ];
    DataFrame::new(items.len(), columns)
}

fn column<'a, R, T>(name: &str, records: &'a [R], get: impl Fn(&'a R) -> T) -> Column
where
    Series: FromRecords<T>,
{
    let values: Vec<T> = records.iter().map(get).collect();
    Series::from_records(name, &values).into_column()
}

/// Joins the constructors of [`Series`] that differ in their marker type.
trait FromRecords<T> {
    fn from_records(name: &str, values: &[T]) -> Self;
}

macro_rules! from_records {
    ($($value:ty),*) => {$(
        impl<'a> FromRecords<$value> for Series {
            fn from_records(name: &str, values: &[$value]) -> Self {
                Series::new(name.into(), values)
            }
        }
    )*};
}

from_records!(
    &'a str,
    Option<&'a str>,
    f64,
    Option<f64>,
    u64,
    Option<u64>,
    u32,
    Option<u32>
);

fn encode(file: &'static str, height: usize, columns: Vec<Column>) -> Result<Vec<u8>, ReportError> {
    let failed = |source: PolarsError| ReportError::Parquet {
        file,
        message: source.to_string(),
    };
    let mut frame = DataFrame::new(height, columns).map_err(failed)?;
    let mut bytes = Vec::new();
    // One thread and a fixed row group, so that the bytes do not depend on the machine.
    ParquetWriter::new(&mut bytes)
        .set_parallel(false)
        .with_row_group_size(Some(1 << 16))
        .finish(&mut frame)
        .map_err(failed)?;
    Ok(bytes)
}
