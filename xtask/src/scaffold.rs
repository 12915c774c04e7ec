//! `cargo xtask new-debiaser`, `new-metric`, `new-task`, `new-space` and `new-architecture`: a working start for a new one.
//!
//! All changes are planned before the first one is written, so that an error leaves the checkout as
//! it was.

use anyhow::bail;
use interlingua_debias::{Needs, Size};
use interlingua_metrics::info::{METRICS, MetricInfo};
use interlingua_models::architectures::ARCHITECTURES;
use interlingua_spaces::Space;
use interlingua_tasks::registry;

use crate::docs::{self, Method};
use crate::edits::{Edits, workspace};
use crate::flags::New;
use interlingua_cli::terminal::print;

/// Longer names would break the lines of the templates.
const LONGEST_NAME: usize = 32;

/// Words that cannot name a module.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Names that the templates, or every module, have another use for: types of debiasers, functions of metrics.
const TAKEN: &[&str] = &[
    "About",
    "Answers",
    "Ask",
    "Box",
    "Debiaser",
    "Err",
    "Family",
    "FitData",
    "FitError",
    "FitOptions",
    "Fitted",
    "ItemSet",
    "Judgement",
    "Judging",
    "Maps",
    "Mat",
    "Matrix",
    "Model",
    "Needs",
    "None",
    "Number",
    "Ok",
    "Option",
    "Options",
    "Params",
    "Result",
    "Some",
    "Source",
    "SpaceError",
    "String",
    "Task",
    "TaskError",
    "Translations",
    "Vec",
    "bootstrap",
    "drop",
    "finite",
    "length",
];

/// A name of words joined by hyphens, as code and pages have it.
struct Named {
    module: String,
    type_name: String,
    title: String,
}

impl Named {
    fn new(name: &str, example: &str) -> anyhow::Result<Named> {
        check_name(name, '-', example)?;
        let type_name = camel(name);
        if TAKEN.contains(&type_name.as_str()) {
            bail!(
                "`{name}` would make a type {type_name}, which has another meaning; take another name"
            );
        }
        Ok(Named {
            module: name.replace('-', "_"),
            type_name,
            title: titled(name),
        })
    }
}

/// `cargo xtask new-debiaser NAME`.
///
/// # Errors
/// A name that is not legal or taken, a checkout without the lines that changes are tied to.
pub fn debiaser(flags: &New) -> anyhow::Result<()> {
    let name = flags.name.as_str();
    let Named {
        module,
        type_name,
        title,
    } = Named::new(name, "my-method")?;
    let mut methods = docs::methods();
    if methods.iter().any(|m| m.name == name) {
        bail!("there is a method `{name}`; `cargo xtask methods` lists them");
    }
    let mut edits = Edits::new(workspace()?);
    let fill = |template: &str| {
        template
            .replace("new-method", name)
            .replace("new_method", &module)
            .replace("NewMethod", &type_name)
            .replace("New method", &title)
    };
    let code = format!("crates/debias/src/methods/{module}.rs");
    let page = format!("docs/methods/{name}.md");
    create(
        &mut edits,
        &code,
        fill(include_str!("../templates/debiaser.rs")),
    )?;
    create(
        &mut edits,
        &page,
        format!(
            "# {title}\n{}",
            fill(include_str!("../templates/debiaser.md"))
        ),
    )?;
    edits.add_module("crates/debias/src/methods/mod.rs", &module)?;
    edits.add_to_list(
        "crates/debias/src/methods/mod.rs",
        "static ALL: &[&dyn Debiaser] = &[",
        "];",
        &format!("        &{module}::{type_name},"),
    )?;
    // The registry of the running program does not know the method yet. Leaked: the program ends soon.
    methods.push(Method {
        name: String::leak(name.to_owned()),
        title: title.leak(),
        summary: "Removes the direction from the mean of the first group to that of the second.",
        citation: "a starting point, not published",
        needs: Needs {
            groups: true,
            classes: 2,
            ..Needs::default()
        },
        size: Size::Rank,
        params: &[],
    });
    docs::plan_methods(&mut edits, &methods)?;
    finish(
        &edits,
        flags,
        &module,
        &code,
        &page,
        "docs/add-a-debiaser.md",
    )
}

/// `cargo xtask new-metric NAME`.
///
/// # Errors
/// As for [`debiaser`].
pub fn metric(flags: &New) -> anyhow::Result<()> {
    let name = flags.name.as_str();
    check_name(name, '_', "my_metric")?;
    let mut edits = Edits::new(workspace()?);
    let page = plan_metric(&mut edits, name)?;
    let code = format!("crates/metrics/src/{name}.rs");
    finish(&edits, flags, name, &code, &page, "docs/add-a-task.md")
}

/// `cargo xtask new-task NAME`.
///
/// # Errors
/// As for [`debiaser`].
pub fn task(flags: &New) -> anyhow::Result<()> {
    let name = flags.name.as_str();
    let Named {
        module,
        type_name,
        title,
    } = Named::new(name, "my-task")?;
    if registry::all().any(|about| about.name == name) {
        bail!("there is a task `{name}`; `cargo xtask metrics` lists them");
    }
    let mut edits = Edits::new(workspace()?);
    let page = plan_metric(&mut edits, &module)?;
    let code = format!("crates/tasks/src/{module}.rs");
    let filled = include_str!("../templates/task.rs")
        .replace("new-task", name)
        .replace("new_task", &module)
        .replace("NewTask", &type_name)
        .replace("New task", &title);
    create(&mut edits, &code, filled)?;
    edits.add_module("crates/tasks/src/lib.rs", &module)?;
    for line in [
        format!("    /// {title}."),
        format!("    {type_name}(crate::{module}::{type_name}),"),
    ] {
        edits.add_to_list("crates/tasks/src/registry.rs", "tasks! {", "}", &line)?;
    }
    finish(&edits, flags, &module, &code, &page, "docs/add-a-task.md")
}

/// `cargo xtask new-space NAME`.
///
/// # Errors
/// As for [`debiaser`].
pub fn space(flags: &New) -> anyhow::Result<()> {
    let name = flags.name.as_str();
    let Named {
        module,
        type_name,
        title,
    } = Named::new(name, "my-space")?;
    if let Some(known) = Space::all().find(|space| space.name() == name) {
        bail!("there is a space `{}`", known.name());
    }
    let mut edits = Edits::new(workspace()?);
    let code = format!("crates/spaces/src/{module}.rs");
    let filled = include_str!("../templates/space.rs")
        .replace("new-space", name)
        .replace("NewSpace", &type_name)
        .replace("New space", &title);
    create(&mut edits, &code, filled)?;
    edits.add_module("crates/spaces/src/lib.rs", &module)?;
    for line in [
        format!("    /// {title}."),
        format!("    {type_name}(crate::{module}::{type_name}),"),
    ] {
        edits.add_to_list(
            "crates/spaces/src/registry.rs",
            "affine_spaces! {",
            "}",
            &line,
        )?;
    }
    finish(
        &edits,
        flags,
        &module,
        &code,
        "docs/experiments.md",
        "docs/add-a-space.md",
    )
}

/// `cargo xtask new-architecture NAME`.
///
/// # Errors
/// As for [`debiaser`].
pub fn architecture(flags: &New) -> anyhow::Result<()> {
    let name = flags.name.as_str();
    check_name(name, '-', "my-architecture")?;
    let (module, class) = (
        name.replace('-', "_"),
        format!("{}ForCausalLM", camel(name)),
    );
    if ARCHITECTURES.iter().any(|(known, ..)| *known == class) {
        bail!("there is an architecture `{class}`");
    }
    let mut edits = Edits::new(workspace()?);
    let code = format!("crates/models/src/architectures/{module}.rs");
    let filled = include_str!("../templates/architecture.rs")
        .replace("NewArchitectureForCausalLM", &class)
        .replace("New architecture", &titled(name));
    create(&mut edits, &code, filled)?;
    let registry = "crates/models/src/architectures/mod.rs";
    edits.add_module(registry, &module)?;
    edits.add_to_list(
        registry,
        "pub const ARCHITECTURES: &[(&str, &str, Read)] = &[",
        "];",
        &format!("    (\"{class}\", \"{module}\", {module}::read),"),
    )?;
    finish(
        &edits,
        flags,
        &module,
        &code,
        "docs/models.md",
        "docs/add-an-architecture.md",
    )
}

/// Plans a metric; the name of its page.
fn plan_metric(edits: &mut Edits, name: &str) -> anyhow::Result<String> {
    let title = titled(name);
    if TAKEN.contains(&name) {
        bail!("a function `{name}` has another meaning here; take another name");
    }
    if METRICS.iter().any(|m| m.name == name) {
        bail!("there is a metric `{name}`; `cargo xtask metrics` lists them");
    }
    let fill = |template: &str| {
        template
            .replace("new_metric", name)
            .replace("New metric", &title)
    };
    let info = MetricInfo {
        name: String::leak(name.to_owned()),
        title: title.clone().leak(),
        unit: "",
        formula: "mean of a − b over items",
        citation: "a starting point, not published",
        ideal: Some(0.0),
        higher_is_better: None,
    };
    let code = format!("crates/metrics/src/{name}.rs");
    create(edits, &code, fill(include_str!("../templates/metric.rs")))?;
    let page = format!("docs/metrics/{}.md", docs::page_of(&info));
    let body = fill(include_str!("../templates/metric.md"));
    match edits.has(&page) {
        // A family's page: the new metric has its part of the head, and a section of its own.
        true => {
            let text = edits.text(&page)?;
            edits.set(&page, format!("{text}\n## About `{name}`\n{body}"))?;
        }
        false => create(edits, &page, format!("# {title}\n{body}"))?,
    }
    edits.add_module("crates/metrics/src/lib.rs", name)?;
    edits.add_to_list(
        "crates/metrics/src/info.rs",
        "pub static METRICS: &[MetricInfo] = &[",
        "];",
        &format!("    crate::{name}::INFO,"),
    )?;
    let metrics: Vec<MetricInfo> = METRICS.iter().copied().chain([info]).collect();
    docs::plan_metrics(edits, &metrics)?;
    Ok(page)
}

/// Lower-case words that begin with a letter, joined by `joint`.
fn check_name(name: &str, joint: char, example: &str) -> anyhow::Result<()> {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.split(joint).all(word) {
        bail!(
            "`{name}` is not a legal name; take words of a–z and 0–9 joined by `{joint}`, such as {example}"
        );
    }
    if name.len() > LONGEST_NAME {
        bail!(
            "`{name}` has {} letters; a name has at most {LONGEST_NAME}",
            name.len()
        );
    }
    if KEYWORDS.contains(&name) || name == "tests" {
        bail!("`{name}` cannot name a module in Rust; take another name, such as {example}");
    }
    Ok(())
}

/// `my-method` as `MyMethod`.
fn camel(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').map(capital).collect()
}

/// `my-method` or `my_metric` as `My method` or `My metric`.
fn titled(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..].replace(['-', '_'], " ")
}

fn create(edits: &mut Edits, name: &str, text: String) -> anyhow::Result<()> {
    if edits.has(name) {
        bail!("{name} is there already; take another name, or remove it first");
    }
    edits.set(name, text)
}

fn finish(
    edits: &Edits,
    flags: &New,
    module: &str,
    code: &str,
    page: &str,
    guide: &str,
) -> anyhow::Result<()> {
    if flags.dry_run {
        return print(&format!(
            "Would make:\n{}Nothing was changed.\n",
            edits.describe()
        ));
    }
    edits.write()?;
    print(&format!(
        "{}
It works as it is. Next:
  cargo test --workspace {module}     its tests pass
  {code}     replace what is marked `Starting point`
  cargo xtask docs     after every change of its title, source or other facts
  {page}     say below the marks what it does
{guide} walks through a real one.
",
        edits.describe()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, joint, legal) in [
            ("my-method", '-', true),
            ("inlp2", '-', true),
            ("my_method", '-', false),
            ("My-method", '-', false),
            ("-x", '-', false),
            ("x-", '-', false),
            ("a--b", '-', false),
            ("2x", '-', false),
            ("", '-', false),
            ("../x", '-', false),
            ("größe", '-', false),
            ("type", '-', false),
            ("a-name-that-is-much-longer-than-any", '-', false),
            ("my_metric", '_', true),
            ("my-metric", '_', false),
            ("mod", '_', false),
        ] {
            assert_eq!(check_name(name, joint, "x").is_ok(), legal, "{name}");
        }
        assert_eq!(camel("mean-shift2"), "MeanShift2");
        assert_eq!(titled("mean-shift"), "Mean shift");
    }
}
