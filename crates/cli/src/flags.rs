//! Flags and subcommands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use interlingua_backend::{DeviceName, Precision};
use interlingua_data::{Format, Language};
use interlingua_models::Residency;

/// Measure and remove social bias in multilingual language models, in the space their languages share.
#[derive(Debug, Parser)]
#[command(name = "interlingua", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands that a user needs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Walk the whole road of an experiment and write its report.
    Reproduce(Reproduce),
    /// List, fetch, verify and describe data sets.
    #[command(subcommand)]
    Data(Data),
    /// Inspect, run and make language models.
    #[command(subcommand)]
    Model(Model),
    /// Measure bias and utility of a model, with an edit beside it or without.
    #[command(after_help = "Examples:
  interlingua measure MODEL
  interlingua measure MODEL --languages en,de --edit edit.safetensors --out measured
  interlingua measure MODEL --tasks data/crows_pairs_en/crows_pairs_anonymized.csv --languages en

Without --tasks, bias is the preference for occupations that a stereotype gives to one gender
(datasets/templates/occupations.toml). Utility is perplexity on neutral sentences; with an edit, the divergence from
the unedited model too. Brackets are 95 % intervals of a bootstrap over attributes, pairs or sentences.
With --out, the table is written as JSON, Markdown and HTML, finished parts are kept, and the same command goes on.")]
    Measure(MeasureFlags),
    /// Fit an edit with nothing but a model: the sentences are those of this project.
    #[command(after_help = "Examples:
  interlingua fit MODEL --method leace --out edit.safetensors
  interlingua fit MODEL --method sentdebias --rank 2 --language en,fr,de,nl --hook final_norm --out edit.safetensors
  interlingua fit MODEL --method mean-shift --hook block.12.output --tokens all --strength 0.5 --out edit.safetensors

`interlingua methods` lists the methods and their parameters, `interlingua show` says what came out, and
`interlingua measure MODEL --edit` what it does. An edit of all tokens can be exported into weights.")]
    Fit(FitFlags),
    /// Say what an intervention file is, from what, and for which model.
    #[command(after_help = "Examples:
  interlingua show edit.safetensors

The page of interventions (docs/interventions.md) has the format.
Exit codes: 0 it is one, 1 it cannot be read, 2 the flags were wrong.")]
    Show {
        /// The file.
        file: PathBuf,
    },
    /// Write text after prompts, with an edit or without, or both beside each other.
    #[command(after_help = "Examples:
  interlingua generate MODEL --prompt 'The nurse said that' --edit edit.safetensors --side-by-side
  interlingua generate MODEL --prompts prompts.txt --tokens 64 --temperature 0.8 --top-p 0.95 --seed 7
  interlingua generate MODEL --prompts prompts.txt --edit edit.safetensors --side-by-side --html pages.html
  interlingua generate MODEL --prompt 'Who repairs cars?' --chat --json

The likeliest token is taken unless --temperature or --top-p is given. Weights are held in memory, in the
precision of the products: four bytes each in f32, whatever the file has. A text ends at an end token of the
checkpoint (eos_token_id of config.json and generation_config.json) or after --tokens tokens.")]
    Generate(GenerateFlags),
    /// Write a model with an edit as files that other programs load.
    #[command(after_help = "Examples:
  interlingua export MODEL --edit edit.safetensors --as hf --out model-edited
  interlingua export MODEL --edit edit.safetensors --as peft --out adapter
  interlingua export MODEL.gguf --edit edit.safetensors --as gguf --out edited.gguf
  interlingua export MODEL --edit edit.safetensors --as gguf-lora --out adapter.gguf
  interlingua export MODEL --edit steer.safetensors --as gguf-control-vector --out steer.gguf

hf                   a checkpoint folder whose weights have taken up the edit; loads as the source does
peft                 a LoRA adapter folder, for transformers with peft, and for vLLM
gguf                 the whole GGUF file with the edit in its weights; changed tensors become f32
gguf-lora            a LoRA adapter for llama.cpp (--lora), over any quantisation of the same model
gguf-control-vector  shifts of blocks' outputs, for llama.cpp (--control-vector)

What a format cannot hold exactly is refused, with the size of what would be lost and what would work
(docs/export.md). Exit codes: 0 it is written, 1 it is refused or failed, 2 the flags were wrong.")]
    Export(ExportFlags),
    /// Search an edit that makes a model less biased in every language it serves, and confirm it on items that did
    /// not choose it.
    #[command(after_help = "Examples:
  interlingua tune gemma-3-270m-q4_k_m.gguf --out search
  interlingua tune MODEL --out search --languages en,de --max-kl 0.05 --seed 2

Nothing but the model is needed: word lists, sentence pairs and neutral text in English, French, German and Dutch ship
with the project. The rule of the choice is printed before any number. OUT gets report.md, tune.json, pareto.svg,
edit.safetensors and the journal; a killed search goes on from there with the same command.
Exit codes: 0 an edit was chosen, 1 the search stopped with an error (none within --max-kl is one), 2 the flags were wrong.")]
    Tune(Tune),
    /// The same, and the edited model given back with a model card: before and after in every language, what was not
    /// improved, how to reproduce it.
    #[command(after_help = "Examples:
  interlingua debias gemma-3-270m-q4_k_m.gguf --out gemma-less-biased
  interlingua debias MODEL --out DIR --languages en,fr --category gender --max-kl 0.05

The search is kept in OUT.search until OUT is whole; a killed run goes on from there with the same command.
Exit codes: 0 the model is there, 1 it stopped with an error, 2 the flags were wrong.")]
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
  interlingua reproduce --seed 2              the same from another seed; `results --seeds` compares them
  interlingua reproduce experiments/reference-lm.toml --data-dir DATA --model-dir MODELS
  interlingua reproduce experiments/aya-expanse-8b.toml --dry-run

Finished stages are kept under OUT/cache and never computed twice.
Exit codes: 0 the run is complete, 1 it stopped with an error, 2 the flags were wrong.")]
pub struct Reproduce {
    /// The experiment.
    #[arg(default_value = "experiments/testbed.toml")]
    pub experiment: PathBuf,
    /// auto, cpu, wgpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceName,
    /// Folder of data files that the experiment names.
    #[arg(long, default_value = "data")]
    pub data_dir: PathBuf,
    /// Folder of checkpoint folders.
    #[arg(long, default_value = "models")]
    pub model_dir: PathBuf,
    /// Folder for run folders and the cache.
    #[arg(long, default_value = "runs")]
    pub out: PathBuf,
    /// Where the model's weights and states live while it runs.
    #[command(flatten)]
    pub memory: Memory,
    /// Continue half-done training from its last checkpoint instead of starting it over.
    #[arg(long)]
    pub resume: bool,
    /// Use the settings of the experiment's `quick` table.
    #[arg(long)]
    pub quick: bool,
    /// A seed in place of the experiment's: what stands under one seed alone is no result.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Say what the run would need, and stop.
    #[arg(long)]
    pub dry_run: bool,
}

/// How much memory a model may take.
#[derive(Debug, Args)]
pub struct Memory {
    /// Weights: auto, stream (one block at a time from disk) or resident.
    #[arg(long, default_value = "auto")]
    pub residency: Residency,
    /// Memory for hidden states between two blocks, such as 4GiB; what is beyond goes to disk [default: no bound].
    #[arg(long, value_name = "BYTES", value_parser = interlingua_models::spill::parse_bytes)]
    pub memory: Option<u64>,
    /// What the factors of matrix products are rounded to: f32 (not at all), or bf16, for GPUs.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
}

/// Which model, and how it is run.
#[derive(Debug, Args)]
pub struct Opened {
    /// A checkpoint folder, a GGUF file, or a name of the Hugging Face hub: owner/name, owner/name@revision.
    #[arg(value_name = "MODEL")]
    pub name: String,
    /// auto, cpu, wgpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceName,
    /// Where weights and states live.
    #[command(flatten)]
    pub memory: Memory,
}

/// Flags of `tune`.
#[derive(Debug, Args)]
pub struct Tune {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// The folder for what comes out.
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
    /// The bias.
    #[arg(long, default_value = "gender")]
    pub category: String,
    /// How far predictions on neutral text may move: KL(unedited, edited) in nats a token, its upper 95 % bound, in every
    /// language.
    #[arg(long, value_name = "NATS", default_value_t = 0.1)]
    pub max_kl: f64,
    /// Methods that are tried, separated by commas; `interlingua methods` lists them [default: sentdebias,leace].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub methods: Option<Vec<String>>,
    /// Ranks that are tried, separated by commas [default: 1,2,4,8].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub ranks: Option<Vec<usize>>,
    /// Strengths that are tried, separated by commas [default: 0.5,1,1.5].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub strengths: Option<Vec<f64>>,
    /// Only edits that are a change of weights, exactly.
    #[arg(long)]
    pub folded: bool,
    /// Random edits of the chosen one's shape, for the confirmation.
    #[arg(long, default_value_t = 5)]
    pub controls: usize,
    /// Candidates that are judged in one pass over the weights.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub at_once: usize,
    /// Seed of splits, fits, controls and intervals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Sentence templates to fit on, in place of those that ship: two groups, nothing else differs.
    #[arg(long, value_name = "FILE.toml")]
    pub fit_text: Option<PathBuf>,
    /// Sentence templates to judge by, in place of those that ship: attributes say which group they lean to.
    #[arg(long, value_name = "FILE.toml")]
    pub pairs: Option<PathBuf>,
    /// Count pairs whose attribute is marked for the group (French `infirmier`, `infirmière`) like the others; their sentences
    /// differ in grammar too, so they are reported apart otherwise.
    #[arg(long)]
    pub marked: bool,
    /// Text of the synthetic testbed, for a model that `interlingua reproduce` has trained on it with this `--seed`
    /// (OUT/cache/lm-*): what is planted there is known.
    #[arg(long, conflicts_with_all = ["fit_text", "pairs", "neutral"])]
    pub testbed: bool,
    /// Parallel neutral text, in place of that which ships: one column a language.
    #[arg(long, value_name = "FILE.tsv")]
    pub neutral: Option<PathBuf>,
}

/// Flags of `debias`.
#[derive(Debug, Args)]
pub struct Debias {
    /// The search.
    #[command(flatten)]
    pub tune: Tune,
    /// What is given back.
    #[arg(long, value_enum, default_value_t = crate::tune::Format::Edit)]
    pub format: crate::tune::Format,
}

/// Flags of `model inspect`.
#[derive(Debug, Args)]
pub struct InspectFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// Show this text as a user's message in the checkpoint's chat template, and its tokens, instead.
    #[arg(long, value_name = "TEXT")]
    pub render: Option<String>,
}

/// Flags of `model capture`.
#[derive(Debug, Args)]
pub struct CaptureFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// The texts, one on each line, in UTF-8.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Hook points, separated by commas: `all` for every one, `block.*.output` for that of every block.
    /// `interlingua hooks` lists them.
    #[arg(long, value_name = "LIST", default_value = "final_norm")]
    pub hooks: String,
    /// Do not ask for log-likelihoods; in a masked model they cost one copy of the text per token.
    #[arg(long)]
    pub no_log_probs: bool,
    /// Put every text into the checkpoint's chat template first, as a user's message.
    #[arg(long)]
    pub chat: bool,
    /// Run the model under this intervention.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: Option<PathBuf>,
    /// Write the logits too: tokens × vocabulary values.
    #[arg(long)]
    pub logits: bool,
    /// The file to write.
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    /// Replace the file if it is there; never one that is read.
    #[arg(long)]
    pub force: bool,
}

/// Flags of `model score`.
#[derive(Debug, Args)]
pub struct ScoreFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// A file of minimal pairs in any format that `data describe` knows.
    #[arg(long, value_name = "FILE")]
    pub pairs: PathBuf,
    /// Format of that file, where name and content do not tell it.
    #[arg(long, value_parser = Format::named)]
    pub format: Option<Format>,
    /// Language of the pairs.
    #[arg(long, default_value = "en")]
    pub language: Language,
    /// Score the model under this intervention.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: Option<PathBuf>,
    /// How a sentence is scored; `interlingua metrics` lists the scorers [default: lm-eval for causal models,
    /// nangia for masked ones].
    #[arg(long, value_name = "NAME")]
    pub scorer: Option<String>,
    /// Only so many pairs, from the first.
    #[arg(long)]
    pub limit: Option<usize>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `measure`.
#[derive(Debug, Args)]
pub struct MeasureFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// Measure the model under this intervention too.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: Option<PathBuf>,
    /// Files of minimal pairs, separated by commas [default: the occupations of this project].
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
    /// Only pairs of these categories, separated by commas [default: all].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub categories: Vec<String>,
    /// Only so many pairs of a task and a language, from the first.
    #[arg(long)]
    pub limit: Option<usize>,
    /// How a sentence is scored; `interlingua metrics` lists the scorers [default: lm-eval for causal models,
    /// nangia for masked ones].
    #[arg(long, value_name = "NAME")]
    pub scorer: Option<String>,
    /// Of the intervals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write measure.json, measure.md and measure.html into this folder, and keep what is finished there.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print JSON instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `fit`.
#[derive(Debug, Args)]
pub struct FitFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// The method; `interlingua methods` lists them.
    #[arg(long, value_name = "NAME")]
    pub method: String,
    /// Directions that are taken away, for methods that have a rank.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub rank: usize,
    /// A parameter of the method; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Hook points, separated by commas; an edit is fitted at each by itself. `interlingua hooks` lists them.
    #[arg(long, value_name = "LIST", default_value = "final_norm")]
    pub hook: String,
    /// The tokens that are fitted on and edited: text (all but the special ones) or all.
    #[arg(long, value_name = "SET", default_value = "text", value_parser = ["text", "all"])]
    pub tokens: String,
    /// Languages of the sentences, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "en")]
    pub language: Vec<Language>,
    /// Which groups.
    #[arg(long, default_value = "gender")]
    pub category: String,
    /// Factor on the edit.
    #[arg(long, default_value_t = 1.0)]
    pub strength: f64,
    /// Of methods that draw.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Templates of sentences that differ in the group alone [default: datasets/templates/everyday.toml].
    #[arg(long, value_name = "FILE")]
    pub templates: Option<PathBuf>,
    /// The file to write.
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    pub force: bool,
}

/// What `export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A checkpoint folder.
    Hf,
    /// An adapter folder of PEFT.
    Peft,
    /// A GGUF file.
    Gguf,
    /// A LoRA adapter of llama.cpp.
    GgufLora,
    /// A control vector of llama.cpp.
    GgufControlVector,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub struct ExportFlags {
    /// A checkpoint folder, a GGUF file, or a name of the Hugging Face hub: owner/name, owner/name@revision.
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// The intervention.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: PathBuf,
    /// What to write.
    #[arg(long = "as", value_name = "FORMAT")]
    pub format: ExportFormat,
    /// The folder or file to write, which must not be there.
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
}

/// Flags of `generate`.
#[derive(Debug, Args)]
pub struct GenerateFlags {
    /// The model.
    #[command(flatten)]
    pub model: Opened,
    /// A prompt; may be given several times.
    #[arg(long, value_name = "TEXT", required_unless_present = "prompts")]
    pub prompt: Vec<String>,
    /// Prompts, one on each line, in UTF-8.
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Generate under this intervention.
    #[arg(long, value_name = "FILE.safetensors")]
    pub edit: Option<PathBuf>,
    /// Generate without the edit too, and show both.
    #[arg(long, requires = "edit")]
    pub side_by_side: bool,
    /// At most so many new tokens for each prompt.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens: u32,
    /// Draw tokens, from logits that are divided by this.
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Draw tokens, from the likeliest that together have this probability.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f64>,
    /// Of the random numbers; every prompt has its own.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Put every prompt into the checkpoint's chat template first, as a user's message.
    #[arg(long)]
    pub chat: bool,
    /// Prompts that are gone on with side by side.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch: u32,
    /// Print JSON instead of text: prompts and texts with their tokens.
    #[arg(long)]
    pub json: bool,
    /// Also write a page with the prompts and the texts.
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Replace the page if it is there.
    #[arg(long)]
    pub force: bool,
}

/// Subcommands of `model`.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Say what a checkpoint is: geometry, parameters, memory, hook points, tokenizer.
    #[command(after_help = "Examples:
  interlingua model inspect models/my-checkpoint
  interlingua model inspect gemma-3-270m-q4_k_m.gguf       a GGUF file
  interlingua model inspect CohereLabs/aya-expanse-8b      fetched from the hub if it is not in its cache
  interlingua model inspect smollm2.gguf --render 'Hi.'    a message as the chat template has it")]
    Inspect(InspectFlags),
    /// Write token ids, states at hook points and log-likelihoods of some texts to one safetensors file.
    #[command(after_help = "Examples:
  interlingua model capture models/my-checkpoint --text texts.txt --out states.safetensors
  interlingua model capture models/my-checkpoint --text texts.txt --hooks block.0.mlp,final_norm --logits --out s.safetensors
  interlingua model capture models/my-checkpoint --text texts.txt --hooks all --out s.safetensors

Text i has the rows offsets[i] to offsets[i + 1] of token_ids, states.HOOK, log_probs and logits.
docs/models.md compares such a file with transformers in ten lines of Python.")]
    Capture(CaptureFlags),
    /// Score minimal pairs, by default as lm-evaluation-harness (causal models) or CrowS-Pairs (masked models)
    /// does, and say what it cost.
    #[command(after_help = "Examples:
  interlingua model score models/my-checkpoint --pairs data/crows_pairs_en/crows_pairs_anonymized.csv
  interlingua model score CohereLabs/aya-expanse-8b --pairs pairs.tsv --limit 16 --residency stream
  interlingua model score FacebookAI/xlm-roberta-base --pairs pairs.tsv --scorer bias-bench

The last lines give the time, the peak memory and how many bytes of weights were read.")]
    Score(ScoreFlags),
    /// Train a small language model on real text.
    #[command(after_help = "Examples:
  interlingua data fetch tatoeba_manythings ntrex128      the text of the recipe
  interlingua model pretrain experiments/pretrain-4l.toml into ./models/pretrain-4l, an hour on two busy cores
  interlingua model pretrain experiments/pretrain-4l.toml --resume
  interlingua model pretrain experiments/pretrain-4l.toml --quick --data-dir DATA
  interlingua model pretrain experiments/pretrain-4l.toml --dry-run

The folder loads in transformers and in `interlingua reproduce`; README.md and training.json in it
say how it was made. A killed run keeps its checkpoints in OUT/NAME.making and ends, continued
with --resume, with the weights of a straight run. A finished folder is never trained again.
Exit codes: 0 the model is there, 1 the run stopped with an error, 2 the flags were wrong.")]
    Pretrain(Pretrain),
}

/// Flags of `model pretrain`.
#[derive(Debug, Args)]
pub struct Pretrain {
    /// The recipe, such as experiments/pretrain-4l.toml.
    pub experiment: PathBuf,
    /// auto, cpu, wgpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceName,
    /// Folder of data files that the recipe names.
    #[arg(long, default_value = "data")]
    pub data_dir: PathBuf,
    /// Folder for the checkpoint folder.
    #[arg(long, default_value = "models")]
    pub out: PathBuf,
    /// Continue a half-done run from its last checkpoint.
    #[arg(long)]
    pub resume: bool,
    /// Use the settings of the recipe's `quick` table.
    #[arg(long)]
    pub quick: bool,
    /// Say what the run would need, and stop.
    #[arg(long)]
    pub dry_run: bool,
}

/// Subcommands of `data`.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// List the data sets that have a manifest, with licence, size and whether they are here.
    #[command(after_help = "Examples:
  interlingua data list                   what can be fetched, and what is in ./data already
  interlingua data list --cache /mnt/data the same for another folder

`here` goes by the sizes of the files; `data verify` hashes them.")]
    List(DataPlaces),
    /// Download data sets; the licence of each is shown first.
    #[command(after_help = "Examples:
  interlingua data fetch ntrex128         one data set, into ./data/ntrex128
  interlingua data fetch seat reusens2023 --cache /mnt/data
  interlingua data fetch                  everything that has a manifest

A file that is here with the right hash is not fetched again, and a broken transfer goes on
where it ended; one that creeps is given up. A file that is here with other bytes is kept, and told,
unless --force is given. Give the same folder to `interlingua reproduce --data-dir`.
Exit codes: 0 all is here, 1 something could not be fetched, 2 the flags were wrong.")]
    Fetch(Fetch),
    /// Hash the files of data sets again and compare with their manifests.
    #[command(after_help = "Examples:
  interlingua data verify                 every data set that is in ./data
  interlingua data verify ntrex128        one, which must be there

Exit codes: 0 every file is right, 1 a file is missing or has other bytes, 2 the flags were wrong.")]
    Verify(DataNames),
    /// Say what a file or folder holds and what is wrong with it.
    #[command(after_help = "Examples:
  interlingua data describe data/ntrex128
  interlingua data describe my-corpus.tsv
  interlingua data describe my-corpus.tsv --json > description.json

Reads parallel text (TSV, CSV, line-aligned files, TMX, TED, Parquet, JSON), bias pairs and
attribute word lists. Lengths, duplicates, empty cells, encodings and suspicious rows are
listed with their lines. Faults are described, they do not make the command fail.")]
    Describe(Describe),
}

/// Where manifests and files are.
#[derive(Debug, Args)]
pub struct DataPlaces {
    /// Folder of the files, one folder per data set.
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    pub cache: PathBuf,
    /// Folder of the manifests [default: datasets/ of the workspace].
    #[arg(long, value_name = "FOLDER")]
    pub manifests: Option<PathBuf>,
}

/// Which data sets.
#[derive(Debug, Args)]
pub struct DataNames {
    /// Data sets, as `data list` names them; all of them when none is given.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Where manifests and files are.
    #[command(flatten)]
    pub places: DataPlaces,
}

/// Flags of `data fetch`.
#[derive(Debug, Args)]
pub struct Fetch {
    /// Which data sets.
    #[command(flatten)]
    pub data: DataNames,
    /// Replace files that are there with other bytes than their manifest says.
    #[arg(long)]
    pub force: bool,
}

/// Flags of `data describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// The file or folder.
    pub file: PathBuf,
    /// Its format, where name and content do not tell it.
    #[arg(long, value_parser = Format::named)]
    pub format: Option<Format>,
    /// Language of pairs whose file does not say it, such as a CSV with sent_more and sent_less.
    #[arg(long)]
    pub language: Option<Language>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}
