//! The stages that compute, one file each: text, model, states, spaces, edits, scores.
//!
//! Every stage has a key that is computed from its inputs, and stores its result in the cache. A stage whose result
//! is there does nothing.

mod benchmark;
mod evidence;
mod fit;
#[cfg(test)]
pub(crate) mod made;
mod material;
mod model;
mod pack;
mod probe;
mod retrieval;
mod score;
mod spaces;
mod states;
#[cfg(test)]
mod tests;
mod text;
mod weights;

pub use benchmark::{Judged, benchmark_stage, judging};
pub use fit::{Edits, Passes, fit_stage, write_interventions};
pub use material::Material;
pub use model::model_stage;
#[cfg(test)]
pub use probe::Verdict;
pub use probe::{Probed, probe_by_name, probe_stage};
#[cfg(test)]
pub use retrieval::Found as Findings;
pub use retrieval::{Retrieved, retrieval_stage};
pub use score::{Scores, score_stage};
pub use spaces::spaces_stage;
pub use states::{Captured, RowStates, Rows, SiteStates, sentence_vectors, states_stage};
pub use text::{data_digests, prepare_stage};

use std::path::Path;
use std::sync::Arc;

use interlingua_data::Language;
use interlingua_edits::{Edit, Factor, Tokens};
use interlingua_models::{Branch, Hook, Model, OnTokens, StateEdit};
use serde::de::DeserializeOwned;

use crate::ExperimentError;
use crate::cache::{Cache, Found};
use crate::plan::Plan;
use crate::progress::Event;
use crate::role::{Control, Role};
use crate::spec::{Reinsert, Space};
use interlingua_spaces::{SiteEdit, Spaces};

/// Runs stages one after another and reports on them.
pub struct Runner<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The cache of results.
    pub cache: Cache,
    /// The function that receives events.
    pub listener: &'a mut dyn FnMut(Event),
    /// The stages that are finished, with their durations.
    pub timings: Vec<Timing>,
}

/// A finished stage.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Timing {
    /// The name of the stage.
    pub stage: String,
    /// The duration in seconds.
    pub seconds: f64,
    /// Whether the complete result was in the cache.
    pub cached: bool,
    /// For a stage of many settings, how many different edits were computed and how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computed: Option<[usize; 2]>,
}

impl Runner<'_> {
    /// Runs one stage and reports its events and its duration.
    pub fn stage<T>(
        &mut self,
        name: &str,
        cached: bool,
        work: impl FnOnce(&mut Self) -> Result<T, ExperimentError>,
    ) -> Result<T, ExperimentError> {
        (self.listener)(Event::Stage {
            name: name.to_owned(),
            cached,
        });
        let start = std::time::Instant::now();
        let result = work(self)?;
        let seconds = start.elapsed().as_secs_f64();
        self.timings.push(Timing {
            stage: name.to_owned(),
            seconds,
            cached,
            computed: None,
        });
        (self.listener)(Event::Done { seconds });
        Ok(result)
    }

    /// Runs a stage that computes some of its results and finds the others in the cache.
    pub fn stage_of<T>(
        &mut self,
        name: &str,
        [computed, wanted]: [usize; 2],
        work: impl FnOnce(&mut Self) -> Result<T, ExperimentError>,
    ) -> Result<T, ExperimentError> {
        let result = self.stage(name, computed == 0, work)?;
        if let Some(timing) = self.timings.last_mut() {
            timing.computed = Some([computed, wanted]);
        }
        Ok(result)
    }

    /// Reads a JSON entry of the cache, if there is an undamaged one.
    pub fn load<T: DeserializeOwned>(
        &mut self,
        stage: &str,
        key: &str,
    ) -> Result<Option<T>, ExperimentError> {
        let found = self.cache.load(stage, key)?;
        Ok(self.usable(found))
    }

    /// Returns whether the cache has an undamaged entry, a file or a folder, at this path; a damaged one is removed.
    pub fn has(&mut self, entry: &Path) -> Result<bool, ExperimentError> {
        let found = self.cache.check(entry)?;
        if matches!(found, Found::Damaged(_)) {
            self.cache.remove(entry)?;
        }
        Ok(self.usable(found).is_some())
    }

    /// Says that a damaged entry is not used.
    fn usable<T>(&mut self, found: Found<T>) -> Option<T> {
        match found {
            Found::Whole(value) => Some(value),
            Found::Nothing => None,
            Found::Damaged(problem) => {
                let what = format!("{problem}; it is not used, and computed again");
                (self.listener)(Event::Note(what));
                None
            }
        }
    }

    fn progress(&mut self, done: usize, total: usize, note: String) {
        (self.listener)(Event::Progress { done, total, note });
    }

    /// Progress of a pass with so many settings: a terminal needs a few dozen updates, not one per pack.
    fn few_updates(&mut self, settings: usize) -> impl FnMut(usize, usize) {
        let mut last = 0;
        move |done, total| {
            let fiftieth = (50.0 * done as f64 / total.max(1) as f64) as usize;
            if fiftieth != last {
                last = fiftieth;
                self.progress(done, total, format!("{settings} settings"));
            }
        }
    }
}

/// The model with all the edits of the plan.
pub struct Edited<'a> {
    /// The model.
    pub model: &'a Model,
    /// The key of what the model computes: its digest and the device.
    pub model_key: String,
    /// The hooks of the plan.
    pub hooks: Vec<Hook>,
    /// The spaces at each hook.
    pub sites: Vec<Arc<Spaces>>,
    /// The edits of each setting of the plan, one for each hook of its place.
    pub edits: Edits,
    /// The key of all of this.
    pub upstream: String,
}

/// One edit as it is applied to text in one language.
struct Step {
    /// Place of its hook point in the plan.
    site: usize,
    space: Space,
    reinsert: Reinsert,
    tokens: Tokens,
    edit: Edit,
}

impl Edited<'_> {
    /// What a setting does to text in a language; nothing for the unedited model.
    fn steps(
        &self,
        plan: &Plan,
        setting: usize,
        language: Language,
    ) -> Result<Vec<Step>, ExperimentError> {
        let edits = self.edits[setting].iter().flatten();
        let setting = &plan.settings[setting];
        let Some(space) = setting.space else {
            return Ok(Vec::new());
        };
        let step = |(&site, edit): (&usize, &Edit)| {
            // A random subspace holds some of the language's mean, which says nothing of groups: were
            // it taken away, the control would be worse than chance. Other edits have no such mean, and a random change
            // of weights has the form of its method, which subtracts none.
            let erases = setting.rank().is_some() && matches!(edit.right(), Factor::Dense(_));
            let edit = match erases && setting.role == Role::Control(Control::Random) {
                true => edit.around(self.sites[site].mean(space, language))?,
                false => edit.clone(),
            };
            Ok(Step {
                site,
                space,
                reinsert: setting.reinsert.unwrap_or(Reinsert::Residual),
                tokens: plan.spec.special_tokens.edited(),
                edit,
            })
        };
        plan.sites(setting).iter().zip(edits).map(step).collect()
    }

    /// Returns the keys of what some settings do to text in a language. The model's answers depend on nothing else,
    /// so a result that was computed under one key is valid for every setting that has it.
    ///
    /// # Errors
    /// States whose mean is not finite.
    pub fn keys(
        &self,
        plan: &Plan,
        settings: &[usize],
        language: Language,
    ) -> Result<Vec<String>, ExperimentError> {
        let key = |&setting: &usize| {
            let steps = self.steps(plan, setting, language)?;
            let parts: Vec<_> = steps
                .iter()
                .map(|step| {
                    (
                        self.hooks[step.site].to_string(),
                        self.sites[step.site].key(step.space),
                        step.reinsert,
                        step.tokens,
                        digest(&step.edit),
                    )
                })
                .collect();
            Ok(Cache::key("edit", &parts))
        };
        settings.iter().map(key).collect()
    }

    /// Returns the edits of some settings, for text in one language.
    ///
    /// # Errors
    /// A language that a space was not fitted on, or states whose mean is not finite.
    pub fn site_edits(
        &self,
        plan: &Plan,
        settings: &[usize],
        language: Language,
    ) -> Result<SiteEdits, ExperimentError> {
        let edits = |&setting: &usize| {
            let steps = self.steps(plan, setting, language)?.into_iter();
            let edit = |step: Step| {
                let spaces = &self.sites[step.site];
                let edit = SiteEdit::new(spaces, step.space, step.reinsert, language, &step.edit)?;
                let tokens = step.tokens;
                Ok((self.hooks[step.site], OnTokens { edit, tokens }))
            };
            steps.map(edit).collect()
        };
        let found: Result<_, ExperimentError> = settings.iter().map(edits).collect();
        Ok(SiteEdits(found?))
    }
}

/// Digest of an edit's numbers.
fn digest(edit: &Edit) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |kind: &str, numbers: &[f64]| {
        hasher.update(kind.as_bytes());
        hasher.update(&(numbers.len() as u64).to_le_bytes());
        numbers.iter().for_each(|x| {
            hasher.update(&x.to_le_bytes());
        });
    };
    add("edit", &[edit.dim() as f64]);
    add("offset", edit.offset());
    for factor in [edit.left(), edit.right()] {
        match factor {
            Factor::Dense(matrix) => add("dense", matrix.data()),
            Factor::Units(units, weights) => {
                add(
                    "units",
                    &units.iter().map(|&u| f64::from(u)).collect::<Vec<_>>(),
                );
                add("weights", weights);
            }
            Factor::Zero => add("zero", &[]),
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The edits with their hooks, by setting; empty for the unedited model.
pub struct SiteEdits(pub Vec<Vec<(Hook, OnTokens<SiteEdit>)>>);

impl SiteEdits {
    /// Returns the branches in which the engine applies these edits.
    pub fn branches(&self) -> Vec<Branch<'_>> {
        fn branch(edits: &[(Hook, OnTokens<SiteEdit>)]) -> Branch<'_> {
            let edits = edits.iter();
            Branch {
                edits: edits
                    .map(|(hook, edit)| (*hook, edit as &dyn StateEdit))
                    .collect(),
            }
        }
        self.0.iter().map(|edits| branch(edits)).collect()
    }
}
