//! Reads rotary scaling: the settings under `rope.scaling`, and that of Llama 3, which GGUF stores as a tensor of
//! factors.

use serde_json::{Value, json};

use super::facts::Facts;
use crate::ModelError;
use crate::config::decimal;

/// Long waves, short waves and the sequence length of every Llama 3.1, 3.2 and 3.3.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
const ORIGINAL: f64 = 8192.0;

/// Most that a factor may differ from the formula's, which the converter computed in f32.
const TOLERANCE: f64 = 1e-5;

/// Returns the JSON of `rope_scaling`; null if there is no scaling.
pub(super) fn scaling(facts: &Facts<'_>) -> Result<Value, ModelError> {
    let kind = facts.scaling_type()?.unwrap_or("none");
    if let Some(factors) = &facts.rope_freqs {
        return llama3(facts, factors);
    }
    let factor = facts.scaling_factor()?.filter(|&f| f != 1.0);
    Ok(match (kind, factor) {
        ("none", None) => Value::Null,
        // Files of the first years have a factor alone.
        ("none" | "linear", Some(factor)) => json!({"rope_type": "linear", "factor": factor}),
        ("linear", None) => Value::Null,
        (other, _) => json!({"rope_type": other, "factor": factor}),
    })
}

/// The settings that make these factors, if they are those of Llama 3.
fn llama3(facts: &Facts<'_>, factors: &[f32]) -> Result<Value, ModelError> {
    let heads = facts.heads()?;
    let theta = facts.theta()?;
    let factor = factors.iter().copied().fold(1.0f32, f32::max);
    let expected = (0..heads.head_dim / 2).map(|i| {
        let frequency = theta.powf(-2.0 * i as f64 / heads.head_dim as f64);
        let wave = 2.0 * std::f64::consts::PI / frequency;
        let smooth = ((ORIGINAL / wave - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
        1.0 / ((1.0 - smooth) / f64::from(factor) + smooth)
    });
    let expected: Vec<f64> = expected.collect();
    let close =
        |(found, expected): (&f32, &f64)| (f64::from(*found) / expected - 1.0).abs() < TOLERANCE;
    if expected.len() != factors.len() || !factors.iter().zip(&expected).all(close) {
        return Err(ModelError::BadWeights {
            path: facts.settings.path().to_owned(),
            problem: "tensor `rope_freqs.weight` holds other factors than those of Llama 3.1 to 3.3, which alone are implemented".into(),
        });
    }
    Ok(json!({
        "rope_type": "llama3",
        "factor": decimal(factor),
        "low_freq_factor": LOW,
        "high_freq_factor": HIGH,
        "original_max_position_embeddings": ORIGINAL as u64,
    }))
}
