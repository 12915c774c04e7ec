//! The computing stages, one file each: text, model, states, spaces, edits, scores.
//!
//! Every stage has a key from what goes into it and leaves its result in the
//! cache; a stage whose result is there does nothing.

mod benchmark;
mod fit;
mod model;
mod probe;
mod score;
mod spaces;
mod states;
mod text;

pub use benchmark::{Judged, benchmark_stage};
pub use fit::fit_stage;
pub use model::model_stage;
pub use probe::{Probed, probe_by_name, probe_stage};
pub use score::{Neutral, PairScores, Scores, score_stage};
pub use spaces::spaces_stage;
pub use states::{Captured, Rows, SiteStates, sentence_vectors, states_stage};
pub use text::{data_digests, prepare_stage};

use std::path::Path;
use std::sync::Arc;

use interlingua_data::Language;
use interlingua_edits::Edit;
use interlingua_models::{Branch, Hook, Model, OnTokens};
use serde::de::DeserializeOwned;

use crate::ExperimentError;
use crate::cache::{Cache, Found};
use crate::plan::Plan;
use crate::progress::Event;
use crate::role::{Control, Role};
use crate::space::{SiteEdit, Spaces};
use crate::spec::Reinsert;

/// Runs stages one after the other and reports on them.
pub struct Runner<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The cache.
    pub cache: Cache,
    /// Receives events.
    pub listener: &'a mut dyn FnMut(Event),
    /// Stages so far: name, seconds, whether cached.
    pub timings: Vec<(String, f64, bool)>,
}

impl Runner<'_> {
    /// Runs one stage with its events and its timing.
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
        self.timings.push((name.to_owned(), seconds, cached));
        (self.listener)(Event::Done { seconds });
        Ok(result)
    }

    /// Reads a JSON entry of the cache, if there is a whole one.
    pub fn load<T: DeserializeOwned>(
        &mut self,
        stage: &str,
        key: &str,
    ) -> Result<Option<T>, ExperimentError> {
        let found = self.cache.load(stage, key)?;
        Ok(self.usable(found))
    }

    /// Whether the cache has a whole entry, a file or a folder, under this path; a damaged one is removed.
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

/// The model with everything that can be done to it.
pub struct Edited<'a> {
    /// The model.
    pub model: &'a Model,
    /// Hook points of the plan.
    pub hooks: Vec<Hook>,
    /// Spaces at each hook point.
    pub sites: Vec<Arc<Spaces>>,
    /// Edit of each setting of the plan.
    pub edits: Vec<Option<Edit>>,
    /// Key of all of this.
    pub upstream: String,
}

impl Edited<'_> {
    /// The edits of some settings, for text in one language.
    ///
    /// # Errors
    /// A language that a space was not fitted on, or states whose mean is not finite.
    pub fn site_edits(
        &self,
        plan: &Plan,
        settings: &[usize],
        language: Language,
    ) -> Result<SiteEdits, ExperimentError> {
        let edit = |&s: &usize| self.site_edit(plan, s, language);
        Ok(SiteEdits(
            settings.iter().map(edit).collect::<Result<_, _>>()?,
        ))
    }

    /// The edit of one setting at its hook point; `None` for the unedited model.
    fn site_edit(
        &self,
        plan: &Plan,
        setting: usize,
        language: Language,
    ) -> Result<Option<(Hook, OnTokens<SiteEdit>)>, ExperimentError> {
        let edit = self.edits[setting].as_ref();
        let setting = &plan.settings[setting];
        let (Some(site), Some(space), Some(edit)) = (plan.site(setting), setting.space, edit)
        else {
            return Ok(None);
        };
        let spaces = &self.sites[site];
        // A random subspace holds some of the language's mean, which says nothing of groups: were
        // it taken away, the control would be worse than chance.
        let centred = match setting.role == Role::Control(Control::Random) {
            true => Some(edit.around(spaces.mean(space, language))?),
            false => None,
        };
        let edit = SiteEdit::new(
            spaces,
            space,
            setting.reinsert.unwrap_or(Reinsert::Residual),
            language,
            centred.as_ref().unwrap_or(edit),
        )?;
        let tokens = plan.spec.special_tokens.edited();
        Ok(Some((self.hooks[site], OnTokens { edit, tokens })))
    }
}

/// Edits at their hook points; `None` for the unedited model.
pub struct SiteEdits(pub Vec<Option<(Hook, OnTokens<SiteEdit>)>>);

impl SiteEdits {
    /// The same, as the engine takes them.
    pub fn branches(&self) -> Vec<Branch<'_>> {
        fn branch(edit: &Option<(Hook, OnTokens<SiteEdit>)>) -> Branch<'_> {
            match edit {
                Some((hook, edit)) => Branch::edited(*hook, edit),
                None => Branch::unedited(),
            }
        }
        self.0.iter().map(branch).collect()
    }
}
