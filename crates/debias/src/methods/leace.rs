//! LEACE: least-squares concept erasure.
//!
//! # Source
//! Belrose et al., "LEACE: Perfect linear concept erasure in closed form",
//! NeurIPS 2023 (arXiv 2306.03819). Shrinkage: Bodnar, Gupta & Parolya, "On the
//! strong convergence of the optimal linear shrinkage estimator for large
//! dimensional covariance matrix", 2014 (arXiv 1308.2608).
//!
//! Formula: with z the one-hot class, W = Σ_xx^{−1/2} (eigenvalues up to λ_max·d·ε dropped) and u, s = SVD(W·Σ_xz),
//! where u is kept if s > svd_tol: L = W⁺·u, R = uᵀ·W; x ↦ x − L·R·(x − μ). With `orthogonal`, W = I.
//!
//! Any W with WᵀW = Σ_xx⁻¹ gives the same s and L·R. A shrunk covariance has no eigenvalue to drop, so W is then the
//! inverse of its Cholesky factor, which takes d³/3 operations where the eigenvectors take about 9·d³.
//!
//! Afterwards Σ_x'z = 0: all class means coincide, and no linear classifier is better than always naming the majority
//! class. Of all affine maps that achieve this, LEACE's changes the data least.
//!
//! The reference code can also constrain the trace of the covariance after erasure. With one Σ throughout, that
//! constraint is always fulfilled, because tr(PΣPᵀ) = tr Σ − ‖W⁺u‖²_F ≤ tr Σ. So there is no such option here.
//!
//! # Shapes
//! x is n×d, Σ_xz is d×classes, L is d×k, and R is k×d with k ≤ classes − 1.

use faer::linalg::matmul::matmul;
use faer::{Accum, Par};

use super::{fit_by_moments, fitted_erase};
use crate::linalg::{Cholesky, left_singular, symmetric_eigen};
use crate::options::{ParamSpec, Params, rank_within};
use crate::{
    Covariance, Debiaser, Edit, FitData, FitError, FitOptions, Fitted, Keep, Matrix, Moments, Needs,
};

/// LEACE. The method finds the rank itself, up to classes − 1. A smaller `rank` keeps only the leading directions and
/// leaves a part of the concept.
///
/// Notes of the fit: `singular_value_i`, largest first, including those below `svd_tol`. If all are below it, nothing
/// linear is left to erase and the edit has rank 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leace;

impl Debiaser for Leace {
    fn name(&self) -> &'static str {
        "leace"
    }

    fn title(&self) -> &'static str {
        "LEACE"
    }

    fn citation(&self) -> &'static str {
        "Belrose et al. 2023, arXiv 2306.03819"
    }

    fn summary(&self) -> &'static str {
        "Makes all class means coincide while moving the states as little as possible."
    }

    fn docs(&self) -> &'static str {
        "methods/leace.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec {
                name: "orthogonal",
                default: "false",
                help: "whether to erase by an orthogonal projection, without whitening",
            },
            ParamSpec {
                name: "affine",
                default: "true",
                help: "whether to erase around the mean, so that the mean stays where it is",
            },
            ParamSpec {
                name: "shrinkage",
                default: "true",
                help: "whether to shrink the covariance toward a multiple of the identity by the optimal amount",
            },
            ParamSpec {
                name: "svd_tol",
                default: "0.01",
                help: "singular values of the whitened cross-covariance up to this value are treated as noise",
            },
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        Settings::read(options).map(|_| ())
    }

    fn max_rank(&self, classes: usize, _groups: usize, dim: usize) -> usize {
        classes.saturating_sub(1).min(dim)
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        fit_by_moments(self, data, options)
    }

    fn keeps(&self, options: &FitOptions) -> Result<Option<Keep>, FitError> {
        Ok(Some(Settings::read(options)?.keep()))
    }

    fn fit_moments(&self, moments: &Moments, options: &FitOptions) -> Result<Fitted, FitError> {
        let settings = Settings::read(options)?;
        moments.require_kept(METHOD, settings.keep())?;
        let present = moments.require_classes(METHOD, 2)?;
        let d = moments.dim();
        let max = (present.len() - 1).min(d);
        let rank = rank_within(METHOD, options, max, max)?;

        let cross = moments.cross_covariance();
        let whitening = match settings.covariance(moments) {
            Some(sigma) => Whitening::new(&sigma)?,
            None => Whitening::None,
        };
        let whitened = whitening.whiten(cross);
        let (values, u) = left_singular(&whitened, "SVD of the whitened cross-covariance")?;
        let kept = values
            .iter()
            .take(rank)
            .take_while(|&&s| s > settings.svd_tol)
            .count();
        let u = Matrix::from_fn(kept, d, |i, j| u.at(i, j));
        let (left, right) = whitening.unwhiten(u);
        let mean = settings.affine.then(|| moments.mean());
        let notes = values.iter().take(max).enumerate();
        let notes = notes.map(|(i, &s)| (format!("singular_value_{}", i + 1), s));
        fitted_erase(Edit::erase(left, right, mean), notes.collect())
    }
}

const METHOD: &str = "leace";

/// What the parameters say.
struct Settings {
    orthogonal: bool,
    affine: bool,
    shrinkage: bool,
    svd_tol: f64,
}

impl Settings {
    fn read(options: &FitOptions) -> Result<Self, FitError> {
        let params = Params::new(METHOD, Leace.params(), options)?;
        Ok(Self {
            orthogonal: params.flag("orthogonal")?.unwrap_or(false),
            affine: params.flag("affine")?.unwrap_or(true),
            shrinkage: params.flag("shrinkage")?.unwrap_or(true),
            svd_tol: params.positive("svd_tol")?.unwrap_or(0.01),
        })
    }

    fn keep(&self) -> Keep {
        Keep {
            covariance: if self.orthogonal {
                Covariance::None
            } else {
                Covariance::Pooled
            },
            unit_length: false,
        }
    }

    /// Σ_xx, shrunk or with Bessel's correction; absent for an orthogonal eraser.
    fn covariance(&self, moments: &Moments) -> Option<Shrunk> {
        let n = moments.count() as f64;
        if self.shrinkage {
            moments.covariance(n).map(|s| shrunk(s, n))
        } else {
            let matrix = moments.covariance(n - 1.0)?;
            Some(Shrunk { matrix, least: 0.0 })
        }
    }
}

/// A covariance, and a number that none of its eigenvalues is below, but for rounding.
struct Shrunk {
    matrix: Matrix,
    least: f64,
}

/// α·S + β·σ·I with σ = tr S/d: the linear combination nearest to the true
/// covariance in the Frobenius norm as n and d grow together.
///
/// With F = σI: α = 1 − (tr S)²·‖F‖²/(n·(‖S‖²‖F‖² − (tr SF)²)) and
/// β = (1 − α)·tr(SF)/‖F‖², where ‖F‖² = σ²d and tr(SF) = σ·tr S = σ²d, so β = 1 − α.
fn shrunk(mut s: Matrix, n: f64) -> Shrunk {
    let d = s.cols();
    let trace: f64 = (0..d).map(|i| s.at(i, i)).sum();
    let sigma = trace / d as f64;
    let target = sigma * sigma * d as f64;
    let square: f64 = s.data().iter().map(|v| v * v).sum();
    // S is a multiple of the identity already, up to rounding.
    let spread = square - target;
    if spread <= f64::EPSILON * square {
        return Shrunk {
            matrix: s,
            least: 0.0,
        };
    }
    let alpha = 1.0 - trace * trace / (n * spread);
    s.data_mut().iter_mut().for_each(|v| *v *= alpha);
    for i in 0..d {
        s.row_mut(i)[i] += (1.0 - alpha) * sigma;
    }
    // S itself has no negative eigenvalue.
    let least = if alpha >= 0.0 {
        (1.0 - alpha) * sigma
    } else {
        0.0
    };
    Shrunk { matrix: s, least }
}

/// A map W with WᵀW = Σ⁺, and its inverse.
///
/// All such maps give the same eraser W⁺u·uᵀW: another one, Q·W with Qᵀ = Q⁻¹, turns u as well.
enum Whitening {
    /// W = I.
    None,
    /// The inverse of the lower Cholesky factor C, Σ = C·Cᵀ.
    Cholesky(Cholesky),
    /// Σ^{−1/2} and Σ^{1/2}, both on the span of the eigenvalues above λ_max·d·ε.
    Symmetric(Matrix, Matrix),
}

impl Whitening {
    /// By Cholesky, in a small part of the time, where no eigenvalue can lie below the floor.
    fn new(sigma: &Shrunk) -> Result<Whitening, FitError> {
        let d = sigma.matrix.cols();
        // No eigenvalue is larger than the trace.
        let trace: f64 = (0..d).map(|i| sigma.matrix.at(i, i)).sum();
        if sigma.least > trace * d as f64 * SAFE
            && let Some(factor) = Cholesky::new(sigma.matrix.clone())
        {
            return Ok(Whitening::Cholesky(factor));
        }
        let (w, inverse) = square_roots(&sigma.matrix)?;
        Ok(Whitening::Symmetric(w, inverse))
    }

    /// W·m.
    fn whiten(&self, m: Matrix) -> Matrix {
        match self {
            Whitening::None => m,
            Whitening::Cholesky(factor) => {
                let mut m = m;
                factor.solve_lower(&mut m);
                m
            }
            Whitening::Symmetric(w, _) => w.matmul(&m),
        }
    }

    /// W⁺·uᵀ and u·W for u k×d.
    fn unwhiten(&self, u: Matrix) -> (Matrix, Matrix) {
        match self {
            Whitening::None => (u.transpose(), u),
            Whitening::Cholesky(factor) => {
                let columns = u.transpose();
                let mut left = Matrix::zeros(u.cols(), u.rows());
                let product = (factor.lower(), columns.view());
                matmul(
                    left.view_mut(),
                    Accum::Replace,
                    product.0,
                    product.1,
                    1.0,
                    Par::Seq,
                );
                let mut right = columns;
                factor.solve_upper(&mut right);
                (left, right.transpose())
            }
            Whitening::Symmetric(w, inverse) => (inverse.matmul(&u.transpose()), u.matmul(w)),
        }
    }
}

/// How much larger than rounding, d·ε of the largest eigenvalue, the least one is before Cholesky
/// is trusted.
const SAFE: f64 = 1e3 * f64::EPSILON;

/// Σ^{−1/2} and Σ^{1/2}, both on the span of the eigenvalues above λ_max·d·ε.
fn square_roots(sigma: &Matrix) -> Result<(Matrix, Matrix), FitError> {
    let d = sigma.cols();
    let (values, vectors) = symmetric_eigen(sigma, "eigendecomposition of the covariance")?;
    let floor = values[0] * d as f64 * f64::EPSILON;
    let kept = values.iter().take_while(|&&v| v > floor && v > 0.0).count();
    let power = |exponent: f64| {
        let left = Matrix::from_fn(d, kept, |i, j| vectors.at(j, i) * values[j].powf(exponent));
        left.matmul(&Matrix::from_fn(kept, d, |i, j| vectors.at(i, j)))
    };
    Ok((power(-0.5), power(0.5)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both square roots whiten, and lead to one eraser.
    #[test]
    fn whitening_by_cholesky_gives_the_eraser_of_the_symmetric_root() {
        let d = 12;
        let x = Matrix::from_fn(40, d, |i, j| {
            ((i * 31 + j * 17) % 23) as f64 / 7.0 - 1.5 + (i * j % 5) as f64
        });
        let mut sigma = x.transpose().matmul(&x);
        (0..d).for_each(|i| sigma.row_mut(i)[i] += 1.0);
        let cross = Matrix::from_fn(d, 3, |i, j| ((i * 5 + j * 3) % 7) as f64 - 3.0);
        let eraser = |whitening: &Whitening| {
            let (values, u) = left_singular(&whitening.whiten(cross.clone()), "test").unwrap();
            let (left, right) = whitening.unwhiten(u);
            (values, left.matmul(&right))
        };
        let fast = Whitening::new(&Shrunk {
            matrix: sigma.clone(),
            least: 1.0,
        })
        .unwrap();
        assert!(matches!(fast, Whitening::Cholesky(_)));
        let slow = Whitening::new(&Shrunk {
            matrix: sigma,
            least: 0.0,
        })
        .unwrap();
        assert!(matches!(slow, Whitening::Symmetric(..)));
        let ((fast, p), (slow, q)) = (eraser(&fast), eraser(&slow));
        for (a, b) in fast.iter().zip(&slow) {
            assert!((a - b).abs() < 1e-12, "{fast:?} {slow:?}");
        }
        assert!(p.max_abs_difference(&q) < 1e-11);
    }
}
