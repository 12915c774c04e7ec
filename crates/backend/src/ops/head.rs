//! The LM head, which turns the last hidden states into log-probabilities of tokens.

use std::ops::Range;

use burn::tensor::activation;

use super::{Logits, Matrix, Weight, index, linear, plain};
use crate::device::is_plain_cpu;
use crate::kernels::{Factor, Panels, Reduced, Reference, Shape, Update, View};
use crate::{Host, IntTensor, Tensor, from_rows, kernels, to_host};

/// Elements of the largest block of logits that is ever held.
const LOGIT_CHUNK: usize = 1 << 21;

fn rows_per_chunk(vocabulary: usize) -> usize {
    (LOGIT_CHUNK / vocabulary.max(1)).max(16)
}

/// The number of vocabulary tokens whose logits the fused kernels compute at once. With a few hundred rows they stay
/// in a shared cache.
pub(super) const TILE: usize = if cfg!(test) { 16 } else { 2048 };

/// Rows whose logits the fused kernels form at once.
const ROWS: usize = 256;

/// Runs of at most [`TILE`] tokens.
fn tiles(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    (0..tokens)
        .step_by(TILE)
        .map(move |start| start..(start + TILE).min(tokens))
}

/// Computes the logits of every token of the vocabulary. The caller has to limit the number of rows.
///
/// # Shapes
/// `h` is `[rows, d]`, `head` is `[vocabulary, d]`, `bias` has `vocabulary` values, and the result is `[rows,
/// vocabulary]`.
pub fn logits<W: Weight>(h: Tensor<2>, head: &W, bias: Option<&[f32]>, how: Logits) -> Tensor<2> {
    let device = h.device();
    let products = linear(h, head);
    let [_, vocabulary] = products.dims();
    check_bias(bias, vocabulary);
    if !is_plain_cpu(&device) {
        return plain::shape_logits(products, bias, how);
    }
    let mut values = Host::of(products);
    kernels::shape_logits(&mut values, vocabulary, bias, how.scale, how.softcap);
    values.tensor(&device)
}

fn check_bias(bias: Option<&[f32]>, vocabulary: usize) {
    if let Some(bias) = bias {
        assert_eq!(
            bias.len(),
            vocabulary,
            "one bias per token of the vocabulary"
        );
    }
}

/// A range of the LM head's rows, and the way in which their products become logits.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    /// The rows of the head that score these tokens, `[tokens, d]`.
    pub head: &'a Matrix,
    /// The bias, with one value per token.
    pub bias: Option<&'a [f32]>,
    /// The first token.
    pub first: usize,
    /// The operations on the products.
    pub how: Logits,
}

/// The products of some vectors with a slice of the head.
#[derive(Debug, Clone)]
pub enum Directions {
    /// The row-major products for the fused kernels, in one piece for each run of tokens whose logits they compute at
    /// once.
    Host(Vec<Vec<f32>>),
    /// The products on another device.
    Device(Tensor<2>),
}

impl Directions {
    /// # Shapes
    /// `vectors`: `[k, d]`, `head`: `[tokens, d]`, result `[k, tokens]`.
    pub fn new(vectors: Tensor<2>, head: &Matrix) -> Directions {
        let Some(panels) = head.panels() else {
            return Directions::Device(linear(vectors, head));
        };
        let vectors = Host::of(vectors);
        let of_tile = |tile: Range<usize>| products(&vectors, panels, tile);
        Directions::Host(tiles(head.dims()[0]).map(of_tile).collect())
    }
}

/// The products of states, row by row, with some tokens of the head.
fn products(h: &[f32], head: &Panels, tokens: Range<usize>) -> Vec<f32> {
    let [width, _] = head.dims();
    let factor = Factor {
        panels: head,
        columns: tokens,
        bias: None,
    };
    let found = kernels::products(View::new(h, h.len() / width, width), &[factor]);
    found.into_iter().next().expect("one for each factor")
}

/// The difference between the last states of a branch and the unedited ones.
#[derive(Debug, Clone)]
pub enum Change<'a> {
    /// There is no difference.
    Nothing,
    /// The states are the unedited ones minus `coefficients · vectors`.
    LowRank {
        /// The coefficients, `[rows, k]`.
        coefficients: Tensor<2>,
        /// The products of the vectors with the slice.
        directions: &'a Directions,
    },
    /// The states are these, `[rows, d]`.
    States(Tensor<2>),
}

/// The comparison of a branch with the unedited model, for one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The log-probability of the target under the branch, in nats.
    pub log_prob: f32,
    /// The divergence `KL(unedited ‖ branch)` over the whole vocabulary, in nats. Rounding can make a tiny sum
    /// negative by less than 1e-6; it is then set to 0.
    pub kl: f32,
    /// Whether both have the same most likely token; of equally likely tokens the first counts.
    pub agree: bool,
}

/// Computes the log-probability of one target per row, for several branches, from a vocabulary that comes in slices.
/// On request it also compares each branch with the unedited model.
///
/// It keeps a few numbers per row and branch, so neither the head nor the logits have to be in memory as a whole. The
/// slices may come in any order, but each token must come once.
#[derive(Debug, Clone)]
pub struct Scores {
    targets: Vec<u32>,
    branches: Vec<Vec<Row>>,
    compared: Option<Compared>,
}

/// The unedited rows, and for each branch `Σ exp(x − max x) · (x − y)`.
#[derive(Debug, Clone)]
struct Compared {
    unedited: Vec<Row>,
    gaps: Vec<Vec<f64>>,
}

/// `log Σ exp` of the logits so far is `max + ln(sum)`.
#[derive(Debug, Clone, Copy)]
struct Row {
    sum: f64,
    max: f32,
    best: u32,
    target: Option<f32>,
}

impl Row {
    const EMPTY: Row = Row {
        sum: 0.0,
        max: f32::NEG_INFINITY,
        best: 0,
        target: None,
    };

    /// Adds a slice that begins at token `first`. Returns the factors that brought what was there
    /// and what was added to the common largest logit.
    fn add(&mut self, part: &Reduced, first: usize) -> (f64, f64) {
        let best = first as u32 + part.best;
        let max = self.max.max(part.max);
        if part.max > self.max || (part.max == self.max && best < self.best) {
            self.best = best;
        }
        let factor = |of: f32| (f64::from(of) - f64::from(max)).exp();
        let (kept, added) = (factor(self.max), factor(part.max));
        self.sum = self.sum * kept + part.sum * added;
        self.max = max;
        if part.target.is_some() {
            self.target = part.target;
        }
        (kept, added)
    }

    fn log_sum(&self) -> f64 {
        f64::from(self.max) + self.sum.ln()
    }
}

impl Scores {
    /// Prepares the log-probabilities of one target per row; no slice has been added yet.
    pub fn log_probs_of(targets: Vec<u32>, branches: usize) -> Scores {
        Scores {
            branches: vec![vec![Row::EMPTY; targets.len()]; branches],
            targets,
            compared: None,
        }
    }

    /// Prepares the log-probabilities and the comparisons with the unedited model.
    pub fn comparisons_of(targets: Vec<u32>, branches: usize) -> Scores {
        let compared = Compared {
            unedited: vec![Row::EMPTY; targets.len()],
            gaps: vec![vec![0.0; targets.len()]; branches],
        };
        Scores {
            compared: Some(compared),
            ..Scores::log_probs_of(targets, branches)
        }
    }

    /// Returns ranges of rows for which a slice can be added without their logits taking much memory.
    pub fn chunks(&self, slice: Slice<'_>) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.targets.len();
        let tokens = slice.head.dims()[0];
        let chunk = match slice.head.panels() {
            Some(_) => ROWS,
            None => rows_per_chunk(tokens),
        };
        (0..rows)
            .step_by(chunk)
            .map(move |start| start..(start + chunk).min(rows))
    }

    /// Adds a slice of the vocabulary for one of its [`Scores::chunks`].
    ///
    /// The unedited products are computed once for all branches that change them by a low rank. Each such branch then
    /// costs `rows × tokens × k` instead of `rows × tokens × d`.
    ///
    /// # Shapes
    /// `unedited` is `[rows, d]`, the states of these rows; `changes` has one entry per branch.
    ///
    /// # Panics
    /// If `unedited` is `None` although a change refers to it or comparisons were asked for.
    pub fn add(
        &mut self,
        rows: Range<usize>,
        unedited: Option<&Tensor<2>>,
        changes: &[Change<'_>],
        slice: Slice<'_>,
    ) {
        let [tokens, _] = slice.head.dims();
        check_bias(slice.bias, tokens);
        assert_eq!(changes.len(), self.branches.len(), "one change per branch");
        for h in unedited
            .into_iter()
            .chain(changes.iter().filter_map(states))
        {
            assert_eq!(h.dims()[0], rows.len(), "one state per row");
        }
        if tokens == 0 || rows.is_empty() {
            return;
        }
        let compared = self.compared.is_some();
        let needed = compared || changes.iter().any(|c| states(c).is_none());
        let unedited = needed.then(|| {
            unedited
                .expect("a branch refers to the unedited states")
                .clone()
        });
        let targets = self.targets[rows.clone()].to_vec();
        let columns = |first: usize, tokens: usize| -> Vec<Option<usize>> {
            // Column of each row's target, when the target lies there.
            targets
                .iter()
                .map(|&t| (t as usize).checked_sub(first))
                .map(|column| column.filter(|&c| c < tokens))
                .collect()
        };
        if slice.head.panels().is_none() {
            let products = unedited.map(|h| linear(h, slice.head));
            let columns = columns(slice.first, tokens);
            let parts = plain_parts(products, changes, &columns, slice, compared);
            self.merge(&parts, rows, slice.first);
            return;
        }
        let states = OnHost::new(unedited, changes);
        for (at, tile) in tiles(tokens).enumerate() {
            let first = slice.first + tile.start;
            let columns = columns(first, tile.len());
            let parts = fused_parts(&states, changes, &columns, (at, tile), slice, compared);
            self.merge(&parts, rows.clone(), first);
        }
    }

    fn merge(&mut self, found: &Parts, rows: Range<usize>, first: usize) {
        for (of_branch, parts) in self.branches.iter_mut().zip(&found.branches) {
            for (row, part) in of_branch[rows.clone()].iter_mut().zip(parts) {
                row.add(part, first);
            }
        }
        let Some(Compared { unedited, gaps }) = &mut self.compared else {
            return;
        };
        for (i, row) in rows.enumerate() {
            let (kept, added) = unedited[row].add(&found.unedited[i], first);
            for (gaps, parts) in gaps.iter_mut().zip(&found.branches) {
                gaps[row] = gaps[row] * kept + parts[i].gap * added;
            }
        }
    }

    /// Returns `log p(target)` in nats, indexed `[branch][row]`.
    ///
    /// # Panics
    /// If no slice contained the target of a row.
    pub fn log_probs(&self) -> Vec<Vec<f32>> {
        let of_row = |(row, target): (&Row, &u32)| match row.target {
            Some(logit) => (f64::from(logit) - row.log_sum()) as f32,
            None => panic!("token {target} was in no slice of the vocabulary"),
        };
        self.branches
            .iter()
            .map(|rows| rows.iter().zip(&self.targets).map(of_row).collect())
            .collect()
    }

    /// Returns the comparisons of every branch with the unedited model, indexed `[branch][row]`.
    ///
    /// # Panics
    /// If no slice contained the target of a row, or if the scores were not made by [`Scores::comparisons_of`].
    pub fn comparisons(&self) -> Vec<Vec<Comparison>> {
        let compared = self.compared.as_ref().expect("made for comparisons");
        let of_branch = |(b, log_probs): (usize, Vec<f32>)| {
            log_probs
                .into_iter()
                .enumerate()
                .map(|(i, log_prob)| {
                    let (row, unedited) = (&self.branches[b][i], &compared.unedited[i]);
                    let mean = compared.gaps[b][i] / unedited.sum;
                    let kl = (mean + row.log_sum() - unedited.log_sum()) as f32;
                    Comparison {
                        log_prob,
                        // Not `max`, which would turn NaN into 0.
                        kl: if kl < 0.0 { 0.0 } else { kl },
                        agree: row.best == unedited.best,
                    }
                })
                .collect()
        };
        self.log_probs()
            .into_iter()
            .enumerate()
            .map(of_branch)
            .collect()
    }
}

fn states<'a>(change: &'a Change<'_>) -> Option<&'a Tensor<2>> {
    match change {
        Change::States(h) => Some(h),
        _ => None,
    }
}

/// The contribution of a slice to a range of rows.
pub(super) struct Parts {
    /// The unedited rows; empty if neither a comparison nor an unchanged branch needs them.
    pub unedited: Vec<Reduced>,
    /// The rows of the branches, indexed `[branch][row]`.
    pub branches: Vec<Vec<Reduced>>,
}

/// The states and coefficients of some rows, for the fused kernels.
pub(super) struct OnHost {
    unedited: Option<Host>,
    /// For each change its states or its coefficients.
    changes: Vec<Option<Host>>,
}

impl OnHost {
    pub fn new(unedited: Option<Tensor<2>>, changes: &[Change<'_>]) -> OnHost {
        let of = |change: &Change<'_>| match change {
            Change::Nothing => None,
            Change::LowRank { coefficients, .. } => Some(Host::of(coefficients.clone())),
            Change::States(h) => Some(Host::of(h.clone())),
        };
        OnHost {
            unedited: unedited.map(Host::of),
            changes: changes.iter().map(of).collect(),
        }
    }
}

/// Computes the contribution with the fused kernels, for one numbered tile of a slice.
pub(super) fn fused_parts(
    states: &OnHost,
    changes: &[Change<'_>],
    columns: &[Option<usize>],
    (at, tile): (usize, Range<usize>),
    slice: Slice<'_>,
    compared: bool,
) -> Parts {
    let tokens = tile.len();
    let shape = Shape {
        bias: slice.bias.map(|b| &b[tile.clone()]),
        how: slice.how,
    };
    let head = slice.head.panels().expect("a head on the CPU");
    let products = |h: &Host| products(h, head, tile.clone());
    let formed = states.unedited.as_ref().map(products);
    let unedited = formed.as_deref().unwrap_or_default();
    let reference = compared.then(|| Reference::new(unedited, tokens, columns, shape));
    let reduce = |products: &[f32], updates: &[Update<'_>]| {
        kernels::reduce(
            products,
            tokens,
            columns,
            updates,
            shape,
            reference.as_ref(),
        )
    };
    let own = match &reference {
        Some(reference) => reference.rows.clone(),
        None if changes.iter().any(|c| matches!(c, Change::Nothing)) => {
            reduce(unedited, &[Update::NONE])
        }
        None => Vec::new(),
    };
    let on_host = || changes.iter().zip(&states.changes);
    let updates: Vec<Update<'_>> = on_host()
        .filter_map(|pair| match pair {
            (
                Change::LowRank {
                    directions: Directions::Host(directions),
                    ..
                },
                Some(coefficients),
            ) => Some(Update {
                rank: coefficients.len() / columns.len(),
                coefficients,
                directions: &directions[at],
            }),
            _ => None,
        })
        .collect();
    let updated = reduce(unedited, &updates);
    let mut next = 0..updates.len();
    let branches = on_host()
        .map(|(change, on_host)| match change {
            Change::Nothing => own.clone(),
            Change::LowRank { .. } => {
                let update = next.next().expect("directions for the CPU lie on the host");
                updated
                    .iter()
                    .skip(update)
                    .step_by(updates.len())
                    .copied()
                    .collect()
            }
            Change::States(_) => {
                let h = on_host.as_ref().expect("states lie on the host");
                reduce(&products(h), &[Update::NONE])
            }
        })
        .collect();
    Parts {
        unedited: own,
        branches,
    }
}

/// Computes the contribution with plain burn operations.
pub(super) fn plain_parts(
    unedited: Option<Tensor<2>>,
    changes: &[Change<'_>],
    columns: &[Option<usize>],
    slice: Slice<'_>,
    compared: bool,
) -> Parts {
    let shape = |products| plain::shape_logits(products, slice.bias, slice.how);
    let reference = unedited.clone().filter(|_| compared).map(shape);
    let reduce = |products| plain_reduced(shape(products), columns, reference.as_ref());
    let needed = compared || changes.iter().any(|c| matches!(c, Change::Nothing));
    let own = match &unedited {
        Some(products) if needed => reduce(products.clone()),
        _ => Vec::new(),
    };
    let branches = changes
        .iter()
        .map(|change| match change {
            Change::Nothing => own.clone(),
            Change::LowRank {
                coefficients,
                directions,
            } => {
                let directions = match directions {
                    Directions::Device(directions) => directions.clone(),
                    Directions::Host(tiles) => {
                        let device = coefficients.device();
                        let [_, k] = coefficients.dims();
                        let of_tile = |values: &Vec<f32>| {
                            from_rows(values.clone(), k, values.len() / k, &device)
                        };
                        Tensor::cat(tiles.iter().map(of_tile).collect(), 1)
                    }
                };
                let products = unedited.clone().expect("formed for changes of it");
                reduce(products - coefficients.clone().matmul(directions))
            }
            Change::States(h) => reduce(linear(h.clone(), slice.head)),
        })
        .collect();
    Parts {
        unedited: own,
        branches,
    }
}

/// Reduces logits, `[rows, tokens]`, beside those of the reference.
fn plain_reduced(
    logits: Tensor<2>,
    columns: &[Option<usize>],
    reference: Option<&Tensor<2>>,
) -> Vec<Reduced> {
    let device = logits.device();
    let [rows, tokens] = logits.dims();
    let max = logits.clone().max_dim(1);
    let sum = to_host((logits.clone() - max.clone()).exp().sum_dim(1));
    let best = first_largest(&logits, &max);
    let at = columns.iter().map(|c| c.unwrap_or(0) as i32).collect();
    let at: IntTensor<2> = index(at, &device).unsqueeze_dim(1);
    let picked = to_host(logits.clone().gather(1, at));
    let gaps = match reference {
        Some(x) => {
            // See the fused kernel for the centre, and for what rounding takes from a difference.
            let max = x.clone().max_dim(1);
            let best = first_largest(x, &max);
            let best: IntTensor<2> =
                index(best.iter().map(|&b| b as i32).collect(), &device).unsqueeze_dim(1);
            let difference = x.clone() - logits.clone();
            let centre = difference.clone().gather(1, best);
            let taken = x.clone() - difference.clone();
            let lost = (x.clone() - (difference.clone() + taken.clone())) - (logits - taken);
            let weights = (x.clone() - max).exp();
            let rest = difference - centre.clone() + lost;
            let rest = to_host((weights.clone() * rest).sum_dim(1));
            let (sum, centre) = (to_host(weights.sum_dim(1)), to_host(centre));
            (0..rows)
                .map(|i| f64::from(rest[i]) + f64::from(centre[i]) * f64::from(sum[i]))
                .collect()
        }
        None => vec![0.0; rows],
    };
    let max = to_host(max);
    debug_assert!(tokens > 0, "slices without tokens are passed over");
    (0..rows)
        .map(|i| Reduced {
            max: max[i],
            sum: f64::from(sum[i]),
            best: best[i],
            target: columns[i].map(|_| picked[i]),
            gap: gaps[i],
        })
        .collect()
}

/// First column of the largest value of each row.
fn first_largest(values: &Tensor<2>, max: &Tensor<2>) -> Vec<u32> {
    let [_, tokens] = values.dims();
    let columns: IntTensor<2> = index((0..tokens as i32).collect(), &values.device()).unsqueeze();
    let smaller = values.clone().lower(max.clone());
    let columns = columns
        .expand(values.dims())
        .mask_fill(smaller, tokens as i32);
    let first = columns.min_dim(1).into_data().convert::<i32>();
    let first = first.into_vec::<i32>().expect("converted just above");
    // Values that are not numbers are nowhere largest.
    first
        .into_iter()
        .map(|c| c.clamp(0, tokens as i32 - 1) as u32)
        .collect()
}

/// Computes the mean cross-entropy of `scale · h · headᵀ` against `targets`, with its gradients.
///
/// The result is the loss in nats, `∂loss/∂h` and `∂loss/∂head`. Forward and backward pass share each chunk of
/// logits, so none is kept.
///
/// # Shapes
/// `h` is `[rows, d]`, with at least one row, and `head` is `[vocabulary, d]`, row-major; the gradients have the same shapes. `h` must
/// not be an autodiff tensor.
pub fn cross_entropy(
    h: Tensor<2>,
    head: &[f32],
    targets: &[u32],
    scale: f32,
) -> (f64, Tensor<2>, Vec<f32>) {
    let device = h.device();
    let [rows, d] = h.dims();
    let vocabulary = head.len() / d;
    let chunk = rows_per_chunk(vocabulary);
    let weight = 1.0 / rows as f32;
    if is_plain_cpu(&device) {
        let (loss, grad_h, grad_head) = fused_cross_entropy(&Host::of(h), head, targets, scale);
        return (loss, from_rows(grad_h, rows, d, &device), grad_head);
    }
    let head = from_rows(head.to_vec(), vocabulary, d, &device);
    let (mut loss, mut grad_h, mut grad_head) = (0.0, Vec::new(), None::<Tensor<2>>);
    for start in (0..rows).step_by(chunk) {
        let end = (start + chunk).min(rows);
        let part = h.clone().narrow(0, start, end - start);
        let logits = linear(part.clone(), &head);
        let log_probs = activation::log_softmax(logits * scale, 1);
        let targets = targets[start..end].iter().map(|&t| t as i32).collect();
        let at: IntTensor<2> = index(targets, &device).unsqueeze_dim(1);
        let picked = log_probs.clone().gather(1, at.clone());
        let sum: f64 = to_host(picked.clone()).into_iter().map(f64::from).sum();
        loss -= sum;
        let minus_one = picked.ones_like().neg();
        let grad_logits =
            log_probs
                .exp()
                .scatter(1, at, minus_one, burn::tensor::IndexingUpdateOp::Add)
                * (scale * weight);
        grad_h.push(grad_logits.clone().matmul(head.clone()));
        let grad = grad_logits.transpose().matmul(part);
        grad_head = Some(match grad_head {
            Some(sum) => sum + grad,
            None => grad,
        });
    }
    let grad_head = grad_head.expect("at least one row");
    let loss = loss / rows as f64;
    (loss, Tensor::cat(grad_h, 0), to_host(grad_head))
}

/// [`cross_entropy`] on the CPU: products and gradients in host memory, without copies.
fn fused_cross_entropy(
    h: &[f32],
    head: &[f32],
    targets: &[u32],
    scale: f32,
) -> (f64, Vec<f32>, Vec<f32>) {
    let (rows, d) = (targets.len(), h.len() / targets.len());
    let vocabulary = head.len() / d;
    let head = View::new(head, vocabulary, d);
    let weight = 1.0 / rows as f32;
    let (mut loss, mut grad_h, mut grad_head) = (0.0, Vec::new(), Vec::new());
    let chunk = rows_per_chunk(vocabulary);
    for (part, targets) in h.chunks(chunk * d).zip(targets.chunks(chunk)) {
        let part = View::new(part, targets.len(), d);
        let mut logits = kernels::dense(part, head.transpose());
        loss += kernels::cross_entropy_grad(&mut logits, vocabulary, targets, scale, weight);
        let gradient = View::new(&logits, targets.len(), vocabulary);
        grad_h.append(&mut kernels::dense(gradient, head));
        let grad = kernels::dense(gradient.transpose(), part);
        if grad_head.is_empty() {
            grad_head = grad;
        } else {
            grad_head.iter_mut().zip(grad).for_each(|(s, g)| *s += g);
        }
    }
    (loss / rows as f64, grad_h, grad_head)
}
