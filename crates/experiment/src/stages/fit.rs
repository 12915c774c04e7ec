//! Debiasers are fitted: one edit per setting.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use interlingua_data::Language;
use interlingua_debias::{FitData, FitOptions, Matrix};
use interlingua_edits::{Edit, Hook, Intervention, ModelShape, Provenance, Site};

use super::{Captured, Runner};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::fit_on::FitOn;
use crate::plan::{Plan, Setting};
use crate::prepare::{FitSet, Prepared};
use crate::role::{Control, Role};
use crate::space::Spaces;
use crate::spec::Space;

/// Fits the edit of every setting; `None` where there is nothing to apply.
pub fn fit_stage(
    run: &mut Runner<'_>,
    model: &ModelShape,
    text: &Prepared,
    captured: &Captured,
    sites: &[Arc<Spaces>],
    upstream: &str,
) -> Result<Vec<Option<Edit>>, ExperimentError> {
    let plan = run.plan;
    let key = Cache::key(
        "interventions",
        &(upstream, &plan.settings, &plan.spec.methods, plan.spec.seed),
    );
    let entry = run.cache.path("edits", &key, "");
    let cached = run.has(&entry)?;
    run.stage("fit debiasers", cached, |run| {
        if cached {
            return read(plan, &entry);
        }
        let mut edits = Vec::with_capacity(plan.settings.len());
        // Settings that differ in strength or re-insertion alone share what was fitted.
        let mut known: Vec<(Setting, Edit)> = Vec::new();
        for (at, setting) in plan.settings.iter().enumerate() {
            let (Some(space), Some(site)) = (setting.space, plan.site(setting)) else {
                edits.push(None);
                continue;
            };
            let same = |other: &Setting| {
                Setting {
                    reinsert: setting.reinsert,
                    strength: setting.strength,
                    ..other.clone()
                } == *setting
            };
            let fitted = match known.iter().find(|(other, _)| same(other)) {
                Some((_, edit)) => edit.clone(),
                None => {
                    let fit = Fit {
                        plan,
                        setting,
                        space,
                        spaces: &sites[site],
                    };
                    let edit = fit.edit(text, &captured[site])?;
                    known.push((setting.clone(), edit.clone()));
                    edit
                }
            };
            edits.push(Some(fitted.scaled(setting.strength.unwrap_or(1.0))?));
            run.progress(
                at + 1,
                plan.settings.len(),
                format!("{} in {}", setting.in_rows(), space.name()),
            );
        }
        let made = run.cache.begin(&entry)?;
        write(plan, model, &edits, &made.path())?;
        made.finish()?;
        Ok(edits)
    })
}

/// File of a setting's edit in the entry's folder.
fn file(folder: &Path, setting: usize) -> PathBuf {
    folder.join(format!("{setting:05}.safetensors"))
}

/// Writes one intervention for each setting that has an edit.
fn write(
    plan: &Plan,
    model: &ModelShape,
    edits: &[Option<Edit>],
    folder: &Path,
) -> Result<(), ExperimentError> {
    std::fs::create_dir_all(folder).map_err(ExperimentError::io(folder))?;
    let tokens = plan.spec.special_tokens.edited();
    for (at, (setting, edit)) in plan.settings.iter().zip(edits).enumerate() {
        let (Some(edit), Some(hook), Some(space)) = (edit, &setting.hook, setting.space) else {
            continue;
        };
        let mut site = Site::raw(Hook::parse(hook, model.layers)?, tokens);
        site.space = space.name().into();
        site.reinsert = setting.reinsert.unwrap_or(site.reinsert);
        let mut notes = BTreeMap::from([("category".to_owned(), setting.category.clone())]);
        if let Some(on) = &setting.fit_language {
            notes.insert("fit_language".into(), on.to_string());
        }
        let provenance = Provenance {
            method: Some(setting.in_rows()),
            notes,
            ..Provenance::default()
        };
        let steps = vec![(site, edit.clone())];
        let intervention = Intervention::new(model.clone(), steps, provenance)?;
        let path = file(folder, at);
        std::fs::write(&path, intervention.to_bytes()?).map_err(ExperimentError::io(&path))?;
    }
    Ok(())
}

/// The edits of all settings of an entry that is whole.
fn read(plan: &Plan, folder: &Path) -> Result<Vec<Option<Edit>>, ExperimentError> {
    let read = |at: usize| -> Result<Option<Edit>, ExperimentError> {
        let setting = &plan.settings[at];
        if setting.space.is_none() || plan.site(setting).is_none() {
            return Ok(None);
        }
        let path = file(folder, at);
        let bytes = std::fs::read(&path).map_err(ExperimentError::io(&path))?;
        let intervention = Intervention::from_bytes(&bytes)?;
        Ok(intervention.steps().first().map(|(_, edit)| edit.clone()))
    };
    (0..plan.settings.len()).map(read).collect()
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

    fn edit(&self, text: &Prepared, states: &super::SiteStates) -> Result<Edit, ExperimentError> {
        match (self.setting.method_index, self.setting.fit_language) {
            (Some(method), Some(on)) => self.learned(method, on, text, states),
            _ if self.setting.role == Role::Control(Control::Random) => self.random(),
            _ => Ok(Edit::identity(self.spaces.dim(self.space))),
        }
    }

    fn learned(
        &self,
        method: usize,
        on: FitOn,
        text: &Prepared,
        states: &super::SiteStates,
    ) -> Result<Edit, ExperimentError> {
        let spec = &self.plan.spec;
        let method = &spec.methods[method];
        let debiaser = interlingua_debias::by_name(&method.name)
            .map_err(|e| ExperimentError::plan("methods.name", e.to_string()))?;
        let languages = on.languages(&spec.languages);
        let mut data = self.data(&languages, debiaser.needs().tuples, text, states)?;
        if self.setting.role == Role::Control(Control::Shuffled) {
            data = data.shuffled(spec.seed).map_err(|e| self.failed(e))?;
        }
        let rank = self.setting.rank.unwrap_or(1);
        // The rank of a setting counts all that is removed, that of such a method one language's.
        let rank = match debiaser.needs().languages {
            true => rank / languages.len(),
            false => rank,
        };
        let mut options = FitOptions::with_rank(rank).seed(spec.seed);
        options.params = method.params.clone();
        Ok(debiaser
            .fit(&data, &options)
            .map_err(|e| self.failed(e))?
            .edit)
    }

    /// Examples of all languages of a fit, each taken into the space by its own language's way.
    fn data(
        &self,
        languages: &[Language],
        tuples: bool,
        text: &Prepared,
        states: &super::SiteStates,
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
                states.fit.read(example.sentence, &mut states_of)?;
                data.label.push(example.class);
                data.tuple.push(example.set.map(|set| first_set + set));
                data.language.push(at);
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
        // Each category gets its own draw; the data only say how wide the space is.
        let mut categories = self.plan.spec.categories.iter();
        let category = categories.position(|c| *c == self.setting.category);
        let dim = self.spaces.dim(self.space);
        let data = FitData {
            x: Matrix::from_fn(2, dim, |i, j| f64::from(u8::from(i == j))),
            label: vec![0, 0],
            tuple: vec![None, None],
            classes: vec!["any".into()],
            ..FitData::default()
        };
        let options = FitOptions::with_rank(self.setting.rank.unwrap_or(1))
            .seed(self.plan.spec.seed * 1000 + category.unwrap_or(0) as u64);
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
