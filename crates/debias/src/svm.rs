//! Linear support vector machines without intercept, solved to rounding.
//!
//! # Source
//! The problem is that of LIBLINEAR's `L2-regularised L2-loss SVC, primal`
//! (Fan et al., JMLR 9, 2008), which scikit-learn's
//! `LinearSVC(fit_intercept=False, dual=False)` calls:
//!
//! min_w ½‖w‖² + C Σ_i max(0, 1 − y_i w·x_i)²
//!
//! It is strictly convex and piecewise quadratic, so its solution is unique and
//! Newton's method with an exact line search reaches it in finitely many steps
//! (Keerthi & DeCoste, JMLR 6, 2005). INLP iterates on these solutions, which
//! is why they are solved to rounding and not to a loose tolerance: otherwise
//! the second round would depend on how the first one stopped.
//!
//! INLP fits in a nullspace P = I − B·Bᵀ. The optimum for the data X·P lies in
//! the range of P, where w·(P·x) = w·x: so the solver reads the unprojected X
//! and X·P is never formed. Newton's step p solves H·p = −g under Bᵀ·p = 0 with
//! H = I + 2C·Σxxᵀ: p = −H⁻¹(g + B·λ), λ chosen so that p is orthogonal to B.

use rayon::prelude::*;

use crate::linalg::{Cholesky, add_gram_lower, transposed_product};
use crate::matrix::{axpy, dot, norm};
use crate::{FitError, Matrix};

/// Settings of the solver.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SvmOptions {
    /// Weight C of the hinge loss against the penalty.
    pub c: f64,
    /// Norm of the gradient to reach, relative to the gradient at w = 0.
    pub tolerance: f64,
    /// Newton steps after which the solver gives up with an error.
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

/// Data prepared for many solves: its Gram matrix is shared by all of them.
pub struct SvmProblem<'a> {
    x: &'a Matrix,
    /// Lower triangle of XᵀX.
    gram: Matrix,
    /// Σ‖x_i‖: what the gradient's rounding is measured against.
    scale: f64,
}

/// A gradient is a sum of terms that add up to at most 2C·Σ‖x_i‖; below this
/// share of it, it is rounding, and no step can make it smaller. When it is that
/// small already at w = 0, the data holds nothing linear about the classes, and
/// w = 0 is the answer.
const ROUNDING: f64 = 64.0 * f64::EPSILON;

impl<'a> SvmProblem<'a> {
    /// Prepares sentence vectors.
    ///
    /// # Shapes
    /// `x` n×d.
    pub fn new(x: &'a Matrix) -> Self {
        let mut gram = Matrix::zeros(x.cols(), x.cols());
        add_gram_lower(&mut gram, x.data(), 1.0);
        let scale = (0..x.rows()).map(|i| norm(x.row(i))).sum();
        Self { x, gram, scale }
    }

    /// One-vs-rest weights of the classes, one row per class of `present`; with
    /// two classes a single row, positive for the second.
    ///
    /// # Shapes
    /// `label` n; `basis` orthonormal rows of length d, the directions already
    /// removed; the weights are m×d and orthogonal to `basis`.
    ///
    /// # Errors
    /// [`FitError::NoConvergence`], which `name` says more about.
    pub fn one_vs_rest(
        &self,
        label: &[usize],
        present: &[usize],
        basis: &[Vec<f64>],
        options: &SvmOptions,
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
                self.solve(&signs, basis, options, &|| name(class))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Matrix::from_rows(&rows, self.x.cols()))
    }

    /// The weights that separate the rows of sign +1 from those of sign −1.
    ///
    /// # Shapes
    /// `signs` n; `basis` as in [`SvmProblem::one_vs_rest`]; the weights have
    /// length d.
    ///
    /// # Errors
    /// [`FitError::NoConvergence`] after `max_steps` Newton steps.
    pub fn solve(
        &self,
        signs: &[f64],
        basis: &[Vec<f64>],
        options: &SvmOptions,
        what: &dyn Fn() -> String,
    ) -> Result<Vec<f64>, FitError> {
        let (n, d) = (self.x.rows(), self.x.cols());
        let c2 = 2.0 * options.c;
        let mut w = vec![0.0; d];
        let mut margin = vec![0.0; n];
        // At w = 0 every example lies inside the margin.
        let mut active = vec![true; n];
        let mut hessian = Hessian::new(&self.gram);
        let mut start = 0.0;
        let mut reached = f64::INFINITY;
        for step in 0..options.max_steps {
            let gradient = self.gradient(&w, &margin, signs, &active, c2, basis);
            let length = norm(&gradient);
            if step == 0 {
                start = length;
            }
            if length <= f64::max(options.tolerance * start, ROUNDING * c2 * self.scale) {
                return Ok(w);
            }
            reached = length / start;
            hessian.follow(self.x, &active);
            let direction = hessian.newton_direction(&gradient, basis, c2)?;
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

    /// X·v.
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

/// Removes the components along an orthonormal basis.
fn project(v: &mut [f64], basis: &[Vec<f64>]) {
    for b in basis {
        axpy(-dot(b, v), b, v);
    }
}

/// Σ xxᵀ over the active rows, kept up to date by the rows that change.
struct Hessian {
    /// Lower triangle.
    gram: Matrix,
    active: Option<Vec<bool>>,
}

/// Rows gathered before they are added to the Gram matrix in one product.
const GATHER: usize = 1024;

impl Hessian {
    /// Starts with every row active.
    fn new(gram: &Matrix) -> Self {
        Self {
            gram: gram.clone(),
            active: None,
        }
    }

    /// Adds the rows that became active and subtracts those that ceased to be.
    fn follow(&mut self, x: &Matrix, active: &[bool]) {
        let before = self.active.take();
        let was = |i: usize| before.as_ref().is_none_or(|b| b[i]);
        for (becomes, scale) in [(true, 1.0), (false, -1.0)] {
            let changed: Vec<usize> = (0..active.len())
                .filter(|&i| active[i] == becomes && was(i) != becomes)
                .collect();
            let mut rows = Vec::with_capacity(GATHER.min(changed.len()) * x.cols());
            for chunk in changed.chunks(GATHER) {
                rows.clear();
                for &i in chunk {
                    rows.extend_from_slice(x.row(i));
                }
                add_gram_lower(&mut self.gram, &rows, scale);
            }
        }
        self.active = Some(active.to_vec());
    }

    /// The step from a gradient g in the range of P, in that range.
    fn newton_direction(
        &self,
        gradient: &[f64],
        basis: &[Vec<f64>],
        c2: f64,
    ) -> Result<Vec<f64>, FitError> {
        let d = gradient.len();
        let what = "Cholesky factorisation of the SVM's Hessian";
        let failed = || FitError::Decomposition {
            what,
            reason: "it is not positive definite".into(),
        };
        let mut h = self.gram.clone();
        h.data_mut().par_iter_mut().for_each(|v| *v *= c2);
        for i in 0..d {
            h.row_mut(i)[i] += 1.0;
        }
        let factor = Cholesky::new(h).ok_or_else(failed)?;
        // H⁻¹ of the gradient and of the basis.
        let k = basis.len();
        let mut solved = Matrix::from_fn(d, k + 1, |i, j| match j {
            0 => gradient[i],
            _ => basis[j - 1][i],
        });
        factor.solve(&mut solved);
        let solved = solved.transpose();
        let mut direction = solved.row(0).to_vec();
        if k > 0 {
            let inverse = |b: usize| solved.row(b + 1);
            let within = Matrix::from_fn(k, k, |a, b| dot(&basis[a], inverse(b)));
            let mut lambda = Matrix::from_fn(k, 1, |a, _| dot(&basis[a], &direction));
            Cholesky::new(within).ok_or_else(failed)?.solve(&mut lambda);
            for (b, &lambda) in lambda.data().iter().enumerate() {
                axpy(-lambda, inverse(b), &mut direction);
            }
        }
        direction.iter_mut().for_each(|v| *v = -*v);
        project(&mut direction, basis);
        Ok(direction)
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
mod tests {
    use super::*;

    /// On one separable axis the optimum can be written down: with n examples at
    /// ±a, ½w² + n(1−aw)² is least at w = 2na/(1+2na²).
    #[test]
    fn matches_the_closed_form() {
        for (n, a) in [(2, 1.0), (10, 0.5), (4, 3.0)] {
            let x = Matrix::from_fn(n, 1, |i, _| if i % 2 == 0 { a } else { -a });
            let signs: Vec<f64> = (0..n)
                .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
                .collect();
            let w = SvmProblem::new(&x)
                .solve(&signs, &[], &SvmOptions::default(), &String::new)
                .unwrap();
            let expect = 2.0 * n as f64 * a / (1.0 + 2.0 * n as f64 * a * a);
            assert!((w[0] - expect).abs() < 1e-12, "{} {expect}", w[0]);
        }
    }

    /// Fitting the unprojected data under a basis equals fitting projected data.
    #[test]
    fn basis_equals_projected_data() {
        let x = Matrix::from_fn(60, 5, |i, j| {
            ((i * 7 + j * 13) % 11) as f64 / 3.0 - 1.5 + (i % 2) as f64 * 0.3
        });
        let signs: Vec<f64> = (0..60)
            .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let basis = vec![vec![0.6, 0.8, 0.0, 0.0, 0.0]];
        let options = SvmOptions::default();
        let w = SvmProblem::new(&x)
            .solve(&signs, &basis, &options, &String::new)
            .unwrap();
        let mut projected = x.clone();
        for i in 0..projected.rows() {
            project(projected.row_mut(i), &basis);
        }
        let v = SvmProblem::new(&projected)
            .solve(&signs, &[], &options, &String::new)
            .unwrap();
        for (w, v) in w.iter().zip(&v) {
            assert!((w - v).abs() < 1e-8, "{w} {v}");
        }
    }

    #[test]
    fn gives_up_with_the_facts() {
        let x = Matrix::from_fn(20, 2, |i, j| (i + j) as f64);
        let signs: Vec<f64> = (0..20).map(|i| if i < 10 { 1.0 } else { -1.0 }).collect();
        let options = SvmOptions {
            max_steps: 1,
            ..SvmOptions::default()
        };
        let error = SvmProblem::new(&x)
            .solve(&signs, &[], &options, &|| "round 7".to_owned())
            .unwrap_err();
        assert!(
            matches!(error, FitError::NoConvergence { what, iterations: 1, .. } if what == "round 7")
        );
    }
}
