//! The one affine form of every edit: x ↦ x − L·(R·x − b), with factors that hold dense directions, single units, or
//! zeros.
//!
//! Hidden states are rows, as in the rest of the program: a state x is one row of an n×d buffer, and the formulas
//! below are per row.

use std::collections::{HashMap, HashSet};

use crate::matrix::{dot, extend_basis};
use crate::{EditError, Matrix};

/// One of the two factors, L or R, of an edit.
#[derive(Debug, Clone, PartialEq)]
pub enum Factor {
    /// k directions as the rows of a k×d matrix. The left factor is stored in this layout too.
    Dense(Matrix),
    /// k single units, each with a weight: direction i is the axis of unit i times its weight.
    Units(Vec<u32>, Vec<f64>),
    /// k directions of length zero. If R is zero, the change does not depend on the state.
    Zero,
}

/// The kind of change that an edit makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Leaves every state as it is: x ↦ x.
    Identity,
    /// Removes a subspace, or makes any other change that depends on directions of the state.
    Erase,
    /// Adds a vector to the state, as in steering.
    Shift,
    /// Moves single units towards constants.
    Clamp,
    /// Multiplies single units by factors.
    Scale,
    /// Adds constants to single units.
    Add,
}

impl Kind {
    /// Returns the kind as one word.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Identity => "identity",
            Kind::Erase => "erase",
            Kind::Shift => "shift",
            Kind::Clamp => "clamp",
            Kind::Scale => "scale",
            Kind::Add => "add",
        }
    }
}

/// A map x ↦ x − L·(R·x − b) of states of dimension d, with k directions, where k is usually small.
///
/// | constructor | map | L | R | b |
/// |---|---|---|---|---|
/// | [`Edit::erase`] | x − L·R·(x − μ) | dense | dense | R·μ |
/// | [`Edit::shift`] | x + v | v | zero | 1 |
/// | [`Edit::clamp`] | x\[u\] ↦ c | units, 1 | units, 1 | c |
/// | [`Edit::scale`] | x\[u\] ↦ f·x\[u\] | units, 1 − f | units, 1 | 0 |
/// | [`Edit::add`] | x\[u\] ↦ x\[u\] + a | units, 1 | zero | a |
///
/// Every edit composes with every other of its dimension, and every edit has a strength.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    dim: usize,
    left: Factor,
    right: Factor,
    offset: Vec<f64>,
}

impl Edit {
    /// Makes the edit with the given factors.
    ///
    /// # Shapes
    /// `left` and `right` have k directions of dimension `dim` each, and `offset` has k values.
    ///
    /// # Errors
    /// Shapes that do not fit together, a unit that is outside the dimension or is named twice in one factor, or a
    /// number that is not finite.
    pub fn new(
        dim: usize,
        left: Factor,
        right: Factor,
        offset: Vec<f64>,
    ) -> Result<Self, EditError> {
        check_factor("left factor", &left, dim, offset.len())?;
        check_factor("right factor", &right, dim, offset.len())?;
        finite("offset", &offset)?;
        Ok(Self {
            dim,
            left,
            right,
            offset,
        })
    }

    /// Makes the identity x ↦ x on states of dimension `dim`.
    pub fn identity(dim: usize) -> Self {
        Self {
            dim,
            left: Factor::Zero,
            right: Factor::Zero,
            offset: Vec::new(),
        }
    }

    /// Makes the eraser x ↦ x − L·R·(x − μ). Without a mean, μ = 0.
    ///
    /// # Shapes
    /// `left` is d×k, `right` is k×d, and `mean` has d values.
    ///
    /// # Errors
    /// Shapes that do not fit together, or a number that is not finite.
    pub fn erase(left: Matrix, right: Matrix, mean: Option<&[f64]>) -> Result<Self, EditError> {
        if let Some(mean) = mean {
            same("dimension of the mean", right.cols(), mean.len())?;
        }
        let offset = (0..right.rows())
            .map(|i| mean.map_or(0.0, |mean| dot(right.row(i), mean)))
            .collect();
        same("rows of the left factor", right.cols(), left.rows())?;
        same("columns of the left factor", right.rows(), left.cols())?;
        let (left, dim) = (Factor::Dense(left.transpose()), right.cols());
        Self::new(dim, left, Factor::Dense(right), offset)
    }

    /// Makes the orthogonal projection x ↦ x − B·Bᵀ·x, which removes the span of an orthonormal basis.
    ///
    /// # Shapes
    /// `basis` is k×d and holds the basis vectors as rows.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn projection(basis: &Matrix) -> Result<Self, EditError> {
        Self::erase(basis.transpose(), basis.clone(), None)
    }

    /// Makes the shift x ↦ x + v.
    ///
    /// # Shapes
    /// `vector` has d values.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn shift(vector: Vec<f64>) -> Result<Self, EditError> {
        finite("vector", &vector)?;
        let dim = vector.len();
        let left = Factor::Dense(Matrix::from_rows(&[vector], dim));
        Self::new(dim, left, Factor::Zero, vec![1.0])
    }

    /// Makes the edit that sets every unit u of `units` to its constant c of `values`: x\[u\] ↦ c.
    ///
    /// # Errors
    /// Lists of unequal length, a unit outside the dimension or named twice, or a
    /// number that is not finite.
    pub fn clamp(dim: usize, units: Vec<usize>, values: Vec<f64>) -> Result<Self, EditError> {
        same("one value per unit", units.len(), values.len())?;
        let units = narrow(dim, &units)?;
        let ones = vec![1.0; units.len()];
        let (left, right) = (
            Factor::Units(units.clone(), ones.clone()),
            Factor::Units(units, ones),
        );
        Self::new(dim, left, right, values)
    }

    /// Makes the edit that multiplies every unit u of `units` by its factor f of `factors`: x\[u\] ↦ f · x\[u\].
    ///
    /// # Errors
    /// As [`Edit::clamp`].
    pub fn scale(dim: usize, units: Vec<usize>, factors: Vec<f64>) -> Result<Self, EditError> {
        same("one factor per unit", units.len(), factors.len())?;
        let units = narrow(dim, &units)?;
        let ones = vec![1.0; units.len()];
        let zeros = vec![0.0; units.len()];
        let taken = factors.iter().map(|f| 1.0 - f).collect();
        let left = Factor::Units(units.clone(), taken);
        Self::new(dim, left, Factor::Units(units, ones), zeros)
    }

    /// Makes the edit that adds to every unit u of `units` its a of `amounts`: x\[u\] ↦ x\[u\] + a.
    ///
    /// # Errors
    /// As [`Edit::clamp`].
    pub fn add(dim: usize, units: Vec<usize>, amounts: Vec<f64>) -> Result<Self, EditError> {
        same("one amount per unit", units.len(), amounts.len())?;
        let units = narrow(dim, &units)?;
        let ones = vec![1.0; units.len()];
        Self::new(dim, Factor::Units(units, ones), Factor::Zero, amounts)
    }

    /// Returns the dimension d of the states that this edit takes.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns L, with its k directions as rows.
    pub fn left(&self) -> &Factor {
        &self.left
    }

    /// Returns R, with its k directions as rows.
    pub fn right(&self) -> &Factor {
        &self.right
    }

    /// Returns b, which has k values.
    pub fn offset(&self) -> &[f64] {
        &self.offset
    }

    /// Returns how many directions or units of the state determine the change. The rank is 0 for an edit that changes
    /// every state in the same way.
    pub fn rank(&self) -> usize {
        match self.right {
            Factor::Zero => 0,
            _ => self.offset.len(),
        }
    }

    /// Returns the kind of change that this edit makes.
    pub fn kind(&self) -> Kind {
        match (&self.left, &self.right) {
            _ if self.offset.is_empty() => Kind::Identity,
            (Factor::Zero, _) => Kind::Identity,
            (Factor::Dense(_), Factor::Zero) => Kind::Shift,
            (Factor::Units(..), Factor::Zero) => Kind::Add,
            (Factor::Units(a, _), Factor::Units(b, _)) if a == b => {
                match self.offset.iter().all(|b| *b == 0.0) {
                    true => Kind::Scale,
                    false => Kind::Clamp,
                }
            }
            _ => Kind::Erase,
        }
    }

    /// Returns the d×d matrix I − L·R. It is meant for checks and for small d.
    pub fn matrix(&self) -> Matrix {
        let mut p = Matrix::identity(self.dim);
        let (k, d) = (self.offset.len(), self.dim);
        let left = dense(&self.left, k, d).transpose();
        p.subtract(&left.matmul(&dense(&self.right, k, d)));
        p
    }

    /// Returns the vector L·b if the edit adds the same vector to every state, and `None` otherwise.
    pub fn constant(&self) -> Option<Vec<f64>> {
        if self.right != Factor::Zero {
            return None;
        }
        let mut sum = vec![0.0; self.dim];
        for (i, b) in self.offset.iter().enumerate() {
            add_direction(&self.left, i, *b, &mut sum);
        }
        Some(sum)
    }

    /// Returns both factors, L and R, as full matrices with all their zeros.
    ///
    /// # Shapes
    /// Each matrix is k×d, with directions as rows.
    pub fn factors(&self) -> [Matrix; 2] {
        [&self.left, &self.right].map(|factor| dense(factor, self.offset.len(), self.dim))
    }

    /// Returns an orthonormal basis of the directions that the edit reads, which are those that determine how much a
    /// state changes. A shift reads no direction.
    ///
    /// # Shapes
    /// The basis vectors are rows; there are at most [`Edit::rank`] of them, with d values each.
    pub fn reads(&self) -> Matrix {
        match &self.right {
            Factor::Zero => Matrix::zeros(0, self.dim),
            right => basis(&dense(right, self.offset.len(), self.dim)),
        }
    }

    /// Returns an orthonormal basis of the directions along which the edit moves states. For an orthogonal projection
    /// they are the same as those it reads.
    ///
    /// # Shapes
    /// The basis vectors are rows; there are at most k of them, with d values each, and none for the identity.
    pub fn writes(&self) -> Matrix {
        match (self.constant(), &self.left) {
            (Some(vector), _) => basis(&Matrix::from_rows(&[vector], self.dim)),
            (_, left) => basis(&dense(left, self.offset.len(), self.dim)),
        }
    }

    /// Returns the same erasure around a mean: x ↦ x − L·R·(x − μ), which leaves μ where it is. An edit of single
    /// units, and one that adds the same vector to every state, are returned unchanged, because they have no mean.
    ///
    /// # Shapes
    /// `mean` has d values.
    ///
    /// # Errors
    /// A mean of another dimension, or with a number that is not finite.
    pub fn around(&self, mean: &[f64]) -> Result<Self, EditError> {
        same("dimension of the mean", self.dim, mean.len())?;
        let Factor::Dense(right) = &self.right else {
            return Ok(self.clone());
        };
        let offset = (0..right.rows()).map(|i| dot(right.row(i), mean)).collect();
        Self::new(self.dim, self.left.clone(), self.right.clone(), offset)
    }

    /// Returns the edit with a strength: x ↦ x + strength·(edit(x) − x).
    ///
    /// 0 changes nothing, 1 is the edit itself, and a negative strength moves the
    /// other way.
    ///
    /// # Errors
    /// A strength that is not finite, or that makes a number of the edit overflow.
    pub fn scaled(&self, strength: f64) -> Result<Self, EditError> {
        finite("strength", &[strength])?;
        let left = match &self.left {
            Factor::Dense(left) => {
                let mut left = left.clone();
                left.data_mut().iter_mut().for_each(|v| *v *= strength);
                Factor::Dense(left)
            }
            Factor::Units(units, weights) => Factor::Units(
                units.clone(),
                weights.iter().map(|w| w * strength).collect(),
            ),
            Factor::Zero => Factor::Zero,
        };
        Self::new(self.dim, left, self.right.clone(), self.offset.clone())
    }

    /// Returns the one edit that applies `self` first and `next` second.
    ///
    /// Two shifts make one shift, and two edits of single units make one edit of single units. Any other two make one
    /// edit with the directions of both, in which a factor of units becomes dense.
    ///
    /// # Errors
    /// Edits of different dimensions, or numbers that overflow.
    pub fn then(&self, next: &Self) -> Result<Self, EditError> {
        same("dimension of the second edit", self.dim, next.dim)?;
        if self.kind() == Kind::Identity {
            return Ok(next.clone());
        }
        if next.kind() == Kind::Identity {
            return Ok(self.clone());
        }
        if let (Some(a), Some(b)) = (self.by_unit(), next.by_unit()) {
            return self.units_then(&a, &b);
        }
        if let (Some(a), Some(b)) = (self.constant(), next.constant()) {
            return Self::shift(a.iter().zip(&b).map(|(a, b)| a + b).collect());
        }
        self.directions_then(next)
    }

    /// With A₁ = R₁x − b₁, the second step sees x − L₁A₁, so its coefficients
    /// are R₂x − R₂L₁A₁ − b₂ = (R₂ − R₂L₁R₁)x − (b₂ − R₂L₁b₁).
    fn directions_then(&self, next: &Self) -> Result<Self, EditError> {
        let (d, k1, k2) = (self.dim, self.offset.len(), next.offset.len());
        let (left1, right1) = (dense(&self.left, k1, d), dense(&self.right, k1, d));
        let (left2, mut right2) = (dense(&next.left, k2, d), dense(&next.right, k2, d));
        let mixed = right2.matmul(&left1.transpose());
        right2.subtract(&mixed.matmul(&right1));
        let mut offset = self.offset.clone();
        offset.extend((0..k2).map(|i| next.offset[i] - dot(mixed.row(i), &self.offset)));
        let both = |a: Matrix, b: Matrix| {
            let mut data = a.into_data();
            data.extend(b.into_data());
            Matrix::new(k1 + k2, d, data).expect("rows of both")
        };
        let (left, right) = (both(left1, left2), both(right1, right2));
        Self::new(d, Factor::Dense(left), Factor::Dense(right), offset)
    }

    /// For an edit of single units: (a, c) of x\[u\] ↦ a·x\[u\] + c, in the order of its units.
    fn by_unit(&self) -> Option<Vec<(u32, f64, f64)>> {
        let Factor::Units(units, left) = &self.left else {
            return None;
        };
        let right = match &self.right {
            Factor::Units(read, weights) if read == units => Some(weights),
            Factor::Zero => None,
            _ => return None,
        };
        let of = |i: usize| {
            let read = right.map_or(0.0, |weights| weights[i]);
            (units[i], 1.0 - left[i] * read, left[i] * self.offset[i])
        };
        Some((0..units.len()).map(of).collect())
    }

    fn units_then(
        &self,
        first: &[(u32, f64, f64)],
        next: &[(u32, f64, f64)],
    ) -> Result<Self, EditError> {
        let mut maps = first.to_vec();
        let places: HashMap<u32, usize> = first.iter().zip(0..).map(|(m, at)| (m.0, at)).collect();
        for &(unit, a, c) in next {
            match places.get(&unit) {
                Some(&at) => {
                    let (_, a1, c1) = maps[at];
                    maps[at] = (unit, a * a1, a * c1 + c);
                }
                None => maps.push((unit, a, c)),
            }
        }
        let units: Vec<u32> = maps.iter().map(|m| m.0).collect();
        let left = Factor::Units(units.clone(), vec![1.0; units.len()]);
        let read: Vec<f64> = maps.iter().map(|m| 1.0 - m.1).collect();
        let right = match read.iter().all(|r| *r == 0.0) {
            true => Factor::Zero,
            false => Factor::Units(units, read),
        };
        Self::new(self.dim, left, right, maps.iter().map(|m| m.2).collect())
    }
}

/// Returns a factor as a k×d matrix.
pub(crate) fn dense(factor: &Factor, k: usize, d: usize) -> Matrix {
    match factor {
        Factor::Dense(m) => m.clone(),
        Factor::Zero => Matrix::zeros(k, d),
        Factor::Units(units, weights) => {
            let mut m = Matrix::zeros(k, d);
            for (i, (unit, weight)) in units.iter().zip(weights).enumerate() {
                m.row_mut(i)[*unit as usize] = *weight;
            }
            m
        }
    }
}

/// Adds `times` direction `i` of a factor to a vector.
fn add_direction(factor: &Factor, i: usize, times: f64, sum: &mut [f64]) {
    match factor {
        Factor::Dense(m) => sum
            .iter_mut()
            .zip(m.row(i))
            .for_each(|(s, v)| *s += times * v),
        Factor::Units(units, weights) => sum[units[i] as usize] += times * weights[i],
        Factor::Zero => {}
    }
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

/// Measures how much two subspaces have in common, as the root mean square of the cosines of their principal angles.
/// The value is |cos| for two directions, 1 if one subspace contains the other, and 0 if they are orthogonal or if
/// one has no direction.
///
/// # Shapes
/// `a` and `b` are orthonormal bases with vectors as rows, k×d and m×d.
///
/// # Errors
/// Bases of different dimension d.
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

/// Units as they are stored, once they are known to exist and to be named once.
fn narrow(dim: usize, units: &[usize]) -> Result<Vec<u32>, EditError> {
    let unit = |&unit: &usize| match u32::try_from(unit) {
        Ok(narrow) if unit < dim => Ok(narrow),
        _ => Err(EditError::UnitOutOfRange { unit, dim }),
    };
    units.iter().map(unit).collect()
}

fn check_factor(
    what: &'static str,
    factor: &Factor,
    dim: usize,
    k: usize,
) -> Result<(), EditError> {
    match factor {
        Factor::Zero => Ok(()),
        Factor::Dense(m) => {
            same(what, dim, m.cols())?;
            same(what, k, m.rows())?;
            finite(what, m.data())
        }
        Factor::Units(units, weights) => {
            same(what, k, units.len())?;
            same(what, k, weights.len())?;
            finite(what, weights)?;
            let mut seen = HashSet::with_capacity(units.len());
            for unit in units.iter().map(|&unit| unit as usize) {
                if unit >= dim {
                    return Err(EditError::UnitOutOfRange { unit, dim });
                }
                if !seen.insert(unit) {
                    return Err(EditError::DuplicateUnit { unit });
                }
            }
            Ok(())
        }
    }
}

pub(crate) fn same(what: &'static str, expected: usize, found: usize) -> Result<(), EditError> {
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
