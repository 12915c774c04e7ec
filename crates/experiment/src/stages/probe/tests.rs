//! Probes of states that are made by hand.

use std::collections::BTreeMap;
use std::path::Path;

use interlingua_debias::Reduce;
use interlingua_edits::Edit;

use super::super::made::{WIDTH, edited, model, store, text, with_runner, without};
use super::*;
use crate::plan::{Setting, of_text};
use crate::prepare::FitSet;
use crate::role::Role;

/// The direction along which members of a set differ, at the first hook point.
const GROUP: [f64; WIDTH] = [1.0, 0.0, 0.0, 0.0];
const HOOKS: [&str; 2] = ["block.0.output", "embedding"];

fn plan(more: &str, out: &Path) -> Plan {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\nlanguages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\n\
         hook = [\"{0}\", \"{1}\", \"{1} + {0}\"]\nmethods = [{{ name = \"sentdebias\", rank = 1 }}]\n\
         [data]\nkind = \"testbed\"\n[model]\nkind = \"train\"\nlayers = 1\nhidden_size = 4\nheads = 1\nkv_heads = 1\n\
         intermediate_size = 4\n[score]\nscorers = [\"lm-eval\"]\nresamples = 100\n[probe]\n{more}",
        HOOKS[0], HOOKS[1]
    );
    of_text(&text, out)
}

/// The mean state of one member of a set: what tells the group, and what all members of the set share.
fn state(set: usize, group: usize) -> Vec<f32> {
    let shared = |step: usize| (set * step % 7) as f32 * 0.1;
    vec![group as f32 * 4.0, shared(1), shared(2), shared(3)]
}

/// Sets of members of so many groups, at two hook points; at the second nothing tells the group.
fn captured(folder: &Path, sets: usize, groups: usize) -> Captured {
    let site = |(at, hook): (usize, &str)| {
        let rows = (0..sets).flat_map(|set| (0..groups).map(move |group| (set, group)));
        let states: Vec<Vec<f32>> = rows
            .map(|(set, group)| state(set, if at == 0 { group } else { 0 }))
            .collect();
        let store = |name: &str| store(&folder.join(format!("{name}-{at}")), WIDTH, &states);
        SiteStates {
            width: WIDTH,
            rows: Some(super::super::RowStates {
                train: store("train"),
                validation: store("validation"),
                heldout: store("heldout"),
            }),
            keys: ["a", "b", "c", "d"].map(|key| format!("{key} {hook} {sets} {groups}")),
            fit: BTreeMap::from([(Reduce::Mean, (store("fit"), String::new()))]),
            parallel: BTreeMap::new(),
        }
    };
    HOOKS.into_iter().enumerate().map(site).collect()
}

/// At the first hook point methods take away what tells the group; everything else stays as it is.
fn edits(setting: &Setting) -> Option<Vec<Edit>> {
    let sites = setting.hook.as_deref()?.split('+').count();
    let first = setting.role == Role::Method && setting.hook.as_deref() == Some(HOOKS[0]);
    match first {
        true => Some(vec![without(GROUP)]),
        false => Some(vec![Edit::identity(WIDTH); sites]),
    }
}

fn probed(plan: &Plan, sets: usize, groups: usize) -> (Vec<Probed>, Option<[usize; 2]>) {
    let folder = &plan.options.out;
    let model = model(folder, &[("any", [1.0, 1.0, -1.0, -1.0])], plan);
    let edited = edited(&model, plan, [0.0; WIDTH], edits);
    let captured = captured(folder, sets, groups);
    let mut text = text(&[Language::EN, Language::FR], &[&[], &[]]);
    let set = |language: Language| FitSet {
        language,
        category: "gender".into(),
        groups: (0..groups).map(|group| group.to_string()).collect(),
        tuples: Vec::new(),
        classes: Vec::new(),
        probe: (0..sets)
            .map(|set| (set * groups..(set + 1) * groups).collect())
            .collect(),
    };
    text.fit_sets = vec![set(Language::EN), set(Language::FR)];
    with_runner(plan, |run| {
        let found = probe_stage(run, &edited, &captured, &text, "gender", Language::EN).unwrap();
        let computed = run.timings.first().and_then(|timing| timing.computed);
        (found, computed)
    })
}

#[test]
fn a_probe_is_at_chance_where_what_tells_the_group_is_gone() {
    for groups in [2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan("codelength = true", folder.path());
        let (found, computed) = probed(&plan, 40, groups);
        // No edit, the removal and the identity at the first hook point; no edit and the identity at the second.
        assert_eq!(computed, Some([5, 5]));
        let chance = 1.0 / groups as f64;
        for Probed {
            setting,
            hook,
            found,
        } in &found
        {
            let setting = &plan.settings[*setting];
            let told = hook == HOOKS[0] && setting.role != Role::Method;
            // Members of a set are alike then, so a probe says the same of all, and is right about one.
            let expect = if told { 1.0 } else { chance };
            assert!(
                (found.accuracy.value - expect).abs() < 1e-12,
                "{setting:?} {found:?}"
            );
            assert_eq!((found.kind.as_str(), found.chance), ("linear", chance));
            // Half of the sets are judged. Which set a member is of decides whether it is right: there is no spread.
            assert_eq!(found.accuracy.n, 20 * groups);
            assert_eq!(found.accuracy.ci_low, Some(found.accuracy.value));
            let bits = found.bits.unwrap();
            let nothing = (groups as f64).log2();
            assert!(
                if told {
                    bits < 0.7 * nothing
                } else {
                    bits > 0.95 * nothing
                },
                "{bits}"
            );
        }
        // The unedited model at both hook points, each edit at its own, and none at the place of two.
        let expect = |hook: &str| {
            let of = |s: &&Setting| s.hook.as_deref().is_none_or(|own| own == hook);
            plan.settings.iter().filter(of).count()
        };
        for hook in HOOKS {
            let count = found.iter().filter(|probed| probed.hook == hook).count();
            assert_eq!(count, expect(hook), "{hook}");
        }
        assert_eq!(found.len(), expect(HOOKS[0]) + expect(HOOKS[1]));
        assert_eq!(probed(&plan, 40, groups), (found, Some([0, 5])));
    }
}

#[test]
fn an_odd_set_is_left_out_and_too_few_are_not_probed() {
    let folder = tempfile::tempdir().unwrap();
    let all = plan("", folder.path());
    assert_eq!(probed(&all, 39, 2), (Vec::new(), None));
    let (found, _) = probed(&all, 41, 2);
    assert!(!found.is_empty());
    for probed in &found {
        assert_eq!((probed.found.accuracy.n, probed.found.bits), (40, None));
    }
    let few = plan("per_class = 39", folder.path());
    assert_eq!(probed(&few, 41, 2), (Vec::new(), None));
    let none = plan("kinds = []", folder.path());
    assert_eq!(probed(&none, 41, 2), (Vec::new(), None));
}

#[test]
fn a_kind_that_does_not_exist_is_named_with_those_that_do() {
    for kind in ["linear", "mlp"] {
        assert!(probe_by_name(kind, 1).is_ok());
    }
    let error = probe_by_name("tree", 1).unwrap_err().to_string();
    assert!(
        error.contains("`tree`") && error.contains("linear, mlp"),
        "{error}"
    );
}
