//! The documentation as a whole: links that lead somewhere, pages that the table of contents names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a folder above")
        .to_owned()
}

/// README.md and all pages of the book.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    let mut todo = vec![root().join("docs")];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the book has its pages");
    found
}

/// Lines outside fenced blocks of code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Targets of the links in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| Some(&rest[..rest.find(')')?]))
}

/// The anchors of a page, as mdBook and GitHub make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page");
        for (number, line) in prose(&text) {
            for target in targets(line).filter(|t| !t.contains("://") && !t.starts_with("mailto:"))
            {
                checked += 1;
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path = match file {
                    "" => page.clone(),
                    file => page.parent().expect("a folder").join(file),
                };
                let there = path.exists()
                    && (anchor.is_empty()
                        || std::fs::read_to_string(&path)
                            .is_ok_and(|text| anchors(&text).contains(anchor)));
                if !there {
                    broken.push(format!("{}:{}: {target}", page.display(), number + 1));
                }
            }
        }
    }
    assert!(checked > 100, "{checked} links are too few to be all");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Files of the repository that a line names in backticks. Patterns and names in capitals stand for several.
fn files_named(line: &str) -> impl Iterator<Item = &str> {
    let folders = [
        "crates/",
        "xtask/",
        "tests/",
        "docs/",
        "datasets/",
        "experiments/",
    ];
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(move |span| {
        folders.iter().any(|folder| span.starts_with(folder))
            && span
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c))
    })
}

#[test]
fn every_file_that_a_page_names_is_there() {
    // What the guides tell how to make.
    let made = [
        "group_means",
        "group-means",
        "my_task",
        "my_space",
        "my_llm",
    ];
    let mut missing = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page");
        for (number, line) in prose(&text) {
            for file in files_named(line).filter(|f| !made.iter().any(|m| f.contains(m))) {
                checked += 1;
                if !root().join(file).exists() {
                    missing.push(format!("{}:{}: {file}", page.display(), number + 1));
                }
            }
        }
    }
    assert!(checked > 30, "{checked} files are too few to be all");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_table_of_contents_names_every_page_once() {
    let docs = root().join("docs");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md")).expect("a table of contents");
    let mut named = BTreeSet::new();
    for target in summary.lines().flat_map(targets) {
        assert!(named.insert(docs.join(target)), "{target} is there twice");
    }
    let all: BTreeSet<PathBuf> = pages()
        .into_iter()
        .filter(|p| p.starts_with(&docs) && !p.ends_with("SUMMARY.md"))
        .collect();
    let forgotten: Vec<_> = all.difference(&named).collect();
    assert!(forgotten.is_empty(), "SUMMARY.md lacks {forgotten:?}");
}

#[test]
fn headings_have_the_anchors_that_renderers_give_them() {
    let found = anchors("# A b\n```\n# code\n```\n## Mean gap (`mean_gap`)\n## It ran, but …\n");
    let expect = ["a-b", "mean-gap-mean_gap", "it-ran-but-"];
    assert_eq!(found, expect.map(str::to_owned).into());
}
