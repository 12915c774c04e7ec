//! Knowledge in two languages and preferences under two prompts against `tests/generators/knowledge_golden.py` (NumPy and SciPy).
//!
//! `INTERLINGUA_GOLDEN` names a folder of fresh values; the committed ones are read otherwise.

use std::path::{Path, PathBuf};

use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_metrics::choice::{Item, Norm, log_odds};
use interlingua_metrics::{agreement, coreference};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    knowledge: Knowledge,
    preferences: Preferences,
}

#[derive(Deserialize)]
struct Knowledge {
    items: Vec<Question>,
    rank_c: f64,
    log_odds: f64,
    right: f64,
    right_chance: f64,
    wrong: f64,
    wrong_chance: f64,
}

#[derive(Deserialize)]
struct Question {
    a: Vec<f64>,
    b: Vec<f64>,
    gold: usize,
}

#[derive(Deserialize)]
struct Preferences {
    items: Vec<Sentence>,
    osb: Osb,
    asb: f64,
    pearson: f64,
    spearman: f64,
}

#[derive(Deserialize)]
struct Osb {
    first: Vec<f64>,
}

#[derive(Deserialize)]
struct Sentence {
    pair: usize,
    male: bool,
    gold: usize,
    other: usize,
    first: f64,
    second: f64,
}

fn golden() -> Golden {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let folder = std::env::var_os("INTERLINGUA_GOLDEN").map_or(committed, PathBuf::from);
    let text = std::fs::read_to_string(folder.join("metrics/knowledge.json")).expect("the fixture");
    serde_json::from_str(&text).expect("its form")
}

fn near(found: f64, expect: f64, what: &str) {
    assert!((found - expect).abs() < 1e-9, "{what}: {found} {expect}");
}

#[test]
fn what_carries_over_is_what_numpy_counts() {
    let golden = golden().knowledge;
    let side = |of: fn(&Question) -> &Vec<f64>| -> Vec<Item> {
        let item = |q: &Question| Item::new(of(q).clone(), &vec!["x"; q.a.len()], q.gold);
        golden.items.iter().map(item).collect()
    };
    let (a, b) = (side(|q| &q.a), side(|q| &q.b));
    let options = Bootstrap::default();
    let found = agreement::rank_c(&a, &b, Norm::Total, &options).unwrap();
    near(found.value, golden.rank_c, "RankC");
    let found = log_odds(&a, Norm::Total, &options).unwrap();
    near(found.value, golden.log_odds, "log-odds");
    let right = agreement::right(&a, &b, Norm::Total, &options).unwrap();
    near(right.share.value, golden.right, "tr+");
    near(right.chance.value, golden.right_chance, "chance of tr+");
    let wrong = agreement::wrong(&a, &b, Norm::Total, &options).unwrap();
    near(wrong.share.value, golden.wrong, "tr-");
    near(wrong.chance.value, golden.wrong_chance, "chance of tr-");
    for estimate in [right.share, right.excess, wrong.share, wrong.excess] {
        assert!(
            estimate.ci_low.unwrap() < estimate.value && estimate.value < estimate.ci_high.unwrap()
        );
    }
}

#[test]
fn preferences_correlate_as_scipy_says() {
    let golden = golden().preferences;
    let under = |of: fn(&Sentence) -> f64| -> Vec<coreference::Item> {
        let item = |s: &Sentence| coreference::Item {
            pair: s.pair,
            male: s.male,
            pro: s.male,
            occupations: [s.gold, s.other],
            margin: of(s),
        };
        golden.items.iter().map(item).collect()
    };
    let (first, second) = (under(|s| s.first), under(|s| s.second));
    let options = Bootstrap::default();
    let found = coreference::scores(&first, &options).unwrap();
    near(found.size.unwrap().value, golden.asb, "A-SB");
    assert_eq!(found.occupations.len(), golden.osb.first.len());
    for ((at, found), expect) in found.occupations.iter().zip(&golden.osb.first) {
        near(found.value, *expect, &format!("O-SB of {at}"));
    }
    let found = coreference::correlation(&first, &second, false, &options).unwrap();
    near(found.pearson.value, golden.pearson, "Pearson");
    near(found.spearman.value, golden.spearman, "Spearman");
}
