//! Linear support vector machines without intercept, solved up to rounding.
//!
//! # Source
//! The problem is that of LIBLINEAR's `L2-regularised L2-loss SVC, primal`
//! (Fan et al., JMLR 9, 2008), which scikit-learn's
//! `LinearSVC(fit_intercept=False, dual=False)` calls:
//!
//! min_w ½‖w‖² + C Σ_i max(0, 1 − y_i w·x_i)²
//!
//! The problem is strictly convex and piecewise quadratic, so its solution is unique. Newton's method with an exact
//! line search reaches it, and with exact steps does so in finitely many (Keerthi & DeCoste, JMLR 6, 2005). INLP
//! iterates on these solutions, so they are solved up to rounding and not to a loose tolerance; otherwise the second
//! round would depend on where the first one stopped.
//!
//! INLP fits in a nullspace P = I − B·Bᵀ. The optimum for the data X·P lies in the range of P, where w·(P·x) = w·x.
//! So the solver reads the unprojected X, and X·P is never formed. Newton's step p solves H·p = −g under Bᵀ·p = 0
//! with H = I + 2C·Σxxᵀ over the rows inside the margin: p = −H⁻¹(g + B·λ), with λ such that p is orthogonal to B.
//!
//! A step is found by conjugate gradients, preconditioned by a Hessian that is already factored, if that is expected
//! to take less time than factoring the new Hessian; below about 300 dimensions it never is. The first preconditioner
//! is the Hessian of all rows, which is the Hessian at w = 0 for any labels and in any nullspace. It is therefore
//! factored once for all classifiers.

use std::sync::Arc;

use rayon::prelude::*;

use crate::linalg::{Cholesky, add_gram_lower, gram_product, transposed_product};
use crate::{FitError, Matrix};
use interlingua_edits::{axpy, dot, norm};

/// The settings of the solver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SvmOptions {
    /// The weight C of the hinge loss against the penalty.
    pub c: f64,
    /// The norm of the gradient at which the solver stops, relative to the gradient at w = 0.
    pub tolerance: f64,
    /// The number of Newton steps after which the solver gives up with an error.
    pub max_steps: usize,
}

impl Default for SvmOptions {
    fn default() -> Self {
        Self {
            c: 1.0,
            tolerance: 1e-10,
            max_steps: 200,
        }
    }
}

/// Data that is prepared for many solves, which share its Gram matrix and a factor of it.
pub struct SvmProblem<'a> {
    x: &'a Matrix,
    options: SvmOptions,
    /// Lower triangle of XᵀX.
    gram: Matrix,
    /// Factor of the Hessian with all rows in it, if it has one.
    whole: Option<Arc<Cholesky>>,
    /// See [`PER_NUMBER`].
    per_number: f64,
    /// Σ‖x_i‖: what the gradient's rounding is measured against.
    scale: f64,
}

/// A gradient is a sum of terms that add up to at most 2C·Σ‖x_i‖; below this
/// share of it, it is rounding, and no step can make it smaller. When it is that
/// small already at w = 0, the data holds nothing linear about the classes, and
/// w = 0 is the answer.
const ROUNDING: f64 = 64.0 * f64::EPSILON;

/// Operations of a product of matrices in the time that one number takes to come
/// from memory in a product with a vector: an estimate, for some 80 GFLOP/s beside 10 GB/s.
/// More cores make the first faster, but not the triangular solves of an iteration.
const PER_NUMBER: f64 = 64.0;

/// Iterations of conjugate gradients below which a Hessian is factored at once.
const FEWEST: usize = 4;

/// And at which they end in any case.
const MOST: usize = 200;

impl<'a> SvmProblem<'a> {
    /// Prepares sentence vectors.
    ///
    /// # Shapes
    /// `x` is n×d.
    pub fn new(x: &'a Matrix, options: SvmOptions) -> Self {
        let mut gram = Matrix::zeros(x.cols(), x.cols());
        add_gram_lower(&mut gram, x.data(), 1.0);
        let scale = (0..x.rows()).map(|i| norm(x.row(i))).sum();
        let whole = factor(&gram, 2.0 * options.c).map(Arc::new);
        Self {
            x,
            options,
            gram,
            whole,
            per_number: PER_NUMBER,
            scale,
        }
    }

    /// Returns the one-vs-rest weights of the classes, one row per class of `present`. With two classes there is a
    /// single row, positive for the second.
    ///
    /// # Shapes
    /// `label` has n values; `basis` has orthonormal rows of length d, which are the directions already removed; the
    /// weights are m×d and orthogonal to `basis`.
    ///
    /// # Errors
    /// [`FitError::NoConvergence`], with a description from `name`.
    pub fn one_vs_rest(
        &self,
        label: &[usize],
        present: &[usize],
        basis: &[Vec<f64>],
        name: &(dyn Fn(usize) -> String + Sync),
    ) -> Result<Matrix, FitError> {
        let positives = if present.len() == 2 {
            &present[1..]
        } else {
            present
        };
        let rows = positives
            .par_iter()
            .map(|&class| {
                let signs: Vec<f64> = label
                    .iter()
                    .map(|&l| if l == class { 1.0 } else { -1.0 })
                    .collect();
                self.solve(&signs, basis, &|| name(class))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Matrix::from_rows(&rows, self.x.cols()))
    }

    /// Returns the weights that separate the rows of sign +1 from those of sign −1.
    ///
    /// # Shapes
    /// `signs` has n values; `basis` is as in [`SvmProblem::one_vs_rest`]; the weights have length d.
    ///
    /// # Errors
    /// [`FitError::NoConvergence`] after `max_steps` Newton steps.
    pub fn solve(
        &self,
        signs: &[f64],
        basis: &[Vec<f64>],
        what: &dyn Fn() -> String,
    ) -> Result<Vec<f64>, FitError> {
        let (n, d) = (self.x.rows(), self.x.cols());
        let options = &self.options;
        let c2 = 2.0 * options.c;
        let mut w = vec![0.0; d];
        let mut margin = vec![0.0; n];
        // At w = 0 every example lies inside the margin.
        let mut active = vec![true; n];
        let mut newton = Newton {
            problem: self,
            basis,
            factored: None,
            gram: None,
            too_many: usize::MAX,
        };
        let mut start = 0.0;
        let mut reached = f64::INFINITY;
        for step in 0..options.max_steps {
            let gradient = self.gradient(&w, &margin, signs, &active, c2, basis);
            let length = norm(&gradient);
            if step == 0 {
                start = length;
            }
            let goal = f64::max(options.tolerance * start, ROUNDING * c2 * self.scale);
            if length <= goal {
                return Ok(w);
            }
            reached = length / start;
            // Far from the optimum a rough direction is as good. Near it steps are nearly exact, so
            // that the last one goes far beyond the goal, as one with a new factor does.
            let rounding = ROUNDING * c2 * self.scale / length;
            let rough = (1e-2 * reached.min(1.0).sqrt()).max(0.1 * rounding);
            let direction = newton.direction(&gradient, &active, rough)?;
            let slope: Vec<f64> = self.rows_dot(&direction);
            let t = exact_step(&w, &direction, &margin, &slope, signs, options.c);
            axpy(t, &direction, &mut w);
            axpy(t, &slope, &mut margin);
            if step % 8 == 7 {
                // Margins are updated, not recomputed; now and then they are
                // refreshed so that rounding does not build up.
                margin = self.rows_dot(&w);
            }
            for i in 0..n {
                active[i] = signs[i] * margin[i] < 1.0;
            }
        }
        Err(FitError::NoConvergence {
            what: what(),
            iterations: options.max_steps,
            gradient: reached,
            tolerance: options.tolerance,
        })
    }

    /// Computes X·v.
    pub(crate) fn rows_dot(&self, v: &[f64]) -> Vec<f64> {
        (0..self.x.rows())
            .into_par_iter()
            .with_min_len(64)
            .map(|i| dot(self.x.row(i), v))
            .collect()
    }

    /// w − 2C·P·Σ_{active} (y_i − w·x_i)·x_i.
    fn gradient(
        &self,
        w: &[f64],
        margin: &[f64],
        signs: &[f64],
        active: &[bool],
        c2: f64,
        basis: &[Vec<f64>],
    ) -> Vec<f64> {
        let weights: Vec<f64> = (0..active.len())
            .map(|i| match active[i] {
                true => -c2 * (signs[i] - margin[i]),
                false => 0.0,
            })
            .collect();
        let mut gradient = transposed_product(self.x, &weights);
        project(&mut gradient, basis);
        axpy(1.0, w, &mut gradient);
        gradient
    }
}

/// A factor of I + 2C·Σxxᵀ, from the lower triangle of the sum.
fn factor(gram: &Matrix, c2: f64) -> Option<Cholesky> {
    let d = gram.cols();
    let mut hessian = Matrix::zeros(d, d);
    let rows = hessian.data_mut().par_chunks_exact_mut(d.max(1));
    rows.enumerate().for_each(|(i, row)| {
        for (h, g) in row.iter_mut().zip(&gram.row(i)[..=i]) {
            *h = c2 * g;
        }
        row[i] += 1.0;
    });
    Cholesky::new(hessian)
}

/// Removes the components along an orthonormal basis.
fn project(v: &mut [f64], basis: &[Vec<f64>]) {
    for b in basis {
        axpy(-dot(b, v), b, v);
    }
}

/// Finds the steps of one solve.
struct Newton<'p> {
    problem: &'p SvmProblem<'p>,
    basis: &'p [Vec<f64>],
    /// The last Hessian that was factored, in the nullspace of the basis.
    factored: Option<Factored<'p>>,
    /// Lower triangle of Σ xxᵀ over the rows of that Hessian, and which they are; all at first.
    gram: Option<(Matrix, Vec<bool>)>,
    /// Conjugate gradients are not tried with so many changed rows.
    too_many: usize,
}

impl<'p> Newton<'p> {
    /// The step from a gradient g in the range of P, in that range; ‖P·(H·p + g)‖ is at most
    /// `rough` of ‖g‖.
    fn direction(
        &mut self,
        gradient: &[f64],
        active: &[bool],
        rough: f64,
    ) -> Result<Vec<f64>, FitError> {
        let failed = || FitError::Decomposition {
            what: "Cholesky factorisation of the SVM's Hessian",
            reason: "it is not positive definite".into(),
        };
        let problem = self.problem;
        let minus: Vec<f64> = gradient.iter().map(|g| -g).collect();
        if self.factored.is_none() {
            let whole = problem.whole.clone().ok_or_else(failed)?;
            self.factored = Some(Factored::new(whole, self.basis).ok_or_else(failed)?);
        }
        let changed = self.changed(active);
        if let Some(factored) = &self.factored {
            if changed == 0 {
                return Ok(factored.solve(&minus));
            }
            let d = gradient.len();
            let rows = active.iter().filter(|a| **a).count();
            let anew = (changed.min(rows) * d * d + d * d * d / 3) as f64;
            let iteration = problem.per_number * (d * (rows + d)) as f64;
            let iterations = ((anew / iteration) as usize).min(MOST);
            if iterations >= FEWEST && changed < self.too_many {
                let step = self.conjugate_gradients(factored, &minus, active, rough, iterations);
                if let Some(step) = step {
                    return Ok(step);
                }
                // Tried again when much less has changed.
                self.too_many = changed / 4;
            }
        }
        // The old factor goes before the new one comes.
        self.factored = None;
        self.follow(active);
        let (gram, _) = self.gram.as_ref().expect("it was just brought up to date");
        let factor = factor(gram, 2.0 * problem.options.c).ok_or_else(failed)?;
        let factored = Factored::new(Arc::new(factor), self.basis).ok_or_else(failed)?;
        Ok(self.factored.insert(factored).solve(&minus))
    }

    /// Rows by which the active ones differ from those of the last factor.
    fn changed(&self, active: &[bool]) -> usize {
        match &self.gram {
            Some((_, before)) => active.iter().zip(before).filter(|(a, b)| a != b).count(),
            None => active.iter().filter(|a| !**a).count(),
        }
    }

    /// Brings the Gram matrix to the active rows, from what it is or from nothing, as takes fewer.
    fn follow(&mut self, active: &[bool]) {
        let (x, n) = (self.problem.x, active.len());
        let anew = active.iter().filter(|a| **a).count() < self.changed(active);
        let (gram, before) = match anew {
            true => {
                // The old one goes before the new one comes.
                self.gram = None;
                let nothing = || (Matrix::zeros(x.cols(), x.cols()), vec![false; n]);
                self.gram.get_or_insert_with(nothing)
            }
            false => {
                let all = || (self.problem.gram.clone(), vec![true; n]);
                self.gram.get_or_insert_with(all)
            }
        };
        for (becomes, scale) in [(true, 1.0), (false, -1.0)] {
            let changed: Vec<usize> = (0..n)
                .filter(|&i| active[i] == becomes && before[i] != becomes)
                .collect();
            let mut rows = Vec::with_capacity(GATHER.min(changed.len()) * x.cols());
            for chunk in changed.chunks(GATHER) {
                rows.clear();
                for &i in chunk {
                    rows.extend_from_slice(x.row(i));
                }
                add_gram_lower(gram, &rows, scale);
            }
        }
        before.copy_from_slice(active);
    }

    /// Solves H·p = r in the range of P, to a residual of `rough` of ‖r‖; nothing when that takes
    /// more iterations than are allowed.
    fn conjugate_gradients(
        &self,
        factored: &Factored<'_>,
        r: &[f64],
        active: &[bool],
        rough: f64,
        iterations: usize,
    ) -> Option<Vec<f64>> {
        let c2 = 2.0 * self.problem.options.c;
        let goal = rough * norm(r);
        let mut solution = vec![0.0; r.len()];
        let mut residual = r.to_vec();
        let mut conditioned = factored.solve(&residual);
        let mut towards = conditioned.clone();
        let mut length = dot(&residual, &conditioned);
        for _ in 0..iterations {
            let mut turned = gram_product(self.problem.x, active, &towards);
            turned.iter_mut().for_each(|v| *v *= c2);
            project(&mut turned, self.basis);
            axpy(1.0, &towards, &mut turned);
            let step = length / dot(&towards, &turned);
            if !step.is_finite() || step <= 0.0 {
                return None;
            }
            axpy(step, &towards, &mut solution);
            axpy(-step, &turned, &mut residual);
            if norm(&residual) <= goal {
                project(&mut solution, self.basis);
                return Some(solution);
            }
            conditioned = factored.solve(&residual);
            let next = dot(&residual, &conditioned);
            let keep = next / length;
            length = next;
            for (t, c) in towards.iter_mut().zip(&conditioned) {
                *t = c + keep * *t;
            }
        }
        None
    }
}

/// Rows gathered before they are added to the Gram matrix in one product.
const GATHER: usize = 1024;

/// A factored Hessian, and what solving with it in a nullspace takes.
struct Factored<'p> {
    factor: Arc<Cholesky>,
    basis: &'p [Vec<f64>],
    /// Rows H⁻¹·b.
    inverse: Matrix,
    /// Of BᵀH⁻¹B.
    within: Cholesky,
}

impl<'p> Factored<'p> {
    fn new(factor: Arc<Cholesky>, basis: &'p [Vec<f64>]) -> Option<Self> {
        let k = basis.len();
        let d = factor.lower().nrows();
        let mut inverse = Matrix::from_rows(basis, d).transpose();
        factor.solve(&mut inverse);
        let inverse = inverse.transpose();
        let within = Matrix::from_fn(k, k, |a, b| dot(&basis[a], inverse.row(b)));
        let within = Cholesky::new(within)?;
        Some(Self {
            factor,
            basis,
            inverse,
            within,
        })
    }

    /// p with P·H·p = r and Bᵀ·p = 0, for r in the range of P.
    fn solve(&self, r: &[f64]) -> Vec<f64> {
        let mut p = Matrix::from_fn(r.len(), 1, |i, _| r[i]);
        self.factor.solve(&mut p);
        let mut p = p.into_data();
        let k = self.basis.len();
        if k > 0 {
            let mut lambda = Matrix::from_fn(k, 1, |a, _| dot(&self.basis[a], &p));
            self.within.solve(&mut lambda);
            for (b, &lambda) in lambda.data().iter().enumerate() {
                axpy(-lambda, self.inverse.row(b), &mut p);
            }
            project(&mut p, self.basis);
        }
        p
    }
}

/// The exact minimiser t of the objective along w + t·p.
///
/// The derivative is increasing and piecewise linear in t. Newton's steps on it
/// stay inside a bracket that always holds the root, and fall back to its middle
/// when they would leave it.
fn exact_step(w: &[f64], p: &[f64], margin: &[f64], slope: &[f64], signs: &[f64], c: f64) -> f64 {
    let (wp, pp) = (dot(w, p), dot(p, p));
    let derivatives = |t: f64| {
        let (mut first, mut second) = (wp + t * pp, pp);
        for i in 0..margin.len() {
            let q = signs[i] * slope[i];
            let gap = 1.0 - signs[i] * margin[i] - t * q;
            if gap > 0.0 {
                first -= 2.0 * c * gap * q;
                second += 2.0 * c * q * q;
            }
        }
        (first, second)
    };
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut t = 1.0;
    for _ in 0..100 {
        let (first, second) = derivatives(t);
        if first == 0.0 {
            break;
        }
        if first < 0.0 {
            low = t;
        } else {
            high = t;
        }
        let mut next = t - first / second;
        if next <= low || next >= high {
            next = if high.is_finite() {
                0.5 * (low + high)
            } else {
                2.0 * low.max(1.0)
            };
        }
        if (next - t).abs() <= 1e-14 * t.abs() {
            break;
        }
        t = next;
    }
    t
}

#[cfg(test)]
mod tests;
