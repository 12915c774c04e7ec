//! The subcommands of `model` and their flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use interlingua_backend::DeviceName;
use interlingua_data::{Format, Language};

use super::Opened;

/// The flags of `model inspect`.
#[derive(Debug, Args)]
pub struct InspectFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// Instead, show this text as a user's message in the checkpoint's chat template, with its tokens.
    #[arg(long, value_name = "TEXT")]
    pub render: Option<String>,
}

/// The flags of `model capture`.
#[derive(Debug, Args)]
pub struct CaptureFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// Text file in UTF-8 with one text per line.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Hooks, separated by commas: `all` means every hook, `block.*.output` that of every block. `interlingua hooks`
    /// lists them.
    #[arg(long, value_name = "LIST", default_value = "final_norm")]
    pub hooks: String,
    /// Leave out log-likelihoods; for a masked model they take one copy of the text per token.
    #[arg(long)]
    pub no_log_probs: bool,
    /// Put every text into the checkpoint's chat template first, as a user's message.
    #[arg(long)]
    pub chat: bool,
    /// Intervention under which the model is run.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: Option<PathBuf>,
    /// Write the logits too, which are tokens × vocabulary values.
    #[arg(long)]
    pub logits: bool,
    /// File to write.
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    /// Replace the output file if it exists; a file that the command reads is never replaced.
    #[arg(long)]
    pub force: bool,
}

/// The flags of `model score`.
#[derive(Debug, Args)]
pub struct ScoreFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// File of minimal pairs in any format that `data describe` knows.
    #[arg(long, value_name = "FILE")]
    pub pairs: PathBuf,
    /// Format of that file, if it cannot be found from name and content.
    #[arg(long, value_parser = Format::named)]
    pub format: Option<Format>,
    /// Language of the pairs.
    #[arg(long, default_value = "en")]
    pub language: Language,
    /// Intervention under which the model is scored.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: Option<PathBuf>,
    /// Scorer of sentences; `interlingua metrics` lists the scorers [default: lm-eval for causal models, nangia for
    /// masked ones].
    #[arg(long, value_name = "NAME")]
    pub scorer: Option<String>,
    /// Use only this many pairs, from the first on.
    #[arg(long)]
    pub limit: Option<usize>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The subcommands of `model`.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Describe a checkpoint: sizes, parameters, memory, hooks, tokenizer.
    #[command(after_help = "Examples:
  interlingua model inspect models/my-checkpoint
  interlingua model inspect gemma-3-270m-q4_k_m.gguf       a GGUF file
  interlingua model inspect CohereLabs/aya-expanse-8b      downloaded from the hub if needed
  interlingua model inspect smollm2.gguf --render 'Hi.'    a message in the chat template")]
    Inspect(InspectFlags),
    /// Write token ids, states at hooks and log-likelihoods of some texts to one safetensors file.
    #[command(after_help = "Examples:
  interlingua model capture models/my-checkpoint --text texts.txt --out states.safetensors
  interlingua model capture models/my-checkpoint --text texts.txt --logits --out s.safetensors
  interlingua model capture models/my-checkpoint --text texts.txt --hooks all --out s.safetensors

Text i has the rows offsets[i] to offsets[i + 1] - 1 of token_ids, states.HOOK, log_probs and logits.
docs/models.md compares such a file with transformers in ten lines of Python.")]
    Capture(CaptureFlags),
    /// Score minimal pairs, and report the time and the memory it took.
    #[command(after_help = "Examples:
  interlingua model score models/my-checkpoint --pairs data/crows_pairs_en/crows_pairs_anonymized.csv
  interlingua model score CohereLabs/aya-expanse-8b --pairs pairs.tsv --limit 16 --residency stream
  interlingua model score FacebookAI/xlm-roberta-base --pairs pairs.tsv --scorer bias-bench

Without --scorer, a causal model is scored as in lm-evaluation-harness and a masked one as in
CrowS-Pairs. The last lines give the time, the peak memory and how many bytes of weights were read.")]
    Score(ScoreFlags),
    /// Train a small language model on real text.
    #[command(after_help = "Examples:
  interlingua data fetch tatoeba_manythings ntrex128      the text of the recipe
  interlingua model pretrain experiments/pretrain-4l.toml into ./models/pretrain-4l, about an hour
  interlingua model pretrain experiments/pretrain-4l.toml --resume
  interlingua model pretrain experiments/pretrain-4l.toml --quick --data-dir DATA
  interlingua model pretrain experiments/pretrain-4l.toml --dry-run

The folder loads in transformers and in `interlingua reproduce`; README.md and training.json in it
say how it was made. A killed run keeps its checkpoints in OUT/NAME.making; continued with --resume,
it ends with the same weights as an uninterrupted run. A finished folder is never trained again.
Exit codes: 0 the model is written, 1 the run stopped with an error, 2 the flags were wrong.")]
    Pretrain(Pretrain),
}

/// The flags of `model pretrain`.
#[derive(Debug, Args)]
pub struct Pretrain {
    /// Recipe file, such as experiments/pretrain-4l.toml.
    pub experiment: PathBuf,
    /// Device to run on: auto, cpu, wgpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceName,
    /// Folder of the data files that the recipe names.
    #[arg(long, default_value = "data")]
    pub data_dir: PathBuf,
    /// Folder in which the checkpoint folder is created.
    #[arg(long, default_value = "models")]
    pub out: PathBuf,
    /// Resume an interrupted run from its last checkpoint.
    #[arg(long)]
    pub resume: bool,
    /// Use the smaller settings of the recipe's `quick` table.
    #[arg(long)]
    pub quick: bool,
    /// Only report what the run would need.
    #[arg(long)]
    pub dry_run: bool,
}
