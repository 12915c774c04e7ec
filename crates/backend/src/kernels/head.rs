//! The kernels of the LM head, which reduce logits to log-probabilities or to gradients.

use std::borrow::Cow;

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::math::{LANES, exp, max_of, softcap, sum_by, tree_sum};
use crate::ops::Logits;

/// Logits reduced at once, which stay in the nearest cache; their sums are combined in `f64`.
const REDUCED: usize = 2048;

/// Computes `x ← softcap(scale · x + bias)` for every row of logits, in place.
pub fn shape_logits(
    logits: &mut [f32],
    vocabulary: usize,
    bias: Option<&[f32]>,
    scale: f32,
    cap: Option<f32>,
) {
    if bias.is_none() && scale == 1.0 && cap.is_none() {
        return;
    }
    logits
        .par_chunks_exact_mut(vocabulary)
        .with_min_len(4)
        .for_each(|row| shape_row(row, bias, scale, cap));
}

#[multiversion(targets = "simd")]
fn shape_row(row: &mut [f32], bias: Option<&[f32]>, scale: f32, cap: Option<f32>) {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    shape_in_place::<FUSED>(row, bias, scale, cap);
}

#[inline(always)]
fn shape_in_place<const FUSED: bool>(
    row: &mut [f32],
    bias: Option<&[f32]>,
    scale: f32,
    cap: Option<f32>,
) {
    match bias {
        Some(bias) => {
            for (x, b) in row.iter_mut().zip(bias) {
                *x = *x * scale + b;
            }
        }
        None => {
            for x in row.iter_mut() {
                *x *= scale;
            }
        }
    }
    if let Some(cap) = cap {
        for x in row.iter_mut() {
            *x = softcap::<FUSED>(*x, cap);
        }
    }
}

/// As [`shape_in_place`], from elsewhere.
#[inline(always)]
fn shape_into<const FUSED: bool>(
    out: &mut [f32],
    row: &[f32],
    bias: Option<&[f32]>,
    scale: f32,
    cap: Option<f32>,
) {
    match bias {
        Some(bias) => {
            for ((y, x), b) in out.iter_mut().zip(row).zip(bias) {
                *y = x * scale + b;
            }
        }
        None => {
            for (y, x) in out.iter_mut().zip(row) {
                *y = x * scale;
            }
        }
    }
    if let Some(cap) = cap {
        for y in out.iter_mut() {
            *y = softcap::<FUSED>(*y, cap);
        }
    }
}

/// A low-rank change of products: `products − coefficients · directions`.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The rank k; 0 leaves the products unchanged.
    pub rank: usize,
    /// The coefficients, rows × k.
    pub coefficients: &'a [f32],
    /// The directions, k × tokens.
    pub directions: &'a [f32],
}

impl Update<'_> {
    /// No change.
    pub const NONE: Update<'static> = Update {
        rank: 0,
        coefficients: &[],
        directions: &[],
    };
}

/// The way in which products become logits; see [`Logits`].
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// The bias, with one value per token.
    pub bias: Option<&'a [f32]>,
    /// The scale and the soft cap.
    pub how: Logits,
}

impl Shape<'_> {
    #[inline(always)]
    fn is_identity(&self) -> bool {
        self.bias.is_none() && self.how.scale == 1.0 && self.how.softcap.is_none()
    }
}

/// The values that are kept of a row of logits.
#[derive(Debug, Clone, Copy)]
pub struct Reduced {
    /// The largest logit.
    pub max: f32,
    /// The sum `Σ exp(logit − max)`.
    pub sum: f64,
    /// The first token that has the largest logit.
    pub best: u32,
    /// The logit of the row's target.
    pub target: Option<f32>,
    /// The sum `Σ exp(x − max x) · (x − logit)`, with `x` the logits of the reference; 0 without a reference.
    pub gap: f64,
}

/// The logits with which other logits are compared.
#[derive(Debug)]
pub struct Reference<'a> {
    logits: Cow<'a, [f32]>,
    /// `exp(logit − max)` of the row.
    weights: Vec<f32>,
    /// The reduced logits, one per row.
    pub rows: Vec<Reduced>,
}

impl Reference<'_> {
    /// Makes the reference from products, `rows × tokens`; `columns` has the target of each row.
    pub fn new<'a>(
        products: &'a [f32],
        tokens: usize,
        columns: &[Option<usize>],
        shape: Shape<'_>,
    ) -> Reference<'a> {
        let rows = reduce(products, tokens, columns, &[Update::NONE], shape, None);
        let mut logits = Cow::Borrowed(products);
        if !shape.is_identity() {
            let Logits { scale, softcap } = shape.how;
            shape_logits(logits.to_mut(), tokens, shape.bias, scale, softcap);
        }
        let mut weights = vec![0.0; logits.len()];
        weights
            .par_chunks_exact_mut(tokens)
            .zip(logits.par_chunks_exact(tokens))
            .zip(&rows)
            .with_min_len(4)
            .for_each(|((weights, logits), row)| exp_row(weights, logits, row.max));
        Reference {
            logits,
            weights,
            rows,
        }
    }
}

#[multiversion(targets = "simd")]
fn exp_row(out: &mut [f32], row: &[f32], max: f32) {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    for (w, x) in out.iter_mut().zip(row) {
        *w = exp::<FUSED>(x - max);
    }
}

/// Reduces the logits of several changes of the same products, each `rows × tokens`.
///
/// The result is indexed `[row][update]`. The changed logits are computed a few thousand at a time.
pub fn reduce(
    products: &[f32],
    tokens: usize,
    columns: &[Option<usize>],
    updates: &[Update<'_>],
    shape: Shape<'_>,
    reference: Option<&Reference<'_>>,
) -> Vec<Reduced> {
    let empty = Reduced {
        max: f32::NEG_INFINITY,
        sum: 0.0,
        best: 0,
        target: None,
        gap: 0.0,
    };
    let mut out = vec![empty; columns.len() * updates.len()];
    if updates.is_empty() {
        return out;
    }
    // Rows of a group share the directions while these are in the cache.
    let group = columns
        .len()
        .div_ceil(4 * rayon::current_num_threads())
        .clamp(1, 16);
    out.par_chunks_mut(group * updates.len())
        .enumerate()
        .for_each(|(at, out)| {
            let job = Job {
                first: at * group,
                products,
                tokens,
                columns,
                shape,
                reference,
            };
            reduce_group(out, updates, &job);
        });
    out
}

/// A few rows of a call of [`reduce`].
struct Job<'a> {
    /// First row.
    first: usize,
    products: &'a [f32],
    tokens: usize,
    columns: &'a [Option<usize>],
    shape: Shape<'a>,
    reference: Option<&'a Reference<'a>>,
}

#[multiversion(targets = "simd")]
fn reduce_group(out: &mut [Reduced], updates: &[Update<'_>], job: &Job<'_>) {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let tokens = job.tokens;
    let mut buffer = [0.0f32; REDUCED];
    for start in (0..tokens).step_by(REDUCED) {
        let part = start..(start + REDUCED).min(tokens);
        for (u, update) in updates.iter().enumerate() {
            for (i, results) in out.chunks_exact_mut(updates.len()).enumerate() {
                let row = job.first + i;
                let logits = changed::<FUSED>(job, update, row, part.clone(), &mut buffer);
                let result = &mut results[u];
                let max = max_of(logits);
                if max > result.max {
                    result.sum *= f64::from(result.max - max).exp();
                    result.max = max;
                    let at = logits.iter().position(|&x| x == max).unwrap_or(0);
                    result.best = (start + at) as u32;
                }
                let max = result.max;
                result.sum += f64::from(sum_by(logits, |x| exp::<FUSED>(x - max)));
                if let Some(reference) = job.reference {
                    let within = row * tokens + part.start..row * tokens + part.end;
                    let centre = centre::<FUSED>(job, update, row, reference);
                    result.gap += f64::from(gap(
                        &reference.weights[within.clone()],
                        &reference.logits[within],
                        logits,
                        centre,
                    ));
                }
            }
        }
    }
    for (i, results) in out.chunks_exact_mut(updates.len()).enumerate() {
        let row = job.first + i;
        for (result, update) in results.iter_mut().zip(updates) {
            result.target = job.columns[row].map(|c| changed_at::<FUSED>(job, update, row, c));
            if let Some(reference) = job.reference {
                let centre = f64::from(centre::<FUSED>(job, update, row, reference));
                result.gap += centre * reference.rows[row].sum;
            }
        }
    }
}

/// Logits of a part of a row after an update; in `buffer` unless they are the products themselves.
#[inline(always)]
fn changed<'a, const FUSED: bool>(
    job: &Job<'a>,
    update: &Update<'_>,
    row: usize,
    part: std::ops::Range<usize>,
    buffer: &'a mut [f32; REDUCED],
) -> &'a [f32] {
    let products = &job.products[row * job.tokens..][part.clone()];
    if update.rank == 0 && job.shape.is_identity() {
        return products;
    }
    let buffer = &mut buffer[..products.len()];
    if update.rank == 0 {
        let Logits { scale, softcap } = job.shape.how;
        let bias = job.shape.bias.map(|b| &b[part]);
        shape_into::<FUSED>(buffer, products, bias, scale, softcap);
        return buffer;
    }
    buffer.copy_from_slice(products);
    for k in 0..update.rank {
        let coefficient = update.coefficients[row * update.rank + k];
        let direction = &update.directions[k * job.tokens..][part.clone()];
        for (x, d) in buffer.iter_mut().zip(direction) {
            *x -= coefficient * d;
        }
    }
    if !job.shape.is_identity() {
        let Logits { scale, softcap } = job.shape.how;
        shape_in_place::<FUSED>(buffer, job.shape.bias.map(|b| &b[part]), scale, softcap);
    }
    buffer
}

/// One logit of what [`changed`] gives.
#[inline(always)]
fn changed_at<const FUSED: bool>(
    job: &Job<'_>,
    update: &Update<'_>,
    row: usize,
    column: usize,
) -> f32 {
    let mut x = job.products[row * job.tokens + column];
    for k in 0..update.rank {
        x -=
            update.coefficients[row * update.rank + k] * update.directions[k * job.tokens + column];
    }
    let mut x = [x];
    if !job.shape.is_identity() {
        let Logits { scale, softcap } = job.shape.how;
        let bias = job.shape.bias.map(|b| &b[column..=column]);
        shape_in_place::<FUSED>(&mut x, bias, scale, softcap);
    }
    x[0]
}

/// How much a logit falls where the reference is largest. Differences are summed around it, so
/// that a shift of all logits, which changes no probability, costs no digits.
#[inline(always)]
fn centre<const FUSED: bool>(
    job: &Job<'_>,
    update: &Update<'_>,
    row: usize,
    reference: &Reference<'_>,
) -> f32 {
    let best = reference.rows[row].best as usize;
    reference.logits[row * job.tokens + best] - changed_at::<FUSED>(job, update, row, best)
}

/// `Σ w · (x − y − centre)`.
///
/// The difference of two logits is rounded, by as much as a small divergence is large where logits
/// move far. What the rounding takes away is known exactly (Knuth's two-sum) and is added again.
#[inline(always)]
fn gap(w: &[f32], x: &[f32], y: &[f32], centre: f32) -> f32 {
    let term = |w: f32, x: f32, y: f32| {
        let difference = x - y;
        let taken = x - difference;
        let lost = (x - (difference + taken)) - (y - taken);
        w * (difference - centre + lost)
    };
    let mut lanes = [0.0f32; LANES];
    let (ws, w) = w.as_chunks::<LANES>();
    let (xs, x) = x.as_chunks::<LANES>();
    let (ys, y) = y.as_chunks::<LANES>();
    for ((w, x), y) in ws.iter().zip(xs).zip(ys) {
        for l in 0..LANES {
            lanes[l] += term(w[l], x[l], y[l]);
        }
    }
    let mut sum = tree_sum(lanes);
    for ((w, x), y) in w.iter().zip(x).zip(y) {
        sum += term(*w, *x, *y);
    }
    sum
}

/// Replaces logits by the gradient of the mean cross-entropy, in place.
///
/// The result is the sum of the negative log-likelihoods. Each row becomes `weight · scale · (softmax(scale · row) −
/// onehot(target))`.
pub fn cross_entropy_grad(
    logits: &mut [f32],
    vocabulary: usize,
    targets: &[u32],
    scale: f32,
    weight: f32,
) -> f64 {
    let losses: Vec<f32> = logits
        .par_chunks_exact_mut(vocabulary)
        .zip(targets.par_iter())
        .with_min_len(4)
        .map(|(row, &target)| cross_entropy_row(row, target as usize, scale, weight))
        .collect();
    losses.into_iter().map(f64::from).sum()
}

#[multiversion(targets = "simd")]
fn cross_entropy_row(row: &mut [f32], target: usize, scale: f32, weight: f32) -> f32 {
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let max = max_of(row) * scale;
    let at = row[target] * scale;
    for x in row.iter_mut() {
        *x = exp::<FUSED>(*x * scale - max);
    }
    let sum = sum_by(row, |x| x);
    let factor = weight * scale / sum;
    for x in row.iter_mut() {
        *x *= factor;
    }
    row[target] -= weight * scale;
    max + sum.ln() - at
}
