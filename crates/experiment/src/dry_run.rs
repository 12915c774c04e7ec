//! Implements `--dry-run`: every check of a run, and an estimate of what the run needs, without keeping anything.

use std::fmt::Write;
use std::path::PathBuf;

use interlingua_backend::device::cpu;
use interlingua_models::hub::{self, HubOptions, Place};
use interlingua_models::model::available_memory;
use interlingua_models::{Model, Residency};

use crate::ExperimentError;
use crate::check;
use crate::estimate::{Needs, Size, Tokens};
use crate::plan::{Options, Plan, place};
use crate::prepare::{Prepared, prepare};
use crate::spec::{DataSpec, ModelSpec, Spec};

/// Describes in words what a run would need. Each fact is added to `out` as it is found.
///
/// The hub is asked for its list of files; if it does not answer, the description says so.
///
/// # Errors
/// Everything that would stop the run and can be known before anything is computed.
pub fn dry_run(spec: &Spec, options: &Options, out: &mut String) -> Result<(), ExperimentError> {
    check::spec(spec)?;
    let _ = writeln!(out, "{} — {}", spec.name, spec.title);
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "  {key:<11} {value}");
    };
    line("device", &options.device.to_string());
    let languages: Vec<String> = spec.languages.iter().map(ToString::to_string).collect();
    line("languages", &languages.join(", "));
    line("categories", &spec.categories.join(", "));
    let at_hand = at_hand(&spec.model, options)?;
    line("model", &at_hand.said);
    data(spec, options, out);

    check::writable(&options.out)?;
    let plan = Plan::new(spec.clone(), options.clone())?;
    let _ = writeln!(out, "  hook point  {}", plan.places_in_words());
    let _ = writeln!(
        out,
        "  settings    {} (methods × fit languages × spaces × categories, with controls)",
        plan.settings.len()
    );
    let text = prepare(spec, &options.data_dir)?;
    check::text(spec, &text)?;
    for finding in &text.findings {
        let _ = writeln!(out, "  note        {finding}");
    }
    let (tokens, size) = match &at_hand.folder {
        Some(folder) => {
            let model =
                Model::open(folder, &cpu(), Residency::Stream)?.with_prefix(spec.model.prefix());
            let model_dir = &plan.options.model_dir;
            check::model(&plan.spec, &plan.hooks, model_dir, &model, &text)?;
            let count = |text: &str| Ok(model.sequence(text)?.tokens.len());
            (
                Tokens::count(&text, spec, &count)?,
                Some(Size::of_model(&model)),
            )
        }
        None => {
            let words = |text: &str| Ok(text.split_whitespace().count() + 1);
            (
                Tokens::count(&text, spec, &words)?,
                Size::of_spec(&spec.model),
            )
        }
    };
    texts(&text, &tokens, at_hand.folder.is_some(), out);
    if let Some(size) = size {
        needs(&plan, &size, &tokens, out);
    }
    let _ = writeln!(
        out,
        "Everything that can be checked before the run is. Nothing was fetched or kept."
    );
    Ok(())
}

/// A model as far as it is here.
struct AtHand {
    /// In words.
    said: String,
    /// Its folder, if all of it is here.
    folder: Option<PathBuf>,
}

/// Whether a model is here and what has to be fetched.
fn at_hand(model: &ModelSpec, options: &Options) -> Result<AtHand, ExperimentError> {
    let absent = |said: String| AtHand { said, folder: None };
    let name = match place(model, &options.model_dir) {
        Ok(None) => {
            let ModelSpec::Train(t) = model else {
                return Ok(absent("trained in the run".into()));
            };
            return Ok(absent(format!(
                "trained in the run: {} blocks × {}, vocabulary ≤ {}, {} steps of {} sentences",
                t.layers, t.hidden_size, t.vocab_size, t.steps, t.batch
            )));
        }
        Ok(Some(Place::Local(folder))) => {
            return Ok(AtHand {
                said: format!("{} (is there)", folder.display()),
                folder: Some(folder),
            });
        }
        Ok(Some(Place::Hub(name))) => name,
        Err(error) => return Ok(absent(format!("MISSING ({error})"))),
    };
    // A look is not worth waiting for.
    let hub_options = HubOptions {
        attempts: 1,
        ..HubOptions::from_env()?
    };
    let title = format!("{}@{}", name.repo, name.revision);
    let survey = match hub::survey(&name, &hub_options) {
        Ok(survey) => survey,
        Err(error) => return Ok(absent(format!("{title} (MISSING: {error})"))),
    };
    let folder = survey.folder.display();
    if survey.missing.is_empty() {
        return Ok(AtHand {
            said: format!("{title} (is in the cache: {folder})"),
            folder: Some(survey.folder.clone()),
        });
    }
    let bytes: u64 = survey.missing.iter().filter_map(|file| file.1).sum();
    Ok(absent(format!(
        "{title} (to be fetched: {} files, {:.2} GB, into {folder})",
        survey.missing.len(),
        bytes as f64 / 1e9
    )))
}

/// The data files with their sizes, or with what would bring them.
fn data(spec: &Spec, options: &Options, out: &mut String) {
    let from = match &spec.data {
        DataSpec::Testbed { .. } => "the synthetic testbed, generated in the run".to_owned(),
        DataSpec::Files { .. } => format!("under {}", options.data_dir.display()),
    };
    let _ = writeln!(out, "  data        {from}");
    for needed in check::needed(spec) {
        let state = check::state(&needed, options).unwrap_or_else(|| {
            format!(
                "MISSING: {}",
                interlingua_data::Manifest::remedy(&needed.file, &options.manifests)
            )
        });
        let _ = writeln!(out, "    {}  ({state})", needed.file);
    }
}

/// How much text there is.
fn texts(text: &Prepared, tokens: &Tokens, counted: bool, out: &mut String) {
    let unit = if counted {
        "tokens"
    } else {
        "words and start tokens; there is no tokenizer yet"
    };
    let _ = writeln!(out, "  text        in {unit}");
    for part in tokens.parts() {
        let _ = writeln!(
            out,
            "    {:<18} {:>8} sentences {:>10} (longest {})",
            part.name, part.sentences, part.tokens, part.longest
        );
    }
    for benchmark in &text.benchmarks {
        let _ = writeln!(
            out,
            "    {:<18} {:>8} items, {} in {}",
            benchmark.name(benchmark.items.about()),
            benchmark.items.len(),
            benchmark.category.as_deref().unwrap_or("no category"),
            benchmark.language
        );
    }
}

/// Time, memory and disk.
fn needs(plan: &Plan, size: &Size, tokens: &Tokens, out: &mut String) {
    let needs = Needs::of(plan, size, tokens);
    let gb = |bytes: f64| format!("{:.2} GB", bytes / 1e9);
    let _ = writeln!(
        out,
        "  memory      about {} for weights resident, {} streamed; {} for states between blocks{}",
        gb(size.resident()),
        gb(size.streamed()),
        gb(needs.states),
        available_memory().map_or(String::new(), |free| format!(
            "; {} are free",
            gb(free as f64)
        ))
    );
    let _ = writeln!(
        out,
        "  disk        about {} under {}, without what the cache has already",
        gb(needs.disk),
        plan.options.out.display()
    );
    let speed = crate::estimate::speed(&plan.device, size.width);
    let _ = writeln!(
        out,
        "  time        about {} at {:.0} GFLOP/s, measured just now, if nothing is in the cache:",
        duration(needs.work.iter().map(|w| w.flops / speed).sum()),
        speed / 1e9
    );
    for work in needs.work.iter().filter(|w| w.flops > 0.0) {
        let _ = writeln!(
            out,
            "    {:<18} {}",
            work.name,
            duration(work.flops / speed)
        );
    }
}

/// A time that is only roughly known, in words.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "under a second".to_owned(),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}
