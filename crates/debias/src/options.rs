//! The options of a fit: rank, seed, and the parameters of each method.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Contrast, FitError, Reduce, Span};

/// The options of a fit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitOptions {
    /// The number of directions to remove; `None` means the method's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// The number of units to change, for methods whose size it is; `None` means the method's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// The seed of everything random in the fit.
    pub seed: u64,
    /// The parameters of the method by name; see [`crate::Debiaser::params`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Param>,
}

impl FitOptions {
    /// Makes default options with this number of directions.
    pub fn with_rank(rank: usize) -> Self {
        Self {
            rank: Some(rank),
            ..Self::default()
        }
    }

    /// Makes default options with this number of units.
    pub fn with_units(units: usize) -> Self {
        Self {
            units: Some(units),
            ..Self::default()
        }
    }

    /// Returns the same options with another seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Returns the same options with one more parameter.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl Into<Param>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }
}

/// The value of a parameter, which TOML and JSON can express as a single value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Param {
    /// A boolean.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A name from a fixed list.
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

/// The description of a method's parameter, from which documentation and checks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamSpec {
    /// The name in specs.
    pub name: &'static str,
    /// The default, in words.
    pub default: &'static str,
    /// What the parameter does.
    pub help: &'static str,
}

/// The value of `toward` that means the mean of all languages.
pub(crate) const SHARED: &str = "shared";

/// Parameters that several methods have.
impl ParamSpec {
    pub(crate) const GROUP: ParamSpec = ParamSpec {
        name: "group",
        default: "the first group",
        help: "name of the group whose sentences are the positive ones; of languages, the one of the fit",
    };
    pub(crate) const REDUCE: ParamSpec = ParamSpec {
        name: "reduce",
        default: "max",
        help: "which value of a unit is the score of a sentence: the largest over the tokens (max) or the mean (mean)",
    };
    pub(crate) const MEAN_OR_LAST: ParamSpec = ParamSpec {
        name: "reduce",
        default: "mean",
        help: "which vector of a sentence is an example: the mean of its states (mean) or the last state (last)",
    };
    pub(crate) const CONTRAST: ParamSpec = ParamSpec {
        name: "contrast",
        default: "groups",
        help: "whether sentences of groups are told apart (groups), or the same sentences in several languages (languages)",
    };
    pub(crate) const TOWARD: ParamSpec = ParamSpec {
        name: "toward",
        default: "shared",
        help: "the language to steer toward, such as en, or the mean of all languages (shared)",
    };
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

    /// Returns a positive, finite number.
    pub(crate) fn positive(&self, name: &'static str) -> Result<Option<f64>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Number(v)) if v.is_finite() && *v > 0.0 => Ok(Some(*v)),
            Some(other) => self.bad(name, other, "a positive number"),
        }
    }

    /// Returns a finite number.
    pub(crate) fn number(&self, name: &'static str) -> Result<Option<f64>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Number(v)) if v.is_finite() => Ok(Some(*v)),
            Some(other) => self.bad(name, other, "a finite number"),
        }
    }

    /// Returns a number from 0 to 1.
    pub(crate) fn share(&self, name: &'static str) -> Result<Option<f64>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Number(v)) if (0.0..=1.0).contains(v) => Ok(Some(*v)),
            Some(other) => self.bad(name, other, "a number from 0 to 1"),
        }
    }

    /// Returns a whole number ≥ 1.
    pub(crate) fn count(&self, name: &'static str) -> Result<Option<usize>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Number(v)) if v.fract() == 0.0 && (1.0..=1e9).contains(v) => {
                Ok(Some(*v as usize))
            }
            Some(other) => self.bad(name, other, "a whole number ≥ 1"),
        }
    }

    /// Returns a name.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&'a str>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Text(v)) => Ok(Some(v)),
            Some(other) => self.bad(name, other, "a name"),
        }
    }

    /// Returns the position of a name in a list.
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

    /// Returns the value of the parameter `contrast`: what distinguishes the examples.
    pub(crate) fn contrast(&self) -> Result<Contrast, FitError> {
        let names = Contrast::ALL.map(Contrast::name);
        let named = self.one_of("contrast", &names, "groups or languages")?;
        Ok(Contrast::ALL[named.unwrap_or(0)])
    }

    /// Returns the value of the parameter `reduce` for methods that score units by a sentence's largest or mean
    /// value.
    pub(crate) fn max_or_mean(&self) -> Result<Reduce, FitError> {
        let named = self.one_of("reduce", &["max", "mean"], "max or mean")?;
        Ok([Reduce::Max, Reduce::Mean][named.unwrap_or(0)])
    }

    /// Returns the value of the parameter `reduce` for methods whose example is a sentence's mean or last state.
    pub(crate) fn mean_or_last(&self) -> Result<Reduce, FitError> {
        let named = self.one_of("reduce", &["mean", "last"], "mean or last")?;
        Ok([Reduce::Mean, Reduce::Last][named.unwrap_or(0)])
    }

    /// Returns the value of the parameter `scope`: whether hooks are ranked together.
    pub(crate) fn scope(&self, default: Span) -> Result<Span, FitError> {
        let named = self.one_of("scope", &["site", "all"], "site or all")?;
        Ok(named.map_or(default, |at| [Span::Site, Span::Sites][at]))
    }

    /// Returns a boolean.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Flag(v)) => Ok(Some(*v)),
            Some(other) => self.bad(name, other, "true or false"),
        }
    }
}

/// Returns the rank that was asked for, or the default, after checking it against `1..=max`.
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

/// Returns the number of units that was asked for, after checking it against `1..=max`; otherwise the default, or all
/// if there are fewer.
pub(crate) fn units_within(
    method: &'static str,
    options: &FitOptions,
    default: usize,
    max: usize,
) -> Result<usize, FitError> {
    let units = options.units.unwrap_or(default.min(max));
    if units == 0 || units > max {
        return Err(FitError::UnitsOutOfRange { method, units, max });
    }
    Ok(units)
}
