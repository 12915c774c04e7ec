//! The subcommand `reproduce`: runs an experiment from its data to its report.

use std::path::Path;

use anyhow::Context;
use interlingua_experiment::dry_run;
use interlingua_experiment::plan::{Options, Plan};
use interlingua_experiment::report::terminal_summary;
use interlingua_experiment::run::run;
use interlingua_experiment::spec::Spec;

use crate::flags::{DataPlaces, Reproduce};
use crate::terminal::{self, print};
use crate::{as_typed, data, program};

/// What to type to get the same run, without the folders of one machine.
fn command_line(flags: &Reproduce) -> String {
    let mut line = format!("{} reproduce {}", program(), flags.experiment.display());
    if flags.quick {
        line.push_str(" --quick");
    }
    if let Some(seed) = flags.seed {
        line.push_str(&format!(" --seed {seed}"));
    }
    for (flag, given, default) in [
        ("--data-dir", &flags.data_dir, "data"),
        ("--model-dir", &flags.model_dir, "models"),
    ] {
        if given.as_os_str() != default {
            line.push_str(&format!(
                " {flag} {}",
                given
                    .file_name()
                    .map_or("DIR".into(), |f| f.to_string_lossy().to_uppercase())
            ));
        }
    }
    line
}

/// Runs an experiment, or reports what it would need.
///
/// # Errors
/// Everything that stops it.
pub fn reproduce(flags: &Reproduce) -> anyhow::Result<()> {
    check_experiment(&flags.experiment)?;
    let specs = Spec::read(&flags.experiment, flags.quick)?;
    let options = Options {
        data_dir: flags.data_dir.clone(),
        model_dir: flags.model_dir.clone(),
        out: flags.out.clone(),
        device: flags.device,
        residency: flags.memory.residency,
        memory: flags.memory.memory,
        precision: flags.memory.precision,
        // Without manifests, what is missing is still told; only not what could be fetched.
        manifests: data::manifests(&DataPlaces {
            cache: flags.data_dir.clone(),
            manifests: None,
        })
        .unwrap_or_default(),
        resume: flags.resume,
        command: command_line(flags),
    };
    let place = |name: &str, what: &str| {
        format!("{}: experiment `{name}` {what}", flags.experiment.display())
    };
    for mut spec in specs {
        if let Some(seed) = flags.seed {
            spec.seed = seed;
        }
        let name = spec.name.clone();
        if flags.dry_run {
            let mut found = String::new();
            let checked = dry_run(&spec, &options, &mut found);
            print(&as_typed(&found))?;
            checked.with_context(|| place(&name, "cannot run"))?;
            continue;
        }
        let plan = Plan::new(spec, options.clone()).with_context(|| place(&name, "cannot run"))?;
        let mut progress = terminal::Progress::new();
        let start = std::time::Instant::now();
        let outcome = run(&plan, &mut |event| progress.show(event));
        // The bar of a stage that failed must not stay on the error.
        progress.finish();
        let outcome = outcome.with_context(|| place(&name, "stopped"))?;
        print(&terminal_summary(&outcome.info, &outcome.rows))?;
        print(&format!(
            "\n{:.0} s · {} rows · {}\n",
            start.elapsed().as_secs_f64(),
            outcome.rows.len(),
            outcome.folder.join("report.html").display()
        ))?;
    }
    Ok(())
}

/// Checks that an experiment file exists.
///
/// # Errors
/// A file that does not exist; the error lists the experiments that do.
pub fn check_experiment(path: &Path) -> anyhow::Result<()> {
    if !path.is_file() {
        anyhow::bail!(no_experiment(path));
    }
    Ok(())
}

/// That an experiment is not there, and which are.
fn no_experiment(path: &Path) -> String {
    let folder = path
        .parent()
        .filter(|f| f.is_dir() && !f.as_os_str().is_empty())
        .unwrap_or(Path::new("experiments"));
    let mut known: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .map(|p| p.display().to_string())
        .collect();
    known.sort();
    if known.is_empty() {
        return format!(
            "{}: no such experiment file; give the path of one, or run in the workspace, where experiments/ is",
            path.display()
        );
    }
    format!(
        "{}: no such experiment file; there are: {}",
        path.display(),
        known.join(", ")
    )
}
