//! Arrays of a NumPy archive (`np.savez`), as Gemma Scope has them.
//!
//! # Source
//! NumPy Enhancement Proposal 1, "A simple file format for NumPy arrays", versions 1.0 to 3.0.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::SparseError;

/// Largest header of an array that is read.
const MOST_HEADER: usize = 1 << 16;
/// Most numbers of one array: 16 GiB.
const MOST_NUMBERS: usize = 1 << 32;
/// Bytes that are asked for at once, so that memory grows with what is really there.
const CHUNK: usize = 1 << 24;

/// An open archive of NumPy arrays.
pub struct Npz<'a> {
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
}

impl<'a> Npz<'a> {
    /// Opens an archive and reads only its list of contents.
    ///
    /// # Errors
    /// The file can't be read or is not an archive.
    pub fn open(path: &'a Path) -> Result<Npz<'a>, SparseError> {
        let file = File::open(path).map_err(SparseError::io(path))?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
            SparseError::malformed(path, format!("not a NumPy archive (.npz): {error}"))
        })?;
        Ok(Npz { path, archive })
    }

    /// Returns the names of the arrays.
    pub fn names(&self) -> Vec<String> {
        let names = self.archive.file_names();
        let mut names: Vec<String> = names
            .filter_map(|name| name.strip_suffix(".npy").map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    /// Returns the shape of an array.
    ///
    /// # Errors
    /// The array is missing, or its numbers have a type or an order that is not supported.
    pub fn shape(&mut self, name: &'static str) -> Result<Vec<usize>, SparseError> {
        let path = self.path;
        let mut entry = self.entry(name)?;
        Ok(header(path, name, &mut entry)?.shape)
    }

    /// Returns an array and its shape. The values are stored row by row in single precision, which holds half precision exactly.
    ///
    /// # Errors
    /// The errors are those of [`Npz::shape`]; in addition, the array can be too large or end early.
    pub fn array(&mut self, name: &'static str) -> Result<(Vec<usize>, Vec<f32>), SparseError> {
        let path = self.path;
        let mut entry = self.entry(name)?;
        let header = header(path, name, &mut entry)?;
        let count = header
            .shape
            .iter()
            .try_fold(1usize, |n, &m| n.checked_mul(m));
        let count = count.filter(|&n| n <= MOST_NUMBERS).ok_or_else(|| {
            SparseError::malformed(
                path,
                format!("`{name}` is {:?}, which is too large", header.shape),
            )
        })?;
        let mut left = count * header.number.size();
        let mut values = Vec::new();
        let mut bytes = Vec::new();
        while left > 0 {
            bytes.resize(left.min(CHUNK), 0);
            entry.read_exact(&mut bytes).map_err(|error| {
                SparseError::malformed(
                    path,
                    format!("`{name}` ends before its {count} numbers: {error}"),
                )
            })?;
            header.number.append(&bytes, &mut values);
            left -= bytes.len();
        }
        Ok((header.shape, values))
    }

    fn entry(&mut self, name: &'static str) -> Result<impl Read + use<'_>, SparseError> {
        let found = self.names();
        let path = self.path;
        match self.archive.by_name(&format!("{name}.npy")) {
            Ok(entry) => Ok(entry),
            Err(zip::result::ZipError::FileNotFound) => Err(SparseError::Missing {
                path: path.to_owned(),
                name,
                found,
            }),
            Err(error) => Err(SparseError::malformed(path, format!("`{name}`: {error}"))),
        }
    }
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Single,
    Half,
}

impl Number {
    fn size(self) -> usize {
        match self {
            Number::Single => 4,
            Number::Half => 2,
        }
    }

    fn append(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Number::Single => {
                let numbers = bytes.as_chunks::<4>().0.iter();
                out.extend(numbers.map(|b| f32::from_le_bytes(*b)));
            }
            Number::Half => {
                let numbers = bytes.as_chunks::<2>().0.iter();
                out.extend(numbers.map(|b| half::f16::from_le_bytes(*b).to_f32()));
            }
        }
    }
}

struct Header {
    number: Number,
    shape: Vec<usize>,
}

/// Reads what stands before the numbers of an array.
fn header(path: &Path, name: &str, entry: &mut impl Read) -> Result<Header, SparseError> {
    let bad = |problem: String| SparseError::malformed(path, format!("`{name}`: {problem}"));
    let mut exact = |count: usize| -> Result<Vec<u8>, SparseError> {
        let mut bytes = vec![0; count];
        let read = entry.read_exact(&mut bytes);
        read.map_err(|error| bad(format!("its header is cut off: {error}")))?;
        Ok(bytes)
    };
    let start = exact(8)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(bad("not a NumPy array".into()));
    }
    let length = match start[6] {
        1 => {
            let bytes = exact(2)?;
            usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))
        }
        2 | 3 => {
            let bytes = exact(4)?;
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
        }
        version => {
            return Err(bad(format!(
                "version {version} of the format; 1 to 3 are read"
            )));
        }
    };
    if length > MOST_HEADER {
        return Err(bad(format!(
            "a header of {length} bytes; at most {MOST_HEADER} are read"
        )));
    }
    let text = String::from_utf8_lossy(&exact(length)?).into_owned();
    parse(&text).map_err(bad)
}

/// The header is a literal of Python: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse(text: &str) -> Result<Header, String> {
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let number = match value("descr").map(|rest| rest.split(',').next().unwrap_or_default().trim())
    {
        Some("'<f4'") => Number::Single,
        Some("'<f2'") => Number::Half,
        other => {
            let other = other.unwrap_or("nothing").trim_matches('\'');
            return Err(format!(
                "its numbers are `{other}`; `<f4` and `<f2` are read, so save it as float32"
            ));
        }
    };
    match value("fortran_order") {
        Some(rest) if rest.starts_with("False") => {}
        Some(rest) if rest.starts_with("True") => {
            return Err(
                "it is stored column by column (fortran_order); save it with np.ascontiguousarray"
                    .into(),
            );
        }
        _ => return Err("its header has no `fortran_order`".into()),
    }
    let dims = value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let (dims, _) = dims.ok_or("its header has no `shape`")?;
    let dims = dims.split(',').map(str::trim).filter(|d| !d.is_empty());
    let shape: Result<Vec<usize>, _> = dims.map(str::parse).collect();
    let shape = shape.map_err(|_| "its `shape` has something that is no number")?;
    Ok(Header { number, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_numpy() {
        let of = |descr: &str, order: &str, shape: &str| {
            parse(&format!(
                "{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}      \n"
            ))
        };
        let found = of("<f4", "False", "(3, 4)").unwrap();
        assert_eq!((found.number, found.shape), (Number::Single, vec![3, 4]));
        assert_eq!(of("<f2", "False", "(7,)").unwrap().shape, [7]);
        assert!(of("<f4", "False", "()").unwrap().shape.is_empty());
        for (descr, order, shape, says) in [
            ("<f8", "False", "(3, 4)", "float32"),
            ("|O", "False", "(3, 4)", "|O"),
            ("<f4", "True", "(3, 4)", "ascontiguousarray"),
            ("<f4", "Maybe", "(3, 4)", "fortran_order"),
            ("<f4", "False", "(3, x)", "shape"),
            ("<f4", "False", "(-3, 4)", "shape"),
            ("<f4", "False", "3, 4", "shape"),
            ("<f4", "False", "(99999999999999999999999, 4)", "shape"),
        ] {
            let problem = of(descr, order, shape).err().unwrap();
            assert!(problem.contains(says), "{problem}");
        }
        assert!(parse("").is_err());
    }
}
