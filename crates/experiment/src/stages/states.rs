//! Captures the hidden states of all text, at every hook of the plan.

use std::collections::{BTreeMap, BTreeSet};

use interlingua_autoencoder::States;
use interlingua_backend::device::describe;
use interlingua_backend::{from_rows, to_host};
use interlingua_data::Language;
use interlingua_debias::{Contrast, Reduce};
use interlingua_models::engine::{capture, capture_branches};
use interlingua_models::store::{Store, Writer};
use interlingua_models::{Branch, Capture, Hook, Model, Pooling, Sequence};

use super::Runner;
use crate::ExperimentError;
use crate::cache::Cache;
use crate::plan::Plan;
use crate::prepare::Prepared;
use crate::progress::Event;
use crate::spec::{Space, SpecialTokens};
use interlingua_spaces::Spaces;

/// The captured states of a run, one entry per hook of the plan.
pub type Captured = Vec<SiteStates>;

/// The captured states at one hook.
pub struct SiteStates {
    /// The width of the states.
    pub width: usize,
    /// The token states of parallel rows; `None` if only sentence vectors are needed
    /// ([`crate::plan::Plan::sentences_only`]).
    pub rows: Option<RowStates>,
    /// The keys of the states of the training rows, the validation rows and the held-out rows, and of the means of
    /// the fit sentences.
    pub keys: [String; 4],
    /// The fit sentences, reduced as methods ask for them, with the keys of these states. If there are rows, the
    /// means are always there too.
    pub fit: BTreeMap<Reduce, (Store, String)>,
    /// The sentences of the parallel rows in all languages, one language after another, for methods that distinguish
    /// languages.
    pub parallel: BTreeMap<Reduce, (Store, String)>,
}

/// The token states of parallel rows at one hook, one language after another.
pub struct RowStates {
    /// The training rows.
    pub train: Store,
    /// The validation rows.
    pub validation: Store,
    /// The held-out rows.
    pub heldout: Store,
}

impl SiteStates {
    /// Returns the sentences as a method demands them, with the key of these states.
    pub fn evidence(&self, contrast: Contrast, reduce: Reduce) -> (&Store, &str) {
        let found = match contrast {
            Contrast::Groups => &self.fit,
            Contrast::Languages => &self.parallel,
        };
        let (store, key) = found
            .get(&reduce)
            .expect("states of every reduction that a method of the plan demands");
        (store, key)
    }
}

/// Returns the sentences for methods that distinguish languages: the first training rows in every language, one
/// language after another.
pub fn parallel_sentences(plan: &Plan, text: &Prepared) -> Vec<String> {
    let rows = parallel_rows(plan, text);
    let columns = text.train.columns.iter();
    columns
        .flat_map(|column| column[..rows].iter().cloned())
        .collect()
}

/// Returns the number of training rows for methods that distinguish languages.
pub fn parallel_rows(plan: &Plan, text: &Prepared) -> usize {
    text.train.len().min(plan.spec.fit.max_per_class)
}

/// Captures all states that later stages need.
pub fn states_stage(
    run: &mut Runner<'_>,
    model: &Model,
    digest: &str,
    text: &Prepared,
) -> Result<Captured, ExperimentError> {
    let plan = run.plan;
    let hooks = plan
        .hooks
        .iter()
        .map(|name| Hook::parse(name, model.geometry.layers))
        .collect::<Result<Vec<_>, _>>()?;
    let source = Source { model, digest };
    let corpora = [
        ("training rows", &text.train),
        ("validation rows", &text.validation),
        ("held-out rows", &text.heldout),
    ];
    let with_rows: Vec<usize> = (0..hooks.len())
        .filter(|&site| !plan.sentences_only(site))
        .collect();
    let (mut made, mut row_keys) = (Vec::new(), Vec::new());
    for (name, corpus) in corpora {
        let sentences: Vec<String> = corpus.columns.iter().flatten().cloned().collect();
        let of = |&hook: &Hook| Capture {
            hook,
            pooling: Pooling::Tokens,
        };
        let captures: Vec<Capture> = with_rows.iter().map(|&site| of(&hooks[site])).collect();
        made.push(source.states(run, name, &sentences, &captures)?.into_iter());
        let all: Vec<Capture> = hooks.iter().map(of).collect();
        row_keys.push(source.keys(run, &sentences, &all));
    }
    let sentences: Vec<String> = text.fit_sentences.iter().map(|(_, s)| s.clone()).collect();
    // Probes look at means, whatever methods learn from.
    let means = |site: usize| (!plan.sentences_only(site)).then_some(Reduce::Mean);
    let mut fit = source.reduced(run, &hooks, "fit sentences", &sentences, |site| {
        let methods = demands(plan, Contrast::Groups);
        methods.into_iter().chain(means(site)).collect()
    })?;
    let fit_keys = source.keys(
        run,
        &sentences,
        &hooks
            .iter()
            .map(|&hook| Capture {
                hook,
                pooling: pooling(Reduce::Mean, fits_special(plan)),
            })
            .collect::<Vec<_>>(),
    );
    let sentences = parallel_sentences(plan, text);
    let mut parallel = source.reduced(run, &hooks, "parallel sentences", &sentences, |_| {
        demands(plan, Contrast::Languages)
    })?;
    let mut all = Vec::new();
    for (site, &hook) in hooks.iter().enumerate() {
        let mut next = |at: usize| made[at].next().expect("one store per hook point").0;
        let rows = (!plan.sentences_only(site)).then(|| RowStates {
            train: next(0),
            validation: next(1),
            heldout: next(2),
        });
        let [train, validation, heldout] = [0, 1, 2].map(|at: usize| row_keys[at][site].clone());
        all.push(SiteStates {
            width: model.geometry.shape().width(hook)?,
            rows,
            keys: [train, validation, heldout, fit_keys[site].clone()],
            fit: std::mem::take(&mut fit[site]),
            parallel: std::mem::take(&mut parallel[site]),
        });
    }
    Ok(all)
}

/// Reductions that methods of a contrast learn from.
fn demands(plan: &Plan, contrast: Contrast) -> BTreeSet<Reduce> {
    let methods = plan.spec.methods.iter();
    let of = methods.filter(|m| m.contrast() == contrast);
    of.map(|m| m.reduce()).collect()
}

/// Whether special tokens are part of what methods are fitted on.
fn fits_special(plan: &Plan) -> bool {
    plan.spec.special_tokens == SpecialTokens::Fitted
}

/// Returns how the states of a sentence are reduced for a method.
pub fn pooling_of(plan: &Plan, reduce: Reduce) -> Pooling {
    pooling(reduce, fits_special(plan))
}

/// What the engine is asked for; special tokens count where methods are fitted on them.
fn pooling(reduce: Reduce, special: bool) -> Pooling {
    match (reduce, special) {
        (Reduce::Mean, false) => Pooling::Mean,
        (Reduce::Mean, true) => Pooling::MeanAll,
        (Reduce::Max, false) => Pooling::Max,
        (Reduce::Max, true) => Pooling::MaxAll,
        (Reduce::Positive, false) => Pooling::Positive,
        (Reduce::Positive, true) => Pooling::PositiveAll,
        (Reduce::Last, _) => Pooling::Last,
        (Reduce::Tokens, false) => Pooling::Tokens,
        (Reduce::Tokens, true) => Pooling::All,
    }
}

/// How a pooling is called in keys.
fn kind(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::Mean => "mean",
        Pooling::MeanAll => "mean-all",
        Pooling::Max => "max",
        Pooling::MaxAll => "max-all",
        Pooling::Positive => "positive",
        Pooling::PositiveAll => "positive-all",
        Pooling::Last => "last",
        Pooling::Tokens => "tokens",
        Pooling::All => "tokens-all",
    }
}

/// States with their keys.
type Keyed = (Store, String);

/// Where states come from.
struct Source<'a> {
    model: &'a Model,
    digest: &'a str,
}

impl Source<'_> {
    /// Keys of states of some sentences.
    fn keys(&self, run: &Runner<'_>, sentences: &[String], captures: &[Capture]) -> Vec<String> {
        let device = describe(&run.plan.device);
        let key = |c: &Capture| {
            let (hook, kind) = (c.hook.to_string(), kind(c.pooling));
            let inputs = (self.digest, hook, kind, "f32", &device, sentences);
            Cache::key("states", &inputs)
        };
        captures.iter().map(key).collect()
    }

    /// Each sentence reduced as `wanted` says for each hook point.
    fn reduced(
        &self,
        run: &mut Runner<'_>,
        hooks: &[Hook],
        name: &str,
        sentences: &[String],
        wanted: impl Fn(usize) -> BTreeSet<Reduce>,
    ) -> Result<Vec<BTreeMap<Reduce, Keyed>>, ExperimentError> {
        let special = fits_special(run.plan);
        let mut captures = Vec::new();
        for (site, &hook) in hooks.iter().enumerate() {
            captures.extend(wanted(site).into_iter().map(|reduce| Capture {
                hook,
                pooling: pooling(reduce, special),
            }));
        }
        let mut found = self.states(run, name, sentences, &captures)?.into_iter();
        let of = |site: usize| {
            let wanted = wanted(site).into_iter();
            wanted.zip(found.by_ref()).collect()
        };
        Ok((0..hooks.len()).map(of).collect())
    }

    /// States of some sentences in one pass over the weights, with their keys.
    fn states(
        &self,
        run: &mut Runner<'_>,
        name: &str,
        sentences: &[String],
        captures: &[Capture],
    ) -> Result<Vec<Keyed>, ExperimentError> {
        if captures.is_empty() {
            return Ok(Vec::new());
        }
        let model = self.model;
        let keys = self.keys(run, sentences, captures);
        let path = |run: &Runner<'_>, key: &str| run.cache.path("states", key, ".safetensors");
        let mut missing = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            if !run.has(&path(run, key))? {
                missing.push(at);
            }
        }
        run.stage(&format!("states of {name}"), missing.is_empty(), |run| {
            if !missing.is_empty() {
                let sequences = sequences(model, sentences)?;
                let wanted: Vec<Capture> = missing.iter().map(|&at| captures[at]).collect();
                let (mut writers, mut entries) = (Vec::new(), Vec::new());
                for (&at, capture) in missing.iter().zip(&wanted) {
                    let lengths = sequences.iter().map(|s| capture.pooling.rows(s));
                    let entry = run.cache.begin(&path(run, &keys[at]))?;
                    let width = model.geometry.shape().width(capture.hook)?;
                    writers.push(Writer::create(&entry.path(), width, lengths)?);
                    entries.push(entry);
                }
                let listener = &mut *run.listener;
                capture(
                    model,
                    &sequences,
                    &wanted,
                    &mut |at, sequence, rows| writers[at].write(sequence, rows),
                    &mut |done, total| {
                        listener(Event::Progress {
                            done,
                            total,
                            note: String::new(),
                        })
                    },
                )?;
                for (writer, entry) in writers.into_iter().zip(entries) {
                    writer.finish()?;
                    entry.finish()?;
                }
            }
            keys.iter()
                .map(|key| Ok((Store::open(&path(run, key))?, key.clone())))
                .collect()
        })
    }
}

fn sequences(model: &Model, sentences: &[String]) -> Result<Vec<Sequence>, ExperimentError> {
    let sequences = sentences.iter().map(|s| model.sequence(s));
    Ok(sequences.collect::<Result<_, _>>()?)
}

/// Computes one vector of each sentence at a hook, in the model with edits at other hooks.
///
/// # Shapes
/// The result is sentences × width of the hook, row-major.
///
/// # Errors
/// A reduction that keeps more than one vector of a sentence, and whatever stops the model.
pub fn states_under(
    model: &Model,
    sentences: &[String],
    capture: Capture,
    branch: Branch<'_>,
) -> Result<Vec<f32>, ExperimentError> {
    let sequences = sequences(model, sentences)?;
    let width = model.geometry.shape().width(capture.hook)?;
    let mut states = vec![0.0; width * sentences.len()];
    capture_branches(
        model,
        &sequences,
        &[branch],
        &[capture],
        &mut |_, _, sequence, rows| {
            states[sequence * width..][..width].copy_from_slice(rows);
            Ok(())
        },
        &mut |_, _| {},
    )?;
    Ok(states)
}

/// The parallel rows of a store, one language after another.
pub struct Rows<'a> {
    store: &'a Store,
    languages: Vec<String>,
    twins: &'a [Vec<usize>],
}

impl<'a> Rows<'a> {
    /// Makes a view of a store that holds the rows of these languages.
    pub fn new(store: &'a Store, languages: &[Language]) -> Self {
        Rows {
            store,
            languages: languages.iter().map(ToString::to_string).collect(),
            twins: &[],
        }
    }

    /// Adds which rows belong together: for each row the others, or nothing at all.
    pub fn with_twins(self, twins: &'a [Vec<usize>]) -> Self {
        Rows { twins, ..self }
    }

    /// Returns the token states of all rows of one language, and the number of tokens of each row.
    pub fn tokens(&self, language: usize) -> Result<(Vec<f32>, Vec<usize>), ExperimentError> {
        self.first_tokens(language, self.rows())
    }

    /// Returns the token states of the first rows of one language, and the number of tokens of each row.
    pub fn first_tokens(
        &self,
        language: usize,
        rows: usize,
    ) -> Result<(Vec<f32>, Vec<usize>), ExperimentError> {
        let rows = rows.min(self.rows());
        let mut tokens = Vec::new();
        let mut lengths = Vec::with_capacity(rows);
        for row in 0..rows {
            lengths.push(self.store.read(language * self.rows() + row, &mut tokens)?);
        }
        Ok((tokens, lengths))
    }
}

impl States for Rows<'_> {
    fn languages(&self) -> &[String] {
        &self.languages
    }
    fn rows(&self) -> usize {
        self.store.len() / self.languages.len()
    }
    fn width(&self) -> usize {
        self.store.width()
    }
    fn read(
        &self,
        language: usize,
        row: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.store.read(language * self.rows() + row, out)?)
    }
    fn twins(&self, row: usize) -> &[usize] {
        self.twins.get(row).map_or(&[], Vec::as_slice)
    }
}

/// Computes one vector per sentence of one language in a space, which is the mean over its tokens.
///
/// # Shapes
/// The result is rows × dimension of the space, row-major.
pub fn sentence_vectors(
    spaces: &Spaces,
    space: Space,
    language: Language,
    rows: &Rows<'_>,
    at: usize,
) -> Result<Vec<f32>, ExperimentError> {
    let (tokens, lengths) = rows.tokens(at)?;
    // Affine ways commute with the mean; only others must see every token.
    if spaces.get(space).is_affine() {
        return Ok(spaces.enter(space, language, pool(&tokens, &lengths, rows.width()))?);
    }
    encode_means(spaces, space, language, &tokens, &lengths)
}

/// Mean points of sentences from their token states.
fn encode_means(
    spaces: &Spaces,
    space: Space,
    language: Language,
    tokens: &[f32],
    lengths: &[usize],
) -> Result<Vec<f32>, ExperimentError> {
    let found = spaces.get(space);
    found.check(language)?;
    let (width, dim) = (spaces.width, found.dim());
    let mut out = Vec::with_capacity(lengths.len() * dim);
    let mut from = 0;
    for group in lengths.chunks(256) {
        let count: usize = group.iter().sum();
        let part = from_rows(
            tokens[from * width..(from + count) * width].to_vec(),
            count,
            width,
            &spaces.device,
        );
        let latents = to_host(found.enter(language, part));
        out.extend(pool(&latents, group, dim));
        from += count;
    }
    Ok(out)
}

/// Mean of the rows of each sentence.
fn pool(values: &[f32], lengths: &[usize], width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(lengths.len() * width);
    let mut from = 0;
    for &len in lengths {
        let mut mean = vec![0.0f64; width];
        for row in values[from * width..(from + len) * width].chunks_exact(width) {
            mean.iter_mut()
                .zip(row)
                .for_each(|(m, v)| *m += f64::from(*v));
        }
        out.extend(mean.iter().map(|m| (m / len as f64) as f32));
        from += len;
    }
    out
}
