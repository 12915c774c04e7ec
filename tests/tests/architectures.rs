//! Every architecture against transformers, at every hook point.
//!
//! The tiny checkpoints and their values are made by `generators/architectures.py`.

use std::collections::BTreeSet;

use interlingua_backend::device::cpu;
use interlingua_models::architectures::ARCHITECTURES;
use interlingua_models::parity::compare;
use interlingua_models::{Budget, Model, Residency};
use interlingua_tests::fixtures;

/// Names of the golden files' checkpoints.
fn cases() -> Vec<String> {
    let folder = fixtures().join("models/architectures");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".golden.safetensors").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn open(name: &str, residency: Residency) -> Model {
    let folder = fixtures().join("models/architectures").join(name);
    Model::open(&folder, &cpu(), residency).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn every_state_and_logit_agrees() {
    let folder = fixtures().join("models/architectures");
    for name in cases() {
        for residency in [Residency::Stream, Residency::Resident] {
            let spilled = Budget {
                bytes: 500,
                ..Budget::default()
            };
            for budget in [Budget::default(), spilled] {
                let model = open(&name, residency).with_budget(budget);
                let golden = folder.join(format!("{name}.golden.safetensors"));
                let agreement = compare(&model, &golden).unwrap_or_else(|e| panic!("{name}: {e}"));
                let tolerance = if agreement.dtype == "bfloat16" {
                    2e-2
                } else {
                    1e-4
                };
                assert!(
                    agreement.largest() <= tolerance,
                    "{name} {residency:?}: {agreement:#?}"
                );
                if agreement.dtype != "bfloat16" {
                    assert_eq!(agreement.argmax.0, 0, "{name}: {agreement:#?}");
                }
                for (hook, module) in model.architecture().modules().rows() {
                    let last = (model.geometry.layers - 1).to_string();
                    assert_eq!(
                        agreement.modules.get(hook),
                        Some(&module.replace("{last}", &last)),
                        "{name}: the module of {hook}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_architecture_has_a_checkpoint() {
    let tried: BTreeSet<String> = cases()
        .iter()
        .map(|name| open(name, Residency::Stream).geometry.architecture)
        .collect();
    for &(name, _) in ARCHITECTURES {
        assert!(tried.contains(name), "no fixture for {name}");
    }
}
