//! GGUF files against Python's `gguf` and transformers.
//!
//! The tiny files and their values are made by `generators/gguf_golden.py`; the real ones are those of the folder that
//! `INTERLINGUA_REAL` names.

use std::path::{Path, PathBuf};

use interlingua_backend::device::cpu;
use interlingua_models::checkpoint::blocks::FORMATS;
use interlingua_models::engine::{Branch, token_log_probs};
use interlingua_models::parity::compare;
use interlingua_models::tokenizer::SpecialToken;
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

/// As in llama.cpp: no text can end itself. A rendered conversation is another matter.
#[test]
fn special_tokens_written_out_are_text_but_in_conversations() {
    let check = |name: &str, path: &Path| {
        let model = open(path, Residency::Stream);
        let special = model.tokenizer.special();
        let of_text = |kind: &Option<SpecialToken>| kind.as_ref().map(|t| (t.text.clone(), t.id));
        let kinds = [
            &special.bos,
            &special.eos,
            &special.unk,
            &special.pad,
            &special.mask,
            &special.cls,
            &special.sep,
        ];
        let named: Vec<(String, Option<u32>)> = kinds.into_iter().filter_map(of_text).collect();
        assert!(!named.is_empty(), "{name}");
        let unknown = special.unk.as_ref().and_then(|t| t.id);
        // A unigram model without a piece for `<` has nothing better for `<s>` than the token itself.
        let lacks = |text: &str| {
            let mut letters = text
                .chars()
                .map(|c| model.tokenizer.encode(&c.to_string()).unwrap());
            unknown.is_some() && letters.any(|ids| ids.iter().any(|&id| Some(id) == unknown))
        };
        for (text, id) in &named {
            for text in [text.clone(), format!("a {text}b"), format!("a{text}{text}")] {
                let ids = model.tokenizer.encode(&text).unwrap();
                let known =
                    |id: &u32| named.iter().any(|n| n.1 == Some(*id)) && unknown != Some(*id);
                let unigram = name.contains("unigram") && lacks(&text);
                assert!(
                    unigram || !ids.iter().any(known),
                    "{name}: {text:?} gives {ids:?}"
                );
            }
            // The start token comes once, whatever a text spells.
            let plain = model.sequence(text).unwrap();
            assert!(
                plain.tokens.len() > plain.context + plain.closing,
                "{name}: {text:?}"
            );
            let twice = format!("{text}a{text}");
            let read = open(path, Residency::Stream).with_conversations();
            let ids = read.tokenizer.encode(&twice).unwrap();
            let found = ids.iter().filter(|&&i| Some(i) == *id).count();
            assert_eq!(found, 2, "{name}: {twice:?} gives {ids:?}");
        }
    };
    for name in cases() {
        check(&name, &folder().join(format!("{name}.gguf")));
    }
    if let Some(real) = real("special_tokens_written_out_are_text_but_in_conversations") {
        for (name, path) in files(&real, &golden_of_real_files()) {
            check(&name, &path);
        }
        // A unigram model of real size, as `generators/e5_gguf.py` writes it.
        match real.join("e5-small-q8_0.gguf") {
            path if path.is_file() => check("e5-small", &path),
            path => eprintln!("skipped: {}, which is not there", path.display()),
        }
    }
}

/// The folder of real files, if this machine has it.
fn real(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("INTERLINGUA_REAL").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {test}, INTERLINGUA_REAL does not name the folder of real GGUF files");
    }
    folder
}

/// Files of the golden list that are in the folder.
fn files(real: &Path, golden: &Value) -> Vec<(String, PathBuf)> {
    let models = golden.as_object().unwrap().iter();
    let named = models.filter_map(|(name, of)| Some((name.clone(), of["file"].as_str()?)));
    let mut found = Vec::new();
    for (name, file) in named {
        match real.join(file) {
            path if path.is_file() => found.push((name, path)),
            path => eprintln!("skipped: {}, which is not there", path.display()),
        }
    }
    found
}

fn golden_of_real_files() -> Value {
    let bytes = std::fs::read(fixtures().join("models/gguf_real.golden.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn numbers(list: &Value) -> Vec<u32> {
    let list = list.as_array().unwrap().iter();
    list.map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn token_ids_of_real_files_agree() {
    let test = "token_ids_of_real_files_agree";
    let (Some(real), Some(shared)) = (real(test), interlingua_tests::shared(test)) else {
        return;
    };
    let text =
        std::fs::read_to_string(shared.join("data/derived/tatoeba4_en_fr_de_nl.tsv")).unwrap();
    let table: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let golden = golden_of_real_files();
    let rows = numbers(&golden["rows"]);
    for (name, path) in files(&real, &golden) {
        let tokenizer = open(&path, Residency::Stream).tokenizer;
        let check = |text: &str, ids: &Value| {
            let ours = tokenizer.encode(text).unwrap();
            assert_eq!(ours, numbers(ids), "{name}: {text:?}");
        };
        let (mut sentences, of) = (0, &golden[&name]);
        for (language, all) in of["sentences"].as_object().unwrap() {
            let column = table[0].iter().position(|c| c == language).unwrap();
            for (row, ids) in rows.iter().zip(all.as_array().unwrap()) {
                check(table[*row as usize + 1][column], ids);
                sentences += 1;
            }
        }
        let edges = of["edges"].as_array().unwrap();
        for edge in edges {
            check(edge["text"].as_str().unwrap(), &edge["ids"]);
        }
        assert_eq!((sentences, edges.len()), (400, 20), "{name}");
        println!("{name}: 400 sentences and 20 edge texts agree");
    }
}

/// Scores of a file are those of the folder that transformers made of its dequantised weights, however it is resident,
/// and every byte is read once.
#[test]
fn real_files_score_as_their_dequantised_folders() {
    let Some(real) = real("real_files_score_as_their_dequantised_folders") else {
        return;
    };
    let texts = [
        "The nurse went home.",
        "Le boulanger est fatigué.",
        "Die Ärztin schläft.",
        "De bakker slaapt niet.",
    ];
    for (name, path) in files(&real, &golden_of_real_files()) {
        let log_probs = |path: &Path, residency| {
            let model = open(path, residency);
            let sequences: Vec<_> = texts.map(|t| model.sequence(t).unwrap()).into();
            let branches = [Branch::unedited()];
            let scores = token_log_probs(&model, &sequences, &branches, &mut |_, _| {}).unwrap();
            (scores, model)
        };
        let (streamed, model) = log_probs(&path, Residency::Stream);
        assert_eq!(
            model.weights().bytes_read(),
            model.weights().bytes(),
            "{name}"
        );
        assert!(model.quantised().is_some(), "{name}");
        let (resident, _) = log_probs(&path, Residency::Resident);
        assert_eq!(streamed, resident, "{name}");
        if !real.join(&name).is_dir() {
            eprintln!("skipped: the folder {name}, which is not there");
            continue;
        }
        let (folder, _) = log_probs(&real.join(&name), Residency::Stream);
        assert_eq!(streamed, folder, "{name}: the same weights");
    }
}

/// What stands before every text is seen, and is no part of it.
#[test]
fn a_prefix_is_context() {
    let path = folder().join("bert-unigram.gguf");
    let plain = open(&path, Residency::Stream);
    let digest = plain.digest().unwrap();
    let model = plain.with_prefix("the ");
    assert_ne!(model.digest().unwrap(), digest);
    let sequence = model.sequence("nurse").unwrap();
    let encode = |text: &str| model.tokenizer.encode(text).unwrap();
    let inner = &sequence.tokens[1..sequence.tokens.len() - sequence.closing];
    assert_eq!(inner, encode("the nurse"));
    assert_eq!(sequence.context, 1 + encode("the").len());
    assert_eq!(inner[sequence.context - 1..], encode("nurse"));
}
