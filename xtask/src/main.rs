//! The command line of Interlingua: flags, progress, exit codes.

mod allocator;
mod bench;
mod compare;
mod data;
mod docs;
mod edits;
mod flags;
mod memory;
mod model;
mod output;
mod page;
mod parity;
mod results;
mod scaffold;
mod signals;
mod terminal;

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use flags::{Cli, Command, DataPlaces, Reproduce};
use interlingua_experiment::dry_run;
use interlingua_experiment::plan::{Options, Plan};
use interlingua_experiment::report::terminal_summary;
use interlingua_experiment::run::run;
use interlingua_experiment::spec::Spec;
use terminal::{print, tell};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Without a handler the signal still ends the program, only without words.
    let _ = signals::watch(&command);
    match carry_out(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {}", message(&error)));
            ExitCode::from(1)
        }
    }
}

fn carry_out(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Reproduce(flags) => reproduce(flags),
        Command::Data(command) => data::data(command),
        Command::Model(command) => model::model(command),
        Command::Results {
            folders,
            output,
            summary,
            seeds,
            force,
        } => {
            if *seeds {
                return print(&results::seeds(folders)?);
            }
            if !folders.is_empty() || summary.is_none() {
                let reads: Vec<&Path> = folders.iter().map(|f| f.as_path()).collect();
                output::check_new(output, &reads, *force)?;
                results::write(folders, output)?;
            }
            match summary {
                Some(page) => results::summary(output, page),
                None => Ok(()),
            }
        }
        Command::Memory {
            model,
            sentences,
            once,
        } => print(&if *once {
            memory::row(model, *sentences)?
        } else {
            memory::table(model, *sentences)?
        }),
        Command::Compare {
            first,
            second,
            tolerance,
            ignore,
        } => print(&compare::compare([first, second], *tolerance, ignore)?),
        Command::Parity(flags) => parity::parity(flags),
        Command::Bench(flags) => bench::bench(flags),
        Command::Methods => print(&terminal::methods()),
        Command::Metrics => print(&terminal::metrics()),
        Command::Hooks => print(&terminal::hooks()),
        Command::Docs { check } => docs::docs(*check),
        Command::NewDebiaser(flags) => scaffold::debiaser(flags),
        Command::NewMetric(flags) => scaffold::metric(flags),
    }
}

/// What to type to get the same run, without the folders of one machine.
fn command_line(flags: &Reproduce) -> String {
    let mut line = format!("cargo xtask reproduce {}", flags.experiment.display());
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

fn reproduce(flags: &Reproduce) -> anyhow::Result<()> {
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
            print(&found)?;
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

/// Fails when an experiment is not there.
pub(crate) fn check_experiment(path: &Path) -> anyhow::Result<()> {
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

/// The whole chain of causes on one line, each said once, and what helps against a full disk.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Most errors name their cause themselves.
        if text.ends_with(&cause) || text.contains(&format!(": {cause}")) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    let full = error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| {
            matches!(
                e.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
            )
        })
    });
    if full {
        text.push_str(
            "; free some space or choose a folder on another disk (--out, --cache, HF_HUB_CACHE), then run the same command again: what was finished is kept",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_and_a_full_disk_has_a_remedy() {
        let io = |kind: ErrorKind| std::io::Error::new(kind, "it broke");
        for (error, expect) in [
            (
                anyhow::Error::new(io(ErrorKind::Other)).context("f: it broke"),
                "f: it broke",
            ),
            (
                anyhow::Error::new(io(ErrorKind::Other)).context("while reading f"),
                "while reading f: it broke",
            ),
            (
                anyhow::Error::new(io(ErrorKind::StorageFull)).context("f"),
                "f: it broke; free some space",
            ),
        ] {
            let text = message(&error);
            assert!(text.starts_with(expect), "{text}");
        }
    }
}
