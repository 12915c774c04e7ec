//! An edit of hidden states: frozen, low-rank, and ignorant of the method that
//! fitted it.
//!
//! States are rows, as in the rest of the program: a state x is one row of an
//! n×d buffer, and the formulas below are per row.

use std::collections::HashSet;

use rayon::prelude::*;

use crate::linalg::extend_basis;
use crate::matrix::dot;
use crate::{EditError, Matrix};

/// A map of hidden states of one dimension.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// x ↦ x.
    Identity {
        /// Dimension d of the states.
        dim: usize,
    },
    /// x ↦ x − L·(R·x − b): takes a subspace away.
    Erase(Erase),
    /// x ↦ x + strength · v.
    Shift(Shift),
    /// x\[u\] ↦ x\[u\] + strength · (c_u − x\[u\]) for every clamped unit u.
    Clamp(Clamp),
}

/// Low-rank erasure x ↦ x − L·(R·x − b), with b = R·μ for an affine eraser
/// around the mean μ and b = 0 for a linear one.
///
/// Keeping b instead of μ makes erasures closed under composition.
///
/// # Shapes
/// L d×k, R k×d, b k.
#[derive(Debug, Clone, PartialEq)]
pub struct Erase {
    left: Matrix,
    right: Matrix,
    offset: Vec<f64>,
}

/// Shift along a vector: steering.
#[derive(Debug, Clone, PartialEq)]
pub struct Shift {
    vector: Vec<f64>,
}

/// Units forced toward constants: finding experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Clamp {
    dim: usize,
    units: Vec<usize>,
    values: Vec<f64>,
    strength: f64,
}

impl Erase {
    /// The eraser x ↦ x − L·R·(x − μ); without a mean, μ = 0.
    ///
    /// # Shapes
    /// `left` d×k, `right` k×d, `mean` d.
    ///
    /// # Errors
    /// Shapes that do not fit together, or a number that is not finite.
    pub fn new(left: Matrix, right: Matrix, mean: Option<&[f64]>) -> Result<Self, EditError> {
        if let Some(mean) = mean {
            same("dimension of the mean", right.cols(), mean.len())?;
        }
        let offset = (0..right.rows())
            .map(|i| mean.map_or(0.0, |mean| dot(right.row(i), mean)))
            .collect();
        Self::with_offset(left, right, offset)
    }

    /// The eraser x ↦ x − L·(R·x − b).
    ///
    /// # Shapes
    /// `left` d×k, `right` k×d, `offset` k.
    ///
    /// # Errors
    /// Shapes that do not fit together, or a number that is not finite.
    pub fn with_offset(left: Matrix, right: Matrix, offset: Vec<f64>) -> Result<Self, EditError> {
        same("rows of the left factor", right.cols(), left.rows())?;
        same("columns of the left factor", right.rows(), left.cols())?;
        same("length of the offset", right.rows(), offset.len())?;
        finite("left factor", left.data())?;
        finite("right factor", right.data())?;
        finite("offset", &offset)?;
        Ok(Self {
            left,
            right,
            offset,
        })
    }

    /// The orthogonal projection x ↦ x − B·Bᵀ·x away from the span of an
    /// orthonormal basis.
    ///
    /// # Shapes
    /// `basis` holds the basis vectors as rows, k×d.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn projection(basis: &Matrix) -> Result<Self, EditError> {
        Self::new(basis.transpose(), basis.clone(), None)
    }

    /// L, d×k.
    pub fn left(&self) -> &Matrix {
        &self.left
    }

    /// R, k×d.
    pub fn right(&self) -> &Matrix {
        &self.right
    }

    /// b, of length k.
    pub fn offset(&self) -> &[f64] {
        &self.offset
    }

    /// The matrix I − L·R, d×d: for checks and for small d.
    pub fn matrix(&self) -> Matrix {
        let mut p = Matrix::identity(self.right.cols());
        p.subtract(&self.left.matmul(&self.right));
        p
    }

    /// First `self`, then `next`, as one eraser of at most the summed rank.
    ///
    /// With A₁ = R₁x − b₁, the second step sees x − L₁A₁, so its coefficients
    /// are R₂x − R₂L₁A₁ − b₂ = (R₂ − R₂L₁R₁)x − (b₂ − R₂L₁b₁).
    fn then(&self, next: &Self) -> Result<Self, EditError> {
        let (d, k1, k2) = (self.right.cols(), self.right.rows(), next.right.rows());
        same("dimension of the second edit", d, next.right.cols())?;
        let mixed = next.right.matmul(&self.left);
        let mut second = next.right.clone();
        second.subtract(&mixed.matmul(&self.right));
        let left = Matrix::from_fn(d, k1 + k2, |i, j| {
            if j < k1 {
                self.left.at(i, j)
            } else {
                next.left.at(i, j - k1)
            }
        });
        let right = Matrix::from_fn(k1 + k2, d, |i, j| {
            if i < k1 {
                self.right.at(i, j)
            } else {
                second.at(i - k1, j)
            }
        });
        let mut offset = self.offset.clone();
        offset.extend((0..k2).map(|i| next.offset[i] - dot(mixed.row(i), &self.offset)));
        Self::with_offset(left, right, offset)
    }
}

impl Shift {
    /// Shift by `vector`.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn new(vector: Vec<f64>) -> Result<Self, EditError> {
        finite("vector", &vector)?;
        Ok(Self { vector })
    }

    /// The vector, of length d.
    pub fn vector(&self) -> &[f64] {
        &self.vector
    }
}

impl Clamp {
    /// Clamps `units[i]` to `values[i]` in states of dimension `dim`.
    ///
    /// # Errors
    /// Lists of unequal length, a unit outside the dimension or named twice, or a
    /// number that is not finite.
    pub fn new(dim: usize, units: Vec<usize>, values: Vec<f64>) -> Result<Self, EditError> {
        same("one value per clamped unit", units.len(), values.len())?;
        finite("clamp values", &values)?;
        if let Some(&unit) = units.iter().find(|&&unit| unit >= dim) {
            return Err(EditError::UnitOutOfRange { unit, dim });
        }
        let mut seen = HashSet::with_capacity(units.len());
        if let Some(&unit) = units.iter().find(|&&unit| !seen.insert(unit)) {
            return Err(EditError::DuplicateUnit { unit });
        }
        Ok(Self {
            dim,
            units,
            values,
            strength: 1.0,
        })
    }

    pub(crate) fn set_strength(&mut self, strength: f64) -> Result<(), EditError> {
        finite("strength", &[strength])?;
        self.strength = strength;
        Ok(())
    }

    /// The axes of the clamped units, as rows.
    fn axes(&self) -> Matrix {
        Matrix::from_fn(self.units.len(), self.dim, |i, j| {
            f64::from(u8::from(self.units[i] == j))
        })
    }

    /// The clamped units.
    pub fn units(&self) -> &[usize] {
        &self.units
    }

    /// The value each unit is moved to.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How far each unit is moved, 1 = all the way.
    pub fn strength(&self) -> f64 {
        self.strength
    }
}

impl Edit {
    /// Dimension d of the states this edit takes.
    pub fn dim(&self) -> usize {
        match self {
            Self::Identity { dim } => *dim,
            Self::Erase(e) => e.right.cols(),
            Self::Shift(s) => s.vector.len(),
            Self::Clamp(c) => c.dim,
        }
    }

    /// Number of directions the edit acts on: k for an erasure, the units for a
    /// clamp, 0 for the identity and for a shift, which removes nothing.
    pub fn rank(&self) -> usize {
        match self {
            Self::Identity { .. } | Self::Shift(_) => 0,
            Self::Erase(e) => e.right.rows(),
            Self::Clamp(c) => c.units.len(),
        }
    }

    /// What kind of edit this is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Identity { .. } => "identity",
            Self::Erase(_) => "erase",
            Self::Shift(_) => "shift",
            Self::Clamp(_) => "clamp",
        }
    }

    /// What the edit looks at: an orthonormal basis of the directions that decide by how
    /// much a state changes. A shift looks at nothing.
    ///
    /// # Shapes
    /// Basis vectors as rows, at most [`Edit::rank`] × d.
    pub fn reads(&self) -> Matrix {
        match self {
            Self::Erase(e) => basis(&e.right),
            Self::Clamp(c) => basis(&c.axes()),
            Self::Identity { .. } | Self::Shift(_) => Matrix::zeros(0, self.dim()),
        }
    }

    /// Where the edit moves states: an orthonormal basis of all its changes. That of an
    /// orthogonal projection is what it reads.
    ///
    /// # Shapes
    /// Basis vectors as rows, k×d; one row for a shift, none for the identity.
    pub fn writes(&self) -> Matrix {
        match self {
            Self::Erase(e) => basis(&e.left.transpose()),
            Self::Clamp(c) => basis(&c.axes()),
            Self::Shift(s) => basis(&Matrix::from_rows(
                std::slice::from_ref(&s.vector),
                s.vector.len(),
            )),
            Self::Identity { dim } => Matrix::zeros(0, *dim),
        }
    }

    /// The same erasure around a mean: x ↦ x − L·R·(x − μ), which leaves μ where it is.
    /// Any other edit has no mean and stays as it is.
    ///
    /// # Shapes
    /// `mean` d.
    ///
    /// # Errors
    /// A mean of another dimension, or with a number that is not finite.
    pub fn around(&self, mean: &[f64]) -> Result<Self, EditError> {
        same("dimension of the mean", self.dim(), mean.len())?;
        Ok(match self {
            Self::Erase(e) => Self::Erase(Erase::new(e.left.clone(), e.right.clone(), Some(mean))?),
            other => other.clone(),
        })
    }

    /// The same edit, `strength` times as far: x ↦ x + strength·(edit(x) − x).
    ///
    /// 0 changes nothing, 1 is the edit itself, and a negative strength moves the
    /// other way. It is an edit of the same kind: it composes, saves and applies as
    /// one.
    ///
    /// # Errors
    /// A strength that is not finite, or that makes a number of the edit overflow.
    pub fn scaled(&self, strength: f64) -> Result<Self, EditError> {
        finite("strength", &[strength])?;
        let times = |values: &[f64]| values.iter().map(|v| v * strength).collect::<Vec<_>>();
        Ok(match self {
            Self::Identity { dim } => Self::Identity { dim: *dim },
            Self::Erase(e) => {
                let left = Matrix::from_fn(e.left.rows(), e.left.cols(), |i, j| {
                    e.left.at(i, j) * strength
                });
                Self::Erase(Erase::with_offset(left, e.right.clone(), e.offset.clone())?)
            }
            Self::Shift(s) => Self::Shift(Shift::new(times(&s.vector))?),
            Self::Clamp(c) => {
                let mut out = c.clone();
                out.set_strength(c.strength * strength)?;
                Self::Clamp(out)
            }
        })
    }

    /// One edit that does first `self`, then `next`.
    ///
    /// # Errors
    /// [`EditError::NotComposable`] for kinds that no single edit can express;
    /// an intervention lists those one after the other.
    pub fn then(&self, next: &Self) -> Result<Self, EditError> {
        same("dimension of the second edit", self.dim(), next.dim())?;
        match (self, next) {
            (Self::Identity { .. }, other) | (other, Self::Identity { .. }) => Ok(other.clone()),
            (Self::Erase(a), Self::Erase(b)) => Ok(Self::Erase(a.then(b)?)),
            (Self::Shift(a), Self::Shift(b)) => {
                let sum = a.vector.iter().zip(&b.vector).map(|(a, b)| a + b);
                Ok(Self::Shift(Shift::new(sum.collect())?))
            }
            _ => Err(EditError::NotComposable {
                first: self.kind(),
                second: next.kind(),
            }),
        }
    }

    /// Edits states in place, in single precision and over all cores.
    ///
    /// # Shapes
    /// `states` is n×d, row after row.
    ///
    /// # Errors
    /// [`EditError::PartialRow`] when `states` is not whole rows.
    pub fn apply_rows(&self, states: &mut [f32]) -> Result<(), EditError> {
        let dim = self.dim();
        whole_rows(states.len(), dim)?;
        match self {
            Self::Identity { .. } => {}
            Self::Erase(e) => erase_rows(e, states),
            Self::Shift(s) => {
                let vector: Vec<f32> = s.vector.iter().map(|&v| v as f32).collect();
                states.par_chunks_mut(dim * ROWS_PER_TASK).for_each(|rows| {
                    for row in rows.chunks_exact_mut(dim) {
                        row.iter_mut().zip(&vector).for_each(|(x, v)| *x += v);
                    }
                });
            }
            Self::Clamp(c) => {
                states.par_chunks_mut(dim * ROWS_PER_TASK).for_each(|rows| {
                    for row in rows.chunks_exact_mut(dim) {
                        for (&unit, &value) in c.units.iter().zip(&c.values) {
                            row[unit] += (c.strength * (value - f64::from(row[unit]))) as f32;
                        }
                    }
                });
            }
        }
        Ok(())
    }

    /// Edits states in place in double precision: the reference that
    /// [`Edit::apply_rows`] is checked against, and what fits on fitted data use.
    ///
    /// # Shapes
    /// `states` is n×d.
    ///
    /// # Errors
    /// [`EditError::Shape`] when `states` has another dimension.
    pub fn apply_matrix(&self, states: &mut Matrix) -> Result<(), EditError> {
        same("dimension of the states", self.dim(), states.cols())?;
        for i in 0..states.rows() {
            let row = states.row_mut(i);
            match self {
                Self::Identity { .. } => {}
                Self::Erase(e) => {
                    let c: Vec<f64> = (0..e.offset.len())
                        .map(|j| dot(e.right.row(j), row) - e.offset[j])
                        .collect();
                    for (x, j) in row.iter_mut().zip(0..) {
                        *x -= dot(e.left.row(j), &c);
                    }
                }
                Self::Shift(s) => row.iter_mut().zip(&s.vector).for_each(|(x, v)| *x += v),
                Self::Clamp(c) => {
                    for (&unit, &value) in c.units.iter().zip(&c.values) {
                        row[unit] += c.strength * (value - row[unit]);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Rows one task edits: enough to outweigh the cost of handing it out.
const ROWS_PER_TASK: usize = 64;

fn erase_rows(e: &Erase, states: &mut [f32]) {
    let (k, d) = (e.right.rows(), e.right.cols());
    let right: Vec<f32> = e.right.data().iter().map(|&v| v as f32).collect();
    let left: Vec<f32> = e
        .left
        .transpose()
        .data()
        .iter()
        .map(|&v| v as f32)
        .collect();
    let offset: Vec<f32> = e.offset.iter().map(|&v| v as f32).collect();
    states.par_chunks_mut(d * ROWS_PER_TASK).for_each_init(
        || vec![0.0_f32; k],
        |coefficients, rows| {
            for row in rows.chunks_exact_mut(d) {
                // All coefficients come from the unedited row, so that L and
                // R need not be biorthogonal.
                for (j, c) in coefficients.iter_mut().enumerate() {
                    *c = dot_f32(&right[j * d..(j + 1) * d], row) - offset[j];
                }
                for (j, c) in coefficients.iter().enumerate() {
                    for (x, l) in row.iter_mut().zip(&left[j * d..(j + 1) * d]) {
                        *x -= c * l;
                    }
                }
            }
        },
    );
}

/// Inner product in `f32` with sixteen partial sums, which vectorises and keeps
/// the rounding error near that of one vector lane.
fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0_f32; LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in heads_a.iter().zip(heads_b) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let tail: f32 = tail_a.iter().zip(tail_b).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + tail
}

/// A row that adds less than this share of its length to a basis lies in it already.
const TOLERANCE: f64 = 1e-9;

/// An orthonormal basis of the span of the rows.
fn basis(rows: &Matrix) -> Matrix {
    let mut found = Vec::new();
    for i in 0..rows.rows() {
        extend_basis(&mut found, rows.row(i), TOLERANCE);
    }
    Matrix::from_rows(&found, rows.cols())
}

/// How much two subspaces have in common: the root mean square of the cosines of their
/// principal angles. It is |cos| of two directions, 1 where one subspace holds the other,
/// 0 where they are orthogonal, or where there is no direction to compare.
///
/// # Shapes
/// Orthonormal bases as rows, k×d and m×d.
///
/// # Errors
/// Bases of different dimensions.
pub fn subspace_cosine(a: &Matrix, b: &Matrix) -> Result<f64, EditError> {
    same("dimension of the second subspace", a.cols(), b.cols())?;
    let smaller = a.rows().min(b.rows());
    if smaller == 0 {
        return Ok(0.0);
    }
    let products = a.matmul(&b.transpose());
    let squares: f64 = products.data().iter().map(|v| v * v).sum();
    Ok((squares / smaller as f64).sqrt())
}

fn whole_rows(len: usize, dim: usize) -> Result<(), EditError> {
    if dim > 0 && len.is_multiple_of(dim) {
        Ok(())
    } else {
        Err(EditError::PartialRow { len, dim })
    }
}

fn same(what: &'static str, expected: usize, found: usize) -> Result<(), EditError> {
    if expected == found {
        Ok(())
    } else {
        Err(EditError::Shape {
            what,
            expected,
            found,
        })
    }
}

fn finite(what: &'static str, values: &[f64]) -> Result<(), EditError> {
    match values.iter().find(|v| !v.is_finite()) {
        Some(&value) => Err(EditError::NotFinite { what, value }),
        None => Ok(()),
    }
}
