//! Flags and subcommands.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use interlingua_backend::{DeviceName, Precision};
use interlingua_data::{Format, Language};
use interlingua_models::Residency;

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
    /// List, fetch, verify and describe data sets.
    #[command(subcommand)]
    Data(Data),
    /// Inspect, run and make language models.
    #[command(subcommand)]
    Model(Model),
    /// Join the reports of run folders into one page of the documentation.
    Results {
        /// Run folders, such as runs/testbed-0123abcd.
        folders: Vec<PathBuf>,
        /// The page to write.
        #[arg(long, default_value = "docs/results.md")]
        output: PathBuf,
        /// Also write the heart of the first summary of that page into this one, between its marks;
        /// alone, without folders, it leaves the page of results as it is.
        #[arg(long, value_name = "FILE")]
        summary: Option<PathBuf>,
        /// Print instead how far the numbers move between these runs: one experiment under different
        /// seeds, such as `[[vary]]` tables with `seed = 2` give.
        #[arg(long, conflicts_with_all = ["output", "summary"])]
        seeds: bool,
        /// Replace the page if it is there.
        #[arg(long)]
        force: bool,
    },
    /// Show how the peak memory and the time of scoring grow with the number of sentences.
    Memory {
        /// A checkpoint folder.
        model: PathBuf,
        /// Sentences of the smallest measurement; 10×, 100× and 1000× follow.
        #[arg(long, default_value_t = crate::memory::SENTENCES)]
        sentences: usize,
        /// Measure this number alone, in this process.
        #[arg(long, hide = true)]
        once: bool,
    },
    /// Compare models, methods and metrics with the code everyone cites.
    #[command(after_help = "Examples:
  cargo xtask parity                                      the committed values
  cargo xtask parity --python python3 --seed 7            fresh ones, more shapes of models
  cargo xtask parity --what methods,metrics --python python3 --seed 21,22,23 --page docs/parity.md

models: every architecture against transformers, at every hook point. methods, metrics: golden
values of scikit-learn, concept-erasure, scipy and others. crows: every CrowS-Pairs decision on
1445 pairs in four languages; needs the folder INTERLINGUA_SHARED with the pairs and a model, and
for the masked scorers --python, which trains a small encoder.
The heads of the scripts in tests/generators say which Python packages each needs.
Exit codes: 0 everything agrees, 1 something does not, 2 the flags were wrong.")]
    Parity(Parity),
    /// Time whole pieces of work, on demand beside PyTorch and others doing the same.
    #[command(after_help = "Examples:
  cargo xtask bench                                       everything, this program alone
  cargo xtask bench score-small,masked --runs 3
  cargo xtask bench --share 4,masked=100                  a quarter of the texts, a hundredth for one
  cargo xtask bench --peers --python python3 --page docs/performance.md

Texts and a trained model come from the folder INTERLINGUA_SHARED; without it, the testbed's texts
and random weights are used. The head of tests/peers/peers.py says which Python packages it needs.
Both sides run in turn, on the same inputs and threads, and must give the same results; only the
autoencoders are not compared, since they start from different random weights.")]
    Bench(Bench),
    /// List the debiasing methods.
    Methods,
    /// List the scorers and metrics.
    Metrics,
    /// List the hook points.
    Hooks,
    /// Compare the rows of two runs by their axes; exit with 1 where they differ.
    #[command(after_help = "Examples:
  cargo xtask compare runs/testbed-6e634533 before/testbed-6e634533
  cargo xtask compare OLD NEW --ignore tokens     where only the new rows have this axis

Numbers differ when |a - b| > TOLERANCE · max(1, |a|).")]
    Compare {
        /// Folder of a finished run, or its rows.jsonl.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Largest difference that is none.
        #[arg(long, default_value_t = 1e-6)]
        tolerance: f64,
        /// An axis that is left out on both sides; may be given several times.
        #[arg(long, value_name = "AXIS")]
        ignore: Vec<String>,
    },
    /// Start a debiasing method: its file, registry line, tests and page, which work at once.
    #[command(after_help = "Examples:
  cargo xtask new-debiaser my-method --dry-run     what would be made
  cargo xtask new-debiaser my-method
  cargo test --workspace my_method                 its tests pass as it is

docs/add-a-debiaser.md goes on from there.")]
    NewDebiaser(New),
    /// Start a metric: its file, registry line, tests and page, which work at once.
    #[command(after_help = "Examples:
  cargo xtask new-metric my_metric --dry-run       what would be made
  cargo xtask new-metric my_metric
  cargo test --workspace my_metric                 its tests pass as it is

docs/add-a-metric.md goes on from there.")]
    NewMetric(New),
    /// Write into the documentation what the registries say about methods and metrics.
    Docs {
        /// Change nothing; fail when a page is not what the registries say.
        #[arg(long)]
        check: bool,
    },
}

/// Flags of `new-debiaser` and `new-metric`.
#[derive(Debug, Args)]
pub struct New {
    /// Name in specs and result rows: my-method of a debiaser, my_metric of a metric.
    pub name: String,
    /// Show what would be made, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Flags of `reproduce`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask reproduce                       the synthetic testbed, a few minutes on two cores
  cargo xtask reproduce --quick               the same, small, under a minute
  cargo xtask reproduce --seed 2              the same from another seed; `results --seeds` compares them
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
    /// `cargo xtask hooks` lists them.
    #[arg(long, value_name = "LIST", default_value = "final_norm")]
    pub hooks: String,
    /// Do not ask for log-likelihoods; in a masked model they cost one copy of the text per token.
    #[arg(long)]
    pub no_log_probs: bool,
    /// Put every text into the checkpoint's chat template first, as a user's message.
    #[arg(long)]
    pub chat: bool,
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
    /// How a sentence is scored; `cargo xtask metrics` lists the scorers [default: lm-eval for causal models,
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

/// Subcommands of `model`.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Say what a checkpoint is: geometry, parameters, memory, hook points, tokenizer.
    #[command(after_help = "Examples:
  cargo xtask model inspect models/my-checkpoint
  cargo xtask model inspect gemma-3-270m-q4_k_m.gguf       a GGUF file
  cargo xtask model inspect CohereLabs/aya-expanse-8b      fetched from the hub if it is not in its cache
  cargo xtask model inspect smollm2.gguf --render 'Hi.'    a message as the chat template has it")]
    Inspect(InspectFlags),
    /// Write token ids, states at hook points and log-likelihoods of some texts to one safetensors file.
    #[command(after_help = "Examples:
  cargo xtask model capture models/my-checkpoint --text texts.txt --out states.safetensors
  cargo xtask model capture models/my-checkpoint --text texts.txt --hooks block.0.mlp,final_norm --logits --out s.safetensors
  cargo xtask model capture models/my-checkpoint --text texts.txt --hooks all --out s.safetensors

Text i has the rows offsets[i] to offsets[i + 1] of token_ids, states.HOOK, log_probs and logits.
docs/models.md compares such a file with transformers in ten lines of Python.")]
    Capture(CaptureFlags),
    /// Score minimal pairs, by default as lm-evaluation-harness (causal models) or CrowS-Pairs (masked models)
    /// does, and say what it cost.
    #[command(after_help = "Examples:
  cargo xtask model score models/my-checkpoint --pairs data/crows_pairs_en/crows_pairs_anonymized.csv
  cargo xtask model score CohereLabs/aya-expanse-8b --pairs pairs.tsv --limit 16 --residency stream
  cargo xtask model score FacebookAI/xlm-roberta-base --pairs pairs.tsv --scorer bias-bench

The last lines give the time, the peak memory and how many bytes of weights were read.")]
    Score(ScoreFlags),
    /// Train a small language model on real text.
    #[command(after_help = "Examples:
  cargo xtask data fetch tatoeba_manythings ntrex128      the text of the recipe
  cargo xtask model pretrain experiments/pretrain-4l.toml into ./models/pretrain-4l, an hour on two busy cores
  cargo xtask model pretrain experiments/pretrain-4l.toml --resume
  cargo xtask model pretrain experiments/pretrain-4l.toml --quick --data-dir DATA
  cargo xtask model pretrain experiments/pretrain-4l.toml --dry-run

The folder loads in transformers and in `cargo xtask reproduce`; README.md and training.json in it
say how it was made. A killed run keeps its checkpoints in OUT/NAME.making and ends, continued
with --resume, with the weights of a straight run. A finished folder is never trained again.
Exit codes: 0 the model is there, 1 the run stopped with an error, 2 the flags were wrong.")]
    Pretrain(Pretrain),
}

/// What `parity` compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Every architecture, at every hook point.
    Models,
    /// Debiasing methods.
    Methods,
    /// Metrics.
    Metrics,
    /// Every decision of the CrowS-Pairs scorers on real pairs.
    Crows,
}

impl Subject {
    /// All, in the order in which they are compared.
    pub const ALL: [Subject; 4] = [
        Subject::Models,
        Subject::Methods,
        Subject::Metrics,
        Subject::Crows,
    ];

    /// As it is typed, and the mark of its table in a page.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Models => "models",
            Subject::Methods => "methods",
            Subject::Metrics => "metrics",
            Subject::Crows => "crows",
        }
    }
}

/// Flags of `parity`.
#[derive(Debug, Args)]
pub struct Parity {
    /// What to compare, separated by commas [default: everything].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub what: Vec<Subject>,
    /// A Python that has the references: makes fresh values in place of the committed ones.
    #[arg(long, value_name = "PROGRAM")]
    pub python: Option<PathBuf>,
    /// Seeds of the fresh values, separated by commas; the tables give the largest difference of all.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "1",
        value_delimiter = ',',
        requires = "python"
    )]
    pub seed: Vec<u64>,
    /// Only checkpoints whose name contains this, and nothing else.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Where models run: auto, cpu, wgpu, cuda or cuda:N; all else is computed on the CPU.
    #[arg(long, default_value = "cpu")]
    pub device: DeviceName,
    /// Of the models' products, on both sides: f32 or bf16.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Also write the tables into this page, between its marks; of fresh values, if they agree.
    #[arg(
        long,
        value_name = "FILE",
        requires_all = ["python", "what"],
        conflicts_with = "only"
    )]
    pub page: Option<PathBuf>,
}

/// A piece of work to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Pairs under a causal model of 4 blocks of 256.
    ScoreSmall,
    /// Pairs under a causal model of the size of GPT-2 small.
    Score,
    /// The same under 16 edits at the final norm.
    EditsNorm,
    /// The same under 16 edits in the middle.
    EditsMiddle,
    /// A hundred pairs under a masked model of the size of BERT base.
    Masked,
    /// Mean states of parallel sentences.
    Capture,
    /// Steps of training an autoencoder.
    Autoencoder,
    /// Fitting LEACE.
    Leace,
    /// Fitting INLP.
    Inlp,
    /// The program's own start.
    Start,
}

impl Work {
    /// As it is typed.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no value is hidden");
        value.get_name().to_owned()
    }
}

/// How many texts a piece of work uses: one in so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which work; all of it where there is none.
    pub work: Option<Work>,
    /// One in so many.
    pub of: usize,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let (work, number) = match text.split_once('=') {
            Some((work, number)) => (Some(Work::from_str(work, false)?), number),
            None => (None, text),
        };
        match number.parse() {
            Ok(of) if of > 0 => Ok(Share { work, of }),
            _ => Err(format!("`{number}` is not a whole number from 1 on")),
        }
    }
}

/// Flags of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to time, separated by commas [default: everything].
    #[arg(value_name = "WORK", value_delimiter = ',')]
    pub work: Vec<Work>,
    /// Have a Python process do the same work, in turn.
    #[arg(long, requires = "python")]
    pub peers: bool,
    /// A Python that has the packages of tests/peers/peers.py.
    #[arg(long, value_name = "PROGRAM", requires = "peers")]
    pub python: Option<PathBuf>,
    /// Counted runs of each side, after one to warm up.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..100))]
    pub runs: u32,
    /// Use one in so many texts, everywhere (N) or for some work (WORK=N), separated by commas
    /// [default: all, but 1 in 8 and 1 in 32 for the larger model].
    #[arg(long, value_name = "[WORK=]N", value_delimiter = ',')]
    pub share: Vec<Share>,
    /// A causal checkpoint folder for `score`, `edits-norm` and `edits-middle`, instead of random
    /// weights of GPT-2-small size; every token of the texts has to be one of its own.
    #[arg(long, value_name = "FOLDER")]
    pub model: Option<PathBuf>,
    /// Small fits and autoencoders: shows that everything works, not how fast it is.
    #[arg(long)]
    pub quick: bool,
    /// Where models and autoencoders run: auto, cpu, wgpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    pub device: DeviceName,
    /// Of the models' products, on both sides: f32 or bf16.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Also write the table into this page, between its marks.
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
}

impl Bench {
    /// One in how many texts a piece of work uses, where that is said.
    pub fn share(&self, work: Work) -> Option<usize> {
        let own = self.share.iter().rfind(|share| share.work == Some(work));
        let all = self.share.iter().rfind(|share| share.work.is_none());
        own.or(all).map(|share| share.of)
    }
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
  cargo xtask data list                   what can be fetched, and what is in ./data already
  cargo xtask data list --cache /mnt/data the same for another folder

`here` goes by the sizes of the files; `data verify` hashes them.")]
    List(DataPlaces),
    /// Download data sets; the licence of each is shown first.
    #[command(after_help = "Examples:
  cargo xtask data fetch ntrex128         one data set, into ./data/ntrex128
  cargo xtask data fetch seat reusens2023 --cache /mnt/data
  cargo xtask data fetch                  everything that has a manifest

A file that is here with the right hash is not fetched again, and a broken transfer goes on
where it ended; one that creeps is given up. A file that is here with other bytes is kept, and told,
unless --force is given. Give the same folder to `cargo xtask reproduce --data-dir`.
Exit codes: 0 all is here, 1 something could not be fetched, 2 the flags were wrong.")]
    Fetch(Fetch),
    /// Hash the files of data sets again and compare with their manifests.
    #[command(after_help = "Examples:
  cargo xtask data verify                 every data set that is in ./data
  cargo xtask data verify ntrex128        one, which must be there

Exit codes: 0 every file is right, 1 a file is missing or has other bytes, 2 the flags were wrong.")]
    Verify(DataNames),
    /// Say what a file or folder holds and what is wrong with it.
    #[command(after_help = "Examples:
  cargo xtask data describe data/ntrex128
  cargo xtask data describe my-corpus.tsv
  cargo xtask data describe my-corpus.tsv --json > description.json

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
