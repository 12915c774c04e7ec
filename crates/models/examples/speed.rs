//! Where the time of a model goes: opening it, the first score, scoring, and writing text.
//!
//! `cargo run --example speed -- FILE.gguf`

use std::path::{Path, PathBuf};
use std::time::Instant;

use interlingua_backend::device::cpu;
use interlingua_models::engine::token_log_probs;
use interlingua_models::generate::{Options, generate};
use interlingua_models::{Branch, Model, ModelError, Residency, Sequence};

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
    let start = Instant::now();
    let model = Model::open(&path, &cpu(), Residency::Resident)?;
    let opened = start.elapsed().as_secs_f64();
    let (_, nats) = score(&model, 1)?;
    let first = start.elapsed().as_secs_f64();
    let name = path.file_name().unwrap_or_default().display();
    let kind = model.quantised().unwrap_or("not quantised");
    println!("{name}, {kind}: open after {opened:.3} s, first score, {nats}, after {first:.3} s");
    for sentences in [8, 64, 400] {
        let (mut tokens, mut nats) = (0, 0.0);
        let seconds = least(|| {
            (tokens, nats) = score(&model, sentences)?;
            Ok(())
        })?;
        let rate = tokens as f64 / seconds;
        println!(
            "{sentences} sentences, {tokens} tokens, {nats:.3} nats: {seconds:.3} s, {rate:.0} tokens per second"
        );
    }
    let start = Instant::now();
    let model = model.ready()?;
    let seconds = start.elapsed().as_secs_f64();
    println!("ready to write after {seconds:.3} s more");
    for prompts in [1, 2, 4, 8, 16] {
        let sequences = sequences(&model, prompts)?;
        // As many new tokens as the model has places for, 25 at most.
        let longest = sequences.iter().map(|s| s.tokens.len()).max().unwrap_or(0);
        let new_tokens = model.max_tokens().saturating_sub(longest).clamp(2, 25);
        // The prompts themselves, and one token each, are in both.
        let few = least(|| write(&model, &sequences, 1))?;
        let many = least(|| write(&model, &sequences, new_tokens))?;
        let step = (many - few) / (new_tokens - 1) as f64;
        println!(
            "{prompts} prompts: {:.2} ms a step, {:.1} tokens per second",
            1e3 * step,
            prompts as f64 / step
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

/// So many sentences that share no beginning.
fn sequences(model: &Model, sentences: usize) -> Result<Vec<Sequence>, ModelError> {
    let texts = (0..sentences).map(|n| format!("{n}: {}", SENTENCES[n % SENTENCES.len()]));
    texts.map(|text| model.sequence(&text)).collect()
}

/// Scores sentences; returns their tokens and the log-likelihood of all of them.
fn score(model: &Model, sentences: usize) -> Result<(usize, f64), ModelError> {
    let sequences = sequences(model, sentences)?;
    let found = token_log_probs(model, &sequences, &[Branch::unedited()], &mut |_, _| {})?;
    let nats = found[0].iter().flatten().map(|x| f64::from(*x)).sum();
    Ok((sequences.iter().map(|s| s.tokens.len()).sum(), nats))
}

/// Writes so many tokens after each prompt.
fn write(model: &Model, prompts: &[Sequence], new_tokens: usize) -> Result<(), ModelError> {
    let options = Options {
        new_tokens,
        batch: prompts.len(),
        ..Options::default()
    };
    generate(
        model,
        prompts,
        &Branch::unedited(),
        &options,
        &mut |_, _| {},
    )?;
    Ok(())
}
