//! Pre-training of a small language model on real text.
//!
//! ```text
//! text → held-out split → tokenizer → training with checkpoints → checkpoint folder → perplexity → model card
//! ```
//!
//! The run works in `OUT/<name>.making`, which is renamed to `OUT/<name>` when all is written. A
//! killed run goes on from its last checkpoint and ends with the weights of a straight run. The name is
//! fixed because the next run must find the checkpoints; so runs at once take turns there.

mod card;
mod schedule;
mod spec;
mod text;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use interlingua_backend::device::describe;
use interlingua_backend::optim::AdamWConfig;
use interlingua_backend::{Device, DeviceName};
use interlingua_data::{Language, Manifest};
use interlingua_metrics::bootstrap::{Bootstrap, Estimate, ratio};
use interlingua_metrics::perplexity::perplexity;
use interlingua_models::engine::{Branch, token_log_probs};
use interlingua_models::tokenizer::train_bpe;
use interlingua_models::train::{REVISION, TrainConfig, Trainer};
use interlingua_models::{Model, Residency, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::cache::{Cache, write_atomically};
use crate::check::remedy;
use crate::progress::{Event, Listener};

pub use card::{model_card, table};
use schedule::Schedule;
pub use spec::{DataSpec, GeometrySpec, PretrainSpec, TextSpec, TrainingSpec};
pub use text::{DataFile, LeftOut, Sentence, Text};

/// Token at the beginning of every sequence.
pub const BOS: u32 = 2;
/// Token that is learned at the end of every sentence.
pub const EOS: u32 = 3;

/// Where a run takes things from and puts them.
#[derive(Debug, Clone)]
pub struct Options {
    /// Root of data files.
    pub data_dir: PathBuf,
    /// Folder of checkpoint folders.
    pub out: PathBuf,
    /// Device.
    pub device: DeviceName,
    /// Whether a half-done run continues from its last checkpoint.
    pub resume: bool,
    /// Manifests that know licences by the hash of a file.
    pub manifests: Vec<Manifest>,
    /// What the user typed, for the record.
    pub command: String,
}

/// The record of a run, `training.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Digest of the settings, the text and the device: two runs of one digest make the same model.
    pub key: String,
    /// What the user typed.
    pub command: String,
    /// The settings with every default.
    pub settings: PretrainSpec,
    /// Version of this program.
    pub version: String,
    /// Commit of the working folder, where git knows one.
    pub commit: Option<String>,
    /// Device.
    pub device: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// Entries of the tokenizer.
    pub vocabulary: usize,
    /// The files that were read.
    pub files: Vec<DataFile>,
    /// Rows used of every `[[text]]`.
    pub rows: Vec<u64>,
    /// What was left out of the training text.
    pub left_out: LeftOut,
    /// The training text by source and language.
    pub text: Vec<TextSize>,
    /// Steps.
    pub steps: usize,
    /// Predicted tokens in all steps, end tokens included.
    pub tokens: usize,
    /// Predicted tokens in one pass.
    pub epoch_tokens: usize,
    /// Seconds of training, interruptions left out.
    pub seconds: f64,
    /// Mean losses.
    pub loss: Vec<LossPoint>,
    /// Perplexities on a part of the held-out text on the way.
    pub evaluations: Vec<Evaluation>,
    /// Perplexities on all held-out text at the end.
    pub held_out: Vec<HeldOut>,
}

/// How much training text there is in one language from one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextSize {
    /// Source.
    pub source: String,
    /// Language.
    pub language: Language,
    /// Different sentences.
    pub sentences: usize,
    /// Their characters.
    pub characters: usize,
    /// Their tokens, end tokens included.
    pub tokens: usize,
    /// How often a pass repeats them, on average.
    pub repeats: f64,
}

/// A point of the loss curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Steps taken.
    pub step: usize,
    /// Mean loss since the point before, nats per token.
    pub loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

/// Perplexities during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps taken.
    pub step: usize,
    /// Perplexity per token by language.
    pub perplexity: BTreeMap<Language, f64>,
}

/// How well the model predicts held-out text of one language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Source; `None` for all sources together.
    pub source: Option<String>,
    /// Language.
    pub language: Language,
    /// Sentences.
    pub sentences: usize,
    /// Tokens predicted; the end token is not among them.
    pub tokens: usize,
    /// Characters of the sentences.
    pub characters: usize,
    /// Perplexity per token, interval over sentences.
    pub perplexity: Estimate,
    /// Bits per character, interval over sentences; comparable across tokenizers.
    pub bits_per_character: Estimate,
}

/// What a run leaves behind.
#[derive(Debug)]
pub struct Outcome {
    /// The checkpoint folder.
    pub folder: PathBuf,
    /// Its record.
    pub record: Record,
    /// Whether the folder was finished before.
    pub cached: bool,
}

/// What belongs to a checkpoint beside the state of the trainer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Log {
    seconds: f64,
    tokens: usize,
    loss: Vec<LossPoint>,
    evaluations: Vec<Evaluation>,
    /// Loss × tokens and tokens since the last point of the curve.
    pending: (f64, usize),
}

/// Carries out a pre-training run.
///
/// # Errors
/// A finished or half-done run of other settings in the same place, unreadable text, a full disk,
/// a loss that is not finite.
pub fn pretrain(
    spec: &PretrainSpec,
    options: &Options,
    listener: Listener<'_>,
) -> Result<Outcome, ExperimentError> {
    let device = options.device.open()?;
    let files = text::files(spec, options)?;
    let hashes: Vec<_> = files.iter().map(|f| (&f.file, &f.sha256)).collect();
    let made_by = (REVISION, describe(&device));
    let key = Cache::key("pretrain", &(spec, hashes, made_by));
    let place = Place::new(&options.out, &spec.name);
    if let Some(record) = place.finished(&key)? {
        return Ok(Outcome {
            folder: place.folder,
            record,
            cached: true,
        });
    }
    let _turn = place.turn(listener)?;
    // Another run may have made it meanwhile.
    if let Some(record) = place.finished(&key)? {
        std::fs::remove_dir(&place.making).map_err(ExperimentError::io(&place.making))?;
        return Ok(Outcome {
            folder: place.folder,
            record,
            cached: true,
        });
    }
    let continues = place.begin(&key, options.resume)?;
    let mut run = Run { listener };

    let text = run.stage("read text", |_| text::read(spec, &options.data_dir))?;
    let tokenizer_path = place.making.join("tokenizer.json");
    if !continues {
        run.stage("train tokenizer", |_| {
            let lines = text.train.iter().map(|s| s.text.as_str());
            let json = train_bpe(lines, spec.model.vocab_size).map_err(|e| {
                ExperimentError::plan(
                    "model.vocab_size",
                    format!("the tokenizer could not be trained: {e}"),
                )
            })?;
            write_atomically(&tokenizer_path, json.as_bytes())
        })?;
    }
    let tokenizer_json =
        std::fs::read_to_string(&tokenizer_path).map_err(ExperimentError::io(&tokenizer_path))?;
    let tokenizer = Tokenizer::open(&place.making, spec.model.vocab_size)?;
    let corpus = run.stage("tokenise", |_| tokenise(spec, &text, &tokenizer))?;

    let lengths = corpus
        .sequences
        .iter()
        .map(|s| s.len() as u32 - 1)
        .collect();
    let t = &spec.training;
    let mut schedule = Schedule::new(lengths, t.epochs, t.batch_tokens, spec.seed);
    let mut trainer = trainer(spec, tokenizer.len(), schedule.steps(), &device);
    let mut log = Log::default();
    if continues {
        trainer.resume(&place.checkpoint)?;
        log = place.log(trainer.steps_done())?;
        (run.listener)(Event::Note(format!(
            "training continues from step {} of {}",
            trainer.steps_done(),
            schedule.steps()
        )));
    }
    run.stage("train language model", |listener| {
        let mut training = Training {
            spec,
            text: &text,
            tokenizer_json: &tokenizer_json,
            place: &place,
            device: &device,
            trainer: &mut trainer,
            log: &mut log,
        };
        training.run(&corpus.sequences, &mut schedule, listener)
    })?;
    trainer.export(&place.making, &tokenizer_json)?;
    let held_out = run.stage("held-out perplexity", |listener| {
        held_out(spec, &text, &place.making, &device, listener)
    })?;
    let record = Record {
        key,
        command: options.command.clone(),
        settings: spec.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: crate::run::git_commit(),
        device: describe(&device),
        parameters: parameters(spec, tokenizer.len()),
        vocabulary: tokenizer.len(),
        files,
        rows: text.rows.clone(),
        left_out: corpus.left_out,
        text: corpus.sizes,
        steps: trainer.steps_done(),
        tokens: log.tokens,
        epoch_tokens: schedule.epoch_tokens(),
        seconds: log.seconds,
        loss: log.loss,
        evaluations: log.evaluations,
        held_out,
    };
    place.finish(&record)?;
    Ok(Outcome {
        folder: place.folder,
        record,
        cached: false,
    })
}

/// Runs stages with their events.
struct Run<'a> {
    listener: Listener<'a>,
}

impl Run<'_> {
    fn stage<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut dyn FnMut(Event)) -> Result<T, ExperimentError>,
    ) -> Result<T, ExperimentError> {
        (self.listener)(Event::Stage {
            name: name.to_owned(),
            cached: false,
        });
        let start = Instant::now();
        let result = work(&mut *self.listener)?;
        let seconds = start.elapsed().as_secs_f64();
        (self.listener)(Event::Done { seconds });
        Ok(result)
    }
}

/// The folders and files of a run.
struct Place {
    folder: PathBuf,
    making: PathBuf,
    checkpoint: PathBuf,
}

impl Place {
    fn new(out: &Path, name: &str) -> Place {
        let making = out.join(format!("{name}.making"));
        Place {
            folder: out.join(name),
            checkpoint: making.join("checkpoint.safetensors"),
            making,
        }
    }

    /// The record of the finished run, if it is there and was made from the same.
    fn finished(&self, key: &str) -> Result<Option<Record>, ExperimentError> {
        if !self.folder.exists() {
            return Ok(None);
        }
        let path = self.folder.join("training.json");
        let other = |why: String| {
            ExperimentError::plan(
                "name",
                format!(
                    "{} is there already and {why}; choose another --out or another name, or move the folder away",
                    self.folder.display()
                ),
            )
        };
        let bytes =
            std::fs::read(&path).map_err(|e| other(format!("has no training.json ({e})")))?;
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|e| other(format!("its training.json cannot be read ({e})")))?;
        if record.key == key {
            self.clear()?;
            Ok(Some(record))
        } else {
            Err(other(
                "was made with other settings, text, device or version of this program".into(),
            ))
        }
    }

    /// Waits until no other run works in the working folder, which is made where it is missing.
    fn turn(&self, listener: Listener<'_>) -> Result<File, ExperimentError> {
        let note = format!(
            "another run is making {}; waiting for it",
            self.folder.display()
        );
        interlingua_files::turn(&self.making, &mut || {
            listener(Event::Note(note.clone()));
        })
        .map_err(ExperimentError::io(&self.making))
    }

    /// Prepares the working folder, which is this run's alone; returns whether there is a checkpoint to continue from.
    fn begin(&self, key: &str, resume: bool) -> Result<bool, ExperimentError> {
        let settings = self.making.join("key");
        let begun = self.checkpoint.is_file();
        if begun && !resume {
            return Err(ExperimentError::plan(
                "name",
                format!(
                    "{} holds a half-done run; continue it with --resume, choose another --out, or delete the folder",
                    self.making.display()
                ),
            ));
        }
        if begun {
            interlingua_files::sweep(&self.making).map_err(ExperimentError::io(&self.making))?;
            let known =
                std::fs::read_to_string(&settings).map_err(ExperimentError::io(&settings))?;
            if known != key {
                return Err(ExperimentError::plan(
                    "name",
                    format!(
                        "{} holds a half-done run of other settings, text, device or version of this program, which \
                         cannot be continued; choose another --out or another name, or delete the folder",
                        self.making.display()
                    ),
                ));
            }
            return Ok(true);
        }
        // The folder itself is locked, and stays.
        let entries = std::fs::read_dir(&self.making).map_err(ExperimentError::io(&self.making))?;
        for entry in entries {
            let path = entry.map_err(ExperimentError::io(&self.making))?.path();
            interlingua_files::remove(&path).map_err(ExperimentError::io(&path))?;
        }
        write_atomically(&settings, key.as_bytes())?;
        Ok(false)
    }

    fn log_path(&self, step: usize) -> PathBuf {
        self.making.join(format!("log-{step}.json"))
    }

    fn log(&self, step: usize) -> Result<Log, ExperimentError> {
        let path = self.log_path(step);
        let bytes = std::fs::read(&path).map_err(ExperimentError::io(&path))?;
        serde_json::from_slice(&bytes).map_err(|e| ExperimentError::Cache {
            path,
            problem: e.to_string(),
        })
    }

    /// Saves the state after a step.
    fn save(&self, trainer: &Trainer, log: &Log) -> Result<(), ExperimentError> {
        // The log goes first: whichever checkpoint a kill leaves, its log is there.
        let path = self.log_path(trainer.steps_done());
        let bytes = serde_json::to_vec(log).expect("a log is plain data");
        write_atomically(&path, &bytes)?;
        trainer.save_checkpoint(&self.checkpoint)?;
        for old in logs(&self.making) {
            if old != path {
                std::fs::remove_file(&old).map_err(ExperimentError::io(&old))?;
            }
        }
        Ok(())
    }

    /// Writes the record and the card, renames, and clears away what only a half-done run needs.
    fn finish(&self, record: &Record) -> Result<(), ExperimentError> {
        let json = serde_json::to_value(record).expect("a record is plain data");
        write_atomically(
            &self.making.join("README.md"),
            model_card(record).as_bytes(),
        )?;
        write_atomically(
            &self.making.join("training.json"),
            format!("{json:#}\n").as_bytes(),
        )?;
        std::fs::rename(&self.making, &self.folder).map_err(ExperimentError::io(&self.folder))?;
        self.clear()
    }

    /// Removes from the finished folder what a kill after its rename may have left there.
    fn clear(&self) -> Result<(), ExperimentError> {
        let mut left = logs(&self.folder);
        left.extend(["key", "checkpoint.safetensors"].map(|name| self.folder.join(name)));
        for path in left.into_iter().filter(|p| p.is_file()) {
            std::fs::remove_file(&path).map_err(ExperimentError::io(&path))?;
        }
        Ok(())
    }
}

/// Logs of checkpoints in a folder.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("log-") && name.ends_with(".json")
        })
        .collect()
}

/// The training text as the trainer takes it.
struct Corpus {
    /// Token ids with start and end token.
    sequences: Vec<Vec<u32>>,
    sizes: Vec<TextSize>,
    left_out: LeftOut,
}

/// Tokenises all sentences, repeated as the language balance asks.
fn tokenise(
    spec: &PretrainSpec,
    text: &Text,
    tokenizer: &Tokenizer,
) -> Result<Corpus, ExperimentError> {
    let mut left_out = text.left_out;
    let encoded = encode(tokenizer, &text.train)?;
    let mut kept: BTreeMap<Language, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
    for (at, ids) in encoded.into_iter().enumerate() {
        let sequence: Vec<u32> = [BOS].into_iter().chain(ids).chain([EOS]).collect();
        // The last token is only predicted.
        if sequence.len() - 1 > spec.model.max_positions {
            left_out.too_long += 1;
        } else {
            let language = text.train[at].language;
            kept.entry(language).or_default().push((at, sequence));
        }
    }
    let largest = kept.values().map(Vec::len).max().unwrap_or(0) as f64;
    let (mut sequences, mut sizes) = (Vec::new(), Vec::new());
    for (language, sentences) in kept {
        let repeats = (largest / sentences.len() as f64).powf(1.0 - spec.data.balance);
        let mut by_source: BTreeMap<usize, TextSize> = BTreeMap::new();
        for (nth, (at, sequence)) in sentences.into_iter().enumerate() {
            let sentence = &text.train[at];
            let size = by_source
                .entry(sentence.source)
                .or_insert_with(|| TextSize {
                    source: text.sources[sentence.source].clone(),
                    language,
                    sentences: 0,
                    characters: 0,
                    tokens: 0,
                    repeats,
                });
            size.sentences += 1;
            size.characters += sentence.text.chars().count();
            size.tokens += sequence.len() - 1;
            // Of a repetition of 2.4, two in five sentences are there three times, evenly spread.
            let until = |n: usize| (n as f64 * repeats).round() as usize;
            for _ in until(nth)..until(nth + 1) {
                sequences.push(sequence.clone());
            }
        }
        sizes.extend(by_source.into_values());
    }
    if sequences.is_empty() {
        return Err(ExperimentError::plan(
            "model.max_positions",
            format!("no sentence fits into {}", spec.model.max_positions),
        ));
    }
    Ok(Corpus {
        sequences,
        sizes,
        left_out,
    })
}

/// Token ids of sentences, in their order, on all cores.
fn encode(tokenizer: &Tokenizer, sentences: &[Sentence]) -> Result<Vec<Vec<u32>>, ExperimentError> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let part = sentences.len().div_ceil(threads).max(1);
    let parts = std::thread::scope(|scope| {
        let workers: Vec<_> = sentences
            .chunks(part)
            .map(|part| {
                scope.spawn(move || {
                    let ids = part.iter().map(|s| tokenizer.encode(&s.text));
                    ids.collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("encoding does not panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(parts.concat())
}

fn trainer(spec: &PretrainSpec, vocabulary: usize, steps: usize, device: &Device) -> Trainer {
    let t = &spec.training;
    let optimiser = AdamWConfig {
        learning_rate: t.learning_rate,
        beta_1: t.beta_1,
        beta_2: t.beta_2,
        weight_decay: t.weight_decay,
        clip_norm: t.clip_norm,
        warmup: ((t.warmup * steps as f64) as usize).max(1),
        steps,
        ..AdamWConfig::default()
    };
    let config = TrainConfig {
        batch: 1,
        seed: spec.seed,
        optimiser,
    };
    Trainer::new(spec.model.config(vocabulary), config, device)
}

/// Number of parameters of the model with a vocabulary of this size.
fn parameters(spec: &PretrainSpec, vocabulary: usize) -> usize {
    interlingua_models::architectures::cohere::tensors(&spec.model.config(vocabulary))
        .needed()
        .values()
        .map(|shape| shape.iter().product::<usize>())
        .sum()
}

/// The training loop with what it writes to.
struct Training<'a> {
    spec: &'a PretrainSpec,
    text: &'a Text,
    tokenizer_json: &'a str,
    place: &'a Place,
    device: &'a Device,
    trainer: &'a mut Trainer,
    log: &'a mut Log,
}

impl Training<'_> {
    fn run(
        &mut self,
        corpus: &[Vec<u32>],
        schedule: &mut Schedule,
        listener: &mut dyn FnMut(Event),
    ) -> Result<(), ExperimentError> {
        let t = &self.spec.training;
        let steps = schedule.steps();
        // What was done before a kill took its time in another process.
        let before = self.log.clone();
        let first_step = self.trainer.steps_done();
        let start = Instant::now();
        let mut shown = f64::NAN;
        while self.trainer.steps_done() < steps {
            let at = self.trainer.steps_done();
            let rate = self.trainer.learning_rate();
            let sentences = schedule.step(at);
            let batch: Vec<&[u32]> = sentences
                .iter()
                .map(|&s| corpus[s as usize].as_slice())
                .collect();
            let tokens: usize = batch.iter().map(|s| s.len() - 1).sum();
            let loss = self.trainer.step_on(&batch)?;
            shown = if shown.is_nan() {
                loss
            } else {
                0.95 * shown + 0.05 * loss
            };
            self.log.tokens += tokens;
            self.log.pending.0 += loss * tokens as f64;
            self.log.pending.1 += tokens;
            let step = at + 1;
            if step.is_multiple_of(t.log_every) || step == steps {
                let (sum, count) = std::mem::take(&mut self.log.pending);
                self.log.loss.push(LossPoint {
                    step,
                    loss: sum / count as f64,
                    learning_rate: rate,
                });
            }
            let seconds = start.elapsed().as_secs_f64();
            let speed = (self.log.tokens - before.tokens) as f64 / seconds;
            if step.is_multiple_of(t.evaluate_every) && step < steps {
                let perplexity = self.evaluate()?;
                let rest = seconds / (step - first_step) as f64 * (steps - step) as f64;
                let news = perplexity
                    .iter()
                    .map(|(language, value)| format!("{language} {value:.1}"))
                    .collect::<Vec<_>>()
                    .join(", ");
                listener(Event::Note(format!(
                    "step {step} of {steps}: loss {shown:.3}, held-out perplexity {news}; {speed:.0} tokens/s, {:.0} min to go",
                    rest / 60.0
                )));
                self.log.evaluations.push(Evaluation { step, perplexity });
            }
            listener(Event::Progress {
                done: step,
                total: steps,
                note: format!("loss {shown:.3} nats per token, {speed:.0} tokens/s"),
            });
            if step.is_multiple_of(t.checkpoint_every) || step == steps {
                self.log.seconds = before.seconds + start.elapsed().as_secs_f64();
                self.place.save(self.trainer, self.log)?;
            }
        }
        Ok(())
    }

    /// Perplexity of the first held-out sentences of every language, by the engine.
    fn evaluate(&self) -> Result<BTreeMap<Language, f64>, ExperimentError> {
        self.trainer
            .export(&self.place.making, self.tokenizer_json)?;
        let model = Model::open(&self.place.making, self.device, Residency::Auto)?;
        let mut result = BTreeMap::new();
        for language in self.spec.languages() {
            let sentences: Vec<&Sentence> = self
                .text
                .held_out
                .iter()
                .filter(|s| s.language == language)
                .take(self.spec.training.evaluate_sentences)
                .collect();
            let judged = judge(&model, &sentences)?;
            let bits: f64 = judged.iter().map(|j| j.nats).sum();
            let tokens: usize = judged.iter().map(|j| j.tokens).sum();
            result.insert(language, (bits / tokens.max(1) as f64).exp());
        }
        Ok(result)
    }
}

/// How a model predicts a sentence.
struct Judged<'a> {
    sentence: &'a Sentence,
    nats: f64,
    tokens: usize,
}

/// Sentences whose states are held at a time.
const JUDGED_AT_ONCE: usize = 1000;

/// Surprisal of sentences; those longer than the model takes and those without tokens are left out.
fn judge<'a>(
    model: &Model,
    sentences: &[&'a Sentence],
) -> Result<Vec<Judged<'a>>, ExperimentError> {
    let mut judged = Vec::with_capacity(sentences.len());
    for part in sentences.chunks(JUDGED_AT_ONCE) {
        let mut sequences = Vec::with_capacity(part.len());
        let mut kept = Vec::with_capacity(part.len());
        for &sentence in part {
            let sequence = model.sequence(&sentence.text)?;
            let fits = sequence.tokens.len() <= model.max_tokens();
            if fits && sequence.tokens.len() > sequence.context {
                sequences.push(sequence);
                kept.push(sentence);
            }
        }
        let mut branches =
            token_log_probs(model, &sequences, &[Branch::unedited()], &mut |_, _| {})?;
        for (sentence, log_probs) in kept.into_iter().zip(branches.remove(0)) {
            judged.push(Judged {
                sentence,
                nats: -log_probs.iter().map(|&l| f64::from(l)).sum::<f64>(),
                tokens: log_probs.len(),
            });
        }
    }
    Ok(judged)
}

/// Perplexities on all held-out text.
fn held_out(
    spec: &PretrainSpec,
    text: &Text,
    folder: &Path,
    device: &Device,
    listener: &mut dyn FnMut(Event),
) -> Result<Vec<HeldOut>, ExperimentError> {
    let model = Model::open(folder, device, Residency::Auto)?;
    let languages = spec.languages();
    let mut result = Vec::new();
    for (at, &language) in languages.iter().enumerate() {
        let sentences: Vec<&Sentence> = text
            .held_out
            .iter()
            .filter(|s| s.language == language)
            .collect();
        let judged = judge(&model, &sentences)?;
        let all: Vec<&Judged<'_>> = judged.iter().collect();
        result.push(summary(spec, None, language, &all)?);
        for (source, name) in text.sources.iter().enumerate() {
            let of: Vec<&Judged<'_>> = judged
                .iter()
                .filter(|j| j.sentence.source == source)
                .collect();
            // Where one source is all there is, its line would say the same again.
            if !of.is_empty() && of.len() < judged.len() {
                result.push(summary(spec, Some(name.clone()), language, &of)?);
            }
        }
        listener(Event::Progress {
            done: at + 1,
            total: languages.len(),
            note: language.to_string(),
        });
    }
    Ok(result)
}

fn summary(
    spec: &PretrainSpec,
    source: Option<String>,
    language: Language,
    judged: &[&Judged<'_>],
) -> Result<HeldOut, ExperimentError> {
    let options = Bootstrap {
        resamples: spec.training.resamples,
        ..Bootstrap::seeded(spec.seed)
    };
    let what = || format!("held-out perplexity in {language}");
    let tokens: Vec<usize> = judged.iter().map(|j| j.tokens).collect();
    let log_likelihoods: Vec<f64> = judged.iter().map(|j| -j.nats).collect();
    let bits: Vec<f64> = judged
        .iter()
        .map(|j| j.nats / std::f64::consts::LN_2)
        .collect();
    let characters: Vec<usize> = judged
        .iter()
        .map(|j| j.sentence.text.chars().count())
        .collect();
    let lengths: Vec<f64> = characters.iter().map(|&n| n as f64).collect();
    Ok(HeldOut {
        source,
        language,
        sentences: judged.len(),
        tokens: tokens.iter().sum(),
        characters: characters.iter().sum(),
        perplexity: perplexity(&log_likelihoods, &tokens, &options)
            .map_err(ExperimentError::metric(what()))?,
        bits_per_character: ratio(&bits, &lengths, &options)
            .map_err(ExperimentError::metric(what()))?,
    })
}

/// What a run would need, in words, added to `out` as it is found, without reading any text: `--dry-run`.
///
/// # Errors
/// Files of text that are missing.
pub fn dry_run(
    spec: &PretrainSpec,
    options: &Options,
    out: &mut String,
) -> Result<(), ExperimentError> {
    use std::fmt::Write;
    let (m, t) = (&spec.model, &spec.training);
    let place = Place::new(&options.out, &spec.name);
    let state = if place.folder.exists() {
        "is there"
    } else if place.checkpoint.is_file() {
        "half done; continue with --resume"
    } else {
        "to be made"
    };
    let _ = writeln!(out, "{} — {}", spec.name, spec.title);
    let _ = writeln!(out, "  folder      {} ({state})", place.folder.display());
    let _ = writeln!(out, "  device      {}", options.device);
    let count = parameters(spec, m.vocab_size);
    let _ = writeln!(
        out,
        "  model       {} blocks × {}, {} heads, {} for keys and values, vocabulary ≤ {}: {:.2} million parameters",
        m.layers,
        m.hidden_size,
        m.heads,
        m.kv_heads,
        m.vocab_size,
        count as f64 / 1e6
    );
    // Weights, two moments and gradients in f32; the checkpoint holds the first three.
    let _ = writeln!(
        out,
        "  memory      {:.0} MB for weights, moments and gradients; {:.0} MB per checkpoint",
        count as f64 * 16.0 / 1e6,
        count as f64 * 12.0 / 1e6
    );
    let _ = writeln!(
        out,
        "  training    {} epochs in steps of about {} tokens, learning rate {}, checkpoint every {} steps",
        t.epochs, t.batch_tokens, t.learning_rate, t.checkpoint_every
    );
    let _ = writeln!(out, "  text        under {}", options.data_dir.display());
    let mut missing = Ok(());
    for (at, text) in spec.text.iter().enumerate() {
        let found = text::files_of(&options.data_dir.join(&text.file));
        let bytes: u64 = found
            .iter()
            .filter_map(|p| std::fs::metadata(p).ok())
            .map(|m| m.len())
            .sum();
        let state = match found.len() {
            0 => {
                missing = missing.and(Err(text::missing(at, text, options)));
                format!("MISSING: {}", remedy(&text.file, &options.manifests))
            }
            1 => format!("{:.1} MB", bytes as f64 / 1e6),
            n => format!("{n} files, {:.1} MB", bytes as f64 / 1e6),
        };
        let languages: Vec<&str> = text.languages.iter().map(Language::code).collect();
        let _ = writeln!(out, "    {}  {} ({state})", text.file, languages.join(", "));
    }
    let _ = writeln!(out, "Nothing was computed or fetched.");
    missing
}
