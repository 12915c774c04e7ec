//! Debiasers are fitted: one edit per setting.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use interlingua_data::Language;
use interlingua_debias::{FitData, FitOptions, Matrix, Param, Reduce};
use interlingua_edits::{Edit, Hook, Intervention, ModelShape, Provenance, Site, Tokens};
use interlingua_files::Partial;
use interlingua_models::store::Store;
use serde::Serialize;

use super::{Captured, Runner};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::fit_on::FitOn;
use crate::plan::{Plan, Setting};
use crate::prepare::{FitSet, Prepared};
use crate::role::{Control, Role};
use crate::space::Spaces;
use crate::spec::{Extent, MethodSpec, Space};

/// Edits of a setting, one for each hook point of its place; `None` where there is nothing to apply.
pub type Edits = Vec<Option<Vec<Edit>>>;

/// Fits the edits of every setting. Settings that differ in strength or re-insertion alone share what is fitted.
pub fn fit_stage(
    run: &mut Runner<'_>,
    model: &ModelShape,
    text: &Prepared,
    captured: &Captured,
    spaces: &[Arc<Spaces>],
) -> Result<Edits, ExperimentError> {
    let plan = run.plan;
    let mut known: BTreeMap<String, Edit> = BTreeMap::new();
    for states in captured {
        for pack in run.cache.packs("edits", group(states), "")? {
            if run.has(&pack)? {
                read(&pack, &mut known)?;
            }
        }
    }
    let mut keys: Vec<Vec<String>> = Vec::with_capacity(plan.settings.len());
    let mut missing: BTreeMap<String, (usize, Fit<'_>)> = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    for setting in &plan.settings {
        let mut of_setting = Vec::new();
        for &site in plan.sites(setting) {
            let Some(space) = setting.space else { continue };
            let fit = Fit {
                plan,
                setting,
                space,
                spaces: &spaces[site],
            };
            let key = fit.key(text, &captured[site]);
            if wanted.insert(key.clone()) && !known.contains_key(&key) {
                missing.insert(key.clone(), (site, fit));
            }
            of_setting.push(key);
        }
        keys.push(of_setting);
    }
    let counts = [missing.len(), wanted.len()];
    run.stage_of("fit debiasers", counts, |run| {
        let mut made: Vec<Vec<(&String, Edit)>> = captured.iter().map(|_| Vec::new()).collect();
        for (at, (key, (site, fit))) in missing.iter().enumerate() {
            let edit = fit.edit(text, &captured[*site])?;
            made[*site].push((key, edit));
            let note = format!("{} in {}", fit.setting.in_rows(), fit.space.name());
            run.progress(at + 1, missing.len(), note);
        }
        for (site, edits) in made.into_iter().enumerate() {
            keep(run, model, &captured[site], &plan.hooks[site], &edits)?;
            known.extend(edits.into_iter().map(|(key, edit)| (key.clone(), edit)));
        }
        let mut edits = Vec::with_capacity(plan.settings.len());
        for (setting, keys) in plan.settings.iter().zip(&keys) {
            let strength = setting.strength.unwrap_or(1.0);
            let scaled = keys.iter().map(|key| known[key].scaled(strength));
            let scaled = scaled.collect::<Result<Vec<_>, _>>()?;
            edits.push((!scaled.is_empty()).then_some(scaled));
        }
        Ok(edits)
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
    edits: &[(&String, Edit)],
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
    for (key, edit) in edits {
        let mut site = Site::raw(Hook::parse(hook, model.layers)?, Tokens::All);
        site.space = "any".into();
        let steps = vec![(site, edit.clone())];
        let intervention = Intervention::new(model.clone(), steps, Provenance::default())?;
        let path = folder.join(format!("{key}.safetensors"));
        std::fs::write(&path, intervention.to_bytes()?).map_err(ExperimentError::io(&path))?;
    }
    made.finish()
}

/// Reads the edits of a pack that is whole.
fn read(folder: &Path, known: &mut BTreeMap<String, Edit>) -> Result<(), ExperimentError> {
    for file in std::fs::read_dir(folder).map_err(ExperimentError::io(folder))? {
        let path = file.map_err(ExperimentError::io(folder))?.path();
        let bytes = std::fs::read(&path).map_err(ExperimentError::io(&path))?;
        let intervention = Intervention::from_bytes(&bytes)?;
        let key = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        if let (Some(key), [(_, edit)]) = (key, intervention.steps()) {
            known.insert(key, edit.clone());
        }
    }
    Ok(())
}

/// Writes the intervention of each setting into a folder of the run, under the setting's place in the plan.
pub fn write_interventions(
    plan: &Plan,
    model: &ModelShape,
    edits: &Edits,
    folder: &Path,
) -> Result<(), ExperimentError> {
    let failed = || ExperimentError::io(folder);
    let making = Partial::folder(folder).map_err(failed())?;
    let made = making.path().join("interventions");
    std::fs::create_dir_all(&made).map_err(failed())?;
    for (at, (setting, edits)) in plan.settings.iter().zip(edits).enumerate() {
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
        let mut notes = BTreeMap::from([("category".to_owned(), setting.category.clone())]);
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
}

/// One fit: of a setting, in a space of its hook point.
struct Fit<'a> {
    plan: &'a Plan,
    setting: &'a Setting,
    space: Space,
    spaces: &'a Spaces,
}

impl Fit<'_> {
    fn failed(&self, source: interlingua_debias::FitError) -> ExperimentError {
        let setting = self.setting;
        ExperimentError::Fit {
            method: setting.in_rows(),
            category: setting.category.clone(),
            language: setting
                .fit_language
                .map_or("no language".into(), |on| on.to_string()),
            space: self.space.name().into(),
            source,
        }
    }

    /// Key of the fit.
    fn key(&self, text: &Prepared, states: &super::SiteStates) -> String {
        let spec = &self.plan.spec;
        let setting = self.setting;
        let languages = setting.fit_language.map(|on| on.languages(&spec.languages));
        let languages = languages.unwrap_or_default();
        let evidence = languages.iter().map(|&language| {
            let set = text.fit_set(language, &setting.category);
            Cache::key("evidence", &(&set.groups, &set.tuples, &set.classes))
        });
        let seed = match setting.role {
            Role::Control(Control::Random) => self.random_seed(),
            _ => spec.seed,
        };
        let recipe = Recipe {
            role: setting.role,
            method: setting.method.as_deref(),
            params: self.method().map(|method| &method.params),
            extent: setting.extent,
            seed,
            evidence: evidence.collect(),
            languages,
            states: states.fit_by(self.reduce()).1,
            space: self.spaces.key(self.space),
            dim: self.spaces.dim(self.space),
        };
        Cache::key("edit", &recipe)
    }

    /// The method, of a setting that is fitted.
    fn method(&self) -> Option<&MethodSpec> {
        let index = self.setting.method_index?;
        Some(&self.plan.spec.methods[index])
    }

    /// How states become the vectors that are learnt from.
    fn reduce(&self) -> Reduce {
        self.method().map(MethodSpec::reduce).unwrap_or_default()
    }

    /// Each category gets its own draw.
    fn random_seed(&self) -> u64 {
        let mut categories = self.plan.spec.categories.iter();
        let category = categories.position(|c| *c == self.setting.category);
        self.plan.spec.seed * 1000 + category.unwrap_or(0) as u64
    }

    fn edit(&self, text: &Prepared, states: &super::SiteStates) -> Result<Edit, ExperimentError> {
        match (self.method(), self.setting.fit_language) {
            (Some(method), Some(on)) => self.learned(method, on, text, states),
            _ if self.setting.role == Role::Control(Control::Random) => self.random(),
            _ => Ok(Edit::identity(self.spaces.dim(self.space))),
        }
    }

    fn learned(
        &self,
        method: &MethodSpec,
        on: FitOn,
        text: &Prepared,
        states: &super::SiteStates,
    ) -> Result<Edit, ExperimentError> {
        let spec = &self.plan.spec;
        let debiaser = interlingua_debias::by_name(&method.name)
            .map_err(|e| ExperimentError::plan("methods.name", e.to_string()))?;
        let languages = on.languages(&spec.languages);
        let mut options = method.options().seed(spec.seed);
        let demand = debiaser.demand(&options).map_err(|e| self.failed(e))?;
        let states = states.fit_by(demand.reduce).0;
        let mut data = self.data(&languages, demand.needs.tuples, text, states)?;
        if self.setting.role == Role::Control(Control::Shuffled) {
            data = data.shuffled(spec.seed).map_err(|e| self.failed(e))?;
        }
        // The rank of a setting counts all that is removed, that of such a method one language's.
        options.rank = self
            .setting
            .rank()
            .map(|rank| match demand.needs.languages {
                true => rank / languages.len(),
                false => rank,
            });
        options.units = self.setting.units();
        let fitted = debiaser.fit(&data, &options).map_err(|e| self.failed(e))?;
        if self.setting.role == Role::Control(Control::Random) {
            let options = options.seed(self.random_seed());
            let control = debiaser.control(&data, &options, &fitted.edit);
            return control.map_err(|e| self.failed(e));
        }
        Ok(fitted.edit)
    }

    /// Examples of all languages of a fit, each taken into the space by its own language's way.
    fn data(
        &self,
        languages: &[Language],
        tuples: bool,
        text: &Prepared,
        states: &Store,
    ) -> Result<FitData, ExperimentError> {
        let category = &self.setting.category;
        let mut sets = Vec::new();
        for &language in languages {
            sets.push((language, text.fit_set(language, category)));
        }
        let groups = &sets[0].1.groups;
        if let Some((other, _)) = sets.iter().find(|(_, set)| set.groups != *groups) {
            return Err(ExperimentError::plan(
                "fit.languages",
                format!(
                    "the words of `{category}` name different groups in {} and {other}; a joint fit needs the same",
                    languages[0]
                ),
            ));
        }
        let mut all = Vec::new();
        for (_, set) in &sets {
            all.push(examples(set, tuples));
        }
        let mut classes = groups.clone();
        classes.push("neutral".into());
        if let Err(class) = balance(&mut all, classes.len(), tuples) {
            return Err(ExperimentError::plan(
                "fit.languages",
                format!(
                    "a joint fit takes as many sentences of a class from each language, and some language has none of \
                     `{}` for `{category}`; give more text, or leave the joint fits out",
                    classes[class]
                ),
            ));
        }
        let mut data = FitData {
            neutral: Some(groups.len()),
            classes,
            ..FitData::default()
        };
        let mut vectors = Vec::new();
        let mut first_set = 0;
        for (at, ((language, _), examples)) in sets.iter().zip(&all).enumerate() {
            let mut states_of = Vec::with_capacity(examples.len() * self.spaces.width);
            for example in examples {
                // One vector, or one for each token.
                for _ in 0..states.read(example.sentence, &mut states_of)? {
                    data.label.push(example.class);
                    data.tuple.push(example.set.map(|set| first_set + set));
                    data.language.push(at);
                }
            }
            first_set += examples
                .iter()
                .filter_map(|e| e.set)
                .max()
                .map_or(0, |m| m + 1);
            vectors.extend(self.spaces.enter(self.space, *language, states_of)?);
        }
        let dim = self.spaces.dim(self.space);
        data.x =
            Matrix::from_f32(data.label.len(), dim, &vectors).map_err(|e| self.failed(e.into()))?;
        Ok(data)
    }

    fn random(&self) -> Result<Edit, ExperimentError> {
        let debiaser = interlingua_debias::by_name("random")
            .map_err(|e| ExperimentError::plan("methods", e.to_string()))?;
        // The data only say how wide the space is.
        let dim = self.spaces.dim(self.space);
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

/// A sentence that a method learns from.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Example {
    sentence: usize,
    class: usize,
    /// Its counterfactual set.
    set: Option<usize>,
}

fn examples(set: &FitSet, tuples: bool) -> Vec<Example> {
    if !tuples {
        let classes = set.classes.iter();
        return classes
            .map(|&(sentence, class)| Example {
                sentence,
                class,
                set: None,
            })
            .collect();
    }
    let mut out = Vec::new();
    for (t, tuple) in set.tuples.iter().enumerate() {
        out.extend(tuple.iter().enumerate().map(|(class, &sentence)| Example {
            sentence,
            class,
            set: Some(t),
        }));
    }
    out
}

/// Leaves every language as many examples of each class, or as many counterfactual sets, as the
/// language with the fewest has: a joint fit must not be a fit in the language with most text.
///
/// # Errors
/// A class that some languages have, and others have not.
fn balance(languages: &mut [Vec<Example>], classes: usize, tuples: bool) -> Result<(), usize> {
    // Examples are taken together that share a set, or else a class.
    let key = |e: &Example| if tuples { 0 } else { e.class };
    for class in 0..classes {
        let units = |examples: &[Example]| -> Vec<usize> {
            let of_class = examples.iter().enumerate().filter(|(_, e)| key(e) == class);
            let mut units: Vec<usize> = of_class.map(|(at, e)| e.set.unwrap_or(at)).collect();
            units.dedup();
            units
        };
        let counts = || languages.iter().map(|l| units(l).len());
        let fewest = counts().min().unwrap_or(0);
        if fewest == 0 && counts().any(|count| count > 0) {
            return Err(class);
        }
        for examples in languages.iter_mut() {
            let units = units(examples);
            // Evenly over the text, because its order may mean something.
            let kept: HashSet<usize> = (0..fewest)
                .map(|i| units[i * units.len() / fewest])
                .collect();
            let mut at = 0;
            examples.retain(|e| {
                let unit = e.set.unwrap_or(at);
                at += 1;
                key(e) != class || kept.contains(&unit)
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(class: usize, set: Option<usize>) -> Example {
        Example {
            sentence: 0,
            class,
            set,
        }
    }

    #[test]
    fn languages_are_balanced_by_class() {
        let language = |counts: [usize; 3]| -> Vec<Example> {
            let of = |class: usize| std::iter::repeat_n(example(class, None), counts[class]);
            (0..3).flat_map(of).collect()
        };
        let mut languages = [language([10, 4, 7]), language([3, 9, 7])];
        assert_eq!(balance(&mut languages, 3, false), Ok(()));
        let lacking = &mut [language([3, 2, 7]), language([3, 0, 7])];
        assert_eq!(balance(lacking, 3, false), Err(1));
        for found in languages {
            assert_eq!(found, language([3, 4, 7]));
        }
    }

    #[test]
    fn languages_are_balanced_by_whole_sets() {
        let language = |sets: usize| -> Vec<Example> {
            let of = |set| [0, 1, 2].map(|class| example(class, Some(set)));
            (0..sets).flat_map(of).collect()
        };
        let mut languages = [language(9), language(3)];
        assert_eq!(balance(&mut languages, 4, true), Ok(()));
        let kept: Vec<usize> = languages[0].iter().filter_map(|e| e.set).collect();
        assert_eq!(kept, [0, 0, 0, 3, 3, 3, 6, 6, 6]);
        assert_eq!(languages[1], language(3));
        // One language keeps all that it has.
        let mut alone = [language(5)];
        assert_eq!(balance(&mut alone, 4, true), Ok(()));
        assert_eq!(alone[0], language(5));
    }
}
