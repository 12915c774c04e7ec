//! The subcommands of the program and their flags. The doc comments here are the help texts.

mod data;
mod model;

pub use data::{Data, DataNames, DataPlaces, Describe, Fetch};
pub use model::{CaptureFlags, InspectFlags, Model, Pretrain, ScoreFlags};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use interlingua_backend::{DeviceName, Precision};
use interlingua_data::Language;
use interlingua_models::Residency;

/// Measure and remove social bias in multilingual language models, in the space their languages share.
#[derive(Debug, Parser)]
#[command(name = "interlingua", version, max_term_width = 100)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands that a user needs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an experiment from its data to its report.
    Reproduce(Reproduce),
    /// List, fetch, verify and describe data sets.
    #[command(subcommand)]
    Data(Data),
    /// Inspect, run and make language models.
    #[command(subcommand)]
    Model(Model),
    /// Measure the bias and the utility of a model, with or without an edit.
    #[command(after_help = "Examples:
  interlingua measure MODEL
  interlingua measure MODEL --languages en,de --edit edit.safetensors --out measured
  interlingua measure MODEL --tasks data/crows_pairs_en/crows_pairs_anonymized.csv --languages en

Without --tasks, bias is the preference for occupations that a stereotype assigns to one gender
(datasets/templates/occupations.toml). Utility is the perplexity on neutral sentences and, with an
edit, the divergence from the unedited model. Brackets hold 95 % intervals of a bootstrap over
attributes, pairs or sentences. With --out, the table is written as JSON, Markdown and HTML, and
finished parts are kept, so that the same command resumes an interrupted measurement.")]
    Measure(MeasureFlags),
    /// Fit an edit with nothing but a model, on sentences that come with the program.
    #[command(after_help = "Examples:
  interlingua fit MODEL --method leace --out edit.safetensors
  interlingua fit MODEL --method sentdebias --rank 2 --language en,fr,de,nl --out edit.safetensors
  interlingua fit MODEL --method mean-shift --hook block.12.output --tokens all --out edit.safetensors

`interlingua methods` lists the methods and their parameters. `interlingua show edit.safetensors`
describes the result, and `interlingua measure MODEL --edit edit.safetensors` measures its effect.
An edit of all tokens (--tokens all) can be folded into the weights by `interlingua export`.")]
    Fit(FitFlags),
    /// Describe an intervention file: what it does, from what it was fitted, and for which model.
    #[command(after_help = "Examples:
  interlingua show edit.safetensors

The format is described in docs/interventions.md.
Exit codes: 0 the file is an intervention, 1 it cannot be read, 2 the flags were wrong.")]
    Show {
        /// The intervention file.
        file: PathBuf,
    },
    /// Generate text after prompts, with or without an edit, or both for comparison.
    #[command(after_help = "Examples:
  interlingua generate MODEL --prompt 'The nurse said that' --edit edit.safetensors --side-by-side
  interlingua generate MODEL --prompts prompts.txt --tokens 64 --temperature 0.8 --top-p 0.95
  interlingua generate MODEL --prompts prompts.txt --edit edit.safetensors --html page.html
  interlingua generate MODEL --prompt 'Who repairs cars?' --chat --json

The most likely token is taken unless --temperature or --top-p is given. The weights are held in
memory in the precision of the products: four bytes each in f32, whatever the file stores. A text
ends at an end token of the checkpoint (eos_token_id of config.json and generation_config.json) or
after --tokens tokens.")]
    Generate(GenerateFlags),
    /// Export a model with an edit as files that other programs load.
    #[command(after_help = "Examples:
  interlingua export MODEL --edit edit.safetensors --as hf --out model-edited
  interlingua export MODEL --edit edit.safetensors --as peft --out adapter
  interlingua export MODEL.gguf --edit edit.safetensors --as gguf --out edited.gguf
  interlingua export MODEL --edit edit.safetensors --as gguf-lora --out adapter.gguf
  interlingua export MODEL --edit steer.safetensors --as gguf-control-vector --out steer.gguf

hf                   a checkpoint folder with the edit in its weights, which loads like the original
peft                 a LoRA adapter folder, for transformers with peft, and for vLLM
gguf                 the whole GGUF file with the edit in its weights; changed tensors become f32
gguf-lora            a LoRA adapter for llama.cpp (--lora), for any quantisation of the same model
gguf-control-vector  shifts of blocks' outputs, for llama.cpp (--control-vector)

An edit that a format cannot hold exactly is refused; the message says how much would be lost and
what would work (docs/export.md).
Exit codes: 0 the export is written, 1 it was refused or failed, 2 the flags were wrong.")]
    Export(ExportFlags),
    /// Search for an edit that makes a model less biased in every language it serves, and confirm it on new items.
    #[command(after_help = "Examples:
  interlingua tune gemma-3-270m-q4_k_m.gguf --out search
  interlingua tune MODEL --out search --languages en,de --max-kl 0.05 --seed 2

Nothing but the model is needed: word lists, sentence pairs and neutral text in English, French,
German and Dutch come with the program. The rule of the choice is printed before any number. The
folder DIR gets report.md, tune.json, pareto.svg, edit.safetensors and a journal, from which the
same command resumes a killed search.
Exit codes: 0 an edit was chosen, 1 the search stopped with an error (for example, no candidate is
within --max-kl), 2 the flags were wrong.")]
    Tune(Tune),
    /// Search like `tune`, and write the edited model with a model card that says what improved and what did not.
    #[command(after_help = "Examples:
  interlingua debias gemma-3-270m-q4_k_m.gguf --out gemma-less-biased
  interlingua debias MODEL --out DIR --languages en,fr --category gender --max-kl 0.05

The search is kept in DIR.search until DIR is complete; the same command resumes a killed run.
Exit codes: 0 the model is written, 1 the command stopped with an error, 2 the flags were wrong.")]
    Debias(Debias),
    /// List the debiasing methods.
    Methods,
    /// List the tasks, scorers and metrics.
    Metrics,
    /// List the hook points.
    Hooks,
}

/// Flags of `reproduce`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  interlingua reproduce                       the synthetic testbed, a few minutes on two cores
  interlingua reproduce --quick               the same, small, under a minute
  interlingua reproduce --seed 2              the same with another seed
  interlingua reproduce experiments/reference-lm.toml --data-dir DATA --model-dir MODELS
  interlingua reproduce experiments/aya-expanse-8b.toml --dry-run

The report is OUT/NAME-HASH/report.html; `--dry-run` says what a run needs before it starts.
Finished stages are kept under OUT/cache and never computed twice.
Exit codes: 0 the run is complete, 1 it stopped with an error, 2 the flags were wrong.")]
pub struct Reproduce {
    /// The experiment file.
    #[arg(default_value = "experiments/testbed.toml")]
    pub experiment: PathBuf,
    /// Device to run on: auto, cpu, wgpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceName,
    /// Folder of the data files that the experiment names.
    #[arg(long, default_value = "data")]
    pub data_dir: PathBuf,
    /// Folder of the checkpoint folders.
    #[arg(long, default_value = "models")]
    pub model_dir: PathBuf,
    /// Folder for the run folders and the cache.
    #[arg(long, default_value = "runs")]
    pub out: PathBuf,
    /// Where the model's weights and states are kept while it runs.
    #[command(flatten)]
    pub memory: Memory,
    /// Resume interrupted training from its last checkpoint instead of starting again.
    #[arg(long)]
    pub resume: bool,
    /// Use the smaller settings of the experiment's `quick` table.
    #[arg(long)]
    pub quick: bool,
    /// Seed to use instead of the experiment's; repeat a run with several seeds before you trust a result.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only report what the run would need.
    #[arg(long)]
    pub dry_run: bool,
}

/// The memory that a model may take.
#[derive(Debug, Args)]
pub struct Memory {
    /// Where the weights are kept: auto, stream (read from disk block by block) or resident (in memory).
    #[arg(long, default_value = "auto")]
    pub residency: Residency,
    /// Memory for hidden states between two blocks, such as 4GiB; more is stored on disk [default: no limit].
    #[arg(long, value_name = "BYTES", value_parser = interlingua_models::spill::parse_bytes)]
    pub memory: Option<u64>,
    /// Precision of the factors in matrix products: f32, or bf16 for GPUs.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
}

/// The model and how it is run.
#[derive(Debug, Args)]
pub struct Opened {
    /// A checkpoint folder, a GGUF file, or a name on the Hugging Face hub (owner/name or owner/name@revision).
    #[arg(value_name = "MODEL")]
    pub name: String,
    /// Device to run on: auto, cpu, wgpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceName,
    /// Where the weights and states are kept.
    #[command(flatten)]
    pub memory: Memory,
}

/// The flags of `tune`.
#[derive(Debug, Args)]
pub struct Tune {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// Folder for the results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Languages that the model serves, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "en,fr,de,nl"
    )]
    pub languages: Vec<Language>,
    /// Kind of bias to reduce.
    #[arg(long, default_value = "gender")]
    pub category: String,
    /// Largest change of predictions on neutral text: the upper 95 % bound of KL(unedited, edited) in nats per token,
    /// in every language.
    #[arg(long, value_name = "NATS", default_value_t = 0.1)]
    pub max_kl: f64,
    /// Methods to try, separated by commas; `interlingua methods` lists them [default: sentdebias,leace].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub methods: Option<Vec<String>>,
    /// Ranks to try, separated by commas [default: 1,2,4,8].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub ranks: Option<Vec<usize>>,
    /// Strengths to try, separated by commas [default: 0.5,1,1.5].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub strengths: Option<Vec<f64>>,
    /// Try only edits that can be folded into the weights exactly.
    #[arg(long)]
    pub folded: bool,
    /// Number of random edits of the same shape with which the chosen edit is compared.
    #[arg(long, default_value_t = 5)]
    pub controls: usize,
    /// Number of candidates that are evaluated in one pass over the weights.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub at_once: usize,
    /// Seed of the splits, the fits, the random controls and the intervals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Sentence templates to fit on, instead of those that come with the program; their sentences differ in the group
    /// alone.
    #[arg(long, value_name = "FILE.toml")]
    pub fit_text: Option<PathBuf>,
    /// Sentence templates to evaluate on, instead of those that come with the program; their attributes say which
    /// group they lean to.
    #[arg(long, value_name = "FILE.toml")]
    pub pairs: Option<PathBuf>,
    /// Count pairs whose attribute is marked for the group (French `infirmier`, `infirmière`) like the others. By
    /// default they are reported separately, because their sentences differ in grammar too.
    #[arg(long)]
    pub marked: bool,
    /// Use the text of the synthetic testbed, whose bias is known, for a model that `interlingua reproduce` has
    /// trained on it with this `--seed` (OUT/cache/lm-*).
    #[arg(long, conflicts_with_all = ["fit_text", "pairs", "neutral"])]
    pub testbed: bool,
    /// Parallel neutral text, instead of the one that comes with the program: one column per language.
    #[arg(long, value_name = "FILE.tsv")]
    pub neutral: Option<PathBuf>,
}

/// The flags of `debias`.
#[derive(Debug, Args)]
pub struct Debias {
    /// The flags of the search.
    #[command(flatten)]
    pub tune: Tune,
    /// Form in which the edited model is written.
    #[arg(long, value_enum, default_value_t = crate::format::Format::Edit)]
    pub format: crate::format::Format,
}

/// The flags of `measure`.
#[derive(Debug, Args)]
pub struct MeasureFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// Intervention under which the model is measured too.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: Option<PathBuf>,
    /// Files of minimal pairs, separated by commas [default: the occupations that come with the program].
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    pub tasks: Vec<PathBuf>,
    /// Languages, separated by commas.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "en,fr,de,nl"
    )]
    pub languages: Vec<Language>,
    /// Categories of pairs to use, separated by commas [default: all].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub categories: Vec<String>,
    /// Use only this many pairs per task and language, from the first on.
    #[arg(long)]
    pub limit: Option<usize>,
    /// Scorer of sentences; `interlingua metrics` lists the scorers [default: lm-eval for causal models, nangia for
    /// masked ones].
    #[arg(long, value_name = "NAME")]
    pub scorer: Option<String>,
    /// Seed of the intervals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder in which measure.json, measure.md and measure.html are written and finished parts are kept.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print JSON instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// The flags of `fit`.
#[derive(Debug, Args)]
pub struct FitFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// Method to fit; `interlingua methods` lists them.
    #[arg(long, value_name = "NAME")]
    pub method: String,
    /// Number of directions to remove, for methods that have a rank.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub rank: usize,
    /// Number of units to change, for methods whose size that is [default: the method's own].
    #[arg(long, value_name = "N")]
    pub units: Option<usize>,
    /// Parameter of the method; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Hooks, separated by commas; each gets an edit of its own, fitted by itself. `interlingua hooks` lists them.
    #[arg(long, value_name = "LIST", default_value = "final_norm")]
    pub hook: String,
    /// Tokens to fit on and to edit: text (all but the special tokens) or all.
    #[arg(long, value_name = "SET", default_value = "text", value_parser = ["text", "all"])]
    pub tokens: String,
    /// Languages of the sentences, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "en")]
    pub language: Vec<Language>,
    /// Bias category, which selects the groups.
    #[arg(long, default_value = "gender")]
    pub category: String,
    /// Strength of the edit: a factor on the change it makes.
    #[arg(long, default_value_t = 1.0)]
    pub strength: f64,
    /// Seed of methods that draw random numbers.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Templates of sentences that differ in the group alone [default: datasets/templates/everyday.toml].
    #[arg(long, value_name = "FILE")]
    pub templates: Option<PathBuf>,
    /// File to write.
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    /// Replace the output file if it exists.
    #[arg(long)]
    pub force: bool,
}

/// The formats of `export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A checkpoint folder for transformers, with the edit in its weights.
    Hf,
    /// A LoRA adapter folder for PEFT.
    Peft,
    /// A GGUF file with the edit in its weights.
    Gguf,
    /// A LoRA adapter for llama.cpp.
    GgufLora,
    /// A control vector for llama.cpp.
    GgufControlVector,
}

/// The flags of `export`.
#[derive(Debug, Args)]
pub struct ExportFlags {
    /// A checkpoint folder, a GGUF file, or a name on the Hugging Face hub (owner/name or owner/name@revision).
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Intervention file to export with the model.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: PathBuf,
    /// Format to write.
    #[arg(long = "as", value_name = "FORMAT")]
    pub format: ExportFormat,
    /// Folder or file to write, which must not exist yet.
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
}

/// The flags of `generate`.
#[derive(Debug, Args)]
pub struct GenerateFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// Prompt; may be given several times.
    #[arg(long, value_name = "TEXT", required_unless_present = "prompts")]
    pub prompt: Vec<String>,
    /// Text file in UTF-8 with one prompt per line.
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Intervention under which text is generated.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: Option<PathBuf>,
    /// Generate without the edit too, and show both texts.
    #[arg(long, requires = "edit")]
    pub side_by_side: bool,
    /// Largest number of new tokens for each prompt.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens: u32,
    /// Draw tokens at random, from logits divided by this temperature.
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Draw tokens at random, from the most likely ones that together have this probability.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f64>,
    /// Seed of the random numbers; every prompt has its own stream.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Put every prompt into the checkpoint's chat template first, as a user's message.
    #[arg(long)]
    pub chat: bool,
    /// Number of prompts that are continued together.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch: u32,
    /// Print the prompts and the texts with their tokens as JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Write an HTML page with the prompts and the texts too.
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Replace the HTML page if it exists.
    #[arg(long)]
    pub force: bool,
}
