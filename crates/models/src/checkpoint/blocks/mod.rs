//! The formats in which the values of a tensor are stored: as floats, or in quantised blocks with scales.
//!
//! Every format decodes bytes to f32, and quantised blocks also to the codes and scales that products read. Nothing is
//! encoded. There is one file per family of formats. The layouts are those of ggml's `ggml-common.h`, and the order of
//! operations is that of Python's `gguf.quants`, so values are equal to the last bit.

mod k;
mod small;

use std::fmt;

use half::{bf16, f16};
use interlingua_backend::ops::{Codes, Coding};
use safetensors::Dtype;

/// A storage format of values.
pub struct Format {
    /// The name that ggml and safetensors use.
    pub name: &'static str,
    /// The number that stands for it in a GGUF file.
    pub number: u32,
    /// The number of values in a block; 1 if values are stored singly.
    pub values: usize,
    /// The number of bytes of a block.
    pub bytes: usize,
    content: Content,
}

/// What bytes hold.
enum Content {
    /// Adds the values to a list.
    Numbers(fn(&[u8], &mut Vec<f32>)),
    /// Whole blocks of small whole numbers with scales; adds them to lists.
    Blocks(Coding, fn(&[u8], &mut Codes)),
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Format) -> bool {
        self.number == other.number
    }
}

impl Format {
    /// Decodes whole blocks; the bytes of an incomplete block at the end are ignored.
    pub fn decode(&self, bytes: &[u8]) -> Vec<f32> {
        match self.content {
            Content::Numbers(decode) => {
                let mut values = Vec::with_capacity(bytes.len() / self.bytes);
                decode(bytes, &mut values);
                values
            }
            Content::Blocks(coding, _) => self.codes(bytes).values(coding),
        }
    }

    /// Returns how blocks are written, if the format has blocks.
    pub fn coding(&self) -> Option<Coding> {
        match self.content {
            Content::Numbers(_) => None,
            Content::Blocks(coding, _) => Some(coding),
        }
    }

    /// Decodes whole blocks to codes; there are none if the format has no blocks.
    pub fn codes(&self, bytes: &[u8]) -> Codes {
        let mut codes = Codes::default();
        if let Content::Blocks(coding, split) = self.content {
            let values = bytes.len() / self.bytes * self.values;
            let groups = values / coding.group;
            codes.codes.reserve_exact(values);
            codes.scales.reserve_exact(groups);
            codes
                .mins
                .reserve_exact(if coding.mins { groups } else { 0 });
            split(bytes, &mut codes);
        }
        codes
    }

    /// Returns whether the format stores values in quantised blocks.
    pub fn is_quantised(&self) -> bool {
        self.values > 1
    }
}

/// 32-bit floats.
pub static F32: Format = Format {
    name: "F32",
    number: 0,
    values: 1,
    bytes: 4,
    content: Content::Numbers(|bytes, out| {
        let numbers = bytes.as_chunks::<4>().0.iter();
        out.extend(numbers.map(|b| f32::from_le_bytes(*b)));
    }),
};

/// IEEE half-precision floats.
pub static F16: Format = Format {
    name: "F16",
    number: 1,
    values: 1,
    bytes: 2,
    content: Content::Numbers(|bytes, out| {
        let numbers = bytes.as_chunks::<2>().0.iter();
        out.extend(numbers.map(|b| f16::from_le_bytes(*b).to_f32()));
    }),
};

/// Brain floats (bfloat16), which are the upper half of f32.
pub static BF16: Format = Format {
    name: "BF16",
    number: 30,
    values: 1,
    bytes: 2,
    content: Content::Numbers(|bytes, out| {
        let numbers = bytes.as_chunks::<2>().0.iter();
        out.extend(numbers.map(|b| bf16::from_le_bytes(*b).to_f32()));
    }),
};

/// All formats that can be read.
pub static FORMATS: [&Format; 12] = [
    &F32,
    &F16,
    &BF16,
    &small::Q4_0,
    &small::Q4_1,
    &small::Q5_0,
    &small::Q5_1,
    &small::Q8_0,
    &small::IQ4_NL,
    &k::Q4_K,
    &k::Q5_K,
    &k::Q6_K,
];

/// Returns the format that has this number in GGUF files.
///
/// # Errors
/// A format that is not implemented; the message lists those that are.
pub fn by_number(number: u32) -> Result<&'static Format, String> {
    if let Some(format) = FORMATS.into_iter().find(|f| f.number == number) {
        return Ok(format);
    }
    let called = OTHERS
        .iter()
        .find(|(n, _)| *n == number)
        .map_or("unknown", |(_, name)| name);
    let known: Vec<&str> = FORMATS.iter().map(|f| f.name).collect();
    Err(format!(
        "type {number} ({called}), which is not implemented; those that are: {}; take another file of the model",
        known.join(", ")
    ))
}

/// Returns the format of a safetensors dtype, or `None` if it cannot be read.
pub fn by_dtype(dtype: Dtype) -> Option<&'static Format> {
    Some(match dtype {
        Dtype::F32 => &F32,
        Dtype::F16 => &F16,
        Dtype::BF16 => &BF16,
        _ => return None,
    })
}

/// Formats of ggml that exist and are not read here, for messages.
const OTHERS: [(u32, &str); 21] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

/// A number in half precision at the beginning of some bytes.
fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_number_of_values() {
        for format in FORMATS {
            for extra in [0, format.bytes - 1] {
                let values = format.decode(&vec![0; 2 * format.bytes + extra]);
                assert_eq!(values, vec![0.0; 2 * format.values], "{format:?}");
            }
        }
    }

    #[test]
    fn a_format_that_is_not_read_is_named() {
        assert_eq!(by_number(12), Ok(&k::Q4_K));
        let error = by_number(23).unwrap_err();
        assert!(
            error.contains("IQ4_XS") && error.contains("Q4_K, Q5_K"),
            "{error}"
        );
        assert!(by_number(1 << 20).unwrap_err().contains("unknown"));
    }
}
