//! The methods of an experiment and the sizes of their edits.

use interlingua_debias::{Contrast, Span};
use serde::{Deserialize, Serialize};

use super::{OneOrMany, Space};

/// One debiasing method with the sizes of its edits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodSpec {
    /// The name in the registry.
    pub name: String,
    /// The number of directions to remove, or several numbers to compare, for methods whose size it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<OneOrMany<usize>>,
    /// The number of units to change, or several numbers to compare, for methods whose size it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<OneOrMany<usize>>,
    /// The strengths, if they differ from [`super::Spec::strengths`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<OneOrMany<f64>>,
    /// The spaces in which the method is fitted, if they are not all of [`super::Spec::spaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spaces: Option<Vec<Space>>,
    /// The languages in which the method is fitted, if they differ from [`super::FitSpec::languages`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<FitOver>>,
    /// Further parameters of the method.
    #[serde(default)]
    pub params: std::collections::BTreeMap<String, interlingua_debias::Param>,
}

/// The languages in which a method is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FitOver {
    /// Each language alone.
    Each,
    /// All languages together.
    All,
    /// All languages except one; each is left out in turn.
    AllButOne,
}

impl FitOver {
    /// Returns the name in specs.
    pub fn name(self) -> &'static str {
        match self {
            FitOver::Each => "each",
            FitOver::All => "all",
            FitOver::AllButOne => "all-but-one",
        }
    }
}

/// The size of an edit, besides its strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// The number of directions that it removes.
    Rank(usize),
    /// The number of units that it changes.
    Units(usize),
    /// The edit is one vector and has no other size.
    Vector,
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Extent::Rank(rank) => write!(f, "rank {rank}"),
            Extent::Units(1) => f.write_str("1 unit"),
            Extent::Units(units) => write!(f, "{units} units"),
            Extent::Vector => f.write_str("one vector"),
        }
    }
}

impl MethodSpec {
    /// Returns the method, if there is one of this name.
    pub fn known(&self) -> Option<&'static dyn interlingua_debias::Debiaser> {
        interlingua_debias::by_name(&self.name).ok()
    }

    /// Returns the sizes of its edits.
    pub fn extents(&self) -> Vec<Extent> {
        let all = |values: &Option<OneOrMany<usize>>, of: fn(usize) -> Extent| -> Vec<Extent> {
            let values = values.iter().flat_map(OneOrMany::values);
            values.map(|&n| of(n)).collect()
        };
        match self.known().map(|method| method.size()) {
            Some(interlingua_debias::Size::Units) => all(&self.units, Extent::Units),
            Some(interlingua_debias::Size::Strength) => vec![Extent::Vector],
            _ => all(&self.rank, Extent::Rank),
        }
    }

    /// Returns the options of its fits, without size and seed.
    pub fn options(&self) -> interlingua_debias::FitOptions {
        interlingua_debias::FitOptions {
            params: self.params.clone(),
            ..Default::default()
        }
    }

    /// Returns how states become the vectors that the method learns from.
    pub fn reduce(&self) -> interlingua_debias::Reduce {
        self.demand().map(|d| d.reduce).unwrap_or_default()
    }

    /// Returns everything that the method demands, if the method exists and its parameters are valid.
    pub fn demand(&self) -> Option<interlingua_debias::Demand> {
        self.known()?.demand(&self.options()).ok()
    }

    /// Returns what distinguishes its examples.
    pub fn contrast(&self) -> Contrast {
        self.demand().map(|d| d.contrast).unwrap_or_default()
    }

    /// Returns how many of its sites the method needs to fit the edit of one.
    pub fn span(&self) -> Span {
        self.demand().map(|d| d.span).unwrap_or_default()
    }

    /// Returns the parameters as one string, such as `c=0.1,rounds=5`. It distinguishes the rows of this method from
    /// those of the same method with other parameters. It is `None` if every parameter has its default.
    pub fn params_name(&self) -> Option<String> {
        let defaults = interlingua_debias::by_name(&self.name).map_or(&[][..], |m| m.params());
        let set = self.params.iter().filter_map(|(name, value)| {
            let value = match value {
                interlingua_debias::Param::Text(text) => text.clone(),
                value => value.to_string(),
            };
            let number = |text: &str| text.parse::<f64>().ok();
            let is_own = defaults.iter().any(|own| {
                let same = own.default == value
                    || number(own.default).is_some_and(|own| number(&value) == Some(own));
                own.name == name && same
            });
            (!is_own).then(|| format!("{name}={value}"))
        });
        let set: Vec<String> = set.collect();
        (!set.is_empty()).then(|| set.join(","))
    }
}
