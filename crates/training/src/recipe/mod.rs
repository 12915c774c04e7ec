//! Pre-trains a small language model on real text.
//!
//! ```text
//! text → held-out split → tokenizer → training with checkpoints → checkpoint folder → perplexity → model card
//! ```
//!
//! The run works in `OUT/<name>.making`, which is renamed to `OUT/<name>` when everything is written. A run that was
//! killed is resumed from its last checkpoint and ends with the same weights as an uninterrupted one. The folder's
//! name is fixed because the next run must find the checkpoints; so runs at the same time wait for each other there.

mod card;
mod corpus;
mod dry_run;
mod judge;
mod learn;
mod place;
mod record;
mod schedule;
mod spec;
mod text;

use std::path::PathBuf;
use std::time::Instant;

use interlingua_backend::DeviceName;
use interlingua_backend::device::describe;
use interlingua_data::Manifest;
use interlingua_models::Tokenizer;
use interlingua_models::tokenizer::train_bpe;
use serde::Serialize;

use crate::progress::{Event, Listener};
use crate::{REVISION, TrainingError, write_atomically};

pub use card::{model_card, table};
use corpus::tokenise;
pub use dry_run::dry_run;
use judge::held_out;
use learn::{Recipe, trainer};
use place::Place;
use record::Log;
pub use record::{Evaluation, HeldOut, LossPoint, Outcome, Record, TextSize};
use schedule::Schedule;
pub use spec::{DataSpec, GeometrySpec, PretrainSpec, TextSpec, TrainingSpec};
pub use text::{DataFile, LeftOut, Sentence, Text};

/// The id of the token at the beginning of every sequence.
pub const BOS: u32 = 2;
/// The id of the token that is learned at the end of every sentence.
pub const EOS: u32 = 3;

/// The inputs and the outputs of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The root folder of the data files.
    pub data_dir: PathBuf,
    /// The folder that holds the checkpoint folders.
    pub out: PathBuf,
    /// The device to train on.
    pub device: DeviceName,
    /// Whether an interrupted run is resumed from its last checkpoint.
    pub resume: bool,
    /// The manifests, which know the licences of files by their hashes.
    pub manifests: Vec<Manifest>,
    /// The command that the user typed, for the record.
    pub command: String,
}

/// Runs a pre-training recipe.
///
/// # Errors
/// A finished or interrupted run with other settings in the same place, text that cannot be read, a full disk, or a
/// loss that is not finite.
pub fn pretrain(
    spec: &PretrainSpec,
    options: &Options,
    listener: Listener<'_>,
) -> Result<Outcome, TrainingError> {
    let device = options.device.open()?;
    let files = text::files(spec, options)?;
    let hashes: Vec<_> = files.iter().map(|f| (&f.file, &f.sha256)).collect();
    let made_by = (REVISION, describe(&device));
    let key = key(&(spec, hashes, made_by));
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
        std::fs::remove_dir(&place.making).map_err(TrainingError::io(&place.making))?;
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
                TrainingError::value(
                    "model.vocab_size",
                    format!("the tokenizer could not be trained: {e}"),
                )
            })?;
            write_atomically(&tokenizer_path, json.as_bytes())
        })?;
    }
    let tokenizer_json =
        std::fs::read_to_string(&tokenizer_path).map_err(TrainingError::io(&tokenizer_path))?;
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
        let mut recipe = Recipe {
            spec,
            text: &text,
            tokenizer_json: &tokenizer_json,
            place: &place,
            device: &device,
            trainer: &mut trainer,
            log: &mut log,
            corpus: &corpus.sequences,
            schedule: &mut schedule,
            listener,
        };
        recipe.run()
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
        commit: crate::git_commit(),
        device: describe(&device),
        parameters: spec.model.parameters(tokenizer.len()),
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
        work: impl FnOnce(&mut dyn FnMut(Event)) -> Result<T, TrainingError>,
    ) -> Result<T, TrainingError> {
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

/// Changes when a recipe's record changes its form.
const FORMAT: u32 = 6;

/// Digest of everything that decides what a run makes.
fn key(inputs: &impl Serialize) -> String {
    let text = serde_json::to_string(&(FORMAT, "pretrain", inputs)).expect("inputs are plain data");
    blake3::hash(text.as_bytes()).to_hex()[..24].to_owned()
}
