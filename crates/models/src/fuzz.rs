//! Tests the readers of untrusted files on inputs that nobody would write.
//!
//! The inputs are valid files with some values replaced and some bytes changed, and arbitrary bytes. Whatever the
//! input is, readers must return, keep their promises about what they return, and give errors that are short and
//! printable. `PROPTEST_CASES` sets the number of cases (default 256). With `INTERLINGUA_FUZZ_SECONDS=600` each test
//! runs for that long and says how many cases it tried (`--nocapture`).

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf::container;
use crate::config::{MAX_LAYERS, parse_json};
use crate::store::{Store, Writer};
use crate::tokenizer::{Settings, Tokenizer};
use crate::weights::Weights;
use crate::{ModelError, architectures, header, index, input};

/// Tries a property, for as long as the environment says.
fn fuzz<S: Strategy>(name: &str, inputs: S, property: impl Fn(S::Value)) {
    let seconds: u64 = match std::env::var("INTERLINGUA_FUZZ_SECONDS") {
        Ok(text) => text
            .parse()
            .expect("INTERLINGUA_FUZZ_SECONDS is a whole number"),
        Err(_) => 0,
    };
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let (start, cases) = (Instant::now(), Cell::new(0u64));
    loop {
        // A new one each time: a runner that has done its cases does no more.
        let outcome = TestRunner::new(config.clone()).run(&inputs, |input| {
            cases.set(cases.get() + 1);
            property(input);
            Ok(())
        });
        outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
        if start.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    let cases = cases.get();
    println!("{name}: {cases} cases");
}

/// What real files never say.
fn hostile() -> impl Strategy<Value = Value> {
    let deep = (0..100).fold(json!(0), |inner, _| json!([inner]));
    let values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(3),
        json!(4096),
        json!(1 << 24),
        json!(1u64 << 32),
        json!(1u64 << 60),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.5),
        json!(1e-300),
        json!(1e300),
        json!(""),
        json!("default"),
        json!("\u{1b}[2J"),
        json!("../x"),
        json!("ü".repeat(3000)),
        json!([]),
        json!([0, 8]),
        json!([1u64 << 60, 1u64 << 60]),
        json!({}),
        json!({"a": 1}),
        deep,
    ];
    prop_oneof![
        4 => select(values),
        1 => any::<u64>().prop_map(|n| json!(n)),
        1 => (0u64..300).prop_map(|n| json!(n)),
        1 => any::<f64>().prop_map(|x| json!(x)),
        1 => ".*".prop_map(|s| json!(s)),
    ]
}

/// A change to a value somewhere in a JSON text.
#[derive(Debug, Clone)]
enum Change {
    /// Another value.
    Replace(Value),
    /// Nothing there any more.
    Remove,
    /// The same under another name, too; of a list, once more.
    Repeat,
}

fn changes() -> impl Strategy<Value = Vec<(Index, Change)>> {
    let change = prop_oneof![
        4 => hostile().prop_map(Change::Replace),
        1 => Just(Change::Remove),
        1 => Just(Change::Repeat),
    ];
    prop::collection::vec((any::<Index>(), change), 0..5)
}

/// A change to some bytes: at a place, this many go and these come.
type Splice = (Index, usize, Vec<u8>);

fn splices() -> impl Strategy<Value = Vec<Splice>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..9),
        select(vec![
            "{", "}", "[", "]", "\"", ",", ":", "\\u0000", "1e999", "-"
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
    ];
    let splice = (any::<Index>(), 0usize..9, bytes);
    prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(splice, 1..4),
    ]
}

fn splice(bytes: &mut Vec<u8>, changes: Vec<Splice>) {
    for (at, gone, come) in changes {
        let from = at.index(bytes.len() + 1);
        let to = (from + gone).min(bytes.len());
        bytes.splice(from..to, come);
    }
}

/// Number of values in a JSON text.
fn count(json: &Value) -> usize {
    1 + match json {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// Does a change to the value that is `at` in order; `at` is counted down.
fn change(json: &mut Value, at: &mut usize, how: &Change) {
    let hit = |at: &mut usize| {
        *at = at.wrapping_sub(1);
        *at == usize::MAX
    };
    match json {
        Value::Array(list) => {
            for i in 0..list.len() {
                if hit(at) {
                    match how {
                        Change::Replace(value) => list[i] = value.clone(),
                        Change::Remove => drop(list.remove(i)),
                        Change::Repeat => list.push(list[i].clone()),
                    }
                    return;
                }
                change(&mut list[i], at, how);
                if *at == usize::MAX {
                    return;
                }
            }
        }
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            for key in keys {
                if hit(at) {
                    match how {
                        Change::Replace(value) => drop(map.insert(key, value.clone())),
                        Change::Remove => drop(map.remove(&key)),
                        Change::Repeat => {
                            let value = map[&key].clone();
                            map.insert(format!("{key}2"), value);
                        }
                    }
                    return;
                }
                change(map.get_mut(&key).expect("one of its keys"), at, how);
                if *at == usize::MAX {
                    return;
                }
            }
        }
        _ => {}
    }
}

/// Texts near these JSON values, and any bytes.
fn near(seeds: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let damaged = (select(seeds), changes(), splices()).prop_map(|(mut json, values, bytes)| {
        for (at, how) in values {
            // The whole is value 0, which stays.
            let mut at = at.index(count(&json).max(2) - 1);
            change(&mut json, &mut at, &how);
        }
        let mut text = json.to_string().into_bytes();
        splice(&mut text, bytes);
        text
    });
    prop_oneof![9 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn check_message(error: &ModelError) {
    let message = error.to_string();
    assert!(message.len() < 2000, "{} bytes: {message}", message.len());
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models")
}

#[test]
fn safetensors_headers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let seeds = vec![
        json!({
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        }),
        json!({"n": {"dtype": "I64", "shape": [0, 5], "data_offsets": [0, 0]}}),
        json!({}),
    ];
    let prefix = prop_oneof![9 => Just(None), 1 => any::<u64>().prop_map(Some)];
    let inputs = (near(seeds), prefix, select(vec![0, 1, 24, 32, 33]));
    fuzz("safetensors headers", inputs, |(json, prefix, data)| {
        let prefix = prefix.unwrap_or(json.len() as u64).to_le_bytes();
        let bytes = [&prefix, &json[..], &vec![0; data]].concat();
        std::fs::write(&path, &bytes).unwrap();
        match header::open(&path) {
            Ok((_, entries)) => {
                let mut at = (bytes.len() - data) as u64;
                for entry in &entries {
                    assert_eq!(entry.begin, at, "no hole, no overlap");
                    let elements: usize = entry.shape.iter().product();
                    let bits = 8 * (entry.end - entry.begin);
                    assert_eq!((elements * entry.dtype.bitsize()) as u64, bits);
                    at = entry.end;
                }
                assert_eq!(at, bytes.len() as u64, "all of the file");
                let weights = Weights::open(folder.path()).unwrap();
                assert_eq!(weights.bytes(), data as u64);
                assert_eq!(weights.names().count(), entries.len());
                for entry in &entries {
                    if let Err(e) = weights.read(&entry.name) {
                        check_message(&e);
                    }
                }
            }
            Err(e) => check_message(&e),
        }
    });
}

#[test]
fn shard_indices() {
    let seeds = vec![json!({
        "metadata": {"total_size": 8},
        "weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"},
    })];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors.index.json");
    fuzz("shard indices", near(seeds), |json| {
        std::fs::write(&path, &json).unwrap();
        match index::read(&path) {
            Ok(map) => {
                for shard in map.values() {
                    let inside = folder.path().join(shard);
                    assert_eq!(inside.parent(), Some(folder.path()), "{shard:?}");
                    assert!(!["", ".", ".."].contains(&shard.as_str()));
                }
                // None of the shards exists.
                check_message(&Weights::open(folder.path()).unwrap_err());
            }
            Err(e) => check_message(&e),
        }
    });
}

#[test]
fn configs_of_all_architectures() {
    let mut seeds = Vec::new();
    for folder in ["", "architectures"] {
        for entry in std::fs::read_dir(fixtures().join(folder)).unwrap() {
            let path = entry.unwrap().path().join("config.json");
            if path.is_file() {
                seeds.push(parse_json(&path, &std::fs::read(&path).unwrap()).unwrap());
            }
        }
    }
    for (name, ..) in architectures::ARCHITECTURES {
        let found = seeds.iter().any(|json| json["architectures"][0] == *name);
        assert!(found, "no config.json of {name} to start from");
    }
    let path = Path::new("config.json");
    fuzz("configs", near(seeds), |bytes| {
        let json = parse_json(path, &bytes);
        let read = json.and_then(|json| architectures::parse(path, &json));
        match read {
            Ok(architecture) => {
                let geometry = architecture.geometry();
                assert!(geometry.layers as u64 <= MAX_LAYERS);
                assert!(geometry.heads.is_multiple_of(geometry.kv_heads));
                for id in geometry.bos.iter().chain(&geometry.eos) {
                    assert!((*id as usize) < geometry.vocab_size);
                }
                for (name, shape) in architecture.tensors().needed() {
                    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
                    assert!(elements.is_some_and(|n| n > 0), "{name} {shape:?}");
                }
            }
            Err(e) => check_message(&e),
        }
    });
}

#[test]
fn tokenizer_settings() {
    let seeds = vec![
        json!({
            "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false},
            "mask_token": "<mask>", "add_bos_token": true, "padding_side": "left",
            "chat_template": "{{ messages }}", "model_max_length": 1e30,
            "added_tokens_decoder": {"0": {"content": "<s>", "special": true}},
        }),
        json!({"cls_token": "[CLS]", "sep_token": null}),
    ];
    let path = Path::new("tokenizer_config.json");
    fuzz("tokenizer settings", near(seeds), |bytes| {
        if let Err(e) = Settings::parse(path, &bytes) {
            check_message(&e);
        }
    });
}

#[test]
fn tokenizers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let vocabulary = 400;
    let seeds = tokenizer_seeds();
    fuzz("tokenizers", near(seeds), |json| {
        std::fs::write(&path, &json).unwrap();
        let text = "A café,\u{0}\u{1f642} of <s> [MASK] 12";
        match Tokenizer::open(folder.path(), vocabulary) {
            Ok(tokenizer) => match tokenizer.encode_template(text) {
                Ok(encoded) => {
                    assert_eq!(encoded.ids.len(), encoded.offsets.len());
                    for range in encoded.offsets {
                        assert!(text.get(range.clone()).is_some(), "{range:?}");
                    }
                }
                Err(e) => check_message(&e),
            },
            Err(e) => check_message(&e),
        }
    });
}

/// Small files with numbers that lie and bytes that are gone: opened as models, and all their tensors read.
#[test]
fn gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    let names = ["llama-untied", "gemma2", "gpt2", "bert", "bert-unigram"];
    let seeds: Vec<Vec<u8>> = names
        .iter()
        .map(|name| std::fs::read(fixtures().join(format!("gguf/{name}.gguf"))).unwrap())
        .collect();
    let number = prop_oneof![
        4 => select(vec![0u64, 1, 2, 3, 8, 9, 31, 255, 1 << 16, 1 << 20, 1 << 31, 1 << 32, 1 << 61, 1 << 63, u64::MAX]),
        1 => any::<u64>(),
    ];
    // At a place of the header: a number of this many bytes.
    let lies = prop::collection::vec((any::<Index>(), number, select(vec![1usize, 4, 8])), 0..4);
    let inputs = (
        select(seeds),
        lies,
        splices(),
        prop::option::weighted(0.1, any::<Index>()),
    );
    fuzz("gguf files", inputs, |(mut bytes, lies, changes, end)| {
        let length = bytes.len() as u64;
        let header = container::read(&bytes[..], length).unwrap().tensors[0].begin as usize;
        let data = bytes.split_off(header);
        for (at, number, width) in lies {
            let at = at.index(header - 8);
            bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        splice(&mut bytes, changes);
        bytes.extend(data);
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(container) = container::read(&bytes[..], bytes.len() as u64) {
            let mut at = 0;
            for tensor in &container.tensors {
                assert!(
                    tensor.begin >= at && tensor.end <= bytes.len() as u64,
                    "{tensor:?}"
                );
                at = tensor.end;
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Err(e) = whole_gguf(&path) {
            check_message(&e);
        }
    });
}

/// Everything that is done with a file before a text is run.
fn whole_gguf(path: &Path) -> Result<(), ModelError> {
    let checkpoint = Checkpoint::open(path)?;
    let architecture = checkpoint.architecture()?;
    let mut weights = checkpoint.weights()?;
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    for name in names {
        let values = weights.read(&name);
        if let (Ok(values), Ok(shape)) = (values, weights.shape(&name)) {
            assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        }
    }
    weights.expect(&architecture.tensors())?;
    let vocabulary = architecture.geometry().vocab_size;
    let tokenizer = checkpoint.tokenizer(vocabulary)?;
    let ids = tokenizer.encode("A café,\u{0}\u{1f642} of <s> [MASK] 12")?;
    assert!(ids.iter().all(|&id| (id as usize) < vocabulary));
    Ok(())
}

/// One tokenizer of each kind, small.
fn tokenizer_seeds() -> Vec<Value> {
    let path = fixtures().join("cohere-f32/tokenizer.json");
    let bpe: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let with = |model: Value| {
        let mut all = bpe.clone();
        all["model"] = model;
        all["pre_tokenizer"] = json!({"type": "Whitespace"});
        all["decoder"] = json!(null);
        all["added_tokens"] = json!([]);
        all["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"a": {"id": "a", "ids": [1], "tokens": ["a"]}},
        });
        all
    };
    vec![
        with(json!({
            "type": "WordPiece", "unk_token": "u", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {"u": 0, "a": 1, "##b": 2},
        })),
        with(json!({
            "type": "Unigram", "unk_id": 0, "vocab": [["u", 0.0], ["a", -1.5], ["caf", -2.5]], "byte_fallback": false,
        })),
        with(json!({"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 1}})),
        with(json!({
            "type": "BPE", "dropout": null, "unk_token": "u", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": {"u": 0, "a": 1, "c": 2, "ca": 3}, "merges": [["c", "a"]],
        })),
        bpe,
    ]
}

#[test]
fn state_stores() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.safetensors");
    let mut writer = Writer::create(&path, 2, [1, 0, 3]).unwrap();
    writer.write(0, &[1.0, 2.0]).unwrap();
    writer.write(1, &[]).unwrap();
    writer.write(2, &[0.5; 6]).unwrap();
    drop(writer.finish().unwrap());
    let good = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let json = serde_json::from_slice(&good[8..8 + length]).unwrap();
    let data = good[8 + length..].to_vec();
    let inputs = (near(vec![json]), splices());
    fuzz("state stores", inputs, |(json, changes)| {
        let mut bytes = data.clone();
        splice(&mut bytes, changes);
        let prefix = (json.len() as u64).to_le_bytes();
        let file = [&prefix, &json[..], &bytes].concat();
        std::fs::write(&path, &file).unwrap();
        match Store::open(&path) {
            Ok(store) => {
                let mut out = Vec::new();
                for sequence in 0..store.len() {
                    let rows = store.read(sequence, &mut out).unwrap();
                    assert_eq!(rows, store.rows(sequence));
                }
                assert!(out.len() * 4 <= file.len());
            }
            Err(e) => check_message(&e),
        }
    });
}

#[test]
fn long_and_odd_messages_are_cut() {
    let odd = "\u{1b}]0;".repeat(1 << 12);
    let error = ModelError::BadFile {
        path: PathBuf::new(),
        problem: input::brief(odd),
    };
    check_message(&error);
}
