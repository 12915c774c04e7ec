//! New method: the direction from the mean of the first group to that of the second.
//!
//! Starting point: this works and its tests pass. Put your formula, source and tests in its place.
//!
//! # Source
//! Starting point: put the authors, title, venue and arXiv number here.
//!
//! Formula: v = m_2 − m_1; x ↦ x − v·(v·x)/(v·v).
//!
//! # Shapes
//! The states x are n×d, and the direction v has d values.

use super::fitted_projection;
use super::mean_difference::mean_differences;
use crate::options::{Params, rank_within};
use crate::{Debiaser, FitData, FitError, FitOptions, Fitted, Keep, Moments, Needs};

/// New method; the rank is 1. Neither the neutral class nor groups beyond the second are read.
/// The notes of a fit give the `distance` between the two means.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewMethod;

impl Debiaser for NewMethod {
    fn name(&self) -> &'static str {
        "new-method"
    }

    fn title(&self) -> &'static str {
        "New method"
    }

    fn citation(&self) -> &'static str {
        "a starting point, not published"
    }

    fn summary(&self) -> &'static str {
        "Removes the direction from the mean of the first group to that of the second."
    }

    fn docs(&self) -> &'static str {
        "methods/new-method.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            groups: true,
            classes: 2,
            ..Needs::default()
        }
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        // Unknown parameters, shapes, classes and NaN first: every fault is an error with its facts.
        Params::new(self.name(), self.params(), options)?;
        data.check()?;
        // Counts and means of the classes; a method that reads the rows finds them in `data.x`.
        let moments = Moments::of(data, Keep::default())?;
        let rank = rank_within(self.name(), options, 1, 1)?;

        // Starting point: the formula, one direction of length 1 and the length that it had.
        let (basis, distances) = mean_differences(self.name(), &moments, rank)?;
        fitted_projection(&basis, vec![("distance".to_owned(), distances[0])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;
    use proptest::prelude::*;

    /// Rows that belong to two groups in turn.
    fn two_groups(dim: usize, x: Vec<f64>) -> FitData {
        let rows = x.len() / dim;
        FitData {
            x: Matrix::new(rows, dim, x).unwrap(),
            label: (0..rows).map(|row| row % 2).collect(),
            tuple: vec![None; rows],
            classes: vec!["first".into(), "second".into()],
            ..FitData::default()
        }
    }

    fn fit(data: &FitData) -> Result<Fitted, FitError> {
        let method = NewMethod;
        method.fit(data, &FitOptions::default())
    }

    /// The numbers are computed by hand: the means are (2, 2) and (2, 6), so the second axis is removed.
    #[test]
    fn removes_the_axis_along_which_the_means_differ() {
        let data = two_groups(2, vec![1., 2., 1., 6., 3., 2., 3., 6.]);
        let fitted = fit(&data).unwrap();
        assert_eq!(fitted.notes, [("distance".to_owned(), 4.0)]);
        let mut state = Matrix::new(1, 2, vec![5.0, 7.0]).unwrap();
        fitted.edit.apply_matrix(&mut state).unwrap();
        assert_eq!(state.data(), [5.0, 0.0]);
    }

    #[test]
    fn equal_means_are_an_error() {
        let error = fit(&two_groups(2, vec![1.0; 8])).unwrap_err();
        assert!(matches!(error, FitError::Degenerate { found: 0, .. }));
    }

    proptest! {
        /// The formula keeps its promise on random data.
        #[test]
        fn the_means_coincide_afterwards(x in proptest::collection::vec(-9.0..9.0f64, 24)) {
            let data = two_groups(4, x);
            // Equal means are the other test.
            let means = Moments::of(&data, Keep::default()).unwrap();
            prop_assume!(means.class_mean(0) != means.class_mean(1));
            let mut edited = data.clone();
            fit(&data).unwrap().edit.apply_matrix(&mut edited.x).unwrap();
            let means = Moments::of(&edited, Keep::default()).unwrap();
            for (a, b) in means.class_mean(0).iter().zip(means.class_mean(1)) {
                prop_assert!((a - b).abs() < 1e-9, "{a} {b}");
            }
        }
    }
}
