//! What the tests of the whole workspace share.

pub mod hub;
pub mod server;

use std::path::PathBuf;

/// The committed fixtures.
pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The fixtures of every causal architecture; those with windows have some that are shorter than the texts.
pub const CAUSAL: &[&str] = &[
    "bloom",
    "cohere",
    "cohere-qk-norm",
    "cohere2",
    "gemma2",
    "gemma3",
    "gemma3-vision",
    "gpt2",
    "llama-bf16-sharded",
    "llama-linear-bias",
    "llama-llama3",
    "mistral",
    "qwen2",
    "qwen3",
];

/// The folder of golden values: `INTERLINGUA_GOLDEN`, else the committed fixtures.
pub fn golden() -> PathBuf {
    std::env::var_os("INTERLINGUA_GOLDEN").map_or_else(fixtures, PathBuf::from)
}

/// Prints the line that `cargo xtask parity` collects.
pub fn parity_line(what: &str, against: &str, largest: f64, bound: f64) {
    println!("parity | {what} | {against} | {largest:.1e} | {bound:.0e}");
}

/// The folder of real data and checkpoints, if this machine has it.
///
/// Looked for in `INTERLINGUA_SHARED`, then beside the checkout. Says so when a
/// test has to be skipped.
pub fn shared(test: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("INTERLINGUA_SHARED").map_or(beside, PathBuf::from);
    if folder.join("models").is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: {test} needs the shared data folder, {} is not there",
        folder.display()
    );
    None
}
