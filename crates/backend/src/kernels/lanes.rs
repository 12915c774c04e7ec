//! Tiles of products and the widening of panels, in the registers of the machine.
//!
//! These few loops are written with intrinsics: which of three nested loops becomes registers is left to nobody. What
//! they compute, and in which order it is rounded, is that of the plain code below, with multiplication and addition
//! as one.
//!
//! Registers are read from arrays and written to arrays by value, never through pointers: where debug assertions are on, as in what
//! `cargo xtask` runs, every read through a pointer is checked, goes through the stack, and takes half as long again.

use super::narrow::{Coding, Half};

/// Rows of the highest tile.
pub const HIGHEST: usize = 12;

/// What registers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registers {
    /// Whatever the compiler knows of.
    Plain,
    /// Sixteen of 8 numbers.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Thirty-two of 16 numbers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Those of this machine.
pub fn registers() -> Registers {
    #[cfg(target_arch = "x86_64")]
    {
        let narrow = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        if narrow && is_x86_feature_detected!("avx512f") {
            return Registers::Avx512;
        }
        if narrow {
            return Registers::Avx2;
        }
    }
    Registers::Plain
}

impl Registers {
    /// Columns of a panel: those of two registers.
    pub fn width(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => 32,
            _ => 16,
        }
    }

    /// Heights of tiles, the highest first: as many rows as there are registers for their sums, and fewer.
    pub fn heights(self) -> &'static [usize] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => &[HIGHEST, 8, 4, 2, 1],
            _ => &[6, 4, 2, 1],
        }
    }

    /// `sums += Σ a · b` over the depth, for as many rows as the tile is high.
    ///
    /// `a`: depth × height, `b`: depth × width, `sums`: height × width and perhaps more.
    pub fn multiply(self, height: usize, sums: &mut [f32], a: &[f32], b: &[f32]) {
        debug_assert!(self.heights().contains(&height), "a tile of {height} rows");
        match self {
            // SAFETY: `registers` found these instructions on this machine.
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => unsafe { avx512::multiply(height, sums, a, b) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Registers::Avx2 => unsafe { avx2::multiply(height, sums, a, b) },
            Registers::Plain => plain::multiply(height, sums, a, b),
        }
    }

    /// What some codes of a panel stand for, whole groups.
    pub fn widen_codes(self, coding: Coding, codes: &[u8], scales: &[f32], out: &mut [f32]) {
        match self {
            // SAFETY: `registers` found these instructions on this machine.
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => unsafe { avx512::widen_codes(coding, codes, scales, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Registers::Avx2 => unsafe { avx2::widen_codes(coding, codes, scales, out) },
            Registers::Plain => plain::widen_codes(coding, codes, scales, out),
        }
    }

    /// What some numbers of half precision of a panel are.
    pub fn widen_halves(self, half: Half, bits: &[u16], out: &mut [f32]) {
        match self {
            // SAFETY: `registers` found these instructions on this machine.
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => unsafe { avx512::widen_halves(half, bits, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Registers::Avx2 => unsafe { avx2::widen_halves(half, bits, out) },
            Registers::Plain => plain::widen_halves(half, bits, out),
        }
    }
}

/// Has memory brought near that lies some cache lines beyond what is read now. The panels of a matrix are larger than any
/// cache, and while one run is multiplied the next ones can come.
pub fn ahead<T>(from: &[T], bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let begin = from.as_ptr().cast::<i8>();
        for line in (0..bytes).step_by(64) {
            // SAFETY: a hint, which reads and writes nothing, wherever it points.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(begin.wrapping_add(line)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, bytes);
}

/// What is the same for registers of every size; around it stand `Register`, `LANES` and what is done with one.
#[cfg(target_arch = "x86_64")]
macro_rules! with_registers {
    ($features:literal) => {
        const WIDTH: usize = 2 * LANES;

        #[target_feature(enable = $features)]
        pub fn multiply(height: usize, sums: &mut [f32], a: &[f32], b: &[f32]) {
            match height {
                1 => steps::<1>(sums, a, b),
                2 => steps::<2>(sums, a, b),
                4 => steps::<4>(sums, a, b),
                6 => steps::<6>(sums, a, b),
                8 => steps::<8>(sums, a, b),
                _ => steps::<HIGHEST>(sums, a, b),
            }
        }

        #[target_feature(enable = $features)]
        fn steps<const M: usize>(all: &mut [f32], a: &[f32], b: &[f32]) {
            let all = &mut all.as_chunks_mut::<WIDTH>().0[..M];
            let mut sums = [[zero(); 2]; M];
            for i in 0..M {
                sums[i] = [load::<0>(&all[i]), load::<1>(&all[i])];
            }
            for (a, b) in a.as_chunks::<M>().0.iter().zip(b.as_chunks::<WIDTH>().0) {
                let b = [load::<0>(b), load::<1>(b)];
                for i in 0..M {
                    let a = splat(a[i]);
                    sums[i][0] = multiply_add(a, b[0], sums[i][0]);
                    sums[i][1] = multiply_add(a, b[1], sums[i][1]);
                }
            }
            for i in 0..M {
                store::<0>(&mut all[i], sums[i][0]);
                store::<1>(&mut all[i], sums[i][1]);
            }
        }

        #[target_feature(enable = $features)]
        pub fn widen_codes(coding: Coding, codes: &[u8], scales: &[f32], out: &mut [f32]) {
            let out = out
                .as_chunks_mut::<WIDTH>()
                .0
                .chunks_exact_mut(coding.group);
            let places = coding.group / if coding.of_sixteen.is_some() { 2 } else { 1 };
            let codes = codes.as_chunks::<WIDTH>().0.chunks_exact(places);
            let each = if coding.mins { 2 } else { 1 };
            let scales = scales.as_chunks::<WIDTH>().0.chunks_exact(each);
            for ((out, codes), both) in out.zip(codes).zip(scales) {
                let scales = [load::<0>(&both[0]), load::<1>(&both[0])];
                let mins = match (both, coding.of_sixteen) {
                    ([_, mins], _) => [load::<0>(mins), load::<1>(mins)],
                    // Exact: a scale has few digits.
                    (_, Some(least)) => {
                        let least = splat(f32::from(least));
                        [
                            multiply_add(scales[0], least, zero()),
                            multiply_add(scales[1], least, zero()),
                        ]
                    }
                    _ => [zero(); 2],
                };
                if coding.of_sixteen.is_some() {
                    for (out, codes) in out.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                        let [low, high] = nibbles::<0>(codes);
                        store::<0>(&mut out[0], multiply_add(scales[0], low, mins[0]));
                        store::<0>(&mut out[1], multiply_add(scales[0], high, mins[0]));
                        let [low, high] = nibbles::<1>(codes);
                        store::<1>(&mut out[0], multiply_add(scales[1], low, mins[1]));
                        store::<1>(&mut out[1], multiply_add(scales[1], high, mins[1]));
                    }
                } else {
                    for (out, codes) in out.iter_mut().zip(codes) {
                        store::<0>(out, multiply_add(scales[0], bytes::<0>(codes), mins[0]));
                        store::<1>(out, multiply_add(scales[1], bytes::<1>(codes), mins[1]));
                    }
                }
            }
        }

        #[target_feature(enable = $features)]
        pub fn widen_halves(half: Half, bits: &[u16], out: &mut [f32]) {
            let bits = bits.as_chunks::<WIDTH>().0;
            let both = out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(bits);
            match half {
                Half::Bf16 => {
                    for (out, bits) in both {
                        store::<0>(out, bf16::<0>(bits));
                        store::<1>(out, bf16::<1>(bits));
                    }
                }
                Half::F16 => {
                    for (out, bits) in both {
                        store::<0>(out, f16::<0>(bits));
                        store::<1>(out, f16::<1>(bits));
                    }
                }
            }
        }

        /// Half of what two registers hold.
        #[inline(always)]
        fn half<const AT: usize, T: Copy>(from: &[T; WIDTH]) -> [T; LANES] {
            const { assert!(AT < 2) };
            from.as_chunks::<LANES>().0[AT]
        }

        /// One register of two.
        #[inline]
        #[target_feature(enable = $features)]
        fn load<const AT: usize>(from: &[f32; WIDTH]) -> Register {
            // SAFETY: a register is as many numbers in a row, of any bits.
            unsafe { std::mem::transmute::<[f32; LANES], Register>(half::<AT, f32>(from)) }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn store<const AT: usize>(to: &mut [f32; WIDTH], register: Register) {
            const { assert!(AT < 2) };
            // SAFETY: as in `load`.
            let values = unsafe { std::mem::transmute::<Register, [f32; LANES]>(register) };
            to.as_chunks_mut::<LANES>().0[AT] = values;
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Coding, HIGHEST, Half};

    type Register = __m512;
    const LANES: usize = 16;

    with_registers!("avx512f,avx2,fma,f16c");

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Register {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn splat(x: f32) -> Register {
        _mm512_set1_ps(x)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn multiply_add(a: Register, b: Register, c: Register) -> Register {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn bytes<const AT: usize>(codes: &[u8; WIDTH]) -> Register {
        // SAFETY: a register is sixteen bytes in a row, of any bits.
        let codes = unsafe { std::mem::transmute::<[u8; LANES], __m128i>(half::<AT, u8>(codes)) };
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn nibbles<const AT: usize>(codes: &[u8; WIDTH]) -> [Register; 2] {
        // SAFETY: as in `bytes`.
        let codes = unsafe { std::mem::transmute::<[u8; LANES], __m128i>(half::<AT, u8>(codes)) };
        let codes = _mm512_cvtepu8_epi32(codes);
        let low = _mm512_and_si512(codes, _mm512_set1_epi32(15));
        let high = _mm512_srli_epi32::<4>(codes);
        [_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(high)]
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn sixteens<const AT: usize>(bits: &[u16; WIDTH]) -> __m256i {
        // SAFETY: as in `bytes`.
        unsafe { std::mem::transmute::<[u16; LANES], __m256i>(half::<AT, u16>(bits)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn bf16<const AT: usize>(bits: &[u16; WIDTH]) -> Register {
        let wide = _mm512_cvtepu16_epi32(sixteens::<AT>(bits));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn f16<const AT: usize>(bits: &[u16; WIDTH]) -> Register {
        _mm512_cvtph_ps(sixteens::<AT>(bits))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{Coding, HIGHEST, Half};

    type Register = __m256;
    const LANES: usize = 8;

    with_registers!("avx2,fma,f16c");

    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> Register {
        _mm256_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn splat(x: f32) -> Register {
        _mm256_set1_ps(x)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn multiply_add(a: Register, b: Register, c: Register) -> Register {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn bytes<const AT: usize>(codes: &[u8; WIDTH]) -> Register {
        let codes = _mm_cvtsi64_si128(i64::from_le_bytes(half::<AT, u8>(codes)));
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn nibbles<const AT: usize>(codes: &[u8; WIDTH]) -> [Register; 2] {
        let codes = _mm_cvtsi64_si128(i64::from_le_bytes(half::<AT, u8>(codes)));
        let codes = _mm256_cvtepu8_epi32(codes);
        let low = _mm256_and_si256(codes, _mm256_set1_epi32(15));
        let high = _mm256_srli_epi32::<4>(codes);
        [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sixteens<const AT: usize>(bits: &[u16; WIDTH]) -> __m128i {
        // SAFETY: a register is eight numbers of two bytes in a row, of any bits.
        unsafe { std::mem::transmute::<[u16; LANES], __m128i>(half::<AT, u16>(bits)) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn bf16<const AT: usize>(bits: &[u16; WIDTH]) -> Register {
        let wide = _mm256_cvtepu16_epi32(sixteens::<AT>(bits));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn f16<const AT: usize>(bits: &[u16; WIDTH]) -> Register {
        _mm256_cvtph_ps(sixteens::<AT>(bits))
    }
}

/// For whatever else there is.
mod plain {
    use super::super::math::multiply_add;
    use super::{Coding, Half};

    const WIDTH: usize = 16;

    /// Whether a multiplication and an addition are one.
    const FUSED: bool = cfg!(target_arch = "aarch64");

    pub fn multiply(height: usize, sums: &mut [f32], a: &[f32], b: &[f32]) {
        match height {
            1 => steps::<1>(sums, a, b),
            2 => steps::<2>(sums, a, b),
            4 => steps::<4>(sums, a, b),
            _ => steps::<6>(sums, a, b),
        }
    }

    fn steps<const M: usize>(all: &mut [f32], a: &[f32], b: &[f32]) {
        let all = &mut all.as_chunks_mut::<WIDTH>().0[..M];
        let mut sums: [[f32; WIDTH]; M] = std::array::from_fn(|i| all[i]);
        for (a, b) in a.as_chunks::<M>().0.iter().zip(b.as_chunks::<WIDTH>().0) {
            for i in 0..M {
                for j in 0..WIDTH {
                    sums[i][j] = multiply_add::<FUSED>(a[i], b[j], sums[i][j]);
                }
            }
        }
        all.copy_from_slice(&sums);
    }

    pub fn widen_codes(coding: Coding, codes: &[u8], scales: &[f32], out: &mut [f32]) {
        let out = out
            .as_chunks_mut::<WIDTH>()
            .0
            .chunks_exact_mut(coding.group);
        let places = coding.group / if coding.of_sixteen.is_some() { 2 } else { 1 };
        let codes = codes.as_chunks::<WIDTH>().0.chunks_exact(places);
        let each = if coding.mins { 2 } else { 1 };
        let scales = scales.as_chunks::<WIDTH>().0.chunks_exact(each);
        for ((out, codes), both) in out.zip(codes).zip(scales) {
            for (at, out) in out.iter_mut().enumerate() {
                for j in 0..WIDTH {
                    let code = match coding.of_sixteen {
                        Some(least) => {
                            (codes[at / 2][j] >> (at % 2 * 4) & 15).cast_signed() + least
                        }
                        None => codes[at][j].cast_signed(),
                    };
                    let value = both[0][j] * f32::from(code);
                    out[j] = both.get(1).map_or(value, |mins| value + mins[j]);
                }
            }
        }
    }

    pub fn widen_halves(half: Half, bits: &[u16], out: &mut [f32]) {
        for (out, bits) in out.iter_mut().zip(bits) {
            *out = half.value(*bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Every kind of registers that this machine has.
    fn all() -> Vec<Registers> {
        let mut all = vec![Registers::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            if registers() != Registers::Plain {
                all.push(Registers::Avx2);
            }
            if registers() == Registers::Avx512 {
                all.push(Registers::Avx512);
            }
        }
        all
    }

    #[test]
    fn tiles_are_their_definition() {
        for registers in all() {
            let width = registers.width();
            for &height in registers.heights() {
                let depth = 37;
                let (a, b) = (noise(depth * height, 1), noise(depth * width, 2));
                let before = noise(height * width, 3);
                let mut sums = before.clone();
                registers.multiply(height, &mut sums, &a, &b);
                for (at, (sum, before)) in sums.iter().zip(&before).enumerate() {
                    let term = |d: usize| {
                        f64::from(a[d * height + at / width]) * f64::from(b[d * width + at % width])
                    };
                    let exact = f64::from(*before) + (0..depth).map(term).sum::<f64>();
                    let error = (f64::from(*sum) - exact).abs();
                    assert!(error < 1e-5, "{registers:?} {height}: {error}");
                }
            }
        }
    }

    #[test]
    fn what_is_widened_is_the_same_in_all_registers() {
        for registers in all() {
            let width = registers.width();
            for group in [16, 32] {
                for (of_sixteen, mins) in [
                    (None, false),
                    (None, true),
                    (Some(0), true),
                    (Some(0), false),
                    (Some(-8), false),
                ] {
                    let coding = Coding {
                        group,
                        of_sixteen,
                        mins,
                    };
                    let few = |x: &f32| (x * 2048.0).round() / 4096.0;
                    let each = if mins { 2 } else { 1 };
                    let scales: Vec<f32> = noise(64 / group * width * each, 5)
                        .iter()
                        .map(few)
                        .collect();
                    let count = if of_sixteen.is_some() {
                        32 * width
                    } else {
                        64 * width
                    };
                    let codes: Vec<u8> = (0..count).map(|i| (i * 89 % 256) as u8).collect();
                    let mut found = vec![f32::NAN; 64 * width];
                    registers.widen_codes(coding, &codes, &scales, &mut found);
                    for (at, found) in found.iter().enumerate() {
                        let (d, j) = (at / width, at % width);
                        let code = match of_sixteen {
                            Some(least) => {
                                let both = codes[d / 2 * width + j];
                                f32::from(both >> (d % 2 * 4) & 15) + f32::from(least)
                            }
                            None => f32::from(codes[d * width + j].cast_signed()),
                        };
                        let place = d / group * width * each + j;
                        let min = if mins { scales[place + width] } else { 0.0 };
                        assert_eq!(
                            *found,
                            scales[place] * code + min,
                            "{registers:?} {coding:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_finite_half_is_the_same_in_all_registers() {
        for registers in all() {
            for half in [Half::Bf16, Half::F16] {
                let bits: Vec<u16> = (0..=u16::MAX).collect();
                let mut found = vec![f32::NAN; bits.len()];
                registers.widen_halves(half, &bits, &mut found);
                for (bits, found) in bits.iter().zip(found).filter(|(b, _)| half.is_finite(**b)) {
                    assert_eq!(
                        found.to_bits(),
                        half.value(*bits).to_bits(),
                        "{registers:?} {half:?} {bits:x}"
                    );
                }
            }
        }
    }
}
