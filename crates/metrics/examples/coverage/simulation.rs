//! Samples with a known mean, and how often intervals hold it.

use interlingua_metrics::bootstrap::{Bootstrap, Interval, clustered_mean};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Mean of all simulated gaps, in nats.
const MEAN: f64 = 0.4;

/// Shape of the random parts of a gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    Normal,
    /// Exponential, less its mean: skewness 2.
    Skewed,
    /// 1 where a normal gap is above 0, else 0: a sign score.
    Sign,
}

/// How the items of a sample come about.
#[derive(Debug, Clone, Copy)]
pub struct Design {
    pub shape: Shape,
    /// Clusters in a sample.
    pub clusters: usize,
    /// Items in a cluster: an attribute in that many templates.
    pub per_cluster: usize,
    /// Share of the variance that the items of a cluster have in common.
    pub shared: f64,
}

impl Design {
    /// Items in a sample.
    pub fn items(&self) -> usize {
        self.clusters * self.per_cluster
    }

    /// Mean of all items there could be.
    pub fn truth(&self) -> f64 {
        match self.shape {
            Shape::Normal | Shape::Skewed => MEAN,
            // The normal distribution function at 0.4.
            Shape::Sign => 0.655_421_741_610_324,
        }
    }
}

/// A sample: gaps of standard deviation 1 around [`MEAN`], and their clusters.
pub fn sample(design: &Design, rng: &mut ChaCha8Rng) -> (Vec<f64>, Vec<usize>) {
    let (own, common) = ((1.0 - design.shared).sqrt(), design.shared.sqrt());
    let (mut gaps, mut clusters) = (Vec::new(), Vec::new());
    for cluster in 0..design.clusters {
        let attribute = common * part(design.shape, rng);
        for _ in 0..design.per_cluster {
            let gap = MEAN + attribute + own * part(design.shape, rng);
            gaps.push(match design.shape {
                Shape::Sign => f64::from(u8::from(gap > 0.0)),
                _ => gap,
            });
            clusters.push(cluster);
        }
    }
    (gaps, clusters)
}

/// A random number of mean 0 and variance 1.
pub fn part(shape: Shape, rng: &mut ChaCha8Rng) -> f64 {
    let exponential = -(1.0 - rng.random::<f64>()).ln();
    match shape {
        Shape::Skewed => exponential - 1.0,
        Shape::Normal | Shape::Sign => {
            let angle = std::f64::consts::TAU * rng.random::<f64>();
            (2.0 * exponential).sqrt() * angle.cos()
        }
    }
}

/// Outcome of many samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coverage {
    /// Share of intervals that hold the true mean.
    pub held: f64,
    /// Share that lies below it.
    pub below: f64,
    /// Share that lies above it.
    pub above: f64,
    /// Mean width; infinite when a sample has no interval.
    pub width: f64,
}

/// How often the interval of the mean holds the truth, over `draws` samples.
pub fn coverage(design: &Design, interval: Interval, clustered: bool, draws: u64) -> Coverage {
    let outcomes: Vec<(f64, f64)> = (0..draws)
        .into_par_iter()
        .map(|draw| {
            let mut rng = ChaCha8Rng::seed_from_u64(draw);
            let (gaps, clusters) = sample(design, &mut rng);
            let options = Bootstrap {
                interval,
                ..Bootstrap::seeded(draw)
            };
            let estimate = clustered_mean(&gaps, clustered.then_some(&clusters[..]), &options)
                .expect("finite gaps");
            // No interval excludes nothing: it holds the truth, at any width.
            (
                estimate.ci_low.unwrap_or(f64::NEG_INFINITY),
                estimate.ci_high.unwrap_or(f64::INFINITY),
            )
        })
        .collect();
    Coverage::of(&outcomes, design.truth())
}

impl Coverage {
    /// Of intervals, given by their ends, around a truth.
    pub fn of(ends: &[(f64, f64)], truth: f64) -> Coverage {
        let share = |count: usize| count as f64 / ends.len() as f64;
        let below = share(ends.iter().filter(|(_, high)| *high < truth).count());
        let above = share(ends.iter().filter(|(low, _)| *low > truth).count());
        Coverage {
            held: 1.0 - below - above,
            below,
            above,
            width: ends.iter().map(|(low, high)| high - low).sum::<f64>() / ends.len() as f64,
        }
    }
}
