//! The computing stages: model, states, autoencoders, edits, scores.
//!
//! Every stage has a key from what goes into it and leaves its result in the
//! cache; a stage whose result is there does nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use interlingua_autoencoder::{Autoencoder, AutoencoderError, States};
use interlingua_backend::device::describe;
use interlingua_backend::optim::AdamWConfig;
use interlingua_backend::{from_rows, to_host};
use interlingua_data::{BiasPair, Language, ParallelCorpus};
use interlingua_debias::{Edit, FitData, FitOptions, Matrix};
use interlingua_models::architectures::cohere::Config as ModelConfig;
use interlingua_models::engine::{Branch, capture};
use interlingua_models::hub::{self, HubName, HubOptions, Place, Resolved, Source};
use interlingua_models::masked::mask_token;
use interlingua_models::store::{Store, Writer};
use interlingua_models::tokenizer::train_bpe;
use interlingua_models::train::{TrainConfig, Trainer};
use interlingua_models::{Budget, Capture, HookPoint, Model, Pooling, Residency, Sequence};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::cache::Cache;
use crate::plan::{Plan, Setting};
use crate::prepare::{self, Prepared};
use crate::progress::Event;
use crate::requests::Requests;
use crate::space::{SiteEdit, Spaces, procrustes};
use crate::spec::{ModelSpec, Space, TrainSpec, attribute_file};

/// Runs stages one after the other and reports on them.
pub struct Runner<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The cache.
    pub cache: Cache,
    /// Receives events.
    pub listener: &'a mut dyn FnMut(Event),
    /// Stages so far: name, seconds, whether cached.
    pub timings: Vec<(String, f64, bool)>,
}

impl Runner<'_> {
    /// Runs one stage with its events and its timing.
    pub fn stage<T>(
        &mut self,
        name: &str,
        cached: bool,
        work: impl FnOnce(&mut Self) -> Result<T, ExperimentError>,
    ) -> Result<T, ExperimentError> {
        (self.listener)(Event::Stage {
            name: name.to_owned(),
            cached,
        });
        let start = std::time::Instant::now();
        let result = work(self)?;
        let seconds = start.elapsed().as_secs_f64();
        self.timings.push((name.to_owned(), seconds, cached));
        (self.listener)(Event::Done { seconds });
        Ok(result)
    }

    fn progress(&mut self, done: usize, total: usize, note: String) {
        (self.listener)(Event::Progress { done, total, note });
    }
}

/// Text of the run.
pub fn prepare_stage(run: &mut Runner<'_>) -> Result<(Prepared, String), ExperimentError> {
    let spec = &run.plan.spec;
    // Files are part of the key by their content, so that a changed file is read again.
    let digests = data_digests(run.plan)?;
    let key = Cache::key(
        "text",
        &(
            &spec.data,
            &spec.languages,
            &spec.categories,
            &spec.fit,
            spec.seed,
            &digests,
        ),
    );
    let cached = run.cache.load::<Prepared>("text", &key)?;
    let found = cached.is_some();
    let prepared = run.stage("text", found, |run| match cached {
        Some(prepared) => Ok(prepared),
        None => {
            let prepared = prepare::prepare(&run.plan.spec, &run.plan.options.data_dir)?;
            run.cache.store("text", &key, &prepared)?;
            Ok(prepared)
        }
    })?;
    for finding in &prepared.findings {
        (run.listener)(Event::Note(finding.clone()));
    }
    Ok((prepared, key))
}

/// Digest of every data file of the plan.
pub fn data_digests(plan: &Plan) -> Result<Vec<(String, String)>, ExperimentError> {
    let crate::spec::DataSpec::Files {
        parallel,
        pairs,
        attributes,
        ..
    } = &plan.spec.data
    else {
        return Ok(Vec::new());
    };
    let mut files = vec![parallel.clone(), pairs.clone()];
    for &language in &plan.spec.languages {
        files.push(attribute_file(attributes, language));
    }
    files
        .into_iter()
        .map(|file| {
            let path = plan.options.data_dir.join(&file);
            let mut hasher = blake3::Hasher::new();
            // A folder or prefix of line-aligned files has no single content; its name stands for it.
            if path.is_file() {
                let reader = std::fs::File::open(&path).map_err(ExperimentError::io(&path))?;
                hasher
                    .update_reader(reader)
                    .map_err(ExperimentError::io(&path))?;
            }
            Ok((file, hasher.finalize().to_hex()[..16].to_owned()))
        })
        .collect()
}

/// The model: trained here, a folder, or of the hub. Returns it with its digest, and its source if it was not trained.
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
        let mut model = Model::open(&folder, &device, options.residency)?;
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
    let key = Cache::key("lm", &(train, testbed.config(), describe(&run.plan.device)));
    let folder = run.cache.path("lm", &key, "");
    let cached = folder.join("model.safetensors").is_file();
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
        // The folder is made under another name; its rename is what makes the stage finished.
        let making = run.cache.path("lm", &key, ".making");
        let _ = std::fs::remove_dir_all(&making);
        std::fs::create_dir_all(&making).map_err(ExperimentError::io(&making))?;
        let tokenizer_path = making.join("tokenizer.json");
        std::fs::write(&tokenizer_path, &tokenizer_json)
            .map_err(ExperimentError::io(&tokenizer_path))?;
        let tokenizer = interlingua_models::Tokenizer::open(&making, usize::MAX)?;
        let mut corpus = Vec::with_capacity(text.len());
        for (_, sentence) in &text {
            let mut ids = vec![2];
            ids.extend(tokenizer.encode(sentence)?);
            corpus.push(ids);
        }
        let longest = corpus.iter().map(Vec::len).max().unwrap_or(1);
        let config = ModelConfig {
            hidden_size: train.hidden_size,
            intermediate_size: train.intermediate_size,
            layers: train.layers,
            heads: train.heads,
            kv_heads: train.kv_heads,
            head_dim: train.hidden_size / train.heads.max(1),
            vocab_size: tokenizer.len(),
            max_positions: longest.next_power_of_two().max(64),
            norm_eps: 1e-5,
            rope_theta: 10_000.0,
            logit_scale: train.logit_scale as f32,
            tied: true,
            qk_norm: false,
            attention_bias: false,
            bos: Some(2),
            eos: Some(3),
        };
        let optimiser = AdamWConfig {
            learning_rate: train.learning_rate,
            // A rare word's gradient is large once and tiny for hundreds of steps. A short memory of
            // squares would blow the tiny ones up to full steps and push rare words down for good.
            beta_2: 0.999,
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
        if run.plan.options.resume && checkpoint.is_file() {
            trainer.resume(&checkpoint)?;
            (run.listener)(Event::Note(format!(
                "training continues from step {}",
                trainer.steps_done()
            )));
        }
        let mut smooth = f64::NAN;
        while trainer.steps_done() < train.steps {
            let loss = trainer.step(&corpus)?;
            smooth = if smooth.is_nan() {
                loss
            } else {
                0.95 * smooth + 0.05 * loss
            };
            let done = trainer.steps_done();
            if done.is_multiple_of(train.checkpoint_every.max(1)) && done < train.steps {
                trainer.save_checkpoint(&checkpoint)?;
            }
            if done.is_multiple_of(10) {
                run.progress(
                    done,
                    train.steps,
                    format!("loss {smooth:.3} nats per token"),
                );
            }
        }
        trainer.export(&making, &tokenizer_json)?;
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::rename(&making, &folder).map_err(ExperimentError::io(&folder))?;
        let _ = std::fs::remove_file(&checkpoint);
        Ok(())
    })?;
    Ok(folder)
}

/// Captured states of a run.
pub struct Captured {
    /// Token states of the training rows, language after language.
    pub train: Store,
    /// Token states of the validation rows.
    pub validation: Store,
    /// Token states of the held-out rows.
    pub heldout: Store,
    /// Mean states of the fit sentences.
    pub fit: Store,
    /// Keys of the four stores.
    pub keys: [String; 4],
}

/// Captures every state that later stages need.
pub fn states_stage(
    run: &mut Runner<'_>,
    model: &Model,
    digest: &str,
    text: &Prepared,
) -> Result<Captured, ExperimentError> {
    let hook = HookPoint::parse(&run.plan.spec.hook, model.geometry.layers)?;
    let rows = |corpus: &ParallelCorpus| {
        corpus
            .columns
            .iter()
            .flatten()
            .cloned()
            .collect::<Vec<String>>()
    };
    let requests = [
        ("training rows", rows(&text.train), Pooling::Tokens),
        ("validation rows", rows(&text.validation), Pooling::Tokens),
        ("held-out rows", rows(&text.heldout), Pooling::Tokens),
        (
            "fit sentences",
            text.fit_sentences.iter().map(|(_, s)| s.clone()).collect(),
            Pooling::Mean,
        ),
    ];
    let mut stores = Vec::new();
    let mut keys: [String; 4] = Default::default();
    for (at, (name, sentences, pooling)) in requests.into_iter().enumerate() {
        let kind = if pooling == Pooling::Mean {
            "mean"
        } else {
            "tokens"
        };
        let key = Cache::key(
            "states",
            &(
                digest,
                hook.to_string(),
                kind,
                "f32",
                describe(&run.plan.device),
                &sentences,
            ),
        );
        let path = run.cache.path("states", &key, ".safetensors");
        let cached = path.is_file();
        keys[at] = key;
        let store = run.stage(&format!("states of {name}"), cached, |run| {
            if cached {
                return Ok(Store::open(&path)?);
            }
            let sequences = sentences
                .iter()
                .map(|s| model.sequence(s))
                .collect::<Result<Vec<Sequence>, _>>()?;
            let lengths = sequences.iter().map(|s| {
                if pooling == Pooling::Mean {
                    1
                } else {
                    s.text().len()
                }
            });
            let mut writer = Writer::create(&path, model.geometry.hidden_size, lengths)?;
            let listener = &mut *run.listener;
            capture(
                model,
                &sequences,
                &[Capture { hook, pooling }],
                &mut |_, sequence, rows| writer.write(sequence, rows),
                &mut |done, total| {
                    listener(Event::Progress {
                        done,
                        total,
                        note: String::new(),
                    })
                },
            )?;
            Ok(writer.finish()?)
        })?;
        stores.push(store);
    }
    let mut stores = stores.into_iter();
    let mut next = || stores.next().expect("four stores were made");
    Ok(Captured {
        train: next(),
        validation: next(),
        heldout: next(),
        fit: next(),
        keys,
    })
}

/// Parallel rows of a store, language after language.
pub struct Rows<'a> {
    store: &'a Store,
    languages: usize,
}

impl<'a> Rows<'a> {
    /// A view of a store that holds the rows of so many languages.
    pub fn new(store: &'a Store, languages: usize) -> Self {
        Rows { store, languages }
    }
}

impl States for Rows<'_> {
    fn languages(&self) -> usize {
        self.languages
    }
    fn rows(&self) -> usize {
        self.store.len() / self.languages
    }
    fn width(&self) -> usize {
        self.store.width()
    }
    fn read(
        &self,
        language: usize,
        row: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.store.read(language * self.rows() + row, out)?)
    }
}

/// One vector per sentence of one language in a space: the mean over its tokens.
///
/// # Shapes
/// Result rows × dimension of the space, row-major.
pub fn sentence_vectors(
    spaces: &Spaces,
    space: Space,
    language: Language,
    rows: &Rows<'_>,
    at: usize,
) -> Result<Vec<f32>, ExperimentError> {
    let mut tokens = Vec::new();
    let mut lengths = Vec::with_capacity(rows.rows());
    for row in 0..rows.rows() {
        lengths.push(rows.store.read(at * rows.rows() + row, &mut tokens)?);
    }
    // Affine spaces commute with the mean; only an autoencoder must see every token.
    let dim = spaces.dim(space);
    if !space.is_latent() {
        return Ok(spaces.enter(space, language, pool(&tokens, &lengths, rows.width())));
    }
    let autoencoder = spaces
        .autoencoder(space)
        .expect("latent spaces have an autoencoder");
    Ok(encode_means(autoencoder, spaces, &tokens, &lengths, dim))
}

fn encode_means(
    autoencoder: &Autoencoder,
    spaces: &Spaces,
    tokens: &[f32],
    lengths: &[usize],
    dim: usize,
) -> Vec<f32> {
    let width = spaces.width;
    let mut out = Vec::with_capacity(lengths.len() * dim);
    let mut from = 0;
    for group in lengths.chunks(256) {
        let count: usize = group.iter().sum();
        let part = from_rows(
            tokens[from * width..(from + count) * width].to_vec(),
            count,
            width,
            &spaces.device,
        );
        out.extend(pool(&to_host(autoencoder.encode(part)), group, dim));
        from += count;
    }
    out
}

fn pool(values: &[f32], lengths: &[usize], width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(lengths.len() * width);
    let mut from = 0;
    for &len in lengths {
        let mut mean = vec![0.0f64; width];
        for row in values[from * width..(from + len) * width].chunks_exact(width) {
            mean.iter_mut()
                .zip(row)
                .for_each(|(m, v)| *m += f64::from(*v));
        }
        out.extend(mean.iter().map(|m| (m / len as f64) as f32));
        from += len;
    }
    out
}

/// Names of artefacts with their digests or keys.
pub type Digests = Vec<(String, String)>;

/// Trains the autoencoders and fits the affine spaces.
pub fn spaces_stage(
    run: &mut Runner<'_>,
    captured: &Captured,
) -> Result<(Arc<Spaces>, Digests), ExperimentError> {
    let spec = &run.plan.spec;
    let languages = spec.languages.clone();
    let mut spaces = Spaces {
        device: run.plan.device.clone(),
        width: captured.train.width(),
        latent: None,
        unaligned: None,
        means: BTreeMap::new(),
        rotations: BTreeMap::new(),
    };
    let mut digests = Vec::new();
    let config = spec.autoencoder.clone();
    for (space, config) in [
        (Space::Latent, config.clone()),
        (
            Space::LatentUnaligned,
            interlingua_autoencoder::Config {
                alignment_weight: 0.0,
                cross_reconstruction_weight: 0.0,
                ..config
            },
        ),
    ] {
        if !spec.spaces.contains(&space) {
            continue;
        }
        let key = Cache::key("autoencoder", &(&config, &captured.keys, spec.seed));
        let path = run.cache.path("autoencoder", &key, ".safetensors");
        let cached = path.is_file();
        let name = if space == Space::Latent {
            "train autoencoder"
        } else {
            "train autoencoder without alignment"
        };
        let autoencoder = run.stage(name, cached, |run| {
            if cached {
                return Ok(Autoencoder::load(&path, &run.plan.device)?);
            }
            let device = run.plan.device.clone();
            let train = Rows::new(&captured.train, languages.len());
            let validation = Rows::new(&captured.validation, languages.len());
            let seed = run.plan.spec.seed;
            let judge = Spaces {
                device: device.clone(),
                width: captured.train.width(),
                latent: None,
                unaligned: None,
                means: BTreeMap::new(),
                rotations: BTreeMap::new(),
            };
            let mut score = |candidate: &Autoencoder| {
                mean_retrieval(&judge, candidate, &validation)
                    .map_err(|e| AutoencoderError::States(Box::new(e)))
            };
            let listener = &mut *run.listener;
            let trained = interlingua_autoencoder::train(
                &config,
                seed,
                &train,
                &device,
                &mut score,
                &mut |p| {
                    let note = format!("loss {:.4}, held-out retrieval {:.3}", p.loss, p.score);
                    listener(Event::Progress {
                        done: p.step,
                        total: p.steps,
                        note,
                    });
                },
            )?;
            trained.autoencoder.save(&path)?;
            Ok(trained.autoencoder)
        })?;
        digests.push((format!("autoencoder ({})", space.name()), key));
        match space {
            Space::Latent => spaces.latent = Some(autoencoder),
            _ => spaces.unaligned = Some(autoencoder),
        }
    }
    if spec
        .spaces
        .iter()
        .any(|s| matches!(s, Space::Centred | Space::Procrustes))
    {
        run.stage("centre and rotate languages", false, |_| {
            let rows = Rows::new(&captured.train, languages.len());
            let mut centred = Vec::new();
            for (at, &language) in languages.iter().enumerate() {
                let states = sentence_vectors(&spaces, Space::Raw, language, &rows, at)?;
                let mean = pool(&states, &[rows.rows()], rows.width());
                centred.push(
                    states
                        .chunks_exact(rows.width())
                        .flat_map(|r| r.iter().zip(&mean).map(|(x, m)| x - m))
                        .collect::<Vec<f32>>(),
                );
                spaces.means.insert(language, mean);
            }
            for (at, &language) in languages.iter().enumerate() {
                spaces.rotations.insert(
                    language,
                    procrustes(&centred[at], &centred[0], rows.width()),
                );
            }
            Ok(())
        })?;
    }
    Ok((Arc::new(spaces), digests))
}

/// Mean top-1 retrieval over all directions, by cosine of mean latents.
fn mean_retrieval(
    spaces: &Spaces,
    autoencoder: &Autoencoder,
    rows: &Rows<'_>,
) -> Result<f64, ExperimentError> {
    let dim = autoencoder.config.latent;
    let mut latents = Vec::new();
    for at in 0..rows.languages() {
        let mut tokens = Vec::new();
        let mut lengths = Vec::new();
        for row in 0..rows.rows() {
            lengths.push(rows.store.read(at * rows.rows() + row, &mut tokens)?);
        }
        latents.push(encode_means(autoencoder, spaces, &tokens, &lengths, dim));
    }
    let (mut sum, mut count) = (0.0, 0.0);
    for a in 0..latents.len() {
        for b in a + 1..latents.len() {
            let hits =
                interlingua_metrics::alignment::retrieval_hits(&latents[a], &latents[b], dim, 10)
                    .map_err(ExperimentError::metric("held-out retrieval"))?;
            sum += hits
                .cosine_a_to_b
                .iter()
                .chain(&hits.cosine_b_to_a)
                .sum::<f64>();
            count += 2.0 * rows.rows() as f64;
        }
    }
    Ok(sum / count)
}

/// Fits the edit of every setting; `None` where there is nothing to apply.
pub fn fit_stage(
    run: &mut Runner<'_>,
    text: &Prepared,
    captured: &Captured,
    spaces: &Spaces,
    upstream: &str,
) -> Result<Vec<Option<Edit>>, ExperimentError> {
    let plan = run.plan;
    let key = Cache::key(
        "edits",
        &(upstream, &plan.settings, &plan.spec.methods, plan.spec.seed),
    );
    let cached = run.cache.load::<Vec<Option<String>>>("edits", &key)?;
    run.stage("fit debiasers", cached.is_some(), |run| {
        if let Some(texts) = cached {
            let path = run.cache.path("edits", &key, ".json");
            return texts
                .into_iter()
                .map(|text| {
                    text.map(|hex| {
                        let bytes = from_hex(&hex).ok_or_else(|| ExperimentError::Cache {
                            path: path.clone(),
                            problem: "not hexadecimal".into(),
                        })?;
                        Ok(Edit::from_bytes(&bytes)?)
                    })
                    .transpose()
                })
                .collect();
        }
        let mut edits = Vec::with_capacity(plan.settings.len());
        // Settings that differ in re-insertion alone share their edit.
        let mut known: Vec<(Setting, Edit)> = Vec::new();
        for (at, setting) in plan.settings.iter().enumerate() {
            let Some(space) = setting.space else {
                edits.push(None);
                continue;
            };
            let same = |other: &Setting| {
                Setting {
                    reinsert: setting.reinsert,
                    ..other.clone()
                } == *setting
            };
            let edit = match known.iter().find(|(other, _)| same(other)) {
                Some((_, edit)) => edit.clone(),
                None => fit_one(plan, setting, space, text, captured, spaces)?,
            };
            known.push((setting.clone(), edit.clone()));
            edits.push(Some(edit));
            run.progress(
                at + 1,
                plan.settings.len(),
                format!("{} in {}", setting.method, space.name()),
            );
        }
        let stored = edits
            .iter()
            .map(|edit| {
                edit.as_ref()
                    .map(|e| Ok(to_hex(&e.to_bytes()?)))
                    .transpose()
            })
            .collect::<Result<Vec<Option<String>>, ExperimentError>>()?;
        run.cache.store("edits", &key, &stored)?;
        Ok(edits)
    })
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn fit_one(
    plan: &Plan,
    setting: &Setting,
    space: Space,
    text: &Prepared,
    captured: &Captured,
    spaces: &Spaces,
) -> Result<Edit, ExperimentError> {
    let dim = spaces.dim(space);
    let failed = |source| ExperimentError::Fit {
        method: setting.method.clone(),
        category: setting.category.clone(),
        language: setting
            .fit_language
            .map_or("no language".into(), |l| l.to_string()),
        space: space.name().into(),
        source,
    };
    match (setting.method_index, setting.fit_language) {
        (Some(method), Some(language)) => {
            let method = &plan.spec.methods[method];
            let debiaser = interlingua_debias::by_name(&method.name)
                .map_err(|e| ExperimentError::plan("methods.name", e.to_string()))?;
            let set = text
                .fit_sets
                .iter()
                .find(|s| s.language == language && s.category == setting.category)
                .expect("a set for every language and category");
            let examples: Vec<(usize, usize, Option<usize>)> = if debiaser.needs().tuples {
                let members = |(t, tuple): (usize, &Vec<usize>)| {
                    tuple
                        .iter()
                        .enumerate()
                        .map(|(group, &s)| (s, group, Some(t)))
                        .collect::<Vec<_>>()
                };
                set.tuples.iter().enumerate().flat_map(members).collect()
            } else {
                set.classes
                    .iter()
                    .map(|&(s, class)| (s, class, None))
                    .collect()
            };
            let mut states = Vec::with_capacity(examples.len() * spaces.width);
            for &(sentence, ..) in &examples {
                captured.fit.read(sentence, &mut states)?;
            }
            let vectors = spaces.enter(space, language, states);
            let mut classes = set.groups.clone();
            classes.push("neutral".into());
            let data = FitData {
                x: Matrix::from_f32(examples.len(), dim, &vectors).map_err(failed)?,
                label: examples.iter().map(|e| e.1).collect(),
                tuple: examples.iter().map(|e| e.2).collect(),
                neutral: Some(set.groups.len()),
                classes,
            };
            let mut options = FitOptions::with_rank(method.rank).seed(plan.spec.seed);
            options.params = method.params.clone();
            Ok(debiaser.fit(&data, &options).map_err(failed)?.edit)
        }
        _ if setting.method == "random" => {
            let debiaser = interlingua_debias::by_name("random")
                .map_err(|e| ExperimentError::plan("methods", e.to_string()))?;
            // Each category gets its own draw; the data only say how wide the space is.
            let category = plan
                .spec
                .categories
                .iter()
                .position(|c| c == &setting.category)
                .unwrap_or(0) as u64;
            let data = FitData {
                x: Matrix::from_fn(2, dim, |i, j| f64::from(u8::from(i == j))),
                label: vec![0, 0],
                tuple: vec![None, None],
                classes: vec!["any".into()],
                neutral: None,
            };
            let options = FitOptions::with_rank(setting.rank.unwrap_or(1))
                .seed(plan.spec.seed * 1000 + category);
            Ok(debiaser.fit(&data, &options).map_err(failed)?.edit)
        }
        _ => Ok(Edit::Identity { dim }),
    }
}

/// Score and tokens of `more`, then of `less`, for every pair; `None` for a pair that the scorer leaves out.
pub type PairScores = Vec<Option<[(f64, u32); 2]>>;

/// Token log-probabilities reduced to what the metrics read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Settings, by their place in the plan.
    pub settings: Vec<usize>,
    /// `[setting][scorer]`.
    pub pairs: Vec<Vec<PairScores>>,
    /// `[setting][sentence]`: log-likelihood in nats and tokens; for a masked model the
    /// pseudo-log-likelihood, of every token masked alone.
    pub neutral: Vec<Vec<(f64, u32)>>,
}

/// Scores the pairs of one category and language, and held-out text, under every setting.
#[allow(clippy::too_many_arguments)]
pub fn score_stage(
    run: &mut Runner<'_>,
    model: &Model,
    spaces: &Arc<Spaces>,
    edits: &[Option<Edit>],
    upstream: &str,
    category: &str,
    language: Language,
    pairs: &[&BiasPair],
    neutral: &[String],
) -> Result<Scores, ExperimentError> {
    let plan = run.plan;
    let texts: Vec<(&str, &str)> = pairs
        .iter()
        .map(|p| (p.more.as_str(), p.less.as_str()))
        .collect();
    let key = Cache::key(
        "scores",
        &(
            upstream,
            category,
            language,
            &texts,
            neutral,
            &plan.settings,
            &plan.spec.methods,
            &plan.spec.score.scorers,
            plan.spec.seed,
        ),
    );
    let cached = run.cache.load::<Scores>("scores", &key)?;
    run.stage(
        &format!("score {category} in {language}"),
        cached.is_some(),
        |run| {
            if let Some(scores) = cached {
                return Ok(scores);
            }
            let hook = HookPoint::parse(&plan.spec.hook, model.geometry.layers)?;
            let settings: Vec<usize> = (0..plan.settings.len())
                .filter(|&s| plan.settings[s].category == category)
                .collect();
            let site_edits: Vec<Option<SiteEdit>> = settings
                .iter()
                .map(|&s| {
                    let setting = &plan.settings[s];
                    let reinsert = setting.reinsert.unwrap_or(crate::spec::Reinsert::Residual);
                    Some(SiteEdit::new(
                        spaces,
                        setting.space?,
                        reinsert,
                        language,
                        edits[s].as_ref()?,
                    ))
                })
                .collect();
            let branches: Vec<Branch<'_>> = site_edits
                .iter()
                .map(|e| {
                    e.as_ref()
                        .map_or_else(Branch::unedited, |e| Branch::edited(hook, e))
                })
                .collect();
            let mut requests = Requests::new(model, &plan.spec.score.scorers)?;
            requests.add_texts(neutral)?;
            requests.add_pairs(pairs)?;
            let listener = &mut *run.listener;
            let mut last = 0;
            let mut progress = |done: usize, total: usize| {
                // The terminal needs a few dozen updates, not one per pack.
                if done * 50 / total.max(1) != last {
                    last = done * 50 / total.max(1);
                    listener(Event::Progress {
                        done,
                        total,
                        note: format!("{} settings", branches.len()),
                    });
                }
            };
            let log_probs = requests.log_probs(&branches, &mut progress)?;
            let mut scores = Scores {
                settings,
                pairs: Vec::new(),
                neutral: Vec::new(),
            };
            for log_probs in &log_probs {
                scores.pairs.push(requests.pair_scores(log_probs)?);
                let neutral = log_probs[..neutral.len()].iter();
                scores.neutral.push(
                    neutral
                        .map(|t| (t.iter().map(|&x| f64::from(x)).sum(), t.len() as u32))
                        .collect(),
                );
            }
            run.cache.store("scores", &key, &scores)?;
            Ok(scores)
        },
    )
}
