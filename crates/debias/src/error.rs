//! The errors of fits, with the facts that help to correct the data or the options.

use crate::Keep;

/// The reason why a debiasing method could not be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The number of values in a buffer does not match its declared shape.
    #[error(transparent)]
    Shape(#[from] interlingua_edits::ShapeError),
    /// Two parts of the data that belong together differ in length.
    #[error("{what}: expected {expected}, found {found}")]
    Length {
        /// The name of the part.
        what: &'static str,
        /// The length that it should have.
        expected: usize,
        /// The length that it has.
        found: usize,
    },
    /// A row names a class that does not exist.
    #[error("row {row} has class {label}, but there are only {} classes: {}", classes.len(), classes.join(", "))]
    UnknownClass {
        /// The row of the data, counted from 0.
        row: usize,
        /// The class index that the row names.
        label: usize,
        /// The names of the classes that exist.
        classes: Vec<String>,
    },
    /// A sentence vector contains NaN or an infinity.
    #[error("row {row} holds {value} at dimension {column}; every state must be finite")]
    NotFinite {
        /// The row of the data, counted from 0.
        row: usize,
        /// The dimension of the vector, counted from 0.
        column: usize,
        /// The value at this position.
        value: f64,
    },
    /// The data has no rows, or vectors of no dimension.
    #[error("no data to fit on: {rows} rows of dimension {dim}")]
    Empty {
        /// The number of rows.
        rows: usize,
        /// The dimension of the vectors.
        dim: usize,
    },
    /// The method compares classes, and the data has too few of them.
    #[error(
        "{method} needs examples of at least {needed} {what}, but the data has {} ({})",
        present.len(),
        present.join(", ")
    )]
    TooFewClasses {
        /// The name of the method.
        method: &'static str,
        /// What the method compares: classes, or groups (classes that are not neutral).
        what: &'static str,
        /// The number of classes or groups that it needs.
        needed: usize,
        /// The classes or groups that have at least one row.
        present: Vec<String>,
    },
    /// There are fewer independent examples than directions that were asked for.
    #[error(
        "{method} cannot find {rank} directions in {examples} examples; ask for rank ≤ {examples} or give more data"
    )]
    TooFewExamples {
        /// The name of the method.
        method: &'static str,
        /// The number of directions that were asked for.
        rank: usize,
        /// The number of examples (or of independent differences) in the data.
        examples: usize,
    },
    /// The rank that was asked for is impossible in this space or for this method.
    #[error("{method}: rank {rank} is outside 1..={max}")]
    RankOutOfRange {
        /// The name of the method.
        method: &'static str,
        /// The rank that was asked for.
        rank: usize,
        /// The largest possible rank.
        max: usize,
    },
    /// The number of units that was asked for is impossible in this space.
    #[error("{method}: {units} units is outside 1..={max}, for the states have {max}")]
    UnitsOutOfRange {
        /// The name of the method.
        method: &'static str,
        /// The number of units that was asked for.
        units: usize,
        /// The number of units that exist.
        max: usize,
    },
    /// The method finds no unit to change.
    #[error("{method} finds no unit to change: {reason}")]
    NoUnits {
        /// The name of the method.
        method: &'static str,
        /// The reason, and what would help.
        reason: String,
    },
    /// The data varies along fewer directions than were asked for.
    #[error("{method} found only {found} directions with any variance, {rank} were asked for")]
    Degenerate {
        /// The name of the method.
        method: &'static str,
        /// The number of directions that were asked for.
        rank: usize,
        /// The number of directions along which the data varies.
        found: usize,
    },
    /// A vector of length zero cannot be L2-normalised.
    #[error("row {row} is the zero vector, which {method} cannot L2-normalise; drop the sentence")]
    ZeroVector {
        /// The name of the method.
        method: &'static str,
        /// The row of the data, counted from 0.
        row: usize,
    },
    /// The method learns from counterfactual sets, and the data has none.
    #[error("{method} learns from counterfactual sets, but no row of the data belongs to one")]
    NoTuples {
        /// The name of the method.
        method: &'static str,
    },
    /// No control with shuffled groups can be made, because a class has too few members.
    #[error(
        "no control with shuffled groups can be made: `{class}` has one example or one counterfactual sentence in a \
         language, and shuffling within a group takes at least two; give more text"
    )]
    NothingToShuffle {
        /// The name of the class.
        class: String,
    },
    /// A counterfactual set has only one member.
    #[error(
        "counterfactual set {tuple} has row {row} as its only member; a set needs at least two"
    )]
    LonelyTuple {
        /// The number of the set.
        tuple: usize,
        /// The only row of the set, counted from 0.
        row: usize,
    },
    /// The method does not have a parameter of this name.
    #[error("{method} has no parameter `{name}`; it has: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    UnknownParam {
        /// The name of the method.
        method: &'static str,
        /// The name that was given.
        name: String,
        /// The names of the parameters that exist.
        known: Vec<&'static str>,
    },
    /// A parameter has a value that the method cannot use.
    #[error("{method}: parameter `{name}` = {value}, expected {expected}")]
    BadParam {
        /// The name of the method.
        method: &'static str,
        /// The name of the parameter.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// The values that would work.
        expected: &'static str,
    },
    /// An iterative solver stopped before it reached its tolerance.
    #[error(
        "{what} did not converge in {iterations} iterations: gradient {gradient:e}, wanted {tolerance:e}"
    )]
    NoConvergence {
        /// The problem that was solved, such as "inlp round 3, class female".
        what: String,
        /// The number of iterations.
        iterations: usize,
        /// The norm of the gradient that was reached, relative to the start.
        gradient: f64,
        /// The norm that should have been reached.
        tolerance: f64,
    },
    /// The states at one of several sites are not available.
    #[error("no states at site {site}: {reason}")]
    Evidence {
        /// The position of the site, counted from 0.
        site: usize,
        /// The reason.
        reason: String,
    },
    /// The method learns from states that earlier edits have changed, and there is no model that could compute them.
    #[error(
        "the states at site {site} under the edits before it take a pass of the model, and only states are given here; fit \
         it in an experiment"
    )]
    NoModel {
        /// The position of the site, counted from 0.
        site: usize,
    },
    /// The method reads the weights next to a site, and they are not available.
    #[error(
        "the weights at site {site} cannot be looked at: {reason}; fit it in an experiment, at a hook point that one matrix \
         writes or reads"
    )]
    NoWeights {
        /// The position of the site, counted from 0.
        site: usize,
        /// The reason.
        reason: String,
    },
    /// The data has no group of this name.
    #[error("{method}: no group `{name}` with examples; there are: {}", groups.join(", "))]
    UnknownGroup {
        /// The name of the method.
        method: &'static str,
        /// The name that was given.
        name: String,
        /// The groups that have examples.
        groups: Vec<String>,
    },
    /// No counterfactual set contains the group together with another one.
    #[error("{method}: no counterfactual set holds group `{group}` together with another group")]
    NoContrast {
        /// The name of the method.
        method: &'static str,
        /// The name of the group.
        group: String,
    },
    /// Class statistics cannot be merged, because they were made for different classes or contain different things.
    #[error(
        "class statistics do not merge: both must keep the same of the same classes, \
         but one was made for {} and the other for {}", ours.join(", "), theirs.join(", ")
    )]
    DifferentStatistics {
        /// The classes of the statistics that were to be extended.
        ours: Vec<String>,
        /// The classes of the statistics that were to be added.
        theirs: Vec<String>,
    },
    /// The method cannot be fitted from class statistics.
    #[error("{method} reads the examples more than once, so it cannot be fitted from a stream")]
    NotStreamable {
        /// The name of the method.
        method: &'static str,
    },
    /// The class statistics lack something that the method needs, or contain something that it does not read.
    #[error("{method} fits from statistics that keep {needed:?}, but these keep {kept:?}")]
    StatisticsNotKept {
        /// The name of the method.
        method: &'static str,
        /// What the method needs; see [`crate::Debiaser::keeps`].
        needed: Keep,
        /// What the statistics contain.
        kept: Keep,
    },
    /// Numbers are too large to compute with.
    #[error("{what} overflows; scale the states down")]
    Overflow {
        /// What was being computed.
        what: &'static str,
    },
    /// Stochastic gradient descent diverged.
    #[error("{method} diverged at step {step}; lower `learning_rate` (it was {learning_rate})")]
    Diverged {
        /// The name of the method.
        method: &'static str,
        /// The step at which a number was no longer finite.
        step: usize,
        /// The learning rate of the fit.
        learning_rate: f64,
    },
    /// A matrix decomposition failed.
    #[error("{what} failed: {reason}")]
    Decomposition {
        /// The decomposition, and the matrix that it was for.
        what: &'static str,
        /// The error of the solver.
        reason: String,
    },
}

/// The error for a method name that the registry does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown debiasing method `{name}`; known methods: {}", known.join(", "))]
pub struct UnknownMethod {
    /// The name that was asked for.
    pub name: String,
    /// The names that exist.
    pub known: Vec<&'static str>,
}
