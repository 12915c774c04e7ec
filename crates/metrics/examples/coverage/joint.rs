//! Samples of a square of languages with known gaps, and how often joint intervals hold what is measured on them.

use interlingua_metrics::bootstrap::{Bootstrap, Estimate, Interval};
use interlingua_metrics::joint::{Draws, Resampled};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::simulation::{Coverage, Shape, part};

const CATEGORIES: usize = 3;
const LANGUAGES: usize = 4;

/// How the pairs of a sample come about.
#[derive(Debug, Clone, Copy)]
pub struct Square {
    /// Shape of the random parts of a gap.
    pub shape: Shape,
    /// Pairs in each category, the same ones in every language.
    pub pairs: usize,
    /// Whether the edit brings the gap of every second cell near 0.
    pub near_zero: bool,
}

/// What is measured.
pub const MEASURES: [&str; 4] = [
    "scope_gap",
    "gap_difference",
    "specific_part",
    "transfer_share",
];

/// True mean gaps of one model: `[category][fit][evaluation]`.
type Means = Vec<Vec<Vec<f64>>>;

/// True gaps of the unedited model, of an edit and of its control.
fn truths(square: &Square) -> [Means; 3] {
    // One set of models for all samples.
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut means = |of: &mut dyn FnMut(usize, usize, &mut ChaCha8Rng) -> f64| -> Means {
        let mut fits = |rng: &mut ChaCha8Rng| -> Vec<Vec<f64>> {
            (0..LANGUAGES)
                .map(|f| (0..LANGUAGES).map(|e| of(f, e, rng)).collect())
                .collect()
        };
        (0..CATEGORIES).map(|_| fits(&mut rng)).collect()
    };
    let normal = |rng: &mut ChaCha8Rng| part(Shape::Normal, rng);
    let unedited = means(&mut |_, e, _| 1.0 + 0.2 * e as f64);
    let near_zero = square.near_zero;
    let edited = means(
        &mut |f, e, rng| match (near_zero && (f + e) % 2 == 1, f == e) {
            (true, _) => 0.1 * normal(rng),
            (_, true) => 0.6 + 0.1 * normal(rng),
            (_, false) => 0.9 + 0.2 * normal(rng),
        },
    );
    let control = means(&mut |_, e, rng| 0.95 + 0.2 * e as f64 + 0.05 * normal(rng));
    [unedited, edited, control]
}

/// Mean |gap| of one model over the cells off the diagonal, or on it.
fn scope(means: &Means, own: bool) -> f64 {
    let mut cells = Vec::new();
    for fits in means {
        for (f, evals) in fits.iter().enumerate() {
            cells.extend(
                evals
                    .iter()
                    .enumerate()
                    .filter(|(e, _)| (f == *e) == own)
                    .map(|(_, m)| m.abs()),
            );
        }
    }
    cells.iter().sum::<f64>() / cells.len() as f64
}

/// The true values of [`MEASURES`].
fn truth([unedited, edited, control]: &[Means; 3]) -> [f64; 4] {
    let effect = |own: bool| scope(unedited, own) - scope(edited, own);
    [
        scope(edited, false),
        -effect(false),
        scope(control, false) - scope(edited, false),
        effect(false) / effect(true),
    ]
}

/// Mean |gap| of each model on a sample: `[model][off, on the diagonal]`.
fn measure(
    square: &Square,
    models: &[Means; 3],
    draws: &Draws,
    rng: &mut ChaCha8Rng,
) -> Vec<[Resampled; 2]> {
    let mut sums: Vec<[Resampled; 2]> = (0..3).map(|_| [draws.zero(), draws.zero()]).collect();
    for category in 0..CATEGORIES {
        // Of the variance 1.44 of a gap a third is the pair's, a third that of the pair in a language, whatever the model.
        let scale = (1.44f64 / 3.0).sqrt();
        let shared: Vec<Vec<f64>> = (0..square.pairs)
            .map(|_| {
                let pair = part(square.shape, rng);
                (0..LANGUAGES)
                    .map(|_| scale * (pair + part(square.shape, rng)))
                    .collect()
            })
            .collect();
        let mut columns = Vec::new();
        let mut cells = Vec::new();
        for (m, model) in models.iter().enumerate() {
            for (f, evals) in model[category].iter().enumerate() {
                for (e, mean) in evals.iter().enumerate() {
                    // The unedited model and the control are the same whatever the language of a fit.
                    if m == 1 || f == 0 {
                        let own = |rng: &mut ChaCha8Rng| match m {
                            0 => 0.0,
                            1 => scale * part(square.shape, rng),
                            _ => 0.3 * scale * part(square.shape, rng),
                        };
                        columns.push(shared.iter().map(|s| mean + s[e] + own(rng)).collect());
                        cells.push((m, f, e));
                    }
                }
            }
        }
        let n = square.pairs as f64;
        let found = draws.sums(category, &columns).expect("finite gaps");
        for (&(m, f, e), sum) in cells.iter().zip(found) {
            let size = sum.map(|v| v / n).size();
            let cells = (CATEGORIES * LANGUAGES) as f64;
            if m == 1 {
                let off = f64::from(u8::from(f != e)) / (cells * (LANGUAGES - 1) as f64);
                sums[m][0].add(&size, off);
                sums[m][1].add(&size, f64::from(u8::from(f == e)) / cells);
            } else {
                sums[m][0].add(&size, 1.0 / cells);
                sums[m][1].add(&size, 1.0 / cells);
            }
        }
    }
    sums
}

/// Estimates of [`MEASURES`] on one sample.
fn estimates(square: &Square, models: &[Means; 3], seed: u64) -> [Estimate; 4] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let options = Bootstrap {
        interval: Interval::ExpandedBca,
        resamples: 1000,
        ..Bootstrap::seeded(seed)
    };
    let draws = Draws::new(&[square.pairs; CATEGORIES], options).expect("pairs to draw");
    let found = measure(square, models, &draws, &mut rng);
    let [unedited, edited, control] = [&found[0], &found[1], &found[2]];
    let effect = |own: usize| unedited[own].minus(&edited[own]);
    let numbers = [
        edited[0].clone(),
        edited[0].minus(&unedited[0]),
        control[0].minus(&edited[0]),
        effect(0).over(&effect(1)),
    ];
    numbers.map(|number| {
        draws
            .estimate("simulated", &number, square.pairs)
            .expect("a finite number")
    })
}

/// How often the interval of each of [`MEASURES`] holds the truth, over `draws` samples.
pub fn coverage(square: &Square, draws: u64) -> [Coverage; 4] {
    let mut models = truths(square);
    // What does not depend on the fit must be the same in every row of the square.
    for model in [0, 2] {
        for category in &mut models[model] {
            let first = category[0].clone();
            category.iter_mut().for_each(|fit| fit.clone_from(&first));
        }
    }
    let truth = truth(&models);
    let samples: Vec<[Estimate; 4]> = (0..draws)
        .into_par_iter()
        .map(|seed| estimates(square, &models, seed))
        .collect();
    std::array::from_fn(|at| {
        let ends = |s: &[Estimate; 4]| {
            (
                s[at].ci_low.unwrap_or(f64::NEG_INFINITY),
                s[at].ci_high.unwrap_or(f64::INFINITY),
            )
        };
        Coverage::of(&samples.iter().map(ends).collect::<Vec<_>>(), truth[at])
    })
}
