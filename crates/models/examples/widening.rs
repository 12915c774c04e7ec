//! How much of scoring with weights of 4 to 8 bits goes into widening them to f32: what products from the blocks
//! themselves could save at most, as long as states stay in f32.
//!
//! `cargo run --example widening -- FILE.gguf`

use std::path::{Path, PathBuf};
use std::time::Instant;

use interlingua_backend::device::cpu;
use interlingua_models::engine::token_log_probs;
use interlingua_models::{Branch, Model, ModelError, Residency};

const SENTENCES: [&str; 4] = [
    "The nurse went home after a long day and slept.",
    "A baker sold all his bread before five o'clock.",
    "She said that the engineer could not come to the meeting.",
    "They were late because the train stood still for an hour.",
];

fn main() -> Result<(), ModelError> {
    let tiny =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models/gguf/llama.gguf");
    let path = std::env::args_os().nth(1).map_or(tiny, PathBuf::from);
    let model = Model::open(&path, &cpu(), Residency::Resident)?;
    // Once, so that what stays in memory is there.
    score(&model, 1)?;
    let blocks =
        least(|| (0..model.geometry.layers).try_for_each(|layer| model.block(layer).map(drop)))?;
    println!(
        "{}, {}: widening all blocks takes {blocks:.3} s",
        path.file_name().unwrap_or_default().display(),
        model.quantised().unwrap_or("not quantised")
    );
    for sentences in [8, 64, 400] {
        let mut tokens = 0;
        let seconds = least(|| {
            tokens = score(&model, sentences)?;
            Ok(())
        })?;
        let share = blocks / seconds;
        println!(
            "{sentences} sentences, {tokens} tokens: {seconds:.3} s, of which widening is {:.0} %; without it at most ×{:.2}",
            100.0 * share,
            1.0 / (1.0 - share)
        );
    }
    Ok(())
}

/// The least time of three.
fn least(mut work: impl FnMut() -> Result<(), ModelError>) -> Result<f64, ModelError> {
    let mut least = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        work()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(least)
}

/// Scores so many sentences that share no beginning; returns their tokens.
fn score(model: &Model, sentences: usize) -> Result<usize, ModelError> {
    let texts = (0..sentences).map(|n| format!("{n}: {}", SENTENCES[n % SENTENCES.len()]));
    let sequences = texts
        .map(|text| model.sequence(&text))
        .collect::<Result<Vec<_>, _>>()?;
    token_log_probs(model, &sequences, &[Branch::unedited()], &mut |_, _| {})?;
    Ok(sequences.iter().map(|s| s.tokens.len()).sum())
}
