//! Whether two runs found the same numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

/// What is a result of a row; everything else of it is an axis.
const NUMBERS: [&str; 8] = [
    "value", "ci_low", "ci_high", "n", "ideal", "p_value", "p_holm", "p_bh",
];

/// Rows that are listed before the rest is only counted.
const LISTED: usize = 20;

type Numbers = [Option<f64>; NUMBERS.len()];

/// Rows by their axes. Rows that share all axes are told apart by their order.
type Rows = BTreeMap<(String, usize), Numbers>;

/// What two runs have in common and where they differ.
#[derive(Debug, Default, PartialEq)]
struct Found {
    compared: usize,
    /// The largest difference, in the measure of the tolerance.
    largest: f64,
    differing: Vec<String>,
    only: [Vec<String>; 2],
}

/// Compares the rows of two run folders by their axes.
///
/// # Errors
/// Rows that differ by more than the tolerance or that one run lacks, and files that cannot be read.
pub fn compare(folders: [&Path; 2], tolerance: f64, ignored: &[String]) -> anyhow::Result<String> {
    if !(tolerance.is_finite() && tolerance >= 0.0) {
        bail!("--tolerance {tolerance}: give a number from 0, such as 1e-6");
    }
    let [a, b] = folders.map(|folder| read(folder, ignored));
    let found = differences(&a?, &b?, tolerance);
    let text = describe(&found, folders, tolerance);
    let same = found.differing.is_empty() && found.only.iter().all(Vec::is_empty);
    match same {
        true => Ok(text),
        false => bail!("{}", text.trim_end()),
    }
}

/// The rows of a run folder, or of a file of rows.
fn read(place: &Path, ignored: &[String]) -> anyhow::Result<Rows> {
    let path: PathBuf = match place.is_dir() {
        true => place.join("rows.jsonl"),
        false => place.to_owned(),
    };
    let at = || path.display().to_string();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: give the folder of a finished run", at()))?;
    let mut rows = Rows::new();
    for (line, text) in text.lines().enumerate() {
        let row: Map<String, Value> = serde_json::from_str(text)
            .with_context(|| format!("{}, line {}: not a row", at(), line + 1))?;
        let number = |name: &str| row.get(name).and_then(Value::as_f64);
        let axes = axes(&row, ignored);
        let mut again = 0;
        while rows.contains_key(&(axes.clone(), again)) {
            again += 1;
        }
        rows.insert((axes, again), NUMBERS.map(number));
    }
    if rows.is_empty() {
        bail!("{}: holds no rows", at());
    }
    Ok(rows)
}

/// The axes that a row has, in one line. One that does not apply is as good as absent, so that runs of versions
/// with other axes can be compared.
fn axes(row: &Map<String, Value>, ignored: &[String]) -> String {
    let mut out = String::new();
    let mut known: Vec<(&String, &Value)> = row.iter().collect();
    known.sort_by_key(|(name, _)| (*name != "metric", *name));
    for (name, value) in known {
        if value.is_null() || NUMBERS.contains(&name.as_str()) || ignored.contains(name) {
            continue;
        }
        let gap = if out.is_empty() { "" } else { " " };
        let _ = match value {
            Value::String(text) => write!(out, "{gap}{name}={text}"),
            other => write!(out, "{gap}{name}={other}"),
        };
    }
    out
}

fn differences(a: &Rows, b: &Rows, tolerance: f64) -> Found {
    let mut found = Found::default();
    for (key, ours) in a {
        let Some(theirs) = b.get(key) else {
            found.only[0].push(key.0.clone());
            continue;
        };
        found.compared += 1;
        let mut off = Vec::new();
        for ((name, x), y) in NUMBERS.iter().zip(ours).zip(theirs) {
            let difference = match (x, y) {
                (None, None) => 0.0,
                (Some(x), Some(y)) => (x - y).abs() / x.abs().max(1.0),
                _ => f64::INFINITY,
            };
            found.largest = found.largest.max(difference);
            if difference > tolerance {
                let word = |v: &Option<f64>| v.map_or("none".to_owned(), |v| v.to_string());
                off.push(format!("{name} {} and {}", word(x), word(y)));
            }
        }
        if !off.is_empty() {
            found
                .differing
                .push(format!("{}: {}", key.0, off.join(", ")));
        }
    }
    let missing = b.keys().filter(|key| !a.contains_key(key));
    found.only[1] = missing.map(|key| key.0.clone()).collect();
    found
}

fn describe(found: &Found, folders: [&Path; 2], tolerance: f64) -> String {
    let mut out = format!(
        "{} rows compared, {} differ by more than {tolerance:e}; the largest difference is {:.1e}\n",
        found.compared,
        found.differing.len(),
        found.largest
    );
    let mut list = |title: String, rows: &[String]| {
        if rows.is_empty() {
            return;
        }
        let _ = writeln!(out, "{title}");
        for row in rows.iter().take(LISTED) {
            let _ = writeln!(out, "  {row}");
        }
        if rows.len() > LISTED {
            let _ = writeln!(out, "  and {} more", rows.len() - LISTED);
        }
    };
    list("differing".into(), &found.differing);
    for (folder, rows) in folders.iter().zip(&found.only) {
        list(
            format!("only in {} ({})", folder.display(), rows.len()),
            rows,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two files of rows, compared.
    fn compared(a: &str, b: &str, tolerance: f64, ignored: &[&str]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        for (path, text) in paths.iter().zip([a, b]) {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("rows.jsonl"), text).unwrap();
        }
        let ignored: Vec<String> = ignored.iter().map(|s| (*s).to_owned()).collect();
        let found = compare([&paths[0], &paths[1]], tolerance, &ignored);
        found.map_err(|e| format!("{e:#}"))
    }

    const ROWS: &str = r#"{"metric":"gap","value":2.0,"n":4,"rank":1,"method":"leace","scope":null}
{"metric":"gap","value":0.5,"n":4,"method":"none"}
"#;

    #[test]
    fn rows_are_met_by_their_axes_in_any_order() {
        let swapped = r#"{"metric":"gap","value":0.5,"n":4,"method":"none","tokens":null}
{"value":2.0000001,"n":4,"rank":1,"method":"leace","metric":"gap"}
"#;
        assert!(
            compared(ROWS, ROWS, 0.0, &[])
                .unwrap()
                .contains("2 rows compared, 0 differ")
        );
        assert!(compared(ROWS, swapped, 1e-6, &[]).is_ok());
        let error = compared(ROWS, swapped, 1e-9, &[]).unwrap_err();
        let told = "metric=gap method=leace rank=1: value 2 and 2.0000001";
        assert!(error.contains(told), "{error}");
    }

    #[test]
    fn what_one_run_lacks_is_listed() {
        let other = ROWS.replace("leace", "inlp");
        let error = compared(ROWS, &other, 1.0, &[]).unwrap_err();
        for told in [
            "1 rows compared",
            "method=leace rank=1",
            "method=inlp rank=1",
        ] {
            assert!(error.contains(told), "{error}");
        }
        assert!(compared(ROWS, &other, 0.0, &["method"]).is_ok());
        let gone = ROWS.replace("\"n\":4,\"rank\"", "\"n\":null,\"rank\"");
        assert!(
            compared(ROWS, &gone, 1.0, &[])
                .unwrap_err()
                .contains("n 4 and none")
        );
        // Rows of the same axes are told apart by their order.
        let twice = format!("{ROWS}{ROWS}");
        assert!(compared(&twice, &twice, 0.0, &[]).is_ok());
        assert!(compared(&twice, ROWS, 0.0, &[]).is_err());
    }

    #[test]
    fn what_is_no_run_is_said() {
        let error = compared(ROWS, "", 0.0, &[]).unwrap_err();
        assert!(error.contains("holds no rows"), "{error}");
        let error = compared(ROWS, "x\n", 0.0, &[]).unwrap_err();
        assert!(error.contains("line 1: not a row"), "{error}");
        let error = compared(ROWS, ROWS, f64::NAN, &[]).unwrap_err();
        assert!(error.contains("--tolerance"), "{error}");
        let nowhere = Path::new("nowhere");
        let error = compare([nowhere, nowhere], 0.0, &[]).unwrap_err();
        assert!(format!("{error:#}").contains("folder of a finished run"));
    }
}
