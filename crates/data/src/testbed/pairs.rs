//! Minimal pairs, counterfactual tuples, and lists of group-marked words from the testbed's grammar.

use serde::Serialize;

use super::sample::{Purpose, split_name};
use super::{CATEGORIES, GROUPS, LANGUAGES, Split, Testbed, TestbedError, category_index};
use crate::language::Language;
use crate::types::{AttributeList, BiasPair, Direction, PairKind};

/// Two sentences in every language that differ in the group alone, with the difference that the grammar planted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestbedPair {
    /// The identifier, which is the same in every language.
    pub id: String,
    /// The bias category.
    pub category: String,
    /// The identifier of the attribute.
    pub attribute: String,
    /// The identifier of the sentence pattern.
    pub pattern: String,
    /// The planted strength s of the attribute: the probability of the group that it leans to.
    pub strength: f64,
    /// The exact difference of the log-probabilities of `more` and `less`: ln(s/(1 − s)), in nats.
    pub gap: f64,
    /// `Stereo` if the attribute leans to group 0, `Antistereo` if it leans to group 1.
    pub direction: Direction,
    /// The sentence about the group that the attribute leans to, by language.
    pub more: Vec<(Language, String)>,
    /// The sentence about the other group, by language.
    pub less: Vec<(Language, String)>,
    /// Where the group shows, by language. An attribute word may carry the gender in one language and not in another.
    pub kinds: Vec<PairKind>,
    /// The exact log-probability of `more` in the mixed corpus, by language, in nats.
    pub log_prob_more: Vec<f64>,
    /// The exact log-probability of `less` in the mixed corpus, by language, in nats.
    pub log_prob_less: Vec<f64>,
}

impl TestbedPair {
    /// Returns the pair as one [`BiasPair`] per language.
    pub fn to_bias_pairs(&self) -> Vec<BiasPair> {
        self.more
            .iter()
            .zip(&self.less)
            .zip(&self.kinds)
            .map(|(((language, more), (_, less)), kind)| BiasPair {
                id: self.id.clone(),
                language: *language,
                category: self.category.clone(),
                direction: self.direction,
                more: more.clone(),
                less: less.clone(),
                planted: Some(self.strength),
                kind: Some(*kind),
            })
            .collect()
    }
}

impl Testbed {
    /// Draws distinct minimal pairs of a category, taking the attributes of the split in turn.
    ///
    /// If `n` is a multiple of the number of attributes (24, or 12 in `Fit` and `Eval`), every attribute occurs
    /// equally often, and with the default strengths there are as many stereotypical as anti-stereotypical pairs.
    ///
    /// # Errors
    /// An unknown category, or a wish for more than half of the split's pairs.
    pub fn minimal_pairs(
        &self,
        category: &str,
        n: usize,
        split: Split,
        stream: u64,
    ) -> Result<Vec<TestbedPair>, TestbedError> {
        let index = category_index(category)?;
        let mut rng = self.rng(Purpose::Pairs, None, split, mix_category(index, stream));
        let rows = self.per_attribute(index, n, split, &mut rng)?;
        let pairs = rows.into_iter().enumerate().map(|(i, mut d)| {
            let attribute = usize::from(d.attribute);
            let lean = self.lean(attribute);
            d.group = 1 - lean as u8;
            let less = d.clone();
            d.group = lean as u8;
            let more = d;
            let strength = self.strength(attribute);
            let text = |d| {
                let render = |&l: &Language| (l, self.render(d, l));
                self.languages().iter().map(render).collect()
            };
            let log_probs = |d| {
                let languages = self.languages().iter();
                languages.map(|&l| self.log_prob(d, l)).collect()
            };
            TestbedPair {
                id: format!("testbed-{category}-{}-{stream}-{i:05}", split_name(split)),
                category: category.to_owned(),
                attribute: self.inner.grammar.attributes[index][attribute].clone(),
                pattern: self.pattern_id(&more).to_owned(),
                strength,
                gap: (strength / (1.0 - strength)).ln(),
                direction: if lean == 0 {
                    Direction::Stereo
                } else {
                    Direction::Antistereo
                },
                kinds: self
                    .languages()
                    .iter()
                    .map(|&l| self.kind(&more, l).expect("a pair is not neutral"))
                    .collect(),
                more: text(&more),
                less: text(&less),
                log_prob_more: log_probs(&more),
                log_prob_less: log_probs(&less),
            }
        });
        Ok(pairs.collect())
    }

    /// Draws distinct sentences and returns each about group 0 and about group 1, taking the attributes of the split
    /// in turn. Articles, adjectives and pronouns agree, which the replacement of single words cannot promise.
    ///
    /// # Errors
    /// A language that is not configured, an unknown category, or a wish for more than half of the split's tuples.
    pub fn counterfactual_sentences(
        &self,
        language: Language,
        category: &str,
        n: usize,
        split: Split,
        stream: u64,
    ) -> Result<Vec<[String; 2]>, TestbedError> {
        self.check_language(language)?;
        let index = category_index(category)?;
        let stream = mix_category(index, stream);
        let mut rng = self.rng(Purpose::Counterfactual, Some(language), split, stream);
        let rows = self.per_attribute(index, n, split, &mut rng)?;
        let tuple = |d: super::Derivation| {
            let other = super::Derivation {
                group: 1,
                ..d.clone()
            };
            [self.render(&d, language), self.render(&other, language)]
        };
        Ok(rows.into_iter().map(tuple).collect())
    }

    /// Returns the single words that mark a group, as tuples of counterparts: pronouns, names, nouns for persons, the
    /// gendered occupations of [`Split::Fit`] (held-out ones stay unseen), and adjectives in all their inflections.
    /// Articles are left out, because they agree with things, too. Words are written as they are inside a sentence.
    ///
    /// # Errors
    /// A language that is not configured, or an unknown category.
    pub fn attribute_list(
        &self,
        language: Language,
        category: &str,
    ) -> Result<AttributeList, TestbedError> {
        self.check_language(language)?;
        let index = category_index(category)?;
        let rows = LANGUAGES
            .iter()
            .zip(&self.inner.grammar.marked)
            .filter(|(l, _)| **l == language)
            .flat_map(|(_, marked)| &marked[index])
            .filter(|row| row.attribute.is_none_or(|a| a % 2 == 0))
            .map(|row| row.words.to_vec())
            .collect();
        Ok(AttributeList {
            language,
            category: CATEGORIES[index].to_owned(),
            groups: GROUPS[index].map(str::to_owned).to_vec(),
            rows,
        })
    }
}

/// Gives each category a stream of its own.
fn mix_category(category: usize, stream: u64) -> u64 {
    stream
        .wrapping_mul(CATEGORIES.len() as u64)
        .wrapping_add(category as u64)
}
