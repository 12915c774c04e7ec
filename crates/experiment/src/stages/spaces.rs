//! Trains autoencoders and fits affine maps at every hook.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use interlingua_autoencoder::sparse::{self, Gate, Sparse, SparseError, Step, Weights};
use interlingua_autoencoder::{Autoencoder, Config, Progress, Sharing};
use interlingua_backend::device::is_plain_cpu;

use super::states::sentence_vectors;
use super::{Captured, RowStates, Rows, Runner, SiteStates};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::progress::Event;
use crate::spec::Space;
use interlingua_spaces::affine::AffineSpace;
use interlingua_spaces::latent::Latent;
use interlingua_spaces::sparse::Features;
use interlingua_spaces::{SpaceError, Spaces};

/// The names of artefacts with their digests or keys.
pub type Digests = Vec<(String, String)>;

/// Trains the autoencoders and fits the affine spaces of every hook.
pub fn spaces_stage(
    run: &mut Runner<'_>,
    captured: &Captured,
    twins: &[Vec<usize>],
) -> Result<(Vec<Arc<Spaces>>, Digests), ExperimentError> {
    let mut digests = Vec::new();
    let mut sites = Vec::new();
    for (at, states) in captured.iter().enumerate() {
        // A name that says more than it must is only noise in a run with one hook point.
        let place = match run.plan.hooks.len() {
            1 => String::new(),
            _ => format!(" at {}", run.plan.hooks[at]),
        };
        let mut spaces = Spaces::raw(states.width, &run.plan.device);
        // Where sentences alone are looked at, there is the raw space alone, and nothing asks for a mean.
        if let Some(rows) = &states.rows {
            let at = At { states, rows };
            spaces = spaces_at(run, at, twins, &place, &mut digests)?;
            language_means(run, rows, &mut spaces)?;
        }
        sites.push(Arc::new(spaces));
    }
    Ok((sites, digests))
}

/// States of one hook point, with token states of parallel rows.
#[derive(Clone, Copy)]
struct At<'a> {
    states: &'a SiteStates,
    rows: &'a RowStates,
}

/// Most training rows that the mean of a language is taken over.
const MEAN_ROWS: usize = 1000;
/// States that are taken into a space at once.
const MEAN_CHUNK: usize = 4096;

/// Mean of each language's tokens in each space.
fn language_means(
    run: &Runner<'_>,
    rows: &RowStates,
    spaces: &mut Spaces,
) -> Result<(), ExperimentError> {
    let spec = &run.plan.spec;
    let rows = Rows::new(&rows.train, &spec.languages);
    for (at, &language) in spec.languages.iter().enumerate() {
        let (tokens, _) = rows.first_tokens(at, MEAN_ROWS)?;
        for &space in &spec.spaces {
            let dim = spaces.dim(space);
            let mut sum = vec![0.0; dim];
            for part in tokens.chunks(MEAN_CHUNK * spaces.width) {
                for row in spaces
                    .enter(space, language, part.to_vec())?
                    .chunks_exact(dim)
                {
                    sum.iter_mut()
                        .zip(row)
                        .for_each(|(s, v)| *s += f64::from(*v));
                }
            }
            let count = (tokens.len() / spaces.width) as f64;
            let mean = sum.into_iter().map(|s| s / count).collect();
            spaces.means.insert((space, language), mean);
        }
    }
    Ok(())
}

fn spaces_at(
    run: &mut Runner<'_>,
    at: At<'_>,
    twins: &[Vec<usize>],
    place: &str,
    digests: &mut Digests,
) -> Result<Spaces, ExperimentError> {
    let width = at.states.width;
    let mut spaces = Spaces::raw(width, &run.plan.device);
    for (wanted, autoencoder) in autoencoders(run, at, twins, place)? {
        let Wanted { space, key, .. } = wanted;
        digests.push((
            format!("autoencoder ({}{place})", space.name()),
            key.clone(),
        ));
        spaces.add(space, Latent { autoencoder }, key);
    }
    if run.plan.spec.spaces.contains(&Space::Sae) {
        let (weights, key) = sparse(run, at, place)?;
        digests.push((format!("sparse autoencoder{place}"), key.clone()));
        let space = Features {
            autoencoder: Sparse::new(weights, &run.plan.device).map_err(SpaceError::from)?,
            tier: run.plan.spec.sae.tier,
        };
        spaces.add(Space::Sae, space, key);
    }
    let spec = &run.plan.spec;
    let affine: Vec<Space> = spec
        .spaces
        .iter()
        .copied()
        .filter(|s| s.is_affine())
        .collect();
    if affine.is_empty() {
        return Ok(spaces);
    }
    run.stage(&format!("fit affine spaces{place}"), false, |run| {
        let (spec, site) = (&run.plan.spec, at.states);
        let rows = Rows::new(&at.rows.train, &spec.languages);
        let mut means = Vec::new();
        for (at, &language) in spec.languages.iter().enumerate() {
            means.push(sentence_vectors(&spaces, Space::Raw, language, &rows, at)?);
        }
        for (at, &space) in affine.iter().enumerate() {
            let dim = spec.autoencoder.latent;
            let inputs = (space.name(), &site.keys[0], &spec.languages, dim);
            let key = Cache::key("affine", &inputs);
            let maps = space.fit(&means, width, dim, &run.plan.device)?;
            let found = AffineSpace::new(space, &spec.languages, maps);
            spaces.add(space, found, key);
            run.progress(at + 1, affine.len(), space.name().to_owned());
        }
        Ok(())
    })?;
    Ok(spaces)
}

/// The sparse autoencoder of a hook point: that of the file, or one that is trained on the training rows.
fn sparse(
    run: &mut Runner<'_>,
    at: At<'_>,
    place: &str,
) -> Result<(Weights, String), ExperimentError> {
    let spec = &run.plan.spec;
    let wrong = |error: SparseError| ExperimentError::from(SpaceError::from(error));
    if let Some(file) = &spec.sae.file {
        let path = run.plan.options.model_dir.join(file);
        let weights = Weights::load(&path).map_err(wrong)?;
        let key = Cache::key("sae", &(digest(&weights), spec.sae.tier));
        return Ok((weights, key));
    }
    let (config, tier, languages) = (&spec.sae.train, spec.sae.tier, &spec.languages);
    let trained = Cache::key("sae", &(config, languages, &at.states.keys, spec.seed));
    let key = Cache::key("sae", &(&trained, tier));
    let path = run.cache.path("sae", &trained, "");
    let cached = run.has(&path)?;
    let name = format!("train sparse autoencoder{place}");
    let weights = run.stage(&name, cached, |run| {
        if cached {
            return Weights::load(&path).map_err(wrong);
        }
        let spec = &run.plan.spec;
        let rows = Rows::new(&at.rows.train, &spec.languages);
        let listener = &mut *run.listener;
        let mut progress = |step: Step| {
            listener(Event::Progress {
                done: step.step,
                total: step.steps,
                note: format!("{:.1} % of the variance lost", 100.0 * step.loss),
            });
        };
        let found =
            sparse::train(&spec.sae.train, spec.seed, &rows, &mut progress).map_err(wrong)?;
        let making = run.cache.begin(&path)?;
        found.weights.save(&making.path()).map_err(wrong)?;
        making.finish()?;
        Ok(found.weights)
    })?;
    Ok((weights, key))
}

/// A digest of all that decides what a sparse autoencoder computes.
fn digest(weights: &Weights) -> String {
    let none = Vec::new();
    let (gate, more) = match &weights.gate {
        Gate::Relu => (0, [&none, &none]),
        Gate::JumpRelu(thresholds) => (0, [thresholds, &none]),
        Gate::TopK(k) => (*k, [&none, &none]),
        Gate::Gated { scale, bias } => (0, [scale, bias]),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(weights.gate.name().as_bytes());
    let sizes = [
        weights.width,
        weights.features,
        gate,
        usize::from(weights.centred),
    ];
    for size in sizes {
        hasher.update(&(size as u64).to_le_bytes());
    }
    let parts = [
        &weights.encoder,
        &weights.encoder_bias,
        &weights.decoder,
        &weights.decoder_bias,
    ];
    for values in parts.into_iter().chain(more) {
        for chunk in values.chunks(1 << 16) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|x| x.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// The settings of the autoencoder of a latent space: those of the experiment, but for what the space
/// is there to leave out.
fn config(space: Space, typed: &Config) -> Config {
    match space {
        Space::LatentShared => Config {
            sharing: Sharing::Shared,
            ..typed.clone()
        },
        Space::LatentUnaligned => Config {
            alignment_weight: 0.0,
            cross_reconstruction_weight: 0.0,
            // Its start turns the languages onto each other.
            linear: false,
            ..typed.clone()
        },
        _ => typed.clone(),
    }
}

/// An autoencoder that a latent space needs.
struct Wanted {
    space: Space,
    config: Config,
    key: String,
    path: PathBuf,
}

impl Wanted {
    /// What its training is called.
    fn stage(&self) -> &'static str {
        match self.space {
            Space::Latent => "train autoencoder",
            Space::LatentShared => "train shared autoencoder",
            _ => "train autoencoder without alignment",
        }
    }
}

/// The autoencoders of a hook point, in the order of the spaces: from the cache, or trained.
fn autoencoders(
    run: &mut Runner<'_>,
    at: At<'_>,
    twins: &[Vec<usize>],
    place: &str,
) -> Result<Vec<(Wanted, Autoencoder)>, ExperimentError> {
    let spec = &run.plan.spec;
    let wanted: Vec<Wanted> = spec
        .spaces
        .iter()
        .filter(|s| s.is_latent())
        .map(|&space| {
            let config = config(space, &spec.autoencoder);
            let format = interlingua_autoencoder::FORMAT;
            let inputs = (format, &config, &spec.languages, &at.states.keys, spec.seed);
            let key = Cache::key("autoencoder", &inputs);
            let path = run.cache.path("autoencoder", &key, ".safetensors");
            Wanted {
                space,
                config,
                key,
                path,
            }
        })
        .collect();
    let mut found: Vec<Option<Autoencoder>> = Vec::new();
    for wanted in &wanted {
        found.push(match run.has(&wanted.path)? {
            true => Some(
                run.stage(&format!("{}{place}", wanted.stage()), true, |run| {
                    Ok(Autoencoder::load(&wanted.path, &run.plan.device)?)
                })?,
            ),
            false => None,
        });
    }
    let missing: Vec<usize> = (0..wanted.len()).filter(|&i| found[i].is_none()).collect();
    // The products of a small autoencoder are too small for several threads, so a processor trains all at a time.
    let at_once = match is_plain_cpu(&run.plan.device) {
        true => missing.len().max(1),
        false => 1,
    };
    for together in missing.chunks(at_once) {
        let jobs: Vec<&Wanted> = together.iter().map(|&i| &wanted[i]).collect();
        let names: Vec<&str> = jobs.iter().map(|job| job.stage()).collect();
        let name = format!("{}{place}", names.join(", "));
        let trained = run.stage(&name, false, |run| train(run, at, twins, &jobs))?;
        for (&i, autoencoder) in together.iter().zip(trained) {
            found[i] = Some(autoencoder);
        }
    }
    let found = found.into_iter().flatten();
    Ok(wanted.into_iter().zip(found).collect())
}

/// What a thread that trains has to say: which of them, and how far it is or what it ended with.
enum Said {
    Progress(usize, Progress),
    Trained(usize, Box<Result<Autoencoder, ExperimentError>>),
}

/// Trains some autoencoders, each on threads of its own, and keeps each in the cache as soon as it is trained.
fn train(
    run: &mut Runner<'_>,
    at: At<'_>,
    twins: &[Vec<usize>],
    jobs: &[&Wanted],
) -> Result<Vec<Autoencoder>, ExperimentError> {
    let (languages, seed, device) = (
        &run.plan.spec.languages,
        run.plan.spec.seed,
        &run.plan.device,
    );
    let one = |config: &Config, progress: &mut dyn FnMut(Progress)| {
        let train = Rows::new(&at.rows.train, languages).with_twins(twins);
        let validation = Rows::new(&at.rows.validation, languages);
        let trained =
            interlingua_autoencoder::train(config, seed, &train, &validation, device, progress)?;
        Ok(trained.autoencoder)
    };
    let mut out: Vec<Option<Autoencoder>> = jobs.iter().map(|_| None).collect();
    let (listener, cache) = (&mut *run.listener, &run.cache);
    let mut steps = vec![0; jobs.len()];
    // With a share of the threads for each, none waits for work that is another's.
    let threads = (rayon::current_num_threads() / jobs.len()).max(1);
    let total = jobs.iter().map(|job| job.config.steps).sum();
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        for (i, job) in jobs.iter().enumerate() {
            let (sender, one) = (sender.clone(), &one);
            scope.spawn(move || {
                // After an error of another thread nobody listens any more, and what is trained here is not asked for.
                let mut progress = |p| {
                    let _ = sender.send(Said::Progress(i, p));
                };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let trained = match pool {
                    Ok(pool) => pool.install(|| one(&job.config, &mut progress)),
                    // Where no more threads can be had, those of all do.
                    Err(_) => one(&job.config, &mut progress),
                };
                let _ = sender.send(Said::Trained(i, Box::new(trained)));
            });
        }
        drop(sender);
        for said in receiver {
            match said {
                Said::Progress(i, p) => {
                    steps[i] = p.step;
                    let error = p.held_out.reconstruction;
                    let alignment = p.held_out.alignment;
                    let alignment =
                        alignment.map_or(String::new(), |a| format!(", alignment {a:.3}"));
                    listener(Event::Progress {
                        done: steps.iter().sum(),
                        total,
                        note: format!(
                            "on validation rows: reconstruction error {error:.3}{alignment}"
                        ),
                    });
                }
                Said::Trained(i, trained) => {
                    let trained = (*trained)?;
                    let making = cache.begin(&jobs[i].path)?;
                    trained.save(&making.path())?;
                    making.finish()?;
                    steps[i] = jobs[i].config.steps;
                    out[i] = Some(trained);
                }
            }
        }
        Ok::<_, ExperimentError>(())
    })?;
    Ok(out.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
