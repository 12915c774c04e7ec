//! Whole searches on tiny models: what is found, what is kept, what is refused.

use std::cell::RefCell;
use std::path::Path;

use interlingua_backend::device::cpu;
use interlingua_data::Language;
use interlingua_models::intervene::Steps;
use interlingua_models::made::random_checkpoint;
use interlingua_models::{Model, Residency};
use interlingua_tune::{Event, Outcome, Search, Settings, Sources, Texts, TuneError, judge, page};

fn texts() -> Texts {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    let sources = Sources {
        fit: root.join("templates/everyday.toml"),
        pairs: root.join("templates/occupations.toml"),
        neutral: root.join("neutral.tsv"),
        marked: false,
    };
    Texts::load(&sources, &[Language::EN, Language::DE], "gender", 1).unwrap()
}

fn model(folder: &Path, texts: &Texts) -> Model {
    let sentences = texts.fit.iter().flat_map(|t| &t.sentences);
    random_checkpoint(folder, sentences.map(String::as_str), 7).unwrap();
    Model::open(folder, &cpu(), Residency::Resident).unwrap()
}

fn settings() -> Settings {
    Settings {
        ranks: vec![1, 2],
        strengths: vec![1.0],
        max_kl: 10.0,
        keep: [3, 2],
        controls: 2,
        at_once: 4,
        ..Settings::default()
    }
}

/// Runs a search; the sentences of its rounds and what came out.
fn run(
    model: &Model,
    texts: &Texts,
    settings: &Settings,
    journal: &Path,
) -> (Vec<String>, Result<Outcome, TuneError>) {
    let said = RefCell::new(Vec::new());
    let mut listener = |event: Event| match event {
        Event::Rule(text) | Event::Round { text } => said.borrow_mut().push(text),
        Event::Begin(_) | Event::Progress { .. } => {}
    };
    let mut search = Search {
        model,
        texts,
        settings,
        listener: &mut listener,
    };
    let found = search.run(journal);
    (said.take(), found.map(|(outcome, _)| outcome))
}

#[test]
fn a_killed_search_goes_on_and_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts();
    let model = model(folder.path(), &texts);
    let journal = folder.path().join("journal.jsonl");
    let (said, straight) = run(&model, &texts, &settings(), &journal);
    let straight = straight.unwrap();
    assert_eq!(said[0], settings().rule());
    assert!(said[1].contains("(10 of them now)"), "{}", said[1]);
    assert_eq!(straight.rounds.len(), 3);
    assert_eq!(straight.rounds[2].candidates.len(), 2);
    assert_eq!(straight.controls.len(), 2);

    // A kill leaves some lines and a part of another.
    let text = std::fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let kept = format!("{}\n{}", lines[..6].join("\n"), &lines[6][..40]);
    std::fs::write(&journal, kept).unwrap();
    let (said, again) = run(&model, &texts, &settings(), &journal);
    assert!(said[1].contains("(5 of them now)"), "{}", said[1]);
    assert_eq!(again.unwrap(), straight);
    assert_eq!(
        std::fs::read_to_string(&journal).unwrap().lines().count(),
        lines.len()
    );
    // And a finished one judges nothing.
    let (said, again) = run(&model, &texts, &settings(), &journal);
    assert!(
        said[1..]
            .iter()
            .all(|line| line.contains("(0 of them now)")),
        "{said:?}"
    );
    assert_eq!(again.unwrap(), straight);
    // The confirming half was asked once for each: the unedited model, the chosen edit, two random ones.
    let confirming = texts.confirm.pairs.len();
    assert!(confirming > straight.items[1][1], "some are reported apart");
    let asked = text.lines().skip(1).filter(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        entry["answers"]["pairs"].as_array().unwrap().len() == confirming
            && entry["answers"]["neutral"][0].as_array().unwrap().len() == 30
    });
    assert_eq!(asked.count(), 4);
}

#[test]
fn no_candidate_within_the_limit_names_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts();
    let model = model(folder.path(), &texts);
    let strict = Settings {
        max_kl: 1e-12,
        ..settings()
    };
    let (_, found) = run(&model, &texts, &strict, &folder.path().join("j.jsonl"));
    let error = found.unwrap_err();
    let TuneError::NothingWithin { bound, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        *bound > 1e-12 && error.to_string().contains("--max-kl"),
        "{error}"
    );
    for bad in [
        Settings {
            max_kl: f64::NAN,
            ..settings()
        },
        Settings {
            ranks: vec![0],
            ..settings()
        },
        Settings {
            methods: vec!["sentdebais".into()],
            ..settings()
        },
    ] {
        let (said, found) = run(&model, &texts, &bad, &folder.path().join("k.jsonl"));
        assert!(said.is_empty());
        assert!(found.is_err());
    }
}

/// The numbers of a comparison are those of the answers, computed again by hand.
#[test]
fn gaps_are_means_over_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts();
    let model = model(folder.path(), &texts);
    let half = &texts.confirm;
    let answers = judge::ask(&model, half, &[Steps::none()], &mut |_, _| {}).unwrap();
    let before = &answers[0];
    let summary = judge::Summary::of(before, half, 1).unwrap();
    let control = std::slice::from_ref(before);
    let (worst, by_language) =
        judge::compare_gaps(half, before, before, control, false, 1).unwrap();
    // English marks no occupation, German does.
    let (_, apart) = judge::compare_gaps(half, before, before, control, true, 1).unwrap();
    assert!(apart[0].is_none() && apart[1].is_some());
    let mut largest = 0.0f64;
    for (language, found) in by_language.iter().enumerate() {
        let of = half.pairs.iter().zip(&before.pairs);
        let gaps: Vec<f64> = of
            .filter(|(pair, _)| pair.language == language && !pair.apart)
            .map(|(_, gap)| *gap)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((summary.languages[language].gap - mean).abs() < 1e-12);
        let found = found.unwrap();
        assert!((found.unedited.value - mean.abs()).abs() < 1e-12);
        assert_eq!(found.difference.value, 0.0);
        assert_eq!(summary.languages[language].kl, 0.0);
        largest = largest.max(mean.abs());
    }
    assert!((worst.unedited.value - largest).abs() < 1e-12);
    // One pair's own sentences, by the model.
    let pair = &half.pairs[0];
    let sum = |text: &str| -> f64 {
        let sequences = [model.sequence(text).unwrap()];
        let branch = [interlingua_models::Branch::unedited()];
        let found = interlingua_models::engine::token_log_probs(
            &model,
            &sequences,
            &branch,
            &mut |_, _| {},
        );
        found.unwrap()[0][0].iter().map(|&t| f64::from(t)).sum()
    };
    let gap = sum(&pair.sentences[0]) - sum(&pair.sentences[1]);
    assert!(
        (gap - before.pairs[0]).abs() < 1e-4,
        "{gap} {}",
        before.pairs[0]
    );
}

#[test]
fn what_folds_is_all_that_is_tried_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts();
    let model = model(folder.path(), &texts);
    let folded = Settings {
        folded: true,
        ..settings()
    };
    let (_, found) = run(&model, &texts, &folded, &folder.path().join("j.jsonl"));
    let outcome = found.unwrap();
    let all = outcome.rounds.iter().flat_map(|r| &r.candidates);
    assert!(
        all.clone()
            .all(|c| c.recipe.place.folds() && !c.recipe.centred)
    );
    assert!(all.count() > 4);
    assert!(page::card(&outcome, "m", "f", "c").contains("base_model: m"));
}
