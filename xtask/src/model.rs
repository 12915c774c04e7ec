//! `cargo xtask model`: making language models.

use anyhow::Context;
use interlingua_experiment::pretrain::{Options, PretrainSpec, dry_run, pretrain, table};

use crate::data::manifests;
use crate::flags::{DataPlaces, Model, Pretrain};
use crate::terminal::{Progress, print};

/// Carries out a subcommand of `model`.
///
/// # Errors
/// Whatever stops it.
pub fn model(command: &Model) -> anyhow::Result<()> {
    match command {
        Model::Pretrain(flags) => train(flags),
    }
}

fn train(flags: &Pretrain) -> anyhow::Result<()> {
    crate::check_experiment(&flags.experiment)?;
    let spec = PretrainSpec::read(&flags.experiment, flags.quick)
        .with_context(|| flags.experiment.display().to_string())?;
    let options = Options {
        data_dir: flags.data_dir.clone(),
        out: flags.out.clone(),
        device: flags.device,
        resume: flags.resume,
        manifests: manifests(&DataPlaces {
            cache: flags.data_dir.clone(),
            manifests: None,
        })?,
        command: command_line(flags),
    };
    let place = |what: &str| format!("{}: {what}", flags.experiment.display());
    if flags.dry_run {
        return print(&dry_run(&spec, &options).with_context(|| place("cannot run"))?);
    }
    let mut progress = Progress::new();
    let outcome = pretrain(&spec, &options, &mut |event| progress.show(event));
    // The bar of a stage that failed must not stay on the error.
    progress.finish();
    let outcome = outcome.with_context(|| place("stopped"))?;
    let record = &outcome.record;
    let how = if outcome.cached {
        "was there already"
    } else {
        "made"
    };
    print(&format!(
        "{}\n{:.2} million parameters · {} steps · {:.2} million tokens in {:.0} s · {how}: {}\n",
        table(record),
        record.parameters as f64 / 1e6,
        record.steps,
        record.tokens as f64 / 1e6,
        record.seconds,
        outcome.folder.display()
    ))
}

/// What to type to get the same model, without the folders of one machine.
fn command_line(flags: &Pretrain) -> String {
    let mut line = format!(
        "cargo xtask model pretrain {}",
        flags
            .experiment
            .file_name()
            .map_or("RECIPE".into(), |f| f.to_string_lossy())
    );
    if flags.quick {
        line.push_str(" --quick");
    }
    line
}
