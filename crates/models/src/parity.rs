//! Compares a checkpoint with values that transformers computed.
//!
//! The golden file is safetensors. For sequence `i` it holds the token ids `{i}.ids` (i64), the states `{i}.{hook}`
//! at its hooks (f32, `[tokens, width]`) and, for a model with an LM head, `{i}.logits` (f32, `[tokens,
//! vocabulary]`). Its metadata says in which dtype they were computed and from which modules they were taken.
//! `tests/generators/architectures.py` writes such files.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;

use crate::Branch;
use crate::engine::{self, Capture, Pooling};
use crate::{Model, ModelError, Sequence};

/// The largest relative difference that is accepted if transformers computed in f32.
pub const TOLERANCE_F32: f32 = 1e-4;

/// The largest relative difference that is accepted if transformers computed in bf16; this program computes in f32
/// from the same weights.
pub const TOLERANCE_BF16: f32 = 2e-2;

/// The differences between a checkpoint's values and the golden ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// The largest difference at each kind of hook (`block.{L}.mlp`) and of the logits, relative to the largest value
    /// of the tensor.
    pub worst: BTreeMap<String, f32>,
    /// The number of tokens whose most likely next token is different, and the number of all tokens.
    pub argmax: (usize, usize),
    /// The dtype in which transformers computed: `f32` or `bf16`.
    pub dtype: String,
    /// For `bf16`, the differences between transformers' own states and those that it computes in f32 from the same
    /// weights.
    pub rounding: BTreeMap<String, f32>,
    /// The module of transformers for each kind of hook.
    pub modules: BTreeMap<String, String>,
}

impl Agreement {
    /// Returns whether all differences are within the tolerance of the dtype.
    ///
    /// In f32, no most likely token may differ. In bf16, a difference beyond the tolerance must be due to
    /// transformers' own rounding, because this program computes in f32 from the same weights.
    pub fn holds(&self) -> bool {
        if self.dtype == "f32" {
            return self.largest() <= TOLERANCE_F32 && self.argmax.0 == 0;
        }
        self.worst.iter().all(|(hook, &worst)| {
            let rounding = self.rounding.get(hook).copied().unwrap_or(0.0);
            worst <= TOLERANCE_BF16.max(rounding + TOLERANCE_F32)
        })
    }

    /// Returns the largest of all differences.
    pub fn largest(&self) -> f32 {
        self.worst.values().copied().fold(0.0, f32::max)
    }
}

/// Runs the model on the golden file's sequences and compares everything that the file holds.
///
/// # Errors
/// A file that is not a golden file, and whatever running the model returns.
pub fn compare(model: &Model, golden: &Path) -> Result<Agreement, ModelError> {
    let bad = |problem: String| ModelError::BadWeights {
        path: golden.to_owned(),
        problem: format!("not a golden file: {problem}"),
    };
    let bytes = std::fs::read(golden).map_err(ModelError::io(golden))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let tensor = |name: &str| {
        tensors
            .tensor(name)
            .map_err(|e| bad(format!("`{name}`: {e}")))
    };
    let floats = |name: &str| -> Result<Vec<f32>, ModelError> {
        let view = tensor(name)?;
        let (chunks, _) = view.data().as_chunks::<4>();
        Ok(chunks.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    let mut sequences = Vec::new();
    while let Ok(ids) = tensors.tensor(&format!("{}.ids", sequences.len())) {
        let (chunks, _) = ids.data().as_chunks::<8>();
        let tokens = chunks.iter().map(|b| i64::from_le_bytes(*b) as u32);
        sequences.push(Sequence::new(tokens.collect(), 0));
    }
    if sequences.is_empty() {
        return Err(bad("has no `0.ids`".into()));
    }
    let parsed = |key: &str| metadata.get(key).map(String::as_str).unwrap_or("{}");
    let mut agreement = Agreement {
        worst: BTreeMap::new(),
        argmax: (0, 0),
        dtype: metadata.get("dtype").cloned().unwrap_or_default(),
        rounding: serde_json::from_str(parsed("rounding")).map_err(|e| bad(e.to_string()))?,
        modules: serde_json::from_str(parsed("modules")).map_err(|e| bad(e.to_string()))?,
    };
    if !["f32", "bf16"].contains(&agreement.dtype.as_str()) {
        return Err(bad(format!(
            "its metadata say dtype `{}`, not f32 or bf16",
            agreement.dtype
        )));
    }
    let hooks = model.geometry.hooks();
    let found = every_state(model, &sequences)?;
    for (hook, found) in hooks.iter().zip(&found) {
        let kind = match hook.block() {
            Some(layer) => hook.to_string().replace(&layer.to_string(), "{L}"),
            None => hook.to_string(),
        };
        // A file may leave out kinds of hooks; who wants all of them looks at what was compared.
        if tensors.tensor(&format!("0.{hook}")).is_err() {
            continue;
        }
        let worst = agreement.worst.entry(kind).or_default();
        for (s, found) in found.iter().enumerate() {
            let expected = floats(&format!("{s}.{hook}"))?;
            *worst = worst.max(difference(found, &expected));
        }
    }
    if model.architecture().head_table().is_some() {
        let vocabulary = model.geometry.vocab_size;
        let worst = agreement.worst.entry("logits".into()).or_default();
        let mut found: Vec<Vec<f32>> = sequences
            .iter()
            .map(|s| vec![0.0; s.tokens.len() * vocabulary])
            .collect();
        engine::logits(
            model,
            &sequences,
            &Branch::unedited(),
            &mut |s, first, part| {
                let tokens = sequences[s].tokens.len();
                let cols = part.len() / tokens;
                for (row, part) in found[s]
                    .chunks_exact_mut(vocabulary)
                    .zip(part.chunks_exact(cols))
                {
                    row[first..first + cols].copy_from_slice(part);
                }
                Ok(())
            },
        )?;
        for (s, found) in found.iter().enumerate() {
            let expected = floats(&format!("{s}.logits"))?;
            *worst = worst.max(difference(found, &expected));
            for (a, b) in found
                .chunks_exact(vocabulary)
                .zip(expected.chunks_exact(vocabulary))
            {
                agreement.argmax.0 += usize::from(largest(a) != largest(b));
                agreement.argmax.1 += 1;
            }
        }
    }
    Ok(agreement)
}

/// Computes the states of every token at every hook, indexed `[hook][sequence]`, each `[tokens × hidden]`.
///
/// The hooks are in the order of [`crate::config::Geometry::hooks`].
///
/// # Errors
/// The errors of [`engine::capture`].
pub fn every_state(
    model: &Model,
    sequences: &[Sequence],
) -> Result<Vec<Vec<Vec<f32>>>, ModelError> {
    let captures: Vec<Capture> = model
        .geometry
        .hooks()
        .into_iter()
        .map(|hook| Capture {
            hook,
            pooling: Pooling::All,
        })
        .collect();
    let mut states = vec![vec![Vec::new(); sequences.len()]; captures.len()];
    engine::capture(
        model,
        sequences,
        &captures,
        &mut |c, s, rows| {
            states[c][s] = rows.to_vec();
            Ok(())
        },
        &mut |_, _| {},
    )?;
    Ok(states)
}

/// Largest difference relative to the scale of what is expected; infinite for other sizes or NaN.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() {
        return f32::INFINITY;
    }
    let scale = expected.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs() / scale)
        .fold(0.0, |worst, d| {
            if d.is_nan() {
                f32::INFINITY
            } else {
                worst.max(d)
            }
        })
}

fn largest(row: &[f32]) -> usize {
    (0..row.len())
        .max_by(|&a, &b| row[a].total_cmp(&row[b]))
        .unwrap_or(0)
}
