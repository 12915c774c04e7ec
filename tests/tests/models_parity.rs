//! Agreement with transformers, by golden values (`generators/models_golden.py`).

use interlingua_backend::device::cpu;
use interlingua_models::engine::{Branch, token_log_probs};
use interlingua_models::parity::every_state;
use interlingua_models::{Model, Residency, Sequence};
use interlingua_tests::{fixtures, shared};
use safetensors::SafeTensors;

/// Every hook point and every log-probability, both fixtures, both residencies.
#[test]
fn tiny_checkpoints_agree_at_every_hook_point() {
    for name in ["cohere-f32", "cohere-bf16-sharded"] {
        for residency in [Residency::Stream, Residency::Resident] {
            check(name, residency);
        }
    }
}

fn check(name: &str, residency: Residency) {
    let folder = fixtures().join("models");
    let model = Model::open(&folder.join(name), &cpu(), residency).unwrap();
    let bytes = std::fs::read(folder.join(format!("{name}.golden.safetensors"))).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |key: &str| -> Vec<f32> {
        let view = golden.tensor(key).unwrap_or_else(|e| panic!("{key}: {e}"));
        view.data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let lines = 4;
    let sequences: Vec<Sequence> = (0..lines)
        .map(|i| {
            let view = golden.tensor(&format!("{i}.ids")).unwrap();
            let tokens = view
                .data()
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32)
                .collect();
            Sequence::new(tokens, 0)
        })
        .collect();
    let text = "the baker said that she was tired";
    assert_eq!(
        model.sequence(text).unwrap().tokens,
        sequences[0].tokens,
        "the tokenizer agrees"
    );

    let hooks = model.geometry.hooks();
    let states = every_state(&model, &sequences).unwrap();
    for (hook, states) in hooks
        .iter()
        .zip(&states)
        .filter(|(h, _)| !h.part.is_inside())
    {
        for (s, found) in states.iter().enumerate() {
            let expected = floats(&format!("{s}.{hook}"));
            compare(
                found,
                &expected,
                1e-4,
                &format!("{name} {hook} sentence {s}"),
            );
        }
    }
    let scores =
        token_log_probs(&model, &sequences, &[Branch::unedited()], &mut |_, _| {}).unwrap();
    for (s, found) in scores[0].iter().enumerate() {
        compare(
            found,
            &floats(&format!("{s}.log_probs")),
            1e-4,
            &format!("{name} log-probabilities of {s}"),
        );
    }
}

/// Largest difference, relative to the scale of the expected tensor.
fn compare(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(
        worst <= tolerance * scale,
        "{what}: off by {worst}, scale {scale}"
    );
}

/// 200 real sentences in four languages, token by token.
#[test]
fn the_reference_lm_agrees_on_real_sentences() {
    let Some(shared) = shared("the_reference_lm_agrees_on_real_sentences") else {
        return;
    };
    let model = Model::open(
        &shared.join("models/reference-lm-4l"),
        &cpu(),
        Residency::Auto,
    )
    .unwrap();
    let text =
        std::fs::read_to_string(shared.join("data/derived/tatoeba4_en_fr_de_nl.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let golden = std::fs::read(fixtures().join("models/reference-lm-4l.golden.json")).unwrap();
    let golden: Vec<serde_json::Value> = serde_json::from_slice(&golden).unwrap();
    assert_eq!(golden.len(), 200);
    let mut sequences = Vec::new();
    for item in &golden {
        let column = rows[0]
            .iter()
            .position(|c| *c == item["language"].as_str().unwrap())
            .unwrap();
        let sentence = rows[item["row"].as_u64().unwrap() as usize + 1][column];
        let sequence = model.sequence(sentence).unwrap();
        let ids: Vec<u32> = item["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap() as u32)
            .collect();
        assert_eq!(sequence.tokens, ids, "token ids of row {}", item["row"]);
        sequences.push(sequence);
    }
    let scores =
        token_log_probs(&model, &sequences, &[Branch::unedited()], &mut |_, _| {}).unwrap();
    let (mut worst, mut tokens) = (0.0f64, 0);
    for (found, item) in scores[0].iter().zip(&golden) {
        let expected: Vec<f64> = item["log_probs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        assert_eq!(found.len(), expected.len());
        tokens += found.len();
        for (a, b) in found.iter().zip(&expected) {
            worst = worst.max((f64::from(*a) - b).abs());
        }
    }
    println!("{tokens} tokens, largest difference {worst:.2e} nats");
    assert!(worst <= 1e-4, "largest difference {worst}");
}

/// Published weights in sentences of four languages: every hook point and every log-probability.
#[test]
fn the_real_small_models_agree() {
    let Some(shared) = shared("the_real_small_models_agree") else {
        return;
    };
    let golden = std::fs::read(fixtures().join("models/real.golden.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let text =
        std::fs::read_to_string(shared.join("data/derived/tatoeba4_en_fr_de_nl.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    for residency in [Residency::Stream, Residency::Resident] {
        let folder = shared.join("models/stories260K");
        let model = Model::open(&folder, &cpu(), residency).unwrap();
        real(&model, golden["stories260K"].as_array().unwrap(), &rows);
    }
}

/// `rows`: the sentences, a header of languages first.
fn real(model: &Model, golden: &[serde_json::Value], rows: &[Vec<&str>]) {
    let numbers = |value: &serde_json::Value| -> Vec<f32> {
        let list = value.as_array().unwrap();
        list.iter().map(|v| v.as_f64().unwrap() as f32).collect()
    };
    assert!(!golden.is_empty());
    let sequences: Vec<Sequence> = golden
        .iter()
        .map(|item| {
            let language = item["language"].as_str().unwrap();
            let column = rows[0].iter().position(|c| *c == language).unwrap();
            let row = item["row"].as_u64().unwrap() as usize + 1;
            let sequence = model.sequence(rows[row][column]).unwrap();
            let ids: Vec<u64> = sequence.tokens.iter().map(|&t| t.into()).collect();
            assert_eq!(serde_json::json!(ids), item["ids"], "row {row} {language}");
            sequence
        })
        .collect();
    let hooks = model.geometry.hooks();
    let states = every_state(model, &sequences).unwrap();
    let scores = token_log_probs(model, &sequences, &[Branch::unedited()], &mut |_, _| {}).unwrap();
    for (s, item) in golden.iter().enumerate() {
        assert_eq!(
            item["states"].as_object().unwrap().len(),
            hooks.iter().filter(|h| !h.part.is_inside()).count(),
            "every hook point outside the blocks' insides has values"
        );
        for (c, hook) in hooks
            .iter()
            .enumerate()
            .filter(|(_, h)| !h.part.is_inside())
        {
            // The mean, the largest magnitude, and single values.
            let expected = numbers(&item["states"][hook.to_string()]);
            let state = &states[c][s];
            let mut found = vec![
                state.iter().sum::<f32>() / state.len() as f32,
                state.iter().fold(0.0, |m, x| x.abs().max(m)),
            ];
            found.extend(numbers(&item["at"]).iter().map(|&at| state[at as usize]));
            compare(&found, &expected, 1e-4, &format!("{hook} of {s}"));
        }
        compare(
            &scores[0][s],
            &numbers(&item["log_probs"]),
            1e-4,
            &format!("log-probabilities of {s}"),
        );
    }
}
