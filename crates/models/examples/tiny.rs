//! Makes a tiny random Cohere checkpoint, scores a sentence with it, and captures states at its hook points.
//!
//! `cargo run --example tiny`

use interlingua_backend::device::cpu;
use interlingua_backend::optim::AdamWConfig;
use interlingua_models::architectures::cohere::Config;
use interlingua_models::engine::{capture, token_log_probs};
use interlingua_models::tokenizer::train_bpe;
use interlingua_models::train::{TrainConfig, Trainer};
use interlingua_models::{Branch, Capture, Model, Pooling, Residency};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let text = ["the nurse reads", "the doctor reads", "she reads a book"];
    let tokenizer = train_bpe(text.into_iter(), 300)?;

    // Random weights: `Trainer::step` would train them, here they are only written.
    let config = Config {
        hidden_size: 32,
        intermediate_size: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        vocab_size: 300,
        max_positions: 64,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        logit_scale: 0.125,
        tied: true,
        qk_norm: false,
        attention_bias: false,
        bos: Some(2),
        eos: Some(3),
    };
    let train = TrainConfig {
        batch: 1,
        seed: 7,
        optimiser: AdamWConfig::default(),
    };
    Trainer::new(config, train, &cpu()).export(folder.path(), &tokenizer)?;

    // From here on it is like any other checkpoint folder.
    let model = Model::open(folder.path(), &cpu(), Residency::Stream)?;
    let geometry = &model.geometry;
    println!(
        "{}: {} blocks of width {}, {} parameters",
        geometry.architecture,
        geometry.layers,
        geometry.hidden_size,
        model.weights().parameters()
    );
    let sequences = [model.sequence("she reads a book")?];
    let log_probs = token_log_probs(&model, &sequences, &[Branch::unedited()], &mut |_, _| {})?;
    let tokens = &log_probs[0][0];
    println!(
        "log-likelihood {:.3} nats over {} tokens; a uniform model has {:.3}",
        tokens.iter().sum::<f32>(),
        tokens.len(),
        -(tokens.len() as f32) * 300_f32.ln()
    );

    // One pass gives the states of all hook points.
    let hooks = geometry.hooks();
    let captures: Vec<Capture> = hooks
        .iter()
        .map(|&hook| Capture {
            hook,
            pooling: Pooling::Mean,
        })
        .collect();
    let mut lengths = vec![0.0; hooks.len()];
    let mut sink = |capture: usize, _sequence: usize, rows: &[f32]| {
        lengths[capture] = rows.iter().map(|x| x * x).sum::<f32>().sqrt();
        Ok(())
    };
    capture(&model, &sequences, &captures, &mut sink, &mut |_, _| {})?;
    for (hook, length) in hooks.iter().zip(lengths) {
        println!("{:<20} ‖mean state‖ = {length:.3}", hook.to_string());
    }
    Ok(())
}
