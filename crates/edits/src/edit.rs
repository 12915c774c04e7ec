//! One affine form for every edit: x ↦ x − L·(R·x − b), with factors that may be dense, single
//! units, or nothing.
//!
//! States are rows, as in the rest of the program: a state x is one row of an
//! n×d buffer, and the formulas below are per row.

use std::collections::{HashMap, HashSet};

use crate::matrix::{dot, extend_basis};
use crate::{EditError, Matrix};

/// One of the two factors of an edit.
#[derive(Debug, Clone, PartialEq)]
pub enum Factor {
    /// k directions as the rows of a k×d matrix, the left factor too.
    Dense(Matrix),
    /// k single units, each with a weight: direction i is the axis of unit i times its weight.
    Units(Vec<u32>, Vec<f64>),
    /// k directions of length zero: the edit does not look at the state.
    Zero,
}

/// What kind of change an edit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// x ↦ x.
    Identity,
    /// Takes a subspace away, or any other change that depends on directions of the state.
    Erase,
    /// Adds a vector: steering.
    Shift,
    /// Moves units toward constants.
    Clamp,
    /// Multiplies units.
    Scale,
    /// Adds constants to units.
    Add,
}

impl Kind {
    /// The kind in one word.
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

/// A map x ↦ x − L·(R·x − b) of states of one dimension d, with few directions k.
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
    /// The edit of given factors.
    ///
    /// # Shapes
    /// `left` and `right` k directions of dimension `dim` each, `offset` k.
    ///
    /// # Errors
    /// Shapes that do not fit together, a unit outside the dimension or named twice in one factor, a number
    /// that is not finite.
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

    /// x ↦ x, of states of dimension `dim`.
    pub fn identity(dim: usize) -> Self {
        Self {
            dim,
            left: Factor::Zero,
            right: Factor::Zero,
            offset: Vec::new(),
        }
    }

    /// The eraser x ↦ x − L·R·(x − μ); without a mean, μ = 0.
    ///
    /// # Shapes
    /// `left` d×k, `right` k×d, `mean` d.
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

    /// The orthogonal projection x ↦ x − B·Bᵀ·x away from the span of an
    /// orthonormal basis.
    ///
    /// # Shapes
    /// `basis` holds the basis vectors as rows, k×d.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn projection(basis: &Matrix) -> Result<Self, EditError> {
        Self::erase(basis.transpose(), basis.clone(), None)
    }

    /// x ↦ x + v.
    ///
    /// # Shapes
    /// `vector` d.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn shift(vector: Vec<f64>) -> Result<Self, EditError> {
        finite("vector", &vector)?;
        let dim = vector.len();
        let left = Factor::Dense(Matrix::from_rows(&[vector], dim));
        Self::new(dim, left, Factor::Zero, vec![1.0])
    }

    /// x\[u\] ↦ c for every unit u of `units`, with its c of `values`.
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

    /// x\[u\] ↦ f · x\[u\] for every unit u of `units`, with its f of `factors`.
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

    /// x\[u\] ↦ x\[u\] + a for every unit u of `units`, with its a of `amounts`.
    ///
    /// # Errors
    /// As [`Edit::clamp`].
    pub fn add(dim: usize, units: Vec<usize>, amounts: Vec<f64>) -> Result<Self, EditError> {
        same("one amount per unit", units.len(), amounts.len())?;
        let units = narrow(dim, &units)?;
        let ones = vec![1.0; units.len()];
        Self::new(dim, Factor::Units(units, ones), Factor::Zero, amounts)
    }

    /// Dimension d of the states this edit takes.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// L, its k directions as rows.
    pub fn left(&self) -> &Factor {
        &self.left
    }

    /// R.
    pub fn right(&self) -> &Factor {
        &self.right
    }

    /// b, of length k.
    pub fn offset(&self) -> &[f64] {
        &self.offset
    }

    /// How many directions or units of the state decide the change: 0 for an edit that is the same
    /// for every state.
    pub fn rank(&self) -> usize {
        match self.right {
            Factor::Zero => 0,
            _ => self.offset.len(),
        }
    }

    /// What kind of change this is.
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

    /// The matrix I − L·R, d×d: for checks and for small d.
    pub fn matrix(&self) -> Matrix {
        let mut p = Matrix::identity(self.dim);
        let (k, d) = (self.offset.len(), self.dim);
        let left = dense(&self.left, k, d).transpose();
        p.subtract(&left.matmul(&dense(&self.right, k, d)));
        p
    }

    /// The vector that an edit adds to every state, if it adds the same to all: L·b.
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

    /// Both factors, L and R, with all their zeros.
    ///
    /// # Shapes
    /// k×d each: directions as rows.
    pub fn factors(&self) -> [Matrix; 2] {
        [&self.left, &self.right].map(|factor| dense(factor, self.offset.len(), self.dim))
    }

    /// What the edit looks at: an orthonormal basis of the directions that decide by how
    /// much a state changes. A shift looks at nothing.
    ///
    /// # Shapes
    /// Basis vectors as rows, at most [`Edit::rank`] × d.
    pub fn reads(&self) -> Matrix {
        match &self.right {
            Factor::Zero => Matrix::zeros(0, self.dim),
            right => basis(&dense(right, self.offset.len(), self.dim)),
        }
    }

    /// Where the edit moves states: an orthonormal basis of all its changes. That of an
    /// orthogonal projection is what it reads.
    ///
    /// # Shapes
    /// Basis vectors as rows, at most k×d; none for the identity.
    pub fn writes(&self) -> Matrix {
        match (self.constant(), &self.left) {
            (Some(vector), _) => basis(&Matrix::from_rows(&[vector], self.dim)),
            (_, left) => basis(&dense(left, self.offset.len(), self.dim)),
        }
    }

    /// The same erasure around a mean: x ↦ x − L·R·(x − μ), which leaves μ where it is.
    /// An edit of single units or one that adds the same to every state has no mean and stays as it is.
    ///
    /// # Shapes
    /// `mean` d.
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

    /// The same edit, `strength` times as far: x ↦ x + strength·(edit(x) − x).
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

    /// One edit that does first `self`, then `next`.
    ///
    /// Two shifts are one shift, and two edits of single units are one edit of single units. Any other two are
    /// one edit with the directions of both; a factor of units then becomes dense.
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

/// A factor as a matrix, k×d.
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
