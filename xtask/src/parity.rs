//! `cargo xtask parity`: models, methods and metrics against the code everyone cites.

mod golden;
mod models;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::flags::{Parity, Subject};
use interlingua_cli::terminal::tell;

/// Carries out the command.
///
/// # Errors
/// Anything that does not agree, and whatever keeps it from being tried. What else was asked for
/// is compared nonetheless.
pub fn parity(flags: &Parity) -> anyhow::Result<()> {
    let subjects = match (&flags.only, flags.what.as_slice()) {
        (Some(_), []) => vec![Subject::Models],
        (Some(_), [Subject::Models]) => vec![Subject::Models],
        (Some(_), _) => bail!("--only picks checkpoints; it goes with --what models alone"),
        (None, []) => Subject::ALL.to_vec(),
        (None, some) => Subject::ALL
            .into_iter()
            .filter(|s| some.contains(s))
            .collect(),
    };
    let mut failed = Vec::new();
    for subject in subjects {
        let result = match subject {
            Subject::Models => models::parity(flags),
            other => golden::parity(other, flags),
        };
        if let Err(error) = result {
            failed.push(format!("{}: {error:#}", subject.name()));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

/// Cargo names the folder of this package when it runs the program.
pub(crate) fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_owned)
}

/// Runs a script of `tests/generators`, which writes fresh values into `out`.
fn generate(
    python: &Path,
    script: &str,
    arguments: &[PathBuf],
    seed: u64,
    out: &Path,
) -> anyhow::Result<()> {
    tell(&format!("{script}, seed {seed} …"));
    let path = workspace().join("tests/generators").join(script);
    let mut command = Command::new(python);
    command.arg(&path).args(arguments).arg("--out").arg(out);
    command.args(["--seed", &seed.to_string()]);
    let output = command.output().with_context(|| {
        format!(
            "cannot start `{}`; give a Python 3 with the packages that tests/generators/{script} names",
            python.display()
        )
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.trim().lines().last().unwrap_or_default();
        bail!(
            "tests/generators/{script} --seed {seed} failed: {last}\nits first lines say which versions it needs"
        );
    }
    Ok(())
}
