//! Debiasers are fitted: one edit per setting.

use std::sync::Arc;

use interlingua_data::Language;
use interlingua_debias::{Edit, FitData, FitOptions, Matrix};

use super::{Captured, Runner};
use crate::ExperimentError;
use crate::cache::Cache;
use crate::plan::{Plan, Setting};
use crate::prepare::{FitSet, Prepared};
use crate::space::Spaces;
use crate::spec::Space;

/// Fits the edit of every setting; `None` where there is nothing to apply.
pub fn fit_stage(
    run: &mut Runner<'_>,
    text: &Prepared,
    captured: &Captured,
    sites: &[Arc<Spaces>],
    upstream: &str,
) -> Result<Vec<Option<Edit>>, ExperimentError> {
    let plan = run.plan;
    let key = Cache::key(
        "edits",
        &(upstream, &plan.settings, &plan.spec.methods, plan.spec.seed),
    );
    let cached = run.load::<Vec<Option<String>>>("edits", &key)?;
    run.stage("fit debiasers", cached.is_some(), |run| {
        if let Some(texts) = cached {
            return read_edits(&texts, &run.cache.path("edits", &key, ".json"));
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
                format!("{} in {}", setting.method, space.name()),
            );
        }
        let stored = edits
            .iter()
            .map(|edit| {
                edit.as_ref()
                    .map(|e| Ok(to_hex(&e.to_bytes()?)))
                    .transpose()
            })
            .collect::<Result<Vec<Option<String>>, ExperimentError>>()?;
        run.cache.store("edits", &key, &stored)?;
        Ok(edits)
    })
}

fn read_edits(
    texts: &[Option<String>],
    path: &std::path::Path,
) -> Result<Vec<Option<Edit>>, ExperimentError> {
    let edit = |hex: &String| {
        let bytes = from_hex(hex).ok_or_else(|| ExperimentError::Cache {
            path: path.to_owned(),
            problem: "not hexadecimal".into(),
        })?;
        Ok(Edit::from_bytes(&bytes)?)
    };
    texts
        .iter()
        .map(|text| text.as_ref().map(edit).transpose())
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
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
            method: setting.method.clone(),
            category: setting.category.clone(),
            language: setting
                .fit_language
                .map_or("no language".into(), |l| l.to_string()),
            space: self.space.name().into(),
            source,
        }
    }

    fn edit(&self, text: &Prepared, states: &super::SiteStates) -> Result<Edit, ExperimentError> {
        match (self.setting.method_index, self.setting.fit_language) {
            (Some(method), Some(language)) => self.learned(method, language, text, states),
            _ if self.setting.method == "random" => self.random(),
            _ => Ok(Edit::Identity {
                dim: self.spaces.dim(self.space),
            }),
        }
    }

    fn learned(
        &self,
        method: usize,
        language: Language,
        text: &Prepared,
        states: &super::SiteStates,
    ) -> Result<Edit, ExperimentError> {
        let spec = &self.plan.spec;
        let method = &spec.methods[method];
        let debiaser = interlingua_debias::by_name(&method.name)
            .map_err(|e| ExperimentError::plan("methods.name", e.to_string()))?;
        let set = text.fit_set(language, &self.setting.category);
        let examples = examples(set, debiaser.needs().tuples);
        let mut vectors = Vec::with_capacity(examples.len() * self.spaces.width);
        for &(sentence, ..) in &examples {
            states.fit.read(sentence, &mut vectors)?;
        }
        let vectors = self.spaces.enter(self.space, language, vectors);
        let mut classes = set.groups.clone();
        classes.push("neutral".into());
        let dim = self.spaces.dim(self.space);
        let mut data = FitData {
            x: Matrix::from_f32(examples.len(), dim, &vectors).map_err(|e| self.failed(e))?,
            label: examples.iter().map(|e| e.1).collect(),
            tuple: examples.iter().map(|e| e.2).collect(),
            neutral: Some(set.groups.len()),
            classes,
        };
        if self.setting.is_shuffled() {
            data = data.shuffled(spec.seed).map_err(|e| self.failed(e))?;
            // What reads sets alone must meet sets without meaning, too.
            if debiaser.needs().tuples {
                data = data.shuffled_sets(spec.seed).map_err(|e| self.failed(e))?;
            }
        }
        let rank = self.setting.rank.unwrap_or(1);
        let mut options = FitOptions::with_rank(rank).seed(spec.seed);
        options.params = method.params.clone();
        Ok(debiaser
            .fit(&data, &options)
            .map_err(|e| self.failed(e))?
            .edit)
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
            neutral: None,
        };
        let options = FitOptions::with_rank(self.setting.rank.unwrap_or(1))
            .seed(self.plan.spec.seed * 1000 + category.unwrap_or(0) as u64);
        Ok(debiaser
            .fit(&data, &options)
            .map_err(|e| self.failed(e))?
            .edit)
    }
}

/// Sentence, class and counterfactual set of every example that a method learns from.
fn examples(set: &FitSet, tuples: bool) -> Vec<(usize, usize, Option<usize>)> {
    if !tuples {
        let classes = set.classes.iter();
        return classes.map(|&(s, class)| (s, class, None)).collect();
    }
    let mut out = Vec::new();
    for (t, tuple) in set.tuples.iter().enumerate() {
        out.extend(tuple.iter().enumerate().map(|(g, &s)| (s, g, Some(t))));
    }
    out
}
