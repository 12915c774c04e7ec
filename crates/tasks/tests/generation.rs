//! Text that the committed tiny model writes, and files of prompts and words that cannot be used.

use std::path::{Path, PathBuf};

use interlingua_backend::device::cpu;
use interlingua_data::Language;
use interlingua_edits::{Edit, Hook, Intervention, Provenance, Site, Tokens};
use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_models::classify::Classifier;
use interlingua_models::intervene::Steps;
use interlingua_models::{Branch, Model, Residency};
use interlingua_tasks::generation::Options;
use interlingua_tasks::{ItemSet, Items, Judgement, Judging, Source, TaskError, TaskSpec};
use serde_json::json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn model() -> Model {
    let folder = root().join("tests/fixtures/models/cohere-f32");
    let model = Model::open(&folder, &cpu(), Residency::Resident).expect("the tiny model");
    model.ready().expect("it fits into memory")
}

fn spec(json: serde_json::Value) -> TaskSpec {
    serde_json::from_value(json).expect("options of the task")
}

fn load(spec: &TaskSpec, languages: &[&str]) -> Result<Vec<ItemSet<Items>>, TaskError> {
    let languages: Vec<Language> = languages.iter().map(|l| l.parse().unwrap()).collect();
    spec.load(&mut Source {
        data_dir: &root(),
        languages: &languages,
        categories: &[],
        on_bad_row: interlingua_data::OnBadRow::Error,
        findings: &mut Vec::new(),
    })
}

fn own() -> TaskSpec {
    spec(json!({
        "kind": "generation", "prompts": "datasets/openings.tsv", "lexicon": "datasets/lexicon",
        "tokens": 6, "limit": 5,
    }))
}

fn judged(items: &Items, model: &Model, branches: &[Branch<'_>]) -> Vec<Judgement> {
    let answers = items
        .ask(model)
        .unwrap()
        .put(model, branches, &mut |done, all| {
            assert!(done <= all, "{done} of {all}");
        });
    let to = Judging {
        bootstrap: Bootstrap::seeded(1),
        causal: true,
    };
    let judge = |answers| items.judge(answers, &to).unwrap();
    answers.unwrap().iter().map(judge).collect()
}

#[test]
fn texts_are_written_under_every_branch_and_kept() {
    let model = model();
    let width = model.geometry.hidden_size;
    let shift: Vec<f64> = (0..width)
        .map(|i| if i % 3 == 0 { 40.0 } else { -25.0 })
        .collect();
    let step = (
        Site::raw(Hook::FINAL_NORM, Tokens::All),
        Edit::shift(shift).unwrap(),
    );
    let shape = model.geometry.shape();
    let intervention = Intervention::new(shape, vec![step], Provenance::default()).unwrap();
    let steps = Steps::new(&intervention, &model).unwrap();
    let sets = load(&own(), &["en", "fr", "de", "nl"]).unwrap();
    assert_eq!(sets.len(), 4);
    for set in &sets {
        assert_eq!(set.items.len(), 5);
        let found = judged(&set.items, &model, &[Branch::unedited(), steps.branch()]);
        let again = judged(&set.items, &model, &[Branch::unedited()]);
        assert_eq!(
            found[0], again[0],
            "the same without another branch beside it"
        );
        assert_eq!(found[0].texts.len(), 5);
        assert_ne!(
            found[0].texts, found[1].texts,
            "the edit is on while the model writes"
        );
        let answers = set.items.answers(&found[1]);
        let texts: Vec<&String> = answers.iter().flat_map(|a| &a.text).collect();
        assert_eq!(texts, found[1].texts.iter().collect::<Vec<_>>());
        let to = Judging {
            bootstrap: Bootstrap::seeded(1),
            causal: true,
        };
        let same = set
            .items
            .compare([&found[0].said, &found[0].said], &to)
            .unwrap();
        assert!(!same.is_empty());
        assert!(same.iter().all(|n| n.estimate.value == 0.0), "{same:?}");
    }
}

#[test]
fn every_word_of_the_lexicon_is_part_of_a_set() {
    for set in load(&own(), &["en", "nl"]).unwrap() {
        let Items::Generation(items) = &set.items else {
            panic!("items of the task");
        };
        let listed: Vec<&String> = items.iter().flat_map(|item| &item.lexicon).collect();
        let folder = root().join("datasets/lexicon");
        let expect = interlingua_data::load_lexicon(&folder, set.language).unwrap();
        assert_eq!(listed, expect.iter().collect::<Vec<_>>());
    }
}

fn refused(spec: &TaskSpec, languages: &[&str], told: &[&str]) {
    let error = load(spec, languages).map(|_| ()).unwrap_err().to_string();
    for told in told {
        assert!(error.contains(told), "`{told}` is not in: {error}");
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = std::env::temp_dir().join(format!("generation-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("words")).unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let prompts = |path: &str| spec(json!({"kind": "generation", "prompts": path}));
    refused(&prompts(&file("empty.tsv", "")), &["en"], &["empty.tsv"]);
    refused(
        &prompts(&file("head.tsv", "en\tfr\n")),
        &["en", "fr"],
        &["head.tsv"],
    );
    refused(
        &prompts(&file("en.tsv", "en\tfr\nSo\tDonc\n")),
        &["en", "de"],
        &["`de`", "fr"],
    );
    // Frisian has a code, and no trigrams in the identifier.
    let frisian = file("fy.tsv", "en\tfy\nSo it was\tSa wie it\n");
    refused(
        &prompts(&frisian),
        &["en", "fy"],
        &["`fy`", "identify = false", "nl"],
    );
    let silent = spec(json!({"kind": "generation", "prompts": frisian, "identify": false}));
    assert_eq!(load(&silent, &["en", "fy"]).unwrap().len(), 2);
    let words = |lexicon: &str| {
        spec(json!({"kind": "generation", "prompts": "datasets/openings.tsv", "lexicon": lexicon}))
    };
    let folder_of_words = folder.join("words").display().to_string();
    file("words/en.txt", "fool\n");
    refused(
        &words(&folder_of_words),
        &["en", "fr"],
        &["`fr`", "available: en"],
    );
    file("words/fr.txt", "# nothing yet\n");
    refused(&words(&folder_of_words), &["fr"], &["fr.txt"]);
    file("words/fr.txt", "?!\n…\n");
    refused(
        &words(&folder_of_words),
        &["fr"],
        &["lexicon", "no entry with a word"],
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn options_and_prompts_that_cannot_be_used_are_told() {
    for (key, value) in [
        ("tokens", json!(0)),
        ("tokens", json!(5000)),
        ("limit", json!(0)),
        ("name", json!(" ")),
    ] {
        let mut json = json!({"kind": "generation", "prompts": "datasets/openings.tsv"});
        json[key] = value;
        let error = spec(json).check().unwrap_err().to_string();
        assert!(error.starts_with(key), "{error}");
    }
    let unknown = json!({"prompts": "x", "sampling": true});
    assert!(serde_json::from_value::<Options>(unknown).is_err());
    let model = model();
    let long =
        spec(json!({"kind": "generation", "prompts": "datasets/openings.tsv", "tokens": 4000}));
    let sets = load(&long, &["en"]).unwrap();
    let error = sets[0].items.ask(&model).unwrap_err().to_string();
    assert!(error.contains("in en") && error.contains("4000"), "{error}");
}

fn with_classifier(folder: &str, label: &str) -> TaskSpec {
    spec(json!({
        "kind": "generation", "prompts": "datasets/openings.tsv", "tokens": 6, "limit": 4,
        "classifier": folder, "label": label,
    }))
}

#[test]
fn a_classifier_judges_what_is_written() {
    let folder = "tests/fixtures/models/classifiers/bert";
    let sets = load(&with_classifier(folder, "toxic"), &["nl"]).unwrap();
    let found = judged(&sets[0].items, &model(), &[Branch::unedited()]).remove(0);
    let classifier = Classifier::open(&root().join(folder), &cpu(), Residency::Resident).unwrap();
    let verdicts = classifier.classify(&found.texts, &mut |_, _| {}).unwrap();
    let mean = verdicts.iter().map(|v| v.probabilities[1]).sum::<f64>() / 4.0;
    let number = found
        .numbers
        .iter()
        .find(|n| n.metric == "generation_label")
        .unwrap();
    assert_eq!(number.scorer, "toxic");
    assert!((number.estimate.value - mean).abs() < 1e-12);
    assert_eq!(number.estimate.n, 4);
}

#[test]
fn classifiers_that_cannot_be_used_are_told() {
    let folder = "tests/fixtures/models/classifiers/bert";
    refused(
        &with_classifier(folder, "rude"),
        &["en"],
        &["no label `rude`", "neutral, toxic"],
    );
    let causal = with_classifier("tests/fixtures/models/cohere-f32", "toxic");
    refused(
        &causal,
        &["en"],
        &["CohereForCausalLM", "BertForSequenceClassification"],
    );
    refused(
        &with_classifier("no/such/folder", "toxic"),
        &["en"],
        &["no/such/folder"],
    );
    for key in ["classifier", "label"] {
        let mut json =
            json!({"kind": "generation", "prompts": "x", "classifier": "y", "label": "z"});
        json.as_object_mut().unwrap().remove(key);
        let error = spec(json).check().unwrap_err().to_string();
        assert!(error.starts_with(key), "{error}");
    }
}
