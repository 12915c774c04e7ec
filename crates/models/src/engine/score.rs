//! Computes the log-probabilities of tokens for every branch, and the distance of a branch from the unedited model.

use interlingua_backend::ops::{self, Change, Directions, Scores, Slice, Tree, index};
use interlingua_backend::{device, from_rows, to_host};

pub use interlingua_backend::ops::Comparison;

use super::runs_side_by_side;
use super::{
    Branch, Deliver, LowRank, RowInfo, at_once, check, check_length, edited, forward, operations,
    packs, reads_rows,
};
use super::{Capture, Pooling, capture_branches};
use crate::ModelError;
use crate::architectures::Head;
use crate::model::Model;
use crate::pack::{Pack, Query, Sequence};
use interlingua_edits::Hook;

/// A rank is low up to this fraction of the width; beyond it, a product of matrices is as fast.
const LOW: usize = 8;

/// Log-probabilities in nats, indexed `[sequence][scored token]`.
pub type LogProbs = Vec<Vec<f32>>;

/// Comparisons of a branch with the unedited model, indexed `[sequence][scored token]`.
pub type Comparisons = Vec<Vec<Comparison>>;

/// Computes the log-probability in nats of every scored token of every sequence, for each branch.
///
/// Each token is predicted from those before it. The result is indexed `[branch][sequence][scored token]`. `progress`
/// is called with the number of floating-point operations that are done and the total number.
///
/// # Errors
/// Weights that cannot be read, a sequence that the model cannot take, an edit at a hook that the model lacks,
/// results that are not finite, or a model that is not causal.
pub fn token_log_probs(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<LogProbs>, ModelError> {
    let queries = next_tokens(model, sequences, branches)?;
    query_log_probs(model, &queries, branches, progress)
}

/// Computes the log-probability in nats of every prediction of every query, for each branch.
///
/// The result is indexed `[branch][query][prediction]`.
///
/// # Errors
/// The errors of [`token_log_probs`], except that any kind of model works.
pub fn query_log_probs(
    model: &Model,
    queries: &[Query],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<LogProbs>, ModelError> {
    let (packs, scores) = score(model, queries, branches, Wanted::LogProbs, progress)?;
    let found = scores.iter().map(Scores::log_probs).collect();
    by_query(&packs, found, queries.len(), branches.len(), |x: &f32| {
        x.is_finite()
    })
}

/// Compares each branch with the unedited model at every scored token of every sequence.
///
/// The divergence is computed over the whole vocabulary at each position that predicts a token. On neutral text it
/// shows the cost of an intervention. A branch without edits gives exactly 0 and full agreement. The result is
/// indexed `[branch][sequence][scored token]`.
///
/// # Errors
/// The errors of [`token_log_probs`].
pub fn compare(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Comparisons>, ModelError> {
    let queries = next_tokens(model, sequences, branches)?;
    compare_queries(model, &queries, branches, progress)
}

/// Compares each branch with the unedited model, as [`compare`] does, at every prediction of every query. The result
/// is indexed `[branch][query][prediction]`.
///
/// # Errors
/// The errors of [`token_log_probs`], except that any kind of model works.
pub fn compare_queries(
    model: &Model,
    queries: &[Query],
    branches: &[Branch<'_>],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Comparisons>, ModelError> {
    let (packs, scores) = score(model, queries, branches, Wanted::Comparisons, progress)?;
    let found = scores.iter().map(Scores::comparisons).collect();
    by_query(
        &packs,
        found,
        queries.len(),
        branches.len(),
        |x: &Comparison| x.log_prob.is_finite() && x.kl.is_finite(),
    )
}

/// Every token of a causal model's texts.
fn next_tokens(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
) -> Result<Vec<Query>, ModelError> {
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
    // The last token is only a target, but it counts as one of the text's.
    for (index, sequence) in sequences.iter().enumerate() {
        check_length(model, index, sequence.tokens.len())?;
    }
    let by_role = reads_rows(branches);
    let query = |sequence: &Sequence| {
        let query = Query::next_tokens(sequence);
        match by_role {
            true => query.with_roles(model.roles(sequence)),
            false => query,
        }
    };
    Ok(sequences.iter().map(query).collect())
}

/// What is asked of every prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    LogProbs,
    Comparisons,
}

/// Runs all branches and adds up the scores of each pack over the vocabulary.
fn score(
    model: &Model,
    queries: &[Query],
    branches: &[Branch<'_>],
    wanted: Wanted,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Vec<Pack>, Vec<Scores>), ModelError> {
    check(model, queries, branches, edited(branches))?;
    let (head, table) = model.head()?;
    let low_rank: Vec<Option<LowRank>> = branches
        .iter()
        .map(|branch| update(branch, head, model.geometry.hidden_size))
        .collect::<Result<_, _>>()?;
    let packs = packs(model, queries, branches);
    let mut run = branches.to_vec();
    if wanted == Wanted::Comparisons {
        // So that the unedited states are there to the end.
        run.push(Branch::unedited());
    }
    let layers = model.geometry.layers;
    let mut deliver = Deliver {
        wanted: &|_| false,
        take: &mut |_, _, _, _| Ok(()),
    };
    let trees: Vec<Tree> = packs.iter().map(predicting).collect();
    let last = Some(trees.as_slice());
    // Blocks and head in one measure: with a large vocabulary and many edits, the head is most of it.
    let blocks = operations(model, &packs, &run, layers, last);
    let at_head = head_operations(model, &packs, branches, &low_rank, wanted);
    let total = (blocks + at_head).max(1.0) as usize;
    let mut finals = forward(
        model,
        &packs,
        &run,
        layers,
        last,
        &mut deliver,
        &mut |done| progress((done as usize).min(total), total),
    )?;
    // From here on only the states that predict something are of use.
    for (at, pack) in packs.iter().enumerate() {
        let left = trees[at].asked_rows();
        let place = |row: u32| left.binary_search(&row).expect("asked for") as i32;
        let rows = pack.predictions.iter().map(|p| place(p.0)).collect();
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
    let mut scores: Vec<Scores> = packs
        .iter()
        .map(|pack| {
            let targets = pack.predictions.iter().map(|p| p.1).collect();
            match wanted {
                Wanted::LogProbs => Scores::log_probs_of(targets, branches.len()),
                Wanted::Comparisons => Scores::comparisons_of(targets, branches.len()),
            }
        })
        .collect();
    let vocabulary = model.geometry.vocab_size;
    table.slices(model.weights(), &model.device, &mut |first, slice| {
        let [rows, _] = slice.dims();
        let slice = Slice {
            head: slice,
            bias: head.bias.as_ref().map(|b| &b[first..first + rows]),
            first,
            how: head.logits,
        };
        let directions: Vec<Option<Directions>> = low_rank
            .iter()
            .map(|change| {
                let change = change.as_ref()?;
                Some(Directions::new(change.left.clone(), slice.head))
            })
            .collect();
        let states = &finals;
        let add = |(at, scores): (usize, &mut Scores)| -> Result<(), ModelError> {
            for rows in scores.chunks(slice) {
                let base = states.states.rows(states.slot(at, None), &rows)?;
                let mut changes = Vec::with_capacity(branches.len());
                for (b, branch) in branches.iter().enumerate() {
                    let forked = states.states.rows(states.slot(at, Some(b)), &rows)?;
                    changes.push(match (&base, &low_rank[b], &directions[b]) {
                        (Some(_), _, _) if branch.edits.is_empty() => Change::Nothing,
                        (Some(base), Some(change), Some(directions)) => Change::LowRank {
                            coefficients: change.coefficients(base.clone()),
                            directions,
                        },
                        _ => {
                            let h = forked.or_else(|| base.clone());
                            let h =
                                h.expect("the unedited states are kept while somebody reads them");
                            let of = packs[at].predictions[rows.clone()].iter();
                            let info = RowInfo::of(&packs[at]).some(of.map(|p| p.0));
                            let h = branch.apply(Hook::FINAL_NORM, h, &info);
                            Change::States(head.transform(h))
                        }
                    });
                }
                let base = base.map(|h| head.transform(h));
                scores.add(rows, base.as_ref(), &changes, slice);
            }
            Ok(())
        };
        let side_by_side = runs_side_by_side(model);
        let together = at_once(model, branches.len());
        let mut done = 0;
        for group in scores.chunks_mut(together) {
            let size = group.len();
            let items: Vec<_> = (done..).zip(group).collect();
            let results: Vec<_> = match side_by_side {
                true => device::side_by_side(items, add),
                false => items.into_iter().map(add).collect(),
            };
            results.into_iter().collect::<Result<(), _>>()?;
            done += size;
            let scored = first * packs.len() + done * rows;
            let share = scored as f64 / (vocabulary * packs.len()) as f64;
            progress(((blocks + share * at_head) as usize).min(total), total);
        }
        Ok(())
    })?;
    progress(total, total);
    Ok((packs, scores))
}

/// Operations at the head: of the unedited states, where somebody reads their products, and of every
/// branch that has others. A change of low rank takes its rank in place of the width.
fn head_operations(
    model: &Model,
    packs: &[Pack],
    branches: &[Branch<'_>],
    low_rank: &[Option<LowRank>],
    wanted: Wanted,
) -> f64 {
    let width = model.geometry.hidden_size as f64;
    let mut of_row = 0.0;
    let mut unedited = wanted == Wanted::Comparisons;
    for (branch, low_rank) in branches.iter().zip(low_rank) {
        match low_rank {
            _ if branch.edits.is_empty() => unedited = true,
            Some(change) => {
                unedited = true;
                of_row += change.rank() as f64;
            }
            None => of_row += width,
        }
    }
    if unedited {
        of_row += width;
    }
    let rows: usize = packs.iter().map(|pack| pack.predictions.len()).sum();
    2.0 * rows as f64 * of_row * model.geometry.vocab_size as f64
}

/// The tree of a pack, asking for the rows that predict something where these are few.
fn predicting(pack: &Pack) -> Tree {
    let mut rows: Vec<u32> = pack.predictions.iter().map(|p| p.0).collect();
    rows.sort_unstable();
    rows.dedup();
    // Choosing rows copies states; it must spare more than it costs.
    let few = !rows.is_empty() && rows.len() * 4 < pack.tree.rows() * 3;
    Tree {
        asked: few.then_some(rows),
        ..pack.tree.clone()
    }
}

/// The change of low rank by which a branch can be scored from the unedited products.
///
/// Only where the vocabulary's matrix reads the edited states themselves, and where the rank is
/// small enough to gain by it. All other branches are scored from their own states.
fn update(branch: &Branch<'_>, head: &Head, width: usize) -> Result<Option<LowRank>, ModelError> {
    let [(Hook::FINAL_NORM, edit)] = branch.edits.as_slice() else {
        return Ok(None);
    };
    let whole = head.transform.is_none() && !edit.reads_rows();
    let Some(change) = edit.low_rank().filter(|_| whole) else {
        return Ok(None);
    };
    let shapes = [&change.right, &change.offset, &change.left].map(|t| t.dims());
    let rank = change.rank();
    if shapes != [[width, rank], [1, rank], [rank, width]] {
        return Err(ModelError::LowRankShape { shapes, width });
    }
    Ok((1..=width / LOW).contains(&rank).then_some(change))
}

/// Results of packs, `[pack][branch][prediction]`, as `[branch][query][prediction]`.
fn by_query<T: Copy>(
    packs: &[Pack],
    found: Vec<Vec<Vec<T>>>,
    queries: usize,
    branches: usize,
    is_finite: impl Fn(&T) -> bool,
) -> Result<Vec<Vec<Vec<T>>>, ModelError> {
    let mut out = vec![vec![Vec::new(); queries]; branches];
    for (pack, found) in packs.iter().zip(found) {
        for (out, found) in out.iter_mut().zip(found) {
            for member in &pack.members {
                let results = member.scored.iter().map(|&p| found[p as usize]);
                out[member.sequence] = results.collect();
            }
        }
    }
    for of_branch in &out {
        if let Some(index) = of_branch.iter().position(|x| !x.iter().all(&is_finite)) {
            return Err(ModelError::NotFiniteOutput { index });
        }
    }
    Ok(out)
}

/// A function that receives the index of a sequence, the first vocabulary entry, and logits `[tokens × entries]`.
pub type LogitSink<'a> = &'a mut dyn FnMut(usize, usize, &[f32]) -> Result<(), ModelError>;

/// Computes the logits of every token under one branch, in slices of the vocabulary.
///
/// The final states are held in memory; the logits are not.
///
/// # Errors
/// The errors of [`query_log_probs`], and whatever the sink returns.
pub fn logits(
    model: &Model,
    sequences: &[Sequence],
    branch: &Branch<'_>,
    sink: LogitSink<'_>,
) -> Result<(), ModelError> {
    let (head, table) = model.head()?;
    let mut states = vec![Vec::new(); sequences.len()];
    let everything = [Capture {
        hook: Hook::FINAL_NORM,
        pooling: Pooling::All,
    }];
    capture_branches(
        model,
        sequences,
        std::slice::from_ref(branch),
        &everything,
        &mut |_, _, sequence, rows| {
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
