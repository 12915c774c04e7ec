//! Writes the run folder: rows, tables, plots, pages, and how they came about.

use std::path::Path;
use std::time::Instant;

use interlingua_models::hub::Source;
use interlingua_training::git_commit;
use serde_json::{Value, json};

use crate::ExperimentError;
use crate::benchmarks;
use crate::cache::write_atomically;
use crate::measure::{self, Blank};
use crate::plan::Plan;
use crate::products::{Answers, Numbers, Opened};
use crate::progress::Event;
use crate::report::{self, RunInfo, StageTiming};
use crate::row::{Item, Row};
use crate::spec::DataSpec;
use crate::stages::{self, Runner};

/// What every page of a run on the testbed says.
const SYNTHETIC: &str = "Synthetic testbed: all sentences come from a grammar written for this project, with planted, arbitrary associations. \
     The numbers say how well methods work where the truth is known; they say nothing about any real model or group.";

/// Writes all files of a run that are made of its numbers.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn folder(
    run: &mut Runner<'_>,
    folder: &Path,
    blank: &Blank<'_>,
    opened: &Opened,
    answers: &Answers<'_>,
    (rows, projections, choices): Numbers,
) -> Result<(Vec<Row>, RunInfo), ExperimentError> {
    let text = &opened.text;
    let info = RunInfo {
        projections,
        pairs: pairs(opened, answers),
        benchmarks: benchmarks::names(&text.benchmarks),
        ..info(run, opened, choices)?
    };
    let start = Instant::now();
    (run.listener)(Event::Stage {
        name: "write report".into(),
        cached: false,
    });
    let items: Vec<Item> = answers
        .scored
        .iter()
        .flat_map(|(category, language, scores)| {
            measure::items(
                blank,
                *language,
                &text.pairs_of(category, *language),
                scores,
            )
        })
        .collect();
    let kept = measure::answers(blank, &answers.judged);
    report::write_all(folder, &info, &rows, &items, &kept)?;
    let manifest = manifest(run.plan, opened, &info);
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
    Ok((rows, info))
}

/// Returns the sentences of all pairs that were scored.
fn pairs(opened: &Opened, answers: &Answers<'_>) -> Vec<report::PairText> {
    let mut all = Vec::new();
    for (category, language, _) in &answers.scored {
        let pairs = opened.text.pairs_of(category, *language);
        all.extend(pairs.iter().map(|pair| report::PairText {
            id: pair.id.clone(),
            category: pair.category.clone(),
            language: language.to_string(),
            more: pair.more.clone(),
            less: pair.less.clone(),
        }));
    }
    all
}

/// Returns what the pages say besides the rows; `choices` are sentences on how operating points were chosen.
fn info(
    run: &Runner<'_>,
    opened: &Opened,
    choices: Vec<String>,
) -> Result<RunInfo, ExperimentError> {
    let spec = &run.plan.spec;
    let synthetic = matches!(spec.data, DataSpec::Testbed { .. });
    let mut digests = vec![
        ("model".to_owned(), opened.digest.clone()),
        ("text".to_owned(), opened.text_key.clone()),
    ];
    digests.extend(stages::data_digests(run.plan)?);
    digests.extend(opened.autoencoders.iter().cloned());
    let mut caveats = spec.caveats.clone();
    caveats.extend(opened.model.caveat());
    caveats.extend(opened.text.findings.iter().cloned());
    caveats.extend(choices);
    let timings = run.timings.iter().map(|timing| StageTiming {
        name: timing.stage.clone(),
        seconds: timing.seconds,
        cached: timing.cached,
    });
    Ok(RunInfo {
        title: spec.title.clone(),
        experiment: spec.name.clone(),
        description: spec.description.clone(),
        synthetic,
        notice: match synthetic {
            true => SYNTHETIC.to_owned(),
            false => String::new(),
        },
        model: model(opened),
        settings: settings(run.plan, opened),
        digests,
        timings: timings.collect(),
        caveats,
        languages: spec.languages.iter().map(ToString::to_string).collect(),
        categories: spec.categories.clone(),
        methods: spec.methods.iter().map(|m| m.name.clone()).collect(),
        benchmarks: Vec::new(),
        projections: Vec::new(),
        pairs: Vec::new(),
    })
}

/// Returns the name and the sizes of the model, in words.
fn model(opened: &Opened) -> String {
    let model = &opened.model;
    let c = &model.geometry;
    // A snapshot's folder has the name of its commit, which tells nobody which model it is.
    let name = match &opened.source {
        Some(Source::Hub { repo, .. }) => repo.clone(),
        _ => model
            .folder
            .file_name()
            .map(|f| f.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    format!(
        "{name}{}: {} blocks × {}, {} heads, vocabulary {}, {:.2} million parameters",
        model
            .quantised()
            .map_or_else(String::new, |kind| format!(", dequantised from {kind}")),
        c.layers,
        c.hidden_size,
        c.heads,
        c.vocab_size,
        model.weights().parameters() as f64 / 1e6
    )
}

/// Returns the settings that the pages list, by name.
fn settings(plan: &Plan, opened: &Opened) -> Vec<(String, String)> {
    let (spec, model) = (&plan.spec, &opened.model);
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
    if let Some(Source::Hub { repo, commit, .. }) = &opened.source {
        settings.push(("model from the hub".to_owned(), format!("{repo}@{commit}")));
    }
    if let Some(commit) = git_commit() {
        settings.insert(1, ("git commit".to_owned(), commit));
    }
    settings
}

/// Returns what made the run: command, versions, device, model, digests, seeds.
fn manifest(plan: &Plan, opened: &Opened, info: &RunInfo) -> Value {
    let seed = plan.spec.seed;
    json!({
        "experiment": plan.spec.name,
        "command": plan.options.command,
        "versions": {"interlingua": env!("CARGO_PKG_VERSION"), "burn": "0.21.0"},
        "device": interlingua_backend::device::describe(&plan.device),
        "model": origin(opened.source.as_ref()),
        "dequantised_from": opened.model.quantised(),
        "digests": info.digests,
        "commit": git_commit(),
        "processor": {
            "architecture": std::env::consts::ARCH,
            "features": interlingua_backend::device::cpu_features(),
            "threads": interlingua_backend::device::threads(),
        },
        "seed": seed,
        // Every stage draws from streams of this one; a random edit's also from the place of its category.
        "seeds": {
            "text": seed,
            "language model": seed,
            "autoencoder": seed,
            "methods": seed,
            "probes": seed,
            "intervals": seed,
        },
    })
}

/// Where the model came from, for the manifest.
fn origin(source: Option<&Source>) -> Value {
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
