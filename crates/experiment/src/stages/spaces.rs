//! Spaces: autoencoders are trained, affine maps fitted, at every hook point.

use std::sync::Arc;

use interlingua_autoencoder::{Autoencoder, AutoencoderError, Config, States};

use super::states::{encode_means, sentence_vectors};
use super::{Captured, Rows, Runner, SiteStates};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::progress::Event;
use crate::space::{Spaces, affine};
use crate::spec::Space;

/// Names of artefacts with their digests or keys.
pub type Digests = Vec<(String, String)>;

/// Trains the autoencoders and fits the affine spaces of every hook point.
pub fn spaces_stage(
    run: &mut Runner<'_>,
    captured: &Captured,
) -> Result<(Vec<Arc<Spaces>>, Digests), ExperimentError> {
    let mut digests = Vec::new();
    let mut sites = Vec::new();
    for (at, states) in captured.iter().enumerate() {
        // A name that says more than it must is only noise in a run with one hook point.
        let place = match run.plan.hooks.len() {
            1 => String::new(),
            _ => format!(" at {}", run.plan.hooks[at]),
        };
        let mut spaces = spaces_at(run, states, &place, &mut digests)?;
        language_means(run, states, &mut spaces)?;
        sites.push(Arc::new(spaces));
    }
    Ok((sites, digests))
}

/// Most training rows that the mean of a language is taken over.
const MEAN_ROWS: usize = 1000;
/// States that are taken into a space at once.
const MEAN_CHUNK: usize = 4096;

/// Mean of each language's tokens in each space.
fn language_means(
    run: &Runner<'_>,
    states: &SiteStates,
    spaces: &mut Spaces,
) -> Result<(), ExperimentError> {
    let spec = &run.plan.spec;
    let rows = Rows::new(&states.train, spec.languages.len());
    for (at, &language) in spec.languages.iter().enumerate() {
        let (tokens, _) = rows.first_tokens(at, MEAN_ROWS)?;
        for &space in &spec.spaces {
            let dim = spaces.dim(space);
            let mut sum = vec![0.0; dim];
            for part in tokens.chunks(MEAN_CHUNK * spaces.width) {
                for row in spaces
                    .enter(space, language, part.to_vec())
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
    states: &SiteStates,
    place: &str,
    digests: &mut Digests,
) -> Result<Spaces, ExperimentError> {
    let spec = &run.plan.spec;
    let width = states.train.width();
    let mut spaces = Spaces::raw(width, &run.plan.device);
    for &space in spec.spaces.iter().filter(|s| s.is_latent()) {
        let config = match space {
            Space::LatentUnaligned => Config {
                alignment_weight: 0.0,
                cross_reconstruction_weight: 0.0,
                ..spec.autoencoder.clone()
            },
            _ => spec.autoencoder.clone(),
        };
        let (autoencoder, key) = autoencoder(run, states, space, place, &config)?;
        digests.push((format!("autoencoder ({}{place})", space.name()), key));
        spaces.autoencoders.insert(space, autoencoder);
    }
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
        let spec = &run.plan.spec;
        let rows = Rows::new(&states.train, spec.languages.len());
        let mut means = Vec::new();
        for (at, &language) in spec.languages.iter().enumerate() {
            means.push(sentence_vectors(&spaces, Space::Raw, language, &rows, at)?);
        }
        for (at, &space) in affine.iter().enumerate() {
            let dim = spec.autoencoder.latent;
            let maps = affine::fit(space, &means, width, dim, &run.plan.device)?;
            for (&language, map) in spec.languages.iter().zip(maps) {
                spaces.affine.insert((space, language), map);
            }
            run.progress(at + 1, affine.len(), space.name().to_owned());
        }
        Ok(())
    })?;
    Ok(spaces)
}

fn autoencoder(
    run: &mut Runner<'_>,
    states: &SiteStates,
    space: Space,
    place: &str,
    config: &Config,
) -> Result<(Autoencoder, String), ExperimentError> {
    let seed = run.plan.spec.seed;
    let key = Cache::key("autoencoder", &(config, &states.keys, seed));
    let path = run.cache.path("autoencoder", &key, ".safetensors");
    let cached = run.has(&path)?;
    let name = match space {
        Space::Latent => format!("train autoencoder{place}"),
        _ => format!("train autoencoder without alignment{place}"),
    };
    let autoencoder = run.stage(&name, cached, |run| {
        let device = run.plan.device.clone();
        if cached {
            return Ok(Autoencoder::load(&path, &device)?);
        }
        let languages = run.plan.spec.languages.len();
        let train = Rows::new(&states.train, languages);
        let validation = Rows::new(&states.validation, languages);
        let mut score = |candidate: &Autoencoder| {
            mean_retrieval(candidate, &device, &validation)
                .map_err(|e| AutoencoderError::States(Box::new(e)))
        };
        let listener = &mut *run.listener;
        let trained =
            interlingua_autoencoder::train(config, seed, &train, &device, &mut score, &mut |p| {
                let note = format!("loss {:.4}, held-out retrieval {:.3}", p.loss, p.score);
                listener(Event::Progress {
                    done: p.step,
                    total: p.steps,
                    note,
                });
            })?;
        let making = run.cache.begin(&path)?;
        trained.autoencoder.save(&making.path())?;
        making.finish()?;
        Ok(trained.autoencoder)
    })?;
    Ok((autoencoder, key))
}

/// Mean top-1 retrieval over all directions, by cosine of mean latents.
fn mean_retrieval(
    autoencoder: &Autoencoder,
    device: &interlingua_backend::Device,
    rows: &Rows<'_>,
) -> Result<f64, ExperimentError> {
    let mut latents = Vec::new();
    for at in 0..rows.languages() {
        let (tokens, lengths) = rows.tokens(at)?;
        latents.push(encode_means(autoencoder, device, &tokens, &lengths));
    }
    let (mut sum, mut count) = (0.0, 0.0);
    for a in 0..latents.len() {
        for b in a + 1..latents.len() {
            let hits = interlingua_metrics::alignment::retrieval_hits(
                &latents[a],
                &latents[b],
                autoencoder.config.latent,
                10,
            )
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
