//! From a model to an edit, and from the edit to what other programs load; and what is refused on the way.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use interlingua_edits::{Edit, Hook, Intervention, ModelShape, Provenance, Site, Tokens};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models")
}

fn model() -> String {
    fixtures().join("cohere-f32").display().to_string()
}

fn run(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_interlingua"))
        .args(words)
        .current_dir(folder)
        .env_remove("HF_HUB_CACHE")
        .output()
        .unwrap()
}

fn works(folder: &Path, words: &[&str]) -> String {
    let out = run(folder, words);
    assert!(
        out.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

fn refused(folder: &Path, words: &[&str], parts: &[&str]) {
    let out = run(folder, words);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{words:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{words:?} lacks {part:?}: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn from_a_model_to_an_edit_and_out_again() {
    let place = tempfile::tempdir().unwrap();
    let (at, model) = (place.path(), model());
    let fit = [
        "fit",
        &model,
        "--method",
        "sentdebias",
        "--tokens",
        "all",
        "--out",
        "edit.safetensors",
    ];
    let said = works(at, &fit);
    assert_eq!(
        said,
        format!(
            "edit.safetensors\n{}",
            works(at, &["show", "edit.safetensors"])
        )
    );
    assert!(
        said.contains("erase of rank 1, on all tokens") && said.contains("languages en"),
        "{said}"
    );
    refused(at, &fit, &["edit.safetensors", "--force"]);

    let measure = [
        "measure",
        &model,
        "--languages",
        "en",
        "--edit",
        "edit.safetensors",
        "--out",
        "m",
        "--limit",
        "40",
    ];
    let table = works(at, &measure);
    for part in [
        "| en | occupations | gender | mean \\|gap\\| | 40 |",
        "| en | neutral |",
        "KL(unedited ‖ edited)",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let json: Value =
        serde_json::from_slice(&std::fs::read(at.join("m/measure.json")).unwrap()).unwrap();
    assert!(json["rows"].as_array().unwrap().len() > 10);
    // What is finished is not computed again, and comes out the same.
    let again = run(at, &measure);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), table);
    assert_eq!(
        String::from_utf8_lossy(&again.stderr)
            .matches("cached")
            .count(),
        2
    );

    let generate = [
        "generate",
        &model,
        "--prompt",
        "the cat",
        "--tokens",
        "6",
        "--edit",
        "edit.safetensors",
    ];
    let beside = [
        &generate[..],
        &["--side-by-side", "--html", "page.html", "--json"],
    ]
    .concat();
    let json: Value = serde_json::from_str(&works(at, &beside)).unwrap();
    let text = &json["texts"][0];
    assert_eq!(text["edited"]["tokens"].as_array().unwrap().len(), 6);
    assert_ne!(text["unedited"], Value::Null);
    let page = std::fs::read_to_string(at.join("page.html")).unwrap();
    assert!(
        page.contains("<th>unedited</th><th>edited</th>") && !page.contains("<script"),
        "{page}"
    );

    works(
        at,
        &[
            "export",
            &model,
            "--edit",
            "edit.safetensors",
            "--as",
            "hf",
            "--out",
            "edited",
        ],
    );
    works(
        at,
        &[
            "export",
            &model,
            "--edit",
            "edit.safetensors",
            "--as",
            "peft",
            "--out",
            "adapter",
        ],
    );
    // The model with the edit in its weights writes what the model under the edit writes.
    let edited = [
        "generate", "edited", "--prompt", "the cat", "--tokens", "6", "--json",
    ];
    let exported: Value = serde_json::from_str(&works(at, &edited)).unwrap();
    assert_eq!(exported["texts"][0]["unedited"], text["edited"]);
    for format in ["hf", "peft"] {
        let words = [
            "export",
            &model,
            "--edit",
            "edit.safetensors",
            "--as",
            format,
            "--out",
            "edited",
        ];
        refused(at, &words, &["edited", "is there already"]);
    }
    let words = [
        "export",
        &model,
        "--edit",
        "edit.safetensors",
        "--as",
        "gguf-lora",
        "--out",
        "a.gguf",
    ];
    refused(at, &words, &["is its embedding", "--as hf"]);
    assert!(!at.join("a.gguf").exists());
}

/// An intervention for models of the shape of another one.
/// Every method whose edit is a change of weights: fitted on a model, written in every format that holds it, and the
/// model with the new weights gives the log-probabilities of the model under the edit.
#[test]
fn edits_of_weights_are_exported_as_what_they_are() {
    let place = tempfile::tempdir().unwrap();
    let (at, model) = (place.path(), model());
    let measured = |model: &str, edit: &[&str], out: &str| -> Vec<f64> {
        let words = [
            "measure",
            model,
            "--languages",
            "en",
            "--limit",
            "6",
            "--out",
            out,
        ];
        works(at, &[&words[..], edit].concat());
        let json = std::fs::read(at.join(out).join("measure.json")).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let rows = json["rows"].as_array().unwrap().iter();
        let of = if edit.is_empty() {
            "unedited"
        } else {
            "edited"
        };
        let wanted = |row: &&Value| {
            row["model"] == of && (row["metric"] == "mean gap" || row["metric"] == "perplexity")
        };
        let value = |row: &Value| row["estimate"]["value"].as_f64().unwrap();
        rows.filter(wanted).map(value).collect()
    };
    let apart = |a: &[f64], b: &[f64]| {
        assert_eq!((a.len(), b.len()), (2, 2));
        let each = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        each.fold(0.0, f64::max)
    };
    let unedited = measured(&model, &[], "unedited");
    for (method, hook, size) in [
        ("profs", "block.1.mlp", ["--rank", "2"]),
        ("profs", "block.0.down", ["--rank", "2"]),
        ("eigenshift", "final_norm", ["--rank", "2"]),
        ("model-surgery", "block.*.gate,final_norm", ["--units", "9"]),
    ] {
        let name = format!("{method}-{hook}").replace(['*', ','], "-");
        let file = format!("{name}.safetensors");
        let fit = [
            "fit", &model, "--method", method, "--hook", hook, "--tokens", "all", "--out", &file,
        ];
        works(at, &[&fit[..], &size].concat());
        let edited = measured(&model, &["--edit", &file], &format!("{name}.edited"));
        let change = apart(&edited, &unedited);
        assert!(change > 0.01, "{name} is seen: {change}");
        for format in ["hf", "peft"] {
            let out = format!("{name}.{format}");
            works(
                at,
                &[
                    "export", &model, "--edit", &file, "--as", format, "--out", &out,
                ],
            );
        }
        let exported = measured(&format!("{name}.hf"), &[], &format!("{name}.exported"));
        let rounding = apart(&exported, &edited);
        assert!(
            rounding < 1e-3,
            "{name}: {rounding}, where the edit changes {change}"
        );
    }
    // A method that needs weights says where there are none.
    let wrong = [
        "fit",
        &model,
        "--method",
        "eigenshift",
        "--hook",
        "block.0.output",
        "--out",
        "x",
    ];
    refused(at, &wrong, &["eigenshift", "residual stream"]);
}

fn other(change: impl Fn(&mut ModelShape)) -> Intervention {
    let mut shape = ModelShape {
        architecture: "LlamaForCausalLM".into(),
        layers: 3,
        hidden: 7,
        heads: 1,
        kv_heads: 1,
        head_dim: 7,
        intermediate: 9,
        gated: true,
    };
    change(&mut shape);
    let edit = Edit::shift(vec![1.0; shape.hidden]).unwrap();
    let steps = vec![(Site::raw(Hook::FINAL_NORM, Tokens::All), edit)];
    Intervention::new(shape, steps, Provenance::default()).unwrap()
}

#[test]
fn files_and_flags_that_do_not_fit_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let (at, model) = (place.path(), model());
    let made = works(
        at,
        &[
            "fit",
            &model,
            "--method",
            "mean-shift",
            "--hook",
            "block.0.output",
            "--out",
            "own.safetensors",
        ],
    );
    assert!(made.contains("shift by a vector"), "{made}");
    let own = std::fs::read(at.join("own.safetensors")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(at.join(name), bytes).unwrap();
    let replaced = |from: &str, to: &str| {
        // Of one length, so that the header's stays right.
        assert_eq!(from.len(), to.len());
        let at = own
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .expect(from);
        let mut bytes = own.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    write("other.safetensors", &other(|_| ()).to_bytes().unwrap());
    write("cut.safetensors", &own[..own.len() / 2]);
    write(
        "newer.safetensors",
        &replaced("\\\"version\\\":1", "\\\"version\\\":9"),
    );
    write(
        "space.safetensors",
        &replaced("\\\"space\\\":\\\"raw\\\"", "\\\"space\\\":\\\"cca\\\""),
    );
    write("none.txt", b"");
    write("text.txt", b"the cat\n");
    let edits: [(&str, &[&str]); 5] = [
        ("other.safetensors", &["other.safetensors", "layers = 3"]),
        ("cut.safetensors", &["cut.safetensors", "cut off"]),
        ("newer.safetensors", &["newer.safetensors", "version 9"]),
        ("space.safetensors", &["space.safetensors", "`cca`", "raw"]),
        ("missing.safetensors", &["missing.safetensors"]),
    ];
    for (edit, parts) in edits {
        for command in [
            vec!["generate", &model, "--prompt", "the cat", "--edit", edit],
            vec!["measure", &model, "--languages", "en", "--edit", edit],
            vec![
                "model",
                "capture",
                &model,
                "--text",
                "text.txt",
                "--out",
                "s.safetensors",
                "--edit",
                edit,
            ],
            vec![
                "export", &model, "--as", "hf", "--out", "edited", "--edit", edit,
            ],
        ] {
            refused(at, &command, parts);
        }
    }
    let masked = fixtures()
        .join("architectures/bert-mlm")
        .display()
        .to_string();
    let cases: [(Vec<&str>, &[&str]); 9] = [
        (
            vec!["show", "cut.safetensors"],
            &["cut.safetensors", "cut off"],
        ),
        (
            vec!["generate", &model, "--prompt", "a", "--residency", "stream"],
            &["--residency resident"],
        ),
        (
            vec!["generate", &masked, "--prompt", "a", "--tokens", "2"],
            &["no causal model"],
        ),
        (
            vec!["generate", &model, "--prompt", "a", "--temperature", "0"],
            &["temperature"],
        ),
        (
            vec!["generate", &model, "--prompts", "none.txt"],
            &["none.txt", "no text"],
        ),
        (
            vec!["generate", &model, "--prompt", "a", "--chat"],
            &["no chat template"],
        ),
        (
            vec!["fit", &model, "--method", "leaec", "--out", "x.safetensors"],
            &["leaec", "leace"],
        ),
        (
            vec![
                "fit",
                &model,
                "--method",
                "leace",
                "--language",
                "it",
                "--out",
                "x.safetensors",
            ],
            &["it"],
        ),
        (
            vec![
                "fit",
                &model,
                "--method",
                "leace",
                "--hook",
                "block.9.output",
                "--out",
                "x.safetensors",
            ],
            &["block.9.output"],
        ),
    ];
    for (words, parts) in cases {
        refused(at, &words, parts);
    }
    let shift = [
        "export",
        &model,
        "--edit",
        "own.safetensors",
        "--as",
        "hf",
        "--out",
        "edited",
    ];
    refused(
        at,
        &shift,
        &["step 1 at `block.0.output`", "`text`", "--tokens all"],
    );
    let mut left: Vec<String> = std::fs::read_dir(at)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    let expect = [
        "cut.safetensors",
        "newer.safetensors",
        "none.txt",
        "other.safetensors",
        "own.safetensors",
        "space.safetensors",
        "text.txt",
    ];
    assert_eq!(left, expect, "nothing half-written is left");
}

/// A model that is one file has no folder for settings of generation beside it.
#[test]
fn a_gguf_file_writes_text() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "gemma3", "gpt2"] {
        let file = fixtures().join(format!("gguf/{name}.gguf"));
        let model = file.display().to_string();
        let words = [
            "generate", &model, "--prompt", "the", "--tokens", "3", "--json",
        ];
        let json: Value = serde_json::from_str(&works(folder.path(), &words)).unwrap();
        let tokens = json["texts"][0]["unedited"]["tokens"].as_array().unwrap();
        assert!((1..=3).contains(&tokens.len()), "{name}: {json}");
    }
}
