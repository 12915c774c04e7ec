//! Reads the container of a GGUF file, which consists of its settings and the positions of its tensors. Everything is
//! checked before it is used.
//!
//! Versions 2 and 3 are read, in little-endian order. Every count and length is compared with the rest of the file
//! before memory is allocated, and the part before the data has a limit of its own, so memory stays within a few
//! times the size of the header. The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeSet;
use std::io::Read;

use super::metadata::{List, Metadata, Value};
use crate::checkpoint::blocks::{self, Format};
use crate::header::{MAX_TENSORS, check_name};

/// The longest header in use, of 262 thousand tokens with their merges, has some 20 MB.
const MAX_HEADER: u64 = 64 << 20;

/// Real files have some tens of settings.
const MAX_SETTINGS: u64 = 1 << 14;

/// The longest lists in use, merges, have some 600 thousand entries.
const MAX_LIST: u64 = 1 << 21;

/// Longest name of a setting, in bytes, by the format.
const MAX_KEY: u64 = (1 << 16) - 1;

/// Longest text, a chat template.
const MAX_TEXT: u64 = 4 << 20;

/// ggml's tensors have at most this many axes.
const MAX_AXES: u32 = 4;

/// Where data begin is a multiple of this where the file does not say.
const ALIGNMENT: u64 = 32;

const MAX_ALIGNMENT: u64 = 1 << 20;

/// The part of a file before the data of its tensors.
#[derive(Debug)]
pub struct Container {
    /// The version of the format.
    pub version: u32,
    /// The settings by name.
    pub settings: Metadata,
    /// The tensors, in the order of their data.
    pub tensors: Vec<Tensor>,
    /// The position in the file at which the list of tensors begins, after the settings.
    pub list: u64,
    /// The number whose multiples are the positions at which tensors begin.
    pub alignment: u64,
}

/// A tensor with its position in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The name of the tensor.
    pub name: String,
    /// The length of its axes, rows first; their product does not overflow.
    pub shape: Vec<usize>,
    /// The format of its values.
    pub format: &'static Format,
    /// The position of its first byte in the file.
    pub begin: u64,
    /// The position after its last byte in the file.
    pub end: u64,
}

/// Reads the container of a file of `length` bytes. The error is a message about what is wrong.
pub(crate) fn read(from: impl Read, length: u64) -> Result<Container, String> {
    let mut input = Input {
        from,
        at: 0,
        end: length.min(MAX_HEADER),
        length,
    };
    if &input.array::<4>()? != b"GGUF" {
        return Err("does not begin with `GGUF`, so it is no GGUF file".into());
    }
    let version = input.u32()?;
    match version {
        2 | 3 => {}
        1 => {
            return Err(
                "GGUF version 1, of 2023; convert the model again, 2 and 3 are read".into(),
            );
        }
        _ if [2, 3].contains(&version.swap_bytes()) => {
            return Err("GGUF for big-endian machines; take the little-endian file".into());
        }
        other => return Err(format!("GGUF version {other}; 2 and 3 are read")),
    }
    let (tensors, settings) = (input.u64()?, input.u64()?);
    if settings > MAX_SETTINGS || tensors > MAX_TENSORS as u64 {
        return Err(format!(
            "claims {settings} settings and {tensors} tensors; real files have at most {MAX_SETTINGS} and {MAX_TENSORS}; it is damaged, fetch it again"
        ));
    }
    let settings = read_settings(&mut input, settings)?;
    let alignment = alignment(&settings)?;
    let list = input.at;
    let infos = (0..tensors)
        .map(|_| info(&mut input, alignment))
        .collect::<Result<Vec<Info>, String>>()?;
    let data = input.at.next_multiple_of(alignment);
    Ok(Container {
        version,
        settings,
        tensors: locate(infos, data, length)?,
        list,
        alignment,
    })
}

fn read_settings(input: &mut Input<impl Read>, count: u64) -> Result<Metadata, String> {
    let mut settings = Metadata::default();
    for _ in 0..count {
        let key = input.text(MAX_KEY)?;
        check_name(&key)?;
        let named = |problem: String| format!("setting `{key}`: {problem}");
        let kind = input.u32().map_err(named)?;
        let value = value(input, kind).map_err(named)?;
        if settings.insert(key.clone(), value) {
            return Err(named("stands there twice".into()));
        }
    }
    Ok(settings)
}

fn alignment(settings: &Metadata) -> Result<u64, String> {
    let alignment = match settings.value("general.alignment") {
        None => ALIGNMENT,
        Some(Value::Whole(n)) => u64::try_from(*n).unwrap_or(0),
        Some(_) => 0,
    };
    // The format asks for a multiple of 8; larger ones would only make holes.
    if alignment == 0 || !alignment.is_multiple_of(8) || alignment > MAX_ALIGNMENT {
        return Err(format!(
            "setting `general.alignment` is no multiple of 8 up to {MAX_ALIGNMENT}; the file is damaged, fetch it again"
        ));
    }
    Ok(alignment)
}

/// A tensor as the file lists it.
struct Info {
    name: String,
    shape: Vec<usize>,
    format: &'static Format,
    offset: u64,
    bytes: u64,
}

fn info(input: &mut Input<impl Read>, alignment: u64) -> Result<Info, String> {
    let name = input.text(MAX_KEY)?;
    check_name(&name)?;
    let named = |problem: String| format!("tensor `{name}`: {problem}");
    let axes = input.u32()?;
    if axes == 0 || axes > MAX_AXES {
        return Err(named(format!(
            "has {axes} axes; 1 to {MAX_AXES} are possible"
        )));
    }
    // ggml has the length of a row first.
    let mut shape = Vec::new();
    for _ in 0..axes {
        let axis = input.u64()?;
        let axis = usize::try_from(axis).ok().filter(|&n| n > 0);
        shape.insert(
            0,
            axis.ok_or_else(|| named("has an axis of no use".into()))?,
        );
    }
    let format = blocks::by_number(input.u32()?).map_err(|e| named(format!("is of {e}")))?;
    let offset = input.u64()?;
    let (row, rows) = (shape[shape.len() - 1], &shape[..shape.len() - 1]);
    if shape.len() == 1 && format.is_quantised() {
        return Err(named(format!(
            "has one axis and is {}; such tensors are stored as floats",
            format.name
        )));
    }
    if !row.is_multiple_of(format.values) {
        return Err(named(format!(
            "has rows of {row} values, {} has blocks of {}",
            format.name, format.values
        )));
    }
    let bytes = ((row / format.values) as u64).checked_mul(format.bytes as u64);
    let bytes = rows
        .iter()
        .try_fold(bytes, |n, &axis| Some(n?.checked_mul(axis as u64)));
    let bytes = bytes.flatten();
    let bytes = bytes.ok_or_else(|| named(format!("of shape {shape:?} overflows")))?;
    if !offset.is_multiple_of(alignment) {
        return Err(named(format!(
            "begins at byte {offset} of the data, which is no multiple of the alignment {alignment}"
        )));
    }
    Ok(Info {
        name,
        shape,
        format,
        offset,
        bytes,
    })
}

/// Places in the file, in order; none may overlap or pass its end.
fn locate(mut infos: Vec<Info>, data: u64, length: u64) -> Result<Vec<Tensor>, String> {
    let mut names = BTreeSet::new();
    if let Some(twice) = infos.iter().find(|info| !names.insert(&info.name)) {
        return Err(format!("names tensor `{}` twice", twice.name));
    }
    infos.sort_by_key(|info| info.offset);
    let mut at = data;
    let mut tensors = Vec::with_capacity(infos.len());
    for info in infos {
        let begin = data.checked_add(info.offset);
        let place = begin.and_then(|begin| Some((begin, begin.checked_add(info.bytes)?)));
        let Some((begin, end)) = place.filter(|&(_, end)| end <= length) else {
            return Err(format!(
                "tensor `{}` of {} bytes from byte {} of the data on passes the end of the file, which has {length} bytes; it is truncated, fetch it again",
                info.name, info.bytes, info.offset
            ));
        };
        if begin < at {
            return Err(format!(
                "tensor `{}` overlaps the one before it; the file is damaged, fetch it again",
                info.name
            ));
        }
        at = end;
        tensors.push(Tensor {
            name: info.name,
            shape: info.shape,
            format: info.format,
            begin,
            end,
        });
    }
    Ok(tensors)
}

fn value(input: &mut Input<impl Read>, kind: u32) -> Result<Value, String> {
    Ok(match kind {
        0 => Value::Whole(u8::from_le_bytes(input.array()?).into()),
        1 => Value::Whole(i8::from_le_bytes(input.array()?).into()),
        2 => Value::Whole(u16::from_le_bytes(input.array()?).into()),
        3 => Value::Whole(i16::from_le_bytes(input.array()?).into()),
        4 => Value::Whole(input.u32()?.into()),
        5 => Value::Whole(i32::from_le_bytes(input.array()?).into()),
        6 => Value::Real(f32::from_le_bytes(input.array()?)),
        7 => Value::Flag(flag(input.array::<1>()?[0])?),
        8 => Value::Text(input.text(MAX_TEXT)?),
        9 => Value::List(list(input)?),
        10 => Value::Whole(input.u64()?.into()),
        11 => Value::Whole(i64::from_le_bytes(input.array()?).into()),
        12 => Value::Real(f64::from_le_bytes(input.array()?) as f32),
        other => return Err(format!("is of type {other}, which GGUF does not have")),
    })
}

fn flag(byte: u8) -> Result<bool, String> {
    match byte {
        0 | 1 => Ok(byte == 1),
        other => Err(format!("is neither false nor true but {other}")),
    }
}

fn list(input: &mut Input<impl Read>) -> Result<List, String> {
    let (kind, count) = (input.u32()?, input.u64()?);
    if count > MAX_LIST {
        return Err(format!(
            "claims a list of {count}; real ones have at most {MAX_LIST}"
        ));
    }
    let each = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => return Err("is a list of lists, which no real file has".into()),
        other => {
            return Err(format!(
                "is a list of type {other}, which GGUF does not have"
            ));
        }
    };
    input.room(count * each)?;
    let whole = |n: Option<i64>| n.ok_or_else(|| "holds a number that is too large".to_owned());
    let count = count as usize;
    Ok(match kind {
        8 => List::Texts(collect(count, || input.text(MAX_TEXT))?),
        6 => List::Reals(collect(count, || Ok(f32::from_le_bytes(input.array()?)))?),
        12 => List::Reals(collect(count, || {
            Ok(f64::from_le_bytes(input.array()?) as f32)
        })?),
        0 => List::Bytes(input.bytes(count)?),
        7 => {
            let bytes = input.bytes(count)?;
            bytes.iter().try_for_each(|&b| flag(b).map(drop))?;
            List::Bytes(bytes)
        }
        _ => List::Wholes(collect(count, || match kind {
            1 => Ok(i8::from_le_bytes(input.array()?).into()),
            2 => Ok(u16::from_le_bytes(input.array()?).into()),
            3 => Ok(i16::from_le_bytes(input.array()?).into()),
            4 => Ok(input.u32()?.into()),
            5 => Ok(i32::from_le_bytes(input.array()?).into()),
            10 => whole(input.u64()?.try_into().ok()),
            _ => Ok(i64::from_le_bytes(input.array()?)),
        })?),
    })
}

fn collect<T>(count: usize, mut next: impl FnMut() -> Result<T, String>) -> Result<Vec<T>, String> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(next()?);
    }
    Ok(all)
}

/// A header that is read from its beginning.
struct Input<R> {
    from: R,
    at: u64,
    /// Where it must have ended.
    end: u64,
    /// Bytes of the file.
    length: u64,
}

impl<R: Read> Input<R> {
    /// That so many bytes can still come.
    fn room(&self, bytes: u64) -> Result<(), String> {
        if bytes <= self.end - self.at {
            return Ok(());
        }
        Err(match self.end == self.length {
            true => format!(
                "claims {bytes} bytes at byte {}, the file has {}; it is truncated or damaged, fetch it again",
                self.at, self.length
            ),
            false => format!("its header has more than {MAX_HEADER} bytes, which no real one has"),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.room(N as u64)?;
        let mut bytes = [0; N];
        self.from
            .read_exact(&mut bytes)
            .map_err(|e| e.to_string())?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, String> {
        self.room(count as u64)?;
        let mut bytes = vec![0; count];
        self.from
            .read_exact(&mut bytes)
            .map_err(|e| e.to_string())?;
        self.at += count as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self, most: u64) -> Result<String, String> {
        let length = self.u64()?;
        if length > most {
            return Err(format!(
                "claims a text of {length} bytes; real ones have at most {most}; the file is damaged, fetch it again"
            ));
        }
        String::from_utf8(self.bytes(length as usize)?)
            .map_err(|_| "holds a text that is not UTF-8".into())
    }
}
