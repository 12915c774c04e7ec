//! Cosines of edits that are made by hand.

use std::path::Path;

use super::super::tests::blank;
use super::*;
use crate::plan::{Plan, Setting, of_text};
use crate::role::Role;
use crate::stages::made::{WIDTH, edited, model, site, without};
use interlingua_edits::Matrix;

const METHODS: &str = "{ name = \"sentdebias\", rank = 1, strength = [1.0, 0.5] }, \
    { name = \"leace\", rank = 2 }, { name = \"steering\" }";

fn plan(out: &Path) -> Plan {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\nlanguages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\n\
         hook = [\"block.0.output\", \"block.0.output + embedding\"]\nmethods = [{METHODS}]\n[data]\n\
         kind = \"testbed\"\n[model]\nkind = \"train\"\nlayers = 1\nhidden_size = 4\nheads = 1\nkv_heads = 1\n\
         intermediate_size = 4\n[score]\nscorers = [\"lm-eval\"]\nresamples = 100\n"
    );
    of_text(&text, out)
}

/// States of 300 tokens: the English vary along the first coordinate, and the French along the first and the second together.
fn captured(folder: &Path) -> Captured {
    let value = |token: usize| [-1.0, 1.0, 2.0, -2.0][token % 4];
    let row = |french: bool| -> Vec<f32> {
        let state = |token: usize| {
            let other = if french { value(token) } else { 0.0 };
            [value(token), other, 0.0, 5.0]
        };
        (0..300).flat_map(state).collect()
    };
    let sequences = [row(false), row(true)];
    let site = |hook: usize| site(folder, hook, WIDTH, &sequences);
    vec![site(0), site(1)]
}

fn is(setting: &Setting, language: Language) -> bool {
    setting.fit_language.and_then(|on| on.one()) == Some(language)
}

/// In English `sentdebias` removes the first coordinate; in French, a direction at 60° to it. `leace` removes the first two, or
/// the third, in which no state has anything. Steering adds the last.
fn edits(setting: &Setting) -> Option<Vec<Edit>> {
    let sites = setting.hook.as_deref()?.split('+').count();
    let english = is(setting, Language::EN);
    let edit = match (setting.role, setting.method.as_deref()) {
        (Role::Method, Some("sentdebias")) if english => without([1.0, 0.0, 0.0, 0.0]),
        (Role::Method, Some("sentdebias")) => without([0.5, 0.0, 0.75f64.sqrt(), 0.0]),
        (Role::Method, Some("leace")) if english => {
            let rows = [vec![1.0, 0.0, 0.0, 0.0], vec![0.0, 1.0, 0.0, 0.0]];
            Edit::projection(&Matrix::from_rows(&rows, WIDTH)).unwrap()
        }
        (Role::Method, Some("leace")) => without([0.0, 0.0, 1.0, 0.0]),
        (Role::Method, _) => Edit::shift(vec![0.0, 0.0, 0.0, 2.0]).unwrap(),
        _ => without([0.0, 0.0, 0.0, 1.0]),
    };
    Some(vec![edit; sites])
}

fn rows(plan: &Plan) -> Vec<Row> {
    let folder = &plan.options.out;
    let model = model(folder, &[("any", [1.0, 1.0, -1.0, -1.0])], plan);
    let edited = edited(&model, plan, [0.0; WIDTH], edits);
    let mut rows = Vec::new();
    cosine_rows(&blank(plan), &edited, &captured(folder), &mut rows).unwrap();
    rows
}

/// What a row is about: method, language of the fit, languages, value, n.
fn facts(rows: &[Row], metric: &str) -> Vec<(String, Option<String>, String, f64, u64)> {
    let of = rows.iter().filter(|row| row.metric == metric);
    let facts = of.map(|row| {
        assert_eq!((row.role, row.strength), (Some(Role::Method), Some(1.0)));
        assert_eq!(row.hook.as_deref(), Some("block.0.output"), "{row:?}");
        (
            row.method.clone().unwrap(),
            row.fit_language.clone(),
            row.eval_language.clone().unwrap(),
            (row.value * 1e6).round() / 1e6,
            row.n,
        )
    });
    facts.collect()
}

fn fact(
    method: &str,
    fit: Option<&str>,
    value: f64,
    n: u64,
) -> (String, Option<String>, String, f64, u64) {
    let value = (value * 1e6).round() / 1e6;
    (method.into(), fit.map(Into::into), "en-fr".into(), value, n)
}

#[test]
fn fits_of_two_languages_are_compared_by_their_directions() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(&plan(folder.path()));
    let expect = [
        // 60° apart.
        fact("sentdebias", None, 0.5, 2),
        // A plane, and a line at right angles to it.
        fact("leace", None, 0.0, 3),
        // Both languages add the same vector.
        fact("steering", None, 1.0, 2),
    ];
    assert_eq!(facts(&rows, "direction_cosine"), expect);
    let about = |row: &&Row| row.metric == "direction_cosine";
    let categories: Vec<_> = rows
        .iter()
        .filter(about)
        .map(|r| r.category.as_deref())
        .collect();
    assert_eq!(categories, [Some("gender"); 3]);
}

#[test]
fn what_an_edit_writes_in_two_languages_is_compared_by_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(&plan(folder.path()));
    // Every third of 300 tokens of each language is looked at.
    let n = 200;
    let expect = [
        fact("sentdebias", Some("en"), 1.0, n),
        fact("sentdebias", Some("fr"), 1.0, n),
        // It takes from English states what they have along one axis, and from French ones what they have at 45° to it. Of
        // what the other removes nothing is there, so that there is no line.
        fact("leace", Some("en"), 0.5f64.sqrt(), n),
        fact("steering", Some("en"), 1.0, n),
        fact("steering", Some("fr"), 1.0, n),
    ];
    assert_eq!(facts(&rows, "written_cosine"), expect);
}
