//! The command line of Interlingua: flags, progress, exit codes.

mod flags;
mod memory;
mod results;
mod terminal;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use flags::{Cli, Command, Reproduce};
use interlingua_experiment::plan::{Options, Plan, dry_run};
use interlingua_experiment::report::terminal_summary;
use interlingua_experiment::run::run;
use interlingua_experiment::spec::Spec;

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn carry_out(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Reproduce(flags) => reproduce(&flags),
        Command::Results { folders, output } => results::write(&folders, &output),
        Command::Memory {
            model,
            sentences,
            once,
        } => {
            let text = if once {
                memory::row(&model, sentences)?
            } else {
                memory::table(&model, sentences)?
            };
            print!("{text}");
            Ok(())
        }
        Command::Methods => {
            print!("{}", terminal::methods());
            Ok(())
        }
        Command::Metrics => {
            print!("{}", terminal::metrics());
            Ok(())
        }
        Command::Hooks => {
            print!("{}", terminal::hooks());
            Ok(())
        }
    }
}

/// What to type to get the same run, without the folders of one machine.
fn command_line(flags: &Reproduce) -> String {
    let mut line = format!("cargo xtask reproduce {}", flags.experiment.display());
    if flags.quick {
        line.push_str(" --quick");
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
    let specs = Spec::read(&flags.experiment, flags.quick)
        .with_context(|| format!("cannot read the experiment {}", flags.experiment.display()))?;
    let options = Options {
        data_dir: flags.data_dir.clone(),
        model_dir: flags.model_dir.clone(),
        out: flags.out.clone(),
        device: flags.device.parse()?,
        resume: flags.resume,
        command: command_line(flags),
    };
    for spec in specs {
        if flags.dry_run {
            print!("{}", dry_run(&spec, &options)?);
            continue;
        }
        let name = spec.name.clone();
        let plan = Plan::new(spec, options.clone())
            .with_context(|| format!("experiment `{name}` cannot run"))?;
        let mut progress = terminal::Progress::new();
        let start = std::time::Instant::now();
        let outcome = run(&plan, &mut |event| progress.show(event))
            .with_context(|| format!("experiment `{name}` stopped"))?;
        progress.finish();
        print!("{}", terminal_summary(&outcome.info, &outcome.rows));
        println!(
            "\n{:.0} s · {} rows · {}",
            start.elapsed().as_secs_f64(),
            outcome.rows.len(),
            outcome.folder.join("report.html").display()
        );
    }
    Ok(())
}
