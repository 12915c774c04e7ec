//! A whole experiment on files that runs in a second: corpus, pairs, word lists, model and spec.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::tree::files;

/// A folder with everything that `reproduce tiny.toml` needs.
pub struct Tiny {
    folder: TempDir,
}

/// Code, suffix of the word list, subjects, verbs, nouns. The first four subjects are the words of two groups.
type Words = (
    &'static str,
    &'static str,
    [&'static str; 6],
    [&'static str; 4],
    [&'static str; 6],
);

const LANGUAGES: [Words; 4] = [
    (
        "en",
        "",
        ["he", "she", "a man", "a woman", "the cat", "the dog"],
        ["sees", "has", "wants", "finds"],
        ["houses", "books", "trees", "balls", "lamps", "doors"],
    ),
    (
        "fr",
        "_fr",
        ["il", "elle", "un homme", "une femme", "le chat", "le chien"],
        ["voit", "a", "veut", "trouve"],
        ["maisons", "livres", "arbres", "balles", "lampes", "portes"],
    ),
    (
        "de",
        "_de",
        [
            "er",
            "sie",
            "ein mann",
            "eine frau",
            "die katze",
            "der hund",
        ],
        ["sieht", "hat", "will", "findet"],
        ["häuser", "bücher", "bäume", "bälle", "lampen", "türen"],
    ),
    (
        "nl",
        "_nl",
        ["hij", "zij", "een man", "een vrouw", "de kat", "de hond"],
        ["ziet", "heeft", "wil", "vindt"],
        ["huizen", "boeken", "bomen", "ballen", "lampen", "deuren"],
    ),
];

const SPEC: &str = r#"name = "tiny"
title = "A tiny experiment on files"
languages = ["en", "fr", "de", "nl"]
categories = ["gender"]
spaces = ["raw", "latent"]
hook = "final_norm"
methods = [{ name = "sentdebias", rank = 1 }, { name = "inlp", rank = 1 }]

[data]
kind = "files"
parallel = "corpus.tsv"
pairs = "pairs.tsv"
attributes = "words{_lang}.json"
min_words = 3
train_rows = 60
validation_rows = 20
heldout_rows = 30
on_bad_row = "error"

[model]
kind = "folder"
path = "tiny"

[autoencoder]
latent = 8
hidden = 64
batch = 8
steps = 20
eval_every = 10

[score]
scorers = ["lm-eval"]
resamples = 50
perplexity_sentences = 10
"#;

impl Tiny {
    /// Writes everything into a new folder.
    pub fn new() -> Tiny {
        let tiny = Tiny {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        tiny.write("tiny.toml", SPEC.as_bytes());
        tiny.write("data/corpus.tsv", corpus().as_bytes());
        tiny.write("data/pairs.tsv", pairs().as_bytes());
        for (_, suffix, subjects, ..) in LANGUAGES {
            let bare = |s: &str| s.rsplit(' ').next().unwrap_or(s).to_owned();
            let words = serde_json::json!({
                "gender": [
                    [bare(subjects[0]), bare(subjects[1])],
                    [bare(subjects[2]), bare(subjects[3])],
                ]
            });
            tiny.write(
                &format!("data/words{suffix}.json"),
                words.to_string().as_bytes(),
            );
        }
        let fixture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models/cohere-f32");
        for (name, bytes) in files(&fixture) {
            tiny.write(&format!("models/tiny/{name}"), &bytes);
        }
        tiny
    }

    /// Adds to the end of a file.
    pub fn append(&self, name: &str, text: &str) {
        let mut bytes = self.read(name);
        bytes.extend_from_slice(text.as_bytes());
        self.write(name, &bytes);
    }

    /// Gives the corpus four times as many sentences: enough that probes have theirs.
    #[allow(dead_code, reason = "only tests with probes take it")]
    pub fn more_text(&self) {
        let corpus = String::from_utf8(self.read("data/corpus.tsv")).expect("text");
        let longer = |line: &str, word: &str| {
            let cells = line.split('\t').map(|cell| format!("{cell} {word}"));
            cells.collect::<Vec<_>>().join("\t") + "\n"
        };
        let lines = corpus.lines().skip(1);
        let more: String = lines
            .flat_map(|line| ["x", "y", "z"].map(|word| longer(line, word)))
            .collect();
        self.append("data/corpus.tsv", &more);
    }

    /// A copy, results and cache included.
    pub fn copy(&self) -> Tiny {
        let copy = Tiny {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for (name, bytes) in files(self.path()) {
            copy.write(&name, &bytes);
        }
        copy
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).expect("a file")
    }

    /// Replaces a text that the file must hold.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).expect("text");
        assert!(text.contains(from), "{name} holds no {from:?}");
        self.write(name, text.replacen(from, to, 1).as_bytes());
    }

    /// The results and the cache, by name.
    pub fn results(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.path().join("runs"))
    }

    /// `cargo xtask reproduce tiny.toml`, with further flags.
    pub fn reproduce(&self, flags: &[&str]) -> Output {
        self.command(&[])
            .args(flags)
            .output()
            .expect("the program starts")
    }

    /// The same behind a prefix such as `sh -c … sh`.
    pub fn command(&self, prefix: &[&str]) -> Command {
        let words: Vec<&str> = prefix
            .iter()
            .copied()
            .chain([env!("CARGO_BIN_EXE_xtask"), "reproduce", "tiny.toml"])
            .collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(self.path())
            // A backtrace in the output must fail the test, so one is asked for.
            .env("RUST_BACKTRACE", "1");
        command
    }
}

fn corpus() -> String {
    let mut text = LANGUAGES.map(|l| l.0).join("\t") + "\n";
    for subject in 0..6 {
        for verb in 0..4 {
            for noun in 0..6 {
                let row = LANGUAGES
                    .map(|(_, _, s, v, n)| format!("{} {} {}", s[subject], v[verb], n[noun]));
                text += &(row.join("\t") + "\n");
            }
        }
    }
    text
}

fn pairs() -> String {
    let columns = LANGUAGES.map(|(code, ..)| format!("{code}_more\t{code}_less"));
    let mut text = format!("nyu_id\tbias_type\tlabel\t{}\n", columns.join("\t"));
    for pair in 0..12 {
        let label = if pair % 3 == 0 {
            "antistereo"
        } else {
            "stereo"
        };
        let (first, second) = if pair % 2 == 0 { (0, 1) } else { (3, 2) };
        let sides = LANGUAGES.map(|(_, _, s, v, n)| {
            let rest = format!("{} {}", v[pair % 4], n[pair % 6]);
            format!("{} {rest}\t{} {rest}", s[first], s[second])
        });
        text += &format!("{pair}\tgender\t{label}\t{}\n", sides.join("\t"));
    }
    text
}
