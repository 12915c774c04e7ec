//! Every architecture against transformers, at every hook point.
//!
//! The tiny checkpoints and their values are made by `generators/architectures.py`.

use std::collections::BTreeSet;

use interlingua_backend::device::cpu;
use interlingua_models::architectures::ARCHITECTURES;
use interlingua_models::parity::{compare, every_state};
use interlingua_models::{Budget, Model, Residency, Sequence};
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
                assert!(agreement.holds(), "{name} {residency}: {agreement:#?}");
                for hook in model.geometry.hooks() {
                    let kind = hook.part.pattern().replace(".L.", ".{L}.");
                    assert!(agreement.worst.contains_key(&kind), "{name}: no {hook}");
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
    for (name, ..) in ARCHITECTURES {
        assert!(tried.contains(*name), "no fixture for {name}");
    }
}

/// The page of models names the module of every hook point of every architecture.
#[test]
fn the_documentation_has_the_modules() {
    let page = fixtures().join("../../docs/models.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in cases() {
        let model = open(&name, Residency::Stream);
        let start = format!("| {} | `", model.geometry.architecture);
        let row: String = page
            .lines()
            .filter(|line| line.starts_with(&start))
            .collect();
        assert!(
            !row.is_empty(),
            "no row for {name}; `cargo xtask parity --page` writes it"
        );
        for (hook, module) in model.architecture().modules().rows() {
            let module = module.replace(":input", "").replace(":output", "");
            let listed = row.contains(&format!("`{}`", module.replace("{L}", "L")))
                || module.contains("{last}") && row.contains("last block");
            assert!(listed, "{hook} of {name} is {module}: {row}");
        }
    }
}

/// Positions of RoBERTa are counted without padding tokens, which nobody needs here.
#[test]
fn a_padding_token_in_a_text_is_refused_where_it_has_no_position() {
    let run = |name: &str, token: u32| {
        let model = open(name, Residency::Stream);
        let sequence = Sequence::new(vec![5, token, 6], 0);
        every_state(&model, &[sequence]).map_err(|e| e.to_string())
    };
    let message = run("xlm-roberta-mlm", 1).unwrap_err();
    assert!(message.contains("padding token 1"), "{message}");
    assert!(run("xlm-roberta-mlm", 7).is_ok());
    assert!(run("bert-mlm", 0).is_ok(), "BERT counts them");
}

/// A tied checkpoint may hold its embedding twice, but not another head.
#[test]
fn a_tied_head_is_a_copy_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let from = fixtures().join("models/architectures/cohere");
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let embedding = tensors.tensor("model.embed_tokens.weight").unwrap();
    let mut other = embedding.data().to_vec();
    *other.last_mut().unwrap() ^= 1;
    for (head, same) in [(embedding.data(), true), (&other, false)] {
        let head = safetensors::tensor::TensorView::new(
            embedding.dtype(),
            embedding.shape().to_vec(),
            head,
        );
        let mut all = tensors.tensors();
        all.push(("lm_head.weight".to_owned(), head.unwrap()));
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, safetensors::serialize(all, None).unwrap()).unwrap();
        let opened = Model::open(folder.path(), &cpu(), Residency::Stream);
        if same {
            opened.unwrap();
        } else {
            let message = opened.err().expect("another head").to_string();
            assert!(
                message.contains("lm_head.weight") && message.contains("tie_word_embeddings"),
                "{message}"
            );
        }
    }
}
