//! Makes edits from sentences: the states at every hook are read in one pass, and methods are fitted on them.

use std::collections::BTreeMap;

use interlingua_debias::control::random_like;
use interlingua_debias::{FitData, FitError, FitOptions, Matrix, by_name};
use interlingua_edits::{Edit, Hook, Intervention, Kind, ModelShape, Provenance, Site};
use interlingua_models::engine::capture;
use interlingua_models::{Capture, Model, Pooling};

use crate::TuneError;
use crate::recipe::{Recipe, Role};
use crate::text::Twins;

/// The mean states of the sentences on which edits are fitted.
pub struct Evidence {
    shape: ModelShape,
    /// `[2·twins][width]`: the two sentences of a set follow each other.
    states: BTreeMap<Hook, Matrix>,
    languages: Vec<usize>,
}

impl Evidence {
    /// Runs the model once over all sentences and keeps the mean over the text tokens at each hook.
    ///
    /// # Errors
    /// A hook that the model lacks, and whatever stops the pass.
    pub fn capture(
        model: &Model,
        twins: &[Twins],
        hooks: &[Hook],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Evidence, TuneError> {
        let shape = model.geometry.shape();
        let rows = 2 * twins.len();
        let mut sequences = Vec::with_capacity(rows);
        for sentence in twins.iter().flat_map(|t| &t.sentences) {
            sequences.push(model.sequence(sentence)?);
        }
        let captures: Vec<Capture> = hooks
            .iter()
            .map(|&hook| Capture {
                hook,
                pooling: Pooling::Mean,
            })
            .collect();
        let mut found = Vec::new();
        for &hook in hooks {
            found.push(vec![0.0f32; rows * shape.width(hook)?]);
        }
        let mut sink = |at: usize, sequence: usize, row: &[f32]| {
            found[at][sequence * row.len()..][..row.len()].copy_from_slice(row);
            Ok(())
        };
        capture(model, &sequences, &captures, &mut sink, progress)?;
        let states = hooks.iter().zip(&found).map(|(&hook, values)| {
            let width = values.len() / rows.max(1);
            let value = |i: usize, j: usize| f64::from(values[i * width + j]);
            (hook, Matrix::from_fn(rows, width, value))
        });
        Ok(Evidence {
            states: states.collect(),
            shape,
            languages: twins.iter().flat_map(|t| [t.language; 2]).collect(),
        })
    }

    /// Makes the intervention of a candidate: one edit at each of its hooks, each fitted on the unedited states.
    ///
    /// # Errors
    /// A method that does not exist, data on which it cannot be fitted, or a hook that was not captured.
    pub fn intervention(&self, recipe: &Recipe, seed: u64) -> Result<Intervention, TuneError> {
        let mut steps = Vec::new();
        for (at, hook) in recipe.place.hooks().into_iter().enumerate() {
            let x = self.states.get(&hook).ok_or_else(|| TuneError::Setting {
                name: "hook",
                value: hook.to_string(),
                expected: "one whose states were captured".into(),
            })?;
            let fitted = self.fitted(recipe, x, hook, seed)?;
            let edit = match recipe.role {
                Role::Method => fitted,
                Role::Random(draw) => {
                    let seed = seed ^ (draw << 20) ^ ((at as u64) << 40);
                    random_like(&fitted, seed).map_err(|e| failed(recipe, hook, e))?
                }
            };
            // A random direction holds some of the states' mean, which says nothing of groups: were it taken
            // away too, the control would be worse than chance.
            let centred = recipe.centred || recipe.role != Role::Method;
            let edit = match centred && edit.kind() == Kind::Erase {
                true => edit.around(&mean(x))?,
                false => edit,
            };
            let site = Site::raw(hook, recipe.place.tokens());
            steps.push((site, edit.scaled(recipe.strength)?));
        }
        let notes = [
            ("rank", recipe.rank.to_string()),
            ("strength", recipe.strength.to_string()),
            ("place", recipe.place.to_string()),
            ("centred", recipe.centred.to_string()),
        ];
        let provenance = Provenance {
            method: Some(match recipe.role {
                Role::Method => recipe.method.clone(),
                Role::Random(_) => "random".into(),
            }),
            notes: notes.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            ..Provenance::default()
        };
        Ok(Intervention::new(self.shape.clone(), steps, provenance)?)
    }

    fn fitted(
        &self,
        recipe: &Recipe,
        x: &Matrix,
        hook: Hook,
        seed: u64,
    ) -> Result<Edit, TuneError> {
        let rows = x.rows();
        let data = FitData {
            x: x.clone(),
            label: (0..rows).map(|row| row % 2).collect(),
            tuple: (0..rows).map(|row| Some(row / 2)).collect(),
            classes: vec!["first".into(), "second".into()],
            language: self.languages.clone(),
            ..FitData::default()
        };
        let options = FitOptions::with_rank(recipe.rank).seed(seed);
        let fitted = by_name(&recipe.method)?.fit(&data, &options);
        Ok(fitted.map_err(|e| failed(recipe, hook, e))?.edit)
    }
}

fn failed(recipe: &Recipe, hook: Hook, source: FitError) -> TuneError {
    TuneError::Fit {
        method: recipe.method.clone(),
        hook: hook.to_string(),
        source,
    }
}

/// Mean of the rows.
fn mean(x: &Matrix) -> Vec<f64> {
    let mut mean = vec![0.0; x.cols()];
    for row in 0..x.rows() {
        for (m, v) in mean.iter_mut().zip(x.row(row)) {
            *m += v / x.rows() as f64;
        }
    }
    mean
}
