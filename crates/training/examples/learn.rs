//! A model of two blocks learns a few sentences, is saved half-way, and goes on as if nothing had been.
//!
//! `cargo run --example learn`

use interlingua_backend::device::cpu;
use interlingua_backend::optim::AdamWConfig;
use interlingua_training::recipe::GeometrySpec;
use interlingua_training::{TrainConfig, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let geometry = GeometrySpec {
        hidden_size: 32,
        intermediate_size: 64,
        layers: 2,
        heads: 2,
        kv_heads: 2,
        max_positions: 32,
        ..GeometrySpec::default()
    };
    // Token ids behind a start token: each is the one before it plus three, round and round.
    let sentence = |start: u32| {
        [2].into_iter()
            .chain((0..8).map(move |i| 4 + (start + 3 * i) % 20))
    };
    let corpus: Vec<Vec<u32>> = (0..20).map(|start| sentence(start).collect()).collect();
    let steps = 200;
    let train = TrainConfig {
        batch: 8,
        seed: 1,
        optimiser: AdamWConfig {
            learning_rate: 1e-2,
            warmup: 10,
            steps,
            ..AdamWConfig::default()
        },
    };
    let mut trainer = Trainer::new(geometry.config(24), train, &cpu());
    for step in 1..=steps / 2 {
        let loss = trainer.step(&corpus)?;
        if step == 1 {
            println!(
                "step   1: loss {loss:.3} nats per token; a uniform model has {:.3}",
                24f64.ln()
            );
        }
    }
    trainer.save_checkpoint(&checkpoint)?;
    // Another process would do the same.
    let mut again = Trainer::new(geometry.config(24), train, &cpu());
    again.resume(&checkpoint)?;
    let mut losses = (0.0, 0.0);
    for _ in steps / 2..steps {
        losses = (trainer.step(&corpus)?, again.step(&corpus)?);
    }
    println!(
        "step {steps}: loss {:.3} straight, {:.3} after a break",
        losses.0, losses.1
    );
    Ok(())
}
