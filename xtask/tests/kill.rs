//! A run that is killed at any moment and started again ends as if nothing had happened.
//!
//! A small testbed experiment runs straight through once. Then it is started with `--resume`,
//! killed with SIGKILL after a random time, and started again, until twenty kills have hit a
//! running process. Whatever comes out at the end must be byte for byte what the straight run
//! wrote; only the report and the log, which hold timings, may differ.
//!
//! The same holds for every experiment. To see it for the quick testbed (some minutes):
//!
//! ```text
//! INTERLINGUA_KILL_SPEC=experiments/testbed.toml INTERLINGUA_KILL_FLAGS=--quick \
//!     cargo test --package xtask --test kill
//! ```
//!
//! A relative path starts at the root of the workspace.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Kills that must hit a running process.
const KILLS: usize = 20;

/// Small, and yet with every stage: a language model with checkpoints, states, autoencoders, edits, scores.
const SPEC: &str = r#"name = "kill"
title = "An experiment to be killed"
languages = ["en", "fr", "nl"]
categories = ["gender"]
spaces = ["raw", "latent", "procrustes"]
methods = [{ name = "sentdebias", rank = 1 }, { name = "inlp", rank = 2 }]

[data]
kind = "testbed"
train_rows = 200
validation_rows = 60
heldout_rows = 80
pairs = 24
fit_sentences = 300

[model]
kind = "train"
hidden_size = 64
intermediate_size = 128
vocab_size = 600
sentences = 4000
batch = 32
steps = 60
checkpoint_every = 10

[autoencoder]
latent = 16
hidden = 48
steps = 60
eval_every = 20
batch = 32

[score]
scorers = ["lm-eval"]
resamples = 200
perplexity_sentences = 40
"#;

/// What is run, and where.
struct Experiment {
    spec: PathBuf,
    flags: Vec<String>,
    folder: PathBuf,
}

impl Experiment {
    fn start(&self, out: &str, resume: bool) -> Child {
        let log = std::fs::File::create(self.folder.join(out).with_extension("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .arg("reproduce")
            .arg(&self.spec)
            .args(&self.flags)
            .arg("--out")
            .arg(self.folder.join(out))
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"));
        if resume {
            command.arg("--resume");
        }
        command.spawn().expect("the program starts")
    }

    fn log(&self, out: &str) -> String {
        std::fs::read_to_string(self.folder.join(out).with_extension("log")).expect("a log file")
    }

    /// The run folders without what holds timings.
    fn results(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let mut results = tree::files(&self.folder.join(out));
        results.retain(|name, _| {
            let timed = ["report.html", "report.md", "log.jsonl"];
            !name.starts_with("cache/") && !timed.iter().any(|t| name.ends_with(t))
        });
        results
    }
}

/// Fails unless a killed run has left what the straight run left.
fn check_same(straight: &BTreeMap<String, Vec<u8>>, killed: &BTreeMap<String, Vec<u8>>) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(straight), names(killed));
    let different: Vec<&String> = straight
        .iter()
        .filter(|(name, bytes)| killed.get(*name) != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    assert!(different.is_empty(), "these differ: {different:?}");
}

#[test]
fn a_killed_run_ends_as_a_straight_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spec = match std::env::var_os("INTERLINGUA_KILL_SPEC") {
        Some(spec) => Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(spec),
        None => {
            let spec = folder.path().join("kill.toml");
            std::fs::write(&spec, SPEC).expect("a file");
            spec
        }
    };
    let flags = std::env::var("INTERLINGUA_KILL_FLAGS").unwrap_or_default();
    let experiment = Experiment {
        spec,
        flags: flags.split_whitespace().map(str::to_owned).collect(),
        folder: folder.path().to_owned(),
    };

    let start = Instant::now();
    let status = experiment.start("straight", false).wait();
    assert!(
        status.is_ok_and(|s| s.success()),
        "{}",
        experiment.log("straight")
    );
    let whole = start.elapsed();
    let straight = experiment.results("straight");
    for file in [
        "rows.jsonl",
        "rows.csv",
        "rows.parquet",
        "items.parquet",
        "tables/summary.md",
    ] {
        assert!(
            straight.keys().any(|name| name.ends_with(file)),
            "no {file}"
        );
    }

    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut kills = 0;
    let mut killed_in = BTreeSet::new();
    // A run that ends before its kill has been checked, and another one starts from nothing.
    let mut attempt = 0;
    let mut out = format!("killed-{attempt}");
    while kills < KILLS {
        let mut child = experiment.start(&out, true);
        // Long enough to get past the stages before, short enough to hit those after.
        let delay = whole.mul_f64(rng.random_range(0.01..0.4));
        std::thread::sleep(delay.max(Duration::from_millis(5)));
        match child.try_wait().expect("a child") {
            None => {
                child.kill().expect("a running child");
                child.wait().expect("a child");
                kills += 1;
                killed_in.insert(experiment.log(&out).lines().count());
            }
            Some(status) => {
                assert!(status.success(), "{}", experiment.log(&out));
                check_same(&straight, &experiment.results(&out));
                attempt += 1;
                out = format!("killed-{attempt}");
            }
        }
    }
    let status = experiment.start(&out, true).wait();
    assert!(
        status.is_ok_and(|s| s.success()),
        "{}",
        experiment.log(&out)
    );
    check_same(&straight, &experiment.results(&out));
    println!(
        "{kills} kills after {killed_in:?} stages, {} runs to the end",
        attempt + 1
    );
    assert!(
        killed_in.len() >= 3,
        "all kills hit the same stages: {killed_in:?}"
    );
}
