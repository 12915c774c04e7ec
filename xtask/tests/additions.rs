//! What is added to a finished run is all that is computed: one more method, strength, fit language or benchmark.

mod tiny;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tiny::Tiny;

/// A SEAT test that all of the tiny model's words are in.
const SEAT: &str = r#"{"targ1": {"category": "He", "examples": ["he sees books", "he has trees"]},
 "targ2": {"category": "She", "examples": ["she sees books", "she has trees"]},
 "attr1": {"category": "Things", "examples": ["lamps", "doors"]},
 "attr2": {"category": "Animals", "examples": ["the cat", "the dog"]}}"#;

const LANGUAGES: usize = 4;
const SPACES: usize = 3;

/// Different edits that a stage has computed, of so many.
type Counts = BTreeMap<String, [u64; 2]>;

/// The run folders that are there.
fn folders(tiny: &Tiny) -> BTreeSet<String> {
    let results = tiny.results();
    let runs = results.keys().filter(|name| name.ends_with("/rows.jsonl"));
    runs.map(|name| name.trim_end_matches("/rows.jsonl").to_owned())
        .collect()
}

/// Runs what the file says now: what its stages computed, its rows, and the stages without settings that were computed.
fn run(tiny: &Tiny) -> (Counts, Vec<u8>, BTreeSet<String>) {
    let before = folders(tiny);
    let output = tiny.reproduce(&[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let after = folders(tiny);
    let new: Vec<&String> = after.difference(&before).collect();
    assert_eq!(new.len(), 1, "one new run folder");
    let log = String::from_utf8(tiny.read(&format!("runs/{}/log.jsonl", new[0]))).unwrap();
    let (mut counts, mut others) = (Counts::new(), BTreeSet::new());
    for line in log.lines() {
        let stage: Value = serde_json::from_str(line).unwrap();
        let name = stage["stage"].as_str().unwrap().to_owned();
        match stage["computed"].as_array() {
            Some(computed) => {
                let count = |at: usize| computed[at].as_u64().unwrap();
                counts.insert(name, [count(0), count(1)]);
            }
            None if stage["cached"] == false => {
                others.insert(name);
            }
            None => {}
        }
    }
    let rows = tiny.read(&format!("runs/{}/rows.jsonl", new[0]));
    (counts, rows, others)
}

/// What stages whose name begins so have computed; all the same.
fn computed(counts: &Counts, stage: &str) -> u64 {
    let found: Vec<u64> = counts
        .iter()
        .filter(|(name, _)| name.starts_with(stage))
        .map(|(_, [computed, _])| *computed)
        .collect();
    assert!(!found.is_empty(), "no stage {stage} in {counts:?}");
    assert!(found.iter().all(|c| *c == found[0]), "{stage}: {counts:?}");
    found[0]
}

#[test]
fn only_what_is_added_is_computed() {
    let tiny = Tiny::new();
    tiny.write("data/seat/tiny.jsonl", SEAT.as_bytes());
    tiny.replace("tiny.toml", "\"latent\"]", "\"latent\", \"cca\"]");
    tiny.replace(
        "tiny.toml",
        ", { name = \"inlp\", rank = 1 }]",
        "]\nfit.languages = [\"each\"]",
    );
    tiny.append(
        "tiny.toml",
        "[probe]\nkinds = [\"linear\"]\n\
         [[benchmarks]]\nkind = \"seat\"\npath = \"seat\"\ntests.gender = [\"tiny\"]\n",
    );
    tiny.more_text();
    let (first, ..) = run(&tiny);
    let fits = (2 * LANGUAGES * SPACES) as u64;
    // Random subspaces and the autoencoder alone beside what is fitted, and for scores the unedited model.
    let all = fits + SPACES as u64 + 1;
    for (stage, all) in [
        ("fit", all),
        ("score", all + 1),
        ("probe", all + 1),
        ("seat", all + 1),
    ] {
        assert_eq!(computed(&first, stage), all, "{stage}");
    }

    // A method, with its control on shuffled examples; the random ones of rank 1 are there.
    tiny.replace(
        "tiny.toml",
        "rank = 1 }]",
        "rank = 1 }, { name = \"leace\", rank = 1 }]",
    );
    let (counts, _, others) = run(&tiny);
    for stage in ["fit", "score", "probe", "seat"] {
        assert_eq!(computed(&counts, stage), fits, "{stage}");
    }
    let again = ["open model", "fit affine spaces", "intervals and tests"];
    assert_eq!(
        others,
        again.map(String::from).into(),
        "nothing else is computed"
    );

    // A strength: nothing is fitted for it.
    tiny.replace("tiny.toml", "[data]", "strengths = [1.0, 0.5]\n\n[data]");
    let (counts, ..) = run(&tiny);
    assert_eq!(computed(&counts, "fit"), 0);
    for stage in ["score", "probe", "seat"] {
        assert_eq!(
            computed(&counts, stage),
            2 * fits + SPACES as u64,
            "{stage}"
        );
    }

    // A fit language, for two methods with their controls.
    tiny.replace("tiny.toml", "[\"each\"]", "[\"each\", \"all\"]");
    let (counts, ..) = run(&tiny);
    assert_eq!(computed(&counts, "fit"), (2 * 2 * SPACES) as u64);
    for stage in ["score", "probe", "seat"] {
        assert_eq!(
            computed(&counts, stage),
            (2 * 2 * 2 * SPACES) as u64,
            "{stage}"
        );
    }

    // A benchmark, under every setting.
    tiny.append("tiny.toml", "[[benchmarks]]\nkind = \"templates\"\n");
    let (counts, rows, _) = run(&tiny);
    for stage in ["fit", "score", "probe", "seat"] {
        assert_eq!(computed(&counts, stage), 0, "{stage}");
    }
    assert_eq!(
        computed(&counts, "templates"),
        counts["score gender in en"][1]
    );

    // Step by step is the same as at once.
    let fresh = tiny.copy();
    std::fs::remove_dir_all(fresh.path().join("runs")).unwrap();
    let (counts, at_once, _) = run(&fresh);
    assert!(
        counts.values().all(|[computed, of]| computed == of),
        "{counts:?}"
    );
    assert!(
        rows == at_once,
        "rows of a run that grew differ from those of one at once"
    );
}
