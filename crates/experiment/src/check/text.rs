//! Checks the text of a run against its methods and categories.

use interlingua_data::Language;
use interlingua_debias::{Contrast, by_name};

use crate::ExperimentError;
use crate::benchmarks::Benchmark;
use crate::prepare::{FitSet, Prepared};
use crate::spec::{Extent, MethodSpec, Spec};

/// Checks that every category has pairs in every language, and that every method has the examples that it needs.
///
/// # Errors
/// The first category, language or method for which something is missing.
pub fn text(spec: &Spec, text: &Prepared) -> Result<(), ExperimentError> {
    for category in &spec.categories {
        for &language in &spec.languages {
            if text.pairs_of(category, language).is_empty() {
                return Err(ExperimentError::plan(
                    "categories",
                    format!("`{category}` has no pairs in {language}"),
                ));
            }
            let set = text.fit_set(language, category);
            for (at, method) in spec.methods.iter().enumerate() {
                match method.contrast() {
                    Contrast::Groups => learns(at, method, set)?,
                    Contrast::Languages => tells_languages(at, method, &spec.languages)?,
                }
            }
        }
    }
    let axes = |b: &Benchmark| {
        let name = b.name(b.items.about()).to_owned();
        (name, b.category.clone(), b.language)
    };
    for (at, benchmark) in text.benchmarks.iter().enumerate() {
        if text.benchmarks[..at]
            .iter()
            .any(|b| axes(b) == axes(benchmark))
        {
            return Err(ExperimentError::plan(
                "benchmarks",
                format!(
                    "two of them are {}, whose rows could not be told apart; give one of them",
                    crate::benchmarks::what(benchmark)
                ),
            ));
        }
    }
    Ok(())
}

/// Whether the languages that a method names are there.
fn tells_languages(
    at: usize,
    spec: &MethodSpec,
    languages: &[Language],
) -> Result<(), ExperimentError> {
    let key = || format!("methods[{at}].params");
    let method = by_name(&spec.name).map_err(|e| ExperimentError::plan(key(), e.to_string()))?;
    let names: Vec<&str> = languages.iter().map(Language::code).collect();
    method
        .check_groups(&spec.options(), &names)
        .map_err(|e| ExperimentError::plan(key(), e.to_string()))
}

/// Whether a method can learn its ranks, and has the groups that it names, from the examples of one category and language.
fn learns(at: usize, spec: &MethodSpec, set: &FitSet) -> Result<(), ExperimentError> {
    let name = spec.name.as_str();
    let key = |field: &str| format!("methods[{at}].{field}");
    let method = by_name(name).map_err(|e| ExperimentError::plan(key("name"), e.to_string()))?;
    let needs = method.needs();
    let place = format!("{} in {}", set.category, set.language);
    // Counterfactual sets have a sentence of every group; in text, a group may not occur.
    let groups = set.groups.len();
    let occurs = |class: usize| needs.tuples || set.classes.iter().any(|c| c.1 == class);
    let present = (0..groups).filter(|&g| occurs(g)).count();
    let classes = present + usize::from(!needs.tuples && occurs(groups));
    let missing = || {
        let names = (0..groups).filter(|&g| !occurs(g));
        names
            .map(|g| set.groups[g].as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if (needs.groups && present < 2) || classes < needs.classes {
        return Err(ExperimentError::plan(
            key("name"),
            format!(
                "`{name}` compares groups, but no sentence of {place} names one of: {}; take it, the category or the language out",
                missing()
            ),
        ));
    }
    let names: Vec<&str> = (0..groups)
        .filter(|&g| occurs(g))
        .map(|g| set.groups[g].as_str())
        .collect();
    method.check_groups(&spec.options(), &names).map_err(|e| {
        ExperimentError::plan(key("params"), format!("{e} (in the text of {place})"))
    })?;
    let examples = if needs.tuples {
        set.tuples.len() * groups.saturating_sub(1)
    } else {
        set.classes.len()
    };
    let most = method.max_rank(classes, present, usize::MAX).min(examples);
    let large = |extent: &Extent| matches!(extent, Extent::Rank(rank) if *rank > most);
    match spec.extents().into_iter().find(large) {
        Some(Extent::Rank(rank)) => Err(ExperimentError::plan(
            key("rank"),
            format!(
                "{rank} is more than the {most} directions that `{name}` can find in the text of {place}"
            ),
        )),
        _ => Ok(()),
    }
}
