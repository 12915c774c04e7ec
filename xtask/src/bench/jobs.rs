//! The pieces of work, as this project does them, and what to ask of the other side.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use interlingua_autoencoder::{Alignment, Config, States, train};
use interlingua_backend::device::is_plain_cpu;
use interlingua_backend::{Device, Precision, Tensor, from_rows, ops, to_host};
use interlingua_debias::{FitData, FitOptions, Matrix, by_name};
use interlingua_models::engine::{LowRank, capture, token_log_probs};
use interlingua_models::masked::{MaskRequest, masked_log_probs};
use interlingua_models::{
    Branch, Capture, Hook, Model, Pooling, Residency, RowInfo, Sequence, StateEdit,
};
use serde_json::{Value, json};

use super::inputs::{Noise, Texts, bert_base, cohere_4x256, cohere_12x768, write_checkpoint};
use super::{Job, Measured, Way};
use crate::flags::Work;

/// Where inputs are written, how much of them is used, and where models run.
pub struct Setup {
    /// A temporary folder.
    pub folder: PathBuf,
    /// Every how-manieth text is used; each piece of work has a default.
    pub share: Option<usize>,
    /// Where models and autoencoders run.
    pub device: Device,
    /// What the factors of the models' products are rounded to.
    pub precision: Precision,
    /// A causal checkpoint instead of random weights.
    pub model: Option<PathBuf>,
    /// Widths and counts of small fits, for a quick look.
    pub quick: bool,
}

impl Setup {
    /// How far the models' results may be apart.
    fn tolerance(&self) -> f64 {
        match self.precision {
            Precision::F32 => 1e-4,
            Precision::Bf16 => 2e-2,
        }
    }
}

/// Makes the inputs of a piece of work.
///
/// # Errors
/// Inputs that cannot be read or written.
pub fn job(work: Work, texts: &Texts, setup: &Setup) -> anyhow::Result<Job> {
    match work {
        Work::ScoreSmall => {
            let folder = match &texts.model {
                Some(folder) => folder.clone(),
                None => random(setup, "cohere-4x256", &cohere_4x256())?,
            };
            score(setup, texts, &folder, 1, [5.0, 2.0])
        }
        Work::Score => {
            let folder = causal(setup)?;
            score(setup, texts, &folder, 64, [0.0, 1.5])
        }
        Work::EditsNorm => edits(setup, texts, true),
        Work::EditsMiddle => edits(setup, texts, false),
        Work::Masked => masked(setup, texts),
        Work::Capture => captured(setup, texts),
        Work::Autoencoder => autoencoder(setup),
        Work::Leace => leace(setup),
        Work::Inlp => inlp(setup),
        Work::Start => bail!("it is measured apart"),
    }
}

fn random(setup: &Setup, name: &str, config: &Value) -> anyhow::Result<PathBuf> {
    let folder = setup.folder.join(name);
    if !folder.join("model.safetensors").is_file() {
        write_checkpoint(&folder, config)?;
    }
    Ok(folder)
}

/// The larger causal model.
fn causal(setup: &Setup) -> anyhow::Result<PathBuf> {
    match &setup.model {
        Some(folder) => Ok(folder.clone()),
        None => random(setup, "cohere-12x768", &cohere_12x768()),
    }
}

fn open(folder: &Path, setup: &Setup) -> anyhow::Result<Model> {
    let model = Model::open(folder, &setup.device, Residency::Resident)?;
    Ok(model.with_precision(setup.precision)?)
}

/// Every `share`th of groups of `group` texts.
fn some(texts: &[Vec<u32>], group: usize, share: usize) -> Vec<Vec<u32>> {
    let groups = texts.chunks(group).step_by(share);
    groups.flat_map(|g| g.iter().cloned()).collect()
}

/// Enough texts to find the best batch size with: some of them, or all where there are few.
fn trial(texts: &[Vec<u32>], group: usize, tokens: impl Fn(&[Vec<u32>]) -> f64) -> Vec<Vec<u32>> {
    const ENOUGH: f64 = 4000.0;
    let shares = [8, 4, 2].into_iter().map(|share| some(texts, group, share));
    let mut enough = shares.filter(|some| tokens(some) >= ENOUGH);
    enough.next().unwrap_or_else(|| texts.to_vec())
}

/// No file is written twice, since the other side keeps what it has read.
fn write_texts(setup: &Setup, name: &str, texts: &[Vec<u32>]) -> anyhow::Result<PathBuf> {
    let path = (0..)
        .map(|n| setup.folder.join(format!("{name}-{n}.json")))
        .find(|path| !path.exists())
        .expect("some number is free");
    let file = File::create_new(&path).with_context(|| path.display().to_string())?;
    serde_json::to_writer(BufWriter::new(file), texts)?;
    Ok(path)
}

fn sequences(texts: &[Vec<u32>], closing: usize) -> Vec<Sequence> {
    let sequence = |tokens: &Vec<u32>| Sequence {
        tokens: tokens.clone(),
        context: 1,
        closing,
    };
    texts.iter().map(sequence).collect()
}

fn tokens(texts: &[Vec<u32>]) -> f64 {
    texts.iter().map(Vec::len).sum::<usize>() as f64
}

/// Tokens of all copies of texts in which one token but the first and the last is masked.
fn copied(texts: &[Vec<u32>]) -> f64 {
    let copies = texts.iter().map(|t| t.len() * (t.len() - 2));
    copies.sum::<usize>() as f64
}

/// Floating-point operations of a causal pass over tokens whose common beginnings are shared with
/// the neighbour in sorted order, without attention itself.
fn operations(model: &Model, texts: &[Vec<u32>], head: bool) -> f64 {
    let mut sorted: Vec<&[u32]> = texts
        .iter()
        .map(|t| &t[..t.len() - usize::from(head)])
        .collect();
    sorted.sort_unstable();
    let mut rows = sorted.first().map_or(0, |t| t.len());
    for pair in sorted.windows(2) {
        let same = pair[0].iter().zip(pair[1]).take_while(|(a, b)| a == b);
        rows += pair[1].len() - same.count();
    }
    let g = &model.geometry;
    let attention = 2 * g.hidden_size * g.head_dim * (g.heads + g.kv_heads);
    let block = attention + 3 * g.hidden_size * g.intermediate_size;
    let table = if head {
        g.hidden_size * g.vocab_size
    } else {
        0
    };
    2.0 * rows as f64 * (g.layers * block + table) as f64
}

fn score(
    setup: &Setup,
    texts: &Texts,
    folder: &Path,
    share: usize,
    goals: [f64; 2],
) -> anyhow::Result<Job> {
    let model = open(folder, setup)?;
    let g = &model.geometry;
    let title = format!("scoring, {} blocks of {}", g.layers, g.hidden_size);
    let texts = some(&texts.pairs, 2, setup.share.unwrap_or(share));
    let name = title.replace([' ', ','], "-");
    let path = write_texts(setup, &name, &texts)?;
    let trial = write_texts(setup, &format!("{name}-trial"), &trial(&texts, 2, tokens))?;
    let request = json!({"op": "score", "model": folder, "texts": path});
    let sequences = sequences(&texts, 0);
    let mut ways = vec![Way::batched(&request, &trial, goals[1])];
    if goals[0] > 0.0 {
        ways.insert(0, Way::one(&request, goals[0]));
    }
    Ok(Job {
        title,
        units: (tokens(&texts), "tokens"),
        operations: Some(operations(&model, &texts, true)),
        tolerance: Some(setup.tolerance()),
        ways,
        ours: Box::new(move || {
            let start = Instant::now();
            let found = token_log_probs(&model, &sequences, &[Branch::unedited()], &mut |_, _| {})?;
            Ok(Measured {
                seconds: start.elapsed().as_secs_f64(),
                result: sums(&found[0]),
            })
        }),
    })
}

fn sums(found: &[Vec<f32>]) -> Vec<f64> {
    let sum = |of: &Vec<f32>| of.iter().map(|&x| f64::from(x)).sum();
    found.iter().map(sum).collect()
}

/// Removes one direction.
struct Direction(LowRank);

impl Direction {
    fn new(width: usize, seed: u64, device: &Device) -> Direction {
        let mut noise = Noise::new(seed);
        let v: Vec<f32> = (0..width).map(|_| noise.next()).collect();
        let length = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        let unit: Vec<f32> = v.iter().map(|x| x / length).collect();
        Direction(LowRank {
            right: from_rows(unit.clone(), width, 1, device),
            offset: from_rows(vec![0.0], 1, 1, device),
            left: from_rows(unit, 1, width, device),
        })
    }
}

impl StateEdit for Direction {
    fn apply(&self, h: Tensor<2>, _: &RowInfo<'_>) -> Tensor<2> {
        self.0.apply(h)
    }

    fn low_rank(&self) -> Option<LowRank> {
        Some(self.0.clone())
    }
}

/// Sixteen edits in one pass, beside what they are compared with: the unedited pass and the sixteen
/// heads (at the final norm), or sixteen passes (elsewhere).
fn edits(setup: &Setup, texts: &Texts, at_norm: bool) -> anyhow::Result<Job> {
    const EDITS: u64 = 16;
    let model = open(&causal(setup)?, setup)?;
    let layers = model.geometry.layers;
    // Sixteen heads or sixteen halves of the blocks for each text: a few hundred tokens are enough.
    let share = if at_norm { 1000 } else { 200 };
    let hook = match at_norm {
        true => Hook::FINAL_NORM,
        false => Hook::output(layers / 2),
    };
    let texts = some(&texts.pairs, 2, setup.share.unwrap_or(share));
    let sequences = sequences(&texts, 0);
    let width = model.geometry.hidden_size;
    let edits: Vec<Direction> = (1..=EDITS)
        .map(|seed| Direction::new(width, seed, &setup.device))
        .collect();
    let (title, one, goal) = match hook {
        Hook::FINAL_NORM => (
            "16 edits at the final norm".to_owned(),
            "one unedited pass and sixteen LM heads",
            1.0 / 1.5,
        ),
        _ => (
            format!("16 edits after block {} of 0 to {}", layers / 2, layers - 1),
            "sixteen passes with one edit each",
            1.0 / 0.6,
        ),
    };
    let run = move |apart: bool| {
        let branch = |edit| Branch::edited(hook, edit as &dyn StateEdit);
        let branches: Vec<Branch<'_>> = edits.iter().map(branch).collect();
        let pass = |branches: &[Branch<'_>]| -> anyhow::Result<(f64, Vec<f64>)> {
            let start = Instant::now();
            let found = token_log_probs(&model, &sequences, branches, &mut |_, _| {})?;
            let seconds = start.elapsed().as_secs_f64();
            Ok((seconds, found.iter().flat_map(|of| sums(of)).collect()))
        };
        if !apart {
            let (seconds, result) = pass(&branches)?;
            return Ok(Measured { seconds, result });
        }
        let mut all = Measured {
            seconds: 0.0,
            result: Vec::new(),
        };
        for branch in &branches {
            let (seconds, result) = pass(std::slice::from_ref(branch))?;
            all.seconds += seconds;
            all.result.extend(result);
        }
        if hook == Hook::FINAL_NORM {
            // What the heads cost is the difference between a pass that scores and one that does not.
            let scoring = pass(&[Branch::unedited()])?.0;
            let without = blocks_only(&model, &sequences)?;
            all.seconds = scoring + EDITS as f64 * (scoring - without).max(0.0);
        }
        Ok(all)
    };
    let run = std::rc::Rc::new(run);
    let apart = run.clone();
    Ok(Job {
        title,
        units: (tokens(&texts), "tokens"),
        operations: None,
        tolerance: Some(setup.tolerance()),
        ways: vec![Way {
            name: one,
            goal: Some(goal),
            request: None,
            trial: None,
            ours: Some(Box::new(move || apart(true))),
        }],
        ours: Box::new(move || run(false)),
    })
}

/// Seconds of a pass through all blocks and the final norm.
fn blocks_only(model: &Model, sequences: &[Sequence]) -> anyhow::Result<f64> {
    let start = Instant::now();
    let last = [Capture {
        hook: Hook::FINAL_NORM,
        pooling: Pooling::Mean,
    }];
    capture(
        model,
        sequences,
        &last,
        &mut |_, _, _| Ok(()),
        &mut |_, _| {},
    )?;
    Ok(start.elapsed().as_secs_f64())
}

fn masked(setup: &Setup, texts: &Texts) -> anyhow::Result<Job> {
    let folder = random(setup, "bert-base", &bert_base())?;
    let model = open(&folder, setup)?;
    // Three pairs, between BERT's own frame: every token of a text is one more copy of it, and the other side
    // runs them all one at a time.
    const TEXTS: usize = 6;
    let share = setup.share.unwrap_or(texts.pairs.len() / TEXTS);
    let mut texts = some(&texts.pairs, 2, share.max(1));
    if setup.share.is_none() {
        texts.truncate(TEXTS);
    }
    for text in &mut texts {
        text[0] = 2;
        text.push(3);
    }
    let path = write_texts(setup, "masked", &texts)?;
    let trial = write_texts(setup, "masked-trial", &trial(&texts, 2, copied))?;
    let request = json!({"op": "mask", "model": folder, "texts": path, "mask": 4});
    let requests: Vec<MaskRequest> = sequences(&texts, 1)
        .into_iter()
        .map(MaskRequest::text)
        .collect();
    let copies = copied(&texts);
    Ok(Job {
        title: "masked scoring, BERT base".into(),
        units: (copies, "tokens"),
        operations: None,
        tolerance: Some(setup.tolerance()),
        ways: vec![Way::one(&request, 3.0), Way::batched(&request, &trial, 1.2)],
        ours: Box::new(move || {
            let start = Instant::now();
            let found = masked_log_probs(&model, &requests, &[Branch::unedited()], &mut |_, _| {})?;
            Ok(Measured {
                seconds: start.elapsed().as_secs_f64(),
                result: sums(&found[0]),
            })
        }),
    })
}

fn captured(setup: &Setup, texts: &Texts) -> anyhow::Result<Job> {
    let folder = match &texts.model {
        Some(folder) => folder.clone(),
        None => random(setup, "cohere-4x256", &cohere_4x256())?,
    };
    let model = open(&folder, setup)?;
    let mut rows = some(&texts.rows, 4, setup.share.unwrap_or(8));
    rows.truncate(50_000);
    rows.retain(|text| text.len() > 1);
    let path = write_texts(setup, "capture", &rows)?;
    let trial = write_texts(setup, "capture-trial", &trial(&rows, 4, tokens))?;
    // `hidden_states` of transformers: after blocks 1 and 2, and the last one after the final norm.
    let hooks = [Hook::output(1), Hook::output(2), Hook::FINAL_NORM];
    let request = json!({
        "op": "capture", "model": folder, "texts": path, "hooks": [2, 3, model.geometry.layers],
    });
    let sequences = sequences(&rows, 0);
    let captures = hooks.map(|hook| Capture {
        hook,
        pooling: Pooling::Mean,
    });
    let (count, width) = (rows.len(), model.geometry.hidden_size);
    Ok(Job {
        title: "mean states at 3 hook points".into(),
        units: (tokens(&rows), "tokens"),
        operations: None,
        tolerance: Some(setup.tolerance()),
        ways: vec![Way::batched(&request, &trial, 1.2)],
        ours: Box::new(move || {
            let mut states = vec![0.0f32; hooks.len() * count * width];
            let start = Instant::now();
            let mut sink = |at: usize, sequence: usize, state: &[f32]| {
                states[(at * count + sequence) * width..][..width].copy_from_slice(state);
                Ok(())
            };
            capture(&model, &sequences, &captures, &mut sink, &mut |_, _| {})?;
            Ok(Measured {
                seconds: start.elapsed().as_secs_f64(),
                result: states
                    .chunks_exact(width)
                    .flat_map(|s| s[..4].iter().map(|&x| f64::from(x)))
                    .collect(),
            })
        }),
    })
}

/// Random token states of parallel sentences, all in memory.
struct Random {
    languages: [String; 4],
    rows: usize,
    tokens: usize,
    width: usize,
    values: Vec<f32>,
}

impl States for Random {
    fn languages(&self) -> &[String] {
        &self.languages
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn width(&self) -> usize {
        self.width
    }

    fn read(
        &self,
        language: usize,
        row: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let one = self.tokens * self.width;
        out.extend_from_slice(&self.values[(language * self.rows + row) * one..][..one]);
        Ok(self.tokens)
    }
}

fn autoencoder(setup: &Setup) -> anyhow::Result<Job> {
    let (width, latent) = if setup.quick {
        (512, 128)
    } else {
        (4096, 1024)
    };
    // 32 rows in four languages, four tokens each: 512 tokens a step.
    let (languages, batch, tokens, rows) = (4, 32, 4, 64);
    let steps = if setup.quick { 4 } else { 16 };
    let mut noise = Noise::new(7);
    let values: Vec<f32> = (0..languages * rows * tokens * width)
        .map(|_| noise.next())
        .collect();
    let path = write_matrix(setup, "states", &values)?;
    let states = Random {
        languages: ["en", "fr", "de", "nl"].map(String::from),
        rows,
        tokens,
        width,
        values,
    };
    // Two rows: the loss on validation rows takes no time that is worth counting.
    let few = Random {
        languages: states.languages.clone(),
        rows: 2,
        tokens,
        width,
        values: states.values[..languages * 2 * tokens * width].to_vec(),
    };
    let request = json!({
        "op": "autoencoder", "states": path, "in_all": languages * rows * tokens, "width": width,
        "latent": latent, "languages": languages, "rows": batch, "tokens": tokens, "steps": steps,
        "rate": 1e-3,
    });
    let config = Config {
        latent,
        hidden: 0,
        linear: false,
        batch,
        steps: 2 * steps,
        eval_every: steps,
        alignment: Alignment::InfoNce { temperature: 0.07 },
        ..Config::default()
    };
    let device = setup.device.clone();
    let all = (steps * languages * batch * tokens) as f64;
    Ok(Job {
        title: format!("autoencoder, one of each language, {width} to {latent}, 512 tokens a step"),
        units: (all, "tokens"),
        // Forward, gradients of the weights, and of the latents.
        operations: Some(all * (width * latent) as f64 * 2.0 * 5.0),
        tolerance: None,
        ways: vec![Way::plain(&request, "PyTorch", 1.0)],
        ours: Box::new(move || {
            let mut times = Vec::new();
            let mut losses = Vec::new();
            train(&config, 1, &states, &few, &device, &mut |p| {
                times.push(Instant::now());
                losses.push(p.loss);
            })?;
            Ok(Measured {
                // The second half: the first one also starts things.
                seconds: (times[1] - times[0]).as_secs_f64(),
                result: losses,
            })
        }),
    })
}

fn write_matrix(setup: &Setup, name: &str, values: &[f32]) -> anyhow::Result<PathBuf> {
    let path = setup.folder.join(format!("{name}.f32"));
    let mut file = BufWriter::new(File::create(&path)?);
    for x in values {
        file.write_all(&x.to_le_bytes())?;
    }
    file.flush()?;
    Ok(path)
}

/// Vectors of two classes that differ along the first axes, with noise that is not the same along
/// all of them.
fn planted(rows: usize, width: usize) -> Vec<f32> {
    let mut noise = Noise::new(3);
    let mut values = Vec::with_capacity(rows * width);
    for i in 0..rows {
        let sign = if i % 2 == 0 { -1.0 } else { 1.0 };
        for j in 0..width {
            let scale = 0.2 + (j % 17) as f32 / 17.0;
            let apart = if j < 8 { 0.15 * sign } else { 0.0 };
            values.push((noise.next() + noise.next()) * scale + apart);
        }
    }
    values
}

fn fit_data(values: &[f32], rows: usize, width: usize) -> anyhow::Result<FitData> {
    Ok(FitData {
        x: Matrix::from_f32(rows, width, values)?,
        label: (0..rows).map(|i| i % 2).collect(),
        tuple: (0..rows).map(|i| Some(i / 2)).collect(),
        classes: vec!["male".into(), "female".into()],
        ..FitData::default()
    })
}

fn leace(setup: &Setup) -> anyhow::Result<Job> {
    let (rows, width) = if setup.quick {
        (2000, 256)
    } else {
        (20_000, 4096)
    };
    let values = planted(rows, width);
    let request = |dtype: &str, path: &Path| json!({"op": "leace", "x": path, "rows": rows, "classes": 2, "dtype": dtype});
    let path = write_matrix(setup, "vectors", &values)?;
    let ways = vec![
        Way::plain(&request("float64", &path), "concept-erasure, f64", 2.0),
        Way::plain(&request("float32", &path), "concept-erasure, f32", 2.0),
    ];
    let data = fit_data(&values, rows, width)?;
    let first = values[..16 * width].to_vec();
    Ok(Job {
        title: format!("LEACE, vectors of {width}"),
        units: (rows as f64, "vectors"),
        operations: None,
        tolerance: Some(1e-3),
        ways,
        ours: Box::new(move || {
            let start = Instant::now();
            let fitted = by_name("leace")?.fit(&data, &FitOptions::default())?;
            let mut states = first.clone();
            fitted.edit.apply_rows(&mut states)?;
            Ok(Measured {
                seconds: start.elapsed().as_secs_f64(),
                result: states.into_iter().map(f64::from).collect(),
            })
        }),
    })
}

fn inlp(setup: &Setup) -> anyhow::Result<Job> {
    const ROUNDS: usize = 2;
    let (rows, width) = if setup.quick {
        (2000, 256)
    } else {
        (20_000, 4096)
    };
    let values = planted(rows, width);
    let path = write_matrix(setup, "vectors", &values)?;
    let request = json!({
        "op": "inlp", "x": path, "rows": rows, "classes": 2, "rounds": ROUNDS, "iterations": 1000,
    });
    let data = fit_data(&values, rows, width)?;
    Ok(Job {
        title: format!("INLP, {ROUNDS} rounds, vectors of {width}"),
        units: (rows as f64, "vectors"),
        operations: None,
        // Theirs stops earlier; the two classifiers differ in a few rows.
        tolerance: Some(5e-3),
        ways: vec![Way::plain(&request, "scikit-learn", 3.0)],
        ours: Box::new(move || {
            let options = FitOptions::default().param("rounds", ROUNDS as f64);
            let start = Instant::now();
            let fitted = by_name("inlp")?.fit(&data, &options)?;
            let seconds = start.elapsed().as_secs_f64();
            let accuracy = |(name, _): &&(String, f64)| name.starts_with("accuracy_round_");
            let result = fitted
                .notes
                .iter()
                .filter(accuracy)
                .map(|(_, x)| *x)
                .collect();
            Ok(Measured { seconds, result })
        }),
    })
}

/// Rows and columns of the products that [`peak`] times: enough to fill the device.
pub fn peak_size(device: &Device) -> usize {
    match is_plain_cpu(device) {
        true => 2048,
        false => 8192,
    }
}

/// The matrix rate of the device through the same products as everything else, in floating-point
/// operations per second.
pub fn peak(setup: &Setup) -> f64 {
    let size = peak_size(&setup.device);
    let mut noise = Noise::new(5);
    let mut square = || {
        let values = (0..size * size).map(|_| noise.next()).collect();
        from_rows(values, size, size, &setup.device)
    };
    let (a, b) = (square(), setup.precision.cast(square()));
    let laid_out = ops::Matrix::new(b.clone());
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let ways: [&dyn Fn() -> Tensor<2>; 2] = [&|| ops::linear(a.clone(), &b), &|| {
            ops::linear(a.clone(), &laid_out)
        }];
        for way in ways {
            let start = Instant::now();
            // A device may answer before it is done.
            std::hint::black_box(to_host(way().narrow(0, 0, 1)));
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    2.0 * (size as f64).powi(3) / best
}

/// Seconds of this program with these arguments, started anew; the best of `runs`.
///
/// # Errors
/// A program that fails.
pub fn start(arguments: &[&str], runs: usize) -> anyhow::Result<Vec<f64>> {
    let me = std::env::current_exe().context("cannot find this program again")?;
    let mut all = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let status = Command::new(&me)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("`cargo xtask {}` failed", arguments.join(" "));
        }
        all.push(start.elapsed().as_secs_f64());
    }
    Ok(all)
}
