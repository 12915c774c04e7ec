//! Finds the files that this project ships in its folder `datasets`: manifests, sentence templates, word lists.

use std::path::{Path, PathBuf};

/// Returns the folder `datasets` of this project. The first of these that exists is taken: the one in the current
/// folder, the one of the workspace whose program cargo is running, and the one of the workspace in which the program
/// was built, which an installed program needs.
///
/// If none exists, the last is returned, so that an error names a path that was looked for.
pub fn folder() -> PathBuf {
    let ran_by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ran_by_cargo
        .iter()
        .flat_map(|package| package.ancestors().skip(1).take(2));
    let mut folders = std::iter::once(Path::new(""))
        .chain(folders)
        .map(|folder| folder.join("datasets"));
    // Any folder may be called so; ours has the templates.
    folders
        .find(|folder| folder.join("templates").is_dir())
        .unwrap_or_else(|| {
            built_in
                .ancestors()
                .nth(2)
                .unwrap_or(built_in)
                .join("datasets")
        })
}

/// Returns the path of a file whose name begins with `datasets/`; `None` for other names.
pub fn file(name: &str) -> Option<PathBuf> {
    let rest = Path::new(name).strip_prefix("datasets").ok()?;
    let here = PathBuf::from(name);
    Some(match here.exists() {
        true => here,
        false => folder().join(rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_installed_finds_the_files_of_the_project() {
        let found = file("datasets/templates/occupations.toml").unwrap();
        assert!(found.is_file(), "{}", found.display());
        assert_eq!(file("my/datasets/x.tsv"), None);
        let missing = file("datasets/none.tsv").unwrap();
        assert!(missing.ends_with("datasets/none.tsv") && missing.is_absolute());
    }
}
