//! `cargo xtask parity`: every architecture against transformers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use interlingua_models::architectures::Modules;
use interlingua_models::parity::{Agreement, TOLERANCE_BF16, TOLERANCE_F32, compare};
use interlingua_models::{Model, Residency};

use crate::flags::Parity;
use crate::page;
use crate::terminal::{print, tell};

/// The columns of the table: hook points in the order of the forward pass.
const COLUMNS: [&str; 7] = [
    "embedding",
    "block.{L}.input",
    "block.{L}.attention",
    "block.{L}.mlp",
    "block.{L}.output",
    "final_norm",
    "logits",
];

/// Agreement of all cases of one architecture and dtype.
#[derive(Default)]
struct Line {
    cases: usize,
    worst: BTreeMap<String, f32>,
    argmax: (usize, usize),
    /// Largest distance of transformers' own half-precision states from its f32 ones.
    rounding: f32,
}

/// Carries out the command.
///
/// # Errors
/// Anything that does not agree, and whatever keeps it from being tried.
pub fn parity(flags: &Parity) -> anyhow::Result<()> {
    let workspace = workspace();
    let scratch = tempfile::tempdir().context("no folder for checkpoints")?;
    let folder = match &flags.python {
        None => workspace.join("tests/fixtures/models/architectures"),
        Some(python) => {
            build(python, &workspace, flags, scratch.path())?;
            scratch.path().to_owned()
        }
    };
    let device = flags.device.open()?;
    let mut lines: BTreeMap<(String, String), Line> = BTreeMap::new();
    let mut modules: BTreeMap<String, Modules> = BTreeMap::new();
    let mut failed = Vec::new();
    let cases = cases(&folder, flags.only.as_deref())?;
    for name in &cases {
        let model = Model::open(&folder.join(name), &device, Residency::Stream)?;
        let agreement = compare(&model, &folder.join(format!("{name}.golden.safetensors")))?;
        if !agreement.holds() {
            failed.push(format!("{name}: {}", agreement_in_words(&agreement)));
        }
        let architecture = &model.geometry.architecture;
        modules.insert(architecture.clone(), model.architecture().modules());
        let key = (architecture.clone(), agreement.dtype.clone());
        let line = lines.entry(key).or_default();
        line.cases += 1;
        line.argmax.0 += agreement.argmax.0;
        line.argmax.1 += agreement.argmax.1;
        line.rounding = line
            .rounding
            .max(agreement.rounding.values().copied().fold(0.0, f32::max));
        for (hook, worst) in agreement.worst {
            let so_far = line.worst.entry(hook).or_default();
            *so_far = so_far.max(worst);
        }
    }
    let table = table(&lines);
    print(&format!(
        "Largest differences to transformers, relative to the largest value of each tensor; {} checkpoints, {}.\n\n{table}",
        cases.len(),
        interlingua_backend::device::describe(&device)
    ))?;
    if !failed.is_empty() {
        bail!(
            "{} of {} checkpoints do not agree (f32 within {TOLERANCE_F32:e} and no other most likely token, bf16 within {TOLERANCE_BF16:e}):\n  {}",
            failed.len(),
            cases.len(),
            failed.join("\n  ")
        );
    }
    if let Some(path) = &flags.page {
        page::replace(path, "parity", &table)?;
        page::replace(path, "modules", &modules_table(&modules))?;
    }
    Ok(())
}

/// Cargo names the folder of this package when it runs the program.
fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_owned)
}

fn build(python: &Path, workspace: &Path, flags: &Parity, out: &Path) -> anyhow::Result<()> {
    tell("building random checkpoints with transformers …");
    let script = workspace.join("tests/generators/architectures.py");
    let mut command = Command::new(python);
    command.arg(&script).arg("--out").arg(out);
    command.args(["--seed", &flags.seed.to_string()]);
    let output = command.output().with_context(|| {
        format!(
            "cannot start `{}`; give a Python 3 with torch and transformers",
            python.display()
        )
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.trim().lines().last().unwrap_or_default();
        bail!(
            "{} failed: {last}\nits first lines say which versions it needs",
            script.display()
        );
    }
    Ok(())
}

fn cases(folder: &Path, only: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(case) = name.strip_suffix(".golden.safetensors") {
            names.push(case.to_owned());
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("{}: no checkpoints with golden values", folder.display());
    }
    if let Some(only) = only {
        let all = names.join(", ");
        names.retain(|n| n.contains(only));
        if names.is_empty() {
            bail!("no case whose name contains `{only}`; there are: {all}");
        }
    }
    Ok(names)
}

fn table(lines: &BTreeMap<(String, String), Line>) -> String {
    let mut out = String::from("| architecture | computed in | checkpoints |");
    for column in COLUMNS {
        let _ = write!(out, " {} |", column.replace("block.{L}.", ""));
    }
    out.push_str(" other argmax | transformers' own rounding |\n| --- | --- | ---: |");
    out.push_str(&" ---: |".repeat(COLUMNS.len() + 2));
    out.push('\n');
    for ((architecture, dtype), line) in lines {
        let _ = write!(out, "| {architecture} | {dtype} | {} |", line.cases);
        for column in COLUMNS {
            let _ = match line.worst.get(column) {
                Some(worst) => write!(out, " {worst:.1e} |"),
                None => write!(out, " – |"),
            };
        }
        let _ = match line.worst.contains_key("logits") {
            true => write!(out, " {} of {} |", line.argmax.0, line.argmax.1),
            false => write!(out, " – |"),
        };
        let _ = match dtype.as_str() {
            "f32" => writeln!(out, " – |"),
            _ => writeln!(out, " {:.1e} |", line.rounding),
        };
    }
    out
}

/// Where transformers has the states of every architecture.
fn modules_table(modules: &BTreeMap<String, Modules>) -> String {
    let mut out = String::from("| architecture |");
    let hooks = [
        "embedding",
        "block.L.input, .output",
        "block.L.attention",
        "block.L.mlp",
        "final_norm",
    ];
    for hook in hooks {
        let _ = write!(out, " `{hook}` |");
    }
    let _ = writeln!(out, "\n|{}", " --- |".repeat(hooks.len() + 1));
    for (architecture, modules) in modules {
        let rows: BTreeMap<_, _> = modules.rows().into_iter().collect();
        let place = |hook: &str| {
            rows[hook]
                .replace(":input", "")
                .replace(":output", "")
                .replace("{L}", "L")
        };
        let last = match modules.final_norm {
            Some(_) => format!("`{}`", place("final_norm")),
            None => "output of the last block".to_owned(),
        };
        let _ = writeln!(
            out,
            "| {architecture} | `{}` | `{}` | `{}` | `{}` | {last} |",
            place("embedding"),
            place("block.{L}.input"),
            place("block.{L}.attention"),
            place("block.{L}.mlp"),
        );
    }
    out
}

fn agreement_in_words(agreement: &Agreement) -> String {
    let (hook, worst) = agreement
        .worst
        .iter()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .map_or(("nothing", 0.0), |(h, w)| (h.as_str(), *w));
    format!(
        "{worst:.1e} at {hook}, {} of {} most likely tokens differ ({})",
        agreement.argmax.0, agreement.argmax.1, agreement.dtype
    )
}
