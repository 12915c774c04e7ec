//! A plan: a checked spec with every default and path resolved. Only a plan can be run.

use std::path::Path;

use interlingua_backend::Device;
use interlingua_edits::ModelShape;
use interlingua_models::checkpoint::{self, Checkpoint};
use interlingua_models::hub;
use interlingua_models::{Hook, ModelError};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::check;
use crate::fit_on::FitOn;
pub use crate::options::Options;
use crate::requests::check_scorers;
use crate::role::{Control, Role};
use crate::spec::{Extent, MethodSpec, ModelSpec, Reinsert, Space, Spec};

/// One way to edit the model, which makes one line of the result table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The bias category that the edit is about.
    pub category: String,
    /// The role of the setting in the experiment.
    pub role: Role,
    /// The name of the method that is fitted.
    pub method: Option<String>,
    /// The parameters of the method that the spec sets, as one string.
    pub params: Option<String>,
    /// The index into [`Spec::methods`], for fitted methods.
    pub method_index: Option<usize>,
    /// The languages in which the method is fitted.
    pub fit_language: Option<FitOn>,
    /// The space of the edit.
    pub space: Option<Space>,
    /// The way from a latent back to the hidden state, for latent spaces.
    pub reinsert: Option<Reinsert>,
    /// The hook of the edit. The hooks of a place with several are joined by `+`.
    pub hook: Option<String>,
    /// The size of the edit, if it has one besides its strength.
    pub extent: Option<Extent>,
    /// The strength of the edit.
    pub strength: Option<f64>,
    /// Which draw of a random subspace it is, from 0.
    #[serde(default, skip_serializing_if = "first")]
    pub draw: usize,
}

fn first(draw: &usize) -> bool {
    *draw == 0
}

impl Setting {
    /// Returns the value of the column `method` in its rows.
    pub fn in_rows(&self) -> String {
        self.role.in_rows(self.method.as_deref())
    }

    /// Returns the number of directions that the edit removes, if that is its size.
    pub fn rank(&self) -> Option<usize> {
        match self.extent {
            Some(Extent::Rank(rank)) => Some(rank),
            _ => None,
        }
    }

    /// Returns the number of units that the edit changes, if that is its size.
    pub fn units(&self) -> Option<usize> {
        match self.extent {
            Some(Extent::Units(units)) => Some(units),
            _ => None,
        }
    }

    /// Returns the matched controls of a method's setting: the same method fitted on shuffled examples, and a random
    /// edit at the same place. A random subspace matches every method of the same rank; an edit that is not a
    /// subspace has a control of its own.
    pub fn controls(&self) -> [Setting; 2] {
        [
            Setting {
                role: Role::Control(Control::Shuffled),
                ..self.clone()
            },
            match self.rank() {
                None => Setting {
                    role: Role::Control(Control::Random),
                    ..self.clone()
                },
                Some(_) => Setting {
                    role: Role::Control(Control::Random),
                    method: None,
                    params: None,
                    method_index: None,
                    fit_language: None,
                    ..self.clone()
                },
            },
        ]
    }
}

/// The place where the edits of a setting act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name in settings and rows: its hooks, joined by `+`.
    pub name: String,
    /// The hooks, by their positions in [`Plan::hooks`].
    pub sites: Vec<usize>,
}

/// A run that can be carried out.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The experiment with every default.
    pub spec: Spec,
    /// The paths and switches.
    pub options: Options,
    /// The device, which is open.
    pub device: Device,
    /// The place of the checkpoint, unless the run trains the model.
    pub model: Option<hub::Place>,
    /// The names of the hooks, with `*` resolved, each once.
    pub hooks: Vec<String>,
    /// The places where edits act: at one of the hooks, or at several in one pass.
    pub places: Vec<Place>,
    /// All settings that are evaluated.
    pub settings: Vec<Setting>,
}

impl Plan {
    /// Resolves a spec into a plan.
    ///
    /// # Errors
    /// Everything that can be known to fail before anything is computed.
    pub fn new(mut spec: Spec, options: Options) -> Result<Plan, ExperimentError> {
        check::spec(&spec)?;
        let device = options.device.open()?;
        let model = place(&spec.model, &options.model_dir)?;
        let shape = known_shape(&spec, &model)?;
        let (hooks, places) = places(&spec, shape.as_ref())?;
        let mut looked_at = Vec::new();
        for typed in &spec.retrieval.hooks {
            let layers = shape.as_ref().map(|shape| shape.layers);
            looked_at.extend(every_layer(typed, layers)?);
        }
        spec.retrieval.hooks = looked_at;
        if let Some(shape) = &shape {
            check::widths(&spec, &hooks, shape, &options.model_dir)?;
        }
        check::files(&spec, &options)?;
        let settings = settings(&spec, &places);
        Ok(Plan {
            spec,
            options,
            device,
            model,
            hooks,
            places,
            settings,
        })
    }

    /// Returns the positions of the settings of a category.
    pub fn settings_of(&self, category: &str) -> Vec<usize> {
        (0..self.settings.len())
            .filter(|&s| self.settings[s].category == category)
            .collect()
    }

    /// Lists the names of the places in one line.
    pub fn places_in_words(&self) -> String {
        let names: Vec<&str> = self
            .places
            .iter()
            .map(|place| place.name.as_str())
            .collect();
        names.join(", ")
    }

    /// Returns whether only one vector per sentence is needed at a hook, and no token states of parallel rows. That
    /// is so if the hook belongs only to places of several hooks, and no edit there removes directions or acts in a
    /// space other than the states themselves.
    pub fn sentences_only(&self, site: usize) -> bool {
        let alone = self.places.iter().any(|place| place.sites == [site]);
        let by_direction = |method: &MethodSpec| {
            let is_rank = |extent: &Extent| matches!(extent, Extent::Rank(_));
            method.extents().iter().any(is_rank)
        };
        !alone && self.spec.spaces == [Space::Raw] && !self.spec.methods.iter().any(by_direction)
    }

    /// Returns the positions of a setting's hooks in [`Plan::hooks`]; empty for the unedited model.
    pub fn sites(&self, setting: &Setting) -> &[usize] {
        let place = |hook: &String| self.places.iter().find(|place| place.name == *hook);
        let place = setting.hook.as_ref().and_then(place);
        place.map_or(&[], |place| place.sites.as_slice())
    }
}

/// Every hook point of a spec, and the places they make; `*` takes the number of layers.
fn places(
    spec: &Spec,
    shape: Option<&ModelShape>,
) -> Result<(Vec<String>, Vec<Place>), ExperimentError> {
    let layers = shape.map(|shape| shape.layers);
    let mut hooks: Vec<String> = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    let mut site = |name: &String| {
        let known = hooks.iter().position(|hook| hook == name);
        known.unwrap_or_else(|| {
            hooks.push(name.clone());
            hooks.len() - 1
        })
    };
    for typed in spec.hook.values() {
        let mut names = Vec::new();
        for part in typed.split('+') {
            for part in every_part(part.trim(), shape)? {
                names.extend(every_layer(&part, layers)?);
            }
        }
        // What stands for many hook points is the better name of them all.
        let (together, short) = (typed.contains('+'), typed.contains(BLOCKS));
        let joint: Vec<Vec<String>> = match together || short {
            true => vec![in_order(names, layers)?],
            false => names.into_iter().map(|name| vec![name]).collect(),
        };
        for names in joint {
            let name = match short {
                true => typed
                    .split('+')
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join("+"),
                false => names.join("+"),
            };
            let mut parts = names.iter();
            let again = parts.find(|part| names.iter().filter(|n| n == part).count() > 1);
            if let Some(twice) = again.or(places.iter().any(|p| p.name == name).then_some(&name)) {
                return Err(ExperimentError::plan(
                    "hook",
                    format!("`{twice}` is listed twice"),
                ));
            }
            let sites = names.iter().map(&mut site).collect();
            places.push(Place { name, sites });
        }
    }
    if places.is_empty() {
        return Err(ExperimentError::plan(
            "hook",
            "at least one is needed, such as `final_norm`",
        ));
    }
    Ok((hooks, places))
}

/// Beginning of a name that stands for a part of several blocks in one pass: `blocks.*.units`, `blocks.3-8.output`.
const BLOCKS: &str = "blocks.";

/// What `linear` at the end of such a name stands for: all that linear maps of these blocks write.
const LINEAR: &str = ".linear";

/// The names that a name stands for where it ends with [`LINEAR`].
fn every_part(typed: &str, shape: Option<&ModelShape>) -> Result<Vec<String>, ExperimentError> {
    let stem = typed.strip_suffix(LINEAR);
    let Some(stem) = stem.filter(|stem| stem.starts_with(BLOCKS)) else {
        return Ok(vec![typed.to_owned()]);
    };
    let parts = shape.ok_or_else(|| uncounted(typed))?.linear_parts();
    Ok(parts
        .into_iter()
        .map(|part| format!("{stem}.{}", part.name()))
        .collect())
}

/// The hook points that a name stands for.
fn every_layer(typed: &str, layers: Option<usize>) -> Result<Vec<String>, ExperimentError> {
    if let Some((range, part)) = typed
        .strip_prefix(BLOCKS)
        .and_then(|rest| rest.split_once('.'))
    {
        let names = range_of(typed, range, layers)?
            .map(|layer| format!("block.{layer}.{part}"))
            .collect();
        return checked(names, layers);
    }
    let names: Vec<String> = match (typed.contains('*'), layers) {
        (false, _) => vec![typed.to_owned()],
        (true, Some(layers)) => (0..layers)
            .map(|l| typed.replacen('*', &l.to_string(), 1))
            .collect(),
        (true, None) => return Err(uncounted(typed)),
    };
    checked(names, layers)
}

/// The blocks that `*` or `3-8` stand for.
fn range_of(
    typed: &str,
    range: &str,
    layers: Option<usize>,
) -> Result<std::ops::RangeInclusive<usize>, ExperimentError> {
    let layers = layers.ok_or_else(|| uncounted(typed))?;
    if range == "*" {
        return Ok(0..=layers.saturating_sub(1));
    }
    let ends = range.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first < last && last < layers).then_some(first..=last)
    });
    ends.ok_or_else(|| {
        ExperimentError::plan(
            "hook",
            format!(
                "`{typed}` stands for no blocks of this model, which has {layers} blocks; `{BLOCKS}*.PART` stands for all of them, \
                 `{BLOCKS}0-{}.PART` too, `block.0.PART` for one, and `final_norm` is what the head reads",
                layers.saturating_sub(1)
            ),
        )
    })
}

fn uncounted(typed: &str) -> ExperimentError {
    ExperimentError::plan(
        "hook",
        format!(
            "`{typed}` stands for every layer, but the model is not here yet to count them; fetch it with \
             `interlingua model inspect`, or say model.kind = \"hub\" with its geometry"
        ),
    )
}

fn checked(names: Vec<String>, layers: Option<usize>) -> Result<Vec<String>, ExperimentError> {
    if let Some(layers) = layers {
        for name in &names {
            parse(name, layers)?;
        }
    }
    Ok(names)
}

fn parse(name: &str, layers: usize) -> Result<Hook, ExperimentError> {
    Hook::parse(name, layers).map_err(|e| ExperimentError::plan("hook", e.to_string()))
}

/// Hook points as the forward pass comes to them, where the model is known.
fn in_order(names: Vec<String>, layers: Option<usize>) -> Result<Vec<String>, ExperimentError> {
    let Some(layers) = layers else {
        return Ok(names);
    };
    let hook = |name: String| Ok((parse(&name, layers)?, name));
    let mut hooks: Vec<(Hook, String)> = names
        .into_iter()
        .map(hook)
        .collect::<Result<_, ExperimentError>>()?;
    hooks.sort_by_key(|(hook, _)| *hook);
    Ok(hooks.into_iter().map(|(_, name)| name).collect())
}

/// Returns the folder of a model or its name on the hub; `None` for a model that the run trains.
pub(crate) fn place(
    model: &ModelSpec,
    model_dir: &Path,
) -> Result<Option<hub::Place>, ExperimentError> {
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

/// Sizes of the model, where they can be told before it is opened; what else can be told is checked.
fn known_shape(
    spec: &Spec,
    model: &Option<hub::Place>,
) -> Result<Option<ModelShape>, ExperimentError> {
    let shape = match (model, &spec.model) {
        (None, ModelSpec::Train(train)) => {
            check_scorers(&spec.score.scorers, true)?;
            ModelShape {
                architecture: "CohereForCausalLM".into(),
                layers: train.layers,
                hidden: train.hidden_size,
                heads: train.heads,
                kv_heads: train.kv_heads,
                head_dim: train.hidden_size / train.heads.max(1),
                intermediate: train.intermediate_size,
                gated: true,
            }
        }
        (Some(hub::Place::Local(folder)), _) if checkpoint::is_here(folder) => {
            let architecture = Checkpoint::open(folder)?.architecture()?;
            check::architecture(spec, architecture.as_ref())?;
            architecture.geometry().shape()
        }
        // What else is wrong with a folder is told by opening it; the hub's is not here yet.
        (_, ModelSpec::Hub { geometry, .. }) => {
            let [hidden, heads] = [geometry.hidden_size, geometry.heads].map(|n| n as usize);
            ModelShape {
                architecture: "the model".into(),
                layers: geometry.layers as usize,
                hidden,
                heads,
                kv_heads: geometry.kv_heads as usize,
                head_dim: hidden / heads.max(1),
                intermediate: geometry.intermediate_size as usize,
                gated: geometry.mlp_matrices == 3,
            }
        }
        _ => return Ok(None),
    };
    check::memory(spec, Some(shape.hidden))?;
    Ok(Some(shape))
}

/// Every setting of a spec, controls first.
fn settings(spec: &Spec, places: &[Place]) -> Vec<Setting> {
    let mut all = Vec::new();
    for category in &spec.categories {
        all.push(unedited(category));
        for place in places {
            settings_at(spec, category, &place.name, &mut all);
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
        extent: None,
        strength: None,
        draw: 0,
    }
}

/// The settings of one category at one place.
fn settings_at(spec: &Spec, category: &str, place: &str, all: &mut Vec<Setting>) {
    let base = Setting {
        hook: Some(place.to_owned()),
        strength: Some(1.0),
        ..unedited(category)
    };
    let ways = |space: Space| -> Vec<Option<Reinsert>> {
        if space.loses() {
            spec.reinsert.iter().copied().map(Some).collect()
        } else {
            vec![None]
        }
    };
    for &space in spec.spaces.iter().filter(|s| s.loses()) {
        all.push(Setting {
            role: Role::AutoencoderOnly,
            space: Some(space),
            reinsert: Some(Reinsert::Replace),
            ..base.clone()
        });
    }
    // Every way into the model in every space, for each strength.
    let strengths = || spec.strengths.values().iter().copied();
    let own = |method: &MethodSpec| -> Vec<f64> {
        match &method.strength {
            Some(own) => own.values().to_vec(),
            None => strengths().collect(),
        }
    };
    let mut every: Vec<f64> = strengths().collect();
    for strength in spec.methods.iter().flat_map(own) {
        if !every.contains(&strength) {
            every.push(strength);
        }
    }
    let mut at = Vec::new();
    for &strength in &every {
        for &space in &spec.spaces {
            at.extend(ways(space).into_iter().map(|reinsert| Setting {
                space: Some(space),
                reinsert,
                strength: Some(strength),
                ..base.clone()
            }));
        }
    }
    let takes = |method: &MethodSpec, place: &Setting| {
        let here = |spaces: &Vec<Space>| place.space.is_some_and(|s| spaces.contains(&s));
        method.spaces.as_ref().is_none_or(here)
            && place.strength.is_some_and(|s| own(method).contains(&s))
    };
    let fits = |method: &MethodSpec| {
        let kinds = method.languages.as_ref().unwrap_or(&spec.fit.languages);
        FitOn::every(kinds, &spec.languages)
    };
    let ranks = |method: &MethodSpec| -> Vec<Extent> {
        let mut ranks = Vec::new();
        for extent in method.extents() {
            ranks.extend(
                fits(method)
                    .iter()
                    .map(|&on| removed(spec, method, extent, on)),
            );
        }
        ranks.retain(|extent| matches!(extent, Extent::Rank(_)));
        ranks
    };
    let mut different: Vec<Extent> = spec.methods.iter().flat_map(ranks).collect();
    different.sort_unstable();
    different.dedup();
    // What an edit does is judged beside a control at the same place: same space, way back,
    // strength and rank.
    for extent in different {
        let of_rank = || spec.methods.iter().filter(|m| ranks(m).contains(&extent));
        let wanted = at.iter().filter(|place| of_rank().any(|m| takes(m, place)));
        all.extend(wanted.flat_map(|place| {
            (0..spec.random_draws).map(move |draw| Setting {
                role: Role::Control(Control::Random),
                extent: Some(extent),
                draw,
                ..place.clone()
            })
        }));
    }
    for (index, method) in spec.methods.iter().enumerate() {
        for extent in method.extents() {
            let own_random = match extent {
                Extent::Rank(_) => None,
                _ => Some(Role::Control(Control::Random)),
            };
            let roles = [Role::Control(Control::Shuffled), Role::Method];
            for role in own_random.into_iter().chain(roles) {
                for on in fits(method) {
                    let places = at.iter().filter(|place| takes(method, place));
                    all.extend(places.map(|place| Setting {
                        role,
                        method: Some(method.name.clone()),
                        params: method.params_name(),
                        method_index: Some(index),
                        extent: Some(removed(spec, method, extent, on)),
                        fit_language: Some(on),
                        ..place.clone()
                    }));
                }
            }
        }
    }
}

/// What a method of a size changes, fitted in these languages.
fn removed(spec: &Spec, method: &MethodSpec, extent: Extent, on: FitOn) -> Extent {
    let each = method.known().is_some_and(|m| m.needs().languages);
    match extent {
        Extent::Rank(rank) if each => Extent::Rank(rank * on.languages(&spec.languages).len()),
        extent => extent,
    }
}

/// The plan of a spec that trains its model, for tests: nothing is read, and `out` is all that is written to.
#[cfg(test)]
pub(crate) fn of_text(text: &str, out: &Path) -> Plan {
    use std::path::PathBuf;

    use interlingua_backend::{DeviceName, Precision};
    use interlingua_models::Residency;

    let spec = Spec::parse(text, Path::new("x.toml"), false)
        .unwrap()
        .remove(0);
    let options = Options {
        data_dir: PathBuf::new(),
        model_dir: PathBuf::new(),
        out: out.to_owned(),
        device: DeviceName::Cpu,
        residency: Residency::Resident,
        memory: None,
        manifests: Vec::new(),
        precision: Precision::F32,
        resume: false,
        command: String::new(),
    };
    Plan::new(spec, options).unwrap()
}

#[cfg(test)]
mod tests;
