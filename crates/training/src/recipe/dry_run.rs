//! Reports what a run would need.

use interlingua_data::{Language, Manifest};

use super::place::Place;
use super::spec::PretrainSpec;
use super::{Options, text};
use crate::TrainingError;

/// Reports in words what a run would need, for `--dry-run`. Each fact is added to `out` as it is found. No text is
/// read.
///
/// # Errors
/// Text files that are missing.
pub fn dry_run(
    spec: &PretrainSpec,
    options: &Options,
    out: &mut String,
) -> Result<(), TrainingError> {
    use std::fmt::Write;
    let (m, t) = (&spec.model, &spec.training);
    let place = Place::new(&options.out, &spec.name);
    let state = if place.folder.exists() {
        "is there"
    } else if place.checkpoint.is_file() {
        "half done; continue with --resume"
    } else {
        "to be made"
    };
    let _ = writeln!(out, "{} — {}", spec.name, spec.title);
    let _ = writeln!(out, "  folder      {} ({state})", place.folder.display());
    let _ = writeln!(out, "  device      {}", options.device);
    let count = m.parameters(m.vocab_size);
    let _ = writeln!(
        out,
        "  model       {} blocks × {}, {} heads, {} for keys and values, vocabulary ≤ {}: {:.2} million parameters",
        m.layers,
        m.hidden_size,
        m.heads,
        m.kv_heads,
        m.vocab_size,
        count as f64 / 1e6
    );
    // Weights, two moments and gradients in f32; the checkpoint holds the first three.
    let _ = writeln!(
        out,
        "  memory      {:.0} MB for weights, moments and gradients; {:.0} MB per checkpoint",
        count as f64 * 16.0 / 1e6,
        count as f64 * 12.0 / 1e6
    );
    let _ = writeln!(
        out,
        "  training    {} epochs in steps of about {} tokens, learning rate {}, checkpoint every {} steps",
        t.epochs, t.batch_tokens, t.learning_rate, t.checkpoint_every
    );
    let _ = writeln!(out, "  text        under {}", options.data_dir.display());
    let mut missing = Ok(());
    for (at, text) in spec.text.iter().enumerate() {
        let found = text::files_of(&options.data_dir.join(&text.file));
        let bytes: u64 = found
            .iter()
            .filter_map(|p| std::fs::metadata(p).ok())
            .map(|m| m.len())
            .sum();
        let state = match found.len() {
            0 => {
                missing = missing.and(Err(text::missing(at, text, options)));
                format!(
                    "MISSING: {}",
                    Manifest::remedy(&text.file, &options.manifests)
                )
            }
            1 => format!("{:.1} MB", bytes as f64 / 1e6),
            n => format!("{n} files, {:.1} MB", bytes as f64 / 1e6),
        };
        let languages: Vec<&str> = text.languages.iter().map(Language::code).collect();
        let _ = writeln!(out, "    {}  {} ({state})", text.file, languages.join(", "));
    }
    let _ = writeln!(out, "Nothing was computed or fetched.");
    missing
}
