//! Loads sentence templates with groups and attributes, in this project's own format:
//! `datasets/templates/templates.toml`.
//!
//! A template is a sentence with slots: `{subject}`, or any other form that its groups have, and `{attribute}`. Every
//! template is filled with both groups of every pair of its categories and with every attribute of its kind, and once
//! with its neutral attribute. Attributes are given in the forms that agree with a group.
//!
//! If the attributes say which group their stereotype is about (`leans`), the sentences can also be read as pairs:
//! see [`load`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::{BiasOptions, choose};
use crate::error::{BadRow, DataError, FindingKind, OnBadRow, Report};
use crate::input::{Limits, read_small};
use crate::language::Language;
use crate::types::{BiasPair, BiasSet, Direction, Leans, PairKind, TemplateItem};

/// The largest file.
const MOST_BYTES: u64 = 4 << 20;
/// The most sentences pairs that a file may make.
const MOST_ITEMS: usize = 200_000;

/// Options of [`load_templates`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateOptions {
    /// The languages to read; empty reads all that the file has.
    pub languages: Vec<Language>,
    /// The categories to read; empty reads all.
    pub categories: Vec<String>,
    /// How to treat combinations that make no pair of sentences.
    pub on_bad_row: OnBadRow,
    /// The limits on the size of the file and its parts.
    pub limits: Limits,
}

impl TemplateOptions {
    /// Makes options that read everything in these languages.
    pub fn new(languages: &[Language], on_bad_row: OnBadRow) -> Self {
        TemplateOptions {
            languages: languages.to_vec(),
            categories: Vec::new(),
            on_bad_row,
            limits: Limits::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Templates {
    format: String,
    #[allow(dead_code)]
    name: String,
    #[allow(dead_code)]
    version: u32,
    #[allow(dead_code)]
    licence: String,
    template: Vec<Spanned<Template>>,
    groups: Vec<Spanned<Groups>>,
    attribute: Vec<Spanned<Attribute>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    id: String,
    language: Language,
    categories: Vec<String>,
    kind: String,
    text: String,
    neutral: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Groups {
    language: Language,
    category: String,
    names: (String, String),
    a: BTreeMap<String, String>,
    b: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attribute {
    id: String,
    language: Language,
    kind: String,
    leans: Option<Leans>,
    forms: BTreeMap<String, String>,
}

/// Reads a file and fills its templates, in the order of the file: language, template, groups, attribute.
///
/// # Errors
/// Any [`DataError`]: TOML of another structure, a slot for which there is no form, a missing form of agreement, two
/// equal sentences, an entry that comes twice, or a template without groups or attributes.
pub fn load_templates(
    path: &Path,
    options: &TemplateOptions,
) -> Result<(Vec<TemplateItem>, Report), DataError> {
    let bytes = read_small(path, options.limits, MOST_BYTES)?;
    let toml = |line: usize, message: String| DataError::Toml {
        file: path.to_owned(),
        line,
        message,
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        toml(lines_before(valid), "not UTF-8".to_owned())
    })?;
    let file: Templates = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |s| s.start).min(text.len());
        toml(
            lines_before(&text.as_bytes()[..at]),
            error.message().to_owned(),
        )
    })?;
    if file.format != "templates" {
        let message = format!("`format` is `{}`, not `templates`", file.format);
        return Err(toml(1, message));
    }
    let available = distinct(file.template.iter().map(|t| t.get_ref().language));
    let categories = distinct(file.groups.iter().map(|g| g.get_ref().category.as_str()));
    if let Some(missing) = options
        .categories
        .iter()
        .find(|c| !categories.contains(&c.as_str()))
    {
        let there = categories.join(", ");
        return Err(toml(
            1,
            format!("no groups of category `{missing}`; there are: {there}"),
        ));
    }
    let mut maker = Maker {
        path,
        text: &text,
        options,
        items: Vec::new(),
        report: Report::default(),
    };
    maker.repeated(&file)?;
    for language in choose(path, &options.languages, &available)? {
        for template in &file.template {
            if template.get_ref().language == language {
                maker.template(template, &file)?;
            }
        }
    }
    let (items, report) = (maker.items, maker.report);
    if items.is_empty() {
        return Err(DataError::Empty {
            file: path.to_owned(),
            read: report.rows_read,
            skipped: report.rows_skipped,
        });
    }
    Ok((items, report))
}

/// Reads the sentences as pairs of the stereotyped group with the attribute and the other group with it.
///
/// The id of a pair is its attribute. All templates and groups of one attribute, in all languages, are therefore one
/// observation, and confidence intervals are computed over attributes. If as many attributes lean towards one group
/// as towards the other, the mean gap is half the difference of two contrasts: the contrast of the second and the
/// first group after attributes that lean to the second, less the same contrast after attributes that lean to the
/// first. The groups' own likelihoods cancel in it.
///
/// # Errors
/// The errors of [`load_templates`], and an attribute that does not say which group it leans towards.
pub(super) fn load(path: &Path, options: &BiasOptions) -> Result<(BiasSet, Report), DataError> {
    let wanted = TemplateOptions {
        languages: options.languages.clone(),
        categories: options.categories.clone(),
        on_bad_row: options.on_bad_row,
        limits: options.limits,
    };
    let (items, report) = load_templates(path, &wanted)?;
    let pair = |item: TemplateItem| {
        let Some(leans) = item.leans else {
            let message = format!(
                "the attribute `{}` does not say which group its stereotype is about, so its sentences are no pair: \
                 leans = \"a\" or \"b\"",
                item.attribute
            );
            return Err(DataError::BadRow {
                file: path.to_owned(),
                line: None,
                column: Some("leans".to_owned()),
                kind: FindingKind::BadValue,
                message,
            });
        };
        let (more, less) = match leans {
            Leans::A => (item.a, item.b),
            Leans::B => (item.b, item.a),
        };
        Ok(BiasPair {
            id: item.attribute,
            language: item.language,
            category: item.category,
            direction: Direction::Stereo,
            more,
            less,
            planted: None,
            kind: Some(item.kind),
        })
    };
    let pairs = items.into_iter().map(pair).collect::<Result<_, _>>()?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = name.into_owned();
    Ok((BiasSet { name, pairs }, report))
}

/// Where a template's sentences show the group: in the attribute's own form, before it or after it.
fn kind(
    template: &Template,
    groups: &Groups,
    attribute: &Attribute,
) -> Result<PairKind, (FindingKind, String)> {
    let form = |group| form(&attribute.forms, &self::form(group, "agree")?);
    if form(&groups.a)? != form(&groups.b)? {
        return Ok(PairKind::Marked);
    }
    let before = template.text.split("{attribute}").next();
    Ok(if before.is_some_and(|text| text.contains('{')) {
        PairKind::GroupFirst
    } else {
        PairKind::AttributeFirst
    })
}

fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

/// The line after these bytes, from 1.
fn lines_before(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|b| **b == b'\n').count()
}

struct Maker<'f> {
    path: &'f Path,
    text: &'f str,
    options: &'f TemplateOptions,
    items: Vec<TemplateItem>,
    report: Report,
}

impl Maker<'_> {
    fn line<T>(&self, entry: &Spanned<T>) -> u64 {
        let at = entry.span().start.min(self.text.len());
        lines_before(&self.text.as_bytes()[..at]) as u64
    }

    fn bad(
        &mut self,
        line: u64,
        key: &str,
        kind: FindingKind,
        message: String,
    ) -> Result<(), DataError> {
        self.report.rows_read += 1;
        let bad = BadRow::new(line, key, kind, message);
        self.report.bad_row(self.options.on_bad_row, self.path, bad)
    }

    /// Two entries of one name would make items that can't be told apart, whatever the policy.
    fn repeated(&self, file: &Templates) -> Result<(), DataError> {
        let templates = file.template.iter().map(|t| {
            let entry = t.get_ref();
            (
                self.line(t),
                format!("template {} {}", entry.language, entry.id),
            )
        });
        let groups = file.groups.iter().map(|g| {
            let Groups {
                language,
                category,
                names: (a, b),
                ..
            } = g.get_ref();
            (
                self.line(g),
                format!("groups {language} {category} {a} {b}"),
            )
        });
        let attributes = file.attribute.iter().map(|a| {
            let entry = a.get_ref();
            let name = format!("attribute {} {} {}", entry.language, entry.kind, entry.id);
            (self.line(a), name)
        });
        let mut seen = HashSet::new();
        for (line, name) in templates.chain(groups).chain(attributes) {
            if seen.contains(&name) {
                return Err(DataError::Toml {
                    file: self.path.to_owned(),
                    line: line as usize,
                    message: format!("`{name}` stands in the file before"),
                });
            }
            seen.insert(name);
        }
        Ok(())
    }

    fn template(&mut self, entry: &Spanned<Template>, file: &Templates) -> Result<(), DataError> {
        let template = entry.get_ref();
        let line = self.line(entry);
        if !template.text.contains("{attribute}") {
            let message = format!("`{}` has no {{attribute}}", template.text);
            return self.bad(line, "text", FindingKind::BadValue, message);
        }
        let attributes: Vec<&Attribute> = file
            .attribute
            .iter()
            .map(Spanned::get_ref)
            .filter(|a| a.language == template.language && a.kind == template.kind)
            .collect();
        if attributes.is_empty() {
            let message = format!(
                "no {} attribute of kind `{}`",
                template.language, template.kind
            );
            return self.bad(line, "kind", FindingKind::BadValue, message);
        }
        let wanted = &self.options.categories;
        let categories: Vec<&String> = template
            .categories
            .iter()
            .filter(|c| wanted.is_empty() || wanted.contains(c))
            .collect();
        for category in categories {
            let groups: Vec<&Groups> = file
                .groups
                .iter()
                .map(Spanned::get_ref)
                .filter(|g| g.language == template.language && g.category == *category)
                .collect();
            if groups.is_empty() {
                let message = format!("no {} groups of category `{category}`", template.language);
                self.bad(line, "categories", FindingKind::BadValue, message)?;
            }
            for groups in groups {
                for attribute in &attributes {
                    self.item(line, template, groups, attribute)?;
                }
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        line: u64,
        template: &Template,
        groups: &Groups,
        attribute: &Attribute,
    ) -> Result<(), DataError> {
        if self.items.len() >= MOST_ITEMS {
            return Err(DataError::Toml {
                file: self.path.to_owned(),
                line: line as usize,
                message: format!("more than {MOST_ITEMS} pairs of sentences"),
            });
        }
        let made = || -> Result<TemplateItem, (FindingKind, String)> {
            let sentence = |forms, attribute| fill(&template.text, forms, attribute);
            let item = TemplateItem {
                language: template.language,
                category: groups.category.clone(),
                template: template.id.clone(),
                attribute: attribute.id.clone(),
                groups: groups.names.clone(),
                leans: attribute.leans,
                kind: kind(template, groups, attribute)?,
                a: sentence(&groups.a, &attribute.forms)?,
                b: sentence(&groups.b, &attribute.forms)?,
                neutral_a: sentence(&groups.a, &template.neutral)?,
                neutral_b: sentence(&groups.b, &template.neutral)?,
            };
            for (left, right) in [
                (&item.a, &item.b),
                (&item.neutral_a, &item.neutral_b),
                (&item.a, &item.neutral_a),
                (&item.b, &item.neutral_b),
            ] {
                if left == right {
                    return Err((FindingKind::IdenticalPair, format!("`{left}` comes twice")));
                }
            }
            Ok(item)
        };
        match made() {
            Ok(item) => {
                self.report.rows_read += 1;
                self.items.push(item);
                Ok(())
            }
            Err((kind, message)) => {
                let (a, b) = &groups.names;
                let message = format!("{a}-{b} with `{}`: {message}", attribute.id);
                let key = format!("{} {}", template.language, template.id);
                self.bad(line, &key, kind, message)
            }
        }
    }
}

/// One form of a group or an attribute.
fn form(forms: &BTreeMap<String, String>, key: &str) -> Result<String, (FindingKind, String)> {
    match forms.get(key) {
        Some(form) if form.trim().is_empty() => {
            Err((FindingKind::EmptyCell, format!("the form `{key}` is empty")))
        }
        Some(form) => Ok(form.clone()),
        None => {
            let there: BTreeSet<String> = forms.keys().map(|k| format!("`{k}`")).collect();
            let there: Vec<String> = there.into_iter().collect();
            let message = format!("no form `{key}`; there are: {}", there.join(", "));
            Err((FindingKind::BadValue, message))
        }
    }
}

/// The template with the forms of a group, and of an attribute in agreement with it.
fn fill(
    template: &str,
    group: &BTreeMap<String, String>,
    attribute: &BTreeMap<String, String>,
) -> Result<String, (FindingKind, String)> {
    let mut sentence = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((slot, after)) = after.split_once('}') else {
            let message = format!("a `{{` without `}}` in `{template}`");
            return Err((FindingKind::BadValue, message));
        };
        sentence.push_str(before);
        let filled = match slot {
            "attribute" => form(attribute, &form(group, "agree")?)?,
            slot => form(group, slot)?,
        };
        sentence.push_str(&filled);
        rest = after;
    }
    sentence.push_str(rest);
    Ok(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filling() {
        let forms = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let own = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
            own.collect()
        };
        let group = forms(&[("agree", "f"), ("subject", "La femme"), ("none", " ")]);
        let attribute = forms(&[("m", "grand"), ("f", "grande")]);
        let check = |template: &str, expect: Result<&str, &str>| match (
            fill(template, &group, &attribute),
            expect,
        ) {
            (Ok(made), Ok(expect)) => assert_eq!(made, expect),
            (Err((_, message)), Err(expect)) => assert!(message.contains(expect), "{message}"),
            (other, _) => panic!("{template}: {other:?}"),
        };
        check("{subject} est {attribute}.", Ok("La femme est grande."));
        check("{object} {attribute}", Err("no form `object`"));
        check("{none}", Err("is empty"));
        check("{subject", Err("without `}`"));
    }
}
