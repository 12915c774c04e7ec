//! A checked spec with every default and path resolved; only a plan can run.

use std::path::{Path, PathBuf};

use interlingua_backend::{Device, DeviceName, Precision};
use interlingua_data::Manifest;
use interlingua_models::checkpoint::{self, Checkpoint};
use interlingua_models::hub::{self, Place};
use interlingua_models::{ModelError, Residency};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::check;
use crate::fit_on::FitOn;
use crate::requests::check_scorers;
use crate::role::{Control, Role};
use crate::spec::{MethodSpec, ModelSpec, Reinsert, Space, Spec};

/// Where a run takes things from and puts them.
#[derive(Debug, Clone)]
pub struct Options {
    /// Root of data files.
    pub data_dir: PathBuf,
    /// Root of checkpoint folders.
    pub model_dir: PathBuf,
    /// Root of run folders and of the cache.
    pub out: PathBuf,
    /// Device.
    pub device: DeviceName,
    /// Where the model's weights live.
    pub residency: Residency,
    /// Bytes of memory that hidden states may take between two blocks; the rest goes to disk.
    pub memory: Option<u64>,
    /// What the factors of the model's products are rounded to.
    pub precision: Precision,
    /// Manifests of what can be fetched, for messages about what is missing.
    pub manifests: Vec<Manifest>,
    /// Whether half-done training continues from its last checkpoint.
    pub resume: bool,
    /// What the user typed, for the manifest.
    pub command: String,
}

/// One way to edit the model: a line of the result table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Bias category the edit is about.
    pub category: String,
    /// What it is there for.
    pub role: Role,
    /// The method that is fitted.
    pub method: Option<String>,
    /// Parameters of the method that the spec sets, in one word.
    pub params: Option<String>,
    /// Index into [`Spec::methods`], for fitted methods.
    pub method_index: Option<usize>,
    /// Languages the method is fitted in.
    pub fit_language: Option<FitOn>,
    /// Space.
    pub space: Option<Space>,
    /// Re-insertion, for latent spaces.
    pub reinsert: Option<Reinsert>,
    /// Hook point, for edits.
    pub hook: Option<String>,
    /// Rank.
    pub rank: Option<usize>,
    /// Strength, for edits.
    pub strength: Option<f64>,
}

impl Setting {
    /// The column `method` of its rows.
    pub fn in_rows(&self) -> String {
        self.role.in_rows(self.method.as_deref())
    }

    /// The matched controls of a setting of a method: the same fitted on shuffled examples, and a random
    /// subspace of equal rank in the same place.
    pub fn controls(&self) -> [Setting; 2] {
        [
            Setting {
                role: Role::Control(Control::Shuffled),
                ..self.clone()
            },
            Setting {
                role: Role::Control(Control::Random),
                method: None,
                params: None,
                method_index: None,
                fit_language: None,
                ..self.clone()
            },
        ]
    }
}

/// A run that can be carried out.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The experiment with every default.
    pub spec: Spec,
    /// Paths and switches.
    pub options: Options,
    /// The device, opened.
    pub device: Device,
    /// Where the checkpoint is, unless the model is trained in the run.
    pub model: Option<Place>,
    /// Names of the hook points, with `*` resolved.
    pub hooks: Vec<String>,
    /// Everything that will be judged.
    pub settings: Vec<Setting>,
}

impl Plan {
    /// Resolves a spec.
    ///
    /// # Errors
    /// Whatever can be known to fail before anything is computed.
    pub fn new(spec: Spec, options: Options) -> Result<Plan, ExperimentError> {
        check::spec(&spec)?;
        let device = options.device.open()?;
        let model = place(&spec.model, &options.model_dir)?;
        let layers = known_layers(&spec, &model)?;
        let hooks = hooks(&spec, layers)?;
        check::files(&spec, &options)?;
        let settings = settings(&spec, &hooks);
        Ok(Plan {
            spec,
            options,
            device,
            model,
            hooks,
            settings,
        })
    }

    /// Places of the settings of a category.
    pub fn settings_of(&self, category: &str) -> Vec<usize> {
        (0..self.settings.len())
            .filter(|&s| self.settings[s].category == category)
            .collect()
    }

    /// Place of a setting's hook point in [`Plan::hooks`].
    pub fn site(&self, setting: &Setting) -> Option<usize> {
        let hook = setting.hook.as_ref()?;
        self.hooks.iter().position(|h| h == hook)
    }
}

/// Every hook point of a spec; `*` takes the number of layers.
fn hooks(spec: &Spec, layers: Option<usize>) -> Result<Vec<String>, ExperimentError> {
    let mut all: Vec<String> = Vec::new();
    for typed in spec.hook.values() {
        let names = match (typed.contains('*'), layers) {
            (false, _) => vec![typed.clone()],
            (true, Some(layers)) => (0..layers)
                .map(|l| typed.replacen('*', &l.to_string(), 1))
                .collect(),
            (true, None) => {
                return Err(ExperimentError::plan(
                    "hook",
                    format!(
                        "`{typed}` stands for every layer, but the model is not here yet to count them; fetch it with \
                         `model inspect`, or say model.kind = \"hub\" with its geometry"
                    ),
                ));
            }
        };
        for name in names {
            if let Some(layers) = layers {
                interlingua_models::Hook::parse(&name, layers)
                    .map_err(|e| ExperimentError::plan("hook", e.to_string()))?;
            }
            if all.contains(&name) {
                return Err(ExperimentError::plan(
                    "hook",
                    format!("`{name}` is listed twice"),
                ));
            }
            all.push(name);
        }
    }
    if all.is_empty() {
        return Err(ExperimentError::plan(
            "hook",
            "at least one is needed, such as `final_norm`",
        ));
    }
    Ok(all)
}

/// The folder of a model or its name on the hub; nothing for a model that the run trains.
pub(crate) fn place(model: &ModelSpec, model_dir: &Path) -> Result<Option<Place>, ExperimentError> {
    let (key, name) = match model {
        ModelSpec::Train(_) => return Ok(None),
        ModelSpec::Folder { path, .. } => ("model.path", path),
        ModelSpec::Hub { name, .. } => ("model.name", name),
    };
    let found = hub::locate(name, Some(model_dir)).map_err(|error| match error {
        ModelError::UnknownModel { .. } => ExperimentError::plan(
            key,
            format!("{error}; say where checkpoints are with --model-dir"),
        ),
        error => error.into(),
    })?;
    Ok(Some(found))
}

/// Number of blocks, where it can be told before the model is opened; what else can be told is checked.
fn known_layers(spec: &Spec, model: &Option<Place>) -> Result<Option<usize>, ExperimentError> {
    match (model, &spec.model) {
        (None, ModelSpec::Train(train)) => {
            check_scorers(&spec.score.scorers, true)?;
            check::widths(spec, train.hidden_size)?;
            check::memory(spec, Some(train.hidden_size))?;
            Ok(Some(train.layers))
        }
        (Some(Place::Local(folder)), _) if checkpoint::is_here(folder) => {
            let architecture = Checkpoint::open(folder)?.architecture()?;
            check::architecture(spec, architecture.as_ref())?;
            check::memory(spec, Some(architecture.geometry().hidden_size))?;
            Ok(Some(architecture.geometry().layers))
        }
        // What else is wrong with a folder is told by opening it; the hub's is not here yet.
        (_, ModelSpec::Hub { geometry, .. }) => {
            check::widths(spec, geometry.hidden_size as usize)?;
            check::memory(spec, Some(geometry.hidden_size as usize))?;
            Ok(Some(geometry.layers as usize))
        }
        _ => Ok(None),
    }
}

/// Every setting of a spec, controls first.
fn settings(spec: &Spec, hooks: &[String]) -> Vec<Setting> {
    let mut all = Vec::new();
    for category in &spec.categories {
        all.push(unedited(category));
        for hook in hooks {
            settings_at(spec, category, hook, &mut all);
        }
    }
    all
}

fn unedited(category: &str) -> Setting {
    Setting {
        category: category.to_owned(),
        role: Role::Unedited,
        method: None,
        params: None,
        method_index: None,
        fit_language: None,
        space: None,
        reinsert: None,
        hook: None,
        rank: None,
        strength: None,
    }
}

/// The settings of one category at one hook point.
fn settings_at(spec: &Spec, category: &str, hook: &str, all: &mut Vec<Setting>) {
    let base = Setting {
        hook: Some(hook.to_owned()),
        strength: Some(1.0),
        ..unedited(category)
    };
    let ways = |space: Space| -> Vec<Option<Reinsert>> {
        if space.is_latent() {
            spec.reinsert.iter().copied().map(Some).collect()
        } else {
            vec![None]
        }
    };
    for &space in spec.spaces.iter().filter(|s| s.is_latent()) {
        all.push(Setting {
            role: Role::AutoencoderOnly,
            space: Some(space),
            reinsert: Some(Reinsert::Replace),
            ..base.clone()
        });
    }
    // Every way into the model in every space, for each strength.
    let mut at = Vec::new();
    for &strength in spec.strengths.values() {
        for &space in &spec.spaces {
            at.extend(ways(space).into_iter().map(|reinsert| Setting {
                space: Some(space),
                reinsert,
                strength: Some(strength),
                ..base.clone()
            }));
        }
    }
    let fits = |method: &MethodSpec| {
        let kinds = method.languages.as_ref().unwrap_or(&spec.fit.languages);
        FitOn::every(kinds, &spec.languages)
    };
    let mut ranks: Vec<usize> = Vec::new();
    for method in &spec.methods {
        for &rank in method.rank.values() {
            ranks.extend(
                fits(method)
                    .iter()
                    .map(|&on| removed(spec, method, rank, on)),
            );
        }
    }
    ranks.sort_unstable();
    ranks.dedup();
    // What an edit does is judged beside a control at the same place: same space, way back,
    // strength and rank.
    for &rank in &ranks {
        all.extend(at.iter().map(|place| Setting {
            role: Role::Control(Control::Random),
            rank: Some(rank),
            ..place.clone()
        }));
    }
    for (index, method) in spec.methods.iter().enumerate() {
        for &rank in method.rank.values() {
            for role in [Role::Control(Control::Shuffled), Role::Method] {
                for on in fits(method) {
                    all.extend(at.iter().map(|place| Setting {
                        role,
                        method: Some(method.name.clone()),
                        params: method.params_name(),
                        method_index: Some(index),
                        rank: Some(removed(spec, method, rank, on)),
                        fit_language: Some(on),
                        ..place.clone()
                    }));
                }
            }
        }
    }
}

/// Directions that a method of a rank removes, fitted in these languages.
fn removed(spec: &Spec, method: &MethodSpec, rank: usize, on: FitOn) -> usize {
    let known = interlingua_debias::by_name(&method.name);
    match known.is_ok_and(|m| m.needs().languages) {
        true => rank * on.languages(&spec.languages).len(),
        false => rank,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: &str) -> Spec {
        let text = format!(
            "name = \"x\"\ntitle = \"X\"\n{more}\n[data]\nkind = \"testbed\"\n[model]\nkind = \"train\"\nlayers = 3\n"
        );
        Spec::parse(&text, Path::new("x.toml"), false)
            .unwrap()
            .remove(0)
    }

    #[test]
    fn a_star_stands_for_every_layer() {
        let spec = spec("hook = [\"block.*.output\", \"final_norm\"]");
        let found = hooks(&spec, Some(3)).unwrap();
        let expect = [
            "block.0.output",
            "block.1.output",
            "block.2.output",
            "final_norm",
        ];
        assert_eq!(found, expect);
        assert!(
            hooks(&spec, None)
                .unwrap_err()
                .to_string()
                .contains("not here yet")
        );
    }

    #[test]
    fn every_combination_is_a_setting_and_controls_come_by_themselves() {
        let spec = spec(
            "languages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\", \"latent\", \"cca\"]\n\
             hook = [\"block.0.output\", \"final_norm\"]\nstrengths = [0.5, 1.0]\n\
             methods = [{ name = \"sentdebias\", rank = [1, 4] }, { name = \"leace\", rank = 1 }]",
        );
        let all = settings(&spec, &hooks(&spec, Some(3)).unwrap());
        let count = |method: &str| all.iter().filter(|s| s.in_rows() == method).count();
        assert_eq!(count("none"), 1);
        // hook points × ranks × strengths × languages × spaces
        assert_eq!(count("sentdebias"), 2 * 2 * 2 * 2 * 3);
        assert_eq!(count("leace"), 2 * 2 * 2 * 3);
        assert_eq!(count("sentdebias:shuffled"), count("sentdebias"));
        // hook points × different ranks × strengths × spaces
        assert_eq!(count("random"), 2 * 2 * 2 * 3);
        // Every edit has one control of either kind in its place.
        for setting in all.iter().filter(|s| s.role == Role::Method) {
            let names = setting.controls().map(|control| {
                assert_eq!(all.iter().filter(|s| **s == control).count(), 1);
                control.in_rows()
            });
            assert_eq!(
                names,
                [format!("{}:shuffled", setting.in_rows()), "random".into()]
            );
        }
        assert_eq!(count("autoencoder-only"), 2);
        let mut distinct: Vec<String> = all.iter().map(|s| format!("{s:?}")).collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
    }

    /// The rank of a row is what is removed, so that its random control removes as much.
    #[test]
    fn a_rank_of_each_language_adds_up() {
        let spec = spec(
            "languages = [\"en\", \"fr\", \"de\"]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\n\
             methods = [{ name = \"imsae\", rank = 2, languages = [\"each\", \"all\", \"all-but-one\"] }, \
             { name = \"leace\", rank = 1 }]",
        );
        let all = settings(&spec, &["final_norm".into()]);
        for setting in all.iter().filter(|s| s.in_rows() == "imsae") {
            let languages = match setting.fit_language {
                Some(FitOn::One(_)) => 1,
                Some(FitOn::All) => 3,
                _ => 2,
            };
            assert_eq!(setting.rank, Some(2 * languages));
            assert!(
                setting
                    .controls()
                    .iter()
                    .all(|control| all.contains(control))
            );
        }
        let count = |method: &str| all.iter().filter(|s| s.in_rows() == method).count();
        assert_eq!((count("imsae"), count("leace")), (3 + 1 + 3, 3));
    }

    #[test]
    fn methods_are_fitted_in_the_languages_that_are_asked_for() {
        let with = |languages: &str, fits: &str| {
            spec(&format!(
                "languages = [{languages}]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\nfit.languages = [{fits}]"
            ))
        };
        let three = with("\"en\", \"fr\", \"de\"", "\"all\", \"all-but-one\"");
        check::spec(&three).unwrap();
        let mut fits: Vec<String> = settings(&three, &["final_norm".into()])
            .iter()
            .filter(|s| s.in_rows() == "sentdebias")
            .map(|s| s.fit_language.unwrap().to_string())
            .collect();
        fits.sort();
        assert_eq!(fits, ["all", "all-but-de", "all-but-en", "all-but-fr"]);
        for (languages, fits, problem) in [
            (
                "\"en\", \"fr\"",
                "\"all-but-one\"",
                "at least three languages",
            ),
            ("\"en\", \"fr\"", "\"all\", \"all\"", "all is listed twice"),
            ("\"en\", \"fr\"", "", "`each`, `all` and `all-but-one`"),
        ] {
            let error = check::spec(&with(languages, fits)).unwrap_err().to_string();
            assert!(
                error.starts_with("fit.languages") && error.contains(problem),
                "{error}"
            );
        }
    }
}
