//! Intervals hold the truth as often as they say, and a benchmark shows the
//! changes that it is said to show: by simulation.

#[path = "../examples/coverage/joint.rs"]
mod joint;
#[path = "../examples/coverage/simulation.rs"]
mod simulation;

use interlingua_metrics::bootstrap::Interval;
use interlingua_metrics::power::{Power, smallest_mean_change, smallest_score_change};
use interlingua_metrics::significance::{Flips, clustered_sign_flip, mcnemar_exact, sign_flip};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use simulation::{Design, Shape, coverage, sample};

const SAMPLES: u64 = 600;

fn held(
    shape: Shape,
    clusters: usize,
    per_cluster: usize,
    interval: Interval,
    clustered: bool,
) -> f64 {
    let design = Design {
        shape,
        clusters,
        per_cluster,
        shared: if per_cluster == 1 { 0.0 } else { 0.5 },
    };
    let found = coverage(&design, interval, clustered, SAMPLES);
    println!(
        "{} items, {design:?}, {interval:?}, clustered {clustered}: {found:?}",
        design.items()
    );
    assert!((found.held + found.below + found.above - 1.0).abs() < 1e-12 && found.width > 0.0);
    found.held
}

/// 600 samples leave a standard deviation of 0.9 points around 95 %.
#[test]
fn expanded_bca_holds_the_truth() {
    for (clusters, per_cluster) in [(30, 1), (100, 1), (20, 5), (80, 5)] {
        for (shape, least) in [
            (Shape::Normal, 0.92),
            (Shape::Sign, 0.92),
            (Shape::Skewed, 0.90),
        ] {
            let share = held(shape, clusters, per_cluster, Interval::ExpandedBca, true);
            assert!((least..=0.975).contains(&share), "{share}");
        }
    }
}

/// 400 samples leave a standard deviation of 1.1 points around 95 %.
#[test]
fn joint_intervals_hold_the_truth() {
    let square = |near_zero| joint::Square {
        shape: Shape::Normal,
        pairs: 60,
        near_zero,
    };
    for (name, found) in joint::MEASURES
        .iter()
        .zip(joint::coverage(&square(false), 400))
    {
        println!("{name}: {found:?}");
        assert!((0.92..=0.98).contains(&found.held), "{name}: {found:?}");
        assert!(found.width > 0.0 && found.width < 1.0, "{name}: {found:?}");
    }
    // |gap| near 0 comes out too large, so intervals miss, but on the side that makes an edit look worse.
    let [gap, difference, specific, share] = joint::coverage(&square(true), 400);
    for (name, flattering, all) in [
        ("gap", gap.below, gap),
        ("difference", difference.below, difference),
        ("specific part", specific.above, specific),
        ("share", share.above, share),
    ] {
        println!("{name}, half of the gaps near 0: {all:?}");
        assert!(flattering <= 0.025 && all.held > 0.75, "{name}: {all:?}");
    }
}

#[test]
fn few_clusters_need_more_than_quantiles() {
    let of = |interval| held(Shape::Normal, 6, 5, interval, true);
    let (bca, expanded, studentized) = (
        of(Interval::Bca),
        of(Interval::ExpandedBca),
        of(Interval::Studentized),
    );
    assert!(bca < 0.90, "{bca}");
    assert!((0.91..=0.965).contains(&expanded), "{expanded}");
    assert!((0.92..=0.98).contains(&studentized), "{studentized}");
}

#[test]
fn items_of_a_cluster_are_not_independent() {
    let items = held(Shape::Normal, 20, 10, Interval::Bca, false);
    let clusters = held(Shape::Normal, 20, 10, Interval::ExpandedBca, true);
    assert!(items < 0.75 && clusters > 0.91, "{items} {clusters}");
}

/// Share of samples in which a test finds the change that it should find in 80 %:
/// 800 samples leave a standard deviation of 1.4 points.
fn power(mut finds: impl FnMut(u64) -> bool) -> f64 {
    (0..800).filter(|&seed| finds(seed)).count() as f64 / 800.0
}

#[test]
fn smallest_mean_changes_are_found() {
    let flips = Flips {
        draws: 500,
        seed: 0,
    };
    for (clusters, per_cluster) in [(60, 1), (40, 5)] {
        let design = Design {
            shape: Shape::Normal,
            clusters,
            per_cluster,
            shared: if per_cluster == 1 { 0.0 } else { 0.5 },
        };
        let share = power(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut differences, clusters) = sample(&design, &mut rng);
            let clusters = (per_cluster > 1).then_some(&clusters[..]);
            let change = smallest_mean_change(&differences, clusters, &Power::default()).unwrap();
            differences
                .iter_mut()
                .for_each(|d| *d += change - design.truth());
            let test = clustered_sign_flip(&differences, clusters, &flips);
            test.unwrap().p_value <= 0.05
        });
        assert!((0.74..=0.86).contains(&share), "{design:?}: {share}");
    }
}

#[test]
fn smallest_score_changes_are_found() {
    for (pairs, discordance) in [(400, 0.3), (1445, 0.1)] {
        let change = smallest_score_change(pairs, discordance, &Power::default());
        let change = change.unwrap().unwrap() / 100.0;
        let share = power(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut b, mut c) = (0_u64, 0_u64);
            for _ in 0..pairs {
                let u: f64 = rng.random();
                b += u64::from(u < (discordance + change) / 2.0);
                c += u64::from(u >= (discordance + change) / 2.0 && u < discordance);
            }
            // McNemar's test without correction, which the formula is for.
            (b as f64 - c as f64).abs() > 1.96 * ((b + c) as f64).sqrt()
        });
        println!("{pairs} pairs, discordance {discordance}: {change:.4} found in {share:.3}");
        assert!((0.76..=0.84).contains(&share), "{pairs}: {share}");
    }
    // The exact test and the sign-flip test of the same answers agree.
    let differences: Vec<f64> = (0..18).map(|i| if i < 14 { 1.0 } else { -1.0 }).collect();
    let flips = sign_flip(&differences, &Flips::default()).unwrap();
    assert!((flips.p_value - mcnemar_exact(14, 4)).abs() < 1e-12);
}
