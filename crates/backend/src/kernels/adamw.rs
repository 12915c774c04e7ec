//! The kernel of the AdamW update.

use multiversion::multiversion;
use rayon::prelude::*;

use super::math::dot;

/// Elements of one task.
const PART: usize = 1 << 15;

/// The numbers of one AdamW step that are the same for all parameters.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The factor on the gradient that limits its norm.
    pub clip: f32,
    /// The decay of the first moment.
    pub beta_1: f32,
    /// The decay of the second moment.
    pub beta_2: f32,
    /// The learning rate, corrected for the initial zeros of the first moment.
    pub step_size: f32,
    /// The correction for the initial zeros of the second moment.
    pub correction_2: f32,
    /// The number that is added to the root of the second moment.
    pub epsilon: f32,
    /// The share by which the parameter decays.
    pub decay: f32,
}

/// Takes one AdamW step on a parameter, and updates its moments in place.
pub fn adamw(p: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: Step) {
    p.par_chunks_mut(PART)
        .zip(gradient.par_chunks(PART))
        .zip(first.par_chunks_mut(PART).zip(second.par_chunks_mut(PART)))
        .for_each(|((p, g), (m, v))| adamw_part(p, g, m, v, step));
}

#[multiversion(targets = "simd")]
fn adamw_part(p: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], s: Step) {
    for (((p, &g), m), v) in p
        .iter_mut()
        .zip(gradient)
        .zip(first.iter_mut())
        .zip(second.iter_mut())
    {
        let g = g * s.clip;
        *m = s.beta_1 * *m + (1.0 - s.beta_1) * g;
        *v = s.beta_2 * *v + (1.0 - s.beta_2) * g * g;
        *p = *p * (1.0 - s.decay) - s.step_size * *m / ((*v * s.correction_2).sqrt() + s.epsilon);
    }
}

/// Computes the sums of squares of parts of `x`, in order; the result does not depend on the number of threads.
pub fn squares(x: &[f32]) -> Vec<f32> {
    x.par_chunks(4096).map(square).collect()
}

#[multiversion(targets = "simd")]
fn square(part: &[f32]) -> f32 {
    dot(part, part)
}
