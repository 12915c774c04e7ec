//! What a debiaser learns from.

use std::collections::BTreeMap;

use crate::{FitError, Matrix};

/// Sentence vectors with their classes and counterfactual sets.
///
/// # Shapes
/// `x` is n×d; `label` and `tuple` have n entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FitData {
    /// Sentence vectors, one per row.
    pub x: Matrix,
    /// Class of each row, an index into `classes`.
    pub label: Vec<usize>,
    /// Counterfactual set of each row: rows with the same number are the same
    /// sentence with its attribute words exchanged.
    pub tuple: Vec<Option<usize>>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The class of sentences that mention no group, where there is one.
    pub neutral: Option<usize>,
}

impl FitData {
    /// Dimension of the sentence vectors.
    pub fn dim(&self) -> usize {
        self.x.cols()
    }

    /// Checks everything that holds for every method.
    ///
    /// # Errors
    /// No rows, lists of unequal length, a class that does not exist, or a
    /// vector with NaN or an infinity.
    pub fn check(&self) -> Result<(), FitError> {
        let n = self.x.rows();
        if n == 0 || self.x.cols() == 0 {
            return Err(FitError::Empty {
                rows: n,
                dim: self.x.cols(),
            });
        }
        check_length("one class per sentence vector", n, self.label.len())?;
        check_length(
            "one counterfactual set per sentence vector",
            n,
            self.tuple.len(),
        )?;
        let unknown = |row: usize, label: usize| FitError::UnknownClass {
            row,
            label,
            classes: self.classes.clone(),
        };
        if let Some((row, &label)) = self
            .label
            .iter()
            .enumerate()
            .find(|&(_, &label)| label >= self.classes.len())
        {
            return Err(unknown(row, label));
        }
        for row in 0..n {
            if let Some(column) = self.x.row(row).iter().position(|v| !v.is_finite()) {
                return Err(FitError::NotFinite {
                    row,
                    column,
                    value: self.x.at(row, column),
                });
            }
        }
        Ok(())
    }

    /// The classes that have at least one row, in the order of `classes`.
    pub fn present(&self) -> Vec<usize> {
        let mut seen = vec![false; self.classes.len()];
        for &label in &self.label {
            seen[label] = true;
        }
        (0..seen.len()).filter(|&class| seen[class]).collect()
    }

    /// The classes with rows, at least `needed` of them.
    pub(crate) fn require_classes(
        &self,
        method: &'static str,
        needed: usize,
    ) -> Result<Vec<usize>, FitError> {
        self.at_least(method, "classes", needed, self.present())
    }

    /// The groups with rows, at least two of them: the classes but the neutral one.
    pub(crate) fn require_groups(&self, method: &'static str) -> Result<Vec<usize>, FitError> {
        let mut groups = self.present();
        groups.retain(|&class| Some(class) != self.neutral);
        self.at_least(method, "groups", 2, groups)
    }

    fn at_least(
        &self,
        method: &'static str,
        what: &'static str,
        needed: usize,
        present: Vec<usize>,
    ) -> Result<Vec<usize>, FitError> {
        if present.len() < needed {
            return Err(FitError::TooFewClasses {
                method,
                what,
                needed,
                present: present.iter().map(|&c| self.classes[c].clone()).collect(),
            });
        }
        Ok(present)
    }

    /// The vectors of the rows of one class.
    pub(crate) fn rows_of(&self, class: usize) -> impl Iterator<Item = &[f64]> {
        let of_class = move |&(_, &label): &(usize, &usize)| label == class;
        let rows = self.label.iter().enumerate().filter(of_class);
        rows.map(|(row, _)| self.x.row(row))
    }

    /// Mean vector of one class with at least one row.
    pub(crate) fn class_mean(&self, class: usize) -> Vec<f64> {
        let mut mean = vec![0.0; self.dim()];
        let mut n = 0.0;
        for row in self.rows_of(class) {
            crate::matrix::axpy(1.0, row, &mut mean);
            n += 1.0;
        }
        mean.iter_mut().for_each(|v| *v /= n);
        mean
    }

    /// Rows of every counterfactual set, sets in ascending order.
    pub(crate) fn tuples(&self, method: &'static str) -> Result<Vec<Vec<usize>>, FitError> {
        let mut sets: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (row, set) in self.tuple.iter().enumerate() {
            if let Some(set) = set {
                sets.entry(*set).or_default().push(row);
            }
        }
        if sets.is_empty() {
            return Err(FitError::NoTuples { method });
        }
        if let Some((&tuple, rows)) = sets.iter().find(|(_, rows)| rows.len() < 2) {
            return Err(FitError::LonelyTuple {
                tuple,
                row: rows[0],
            });
        }
        Ok(sets.into_values().collect())
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), FitError> {
    if expected == found {
        Ok(())
    } else {
        Err(FitError::Length {
            what,
            expected,
            found,
        })
    }
}
