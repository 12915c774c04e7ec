//! LEACE: least-squares concept erasure.
//!
//! # Source
//! Belrose et al., "LEACE: Perfect linear concept erasure in closed form",
//! NeurIPS 2023 (arXiv 2306.03819). Shrinkage: Bodnar, Gupta & Parolya, "On the
//! strong convergence of the optimal linear shrinkage estimator for large
//! dimensional covariance matrix", 2014 (arXiv 1308.2608).
//!
//! Formula: with z the one-hot class, W = Σ_xx^{−1/2} (eigenvalues up to
//! λ_max·d·ε dropped), u, s = SVD(W·Σ_xz) and u kept where s > svd_tol:
//! L = W⁺·u, R = uᵀ·W; x ↦ x − L·R·(x − μ). With `orthogonal`, W = I.
//!
//! Afterwards Σ_x'z = 0: all class means coincide, and no linear classifier beats
//! the majority class. Of all affine maps that achieve this, LEACE's moves the
//! data least.
//!
//! The reference code can also constrain the trace of the covariance after
//! erasure. With one Σ throughout that constraint never binds, tr(PΣPᵀ) =
//! tr Σ − ‖W⁺u‖²_F ≤ tr Σ, so there is no such option here.
//!
//! # Shapes
//! x n×d, Σ_xz d×classes, L d×k, R k×d with k ≤ classes − 1.

use super::fitted_erase;
use crate::linalg::{left_singular, symmetric_eigen};
use crate::moments::Moments;
use crate::options::{ParamSpec, Params, rank_within};
use crate::{Debiaser, Erase, FitData, FitError, FitOptions, Fitted, Matrix, Needs};

/// LEACE. The rank is found, not asked for: up to classes − 1. A smaller `rank`
/// keeps the leading directions only and leaves part of the concept.
///
/// Notes: `singular_value_i`, largest first, also those below `svd_tol`. When all
/// are below it, nothing linear is left to erase and the edit has rank 0.
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
                help: "erase by an orthogonal projection, without whitening",
            },
            ParamSpec {
                name: "affine",
                default: "true",
                help: "erase around the mean, so that the mean stays where it is",
            },
            ParamSpec {
                name: "shrinkage",
                default: "true",
                help: "shrink the covariance toward a multiple of the identity, optimally",
            },
            ParamSpec {
                name: "svd_tol",
                default: "0.01",
                help: "singular values of the whitened cross-covariance up to this are noise",
            },
        ]
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        let defaults = LeaceOptions::default();
        let leace = LeaceOptions {
            orthogonal: params.flag("orthogonal")?.unwrap_or(defaults.orthogonal),
            affine: params.flag("affine")?.unwrap_or(defaults.affine),
            shrinkage: params.flag("shrinkage")?.unwrap_or(defaults.shrinkage),
            svd_tol: params.positive("svd_tol")?.unwrap_or(defaults.svd_tol),
            rank: options.rank,
        };
        data.check()?;
        data.require_classes(self.name(), 2)?;
        let mut fitter = LeaceFitter::new(data.dim(), data.classes.len(), leace);
        fitter.update(&data.x, &data.label)?;
        fitter.finish()
    }
}

/// Settings of [`LeaceFitter`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeaceOptions {
    /// Erase by an orthogonal projection, without whitening.
    pub orthogonal: bool,
    /// Erase around the mean.
    pub affine: bool,
    /// Shrink the covariance toward a multiple of the identity.
    pub shrinkage: bool,
    /// Singular values up to this are noise.
    pub svd_tol: f64,
    /// At most this many directions, `None` for all.
    pub rank: Option<usize>,
}

impl Default for LeaceOptions {
    fn default() -> Self {
        Self {
            orthogonal: false,
            affine: true,
            shrinkage: true,
            svd_tol: 0.01,
            rank: None,
        }
    }
}

/// Fits LEACE on batches that need not fit into memory together.
///
/// ```
/// use interlingua_debias::Matrix;
/// use interlingua_debias::methods::leace::{LeaceFitter, LeaceOptions};
///
/// let mut fitter = LeaceFitter::new(2, 2, LeaceOptions::default());
/// for batch in 0..4 {
///     let x = Matrix::from_fn(8, 2, |i, j| ((i * 3 + j * batch) % 5) as f64 + (i % 2) as f64);
///     let label: Vec<usize> = (0..8).map(|i| i % 2).collect();
///     fitter.update(&x, &label)?;
/// }
/// assert_eq!(fitter.finish()?.edit.rank(), 1);
/// # Ok::<(), interlingua_debias::FitError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LeaceFitter {
    moments: Moments,
    options: LeaceOptions,
}

impl LeaceFitter {
    /// A fitter that has seen nothing.
    pub fn new(dim: usize, classes: usize, options: LeaceOptions) -> Self {
        Self {
            moments: Moments::new(dim, classes, !options.orthogonal),
            options,
        }
    }

    /// Takes in a batch.
    ///
    /// # Shapes
    /// `x` m×d, one class per row.
    ///
    /// # Errors
    /// Shapes that do not fit, an unknown class, a vector that is not finite.
    pub fn update(&mut self, x: &Matrix, label: &[usize]) -> Result<(), FitError> {
        self.moments.update(x, label)
    }

    /// The eraser of everything seen so far.
    ///
    /// # Errors
    /// Fewer than two classes seen, an impossible rank, or a failed decomposition.
    pub fn finish(&self) -> Result<Fitted, FitError> {
        const METHOD: &str = "leace";
        let present = self.moments.present();
        if present.len() < 2 {
            return Err(FitError::TooFewClasses {
                method: METHOD,
                what: "classes",
                needed: 2,
                present: present.iter().map(usize::to_string).collect(),
            });
        }
        let d = self.moments.mean().len();
        let max = (present.len() - 1).min(d);
        let asked = FitOptions {
            rank: self.options.rank,
            ..FitOptions::default()
        };
        let rank = rank_within(METHOD, &asked, max, max)?;

        let cross = self.moments.cross_covariance();
        let whitening = self.covariance().map(|s| whitening(&s)).transpose()?;
        let whitened = match &whitening {
            Some((w, _)) => w.matmul(&cross),
            None => cross,
        };
        let (values, u) = left_singular(&whitened, "SVD of the whitened cross-covariance")?;
        let kept = values
            .iter()
            .take(rank)
            .take_while(|&&s| s > self.options.svd_tol)
            .count();
        let u = Matrix::from_fn(kept, d, |i, j| u.at(i, j));
        let (left, right) = match &whitening {
            Some((w, inverse)) => (inverse.matmul(&u.transpose()), u.matmul(w)),
            None => (u.transpose(), u),
        };
        let mean = self.options.affine.then(|| self.moments.mean());
        let notes = values.iter().take(max).enumerate();
        let notes = notes.map(|(i, &s)| (format!("singular_value_{}", i + 1), s));
        fitted_erase(Erase::new(left, right, mean), notes.collect())
    }

    /// Σ_xx, shrunk or with Bessel's correction; absent for an orthogonal eraser.
    fn covariance(&self) -> Option<Matrix> {
        let n = self.moments.count() as f64;
        if self.options.shrinkage {
            self.moments.covariance(n).map(|s| shrunk(s, n))
        } else {
            self.moments.covariance(n - 1.0)
        }
    }
}

/// α·S + β·σ·I with σ = tr S/d: the linear combination nearest to the true
/// covariance in the Frobenius norm as n and d grow together.
///
/// With F = σI: α = 1 − (tr S)²·‖F‖²/(n·(‖S‖²‖F‖² − (tr SF)²)) and
/// β = (1 − α)·tr(SF)/‖F‖², where ‖F‖² = σ²d and tr(SF) = σ·tr S = σ²d, so β = 1 − α.
fn shrunk(mut s: Matrix, n: f64) -> Matrix {
    let d = s.cols();
    let trace: f64 = (0..d).map(|i| s.at(i, i)).sum();
    let sigma = trace / d as f64;
    let target = sigma * sigma * d as f64;
    let square: f64 = s.data().iter().map(|v| v * v).sum();
    // S is a multiple of the identity already, up to rounding.
    let spread = square - target;
    if spread <= f64::EPSILON * square {
        return s;
    }
    let alpha = 1.0 - trace * trace / (n * spread);
    s.data_mut().iter_mut().for_each(|v| *v *= alpha);
    for i in 0..d {
        s.row_mut(i)[i] += (1.0 - alpha) * sigma;
    }
    s
}

/// Σ^{−1/2} and Σ^{1/2}, both on the span of the eigenvalues above λ_max·d·ε.
fn whitening(sigma: &Matrix) -> Result<(Matrix, Matrix), FitError> {
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
