//! The settings of a GGUF file by name, with errors that name the file and the key.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use crate::{ModelError, input};

/// The value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number, stored in any width.
    Whole(i128),
    /// A floating-point number.
    Real(f32),
    /// A boolean.
    Flag(bool),
    /// A text.
    Text(String),
    /// A list.
    List(List),
}

/// A list of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum List {
    /// Whole numbers.
    Wholes(Vec<i64>),
    /// Bytes, or booleans as 0 and 1.
    Bytes(Vec<u8>),
    /// Floating-point numbers.
    Reals(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
}

/// The settings of a file by name.
#[derive(Debug, Default)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    /// Adds a setting. If there is one of this name, it stays and the function returns true.
    pub(crate) fn insert(&mut self, key: String, value: Value) -> bool {
        match self.0.entry(key) {
            Entry::Occupied(_) => true,
            Entry::Vacant(free) => {
                free.insert(value);
                false
            }
        }
    }

    /// Returns the value of a setting, whatever its type is.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Iterates over the names of all settings, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns a reader whose errors name this file.
    pub fn of<'a>(&'a self, path: &'a Path) -> Settings<'a> {
        Settings { path, all: self }
    }
}

/// A reader of the settings of a file.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    path: &'a Path,
    all: &'a Metadata,
}

impl<'a> Settings<'a> {
    /// Returns the path of the file, for errors.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// Makes an error about a setting.
    pub fn bad(&self, key: &str, problem: impl Into<String>) -> ModelError {
        ModelError::Config {
            path: self.path.to_owned(),
            key: key.to_owned(),
            problem: input::brief(problem.into()),
        }
    }

    /// Returns whether there is such a setting.
    pub fn has(&self, key: &str) -> bool {
        self.all.value(key).is_some()
    }

    fn of_type<T>(
        &self,
        key: &str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        match self.all.value(key) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.bad(key, format!("is not {what}"))),
            },
        }
    }

    /// Returns a text.
    ///
    /// # Errors
    /// A value of another type.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        self.of_type(key, "a text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Returns a boolean.
    ///
    /// # Errors
    /// A value of another type.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.of_type(key, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    /// Returns a whole number that is not negative; a list of equal numbers counts as that number.
    ///
    /// # Errors
    /// A value of another type, such as a list of different numbers for each block.
    pub fn size(&self, key: &str) -> Result<Option<u64>, ModelError> {
        let what = "a whole number, or a list of equal ones, one for each block";
        self.of_type(key, what, |value| match value {
            Value::Whole(n) => u64::try_from(*n).ok(),
            Value::List(List::Wholes(all)) => {
                let first = *all.first()?;
                let equal = all.iter().all(|&n| n == first);
                u64::try_from(first).ok().filter(|_| equal)
            }
            _ => None,
        })
    }

    /// Returns a number.
    ///
    /// # Errors
    /// A value of another type.
    pub fn number(&self, key: &str) -> Result<Option<f32>, ModelError> {
        self.of_type(key, "a finite number", |value| match value {
            Value::Real(x) if x.is_finite() => Some(*x),
            Value::Whole(n) => Some(*n as f32),
            _ => None,
        })
    }

    /// Returns a list of texts.
    ///
    /// # Errors
    /// A value of another type.
    pub fn texts(&self, key: &str) -> Result<Option<&'a [String]>, ModelError> {
        self.of_type(key, "a list of texts", |value| match value {
            Value::List(List::Texts(all)) => Some(all.as_slice()),
            _ => None,
        })
    }

    /// Returns a list of numbers.
    ///
    /// # Errors
    /// A value of another type, or numbers that are not finite.
    pub fn numbers(&self, key: &str) -> Result<Option<&'a [f32]>, ModelError> {
        self.of_type(key, "a list of finite numbers", |value| match value {
            Value::List(List::Reals(all)) if all.iter().all(|x| x.is_finite()) => {
                Some(all.as_slice())
            }
            _ => None,
        })
    }

    /// Returns a list of whole numbers.
    ///
    /// # Errors
    /// A value of another type.
    pub fn wholes(&self, key: &str) -> Result<Option<&'a [i64]>, ModelError> {
        self.of_type(key, "a list of whole numbers", |value| match value {
            Value::List(List::Wholes(all)) => Some(all.as_slice()),
            _ => None,
        })
    }

    /// Returns a list of bytes, or of booleans as 0 and 1.
    ///
    /// # Errors
    /// A value of another type.
    pub fn bytes(&self, key: &str) -> Result<Option<&'a [u8]>, ModelError> {
        self.of_type(key, "a list of bytes", |value| match value {
            Value::List(List::Bytes(all)) => Some(all.as_slice()),
            _ => None,
        })
    }

    /// Returns the value of a setting that must be present.
    ///
    /// # Errors
    /// A setting that is missing.
    pub fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ModelError> {
        value.ok_or_else(|| self.bad(key, "missing; every file of this architecture has it"))
    }
}
