//! `cargo xtask docs`: what the documentation says about methods and metrics, from the registries.
//!
//! A page of a method or of a family of metrics has a head, between marks, that is written here, and
//! a body that is written by hand and left alone.

use std::fmt::Write;

use anyhow::{Context, bail};
use interlingua_debias::{Debiaser, Needs, ParamSpec, Size};
use interlingua_metrics::crows::SCORERS;
use interlingua_metrics::info::{METRICS, MetricInfo};

use crate::edits::{Edits, workspace};
use crate::page::between;
use interlingua_cli::terminal::print;

/// What a page says about a debiasing method.
pub struct Method {
    /// Name in specs.
    pub name: &'static str,
    /// Name in headings.
    pub title: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Where it was published.
    pub citation: &'static str,
    /// What its data must hold.
    pub needs: Needs,
    /// What says how large its edit is.
    pub size: Size,
    /// Its parameters besides rank and seed.
    pub params: &'static [ParamSpec],
}

impl From<&dyn Debiaser> for Method {
    fn from(method: &dyn Debiaser) -> Method {
        Method {
            name: method.name(),
            title: method.title(),
            summary: method.summary(),
            citation: method.citation(),
            needs: method.needs(),
            size: method.size(),
            params: method.params(),
        }
    }
}

/// The methods of the registry.
pub fn methods() -> Vec<Method> {
    let registry = interlingua_debias::registry();
    registry.iter().map(|&m| Method::from(m)).collect()
}

/// Metrics that share a page: its name, its title, and names of metrics or, where they end in `_`, how names begin.
type Family = (&'static str, &'static str, &'static [&'static str]);

/// A metric that no family names has a page of its own.
const FAMILIES: &[Family] = &[
    (
        "pairs",
        "Minimal pairs",
        &[
            "sign_score",
            "stereo_share",
            "antistereo_share",
            "mean_gap",
            "mean_absolute_difference",
        ],
    ),
    (
        "transfer",
        "Transfer",
        &[
            "scope_",
            "gap_difference",
            "transfer_share",
            "specific_part",
            "direction_cosine",
            "written_cosine",
        ],
    ),
    ("power", "What a benchmark can show", &["detectable_"]),
    ("operating", "Operating points", &["operating_"]),
    (
        "utility",
        "What an edit costs",
        &[
            "perplexity",
            "perplexity_best",
            "perplexity_ratio",
            "pseudo_perplexity",
            "kl_divergence",
            "top1_agreement",
        ],
    ),
    (
        "alignment",
        "Alignment",
        &[
            "retrieval_",
            "cosine_margin",
            "mexa",
            "linear_cka",
            "rbf_cka",
            "procrustes_residual",
            "reconstruction_error",
        ],
    ),
    (
        "calibration",
        "Calibration",
        &["calibration", "calibration_"],
    ),
    ("probes", "Probes", &["probe_"]),
    ("seat", "WEAT and SEAT", &["seat_"]),
    ("stereoset", "StereoSet", &["stereoset_"]),
    ("bbq", "BBQ and MBBQ", &["bbq_", "mbbq_"]),
    ("templates", "Template gaps", &["template_"]),
    ("choice", "Choices", &["choice_"]),
    ("coreference", "Co-reference", &["coreference_"]),
    ("lens", "Logit lens", &["lens_"]),
    ("generation", "Generated text", &["generation_"]),
];

/// A page of metrics.
struct Page {
    /// Name of its file, without ending.
    file: &'static str,
    title: String,
    metrics: Vec<MetricInfo>,
    /// Whether it is that of one metric without a family.
    alone: bool,
}

/// Carries out the command.
///
/// # Errors
/// With `check`, when a page is not what it would be made to be.
pub fn docs(check: bool) -> anyhow::Result<()> {
    let mut edits = Edits::new(workspace()?);
    plan_methods(&mut edits, &methods())?;
    plan_metrics(&mut edits, METRICS)?;
    let changed = edits.changed();
    if changed.is_empty() {
        return print("The documentation says what the registries say.\n");
    }
    if check {
        bail!(
            "not what the registries say: {}; run `cargo xtask docs`",
            changed.join(", ")
        );
    }
    edits.write()?;
    print(&edits.describe())
}

/// Plans what the documentation says about these methods.
///
/// # Errors
/// Pages without the lines that a change is tied to.
pub fn plan_methods(edits: &mut Edits, methods: &[Method]) -> anyhow::Result<()> {
    let table = methods_table(methods);
    set_between(edits, "docs/methods/index.md", "methods", &table)?;
    for method in methods {
        let title = format!("{} (`{}`)", method.title, method.name);
        let name = format!("docs/methods/{}.md", method.name);
        set_head(edits, &name, &title, &method_head(method))?;
    }
    let pages = methods.iter().map(|m| (m.title, m.name)).collect();
    set_chapter(edits, "methods", pages)
}

/// Plans what the documentation says about these metrics, and about the scorers.
///
/// # Errors
/// Pages without the lines that a change is tied to.
pub fn plan_metrics(edits: &mut Edits, metrics: &[MetricInfo]) -> anyhow::Result<()> {
    let pages = pages(metrics);
    let table = metrics_table(&pages);
    set_between(edits, "docs/metrics/index.md", "metrics", &table)?;
    for page in &pages {
        let name = format!("docs/metrics/{}.md", page.file);
        set_head(edits, &name, &page.title, &metrics_head(page))?;
    }
    set_between(edits, "docs/metrics/pairs.md", "scorers", &scorers_table())?;
    let pages = pages.iter().map(|p| (p.title.as_str(), p.file)).collect();
    set_chapter(edits, "metrics", pages)
}

fn set_chapter(edits: &mut Edits, folder: &str, pages: Vec<(&str, &str)>) -> anyhow::Result<()> {
    let summary = edits.text("docs/SUMMARY.md")?;
    edits.set("docs/SUMMARY.md", chapter(&summary, folder, pages)?)
}

/// Name of the page that a metric stands on, without ending.
pub fn page_of(metric: &MetricInfo) -> &'static str {
    family(metric).map_or(metric.name, |(file, ..)| file)
}

fn family(metric: &MetricInfo) -> Option<&'static Family> {
    let belongs = |pattern: &&str| match pattern.ends_with('_') {
        true => metric.name.starts_with(pattern),
        false => metric.name == *pattern,
    };
    FAMILIES
        .iter()
        .find(|(.., names)| names.iter().any(&belongs))
}

/// The pages of metrics, in the order in which the registry first needs them.
fn pages(metrics: &[MetricInfo]) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    for metric in metrics {
        let (file, title, alone) = match family(metric) {
            Some((file, title, _)) => (*file, (*title).to_owned(), false),
            None => (metric.name, metric.title.to_owned(), true),
        };
        match pages.iter_mut().find(|page| page.file == file) {
            Some(page) => page.metrics.push(*metric),
            None => pages.push(Page {
                file,
                title,
                metrics: vec![*metric],
                alone,
            }),
        }
    }
    pages
}

fn methods_table(methods: &[Method]) -> String {
    let mut out =
        String::from("| name | what it does | learns from | source |\n|---|---|---|---|\n");
    for m in methods {
        let _ = writeln!(
            out,
            "| [{}]({}.md) | {} | {} | {} |",
            m.name,
            m.name,
            cell(m.summary),
            learns_from(&m.needs),
            cell(&linked(m.citation)),
        );
    }
    out
}

fn method_head(m: &Method) -> String {
    let mut out = format!("{}\n\n| | |\n|---|---|\n", m.summary);
    let _ = writeln!(out, "| learns from | {} |", learns_from(&m.needs));
    let size = match m.size {
        Size::Rank => "directions that are removed (`rank`)",
        Size::Units => "units that are changed (`units`)",
        Size::Strength => "how far states are moved (`strength`)",
    };
    let _ = writeln!(out, "| size | {size} |");
    if m.needs.seed {
        out.push_str("| seed | changes the result |\n");
    }
    let _ = writeln!(out, "| source | {} |", cell(&linked(m.citation)));
    let file = m.name.replace('-', "_");
    let _ = writeln!(out, "| code | `crates/debias/src/methods/{file}.rs` |");
    if m.params.is_empty() {
        return out;
    }
    out.push_str("\n| parameter | default | is |\n|---|---|---|\n");
    for p in m.params {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            p.name,
            cell(p.default),
            cell(p.help)
        );
    }
    out
}

fn learns_from(needs: &Needs) -> String {
    let mut parts = Vec::new();
    if needs.tuples {
        parts.push("counterfactual sets".to_owned());
    }
    if needs.groups {
        parts.push("groups".to_owned());
    } else if needs.classes > 0 {
        parts.push("classes".to_owned());
    }
    if needs.languages {
        parts.push("the language of each example".to_owned());
    }
    if needs.weights {
        parts.push("weights".to_owned());
    }
    match parts.is_empty() {
        true => "–".to_owned(),
        false => parts.join(", "),
    }
}

fn metrics_table(pages: &[Page]) -> String {
    let mut out = String::from("| metric | is | ideal | better | page |\n|---|---|---|---|---|\n");
    for page in pages {
        for m in &page.metrics {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | [{}]({}.md) |",
                m.name,
                cell(m.title),
                m.ideal.map_or("–".to_owned(), |ideal| ideal.to_string()),
                better(m),
                cell(&page.title),
                page.file,
            );
        }
    }
    out
}

fn metrics_head(page: &Page) -> String {
    let mut out = String::new();
    for m in &page.metrics {
        if !page.alone {
            let _ = writeln!(out, "## {} (`{}`)\n", m.title, m.name);
        }
        let _ = writeln!(out, "    {}\n\n| | |\n|---|---|", m.formula);
        let mut row = |what: &str, text: &str| {
            if !text.is_empty() {
                let _ = writeln!(out, "| {what} | {} |", cell(text));
            }
        };
        if page.alone {
            row("name", &format!("`{}`", m.name));
        }
        row("unit", m.unit);
        if let Some(ideal) = m.ideal {
            row("ideal", &ideal.to_string());
        }
        row("better", better(m));
        row("source", &linked(m.citation));
        out.push('\n');
    }
    out
}

fn better(m: &MetricInfo) -> &'static str {
    match (m.higher_is_better, m.ideal) {
        (Some(true), _) => "higher",
        (Some(false), _) => "lower",
        (None, Some(_)) => "nearer to the ideal",
        (None, None) => "–",
    }
}

fn scorers_table() -> String {
    let mut out = String::from(
        "| name | model | sentence score | unit | unit of the gap | source |\n|---|---|---|---|---|---|\n",
    );
    for s in SCORERS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            s.name,
            s.reads.kind(),
            cell(s.formula),
            s.unit,
            s.gap_unit,
            cell(&linked(s.citation)),
        );
    }
    out
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A citation whose arXiv numbers are links.
fn linked(citation: &str) -> String {
    let mut out = String::new();
    let mut rest = citation;
    while let Some((before, after)) = rest.split_once("arXiv ") {
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || "./-".contains(c)))
            .unwrap_or(after.len());
        let number = after[..end].trim_end_matches('.');
        out.push_str(before);
        match number.chars().any(|c| c.is_ascii_digit()) {
            true => {
                let _ = write!(out, "[arXiv {number}](https://arxiv.org/abs/{number})");
            }
            false => {
                let _ = write!(out, "arXiv {number}");
            }
        }
        rest = &after[number.len()..];
    }
    out + rest
}

fn set_between(edits: &mut Edits, name: &str, marks: &str, text: &str) -> anyhow::Result<()> {
    let old = edits.text(name)?;
    let new = between(&old, marks, text).with_context(|| {
        format!("{name}: expected a line `<!-- begin {marks} -->` and after it one `<!-- end {marks} -->`")
    })?;
    edits.set(name, new)
}

/// Title and head of a page; a page without marks gets them below its title, a page that is not there is begun.
fn set_head(edits: &mut Edits, name: &str, title: &str, head: &str) -> anyhow::Result<()> {
    let old = match edits.has(name) {
        true => edits.text(name)?,
        false => "# \n".to_owned(),
    };
    let Some((_, body)) = old.split_once('\n').filter(|(l, _)| l.starts_with("# ")) else {
        bail!("{name}: its first line is not a title (`# …`)");
    };
    let marked = match body.contains("<!-- begin head -->") {
        true => body.to_owned(),
        false => {
            let body = body.trim_start_matches('\n');
            let gap = if body.is_empty() { "" } else { "\n" };
            format!("\n<!-- begin head -->\n<!-- end head -->\n{gap}{body}")
        }
    };
    edits.set(name, format!("# {title}\n{marked}"))?;
    set_between(edits, name, "head", head)
}

/// The table of contents with these pages, in this order, below the index page of a chapter; other pages
/// that are there stay behind them.
fn chapter(summary: &str, folder: &str, pages: Vec<(&str, &str)>) -> anyhow::Result<String> {
    let index = format!("]({folder}/index.md)");
    let lines: Vec<&str> = summary.lines().collect();
    let at = lines.iter().position(|line| line.ends_with(&index));
    let at = at.with_context(|| format!("docs/SUMMARY.md: no line that ends in `{index}`"))?;
    let nested = lines[at + 1..].iter().take_while(|l| l.starts_with("  - "));
    let end = at + 1 + nested.count();
    let targets: Vec<String> = pages
        .iter()
        .map(|(_, file)| format!("({folder}/{file}.md)"))
        .collect();
    let mut out: Vec<String> = lines[..=at].iter().map(|&l| l.to_owned()).collect();
    for ((title, _), target) in pages.iter().zip(&targets) {
        out.push(format!("  - [{title}]{target}"));
    }
    let others = lines[at + 1..end].iter();
    let others = others.filter(|line| !targets.iter().any(|t| line.ends_with(t.as_str())));
    out.extend(others.map(|&l| l.to_owned()));
    out.extend(lines[end..].iter().map(|&l| l.to_owned()));
    Ok(out.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arxiv_numbers_become_links() {
        for (citation, expect) in [
            ("control", "control"),
            (
                "A 2020, arXiv 2007.08100; B",
                "A 2020, [arXiv 2007.08100](https://arxiv.org/abs/2007.08100); B",
            ),
            (
                "arXiv math-ph/0609050.",
                "[arXiv math-ph/0609050](https://arxiv.org/abs/math-ph/0609050).",
            ),
            ("arXiv only", "arXiv only"),
        ] {
            assert_eq!(linked(citation), expect);
        }
    }

    #[test]
    fn metrics_find_their_page() {
        let metric = |name| MetricInfo { name, ..METRICS[0] };
        let found = pages(&["retrieval_x", "sign_score", "odd", "linear_cka"].map(metric));
        let found: Vec<(&str, usize, bool)> = found
            .iter()
            .map(|page| (page.file, page.metrics.len(), page.alone))
            .collect();
        let expect = [
            ("alignment", 2, false),
            ("pairs", 1, false),
            ("odd", 1, true),
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn a_chapter_keeps_pages_written_by_hand() {
        let summary = "- [M](m/index.md)\n  - [Old](m/a.md)\n  - [Hand](m/h.md)\n- [N](n.md)\n";
        let expect = "- [M](m/index.md)\n  - [A](m/a.md)\n  - [B](m/b.md)\n  - [Hand](m/h.md)\n- [N](n.md)\n";
        let found = chapter(summary, "m", vec![("A", "a"), ("B", "b")]).unwrap();
        assert_eq!(found, expect);
        assert!(chapter(summary, "k", vec![]).is_err());
    }

    #[test]
    fn heads_are_added_and_replaced_and_bodies_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut edits = Edits::new(folder.path().to_owned());
        let (old, expect) = (
            "# Old\n\n    x ↦ x\n",
            "# T\n\n<!-- begin head -->\nhead\n<!-- end head -->\n\n    x ↦ x\n",
        );
        edits.set("p.md", old.into()).unwrap();
        for _ in 0..2 {
            set_head(&mut edits, "p.md", "T", "head\n").unwrap();
            assert_eq!(edits.text("p.md").unwrap(), expect);
        }
        set_head(&mut edits, "new.md", "T", "head").unwrap();
        let expect = "# T\n\n<!-- begin head -->\nhead\n<!-- end head -->\n";
        assert_eq!(edits.text("new.md").unwrap(), expect);
        edits.set("bad.md", "Body.\n".into()).unwrap();
        assert!(set_head(&mut edits, "bad.md", "T", "head").is_err());
    }
}
