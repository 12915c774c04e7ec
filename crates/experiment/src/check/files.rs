//! Checks whether the data files of a spec exist, and says how to get the missing ones.

use std::path::Path;

use interlingua_data::Manifest;

use crate::ExperimentError;
use crate::options::Options;
use crate::spec::{DataSpec, Spec, attribute_file, data_file};

/// A file or folder that a spec names.
pub struct Needed {
    /// The key that names it.
    pub key: String,
    /// A description of the file, for messages.
    pub what: String,
    /// The name of the file in the spec.
    pub file: String,
    /// Whether the name may be the common beginning of the names of line-aligned files.
    pub prefix: bool,
}

/// Returns every file and folder that a spec names, in the order of its keys.
pub fn needed(spec: &Spec) -> Vec<Needed> {
    let mut all = Vec::new();
    if let DataSpec::Files {
        parallel,
        pairs,
        attributes,
        ..
    } = &spec.data
    {
        for (key, what, file, prefix) in [
            ("data.parallel", "parallel text", parallel, true),
            ("data.pairs", "pairs", pairs, false),
        ] {
            all.push(Needed {
                key: key.to_owned(),
                what: what.to_owned(),
                file: file.clone(),
                prefix,
            });
        }
        all.extend(spec.languages.iter().map(|&language| Needed {
            key: "data.attributes".to_owned(),
            what: format!("words of `{language}`"),
            file: attribute_file(attributes, language),
            prefix: false,
        }));
    }
    for (at, benchmark) in spec.benchmarks.iter().enumerate() {
        all.extend(benchmark.files().into_iter().map(|file| Needed {
            key: format!("benchmarks[{at}].path"),
            what: "benchmark".to_owned(),
            file: file.clone(),
            prefix: false,
        }));
    }
    all
}

/// Checks that every file and folder of a spec exists.
///
/// # Errors
/// The first that does not exist, with what would bring it.
pub fn files(spec: &Spec, options: &Options) -> Result<(), ExperimentError> {
    for needed in needed(spec) {
        if state(&needed, options).is_none() {
            let path = data_file(&options.data_dir, &needed.file);
            return Err(ExperimentError::plan(
                needed.key,
                format!(
                    "the {} should be in {}, which does not exist; say where the data are with --data-dir; {}",
                    needed.what,
                    path.display(),
                    Manifest::remedy(&needed.file, &options.manifests)
                ),
            ));
        }
    }
    Ok(())
}

/// Describes in words what exists of a file or folder; `None` if it does not exist.
pub fn state(needed: &Needed, options: &Options) -> Option<String> {
    let path = data_file(&options.data_dir, &needed.file);
    match std::fs::metadata(&path) {
        Ok(m) if m.is_file() => Some(format!("{:.1} MB", m.len() as f64 / 1e6)),
        Ok(_) => Some("folder".to_owned()),
        Err(_) if needed.prefix && begins_a_name(&path) => Some("line-aligned files".to_owned()),
        Err(_) => None,
    }
}

/// Whether some file's name begins with this path: `newstest` stands for `newstest.en` and `newstest.de`.
fn begins_a_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let entries = path
        .parent()
        .and_then(|folder| std::fs::read_dir(folder).ok());
    let is_one = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|e| e.file_name().to_string_lossy().starts_with(&*name))
    };
    entries.is_some_and(|mut entries| entries.any(is_one))
}
