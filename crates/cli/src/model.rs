//! The subcommand `model`: describes, runs and trains language models.

use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use interlingua_data::BiasPair;
use interlingua_data::OnBadRow;
use interlingua_data::load::{BiasOptions, load_bias};
use interlingua_experiment::progress::Event;
use interlingua_experiment::requests::Requests;
use interlingua_metrics::crows;
use interlingua_models::config::Geometry;
use interlingua_models::hub::{self, HubOptions, Place};
use interlingua_models::model::peak_memory;
use interlingua_models::{Budget, Hook, Residency, dump, input};
use interlingua_training::recipe::{Options, PretrainSpec, dry_run, pretrain, table};

use crate::data::manifests;
use crate::edits;
use crate::flags::{CaptureFlags, DataPlaces, InspectFlags, Model, Opened, Pretrain, ScoreFlags};
use crate::output;
use crate::program;
use crate::terminal::{Progress, print, tell};

/// Carries out a subcommand of `model`.
///
/// # Errors
/// Everything that stops it.
pub fn model(command: &Model) -> anyhow::Result<()> {
    match command {
        Model::Inspect(flags) => inspect(flags),
        Model::Capture(flags) => capture(flags),
        Model::Score(flags) => score(flags),
        Model::Pretrain(flags) => train(flags),
    }
}

/// Returns the folder of a model. A name on the hub is looked up in the cache and downloaded if needed.
///
/// # Errors
/// A name that is neither a folder nor a name on the hub, or a model that cannot be fetched.
pub fn folder(name: &str, progress: &mut Progress) -> anyhow::Result<PathBuf> {
    let name = match hub::locate(name, None)? {
        Place::Local(folder) => return Ok(folder),
        Place::Hub(name) => name,
    };
    progress.show(Event::Stage {
        name: format!("fetch {}", name.repo),
        cached: false,
    });
    let resolved = hub::fetch(&name, &HubOptions::from_env()?, &mut |p| {
        progress.show(Event::Progress {
            done: (p.received >> 10) as usize,
            total: (p.total >> 10) as usize,
            note: format!("{} ({} of {} files)", p.file, p.index + 1, p.files),
        });
    });
    progress.finish();
    Ok(resolved?.folder)
}

/// Opens a model; if it is only on the hub, it is fetched first.
///
/// # Errors
/// A fault of its name or its files.
pub fn open(flags: &Opened, progress: &mut Progress) -> anyhow::Result<interlingua_models::Model> {
    open_folder(&folder(&flags.name, progress)?, flags)
}

/// Opens a checkpoint with the settings of the flags.
///
/// # Errors
/// A fault of the checkpoint.
pub fn open_folder(folder: &Path, flags: &Opened) -> anyhow::Result<interlingua_models::Model> {
    let device = flags.device.open()?;
    let model = interlingua_models::Model::open(folder, &device, flags.memory.residency)?
        .with_precision(flags.memory.precision)?;
    Ok(match flags.memory.memory {
        Some(bytes) => model.with_budget(Budget {
            bytes,
            ..Budget::default()
        }),
        None => model,
    })
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn inspect(flags: &InspectFlags) -> anyhow::Result<()> {
    let model = open(&flags.model, &mut Progress::new())?;
    if let Some(text) = &flags.render {
        return render(&model.with_conversations(), text);
    }
    let g = &model.geometry;
    let weights = model.weights();
    let mut out = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "{key:<14} {value}");
    };
    line("architecture", g.architecture.clone());
    line("blocks", format!("{} × {}", g.layers, g.hidden_size));
    line(
        "attention",
        format!(
            "{} heads of {}, {} key and value heads, {}",
            g.heads,
            g.head_dim,
            g.kv_heads,
            if g.causal { "causal" } else { "bidirectional" }
        ),
    );
    line("MLP", g.intermediate_size.to_string());
    line("vocabulary", g.vocab_size.to_string());
    line("longest text", format!("{} tokens", g.max_positions));
    let head = match model.architecture().head_table() {
        None => "none: states only".to_owned(),
        Some(name) if name == model.architecture().embedding_table() => {
            "tied to the embedding".to_owned()
        }
        Some(name) => format!("of its own ({name})"),
    };
    line("LM head", head);
    line(
        "weights",
        format!(
            "{:.2} million parameters, {:.3} GB in {}, {} file(s){}",
            weights.parameters() as f64 / 1e6,
            gb(weights.bytes()),
            weights.dtypes().join(" and "),
            weights.files().count(),
            model
                .quantised()
                .map_or_else(String::new, |kind| format!(", dequantised from {kind}"))
        ),
    );
    for residency in [Residency::Stream, Residency::Resident] {
        line(
            &format!("  {residency}"),
            format!(
                "about {:.3} GB of memory for weights{}",
                gb(model.weight_memory(residency)),
                if residency == model.residency {
                    " (chosen)"
                } else {
                    ""
                }
            ),
        );
    }
    let token = |id: Option<u32>| match id {
        None => "none".to_owned(),
        Some(id) => {
            let text = model.tokenizer.decode(&[id]).unwrap_or_default();
            format!("{id} {text:?}")
        }
    };
    line("tokenizer", format!("{} entries", model.tokenizer.len()));
    line("  start", token(model.start_token()));
    line("  end", token(g.eos));
    let (before, after) = model.tokenizer.around();
    line("  template", format!("{before:?} text {after:?}"));
    let special = model.tokenizer.special();
    for (name, token) in [
        ("  unknown", &special.unk),
        ("  padding", &special.pad),
        ("  mask", &special.mask),
    ] {
        if let Some(token) = token {
            let id = token.id.map_or("no entry".to_owned(), |id| id.to_string());
            line(name, format!("{id} {:?}", token.text));
        }
    }
    if special.chat_template {
        line(
            "  chat",
            "there is a template; --render shows it, nothing applies it unasked".into(),
        );
    }
    line("digest", model.digest()?.to_hex()[..24].to_owned());
    let _ = writeln!(
        out,
        "\nhook points, each [tokens, {}], and where transformers has them",
        g.hidden_size
    );
    for (hook, module) in model.architecture().modules().rows() {
        let module = module
            .replace("{last}", &(g.layers - 1).to_string())
            .replace("{L}", "L");
        let _ = writeln!(out, "  {:<20} {module}", hook.replace("{L}", "L"));
    }
    let _ = writeln!(out, "  L from 0 to {}", g.layers - 1);
    print(&out)
}

/// Shows a message as the chat template has it, and its tokens.
fn render(model: &interlingua_models::Model, text: &str) -> anyhow::Result<()> {
    let rendered = model.chat(text)?;
    let tokens = model.sequence(&rendered)?.tokens;
    let shown = tokens.iter().map(|&id| {
        let piece = model.tokenizer.decode(&[id]).unwrap_or_default();
        format!("{id} {piece:?}")
    });
    let shown: Vec<String> = shown.collect();
    print(&format!(
        "{rendered}\n\n{} tokens: {}\n",
        tokens.len(),
        shown.join(", ")
    ))
}

/// No text that is run has a line of this length.
const MAX_LINE: u64 = 1 << 20;

/// Reads the lines of a text file, without a byte order mark at its beginning.
///
/// # Errors
/// A line that is empty, too long or not UTF-8; the error names the line.
pub fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let place = |at: usize| format!("{}: line {at}", path.display());
    let (file, _) = input::open(path)?;
    let mut reader = BufReader::new(file);
    let mut texts = Vec::new();
    loop {
        let (at, mut line) = (texts.len() + 1, Vec::new());
        let mut bounded = (&mut reader).take(MAX_LINE + 1);
        let count = bounded
            .read_until(b'\n', &mut line)
            .with_context(|| place(at))?;
        if count == 0 {
            break;
        }
        if count as u64 > MAX_LINE {
            bail!(
                "{}: has more than {MAX_LINE} bytes; a line is a text",
                place(at)
            );
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text =
            std::str::from_utf8(line).with_context(|| format!("{}: not UTF-8", place(at)))?;
        let text = match at {
            1 => text.strip_prefix('\u{feff}').unwrap_or(text),
            _ => text,
        };
        if text.trim().is_empty() {
            bail!("{} is empty; every line must be a text", place(at));
        }
        texts.push(text.to_owned());
    }
    if texts.is_empty() {
        bail!("{}: holds no text", path.display());
    }
    Ok(texts)
}

/// Parses a list of hooks and returns each of them once.
///
/// # Errors
/// A hook that the model does not have, or one that is listed twice.
pub fn hooks(list: &str, geometry: &Geometry) -> anyhow::Result<Vec<Hook>> {
    if list == "all" {
        return Ok(geometry.hooks());
    }
    let mut all = Vec::new();
    for name in list.split(',').map(str::trim) {
        for hook in Hook::parse_many(name, geometry.layers)? {
            if all.contains(&hook) {
                bail!("--hooks: `{hook}` is listed twice");
            }
            all.push(hook);
        }
    }
    Ok(all)
}

fn capture(flags: &CaptureFlags) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let mut reads: Vec<&Path> = vec![&flags.text];
    reads.extend(flags.edit.as_deref());
    output::check_new(&flags.out, &reads, flags.force)?;
    let texts = lines(&flags.text)?;
    let folder = folder(&flags.model.name, &mut progress)?;
    output::check_apart(&flags.out, &folder)?;
    let mut model = open_folder(&folder, &flags.model)?;
    if flags.chat {
        model = model.with_conversations();
    }
    let hooks = hooks(&flags.hooks, &model.geometry)?;
    let has_head = model.architecture().head_table().is_some();
    let request = dump::Request {
        hooks,
        log_probs: has_head && !flags.no_log_probs,
        logits: flags.logits,
    };
    progress.show(Event::Stage {
        name: "run the model".into(),
        cached: false,
    });
    let texts = match flags.chat {
        true => texts
            .iter()
            .map(|text| model.chat(text))
            .collect::<Result<Vec<_>, _>>()?,
        false => texts,
    };
    let steps = edits::steps(flags.edit.as_deref(), &model)?;
    let branch = steps.branch();
    let written = dump::write(
        &model,
        &texts,
        &request,
        &branch,
        &flags.out,
        &mut |done, total| {
            progress.show(Event::Progress {
                done,
                total,
                note: String::new(),
            });
        },
    );
    progress.finish();
    let written = written?;
    if let Some(caveat) = model.caveat() {
        tell(&caveat);
    }
    print(&format!(
        "{} texts, {} tokens, {} hook points: {}\n",
        written.texts,
        written.tokens,
        request.hooks.len(),
        flags.out.display()
    ))
}

fn score(flags: &ScoreFlags) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let options = BiasOptions {
        format: flags.format,
        limit: flags.limit,
        ..BiasOptions::new(&[flags.language], OnBadRow::Skip)
    };
    let (set, report) = load_bias(&flags.pairs, &options)?;
    if report.rows_skipped > 0 {
        tell(&format!(
            "{} rows of {} cannot be used and are left out; `data describe` says why",
            report.rows_skipped,
            flags.pairs.display()
        ));
    }
    let pairs: Vec<&BiasPair> = set
        .pairs
        .iter()
        .filter(|p| p.language == flags.language)
        .collect();
    if pairs.is_empty() {
        bail!("{}: no pairs in {}", flags.pairs.display(), flags.language);
    }
    let model = open(&flags.model, &mut progress)?;
    let steps = edits::steps(flags.edit.as_deref(), &model)?;
    let scorer = match &flags.scorer {
        Some(name) => name.clone(),
        None if model.geometry.causal => "lm-eval".to_owned(),
        None => "nangia".to_owned(),
    };
    let mut requests = Requests::new(&model, std::slice::from_ref(&scorer))?;
    requests.add_pairs(&pairs)?;
    let tokens = requests.tokens();
    progress.show(Event::Stage {
        name: format!("score {} sentences with `{scorer}`", 2 * pairs.len()),
        cached: false,
    });
    let start = Instant::now();
    let answers = requests.log_probs(&[steps.branch()], &mut |done, total| {
        progress.show(Event::Progress {
            done,
            total,
            note: String::new(),
        });
    });
    progress.finish();
    let answers = answers?;
    let seconds = start.elapsed().as_secs_f64();
    let scores = requests.pair_scores(&answers[0])?.remove(0);
    let all = pairs.iter().zip(scores);
    let scored: Vec<(&BiasPair, f64, f64)> = all
        .filter_map(|(pair, sides)| sides.map(|[more, less]| (*pair, more.0, less.0)))
        .collect();
    if scored.len() < pairs.len() {
        tell(&format!(
            "{} pairs of {} are left out: their sentences differ in no token that `{scorer}` could mask",
            pairs.len() - scored.len(),
            pairs.len()
        ));
    }
    if scored.is_empty() {
        bail!(
            "{}: `{scorer}` can score none of the pairs",
            flags.pairs.display()
        );
    }
    let unit = crows::by_name(&scorer)?.unit;
    let cost = serde_json::json!({
        "scorer": scorer,
        "unit": unit,
        "sentences": 2 * pairs.len(),
        "rows_skipped": report.rows_skipped,
        "tokens": tokens,
        "seconds": seconds,
        "residency": model.residency.to_string(),
        "precision": model.precision().to_string(),
        "dequantised_from": model.quantised(),
        "weight_bytes": model.weights().bytes(),
        "weight_bytes_read": model.weights().bytes_read(),
        "peak_memory_bytes": peak_memory(),
    });
    if flags.json {
        let rows: Vec<_> = scored
            .iter()
            .map(|(p, more, less)| serde_json::json!({"id": p.id, "category": p.category, "more": more, "less": less}))
            .collect();
        return print(&format!(
            "{:#}\n",
            serde_json::json!({"pairs": rows, "cost": cost})
        ));
    }
    let mut out = format!(
        "{:<12} {:<14} {:>12} {:>12} {:>9}\n",
        "pair", "category", "more", "less", "gap"
    );
    for (pair, more, less) in &scored {
        let gap = more - less;
        let _ = writeln!(
            out,
            "{:<12} {:<14} {more:>12.3} {less:>12.3} {gap:>9.3}",
            pair.id, pair.category
        );
    }
    let above = scored.iter().filter(|(_, more, less)| more > less).count();
    let gap = scored
        .iter()
        .map(|(_, more, less)| more - less)
        .sum::<f64>()
        / scored.len() as f64;
    let _ = writeln!(
        out,
        "\n{above} of {} pairs prefer the more stereotyping sentence; mean gap {gap:.3} {unit} (`{scorer}`). `reproduce` gives intervals.",
        scored.len()
    );
    if let Some(caveat) = model.caveat() {
        let _ = writeln!(out, "{caveat}");
    }
    print(&out)?;
    tell(&format!(
        "{} tokens in {seconds:.1} s, {}, {}; {:.3} GB of weights, {:.3} GB read ({:.4} times){}",
        tokens,
        model.residency,
        model.precision(),
        gb(model.weights().bytes()),
        gb(model.weights().bytes_read()),
        model.weights().bytes_read() as f64 / model.weights().bytes() as f64,
        peak_memory().map_or(String::new(), |b| format!(
            "; peak memory {:.2} GiB",
            b as f64 / f64::from(1u32 << 30)
        ))
    ));
    Ok(())
}

fn train(flags: &Pretrain) -> anyhow::Result<()> {
    crate::reproduce::check_experiment(&flags.experiment)?;
    let spec = PretrainSpec::read(&flags.experiment, flags.quick)
        .with_context(|| flags.experiment.display().to_string())?;
    let options = Options {
        data_dir: flags.data_dir.clone(),
        out: flags.out.clone(),
        device: flags.device,
        resume: flags.resume,
        manifests: manifests(&DataPlaces {
            cache: flags.data_dir.clone(),
            manifests: None,
        })?,
        command: command_line(flags),
    };
    let place = |what: &str| format!("{}: {what}", flags.experiment.display());
    if flags.dry_run {
        let mut out = String::new();
        let found = dry_run(&spec, &options, &mut out);
        // What was found is worth seeing, also where something is wrong.
        print(&out)?;
        return found.with_context(|| place("cannot run"));
    }
    let mut progress = Progress::new();
    let outcome = pretrain(&spec, &options, &mut |event| progress.show(event));
    // The bar of a stage that failed must not stay on the error.
    progress.finish();
    let outcome = outcome.with_context(|| place("stopped"))?;
    let record = &outcome.record;
    let how = if outcome.cached {
        "was there already"
    } else {
        "made"
    };
    print(&format!(
        "{}\n{:.2} million parameters · {} steps · {:.2} million tokens in {:.0} s · {how}: {}\n",
        table(record),
        record.parameters as f64 / 1e6,
        record.steps,
        record.tokens as f64 / 1e6,
        record.seconds,
        outcome.folder.display()
    ))
}

/// What to type to get the same model, without the folders of one machine.
fn command_line(flags: &Pretrain) -> String {
    let mut line = format!(
        "{} model pretrain {}",
        program(),
        flags
            .experiment
            .file_name()
            .map_or("RECIPE".into(), |f| f.to_string_lossy())
    );
    if flags.quick {
        line.push_str(" --quick");
    }
    line
}
