//! Every key that transformers knows of the configurations read here is read, refused, or named below.
//!
//! The keys are listed by `generators/config_keys.py`. Each is set to a text that means nothing. A key that is read
//! or refused then gives an error that names it; for all others the architecture must come out the same, and the
//! tables below must say why that is right.

use std::collections::BTreeSet;

use interlingua_models::ModelError;
use interlingua_models::architectures::{ARCHITECTURES, read};
use interlingua_tests::fixtures;
use serde_json::{Value, json};

/// Keys without an effect on what is computed here, by reason.
const NO_EFFECT: &[(&str, &[&str])] = &[
    (
        "where the file comes from",
        &[
            "_commit_hash",
            "_name_or_path",
            "name_or_path",
            "transformers_version",
        ],
    ),
    (
        "how transformers computes or what it returns, not the numbers; the types of weights are those of their files",
        &[
            "attn_implementation",
            "chunk_size_feed_forward",
            "distributed_config",
            "dtype",
            "experts_implementation",
            "fusion_config",
            "output_attentions",
            "output_hidden_states",
            "return_dict",
            "tie_last_hidden_states",
            "torch_dtype",
            "use_cache",
        ],
    ),
    (
        "training and first values",
        &[
            "gradient_checkpointing",
            "init_std",
            "initializer_factor",
            "initializer_range",
        ],
    ),
    (
        "heads of classification, which are not run",
        &[
            "id2label",
            "label2id",
            "num_labels",
            "problem_type",
            "token_classification_bias",
            "classifier_dropout",
        ],
    ),
    (
        "prediction of several tokens at once, which is not run",
        &[
            "chain_hidden_post_norm",
            "logits_mup_width_multiplier",
            "mtp_hidden_states_first",
            "unpadded_vocab_size",
        ],
    ),
    (
        "attention in chunks, a kind of block that is refused in layer_types",
        &["attention_chunk_size"],
    ),
    (
        "generation of text, which is not done",
        &[
            "assistant_confidence_threshold",
            "assistant_lookbehind",
            "bad_words_ids",
            "begin_suppress_tokens",
            "diversity_penalty",
            "do_sample",
            "early_stopping",
            "encoder_no_repeat_ngram_size",
            "encoder_repetition_penalty",
            "epsilon_cutoff",
            "eta_cutoff",
            "exponential_decay_length_penalty",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "length_penalty",
            "max_length",
            "min_length",
            "no_repeat_ngram_size",
            "num_assistant_tokens",
            "num_assistant_tokens_schedule",
            "num_beam_groups",
            "num_beams",
            "num_return_sequences",
            "output_scores",
            "remove_invalid_values",
            "repetition_penalty",
            "return_dict_in_generate",
            "sep_token_id",
            "suppress_tokens",
            "target_lookbehind",
            "temperature",
            "top_k",
            "top_p",
            "typical_p",
        ],
    ),
    (
        "dropout, which is off outside training",
        &[
            "attention_dropout",
            "attention_probs_dropout_prob",
            "attn_pdrop",
            "dropout",
            "embd_pdrop",
            "hidden_dropout",
            "hidden_dropout_prob",
            "qa_dropout",
            "resid_pdrop",
            "seq_classif_dropout",
        ],
    ),
    (
        "a head that sums up a text, which is not run",
        &[
            "summary_activation",
            "summary_first_dropout",
            "summary_last_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
        ],
    ),
];

/// Keys without an effect in some families, with the reason.
const NO_EFFECT_IN: &[(&[&str], &[&str], &str)] = &[
    (
        &["bert", "roberta", "xlm-roberta", "distilbert"],
        &["is_causal"],
        "transformers asks for it only where a mask is causal",
    ),
    (
        &["bert", "roberta", "xlm-roberta"],
        &["embedding_size"],
        "only lets transformers skip a check of sizes, which is made here",
    ),
    (
        &[
            "bert",
            "roberta",
            "xlm-roberta",
            "distilbert",
            "gpt2",
            "bloom",
        ],
        &["partial_rotary_factor", "rope_scaling", "rope_theta"],
        "positions are not rotated",
    ),
    (
        &[
            "bloom",
            "cohere",
            "cohere2",
            "distilbert",
            "gemma2",
            "gemma3",
            "gemma3_text",
            "gpt2",
            "llama",
            "mistral",
            "qwen2",
            "qwen3",
        ],
        &["position_embedding_type"],
        "a setting of BERT and RoBERTa alone",
    ),
    (
        &[
            "bert",
            "bloom",
            "cohere",
            "cohere2",
            "distilbert",
            "gemma2",
            "gemma3_text",
            "gpt2",
            "llama",
            "mistral",
            "qwen2",
            "qwen3",
        ],
        &["pad_token_id"],
        "nothing is padded, and the padding token has a position like any other",
    ),
    (
        &["bloom", "llama"],
        &["pretraining_tp"],
        "slices of the same products",
    ),
    (
        &["gpt2"],
        &["reorder_and_upcast_attn"],
        "attention in f32, as it always is here",
    ),
    (
        &["gemma3_text"],
        &["_sliding_window_pattern", "attn_logit_softcapping"],
        "kept by transformers and not used",
    ),
    (
        &["gemma3"],
        &[
            "boi_token_id",
            "boi_token_index",
            "eoi_token_id",
            "eoi_token_index",
            "image_token_id",
            "image_token_index",
            "mm_tokens_per_image",
            "vision_config",
        ],
        "images, which are not read",
    ),
    (
        &["gemma3"],
        &["partial_rotary_factor", "rope_scaling", "rope_theta"],
        "transformers reads them in text_config",
    ),
];

/// Keys of `rope_parameters` that belong to kinds of scaling that are refused.
const NO_EFFECT_IN_ROPE: &[&str] = &[
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "long_factor",
    "mscale",
    "mscale_all_dim",
    "short_factor",
    "truncate",
];

const NONSENSE: &str = "no such value";

fn has_no_effect(model_type: &str, key: &str) -> bool {
    let here = |(types, keys, _): &&(&[&str], &[&str], &str)| {
        types.contains(&model_type) && keys.contains(&key)
    };
    NO_EFFECT.iter().any(|(_, keys)| keys.contains(&key))
        || NO_EFFECT_IN.iter().find(here).is_some()
}

fn keys() -> Value {
    let file = fixtures().join("models/config_keys.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().map(|name| name.as_str().unwrap()).collect()
}

/// A configuration of every architecture, from the checkpoints of the parity tests.
fn configs() -> Vec<Value> {
    let folder = fixtures().join("models/architectures");
    let folders = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let read = |folder: std::path::PathBuf| {
        let text = std::fs::read(folder.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        // The size of the window is read where there are windows.
        if config["use_sliding_window"].is_boolean() {
            config["use_sliding_window"] = json!(true);
            config["sliding_window"] = json!(4);
        }
        config
    };
    folders.filter(|folder| folder.is_dir()).map(read).collect()
}

/// What comes of a configuration: the architecture, described, or what is wrong.
fn outcome(config: &Value) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    match read(&path) {
        Ok(architecture) => Ok(format!("{architecture:?}")),
        Err(ModelError::Config { key, problem, .. }) => Err(format!("`{key}`: {problem}")),
        Err(other) => Err(other.to_string()),
    }
}

/// The configuration, and the same with the rotary settings and windows that older files have.
fn variants(config: &Value) -> Vec<Value> {
    let mut older = config.clone();
    let rotary = !older["rope_parameters"].is_null() || !older["rope_theta"].is_null();
    let object = older.as_object_mut().unwrap();
    object.remove("rope_parameters");
    if rotary {
        object.entry("rope_theta").or_insert(json!(10_000.0));
    }
    vec![config.clone(), older]
}

/// Tries a key of a configuration, or of an object within it, and says what is wrong with how it is treated.
fn try_key(base: &Value, within: Option<&str>, key: &str, no_effect: bool) -> Option<String> {
    let mut refused = false;
    for variant in variants(match within {
        Some(object) => &base[object],
        None => base,
    }) {
        let with = |object: Value| match within {
            Some(name) => {
                let mut whole = base.clone();
                whole[name] = object;
                whole
            }
            None => object,
        };
        let before = outcome(&with(variant.clone())).expect("the checkpoint's own configuration");
        let mut changed = variant;
        changed[key] = json!(NONSENSE);
        match outcome(&with(changed)) {
            Err(error) if error.contains(key) => refused = true,
            Err(error) => return Some(format!("{key}: the error does not name it: {error}")),
            Ok(after) if after != before => return Some(format!("{key}: taken without a check")),
            Ok(_) => {}
        }
    }
    match (refused, no_effect) {
        (true, true) => Some(format!("{key}: named as without effect, yet read")),
        (false, false) => Some(format!("{key}: neither read nor refused nor named")),
        _ => None,
    }
}

#[test]
fn every_key_is_read_or_refused_or_named_as_without_effect() {
    let keys = keys();
    let mut tried = BTreeSet::new();
    let mut wrong = Vec::new();
    for config in configs() {
        let architecture = config["architectures"][0].as_str().unwrap();
        let model_type = config["model_type"].as_str().unwrap();
        tried.insert(architecture.to_owned());
        let family = names(&keys["families"][model_type]);
        for key in names(&keys["common"]).into_iter().chain(family) {
            let problem = try_key(&config, None, key, has_no_effect(model_type, key));
            wrong.extend(problem.map(|p| format!("{architecture}: {p}")));
        }
        if config["text_config"].is_object() {
            for key in names(&keys["families"]["gemma3_text"]) {
                let no_effect = has_no_effect("gemma3_text", key);
                let problem = try_key(&config, Some("text_config"), key, no_effect);
                wrong.extend(problem.map(|p| format!("{architecture}: text_config: {p}")));
            }
        }
    }
    let all: BTreeSet<String> = ARCHITECTURES
        .iter()
        .map(|(n, ..)| (*n).to_owned())
        .collect();
    assert_eq!(tried, all);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_key_of_rotary_settings_is_read_or_refused_or_named() {
    let keys = keys();
    for config in configs() {
        if config["rope_theta"].is_null() {
            continue;
        }
        let mut config = config;
        config["rope_scaling"] = Value::Null;
        // Gemma 3 has settings for each kind of block.
        let by_kind = config["model_type"] == "gemma3_text";
        let placed = |rope: Value| match by_kind {
            true => json!({"full_attention": rope, "sliding_attention": {"rope_theta": 1e4}}),
            false => rope,
        };
        for kind in ["linear", "llama3"] {
            let rope = json!({"rope_theta": 1e4, "rope_type": kind, "factor": 2.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 16});
            config["rope_parameters"] = placed(rope.clone());
            let before = outcome(&config).expect("usable settings");
            for key in names(&keys["rope"]) {
                let mut changed = rope.clone();
                if key == "type" {
                    changed.as_object_mut().unwrap().remove("rope_type");
                }
                changed[key] = json!(NONSENSE);
                config["rope_parameters"] = placed(changed);
                let of_llama3 = kind == "linear"
                    && [
                        "low_freq_factor",
                        "high_freq_factor",
                        "original_max_position_embeddings",
                    ]
                    .contains(&key);
                match outcome(&config) {
                    Ok(after) => assert!(
                        after == before && (NO_EFFECT_IN_ROPE.contains(&key) || of_llama3),
                        "{key} of {kind}"
                    ),
                    Err(error) => assert!(
                        error.contains("rope_") && !NO_EFFECT_IN_ROPE.contains(&key),
                        "{key} of {kind}: {error}"
                    ),
                }
            }
        }
    }
}

/// transformers makes a decoder of whose tokens see those that follow; the states would be others.
#[test]
fn a_decoder_that_sees_what_follows_is_refused() {
    for config in configs() {
        let architecture = config["architectures"][0].as_str().unwrap().to_owned();
        let encoder = ["Bert", "Roberta", "XLM"]
            .iter()
            .any(|name| architecture.contains(name));
        let mut changed = config;
        changed["is_causal"] = json!(true);
        assert!(outcome(&changed).is_ok(), "{architecture}");
        changed["is_causal"] = json!(false);
        match outcome(&changed) {
            Ok(_) => assert!(encoder, "{architecture}"),
            Err(error) => assert!(
                !encoder && error.contains("`is_causal`") && error.contains("true is"),
                "{error}"
            ),
        }
        if changed["text_config"].is_object() {
            changed["is_causal"] = Value::Null;
            changed["text_config"]["is_causal"] = json!(false);
            let error = outcome(&changed).unwrap_err();
            assert!(error.contains("text_config.is_causal"), "{error}");
        }
    }
}

/// The type decides what transformers' AutoModel makes of a folder, the architecture what is made of it here.
#[test]
fn a_type_of_another_architecture_is_refused() {
    for config in configs() {
        let mut changed = config;
        changed["model_type"] = json!("opt");
        let error = outcome(&changed).unwrap_err();
        assert!(error.contains("`model_type`"), "{error}");
    }
}
