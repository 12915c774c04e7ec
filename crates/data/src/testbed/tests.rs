//! The grammar is small enough to enumerate, so its claims are tested on all of its sentences.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::grammar::{FILLERS, LANGUAGES, PersonList};
use super::*;
use crate::types::{Direction, PairKind};

fn testbed() -> Testbed {
    Testbed::new(TestbedConfig::default()).expect("the default configuration is valid")
}

/// Calls `visit` with every derivation of a pattern.
fn enumerate(t: &Testbed, pattern: usize, mut visit: impl FnMut(&Derivation)) {
    let grammar = &t.inner.grammar;
    let p = &grammar.patterns[pattern];
    let (attributes, groups) = match p.neutral {
        true => (1, 1),
        false => (grammar.attributes[p.category].len(), 2),
    };
    let mut radices = vec![attributes, groups, grammar.persons(p.person)];
    radices.extend(p.fillers.iter().map(|&k| grammar.filler_counts[k]));
    for code in 0..radices.iter().product::<usize>() {
        let mut rest = code;
        let mut digit = |radix: usize| {
            let d = rest % radix;
            rest /= radix;
            d as u8
        };
        let digits: Vec<u8> = radices.iter().map(|&r| digit(r)).collect();
        visit(&Derivation {
            pattern: pattern as u8,
            attribute: digits[0],
            group: digits[1],
            person: digits[2],
            fillers: digits[3..].to_vec(),
        });
    }
}

fn hash128(text: &str) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, text).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

fn words(sentence: &str) -> impl Iterator<Item = &str> {
    sentence.split(' ').map(|w| w.trim_end_matches([',', '.']))
}

/// A model that has learnt the grammar cannot do better than its probabilities, and they are those
/// of the strings: no string has two derivations or two languages, and they sum to one.
#[test]
fn every_sentence_is_unique_and_the_probabilities_sum_to_one() {
    let t = testbed();
    let mut seen = HashSet::new();
    let mut total = 0.0;
    let mut entropy = 0.0;
    let mut count = 0_usize;
    let mut odd = BTreeMap::new();
    let mut vocabulary = vec![BTreeSet::new(); LANGUAGES.len()];
    for pattern in 0..t.inner.grammar.patterns.len() {
        enumerate(&t, pattern, |d| {
            count += 1;
            let log_p = t.log_prob(d, Language::EN);
            total += LANGUAGES.len() as f64 * log_p.exp();
            entropy -= LANGUAGES.len() as f64 * log_p.exp() * log_p;
            for (language, vocabulary) in LANGUAGES.into_iter().zip(&mut vocabulary) {
                let text = t.render(d, language);
                assert!(seen.insert(hash128(&text)), "a second time: {text}");
                let n = words(&text).count();
                if !(5..=15).contains(&n) {
                    odd.insert(t.pattern_id(d).to_owned() + language.code(), text.clone());
                }
                for word in words(&text) {
                    if !vocabulary.contains(word) {
                        vocabulary.insert(word.to_owned());
                    }
                }
            }
        });
    }
    assert!(odd.is_empty(), "not 5 to 15 words: {odd:#?}");
    assert_eq!(seen.len(), LANGUAGES.len() * count);
    assert!((total - 1.0).abs() < 1e-9, "sum of probabilities {total}");
    // The closed form of the entropy agrees with the sum.
    for language in LANGUAGES {
        assert!((t.entropy(language) - entropy).abs() < 1e-8);
    }
    let sizes: Vec<usize> = vocabulary.iter().map(BTreeSet::len).collect();
    println!("{count} sentences per language; words per language: {sizes:?}");
    assert!(sizes.iter().all(|&n| n <= 700), "{sizes:?}");
}

#[test]
fn the_grammar_is_large_enough() {
    let t = testbed();
    assert!(t.patterns().count() >= 40);
    let ids: HashSet<&str> = t.patterns().collect();
    assert_eq!(ids.len(), t.patterns().count(), "pattern ids are unique");
    for category in Testbed::categories() {
        let all = t.attributes(category, Split::All).unwrap();
        assert_eq!(all.len(), 24);
        let ids: HashSet<&str> = all.iter().map(|a| a.0).collect();
        assert_eq!(ids.len(), 24, "attribute ids are unique");
        for kind in t.inner.patterns[category_index(category).unwrap()].iter() {
            assert!(kind.len() >= 3);
        }
    }
}

#[test]
fn every_split_has_every_strength_in_both_directions() {
    for k in 1..=6 {
        let strengths: Vec<f64> = (0..k).map(|i| 0.5 + 0.08 * i as f64).collect();
        let t = Testbed::new(TestbedConfig {
            strengths: strengths.clone(),
            ..TestbedConfig::default()
        })
        .unwrap();
        for category in Testbed::categories() {
            let leans: Vec<usize> = t
                .attributes(category, Split::All)
                .unwrap()
                .iter()
                .map(|a| a.2)
                .collect();
            assert_eq!(leans.iter().sum::<usize>() * 2, leans.len());
            for split in [Split::Fit, Split::Eval] {
                let attributes = t.attributes(category, split).unwrap();
                for &s in &strengths {
                    for lean in 0..2 {
                        let n = attributes
                            .iter()
                            .filter(|a| a.1 == s && a.2 == lean)
                            .count();
                        assert!(n >= 1, "{k} {category} {split:?} {s} {lean}");
                        if 12 % (2 * k) == 0 {
                            assert_eq!(n, 6 / k);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn groups_follow_the_planted_strength() {
    let t = testbed();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut counts: BTreeMap<(&str, u8), [usize; 2]> = BTreeMap::new();
    let (mut neutral, mut nll, n) = (0, 0.0, 200_000);
    for _ in 0..n {
        let d = t.sample(Split::All, &mut rng);
        nll -= t.log_prob(&d, Language::EN) / f64::from(n);
        match t.group(&d) {
            Some(g) => counts.entry((t.category(&d), d.attribute)).or_default()[g] += 1,
            None => neutral += 1,
        }
    }
    assert_eq!(counts.len(), 72);
    for ((category, attribute), c) in counts {
        let a = usize::from(attribute);
        let (s, total) = (t.strength(a), (c[0] + c[1]) as f64);
        let share = c[t.lean(a)] as f64 / total;
        let sigma = (s * (1.0 - s) / total).sqrt();
        assert!(
            (share - s).abs() < 4.0 * sigma,
            "{category} {attribute}: {share} for {s}"
        );
    }
    let share = f64::from(neutral) / f64::from(n);
    assert!((share - NEUTRAL).abs() < 4.0 * (NEUTRAL * 0.9 / f64::from(n)).sqrt());
    // The standard deviation of −log p is below 3 nats, so the mean is known to 0.03.
    assert!((nll - t.entropy(Language::EN)).abs() < 0.03);
}

/// The text of the language model has the planted shares, not a draw of them.
#[test]
fn the_mixed_corpus_has_the_shares_that_were_planted() {
    let t = testbed();
    let n = 40_000;
    let text = t.mixed_corpus(n, 1);
    assert_eq!(text.len(), n);
    let cells = t.cells();
    assert!((cells.iter().map(|c| c.0).sum::<f64>() - 1.0).abs() < 1e-12);
    for (language, count) in LANGUAGES.map(|l| (l, text.iter().filter(|r| r.0 == l).count())) {
        assert!(count.abs_diff(n / 4) <= 1, "{language}: {count}");
    }
    // A hobby, in English, with each group: within one of its share.
    let category = category_index("race-color").unwrap();
    for (a, object) in [(0, "the piano"), (1, "novels"), (11, "the guitar")] {
        for (group, word) in ["Black", "white"].into_iter().enumerate() {
            let count = text
                .iter()
                .filter(|r| r.0 == Language::EN)
                .map(|r| {
                    format!(
                        " {} ",
                        r.1.to_lowercase().trim_end_matches('.').replace(',', "")
                    )
                })
                .filter(|s| s.contains(&format!(" {object} ")))
                .filter(|s| s.contains(&format!(" {} ", word.to_lowercase())))
                .count() as f64;
            let share = 0.9
                / 3.0
                / 4.0
                / t.attributes(CATEGORIES[category], Split::All)
                    .unwrap()
                    .len() as f64
                * t.group_probability(a, group);
            assert!(
                (count - share * n as f64).abs() <= 1.0,
                "{object} {word}: {count}"
            );
        }
    }
    // No sentence is the likelier for its place.
    let half = |half: &[(Language, String)]| half.iter().filter(|r| r.0 == Language::EN).count();
    let first = half(&text[..n / 2]) as f64;
    assert!((first - 5000.0).abs() < 4.0 * 5000f64.sqrt(), "{first}");
    for n in [0, 1, 7] {
        assert_eq!(t.mixed_corpus(n, 1).len(), n);
    }
}

/// The kind of every sentence is what a reader of the two sentences sees.
#[test]
fn kinds_are_what_the_sentences_show() {
    let t = testbed();
    let lexicon: toml::Table = include_str!("../../testbed/lexicon.toml").parse().unwrap();
    let mut counts: BTreeMap<(&str, Language, &str), usize> = BTreeMap::new();
    for category in Testbed::categories() {
        for pair in t.minimal_pairs(category, 240, Split::All, 0).unwrap() {
            let known = lexicon["attributes"][category].as_array().unwrap().iter();
            let entry = known
                .into_iter()
                .find(|e| e["id"].as_str() == Some(pair.attribute.as_str()))
                .unwrap();
            for (i, kind) in pair.kinds.iter().enumerate() {
                let (language, more) = &pair.more[i];
                let less = &pair.less[i].1;
                let word = entry[language.code()].as_str().unwrap();
                // The attribute counts as the word that both sentences have in common, if they have one.
                let same = more
                    .bytes()
                    .zip(less.bytes())
                    .take_while(|(a, b)| a == b)
                    .count();
                let lower = |text: &str| text.to_lowercase();
                let expect = match lower(more).find(&lower(word)) {
                    None => PairKind::Marked,
                    Some(at) if at < same => PairKind::AttributeFirst,
                    Some(_) => PairKind::GroupFirst,
                };
                assert_eq!(
                    (*kind, word.contains('|')),
                    (expect, expect == PairKind::Marked),
                    "{language}: {more} / {less}"
                );
                *counts
                    .entry((category, *language, kind.name()))
                    .or_default() += 1;
            }
        }
    }
    println!("{counts:#?}");
    for category in Testbed::categories() {
        for language in LANGUAGES {
            let count = |kind: PairKind| {
                counts
                    .get(&(category, language, kind.name()))
                    .copied()
                    .unwrap_or(0)
            };
            let [first, second, marked] = PairKind::ALL.map(count);
            assert!(
                first >= 40 && second >= 40,
                "{category} {language}: {first} {second}"
            );
            let expect = if category == "gender" && language != Language::EN {
                120
            } else {
                0
            };
            assert_eq!(marked, expect, "{category} {language}");
        }
    }
}

/// Gender is not alike in two languages because a name is.
#[test]
fn no_name_is_one_of_another_language() {
    let t = testbed();
    let mut seen: BTreeMap<String, Language> = BTreeMap::new();
    let lexicon: toml::Table = include_str!("../../testbed/lexicon.toml").parse().unwrap();
    for name in lexicon["names"].as_array().unwrap() {
        for language in LANGUAGES {
            for form in name[language.code()].as_str().unwrap().split('|') {
                assert_eq!(seen.insert(form.to_owned(), language), None, "{form}");
            }
        }
    }
    assert_eq!(
        seen.len(),
        4 * 2 * t.inner.grammar.persons(Some(PersonList::Names))
    );
}

/// Counterfactuals made by swapping words hold no word form that the model never saw.
#[test]
fn swapped_words_are_spelt_as_in_the_corpus() {
    let t = testbed();
    for language in LANGUAGES {
        let corpus = t.corpus(language, 20_000, Split::Fit, 0).unwrap();
        // The first word of a sentence is capitalised, so only the others are compared. An elided
        // article agrees with its word and stays: `l'homme` becomes `l'femme`.
        let inside = |text: &str| -> Vec<String> {
            let parts = words(text).skip(1).flat_map(|w| w.split_inclusive('\''));
            parts.map(str::to_owned).collect()
        };
        let seen: HashSet<String> = corpus.iter().flat_map(|s| inside(s)).collect();
        for category in Testbed::categories() {
            let list = t.attribute_list(language, category).unwrap();
            let made = crate::counterfactuals(&corpus[..4000], &list, None, 0).unwrap();
            for tuple in &made.tuples {
                for word in tuple.iter().flat_map(|s| inside(s)) {
                    assert!(seen.contains(&word), "{word} in {tuple:?}");
                }
            }
            // A sentence about one group becomes one about the other in every word.
            let matcher = crate::Matcher::new(&list).unwrap();
            for (tuple, &group) in made.tuples.iter().zip(&made.original_group) {
                if matcher.classify(&tuple[group]).group() == Some(group) {
                    let other = matcher.classify(&tuple[1 - group]).group();
                    assert_eq!(other, Some(1 - group), "{tuple:?}");
                }
            }
        }
    }
}

#[test]
fn pairs_have_the_known_gap() {
    let t = testbed();
    for category in Testbed::categories() {
        for split in [Split::All, Split::Fit, Split::Eval] {
            let pairs = t.minimal_pairs(category, 240, split, 3).unwrap();
            assert_eq!(pairs, t.minimal_pairs(category, 240, split, 3).unwrap());
            assert_ne!(pairs, t.minimal_pairs(category, 240, split, 4).unwrap());
            let ids: HashSet<&String> = pairs.iter().map(|p| &p.id).collect();
            let texts: HashSet<&String> = pairs.iter().map(|p| &p.more[0].1).collect();
            assert_eq!((ids.len(), texts.len()), (240, 240));
            for p in &pairs {
                assert_eq!(p.gap, (p.strength / (1.0 - p.strength)).ln());
                if p.strength == 0.5 {
                    assert_eq!(p.gap, 0.0);
                }
                for (more, less) in p.log_prob_more.iter().zip(&p.log_prob_less) {
                    assert!((more - less - p.gap).abs() < 1e-12, "{}", p.id);
                }
                for ((_, more), (_, less)) in p.more.iter().zip(&p.less) {
                    assert_ne!(more, less);
                }
                let known = t.attributes(category, split).unwrap();
                let (_, s, lean) = known.iter().find(|a| a.0 == p.attribute).unwrap();
                assert_eq!(
                    (*s, *lean == 0),
                    (p.strength, p.direction == Direction::Stereo)
                );
                let bias = p.to_bias_pairs();
                assert_eq!(bias.len(), 4);
                for (b, kind) in bias.iter().zip(&p.kinds) {
                    assert_eq!(b.kind, Some(*kind), "{}", p.id);
                }
                assert!(
                    bias.iter()
                        .all(|b| b.planted == Some(p.strength) && b.id == p.id)
                );
            }
            for (id, ..) in t.attributes(category, split).unwrap() {
                let n = pairs.iter().filter(|p| p.attribute == id).count();
                assert_eq!(n, 240 / t.attributes(category, split).unwrap().len());
            }
        }
    }
}

/// Fit and Eval share no attribute and no filler: not as choices, and not as text.
#[test]
fn splits_are_disjoint() {
    let t = testbed();
    let lexicon: toml::Table = include_str!("../../testbed/lexicon.toml").parse().unwrap();
    let phrases = |parity: usize, language: Language| -> Vec<String> {
        let lists = FILLERS.iter().map(|k| &lexicon["fillers"][*k]);
        let attributes = CATEGORIES.iter().map(|c| &lexicon["attributes"][*c]);
        let mut out = Vec::new();
        for list in lists.chain(attributes) {
            for entry in list.as_array().unwrap().iter().skip(parity).step_by(2) {
                for (key, value) in entry.as_table().unwrap() {
                    if key.starts_with(language.code()) {
                        let forms = value.as_str().unwrap().to_lowercase();
                        out.extend(forms.split('|').map(|f| format!(" {f} ")));
                    }
                }
            }
        }
        out
    };
    for language in LANGUAGES {
        for (split, parity) in [(Split::Fit, 1), (Split::Eval, 0)] {
            let foreign = phrases(parity, language);
            let own = phrases(1 - parity, language);
            assert!(foreign.iter().all(|f| !own.contains(f)));
            for text in t.corpus(language, 3000, split, 0).unwrap() {
                let flat: Vec<&str> = words(&text).collect();
                let flat = format!(" {} ", flat.join(" ").to_lowercase());
                for phrase in &foreign {
                    assert!(
                        !flat.contains(phrase.as_str()),
                        "{split:?} has{phrase}: {text}"
                    );
                }
            }
        }
    }
}

#[test]
fn attribute_lists_hold_what_differs() {
    let t = testbed();
    // Words that agree with a group without marking it: articles, possessives, adjectives.
    let agreement: HashSet<&str> = [
        "la", "le", "l'", "une", "un", "ma", "mon", "sa", "son", "nouvelle", "nouveau", "nouvel",
        "bonne", "bon", "au", "à", "die", "der", "dem", "den", "das", "eine", "ein", "gute",
        "guter", "meine", "mein", "de", "het", "a", "an",
    ]
    .into();
    for language in LANGUAGES {
        for category in Testbed::categories() {
            let list = t.attribute_list(language, category).unwrap();
            assert_eq!(list.groups, Testbed::groups(category).unwrap());
            assert!(list.rows.iter().all(|r| r.len() == 2 && r[0] != r[1]));
            assert!(list.rows.iter().flatten().all(|w| !w.contains([' ', '|'])));
            let unique: HashSet<&Vec<String>> = list.rows.iter().collect();
            assert_eq!(unique.len(), list.rows.len());
            for group in 0..2 {
                let known: HashSet<String> =
                    list.rows.iter().map(|r| r[group].to_lowercase()).collect();
                let tuples = t.counterfactual_sentences(language, category, 1000, Split::Fit, 0);
                for tuple in tuples.unwrap() {
                    let split = |text: &str| -> BTreeSet<String> {
                        words(text)
                            .flat_map(|w| w.split_inclusive('\''))
                            .map(str::to_lowercase)
                            .collect()
                    };
                    let [own, other] = [split(&tuple[group]), split(&tuple[1 - group])];
                    for word in own.difference(&other) {
                        let elided = word.ends_with('\'') || word == "si" || word == "que";
                        assert!(
                            elided || known.contains(word) || agreement.contains(word.as_str()),
                            "{word} is not in the {category} list of {language}: {tuple:?}"
                        );
                    }
                }
            }
        }
    }
    let english = t.attribute_list(Language::DE, "gender").unwrap();
    let has = |word: &str| english.rows.iter().any(|r| r[0] == word);
    assert!(has("Heike") && has("sie") && has("Mutter") && has("Krankenpflegerin"));
    assert!(!has("Lehrerin"), "a held-out occupation");
}

#[test]
fn corpora_are_reproducible_and_distinct() {
    let t = testbed();
    let corpus = |stream| t.corpus(Language::FR, 50, Split::All, stream).unwrap();
    assert_eq!(corpus(0), corpus(0));
    assert_ne!(corpus(0), corpus(1));
    assert_eq!(t.mixed_corpus(100, 5), t.mixed_corpus(100, 5));
    assert_ne!(t.mixed_corpus(100, 5), t.mixed_corpus(100, 6));
    let rows = t.parallel(2000, Split::Fit, 0).unwrap();
    assert_eq!(rows.columns.len(), 4);
    for column in &rows.columns {
        assert_eq!(column.len(), rows.ids.len());
        assert_eq!(column.iter().collect::<HashSet<_>>().len(), 2000);
    }
    let neutral = t
        .neutral_sentences(Language::DE, 300, Split::Eval, 0)
        .unwrap();
    assert_eq!(neutral.iter().collect::<HashSet<_>>().len(), 300);
}

#[test]
fn bad_requests_say_what_would_work() {
    let check = |change: fn(&mut TestbedConfig), expect: &str| {
        let mut config = TestbedConfig::default();
        change(&mut config);
        let error = Testbed::new(config).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(|c| c.strengths = vec![], "1 to 6");
    check(|c| c.strengths = vec![0.5; 7], "1 to 6");
    check(|c| c.strengths = vec![0.6, 1.0], "strengths[1] is 1");
    check(|c| c.strengths = vec![0.4], "strengths[0] is 0.4");
    check(|c| c.strengths = vec![f64::NAN], "NaN");
    check(|c| c.languages = vec![], "at least one of en");
    check(|c| c.languages = vec![Language::EN; 2], "twice");
    check(|c| c.languages = vec!["sv".parse().unwrap()], "`sv`");

    let german = Testbed::new(TestbedConfig {
        languages: vec![Language::DE],
        ..TestbedConfig::default()
    })
    .unwrap();
    let t = testbed();
    let errors = [
        (
            german.corpus(Language::EN, 1, Split::All, 0).unwrap_err(),
            "[de]",
        ),
        (
            t.minimal_pairs("age", 1, Split::All, 0).unwrap_err(),
            "race-color",
        ),
        (
            t.minimal_pairs("gender", 1 << 30, Split::Fit, 0)
                .unwrap_err(),
            "ask for fewer",
        ),
        (
            t.parallel(1 << 30, Split::Fit, 0).unwrap_err(),
            "ask for fewer",
        ),
    ];
    for (error, expect) in errors {
        assert!(error.to_string().contains(expect), "{error}");
    }
}

#[test]
fn a_faulty_grammar_is_named() {
    let patterns = include_str!("../../testbed/patterns.toml");
    let lexicon = include_str!("../../testbed/lexicon.toml");
    let check = |from: &str, to: &str, expect: &str| {
        assert!(patterns.contains(from), "{from}");
        let changed = patterns.replacen(from, to, 1);
        let error = Grammar::parse(lexicon, &changed).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check("{place}", "{plaze}", "unknown slot {plaze}");
    check(
        "travailler {attr.prep} {attr} {place}",
        "travailler {attr.prep} {attr}",
        "fr has other fillers",
    );
    check(
        "arbeitet {habit} {attr.prep} {attr}.",
        "arbeitet {habit} als Weberin.",
        "de: attribute, group or person",
    );
    check("{person.obl}", "{person.dative}", "no form `de_dative`");
    check("{name}", "{nam}", "unknown slot {nam}");
    check("{name}", "{name", "slot");
    check("fixed = \"f\"", "", "no noun and no `fixed`");
}

proptest! {
    #[test]
    fn sentences_are_well_formed(seed: u64) {
        let t = testbed();
        let d = t.sample(Split::All, &mut ChaCha8Rng::seed_from_u64(seed));
        for language in LANGUAGES {
            let text = t.render(&d, language);
            prop_assert!(!text.contains("  ") && !text.contains(" ,") && !text.contains(" ."));
            let markup = text.contains(['{', '}', '|']);
            prop_assert!(!markup, "{}", text);
            prop_assert!(text.starts_with(char::is_uppercase) && text.ends_with('.'));
        }
        match t.counterfactual(&d) {
            None => prop_assert!(t.group(&d).is_none() && t.attribute(&d).is_none()),
            Some(other) => {
                let s = t.strength(usize::from(d.attribute));
                let gap = t.log_prob(&d, Language::FR) - t.log_prob(&other, Language::FR);
                prop_assert!((gap.abs() - (s / (1.0 - s)).ln()).abs() < 1e-12);
                prop_assert_eq!(t.counterfactual(&other), Some(d));
            }
        }
    }
}

/// Every pattern twice and every attribute once, in four languages, for a reader to check, and the
/// beginning of a stream, which must not change from one machine to the next.
fn snapshot() -> String {
    let t = testbed();
    let grammar = &t.inner.grammar;
    let mut out = String::new();
    let mut show = |title: &str, d: &Derivation| {
        writeln!(out, "# {title}").unwrap();
        for language in LANGUAGES {
            let kind = t.kind(d, language).map_or("neutral", PairKind::name);
            writeln!(out, "{language} {}  [{kind}]", t.render(d, language)).unwrap();
        }
    };
    let mut turn = 0;
    let mut derivation = |pattern: usize, attribute: Option<usize>, group: usize| {
        let p = &grammar.patterns[pattern];
        turn += 1;
        let attributes = grammar.attributes[p.category].len();
        Derivation {
            pattern: pattern as u8,
            attribute: if p.neutral {
                0
            } else {
                attribute.unwrap_or(7 * turn) % attributes
            } as u8,
            group: if p.neutral { 0 } else { group as u8 },
            person: ((turn + turn / 2) % grammar.persons(p.person)) as u8,
            fillers: p
                .fillers
                .iter()
                .map(|&k| (5 * turn % grammar.filler_counts[k]) as u8)
                .collect(),
        }
    };
    for (i, p) in grammar.patterns.iter().enumerate() {
        for group in 0..2 {
            show(&p.id, &derivation(i, None, group));
        }
    }
    let by_attribute = [
        ["g-is-my-noun", "g-wants-to"],
        ["r-who-is", "r-wants-to"],
        ["m-who-is", "m-would-like"],
    ];
    for (category, ids) in by_attribute.iter().enumerate() {
        for (a, attribute) in grammar.attributes[category].iter().enumerate() {
            for (group, id) in ids.iter().enumerate() {
                let pattern = grammar.patterns.iter().position(|p| p.id == *id).unwrap();
                show(attribute, &derivation(pattern, Some(a), group));
            }
        }
    }
    writeln!(out, "# mixed_corpus(12, 0) of seed 0").unwrap();
    for (language, text) in t.mixed_corpus(12, 0) {
        writeln!(out, "{language} {text}").unwrap();
    }
    out
}

/// Set `TESTBED_SNAPSHOT=write` to write the file anew, and read what changed.
#[test]
fn the_snapshot_holds() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/testbed/snapshot.txt");
    let now = snapshot();
    if std::env::var("TESTBED_SNAPSHOT").is_ok_and(|v| v == "write") {
        std::fs::write(path, &now).unwrap();
        return;
    }
    let then = std::fs::read_to_string(path).unwrap();
    for (line, (then, now)) in then.lines().zip(now.lines()).enumerate() {
        assert_eq!(then, now, "snapshot.txt, line {}", line + 1);
    }
    assert_eq!(then.lines().count(), now.lines().count());
}
