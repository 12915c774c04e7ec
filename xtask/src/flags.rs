//! Flags and subcommands: those of the program, and what only developers need.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use interlingua_backend::{DeviceName, Precision};

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
    /// What the program `interlingua` does.
    #[command(flatten)]
    Program(Box<interlingua_cli::flags::Command>),
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
        /// Write instead what `tune` or `debias` left in these folders into this page: of one folder the table of all
        /// languages between the marks `tuned`, of several a line each between `tuned-lines`.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "summary", "seeds"])]
        tuned: Option<PathBuf>,
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
    /// Compare the rows of two runs by their axes; exit with 1 where they differ.
    #[command(after_help = "Examples:
  cargo xtask compare runs/testbed-6e634533 before/testbed-6e634533
  cargo xtask compare OLD NEW --ignore role,draw    where only the new rows have these axes

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
        #[arg(long, value_name = "AXIS", value_delimiter = ',')]
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

docs/add-a-task.md goes on from there.")]
    NewMetric(New),
    /// Start a task: its file, registry line, tests, metric and page, which work at once.
    #[command(after_help = "Examples:
  cargo xtask new-task my-task --dry-run           what would be made
  cargo xtask new-task my-task
  cargo test --workspace my_task                   its tests pass as it is

docs/add-a-task.md goes on from there.")]
    NewTask(New),
    /// Start a space that affine maps lead to: its file, registry line and tests, which work at once.
    #[command(after_help = "Examples:
  cargo xtask new-space my-space --dry-run         what would be made
  cargo xtask new-space my-space
  cargo test --workspace my_space                  its tests pass as it is

docs/add-a-space.md goes on from there.")]
    NewSpace(New),
    /// Start an architecture: its file, registry line and tests, which work at once.
    #[command(after_help = "Examples:
  cargo xtask new-architecture my-llm --dry-run    what would be made
  cargo xtask new-architecture my-llm
  cargo test --workspace my_llm                    its tests pass as it is

docs/add-an-architecture.md goes on from there.")]
    NewArchitecture(New),
    /// Write into the documentation what the registries say about methods and metrics.
    Docs {
        /// Change nothing; fail when a page is not what the registries say.
        #[arg(long)]
        check: bool,
    },
}

/// Flags of `new-debiaser`, `new-metric`, `new-task`, `new-space` and `new-architecture`.
#[derive(Debug, Args)]
pub struct New {
    /// Name in specs and result rows: my-method of a debiaser, a task, a space or an architecture, my_metric of a metric.
    pub name: String,
    /// Show what would be made, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
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
    /// [default: what a run of minutes needs: all
    /// for `score-small`, 1 in 64 for `score`, 1 in 1000 and 1 in 200 for edits, three pairs for
    /// `masked`, 1 in 8 for `capture`].
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
