//! Language arithmetics adds values to the units of one language, and switches off the units of another.
//!
//! # Source
//! Gurgurov et al., "Language Arithmetics: Towards Systematic Language Neuron Identification and Manipulation" (arXiv 2507.22608), on
//! the units that LAPE finds (arXiv 2402.16438).
//!
//! Formula: the units of a language are those of [`super::lape`], with p(u, l) the share of the tokens of language l at which u is above
//! zero. With a(u, l) the mean of u over the tokens of l and L the language of the fit, a unit u of L becomes
//!
//! | `action` | x\[u\] ↦ |
//! |---|---|
//! | `add` | x\[u\] + a(u, L) |
//! | `replace` | a(u, L) |
//! | `difference` | x\[u\] + a(u, L) − mean of a(u, l) over the other languages |
//! | `deactivate` | `off` |
//!
//! and with `away` every unit of that language, unless it is of L too, becomes `off`. In the paper the units are gates behind the activation;
//! here they are what the hook point has, and `block.L.gate` lies before it.
//!
//! # Shapes
//! x tokens×d at each site.

use super::lape::{Active, Specific, count, specific};
use crate::control::random_units;
use crate::fitted::named;
use crate::options::{ParamSpec, Params};
use crate::units::{place, positives};
use crate::{
    Contrast, Debiaser, Edit, Evidence, FitData, FitError, FitOptions, FittedSites, Needs, Reduce,
    Size, Span,
};
use interlingua_edits::Factor;

/// The method language arithmetics. Every token is an example.
///
/// Notes: `taken`, units of the language that are changed; `away`, units of the other language that are switched off; `eligible`, units that may be
/// language-specific.
#[derive(Debug, Clone, Copy, Default)]
pub struct LanguageArithmetics;

const DEFAULT_OFF: f64 = -1.0;
const ACTION: [&str; 4] = ["add", "replace", "difference", "deactivate"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Add,
    Replace,
    Difference,
    Deactivate,
}

/// A unit of one language with what it becomes: whether its own value stays, and what is added to what stays.
#[derive(Debug, Clone, Copy)]
struct Change {
    unit: usize,
    stays: bool,
    value: f64,
}

impl Debiaser for LanguageArithmetics {
    fn name(&self) -> &'static str {
        "language-arithmetics"
    }

    fn title(&self) -> &'static str {
        "Language arithmetics"
    }

    fn citation(&self) -> &'static str {
        "Gurgurov et al. 2025, arXiv 2507.22608"
    }

    fn summary(&self) -> &'static str {
        "Adds to the units of one language, and switches off those of another."
    }

    fn docs(&self) -> &'static str {
        "methods/language-arithmetics.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn reduce(&self, options: &FitOptions) -> Result<Reduce, FitError> {
        let _ = options;
        Ok(Reduce::Tokens)
    }

    fn size(&self) -> Size {
        Size::Units
    }

    fn span(&self, options: &FitOptions) -> Result<Span, FitError> {
        let _ = options;
        Ok(Span::Sites)
    }

    fn contrast(&self, options: &FitOptions) -> Result<Contrast, FitError> {
        let _ = options;
        Ok(Contrast::Languages)
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec::GROUP,
            ParamSpec {
                name: "action",
                default: "add",
                help: "what becomes of the units of the language of the fit: its mean is added (add) or put in their place (replace), \
                       its mean minus that of the other languages is added (difference), or they are switched off (deactivate)",
            },
            ParamSpec {
                name: "away",
                default: "none",
                help: "another language, whose units are switched off",
            },
            ParamSpec {
                name: "off",
                default: "-1",
                help: "the value of units that are switched off",
            },
            super::lape::FILTER,
            super::lape::ACTIVE,
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("group")?;
        params.text("away")?;
        params.number("off")?;
        params.share("filter")?;
        params.share("active")?;
        action(&params).map(|_| ())
    }

    fn check_groups(&self, options: &FitOptions, groups: &[&str]) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        place(self.name(), params.text("group")?, groups)?;
        match params.text("away")? {
            None => Ok(()),
            named => place(self.name(), named, groups).map(|_| ()),
        }
    }

    fn fit_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
    ) -> Result<FittedSites, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        let (action, off) = (
            action(&params)?,
            params.number("off")?.unwrap_or(DEFAULT_OFF),
        );
        let dims = evidence.dims().to_vec();
        let Found {
            units,
            means,
            own,
            names,
        } = find(self.name(), evidence, params.text("group")?)?;
        let away = match params.text("away")? {
            None => None,
            named => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Some(place(self.name(), named, &names)?)
            }
        };
        let count = count(self.name(), options, units.len())?;
        let Specific {
            units: chosen,
            active,
            there_are,
            ..
        } = specific(
            &units,
            count,
            [params.share("filter")?, params.share("active")?],
        );
        let mut changes: Vec<Vec<Change>> = vec![Vec::new(); dims.len()];
        let (mut taken, mut left) = (0, 0);
        for unit in chosen {
            let is_of = |language: usize| unit.shares[language] > active;
            let means = &means[unit.site][unit.unit];
            let change = if is_of(own) {
                taken += 1;
                change(unit.unit, action, off, means, own)
            } else if away.is_some_and(is_of) {
                left += 1;
                change(unit.unit, Action::Deactivate, off, means, own)
            } else {
                continue;
            };
            changes[unit.site].push(change);
        }
        if taken + left == 0 {
            return Err(FitError::NoUnits {
                method: self.name(),
                reason: format!(
                    "of {} language-specific units ({there_are} may be), none is active at more than {active} of the tokens of the \
                     language of the fit; ask for more units",
                    count.min(there_are)
                ),
            });
        }
        let edits = dims
            .iter()
            .zip(changes)
            .map(|(&dim, changes)| edit(dim, changes));
        let notes = [
            ("taken", taken as f64),
            ("away", left as f64),
            ("eligible", there_are as f64),
        ];
        Ok(FittedSites {
            edits: edits.collect::<Result<_, _>>()?,
            notes: named(notes),
        })
    }

    /// As many random units with the same changes, in their order.
    fn control(
        &self,
        data: &FitData,
        options: &FitOptions,
        fitted: &Edit,
    ) -> Result<Edit, FitError> {
        let drawn = random_units(data.dim(), fitted.offset().len(), options.seed);
        let stays = match fitted.right() {
            Factor::Units(_, weights) => weights.iter().map(|w| *w == 0.0).collect(),
            _ => vec![true; fitted.offset().len()],
        };
        let changes = drawn.into_iter().zip(stays).zip(fitted.offset());
        let change = |((unit, stays), &value): ((usize, bool), &f64)| Change { unit, stays, value };
        edit(data.dim(), changes.map(change).collect())
    }
}

fn action(params: &Params<'_>) -> Result<Action, FitError> {
    let named = params.one_of("action", &ACTION, "add, replace, difference or deactivate")?;
    let all = [
        Action::Add,
        Action::Replace,
        Action::Difference,
        Action::Deactivate,
    ];
    Ok(all[named.unwrap_or(0)])
}

/// What a unit becomes; `means` is a(u, l) of every language.
fn change(unit: usize, action: Action, off: f64, means: &[f64], own: usize) -> Change {
    let others = means.iter().enumerate().filter(|(l, _)| *l != own);
    let others = others.map(|(_, a)| a).sum::<f64>() / (means.len() - 1) as f64;
    let (stays, value) = match action {
        Action::Add => (true, means[own]),
        Action::Replace => (false, means[own]),
        Action::Difference => (true, means[own] - others),
        Action::Deactivate => (false, off),
    };
    Change { unit, stays, value }
}

/// One edit that sets some units and adds to others: x − (w·x − b) on each unit, w 0 where its own value stays.
fn edit(dim: usize, mut changes: Vec<Change>) -> Result<Edit, FitError> {
    if changes.is_empty() {
        return Ok(Edit::identity(dim));
    }
    changes.sort_by_key(|change| change.unit);
    let units: Vec<u32> = changes.iter().map(|c| c.unit as u32).collect();
    let ones = vec![1.0; units.len()];
    let own = changes.iter().map(|c| f64::from(u8::from(!c.stays)));
    let right = match changes.iter().all(|c| c.stays) {
        true => Factor::Zero,
        false => Factor::Units(units.clone(), own.collect()),
    };
    let values = changes.iter().map(|c| c.value).collect();
    let made = Edit::new(dim, Factor::Units(units, ones), right, values);
    made.map_err(|_| FitError::Overflow {
        what: "the mean of a unit",
    })
}

/// What the tokens say of every unit.
struct Found {
    units: Vec<Active>,
    /// a(u, l), by site, unit and language.
    means: Vec<Vec<Vec<f64>>>,
    /// Place of the language of the fit.
    own: usize,
    /// Languages that have tokens.
    names: Vec<String>,
}

fn find(
    method: &'static str,
    evidence: &mut dyn Evidence,
    group: Option<&str>,
) -> Result<Found, FitError> {
    let mut found = Found {
        units: Vec::new(),
        means: Vec::new(),
        own: 0,
        names: Vec::new(),
    };
    for site in 0..evidence.dims().len() {
        let data = evidence.at(site)?;
        let positive = positives(method, &data, group)?;
        let languages = data.present();
        let is_own = |class: &usize| {
            let mut rows = data.label.iter().zip(&positive);
            rows.any(|(label, positive)| label == class && *positive)
        };
        found.own = languages.iter().position(is_own).unwrap_or(0);
        found.names = languages.iter().map(|&c| data.classes[c].clone()).collect();
        let mut counts = vec![0.0; languages.len()];
        let mut sums = vec![vec![(0.0, 0.0); languages.len()]; data.dim()];
        for (row, label) in data.label.iter().enumerate() {
            let Some(language) = languages.iter().position(|c| c == label) else {
                continue;
            };
            counts[language] += 1.0;
            for (sums, &x) in sums.iter_mut().zip(data.x.row(row)) {
                sums[language].0 += x;
                sums[language].1 += f64::from(u8::from(x > 0.0));
            }
        }
        let mut means = Vec::with_capacity(data.dim());
        for (unit, sums) in sums.iter().enumerate() {
            let of = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
                sums.iter().zip(&counts).map(|(s, n)| pick(s) / n).collect()
            };
            means.push(of(|s| s.0));
            let shares = of(|s| s.1);
            found.units.push(Active { site, unit, shares });
        }
        found.means.push(means);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Matrix, Param};

    /// Twelve tokens of three languages. Unit 0 is on in `nl` alone, at 2, 4, 3; unit 1 in `de` alone, at 5; unit 2 everywhere; the
    /// rest nowhere.
    fn data() -> FitData {
        let dim = 200;
        let at = |row: usize, unit: usize| match (row / 4, unit) {
            (0, 0) => [2.0, 4.0, 3.0, 3.0][row % 4],
            (1, 1) => 5.0,
            (_, 2) => 1.0 + row as f64,
            (2, 0) => -0.5,
            _ => -1.0,
        };
        FitData {
            x: Matrix::from_fn(12, dim, at),
            label: (0..12).map(|row| row / 4).collect(),
            tuple: vec![None; 12],
            classes: vec!["nl".into(), "de".into(), "en".into()],
            ..FitData::default()
        }
    }

    fn fitted(params: &[(&str, Param)]) -> Result<crate::Fitted, FitError> {
        let mut options = FitOptions {
            units: Some(2),
            ..FitOptions::default()
        };
        for (name, value) in params {
            options.params.insert((*name).to_owned(), value.clone());
        }
        LanguageArithmetics.fit(&data(), &options)
    }

    fn text(value: &str) -> Param {
        Param::Text(value.to_owned())
    }

    #[test]
    fn units_of_a_language_become_what_the_action_says() {
        let of = |params: &[(&str, Param)]| {
            let fitted = fitted(params).unwrap();
            let mut x = Matrix::new(1, 200, vec![10.0; 200]).unwrap();
            fitted.edit.apply_matrix(&mut x).unwrap();
            let changed = x.row(0).iter().filter(|v| **v != 10.0).count();
            (x.at(0, 0), x.at(0, 1), changed)
        };
        let action = |name: &str| ("action", text(name));
        assert_eq!(of(&[]), (13.0, 10.0, 1));
        assert_eq!(of(&[action("replace")]), (3.0, 10.0, 1));
        // The mean of the others is that of −1 and −0.5.
        assert_eq!(of(&[action("difference")]), (13.75, 10.0, 1));
        assert_eq!(of(&[action("deactivate")]), (-1.0, 10.0, 1));
        let off = ("off", Param::Number(-2.5));
        assert_eq!(of(&[action("deactivate"), off.clone()]), (-2.5, 10.0, 1));
        assert_eq!(of(&[("away", text("de")), off]), (13.0, -2.5, 2));
        assert_eq!(of(&[("group", text("de"))]), (10.0, 15.0, 1));
    }

    #[test]
    fn the_control_changes_as_many_random_units_alike() {
        for (params, count) in [(vec![("away", text("de"))], 2), (vec![], 1)] {
            let edit = fitted(&params).unwrap().edit;
            let drawn = LanguageArithmetics
                .control(&data(), &FitOptions::default().seed(4), &edit)
                .unwrap();
            assert_eq!((drawn.kind(), drawn.offset()), (edit.kind(), edit.offset()));
            assert_eq!(drawn.offset().len(), count);
            assert_ne!(drawn.left(), edit.left());
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let check = |params: &[(&str, Param)]| fitted(params).unwrap_err();
        assert!(matches!(
            check(&[("away", text("fr"))]),
            FitError::UnknownGroup { .. }
        ));
        let action = check(&[("action", text("double"))]);
        assert!(matches!(action, FitError::BadParam { name: "action", .. }));
        let off = check(&[("off", Param::Number(f64::NAN))]);
        assert!(matches!(off, FitError::BadParam { name: "off", .. }));
        // No unit is on in English alone.
        let none = check(&[("group", text("en"))]);
        assert!(matches!(none, FitError::NoUnits { .. }), "{none}");
    }
}
