//! Carries out a plan and writes its run folder.

use std::path::PathBuf;

use interlingua_models::Hook;
use interlingua_models::hub::Source;
use interlingua_training::git_commit;
use serde_json::json;

use crate::ExperimentError;
use crate::benchmarks;
use crate::cache::{Cache, write_atomically, write_if_other};
use crate::check;
use crate::measure::{self, Blank};
use crate::plan::Plan;
use crate::progress::{Event, Listener};
use crate::report::{self, RunInfo, StageTiming};
use crate::row::{Item, Row};
use crate::spec::{DataSpec, ModelSpec};
use crate::stages::{self, Edited, Rows, Runner, Timing};

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
    let spec_json = serde_json::to_value(&plan.spec).expect("a spec is plain data");
    let hash = Cache::key("run", &spec_json)[..8].to_owned();
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
    let resolved = json!({"spec": spec_json, "settings": plan.settings});
    write_if_other(
        &folder.join("plan.json"),
        format!("{resolved:#}\n").as_bytes(),
    )?;

    let mut run = Runner {
        plan,
        cache: Cache::open(&plan.options.out.join("cache"))?,
        listener,
        timings: Vec::new(),
    };
    let (text, text_key) = stages::prepare_stage(&mut run)?;
    check::text(&plan.spec, &text)?;
    let (model, model_digest, source) = stages::model_stage(&mut run)?;
    // The model that the run has just trained on this text fits it.
    if plan.model.is_some() {
        check::model(&plan.spec, &plan.hooks, &model, &text)?;
    }
    let captured = stages::states_stage(&mut run, &model, &model_digest, &text)?;
    let (sites, autoencoder_keys) = stages::spaces_stage(&mut run, &captured, &text.twins)?;
    let state_keys: Vec<&[String; 4]> = captured.iter().map(|site| &site.keys).collect();
    let upstream = Cache::key(
        "upstream",
        &(
            &text_key,
            &model_digest,
            &state_keys,
            &autoencoder_keys,
            &plan.hooks,
            &plan.spec.special_tokens,
        ),
    );
    let shape = model.geometry.shape();
    let fits = {
        let passes = stages::Passes {
            plan,
            model: &model,
            spaces: &sites,
        };
        let from = stages::Material {
            text: &text,
            captured: &captured,
            spaces: &sites,
            again: &|site, reduce, sentences, earlier| {
                passes.again(site, reduce, sentences, earlier)
            },
        };
        stages::fit_stage(&mut run, &shape, &from)?
    };
    stages::write_interventions(plan, &shape, &fits, &folder.join("interventions"))?;
    let edited = Edited {
        model: &model,
        model_key: Cache::key(
            "model",
            &(
                &model_digest,
                interlingua_backend::device::describe(&plan.device),
            ),
        ),
        hooks: plan
            .hooks
            .iter()
            .map(|hook| Hook::parse(hook, model.geometry.layers))
            .collect::<Result<_, _>>()?,
        sites,
        edits: fits.edits,
        upstream,
    };

    let model_name = match &plan.spec.model {
        ModelSpec::Train(_) => "testbed-lm".to_owned(),
        ModelSpec::Folder { path, .. } => path.clone(),
        ModelSpec::Hub { name, .. } => name.clone(),
    };
    let blank = Blank {
        plan,
        model: model_name,
        benchmark: text.benchmark.clone(),
        cost: if model.geometry.causal {
            "perplexity"
        } else {
            "pseudo_perplexity"
        },
    };
    let mut scored = Vec::new();
    let mut probed = Vec::new();
    for category in &plan.spec.categories {
        for (at, &language) in plan.spec.languages.iter().enumerate() {
            let pairs = text.pairs_of(category, language);
            let neutral = &text.heldout.columns[at];
            let neutral = &neutral[..plan.spec.score.perplexity_sentences.min(neutral.len())];
            let scores =
                stages::score_stage(&mut run, &edited, category, language, &pairs, neutral)?;
            scored.push((category.clone(), language, scores));
            let found =
                stages::probe_stage(&mut run, &edited, &captured, &text, category, language)?;
            if found.is_empty() && !plan.spec.probe.kinds.is_empty() {
                (run.listener)(Event::Note(format!(
                    "{category} in {language}: too few sentences with its words are left for probes"
                )));
            }
            probed.push((language, found));
        }
    }

    let mut retrieved = Vec::new();
    for category in &plan.spec.categories {
        retrieved.extend(stages::retrieval_stage(&mut run, &edited, &text, category)?);
    }
    let mut judged = Vec::new();
    for benchmark in &text.benchmarks {
        let found = stages::benchmark_stage(&mut run, &edited, benchmark)?;
        judged.push((benchmark, found));
    }
    let key = Cache::key("rows", &(&edited.upstream, &plan.spec, &plan.settings));
    let cached = run.load::<(Vec<Row>, Vec<report::Projection>, Vec<String>)>("rows", &key)?;
    let found = cached.is_some();
    let (rows, projections, choices) = run.stage("intervals and tests", found, |run| {
        if let Some(cached) = cached {
            return Ok(cached);
        }
        let mut rows = Vec::new();
        let total = scored.len() + 1;
        for (at, (category, language, scores)) in scored.iter().enumerate() {
            measure::bias_rows(
                &blank,
                *language,
                &text.pairs_of(category, *language),
                scores,
                &mut rows,
            )?;
            (run.listener)(Event::Progress {
                done: at + 1,
                total,
                note: format!("{category} in {language}"),
            });
        }
        measure::correct(&mut rows)?;
        measure::transfer_rows(&blank, &text, &scored, &mut rows)?;
        let choices = measure::choice_rows(&blank, &text, &scored, &mut rows)?;
        for (language, found) in &probed {
            measure::probe_rows(&blank, *language, found, &mut rows);
        }
        measure::retrieval_rows(&blank, &retrieved, &mut rows);
        let to = stages::judging(plan, model.geometry.causal);
        measure::benchmark_rows(&blank, &judged, &to, &mut rows)?;
        measure::cosine_rows(&blank, &edited, &captured, &mut rows)?;
        let mut projections = Vec::new();
        for (at, site) in captured.iter().enumerate() {
            let Some(parallel) = &site.rows else {
                continue;
            };
            let heldout = Rows::new(&parallel.heldout, &plan.spec.languages);
            let (hook, spaces) = (&plan.hooks[at], &edited.sites[at]);
            let found = measure::alignment_rows(&blank, hook, spaces, &heldout, &mut rows)?;
            // The pages show one plane per space: that of the last hook point.
            projections = found;
            measure::reconstruction_rows(&blank, hook, spaces, &heldout, &mut rows)?;
        }
        if matches!(plan.spec.data, DataSpec::Testbed { .. }) {
            let mut tokens = Vec::new();
            for (at, &language) in plan.spec.languages.iter().enumerate() {
                let mut count = 0;
                for sentence in text.heldout.columns[at]
                    .iter()
                    .take(plan.spec.score.perplexity_sentences)
                {
                    count += model.tokenizer.encode(sentence)?.len();
                }
                tokens.push((language, count as f64));
            }
            measure::truth_rows(&blank, &text, &scored, &tokens, &mut rows)?;
        }
        run.cache
            .store("rows", &key, &(&rows, &projections, &choices))?;
        Ok((rows, projections, choices))
    })?;

    let mut findings = text.findings.clone();
    findings.extend(choices);
    let mut info = info(
        plan,
        &model,
        &model_digest,
        source.as_ref(),
        &text_key,
        autoencoder_keys,
        projections,
        &findings,
        &run.timings,
    )?;
    for (category, language, _) in &scored {
        let pairs = text.pairs_of(category, *language);
        info.pairs.extend(pairs.iter().map(|pair| report::PairText {
            id: pair.id.clone(),
            category: pair.category.clone(),
            language: language.to_string(),
            more: pair.more.clone(),
            less: pair.less.clone(),
        }));
    }
    info.benchmarks = benchmarks::names(&text.benchmarks);
    let start = std::time::Instant::now();
    (run.listener)(Event::Stage {
        name: "write report".into(),
        cached: false,
    });
    let items: Vec<Item> = scored
        .iter()
        .flat_map(|(category, language, scores)| {
            measure::items(
                &blank,
                *language,
                &text.pairs_of(category, *language),
                scores,
            )
        })
        .collect();
    let answers = measure::answers(&blank, &judged);
    report::write_all(&folder, &info, &rows, &items, &answers)?;
    let manifest = json!({
        "experiment": plan.spec.name,
        "command": plan.options.command,
        "versions": {"interlingua": env!("CARGO_PKG_VERSION"), "burn": "0.21.0"},
        "device": interlingua_backend::device::describe(&plan.device),
        "model": origin(source.as_ref()),
        "dequantised_from": model.quantised(),
        "digests": info.digests,
        "commit": git_commit(),
        "processor": {
            "architecture": std::env::consts::ARCH,
            "features": interlingua_backend::device::cpu_features(),
            "threads": interlingua_backend::device::threads(),
        },
        "seed": plan.spec.seed,
        // Every stage draws from streams of this one; a random edit's also from the place of its category.
        "seeds": {
            "text": plan.spec.seed,
            "language model": plan.spec.seed,
            "autoencoder": plan.spec.seed,
            "methods": plan.spec.seed,
            "probes": plan.spec.seed,
            "intervals": plan.spec.seed,
        },
    });
    write_atomically(
        &folder.join("manifest.json"),
        format!("{manifest:#}\n").as_bytes(),
    )?;
    let line = |timing| format!("{}\n", serde_json::to_value(timing).expect("plain data"));
    let log: String = run.timings.iter().map(line).collect();
    write_atomically(&folder.join("log.jsonl"), log.as_bytes())?;
    (run.listener)(Event::Done {
        seconds: start.elapsed().as_secs_f64(),
    });
    Ok(Outcome { folder, rows, info })
}

#[allow(clippy::too_many_arguments)]
fn info(
    plan: &Plan,
    model: &interlingua_models::Model,
    model_digest: &str,
    source: Option<&Source>,
    text_key: &str,
    autoencoder_keys: Vec<(String, String)>,
    projections: Vec<report::Projection>,
    findings: &[String],
    timings: &[Timing],
) -> Result<RunInfo, ExperimentError> {
    let spec = &plan.spec;
    let synthetic = matches!(spec.data, DataSpec::Testbed { .. });
    let c = &model.geometry;
    let mut settings = vec![
        (
            "Interlingua".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("burn".to_owned(), "0.21.0".to_owned()),
        (
            "device".to_owned(),
            interlingua_backend::device::describe(&plan.device),
        ),
        ("seed".to_owned(), spec.seed.to_string()),
        ("hook point".to_owned(), plan.places_in_words()),
        (
            "autoencoder".to_owned(),
            serde_json::to_string(&spec.autoencoder).expect("plain data"),
        ),
        ("scorers".to_owned(), spec.score.scorers.join(", ")),
        (
            "bootstrap resamples".to_owned(),
            spec.score.resamples.to_string(),
        ),
        (
            "residency".to_owned(),
            format!("{:?}", model.residency).to_lowercase(),
        ),
        ("precision".to_owned(), model.precision().to_string()),
    ];
    if let Some(Source::Hub { repo, commit, .. }) = source {
        settings.push(("model from the hub".to_owned(), format!("{repo}@{commit}")));
    }
    if let Some(commit) = git_commit() {
        settings.insert(1, ("git commit".to_owned(), commit));
    }
    let mut digests = vec![
        ("model".to_owned(), model_digest.to_owned()),
        ("text".to_owned(), text_key.to_owned()),
    ];
    digests.extend(stages::data_digests(plan)?);
    digests.extend(autoencoder_keys);
    // A snapshot's folder has the name of its commit, which tells nobody which model it is.
    let name = match source {
        Some(Source::Hub { repo, .. }) => repo.clone(),
        _ => model
            .folder
            .file_name()
            .map(|f| f.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    let mut caveats = spec.caveats.clone();
    caveats.extend(model.caveat());
    caveats.extend(findings.iter().cloned());
    Ok(RunInfo {
        title: spec.title.clone(),
        experiment: spec.name.clone(),
        description: spec.description.clone(),
        synthetic,
        notice: if synthetic {
            "Synthetic testbed: all sentences come from a grammar written for this project, with planted, arbitrary associations. \
             The numbers say how well methods work where the truth is known; they say nothing about any real model or group."
                .into()
        } else {
            String::new()
        },
        model: format!(
            "{}{}: {} blocks × {}, {} heads, vocabulary {}, {:.2} million parameters",
            name,
            model
                .quantised()
                .map_or_else(String::new, |kind| format!(", dequantised from {kind}")),
            c.layers,
            c.hidden_size,
            c.heads,
            c.vocab_size,
            model.weights().parameters() as f64 / 1e6
        ),
        settings,
        digests,
        timings: timings
            .iter()
            .map(|timing| StageTiming {
                name: timing.stage.clone(),
                seconds: timing.seconds,
                cached: timing.cached,
            })
            .collect(),
        caveats,
        languages: spec.languages.iter().map(ToString::to_string).collect(),
        categories: spec.categories.clone(),
        methods: spec.methods.iter().map(|m| m.name.clone()).collect(),
        benchmarks: Vec::new(),
        projections,
        pairs: Vec::new(),
    })
}

/// Where the model came from, for the manifest.
fn origin(source: Option<&Source>) -> serde_json::Value {
    match source {
        None => json!({"source": "trained in the run"}),
        Some(Source::Local) => json!({"source": "folder"}),
        Some(Source::Hub {
            repo,
            revision,
            commit,
        }) => json!({"source": "hub", "repo": repo, "revision": revision, "commit": commit}),
    }
}
