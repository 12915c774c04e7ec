//! Quantised blocks of 256 values whose parts have scales of their own, which are themselves scaled: Q4_K, Q5_K and
//! Q6_K.

use interlingua_backend::ops::Coding;

use super::{Content, Format, half};

const VALUES: usize = 256;

/// Q4_K has eight parts of 32 values: `d·scale·q − dmin·min`.
pub static Q4_K: Format = Format {
    name: "Q4_K",
    number: 12,
    values: VALUES,
    bytes: 144,
    content: Content::Blocks(
        Coding {
            group: 32,
            of_sixteen: Some(0),
            mins: true,
        },
        |bytes, out| {
            for block in bytes.as_chunks::<144>().0 {
                let (scales, mins) = scales(block);
                out.scales.extend(scales);
                out.mins.extend(mins.map(|m| -m));
                for low in block[16..].as_chunks::<32>().0 {
                    out.codes.extend(low.map(|q| (q & 15).cast_signed()));
                    out.codes.extend(low.map(|q| (q >> 4).cast_signed()));
                }
            }
        },
    ),
};

/// Q5_K is like Q4_K, but the fifth bits are stored separately: those of part i are bit i of 32 bytes.
pub static Q5_K: Format = Format {
    name: "Q5_K",
    number: 13,
    values: VALUES,
    bytes: 176,
    content: Content::Blocks(
        Coding {
            group: 32,
            of_sixteen: None,
            mins: true,
        },
        |bytes, out| {
            for block in bytes.as_chunks::<176>().0 {
                let (scales, mins) = scales(block);
                out.scales.extend(scales);
                out.mins.extend(mins.map(|m| -m));
                let (high, low) = block[16..].split_at(32);
                for part in 0..8 {
                    let low = &low[part / 2 * 32..][..32];
                    out.codes.extend(low.iter().zip(high).map(|(low, high)| {
                        (low >> (part % 2 * 4) & 15 | (high >> part & 1) << 4).cast_signed()
                    }));
                }
            }
        },
    ),
};

/// Q6_K has sixteen parts of 16 values: `d·scale·(q − 32)`. Four bits of each value are stored apart from the other
/// two.
pub static Q6_K: Format = Format {
    name: "Q6_K",
    number: 14,
    values: VALUES,
    bytes: 210,
    content: Content::Blocks(
        Coding {
            group: 16,
            of_sixteen: None,
            mins: false,
        },
        |bytes, out| {
            for block in bytes.as_chunks::<210>().0 {
                let (low, rest) = block.split_at(128);
                let (high, rest) = rest.split_at(64);
                let (scales, d) = rest.split_at(16);
                let d = half(d);
                for (part, scale) in scales.iter().enumerate() {
                    out.scales.push(d * f32::from(scale.cast_signed()));
                    // Of 128 values at a time: four groups of 32, the first two in low halves.
                    let (side, group, begin) = (part / 8, part / 2 % 4, part % 2 * 16);
                    let low = &low[side * 64 + group % 2 * 32 + begin..][..16];
                    let high = &high[side * 32 + begin..][..16];
                    out.codes.extend(low.iter().zip(high).map(|(low, high)| {
                        let q = low >> (group / 2 * 4) & 15 | (high >> (2 * group) & 3) << 4;
                        q.cast_signed() - 32
                    }));
                }
            }
        },
    ),
};

/// The scales and minima of eight parts, six bits each, times their own scales.
fn scales(block: &[u8]) -> ([f32; 8], [f32; 8]) {
    let (d, least, packed) = (half(block), half(&block[2..]), &block[4..16]);
    let mut both = ([0.0; 8], [0.0; 8]);
    for part in 0..8 {
        let (scale, min) = match part {
            0..4 => (packed[part] & 63, packed[part + 4] & 63),
            _ => (
                packed[part + 4] & 15 | packed[part - 4] >> 6 << 4,
                packed[part + 4] >> 4 | packed[part] >> 6 << 4,
            ),
        };
        both.0[part] = d * f32::from(scale);
        both.1[part] = least * f32::from(min);
    }
    both
}
