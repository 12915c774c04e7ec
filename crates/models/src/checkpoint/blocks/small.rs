//! Quantised blocks of 32 values with one scale each: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and IQ4_NL.
//!
//! In the formats of 4 and 5 bits, byte j holds value j in its lower four bits and value j + 16 in its upper four.

use interlingua_backend::ops::Coding;

use super::{Content, Format, half};

const VALUES: usize = 32;

const EIGHT_BITS: Coding = Coding {
    group: VALUES,
    of_sixteen: None,
    mins: false,
};

/// Q4_0 stores `(q − 8)·d`.
pub static Q4_0: Format = Format {
    name: "Q4_0",
    number: 2,
    values: VALUES,
    bytes: 18,
    content: Content::Blocks(
        Coding {
            of_sixteen: Some(-8),
            ..EIGHT_BITS
        },
        |bytes, out| {
            for block in bytes.as_chunks::<18>().0 {
                out.scales.push(half(block));
                let values = nibbles(&block[2..]).map(|q| q - 8);
                out.codes.extend(values);
            }
        },
    ),
};

/// Q4_1 stores `q·d + m`.
pub static Q4_1: Format = Format {
    name: "Q4_1",
    number: 3,
    values: VALUES,
    bytes: 20,
    content: Content::Blocks(
        Coding {
            of_sixteen: Some(0),
            mins: true,
            ..EIGHT_BITS
        },
        |bytes, out| {
            for block in bytes.as_chunks::<20>().0 {
                out.scales.push(half(block));
                out.mins.push(half(&block[2..]));
                out.codes.extend(nibbles(&block[4..]));
            }
        },
    ),
};

/// Q5_0 stores `(q − 16)·d`, with the fifth bits apart.
pub static Q5_0: Format = Format {
    name: "Q5_0",
    number: 6,
    values: VALUES,
    bytes: 22,
    content: Content::Blocks(EIGHT_BITS, |bytes, out| {
        for block in bytes.as_chunks::<22>().0 {
            out.scales.push(half(block));
            let values = five_bits(&block[2..6], &block[6..]).map(|q| q - 16);
            out.codes.extend(values);
        }
    }),
};

/// Q5_1 stores `q·d + m`, with the fifth bits apart.
pub static Q5_1: Format = Format {
    name: "Q5_1",
    number: 7,
    values: VALUES,
    bytes: 24,
    content: Content::Blocks(
        Coding {
            mins: true,
            ..EIGHT_BITS
        },
        |bytes, out| {
            for block in bytes.as_chunks::<24>().0 {
                out.scales.push(half(block));
                out.mins.push(half(&block[2..]));
                out.codes.extend(five_bits(&block[4..8], &block[8..]));
            }
        },
    ),
};

/// Q8_0 stores `q·d`, with one signed byte for each value.
pub static Q8_0: Format = Format {
    name: "Q8_0",
    number: 8,
    values: VALUES,
    bytes: 34,
    content: Content::Blocks(EIGHT_BITS, |bytes, out| {
        for block in bytes.as_chunks::<34>().0 {
            out.scales.push(half(block));
            out.codes.extend(block[2..].iter().map(|q| q.cast_signed()));
        }
    }),
};

/// IQ4_NL is like Q4_0, with these values in place of −8 to 7.
pub static IQ4_NL: Format = Format {
    name: "IQ4_NL",
    number: 20,
    values: VALUES,
    bytes: 18,
    content: Content::Blocks(EIGHT_BITS, |bytes, out| {
        const VALUES_OF_CODES: [i8; 16] = [
            -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
        ];
        for block in bytes.as_chunks::<18>().0 {
            out.scales.push(half(block));
            let values = nibbles(&block[2..]).map(|q| VALUES_OF_CODES[q as usize]);
            out.codes.extend(values);
        }
    }),
};

/// The low halves of bytes, then the high ones.
fn nibbles(bytes: &[u8]) -> [i8; VALUES] {
    let mut codes = [0; VALUES];
    let (low, high) = codes.split_at_mut(VALUES / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = (byte & 15).cast_signed();
        *high = (byte >> 4).cast_signed();
    }
    codes
}

/// Values whose fifth bits are those of a number, value j's at bit j.
fn five_bits(high: &[u8], low: &[u8]) -> [i8; VALUES] {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let mut codes = nibbles(low);
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= ((high >> j & 1) << 4) as i8;
    }
    codes
}
