//! `cargo xtask results`: what several runs found, half a screen each, as one page of the documentation.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use interlingua_experiment::report;
use interlingua_experiment::row::Row;
use interlingua_tune::{Outcome, page as tune_page};

use crate::page;

/// Joins the `headline.md` of run folders, each under the command that made it, and copies their pictures into `plots`
/// beside the page.
///
/// # Errors
/// A folder without a report, or an output that cannot be written.
pub fn write(folders: &[PathBuf], out: &Path) -> anyhow::Result<()> {
    if folders.is_empty() {
        bail!("name at least one run folder, such as runs/testbed-0123abcd");
    }
    let plots = out.parent().unwrap_or(Path::new("")).join("plots");
    let mut page = String::from(
        "# Results\n\nMade by `cargo xtask results` from the run folders of the commands below; no number is typed by hand. \
         Each run folder has the full tables in `tables/` and everything on one page in `report.html` \
         ([reading a report](report.md)).\n",
    );
    for folder in folders {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| {
                format!(
                    "{} is not a finished run folder: {name} is missing",
                    folder.display()
                )
            })
        };
        let manifest: serde_json::Value = serde_json::from_str(&read("manifest.json")?)?;
        let command = manifest["command"]
            .as_str()
            .unwrap_or("cargo xtask reproduce");
        let experiment = manifest["experiment"].as_str().unwrap_or("experiment");
        // One level down, because the page has a heading of its own.
        let mut headline = format!("#{}", read("headline.md")?);
        let picture = folder.join("plots/forest.svg");
        if picture.is_file() {
            std::fs::create_dir_all(&plots).with_context(|| plots.display().to_string())?;
            let copy = plots.join(format!("{experiment}.svg"));
            std::fs::copy(&picture, &copy)
                .with_context(|| format!("cannot write {}", copy.display()))?;
            headline = headline.replace("(plots/forest.svg)", &format!("(plots/{experiment}.svg)"));
        }
        let (heading, rest) = headline.split_once('\n').unwrap_or((&headline, ""));
        let _ = write!(page, "\n{heading}\n\n`{command}`\n{rest}");
    }
    interlingua_files::write(out, page.as_bytes())
        .with_context(|| format!("cannot write {}", out.display()))
}

/// Writes the first table of the page of results into another page, between its marks `summary`.
///
/// # Errors
/// Results without a table of methods, a page without marks.
pub fn summary(results: &Path, path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(results).with_context(|| results.display().to_string())?;
    let table =
        heart(&text).with_context(|| format!("{}: no table of methods", results.display()))?;
    page::replace(path, "summary", &table)
}

/// Writes what `tune` or `debias` left in folders into a page: of one folder the table of all languages between the marks
/// `tuned` and that of marked pairs between `tuned-marked`, of several a line each between `tuned-lines`.
///
/// # Errors
/// No folder, one without `tune.json`, a page without marks.
pub fn tuned(folders: &[PathBuf], path: &Path) -> anyhow::Result<()> {
    let read = |folder: &PathBuf| -> anyhow::Result<Outcome> {
        let file = folder.join("tune.json");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        serde_json::from_str(&text).with_context(|| file.display().to_string())
    };
    match folders {
        [] => bail!("name at least one folder that `tune` or `debias` made"),
        [folder] => {
            let outcome = read(folder)?;
            page::replace(path, "tuned", &tune_page::table(&outcome))?;
            page::replace(path, "tuned-marked", &tune_page::marked(&outcome))
        }
        several => {
            let mut text = String::from(
                "| search | worst gap before | after | difference | against random edits | halved in | acts |\n\
                 |---|---|---|---|---|---|---|\n",
            );
            for folder in several {
                let outcome = read(folder)?;
                let name = folder.file_name().unwrap_or_default().to_string_lossy();
                let gaps = &outcome.worst;
                let halved = outcome
                    .confirmed
                    .iter()
                    .filter(|c| c.gaps.edited.value <= 0.5 * c.gaps.unedited.value);
                let _ = writeln!(
                    text,
                    "| {name} | {} | {} | {} | {} | {} of {} | {} |",
                    gaps.unedited,
                    gaps.edited,
                    gaps.difference,
                    gaps.against_random,
                    halved.count(),
                    outcome.confirmed.len(),
                    outcome.chosen.recipe.place
                );
            }
            page::replace(path, "tuned-lines", &text)
        }
    }
}

/// The spread of several runs of one experiment under different seeds, as a table.
///
/// # Errors
/// Fewer than two folders, a folder without rows, runs of different experiments or with equal seeds.
pub fn seeds(folders: &[PathBuf]) -> anyhow::Result<String> {
    let mut runs: Vec<Vec<Row>> = Vec::new();
    let mut known: Vec<(String, u64)> = Vec::new();
    for folder in folders {
        let path = folder.join("rows.jsonl");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{} is not a finished run folder: rows.jsonl is missing",
                folder.display()
            )
        })?;
        let rows = text
            .lines()
            .enumerate()
            .map(|(line, text)| {
                Row::from_json(text)
                    .with_context(|| format!("{}, line {}", path.display(), line + 1))
            })
            .collect::<anyhow::Result<Vec<Row>>>()?;
        let first = rows
            .first()
            .with_context(|| format!("{} holds no rows", path.display()))?;
        let id = (first.experiment.clone(), first.seed);
        if let Some((name, seed)) = known.iter().find(|k| k.0 != id.0 || k.1 == id.1) {
            bail!(
                "{}: experiment `{}` with seed {} beside `{name}` with seed {seed}; give runs of one experiment under \
                 different seeds",
                folder.display(),
                id.0,
                id.1
            );
        }
        known.push(id);
        runs.push(rows);
    }
    report::seeds(&runs)
        .context("name at least two run folders of one experiment under different seeds")
}

/// The first table of methods.
fn heart(results: &str) -> Option<String> {
    let lines = results.lines().skip_while(|l| !l.starts_with("| Method"));
    let table: String = lines
        .take_while(|l| l.starts_with('|'))
        .flat_map(|l| [l, "\n"])
        .collect();
    (!table.is_empty()).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_heart_of_the_results() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let table = heart(&read("docs/results.md")).unwrap();
        assert!(
            read("README.md").contains(&format!(
                "<!-- begin summary -->\n{table}<!-- end summary -->"
            )),
            "run `cargo xtask results --summary README.md`"
        );
    }

    #[test]
    fn results_are_headlines_with_their_pictures() {
        let temporary = tempfile::tempdir().unwrap();
        let run = temporary.path().join("run");
        std::fs::create_dir_all(run.join("plots")).unwrap();
        let write_file = |name: &str, text: &str| std::fs::write(run.join(name), text).unwrap();
        write_file(
            "manifest.json",
            r#"{"command": "cargo xtask reproduce a.toml", "experiment": "a"}"#,
        );
        write_file(
            "headline.md",
            "# Title\n\n- Found.\n\n![x](plots/forest.svg)\n\n| Method | n |\n| --- | --- |\n| LEACE | 1 |\n",
        );
        write_file("plots/forest.svg", "<svg/>");
        let out = temporary.path().join("results.md");
        write(std::slice::from_ref(&run), &out).unwrap();
        let page = std::fs::read_to_string(&out).unwrap();
        let place = |words: &str| {
            page.find(words)
                .unwrap_or_else(|| panic!("no {words:?} in {page}"))
        };
        assert!(place("## Title") < place("`cargo xtask reproduce a.toml`"));
        assert!(place("- Found.") < place("![x](plots/a.svg)"));
        assert_eq!(
            std::fs::read_to_string(temporary.path().join("plots/a.svg")).unwrap(),
            "<svg/>"
        );
        assert_eq!(
            heart(&page).unwrap(),
            "| Method | n |\n| --- | --- |\n| LEACE | 1 |\n"
        );
        std::fs::remove_file(run.join("headline.md")).unwrap();
        assert!(
            write(&[run], &out)
                .unwrap_err()
                .to_string()
                .contains("headline.md is missing")
        );
    }
}
