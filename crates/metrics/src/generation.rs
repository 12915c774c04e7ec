//! Counts in generated text: words of a lexicon, and n-grams that a text repeats.
//!
//! Words are found by the rules of Unicode (UAX #29), and apostrophes part words too: *l'idiot* is *l* and *idiot*. Words are
//! compared without regard to case and to how their accents are encoded (canonical caseless matching, Unicode 3.13, D145): *STRASSE*
//! is *Straße*, and a letter with a combining accent is the letter that has it.
//!
//! # Source
//! The share of repeated n-grams is Welleck et al. 2020 (arXiv 1908.04319, seq-rep-n); that of distinct ones is Li et al. 2016
//! (arXiv 1510.03055), here within each text.

use std::collections::{HashMap, HashSet};

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Returns the words of a text in the form in which they are compared.
pub fn words(text: &str) -> Vec<String> {
    let parts = text.split(['\'', '’', 'ʼ']);
    let words = parts.flat_map(|part| part.unicode_words());
    words.map(folded).collect()
}

fn folded(word: &str) -> String {
    word.nfd().default_case_fold().nfd().collect()
}

/// Words and phrases that are looked for in text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lexicon {
    /// The words of each entry, by the first of them; longer entries come first.
    entries: HashMap<String, Vec<Vec<String>>>,
}

impl Lexicon {
    /// Makes a lexicon of words and of phrases of several words. Entries without a word are left out.
    pub fn new<'t>(entries: impl Iterator<Item = &'t str>) -> Lexicon {
        let mut found: HashMap<String, Vec<Vec<String>>> = HashMap::new();
        for entry in entries {
            let entry = words(entry);
            if let Some(first) = entry.first() {
                found.entry(first.clone()).or_default().push(entry);
            }
        }
        for same in found.values_mut() {
            same.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
            same.dedup();
        }
        Lexicon { entries: found }
    }

    /// Returns the number of entries that differ.
    pub fn len(&self) -> usize {
        self.entries.values().map(Vec::len).sum()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many of these words, as [`words`] gives them, belong to an entry. Where several entries begin, the longest
    /// counts, and no word counts twice.
    pub fn count(&self, words: &[String]) -> usize {
        let (mut at, mut count) = (0, 0);
        while at < words.len() {
            let begin_here = self.entries.get(&words[at]).into_iter().flatten();
            let longest = begin_here
                .filter(|entry| words[at..].starts_with(entry))
                .map(Vec::len)
                .next();
            count += longest.unwrap_or(0);
            at += longest.unwrap_or(1);
        }
        count
    }
}

/// Returns how many of the n-grams of a text stand in it for the first time, and how many n-grams it has.
pub fn distinct(words: &[String], n: usize) -> (usize, usize) {
    let all = words.windows(n.max(1));
    (all.clone().collect::<HashSet<_>>().len(), all.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(words(text), expect, "{text}");
    }

    #[test]
    fn words_are_those_of_unicode() {
        check("", &[]);
        check(" … — 🙂 !", &[]);
        check("Don't stop—now!", &["don", "t", "stop", "now"]);
        check("L’idiot, c'est lui.", &["l", "idiot", "c", "est", "lui"]);
        check("Ein 2,5-Liter-Topf", &["ein", "2,5", "liter", "topf"]);
        check(
            "ΌΔΟΣ όδος",
            &words("όδοσ όδος")
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        );
    }

    /// The pairs are those that Python's `unicodedata.normalize("NFD", normalize("NFD", x).casefold())` makes equal.
    #[test]
    fn case_and_the_encoding_of_accents_do_not_matter() {
        for (a, b) in [
            ("STRASSE", "Straße"),
            ("CAFÉ", "cafe\u{301}"),
            ("ÅNGSTRÖM", "\u{212b}ngström"),
            ("ΣΊΣΥΦΟΣ", "Σίσυφος"),
            ("ﬁn", "FIN"),
            ("ÉLÈVE", "e\u{301}le\u{300}ve"),
        ] {
            assert_eq!(words(a), words(b), "{a} {b}");
        }
        for (a, b) in [("pêche", "péché"), ("schon", "schön"), ("ı", "i")] {
            assert_ne!(words(a), words(b), "{a} {b}");
        }
    }

    #[test]
    fn entries_are_found_as_whole_words() {
        let lexicon =
            Lexicon::new(["fool", "silly fool", "Dummkopf", "", "FOOL", "imbécile"].into_iter());
        assert_eq!(lexicon.len(), 4);
        for (text, expect) in [
            ("You fool!", 1),
            ("foolish foolproof tomfool", 0),
            ("A silly fool is a fool.", 3),
            ("silly, silly fool", 2),
            ("silly", 0),
            ("Ein DUMMKOPF", 1),
            ("Dummköpfe", 0),
            ("L'imbe\u{301}cile", 1),
            ("", 0),
        ] {
            assert_eq!(lexicon.count(&words(text)), expect, "{text}");
        }
        assert!(Lexicon::new([" ", "!"].into_iter()).is_empty());
    }

    #[test]
    fn repeated_n_grams_are_counted_within_a_text() {
        let text = words("the cat and the cat and the dog");
        for (n, expect) in [
            (1, (4, 8)),
            (2, (4, 7)),
            (3, (4, 6)),
            (4, (4, 5)),
            (8, (1, 1)),
            (9, (0, 0)),
        ] {
            assert_eq!(distinct(&text, n), expect, "{n}");
        }
        assert_eq!(distinct(&[], 1), (0, 0));
    }
}
