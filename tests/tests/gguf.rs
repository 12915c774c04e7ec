//! GGUF files against Python's `gguf` and transformers.
//!
//! The tiny files and their values are made by `generators/gguf_golden.py`; the real ones are those of the folder that
//! `INTERLINGUA_REAL` names.

use std::path::{Path, PathBuf};

use interlingua_backend::device::cpu;
use interlingua_models::checkpoint::blocks::FORMATS;
use interlingua_models::parity::compare;
use interlingua_models::{Budget, Model, Residency};
use interlingua_tests::fixtures;
use serde_json::Value;

fn folder() -> PathBuf {
    fixtures().join("models/gguf")
}

/// Names of the files.
fn cases() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".gguf").map(str::to_owned))
        .collect();
    names.sort();
    assert_eq!(names.len(), 12, "{names:?}");
    names
}

fn open(path: &Path, residency: Residency) -> Model {
    Model::open(path, &cpu(), residency).unwrap_or_else(|e| panic!("{e}"))
}

/// To the last bit, and no number is one where Python has none.
#[test]
fn blocks_are_what_python_makes_of_them() {
    let bytes = std::fs::read(folder().join("blocks.golden.safetensors")).unwrap();
    let golden = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for format in FORMATS {
        let tensor = |what: &str| golden.tensor(&format!("{}.{what}", format.name)).unwrap();
        let ours = format.decode(tensor("bytes").data());
        let theirs = tensor("values").data().as_chunks::<4>().0;
        assert_eq!(ours.len(), theirs.len(), "{format:?}");
        for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            let theirs = f32::from_le_bytes(*theirs);
            let same = ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan();
            assert!(same, "{format:?} value {at}: {ours:e} and {theirs:e}");
        }
    }
}

#[test]
fn every_state_and_logit_agrees() {
    for name in cases() {
        let path = folder().join(format!("{name}.gguf"));
        for residency in [Residency::Stream, Residency::Resident] {
            let budget = Budget {
                bytes: 500,
                ..Budget::default()
            };
            let model = open(&path, residency).with_budget(budget);
            let golden = folder().join(format!("{name}.golden.safetensors"));
            let agreement = compare(&model, &golden).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(agreement.holds(), "{name} {residency}: {agreement:#?}");
            assert_eq!(agreement.dtype, "f32", "{name}");
        }
    }
}

#[test]
fn token_ids_agree() {
    let golden = std::fs::read(folder().join("tokenizers.golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    for name in cases() {
        let model = open(&folder().join(format!("{name}.gguf")), Residency::Stream);
        let texts = golden[&name].as_array().unwrap();
        assert_eq!(texts.len(), 17, "{name}");
        for item in texts {
            let text = item["text"].as_str().unwrap();
            let ids = |key: &str| -> Vec<u64> {
                let list = item[key].as_array().unwrap();
                list.iter().map(|id| id.as_u64().unwrap()).collect()
            };
            let wide = |ids: &[u32]| -> Vec<u64> { ids.iter().map(|&id| id.into()).collect() };
            let ours = model.tokenizer.encode(text).unwrap();
            assert_eq!(wide(&ours), ids("ids"), "{name}: {text:?}");
            let ours = model.tokenizer.encode_template(text).unwrap();
            assert_eq!(wide(&ours.ids), ids("special"), "{name}: {text:?}");
        }
    }
}
