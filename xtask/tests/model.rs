//! `model capture` and `model score` from end to end, on the tiny random checkpoints of the parity tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use interlingua_tests::fixtures;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with copies of two checkpoints, a causal and a masked one.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        for name in ["cohere", "bert-mlm"] {
            std::fs::create_dir(place.path(name)).unwrap();
            for file in ["config.json", "tokenizer.json", "model.safetensors"] {
                let from = fixtures().join("models/architectures").join(name);
                std::fs::copy(from.join(file), place.path(name).join(file)).unwrap();
            }
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn model(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("model").args(words).args(["--device", "cpu"]);
        command.current_dir(self.0.path()).output().unwrap()
    }

    /// What a command says that must stop with an error.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.model(words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
        text
    }

    /// What a command prints that must work.
    fn done(&self, words: &[&str]) -> String {
        let output = self.model(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Shape and bytes of a tensor of a written file.
fn tensor(path: &Path, name: &str) -> (Vec<usize>, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data().to_vec())
}

fn token_ids(path: &Path) -> Vec<i64> {
    let (_, bytes) = tensor(path, "token_ids");
    let (eights, _) = bytes.as_chunks::<8>();
    eights.iter().map(|b| i64::from_le_bytes(*b)).collect()
}

#[test]
fn capture_destroys_nothing() {
    let place = Place::new();
    place.write("texts", "t5 t6 t7\n");
    place.write("mine", "precious");
    let weights = std::fs::read(place.path("cohere/model.safetensors")).unwrap();
    let to = |out: &'static str| ["capture", "cohere", "--text", "texts", "--out", out];
    for (out, force, told) in [
        ("cohere/model.safetensors", true, "reads"),
        ("cohere/new.safetensors", false, "reads"),
        ("texts", true, "reads"),
        ("./texts", true, "reads"),
        ("mine", false, "--force"),
        ("cohere", true, "folder"),
        ("/dev/null", true, "no regular file"),
    ] {
        let mut words = to(out).to_vec();
        words.extend(force.then_some("--force"));
        let message = place.refused(&words);
        assert!(message.contains(told) && message.contains(out), "{message}");
    }
    assert_eq!(
        std::fs::read(place.path("cohere/model.safetensors")).unwrap(),
        weights
    );
    assert_eq!(std::fs::read(place.path("texts")).unwrap(), b"t5 t6 t7\n");
    assert_eq!(std::fs::read(place.path("mine")).unwrap(), b"precious");
    place.done(&to("new"));
    let mut words = to("mine").to_vec();
    words.push("--force");
    place.done(&words);
    assert_eq!(
        token_ids(&place.path("mine")),
        token_ids(&place.path("new"))
    );
}

#[test]
fn a_mark_of_utf_8_is_no_text_and_a_start_token_is_not_doubled() {
    let place = Place::new();
    place.write("plain", "t5 t6\nt7\n");
    place.write("marked", "\u{feff}t5 t6\r\nt7");
    place.write("started", "<s> t5 t6\n<s>t7\n");
    for text in ["plain", "marked", "started"] {
        let out = format!("{text}.safetensors");
        place.done(&["capture", "cohere", "--text", text, "--out", &out]);
    }
    let of = |text: &str| place.path(&format!("{text}.safetensors"));
    let ids = token_ids(&of("plain"));
    assert_eq!(ids.iter().filter(|&&id| id == 1).count(), 2, "{ids:?}");
    for text in ["marked", "started"] {
        assert_eq!(token_ids(&of(text)), ids, "{text}");
        let log_probs = tensor(&of(text), "log_probs");
        assert_eq!(log_probs, tensor(&of("plain"), "log_probs"), "{text}");
    }
}

#[test]
fn texts_are_read_up_to_a_bound_and_from_files_alone() {
    let place = Place::new();
    place.write("long", &"t5 ".repeat(1 << 20));
    let pipe = Command::new("mkfifo").arg(place.path("pipe")).status();
    assert!(pipe.unwrap().success());
    for (text, told) in [("long", "line 1"), ("pipe", "not a regular file")] {
        let message = place.refused(&["capture", "cohere", "--text", text, "--out", "new"]);
        assert!(
            message.contains(text) && message.contains(told),
            "{message}"
        );
    }
    let message = place.refused(&["score", "cohere", "--pairs", "pipe"]);
    assert!(message.contains("pipe"), "{message}");
}

#[test]
fn a_star_captures_every_block_and_an_unknown_hook_is_corrected() {
    let place = Place::new();
    place.write("texts", "t5 t6 t7\n");
    let capture = |hooks: &'static str, out: &'static str| {
        [
            "capture", "cohere", "--text", "texts", "--hooks", hooks, "--out", out,
        ]
    };
    place.done(&capture("block.*.output,final_norm", "star"));
    place.done(&capture("all", "all"));
    for hook in ["block.0.output", "block.1.output", "final_norm"] {
        let name = format!("states.{hook}");
        assert_eq!(
            tensor(&place.path("star"), &name),
            tensor(&place.path("all"), &name)
        );
    }
    let message = place.refused(&capture("blocks.1.hook_resid_post", "no"));
    assert!(message.contains("`block.1.output`"), "{message}");
    let message = place.refused(&capture("block.*.mlp,block.1.mlp", "no"));
    assert!(message.contains("twice"), "{message}");
}

#[test]
fn pairs_are_scored_by_causal_and_by_masked_models() {
    let place = Place::new();
    place.write(
        "pairs.jsonl",
        concat!(
            r#"{"id":"a","language":"en","category":"gender","direction":"stereo","more":"t5 t6 t7","less":"t5 t8 t7"}"#,
            "\n",
            r#"{"id":"b","language":"en","category":"gender","direction":"stereo","more":"t9 t6","less":"t9 t10"}"#,
            "\n",
        ),
    );
    let scored = |words: &[&str]| -> Value {
        let mut all = vec!["score"];
        all.extend(words);
        all.extend(["--pairs", "pairs.jsonl", "--json"]);
        serde_json::from_str(&place.done(&all)).unwrap()
    };
    for (words, scorer) in [
        (&["cohere"][..], "lm-eval"),
        (&["bert-mlm"][..], "nangia"),
        (&["bert-mlm", "--scorer", "bias-bench"][..], "bias-bench"),
    ] {
        let found = scored(words);
        assert_eq!(found["cost"]["scorer"], scorer);
        let pairs = found["pairs"].as_array().unwrap();
        assert_eq!(pairs.len(), 2);
        for pair in pairs {
            let (more, less) = (pair["more"].as_f64(), pair["less"].as_f64());
            assert!(more.unwrap() < 0.0 && less.unwrap() < 0.0, "{pair}");
        }
    }
    // Of `t9 t6` and `t9 t10`, the masked rule of CrowS-Pairs reads t9 and the frame, masked in turn.
    let message = place.refused(&[
        "score",
        "bert-mlm",
        "--pairs",
        "pairs.jsonl",
        "--scorer",
        "lm-eval",
    ]);
    assert!(
        message.contains("masked") && message.contains("nangia"),
        "{message}"
    );
}

/// Rust ends a program that gets no memory by a signal (134), and one that counts too far with a panic (101).
#[test]
fn what_does_not_fit_into_memory_is_an_error() {
    let place = Place::new();
    place.write("texts", &format!("{}\n", "t5 ".repeat(300)).repeat(100_000));
    for bound in [300_000, 400_000, 600_000, 900_000] {
        let line = format!(
            "ulimit -v {bound} && exec {} model capture cohere --text texts --out new --force --hooks all --device cpu",
            env!("CARGO_BIN_EXE_xtask")
        );
        let mut shell = Command::new("bash");
        let output = shell
            .args(["-c", &line])
            .current_dir(place.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        assert_eq!(code, Some(1), "{bound}: {said}");
        // Where memory lasts to the end of reading, the texts are too long for the model.
        let told = ["memory", "tokens"].iter().any(|word| said.contains(word));
        assert!(told, "{bound}: {said}");
    }
    for sentences in ["1000000000000", "18446744073709551615", "0"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["memory", "cohere", "--sentences", sentences]);
        let output = command.current_dir(place.0.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("--sentences"), "{said}");
    }
}

#[test]
fn describe_needs_no_memory_for_a_long_line_and_does_not_wait_for_a_pipe() {
    let place = Place::new();
    let line = std::fs::File::create(place.path("line.txt")).unwrap();
    line.set_len(1 << 30).unwrap();
    let pipe = Command::new("mkfifo").arg(place.path("pipe")).status();
    assert!(pipe.unwrap().success());
    for (file, told) in [("line.txt", "line"), ("pipe", "not a regular file")] {
        let line = format!(
            "ulimit -v 1200000 && exec timeout 100 {} data describe {file}",
            env!("CARGO_BIN_EXE_xtask")
        );
        let mut shell = Command::new("bash");
        let output = shell
            .args(["-c", &line])
            .current_dir(place.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {said}");
        assert!(
            said.contains(told) && !said.contains("no memory"),
            "{file}: {said}"
        );
    }
}
