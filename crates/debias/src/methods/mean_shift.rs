//! Counterfactual mean shift: steers states away from one group, towards the centre.
//!
//! # Source
//! A steering vector is a mean difference of states that differ in one respect:
//! Turner et al., "Activation Addition", 2023 (arXiv 2308.10248); over many pairs
//! Rimsky et al., "Steering Llama 2 via Contrastive Activation Addition", ACL 2024
//! (arXiv 2312.06681). Here the pairs are counterfactual sets, and the aim is the
//! middle of a set instead of its other side.
//!
//! Formula: v = mean over the sets T of (mean of T − mean of the members of T that are of group `from`); x ↦ x + v.
//! For pairs (a, b), v is the mean of (b − a)/2; with strength 2 ([`crate::Edit::scaled`]) it is the vector of Rimsky
//! et al.
//!
//! Every set has the same weight, whatever its size. Nothing is normalised, because v must have the size of the
//! states that it is added to. The shift is constant: it moves states of *every* group by v, and removes nothing.
//!
//! # Shapes
//! x is n×d, and v has d values.

use crate::fitted::named;
use crate::options::{ParamSpec, Params, rank_within};
use crate::{Debiaser, Edit, FitData, FitError, FitOptions, Fitted, Matrix, Needs, Size};
use interlingua_edits::{axpy, norm};

/// Counterfactual mean shift. There is one vector, so a rank other than 1 is refused. Sets without a member of
/// `from`, or without any other member, are not read.
///
/// Notes of the fit: `sets` is the number of sets that were read, and `length` is ‖v‖. `consistency` is ‖v‖ over the
/// mean length of the shifts of single sets: it is 1 if all sets agree, and near 0 if their shifts point in all
/// directions and cancel.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeanShift;

impl Debiaser for MeanShift {
    fn name(&self) -> &'static str {
        "mean-shift"
    }

    fn title(&self) -> &'static str {
        "Counterfactual mean shift"
    }

    fn citation(&self) -> &'static str {
        "Turner et al. 2023, arXiv 2308.10248; Rimsky et al. 2024, arXiv 2312.06681"
    }

    fn summary(&self) -> &'static str {
        "Adds a constant vector that leads from one group to the middle of its counterfactuals."
    }

    fn docs(&self) -> &'static str {
        "methods/mean-shift.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            tuples: true,
            classes: 2,
            groups: true,
            ..Needs::default()
        }
    }

    fn size(&self) -> Size {
        Size::Strength
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[ParamSpec {
            name: "from",
            default: "the first group",
            help: "name of the group to steer away from",
        }]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("from").map(|_| ())
    }

    fn check_groups(&self, options: &FitOptions, groups: &[&str]) -> Result<(), FitError> {
        from(options, groups).map(|_| ())
    }

    fn max_rank(&self, _classes: usize, _groups: usize, _dim: usize) -> usize {
        1
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        Params::new(self.name(), self.params(), options)?;
        data.check()?;
        rank_within(self.name(), options, 1, 1)?;
        let groups = data.require_groups(self.name())?;
        let names: Vec<&str> = groups.iter().map(|&g| data.classes[g].as_str()).collect();
        let from = groups[from(options, &names)?];
        let is_from = |&row: &usize| data.label[row] == from;
        let mut vector = vec![0.0; data.dim()];
        let (mut sets, mut lengths) = (0.0, 0.0);
        for rows in data.tuples(self.name())? {
            let members: Vec<usize> = rows.iter().copied().filter(is_from).collect();
            if members.is_empty() || members.len() == rows.len() {
                continue;
            }
            let mut shift = mean(&data.x, &rows);
            axpy(-1.0, &mean(&data.x, &members), &mut shift);
            sets += 1.0;
            lengths += norm(&shift);
            // A running mean, which does not overflow where a sum would.
            let step: Vec<f64> = shift.iter().zip(&vector).map(|(s, v)| s - v).collect();
            axpy(1.0 / sets, &step, &mut vector);
        }
        if sets == 0.0 {
            return Err(FitError::NoContrast {
                method: self.name(),
                group: data.classes[from].clone(),
            });
        }
        let length = norm(&vector);
        let consistency = if lengths > 0.0 {
            length / (lengths / sets)
        } else {
            0.0
        };
        let notes = [
            ("sets", sets),
            ("length", length),
            ("consistency", consistency),
        ];
        let edit = Edit::shift(vector).map_err(|_| FitError::Overflow {
            what: "the mean of the shifts",
        })?;
        Ok(Fitted {
            edit,
            notes: named(notes),
        })
    }
}

/// Which of these groups to steer away from.
fn from(options: &FitOptions, groups: &[&str]) -> Result<usize, FitError> {
    let Some(name) = Params::new(MeanShift.name(), MeanShift.params(), options)?.text("from")?
    else {
        return Ok(0);
    };
    groups
        .iter()
        .position(|&group| group == name)
        .ok_or_else(|| FitError::UnknownGroup {
            method: MeanShift.name(),
            name: name.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        })
}

pub(super) fn mean(x: &Matrix, rows: &[usize]) -> Vec<f64> {
    let mut mean = vec![0.0; x.cols()];
    for &row in rows {
        axpy(1.0 / rows.len() as f64, x.row(row), &mut mean);
    }
    mean
}
