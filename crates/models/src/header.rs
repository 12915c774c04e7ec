//! Reads the header of a safetensors file and checks it before it is used.
//!
//! The reader of the `safetensors` crate is not used because it does not limit enough: here the numbers of tensors
//! and axes are limited while they are read, so that memory stays near the size of the header, and a name that occurs
//! twice is an error. The format: <https://huggingface.co/docs/safetensors>, and `Metadata::validate` of that crate.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::ModelError;
use crate::input;

/// Headers of real files stay below a few megabytes.
const MAX_HEADER: u64 = 16 << 20;

/// The largest number of tensors in a file. The largest checkpoints, mixtures of hundreds of experts, have about 200
/// thousand.
pub const MAX_TENSORS: usize = 1 << 19;

/// Tensors of language models have at most two axes, convolutions of images five.
const MAX_AXES: usize = 8;

/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 1024;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name of the tensor.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// The length of its axes; their product does not overflow.
    pub shape: Vec<usize>,
    /// The position of its first byte in the file.
    pub begin: u64,
    /// The position after its last byte in the file.
    pub end: u64,
}

/// Opens a safetensors file and reads the positions of its tensors, in that order.
///
/// # Errors
/// A path that is not a regular file, or a header that is malformed or does not fit the file.
pub fn open(path: &Path) -> Result<(File, Vec<Entry>), ModelError> {
    let (file, length) = input::open(path)?;
    let bad = |problem: String| ModelError::BadWeights {
        path: path.to_owned(),
        problem: input::brief(problem),
    };
    if length < 8 {
        return Err(bad(format!(
            "{length} bytes are too few for a safetensors file; it is truncated; fetch it again"
        )));
    }
    let mut prefix = [0; 8];
    file.read_exact_at(&mut prefix, 0)
        .map_err(ModelError::io(path))?;
    let header = u64::from_le_bytes(prefix);
    if header > MAX_HEADER || header > length - 8 {
        return Err(bad(format!(
            "header claims {header} bytes, the file has {} after its length field; it is truncated or not safetensors; fetch it again",
            length - 8
        )));
    }
    let mut json = vec![0; header as usize];
    file.read_exact_at(&mut json, 8)
        .map_err(ModelError::io(path))?;
    let entries = parse(&json, length - 8 - header).map_err(bad)?;
    Ok((file, entries))
}

/// Parses a header whose file has `data` bytes after it. The error is a message about what is wrong.
pub(crate) fn parse(json: &[u8], data: u64) -> Result<Vec<Entry>, String> {
    let Header(mut tensors) = serde_json::from_slice(json)
        .map_err(|e| format!("safetensors header: {e}; the file is damaged, fetch it again"))?;
    if let Some(pair) = twice(&tensors) {
        return Err(format!("safetensors header: names tensor `{pair}` twice"));
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let start = 8 + json.len() as u64;
    let mut at = 0;
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, info) in tensors {
        let (begin, end) = info.data_offsets;
        if begin != at || end < begin {
            let problem = match begin.cmp(&at) {
                std::cmp::Ordering::Less => "overlaps the tensor before it",
                std::cmp::Ordering::Equal => "ends before it begins",
                std::cmp::Ordering::Greater => "leaves a hole before it",
            };
            return Err(format!(
                "safetensors header: tensor `{name}` at bytes {begin} to {end} {problem}; the file is damaged, fetch it again"
            ));
        }
        let shape = info.shape.0;
        let bytes = byte_size(&shape, info.dtype);
        if bytes != Some(end - begin) {
            return Err(format!(
                "safetensors header: tensor `{name}` of shape {shape:?} and type {:?} cannot have {} bytes; the file is damaged, fetch it again",
                info.dtype,
                end - begin
            ));
        }
        at = end;
        entries.push(Entry {
            name,
            dtype: info.dtype,
            shape,
            begin: begin.saturating_add(start),
            end: end.saturating_add(start),
        });
    }
    if at != data {
        return Err(format!(
            "tensors need {at} bytes, the file has {data}; it is truncated or damaged; fetch it again"
        ));
    }
    Ok(entries)
}

/// Bytes of a tensor; `None` where they do not fit a number or end within a byte.
fn byte_size(shape: &[usize], dtype: Dtype) -> Option<u64> {
    let elements = shape
        .iter()
        .try_fold(1u64, |n, &axis| n.checked_mul(axis as u64))?;
    let bits = elements.checked_mul(dtype.bitsize() as u64)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// A name that occurs twice.
fn twice(tensors: &[(String, Info)]) -> Option<&str> {
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|w| w[0] == w[1]).map(|w| w[0])
}

#[derive(Deserialize)]
struct Info {
    dtype: Dtype,
    shape: Axes,
    data_offsets: (u64, u64),
}

struct Axes(Vec<usize>);

impl<'de> Deserialize<'de> for Axes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Axes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of whole numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Axes, A::Error> {
                let mut axes = Vec::new();
                while let Some(axis) = list.next_element()? {
                    if axes.len() == MAX_AXES {
                        return Err(A::Error::custom(format!("more than {MAX_AXES} axes")));
                    }
                    axes.push(axis);
                }
                Ok(Axes(axes))
            }
        }
        from.deserialize_seq(Read)
    }
}

struct Header(Vec<(String, Info)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    check_name(&name).map_err(A::Error::custom)?;
                    if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!(
                            "more than {MAX_TENSORS} tensors, which no real checkpoint has"
                        )));
                    }
                    let info = map
                        .next_value()
                        .map_err(|e| A::Error::custom(format!("tensor `{name}`: {e}")))?;
                    tensors.push((name, info));
                }
                Ok(Header(tensors))
            }
        }
        from.deserialize_map(Read)
    }
}

/// Checks the name of a tensor, because names are written in messages and to terminals.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(format!(
            "a name of {} bytes, `{}`; names have at most {MAX_NAME} bytes and no control characters",
            name.len(),
            name.chars()
                .take(40)
                .flat_map(char::escape_debug)
                .collect::<String>()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_the_crate_is_read() {
        let values: Vec<u8> = (0..24).collect();
        let view = |dtype, shape: &[usize], bytes: &'static [u8]| {
            safetensors::tensor::TensorView::new(dtype, shape.to_vec(), bytes).unwrap()
        };
        let bytes: &'static [u8] = values.leak();
        let tensors = [
            ("b", view(Dtype::F32, &[2, 3], bytes)),
            ("a", view(Dtype::BF16, &[], &bytes[..2])),
            ("none", view(Dtype::F32, &[0, 7], &[])),
        ];
        let notes = std::collections::HashMap::from([("format".into(), "pt".into())]);
        let file = safetensors::serialize(tensors, Some(notes)).unwrap();
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let (json, data) = file[8..].split_at(length);
        let entries = parse(json, data.len() as u64).unwrap();
        let found = |name: &str| entries.iter().find(|e| e.name == name).unwrap();
        assert_eq!(entries.len(), 3);
        let b = found("b");
        assert_eq!((b.dtype, b.shape.as_slice()), (Dtype::F32, &[2, 3][..]));
        assert_eq!(&file[b.begin as usize..b.end as usize], bytes);
        assert_eq!(found("a").shape, [0usize; 0]);
        assert_eq!(found("none").shape, [0, 7]);
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let f32 = |shape: &str, begin: u64, end: u64| {
            format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
        };
        let one = |info: String| format!(r#"{{"a":{info}}}"#);
        let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
        let name = |name: &str| format!(r#"{{"{name}":{}}}"#, f32("[2]", 0, 8));
        let cases: Vec<(String, &str)> = vec![
            (String::new(), "EOF"),
            ("{".into(), "EOF"),
            ("[]".into(), "an object of tensors"),
            ("{}".into(), "need 0 bytes, the file has 8"),
            (one(f32("[2]", 0, 8)) + "x", "trailing"),
            (one(f32("[4]", 0, 16)), "need 16 bytes, the file has 8"),
            (one(f32("[2]", 4, 12)), "`a` at bytes 4 to 12 leaves a hole"),
            (one(f32("[2]", 8, 0)), "`a` at bytes 8 to 0 leaves a hole"),
            (
                two(f32("[2]", 0, 8), f32("[1]", 4, 8)),
                "`b` at bytes 4 to 8 overlaps",
            ),
            (
                two(f32("[2]", 0, 8), f32("[2]", 0, 8)),
                "`b` at bytes 0 to 8 overlaps",
            ),
            (
                two(f32("[1]", 0, 4), f32("[1]", 4, 0)),
                "`b` at bytes 4 to 0 ends before",
            ),
            (
                one(f32("[3]", 0, 8)),
                "`a` of shape [3] and type F32 cannot have 8 bytes",
            ),
            (
                one(f32("[1152921504606846976]", 0, 8)),
                "cannot have 8 bytes",
            ),
            (
                one(f32("[4611686018427387904]", 0, 0)),
                "cannot have 0 bytes",
            ),
            (
                one(f32("[4294967296,4294967296,0]", 0, 0)),
                "cannot have 0 bytes",
            ),
            (one(f32("[-2]", 0, 8)), "tensor `a`: invalid value"),
            (one(f32("[2.0]", 0, 8)), "tensor `a`: invalid type"),
            (one(f32("[1e30]", 0, 8)), "tensor `a`: invalid type"),
            (one(f32("2", 0, 8)), "a list of whole numbers"),
            (one(f32("[1,1,1,1,1,1,1,1,2]", 0, 8)), "more than 8 axes"),
            (
                one(f32("[2]", 0, 8).replace("F32", "F33")),
                "unknown variant `F33`",
            ),
            (
                one(f32("[3]", 0, 8).replace("F32", "F4")),
                "cannot have 8 bytes",
            ),
            (one("{}".into()), "tensor `a`: missing field"),
            (one("7".into()), "tensor `a`: invalid type"),
            (
                two(f32("[1]", 0, 4), f32("[1]", 4, 8)).replace("\"b\"", "\"a\""),
                "`a` twice",
            ),
            (name(&"n".repeat(1 << 20)), "a name of 1048576 bytes"),
            (name("\\u001b[2J"), "no control characters"),
        ];
        for (json, problem) in cases {
            let error = parse(json.as_bytes(), 8).unwrap_err();
            assert!(error.contains(problem), "{error}\nfor {:.200}", json);
        }
    }

    #[test]
    fn millions_of_tensors_are_refused() {
        let many: Vec<String> = (0..=MAX_TENSORS)
            .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
            .collect();
        let json = |tensors: &[String]| format!("{{{}}}", tensors.join(",")).into_bytes();
        let error = parse(&json(&many), 0).unwrap_err();
        assert!(error.contains("more than 524288 tensors"), "{error}");
        assert_eq!(parse(&json(&many[1..]), 0).unwrap().len(), MAX_TENSORS);
    }
}
