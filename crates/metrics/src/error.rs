//! The errors of metrics, with the facts that help to correct the input.

/// The reason why a metric has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// There are no items to measure.
    #[error("{what}: no items")]
    Empty {
        /// The name of what was to be measured.
        what: &'static str,
    },
    /// There are fewer items than the metric needs.
    #[error("{what} needs at least {needed} items, found {found}")]
    TooFew {
        /// The name of what was to be measured.
        what: &'static str,
        /// The number of items that the metric needs.
        needed: usize,
        /// The number of items that were given.
        found: usize,
    },
    /// Two lists that belong together differ in length.
    #[error("{what}: expected {expected} entries, found {found}")]
    Length {
        /// The name of the list that has the wrong length.
        what: &'static str,
        /// The length that it should have.
        expected: usize,
        /// The length that it has.
        found: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what}: item {index} is {value}; every value must be finite")]
    NotFinite {
        /// The name of the list.
        what: &'static str,
        /// The position in the list, counted from 0.
        index: usize,
        /// The value that was found.
        value: f64,
    },
    /// A value that should be a log-probability is above zero.
    #[error("token {token} has log-probability {value}, which is above 0")]
    NotALogProbability {
        /// The position of the token, counted from 0.
        token: usize,
        /// The value that was found.
        value: f64,
    },
    /// A Kullback–Leibler divergence is below zero.
    #[error("token {token} has divergence {value}, which is below 0 by more than rounding")]
    NegativeDivergence {
        /// The position of the token, counted from 0.
        token: usize,
        /// The value that was found.
        value: f64,
    },
    /// A field of an item has an impossible value.
    #[error("item {item}: {what} is {found}, expected {expected}")]
    BadItem {
        /// The position of the item, counted from 0.
        item: usize,
        /// The name of the field.
        what: &'static str,
        /// The value that was found.
        found: usize,
        /// The values that are possible.
        expected: &'static str,
    },
    /// A vector of length zero has no cosine.
    #[error("{side} row {row} is the zero vector, which has no cosine")]
    ZeroVector {
        /// The name of the side that has the vector.
        side: &'static str,
        /// The number of the row, counted from 0.
        row: usize,
    },
    /// All vectors of a side are the same, so that nothing varies.
    #[error("all {side} rows are equal; {what} is undefined")]
    Constant {
        /// The name of the side.
        side: &'static str,
        /// The name of what was to be measured.
        what: &'static str,
    },
    /// A row has a class number that does not exist.
    #[error("{what}: row {row} is of class {class}, but there are {classes} classes, from 0")]
    UnknownClass {
        /// The name of the list of rows.
        what: &'static str,
        /// The number of the row, counted from 0.
        row: usize,
        /// The class of this row.
        class: usize,
        /// The number of classes.
        classes: usize,
    },
    /// No row belongs to one of the classes.
    #[error("{what}: no row is of class {class}; every class needs at least one")]
    MissingClass {
        /// The name of the list of rows.
        what: &'static str,
        /// The class that has no row.
        class: usize,
    },
    /// All rows belong to one class, so there is nothing to distinguish.
    #[error("{what}: all are of class {class}; at least two classes are needed")]
    OneClass {
        /// The name of the list of rows.
        what: &'static str,
        /// The class of all rows.
        class: usize,
    },
    /// The statistic has no finite value on this data.
    #[error("{what} is undefined on this data: it divides by zero or overflows")]
    Undefined {
        /// The name of the statistic.
        what: &'static str,
    },
    /// A setting is outside its range.
    #[error("{name} = {value}, expected {expected}")]
    BadSetting {
        /// The name of the setting.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// The values that are possible.
        expected: &'static str,
    },
}

/// Checks that all values are finite.
pub(crate) fn finite(what: &'static str, values: &[f64]) -> Result<(), MetricError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(MetricError::NotFinite {
            what,
            index,
            value: values[index],
        }),
        None => Ok(()),
    }
}

/// Checks that a list has the expected length.
pub(crate) fn length(what: &'static str, expected: usize, found: usize) -> Result<(), MetricError> {
    if expected == found {
        Ok(())
    } else {
        Err(MetricError::Length {
            what,
            expected,
            found,
        })
    }
}

/// Returns the log-probabilities of tokens as `f64`, after checking that they are possible log-probabilities.
pub(crate) fn log_probabilities<T: Copy + Into<f64>>(
    values: &[T],
) -> Result<Vec<f64>, MetricError> {
    let values: Vec<f64> = values.iter().map(|&v| v.into()).collect();
    finite("token log-probability", &values)?;
    // A probability of 1 may come out of a log-softmax a hair above 0.
    match values.iter().position(|&v| v > 1e-4) {
        Some(token) => Err(MetricError::NotALogProbability {
            token,
            value: values[token],
        }),
        None => Ok(values),
    }
}
