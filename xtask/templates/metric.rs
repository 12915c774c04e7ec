//! New metric: the mean difference of two scores of the same items.
//!
//! Starting point: this works and its tests pass. Put your formula, source and tests in its place.
//!
//! # Source
//! Starting point: put the authors, title, venue and arXiv number here.
//!
//! Formula: (1/n) Σ_i (a_i − b_i).

use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, finite, length};
use crate::info::MetricInfo;

/// Describes the metric for the table of metrics; the registry in `info.rs` has a line that names this constant.
pub const INFO: MetricInfo = MetricInfo {
    name: "new_metric",
    title: "New metric",
    unit: "",
    formula: "mean of a − b over items",
    citation: "a starting point, not published",
    ideal: Some(0.0),
    higher_is_better: None,
};

/// Returns the mean difference of two scores and its confidence interval over items.
///
/// # Shapes
/// Both lists have one value per item.
///
/// # Errors
/// There are no items, the lists have unequal lengths, or a value is not finite.
pub fn new_metric(
    first_scores: &[f64],
    second_scores: &[f64],
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    length("second scores", first_scores.len(), second_scores.len())?;
    finite("first scores", first_scores)?;
    finite("second scores", second_scores)?;
    // Starting point: the formula. One value per item, so that items can be resampled.
    let pairs = first_scores.iter().zip(second_scores);
    let values: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
    bootstrap::mean(&values, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measure(a: &[f64], b: &[f64]) -> Result<Estimate, MetricError> {
        new_metric(a, b, &Bootstrap::default())
    }

    /// The numbers are computed by hand: the differences are 1, 3 and −1.
    #[test]
    fn by_hand() {
        let found = measure(&[3., 5., 0.], &[2., 2., 1.]).unwrap();
        assert!((found.value - 1.0).abs() < 1e-15 && found.n == 3);
        assert!(found.ci_low.unwrap() <= found.value && found.value <= found.ci_high.unwrap());
    }

    #[test]
    fn what_cannot_be_measured() {
        let error = measure(&[], &[]).unwrap_err();
        assert!(matches!(error, MetricError::Empty { .. }));
        let unequal = MetricError::Length {
            what: "second scores",
            expected: 2,
            found: 1,
        };
        assert_eq!(measure(&[1., 2.], &[1.]), Err(unequal));
        let error = measure(&[1., 2.], &[1., f64::NAN]).unwrap_err();
        assert!(matches!(error, MetricError::NotFinite { index: 1, .. }));
    }

    proptest! {
        #[test]
        fn exchanging_the_scores_changes_the_sign(
            a in proptest::collection::vec(-9.0..9.0f64, 5),
            b in proptest::collection::vec(-9.0..9.0f64, 5),
        ) {
            let (there, back) = (measure(&a, &b).unwrap(), measure(&b, &a).unwrap());
            prop_assert!((there.value + back.value).abs() < 1e-12);
        }
    }
}
