//! Flags and subcommands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measure and remove social bias in multilingual language models, in the space their languages share.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Walk the whole road of an experiment and write its report.
    Reproduce(Reproduce),
    /// Join the reports of run folders into one page of the documentation.
    Results {
        /// Run folders, such as runs/testbed-0123abcd.
        folders: Vec<PathBuf>,
        /// The page to write.
        #[arg(long, default_value = "docs/results.md")]
        output: PathBuf,
    },
    /// Show how the peak memory of scoring grows with the number of sentences.
    Memory {
        /// A checkpoint folder.
        model: PathBuf,
        /// Sentences of the smallest measurement; 4× and 16× follow.
        #[arg(long, default_value_t = 2000)]
        sentences: usize,
        /// Measure this number alone, in this process.
        #[arg(long, hide = true)]
        once: bool,
    },
    /// List the debiasing methods.
    Methods,
    /// List the scorers and metrics.
    Metrics,
    /// List the hook points.
    Hooks,
}

/// Flags of `reproduce`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask reproduce                       the synthetic testbed, a few minutes on two cores
  cargo xtask reproduce --quick               the same, small, under a minute
  cargo xtask reproduce experiments/reference-lm.toml --data-dir DATA --model-dir MODELS
  cargo xtask reproduce experiments/aya-expanse-8b.toml --dry-run

Finished stages are kept under OUT/cache and never computed twice.
Exit codes: 0 the run is complete, 1 it stopped with an error, 2 the flags were wrong.")]
pub struct Reproduce {
    /// The experiment.
    #[arg(default_value = "experiments/testbed.toml")]
    pub experiment: PathBuf,
    /// auto, cpu, wgpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Folder of data files that the experiment names.
    #[arg(long, default_value = "data")]
    pub data_dir: PathBuf,
    /// Folder of checkpoint folders.
    #[arg(long, default_value = "models")]
    pub model_dir: PathBuf,
    /// Folder for run folders and the cache.
    #[arg(long, default_value = "runs")]
    pub out: PathBuf,
    /// Continue half-done training from its last checkpoint instead of starting it over.
    #[arg(long)]
    pub resume: bool,
    /// Use the experiment's [quick] settings.
    #[arg(long)]
    pub quick: bool,
    /// Say what the run would need, and stop.
    #[arg(long)]
    pub dry_run: bool,
}
