//! The standard normal distribution, for BCa intervals.

/// Φ(x), to about 1e-15 absolute.
///
/// # Source
/// Marsaglia, "Evaluating the Normal Distribution", Journal of Statistical
/// Software 11 (2004): the series Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …),
/// whose terms are all of one sign and so lose no digits. Beyond 8 it is 0 or 1
/// to the precision that intervals need.
pub(crate) fn cdf(x: f64) -> f64 {
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

/// Φ⁻¹(p) for 0 < p < 1; ∓∞ at 0 and 1.
///
/// Bisection would do; a bracketed Newton iteration on [`cdf`] needs fewer steps.
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

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
