//! Functions of one number and sums over a row, written so that the compiler vectorises them.
//!
//! All functions are inlined into their caller, and so are compiled for the caller's instruction set.

/// The number of lanes of every sum.
pub const LANES: usize = 16;

/// Computes `eˣ`, clamped to the range of finite results.
#[inline(always)]
pub fn exp<const FUSED: bool>(x: f32) -> f32 {
    // Cephes' expf: range reduction by ln 2, a degree-5 polynomial, exponent by bits.
    let x = x.clamp(-87.0, 88.0);
    // Adding 1.5 · 2²³ rounds to an integer and leaves it in the lowest bits.
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    let r = multiply_add::<FUSED>(n, -0.693_359_4, x);
    let r = multiply_add::<FUSED>(n, 2.121_944_4e-4, r);
    let p = 1.987_569_1e-4;
    let p = multiply_add::<FUSED>(p, r, 1.398_2e-3);
    let p = multiply_add::<FUSED>(p, r, 8.333_452e-3);
    let p = multiply_add::<FUSED>(p, r, 4.166_579_6e-2);
    let p = multiply_add::<FUSED>(p, r, 1.666_666_5e-1);
    let p = multiply_add::<FUSED>(p, r, 0.5);
    let y = multiply_add::<FUSED>(p * r, r, r) + 1.0;
    y * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// Computes the hyperbolic tangent.
#[inline(always)]
pub fn tanh<const FUSED: bool>(x: f32) -> f32 {
    // Cephes' tanhf: an odd polynomial near 0, the exponential elsewhere.
    let y = x * x;
    let p = -0.005_704_988_7;
    let p = multiply_add::<FUSED>(p, y, 0.020_639_088);
    let p = multiply_add::<FUSED>(p, y, -0.053_739_715);
    let p = multiply_add::<FUSED>(p, y, 0.133_314_42);
    let p = multiply_add::<FUSED>(p, y, -0.333_332_8);
    let near = multiply_add::<FUSED>(p * y, x, x);
    let far = 1.0 - 2.0 / (exp::<FUSED>(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.625 {
        near
    } else {
        far.copysign(x)
    }
}

/// Computes the mass of the standard normal distribution above `x`, for `x ≥ 0`.
///
/// It is the density times a rational approximation of Mills' ratio, which was fitted for this project to a relative
/// error below 6e-9.
#[inline(always)]
pub fn normal_tail<const FUSED: bool>(x: f32) -> f32 {
    let p = 0.004_077_508_6;
    let p = multiply_add::<FUSED>(p, x, 0.040_371_93);
    let p = multiply_add::<FUSED>(p, x, 0.182_460_05);
    let p = multiply_add::<FUSED>(p, x, 0.437_248_65);
    let p = multiply_add::<FUSED>(p, x, 0.5);
    let q = 0.010_220_67;
    let q = multiply_add::<FUSED>(q, x, 0.101_204_224);
    let q = multiply_add::<FUSED>(q, x, 0.467_424_4);
    let q = multiply_add::<FUSED>(q, x, 1.199_283_6);
    let q = multiply_add::<FUSED>(q, x, 1.672_382_2);
    let q = multiply_add::<FUSED>(q, x, 1.0);
    exp::<FUSED>(-0.5 * x * x) * p / q
}

/// Computes `cap · tanh(x / cap)`.
#[inline(always)]
pub fn softcap<const FUSED: bool>(x: f32, cap: f32) -> f32 {
    cap * tanh::<FUSED>(x / cap)
}

/// Computes the inner product of two slices of the same length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for l in 0..LANES {
            lanes[l] += x[l] * y[l];
        }
    }
    let mut sum = tree_sum(lanes);
    for (x, y) in a_rest.iter().zip(b_rest) {
        sum += x * y;
    }
    sum
}

/// Computes `a · b + c`, rounded once if `FUSED` is true.
#[inline(always)]
pub fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    match FUSED {
        true => a.mul_add(b, c),
        false => a * b + c,
    }
}

/// Computes the inner products of a vector with rows of the same length, which follow each other in memory.
#[inline(always)]
pub fn dots<const FUSED: bool>(x: &[f32], rows: &[f32], out: &mut [f32]) {
    let row = |at: usize| &rows[at * x.len()..][..x.len()];
    // Four at a time: with all lanes of their sums they stay in registers.
    let (groups, rest) = out.as_chunks_mut::<4>();
    let first_of_rest = 4 * groups.len();
    for (group, out) in groups.iter_mut().enumerate() {
        let at = 4 * group;
        *out = four_dots::<FUSED>(x, row(at), row(at + 1), row(at + 2), row(at + 3));
    }
    for (at, out) in rest.iter_mut().enumerate() {
        let row = row(first_of_rest + at);
        [*out, _, _, _] = four_dots::<FUSED>(x, row, row, row, row);
    }
}

#[inline(always)]
fn four_dots<const FUSED: bool>(x: &[f32], a: &[f32], b: &[f32], c: &[f32], d: &[f32]) -> [f32; 4] {
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let (c, c_rest) = c.as_chunks::<LANES>();
    let (d, d_rest) = d.as_chunks::<LANES>();
    let [mut of_a, mut of_b, mut of_c, mut of_d] = [[0.0f32; LANES]; 4];
    for ((((x, a), b), c), d) in x.iter().zip(a).zip(b).zip(c).zip(d) {
        for l in 0..LANES {
            of_a[l] = multiply_add::<FUSED>(x[l], a[l], of_a[l]);
            of_b[l] = multiply_add::<FUSED>(x[l], b[l], of_b[l]);
            of_c[l] = multiply_add::<FUSED>(x[l], c[l], of_c[l]);
            of_d[l] = multiply_add::<FUSED>(x[l], d[l], of_d[l]);
        }
    }
    let mut sums = [
        tree_sum(of_a),
        tree_sum(of_b),
        tree_sum(of_c),
        tree_sum(of_d),
    ];
    let rest = x_rest
        .iter()
        .zip(a_rest)
        .zip(b_rest)
        .zip(c_rest)
        .zip(d_rest);
    for ((((x, a), b), c), d) in rest {
        sums[0] += x * a;
        sums[1] += x * b;
        sums[2] += x * c;
        sums[3] += x * d;
    }
    sums
}

/// Computes `out += Σ weightᵢ · rowᵢ` for rows that follow each other in memory, a few columns at a time.
#[inline(always)]
pub fn mix<const FUSED: bool>(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    let mut at = 0;
    at += mix_runs::<64, FUSED>(weights, rows, out, at);
    at += mix_runs::<LANES, FUSED>(weights, rows, out, at);
    mix_runs::<1, FUSED>(weights, rows, out, at);
}

/// As many runs of `N` numbers as there are from `at` on; returns how many numbers that is.
#[inline(always)]
fn mix_runs<const N: usize, const FUSED: bool>(
    weights: &[f32],
    rows: &[f32],
    out: &mut [f32],
    at: usize,
) -> usize {
    let width = out.len();
    let (runs, _) = out[at..].as_chunks_mut::<N>();
    for (i, run) in runs.iter_mut().enumerate() {
        let mut sums = *run;
        for (w, row) in weights.iter().zip(rows.chunks_exact(width)) {
            let row = row[at + i * N..].first_chunk::<N>();
            let row = row.expect("rows are as long as the result");
            for l in 0..N {
                sums[l] = multiply_add::<FUSED>(*w, row[l], sums[l]);
            }
        }
        *run = sums;
    }
    runs.len() * N
}

/// Sums the lanes by repeated halving.
#[inline(always)]
pub fn tree_sum(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Computes `Σ f(x)` over a row.
#[inline(always)]
pub fn sum_by(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] += f(chunk[l]);
        }
    }
    let mut sum = tree_sum(lanes);
    for &x in rest {
        sum += f(x);
    }
    sum
}

/// Returns the largest value of a row; NaN is ignored.
#[inline(always)]
pub fn max_of(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] = if chunk[l] > lanes[l] {
                chunk[l]
            } else {
                lanes[l]
            };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for &x in lanes.iter().chain(rest) {
        if x > max {
            max = x;
        }
    }
    max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        let mut worst = 0.0f64;
        for i in -86_000..88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            for found in [exp::<true>(x), exp::<false>(x)] {
                worst = worst.max((f64::from(found) - exact).abs() / exact);
            }
        }
        assert!(worst < 3e-7, "relative error {worst:e}");
        assert!(exp::<true>(-1000.0) < 1e-37 && exp::<true>(f32::NEG_INFINITY) < 1e-37);
        assert!(exp::<false>(-1000.0) < 1e-37 && exp::<false>(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn products_and_mixtures_of_rows_of_any_width() {
        let value = |i: usize| ((i * 7919) % 1013) as f32 / 1013.0 - 0.5;
        for width in [1, 3, 15, 16, 17, 31, 64, 65, 80, 128, 150] {
            for count in [0, 1, 3, 4, 5, 9] {
                let x: Vec<f32> = (0..width).map(|i| value(i + 5)).collect();
                let rows: Vec<f32> = (0..width * count).map(value).collect();
                let exact = |r: usize, of: &dyn Fn(usize) -> f32| -> f64 {
                    let term = |i: usize| f64::from(of(i)) * f64::from(rows[r * width + i]);
                    (0..width).map(term).sum()
                };
                let mut fused = vec![f32::NAN; count];
                let mut plain = vec![f32::NAN; count];
                dots::<true>(&x, &rows, &mut fused);
                dots::<false>(&x, &rows, &mut plain);
                for r in 0..count {
                    for found in [fused[r], plain[r]] {
                        let error = f64::from(found) - exact(r, &|i| x[i]);
                        assert!(
                            error.abs() < 1e-5,
                            "row {r} of {count}, width {width}: {error}"
                        );
                    }
                }
                let weights: Vec<f32> = (0..count).map(|i| value(i + 77)).collect();
                let mut fused = vec![0.25; width];
                let mut plain = fused.clone();
                mix::<true>(&weights, &rows, &mut fused);
                mix::<false>(&weights, &rows, &mut plain);
                for i in 0..width {
                    let term = |r: usize| f64::from(weights[r]) * f64::from(rows[r * width + i]);
                    let exact = 0.25 + (0..count).map(term).sum::<f64>();
                    for found in [fused[i], plain[i]] {
                        assert!((f64::from(found) - exact).abs() < 1e-5, "{i} of {width}");
                    }
                }
            }
        }
    }

    #[test]
    fn tails_of_the_normal_distribution() {
        // Masses beyond 0, 1, 2 and 5: Abramowitz and Stegun, table 26.1.
        let known = [
            (0.0, 0.5),
            (1.0, 0.158_655_253_931_457),
            (2.0, 0.022_750_131_948_179),
            (5.0, 2.866_515_719e-7),
        ];
        for tail in [normal_tail::<true>, normal_tail::<false>] {
            for (x, expected) in known {
                let error = f64::from(tail(x)) / expected - 1.0;
                assert!(error.abs() < 1e-6, "beyond {x}: {error:e}");
            }
        }
    }

    #[test]
    fn tanh_is_accurate_near_0_and_far_from_it() {
        for tanh in [tanh::<true>, tanh::<false>] {
            let mut worst = (0.0, 0.0);
            for i in -60_000..=60_000 {
                let x = (i as f32 / 20_000.0).powi(3);
                let exact = f64::from(x).tanh();
                let error = (f64::from(tanh(x)) - exact).abs() / exact.abs().max(1e-30);
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            assert!(worst.0 < 3e-7, "relative error {worst:?}");
            assert!(tanh(f32::NAN).is_nan());
            assert_eq!([tanh(f32::INFINITY), tanh(-1e30)], [1.0, -1.0]);
        }
    }
}
