//! Choices on the committed tiny model: log-likelihoods as lm-evaluation-harness finds them, answers, and agreement.

use std::path::{Path, PathBuf};

use interlingua_backend::device::cpu;
use interlingua_data::{ChoiceItem, Language, OnBadRow};
use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_models::{Branch, Model, Residency};
use interlingua_tasks::choice::{Choice, Item};
use interlingua_tasks::{Items, Judgement, Judging, Source, Task, TaskError, TaskSpec};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    scored: Vec<Scored>,
}

#[derive(Deserialize)]
struct Scored {
    prompt: String,
    candidates: Vec<String>,
    log_likelihoods: Vec<f64>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn model() -> Model {
    let folder = fixtures().join("models/cohere-f32");
    Model::open(&folder, &cpu(), Residency::Resident).expect("the tiny model")
}

fn judging() -> Judging {
    Judging {
        bootstrap: Bootstrap::default(),
        causal: true,
    }
}

fn item(id: usize, language: Language, prompt: &str, candidates: &[&str], gold: usize) -> Item {
    Item {
        item: ChoiceItem {
            id: id.to_string(),
            language,
            category: None,
            prompt: prompt.to_owned(),
            candidates: candidates.iter().map(|&c| c.to_owned()).collect(),
            gold,
        },
        delimiter: " ".to_owned(),
    }
}

/// What the model says to items, without any edit.
fn said(model: &Model, items: &[Item]) -> Vec<Vec<f64>> {
    let ask = Choice::ask(items, model).unwrap();
    let answers = ask
        .put(model, &[Branch::default()], &mut |_, _| {})
        .unwrap();
    Choice::judge(items, &answers[0], &judging()).unwrap().said
}

#[test]
fn candidates_are_scored_as_lm_evaluation_harness_scores_them() {
    let text = std::fs::read_to_string(fixtures().join("metrics/choice.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let items: Vec<Item> = golden
        .scored
        .iter()
        .enumerate()
        .map(|(at, case)| {
            let candidates: Vec<&str> = case.candidates.iter().map(String::as_str).collect();
            item(at, Language::EN, &case.prompt, &candidates, 0)
        })
        .collect();
    for (case, found) in golden.scored.iter().zip(said(&model(), &items)) {
        assert_eq!(case.log_likelihoods.len(), found.len());
        for (expect, found) in case.log_likelihoods.iter().zip(found) {
            assert!(
                (expect - found).abs() < 1e-3,
                "`{}`: {expect} {found}",
                case.prompt
            );
        }
    }
}

#[test]
fn answers_are_compared_between_models_and_languages() {
    let english = [
        item(1, Language::EN, "The house is", &["big", "small"], 0),
        item(2, Language::EN, "", &["He sees books.", "He see books."], 0),
    ];
    // The first is missing here, and the order is another.
    let dutch = [
        item(3, Language::NL, "Het huis is", &["groot", "klein"], 0),
        item(
            2,
            Language::NL,
            "",
            &["Hij ziet boeken.", "Hij zien boeken."],
            0,
        ),
    ];
    let to = judging();
    let one = vec![vec![-1.0, -2.0], vec![-3.0, -1.0]];
    let other = vec![vec![-1.0, -2.0], vec![-1.0, -2.0]];
    let find = |numbers: &[interlingua_tasks::Number], metric: &str, scorer: &str| {
        let found = numbers
            .iter()
            .find(|n| n.metric == metric && n.scorer == scorer);
        found.expect("the number").estimate
    };
    let changed = Choice::compare(&english, [&one, &other], &to).unwrap();
    assert_eq!(
        find(&changed, "choice_accuracy_difference", "acc").value,
        0.5
    );
    let agree = Choice::between([&english, &dutch], [&one, &other], &to).unwrap();
    let same = find(&agree, "choice_consistency", "acc");
    assert_eq!((same.value, same.n), (0.0, 1), "item 2 alone is in both");
    assert_eq!(
        find(&agree, "choice_rank_correlation", "acc_bytes").value,
        -1.0
    );
    let strangers = [item(9, Language::NL, "x", &["a", "b"], 0)];
    assert!(
        Choice::between([&english[..1], &strangers], [&one[..1], &other[..1]], &to)
            .unwrap()
            .is_empty()
    );
    let found = Judgement {
        numbers: Vec::new(),
        said: one.clone(),
        texts: Vec::new(),
    };
    let answers = Choice::answers(&english, &found);
    assert_eq!(answers.len(), 6);
    assert_eq!(
        (answers[3].item.as_str(), answers[3].answer, answers[3].gold),
        ("2", Some(1), Some(0))
    );
}

#[test]
fn a_candidate_without_a_token_is_refused() {
    let mut bad = item(7, Language::EN, "The house", &["is", "was"], 0);
    bad.delimiter.clear();
    bad.item.candidates[0].clear();
    let error = Choice::ask(&[bad], &model()).unwrap_err();
    assert!(
        matches!(&error, TaskError::Item { item, .. } if item == "7 in en"),
        "{error}"
    );
}

fn load(
    spec: &str,
    languages: &[Language],
) -> Result<(Vec<interlingua_tasks::ItemSet<Items>>, Vec<String>), TaskError> {
    let spec: TaskSpec = serde_json::from_str(spec).expect("a task");
    spec.check()?;
    let mut findings = Vec::new();
    let sets = spec.load(&mut Source {
        data_dir: Path::new("."),
        languages,
        categories: &["gender".to_owned()],
        on_bad_row: OnBadRow::Skip,
        findings: &mut findings,
    })?;
    Ok((sets, findings))
}

#[test]
fn the_file_of_this_project_is_whole() {
    let languages = [Language::EN, Language::FR, Language::DE, Language::NL];
    let spec = r#"{"kind": "choice", "path": "datasets/choice/everyday.tsv"}"#;
    let (sets, findings) = load(spec, &languages).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let found: Vec<_> = sets
        .iter()
        .map(|set| (set.language, set.items.len()))
        .collect();
    assert_eq!(found, languages.map(|language| (language, 40)));
    assert!(
        sets.iter()
            .all(|set| set.category.is_none() && set.name.is_none())
    );
    let limited = r#"{"kind": "choice", "path": "datasets/choice/everyday.tsv", "name": "facts", "limit": 3}"#;
    let (sets, _) = load(limited, &languages[1..2]).unwrap();
    assert_eq!(
        (sets.len(), sets[0].items.len(), sets[0].name.as_deref()),
        (1, 3, Some("facts"))
    );
}

#[test]
fn options_that_cannot_work_are_named() {
    let path = "\"kind\": \"choice\", \"path\": \"datasets/choice/everyday.tsv\"";
    for (more, key) in [
        ("\"limit\": 0", "limit"),
        ("\"name\": \" \"", "name"),
        ("\"languages\": []", "languages"),
        ("\"languages\": [\"fr\"]", "languages"),
    ] {
        let error = load(&format!("{{{path}, {more}}}"), &[Language::EN]).unwrap_err();
        assert!(
            matches!(&error, TaskError::Options { key: found, .. } if found == key),
            "{error}"
        );
    }
}
