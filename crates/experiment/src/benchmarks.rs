//! Reads the items of the tasks other than the pairs, on which an experiment evaluates its edits.

use std::path::Path;

use interlingua_data::OnBadRow;
use interlingua_tasks::{ItemSet, Items, Source, TaskError, registry};

use crate::ExperimentError;
use crate::spec::{DataSpec, Spec};

/// The items of one task for one language, and for one category or for none.
pub type Benchmark = ItemSet<Items>;

/// Reads the items of every task that a spec lists. Messages about what was skipped are added to `findings`.
///
/// # Errors
/// Files that cannot be read, a language or category that the spec does not have, or a task without any items left.
pub fn load(
    spec: &Spec,
    data_dir: &Path,
    findings: &mut Vec<String>,
) -> Result<Vec<Benchmark>, ExperimentError> {
    let mut all = Vec::new();
    for (at, task) in spec.benchmarks.iter().enumerate() {
        let mut source = Source {
            data_dir,
            languages: &spec.languages,
            categories: &spec.categories,
            on_bad_row: match &spec.data {
                DataSpec::Files { on_bad_row, .. } => *on_bad_row,
                DataSpec::Testbed { .. } => OnBadRow::Skip,
            },
            findings,
        };
        let mut made = task.load(&mut source).map_err(listed(at))?;
        made.retain(|set| !set.items.is_empty());
        if let Some(bad) = made
            .iter()
            .find(|set| !spec.languages.contains(&set.language))
        {
            return Err(ExperimentError::plan(
                format!("benchmarks[{at}].language"),
                format!(
                    "`{}` is not one of the experiment's languages",
                    bad.language
                ),
            ));
        }
        let is_wanted = |set: &Benchmark| {
            let category = set.category.as_ref();
            category.is_none_or(|category| spec.categories.contains(category))
        };
        if !made.iter().any(is_wanted) {
            return Err(ExperimentError::plan(
                format!("benchmarks[{at}]"),
                format!("has no items for {}", spec.categories.join(", ")),
            ));
        }
        all.extend(made);
    }
    Ok(all)
}

/// Makes errors of the task at this position of `[[benchmarks]]`.
pub fn listed(at: usize) -> impl Fn(TaskError) -> ExperimentError {
    move |error| match error {
        TaskError::Options { key, problem } => {
            let key = match key.as_str() {
                "" => format!("benchmarks[{at}]"),
                key => format!("benchmarks[{at}].{key}"),
            };
            ExperimentError::Plan { key, problem }
        }
        other => ExperimentError::of_task(&format!("benchmarks[{at}]"), other),
    }
}

/// Describes in words what the items are about.
pub fn what(set: &Benchmark) -> String {
    let name = set.name(set.items.about());
    match &set.category {
        Some(category) => format!("{name} for {category} in {}", set.language),
        None => format!("{name} in {}", set.language),
    }
}

/// Returns the names of the benchmarks in rows, in the order of the registry.
pub fn names(sets: &[Benchmark]) -> Vec<String> {
    let mut names = Vec::new();
    for about in registry::TASKS {
        for set in sets.iter().filter(|set| set.items.about() == *about) {
            let name = set.name(about).to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}
