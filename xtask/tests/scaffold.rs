//! `cargo xtask new-debiaser`, `new-metric`, `new-task`, `new-space`, `new-architecture` and `docs`, on copies of this workspace's files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

#[path = "tree/mod.rs"]
mod tree;
use tree::files;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A copy of everything that the commands read or change.
struct Checkout {
    folder: TempDir,
}

impl Checkout {
    fn new() -> Checkout {
        let checkout = Checkout {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for part in [
            "docs",
            "crates/debias/src",
            "crates/metrics/src",
            "crates/models/src/architectures",
            "crates/spaces/src",
            "crates/tasks/src",
        ] {
            for (name, bytes) in files(&root().join(part)) {
                checkout.write(&format!("{part}/{name}"), &bytes);
            }
        }
        checkout.write("Cargo.toml", b"[workspace]\n");
        checkout
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("a text file")
    }

    fn replace(&self, name: &str, old: &str, new: &str) {
        let text = self.text(name);
        assert!(text.contains(old), "{name} lacks {old:?}");
        self.write(name, text.replace(old, new).as_bytes());
    }

    fn all(&self) -> BTreeMap<String, Vec<u8>> {
        files(self.folder.path())
    }

    /// Runs a command somewhere below the copy, which it has to find by itself.
    fn run(&self, words: &[&str]) -> Output {
        run(&self.folder.path().join("crates/debias"), words)
    }
}

fn run(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(words)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn check_works(output: &Output) -> String {
    let text = said(output);
    assert!(output.status.success(), "{text}");
    text
}

/// The command fails with these words, and the copy is as it was.
fn check_refused(checkout: &Checkout, words: &[&str], expect: &[&str]) {
    let before = checkout.all();
    let output = checkout.run(words);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
    for part in expect {
        assert!(text.contains(part), "{words:?} lacks {part:?}: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(before == checkout.all(), "{words:?} changed something");
}

/// Fails until `cargo xtask docs` was run after a change of the registries or of their pages.
#[test]
fn the_documentation_says_what_the_registries_say() {
    check_works(&run(&root(), &["docs", "--check"]));
}

#[test]
fn a_page_that_drifted_is_found_and_mended() {
    let checkout = Checkout::new();
    let straight = checkout.all();
    for (name, old, new) in [
        (
            "docs/methods/leace.md",
            "| `affine` | true |",
            "| `affine` | false |",
        ),
        ("docs/methods/inlp.md", "# INLP", "# ILNP"),
        (
            "docs/methods/index.md",
            "[densray](densray.md)",
            "[denseray](densray.md)",
        ),
        ("docs/metrics/pairs.md", "| ideal | 50 |", "| ideal | 100 |"),
        ("docs/SUMMARY.md", "  - [INLP](methods/inlp.md)\n", ""),
    ] {
        checkout.replace(name, old, new);
        check_refused(&checkout, &["docs", "--check"], &[name, "cargo xtask docs"]);
        check_works(&checkout.run(&["docs"]));
        assert!(checkout.all() == straight, "{name} is not mended");
    }
    let page = "docs/methods/random.md";
    std::fs::remove_file(checkout.folder.path().join(page)).expect("a page");
    check_refused(&checkout, &["docs", "--check"], &[page]);
    check_works(&checkout.run(&["docs"]));
    assert!(
        checkout
            .text(page)
            .starts_with("# Random subspace (`random`)\n")
    );
}

#[test]
fn a_page_without_marks_gets_them_and_keeps_its_body() {
    let checkout = Checkout::new();
    checkout.write(
        "docs/methods/leace.md",
        b"# Old title\n\n    formula\n\nText.\n",
    );
    check_works(&checkout.run(&["docs"]));
    let page = checkout.text("docs/methods/leace.md");
    assert!(
        page.starts_with("# LEACE (`leace`)\n\n<!-- begin head -->\n"),
        "{page}"
    );
    assert!(
        page.ends_with("<!-- end head -->\n\n    formula\n\nText.\n"),
        "{page}"
    );
    checkout.replace("docs/methods/leace.md", "<!-- end head -->\n", "");
    check_refused(
        &checkout,
        &["docs"],
        &["docs/methods/leace.md", "<!-- end head -->"],
    );
}

#[test]
fn a_new_debiaser_is_wherever_it_must_be() {
    let checkout = Checkout::new();
    let before = checkout.all();
    let plan = check_works(&checkout.run(&["new-debiaser", "my-method", "--dry-run"]));
    assert!(before == checkout.all(), "a dry run changes nothing");
    let made = check_works(&checkout.run(&["new-debiaser", "my-method"]));
    for (name, line) in [
        (
            "crates/debias/src/methods/my_method.rs",
            "pub struct MyMethod;",
        ),
        ("crates/debias/src/methods/mod.rs", "pub mod my_method;"),
        (
            "crates/debias/src/methods/mod.rs",
            "        &my_method::MyMethod,",
        ),
        ("docs/methods/my-method.md", "# My method (`my-method`)"),
        ("docs/SUMMARY.md", "  - [My method](methods/my-method.md)"),
        ("docs/methods/index.md", "| [my-method](my-method.md) |"),
    ] {
        assert!(plan.contains(name) && made.contains(name), "{name}: {made}");
        let text = checkout.text(name);
        let there = text.lines().filter(|l| l.starts_with(line)).count();
        assert_eq!(there, 1, "{name}: {line}");
    }
    assert!(made.contains("cargo test --workspace my_method"), "{made}");
    let after = checkout.all();
    assert_eq!(
        after.len(),
        before.len() + 2,
        "only its file and its page are new"
    );
    // The registry line is the last one, and everything else is as it was.
    let registry = checkout.text("crates/debias/src/methods/mod.rs");
    assert!(registry.contains("        &my_method::MyMethod,\n    ];\n    ALL\n"));
    let without = registry
        .replace("        &my_method::MyMethod,\n", "")
        .replace("pub mod my_method;\n", "");
    assert_eq!(
        without.as_bytes(),
        before["crates/debias/src/methods/mod.rs"]
    );
    for text in [
        checkout.text("crates/debias/src/methods/my_method.rs"),
        checkout.text("docs/methods/my-method.md"),
    ] {
        for left in [
            "new-method",
            "new_method",
            "NewMethod",
            "New method",
            "todo!",
        ] {
            assert!(!text.contains(left), "{left} is left in:\n{text}");
        }
    }
    check_refused(
        &checkout,
        &["new-debiaser", "my-method"],
        &["crates/debias/src/methods/my_method.rs is there already"],
    );
}

#[test]
fn a_new_metric_is_wherever_it_must_be() {
    let checkout = Checkout::new();
    let before = checkout.all();
    let made = check_works(&checkout.run(&["new-metric", "my_metric"]));
    for (name, line) in [
        ("crates/metrics/src/my_metric.rs", "pub fn my_metric("),
        ("crates/metrics/src/lib.rs", "pub mod my_metric;"),
        ("crates/metrics/src/info.rs", "    crate::my_metric::INFO,"),
        ("docs/metrics/my_metric.md", "# My metric"),
        ("docs/SUMMARY.md", "  - [My metric](metrics/my_metric.md)"),
        ("docs/metrics/index.md", "| `my_metric` | My metric |"),
    ] {
        assert!(made.contains(name), "{name}: {made}");
        let text = checkout.text(name);
        let there = text.lines().filter(|l| l.starts_with(line)).count();
        assert_eq!(there, 1, "{name}: {line}");
    }
    assert_eq!(checkout.all().len(), before.len() + 2);
    assert!(
        checkout
            .text("crates/metrics/src/info.rs")
            .contains("    crate::my_metric::INFO,\n];\n")
    );
}

#[test]
fn a_new_task_is_wherever_it_must_be() {
    let checkout = Checkout::new();
    let before = checkout.all();
    let plan = check_works(&checkout.run(&["new-task", "my-task", "--dry-run"]));
    assert!(before == checkout.all(), "a dry run changes nothing");
    let made = check_works(&checkout.run(&["new-task", "my-task"]));
    for (name, line) in [
        ("crates/tasks/src/my_task.rs", "pub struct MyTask;"),
        ("crates/tasks/src/lib.rs", "pub mod my_task;"),
        (
            "crates/tasks/src/registry.rs",
            "    MyTask(crate::my_task::MyTask),",
        ),
        ("crates/metrics/src/my_task.rs", "pub fn my_task("),
        ("crates/metrics/src/info.rs", "    crate::my_task::INFO,"),
        ("docs/metrics/my_task.md", "# My task"),
        ("docs/SUMMARY.md", "  - [My task](metrics/my_task.md)"),
    ] {
        assert!(plan.contains(name) && made.contains(name), "{name}: {made}");
        let text = checkout.text(name);
        let there = text.lines().filter(|l| l.starts_with(line)).count();
        assert_eq!(there, 1, "{name}: {line}");
    }
    assert_eq!(checkout.all().len(), before.len() + 3);
    let registry = checkout.text("crates/tasks/src/registry.rs");
    assert!(registry.contains("    /// My task.\n    MyTask(crate::my_task::MyTask),\n}\n"));
    let text = checkout.text("crates/tasks/src/my_task.rs");
    for left in ["new-task", "new_task", "NewTask", "New task"] {
        assert!(!text.contains(left), "{left} is left in:\n{text}");
    }
}

/// Each new thing has one file and its lines, and nothing else.
#[test]
fn a_new_space_and_a_new_architecture_are_wherever_they_must_be() {
    for (command, name, lines) in [
        (
            "new-space",
            "my-space",
            [
                ("crates/spaces/src/my_space.rs", "pub struct MySpace;"),
                ("crates/spaces/src/lib.rs", "pub mod my_space;"),
                (
                    "crates/spaces/src/registry.rs",
                    "    MySpace(crate::my_space::MySpace),",
                ),
            ],
        ),
        (
            "new-architecture",
            "my-llm",
            [
                (
                    "crates/models/src/architectures/my_llm.rs",
                    "pub(super) fn read(",
                ),
                ("crates/models/src/architectures/mod.rs", "pub mod my_llm;"),
                (
                    "crates/models/src/architectures/mod.rs",
                    "    (\"MyLlmForCausalLM\", \"my_llm\", my_llm::read),",
                ),
            ],
        ),
    ] {
        let checkout = Checkout::new();
        let before = checkout.all();
        let made = check_works(&checkout.run(&[command, name]));
        for (file, line) in lines {
            assert!(made.contains(file), "{file}: {made}");
            let text = checkout.text(file);
            let there = text.lines().filter(|l| l.starts_with(line)).count();
            assert_eq!(there, 1, "{file}: {line}");
        }
        let after = checkout.all();
        assert_eq!(after.len(), before.len() + 1);
        let changed = before
            .iter()
            .filter(|(file, bytes)| after[*file] != **bytes);
        assert_eq!(changed.count(), if command == "new-space" { 2 } else { 1 });
        let text = checkout.text(lines[0].0);
        for left in ["new-space", "NewSpace", "NewArchitecture", "New "] {
            assert!(!text.contains(left), "{left} is left in:\n{text}");
        }
        check_refused(&checkout, &[command, name], &["is there already"]);
    }
}

#[test]
fn a_new_metric_of_a_family_stands_on_the_family_s_page() {
    let checkout = Checkout::new();
    let before = checkout.all();
    check_works(&checkout.run(&["new-metric", "retrieval_rank"]));
    assert_eq!(checkout.all().len(), before.len() + 1, "no page of its own");
    let page = checkout.text("docs/metrics/alignment.md");
    assert!(
        page.contains("## Retrieval rank (`retrieval_rank`)\n"),
        "{page}"
    );
    assert!(page.contains("\n## About `retrieval_rank`\n"), "{page}");
}

#[test]
fn what_cannot_be_begun_changes_nothing() {
    let checkout = Checkout::new();
    for (words, expect) in [
        (
            ["new-debiaser", "leace"],
            vec!["there is a method `leace`", "cargo xtask methods"],
        ),
        (
            ["new-debiaser", "My-Method"],
            vec!["not a legal name", "my-method"],
        ),
        (
            ["new-debiaser", "my_method"],
            vec!["not a legal name", "`-`"],
        ),
        (["new-debiaser", "../escape"], vec!["not a legal name"]),
        (["new-debiaser", "match"], vec!["cannot name a module"]),
        (["new-debiaser", "matrix"], vec!["type Matrix"]),
        (
            ["new-metric", "linear_cka"],
            vec!["there is a metric `linear_cka`", "cargo xtask metrics"],
        ),
        (
            ["new-metric", "my-metric"],
            vec!["not a legal name", "my_metric"],
        ),
        (
            ["new-metric", "bootstrap"],
            vec!["bootstrap", "another name"],
        ),
        (
            ["new-task", "choice"],
            vec!["there is a task `choice`", "cargo xtask metrics"],
        ),
        (["new-task", "my_task"], vec!["not a legal name", "my-task"]),
        (
            ["new-task", "linear-cka"],
            vec!["there is a metric `linear_cka`"],
        ),
        (
            ["new-task", "ask"],
            vec!["`ask` would make a type Ask", "another name"],
        ),
        (
            ["new-task", "registry"],
            vec!["crates/tasks/src/registry.rs is there already"],
        ),
        (["new-space", "cca"], vec!["there is a space `cca`"]),
        (["new-space", "my_space"], vec!["not a legal name"]),
        (
            ["new-architecture", "llama"],
            vec!["there is an architecture `LlamaForCausalLM`"],
        ),
        (
            ["new-metric", "info"],
            vec!["crates/metrics/src/info.rs is there already"],
        ),
    ] {
        check_refused(&checkout, &words, &expect);
    }
}

/// Each case damages one line that a change is tied to; the error names it.
#[test]
fn a_registry_that_was_rebuilt_by_hand_is_left_alone() {
    for (command, name, old, expect) in [
        (
            "new-debiaser",
            "crates/debias/src/methods/mod.rs",
            "static ALL: &[&dyn Debiaser] = &[",
            "static ALL: &[&dyn Debiaser] = &[",
        ),
        (
            "new-debiaser",
            "crates/debias/src/methods/mod.rs",
            "pub mod ",
            "pub mod",
        ),
        (
            "new-debiaser",
            "docs/SUMMARY.md",
            "](methods/index.md)",
            "](methods/index.md)",
        ),
        (
            "new-debiaser",
            "docs/methods/index.md",
            "<!-- begin methods -->",
            "<!-- begin methods -->",
        ),
        (
            "new-metric",
            "crates/metrics/src/info.rs",
            "pub static METRICS: &[MetricInfo] = &[",
            "pub static METRICS: &[MetricInfo] = &[",
        ),
        (
            "new-space",
            "crates/spaces/src/registry.rs",
            "affine_spaces! {",
            "affine_spaces! {",
        ),
        (
            "new-architecture",
            "crates/models/src/architectures/mod.rs",
            "pub const ARCHITECTURES: &[(&str, &str, Read)] = &[",
            "pub const ARCHITECTURES: &[(&str, &str, Read)] = &[",
        ),
        (
            "new-task",
            "crates/tasks/src/registry.rs",
            "tasks! {",
            "tasks! {",
        ),
        (
            "new-metric",
            "docs/metrics/index.md",
            "<!-- end metrics -->",
            "<!-- end metrics -->",
        ),
    ] {
        let checkout = Checkout::new();
        checkout.replace(name, old, "gone ");
        check_refused(&checkout, &[command, "mine"], &[name, expect]);
    }
}

#[test]
fn outside_a_checkout_there_is_nothing_to_add_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for words in [
        &["new-debiaser", "mine"][..],
        &["new-metric", "mine"],
        &["new-task", "mine"],
        &["new-space", "mine"],
        &["new-architecture", "mine"],
        &["docs"],
    ] {
        let output = run(folder.path(), words);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("not in a checkout of Interlingua"), "{text}");
    }
    assert!(files(folder.path()).is_empty());
}

/// The guides, and what each begins.
const GUIDES: [&str; 4] = [
    "docs/add-a-debiaser.md",
    "docs/add-a-task.md",
    "docs/add-a-space.md",
    "docs/add-an-architecture.md",
];

/// The commands of a guide's first block, each with what stands behind its `#`.
fn first_commands(guide: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join(guide)).expect("a guide");
    let block = text.split("```sh\n").nth(1).expect("a block of commands");
    let block = block.split("```").next().expect("its end");
    let parts = |line: &str| {
        let (command, comment) = line.split_once('#').unwrap_or((line, ""));
        (command.trim().to_owned(), comment.trim().to_owned())
    };
    block.lines().map(parts).collect()
}

/// How many tests a comment such as `three tests pass` speaks of.
fn number_in_words(comment: &str) -> usize {
    let words = ["zero", "one", "two", "three", "four", "five", "six"];
    let word = comment.split(' ').next().unwrap_or_default();
    let found = words.iter().position(|w| *w == word);
    found.unwrap_or_else(|| panic!("no number of tests in `{comment}`"))
}

/// What can be said of the guides without building anything.
#[test]
fn guides_begin_with_commands_that_are_there() {
    for guide in GUIDES {
        let commands = first_commands(guide);
        assert_eq!(commands.len(), 3, "{guide}: {commands:?}");
        let words: Vec<Vec<&str>> = commands.iter().map(|c| c.0.split(' ').collect()).collect();
        assert_eq!(words[0].last(), Some(&"--dry-run"), "{guide}");
        assert_eq!(words[0][..4], words[1][..], "{guide}");
        assert_eq!(words[2][..3], ["cargo", "test", "--workspace"], "{guide}");
        assert!(number_in_words(&commands[2].1) >= 3, "{guide}");
        let checkout = Checkout::new();
        let before = checkout.all();
        check_works(&checkout.run(&words[0][2..]));
        assert!(
            before == checkout.all(),
            "{guide}: a dry run changes nothing"
        );
        check_works(&checkout.run(&words[1][2..]));
    }
}

/// Every guide is walked as it is written, in a copy of the whole checkout: what it begins compiles, passes as many tests as the guide
/// says, and is clean. Minutes:
///
///     cargo test --workspace --test scaffold -- --ignored
#[test]
#[ignore = "compiles a copy of the workspace"]
fn what_is_begun_compiles_and_passes() {
    // A fixed place, so that the target folder does not grow with every run.
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let copy = own.join("scaffold");
    let _ = std::fs::remove_dir_all(&copy);
    let git = Command::new("git")
        .args(["clone", "-q", "--no-hardlinks"])
        .arg(root())
        .arg(&copy)
        .status();
    assert!(git.expect("git").success());
    let target = own.parent().expect("it lies in the target folder");
    let check = |command: &str, words: &str| build(&copy, target, command, words);
    check_works(&run(&copy, &["new-metric", "my_metric"]));
    let mut tests = vec![("my_metric".to_owned(), 3)];
    // All is begun first, so that it is compiled once.
    for guide in GUIDES {
        let commands = first_commands(guide);
        for (command, _) in &commands[..2] {
            let words: Vec<&str> = command.split(' ').skip(2).collect();
            check_works(&run(&copy, &words));
        }
        let (command, comment) = &commands[2];
        let name = command.split(' ').nth(3).expect("a name").to_owned();
        tests.push((name, number_in_words(comment)));
    }
    for (name, expect) in tests {
        let said = check("test", &format!("--lib {name}"));
        let passed = said.lines().filter_map(|line| {
            let rest = line.strip_prefix("test result: ok. ")?;
            rest.split(' ').next()?.parse::<usize>().ok()
        });
        assert_eq!(passed.sum::<usize>(), expect, "{name}: {said}");
    }
    // A program knows only what was there when it was compiled: what began a task did not know the metric that was begun before.
    check_works(&run_cargo(&copy, target, "run --quiet -p xtask -- docs"));
    check("test", "--test architecture --test docs --test rustdoc");
    for name in ["registry_entries", "every_method"] {
        let said = check("test", &format!("--test properties {name}"));
        assert!(said.contains("1 passed"), "{said}");
    }
    check("test", "--test scaffold the_documentation_says");
    check("clippy", "--all-targets -- -D warnings");
    check_works(&run_cargo(&copy, target, "fmt --all --check"));
    std::fs::remove_dir_all(&copy).expect("the copy");
}

/// The packages that change, and `xtask`, without which their dependencies would have other features and be built anew.
fn build(copy: &Path, target: &Path, command: &str, words: &str) -> String {
    let packages = ["debias", "metrics", "models", "spaces", "tasks", "tests"]
        .map(|name| format!("-p interlingua-{name}"))
        .join(" ");
    check_works(&run_cargo(
        copy,
        target,
        &format!("{command} {packages} -p xtask {words}"),
    ))
}

/// Runs cargo with the dependencies that were built for this program.
fn run_cargo(copy: &Path, target: &Path, words: &str) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    // Build scripts watch what `cargo test` tells this program about its own package: they would run again, and everything above
    // them be built again, polars included.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
        .args(words.split(' '))
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        // It shall be compiled soon; its tests are small.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .output()
        .expect("cargo")
}
