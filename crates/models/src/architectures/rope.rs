//! Reads the rotary settings of architectures that rotate whole heads in the same way in every block.

use interlingua_backend::ops::RotaryScaling;

use crate::ModelError;
use crate::config::Reader;

/// Reads the base and the scaling of the rotary angles.
///
/// # Errors
/// Heads of odd width, different angles for different kinds of blocks, heads that are rotated only in part, and
/// whatever [`Reader::rope`] refuses.
pub(super) fn read(
    r: &Reader<'_>,
    head_dim: usize,
    default_theta: Option<f64>,
) -> Result<(f32, RotaryScaling), ModelError> {
    if !head_dim.is_multiple_of(2) {
        return Err(r.bad(
            "head_dim",
            format!("{head_dim} is odd; rotary embedding needs pairs"),
        ));
    }
    let inner = |object: &str, key: &str| r.value(object).and_then(|rope| rope.get(key));
    for object in ["rope_parameters", "rope_scaling"] {
        for kind in ["full_attention", "sliding_attention"] {
            if inner(object, kind).is_some() {
                return Err(r.bad(
                    &format!("{object}.{kind}"),
                    "this architecture has the same rotary settings in every block".into(),
                ));
            }
        }
    }
    let (theta, scaling) = r.rope(default_theta)?;
    if let RotaryScaling::Llama3 {
        low_freq_factor,
        high_freq_factor,
        original_positions,
        ..
    } = scaling
    {
        if low_freq_factor >= high_freq_factor {
            return Err(r.bad(
                "rope_parameters.high_freq_factor",
                format!("{high_freq_factor} is not above low_freq_factor {low_freq_factor}"),
            ));
        }
        // transformers lets the outer key win.
        let key = "original_max_position_embeddings";
        if r.size(key, Some(original_positions))? != original_positions {
            return Err(r.bad(
                key,
                format!("differs from rope_parameters.{key}, {original_positions}; remove one"),
            ));
        }
    }
    Ok((theta, scaling))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn of(json: &Value, head_dim: usize) -> Result<(f32, RotaryScaling), ModelError> {
        read(
            &Reader::new(Path::new("config.json"), json),
            head_dim,
            Some(1e4),
        )
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_its_key() {
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        let mut narrow = llama3.clone();
        narrow["high_freq_factor"] = json!(1.0);
        for (json, head_dim, key) in [
            (json!({}), 7, "head_dim"),
            (
                json!({"partial_rotary_factor": 0.5}),
                8,
                "partial_rotary_factor",
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}}),
                8,
                "rope_scaling.partial_rotary_factor",
            ),
            (
                json!({"rope_parameters": {"full_attention": {"rope_theta": 5.0}}}),
                8,
                "rope_parameters.full_attention",
            ),
            (
                json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}),
                8,
                "rope_scaling.rope_type",
            ),
            (
                json!({"rope_parameters": narrow}),
                8,
                "rope_parameters.high_freq_factor",
            ),
            (
                json!({"rope_parameters": llama3, "original_max_position_embeddings": 32}),
                8,
                "original_max_position_embeddings",
            ),
        ] {
            match of(&json, head_dim) {
                Err(ModelError::Config { key: found, .. }) => assert_eq!(found, key),
                other => panic!("{json}: {other:?}"),
            }
        }
        assert_eq!(
            of(&json!({"partial_rotary_factor": 1.0}), 8).unwrap(),
            (1e4, RotaryScaling::None)
        );
    }
}
