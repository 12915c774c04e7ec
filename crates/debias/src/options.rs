//! What a fit can be told: rank, seed, and the parameters of each method.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Contrast, FitError, Reduce, Span};

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

/// The mean of all languages, as a value of `toward`.
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
        help: "what a sentence's score of a unit is: its largest value over the tokens (max) or its mean (mean)",
    };
    pub(crate) const MEAN_OR_LAST: ParamSpec = ParamSpec {
        name: "reduce",
        default: "mean",
        help: "what of a sentence is an example: the mean of its states (mean) or the last one (last)",
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

    /// A positive, finite number.
    pub(crate) fn positive(&self, name: &'static str) -> Result<Option<f64>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Number(v)) if v.is_finite() && *v > 0.0 => Ok(Some(*v)),
            Some(other) => self.bad(name, other, "a positive number"),
        }
    }

    /// A number from 0 to 1.
    pub(crate) fn share(&self, name: &'static str) -> Result<Option<f64>, FitError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Param::Number(v)) if (0.0..=1.0).contains(v) => Ok(Some(*v)),
            Some(other) => self.bad(name, other, "a number from 0 to 1"),
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

    /// What tells examples apart: the parameter `contrast`.
    pub(crate) fn contrast(&self) -> Result<Contrast, FitError> {
        let names = Contrast::ALL.map(Contrast::name);
        let named = self.one_of("contrast", &names, "groups or languages")?;
        Ok(Contrast::ALL[named.unwrap_or(0)])
    }

    /// What of a sentence a unit is scored by: the parameter `reduce`.
    pub(crate) fn max_or_mean(&self) -> Result<Reduce, FitError> {
        let named = self.one_of("reduce", &["max", "mean"], "max or mean")?;
        Ok([Reduce::Max, Reduce::Mean][named.unwrap_or(0)])
    }

    /// What of a sentence is an example: the parameter `reduce`.
    pub(crate) fn mean_or_last(&self) -> Result<Reduce, FitError> {
        let named = self.one_of("reduce", &["mean", "last"], "mean or last")?;
        Ok([Reduce::Mean, Reduce::Last][named.unwrap_or(0)])
    }

    /// Whether hook points are looked at together: the parameter `scope`.
    pub(crate) fn scope(&self, default: Span) -> Result<Span, FitError> {
        let named = self.one_of("scope", &["site", "all"], "site or all")?;
        Ok(named.map_or(default, |at| [Span::Site, Span::Sites][at]))
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
