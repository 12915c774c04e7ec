//! Makes the interventions of candidates.

use interlingua_debias::control::random_like;
use interlingua_debias::{FitOptions, Matrix, by_name};
use interlingua_edits::{Intervention, Kind, Provenance, Site};

use crate::TuneError;
use crate::evidence::{Evidence, Sentences, failed};
use crate::recipe::{Recipe, Role};
use crate::text::Twins;

/// Returns the sentences of a fit: the two sentences of a set follow each other.
pub(crate) fn sentences(twins: &[Twins]) -> Sentences {
    let mut all = Sentences {
        classes: vec!["first".into(), "second".into()],
        ..Sentences::default()
    };
    for (set, twins) in twins.iter().enumerate() {
        for (class, text) in twins.sentences.iter().enumerate() {
            all.add(text, class, Some(set), twins.language);
        }
    }
    all
}

impl Evidence {
    /// Makes the intervention of a candidate: one edit at each of its hooks, each fitted on the unedited states.
    ///
    /// # Errors
    /// A method that does not exist, data on which it cannot be fitted, or a hook that was not captured.
    pub fn intervention(&self, recipe: &Recipe, seed: u64) -> Result<Intervention, TuneError> {
        let mut steps = Vec::new();
        let hooks = recipe.place.hooks();
        let options = FitOptions::with_rank(recipe.rank).seed(seed);
        let fitted = self.fit(by_name(&recipe.method)?, &options, &hooks, None)?;
        for (at, (hook, fitted)) in hooks.into_iter().zip(fitted).enumerate() {
            let x = self.at(hook)?;
            let edit = match recipe.role {
                Role::Method => fitted,
                Role::Random(draw) => {
                    let seed = seed ^ (draw << 20) ^ ((at as u64) << 40);
                    random_like(&fitted, seed).map_err(|e| failed(&recipe.method, &[hook], e))?
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
