//! The standard normal distribution and Student's t, for intervals and power.

/// Computes Φ(x), with an absolute error of about 1e-15.
///
/// # Source
/// Marsaglia, "Evaluating the Normal Distribution", Journal of Statistical
/// Software 11 (2004): the series Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …),
/// whose terms are all of one sign and so lose no digits. Beyond 8 it is 0 or 1
/// to the precision that intervals need.
pub(crate) fn cdf(x: f64) -> f64 {
    // The series of NaN would never end.
    if x.is_nan() {
        return x;
    }
    if x > 8.0 {
        return 1.0;
    }
    if x < -8.0 {
        return 0.0;
    }
    let (mut sum, mut term, mut i) = (x, x, 1.0);
    loop {
        i += 2.0;
        term *= x * x / i;
        let next = sum + term;
        if next == sum {
            break;
        }
        sum = next;
    }
    0.5 + sum * density(x)
}

/// Computes Φ⁻¹(p) for 0 < p < 1; it is ∓∞ at 0 and 1.
///
/// Bisection would suffice, but a bracketed Newton iteration on [`cdf`] needs fewer steps.
pub(crate) fn quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high, mut x) = (-8.0, 8.0, 0.0);
    for _ in 0..100 {
        let error = cdf(x) - p;
        if error < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let mut next = x - error / density(x);
        if !(next > low && next < high) {
            next = 0.5 * (low + high);
        }
        if (next - x).abs() < 1e-14 {
            break;
        }
        x = next;
    }
    x
}

/// Computes the p quantile of Student's t distribution with `freedom` degrees of freedom, for 0 < p < 1.
///
/// # Source
/// Abramowitz & Stegun, "Handbook of Mathematical Functions", 1964: the finite
/// sums 26.7.3 and 26.7.4, inverted by bisection; beyond [`SUMS_UP_TO`] degrees
/// of freedom the expansion 26.7.5, whose error is then below 1e-7 up to p = 0.999.
pub(crate) fn student_quantile(p: f64, freedom: usize) -> f64 {
    if p < 0.5 {
        return -student_quantile(1.0 - p, freedom);
    }
    if freedom > SUMS_UP_TO {
        let (z, v) = (quantile(p), freedom as f64);
        let z3 = z.powi(3);
        return z + (z3 + z) / (4.0 * v) + (5.0 * z.powi(5) + 16.0 * z3 + 3.0 * z) / (96.0 * v * v);
    }
    let inside = 2.0 * p - 1.0;
    let (mut low, mut high) = (0.0, 1.0);
    while student_within(high, freedom) < inside && high < 1e12 {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if student_within(middle, freedom) < inside {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Degrees of freedom up to which Student's t is summed term by term.
const SUMS_UP_TO: usize = 500;

/// P(|T| ≤ t) for Student's t.
fn student_within(t: f64, freedom: usize) -> f64 {
    let angle = (t / (freedom as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    // Terms cosʲ·(1·3…)/(2·4…) for even, cosʲ·(2·4…)/(1·3…) for odd freedom.
    let odd = freedom % 2;
    let (mut term, mut sum) = (if odd == 1 { cos } else { 1.0 }, 0.0);
    let mut power = odd;
    while power + 2 <= freedom {
        sum += term;
        term *= cos * cos * (power + 1) as f64 / (power + 2) as f64;
        power += 2;
    }
    if odd == 1 {
        (angle + sin * sum) * std::f64::consts::FRAC_2_PI
    } else {
        sin * sum
    }
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_in_none_out() {
        assert!(cdf(f64::NAN).is_nan());
    }

    #[test]
    fn known_values() {
        for (x, p) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (1.959_963_984_540_054, 0.975),
            (-2.575_829_303_548_901, 0.005),
            (-1.0, 0.158_655_253_931_457_05),
            (3.090_232_306_167_813, 0.999),
        ] {
            assert!((cdf(x) - p).abs() < 1e-14, "cdf({x})");
            assert!((quantile(p) - x).abs() < 1e-11, "quantile({p})");
        }
        assert_eq!(quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(quantile(1.0), f64::INFINITY);
    }

    #[test]
    fn student_against_tables() {
        for (freedom, p, expect) in [
            (1, 0.975, 12.706_204_736_174_7),
            (2, 0.975, 4.302_652_729_749_46),
            (3, 0.95, 2.353_363_434_801_82),
            (10, 0.975, 2.228_138_851_986_27),
            (29, 0.025, -2.045_229_642_132_70),
            (500, 0.975, 1.964_719_837_472_85),
            (501, 0.975, 1.964_710_322_175_48),
            (100_000, 0.975, 1.959_987_707_538_81),
        ] {
            let found = student_quantile(p, freedom);
            assert!((found - expect).abs() < 1e-7, "t({p}, {freedom}) = {found}");
        }
        assert!(student_quantile(0.5, 4).abs() < 1e-15);
    }
}
