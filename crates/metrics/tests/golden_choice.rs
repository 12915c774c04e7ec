//! Choices against `tests/generators/choice_golden.py`: answers as lm-evaluation-harness judges them, ranks as SciPy correlates them.
//!
//! `INTERLINGUA_GOLDEN` names a folder of fresh values; the committed ones are read otherwise.

use std::path::{Path, PathBuf};

use interlingua_metrics::MetricError;
use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_metrics::choice::{Item, Norm, accuracy, rank_correlation};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    judged: Vec<Judged>,
    ranked: Vec<Ranked>,
}

#[derive(Deserialize)]
struct Judged {
    candidates: Vec<String>,
    gold: usize,
    log_likelihoods: Vec<f64>,
    right: [f64; 3],
}

#[derive(Deserialize)]
struct Ranked {
    a: Vec<f64>,
    b: Vec<f64>,
    spearman: Option<f64>,
}

fn golden() -> Golden {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let folder = std::env::var_os("INTERLINGUA_GOLDEN").map_or(committed, PathBuf::from);
    let text = std::fs::read_to_string(folder.join("metrics/choice.json")).expect("the fixture");
    serde_json::from_str(&text).expect("its form")
}

#[test]
fn answers_are_those_of_lm_evaluation_harness() {
    let golden = golden().judged;
    let items: Vec<Item> = golden
        .iter()
        .map(|case| Item::new(case.log_likelihoods.clone(), &case.candidates, case.gold))
        .collect();
    for (at, norm) in Norm::ALL.into_iter().enumerate() {
        for (item, case) in items.iter().zip(&golden) {
            assert_eq!(
                item.is_right(norm),
                case.right[at],
                "{}: {:?}",
                norm.name(),
                case.candidates
            );
        }
        let expect = golden.iter().map(|case| case.right[at]).sum::<f64>() / golden.len() as f64;
        let found = accuracy(&items, norm, &Bootstrap::default()).unwrap();
        assert!(
            (found.value - expect).abs() < 1e-15 && found.ci_low.unwrap() < found.ci_high.unwrap()
        );
    }
    // The three rules differ on these items, so none stands for another.
    let differs = |a: usize, b: usize| golden.iter().any(|case| case.right[a] != case.right[b]);
    assert!(differs(0, 1) && differs(1, 2));
}

#[test]
fn ranks_are_those_of_scipy() {
    let mut undefined = 0;
    for case in golden().ranked {
        let item = |values: &[f64]| Item::new(values.to_vec(), &vec!["x"; values.len()], 0);
        let (a, b) = ([item(&case.a)], [item(&case.b)]);
        let found = rank_correlation(&a, &b, Norm::Total, &Bootstrap::default());
        match case.spearman {
            Some(expect) => assert!(
                (found.unwrap().value - expect).abs() < 1e-12,
                "{:?} {:?}",
                case.a,
                case.b
            ),
            None => {
                assert!(matches!(found, Err(MetricError::Undefined { .. })));
                undefined += 1;
            }
        }
    }
    assert!(undefined > 0, "no case without ranks");
}
