//! Multinomial logistic regression with an L2 penalty, solved up to rounding.
//!
//! The fit solves min ½‖W‖² + C·Σᵢ −ln softmax(W·xᵢ + b)\[yᵢ\]; the intercepts b are not penalised.
//!
//! With two classes W is a single row, and the second class has the probability 1/(1 + exp(−(w·x + b))). This is not
//! the softmax of two penalised rows, but it is the problem that scikit-learn's `LogisticRegression` solves. The
//! problem is convex and its optimum is unique, so two solvers differ by their tolerance only.
//!
//! # Source
//! Newton's method with conjugate gradients for its steps: Lin, Weng & Keerthi,
//! "Trust Region Newton Method for Large-Scale Logistic Regression", JMLR 9,
//! 2008; here with a line search. The conjugate gradients are preconditioned by
//! I + C·q·XᵀX, q the mean of p(1 − p), which is the Hessian if all rows had equal
//! weight (the bound of Böhning, Annals of the Institute of Statistical
//! Mathematics 44, 1992, has q = ½); with more features than rows it is inverted
//! by Woodbury's identity, so that the factorised matrix has the smaller of both
//! sizes.

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::{Llt, Solve};
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{MetricError, finite, length};

/// The settings of the fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticOptions {
    /// The weight C of the likelihood against the penalty.
    pub c: f64,
    /// The norm of the gradient at which the fit stops, relative to C·Σᵢ‖(xᵢ, 1)‖, which no gradient of the
    /// likelihood exceeds by more than the factor √2.
    pub tolerance: f64,
    /// The largest number of Newton steps.
    pub max_steps: usize,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self {
            c: 1.0,
            tolerance: 1e-11,
            max_steps: 100,
        }
    }
}

/// A fitted classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// The rows of W, m×d, row after row. There is one row for two classes, and otherwise one row per class.
    pub weights: Vec<f64>,
    /// The intercepts, one per row of W.
    pub intercepts: Vec<f64>,
    /// The number of classes.
    pub classes: usize,
    /// The norm of the gradient at the end, relative to the same quantity as the tolerance.
    pub gradient: f64,
    /// The number of Newton steps that were taken.
    pub steps: usize,
    /// Whether `gradient` is within the tolerance.
    pub converged: bool,
}

/// Fits the classifier.
///
/// # Shapes
/// `x` is n×`dim`, row after row; `y` has n classes below `classes`, each of which occurs.
///
/// # Errors
/// No rows, shapes that do not fit, values that are not finite, a class that does not occur (its intercept would go
/// to −∞) or does not exist, a setting that is not positive, or [`MetricError::Undefined`] if the objective
/// overflows. A fit that runs out of steps is not an error: see [`Logistic::converged`].
pub fn fit(
    x: &[f64],
    y: &[usize],
    dim: usize,
    classes: usize,
    options: &LogisticOptions,
) -> Result<Logistic, MetricError> {
    check(x, y, dim, classes, options)?;
    let problem = Problem::new(x, y, dim, classes, options.c);
    let mut v = vec![0.0; problem.m * (dim + 1)];
    let mut scores = vec![0.0; y.len() * problem.m];
    let mut gradient = f64::INFINITY;
    let (mut steps, mut converged) = (0, false);
    while steps <= options.max_steps {
        let p = problem.probabilities(&scores);
        let g = problem.gradient(&v, &p);
        gradient = norm(&g) / problem.scale;
        if !gradient.is_finite() {
            return Err(MetricError::Undefined {
                what: "logistic regression",
            });
        }
        converged = gradient <= options.tolerance;
        if converged || steps == options.max_steps {
            break;
        }
        let step = problem.newton_step(&g, &p);
        let slopes = problem.scores(&step);
        let t = problem.line_search(&v, &step, &scores, &slopes, dot(&g, &step));
        steps += 1;
        if t == 0.0 {
            // No step makes the objective smaller: its rounding is reached.
            break;
        }
        v.iter_mut().zip(&step).for_each(|(v, s)| *v += t * s);
        scores = problem.scores(&v);
    }
    let (weights, intercepts) = v
        .chunks_exact(dim + 1)
        .map(|row| (&row[..dim], row[dim]))
        .fold((Vec::new(), Vec::new()), |(mut w, mut b), (row, bias)| {
            w.extend_from_slice(row);
            b.push(bias);
            (w, b)
        });
    Ok(Logistic {
        weights,
        intercepts,
        classes,
        gradient,
        steps,
        converged,
    })
}

impl Logistic {
    /// Returns ln p of every class for every row.
    ///
    /// # Shapes
    /// `x` is n×d; the result is n×classes, row after row.
    pub fn log_probabilities(&self, x: &[f64]) -> Vec<f64> {
        let m = self.intercepts.len();
        let scores = affine(x, &self.weights, &self.intercepts);
        if m > 1 {
            let mut out = scores;
            out.chunks_exact_mut(m).for_each(|row| {
                let total = log_sum_exp(row);
                row.iter_mut().for_each(|s| *s -= total);
            });
            return out;
        }
        scores
            .iter()
            .flat_map(|&s| [-softplus(s), -softplus(-s)])
            .collect()
    }
}

fn check(
    x: &[f64],
    y: &[usize],
    dim: usize,
    classes: usize,
    options: &LogisticOptions,
) -> Result<(), MetricError> {
    const WHAT: &str = "rows of a logistic regression";
    for (name, value) in [("c", options.c), ("tolerance", options.tolerance)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(MetricError::BadSetting {
                name,
                value: value.to_string(),
                expected: "a number above 0",
            });
        }
    }
    if classes < 2 || dim == 0 {
        let (name, value) = if dim == 0 {
            ("dim", dim)
        } else {
            ("classes", classes)
        };
        return Err(MetricError::BadSetting {
            name,
            value: value.to_string(),
            expected: "at least 1 dimension and 2 classes",
        });
    }
    if y.is_empty() {
        return Err(MetricError::Empty { what: WHAT });
    }
    length("rows × dim", y.len().saturating_mul(dim), x.len())?;
    finite(WHAT, x)?;
    let mut seen = vec![false; classes];
    for (row, &class) in y.iter().enumerate() {
        *seen.get_mut(class).ok_or(MetricError::UnknownClass {
            what: WHAT,
            row,
            class,
            classes,
        })? = true;
    }
    match seen.iter().position(|seen| !seen) {
        Some(class) => Err(MetricError::MissingClass { what: WHAT, class }),
        None => Ok(()),
    }
}

/// Rows one task takes. Sums over tasks are added in order, so that the number
/// of threads changes nothing.
const CHUNK: usize = 512;

/// Conjugate gradient steps within a Newton step at most.
const MAX_INNER: usize = 500;

struct Problem<'a> {
    x: &'a [f64],
    y: &'a [usize],
    dim: usize,
    /// Rows of W.
    m: usize,
    c: f64,
    /// C·Σ‖(xᵢ, 1)‖.
    scale: f64,
    /// XᵀX, or X·Xᵀ with more features than rows.
    gram: Mat<f64>,
}

impl<'a> Problem<'a> {
    fn new(x: &'a [f64], y: &'a [usize], dim: usize, classes: usize, c: f64) -> Self {
        let n = y.len();
        let view = MatRef::from_row_major_slice(x, n, dim);
        let wide = dim > n;
        let (left, right) = if wide {
            (view, view.transpose())
        } else {
            (view.transpose(), view)
        };
        let mut gram = Mat::zeros(left.nrows(), left.nrows());
        matmul(gram.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
        let lengths = x.chunks_exact(dim).map(|row| (dot(row, row) + 1.0).sqrt());
        Self {
            x,
            y,
            dim,
            m: if classes == 2 { 1 } else { classes },
            c,
            scale: c * lengths.sum::<f64>(),
            gram,
        }
    }

    /// X·Wᵀ + b, n×m.
    fn scores(&self, v: &[f64]) -> Vec<f64> {
        let (mut weights, mut intercepts) = (Vec::new(), Vec::new());
        for row in v.chunks_exact(self.dim + 1) {
            weights.extend_from_slice(&row[..self.dim]);
            intercepts.push(row[self.dim]);
        }
        affine(self.x, &weights, &intercepts)
    }

    /// p of the second class (m = 1) or of all classes, n×m.
    fn probabilities(&self, scores: &[f64]) -> Vec<f64> {
        if self.m == 1 {
            return scores.iter().map(|&s| (-softplus(-s)).exp()).collect();
        }
        let mut p = scores.to_vec();
        p.chunks_exact_mut(self.m).for_each(|row| {
            let total = log_sum_exp(row);
            row.iter_mut().for_each(|s| *s = (*s - total).exp());
        });
        p
    }

    /// Whether row i is of the class that score j stands for.
    fn target(&self, i: usize, j: usize) -> f64 {
        let class = if self.m == 1 { 1 } else { j };
        f64::from(u8::from(self.y[i] == class))
    }

    fn gradient(&self, v: &[f64], p: &[f64]) -> Vec<f64> {
        let residual: Vec<f64> = p
            .iter()
            .enumerate()
            .map(|(at, p)| p - self.target(at / self.m, at % self.m))
            .collect();
        self.back(&residual, v)
    }

    /// C·RᵀX, C·Rᵀ1 plus the penalty's part of v: from n×m to m×(d+1).
    fn back(&self, residual: &[f64], v: &[f64]) -> Vec<f64> {
        let (m, d) = (self.m, self.dim);
        let parts: Vec<(Vec<f64>, Vec<f64>)> = self
            .x
            .par_chunks(CHUNK * d)
            .zip(residual.par_chunks(CHUNK * m))
            .map(|(x, r)| {
                let rows = x.len() / d;
                let mut out = vec![0.0; m * d];
                matmul(
                    MatMut::from_row_major_slice_mut(&mut out, m, d),
                    Accum::Replace,
                    MatRef::from_row_major_slice(r, rows, m).transpose(),
                    MatRef::from_row_major_slice(x, rows, d),
                    1.0,
                    Par::Seq,
                );
                let mut bias = vec![0.0; m];
                for r in r.chunks_exact(m) {
                    bias.iter_mut().zip(r).for_each(|(b, r)| *b += r);
                }
                (out, bias)
            })
            .collect();
        let mut out = vec![0.0; v.len()];
        for (weights, bias) in &parts {
            for j in 0..m {
                let row = &mut out[j * (d + 1)..(j + 1) * (d + 1)];
                let weights = &weights[j * d..(j + 1) * d];
                row[..d].iter_mut().zip(weights).for_each(|(o, w)| *o += w);
                row[d] += bias[j];
            }
        }
        for (at, (out, v)) in out.iter_mut().zip(v).enumerate() {
            *out *= self.c;
            if at % (d + 1) < d {
                *out += v;
            }
        }
        out
    }

    /// Hessian times v.
    fn hessian(&self, v: &[f64], p: &[f64]) -> Vec<f64> {
        let mut a = self.scores(v);
        if self.m == 1 {
            a.iter_mut().zip(p).for_each(|(a, p)| *a *= p * (1.0 - p));
        } else {
            for (a, p) in a.chunks_exact_mut(self.m).zip(p.chunks_exact(self.m)) {
                let mean = dot(a, p);
                a.iter_mut().zip(p).for_each(|(a, p)| *a = p * (*a - mean));
            }
        }
        self.back(&a, v)
    }

    /// −H⁻¹·g by preconditioned conjugate gradients, to a precision that grows as
    /// the gradient shrinks.
    fn newton_step(&self, g: &[f64], p: &[f64]) -> Vec<f64> {
        let preconditioner = Preconditioner::new(self, p);
        let mut step = vec![0.0; g.len()];
        let mut rest: Vec<f64> = g.iter().map(|g| -g).collect();
        let enough = norm(&rest) * (norm(&rest) / self.scale).sqrt().min(0.1);
        let mut z = preconditioner.apply(self, &rest);
        let mut direction = z.clone();
        let mut rz = dot(&rest, &z);
        for _ in 0..MAX_INNER {
            let h = self.hessian(&direction, p);
            let curvature = dot(&direction, &h);
            if !(curvature > 0.0 && rz > 0.0) {
                break;
            }
            let t = rz / curvature;
            for i in 0..step.len() {
                step[i] += t * direction[i];
                rest[i] -= t * h[i];
            }
            if norm(&rest) <= enough {
                break;
            }
            z = preconditioner.apply(self, &rest);
            let next = dot(&rest, &z);
            let beta = next / rz;
            rz = next;
            direction
                .iter_mut()
                .zip(&z)
                .for_each(|(d, z)| *d = z + beta * *d);
        }
        step
    }

    /// A step that makes the objective smaller by Armijo's rule, halved from 1; 0
    /// where there is none.
    fn line_search(
        &self,
        v: &[f64],
        step: &[f64],
        scores: &[f64],
        slopes: &[f64],
        slope: f64,
    ) -> f64 {
        let start = self.objective(v, scores);
        // Near the optimum the decrease drowns in the rounding of the sum.
        let rounding = 1e-13 * start.abs();
        let mut t = 1.0;
        for _ in 0..60 {
            let there: Vec<f64> = v.iter().zip(step).map(|(v, s)| v + t * s).collect();
            let moved: Vec<f64> = scores.iter().zip(slopes).map(|(s, a)| s + t * a).collect();
            if self.objective(&there, &moved) <= start + 1e-4 * t * slope + rounding {
                return t;
            }
            t *= 0.5;
        }
        0.0
    }

    fn objective(&self, v: &[f64], scores: &[f64]) -> f64 {
        let penalty: f64 = v
            .chunks_exact(self.dim + 1)
            .map(|row| dot(&row[..self.dim], &row[..self.dim]))
            .sum();
        let loss: f64 = scores
            .chunks_exact(self.m)
            .zip(self.y)
            .map(|(s, &class)| match (self.m, class) {
                (1, 0) => softplus(s[0]),
                (1, _) => softplus(-s[0]),
                _ => log_sum_exp(s) - s[class],
            })
            .sum();
        0.5 * penalty + self.c * loss
    }
}

/// (I + a·XᵀX)⁻¹ for every row of W, and 1/(a·n) for its intercept.
struct Preconditioner {
    a: f64,
    /// Factor of I + a·XᵀX or of I/a + X·Xᵀ; without one, nothing is scaled.
    factor: Option<Llt<f64>>,
}

impl Preconditioner {
    fn new(problem: &Problem<'_>, p: &[f64]) -> Self {
        let weight = p.iter().map(|p| p * (1.0 - p)).sum::<f64>() / p.len() as f64;
        // Where all rows are certain, the Hessian is the penalty's.
        let a = problem.c * weight.max(1e-12);
        let wide = problem.dim > problem.y.len();
        let (scale, ridge) = if wide { (1.0, 1.0 / a) } else { (a, 1.0) };
        let mut h = problem.gram.clone();
        for j in 0..h.ncols() {
            h.col_mut(j).iter_mut().for_each(|v| *v *= scale);
            h[(j, j)] += ridge;
        }
        Self {
            a,
            factor: h.llt(Side::Lower).ok(),
        }
    }

    fn apply(&self, problem: &Problem<'_>, v: &[f64]) -> Vec<f64> {
        let (d, n) = (problem.dim, problem.y.len());
        let Some(factor) = &self.factor else {
            return v.to_vec();
        };
        let x = MatRef::from_row_major_slice(problem.x, n, d);
        let mut out = v.to_vec();
        let mut w = Mat::from_fn(d, problem.m, |i, j| v[j * (d + 1) + i]);
        if d > n {
            let mut inner = Mat::zeros(n, problem.m);
            matmul(inner.as_mut(), Accum::Replace, x, w.as_ref(), 1.0, Par::Seq);
            factor.solve_in_place(&mut inner);
            matmul(
                w.as_mut(),
                Accum::Add,
                x.transpose(),
                inner.as_ref(),
                -1.0,
                Par::Seq,
            );
        } else {
            factor.solve_in_place(&mut w);
        }
        for j in 0..problem.m {
            let row = &mut out[j * (d + 1)..(j + 1) * (d + 1)];
            (0..d).for_each(|i| row[i] = w[(i, j)]);
            row[d] /= self.a * n as f64;
        }
        out
    }
}

/// X·Wᵀ + b, blocks of rows in parallel.
///
/// # Shapes
/// `x` n×d, `weights` m×d, `intercepts` m; the answer is n×m.
fn affine(x: &[f64], weights: &[f64], intercepts: &[f64]) -> Vec<f64> {
    let m = intercepts.len();
    let d = weights.len() / m;
    let weights = MatRef::from_row_major_slice(weights, m, d);
    let mut out = vec![0.0; x.len() / d * m];
    out.par_chunks_mut(CHUNK * m)
        .zip(x.par_chunks(CHUNK * d))
        .for_each(|(out, x)| {
            let rows = x.len() / d;
            out.chunks_exact_mut(m)
                .for_each(|row| row.copy_from_slice(intercepts));
            matmul(
                MatMut::from_row_major_slice_mut(out, rows, m),
                Accum::Add,
                MatRef::from_row_major_slice(x, rows, d),
                weights.transpose(),
                1.0,
                Par::Seq,
            );
        });
    out
}

/// ln(1 + eˢ).
fn softplus(s: f64) -> f64 {
    s.max(0.0) + (-s.abs()).exp().ln_1p()
}

fn log_sum_exp(row: &[f64]) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + row.iter().map(|s| (s - largest).exp()).sum::<f64>().ln()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One feature, one value per class: w solves w = 2n·a/(1 + exp(2aw))… by
    /// bisection of the derivative, in place of a formula.
    #[test]
    fn two_points_by_hand() {
        let (n, a) = (6, 1.5);
        let x: Vec<f64> = (0..n).map(|i| if i % 2 == 0 { -a } else { a }).collect();
        let y: Vec<usize> = (0..n).map(|i| i % 2).collect();
        let model = fit(&x, &y, 1, 2, &LogisticOptions::default()).unwrap();
        // Every row has margin a·w: w − n·a/(1 + exp(a·w)) = 0 at the optimum.
        let w = model.weights[0];
        let slope = w - n as f64 * a / (1.0 + (a * w).exp());
        assert!(slope.abs() < 1e-9, "{w} {slope}");
        assert!(model.converged && model.intercepts[0].abs() < 1e-9);
    }

    /// With nothing to see, the probabilities are the shares of the classes.
    #[test]
    fn intercepts_alone() {
        let y = [0, 0, 0, 1, 1, 2];
        for (y, classes) in [(&y[..], 3), (&y[..5], 2)] {
            let x = vec![0.0; y.len()];
            let model = fit(&x, y, 1, classes, &LogisticOptions::default()).unwrap();
            let log_p = model.log_probabilities(&[0.0]);
            for (class, log_p) in log_p.iter().enumerate() {
                let share = y.iter().filter(|&&c| c == class).count() as f64 / y.len() as f64;
                assert!((log_p.exp() - share).abs() < 1e-9, "{log_p} {share}");
            }
        }
    }

    #[test]
    fn too_few_steps_are_said() {
        let x: Vec<f64> = (0..40).map(|i| ((i * 7) % 11) as f64).collect();
        let y: Vec<usize> = (0..20).map(|i| i % 3).collect();
        let options = LogisticOptions {
            max_steps: 1,
            ..LogisticOptions::default()
        };
        let model = fit(&x, &y, 2, 3, &options).unwrap();
        assert!(!model.converged && model.steps == 1 && model.gradient > options.tolerance);
    }
}
