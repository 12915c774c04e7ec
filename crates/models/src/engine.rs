//! The layer-major engine, whose outer loop is over blocks and whose inner loop is over sentences.
//!
//! All sentences are known before the first matrix product. So each block is loaded once, every pack of sentences
//! goes through it, and it is dropped. Edits fork the states at their hook: a branch is computed separately only from
//! the first place at which it differs from the unedited model.

mod capture;
mod lens;
mod rows;
mod score;
mod session;

pub use capture::{BranchSink, Capture, Pooling, Sink, capture, capture_branches};
pub use lens::{Lens, Seen};
pub use rows::{OnTokens, RowInfo};
pub use score::{
    Comparison, Comparisons, LogProbs, LogitSink, compare, compare_queries, logits,
    query_log_probs, token_log_probs,
};
pub use session::{Next, Session};

use interlingua_backend::Tensor;
use interlingua_backend::device::{self, is_plain_cpu};
use interlingua_backend::ops::{Repeats, Tree};

use crate::ModelError;
use crate::architectures::Block;
use crate::model::Model;
use crate::pack::{Pack, Query, Sharing, pack, pack_for};
use crate::spill::States;
use interlingua_edits::Hook;

/// A function from states to states, row by row. Equal states give equal results, unless the edit reads the position
/// or the role of a row.
pub trait StateEdit: Sync {
    /// Returns the edited states. `rows` has the position and the role of every row.
    ///
    /// # Shapes
    /// `h` is `[rows, width of the hook]`, and so is the result.
    fn apply(&self, h: Tensor<2>, rows: &RowInfo<'_>) -> Tensor<2>;

    /// Returns whether the result depends on more than the state itself. If it does, rows are shared only if their
    /// positions and roles are equal too, and [`RowInfo::roles`] is filled.
    fn reads_rows(&self) -> bool {
        false
    }

    /// Returns the same function as a change of low rank, if it is one.
    ///
    /// At the final norm, scores are then computed from those of the unedited model; see [`LowRank`].
    fn low_rank(&self) -> Option<LowRank> {
        None
    }
}

/// The change `h ↦ h − (h·right − offset)·left` of states, which has low rank.
///
/// If the vocabulary's matrix reads these states, the logits of all tokens change by `(h·right −
/// offset)·(left·headᵀ)`. This update takes k products per logit instead of d.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// The directions that are read, `[hidden, k]`.
    pub right: Tensor<2>,
    /// The offset of the coefficients, `[1, k]`.
    pub offset: Tensor<2>,
    /// The directions that are subtracted, `[k, hidden]`.
    pub left: Tensor<2>,
}

impl LowRank {
    /// Returns the rank k.
    pub fn rank(&self) -> usize {
        self.left.dims()[0]
    }

    /// Computes the coefficients `h·right − offset`.
    ///
    /// # Shapes
    /// `h` is `[rows, hidden]`, and the result is `[rows, k]`.
    pub fn coefficients(&self, h: Tensor<2>) -> Tensor<2> {
        h.matmul(self.right.clone()) - self.offset.clone()
    }

    /// Computes the edited states.
    ///
    /// # Shapes
    /// `h` is `[rows, hidden]`, and so is the result.
    pub fn apply(&self, h: Tensor<2>) -> Tensor<2> {
        h.clone() - self.coefficients(h).matmul(self.left.clone())
    }
}

/// One way to run the model: with certain edits at certain hooks.
#[derive(Clone, Default)]
pub struct Branch<'a> {
    /// The edits with their hooks; empty for the unedited model.
    pub edits: Vec<(Hook, &'a dyn StateEdit)>,
}

impl<'a> Branch<'a> {
    /// Makes the branch of the unedited model.
    pub fn unedited() -> Self {
        Branch::default()
    }

    /// Makes a branch with one edit at one hook.
    pub fn edited(hook: Hook, edit: &'a dyn StateEdit) -> Self {
        Branch {
            edits: vec![(hook, edit)],
        }
    }

    fn apply(&self, at: Hook, mut h: Tensor<2>, rows: &RowInfo<'_>) -> Tensor<2> {
        for (hook, edit) in &self.edits {
            if *hook == at {
                h = edit.apply(h, rows);
            }
        }
        h
    }

    fn edits_at(&self, at: Hook) -> bool {
        self.edits.iter().any(|(hook, _)| *hook == at)
    }

    /// Whether the first place that is edited is this one, at the end of a block.
    fn forks_at(&self, output: Hook) -> bool {
        let block = output.block();
        self.edits_at(output)
            && self.edits.iter().all(|(hook, _)| match hook.block() {
                Some(_) => *hook == output || hook.block() > block,
                None => *hook == Hook::FINAL_NORM,
            })
    }

    /// Whether an edit lies at or before the end of block `layer` (embedding included).
    fn forks_by(&self, layer: usize) -> bool {
        self.edits.iter().any(|(hook, _)| match hook.block() {
            Some(block) => block <= layer,
            None => *hook == Hook::EMBEDDING,
        })
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

/// Who reads states on the way.
struct Deliver<'a> {
    /// At which hook points.
    wanted: &'a (dyn Fn(Hook) -> bool + Sync),
    /// Called with a hook point, the branches that have these states there, a pack and the states.
    #[allow(clippy::type_complexity)]
    take: &'a mut dyn FnMut(Hook, &[usize], &Pack, &Tensor<2>) -> Result<(), ModelError>,
}

/// Runs the first `layers` blocks; leaves the states after the last of them.
///
/// `last`: what the last block is asked for, by pack; everything where there is none. What is
/// delivered and left there has those rows.
fn forward<'m>(
    model: &'m Model,
    packs: &[Pack],
    branches: &[Branch<'_>],
    layers: usize,
    last: Option<&[Tree]>,
    deliver: &mut Deliver<'_>,
    progress: &mut dyn FnMut(f64),
) -> Result<Pass<'m>, ModelError> {
    let mut done = 0.0;
    let mut pass = Pass {
        states: States::new(
            packs.len() * (branches.len() + 1),
            &model.budget,
            &model.device,
        ),
        branches: branches.len(),
    };
    // Branches whose states there are the unedited ones.
    let shared_by = |forked: &dyn Fn(&Branch<'_>) -> bool| -> Vec<usize> {
        (0..branches.len())
            .filter(|&b| !forked(&branches[b]))
            .collect()
    };
    let embedded = shared_by(&|branch| branch.edits_at(Hook::EMBEDDING));
    let placed = model.places_tokens()?;
    // Inside the first block, what is asked for or edited is of every row.
    let inside = |hook: Hook| hook.block() == Some(0) && hook.part.is_inside();
    let mut known = model.geometry.hooks().into_iter();
    let every_row = edited(branches).any(inside) || known.any(|h| inside(h) && (deliver.wanted)(h));
    // What the first block sees: the trees, and which of their rows are equal there.
    let mut first = Vec::with_capacity(packs.len());
    for (at, pack) in packs.iter().enumerate() {
        let tree = Tree {
            repeats: pack.repeats(placed).filter(|_| !every_row),
            ..pack.tree.clone()
        };
        let base = embed(model, pack, tree.repeats.as_ref())?;
        first.push(tree);
        (deliver.take)(Hook::EMBEDDING, &embedded, pack, &base)?;
        for (b, branch) in branches.iter().enumerate() {
            if branch.edits_at(Hook::EMBEDDING) {
                let h = branch.apply(Hook::EMBEDDING, base.clone(), &RowInfo::of(pack));
                (deliver.take)(Hook::EMBEDDING, &[b], pack, &h)?;
                pass.states.put(pass.slot(at, Some(b)), h)?;
            }
        }
        pass.states.put(pass.slot(at, None), base)?;
    }
    let side_by_side = runs_side_by_side(model);
    for layer in 0..layers {
        let block = model.block(layer)?;
        // The unedited states are computed as long as anybody still reads them.
        let shared = shared_by(&|branch| branch.forks_by(layer));
        let last = last.filter(|_| layer + 1 == layers);
        let step = Step {
            block: block.as_ref(),
            layer,
            branches,
            shared: &shared,
            wanted: deliver.wanted,
        };
        // A few packs at a time, since what they deliver is held until all of them are done.
        let together = at_once(model, branches.len());
        let order: Vec<usize> = (0..packs.len()).collect();
        for group in order.chunks(together) {
            let mut inputs = Vec::with_capacity(group.len());
            for &at in group {
                let base = pass.states.take(pass.slot(at, None))?;
                let mut forked = Vec::with_capacity(branches.len());
                for b in 0..branches.len() {
                    forked.push(pass.states.take(pass.slot(at, Some(b)))?);
                }
                let tree = match (last, layer) {
                    (Some(last), _) => &last[at],
                    (None, 0) => &first[at],
                    (None, _) => &packs[at].tree,
                };
                inputs.push((&packs[at], tree, base, forked));
            }
            let outputs = match side_by_side {
                true => device::side_by_side(inputs, |input| step.run(input)),
                false => inputs.into_iter().map(|input| step.run(input)).collect(),
            };
            let times = passes(branches, layer);
            for (&at, output) in group.iter().zip(outputs) {
                done += times * block_operations(model, &packs[at], last.map(|trees| &trees[at]));
                for (hook, of, h) in output.delivered {
                    (deliver.take)(hook, &of, &packs[at], &h)?;
                }
                if let Some(h) = output.base {
                    pass.states.put(pass.slot(at, None), h)?;
                }
                for (b, h) in output.forked.into_iter().enumerate() {
                    if let Some(h) = h {
                        pass.states.put(pass.slot(at, Some(b)), h)?;
                    }
                }
            }
            progress(done);
        }
        first = Vec::new();
    }
    Ok(pass)
}

/// Floating-point operations of a pack in one block, without attention itself. `asked`: the tree of a
/// last block, where keys and values are formed for all rows and the rest for those asked for.
fn block_operations(model: &Model, pack: &Pack, asked: Option<&Tree>) -> f64 {
    let g = &model.geometry;
    let (width, head) = (g.hidden_size as f64, g.head_dim as f64);
    let keys = 2.0 * width * head * g.kv_heads as f64;
    let rest = 2.0 * width * head * g.heads as f64 + 3.0 * width * g.intermediate_size as f64;
    let rows = pack.tree.rows() as f64;
    let asked = asked
        .and_then(|tree| tree.asked.as_ref())
        .map_or(rows, |asked| asked.len() as f64);
    2.0 * (rows * keys + asked * rest)
}

/// How often a block is run for a pack: once for all branches that are still the unedited model, and
/// once for every other.
fn passes(branches: &[Branch<'_>], layer: usize) -> f64 {
    let output = Hook::output(layer);
    let inside = |b: &&Branch<'_>| b.forks_at(output) || !b.forks_by(layer);
    let together = branches.iter().filter(inside).count();
    (branches.len() - together + together.min(1)) as f64
}

/// Operations of all blocks of a pass.
fn operations(
    model: &Model,
    packs: &[Pack],
    branches: &[Branch<'_>],
    layers: usize,
    last: Option<&[Tree]>,
) -> f64 {
    let block = |layer: usize| -> f64 {
        let last = last.filter(|_| layer + 1 == layers);
        let of = |(at, pack)| block_operations(model, pack, last.map(|trees| &trees[at]));
        passes(branches, layer) * packs.iter().enumerate().map(of).sum::<f64>()
    };
    (0..layers).map(block).sum()
}

/// The states that enter the first block, each kind computed once.
fn embed(model: &Model, pack: &Pack, repeats: Option<&Repeats>) -> Result<Tensor<2>, ModelError> {
    let (tokens, positions) = (&pack.tokens, &pack.tree.positions);
    let Some(repeats) = repeats else {
        return model.embed(tokens, positions);
    };
    let of = |all: &[u32]| -> Vec<u32> { repeats.first.iter().map(|&r| all[r as usize]).collect() };
    Ok(repeats.spread(model.embed(&of(tokens), &of(positions))?))
}

/// Packs that go through a block before what they leave is put back and handed over: enough to keep
/// all threads busy, few enough that their states take some 64 MiB.
fn at_once(model: &Model, branches: usize) -> usize {
    if !runs_side_by_side(model) {
        return 1;
    }
    let threads = device::threads();
    let states = 4 * pack_rows(model) * model.geometry.hidden_size * (branches + 1);
    // As many for each thread, so that none waits for the others.
    let for_each = ((64 << 20) / states / threads).clamp(1, 32usize.div_ceil(threads));
    for_each * threads
}

/// Whether packs are small enough that each is run by one thread, several at a time.
fn runs_side_by_side(model: &Model) -> bool {
    is_plain_cpu(&model.device) && widest(model) <= SMALL / MIN_ROWS
}

/// What happens to one pack in one block.
struct Step<'s, 'a> {
    block: &'s dyn Block,
    layer: usize,
    branches: &'s [Branch<'a>],
    /// Branches that leave the block with the unedited states.
    shared: &'s [usize],
    wanted: &'s (dyn Fn(Hook) -> bool + Sync),
}

/// What a pack leaves behind.
struct Output {
    base: Option<Tensor<2>>,
    forked: Vec<Option<Tensor<2>>>,
    /// Hook point, branches and states.
    delivered: Vec<(Hook, Vec<usize>, Tensor<2>)>,
}

/// A pack, its tree in this block, and its states: unedited, and of each branch that has its own.
type Input<'p> = (
    &'p Pack,
    &'p Tree,
    Option<Tensor<2>>,
    Vec<Option<Tensor<2>>>,
);

impl Step<'_, '_> {
    fn run(&self, (pack, tree, base, forked): Input<'_>) -> Output {
        let all = RowInfo::of(pack);
        let asked = tree.asked.as_ref();
        let asked = asked.map(|rows| all.some(rows.iter().copied()));
        // In a last block that is asked for few rows, keys and values still have all of them.
        let rows_of = |h: &Tensor<2>| match &asked {
            Some(asked) if h.dims()[0] != tree.rows() => asked,
            _ => &all,
        };
        let mut delivered = Vec::new();
        let mut visit = |hook: Hook, of: &[usize], h: &Tensor<2>| {
            if (self.wanted)(hook) && !of.is_empty() {
                delivered.push((hook, of.to_vec(), h.clone()));
            }
        };
        let output = Hook::output(self.layer);
        // Branches that have the unedited states inside this block, and those that leave it with them.
        let at_output: Vec<bool> = (self.branches.iter().zip(&forked))
            .map(|(branch, h)| h.is_none() && branch.forks_at(output))
            .collect();
        let inside: Vec<usize> = (0..self.branches.len())
            .filter(|&b| at_output[b] || !self.branches[b].forks_by(self.layer))
            .collect();
        let forked = forked.into_iter().zip(self.branches).enumerate();
        let forked = forked.map(|(b, (h, branch))| {
            if inside.contains(&b) {
                return None;
            }
            let h = h.or_else(|| base.clone());
            let h = h.expect("the unedited states are kept until the last branch forked");
            Some(run(self.block, self.layer, h, tree, &mut |hook, h| {
                let rows = rows_of(&h);
                let h = branch.apply(hook, h, rows);
                visit(hook, &[b], &h);
                h
            }))
        });
        let mut forked: Vec<Option<Tensor<2>>> = forked.collect();
        let unedited = (!inside.is_empty()).then(|| {
            let base = base.expect("kept while needed");
            run(self.block, self.layer, base, tree, &mut |hook, h| {
                let of = if hook == output { self.shared } else { &inside };
                visit(hook, of, &h);
                h
            })
        });
        for (b, h) in forked.iter_mut().enumerate().filter(|(b, _)| at_output[*b]) {
            let unedited = unedited.clone().expect("run for this branch too");
            let rows = rows_of(&unedited);
            let edited = self.branches[b].apply(output, unedited, rows);
            visit(output, &[b], &edited);
            *h = Some(edited);
        }
        let base = unedited.filter(|_| !self.shared.is_empty());
        Output {
            base,
            forked,
            delivered,
        }
    }
}

/// Runs a block with `visit` at each of its hook points, which gives the states to go on with.
fn run(
    block: &dyn Block,
    layer: usize,
    h: Tensor<2>,
    tree: &Tree,
    visit: &mut dyn FnMut(Hook, Tensor<2>) -> Tensor<2>,
) -> Tensor<2> {
    let h = visit(Hook::input(layer), h);
    let h = block.forward(h, tree, visit);
    visit(Hook::output(layer), h)
}

/// Whether an edit reads what a row is.
fn reads_rows(branches: &[Branch<'_>]) -> bool {
    let mut edits = branches.iter().flat_map(|b| &b.edits);
    edits.any(|(_, edit)| edit.reads_rows())
}

/// Every hook point that has an edit.
fn edited<'a>(branches: &'a [Branch<'_>]) -> impl Iterator<Item = Hook> + 'a {
    branches
        .iter()
        .flat_map(|b| b.edits.iter().map(|(hook, _)| *hook))
}

fn sharing(model: &Model) -> Sharing {
    if model.geometry.causal {
        Sharing::Prefixes
    } else {
        Sharing::Whole
    }
}

/// Values of the widest intermediate of a pack that one thread takes through a block: 4 MiB.
const SMALL: usize = 1 << 20;

/// Rows below which products of matrices are slow.
const MIN_ROWS: usize = 256;

/// Width of the widest intermediate.
fn widest(model: &Model) -> usize {
    let g = &model.geometry;
    g.intermediate_size.max(g.hidden_size)
}

/// Rows per pack: enough for efficient products. Where all threads share a pack, the widest
/// intermediate stays near 32 MiB, elsewhere it stays in the cache of one.
fn pack_rows(model: &Model) -> usize {
    match runs_side_by_side(model) {
        true => (SMALL / widest(model)).clamp(MIN_ROWS, 1024),
        false => ((8 << 20) / widest(model)).clamp(MIN_ROWS, 4096),
    }
}

/// Rows of a pack below which cutting it for another thread costs more than it spares.
const FEW_ROWS: usize = 64;

/// The packs of a pass.
fn packs(model: &Model, queries: &[Query], branches: &[Branch<'_>]) -> Vec<Pack> {
    let most = pack_rows(model);
    // Rows of other roles are the same rows for edits that do not read them.
    let plain: Vec<Query>;
    let queries = match reads_rows(branches) || queries.iter().all(|q| q.roles.is_empty()) {
        true => queries,
        false => {
            let plain_query = |query: &Query| query.clone().with_roles(Vec::new());
            plain = queries.iter().map(plain_query).collect();
            &plain
        }
    };
    match runs_side_by_side(model) {
        true => pack_for(device::threads(), queries, FEW_ROWS..=most, sharing(model)),
        false => pack(queries, most, sharing(model)),
    }
}

/// Refuses what the model cannot run: hook points it lacks, sequences it cannot take.
fn check(
    model: &Model,
    queries: &[Query],
    branches: &[Branch<'_>],
    hooks: impl Iterator<Item = Hook>,
) -> Result<(), ModelError> {
    let shape = model.geometry.shape();
    for hook in hooks {
        shape.width(hook).map_err(ModelError::Hook)?;
    }
    let bad = |index: usize, problem: String| Err(ModelError::Sequence { index, problem });
    let by_role = reads_rows(branches);
    for (index, query) in queries.iter().enumerate() {
        check_length(model, index, query.tokens.len())?;
        if by_role && query.roles.len() != query.tokens.len() {
            return bad(
                index,
                format!(
                    "has {} tokens and {} roles; an edit of some tokens needs a role for each (`Model::roles`)",
                    query.tokens.len(),
                    query.roles.len()
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

/// Refuses a text of no tokens, or of more than the model takes.
fn check_length(model: &Model, index: usize, tokens: usize) -> Result<(), ModelError> {
    let most = model.max_tokens();
    let problem = match tokens {
        0 => "is empty".into(),
        _ if tokens > most => format!("has {tokens} tokens, the model takes {most}"),
        _ => return Ok(()),
    };
    Err(ModelError::Sequence { index, problem })
}
