//! How often 95 % bootstrap intervals of a mean hold the true one, on samples
//! shaped like the testbed's: pairs that share an attribute share its strength.
//!
//! With `joint` as the second argument: how often the intervals of means over languages, and of their differences, hold
//! the true ones, where all are made on one resampling of the pairs.
//!
//! `cargo run --release -p interlingua-metrics --example coverage [SAMPLES] [joint]`

mod joint;
mod simulation;

use interlingua_metrics::bootstrap::Interval;
use simulation::{Design, Shape, coverage};

/// Clusters, items in each.
const SIZES: [(usize, usize); 7] = [
    (30, 1),
    (100, 1),
    (400, 1),
    (6, 5),
    (10, 10),
    (20, 20),
    (80, 5),
];

fn main() {
    let draws = match std::env::args().nth(1).map(|draws| draws.parse()) {
        None => 1000,
        Some(Ok(draws)) if draws > 0 => draws,
        Some(_) => {
            eprintln!("the argument is the number of samples per line, at least 1");
            std::process::exit(2);
        }
    };
    if std::env::args().nth(2).as_deref() == Some("joint") {
        return joint_table(draws);
    }
    println!(
        "| shape | items | clusters | resampled | interval | held % | below % | above % | width |"
    );
    println!("|---|---:|---:|---|---|---:|---:|---:|---:|");
    for shape in [Shape::Normal, Shape::Skewed, Shape::Sign] {
        for (clusters, per_cluster) in SIZES {
            let design = Design {
                shape,
                clusters,
                per_cluster,
                shared: if per_cluster == 1 { 0.0 } else { 0.5 },
            };
            if per_cluster > 1 {
                line(&design, Interval::Bca, false, draws);
            }
            for interval in [
                Interval::Percentile,
                Interval::Bca,
                Interval::ExpandedBca,
                Interval::Studentized,
            ] {
                line(&design, interval, true, draws);
            }
        }
    }
}

fn line(design: &Design, interval: Interval, clustered: bool, draws: u64) {
    let found = coverage(design, interval, clustered, draws);
    println!(
        "| {:?} | {} | {} | {} | {interval:?} | {:.1} | {:.1} | {:.1} | {:.3} |",
        design.shape,
        design.items(),
        design.clusters,
        if clustered { "clusters" } else { "items" },
        100.0 * found.held,
        100.0 * found.below,
        100.0 * found.above,
        found.width
    );
}

fn joint_table(draws: u64) {
    println!(
        "| gaps | pairs per category | edited gaps | number | held % | below % | above % | width |"
    );
    println!("|---|---:|---|---|---:|---:|---:|---:|");
    for shape in [Shape::Normal, Shape::Skewed] {
        for pairs in [40, 120] {
            for near_zero in [false, true] {
                let square = joint::Square {
                    shape,
                    pairs,
                    near_zero,
                };
                let found = joint::coverage(&square, draws);
                for (name, found) in joint::MEASURES.iter().zip(found) {
                    println!(
                        "| {} | {pairs} | {} | `{name}` | {:.1} | {:.1} | {:.1} | {:.3} |",
                        format!("{shape:?}").to_lowercase(),
                        if near_zero {
                            "half of them near 0"
                        } else {
                            "away from 0"
                        },
                        100.0 * found.held,
                        100.0 * found.below,
                        100.0 * found.above,
                        found.width
                    );
                }
            }
        }
    }
}
