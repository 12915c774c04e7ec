//! The head: from the last states to log-probabilities of tokens.

use burn::tensor::activation;

use super::{index, linear, plain};
use crate::device::is_plain_cpu;
use crate::{IntTensor, Tensor, from_rows, kernels, to_host};

/// Elements of the largest block of logits that is ever held.
const LOGIT_CHUNK: usize = 1 << 21;

fn rows_per_chunk(vocabulary: usize) -> usize {
    (LOGIT_CHUNK / vocabulary.max(1)).max(16)
}

/// What is done to the products of states and head:
/// `logits = softcap(scale · h · headᵀ + bias)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logits {
    /// Factor on the products.
    pub scale: f32,
    /// `cap · tanh(logit / cap)` (Gemma 2).
    pub softcap: Option<f32>,
}

impl Default for Logits {
    /// The products as they are.
    fn default() -> Self {
        Logits {
            scale: 1.0,
            softcap: None,
        }
    }
}

/// Logits of every token of the vocabulary. The caller bounds the rows.
///
/// # Shapes
/// `h`: `[rows, d]`, `head`: `[vocabulary, d]`, `bias`: `vocabulary` numbers,
/// result `[rows, vocabulary]`.
pub fn logits(h: Tensor<2>, head: &Tensor<2>, bias: Option<&[f32]>, how: Logits) -> Tensor<2> {
    let device = h.device();
    let products = linear(h, head);
    let [rows, vocabulary] = products.dims();
    check_bias(bias, vocabulary);
    if !is_plain_cpu(&device) {
        return plain::shape_logits(products, bias, how);
    }
    let mut values = to_host(products);
    kernels::shape_logits(&mut values, vocabulary, bias, how.scale, how.softcap);
    from_rows(values, rows, vocabulary, &device)
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

/// Log-probability of one target per row, from a vocabulary that comes in slices.
///
/// Keeps three numbers per row, so neither the head nor the logits need to be
/// held as a whole. The slices may come in any order, each token once.
#[derive(Debug, Clone)]
pub struct LogProbs {
    targets: Vec<u32>,
    rows: Vec<Row>,
}

/// `log Σ exp` of the logits so far is `max + ln(sum)`.
#[derive(Debug, Clone, Copy)]
struct Row {
    max: f64,
    sum: f64,
    target: Option<f64>,
}

impl Row {
    fn add(&mut self, max: f64, sum: f64) {
        if max > self.max {
            self.sum = self.sum * (self.max - max).exp() + sum;
            self.max = max;
        } else {
            self.sum += sum * (max - self.max).exp();
        }
    }
}

impl LogProbs {
    /// Nothing added yet; one target per row.
    pub fn new(targets: Vec<u32>) -> LogProbs {
        let row = Row {
            max: f64::NEG_INFINITY,
            sum: 0.0,
            target: None,
        };
        LogProbs {
            rows: vec![row; targets.len()],
            targets,
        }
    }

    /// Adds the tokens `first..first + slice_rows` of the vocabulary.
    ///
    /// The logits are formed a few rows at a time and reduced at once; memory
    /// does not grow with rows × tokens.
    ///
    /// # Shapes
    /// `h`: `[rows, d]`, `slice`: `[slice_rows, d]`, `bias`: `slice_rows` numbers.
    pub fn add(
        &mut self,
        h: &Tensor<2>,
        slice: &Tensor<2>,
        bias: Option<&[f32]>,
        first: usize,
        how: Logits,
    ) {
        let ([rows, _], [tokens, _]) = (h.dims(), slice.dims());
        assert_eq!(rows, self.targets.len(), "one target per row");
        check_bias(bias, tokens);
        if tokens == 0 {
            return;
        }
        let chunk = rows_per_chunk(tokens);
        for start in (0..rows).step_by(chunk) {
            let end = (start + chunk).min(rows);
            let products = linear(h.clone().narrow(0, start, end - start), slice);
            // Column of each row's target, when the target lies in this slice.
            let columns: Vec<Option<usize>> = self.targets[start..end]
                .iter()
                .map(|&t| (t as usize).checked_sub(first).filter(|&c| c < tokens))
                .collect();
            let parts = if is_plain_cpu(&h.device()) {
                fused_parts(products, &columns, bias, how)
            } else {
                plain_parts(products, &columns, bias, how)
            };
            for ((row, column), part) in self.rows[start..end].iter_mut().zip(columns).zip(parts) {
                row.add(part.max, part.sum);
                if column.is_some() {
                    row.target = part.target;
                }
            }
        }
    }

    /// `log p(target)` of every row, in nats.
    ///
    /// # Panics
    /// When the target of a row was in no slice.
    pub fn finish(self) -> Vec<f32> {
        self.rows
            .iter()
            .zip(&self.targets)
            .map(|(row, target)| match row.target {
                Some(logit) => (logit - row.max - row.sum.ln()) as f32,
                None => panic!("token {target} was in no slice of the vocabulary"),
            })
            .collect()
    }
}

fn fused_parts(
    products: Tensor<2>,
    columns: &[Option<usize>],
    bias: Option<&[f32]>,
    how: Logits,
) -> Vec<Row> {
    let [_, tokens] = products.dims();
    let mut values = to_host(products);
    // A positive scale alone is applied on the way, without a pass of its own.
    let scale = if bias.is_none() && how.softcap.is_none() && how.scale > 0.0 {
        how.scale
    } else {
        kernels::shape_logits(&mut values, tokens, bias, how.scale, how.softcap);
        1.0
    };
    kernels::log_sum_exp(&values, tokens, scale)
        .into_iter()
        .zip(values.chunks_exact(tokens))
        .zip(columns)
        .map(|(((max, sum), row), column)| Row {
            max: f64::from(max),
            sum,
            target: column.map(|c| f64::from(row[c] * scale)),
        })
        .collect()
}

fn plain_parts(
    products: Tensor<2>,
    columns: &[Option<usize>],
    bias: Option<&[f32]>,
    how: Logits,
) -> Vec<Row> {
    let device = products.device();
    let logits = plain::shape_logits(products, bias, how);
    let max = logits.clone().max_dim(1);
    let sum = (logits.clone() - max.clone()).exp().sum_dim(1);
    let at = columns.iter().map(|c| c.unwrap_or(0) as i32).collect();
    let at: IntTensor<2> = index(at, &device).unsqueeze_dim(1);
    let picked = to_host(logits.gather(1, at));
    let (max, sum) = (to_host(max), to_host(sum));
    (0..columns.len())
        .map(|i| Row {
            max: f64::from(max[i]),
            sum: f64::from(sum[i]),
            target: columns[i].map(|_| f64::from(picked[i])),
        })
        .collect()
}

/// Mean cross-entropy of `scale · h · headᵀ` against `targets`, with its gradients.
///
/// Returns the loss in nats, `∂loss/∂h` and `∂loss/∂head`. Forward and backward
/// share each chunk of logits, so none is kept.
///
/// # Shapes
/// `h`: `[rows, d]`, `head`: `[vocabulary, d]`; the gradients have the shapes of
/// what they belong to. Inputs must not be autodiff tensors.
pub fn cross_entropy(
    h: Tensor<2>,
    head: &Tensor<2>,
    targets: &[u32],
    scale: f32,
) -> (f64, Tensor<2>, Tensor<2>) {
    let device = h.device();
    let [rows, _] = h.dims();
    let [vocabulary, _] = head.dims();
    let chunk = rows_per_chunk(vocabulary);
    let weight = 1.0 / rows as f32;
    let (mut loss, mut grad_h, mut grad_head) = (0.0, Vec::new(), None::<Tensor<2>>);
    for start in (0..rows).step_by(chunk) {
        let end = (start + chunk).min(rows);
        let part = h.clone().narrow(0, start, end - start);
        let logits = linear(part.clone(), head);
        let targets = &targets[start..end];
        let grad_logits = if is_plain_cpu(&device) {
            let mut values = to_host(logits);
            loss += kernels::cross_entropy_grad(&mut values, vocabulary, targets, scale, weight);
            from_rows(values, end - start, vocabulary, &device)
        } else {
            let log_probs = activation::log_softmax(logits * scale, 1);
            let at: IntTensor<2> =
                index(targets.iter().map(|&t| t as i32).collect(), &device).unsqueeze_dim(1);
            let picked = log_probs.clone().gather(1, at.clone());
            loss -= to_host(picked.clone())
                .into_iter()
                .map(f64::from)
                .sum::<f64>();
            let minus_one = picked.ones_like().neg();
            log_probs
                .exp()
                .scatter(1, at, minus_one, burn::tensor::IndexingUpdateOp::Add)
                * (scale * weight)
        };
        grad_h.push(grad_logits.clone().matmul(head.clone()));
        let grad = grad_logits.transpose().matmul(part);
        grad_head = Some(match grad_head {
            Some(sum) => sum + grad,
            None => grad,
        });
    }
    (
        loss / rows as f64,
        Tensor::cat(grad_h, 0),
        grad_head.expect("at least one row"),
    )
}
