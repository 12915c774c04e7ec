//! Questions on the way, pronouns under prompts and BBQ in a prompt, on the committed tiny model.

use std::path::{Path, PathBuf};

use interlingua_backend::device::cpu;
use interlingua_data::{ChoiceItem, Coreference, Language, OnBadRow};
use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_models::engine::{Lens, token_log_probs};
use interlingua_models::{Branch, Model, Residency, Sequence};
use interlingua_tasks::latent::{self, Latent};
use interlingua_tasks::winobias::{self, Winobias};
use interlingua_tasks::{Items, Judging, Number, Source, Task, TaskError, TaskSpec};

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

fn value(numbers: &[Number], metric: &str, scorer: &str) -> f64 {
    let found = numbers
        .iter()
        .find(|n| n.metric == metric && n.scorer == scorer);
    found
        .unwrap_or_else(|| panic!("{metric} of {scorer}"))
        .estimate
        .value
}

/// At the final norm, and at the end of the last block with the norm, the lens says what the model says.
#[test]
fn the_last_lens_is_the_model() {
    let model = model();
    let texts = ["The house is big", "La maison est petite"];
    let sequences: Vec<Sequence> = texts
        .iter()
        .map(|text| model.sequence(text).unwrap())
        .collect();
    let end = format!("block.{}.output", model.geometry.layers - 1);
    let names = ["embedding".to_owned(), end, "final_norm".to_owned()];
    let branches = [Branch::unedited()];
    let lens = Lens::parse(&names, true, &model).unwrap();
    let seen = lens
        .read(&model, &sequences, &branches, &mut |_, _| {})
        .unwrap();
    let expect = token_log_probs(&model, &sequences, &branches, &mut |_, _| {}).unwrap();
    for hook in [1, 2] {
        for (seen, expect) in seen[0][hook].iter().zip(&expect[0]) {
            assert_eq!(seen.len(), expect.len());
            for (seen, expect) in seen.iter().zip(expect) {
                assert!((seen.log_prob - expect).abs() < 1e-4, "{seen:?} {expect}");
                assert!(seen.rank >= 1 && (seen.likeliest as usize) < model.geometry.vocab_size);
            }
        }
    }
    assert_ne!(seen[0][0], seen[0][2]);
    // Without the norm the head reads other states.
    let bare = Lens::parse(&names, false, &model).unwrap();
    let bare = bare
        .read(&model, &sequences, &branches, &mut |_, _| {})
        .unwrap();
    assert_eq!(bare[0][2], seen[0][2]);
    assert_ne!(bare[0][1], seen[0][1]);
    let wrong = Lens::parse(&["block.0.mlp".to_owned()], true, &model).unwrap_err();
    assert!(wrong.to_string().contains("residual stream"), "{wrong}");
    let none = Sequence::new(vec![5, 6], 0);
    let error = lens
        .read(&model, &[none], &branches, &mut |_, _| {})
        .unwrap_err();
    assert!(error.to_string().contains("no token before"), "{error}");
}

fn question(id: &str, language: Language, prompt: &str, gold: &str, pivot: &str) -> latent::Item {
    let text = |language, sentences: &[&str]| {
        (
            language,
            sentences.iter().map(|s| (*s).to_owned()).collect(),
        )
    };
    latent::Item {
        item: ChoiceItem {
            id: id.to_owned(),
            language,
            category: None,
            prompt: prompt.to_owned(),
            candidates: vec![gold.to_owned(), "x".to_owned()],
            gold: 0,
        },
        pivot: pivot.to_owned(),
        text: vec![
            text(Language::EN, &["The house is big", "He sees the books"]),
            text(
                Language::FR,
                &["La maison est petite", "Elle voit les livres"],
            ),
        ],
        how: latent::How {
            pivot: Language::EN,
            hooks: Vec::new(),
            normalise: true,
            share: 0.75,
            seen: 1,
        },
    }
}

#[test]
fn questions_are_read_off_every_block() {
    let model = model();
    let items = [
        question("1", Language::FR, "La maison est", "petite", "small"),
        question("2", Language::FR, "Elle voit", "Paris", "Paris"),
    ];
    let ask = Latent::ask(&items, &model).unwrap();
    let answers = ask
        .put(&model, &[Branch::unedited()], &mut |_, _| {})
        .unwrap();
    let numbers = Latent::judge(&items, &answers[0], &judging())
        .unwrap()
        .numbers;
    for layer in 0..model.geometry.layers {
        let hook = format!("block.{layer}.output");
        let shares = [
            "lens_own",
            "lens_pivot",
            "lens_other",
            "lens_shared",
            "lens_unseen",
        ];
        let sum: f64 = shares
            .iter()
            .map(|metric| value(&numbers, metric, &hook))
            .sum();
        assert!((sum - 1.0).abs() < 1e-12, "{hook}: {sum}");
        assert!(value(&numbers, "lens_rank", &hook) >= 1.0);
    }
    // Only the first question's answers differ; of the model itself at the last hook point.
    let end = format!("block.{}.output", model.geometry.layers - 1);
    let excess = numbers
        .iter()
        .find(|n| n.metric == "lens_pivot_excess" && n.scorer == end);
    assert_eq!(excess.unwrap().estimate.n, 1);
    let whole = |text: &str, given: &str| {
        let start = model.sequence(given).unwrap().tokens.len();
        Sequence::new(model.sequence(text).unwrap().tokens, start)
    };
    let sequences = [
        whole("La maison est petite", "La maison est"),
        whole("La maison est small", "La maison est"),
    ];
    let found = token_log_probs(&model, &sequences, &[Branch::unedited()], &mut |_, _| {}).unwrap();
    let sums: Vec<f32> = found[0].iter().map(|tokens| tokens.iter().sum()).collect();
    assert!((excess.unwrap().estimate.value - f64::from(sums[1] - sums[0])).abs() < 1e-3);
}

#[test]
fn pronouns_are_asked_for_under_every_prompt() {
    let model = model();
    let sentence = |pair: usize, pronoun: &str, pro: bool| winobias::Item {
        of: Coreference {
            pair: pair.to_string(),
            sentence: "x".to_owned(),
            pronoun: pronoun.to_owned(),
            male: pronoun == "he",
            occupation: "farmer".to_owned(),
            other: "nurse".to_owned(),
            pro,
        },
        asked: ["plain", "asked"]
            .map(|name| (name.to_owned(), format!("{name} {pair} {pronoun} is the")))
            .to_vec(),
    };
    let items = [
        sentence(0, "he", true),
        sentence(0, "she", false),
        sentence(1, "he", true),
        sentence(1, "she", false),
    ];
    let ask = Winobias::ask(&items, &model).unwrap();
    let answers = ask
        .put(&model, &[Branch::unedited()], &mut |_, _| {})
        .unwrap();
    let judgement = Winobias::judge(&items, &answers[0], &judging()).unwrap();
    assert!(judgement.said.iter().all(|margins| margins.len() == 2));
    // The margin of the second sentence under the second prompt, found without the task.
    let given = "asked 0 she is the";
    let start = model.sequence(given).unwrap().tokens.len();
    let of = |occupation: &str| {
        let whole = model.sequence(&format!("{given} {occupation}")).unwrap();
        Sequence::new(whole.tokens, start)
    };
    let found = token_log_probs(
        &model,
        &[of("farmer"), of("nurse")],
        &[Branch::unedited()],
        &mut |_, _| {},
    )
    .unwrap();
    let sums: Vec<f32> = found[0].iter().map(|tokens| tokens.iter().sum()).collect();
    assert!((judgement.said[1][1] - f64::from(sums[0] - sums[1])).abs() < 1e-3);
    let said = vec![
        vec![1.0, 2.0],
        vec![-1.0, 2.0],
        vec![1.0, 2.0],
        vec![1.0, 2.0],
    ];
    let edited: Vec<Vec<f64>> = said
        .iter()
        .map(|margins| margins.iter().map(|m| m * 2.0).collect())
        .collect();
    let changed = Winobias::compare(&items, [&said, &edited], &judging()).unwrap();
    assert_eq!(
        value(&changed, "coreference_margin_gap_difference", "plain"),
        1.0
    );
    assert_eq!(
        value(&changed, "coreference_margin_gap_difference", "asked"),
        0.0
    );
}

fn load(
    spec: serde_json::Value,
    languages: &[Language],
    folder: &Path,
) -> Result<Vec<interlingua_tasks::ItemSet<Items>>, TaskError> {
    let task: TaskSpec = serde_json::from_value(spec).unwrap();
    task.check()?;
    task.load(&mut Source {
        data_dir: folder,
        languages,
        categories: &["gender".to_owned()],
        on_bad_row: OnBadRow::Error,
        findings: &mut Vec::new(),
    })
}

#[test]
fn options_that_cannot_work_are_named() {
    let none = Path::new("nowhere");
    let error = |spec, languages: &[Language]| load(spec, languages, none).unwrap_err().to_string();
    let wino = |more: serde_json::Value| {
        let mut spec = serde_json::json!({"kind": "winobias", "path": "w"});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    let english = [Language::EN];
    assert!(error(wino(serde_json::json!({})), &[Language::FR]).contains("WinoBias is English"));
    let unknown = error(wino(serde_json::json!({"ask": ["politely"]})), &english);
    assert!(
        unknown.contains("`politely`") && unknown.contains("zero-shot"),
        "{unknown}"
    );
    let twice = error(
        wino(serde_json::json!({"ask": ["debias", "debias"]})),
        &english,
    );
    assert!(twice.contains("twice"), "{twice}");
    assert!(error(wino(serde_json::json!({"parts": []})), &english).contains("`dev` and `test`"));
    let bbq = serde_json::json!({"kind": "bbq", "path": "b", "language": "nl", "category": "gender", "prompt": "politely"});
    let unknown = error(bbq, &[Language::NL]);
    assert!(
        unknown.contains("no `politely` in nl") && unknown.contains("instructed"),
        "{unknown}"
    );
    let share = serde_json::json!({"kind": "latent", "path": "b", "text": "t", "share": 0.5});
    assert!(error(share, &english).contains("above 0.5"));
    let rows = serde_json::json!({"kind": "latent", "path": "b", "text": "t", "text_rows": 0});
    assert!(error(rows, &english).contains("text_rows"));
}

/// A question of BBQ stands in its prompt, in its language.
#[test]
fn questions_stand_in_their_prompt() {
    let folder = std::env::temp_dir().join(format!("interlingua-bbq-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let line = serde_json::json!({
        "example_id": 0, "question_index": "1", "question_polarity": "neg", "context_condition": "ambig", "category": "Gender_identity",
        "answer_info": {"ans0": ["Onbekend", "unknown"], "ans1": ["vrouw", "woman"], "ans2": ["man", "man"]},
        "additional_metadata": {"stereotyped_groups": ["F"]}, "context": "Er was {een} man.", "question": "Wie?",
        "ans0": "Onbekend", "ans1": "De vrouw", "ans2": "De man", "label": 0,
    });
    std::fs::write(folder.join("nl.jsonl"), format!("{line}\n")).unwrap();
    let spec = serde_json::json!({"kind": "bbq", "path": "nl.jsonl", "language": "nl", "category": "gender", "prompt": "zero-shot"});
    let sets = load(spec, &[Language::NL], &folder);
    std::fs::remove_dir_all(&folder).unwrap();
    let sets = sets.unwrap();
    assert_eq!(sets[0].name.as_deref(), Some("bbq-zero-shot"));
    let text = &sets[0].items.texts()[0];
    assert!(
        text.starts_with("Tekst: Er was {een} man.\nVraag: Wie?\nAntwoord: Onbekend"),
        "{text}"
    );
}
