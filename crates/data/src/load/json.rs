//! Reads JSON from untrusted files: the size of values is bounded, repeated keys are refused, and errors name the
//! key.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::entries;
use crate::error::{BadRow, DataError, FindingKind};

/// The largest number of parts (texts, numbers, lists, objects) that one record may have.
///
/// A list of small numbers takes many times more room in memory than in the file, so a bound on the bytes is not
/// enough.
pub(crate) const MOST_PARTS: usize = 50_000;

/// Reads a value of a bounded number of parts, and refuses an object that holds a key twice.
pub(crate) struct Bounded<'a> {
    left: &'a Cell<usize>,
}

impl<'a> Bounded<'a> {
    pub fn new(left: &'a Cell<usize>) -> Self {
        Bounded { left }
    }

    fn again(&self) -> Self {
        Bounded { left: self.left }
    }
}

/// Parses one document with these bounds.
pub(crate) fn bounded(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let left = Cell::new(MOST_PARTS);
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let value = Bounded::new(&left).deserialize(&mut input)?;
    input.end()?;
    Ok(value)
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom("this record has too many parts"));
        };
        self.left.set(left);
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.again())? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "the key `{key}` stands here twice"
                )));
            }
            let value = entries.next_value_seed(self.again())?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

/// A reader that counts the lines that pass, for parsers that read byte by byte.
pub(crate) struct CountLines<R> {
    pub inner: R,
    pub line: Rc<Cell<u64>>,
}

impl<R: Read> Read for CountLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let ends = buffer[..count].iter().filter(|b| **b == b'\n').count();
        self.line.set(self.line.get() + ends as u64);
        Ok(count)
    }
}

/// An object within a record, with its place in the file for error messages.
#[derive(Clone)]
pub(crate) struct Fields<'v> {
    map: &'v Map<String, Value>,
    place: String,
    line: u64,
    /// What the messages call the record, such as `item 17`; may be empty.
    record: String,
}

impl<'v> Fields<'v> {
    /// Takes the object that stands at `place`.
    ///
    /// # Errors
    /// A value that is not an object.
    pub fn new(value: &'v Value, place: &str, line: u64) -> Result<Self, BadRow> {
        match value {
            Value::Object(map) => Ok(Fields {
                map,
                place: place.to_owned(),
                line,
                record: String::new(),
            }),
            other => {
                let message = format!("{} where an object is expected", kind(other));
                let place = if place.is_empty() { "(top)" } else { place };
                Err(BadRow::new(line, place, FindingKind::BadValue, message))
            }
        }
    }

    /// Returns the same object under another name for messages.
    pub fn named(&self, record: String) -> Self {
        Fields {
            record,
            ..self.clone()
        }
    }

    /// Returns the full path of a key, such as `data.intrasentence[3].context`.
    pub fn at(&self, key: &str) -> String {
        if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Describes a fault at a key.
    pub fn bad(&self, key: &str, found: FindingKind, message: impl fmt::Display) -> BadRow {
        let record = match self.record.as_str() {
            "" => String::new(),
            record => format!("{record}: "),
        };
        BadRow::new(
            self.line,
            &self.at(key),
            found,
            format!("{record}{message}"),
        )
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// A missing key; the error lists the keys that exist.
    pub fn get(&self, key: &str) -> Result<&'v Value, BadRow> {
        self.map.get(key).ok_or_else(|| {
            let there: Vec<&str> = self.map.keys().take(12).map(String::as_str).collect();
            let message = format!("is missing; the keys are: {}", there.join(", "));
            self.bad(key, FindingKind::BadValue, message)
        })
    }

    /// Returns a text that is not empty and has no spaces around it.
    ///
    /// # Errors
    /// A missing key, a value that is not text, or a text of nothing but spaces.
    pub fn text(&self, key: &str) -> Result<&'v str, BadRow> {
        match self.get(key)? {
            Value::String(text) if text.trim().is_empty() => {
                Err(self.bad(key, FindingKind::EmptyCell, "no text"))
            }
            Value::String(text) => Ok(text.trim()),
            other => Err(self.wrong(key, other, "text")),
        }
    }

    /// Returns a text, or a whole number as text, because identifiers come as either.
    ///
    /// # Errors
    /// A missing key, an empty text, or a value that is neither text nor a whole number.
    pub fn identifier(&self, key: &str) -> Result<String, BadRow> {
        match self.get(key)? {
            Value::Number(number) if number.is_u64() => Ok(number.to_string()),
            Value::String(_) => Ok(self.text(key)?.to_owned()),
            other => Err(self.wrong(key, other, "a text or a whole number")),
        }
    }

    /// Returns the values of a list.
    ///
    /// # Errors
    /// A missing key, or a value that is not a list.
    pub fn list(&self, key: &str) -> Result<&'v [Value], BadRow> {
        match self.get(key)? {
            Value::Array(items) => Ok(items),
            other => Err(self.wrong(key, other, "a list")),
        }
    }

    /// Returns an object under a key.
    ///
    /// # Errors
    /// A missing key, or a value that is not an object.
    pub fn object(&self, key: &str) -> Result<Fields<'v>, BadRow> {
        match self.get(key)? {
            Value::Object(map) => Ok(Fields {
                map,
                place: self.at(key),
                line: self.line,
                record: self.record.clone(),
            }),
            other => Err(self.wrong(key, other, "an object")),
        }
    }

    /// Returns the objects of a list.
    ///
    /// # Errors
    /// A missing key, a value that is not a list, or a list that holds something other than objects.
    pub fn objects(&self, key: &str) -> Result<Vec<Fields<'v>>, BadRow> {
        let items = self.list(key)?.iter().enumerate();
        items
            .map(|(i, item)| {
                let fields = Fields::new(item, &format!("{}[{i}]", self.at(key)), self.line)?;
                Ok(fields.named(self.record.clone()))
            })
            .collect()
    }

    pub fn wrong(&self, key: &str, found: &Value, expected: &str) -> BadRow {
        let message = format!("{} where {expected} is expected", kind(found));
        self.bad(key, FindingKind::BadValue, message)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns the path itself if it is a file, or the `.jsonl` files directly in it, sorted by name, if it is a folder.
pub(crate) fn jsonl_files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = entries(path)?;
    files.retain(|f| f.is_file() && f.extension().is_some_and(|e| e == "jsonl"));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded_and_keys_come_once() {
        assert_eq!(
            bounded(br#"{"a":[1,-2,0.5,true,null,"x"]}"#).unwrap(),
            serde_json::json!({"a": [1, -2, 0.5, true, null, "x"]})
        );
        let many = format!("[{}0]", "0,".repeat(MOST_PARTS));
        let deep = "[".repeat(10_000);
        for (text, expect) in [
            (many.as_str(), "too many parts"),
            (r#"{"a":1,"b":2,"a":3}"#, "`a` stands here twice"),
            (deep.as_str(), "recursion"),
            ("[1", "EOF"),
            ("[1] 2", "trailing"),
        ] {
            let error = bounded(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    }
}
