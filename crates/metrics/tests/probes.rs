//! Probes on data of any shape, and on data with a known answer.

use std::time::Instant;

use interlingua_metrics::MetricError;
use interlingua_metrics::alignment::{RbfCka, procrustes, rbf_cka};
use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_metrics::probe::logistic::{self, LogisticOptions};
use interlingua_metrics::probe::mlp::MlpOptions;
use interlingua_metrics::probe::{Kind, Probe, Rows, accuracy, codelength};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Correlated features, and classes that differ in their first one.
fn states(n: usize, dim: usize, classes: usize, gap: f64, seed: u64) -> (Vec<f32>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let y: Vec<usize> = (0..n).map(|i| i % classes).collect();
    let mut x = Vec::with_capacity(n * dim);
    for &class in &y {
        let common = 3.0 * normal(&mut rng);
        for j in 0..dim {
            let centre = if j == 0 { gap * class as f64 } else { 0.0 };
            x.push((centre + common + normal(&mut rng)) as f32);
        }
    }
    (x, y)
}

fn small_mlp(seed: u64) -> Probe {
    let options = MlpOptions {
        hidden: 8,
        max_epochs: 5,
        ..MlpOptions::default()
    };
    Probe {
        kind: Kind::Mlp(options),
        ..Probe::linear(seed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the shape and scale: a value with every invariant, or a typed error.
    #[test]
    fn any_shape(
        n in 2..40usize, m in 1..20usize, dim in 1..30usize, classes in 2..5usize,
        seed in any::<u64>(), exponent in -38..38i32, standardise in any::<bool>(), linear in any::<bool>(),
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let scale = 10f64.powi(exponent);
        let mut x = |n: usize| -> Vec<f32> { (0..n * dim).map(|_| (scale * (rng.random::<f64>() - 0.5)) as f32).collect() };
        let (a, b) = (x(n), x(m));
        let mut y = |n: usize| -> Vec<usize> { (0..n).map(|_| rng.random_range(0..classes)).collect() };
        let (ya, yb) = (y(n), y(m));
        let train = Rows { x: &a, y: &ya, dim, classes };
        let test = Rows { x: &b, y: &yb, dim, classes };
        let kind = if linear { Probe::linear(seed).kind } else { small_mlp(seed).kind };
        let probe = Probe { kind, standardise, seed };
        let one_class = ya.iter().all(|class| class == &ya[0]);
        match accuracy(&train, &test, &probe, &Bootstrap::default()) {
            Ok(found) => {
                for share in [found.accuracy.value, found.majority, found.balanced_accuracy] {
                    prop_assert!((0.0..=1.0).contains(&share));
                }
                prop_assert_eq!(found.hits.len(), m);
            }
            Err(MetricError::OneClass { .. }) => prop_assert!(one_class),
            Err(MetricError::Undefined { .. }) => prop_assert!(!standardise),
            Err(other) => prop_assert!(false, "{other}"),
        }
        match codelength(&train, &probe) {
            Ok(found) => {
                prop_assert!(found.bits > 0.0 && found.bits.is_finite());
                let labels: usize = found.blocks.iter().map(|block| block.labels).sum();
                prop_assert_eq!(labels, n);
                let sum: f64 = found.blocks.iter().map(|block| block.bits).sum();
                prop_assert_eq!(sum, found.bits);
                prop_assert_eq!(&found, &codelength(&train, &probe).unwrap());
            }
            Err(MetricError::OneClass { .. }) => prop_assert!(one_class),
            Err(MetricError::Undefined { .. }) => prop_assert!(!standardise),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// A standardised probe does not know the unit or the zero of a feature.
    #[test]
    fn units_do_not_matter(seed in any::<u64>(), classes in 2..4usize) {
        let (mut x, y) = states(80, 5, classes, 1.0, seed);
        // So coarse that the moved ones are exact too: rounding would be large beside the spread of
        // the first few rows.
        x.iter_mut().for_each(|v| *v = (*v * 1024.0).round() / 1024.0);
        let moved: Vec<f32> = x.iter().enumerate().map(|(at, v)| v * 4f32.powi((at % 5) as i32) + 8.0).collect();
        let found = |x: &[f32]| {
            let rows = Rows { x, y: &y, dim: 5, classes };
            codelength(&rows, &Probe::linear(seed)).unwrap().bits
        };
        let (here, there) = (found(&x), found(&moved));
        prop_assert!((here - there).abs() < 1e-6, "{here} {there}");
    }

    #[test]
    fn a_rotated_copy_is_the_same(n in 5..40usize, dim in 2..12usize, seed in any::<u64>(), angle in 0f64..6.0) {
        let (a, _) = states(n, dim, 2, 1.0, seed);
        let (sin, cos) = angle.sin_cos();
        let rotated: Vec<f32> = a.chunks_exact(dim).flat_map(|row| {
            let (p, q) = (f64::from(row[0]), f64::from(row[1]));
            let turned = [cos * p - sin * q, sin * p + cos * q];
            let rest = row[2..].iter().map(|&v| f64::from(v));
            turned.into_iter().chain(rest).map(|v| (2.0 * v + 1.0) as f32).collect::<Vec<_>>()
        }).collect();
        let found = procrustes(&a, dim, &rotated, dim).unwrap();
        prop_assert!(found.scaled_residual < 1e-9 && found.distance < 1e-9);
        // XQ against 2X: what is missing is half of it.
        prop_assert!((found.residual - 0.25).abs() < 1e-5);
        for debiased in [false, true] {
            let options = RbfCka { debiased, ..RbfCka::default() };
            let same = rbf_cka(&a, dim, &rotated, dim, &options).unwrap().value;
            prop_assert!((same - 1.0).abs() < 1e-5);
            let (other, _) = states(n, dim + 1, 2, 1.0, seed ^ 1);
            let ab = rbf_cka(&a, dim, &other, dim + 1, &options).unwrap().value;
            let ba = rbf_cka(&other, dim + 1, &a, dim, &options).unwrap().value;
            prop_assert!((ab - ba).abs() < 1e-12 && ab <= 1.0 + 1e-12);
        }
    }
}

/// Two features of variance 10 and correlation 0.9, class means 2 apart along one
/// of them: the best accuracy is Φ(Δ/2), Δ² = δᵀΣ⁻¹δ.
#[test]
fn linear_probe_reaches_the_bayes_rate() {
    let (n, dim) = (20_000, 2);
    let (x, y) = states(n, dim, 2, 2.0, 5);
    let (train, test) = (n / 2 * dim, n / 2);
    let rows = |x, y| Rows {
        x,
        y,
        dim,
        classes: 2,
    };
    let found = accuracy(
        &rows(&x[..train], &y[..test]),
        &rows(&x[train..], &y[test..]),
        &Probe::linear(0),
        &Bootstrap::default(),
    )
    .unwrap();
    // Σ⁻¹ = [[10, −9], [−9, 10]]/19, so Δ² = 4·10/19 and Φ(0.7255) = 0.7659.
    assert!((found.accuracy.value - 0.7659).abs() < 0.013, "{found:?}");
    assert!(found.accuracy.contains(0.7659));
    assert!((found.majority - 0.5).abs() < 0.02 && found.converged);
}

/// Labels that the states say nothing about cost what they cost without states,
/// and a little for finding that out.
#[test]
fn codelength_of_noise_and_of_certainty() {
    let (x, y) = states(2000, 8, 2, 0.0, 9);
    let rows = Rows {
        x: &x,
        y: &y,
        dim: 8,
        classes: 2,
    };
    for probe in [Probe::linear(0), Probe::mlp(0)] {
        let noise = codelength(&rows, &probe).unwrap();
        assert_eq!(noise.uniform_bits, 2000.0);
        assert!(noise.compression > 0.85 && noise.compression < 1.01);
        let named: Vec<f32> = y.iter().map(|&class| class as f32).collect();
        let certain = Rows {
            x: &named,
            dim: 1,
            ..rows
        };
        let found = codelength(&certain, &probe).unwrap();
        assert!(found.compression > 10.0, "{}", found.compression);
    }
}

/// The answer is the same on one thread and on many.
#[test]
fn threads_change_nothing() {
    let (x, y) = states(1500, 12, 3, 0.5, 2);
    let rows = Rows {
        x: &x,
        y: &y,
        dim: 12,
        classes: 3,
    };
    let on = |threads: usize, probe: &Probe| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| codelength(&rows, probe).unwrap())
    };
    for probe in [Probe::linear(1), small_mlp(1)] {
        assert_eq!(on(1, &probe), on(3, &probe));
    }
}

#[test]
fn rows_that_cannot_be_probed() {
    let (x, y) = states(20, 3, 2, 1.0, 0);
    let good = Rows {
        x: &x,
        y: &y,
        dim: 3,
        classes: 2,
    };
    let probe = Probe::linear(0);
    let options = Bootstrap::default();
    let both = |rows: &Rows<'_>| {
        let fit = accuracy(rows, &good, &probe, &options).unwrap_err();
        assert!(codelength(rows, &probe).is_err());
        fit
    };
    let one = [1; 20];
    let nan = {
        let mut x = x.clone();
        x[7] = f32::INFINITY;
        x
    };
    let mut unknown = y.clone();
    unknown[4] = 2;
    use MetricError as E;
    assert!(matches!(
        both(&Rows { y: &one, ..good }),
        E::OneClass { class: 1, .. }
    ));
    assert!(matches!(
        both(&Rows { x: &nan, ..good }),
        E::NotFinite { index: 7, .. }
    ));
    assert!(matches!(
        both(&Rows {
            y: &unknown,
            ..good
        }),
        E::UnknownClass {
            row: 4,
            class: 2,
            classes: 2,
            ..
        }
    ));
    assert!(matches!(
        both(&Rows {
            x: &[],
            y: &[],
            ..good
        }),
        E::Empty { .. }
    ));
    assert!(matches!(
        both(&Rows {
            x: &x[..59],
            ..good
        }),
        E::Length {
            expected: 60,
            found: 59,
            ..
        }
    ));
    assert!(matches!(
        both(&Rows { dim: 0, ..good }),
        E::BadSetting { name: "dim", .. }
    ));
    assert!(matches!(
        both(&Rows { classes: 1, ..good }),
        E::BadSetting {
            name: "classes",
            ..
        }
    ));
    let single = Rows {
        x: &x[..3],
        y: &y[..1],
        ..good
    };
    assert!(matches!(
        codelength(&single, &probe),
        Err(E::TooFew { needed: 2, .. })
    ));
    for kind in [
        Kind::Linear(LogisticOptions {
            c: 0.0,
            ..LogisticOptions::default()
        }),
        Kind::Linear(LogisticOptions {
            tolerance: f64::NAN,
            ..LogisticOptions::default()
        }),
        Kind::Mlp(MlpOptions {
            hidden: 0,
            ..MlpOptions::default()
        }),
        Kind::Mlp(MlpOptions {
            learning_rate: -1.0,
            ..MlpOptions::default()
        }),
    ] {
        let bad = Probe { kind, ..probe };
        assert!(matches!(
            accuracy(&good, &good, &bad, &options),
            Err(E::BadSetting { .. })
        ));
    }
    let missing = logistic::fit(&[0.0, 1.0], &[0, 2], 1, 3, &LogisticOptions::default());
    assert!(matches!(missing, Err(E::MissingClass { class: 1, .. })));
}

#[test]
fn sides_that_cannot_be_aligned() {
    let (x, _) = states(8, 3, 2, 1.0, 0);
    let options = RbfCka::default();
    use MetricError as E;
    assert!(matches!(
        rbf_cka(&x[..9], 3, &x[..9], 3, &options),
        Err(E::TooFew { needed: 4, .. })
    ));
    assert!(matches!(
        rbf_cka(&[1.0; 24], 3, &x, 3, &options),
        Err(E::Constant { side: "a", .. })
    ));
    let mut equal = x.clone();
    (3..18).for_each(|i| equal[i] = equal[i % 3]);
    assert!(matches!(
        rbf_cka(&x, 3, &equal, 3, &options),
        Err(E::Constant { side: "b", .. })
    ));
    let bad = RbfCka {
        bandwidth: 0.0,
        ..options
    };
    assert!(matches!(
        rbf_cka(&x, 3, &x, 3, &bad),
        Err(E::BadSetting {
            name: "bandwidth",
            ..
        })
    ));
    let capped = RbfCka {
        max_rows: 5,
        ..options
    };
    assert_eq!(rbf_cka(&x, 3, &x, 3, &capped).unwrap().n, 5);
    assert!(matches!(
        procrustes(&[2.0; 24], 3, &x, 3),
        Err(E::Constant { side: "a", .. })
    ));
    assert!(matches!(
        procrustes(&x[..3], 3, &x[..3], 3),
        Err(E::TooFew { .. })
    ));
    assert!(matches!(
        procrustes(&x, 3, &x[..21], 3),
        Err(E::Length { .. })
    ));
}

/// Not a benchmark: a guard against an accident that makes a probe hopeless.
#[test]
fn a_real_size_takes_seconds() {
    let (x, y) = states(4000, 256, 3, 0.5, 4);
    let rows = Rows {
        x: &x,
        y: &y,
        dim: 256,
        classes: 3,
    };
    for probe in [Probe::linear(0), Probe::mlp(0)] {
        let start = Instant::now();
        let found = codelength(&rows, &probe).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{:?}: {seconds:.1} s, compression {:.2}",
            probe.kind, found.compression
        );
        assert!(found.converged() && seconds < 300.0);
    }
}
