//! Carries out a plan and writes its run folder.

use std::path::{Path, PathBuf};

use interlingua_data::Language;
use interlingua_models::Hook;
use serde_json::json;

use crate::ExperimentError;
use crate::cache::{Cache, write_if_other};
use crate::check;
use crate::measure::{self, Blank};
use crate::plan::Plan;
use crate::products::{Answers, Numbers, Opened};
use crate::progress::{Event, Listener};
use crate::report::RunInfo;
use crate::row::Row;
use crate::spec::{DataSpec, ModelSpec};
use crate::stages::{self, Edited, Rows, Runner};
use crate::write;

/// The result of a run.
pub struct Outcome {
    /// The path of the run folder.
    pub folder: PathBuf,
    /// All rows.
    pub rows: Vec<Row>,
    /// The facts about the run for the report.
    pub info: RunInfo,
}

/// Carries out a plan.
///
/// # Errors
/// Everything that stops a stage; finished stages stay in the cache.
pub fn run(plan: &Plan, listener: Listener<'_>) -> Result<Outcome, ExperimentError> {
    let folder = begin(plan)?;
    let mut run = Runner {
        plan,
        cache: Cache::open(&plan.options.out.join("cache"))?,
        listener,
        timings: Vec::new(),
    };
    let opened = open(&mut run)?;
    let edited = edit(&mut run, &opened, &folder)?;
    let answers = ask(&mut run, &opened, &edited)?;
    let blank = Blank {
        plan,
        model: match &plan.spec.model {
            ModelSpec::Train(_) => "testbed-lm".to_owned(),
            ModelSpec::Folder { path, .. } => path.clone(),
            ModelSpec::Hub { name, .. } => name.clone(),
        },
        benchmark: opened.text.benchmark.clone(),
        cost: match opened.model.geometry.causal {
            true => "perplexity",
            false => "pseudo_perplexity",
        },
    };
    let key = Cache::key("rows", &(&edited.upstream, &plan.spec, &plan.settings));
    let cached = run.load::<Numbers>("rows", &key)?;
    let found = cached.is_some();
    let numbers = run.stage("intervals and tests", found, |run| match cached {
        Some(cached) => Ok(cached),
        None => {
            let numbers = numbers(run, &blank, &opened, &edited, &answers)?;
            run.cache.store("rows", &key, &numbers)?;
            Ok(numbers)
        }
    })?;
    let (rows, info) = write::folder(&mut run, &folder, &blank, &opened, &answers, numbers)?;
    Ok(Outcome { folder, rows, info })
}

/// Makes the run folder and writes what is known before anything is computed.
fn begin(plan: &Plan) -> Result<PathBuf, ExperimentError> {
    let spec = serde_json::to_value(&plan.spec).expect("a spec is plain data");
    let hash = Cache::key("run", &spec)[..8].to_owned();
    let folder = plan.options.out.join(format!("{}-{hash}", plan.spec.name));
    std::fs::create_dir_all(&folder).map_err(ExperimentError::io(&folder))?;
    // What killed runs left half-done here; the cache is swept when it is opened.
    for part in ["", "tables", "plots"] {
        let part = folder.join(part);
        if part.is_dir() {
            interlingua_files::sweep(&part).map_err(ExperimentError::io(&part))?;
        }
    }
    let typed = toml::to_string(&plan.spec).expect("a spec came from TOML");
    write_if_other(&folder.join("spec.toml"), typed.as_bytes())?;
    let resolved = json!({"spec": spec, "settings": plan.settings});
    write_if_other(
        &folder.join("plan.json"),
        format!("{resolved:#}\n").as_bytes(),
    )?;
    Ok(folder)
}

/// Reads the text, opens the model, and makes its states and spaces.
fn open(run: &mut Runner<'_>) -> Result<Opened, ExperimentError> {
    let plan = run.plan;
    let (text, text_key) = stages::prepare_stage(run)?;
    check::text(&plan.spec, &text)?;
    let (model, digest, source) = stages::model_stage(run)?;
    // The model that the run has just trained on this text fits it.
    if plan.model.is_some() {
        let model_dir = &plan.options.model_dir;
        check::model(&plan.spec, &plan.hooks, model_dir, &model, &text)?;
    }
    let captured = stages::states_stage(run, &model, &digest, &text)?;
    let (sites, autoencoders) = stages::spaces_stage(run, &captured, &text.twins)?;
    Ok(Opened {
        text,
        text_key,
        model,
        digest,
        source,
        captured,
        sites,
        autoencoders,
    })
}

/// Fits the edits of every setting and writes them into the run folder.
fn edit<'a>(
    run: &mut Runner<'_>,
    opened: &'a Opened,
    folder: &Path,
) -> Result<Edited<'a>, ExperimentError> {
    let plan = run.plan;
    let model = &opened.model;
    let state_keys: Vec<&[String; 4]> = opened.captured.iter().map(|site| &site.keys).collect();
    let upstream = (
        &opened.text_key,
        &opened.digest,
        &state_keys,
        &opened.autoencoders,
        &plan.hooks,
        &plan.spec.special_tokens,
    );
    let upstream = Cache::key("upstream", &upstream);
    let passes = stages::Passes {
        plan,
        model,
        spaces: &opened.sites,
    };
    let from = stages::Material {
        text: &opened.text,
        captured: &opened.captured,
        spaces: &opened.sites,
        again: &|site, reduce, sentences, earlier| passes.again(site, reduce, sentences, earlier),
        weights: &|site, beside| passes.weights(site, beside),
    };
    let shape = model.geometry.shape();
    let fits = stages::fit_stage(run, &shape, &from)?;
    stages::write_interventions(plan, &shape, &fits, &folder.join("interventions"))?;
    let device = interlingua_backend::device::describe(&plan.device);
    let hooks = plan.hooks.iter();
    Ok(Edited {
        model,
        model_key: Cache::key("model", &(&opened.digest, device)),
        hooks: hooks
            .map(|hook| Hook::parse(hook, model.geometry.layers))
            .collect::<Result<_, _>>()?,
        sites: opened.sites.clone(),
        edits: fits.edits,
        upstream,
    })
}

/// Asks the model, under every setting, for all that the plan measures.
fn ask<'a>(
    run: &mut Runner<'_>,
    opened: &'a Opened,
    edited: &Edited<'_>,
) -> Result<Answers<'a>, ExperimentError> {
    let spec = &run.plan.spec;
    let text = &opened.text;
    let mut answers = Answers::default();
    for category in &spec.categories {
        for (at, &language) in spec.languages.iter().enumerate() {
            let pairs = text.pairs_of(category, language);
            let neutral = &text.heldout.columns[at];
            let neutral = &neutral[..spec.score.perplexity_sentences.min(neutral.len())];
            let scores = stages::score_stage(run, edited, category, language, &pairs, neutral)?;
            answers.scored.push((category.clone(), language, scores));
            let found =
                stages::probe_stage(run, edited, &opened.captured, text, category, language)?;
            if found.is_empty() && !spec.probe.kinds.is_empty() {
                (run.listener)(Event::Note(format!(
                    "{category} in {language}: too few sentences with its words are left for probes"
                )));
            }
            answers.probed.push((language, found));
        }
    }
    for category in &spec.categories {
        let found = stages::retrieval_stage(run, edited, text, category)?;
        answers.retrieved.extend(found);
    }
    for benchmark in &text.benchmarks {
        let found = stages::benchmark_stage(run, edited, benchmark)?;
        answers.judged.push((benchmark, found));
    }
    Ok(answers)
}

/// Makes the rows of the answers.
fn numbers(
    run: &mut Runner<'_>,
    blank: &Blank<'_>,
    opened: &Opened,
    edited: &Edited<'_>,
    answers: &Answers<'_>,
) -> Result<Numbers, ExperimentError> {
    let (plan, text, scored) = (run.plan, &opened.text, &answers.scored);
    let mut rows = Vec::new();
    let total = scored.len() + 1;
    for (at, (category, language, scores)) in scored.iter().enumerate() {
        let pairs = text.pairs_of(category, *language);
        measure::bias_rows(blank, *language, &pairs, scores, &mut rows)?;
        (run.listener)(Event::Progress {
            done: at + 1,
            total,
            note: format!("{category} in {language}"),
        });
    }
    measure::correct(&mut rows)?;
    measure::transfer_rows(blank, text, scored, &mut rows)?;
    let mut choices = measure::choice_rows(blank, text, scored, &mut rows)?;
    let judged = &answers.judged;
    choices.extend(measure::search_rows(blank, scored, judged, &mut rows)?);
    for (language, found) in &answers.probed {
        measure::probe_rows(blank, *language, found, &mut rows);
    }
    measure::retrieval_rows(blank, &answers.retrieved, &mut rows);
    let to = stages::judging(plan, opened.model.geometry.causal);
    measure::benchmark_rows(blank, &answers.judged, &to, &mut rows)?;
    measure::cosine_rows(blank, edited, &opened.captured, &mut rows)?;
    let mut projections = Vec::new();
    for (at, site) in opened.captured.iter().enumerate() {
        let Some(parallel) = &site.rows else {
            continue;
        };
        let heldout = Rows::new(&parallel.heldout, &plan.spec.languages);
        let (hook, spaces) = (&plan.hooks[at], &edited.sites[at]);
        // The pages show one plane per space: that of the last hook point.
        projections = measure::alignment_rows(blank, hook, spaces, &heldout, &mut rows)?;
        measure::reconstruction_rows(blank, hook, spaces, &heldout, &mut rows)?;
    }
    if matches!(plan.spec.data, DataSpec::Testbed { .. }) {
        let tokens = tokens(plan, opened)?;
        measure::truth_rows(blank, text, scored, &tokens, &mut rows)?;
    }
    Ok((rows, projections, choices))
}

/// Returns the number of tokens of the held-out text that perplexity is measured on, in each language.
fn tokens(plan: &Plan, opened: &Opened) -> Result<Vec<(Language, f64)>, ExperimentError> {
    let most = plan.spec.score.perplexity_sentences;
    let mut tokens = Vec::new();
    for (&language, column) in plan.spec.languages.iter().zip(&opened.text.heldout.columns) {
        let mut count = 0;
        for sentence in column.iter().take(most) {
            count += opened.model.tokenizer.encode(sentence)?.len();
        }
        tokens.push((language, count as f64));
    }
    Ok(tokens)
}
