//! `cargo xtask model`: inspecting, running and making language models.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use interlingua_data::BiasPair;
use interlingua_data::OnBadRow;
use interlingua_data::load::{BiasOptions, load_bias};
use interlingua_experiment::pretrain::{Options, PretrainSpec, dry_run, pretrain, table};
use interlingua_experiment::progress::Event;
use interlingua_models::engine::{Branch, token_log_probs};
use interlingua_models::hub::{self, HubOptions, Place};
use interlingua_models::model::peak_memory;
use interlingua_models::{Budget, HookPoint, Residency, dump};

use crate::data::manifests;
use crate::flags::{CaptureFlags, DataPlaces, Model, Opened, Pretrain, ScoreFlags};
use crate::terminal::{Progress, print, tell};

/// Carries out a subcommand of `model`.
///
/// # Errors
/// Whatever stops it.
pub fn model(command: &Model) -> anyhow::Result<()> {
    match command {
        Model::Inspect(flags) => inspect(flags),
        Model::Capture(flags) => capture(flags),
        Model::Score(flags) => score(flags),
        Model::Pretrain(flags) => train(flags),
    }
}

/// A folder as it is; a name of the hub through its cache.
fn folder(name: &str, progress: &mut Progress) -> anyhow::Result<PathBuf> {
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

fn open(flags: &Opened, progress: &mut Progress) -> anyhow::Result<interlingua_models::Model> {
    let folder = folder(&flags.name, progress)?;
    let device = flags.device.open()?;
    let model = interlingua_models::Model::open(&folder, &device, flags.memory.residency)?
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

fn inspect(flags: &Opened) -> anyhow::Result<()> {
    let model = open(flags, &mut Progress::new())?;
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
            "{:.2} million parameters, {:.3} GB in {}, {} file(s)",
            weights.parameters() as f64 / 1e6,
            gb(weights.bytes()),
            weights.dtypes().join(" and "),
            weights.files().count()
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
        line("  chat", "there is a template; it is never applied".into());
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

/// The lines of a text file.
fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut texts = Vec::new();
    for (at, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line)
            .with_context(|| format!("{}: line {}: not UTF-8", path.display(), at + 1))?;
        texts.push(text.to_owned());
    }
    if texts.last().is_some_and(String::is_empty) {
        texts.pop();
    }
    if let Some(at) = texts.iter().position(|t| t.trim().is_empty()) {
        bail!(
            "{}: line {} is empty; every line must be a text",
            path.display(),
            at + 1
        );
    }
    if texts.is_empty() {
        bail!("{}: holds no text", path.display());
    }
    Ok(texts)
}

fn capture(flags: &CaptureFlags) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let texts = lines(&flags.text)?;
    let model = open(&flags.model, &mut progress)?;
    let layers = model.geometry.layers;
    let hooks = if flags.hooks == "all" {
        HookPoint::all(layers)
    } else {
        let names = flags.hooks.split(',').map(str::trim);
        names
            .map(|name| HookPoint::parse(name, layers))
            .collect::<Result<_, _>>()?
    };
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
    let written = dump::write(&model, &texts, &request, &flags.out, &mut |done, total| {
        progress.show(Event::Progress {
            done,
            total,
            note: String::new(),
        });
    });
    progress.finish();
    let written = written?;
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
        limit: flags.limit,
        ..BiasOptions::new(&[flags.language], OnBadRow::Skip)
    };
    let (set, report) = load_bias(&flags.pairs, &options)?;
    if report.rows_skipped > 0 {
        tell(&format!(
            "{} rows of {} cannot be used and are left out; `cargo xtask data describe` says why",
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
    let mut sequences = Vec::new();
    for pair in &pairs {
        sequences.push(model.sequence(&pair.more)?);
        sequences.push(model.sequence(&pair.less)?);
    }
    if model.geometry.causal && model.start_token().is_none() {
        bail!(
            "{}: there is neither a start nor an end token (bos_token, eos_token), so a sentence's first token has no probability",
            flags.model.name
        );
    }
    let tokens: usize = sequences.iter().map(|s| s.tokens.len()).sum();
    progress.show(Event::Stage {
        name: format!("score {} sentences", sequences.len()),
        cached: false,
    });
    let start = Instant::now();
    let scores = token_log_probs(
        &model,
        &sequences,
        &[Branch::unedited()],
        &mut |done, total| {
            progress.show(Event::Progress {
                done,
                total,
                note: String::new(),
            });
        },
    );
    progress.finish();
    let scores = scores?;
    let seconds = start.elapsed().as_secs_f64();
    let sum = |at: usize| scores[0][at].iter().map(|&x| f64::from(x)).sum::<f64>();
    let scored: Vec<(f64, f64)> = (0..pairs.len())
        .map(|i| (sum(2 * i), sum(2 * i + 1)))
        .collect();
    let cost = serde_json::json!({
        "sentences": sequences.len(),
        "rows_skipped": report.rows_skipped,
        "tokens": tokens,
        "seconds": seconds,
        "residency": model.residency.to_string(),
        "precision": model.precision().to_string(),
        "weight_bytes": model.weights().bytes(),
        "weight_bytes_read": model.weights().bytes_read(),
        "peak_memory_bytes": peak_memory(),
    });
    if flags.json {
        let rows: Vec<_> = pairs
            .iter()
            .zip(&scored)
            .map(|(p, (more, less))| serde_json::json!({"id": p.id, "category": p.category, "more": more, "less": less}))
            .collect();
        return print(&format!(
            "{:#}\n",
            serde_json::json!({"pairs": rows, "cost": cost})
        ));
    }
    let mut out = format!(
        "{:<12} {:<14} {:>12} {:>12} {:>9}\n",
        "pair", "category", "ln p(more)", "ln p(less)", "gap"
    );
    for (pair, (more, less)) in pairs.iter().zip(&scored) {
        let gap = more - less;
        let _ = writeln!(
            out,
            "{:<12} {:<14} {more:>12.3} {less:>12.3} {gap:>9.3}",
            pair.id, pair.category
        );
    }
    let above = scored.iter().filter(|(more, less)| more > less).count();
    let gap = scored.iter().map(|(more, less)| more - less).sum::<f64>() / scored.len() as f64;
    let _ = writeln!(
        out,
        "\n{above} of {} pairs prefer the more stereotyping sentence; mean gap {gap:.3} nats. `cargo xtask reproduce` gives intervals.",
        pairs.len()
    );
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
    crate::check_experiment(&flags.experiment)?;
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
        return print(&dry_run(&spec, &options).with_context(|| place("cannot run"))?);
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
        "cargo xtask model pretrain {}",
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
