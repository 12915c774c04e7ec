//! Steering by a mean difference: adds a constant vector that points from one group to another.
//!
//! # Source
//! The vector is the difference of the means of two sets of states. Rimsky et al., "Steering Llama 2 via Contrastive
//! Activation Addition", ACL 2024 (arXiv 2312.06681), use pairs and the last token; Marks and Tegmark 2023 (arXiv
//! 2310.06824) use unpaired sets.
//!
//! Formula: v = mean of the examples of `to` − mean of the examples of `from`; x ↦ x + v. Nothing is normalised,
//! because v must have the size of the states that it is added to; the strength says how much of it is added
//! ([`crate::Edit::scaled`]).
//!
//! [`super::mean_shift`] does the same with counterfactual sets, and moves states only to the middle between groups.
//!
//! # Shapes
//! x is n×d, and v has d values.

use super::mean_shift::mean;
use crate::fitted::named;
use crate::options::{ParamSpec, Params};
use crate::{Debiaser, Edit, FitData, FitError, FitOptions, Fitted, Needs, Reduce, Size};
use interlingua_edits::{axpy, norm};

/// Steering. There is one vector, so there is no rank. Examples of other groups and of no group are not read.
///
/// Notes of the fit: `length` is ‖v‖; `from` and `to` are the numbers of examples in each mean.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steering;

const REDUCE: [&str; 4] = ["mean", "last", "max", "tokens"];

impl Debiaser for Steering {
    fn name(&self) -> &'static str {
        "steering"
    }

    fn title(&self) -> &'static str {
        "Steering"
    }

    fn citation(&self) -> &'static str {
        "Rimsky et al. 2024, arXiv 2312.06681; Marks and Tegmark 2023, arXiv 2310.06824"
    }

    fn summary(&self) -> &'static str {
        "Adds the vector that leads from the mean of one group to that of another."
    }

    fn docs(&self) -> &'static str {
        "methods/steering.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            groups: true,
            ..Needs::default()
        }
    }

    fn reduce(&self, options: &FitOptions) -> Result<Reduce, FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        let named = params.one_of("reduce", &REDUCE, "mean, last, max or tokens")?;
        Ok(Reduce::ALL[named.unwrap_or(0)])
    }

    fn size(&self) -> Size {
        Size::Strength
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec {
                name: "from",
                default: "the first group",
                help: "name of the group to steer away from",
            },
            ParamSpec {
                name: "to",
                default: "the next group",
                help: "name of the group to steer toward",
            },
            ParamSpec {
                name: "reduce",
                default: "mean",
                help: "which vector of a sentence is an example: the mean of its states, the last one, the largest value of \
                       each unit (max), or each of its tokens (tokens)",
            },
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("from")?;
        params.text("to")?;
        self.reduce(options).map(|_| ())
    }

    fn check_groups(&self, options: &FitOptions, groups: &[&str]) -> Result<(), FitError> {
        ends(options, groups).map(|_| ())
    }

    fn max_rank(&self, _classes: usize, _groups: usize, _dim: usize) -> usize {
        1
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        self.check(options)?;
        data.check()?;
        let groups = data.require_groups(self.name())?;
        let names: Vec<&str> = groups.iter().map(|&g| data.classes[g].as_str()).collect();
        let (from, to) = ends(options, &names)?;
        let rows = |group: usize| -> Vec<usize> {
            let all = 0..data.label.len();
            all.filter(|&row| data.label[row] == groups[group])
                .collect()
        };
        let (from, to) = (rows(from), rows(to));
        let mut vector = mean(&data.x, &to);
        axpy(-1.0, &mean(&data.x, &from), &mut vector);
        let notes = [
            ("length", norm(&vector)),
            ("from", from.len() as f64),
            ("to", to.len() as f64),
        ];
        let edit = Edit::shift(vector).map_err(|_| FitError::Overflow {
            what: "the difference of the means",
        })?;
        Ok(Fitted {
            edit,
            notes: named(notes),
        })
    }
}

/// Places of the two groups among these.
fn ends(options: &FitOptions, groups: &[&str]) -> Result<(usize, usize), FitError> {
    let params = Params::new(Steering.name(), Steering.params(), options)?;
    let place = |name: &'static str| match params.text(name)? {
        None => Ok(None),
        Some(group) => match groups.iter().position(|&g| g == group) {
            Some(at) => Ok(Some(at)),
            None => Err(FitError::UnknownGroup {
                method: Steering.name(),
                name: group.to_owned(),
                groups: groups.iter().map(|&g| g.to_owned()).collect(),
            }),
        },
    };
    let (from, to) = (place("from")?, place("to")?);
    // The first group that the other end is not.
    let other = |than: Option<usize>| usize::from(than == Some(0));
    let from = from.unwrap_or_else(|| other(to));
    let to = to.unwrap_or_else(|| other(Some(from)));
    if from == to {
        return Err(FitError::BadParam {
            method: Steering.name(),
            name: "to",
            value: format!("\"{}\"", groups[to]),
            expected: "another group than `from`",
        });
    }
    Ok((from, to))
}
