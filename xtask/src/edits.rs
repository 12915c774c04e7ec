//! Changes of a workspace's text files: planned in memory first, written when every one is known.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use interlingua_files::Partial;

use interlingua_cli::output;

/// The nearest folder, from the current one upwards, that holds this workspace.
///
/// # Errors
/// When there is none.
pub fn workspace() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("the current folder")?;
    let holds = |folder: &&Path| {
        ["Cargo.toml", "crates/debias", "crates/metrics", "docs"]
            .iter()
            .all(|part| folder.join(part).exists())
    };
    match here.ancestors().find(holds) {
        Some(root) => Ok(root.to_owned()),
        None => bail!(
            "{} is not in a checkout of Interlingua: neither it nor a folder above has Cargo.toml, crates/debias, crates/metrics and docs",
            here.display()
        ),
    }
}

/// Planned changes; nothing is written before [`Edits::write`].
pub struct Edits {
    root: PathBuf,
    /// By path from the root: the text on disk, where there is a file, and the text to be.
    texts: BTreeMap<String, (Option<String>, String)>,
}

impl Edits {
    /// No changes yet.
    pub fn new(root: PathBuf) -> Edits {
        Edits {
            root,
            texts: BTreeMap::new(),
        }
    }

    /// Whether a file is there, or is planned.
    pub fn has(&self, name: &str) -> bool {
        self.texts.contains_key(name) || self.root.join(name).exists()
    }

    /// Text of a file with all planned changes.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn text(&self, name: &str) -> anyhow::Result<String> {
        match self.texts.get(name) {
            Some((_, text)) => Ok(text.clone()),
            None => std::fs::read_to_string(self.root.join(name))
                .with_context(|| format!("{name} of {}", self.root.display())),
        }
    }

    /// Plans a new text for a file, which need not be there yet.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn set(&mut self, name: &str, text: String) -> anyhow::Result<()> {
        let old = match self.texts.remove(name) {
            Some((old, _)) => old,
            None if self.has(name) => Some(self.text(name)?),
            None => None,
        };
        self.texts.insert(name.to_owned(), (old, text));
        Ok(())
    }

    /// Plans a line, indented like `anchor`'s list, before the first line `end` after the line `anchor`.
    ///
    /// # Errors
    /// A file without these lines.
    pub fn add_to_list(
        &mut self,
        name: &str,
        anchor: &str,
        end: &str,
        line: &str,
    ) -> anyhow::Result<()> {
        let text = self.text(name)?;
        let mut lines: Vec<&str> = text.lines().collect();
        let from = lines.iter().position(|l| l.trim() == anchor);
        let to = from.and_then(|from| {
            let close = lines[from..].iter().position(|l| l.trim() == end)?;
            Some(from + close)
        });
        let Some(to) = to else {
            bail!(
                "{name}: no line `{anchor}` with a line `{end}` after it; restore them, or add `{}` to the list by hand",
                line.trim()
            );
        };
        lines.insert(to, line);
        self.set(name, lines.join("\n") + "\n")
    }

    /// Plans a line `pub mod MODULE;` at its alphabetical place among the modules that are there, as rustfmt sorts them.
    ///
    /// # Errors
    /// A file without any such line, or with this one.
    pub fn add_module(&mut self, name: &str, module: &str) -> anyhow::Result<()> {
        let text = self.text(name)?;
        let mut lines: Vec<&str> = text.lines().collect();
        fn named(line: &str) -> Option<&str> {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.strip_prefix("mod ")?.strip_suffix(';')
        }
        let public = |line: &&str| line.starts_with("pub mod ") && named(line).is_some();
        let line = format!("pub mod {module};");
        let Some(first) = lines.iter().position(public) else {
            bail!("{name}: no line `pub mod …;`; add `{line}` by hand");
        };
        if lines.iter().any(|other| named(other) == Some(module)) {
            bail!("{name}: a module `{module}` is there already");
        }
        // Private ones stand among them; those behind them, such as tests, may have attributes above.
        let last = lines.iter().rposition(public).unwrap_or(first);
        let block = lines[last..]
            .iter()
            .take_while(|line| named(line).is_some());
        let end = last + block.count();
        let after = (first..end).find(|&at| named(lines[at]).is_some_and(|other| other > module));
        lines.insert(after.unwrap_or(end), &line);
        self.set(name, lines.join("\n") + "\n")
    }

    /// Names of the files that would change.
    pub fn changed(&self) -> Vec<&str> {
        self.texts
            .iter()
            .filter(|(_, (old, new))| old.as_ref() != Some(new))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The changes in words: new files with their length, other files with their new lines.
    pub fn describe(&self) -> String {
        let mut out = String::new();
        for name in self.changed() {
            let (old, new) = &self.texts[name];
            match old {
                None => {
                    let _ = writeln!(out, "  new      {name} ({} lines)", new.lines().count());
                }
                Some(old) => {
                    let _ = writeln!(out, "  changed  {name}");
                    for line in added(old, new) {
                        let _ = writeln!(out, "           + {}", line.trim());
                    }
                }
            }
        }
        out
    }

    /// Writes all changes: first beside the files, then, when that worked for all, in their place.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self) -> anyhow::Result<()> {
        let mut ready: Vec<(PathBuf, Partial)> = Vec::new();
        for name in self.changed() {
            let path = self.root.join(name);
            if path.exists() {
                output::check_page(&path)?;
            }
            let place = || path.display().to_string();
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            let beside = Partial::file(&path).with_context(place)?;
            let text = self.texts[name].1.as_bytes();
            beside.handle().write_all(text).with_context(place)?;
            ready.push((path, beside));
        }
        for (path, beside) in ready {
            beside
                .finish()
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// The lines of the new text between what both have in common at their beginning and end.
fn added<'a>(old: &str, new: &'a str) -> Vec<&'a str> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let short = old.len().min(new.len());
    let head = (0..short).take_while(|&i| old[i] == new[i]).count();
    let tail = (0..short - head)
        .take_while(|&i| old[old.len() - 1 - i] == new[new.len() - 1 - i])
        .count();
    new[head..new.len() - tail].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Edits {
        let mut edits = Edits::new(PathBuf::from("nowhere"));
        edits
            .texts
            .insert("f".into(), (Some(text.into()), text.into()));
        edits
    }

    #[test]
    fn modules_find_their_place() {
        for (module, expect) in [
            ("a", "pub mod a;\npub mod b;\nmod c;\npub mod d;\n"),
            ("bb", "pub mod b;\npub mod bb;\nmod c;\npub mod d;\n"),
            ("c2", "pub mod b;\nmod c;\npub mod c2;\npub mod d;\n"),
            ("e", "pub mod b;\nmod c;\npub mod d;\npub mod e;\n"),
        ] {
            let mut edits = planned("pub mod b;\nmod c;\npub mod d;\n");
            edits.add_module("f", module).unwrap();
            assert_eq!(edits.text("f").unwrap(), expect);
        }
        let mut edits = planned("pub mod b;\nmod c;\n\n#[cfg(test)]\nmod tests;\n");
        edits.add_module("f", "d").unwrap();
        let expect = "pub mod b;\nmod c;\npub mod d;\n\n#[cfg(test)]\nmod tests;\n";
        assert_eq!(edits.text("f").unwrap(), expect);
        let error = planned("pub mod b;\n").add_module("f", "b").unwrap_err();
        assert!(error.to_string().contains("there already"), "{error}");
        assert!(planned("mod b;\n").add_module("f", "c").is_err());
    }

    #[test]
    fn a_list_grows_at_its_end() {
        let mut edits = planned("x = [\n];\nall = [\n    a,\n];\ny = [\n];\n");
        edits.add_to_list("f", "all = [", "];", "    b,").unwrap();
        let expect = "x = [\n];\nall = [\n    a,\n    b,\n];\ny = [\n];\n";
        assert_eq!(edits.text("f").unwrap(), expect);
        assert_eq!(edits.describe(), "  changed  f\n           + b,\n");
        let error = edits.add_to_list("f", "none = [", "];", "b,").unwrap_err();
        assert!(error.to_string().contains("`none = [`"), "{error}");
        assert_eq!(edits.text("f").unwrap(), expect);
    }
}
