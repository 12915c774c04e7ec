//! Writes rows as JSON lines and as CSV.

use super::text::csv_field;
use super::{PairText, ReportError};
use crate::row::Row;

/// Encodes one JSON object per line, in the order given. A value that is not finite is written as `null`, because
/// JSON cannot represent it.
///
/// # Errors
/// [`ReportError::Json`] with the row that could not be encoded.
pub fn rows_jsonl(rows: &[Row]) -> Result<String, ReportError> {
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let line = serde_json::to_string(row)
            .map_err(|source| ReportError::Json { row: index, source })?;
        out.push_str(&line);
        out.push('\n');
    }
    Ok(out)
}

/// The header of `rows.csv`, which has the names of the fields of [`Row`].
pub(super) const COLUMNS: [&str; 31] = [
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "ideal",
    "p_value",
    "p_holm",
    "p_bh",
    "benchmark",
    "scorer",
    "category",
    "eval_language",
    "role",
    "method",
    "params",
    "fit_language",
    "space",
    "reinsert",
    "hook",
    "special_tokens",
    "rank",
    "units",
    "strength",
    "planted",
    "versus",
    "scope",
    "kind",
    "seed",
    "model",
    "experiment",
];

/// Encodes the rows as CSV with a header. Numbers have enough digits to read the same number back; an axis that does
/// not apply is an empty field.
pub fn rows_csv(rows: &[Row]) -> String {
    let mut out = COLUMNS.join(",");
    out.push('\n');
    for row in rows {
        out.push_str(&fields(row).join(","));
        out.push('\n');
    }
    out
}

/// Encodes the sentences of all pairs as CSV with a header.
pub fn pairs_csv(pairs: &[PairText]) -> String {
    let mut out = String::from("pair,category,language,more,less\n");
    for pair in pairs {
        let fields = [
            &pair.id,
            &pair.category,
            &pair.language,
            &pair.more,
            &pair.less,
        ];
        out.push_str(&fields.map(|field| csv_field(field)).join(","));
        out.push('\n');
    }
    out
}

fn fields(row: &Row) -> [String; 31] {
    let text = |value: &Option<String>| value.as_deref().map(csv_field).unwrap_or_default();
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    [
        csv_field(&row.metric),
        row.value.to_string(),
        number(row.ci_low),
        number(row.ci_high),
        row.n.to_string(),
        number(row.ideal),
        number(row.p_value),
        number(row.p_holm),
        number(row.p_bh),
        text(&row.benchmark),
        text(&row.scorer),
        text(&row.category),
        text(&row.eval_language),
        row.role
            .map(|role| role.name().to_owned())
            .unwrap_or_default(),
        text(&row.method),
        text(&row.params),
        text(&row.fit_language),
        text(&row.space),
        text(&row.reinsert),
        text(&row.hook),
        text(&row.special_tokens),
        row.rank.map(|v| v.to_string()).unwrap_or_default(),
        row.units.map(|v| v.to_string()).unwrap_or_default(),
        number(row.strength),
        number(row.planted),
        text(&row.versus),
        text(&row.scope),
        text(&row.kind),
        row.seed.to_string(),
        csv_field(&row.model),
        csv_field(&row.experiment),
    ]
}
