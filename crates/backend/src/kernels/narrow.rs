//! How numbers are written in few bits.

/// The way in which a matrix is written in few bits: a value is `scale · code`, or `scale · code + min`. A scale has at
/// most 17 binary digits, so its product with a code is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// The number of successive values of a row that share a scale; it divides 32.
    pub group: usize,
    /// The least of the sixteen codes, if a code takes four bits; otherwise it takes eight. It is 0 if groups have a
    /// minimum.
    pub of_sixteen: Option<i8>,
    /// Whether each group has a minimum.
    pub mins: bool,
}

impl Coding {
    /// Returns the number of bytes that a number of values takes.
    pub fn bytes(&self, values: u64) -> u64 {
        let codes = match self.of_sixteen {
            Some(_) => values / 2,
            None => values,
        };
        let scales = if self.mins { 8 } else { 4 };
        codes + values / self.group as u64 * scales
    }
}

/// Some rows of a matrix, in the form of codes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Codes {
    /// One code for each value.
    pub codes: Vec<i8>,
    /// One scale for each group.
    pub scales: Vec<f32>,
    /// One minimum for each group, if groups have one.
    pub mins: Vec<f32>,
}

impl Codes {
    /// Returns the values.
    pub fn values(&self, coding: Coding) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.codes.len());
        for (at, (codes, scale)) in (self.codes.chunks(coding.group).zip(&self.scales)).enumerate()
        {
            match self.mins.get(at) {
                Some(min) => values.extend(codes.iter().map(|&q| scale * f32::from(q) + min)),
                None => values.extend(codes.iter().map(|&q| scale * f32::from(q))),
            }
        }
        values
    }

    /// Returns whether all values are finite. Those of a group are, if its scale and its minimum are.
    pub fn is_finite(&self) -> bool {
        let mut all = self.scales.iter().chain(&self.mins);
        all.all(|x| x.is_finite())
    }
}

/// A floating-point format of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The upper half of `f32` (bfloat16).
    Bf16,
    /// IEEE half precision.
    F16,
}

impl Half {
    /// Returns whether these are the bits of a finite number.
    pub fn is_finite(self, bits: u16) -> bool {
        let exponent = match self {
            Half::Bf16 => 0x7f80,
            Half::F16 => 0x7c00,
        };
        bits & exponent != exponent
    }

    /// The number, where it is finite.
    #[inline(always)]
    pub fn value(self, bits: u16) -> f32 {
        match self {
            Half::Bf16 => f32::from_bits(u32::from(bits) << 16),
            Half::F16 => {
                let (sign, size) = (u32::from(bits & 0x8000) << 16, bits & 0x7fff);
                // The exponents of the two count from 15 and from 127; without one, a number is a multiple of the least.
                let with_exponent = (u32::from(size) << 13) + (112 << 23);
                let without = (f32::from(size) * 2.0f32.powi(-24)).to_bits();
                let size = if size < 0x400 { without } else { with_exponent };
                f32::from_bits(sign | size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{bf16, f16};

    use super::*;

    #[test]
    fn every_finite_number_is_what_it_stands_for() {
        for bits in 0..=u16::MAX {
            let (narrow, wide) = (bf16::from_bits(bits), f16::from_bits(bits));
            assert_eq!(Half::Bf16.is_finite(bits), narrow.is_finite());
            assert_eq!(Half::F16.is_finite(bits), wide.is_finite());
            if narrow.is_finite() {
                assert_eq!(Half::Bf16.value(bits).to_bits(), narrow.to_f32().to_bits());
            }
            if wide.is_finite() {
                assert_eq!(Half::F16.value(bits).to_bits(), wide.to_f32().to_bits());
            }
        }
    }
}
