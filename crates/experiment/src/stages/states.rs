//! Hidden states of all text, at every hook point of the plan.

use std::collections::{BTreeMap, BTreeSet};

use interlingua_autoencoder::States;
use interlingua_backend::device::describe;
use interlingua_backend::{from_rows, to_host};
use interlingua_data::{Language, ParallelCorpus};
use interlingua_debias::Reduce;
use interlingua_models::engine::capture;
use interlingua_models::store::{Store, Writer};
use interlingua_models::{Capture, Hook, Model, Pooling, Sequence};

use super::Runner;
use crate::ExperimentError;
use crate::cache::Cache;
use crate::prepare::Prepared;
use crate::progress::Event;
use crate::space::Spaces;
use crate::spec::{Space, SpecialTokens};

/// Captured states of a run, one entry per hook point of the plan.
pub type Captured = Vec<SiteStates>;

/// Captured states at one hook point.
pub struct SiteStates {
    /// Token states of the training rows, language after language.
    pub train: Store,
    /// Token states of the validation rows.
    pub validation: Store,
    /// Token states of the held-out rows.
    pub heldout: Store,
    /// Mean states of the fit sentences.
    pub fit: Store,
    /// Keys of the four stores.
    pub keys: [String; 4],
    /// The fit sentences reduced otherwise, with the keys of these stores, for methods that learn from them.
    pub reduced: BTreeMap<Reduce, (Store, String)>,
}

impl SiteStates {
    /// The fit sentences as a method demands them, and the key of these states.
    pub fn fit_by(&self, reduce: Reduce) -> (&Store, &str) {
        match self.reduced.get(&reduce) {
            Some((store, key)) => (store, key),
            None => (&self.fit, &self.keys[3]),
        }
    }
}

/// Captures every state that later stages need.
pub fn states_stage(
    run: &mut Runner<'_>,
    model: &Model,
    digest: &str,
    text: &Prepared,
) -> Result<Captured, ExperimentError> {
    let hooks = run
        .plan
        .hooks
        .iter()
        .map(|name| Hook::parse(name, model.geometry.layers))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = |corpus: &ParallelCorpus| {
        corpus
            .columns
            .iter()
            .flatten()
            .cloned()
            .collect::<Vec<String>>()
    };
    let requests = [
        ("training rows", rows(&text.train)),
        ("validation rows", rows(&text.validation)),
        ("held-out rows", rows(&text.heldout)),
    ];
    let mut made = Vec::new();
    for (name, sentences) in requests {
        let found = states_of(
            run,
            model,
            digest,
            &hooks,
            name,
            &sentences,
            &[Pooling::Tokens],
        )?;
        made.push(found.into_iter());
    }
    let fit: Vec<String> = text.fit_sentences.iter().map(|(_, s)| s.clone()).collect();
    let fitted = run.plan.spec.special_tokens == SpecialTokens::Fitted;
    let mut reductions: BTreeSet<Reduce> =
        run.plan.spec.methods.iter().map(|m| m.reduce()).collect();
    // Probes look at means, whatever methods learn from.
    reductions.remove(&Reduce::Mean);
    let all = std::iter::once(Reduce::Mean).chain(reductions.iter().copied());
    let pooled: Vec<Pooling> = all.map(|reduce| pooling(reduce, fitted)).collect();
    let name = "fit sentences";
    let mut fits = states_of(run, model, digest, &hooks, name, &fit, &pooled)?.into_iter();
    let mut next = |at: usize| made[at].next().expect("one store per hook point");
    Ok(hooks
        .iter()
        .map(|_| {
            let mut fit = || fits.next().expect("one store per hook point and reduction");
            let [train, validation, heldout] = [0, 1, 2].map(&mut next);
            let mean = fit();
            SiteStates {
                keys: [train.1, validation.1, heldout.1, mean.1],
                train: train.0,
                validation: validation.0,
                heldout: heldout.0,
                fit: mean.0,
                reduced: reductions.iter().map(|&reduce| (reduce, fit())).collect(),
            }
        })
        .collect())
}

/// What the engine is asked for; special tokens count where methods are fitted on them.
fn pooling(reduce: Reduce, special: bool) -> Pooling {
    match (reduce, special) {
        (Reduce::Mean, false) => Pooling::Mean,
        (Reduce::Mean, true) => Pooling::MeanAll,
        (Reduce::Max, false) => Pooling::Max,
        (Reduce::Max, true) => Pooling::MaxAll,
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
        Pooling::Last => "last",
        Pooling::Tokens => "tokens",
        Pooling::All => "tokens-all",
    }
}

/// States of some sentences in one pass over the weights, with their keys: those of the first hook point in every pooling,
/// then those of the next.
fn states_of(
    run: &mut Runner<'_>,
    model: &Model,
    digest: &str,
    hooks: &[Hook],
    name: &str,
    sentences: &[String],
    poolings: &[Pooling],
) -> Result<Vec<(Store, String)>, ExperimentError> {
    let device = describe(&run.plan.device);
    let mut captures = Vec::new();
    for &hook in hooks {
        captures.extend(poolings.iter().map(|&pooling| Capture { hook, pooling }));
    }
    let keys: Vec<String> = captures
        .iter()
        .map(|c| {
            let kind = kind(c.pooling);
            let inputs = (digest, c.hook.to_string(), kind, "f32", &device, sentences);
            Cache::key("states", &inputs)
        })
        .collect();
    let path = |run: &Runner<'_>, key: &str| run.cache.path("states", key, ".safetensors");
    let mut missing = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        if !run.has(&path(run, key))? {
            missing.push(at);
        }
    }
    run.stage(&format!("states of {name}"), missing.is_empty(), |run| {
        if !missing.is_empty() {
            let sequences = sentences
                .iter()
                .map(|s| model.sequence(s))
                .collect::<Result<Vec<Sequence>, _>>()?;
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

/// Parallel rows of a store, language after language.
pub struct Rows<'a> {
    store: &'a Store,
    languages: Vec<String>,
    twins: &'a [Vec<usize>],
}

impl<'a> Rows<'a> {
    /// A view of a store that holds the rows of these languages.
    pub fn new(store: &'a Store, languages: &[Language]) -> Self {
        Rows {
            store,
            languages: languages.iter().map(ToString::to_string).collect(),
            twins: &[],
        }
    }

    /// The same with the rows that belong together: for each row the others, or nothing at all.
    pub fn with_twins(self, twins: &'a [Vec<usize>]) -> Self {
        Rows { twins, ..self }
    }

    /// Token states of all rows of one language, and how many tokens each row has.
    pub fn tokens(&self, language: usize) -> Result<(Vec<f32>, Vec<usize>), ExperimentError> {
        self.first_tokens(language, self.rows())
    }

    /// The same of the first rows alone.
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

/// One vector per sentence of one language in a space: the mean over its tokens.
///
/// # Shapes
/// Result rows × dimension of the space, row-major.
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
        return spaces.enter(space, language, pool(&tokens, &lengths, rows.width()));
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
