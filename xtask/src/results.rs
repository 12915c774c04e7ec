//! `cargo xtask results`: the reports of several runs as one page of the documentation.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Joins the `report.md` of run folders under one heading, each with the command that made it.
///
/// # Errors
/// A folder without a report, or an output that cannot be written.
pub fn write(folders: &[PathBuf], out: &Path) -> anyhow::Result<()> {
    if folders.is_empty() {
        bail!("name at least one run folder, such as runs/testbed-0123abcd");
    }
    let mut page = String::from(
        "# Results\n\nMade by `cargo xtask results` from the run folders of the commands below; no number is typed by hand.\n",
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
        let _ = writeln!(page, "\n---\n\n`{command}`\n");
        for line in read("report.md")?.lines() {
            // One level down, because the page has a heading of its own.
            if line.starts_with('#') {
                page.push('#');
            }
            let _ = writeln!(page, "{line}");
        }
    }
    let partial = out.with_extension("md.tmp");
    std::fs::write(&partial, page)
        .with_context(|| format!("cannot write {}", partial.display()))?;
    std::fs::rename(&partial, out).with_context(|| format!("cannot write {}", out.display()))
}
