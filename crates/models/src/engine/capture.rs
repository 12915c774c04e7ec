//! Captures the states at hooks, of the unedited model and under interventions.

use interlingua_backend::{Tensor, to_host};

use super::{Branch, Deliver, RowInfo, check, edited, forward, operations, packs, reads_rows};
use crate::ModelError;
use crate::model::Model;
use crate::pack::{Pack, Query, Sequence};
use interlingua_edits::Hook;

/// The way in which the states of a sequence are reduced to rows. The context is the part of a sequence that the
/// model reads but that is not scored, such as the start token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// One row: the mean over the tokens that are not context.
    Mean,
    /// One row: the mean over all tokens, including context.
    MeanAll,
    /// One row: the largest value of each unit over the tokens that are not context.
    Max,
    /// One row: the largest value of each unit over all tokens, including context.
    MaxAll,
    /// One row: for each unit, the share of the tokens that are not context at which its value is above zero.
    Positive,
    /// One row: for each unit, the share of all tokens, including context, at which its value is above zero.
    PositiveAll,
    /// One row: the state of the last token that is not context.
    Last,
    /// One row for each token that is not context.
    Tokens,
    /// One row for each token, including context.
    All,
}

impl Pooling {
    /// Returns the number of rows that are kept of a sequence.
    pub fn rows(self, sequence: &Sequence) -> usize {
        match self {
            Pooling::Tokens => sequence.text().len(),
            Pooling::All => sequence.tokens.len(),
            _ => 1,
        }
    }

    /// Whether context counts too.
    fn is_whole(self) -> bool {
        matches!(
            self,
            Pooling::All | Pooling::MeanAll | Pooling::MaxAll | Pooling::PositiveAll
        )
    }
}

/// A request for the states at one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// The hook.
    pub hook: Hook,
    /// The reduction of the states to rows.
    pub pooling: Pooling,
}

/// A function that receives the index of a capture, the index of a sequence, and its rows.
pub type Sink<'a> = &'a mut dyn FnMut(usize, usize, &[f32]) -> Result<(), ModelError>;

/// A function that receives the index of a branch, followed by what a [`Sink`] receives.
pub type BranchSink<'a> = &'a mut dyn FnMut(usize, usize, usize, &[f32]) -> Result<(), ModelError>;

/// Runs the unedited model and passes the requested states to `sink`; see [`capture_branches`].
///
/// # Errors
/// The errors of [`capture_branches`].
pub fn capture(
    model: &Model,
    sequences: &[Sequence],
    captures: &[Capture],
    sink: Sink<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), ModelError> {
    capture_branches(
        model,
        sequences,
        &[Branch::unedited()],
        captures,
        &mut |_, capture, sequence, rows| sink(capture, sequence, rows),
        progress,
    )
}

/// Runs all branches in one pass over the weights and passes the requested states to `sink`.
///
/// Before its first edit, a branch has the unedited states. States at the hook of an edit are those after it.
/// `progress` is called with the number of floating-point operations that are done and the total number.
///
/// # Shapes
/// `sink` receives the index of the branch, of the capture and of the sequence, and its rows, row-major. There is one
/// row for reductions such as the mean, and one per token that is not context for [`Pooling::Tokens`]. The calls come
/// in no particular order, each exactly once.
///
/// # Errors
/// Weights that cannot be read, a sequence that the model cannot take or that has no token to pool, a hook that the
/// model lacks, states that are not finite, and whatever the sink returns.
pub fn capture_branches(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
    captures: &[Capture],
    sink: BranchSink<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), ModelError> {
    let by_role = reads_rows(branches);
    let query = |sequence: &Sequence| {
        let query = Query::states(&sequence.tokens);
        match by_role {
            true => query.with_roles(model.roles(sequence)),
            false => query,
        }
    };
    let queries: Vec<Query> = sequences.iter().map(query).collect();
    let hooks = captures.iter().map(|c| c.hook);
    check(model, &queries, branches, hooks.chain(edited(branches)))?;
    if captures.iter().any(|c| !c.pooling.is_whole())
        && let Some(index) = sequences.iter().position(|s| s.text().is_empty())
    {
        return Err(ModelError::Sequence {
            index,
            problem: "has no tokens beside its context, so there is no state to capture".into(),
        });
    }
    let packs = packs(model, &queries, branches);
    let mut take = |at: Hook, of: &[usize], pack: &Pack, h: &Tensor<2>| {
        if of.is_empty() || captures.iter().all(|c| c.hook != at) {
            return Ok(());
        }
        let width = h.dims()[1];
        let host = to_host(h.clone());
        let mut rows = Vec::new();
        for (c, request) in captures.iter().enumerate().filter(|(_, c)| c.hook == at) {
            for member in &pack.members {
                let index = member.sequence;
                let kept = match request.pooling.is_whole() {
                    true => 0..member.rows.len(),
                    false => sequences[index].text(),
                };
                gather(&host, width, &member.rows[kept], request.pooling, &mut rows);
                if rows.iter().any(|x| !x.is_finite()) {
                    return Err(ModelError::NotFiniteOutput { index });
                }
                for &branch in of {
                    sink(branch, c, index, &rows)?;
                }
            }
        }
        Ok(())
    };
    let last = Hook::FINAL_NORM;
    // Blocks after the last hook point would be run for nothing.
    let until = |hook: Hook| match hook.block() {
        Some(block) => block + 1,
        None if hook == last => model.geometry.layers,
        None => 0,
    };
    let layers = captures.iter().map(|c| until(c.hook)).max().unwrap_or(0);
    let total = operations(model, &packs, branches, layers, None).max(1.0) as usize;
    let mut deliver = Deliver {
        wanted: &|hook| captures.iter().any(|c| c.hook == hook),
        take: &mut take,
    };
    let mut finals = forward(
        model,
        &packs,
        branches,
        layers,
        None,
        &mut deliver,
        &mut |done| progress((done as usize).min(total), total),
    )?;
    if captures.iter().any(|c| c.hook == last) {
        for (at, pack) in packs.iter().enumerate() {
            let base = match finals.states.take(finals.slot(at, None))? {
                Some(h) => Some(model.normalise(h)?),
                None => None,
            };
            let mut unedited = Vec::new();
            for (b, branch) in branches.iter().enumerate() {
                let forked = finals.states.take(finals.slot(at, Some(b)))?;
                if forked.is_none() && !branch.edits_at(last) {
                    unedited.push(b);
                    continue;
                }
                let h = match forked {
                    Some(h) => model.normalise(h)?,
                    None => base.clone().expect("kept until the last branch forked"),
                };
                let h = branch.apply(last, h, &RowInfo::of(pack));
                take(last, &[b], pack, &h)?;
            }
            if !unedited.is_empty() {
                let base = base.expect("kept until the last branch forked");
                take(last, &unedited, pack, &base)?;
            }
        }
    }
    progress(total, total);
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
        Pooling::Last => {
            if let Some(&row) = rows.last() {
                out.extend_from_slice(&host[row as usize * width..][..width]);
            }
        }
        Pooling::Max | Pooling::MaxAll => {
            let mut most = vec![f32::NEG_INFINITY; width];
            for &row in rows {
                for (m, &x) in most.iter_mut().zip(&host[row as usize * width..][..width]) {
                    *m = m.max(x);
                }
            }
            out.extend(most);
        }
        Pooling::Positive | Pooling::PositiveAll => {
            let mut above = vec![0usize; width];
            for &row in rows {
                for (a, &x) in above.iter_mut().zip(&host[row as usize * width..][..width]) {
                    *a += usize::from(x > 0.0);
                }
            }
            let share = |&a: &usize| (a as f64 / rows.len() as f64) as f32;
            out.extend(above.iter().map(share));
        }
        Pooling::Mean | Pooling::MeanAll => {
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
