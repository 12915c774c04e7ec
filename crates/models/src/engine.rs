//! The layer-major engine: blocks outside, sentences inside.
//!
//! All sentences are known before the first matrix product, so block `l` is
//! loaded once, every pack of sentences goes through it, and it is dropped.
//! Edits fork the states at their hook point: a branch is computed apart only
//! from the first place where it differs from the unedited model.

use interlingua_backend::ops::{self, index};
use interlingua_backend::{Tensor, to_host};

use crate::ModelError;
use crate::hooks::HookPoint;
use crate::model::Model;
use crate::pack::{Member, Pack, Sequence, pack};

/// Something that maps states to states, row by row.
pub trait StateEdit: Sync {
    /// # Shapes
    /// `h`: `[rows, hidden]`, result the same.
    fn apply(&self, h: Tensor<2>) -> Tensor<2>;
}

/// One way to run the model: with these edits at these hook points.
#[derive(Clone, Default)]
pub struct Branch<'a> {
    /// The edits; none for the unedited model.
    pub edits: Vec<(HookPoint, &'a dyn StateEdit)>,
}

impl<'a> Branch<'a> {
    /// The unedited model.
    pub fn unedited() -> Self {
        Branch::default()
    }

    /// One edit at one hook point.
    pub fn edited(hook: HookPoint, edit: &'a dyn StateEdit) -> Self {
        Branch {
            edits: vec![(hook, edit)],
        }
    }

    fn apply(&self, at: HookPoint, mut h: Tensor<2>) -> Tensor<2> {
        for (hook, edit) in &self.edits {
            if *hook == at {
                h = edit.apply(h);
            }
        }
        h
    }

    /// Whether an edit lies at or before the end of block `layer` (embedding included).
    fn forks_by(&self, layer: usize) -> bool {
        self.edits.iter().any(|(hook, _)| match hook.block() {
            Some(block) => block <= layer,
            None => *hook == HookPoint::Embedding,
        })
    }
}

/// What is kept of the states of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Mean over the tokens that are not context: one row.
    Mean,
    /// One row per token that is not context.
    Tokens,
}

/// A request for states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// Where.
    pub hook: HookPoint,
    /// What.
    pub pooling: Pooling,
}

/// Log-probabilities, in nats: `[sequence][scored token]`.
pub type LogProbs = Vec<Vec<f32>>;

/// Log-probabilities, in nats, of every scored token of every sequence, for each branch.
///
/// Result: `[branch][sequence][scored token]`. `progress` is called with blocks
/// done and blocks in all.
///
/// # Errors
/// Unreadable weights, a sequence the model cannot take, results that are not finite.
pub fn token_log_probs(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<LogProbs>, ModelError> {
    check(model, sequences)?;
    let packs = pack(sequences, pack_rows(model));
    let layers = model.config.layers;
    let finals = forward(
        model,
        &packs,
        branches,
        &mut |_, _, _| Ok(()),
        &mut |done| progress(done, layers + 1),
    )?;
    let head = model.head()?;
    let mut out = vec![vec![Vec::new(); sequences.len()]; branches.len()];
    for (at, (pack, states)) in packs.iter().zip(finals).enumerate() {
        let rows = index(
            pack.predictions.iter().map(|p| p.0 as i32).collect(),
            &model.device,
        );
        let targets: Vec<u32> = pack.predictions.iter().map(|p| p.1).collect();
        if targets.is_empty() {
            continue;
        }
        // Branches that never forked share one normalised state.
        let base = states.base.map(|h| {
            ops::layer_norm(
                h.select(0, rows.clone()),
                model.final_norm(),
                None,
                model.config.norm_eps,
            )
        });
        for (b, (branch, forked)) in branches.iter().zip(states.forked).enumerate() {
            let h = match forked {
                Some(h) => ops::layer_norm(
                    h.select(0, rows.clone()),
                    model.final_norm(),
                    None,
                    model.config.norm_eps,
                ),
                None => base.clone().expect("kept for branches that did not fork"),
            };
            let h = branch.apply(HookPoint::FinalNorm, h);
            let how = ops::Logits {
                scale: model.config.logit_scale,
                softcap: None,
            };
            let mut log_probs = ops::LogProbs::new(targets.clone());
            log_probs.add(&h, head, None, 0, how);
            let log_probs = log_probs.finish();
            for member in &pack.members {
                out[b][member.sequence] = member
                    .scored
                    .iter()
                    .map(|&p| log_probs[p as usize])
                    .collect();
            }
        }
        progress(layers * packs.len() + at + 1, (layers + 1) * packs.len());
    }
    for scores in &out {
        if let Some(index) = scores.iter().position(|s| s.iter().any(|x| !x.is_finite())) {
            return Err(ModelError::NotFiniteOutput { index });
        }
    }
    Ok(out)
}

/// Receives the index of a capture, the index of a sequence, and its rows.
pub type Sink<'a> = &'a mut dyn FnMut(usize, usize, &[f32]) -> Result<(), ModelError>;

/// Runs the unedited model and hands over the states asked for.
///
/// `sink` receives the index of the capture, the index of the sequence, and its
/// rows, row-major: one for [`Pooling::Mean`], one per non-context token for
/// [`Pooling::Tokens`]. Sequences come in no particular order.
///
/// # Errors
/// As [`token_log_probs`], and whatever the sink returns.
pub fn capture(
    model: &Model,
    sequences: &[Sequence],
    captures: &[Capture],
    sink: Sink<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), ModelError> {
    check(model, sequences)?;
    if let Some(index) = sequences.iter().position(|s| s.tokens.len() <= s.context) {
        return Err(ModelError::Sequence {
            index,
            problem: "has no tokens beside its context, so there is no state to capture".into(),
        });
    }
    let packs = pack(sequences, pack_rows(model));
    let layers = model.config.layers;
    let width = model.config.hidden_size;
    let mut deliver = |at: HookPoint, pack: &Pack, h: &Tensor<2>| -> Result<(), ModelError> {
        if captures.iter().all(|c| c.hook != at) {
            return Ok(());
        }
        let host = to_host(h.clone());
        let mut rows = Vec::new();
        for (c, request) in captures.iter().enumerate().filter(|(_, c)| c.hook == at) {
            for member in &pack.members {
                gather(
                    &host,
                    width,
                    member,
                    sequences[member.sequence].context,
                    request.pooling,
                    &mut rows,
                );
                sink(c, member.sequence, &rows)?;
            }
        }
        Ok(())
    };
    let finals = forward(
        model,
        &packs,
        &[Branch::unedited()],
        &mut deliver,
        &mut |done| progress(done, layers + 1),
    )?;
    if captures.iter().any(|c| c.hook == HookPoint::FinalNorm) {
        for (pack, states) in packs.iter().zip(finals) {
            let h = states.base.expect("the unedited branch never forks");
            let h = ops::layer_norm(h, model.final_norm(), None, model.config.norm_eps);
            deliver(HookPoint::FinalNorm, pack, &h)?;
        }
    }
    progress(layers + 1, layers + 1);
    Ok(())
}

fn gather(
    host: &[f32],
    width: usize,
    member: &Member,
    context: usize,
    pooling: Pooling,
    out: &mut Vec<f32>,
) {
    out.clear();
    let rows = &member.rows[context..];
    match pooling {
        Pooling::Tokens => {
            for &row in rows {
                out.extend_from_slice(&host[row as usize * width..][..width]);
            }
        }
        Pooling::Mean => {
            let mut sum = vec![0.0f64; width];
            for &row in rows {
                for (s, &x) in sum.iter_mut().zip(&host[row as usize * width..][..width]) {
                    *s += f64::from(x);
                }
            }
            out.extend(sum.iter().map(|s| (s / rows.len() as f64) as f32));
        }
    }
}

/// States after the last block: the shared ones, and one per branch that forked.
struct Final {
    base: Option<Tensor<2>>,
    forked: Vec<Option<Tensor<2>>>,
}

/// Called with a hook point, a pack and its unedited states.
type Deliver<'a> = &'a mut dyn FnMut(HookPoint, &Pack, &Tensor<2>) -> Result<(), ModelError>;

fn forward(
    model: &Model,
    packs: &[Pack],
    branches: &[Branch<'_>],
    deliver: Deliver<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Final>, ModelError> {
    let config = &model.config;
    let embedding = model.embedding()?;
    let mut states = Vec::with_capacity(packs.len());
    for pack in packs {
        let ids = index(
            pack.tokens.iter().map(|&t| t as i32).collect(),
            &model.device,
        );
        let base = embedding.clone().select(0, ids);
        deliver(HookPoint::Embedding, pack, &base)?;
        let forked = branches
            .iter()
            .map(|b| {
                let here = b
                    .edits
                    .iter()
                    .any(|(hook, _)| *hook == HookPoint::Embedding);
                here.then(|| b.apply(HookPoint::Embedding, base.clone()))
            })
            .collect();
        states.push(Final {
            base: Some(base),
            forked,
        });
    }
    for layer in 0..config.layers {
        let block = model.block(layer)?;
        // The unedited states are computed as long as anybody still reads them.
        let base_needed = branches.iter().any(|b| !b.forks_by(config.layers - 1))
            || branches.iter().any(|b| !b.forks_by(layer));
        for (pack, state) in packs.iter().zip(&mut states) {
            let base = state.base.take();
            for (branch, forked) in branches.iter().zip(&mut state.forked) {
                if !branch.forks_by(layer) {
                    continue;
                }
                let h = forked
                    .take()
                    .unwrap_or_else(|| base.clone().expect("kept until the last branch forked"));
                let h = branch.apply(HookPoint::BlockInput(layer), h);
                let h = block.forward(
                    config,
                    layer,
                    h,
                    &pack.tree,
                    model.rotary(),
                    &mut |hook, h| branch.apply(hook, h),
                );
                *forked = Some(branch.apply(HookPoint::BlockOutput(layer), h));
            }
            if base_needed {
                let base = base.expect("kept while needed");
                deliver(HookPoint::BlockInput(layer), pack, &base)?;
                let mut failure = None;
                let h = block.forward(
                    config,
                    layer,
                    base,
                    &pack.tree,
                    model.rotary(),
                    &mut |hook, h| {
                        if let Err(e) = deliver(hook, pack, &h) {
                            failure.get_or_insert(e);
                        }
                        h
                    },
                );
                if let Some(e) = failure {
                    return Err(e);
                }
                deliver(HookPoint::BlockOutput(layer), pack, &h)?;
                state.base = Some(h);
            }
        }
        progress(layer + 1);
    }
    Ok(states)
}

/// Rows per pack: enough for efficient products, little enough that the widest
/// intermediate stays near 32 MiB.
fn pack_rows(model: &Model) -> usize {
    ((8 << 20) / model.config.intermediate_size.max(model.config.hidden_size)).clamp(256, 4096)
}

fn check(model: &Model, sequences: &[Sequence]) -> Result<(), ModelError> {
    let bad = |index: usize, problem: String| Err(ModelError::Sequence { index, problem });
    for (index, sequence) in sequences.iter().enumerate() {
        if sequence.tokens.is_empty() {
            return bad(index, "is empty".into());
        }
        if sequence.tokens.len() > model.max_tokens() {
            return bad(
                index,
                format!(
                    "has {} tokens, the model takes {}",
                    sequence.tokens.len(),
                    model.max_tokens()
                ),
            );
        }
        if let Some(&id) = sequence
            .tokens
            .iter()
            .find(|&&t| t as usize >= model.config.vocab_size)
        {
            return bad(
                index,
                format!(
                    "has token id {id}, the embedding has {} rows",
                    model.config.vocab_size
                ),
            );
        }
    }
    Ok(())
}
