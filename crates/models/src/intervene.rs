//! Applies interventions to a model: edits as tensors, and the branch that runs them.

use interlingua_backend::{Device, Tensor, from_rows, to_host};
use interlingua_edits::{Edit, Factor, Intervention, Kind};

use crate::engine::{LowRank, OnTokens, RowInfo, StateEdit};
use crate::{Branch, Hook, Model, ModelError};

/// An edit of the hidden states themselves, with its factors on a device.
#[derive(Debug, Clone)]
pub struct RawEdit(Form);

#[derive(Debug, Clone)]
enum Form {
    Identity,
    /// `h − (h·Rᵀ − b)·Lᵀ`.
    Erase(Box<LowRank>),
    /// `h + v`.
    Shift(Tensor<2>),
    /// Any other edit is applied on the host.
    Host(Box<Edit>),
}

impl RawEdit {
    /// Puts the factors of an edit on a device.
    pub fn new(edit: &Edit, device: &Device) -> RawEdit {
        let f32s = |m: &[f64]| m.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let form = match (edit.left(), edit.right()) {
            _ if edit.kind() == Kind::Identity => Form::Identity,
            (Factor::Dense(left), Factor::Dense(right)) => {
                let (k, d) = (left.rows(), left.cols());
                Form::Erase(Box::new(LowRank {
                    right: from_rows(f32s(right.data()), k, d, device).transpose(),
                    offset: from_rows(f32s(edit.offset()), 1, k, device),
                    left: from_rows(f32s(left.data()), k, d, device),
                }))
            }
            (Factor::Dense(left), Factor::Zero) => {
                let mut vector = vec![0.0; edit.dim()];
                for (k, &times) in edit.offset().iter().enumerate() {
                    for (v, l) in vector.iter_mut().zip(left.row(k)) {
                        *v += times * l;
                    }
                }
                Form::Shift(from_rows(f32s(&vector), 1, edit.dim(), device))
            }
            _ => Form::Host(Box::new(edit.clone())),
        };
        RawEdit(form)
    }
}

impl StateEdit for RawEdit {
    fn apply(&self, h: Tensor<2>, _: &RowInfo<'_>) -> Tensor<2> {
        match &self.0 {
            Form::Identity => h,
            Form::Erase(change) => change.apply(h),
            Form::Shift(vector) => h + vector.clone(),
            Form::Host(edit) => {
                let (device, [rows, cols]) = (h.device(), h.dims());
                let mut values = to_host(h);
                edit.apply_rows(&mut values)
                    .expect("the intervention was checked against the model's widths");
                from_rows(values, rows, cols, &device)
            }
        }
    }

    fn low_rank(&self) -> Option<LowRank> {
        match &self.0 {
            Form::Erase(change) => Some((**change).clone()),
            _ => None,
        }
    }
}

/// The steps of an intervention, ready to run on one model.
#[derive(Debug, Clone, Default)]
pub struct Steps(Vec<(Hook, OnTokens<RawEdit>)>);

impl Steps {
    /// Returns no steps, which means the unedited model.
    pub fn none() -> Steps {
        Steps::default()
    }

    /// Prepares the steps of an intervention.
    ///
    /// # Errors
    /// A model of other sizes than the intervention was made for, or a step in a space other than the hidden states
    /// themselves, because an intervention file does not hold the maps of a space.
    pub fn new(intervention: &Intervention, model: &Model) -> Result<Steps, ModelError> {
        intervention
            .check(&model.geometry.shape())
            .map_err(ModelError::Intervention)?;
        let mut steps = Vec::new();
        for (at, (site, edit)) in intervention.steps().iter().enumerate() {
            if !site.is_raw() {
                return Err(ModelError::OtherSpace {
                    step: at + 1,
                    hook: site.hook,
                    space: site.space.clone(),
                });
            }
            let edit = RawEdit::new(edit, &model.device);
            let tokens = site.tokens;
            steps.push((site.hook, OnTokens { edit, tokens }));
        }
        Ok(Steps(steps))
    }

    /// Returns the branch that runs these steps.
    pub fn branch(&self) -> Branch<'_> {
        let edits = self.0.iter();
        Branch {
            edits: edits
                .map(|(hook, edit)| (*hook, edit as &dyn StateEdit))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use interlingua_backend::device::cpu;
    use interlingua_edits::Matrix;

    use super::*;

    /// Every form on the device does what the edit does in f64.
    #[test]
    fn tensors_do_what_the_edit_does() {
        let number = |i: usize| ((i * 7919 + 13) % 101) as f64 / 50.0 - 1.0;
        let (rows, d) = (5, 6);
        let matrix =
            |rows, cols, salt| Matrix::from_fn(rows, cols, |i, j| number(i * 17 + j + salt));
        let mean: Vec<f64> = (0..d).map(number).collect();
        let erase = Edit::erase(matrix(d, 2, 1), matrix(2, d, 5), Some(&mean)).unwrap();
        let shift = Edit::shift(mean.clone()).unwrap();
        let edits = [
            Edit::identity(d),
            erase.clone(),
            shift.scaled(0.5).unwrap(),
            Edit::clamp(d, vec![1, 4], vec![2.0, -1.0]).unwrap(),
            shift.then(&erase).unwrap(),
        ];
        let states: Vec<f32> = (0..rows * d).map(|i| number(i * 3) as f32).collect();
        for edit in edits {
            let mut expected = states.clone();
            edit.apply_rows(&mut expected).unwrap();
            let raw = RawEdit::new(&edit, &cpu());
            let h = from_rows(states.clone(), rows, d, &cpu());
            let found = to_host(raw.apply(h.clone(), &RowInfo::new(&[], &[])));
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{:?}: {a} {b}", edit.kind());
            }
            if let Some(change) = raw.low_rank() {
                for (a, b) in to_host(change.apply(h)).iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-5, "{:?}: {a} {b}", edit.kind());
                }
            }
        }
    }
}
