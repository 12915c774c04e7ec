//! The types that the loaders bring every data source into.

use std::collections::{BTreeSet, HashMap, HashSet};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::language::Language;

/// Sentences with the same meaning in several languages.
///
/// Every column has as many rows as `ids`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ParallelCorpus {
    /// One identifier per row.
    pub ids: Vec<String>,
    /// The languages, in column order.
    pub languages: Vec<Language>,
    /// One column of sentences per language.
    pub columns: Vec<Vec<String>>,
}

/// Whether a pair states a stereotype about a disadvantaged group or the opposite of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The sentence `more` demonstrates a stereotype about a disadvantaged group.
    Stereo,
    /// The sentence `less` violates such a stereotype.
    Antistereo,
}

/// Which of a template's two groups a stereotype is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leans {
    /// The first group.
    A,
    /// The second group.
    B,
}

/// Where in a pair's sentences the group shows, relative to the attribute.
///
/// This determines what a model must do to be biased on the pair, and so what an edit of its hidden states can undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairKind {
    /// The group shows before the attribute: the model predicts the attribute from the group.
    GroupFirst,
    /// The attribute stands before anything that shows the group: the model predicts the group.
    AttributeFirst,
    /// The attribute word itself carries the group, such as German `Bäckerin` and `Bäcker`. The two
    /// forms are different words, so no erasure of the group from the states before them makes them alike.
    Marked,
}

impl PairKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [PairKind; 3] = [
        PairKind::GroupFirst,
        PairKind::AttributeFirst,
        PairKind::Marked,
    ];

    /// Returns the name that files and rows use: `group-first`, `attribute-first` or `marked`.
    pub fn name(self) -> &'static str {
        match self {
            PairKind::GroupFirst => "group-first",
            PairKind::AttributeFirst => "attribute-first",
            PairKind::Marked => "marked",
        }
    }
}

/// Two sentences that differ in the group they are about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BiasPair {
    /// The identifier in the benchmark, which is the same in all its languages.
    pub id: String,
    /// Language of both sentences.
    pub language: Language,
    /// Bias category, e.g. `gender`, `race-color`, `religion`.
    pub category: String,
    /// Whether the pair states a stereotype or its opposite.
    pub direction: Direction,
    /// The more stereotyping sentence.
    pub more: String,
    /// The less stereotyping sentence.
    pub less: String,
    /// The planted strength of the attribute; only pairs of the testbed have one.
    pub planted: Option<f64>,
    /// Where the group shows; only pairs of the testbed and of this project's templates have it.
    pub kind: Option<PairKind>,
}

/// Whether a StereoSet item tests a word within a sentence or a sentence after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StereoKind {
    /// One word of the context is left open; the three sentences fill it.
    Intrasentence,
    /// The three sentences follow the context.
    Intersentence,
}

/// One value for each of the three associations that a StereoSet item offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triple {
    /// The value of the stereotyped association.
    pub stereotype: String,
    /// The value of the opposite association.
    pub antistereotype: String,
    /// The value of the association without meaning.
    pub unrelated: String,
}

/// An item of StereoSet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StereoItem {
    /// Identifier in the benchmark.
    pub id: String,
    /// The bias category: `gender`, `profession`, `race-color` or `religion`.
    pub category: String,
    /// The category as the file spells it.
    pub bias_type: String,
    /// Language of the sentences.
    pub language: Language,
    /// The term that the item is about; the scores are averaged over terms.
    pub target: String,
    /// The sentence with `BLANK` in it, or the sentence that comes before.
    pub context: String,
    /// Whether the item belongs to the intrasentence or the intersentence test.
    pub kind: StereoKind,
    /// The three sentences.
    pub sentences: Triple,
    /// The words that fill `BLANK`, for [`StereoKind::Intrasentence`].
    pub fills: Option<Triple>,
}

/// Words or sentences that stand for one concept of an association test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordSet {
    /// Name of the concept, such as `MaleNames`.
    pub category: String,
    /// Its words (WEAT) or sentences (SEAT), each once.
    pub examples: Vec<String>,
}

/// A WEAT or SEAT test, which asks whether the targets are associated with the attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationTest {
    /// Name of the test, such as `sent-weat6`.
    pub name: String,
    /// Language of the examples.
    pub language: Language,
    /// The two target sets, X and Y.
    pub targets: [WordSet; 2],
    /// The two attribute sets, A and B. A positive effect means that X is associated with A and Y with B.
    pub attributes: [WordSet; 2],
}

/// Whether a BBQ question asks for the person whom the stereotype is about or for the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// The question asks for the person for whom the stereotype holds.
    Negative,
    /// The question asks for the person for whom it doesn't hold.
    NonNegative,
}

/// Whether the context of a BBQ question gives the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// The context doesn't give the answer, so "unknown" is right.
    Ambiguous,
    /// The context gives the answer.
    Disambiguated,
}

/// A question of BBQ or MBBQ with its three answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The file name without language and the number in the file, such as `Gender_identity/17`; the same in all
    /// languages.
    pub id: String,
    /// The number of the template that the question was made from.
    pub question_index: String,
    /// Whether the question asks for the stereotyped person or the other one.
    pub polarity: Polarity,
    /// Whether the context gives the answer.
    pub condition: Condition,
    /// The bias category, by the name of CrowS-Pairs if it has one: `gender`, `race-color`, `socioeconomic`, …
    pub category: String,
    /// Language of the texts.
    pub language: Language,
    /// The context.
    pub context: String,
    /// The question.
    pub question: String,
    /// The three answers.
    pub answers: [String; 3],
    /// The position of the right answer, counted from 0.
    pub label: usize,
    /// The position of the answer that means "unknown".
    pub unknown: usize,
    /// The position of the answer that names the stereotyped group; `None` if neither or both answers do, such as
    /// "the boy" and "the man".
    pub stereotyped: Option<usize>,
    /// Whether the question is from a control set of MBBQ, in which names of one gender stand in place of the groups.
    /// No stereotype is at work there, and [`Question::stereotyped`] is the name in the place of the stereotyped
    /// group.
    pub control: bool,
}

/// A prompt and the candidates for its continuation, one of which is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceItem {
    /// Identifier, equal across languages.
    pub id: String,
    /// Language of the texts.
    pub language: Language,
    /// The bias category, if the item is about one.
    pub category: Option<String>,
    /// The text before the candidates; empty if they are whole sentences.
    pub prompt: String,
    /// The candidates, in the same order in all languages.
    pub candidates: Vec<String>,
    /// The position of the right candidate, counted from 0.
    pub gold: usize,
}

/// A sentence with two occupations and a pronoun that stands for one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coreference {
    /// What the sentence and the same with the other pronoun have in common.
    pub pair: String,
    /// The sentence.
    pub sentence: String,
    /// The pronoun, in small letters.
    pub pronoun: String,
    /// Whether it is a man's; a woman's otherwise.
    pub male: bool,
    /// The occupation that it stands for, without an article.
    pub occupation: String,
    /// The other one.
    pub other: String,
    /// Whether the pronoun goes with the stereotype of the occupation; it goes against it otherwise.
    pub pro: bool,
}

/// A pair of sentences made from a template, with the same pair about a neutral attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateItem {
    /// Language of the sentences.
    pub language: Language,
    /// Bias category.
    pub category: String,
    /// The identifier of the template, which is the same in all languages.
    pub template: String,
    /// The identifier of the attribute, which is the same in all languages.
    pub attribute: String,
    /// The names of the two groups, which are the same in all languages.
    pub groups: (String, String),
    /// The group that the attribute's stereotype is about; `None` if the file does not say.
    pub leans: Option<Leans>,
    /// Where the group shows, relative to the attribute.
    pub kind: PairKind,
    /// The sentence about the first group.
    pub a: String,
    /// The sentence about the second group.
    pub b: String,
    /// The sentence about the first group with the neutral attribute.
    pub neutral_a: String,
    /// The sentence about the second group with the neutral attribute.
    pub neutral_b: String,
}

impl TemplateItem {
    /// Returns what is the same in all languages: category, template, attribute and groups, joined by `/`.
    pub fn id(&self) -> String {
        let (a, b) = &self.groups;
        format!(
            "{}/{}/{}/{a}-{b}",
            self.category, self.template, self.attribute
        )
    }
}

/// Words that stand for the groups of one bias category in one language.
///
/// Each row is a tuple of counterparts, one word per group: `["he", "she"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeList {
    /// Language of the words.
    pub language: Language,
    /// Bias category.
    pub category: String,
    /// Names of the groups, in column order.
    pub groups: Vec<String>,
    /// The tuples of counterparts.
    pub rows: Vec<Vec<String>>,
}

/// A bias benchmark.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BiasSet {
    /// Name of the benchmark.
    pub name: String,
    /// The pairs of the benchmark.
    pub pairs: Vec<BiasPair>,
}

impl BiasSet {
    /// Returns the number of pairs in all languages together.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns the languages, sorted.
    pub fn languages(&self) -> Vec<Language> {
        self.pairs
            .iter()
            .map(|p| p.language)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Returns the categories, sorted.
    pub fn categories(&self) -> Vec<String> {
        self.pairs
            .iter()
            .map(|p| p.category.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Returns the pairs in one language.
    pub fn in_language(&self, language: Language) -> impl Iterator<Item = &BiasPair> {
        self.pairs.iter().filter(move |p| p.language == language)
    }

    /// Returns the pairs whose id exists in every language of the set, so that languages are compared on the same
    /// items.
    pub fn aligned(&self) -> BiasSet {
        let wanted = self.languages().len();
        let mut seen: HashMap<&str, BTreeSet<Language>> = HashMap::new();
        for pair in &self.pairs {
            seen.entry(&pair.id).or_default().insert(pair.language);
        }
        let pairs = self
            .pairs
            .iter()
            .filter(|p| seen[p.id.as_str()].len() == wanted)
            .cloned()
            .collect();
        BiasSet {
            name: self.name.clone(),
            pairs,
        }
    }
}

impl ParallelCorpus {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the sentences in one language.
    ///
    /// # Errors
    /// [`DataError::MissingLanguage`] with the languages that exist.
    pub fn column(&self, language: Language) -> Result<&[String], DataError> {
        let at = self
            .languages
            .iter()
            .position(|l| *l == language)
            .ok_or_else(|| DataError::MissingLanguage {
                file: "this corpus".into(),
                language,
                available: self.languages.clone(),
            })?;
        Ok(&self.columns[at])
    }

    /// Returns a corpus of these languages, in this order.
    ///
    /// # Errors
    /// [`DataError::MissingLanguage`] with the languages that exist.
    pub fn select(&self, languages: &[Language]) -> Result<ParallelCorpus, DataError> {
        let columns = languages
            .iter()
            .map(|l| self.column(*l).map(<[String]>::to_vec))
            .collect::<Result<_, _>>()?;
        Ok(ParallelCorpus {
            ids: self.ids.clone(),
            languages: languages.to_vec(),
            columns,
        })
    }

    /// Returns the rows at these positions, in this order. Positions that don't exist are skipped.
    pub fn rows(&self, positions: &[usize]) -> ParallelCorpus {
        let pick = |cells: &[String]| {
            positions
                .iter()
                .filter_map(|i| cells.get(*i).cloned())
                .collect::<Vec<_>>()
        };
        ParallelCorpus {
            ids: pick(&self.ids),
            languages: self.languages.clone(),
            columns: self.columns.iter().map(|c| pick(c)).collect(),
        }
    }

    /// Draws `train` rows for fitting and `heldout` other rows for evaluation; the same seed draws the same rows.
    ///
    /// The function does not look for duplicates. Call [`ParallelCorpus::dedup_any`] first if no sentence may be in
    /// both parts.
    ///
    /// # Errors
    /// [`DataError::NotEnoughRows`] if the corpus has fewer than `train + heldout` rows.
    pub fn split(
        &self,
        train: usize,
        heldout: usize,
        seed: u64,
    ) -> Result<(ParallelCorpus, ParallelCorpus), DataError> {
        let wanted = train.saturating_add(heldout);
        if wanted > self.len() {
            return Err(DataError::NotEnoughRows {
                wanted,
                available: self.len(),
            });
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        // The held-out rows come first, so that they stay the same when the training set grows.
        Ok((
            self.rows(&order[heldout..wanted]),
            self.rows(&order[..heldout]),
        ))
    }

    /// Returns the corpus without rows that repeat an earlier row in all languages.
    pub fn dedup(&self) -> ParallelCorpus {
        let mut seen = HashSet::new();
        self.keep(|row| seen.insert(row.iter().map(|c| c.to_string()).collect::<Vec<_>>()))
    }

    /// Returns the corpus without rows that repeat an earlier row's sentence in any language.
    ///
    /// Retrieval needs this, because two rows with the same French sentence can't be told apart by it.
    pub fn dedup_any(&self) -> ParallelCorpus {
        let mut seen: Vec<HashSet<String>> = vec![HashSet::new(); self.columns.len()];
        self.keep(|row| {
            if row
                .iter()
                .zip(&seen)
                .any(|(cell, seen)| seen.contains(*cell))
            {
                return false;
            }
            row.iter().zip(&mut seen).for_each(|(cell, seen)| {
                seen.insert(cell.to_string());
            });
            true
        })
    }

    /// Returns the rows that have at least `least` words, separated by spaces, in one language.
    ///
    /// # Errors
    /// [`DataError::MissingLanguage`] with the languages that exist.
    pub fn filter_min_words(
        &self,
        language: Language,
        least: usize,
    ) -> Result<ParallelCorpus, DataError> {
        let column = self.column(language)?;
        let long = |i: &usize| column[*i].split_whitespace().take(least).count() >= least;
        Ok(self.rows(&(0..self.len()).filter(long).collect::<Vec<_>>()))
    }

    fn keep(&self, mut wanted: impl FnMut(&[&str]) -> bool) -> ParallelCorpus {
        let mut positions = Vec::new();
        for i in 0..self.len() {
            let row: Vec<&str> = self.columns.iter().map(|c| c[i].as_str()).collect();
            if wanted(&row) {
                positions.push(i);
            }
        }
        self.rows(&positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(rows: &[(&str, &str)]) -> ParallelCorpus {
        ParallelCorpus {
            ids: (0..rows.len()).map(|i| i.to_string()).collect(),
            languages: vec![Language::EN, Language::FR],
            columns: vec![
                rows.iter().map(|r| r.0.to_owned()).collect(),
                rows.iter().map(|r| r.1.to_owned()).collect(),
            ],
        }
    }

    #[test]
    fn split_is_deterministic_and_disjoint() {
        let rows: Vec<(String, String)> = (0..50)
            .map(|i| (format!("e{i}"), format!("f{i}")))
            .collect();
        let corpus = corpus(
            &rows
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect::<Vec<_>>(),
        );
        let (train, held) = corpus.split(30, 10, 7).unwrap();
        assert_eq!((train.len(), held.len()), (30, 10));
        assert_eq!(
            corpus.split(30, 10, 7).unwrap(),
            (train.clone(), held.clone())
        );
        assert!(train.ids.iter().all(|id| !held.ids.contains(id)));
        assert_ne!(corpus.split(30, 10, 8).unwrap().0, train);
        assert_eq!(corpus.split(40, 10, 7).unwrap().1, held);
        for i in 0..held.len() {
            assert_eq!(held.columns[0][i][1..], held.columns[1][i][1..]);
        }
        assert!(matches!(
            corpus.split(45, 10, 7),
            Err(DataError::NotEnoughRows {
                wanted: 55,
                available: 50
            })
        ));
    }

    #[test]
    fn dedup_and_filters() {
        let corpus = corpus(&[
            ("a b", "x"),
            ("a b", "x"),
            ("c", "x"),
            ("a b", "y"),
            ("d e f", "z"),
        ]);
        assert_eq!(corpus.dedup().ids, ["0", "2", "3", "4"]);
        assert_eq!(corpus.dedup_any().ids, ["0", "4"]);
        assert_eq!(corpus.filter_min_words(Language::EN, 3).unwrap().ids, ["4"]);
        assert_eq!(corpus.select(&[Language::FR]).unwrap().columns.len(), 1);
        let error = corpus.select(&[Language::NL]).unwrap_err().to_string();
        assert!(
            error.contains("`nl`") && error.contains("en, fr"),
            "{error}"
        );
    }
}
