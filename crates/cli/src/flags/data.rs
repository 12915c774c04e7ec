//! The subcommands of `data` and their flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use interlingua_data::{Format, Language};

/// The subcommands of `data`.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// List the data sets that have a manifest, with their licence, their size and whether they are here.
    #[command(after_help = "Examples:
  interlingua data list                   what can be fetched, and what is in ./data already
  interlingua data list --cache /mnt/data the same for another folder

`here` is decided by the sizes of the files; `interlingua data verify` checks their hashes.")]
    List(DataPlaces),
    /// Download data sets; the licence of each is shown first.
    #[command(after_help = "Examples:
  interlingua data fetch ntrex128         one data set, into ./data/ntrex128
  interlingua data fetch seat reusens2023 --cache /mnt/data
  interlingua data fetch                  everything that has a manifest

A file that is here with the right hash is not fetched again. A broken transfer is resumed, and one
that is too slow is given up. A file that is here with other bytes is kept and reported, unless
--force is given. Give the same folder to `interlingua reproduce --data-dir`.
Exit codes: 0 all files are here, 1 something could not be fetched, 2 the flags were wrong.")]
    Fetch(Fetch),
    /// Verify the files of data sets by their hashes.
    #[command(after_help = "Examples:
  interlingua data verify                 every data set that is in ./data
  interlingua data verify ntrex128        one, which must be there

Exit codes: 0 every file is right, 1 a file is missing or has other bytes, 2 the flags were wrong.")]
    Verify(DataNames),
    /// Describe what a file or folder holds and what is wrong with it.
    #[command(after_help = "Examples:
  interlingua data describe data/ntrex128
  interlingua data describe my-corpus.tsv
  interlingua data describe my-corpus.tsv --json > description.json

Reads parallel text (TSV, CSV, line-aligned files, TMX, TED, Parquet, JSON), bias pairs and
attribute word lists. Lengths, duplicates, empty cells, encodings and suspicious rows are
listed with their lines. Faults of the data are described; they do not make the command fail.")]
    Describe(Describe),
}

/// The folders of manifests and files.
#[derive(Debug, Args)]
pub struct DataPlaces {
    /// Folder of the files, with one folder per data set.
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    pub cache: PathBuf,
    /// Folder of the manifests [default: datasets/ of the workspace].
    #[arg(long, value_name = "FOLDER")]
    pub manifests: Option<PathBuf>,
}

/// The data sets and their folders.
#[derive(Debug, Args)]
pub struct DataNames {
    /// Data sets, by the names that `data list` shows; all of them if none is given.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// The folders of manifests and files.
    #[command(flatten)]
    pub places: DataPlaces,
}

/// The flags of `data fetch`.
#[derive(Debug, Args)]
pub struct Fetch {
    /// The data sets.
    #[command(flatten)]
    pub data: DataNames,
    /// Replace files whose bytes differ from their manifest.
    #[arg(long)]
    pub force: bool,
}

/// The flags of `data describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// File or folder to describe.
    pub file: PathBuf,
    /// Format of the file, if it cannot be found from name and content.
    #[arg(long, value_parser = Format::named)]
    pub format: Option<Format>,
    /// Language of the pairs, for files that do not say it, such as a CSV with sent_more and sent_less.
    #[arg(long)]
    pub language: Option<Language>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}
