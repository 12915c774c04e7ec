//! The subcommand `measure`: prints a table of bias and utility.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use interlingua_experiment::alone::measure::{Request, measure as run};
use interlingua_experiment::alone::own;
use interlingua_experiment::alone::table::{About, markdown, page};
use interlingua_experiment::progress::Event;
use interlingua_models::input;
use serde_json::json;

use crate::flags::MeasureFlags;
use crate::terminal::{Progress, print, tell};
use crate::{edits, model};

/// Measures a model and shows the table.
///
/// # Errors
/// A model, an edit or pairs that cannot be read, or languages that a file does not have.
pub fn measure(flags: &MeasureFlags) -> anyhow::Result<()> {
    let tasks = tasks(flags)?;
    if let Some(out) = flags
        .out
        .as_ref()
        .filter(|out| out.exists() && !out.is_dir())
    {
        bail!(
            "{}: is no folder; choose another name for --out",
            out.display()
        );
    }
    let mut progress = Progress::new();
    let model = model::open(&flags.model, &mut progress)?;
    let steps = edits::steps(flags.edit.as_deref(), &model)?;
    let digest = match &flags.edit {
        Some(path) => blake3::hash(&input::read(path, edits::MAX_FILE)?)
            .to_hex()
            .to_string(),
        None => String::new(),
    };
    let request = Request {
        tasks,
        neutral: own("datasets/neutral.tsv")?,
        languages: flags.languages.clone(),
        categories: flags.categories.clone(),
        limit: flags.limit,
        scorer: flags.scorer.clone(),
        seed: flags.seed,
        cache: flags.out.as_ref().map(|out| out.join("cache")),
    };
    let bar = std::cell::RefCell::new(&mut progress);
    let rows = run(
        &model,
        flags.edit.as_ref().map(|_| (&steps, digest.as_str())),
        &request,
        &mut |name, cached| {
            bar.borrow_mut().show(Event::Stage { name, cached });
            if cached {
                bar.borrow_mut().show(Event::Done { seconds: 0.0 });
            }
        },
        &mut |done, total| {
            bar.borrow_mut().show(Event::Progress {
                done,
                total,
                note: String::new(),
            })
        },
    );
    progress.finish();
    let rows = rows?;
    let mut notes: Vec<String> = model.caveat().into_iter().collect();
    if flags.tasks.is_empty() {
        notes.push(
            "Occupations: gaps are log-probability ratios in nats, above 0 towards the stereotype. The sentences were written for this project; no survey and no speaker panel stands behind them.".into(),
        );
    }
    let name = |path: &Path| {
        path.file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    };
    let about = About {
        model: flags.model.name.clone(),
        edit: flags.edit.as_deref().map(name),
        notes,
    };
    let json = format!(
        "{:#}\n",
        json!({"model": about.model, "weights": model.digest()?.to_hex().to_string(), "edit": about.edit,
            "edit_digest": digest, "notes": about.notes, "rows": rows})
    );
    if let Some(out) = &flags.out {
        std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        let files = [
            ("measure.json", json.clone()),
            ("measure.md", markdown(&rows, &about)),
            ("measure.html", page(&rows, &about)),
        ];
        for (name, text) in files {
            let path = out.join(name);
            interlingua_files::write(&path, text.as_bytes())
                .with_context(|| path.display().to_string())?;
        }
        tell(&format!("{}", out.join("measure.html").display()));
    }
    print(&if flags.json {
        json
    } else {
        markdown(&rows, &about)
    })
}

/// Names and files of what bias is measured on.
fn tasks(flags: &MeasureFlags) -> anyhow::Result<Vec<(String, PathBuf)>> {
    if flags.tasks.is_empty() {
        return Ok(vec![(
            "occupations".into(),
            own("datasets/templates/occupations.toml")?,
        )]);
    }
    let task = |file: &PathBuf| {
        let name = file
            .file_stem()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        (name, file.clone())
    };
    Ok(flags.tasks.iter().map(task).collect())
}
