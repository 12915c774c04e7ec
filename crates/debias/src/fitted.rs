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
