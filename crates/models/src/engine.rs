//! The layer-major engine: blocks outside, sentences inside.
//!
//! All sentences are known before the first matrix product, so block `l` is
//! loaded once, every pack of sentences goes through it, and it is dropped.
//! Edits fork the states at their hook point: a branch is computed apart only
//! from the first place where it differs from the unedited model.

use interlingua_backend::ops::{self, index};
use interlingua_backend::{Tensor, from_rows, to_host};

use crate::ModelError;
use crate::hooks::HookPoint;
use crate::model::Model;
use crate::pack::{Pack, Query, Sequence, Sharing, pack};
use crate::spill::States;

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
    /// One row per token, context too.
    All,
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
/// A causal model is asked for every token from those before it. Result:
/// `[branch][sequence][scored token]`. `progress` is called with units of work
/// done and in all.
///
/// # Errors
/// Unreadable weights, a sequence the model cannot take, results that are not
/// finite, a model that is not causal.
pub fn token_log_probs(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<LogProbs>, ModelError> {
    // A model without any head is told so before one with another.
    model.head()?;
    if !model.geometry.causal {
        return Err(ModelError::WrongHead {
            folder: model.folder.clone(),
            architecture: model.geometry.architecture.clone(),
            kind: "masked",
            wanted: "causal",
        });
    }
    let queries: Vec<Query> = sequences.iter().map(Query::next_tokens).collect();
    query_log_probs(model, &queries, branches, progress)
}

/// Log-probabilities, in nats, of every prediction of every query, for each branch.
///
/// Result: `[branch][query][prediction]`.
///
/// # Errors
/// As [`token_log_probs`], for models of either kind.
pub fn query_log_probs(
    model: &Model,
    queries: &[Query],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<LogProbs>, ModelError> {
    check(model, queries)?;
    let (head, table) = model.head()?;
    let packs = pack(queries, pack_rows(model), sharing(model));
    let units = model.geometry.layers + 1;
    let mut finals = forward(
        model,
        &packs,
        branches,
        &mut |_, _, _| Ok(()),
        &mut |done| progress(done, units),
    )?;
    // From here on only the states that predict something are of use.
    for (at, pack) in packs.iter().enumerate() {
        let rows = pack.predictions.iter().map(|p| p.0 as i32).collect();
        let rows = index(rows, &model.device);
        for branch in std::iter::once(None).chain((0..branches.len()).map(Some)) {
            let slot = finals.slot(at, branch);
            if let Some(h) = finals.states.take(slot)?
                && !pack.predictions.is_empty()
            {
                let h = model.normalise(h.select(0, rows.clone()))?;
                finals.states.put(slot, h)?;
            }
        }
    }
    let mut scores: Vec<Vec<ops::LogProbs>> = packs
        .iter()
        .map(|pack| {
            let targets: Vec<u32> = pack.predictions.iter().map(|p| p.1).collect();
            branches
                .iter()
                .map(|_| ops::LogProbs::new(targets.clone()))
                .collect()
        })
        .collect();
    let vocabulary = model.geometry.vocab_size;
    table.slices(model.weights(), &model.device, &mut |first, slice| {
        let [rows, _] = slice.dims();
        let bias = head.bias.as_ref().map(|b| &b[first..first + rows]);
        for (at, scores) in scores.iter_mut().enumerate() {
            // Branches that never forked share one normalised state.
            let base = finals.states.get(finals.slot(at, None))?;
            for (b, (branch, scores)) in branches.iter().zip(scores).enumerate() {
                let forked = finals.states.get(finals.slot(at, Some(b)))?;
                let Some(h) = forked.or_else(|| base.clone()) else {
                    continue;
                };
                let h = head.transform(branch.apply(HookPoint::FinalNorm, h));
                scores.add(&h, slice, bias, first, head.logits);
            }
            progress(
                (units - 1) * packs.len() + (at + 1) * (first + rows) / vocabulary,
                units * packs.len(),
            );
        }
        Ok(())
    })?;
    let mut out = vec![vec![Vec::new(); queries.len()]; branches.len()];
    for (pack, scores) in packs.iter().zip(scores) {
        for (b, scores) in scores.into_iter().enumerate() {
            let log_probs = scores.finish();
            for member in &pack.members {
                out[b][member.sequence] = member
                    .scored
                    .iter()
                    .map(|&p| log_probs[p as usize])
                    .collect();
            }
        }
    }
    for scores in &out {
        if let Some(index) = scores.iter().position(|s| s.iter().any(|x| !x.is_finite())) {
            return Err(ModelError::NotFiniteOutput { index });
        }
    }
    Ok(out)
}

/// Receives the index of a sequence, the first vocabulary entry, and logits `[tokens × entries]`.
pub type LogitSink<'a> = &'a mut dyn FnMut(usize, usize, &[f32]) -> Result<(), ModelError>;

/// Logits of every token, from the unedited model, in slices of the vocabulary.
///
/// The final states are held in memory, the logits are not.
///
/// # Errors
/// As [`query_log_probs`], and whatever the sink returns.
pub fn logits(
    model: &Model,
    sequences: &[Sequence],
    sink: LogitSink<'_>,
) -> Result<(), ModelError> {
    let (head, table) = model.head()?;
    let mut states = vec![Vec::new(); sequences.len()];
    let everything = [Capture {
        hook: HookPoint::FinalNorm,
        pooling: Pooling::All,
    }];
    capture(
        model,
        sequences,
        &everything,
        &mut |_, sequence, rows| {
            states[sequence] = rows.to_vec();
            Ok(())
        },
        &mut |_, _| {},
    )?;
    table.slices(model.weights(), &model.device, &mut |first, slice| {
        let [cols, width] = slice.dims();
        let bias = head.bias.as_ref().map(|b| &b[first..first + cols]);
        for (sequence, states) in states.iter().enumerate() {
            let h = from_rows(states.clone(), states.len() / width, width, &model.device);
            let part = ops::logits(head.transform(h), slice, bias, head.logits);
            sink(sequence, first, &to_host(part))?;
        }
        Ok(())
    })
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
    let queries: Vec<Query> = sequences.iter().map(|s| Query::states(&s.tokens)).collect();
    check(model, &queries)?;
    if captures.iter().any(|c| c.pooling != Pooling::All)
        && let Some(index) = sequences.iter().position(|s| s.text().is_empty())
    {
        return Err(ModelError::Sequence {
            index,
            problem: "has no tokens beside its context, so there is no state to capture".into(),
        });
    }
    let packs = pack(&queries, pack_rows(model), sharing(model));
    let layers = model.geometry.layers;
    let width = model.geometry.hidden_size;
    let mut deliver = |at: HookPoint, pack: &Pack, h: &Tensor<2>| -> Result<(), ModelError> {
        if captures.iter().all(|c| c.hook != at) {
            return Ok(());
        }
        let host = to_host(h.clone());
        let mut rows = Vec::new();
        for (c, request) in captures.iter().enumerate().filter(|(_, c)| c.hook == at) {
            for member in &pack.members {
                let kept = match request.pooling {
                    Pooling::All => 0..member.rows.len(),
                    Pooling::Mean | Pooling::Tokens => sequences[member.sequence].text(),
                };
                gather(&host, width, &member.rows[kept], request.pooling, &mut rows);
                if rows.iter().any(|x| !x.is_finite()) {
                    return Err(ModelError::NotFiniteOutput {
                        index: member.sequence,
                    });
                }
                sink(c, member.sequence, &rows)?;
            }
        }
        Ok(())
    };
    let mut finals = forward(
        model,
        &packs,
        &[Branch::unedited()],
        &mut deliver,
        &mut |done| progress(done, layers + 1),
    )?;
    if captures.iter().any(|c| c.hook == HookPoint::FinalNorm) {
        for (at, pack) in packs.iter().enumerate() {
            let h = finals.states.take(finals.slot(at, None))?;
            let h = h.expect("the unedited branch never forks");
            deliver(HookPoint::FinalNorm, pack, &model.normalise(h)?)?;
        }
    }
    progress(layers + 1, layers + 1);
    Ok(())
}

fn gather(host: &[f32], width: usize, rows: &[u32], pooling: Pooling, out: &mut Vec<f32>) {
    out.clear();
    match pooling {
        Pooling::Tokens | Pooling::All => {
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

/// The states of a pass: for every pack the shared ones, and one set per branch that forked.
struct Pass<'a> {
    states: States<'a>,
    branches: usize,
}

impl Pass<'_> {
    /// The slot of the shared states, or of a branch.
    fn slot(&self, pack: usize, branch: Option<usize>) -> usize {
        pack * (self.branches + 1) + branch.map_or(0, |b| b + 1)
    }
}

/// Called with a hook point, a pack and its unedited states.
type Deliver<'a> = &'a mut dyn FnMut(HookPoint, &Pack, &Tensor<2>) -> Result<(), ModelError>;

/// Runs all blocks; leaves the states after the last one.
fn forward<'m>(
    model: &'m Model,
    packs: &[Pack],
    branches: &[Branch<'_>],
    deliver: Deliver<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Pass<'m>, ModelError> {
    let layers = model.geometry.layers;
    let mut pass = Pass {
        states: States::new(
            packs.len() * (branches.len() + 1),
            &model.budget,
            &model.device,
        ),
        branches: branches.len(),
    };
    for (at, pack) in packs.iter().enumerate() {
        let base = model.embed(&pack.tokens, &pack.tree.positions)?;
        deliver(HookPoint::Embedding, pack, &base)?;
        for (b, branch) in branches.iter().enumerate() {
            if branch.edits.iter().any(|(h, _)| *h == HookPoint::Embedding) {
                let h = branch.apply(HookPoint::Embedding, base.clone());
                pass.states.put(pass.slot(at, Some(b)), h)?;
            }
        }
        pass.states.put(pass.slot(at, None), base)?;
    }
    for layer in 0..layers {
        let block = model.block(layer)?;
        // The unedited states are computed as long as anybody still reads them.
        let base_needed = branches.iter().any(|b| !b.forks_by(layers - 1))
            || branches.iter().any(|b| !b.forks_by(layer));
        for (at, pack) in packs.iter().enumerate() {
            let base = pass.states.take(pass.slot(at, None))?;
            for (b, branch) in branches.iter().enumerate() {
                if !branch.forks_by(layer) {
                    continue;
                }
                let slot = pass.slot(at, Some(b));
                let h = match pass.states.take(slot)? {
                    Some(h) => h,
                    None => base.clone().expect("kept until the last branch forked"),
                };
                let h = branch.apply(HookPoint::BlockInput(layer), h);
                let h = block.forward(h, &pack.tree, &mut |hook, h| branch.apply(hook, h));
                let h = branch.apply(HookPoint::BlockOutput(layer), h);
                pass.states.put(slot, h)?;
            }
            if base_needed {
                let base = base.expect("kept while needed");
                deliver(HookPoint::BlockInput(layer), pack, &base)?;
                let mut failure = None;
                let h = block.forward(base, &pack.tree, &mut |hook, h| {
                    if let Err(e) = deliver(hook, pack, &h) {
                        failure.get_or_insert(e);
                    }
                    h
                });
                if let Some(e) = failure {
                    return Err(e);
                }
                deliver(HookPoint::BlockOutput(layer), pack, &h)?;
                pass.states.put(pass.slot(at, None), h)?;
            }
        }
        progress(layer + 1);
    }
    Ok(pass)
}

fn sharing(model: &Model) -> Sharing {
    if model.geometry.causal {
        Sharing::Prefixes
    } else {
        Sharing::Whole
    }
}

/// Rows per pack: enough for efficient products, little enough that the widest
/// intermediate stays near 32 MiB.
fn pack_rows(model: &Model) -> usize {
    let g = &model.geometry;
    ((8 << 20) / g.intermediate_size.max(g.hidden_size)).clamp(256, 4096)
}

fn check(model: &Model, queries: &[Query]) -> Result<(), ModelError> {
    let bad = |index: usize, problem: String| Err(ModelError::Sequence { index, problem });
    for (index, query) in queries.iter().enumerate() {
        if query.tokens.is_empty() {
            return bad(index, "is empty".into());
        }
        if query.tokens.len() > model.max_tokens() {
            return bad(
                index,
                format!(
                    "has {} tokens, the model takes {}",
                    query.tokens.len(),
                    model.max_tokens()
                ),
            );
        }
        if let Some(pad) = model.architecture().unplaced_token()
            && query.tokens.contains(&pad)
        {
            return bad(
                index,
                format!(
                    "has the padding token {pad}, which has no position in this architecture; take it out of the text"
                ),
            );
        }
        let vocabulary = model.geometry.vocab_size;
        let targets = query.predictions.iter().map(|p| &p.1);
        if let Some(&id) = query
            .tokens
            .iter()
            .chain(targets)
            .find(|&&t| t as usize >= vocabulary)
        {
            return bad(
                index,
                format!("has token id {id}, the embedding has {vocabulary} rows"),
            );
        }
    }
    Ok(())
}
