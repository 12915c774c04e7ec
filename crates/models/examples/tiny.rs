//! Makes a tiny random Cohere checkpoint, scores a sentence with it, and captures states at its hook points.
//!
//! `cargo run --example tiny`

use interlingua_backend::device::cpu;
use interlingua_models::engine::{capture, token_log_probs};
use interlingua_models::made::random_checkpoint;
use interlingua_models::{Branch, Capture, Model, Pooling, Residency};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let text = ["the nurse reads", "the doctor reads", "she reads a book"];
    // Random weights: `interlingua_training::Trainer` would train them.
    random_checkpoint(folder.path(), text.into_iter(), 7)?;

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
        -(tokens.len() as f32) * (geometry.vocab_size as f32).ln()
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
