//! Obtains the model: trained in the run, from a folder, or from the hub.

use std::path::{Path, PathBuf};

use interlingua_backend::device::describe;
use interlingua_backend::optim::AdamWConfig;
use interlingua_backend::steps::{self, Due, Rhythm, Taken, Training};
use interlingua_models::hub::{self, HubName, HubOptions, Place, Resolved, Source};
use interlingua_models::masked::mask_token;
use interlingua_models::tokenizer::train_bpe;
use interlingua_models::{Budget, Model, Residency};
use interlingua_tasks::{Needs, TaskSpec};
use interlingua_training::recipe::BOS;
use interlingua_training::{REVISION, TrainConfig, Trainer};

use super::Runner;
use crate::ExperimentError;
use crate::cache::Cache;
use crate::prepare;
use crate::progress::Event;
use crate::spec::{ModelSpec, TrainSpec};

/// Obtains the model, and returns it with its digest, and with its source if the run did not train it.
pub fn model_stage(
    run: &mut Runner<'_>,
) -> Result<(Model, String, Option<Source>), ExperimentError> {
    let (folder, source) = match (&run.plan.spec.model, &run.plan.model) {
        (ModelSpec::Train(train), _) => (train_stage(run, train)?, None),
        (_, Some(Place::Local(folder))) => (folder.clone(), Some(Source::Local)),
        (_, Some(Place::Hub(name))) => {
            let resolved = fetch_stage(run, name)?;
            (resolved.folder, Some(resolved.source))
        }
        (_, None) => unreachable!("a plan without training has a model"),
    };
    let device = run.plan.device.clone();
    run.stage("open model", false, |run| {
        let options = &run.plan.options;
        let mut model = Model::open(&folder, &device, options.residency)?
            .with_precision(options.precision)?
            .with_prefix(run.plan.spec.model.prefix());
        if let Some(bytes) = options.memory {
            let folder = run.cache.folder().to_owned();
            model = model.with_budget(Budget { bytes, folder });
        }
        if model.residency == Residency::Stream && options.residency == Residency::Auto {
            (run.listener)(Event::Note(format!(
                "the weights ({:.1} GB) take more than half of the free memory: one block at a time is read from disk",
                model.weights().bytes() as f64 / 1e9
            )));
        }
        let writes = |task: &TaskSpec| task.about().needs == Needs::Writes;
        if run.plan.spec.benchmarks.iter().any(writes) {
            model = model.ready()?;
        }
        let mut digest = model.digest()?.to_hex()[..24].to_owned();
        // The mask token may be named in files that the digest leaves out. Where there is none, the
        // stage that needs it says so.
        if let Ok(mask) = mask_token(&model) {
            digest += &format!("-mask-{mask}");
        }
        Ok((model, digest, source))
    })
}

/// Brings a model of the hub into its cache. The hub may be asked for the commit even if all files are here.
fn fetch_stage(run: &mut Runner<'_>, name: &HubName) -> Result<Resolved, ExperimentError> {
    let options = HubOptions::from_env()?;
    run.stage(&format!("fetch {}", name.repo), false, |run| {
        let resolved = hub::fetch(name, &options, &mut |p| {
            let note = if p.waiting {
                format!("{}: waiting for another process that fetches it", p.file)
            } else {
                let gb = |bytes: u64| bytes as f64 / 1e9;
                format!("{:.2} of {:.2} GB, {}", gb(p.received), gb(p.total), p.file)
            };
            run.progress(p.received as usize, p.total as usize, note);
        })?;
        Ok(resolved)
    })
}

fn train_stage(run: &mut Runner<'_>, train: &TrainSpec) -> Result<PathBuf, ExperimentError> {
    let spec = &run.plan.spec;
    let testbed = prepare::testbed(spec)?.ok_or_else(|| {
        ExperimentError::plan(
            "model.kind",
            "`train` needs the testbed's text (data.kind = \"testbed\")",
        )
    })?;
    let made_by = (REVISION, describe(&run.plan.device));
    let key = Cache::key("lm", &(train, testbed.config(), made_by));
    let folder = run.cache.path("lm", &key, "");
    let cached = run.has(&folder)?;
    run.stage("train language model", cached, |run| {
        if cached {
            return Ok(());
        }
        let text = prepare::lm_text(&testbed, train.sentences);
        let tokenizer_json = train_bpe(text.iter().map(|(_, s)| s.as_str()), train.vocab_size)
            .map_err(|e| {
                ExperimentError::plan(
                    "model.vocab_size",
                    format!("the tokenizer could not be trained: {e}"),
                )
            })?;
        let cache = run.cache.clone();
        let entry = cache.begin(&folder)?;
        let making = entry.path();
        std::fs::create_dir_all(&making).map_err(ExperimentError::io(&making))?;
        let tokenizer_path = making.join("tokenizer.json");
        std::fs::write(&tokenizer_path, &tokenizer_json)
            .map_err(ExperimentError::io(&tokenizer_path))?;
        let tokenizer = interlingua_models::Tokenizer::open(&making, usize::MAX)?;
        let mut corpus = Vec::with_capacity(text.len());
        for (_, sentence) in &text {
            let mut ids = vec![BOS];
            ids.extend(tokenizer.encode(sentence)?);
            corpus.push(ids);
        }
        let longest = corpus.iter().map(Vec::len).max().unwrap_or(1);
        let geometry = train.geometry(longest.next_power_of_two().max(64));
        let config = geometry.config(tokenizer.len());
        let optimiser = AdamWConfig {
            learning_rate: train.learning_rate,
            // A rare word's gradient is large once and tiny for hundreds of steps. A short memory of
            // squares would blow the tiny ones up to full steps and push rare words down for good.
            beta_2: 0.999,
            // Decay pulls the logits of rare words towards those of frequent ones, and a rate that
            // never falls to nothing leaves the noise of the last batches in them: both make planted
            // gaps come out wrong, and neither protects from overfitting text that is seen once.
            weight_decay: 0.0,
            final_share: 0.0,
            warmup: (train.steps / 20).max(1),
            steps: train.steps,
            ..AdamWConfig::default()
        };
        let seed = run.plan.spec.seed;
        let mut trainer = Trainer::new(
            config,
            TrainConfig {
                batch: train.batch,
                seed,
                optimiser,
            },
            &run.plan.device,
        );
        let checkpoint = run.cache.path("lm", &key, ".checkpoint.safetensors");
        if run.plan.options.resume && run.has(&checkpoint)? {
            trainer.resume(&checkpoint)?;
            (run.listener)(Event::Note(format!(
                "training continues from step {}",
                trainer.steps_done()
            )));
        }
        let rhythm = Rhythm {
            steps: train.steps,
            judge: Due::NEVER,
            tell: Due::to_the_end(10),
            save: Due::on_the_way(train.checkpoint_every.max(1)),
        };
        let mut learning = Learning {
            trainer: &mut trainer,
            corpus: &corpus,
            checkpoint: &checkpoint,
            run,
        };
        steps::run(&mut learning, &rhythm)?;
        trainer.export(&making, &tokenizer_json)?;
        entry.finish()?;
        cache.remove(&checkpoint)
    })?;
    Ok(folder)
}

/// The testbed's language model between two steps.
struct Learning<'a, 'b> {
    trainer: &'a mut Trainer,
    corpus: &'a [Vec<u32>],
    checkpoint: &'a Path,
    run: &'a mut Runner<'b>,
}

impl Training for Learning<'_, '_> {
    type Error = ExperimentError;

    fn steps_done(&self) -> usize {
        self.trainer.steps_done()
    }

    fn step(&mut self) -> Result<f64, ExperimentError> {
        Ok(self.trainer.step(self.corpus)?)
    }

    fn tell(&mut self, taken: &Taken) {
        let note = format!("loss {:.3} nats per token", taken.smooth);
        self.run.progress(taken.step, taken.steps, note);
    }

    fn save(&mut self) -> Result<(), ExperimentError> {
        let half_way = self.run.cache.begin(self.checkpoint)?;
        self.trainer.save_checkpoint(&half_way.path())?;
        half_way.finish()
    }
}
