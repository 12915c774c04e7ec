//! `cargo xtask model pretrain` on made-up text: what it writes, and that a killed run ends as a straight one.

mod tree;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Kills that must hit a training run which has a checkpoint.
const KILLS: usize = 6;

const RECIPE: &str = r#"name = "small"
title = "A small model"
description = "Made in a test."

[[text]]
name = "stories"
file = "stories.tsv"
languages = ["en", "fr"]
held_out = 0.1
licence = "made up"

[[text]]
name = "notes"
file = "notes"
languages = ["en", "fr", "nl"]
held_out = 0.2

[data]
balance = 0.5

[model]
hidden_size = 32
intermediate_size = 64
layers = 2
heads = 4
kv_heads = 2
vocab_size = 300
max_positions = 64

[training]
epochs = 8.5
batch_tokens = 256
checkpoint_every = 7
evaluate_every = 50
evaluate_sentences = 20
log_every = 5
resamples = 100

[quick]
name = "smaller"
training.epochs = 0.5
"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Place { folder };
        let people = ["baker", "teacher", "child", "sailor", "doctor", "king"];
        let verbs = [
            ("sees", "voit", "ziet"),
            ("likes", "aime", "mag"),
            ("finds", "trouve", "vindt"),
        ];
        let things = ["tree", "house", "book", "lamp", "door", "boat", "stone"];
        let (mut stories, mut notes) = ("en\tfr\n".to_owned(), [const { String::new() }; 3]);
        for (at, person) in people.iter().enumerate() {
            for (en, fr, nl) in verbs {
                for (to, thing) in things.iter().enumerate() {
                    for number in 2..7 {
                        stories += &format!(
                            "The {person} {en} {number} {thing}s.\tLe {person} {fr} {number} {thing}s.\n"
                        );
                    }
                    if (at + to) % 2 == 0 {
                        notes[0] += &format!("A {thing}: the {person} {en} it\n");
                        notes[1] += &format!("Un {thing} : le {person} le {fr}\n");
                        notes[2] += &format!("Een {thing}: de {person} {nl} het\n");
                    }
                }
            }
        }
        place.write("data/stories.tsv", &stories);
        for (language, text) in ["eng", "fra", "nld"].iter().zip(&notes) {
            place.write(&format!("data/notes/notes.{language}"), text);
        }
        place.write("recipe.toml", RECIPE);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["model", "pretrain", "recipe.toml", "--device", "cpu"])
            .args(flags)
            .current_dir(self.folder.path())
            .env("RUST_BACKTRACE", "1");
        command
    }

    fn start(&self, flags: &[&str]) -> Child {
        self.command(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    }

    /// Runs to the end and checks the exit code and parts of what is said.
    fn check(&self, flags: &[&str], code: i32, expect: &[&str]) -> String {
        let output: Output = self.command(flags).output().expect("the program starts");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(code), "{flags:?}:\n{text}");
        for part in expect {
            assert!(text.contains(part), "{flags:?} lacks {part:?}:\n{text}");
        }
        assert!(!text.contains("panicked"), "{text}");
        text
    }

    /// Steps of the last checkpoint of a half-done run.
    fn checkpoint(&self, out: &str) -> Option<usize> {
        let making = self.path(out).join("small.making");
        making
            .join("checkpoint.safetensors")
            .is_file()
            .then_some(())?;
        let logs = std::fs::read_dir(making).ok()?.flatten();
        logs.filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_prefix("log-")?
                .strip_suffix(".json")?
                .parse()
                .ok()
        })
        .min()
    }
}

fn record(folder: &Path) -> Value {
    let text = std::fs::read(folder.join("training.json")).expect("a record");
    let mut record: Value = serde_json::from_slice(&text).expect("JSON");
    let seconds = record["seconds"].take();
    assert!(seconds.as_f64().is_some_and(|s| s > 0.0), "{seconds}");
    record
}

#[test]
fn a_killed_run_ends_as_a_straight_one() {
    let place = Place::new();
    place.check(&["--out", "straight"], 0, &["Perplexity per token", "made"]);
    let straight = place.path("straight/small");
    let steps = record(&straight)["steps"].as_u64().expect("a number") as usize;
    assert!(steps > 200, "{steps} steps are too few to be killed in");

    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut killed_at = Vec::new();
    while killed_at.len() < KILLS {
        let before = place.checkpoint("killed").unwrap_or(0);
        let mut child = place.start(&["--out", "killed", "--resume"]);
        // Each attempt gets a little further, so that kills hit different steps.
        while place.checkpoint("killed").unwrap_or(0) <= before {
            let ended = child.try_wait().expect("a child");
            assert!(
                ended.is_none(),
                "the run ended before {KILLS} kills: {killed_at:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..10)));
        child.kill().expect("a running child");
        child.wait().expect("a child");
        killed_at.extend(place.checkpoint("killed"));
        if killed_at.len() == 1 {
            place.check(&["--out", "killed"], 1, &["half-done run", "--resume"]);
            let recipe = RECIPE.replace("epochs = 8.5", "epochs = 9.5");
            place.write("recipe.toml", &recipe);
            let words = ["other settings", "cannot be continued"];
            place.check(&["--out", "killed", "--resume"], 1, &words);
            place.write("recipe.toml", RECIPE);
        }
    }
    place.check(
        &["--out", "killed", "--resume"],
        0,
        &["continues from step"],
    );
    let killed = place.path("killed/small");
    assert!(killed_at.iter().all(|&step| step > 0), "{killed_at:?}");

    let (mut a, mut b) = (tree::files(&straight), tree::files(&killed));
    for files in [&mut a, &mut b] {
        // These hold timings.
        assert!(files.remove("training.json").is_some());
        assert!(files.remove("README.md").is_some());
    }
    let names: Vec<&String> = a.keys().collect();
    assert_eq!(
        names,
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    for (name, bytes) in &a {
        assert!(
            b.get(name) == Some(bytes),
            "{name} differs after kills at {killed_at:?}"
        );
    }
    assert_eq!(b.len(), a.len());
    assert_eq!(record(&straight), record(&killed));
    assert!(!place.path("killed/small.making").exists());
}

/// Both used one working folder, and one removed what the other was writing.
#[test]
fn two_at_once_are_both_right() {
    let place = Place::new();
    let both = [(); 2].map(|()| {
        let mut command = place.command(&["--quick"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    });
    let mut made = 0;
    for child in both {
        let output = child.wait_with_output().expect("it ends");
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.success(), "{text}");
        made += usize::from(text.contains("made: "));
        assert!(
            text.contains("made: ") || text.contains("was there already"),
            "{text}"
        );
    }
    assert_eq!(made, 1);
    record(&place.path("models/smaller"));
    let left = std::fs::read_dir(place.path("models")).expect("a folder");
    assert_eq!(left.count(), 1, "nothing half-done is left");
}

#[test]
fn the_record_and_the_card_say_what_was_made() {
    let place = Place::new();
    place.check(
        &["--quick", "--dry-run"],
        0,
        &["to be made", "stories.tsv", "3 files"],
    );
    assert!(!place.path("models").exists());
    let text = place.check(
        &["--quick"],
        0,
        &["| nl | all |", "| en | stories |", "made: "],
    );
    let folder = place.path("models/smaller");
    let record = record(&folder);
    assert_eq!(record["files"].as_array().map(Vec::len), Some(4));
    assert_eq!(record["files"][0]["licence"], "made up");
    assert_eq!(record["files"][1]["licence"], Value::Null);
    assert_eq!(
        record["files"][0]["sha256"].as_str().map(str::len),
        Some(64)
    );
    for row in record["held_out"].as_array().expect("a list") {
        let perplexity = row["perplexity"]["value"].as_f64().expect("a number");
        assert!(perplexity > 1.0 && perplexity < 300.0, "{row}");
        assert!(
            row["bits_per_character"]["ci_low"].as_f64() > Some(0.0),
            "{row}"
        );
    }
    // Dutch stands in the notes only, so half of the way to balance repeats it.
    let repeats = |language: &str| {
        let rows = record["text"].as_array().expect("a list");
        let row = rows.iter().find(|r| r["language"] == language);
        row.and_then(|r| r["repeats"].as_f64()).expect("a number")
    };
    assert!(repeats("nl") > 1.5, "{}", repeats("nl"));
    assert_eq!(repeats("en").max(repeats("fr")), 1.0);
    let card = std::fs::read_to_string(folder.join("README.md")).expect("a card");
    for part in [
        "- nl\n",
        "stories.tsv: made up.",
        "No manifest knows the licence",
        "cargo xtask model pretrain recipe.toml --quick",
        "| nl | all |",
    ] {
        assert!(card.contains(part), "the card lacks {part:?}:\n{card}");
    }

    // A finished model is not trained again, and not overwritten by another one.
    let again = place.check(&["--quick"], 0, &["was there already"]);
    assert_eq!(
        again.lines().find(|l| l.contains("| nl |")),
        text.lines().find(|l| l.contains("| nl |"))
    );
    place.write(
        "recipe.toml",
        &RECIPE.replace("epochs = 0.5", "epochs = 0.6"),
    );
    place.check(&["--quick"], 1, &["is there already", "--out"]);
}

#[test]
fn what_cannot_work_is_said() {
    let place = Place::new();
    for (from, to, expect) in [
        ("stories.tsv", "tales.tsv", "tales.tsv does not exist"),
        (
            "\"en\", \"fr\"]\nheld",
            "\"en\", \"it\"]\nheld",
            "no text in `it`",
        ),
        ("epochs = 8.5", "epohcs = 8.5", "epohcs"),
        ("heads = 4", "heads = 5", "model.heads"),
        (
            "held_out = 0.2",
            "held_out = 0.0001",
            "no sentence in `nl` is held out",
        ),
        (
            "max_positions = 64",
            "max_positions = 2",
            "no sentence fits into 2",
        ),
    ] {
        assert!(RECIPE.contains(from), "{from}");
        place.write("recipe.toml", &RECIPE.replacen(from, to, 1));
        place.check(&[], 1, &["recipe.toml", expect]);
        // No manifest has the file: nobody may be told to fetch it.
        if to == "tales.tsv" {
            let dry = place.check(&["--dry-run"], 1, &["MISSING: no manifest has it", expect]);
            assert!(!dry.contains("to be fetched"), "{dry}");
        }
    }
}
