//! Estimates roughly what a run needs, from the sizes of its model and text.
//!
//! Products of states with weights are counted, with two operations per weight and token, and divided by the measured
//! speed of this device. Other work is expressed as the number of product operations that take the same time. The
//! constants [`TRAINING`], [`FIT`], [`PROBE`] and [`DRAW`] were chosen so that the estimates for finished runs of the
//! testbed are right within a factor of two. Reading files is not counted.

use std::time::Instant;

use interlingua_backend::ops::{Matrix, linear};
use interlingua_backend::{Device, from_rows, to_host};
use interlingua_models::{Hook, Model, Residency};

use crate::ExperimentError;
use crate::check;
use crate::plan::{Plan, Setting};
use crate::prepare::Prepared;
use crate::spec::{ModelSpec, Spec};

/// How much longer a step of training an autoencoder takes than its products: losses, optimiser, small matrices.
const TRAINING: f64 = 2.5;

/// Passes over its examples that a fit makes per direction, as products: it iterates, in f64 on the host.
const FIT: f64 = 2000.0;

/// The same of a probe, over its sentences of one group.
const PROBE: f64 = 8000.0;

/// Operations of products that take as long as drawing one item in a bootstrap.
const DRAW: f64 = 1000.0;

/// The sizes of a model.
pub struct Size {
    /// The width of the states.
    pub width: usize,
    layers: usize,
    causal: bool,
    /// Weights of one block.
    block: f64,
    /// Weights of the vocabulary's matrix.
    head: f64,
    /// Bytes of all weights while it runs, resident and streamed.
    memory: [f64; 2],
}

impl Size {
    /// Returns the sizes of a model that is open.
    pub fn of_model(model: &Model) -> Size {
        let g = &model.geometry;
        let table = (g.vocab_size * g.hidden_size) as f64;
        let architecture = model.architecture();
        let own_head = architecture.head_table() != Some(architecture.embedding_table());
        let tables = table * if own_head { 2.0 } else { 1.0 };
        Size {
            width: g.hidden_size,
            layers: g.layers,
            causal: g.causal,
            block: (model.weights().parameters() as f64 - tables).max(0.0) / g.layers as f64,
            head: table,
            memory: [Residency::Resident, Residency::Stream]
                .map(|residency| model.weight_memory(residency) as f64),
        }
    }

    /// Returns the sizes of a model that the run trains or whose sizes the spec gives; `None` for other models.
    pub fn of_spec(model: &ModelSpec) -> Option<Size> {
        match model {
            ModelSpec::Train(t) => {
                let head = (t.vocab_size * t.hidden_size) as f64;
                let all = check::parameters(t) as f64;
                let block = (all - head) / t.layers as f64;
                Some(Size {
                    width: t.hidden_size,
                    layers: t.layers,
                    causal: true,
                    block,
                    head,
                    memory: [4.0 * all, 4.0 * (head + block)],
                })
            }
            ModelSpec::Hub { geometry: g, .. } => {
                let [d, m, heads, kv, vocab] = [
                    g.hidden_size,
                    g.intermediate_size,
                    g.heads,
                    g.kv_heads,
                    g.vocab_size,
                ]
                .map(|n| n as f64);
                let head_width = (d / heads).floor();
                let block = d
                    * (2.0 * heads * head_width
                        + 2.0 * kv * head_width
                        + g.mlp_matrices as f64 * m)
                    + d;
                let head = vocab * d;
                Some(Size {
                    width: g.hidden_size as usize,
                    layers: g.layers as usize,
                    causal: true,
                    block,
                    head,
                    memory: [4.0 * (block * g.layers as f64 + head), 4.0 * (head + block)],
                })
            }
            ModelSpec::Folder { .. } => None,
        }
    }

    /// Returns the number of bytes of weights that stay in memory.
    pub fn resident(&self) -> f64 {
        self.memory[0]
    }

    /// Returns the number of bytes in memory if weights are read block by block.
    pub fn streamed(&self) -> f64 {
        self.memory[1]
    }

    /// Operations that bring one token through some blocks.
    fn blocks(&self, blocks: usize) -> f64 {
        2.0 * self.block * blocks as f64
    }
}

/// The sentences for one purpose, counted.
pub struct Part {
    /// The purpose.
    pub name: &'static str,
    /// The number of sentences.
    pub sentences: usize,
    /// The number of tokens of all sentences, including start tokens.
    pub tokens: usize,
    /// The number of tokens of the longest sentence.
    pub longest: usize,
    /// Σ tokens² over the sentences: what a masked model reads of them, one copy per token.
    squares: usize,
    /// Share of the text that is left when what two sentences begin with in common is counted once, as a causal
    /// model reads it.
    distinct: f64,
}

impl Part {
    /// Tokens that a model reads of it when it scores.
    fn read(&self, causal: bool) -> f64 {
        match causal {
            true => self.tokens as f64 * self.distinct,
            false => self.squares as f64,
        }
    }
}

/// Share of the bytes of some texts that are left when common beginnings are counted once.
fn distinct(mut texts: Vec<&str>) -> f64 {
    let all: usize = texts.iter().map(|text| text.len()).sum();
    texts.sort_unstable();
    let common = |pair: &[&str]| {
        let both = pair[0].bytes().zip(pair[1].bytes());
        both.take_while(|(a, b)| a == b).count()
    };
    let common: usize = texts.windows(2).map(common).sum();
    match all {
        0 => 1.0,
        _ => (all - common) as f64 / all as f64,
    }
}

/// The text of a run, counted.
pub struct Tokens {
    train: Part,
    validation: Part,
    heldout: Part,
    fit: Part,
    pairs: Part,
    /// Held-out sentences of one language that the cost of an edit is measured on.
    neutral: Part,
    /// Texts of each task, their category if they have one, and whether they are scored.
    benchmarks: Vec<(Part, Option<String>, bool)>,
}

impl Tokens {
    /// Counts all text of a run.
    ///
    /// # Errors
    /// The errors of `count`.
    pub fn count(
        text: &Prepared,
        spec: &Spec,
        count: &dyn Fn(&str) -> Result<usize, ExperimentError>,
    ) -> Result<Tokens, ExperimentError> {
        fn part<'a>(
            name: &'static str,
            sentences: impl Iterator<Item = &'a String>,
            count: &dyn Fn(&str) -> Result<usize, ExperimentError>,
        ) -> Result<Part, ExperimentError> {
            let mut part = Part {
                name,
                sentences: 0,
                tokens: 0,
                longest: 0,
                squares: 0,
                distinct: 1.0,
            };
            let sentences: Vec<&String> = sentences.collect();
            part.distinct = distinct(sentences.iter().map(|s| s.as_str()).collect());
            for sentence in sentences {
                let tokens = count(sentence)?;
                part.sentences += 1;
                part.tokens += tokens;
                part.longest = part.longest.max(tokens);
                part.squares += tokens * tokens;
            }
            Ok(part)
        }
        let pairs = text.pairs.iter().flat_map(|p| [&p.more, &p.less]);
        let mut benchmarks = Vec::new();
        for benchmark in &text.benchmarks {
            let (texts, items) = (benchmark.items.texts(), &benchmark.items);
            let part = part(items.about().name, texts.iter(), count)?;
            let scored = items.about().needs != interlingua_tasks::Needs::States;
            benchmarks.push((part, benchmark.category.clone(), scored));
        }
        let neutral = text.heldout.columns[0].iter();
        Ok(Tokens {
            train: part("training rows", text.train.columns.iter().flatten(), count)?,
            validation: part(
                "validation rows",
                text.validation.columns.iter().flatten(),
                count,
            )?,
            heldout: part(
                "held-out rows",
                text.heldout.columns.iter().flatten(),
                count,
            )?,
            fit: part(
                "fit sentences",
                text.fit_sentences.iter().map(|s| &s.1),
                count,
            )?,
            pairs: part("pairs", pairs, count)?,
            neutral: part(
                "perplexity",
                neutral.take(spec.score.perplexity_sentences),
                count,
            )?,
            benchmarks,
        })
    }

    /// Returns all parts that are shown.
    pub fn parts(&self) -> [&Part; 5] {
        [
            &self.train,
            &self.validation,
            &self.heldout,
            &self.fit,
            &self.pairs,
        ]
    }
}

/// The work of one kind.
pub struct Work {
    /// The name of the work.
    pub name: &'static str,
    /// The number of operations.
    pub flops: f64,
}

/// The work, memory and disk space that a run needs.
pub struct Needs {
    /// The work by stage.
    pub work: Vec<Work>,
    /// The number of bytes of the states between two blocks in the largest pass.
    pub states: f64,
    /// The number of bytes that stay in the cache.
    pub disk: f64,
}

impl Needs {
    /// Estimates the needs of a plan.
    pub fn of(plan: &Plan, size: &Size, tokens: &Tokens) -> Needs {
        let spec = &plan.spec;
        let captured = [
            &tokens.train,
            &tokens.validation,
            &tokens.heldout,
            &tokens.fit,
        ];
        let captured_tokens: f64 = captured.iter().map(|p| p.tokens as f64).sum();
        let kept = (captured_tokens - tokens.fit.tokens as f64 + tokens.fit.sentences as f64)
            * plan.hooks.len() as f64;
        let cells = (spec.languages.len() * spec.categories.len()) as f64;
        // Tokens of one category and language: the pairs, and the sentences for perplexity. An encoder without a head
        // scores none.
        let per_cell = match spec.score.scorers.is_empty() {
            true => 0.0,
            false => tokens.pairs.read(size.causal) / cells + tokens.neutral.read(size.causal),
        };
        let first = &spec.categories[0];
        let settings: Vec<&Setting> = plan
            .settings
            .iter()
            .filter(|s| &s.category == first)
            .collect();
        let of_settings: f64 = settings.iter().map(|s| branch(s, size)).sum();
        let scoring = cells * per_cell * (size.blocks(size.layers) + of_settings);
        let forked = settings.iter().filter(|s| behind(s, size) > 0).count();
        let mut work = vec![
            Work {
                name: "states",
                flops: captured_tokens * size.blocks(size.layers),
            },
            Work {
                name: "autoencoders",
                flops: autoencoders(plan, size, tokens),
            },
            Work {
                name: "fits",
                flops: fits(plan, size, tokens),
            },
            Work {
                name: "scores",
                flops: scoring,
            },
            Work {
                name: "benchmarks",
                flops: benchmarks(plan, size, tokens),
            },
            Work {
                name: "probes",
                flops: probes(plan, size),
            },
            Work {
                name: "intervals",
                flops: intervals(plan, tokens),
            },
        ];
        let mut disk = kept * size.width as f64 * 4.0;
        if let ModelSpec::Train(t) = &spec.model {
            let per_sentence = tokens.fit.tokens as f64 / (tokens.fit.sentences as f64).max(1.0);
            let seen = (t.steps * t.batch) as f64 * per_sentence;
            let flops = 3.0 * seen * (size.blocks(t.layers) + 2.0 * size.head);
            work.insert(
                0,
                Work {
                    name: "language model",
                    flops,
                },
            );
            disk += 4.0 * check::parameters(t) as f64;
        }
        let widest = captured.iter().map(|p| p.tokens as f64).fold(0.0, f64::max);
        let states = widest.max(per_cell * (1 + forked) as f64) * size.width as f64 * 4.0;
        Needs {
            work,
            states: plan
                .options
                .memory
                .map_or(states, |most| states.min(most as f64)),
            disk,
        }
    }
}

/// Blocks behind the hook point of a setting: those that are computed again for it.
fn behind(setting: &Setting, size: &Size) -> usize {
    let behind = |name| match Hook::parse(name, size.layers) {
        Ok(Hook::EMBEDDING) => size.layers,
        Ok(hook) => match hook.block() {
            Some(l) if hook == Hook::output(l) => size.layers - l - 1,
            Some(l) => size.layers - l,
            None => 0,
        },
        Err(_) => 0,
    };
    let place = setting.hook.as_deref().unwrap_or_default();
    place.split('+').map(behind).max().unwrap_or(0)
}

/// What the benchmarks take: a pass of each under all settings of its category.
fn benchmarks(plan: &Plan, size: &Size, tokens: &Tokens) -> f64 {
    let all = tokens.benchmarks.iter();
    let of_one = |(part, category, scored): &(Part, Option<String>, bool)| {
        let judged = |s: &&Setting| category.as_ref().is_none_or(|c| c == &s.category);
        let settings = plan.settings.iter().filter(judged);
        let each = |s: &Setting| match scored {
            true => branch(s, size),
            false => size.blocks(behind(s, size)),
        };
        part.read(size.causal || !*scored)
            * (size.blocks(size.layers) + settings.map(each).sum::<f64>())
    };
    all.map(of_one).sum()
}

/// Operations per token that a setting adds: the blocks behind its hook point, and the vocabulary.
fn branch(setting: &Setting, size: &Size) -> f64 {
    // An edit of low rank of what the vocabulary's matrix reads costs its rank per logit, not the width.
    let low_rank = setting.hook.as_deref() == Some("final_norm")
        && setting.space.is_some_and(|space| !space.is_latent())
        && setting.rank().is_some_and(|rank| 8 * rank <= size.width)
        && size.causal;
    let share = match setting.rank() {
        Some(rank) if low_rank => rank as f64 / size.width as f64,
        _ => 1.0,
    };
    size.blocks(behind(setting, size)) + 2.0 * size.head * share
}

/// Operations of all autoencoders, if none stops early.
fn autoencoders(plan: &Plan, size: &Size, tokens: &Tokens) -> f64 {
    let a = &plan.spec.autoencoder;
    let inner = if a.hidden == 0 {
        size.width * a.latent
    } else {
        a.hidden * (size.width + a.latent)
    };
    let per_row = tokens.train.tokens as f64 / (tokens.train.sentences as f64).max(1.0)
        * plan.spec.languages.len() as f64;
    let trained = plan.spec.spaces.iter().filter(|s| s.is_latent()).count() * plan.hooks.len();
    TRAINING * 3.0 * 2.0 * (2 * inner) as f64 * per_row * (a.batch * a.steps * trained) as f64
}

/// What fitting all settings takes; those that differ in strength or re-insertion alone share a fit.
fn fits(plan: &Plan, size: &Size, tokens: &Tokens) -> f64 {
    let spec = &plan.spec;
    let cells = (spec.languages.len() * spec.categories.len()) as f64;
    let rows = tokens.fit.sentences as f64 / cells;
    let shared = (spec.strengths.values().len() * spec.reinsert.len()).max(1) as f64;
    let learned = plan.settings.iter().filter(|s| s.method.is_some());
    let directions: f64 = learned
        .map(|s| {
            let languages = s
                .fit_language
                .map_or(1, |on| on.languages(&spec.languages).len());
            (languages * s.rank().unwrap_or(1)) as f64
        })
        .sum();
    FIT * 2.0 * rows * size.width as f64 * directions / shared
}

/// What the probes take: one of each kind for every setting in every language.
fn probes(plan: &Plan, size: &Size) -> f64 {
    let spec = &plan.spec;
    let each = 2.0 * spec.probe.per_class as f64 * size.width as f64;
    let count = plan.settings.len() * spec.languages.len() * spec.probe.kinds.len();
    PROBE * each * count as f64
}

/// What intervals and tests take: a handful of numbers of every setting in every language, each resampled by itself, and
/// about as much again for means over languages and their differences.
fn intervals(plan: &Plan, tokens: &Tokens) -> f64 {
    let spec = &plan.spec;
    let cells = (spec.languages.len() * spec.categories.len()) as f64;
    let pairs = tokens.pairs.sentences as f64 / 2.0 / cells;
    let items =
        5.0 * pairs * spec.score.scorers.len() as f64 + 3.0 * tokens.neutral.sentences as f64;
    let measured = (plan.settings.len() * spec.languages.len()) as f64;
    DRAW * measured * items * spec.score.resamples as f64
}

/// Measures for a moment how many operations per second this device does in products as wide as the states.
pub fn speed(device: &Device, width: usize) -> f64 {
    let width = width.clamp(16, 2048);
    let rows = 1024;
    let states = from_rows(vec![0.5; rows * width], rows, width, device);
    let matrix = Matrix::new(from_rows(
        vec![0.25; 2 * width * width],
        2 * width,
        width,
        device,
    ));
    let once = || to_host(linear(states.clone(), &matrix));
    once();
    let start = Instant::now();
    let mut times = 0;
    while times < 1 || start.elapsed().as_secs_f64() < 0.2 {
        once();
        times += 1;
    }
    (times * 4 * rows * width * width) as f64 / start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::distinct;

    #[test]
    fn common_beginnings_are_counted_once() {
        assert_eq!(distinct(vec!["She works.", "He works."]), 1.0);
        // Nineteen bytes, of which four stand in both.
        assert_eq!(distinct(vec!["She sings", "She reads."]), 15.0 / 19.0);
        // The same text twice is read once.
        assert_eq!(distinct(vec!["abcd", "x", "abcd"]), 5.0 / 9.0);
        assert_eq!(distinct(Vec::new()), 1.0);
    }
}
