//! A real BERT (all-MiniLM-L6-v2) against transformers, by sampled values (`generators/tokenizers_golden.py`).

use std::path::PathBuf;

use interlingua_backend::device::cpu;
use interlingua_models::engine::query_log_probs;
use interlingua_models::pack::Query;
use interlingua_models::parity::every_state;
use interlingua_models::{Branch, Model, ModelError, Residency, Sequence};
use interlingua_tests::fixtures;
use serde_json::Value;

/// The checkpoint folder, if this machine has one.
fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("INTERLINGUA_MINILM").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {test} needs the folder of all-MiniLM-L6-v2 in INTERLINGUA_MINILM");
    }
    folder
}

fn floats(value: &Value) -> Vec<f32> {
    let list = value.as_array().expect("a list");
    list.iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn every_hook_point_agrees_on_real_weights() {
    let Some(folder) = folder("every_hook_point_agrees_on_real_weights") else {
        return;
    };
    let model = Model::open(&folder, &cpu(), Residency::Resident).unwrap();
    let golden = std::fs::read(fixtures().join("models/real.golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let items = golden["all-MiniLM-L6-v2"].as_array().unwrap();
    let sequences: Vec<Sequence> = items
        .iter()
        .map(|item| Sequence::new(floats(&item["ids"]).iter().map(|&t| t as u32).collect(), 0))
        .collect();
    let hooks = model.geometry.hooks();
    let states = every_state(&model, &sequences).unwrap();
    let mut compared = 0;
    for (s, item) in items.iter().enumerate() {
        let at = floats(&item["at"]);
        for (c, hook) in hooks
            .iter()
            .enumerate()
            .filter(|(_, h)| !h.part.is_inside())
        {
            // The mean, the largest magnitude, then the values at those places.
            let expected = floats(&item["states"][hook.to_string()]);
            let found = &states[c][s];
            let mean = found.iter().map(|&x| f64::from(x)).sum::<f64>() / found.len() as f64;
            let largest = found.iter().fold(0f32, |m, x| m.max(x.abs()));
            let values = at.iter().map(|&i| found[i as usize]);
            for (a, b) in [mean as f32, largest]
                .into_iter()
                .chain(values)
                .zip(&expected)
            {
                let off = (a - b).abs() / expected[1];
                assert!(off <= 1e-4, "{hook} of sentence {s}: {a} instead of {b}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * 26 * 10);
}

#[test]
fn a_model_without_a_head_gives_no_probabilities() {
    let Some(folder) = folder("a_model_without_a_head_gives_no_probabilities") else {
        return;
    };
    let model = Model::open(&folder, &cpu(), Residency::Stream).unwrap();
    let query = Query {
        tokens: vec![101, 2507, 102],
        predictions: vec![(1, 2507)],
        roles: Vec::new(),
    };
    let found = query_log_probs(&model, &[query], &[Branch::unedited()], &mut |_, _| {});
    assert!(matches!(found, Err(ModelError::NoHead { .. })));
}
