//! Fits an edit of the hidden states themselves, on sentences that differ in the group alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use interlingua_data::{
    Language, OnBadRow, ParallelOptions, TemplateOptions, load_parallel, load_templates,
};
use interlingua_debias::{Contrast, FitOptions, by_name};
use interlingua_edits::{Intervention, Provenance, Site, Tokens};
use interlingua_models::{Hook, Model, Pooling};

use crate::TuneError;
use crate::evidence::{Evidence, Sentences, failed};

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

/// The names of the two groups, and that of the sentences that mention no group.
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
) -> Result<Intervention, TuneError> {
    let method = by_name(&request.method)?;
    let refused = |source| failed(&request.method, &request.hooks, source);
    method.check(&request.options).map_err(refused)?;
    if method.contrast(&request.options).map_err(refused)? == Contrast::Languages {
        return Err(TuneError::flag(
            "--method",
            format!(
                "`{}` tells languages apart by parallel text, which an experiment has (`interlingua reproduce`); here, \
                 sentences differ in the group alone",
                request.method
            ),
        ));
    }
    let pooling = pooling(request.tokens)?;
    let sentences = sentences(request)?;
    let count = sentences.texts.len();
    let mut hooks = request.hooks.clone();
    hooks.sort();
    hooks.dedup();
    let evidence = Evidence::capture(model, sentences, &hooks, pooling, progress)?;
    let edits = evidence.fit(method, &request.options, &hooks, Some(model))?;
    let mut steps = Vec::new();
    for (&hook, edit) in hooks.iter().zip(edits) {
        let site = Site::raw(hook, request.tokens);
        steps.push((site, edit.scaled(request.strength)?));
    }
    let mut notes = BTreeMap::from([
        ("category".to_owned(), request.category.clone()),
        ("languages".to_owned(), names(&request.languages)),
        ("sentences".to_owned(), count.to_string()),
        ("seed".to_owned(), request.options.seed.to_string()),
    ]);
    if let Some(rank) = request.options.rank {
        notes.insert("rank".into(), rank.to_string());
    }
    if let Some(units) = request.options.units {
        notes.insert("units".into(), units.to_string());
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
    Ok(Intervention::new(evidence.shape, steps, provenance)?)
}

/// Returns how the states of a sentence become one vector.
fn pooling(tokens: Tokens) -> Result<Pooling, TuneError> {
    match tokens {
        Tokens::All => Ok(Pooling::MeanAll),
        Tokens::Text => Ok(Pooling::Mean),
        other => Err(TuneError::flag(
            "--tokens",
            format!(
                "an edit is fitted on means over `all` or `text` tokens, not `{}`",
                other.name()
            ),
        )),
    }
}

fn names(languages: &[Language]) -> String {
    let names: Vec<&str> = languages.iter().map(Language::code).collect();
    names.join(", ")
}

/// Collects both sentences of every set, and as many neutral sentences as a group has, in each language.
fn sentences(request: &Request) -> Result<Sentences, TuneError> {
    let options = TemplateOptions {
        categories: vec![request.category.clone()],
        ..TemplateOptions::new(&request.languages, OnBadRow::Error)
    };
    let (items, _) = load_templates(&request.templates, &options)?;
    let mut all = Sentences {
        classes: CLASSES.map(str::to_owned).to_vec(),
        neutral: Some(2),
        ..Sentences::default()
    };
    let mut sets = 0;
    for (at, &language) in request.languages.iter().enumerate() {
        let before = sets;
        for item in items.iter().filter(|i| i.language == language) {
            all.add(&item.a, 0, Some(sets), at);
            all.add(&item.b, 1, Some(sets), at);
            sets += 1;
        }
        if sets == before {
            return Err(TuneError::flag(
                "--language",
                format!(
                    "{} has no sentences of `{}` in {language}",
                    request.templates.display(),
                    request.category
                ),
            ));
        }
        let options = ParallelOptions::new(&[language], OnBadRow::Error);
        let (neutral, _) = load_parallel(&request.neutral, &options)?;
        for text in neutral.columns[0].iter().take(sets - before) {
            all.add(text, 2, None, at);
        }
    }
    Ok(all)
}
