//! Fits an edit of the hidden states themselves, on sentences that differ in the group alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use interlingua_data::{Language, OnBadRow, TemplateOptions, load_templates};
use interlingua_debias::{Contrast, FitData, FitError, FitOptions, Given, Matrix};
use interlingua_edits::{Intervention, Provenance, Site, Tokens};
use interlingua_models::engine::capture;
use interlingua_models::{Capture, Hook, Model, Pooling, Sequence};

use super::neutral;
use crate::ExperimentError;

/// The settings of a fit.
#[derive(Debug, Clone)]
pub struct Request {
    /// The name of the method.
    pub method: String,
    /// The options of the method: rank, seed, parameters.
    pub options: FitOptions,
    /// The hooks at which the edits act. There is one edit at each hook, and each is fitted by itself unless the
    /// method needs all hooks together.
    pub hooks: Vec<Hook>,
    /// The tokens that are edited, over which the states of a sentence are also averaged for the fit: all of them, or
    /// those of the text.
    pub tokens: Tokens,
    /// The languages of the sentences.
    pub languages: Vec<Language>,
    /// The bias category, which selects the sets of groups.
    pub category: String,
    /// The strength of the edit, which is a factor on it.
    pub strength: f64,
    /// The file of templates whose sentences differ in the group alone.
    pub templates: PathBuf,
    /// The file of sentences that mention no group.
    pub neutral: PathBuf,
}

/// The sentences of a fit, with class and set.
#[derive(Debug, Default)]
struct Sentences {
    texts: Vec<String>,
    label: Vec<usize>,
    set: Vec<Option<usize>>,
    language: Vec<usize>,
}

/// The two groups, and sentences that mention none.
const CLASSES: [&str; 3] = ["first group", "second group", "neutral"];

/// Fits the edits and returns them as an intervention.
///
/// `progress` is called with the amount of work that the model has done and the total amount.
///
/// # Errors
/// An unknown method, sentences that are missing or too few, and whatever stops the model or the fit.
pub fn fit(
    model: &Model,
    request: &Request,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Intervention, ExperimentError> {
    let method = interlingua_debias::by_name(&request.method)
        .map_err(|e| ExperimentError::plan("--method", e.to_string()))?;
    let failed = |source: FitError| ExperimentError::Fit {
        method: request.method.clone(),
        category: request.category.clone(),
        language: names(&request.languages),
        space: "raw".into(),
        source,
    };
    method.check(&request.options).map_err(failed)?;
    if method.contrast(&request.options).map_err(failed)? == Contrast::Languages {
        return Err(ExperimentError::plan(
            "--method",
            format!(
                "`{}` tells languages apart by parallel text, which an experiment has (`interlingua reproduce`); here, \
                 sentences differ in the group alone",
                request.method
            ),
        ));
    }
    let sentences = sentences(request)?;
    let mut hooks = request.hooks.clone();
    hooks.sort();
    hooks.dedup();
    let states = states(model, &sentences.texts, &hooks, request.tokens, progress)?;
    let shape = model.geometry.shape();
    let mut given = Vec::new();
    for (&hook, states) in hooks.iter().zip(&states) {
        let width = shape.width(hook)?;
        // Methods that learn from sets get them alone.
        let tuples = method.needs().tuples;
        let rows: Vec<usize> = (0..sentences.texts.len())
            .filter(|&row| !tuples || sentences.set[row].is_some())
            .collect();
        let of = |row: &usize| &states[row * width..][..width];
        let vectors: Vec<f32> = rows
            .iter()
            .flat_map(|row| of(row).iter().copied())
            .collect();
        given.push(FitData {
            x: Matrix::from_f32(rows.len(), width, &vectors).map_err(|e| failed(e.into()))?,
            label: rows.iter().map(|&row| sentences.label[row]).collect(),
            tuple: rows.iter().map(|&row| sentences.set[row]).collect(),
            language: rows.iter().map(|&row| sentences.language[row]).collect(),
            classes: CLASSES.map(str::to_owned).to_vec(),
            neutral: Some(2),
        });
    }
    let fitted = method.fit_sites(&mut Given::new(&given), &request.options);
    let mut steps = Vec::new();
    for (&hook, edit) in hooks.iter().zip(fitted.map_err(failed)?.edits) {
        steps.push((
            Site::raw(hook, request.tokens),
            edit.scaled(request.strength)?,
        ));
    }
    let mut notes = BTreeMap::from([
        ("category".to_owned(), request.category.clone()),
        ("languages".to_owned(), names(&request.languages)),
        ("sentences".to_owned(), sentences.texts.len().to_string()),
        ("seed".to_owned(), request.options.seed.to_string()),
    ]);
    if let Some(rank) = request.options.rank {
        notes.insert("rank".into(), rank.to_string());
    }
    if request.strength != 1.0 {
        notes.insert("strength".into(), request.strength.to_string());
    }
    if let Some(kind) = model.quantised() {
        notes.insert("dequantised".into(), kind.to_owned());
    }
    let provenance = Provenance {
        method: Some(request.method.clone()),
        weights: Some(model.digest()?.to_hex().to_string()),
        notes,
    };
    Ok(Intervention::new(shape, steps, provenance)?)
}

fn names(languages: &[Language]) -> String {
    let names: Vec<&str> = languages.iter().map(Language::code).collect();
    names.join(", ")
}

/// Both sentences of every set, and as many neutral ones as there are of a group, in each language.
fn sentences(request: &Request) -> Result<Sentences, ExperimentError> {
    let options = TemplateOptions {
        categories: vec![request.category.clone()],
        ..TemplateOptions::new(&request.languages, OnBadRow::Error)
    };
    let (items, _) = load_templates(&request.templates, &options)?;
    let mut all = Sentences::default();
    let mut sets = 0;
    for (at, &language) in request.languages.iter().enumerate() {
        let before = sets;
        for item in items.iter().filter(|i| i.language == language) {
            all.add(&item.a, 0, Some(sets), at);
            all.add(&item.b, 1, Some(sets), at);
            sets += 1;
        }
        if sets == before {
            return Err(ExperimentError::plan(
                "--language",
                format!(
                    "{} has no sentences of `{}` in {language}",
                    request.templates.display(),
                    request.category
                ),
            ));
        }
        for text in neutral(&request.neutral, language)?
            .iter()
            .take(sets - before)
        {
            all.add(text, 2, None, at);
        }
    }
    Ok(all)
}

impl Sentences {
    fn add(&mut self, text: &str, label: usize, set: Option<usize>, language: usize) {
        self.texts.push(text.to_owned());
        self.label.push(label);
        self.set.push(set);
        self.language.push(language);
    }
}

/// The mean state of every sentence at each hook point.
fn states(
    model: &Model,
    texts: &[String],
    hooks: &[Hook],
    tokens: Tokens,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<f32>>, ExperimentError> {
    let pooling = match tokens {
        Tokens::All => Pooling::MeanAll,
        Tokens::Text => Pooling::Mean,
        other => {
            return Err(ExperimentError::plan(
                "--tokens",
                format!(
                    "an edit is fitted on means over `all` or `text` tokens, not `{}`",
                    other.name()
                ),
            ));
        }
    };
    let sequences: Result<Vec<Sequence>, _> =
        texts.iter().map(|text| model.sequence(text)).collect();
    let shape = model.geometry.shape();
    let captures: Vec<Capture> = hooks
        .iter()
        .map(|&hook| Capture { hook, pooling })
        .collect();
    let widths: Result<Vec<usize>, _> = hooks.iter().map(|&hook| shape.width(hook)).collect();
    let widths = widths?;
    let mut states: Vec<Vec<f32>> = widths
        .iter()
        .map(|width| vec![0.0; width * texts.len()])
        .collect();
    let mut take = |capture: usize, sequence: usize, rows: &[f32]| {
        states[capture][sequence * widths[capture]..][..widths[capture]].copy_from_slice(rows);
        Ok(())
    };
    capture(model, &sequences?, &captures, &mut take, progress)?;
    Ok(states)
}
