//! Fits the debiasing methods, which gives one edit per setting.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use interlingua_data::Language;
use interlingua_debias::{
    Contrast, Demand, FitData, FitOptions, FittedSites, Matrix, Param, Reduce, Span,
};
use interlingua_edits::{Edit, Hook, Intervention, ModelShape, Provenance, Site, Tokens};
use interlingua_files::Partial;
use interlingua_models::{Branch, Capture, Model, OnTokens, StateEdit};
use serde::Serialize;

use super::Runner;
use super::evidence::{At, Sentences, of_groups, of_languages, own_first};
use super::material::{Fit, Material};
use super::states::{parallel_rows, pooling_of, states_under};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::fit_on::FitOn;
use crate::plan::{Plan, Setting};
use crate::prepare::Prepared;
use crate::role::{Control, Role};
use crate::spec::{Extent, MethodSpec, Reinsert, Space};
use interlingua_spaces::{SiteEdit, Spaces};

/// The edits of each setting, one for each hook of its place; `None` if nothing is applied.
pub type Edits = Vec<Option<Vec<Edit>>>;

/// The edits of the settings, with the notes of their fits.
pub struct Fits {
    /// The edits.
    pub edits: Edits,
    /// The notes of each setting's fit, such as the number of units that tie at the cut.
    pub notes: Vec<Notes>,
}

/// What a fit says of itself, by name.
type Notes = BTreeMap<String, String>;

/// An edit of strength 1 with what its fit says; that of several hook points stands with the first.
type Known = (Edit, Notes);

/// Passes of a model, for fits that follow earlier edits.
pub struct Passes<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// The model.
    pub model: &'a Model,
    /// The spaces at every hook.
    pub spaces: &'a [Arc<Spaces>],
}

impl Passes<'_> {
    /// Computes the states that [`Again`](super::material::Again) asks for.
    pub fn again(
        &self,
        site: usize,
        reduce: Reduce,
        sentences: &[String],
        earlier: &[(usize, Edit)],
    ) -> Result<Vec<f32>, ExperimentError> {
        let plan = self.plan;
        let hook = |site: usize| Hook::parse(&plan.hooks[site], self.model.geometry.layers);
        let mut edits = Vec::new();
        for (at, edit) in earlier {
            // The states themselves have no language.
            let language = plan.spec.languages[0];
            let way = Reinsert::Residual;
            let edit = SiteEdit::new(&self.spaces[*at], Space::Raw, way, language, edit)?;
            let tokens = plan.spec.special_tokens.edited();
            edits.push((hook(*at)?, OnTokens { edit, tokens }));
        }
        let edits = edits.iter();
        let branch = Branch {
            edits: edits
                .map(|(hook, edit)| (*hook, edit as &dyn StateEdit))
                .collect(),
        };
        let capture = Capture {
            hook: hook(site)?,
            pooling: pooling_of(plan, reduce),
        };
        states_under(self.model, sentences, capture, branch)
    }
}

/// Fits the edits of every setting. Settings that differ only in strength or re-insertion share one fit.
pub fn fit_stage(
    run: &mut Runner<'_>,
    model: &ModelShape,
    from: &Material<'_>,
) -> Result<Fits, ExperimentError> {
    let plan = run.plan;
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for states in from.captured {
        for pack in run.cache.packs("edits", group(states), "")? {
            if run.has(&pack)? {
                read(&pack, &mut known)?;
            }
        }
    }
    let mut keys: Vec<Vec<String>> = Vec::with_capacity(plan.settings.len());
    let mut missing: BTreeMap<Vec<String>, Fit<'_>> = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    for setting in &plan.settings {
        let mut of_setting = Vec::new();
        for fit in Fit::of(plan, setting) {
            let keys = fit.keys(from);
            of_setting.extend(keys.iter().cloned());
            if !keys.iter().all(|key| known.contains_key(key)) {
                missing.insert(keys.clone(), fit);
            }
            wanted.insert(keys);
        }
        keys.push(of_setting);
    }
    let counts = [missing.len(), wanted.len()];
    run.stage_of("fit debiasers", counts, |run| {
        let mut made: Vec<Vec<(&String, Known)>> =
            from.captured.iter().map(|_| Vec::new()).collect();
        for (at, (keys, fit)) in missing.iter().enumerate() {
            let (edits, mut notes) = fit.edits(from)?;
            for ((key, edit), &site) in keys.iter().zip(edits).zip(&fit.sites) {
                made[site].push((key, (edit, std::mem::take(&mut notes))));
            }
            let note = format!("{} in {}", fit.setting.in_rows(), fit.space.name());
            run.progress(at + 1, missing.len(), note);
        }
        for (site, edits) in made.into_iter().enumerate() {
            keep(run, model, &from.captured[site], &plan.hooks[site], &edits)?;
            known.extend(edits.into_iter().map(|(key, edit)| (key.clone(), edit)));
        }
        let (mut edits, mut notes) = (Vec::new(), Vec::new());
        for (setting, keys) in plan.settings.iter().zip(&keys) {
            let strength = setting.strength.unwrap_or(1.0);
            let scaled = keys.iter().map(|key| known[key].0.scaled(strength));
            let scaled = scaled.collect::<Result<Vec<_>, _>>()?;
            edits.push((!scaled.is_empty()).then_some(scaled));
            let of_setting = keys.iter().flat_map(|key| known[key].1.clone());
            notes.push(of_setting.collect());
        }
        Ok(Fits { edits, notes })
    })
}

/// What the edits that are fitted on some states have in common.
fn group(states: &super::SiteStates) -> &str {
    &states.keys[3]
}

/// Keeps the edits that a run has fitted at one hook point: a folder with an intervention for each, of strength 1.
fn keep(
    run: &Runner<'_>,
    model: &ModelShape,
    states: &super::SiteStates,
    hook: &str,
    edits: &[(&String, Known)],
) -> Result<(), ExperimentError> {
    if edits.is_empty() {
        return Ok(());
    }
    let keys = edits.iter().map(|(key, _)| *key);
    let made = run
        .cache
        .begin(&run.cache.pack("edits", group(states), keys, ""))?;
    let folder = made.path();
    std::fs::create_dir_all(&folder).map_err(ExperimentError::io(&folder))?;
    for (key, (edit, notes)) in edits {
        let mut site = Site::raw(Hook::parse(hook, model.layers)?, Tokens::All);
        site.space = "any".into();
        let steps = vec![(site, edit.clone())];
        let provenance = Provenance {
            notes: notes.clone(),
            ..Provenance::default()
        };
        let intervention = Intervention::new(model.clone(), steps, provenance)?;
        let path = folder.join(format!("{key}.safetensors"));
        std::fs::write(&path, intervention.to_bytes()?).map_err(ExperimentError::io(&path))?;
    }
    made.finish()
}

/// Reads the edits of a pack that is whole.
fn read(folder: &Path, known: &mut BTreeMap<String, Known>) -> Result<(), ExperimentError> {
    for file in std::fs::read_dir(folder).map_err(ExperimentError::io(folder))? {
        let path = file.map_err(ExperimentError::io(folder))?.path();
        let bytes = std::fs::read(&path).map_err(ExperimentError::io(&path))?;
        let intervention = Intervention::from_bytes(&bytes)?;
        let key = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        if let (Some(key), [(_, edit)]) = (key, intervention.steps()) {
            known.insert(key, (edit.clone(), intervention.provenance.notes.clone()));
        }
    }
    Ok(())
}

/// Writes the intervention of each setting into a folder of the run, under the setting's position in the plan.
pub fn write_interventions(
    plan: &Plan,
    model: &ModelShape,
    fits: &Fits,
    folder: &Path,
) -> Result<(), ExperimentError> {
    let failed = || ExperimentError::io(folder);
    let making = Partial::folder(folder).map_err(failed())?;
    let made = making.path().join("interventions");
    std::fs::create_dir_all(&made).map_err(failed())?;
    for (at, (setting, edits)) in plan.settings.iter().zip(&fits.edits).enumerate() {
        let (Some(edits), Some(space)) = (edits, setting.space) else {
            continue;
        };
        let mut steps = Vec::new();
        for (&site, edit) in plan.sites(setting).iter().zip(edits) {
            let tokens = plan.spec.special_tokens.edited();
            let mut site = Site::raw(Hook::parse(&plan.hooks[site], model.layers)?, tokens);
            site.space = space.name().into();
            site.reinsert = setting.reinsert.unwrap_or(site.reinsert);
            steps.push((site, edit.clone()));
        }
        let mut notes = fits.notes[at].clone();
        notes.insert("category".into(), setting.category.clone());
        if let Some(on) = &setting.fit_language {
            notes.insert("fit_language".into(), on.to_string());
        }
        let provenance = Provenance {
            method: Some(setting.in_rows()),
            notes,
            ..Provenance::default()
        };
        let intervention = Intervention::new(model.clone(), steps, provenance)?;
        let path = made.join(format!("{at:05}.safetensors"));
        std::fs::write(&path, intervention.to_bytes()?).map_err(ExperimentError::io(&path))?;
    }
    // Data under the same names may have changed since an earlier run, and with them the edits.
    match std::fs::rename(folder, making.path().join("earlier")) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(ExperimentError::io(folder)(e)),
        _ => {}
    }
    std::fs::rename(&made, folder).map_err(failed())
}

/// Everything that decides what a fit gives.
#[derive(Serialize)]
struct Recipe<'a> {
    role: Role,
    method: Option<&'a str>,
    params: Option<&'a BTreeMap<String, Param>>,
    extent: Option<Extent>,
    seed: u64,
    languages: Vec<Language>,
    /// Digests of the examples of each language.
    evidence: Vec<String>,
    /// Keys of the states and of the space that they are taken into, and its width.
    states: &'a str,
    space: &'a str,
    dim: usize,
    /// Of a fit that looks at several hook points, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    together: Option<Together<'a>>,
}

/// Hook points that one fit looks at.
#[derive(Clone, Serialize)]
struct Together<'a> {
    hooks: Vec<&'a str>,
    states: Vec<&'a str>,
    /// Which tokens are edited, where states are looked at under earlier edits.
    tokens: Option<Tokens>,
    /// Which of its edits is meant.
    at: usize,
}

impl<'a> Fit<'a> {
    /// The fits of a setting.
    fn of(plan: &'a Plan, setting: &'a Setting) -> Vec<Fit<'a>> {
        let Some(space) = setting.space else {
            return Vec::new();
        };
        let sites = plan.sites(setting);
        let fit = |sites: Vec<usize>| Fit {
            plan,
            setting,
            space,
            sites,
        };
        match fit(Vec::new()).span() {
            Span::Site => sites.iter().map(|&site| fit(vec![site])).collect(),
            Span::Sites | Span::Chain => vec![fit(sites.to_vec())],
        }
    }

    /// Key of the edit at each hook point.
    fn keys(&self, from: &Material<'_>) -> Vec<String> {
        let spec = &self.plan.spec;
        let setting = self.setting;
        let contrast = self.contrast();
        let languages = match (contrast, setting.fit_language) {
            (Contrast::Groups, on) => on.map(|on| on.languages(&spec.languages)),
            (Contrast::Languages, on) => on.map(|on| own_first(on, &spec.languages)),
        };
        let languages = languages.unwrap_or_default();
        let evidence: Vec<String> = match contrast {
            Contrast::Groups => {
                let of = |&language: &Language| {
                    let set = from.text.fit_set(language, &setting.category);
                    Cache::key("evidence", &(&set.groups, &set.tuples, &set.classes))
                };
                languages.iter().map(of).collect()
            }
            Contrast::Languages => {
                let rows = parallel_rows(self.plan, from.text);
                vec![Cache::key("evidence", &(rows, &spec.languages))]
            }
        };
        let seed = match setting.role {
            Role::Control(Control::Random) => self.random_seed(),
            _ => spec.seed,
        };
        let states = |site: usize| from.captured[site].evidence(contrast, self.reduce()).1;
        let together = (self.span() != Span::Site).then(|| Together {
            hooks: self
                .sites
                .iter()
                .map(|&site| self.plan.hooks[site].as_str())
                .collect(),
            states: self.sites.iter().map(|&site| states(site)).collect(),
            tokens: (self.span() == Span::Chain).then(|| spec.special_tokens.edited()),
            at: 0,
        });
        let key = |(at, &site): (usize, &usize)| {
            let recipe = Recipe {
                role: setting.role,
                method: setting.method.as_deref(),
                params: self.method().map(|method| &method.params),
                extent: setting.extent,
                seed,
                evidence: evidence.clone(),
                languages: languages.clone(),
                states: states(site),
                space: from.spaces[site].key(self.space),
                dim: from.spaces[site].dim(self.space),
                together: together.clone().map(|all| Together { at, ..all }),
            };
            Cache::key("edit", &recipe)
        };
        self.sites.iter().enumerate().map(key).collect()
    }

    /// The method, of a setting that is fitted.
    fn method(&self) -> Option<&'a MethodSpec> {
        let index = self.setting.method_index?;
        Some(&self.plan.spec.methods[index])
    }

    /// How states become the vectors that are learnt from.
    fn reduce(&self) -> Reduce {
        self.method().map(MethodSpec::reduce).unwrap_or_default()
    }

    /// What tells examples apart.
    fn contrast(&self) -> Contrast {
        self.method().map(MethodSpec::contrast).unwrap_or_default()
    }

    /// How many hook points are looked at at once.
    fn span(&self) -> Span {
        self.method().map(MethodSpec::span).unwrap_or_default()
    }

    /// Each category gets its own draw, and so does each of several.
    fn random_seed(&self) -> u64 {
        let mut categories = self.plan.spec.categories.iter();
        let category = categories.position(|c| *c == self.setting.category);
        let first = self.plan.spec.seed * 1000 + category.unwrap_or(0) as u64;
        first ^ (self.setting.draw as u64) << 48
    }

    /// The edit at each hook point, and what the fit says.
    fn edits(&self, from: &Material<'_>) -> Result<(Vec<Edit>, Notes), ExperimentError> {
        match (self.method(), self.setting.fit_language) {
            (Some(method), Some(on)) => self.learned(method, on, from),
            _ => {
                let dims = self
                    .sites
                    .iter()
                    .map(|&site| from.spaces[site].dim(self.space));
                let edit = |dim| match self.setting.role {
                    Role::Control(Control::Random) => self.random(dim),
                    _ => Ok(Edit::identity(dim)),
                };
                let edits = dims.map(edit).collect::<Result<_, _>>()?;
                Ok((edits, Notes::new()))
            }
        }
    }

    fn learned(
        &self,
        method: &MethodSpec,
        on: FitOn,
        from: &Material<'_>,
    ) -> Result<(Vec<Edit>, Notes), ExperimentError> {
        let spec = &self.plan.spec;
        let debiaser = interlingua_debias::by_name(&method.name)
            .map_err(|e| ExperimentError::plan("methods.name", e.to_string()))?;
        let mut options = method.options().seed(spec.seed);
        let demand = debiaser.demand(&options).map_err(|e| self.failed(e))?;
        // The rank of a setting counts all that is removed, that of such a method one language's.
        options.rank = self
            .setting
            .rank()
            .map(|rank| match demand.needs.languages {
                true => rank / on.languages(&spec.languages).len(),
                false => rank,
            });
        options.units = self.setting.units();
        let mut evidence = At {
            fit: self,
            from,
            demand,
            sentences: self.sentences(&demand, on, from.text)?,
            dims: self
                .sites
                .iter()
                .map(|&site| from.spaces[site].dim(self.space))
                .collect(),
            failed: None,
        };
        let random = self.setting.role == Role::Control(Control::Random);
        let mut fitted = debiaser.fit_sites(&mut evidence, &options);
        if let (true, Ok(found)) = (random, &fitted) {
            let options = options.seed(self.random_seed());
            let drawn = debiaser.control_sites(&mut evidence, &options, &found.edits);
            fitted = drawn.map(|edits| FittedSites {
                edits,
                ..FittedSites::default()
            });
        }
        // What stopped the evidence says more than the method that did not get it.
        let fitted =
            fitted.map_err(|e| evidence.failed.take().unwrap_or_else(|| self.failed(e)))?;
        let notes = fitted.notes.into_iter();
        let notes = notes.map(|(name, value)| (format!("fit {name}"), value.to_string()));
        Ok((fitted.edits, notes.collect()))
    }

    /// The sentences that a method learns from.
    fn sentences(
        &self,
        demand: &Demand,
        on: FitOn,
        text: &Prepared,
    ) -> Result<Sentences, ExperimentError> {
        let spec = &self.plan.spec;
        match demand.contrast {
            Contrast::Groups => {
                let languages = on.languages(&spec.languages);
                of_groups(
                    &languages,
                    &self.setting.category,
                    demand.needs.tuples,
                    text,
                )
            }
            Contrast::Languages => Ok(of_languages(
                &own_first(on, &spec.languages),
                &spec.languages,
                parallel_rows(self.plan, text),
            )),
        }
    }

    fn random(&self, dim: usize) -> Result<Edit, ExperimentError> {
        let debiaser = interlingua_debias::by_name("random")
            .map_err(|e| ExperimentError::plan("methods", e.to_string()))?;
        // The data only say how wide the space is.
        let data = FitData {
            x: Matrix::from_fn(2, dim, |i, j| f64::from(u8::from(i == j))),
            label: vec![0, 0],
            tuple: vec![None, None],
            classes: vec!["any".into()],
            ..FitData::default()
        };
        let options =
            FitOptions::with_rank(self.setting.rank().unwrap_or(1)).seed(self.random_seed());
        Ok(debiaser
            .fit(&data, &options)
            .map_err(|e| self.failed(e))?
            .edit)
    }
}
