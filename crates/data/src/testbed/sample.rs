//! Draws derivations from the grammar and makes corpora of them.
//!
//! Every corpus has its own random stream, which is determined by its purpose, language, split and number. Asking for
//! one corpus therefore never changes another.

use std::collections::HashSet;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::grammar::Pattern;
use super::{Derivation, NEUTRAL, Split, Testbed, TestbedError, places};
use crate::language::Language;
use crate::types::ParallelCorpus;

/// What a random stream is used for. The numbers are part of the format: changing one changes the corpora.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Corpus = 1,
    Mixed = 2,
    Parallel = 3,
    Pairs = 4,
    Counterfactual = 5,
    Neutral = 6,
}

impl Testbed {
    /// Draws one derivation, of any category and kind.
    pub fn sample<R: Rng + ?Sized>(&self, split: Split, rng: &mut R) -> Derivation {
        let category = pick(3, rng);
        let neutral = rng.random::<f64>() < NEUTRAL;
        let patterns = &self.inner.patterns[category][usize::from(neutral)];
        let pattern = patterns[pick(patterns.len(), rng)];
        let attribute = if neutral {
            0
        } else {
            let count = self.inner.grammar.attributes[category].len();
            pick_place(count, split, rng)
        };
        self.complete(pattern, attribute, None, split, rng)
    }

    /// Draws independent sentences of one language; the same seed and stream give the same sentences.
    ///
    /// # Errors
    /// A language that is not configured.
    pub fn corpus(
        &self,
        language: Language,
        n: usize,
        split: Split,
        stream: u64,
    ) -> Result<Vec<String>, TestbedError> {
        self.check_language(language)?;
        let mut rng = self.rng(Purpose::Corpus, Some(language), split, stream);
        Ok((0..n)
            .map(|_| self.render(&self.sample(split, &mut rng), language))
            .collect())
    }

    /// Draws sentences of all languages in random order, as training text for a language model. They have the
    /// distribution that [`Testbed::log_prob`] refers to.
    ///
    /// Persons and fillers are drawn at random. Everything else gets its exact share of the `n` sentences, to within
    /// one: each language, attribute, group and pattern, and each attribute with each group in each language.
    /// Independent draws would give a rare combination a third more or less than its planted share by chance; with
    /// this systematic sampling the text is as biased as the strengths say.
    pub fn mixed_corpus(&self, n: usize, stream: u64) -> Vec<(Language, String)> {
        let mut rng = self.rng(Purpose::Mixed, None, Split::All, stream);
        let mut rows = Vec::with_capacity(n);
        // The first cell begins at a random place between two sentences, so that no cell is favoured.
        let mut owed = rng.random::<f64>();
        for &language in self.languages() {
            for (share, [pattern, attribute, group]) in self.cells() {
                owed += share * n as f64 / self.languages().len() as f64;
                while owed >= 1.0 && rows.len() < n {
                    let (pattern, group) = (pattern as u8, Some(group as u8));
                    let d = self.complete(pattern, attribute, group, Split::All, &mut rng);
                    rows.push((language, self.render(&d, language)));
                    owed -= 1.0;
                }
            }
        }
        // A rounding error of the sum may leave the last sentence out.
        while rows.len() < n {
            let d = self.sample(Split::All, &mut rng);
            let language = self.languages()[pick(self.languages().len(), &mut rng)];
            rows.push((language, self.render(&d, language)));
        }
        rows.shuffle(&mut rng);
        rows
    }

    /// Returns every pattern, attribute and group with its probability. The patterns of one attribute and group
    /// follow each other.
    pub(super) fn cells(&self) -> Vec<(f64, [usize; 3])> {
        let mut cells = Vec::new();
        let categories = self.inner.patterns.len() as f64;
        for (category, [biased, neutral]) in self.inner.patterns.iter().enumerate() {
            let share = NEUTRAL / categories / neutral.len() as f64;
            cells.extend(neutral.iter().map(|&p| (share, [usize::from(p), 0, 0])));
            let attributes = self.inner.grammar.attributes[category].len();
            let share = (1.0 - NEUTRAL) / categories / (attributes * biased.len()) as f64;
            for attribute in 0..attributes {
                for group in 0..2 {
                    let share = share * self.group_probability(attribute, group);
                    cells.extend(
                        biased
                            .iter()
                            .map(|&p| (share, [usize::from(p), attribute, group])),
                    );
                }
            }
        }
        cells
    }

    /// Draws rows of the same sentence in every configured language; no row comes twice.
    ///
    /// # Errors
    /// A wish for more than half of the split's sentences.
    pub fn parallel(
        &self,
        n: usize,
        split: Split,
        stream: u64,
    ) -> Result<ParallelCorpus, TestbedError> {
        let support = |p: &Pattern| match p.neutral {
            true => self.rest(p, split),
            false => 2 * self.attribute_count(p.category, split) * self.rest(p, split),
        };
        let available = self
            .inner
            .grammar
            .patterns
            .iter()
            .map(support)
            .sum::<usize>()
            / 2;
        let mut rng = self.rng(Purpose::Parallel, None, split, stream);
        let rows = distinct(n, available, || self.sample(split, &mut rng))?;
        Ok(ParallelCorpus {
            ids: (0..n)
                .map(|i| format!("testbed-{}-{stream}-{i:06}", split_name(split)))
                .collect(),
            languages: self.languages().to_vec(),
            columns: self
                .languages()
                .iter()
                .map(|&l| rows.iter().map(|d| self.render(d, l)).collect())
                .collect(),
        })
    }

    /// Draws distinct sentences of all categories that hold no group word and no attribute.
    ///
    /// # Errors
    /// A language that is not configured, or a wish for more than half of the neutral sentences.
    pub fn neutral_sentences(
        &self,
        language: Language,
        n: usize,
        split: Split,
        stream: u64,
    ) -> Result<Vec<String>, TestbedError> {
        self.check_language(language)?;
        let patterns: Vec<u8> = self
            .inner
            .patterns
            .iter()
            .flat_map(|p| p[1].clone())
            .collect();
        let size = |&p: &u8| self.rest(&self.inner.grammar.patterns[usize::from(p)], split);
        let available = patterns.iter().map(size).sum::<usize>() / 2;
        let mut rng = self.rng(Purpose::Neutral, Some(language), split, stream);
        let rows = distinct(n, available, || {
            let pattern = patterns[pick(patterns.len(), &mut rng)];
            self.complete(pattern, 0, Some(0), split, &mut rng)
        })?;
        Ok(rows.iter().map(|d| self.render(d, language)).collect())
    }

    /// Draws distinct sentences of a category about group 0, equally many per attribute, taking the attributes in
    /// turn.
    pub(super) fn per_attribute(
        &self,
        category: usize,
        n: usize,
        split: Split,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Derivation>, TestbedError> {
        let grammar = &self.inner.grammar;
        let patterns = &self.inner.patterns[category][0];
        let attributes: Vec<usize> = places(grammar.attributes[category].len(), split).collect();
        let size = |&p: &u8| self.rest(&grammar.patterns[usize::from(p)], split);
        let per_attribute = patterns.iter().map(size).sum::<usize>() / 2;
        let mut next = 0;
        let mut seen = HashSet::new();
        let available = attributes.len() * per_attribute;
        if n > available {
            return Err(TestbedError::NotEnough {
                asked: n,
                available,
            });
        }
        let mut rows = Vec::with_capacity(n);
        while rows.len() < n {
            let pattern = patterns[pick(patterns.len(), rng)];
            let d = self.complete(pattern, attributes[next], Some(0), split, rng);
            // The attribute keeps its turn until a new sentence is found.
            if seen.insert(d.clone()) {
                rows.push(d);
                next = (next + 1) % attributes.len();
            }
        }
        Ok(rows)
    }

    pub(super) fn rng(
        &self,
        purpose: Purpose,
        language: Option<Language>,
        split: Split,
        stream: u64,
    ) -> ChaCha8Rng {
        let mut key = mix(purpose as u64);
        for byte in language.iter().flat_map(|l| l.code().bytes()) {
            key = mix(key ^ u64::from(byte));
        }
        let split = match split {
            Split::All => 1,
            Split::Fit => 2,
            Split::Eval => 3,
        };
        let key = mix(mix(key ^ split) ^ stream);
        let mut rng = ChaCha8Rng::seed_from_u64(self.inner.config.seed);
        rng.set_stream(key);
        rng
    }

    /// Draws the group (unless given), the person and the fillers.
    fn complete<R: Rng + ?Sized>(
        &self,
        pattern: u8,
        attribute: usize,
        group: Option<u8>,
        split: Split,
        rng: &mut R,
    ) -> Derivation {
        let grammar = &self.inner.grammar;
        let p = &grammar.patterns[usize::from(pattern)];
        let group = match group {
            Some(group) => group,
            None if p.neutral => 0,
            None => {
                let first = self.group_probability(attribute, 0);
                u8::from(rng.random::<f64>() >= first)
            }
        };
        Derivation {
            pattern,
            attribute: attribute as u8,
            group,
            person: pick(grammar.persons(p.person), rng) as u8,
            fillers: p
                .fillers
                .iter()
                .map(|&kind| pick_place(grammar.filler_counts[kind], split, rng) as u8)
                .collect(),
        }
    }

    fn attribute_count(&self, category: usize, split: Split) -> usize {
        places(self.inner.grammar.attributes[category].len(), split).len()
    }

    /// Returns how many sentences a pattern gives when attribute and group are fixed.
    pub(super) fn rest(&self, p: &Pattern, split: Split) -> usize {
        let grammar = &self.inner.grammar;
        let fillers: usize = p
            .fillers
            .iter()
            .map(|&kind| places(grammar.filler_counts[kind], split).len())
            .product();
        grammar.persons(p.person) * fillers
    }
}

/// Returns the name of a split in identifiers.
pub(super) fn split_name(split: Split) -> &'static str {
    match split {
        Split::All => "all",
        Split::Fit => "fit",
        Split::Eval => "eval",
    }
}

/// Draws until `n` are distinct. `available` is half of what there is, so that it ends soon.
fn distinct(
    n: usize,
    available: usize,
    mut draw: impl FnMut() -> Derivation,
) -> Result<Vec<Derivation>, TestbedError> {
    if n > available {
        return Err(TestbedError::NotEnough {
            asked: n,
            available,
        });
    }
    let mut seen = HashSet::with_capacity(n);
    let mut rows = Vec::with_capacity(n);
    while rows.len() < n {
        let d = draw();
        if seen.insert(d.clone()) {
            rows.push(d);
        }
    }
    Ok(rows)
}

/// A uniform number below `n`, drawn as `u32` so that 32-bit platforms draw the same.
fn pick<R: Rng + ?Sized>(n: usize, rng: &mut R) -> usize {
    rng.random_range(0..n as u32) as usize
}

fn pick_place<R: Rng + ?Sized>(len: usize, split: Split, rng: &mut R) -> usize {
    let mut places = places(len, split);
    let k = pick(places.len(), rng);
    places.nth(k).expect("k is below the length")
}

/// The finaliser of SplitMix64, which spreads small numbers over 64 bits.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
