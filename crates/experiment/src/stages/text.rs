//! Obtains the text, which is read or generated.

use std::path::Path;

use super::Runner;
use crate::ExperimentError;
use crate::cache::Cache;
use crate::plan::Plan;
use crate::prepare::{self, Prepared};
use crate::progress::Event;
use crate::spec::{DataSpec, attribute_file, data_file};

/// Obtains the text of the run.
pub fn prepare_stage(run: &mut Runner<'_>) -> Result<(Prepared, String), ExperimentError> {
    let spec = &run.plan.spec;
    // Files are part of the key by their content, so that a changed file is read again.
    let digests = data_digests(run.plan)?;
    let key = Cache::key(
        "text",
        &(
            &spec.data,
            &spec.languages,
            &spec.categories,
            &spec.fit,
            &spec.benchmarks,
            spec.seed,
            &digests,
        ),
    );
    let cached = run.load::<Prepared>("text", &key)?;
    let found = cached.is_some();
    let prepared = run.stage("text", found, |run| match cached {
        Some(prepared) => Ok(prepared),
        None => {
            let prepared = prepare::prepare(&run.plan.spec, &run.plan.options.data_dir)?;
            run.cache.store("text", &key, &prepared)?;
            Ok(prepared)
        }
    })?;
    for finding in &prepared.findings {
        (run.listener)(Event::Note(finding.clone()));
    }
    Ok((prepared, key))
}

/// Computes the digest of every data file of the plan.
pub fn data_digests(plan: &Plan) -> Result<Vec<(String, String)>, ExperimentError> {
    let mut files = Vec::new();
    if let DataSpec::Files {
        parallel,
        pairs,
        attributes,
        ..
    } = &plan.spec.data
    {
        files.extend([parallel.clone(), pairs.clone()]);
        for &language in &plan.spec.languages {
            files.push(attribute_file(attributes, language));
        }
    }
    for benchmark in &plan.spec.benchmarks {
        files.extend(benchmark.files().into_iter().cloned());
    }
    files
        .into_iter()
        .map(|file| {
            let path = data_file(&plan.options.data_dir, &file);
            let mut hasher = blake3::Hasher::new();
            hash(&path, &mut hasher)?;
            Ok((file, hasher.finalize().to_hex()[..16].to_owned()))
        })
        .collect()
}

/// Content of a file, or of the files right in a folder. A prefix of line-aligned files has no single
/// content; its name stands for it.
fn hash(path: &Path, hasher: &mut blake3::Hasher) -> Result<(), ExperimentError> {
    if path.is_file() {
        let reader = std::fs::File::open(path).map_err(ExperimentError::io(path))?;
        hasher
            .update_reader(reader)
            .map_err(ExperimentError::io(path))?;
    } else if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(ExperimentError::io(path))?;
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry.map_err(ExperimentError::io(path))?.path());
        }
        files.retain(|f| f.is_file());
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default();
            hasher.update(name.to_string_lossy().as_bytes());
            hash(&file, hasher)?;
        }
    }
    Ok(())
}
