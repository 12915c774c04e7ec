//! Quantised blocks of 32 values with one scale each: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and IQ4_NL.
//!
//! In the formats of 4 and 5 bits, byte j holds value j in its lower four bits and value j + 16 in its upper four.

use super::{Format, half};

const VALUES: usize = 32;

/// Q4_0 stores `(q − 8)·d`.
pub static Q4_0: Format = Format {
    name: "Q4_0",
    number: 2,
    values: VALUES,
    bytes: 18,
    decode: |bytes, out| {
        for block in bytes.as_chunks::<18>().0 {
            let d = half(block);
            out.extend(nibbles(&block[2..]).map(|q| d * (f32::from(q) - 8.0)));
        }
    },
};

/// Q4_1 stores `q·d + m`.
pub static Q4_1: Format = Format {
    name: "Q4_1",
    number: 3,
    values: VALUES,
    bytes: 20,
    decode: |bytes, out| {
        for block in bytes.as_chunks::<20>().0 {
            let (d, m) = (half(block), half(&block[2..]));
            out.extend(nibbles(&block[4..]).map(|q| d * f32::from(q) + m));
        }
    },
};

/// Q5_0 stores `(q − 16)·d`, with the fifth bits apart.
pub static Q5_0: Format = Format {
    name: "Q5_0",
    number: 6,
    values: VALUES,
    bytes: 22,
    decode: |bytes, out| {
        for block in bytes.as_chunks::<22>().0 {
            let d = half(block);
            let values = five_bits(&block[2..6], &block[6..]);
            out.extend(values.map(|q| d * (f32::from(q) - 16.0)));
        }
    },
};

/// Q5_1 stores `q·d + m`, with the fifth bits apart.
pub static Q5_1: Format = Format {
    name: "Q5_1",
    number: 7,
    values: VALUES,
    bytes: 24,
    decode: |bytes, out| {
        for block in bytes.as_chunks::<24>().0 {
            let (d, m) = (half(block), half(&block[2..]));
            let values = five_bits(&block[4..8], &block[8..]);
            out.extend(values.map(|q| d * f32::from(q) + m));
        }
    },
};

/// Q8_0 stores `q·d`, with one signed byte for each value.
pub static Q8_0: Format = Format {
    name: "Q8_0",
    number: 8,
    values: VALUES,
    bytes: 34,
    decode: |bytes, out| {
        for block in bytes.as_chunks::<34>().0 {
            let d = half(block);
            out.extend(block[2..].iter().map(|q| f32::from(q.cast_signed()) * d));
        }
    },
};

/// IQ4_NL is like Q4_0, with these values in place of −8 to 7.
pub static IQ4_NL: Format = Format {
    name: "IQ4_NL",
    number: 20,
    values: VALUES,
    bytes: 18,
    decode: |bytes, out| {
        const CODES: [f32; 16] = [
            -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0,
            69.0, 89.0, 113.0,
        ];
        for block in bytes.as_chunks::<18>().0 {
            let d = half(block);
            out.extend(nibbles(&block[2..]).map(|q| d * CODES[usize::from(q)]));
        }
    },
};

/// The low halves of bytes, then the high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let low = bytes.iter().map(|b| b & 15);
    low.chain(bytes.iter().map(|b| b >> 4))
}

/// Values whose fifth bits are those of a number, value j's at bit j.
fn five_bits<'a>(high: &[u8], low: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    nibbles(low)
        .enumerate()
        .map(move |(j, q)| q | ((high >> j & 1) as u8) << 4)
}
