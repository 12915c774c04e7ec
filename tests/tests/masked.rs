//! Masked scoring: probabilities, both masked CrowS-Pairs scorers, and an experiment from end to end.
//!
//! Values by `generators/masked_golden.py`; the model is the tiny random `bert-mlm`, whose tokenizer
//! knows the words t5 to t36.

use std::path::Path;

use interlingua_backend::device::cpu;
use interlingua_backend::{DeviceName, Tensor};
use interlingua_experiment::dry_run;
use interlingua_experiment::plan::{Options, Plan};
use interlingua_experiment::run::run;
use interlingua_experiment::spec::Spec;
use interlingua_metrics::crows::{self, Direction, PairScore, Reads};
use interlingua_metrics::{Bootstrap, MetricError};
use interlingua_models::engine::{RowInfo, StateEdit};
use interlingua_models::masked::{MaskRequest, mask_token, masked_log_probs};
use interlingua_models::{Branch, Hook, Model, ModelError, Residency, Sequence};
use interlingua_tests::{fixtures, golden, parity_line};
use serde_json::{Value, json};

fn open(name: &str) -> Model {
    let folder = fixtures().join("models/architectures").join(name);
    Model::open(&folder, &cpu(), Residency::Resident).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().expect("a list");
    list.iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

fn framed(tokens: Vec<u32>) -> Sequence {
    Sequence {
        tokens,
        context: 1,
        closing: 1,
    }
}

#[test]
fn both_scorers_agree_with_transformers_and_difflib() {
    let golden = std::fs::read(golden().join("metrics/masked.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let model = open("bert-mlm");
    assert_eq!(
        u64::from(mask_token(&model).unwrap()),
        golden["mask"].as_u64().unwrap()
    );
    for name in ["nangia", "bias-bench"] {
        let scorer = crows::by_name(name).unwrap();
        let Reads::Masked(masked) = scorer.reads else {
            panic!("{name} is a masked scorer");
        };
        let mut pairs = Vec::new();
        let mut largest = 0.0f64;
        for pair in golden["pairs"].as_array().unwrap() {
            let direction = if pair["direction"] == "stereo" {
                Direction::Stereo
            } else {
                Direction::Antistereo
            };
            let sides = [ids(&pair["more"]), ids(&pair["less"])];
            let places = masked.places(&sides[0], &sides[1], direction);
            assert_eq!(places.is_none(), pair[name].is_null(), "{name}: {pair}");
            let Some(places) = places else { continue };
            let requests: Vec<MaskRequest> = sides
                .into_iter()
                .zip(places)
                .map(|(tokens, places)| MaskRequest {
                    sequence: framed(tokens),
                    places,
                })
                .collect();
            let found =
                masked_log_probs(&model, &requests, &[Branch::unedited()], &mut |_, _| {}).unwrap();
            let scores: Vec<_> = found[0].iter().map(|l| scorer.score(l).unwrap()).collect();
            for (score, expected) in scores.iter().zip(pair[name].as_array().unwrap()) {
                // Both are rounded to 3 decimals; f32 noise may move a value over the edge.
                let off = (score.value - expected.as_f64().unwrap()).abs();
                assert!(
                    off < 1.5e-3,
                    "{name}: {} instead of {expected}",
                    score.value
                );
                largest = largest.max(off);
            }
            pairs.push(PairScore {
                more: scores[0],
                less: scores[1],
                direction,
            });
        }
        let score = crows::sign_score(&pairs, &Bootstrap::default()).unwrap();
        let expected = golden["score"][name].as_f64().unwrap();
        let off = (score.score.value - expected).abs();
        assert!(off < 1e-9, "{name}");
        let against = "transformers, difflib";
        let what = |part| format!("masked scorer {name}: {part}");
        parity_line(
            &what("sentence scores, to 3 decimals"),
            against,
            largest,
            1.5e-3,
        );
        parity_line(&what("score of all pairs"), against, off, 1e-9);
    }
}

/// Stretches and moves every state; 0 leaves it as it is.
struct Shift(f32);

impl StateEdit for Shift {
    fn apply(&self, h: Tensor<2>, _: &RowInfo<'_>) -> Tensor<2> {
        h * (1.0 + self.0) + self.0
    }
}

#[test]
fn requests_branches_and_places_come_back_in_order() {
    let model = open("bert-mlm");
    let requests = [
        MaskRequest {
            sequence: framed(vec![2, 9, 10, 11, 3]),
            places: vec![3, 1],
        },
        MaskRequest {
            sequence: framed(vec![2, 9, 10, 11, 3]),
            places: vec![],
        },
        MaskRequest::text(framed(vec![2, 20, 30, 3])),
    ];
    let (still, moved) = (Shift(0.0), Shift(0.5));
    let branches = [
        Branch::unedited(),
        Branch::edited(Hook::input(1), &still),
        Branch::edited(Hook::FINAL_NORM, &moved),
    ];
    let found = masked_log_probs(&model, &requests, &branches, &mut |_, _| {}).unwrap();
    assert_eq!(found.len(), 3);
    let lengths: Vec<usize> = found[0].iter().map(Vec::len).collect();
    assert_eq!(lengths, [2, 0, 2]);
    for (a, b) in found[0].iter().flatten().zip(found[1].iter().flatten()) {
        assert!((a - b).abs() < 1e-5, "an edit that changes nothing");
    }
    assert_ne!(found[0], found[2], "an edit that does");
    // One at a time gives the same as all in one pass.
    for (request, expected) in requests.iter().zip(&found[0]) {
        for (&place, expected) in request.places.iter().zip(expected) {
            let alone = MaskRequest {
                sequence: request.sequence.clone(),
                places: vec![place],
            };
            let alone =
                masked_log_probs(&model, &[alone], &[Branch::unedited()], &mut |_, _| {}).unwrap();
            assert!((alone[0][0][0] - expected).abs() < 1e-5);
        }
    }
}

#[test]
fn requests_that_cannot_be_answered() {
    let request = |tokens: Vec<u32>, place| MaskRequest {
        sequence: framed(tokens),
        places: vec![place],
    };
    let ask = |model: &Model, requests: &[MaskRequest]| {
        masked_log_probs(model, requests, &[Branch::unedited()], &mut |_, _| {}).unwrap_err()
    };
    let model = open("bert-mlm");
    let good = request(vec![2, 9, 3], 1);
    let beyond = ask(&model, &[good.clone(), request(vec![2, 9, 3], 3)]);
    assert!(
        matches!(beyond, ModelError::Sequence { index: 1, .. }),
        "{beyond}"
    );
    // The second copy is of the first request; errors name requests.
    let both = MaskRequest::text(framed(vec![2, 9, 9, 3]));
    let long = ask(&model, &[both, request(vec![9; 21], 1)]);
    assert!(
        matches!(long, ModelError::Sequence { index: 1, .. }),
        "{long}"
    );
    let causal = ask(&open("cohere"), std::slice::from_ref(&good));
    assert!(
        causal.to_string().contains("needs a masked one"),
        "{causal}"
    );
    let headless = ask(&open("bert-model"), &[good]);
    assert!(matches!(headless, ModelError::NoHead { .. }), "{headless}");
    assert!(matches!(
        crows::by_name("bias-bench").unwrap().score::<f32>(&[]),
        Err(MetricError::Empty { .. })
    ));
}

/// A copy of a fixture's files in a folder of its own.
fn copy(name: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let from = fixtures().join("models/architectures").join(name);
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_mask_token_is_looked_for_where_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    copy("bert-mlm", folder.path());
    let find = || {
        Model::open(folder.path(), &cpu(), Residency::Stream)
            .and_then(|model| mask_token(&model))
            .map_err(|e| e.to_string())
    };
    let write = |file: &str, value: Value| {
        std::fs::write(folder.path().join(file), value.to_string()).unwrap();
    };
    assert_eq!(find(), Ok(4));
    write(
        "special_tokens_map.json",
        json!({"mask_token": {"content": "t7"}}),
    );
    assert_eq!(find(), Ok(7));
    write("tokenizer_config.json", json!({"mask_token": null}));
    assert_eq!(find(), Ok(7));
    write("tokenizer_config.json", json!({"mask_token": "t8"}));
    assert_eq!(find(), Ok(8));
    for (value, told) in [
        (json!("nowhere"), "is not in tokenizer.json"),
        (json!(8), "must be a text"),
    ] {
        write("tokenizer_config.json", json!({"mask_token": value}));
        let message = find().unwrap_err();
        assert!(
            message.contains("mask_token") && message.contains(told),
            "{message}"
        );
    }
    for file in ["tokenizer_config.json", "special_tokens_map.json"] {
        std::fs::remove_file(folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[MASK]", "[HIDE]")).unwrap();
    let message = find().unwrap_err();
    for told in [
        "mask_token",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "<mask>",
    ] {
        assert!(message.contains(told), "{message}");
    }
}

/// Sentences of the toy languages: words t9 to t36, one of them about a group (t5 or t6).
fn toy_sentence(row: usize, language: usize, group: Option<usize>) -> String {
    let word = |k: usize| {
        format!(
            "t{}",
            9 + (row * 5 + k * (3 + row / 28) + language * 11) % 28
        )
    };
    let mut words: Vec<String> = (0..4 + row % 3).map(word).collect();
    if let Some(group) = group {
        words[1] = format!("t{}", 5 + group);
    }
    words.join(" ")
}

/// Data files of a two-language toy, and the model, in one folder.
fn toy(folder: &Path) -> Options {
    copy("bert-mlm", &folder.join("models/toy"));
    copy("cohere", &folder.join("models/causal"));
    let mut parallel = String::from("en\tfr\n");
    for row in 0..150 {
        let group = [Some(0), Some(1), None][row % 3];
        let line = [0, 1].map(|language| toy_sentence(row, language, group));
        parallel += &format!("{}\n", line.join("\t"));
    }
    let mut pairs = String::from("id,language,category,direction,more,less,planted\n");
    for (at, language) in ["en", "fr"].into_iter().enumerate() {
        for row in 200..212 {
            let direction = ["stereo", "antistereo"][row % 2];
            let more = toy_sentence(row, at, Some(0));
            let less = toy_sentence(row, at, Some(1));
            pairs += &format!("{row},{language},gender,{direction},{more},{less},\n");
        }
        let (more, less) = ("t9 t10 t11 t12", "t9 t10 t12");
        pairs += &format!("shorter,{language},gender,stereo,{more},{less},\n");
    }
    for (file, text) in [
        ("parallel.tsv", parallel),
        ("pairs.csv", pairs),
        ("words.json", json!({"gender": [["t5", "t6"]]}).to_string()),
        (
            "words_fr.json",
            json!({"gender": [["t5", "t6"]]}).to_string(),
        ),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    Options {
        data_dir: folder.to_owned(),
        model_dir: folder.join("models"),
        out: folder.join("runs"),
        device: "cpu".parse::<DeviceName>().unwrap(),
        residency: interlingua_models::Residency::Auto,
        precision: interlingua_backend::Precision::F32,
        memory: None,
        manifests: Vec::new(),
        resume: false,
        command: "a test".into(),
    }
}

fn spec(model: &str, scorers: &[&str]) -> Spec {
    let text = format!(
        r#"
name = "toy"
title = "A toy"
languages = ["en", "fr"]
categories = ["gender"]
spaces = ["raw"]
methods = [{{ name = "sentdebias", rank = 1 }}]
[data]
kind = "files"
parallel = "parallel.tsv"
pairs = "pairs.csv"
attributes = "words{{_lang}}.json"
train_rows = 80
validation_rows = 20
heldout_rows = 30
[model]
kind = "folder"
path = "{model}"
[score]
scorers = {scorers:?}
resamples = 50
perplexity_sentences = 10
"#
    );
    let mut specs = Spec::parse(&text, Path::new("toy.toml"), false).unwrap();
    specs.remove(0)
}

#[test]
fn an_experiment_on_a_masked_model() {
    let folder = tempfile::tempdir().unwrap();
    let options = toy(folder.path());
    let plan = Plan::new(spec("toy", &["bias-bench", "nangia"]), options).unwrap();
    let outcome = run(&plan, &mut |_| {}).unwrap();
    let rows = |metric: &str, scorer: Option<&str>| {
        outcome
            .rows
            .iter()
            .filter(|r| r.metric == metric && r.scorer.as_deref() == scorer)
            .collect::<Vec<_>>()
    };
    // Unedited, random, and sentdebias and its control with shuffled labels fitted in either language;
    // each judged in both.
    assert_eq!(rows("pseudo_perplexity", None).len(), 12);
    assert_eq!(rows("kl_divergence", None).len(), 12);
    assert_eq!(rows("perplexity", None).len(), 0);
    for (scorer, pairs) in [("bias-bench", 12), ("nangia", 13)] {
        for metric in ["sign_score", "mean_gap"] {
            let found = rows(metric, Some(scorer));
            assert_eq!(found.len(), 12, "{metric} by {scorer}");
            assert!(found.iter().all(|r| r.n == pairs), "{metric} by {scorer}");
        }
    }
    // The unedited gap of the first language, from the model itself.
    let model = open("bert-mlm");
    let scorer = crows::by_name("bias-bench").unwrap();
    let mut gaps = Vec::new();
    for row in 200..212 {
        let score = |group| {
            let sequence = model.sequence(&toy_sentence(row, 0, Some(group))).unwrap();
            assert_eq!((sequence.context, sequence.closing), (1, 1));
            let request = MaskRequest {
                sequence,
                places: vec![2],
            };
            let found = masked_log_probs(&model, &[request], &[Branch::unedited()], &mut |_, _| {})
                .unwrap();
            scorer.score(&found[0][0]).unwrap().value
        };
        gaps.push(score(0) - score(1));
    }
    let expected = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let found = rows("mean_gap", Some("bias-bench"))
        .into_iter()
        .find(|r| r.method.as_deref() == Some("none") && r.eval_language.as_deref() == Some("en"))
        .unwrap();
    assert!(
        (found.value - expected).abs() < 2e-3,
        "{} {expected}",
        found.value
    );
    let page = std::fs::read_to_string(outcome.folder.join("report.html")).unwrap();
    assert!(page.contains(">Pseudo-perplexity<") && page.contains("pseudo-perplexity, × unedited"));
}

#[test]
fn a_pair_that_is_too_long_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let options = toy(folder.path());
    let path = folder.path().join("pairs.csv");
    let mut pairs = std::fs::read_to_string(&path).unwrap();
    let long = ["t9"; 19].join(" ");
    pairs += &format!("endless,en,gender,stereo,{long},{long} t10,\n");
    std::fs::write(&path, pairs).unwrap();
    let plan = Plan::new(spec("toy", &["bias-bench"]), options).unwrap();
    let message = run(&plan, &mut |_| {}).err().expect("too long").to_string();
    assert!(
        message.contains("`endless`") && message.contains("21 tokens, the model takes 20"),
        "{message}"
    );
}

#[test]
fn a_scorer_of_the_other_kind_is_refused_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let options = toy(folder.path());
    for (model, scorer, fit) in [
        ("toy", "lm-eval", "nangia, bias-bench"),
        ("causal", "bias-bench", "lm-eval, bias-bench-generative"),
    ] {
        let error = Plan::new(spec(model, &[scorer]), options.clone()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("score.scorers")
                && message.ends_with(&format!("those that fit: {fit}")),
            "{message}"
        );
    }
}

#[test]
fn the_published_protocol_says_what_it_needs() {
    let path = fixtures().join("../../experiments/reusens2023-mbert.toml");
    let specs = Spec::read(&path, false).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let manifests = fixtures().join("../../datasets");
    let options = Options {
        manifests: interlingua_data::Manifest::load_all(&manifests).unwrap(),
        ..toy(folder.path())
    };
    let mut said = String::new();
    // The data are not there, so the run would stop.
    let error = dry_run(&specs[0], &options, &mut said).unwrap_err();
    assert!(error.to_string().starts_with("data.parallel"), "{error}");
    for needed in [
        "google-bert/bert-base-multilingual-uncased",
        "derived/tatoeba4_en_fr_de_nl.tsv  (MISSING: no manifest has it",
        "reusens2023  (MISSING: `interlingua data fetch reusens2023` brings it)",
        "bias_attribute_words_nl.json",
        "en, fr, de, nl",
    ] {
        assert!(said.contains(needed), "{needed} in {said}");
    }
}
