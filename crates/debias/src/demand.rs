//! The requirements of a method on its examples.

/// All requirements of a method on its examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// How states become the vectors that the method learns from.
    pub reduce: Reduce,
    /// What the data must contain.
    pub needs: Needs,
    /// What determines the size of the edit.
    pub size: Size,
    /// How many of its sites the method needs to fit the edit of one.
    pub span: Span,
    /// What distinguishes its examples.
    pub contrast: Contrast,
}

/// The requirements of a method on its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Whether the method learns from counterfactual sets.
    pub tuples: bool,
    /// The number of classes that must have examples; 0 if the method does not read classes.
    pub classes: usize,
    /// Whether the method compares groups, in which case at least two classes besides the neutral one must have
    /// examples.
    pub groups: bool,
    /// Whether the seed changes the result.
    pub seed: bool,
    /// Whether the method treats each language of the data separately. Its rank is then the rank in each language.
    pub languages: bool,
    /// Whether the method reads the model's weights in addition to the states.
    pub weights: bool,
}

/// How the states of a sentence's tokens become the vectors that a method learns from. Special tokens are included if
/// the fit says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Reduce {
    /// One vector: the mean of the states.
    #[default]
    Mean,
    /// One vector: the state of the last token.
    Last,
    /// One vector: the largest value of each unit.
    Max,
    /// One vector for each token, with the class of its sentence.
    Tokens,
    /// One vector: for each unit, the share of the tokens at which its value is above zero.
    Positive,
}

impl Reduce {
    /// All of these choices.
    pub const ALL: [Reduce; 5] = [
        Reduce::Mean,
        Reduce::Last,
        Reduce::Max,
        Reduce::Tokens,
        Reduce::Positive,
    ];

    /// Returns the name in specs and files.
    pub fn name(self) -> &'static str {
        match self {
            Reduce::Mean => "mean",
            Reduce::Last => "last",
            Reduce::Max => "max",
            Reduce::Tokens => "tokens",
            Reduce::Positive => "positive",
        }
    }
}

/// What determines the size of a method's edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// The number of directions that it removes.
    Rank,
    /// The number of units that it changes.
    Units,
    /// The strength alone, which is how far it moves states.
    Strength,
}

/// How many of its sites a method needs to fit the edit of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Span {
    /// One site: each edit is fitted by itself.
    #[default]
    Site,
    /// All sites: the edit at one site depends on the states at the others.
    Sites,
    /// Each site in turn, with the states as the edits at the earlier sites leave them.
    Chain,
}

/// What distinguishes the examples of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Contrast {
    /// The groups that sentences of one language mention.
    #[default]
    Groups,
    /// The languages of the same sentences. The classes are then languages, and the first one is the language of the
    /// fit; a counterfactual set is one sentence in all languages.
    Languages,
}

impl Contrast {
    /// Both contrasts, in the order in which they are listed.
    pub const ALL: [Contrast; 2] = [Contrast::Groups, Contrast::Languages];

    /// Returns the name in specs.
    pub fn name(self) -> &'static str {
        match self {
            Contrast::Groups => "groups",
            Contrast::Languages => "languages",
        }
    }
}
