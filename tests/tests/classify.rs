//! Sequence classifiers against transformers, and checkpoints that are none.
//!
//! The tiny checkpoints and their values are made by `generators/classifiers_golden.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use interlingua_backend::device::cpu;
use interlingua_models::classify::{Classifier, Reading};
use interlingua_models::{ModelError, Residency};
use interlingua_tests::fixtures;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    labels: Vec<String>,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    logits: Vec<f64>,
    probabilities: Vec<f64>,
    cut: bool,
}

fn folder() -> PathBuf {
    fixtures().join("models/classifiers")
}

fn open(folder: &Path) -> Result<Classifier, ModelError> {
    Classifier::open(folder, &cpu(), Residency::Resident)
}

fn golden() -> BTreeMap<String, Golden> {
    let text = std::fs::read_to_string(folder().join("classifiers.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn logits_and_probabilities_are_those_of_transformers() {
    let golden = golden();
    assert_eq!(golden.len(), 4);
    for (name, golden) in golden {
        let texts: Vec<String> = golden.texts.iter().map(|t| t.text.clone()).collect();
        for residency in [Residency::Resident, Residency::Stream] {
            let classifier = Classifier::open(&folder().join(&name), &cpu(), residency).unwrap();
            assert_eq!(classifier.labels(), golden.labels, "{name}");
            let found = classifier.classify(&texts, &mut |_, _| {}).unwrap();
            let scale = golden.texts.iter().flat_map(|t| &t.logits);
            let scale = scale.fold(0f64, |most, x| most.max(x.abs()));
            for (expect, found) in golden.texts.iter().zip(&found) {
                let far = |a: &[f64], b: &[f64]| {
                    assert_eq!(a.len(), b.len());
                    a.iter()
                        .zip(b)
                        .fold(0f64, |most, (a, b)| most.max((a - b).abs()))
                };
                let off = far(&expect.logits, &found.logits) / scale;
                assert!(off < 1e-5, "{name} `{}`: {off}", expect.text);
                let off = far(&expect.probabilities, &found.probabilities);
                assert!(off < 1e-5, "{name} `{}`: {off}", expect.text);
                assert_eq!(expect.cut, found.cut, "{name} `{}`", expect.text);
            }
            // Alone, a text has the same verdict.
            let alone = classifier.classify(&texts[1..2], &mut |_, _| {}).unwrap();
            assert_eq!(alone[0], found[1], "{name}");
        }
    }
}

#[test]
fn labels_are_asked_for_by_name() {
    let classifier = open(&folder().join("distilbert")).unwrap();
    assert_eq!(classifier.reading(), Reading::EachLabel);
    assert_eq!(classifier.label("threat").unwrap(), 1);
    let error = classifier.label("toxic").unwrap_err().to_string();
    for told in ["no label `toxic`", "insult, threat, obscene"] {
        assert!(error.contains(told), "{error}");
    }
}

/// A copy of a fixture with one file changed.
fn changed(name: &str, edit: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(folder().join(name).join(file), copy.path().join(file)).unwrap();
    }
    let path = copy.path().join("config.json");
    let mut json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
    copy
}

#[test]
fn what_is_no_classifier_is_refused() {
    let architectures = fixtures().join("models/architectures");
    for name in ["bert-mlm", "xlm-roberta-model", "gpt2"] {
        let error = open(&architectures.join(name)).map(|_| ()).unwrap_err();
        assert!(matches!(error, ModelError::NoClassifier { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("BertForSequenceClassification"), "{error}");
    }
    // A checkpoint without the tensors of the head that its configuration names.
    let bare = changed("bert", |json| {
        json["architectures"] = serde_json::json!(["BertForSequenceClassification"])
    });
    let from = architectures.join("bert-model").join("model.safetensors");
    std::fs::copy(from, bare.path().join("model.safetensors")).unwrap();
    assert!(open(bare.path()).is_err());
    for (name, key, value, told) in [
        (
            "bert",
            "model_type",
            serde_json::json!("roberta"),
            "model_type",
        ),
        (
            "bert",
            "id2label",
            serde_json::json!({"0": "a", "1": "b", "2": "c"}),
            "classifier",
        ),
        (
            "bert",
            "id2label",
            serde_json::json!({"0": "a", "2": "b"}),
            "id2label",
        ),
        (
            "distilbert",
            "problem_type",
            serde_json::json!("regression"),
            "problem_type",
        ),
        ("bert", "hidden_size", serde_json::json!(12), "shape"),
    ] {
        let copy = changed(name, |json| json[key] = value.clone());
        let error = open(copy.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(told), "{key}: {error}");
    }
    let missing = open(&folder().join("none")).map(|_| ()).unwrap_err();
    assert!(missing.to_string().contains("config.json"), "{missing}");
}
