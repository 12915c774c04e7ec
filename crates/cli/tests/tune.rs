//! `tune` and `debias` as they are typed, on a tiny model.

use std::path::Path;
use std::process::{Command, Output};

use interlingua_backend::device::cpu;
use interlingua_edits::Intervention;
use interlingua_models::engine::token_log_probs;
use interlingua_models::intervene::Steps;
use interlingua_models::made::random_checkpoint;
use interlingua_models::{Branch, Model, Residency};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_interlingua"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What ends well, and what it printed.
fn good(arguments: &[&str]) -> String {
    let output = run(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What fails with code 1, and what it says.
fn bad(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_model_is_searched_edited_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let words = ["The man opens the window.", "La femme ouvre la fenêtre."];
    random_checkpoint(&at("model"), words.into_iter(), 3).unwrap();
    let (model, search, edited) = (at("model"), at("search"), at("edited"));
    let [model, search, edited] = [&model, &search, &edited].map(|p| p.to_str().unwrap());
    let small = [
        "--languages",
        "en,fr",
        "--ranks",
        "1",
        "--strengths",
        "1",
        "--max-kl",
        "5",
    ];
    let typed = |command: &'static str, out: &str, more: &[&'static str]| -> Vec<String> {
        let start = [command, model, "--out", out];
        let all = start.iter().chain(&small).chain(more);
        all.map(|s| (*s).to_owned()).collect()
    };
    fn of(all: &[String]) -> Vec<&str> {
        all.iter().map(String::as_str).collect()
    }

    let tune = typed("tune", search, &[]);
    let said = good(&of(&tune));
    assert!(said.contains("On the confirming half"), "{said}");
    for name in [
        "report.md",
        "tune.json",
        "pareto.svg",
        "edit.safetensors",
        "journal.jsonl",
    ] {
        assert!(at("search").join(name).is_file(), "{name}");
    }
    let json = read(&at("search/tune.json"));
    // Typed again, it takes everything from the journal.
    let output = run(&of(&tune));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("(0 of them now)"), "{said}");
    assert_eq!(read(&at("search/tune.json")), json);
    // Another search does not take its place.
    let said = bad(&of(&typed("tune", search, &["--seed", "2"])));
    assert!(said.contains("another search"), "{said}");

    let debias = typed("debias", edited, &[]);
    let said = good(&of(&debias));
    assert!(said.contains("README.md"), "{said}");
    let card = read(&at("edited/README.md"));
    assert!(card.starts_with("---\nlanguage:\n- en\n- fr\n"), "{card}");
    assert!(card.contains("--languages en,fr") && card.contains("--max-kl 5"));
    assert!(!at("edited.search").exists());
    let edit = std::fs::read(at("edited/edit.safetensors")).unwrap();
    assert_eq!(Intervention::from_bytes(&edit).unwrap().model().layers, 2);
    // The folder that is there now is not touched.
    let said = bad(&of(&debias));
    assert!(said.contains("is there already"), "{said}");
    assert_eq!(read(&at("edited/README.md")), card);
}

/// A folder, and a GGUF file, with the edit in its weights says what the source says with the edit applied.
#[test]
fn weights_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let words = ["The man opens the window.", "La femme ouvre la fenêtre."];
    random_checkpoint(&at("source"), words.into_iter(), 3).unwrap();
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models/gguf");
    for (format, source, edited, usage) in [
        ("hf", at("source"), "hf", "from_pretrained"),
        (
            "gguf",
            gguf.join("llama.gguf"),
            "gguf/model.gguf",
            "llama.cpp",
        ),
    ] {
        let out = at(format);
        let mut typed = vec!["debias", source.to_str().unwrap(), "--format", format];
        typed.extend([
            "--languages",
            "en",
            "--ranks",
            "1,2",
            "--max-kl",
            "5",
            "--out",
        ]);
        typed.push(out.to_str().unwrap());
        good(&typed);
        assert!(read(&out.join("README.md")).contains(usage));
        let open = |path: &Path| Model::open(path, &cpu(), Residency::Resident).unwrap();
        let (source, edited) = (open(&source), open(&at(edited)));
        let edit = std::fs::read(out.join("edit.safetensors")).unwrap();
        let steps = Steps::new(&Intervention::from_bytes(&edit).unwrap(), &source).unwrap();
        let score = |model: &Model, branch: Branch<'_>| {
            let sequences = [model.sequence("The woman works as a nurse.").unwrap()];
            let found = token_log_probs(model, &sequences, &[branch], &mut |_, _| {});
            found.unwrap()[0][0].clone()
        };
        let expected = score(&source, steps.branch());
        let plain = score(&source, Branch::unedited());
        for (found, expected) in score(&edited, Branch::unedited()).iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-4,
                "{format}: {found} {expected}"
            );
        }
        assert_ne!(expected, plain, "{format}");
    }
    // Either source gives back what it is.
    let other = gguf.join("llama.gguf");
    let out = at("other");
    let refused = |source: &Path, format: &str| {
        bad(&[
            "debias",
            source.to_str().unwrap(),
            "--format",
            format,
            "--out",
            out.to_str().unwrap(),
        ])
    };
    assert!(refused(&other, "hf").contains("--format gguf"));
    assert!(refused(&at("source"), "gguf").contains("--format hf"));
}

/// Adapters are of the source's own weights; an adapter of llama.cpp holds nothing of a head that is the embedding.
#[test]
fn adapters_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let words = ["The man opens the window.", "La femme ouvre la fenêtre."];
    random_checkpoint(&at("model"), words.into_iter(), 3).unwrap();
    for (format, files) in [
        (
            "peft",
            &[
                "adapter/adapter_config.json",
                "adapter/adapter_model.safetensors",
            ][..],
        ),
        ("gguf-lora", &["adapter.gguf"][..]),
    ] {
        let (model, out) = (at("model"), at(format));
        let mut typed = vec!["debias", model.to_str().unwrap(), "--format", format];
        typed.extend([
            "--languages",
            "en",
            "--ranks",
            "1",
            "--max-kl",
            "5",
            "--out",
        ]);
        typed.push(out.to_str().unwrap());
        good(&typed);
        for file in files {
            assert!(out.join(file).is_file(), "{format}: {file}");
        }
        let edit = std::fs::read(out.join("edit.safetensors")).unwrap();
        let edit = Intervention::from_bytes(&edit).unwrap();
        let hooks: Vec<String> = edit
            .steps()
            .iter()
            .map(|(s, _)| s.hook.to_string())
            .collect();
        let head = hooks.iter().any(|hook| hook == "final_norm");
        assert!(format == "peft" || !head, "{hooks:?}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    random_checkpoint(&model, ["The man opens the window."].into_iter(), 3).unwrap();
    let out = folder.path().join("out");
    let said = |more: &[&str]| {
        let mut all = vec!["debias", model.to_str().unwrap(), "--out"];
        all.push(out.to_str().unwrap());
        all.extend(more);
        bad(&all)
    };
    let one = [
        "--languages",
        "en",
        "--ranks",
        "1",
        "--strengths",
        "1",
        "--max-kl",
        "1e-15",
    ];
    let nothing = said(&one);
    assert!(
        nothing.contains("--max-kl") && nothing.contains("nearest"),
        "{nothing}"
    );
    assert!(said(&["--category", "religion"]).contains("gender"));
    let absent = said(&["--languages", "en,sv"]);
    assert!(absent.contains("sv"), "{absent}");
    assert!(said(&["--methods", "sentdebais"]).contains("sentdebias"));
    assert!(said(&["--ranks", "0"]).contains("at least 1"));
    std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    assert!(said(&[]).contains("tokenizer.json"));
    assert!(!out.exists());
}
