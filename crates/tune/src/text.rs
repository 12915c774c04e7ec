//! Reads the text of a search: sentences to fit on, pairs to evaluate on, and neutral text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use interlingua_data::testbed::{Split, Testbed};
use interlingua_data::{
    Direction, Language, Leans, OnBadRow, PairKind, ParallelOptions, TemplateItem, TemplateOptions,
    load_parallel, load_templates,
};

use crate::TuneError;

/// Fewest attributes that a half may have: with fewer an interval says nothing.
const FEWEST_CLUSTERS: usize = 4;
/// Fewest attributes of a half that a language does not mark, where marked ones do not count.
const FEWEST_UNMARKED: usize = 2;
/// Fewest neutral sentences of a half.
const FEWEST_NEUTRAL: usize = 8;

/// Stream of the testbed's generator: none of those that experiments use.
const STREAM: u64 = 40;

/// The files of the text.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The sentence templates on which edits are fitted; their sentences differ in the group alone.
    pub fit: PathBuf,
    /// The sentence templates on which edits are evaluated; their attributes lean to a group.
    pub pairs: PathBuf,
    /// The parallel neutral text, which an edit should leave unchanged.
    pub neutral: PathBuf,
    /// Whether pairs whose attribute is marked for the group count like the others.
    pub marked: bool,
}

/// Two sentences that differ in the group alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twins {
    /// The position of the language in [`Texts::languages`].
    pub language: usize,
    /// The sentence about the first group, and the sentence about the second.
    pub sentences: [String; 2],
}

/// A stereotyped sentence and its counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The position of the language in [`Texts::languages`].
    pub language: usize,
    /// The position of the attribute in [`Half::clusters`]. The pairs of one attribute are one observation.
    pub cluster: usize,
    /// Whether the pair is reported separately and does not count, because its attribute has another form for each
    /// group, as many French and German occupations do. Its two sentences then differ in grammar too.
    pub apart: bool,
    /// The stereotyped group with the attribute, and the other group with it.
    pub sentences: [String; 2],
}

/// One half of the items, which is used either for the choice or for the confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Half {
    /// The names of the attributes. Both leanings alternate, as do attributes that no language marks and attributes
    /// that some language marks, so that every first part of the list is balanced.
    pub clusters: Vec<String>,
    /// The pairs in all languages.
    pub pairs: Vec<Pair>,
    /// The neutral sentences, indexed `[language][sentence]`; they are the same sentences in every language.
    pub neutral: Vec<Vec<String>>,
}

impl Half {
    /// Returns the pairs of the first attributes and the first neutral sentences, a share of each.
    ///
    /// The share of pairs is a share of attributes, whose number is made even so that both leanings are equally
    /// frequent.
    #[must_use]
    pub fn part(&self, share: f64, neutral: f64) -> Half {
        let some = |all: usize, share: f64, fewest: usize| {
            let wanted = (all as f64 * share).ceil() as usize;
            wanted.next_multiple_of(2).max(fewest).min(all)
        };
        let clusters = some(self.clusters.len(), share, FEWEST_CLUSTERS);
        let pairs = self.pairs.iter().filter(|pair| pair.cluster < clusters);
        let sentences = |of: &Vec<String>| of[..some(of.len(), neutral, FEWEST_NEUTRAL)].to_vec();
        Half {
            clusters: self.clusters[..clusters].to_vec(),
            pairs: pairs.cloned().collect(),
            neutral: self.neutral.iter().map(sentences).collect(),
        }
    }
}

/// All text of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// The languages that the model serves.
    pub languages: Vec<Language>,
    /// The bias category.
    pub category: String,
    /// The counterfactual sentences, which differ in nothing but the group.
    pub fit: Vec<Twins>,
    /// The half on which the choice is made.
    pub select: Half,
    /// The half that is used once, at the end.
    pub confirm: Half,
}

impl Texts {
    /// Reads all text and divides it into the splits by `seed`.
    ///
    /// The three splits share no sentence. The sentences for the fit come from another file; the others have
    /// different attributes and different neutral rows, which are the same in every language.
    ///
    /// # Errors
    /// Files that cannot be read or that lack a language, attributes that lean nowhere, or too few items for a split.
    pub fn load(
        sources: &Sources,
        languages: &[Language],
        category: &str,
        seed: u64,
    ) -> Result<Texts, TuneError> {
        let templates = |path: &Path| -> Result<Vec<TemplateItem>, TuneError> {
            let options = TemplateOptions {
                categories: vec![category.to_owned()],
                ..TemplateOptions::new(languages, OnBadRow::Error)
            };
            Ok(load_templates(path, &options)?.0)
        };
        let place = |language: Language| {
            let mut known = languages.iter();
            known
                .position(|&l| l == language)
                .expect("the loader gives the languages asked for")
        };
        let fit = templates(&sources.fit)?.into_iter().map(|item| Twins {
            language: place(item.language),
            sentences: [item.a, item.b],
        });
        let fit: Vec<Twins> = fit.collect();
        let items = templates(&sources.pairs)?;
        let options = ParallelOptions::new(languages, OnBadRow::Error);
        let neutral = load_parallel(&sources.neutral, &options)?.0;
        let mut judged = Vec::with_capacity(items.len());
        for item in items {
            let leans = item.leans.ok_or_else(|| TuneError::NoLeaning {
                file: sources.pairs.clone(),
                attribute: item.attribute.clone(),
            })?;
            let side = Side::of(leans);
            judged.push(Item {
                language: place(item.language),
                attribute: item.attribute,
                marked: item.kind == PairKind::Marked,
                side,
                sentences: match side {
                    Side::First => [item.a, item.b],
                    Side::Second => [item.b, item.a],
                },
            });
        }
        Texts {
            languages: languages.to_vec(),
            category: category.to_owned(),
            fit,
            select: Half::default(),
            confirm: Half::default(),
        }
        .dealt(halves(judged, seed), &neutral.columns, seed, sources)
    }

    /// Makes the text of the synthetic testbed, for a model that was trained on it.
    ///
    /// The testbed has few attributes. Those of its fit split make the choice, in other sentences than those that are
    /// fitted on, and those of its eval split confirm it.
    ///
    /// # Errors
    /// A category that the testbed does not have, or too few items for a split.
    pub fn planted(
        testbed: &Testbed,
        category: &str,
        seed: u64,
        marked: bool,
    ) -> Result<Texts, TuneError> {
        let languages = testbed.languages();
        let (mut fit, mut neutral) = (Vec::new(), Vec::new());
        for (language, &code) in languages.iter().enumerate() {
            let twins =
                testbed.counterfactual_sentences(code, category, 240, Split::Fit, STREAM)?;
            fit.extend(twins.into_iter().map(|sentences| Twins {
                language,
                sentences,
            }));
            neutral.push(testbed.neutral_sentences(code, 120, Split::Eval, STREAM)?);
        }
        let items = |split: Split| -> Result<Vec<Item>, TuneError> {
            let mut items = Vec::new();
            for pair in testbed.minimal_pairs(category, 120, split, STREAM)? {
                let both = pair.more.into_iter().zip(pair.less).zip(pair.kinds);
                for (language, (((_, more), (_, less)), kind)) in both.enumerate() {
                    items.push(Item {
                        language,
                        attribute: pair.attribute.clone(),
                        marked: kind == PairKind::Marked,
                        side: match pair.direction {
                            Direction::Stereo => Side::First,
                            Direction::Antistereo => Side::Second,
                        },
                        sentences: [more, less],
                    });
                }
            }
            Ok(items)
        };
        let name = PathBuf::from("the testbed");
        let sources = Sources {
            fit: name.clone(),
            pairs: name.clone(),
            neutral: name,
            marked,
        };
        Texts {
            languages: languages.to_vec(),
            category: category.to_owned(),
            fit,
            select: Half::default(),
            confirm: Half::default(),
        }
        .dealt(
            [items(Split::Fit)?, items(Split::Eval)?],
            &neutral,
            seed,
            &sources,
        )
    }

    /// Makes halves of pairs, those that choose and those that confirm, and deals neutral sentences to them.
    fn dealt(
        self,
        items: [Vec<Item>; 2],
        neutral: &[Vec<String>],
        seed: u64,
        sources: &Sources,
    ) -> Result<Texts, TuneError> {
        let [select, confirm] = items;
        let mut select = half(select, seed, sources)?;
        let confirm = half(confirm, seed, sources)?;
        for (language, code) in self.languages.iter().enumerate() {
            for half in [&select, &confirm] {
                let counted = half
                    .pairs
                    .iter()
                    .filter(|p| p.language == language && !p.apart);
                let found = counted.map(|p| p.cluster).collect::<BTreeSet<_>>().len();
                if found < FEWEST_UNMARKED {
                    return Err(TuneError::Marked {
                        file: sources.pairs.clone(),
                        language: *code,
                        found,
                        needed: FEWEST_UNMARKED,
                    });
                }
            }
        }
        // What is reported apart is asked once, at the end.
        select.pairs.retain(|pair| !pair.apart);
        let rows = neutral.first().map_or(0, Vec::len);
        let dealt = deal(rows, seed);
        if dealt.iter().any(|half| half.len() < FEWEST_NEUTRAL) {
            return Err(TuneError::TooFew {
                file: sources.neutral.clone(),
                what: "neutral sentences",
                found: rows,
                needed: 2 * FEWEST_NEUTRAL,
            });
        }
        let neutral = |half: usize| -> Vec<Vec<String>> {
            let of =
                |column: &Vec<String>| dealt[half].iter().map(|&r| column[r].clone()).collect();
            neutral.iter().map(of).collect()
        };
        Ok(Texts {
            select: Half {
                neutral: neutral(0),
                ..select
            },
            confirm: Half {
                neutral: neutral(1),
                ..confirm
            },
            ..self
        })
    }
}

/// A pair before it is dealt.
struct Item {
    language: usize,
    attribute: String,
    marked: bool,
    side: Side,
    sentences: [String; 2],
}

/// Numbers below `count` in an order that depends on the seed alone, dealt to two halves in turn.
fn deal(count: usize, seed: u64) -> [Vec<usize>; 2] {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&row| draw(seed, &row.to_string()));
    let half = |first: usize| order.iter().skip(first).step_by(2).copied().collect();
    [half(0), half(1)]
}

/// Where an item comes in the order of a seed.
fn draw(seed: u64, item: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(item.as_bytes());
    *hasher.finalize().as_bytes()
}

/// Attributes that lean to one group and to the other, two and two, in the order of the seed: first those that no language
/// marks, then those of which some language marks one.
fn couples(items: &[Item], seed: u64) -> [Vec<[String; 2]>; 2] {
    let names = |wanted: &dyn Fn(&Item) -> bool| -> BTreeSet<&str> {
        let found = items.iter().filter(|item| wanted(item));
        found.map(|item| item.attribute.as_str()).collect()
    };
    let marked = names(&|item| item.marked);
    let mut left = [Vec::new(), Vec::new()];
    let mut couples = [false, true].map(|is_marked| {
        let mut both = [Side::First, Side::Second].map(|side| {
            let names = names(&|item| item.side == side).into_iter();
            let mut names: Vec<&str> = names.filter(|n| marked.contains(n) == is_marked).collect();
            names.sort_by_key(|name| draw(seed, name));
            names
        });
        let count = both[0].len().min(both[1].len());
        for (left, of) in left.iter_mut().zip(&mut both) {
            left.extend(of.split_off(count));
        }
        couple(&both)
    });
    // What has no partner of its own kind may have one of the other.
    couples[1].extend(couple(&left));
    couples
}

fn couple(names: &[Vec<&str>; 2]) -> Vec<[String; 2]> {
    let both = names[0].iter().zip(&names[1]);
    both.map(|(a, b)| [(*a).to_owned(), (*b).to_owned()])
        .collect()
}

/// Pairs dealt by attribute: to each half as many that lean to either group, and as many of those that some language
/// marks.
fn halves(items: Vec<Item>, seed: u64) -> [Vec<Item>; 2] {
    let mut second = BTreeSet::new();
    for of in couples(&items, seed) {
        second.extend(of.into_iter().skip(1).step_by(2).flatten());
    }
    let (second, first) = items
        .into_iter()
        .partition(|item| second.contains(&item.attribute));
    [first, second]
}

/// The pairs of a half, attributes in an order of which any first part is balanced.
fn half(items: Vec<Item>, seed: u64, sources: &Sources) -> Result<Half, TuneError> {
    let [plain, marked] = couples(&items, seed);
    let mut clusters = Vec::new();
    for turn in 0..plain.len().max(marked.len()) {
        let both = [plain.get(turn), marked.get(turn)];
        clusters.extend(both.into_iter().flatten().flatten().cloned());
    }
    if clusters.len() < FEWEST_CLUSTERS {
        return Err(TuneError::TooFew {
            file: sources.pairs.clone(),
            what: "attributes of a half lean to either group, as many to one as to the other",
            found: clusters.len(),
            needed: FEWEST_CLUSTERS,
        });
    }
    let pair = |item: Item| {
        let cluster = clusters.iter().position(|c| *c == item.attribute)?;
        Some(Pair {
            language: item.language,
            cluster,
            apart: item.marked && !sources.marked,
            sentences: item.sentences,
        })
    };
    let pairs = items.into_iter().filter_map(pair).collect();
    Ok(Half {
        clusters,
        pairs,
        neutral: Vec::new(),
    })
}

/// The group that an attribute leans to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    First,
    Second,
}

impl Side {
    fn of(leans: Leans) -> Side {
        match leans {
            Leans::A => Side::First,
            Leans::B => Side::Second,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The text that ships with the program.
    pub(crate) fn shipped() -> Sources {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        Sources {
            fit: folder.join("templates/everyday.toml"),
            pairs: folder.join("templates/occupations.toml"),
            neutral: folder.join("neutral.tsv"),
            marked: false,
        }
    }

    #[test]
    fn marked_attributes_are_reported_apart() {
        let languages = [Language::EN, Language::DE];
        let texts = Texts::load(&shipped(), &languages, "gender", 1).unwrap();
        // German marks every occupation; a workplace is the same for both.
        assert!(texts.select.pairs.iter().all(|p| !p.apart));
        let german = texts.confirm.pairs.iter().filter(|p| p.language == 1);
        let (apart, counted): (Vec<&Pair>, Vec<&Pair>) = german.partition(|p| p.apart);
        assert!(!apart.is_empty() && !counted.is_empty());
        assert!(
            texts
                .confirm
                .pairs
                .iter()
                .all(|p| p.language == 1 || !p.apart)
        );
        // Any part has both kinds.
        let part = texts.select.part(0.25, 0.25);
        assert!((0..2).all(|l| part.pairs.iter().any(|p| p.language == l)));
        let counting = Sources {
            marked: true,
            ..shipped()
        };
        let texts = Texts::load(&counting, &languages, "gender", 1).unwrap();
        assert!(texts.confirm.pairs.iter().all(|p| !p.apart));
        // A file that marks nearly all it has: without its workplaces.
        let folder = tempfile::tempdir().unwrap();
        let mut occupations: toml::Table = std::fs::read_to_string(shipped().pairs)
            .unwrap()
            .parse()
            .unwrap();
        for of in ["template", "attribute"] {
            let all = occupations[of].as_array_mut().unwrap();
            all.retain(|one| one["kind"].as_str() != Some("workplace"));
        }
        let only = Sources {
            pairs: folder.path().join("marked.toml"),
            ..shipped()
        };
        std::fs::write(&only.pairs, occupations.to_string()).unwrap();
        let error = Texts::load(&only, &languages, "gender", 1).err().unwrap();
        assert!(error.to_string().contains("--marked"), "{error}");
    }

    #[test]
    fn splits_share_nothing_and_are_balanced() {
        let languages = [Language::EN, Language::FR];
        let texts = Texts::load(&shipped(), &languages, "gender", 1).unwrap();
        let (select, confirm) = (&texts.select, &texts.confirm);
        assert!(select.clusters.len() >= 16 && confirm.clusters.len() >= 16);
        assert!(
            select
                .clusters
                .iter()
                .all(|c| !confirm.clusters.contains(c))
        );
        let sentences = |half: &Half| -> BTreeSet<String> {
            let pairs = half.pairs.iter().flat_map(|p| p.sentences.clone());
            pairs
                .chain(half.neutral.iter().flatten().cloned())
                .collect()
        };
        assert!(sentences(select).is_disjoint(&sentences(confirm)));
        let fitted: BTreeSet<String> = texts.fit.iter().flat_map(|t| t.sentences.clone()).collect();
        assert!(fitted.is_disjoint(&sentences(select)));
        assert!(fitted.is_disjoint(&sentences(confirm)));
        assert!(texts.fit.iter().any(|t| t.language == 1));
        // A part is balanced too: as many pairs are led by the first group as by the second.
        let items = load_templates(
            &shipped().pairs,
            &TemplateOptions::new(&languages, OnBadRow::Error),
        )
        .unwrap()
        .0;
        let part = select.part(0.3, 0.3);
        assert!(part.clusters.len() < select.clusters.len());
        let leans = |name: &String| {
            let item = items.iter().find(|i| i.attribute == *name).unwrap();
            Side::of(item.leans.unwrap())
        };
        let first = part.clusters.iter().filter(|c| leans(c) == Side::First);
        assert_eq!(first.count() * 2, part.clusters.len());
        // Another seed deals otherwise.
        let other = Texts::load(&shipped(), &languages, "gender", 2).unwrap();
        assert_ne!(other.select.clusters, select.clusters);
    }

    #[test]
    fn the_testbed_gives_all_three_splits() {
        let testbed = Testbed::new(interlingua_data::testbed::TestbedConfig::default()).unwrap();
        let texts = Texts::planted(&testbed, "religion", 1, false).unwrap();
        assert_eq!(texts.languages.len(), 4);
        for half in [&texts.select, &texts.confirm] {
            assert!(half.clusters.len() >= FEWEST_CLUSTERS);
            assert!(half.neutral.iter().all(|of| of.len() == 60));
            assert!((0..4).all(|l| half.pairs.iter().any(|p| p.language == l)));
        }
        assert!(Texts::planted(&testbed, "age", 1, false).is_err());
    }

    #[test]
    fn what_lacks_is_said() {
        let languages = [Language::EN];
        let mut sources = shipped();
        // Attributes that lean nowhere cannot judge.
        sources.pairs = sources.fit.clone();
        let error = Texts::load(&sources, &languages, "gender", 1).unwrap_err();
        assert!(matches!(error, TuneError::NoLeaning { .. }), "{error}");
        let error = Texts::load(&shipped(), &languages, "religion", 1).unwrap_err();
        assert!(error.to_string().contains("gender"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        sources = shipped();
        sources.neutral = folder.path().join("few.tsv");
        std::fs::write(&sources.neutral, "en\tfr\nOne.\tUn.\nTwo.\tDeux.\n").unwrap();
        let error = Texts::load(&sources, &languages, "gender", 1).unwrap_err();
        assert!(error.to_string().contains("16"), "{error}");
    }
}
