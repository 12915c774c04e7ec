//! The data that debiasing methods are fitted on.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::{FitError, Matrix};

/// Sentence vectors with their classes and counterfactual sets.
///
/// # Shapes
/// `x` is n×d; `label` and `tuple` have n entries; `language` has n entries or none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FitData {
    /// The sentence vectors, one per row.
    pub x: Matrix,
    /// The class of each row, as an index into `classes`.
    pub label: Vec<usize>,
    /// The counterfactual set of each row. Rows with the same number are the same sentence with its attribute words
    /// exchanged.
    pub tuple: Vec<Option<usize>>,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The class of sentences that mention no group, if there is one.
    pub neutral: Option<usize>,
    /// The language of each row, as a number; empty if all rows are in one language.
    pub language: Vec<usize>,
}

impl FitData {
    /// Returns the dimension of the sentence vectors.
    pub fn dim(&self) -> usize {
        self.x.cols()
    }

    /// Checks the conditions that hold for every method.
    ///
    /// # Errors
    /// No rows, lists of unequal length, a class that does not exist, or a vector with NaN or an infinity.
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
        if !self.language.is_empty() {
            check_length("one language per sentence vector", n, self.language.len())?;
        }
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
        check_finite(&self.x)
    }

    /// Returns the classes that have at least one row, in the order of `classes`.
    pub fn present(&self) -> Vec<usize> {
        let mut seen = vec![false; self.classes.len()];
        for &label in &self.label {
            seen[label] = true;
        }
        (0..seen.len()).filter(|&class| seen[class]).collect()
    }

    /// Returns the classes with rows, and fails if there are fewer than `needed`.
    pub(crate) fn require_classes(
        &self,
        method: &'static str,
        needed: usize,
    ) -> Result<Vec<usize>, FitError> {
        require(method, "classes", needed, self.present(), &self.classes)
    }

    /// Returns the groups with rows, which are the classes except the neutral one, and fails if there are fewer than
    /// two.
    pub(crate) fn require_groups(&self, method: &'static str) -> Result<Vec<usize>, FitError> {
        let groups = groups_of(self.present(), self.neutral);
        require(method, "groups", 2, groups, &self.classes)
    }

    /// Returns the rows of every language, languages in ascending order; if the data names no languages, all rows
    /// together.
    pub(crate) fn languages(&self) -> Vec<Vec<usize>> {
        let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for row in 0..self.x.rows() {
            let language = self.language.get(row).copied().unwrap_or(0);
            rows.entry(language).or_default().push(row);
        }
        rows.into_values().collect()
    }

    /// Returns the same vectors with their sets and labels shuffled, so that nothing can be learned about the groups.
    /// This is the shuffled control of every method.
    ///
    /// Everything is shuffled within a group and a language. New counterfactual sets are formed, each from rows of
    /// one class, so that the members of a set differ in everything except the group. New labels are assigned so that
    /// every class keeps its count and contains the same share of every true class; the new classes therefore do not
    /// differ in the group. Members of a set get different labels, so that methods that read both find sets to learn
    /// from. If rows were shuffled across groups instead, sets and classes would still differ by the group in part,
    /// and the control would remove the very thing it is a control for.
    ///
    /// # Errors
    /// The errors of [`FitData::check`], and [`FitError::NothingToShuffle`] for a class that has only one member in a
    /// language, or only one in its counterfactual sets.
    pub fn shuffled(&self, seed: u64) -> Result<Self, FitError> {
        self.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut out = self.clone();
        let (members, sets) = self.sets();
        let size = members.checked_div(sets).unwrap_or(0).max(2);
        let mut next = 0;
        for language in self.languages() {
            let mut dealt = Vec::with_capacity(language.len());
            for class in self.present() {
                let of_class = language.iter().filter(|&&row| self.label[row] == class);
                let mut rows: Vec<usize> = of_class.copied().collect();
                rows.shuffle(&mut rng);
                let in_sets = rows.iter().filter(|&&row| self.tuple[row].is_some());
                let in_sets: Vec<usize> = in_sets.copied().collect();
                if rows.len() == 1 || in_sets.len() == 1 {
                    return Err(FitError::NothingToShuffle {
                        class: self.classes[class].clone(),
                    });
                }
                let sets = (in_sets.len() / size).max(1);
                for (at, &row) in in_sets.iter().enumerate() {
                    out.tuple[row] = Some(next + at % sets);
                }
                next += sets;
                // Labels alternate in the order of `dealt`: members of a set follow each other there.
                let of_set = |set| in_sets.iter().skip(set).step_by(sets).copied();
                dealt.extend((0..sets).flat_map(of_set));
                let alone = rows.iter().filter(|&&row| self.tuple[row].is_none());
                dealt.extend(alone.copied());
            }
            for (&row, label) in dealt.iter().zip(self.spread_labels(&language)) {
                out.label[row] = label;
            }
        }
        Ok(out)
    }

    /// Rows that belong to counterfactual sets, and the sets.
    fn sets(&self) -> (usize, usize) {
        let members: Vec<usize> = self.tuple.iter().flatten().copied().collect();
        let sets: BTreeSet<usize> = members.iter().copied().collect();
        (members.len(), sets.len())
    }

    /// The labels of some rows in an order in which each is spread evenly.
    fn spread_labels(&self, rows: &[usize]) -> Vec<usize> {
        let mut counts = vec![0_usize; self.classes.len()];
        rows.iter().for_each(|&row| counts[self.label[row]] += 1);
        let mut places = Vec::with_capacity(rows.len());
        for (label, &count) in counts.iter().enumerate() {
            places.extend((0..count).map(|k| ((k as f64 + 0.5) / count as f64, label)));
        }
        places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        places.into_iter().map(|(_, label)| label).collect()
    }

    /// Returns the rows of every counterfactual set, sets in ascending order.
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

pub(crate) fn check_length(
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), FitError> {
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

/// Refuses a matrix with NaN or an infinity.
pub(crate) fn check_finite(x: &Matrix) -> Result<(), FitError> {
    for row in 0..x.rows() {
        if let Some(column) = x.row(row).iter().position(|v| !v.is_finite()) {
            return Err(FitError::NotFinite {
                row,
                column,
                value: x.at(row, column),
            });
        }
    }
    Ok(())
}

/// Returns the classes that are groups: all classes except the neutral one.
pub(crate) fn groups_of(mut classes: Vec<usize>, neutral: Option<usize>) -> Vec<usize> {
    classes.retain(|&class| Some(class) != neutral);
    classes
}

/// Returns `present`, and fails if it has fewer than `needed` classes.
pub(crate) fn require(
    method: &'static str,
    what: &'static str,
    needed: usize,
    present: Vec<usize>,
    names: &[String],
) -> Result<Vec<usize>, FitError> {
    if present.len() < needed {
        return Err(FitError::TooFewClasses {
            method,
            what,
            needed,
            present: present.iter().map(|&c| names[c].clone()).collect(),
        });
    }
    Ok(present)
}
