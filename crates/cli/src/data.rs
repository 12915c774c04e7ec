//! The subcommand `data`: lists, fetches, verifies and describes data sets.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use interlingua_data::own;
use interlingua_data::{
    DescribeOptions, FetchOptions, FileState, FileStatus, Manifest, describe_as, fetch, verify,
};

use crate::flags::{Data, DataNames, DataPlaces, Describe, Fetch};
use crate::terminal::{print, tell};

/// Carries out a subcommand of `data`.
///
/// # Errors
/// Unknown names, or files that cannot be fetched or that differ from their manifest.
pub fn data(command: &Data) -> anyhow::Result<()> {
    match command {
        Data::List(places) => list(places),
        Data::Fetch(flags) => fetch_all(flags),
        Data::Verify(flags) => verify_all(flags),
        Data::Describe(flags) => describe_one(flags),
    }
}

fn list(places: &DataPlaces) -> anyhow::Result<()> {
    let mut out = String::new();
    for manifest in &manifests(places)? {
        let _ = writeln!(
            out,
            "{:<24} {:>9}  {:<16} {}\n  {}",
            manifest.name,
            megabytes(manifest.bytes()),
            manifest.licence,
            presence(manifest, &places.cache),
            manifest.description
        );
    }
    print(&out)
}

fn fetch_all(flags: &Fetch) -> anyhow::Result<()> {
    let cache = &flags.data.places.cache;
    let options = FetchOptions {
        replace: flags.force,
        ..FetchOptions::default()
    };
    let chosen = chosen(&flags.data)?;
    let mut failed = Vec::new();
    for manifest in &chosen {
        tell(&licence(manifest));
        // One server that is down must not keep the other data sets from coming.
        match fetch_one(manifest, cache, &options) {
            Ok(folder) => tell(&format!("  in {}", folder.display())),
            Err(error) => {
                tell(&format!("  failed: {error:#}"));
                failed.push(manifest.name.as_str());
            }
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} of {} data sets could not be fetched: {}; what came is kept, the same command goes on from there",
            failed.len(),
            chosen.len(),
            failed.join(", ")
        );
    }
    Ok(())
}

fn fetch_one(manifest: &Manifest, cache: &Path, options: &FetchOptions) -> anyhow::Result<PathBuf> {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(manifest.bytes());
        let style = ProgressStyle::with_template(
            "  {msg:<36} {wide_bar} {decimal_bytes:>10} of {decimal_total_bytes:>10} {eta:>4}",
        );
        bar.set_style(style.expect("the template is fixed"));
        bar
    });
    let folder = fetch(manifest, cache, options, &mut |progress| {
        let Some(bar) = &bar else { return };
        let before: u64 = manifest.files[..progress.index]
            .iter()
            .map(|f| f.bytes)
            .sum();
        bar.set_message(progress.file.name.clone());
        bar.set_position(before + progress.received);
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(folder?)
}

fn verify_all(flags: &DataNames) -> anyhow::Result<()> {
    let cache = &flags.places.cache;
    let mut chosen = chosen(flags)?;
    if flags.names.is_empty() {
        chosen.retain(|m| cache.join(&m.name).is_dir());
        if chosen.is_empty() {
            bail!(
                "no data set is under {}; fetch some with `data fetch`, or name the folder with --cache",
                cache.display()
            );
        }
    }
    let mut out = String::new();
    let mut wrong = 0;
    for manifest in &chosen {
        let statuses = verify(manifest, &cache.join(&manifest.name))?;
        let faults: Vec<&FileStatus> = statuses
            .iter()
            .filter(|s| s.state != FileState::Ok)
            .collect();
        wrong += faults.len();
        let _ = writeln!(
            out,
            "{:<24} {} of {} files are right",
            manifest.name,
            statuses.len() - faults.len(),
            statuses.len()
        );
        for fault in faults {
            let what = match &fault.state {
                FileState::Mismatch { actual } => {
                    let file = manifest
                        .files
                        .iter()
                        .find(|f| fault.path.ends_with(&f.name));
                    let expected = file.map_or("another hash", |f| f.sha256.as_str());
                    format!("sha256 is {actual}, the manifest says {expected}")
                }
                _ => "missing".to_owned(),
            };
            let _ = writeln!(out, "  {}: {what}", fault.path.display());
        }
    }
    print(&out)?;
    if wrong > 0 {
        bail!(
            "{wrong} files are missing or have other bytes; `data fetch` brings what is missing, with --force also what has other bytes"
        );
    }
    Ok(())
}

fn describe_one(flags: &Describe) -> anyhow::Result<()> {
    let options = DescribeOptions {
        format: flags.format,
        language: flags.language,
    };
    let description = describe_as(&flags.file, &options)?;
    if flags.json {
        let json = serde_json::to_string_pretty(&description)
            .context("the description cannot be written as JSON")?;
        return print(&format!("{json}\n"));
    }
    print(&description.to_string())
}

/// Reads the manifests of a folder, by default those of the workspace.
///
/// # Errors
/// A folder without manifests, or a manifest that cannot be read.
pub fn manifests(places: &DataPlaces) -> anyhow::Result<Vec<Manifest>> {
    let folder = places.manifests.clone().unwrap_or_else(own::folder);
    let manifests = Manifest::load_all(&folder)
        .context("cannot read the manifests; name their folder with --manifests")?;
    if manifests.is_empty() {
        bail!(
            "{}: no manifest (NAME.toml) in this folder",
            folder.display()
        );
    }
    Ok(manifests)
}

/// The manifests of these names, in this order.
fn chosen(flags: &DataNames) -> anyhow::Result<Vec<Manifest>> {
    let all = manifests(&flags.places)?;
    if flags.names.is_empty() {
        return Ok(all);
    }
    flags
        .names
        .iter()
        .map(|name| {
            all.iter()
                .find(|m| &m.name == name)
                .cloned()
                .with_context(|| {
                    let known: Vec<&str> = all.iter().map(|m| m.name.as_str()).collect();
                    format!("no data set `{name}`; there are: {}", known.join(", "))
                })
        })
        .collect()
}

/// What a person must know before the files come.
fn licence(manifest: &Manifest) -> String {
    let stated = match manifest.licence.as_str() {
        "none" => "its authors state no licence",
        licence => licence,
    };
    let mut out = format!(
        "{}: {}\n  licence: {stated}",
        manifest.name, manifest.description
    );
    if !manifest.licence_note.is_empty() {
        let _ = write!(out, ". {}", manifest.licence_note);
    }
    let _ = write!(
        out,
        "\n  {} in {} files, from {}",
        megabytes(manifest.bytes()),
        manifest.files.len(),
        manifest.homepage
    );
    out
}

/// Whether the files are there, by their size alone.
fn presence(manifest: &Manifest, cache: &Path) -> String {
    let there = manifest
        .files
        .iter()
        .filter(|f| {
            std::fs::metadata(cache.join(&manifest.name).join(&f.name))
                .is_ok_and(|m| m.len() == f.bytes)
        })
        .count();
    match there {
        0 => "not here".to_owned(),
        n if n == manifest.files.len() => "here".to_owned(),
        n => format!("{n} of {} files here", manifest.files.len()),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_stands_before_the_download() {
        let manifest = |licence: &str, note: &str| Manifest {
            name: "x".into(),
            description: "Sentences".into(),
            licence: licence.into(),
            licence_note: note.into(),
            homepage: "https://example.org".into(),
            format: None,
            languages: Vec::new(),
            columns: Vec::new(),
            files: Vec::new(),
        };
        for (licence_id, note, expect) in [
            (
                "CC-BY-4.0",
                "Name the source.",
                "licence: CC-BY-4.0. Name the source.",
            ),
            ("none", "", "licence: its authors state no licence\n"),
        ] {
            let text = licence(&manifest(licence_id, note));
            assert!(text.contains(expect), "{text}");
        }
    }
}
