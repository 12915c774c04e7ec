//! The first stage: reads or generates the text. The later stages get it in the same form, whatever its source is.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use interlingua_data::testbed::{Split, Testbed, TestbedConfig};
use interlingua_data::{
    AttributeList, AttributeOptions, BiasOptions, BiasPair, Class, Language, Matcher, OnBadRow,
    ParallelCorpus, ParallelOptions, counterfactuals, load_attributes, load_bias, load_parallel,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::benchmarks::Benchmark;
use crate::spec::{DataSpec, FitSpec, Spec, attribute_file, data_file};
use crate::swapped;

/// All text of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prepared {
    /// The name of the bias benchmark.
    pub benchmark: String,
    /// The rows on which the autoencoder is trained.
    pub train: ParallelCorpus,
    /// For each training row, the other rows that are its counterfactuals; empty if the experiment does not ask for
    /// any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub twins: Vec<Vec<usize>>,
    /// The rows for early stopping.
    pub validation: ParallelCorpus,
    /// The rows on which alignment and perplexity are measured.
    pub heldout: ParallelCorpus,
    /// The exact log-probability of the held-out rows in nats, including the choice of the language; only the testbed
    /// has it.
    pub heldout_log_probs: Option<Vec<f64>>,
    /// The bias pairs of all languages and categories.
    pub pairs: Vec<BiasPair>,
    /// The sentences on which debiasing methods are fitted.
    pub fit_sentences: Vec<(Language, String)>,
    /// The sets of examples that these sentences form.
    pub fit_sets: Vec<FitSet>,
    /// The items of the tasks other than the pairs.
    pub benchmarks: Vec<Benchmark>,
    /// Messages about what was found while reading.
    pub findings: Vec<String>,
}

impl Prepared {
    /// Returns the examples of a category in a language.
    pub fn fit_set(&self, language: Language, category: &str) -> &FitSet {
        let mut sets = self.fit_sets.iter();
        sets.find(|s| s.language == language && s.category == category)
            .expect("a set for every language and category of the plan")
    }

    /// Returns the pairs of a category in a language.
    pub fn pairs_of(&self, category: &str, language: Language) -> Vec<&BiasPair> {
        let pairs = self.pairs.iter();
        pairs
            .filter(|p| p.language == language && p.category == category)
            .collect()
    }
}

/// The examples of one category in one language. Numbers are positions in [`Prepared::fit_sentences`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FitSet {
    /// The language of the sentences.
    pub language: Language,
    /// The bias category.
    pub category: String,
    /// The names of the groups; the class after the last is neutral.
    pub groups: Vec<String>,
    /// The counterfactual sets, with one sentence per group.
    pub tuples: Vec<Vec<usize>>,
    /// The sentences of the corpus with their classes.
    pub classes: Vec<(usize, usize)>,
    /// Counterfactual sets of sentences on which nothing is fitted, for probes.
    pub probe: Vec<Vec<usize>>,
}

/// Streams of the testbed's generator: no two purposes share one.
mod stream {
    pub const TRAIN: u64 = 1;
    pub const VALIDATION: u64 = 2;
    pub const HELDOUT: u64 = 3;
    pub const PAIRS: u64 = 4;
    pub const FIT: u64 = 5;
    pub const PROBE: u64 = 6;
    /// The stream of the language model's text.
    pub const LM: u64 = 9;
}

/// Makes the testbed of a spec, if its data come from one.
///
/// # Errors
/// Strengths or languages that the testbed cannot have.
pub fn testbed(spec: &Spec) -> Result<Option<Testbed>, ExperimentError> {
    match &spec.data {
        DataSpec::Testbed { strengths, .. } => Ok(Some(Testbed::new(TestbedConfig {
            seed: spec.seed,
            strengths: strengths.clone(),
            languages: spec.languages.clone(),
        })?)),
        DataSpec::Files { .. } => Ok(None),
    }
}

/// Generates the training text of the testbed's language model.
pub fn lm_text(testbed: &Testbed, sentences: usize) -> Vec<(Language, String)> {
    testbed.mixed_corpus(sentences, stream::LM)
}

/// Reads or generates all text.
///
/// # Errors
/// Files that cannot be read or that lack languages or categories, or too few rows.
pub fn prepare(spec: &Spec, data_dir: &Path) -> Result<Prepared, ExperimentError> {
    match &spec.data {
        DataSpec::Testbed { .. } => generated(spec, data_dir),
        DataSpec::Files { .. } => read(spec, data_dir),
    }
}

/// Generates the text of the testbed.
fn generated(spec: &Spec, data_dir: &Path) -> Result<Prepared, ExperimentError> {
    let DataSpec::Testbed {
        autoencoder_split,
        train_rows,
        counterfactual_rows,
        validation_rows,
        heldout_rows,
        pairs,
        fit_sentences,
        ..
    } = &spec.data
    else {
        unreachable!("only the testbed is generated");
    };
    let testbed = testbed(spec)?.expect("the data are the testbed's");
    let mut findings = Vec::new();
    let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
    rng.set_stream(stream::HELDOUT);
    let (heldout, log_probs) = sampled_rows(&testbed, &spec.languages, *heldout_rows, &mut rng)?;
    let mut all_pairs = Vec::new();
    for category in &spec.categories {
        for pair in testbed.minimal_pairs(category, *pairs, Split::Eval, stream::PAIRS)? {
            all_pairs.extend(pair.to_bias_pairs());
        }
    }
    let mut texts = Vec::new();
    let mut lists = Vec::new();
    for &language in &spec.languages {
        let own = 16 * language.code().bytes().map(u64::from).sum::<u64>();
        let corpus = |n, stream| testbed.corpus(language, n, Split::Fit, stream + own);
        texts.push(FitText {
            language,
            fit: corpus(*fit_sentences, stream::FIT)?,
            probe: corpus(fit_sentences.div_ceil(PROBE_EVERY), stream::PROBE)?,
        });
        for category in &spec.categories {
            lists.push(testbed.attribute_list(language, category)?);
        }
    }
    let (fit_sentences, fit_sets) = fit_sets(&texts, &lists, &spec.fit, spec.seed)?;
    let mut train = testbed.parallel(*train_rows, *autoencoder_split, stream::TRAIN)?;
    let twins = match counterfactual_rows {
        true => swapped::append(&mut train, &lists)?,
        false => Vec::new(),
    };
    Ok(Prepared {
        benchmark: "testbed".into(),
        train,
        twins,
        validation: testbed.parallel(*validation_rows, *autoencoder_split, stream::VALIDATION)?,
        heldout,
        heldout_log_probs: Some(log_probs),
        pairs: all_pairs,
        fit_sentences,
        fit_sets,
        benchmarks: crate::benchmarks::load(spec, data_dir, &mut findings)?,
        findings,
    })
}

/// Reads the text of files.
fn read(spec: &Spec, data_dir: &Path) -> Result<Prepared, ExperimentError> {
    let DataSpec::Files {
        parallel,
        parallel_format,
        pairs,
        pairs_format,
        limit,
        attributes,
        min_words,
        train_rows,
        counterfactual_rows,
        validation_rows,
        heldout_rows,
        on_bad_row,
    } = &spec.data
    else {
        unreachable!("only files are read");
    };
    let mut findings = Vec::new();
    let mut note = |file: &str, report: &interlingua_data::Report| {
        if !report.findings.is_empty() {
            findings.push(format!(
                "{file}: {} rows skipped or repaired, first: {}",
                report.findings.len(),
                report.findings[0]
            ));
        }
    };
    let options = ParallelOptions {
        format: *parallel_format,
        ..ParallelOptions::new(&spec.languages, *on_bad_row)
    };
    let (corpus, report) = load_parallel(&data_file(data_dir, parallel), &options)?;
    note(parallel, &report);
    let pivot = spec.languages[0];
    let corpus = corpus.dedup_any().filter_min_words(pivot, *min_words)?;
    let needed = train_rows + validation_rows + heldout_rows;
    if corpus.len() < needed {
        return Err(ExperimentError::plan(
            "data.train_rows",
            format!(
                "{parallel} has {} rows of at least {min_words} words, train_rows + validation_rows + heldout_rows need {needed}",
                corpus.len()
            ),
        ));
    }
    let (heldout, rest) = corpus.split(*heldout_rows, corpus.len() - heldout_rows, spec.seed)?;
    let (validation, rest) =
        rest.split(*validation_rows, rest.len() - validation_rows, spec.seed)?;
    let (mut train, _) = rest.split(*train_rows, rest.len() - train_rows, spec.seed)?;
    let options = BiasOptions {
        categories: spec.categories.clone(),
        format: *pairs_format,
        limit_per_category: *limit,
        ..BiasOptions::new(&spec.languages, *on_bad_row)
    };
    let (set, report) = load_bias(&data_file(data_dir, pairs), &options)?;
    note(pairs, &report);
    let lists = word_lists(spec, data_dir, attributes, *on_bad_row, &mut note)?;
    let texts = fit_texts(spec, &validation, &rest)?;
    let (fit_sentences, fit_sets) = fit_sets(&texts, &lists, &spec.fit, spec.seed)?;
    let twins = match counterfactual_rows {
        true => swapped::append(&mut train, &lists)?,
        false => Vec::new(),
    };
    Ok(Prepared {
        benchmark: set.name.clone(),
        train,
        twins,
        validation,
        heldout,
        heldout_log_probs: None,
        pairs: set.pairs,
        fit_sentences,
        fit_sets,
        benchmarks: crate::benchmarks::load(spec, data_dir, &mut findings)?,
        findings,
    })
}

/// Reads the word lists of every language and category; `note` gets what is wrong with a file.
fn word_lists(
    spec: &Spec,
    data_dir: &Path,
    attributes: &str,
    on_bad_row: OnBadRow,
    note: &mut dyn FnMut(&str, &interlingua_data::Report),
) -> Result<Vec<AttributeList>, ExperimentError> {
    let mut lists = Vec::new();
    for &language in &spec.languages {
        let file = attribute_file(attributes, language);
        let options = AttributeOptions {
            language: Some(language),
            ..AttributeOptions::new(on_bad_row)
        };
        let (found, report) = load_attributes(&data_file(data_dir, &file), &options)?;
        note(&file, &report);
        for category in &spec.categories {
            let list = found
                .iter()
                .find(|l| &l.category == category)
                .ok_or_else(|| {
                    let known: Vec<&str> = found.iter().map(|l| l.category.as_str()).collect();
                    ExperimentError::plan(
                        "categories",
                        format!(
                            "{file} has no words for `{category}`; it has {}",
                            known.join(", ")
                        ),
                    )
                })?;
            lists.push(list.clone());
        }
    }
    Ok(lists)
}

/// Deals the sentences of each language that may be fitted on, all but the held-out rows, to the fit and to the probes.
fn fit_texts(
    spec: &Spec,
    validation: &ParallelCorpus,
    rest: &ParallelCorpus,
) -> Result<Vec<FitText>, ExperimentError> {
    // The same rows are kept for probes in all languages.
    let mut texts = Vec::new();
    for &language in &spec.languages {
        let mut text = validation.column(language)?.to_vec();
        text.extend_from_slice(rest.column(language)?);
        let (mut fit, mut probe) = (Vec::new(), Vec::new());
        for (at, sentence) in text.into_iter().enumerate() {
            let kept = (at + 1).is_multiple_of(PROBE_EVERY);
            if kept { &mut probe } else { &mut fit }.push(sentence);
        }
        texts.push(FitText {
            language,
            fit,
            probe,
        });
    }
    Ok(texts)
}

/// Distinct derivations of the held-out split, with their exact log-probabilities.
fn sampled_rows(
    testbed: &Testbed,
    languages: &[Language],
    rows: usize,
    rng: &mut ChaCha8Rng,
) -> Result<(ParallelCorpus, Vec<f64>), ExperimentError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut corpus = ParallelCorpus {
        languages: languages.to_vec(),
        columns: vec![Vec::new(); languages.len()],
        ids: Vec::new(),
    };
    let mut log_probs = Vec::new();
    let mut draws = 0;
    while corpus.ids.len() < rows {
        draws += 1;
        // Most draws repeat an earlier one by now: there are hardly more.
        if draws > 20 * rows + 1000 {
            return Err(ExperimentError::plan(
                "data.heldout_rows",
                format!(
                    "the testbed gave only {} different rows in {draws} draws; ask for fewer than {rows}",
                    corpus.ids.len()
                ),
            ));
        }
        let derivation = testbed.sample(Split::Eval, rng);
        if !seen.insert(derivation.clone()) {
            continue;
        }
        corpus.ids.push(format!("heldout-{:06}", corpus.ids.len()));
        log_probs.push(testbed.log_prob(&derivation, languages[0]));
        for (column, &language) in corpus.columns.iter_mut().zip(languages) {
            column.push(testbed.render(&derivation, language));
        }
    }
    Ok((corpus, log_probs))
}

/// One sentence in so many is kept from fitting, for probes.
const PROBE_EVERY: usize = 5;

/// Text of one language that examples are taken from.
struct FitText {
    language: Language,
    /// For debiasers.
    fit: Vec<String>,
    /// For probes.
    probe: Vec<String>,
}

/// A sentence and its language.
type Sentence = (Language, String);

/// Sentences, each once, and where they lie.
#[derive(Default)]
struct Places {
    sentences: Vec<Sentence>,
    places: HashMap<Sentence, usize>,
}

impl Places {
    fn place(&mut self, language: Language, sentence: &str) -> usize {
        let key = (language, sentence.to_owned());
        *self.places.entry(key).or_insert_with_key(|key| {
            self.sentences.push(key.clone());
            self.sentences.len() - 1
        })
    }

    fn tuples(&mut self, language: Language, tuples: &[Vec<String>]) -> Vec<Vec<usize>> {
        let tuple = |t: &Vec<String>| t.iter().map(|s| self.place(language, s)).collect();
        tuples.iter().map(tuple).collect()
    }
}

fn fit_sets(
    texts: &[FitText],
    lists: &[AttributeList],
    options: &FitSpec,
    seed: u64,
) -> Result<(Vec<Sentence>, Vec<FitSet>), ExperimentError> {
    let mut places = Places::default();
    let mut sets = Vec::new();
    for list in lists {
        let mut all = texts.iter();
        let text = all
            .find(|t| t.language == list.language)
            .expect("a text for every list");
        let language = text.language;
        let made = counterfactuals(&text.fit, list, Some(options.max_tuples), seed)?;
        let tuples = places.tuples(language, &made.tuples);
        let matcher = Matcher::new(list)?;
        let mut counts = vec![0; list.groups.len() + 1];
        let mut classes = Vec::new();
        for sentence in &text.fit {
            let class = match matcher.classify(sentence) {
                Class::Group(group) => group,
                Class::Neutral => list.groups.len(),
                Class::Mixed => continue,
            };
            if counts[class] < options.max_per_class {
                counts[class] += 1;
                classes.push((places.place(language, sentence), class));
            }
        }
        // A sentence may occur twice in a corpus, or differ from another in the group alone.
        let seen: HashSet<&String> = made.tuples.iter().flatten().chain(&text.fit).collect();
        let mut probe = match counterfactuals(&text.probe, list, Some(options.max_tuples), seed) {
            Ok(made) => made.tuples,
            // A rare word may be in no fifth sentence; then there is nothing to probe.
            Err(interlingua_data::DataError::NoMatches { .. }) => Vec::new(),
            Err(e) => return Err(e.into()),
        };
        probe.retain(|tuple| tuple.iter().all(|s| !seen.contains(s)));
        sets.push(FitSet {
            language,
            category: list.category.clone(),
            groups: list.groups.clone(),
            tuples,
            classes,
            probe: places.tuples(language, &probe),
        });
    }
    Ok((places.sentences, sets))
}
