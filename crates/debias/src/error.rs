//! What can go wrong, with the facts that help to mend it.

use crate::Keep;

/// Why a debiaser could not be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A buffer does not have the shape it was declared with.
    #[error(transparent)]
    Shape(#[from] interlingua_edits::ShapeError),
    /// Two parts of the data that belong together differ in length.
    #[error("{what}: expected {expected}, found {found}")]
    Length {
        /// Which part.
        what: &'static str,
        /// Length it should have.
        expected: usize,
        /// Length it has.
        found: usize,
    },
    /// A row names a class that does not exist.
    #[error("row {row} has class {label}, but there are only {} classes: {}", classes.len(), classes.join(", "))]
    UnknownClass {
        /// Row of the data.
        row: usize,
        /// The class index it names.
        label: usize,
        /// The classes that exist.
        classes: Vec<String>,
    },
    /// A sentence vector holds NaN or an infinity.
    #[error("row {row} holds {value} at dimension {column}; every state must be finite")]
    NotFinite {
        /// Row of the data.
        row: usize,
        /// Dimension of the vector.
        column: usize,
        /// The value found.
        value: f64,
    },
    /// The data has no rows, or vectors of no dimension.
    #[error("no data to fit on: {rows} rows of dimension {dim}")]
    Empty {
        /// Rows given.
        rows: usize,
        /// Dimension given.
        dim: usize,
    },
    /// The method compares classes, and the data has too few of them.
    #[error(
        "{method} needs examples of at least {needed} {what}, but the data has {} ({})",
        present.len(),
        present.join(", ")
    )]
    TooFewClasses {
        /// The method.
        method: &'static str,
        /// What it compares: classes, or groups (classes that are not neutral).
        what: &'static str,
        /// How many it needs.
        needed: usize,
        /// Those that have at least one row.
        present: Vec<String>,
    },
    /// There are fewer independent examples than directions asked for.
    #[error(
        "{method} cannot find {rank} directions in {examples} examples; ask for rank ≤ {examples} or give more data"
    )]
    TooFewExamples {
        /// The method.
        method: &'static str,
        /// Directions asked for.
        rank: usize,
        /// Examples (or independent differences) in the data.
        examples: usize,
    },
    /// The rank asked for is impossible in this space or for this method.
    #[error("{method}: rank {rank} is outside 1..={max}")]
    RankOutOfRange {
        /// The method.
        method: &'static str,
        /// Rank asked for.
        rank: usize,
        /// Largest rank that can be.
        max: usize,
    },
    /// The number of units asked for is impossible in this space.
    #[error("{method}: {units} units is outside 1..={max}, for the states have {max}")]
    UnitsOutOfRange {
        /// The method.
        method: &'static str,
        /// Units asked for.
        units: usize,
        /// Units that there are.
        max: usize,
    },
    /// No unit is left to change.
    #[error("{method} finds no unit to change: {reason}")]
    NoUnits {
        /// The method.
        method: &'static str,
        /// Why, and what would help.
        reason: String,
    },
    /// The data varies along fewer directions than were asked for.
    #[error("{method} found only {found} directions with any variance, {rank} were asked for")]
    Degenerate {
        /// The method.
        method: &'static str,
        /// Directions asked for.
        rank: usize,
        /// Directions the data has.
        found: usize,
    },
    /// A vector of length zero cannot be L2-normalised.
    #[error("row {row} is the zero vector, which {method} cannot L2-normalise; drop the sentence")]
    ZeroVector {
        /// The method.
        method: &'static str,
        /// Row of the data.
        row: usize,
    },
    /// The method learns from counterfactual sets, and the data has none.
    #[error("{method} learns from counterfactual sets, but no row of the data belongs to one")]
    NoTuples {
        /// The method.
        method: &'static str,
    },
    /// A control with shuffled groups cannot be made.
    #[error(
        "no control with shuffled groups can be made: `{class}` has one example or one counterfactual sentence in a \
         language, and shuffling within a group takes at least two; give more text"
    )]
    NothingToShuffle {
        /// The class.
        class: String,
    },
    /// A counterfactual set has lost its other members.
    #[error(
        "counterfactual set {tuple} has row {row} as its only member; a set needs at least two"
    )]
    LonelyTuple {
        /// The set.
        tuple: usize,
        /// Its only row.
        row: usize,
    },
    /// A parameter the method does not have.
    #[error("{method} has no parameter `{name}`; it has: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    UnknownParam {
        /// The method.
        method: &'static str,
        /// The parameter that was typed.
        name: String,
        /// Those that exist.
        known: Vec<&'static str>,
    },
    /// A parameter with a value the method cannot use.
    #[error("{method}: parameter `{name}` = {value}, expected {expected}")]
    BadParam {
        /// The method.
        method: &'static str,
        /// The parameter.
        name: &'static str,
        /// The value that was typed.
        value: String,
        /// What would work.
        expected: &'static str,
    },
    /// An iterative solver stopped before its tolerance.
    #[error(
        "{what} did not converge in {iterations} iterations: gradient {gradient:e}, wanted {tolerance:e}"
    )]
    NoConvergence {
        /// What was solved, e.g. "inlp round 3, class female".
        what: String,
        /// Iterations done.
        iterations: usize,
        /// Norm of the gradient reached, relative to the start.
        gradient: f64,
        /// Norm that was wanted.
        tolerance: f64,
    },
    /// The states at one of several sites cannot be had.
    #[error("no states at site {site}: {reason}")]
    Evidence {
        /// Place of the site.
        site: usize,
        /// Why not.
        reason: String,
    },
    /// The method learns from states that earlier edits have changed, and there is no model to change them.
    #[error(
        "the states at site {site} under the edits before it take a pass of the model, and only states are given here; fit \
         it in an experiment"
    )]
    NoModel {
        /// Place of the site.
        site: usize,
    },
    /// A group that the data does not have.
    #[error("{method}: no group `{name}` with examples; there are: {}", groups.join(", "))]
    UnknownGroup {
        /// The method.
        method: &'static str,
        /// The group that was typed.
        name: String,
        /// The groups that have examples.
        groups: Vec<String>,
    },
    /// No counterfactual set holds the group together with another one.
    #[error("{method}: no counterfactual set holds group `{group}` together with another group")]
    NoContrast {
        /// The method.
        method: &'static str,
        /// The group.
        group: String,
    },
    /// Class statistics that do not belong together.
    #[error(
        "class statistics do not merge: both must keep the same of the same classes, \
         but one was made for {} and the other for {}", ours.join(", "), theirs.join(", ")
    )]
    DifferentStatistics {
        /// Classes of the statistics that were to be extended.
        ours: Vec<String>,
        /// Classes of the statistics that were to be added.
        theirs: Vec<String>,
    },
    /// The method cannot be fitted from class statistics.
    #[error("{method} reads the examples more than once, so it cannot be fitted from a stream")]
    NotStreamable {
        /// The method.
        method: &'static str,
    },
    /// The class statistics lack what the method needs, or hold what it does not read.
    #[error("{method} fits from statistics that keep {needed:?}, but these keep {kept:?}")]
    StatisticsNotKept {
        /// The method.
        method: &'static str,
        /// What it needs, see [`crate::Debiaser::keeps`].
        needed: Keep,
        /// What the statistics keep.
        kept: Keep,
    },
    /// Numbers too large to compute with.
    #[error("{what} overflows; scale the states down")]
    Overflow {
        /// What was computed.
        what: &'static str,
    },
    /// Stochastic gradient descent ran away.
    #[error("{method} diverged at step {step}; lower `learning_rate` (it was {learning_rate})")]
    Diverged {
        /// The method.
        method: &'static str,
        /// The step at which a number was no longer finite.
        step: usize,
        /// The learning rate.
        learning_rate: f64,
    },
    /// A matrix decomposition failed.
    #[error("{what} failed: {reason}")]
    Decomposition {
        /// Which decomposition, of what.
        what: &'static str,
        /// What the solver said.
        reason: String,
    },
}

/// A method name that the registry does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown debiasing method `{name}`; known methods: {}", known.join(", "))]
pub struct UnknownMethod {
    /// The name that was asked for.
    pub name: String,
    /// The names that exist.
    pub known: Vec<&'static str>,
}
