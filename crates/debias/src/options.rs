//! What a fit can be told: rank, seed, and the parameters of each method.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::FitError;

/// Options of a fit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitOptions {
    /// Number of directions to remove; `None` is the method's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Number of units to change, for methods whose size that is; `None` is the method's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// Seed of everything random in the fit.
    pub seed: u64,
    /// Parameters of the method by name, see [`crate::Debiaser::params`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Param>,
}

impl FitOptions {
    /// Defaults, with the number of directions set.
    pub fn with_rank(rank: usize) -> Self {
        Self {
            rank: Some(rank),
            ..Self::default()
        }
    }

    /// Defaults, with the number of units set.
    pub fn with_units(units: usize) -> Self {
        Self {
            units: Some(units),
            ..Self::default()
        }
    }

    /// The same options with another seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same options with one parameter set.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl Into<Param>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }
}

/// Value of a parameter: what TOML and JSON can say in one word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Param {
    /// A switch.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A name out of a fixed list.
    Text(String),
}

impl std::fmt::Display for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(v) => v.fmt(f),
            Self::Number(v) => v.fmt(f),
            Self::Text(v) => write!(f, "\"{v}\""),
        }
    }
}

impl From<bool> for Param {
    fn from(v: bool) -> Self {
        Self::Flag(v)
    }
}

impl From<f64> for Param {
    fn from(v: f64) -> Self {
        Self::Number(v)
    }
}

impl From<&str> for Param {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}

/// A parameter of a method, as documentation and as a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamSpec {
    /// Name, as typed in a spec.
    pub name: &'static str,
    /// Default, in words.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Reads the parameters of one fit, after checking that each one exists.
pub(crate) struct Params<'a> {
    method: &'static str,
    values: &'a BTreeMap<String, Param>,
}

impl<'a> Params<'a> {
    pub(crate) fn new(
        method: &'static str,
        specs: &[ParamSpec],
        options: &'a FitOptions,
    ) -> Result<Self, FitError> {
        let known: Vec<_> = specs.iter().map(|spec| spec.name).collect();
        match options.params.keys().find(|k| !known.contains(&k.as_str())) {
            Some(name) => Err(FitError::UnknownParam {
                method,
                name: name.clone(),
                known,
            }),
            None => Ok(Self {
                method,
                values: &options.params,
            }),
        }
    }

    fn bad<T>(
        &self,
        name: &'static str,
        value: &Param,
        expected: &'static str,
    ) -> Result<T, FitError> {
        Err(FitError::BadParam {
            method: self.method,
            name,
            value: value.to_string(),
            expected,
        })
    }

    /// A positive, finite number.
    pub(crate) fn positive(&self, name: &'static str) -> Result<Option<f64>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Number(v)) if v.is_finite() && *v > 0.0 => Ok(Some(*v)),
            Some(other) => self.bad(name, other, "a positive number"),
        }
    }

    /// A whole number ≥ 1.
    pub(crate) fn count(&self, name: &'static str) -> Result<Option<usize>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Number(v)) if v.fract() == 0.0 && (1.0..=1e9).contains(v) => {
                Ok(Some(*v as usize))
            }
            Some(other) => self.bad(name, other, "a whole number ≥ 1"),
        }
    }

    /// A name.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&'a str>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Text(v)) => Ok(Some(v)),
            Some(other) => self.bad(name, other, "a name"),
        }
    }

    /// A name out of a list.
    pub(crate) fn one_of(
        &self,
        name: &'static str,
        known: &[&'static str],
        expected: &'static str,
    ) -> Result<Option<usize>, FitError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match known.iter().position(|&k| k == text) {
            Some(at) => Ok(Some(at)),
            None => self.bad(name, &Param::Text(text.to_owned()), expected),
        }
    }

    /// A switch.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Flag(v)) => Ok(Some(*v)),
            Some(other) => self.bad(name, other, "true or false"),
        }
    }
}

/// The rank asked for or the default, checked against `1..=max`.
pub(crate) fn rank_within(
    method: &'static str,
    options: &FitOptions,
    default: usize,
    max: usize,
) -> Result<usize, FitError> {
    let rank = options.rank.unwrap_or(default);
    if rank == 0 || rank > max {
        return Err(FitError::RankOutOfRange { method, rank, max });
    }
    Ok(rank)
}
