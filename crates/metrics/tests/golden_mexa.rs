//! MEXA against `tests/generators/mexa_golden.py`.
//!
//! `INTERLINGUA_GOLDEN` names a folder of fresh values; the committed ones are read otherwise.

use std::path::{Path, PathBuf};

use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_metrics::mexa::{mexa, mexa_hits};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    dim: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    hits: Vec<bool>,
    value: f64,
}

#[test]
fn hits_are_those_of_the_definition() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let folder = std::env::var_os("INTERLINGUA_GOLDEN").map_or(committed, PathBuf::from);
    let text = std::fs::read_to_string(folder.join("metrics/mexa.json")).expect("the fixture");
    let golden: Golden = serde_json::from_str(&text).expect("its form");
    assert!(golden.cases.len() >= 3);
    for case in golden.cases {
        assert_eq!(mexa_hits(&case.a, &case.b, case.dim).unwrap(), case.hits);
        let found = mexa(&case.a, &case.b, case.dim, &Bootstrap::default()).unwrap();
        assert!((found.value - case.value).abs() < 1e-12);
        assert_eq!(found.n, case.hits.len());
        // Neither none nor all, so that a constant cannot pass.
        assert!(found.value > 0.0 && found.value < 1.0);
    }
}
