//! The testbed: a grammar that writes parallel English, French, German and Dutch sentences with a planted bias, whose
//! size is known exactly.
//!
//! A sentence is derived by independent choices: language → category and kind (neutral or not) → pattern → attribute
//! → group given the attribute → person → context fillers. Every choice is uniform except two: a sentence is neutral
//! with probability [`NEUTRAL`], and the group towards which attribute `a` leans is chosen with probability s_a. A
//! [`Derivation`] holds the choices without the language, so it can be written in every language. The probability of
//! a sentence is
//!
//! ```text
//! log p(sentence) = log(1/L) + log p(kind) + log(1/patterns) + log(1/attributes)
//!                 + log s_a or log(1 − s_a) + log(1/persons) + Σ log(1/fillers)
//! ```
//!
//! Two sentences that differ in the group alone therefore differ by exactly ln(s/(1 − s)).
//! Different derivations never give the same sentence (the tests enumerate all of them), so this
//! is the probability of the string.
//!
//! The group that an attribute leans to follows from its position in the list; it is arbitrary.

mod grammar;
mod orthography;
mod pairs;
mod probability;
mod sample;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::grammar::{CATEGORIES, Choices, GROUPS, Grammar, LANGUAGES};
use crate::language::Language;
use crate::types::PairKind;

pub use self::pairs::TestbedPair;

/// The probability that a sentence has neither a group word nor an attribute.
pub const NEUTRAL: f64 = 0.1;

/// The settings that a testbed is made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestbedConfig {
    /// The seed of every random stream of sentences.
    pub seed: u64,
    /// The planted strengths: P(the group that the attribute leans to | the attribute). They are assigned in turn to
    /// the attributes of each category. There are one to six of them, each in [0.5, 1).
    pub strengths: Vec<f64>,
    /// The languages of the corpus, from English, French, German and Dutch.
    pub languages: Vec<Language>,
}

impl Default for TestbedConfig {
    fn default() -> Self {
        TestbedConfig {
            seed: 0,
            strengths: vec![0.5, 0.6, 0.7, 0.8, 0.9, 0.95],
            languages: LANGUAGES.to_vec(),
        }
    }
}

/// The reason why a testbed cannot be made, or cannot give what was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TestbedError {
    /// A strength lies outside [0.5, 1).
    #[error("strengths[{index}] is {value}: a planted strength is at least 0.5 and less than 1")]
    Strength {
        /// The position in the list, counted from 0.
        index: usize,
        /// The strength at this position.
        value: f64,
    },
    /// There is no strength, or there are so many that a split cannot hold each of them in both directions.
    #[error("{got} strengths: give 1 to {max}, so that each split has each in both directions")]
    StrengthCount {
        /// The number of strengths that were given.
        got: usize,
        /// The largest number of strengths that is possible.
        max: usize,
    },
    /// The configuration names no language.
    #[error("no language: choose at least one of en, fr, de, nl")]
    NoLanguage,
    /// The grammar is not written in a language that was asked for.
    #[error("the testbed is not written in `{language}`: it has en, fr, de, nl")]
    UnknownLanguage {
        /// The language that was asked for.
        language: Language,
    },
    /// A language is listed twice.
    #[error("language `{language}` is listed twice")]
    DuplicateLanguage {
        /// The language that is listed twice.
        language: Language,
    },
    /// A language was asked for that the grammar knows but that this testbed was not configured with.
    #[error("this testbed has the languages {configured:?}, not `{language}`")]
    NotConfigured {
        /// The language that was asked for.
        language: Language,
        /// The languages of the configuration.
        configured: Vec<Language>,
    },
    /// The grammar does not have a category that was asked for.
    #[error("unknown category `{category}`: the testbed has gender, race-color, religion")]
    UnknownCategory {
        /// The category that was asked for.
        category: String,
    },
    /// More distinct sentences were asked for than the grammar can give in reasonable time.
    #[error("{asked} distinct sentences asked, {available} can be had: ask for fewer")]
    NotEnough {
        /// The number of sentences that were asked for.
        asked: usize,
        /// The most that can be asked for.
        available: usize,
    },
    /// The grammar that is embedded in the program is faulty. A test makes sure that this does not happen.
    #[error("crates/data/testbed/{file}: {message}")]
    Grammar {
        /// The file of the grammar.
        file: &'static str,
        /// A description of the fault.
        message: String,
    },
}

/// The part of the vocabulary that sentences are drawn from.
///
/// `Fit` and `Eval` share no attribute and no context filler. Group words and patterns are shared,
/// since they are what defines a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The whole vocabulary, on which the language model is trained and to which [`Testbed::log_prob`] refers.
    All,
    /// The entries at even positions of each list, on which a method is fitted.
    Fit,
    /// The entries at odd positions of each list, on which a method is evaluated.
    Eval,
}

/// The choices behind one sentence, which are the same in every language.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Derivation {
    pattern: u8,
    attribute: u8,
    group: u8,
    person: u8,
    fillers: Vec<u8>,
}

/// The grammar with its planted strengths. A clone shares the grammar and is cheap.
#[derive(Debug, Clone)]
pub struct Testbed {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: TestbedConfig,
    grammar: Grammar,
    /// By category: patterns with a group, and neutral ones.
    patterns: [[Vec<u8>; 2]; 3],
}

impl Testbed {
    /// Makes the testbed of a configuration.
    ///
    /// # Errors
    /// A strength outside [0.5, 1), no strengths or too many, or a list of languages that is empty or holds an
    /// unknown or a repeated one.
    pub fn new(config: TestbedConfig) -> Result<Self, TestbedError> {
        let grammar = Grammar::load()?;
        let per_split = grammar.attributes.iter().map(Vec::len).min().unwrap_or(0) / 2;
        validate(&config, per_split / 2)?;
        let mut patterns: [[Vec<u8>; 2]; 3] = Default::default();
        for (i, p) in grammar.patterns.iter().enumerate() {
            patterns[p.category][usize::from(p.neutral)].push(i as u8);
        }
        Ok(Testbed {
            inner: Arc::new(Inner {
                config,
                grammar,
                patterns,
            }),
        })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &TestbedConfig {
        &self.inner.config
    }

    /// Returns the languages, in the order of the configuration.
    pub fn languages(&self) -> &[Language] {
        &self.inner.config.languages
    }

    /// Returns the bias categories.
    pub fn categories() -> [&'static str; 3] {
        CATEGORIES
    }

    /// Returns the two groups of a category.
    ///
    /// # Errors
    /// An unknown category.
    pub fn groups(category: &str) -> Result<[&'static str; 2], TestbedError> {
        Ok(GROUPS[category_index(category)?])
    }

    /// Returns the identifiers of the sentence patterns.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.inner.grammar.patterns.iter().map(|p| p.id.as_str())
    }

    /// Returns the attributes of a category in a split, each with its identifier, its planted strength, and the
    /// position of the group that it leans to.
    ///
    /// # Errors
    /// An unknown category.
    pub fn attributes(
        &self,
        category: &str,
        split: Split,
    ) -> Result<Vec<(&str, f64, usize)>, TestbedError> {
        let category = category_index(category)?;
        let list = &self.inner.grammar.attributes[category];
        Ok(places(list.len(), split)
            .map(|i| (list[i].as_str(), self.strength(i), self.lean(i)))
            .collect())
    }

    /// Returns the category of a sentence.
    pub fn category(&self, d: &Derivation) -> &'static str {
        CATEGORIES[self.pattern(d).category]
    }

    /// Returns the identifier of the pattern of a sentence.
    pub fn pattern_id(&self, d: &Derivation) -> &str {
        &self.pattern(d).id
    }

    /// Returns the attribute of a sentence; `None` if the sentence is neutral.
    pub fn attribute(&self, d: &Derivation) -> Option<&str> {
        let p = self.pattern(d);
        (!p.neutral)
            .then(|| self.inner.grammar.attributes[p.category][usize::from(d.attribute)].as_str())
    }

    /// Returns the position of the group in [`Testbed::groups`]; `None` if the sentence is neutral.
    pub fn group(&self, d: &Derivation) -> Option<usize> {
        (!self.pattern(d).neutral).then_some(usize::from(d.group))
    }

    /// Writes the sentence of a derivation in a language.
    ///
    /// # Panics
    /// If the grammar is not written in `language`. The languages in [`Testbed::languages`] are always possible.
    pub fn render(&self, d: &Derivation, language: Language) -> String {
        let index = place_of(language);
        let choices = Choices {
            attribute: usize::from(d.attribute),
            group: usize::from(d.group),
            person: usize::from(d.person),
            fillers: &d.fillers,
        };
        self.inner.grammar.realise(self.pattern(d), &choices, index)
    }

    /// Returns where the group shows in the sentence and its counterfactual; `None` if the sentence is neutral.
    ///
    /// # Panics
    /// If the grammar is not written in `language`. The languages in [`Testbed::languages`] are always possible.
    pub fn kind(&self, d: &Derivation, language: Language) -> Option<PairKind> {
        let pattern = self.pattern(d);
        let attribute = usize::from(d.attribute);
        let kind = |l| self.inner.grammar.kind(pattern, attribute, l);
        (!pattern.neutral).then(|| kind(place_of(language)))
    }

    /// Returns the same sentence about the other group; `None` if the sentence is neutral.
    pub fn counterfactual(&self, d: &Derivation) -> Option<Derivation> {
        (!self.pattern(d).neutral).then(|| Derivation {
            group: 1 - d.group,
            ..d.clone()
        })
    }

    fn pattern(&self, d: &Derivation) -> &grammar::Pattern {
        &self.inner.grammar.patterns[usize::from(d.pattern)]
    }

    /// Planted strength of the attribute at a place of its list. Both splits go through the
    /// strengths in the same order.
    fn strength(&self, attribute: usize) -> f64 {
        let strengths = &self.inner.config.strengths;
        strengths[(attribute / 2) % strengths.len()]
    }

    /// The group an attribute leans to: it changes after each round of strengths, and is opposite
    /// in the two splits, so that over all attributes both groups are equally frequent.
    fn lean(&self, attribute: usize) -> usize {
        (attribute / 2 / self.inner.config.strengths.len() + attribute) % 2
    }

    /// P(group | attribute).
    fn group_probability(&self, attribute: usize, group: usize) -> f64 {
        let s = self.strength(attribute);
        if group == self.lean(attribute) {
            s
        } else {
            1.0 - s
        }
    }

    fn check_language(&self, language: Language) -> Result<(), TestbedError> {
        if self.languages().contains(&language) {
            return Ok(());
        }
        Err(TestbedError::NotConfigured {
            language,
            configured: self.languages().to_vec(),
        })
    }
}

fn validate(config: &TestbedConfig, max: usize) -> Result<(), TestbedError> {
    let got = config.strengths.len();
    if got == 0 || got > max {
        return Err(TestbedError::StrengthCount { got, max });
    }
    for (index, &value) in config.strengths.iter().enumerate() {
        if !(0.5..1.0).contains(&value) {
            return Err(TestbedError::Strength { index, value });
        }
    }
    if config.languages.is_empty() {
        return Err(TestbedError::NoLanguage);
    }
    for (i, &language) in config.languages.iter().enumerate() {
        if !LANGUAGES.contains(&language) {
            return Err(TestbedError::UnknownLanguage { language });
        }
        if config.languages[..i].contains(&language) {
            return Err(TestbedError::DuplicateLanguage { language });
        }
    }
    Ok(())
}

fn place_of(language: Language) -> usize {
    LANGUAGES
        .iter()
        .position(|l| *l == language)
        .expect("a language of the testbed")
}

fn category_index(category: &str) -> Result<usize, TestbedError> {
    CATEGORIES
        .iter()
        .position(|c| *c == category)
        .ok_or_else(|| TestbedError::UnknownCategory {
            category: category.to_owned(),
        })
}

/// The places of a list that belong to a split.
fn places(len: usize, split: Split) -> impl ExactSizeIterator<Item = usize> + Clone {
    let (start, step) = match split {
        Split::All => (0, 1),
        Split::Fit => (0, 2),
        Split::Eval => (1, 2),
    };
    (start..len).step_by(step)
}
