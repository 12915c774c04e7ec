//! The choice of the statistics that are kept of the rows of each class.

/// The statistics that a method needs in addition to counts and class means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The covariances that are kept.
    pub covariance: Covariance,
    /// Whether the rows of groups are brought to length 1 first; those of the neutral class are then left out.
    pub unit_length: bool,
}

/// The covariances that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Covariance {
    /// None; the memory is O(classes·d).
    #[default]
    None,
    /// One covariance of all rows together; the memory is O(d²).
    Pooled,
    /// One covariance of each class; the memory is O(classes·d²).
    PerClass,
}
