//! Trains autoencoders and fits affine maps at every hook.

use std::sync::Arc;

use interlingua_autoencoder::{Autoencoder, Config, Progress, Sharing};

use super::states::sentence_vectors;
use super::{Captured, RowStates, Rows, Runner, SiteStates};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::progress::Event;
use crate::spec::Space;
use interlingua_spaces::Spaces;
use interlingua_spaces::affine::AffineSpace;
use interlingua_spaces::latent::Latent;

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
    let spec = &run.plan.spec;
    let width = at.states.width;
    let mut spaces = Spaces::raw(width, &run.plan.device);
    for &space in spec.spaces.iter().filter(|s| s.is_latent()) {
        let config = config(space, &spec.autoencoder);
        let (autoencoder, key) = autoencoder(run, at, twins, space, place, &config)?;
        digests.push((
            format!("autoencoder ({}{place})", space.name()),
            key.clone(),
        ));
        spaces.add(space, Latent { autoencoder }, key);
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

fn autoencoder(
    run: &mut Runner<'_>,
    at: At<'_>,
    twins: &[Vec<usize>],
    space: Space,
    place: &str,
    config: &Config,
) -> Result<(Autoencoder, String), ExperimentError> {
    let seed = run.plan.spec.seed;
    let format = interlingua_autoencoder::FORMAT;
    let key = Cache::key(
        "autoencoder",
        &(
            format,
            config,
            &run.plan.spec.languages,
            &at.states.keys,
            seed,
        ),
    );
    let path = run.cache.path("autoencoder", &key, ".safetensors");
    let cached = run.has(&path)?;
    let name = match space {
        Space::Latent => format!("train autoencoder{place}"),
        Space::LatentShared => format!("train shared autoencoder{place}"),
        _ => format!("train autoencoder without alignment{place}"),
    };
    let autoencoder = run.stage(&name, cached, |run| {
        let device = run.plan.device.clone();
        if cached {
            return Ok(Autoencoder::load(&path, &device)?);
        }
        let languages = &run.plan.spec.languages;
        let train = Rows::new(&at.rows.train, languages).with_twins(twins);
        let validation = Rows::new(&at.rows.validation, languages);
        let listener = &mut *run.listener;
        let mut progress = |p: Progress| {
            let error = p.held_out.reconstruction;
            let alignment = p.held_out.alignment;
            let alignment = alignment.map_or(String::new(), |a| format!(", alignment {a:.3}"));
            listener(Event::Progress {
                done: p.step,
                total: p.steps,
                note: format!("on validation rows: reconstruction error {error:.3}{alignment}"),
            });
        };
        let trained = interlingua_autoencoder::train(
            config,
            seed,
            &train,
            &validation,
            &device,
            &mut progress,
        )?;
        let making = run.cache.begin(&path)?;
        trained.autoencoder.save(&making.path())?;
        making.finish()?;
        Ok(trained.autoencoder)
    })?;
    Ok((autoencoder, key))
}
