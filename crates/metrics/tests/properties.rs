//! Properties that hold for any data, and the coverage of the intervals.

use interlingua_metrics::MetricError;
use interlingua_metrics::alignment::{cosine_margin, linear_cka, retrieval, retrieval_hits};
use interlingua_metrics::bootstrap::{Bootstrap, Interval, mean, ratio};
use interlingua_metrics::significance::{
    Flips, benjamini_hochberg, holm, mcnemar_exact, sign_flip,
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn vectors(n: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n * d).map(|_| normal(&mut rng) as f32).collect()
}

/// A rotation of the rows: a product of plane rotations of all neighbours.
fn rotated(x: &[f32], d: usize, angle: f32) -> Vec<f32> {
    let (sin, cos) = angle.sin_cos();
    let mut out = x.to_vec();
    for row in out.chunks_exact_mut(d) {
        for j in 0..d {
            let (p, q) = (row[j], row[(j + 1) % d]);
            row[j] = cos * p - sin * q;
            row[(j + 1) % d] = sin * p + cos * q;
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_scaled_copy_is_retrieved(n in 2..60usize, d in 8..20usize, seed in any::<u64>(), scale in 0.1f32..9.0) {
        let a = vectors(n, d, seed);
        let b: Vec<f32> = a.iter().map(|v| v * scale).collect();
        let r = retrieval(&a, &b, d, &Bootstrap::default()).unwrap();
        prop_assert_eq!((r.cosine_a_to_b.value, r.cosine_b_to_a.value), (1.0, 1.0));
        // CSLS may prefer a less crowded neighbour even to an identical vector,
        // when the two are very close; more than a few such rows would be a fault.
        prop_assert!(r.csls_a_to_b.value >= 0.9 && r.csls_b_to_a.value >= 0.9);
    }

    /// Retrieval knows rows by their vectors only: reordering both sides alike
    /// reorders the hits alike, and never changes them.
    #[test]
    fn hits_follow_their_rows(n in 3..40usize, seed in any::<u64>()) {
        let d = 3;
        let (a, b) = (vectors(n, d, seed), vectors(n, d, seed ^ 1));
        let turn = |x: &[f32]| { let mut y = x.to_vec(); y.rotate_left(d); y };
        let straight = retrieval_hits(&a, &b, d, 10).unwrap();
        let turned = retrieval_hits(&turn(&a), &turn(&b), d, 10).unwrap();
        let mut expect = straight.cosine_a_to_b.clone();
        expect.rotate_left(1);
        prop_assert_eq!(turned.cosine_a_to_b, expect);
        let back = retrieval_hits(&b, &a, d, 10).unwrap();
        prop_assert_eq!(back.cosine_b_to_a, straight.cosine_a_to_b);
        prop_assert_eq!(back.csls_b_to_a, straight.csls_a_to_b);
    }

    #[test]
    fn cka_ignores_rotation_scale_and_shift(n in 8..40usize, d in 2..30usize, seed in any::<u64>(), angle in 0f32..6.0) {
        let a = vectors(n, d, seed);
        let b: Vec<f32> = rotated(&a, d, angle).iter().map(|v| 2.0 * v + 1.0).collect();
        prop_assert!((linear_cka(&a, d, &b, d).unwrap() - 1.0).abs() < 1e-5);
        let c = vectors(n, d + 3, seed ^ 1);
        let (ac, ca) = (linear_cka(&a, d, &c, d + 3).unwrap(), linear_cka(&c, d + 3, &a, d).unwrap());
        prop_assert!((ac - ca).abs() < 1e-12 && (0.0..=1.0 + 1e-12).contains(&ac));
    }

    #[test]
    fn margin_of_a_rotated_copy(n in 10..40usize, seed in any::<u64>()) {
        let a = vectors(n, 16, seed);
        let same = cosine_margin(&a, &a, 16, &Bootstrap::default()).unwrap();
        prop_assert!(same.value > 0.8 && same.value < 1.2);
        prop_assert!(same.contains(same.value));
    }

    #[test]
    fn corrections(p in proptest::collection::vec(0.0..=1.0f64, 1..30)) {
        let (h, b) = (holm(&p).unwrap(), benjamini_hochberg(&p).unwrap());
        for i in 0..p.len() {
            prop_assert!(h[i] >= p[i] && h[i] <= 1.0);
            prop_assert!(b[i] >= p[i] - 1e-15 && b[i] <= h[i] + 1e-15);
            for j in 0..p.len() {
                if p[i] < p[j] {
                    prop_assert!(h[i] <= h[j] && b[i] <= b[j]);
                }
            }
        }
    }

    #[test]
    fn p_values_are_probabilities(d in proptest::collection::vec(-1.0..1.0f64, 1..40), b in 0..200u64, c in 0..200u64) {
        let options = Flips { draws: 200, seed: 1 };
        let test = sign_flip(&d, &options).unwrap();
        prop_assert!(test.p_value > 0.0 && test.p_value <= 1.0);
        let flipped: Vec<f64> = d.iter().map(|v| -v).collect();
        prop_assert_eq!(sign_flip(&flipped, &options).unwrap().p_value, test.p_value);
        let m = mcnemar_exact(b, c);
        prop_assert!(m > 0.0 && m <= 1.0);
        prop_assert!((m - mcnemar_exact(c, b)).abs() < 1e-12);
    }

    #[test]
    fn intervals_are_ordered_and_repeatable(v in proptest::collection::vec(-9.0..9.0f64, 2..60), seed in any::<u64>()) {
        for interval in [Interval::Percentile, Interval::Bca] {
            let options = Bootstrap { resamples: 300, seed, interval, ..Bootstrap::default() };
            let e = mean(&v, &options).unwrap();
            let (low, high) = (e.ci_low.unwrap(), e.ci_high.unwrap());
            let (min, max) = v.iter().fold((9.0_f64, -9.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
            prop_assert!(min - 1e-9 <= low && low <= high && high <= max + 1e-9);
            prop_assert_eq!(e, mean(&v, &options).unwrap());
        }
        let ones = vec![1.0; v.len()];
        let options = Bootstrap { resamples: 300, seed, ..Bootstrap::default() };
        prop_assert_eq!(ratio(&v, &ones, &options).unwrap(), mean(&v, &options).unwrap());
    }
}

/// Over 1000 samples of 100 draws the 95 % interval must hold the true mean in
/// 93–97 % of them.
#[test]
fn coverage_of_the_mean() {
    for interval in [Interval::Percentile, Interval::Bca] {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut covered = 0;
        for seed in 0..1000 {
            let sample: Vec<f64> = (0..100).map(|_| 0.3 + normal(&mut rng)).collect();
            let options = Bootstrap {
                resamples: 1000,
                seed,
                interval,
                ..Bootstrap::default()
            };
            covered += usize::from(mean(&sample, &options).unwrap().contains(0.3));
        }
        assert!(
            (930..=970).contains(&covered),
            "{interval:?}: {covered} of 1000"
        );
    }
}

/// On skewed data BCa must balance its two misses better than the percentile
/// interval, which is what its correction is for.
#[test]
fn bca_balances_the_misses() {
    let imbalance = |interval| {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (mut below, mut above) = (0_i32, 0_i32);
        for seed in 0..1000 {
            let sample: Vec<f64> = (0..40).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
            let options = Bootstrap {
                resamples: 1000,
                seed,
                interval,
                ..Bootstrap::default()
            };
            let e = mean(&sample, &options).unwrap();
            below += i32::from(e.ci_high.unwrap() < 1.0);
            above += i32::from(e.ci_low.unwrap() > 1.0);
        }
        (below - above).abs()
    };
    assert!(imbalance(Interval::Bca) < imbalance(Interval::Percentile));
}

#[test]
fn vectors_that_cannot_be_compared() {
    let a = vectors(5, 4, 0);
    let zero_row = {
        let mut x = a.clone();
        x[8..12].fill(0.0);
        x
    };
    let nan = {
        let mut x = a.clone();
        x[7] = f32::NAN;
        x
    };
    let options = Bootstrap::default();
    assert_eq!(
        retrieval_hits(&a, &zero_row, 4, 10),
        Err(MetricError::ZeroVector { side: "b", row: 2 })
    );
    assert!(matches!(
        retrieval_hits(&nan, &a, 4, 10),
        Err(MetricError::NotFinite {
            what: "a",
            index: 7,
            ..
        })
    ));
    assert!(matches!(
        retrieval_hits(&a, &a[..16], 4, 10),
        Err(MetricError::Length {
            expected: 5,
            found: 4,
            ..
        })
    ));
    assert!(matches!(
        retrieval_hits(&a, &a[..15], 4, 10),
        Err(MetricError::Length { .. })
    ));
    assert!(matches!(
        retrieval_hits(&a, &a, 0, 10),
        Err(MetricError::Length { .. })
    ));
    assert!(matches!(
        retrieval_hits(&a, &a, 4, 0),
        Err(MetricError::BadSetting { .. })
    ));
    assert!(matches!(
        retrieval_hits(&[], &[], 4, 10),
        Err(MetricError::Empty { .. })
    ));
    assert!(matches!(
        cosine_margin(&a[..4], &a[..4], 4, &options),
        Err(MetricError::TooFew { needed: 2, .. })
    ));
    assert!(matches!(
        linear_cka(&[1.0; 20], 4, &a, 4),
        Err(MetricError::Constant { side: "a", .. })
    ));
    assert!(matches!(
        linear_cka(&a, 4, &a, 2),
        Err(MetricError::Length { .. })
    ));
}
