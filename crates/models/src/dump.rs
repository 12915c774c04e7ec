//! Writes the tokens, states and log-probabilities of some texts to one safetensors file.
//!
//! All texts follow one another; text `i` has the rows `offsets[i]..offsets[i + 1]`.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `offsets` | i64 `[texts + 1]` | |
//! | `token_ids` | i64 `[tokens]` | special tokens included |
//! | `states.HOOK` | f32 `[tokens, width]` | one for each hook point asked for; the command `hooks` has the widths |
//! | `log_probs` | f32 `[tokens]` | nats; of every token from those before it, in a masked model from all others; NaN where none is asked for (special tokens) |
//! | `logits` | f32 `[tokens, vocabulary]` | on request |

use std::collections::BTreeMap;
use std::path::Path;

use crate::engine::{self, Branch, Capture, Pooling};
use crate::file::{Kind, TensorFile};
use crate::masked::{MaskRequest, mask_token, masked_log_probs};
use crate::{Model, ModelError};
use interlingua_edits::Hook;

/// The values that are written in addition to the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The hooks whose states are written.
    pub hooks: Vec<Hook>,
    /// Whether the log-probabilities of tokens are written.
    pub log_probs: bool,
    /// Whether all logits are written, which are tokens × vocabulary values.
    pub logits: bool,
}

/// The amount that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The number of texts.
    pub texts: usize,
    /// The number of their tokens, including special ones.
    pub tokens: usize,
}

/// Runs a branch of the model on texts and writes the requested values to `out`.
///
/// `progress` is called with the amount of work that is done and the total amount.
///
/// # Errors
/// A text that the model cannot take, weights that cannot be read, a full disk, or a request for probabilities from a
/// model without an LM head.
pub fn write(
    model: &Model,
    texts: &[String],
    request: &Request,
    branch: &Branch<'_>,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Written, ModelError> {
    let branches = std::slice::from_ref(branch);
    let sequences = texts
        .iter()
        .map(|text| model.sequence(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut offsets = vec![0u64];
    for sequence in &sequences {
        offsets.push(offsets[offsets.len() - 1] + sequence.tokens.len() as u64);
    }
    let tokens = offsets[sequences.len()] as usize;
    let shape = model.geometry.shape();
    let widths = request.hooks.iter().map(|&hook| shape.width(hook));
    let widths: Vec<usize> = widths.collect::<Result<_, _>>().map_err(ModelError::Hook)?;
    let vocabulary = model.geometry.vocab_size;
    let mut tensors = vec![
        ("offsets".to_owned(), Kind::I64, vec![offsets.len()]),
        ("token_ids".to_owned(), Kind::I64, vec![tokens]),
    ];
    let first_state = tensors.len();
    for (hook, &width) in request.hooks.iter().zip(&widths) {
        tensors.push((format!("states.{hook}"), Kind::F32, vec![tokens, width]));
    }
    let log_probs = tensors.len();
    if request.log_probs {
        tensors.push(("log_probs".to_owned(), Kind::F32, vec![tokens]));
    }
    let logits = tensors.len();
    if request.logits {
        tensors.push(("logits".to_owned(), Kind::F32, vec![tokens, vocabulary]));
    }
    let mut metadata = BTreeMap::from([
        (
            "architecture".to_owned(),
            model.geometry.architecture.clone(),
        ),
        ("model".to_owned(), model.digest()?.to_hex().to_string()),
        (
            "interlingua".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ]);
    if let Some(kind) = model.quantised() {
        metadata.insert("dequantised_from".to_owned(), kind.to_owned());
    }
    // What cannot be had is told before the model runs.
    if request.log_probs && !model.geometry.causal {
        mask_token(model)?;
    }
    if request.logits || request.log_probs {
        model.head()?;
    }
    let file = TensorFile::create(out, &tensors, &metadata)?;
    let integers: Vec<i64> = offsets.iter().map(|&o| o as i64).collect();
    file.write_integers(0, 0, &integers)?;
    for (sequence, &at) in sequences.iter().zip(&offsets) {
        let ids: Vec<i64> = sequence.tokens.iter().map(|&t| i64::from(t)).collect();
        file.write_integers(1, at, &ids)?;
    }
    if !request.hooks.is_empty() {
        let captures: Vec<Capture> = request
            .hooks
            .iter()
            .map(|&hook| Capture {
                hook,
                pooling: Pooling::All,
            })
            .collect();
        engine::capture_branches(
            model,
            &sequences,
            branches,
            &captures,
            &mut |_, c, s, rows| file.write(first_state + c, offsets[s] * widths[c] as u64, rows),
            progress,
        )?;
    }
    if request.log_probs {
        let scores = if model.geometry.causal {
            engine::token_log_probs(model, &sequences, branches, progress)?
        } else {
            let requests: Vec<_> = sequences.iter().cloned().map(MaskRequest::text).collect();
            masked_log_probs(model, &requests, branches, progress)?
        };
        for ((sequence, &at), scores) in sequences.iter().zip(&offsets).zip(&scores[0]) {
            let mut row = vec![f32::NAN; sequence.tokens.len()];
            // The first token of a causal model has no probability if nothing stands before it.
            let text = sequence.text();
            row[text.end - scores.len()..text.end].copy_from_slice(scores);
            file.write(log_probs, at, &row)?;
        }
    }
    if request.logits {
        engine::logits(model, &sequences, branch, &mut |s, first, part| {
            let cols = part.len() / sequences[s].tokens.len();
            for (row, part) in part.chunks_exact(cols).enumerate() {
                let row = offsets[s] + row as u64;
                file.write(logits, row * vocabulary as u64 + first as u64, part)?;
            }
            Ok(())
        })?;
    }
    file.finish()?;
    Ok(Written {
        texts: texts.len(),
        tokens,
    })
}
