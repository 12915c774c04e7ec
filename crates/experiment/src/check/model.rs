//! Checks the model against the spec, before and after it is opened.

use std::path::Path;

use interlingua_autoencoder::sparse::{SparseError, Weights};
use interlingua_debias::Span;
use interlingua_edits::ModelShape;
use interlingua_models::architectures::Architecture;
use interlingua_models::masked::mask_token;
use interlingua_models::model::available_memory;
use interlingua_models::{Hook, Model};
use interlingua_tasks::{Needs, TaskSpec};

use crate::ExperimentError;
use crate::prepare::Prepared;
use crate::requests::check_scorers;
use crate::spec::{Extent, ModelSpec, Space, Spec, TrainSpec};

/// Checks the scorers and benchmarks against the model's `config.json`.
///
/// # Errors
/// The first key of the spec that cannot be used with this model.
pub fn architecture(spec: &Spec, architecture: &dyn Architecture) -> Result<(), ExperimentError> {
    let geometry = architecture.geometry();
    if architecture.head_table().is_none() {
        return headless(spec, &geometry.architecture);
    }
    check_scorers(&spec.score.scorers, geometry.causal)?;
    let causal = |task: &TaskSpec| task.about().needs.is_causal();
    if let (false, Some(at)) = (geometry.causal, spec.benchmarks.iter().position(causal)) {
        let about = spec.benchmarks[at].about();
        return Err(ExperimentError::plan(
            format!("benchmarks[{at}]"),
            format!(
                "{} asks for {}, which a masked model does not have",
                about.title, about.asks
            ),
        ));
    }
    Ok(())
}

/// Refuses what a model without an LM head cannot be asked.
fn headless(spec: &Spec, architecture: &str) -> Result<(), ExperimentError> {
    let asks = |task: &TaskSpec| task.about().needs != Needs::States;
    let (key, what) = if let Some(scorer) = spec.score.scorers.first() {
        ("score.scorers".to_owned(), format!("`{scorer}` reads"))
    } else if let Some(at) = spec.benchmarks.iter().position(asks) {
        (
            format!("benchmarks[{at}]"),
            "this benchmark reads".to_owned(),
        )
    } else {
        return Ok(());
    };
    let problem = format!(
        "`{architecture}` has no LM head, so it gives no probability of a sentence, which {what}; with scorers = [] and \
         perplexity_sentences = 0 it is judged by associations (SEAT), probes and alignment; or take the checkpoint with \
         its head (…ForCausalLM, …ForMaskedLM)"
    );
    Err(ExperimentError::plan(key, problem))
}

/// Checks the numbers that must not exceed the widths of the states at the hooks.
///
/// # Errors
/// A hook that the model lacks, a latent space that is wider than its states, or a rank or a number of units that is
/// too large for some space.
pub fn widths(
    spec: &Spec,
    hooks: &[String],
    shape: &ModelShape,
    model_dir: &Path,
) -> Result<(), ExperimentError> {
    for name in hooks {
        let plan = |problem: String| ExperimentError::plan("hook", problem);
        let hook = Hook::parse(name, shape.layers).map_err(|e| plan(e.to_string()))?;
        let width = shape.width(hook).map_err(|e| plan(e.to_string()))?;
        if spec.spaces.iter().any(|s| s.is_narrowed()) {
            spec.autoencoder.check(width)?;
        }
        let features = features(spec, name, width, model_dir)?;
        for (at, method) in spec.methods.iter().enumerate() {
            for &space in method.spaces.as_ref().unwrap_or(&spec.spaces) {
                let dim = match space {
                    Space::Sae => features,
                    space if space.is_narrowed() => spec.autoencoder.latent,
                    _ => width,
                };
                // Units of several hook points may be more than one of them has: the fit says so where they are too many.
                let together = method.span() != Span::Site;
                let large = |extent: &Extent| match *extent {
                    Extent::Rank(rank) => rank > dim,
                    Extent::Units(units) => units > dim && !together,
                    Extent::Vector => false,
                };
                let (key, number) = match method.extents().into_iter().find(large) {
                    None | Some(Extent::Vector) => continue,
                    Some(Extent::Rank(rank)) => ("rank", rank),
                    Some(Extent::Units(units)) => ("units", units),
                };
                let problem = format!(
                    "{number} is more than the {dim} dimensions of space `{}` at {name}",
                    space.name()
                );
                return Err(ExperimentError::plan(
                    format!("methods[{at}].{key}"),
                    problem,
                ));
            }
        }
    }
    Ok(())
}

/// How many features the sparse autoencoder has, if one is asked for; that of a file has to be of states as wide as those here.
fn features(
    spec: &Spec,
    hook: &str,
    width: usize,
    model_dir: &Path,
) -> Result<usize, ExperimentError> {
    let Some(file) = &spec.sae.file else {
        return Ok(spec.sae.train.features);
    };
    let path = model_dir.join(file);
    let wrong = |error: SparseError| ExperimentError::plan("sae.file", error.to_string());
    let (found, features) = Weights::peek(&path).map_err(wrong)?;
    match found == width {
        true => Ok(features),
        false => Err(wrong(SparseError::Width {
            path,
            hook: hook.to_owned(),
            found,
            expected: width,
        })),
    }
}

/// Checks that a model, its tokenizer and the text of the run are compatible.
///
/// # Errors
/// A start or mask token that scoring needs and the model does not have, a text with no tokens or with more than the
/// model can take, or a tokenizer that fails.
pub fn model(
    spec: &Spec,
    hooks: &[String],
    model_dir: &Path,
    model: &Model,
    text: &Prepared,
) -> Result<(), ExperimentError> {
    architecture(spec, model.architecture())?;
    widths(spec, hooks, &model.geometry.shape(), model_dir)?;
    if model.architecture().head_table().is_none() {
        // It masks nothing and scores nothing.
    } else if !model.geometry.causal {
        mask_token(model)?;
    } else if model.start_token().is_none() {
        return Err(ExperimentError::plan(
            "model",
            "it has neither a start nor an end token (bos_token, eos_token), so a sentence's first token \
             has no probability",
        ));
    }
    for pair in &text.pairs {
        let name = || format!("pair `{}` in {}", pair.id, pair.language);
        for sentence in [&pair.more, &pair.less] {
            takes(model, sentence, "data.pairs", name)?;
        }
    }
    for corpus in [&text.train, &text.validation, &text.heldout] {
        for (language, column) in corpus.languages.iter().zip(&corpus.columns) {
            for (id, sentence) in corpus.ids.iter().zip(column) {
                takes(model, sentence, "data.parallel", || {
                    format!("row `{id}` in {language}")
                })?;
            }
        }
    }
    for (language, sentence) in &text.fit_sentences {
        takes(model, sentence, "data.parallel", || {
            format!("a sentence in {language}, `{sentence}`,")
        })?;
    }
    Ok(())
}

/// Whether the model takes a text.
fn takes(
    model: &Model,
    sentence: &str,
    key: &str,
    name: impl Fn() -> String,
) -> Result<(), ExperimentError> {
    let sequence = model.sequence(sentence)?;
    let (tokens, most) = (sequence.tokens.len(), model.max_tokens());
    if tokens > most {
        return Err(ExperimentError::plan(
            key,
            format!(
                "{} has {tokens} tokens, the model takes {most}; take it out of the file",
                name()
            ),
        ));
    }
    if sequence.text().is_empty() {
        return Err(ExperimentError::plan(
            key,
            format!("{} has no token; take it out of the file", name()),
        ));
    }
    Ok(())
}

/// Checks that what the run trains fits into memory: weights, gradients and two moments in f32.
///
/// # Errors
/// A language model or an autoencoder that needs more memory than there is; the error gives both numbers.
pub fn memory(spec: &Spec, width: Option<usize>) -> Result<(), ExperimentError> {
    let Some(free) = available_memory() else {
        return Ok(());
    };
    let mut wanted = Vec::new();
    if let ModelSpec::Train(train) = &spec.model {
        wanted.push(("model", parameters(train)));
    }
    if let Some(width) = width
        && spec.spaces.iter().any(|s| s.is_latent())
    {
        let a = &spec.autoencoder;
        let inner = if a.hidden == 0 {
            width * a.latent
        } else {
            a.hidden * (width + a.latent)
        };
        wanted.push(("autoencoder.hidden", 2 * inner as u64));
    }
    if let Some(width) = width
        && spec.spaces.contains(&Space::Sae)
        && spec.sae.file.is_none()
    {
        let matrices = 2 * width as u64 * spec.sae.train.features as u64;
        wanted.push(("sae.train.features", matrices));
    }
    for (key, parameters) in wanted {
        let bytes = 16 * u128::from(parameters);
        if bytes > u128::from(free) {
            let gb = |bytes: f64| bytes / 1e9;
            return Err(ExperimentError::plan(
                key,
                format!(
                    "{:.1} million parameters take {:.1} GB to train, {:.1} GB of memory are free; make it smaller",
                    parameters as f64 / 1e6,
                    gb(bytes as f64),
                    gb(free as f64)
                ),
            ));
        }
    }
    Ok(())
}

/// Returns the number of parameters of a model that the run trains, at most.
pub fn parameters(train: &TrainSpec) -> u64 {
    train.geometry(1).parameters(train.vocab_size) as u64
}

/// Checks that run folders can be created in the output folder, without leaving anything there.
///
/// # Errors
/// A path that is a file, or a folder that cannot be written to.
pub fn writable(out: &Path) -> Result<(), ExperimentError> {
    let there = out
        .ancestors()
        .find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let folder = match there {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(ExperimentError::Io {
            path: folder.to_owned(),
            source: std::io::Error::new(
                std::io::ErrorKind::NotADirectory,
                "is not a folder; name another with --out",
            ),
        });
    }
    let trial = folder.join(format!(".interlingua-{}", std::process::id()));
    let made = std::fs::File::create_new(&trial).map_err(ExperimentError::io(folder));
    let _ = std::fs::remove_file(&trial);
    made.map(|_| ())
}
