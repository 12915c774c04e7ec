//! The results of a fit.

use crate::Edit;

/// The result of a fit at several sites.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FittedSites {
    /// The edit of each site.
    pub edits: Vec<Edit>,
    /// Diagnostics of the fit, by name.
    pub notes: Vec<(String, f64)>,
}

/// The result of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The edit.
    pub edit: Edit,
    /// Diagnostics of the fit, by name, such as `explained_variance_1`.
    pub notes: Vec<(String, f64)>,
}

/// Makes the notes of a fit.
pub(crate) fn named(notes: impl IntoIterator<Item = (&'static str, f64)>) -> Vec<(String, f64)> {
    let notes = notes.into_iter();
    notes
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
