//! `cargo xtask memory`: peak memory and time of scoring against the number of sentences.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use interlingua_backend::device::cpu;
use interlingua_models::engine::{Branch, token_log_probs};
use interlingua_models::model::{available_memory, peak_memory};
use interlingua_models::{Model, Residency, Sequence};

/// Sentences of the smallest measurement, and of what goes before every one.
pub const SENTENCES: usize = 43;

/// Measures 1×, 10×, 100× and 1000× the sentences, each in a process of its own, as a Markdown table.
///
/// # Errors
/// A model that cannot be opened; a system that does not tell its peak memory.
pub fn table(model: &Path, sentences: usize) -> anyhow::Result<String> {
    check(sentences.saturating_mul(1000))?;
    let me = std::env::current_exe().context("cannot find this program again")?;
    let mut out = String::from(
        "| sentences | tokens | µs per token | hidden states, MiB | tokens × vocabulary in f32 would be, MiB | peak memory, MiB |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for factor in [1, 10, 100, 1000] {
        let count = sentences * factor;
        let output = std::process::Command::new(&me)
            .args(["memory", "--once", "--sentences"])
            .arg(count.to_string())
            .arg(model)
            .output()
            .context("cannot start the measurement")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let _ = write!(out, "{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(out)
}

/// Bytes that a sentence takes at the most beside its states: tokens, places and probabilities.
const SENTENCE_BYTES: u64 = 1 << 10;

/// Refuses a number of sentences that would not fit into memory.
fn check(sentences: usize) -> anyhow::Result<()> {
    if sentences == 0 {
        bail!("--sentences: at least 1 is needed");
    }
    let needed = (sentences as u64).saturating_mul(SENTENCE_BYTES);
    match available_memory() {
        Some(free) if needed > free => bail!(
            "--sentences: {sentences} sentences, the most that are measured, take about {needed} bytes of memory, and {free} are free; \
             give fewer"
        ),
        _ => Ok(()),
    }
}

/// Scores random token sequences once; returns one row of the table.
///
/// # Errors
/// As [`table`].
pub fn row(folder: &Path, sentences: usize) -> anyhow::Result<String> {
    check(sentences)?;
    let model = Model::open(folder, &cpu(), Residency::Auto)?;
    let vocabulary = model.geometry.vocab_size as u64;
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let sequences: Vec<Sequence> = (0..sentences)
        .map(|_| {
            let len = 12 + next(24);
            let tokens = (0..len).map(|_| next(vocabulary) as u32).collect();
            Sequence::new(tokens, 1)
        })
        .collect();
    let tokens: usize = sequences.iter().map(|s| s.tokens.len()).sum();
    let score = |sequences: &[Sequence]| {
        token_log_probs(&model, sequences, &[Branch::unedited()], &mut |_, _| {})
    };
    // Reads the weights and makes the threads and their memory.
    score(&sequences[..sequences.len().min(SENTENCES)])?;
    let start = Instant::now();
    score(&sequences)?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = peak_memory().context("this system does not tell peak memory in /proc")?;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    Ok(format!(
        "| {sentences} | {tokens} | {:.1} | {:.1} | {:.0} | {:.0} |\n",
        1e6 * seconds / tokens as f64,
        mib(tokens as f64 * model.geometry.hidden_size as f64 * 4.0),
        mib(tokens as f64 * vocabulary as f64 * 4.0),
        mib(peak as f64)
    ))
}
