//! Holds the map: which crate may know which, what a method must say about itself, what
//! experiments and documentation must be.
//!
//! The crates form layers: xtask → cli → experiment → tasks → metrics, debias, autoencoder, models, data →
//! edits, backend, files. Arrows point downwards only, and each heavy third-party crate has its place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use interlingua_experiment::spec::Spec;
use interlingua_metrics::info::METRICS;
use interlingua_training::recipe::PretrainSpec;

/// Every crate of the workspace, its folder, and the crates of the workspace it may depend on.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("interlingua-files", "crates/files", &[]),
    ("interlingua-backend", "crates/backend", &[]),
    ("interlingua-data", "crates/data", &["interlingua-files"]),
    ("interlingua-edits", "crates/edits", &[]),
    (
        "interlingua-models",
        "crates/models",
        &[
            "interlingua-files",
            "interlingua-backend",
            "interlingua-edits",
        ],
    ),
    (
        "interlingua-autoencoder",
        "crates/autoencoder",
        &["interlingua-files", "interlingua-backend"],
    ),
    (
        "interlingua-debias",
        "crates/debias",
        &["interlingua-edits"],
    ),
    ("interlingua-metrics", "crates/metrics", &[]),
    (
        "interlingua-report",
        "crates/report",
        &["interlingua-debias", "interlingua-files"],
    ),
    (
        "interlingua-spaces",
        "crates/spaces",
        &[
            "interlingua-autoencoder",
            "interlingua-backend",
            "interlingua-data",
            "interlingua-edits",
            "interlingua-models",
        ],
    ),
    (
        "interlingua-tasks",
        "crates/tasks",
        &[
            // The device on which classifiers are checked.
            "interlingua-backend",
            "interlingua-data",
            "interlingua-models",
            "interlingua-metrics",
        ],
    ),
    (
        "interlingua-training",
        "crates/training",
        &[
            "interlingua-backend",
            "interlingua-data",
            "interlingua-files",
            "interlingua-metrics",
            "interlingua-models",
        ],
    ),
    (
        "interlingua-experiment",
        "crates/experiment",
        &[
            "interlingua-files",
            "interlingua-backend",
            "interlingua-data",
            "interlingua-edits",
            "interlingua-models",
            "interlingua-autoencoder",
            "interlingua-debias",
            "interlingua-metrics",
            "interlingua-report",
            "interlingua-spaces",
            "interlingua-tasks",
            "interlingua-training",
        ],
    ),
    (
        "interlingua-tune",
        "crates/tune",
        &[
            "interlingua-data",
            "interlingua-edits",
            "interlingua-models",
            "interlingua-debias",
            "interlingua-metrics",
            // Opens the tiny models of its tests.
            "interlingua-backend",
        ],
    ),
    (
        "interlingua-cli",
        "crates/cli",
        &[
            "interlingua-experiment",
            "interlingua-files",
            "interlingua-backend",
            "interlingua-data",
            "interlingua-edits",
            "interlingua-models",
            "interlingua-autoencoder",
            "interlingua-debias",
            "interlingua-metrics",
            "interlingua-tasks",
            "interlingua-training",
            "interlingua-tune",
        ],
    ),
    (
        "xtask",
        "xtask",
        &[
            "interlingua-cli",
            "interlingua-experiment",
            "interlingua-files",
            "interlingua-backend",
            "interlingua-data",
            "interlingua-edits",
            "interlingua-models",
            "interlingua-autoencoder",
            "interlingua-debias",
            "interlingua-metrics",
            "interlingua-spaces",
            "interlingua-tasks",
            "interlingua-training",
            "interlingua-tune",
        ],
    ),
    ("interlingua-tests", "tests", &[]),
];

/// Third-party crates that only some may depend on. A crate that is not listed may be used anywhere.
const PLACES: &[(&str, &[&str])] = &[
    // Tensors.
    ("burn", &["interlingua-backend", "interlingua-autoencoder"]),
    ("burn-flex", &["interlingua-backend"]),
    ("burn-wgpu", &[]),
    ("burn-cuda", &[]),
    // Network.
    ("ureq", &["interlingua-data", "interlingua-models"]),
    ("hf-hub", &["interlingua-models"]),
    // Files and archives.
    ("polars", &["interlingua-data", "interlingua-report"]),
    (
        "maud",
        &[
            "interlingua-report",
            "interlingua-experiment",
            "interlingua-cli",
        ],
    ),
    ("encoding_rs", &["interlingua-data"]),
    ("flate2", &["interlingua-data"]),
    ("quick-xml", &["interlingua-data"]),
    (
        "sha2",
        &[
            "interlingua-data",
            "interlingua-models",
            "interlingua-tests",
        ],
    ),
    ("tar", &["interlingua-data"]),
    ("zip", &["interlingua-autoencoder", "interlingua-data"]),
    ("tempfile", &["interlingua-models", "xtask"]),
    (
        "toml",
        &[
            "interlingua-data",
            "interlingua-experiment",
            "interlingua-training",
        ],
    ),
    ("minijinja", &["interlingua-models"]),
    ("minijinja-contrib", &["interlingua-models"]),
    ("tokenizers", &["interlingua-models"]),
    // Errors are typed below the command line, which alone shows them.
    ("anyhow", &["interlingua-cli", "xtask"]),
    ("clap", &["interlingua-cli", "xtask"]),
    ("mimalloc", &["interlingua-cli"]),
    ("indicatif", &["interlingua-cli"]),
    ("signal-hook", &["interlingua-cli"]),
    // Tools of tests.
    ("criterion", &[]),
    ("proptest", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a folder above")
        .to_owned()
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names in a table of dependencies, those of one platform included.
fn dependencies(manifest: &toml::Table, kind: &str) -> BTreeSet<String> {
    let names = |table: Option<&toml::Value>| -> Vec<String> {
        let table = table.and_then(toml::Value::as_table);
        table.into_iter().flat_map(|t| t.keys().cloned()).collect()
    };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = targets
        .into_iter()
        .flat_map(|t| t.values())
        .flat_map(|t| names(t.get(kind)));
    names(manifest.get(kind))
        .into_iter()
        .chain(of_targets)
        .collect()
}

/// All files under a folder with one of these endings; hidden folders and `target` are left out.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for path in std::fs::read_dir(&at)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                todo.push(path);
            } else if endings.iter().any(|e| name.ends_with(e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_map_names_every_crate_of_the_workspace() {
    let members: BTreeSet<String> = manifest("")["workspace"]["members"]
        .as_array()
        .expect("a list of members")
        .iter()
        .map(|m| m.as_str().expect("a path").to_owned())
        .collect();
    let map: BTreeSet<String> = ARROWS.iter().map(|a| a.1.to_owned()).collect();
    assert_eq!(members, map);
    for (name, folder, _) in ARROWS {
        assert_eq!(manifest(folder)["package"]["name"].as_str(), Some(*name));
    }
}

#[test]
fn arrows_point_downwards() {
    let crates: BTreeSet<&str> = ARROWS.iter().map(|a| a.0).collect();
    for (name, folder, allowed) in ARROWS {
        let manifest = manifest(folder);
        for kind in ["dependencies", "build-dependencies"] {
            for dependency in dependencies(&manifest, kind) {
                assert!(
                    !crates.contains(dependency.as_str()) || allowed.contains(&dependency.as_str()),
                    "{name} depends on {dependency}; the map allows {allowed:?}"
                );
            }
        }
    }
}

#[test]
fn heavy_crates_stay_in_their_place() {
    for (name, folder, _) in ARROWS {
        let manifest = manifest(folder);
        for dependency in dependencies(&manifest, "dependencies") {
            if let Some((_, allowed)) = PLACES.iter().find(|p| p.0 == dependency) {
                assert!(
                    allowed.contains(name),
                    "{name} depends on {dependency}, whose place is {allowed:?}"
                );
            }
        }
    }
}

/// A dependency that no source names costs every build and hides what the crate is about.
#[test]
fn every_dependency_is_used() {
    // Named for its features alone: it switches on the SIMD paths of the backend that burn brings.
    let for_features = [("interlingua-backend", "burn-flex")];
    // The crate of tests lists every crate of the workspace, for whichever test needs it.
    let listed = ARROWS.iter().filter(|a| a.0 != "interlingua-tests");
    for (name, folder, _) in listed {
        let text: String = files(&root().join(folder), &[".rs"])
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap_or_default())
            .collect();
        let manifest = manifest(folder);
        for kind in ["dependencies", "dev-dependencies"] {
            for dependency in dependencies(&manifest, kind) {
                assert!(
                    text.contains(&dependency.replace('-', "_"))
                        || for_features.contains(&(*name, &dependency)),
                    "{name}: nothing uses {dependency} of [{kind}]"
                );
            }
        }
    }
}

/// An example of a crate: one file, or a folder with a `main.rs`, which may take long.
struct Example {
    name: String,
    path: PathBuf,
    alone: bool,
}

fn examples(folder: &str) -> Vec<Example> {
    let folder = root().join(folder).join("examples");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let path = entry.path();
            let alone = path.extension().is_some_and(|e| e == "rs");
            Some(Example {
                name: path.file_stem()?.to_string_lossy().into_owned(),
                path: if alone { path } else { path.join("main.rs") },
                alone,
            })
        })
        .collect()
}

/// A library that can be used alone shows it; `.ci/run` runs all of them.
#[test]
fn every_library_has_an_example() {
    let mut names = BTreeSet::new();
    for (name, folder, _) in ARROWS.iter().filter(|a| a.1.starts_with("crates/")) {
        let examples = examples(folder);
        assert!(
            examples.iter().any(|e| e.alone),
            "{name} has no example of one file"
        );
        for example in examples {
            let text = std::fs::read_to_string(&example.path).unwrap_or_default();
            let command = match example.alone {
                true => format!("cargo run --example {}", example.name),
                false => format!("--example {}", example.name),
            };
            let place = example.path.display();
            assert!(text.contains(&command), "{place} does not say `{command}`");
            // `cargo run --example` of the workspace needs names that differ.
            assert!(
                names.insert(example.name),
                "{place} has the name of another"
            );
        }
    }
}

/// What is computed must not depend on where: these crates see numbers only.
#[test]
fn methods_and_metrics_touch_no_file_and_no_network() {
    for folder in ["crates/debias/src", "crates/metrics/src"] {
        for path in files(&root().join(folder), &[".rs"]) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for word in ["std::fs", "std::net", "std::env", "std::process", "File::"] {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn every_method_says_what_it_is() {
    let mut names = BTreeSet::new();
    for method in interlingua_debias::registry() {
        let name = method.name();
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(!name.is_empty() && name.chars().all(legal), "{name}");
        assert!(names.insert(name), "{name} is there twice");
        for (what, text) in [
            ("title", method.title()),
            ("citation", method.citation()),
            ("summary", method.summary()),
        ] {
            assert!(!text.trim().is_empty(), "{name} has no {what}");
        }
        assert_eq!(method.docs(), format!("methods/{name}.md"));
        for param in method.params() {
            assert!(
                !param.help.trim().is_empty(),
                "{name}: parameter {} has no help",
                param.name
            );
        }
    }
    assert!(names.len() >= 8);
}

/// The body of a page is written by hand: it must not be forgotten with a new method, nor stay behind
/// with one that is gone.
#[test]
fn every_method_has_its_page() {
    let missing: Vec<&str> = interlingua_debias::registry()
        .iter()
        .map(|method| method.docs())
        .filter(|page| {
            let text = std::fs::read_to_string(root().join("docs").join(page));
            !text.is_ok_and(|t| t.starts_with("# ") && t.lines().count() > 5)
        })
        .collect();
    assert!(missing.is_empty(), "docs/ has no page {missing:?}");
    for method in interlingua_debias::registry() {
        // The head of the page names this file.
        let code = format!(
            "crates/debias/src/methods/{}.rs",
            method.name().replace('-', "_")
        );
        assert!(root().join(&code).is_file(), "{}: no {code}", method.name());
    }
    for path in files(&root().join("docs/methods"), &[".md"]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let page = format!("methods/{name}");
        assert!(
            name == "index.md"
                || interlingua_debias::registry()
                    .iter()
                    .any(|m| m.docs() == page),
            "docs/{page} is the page of no method"
        );
    }
}

/// Names of metrics that source code writes into rows: what a row is made with, and every other word in
/// quotes that is joined by underscores, but for the fields of what the file reads. A name with a hole, `probe_{}`, is
/// cut off before it.
fn metrics_written(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
    for line in code.filter(|line| !line.trim_start().starts_with("//")) {
        let parts: Vec<&str> = line.split('"').collect();
        for at in (1..parts.len()).step_by(2) {
            let name = parts[at].split('{').next().unwrap_or_default();
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let row = parts[at - 1].ends_with("row(");
            let field = text.contains(&format!("pub {name}: "));
            if !name.is_empty() && !field && name.chars().all(legal) && (row || name.contains('_'))
            {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// Whoever reads rows finds every metric in `cargo xtask metrics` and in the documentation.
#[test]
fn every_metric_of_a_row_is_in_the_registry() {
    let source = root().join("crates/experiment/src");
    let mut texts = files(&source.join("measure"), &[".rs"]);
    texts.extend(files(&root().join("crates/tasks/src"), &[".rs"]));
    let mut written = BTreeSet::new();
    for path in texts {
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        written.extend(metrics_written(&text));
    }
    let some = [
        "mean_gap",
        "calibration",
        "operating_cost",
        "stereoset_ss",
        "probe_accuracy_",
    ];
    for name in some {
        assert!(written.contains(name), "{name} is not seen in {written:?}");
    }
    let known = |name: &String| {
        METRICS.iter().any(|m| match name.ends_with('_') {
            true => m.name.starts_with(name.as_str()),
            false => m.name == name,
        })
    };
    let unknown: Vec<&String> = written.iter().filter(|name| !known(name)).collect();
    assert!(
        unknown.is_empty(),
        "crates/metrics/src/info.rs lacks {unknown:?}"
    );
}

#[test]
fn names_of_metrics_are_seen_in_source() {
    let text = "// \"not_this\"\nadd(\n    \"mean_gap\", x)\nblank.row(\"plain\", y); z(\"other\")\n\
        format!(\"probe_{}\", k); e(\"a text_b\")\n#[cfg(test)]\n\"in_tests\"\n";
    let expect = ["mean_gap", "plain", "probe_"].map(str::to_owned);
    assert_eq!(metrics_written(text), expect.into());
}

#[test]
fn every_experiment_can_be_read() {
    let experiments = files(&root().join("experiments"), &[".toml"]);
    assert!(!experiments.is_empty());
    for path in experiments {
        for quick in [false, true] {
            let text = std::fs::read_to_string(&path).expect("a file");
            let table: toml::Table = text.parse().expect("TOML");
            let read = match table.contains_key("training") {
                true => PretrainSpec::read(&path, quick)
                    .map(|_| ())
                    .map_err(|e| e.to_string()),
                false => Spec::read(&path, quick)
                    .map(|_| ())
                    .map_err(|e| e.to_string()),
            };
            if let Err(error) = read {
                panic!("quick: {quick}: {error}");
            }
        }
    }
}

/// What is committed must mean the same on every machine.
#[test]
fn nothing_names_a_folder_of_one_machine() {
    // Put together here, so that this file does not name one.
    let folders: Vec<String> = ["root", "home", "work", "Users", "tmp"]
        .iter()
        .map(|name| format!("/{name}/"))
        .collect();
    let mut texts = files(&root().join("docs"), &[".md", ".toml", ".svg", ".html"]);
    for folder in ["crates", "xtask", "tests", "experiments", "datasets"] {
        texts.extend(files(&root().join(folder), &[".rs", ".toml", ".md", ".py"]));
    }
    texts.extend(
        ["README.md", "CONTRIBUTING.md", "Cargo.toml"]
            .iter()
            .map(|name| root().join(name))
            .filter(|path| path.is_file()),
    );
    let mut found = Vec::new();
    for path in texts {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            // A path of the machine starts a word; in an address, a host stands before it.
            let starts = |folder: &String| {
                line.match_indices(folder.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c))
                })
            };
            if folders.iter().any(starts) {
                found.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
