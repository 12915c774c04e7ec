//! Sentences with the attribute words of one group swapped for those of the others.
//!
//! A sentence may hold words of one or more groups. For every such group, all of its words are replaced by their
//! counterparts together, which gives one tuple of sentences with one sentence per group: *my brother Paul* becomes
//! *my sister Anna*, never *my brother Anna*. A sentence with words of two groups therefore gives two tuples; in
//! each, the words of the other group stay.
//!
//! A word matches as a whole, in any case. It may hold marks of its own (`mr.`, `ma'am`, `grand-mère`); where two words
//! match at the same place, the longer wins. A word that stands in several tuples, such as English `her` for `his` and
//! `him`, belongs to the first one.
//!
//! **Capitals.** A list spells its words as they stand inside a sentence, which is what a language demands: English
//! `Black` but `white`, German `Frau`. A word found in that spelling gives way to its counterpart in the list's spelling;
//! at the beginning of a sentence the counterpart gets a capital. A word found in another case than the list's takes its
//! counterpart along: in capitals throughout, with a capital first (the German text of a list in lower case, a title), or
//! in lower case.
//!
//! Articles and adjectives that agree with a word are not in the list, so they stay as they are: *mein Bruder*
//! becomes *mein Schwester*. The published method does the same.
//! [`crate::testbed::Testbed::counterfactual_sentences`] makes sentences in which everything agrees.
//!
//! # Source
//! SentDebias: Liang et al. 2020, arXiv 2007.08100. The lists are those of bias-bench, Meade et al. 2022. That code
//! swaps each word alone and copies the capitals of the word that it replaces; here the words of a group are swapped
//! together, and each takes the spelling of the list.

use std::collections::HashMap;
use std::fmt;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::language::Language;
use crate::types::AttributeList;

/// Sentences in tuples that differ in the attribute words of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counterfactuals {
    /// One sentence per group, in the order of [`AttributeList::groups`].
    pub tuples: Vec<Vec<String>>,
    /// For each tuple, the group of the sentence that stands in the corpus; the other sentences were made from it.
    pub original_group: Vec<usize>,
    /// For each tuple, the position of its original sentence in the input, counted from 0.
    pub sentence: Vec<usize>,
    /// Pairs of a row of the list and the number of tuples in which a word of that row was swapped, counted before
    /// `limit` applies. Rows without a match are left out.
    pub matched: Vec<(usize, usize)>,
}

/// Makes counterfactual sentences: every sentence that holds attribute words, with its counterparts in the other
/// groups.
///
/// If there are more tuples than `limit`, `limit` of them are drawn at random with `seed`; they keep the order of the
/// corpus.
///
/// # Errors
/// [`DataError::NoMatches`] with every word's count when no sentence holds any of them;
/// [`DataError::BadAttributes`] when the list's tuples don't fit its groups.
pub fn counterfactuals<S: AsRef<str>>(
    sentences: &[S],
    list: &AttributeList,
    limit: Option<usize>,
    seed: u64,
) -> Result<Counterfactuals, DataError> {
    let matcher = Matcher::new(list)?;
    let mut all: Vec<(usize, usize)> = Vec::new();
    let mut counts = vec![0usize; list.rows.len()];
    for (i, sentence) in sentences.iter().enumerate() {
        let mut groups = Vec::new();
        for word in matcher.distinct(sentence.as_ref()) {
            let word = &matcher.words[word];
            counts[word.row] += 1;
            if !groups.contains(&word.group) {
                groups.push(word.group);
            }
        }
        all.extend(groups.into_iter().map(|group| (i, group)));
    }
    if all.is_empty() {
        matcher.counts(sentences).require()?;
    }
    if let Some(limit) = limit.filter(|l| *l < all.len()) {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order.truncate(limit);
        order.sort_unstable();
        all = order.into_iter().map(|i| all[i]).collect();
    }
    let mut result = Counterfactuals {
        tuples: Vec::with_capacity(all.len()),
        original_group: Vec::with_capacity(all.len()),
        sentence: Vec::with_capacity(all.len()),
        matched: counts
            .into_iter()
            .enumerate()
            .filter(|(_, n)| *n > 0)
            .collect(),
    };
    for (i, group) in all {
        let sentence = sentences[i].as_ref();
        let tuple = (0..list.groups.len())
            .map(|other| matcher.swap(sentence, group, other, list))
            .collect();
        result.tuples.push(tuple);
        result.original_group.push(group);
        result.sentence.push(i);
    }
    Ok(result)
}

/// The groups whose words a sentence holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The sentence holds words of this group only.
    Group(usize),
    /// The sentence holds no attribute word.
    Neutral,
    /// The sentence holds words of several groups.
    Mixed,
}

impl Class {
    /// Returns the group if the sentence holds words of exactly one.
    pub fn group(self) -> Option<usize> {
        match self {
            Class::Group(group) => Some(group),
            Class::Neutral | Class::Mixed => None,
        }
    }
}

/// Classifies one sentence. For many sentences, make one [`Matcher`] and call [`Matcher::classify`].
///
/// # Errors
/// [`DataError::BadAttributes`] when the list's tuples don't fit its groups.
pub fn classify(sentence: &str, list: &AttributeList) -> Result<Class, DataError> {
    Ok(Matcher::new(list)?.classify(sentence))
}

/// How often the words of an attribute list occur.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchCounts {
    /// Language of the list.
    pub language: Language,
    /// Category of the list.
    pub category: String,
    /// The number of sentences that were searched.
    pub sentences: usize,
    /// The number of sentences that hold at least one of the words.
    pub matched: usize,
    /// Every word with the number of sentences that hold it, in the order of the list.
    pub words: Vec<(String, usize)>,
}

impl MatchCounts {
    /// Returns the `count` words that occur in the most sentences; words of equal count keep the order of the list.
    pub fn most_frequent(&self, count: usize) -> Vec<(&str, usize)> {
        let mut found: Vec<(&str, usize)> = self
            .words
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(w, n)| (w.as_str(), *n))
            .collect();
        found.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        found.truncate(count);
        found
    }

    /// Returns how many different words of the list occur at all.
    pub fn found(&self) -> usize {
        self.words.iter().filter(|(_, n)| *n > 0).count()
    }

    /// Fails if no word occurs in any sentence, which means that the list is of another language or spelled in
    /// another way.
    ///
    /// # Errors
    /// [`DataError::NoMatches`] with the count of every word.
    pub fn require(&self) -> Result<(), DataError> {
        if self.matched > 0 {
            return Ok(());
        }
        Err(DataError::NoMatches {
            language: self.language,
            category: self.category.clone(),
            sentences: self.sentences,
            words: self.words.clone(),
        })
    }
}

/// One line: the list, how many words and sentences match, and the five most frequent words.
impl fmt::Display for MatchCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "attribute list {}/{}: {} of {} words occur, in {} of {} sentences",
            self.language,
            self.category,
            self.found(),
            self.words.len(),
            self.matched,
            self.sentences
        )?;
        for (i, (word, count)) in self.most_frequent(5).into_iter().enumerate() {
            let before = if i == 0 { "; most frequent: " } else { ", " };
            write!(f, "{before}{word} {count}")?;
        }
        Ok(())
    }
}

/// An attribute list that is prepared for searching sentences.
#[derive(Debug, Clone)]
pub struct Matcher {
    language: Language,
    category: String,
    words: Vec<Word>,
    /// Words by their leading letters and digits, the longest first.
    by_start: HashMap<String, Vec<usize>>,
}

#[derive(Debug, Clone)]
struct Word {
    text: String,
    lower: Vec<char>,
    row: usize,
    group: usize,
}

impl Matcher {
    /// Prepares a list for searching.
    ///
    /// # Errors
    /// [`DataError::BadAttributes`] when the list's tuples don't fit its groups, or a word has no letter.
    pub fn new(list: &AttributeList) -> Result<Self, DataError> {
        let bad = |message: String| DataError::BadAttributes {
            language: list.language,
            category: list.category.clone(),
            message,
        };
        if list.groups.len() < 2 || list.rows.is_empty() {
            return Err(bad(format!(
                "{} groups and {} tuples; two groups and one tuple at least",
                list.groups.len(),
                list.rows.len()
            )));
        }
        let mut words: Vec<Word> = Vec::new();
        let mut known: HashMap<Vec<char>, usize> = HashMap::new();
        let mut by_start: HashMap<String, Vec<usize>> = HashMap::new();
        for (row, tuple) in list.rows.iter().enumerate() {
            if tuple.len() != list.groups.len() {
                return Err(bad(format!(
                    "tuple {row} has {} words for {} groups",
                    tuple.len(),
                    list.groups.len()
                )));
            }
            for (group, text) in tuple.iter().enumerate() {
                let lower: Vec<char> = text.trim().chars().flat_map(char::to_lowercase).collect();
                let start: String = lower.iter().take_while(|c| c.is_alphanumeric()).collect();
                if start.is_empty() {
                    return Err(bad(format!(
                        "tuple {row}: `{text}` doesn't start with a letter or digit"
                    )));
                }
                if known.contains_key(&lower) {
                    continue;
                }
                known.insert(lower.clone(), words.len());
                by_start.entry(start).or_default().push(words.len());
                words.push(Word {
                    text: text.trim().to_owned(),
                    lower,
                    row,
                    group,
                });
            }
        }
        for candidates in by_start.values_mut() {
            candidates.sort_by_key(|i| std::cmp::Reverse(words[*i].lower.len()));
        }
        Ok(Matcher {
            language: list.language,
            category: list.category.clone(),
            words,
            by_start,
        })
    }

    /// Classifies a sentence by the groups whose words it holds.
    pub fn classify(&self, sentence: &str) -> Class {
        let mut class = Class::Neutral;
        for (word, _) in self.matches(sentence) {
            let group = self.words[word].group;
            class = match class {
                Class::Neutral => Class::Group(group),
                Class::Group(other) if other == group => class,
                _ => return Class::Mixed,
            };
        }
        class
    }

    /// Returns every word with the number of sentences that hold it, in the order of the list.
    pub fn count<S: AsRef<str>>(&self, sentences: &[S]) -> Vec<(String, usize)> {
        self.counts(sentences).words
    }

    /// Counts in how many sentences each word of the list occurs.
    pub fn counts<S: AsRef<str>>(&self, sentences: &[S]) -> MatchCounts {
        let mut counts = vec![0; self.words.len()];
        let mut matched = 0;
        for sentence in sentences {
            let found = self.distinct(sentence.as_ref());
            matched += usize::from(!found.is_empty());
            for word in found {
                counts[word] += 1;
            }
        }
        let words = self.words.iter().zip(counts);
        MatchCounts {
            language: self.language,
            category: self.category.clone(),
            sentences: sentences.len(),
            matched,
            words: words.map(|(w, n)| (w.text.clone(), n)).collect(),
        }
    }

    /// The words found, each once, by first appearance.
    fn distinct(&self, sentence: &str) -> Vec<usize> {
        let mut found = Vec::new();
        for (word, _) in self.matches(sentence) {
            if !found.contains(&word) {
                found.push(word);
            }
        }
        found
    }

    /// Words with their byte ranges, from left to right, without overlap.
    fn matches(&self, sentence: &str) -> Vec<(usize, std::ops::Range<usize>)> {
        let mut found = Vec::new();
        let mut before: Option<char> = None;
        let mut at = 0;
        while let Some(c) = sentence[at..].chars().next() {
            let starts = c.is_alphanumeric() && !before.is_some_and(char::is_alphanumeric);
            if starts {
                let rest = &sentence[at..];
                let run: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric())
                    .flat_map(char::to_lowercase)
                    .collect();
                let candidates = self
                    .by_start
                    .get(&run)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let hit = candidates
                    .iter()
                    .find_map(|w| Some((*w, prefix(rest, &self.words[*w].lower)?)));
                if let Some((word, length)) = hit {
                    found.push((word, at..at + length));
                    before = sentence[at..at + length].chars().next_back();
                    at += length;
                    continue;
                }
            }
            before = Some(c);
            at += c.len_utf8();
        }
        found
    }

    /// Returns the sentence with all words of group `from` replaced by those of group `to`; the sentence is unchanged
    /// if the two groups are the same. `list` must be the list that this matcher was made from.
    pub fn swap(&self, sentence: &str, from: usize, to: usize, list: &AttributeList) -> String {
        let mut result = String::with_capacity(sentence.len() + 16);
        let mut done = 0;
        for (word, range) in self.matches(sentence) {
            let word = &self.words[word];
            if word.group != from || from == to {
                continue;
            }
            result.push_str(&sentence[done..range.start]);
            let by = list.rows[word.row][to].trim();
            let first = begins_sentence(&sentence[..range.start]);
            result.push_str(&cased(&sentence[range.clone()], &word.text, by, first));
            done = range.end;
        }
        result.push_str(&sentence[done..]);
        result
    }
}

/// Bytes of the text that the lower-case word covers, if it ends at a word boundary.
fn prefix(text: &str, lower: &[char]) -> Option<usize> {
    let mut wanted = lower.iter();
    let mut end = 0;
    let mut chars = text.chars();
    while !wanted.as_slice().is_empty() {
        let c = chars.next()?;
        for l in c.to_lowercase() {
            if wanted.next() != Some(&l) {
                return None;
            }
        }
        end += c.len_utf8();
    }
    let inside = lower.last().is_some_and(|c| c.is_alphanumeric())
        && chars.next().is_some_and(char::is_alphanumeric);
    (!inside).then_some(end)
}

/// The counterpart in the case that its place demands.
///
/// `found` stands in the text for the word `listed`, `by` is the counterpart as listed, and `first` says whether a
/// sentence begins here.
fn cased(found: &str, listed: &str, by: &str, first: bool) -> String {
    let letters: Vec<char> = found.chars().filter(|c| c.is_alphabetic()).collect();
    let capital = letters.first().is_some_and(|c| c.is_uppercase());
    if found == listed && !(first && capital) {
        return by.to_owned();
    }
    if found != listed && letters.len() > 1 && letters.iter().all(|c| c.is_uppercase()) {
        return by.to_uppercase();
    }
    let mut chars = by.chars();
    let Some(letter) = chars.next() else {
        return String::new();
    };
    if capital {
        letter.to_uppercase().chain(chars).collect()
    } else {
        letter.to_lowercase().chain(chars).collect()
    }
}

/// Whether a sentence begins after this text: nothing but blanks and opening marks follow its last full stop.
fn begins_sentence(before: &str) -> bool {
    let end = before
        .trim_end_matches(|c: char| c.is_whitespace() || "\"'“”„‘’«»‹›([{¿¡—–-*#".contains(c));
    // A word and its closing mark are not the end of a sentence: `the "Black` is inside.
    end.is_empty() || end.ends_with(['.', '!', '?', '…', '。'])
}

#[cfg(test)]
mod tests;
