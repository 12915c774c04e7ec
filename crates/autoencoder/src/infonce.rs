//! Computes InfoNCE between all pairs of languages, with its gradient by explicit formulas.

use interlingua_backend::ops::{View, product};

/// Added to the length of a latent, as in the tensor form of the loss.
const SMALL: f32 = 1e-6;

/// Computes `weight` times the mean over pairs of languages of the cross-entropy of finding translations among the
/// rows, in both directions, and its gradient.
///
/// # Shapes
/// `latents` holds `languages` times the same number of rows of `width`, row-major; the gradient has the same shape.
pub(crate) fn infonce(
    latents: &[f32],
    languages: usize,
    width: usize,
    temperature: f64,
    weight: f64,
) -> (f64, Vec<f32>) {
    let unit = units(latents, width);
    let of_language = latents.len() / languages;
    let rows = of_language / width;
    let of = |language: usize| {
        let own = &unit[language * of_language..][..of_language];
        View::new(own, rows, width)
    };
    let pairs = languages * (languages - 1) / 2;
    let share = weight / (2 * pairs * rows) as f64;
    let (mut loss, mut d_unit) = (0.0, vec![0.0; latents.len()]);
    for a in 0..languages {
        for b in a + 1..languages {
            let mut cosines = product(of(a), of(b).transpose(), None);
            cosines.iter_mut().for_each(|c| *c /= temperature as f32);
            let (entropy, mut d) = both_ways(&cosines, rows);
            loss += share * entropy;
            let scale = (share / temperature) as f32;
            d.iter_mut().for_each(|d| *d *= scale);
            let d = View::new(&d, rows, rows);
            for (to, found) in [
                (a, product(d, of(b), None)),
                (b, product(d.transpose(), of(a), None)),
            ] {
                let sum = &mut d_unit[to * of_language..][..of_language];
                sum.iter_mut().zip(found).for_each(|(s, x)| *s += x);
            }
        }
    }
    let all = d_unit.chunks_exact_mut(width);
    for (d, z) in all.zip(latents.chunks_exact(width)) {
        // u = z / (|z| + ε).
        let length = z.iter().map(|x| x * x).sum::<f32>().sqrt();
        let along: f32 = z.iter().zip(&*d).map(|(z, d)| z * d).sum();
        let sum = length + SMALL;
        let back = along / (length.max(f32::MIN_POSITIVE) * sum * sum);
        d.iter_mut()
            .zip(z)
            .for_each(|(d, z)| *d = *d / sum - z * back);
    }
    (loss, d_unit)
}

/// Rows scaled to length 1.
fn units(rows: &[f32], width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(width) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt() + SMALL;
        out.extend(row.iter().map(|x| x / length));
    }
    out
}

/// Sum of the cross-entropies of the diagonal along rows and along columns, and its gradient.
fn both_ways(logits: &[f32], rows: usize) -> (f64, Vec<f32>) {
    let mut gradient = vec![0.0; logits.len()];
    let mut entropy = 0.0;
    for (along, across) in [(rows, 1), (1, rows)] {
        for line in 0..rows {
            let at = |i: usize| line * along + i * across;
            let largest = (0..rows).fold(f32::NEG_INFINITY, |m, i| m.max(logits[at(i)]));
            let exps: Vec<f32> = (0..rows).map(|i| (logits[at(i)] - largest).exp()).collect();
            let sum: f32 = exps.iter().sum();
            entropy += f64::from(sum.ln() + largest - logits[at(line)]);
            for (i, e) in exps.into_iter().enumerate() {
                gradient[at(i)] += e / sum;
            }
            gradient[at(line)] -= 1.0;
        }
    }
    (entropy, gradient)
}
