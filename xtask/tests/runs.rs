//! A cache that was damaged, runs at once in one folder, and what killed runs leave behind.

// Each test uses what it needs of it.
#[allow(dead_code)]
mod tiny;
mod tree;

use std::collections::BTreeMap;
use std::process::Output;

use tiny::Tiny;

/// Every kind of entry: a model that is trained, states, an autoencoder, edits, scores, probes, rows.
const TRAINED: &str = r#"name = "tiny"
title = "A tiny experiment on the testbed"
languages = ["en", "nl"]
categories = ["gender"]
spaces = ["raw", "latent"]
methods = [{ name = "sentdebias", rank = 1 }]

[data]
kind = "testbed"
train_rows = 100
validation_rows = 40
heldout_rows = 40
pairs = 24
fit_sentences = 1200

[model]
kind = "train"
hidden_size = 32
intermediate_size = 64
vocab_size = 500
sentences = 2000
batch = 16
steps = 20

[autoencoder]
latent = 8
hidden = 24
steps = 20
eval_every = 10
batch = 16

[score]
scorers = ["lm-eval"]
resamples = 100
perplexity_sentences = 20

[probe]
kinds = ["linear"]
"#;

fn success(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    stderr
}

/// The rows of a run folder.
fn rows(tiny: &Tiny) -> BTreeMap<String, Vec<u8>> {
    let mut results = tiny.results();
    results.retain(|name, _| name.ends_with("rows.jsonl"));
    assert_eq!(results.len(), 1, "one run folder");
    results
}

/// Another digit or letter for the middle one of its kind: JSON stays JSON, a tensor a tensor.
fn other_byte(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let binary = name.ends_with(".safetensors");
    let middle = bytes.len() / 2;
    let at = (middle..bytes.len())
        .chain(0..middle)
        .find(|&at| binary || bytes[at].is_ascii_digit())
        .unwrap_or(middle);
    bytes[at] ^= 1;
    bytes
}

#[test]
fn every_kind_of_entry_with_a_changed_byte_is_computed_again() {
    let tiny = Tiny::new();
    tiny.write("tiny.toml", TRAINED.as_bytes());
    success(&tiny.reproduce(&[]));
    let (whole, expect) = (tiny.results(), rows(&tiny));
    let entries: Vec<(&String, &Vec<u8>)> = whole
        .iter()
        .filter(|(name, _)| name.starts_with("cache/") && !name.ends_with(".b3"))
        .collect();
    for kind in [
        "text-",
        "lm-",
        "states-",
        "autoencoder-",
        "edits-",
        "scores-",
        "probes-",
        "rows-",
    ] {
        let is = |(name, _): &&(&String, &Vec<u8>)| name.starts_with(&format!("cache/{kind}"));
        assert!(entries.iter().any(|e| is(&e)), "no {kind}");
    }
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        assert!(entries.iter().any(|(name, _)| name.ends_with(file)));
    }
    // Each alone: whether it is seen must not hang on what else is damaged.
    for &(name, bytes) in &entries {
        tiny.write(&format!("runs/{name}"), &other_byte(name, bytes));
        let stderr = success(&tiny.reproduce(&[]));
        let entry = name.split('/').nth(1).expect("an entry of the cache");
        let says = |line: &str| {
            line.starts_with("note: ") && line.contains(entry) && line.contains("computed again")
        };
        assert!(stderr.lines().any(says), "{name}:\n{stderr}");
        assert_eq!(rows(&tiny), expect, "rows after a changed byte in {name}");
        assert_eq!(tiny.results().get(name), Some(bytes), "{name} is whole");
        let again = success(&tiny.reproduce(&[]));
        assert!(!again.contains("computed again"), "{name}:\n{again}");
    }
    // All together, as on a bad disk.
    for &(name, bytes) in &entries {
        tiny.write(&format!("runs/{name}"), &bytes[..bytes.len() / 2]);
    }
    success(&tiny.reproduce(&[]));
    assert_eq!(rows(&tiny), expect);
}

#[test]
fn a_seed_of_the_command_line_stands_in_rows_spec_and_manifest() {
    let tiny = Tiny::new();
    success(&tiny.reproduce(&["--seed", "7"]));
    let results = tiny.results();
    let of = |end: &str| {
        let found = results.iter().find(|(name, _)| name.ends_with(end));
        String::from_utf8_lossy(found.expect("a file of the run").1).into_owned()
    };
    for line in of("rows.jsonl").lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(row["seed"], 7, "{line}");
    }
    assert!(of("/spec.toml").contains("seed = 7"));
    assert!(of("manifest.json").contains("--seed 7"));
}

#[test]
fn runs_at_once_in_one_folder_are_all_right() {
    let alone = Tiny::new();
    alone.write("tiny.toml", TRAINED.as_bytes());
    success(&alone.reproduce(&[]));
    let expect = rows(&alone);
    for round in 0..3 {
        let tiny = Tiny::new();
        tiny.write("tiny.toml", TRAINED.as_bytes());
        let started: Vec<_> = (0..4)
            .map(|_| {
                let mut command = tiny.command(&[]);
                let piped = std::process::Stdio::piped;
                command.stdout(piped()).stderr(piped()).spawn().unwrap()
            })
            .collect();
        for child in started {
            let stderr = success(&child.wait_with_output().expect("it ends"));
            assert!(!stderr.contains("computed again"), "{stderr}");
        }
        assert_eq!(rows(&tiny), expect, "round {round}");
        let left: Vec<String> = tiny
            .results()
            .into_keys()
            .filter(|name| name.contains(".partial") || name.contains(".tmp"))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "round {round}");
    }
}

#[test]
fn what_a_killed_run_left_half_done_is_swept_at_the_next_start() {
    let tiny = Tiny::new();
    success(&tiny.reproduce(&[]));
    let run = rows(&tiny).into_keys().next().expect("a run folder");
    let run = run.trim_end_matches("rows.jsonl").to_owned();
    let orphans = [
        "runs/cache/states-0.safetensors.123456-0.partial".to_owned(),
        // As they were called before.
        "runs/cache/states-1.safetensors.123456.partial".to_owned(),
        "runs/cache/lm-0.123456-1.partial/lm-0/config.json".to_owned(),
        format!("runs/{run}report.html.123456-2.partial"),
        format!("runs/{run}tables/summary.md.123456-3.partial"),
    ];
    for orphan in &orphans {
        tiny.write(orphan, b"half");
    }
    // One that another run works on.
    let busy = "runs/cache/scores-0.json.99-0.partial";
    tiny.write(busy, b"half");
    let held = std::fs::File::open(tiny.path().join(busy)).expect("a file");
    held.lock().expect("a lock");
    success(&tiny.reproduce(&[]));
    for orphan in &orphans {
        assert!(!tiny.path().join(orphan).exists(), "{orphan} is left over");
    }
    assert!(tiny.path().join(busy).is_file(), "what is in use stays");
}

#[test]
fn ctrl_c_and_sigterm_say_what_is_kept_and_have_their_exit_codes() {
    for (signal, code, by) in [("-INT", 130, "Ctrl-C"), ("-TERM", 143, "SIGTERM")] {
        let tiny = Tiny::new();
        tiny.write(
            "tiny.toml",
            TRAINED.replace("steps = 20\n", "steps = 2000\n").as_bytes(),
        );
        let mut child = tiny
            .command(&[])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = std::io::BufReader::new(child.stderr.take().expect("piped"));
        let mut first = String::new();
        // The first stage has ended: there is something to keep.
        std::io::BufRead::read_line(&mut log, &mut first).expect("a line");
        let sent = std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut log, &mut rest).expect("text");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(code), "{first}{rest}");
        let said = format!("stopped by {by}: finished stages are kept in runs/cache");
        assert!(rest.contains(&said) && rest.contains("--resume"), "{rest}");
        let cache = tiny.results();
        assert!(cache.keys().any(|name| name.starts_with("cache/text-")));
        // What was half-done is swept by the next run, which goes on.
        tiny.write("tiny.toml", TRAINED.as_bytes());
        success(&tiny.reproduce(&["--resume"]));
        let half = tiny.results().into_keys();
        assert_eq!(half.filter(|name| name.contains(".partial")).count(), 0);
    }
}
