//! The oracle eraser: the smallest change of the states that erases a class when the class of each state is known.
//!
//! It needs the class of every state that it edits, so it is not an [`crate::Edit`] and not in the registry. It is a
//! lower bound on the change that an eraser must make which has to guess the class.
//!
//! # Source
//! Belrose et al. 2023 (arXiv 2306.03819), the oracle of its appendix.
//!
//! Formula: with z the one-hot class, x ↦ x − Σ_xz·Σ_zz⁺·(z − E z), which is the residual of the linear regression of
//! x on z. Eigenvalues of Σ_zz up to `svd_tol` are dropped. If only the smallest is dropped (that of the constant
//! direction), this is x − m_c + m for a state of class c, with m_c the mean of its class and m the mean of all.
//!
//! # Shapes
//! x is n×d, Σ_xz is d×classes, and Σ_zz is classes×classes.

use crate::data::check_length;
use crate::linalg::symmetric_eigen;
use crate::{FitData, FitError, Keep, Matrix, Moments};
use interlingua_edits::axpy;

/// An eraser of a class that is known for every state.
///
/// ```
/// use interlingua_debias::{FitData, Matrix, OracleEraser};
///
/// let data = FitData {
///     x: Matrix::from_f32(4, 1, &[1.0, 3.0, 11.0, 13.0])?,
///     label: vec![0, 0, 1, 1],
///     tuple: vec![None; 4],
///     classes: vec!["male".into(), "female".into()],
///     ..FitData::default()
/// };
/// let oracle = OracleEraser::fit(&data, 0.01)?;
/// let mut x = data.x.clone();
/// oracle.apply(&mut x, &data.label)?;
/// assert!((x.at(0, 0) - 6.0).abs() < 1e-12 && (x.at(3, 0) - 8.0).abs() < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OracleEraser {
    /// What is taken from a state of each class, classes×d.
    expected: Matrix,
}

impl OracleEraser {
    /// Fits the eraser on all rows. The reference implementation uses an `svd_tol` of 0.01.
    ///
    /// # Errors
    /// Data that [`FitData::check`] refuses, and the errors of [`OracleEraser::fit_moments`].
    pub fn fit(data: &FitData, svd_tol: f64) -> Result<Self, FitError> {
        data.check()?;
        Self::fit_moments(&Moments::of(data, Keep::default())?, svd_tol)
    }

    /// Fits the eraser on the statistics of a stream, which need no covariance.
    ///
    /// # Errors
    /// Fewer than two classes, statistics of unit vectors, an `svd_tol` that is not a positive number, or numbers
    /// that overflow.
    pub fn fit_moments(moments: &Moments, svd_tol: f64) -> Result<Self, FitError> {
        const METHOD: &str = "oracle";
        if !(svd_tol.is_finite() && svd_tol > 0.0) {
            return Err(FitError::BadParam {
                method: METHOD,
                name: "svd_tol",
                value: svd_tol.to_string(),
                expected: "a positive number",
            });
        }
        moments.require_kept(METHOD, Keep::default())?;
        moments.require_classes(METHOD, 2)?;
        let inverse = pseudo_inverse(&class_covariance(moments), svd_tol)?;
        let k = inverse.rows();
        let total = moments.count() as f64;
        let share: Vec<f64> = (0..k)
            .map(|c| moments.class_count(c) as f64 / total)
            .collect();
        // Row c is (z − E z) of class c.
        let centred = Matrix::from_fn(k, k, |c, j| f64::from(u8::from(c == j)) - share[j]);
        let expected = centred
            .matmul(&inverse)
            .matmul(&moments.cross_covariance().transpose());
        if expected.data().iter().all(|v| v.is_finite()) {
            Ok(Self { expected })
        } else {
            Err(FitError::Overflow {
                what: "the regression of the states on their classes",
            })
        }
    }

    /// Edits states of known classes in place.
    ///
    /// # Shapes
    /// `states` is n×d, and `label` has n values.
    ///
    /// # Errors
    /// Shapes that do not fit, or a class that the fit did not know. The states are then unchanged.
    pub fn apply(&self, states: &mut Matrix, label: &[usize]) -> Result<(), FitError> {
        let shape = |what, expected, found| FitError::Length {
            what,
            expected,
            found,
        };
        let (classes, d) = (self.expected.rows(), self.expected.cols());
        if states.cols() != d {
            return Err(shape("dimension of the states", d, states.cols()));
        }
        check_length("one class per state", states.rows(), label.len())?;
        if let Some((row, &label)) = label.iter().enumerate().find(|(_, c)| **c >= classes) {
            return Err(FitError::UnknownClass {
                row,
                label,
                classes: (0..classes).map(|c| c.to_string()).collect(),
            });
        }
        for (row, &class) in label.iter().enumerate() {
            axpy(-1.0, self.expected.row(class), states.row_mut(row));
        }
        Ok(())
    }
}

/// Σ_zz of the one-hot classes, with Bessel's correction.
fn class_covariance(moments: &Moments) -> Matrix {
    let n = moments.count() as f64;
    let k = moments.classes();
    let count = |c: usize| moments.class_count(c) as f64;
    Matrix::from_fn(k, k, |a, b| {
        let own = if a == b { count(a) } else { 0.0 };
        (own - count(a) * count(b) / n) / (n - 1.0)
    })
}

/// Inverse on the span of the eigenvalues above `tolerance`.
fn pseudo_inverse(sigma: &Matrix, tolerance: f64) -> Result<Matrix, FitError> {
    let k = sigma.rows();
    let (values, vectors) = symmetric_eigen(sigma, "eigendecomposition of the class covariance")?;
    let kept = values.iter().take_while(|&&v| v > tolerance).count();
    Ok(Matrix::from_fn(k, k, |a, b| {
        (0..kept)
            .map(|i| vectors.at(i, a) * vectors.at(i, b) / values[i])
            .sum()
    }))
}
