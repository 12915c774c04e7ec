//! Every kind of bad input gives one clear error, and leaves earlier results as they are.
//!
//! Each case starts from an experiment that has run to its end, damages one
//! thing, runs the program again and looks at exit code, message and files.

mod tiny;
mod tree;

use std::process::Output;

use tiny::Tiny;

/// One fault.
struct Case {
    name: &'static str,
    damage: fn(&Tiny),
    flags: &'static [&'static str],
    /// Exit code.
    code: i32,
    /// Whether `--dry-run` must find it too: everything that can be known before computing.
    dry: bool,
    /// What the message must hold: the file, line or key, and what would work.
    expect: &'static [&'static str],
}

const REPRODUCE: Case = Case {
    name: "",
    damage: |_| {},
    flags: &[],
    code: 1,
    dry: true,
    expect: &[],
};

const CASES: &[Case] = &[
    Case {
        name: "missing experiment file",
        damage: |t| {
            std::fs::rename(t.path().join("tiny.toml"), t.path().join("other.toml")).unwrap();
            t.write("experiments/mine.toml", &t.read("other.toml"));
        },
        expect: &["tiny.toml: no such experiment", "experiments/mine.toml"],
        ..REPRODUCE
    },
    Case {
        name: "experiment that is not TOML",
        damage: |t| t.replace("tiny.toml", "title = ", "title "),
        expect: &["tiny.toml", "line 2", "expected"],
        ..REPRODUCE
    },
    Case {
        name: "unknown TOML key",
        damage: |t| t.replace("tiny.toml", "heldout_rows", "held_out_rows"),
        expect: &["tiny.toml", "held_out_rows", "`heldout_rows`"],
        ..REPRODUCE
    },
    Case {
        name: "unknown TOML key at the top",
        damage: |t| t.replace("tiny.toml", "hook =", "hok ="),
        expect: &["tiny.toml", "line 6", "`hok`", "`hook`"],
        ..REPRODUCE
    },
    Case {
        name: "unknown method",
        damage: |t| t.replace("tiny.toml", "\"inlp\"", "\"inpl\""),
        expect: &["tiny.toml", "methods[1].name", "`inpl`", "inlp", "leace"],
        ..REPRODUCE
    },
    Case {
        name: "unknown scorer",
        damage: |t| t.replace("tiny.toml", "\"lm-eval\"", "\"lm-evil\""),
        expect: &["tiny.toml", "score.scorers", "`lm-evil`", "lm-eval"],
        ..REPRODUCE
    },
    Case {
        name: "hook point beyond the model",
        damage: |t| t.replace("tiny.toml", "hook = \"", "hook = \"block.9.output\" # \""),
        expect: &["tiny.toml", "block.9.output", "block.L.output"],
        ..REPRODUCE
    },
    Case {
        name: "the same rank twice",
        damage: |t| t.replace("tiny.toml", "rank = 1", "rank = [1, 1]"),
        expect: &["tiny.toml", "methods[0].rank", "1 is listed twice"],
        ..REPRODUCE
    },
    Case {
        name: "strength that does nothing",
        damage: |t| t.replace("tiny.toml", "hook = ", "strengths = [0.5, 0]\nhook = "),
        expect: &["tiny.toml", "strengths", "other than 0"],
        ..REPRODUCE
    },
    Case {
        name: "unknown probe",
        damage: |t| t.append("tiny.toml", "[probe]\nkinds = [\"forest\"]\n"),
        expect: &["tiny.toml", "probe.kinds", "`forest`", "linear, mlp"],
        ..REPRODUCE
    },
    Case {
        name: "a choice that leaves nothing to judge",
        damage: |t| t.append("tiny.toml", "[choose]\nshare = 1.0\n"),
        expect: &["tiny.toml", "choose.share", "between 0 and 1"],
        ..REPRODUCE
    },
    Case {
        name: "missing benchmark",
        damage: |t| {
            t.append(
                "tiny.toml",
                "[[benchmarks]]\nkind = \"seat\"\npath = \"seats\"\n",
            )
        },
        expect: &[
            "tiny.toml",
            "benchmarks[0].path",
            "data/seats",
            "--data-dir",
        ],
        ..REPRODUCE
    },
    Case {
        name: "benchmark in a language of no other text",
        damage: |t| {
            let question = r#"{"example_id": 0, "question_index": "1", "question_polarity": "neg", "context_condition": "ambig", "category": "Gender_identity", "answer_info": {"ans0": ["Unknown", "unknown"], "ans1": ["woman", "woman"], "ans2": ["man", "man"]}, "additional_metadata": {"subcategory": "", "stereotyped_groups": ["F"], "version": "", "source": ""}, "context": "A man and a woman came.", "question": "Who left?", "ans0": "Unknown", "ans1": "The woman", "ans2": "The man", "label": 0}"#;
            t.write("data/Gender_identity_it.jsonl", question.as_bytes());
            t.append(
                "tiny.toml",
                "[[benchmarks]]\nkind = \"bbq\"\npath = \"Gender_identity_it.jsonl\"\nlanguage = \"it\"\ncategory = \"gender\"\n",
            );
        },
        expect: &["benchmarks[0].language", "`it`", "experiment's languages"],
        ..REPRODUCE
    },
    Case {
        name: "unknown flag",
        flags: &["--devise", "cpu"],
        code: 2,
        expect: &["--devise", "--device"],
        ..REPRODUCE
    },
    Case {
        name: "unknown device",
        flags: &["--device", "gpu"],
        code: 2,
        expect: &["--device", "`gpu`", "`cuda:N`"],
        ..REPRODUCE
    },
    Case {
        name: "missing corpus",
        damage: |t| std::fs::remove_file(t.path().join("data/corpus.tsv")).unwrap(),
        expect: &["data.parallel", "data/corpus.tsv", "--data-dir"],
        ..REPRODUCE
    },
    Case {
        name: "missing word list",
        damage: |t| std::fs::remove_file(t.path().join("data/words_de.json")).unwrap(),
        expect: &[
            "data/words_de.json",
            "data.attributes",
            "`de`",
            "--data-dir",
        ],
        ..REPRODUCE
    },
    Case {
        name: "missing model",
        damage: |t| t.replace("tiny.toml", "path = \"tiny\"", "path = \"huge\""),
        expect: &["model.path", "`huge`", "tiny", "--model-dir"],
        ..REPRODUCE
    },
    Case {
        name: "truncated safetensors",
        damage: |t| {
            let bytes = t.read(WEIGHTS);
            t.write(WEIGHTS, &bytes[..bytes.len() / 2]);
        },
        expect: &[WEIGHTS, "truncated", "fetch"],
        ..REPRODUCE
    },
    Case {
        name: "safetensors cut off in the header",
        damage: |t| t.write(WEIGHTS, &t.read(WEIGHTS)[..100]),
        expect: &[WEIGHTS, "truncated", "fetch"],
        ..REPRODUCE
    },
    Case {
        name: "corrupt safetensors header",
        damage: |t| {
            let mut bytes = t.read(WEIGHTS);
            bytes[20] = b'}';
            t.write(WEIGHTS, &bytes);
        },
        expect: &[WEIGHTS, "header", "fetch"],
        ..REPRODUCE
    },
    Case {
        name: "NaN weights",
        damage: |t| {
            let mut bytes = t.read(WEIGHTS);
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
            t.write(WEIGHTS, &bytes);
        },
        expect: &[WEIGHTS, "tensor `", "NaN", "fetch"],
        dry: false,
        ..REPRODUCE
    },
    Case {
        name: "unknown architecture",
        damage: |t| t.replace(CONFIG, "CohereForCausalLM", "MambaForCausalLM"),
        expect: &[CONFIG, "`MambaForCausalLM`", "CohereForCausalLM"],
        ..REPRODUCE
    },
    Case {
        name: "tokenizer with a larger vocabulary",
        damage: |t| {
            let mut tokenizer: serde_json::Value =
                serde_json::from_slice(&t.read(TOKENIZER)).unwrap();
            let mut token = tokenizer["added_tokens"][0].clone();
            token["id"] = 303.into();
            token["content"] = "<ONE_TOO_MANY>".into();
            tokenizer["added_tokens"]
                .as_array_mut()
                .unwrap()
                .push(token);
            tokenizer["model"]["vocab"]["<ONE_TOO_MANY>"] = 303.into();
            t.write(TOKENIZER, tokenizer.to_string().as_bytes());
        },
        expect: &[TOKENIZER, "303", "vocab_size", "different models"],
        ..REPRODUCE
    },
    Case {
        name: "corpus without a column",
        damage: |t| t.replace("data/corpus.tsv", "en\tfr\tde\tnl", "en\tfr\tde\tnotes"),
        expect: &["data/corpus.tsv", "`nl`", "en, fr, de"],
        ..REPRODUCE
    },
    Case {
        name: "pairs without a column",
        damage: |t| t.replace("data/pairs.tsv", "de_less", "de_lesser"),
        expect: &["data/pairs.tsv:1", "`de_less`", "de_more"],
        ..REPRODUCE
    },
    Case {
        name: "pairs without labels",
        damage: |t| t.replace("data/pairs.tsv", "label", "lable"),
        expect: &["data/pairs.tsv:1", "column", "lable"],
        ..REPRODUCE
    },
    Case {
        name: "language the corpus lacks",
        damage: |t| {
            t.replace("tiny.toml", "\"nl\"]", "\"it\"]");
            t.write("data/words_it.json", &t.read("data/words_nl.json"));
        },
        expect: &["data/corpus.tsv", "`it`", "en, fr, de, nl"],
        ..REPRODUCE
    },
    Case {
        name: "language the pairs lack",
        damage: |t| {
            t.replace("data/pairs.tsv", "nl_more", "it_more");
            t.replace("data/pairs.tsv", "nl_less", "it_less");
        },
        expect: &["data/pairs.tsv", "`nl`", "en, fr, de"],
        ..REPRODUCE
    },
    Case {
        name: "language that is none",
        damage: |t| t.replace("tiny.toml", "\"nl\"]", "\"Dutch\"]"),
        expect: &["tiny.toml", "line 3", "Dutch"],
        ..REPRODUCE
    },
    Case {
        name: "category the pairs lack",
        damage: |t| t.replace("tiny.toml", "[\"gender\"]", "[\"height\"]"),
        expect: &["data/pairs.tsv", "`height`", "gender"],
        ..REPRODUCE
    },
    Case {
        name: "row with a cell too few",
        damage: |t| t.replace("data/corpus.tsv", "ziet huizen\n", "ziet huizen\nhe\til\n"),
        expect: &["data/corpus.tsv:3", "2 cells", "4", "on_bad_row"],
        ..REPRODUCE
    },
    Case {
        name: "empty cell of the corpus",
        damage: |t| t.replace("data/corpus.tsv", "il voit livres", ""),
        expect: &["data/corpus.tsv:3", "`fr`", "on_bad_row = \"skip\""],
        ..REPRODUCE
    },
    Case {
        name: "empty cell of the corpus, skipped",
        damage: |t| {
            t.replace("data/corpus.tsv", "il voit livres", "");
            skip(t);
        },
        code: 0,
        expect: &["note:", "corpus.tsv:3", "`fr`", "row left out"],
        dry: false,
        ..REPRODUCE
    },
    Case {
        name: "empty cell of a pair",
        damage: |t| t.replace("data/pairs.tsv", "zij ziet huizen", " "),
        expect: &["data/pairs.tsv:2", "nl", "on_bad_row = \"skip\""],
        ..REPRODUCE
    },
    Case {
        name: "empty cell of a pair, skipped",
        damage: |t| {
            t.replace("data/pairs.tsv", "zij ziet huizen", " ");
            skip(t);
        },
        code: 0,
        expect: &["note:", "pairs.tsv:2", "nl", "row left out"],
        dry: false,
        ..REPRODUCE
    },
    Case {
        name: "wrong encoding",
        damage: |t| latin1(t, "data/corpus.tsv", "häuser"),
        expect: &["data/corpus.tsv:2", "`de`", "UTF-8", "0xe4", "on_bad_row"],
        ..REPRODUCE
    },
    Case {
        name: "wrong encoding of a pair, skipped",
        damage: |t| {
            latin1(t, "data/pairs.tsv", "häuser");
            skip(t);
        },
        code: 0,
        expect: &["note:", "pairs.tsv:2", "UTF-8", "row left out"],
        dry: false,
        ..REPRODUCE
    },
    Case {
        name: "identical pair",
        damage: |t| t.replace("data/pairs.tsv", "she sees houses", "he sees houses"),
        expect: &[
            "data/pairs.tsv:2",
            "identical pair",
            "en pair 0",
            "on_bad_row",
        ],
        ..REPRODUCE
    },
    Case {
        name: "word list that is not JSON",
        damage: |t| t.replace("data/words_fr.json", "]]", "]"),
        expect: &["data/words_fr.json:1:"],
        ..REPRODUCE
    },
    Case {
        name: "word tuple of one word",
        damage: |t| t.replace("data/words.json", ",\"she\"", ""),
        expect: &["data/words.json", "gender[0]", "two or more words"],
        ..REPRODUCE
    },
    Case {
        name: "word list without the category",
        damage: |t| t.replace("data/words_nl.json", "gender", "religion"),
        expect: &["words_nl.json", "`gender`", "religion"],
        ..REPRODUCE
    },
    Case {
        name: "word list that matches nothing",
        damage: |t| {
            t.write(
                "data/words_nl.json",
                b"{\"gender\": [[\"koning\", \"koningin\"]]}",
            )
        },
        expect: &["nl/gender", "koning", "koningin"],
        ..REPRODUCE
    },
    Case {
        name: "hook point that does not exist",
        damage: |t| t.replace("tiny.toml", "\"final_norm\"", "\"blocks.9.output\""),
        expect: &["hook", "`blocks.9.output`", "2 blocks", "final_norm"],
        ..REPRODUCE
    },
    Case {
        name: "more rows than the corpus has",
        damage: |t| t.replace("tiny.toml", "train_rows = 60", "train_rows = 600"),
        expect: &["data.train_rows", "corpus.tsv", "144", "650"],
        ..REPRODUCE
    },
    Case {
        name: "latent wider than the states",
        damage: |t| t.replace("tiny.toml", "latent = 8", "latent = 800"),
        expect: &["autoencoder.latent", "800", "24"],
        ..REPRODUCE
    },
    Case {
        name: "the same category twice",
        damage: |t| t.replace("tiny.toml", "[\"gender\"]", "[\"gender\", \"gender\"]"),
        expect: &["tiny.toml", "categories", "gender is listed twice"],
        ..REPRODUCE
    },
    Case {
        name: "the same method twice",
        damage: |t| t.replace("tiny.toml", "\"inlp\"", "\"sentdebias\""),
        expect: &["methods[1]", "`sentdebias` with rank 1", "listed twice"],
        ..REPRODUCE
    },
    Case {
        name: "a category spelled in another way",
        damage: |t| t.replace("tiny.toml", "[\"gender\"]", "[\"Gender\"]"),
        expect: &["data/pairs.tsv", "`Gender`", "gender"],
        ..REPRODUCE
    },
    Case {
        name: "scorer for another kind of model",
        damage: |t| t.replace("tiny.toml", "\"lm-eval\"", "\"bias-bench\""),
        expect: &[
            "score.scorers",
            "`bias-bench` is for masked models",
            "lm-eval",
        ],
        ..REPRODUCE
    },
    Case {
        name: "model without an LM head",
        damage: |t| {
            let config = fixture("architectures/bert-model/config.json");
            t.write(CONFIG, &config);
            t.replace("tiny.toml", "\"lm-eval\"", "\"bias-bench\"");
        },
        expect: &[
            "score.scorers",
            "`BertModel` has no LM head",
            "scorers = []",
            "ForMaskedLM",
        ],
        ..REPRODUCE
    },
    Case {
        name: "unknown parameter of a method",
        damage: |t| {
            let method = "{ name = \"inlp\", rank = 1, params = { sea = 1 } }";
            t.replace("tiny.toml", "{ name = \"inlp\", rank = 1 }", method);
        },
        expect: &["methods[1].params", "`sea`", "rounds, c, tolerance"],
        ..REPRODUCE
    },
    Case {
        name: "a group to steer away from that is not there",
        damage: |t| {
            let method = "{ name = \"mean-shift\", params = { from = \"males\" } }";
            t.replace("tiny.toml", "{ name = \"inlp\", rank = 1 }", method);
        },
        expect: &["methods[1].params", "`males`", "there are: "],
        ..REPRODUCE
    },
    Case {
        name: "rank beyond the states",
        damage: |t| {
            t.replace(
                "tiny.toml",
                "\"sentdebias\", rank = 1",
                "\"sentdebias\", rank = 5000",
            )
        },
        expect: &["methods[0].rank", "5000", "24 dimensions of space `raw`"],
        ..REPRODUCE
    },
    Case {
        name: "rank beyond the latent space",
        damage: |t| {
            t.replace(
                "tiny.toml",
                "\"sentdebias\", rank = 1",
                "\"sentdebias\", rank = 9",
            )
        },
        expect: &["methods[0].rank", "9", "8 dimensions of space `latent`"],
        ..REPRODUCE
    },
    Case {
        name: "rank beyond what a method can find",
        damage: |t| t.replace("tiny.toml", "\"inlp\", rank = 1", "\"leace\", rank = 3"),
        expect: &[
            "methods[1].rank",
            "3",
            "2 directions",
            "`leace`",
            "gender in en",
        ],
        ..REPRODUCE
    },
    Case {
        name: "learning rate that is no number",
        damage: |t| t.replace("tiny.toml", "latent = 8", "latent = 8\nlearning_rate = nan"),
        expect: &["autoencoder", "learning_rate", "NaN", "positive"],
        ..REPRODUCE
    },
    Case {
        name: "more resamples than memory",
        damage: |t| t.replace("tiny.toml", "resamples = 50", "resamples = 1000000000000"),
        expect: &["score.resamples", "1000000000000", "1 to 1000000"],
        ..REPRODUCE
    },
    Case {
        name: "a folder that holds no pairs",
        damage: |t| {
            t.write("data/notes/readme.txt", b"nothing");
            t.replace("tiny.toml", "pairs = \"pairs.tsv\"", "pairs = \"notes\"");
        },
        expect: &["data/notes", "format", "data.pairs_format", "crows-wide"],
        ..REPRODUCE
    },
    Case {
        name: "a folder that holds several files of pairs",
        damage: |t| {
            t.write("data/both/a.tsv", &t.read("data/pairs.tsv"));
            t.write("data/both/b.tsv", &t.read("data/pairs.tsv"));
            t.replace("tiny.toml", "pairs = \"pairs.tsv\"", "pairs = \"both\"");
        },
        expect: &["data/both", "name one: a.tsv, b.tsv"],
        ..REPRODUCE
    },
    Case {
        name: "a file that nobody can fetch",
        damage: |t| t.replace("tiny.toml", "\"corpus.tsv\"", "\"derived/corpus.tsv\""),
        expect: &["data.parallel", "derived/corpus.tsv", "no manifest has it"],
        ..REPRODUCE
    },
    Case {
        name: "a file that a manifest has",
        damage: |t| t.replace("tiny.toml", "\"pairs.tsv\"", "\"reusens2023\""),
        expect: &[
            "data.pairs",
            "`cargo xtask data fetch reusens2023` brings it",
        ],
        ..REPRODUCE
    },
    Case {
        name: "a pair longer than the model takes",
        damage: |t| {
            let long = "he sees houses ".repeat(200);
            t.replace("data/pairs.tsv", "he sees houses", long.trim());
        },
        expect: &["data.pairs", "pair `0` in en", "tokens, the model takes"],
        ..REPRODUCE
    },
    Case {
        name: "run folders in a file",
        damage: |t| t.write("file", b""),
        flags: &["--out", "file/runs"],
        expect: &["file"],
        ..REPRODUCE
    },
    Case {
        name: "no driver",
        flags: &["--device", "cuda:31"],
        // With the feature and with a driver, there is still no thirty-second device.
        expect: &["CUDA", "--device cpu"],
        ..REPRODUCE
    },
];

const WEIGHTS: &str = "models/tiny/model.safetensors";
const CONFIG: &str = "models/tiny/config.json";
const TOKENIZER: &str = "models/tiny/tokenizer.json";

fn skip(tiny: &Tiny) {
    tiny.replace("tiny.toml", "\"error\"", "\"skip\"");
}

/// A file of the committed checkpoints.
fn fixture(name: &str) -> Vec<u8> {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models");
    std::fs::read(models.join(name)).expect("a fixture")
}

/// Turns the `ä` of the first such word into its Latin-1 byte, which UTF-8 does not allow there.
fn latin1(tiny: &Tiny, name: &str, word: &str) {
    let bytes = tiny.read(name);
    let at = bytes
        .windows(word.len())
        .position(|w| w == word.as_bytes())
        .unwrap();
    let umlaut = at + word.find('ä').unwrap();
    tiny.write(
        name,
        &[&bytes[..umlaut], b"\xe4", &bytes[umlaut + "ä".len()..]].concat(),
    );
}

/// What is wrong with the outcome of a run, or nothing.
fn faults(case: &Case, before: &Tiny, after: &Tiny, output: &Output) -> Vec<String> {
    let mut faults = Vec::new();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(case.code) {
        faults.push(format!("{}, not exit code {}", output.status, case.code));
    }
    for text in ["panicked", "RUST_BACKTRACE", "stack backtrace", "unwrap"] {
        if stderr.contains(text) {
            faults.push(format!("the output holds `{text}`"));
        }
    }
    let errors = stderr.lines().filter(|l| l.starts_with("error:")).count();
    if errors != usize::from(case.code != 0) {
        faults.push(format!("{errors} errors"));
    }
    // What went well before the error is not part of the message.
    let message = match (stderr.find("error:"), case.code) {
        (Some(at), _) => &stderr[at..],
        (None, _) => &stderr,
    };
    for text in case.expect {
        if !message.contains(text) {
            faults.push(format!("the message lacks {text:?}"));
        }
    }
    let results = after.results();
    for (name, bytes) in before.results() {
        if results.get(&name) != Some(&bytes) && (case.code != 0 || !rewritten(&name)) {
            faults.push(format!("{name} of the earlier run has changed"));
        }
    }
    if !faults.is_empty() {
        faults.push(format!("the output was:\n{}", stderr.trim_end()));
    }
    faults
}

/// Whether a run that succeeds writes this file again; its folder may be that of the earlier run.
fn rewritten(name: &str) -> bool {
    !name.starts_with("cache/")
}

/// The experiment after a run to its end.
fn finished() -> Tiny {
    let tiny = Tiny::new();
    let output = tiny.reproduce(&[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the undamaged experiment fails:\n{stderr}"
    );
    let results = tiny.results();
    let names: Vec<&String> = results.keys().collect();
    assert!(
        names.iter().any(|n| n.ends_with("report.html"))
            && names.iter().any(|n| n.ends_with("rows.jsonl")),
        "{names:?}"
    );
    for (name, bytes) in results.iter().filter(|(n, _)| n.ends_with("rows.jsonl")) {
        let text = String::from_utf8_lossy(bytes);
        assert!(text.lines().count() > 10, "{name} has few rows");
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a row");
            let metric = row["metric"].as_str().expect("a name");
            let known = interlingua_metrics::info::METRICS;
            assert!(known.iter().any(|m| m.name == metric), "no metric {metric}");
        }
    }
    tiny
}

fn report(all: &[String]) {
    assert!(
        all.is_empty(),
        "{} cases:\n\n{}",
        all.len(),
        all.join("\n\n")
    );
}

#[test]
fn every_fault_is_one_clear_error() {
    let whole = finished();
    let mut all = Vec::new();
    for case in CASES {
        let damaged = whole.copy();
        (case.damage)(&damaged);
        let before = damaged.copy();
        let output = damaged.reproduce(case.flags);
        let faults = faults(case, &before, &damaged, &output);
        if !faults.is_empty() {
            all.push(format!("## {}\n{}", case.name, faults.join("\n")));
        }
        if !case.dry {
            continue;
        }
        // The run before may have begun its folder.
        let earlier = damaged.results();
        let output = damaged.reproduce(&[case.flags, &["--dry-run"]].concat());
        let mut faults = self::faults(case, &before, &damaged, &output);
        if damaged.results() != earlier {
            faults.push("it has left something behind".into());
        }
        if !faults.is_empty() {
            all.push(format!(
                "## {}, --dry-run\n{}",
                case.name,
                faults.join("\n")
            ));
        }
    }
    report(&all);
}

/// A dry run of what can run says what it takes, and so does one of a first small run.
#[test]
fn a_dry_run_counts_tokens_time_memory_and_disk() {
    let tiny = Tiny::new();
    tiny.replace(
        "tiny.toml",
        "pairs = \"pairs.tsv\"",
        "pairs = \"mine\"\nlimit = 5",
    );
    // A folder stands for its one file of pairs.
    tiny.write("data/mine/pairs.tsv", &tiny.read("data/pairs.tsv"));
    tiny.write("data/mine/LICENSE.md", b"Free.");
    let output = tiny.reproduce(&["--dry-run"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    for part in [
        "text        in tokens",
        "training rows",
        "pairs                    40 sentences",
        "memory ",
        "disk ",
        "time ",
        "GFLOP/s",
        "Nothing was fetched or kept.",
    ] {
        assert!(text.contains(part), "it lacks {part:?}:\n{text}");
    }
    assert!(tiny.results().is_empty(), "it has left something behind");
}

/// A limit on the size of files stands for a full disk: it needs no rights, and the system
/// refuses a write beyond it with an error just the same.
#[test]
fn a_full_disk_keeps_earlier_results() {
    let first = finished();
    // Another seed makes another run folder, beside the earlier one, and another cache entry of every stage.
    let second = first.copy();
    second.replace("tiny.toml", "\n\n[data]", "\nseed = 2\n\n[data]");
    assert!(second.reproduce(&[]).status.success());
    let earlier = first.results();
    let rows = |tiny: &Tiny| {
        let mut results = tiny.results();
        results.retain(|name, _| name.ends_with("rows.jsonl") && !earlier.contains_key(name));
        results
    };
    assert_eq!(rows(&second).len(), 1);

    // What the second run has finished when the disk fills up, the largest file there is room
    // for in units of 512 bytes, and the file that does not fit. A plan that stands is not written again; it is
    // larger than the edits.
    let stages: [(&[&str], u32, &str); 8] = [
        (&[], 1, "spec.toml"),
        (&[], 28, "cache/text-"),
        (&["text"], 28, "cache/states-"),
        (&["text", "states"], 28, "cache/autoencoder-"),
        (
            &["text", "states", "autoencoder", "spec.toml", "plan.json"],
            8,
            "cache/edits-",
        ),
        (
            &["text", "states", "autoencoder", "edits"],
            28,
            "cache/scores-",
        ),
        (
            &["text", "states", "autoencoder", "edits", "scores"],
            28,
            "cache/rows-",
        ),
        (
            &["text", "states", "autoencoder", "edits", "scores", "rows"],
            28,
            "rows.jsonl",
        ),
    ];
    let mut all = Vec::new();
    for (done, blocks, refused) in stages {
        let tiny = second.copy();
        for name in tiny.results().keys() {
            let kept = |done: &&str| {
                name.starts_with(&format!("cache/{done}-")) || name.ends_with(&format!("/{done}"))
            };
            if !earlier.contains_key(name) && !done.iter().any(kept) {
                std::fs::remove_file(tiny.path().join("runs").join(name)).unwrap();
            }
        }
        let before = tiny.copy();
        // Without the trap, the signal would end the program before it can say anything.
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let output = tiny
            .command(&["sh", "-c", &limit, "sh"])
            .output()
            .expect("sh is there");
        let case = Case {
            expect: &["runs/", "free some space", "--out"],
            ..REPRODUCE
        };
        let mut faults = faults(&case, &before, &tiny, &output);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !stderr.contains(refused) {
            faults.push(format!("{refused} fits:\n{stderr}"));
        }
        for name in tiny.results().keys() {
            if name.contains(".partial") {
                faults.push(format!("{name} is left over"));
            }
        }
        // With room again, the same command gives what it would have given.
        let output = tiny.reproduce(&[]);
        if rows(&tiny) != rows(&second) {
            let stderr = String::from_utf8_lossy(&output.stderr);
            faults.push(format!("with room again, the rows differ:\n{stderr}"));
        }
        if !faults.is_empty() {
            all.push(format!("## no room for {refused}\n{}", faults.join("\n")));
        }
    }
    report(&all);
}

/// A list that cannot be printed is an error, and one that nobody reads on is none.
#[test]
fn a_standard_output_that_takes_nothing() {
    for (redirect, code, expect) in [
        (">/dev/full", 1, "error: standard output"),
        ("| true", 0, ""),
    ] {
        let script = format!("\"$@\" {redirect}");
        let output = std::process::Command::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_xtask"), "metrics"])
            .output()
            .expect("sh is there");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{redirect}: {stderr}");
        assert!(stderr.starts_with(expect), "{redirect}: {stderr}");
        assert_eq!(
            stderr.lines().count(),
            code.unsigned_abs() as usize,
            "{redirect}: {stderr}"
        );
    }
}
