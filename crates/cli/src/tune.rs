//! The subcommands `tune` and `debias`: search for an edit that serves several languages, confirm it, and write the
//! edited model.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use interlingua_data::testbed::{Testbed, TestbedConfig};
use interlingua_edits::Intervention;
use interlingua_experiment::alone::own;
use interlingua_experiment::progress::Event as Shown;
use interlingua_files::Partial;
use interlingua_models::checkpoint::Checkpoint;
use interlingua_models::{Model, export};
use interlingua_tune::{Event, Outcome, Search, Settings, Sources, Texts, page};

use crate::flags::{Debias, Tune};
use crate::format::Format;
use crate::model::open;
use crate::program;
use crate::terminal::{Progress, print};

impl Format {
    /// Whether it holds only edits that are a change of weights.
    fn folds(self) -> bool {
        self != Format::Edit
    }

    /// Whether it holds an edit of what the head reads.
    fn holds_head(self, model: &Model) -> bool {
        let of = model.architecture();
        let tied = of.head_table() == Some(of.embedding_table());
        !(self == Format::GgufLora && tied)
    }

    /// Refuses a model that the format cannot be made of, before anything is searched.
    fn check(self, model: &Model) -> anyhow::Result<()> {
        let is_gguf = matches!(Checkpoint::open(&model.folder)?, Checkpoint::Gguf(_));
        match (self, is_gguf) {
            (Format::Hf, true) => bail!(
                "a GGUF file gives no checkpoint folder back; --format gguf gives such a file back, --format gguf-lora makes an \
                 adapter for it, --format edit a file that is applied when it runs"
            ),
            (Format::Gguf, false) => bail!(
                "a checkpoint folder gives no GGUF file back; --format hf gives such a folder back, --format gguf-lora makes an \
                 adapter for llama.cpp, --format edit a file that is applied when the model runs"
            ),
            _ => {}
        }
        Ok(())
    }

    /// Writes what it is made of into a folder; says what that is and how it is used.
    fn write(
        self,
        model: &Model,
        name: &str,
        intervention: &Intervention,
        folder: &Path,
    ) -> anyhow::Result<String> {
        let always = "`edit.safetensors` is the edit itself: `interlingua` applies it to the unedited model with `--edit`, and docs/python.md of \
                      Interlingua does in Python.";
        Ok(match self {
            Format::Edit => {
                format!("The model's own weights are not here and are not changed. {always}")
            }
            Format::Hf => {
                let made = folder.join("model");
                let written = export::folder::write(model, intervention, &made)?;
                for entry in std::fs::read_dir(&made)? {
                    let entry = entry?;
                    std::fs::rename(entry.path(), folder.join(entry.file_name()))?;
                }
                std::fs::remove_dir(&made)?;
                let untied = match written.untied {
                    true => {
                        " The head is a matrix of its own now (`tie_word_embeddings` is false)."
                    }
                    false => "",
                };
                format!(
                    "This folder is the whole model, with the edit in its weights: `AutoModelForCausalLM.from_pretrained` of \
                     transformers loads it. {} tensors differ from the source.{untied} {always}",
                    written.tensors.len()
                )
            }
            Format::Peft => {
                let adapter = folder.join("adapter");
                let rank = export::lora::peft(model, intervention, name, &adapter)?;
                format!(
                    "`adapter/` is a LoRA adapter of rank {rank} for PEFT, over the unedited model. {always}"
                )
            }
            Format::Gguf => {
                let written =
                    export::whole::write(model, intervention, &folder.join("model.gguf"))?;
                format!(
                    "`model.gguf` is the whole model, with the edit in its weights, for llama.cpp and all that load such files. {} tensors \
                     differ from the source; where they were quantised they are f32 now. {always}",
                    written.tensors.len()
                )
            }
            Format::GgufLora => {
                let rank = export::lora::gguf(model, intervention, &folder.join("adapter.gguf"))?;
                format!(
                    "`adapter.gguf` is a LoRA adapter of rank {rank} for llama.cpp (`--lora adapter.gguf`), over any quantisation of the \
                     unedited model. {always}"
                )
            }
        })
    }
}

/// Carries out `tune`.
///
/// # Errors
/// An output folder that holds something else, and whatever stops the search.
pub fn tune(flags: &Tune) -> anyhow::Result<()> {
    let journal = flags.out.join("journal.jsonl");
    if flags.out.exists() && !journal.exists() && !is_empty(&flags.out)? {
        bail!(
            "{}: is there already and holds no search; choose another name",
            flags.out.display()
        );
    }
    let (outcome, _, _) = searched(flags, &flags.out, Format::Edit)?;
    print(&summary(&outcome))?;
    print(&format!(
        "\n{}\nedit {}\n",
        flags.out.join("report.md").display(),
        flags.out.join("edit.safetensors").display()
    ))
}

/// Carries out `debias`.
///
/// # Errors
/// An output folder that exists, and whatever stops the search or the export.
pub fn debias(flags: &Debias) -> anyhow::Result<()> {
    let out = &flags.tune.out;
    if out.exists() {
        bail!(
            "{}: is there already; choose another name for the edited model",
            out.display()
        );
    }
    let mut search = out.clone().into_os_string();
    search.push(".search");
    let search = PathBuf::from(search);
    let (outcome, intervention, model) = searched(&flags.tune, &search, flags.format)?;
    let made = Partial::folder(out).with_context(|| out.display().to_string())?;
    let files = flags
        .format
        .write(
            &model,
            &shown(&flags.tune.model.name),
            &intervention,
            made.path(),
        )
        .with_context(|| {
            format!(
                "the search is kept in {}; the same command goes on from there",
                search.display()
            )
        })?;
    for name in [
        "edit.safetensors",
        "tune.json",
        "pareto.svg",
        "journal.jsonl",
    ] {
        let (from, to) = (search.join(name), made.path().join(name));
        std::fs::copy(&from, &to).with_context(|| to.display().to_string())?;
    }
    let card = page::card(
        &outcome,
        &shown(&flags.tune.model.name),
        &files,
        &command(flags),
    );
    write(&made.path().join("README.md"), card.as_bytes())?;
    made.finish().with_context(|| out.display().to_string())?;
    std::fs::remove_dir_all(&search).with_context(|| search.display().to_string())?;
    print(&summary(&outcome))?;
    print(&format!("\n{}\n", out.join("README.md").display()))
}

/// Searches with a folder for what it keeps, and writes what was found there.
fn searched(
    flags: &Tune,
    folder: &Path,
    format: Format,
) -> anyhow::Result<(Outcome, Intervention, Model)> {
    let mut progress = Progress::new();
    let model = open(&flags.model, &mut progress)?;
    format.check(&model)?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let texts = match flags.testbed {
        true => Texts::planted(&testbed(flags)?, &flags.category, flags.seed, flags.marked)?,
        false => Texts::load(
            &sources(flags)?,
            &flags.languages,
            &flags.category,
            flags.seed,
        )?,
    };
    let settings = Settings {
        final_norm: format.holds_head(&model),
        ..settings(flags, format.folds())
    };
    let mut begun = None;
    let mut listener = |event: Event| match event {
        Event::Rule(text) => progress.show(Shown::Note(text)),
        Event::Round { text } => progress.show(Shown::Note(text)),
        Event::Begin(name) => {
            finish(&mut begun, &mut progress);
            begun = Some(std::time::Instant::now());
            let cached = false;
            progress.show(Shown::Stage { name, cached });
        }
        Event::Progress { done, total } => {
            let note = String::new();
            progress.show(Shown::Progress { done, total, note });
        }
    };
    let mut search = Search {
        model: &model,
        texts: &texts,
        settings: &settings,
        listener: &mut listener,
    };
    let found = search.run(&folder.join("journal.jsonl"));
    finish(&mut begun, &mut progress);
    progress.finish();
    let (outcome, intervention) = found?;
    let json = serde_json::to_string_pretty(&outcome).context("plain data")?;
    write(&folder.join("tune.json"), json.as_bytes())?;
    let report = page::report(&outcome, &shown(&flags.model.name));
    write(&folder.join("report.md"), report.as_bytes())?;
    write(&folder.join("pareto.svg"), page::plot(&outcome).as_bytes())?;
    write(&folder.join("edit.safetensors"), &intervention.to_bytes()?)?;
    Ok((outcome, intervention, model))
}

/// The model's name on pages: of a path its last part, since the folders before it are of one machine.
fn shown(name: &str) -> String {
    match Path::new(name).exists() {
        true => Path::new(name)
            .file_name()
            .map_or_else(|| name.to_owned(), |f| f.to_string_lossy().into_owned()),
        false => name.to_owned(),
    }
}

/// Ends the stage that was begun, if one was.
fn finish(begun: &mut Option<std::time::Instant>, progress: &mut Progress) {
    if let Some(start) = begun.take() {
        progress.show(Shown::Done {
            seconds: start.elapsed().as_secs_f64(),
        });
    }
}

fn settings(flags: &Tune, folded: bool) -> Settings {
    let default = Settings::default();
    Settings {
        methods: flags.methods.clone().unwrap_or(default.methods),
        ranks: flags.ranks.clone().unwrap_or(default.ranks),
        strengths: flags.strengths.clone().unwrap_or(default.strengths),
        folded: folded || flags.folded,
        max_kl: flags.max_kl,
        controls: flags.controls,
        at_once: flags.at_once,
        seed: flags.seed,
        ..Settings::default()
    }
}

/// The files that were given, and for the others those of this project.
fn sources(flags: &Tune) -> anyhow::Result<Sources> {
    let or_own = |given: &Option<PathBuf>, name: &str| match given {
        Some(path) => Ok(path.clone()),
        None => own(name),
    };
    Ok(Sources {
        fit: or_own(&flags.fit_text, "datasets/templates/everyday.toml")?,
        pairs: or_own(&flags.pairs, "datasets/templates/occupations.toml")?,
        neutral: or_own(&flags.neutral, "datasets/neutral.tsv")?,
        marked: flags.marked,
    })
}

/// The testbed of a seed, in the languages of the search.
fn testbed(flags: &Tune) -> anyhow::Result<Testbed> {
    Ok(Testbed::new(TestbedConfig {
        seed: flags.seed,
        languages: flags.languages.clone(),
        ..TestbedConfig::default()
    })?)
}

/// What the terminal shows at the end.
fn summary(outcome: &Outcome) -> String {
    format!(
        "\n{}\n\nChosen: {}.\n\n{}\n{}\n\n{}",
        page::verdict(outcome),
        outcome.chosen.recipe,
        page::table(outcome),
        page::optimism(outcome),
        page::marked(outcome)
    )
}

/// What to type to get the same, without the folders of one machine.
fn command(flags: &Debias) -> String {
    let of = &flags.tune;
    let languages: Vec<&str> = of.languages.iter().map(|l| l.code()).collect();
    let mut line = format!(
        "{} debias {} --out OUT --languages {} --category {} --max-kl {} --controls {} --seed {} --format {}",
        program(),
        shown(&of.model.name),
        languages.join(","),
        of.category,
        of.max_kl,
        of.controls,
        of.seed,
        flags.format
    );
    let list = |name: &str, values: Option<Vec<String>>| match values {
        Some(values) => format!(" --{name} {}", values.join(",")),
        None => String::new(),
    };
    if of.testbed {
        line += " --testbed";
    }
    if of.marked {
        line += " --marked";
    }
    line += &list("methods", of.methods.clone());
    let words = |values: &Option<Vec<usize>>| {
        let all = values.as_ref()?.iter().map(ToString::to_string);
        Some(all.collect::<Vec<_>>())
    };
    line += &list("ranks", words(&of.ranks));
    let strengths = of.strengths.as_ref();
    line += &list(
        "strengths",
        strengths.map(|all| all.iter().map(ToString::to_string).collect()),
    );
    for (name, given) in [
        ("fit-text", &of.fit_text),
        ("pairs", &of.pairs),
        ("neutral", &of.neutral),
    ] {
        if let Some(file) = given.as_ref().and_then(|path| path.file_name()) {
            line += &format!(" --{name} {}", file.to_string_lossy());
        }
    }
    line
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    interlingua_files::write(path, bytes).with_context(|| path.display().to_string())
}

fn is_empty(folder: &Path) -> anyhow::Result<bool> {
    let mut entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    Ok(entries.next().is_none())
}
