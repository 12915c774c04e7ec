//! Fits least-squares lines, for calibration plots of the measured gap against the planted ln(s/(1−s)).
//!
//! The interval resamples points (pairs bootstrap), so it needs no assumption about the noise.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, Estimate, of_sums};
use crate::error::{MetricError, finite, length};

/// A fitted line y = intercept + slope · x.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The slope of the line.
    pub slope: Estimate,
    /// The intercept of the line.
    pub intercept: Estimate,
    /// The share of the variance of y that the line explains; `None` if y does not vary.
    pub r2: Option<f64>,
}

/// Fits a line with an intercept by least squares.
///
/// # Shapes
/// `x` and `y` have the same length.
///
/// # Errors
/// Fewer than two points, lists of unequal length, values that are not finite, or values of x that are all equal.
pub fn line(x: &[f64], y: &[f64], options: &Bootstrap) -> Result<Line, MetricError> {
    check(x, y)?;
    if x.len() < 2 {
        return Err(MetricError::TooFew {
            what: "a line with intercept",
            needed: 2,
            found: x.len(),
        });
    }
    // Sums of squares around the sample's own centre keep the digits that sums
    // around zero would lose; the intercept is moved back at the end.
    let (cx, cy) = (centre(x), centre(y));
    let items: Vec<[f64; 5]> = x
        .iter()
        .zip(y)
        .map(|(x, y)| (x - cx, y - cy))
        .map(|(x, y)| [1.0, x, y, x * x, x * y])
        .collect();
    // With copies of one point only, xx − x²/n is rounding: no slope.
    let floor = 1e-12 * items.iter().map(|i| i[3]).sum::<f64>();
    let slope_of = move |[n, sx, sy, sxx, sxy]: &[f64; 5]| {
        let spread = sxx - sx * sx / n;
        if spread > floor {
            (sxy - sx * sy / n) / spread
        } else {
            f64::NAN
        }
    };
    let intercept_of = move |sums: &[f64; 5]| {
        let slope = slope_of(sums);
        cy + sums[2] / sums[0] - slope * (cx + sums[1] / sums[0])
    };
    let slope = of_sums("slope", &items, slope_of, options)?;
    let intercept = of_sums("intercept", &items, intercept_of, options)?;
    let total: f64 = y.iter().map(|y| (y - cy).powi(2)).sum();
    let rest: f64 = x
        .iter()
        .zip(y)
        .map(|(x, y)| (y - intercept.value - slope.value * x).powi(2))
        .sum();
    Ok(Line {
        slope,
        intercept,
        r2: (total > 0.0).then(|| 1.0 - rest / total),
    })
}

/// Computes the slope of the least-squares line through the origin, Σxy/Σx².
///
/// # Shapes
/// `x` and `y` have the same length.
///
/// # Errors
/// No points, lists of unequal length, values that are not finite, or all x zero.
pub fn slope_through_origin(
    x: &[f64],
    y: &[f64],
    options: &Bootstrap,
) -> Result<Estimate, MetricError> {
    check(x, y)?;
    let items: Vec<[f64; 2]> = x.iter().zip(y).map(|(x, y)| [x * y, x * x]).collect();
    of_sums("slope through the origin", &items, |s| s[0] / s[1], options)
}

fn check(x: &[f64], y: &[f64]) -> Result<(), MetricError> {
    finite("x", x)?;
    finite("y", y)?;
    length("one y per x", x.len(), y.len())
}

fn centre(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_lines() {
        let x = [0.0, 1.0, 2.0, 5.0, 7.0];
        let options = Bootstrap::default();
        for (slope, intercept) in [(1.0, 0.0), (-0.5, 3.0), (0.0, 2.0)] {
            let y: Vec<f64> = x.iter().map(|x| intercept + slope * x).collect();
            let fitted = line(&x, &y, &options).unwrap();
            assert!((fitted.slope.value - slope).abs() < 1e-12);
            assert!((fitted.intercept.value - intercept).abs() < 1e-12);
            assert!((fitted.slope.ci_low.unwrap() - slope).abs() < 1e-9);
            assert_eq!(fitted.r2.is_some(), slope != 0.0);
        }
        let y: Vec<f64> = x.iter().map(|x| 1.5 * x).collect();
        let through = slope_through_origin(&x, &y, &options).unwrap();
        assert!((through.value - 1.5).abs() < 1e-12);
    }

    #[test]
    fn impossible_lines() {
        let options = Bootstrap::default();
        assert!(matches!(
            line(&[1.0, 1.0], &[0.0, 2.0], &options),
            Err(MetricError::Undefined { .. })
        ));
        assert!(matches!(
            line(&[1.0], &[0.0], &options),
            Err(MetricError::TooFew { .. })
        ));
        assert!(matches!(
            line(&[1.0, 2.0], &[0.0], &options),
            Err(MetricError::Length { .. })
        ));
        assert!(slope_through_origin(&[0.0, 0.0], &[1.0, 2.0], &options).is_err());
    }
}
