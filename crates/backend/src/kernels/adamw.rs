//! The update of AdamW.

use multiversion::multiversion;

/// One AdamW step on a parameter, its moments updated in place.
#[multiversion(targets = "simd")]
#[allow(clippy::too_many_arguments)]
pub fn adamw(
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    beta_1: f32,
    beta_2: f32,
    step_size: f32,
    correction_2: f32,
    epsilon: f32,
    decay: f32,
) {
    for (((p, &g), m), v) in parameter
        .iter_mut()
        .zip(gradient)
        .zip(first.iter_mut())
        .zip(second.iter_mut())
    {
        *m = beta_1 * *m + (1.0 - beta_1) * g;
        *v = beta_2 * *v + (1.0 - beta_2) * g * g;
        *p = *p * (1.0 - decay) - step_size * *m / ((*v * correction_2).sqrt() + epsilon);
    }
}
