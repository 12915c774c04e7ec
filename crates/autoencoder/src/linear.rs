//! The linear solution at which training can start: rotations onto the first language, followed by the axes along
//! which all languages vary most.

use faer::{Mat, Side};
use interlingua_backend::ops::{View, product};

use crate::rows::Normal;
use crate::{AutoencoderError, Config, Sharing, States};

/// Rows whose tokens say along which axes states vary.
const ROWS: usize = 500;

/// One matrix M per language, `[width, latent]`, row-major, with z = x·M and x ≈ z·Mᵀ.
pub(crate) struct Start {
    maps: Vec<Vec<f32>>,
    latent: usize,
}

impl Start {
    /// Returns the weights `[out, in]` of the linear path of one encoder or decoder; the encoders come first.
    pub fn of_half(&self, half: usize, encoders: usize) -> Vec<f32> {
        match half.checked_sub(encoders) {
            // The decoder's weights are M itself, the encoder's its transpose.
            Some(decoder) => self.maps[decoder].clone(),
            None => {
                let map = &self.maps[half];
                let width = map.len() / self.latent;
                (0..map.len())
                    .map(|at| map[at % width * self.latent + at / width])
                    .collect()
            }
        }
    }
}

/// Finds the rotations and the axes. `means` holds the normalised mean states of the rows of each language.
///
/// Languages are rotated only if each has its own encoder and its own decoder, because the decoder has to undo the
/// rotation of the encoder.
///
/// # Source
/// Schönemann 1966 for the rotation: Q = U·Vᵀ from the SVD of Xᵀ·Y, X and Y centred.
pub(crate) fn start(
    config: &Config,
    states: &dyn States,
    normal: &Normal,
    means: &[Vec<f32>],
) -> Result<Start, AutoencoderError> {
    let width = states.width();
    let failed = |what: &str| AutoencoderError::Start {
        problem: format!(
            "the decomposition behind {what} did not converge; are the states finite?"
        ),
    };
    let first = centred(&means[0], width);
    let mut rotations = Vec::with_capacity(means.len());
    for own in means {
        rotations.push(match config.sharing {
            Sharing::PerLanguage => {
                let cross = centred(own, width).transpose() * &first;
                let svd = cross.svd().map_err(|_| failed("the rotations"))?;
                svd.U() * svd.V().transpose()
            }
            _ => Mat::identity(width, width),
        });
    }
    let mut gram = Mat::<f64>::zeros(width, width);
    for (language, rotation) in rotations.iter().enumerate() {
        let own = token_gram(states, normal, language)?;
        gram += rotation.transpose() * own * rotation;
    }
    let eigen = gram
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| failed("the principal axes"))?;
    let axes = Mat::from_fn(width, config.latent, |i, j| eigen.U()[(i, width - 1 - j)]);
    let map = |rotation: &Mat<f64>| {
        let map = rotation * &axes;
        let at = |at: usize| map[(at / config.latent, at % config.latent)] as f32;
        (0..width * config.latent).map(at).collect()
    };
    Ok(Start {
        maps: rotations.iter().map(map).collect(),
        latent: config.latent,
    })
}

/// Rows without their mean.
fn centred(rows: &[f32], width: usize) -> Mat<f64> {
    let count = rows.len() / width;
    let mut mean = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (m, &x) in mean.iter_mut().zip(row) {
            *m += f64::from(x) / count as f64;
        }
    }
    Mat::from_fn(count, width, |i, j| {
        f64::from(rows[i * width + j]) - mean[j]
    })
}

/// Sums of products of the normalised token states of the first rows.
fn token_gram(
    states: &dyn States,
    normal: &Normal,
    language: usize,
) -> Result<Mat<f64>, AutoencoderError> {
    let width = states.width();
    let mut gram = Mat::<f64>::zeros(width, width);
    let rows: Vec<usize> = (0..states.rows().min(ROWS)).collect();
    for rows in rows.chunks(50) {
        let mut values = Vec::new();
        for &row in rows {
            normal.read(states, language, row, &mut values)?;
        }
        let tokens = View::new(&values, values.len() / width, width);
        let part = product(tokens.transpose(), tokens, None);
        gram += Mat::from_fn(width, width, |i, j| f64::from(part[i * width + j]));
    }
    Ok(gram)
}
