//! Every architecture against transformers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use interlingua_models::architectures::Modules;
use interlingua_models::parity::{Agreement, TOLERANCE_BF16, TOLERANCE_F32, compare};
use interlingua_models::{Model, Residency};

use super::{generate, workspace};
use crate::flags::Parity;
use crate::page;
use interlingua_cli::terminal::print;

/// The columns of the table: hook points in the order of the forward pass.
const COLUMNS: [&str; 16] = [
    "embedding",
    "block.{L}.input",
    "block.{L}.queries",
    "block.{L}.keys",
    "block.{L}.values",
    "block.{L}.heads",
    "block.{L}.projected",
    "block.{L}.attention",
    "block.{L}.gate",
    "block.{L}.up",
    "block.{L}.units",
    "block.{L}.down",
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

/// Compares the committed checkpoints, or fresh ones of every seed.
///
/// # Errors
/// Checkpoints that do not agree, and whatever keeps one from being tried.
pub fn parity(flags: &Parity) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("no folder for checkpoints")?;
    let device = flags.device.open()?;
    let mut lines: BTreeMap<(String, String), Line> = BTreeMap::new();
    let mut modules: BTreeMap<String, Modules> = BTreeMap::new();
    let mut failed = Vec::new();
    let mut checkpoints = 0;
    for (folder, which) in folders(flags, scratch.path())? {
        for name in cases(&folder, flags.only.as_deref())? {
            let model = Model::open(&folder.join(&name), &device, Residency::Stream)?;
            let agreement = compare(&model, &folder.join(format!("{name}.golden.safetensors")))?;
            if !agreement.holds() {
                failed.push(format!("{name}{which}: {}", agreement_in_words(&agreement)));
            }
            checkpoints += 1;
            let architecture = &model.geometry.architecture;
            modules.insert(architecture.clone(), model.architecture().modules());
            let key = (architecture.clone(), agreement.dtype.clone());
            lines.entry(key).or_default().add(agreement);
        }
    }
    let table = table(&lines);
    print(&format!(
        "Largest differences to transformers, relative to the largest value of each tensor; {} checkpoints, {}.\n\n{table}",
        checkpoints,
        interlingua_backend::device::describe(&device)
    ))?;
    if !failed.is_empty() {
        bail!(
            "{} of {} checkpoints do not agree (f32 within {TOLERANCE_F32:e} and no other most likely token, bf16 within {TOLERANCE_BF16:e}):\n  {}",
            failed.len(),
            checkpoints,
            failed.join("\n  ")
        );
    }
    if let Some(path) = &flags.page {
        page::replace(path, "parity", &table)?;
        page::replace(path, "modules", &modules_table(&modules))?;
    }
    Ok(())
}

impl Line {
    fn add(&mut self, agreement: Agreement) {
        self.cases += 1;
        self.argmax.0 += agreement.argmax.0;
        self.argmax.1 += agreement.argmax.1;
        let rounding = agreement.rounding.values().copied();
        self.rounding = rounding.fold(self.rounding, f32::max);
        for (hook, worst) in agreement.worst {
            let so_far = self.worst.entry(hook).or_default();
            *so_far = so_far.max(worst);
        }
    }
}

/// Folders of checkpoints with golden values, and what to say of their cases.
fn folders(flags: &Parity, scratch: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let Some(python) = &flags.python else {
        let committed = workspace().join("tests/fixtures/models/architectures");
        return Ok(vec![(committed, String::new())]);
    };
    let mut folders = Vec::new();
    for &seed in &flags.seed {
        let folder = scratch.join(seed.to_string());
        generate(python, "architectures.py", &[], seed, &folder)?;
        folders.push((folder, format!(" of seed {seed}")));
    }
    Ok(folders)
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

/// Where transformers has the states of every architecture, inside its blocks too.
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
    let place = |modules: &Modules, hook: &str| {
        let rows = modules.rows();
        let (_, module) = rows.iter().find(|row| row.0 == hook)?;
        let module = module.replace(":input", "").replace(":output", "");
        Some(format!("`{}`", module.replace("{L}", "L")))
    };
    let outside = [
        "embedding",
        "block.{L}.input",
        "block.{L}.attention",
        "block.{L}.mlp",
    ];
    for (architecture, modules) in modules {
        let _ = write!(out, "| {architecture} |");
        for hook in outside {
            let _ = write!(out, " {} |", place(modules, hook).unwrap_or_default());
        }
        let last = match modules.final_norm {
            Some(_) => place(modules, "final_norm").unwrap_or_default(),
            None => "output of the last block".to_owned(),
        };
        let _ = writeln!(out, " {last} |");
    }
    let inside = [
        "queries",
        "keys",
        "values",
        "heads",
        "projected",
        "gate",
        "up",
        "units",
        "down",
    ];
    out.push_str("\n| architecture |");
    for part in inside {
        let _ = write!(out, " `block.L.{part}` |");
    }
    let _ = writeln!(out, "\n|{}", " --- |".repeat(inside.len() + 1));
    for (architecture, modules) in modules {
        let _ = write!(out, "| {architecture} |");
        for part in inside {
            let module = place(modules, &format!("block.{{L}}.{part}"));
            let _ = write!(out, " {} |", module.as_deref().unwrap_or("none"));
        }
        out.push('\n');
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
