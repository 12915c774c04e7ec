//! Computes how small a change a benchmark of n items can detect.
//!
//! # Source
//! The formulas are normal approximations from textbooks. The one for paired yes/no answers is that of Miettinen,
//! "The Matched Pairs Design in the Case of All-or-None Responses", Biometrics 24, 1968, in the form of Connor,
//! Biometrics 43, 1987.
//!
//! An edit that seems to have no effect may have one that is too small for the benchmark to detect. A report should
//! say how small.

use serde::{Deserialize, Serialize};

use crate::bootstrap::by_cluster;
use crate::error::{MetricError, finite, length};
use crate::normal;

/// The error rates of a test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Power {
    /// The probability of a false alarm, two-sided.
    pub alpha: f64,
    /// The probability of detecting a change of the given size if it exists.
    pub power: f64,
}

impl Default for Power {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            power: 0.8,
        }
    }
}

impl Power {
    /// The normal quantiles of 1 − alpha/2 and of the power.
    fn quantiles(&self) -> Result<(f64, f64), MetricError> {
        for (name, value) in [("alpha", self.alpha), ("power", self.power)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(MetricError::BadSetting {
                    name,
                    value: value.to_string(),
                    expected: "a number between 0 and 1",
                });
            }
        }
        let critical = normal::quantile(1.0 - self.alpha / 2.0);
        let reach = normal::quantile(self.power);
        if critical + reach > 0.0 {
            Ok((critical, reach))
        } else {
            Err(MetricError::BadSetting {
                name: "power",
                value: self.power.to_string(),
                expected: "more than alpha/2, which a false alarm alone gives",
            })
        }
    }
}

/// Computes the smallest mean of paired differences that this many pairs can detect, in the unit of the differences:
/// (z₁₋α/₂ + z_power)·se.
///
/// Here se is the standard deviation of the differences over √n. With clusters it is that of the mean of whole
/// clusters, √(G/(G−1)·Σ_g (Σ_{i∈g} (dᵢ − d̄))²)/n.
///
/// # Shapes
/// There is one cluster number per difference.
///
/// # Errors
/// Fewer than two differences (or clusters), one that is not finite, lists of
/// unequal length, or settings outside 0..1.
pub fn smallest_mean_change(
    differences: &[f64],
    clusters: Option<&[usize]>,
    power: &Power,
) -> Result<f64, MetricError> {
    let (critical, reach) = power.quantiles()?;
    finite("paired differences", differences)?;
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let mut sums: Vec<[f64; 1]> = differences.iter().map(|d| [d - mean]).collect();
    if let Some(clusters) = clusters {
        length(
            "one cluster per difference",
            differences.len(),
            clusters.len(),
        )?;
        sums = by_cluster(&sums, clusters);
    }
    let groups = sums.len();
    if groups < 2 {
        return Err(MetricError::TooFew {
            what: "the spread of paired differences",
            needed: 2,
            found: groups,
        });
    }
    let squares: f64 = sums.iter().map(|[s]| s * s).sum();
    let error = (squares * groups as f64 / (groups - 1) as f64).sqrt() / n;
    Ok((critical + reach) * error)
}

/// Computes the smallest change of a sign score (or of any share of items), in percentage points, that n pairs can
/// detect if two systems disagree on a share `discordance` of them.
///
/// McNemar's test compares b with c discordant pairs. The change δ = (b − c)/n satisfies δ·√n = z₁₋α/₂·√ψ +
/// z_power·√(ψ − δ²), where ψ is the discordance. The result is `None` if even disagreements that all go in one
/// direction (δ = ψ) would not be enough.
///
/// # Errors
/// No pairs, a discordance outside 0..=1, or settings outside 0..1.
pub fn smallest_score_change(
    pairs: usize,
    discordance: f64,
    power: &Power,
) -> Result<Option<f64>, MetricError> {
    let (critical, reach) = power.quantiles()?;
    share("discordance", discordance)?;
    let root = root_of_count("change of a score", pairs)?;
    // What δ is short of: decreasing in 0..=ψ where the reach is not negative,
    // and in any case positive at 0.
    let short = |delta: f64| {
        let spread = (discordance - delta * delta).max(0.0).sqrt();
        critical * discordance.sqrt() + reach * spread - delta * root
    };
    if discordance == 0.0 || short(discordance) > 0.0 {
        return Ok(None);
    }
    let (mut low, mut high) = (0.0, discordance);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if short(middle) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(100.0 * high))
}

/// Computes half the width of the interval of a share of n independent items, in percentage points:
/// 100·z·√(p(1−p)/n).
///
/// # Errors
/// No items, a share outside 0..=1, or a level outside 0..1.
pub fn half_width(items: usize, p: f64, level: f64) -> Result<f64, MetricError> {
    share("share", p)?;
    if !(level > 0.0 && level < 1.0) {
        return Err(MetricError::BadSetting {
            name: "level",
            value: level.to_string(),
            expected: "a number between 0 and 1, such as 0.95",
        });
    }
    let root = root_of_count("half-width of a share", items)?;
    let z = normal::quantile(0.5 + level / 2.0);
    Ok(100.0 * z * (p * (1.0 - p)).sqrt() / root)
}

fn root_of_count(what: &'static str, n: usize) -> Result<f64, MetricError> {
    if n == 0 {
        return Err(MetricError::Empty { what });
    }
    Ok((n as f64).sqrt())
}

fn share(name: &'static str, value: f64) -> Result<(), MetricError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(MetricError::BadSetting {
        name,
        value: value.to_string(),
        expected: "a number from 0 to 1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_half_widths() {
        // Half-widths that the literature's benchmark sizes have near 50 %.
        for (n, expect) in [(40, 15.495), (360, 5.165), (1445, 2.578)] {
            assert!((half_width(n, 0.5, 0.95).unwrap() - expect).abs() < 1e-3);
        }
        assert_eq!(half_width(10, 1.0, 0.95).unwrap(), 0.0);
    }

    #[test]
    fn by_hand() {
        let power = Power::default();
        let sum = 1.959_963_984_540_054 + 0.841_621_233_572_914_3;
        let d: Vec<f64> = (0..100)
            .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let error = (100.0_f64 / 99.0).sqrt() / 10.0;
        let found = smallest_mean_change(&d, None, &power).unwrap();
        assert!((found - sum * error).abs() < 1e-10);
        // Every item its own cluster: the same. Ten equal ones in each: √10 times it, but for G/(G−1).
        let own: Vec<usize> = (0..100).collect();
        assert_eq!(smallest_mean_change(&d, Some(&own), &power).unwrap(), found);
        let d: Vec<f64> = (0..100)
            .map(|i| if (i / 10) % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let tens: Vec<usize> = (0..100).map(|i| i / 10).collect();
        let found = smallest_mean_change(&d, Some(&tens), &power).unwrap();
        assert!((found - sum * (1.0_f64 / 9.0).sqrt()).abs() < 1e-10);
        // δ solves its own equation, and four discordant pairs show nothing.
        let delta = smallest_score_change(400, 0.3, &power).unwrap().unwrap() / 100.0;
        let right = 1.959_963_984_540_054 * 0.3_f64.sqrt()
            + 0.841_621_233_572_914_3 * (0.3 - delta * delta).sqrt();
        assert!((20.0 * delta - right).abs() < 1e-9);
        assert_eq!(smallest_score_change(40, 0.1, &power).unwrap(), None);
        assert_eq!(smallest_score_change(40, 0.0, &power).unwrap(), None);
    }

    #[test]
    fn impossible_questions() {
        let power = Power::default();
        assert!(smallest_mean_change(&[], None, &power).is_err());
        assert!(smallest_mean_change(&[1.0], None, &power).is_err());
        assert!(smallest_mean_change(&[1.0, 2.0], Some(&[3, 3]), &power).is_err());
        assert!(smallest_mean_change(&[1.0, 2.0], Some(&[3]), &power).is_err());
        assert!(smallest_mean_change(&[1.0, f64::NAN], None, &power).is_err());
        assert!(smallest_score_change(0, 0.5, &power).is_err());
        assert!(smallest_score_change(9, 1.5, &power).is_err());
        assert!(half_width(9, f64::NAN, 0.95).is_err());
        assert!(half_width(9, 0.5, 1.0).is_err());
        for (alpha, power) in [(0.0, 0.8), (0.05, 1.0), (0.5, 0.1), (f64::NAN, 0.8)] {
            assert!(smallest_score_change(9, 0.5, &Power { alpha, power }).is_err());
        }
    }
}
